use std::{sync::Arc, time::Duration};

use cordon_shared::{
    clock::{Clock, ManualClock, SystemClock},
    journal::{Journal, JournalError, Store},
};
use tokio_util::sync::CancellationToken;

use super::{
    LeaseError, SqliteStore,
    lease::{Process, take},
    testing::{TempDir, after, append, joined, open_run, start},
};

fn open(dir: &TempDir) -> (Arc<SqliteStore>, Journal) {
    let store = SqliteStore::open(dir.path()).unwrap();
    let dynamic: Arc<dyn Store> = store.clone();
    (store, Journal::new(dynamic))
}

#[tokio::test]
async fn a_lease_is_held_until_it_is_given_back_or_expires() {
    let dir = TempDir::new();
    let ((one, _), (two, _)) = (open(&dir), open(&dir));
    let clock = ManualClock::at(start());
    let first = one.take_lease(&clock, "serve").await.unwrap();
    let held = two.take_lease(&clock, "respond").await.unwrap_err();
    assert!(matches!(&held, LeaseError::Held { what, pid, .. } if what == "serve" && *pid == std::process::id()), "{held}");
    assert!(held.to_string().contains("`cordon serve` (process "), "{held}");
    one.give_back(&first).await.unwrap();
    assert!(!first.held());
    let second = two.take_lease(&clock, "respond").await.unwrap();
    assert_eq!((first.epoch(), second.epoch()), (1, 2));
    clock.advance(14_000);
    two.renew(&second, clock.now()).await.unwrap();
    clock.advance(14_999);
    assert!(one.take_lease(&clock, "serve").await.is_err());
    clock.advance(1);
    let third = one.take_lease(&clock, "serve").await.unwrap();
    assert_eq!(third.epoch(), 3);
    assert!(matches!(two.renew(&second, clock.now()).await, Err(JournalError::LeaseLost { ours: 2, now: 3 })));
}

#[tokio::test]
async fn of_many_that_race_exactly_one_wins() {
    for round in 0..5 {
        // A new journal each time: making it is part of the race.
        let dir = TempDir::new();
        let clock = Arc::new(ManualClock::at(after(round * 100)));
        let racing: Vec<_> = (0..6)
            .map(|_| {
                let (path, clock) = (dir.path().to_owned(), Arc::clone(&clock));
                std::thread::spawn(move || {
                    let store = SqliteStore::open(&path).unwrap();
                    futures::executor::block_on(store.take_lease(clock.as_ref(), "serve")).is_ok()
                })
            })
            .collect();
        let won = racing.into_iter().map(|thread| thread.join().unwrap()).filter(|won| *won).count();
        assert_eq!(won, 1, "round {round}");
    }
}

#[tokio::test]
async fn the_lease_of_a_process_that_is_gone_is_taken_at_once() {
    let here = Process::this();
    if here.boot.is_empty() || here.born == 0 {
        return; // This system does not say who is alive.
    }
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let gone = child.id();
    child.wait().unwrap();
    let process = |pid: u32, born: i64| Process { pid, born, ..here.clone() };
    let elsewhere = Process { host: "elsewhere".into(), ..process(gone, 1) };
    let other_boot = Process { boot: "another".into(), ..process(gone, 1) };
    let cases = [
        (process(gone, 1), true),
        (process(here.pid, here.born + 1), true),
        (process(here.pid, here.born), false),
        (process(here.pid, 0), false),
        (elsewhere, false),
        (other_boot, false),
    ];
    for (holder, dead) in cases {
        let store = SqliteStore::in_memory().unwrap();
        let described = format!("{holder:?}");
        store.execute(move |conn| take(conn, &holder, "serve", start())).await.unwrap().unwrap();
        let taken = store.take_lease(&ManualClock::at(after(1)), "respond").await;
        assert_eq!(taken.is_ok(), dead, "{described}");
    }
}

#[tokio::test]
async fn who_lost_the_lease_can_write_no_more_and_learns_of_it() {
    let dir = TempDir::new();
    let ((one, journal), (two, _)) = (open(&dir), open(&dir));
    let clock = Arc::new(ManualClock::at(start()));
    let lease = one.take_lease(clock.as_ref(), "serve").await.unwrap();
    let run = open_run(&journal, 1, after(0), lease.epoch()).await;
    clock.advance(20_000);
    let taken = two.take_lease(clock.as_ref(), "respond").await.unwrap();
    let result = append(&journal, run, vec![joined(1)], after(21), lease.epoch()).await;
    assert!(matches!(result, Err(JournalError::LeaseLost { .. })));
    // The wall clock says that it ran out long ago.
    assert!(lease.held());
    let late = Arc::new(ManualClock::at(after(20)));
    let keeper = one.keep(Arc::clone(&lease), late, CancellationToken::new());
    tokio::time::timeout(Duration::from_secs(8), keeper).await.unwrap();
    assert!(!lease.held() && taken.held());
}

#[tokio::test]
async fn a_keeper_stops_when_it_is_told_to() {
    let store = SqliteStore::in_memory().unwrap();
    let lease = store.take_lease(&SystemClock, "serve").await.unwrap();
    let cancel = CancellationToken::new();
    cancel.cancel();
    store.keep(Arc::clone(&lease), Arc::new(SystemClock), cancel).await;
    assert!(lease.held());
}
