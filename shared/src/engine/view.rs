//! The state of a run: the fold of its entries. A stream of entries that could not have happened is refused.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::entry::{ClaimFrom, Entry, FindingNote, Hold, Person, UndoCause};
use crate::{
    finding::Subject,
    id::IncidentId,
    mode::Mode,
    plan::{Effect, Plan, StepKey, Verdict},
    playbook::{OnFailure, Playbook, Step, Work},
};

/// An entry that does not fit what came before it: the journal was written by something else, or damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry {seq} of {run} does not follow: {why}; run `cordon audit verify`")]
pub struct Illegal {
    /// The run.
    pub run: IncidentId,
    /// The entry's number.
    pub seq: u64,
    /// What does not fit.
    pub why: String,
}

/// Where a step stands.
#[derive(Debug, Clone, PartialEq)]
pub enum StepState {
    /// Not begun: its needs are not met, or its turn has not come.
    Waiting,
    /// A person is asked.
    Asked {
        /// What the answer is bound to.
        digest: String,
        /// Why a person must say it.
        why: String,
        /// When the question becomes void.
        expires: Timestamp,
    },
    /// A person is needed.
    Held(Hold),
    /// Not done, for a reason.
    Skipped {
        /// The reason.
        why: String,
    },
    /// Planned, and no more than that is allowed.
    Observed {
        /// Why it stays a plan.
        why: String,
    },
    /// Everything was as wanted already.
    AlreadyDone,
    /// A warrant was given; the answer is not in the journal yet.
    Applying {
        /// Whose lease it was given under.
        epoch: u64,
        /// When.
        at: Timestamp,
    },
    /// Something slow runs.
    Pending {
        /// How to ask after it.
        ticket: Value,
        /// When to ask next.
        due: Timestamp,
        /// When it began.
        since: Timestamp,
    },
    /// Applied, not read back yet.
    Unverified {
        /// When it was applied.
        since: Timestamp,
        /// When to read.
        next: Timestamp,
        /// How often it was read already.
        reads: u32,
    },
    /// The apply failed; the world has to be read.
    Broken {
        /// How far it got.
        effect: Effect,
        /// When to read.
        again: Timestamp,
    },
    /// The world was read: the change is not in effect and may be applied again, from the stored plan.
    Reapply,
    /// Read back: in effect.
    InEffect,
    /// A probe has answered.
    Done,
    /// Failed for good.
    Failed {
        /// A stable word.
        code: String,
        /// What happened.
        why: String,
    },
    /// Its effect is unknown.
    Stuck {
        /// What is unknown.
        why: String,
    },
    /// To be undone.
    UndoWanted {
        /// By whom or what.
        cause: UndoCause,
        /// Not before this time (an earlier try failed).
        again: Option<Timestamp>,
    },
    /// A warrant to undo was given; the answer is not in the journal yet.
    Undoing {
        /// Whose lease it was given under.
        epoch: u64,
        /// When.
        at: Timestamp,
        /// By whom or what.
        cause: UndoCause,
    },
    /// Undone.
    Undone {
        /// What was left, and why.
        left: Vec<String>,
    },
    /// A person has to undo it.
    ByHand {
        /// What to do.
        steps: Vec<String>,
    },
}

/// A yes of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// The plan it was given for.
    pub digest: String,
    /// Who gave it.
    pub by: Person,
    /// Until when it counts.
    pub expires: Timestamp,
}

/// One step instance of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct StepView {
    /// Which.
    pub key: StepKey,
    /// Its place in the playbook.
    pub at: usize,
    /// The generation whose finding it was last evaluated for.
    pub generation: u32,
    /// Where it stands.
    pub state: StepState,
    /// Rendered parameters.
    pub with: Value,
    /// The plan, once made.
    pub plan: Option<Plan>,
    /// The plan's digest.
    pub digest: String,
    /// Whether `plan` is fixed because a warrant was once given for it.
    pub fixed: bool,
    /// What came of it.
    pub outcome: Value,
    /// SHA-256 of its evidence.
    pub evidence: Vec<String>,
    /// Warrants given to apply.
    pub attempts: u32,
    /// Warrants given to undo.
    pub undo_attempts: u32,
    /// Failures counted so far.
    pub tries: u32,
    /// Not before this time.
    pub not_before: Option<Timestamp>,
    /// The last reason it was put off for.
    pub deferred: Option<String>,
    /// How often in a row its turn did not come.
    pub waits: u32,
    /// A person's yes.
    pub approval: Option<Approval>,
    /// A person's release of a hold that the playbook wrote, or of this hold code.
    pub released: Option<Hold>,
    /// When the first warrant was given.
    pub first_change: Option<Timestamp>,
    /// Since when the wanted state stands, by us or already.
    pub effective: Option<Timestamp>,
    /// Attributes it has a claim on, and whose `before` restores them.
    pub claims: Vec<ClaimFrom>,
    /// Why the gate said yes.
    pub because: Option<String>,
}

impl StepView {
    fn new(key: StepKey, at: usize, generation: u32) -> Self {
        Self {
            key,
            at,
            generation,
            state: StepState::Waiting,
            with: Value::Null,
            plan: None,
            digest: String::new(),
            fixed: false,
            outcome: Value::Null,
            evidence: Vec::new(),
            attempts: 0,
            undo_attempts: 0,
            tries: 0,
            not_before: None,
            deferred: None,
            waits: 0,
            approval: None,
            released: None,
            first_change: None,
            effective: None,
            claims: Vec::new(),
            because: None,
        }
    }

    /// Whether a later finding may simply have it planned anew: nothing was started.
    #[must_use]
    pub fn not_started(&self) -> bool {
        !self.fixed
            && matches!(
                self.state,
                StepState::Waiting
                    | StepState::Asked { .. }
                    | StepState::Held(_)
                    | StepState::Skipped { .. }
                    | StepState::Observed { .. }
                    | StepState::Failed { .. }
            )
    }
}

/// The state of a run.
#[derive(Debug, Clone)]
pub struct View {
    /// Which run.
    pub run: IncidentId,
    /// The pinned playbook.
    pub playbook: Arc<Playbook>,
    /// What it is about.
    pub subject: Subject,
    /// Its findings, in the order they came; the last is what expressions see.
    pub findings: Vec<FindingNote>,
    /// 1, and one more for each finding that told something new.
    pub generation: u32,
    /// The mode it opened under.
    pub mode: Mode,
    /// Why it may only observe.
    pub observe_only: Option<String>,
    /// When the first finding was taken in.
    pub detected_at: Timestamp,
    /// When the run opened.
    pub opened_at: Timestamp,
    /// The time of the last entry.
    pub updated_at: Timestamp,
    /// What expressions see as `account`, once admitted.
    pub account: Option<Value>,
    /// The whole run waits for a person.
    pub hold: Option<Hold>,
    /// Admission is put off until then, after so many tries.
    pub put_off: Option<(Timestamp, u32)>,
    /// A person ended it.
    pub closed_by: Option<(Person, String)>,
    /// Step instances, by place in the playbook and number.
    pub steps: Vec<StepView>,
    /// The number of the last entry.
    pub seq: u64,
    /// Where the chain stands: the last entry's hash.
    pub head: String,
}

impl View {
    /// Opens a view from a run's first entry.
    ///
    /// # Errors
    /// When the entry is not [`Entry::Opened`] or its playbook's text cannot be read any more.
    pub fn open(run: IncidentId, at: Timestamp, entry: &Entry) -> Result<Self, Illegal> {
        let Entry::Opened { playbook, source, subject, finding, mode, observe_only, detected_at, .. } = entry else {
            return Err(Illegal { run, seq: 1, why: "a run begins with `opened`".to_owned() });
        };
        let playbook = Playbook::parse(source, playbook).map_err(|errors| Illegal {
            run,
            seq: 1,
            why: format!("the pinned playbook cannot be read: {}", join(&errors)),
        })?;
        let steps = playbook.steps.iter().enumerate().map(|(place, step)| StepView::new(StepKey::first(&step.id), place, 1)).collect();
        Ok(Self {
            run,
            playbook: Arc::new(playbook),
            subject: subject.clone(),
            findings: vec![(**finding).clone()],
            generation: 1,
            mode: *mode,
            observe_only: observe_only.clone(),
            detected_at: *detected_at,
            opened_at: at,
            updated_at: at,
            account: None,
            hold: None,
            put_off: None,
            closed_by: None,
            steps,
            seq: 1,
            head: String::new(),
        })
    }

    /// The playbook's step that an instance is of.
    #[must_use]
    pub fn definition(&self, step: &StepView) -> Option<&Step> {
        self.playbook.steps.get(step.at)
    }

    /// The instance with this key.
    #[must_use]
    pub fn step(&self, key: &StepKey) -> Option<&StepView> {
        self.steps.iter().find(|step| step.key == *key)
    }

    /// The latest instance of the playbook's step `id`.
    #[must_use]
    pub fn latest(&self, id: &str) -> Option<&StepView> {
        self.steps.iter().filter(|step| step.key.id == id).max_by_key(|step| step.key.instance)
    }

    /// The latest finding, with the remote addresses of all of the run's: a source once seen is not forgotten for a later one.
    #[must_use]
    pub fn finding(&self) -> Value {
        let Some(mut finding) = self.findings.last().map(|note| note.finding.clone()) else { return Value::Null };
        if let Some(known) = finding.pointer_mut("/network/remote_ips").and_then(Value::as_array_mut) {
            let of = |note: &FindingNote| note.finding.pointer("/network/remote_ips").and_then(Value::as_array).cloned().unwrap_or_default();
            let earlier: Vec<Value> = self.findings.iter().rev().skip(1).flat_map(of).collect();
            for ip in earlier {
                if !known.contains(&ip) {
                    known.push(ip);
                }
            }
        }
        finding
    }

    /// What `when` and `with` are evaluated over.
    #[must_use]
    pub fn data(&self) -> Value {
        let mut steps = serde_json::Map::new();
        for step in &self.playbook.steps {
            if let Some(latest) = self.latest(&step.id) {
                steps.insert(step.id.clone(), json!({ "outcome": latest.outcome, "state": latest.word() }));
            }
        }
        json!({
            "finding": self.finding(),
            "subject": self.subject,
            "account": self.account,
            "steps": steps,
        })
    }

    /// Adds one entry.
    ///
    /// # Errors
    /// [`Illegal`] when the entry cannot follow; the view is then unchanged.
    pub fn fold(&mut self, at: Timestamp, entry: &Entry) -> Result<(), Illegal> {
        let seq = self.seq.saturating_add(1);
        let run = self.run;
        let illegal = |why: String| Illegal { run, seq, why };
        match entry {
            Entry::Opened { .. } => return Err(illegal("a run is opened once".to_owned())),
            Entry::FindingJoined { finding, renews } => {
                self.findings.push((**finding).clone());
                if *renews {
                    self.generation = self.generation.saturating_add(1);
                    for step in &mut self.steps {
                        if step.not_started() {
                            step.state = StepState::Waiting;
                            step.generation = self.generation;
                            step.tries = 0;
                            step.not_before = None;
                        }
                    }
                }
            }
            Entry::Admitted { account } => {
                self.account = Some(account.clone());
                self.put_off = None;
            }
            Entry::ClosedBy { by, why } => self.closed_by = Some((by.clone(), why.clone())),
            Entry::Deferred { step: None, until, counts, .. } => {
                let tries = self.put_off.map_or(0, |(_, tries)| tries).saturating_add(u32::from(*counts));
                self.put_off = Some((*until, tries));
            }
            Entry::Held { step: None, hold } => self.hold = Some(hold.clone()),
            Entry::Released { step: None, .. } => {
                self.hold = None;
                self.account = None;
                self.put_off = None;
                for step in &mut self.steps {
                    if let StepState::Held(hold) = &step.state {
                        step.released = Some(hold.clone());
                        step.state = after_release(&self.playbook, step, at);
                        step.tries = 0;
                    }
                }
            }
            Entry::Retried { step: None, .. } => {
                for step in &mut self.steps {
                    if matches!(step.state, StepState::Failed { .. }) {
                        step.retry(at);
                    }
                }
            }
            Entry::Renewed { step: key, generation } => {
                let Some(place) = self.steps.iter().find(|step| step.key.id == key.id).map(|step| step.at) else {
                    return Err(illegal(format!("the playbook has no step `{}`", key.id)));
                };
                if self.step(key).is_some() {
                    return Err(illegal(format!("`{key}` exists already")));
                }
                let index = self.steps.iter().rposition(|step| step.at == place).map_or(self.steps.len(), |last| last + 1);
                self.steps.insert(index, StepView::new(key.clone(), place, *generation));
            }
            other => {
                let Some(key) = other.step() else { return Err(illegal("it names no step".to_owned())) };
                let playbook = Arc::clone(&self.playbook);
                let Some(step) = self.steps.iter_mut().find(|step| step.key == *key) else {
                    return Err(illegal(format!("there is no step `{key}`")));
                };
                let mut next = step.clone();
                next.fold(run, at, other, &playbook).map_err(|why| illegal(format!("`{key}`: {why}")))?;
                *step = next;
            }
        }
        self.seq = seq;
        self.updated_at = self.updated_at.max(at);
        Ok(())
    }
}

fn join(errors: &[impl std::fmt::Display]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A released hold that the playbook itself wrote is done; any other is looked at again.
fn after_release(playbook: &Playbook, step: &StepView, at: Timestamp) -> StepState {
    match playbook.steps.get(step.at).map(|definition| &definition.work) {
        Some(Work::Hold(_)) => StepState::Done,
        // It was begun once: the world is read before anything more is done.
        _ if step.fixed => StepState::Broken { effect: Effect::Unknown, again: at },
        _ => StepState::Waiting,
    }
}

impl StepView {
    fn retry(&mut self, at: Timestamp) {
        self.state = if self.fixed { StepState::Broken { effect: Effect::Unknown, again: at } } else { StepState::Waiting };
        self.tries = 0;
        self.not_before = None;
    }

    /// The state in the words of the command line's output.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match &self.state {
            StepState::Waiting => "waiting",
            StepState::Asked { .. } => "waiting",
            StepState::Held(_) => "held",
            StepState::Skipped { .. } => "skipped",
            StepState::Observed { .. } => "planned",
            StepState::AlreadyDone => "already-done",
            StepState::Applying { .. }
            | StepState::Pending { .. }
            | StepState::Unverified { .. }
            | StepState::Broken { .. }
            | StepState::Reapply
            | StepState::UndoWanted { .. }
            | StepState::Undoing { .. } => "running",
            StepState::InEffect => "applied",
            StepState::Done => "done",
            StepState::Failed { .. } | StepState::Stuck { .. } => "failed",
            StepState::Undone { .. } => "undone",
            StepState::ByHand { .. } => "by-hand",
        }
    }

    fn fold(&mut self, run: IncidentId, at: Timestamp, entry: &Entry, playbook: &Playbook) -> Result<(), String> {
        use StepState as S;
        let state = self.state.clone();
        let cannot = |what: &str| Err(format!("{what} cannot follow {state:?}"));
        match entry {
            Entry::Kept { generation, .. } => self.generation = *generation,
            Entry::Skipped { why, .. } => match self.state {
                S::Waiting => self.state = S::Skipped { why: why.clone() },
                _ => return cannot("skipped"),
            },
            Entry::Planned { with, plan, digest, .. } => match self.state {
                S::Waiting if !self.fixed => {
                    self.with = with.clone();
                    self.plan = Some((**plan).clone());
                    self.digest.clone_from(digest);
                }
                _ => return cannot("planned"),
            },
            Entry::Observed { why, .. } => match self.state {
                S::Waiting => self.state = S::Observed { why: why.clone() },
                _ => return cannot("observed"),
            },
            Entry::AlreadyDone { claims, .. } => match self.state {
                S::Waiting => {
                    self.state = S::AlreadyDone;
                    self.claims.clone_from(claims);
                    self.effective = Some(at);
                }
                _ => return cannot("already-done"),
            },
            Entry::Asked { digest, why, expires, .. } => match self.state {
                S::Waiting | S::Reapply => {
                    self.approval = None;
                    self.state = S::Asked { digest: digest.clone(), why: why.clone(), expires: *expires };
                }
                _ => return cannot("asked"),
            },
            Entry::Approved { digest, by, expires, .. } => match &self.state {
                S::Asked { digest: asked, .. } if asked == digest => {
                    self.approval = Some(Approval { digest: digest.clone(), by: by.clone(), expires: *expires });
                    self.state = if self.fixed { S::Reapply } else { S::Waiting };
                    self.not_before = None;
                }
                _ => return cannot("approved"),
            },
            Entry::Refused { by, why, .. } => match self.state {
                S::Asked { .. } => {
                    let why = if why.is_empty() { format!("{} said no", by.0) } else { format!("{} said no: {why}", by.0) };
                    self.state = S::Skipped { why };
                }
                _ => return cannot("refused"),
            },
            Entry::AskExpired { .. } => match self.state {
                S::Asked { .. } => {
                    self.state = S::Held(Hold { code: "ask-expired".to_owned(), why: "nobody answered in time".to_owned() });
                }
                _ => return cannot("ask-expired"),
            },
            Entry::Decided { because, .. } => self.because = Some(because.clone()),
            Entry::ApplyStarted { attempt, epoch, also, .. } => match self.state {
                S::Waiting | S::Reapply if self.plan.is_some() && *attempt == self.attempts.saturating_add(1) => {
                    self.attempts = *attempt;
                    self.waits = 0;
                    self.fixed = true;
                    self.approval = None;
                    self.first_change.get_or_insert(at);
                    if self.claims.is_empty() {
                        let plan = self.plan.as_ref().map(|plan| &plan.changes);
                        self.claims = plan
                            .into_iter()
                            .flatten()
                            .map(|change| ClaimFrom { key: change.key(), run, step: self.key.clone() })
                            .chain(also.iter().cloned())
                            .collect();
                    }
                    self.state = S::Applying { epoch: *epoch, at };
                }
                _ => return cannot("apply-started"),
            },
            Entry::Pending { ticket, due, .. } => match &self.state {
                S::Applying { .. } => self.state = S::Pending { ticket: ticket.clone(), due: *due, since: at },
                S::Pending { since, .. } => self.state = S::Pending { ticket: ticket.clone(), due: *due, since: *since },
                S::Waiting => self.state = S::Pending { ticket: ticket.clone(), due: *due, since: at },
                _ => return cannot("pending"),
            },
            Entry::Applied { outcome, .. } => match self.state {
                S::Applying { .. } | S::Pending { .. } => {
                    self.outcome = outcome.clone();
                    self.state = S::Unverified { since: at, next: at, reads: 0 };
                }
                _ => return cannot("applied"),
            },
            Entry::ApplyFailed { effect, again, counts, .. } => match self.state {
                S::Applying { .. } | S::Pending { .. } => {
                    self.tries = self.tries.saturating_add(u32::from(*counts));
                    self.state = S::Broken { effect: *effect, again: again.unwrap_or(at) };
                }
                _ => return cannot("apply-failed"),
            },
            Entry::Verified { verdict, again, .. } => match (&self.state, verdict, again) {
                (S::Unverified { .. }, Verdict::InEffect, _) => {
                    self.state = S::InEffect;
                    self.effective = Some(at);
                    self.tries = 0;
                }
                (S::Unverified { since, reads, .. }, _, Some(again)) => {
                    self.state = S::Unverified { since: *since, next: *again, reads: reads.saturating_add(1) };
                }
                (S::Unverified { .. }, _, None) => {}
                _ => return cannot("verified"),
            },
            Entry::Recovered { verdict, .. } => match (&self.state, verdict) {
                (S::Applying { .. } | S::Broken { .. }, Verdict::InEffect) => {
                    self.state = S::InEffect;
                    self.effective = Some(at);
                    self.tries = 0;
                }
                (S::Applying { .. } | S::Broken { .. }, Verdict::NotInEffect { .. }) => self.state = S::Reapply,
                (S::Applying { .. } | S::Broken { .. }, Verdict::Drifted { .. }) => {}
                _ => return cannot("recovered"),
            },
            Entry::ProbeDone { with, outcome, evidence, .. } => match self.state {
                S::Waiting | S::Pending { .. } => {
                    self.with = with.clone();
                    self.outcome = outcome.clone();
                    self.evidence.clone_from(evidence);
                    self.state = S::Done;
                }
                _ => return cannot("probe-done"),
            },
            Entry::Deferred { until, counts, why, .. } => match self.state {
                S::Waiting
                | S::Reapply
                | S::UndoWanted { .. }
                | S::Pending { .. }
                | S::Unverified { .. }
                | S::Applying { .. }
                | S::Broken { .. } => {
                    self.tries = self.tries.saturating_add(u32::from(*counts));
                    self.waits = self.waits.saturating_add(u32::from(!*counts));
                    self.not_before = Some(*until);
                    self.deferred = Some(why.clone());
                }
                _ => return cannot("deferred"),
            },
            Entry::Failed { code, why, .. } => {
                if matches!(self.state, S::InEffect | S::Undone { .. } | S::Done | S::AlreadyDone) {
                    return cannot("failed");
                }
                let held = playbook.steps.get(self.at).is_none_or(|step| step.on_failure == OnFailure::Hold);
                self.state = if held {
                    S::Held(Hold { code: code.clone(), why: why.clone() })
                } else {
                    S::Failed { code: code.clone(), why: why.clone() }
                };
            }
            Entry::Held { hold, .. } => match self.state {
                S::Waiting | S::Reapply | S::Pending { .. } => self.state = S::Held(hold.clone()),
                _ => return cannot("held"),
            },
            Entry::Released { .. } => match &self.state {
                S::Held(hold) => {
                    self.released = Some(hold.clone());
                    self.state = after_release(playbook, self, at);
                    self.tries = 0;
                    self.not_before = None;
                }
                _ => return cannot("released"),
            },
            Entry::Retried { .. } => match self.state {
                S::Failed { .. } | S::Held(_) | S::Skipped { .. } | S::Observed { .. } => self.retry(at),
                _ => return cannot("retried"),
            },
            Entry::UndoAsked { cause, .. } => match self.state {
                S::InEffect | S::AlreadyDone | S::Stuck { .. } | S::ByHand { .. } | S::Held(_) | S::Failed { .. } => {
                    self.state = S::UndoWanted { cause: cause.clone(), again: None };
                }
                _ => return cannot("undo-asked"),
            },
            Entry::UndoStarted { attempt, epoch, .. } => match &self.state {
                S::UndoWanted { cause, .. } | S::Undoing { cause, .. } => {
                    self.undo_attempts = *attempt;
                    self.state = S::Undoing { epoch: *epoch, at, cause: cause.clone() };
                }
                _ => return cannot("undo-started"),
            },
            Entry::Undone { left, .. } => match self.state {
                S::Undoing { .. } | S::UndoWanted { .. } => {
                    self.claims.clear();
                    self.state = S::Undone { left: left.clone() };
                }
                _ => return cannot("undone"),
            },
            Entry::ByHand { steps, .. } => match self.state {
                S::Undoing { .. } | S::UndoWanted { .. } => self.state = S::ByHand { steps: steps.clone() },
                _ => return cannot("by-hand"),
            },
            Entry::UndoFailed { error, again, .. } => match (&self.state, again) {
                (S::Undoing { cause, .. } | S::UndoWanted { cause, .. }, Some(again)) => {
                    self.state = S::UndoWanted { cause: cause.clone(), again: Some(*again) };
                }
                (S::Undoing { .. } | S::UndoWanted { .. }, None) => {
                    self.state = S::Stuck { why: format!("the undo failed: {error}") };
                }
                _ => return cannot("undo-failed"),
            },
            Entry::Stuck { why, .. } => {
                self.state = S::Stuck { why: why.clone() };
            }
            Entry::Opened { .. }
            | Entry::FindingJoined { .. }
            | Entry::Admitted { .. }
            | Entry::Renewed { .. }
            | Entry::ClosedBy { .. } => {
                return cannot("an entry of the run");
            }
        }
        Ok(())
    }

    /// When the step's change is to be undone by itself.
    #[must_use]
    pub fn expires(&self, ttl: Option<SignedDuration>) -> Option<Timestamp> {
        match (&self.state, ttl, self.effective) {
            (StepState::InEffect | StepState::AlreadyDone, Some(ttl), Some(since)) if !self.claims.is_empty() => {
                since.checked_add(ttl).ok()
            }
            _ => None,
        }
    }
}
