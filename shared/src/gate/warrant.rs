//! Warrants and the lease they hang on.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, Ordering},
};

use jiff::{SignedDuration, Timestamp};

use super::Brake;
use crate::{id::IncidentId, plan::StepKey};

/// How long a warrant lives: no longer than the write session that goes with it.
const LIFE: SignedDuration = SignedDuration::from_mins(15);

/// The right to drive incidents, as the store gave it to this process.
#[derive(Debug)]
pub struct Lease {
    epoch: u64,
    held: AtomicBool,
    /// Until when, in milliseconds since the Unix epoch: a process that slept through it must not act before it has renewed.
    until: AtomicI64,
}

impl Lease {
    /// The lease of this epoch, held.
    #[must_use]
    pub fn new(epoch: u64) -> Arc<Self> {
        Arc::new(Self { epoch, held: AtomicBool::new(true), until: AtomicI64::new(i64::MAX) })
    }
    /// Its epoch.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
    /// Whether this process still holds it.
    #[must_use]
    pub fn held(&self) -> bool {
        self.held.load(Ordering::SeqCst)
    }
    /// It is renewed: held until `until`.
    pub fn extend(&self, until: Timestamp) {
        self.until.store(until.as_millisecond(), Ordering::SeqCst);
    }
    /// Whether it is held, and its time is not over.
    #[must_use]
    pub fn holds_at(&self, now: Timestamp) -> bool {
        self.held() && now.as_millisecond() < self.until.load(Ordering::SeqCst)
    }
    /// It is lost: no call of any warrant leaves this process any more.
    pub fn lose(&self) {
        self.held.store(false, Ordering::SeqCst);
    }
}

/// What a warrant is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Applying a plan.
    Apply,
    /// Undoing it.
    Undo,
    /// Seeing what an undo would do: nothing is changed with it.
    Preview,
}

/// A yes: single use, one step, not clonable.
#[derive(Debug)]
pub struct Warrant {
    run: IncidentId,
    step: StepKey,
    attempt: u32,
    purpose: Purpose,
    digest: String,
    watch: Watch,
}

/// What the connector looks at before each attempt: whether the warrant behind a write session still lives.
#[derive(Debug, Clone)]
pub struct Watch {
    alive: Arc<AtomicBool>,
    lease: Arc<Lease>,
    expires: Timestamp,
    brake: Arc<Brake>,
    only_looks: bool,
}

impl Watch {
    pub(super) fn new(lease: &Arc<Lease>, brake: Brake, now: Timestamp) -> Self {
        let expires = now.checked_add(LIFE).unwrap_or(Timestamp::MAX);
        Self { alive: Arc::new(AtomicBool::new(true)), lease: Arc::clone(lease), expires, brake: Arc::new(brake), only_looks: false }
    }
    /// Whether no changing call may leave at all: it is only seen where one would.
    #[must_use]
    pub fn only_looks(&self) -> bool {
        self.only_looks
    }
    /// Why no changing call may leave, where somebody has frozen this work since the yes, in whichever process.
    pub async fn frozen(&self) -> Option<String> {
        self.brake.pulled().await
    }
    /// Why no call may leave any more; `None` while it may.
    #[must_use]
    pub fn stopped(&self, now: Timestamp) -> Option<&'static str> {
        if !self.alive.load(Ordering::SeqCst) {
            Some("the warrant is used up")
        } else if !self.lease.holds_at(now) {
            Some("the lease is over, or went to another process")
        } else if now >= self.expires {
            Some("the warrant has expired")
        } else {
            None
        }
    }
}

impl Warrant {
    pub(super) fn mint(run: IncidentId, step: StepKey, attempt: u32, purpose: Purpose, digest: String, watch: Watch) -> Self {
        Self { run, step, attempt, purpose, digest, watch }
    }
    /// One that lets nothing be changed: it hangs on a lease that nobody holds, and its watch only looks.
    pub(super) fn only_looking(run: IncidentId, step: StepKey, digest: String, brake: Brake, now: Timestamp) -> Self {
        let nobody = Lease::new(0);
        nobody.lose();
        let watch = Watch { only_looks: true, ..Watch::new(&nobody, brake, now) };
        Self { run, step, attempt: 0, purpose: Purpose::Preview, digest, watch }
    }
    /// The run.
    #[must_use]
    pub fn run(&self) -> IncidentId {
        self.run
    }
    /// The step.
    #[must_use]
    pub fn step(&self) -> &StepKey {
        &self.step
    }
    /// The attempt.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }
    /// What it is for.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }
    /// The digest of the plan it was given for.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }
    /// For the connector of the write session.
    #[must_use]
    pub fn watch(&self) -> Watch {
        self.watch.clone()
    }
}

impl Drop for Warrant {
    fn drop(&mut self) {
        self.watch.alive.store(false, Ordering::SeqCst);
    }
}
