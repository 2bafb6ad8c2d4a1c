//! The rule itself: what the gate says, from what it reads in its own transaction.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Ask, FACTS_LAST, budget, frozen, hold, opt_out};
use crate::{
    engine::{Approval, ClaimFrom, Hold, View},
    id::IncidentId,
    journal::{JournalError, Tx, UNREADABLE},
    mode::Mode,
    optout::Since,
    plan::Change,
};

/// How long a subject stands down after a person's undo.
pub const STAND_DOWN: SignedDuration = SignedDuration::from_hours(24 * 7);
/// The window of the caps.
const WINDOW: SignedDuration = SignedDuration::from_hours(1);
/// How far in the future something may be said to have been: what is beyond that, a clock said that went back.
const AHEAD: SignedDuration = SignedDuration::from_mins(5);
/// How long a step whose resource is taken waits before it is planned again: half a second, doubled each time, at most half a minute.
const BUSY_WAIT: SignedDuration = SignedDuration::from_millis(500);
const BUSY_WAIT_MOST: SignedDuration = SignedDuration::from_secs(30);

/// An opt-out tag that counts for a step, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OptOutFact {
    /// The id of the account or OU that carries the tag.
    pub id: String,
    /// The same for people.
    pub whose: String,
    /// Its value.
    pub value: String,
    /// Since when it is there, where that was looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Since>,
}

/// What is known about a step's surroundings, read live.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// When the organization was read.
    pub read_at: Timestamp,
    /// Opt-out tags of the account and the OUs above it. Those of resources are in the plan.
    pub opt_outs: Vec<OptOutFact>,
    /// The ids of the root and the OUs above the account, from the root down.
    pub path: Vec<String>,
    /// Something unknown or unfit that holds everything (account not active, organization unreadable).
    pub unfit: Option<Hold>,
    /// The source is a known one: recorded, not acted on.
    pub known: Option<String>,
    /// The subject is one that Cordon never touches.
    pub refused: Option<String>,
    /// Who may say yes to the step no more though they did, and why: their yes counts no more.
    pub void: BTreeMap<String, String>,
    /// The names of the OUs above the account ([`crate::freeze::names_of_ous`]); `None`: not known, and each freeze of an OU applies.
    pub ous: Option<Vec<String>>,
}

/// Hard caps: resources changed in an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// In one account.
    pub per_account_hour: u32,
    /// In the whole organization.
    pub per_organization_hour: u32,
}

/// What the gate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// Yes.
    Go,
    /// Nothing to change; with the claims it now has.
    AlreadyDone {
        /// Attributes that we made as they are.
        claims: Vec<ClaimFrom>,
    },
    /// The mode allows no more than a plan.
    Observe {
        /// Why.
        why: String,
    },
    /// Persons must say yes.
    Ask {
        /// Why.
        why: String,
        /// How many different ones, at least 1.
        people: u8,
    },
    /// It is not done, and nobody need do anything.
    Skip {
        /// Why.
        why: String,
    },
    /// It waits for a person.
    Hold(Hold),
    /// Not now.
    Later {
        /// Why.
        why: String,
        /// Until when.
        until: Timestamp,
    },
}

/// Decides. Reads the journal's tables in the caller's transaction and writes nothing.
///
/// # Errors
/// Those of the store.
pub fn rule(tx: &mut dyn Tx, view: &View, ask: &Ask, digest: &str, now: Timestamp) -> Result<Ruling, JournalError> {
    if let Some(why) = &ask.facts.refused {
        return Ok(Ruling::Hold(hold("refused-subject", why.clone())));
    }
    if let Some(unfit) = &ask.facts.unfit {
        return Ok(Ruling::Hold(unfit.clone()));
    }
    if let Some(known) = &ask.facts.known {
        return Ok(Ruling::Skip { why: known.clone() });
    }
    if let Some(later) = taken(tx, view, ask, now)? {
        return Ok(later);
    }
    if ask.plan.changes.is_empty() {
        return Ok(Ruling::AlreadyDone { claims: ours(tx, &ask.plan.already)? });
    }
    // A clock that went back makes the facts no younger.
    let age = now.duration_since(ask.facts.read_at).abs();
    if age > FACTS_LAST {
        return Ok(Ruling::Later {
            why: format!("the organization was last read {} s ago", age.as_secs()),
            until: now.checked_add(BUSY_WAIT).unwrap_or(now),
        });
    }
    let over = match opt_out::weigh(view, ask, digest, now) {
        opt_out::Stand::None => None,
        opt_out::Stand::Obeyed(hold) => return Ok(Ruling::Hold(hold)),
        opt_out::Stand::Questioned { why, people } => Some((why, people)),
    };
    if let Some(until) = tx.stand_down(&ask.stand_down)?.filter(|until| *until > now && !ask.uncounted)
        && view.step(&ask.step).is_none_or(|step| step.released.as_ref().is_none_or(|hold| hold.code != "stand-down"))
    {
        let why = format!("a person undid this for the same subject; it stands down until {until:.0}");
        return Ok(Ruling::Hold(hold("stand-down", why)));
    }
    if let Some(why) = &view.observe_only {
        return Ok(Ruling::Observe { why: why.clone() });
    }
    let known = view.step(&ask.step);
    if ask.mode == Mode::Observe {
        return Ok(Ruling::Observe { why: "mode observe: a plan and no more".to_owned() });
    }
    if let Some(no) = ask.policy.refusal() {
        return Ok(Ruling::Hold(no));
    }
    let wants_person = match ask.mode {
        Mode::Observe => None,
        // What a playbook asks for it asks for everywhere; what mode ask asks for are changes in member accounts.
        Mode::Ask if !ask.uncounted => Some("mode ask".to_owned()),
        Mode::Ask | Mode::Act if ask.ask => Some("the playbook asks for this step".to_owned()),
        Mode::Ask | Mode::Act => ask.plan.ask.clone().or_else(|| ask.plan.beside.clone()),
    };
    if let Some(frozen) = frozen::of(tx, view, ask)? {
        return Ok(Ruling::Hold(frozen));
    }
    let wants_person = match wants_person {
        None => budget::asks(tx, view, ask, now)?,
        other => other,
    };
    // A person's no stands until a person's yes, also where the reason to ask is gone.
    let earlier = tx.stand_down(&super::no_key(view, &ask.step))?.filter(|until| *until > now);
    let earlier = earlier.map(|until| format!("a person said no to it for this subject before, which stands until {until:.0}"));
    let said_no =
        known.and_then(|step| step.refused.as_ref().map(|no| format!("before, {no}"))).or_else(|| earlier.filter(|_| !ask.uncounted));
    let questioned = over.as_ref().map_or(0, |(_, people)| *people);
    let people = ask.policy.people().max(u8::from(wants_person.is_some() || said_no.is_some())).max(questioned);
    // A step that had its warrant has had its yes: it is only finished, from the same plan, unless a person has it begun anew.
    if people > said_yes(view, ask, digest, now) && known.is_none_or(|step| !step.finishing) {
        let of_policy = Some(ask.policy.why.clone()).filter(|_| ask.policy.people() > 0);
        let why = over.map(|(why, _)| why).into_iter().chain(wants_person).chain(of_policy).chain(said_no).chain(void(view, ask));
        let why = why.collect::<Vec<_>>().join("; ");
        return Ok(Ruling::Ask { why, people });
    }
    if !ask.uncounted
        && let Some(spent) = cap_spent(tx, view, ask, now)?
    {
        return Ok(Ruling::Hold(spent));
    }
    Ok(Ruling::Go)
}

/// Each yes to the step of a person who may still say so.
pub(super) fn counting<'v>(view: &'v View, ask: &'v Ask) -> impl Iterator<Item = &'v Approval> {
    let given = view.step(&ask.step).into_iter().flat_map(|step| &step.approvals);
    given.filter(|yes| !ask.facts.void.contains_key(&yes.by.0))
}

/// Why a yes that was given does not count, for each.
fn void<'v>(view: &'v View, ask: &'v Ask) -> impl Iterator<Item = String> + 'v {
    let given = view.step(&ask.step).into_iter().flat_map(|step| &step.approvals);
    given.filter_map(|yes| ask.facts.void.get(&yes.by.0).map(|why| format!("the yes of {} counts no more: {why}", yes.by.0)))
}

/// How many different persons who may have said yes to exactly this plan, and not too long ago.
fn said_yes(view: &View, ask: &Ask, digest: &str, now: Timestamp) -> u8 {
    let now = now.max(view.updated_at);
    let counts = counting(view, ask).filter(|yes| yes.digest == digest && now < yes.expires);
    let people: BTreeSet<&str> = counts.map(|yes| yes.by.0.as_str()).collect();
    u8::try_from(people.len()).unwrap_or(u8::MAX)
}

/// The code of what waits for a person because an incident that cannot be read was at work on the same resource.
const HELD_BY_UNREADABLE: &str = "unreadable-at-work";

/// Whether a run was put aside because its entries cannot be read: its locks end with nothing of its own.
pub(super) fn is_unreadable(tx: &mut dyn Tx, run: IncidentId) -> Result<bool, JournalError> {
    Ok(tx.run(run)?.is_some_and(|row| row.code == UNREADABLE))
}

/// Whether another step works on a resource of the plan, or has since the plan was made: then it is planned again.
fn taken(tx: &mut dyn Tx, view: &View, ask: &Ask, now: Timestamp) -> Result<Option<Ruling>, JournalError> {
    let known = view.step(&ask.step);
    let waits = known.map_or(0, |step| step.waits);
    let wait = BUSY_WAIT.saturating_mul(1 << waits.min(6)).min(BUSY_WAIT_MOST);
    let until = now.checked_add(wait).unwrap_or(now);
    for resource in &ask.plan.touches {
        if let Some((run, step)) = tx.lock_holder(resource)?
            && (run != view.run || step != ask.step)
        {
            if is_unreadable(tx, run)? {
                if known.is_some_and(|step| step.released.as_ref().is_some_and(|hold| hold.code == HELD_BY_UNREADABLE)) {
                    continue;
                }
                let why = format!(
                    "`{step}` of {run} was at work on {resource}, and {run} cannot be read: what it did there is not known. Look at the resource, and \
                     mend the journal (`cordon audit verify`) or release this"
                );
                return Ok(Some(Ruling::Hold(hold(HELD_BY_UNREADABLE, why))));
            }
            return Ok(Some(Ruling::Later { why: format!("`{step}` of {run} works on {resource}"), until }));
        }
        // A step that was begun keeps its plan: its own checks tell whether the world still fits it.
        let since = tx.last_unlocked(resource)?.filter(|at| at.duration_since(now) <= AHEAD);
        if known.is_none_or(|step| !step.fixed) && since.is_some_and(|at| at >= ask.planned_at) {
            return Ok(Some(Ruling::Later { why: format!("{resource} was changed while this was planned"), until }));
        }
    }
    Ok(None)
}

/// Of attributes that are already as wanted, those that are so because of us.
pub(super) fn ours(tx: &mut dyn Tx, already: &[Change]) -> Result<Vec<ClaimFrom>, JournalError> {
    let mut claims = Vec::new();
    for change in already {
        if let Some(claim) = tx.claims(&change.key())?.into_iter().next() {
            claims.push(claim.from);
        }
    }
    Ok(claims)
}

fn cap_spent(tx: &mut dyn Tx, view: &View, ask: &Ask, now: Timestamp) -> Result<Option<Hold>, JournalError> {
    let since = now.checked_sub(WINDOW).unwrap_or(Timestamp::MIN);
    let account = view.subject.cell.account.as_str();
    for (whose, cap, key) in [
        (Some(account), ask.caps.per_account_hour, "changes_per_account_hour"),
        (None, ask.caps.per_organization_hour, "changes_per_organization_hour"),
    ] {
        let mut resources = tx.spent(since, whose)?;
        let before = resources.len();
        resources.extend(ask.plan.counted());
        if resources.len() > before && resources.len() > usize::try_from(cap).unwrap_or(usize::MAX) {
            let place = whose.map_or_else(|| "the organization".to_owned(), |account| format!("account {account}"));
            let why = format!(
                "the cap of {cap} resources changed in {place} in an hour is spent ({before} changed, this step would change {}); raise `[caps] {key}` or wait, then release",
                resources.len() - before
            );
            return Ok(Some(hold("cap-spent", why)));
        }
    }
    Ok(None)
}
