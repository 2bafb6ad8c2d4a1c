//! Where drills are held: an organization that all share, and for each drill a gateway, sessions and actions of its own.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use cordon_hub::{evidence::MemEvidence, setup};
use cordon_shared::{
    clock::{Clock, SystemClock},
    id::{AccountId, CellId, Region},
    plan::{Seat, StepKey},
};
use cordon_spoke::{
    action::{Action, ActionError, Cx, LogSource, Reach, Registry, TagsRead},
    limits::{Limits, Rates},
    permission::{Bindings, Permission, Scope},
    session::{Clients, SessionSettings, Sessions},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::Permit;
use crate::{
    GatewayOptions, Lab, LabError, Organization, Shape,
    gateway::{Enforcement, Principal, Session},
    organization::{HUB_ROLE, OPT_OUT},
};

/// The account that moto takes the made-up key of [`Sessions::at_endpoint`] for: the hub's, for what is done in the hub's own account.
pub const MADE_UP_ACCOUNT: &str = "123456789012";
/// The made-up key.
const MADE_UP_KEY: &str = "AKIAEXAMPLEHUB000000";
/// The narrow role of the hub's account for changes that are made there.
const ACTION_ROLE: &str = "CordonDrill";

/// What all drills share.
#[derive(Debug)]
pub struct Yard {
    lab: &'static Lab,
    /// The organization whose members the worlds are in.
    pub organization: Organization,
    next: AtomicUsize,
}

impl Yard {
    /// Builds the organization, and the role for changes in the hub's account.
    ///
    /// # Errors
    /// The first call that failed.
    pub async fn build(lab: &'static Lab) -> Result<Self, LabError> {
        let regions = vec!["us-east-1".to_owned(), "eu-west-1".to_owned()];
        let organization = Organization::build(lab, &Shape { members: 3, regions, ..Shape::small() }).await?;
        let trust = json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": {"AWS": "*"}, "Action": ["sts:AssumeRole", "sts:SetSourceIdentity", "sts:TagSession"],
            "Condition": {"StringEquals": {"sts:ExternalId": MADE_UP_ACCOUNT}, "StringLike": {"sts:SourceIdentity": "cordon-*"}}
        }]});
        let more = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]});
        let role = json!({"RoleName": ACTION_ROLE, "AssumeRolePolicyDocument": trust.to_string()});
        match lab.hand.call(MADE_UP_ACCOUNT, "us-east-1", "iam", "create_role", role).await {
            Err(error) if error.code != "EntityAlreadyExists" => return Err(error.into()),
            _ => {}
        }
        // More than any action needs: what is refused is refused by the session's own policy.
        let policy = json!({"RoleName": ACTION_ROLE, "PolicyName": "all", "PolicyDocument": more.to_string()});
        lab.hand.call(MADE_UP_ACCOUNT, "us-east-1", "iam", "put_role_policy", policy).await?;
        Ok(Self { lab, organization, next: AtomicUsize::new(0) })
    }

    /// The account and Region for the next world: worlds are spread, so that none is crowded.
    #[must_use]
    pub fn place(&self) -> (&str, &str) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (members, regions) = (&self.organization.members, &self.organization.regions);
        let member = members.get(number % members.len().max(1)).map_or("", |member| member.account.as_str());
        let region = regions.get((number / members.len().max(1)) % regions.len().max(1)).map_or("", String::as_str);
        (member, region)
    }

    /// Puts something into the lab's store.
    ///
    /// # Errors
    /// As [`Lab::seed`].
    pub async fn seed(&self, account: &str, region: &str, kind: &str, items: Vec<Value>) -> Result<(), LabError> {
        self.lab.seed(account, region, kind, items).await
    }
}

/// The ground of one drill.
#[derive(Debug)]
pub struct Ground {
    /// A gateway of its own, over what all share.
    pub lab: Lab,
    /// The actions: those that keep something in memory keep it for this drill alone.
    pub registry: Registry,
    member: Sessions,
    hub: Sessions,
    clock: Arc<dyn Clock>,
    evidence: MemEvidence,
    logs: Vec<LogSource>,
    window: (Option<Timestamp>, Option<Timestamp>),
    regions: Vec<Region>,
    security: AccountId,
    copy_keys: BTreeMap<String, String>,
    reach: Elsewhere,
    tags: TagsRead,
}

/// Read sessions in any account of the organization, with what these permissions read.
#[derive(Debug)]
struct Elsewhere {
    sessions: Sessions,
    reads: Vec<Permission>,
}

impl Reach for Elsewhere {
    fn read<'a>(&'a self, cell: &'a CellId) -> futures::future::BoxFuture<'a, Result<Clients, ActionError>> {
        Box::pin(async move { Ok(self.sessions.read(cell, "drill", &self.reads).await?) })
    }
}

impl Ground {
    /// A gateway that enforces everything, and sessions that go through it.
    ///
    /// # Errors
    /// When the gateway does not start.
    pub fn new(yard: &Yard) -> Result<Self, LabError> {
        let wrong = |error: &dyn std::fmt::Display| LabError::new(error.to_string());
        let lab = yard.lab.beside(GatewayOptions { enforcement: Enforcement::all(), throttle: None })?;
        let security = &yard.organization.security;
        let principal = Principal {
            account: security.clone(),
            arn: format!("arn:aws:sts::{security}:assumed-role/{HUB_ROLE}/cordon"),
            role: Some(HUB_ROLE.to_owned()),
            session: Some("cordon".to_owned()),
            ..Principal::default()
        };
        let caller = Session { principal, role_arn: yard.organization.hub_role(), ..Session::default() };
        lab.gateway.sessions().put(MADE_UP_KEY, caller);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let home: Region = yard.organization.home.parse().map_err(|_| LabError::new("the home Region is none"))?;
        let sessions = |account: &str, role: Option<&str>| {
            let account: AccountId = account.parse().map_err(|_| LabError::new(format!("{account} is not an account")))?;
            let settings = SessionSettings { hub_role: role.map(str::to_owned), ..SessionSettings::new(account, home.clone()) };
            Sessions::at_endpoint(settings, Limits::new(Rates::scaled(1000.0)), Arc::clone(&clock), &lab.endpoint())
                .map_err(|error| wrong(&error))
        };
        let now = clock.now();
        let member = sessions(security, None)?;
        let registry = setup::registry().map_err(|error| wrong(&error))?;
        let reads = |name: &str| registry.get(name).map(|action| action.reads.to_vec()).unwrap_or_default();
        let regions = yard.organization.regions.iter().filter_map(|region| region.parse().ok()).collect();
        let ago = |seconds: i64| now.checked_sub(SignedDuration::from_secs(seconds)).ok();
        Ok(Self {
            // Logs that another account keeps are CloudTrail's.
            reach: Elsewhere { sessions: member.clone(), reads: reads("cloudtrail.trace-credentials") },
            tags: TagsRead::default(),
            member,
            hub: sessions(MADE_UP_ACCOUNT, Some(ACTION_ROLE))?,
            registry,
            regions,
            security: security.parse().map_err(|_| LabError::new(format!("{security} is not an account")))?,
            copy_keys: yard.organization.regions.iter().map(|region| (region.clone(), Self::copy_key(security, region))).collect(),
            evidence: MemEvidence::default(),
            logs: vec![LogSource {
                kind: "auth".to_owned(),
                group: "/var/log/secure".to_owned(),
                stream: Some("{instance}".to_owned()),
                account: None,
                region: None,
            }],
            window: (ago(900), ago(60)),
            clock,
            lab,
        })
    }

    /// The key that snapshots are copied under, of a security account in a Region.
    #[must_use]
    pub fn copy_key(security: &str, region: &str) -> String {
        format!("arn:aws:kms:{region}:{security}:key/5e3a1f0c-3f3b-4d0e-9a39-0d1c0e9b7a11")
    }

    /// The same ground with other log sources.
    #[must_use]
    pub fn with_logs(mut self, logs: Vec<LogSource>) -> Self {
        self.logs = logs;
        self
    }

    /// The action of this ground with this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn action(&self, name: &str) -> Result<&Action, LabError> {
        self.registry.get(name).ok_or_else(|| LabError::new(format!("there is no action {name}")))
    }

    /// A read session for this action alone: it can do what the action says it reads with, and nothing else.
    ///
    /// # Errors
    /// When the session cannot be opened.
    pub async fn read(&self, action: &Action, cell: &CellId) -> Result<Clients, LabError> {
        match action.seat {
            Seat::Member => {
                self.member.read(cell, "drill", action.reads).await.map_err(|error| LabError::new(format!("no read session: {error}")))
            }
            Seat::Hub => Ok(self.hub.hub(&cell.region)),
        }
    }

    /// The write sessions for a warrant, with what each is narrowed to.
    ///
    /// # Errors
    /// When a session cannot be opened.
    pub async fn write(
        &self,
        action: &Action,
        cell: &CellId,
        scopes: Vec<Scope>,
        permit: &Permit,
        warrant: &cordon_shared::gate::Warrant,
    ) -> Result<Vec<(Bindings, Clients)>, LabError> {
        let mut parts = Vec::new();
        for Scope { bindings, policy } in scopes {
            let opened = match action.seat {
                Seat::Member => self.member.write(cell, permit.run(), permit.step(), policy, warrant).await,
                Seat::Hub => self.hub.write_hub(&cell.region, permit.run(), permit.step(), policy, warrant).await,
            };
            parts.push((bindings, opened.map_err(|error| LabError::new(format!("no write session: {error}")))?));
        }
        Ok(parts)
    }

    /// What stands in a write session's place when an undo is only looked at.
    ///
    /// # Errors
    /// When the warrant is good for more than looking.
    pub fn looking(&self, action: &Action, read: &Clients, warrant: &cordon_shared::gate::Warrant) -> Result<Clients, LabError> {
        let sessions = match action.seat {
            Seat::Member => &self.member,
            Seat::Hub => &self.hub,
        };
        sessions.looking(read, warrant).map_err(|error| LabError::new(error.to_string()))
    }

    /// What an action works with.
    #[must_use]
    pub fn cx<'a>(&'a self, cell: &'a CellId, read: &'a Clients, run: cordon_shared::id::IncidentId, step: &'a StepKey) -> Cx<'a> {
        Cx {
            cell,
            read,
            clock: self.clock.as_ref(),
            evidence: &self.evidence,
            run,
            step,
            opt_out_key: OPT_OUT,
            protected: &[],
            known: &[],
            logs: &self.logs,
            window: self.window,
            regions: &self.regions,
            hub: &self.security,
            copy_key: self.copy_keys.get(cell.region.as_str()).map(String::as_str),
            reach: &self.reach,
            tags: &self.tags,
        }
    }
}
