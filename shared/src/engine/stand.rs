//! Where a step instance stands.

use jiff::Timestamp;
use serde_json::Value;

use super::entry::{Hold, UndoCause};
use crate::plan::Effect;

/// Where a step stands.
#[derive(Debug, Clone, PartialEq)]
pub enum StepState {
    /// Not begun: its needs are not met, or its turn has not come.
    Waiting,
    /// Persons are asked.
    Asked {
        /// What the answer is bound to.
        digest: String,
        /// Why a person must say it.
        why: String,
        /// When the question becomes void.
        expires: Timestamp,
        /// How many different persons have to say yes.
        people: u8,
        /// Whether it is asked a second time, since not enough people answered the first.
        escalated: bool,
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
    /// To be undone, once it is thawed.
    UndoFrozen {
        /// By whom or what.
        cause: UndoCause,
        /// Which freeze stops it, in words.
        why: String,
        /// Since when.
        since: Timestamp,
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

impl StepState {
    /// Whether it is behind the run, one way or the other.
    pub(super) fn is_settled(&self) -> bool {
        matches!(
            self,
            StepState::InEffect
                | StepState::AlreadyDone
                | StepState::Done
                | StepState::Skipped { .. }
                | StepState::Observed { .. }
                | StepState::Undone { .. }
                | StepState::ByHand { .. }
                | StepState::Failed { .. }
                | StepState::Held(_)
                | StepState::Stuck { .. }
        )
    }

    /// Whether something was begun that has to come to an end first, so that nobody can close the run.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        matches!(
            self,
            StepState::Applying { .. }
                | StepState::Reapply
                | StepState::UndoWanted { .. }
                | StepState::Pending { .. }
                | StepState::Unverified { .. }
                | StepState::Broken { .. }
                | StepState::Undoing { .. }
                | StepState::UndoFrozen { .. }
        )
    }

    /// The state in the words of the command line's output.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            StepState::Waiting => "waiting",
            StepState::Asked { .. } => "waiting",
            StepState::Held(_) | StepState::UndoFrozen { .. } => "held",
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
}
