//! Requests: what people ask of the process that drives. Any `cordon` process may append one; the holder of the lease answers.

use cordon_shared::{engine::Person, id::IncidentId, journal::JournalError, plan::StepKey};
use jiff::Timestamp;
use rusqlite::{Connection, Row, params};
use serde::{Deserialize, Serialize};

use super::{
    proofs,
    rows::{all, failed, json, nanos, one, stamp},
    sqlite::SqliteStore,
};
use crate::policy::person::Doing;

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "request")]
pub enum Request {
    /// Yes to exactly this plan of a step.
    Grant {
        /// The incident.
        run: IncidentId,
        /// The step that asks.
        step: StepKey,
        /// The digest of the plan that was looked at.
        digest: String,
        /// Until when the question stood that was looked at, which tells it from one asked before or anew; `None`: whichever stands now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires: Option<Timestamp>,
    },
    /// No to a step.
    Deny {
        /// The incident.
        run: IncidentId,
        /// The step that asks.
        step: StepKey,
        /// Why.
        why: String,
        /// The digest of the plan that was looked at; `None`: whatever it asks now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        digest: Option<String>,
        /// As of a yes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires: Option<Timestamp>,
    },
    /// Put back what was changed.
    Undo {
        /// The incident.
        run: IncidentId,
        /// One step of it; `None`: all.
        step: Option<StepKey>,
    },
    /// Go on with what is held.
    Release {
        /// The incident.
        run: IncidentId,
        /// One step of it; `None`: all.
        step: Option<StepKey>,
    },
    /// Try again what failed.
    Retry {
        /// The incident.
        run: IncidentId,
        /// One step of it; `None`: all.
        step: Option<StepKey>,
    },
    /// End the incident.
    Close {
        /// The incident.
        run: IncidentId,
        /// Why.
        why: String,
    },
}

impl Request {
    /// What the policies call it.
    #[must_use]
    pub fn doing(&self) -> Doing {
        match self {
            Self::Grant { .. } => Doing::Approve,
            Self::Deny { .. } => Doing::Deny,
            Self::Undo { .. } => Doing::Undo,
            Self::Release { .. } => Doing::Release,
            Self::Retry { .. } => Doing::Retry,
            Self::Close { .. } => Doing::Close,
        }
    }

    /// The step that it is about, where it is about one.
    #[must_use]
    pub fn step(&self) -> Option<&StepKey> {
        match self {
            Self::Grant { step, .. } | Self::Deny { step, .. } => Some(step),
            Self::Undo { step, .. } | Self::Release { step, .. } | Self::Retry { step, .. } => step.as_ref(),
            Self::Close { .. } => None,
        }
    }

    /// The incident that it is about.
    #[must_use]
    pub fn run(&self) -> IncidentId {
        match self {
            Self::Grant { run, .. }
            | Self::Deny { run, .. }
            | Self::Undo { run, .. }
            | Self::Release { run, .. }
            | Self::Retry { run, .. }
            | Self::Close { run, .. } => *run,
        }
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asker {
    /// The name of `[[people]]`.
    pub by: Person,
    /// The identity that it was proven by: an ARN as STS tells it, `slack:U…`.
    pub identity: String,
}

/// A request that nobody has answered yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRequest {
    /// Its number; they count up.
    pub id: i64,
    /// What is asked.
    pub request: Request,
    /// By whom.
    pub by: Asker,
    /// When.
    pub at: Timestamp,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whether it was met.
    pub ok: bool,
    /// What was done, or why it was not.
    pub text: String,
}

/// An open request, or the number of one that cannot be read and why.
fn open_request(row: &Row<'_>) -> Result<Result<OpenRequest, (i64, String)>, JournalError> {
    let (id, text): (i64, String) = (row.get(0).map_err(failed)?, row.get(1).map_err(failed)?);
    let by = Asker { by: Person(row.get(2).map_err(failed)?), identity: row.get(4).map_err(failed)? };
    let at = stamp(row.get(3).map_err(failed)?);
    Ok(match serde_json::from_str(&text) {
        Ok(request) => Ok(OpenRequest { id, request, by, at }),
        Err(error) => Err((id, error.to_string())),
    })
}

fn append(conn: &Connection, request: &str, Asker { by, identity }: &Asker, at: Timestamp) -> Result<i64, JournalError> {
    let sql = "INSERT INTO requests (at, person, request, identity) VALUES (?1, ?2, ?3, ?4)";
    let mut statement = conn.prepare_cached(sql).map_err(failed)?;
    statement.insert(params![nanos(at), by.0, request, identity]).map_err(failed)
}

impl SqliteStore {
    /// Appends a request and gives back its number.
    ///
    /// # Errors
    /// Those of the store. Whether it can be met is for the process that drives to say.
    pub async fn append_request(&self, request: &Request, asker: &Asker, at: Timestamp) -> Result<i64, JournalError> {
        let (text, asker) = (json(request)?, asker.clone());
        self.execute(move |conn| append(conn, &text, &asker, at)).await
    }

    /// The same for what may come more than once, which is remembered by `mark` until then, with the request or not at all. `None`: it was
    /// appended before.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn append_request_once(
        &self,
        request: &Request,
        asker: &Asker,
        (mark, until): (&str, Timestamp),
        at: Timestamp,
    ) -> Result<Option<i64>, JournalError> {
        let (text, asker, mark) = (json(request)?, asker.clone(), mark.to_owned());
        self.execute(move |conn| Ok(if proofs::take(conn, &mark, until, at)? { Some(append(conn, &text, &asker, at)?) } else { None }))
            .await
    }

    /// The requests that are not answered, the oldest first, but for those that cannot be read.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn open_requests(&self) -> Result<Vec<OpenRequest>, JournalError> {
        Ok(self.unanswered().await?.into_iter().flatten().collect())
    }

    async fn unanswered(&self) -> Result<Vec<Result<OpenRequest, (i64, String)>>, JournalError> {
        self.read(|conn| all(conn, "SELECT id, request, person, at, identity FROM requests WHERE ok IS NULL ORDER BY id", [], open_request))
            .await
    }

    /// Says no to requests that cannot be read, so that they keep nobody else waiting.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn refuse_unreadable_requests(&self, at: Timestamp) -> Result<(), JournalError> {
        for (id, why) in self.unanswered().await?.into_iter().filter_map(Result::err) {
            let text = format!(
                "it was written by another version of Cordon, and the one that runs cannot read it ({why}): nothing was changed; ask again with \
                 the version that runs"
            );
            tracing::warn!(id, %why, "a request cannot be read");
            self.answer_request(id, Err(text), at).await?;
        }
        Ok(())
    }

    /// The number of the newest request, 0 when there is none: a cheap way to see that something was asked.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn newest_request(&self) -> Result<i64, JournalError> {
        self.read(|conn| {
            Ok(one(conn, "SELECT max(id) FROM requests", [], |row| row.get::<_, Option<i64>>(0).map_err(failed))?.flatten().unwrap_or(0))
        })
        .await
    }

    /// Answers a request: `Ok` with what was done, `Err` with why it was not. The first answer stays.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn answer_request(&self, id: i64, answer: Result<String, String>, at: Timestamp) -> Result<(), JournalError> {
        let (ok, text) = match answer {
            Ok(text) => (true, text),
            Err(text) => (false, text),
        };
        self.execute(move |conn| {
            let sql = "UPDATE requests SET ok = ?2, answer = ?3, answered = ?4 WHERE id = ?1 AND ok IS NULL";
            let mut statement = conn.prepare_cached(sql).map_err(failed)?;
            statement.execute(params![id, ok, text, nanos(at)]).map_err(failed)?;
            Ok(())
        })
        .await
    }

    /// The answer to a request, once there is one.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn answer_of(&self, id: i64) -> Result<Option<Answer>, JournalError> {
        self.read(move |conn| {
            one(conn, "SELECT ok, answer FROM requests WHERE id = ?1 AND ok IS NOT NULL", [id], |row| {
                Ok(Answer { ok: row.get(0).map_err(failed)?, text: row.get(1).map_err(failed)? })
            })
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::testing::{after, run_id};

    fn ann() -> Asker {
        Asker { by: Person("ann".to_owned()), identity: "slack:U0ANN".to_owned() }
    }

    fn undo(number: u128) -> Request {
        Request::Undo { run: run_id(number), step: None }
    }

    #[tokio::test]
    async fn a_request_that_another_version_wrote_is_refused_and_keeps_no_other_waiting() {
        let store = SqliteStore::in_memory().unwrap();
        let first = store.append_request(&undo(1), &ann(), after(1)).await.unwrap();
        let newer = json(&serde_json::json!({ "request": "delegate", "run": run_id(1), "to": "ben" })).unwrap();
        let strange = store.execute(move |conn| append(conn, &newer, &ann(), after(2))).await.unwrap();
        let last = store.append_request(&undo(2), &ann(), after(3)).await.unwrap();
        let open: Vec<i64> = store.open_requests().await.unwrap().iter().map(|open| open.id).collect();
        assert_eq!(open, [first, last]);
        for _ in 0..2 {
            store.refuse_unreadable_requests(after(4)).await.unwrap();
            let no = store.answer_of(strange).await.unwrap().unwrap();
            assert!(!no.ok, "{no:?}");
            for part in ["another version of Cordon", "delegate", "nothing was changed"] {
                assert!(no.text.contains(part), "{part}: {}", no.text);
            }
        }
        assert_eq!((store.answer_of(first).await.unwrap(), store.open_requests().await.unwrap().len()), (None, 2));
    }

    #[tokio::test]
    async fn what_comes_again_is_appended_once() {
        let store = SqliteStore::in_memory().unwrap();
        let append = async |mark: &str, at| store.append_request_once(&undo(1), &ann(), (mark, after(3_600)), at).await.unwrap();
        let first = append("e-1/0", after(1)).await;
        assert!(first.is_some());
        assert_eq!(append("e-1/0", after(2)).await, None);
        assert_ne!(append("e-2/0", after(3)).await, first);
        assert_eq!(store.open_requests().await.unwrap().len(), 2);
    }
}
