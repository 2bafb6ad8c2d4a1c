//! The lease: which process may drive incidents. At most one row, whose epoch only grows; every append to a run checks the epoch in its own
//! transaction, so that whoever has lost the lease can write no more even before it knows.

use std::{fs, sync::Arc, time::Duration};

use cordon_shared::{clock::Clock, gate::Lease, journal::JournalError};
use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, params};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    rows::{failed, nanos, natural, one, stamp, whole},
    sqlite::SqliteStore,
};

/// How long a lease lasts that is not renewed.
const TTL: Duration = Duration::from_secs(15);
/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(5);
/// How soon after a renewal that failed.
const AGAIN: Duration = Duration::from_secs(1);

/// Why a process may not drive incidents.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Another process does.
    #[error(
        "`cordon {what}` (process {pid} on {host}) drives the incidents of this state directory, its lease runs until {until:.0}. \
         What only answers (approval, undo, release, retry, close) is passed on to it; to drive them from here, stop it first, \
         or wait until then if it is gone"
    )]
    Held {
        /// Which of Cordon's commands it runs.
        what: String,
        /// Its process.
        pid: u32,
        /// Its computer.
        host: String,
        /// Until when it holds the lease unless it renews it.
        until: Timestamp,
    },
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// A process, told apart from any other that ever had its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: u32,
    /// When it started, in ticks since its computer did; 0 where that cannot be read.
    pub(super) born: i64,
    pub(super) host: String,
    /// The boot of the computer and the namespace that process numbers count in; empty where that cannot be read.
    pub(super) boot: String,
}

impl Process {
    /// This one.
    pub(super) fn this() -> Self {
        let pid = std::process::id();
        let boot = read_line("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        // Another container on the same computer has the same boot, and other processes under the same numbers.
        let namespace = fs::read_link("/proc/self/ns/pid").map(|link| link.display().to_string()).unwrap_or_default();
        let whole_boot = if boot.is_empty() || namespace.is_empty() { String::new() } else { format!("{boot} {namespace}") };
        Self {
            pid,
            born: Stat::of(pid).map_or(0, |stat| stat.born),
            host: read_line("/proc/sys/kernel/hostname")
                .or_else(|| std::env::var("HOSTNAME").ok())
                .unwrap_or_else(|| "this host".to_owned()),
            boot: whole_boot,
        }
    }

    /// Whether it is known to be gone, as seen by `here`. Not knowing is no.
    pub(super) fn is_dead(&self, here: &Self) -> bool {
        let same_place = !self.boot.is_empty() && self.boot == here.boot && self.host == here.host;
        // Where this process cannot see itself it sees nobody.
        if !same_place || here.born == 0 || self.born == 0 {
            return false;
        }
        match Stat::of(self.pid) {
            Some(stat) => stat.born != self.born || stat.ended,
            None => !std::path::Path::new(&format!("/proc/{}", self.pid)).exists(),
        }
    }
}

fn read_line(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// What `/proc/<pid>/stat` says (proc_pid_stat(5)).
struct Stat {
    born: i64,
    ended: bool,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field, the command's name in parentheses, may hold anything; the third begins behind the last parenthesis.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let (state, threads, born) = (*fields.first()?, *fields.get(17)?, *fields.get(19)?);
        // A process that was killed and not waited for yet. With other threads left it may still do something.
        let ended = matches!(state, "Z" | "X") && matches!(threads, "0" | "1");
        Some(Self { born: born.parse().ok()?, ended })
    }
}

struct Held {
    epoch: u64,
    what: String,
    process: Process,
    expires: Timestamp,
}

fn held(conn: &Connection) -> Result<Option<Held>, JournalError> {
    one(conn, "SELECT epoch, what, pid, born, host, boot, expires FROM lease", [], |row| {
        Ok(Held {
            epoch: natural(row.get(0).map_err(failed)?),
            what: row.get(1).map_err(failed)?,
            process: Process {
                pid: row.get(2).map_err(failed)?,
                born: row.get(3).map_err(failed)?,
                host: row.get(4).map_err(failed)?,
                boot: row.get(5).map_err(failed)?,
            },
            expires: stamp(row.get(6).map_err(failed)?),
        })
    })
}

fn ttl_from(now: Timestamp) -> Timestamp {
    SignedDuration::try_from(TTL).ok().and_then(|ttl| now.checked_add(ttl).ok()).unwrap_or(Timestamp::MAX)
}

/// Takes the lease for `here`, or says who has it.
pub(super) fn take(conn: &Connection, here: &Process, what: &str, now: Timestamp) -> Result<Result<u64, LeaseError>, JournalError> {
    let before = held(conn)?;
    if let Some(held) = &before
        && held.expires > now
        && !held.process.is_dead(here)
    {
        let Held { what, process, expires, .. } = held;
        return Ok(Err(LeaseError::Held { what: what.clone(), pid: process.pid, host: process.host.clone(), until: *expires }));
    }
    let epoch = before.map_or(0, |held| held.epoch).saturating_add(1);
    conn.prepare_cached(
        "INSERT INTO lease (one, epoch, what, pid, born, host, boot, started, expires) VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (one) DO UPDATE SET epoch = ?1, what = ?2, pid = ?3, born = ?4, host = ?5, boot = ?6, started = ?7, expires = ?8",
    )
    .and_then(|mut statement| {
        let expires = nanos(ttl_from(now));
        statement.execute(params![whole(epoch), what, here.pid, here.born, here.host, here.boot, nanos(now), expires])
    })
    .map_err(failed)?;
    Ok(Ok(epoch))
}

impl SqliteStore {
    /// Takes the lease for this process, which runs `cordon <what>`. It is free when nobody holds it, when it has expired, or when its holder
    /// is known to be gone: a process of this boot of this computer that is no more.
    ///
    /// # Errors
    /// [`LeaseError::Held`] when another process drives, and those of the journal.
    pub async fn take_lease(&self, clock: &dyn Clock, what: &str) -> Result<Arc<Lease>, LeaseError> {
        let (now, what, here) = (clock.now(), what.to_owned(), Process::this());
        let epoch = self.execute(move |conn| take(conn, &here, &what, now)).await??;
        tracing::info!(epoch, "took the lease");
        let lease = Lease::new(epoch);
        lease.extend(ttl_from(now));
        Ok(lease)
    }

    /// Makes the lease last from `now` on again.
    ///
    /// # Errors
    /// [`JournalError::LeaseLost`] when another process has it, and those of the store.
    pub async fn renew(&self, lease: &Lease, now: Timestamp) -> Result<(), JournalError> {
        self.expire_at(lease.epoch(), ttl_from(now)).await?;
        lease.extend(ttl_from(now));
        Ok(())
    }

    /// Gives the lease back, so that another process need not wait. No call of any warrant leaves this process any more.
    ///
    /// # Errors
    /// [`JournalError::LeaseLost`] when another process had it already, and those of the store.
    pub async fn give_back(&self, lease: &Lease) -> Result<(), JournalError> {
        lease.lose();
        self.expire_at(lease.epoch(), Timestamp::MIN).await
    }

    async fn expire_at(&self, ours: u64, expires: Timestamp) -> Result<(), JournalError> {
        self.execute(move |conn| {
            let mut statement = conn.prepare_cached("UPDATE lease SET expires = ?2 WHERE epoch = ?1").map_err(failed)?;
            if statement.execute(params![whole(ours), nanos(expires)]).map_err(failed)? == 1 {
                return Ok(());
            }
            Err(JournalError::LeaseLost { ours, now: held(conn)?.map_or(0, |held| held.epoch) })
        })
        .await
    }

    /// Renews the lease until `cancel`. When another process has it, or it cannot be renewed before it expires, it is lost, and this returns.
    /// Giving it back is the caller's.
    pub async fn keep(&self, lease: Arc<Lease>, clock: Arc<dyn Clock>, cancel: CancellationToken) {
        // Two clocks: the wall's is what other processes judge by, the other one cannot be set back.
        let mut valid = (ttl_from(clock.now()), Instant::now() + TTL);
        let mut pause = RENEW;
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep_until((Instant::now() + pause).min(valid.1)) => {}
            }
            if !lease.held() {
                return;
            }
            let now = (clock.now(), Instant::now());
            if now.0 >= valid.0 || now.1 >= valid.1 {
                tracing::error!(epoch = lease.epoch(), "the lease ran out before it could be renewed; no incident is driven any more");
                return lease.lose();
            }
            let left = valid.1.saturating_duration_since(now.1);
            match tokio::time::timeout(left, self.renew(&lease, now.0)).await {
                Ok(Ok(())) => {
                    valid = (ttl_from(now.0), now.1 + TTL);
                    pause = RENEW;
                }
                Ok(Err(error @ JournalError::LeaseLost { .. })) => {
                    tracing::error!(%error, "no incident is driven any more");
                    return lease.lose();
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the lease could not be renewed; trying again");
                    pause = AGAIN;
                }
                // No time is left: the next round says so.
                Err(_) => pause = Duration::ZERO,
            }
        }
    }
}
