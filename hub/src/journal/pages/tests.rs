use cordon_shared::{
    engine::Person,
    freeze::{self, Freeze, Level, Scope},
    journal::Tx,
    notice::{Audience, Target},
};

use super::*;
use crate::journal::{
    outbox::{PACED, Place},
    testing::{after, start},
};

fn line(level: Level, why: &str) -> Freeze {
    let by = Person("ann@desk".into());
    Freeze { number: 0, at: start(), by, why: why.into(), scope: Scope::Organization, level, hard: false, alarm: None }
}

async fn write(store: &std::sync::Arc<SqliteStore>, line: Freeze) {
    let store: std::sync::Arc<dyn cordon_shared::journal::Store> = store.clone();
    let work = move |tx: &mut dyn Tx| if line.level == Level::Off { freeze::thaw(tx, &line).map(drop) } else { freeze::freeze(tx, &line) };
    cordon_shared::journal::Journal::new(store).with(work).await.unwrap();
}

async fn targets(store: &SqliteStore, names: &[&str], now: Timestamp) {
    // Owners are told of no pages.
    let owners = Target { name: "owner:e-mail".to_owned(), audience: Audience::Owner };
    let team = names.iter().map(|name| Target { name: (*name).to_owned(), audience: Audience::Team });
    store.set_targets(&team.chain([owners]).collect::<Vec<_>>(), now).await.unwrap();
}

async fn told(store: &SqliteStore, number: u64) -> Vec<(String, bool, bool)> {
    let told = store.page_told(&cordon_shared::page::freeze_key(number)).await.unwrap();
    told.into_iter().map(|told| (told.to, told.at.is_some(), told.gave_up.is_some())).collect()
}

#[tokio::test]
async fn a_page_that_was_written_before_there_was_a_destination_goes_to_the_first_ones_and_once() {
    let store = SqliteStore::in_memory().unwrap();
    write(&store, line(Level::Full, "one")).await;
    assert_eq!((told(&store, 1).await, store.outbox_left().await.unwrap()), (vec![], 0));
    targets(&store, &[], after(1)).await;
    targets(&store, &["slack", "webhook:x"], after(2)).await;
    let pending = |to: &str| (to.to_owned(), false, false);
    assert_eq!(told(&store, 1).await, [pending("slack"), pending("webhook:x")]);
    assert_eq!(store.outbox_left().await.unwrap(), 2);

    // In their order, each once, whatever is configured again and again.
    write(&store, line(Level::Off, "two")).await;
    let first = store.page_due("slack", after(3)).await.unwrap().unwrap();
    assert_eq!((first.notice.key.as_str(), first.notice.why.as_str()), ("freeze/1", "one"));
    store.outbox_begun(first.slip).await.unwrap();
    store.outbox_done(first.slip, after(3)).await.unwrap();
    targets(&store, &["slack", "webhook:x", "sns:new"], after(4)).await;
    assert_eq!(store.page_due("slack", after(4)).await.unwrap().unwrap().notice.key, "freeze/2");
    let to: Vec<String> = told(&store, 1).await.into_iter().map(|told| told.0).collect();
    assert_eq!(to, ["slack", "webhook:x"], "somebody was told: it is past to a new one");
    let to: Vec<String> = told(&store, 2).await.into_iter().map(|told| told.0).collect();
    assert_eq!(to, ["slack", "webhook:x", "sns:new"], "nobody was told yet");
}

#[tokio::test]
async fn a_new_destination_is_not_told_of_what_is_a_day_old_and_one_that_is_no_more_is_given_up() {
    let store = SqliteStore::in_memory().unwrap();
    write(&store, line(Level::Full, "one")).await;
    targets(&store, &["slack"], after(25 * 3_600)).await;
    assert_eq!(told(&store, 1).await, vec![]);

    let day = |second: i64| after(26 * 3_600 + second);
    write(&store, Freeze { at: day(0), ..line(Level::Full, "two") }).await;
    targets(&store, &["webhook:x"], day(60)).await;
    assert_eq!(told(&store, 2).await, [("slack".to_owned(), true, true), ("webhook:x".to_owned(), false, false)]);
    assert_eq!(store.page_due("slack", day(61)).await.unwrap(), None);
    let due = store.page_due("webhook:x", day(61)).await.unwrap().unwrap();
    store.outbox_gave_up(due.slip, "webhook:x", "page freeze/2", "it answered 404", day(62)).await.unwrap();
    let away = store.turned_away(9).await.unwrap();
    assert_eq!((away[0].door.as_str(), away[0].what.as_str()), ("outbox", "page freeze/2"));
    assert_eq!((store.page_next("webhook:x").await.unwrap(), store.outbox_left().await.unwrap()), (None, 0));
}

#[tokio::test]
async fn a_page_that_waits_is_due_again_and_lets_none_pass() {
    let store = SqliteStore::in_memory().unwrap();
    targets(&store, &["slack"], start()).await;
    write(&store, line(Level::Full, "one")).await;
    write(&store, line(Level::Off, "two")).await;
    let due = store.page_due("slack", after(0)).await.unwrap().unwrap();
    store.outbox_begun(due.slip).await.unwrap();
    store.outbox_again(due.slip, after(60), true, "down").await.unwrap();
    assert_eq!(store.page_due("slack", after(59)).await.unwrap(), None);
    assert_eq!(store.page_next("slack").await.unwrap(), Some(after(60)));
    let again = store.page_due("slack", after(60)).await.unwrap().unwrap();
    assert_eq!((again.notice.why.as_str(), again.tries, again.unsure), ("one", 1, true));
    // Only where it is refused for what a person may mend does a try count beyond those that the pause grows for.
    for _ in 0..9 {
        store.outbox_begun(due.slip).await.unwrap();
        store.outbox_again(due.slip, after(60), false, "down").await.unwrap();
    }
    for _ in 0..3 {
        store.outbox_begun(due.slip).await.unwrap();
        store.outbox_refused(due.slip, after(60), true, "invalid_auth").await.unwrap();
    }
    let refused = store.page_due("slack", after(60)).await.unwrap().unwrap();
    assert_eq!((refused.tries, refused.unsure), (PACED + 3, true));
    // What fails for a moment in between counts nothing, and undoes nothing.
    for _ in 0..4 {
        store.outbox_begun(due.slip).await.unwrap();
        store.outbox_again(due.slip, after(60), false, "down").await.unwrap();
    }
    assert_eq!(store.page_due("slack", after(60)).await.unwrap().unwrap().tries, PACED + 3);
    let place = Place { channel: "C0".into(), ts: "1.2".into() };
    store.outbox_placed(again.slip, &place).await.unwrap();
    let placed = store.page_due("slack", after(60)).await.unwrap().unwrap();
    assert_eq!((placed.place, placed.unsure), (Some(place), false));
}

#[tokio::test]
async fn tries_that_were_counted_while_a_destination_was_down_are_no_refusals() {
    let store = SqliteStore::in_memory().unwrap();
    targets(&store, &["slack"], start()).await;
    write(&store, line(Level::Full, "one")).await;
    let due = async || store.page_due("slack", after(60)).await.unwrap().unwrap();
    let slip = due().await.slip;
    // As a Cordon wrote it that counted each.
    store.set(slip, "tries = 5000, last = 'down'", |row, id| row.execute([id])).await.unwrap();
    assert_eq!(due().await.tries, PACED);
    store.outbox_begun(slip).await.unwrap();
    store.outbox_again(slip, after(60), false, "down").await.unwrap();
    assert_eq!(due().await.tries, PACED);
    for refusals in 1..4 {
        store.outbox_begun(slip).await.unwrap();
        store.outbox_refused(slip, after(60), false, "invalid_auth").await.unwrap();
        assert_eq!(due().await.tries, PACED + refusals);
    }
}
