//! Freezes and thaws: any `cordon` process writes them, all that may change something read them.

use cordon_shared::{
    engine::Person,
    freeze::{Freeze, Level, Scope},
    id::IncidentId,
    journal::JournalError,
};
use jiff::Timestamp;
use rusqlite::{Connection, Row, params};

use super::{
    rows::{all, failed, incident, json, nanos, natural, one, stamp, strange},
    sqlite::SqliteStore,
};

const COLUMNS: &str = "id, at, person, why, scope, level, hard, alarm";

fn freeze(row: &Row<'_>) -> Result<Freeze, JournalError> {
    let (scope, level): (String, String) = (row.get(4).map_err(failed)?, row.get(5).map_err(failed)?);
    let level = [Level::Off, Level::Limited, Level::Full].into_iter().find(|known| known.as_str() == level);
    Ok(Freeze {
        number: natural(row.get(0).map_err(failed)?),
        at: stamp(row.get(1).map_err(failed)?),
        by: Person(row.get(2).map_err(failed)?),
        why: row.get(3).map_err(failed)?,
        scope: serde_json::from_str(&scope).map_err(|error| strange("a freeze's scope", error))?,
        level: level.ok_or_else(|| strange("a freeze's level", "it is none of off, limited and full"))?,
        hard: row.get(6).map_err(failed)?,
        alarm: row.get(7).map_err(failed)?,
    })
}

/// The freezes that stand, the oldest first.
pub(super) fn standing(conn: &Connection) -> Result<Vec<Freeze>, JournalError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM freezes f WHERE level <> 'off'
         AND NOT EXISTS (SELECT 1 FROM freezes t WHERE t.level = 'off' AND t.scope = f.scope AND t.id > f.id) ORDER BY id"
    );
    all(conn, &sql, [], freeze)
}

/// Adds a line and gives back its number.
pub(super) fn save(conn: &Connection, line: &Freeze) -> Result<u64, JournalError> {
    let sql = "INSERT INTO freezes (at, person, why, scope, level, hard, alarm) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let mut statement = conn.prepare_cached(sql).map_err(failed)?;
    let values = params![nanos(line.at), line.by.0, line.why, json(&line.scope)?, line.level.as_str(), line.hard, line.alarm];
    statement.insert(values).map(natural).map_err(failed)
}

/// Whether something of this id has raised a self-alarm.
pub(super) fn alarmed(conn: &Connection, id: &str) -> Result<bool, JournalError> {
    Ok(one(conn, "SELECT 1 FROM freezes WHERE alarm = ?1", [id], |_| Ok(()))?.is_some())
}

/// When the organization as a whole was last thawed.
pub(super) fn thawed(conn: &Connection) -> Result<Option<Timestamp>, JournalError> {
    let sql = "SELECT max(at) FROM freezes WHERE level = 'off' AND scope = ?1";
    let last = one(conn, sql, [json(&Scope::Organization)?], |row| row.get::<_, Option<i64>>(0).map_err(failed))?;
    Ok(last.flatten().map(stamp))
}

impl SqliteStore {
    /// The number of the newest freeze or thaw, 0 when there is none: a cheap way to see that one was written.
    ///
    /// # Errors
    /// Those of the store, as all questions here.
    pub async fn newest_freeze(&self) -> Result<i64, JournalError> {
        let newest = self.read(|conn| one(conn, "SELECT max(id) FROM freezes", [], |row| row.get::<_, Option<i64>>(0).map_err(failed)));
        Ok(newest.await?.flatten().unwrap_or(0))
    }

    /// All freezes and thaws that ever were, the oldest first.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn freezes_and_thaws(&self) -> Result<Vec<Freeze>, JournalError> {
        self.read(|conn| all(conn, &format!("SELECT {COLUMNS} FROM freezes ORDER BY id"), [], freeze)).await
    }

    /// Runs that are not over and were once stopped by a freeze.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn maybe_frozen(&self) -> Result<Vec<IncidentId>, JournalError> {
        // Words of our own entries: an entry that says them for another reason makes its run be looked at, and no more.
        let sql = "SELECT run FROM runs WHERE over = 0 AND EXISTS (SELECT 1 FROM entries e WHERE e.run = runs.id
                   AND (e.entry LIKE '%\"frozen\"%' OR e.entry LIKE '%\"undo-frozen\"%')) ORDER BY opened_at, run";
        self.read(move |conn| all(conn, sql, [], |row| incident(&row.get::<_, String>(0).map_err(failed)?))).await
    }

    /// Whether a warrant was given between two times, to this run or (`None`) to any.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn warranted(&self, run: Option<IncidentId>, from: Timestamp, until: Timestamp) -> Result<bool, JournalError> {
        let sql = "SELECT 1 FROM runs r JOIN entries e ON e.run = r.id WHERE (?1 IS NULL OR r.run = ?1) AND r.updated_at >= ?2
                   AND e.at BETWEEN ?2 AND ?3
                   AND (e.entry LIKE '%\"entry\":\"apply-started\"%' OR e.entry LIKE '%\"entry\":\"undo-started\"%') LIMIT 1";
        let values = (run.map(|run| run.to_string()), nanos(from), nanos(until));
        self.read(move |conn| Ok(one(conn, sql, values, |_| Ok(()))?.is_some())).await
    }
}
