//! Why there is no session.

use cordon_shared::id::AccountId;

use crate::permission::PolicyError;

/// Why a session could not be opened, or a call could not be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// STS refused: the role is not there, does not trust the hub, or asks for another external id. STS does not say which.
    #[error(
        "account {account} does not let the hub in through `{role}`: deploy the spoke role there (`cordon infra render`) or mend its trust; \
         STS says: {message}"
    )]
    RoleMissing {
        /// The account.
        account: AccountId,
        /// The role's ARN.
        role: String,
        /// AWS's words.
        message: String,
    },
    /// STS gave credentials of another account. They are dropped.
    #[error("the session is in {got}, not in account {wanted}; its credentials are dropped")]
    WrongAccount {
        /// Which account was meant.
        wanted: AccountId,
        /// What STS's `AssumedRoleUser.Arn` says.
        got: String,
    },
    /// The limiter had no token: STS was not asked, no attempt is counted.
    #[error("STS was not asked, the rate limit is reached: {0}")]
    NotSent(String),
    /// The warrant, the lease or a freeze forbids it.
    #[error("stopped before the session was opened: {0}")]
    Stopped(String),
    /// A changing call met a session that only looks.
    #[error("a changing call, which is only looked at")]
    OnlyLooking,
    /// STS throttles the hub's account.
    #[error("STS throttles the hub's account: {0}")]
    Throttled(String),
    /// No or no usable answer, in the target's Region or at home.
    #[error("no answer from STS: {0}")]
    NoAnswer(String),
    /// The hub has no credentials of its own, or they have expired.
    #[error(
        "the hub has no valid AWS credentials: {0}; they come from the standard environment and profile (`aws sts get-caller-identity` must work)"
    )]
    NoCredentials(String),
    /// The session policy cannot be made.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// STS does not take the policy: together with the tags it is too large when packed, or malformed.
    #[error("STS does not take the session policy: {code}: {message}; the step must be split by resource")]
    PolicyRefused {
        /// AWS's code.
        code: String,
        /// AWS's words.
        message: String,
    },
    /// STS said no for another reason.
    #[error("STS refused: {code}: {message}")]
    Refused {
        /// AWS's code.
        code: String,
        /// AWS's words.
        message: String,
    },
    /// A setting that no session can be opened with.
    #[error("{0}")]
    Settings(String),
}

impl SessionError {
    /// A stable word for it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::RoleMissing { .. } => "role-missing",
            Self::WrongAccount { .. } => "wrong-account",
            Self::NotSent(_) => "rate-limited",
            Self::Stopped(_) => "stopped",
            Self::OnlyLooking => "only-looking",
            Self::Throttled(_) => "throttled",
            Self::NoAnswer(_) => "no-answer",
            Self::NoCredentials(_) => "no-credentials",
            Self::Policy(_) | Self::PolicyRefused { .. } => "session-policy",
            Self::Refused { .. } => "sts-refused",
            Self::Settings(_) => "configuration",
        }
    }

    /// Whether the same may work later without anybody doing anything.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::NotSent(_) | Self::Throttled(_) | Self::NoAnswer(_))
    }

    /// Whether nothing was sent at all: the step goes back to its queue with no attempt counted.
    #[must_use]
    pub fn not_sent(&self) -> bool {
        matches!(self, Self::NotSent(_))
    }
}
