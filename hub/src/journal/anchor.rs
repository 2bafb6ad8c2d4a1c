//! Anchors: one more hash chain over all runs. Each anchor holds the heads of the runs that changed since the one before, so that a run that
//! was removed or cut short does not go unnoticed. The newest hash, kept elsewhere (a log, an object store), vouches for all before it.

use cordon_shared::journal::JournalError;
use jiff::Timestamp;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    rows::{all, failed, json, nanos, natural, one, stamp, whole},
    sqlite::SqliteStore,
};

/// How many heads one anchor holds at most; the rest goes into the next.
const HEADS: usize = 10_000;

/// An anchor as it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// Counts from 1.
    pub seq: u64,
    /// Its hash, which covers all anchors before it.
    pub hash: String,
    /// How many runs it holds the heads of.
    pub runs: usize,
}

/// The head of a run: its id as text, its last entry's number and hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head(pub(crate) String, pub(crate) u64, pub(crate) String);

/// The hash of an anchor.
pub(crate) fn digest(seq: u64, at: Timestamp, prev: &str, heads: &str) -> String {
    let mut sha = Sha256::new();
    for part in ["anchor\n", &seq.to_string(), "\n", &at.to_string(), "\n", prev, "\n", heads] {
        sha.update(part.as_bytes());
    }
    hex::encode(sha.finalize())
}

fn fold(conn: &Connection, now: Timestamp) -> Result<Option<Anchor>, JournalError> {
    let changed = all(conn, "SELECT id, run, seq, hash FROM runs WHERE seq > anchored ORDER BY id LIMIT ?1", [whole(HEADS)], |row| {
        let head = Head(row.get(1).map_err(failed)?, natural(row.get(2).map_err(failed)?), row.get(3).map_err(failed)?);
        Ok((row.get::<_, i64>(0).map_err(failed)?, head))
    })?;
    if changed.is_empty() {
        return Ok(None);
    }
    let mut mark = conn.prepare_cached("UPDATE runs SET anchored = ?2 WHERE id = ?1").map_err(failed)?;
    for (id, head) in &changed {
        mark.execute(params![id, whole(head.1)]).map_err(failed)?;
    }
    let last = one(conn, "SELECT seq, hash FROM anchors ORDER BY seq DESC LIMIT 1", [], |row| {
        Ok((natural(row.get(0).map_err(failed)?), row.get::<_, String>(1).map_err(failed)?))
    })?;
    let (before, prev) = last.unwrap_or_default();
    let (seq, at) = (before.saturating_add(1), stamp(nanos(now)));
    let heads: Vec<&Head> = changed.iter().map(|(_, head)| head).collect();
    let text = json(&heads)?;
    let hash = digest(seq, at, &prev, &text);
    conn.prepare_cached("INSERT INTO anchors (seq, at, heads, prev, hash) VALUES (?1, ?2, ?3, ?4, ?5)")
        .and_then(|mut statement| statement.execute(params![whole(seq), nanos(at), text, prev, hash]))
        .map_err(failed)?;
    Ok(Some(Anchor { seq, hash, runs: heads.len() }))
}

impl SqliteStore {
    /// Folds the heads of the runs that changed since the last anchor into a new one; `None` when none did. Meant for each minute and for
    /// the end of the process.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn anchor(&self, now: Timestamp) -> Result<Option<Anchor>, JournalError> {
        let mut newest = None;
        loop {
            let anchor = self.execute(move |conn| fold(conn, now)).await?;
            let full = anchor.as_ref().is_some_and(|anchor| anchor.runs >= HEADS);
            newest = anchor.or(newest);
            if !full {
                return Ok(newest);
            }
        }
    }
}
