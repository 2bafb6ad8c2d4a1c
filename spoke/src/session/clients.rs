//! SDK clients of a session, built when first wanted and kept while they are used.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_config::{
    SdkConfig, identity::IdentityCache, retry::RetryConfig, stalled_stream_protection::StalledStreamProtectionConfig,
    timeout::TimeoutConfig,
};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_sts::config::retry::RetryPartition;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use cordon_shared::{
    clock::Clock,
    gate::Watch,
    id::{AccountId, CellId, Region},
};

use crate::{
    connector::{Meter, Metered},
    limits::{Access, Limits, Service},
};

/// How many SDK clients are kept.
const KEPT: usize = 256;

/// How often the SDK sends one call at most, the first time included.
const ATTEMPTS: u32 = 3;

/// How long a connection may take to come up: the SDK's own default.
const CONNECT: Duration = Duration::from_millis(3_100);

/// What all sessions build their clients from.
pub(super) struct Base {
    /// AWS settings of the hub, credentials included.
    pub(super) config: SdkConfig,
    pub(super) http: SharedHttpClient,
    pub(super) limits: Limits,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) hub: AccountId,
    pub(super) home: Region,
    pub(super) attempt_timeout: Duration,
}

impl Base {
    /// The Region that is called for `region`: global services are called from home.
    pub(super) fn place<'a>(&'a self, region: &'a Region) -> &'a Region {
        if *region == Region::global() { &self.home } else { region }
    }

    /// Settings of one service's client in one session.
    pub(super) fn config(&self, site: &Site, service: Service) -> SdkConfig {
        let place = self.place(&site.cell.region);
        let payer = if service.paid_by_hub() { self.hub.clone() } else { site.cell.account.clone() };
        let meter = Meter {
            limits: self.limits.clone(),
            clock: Arc::clone(&self.clock),
            watch: site.watch.clone(),
            service,
            access: site.access,
            payer,
            region: if service.is_global() { Region::global() } else { place.clone() },
            cell: site.cell.clone(),
            attempt_timeout: self.attempt_timeout,
        };
        let mut builder = self
            .config
            .to_builder()
            .region(aws_config::Region::new(place.as_str().to_owned()))
            .http_client(Metered::new(self.http.clone(), meter))
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            // The connector times attempts, from the moment the token is spent; the SDK would count the wait for the token too.
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(CONNECT)
                    .disable_operation_timeout()
                    .disable_operation_attempt_timeout()
                    .disable_read_timeout()
                    .build(),
            )
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        if let Some(credentials) = &site.credentials {
            // They are kept where they come from; a second cache here would hold them too long.
            builder = builder.credentials_provider(credentials.clone()).identity_cache(IdentityCache::no_cache());
        }
        builder.build()
    }

    /// A client's own retry quota: a cell that is throttled drains nobody else's.
    pub(super) fn partition(site: &Site, service: Service) -> RetryPartition {
        RetryPartition::custom(format!("{}/{service}", site.cell)).build()
    }
}

/// Where calls go, and by what right.
pub(super) struct Site {
    pub(super) cell: CellId,
    pub(super) access: Access,
    /// `None`: the hub's own.
    pub(super) credentials: Option<SharedCredentialsProvider>,
    /// Of the warrant behind a write session.
    pub(super) watch: Option<Watch>,
}

/// Whose credentials, where.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum SessionKey {
    /// The hub's own.
    Hub,
    /// The reader role of the organization.
    Organization,
    /// Read sessions, by what they are kept under.
    Read(Arc<str>),
    /// A write session, by its number.
    Write(u64),
}

/// One session in one cell.
pub(super) struct Session {
    pub(super) key: SessionKey,
    pub(super) site: Site,
    /// Where its clients are kept.
    pub(super) pool: Arc<Pool>,
}

impl Drop for Session {
    fn drop(&mut self) {
        // Credentials of a write session are not kept longer than it is.
        if matches!(self.key, SessionKey::Write(_)) {
            self.pool.forget(&self.key);
        }
    }
}

type PoolKey = (SessionKey, CellId, Service);

#[derive(Clone)]
enum Client {
    Account(aws_sdk_account::Client),
    Ec2(aws_sdk_ec2::Client),
    AutoScaling(aws_sdk_autoscaling::Client),
    Elb(aws_sdk_elasticloadbalancing::Client),
    ElbV2(aws_sdk_elasticloadbalancingv2::Client),
    CloudTrail(aws_sdk_cloudtrail::Client),
    Lambda(aws_sdk_lambda::Client),
    Logs(aws_sdk_cloudwatchlogs::Client),
    SecurityHub(aws_sdk_securityhub::Client),
    GuardDuty(aws_sdk_guardduty::Client),
    Iam(aws_sdk_iam::Client),
    Ssm(aws_sdk_ssm::Client),
    Inspector2(aws_sdk_inspector2::Client),
    Organizations(aws_sdk_organizations::Client),
    SecretsManager(aws_sdk_secretsmanager::Client),
    Ses(aws_sdk_sesv2::Client),
    Sns(aws_sdk_sns::Client),
    Sqs(aws_sdk_sqs::Client),
    Sts(aws_sdk_sts::Client),
}

/// The clients that were used last.
#[derive(Default)]
pub(super) struct Pool(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    clients: HashMap<PoolKey, (Client, u64)>,
    uses: u64,
}

impl Pool {
    fn get(&self, key: PoolKey, build: impl FnOnce() -> Client) -> Client {
        let found = {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.uses = kept.uses.wrapping_add(1);
            let uses = kept.uses;
            kept.clients.get_mut(&key).map(|(client, used)| {
                *used = uses;
                client.clone()
            })
        };
        // Built outside the lock: it takes a while, and two at the same time do no harm.
        found.unwrap_or_else(|| {
            let client = build();
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let uses = kept.uses;
            if kept.clients.len() >= KEPT
                && let Some(oldest) = kept.clients.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| key.clone())
            {
                kept.clients.remove(&oldest);
            }
            kept.clients.insert(key, (client.clone(), uses));
            client
        })
    }

    pub(super) fn forget(&self, session: &SessionKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clients.retain(|(key, _, _), _| key != session);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clients.len()
    }
}

/// SDK clients of one session in one cell. Cheap to clone.
#[derive(Clone)]
pub struct Clients {
    pub(super) base: Arc<Base>,
    pub(super) session: Arc<Session>,
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.session.key {
            SessionKey::Hub => "hub",
            SessionKey::Organization => "organization",
            SessionKey::Read(_) => "read",
            SessionKey::Write(_) => "write",
        };
        write!(f, "Clients({kind}, {})", self.cell())
    }
}

macro_rules! client {
    ($(#[$doc:meta])* $name:ident, $service:ident, $sdk:ident) => {
        $(#[$doc])*
        #[must_use]
        pub fn $name(&self) -> $sdk::Client {
            let build = || {
                let config = self.base.config(&self.session.site, Service::$service);
                let partition = Base::partition(&self.session.site, Service::$service);
                Client::$service($sdk::Client::from_conf($sdk::config::Builder::from(&config).retry_partition(partition).build()))
            };
            let key = (self.session.key.clone(), self.cell().clone(), Service::$service);
            match self.session.pool.get(key, build) {
                Client::$service(client) => client,
                // Kept under this service's name, it is of this service.
                _ => $sdk::Client::new(&self.base.config(&self.session.site, Service::$service)),
            }
        }
    };
}

impl Clients {
    /// The account and Region that the calls go to.
    #[must_use]
    pub fn cell(&self) -> &CellId {
        &self.session.site.cell
    }

    client!(
        /// Amazon EC2 and VPC.
        ec2, Ec2, aws_sdk_ec2
    );
    /// The partition that the calls go to: `aws`, `aws-cn`, `aws-us-gov`.
    #[must_use]
    pub fn partition(&self) -> &'static str {
        self.base.place(&self.cell().region).partition()
    }

    /// The same session in another Region of the same account: a session's policy may name any Region, its write policies name one.
    #[must_use]
    pub fn in_region(&self, region: &Region) -> Self {
        let site = &self.session.site;
        let site = Site {
            cell: CellId::new(site.cell.account.clone(), region.clone()),
            access: site.access,
            credentials: site.credentials.clone(),
            watch: site.watch.clone(),
        };
        let session = Session { key: self.session.key.clone(), site, pool: Arc::clone(&self.session.pool) };
        Self { base: Arc::clone(&self.base), session: Arc::new(session) }
    }

    client!(
        /// AWS Account Management, whose endpoint is that of the partition's one global Region, wherever it is called for.
        account, Account, aws_sdk_account
    );
    client!(
        /// Amazon EC2 Auto Scaling.
        autoscaling, AutoScaling, aws_sdk_autoscaling
    );
    client!(
        /// Elastic Load Balancing: Classic Load Balancers.
        elb, Elb, aws_sdk_elasticloadbalancing
    );
    client!(
        /// Elastic Load Balancing: Application, Network and Gateway Load Balancers.
        elbv2, ElbV2, aws_sdk_elasticloadbalancingv2
    );
    client!(
        /// AWS CloudTrail.
        cloudtrail, CloudTrail, aws_sdk_cloudtrail
    );
    client!(
        /// AWS Lambda.
        lambda, Lambda, aws_sdk_lambda
    );
    client!(
        /// Amazon CloudWatch Logs.
        logs, Logs, aws_sdk_cloudwatchlogs
    );
    client!(
        /// AWS Security Hub.
        securityhub, SecurityHub, aws_sdk_securityhub
    );
    client!(
        /// Amazon GuardDuty.
        guardduty, GuardDuty, aws_sdk_guardduty
    );
    client!(
        /// AWS Identity and Access Management.
        iam, Iam, aws_sdk_iam
    );
    client!(
        /// AWS Systems Manager.
        ssm, Ssm, aws_sdk_ssm
    );
    client!(
        /// Amazon Inspector.
        inspector2, Inspector2, aws_sdk_inspector2
    );
    client!(
        /// AWS Organizations.
        organizations, Organizations, aws_sdk_organizations
    );
    client!(
        /// AWS Secrets Manager.
        secrets_manager, SecretsManager, aws_sdk_secretsmanager
    );
    client!(
        /// Amazon Simple Email Service.
        ses, Ses, aws_sdk_sesv2
    );
    client!(
        /// Amazon Simple Notification Service.
        sns, Sns, aws_sdk_sns
    );
    client!(
        /// Amazon Simple Queue Service.
        sqs, Sqs, aws_sdk_sqs
    );
    client!(
        /// AWS Security Token Service.
        sts, Sts, aws_sdk_sts
    );
}
