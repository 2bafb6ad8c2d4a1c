//! A clock that goes back. Nothing is taken back by it ([`cordon_shared::engine::next`] reckons with a run's last entry as the least), but what is
//! due later comes later by as much, and AWS refuses requests that are signed with a wrong time: so it is told and remembered.

use std::{sync::Arc, time::Duration};

use cordon_shared::{
    clock::Clock,
    journal::{Journal, JournalError, Store},
    page::Page,
};
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::{
    driver::Hub,
    journal::{outbox::TurnedAway, sqlite::SqliteStore},
};

/// What is no setback: a time service that steps a clock steps it by less.
const TOLERATED: SignedDuration = SignedDuration::from_secs(60);
/// By how much the journal's newest time may be behind the clock that wrote it: a service anchors it each minute.
const SEEN: SignedDuration = SignedDuration::from_mins(2);
/// How often a service looks.
const EVERY: Duration = Duration::from_secs(1);

/// Looks whether the journal was written by a clock that is ahead of this one.
///
/// # Errors
/// Those of the journal.
pub async fn at_start(store: &Arc<SqliteStore>, clock: &dyn Clock) -> Result<(), JournalError> {
    match store.newest_time().await? {
        // Not what a service has told already that saw it: the journal's newest time may be a little before.
        Some(newest) if went_back(newest, clock.now()) => match store.has_setback_since(newest - SEEN).await? {
            true => Ok(()),
            false => tell(store, newest, clock.now()).await,
        },
        _ => Ok(()),
    }
}

/// Looks on, while the service runs: the computer's other clock, which nobody sets, tells what time it should be.
pub async fn watch(hub: Arc<Hub>) {
    let mut last = (hub.clock.now(), Instant::now());
    while crate::serve::wait(&hub, EVERY).await {
        let now = (hub.clock.now(), Instant::now());
        let passed = SignedDuration::try_from(now.1.saturating_duration_since(last.1)).unwrap_or(SignedDuration::ZERO);
        let should = last.0.checked_add(passed).unwrap_or(last.0);
        if went_back(should, now.0)
            && let Err(error) = tell(&hub.store, should, now.0).await
        {
            tracing::error!(%error, "that the clock went back cannot be remembered");
        }
        last = now;
    }
}

fn went_back(from: Timestamp, to: Timestamp) -> bool {
    from.duration_since(to) > TOLERATED
}

async fn tell(store: &Arc<SqliteStore>, from: Timestamp, to: Timestamp) -> Result<(), JournalError> {
    let page = Page::of_setback(from, to);
    tracing::error!("{}", page.why);
    store.turn_away(TurnedAway::setback(to, &page.why)).await?;
    let journal = Journal::new(Arc::clone(store) as Arc<dyn Store>);
    journal.with(move |tx| tx.page(&page)).await
}

#[cfg(test)]
mod tests {
    use cordon_shared::clock::ManualClock;

    use super::*;

    #[tokio::test]
    async fn a_journal_of_the_future_is_told_once_and_remembered_and_a_small_step_is_not() {
        let store = SqliteStore::in_memory().unwrap();
        let clock = ManualClock::at("2026-11-29T10:00:00Z".parse().unwrap());
        at_start(&store, &clock).await.unwrap();
        store.turn_away(TurnedAway::unsound_policies(clock.now(), "none")).await.unwrap();
        for (millis, remembered) in [(-50_000, 1), (-3_600_000, 2), (0, 2)] {
            clock.advance(millis);
            at_start(&store, &clock).await.unwrap();
            assert_eq!(store.turned_away(10).await.unwrap().len(), remembered);
        }
        let told = store.turned_away(10).await.unwrap().pop().unwrap();
        assert_eq!(told.door, "clock");
        assert!(told.why.contains("from 2026-11-29T10:00:00Z back to 2026-11-29T08:59:10Z"), "{}", told.why);
    }
}
