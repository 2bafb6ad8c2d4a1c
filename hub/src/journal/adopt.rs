//! What decisions rest on, taken over from a state directory's journal into one in memory: for a rehearsal, which writes nothing there.
//!
//! Freezes, what was spent and charged, stand-downs and sightings are taken over; runs with their claims and locks are not. Of the runs that
//! something was charged by their names come along, without entries: they are over and nobody drives them.

use std::{fs, io, path::Path, sync::Arc};

use cordon_shared::{engine::RunState, journal::JournalError};
use rusqlite::{Connection, params_from_iter, types::Value};

use super::{
    read,
    rows::failed,
    sqlite::{FILE, SqliteStore, check_ours, set_up},
};

/// The tables that are taken over.
const TAKEN: [&str; 5] = ["freezes", "spent", "charges", "stand_downs", "sightings"];

impl SqliteStore {
    /// A journal in memory that knows what the journal of a state directory knows now, where there is one. Nothing is written or made there.
    ///
    /// # Errors
    /// [`JournalError::Store`] when a journal is there that cannot be read, or that a newer Cordon has written.
    pub fn rehearsing(dir: &Path) -> Result<Arc<Self>, JournalError> {
        let own = set_up(Connection::open_in_memory().map_err(failed)?, false)?;
        let named = |error: JournalError| match error {
            JournalError::Store(why) => JournalError::Store(format!("{}: {why}", dir.join(FILE).display())),
            other => other,
        };
        if let Some(real) = open_beside(dir).map_err(named)? {
            take_over(&real, &own).map_err(named)?;
        }
        Self::start(own, None)
    }
}

/// Opens the journal of a directory without making a file beside it; `None` where there is none.
fn open_beside(dir: &Path) -> Result<Option<Connection>, JournalError> {
    let path = dir.join(FILE);
    match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(JournalError::Store(error.to_string())),
        Ok(_) => {}
    }
    let length = |end: &str| fs::metadata(path.with_file_name(format!("{FILE}-{end}"))).ok().map(|file| file.len());
    let conn = match (length("wal"), length("shm")) {
        // Another process has it open, or had when it was killed.
        (Some(_), Some(_)) => read::open(&path)?,
        (Some(log), None) if log > 0 => {
            let why = "its write-ahead log was not written back, and reading it would make a file beside it; run `cordon incident list` once, \
                       which writes it back";
            return Err(JournalError::Store(why.to_owned()));
        }
        // Nobody has it open. SQLite would make its log anew only to read.
        _ => read::open_immutable(&path)?,
    };
    check_ours(&conn)?;
    Ok(Some(conn))
}

fn take_over(real: &Connection, own: &Connection) -> Result<(), JournalError> {
    // One look, whatever is written meanwhile.
    let real = real.unchecked_transaction().map_err(failed)?;
    let own = own.unchecked_transaction().map_err(failed)?;
    if !columns(&real, "charges")?.is_empty() {
        let wanted = "id, run, playbook, account, region, subject, state, code, reason, opened_at, updated_at, over";
        let state = RunState::Closed.as_str();
        let select = format!(
            "SELECT id, run, playbook, account, region, subject, '{state}', '', '', opened_at, updated_at, 1 FROM runs \
             WHERE id IN (SELECT run FROM charges)"
        );
        copy(&real, &own, &select, "runs", wanted)?;
    }
    for table in TAKEN {
        // An older journal has not all of them.
        let known = columns(&real, table)?;
        let both: Vec<String> = columns(&own, table)?.into_iter().filter(|column| known.contains(column)).collect();
        if !both.is_empty() {
            let wanted = both.join(", ");
            copy(&real, &own, &format!("SELECT {wanted} FROM {table}"), table, &wanted)?;
        }
    }
    own.commit().map_err(failed)
}

/// The columns of a table; none where it is not there.
fn columns(conn: &Connection, table: &str) -> Result<Vec<String>, JournalError> {
    let mut statement = conn.prepare("SELECT name FROM pragma_table_info(?1)").map_err(failed)?;
    let names = statement.query_map([table], |row| row.get(0)).map_err(failed)?;
    names.collect::<Result<_, _>>().map_err(failed)
}

fn copy(real: &Connection, own: &Connection, select: &str, table: &str, wanted: &str) -> Result<(), JournalError> {
    let mut from = real.prepare(select).map_err(failed)?;
    let many = from.column_count();
    let places = vec!["?"; many].join(", ");
    let mut to = own.prepare(&format!("INSERT INTO {table} ({wanted}) VALUES ({places})")).map_err(failed)?;
    let mut rows = from.query([]).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let values = (0..many).map(|place| row.get::<_, Value>(place)).collect::<Result<Vec<_>, _>>().map_err(failed)?;
        to.execute(params_from_iter(values)).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cordon_shared::{
        engine::Person,
        freeze::{self, Freeze, Level, Scope},
        gate::budget::{Charge, Place, Use},
        journal::{
            Journal, Store,
            sightings::{self, Look},
        },
        plan::{Counts, StepKey},
    };

    use super::*;
    use crate::journal::testing::{ACCOUNT, TempDir, after, next_epoch, open_run};

    fn journal(store: &Arc<SqliteStore>) -> Journal {
        let dynamic: Arc<dyn Store> = store.clone();
        Journal::new(dynamic)
    }

    async fn written(dir: &TempDir) -> Arc<SqliteStore> {
        let store = SqliteStore::open(dir.path()).unwrap();
        let (journal, epoch) = (journal(&store), next_epoch(&store).await);
        let run = open_run(&journal, 1, after(0), epoch).await;
        let work = move |tx: &mut dyn cordon_shared::journal::Tx| {
            tx.spend(after(1), ACCOUNT, "arn:1")?;
            let used = Use { counts: Counts::Instances, resource: "arn:1".into(), member: String::new(), of: 0 };
            let place = Place { account: ACCOUNT.into(), path: vec!["r-1".into()] };
            tx.charge(&Charge { at: after(1), run, step: StepKey::first("first"), place, used })?;
            tx.save_stand_down("key", Some(after(99)))?;
            sightings::note(tx, &Look { whose: "arn:1".into(), value: None, from: after(1), until: after(1) })?;
            let line = Freeze {
                number: 0,
                at: after(1),
                by: Person("ann".into()),
                why: "a drill".into(),
                scope: Scope::Organization,
                level: Level::Full,
                hard: false,
                alarm: None,
            };
            freeze::freeze(tx, &line).map(drop)
        };
        journal.with(work).await.unwrap();
        store
    }

    /// Each file of a directory with its content, but for SQLite's shared memory, in which readers mark where they read.
    fn files(dir: &TempDir) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap());
        let read = |entry: fs::DirEntry| {
            let name = entry.file_name().into_string().unwrap();
            let content = if name.ends_with("-shm") { Vec::new() } else { fs::read(entry.path()).unwrap() };
            (name, content)
        };
        entries.map(read).collect()
    }

    async fn known(store: &Arc<SqliteStore>) {
        let journal = journal(store);
        let (spent, charges, until, seen) = journal
            .with(|tx| {
                Ok((
                    tx.spent(after(0), Some(ACCOUNT))?,
                    tx.charges(after(0), Counts::Instances)?,
                    tx.stand_down("key")?,
                    tx.sighting("arn:1")?,
                ))
            })
            .await
            .unwrap();
        assert_eq!((spent.len(), charges.len(), until), (1, 1, Some(after(99))));
        assert!(seen.is_some());
        let freezes = journal.freezes().await.unwrap();
        assert_eq!((freezes.len(), freezes[0].level, freezes[0].number), (1, Level::Full, 1));
        // Runs did not come along.
        assert!(store.entries(charges[0].run).await.unwrap().is_empty() && store.states().await.unwrap().is_empty());
        assert!(store.due(after(1_000_000), 10, 10).await.unwrap().is_empty());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_decisions_rest_on_is_taken_over_and_nothing_is_written_there() {
        let dir = TempDir::new();
        let real = written(&dir).await;
        // Beside a process that has it open.
        let before = files(&dir);
        known(&SqliteStore::rehearsing(dir.path()).unwrap()).await;
        assert_eq!(files(&dir), before);
        // After a process that was killed: its log and the shared memory are left.
        let killed = TempDir::new();
        for name in before.keys() {
            fs::copy(dir.path().join(name), killed.path().join(name)).unwrap();
        }
        assert_eq!(before.len(), 3);
        let left = files(&killed);
        known(&SqliteStore::rehearsing(killed.path()).unwrap()).await;
        assert_eq!(files(&killed), left);
        // Without the shared memory it would have to be made: that is said.
        fs::remove_file(killed.path().join(format!("{FILE}-shm"))).unwrap();
        let left = files(&killed);
        let why = SqliteStore::rehearsing(killed.path()).unwrap_err().to_string();
        assert!(why.contains("cordon incident list") && files(&killed) == left, "{why}");
        drop(SqliteStore::open(killed.path()).unwrap());
        known(&SqliteStore::rehearsing(killed.path()).unwrap()).await;
        // And where nobody has.
        drop(real);
        let before = files(&dir);
        assert_eq!(before.keys().collect::<Vec<_>>(), [FILE]);
        let store = SqliteStore::rehearsing(dir.path()).unwrap();
        known(&store).await;
        journal(&store).with(|tx| tx.save_stand_down("key", None)).await.unwrap();
        drop(store);
        assert_eq!(files(&dir), before);
    }

    #[test]
    fn no_journal_is_fine_and_one_that_cannot_be_read_or_is_newer_is_an_error() {
        let dir = TempDir::new();
        assert!(SqliteStore::rehearsing(&dir.path().join("nowhere")).is_ok() && SqliteStore::rehearsing(dir.path()).is_ok());
        assert!(files(&dir).is_empty());
        let file = dir.path().join(FILE);
        let wrong = || SqliteStore::rehearsing(dir.path()).unwrap_err().to_string();
        fs::write(&file, "this is no database at all, but it is long enough to be looked at as one").unwrap();
        assert!(wrong().contains("journal.db"), "{}", wrong());
        fs::remove_file(&file).unwrap();
        drop(SqliteStore::open(dir.path()).unwrap());
        let conn = Connection::open(&file).unwrap();
        conn.pragma_update(None, "user_version", 999).unwrap();
        drop(conn);
        assert!(wrong().contains("a newer Cordon has written it (version 999"), "{}", wrong());
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(wrong().contains("journal.db"), "{}", wrong());
    }

    #[tokio::test]
    async fn an_older_journal_gives_what_it_has() {
        let dir = TempDir::new();
        drop(written(&dir).await);
        let conn = Connection::open(dir.path().join(FILE)).unwrap();
        conn.execute_batch("DROP TABLE sightings; DROP TABLE freezes; PRAGMA user_version = 3;").unwrap();
        drop(conn);
        let store = SqliteStore::rehearsing(dir.path()).unwrap();
        assert!(journal(&store).freezes().await.unwrap().is_empty());
        assert_eq!(store.spent_since(after(0), ACCOUNT).await.unwrap(), (1, 1));
    }
}
