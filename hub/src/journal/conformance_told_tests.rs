//! What every store must do for those who are told, freeze and look: run against each of them.

use cordon_shared::{
    engine::{ClaimFrom, Entry, Person, UndoCause},
    freeze::{self, Freeze, Level, Scope},
    journal::{
        JournalError, Sighting, Tx, ops,
        sightings::{self, Look},
    },
    plan::{Change, Plan, Seat, StepKey, Verdict},
};
use serde_json::{Value, json};

use super::testing::{ACCOUNT, Bench, accept, after, append, arrival, for_each_store, joined, open_run, pace, run_id};

for_each_store!(
    a_notice_is_written_with_the_entries_once_for_each_destination,
    an_owner_is_told_once_of_each_and_of_a_sweeps_children_too,
    a_freeze_stands_until_its_scope_is_thawed_whoever_holds_the_lease,
    what_was_seen_of_a_tag_reads_back_and_is_forgotten_in_time,
    a_page_is_written_with_the_line_once_for_each_destination_also_before_there_is_one,
);

async fn a_notice_is_written_with_the_entries_once_for_each_destination(bench: Bench) {
    let epoch = bench.next_epoch().await;
    let journal = &bench.journal;
    bench.set_targets(&["slack", "stdout", "owner:e-mail"]).await;
    let mut lone = arrival("f-1", "i-1", run_id(1), after(0), 20);
    lone.opening.as_mut().unwrap().sweep = None;
    accept(journal, lone, after(0), epoch).await.unwrap();
    assert_eq!(bench.notices().await, Vec::<String>::new(), "nobody is told before it is known whom it is about");
    let admitted = || Entry::Admitted { account: json!({ "id": ACCOUNT }) };
    append(journal, run_id(1), vec![admitted()], after(1), epoch).await.unwrap();
    assert_eq!(bench.notices().await, ["detected slack", "detected stdout"]);

    // Work that fails after it leaves no notice either.
    let failed = journal
        .with(move |tx| {
            let mut view = ops::load(tx, run_id(1))?;
            let hold = cordon_shared::engine::Hold { code: "c".into(), why: "w".into() };
            ops::append(tx, &mut view, vec![Entry::Held { step: None, hold }], after(2), pace(epoch))?;
            Err::<(), _>(JournalError::Refused("no".into()))
        })
        .await;
    assert!(failed.is_err());
    append(journal, run_id(1), vec![joined(1)], after(2), epoch).await.unwrap();
    assert_eq!(bench.notices().await.len(), 2, "no news, no notice");

    // The same notice again is the same.
    journal
        .with(|tx| {
            let before = cordon_shared::notice::Standing::of(&unbegun(tx)?);
            let notice = cordon_shared::notice::notices(&before, &ops::load(tx, run_id(1))?, false);
            notice.iter().try_for_each(|notice| tx.notify(notice))
        })
        .await
        .unwrap();
    assert_eq!(bench.notices().await.len(), 2);

    // Of a sweep's child nobody is told before a person is needed in it.
    open_run(journal, 2, after(3), epoch).await;
    append(journal, run_id(2), vec![admitted()], after(4), epoch).await.unwrap();
    assert_eq!(bench.notices().await.len(), 2);
    let hold = cordon_shared::engine::Hold { code: "c".into(), why: "w".into() };
    append(journal, run_id(2), vec![Entry::Held { step: None, hold }], after(5), epoch).await.unwrap();
    assert_eq!(bench.notices().await[2..], ["detected slack", "detected stdout", "held/3 slack", "held/3 stdout"]);
}

async fn a_page_is_written_with_the_line_once_for_each_destination_also_before_there_is_one(bench: Bench) {
    let line = |level: Level| Freeze {
        number: 0,
        at: after(1),
        by: Person("ann@desk".into()),
        why: "a drill".into(),
        scope: Scope::Organization,
        level,
        hard: false,
        alarm: None,
    };
    let (full, off) = (line(Level::Full), line(Level::Off));
    bench.journal.with(move |tx| freeze::freeze(tx, &full)).await.unwrap();
    assert_eq!(bench.pages().await, ["freeze/1 "], "for whoever there will be");
    bench.set_targets(&["slack", "stdout"]).await;
    assert_eq!(bench.pages().await, ["freeze/1 slack", "freeze/1 stdout"]);
    bench.journal.with(move |tx| freeze::thaw(tx, &off)).await.unwrap();
    // An alarm is one page, and one alarm one line, however often it is raised.
    for _ in 0..2 {
        bench.journal.with(|tx| freeze::alarm(tx, "event-1", None, "seen".into(), after(2))).await.unwrap();
    }
    let pages = bench.pages().await;
    assert_eq!(pages[2..], ["freeze/2 slack", "freeze/2 stdout", "freeze/3 slack", "freeze/3 stdout"]);
    // Work that fails leaves no page, as it leaves no line.
    let again = line(Level::Full);
    let failed = bench.journal.with(move |tx| {
        freeze::freeze(tx, &again)?;
        Err::<(), _>(JournalError::Refused("no".into()))
    });
    assert!(failed.await.is_err());
    assert_eq!((bench.pages().await, bench.journal.freezes().await.unwrap().len()), (pages, 1));
}

/// Contained, put back, closed: one notice of each, to owners alone. A note on the finding is nothing of theirs.
async fn an_owner_is_told_once_of_each_and_of_a_sweeps_children_too(bench: Bench) {
    let epoch = bench.next_epoch().await;
    let journal = &bench.journal;
    bench.set_targets(&["slack", "owner:e-mail"]).await;
    let (step, skipped) = (StepKey::first("first"), StepKey::first("second"));
    let change = Change { resource: "arn:x".into(), attribute: "a".into(), before: Value::Null, after: json!(1) };
    let claim = |run| ClaimFrom { key: change.key(), run, step: step.clone() };
    let applied = |seat: Seat| {
        let plan = Plan { changes: vec![change.clone()], seat, ..Plan::default() };
        let digest = plan.digest("toy.switch", &Value::Null);
        vec![
            Entry::Admitted { account: json!({ "id": ACCOUNT }) },
            Entry::Planned { step: step.clone(), with: Value::Null, plan: Box::new(plan), digest, region: None },
            Entry::ApplyStarted { step: step.clone(), attempt: 1, epoch, also: vec![], uncounted: false },
            Entry::Applied { step: step.clone(), outcome: json!({}) },
            Entry::Verified { step: step.clone(), verdict: Verdict::InEffect, again: None },
            Entry::Skipped { step: skipped.clone(), why: "w".into() },
        ]
    };
    let noted = open_run(journal, 1, after(0), epoch).await;
    append(journal, noted, applied(Seat::Hub), after(1), epoch).await.unwrap();
    assert_eq!(bench.notices().await, Vec::<String>::new());

    let run = open_run(journal, 2, after(2), epoch).await;
    append(journal, run, applied(Seat::Member), after(3), epoch).await.unwrap();
    assert_eq!(bench.notices().await, ["owner/contained owner:e-mail"]);
    append(journal, run, vec![joined(1)], after(4), epoch).await.unwrap();
    let asked = Entry::UndoAsked { step: step.clone(), cause: UndoCause::Ttl };
    let started = Entry::UndoStarted { step: step.clone(), attempt: 1, epoch, from: vec![claim(run)] };
    append(journal, run, vec![asked, started], after(5), epoch).await.unwrap();
    assert_eq!(bench.notices().await.len(), 1, "what is under way is no news");
    append(journal, run, vec![Entry::Undone { step: step.clone(), restored: vec![], left: vec![] }], after(6), epoch).await.unwrap();
    append(journal, run, vec![joined(2)], after(7), epoch).await.unwrap();
    assert_eq!(bench.notices().await, ["owner/contained owner:e-mail", "owner/undone owner:e-mail"]);
    append(journal, run, vec![Entry::ClosedBy { by: Person("ann".into()), why: "w".into() }], after(8), epoch).await.unwrap();
    append(journal, run, vec![joined(3)], after(9), epoch).await.unwrap();
    let all = ["owner/closed owner:e-mail", "owner/contained owner:e-mail", "owner/undone owner:e-mail"];
    assert_eq!(bench.notices().await, all);
}

/// The run as it stood when it was opened.
fn unbegun(tx: &mut dyn Tx) -> Result<cordon_shared::engine::View, JournalError> {
    let entries = tx.entries(run_id(1))?;
    ops::fold(run_id(1), &entries[..1])
}

async fn what_was_seen_of_a_tag_reads_back_and_is_forgotten_in_time(bench: Bench) {
    let look = |whose: &str, value: Option<&str>, at: i64| Look {
        whose: whose.to_owned(),
        value: value.map(str::to_owned),
        from: after(at),
        until: after(at + 1),
    };
    let looks = [look("arn:1", None, 1), look("arn:1", Some(""), 9), look("arn:2", Some("true"), 9)];
    let noted =
        bench.journal.with(move |tx| looks.iter().map(|look| sightings::note(tx, look)).collect::<Result<Vec<_>, _>>()).await.unwrap();
    let seen =
        |value: Option<&str>, first, last| sightings::Seen { value: value.map(str::to_owned), first: after(first), last: after(last) };
    assert_eq!(noted[1], Sighting { now: seen(Some(""), 10, 9), before: Some(seen(None, 2, 1)) });
    assert_eq!(noted[2], Sighting { now: seen(Some("true"), 10, 9), before: None });
    let read = async || bench.journal.with(|tx| Ok([tx.sighting("arn:1")?, tx.sighting("arn:2")?, tx.sighting("arn:3")?])).await.unwrap();
    assert_eq!(read().await, [Some(noted[1].clone()), Some(noted[2].clone()), None]);
    let later = look("arn:2", Some("true"), 9 + sightings::KEPT.as_secs() + 1);
    bench.journal.with(move |tx| sightings::note(tx, &later)).await.unwrap();
    let [one, two, _] = read().await;
    assert_eq!((one, two.unwrap().now.first), (None, after(10)));
}

async fn a_freeze_stands_until_its_scope_is_thawed_whoever_holds_the_lease(bench: Bench) {
    let line = |scope: &Scope, level: Level, second: i64| Freeze {
        number: 0,
        at: after(second),
        by: Person("ann@desk".into()),
        why: "a drill".into(),
        scope: scope.clone(),
        level,
        hard: level == Level::Full,
        alarm: None,
    };
    let account = Scope::Account(ACCOUNT.parse().unwrap());
    for (scope, level, second) in
        [(Scope::Organization, Level::Full, 1), (account.clone(), Level::Limited, 2), (Scope::Organization, Level::Limited, 3)]
    {
        let line = line(&scope, level, second);
        bench.journal.with(move |tx| freeze::freeze(tx, &line)).await.unwrap();
    }
    let expected = vec![
        Freeze { number: 1, ..line(&Scope::Organization, Level::Full, 1) },
        Freeze { number: 2, ..line(&account, Level::Limited, 2) },
        Freeze { number: 3, ..line(&Scope::Organization, Level::Limited, 3) },
    ];
    // In a transaction of its own, and asked as the connector asks.
    assert_eq!(bench.journal.with(|tx| tx.freezes()).await.unwrap(), expected);
    assert_eq!(bench.journal.freezes().await.unwrap(), expected);

    let thaw = |scope: Scope| {
        let line = line(&scope, Level::Off, 9);
        bench.journal.with(move |tx| freeze::thaw(tx, &line))
    };
    assert_eq!(thaw(Scope::Organization).await.unwrap().len(), 2);
    assert_eq!(bench.journal.freezes().await.unwrap(), expected[1..2]);
    assert!(matches!(thaw(Scope::Organization).await, Err(JournalError::Refused(_))));

    let raise = |id: &'static str| bench.journal.with(move |tx| freeze::alarm(tx, id, None, "seen".into(), after(20)));
    assert_eq!((raise("event-1").await.unwrap(), raise("event-1").await.unwrap(), raise("event-2").await.unwrap()), (true, false, true));
    let alarms: Vec<_> = bench.journal.freezes().await.unwrap().into_iter().filter_map(|line| line.alarm).collect();
    assert_eq!(alarms, ["event-1", "event-2"]);

    // A finding that goes on is answered anew, once, when it was last seen after a thaw.
    let again = |seen: jiff::Timestamp| bench.journal.with(move |tx| freeze::alarm(tx, "event-1", Some(seen), "seen".into(), after(40)));
    assert!(!again(after(25)).await.unwrap(), "frozen still");
    let line = line(&Scope::Organization, Level::Off, 30);
    bench.journal.with(move |tx| freeze::thaw(tx, &line)).await.unwrap();
    assert!(!again(after(29)).await.unwrap(), "that was before the thaw");
    assert_eq!((again(after(31)).await.unwrap(), again(after(31)).await.unwrap()), (true, false));
}
