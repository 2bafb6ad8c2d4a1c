//! Exit codes: 0 well, held, waiting or out of scope; 2 usage or configuration; 3 an incident failed or is stuck; 4 some input was
//! rejected; 5 a state named by `--fail-on`; 130 interrupted; 1 anything else. Precedence 2, 1, 3, 4, 5, 0.

use cordon_shared::{engine::RunState, journal::JournalError};

use crate::{setup::SetupError, text::safe};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0.
    Well,
    /// 1.
    Other,
    /// 2.
    Usage,
    /// 3.
    Failed,
    /// 4.
    Rejected,
    /// 5.
    FailOn,
    /// 130.
    Interrupted,
}

impl Exit {
    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Well => 0,
            Self::Other => 1,
            Self::Usage => 2,
            Self::Failed => 3,
            Self::Rejected => 4,
            Self::FailOn => 5,
            Self::Interrupted => 130,
        }
    }
}

/// A command that could not do its work.
#[derive(Debug)]
pub struct Failure {
    /// Which exit.
    pub exit: Exit,
    /// For the reader.
    pub text: String,
}

impl Failure {
    /// Wrong usage or configuration.
    #[must_use]
    pub fn usage(text: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, text: text.into() }
    }
    /// Anything else.
    #[must_use]
    pub fn other(text: impl Into<String>) -> Self {
        Self { exit: Exit::Other, text: text.into() }
    }
}

impl From<SetupError> for Failure {
    fn from(error: SetupError) -> Self {
        match error {
            SetupError::Lease(_)
            | SetupError::Playbooks(_)
            | SetupError::PlaybookFolder { .. }
            | SetupError::Policies(_)
            | SetupError::Session(_) => Self::usage(error.to_string()),
            _ => Self::other(error.to_string()),
        }
    }
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        // One line: what people wrote into the journal is in some of them.
        let text = safe(&error.to_string());
        match error {
            JournalError::NoRun(_) | JournalError::Refused(_) => Self::usage(text),
            _ => Self::other(text),
        }
    }
}

/// What was met on the way, and the exit code it adds up to.
#[derive(Debug, Default)]
pub struct Tally {
    failed: bool,
    rejected: bool,
    named: bool,
    fail_on: Vec<String>,
    /// Interrupted by a signal.
    pub interrupted: bool,
}

impl Tally {
    /// Nothing met yet; `fail_on` are the states named on the command line.
    #[must_use]
    pub fn new(fail_on: Vec<String>) -> Self {
        Self { fail_on, ..Self::default() }
    }
    /// The same, with one that came to rest.
    #[must_use]
    pub fn of(mut self, state: RunState) -> Self {
        self.state(state);
        self
    }
    /// An incident came to rest.
    pub fn state(&mut self, state: RunState) {
        self.failed |= matches!(state, RunState::Failed | RunState::Stuck);
        self.named |= self.fail_on.iter().any(|named| named == state.as_str());
    }
    /// An input could not be used.
    pub fn rejected(&mut self) {
        self.rejected = true;
    }
    /// The exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        if self.interrupted {
            Exit::Interrupted
        } else if self.failed {
            Exit::Failed
        } else if self.rejected {
            Exit::Rejected
        } else if self.named {
            Exit::FailOn
        } else {
            Exit::Well
        }
    }
}
