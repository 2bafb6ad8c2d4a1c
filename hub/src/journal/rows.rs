//! How the journal's values stand in SQLite's columns.

use cordon_shared::{
    engine::RunState,
    id::IncidentId,
    journal::{JournalError, RunRow, Sealed},
    plan::StepKey,
};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row};
use serde::{Deserialize as _, Serialize, de::IntoDeserializer as _};

/// The columns that [`run_row`] reads, in its order.
pub(crate) const RUN_COLUMNS: &str =
    "run, playbook, account, region, subject, state, code, reason, opened_at, updated_at, wake, over, sweep";
/// The columns that [`sealed`] reads, in its order.
pub(crate) const ENTRY_COLUMNS: &str = "seq, at, entry, prev, hash";

/// A failure of SQLite, as the journal reports it.
pub(crate) fn failed(error: rusqlite::Error) -> JournalError {
    JournalError::Store(error.to_string())
}

/// A value in a column that Cordon did not write like that.
pub(crate) fn strange(what: &str, error: impl std::fmt::Display) -> JournalError {
    JournalError::Store(format!("{what} in the journal cannot be read: {error}; run `cordon audit verify`"))
}

/// Nanoseconds since the Unix epoch. What lies outside of the years 1678 to 2261 becomes "ever" or "never".
pub(crate) fn nanos(at: Timestamp) -> i64 {
    i64::try_from(at.as_nanosecond()).unwrap_or(if at < Timestamp::UNIX_EPOCH { i64::MIN } else { i64::MAX })
}

/// The time that [`nanos`] wrote.
pub(crate) fn stamp(nanos: i64) -> Timestamp {
    match nanos {
        i64::MAX => Timestamp::MAX,
        i64::MIN => Timestamp::MIN,
        // All others are in range.
        nanos => Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or_default(),
    }
}

/// A count or a limit as SQLite takes it.
pub(crate) fn whole(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

/// An entry's number or an epoch. SQLite has no unsigned integers; the schema keeps these positive.
pub(crate) fn natural(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

/// A value as JSON text.
pub(crate) fn json(value: &impl Serialize) -> Result<String, JournalError> {
    // By way of a `Value`, so that the keys are sorted as in the text that the chain covers.
    let value = serde_json::to_value(value).map_err(|error| JournalError::Store(format!("a value cannot be written as JSON: {error}")))?;
    Ok(value.to_string())
}

/// An incident's id from its column.
pub(crate) fn incident(text: &str) -> Result<IncidentId, JournalError> {
    text.parse().map_err(|error| strange("an incident's id", error))
}

/// A step from its column.
pub(crate) fn step(text: &str) -> Result<StepKey, JournalError> {
    text.parse().map_err(|error| strange("a step", error))
}

/// A state's word as it stands in a column.
pub(crate) fn state(text: &str) -> Result<RunState, JournalError> {
    RunState::deserialize(text.into_deserializer()).map_err(|error: serde::de::value::Error| strange("a run's state", error))
}

/// The row of the `runs` table behind an incident's id.
pub(crate) fn rowid(conn: &Connection, run: IncidentId) -> Result<Option<i64>, JournalError> {
    let mut statement = conn.prepare_cached("SELECT id FROM runs WHERE run = ?1").map_err(failed)?;
    statement.query_row([run.to_string()], |row| row.get(0)).optional().map_err(failed)
}

/// The same, where the run has to be there.
pub(crate) fn known(conn: &Connection, run: IncidentId) -> Result<i64, JournalError> {
    rowid(conn, run)?.ok_or(JournalError::NoRun(run))
}

/// Reads a run's row, selected as [`RUN_COLUMNS`].
pub(crate) fn run_row(row: &Row<'_>) -> Result<RunRow, JournalError> {
    Ok(RunRow {
        run: incident(&row.get::<_, String>(0).map_err(failed)?)?,
        playbook: row.get(1).map_err(failed)?,
        account: row.get(2).map_err(failed)?,
        region: row.get(3).map_err(failed)?,
        subject: row.get(4).map_err(failed)?,
        state: state(&row.get::<_, String>(5).map_err(failed)?)?,
        code: row.get(6).map_err(failed)?,
        reason: row.get(7).map_err(failed)?,
        opened_at: stamp(row.get(8).map_err(failed)?),
        updated_at: stamp(row.get(9).map_err(failed)?),
        wake: row.get::<_, Option<i64>>(10).map_err(failed)?.map(stamp),
        over: row.get(11).map_err(failed)?,
        sweep: row.get(12).map_err(failed)?,
    })
}

/// Reads an entry, selected as [`ENTRY_COLUMNS`].
pub(crate) fn sealed(row: &Row<'_>) -> Result<Sealed, JournalError> {
    let text: String = row.get(2).map_err(failed)?;
    Ok(Sealed {
        seq: natural(row.get(0).map_err(failed)?),
        at: stamp(row.get(1).map_err(failed)?),
        entry: serde_json::from_str(&text).map_err(|error| JournalError::Unreadable(error.to_string()))?,
        prev: row.get(3).map_err(failed)?,
        hash: row.get(4).map_err(failed)?,
    })
}

/// Reads all rows of a statement.
pub(crate) fn all<T>(
    conn: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    read: impl Fn(&Row<'_>) -> Result<T, JournalError>,
) -> Result<Vec<T>, JournalError> {
    let mut statement = conn.prepare_cached(sql).map_err(failed)?;
    let mut rows = statement.query(params).map_err(failed)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(failed)? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// Reads the first row of a statement, if there is one.
pub(crate) fn one<T>(
    conn: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    read: impl FnOnce(&Row<'_>) -> Result<T, JournalError>,
) -> Result<Option<T>, JournalError> {
    let mut statement = conn.prepare_cached(sql).map_err(failed)?;
    let mut rows = statement.query(params).map_err(failed)?;
    rows.next().map_err(failed)?.map(read).transpose()
}

/// A run's entries in order.
pub(crate) fn entries(conn: &Connection, run: IncidentId) -> Result<Vec<Sealed>, JournalError> {
    let Some(id) = rowid(conn, run)? else { return Ok(Vec::new()) };
    let sql = format!("SELECT {ENTRY_COLUMNS} FROM entries WHERE run = ?1 ORDER BY seq");
    all(conn, &sql, [id], sealed)
}

/// A run's row.
pub(crate) fn run(conn: &Connection, run: IncidentId) -> Result<Option<RunRow>, JournalError> {
    let sql = format!("SELECT {RUN_COLUMNS} FROM runs WHERE run = ?1");
    one(conn, &sql, [run.to_string()], run_row)
}
