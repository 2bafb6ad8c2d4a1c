//! The gate: the only place that says yes.
//!
//! [`commit`] reads everything a decision rests on, decides, reserves what the change will use, and writes plan, decision and
//! start of the change, all in **one** transaction. A [`Warrant`] is what that commit returns: it cannot exist without the entry,
//! cannot be cloned, and dies with the process. Nothing else in Cordon makes one.

mod brake;
pub mod budget;
mod frozen;
pub mod opt_out;
mod policy;
mod rule;
mod undo;
mod warrant;

use std::{collections::BTreeSet, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

pub use brake::Brake;
pub use frozen::{looked_at_again, waits_for_a_thaw};
pub use policy::{MOST_PEOPLE, OptOutAnswer, PolicyAnswer, PolicyVerdict};
pub use rule::{Caps, Facts, OptOutFact, Ruling, rule};
pub use undo::{Stays, preview, to_restore, undo_frozen};
pub use warrant::{Lease, Purpose, Warrant, Watch};

use crate::{
    engine::{ClaimFrom, Entry, Hold, Pace, StepState, StepView, UndoCause, View},
    id::Region,
    journal::{Journal, JournalError, Tx, ops},
    mode::Mode,
    plan::{Change, ChangeKey, Plan, Risk, StepKey},
};

/// How long one read of the organization may serve decisions (the charter's invariant 7).
pub const FACTS_LAST: SignedDuration = SignedDuration::from_secs(60);

/// A step that asks to be done.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Which step.
    pub step: StepKey,
    /// Its action's name.
    pub action: &'static str,
    /// How much harm it can do.
    pub risk: Risk,
    /// Its rendered parameters.
    pub with: Value,
    /// The Region it works in, where that is not the subject's own.
    pub region: Option<Region>,
    /// Its plan.
    pub plan: Plan,
    /// The strictest of the modes that apply.
    pub mode: Mode,
    /// Whether the playbook wants a person asked in every mode.
    pub ask: bool,
    /// When planning began: what changed since is not in the plan.
    pub planned_at: Timestamp,
    /// What is known of account, subject and sources.
    pub facts: Facts,
    /// What the policies say. It can make the decision stricter, never milder.
    pub policy: PolicyAnswer,
    /// The hard caps.
    pub caps: Caps,
    /// Budgets, and what the step counts as against them.
    pub spending: budget::Spending,
    /// How long a question stands.
    pub question_lasts: SignedDuration,
    /// What a stand-down of this subject for this playbook is filed under.
    pub stand_down: String,
    /// It changes nothing in a member account (a note on a finding): it counts for no cap and minds no stand-down.
    pub uncounted: bool,
    /// Nothing is done whatever the answer: it is only said what would be.
    pub rehearsal: bool,
}

/// What the gate says to a step.
#[derive(Debug)]
pub enum Decision {
    /// Yes: apply it with this.
    Go(Warrant),
    /// Anything else; it is in the journal.
    No(Ruling),
}

/// Decides about a step and writes the decision, in one transaction. The view moves on to what was written.
///
/// # Errors
/// [`JournalError::Conflict`] when the run has moved on, [`JournalError::LeaseLost`], and those of the store.
pub async fn commit(
    journal: &Journal,
    lease: &Arc<Lease>,
    view: &View,
    ask: Ask,
    now: Timestamp,
    pace: Pace,
) -> Result<(View, Decision), JournalError> {
    let mut moved = view.clone();
    let key = ask.step.clone();
    let brake = Brake::new(journal, frozen::place(view, ask.facts.ous.clone()), frozen::deed(view, &ask));
    let (moved, ruling, digest) = journal
        .with(move |tx| {
            let digest = opt_out::digest(&moved, &ask, now);
            let mut ruling = rule(tx, &moved, &ask, &digest, now)?;
            if ask.rehearsal {
                // What would be changed counts, so that a plan of many incidents meets the caps where the deed would.
                if ruling == Ruling::Go && !ask.uncounted {
                    for resource in ask.plan.counted() {
                        tx.spend(now, moved.subject.cell.account.as_str(), &resource)?;
                    }
                    budget::charge(tx, &moved, &ask, now)?;
                }
                ruling = rehearsed(ruling, ask.mode);
            }
            if moved.step(&ask.step).is_some_and(|step| step.fixed) {
                ruling = begun(ruling);
            }
            let also = if ruling == Ruling::Go { rule::ours(tx, &ask.plan.already)? } else { Vec::new() };
            let entries = entries(&moved, &ask, &digest, &ruling, also, now, pace);
            if ruling == Ruling::Go {
                for resource in &ask.plan.touches {
                    tx.lock(resource, moved.run, &ask.step)?;
                }
                for resource in if ask.uncounted { Default::default() } else { ask.plan.counted() } {
                    tx.spend(now, moved.subject.cell.account.as_str(), &resource)?;
                }
                budget::charge(tx, &moved, &ask, now)?;
            }
            ops::append(tx, &mut moved, entries, now, pace)?;
            Ok((moved, ruling, digest))
        })
        .await?;
    let decision = match ruling {
        Ruling::Go => {
            let attempt = moved.step(&key).map_or(0, |step| step.attempts);
            Decision::Go(Warrant::mint(moved.run, key, attempt, Purpose::Apply, digest, Watch::new(lease, brake, now)))
        }
        other => Decision::No(other),
    };
    Ok((moved, decision))
}

/// What a ruling becomes for a step that was begun once: it may have to be finished or undone, so it is not let go of.
fn begun(ruling: Ruling) -> Ruling {
    match ruling {
        Ruling::Observe { why } | Ruling::Skip { why } => {
            Ruling::Hold(hold("begun", format!("it was begun and may not be finished: {why}; undo or retry it")))
        }
        other => other,
    }
}

/// What a ruling becomes when nothing may be done.
fn rehearsed(ruling: Ruling, mode: Mode) -> Ruling {
    match ruling {
        Ruling::Go => Ruling::Observe { why: format!("would be done: mode {mode}") },
        Ruling::Ask { why, people: 0 | 1 } => Ruling::Observe { why: format!("would ask a person: {why}") },
        Ruling::Ask { why, people } => Ruling::Observe { why: format!("would ask {people} persons: {why}") },
        Ruling::Observe { .. } => Ruling::Observe { why: "would only be observed: mode observe".to_owned() },
        other => other,
    }
}

fn entries(view: &View, ask: &Ask, digest: &str, ruling: &Ruling, also: Vec<ClaimFrom>, now: Timestamp, pace: Pace) -> Vec<Entry> {
    let step = ask.step.clone();
    let known = view.step(&step);
    let mut entries = Vec::new();
    if known.is_none_or(|known| !known.fixed) {
        entries.push(Entry::Planned {
            step: step.clone(),
            with: ask.with.clone(),
            plan: Box::new(ask.plan.clone()),
            digest: digest.to_owned(),
            region: ask.region.clone(),
        });
    }
    // Policies that were not asked (of an account that nobody knows) said nothing.
    if !ask.policy.asked.is_null() && matches!(ruling, Ruling::Go | Ruling::Observe { .. } | Ruling::Ask { .. } | Ruling::Hold(_)) {
        entries.push(Entry::Judged { step: step.clone(), answer: Box::new(ask.policy.clone()) });
    }
    match ruling {
        Ruling::Go => {
            let attempt = known.map_or(0, |known| known.attempts).saturating_add(1);
            let by: Vec<&str> = rule::counting(view, ask).map(|yes| yes.by.0.as_str()).collect();
            let met = opt_out::met(view, ask.action, ask.region.as_ref(), &ask.facts, &ask.plan, now);
            let whose: Vec<&str> = met.iter().map(|met| met.whose).collect();
            let over = if whose.is_empty() { String::new() } else { format!(", over the new opt-out of {}", whose.join(" and ")) };
            let because = if !by.is_empty() {
                format!("{} said yes to exactly this plan{over}", by.join(" and "))
            } else if !over.is_empty() {
                format!("a person had said yes to exactly this plan{over}; it is only finished")
            } else {
                format!("mode {} allows a {} change; no opt-out, caps not spent", ask.mode, risk_word(ask.risk))
            };
            entries.push(Entry::Decided { step: step.clone(), because });
            let taken = taken_over(view, &step, &ask.plan);
            entries.push(Entry::ApplyStarted { step, attempt, epoch: pace.epoch, also, uncounted: ask.uncounted });
            entries.extend(taken);
        }
        Ruling::AlreadyDone { claims } => entries.push(Entry::AlreadyDone { step, claims: claims.clone() }),
        Ruling::Observe { why } => entries.push(Entry::Observed { step, why: why.clone() }),
        Ruling::Ask { why, people } => {
            // The same question again, because a later finding had the step planned anew: its time goes on.
            let question = view.step(&step).and_then(|known| known.question.as_ref());
            let same = question.filter(|question| question.digest == digest && question.expires > now);
            // What is written behind the run's own time is put off by as much ([`Entry::put_off`]): the end of this one stays.
            let behind = view.updated_at.duration_since(now).max(SignedDuration::ZERO);
            let same = same.and_then(|question| question.expires.checked_sub(behind).ok());
            let expires = same.unwrap_or_else(|| now.checked_add(ask.question_lasts).unwrap_or(Timestamp::MAX));
            entries.push(Entry::Asked { step, digest: digest.to_owned(), why: why.clone(), expires, people: *people });
        }
        Ruling::Skip { why } => entries.push(Entry::Skipped { step, why: why.clone() }),
        Ruling::Hold(hold) => entries.push(Entry::Held { step: Some(step), hold: hold.clone() }),
        Ruling::Later { why, until } => {
            // A step that had to wait is planned again: this plan is not kept.
            entries.clear();
            entries.push(Entry::Deferred { step: Some(step), why: why.clone(), until: *until, counts: false });
        }
    }
    entries
}

/// Attributes that earlier instances of the step let go of, because somebody had changed them back and this one changes them anew.
fn taken_over(view: &View, to: &StepKey, plan: &Plan) -> Vec<Entry> {
    let changed: BTreeSet<ChangeKey> = plan.changes.iter().map(Change::key).collect();
    let earlier = view.steps.iter().filter(|step| step.key.id == to.id && step.key != *to && step.looks.reverted.is_some());
    let keys = |step: &StepView| -> Vec<ChangeKey> {
        step.claims.iter().map(|claim| claim.key.clone()).filter(|key| changed.contains(key)).collect()
    };
    let lets_go = |step: &StepView| Entry::LetGo { step: step.key.clone(), keys: keys(step), to: to.clone() };
    earlier.filter(|step| step.state == StepState::InEffect && !keys(step).is_empty()).map(lets_go).collect()
}

fn risk_word(risk: Risk) -> &'static str {
    match risk {
        Risk::ReadOnly => "read-only",
        Risk::Reversible => "reversible",
        Risk::Disruptive => "disruptive",
        Risk::Destructive => "destructive",
    }
}

/// What the gate says to an undo.
#[derive(Debug)]
pub enum UndoDecision {
    /// Restore these attributes, with this warrant. What others hold is left, in words.
    Go {
        /// The warrant.
        warrant: Warrant,
        /// Attributes to restore and whose `before` restores them.
        from: Vec<ClaimFrom>,
        /// What is left to other holders.
        left: Vec<String>,
    },
    /// Nothing to restore: other steps hold all of it. It is in the journal.
    Nothing {
        /// Who holds it, in words.
        left: Vec<String>,
    },
    /// Another step works on the same resource: later.
    Later,
    /// A freeze stops it; it is in the journal, and goes on after a thaw.
    Frozen,
}

/// Decides about an undo: drops the step's claims and says which attributes nobody else holds. `ous` are the names of the OUs above the
/// account ([`crate::freeze::names_of_ous`]); `None`: not known.
///
/// # Errors
/// As [`commit`].
#[expect(clippy::too_many_arguments, reason = "each is read once, in the one transaction")]
pub async fn commit_undo(
    journal: &Journal,
    lease: &Arc<Lease>,
    view: &View,
    step: StepKey,
    cause: UndoCause,
    ous: Option<Vec<String>>,
    now: Timestamp,
    pace: Pace,
) -> Result<(View, UndoDecision), JournalError> {
    let mut moved = view.clone();
    let key = step.clone();
    let brake = Brake::new(journal, frozen::place(view, ous), frozen::undo(&cause));
    let known = brake.clone();
    let (moved, outcome) = journal
        .with(move |tx| {
            let outcome = match known.stops(&tx.freezes()?) {
                Some(why) => frozen::undo_waits(tx, &mut moved, &step, cause, why, now, pace).map(|()| UndoOutcome::Frozen)?,
                None => undo_in(tx, &mut moved, &step, cause, now, pace)?,
            };
            Ok((moved, outcome))
        })
        .await?;
    let decision = match outcome {
        UndoOutcome::Go { attempt, from, left } => {
            let digest = moved.step(&key).map(|step| step.digest.clone()).unwrap_or_default();
            let warrant = Warrant::mint(moved.run, key, attempt, Purpose::Undo, digest, Watch::new(lease, brake, now));
            UndoDecision::Go { warrant, from, left }
        }
        UndoOutcome::Nothing { left } => UndoDecision::Nothing { left },
        UndoOutcome::Later => UndoDecision::Later,
        UndoOutcome::Frozen => UndoDecision::Frozen,
    };
    Ok((moved, decision))
}

enum UndoOutcome {
    Go { attempt: u32, from: Vec<ClaimFrom>, left: Vec<String> },
    Nothing { left: Vec<String> },
    Later,
    Frozen,
}

fn undo_in(
    tx: &mut dyn Tx,
    view: &mut View,
    key: &StepKey,
    cause: UndoCause,
    now: Timestamp,
    pace: Pace,
) -> Result<UndoOutcome, JournalError> {
    let step = view.step(key).ok_or_else(|| JournalError::Refused(format!("{} has no step `{key}`", view.run)))?.clone();
    let touches = step.plan.as_ref().map(|plan| plan.touches.clone()).unwrap_or_default();
    for resource in &touches {
        let holder = tx.lock_holder(resource)?.filter(|(run, by)| *run != view.run || by != key);
        // An undo compares before it restores: what an incident was at that cannot be read does not keep it waiting for ever.
        if let Some((holder, _)) = holder
            && !rule::is_unreadable(tx, holder)?
        {
            let until = now.checked_add(SignedDuration::from_secs(2)).unwrap_or(now);
            let why = format!("another step works on {resource}");
            let mut entries = Vec::new();
            match step.state {
                StepState::Undoing { .. } => entries.push(Entry::UndoFailed { step: key.clone(), error: why, again: Some(until) }),
                StepState::UndoWanted { .. } => entries.push(Entry::Deferred { step: Some(key.clone()), why, until, counts: false }),
                _ => {
                    entries.push(Entry::UndoAsked { step: key.clone(), cause });
                    entries.push(Entry::Deferred { step: Some(key.clone()), why, until, counts: false });
                }
            }
            ops::append(tx, view, entries, now, pace)?;
            return Ok(UndoOutcome::Later);
        }
    }
    let (from, stays) = to_restore(tx, view.run, &step, &[])?;
    let left: Vec<String> = stays.iter().map(Stays::words).collect();
    let mut entries = Vec::new();
    if !matches!(step.state, StepState::UndoWanted { .. } | StepState::Undoing { .. }) {
        entries.push(Entry::UndoAsked { step: key.clone(), cause: cause.clone() });
    }
    let outcome = if from.is_empty() {
        entries.push(Entry::Undone { step: key.clone(), restored: Vec::new(), left: left.clone() });
        UndoOutcome::Nothing { left }
    } else {
        let attempt = step.undo_attempts.saturating_add(1);
        entries.push(Entry::UndoStarted { step: key.clone(), attempt, epoch: pace.epoch, from: from.clone() });
        for resource in &touches {
            tx.lock(resource, view.run, key)?;
        }
        UndoOutcome::Go { attempt, from, left }
    };
    if matches!(cause, UndoCause::Person { .. }) {
        stand_down(tx, view, now)?;
    }
    ops::append(tx, view, entries, now, pace)?;
    Ok(outcome)
}

/// What a stand-down of a run's subject is filed under: after an undo the same finding type does not contain that subject again.
#[must_use]
pub fn stand_down_key(view: &View) -> String {
    let kind = view.findings.first().and_then(|note| note.finding.get("type")).and_then(Value::as_str).unwrap_or_default();
    format!("{kind} {} {}", view.subject.cell, view.subject.name())
}

/// What a person's no to a step is filed under: in a later incident of the same subject the step is asked about, whatever else would ask.
#[must_use]
pub fn no_key(view: &View, step: &StepKey) -> String {
    format!("no to {} of {} {} {}", step.id, view.playbook.name, view.subject.cell, view.subject.name())
}

/// Until when a subject stands down whose containment a person undoes now.
#[must_use]
pub fn stands_down_until(now: Timestamp) -> Timestamp {
    now.checked_add(rule::STAND_DOWN).unwrap_or(Timestamp::MAX)
}

/// A person undoes what was done to a run's subject: it stands down from now on.
///
/// # Errors
/// Those of the store.
pub fn stand_down(tx: &mut dyn Tx, view: &View, now: Timestamp) -> Result<(), JournalError> {
    tx.save_stand_down(&stand_down_key(view), Some(stands_down_until(now)))
}

/// Lifts the stand-down of a run's subject.
///
/// # Errors
/// Those of the store.
pub fn lift_stand_down(tx: &mut dyn Tx, view: &View) -> Result<(), JournalError> {
    tx.save_stand_down(&stand_down_key(view), None)
}

/// A hold in words.
#[must_use]
pub fn hold(code: &str, why: impl Into<String>) -> Hold {
    Hold { code: code.to_owned(), why: why.into() }
}
