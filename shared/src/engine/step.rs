//! One step instance of a run: where it stands, and what each entry makes of it.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{
    approval::Approval,
    entry::{ClaimFrom, Entry, Hold},
    look::Looks,
    stand::StepState,
};
use crate::{
    id::{IncidentId, Region},
    plan::{Plan, StepKey, Verdict},
    playbook::{OnFailure, Playbook},
};

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
    /// Whether that warrant's yes still counts: what it was given for is only finished, and no person has had the step begun anew since.
    pub finishing: bool,
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
    /// The question that stood when a later finding had the step planned anew: where the plan is the same, it is asked on.
    pub question: Option<Question>,
    /// The yes of each person who has said so to the plan that is asked about.
    pub approvals: Vec<Approval>,
    /// Who said no to it, in words, where nobody has said yes since.
    pub refused: Option<String>,
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
    /// The Region it works in, where that is not the subject's own.
    pub region: Option<Region>,
    /// Since when what comes after it may reckon with it.
    pub settled: Option<Timestamp>,
    /// Whether it changes nothing in a member account (a note on a finding).
    pub uncounted: bool,
    /// Looks after it came into effect.
    pub looks: Looks,
    /// What an undo of all that the run changed made of it.
    pub whole_undo: WholeUndo,
}

/// A question that stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What its answer is bound to.
    pub digest: String,
    /// When it becomes void.
    pub expires: Timestamp,
    /// Whether it was asked a second time, since not enough people answered the first.
    pub escalated: bool,
}

/// Where a step stands with an undo of all that its run changed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WholeUndo {
    /// Where it stood when its undo was asked for.
    pub(super) stood: Option<Box<StepState>>,
    /// The undo stopped at this step: it could not be undone.
    pub stops: bool,
    /// The undo stopped before this step, at that one.
    pub stopped: Option<StepKey>,
}

impl StepView {
    pub(super) fn new(key: StepKey, at: usize, generation: u32) -> Self {
        Self {
            key,
            at,
            generation,
            state: StepState::Waiting,
            with: Value::Null,
            plan: None,
            digest: String::new(),
            fixed: false,
            finishing: false,
            outcome: Value::Null,
            evidence: Vec::new(),
            attempts: 0,
            undo_attempts: 0,
            tries: 0,
            not_before: None,
            deferred: None,
            waits: 0,
            question: None,
            approvals: Vec::new(),
            refused: None,
            released: None,
            first_change: None,
            effective: None,
            claims: Vec::new(),
            because: None,
            region: None,
            settled: None,
            uncounted: false,
            looks: Looks::default(),
            whole_undo: WholeUndo::default(),
        }
    }

    /// A later finding has it planned anew, in the run's generation.
    pub(super) fn renew(&mut self, generation: u32) {
        self.question = match &self.state {
            StepState::Asked { digest, expires, escalated, .. } => {
                Some(Question { digest: digest.clone(), expires: *expires, escalated: *escalated })
            }
            StepState::Waiting => self.question.take(),
            _ => None,
        };
        self.state = StepState::Waiting;
        self.generation = generation;
        self.tries = 0;
        self.not_before = None;
        self.settled = None;
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

    /// The state in the words of the command line's output.
    #[must_use]
    pub fn word(&self) -> &'static str {
        self.state.word()
    }

    pub(super) fn fold(&mut self, run: IncidentId, at: Timestamp, entry: &Entry, playbook: &Playbook) -> Result<(), String> {
        use StepState as S;
        let state = self.state.clone();
        let cannot = |what: &str| Err(format!("{what} cannot follow {state:?}"));
        match entry {
            Entry::Kept { generation, .. } => self.generation = *generation,
            Entry::Skipped { why, .. } => match self.state {
                S::Waiting => self.state = S::Skipped { why: why.clone() },
                _ => return cannot("skipped"),
            },
            Entry::Planned { with, plan, digest, region, .. } => match self.state {
                S::Waiting if !self.fixed => {
                    self.with = with.clone();
                    self.plan = Some((**plan).clone());
                    self.digest.clone_from(digest);
                    self.region.clone_from(region);
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
            Entry::Judged { .. } => match self.state {
                S::Waiting | S::Reapply => {}
                _ => return cannot("judged"),
            },
            Entry::Asked { digest, why, expires, people, .. } => match self.state {
                S::Waiting | S::Reapply => {
                    let same = self.question.take().filter(|question| question.digest == *digest && question.expires == *expires);
                    if same.is_none() {
                        self.approvals.clear();
                    }
                    let escalated = same.is_some_and(|question| question.escalated);
                    self.state = S::Asked { digest: digest.clone(), why: why.clone(), expires: *expires, people: *people, escalated };
                }
                _ => return cannot("asked"),
            },
            Entry::Approved { digest, by, expires, identity, .. } => match &self.state {
                S::Asked { digest: asked, people, .. } if asked == digest => {
                    if self.approvals.iter().any(|yes| yes.is_of(by, identity)) {
                        return cannot("a second yes of one person");
                    }
                    let enough = self.approvals.len().saturating_add(1) >= usize::from(*people);
                    self.approvals.push(Approval { digest: digest.clone(), by: by.clone(), expires: *expires, identity: identity.clone() });
                    if enough {
                        self.refused = None;
                        self.state = if self.fixed { S::Reapply } else { S::Waiting };
                        self.not_before = None;
                    }
                }
                _ => return cannot("approved"),
            },
            Entry::Refused { by, why, .. } => match self.state {
                S::Asked { .. } => {
                    let why = if why.is_empty() { format!("{} said no", by.0) } else { format!("{} said no: {why}", by.0) };
                    self.refused = Some(why.clone());
                    self.approvals.clear();
                    // Something of it may be there: that is not passed over.
                    self.state = if self.fixed { S::Held(Hold { code: "said-no".to_owned(), why }) } else { S::Skipped { why } };
                }
                _ => return cannot("refused"),
            },
            // A yes counts as long as the question that it answers: with the question each is void.
            Entry::Escalated { expires, .. } => match &self.state {
                S::Asked { digest, why, people, escalated: false, .. } => {
                    let (digest, why) = (digest.clone(), why.clone());
                    self.state = S::Asked { digest, why, expires: *expires, people: *people, escalated: true };
                    self.approvals.clear();
                }
                _ => return cannot("escalated"),
            },
            Entry::AskExpired { .. } => match self.state {
                S::Asked { people, escalated, .. } => {
                    let said = match self.approvals.len() {
                        0 => "nobody answered in time".to_owned(),
                        some => format!("only {some} of {people} persons said yes in time"),
                    };
                    let also = if escalated { ", also after it was escalated" } else { "" };
                    self.state = S::Held(Hold { code: "ask-expired".to_owned(), why: format!("{said}{also}") });
                }
                _ => return cannot("ask-expired"),
            },
            Entry::Decided { because, .. } => self.because = Some(because.clone()),
            Entry::ApplyStarted { attempt, epoch, also, uncounted, .. } => match self.state {
                S::Waiting | S::Reapply if self.plan.is_some() && *attempt == self.attempts.saturating_add(1) => {
                    self.attempts = *attempt;
                    self.waits = 0;
                    (self.fixed, self.finishing) = (true, true);
                    self.uncounted = *uncounted;
                    self.approvals.clear();
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
                S::Held(hold) => self.release(hold.clone(), playbook, at),
                _ => return cannot("released"),
            },
            Entry::Retried { .. } => match self.state {
                S::Failed { .. } | S::Held(_) | S::Skipped { .. } | S::Observed { .. } => self.retry(at),
                // Another instance of it does again what somebody changed back.
                S::InEffect if self.looks.reverted.is_some() => {}
                _ => return cannot("retried"),
            },
            Entry::UndoAsked { cause, .. } => match self.state {
                S::InEffect
                | S::AlreadyDone
                | S::Stuck { .. }
                | S::ByHand { .. }
                | S::Held(_)
                | S::Failed { .. }
                | S::UndoFrozen { .. } => self.undo_asked(cause),
                // Begun once, something of it may be there.
                S::Asked { .. } if self.fixed => self.undo_asked(cause),
                _ => return cannot("undo-asked"),
            },
            Entry::UndoStarted { attempt, epoch, .. } => match &self.state {
                S::UndoWanted { cause, .. } | S::Undoing { cause, .. } => {
                    self.undo_attempts = *attempt;
                    self.state = S::Undoing { epoch: *epoch, at, cause: cause.clone() };
                }
                _ => return cannot("undo-started"),
            },
            Entry::UndoFrozen { why, .. } => match &self.state {
                S::UndoWanted { cause, .. } | S::Undoing { cause, .. } => {
                    self.state = S::UndoFrozen { cause: cause.clone(), why: why.clone(), since: at };
                }
                _ => return cannot("undo-frozen"),
            },
            Entry::UndoStopped { at: stopper, .. } => match &self.state {
                S::UndoWanted { cause, .. } if cause.is_whole() => {
                    self.state = self.whole_undo.stood.take().map_or(S::InEffect, |stood| *stood);
                    self.whole_undo.stopped = Some(stopper.clone());
                }
                _ => return cannot("undo-stopped"),
            },
            Entry::LetGo { keys, to, .. } => match self.state {
                S::InEffect => {
                    self.claims.retain(|claim| !keys.contains(&claim.key));
                    self.looks = Looks { over: true, ..Looks::default() };
                    if self.claims.is_empty() {
                        self.state = S::Undone { left: vec![format!("somebody had changed it back; `{to}` did it again")] };
                    }
                }
                _ => return cannot("let-go"),
            },
            Entry::Looked { look, found, .. } => match self.state {
                S::InEffect => self.looks.fold(*look, found),
                _ => return cannot("looked"),
            },
            Entry::Undone { left, .. } => match self.state {
                S::Undoing { .. } | S::UndoWanted { .. } => {
                    self.claims.clear();
                    self.whole_undo = WholeUndo::default();
                    self.state = S::Undone { left: left.clone() };
                }
                _ => return cannot("undone"),
            },
            Entry::ByHand { steps, .. } => match &self.state {
                S::Undoing { cause, .. } | S::UndoWanted { cause, .. } => {
                    self.whole_undo = WholeUndo { stops: cause.is_whole(), ..WholeUndo::default() };
                    self.state = S::ByHand { steps: steps.clone() };
                }
                _ => return cannot("by-hand"),
            },
            Entry::UndoFailed { error, again, .. } => match (&self.state, again) {
                (S::Undoing { cause, .. } | S::UndoWanted { cause, .. }, Some(again)) => {
                    self.state = S::UndoWanted { cause: cause.clone(), again: Some(*again) };
                }
                (S::Undoing { cause, .. } | S::UndoWanted { cause, .. }, None) => {
                    self.whole_undo = WholeUndo { stops: cause.is_whole(), ..WholeUndo::default() };
                    self.state = S::Stuck { why: format!("the undo failed: {error}") };
                }
                _ => return cannot("undo-failed"),
            },
            Entry::Stuck { why, .. } => {
                self.state = S::Stuck { why: why.clone() };
            }
            Entry::Opened { .. }
            | Entry::FindingJoined { .. }
            | Entry::Turned { .. }
            | Entry::Admitted { .. }
            | Entry::LookedOn { .. }
            | Entry::Renewed { .. }
            | Entry::Thawed { .. }
            | Entry::ClosedBy { .. } => {
                return cannot("an entry of the run");
            }
        }
        if self.state == S::Waiting {
            self.settled = None;
        } else {
            self.question = None;
            if self.state.is_settled() {
                self.settled.get_or_insert(at);
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
