//! What every store must do, run against each of them.

use cordon_shared::{
    engine::{ClaimFrom, Entry},
    gate::budget::{Charge, Place, Use},
    id::IncidentId,
    journal::{Accepted, Claim, JournalError, Seen, Tx, chain, ops},
    plan::{Change, ChangeKey, Counts, Plan, StepKey, Verdict},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::testing::{
    ACCOUNT, Bench, accept, after, append, arrival, for_each_store, joined, open_run, pace, run_id, start, version, view,
};

for_each_store!(
    a_finding_opens_repeats_and_joins,
    an_ignored_finding_is_remembered,
    a_finding_joins_the_oldest_open_run,
    a_stale_view_appends_nothing,
    an_old_epoch_writes_nothing,
    work_that_fails_leaves_nothing,
    work_that_panics_leaves_nothing,
    a_lock_is_held_until_its_step_ends,
    claims_are_kept_in_order_and_once,
    the_window_of_what_was_spent_moves,
    what_was_charged_to_budgets_reads_back_in_its_window,
    a_stand_down_is_set_and_lifted,
    entries_read_back_and_their_chain_holds,
    a_number_of_many_digits_breaks_no_chain,
    a_row_reads_back_as_it_was_saved,
    an_unknown_run_has_nothing,
);

async fn a_finding_opens_repeats_and_joins(bench: Bench) {
    let epoch = bench.next_epoch().await;
    let journal = &bench.journal;
    let first = run_id(1);
    assert_eq!(accept(journal, arrival("f-1", "i-1", first, after(0), 20), after(0), epoch).await.unwrap(), Accepted::Opened(first));
    let again = accept(journal, arrival("f-1", "i-1", run_id(2), after(0), 20), after(5), epoch).await.unwrap();
    assert_eq!(again, Accepted::Duplicate(first));
    let repeated = accept(journal, arrival("f-1", "i-1", run_id(2), after(900), 20), after(900), epoch).await.unwrap();
    assert_eq!(repeated, Accepted::Duplicate(first));
    let worse = accept(journal, arrival("f-1", "i-1", run_id(2), after(1000), 80), after(1000), epoch).await.unwrap();
    assert_eq!(worse, Accepted::Joined { run: first, renews: true });
    let other = accept(journal, arrival("f-2", "i-1", run_id(2), after(1001), 20), after(1001), epoch).await.unwrap();
    assert_eq!(other, Accepted::Joined { run: first, renews: true }, "it may ask for what the first did not");
    let apart = accept(journal, arrival("f-3", "i-2", run_id(3), after(1002), 20), after(1002), epoch).await.unwrap();
    assert_eq!(apart, Accepted::Opened(run_id(3)));
    let seen = journal.with(|tx| tx.seen(&cordon_shared::finding::FindingId("f-1".into()))).await.unwrap().unwrap();
    assert_eq!(seen, Seen { run: Some(first), version: version(after(1000), 80), ignored: None, at: after(1000) });
    assert_eq!(view(journal, first).await.seq, 3);
}

async fn an_ignored_finding_is_remembered(bench: Bench) {
    let epoch = bench.next_epoch().await;
    let mut ignored = arrival("f-1", "i-1", run_id(1), after(0), 20);
    ignored.ignored = Some("a sample".into());
    let first = accept(&bench.journal, ignored.clone(), after(0), epoch).await.unwrap();
    assert_eq!(first, Accepted::Ignored { why: "a sample".into(), again: false });
    let second = accept(&bench.journal, ignored, after(1), epoch).await.unwrap();
    assert_eq!(second, Accepted::Ignored { why: "a sample".into(), again: true });
    assert_eq!(bench.journal.with(|tx| tx.run(run_id(1))).await.unwrap(), None);
}

async fn a_finding_joins_the_oldest_open_run(bench: Bench) {
    let epoch = bench.next_epoch().await;
    for number in 1..=3 {
        open_run(&bench.journal, number, after(i64::try_from(number).unwrap()), epoch).await;
    }
    let find = || bench.journal.with(|tx| tx.open_run_with_key("shared"));
    let over = |run: IncidentId, over: bool| {
        bench.journal.with(move |tx| {
            let mut row = tx.run(run)?.unwrap();
            row.over = over;
            tx.save_run(&row)
        })
    };
    assert_eq!(find().await.unwrap(), None);
    for number in [3, 2, 1, 1] {
        bench.journal.with(move |tx| tx.save_key(run_id(number), "shared")).await.unwrap();
    }
    assert_eq!(find().await.unwrap(), Some(run_id(1)));
    over(run_id(1), true).await.unwrap();
    assert_eq!(find().await.unwrap(), Some(run_id(2)));
    over(run_id(1), false).await.unwrap();
    assert_eq!(find().await.unwrap(), Some(run_id(1)));
}

async fn a_stale_view_appends_nothing(bench: Bench) {
    let epoch = bench.next_epoch().await;
    let run = open_run(&bench.journal, 1, after(0), epoch).await;
    let stale = view(&bench.journal, run).await;
    append(&bench.journal, run, vec![joined(1)], after(1), epoch).await.unwrap();
    let mut copy = stale.clone();
    let result = bench.journal.with(move |tx| ops::append(tx, &mut copy, vec![joined(2)], after(2), pace(epoch))).await;
    assert!(matches!(result, Err(JournalError::Conflict { expected: 1, found: 2, .. })), "{result:?}");
    assert_eq!(view(&bench.journal, run).await.seq, 2);
}

async fn an_old_epoch_writes_nothing(bench: Bench) {
    let old = bench.next_epoch().await;
    let run = open_run(&bench.journal, 1, after(0), old).await;
    let new = bench.next_epoch().await;
    assert!(new > old);
    for result in [
        append(&bench.journal, run, vec![joined(1)], after(1), old).await,
        accept(&bench.journal, arrival("f-2", "i-2", run_id(2), after(1), 20), after(1), old).await.map(drop),
    ] {
        assert!(matches!(result, Err(JournalError::LeaseLost { ours, now }) if ours == old && now == new), "{result:?}");
    }
    append(&bench.journal, run, vec![joined(1)], after(1), new).await.unwrap();
}

async fn work_that_fails_leaves_nothing(bench: Bench) {
    let epoch = bench.next_epoch().await;
    let run = open_run(&bench.journal, 1, after(0), epoch).await;
    let before = view(&bench.journal, run).await;
    let result: Result<(), JournalError> = bench
        .journal
        .with(move |tx| {
            let mut view = ops::load(tx, run)?;
            ops::append(tx, &mut view, vec![joined(1)], after(1), pace(epoch))?;
            tx.lock("r", run, &StepKey::first("first"))?;
            tx.spend(after(1), ACCOUNT, "r")?;
            tx.save_stand_down("s", Some(after(9)))?;
            Err(JournalError::Refused("no".into()))
        })
        .await;
    assert!(matches!(result, Err(JournalError::Refused(_))));
    let after_it = view(&bench.journal, run).await;
    assert_eq!((after_it.seq, after_it.head), (before.seq, before.head));
    let left = bench.journal.with(|tx| Ok((tx.lock_holder("r")?, tx.spent(start(), None)?.len(), tx.stand_down("s")?))).await.unwrap();
    assert_eq!(left, (None, 0, None));
}

async fn work_that_panics_leaves_nothing(bench: Bench) {
    let epoch = bench.next_epoch().await;
    let run = open_run(&bench.journal, 1, after(0), epoch).await;
    let journal = bench.journal.clone();
    let panicking = tokio::spawn(async move {
        let work = move |tx: &mut dyn Tx| -> Result<(), JournalError> {
            tx.lock("r", run, &StepKey::first("first"))?;
            panic!("a bug")
        };
        journal.with(work).await
    });
    assert!(matches!(panicking.await, Err(_) | Ok(Err(JournalError::Store(_)))));
    assert_eq!(bench.journal.with(|tx| tx.lock_holder("r")).await.unwrap(), None);
    append(&bench.journal, run, vec![joined(1)], after(1), epoch).await.unwrap();
}

async fn a_lock_is_held_until_its_step_ends(bench: Bench) {
    let epoch = bench.next_epoch().await;
    let run = open_run(&bench.journal, 1, after(0), epoch).await;
    let (first, second) = (StepKey::first("first"), StepKey::first("first").next());
    let holder = |resource: &'static str| bench.journal.with(move |tx| tx.lock_holder(resource));
    let (one, two) = (first.clone(), second.clone());
    bench
        .journal
        .with(move |tx| {
            tx.lock("a", run, &one)?;
            tx.lock("b", run, &one)?;
            tx.lock("c", run, &two)
        })
        .await
        .unwrap();
    assert_eq!(holder("a").await.unwrap(), Some((run, first.clone())));
    bench.journal.with(move |tx| tx.unlock(run, &first, jiff::Timestamp::UNIX_EPOCH)).await.unwrap();
    assert_eq!((holder("a").await.unwrap(), holder("b").await.unwrap()), (None, None));
    assert_eq!(holder("c").await.unwrap(), Some((run, second)));
}

async fn claims_are_kept_in_order_and_once(bench: Bench) {
    let epoch = bench.next_epoch().await;
    let (one, two) = (open_run(&bench.journal, 1, after(0), epoch).await, open_run(&bench.journal, 2, after(0), epoch).await);
    let key = ChangeKey { resource: "arn:x".into(), attribute: "acl".into() };
    let from = ClaimFrom { key: key.clone(), run: one, step: StepKey::first("first") };
    let claim = |run| Claim { run, step: StepKey::first("first"), from: from.clone() };
    for made in [claim(two), claim(one), claim(two)] {
        bench.journal.with(move |tx| tx.claim(&made)).await.unwrap();
    }
    let claims = || {
        let key = key.clone();
        bench.journal.with(move |tx| tx.claims(&key))
    };
    assert_eq!(claims().await.unwrap(), vec![claim(two), claim(one)]);
    bench.journal.with(move |tx| tx.unclaim(two, &StepKey::first("first"))).await.unwrap();
    bench.journal.with(move |tx| tx.unclaim(one, &StepKey::first("other"))).await.unwrap();
    assert_eq!(claims().await.unwrap(), vec![claim(one)]);
}

async fn the_window_of_what_was_spent_moves(bench: Bench) {
    for (at, account, resource) in [(0, ACCOUNT, "a"), (10, ACCOUNT, "a"), (20, ACCOUNT, "b"), (20, "444455556666", "c")] {
        bench.journal.with(move |tx| tx.spend(after(at), account, resource)).await.unwrap();
    }
    let spent = |since: Timestamp, account: Option<&'static str>| {
        bench.journal.with(move |tx| Ok(tx.spent(since, account)?.into_iter().collect::<Vec<_>>()))
    };
    assert_eq!(spent(after(-1), None).await.unwrap(), ["a", "b", "c"]);
    assert_eq!(spent(after(-1), Some(ACCOUNT)).await.unwrap(), ["a", "b"]);
    assert_eq!(spent(after(10), Some(ACCOUNT)).await.unwrap(), ["b"]);
    assert!(spent(after(20), None).await.unwrap().is_empty());
    assert_eq!(spent(Timestamp::MIN, None).await.unwrap().len(), 3);
}

async fn what_was_charged_to_budgets_reads_back_in_its_window(bench: Bench) {
    let epoch = bench.next_epoch().await;
    let run = open_run(&bench.journal, 1, after(0), epoch).await;
    let charge = |at: i64, counts: Counts, member: &str, of: u32| Charge {
        at: after(at),
        run,
        step: StepKey { id: "first".into(), instance: 2 },
        place: Place { account: ACCOUNT.into(), path: vec!["r-1".into(), "ou-1".into()] },
        used: Use { counts, resource: "arn:x".into(), member: member.into(), of },
    };
    let charges =
        [charge(0, Counts::Resources, "", 0), charge(10, Counts::InService, "i-1", 4), charge(20, Counts::InService, "i-2", u32::MAX)];
    let put = charges.clone();
    bench.journal.with(move |tx| put.iter().try_for_each(|charge| tx.charge(charge))).await.unwrap();
    let read = |since: Timestamp, counts: Counts| bench.journal.with(move |tx| tx.charges(since, counts));
    assert_eq!(read(Timestamp::MIN, Counts::InService).await.unwrap(), charges[1..]);
    assert_eq!(read(after(10), Counts::InService).await.unwrap(), charges[2..]);
    assert_eq!(read(after(-1), Counts::Resources).await.unwrap(), charges[..1]);
    assert!(read(Timestamp::MIN, Counts::Credentials).await.unwrap().is_empty());
}

async fn a_stand_down_is_set_and_lifted(bench: Bench) {
    let until = || bench.journal.with(|tx| tx.stand_down("k"));
    assert_eq!(until().await.unwrap(), None);
    for set in [Some(after(5)), Some(Timestamp::MAX), Some(after(7)), None] {
        bench.journal.with(move |tx| tx.save_stand_down("k", set)).await.unwrap();
        assert_eq!(until().await.unwrap(), set);
    }
}

async fn entries_read_back_and_their_chain_holds(bench: Bench) {
    let epoch = bench.next_epoch().await;
    let run = open_run(&bench.journal, 1, after(0), epoch).await;
    let key = StepKey::first("first");
    let change = Change {
        resource: "arn:x".into(),
        attribute: "acl".into(),
        before: json!({ "z": 1, "a": [1.5, null, "\u{1f6a7}\n"] }),
        after: Value::Null,
    };
    let plan = Plan {
        before: json!({ "large": "x".repeat(70_000) }),
        changes: vec![change],
        touches: ["arn:x".to_owned()].into(),
        ..Plan::default()
    };
    let entries = vec![
        Entry::Admitted { account: json!({ "id": ACCOUNT }) },
        Entry::Planned { step: key.clone(), with: json!({ "b": 1, "a": 2 }), plan: Box::new(plan), digest: "d".into(), region: None },
        Entry::Decided { step: key.clone(), because: "it may".into() },
        Entry::ApplyStarted { step: key.clone(), attempt: 1, epoch, also: vec![], uncounted: false },
        Entry::Applied { step: key.clone(), outcome: json!({ "ok": true }) },
        Entry::Verified { step: key.clone(), verdict: Verdict::InEffect, again: None },
    ];
    append(&bench.journal, run, entries.clone(), after(1), epoch).await.unwrap();
    let sealed = bench.journal.with(move |tx| tx.entries(run)).await.unwrap();
    assert_eq!(sealed.iter().skip(1).map(|sealed| sealed.entry.clone()).collect::<Vec<_>>(), entries);
    let head = chain::verify(run, &sealed).unwrap();
    assert_eq!(bench.journal.with(move |tx| tx.head(run)).await.unwrap(), Some((7, head)));
    let claims = bench.journal.with(|tx| tx.claims(&ChangeKey { resource: "arn:x".into(), attribute: "acl".into() })).await.unwrap();
    assert_eq!(claims.len(), 1);
}

/// Needs serde_json's `float_roundtrip`: without it one such number in a finding makes its run unreadable.
async fn a_number_of_many_digits_breaks_no_chain(bench: Bench) {
    let epoch = bench.next_epoch().await;
    let run = open_run(&bench.journal, 1, after(0), epoch).await;
    let account: Value = serde_json::from_str(r#"[7.220380173333828e-10, 5.6650878433999925e-8, 3.5701275078511897e+307]"#).unwrap();
    append(&bench.journal, run, vec![Entry::Admitted { account: account.clone() }], after(1), epoch).await.unwrap();
    assert_eq!(view(&bench.journal, run).await.account, Some(account));
}

async fn a_row_reads_back_as_it_was_saved(bench: Bench) {
    let epoch = bench.next_epoch().await;
    let run = open_run(&bench.journal, 1, after(0), epoch).await;
    let mut row = bench.journal.with(move |tx| tx.run(run)).await.unwrap().unwrap();
    assert_eq!((row.opened_at, row.wake, row.sweep.as_deref()), (after(0), Some(after(0)), Some("sweep-1")));
    for wake in [None, Some(after(3)), Some(Timestamp::MAX)] {
        row.wake = wake;
        let saved = row.clone();
        bench.journal.with(move |tx| tx.save_run(&saved)).await.unwrap();
        assert_eq!(bench.journal.with(move |tx| tx.run(run)).await.unwrap(), Some(row.clone()));
    }
    assert_eq!(bench.journal.with(move |tx| Ok(tx.head(run)?.map(|(seq, _)| seq))).await.unwrap(), Some(1));
}

async fn an_unknown_run_has_nothing(bench: Bench) {
    let nobody = run_id(77);
    let found = bench.journal.with(move |tx| Ok((tx.head(nobody)?, tx.run(nobody)?, tx.entries(nobody)?))).await.unwrap();
    assert_eq!(found, (None, None, Vec::new()));
    assert!(matches!(bench.journal.with(move |tx| ops::load(tx, nobody).map(drop)).await, Err(JournalError::NoRun(_))));
}
