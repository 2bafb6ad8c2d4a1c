//! The embedded driver: one process that starts what the engine wants and journals what came of it.
//!
//! Nothing about a playbook lives here. Waiting is data: a run that waits for longer than a moment is put down, slot and sessions with it,
//! and taken up again when it is due, or when somebody asks something of it.

mod apply;
mod begin;
mod confirm;
mod judge;
mod look;
mod opt_out;
#[cfg(test)]
mod panics;
mod post;
mod reads;
pub(crate) mod requests;
pub(crate) mod run;
pub mod thaw;
mod truth;
pub(crate) mod undo;
mod work;

use std::{collections::BTreeSet, sync::Arc};

use cordon_shared::{
    clock::Clock,
    engine::{FindingNote, Pace, View},
    evidence::Evidence,
    gate::{Caps, Lease},
    id::{CellId, IncidentId},
    journal::{Journal, JournalError, RunRow},
    playbook::Playbook,
};
use cordon_spoke::{
    action::{LogSource, Registry},
    limits::Slots,
    session::Sessions,
};
use futures::{StreamExt as _, stream::FuturesUnordered};
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::{alarm, config::Config, journal::sqlite::SqliteStore, org::Org, policy::Keeper, refused::Protected};

pub use self::reads::ReadParts;
pub use requests::serve_requests;

/// All that incidents are driven with.
pub struct Hub {
    /// The configuration.
    pub config: Config,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The journal.
    pub journal: Journal,
    /// The same, for questions that need no transaction.
    pub store: Arc<SqliteStore>,
    /// The right to drive.
    pub lease: Arc<Lease>,
    /// What the engine has to know of this process.
    pub pace: Pace,
    /// Sessions in accounts.
    pub sessions: Sessions,
    /// The hub's account in its home Region.
    pub own_cell: CellId,
    /// The organization.
    pub org: Org,
    /// The actions.
    pub registry: Registry,
    /// The playbooks, in the order they are asked.
    pub playbooks: Vec<Arc<Playbook>>,
    /// The policies in force.
    pub policies: Keeper,
    /// What the read sessions of playbooks may do.
    pub read_parts: ReadParts,
    /// Where evidence goes.
    pub evidence: Arc<dyn Evidence>,
    /// Places for runs: of the organization, an account, a cell.
    pub slots: Slots,
    /// The addresses of known sources.
    pub known_nets: Vec<IpNet>,
    /// Configured log sources.
    pub logs: Vec<LogSource>,
    /// Never touched.
    pub protected: Protected,
    /// Sample findings are observed instead of ignored.
    pub allow_samples: bool,
    /// `cordon plan`: what the configured mode would do is said, and nothing is done.
    pub rehearsal: bool,
    /// How far freezes and thaws were looked at.
    pub thawed: thaw::Looked,
    /// Told of each run that was put down, and whether it has come to rest.
    pub put_down: Option<tokio::sync::mpsc::UnboundedSender<IncidentId>>,
    /// Rung when another process or the intake changed runs.
    pub poke: Notify,
    /// Counts up when a person's answer or a joined finding went into a run that may be in hand.
    pub changed: watch::Sender<u64>,
    /// Stops the driving; runs are put down where they are.
    pub stop: CancellationToken,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("pace", &self.pace).field("mode", &self.config.hub.mode).finish_non_exhaustive()
    }
}

impl Hub {
    /// Rings for the driver and for the runs in hand: something went into a run from outside.
    pub fn ring(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
        self.poke.notify_one();
    }

    /// The caps of the configuration.
    #[must_use]
    pub fn caps(&self) -> Caps {
        self.config.caps.into()
    }

    /// Why a run's subject is never touched; `None`: it may be.
    #[must_use]
    pub fn refuses(&self, view: &View) -> Option<String> {
        self.protected.refuses(&view.subject).or_else(|| alarm::own_credentials(&self.config, view))
    }

    /// Why a step is not done: all sources of each finding that wants it are known ones.
    #[must_use]
    pub fn known_source(&self, view: &View, wanted_by: &[&FindingNote]) -> Option<String> {
        let known = wanted_by.iter().map(|note| self.known_sources_of(&view.seen(note))).collect::<Option<Vec<_>>>()?;
        known.into_iter().next()
    }

    fn known_sources_of(&self, finding: &serde_json::Value) -> Option<String> {
        let ips: Vec<std::net::IpAddr> = serde_json::from_value(finding.pointer("/network/remote_ips")?.clone()).ok()?;
        let whose: Option<BTreeSet<&str>> =
            ips.iter().map(|ip| self.config.known.iter().find(|known| known.net.contains(ip)).map(|known| known.why.as_str())).collect();
        let whose = whose.filter(|whose| !whose.is_empty())?;
        let list: Vec<String> = ips.iter().map(ToString::to_string).collect();
        Some(format!("known source: {} ({}): recorded, not acted on", list.join(", "), whose.into_iter().collect::<Vec<_>>().join(", ")))
    }
}

/// How long the driver sleeps when nothing is due and nobody rings.
const IDLE: SignedDuration = SignedDuration::from_secs(5);
/// How many runs are in hand at most.
const IN_HAND: usize = 2_048;
/// How many runs of one account are in hand at most, for each slot it may hold: some wait for the slots of the others.
const IN_HAND_A_SLOT: usize = 2;
/// How soon the journal is asked again for runs that are due.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_millis(50);

/// Drives runs until `done` says so (looked at whenever something has ended) or the hub is stopped.
///
/// # Errors
/// [`JournalError::LeaseLost`] when another process has taken over; those of the store.
pub async fn drive<F>(hub: Arc<Hub>, mut done: F) -> Result<(), JournalError>
where
    F: AsyncFnMut(&Hub) -> Result<bool, JournalError>,
{
    let mut tasks = FuturesUnordered::new();
    let mut in_hand: BTreeSet<IncidentId> = BTreeSet::new();
    let mut looked = Timestamp::MIN;
    let per_account = IN_HAND_A_SLOT * usize::try_from(hub.config.limits.account_slots).unwrap_or(1);
    loop {
        if hub.stop.is_cancelled() && tasks.is_empty() {
            return Ok(());
        }
        if !hub.lease.held() {
            return Err(JournalError::LeaseLost { ours: hub.pace.epoch, now: hub.pace.epoch + 1 });
        }
        let now = hub.clock.now();
        let soon = !tasks.is_empty() && now.duration_since(looked).abs() < LOOK_AGAIN;
        if !hub.stop.is_cancelled() && in_hand.len() < IN_HAND && !soon {
            looked = now;
            for row in hub.store.due(now, per_account, IN_HAND).await? {
                if in_hand.len() < IN_HAND && in_hand.insert(row.run) {
                    tasks.push(tokio::spawn(one(Arc::clone(&hub), row)));
                }
            }
        }
        // What a thaw let go on counts too.
        if tasks.is_empty() && done(&hub).await? && thaw::rests(&hub).await? && done(&hub).await? {
            return Ok(());
        }
        let pause = if soon { LOOK_AGAIN } else { until_wake(&hub, now, &in_hand).await? };
        tokio::select! {
            Some(ended) = tasks.next() => {
                let (id, result): (IncidentId, Result<run::Parked, JournalError>) = match ended {
                    Ok(ended) => ended,
                    Err(error) => return Err(JournalError::Store(format!("a run's task died: {error}"))),
                };
                in_hand.remove(&id);
                if hub.put_down.as_ref().is_some_and(|told| told.send(id).is_err()) {
                    tracing::debug!("nobody listens any more: the command is ending");
                }
                match result {
                    Ok(parked) => tracing::debug!(run = %id, wake = ?parked.wake, "put down"),
                    // Somebody else writes to it faster than it is driven: it is due still.
                    Err(error @ JournalError::Conflict { .. }) => tracing::warn!(run = %id, %error, "put down; taken up again"),
                    // One run that cannot be driven stops no other.
                    Err(error) if error.is_of_one_run() || matches!(error, JournalError::Refused(_)) => {
                        tracing::error!(run = %id, %error, "this incident cannot be driven");
                        hub.store.set_aside(id, &error.to_string(), hub.clock.now()).await?;
                    }
                    Err(error) => return Err(error),
                }
                if done(&hub).await? && tasks.is_empty() && thaw::rests(&hub).await? && done(&hub).await? {
                    return Ok(());
                }
            }
            () = tokio::time::sleep(pause.unsigned_abs()) => {}
            () = hub.poke.notified() => {}
            () = hub.stop.cancelled(), if !hub.stop.is_cancelled() => {}
        }
    }
}

async fn until_wake(hub: &Hub, now: Timestamp, in_hand: &BTreeSet<IncidentId>) -> Result<SignedDuration, JournalError> {
    let wake = hub.store.next_wake().await?;
    // A run in hand keeps its old due time in the store until it is put down.
    let least = if in_hand.is_empty() { SignedDuration::from_millis(20) } else { SignedDuration::from_millis(200) };
    Ok(wake.map_or(IDLE, |wake| wake.duration_since(now).clamp(least, IDLE)))
}

async fn one(hub: Arc<Hub>, row: RunRow) -> (IncidentId, Result<run::Parked, JournalError>) {
    let cell = match (row.account.parse(), row.region.parse()) {
        (Ok(account), Ok(region)) => CellId::new(account, region),
        _ => return (row.run, Err(JournalError::Unreadable(format!("{} has no cell", row.run)))),
    };
    let slot = tokio::select! {
        slot = hub.slots.acquire(&cell) => slot,
        () = hub.stop.cancelled() => return (row.run, Ok(run::Parked { wake: row.wake })),
    };
    let result = run::drive(Arc::clone(&hub), row.run).await;
    drop(slot);
    (row.run, result)
}
