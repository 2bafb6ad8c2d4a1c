//! The outbox: notices that are written with the entries they tell of, and what became of sending them.
//!
//! Pages ([`super::pages`]) go the same way. Only the process that holds the lease sends. A run's notices go to each destination in their order: the next one waits until the one
//! before is sent or given up. Other runs do not wait.

use cordon_shared::{
    id::IncidentId,
    journal::JournalError,
    notice::{Notice, Target},
    plan::StepKey,
};
use jiff::Timestamp;
use rusqlite::{CachedStatement, Connection, Row, params};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    pages,
    rows::{all, failed, json, known, nanos, natural, one, stamp, strange, whole},
    sqlite::SqliteStore,
};

/// Where a message stands in Slack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The channel's id.
    pub channel: String,
    /// The message's time stamp, which is its id there.
    pub ts: String,
}

/// Where a run's thread begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// Its first message.
    pub root: Place,
    /// Whether that tells of the detection, and not of something else since that was given up.
    pub detected: bool,
}

/// The row of something that is to be sent to one destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slip {
    /// Of a run's notice.
    Notice(i64),
    /// Of a page.
    Page(i64),
}

impl Slip {
    fn row(self) -> (&'static str, i64) {
        match self {
            Self::Notice(id) => ("outbox", id),
            Self::Page(id) => ("pages", id),
        }
    }
}

/// A notice, or a page, that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due<T = Notice> {
    /// Its row.
    pub slip: Slip,
    /// What it tells.
    pub notice: T,
    /// How often it was tried.
    pub tries: u32,
    /// Whether an attempt may have come through.
    pub unsure: bool,
    /// Where it stands, where it was posted already.
    pub place: Option<Place>,
}

/// For how many tries the pause between them grows. Those that fail without anybody's refusal are counted no further, so that no time that a
/// destination was down counts as time in which a person could have mended something; nor do they undo what was counted.
pub const PACED: u32 = 6;
/// What `last` begins with from the first refusal on. Without it a row's tries beyond [`PACED`] are those of a Cordon that counted each.
const REFUSED: &str = "refused: ";
/// A row's tries, those beyond [`PACED`] only where it was refused.
pub(super) fn tries() -> String {
    format!("CASE WHEN o.last LIKE '{REFUSED}%' THEN o.tries ELSE min(o.tries, {PACED}) END")
}

/// Who was turned away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TurnedAway {
    /// When.
    pub at: Timestamp,
    /// Where: `slack`, `outbox`, `policies`, `clock`, `command-line`, `request` (asked for by a person and refused).
    pub door: String,
    /// Who, as far as that is known.
    pub who: String,
    /// What was asked.
    pub what: String,
    /// Why it was not done.
    pub why: String,
}

impl TurnedAway {
    /// What could not be told at once.
    #[must_use]
    pub fn not_told(at: Timestamp, target: &str, what: &str, why: &str) -> Self {
        let why = format!("{why}; it is tried again, and what comes after it waits");
        Self { at, door: "outbox".to_owned(), who: target.to_owned(), what: what.to_owned(), why }
    }

    /// A clock that went back.
    #[must_use]
    pub fn setback(at: Timestamp, why: &str) -> Self {
        let text = str::to_owned;
        Self { at, door: text("clock"), who: text("the computer's clock"), what: text("a time that was over"), why: text(why) }
    }

    /// Policies that cannot be used.
    #[must_use]
    pub fn unsound_policies(at: Timestamp, why: &str) -> Self {
        let text = str::to_owned;
        Self {
            at,
            door: text("policies"),
            who: text("the folder of `[policy] dir`"),
            what: text("policies that are not sound"),
            why: text(why),
        }
    }
}

/// The first that is not sent of each run. `?1`: the destination.
const HEADS: &str = "FROM outbox o WHERE o.target = ?1 AND o.done IS NULL AND NOT EXISTS \
                     (SELECT 1 FROM outbox p WHERE p.target = o.target AND p.run = o.run AND p.done IS NULL AND p.id < o.id)";

/// A row of id, what is told, tries, unsure, place. `what`: what is told, in words.
pub(super) fn due<T: DeserializeOwned>(row: &Row<'_>, slip: fn(i64) -> Slip, what: &str) -> Result<Due<T>, JournalError> {
    let notice: String = row.get(1).map_err(failed)?;
    let place: Option<String> = row.get(4).map_err(failed)?;
    Ok(Due {
        slip: slip(row.get(0).map_err(failed)?),
        notice: serde_json::from_str(&notice).map_err(|error| strange(what, error))?,
        tries: u32::try_from(natural(row.get(2).map_err(failed)?)).unwrap_or(u32::MAX),
        unsure: row.get(3).map_err(failed)?,
        place: place.map(|text| read_place(&text)).transpose()?,
    })
}

fn read_place(text: &str) -> Result<Place, JournalError> {
    serde_json::from_str(text).map_err(|error| strange("a message's place", error))
}

pub(super) fn change(conn: &Connection, sql: &str, params: impl rusqlite::Params) -> Result<(), JournalError> {
    conn.prepare_cached(sql).and_then(|mut statement| statement.execute(params)).map(drop).map_err(failed)
}

/// Puts a notice in for each destination of its audience.
pub(super) fn put(conn: &Connection, notice: &Notice) -> Result<(), JournalError> {
    let id = known(conn, notice.run)?;
    change(
        conn,
        "INSERT INTO outbox (run, key, target, notice, due) SELECT ?1, ?2, name, ?3, ?4 FROM outbox_targets WHERE audience = ?5 ON CONFLICT DO NOTHING",
        params![id, notice.key, json(notice)?, nanos(notice.at), notice.audience.as_str()],
    )
}

impl SqliteStore {
    /// Sets where notices go from now on. What is not sent to a destination that is no more is given up.
    ///
    /// # Errors
    /// Those of the store, as of all here.
    pub async fn set_targets(&self, targets: &[Target], now: Timestamp) -> Result<(), JournalError> {
        let targets = targets.to_vec();
        self.execute(move |conn| {
            change(conn, "DELETE FROM outbox_targets", [])?;
            for target in &targets {
                let row = params![target.name, target.audience.as_str()];
                change(conn, "INSERT INTO outbox_targets (name, audience) VALUES (?1, ?2)", row)?;
            }
            let gone = "UPDATE outbox SET done = ?1, gave_up = 'the destination is not configured any more' \
                        WHERE done IS NULL AND target NOT IN (SELECT name FROM outbox_targets)";
            change(conn, gone, [nanos(now)])?;
            pages::retarget(conn, now)
        })
        .await
    }

    /// What is to be sent to a destination now, the oldest first, one at most of each run.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn outbox_due(&self, target: &str, now: Timestamp, limit: usize) -> Result<Vec<Due>, JournalError> {
        let target = target.to_owned();
        self.read(move |conn| {
            let tries = tries();
            let sql = format!("SELECT o.id, o.notice, {tries}, o.unsure, o.place {HEADS} AND o.due <= ?2 ORDER BY o.id LIMIT ?3");
            all(conn, &sql, params![target, nanos(now), whole(limit)], |row| due(row, Slip::Notice, "a notice"))
        })
        .await
    }

    /// When the next notice to a destination is due, which may be in the past; `None`: all are sent.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn outbox_next(&self, target: &str) -> Result<Option<Timestamp>, JournalError> {
        let target = target.to_owned();
        self.read(move |conn| {
            let sql = format!("SELECT min(o.due) {HEADS}");
            Ok(one(conn, &sql, [target], |row| row.get::<_, Option<i64>>(0).map_err(failed))?.flatten().map(stamp))
        })
        .await
    }

    /// How many notices and pages are not sent, to all destinations.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn outbox_left(&self) -> Result<u64, JournalError> {
        self.read(|conn| {
            let count = one(conn, "SELECT (SELECT count(*) FROM outbox WHERE done IS NULL) + (SELECT count(*) FROM pages WHERE done IS NULL AND target <> '')", [], |row| row.get(0).map_err(failed))?;
            Ok(natural(count.unwrap_or_default()))
        })
        .await
    }

    /// An attempt begins: until it is known to have failed it may have come through.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn outbox_begun(&self, slip: Slip) -> Result<(), JournalError> {
        self.set(slip, "unsure = 1, tries = tries + 1", |row, id| row.execute([id])).await
    }

    /// It was posted, and stands there.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn outbox_placed(&self, slip: Slip, place: &Place) -> Result<(), JournalError> {
        let place = json(place)?;
        self.set(slip, "place = ?2, unsure = 0", move |row, id| row.execute(params![id, place])).await
    }

    /// It is sent.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn outbox_done(&self, slip: Slip, now: Timestamp) -> Result<(), JournalError> {
        self.set(slip, "done = ?2, unsure = 0, last = NULL", move |row, id| row.execute(params![id, nanos(now)])).await
    }

    /// It is tried again. `unsure`: this attempt may have come through all the same.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn outbox_again(&self, slip: Slip, due: Timestamp, unsure: bool, why: &str) -> Result<(), JournalError> {
        let what = format!(
            "due = ?2, unsure = ?3, last = CASE WHEN last LIKE '{REFUSED}%' THEN '{REFUSED}' ELSE '' END || ?4, \
             tries = CASE WHEN tries > {PACED} THEN tries - 1 ELSE tries END"
        );
        let why = why.to_owned();
        self.set(slip, &what, move |row, id| row.execute(params![id, nanos(due), unsure, why])).await
    }

    /// It is refused for what a person may mend, and tried again: the try counts. `unsure`: an earlier attempt may have come through.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn outbox_refused(&self, slip: Slip, due: Timestamp, unsure: bool, why: &str) -> Result<(), JournalError> {
        let what = format!(
            "due = ?2, unsure = ?3, last = '{REFUSED}' || ?4, \
             tries = CASE WHEN last LIKE '{REFUSED}%' THEN tries ELSE min(tries, {PACED} + 1) END"
        );
        let why = why.to_owned();
        self.set(slip, &what, move |row, id| row.execute(params![id, nanos(due), unsure, why])).await
    }

    /// Changes a row. `?1` is its number.
    pub(super) async fn set<F>(&self, slip: Slip, what: &str, values: F) -> Result<(), JournalError>
    where
        F: FnOnce(&mut CachedStatement<'_>, i64) -> rusqlite::Result<usize> + Send + 'static,
    {
        let (table, id) = slip.row();
        let sql = format!("UPDATE {table} SET {what} WHERE id = ?1");
        self.execute(move |conn| conn.prepare_cached(&sql).and_then(|mut row| values(&mut row, id)).map(drop).map_err(failed)).await
    }

    /// It is not tried any more; who looks at what was turned away finds it.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn outbox_gave_up(&self, slip: Slip, target: &str, what: &str, why: &str, now: Timestamp) -> Result<(), JournalError> {
        let (target, why, what) = (target.to_owned(), why.to_owned(), what.to_owned());
        let (table, id) = slip.row();
        let sql = format!("UPDATE {table} SET done = ?2, gave_up = ?3, unsure = 0 WHERE id = ?1");
        self.execute(move |conn| {
            change(conn, &sql, params![id, nanos(now), why])?;
            turn_away(conn, &TurnedAway { at: now, door: "outbox".to_owned(), who: target, what, why })
        })
        .await
    }

    /// Where a run's thread begins at a destination: its first message there.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn thread_of(&self, run: IncidentId, target: &str) -> Result<Option<Thread>, JournalError> {
        let target = target.to_owned();
        self.read(move |conn| {
            let sql = "SELECT o.place, o.key = 'detected' FROM outbox o JOIN runs r ON r.id = o.run WHERE r.run = ?1 AND o.target = ?2 AND o.place IS NOT NULL \
                       ORDER BY o.id LIMIT 1";
            one(conn, sql, params![run.to_string(), target], |row| {
                Ok(Thread { root: read_place(&row.get::<_, String>(0).map_err(failed)?)?, detected: row.get(1).map_err(failed)? })
            })
        })
        .await
    }

    /// The questions of a run about a step that were posted at a destination, the newest first, and where they stand.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn cards_of(&self, run: IncidentId, target: &str, step: &StepKey) -> Result<Vec<(Notice, Place)>, JournalError> {
        let (target, key, step) = (target.to_owned(), format!("asks/{step}/%"), step.clone());
        self.read(move |conn| {
            let sql = "SELECT o.notice, o.place FROM outbox o JOIN runs r ON r.id = o.run \
                       WHERE r.run = ?1 AND o.target = ?2 AND o.key LIKE ?3 AND o.place IS NOT NULL ORDER BY o.id DESC";
            let mut cards: Vec<(Notice, Place)> = all(conn, sql, params![run.to_string(), target, key], |row| {
                let notice: String = row.get(0).map_err(failed)?;
                let notice = serde_json::from_str(&notice).map_err(|error| strange("a notice", error))?;
                Ok((notice, read_place(&row.get::<_, String>(1).map_err(failed)?)?))
            })?;
            cards.retain(|(notice, _)| notice.step.as_ref() == Some(&step));
            Ok(cards)
        })
        .await
    }

    /// Remembers somebody who was turned away.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn turn_away(&self, entry: TurnedAway) -> Result<(), JournalError> {
        self.execute(move |conn| turn_away(conn, &entry)).await
    }

    /// Who was turned away, or asked for what was refused, the newest first, at most so many.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn turned_away(&self, limit: usize) -> Result<Vec<TurnedAway>, JournalError> {
        self.read(move |conn| {
            let sql = "SELECT at, door, who, what, why, id FROM turned_away
                       UNION ALL SELECT answered, 'request', person, request, answer, id FROM requests WHERE ok = 0
                       ORDER BY 1 DESC, 6 DESC LIMIT ?1";
            all(conn, sql, [whole(limit)], |row| {
                let text = |column: usize| row.get::<_, String>(column).map_err(failed);
                let (door, what) = (text(1)?, text(3)?);
                let what = if door == "request" { asked(&what) } else { what };
                Ok(TurnedAway { at: stamp(row.get(0).map_err(failed)?), door, who: text(2)?, what, why: text(4)? })
            })
        })
        .await
    }
}

/// What a request asked, in one line.
fn asked(request: &str) -> String {
    let request: Value = serde_json::from_str(request).unwrap_or_default();
    let words = ["request", "run", "step"].iter().filter_map(|key| request.get(key).and_then(Value::as_str));
    words.collect::<Vec<_>>().join(" ")
}

fn turn_away(conn: &Connection, entry: &TurnedAway) -> Result<(), JournalError> {
    let cut = |text: &str| crate::text::cut(text, 500);
    change(
        conn,
        "INSERT INTO turned_away (at, door, who, what, why) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![nanos(entry.at), entry.door, cut(&entry.who), cut(&entry.what), cut(&entry.why)],
    )
}
