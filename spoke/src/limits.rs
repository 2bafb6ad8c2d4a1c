//! How much is asked of AWS, and in whose turn.
//!
//! Each (account, Region, class of calls) has one bucket, filled as `governor` reckons (GCRA), and one queue, served round-robin by the
//! account that asks, then by its cell, by one pump that alone draws from the bucket. A caller that waits longer than it is willing to
//! gets nothing and sends nothing. Throttling lowers the rate of that bucket only, and it recovers.
//!
//! [`Slots`] does the same for concurrency: organization, account, cell.

mod bucket;
mod rates;
mod slots;
mod turns;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use cordon_shared::id::{AccountId, CellId, Region};
use tokio::time::Instant;

use bucket::Bucket;
pub use bucket::Token;
pub use rates::{Access, Class, Rate, Rates, Service};
pub use slots::{SlotGuard, Slots};

/// How long a call may wait for a token before it is not sent at all.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// How often buckets that nobody uses are looked for.
const SWEEP: Duration = Duration::from_secs(60);

/// What one call costs: a token of this bucket, asked for by that cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// The account whose quota AWS counts it against.
    pub payer: AccountId,
    /// The Region whose quota it is.
    pub region: Region,
    /// The class of calls that share the quota.
    pub class: Class,
    /// The cell it is made for: turns go round by its account, then by its Region.
    pub asking: CellId,
}

impl fmt::Display for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}/{}", self.class, self.payer, self.region)
    }
}

tokio::task_local! {
    static ON_BEHALF: CellId;
}

/// Does `work` on behalf of a cell: calls that the hub's quotas pay for (STS, Security Hub, Organizations) wait in that cell's turn.
/// It holds for calls of the same task.
pub async fn on_behalf<F: Future>(cell: &CellId, work: F) -> F::Output {
    ON_BEHALF.scope(cell.clone(), work).await
}

/// On whose behalf a call to `cell` is made.
pub(crate) fn asking(cell: &CellId) -> CellId {
    ON_BEHALF.try_with(CellId::clone).unwrap_or_else(|_| cell.clone())
}

type Key = (AccountId, Region, Class);

/// All buckets. Cheap to clone; clones share them.
#[derive(Clone)]
pub struct Limits(Arc<Inner>);

struct Inner {
    rates: Rates,
    buckets: Mutex<Buckets>,
}

struct Buckets {
    by_key: HashMap<Key, Arc<Bucket>>,
    swept: Instant,
}

impl Buckets {
    fn sweep(&mut self, now: Instant) {
        if now.saturating_duration_since(self.swept) >= SWEEP {
            self.swept = now;
            // A bucket that nobody holds, that is full again and not slowed down is as good as a new one.
            self.by_key.retain(|_, bucket| Arc::strong_count(bucket) > 1 || !bucket.idle(now));
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::new(Rates::default())
    }
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limits").field("rates", &self.0.rates).field("buckets", &self.buckets()).finish()
    }
}

impl Limits {
    /// Full buckets with these rates.
    #[must_use]
    pub fn new(rates: Rates) -> Self {
        Self(Arc::new(Inner { rates, buckets: Mutex::new(Buckets { by_key: HashMap::new(), swept: Instant::now() }) }))
    }

    /// Takes a token, waiting for it at most `patience`. `None`: there was none in that time, and nothing may be sent.
    /// A token that is dropped unspent goes back.
    pub async fn take(&self, charge: &Charge, patience: Duration) -> Option<Token> {
        self.bucket(charge).take(&charge.asking, patience).await
    }

    /// AWS throttled a call: the bucket's rate is halved, and recovers slowly. Other buckets keep theirs.
    pub fn throttled(&self, charge: &Charge) {
        self.bucket(charge).throttled(Instant::now());
    }

    /// The part of its full rate that a bucket gives now: below 1 while it recovers from throttling.
    #[must_use]
    pub fn pace(&self, charge: &Charge) -> f64 {
        self.bucket(charge).pace(Instant::now())
    }

    /// How many buckets there are.
    #[must_use]
    pub fn buckets(&self) -> usize {
        self.0.buckets.lock().unwrap_or_else(PoisonError::into_inner).by_key.len()
    }

    #[cfg(test)]
    fn waiting(&self, charge: &Charge) -> usize {
        self.bucket(charge).waiting()
    }

    fn bucket(&self, charge: &Charge) -> Arc<Bucket> {
        let key = (charge.payer.clone(), charge.region.clone(), charge.class);
        let mut buckets = self.0.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.sweep(Instant::now());
        Arc::clone(buckets.by_key.entry(key).or_insert_with(|| Arc::new(Bucket::new(self.0.rates.of(charge.class)))))
    }
}

#[cfg(test)]
mod tests;
