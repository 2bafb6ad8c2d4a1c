//! What the journal holds of a run: one entry for each thing that happened, in order, never changed.

mod parts;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use parts::{ClaimFrom, FindingNote, Hold, Person, UndoCause};

use super::look::Sight;
use crate::{
    finding::{ResourceRole, Subject},
    gate::PolicyAnswer,
    id::Region,
    mode::Mode,
    plan::{Change, ChangeKey, Effect, Plan, StepKey, Verdict},
};

/// One thing that happened in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "entry")]
pub enum Entry {
    /// The run begins. Its playbook is pinned by its text.
    Opened {
        /// The playbook's name.
        playbook: String,
        /// The playbook's text.
        source: String,
        /// SHA-256 of that text.
        digest: String,
        /// What the run is about.
        subject: Subject,
        /// The finding that opened it.
        finding: Box<FindingNote>,
        /// The mode of the configuration when it opened.
        mode: Mode,
        /// Whether only observation is allowed for it, and why (a sample finding).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        observe_only: Option<String>,
        /// When Cordon took the finding in.
        detected_at: Timestamp,
    },
    /// Another finding, or a later version of one, belongs to this run.
    FindingJoined {
        /// The finding.
        finding: Box<FindingNote>,
        /// Whether it tells something new, so that a new generation begins.
        renews: bool,
    },
    /// What a step found makes something else of the subject: a new generation begins.
    Turned {
        /// The part it plays from now on.
        role: ResourceRole,
        /// Why, in the playbook's words.
        why: String,
    },
    /// The account is one of ours and may be worked in.
    Admitted {
        /// What expressions see as `account`.
        account: Value,
    },
    /// It is looked at although the account or an OU forbids even that: the opt-out is new, and the policies say so.
    LookedOn {
        /// Whose opt-out, since when, and which policies.
        why: String,
    },
    /// A later generation finds nothing different for this step.
    Kept {
        /// The step.
        step: StepKey,
        /// The generation.
        generation: u32,
    },
    /// A later generation makes a new instance of a step.
    Renewed {
        /// The new instance.
        step: StepKey,
        /// The generation.
        generation: u32,
    },
    /// The step is not done, and why.
    Skipped {
        /// The step.
        step: StepKey,
        /// Why.
        why: String,
    },
    /// Parameters were rendered and a plan was made.
    Planned {
        /// The step.
        step: StepKey,
        /// The rendered parameters.
        with: Value,
        /// The plan, `before` included.
        plan: Box<Plan>,
        /// The plan's digest.
        digest: String,
        /// The Region it works in, where that is not the subject's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        region: Option<Region>,
    },
    /// The mode allows no more than the plan; or an earlier outcome is needed first.
    Observed {
        /// The step.
        step: StepKey,
        /// Why it stays a plan.
        why: String,
    },
    /// Everything is already as the step wants it.
    AlreadyDone {
        /// The step.
        step: StepKey,
        /// Attributes of ours that it now has a claim on.
        claims: Vec<ClaimFrom>,
    },
    /// The policies were asked about it, before the gate decided.
    Judged {
        /// The step.
        step: StepKey,
        /// What they said, and to what.
        answer: Box<PolicyAnswer>,
    },
    /// Persons are asked.
    Asked {
        /// The step.
        step: StepKey,
        /// What the answer is bound to.
        digest: String,
        /// Why a person must say it.
        why: String,
        /// After this the question is void.
        expires: Timestamp,
        /// How many different persons have to say yes.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        people: u8,
    },
    /// A person said yes to exactly this plan.
    Approved {
        /// The step.
        step: StepKey,
        /// The plan's digest.
        digest: String,
        /// Who.
        by: Person,
        /// Until when the yes counts.
        expires: Timestamp,
        /// The identity by which it was proven who it is: an ARN as STS tells it, `slack:U…`.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        identity: String,
    },
    /// A person said no.
    Refused {
        /// The step.
        step: StepKey,
        /// Who.
        by: Person,
        /// Why, in the person's words.
        why: String,
        /// As that of a yes.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        identity: String,
    },
    /// Not enough people answered in time: the same plan is asked about once more. Each yes that was said counted until then.
    Escalated {
        /// The step.
        step: StepKey,
        /// After this the question is void.
        expires: Timestamp,
    },
    /// Nobody answered in time.
    AskExpired {
        /// The step.
        step: StepKey,
    },
    /// The gate said yes.
    Decided {
        /// The step.
        step: StepKey,
        /// In words: what the decision rests on.
        because: String,
    },
    /// A warrant was given: from here on the step's `before` is fixed.
    ApplyStarted {
        /// The step.
        step: StepKey,
        /// Counts from 1.
        attempt: u32,
        /// The lease's epoch.
        epoch: u64,
        /// Attributes that were already as wanted because an earlier step of ours made them so: they are claimed too.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        also: Vec<ClaimFrom>,
        /// Whether it changes nothing in a member account (a note on a finding): nobody looks at it again.
        #[serde(default, skip_serializing_if = "is_false")]
        uncounted: bool,
    },
    /// Another instance of the step takes over attributes that somebody had changed back.
    LetGo {
        /// The step that lets go.
        step: StepKey,
        /// Of these attributes.
        keys: Vec<ChangeKey>,
        /// Who takes over.
        to: StepKey,
    },
    /// A change that is in effect was looked at again.
    Looked {
        /// The step.
        step: StepKey,
        /// Which of the playbook's looks it was, from 1.
        look: u32,
        /// How long after the change came into effect that look is due.
        after: SignedDuration,
        /// What was seen.
        found: Box<Sight>,
    },
    /// Something slow was started.
    Pending {
        /// The step.
        step: StepKey,
        /// How to ask after it.
        ticket: Value,
        /// When to ask.
        due: Timestamp,
    },
    /// The change's calls were all answered well. Not yet read back.
    Applied {
        /// The step.
        step: StepKey,
        /// What came of it.
        outcome: Value,
    },
    /// The change failed.
    ApplyFailed {
        /// The step.
        step: StepKey,
        /// How far it got.
        effect: Effect,
        /// What happened.
        error: String,
        /// When to look again; `None`: not again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        again: Option<Timestamp>,
        /// Whether this counts against the tries (a failure) or not (a turn that did not come).
        counts: bool,
    },
    /// The post-condition was read back.
    Verified {
        /// The step.
        step: StepKey,
        /// What was read.
        verdict: Verdict,
        /// When to read again, where it may only need time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        again: Option<Timestamp>,
    },
    /// After a crash or a lost answer, the world was read.
    Recovered {
        /// The step.
        step: StepKey,
        /// What was read.
        verdict: Verdict,
    },
    /// A probe has its answer.
    ProbeDone {
        /// The step.
        step: StepKey,
        /// The rendered parameters.
        with: Value,
        /// What it found.
        outcome: Value,
        /// SHA-256 of what it kept as evidence.
        #[serde(default)]
        evidence: Vec<String>,
    },
    /// It could not be done now; it is tried again later. No attempt is counted.
    Deferred {
        /// The step, or the run's admission.
        step: Option<StepKey>,
        /// Why.
        why: String,
        /// When to try again.
        until: Timestamp,
        /// Whether this counts against the tries (a failure) or not (a turn that did not come).
        counts: bool,
    },
    /// It failed for good; the playbook says the run goes on, or fails.
    Failed {
        /// The step.
        step: StepKey,
        /// A stable word.
        code: String,
        /// What happened, to what, and what to do.
        why: String,
    },
    /// It waits for a person.
    Held {
        /// The step; `None`: the whole run.
        step: Option<StepKey>,
        /// Why.
        hold: Hold,
    },
    /// A person answered the holds.
    Released {
        /// The step; `None`: the whole run.
        step: Option<StepKey>,
        /// Who.
        by: Person,
    },
    /// A person wants failed steps tried again.
    Retried {
        /// The step; `None`: all failed ones.
        step: Option<StepKey>,
        /// Who.
        by: Person,
    },
    /// A change is to be undone.
    UndoAsked {
        /// The step.
        step: StepKey,
        /// By whom or what.
        cause: UndoCause,
    },
    /// A warrant to undo was given.
    UndoStarted {
        /// The step.
        step: StepKey,
        /// Counts from 1.
        attempt: u32,
        /// The lease's epoch.
        epoch: u64,
        /// The attributes to restore, and from whose `before`.
        from: Vec<ClaimFrom>,
    },
    /// A freeze stops the undo; it goes on after a thaw.
    UndoFrozen {
        /// The step.
        step: StepKey,
        /// Which freeze, in words.
        why: String,
    },
    /// What a freeze had stopped is looked at again.
    Thawed {
        /// Who thawed.
        by: Person,
        /// What was thawed, and why.
        why: String,
    },
    /// The undo is over.
    Undone {
        /// The step.
        step: StepKey,
        /// What was put back.
        restored: Vec<Change>,
        /// What was left, and why (another run holds it).
        #[serde(default)]
        left: Vec<String>,
    },
    /// The undo may not or cannot go on.
    ByHand {
        /// The step.
        step: StepKey,
        /// What a person has to do.
        steps: Vec<String>,
    },
    /// An undo of all that the run changed stopped before this step: it stands as it stood.
    UndoStopped {
        /// The step.
        step: StepKey,
        /// The step that it stopped at.
        at: StepKey,
    },
    /// The undo failed and is tried again, or not.
    UndoFailed {
        /// The step.
        step: StepKey,
        /// What happened.
        error: String,
        /// When to try again; `None`: a person is needed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        again: Option<Timestamp>,
    },
    /// The effect is unknown and cannot be found out: a person is needed.
    Stuck {
        /// The step.
        step: StepKey,
        /// What is unknown.
        why: String,
    },
    /// A person ended the incident.
    ClosedBy {
        /// Who.
        by: Person,
        /// Why.
        why: String,
    },
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

fn one() -> u8 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_one(people: &u8) -> bool {
    *people == 1
}

impl Entry {
    /// The step that it is about.
    #[must_use]
    pub fn step(&self) -> Option<&StepKey> {
        match self {
            Self::Opened { .. }
            | Self::FindingJoined { .. }
            | Self::Turned { .. }
            | Self::Admitted { .. }
            | Self::LookedOn { .. }
            | Self::Thawed { .. }
            | Self::ClosedBy { .. } => None,
            Self::Deferred { step, .. } | Self::Held { step, .. } | Self::Released { step, .. } | Self::Retried { step, .. } => {
                step.as_ref()
            }
            Self::Kept { step, .. }
            | Self::Renewed { step, .. }
            | Self::Skipped { step, .. }
            | Self::Planned { step, .. }
            | Self::Observed { step, .. }
            | Self::AlreadyDone { step, .. }
            | Self::Judged { step, .. }
            | Self::Asked { step, .. }
            | Self::Approved { step, .. }
            | Self::Refused { step, .. }
            | Self::Escalated { step, .. }
            | Self::AskExpired { step }
            | Self::Decided { step, .. }
            | Self::ApplyStarted { step, .. }
            | Self::Pending { step, .. }
            | Self::Applied { step, .. }
            | Self::ApplyFailed { step, .. }
            | Self::Verified { step, .. }
            | Self::Recovered { step, .. }
            | Self::ProbeDone { step, .. }
            | Self::Failed { step, .. }
            | Self::UndoAsked { step, .. }
            | Self::UndoStarted { step, .. }
            | Self::UndoFrozen { step, .. }
            | Self::UndoStopped { step, .. }
            | Self::LetGo { step, .. }
            | Self::Looked { step, .. }
            | Self::Undone { step, .. }
            | Self::ByHand { step, .. }
            | Self::UndoFailed { step, .. }
            | Self::Stuck { step, .. } => Some(step),
        }
    }

    /// Puts off the times at which something is tried again, or a question is over.
    pub fn put_off(&mut self, by: SignedDuration) {
        if let Self::Looked { found, .. } = self {
            return found.put_off(by);
        }
        let time = match self {
            Self::Deferred { until, .. } => until,
            Self::Asked { expires, .. } | Self::Escalated { expires, .. } => expires,
            Self::Pending { due, .. } => due,
            Self::ApplyFailed { again: Some(again), .. }
            | Self::Verified { again: Some(again), .. }
            | Self::UndoFailed { again: Some(again), .. } => again,
            _ => return,
        };
        *time = time.checked_add(by).unwrap_or(Timestamp::MAX);
    }

    /// Whether the step's locks end with this entry.
    #[must_use]
    pub fn unlocks(&self) -> bool {
        match self {
            Self::Verified { verdict, again, .. } => *verdict == Verdict::InEffect || again.is_none(),
            Self::Recovered { verdict, .. } => *verdict == Verdict::InEffect,
            Self::Failed { .. }
            | Self::Undone { .. }
            | Self::ByHand { .. }
            | Self::Stuck { .. }
            | Self::Held { .. }
            | Self::UndoFrozen { .. } => true,
            Self::UndoFailed { again, .. } => again.is_none(),
            _ => false,
        }
    }
}
