//! What the journal's tests share: a directory that goes away, findings, and both stores behind one face.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use cordon_shared::{
    engine::{Entry, FindingNote, Pace, View},
    finding::{FindingId, ResourceRole, Subject, SubjectKind, Version},
    id::{CellId, IncidentId},
    journal::{Accepted, Journal, JournalError, Store, mem::MemStore, ops},
    mode::Mode,
    notice::{Audience, Target},
    playbook::Playbook,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{
    SqliteStore,
    lease::{self, Process},
};

pub(crate) const ACCOUNT: &str = "111122223333";
const PLAYBOOK: &str = r#"
name = "toy"
title = "Toy"
subject = "instance"
[[match]]
type = ["Toy"]
[[steps]]
id = "first"
action = "toy.switch"
ttl = "24h"
[[steps]]
id = "second"
action = "toy.switch"
"#;

/// A directory that is removed with the value.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("cordon-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        drop(std::fs::remove_dir_all(&dir));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

pub(crate) fn start() -> Timestamp {
    "2026-11-24T00:00:00.123456789Z".parse().unwrap()
}

pub(crate) fn after(seconds: i64) -> Timestamp {
    start() + SignedDuration::from_secs(seconds)
}

pub(crate) fn run_id(number: u128) -> IncidentId {
    IncidentId::from_u128(number)
}

pub(crate) fn pace(epoch: u64) -> Pace {
    Pace { epoch, since: jiff::Timestamp::UNIX_EPOCH, attempt_timeout: SignedDuration::from_secs(10) }
}

pub(crate) fn version(at: Timestamp, severity: u8) -> Version {
    Version {
        updated_at: Some(at),
        count: 1,
        severity,
        role: Some(ResourceRole::Target),
        remote_ips: vec!["198.51.100.1".parse().unwrap()],
    }
}

/// A finding `name` about instance `instance`, with the run that it would open.
pub(crate) fn arrival(name: &str, instance: &str, run: IncidentId, at: Timestamp, severity: u8) -> ops::Arrival {
    let cell = CellId::new(ACCOUNT.parse().unwrap(), "us-east-1".parse().unwrap());
    let subject = Subject { cell, kind: SubjectKind::Instance, id: instance.to_owned(), arn: None };
    let note = FindingNote {
        id: FindingId(name.to_owned()),
        version: version(at, severity),
        input: "-".to_owned(),
        finding: json!({ "type": "Toy", "severity": severity, "score": 0.1 }),
        raw_sha256: String::new(),
    };
    let entry = Entry::Opened {
        playbook: "toy".to_owned(),
        source: PLAYBOOK.to_owned(),
        digest: Playbook::parse(PLAYBOOK, "toy.toml").unwrap().digest,
        subject: subject.clone(),
        finding: Box::new(note.clone()),
        mode: Mode::Act,
        observe_only: None,
        detected_at: at,
    };
    let opening = ops::Opening { run, entry, keys: ops::keys("toy", &[subject]), sweep: Some("sweep-1".to_owned()) };
    ops::Arrival { note, opening: Some(opening), ignored: None }
}

/// An entry that any fresh run can take again and again.
pub(crate) fn joined(number: u32) -> Entry {
    let note = arrival(&format!("again-{number}"), "i-1", run_id(1), start(), 20).note;
    Entry::FindingJoined { finding: Box::new(note), renews: false }
}

pub(crate) async fn accept(journal: &Journal, arrival: ops::Arrival, now: Timestamp, epoch: u64) -> Result<Accepted, JournalError> {
    journal.with(move |tx| ops::accept(tx, &arrival, now, pace(epoch))).await
}

/// Opens run `number` about an instance of its own.
pub(crate) async fn open_run(journal: &Journal, number: u128, now: Timestamp, epoch: u64) -> IncidentId {
    let arrival = arrival(&format!("f-{number}"), &format!("i-{number}"), run_id(number), now, 20);
    assert_eq!(accept(journal, arrival, now, epoch).await.unwrap(), Accepted::Opened(run_id(number)));
    run_id(number)
}

pub(crate) async fn view(journal: &Journal, run: IncidentId) -> View {
    journal.with(move |tx| ops::load(tx, run)).await.unwrap()
}

pub(crate) async fn append(
    journal: &Journal,
    run: IncidentId,
    entries: Vec<Entry>,
    now: Timestamp,
    epoch: u64,
) -> Result<(), JournalError> {
    journal
        .with(move |tx| {
            let mut view = ops::load(tx, run)?;
            ops::append(tx, &mut view, entries, now, pace(epoch))
        })
        .await
}

/// A store of either kind, in which the lease can be given on.
pub(crate) struct Bench {
    pub(crate) journal: Journal,
    kind: Kind,
    _dir: Option<TempDir>,
}

enum Kind {
    Mem(Arc<MemStore>),
    Sqlite(Arc<SqliteStore>),
}

impl Bench {
    pub(crate) fn mem() -> Self {
        let store = Arc::new(MemStore::default());
        let dynamic: Arc<dyn Store> = store.clone();
        Self { journal: Journal::new(dynamic), kind: Kind::Mem(store), _dir: None }
    }
    pub(crate) fn sqlite() -> Self {
        let dir = TempDir::new();
        let store = SqliteStore::open(dir.path()).unwrap();
        Self::of(store, Some(dir))
    }
    pub(crate) fn sqlite_in_memory() -> Self {
        Self::of(SqliteStore::in_memory().unwrap(), None)
    }
    fn of(store: Arc<SqliteStore>, dir: Option<TempDir>) -> Self {
        let dynamic: Arc<dyn Store> = store.clone();
        Self { journal: Journal::new(dynamic), kind: Kind::Sqlite(store), _dir: dir }
    }
    pub(crate) async fn set_targets(&self, targets: &[&str]) {
        let audience = |name: &str| if name.starts_with("owner:") { Audience::Owner } else { Audience::Team };
        let targets: Vec<Target> = targets.iter().map(|name| Target { name: (*name).to_owned(), audience: audience(name) }).collect();
        match &self.kind {
            Kind::Mem(store) => store.set_targets(&targets),
            Kind::Sqlite(store) => store.set_targets(&targets, start()).await.unwrap(),
        }
    }
    /// The outbox: key and destination of each notice.
    pub(crate) async fn notices(&self) -> Vec<String> {
        match &self.kind {
            Kind::Mem(store) => store.tables().outbox.keys().map(|(_, key, target)| format!("{key} {target}")).collect(),
            Kind::Sqlite(store) => {
                let sql = "SELECT key || ' ' || target FROM outbox ORDER BY run, key, target";
                store.execute(move |conn| super::rows::all(conn, sql, [], |row| row.get(0).map_err(super::rows::failed))).await.unwrap()
            }
        }
    }
    /// The pages: key and destination of each.
    pub(crate) async fn pages(&self) -> Vec<String> {
        match &self.kind {
            Kind::Mem(store) => store.tables().pages.keys().map(|(key, target)| format!("{key} {target}")).collect(),
            Kind::Sqlite(store) => {
                let sql = "SELECT key || ' ' || target FROM pages ORDER BY key, target";
                store.execute(move |conn| super::rows::all(conn, sql, [], |row| row.get(0).map_err(super::rows::failed))).await.unwrap()
            }
        }
    }
    pub(crate) async fn next_epoch(&self) -> u64 {
        match &self.kind {
            Kind::Mem(store) => store.next_epoch(),
            Kind::Sqlite(store) => next_epoch(store).await,
        }
    }
}

/// Gives the lease to somebody far in the future of whoever holds it.
pub(crate) async fn next_epoch(store: &SqliteStore) -> u64 {
    static HOURS: AtomicU64 = AtomicU64::new(1);
    let hours = i64::try_from(HOURS.fetch_add(1, Ordering::Relaxed)).unwrap();
    let now = start() + SignedDuration::from_hours(hours);
    let nobody = Process { pid: 1, born: 0, host: "elsewhere".to_owned(), boot: String::new() };
    store.execute(move |conn| lease::take(conn, &nobody, "test", now)).await.unwrap().unwrap()
}

/// Runs each test against each store.
macro_rules! for_each_store {
    ($($test:ident),* $(,)?) => {
        mod mem {
            $(#[tokio::test] async fn $test() { super::$test(super::Bench::mem()).await; })*
        }
        mod sqlite {
            $(#[tokio::test] async fn $test() { super::$test(super::Bench::sqlite()).await; })*
        }
        mod sqlite_in_memory {
            $(#[tokio::test] async fn $test() { super::$test(super::Bench::sqlite_in_memory()).await; })*
        }
    };
}
pub(crate) use for_each_store;
