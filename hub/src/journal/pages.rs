//! Pages in the outbox: written by any process with the line or entry that they tell of, sent by the one that drives.
//!
//! A page goes to the destinations that the process that drove last had told the store of. One that was told to nobody yet goes to those of the
//! next one, for a day: a freeze that was written before anything ever ran is told all the same, and a new destination is not flooded with the
//! past.

use cordon_shared::{journal::JournalError, page::Page};
use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::{
    outbox::{Due, Slip, change, due, tries},
    rows::{all, failed, json, nanos, one, stamp, whole},
    sqlite::SqliteStore,
};

/// How long a page that was told to nobody waits for a destination.
const WAITS: SignedDuration = SignedDuration::from_hours(24);

/// What became of a page at one destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The destination.
    pub to: String,
    /// When it was told, or given up; `None`: it is still to be sent.
    pub at: Option<Timestamp>,
    /// Why it was given up.
    pub gave_up: Option<String>,
}

/// The first that is not sent to a destination. `?1`: the destination.
const HEAD: &str = "FROM pages o WHERE o.target = ?1 AND o.done IS NULL AND NOT EXISTS \
                    (SELECT 1 FROM pages p WHERE p.target = o.target AND p.done IS NULL AND p.id < o.id)";

/// Puts a page in for each destination, or for those that there will be.
pub(super) fn put(conn: &Connection, page: &Page) -> Result<(), JournalError> {
    let sql = "INSERT INTO pages (key, target, page, at, due) SELECT ?1, name, ?2, ?3, ?3 FROM \
               (SELECT name FROM outbox_targets WHERE audience = 'team' UNION ALL \
               SELECT '' WHERE NOT EXISTS (SELECT 1 FROM outbox_targets WHERE audience = 'team')) \
               WHERE true ON CONFLICT DO NOTHING";
    change(conn, sql, params![page.key, json(page)?, nanos(page.at)])
}

/// The destinations are others now: what was told to nobody goes to them, what was for one that is no more is given up.
pub(super) fn retarget(conn: &Connection, now: Timestamp) -> Result<(), JournalError> {
    let since = nanos(now.checked_sub(WAITS).unwrap_or(Timestamp::MIN));
    let lone = "INSERT INTO pages (key, target, page, at, due) \
                SELECT p.key, t.name, p.page, p.at, ?1 FROM pages p JOIN outbox_targets t ON t.audience = 'team' \
                WHERE p.at >= ?2 AND p.id = (SELECT min(f.id) FROM pages f WHERE f.key = p.key) \
                AND NOT EXISTS (SELECT 1 FROM pages d WHERE d.key = p.key AND d.done IS NOT NULL AND d.gave_up IS NULL) \
                ORDER BY p.id ON CONFLICT DO NOTHING";
    change(conn, lone, [nanos(now), since])?;
    change(conn, "DELETE FROM pages WHERE target = '' AND EXISTS (SELECT 1 FROM pages p WHERE p.key = pages.key AND p.target <> '')", [])?;
    let gone = "UPDATE pages SET done = ?1, gave_up = 'the destination is not configured any more' \
                WHERE done IS NULL AND target <> '' AND target NOT IN (SELECT name FROM outbox_targets WHERE audience = 'team')";
    change(conn, gone, [nanos(now)])
}

impl SqliteStore {
    /// The page that is to be sent to a destination now, the oldest; the others wait for it.
    ///
    /// # Errors
    /// Those of the store, as of all here.
    pub async fn page_due(&self, target: &str, now: Timestamp) -> Result<Option<Due<Page>>, JournalError> {
        let target = target.to_owned();
        self.read(move |conn| {
            let sql = format!("SELECT o.id, o.page, {}, o.unsure, o.place {HEAD} AND o.due <= ?2", tries());
            one(conn, &sql, params![target, nanos(now)], |row| due(row, Slip::Page, "a page"))
        })
        .await
    }

    /// When the next page to a destination is due, which may be in the past; `None`: all are sent.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn page_next(&self, target: &str) -> Result<Option<Timestamp>, JournalError> {
        let target = target.to_owned();
        self.read(move |conn| one(conn, &format!("SELECT o.due {HEAD}"), [target], |row| Ok(stamp(row.get(0).map_err(failed)?)))).await
    }

    /// Whether a page tells of a clock that went back from this time or a later one.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn has_setback_since(&self, from: Timestamp) -> Result<bool, JournalError> {
        let from = Page::of_setback(from, from).key;
        self.read(move |conn| {
            let sql = "SELECT 1 FROM pages WHERE key BETWEEN ?1 AND 'clock-back/99999999999' LIMIT 1";
            Ok(one(conn, sql, [from], |_| Ok(()))?.is_some())
        })
        .await
    }

    /// Whom a page was told, by its key.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn page_told(&self, key: &str) -> Result<Vec<Told>, JournalError> {
        let key = key.to_owned();
        self.read(move |conn| {
            let sql = "SELECT target, done, gave_up FROM pages WHERE key = ?1 AND target <> '' ORDER BY id LIMIT ?2";
            all(conn, sql, params![key, whole(1_000)], |row| {
                let at: Option<i64> = row.get(1).map_err(failed)?;
                Ok(Told { to: row.get(0).map_err(failed)?, at: at.map(stamp), gave_up: row.get(2).map_err(failed)? })
            })
        })
        .await
    }
}

#[cfg(test)]
mod tests;
