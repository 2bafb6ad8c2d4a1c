//! What an action is. A **probe** only reads; a **change** changes something and knows how to undo it.
//!
//! One file each in [`crate::actions`], one line in its list. From the trait's items come the parameters' schema, the documentation,
//! the role policy, the session policies, `cordon action show`, and the drills.

mod error;
mod registry;

use std::{
    collections::BTreeMap,
    future::Future,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use cordon_shared::{
    clock::Clock,
    evidence::{Evidence, EvidenceError, Item},
    gate::Warrant,
    id::{AccountId, CellId, IncidentId, Region},
    plan::{Change as Difference, ChangeKey, Counts, Plan as Planned, Risk, Seat, StepKey, TagSeen, Verdict},
};
use futures::future::BoxFuture;
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

pub use error::{ActionError, ApplyError, Denied, classify};
pub use registry::{Action, DynChange, DynProbe, Kind, Registry, RegistryError, change, probe};

use crate::{
    permission::{Bindings, Permission},
    session::Clients,
};

/// Where logs are looked for (`[[logs]]` of the configuration).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSource {
    /// `auth` or `cloudtrail`.
    pub kind: String,
    /// The log group's name; `{instance}` and `{account}` are replaced.
    pub group: String,
    /// The stream's name, likewise; `None`: all streams.
    pub stream: Option<String>,
    /// The account that has the group; `None`: the subject's own.
    pub account: Option<AccountId>,
    /// The Region that has the group; `None`: the subject's own.
    pub region: Option<Region>,
}

/// Opens read sessions outside a step's own account, with what the step's playbook reads with: for a log group that another account keeps.
pub trait Reach: std::fmt::Debug + Send + Sync {
    /// The read session in this cell.
    ///
    /// # Errors
    /// As sessions fail; an account that is not the organization's is refused.
    fn read<'a>(&'a self, cell: &'a CellId) -> BoxFuture<'a, Result<Clients, ActionError>>;
}

/// The tags that a plan has read, by ARN.
#[derive(Debug, Default)]
pub struct TagsRead(Mutex<BTreeMap<String, BTreeMap<String, String>>>);

impl TagsRead {
    fn note(&self, resource: &str, tags: BTreeMap<String, String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(resource.to_owned(), tags);
    }

    /// What was read, by resource.
    #[must_use]
    pub fn all(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What an action works with: the read session of its cell, and what the hub knows.
#[derive(Debug, Clone, Copy)]
pub struct Cx<'a> {
    /// Where.
    pub cell: &'a CellId,
    /// Clients of the read session.
    pub read: &'a Clients,
    /// The time.
    pub clock: &'a dyn Clock,
    /// Where evidence goes.
    pub evidence: &'a dyn Evidence,
    /// The incident.
    pub run: IncidentId,
    /// The step.
    pub step: &'a StepKey,
    /// The key of the opt-out tag.
    pub opt_out_key: &'a str,
    /// Names of roles and users that are never touched: Cordon's own, and those of `[protected]`.
    pub protected: &'a [String],
    /// Known sources (`[[known]]`, those that have not expired).
    pub known: &'a [IpNet],
    /// Configured log sources.
    pub logs: &'a [LogSource],
    /// The Regions that Cordon works in (`[hub] regions`).
    pub regions: &'a [Region],
    /// The account that the hub runs in.
    pub hub: &'a AccountId,
    /// The KMS key, in the hub's account and this cell's Region, that snapshots are re-encrypted with when they are copied there
    /// (`[snapshots] copy_key`); `None`: they are not copied.
    pub copy_key: Option<&'a str>,
    /// Read sessions in other accounts.
    pub reach: &'a dyn Reach,
    /// The tags that a plan reads are noted here.
    pub tags: &'a TagsRead,
    /// When the finding says it began and was last seen.
    pub window: (Option<Timestamp>, Option<Timestamp>),
}

impl Cx<'_> {
    /// The opt-out tag among a resource's tags. The others are noted for the policies.
    pub fn opt_out<'t>(&self, resource: &str, tags: impl IntoIterator<Item = (&'t str, &'t str)>) -> Option<TagSeen> {
        let tags: BTreeMap<String, String> = tags.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let seen = tags.get(self.opt_out_key).map(|value| TagSeen { resource: resource.to_owned(), value: value.clone(), since: None });
        self.tags.note(resource, tags);
        seen
    }

    /// Whether an address is a known source.
    #[must_use]
    pub fn is_known(&self, address: IpAddr) -> bool {
        self.known.iter().any(|net| net.contains(&address))
    }

    /// The ARN of an EC2 resource of this cell: `arn("security-group/sg-…")`.
    #[must_use]
    pub fn ec2_arn(&self, resource: &str) -> String {
        format!("arn:{}:ec2:{}:{}:{resource}", self.cell.region.partition(), self.cell.region, self.cell.account)
    }

    /// The ARN of an IAM resource of this cell's account: `iam_arn("role/web")`.
    #[must_use]
    pub fn iam_arn(&self, resource: &str) -> String {
        format!("arn:{}:iam::{}:{resource}", self.read.partition(), self.cell.account)
    }

    /// Keeps a JSON document as evidence.
    ///
    /// # Errors
    /// [`EvidenceError`] when it cannot be stored.
    pub async fn keep(&self, kind: &str, about: &str, document: &impl Serialize) -> Result<String, EvidenceError> {
        let bytes = serde_json::to_vec(document).map_err(|error| EvidenceError(error.to_string()))?;
        let item = Item { kind: kind.to_owned(), about: about.to_owned(), media_type: "application/json".to_owned(), bytes };
        self.evidence.put(item).await
    }
}

/// What a change's calls go through: clients of a write session that can do this step's writes on its plan's resources,
/// and the warrant it was opened under. It lives no longer than the warrant.
#[derive(Debug, Clone, Copy)]
pub struct Write<'a> {
    /// Clients of the write session; of the first, where the step has several.
    pub aws: &'a Clients,
    /// All write sessions of the step with what each is narrowed to, where one policy would not hold all of its resources.
    pub parts: &'a [(Bindings, Clients)],
    /// The yes.
    pub warrant: &'a Warrant,
}

impl<'a> Write<'a> {
    /// Whether it is only looked at what would be changed: the first changing call ends it ([`ActionError::OnlyLooking`]). An undo that has
    /// found something for a person by then, and would only tidy up after it, ends with that.
    #[must_use]
    pub fn only_looks(&self) -> bool {
        self.warrant.watch().only_looks()
    }

    /// The session that may change the resource that is bound as `name` with this id.
    #[must_use]
    pub fn on(&self, name: &str, id: &str) -> &'a Clients {
        self.parts.iter().find(|(bindings, _)| bindings.has(name, id)).map_or(self.aws, |(_, clients)| clients)
    }
}

/// A plan, or why there is none.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "nearly always it is a plan, made once for each step")]
pub enum Plan<B> {
    /// This would be changed; `changes` empty: all is as wanted. `before` of the inner plan is left empty by the action.
    Ready {
        /// Everything undo needs.
        before: B,
        /// Changes, what is already so, locks, opt-outs, notes.
        plan: Planned,
    },
    /// A person has to look: it holds, with a stable code.
    Refuse {
        /// `shared-vpc`, `no-port`, …
        code: &'static str,
        /// For the reader.
        why: String,
    },
    /// There is nothing to do it to (the instance is terminated): the step is skipped.
    Moot {
        /// For the reader.
        why: String,
    },
}

/// How far an apply or a poll got.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress<T, O> {
    /// All calls answered.
    Done(O),
    /// Something slow was started; ask again with the ticket after a while.
    Pending {
        /// How to ask.
        ticket: T,
        /// How long to wait before asking.
        after: SignedDuration,
    },
}

/// What an undo came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Undo {
    /// Put back, these.
    Restored(Vec<Difference>),
    /// Somebody else's later change is in the way, or it cannot be undone by calls: what a person does.
    ByHand(Vec<String>),
}

/// A piece of work that changes something.
pub trait Change: Send + Sync + 'static {
    /// `service.verb-noun`.
    const NAME: &'static str;
    /// One line: what it does.
    const ABOUT: &'static str;
    /// How much harm it can do.
    const RISK: Risk;
    /// Where it works.
    const SEAT: Seat;
    /// What plan, poll and verify call.
    const READS: &'static [Permission];
    /// What apply and undo call.
    const WRITES: &'static [Permission];
    /// How long AWS may take until the change can be read back.
    const SETTLE: SignedDuration;
    /// Whether `cordon incident undo` puts it back only when its step is named: putting it back opens what an attacker used.
    const UNDO_ONLY_NAMED: bool = false;
    /// What the resources that its plan counts are against a budget, besides resources changed.
    const COUNTS: &'static [Counts] = &[];
    /// Parameters.
    type Params: DeserializeOwned + JsonSchema + Send + Sync;
    /// Captured state: all that undo needs.
    type Before: Serialize + DeserializeOwned + Send + Sync;
    /// How to ask after something slow.
    type Ticket: Serialize + DeserializeOwned + Send + Sync;
    /// What came of it.
    type Outcome: Serialize + Send + Sync;

    /// The ids that the write session is narrowed to.
    fn bind(&self, with: &Self::Params, before: &Self::Before) -> Bindings;

    /// Looks, and says what would be changed. Reads only.
    fn plan(&self, cx: Cx<'_>, with: &Self::Params) -> impl Future<Output = Result<Plan<Self::Before>, ActionError>> + Send;

    /// Makes the change. Idempotent: after a lost answer it is called again with the same `before`.
    fn apply(
        &self,
        cx: Cx<'_>,
        write: Write<'_>,
        with: &Self::Params,
        before: &Self::Before,
    ) -> impl Future<Output = Result<Progress<Self::Ticket, Self::Outcome>, ApplyError>> + Send;

    /// Asks after something slow. Reads only. Changes that are never slow keep this.
    fn poll(
        &self,
        _cx: Cx<'_>,
        _with: &Self::Params,
        _before: &Self::Before,
        _ticket: &Self::Ticket,
    ) -> impl Future<Output = Result<Progress<Self::Ticket, Self::Outcome>, ActionError>> + Send {
        async { Err(ActionError::Bug(format!("`{}` gives no tickets", Self::NAME))) }
    }

    /// Reads the post-condition. Reads only.
    fn verify(&self, cx: Cx<'_>, with: &Self::Params, before: &Self::Before) -> impl Future<Output = Result<Verdict, ActionError>> + Send;

    /// Puts `only` these attributes back. Each is compared first: as before, nothing to do; as we left it, put back; else by hand. A preview
    /// calls it too, attribute by attribute, with a warrant that only looks ([`Write::only_looks`]).
    fn undo(
        &self,
        cx: Cx<'_>,
        write: Write<'_>,
        with: &Self::Params,
        before: &Self::Before,
        only: &[ChangeKey],
    ) -> impl Future<Output = Result<Undo, ApplyError>> + Send;
}

/// A piece of work that only reads.
pub trait Probe: Send + Sync + 'static {
    /// `service.verb-noun`.
    const NAME: &'static str;
    /// One line: what it does.
    const ABOUT: &'static str;
    /// Where it works.
    const SEAT: Seat;
    /// What it calls.
    const READS: &'static [Permission];
    /// Parameters.
    type Params: DeserializeOwned + JsonSchema + Send + Sync;
    /// What it found.
    type Outcome: Serialize + Send + Sync;

    /// Reads.
    fn run(&self, cx: Cx<'_>, with: &Self::Params) -> impl Future<Output = Result<Found<Self::Outcome>, ActionError>> + Send;
}

/// What a probe found, and the SHA-256 of what it kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Found<O> {
    /// The finding of the probe.
    pub outcome: O,
    /// Evidence kept.
    pub evidence: Vec<String>,
}

/// Parameters of a step that do not fit its action.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the parameters do not fit `{action}`: {why}")]
pub struct ParamsError {
    /// The action.
    pub action: &'static str,
    /// What does not fit.
    pub why: String,
}

pub(crate) fn params<P: DeserializeOwned>(action: &'static str, with: &Value) -> Result<P, ParamsError> {
    P::deserialize(with).map_err(|error| ParamsError { action, why: error.to_string() })
}
