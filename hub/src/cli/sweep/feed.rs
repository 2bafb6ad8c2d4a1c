//! Beginning the incidents of a sweep: one, then a tenth, then the rest; and the stop-loss.
//!
//! The first two waves go in Security Hub's order, each to its end. In the last wave accounts take turns, so that one that throttles,
//! denies or hangs keeps nobody behind it waiting.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cordon_shared::{engine::RunState, journal::Accepted};

use super::{
    super::Failure,
    Sweep,
    backlog::{Backlog, Found, Turns},
};
use crate::{driver::Hub, intake::take};

/// The share of failures at which a sweep stops (the charter, section 8).
const STOP_LOSS: f64 = 0.05;
/// The stop-loss of the last wave looks at no fewer incidents than this: one failure among three is no share.
const ENOUGH: u64 = 20;
/// How many incidents of the last wave are begun and not at rest at a time, for each of the organization's slots, and no more than a tenth of all: what
/// bounds memory, and how far a sweep runs on after its failures became too many.
const A_SLOT: u64 = 2;
const PAUSE: Duration = Duration::from_millis(100);
/// No account has more than this share of them while another has something to begin, as with slots.
const AN_ACCOUNT: u64 = 8;
/// How many findings are read ahead at most, to find some of other accounts.
const READ_AHEAD: usize = 2_000;

/// Begins incidents until the backlog or the limit is reached. Gives back why it stopped early, if it did.
pub(super) async fn feed(hub: &Arc<Hub>, sweep: &Sweep) -> Result<Option<String>, Failure> {
    // Failures of an earlier start of the same sweep were looked at then.
    let id = sweep.id();
    let before = counts(hub, &id).await?;
    let mut feeding = Feeding { hub, max: u64::from(sweep.max), id, before, begun: 0, backlog: Backlog::new(hub, sweep) };
    for wave in [1, 1 + feeding.max.div_ceil(10)] {
        if let Some(stopped) = feeding.wave(wave.min(feeding.max)).await? {
            return Ok(Some(stopped));
        }
    }
    feeding.rest().await
}

struct Feeding<'a> {
    hub: &'a Arc<Hub>,
    max: u64,
    id: String,
    before: Counts,
    begun: u64,
    backlog: Backlog<'a>,
}

impl Feeding<'_> {
    async fn begin(&mut self, found: Found) -> Result<(), Failure> {
        let taken = take(self.hub, &found.origin, &found.finding, Some(self.id.clone()))
            .await
            .map_err(|error| Failure::other(error.to_string()))?;
        let opened = taken.accepted.iter().filter(|accepted| matches!(accepted, Accepted::Opened(_))).count();
        self.begun += u64::try_from(opened).unwrap_or(u64::MAX);
        Ok(())
    }

    /// Begins until so many are begun in all, and waits until they have come to rest.
    async fn wave(&mut self, until: u64) -> Result<Option<String>, Failure> {
        while self.begun < until {
            let Some(found) = self.backlog.next().await? else { break };
            self.begin(found).await?;
        }
        self.settled(1).await
    }

    /// Begins all that is left, account by account in turn.
    async fn rest(&mut self) -> Result<Option<String>, Failure> {
        let slots = A_SLOT * u64::from(self.hub.config.limits.organization_slots);
        let at_a_time = self.max.div_ceil(10).min(slots).max(4);
        let share = (at_a_time / AN_ACCOUNT).max(2);
        let mut turns = Turns::default();
        loop {
            if self.begun >= self.max {
                let why = format!("--max {} is reached: there may be more", self.max);
                return Ok(Some(self.settled(ENOUGH).await?.unwrap_or(why)));
            }
            let now = counts(self.hub, &self.id).await?;
            if let Some(stopped) = self.stop_loss(&now, ENOUGH) {
                return Ok(Some(stopped));
            }
            if self.hub.stop.is_cancelled() {
                return Ok(None);
            }
            let more = !self.backlog.is_read() && turns.len() < READ_AHEAD;
            if let Some(found) = turns.next(&now.in_account, share, at_a_time, more) {
                self.begin(found).await?;
            } else if more {
                turns.extend(self.backlog.page().await?);
            } else if turns.len() == 0 {
                return self.settled(ENOUGH).await;
            } else {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Waits until nothing of the sweep is under way, and looks at the stop-loss all the while.
    async fn settled(&self, enough: u64) -> Result<Option<String>, Failure> {
        loop {
            let now = counts(self.hub, &self.id).await?;
            if let Some(stopped) = self.stop_loss(&now, enough) {
                return Ok(Some(stopped));
            }
            if now.running == 0 || self.hub.stop.is_cancelled() {
                return Ok(None);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn stop_loss(&self, now: &Counts, enough: u64) -> Option<String> {
        let (failed, ended) = (now.failed.saturating_sub(self.before.failed), now.ended.saturating_sub(self.before.ended));
        let looked = failed + ended;
        #[expect(clippy::cast_precision_loss, reason = "counts of incidents are far below 2^52")]
        let share = if looked == 0 { 0.0 } else { failed as f64 / looked as f64 };
        (looked >= enough && share > STOP_LOSS)
            .then(|| format!("stopped: {failed} of {looked} incidents failed, more than 5 %; look at them, then start the sweep again"))
    }
}

/// Holds that came of something that went wrong, not of a decision.
pub(super) const FAILURES: [&str; 11] = [
    "access-denied",
    "aws-error",
    "throttled",
    "no-answer",
    "not-in-effect",
    "drifted",
    "defect",
    "timeout",
    "evidence",
    "expression",
    "parameters",
];

/// How the incidents of a sweep stand.
#[derive(Debug, Clone, Default)]
struct Counts {
    running: u64,
    failed: u64,
    ended: u64,
    /// Of those that run: how many in each account.
    in_account: BTreeMap<String, u64>,
}

async fn counts(hub: &Hub, sweep: &str) -> Result<Counts, Failure> {
    let mut counts = Counts::default();
    for count in hub.store.count_by_state(Some(sweep)).await? {
        match count.state {
            RunState::Running => {
                counts.running += count.n;
                *counts.in_account.entry(count.account).or_default() += count.n;
            }
            RunState::Failed | RunState::Stuck => counts.failed += count.n,
            RunState::Held if FAILURES.contains(&count.code.as_str()) => counts.failed += count.n,
            _ => counts.ended += count.n,
        }
    }
    Ok(counts)
}
