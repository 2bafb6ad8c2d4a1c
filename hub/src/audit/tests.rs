use std::{fs, path::Path, sync::Arc};

use cordon_shared::{
    clock::SystemClock,
    engine::Entry,
    evidence::{Evidence as _, Item},
    journal::{Accepted, Journal, Store},
};
use rusqlite::Connection;

use super::verify;
use crate::{
    evidence::FsEvidence,
    journal::{
        SqliteStore,
        sqlite::FILE,
        testing::{TempDir, accept, after, append, arrival, joined, next_epoch, open_run, run_id},
    },
};

/// Two runs and a piece of evidence, anchored, and one run after that.
async fn fill(dir: &Path) -> (Arc<SqliteStore>, String) {
    let store = SqliteStore::open(dir).unwrap();
    let dynamic: Arc<dyn Store> = store.clone();
    let (journal, epoch) = (Journal::new(dynamic), next_epoch(&store).await);
    let evidence = FsEvidence::open(dir, Arc::new(SystemClock)).unwrap();
    let raw = Item { kind: "finding".into(), about: "f-1".into(), media_type: "application/json".into(), bytes: b"{}".to_vec() };
    let name = evidence.put(raw).await.unwrap();
    let mut first = arrival("f-1", "i-1", run_id(1), after(0), 20);
    let mut opening = first.opening.take().unwrap();
    if let Entry::Opened { finding, .. } = &mut opening.entry {
        finding.raw_sha256.clone_from(&name);
    }
    first.opening = Some(opening);
    assert_eq!(accept(&journal, first, after(0), epoch).await.unwrap(), Accepted::Opened(run_id(1)));
    open_run(&journal, 2, after(0), epoch).await;
    for number in 0..3 {
        append(&journal, run_id(1), vec![joined(number)], after(1), epoch).await.unwrap();
        store.anchor(after(60 + i64::from(number))).await.unwrap();
    }
    open_run(&journal, 3, after(100), epoch).await;
    (store, name)
}

/// What the audit says after somebody did this to the file.
async fn after_tampering(sql: &str) -> Vec<&'static str> {
    let dir = TempDir::new();
    drop(fill(dir.path()).await);
    let conn = Connection::open(dir.path().join(FILE)).unwrap();
    conn.execute_batch("PRAGMA foreign_keys = OFF; DROP TRIGGER entries_never_change; DROP TRIGGER entries_stay; DROP TRIGGER anchors_never_change; DROP TRIGGER anchors_stay;").unwrap();
    conn.execute_batch(sql).unwrap();
    drop(conn);
    let mut found: Vec<&str> = verify(dir.path()).unwrap().problems.into_iter().map(|problem| problem.what).collect();
    found.dedup();
    found
}

#[tokio::test]
async fn an_untouched_journal_is_sound_also_while_it_is_open() {
    let dir = TempDir::new();
    let (store, _) = fill(dir.path()).await;
    for _ in 0..2 {
        let report = verify(dir.path()).unwrap();
        assert_eq!(report.problems, []);
        assert_eq!((report.runs, report.entries, report.anchors, report.evidence_files), (3, 6, 3, 1));
        assert!(report.anchor.is_some());
    }
    drop(store);
    assert_eq!(verify(dir.path()).unwrap().problems, []);
}

#[tokio::test]
async fn where_there_is_no_journal_the_audit_says_so() {
    let dir = TempDir::new();
    assert!(verify(dir.path()).unwrap_err().to_string().contains("there is no journal"));
    assert!(!dir.path().join(FILE).exists());
}

#[tokio::test]
async fn what_was_done_to_the_journal_is_found() {
    let cases = [
        ("a changed entry", "UPDATE entries SET entry = replace(entry, 'again-1', 'again-9') WHERE run = 1", "chain-broken"),
        ("a changed time", "UPDATE entries SET at = at + 1 WHERE run = 1 AND seq = 2", "chain-broken"),
        (
            "an addition",
            "UPDATE entries SET entry = replace(entry, '\"entry\":', '\"extra\":1,\"entry\":') WHERE run = 2",
            "entry-rewritten",
        ),
        ("white space", "UPDATE entries SET entry = entry || ' ' WHERE run = 2", "entry-rewritten"),
        ("no JSON", "UPDATE entries SET entry = 'x' WHERE run = 2", "chain-broken"),
        (
            "two entries swapped",
            "UPDATE entries SET seq = seq + 100 WHERE run = 1 AND seq IN (2, 3); UPDATE entries SET seq = CASE seq WHEN 102 THEN 3 ELSE 2 END WHERE seq > 100",
            "chain-broken",
        ),
        ("an entry taken out", "DELETE FROM entries WHERE run = 1 AND seq = 2", "chain-broken"),
        ("an entry moved to another run", "UPDATE entries SET run = 2, seq = 2 WHERE run = 1 AND seq = 4", "chain-broken"),
        ("a run cut short", "DELETE FROM entries WHERE run = 1 AND seq = 4", "run-truncated"),
        (
            "a run cut short with its row",
            "DELETE FROM entries WHERE run = 1 AND seq = 4; UPDATE runs SET seq = 3, hash = (SELECT hash FROM entries WHERE run = 1 AND seq = 3) WHERE id = 1",
            "run-truncated",
        ),
        ("a run without entries", "DELETE FROM entries WHERE run = 3", "run-truncated"),
        (
            "a removed run",
            "DELETE FROM entries WHERE run = 2; DELETE FROM runs WHERE id = 2; DELETE FROM keys WHERE run = 2; DELETE FROM findings WHERE run = 2",
            "run-removed",
        ),
        ("a run removed before an anchor held it", "DELETE FROM entries WHERE run = 3; DELETE FROM runs WHERE id = 3", "row-missing"),
        ("a changed anchor", "UPDATE anchors SET heads = '[]' WHERE seq = 1", "anchor-broken"),
        ("an anchor taken out", "DELETE FROM anchors WHERE seq = 2", "anchor-broken"),
        ("the last anchor taken off", "DELETE FROM anchors WHERE seq = 3", "anchor-missing"),
        ("all anchors taken off", "DELETE FROM anchors", "anchor-missing"),
        ("a head that is another's", "UPDATE runs SET hash = 'x' WHERE id = 3", "head-differs"),
    ];
    assert_eq!(after_tampering("SELECT 1").await, Vec::<&str>::new());
    for (case, sql, what) in cases {
        let found = after_tampering(sql).await;
        assert!(found.contains(&what), "{case}: {found:?}");
    }
}

#[tokio::test]
async fn a_rewritten_chain_is_found_by_its_anchor() {
    // A run of the same id about something else, whole and sound, is put in the place of an anchored one.
    let (honest, other) = (TempDir::new(), TempDir::new());
    drop(fill(honest.path()).await);
    let forger = SqliteStore::open(other.path()).unwrap();
    let dynamic: Arc<dyn Store> = forger.clone();
    let epoch = next_epoch(&forger).await;
    open_run(&Journal::new(dynamic), 2, after(50), epoch).await;
    drop(forger);
    let conn = Connection::open(honest.path().join(FILE)).unwrap();
    conn.execute_batch("PRAGMA foreign_keys = OFF; DROP TRIGGER entries_stay;").unwrap();
    conn.execute_batch(&format!(
        "ATTACH '{}' AS forged;
         DELETE FROM main.entries WHERE run = 2;
         INSERT INTO main.entries SELECT 2, seq, at, entry, prev, hash FROM forged.entries WHERE run = 1;
         UPDATE main.runs SET hash = (SELECT hash FROM forged.runs WHERE id = 1) WHERE id = 2;",
        other.path().join(FILE).display()
    ))
    .unwrap();
    drop(conn);
    let problems = verify(honest.path()).unwrap().problems;
    assert_eq!(problems.iter().map(|problem| problem.what).collect::<Vec<_>>(), ["chain-rewritten"], "{problems:?}");
}

#[tokio::test]
async fn what_was_done_to_the_evidence_is_found() {
    type Tamper = fn(&Path) -> std::io::Result<()>;
    let cases: [(&str, Tamper); 4] = [
        ("evidence-changed", |path| fs::remove_file(path).and_then(|()| fs::write(path, b"{ }"))),
        ("evidence-missing", |path| fs::remove_file(path)),
        ("evidence-missing", |path| fs::remove_dir_all(path.parent().unwrap())),
        ("evidence-strange", |path| fs::write(path.with_file_name("notes.txt"), b"x")),
    ];
    for (what, tamper) in cases {
        let dir = TempDir::new();
        let (store, name) = fill(dir.path()).await;
        drop(store);
        tamper(&dir.path().join("evidence").join(name.get(..2).unwrap()).join(&name)).unwrap();
        let problems = verify(dir.path()).unwrap().problems;
        assert_eq!(problems.iter().map(|problem| problem.what).collect::<Vec<_>>(), [what], "{problems:?}");
    }
}
