//! What only the store on disk has: groups of writes, opening again, questions, requests.

use std::{os::unix::fs::PermissionsExt as _, sync::Arc};

use cordon_shared::{
    engine::{Person, RunState},
    freeze::{Freeze, Level, Scope},
    gate::budget::{self, Budget, Charge, Place, Use, spent},
    journal::{Journal, JournalError, Store, chain},
    plan::{Counts, StepKey},
};
use futures::future::join_all;
use rusqlite::Connection;

use super::{
    FindRunError, Request, RunFilter, SqliteStore,
    requests::Asker,
    sqlite::FILE,
    testing::{ACCOUNT, TempDir, after, append, joined, next_epoch, open_run, run_id, view},
};

fn open(dir: &TempDir) -> (Arc<SqliteStore>, Journal) {
    let store = SqliteStore::open(dir.path()).unwrap();
    let dynamic: Arc<dyn Store> = store.clone();
    (store, Journal::new(dynamic))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_writers_are_all_durable_and_in_order() {
    let dir = TempDir::new();
    let (store, journal) = open(&dir);
    let epoch = next_epoch(&store).await;
    for number in 1..=10 {
        open_run(&journal, number, after(0), epoch).await;
    }
    let writes = (0..1_000_u32).map(|number| {
        let journal = journal.clone();
        tokio::spawn(async move { append(&journal, run_id(u128::from(number % 10) + 1), vec![joined(number)], after(1), epoch).await })
    });
    for written in join_all(writes).await {
        written.unwrap().unwrap();
    }
    drop((store, journal));
    let (store, _) = open(&dir);
    for number in 1..=10 {
        let entries = store.entries(run_id(number)).await.unwrap();
        assert_eq!(entries.len(), 101);
        chain::verify(run_id(number), &entries).unwrap();
    }
}

/// Two stores on one file stand for two processes.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_together_spend_no_more_than_the_budget() {
    let dir = TempDir::new();
    let ((one, first), (two, second)) = (open(&dir), open(&dir));
    let epoch = next_epoch(&one).await;
    let run = open_run(&first, 1, after(0), epoch).await;
    let budget =
        Budget { scope: budget::Scope::Organization, window: jiff::SignedDuration::from_hours(1), counts: Counts::Instances, most: 5 };
    let spends = (0..40_u32).map(|number| {
        let (journal, budget) = (if number % 2 == 0 { first.clone() } else { second.clone() }, budget.clone());
        let place = Place { account: ACCOUNT.to_owned(), path: Vec::new() };
        let used = Use { counts: Counts::Instances, resource: format!("i-{number}"), member: String::new(), of: 0 };
        tokio::spawn(async move {
            journal
                .with(move |tx| {
                    if spent(tx, &[budget], &place, std::slice::from_ref(&used), after(1))?.is_some() {
                        return Ok(false);
                    }
                    tx.charge(&Charge { at: after(1), run, step: StepKey::first("s"), place, used })?;
                    Ok(true)
                })
                .await
        })
    });
    let went = join_all(spends.map(|spend| async { spend.await.unwrap().unwrap() })).await;
    assert_eq!(went.into_iter().filter(|went| *went).count(), 5);
    drop((one, two));
}

#[tokio::test]
async fn a_piece_that_fails_harms_no_other_of_its_group() {
    let dir = TempDir::new();
    let (store, journal) = open(&dir);
    // The writer is kept busy so that all of them share one transaction.
    let slow = journal.with(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        Ok(())
    });
    let pieces = (0..90_u32).map(|number| {
        journal.with(move |tx| {
            tx.save_stand_down(&format!("k-{number}"), Some(after(1)))?;
            match number % 3 {
                0 => Ok(()),
                1 => Err(JournalError::Refused("no".into())),
                _ => panic!("a bug"),
            }
        })
    });
    let (first, results) = futures::future::join(slow, join_all(pieces)).await;
    first.unwrap();
    for (number, result) in results.iter().enumerate() {
        match number % 3 {
            0 => assert!(result.is_ok(), "{result:?}"),
            1 => assert!(matches!(result, Err(JournalError::Refused(_)))),
            _ => assert!(matches!(result, Err(JournalError::Store(why)) if why.contains("panicked"))),
        }
        let kept = journal.with(move |tx| tx.stand_down(&format!("k-{number}"))).await.unwrap();
        assert_eq!(kept.is_some(), number % 3 == 0, "{number}");
    }
    drop(store);
}

#[tokio::test]
async fn opened_again_it_is_as_it_was() {
    let dir = TempDir::new();
    let (store, journal) = open(&dir);
    let epoch = next_epoch(&store).await;
    let run = open_run(&journal, 1, after(0), epoch).await;
    append(&journal, run, vec![joined(1)], after(1), epoch).await.unwrap();
    let (row, head) = (store.run(run).await.unwrap().unwrap(), view(&journal, run).await.head);
    drop((store, journal));
    let (store, journal) = open(&dir);
    assert_eq!(store.run(run).await.unwrap(), Some(row));
    assert_eq!(view(&journal, run).await.head, head);
    append(&journal, run, vec![joined(2)], after(2), epoch).await.unwrap();
}

#[tokio::test]
async fn what_was_answered_survives_a_process_that_never_closes() {
    let dir = TempDir::new();
    let (store, journal) = open(&dir);
    let epoch = next_epoch(&store).await;
    let run = open_run(&journal, 1, after(0), epoch).await;
    append(&journal, run, vec![joined(1)], after(1), epoch).await.unwrap();
    // Copied while it is open, log and all: what a crash at this instant would leave.
    let copy = TempDir::new();
    for name in [FILE.to_owned(), format!("{FILE}-wal")] {
        std::fs::copy(dir.path().join(&name), copy.path().join(&name)).unwrap();
    }
    std::mem::forget((store, journal));
    let (store, journal) = open(&copy);
    assert_eq!(store.entries(run).await.unwrap().len(), 2);
    append(&journal, run, vec![joined(2)], after(2), epoch).await.unwrap();
}

#[tokio::test]
async fn a_copy_is_read_where_nothing_can_be_written() {
    let dir = TempDir::new();
    let (store, journal) = open(&dir);
    let epoch = next_epoch(&store).await;
    open_run(&journal, 1, after(0), epoch).await;
    drop((store, journal));
    let odd = dir.path().join("a b?#%");
    std::fs::create_dir(&odd).unwrap();
    std::fs::rename(dir.path().join(FILE), odd.join(FILE)).unwrap();
    let conn = super::read::open_immutable(&odd.join(FILE)).unwrap();
    let runs: i64 = conn.query_row("SELECT count(*) FROM runs", [], |row| row.get(0)).unwrap();
    assert_eq!((runs, std::fs::read_dir(&odd).unwrap().count()), (1, 1));
}

#[tokio::test]
async fn the_directory_is_for_its_owner_alone() {
    let dir = TempDir::new();
    let inner = dir.path().join("a/state");
    let store = SqliteStore::open(&inner).unwrap();
    store
        .append_request(
            &Request::Close { run: run_id(1), why: "x".into() },
            &Asker { by: Person("p".into()), identity: String::new() },
            after(0),
        )
        .await
        .unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&inner), 0o700);
    for name in [FILE.to_owned(), format!("{FILE}-wal"), format!("{FILE}-shm")] {
        assert_eq!(mode(&inner.join(&name)), 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_file_that_is_not_ours_or_newer_is_left_alone() {
    let dir = TempDir::new();
    Connection::open(dir.path().join(FILE)).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    assert!(SqliteStore::open(dir.path()).unwrap_err().to_string().contains("no journal of Cordon"));
    let newer = TempDir::new();
    drop(open(&newer));
    Connection::open(newer.path().join(FILE)).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(SqliteStore::open(newer.path()).unwrap_err().to_string().contains("newer Cordon"));
}

#[tokio::test]
async fn an_entry_cannot_be_changed_or_removed_by_accident() {
    let store = SqliteStore::in_memory().unwrap();
    let dynamic: Arc<dyn Store> = store.clone();
    let epoch = next_epoch(&store).await;
    open_run(&Journal::new(dynamic), 1, after(0), epoch).await;
    for sql in ["UPDATE entries SET at = 1", "DELETE FROM entries"] {
        let result = store.execute(move |conn| conn.execute_batch(sql).map_err(super::rows::failed)).await;
        assert!(result.unwrap_err().to_string().contains("an entry is never"));
    }
}

#[tokio::test]
async fn questions_about_runs() {
    let dir = TempDir::new();
    let (store, journal) = open(&dir);
    let epoch = next_epoch(&store).await;
    for (number, wake, state, over) in
        [(0xa1, Some(5), RunState::Held, false), (0xa2, Some(3), RunState::Running, false), (0xb1, None, RunState::Closed, true)]
    {
        let run = open_run(&journal, number << 96, after(i64::try_from(number).unwrap()), epoch).await;
        journal
            .with(move |tx| {
                let mut row = tx.run(run)?.unwrap();
                (row.wake, row.state, row.over) = (wake.map(after), state, over);
                tx.save_run(&row)
            })
            .await
            .unwrap();
    }
    let (a1, a2, b1) = (run_id(0xa1 << 96), run_id(0xa2 << 96), run_id(0xb1 << 96));
    let ids = |rows: Vec<cordon_shared::journal::RunRow>| rows.into_iter().map(|row| row.run).collect::<Vec<_>>();
    assert_eq!(ids(store.due(after(5), 100, 10).await.unwrap()), [a2, a1]);
    assert_eq!(ids(store.due(after(4), 100, 10).await.unwrap()), [a2]);
    assert_eq!(ids(store.due(after(5), 100, 1).await.unwrap()), [a2]);
    assert_eq!(store.next_wake().await.unwrap(), Some(after(3)));
    assert_eq!(ids(store.runs(&RunFilter::default()).await.unwrap()), [b1, a2, a1]);
    let open = RunFilter { open_only: true, limit: Some(1), ..RunFilter::default() };
    assert_eq!(ids(store.runs(&open).await.unwrap()), [a2]);
    let states = RunFilter { states: vec![RunState::Held, RunState::Closed], account: Some(ACCOUNT.into()), ..RunFilter::default() };
    assert_eq!(ids(store.runs(&states).await.unwrap()), [b1, a1]);
    let times = RunFilter { after: Some(after(0xa2)), before: Some(after(0xb1)), sweep: Some("sweep-1".into()), ..RunFilter::default() };
    assert_eq!(ids(store.runs(&times).await.unwrap()), [a2]);
    let nothing = RunFilter { region: Some("eu-west-1".into()), playbook: Some("toy".into()), ..RunFilter::default() };
    assert!(store.runs(&nothing).await.unwrap().is_empty());
    let counts = store.count_by_state(Some("sweep-1")).await.unwrap();
    assert_eq!(
        counts.iter().map(|count| (count.state, count.n)).collect::<Vec<_>>(),
        [(RunState::Closed, 1), (RunState::Held, 1), (RunState::Running, 1)]
    );
    assert!(store.count_by_state(Some("other")).await.unwrap().is_empty());
    store.set_aside(a2, "its chain is broken", jiff::Timestamp::UNIX_EPOCH).await.unwrap();
    assert_eq!(store.run(a2).await.unwrap().map(|row| (row.state, row.wake)), Some((RunState::Stuck, None)));
}

#[tokio::test]
async fn a_prefix_names_one_incident_or_says_which_it_may_be() {
    let store = SqliteStore::in_memory().unwrap();
    let dynamic: Arc<dyn Store> = store.clone();
    let (journal, epoch) = (Journal::new(dynamic), next_epoch(&store).await);
    for number in [0xa1_u128, 0xa2, 0xb1] {
        open_run(&journal, number << 120, after(0), epoch).await;
    }
    let b1 = run_id(0xb1 << 120);
    for prefix in ["b", "inc-b1", " INC-B1 ", &b1.to_string()] {
        assert_eq!(store.find_run(prefix).await.unwrap(), b1, "{prefix}");
    }
    let many = store.find_run("inc-a").await.unwrap_err();
    assert!(matches!(&many, FindRunError::Ambiguous { candidates, more: false, .. } if candidates.len() == 2), "{many}");
    for wrong in ["", "inc-", "c", "%", "inc-a%", "x"] {
        assert!(matches!(store.find_run(wrong).await, Err(FindRunError::None(_))), "{wrong}");
    }
}

#[tokio::test]
async fn a_request_of_another_process_is_seen_and_answered_once() {
    let dir = TempDir::new();
    let ((driver, _), (other, _)) = (open(&dir), open(&dir));
    assert_eq!(driver.newest_request().await.unwrap(), 0);
    let grant = Request::Grant { run: run_id(1), step: StepKey::first("first").next(), digest: "d".into(), expires: Some(after(9)) };
    let undo = Request::Undo { run: run_id(2), step: None };
    let by = Asker { by: Person("ann".into()), identity: "arn:aws:iam::222222222222:user/ann".into() };
    let first = other.append_request(&grant, &by, after(1)).await.unwrap();
    let second = other.append_request(&undo, &by, after(2)).await.unwrap();
    assert_eq!(driver.newest_request().await.unwrap(), second);
    let open = driver.open_requests().await.unwrap();
    assert_eq!(
        open.iter().map(|asked| (asked.id, asked.request.clone(), asked.at)).collect::<Vec<_>>(),
        [(first, grant, after(1)), (second, undo, after(2))]
    );
    assert!(open.iter().all(|asked| asked.by == by), "{open:?}");
    assert_eq!(other.answer_of(first).await.unwrap(), None);
    driver.answer_request(first, Err("the plan has changed".into()), after(3)).await.unwrap();
    driver.answer_request(first, Ok("a second answer".into()), after(4)).await.unwrap();
    let answer = other.answer_of(first).await.unwrap().unwrap();
    assert_eq!((answer.ok, answer.text.as_str()), (false, "the plan has changed"));
    assert_eq!(driver.open_requests().await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_anchor_is_made_when_something_changed() {
    let store = SqliteStore::in_memory().unwrap();
    let dynamic: Arc<dyn Store> = store.clone();
    let (journal, epoch) = (Journal::new(dynamic), next_epoch(&store).await);
    assert_eq!(store.anchor(after(0)).await.unwrap(), None);
    let run = open_run(&journal, 1, after(0), epoch).await;
    open_run(&journal, 2, after(0), epoch).await;
    let first = store.anchor(after(60)).await.unwrap().unwrap();
    assert_eq!((first.seq, first.runs), (1, 2));
    assert_eq!(store.anchor(after(120)).await.unwrap(), None);
    append(&journal, run, vec![joined(1)], after(121), epoch).await.unwrap();
    let second = store.anchor(after(180)).await.unwrap().unwrap();
    assert_eq!((second.seq, second.runs), (2, 1));
}

#[tokio::test]
async fn a_freeze_is_never_changed_or_removed() {
    let store = SqliteStore::in_memory().unwrap();
    let journal = Journal::new({
        let dynamic: Arc<dyn Store> = store.clone();
        dynamic
    });
    let line = Freeze {
        number: 0,
        at: after(0),
        by: Person("ann@desk".into()),
        why: "a drill".into(),
        scope: Scope::Organization,
        level: Level::Full,
        hard: false,
        alarm: None,
    };
    journal.with(move |tx| tx.save_freeze(&line)).await.unwrap();
    for sql in ["UPDATE freezes SET level = 'off'", "DELETE FROM freezes"] {
        let result = store.execute(move |conn| conn.execute_batch(sql).map_err(super::rows::failed)).await;
        assert!(result.unwrap_err().to_string().contains("a freeze is never"), "{sql}");
    }
    assert_eq!((store.newest_freeze().await.unwrap(), journal.freezes().await.unwrap().len()), (1, 1));
}
