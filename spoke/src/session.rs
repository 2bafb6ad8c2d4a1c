//! Sessions in the organization's accounts.
//!
//! **Read sessions**: one per account and playbook, narrowed to what the playbook reads, shared by incidents, renewed five minutes early.
//! **Write sessions**: one per incident and step, 15 minutes, narrowed to the step's plan, carrying the incident in source identity and
//! session tags, opened only with a [`Warrant`] and good no longer than it lives.
//!
//! The hub's own credentials come from the standard environment and profile only. What holds credentials prints none.

mod clients;
mod door;
mod error;
mod presign;
pub mod proof;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use cordon_shared::{
    arn::Arn,
    clock::Clock,
    gate::{Purpose, Warrant},
    id::{AccountId, CellId, IncidentId, Region},
    plan::StepKey,
};
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use clients::{Base, Pool, Session, SessionKey, Site};
use door::{Door, Entry, READ_LASTS, Renewed, WRITE_LASTS};

pub use clients::Clients;
pub use error::SessionError;

use crate::{
    action::ActionError,
    connector::shared_client,
    limits::{Access, Limits},
    permission::{Permission, read_policy},
};

/// The source identity of read sessions. Those of write sessions are `cordon-inc-…`; a role's trust may ask for `cordon-*`.
pub const READ_IDENTITY: &str = "cordon-read";
/// The session tag, and the tag of what is made, that says which incident it was.
pub const RUN_TAG: &str = "cordon:run";
/// The tag that says which step it was. `#` is no character of a session tag's value: `block-source#2` is `block-source:2` there.
pub const STEP_TAG: &str = "cordon:step";

/// How sessions are opened.
#[derive(Debug, Clone)]
pub struct SessionSettings {
    /// The account that the hub runs in.
    pub hub_account: AccountId,
    /// Where global services and the fallback of STS are called.
    pub home_region: Region,
    /// The spoke role's name, with its path if it has one.
    pub role_name: String,
    /// The external id; `{account}` is replaced by the account's id.
    pub external_id: String,
    /// The ARN of a role that reads the organization; `None`: the hub's own rights do.
    pub org_read_role: Option<String>,
    /// The name of a narrow role in the hub's account for changes seated there; `None`: the hub's own rights, unnarrowed.
    pub hub_role: Option<String>,
    /// How long one attempt of a call may take, from the moment its token is spent until its whole answer is there.
    pub attempt_timeout: Duration,
}

impl SessionSettings {
    /// The charter's defaults: role `CordonSpoke`, the account's id as external id, 10 seconds for an attempt.
    #[must_use]
    pub fn new(hub_account: AccountId, home_region: Region) -> Self {
        Self {
            hub_account,
            home_region,
            role_name: "CordonSpoke".to_owned(),
            external_id: "{account}".to_owned(),
            org_read_role: None,
            hub_role: None,
            attempt_timeout: Duration::from_secs(10),
        }
    }

    fn check(&self) -> Result<(), SessionError> {
        let wrong = |what: String| Err(SessionError::Settings(what));
        let name =
            |name: &str| !name.is_empty() && name.len() <= 576 && name.chars().all(|c| valid(c) || c == '/') && !name.starts_with('/');
        if self.home_region == Region::global() {
            return wrong("the home Region must be a Region, not `global`".to_owned());
        }
        for role in std::iter::once(&self.role_name).chain(&self.hub_role) {
            if !name(role) {
                return wrong(format!("`{role}` is not the name of a role"));
            }
        }
        // Characters and lengths of an external id: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
        let external = self.external_id.replace("{account}", self.hub_account.as_str());
        if external.len() < 2 || external.len() > 1_224 || !external.chars().all(|c| valid(c) || c == ':' || c == '/') {
            return wrong(format!("`{}` is not an external id: 2 to 1,224 letters, digits and +=,.@:/-_", self.external_id));
        }
        if let Some(role) = &self.org_read_role
            && role.parse::<Arn>().ok().is_none_or(|arn| arn.service() != "iam" || arn.account().is_none())
        {
            return wrong(format!("`{role}` is not the ARN of a role"));
        }
        Ok(())
    }
}

/// Opens sessions and keeps them. Cheap to clone.
#[derive(Clone)]
pub struct Sessions(Arc<Inner>);

struct Inner {
    settings: SessionSettings,
    base: Arc<Base>,
    door: Arc<Door>,
    pool: Arc<Pool>,
    caller: OnceCell<AccountId>,
    written: AtomicU64,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

impl Sessions {
    /// Reads the hub's AWS settings from the standard environment and profile (`AWS_PROFILE`, `AWS_ENDPOINT_URL`, …). Calls nobody.
    ///
    /// # Errors
    /// [`SessionError::Settings`] when no session could be opened with them.
    pub async fn new(settings: SessionSettings, limits: Limits, clock: Arc<dyn Clock>) -> Result<Self, SessionError> {
        settings.check()?;
        let http = shared_client();
        let config = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .region(aws_config::Region::new(settings.home_region.as_str().to_owned()))
            .http_client(http.clone())
            .load()
            .await;
        Ok(Self::build(settings, limits, clock, http, config))
    }

    /// Sessions that call `endpoint` for everything, with made-up credentials of the hub: for tests and drills against a stand-in of AWS.
    ///
    /// # Errors
    /// As [`Sessions::new`].
    pub fn at_endpoint(settings: SessionSettings, limits: Limits, clock: Arc<dyn Clock>, endpoint: &str) -> Result<Self, SessionError> {
        settings.check()?;
        let http = shared_client();
        let credentials = Credentials::new("AKIAEXAMPLEHUB000000", "made up", None, None, "made up");
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .endpoint_url(endpoint)
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .sleep_impl(aws_smithy_async::rt::sleep::TokioSleep::new())
            .build();
        Ok(Self::build(settings, limits, clock, http, config))
    }

    fn build(
        settings: SessionSettings,
        limits: Limits,
        clock: Arc<dyn Clock>,
        http: aws_smithy_runtime_api::client::http::SharedHttpClient,
        config: SdkConfig,
    ) -> Self {
        let base = Arc::new(Base {
            config,
            http,
            limits,
            clock,
            hub: settings.hub_account.clone(),
            home: settings.home_region.clone(),
            attempt_timeout: settings.attempt_timeout,
        });
        let door = Arc::new(Door::new(Arc::clone(&base)));
        Self(Arc::new(Inner { settings, base, door, pool: Arc::default(), caller: OnceCell::new(), written: AtomicU64::new(0) }))
    }

    fn clients(&self, key: SessionKey, site: Site) -> Clients {
        let session = Session { key, site, pool: Arc::clone(&self.0.pool) };
        Clients { base: Arc::clone(&self.0.base), session: Arc::new(session) }
    }

    /// The hub's own rights, for its own reading.
    #[must_use]
    pub fn hub(&self, region: &Region) -> Clients {
        let cell = CellId::new(self.0.settings.hub_account.clone(), region.clone());
        self.clients(SessionKey::Hub, Site { cell, access: Access::Read, credentials: None, watch: None })
    }

    /// The account that the hub's credentials belong to. Asked once.
    ///
    /// # Errors
    /// [`SessionError::NoCredentials`] and the ways a call can fail.
    pub async fn caller(&self) -> Result<AccountId, SessionError> {
        let ask = || async {
            let sts = self.0.door.sts(&self.0.settings.home_region);
            let answer = sts.get_caller_identity().send().await.map_err(|error| door::plain(&error))?;
            let account = answer.account().unwrap_or_default();
            account.parse().map_err(|_| SessionError::NoAnswer(format!("`{account}` is not an account")))
        };
        self.0.caller.get_or_try_init(ask).await.cloned()
    }

    /// Reads the organization: the reader role's session, or the hub's own rights.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn organization(&self) -> Result<Clients, SessionError> {
        let Some(role) = &self.0.settings.org_read_role else { return Ok(self.hub(&Region::global())) };
        let account = role.parse::<Arn>().ok().and_then(|arn| arn.account());
        let account = account.ok_or_else(|| SessionError::Settings(format!("`{role}` is not the ARN of a role")))?;
        let cell = CellId::new(account.clone(), Region::global());
        let entry = Entry {
            key: Arc::from("organization"),
            external_id: self.external_id(&account),
            account,
            role: role.clone(),
            name: "cordon-read-organization".to_owned(),
            identity: READ_IDENTITY.to_owned(),
            policy: None,
            tags: Vec::new(),
            seconds: READ_LASTS,
            cell,
        };
        self.shared(SessionKey::Organization, entry).await
    }

    /// The read session of a playbook in a cell's account.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn read(&self, cell: &CellId, playbook: &str, reads: &[Permission]) -> Result<Clients, SessionError> {
        let policy = read_policy(reads, self.partition(&cell.region), cell.account.as_str())?;
        let digest = Sha256::digest(policy.as_bytes());
        let digest = digest.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        let key: Arc<str> = Arc::from(format!("{}/{playbook}/{digest}", cell.account));
        let entry = Entry {
            key: Arc::clone(&key),
            account: cell.account.clone(),
            role: self.role(&cell.account, &cell.region, &self.0.settings.role_name),
            external_id: self.external_id(&cell.account),
            name: session_name(&format!("cordon-read-{playbook}")),
            identity: READ_IDENTITY.to_owned(),
            policy: Some(policy),
            tags: Vec::new(),
            seconds: READ_LASTS,
            cell: cell.clone(),
        };
        self.shared(SessionKey::Read(key), entry).await
    }

    async fn shared(&self, key: SessionKey, entry: Entry) -> Result<Clients, SessionError> {
        // Opened now, so that what is wrong is known before the first call; renewed by the clients' own credentials provider.
        self.0.door.shared(&entry).await?;
        let cell = entry.cell.clone();
        let renewed = Renewed { door: Arc::clone(&self.0.door), entry: Arc::new(entry) };
        let credentials = Some(SharedCredentialsProvider::new(renewed));
        Ok(self.clients(key, Site { cell, access: Access::Read, credentials, watch: None }))
    }

    /// A write session in a member account: this step of this incident, narrowed by `policy`, 15 minutes, while the warrant lives.
    ///
    /// # Errors
    /// [`SessionError`]; [`SessionError::Stopped`] when the warrant is of another step or may not be used any more.
    pub async fn write(
        &self,
        cell: &CellId,
        run: IncidentId,
        step: &StepKey,
        policy: String,
        warrant: &Warrant,
    ) -> Result<Clients, SessionError> {
        let role = self.role(&cell.account, &cell.region, &self.0.settings.role_name);
        self.changing(cell, role, run, step, policy, warrant).await
    }

    /// A write session in the hub's own account, for changes that are seated there, through the narrow role for them. Without one, the
    /// hub's own rights, which `policy` does not narrow.
    ///
    /// # Errors
    /// As [`Sessions::write`].
    pub async fn write_hub(
        &self,
        region: &Region,
        run: IncidentId,
        step: &StepKey,
        policy: String,
        warrant: &Warrant,
    ) -> Result<Clients, SessionError> {
        let cell = CellId::new(self.0.settings.hub_account.clone(), region.clone());
        match &self.0.settings.hub_role {
            Some(name) => self.changing(&cell, self.role(&cell.account, region, name), run, step, policy, warrant).await,
            None => {
                self.usable(run, step, warrant)?;
                Ok(self.clients(self.written(), Site { cell, access: Access::Write, credentials: None, watch: Some(warrant.watch()) }))
            }
        }
    }

    async fn changing(
        &self,
        cell: &CellId,
        role: String,
        run: IncidentId,
        step: &StepKey,
        policy: String,
        warrant: &Warrant,
    ) -> Result<Clients, SessionError> {
        self.usable(run, step, warrant)?;
        let id = run.to_string();
        let entry = Entry {
            key: Arc::from(""),
            account: cell.account.clone(),
            role,
            external_id: self.external_id(&cell.account),
            // The last digits of a UUID version 7 are its random ones.
            name: session_name(&format!("cordon-{}-{step}", id.get(24..).unwrap_or(&id))),
            identity: session_name(&format!("cordon-{id}")),
            policy: Some(policy),
            tags: vec![(RUN_TAG, id), (STEP_TAG, step.to_string().replace('#', ":"))],
            seconds: WRITE_LASTS,
            cell: cell.clone(),
        };
        let opened = self.0.door.assume(&entry).await?;
        let credentials = Some(SharedCredentialsProvider::new(opened.credentials));
        Ok(self.clients(self.written(), Site { cell: entry.cell, access: Access::Write, credentials, watch: Some(warrant.watch()) }))
    }

    /// What stands in a write session's place when an undo is only looked at: the clients of a read session, none of whose calls leaves. STS is
    /// not asked.
    ///
    /// # Errors
    /// [`SessionError::Stopped`] when the warrant is good for more than looking.
    pub fn looking(&self, read: &Clients, warrant: &Warrant) -> Result<Clients, SessionError> {
        if warrant.purpose() != Purpose::Preview || !warrant.watch().only_looks() {
            return Err(SessionError::Stopped("the warrant is for changing something, not for looking".to_owned()));
        }
        let site = Site {
            cell: read.cell().clone(),
            access: Access::Write,
            credentials: read.session.site.credentials.clone(),
            watch: Some(warrant.watch()),
        };
        Ok(self.clients(self.written(), site))
    }

    fn usable(&self, run: IncidentId, step: &StepKey, warrant: &Warrant) -> Result<(), SessionError> {
        if warrant.run() != run || warrant.step() != step {
            return Err(SessionError::Stopped(format!(
                "the warrant is for `{}` of {}, not for `{step}` of {run}",
                warrant.step(),
                warrant.run()
            )));
        }
        if warrant.purpose() == Purpose::Preview || warrant.watch().only_looks() {
            return Err(SessionError::Stopped("the warrant is for looking, not for changing something".to_owned()));
        }
        match warrant.watch().stopped(self.0.base.clock.now()) {
            Some(why) => Err(SessionError::Stopped(why.to_owned())),
            None => Ok(()),
        }
    }

    fn written(&self) -> SessionKey {
        SessionKey::Write(self.0.written.fetch_add(1, Ordering::Relaxed))
    }

    fn partition(&self, region: &Region) -> &'static str {
        self.0.base.place(region).partition()
    }

    fn role(&self, account: &AccountId, region: &Region, name: &str) -> String {
        format!("arn:{}:iam::{account}:role/{name}", self.partition(region))
    }

    fn external_id(&self, account: &AccountId) -> String {
        self.0.settings.external_id.replace("{account}", account.as_str())
    }
}

/// `[\w+=,.@-]`: what the names of roles and sessions, and source identities, are made of
/// (<https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>).
fn valid(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '=' | ',' | '.' | '@' | '-')
}

/// Between 2 and 64 valid characters.
fn session_name(text: &str) -> String {
    text.chars().map(|c| if valid(c) { c } else { '-' }).take(64).collect()
}

/// Our own reason behind an SDK error: the limiter had no token, the warrant is no longer good, or there is no session to sign with.
/// `None`: it is an answer of AWS, or there was none.
#[must_use]
pub fn stop_in(error: &(dyn std::error::Error + 'static)) -> Option<ActionError> {
    door::refused(error).map(|reason| match reason {
        SessionError::NotSent(what) => ActionError::NotSent(what),
        SessionError::Stopped(why) => ActionError::Stopped(why),
        SessionError::OnlyLooking => ActionError::OnlyLooking,
        other => ActionError::Session(other),
    })
}

#[cfg(test)]
mod tests;
