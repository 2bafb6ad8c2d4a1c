//! One bucket, its queue and its pump.

use std::{
    fmt,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use cordon_shared::id::CellId;
use governor::{
    Quota, RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use super::{
    rates::Rate,
    turns::{Place, Turns},
};

/// The lowest that throttling brings a rate to.
const FLOOR: f64 = 1.0 / 64.0;
/// How much of the full rate comes back in a second without throttling: a halved rate is whole again after ten.
const RECOVERY: f64 = 0.05;
/// Answers to calls that were already under way when the rate was halved do not halve it again.
const DEAF: Duration = Duration::from_secs(1);

/// Tokio's clock for `governor`, whose own timer and clock stand still under no test.
#[derive(Clone, Debug)]
struct TokioClock(Instant);

impl Clock for TokioClock {
    type Instant = Duration;
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A full rate brought down by throttling.
#[derive(Debug, Clone, Copy)]
struct Slow {
    factor: f64,
    since: Instant,
}

impl Slow {
    fn factor(self, now: Instant) -> f64 {
        (self.factor + RECOVERY * now.saturating_duration_since(self.since).as_secs_f64()).min(1.0)
    }
}

struct State {
    turns: Turns<oneshot::Sender<Token>>,
    pumping: bool,
    /// Tokens that were drawn and came back unspent.
    spare: u32,
    drawn: Option<Instant>,
    used: Instant,
    slow: Option<Slow>,
}

pub(super) struct Bucket {
    rate: Rate,
    clock: TokioClock,
    limiter: RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Duration>>,
    state: Mutex<State>,
    wake: Notify,
}

/// The right to one call. Dropped unspent, it goes back.
pub struct Token(Option<Arc<Bucket>>);

impl Token {
    /// The call is made.
    pub fn spend(mut self) {
        self.0 = None;
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if let Some(bucket) = self.0.take() {
            let mut state = bucket.state();
            state.spare = state.spare.saturating_add(1);
            drop(state);
            bucket.wake.notify_one();
        }
    }
}

/// A place in the queue, given up when dropped.
struct Waiting<'a> {
    bucket: &'a Bucket,
    cell: &'a CellId,
    place: Place,
    served: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.served {
            self.bucket.state().turns.remove(self.cell, self.place);
        }
    }
}

/// Says that nobody pumps any more, should the pump end before its work does (its runtime is shut down).
struct Pumping {
    bucket: Arc<Bucket>,
    done: bool,
}

impl Drop for Pumping {
    fn drop(&mut self) {
        if !self.done {
            self.bucket.state().pumping = false;
        }
    }
}

impl Bucket {
    pub(super) fn new(rate: Rate) -> Self {
        let now = Instant::now();
        let clock = TokioClock(now);
        let period = Duration::from_secs_f64(1.0 / rate.per_second());
        let burst = NonZeroU32::new(rate.burst()).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(period).unwrap_or_else(|| Quota::per_second(burst)).allow_burst(burst);
        Self {
            rate,
            limiter: RateLimiter::direct_with_clock(quota, clock.clone()),
            clock,
            state: Mutex::new(State { turns: Turns::default(), pumping: false, spare: 0, drawn: None, used: now, slow: None }),
            wake: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is full, not slowed down, and nobody waits.
    pub(super) fn idle(&self, now: Instant) -> bool {
        let state = self.state();
        let full = Duration::from_secs_f64(f64::from(self.rate.burst()) / self.rate.per_second());
        state.turns.is_empty() && state.slow.is_none_or(|slow| slow.factor(now) >= 1.0) && now.saturating_duration_since(state.used) >= full
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.state().turns.len()
    }

    /// The part of the full rate that it gives.
    pub(super) fn pace(&self, now: Instant) -> f64 {
        self.state().slow.map_or(1.0, |slow| slow.factor(now))
    }

    /// Draws a token, or says when to try again.
    fn draw(&self, state: &mut State, now: Instant) -> Result<(), Instant> {
        if state.spare > 0 {
            state.spare -= 1;
            return Ok(());
        }
        if let Some(slow) = state.slow {
            let factor = slow.factor(now);
            if factor >= 1.0 {
                state.slow = None;
            } else if let Some(drawn) = state.drawn {
                // Slowed down, calls are spaced out, and nothing is left of the burst.
                let next = drawn + Duration::from_secs_f64(1.0 / (self.rate.per_second() * factor));
                if next > now {
                    return Err(next);
                }
            }
        }
        match self.limiter.check() {
            Ok(()) => {
                state.drawn = Some(now);
                Ok(())
            }
            Err(later) => Err(now + later.wait_time_from(self.clock.now()).max(Duration::from_millis(1))),
        }
    }

    pub(super) async fn take(self: &Arc<Self>, asking: &CellId, patience: Duration) -> Option<Token> {
        let deadline = Instant::now() + patience;
        let (mut waiting, mut answer) = {
            let mut state = self.state();
            state.used = Instant::now();
            // With nobody waiting, the first in turn is the one who asks.
            if state.turns.is_empty() && self.draw(&mut state, Instant::now()).is_ok() {
                return Some(Token(Some(Arc::clone(self))));
            }
            let (sender, answer) = oneshot::channel();
            let place = state.turns.push(asking, sender);
            if !state.pumping {
                state.pumping = true;
                tokio::spawn(pump(Pumping { bucket: Arc::clone(self), done: false }));
            }
            (Waiting { bucket: self, cell: asking, place, served: false }, answer)
        };
        if let Ok(Ok(token)) = tokio::time::timeout_at(deadline, &mut answer).await {
            waiting.served = true;
            return Some(token);
        }
        // Out of the queue first: after that nothing can come any more, and what came in the last moment counts.
        drop(waiting);
        answer.try_recv().ok()
    }

    /// Serves all that can be served now. `None`: nobody waits.
    fn serve(self: &Arc<Self>) -> Option<Instant> {
        let mut state = self.state();
        loop {
            if state.turns.is_empty() {
                state.pumping = false;
                return None;
            }
            let now = Instant::now();
            if let Err(at) = self.draw(&mut state, now) {
                return Some(at);
            }
            state.used = now;
            let refused = match state.turns.take(|_, _| true) {
                Some((_, sender)) => sender.send(Token(Some(Arc::clone(self)))).err(),
                None => Some(Token(Some(Arc::clone(self)))),
            };
            if let Some(mut token) = refused {
                // Disarmed by hand: its drop would want the lock that is held here.
                token.0 = None;
                state.spare = state.spare.saturating_add(1);
            }
        }
    }

    pub(super) fn throttled(&self, now: Instant) {
        let mut state = self.state();
        if state.slow.is_some_and(|slow| now.saturating_duration_since(slow.since) < DEAF) {
            return;
        }
        let factor = state.slow.map_or(1.0, |slow| slow.factor(now)) / 2.0;
        state.slow = Some(Slow { factor: factor.max(FLOOR), since: now });
        state.used = now;
        drop(state);
        self.wake.notify_one();
    }
}

/// Draws for those who wait, in turn, until nobody does.
async fn pump(mut pumping: Pumping) {
    while let Some(at) = pumping.bucket.serve() {
        tokio::select! {
            () = tokio::time::sleep_until(at) => {}
            () = pumping.bucket.wake.notified() => {}
        }
    }
    // `serve` has said so under the lock; by now another pump may be at work.
    pumping.done = true;
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn bucket(per_second: f64, burst: u32) -> Bucket {
        Bucket::new(Rate::new(per_second, burst))
    }

    fn draw(bucket: &Bucket, now: Instant) -> Result<(), Instant> {
        bucket.draw(&mut bucket.state(), now)
    }

    #[test]
    fn a_throttled_bucket_is_halved_spaced_out_and_recovers_in_ten_seconds() {
        let bucket = bucket(10.0, 10);
        let start = Instant::now();
        assert_eq!(draw(&bucket, start), Ok(()));
        bucket.throttled(start);
        assert!((bucket.pace(start) - 0.5).abs() < 1e-9);
        // A little more than half by then, so a little less than the 200 ms of half of ten a second.
        let next = draw(&bucket, start + SECOND / 10).unwrap_err();
        assert!(next > start + SECOND * 19 / 100 && next <= start + SECOND / 5, "{:?}", next - start);
        assert_eq!(draw(&bucket, next), Ok(()));
        assert!(draw(&bucket, next).is_err(), "nothing of the burst while it is slow");
        let whole = start + SECOND * 10;
        assert!((bucket.pace(whole) - 1.0).abs() < 1e-9);
        for _ in 0..5 {
            assert_eq!(draw(&bucket, whole), Ok(()), "the burst is there again");
        }
    }

    #[test]
    fn answers_of_one_moment_halve_once_and_going_on_never_ends_at_nothing() {
        let bucket = bucket(10.0, 10);
        let mut now = Instant::now();
        for _ in 0..20 {
            bucket.throttled(now);
        }
        assert!((bucket.pace(now) - 0.5).abs() < 1e-9);
        for _ in 0..100 {
            now += SECOND;
            bucket.throttled(now);
        }
        assert!(bucket.pace(now) >= FLOOR);
    }

    #[test]
    fn a_bucket_is_idle_when_it_is_full_again() {
        let bucket = bucket(1.0, 5);
        let start = Instant::now();
        assert!(!bucket.idle(start + SECOND * 4));
        assert!(bucket.idle(start + SECOND * 6));
        bucket.throttled(start + SECOND * 6);
        assert!(!bucket.idle(start + SECOND * 12));
        assert!(bucket.idle(start + SECOND * 17));
    }
}
