//! Requests: what people ask of the process that drives. Any `cordon` process may append one; the holder of the lease answers.

use cordon_shared::{engine::Person, id::IncidentId, journal::JournalError, plan::StepKey};
use jiff::Timestamp;
use rusqlite::{Row, params};
use serde::{Deserialize, Serialize};

use super::{
    rows::{all, failed, json, nanos, one, stamp, strange},
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

fn open_request(row: &Row<'_>) -> Result<OpenRequest, JournalError> {
    let request: String = row.get(1).map_err(failed)?;
    Ok(OpenRequest {
        id: row.get(0).map_err(failed)?,
        request: serde_json::from_str(&request).map_err(|error| strange("a request", error))?,
        by: Asker { by: Person(row.get(2).map_err(failed)?), identity: row.get(4).map_err(failed)? },
        at: stamp(row.get(3).map_err(failed)?),
    })
}

impl SqliteStore {
    /// Appends a request and gives back its number.
    ///
    /// # Errors
    /// Those of the store. Whether it can be met is for the process that drives to say.
    pub async fn append_request(&self, request: &Request, asker: &Asker, at: Timestamp) -> Result<i64, JournalError> {
        let (text, Asker { by, identity }) = (json(request)?, asker.clone());
        self.execute(move |conn| {
            let sql = "INSERT INTO requests (at, person, request, identity) VALUES (?1, ?2, ?3, ?4)";
            let mut statement = conn.prepare_cached(sql).map_err(failed)?;
            statement.insert(params![nanos(at), by.0, text, identity]).map_err(failed)
        })
        .await
    }

    /// The requests that are not answered, the oldest first.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn open_requests(&self) -> Result<Vec<OpenRequest>, JournalError> {
        self.read(|conn| all(conn, "SELECT id, request, person, at, identity FROM requests WHERE ok IS NULL ORDER BY id", [], open_request))
            .await
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
