//! Remembers who was turned away at a door, and no more of them than a door can be knocked at in good faith.

use std::sync::{Arc, Mutex, PoisonError};

use cordon_shared::clock::Clock;
use jiff::{SignedDuration, Timestamp};

use crate::journal::{outbox::TurnedAway, sqlite::SqliteStore};

/// How many are remembered in a minute; the rest is in the log. Nobody fills the disk from outside.
const REMEMBERED: u32 = 60;

/// The keeper of one door.
pub struct Doorkeeper {
    door: &'static str,
    store: Arc<SqliteStore>,
    clock: Arc<dyn Clock>,
    minute: Mutex<(Option<Timestamp>, u32)>,
}

impl std::fmt::Debug for Doorkeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Doorkeeper").field("door", &self.door).finish_non_exhaustive()
    }
}

impl Doorkeeper {
    /// Of this door.
    #[must_use]
    pub fn new(door: &'static str, store: Arc<SqliteStore>, clock: Arc<dyn Clock>) -> Self {
        Self { door, store, clock, minute: Mutex::default() }
    }

    /// Remembers who asked for what, and why it was not done.
    pub async fn turn_away(&self, who: &str, what: &str, why: &str) {
        tracing::warn!(door = self.door, who = %crate::text::safe(who), why = %crate::text::safe(why), "turned away");
        if !self.within() {
            return;
        }
        let entry = TurnedAway {
            at: self.clock.now(),
            door: self.door.to_owned(),
            who: who.to_owned(),
            what: what.to_owned(),
            why: why.to_owned(),
        };
        if let Err(error) = self.store.turn_away(entry).await {
            tracing::error!(%error, "who was turned away cannot be written");
        }
    }

    fn within(&self) -> bool {
        let mut minute = self.minute.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        if minute.0.is_none_or(|since| now.duration_since(since).abs() > SignedDuration::from_secs(60)) {
            *minute = (Some(now), 0);
        }
        minute.1 = minute.1.saturating_add(1);
        minute.1 <= REMEMBERED
    }
}

#[cfg(test)]
mod tests {
    use cordon_shared::clock::ManualClock;

    use super::*;

    #[tokio::test]
    async fn a_door_that_is_stormed_fills_no_disk() {
        let store = SqliteStore::in_memory().unwrap();
        let clock = Arc::new(ManualClock::at("2026-11-29T10:00:00Z".parse().unwrap()));
        let keeper = Doorkeeper::new("slack", Arc::clone(&store), Arc::clone(&clock) as Arc<dyn Clock>);
        for _ in 0..200 {
            keeper.turn_away("somebody", "a request", "its signature is wrong").await;
        }
        assert_eq!(store.turned_away(1_000).await.unwrap().len(), 60);
        clock.advance(61_000);
        keeper.turn_away("somebody", "a request", "its signature is wrong").await;
        assert_eq!(store.turned_away(1_000).await.unwrap().len(), 61);
    }
}
