//! The one thread that writes. It drains what has queued into one transaction, so that many writers share one fsync.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use cordon_shared::journal::JournalError;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::rows::failed;

/// How many pieces of work wait at most before their senders do.
pub(super) const QUEUE: usize = 1024;
/// How many pieces share a transaction at most.
const GROUP: usize = 256;
/// For how long a transaction takes in more pieces.
const GROUP_TIME: Duration = Duration::from_millis(2);

/// A piece of work for one savepoint. On an error nothing of it is kept.
pub(super) type Piece = Box<dyn FnOnce(&Connection) -> Result<(), JournalError> + Send>;

/// A piece of work and who waits for it.
pub(super) struct Job {
    pub(super) piece: Piece,
    pub(super) reply: oneshot::Sender<Result<(), JournalError>>,
}

/// Works until all senders are gone and the queue is empty.
pub(super) fn work(conn: &Connection, mut queue: mpsc::Receiver<Job>) {
    while let Some(first) = queue.blocking_recv() {
        group(conn, first, &mut queue);
    }
}

/// One transaction. Whoever waits hears only after it is committed, or of what hindered it.
fn group(conn: &Connection, first: Job, queue: &mut mpsc::Receiver<Job>) {
    if let Err(error) = conn.execute_batch("BEGIN IMMEDIATE") {
        tell(first.reply, Err(failed(error)));
        return;
    }
    let begun = Instant::now();
    let mut done = Vec::new();
    let mut next = Some(first);
    let mut result = Ok(());
    while let Some(job) = next.take() {
        match one(conn, job.piece) {
            Ok(outcome) => done.push((job.reply, outcome)),
            Err(error) => {
                done.push((job.reply, Ok(())));
                result = Err(error);
                break;
            }
        }
        if done.len() < GROUP && begun.elapsed() < GROUP_TIME {
            next = queue.try_recv().ok();
        }
    }
    let result = result.and_then(|()| conn.execute_batch("COMMIT").map_err(failed));
    if !conn.is_autocommit()
        && let Err(error) = conn.execute_batch("ROLLBACK")
    {
        tracing::error!(%error, "the journal's transaction cannot be rolled back");
    }
    if let Err(error) = &result {
        tracing::error!(%error, pieces = done.len(), "nothing of a group of writes to the journal was kept");
    }
    for (reply, outcome) in done {
        let outcome = match &result {
            Ok(()) => outcome,
            // Nothing of the group was kept, so that a piece's own failure is no news.
            Err(error) => Err(outcome.err().unwrap_or_else(|| JournalError::Store(format!("nothing was written: {error}")))),
        };
        tell(reply, outcome);
    }
}

/// One piece in its savepoint. The outer error is one that takes the whole transaction with it.
fn one(conn: &Connection, piece: Piece) -> Result<Result<(), JournalError>, JournalError> {
    conn.execute_batch("SAVEPOINT piece").map_err(failed)?;
    // A piece that panics is a bug of its caller; it must not take the journal away from everyone else.
    let outcome = catch_unwind(AssertUnwindSafe(|| piece(conn)))
        .unwrap_or_else(|_| Err(JournalError::Store("a piece of work on the journal panicked; nothing of it was kept".to_owned())));
    if conn.is_autocommit() {
        // A full disk, for one, makes SQLite roll back everything.
        let error = outcome.err().unwrap_or_else(|| JournalError::Store("the transaction ended before its time".to_owned()));
        return Err(error);
    }
    let end = if outcome.is_ok() { "RELEASE piece" } else { "ROLLBACK TO piece; RELEASE piece" };
    conn.execute_batch(end).map_err(failed)?;
    Ok(outcome)
}

fn tell(reply: oneshot::Sender<Result<(), JournalError>>, outcome: Result<(), JournalError>) {
    // Nobody listens where the future was dropped: what was written stays written.
    drop(reply.send(outcome));
}
