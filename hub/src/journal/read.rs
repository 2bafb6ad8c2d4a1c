//! Read-only connections beside the writer: a reader sees what is committed and never makes the writer wait.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use cordon_shared::journal::JournalError;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use super::{
    rows::failed,
    sqlite::{BUSY, CACHED},
};

/// How many questions are answered at the same time.
const READERS: usize = 4;

/// The connections; opened as they are needed.
pub(super) struct Readers {
    path: PathBuf,
    turns: Semaphore,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, turns: Semaphore::new(READERS), idle: Arc::default() }
    }

    /// Answers one question on a thread where it may block.
    pub(super) async fn read<T, F>(&self, question: F) -> Result<T, JournalError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, JournalError> + Send + 'static,
    {
        let _turn = self.turns.acquire().await.map_err(|_| JournalError::Store("the journal is closed".to_owned()))?;
        let (idle, path) = (Arc::clone(&self.idle), self.path.clone());
        let answered = tokio::task::spawn_blocking(move || {
            let conn = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let conn = conn.map_or_else(|| open(&path), Ok)?;
            let answer = question(&conn);
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
            answer
        });
        answered.await.map_err(|error| JournalError::Store(format!("a question to the journal ended early: {error}")))?
    }
}

const FLAGS: OpenFlags = OpenFlags::SQLITE_OPEN_READ_ONLY.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

/// Opens a journal to read in it.
pub(super) fn open(path: &Path) -> Result<Connection, JournalError> {
    set_up(Connection::open_with_flags(path, FLAGS).map_err(failed)?)
}

/// The same for a file that nobody writes to, where no other file can be made beside it.
pub(super) fn open_immutable(path: &Path) -> Result<Connection, JournalError> {
    let absolute = std::path::absolute(path).map_err(|error| JournalError::Store(error.to_string()))?;
    let mut uri = "file://".to_owned();
    for byte in absolute.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' => uri.push(char::from(*byte)),
            other => uri.push_str(&format!("%{other:02x}")),
        }
    }
    uri.push_str("?immutable=1");
    set_up(Connection::open_with_flags(uri, FLAGS | OpenFlags::SQLITE_OPEN_URI).map_err(failed)?)
}

fn set_up(conn: Connection) -> Result<Connection, JournalError> {
    conn.busy_timeout(BUSY).map_err(failed)?;
    conn.pragma_update(None, "query_only", true).map_err(failed)?;
    conn.pragma_update(None, "trusted_schema", false).map_err(failed)?;
    conn.set_prepared_statement_cache_capacity(CACHED);
    Ok(conn)
}
