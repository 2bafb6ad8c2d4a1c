//! Questions to the journal that need no transaction of their own.

use cordon_shared::{
    engine::{ClaimFrom, RunState, StepView, View},
    gate::{self, Stays, budget::Charge},
    id::IncidentId,
    journal::{JournalError, RunRow, Sealed, Tx as _, UNREADABLE, ops},
    plan::{Counts, StepKey},
};
use jiff::Timestamp;
use rusqlite::{ToSql, params, params_from_iter};

use super::{
    rows::{self, RUN_COLUMNS, all, failed, incident, nanos, one, run_row, stamp, state, whole},
    sqlite::SqliteStore,
    tx::SqlTx,
};

/// How many candidates are named when a prefix means more than one incident.
const CANDIDATES: usize = 10;

/// Which runs are wanted. All that is set must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Only those that are not over.
    pub open_only: bool,
    /// One of these states; empty: any.
    pub states: Vec<RunState>,
    /// Of this account.
    pub account: Option<String>,
    /// Of this Region.
    pub region: Option<String>,
    /// Of this playbook.
    pub playbook: Option<String>,
    /// Children of this sweep.
    pub sweep: Option<String>,
    /// Opened before this time.
    pub before: Option<Timestamp>,
    /// Opened at this time or later.
    pub after: Option<Timestamp>,
    /// At most so many; `None`: all.
    pub limit: Option<usize>,
}

/// How many runs of a cell stand in a state, for a reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateCount {
    /// The account.
    pub account: String,
    /// The Region.
    pub region: String,
    /// The state.
    pub state: RunState,
    /// The reason's stable word.
    pub code: String,
    /// How many.
    pub n: u64,
}

/// Why a prefix names no incident.
#[derive(Debug, thiserror::Error)]
pub enum FindRunError {
    /// None has it.
    #[error("no incident's id begins with `{0}` (`cordon incident list` shows them)")]
    None(String),
    /// More than one has it.
    #[error("`{prefix}` may be {}{}: write more of the id", list(candidates), if *more { " or others" } else { "" })]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// The first ones that it may mean.
        candidates: Vec<IncidentId>,
        /// Whether there are more than those.
        more: bool,
    },
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

fn list(candidates: &[IncidentId]) -> String {
    candidates.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl RunFilter {
    fn sql(&self) -> (String, Vec<Box<dyn ToSql>>) {
        let mut values: Vec<Box<dyn ToSql>> = Vec::new();
        let mut wheres = Vec::new();
        if self.open_only {
            // One that has ended and is only looked at again is not open.
            wheres.push("over = 0 AND state NOT IN ('planned', 'ignored', 'closed', 'undone')".to_owned());
        }
        if !self.states.is_empty() {
            wheres.push(format!("state IN ({})", vec!["?"; self.states.len()].join(", ")));
            values.extend(self.states.iter().map(|state| Box::new(state.as_str()) as Box<dyn ToSql>));
        }
        let texts = [("account", &self.account), ("region", &self.region), ("playbook", &self.playbook), ("sweep", &self.sweep)];
        for (column, wanted) in texts {
            if let Some(wanted) = wanted {
                wheres.push(format!("{column} = ?"));
                values.push(Box::new(wanted.clone()));
            }
        }
        for (condition, time) in [("opened_at < ?", self.before), ("opened_at >= ?", self.after)] {
            if let Some(time) = time {
                wheres.push(condition.to_owned());
                values.push(Box::new(nanos(time)));
            }
        }
        let wheres = if wheres.is_empty() { String::new() } else { format!("WHERE {}", wheres.join(" AND ")) };
        // A negative limit is none.
        values.push(Box::new(self.limit.map_or(-1, whole)));
        (format!("SELECT {RUN_COLUMNS} FROM runs {wheres} ORDER BY opened_at DESC, run DESC LIMIT ?"), values)
    }
}

impl SqliteStore {
    /// A run's row.
    ///
    /// # Errors
    /// Those of the store, as all questions here.
    pub async fn run(&self, run: IncidentId) -> Result<Option<RunRow>, JournalError> {
        self.read(move |conn| rows::run(conn, run)).await
    }

    /// The rows of the runs that a filter lets through, the newest first.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn runs(&self, filter: &RunFilter) -> Result<Vec<RunRow>, JournalError> {
        let filter = filter.clone();
        self.read(move |conn| {
            let (sql, values) = filter.sql();
            all(conn, &sql, params_from_iter(values.iter()), run_row)
        })
        .await
    }

    /// The runs that want driving now: not over, and due. Accounts take turns, at most `per_account` runs of each: however much is due
    /// in one, the others are among those that come first.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn due(&self, now: Timestamp, per_account: usize, limit: usize) -> Result<Vec<RunRow>, JournalError> {
        self.read(move |conn| {
            let sql = format!(
                "SELECT {RUN_COLUMNS} FROM (SELECT *, row_number() OVER (PARTITION BY account ORDER BY wake, id) AS turn FROM runs \
                 WHERE over = 0 AND wake IS NOT NULL AND wake <= ?1) WHERE turn <= ?2 ORDER BY turn, wake, id LIMIT ?3"
            );
            all(conn, &sql, params![nanos(now), whole(per_account), whole(limit)], run_row)
        })
        .await
    }

    /// How many runs have work going on or due: those that have not come to rest.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn running(&self) -> Result<u64, JournalError> {
        self.read(|conn| {
            let sql = "SELECT count(*) FROM runs WHERE over = 0 AND state = 'running'";
            one(conn, sql, [], |row| Ok(rows::natural(row.get(0).map_err(failed)?))).map(Option::unwrap_or_default)
        })
        .await
    }

    /// How many runs stand in each state.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn states(&self) -> Result<Vec<(RunState, u64)>, JournalError> {
        self.read(|conn| {
            // A rehearsal knows some runs by name alone.
            let sql = "SELECT state, count(*) FROM runs WHERE seq > 0 GROUP BY state ORDER BY state";
            all(conn, sql, [], |row| Ok((state(&row.get::<_, String>(0).map_err(failed)?)?, rows::natural(row.get(1).map_err(failed)?))))
        })
        .await
    }

    /// When the next run becomes due; it may be in the past.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn next_wake(&self) -> Result<Option<Timestamp>, JournalError> {
        self.read(|conn| {
            let sql = "SELECT wake FROM runs WHERE over = 0 AND wake IS NOT NULL ORDER BY wake LIMIT 1";
            one(conn, sql, [], |row| Ok(stamp(row.get(0).map_err(failed)?)))
        })
        .await
    }

    /// A run's entries in order; none for a run that is not there.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn entries(&self, run: IncidentId) -> Result<Vec<Sealed>, JournalError> {
        self.read(move |conn| rows::entries(conn, run)).await
    }

    /// A run's state: its entries, their chain checked, folded.
    ///
    /// # Errors
    /// [`JournalError::NoRun`], a broken chain, entries that do not follow, and those of the store.
    pub async fn view(&self, run: IncidentId) -> Result<View, JournalError> {
        ops::fold(run, &self.entries(run).await?)
    }

    /// How many resources were changed since a time, in an account and in the whole organization.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn spent_since(&self, since: Timestamp, account: &str) -> Result<(u64, u64), JournalError> {
        let account = account.to_owned();
        self.read(move |conn| {
            let sql = "SELECT count(DISTINCT CASE WHEN account = ?2 THEN resource END), count(DISTINCT resource) FROM spent WHERE at > ?1";
            one(conn, sql, params![nanos(since), account], |row| {
                Ok((rows::natural(row.get(0).map_err(failed)?), rows::natural(row.get(1).map_err(failed)?)))
            })
            .map(Option::unwrap_or_default)
        })
        .await
    }

    /// How many runs stand where, by cell, of one sweep or of all.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn count_by_state(&self, sweep: Option<&str>) -> Result<Vec<StateCount>, JournalError> {
        let sweep = sweep.map(str::to_owned);
        self.read(move |conn| {
            let wheres = if sweep.is_some() { "WHERE sweep = ?1" } else { "" };
            let sql = format!(
                "SELECT account, region, state, code, count(*) FROM runs {wheres} GROUP BY account, region, state, code ORDER BY account, region, state, code"
            );
            all(conn, &sql, params_from_iter(sweep), |row| {
                Ok(StateCount {
                    account: row.get(0).map_err(failed)?,
                    region: row.get(1).map_err(failed)?,
                    state: state(&row.get::<_, String>(2).map_err(failed)?)?,
                    code: row.get(3).map_err(failed)?,
                    n: rows::natural(row.get(4).map_err(failed)?),
                })
            })
        })
        .await
    }

    /// The one incident whose id begins with `prefix`; `inc-` may be left out.
    ///
    /// # Errors
    /// [`FindRunError`] when there is none or more than one.
    pub async fn find_run(&self, prefix: &str) -> Result<IncidentId, FindRunError> {
        let asked = prefix.trim().to_owned();
        let lower = asked.to_ascii_lowercase();
        let digits = lower.strip_prefix("inc-").unwrap_or(&lower);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(FindRunError::None(asked));
        }
        // `g` comes after all hexadecimal digits.
        let (from, to) = (format!("inc-{digits}"), format!("inc-{digits}g"));
        let mut candidates = self
            .read(move |conn| {
                let sql = "SELECT run FROM runs WHERE run >= ?1 AND run < ?2 ORDER BY run LIMIT ?3";
                all(conn, sql, params![from, to, whole(CANDIDATES.saturating_add(1))], |row| {
                    incident(&row.get::<_, String>(0).map_err(failed)?)
                })
            })
            .await?;
        match candidates.as_slice() {
            [] => Err(FindRunError::None(asked)),
            [only] => Ok(*only),
            _ => {
                let more = candidates.len() > CANDIDATES;
                candidates.truncate(CANDIDATES);
                Err(FindRunError::Ambiguous { prefix: asked, candidates, more })
            }
        }
    }

    /// What was charged to budgets since a time, of one kind, oldest first.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn charges(&self, since: Timestamp, counts: Counts) -> Result<Vec<Charge>, JournalError> {
        self.read(move |conn| SqlTx::new(conn).charges(since, counts)).await
    }

    /// What an undo of a step restores and what stays, as [`gate::to_restore`].
    ///
    /// # Errors
    /// Those of the store.
    pub async fn to_restore(
        &self,
        run: IncidentId,
        step: StepView,
        gone: Vec<StepKey>,
    ) -> Result<(Vec<ClaimFrom>, Vec<Stays>), JournalError> {
        self.read(move |conn| gate::to_restore(&mut SqlTx::new(conn), run, &step, &gone)).await
    }

    /// The newest time that the journal holds: of an incident, an anchor, a freeze, or of who was turned away. `None`: it holds nothing.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn newest_time(&self) -> Result<Option<Timestamp>, JournalError> {
        self.read(move |conn| {
            let sql = "SELECT max(at) FROM (SELECT max(updated_at) AS at FROM runs UNION ALL SELECT max(at) FROM anchors \
                       UNION ALL SELECT max(at) FROM freezes UNION ALL SELECT max(at) FROM turned_away)";
            let newest = one(conn, sql, [], |row| row.get::<_, Option<i64>>(0).map_err(failed))?;
            Ok(newest.flatten().map(stamp))
        })
        .await
    }

    /// Puts aside a run whose entries cannot be read, as [`ops::set_aside`].
    ///
    /// # Errors
    /// Those of the store.
    pub async fn set_aside(&self, run: IncidentId, why: &str, now: Timestamp) -> Result<(), JournalError> {
        let why = why.to_owned();
        self.execute(move |conn| ops::set_aside(&mut SqlTx::new(conn), run, &why, now)).await
    }

    /// Makes due what was put aside: this version of Cordon may be able to read it, or somebody has mended it.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn try_set_aside_again(&self) -> Result<(), JournalError> {
        self.execute(move |conn| {
            let sql = "UPDATE runs SET wake = opened_at WHERE code = ?1 AND over = 0";
            conn.prepare_cached(sql).and_then(|mut statement| statement.execute([UNREADABLE])).map_err(failed).map(drop)
        })
        .await
    }
}
