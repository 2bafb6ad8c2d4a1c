//! The journal: what happened, as hash-chained entries, and the small tables that decisions are made from.
//!
//! A store ([`Store`]) only has to run a piece of work in one transaction over a few primitive tables ([`Tx`]). Everything that
//! has a rule in it (deduplication, correlation, claims, locks, caps, the gate's commit) is written once, in [`ops`] and
//! [`crate::gate`], over those primitives, so that every store obeys the same rules.

pub mod chain;
pub mod mem;
pub mod ops;
pub mod sightings;

use std::{collections::BTreeSet, sync::Arc};

use futures::future::BoxFuture;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use chain::{ChainError, Sealed};
pub use ops::Accepted;
pub use sightings::Sighting;

use crate::{
    engine::{ClaimFrom, Illegal, REVERTED, RunState},
    finding::{FindingId, Version},
    freeze::Freeze,
    gate::budget::Charge,
    id::IncidentId,
    notice::Notice,
    page::Page,
    plan::{ChangeKey, Counts, StepKey},
};

/// What a journal says no with.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another entry came first: read again and decide again.
    #[error("{run} has moved on (entry {found} is there, {expected} was expected)")]
    Conflict {
        /// The run.
        run: IncidentId,
        /// What the writer believed to be the last entry.
        expected: u64,
        /// What is.
        found: u64,
    },
    /// The lease went to another process: this one may write no more.
    #[error("the lease went to another process (epoch {now}, ours was {ours}); this process stops driving incidents")]
    LeaseLost {
        /// Our epoch.
        ours: u64,
        /// The epoch now.
        now: u64,
    },
    /// The entries do not follow one another.
    #[error(transparent)]
    Illegal(#[from] Illegal),
    /// The chain is broken.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// An entry is not one that this version of Cordon knows: it was damaged, or a newer one wrote it.
    #[error("an entry in the journal cannot be read: {0}; run `cordon audit verify`")]
    Unreadable(String),
    /// There is no such run.
    #[error("there is no incident {0}")]
    NoRun(IncidentId),
    /// A sentence for the reader about a request that cannot be met.
    #[error("{0}")]
    Refused(String),
    /// The store itself failed.
    #[error("the journal cannot be written or read: {0}")]
    Store(String),
}

impl JournalError {
    /// Whether it is about one run's own entries: no other run need wait for it.
    #[must_use]
    pub fn is_of_one_run(&self) -> bool {
        matches!(self, Self::Chain(_) | Self::Illegal(_) | Self::NoRun(_) | Self::Unreadable(_))
    }
}

/// The code of a run whose entries cannot be read.
pub const UNREADABLE: &str = "unreadable";

/// The current state of a run, kept beside its entries so that start-up need not read them all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRow {
    /// The run.
    pub run: IncidentId,
    /// Its playbook's name.
    pub playbook: String,
    /// Its account.
    pub account: String,
    /// Its Region.
    pub region: String,
    /// Its subject's ARN or id.
    pub subject: String,
    /// Where it stands.
    pub state: RunState,
    /// The reason's stable word.
    pub code: String,
    /// The reason.
    pub reason: String,
    /// When it opened.
    pub opened_at: Timestamp,
    /// The time of its last entry.
    pub updated_at: Timestamp,
    /// When something becomes due by itself. `Some(past)` wants driving now.
    pub wake: Option<Timestamp>,
    /// Nothing will happen by itself any more.
    pub over: bool,
    /// The sweep that it is a child of.
    pub sweep: Option<String>,
}

impl RunRow {
    /// Whether a later finding may join it. Not one that has come to its end, also while it is looked at again; nor one that waits for a
    /// person because somebody changed back what it did, or because its entries cannot be read: that finding is a new incident, which
    /// contains anew.
    #[must_use]
    pub fn takes_findings(&self) -> bool {
        !self.over && !self.state.is_end() && self.code != REVERTED && self.code != UNREADABLE
    }
}

/// What is remembered of a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The run it belongs to; `None` when it was ignored.
    pub run: Option<IncidentId>,
    /// Its last version.
    pub version: Version,
    /// Why it was ignored.
    pub ignored: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// A live interest of a step in an attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Who has it.
    pub run: IncidentId,
    /// Its step.
    pub step: StepKey,
    /// The attribute and whose `before` restores it.
    pub from: ClaimFrom,
}

/// The primitive tables of one transaction. Reads see the transaction's own writes.
pub trait Tx {
    /// The epoch of the lease as it stands.
    ///
    /// # Errors
    /// As every method here: [`JournalError::Store`] when the store fails.
    fn epoch(&mut self) -> Result<u64, JournalError>;
    /// A run's last entry: its number and its hash. `None`: there is no such run.
    fn head(&mut self, run: IncidentId) -> Result<Option<(u64, String)>, JournalError>;
    /// Adds an entry.
    fn push(&mut self, run: IncidentId, sealed: &Sealed) -> Result<(), JournalError>;
    /// A run's entries in order.
    fn entries(&mut self, run: IncidentId) -> Result<Vec<Sealed>, JournalError>;
    /// Writes a run's row.
    fn save_run(&mut self, row: &RunRow) -> Result<(), JournalError>;
    /// Reads a run's row.
    fn run(&mut self, run: IncidentId) -> Result<Option<RunRow>, JournalError>;
    /// What is remembered of a finding.
    fn seen(&mut self, id: &FindingId) -> Result<Option<Seen>, JournalError>;
    /// Remembers it.
    fn save_seen(&mut self, id: &FindingId, seen: &Seen) -> Result<(), JournalError>;
    /// The oldest run with this correlation key that takes findings ([`RunRow::takes_findings`]).
    fn open_run_with_key(&mut self, key: &str) -> Result<Option<IncidentId>, JournalError>;
    /// Gives a run a correlation key.
    fn save_key(&mut self, run: IncidentId, key: &str) -> Result<(), JournalError>;
    /// Who holds the lock on a resource.
    fn lock_holder(&mut self, resource: &str) -> Result<Option<(IncidentId, StepKey)>, JournalError>;
    /// Takes the lock on a resource.
    fn lock(&mut self, resource: &str, run: IncidentId, step: &StepKey) -> Result<(), JournalError>;
    /// Gives back a step's locks, and remembers when.
    fn unlock(&mut self, run: IncidentId, step: &StepKey, at: Timestamp) -> Result<(), JournalError>;
    /// When a lock on a resource was last given back: a plan older than that is of another world.
    fn last_unlocked(&mut self, resource: &str) -> Result<Option<Timestamp>, JournalError>;
    /// The live claims on an attribute, oldest first.
    fn claims(&mut self, key: &ChangeKey) -> Result<Vec<Claim>, JournalError>;
    /// Lays a claim.
    fn claim(&mut self, claim: &Claim) -> Result<(), JournalError>;
    /// Drops a step's claims.
    fn unclaim(&mut self, run: IncidentId, step: &StepKey) -> Result<(), JournalError>;
    /// The resources changed since a time, in one account or in all.
    fn spent(&mut self, since: Timestamp, account: Option<&str>) -> Result<BTreeSet<String>, JournalError>;
    /// Notes that resources are changed.
    fn spend(&mut self, at: Timestamp, account: &str, resource: &str) -> Result<(), JournalError>;
    /// What was charged to budgets since a time, of one kind, oldest first.
    fn charges(&mut self, since: Timestamp, counts: Counts) -> Result<Vec<Charge>, JournalError>;
    /// Charges something to budgets.
    fn charge(&mut self, charge: &Charge) -> Result<(), JournalError>;
    /// Until when a subject stands down for a playbook.
    fn stand_down(&mut self, key: &str) -> Result<Option<Timestamp>, JournalError>;
    /// Sets or lifts a stand-down.
    fn save_stand_down(&mut self, key: &str, until: Option<Timestamp>) -> Result<(), JournalError>;
    /// What is remembered of the opt-out tag of an account, an OU or a resource.
    fn sighting(&mut self, whose: &str) -> Result<Option<Sighting>, JournalError>;
    /// Remembers it.
    fn save_sighting(&mut self, whose: &str, sighting: &Sighting) -> Result<(), JournalError>;
    /// Forgets what was last seen before a time.
    fn forget_sightings(&mut self, before: Timestamp) -> Result<(), JournalError>;
    /// Puts a notice into the outbox, once for each destination of its audience that the process told the store of. One whose key is there is passed over.
    fn notify(&mut self, notice: &Notice) -> Result<(), JournalError>;
    /// The freezes that stand, the oldest first.
    fn freezes(&mut self) -> Result<Vec<Freeze>, JournalError>;
    /// Puts a page into the outbox, once for each destination; where there is none, for those that there will be. One whose key is there is
    /// passed over.
    fn page(&mut self, page: &Page) -> Result<(), JournalError>;
    /// Adds a freeze or a thaw, and gives back its number: the next one.
    fn save_freeze(&mut self, line: &Freeze) -> Result<u64, JournalError>;
    /// Whether a finding or an event of this id has raised a self-alarm.
    fn alarmed(&mut self, id: &str) -> Result<bool, JournalError>;
    /// When the organization as a whole was last thawed.
    fn thawed(&mut self) -> Result<Option<Timestamp>, JournalError>;
}

/// A piece of work for one transaction. On an error nothing of it is kept.
pub type Work = Box<dyn FnOnce(&mut dyn Tx) -> Result<(), JournalError> + Send>;

/// Something that can run a piece of work in one durable transaction.
pub trait Store: Send + Sync + std::fmt::Debug {
    /// Runs `work`; when the future is ready with `Ok`, all of it is durable.
    fn write(&self, work: Work) -> BoxFuture<'_, Result<(), JournalError>>;
    /// The freezes that stand now, by whichever process they were written: asked before each changing call, so it waits for no writer.
    fn freezes(&self) -> BoxFuture<'_, Result<Vec<Freeze>, JournalError>>;
}

/// The journal over any store.
#[derive(Debug, Clone)]
pub struct Journal {
    store: Arc<dyn Store>,
}

impl Journal {
    /// The journal kept in `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// Runs `work` in one transaction and gives back its value once it is durable.
    ///
    /// # Errors
    /// Those of `work`, and [`JournalError::Store`].
    pub async fn with<T, F>(&self, work: F) -> Result<T, JournalError>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn Tx) -> Result<T, JournalError> + Send + 'static,
    {
        let (send, receive) = futures::channel::oneshot::channel();
        self.store
            .write(Box::new(move |tx| {
                let value = work(tx)?;
                // The receiver is only gone when nobody waits for the value.
                drop(send.send(value));
                Ok(())
            }))
            .await?;
        receive.await.map_err(|_| JournalError::Store("the work gave no value".to_owned()))
    }

    /// The freezes that stand now.
    ///
    /// # Errors
    /// [`JournalError::Store`].
    pub async fn freezes(&self) -> Result<Vec<Freeze>, JournalError> {
        self.store.freezes().await
    }
}

/// A canonical JSON text: keys sorted, no white space.
pub(crate) fn canonical(value: &impl Serialize) -> Result<Value, JournalError> {
    serde_json::to_value(value)
        .map(crate::words::canonical)
        .map_err(|error| JournalError::Store(format!("an entry cannot be written as JSON: {error}")))
}
