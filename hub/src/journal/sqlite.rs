//! The store: opening the file, and handing work to the writer and questions to the readers.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use cordon_shared::{
    freeze::Freeze,
    journal::{JournalError, Store, Work},
};
use futures::future::BoxFuture;
use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::{
    freezes,
    read::{self, Readers},
    rows::{failed, whole},
    tx::SqlTx,
    writer::{self, Job, Piece, QUEUE},
};

/// The journal's file in the state directory.
pub const FILE: &str = "journal.db";
/// How long a statement waits for another process's write.
pub(super) const BUSY: Duration = Duration::from_secs(10);
/// How many prepared statements a connection keeps.
pub(super) const CACHED: usize = 64;
/// `Crdn`: marks the file as ours.
const APPLICATION_ID: i32 = 0x4372_646E;
/// What brings a journal from each version to the next; `user_version` counts those done.
const MIGRATIONS: &[&str] = &[
    include_str!("schema.sql"),
    include_str!("outbox.sql"),
    include_str!("charges.sql"),
    include_str!("freezes.sql"),
    include_str!("proofs.sql"),
    include_str!("owner.sql"),
    include_str!("sightings.sql"),
    include_str!("pages.sql"),
];

/// The journal in SQLite.
///
/// Every write is one savepoint in a transaction that it may share with others, and is answered once that is on the disk. A write whose
/// future is dropped may still be done.
pub struct SqliteStore {
    /// `None` once the store is being dropped.
    queue: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
    /// `None` for a journal in memory, which the writer alone can read.
    readers: Option<Readers>,
    path: Option<PathBuf>,
}

impl SqliteStore {
    /// Opens the journal of a state directory. Makes both where they are missing; the directory is for its owner alone.
    ///
    /// # Errors
    /// [`JournalError::Store`] when the directory or the file cannot be made or read, or a newer Cordon has written it.
    pub fn open(dir: &Path) -> Result<Arc<Self>, JournalError> {
        let path = dir.join(FILE);
        prepare(dir, &path).map_err(|error| JournalError::Store(format!("{}: {error}", path.display())))?;
        let named = |error: JournalError| match error {
            JournalError::Store(why) => JournalError::Store(format!("{}: {why}", path.display())),
            other => other,
        };
        let conn = Connection::open(&path).map_err(failed).and_then(|conn| set_up(conn, true)).map_err(named)?;
        Self::start(conn, Some(path))
    }

    /// A journal in memory, lost with the process.
    ///
    /// # Errors
    /// [`JournalError::Store`] when SQLite fails.
    pub fn in_memory() -> Result<Arc<Self>, JournalError> {
        let conn = Connection::open_in_memory().map_err(failed)?;
        Self::start(set_up(conn, false)?, None)
    }

    pub(super) fn start(conn: Connection, path: Option<PathBuf>) -> Result<Arc<Self>, JournalError> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let writer = thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || writer::work(&conn, jobs))
            .map_err(|error| JournalError::Store(format!("the journal's thread does not start: {error}")))?;
        let readers = path.clone().map(Readers::new);
        Ok(Arc::new(Self { queue: Some(queue), writer: Some(writer), readers, path }))
    }

    /// The journal's file; `None` in memory.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    async fn submit(&self, piece: Piece) -> Result<(), JournalError> {
        let gone = || JournalError::Store("the journal's thread has ended".to_owned());
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(gone)?;
        queue.send(Job { piece, reply }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Runs `work` as one piece of the writer's and gives back its value once it is durable.
    pub(super) async fn execute<T, F>(&self, work: F) -> Result<T, JournalError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, JournalError> + Send + 'static,
    {
        let (send, receive) = oneshot::channel();
        let piece: Piece = Box::new(move |conn| {
            let value = work(conn)?;
            // The receiver is only gone when nobody waits for the value.
            drop(send.send(value));
            Ok(())
        });
        self.submit(piece).await?;
        receive.await.map_err(|_| JournalError::Store("the work gave no value".to_owned()))
    }

    /// Answers a question that changes nothing.
    pub(super) async fn read<T, F>(&self, question: F) -> Result<T, JournalError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, JournalError> + Send + 'static,
    {
        match &self.readers {
            Some(readers) => readers.read(question).await,
            None => self.execute(question).await,
        }
    }
}

impl Store for SqliteStore {
    fn write(&self, work: Work) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(self.submit(Box::new(move |conn| work(&mut SqlTx::new(conn)))))
    }
    fn freezes(&self) -> BoxFuture<'_, Result<Vec<Freeze>, JournalError>> {
        Box::pin(self.read(freezes::standing))
    }
}

impl Drop for SqliteStore {
    /// Lets the writer finish what has queued and close the file.
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(writer) = self.writer.take().filter(|writer| writer.thread().id() != thread::current().id())
            && writer.join().is_err()
        {
            tracing::error!("the journal's thread panicked");
        }
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Makes the directory and the file, for their owner alone. SQLite gives its other files the rights of the first.
fn prepare(dir: &Path, file: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    let mut options = fs::OpenOptions::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
        builder.mode(0o700);
        options.mode(0o600);
    }
    builder.recursive(true).create(dir)?;
    // Only where it is missing: closing a file that SQLite has open as well would drop SQLite's locks on it.
    match options.create_new(true).append(true).open(file) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Opens the journal of a state directory only to look at it: read-only, also where nothing can be written.
pub(crate) fn open_to_look(dir: &Path) -> Result<Connection, JournalError> {
    let path = dir.join(FILE);
    let refused = |why: String| JournalError::Store(format!("{}: {why}", path.display()));
    if !path.is_file() {
        return Err(refused("there is no journal".to_owned()));
    }
    let opened = read::open(&path).and_then(|conn| check_ours(&conn).map(|_| conn));
    opened.or_else(|error| {
        // A copy on a read-only disk has no room for SQLite's shared memory. Without a log that is not written back it needs none.
        let log = path.with_file_name(format!("{FILE}-wal"));
        if fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
            return Err(refused(error.to_string()));
        }
        let conn = read::open_immutable(&path).map_err(|error| refused(error.to_string()))?;
        check_ours(&conn).map_err(|error| refused(error.to_string()))?;
        Ok(conn)
    })
}

pub(super) fn set_up(mut conn: Connection, on_disk: bool) -> Result<Connection, JournalError> {
    conn.busy_timeout(BUSY).map_err(failed)?;
    conn.set_prepared_statement_cache_capacity(CACHED);
    let set = |name: &str, value: &dyn rusqlite::ToSql| conn.pragma_update(None, name, value).map_err(failed);
    if on_disk {
        let mode = write_ahead(&conn)?;
        if !mode.eq_ignore_ascii_case("wal") {
            let why =
                format!("this file system cannot hold it (SQLite's write-ahead log is refused, journal mode {mode}); use a local disk");
            return Err(JournalError::Store(why));
        }
    }
    set("synchronous", &"FULL")?;
    // Only macOS knows the difference: there an fsync alone does not reach the disk.
    set("fullfsync", &true)?;
    set("checkpoint_fullfsync", &true)?;
    set("foreign_keys", &true)?;
    set("trusted_schema", &false)?;
    set("cell_size_check", &true)?;
    set("journal_size_limit", &(64 << 20))?;
    migrate(&mut conn)?;
    Ok(conn)
}

/// Switches to the write-ahead log and gives back the mode that is then in force. Where two processes open a new journal at the same time
/// SQLite refuses one of them at once, whatever its busy time-out is.
fn write_ahead(conn: &Connection) -> Result<String, JournalError> {
    let begun = Instant::now();
    loop {
        match conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)) {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && begun.elapsed() < BUSY => {
                thread::sleep(Duration::from_millis(10));
            }
            mode => return mode.map_err(failed),
        }
    }
}

/// The version of the journal; 0 when it is new and empty.
pub(super) fn check_ours(conn: &Connection) -> Result<i64, JournalError> {
    let version: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    let whose: i32 = conn.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(failed)?;
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
    if whose != APPLICATION_ID && tables > 0 {
        return Err(JournalError::Store("this is no journal of Cordon".to_owned()));
    }
    let known = whole(MIGRATIONS.len());
    if version > known {
        let why = format!("a newer Cordon has written it (version {version}, this one knows {known}); use that one");
        return Err(JournalError::Store(why));
    }
    Ok(version)
}

fn migrate(conn: &mut Connection) -> Result<(), JournalError> {
    // Two processes that open a new journal at the same time take turns.
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let version = check_ours(&tx)?;
    for (number, migration) in (1_i64..).zip(MIGRATIONS) {
        if number > version {
            tx.execute_batch(migration).map_err(failed)?;
            tx.pragma_update(None, "user_version", number).map_err(failed)?;
            tx.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
        }
    }
    tx.commit().map_err(failed)
}
