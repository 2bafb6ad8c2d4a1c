//! What can go wrong when an action calls AWS, sorted by what is to be done about it.

use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use cordon_shared::{evidence::EvidenceError, plan::Effect};

use super::ParamsError;

/// A call that AWS refused for want of a permission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// The call, `ec2:DescribeInstances`.
    pub call: String,
    /// AWS's own words.
    pub message: String,
}

/// Why an action could not go on.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    /// The limiter had no token for it: nothing was sent, no attempt is counted.
    #[error("not sent, the rate limit is reached: {0}")]
    NotSent(String),
    /// The warrant, the lease or a freeze forbids further calls.
    #[error("stopped before the call: {0}")]
    Stopped(String),
    /// An undo that is only looked at came to a call that changes something.
    #[error("this is where it would change something")]
    OnlyLooking,
    /// AWS throttled it.
    #[error("AWS throttled {call}: {message}")]
    Throttled {
        /// The call.
        call: String,
        /// AWS's words.
        message: String,
    },
    /// AWS refused it for want of a permission.
    #[error("access denied to {}: {}; deploy the current spoke role (`cordon infra render`), and look for a service control policy", .0.call, .0.message)]
    Denied(Denied),
    /// No session in the account.
    #[error(transparent)]
    Session(#[from] crate::session::SessionError),
    /// What it is about is not there.
    #[error("{what} is not there: {message}")]
    Gone {
        /// The resource, or the call.
        what: String,
        /// AWS's words.
        message: String,
    },
    /// No or no usable answer: it may have happened.
    #[error("no answer to {call}: {message}")]
    Transient {
        /// The call.
        call: String,
        /// What is known.
        message: String,
    },
    /// AWS said no for another reason.
    #[error("{call} failed: {code}: {message}")]
    Service {
        /// The call.
        call: String,
        /// AWS's error code.
        code: String,
        /// AWS's words.
        message: String,
    },
    /// Evidence could not be kept.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    /// Parameters that do not fit.
    #[error(transparent)]
    Params(#[from] ParamsError),
    /// A defect of ours.
    #[error("{0}; this is a defect of Cordon, please report it")]
    Bug(String),
}

impl ActionError {
    /// A stable word for it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotSent(_) => "rate-limited",
            Self::Stopped(_) => "stopped",
            Self::OnlyLooking => "only-looking",
            Self::Throttled { .. } => "throttled",
            Self::Denied(_) => "access-denied",
            Self::Session(error) => error.code(),
            Self::Gone { .. } => "gone",
            Self::Transient { .. } => "no-answer",
            Self::Service { .. } => "aws-error",
            Self::Evidence(_) => "evidence",
            Self::Params(_) => "parameters",
            Self::Bug(_) => "defect",
        }
    }

    /// Whether the same may work later without anybody doing anything.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::NotSent(_) | Self::Throttled { .. } | Self::Transient { .. } => true,
            Self::Session(error) => error.may_pass(),
            _ => false,
        }
    }

    /// How far a change can have got by the call that failed like this.
    #[must_use]
    pub fn effect(&self) -> Effect {
        match self {
            Self::Transient { .. } => Effect::Unknown,
            _ => Effect::None,
        }
    }
}

/// A change that failed, and how far it got.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct ApplyError {
    /// How far.
    pub effect: Effect,
    /// What happened.
    pub error: ActionError,
}

impl ApplyError {
    /// A failure of a call after `done` earlier calls of the same change had taken effect.
    #[must_use]
    pub fn after(done: usize, error: ActionError) -> Self {
        let effect = match error.effect() {
            Effect::None if done > 0 => Effect::Partial,
            effect => effect,
        };
        Self { effect, error }
    }
}

impl From<ActionError> for ApplyError {
    fn from(error: ActionError) -> Self {
        Self::after(0, error)
    }
}

/// Error codes that mean throttling, over all services (the SDK's own list, and the codes that EC2, Organizations and Logs add).
const THROTTLING: &[&str] = &[
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottledException",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "BandwidthLimitExceeded",
    "LimitExceededException",
    "RequestThrottled",
    "SlowDown",
    "PriorRequestNotComplete",
    "EC2ThrottledException",
];

/// Error codes that mean a missing permission.
const DENIED: &[&str] = &[
    "AccessDenied",
    "AccessDeniedException",
    "UnauthorizedOperation",
    "Client.UnauthorizedOperation",
    "AuthFailure",
    "UnauthorizedException",
];

/// Sorts an SDK error. `call` is the IAM action it was for.
pub fn classify<E, R>(call: &str, error: SdkError<E, R>) -> ActionError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    let chain = chain(&error);
    if let Some(stop) = crate::session::stop_in(&error) {
        return stop;
    }
    match error {
        SdkError::ServiceError(context) => {
            let error = context.err();
            let code = error.code().unwrap_or("unknown").to_owned();
            let message = error.message().unwrap_or("no message").to_owned();
            let call = call.to_owned();
            if THROTTLING.contains(&code.as_str()) {
                ActionError::Throttled { call, message }
            } else if DENIED.contains(&code.as_str()) {
                ActionError::Denied(Denied { call, message })
            } else if code.ends_with(".NotFound") || code.ends_with("NotFoundException") || code == "NoSuchEntity" {
                ActionError::Gone { what: call, message: format!("{code}: {message}") }
            } else if code.starts_with("Internal")
                || code == "ServiceUnavailable"
                || code == "Unavailable"
                || code == "ServiceUnavailableException"
            {
                ActionError::Transient { call, message: format!("{code}: {message}") }
            } else {
                ActionError::Service { call, code, message }
            }
        }
        SdkError::ConstructionFailure(_) => ActionError::Bug(format!("{call} could not be built: {chain}")),
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => {
            ActionError::Transient { call: call.to_owned(), message: chain }
        }
        _ => ActionError::Transient { call: call.to_owned(), message: chain },
    }
}

/// An error and all its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
