//! The journal: chains, heads and anchors.

use std::{collections::BTreeMap, path::Path};

use cordon_shared::{
    engine::Entry,
    id::IncidentId,
    journal::{JournalError, Sealed, ops},
};
use rusqlite::Connection;

use super::{AuditReport, Referred};
use crate::journal::{
    anchor::{self, Head},
    rows::{ENTRY_COLUMNS, all, failed, incident, json, natural, sealed, stamp},
    sqlite,
};

/// The last head of a run that an anchor holds.
struct Anchored {
    seq: u64,
    hash: String,
    anchor: u64,
}

/// A run's row, as far as it says where its chain stands.
struct Row {
    id: i64,
    run: IncidentId,
    seq: u64,
    hash: String,
    anchored: u64,
}

pub(super) fn check(dir: &Path, report: &mut AuditReport, referred: &mut Referred) -> Result<(), JournalError> {
    let conn = sqlite::open_to_look(dir)?;
    // One snapshot for everything, whatever a service writes meanwhile.
    conn.execute_batch("BEGIN").map_err(failed)?;
    for (pragma, what) in [("PRAGMA quick_check(20)", "file-damaged"), ("PRAGMA foreign_key_check", "row-missing")] {
        match all(&conn, pragma, [], |row| row.get::<_, String>(0).map_err(failed)) {
            Ok(said) => said.into_iter().filter(|said| said != "ok").for_each(|said| report.problem(what, sqlite::FILE, said)),
            Err(error) => report.problem(what, sqlite::FILE, error.to_string()),
        }
    }
    let mut anchored = match anchors(&conn, report) {
        Ok(anchored) => anchored,
        Err(error) => {
            report.problem("anchor-unreadable", "anchors", error.to_string());
            BTreeMap::new()
        }
    };
    let rows = all(&conn, "SELECT id, run, seq, hash, anchored FROM runs ORDER BY id", [], |row| {
        Ok(Row {
            id: row.get(0).map_err(failed)?,
            run: incident(&row.get::<_, String>(1).map_err(failed)?)?,
            seq: natural(row.get(2).map_err(failed)?),
            hash: row.get(3).map_err(failed)?,
            anchored: natural(row.get(4).map_err(failed)?),
        })
    })?;
    for row in rows {
        report.runs = report.runs.saturating_add(1);
        let anchored = anchored.remove(&row.run.to_string());
        match entries(&conn, &row, report) {
            Ok(entries) => run(&row, &entries, anchored.as_ref(), report, referred),
            Err(error) => report.problem("chain-broken", row.run.to_string(), error.to_string()),
        }
    }
    for (run, Anchored { seq, anchor, .. }) in anchored {
        report.problem("run-removed", run, format!("anchor {anchor} holds its entry {seq}, the journal has no such incident"));
    }
    Ok(())
}

/// Checks the anchors' own chain and gives back the last head of each run.
fn anchors(conn: &Connection, report: &mut AuditReport) -> Result<BTreeMap<String, Anchored>, JournalError> {
    let mut heads: BTreeMap<String, Anchored> = BTreeMap::new();
    let mut prev = String::new();
    let mut statement = conn.prepare("SELECT seq, at, heads, prev, hash FROM anchors ORDER BY seq").map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    let mut expected = 1_u64;
    while let Some(row) = rows.next().map_err(failed)? {
        let (seq, at) = (natural(row.get(0).map_err(failed)?), stamp(row.get(1).map_err(failed)?));
        let text: String = row.get(2).map_err(failed)?;
        let (follows, hash): (String, String) = (row.get(3).map_err(failed)?, row.get(4).map_err(failed)?);
        let place = format!("anchor {seq}");
        report.anchors = report.anchors.saturating_add(1);
        if seq != expected {
            report.problem("anchor-broken", place.as_str(), format!("anchor {expected} is missing"));
        } else if follows != prev {
            report.problem("anchor-broken", place.as_str(), "it does not follow the anchor before it");
        }
        if anchor::digest(seq, at, &follows, &text) != hash {
            report.problem("anchor-broken", place.as_str(), "its content was changed");
        }
        match serde_json::from_str::<Vec<Head>>(&text) {
            Ok(held) => {
                for Head(run, entry, hash) in held {
                    if heads.get(&run).is_some_and(|before| before.seq >= entry) {
                        report.problem(
                            "anchor-broken",
                            place.as_str(),
                            format!("it holds an earlier entry of {run} than an anchor before it"),
                        );
                    }
                    heads.insert(run, Anchored { seq: entry, hash, anchor: seq });
                }
            }
            Err(error) => report.problem("anchor-broken", place.as_str(), error.to_string()),
        }
        expected = seq.saturating_add(1);
        prev = hash;
    }
    report.anchor = Some(prev).filter(|hash| !hash.is_empty());
    Ok(heads)
}

fn entries(conn: &Connection, row: &Row, report: &mut AuditReport) -> Result<Vec<Sealed>, JournalError> {
    let sql = format!("SELECT {ENTRY_COLUMNS} FROM entries WHERE run = ?1 ORDER BY seq");
    let read = all(conn, &sql, [row.id], |columns| {
        let sealed = sealed(columns)?;
        // What the entry's type does not know of would be read over.
        let as_written = columns.get::<_, String>(2).map_err(failed)? == json(&sealed.entry)?;
        Ok((sealed, as_written))
    })?;
    for (sealed, as_written) in &read {
        report.entries = report.entries.saturating_add(1);
        if !as_written {
            let why = "its text is not as Cordon writes it: something was added or rewritten";
            report.problem("entry-rewritten", format!("{} entry {}", row.run, sealed.seq), why);
        }
    }
    Ok(read.into_iter().map(|(sealed, _)| sealed).collect())
}

fn run(row: &Row, entries: &[Sealed], anchored: Option<&Anchored>, report: &mut AuditReport, referred: &mut Referred) {
    let place = row.run.to_string();
    match ops::fold(row.run, entries) {
        Ok(_) => {}
        Err(JournalError::Chain(error)) => report.problem("chain-broken", format!("{place} entry {}", error.seq), error.why),
        Err(JournalError::NoRun(_)) => report.problem("run-truncated", place.as_str(), "it has no entries"),
        Err(error) => report.problem("entries-illegal", place.as_str(), error.to_string()),
    }
    let last = entries.last().map_or((0, ""), |last| (last.seq, last.hash.as_str()));
    if last != (row.seq, row.hash.as_str()) {
        let what = if last.0 < row.seq { "run-truncated" } else { "head-differs" };
        let why = format!("its row stands at entry {} ({}), its last entry is {} ({})", row.seq, short(&row.hash), last.0, short(last.1));
        report.problem(what, place.as_str(), why);
    }
    if let Some(Anchored { seq, hash, anchor }) = anchored {
        match entries.iter().find(|entry| entry.seq == *seq) {
            None => report.problem("run-truncated", place.as_str(), format!("anchor {anchor} holds its entry {seq}, which is gone")),
            Some(entry) if entry.hash != *hash => {
                report.problem(
                    "chain-rewritten",
                    format!("{place} entry {seq}"),
                    format!("anchor {anchor} holds another hash of it ({})", short(hash)),
                );
            }
            Some(_) => {}
        }
    }
    let held = anchored.map_or(0, |anchored| anchored.seq);
    if held != row.anchored {
        report.problem("anchor-missing", place.as_str(), format!("its entry {} was anchored, the anchors hold {held}", row.anchored));
    }
    for sealed in entries {
        for name in evidence(&sealed.entry) {
            referred.entry(name.to_owned()).or_insert_with(|| format!("{place} entry {}", sealed.seq));
        }
    }
}

/// The evidence that an entry speaks of.
fn evidence(entry: &Entry) -> Vec<&str> {
    let names = match entry {
        Entry::Opened { finding, .. } | Entry::FindingJoined { finding, .. } => vec![finding.raw_sha256.as_str()],
        Entry::ProbeDone { evidence, .. } => evidence.iter().map(String::as_str).collect(),
        _ => Vec::new(),
    };
    names.into_iter().filter(|name| !name.is_empty()).collect()
}

fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}
