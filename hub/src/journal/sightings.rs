//! What was seen of opt-out tags.

use cordon_shared::journal::{
    JournalError,
    sightings::{Seen, Sighting},
};
use rusqlite::{Connection, params};

use super::rows::{failed, nanos, one, stamp};

/// What is remembered of an account, an OU or a resource.
pub(super) fn read(conn: &Connection, whose: &str) -> Result<Option<Sighting>, JournalError> {
    let sql = "SELECT value, first, last, before_value, before_first, before_last FROM sightings WHERE whose = ?1";
    one(conn, sql, [whose], |row| {
        let now = Seen {
            value: row.get(0).map_err(failed)?,
            first: stamp(row.get(1).map_err(failed)?),
            last: stamp(row.get(2).map_err(failed)?),
        };
        let (value, ends): (Option<String>, [Option<i64>; 2]) =
            (row.get(3).map_err(failed)?, [row.get(4).map_err(failed)?, row.get(5).map_err(failed)?]);
        let before = match ends {
            [Some(first), Some(last)] => Some(Seen { value, first: stamp(first), last: stamp(last) }),
            _ => None,
        };
        Ok(Sighting { now, before })
    })
}

/// Remembers it.
pub(super) fn save(conn: &Connection, whose: &str, sighting: &Sighting) -> Result<(), JournalError> {
    let Sighting { now, before } = sighting;
    let before = before.as_ref();
    let sql =
        "INSERT INTO sightings (whose, value, first, last, before_value, before_first, before_last) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
               ON CONFLICT (whose) DO UPDATE SET value = ?2, first = ?3, last = ?4, before_value = ?5, before_first = ?6, before_last = ?7";
    let mut statement = conn.prepare_cached(sql).map_err(failed)?;
    statement
        .execute(params![
            whose,
            now.value,
            nanos(now.first),
            nanos(now.last),
            before.and_then(|before| before.value.as_deref()),
            before.map(|before| nanos(before.first)),
            before.map(|before| nanos(before.last)),
        ])
        .map_err(failed)?;
    Ok(())
}
