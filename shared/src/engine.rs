//! The engine: a pure function from the view of a run's journal, and the time, to the commands wanted now.
//!
//! It is level-triggered and does no I/O. A driver starts the commands that are not running; a command has happened only when
//! its result is an [`Entry`].

mod anew;
mod approval;
pub mod entry;
pub mod look;
pub mod next;
pub mod stand;
pub mod state;
pub mod step;
pub mod view;
pub mod want;

pub use approval::Approval;
pub use entry::{ClaimFrom, Entry, FindingNote, Hold, Person, UndoCause};
pub use look::{Looks, NowIs, Reverted, Sight};
pub use next::{Command, Next, Pace, after_death, expired, next};
pub use stand::StepState;
pub use state::{REVERTED, RunState, Summary, UNDO_STOPPED, contained_at, reverted_why, summary, undo_stopped};
pub use step::{StepView, WholeUndo};
pub use view::{Illegal, View};
pub use want::Demand;

#[cfg(test)]
mod history;
#[cfg(test)]
mod history_limits;
#[cfg(test)]
mod history_tests;
#[cfg(test)]
mod history_undo;
#[cfg(test)]
mod look_tests;
#[cfg(test)]
mod opt_out_tests;
#[cfg(test)]
mod policy_tests;
#[cfg(test)]
mod want_tests;
