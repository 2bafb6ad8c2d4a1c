//! How sessions are opened: STS AssumeRole. `aws-config`'s own provider knows no source identity, so STS is called directly.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, error::CredentialsError, future},
};
use aws_sdk_sts::{
    config::retry::RetryConfig,
    error::{ProvideErrorMetadata, SdkError},
    types::Tag,
};
use cordon_shared::{
    arn::Arn,
    id::{AccountId, CellId, Region},
};
use jiff::{SignedDuration, Timestamp};
use moka::{future::Cache, ops::compute::Op};

use super::{
    clients::{Base, Site},
    error::SessionError,
};
use crate::{
    connector::{Refusal, THROTTLING, chain},
    limits::{Access, Service, on_behalf},
};

/// How long a read session lasts: the longest that a role assumed by a role may
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles.html>, role chaining), and the default maximum of a role.
pub(super) const READ_LASTS: i32 = 3_600;
/// How long a write session lasts: the shortest that STS gives (<https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>).
pub(super) const WRITE_LASTS: i32 = 900;
/// How long before its end a read session is replaced.
const EARLY: SignedDuration = SignedDuration::from_mins(5);
/// How long a refusal is remembered: a storm of findings in an account without the role asks STS no more often than that.
const REFUSAL_LASTS: Duration = Duration::from_secs(5);
/// How long an unused read session is kept at most.
const IDLE: Duration = Duration::from_secs(3_600);
/// How many read sessions are kept at most: those of 5,000 accounts with two playbooks each.
const KEPT: u64 = 10_000;

/// What is asked of STS.
pub(super) struct Entry {
    /// What a read session is kept under.
    pub(super) key: Arc<str>,
    /// The account that the session must turn out to be in.
    pub(super) account: AccountId,
    pub(super) role: String,
    pub(super) external_id: String,
    pub(super) name: String,
    pub(super) identity: String,
    pub(super) policy: Option<String>,
    pub(super) tags: Vec<(&'static str, String)>,
    pub(super) seconds: i32,
    /// The cell it is opened for: STS is called in its Region, in its turn.
    pub(super) cell: CellId,
}

/// Credentials of a session, checked.
#[derive(Clone)]
pub(super) struct Opened {
    pub(super) credentials: Credentials,
    expires: Timestamp,
}

impl Opened {
    fn stale(&self, now: Timestamp) -> bool {
        now.checked_add(EARLY).unwrap_or(Timestamp::MAX) >= self.expires
    }
}

pub(super) struct Door {
    base: Arc<Base>,
    /// STS clients of the hub, by Region.
    sts: Mutex<HashMap<Region, aws_sdk_sts::Client>>,
    opened: Cache<Arc<str>, Opened>,
    refused: Cache<Arc<str>, SessionError>,
}

impl Door {
    pub(super) fn new(base: Arc<Base>) -> Self {
        Self {
            base,
            sts: Mutex::default(),
            opened: Cache::builder().max_capacity(KEPT).time_to_idle(IDLE).build(),
            refused: Cache::builder().max_capacity(KEPT).time_to_live(REFUSAL_LASTS).build(),
        }
    }

    /// A read session: the one that is open, or a new one. However many ask, STS is asked once.
    pub(super) async fn shared(&self, entry: &Entry) -> Result<Opened, SessionError> {
        if let Some(opened) = self.opened.get(&entry.key).await {
            if !opened.stale(self.base.clock.now()) {
                return Ok(opened);
            }
            // Of those who find it stale, the first removes it; the others find it gone, or replaced.
            let now = self.base.clock.now();
            let stale = |held: Option<moka::Entry<Arc<str>, Opened>>| {
                std::future::ready(match held {
                    Some(held) if held.value().stale(now) => Op::Remove,
                    _ => Op::Nop,
                })
            };
            self.opened.entry(Arc::clone(&entry.key)).and_compute_with(stale).await;
        }
        if let Some(refusal) = self.refused.get(&entry.key).await {
            return Err(refusal);
        }
        let opened = self.opened.try_get_with(Arc::clone(&entry.key), self.assume(entry)).await.map_err(|error| (*error).clone());
        if let Err(error @ SessionError::RoleMissing { .. }) = &opened {
            self.refused.insert(Arc::clone(&entry.key), error.clone()).await;
        }
        opened
    }

    /// A session of its own.
    pub(super) async fn assume(&self, entry: &Entry) -> Result<Opened, SessionError> {
        let (there, home) = (self.base.place(&entry.cell.region), &self.base.home);
        if there != home {
            // Once there, and no waiting: home is as good.
            match self.ask(entry, there, 1).await {
                Err(error) if may_work_at_home(&error) => tracing::debug!(cell = %entry.cell, %error, "STS is asked at home"),
                answer => return answer,
            }
        }
        self.ask(entry, home, 3).await
    }

    pub(super) fn sts(&self, region: &Region) -> aws_sdk_sts::Client {
        let mut clients = self.sts.lock().unwrap_or_else(PoisonError::into_inner);
        clients
            .entry(region.clone())
            .or_insert_with(|| {
                let cell = CellId::new(self.base.hub.clone(), region.clone());
                let site = Site { cell, access: Access::Read, credentials: None, watch: None };
                let config = self.base.config(&site, Service::Sts);
                let config = aws_sdk_sts::config::Builder::from(&config).retry_partition(Base::partition(&site, Service::Sts)).build();
                aws_sdk_sts::Client::from_conf(config)
            })
            .clone()
    }

    async fn ask(&self, entry: &Entry, region: &Region, attempts: u32) -> Result<Opened, SessionError> {
        let mut tags = Vec::new();
        for (key, value) in &entry.tags {
            let tag = Tag::builder().key(*key).value(value).build();
            tags.push(tag.map_err(|error| SessionError::Settings(error.to_string()))?);
        }
        let request = self
            .sts(region)
            .assume_role()
            .role_arn(&entry.role)
            .role_session_name(&entry.name)
            .external_id(&entry.external_id)
            .source_identity(&entry.identity)
            .duration_seconds(entry.seconds)
            .set_policy(entry.policy.clone())
            .set_tags(Some(tags).filter(|tags| !tags.is_empty()))
            .customize()
            .config_override(aws_sdk_sts::config::Config::builder().retry_config(RetryConfig::standard().with_max_attempts(attempts)));
        let answer = on_behalf(&entry.cell, request.send()).await.map_err(|error| sort(entry, &error))?;
        let nothing = || SessionError::NoAnswer("the answer has no credentials".to_owned());
        let user = answer.assumed_role_user().map(aws_sdk_sts::types::AssumedRoleUser::arn).unwrap_or_default();
        if user.parse::<Arn>().ok().and_then(|arn| arn.account()).as_ref() != Some(&entry.account) {
            return Err(SessionError::WrongAccount { wanted: entry.account.clone(), got: user.chars().take(200).collect() });
        }
        let given = answer.credentials().ok_or_else(nothing)?;
        let expires = Timestamp::from_second(given.expiration().secs()).map_err(|_| nothing())?;
        let credentials = Credentials::new(
            given.access_key_id(),
            given.secret_access_key(),
            Some(given.session_token().to_owned()),
            Some(SystemTime::try_from(expires).map_err(|_| nothing())?),
            "cordon",
        );
        Ok(Opened { credentials, expires })
    }
}

/// Whether another Region's STS may do what this one did not: it is down, not enabled, does not know the hub's credentials (made elsewhere,
/// the Region opted out of), or throttles: each Region has a quota of its own.
fn may_work_at_home(error: &SessionError) -> bool {
    match error {
        SessionError::NoAnswer(_) | SessionError::Throttled(_) | SessionError::NoCredentials(_) => true,
        SessionError::Refused { code, .. } => code == "RegionDisabledException",
        _ => false,
    }
}

/// Codes of errors of an STS call (<https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html>).
pub(super) fn plain<E, R>(error: &SdkError<E, R>) -> SessionError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: fmt::Debug + 'static,
{
    let SdkError::ServiceError(context) = error else {
        return refused(error).unwrap_or_else(|| SessionError::NoAnswer(chain(error)));
    };
    let error = context.err();
    let (code, message) = (error.code().unwrap_or("unknown").to_owned(), error.message().unwrap_or("no message").to_owned());
    match code.as_str() {
        "ExpiredToken"
        | "ExpiredTokenException"
        | "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "NotAuthorized" => SessionError::NoCredentials(format!("{code}: {message}")),
        "PackedPolicyTooLarge" | "PackedPolicyTooLargeException" | "MalformedPolicyDocument" | "MalformedPolicyDocumentException" => {
            SessionError::PolicyRefused { code, message }
        }
        code if THROTTLING.contains(&code) => SessionError::Throttled(message),
        code if code.starts_with("Internal") || code.starts_with("ServiceUnavailable") => {
            SessionError::NoAnswer(format!("{code}: {message}"))
        }
        _ => SessionError::Refused { code, message },
    }
}

/// As [`plain`]; a refusal is about the role.
fn sort<E, R>(entry: &Entry, error: &SdkError<E, R>) -> SessionError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: fmt::Debug + 'static,
{
    match plain(error) {
        SessionError::Refused { code, message } if code == "AccessDenied" || code == "AccessDeniedException" => {
            SessionError::RoleMissing { account: entry.account.clone(), role: entry.role.clone(), message }
        }
        other => other,
    }
}

/// The session's own reason somewhere behind an SDK error that is no answer of a service.
pub(super) fn refused(error: &(dyn std::error::Error + 'static)) -> Option<SessionError> {
    let mut credentials = None;
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(refusal) = cause.downcast_ref::<Refusal>() {
            return match refusal {
                Refusal::NotSent(what) => Some(SessionError::NotSent(what.clone())),
                Refusal::Stopped(why) => Some(SessionError::Stopped(why.clone())),
                Refusal::OnlyLooking => Some(SessionError::OnlyLooking),
                Refusal::Unanswered(_) | Refusal::TimedOut(_) => None,
            };
        }
        if let Some(session) = cause.downcast_ref::<SessionError>() {
            return Some(session.clone());
        }
        if credentials.is_none() && cause.is::<CredentialsError>() {
            credentials = Some(SessionError::NoCredentials(chain(cause)));
        }
        next = cause.source();
    }
    credentials
}

/// Credentials of a read session, renewed as they run out.
pub(super) struct Renewed {
    pub(super) door: Arc<Door>,
    pub(super) entry: Arc<Entry>,
}

impl fmt::Debug for Renewed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Renewed({})", self.entry.role)
    }
}

impl ProvideCredentials for Renewed {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async move {
            self.door.shared(&self.entry).await.map(|opened| opened.credentials).map_err(CredentialsError::provider_error)
        })
    }
}
