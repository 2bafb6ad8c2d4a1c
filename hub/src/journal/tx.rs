//! The primitive tables of one transaction, over SQLite.

use std::collections::BTreeSet;

use cordon_shared::{
    engine::{ClaimFrom, Entry},
    finding::FindingId,
    freeze::Freeze,
    gate::budget::{Charge, Place, Use},
    id::IncidentId,
    journal::{Claim, JournalError, RunRow, Sealed, Seen, Sighting, Tx},
    notice::Notice,
    page::Page,
    plan::{ChangeKey, Counts, StepKey},
};
use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::{
    freezes, outbox, pages,
    rows::{self, all, failed, incident, known, nanos, natural, one, stamp, strange, whole},
    sightings,
};

/// A transaction that is open on `conn`.
pub(super) struct SqlTx<'c> {
    conn: &'c Connection,
}

impl<'c> SqlTx<'c> {
    pub(super) fn new(conn: &'c Connection) -> Self {
        Self { conn }
    }

    fn run_sql(&self, sql: &str, params: impl rusqlite::Params) -> Result<usize, JournalError> {
        self.conn.prepare_cached(sql).and_then(|mut statement| statement.execute(params)).map_err(failed)
    }
}

impl Tx for SqlTx<'_> {
    fn epoch(&mut self) -> Result<u64, JournalError> {
        let epoch = one(self.conn, "SELECT epoch FROM lease", [], |row| row.get(0).map_err(failed))?;
        Ok(epoch.map_or(0, natural))
    }

    fn head(&mut self, run: IncidentId) -> Result<Option<(u64, String)>, JournalError> {
        one(self.conn, "SELECT seq, hash FROM runs WHERE run = ?1 AND seq > 0", [run.to_string()], |row| {
            Ok((natural(row.get(0).map_err(failed)?), row.get(1).map_err(failed)?))
        })
    }

    fn push(&mut self, run: IncidentId, sealed: &Sealed) -> Result<(), JournalError> {
        let id = known(self.conn, run)?;
        let at = nanos(sealed.at);
        if stamp(at) != sealed.at {
            return Err(JournalError::Store(format!("the time {} of an entry is out of range", sealed.at)));
        }
        // What does not read back as it is would break the chain: its run could never be loaded again.
        let text = rows::json(&sealed.entry)?;
        if serde_json::from_str::<Entry>(&text).ok().is_none_or(|back| back != sealed.entry) {
            return Err(JournalError::Store(format!("entry {} of {run} would not read back as it is", sealed.seq)));
        }
        let seq = whole(sealed.seq);
        // The head moves only from exactly the entry before: the compare-and-swap that two writers cannot both pass.
        let moved = self.run_sql(
            "UPDATE runs SET seq = ?2, hash = ?3 WHERE id = ?1 AND seq = ?2 - 1 AND hash = ?4",
            params![id, seq, sealed.hash, sealed.prev],
        )?;
        if moved == 0 {
            let found = self.head(run)?.map_or(0, |(seq, _)| seq);
            return Err(JournalError::Conflict { run, expected: sealed.seq.saturating_sub(1), found });
        }
        self.run_sql(
            "INSERT INTO entries (run, seq, at, entry, prev, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![id, seq, at, text, sealed.prev, sealed.hash],
        )?;
        Ok(())
    }

    fn entries(&mut self, run: IncidentId) -> Result<Vec<Sealed>, JournalError> {
        rows::entries(self.conn, run)
    }

    fn save_run(&mut self, row: &RunRow) -> Result<(), JournalError> {
        let values = params![
            row.run.to_string(),
            row.playbook,
            row.account,
            row.region,
            row.subject,
            row.state.as_str(),
            row.code,
            row.reason,
            nanos(row.opened_at),
            nanos(row.updated_at),
            row.wake.map(nanos),
            row.over,
            row.sweep,
        ];
        // Not one statement with ON CONFLICT: that would use up a row number each time.
        let known = self.run_sql(
            "UPDATE runs SET playbook = ?2, account = ?3, region = ?4, subject = ?5, state = ?6, code = ?7, reason = ?8, opened_at = ?9,
                 updated_at = ?10, wake = ?11, over = ?12, sweep = ?13 WHERE run = ?1",
            values,
        )?;
        if known == 0 {
            self.run_sql(
                "INSERT INTO runs (run, playbook, account, region, subject, state, code, reason, opened_at, updated_at, wake, over, sweep)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
                values,
            )?;
        }
        Ok(())
    }

    fn run(&mut self, run: IncidentId) -> Result<Option<RunRow>, JournalError> {
        rows::run(self.conn, run)
    }

    fn seen(&mut self, id: &FindingId) -> Result<Option<Seen>, JournalError> {
        one(
            self.conn,
            "SELECT r.run, f.version, f.ignored, f.at FROM findings f LEFT JOIN runs r ON r.id = f.run WHERE f.finding = ?1",
            [&id.0],
            |row| {
                let run: Option<String> = row.get(0).map_err(failed)?;
                let version: String = row.get(1).map_err(failed)?;
                Ok(Seen {
                    run: run.as_deref().map(incident).transpose()?,
                    version: serde_json::from_str(&version).map_err(|error| strange("a finding's version", error))?,
                    ignored: row.get(2).map_err(failed)?,
                    at: stamp(row.get(3).map_err(failed)?),
                })
            },
        )
    }

    fn save_seen(&mut self, id: &FindingId, seen: &Seen) -> Result<(), JournalError> {
        let run = seen.run.map(|run| known(self.conn, run)).transpose()?;
        self.run_sql(
            "INSERT INTO findings (finding, run, version, ignored, at) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (finding) DO UPDATE SET run = ?2, version = ?3, ignored = ?4, at = ?5",
            params![id.0, run, rows::json(&seen.version)?, seen.ignored, nanos(seen.at)],
        )?;
        Ok(())
    }

    fn open_run_with_key(&mut self, key: &str) -> Result<Option<IncidentId>, JournalError> {
        let sql =
            "SELECT r.run FROM keys k JOIN runs r ON r.id = k.run WHERE k.key = ?1 AND r.over = 0
                 AND r.state NOT IN ('planned', 'ignored', 'closed', 'undone') AND r.code NOT IN ('reverted', 'unreadable') ORDER BY r.opened_at, r.run LIMIT 1";
        one(self.conn, sql, [key], |row| incident(&row.get::<_, String>(0).map_err(failed)?))
    }

    fn save_key(&mut self, run: IncidentId, key: &str) -> Result<(), JournalError> {
        let id = known(self.conn, run)?;
        self.run_sql("INSERT INTO keys (key, run) VALUES (?1, ?2) ON CONFLICT DO NOTHING", params![key, id])?;
        Ok(())
    }

    fn lock_holder(&mut self, resource: &str) -> Result<Option<(IncidentId, StepKey)>, JournalError> {
        one(self.conn, "SELECT r.run, l.step FROM locks l JOIN runs r ON r.id = l.run WHERE l.resource = ?1", [resource], |row| {
            Ok((incident(&row.get::<_, String>(0).map_err(failed)?)?, rows::step(&row.get::<_, String>(1).map_err(failed)?)?))
        })
    }

    fn lock(&mut self, resource: &str, run: IncidentId, step: &StepKey) -> Result<(), JournalError> {
        let id = known(self.conn, run)?;
        self.run_sql(
            "INSERT INTO locks (resource, run, step) VALUES (?1, ?2, ?3) ON CONFLICT (resource) DO UPDATE SET run = ?2, step = ?3",
            params![resource, id, step.to_string()],
        )?;
        Ok(())
    }

    fn unlock(&mut self, run: IncidentId, step: &StepKey, at: Timestamp) -> Result<(), JournalError> {
        self.run_sql(
            "INSERT INTO unlocked (resource, at) SELECT resource, ?3 FROM locks WHERE run = (SELECT id FROM runs WHERE run = ?1) AND step = ?2
             ON CONFLICT (resource) DO UPDATE SET at = excluded.at",
            params![run.to_string(), step.to_string(), nanos(at)],
        )?;
        self.run_sql(
            "DELETE FROM locks WHERE run = (SELECT id FROM runs WHERE run = ?1) AND step = ?2",
            [run.to_string(), step.to_string()],
        )?;
        Ok(())
    }

    fn last_unlocked(&mut self, resource: &str) -> Result<Option<Timestamp>, JournalError> {
        let sql = "SELECT at FROM unlocked WHERE resource = ?1";
        one(self.conn, sql, [resource], |row| Ok(stamp(row.get(0).map_err(failed)?)))
    }

    fn claims(&mut self, key: &ChangeKey) -> Result<Vec<Claim>, JournalError> {
        let sql = "SELECT r.run, c.step, f.run, c.from_step FROM claims c JOIN runs r ON r.id = c.run JOIN runs f ON f.id = c.from_run
                   WHERE c.resource = ?1 AND c.attribute = ?2 ORDER BY c.id";
        all(self.conn, sql, [&key.resource, &key.attribute], |row| {
            let text = |column: usize| row.get::<_, String>(column).map_err(failed);
            let from = ClaimFrom { key: key.clone(), run: incident(&text(2)?)?, step: rows::step(&text(3)?)? };
            Ok(Claim { run: incident(&text(0)?)?, step: rows::step(&text(1)?)?, from })
        })
    }

    fn claim(&mut self, claim: &Claim) -> Result<(), JournalError> {
        let (id, from) = (known(self.conn, claim.run)?, known(self.conn, claim.from.run)?);
        let (key, step, from_step) = (&claim.from.key, claim.step.to_string(), claim.from.step.to_string());
        self.run_sql(
            "INSERT INTO claims (run, step, resource, attribute, from_run, from_step) VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
            params![id, step, key.resource, key.attribute, from, from_step],
        )?;
        Ok(())
    }

    fn unclaim(&mut self, run: IncidentId, step: &StepKey) -> Result<(), JournalError> {
        self.run_sql(
            "DELETE FROM claims WHERE run = (SELECT id FROM runs WHERE run = ?1) AND step = ?2",
            [run.to_string(), step.to_string()],
        )?;
        Ok(())
    }

    fn spent(&mut self, since: Timestamp, account: Option<&str>) -> Result<BTreeSet<String>, JournalError> {
        let sql = "SELECT DISTINCT resource FROM spent WHERE at > ?1 AND (?2 IS NULL OR account = ?2)";
        let resources = all(self.conn, sql, params![nanos(since), account], |row| row.get(0).map_err(failed))?;
        Ok(resources.into_iter().collect())
    }

    fn spend(&mut self, at: Timestamp, account: &str, resource: &str) -> Result<(), JournalError> {
        self.run_sql("INSERT INTO spent (at, account, resource) VALUES (?1, ?2, ?3)", params![nanos(at), account, resource])?;
        Ok(())
    }

    fn charges(&mut self, since: Timestamp, counts: Counts) -> Result<Vec<Charge>, JournalError> {
        let sql = "SELECT c.at, r.run, c.step, c.account, c.path, c.resource, c.member, c.outof FROM charges c JOIN runs r ON r.id = c.run
                   WHERE c.counts = ?1 AND c.at > ?2 ORDER BY c.id";
        all(self.conn, sql, params![counts.as_str(), nanos(since)], |row| {
            let text = |column: usize| row.get::<_, String>(column).map_err(failed);
            let path = serde_json::from_str(&text(4)?).map_err(|error| strange("a charge's OU path", error))?;
            let of = u32::try_from(row.get::<_, i64>(7).map_err(failed)?).map_err(|error| strange("a charge's group", error))?;
            Ok(Charge {
                at: stamp(row.get(0).map_err(failed)?),
                run: incident(&text(1)?)?,
                step: rows::step(&text(2)?)?,
                place: Place { account: text(3)?, path },
                used: Use { counts, resource: text(5)?, member: text(6)?, of },
            })
        })
    }

    fn charge(&mut self, charge: &Charge) -> Result<(), JournalError> {
        let Charge { at, run, step, place, used } = charge;
        let id = known(self.conn, *run)?;
        self.run_sql(
            "INSERT INTO charges (at, run, step, account, path, counts, resource, member, outof) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                nanos(*at),
                id,
                step.to_string(),
                place.account,
                rows::json(&place.path)?,
                used.counts.as_str(),
                used.resource,
                used.member,
                i64::from(used.of),
            ],
        )?;
        Ok(())
    }

    fn stand_down(&mut self, key: &str) -> Result<Option<Timestamp>, JournalError> {
        one(self.conn, "SELECT until FROM stand_downs WHERE key = ?1", [key], |row| Ok(stamp(row.get(0).map_err(failed)?)))
    }

    fn save_stand_down(&mut self, key: &str, until: Option<Timestamp>) -> Result<(), JournalError> {
        match until {
            Some(until) => self.run_sql(
                "INSERT INTO stand_downs (key, until) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET until = ?2",
                params![key, nanos(until)],
            )?,
            None => self.run_sql("DELETE FROM stand_downs WHERE key = ?1", [key])?,
        };
        Ok(())
    }

    fn sighting(&mut self, whose: &str) -> Result<Option<Sighting>, JournalError> {
        sightings::read(self.conn, whose)
    }

    fn save_sighting(&mut self, whose: &str, sighting: &Sighting) -> Result<(), JournalError> {
        sightings::save(self.conn, whose, sighting)
    }

    fn forget_sightings(&mut self, before: Timestamp) -> Result<(), JournalError> {
        self.run_sql("DELETE FROM sightings WHERE last < ?1", [nanos(before)]).map(drop)
    }

    fn notify(&mut self, notice: &Notice) -> Result<(), JournalError> {
        outbox::put(self.conn, notice)
    }

    fn page(&mut self, page: &Page) -> Result<(), JournalError> {
        pages::put(self.conn, page)
    }

    fn freezes(&mut self) -> Result<Vec<Freeze>, JournalError> {
        freezes::standing(self.conn)
    }

    fn save_freeze(&mut self, line: &Freeze) -> Result<u64, JournalError> {
        freezes::save(self.conn, line)
    }

    fn alarmed(&mut self, id: &str) -> Result<bool, JournalError> {
        freezes::alarmed(self.conn, id)
    }

    fn thawed(&mut self) -> Result<Option<Timestamp>, JournalError> {
        freezes::thawed(self.conn)
    }
}
