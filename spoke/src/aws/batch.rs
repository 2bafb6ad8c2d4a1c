//! Many askers, one call. The first to come leads: it waits a moment for others that want the same, and while an earlier call is
//! on its way or waits for its token, then makes one call for all of them and hands out the answers.
//!
//! There is no task and no queue of its own, so nothing outlives its askers: an asker that goes away is not asked for, and
//! if the leader goes away the others begin anew. The leader's call goes through the leader's own client, and so through
//! its own session and warrant.

use std::{
    collections::HashMap,
    future::Future,
    hash::Hash,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, oneshot},
    time::timeout,
};

/// How often an asker begins anew when its leader went away or could not call.
const ROUNDS: usize = 4;

/// Gathers items under a key for a short time.
pub(crate) struct Batcher<K, I, A> {
    most: usize,
    window: Duration,
    open: Mutex<HashMap<K, Open<I, A>>>,
    next: AtomicU64,
    /// Held by the one call that is under way: whoever comes meanwhile goes into the next.
    turn: tokio::sync::Mutex<()>,
}

impl<K, I, A> std::fmt::Debug for Batcher<K, I, A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batcher").field("most", &self.most).field("window", &self.window).finish_non_exhaustive()
    }
}

type Members<I, A> = Arc<Mutex<Vec<Member<I, A>>>>;

struct Open<I, A> {
    number: u64,
    members: Members<I, A>,
    full: Arc<Notify>,
}

struct Member<I, A> {
    item: I,
    answer: oneshot::Sender<Option<A>>,
}

enum Seat<I, A> {
    Lead { number: u64, members: Members<I, A>, full: Arc<Notify>, answer: oneshot::Receiver<Option<A>> },
    Follow(oneshot::Receiver<Option<A>>),
}

/// The state under a lock is whole between statements, so a panic elsewhere while it was held spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a batch off the list, also when its leader is dropped before its time.
struct Leading<'a, K: Eq + Hash, I, A> {
    batcher: &'a Batcher<K, I, A>,
    key: &'a K,
    number: u64,
    members: Members<I, A>,
}

impl<K: Eq + Hash, I, A> Leading<'_, K, I, A> {
    fn close(&self) -> Vec<Member<I, A>> {
        let mut open = lock(&self.batcher.open);
        if open.get(self.key).is_some_and(|batch| batch.number == self.number) {
            open.remove(self.key);
        }
        std::mem::take(&mut *lock(&self.members))
    }
}

impl<K: Eq + Hash, I, A> Drop for Leading<'_, K, I, A> {
    fn drop(&mut self) {
        drop(self.close());
    }
}

impl<K: Eq + Hash + Clone, I: Clone, A> Batcher<K, I, A> {
    /// Gathers at most `most` items for at most `window`.
    pub(crate) fn new(most: usize, window: Duration) -> Self {
        Self { most: most.max(1), window, open: Mutex::default(), next: AtomicU64::new(0), turn: tokio::sync::Mutex::default() }
    }

    fn join(&self, key: &K, item: I) -> Seat<I, A> {
        let (sender, answer) = oneshot::channel();
        let member = Member { item, answer: sender };
        let mut open = lock(&self.open);
        let (seat, full, count) = match open.get(key) {
            Some(batch) => {
                let mut members = lock(&batch.members);
                members.push(member);
                (Seat::Follow(answer), Arc::clone(&batch.full), members.len())
            }
            None => {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                let members = Arc::new(Mutex::new(vec![member]));
                let full = Arc::new(Notify::new());
                open.insert(key.clone(), Open { number, members: Arc::clone(&members), full: Arc::clone(&full) });
                (Seat::Lead { number, members, full: Arc::clone(&full), answer }, full, 1)
            }
        };
        if count >= self.most {
            // Its leader has the members; whoever comes next begins another.
            open.remove(key);
            full.notify_one();
        }
        seat
    }

    /// Asks for `item`. `call` makes one call for several items, in the order given; `None` for an item: somebody else has to
    /// call for it. `None` in the end: nobody did.
    pub(crate) async fn ask<F>(&self, key: &K, item: I, call: impl Fn(Vec<I>) -> F) -> Option<A>
    where
        F: Future<Output = Vec<Option<A>>>,
    {
        for _ in 0..ROUNDS {
            let answer = match self.join(key, item.clone()) {
                Seat::Follow(answer) => answer.await.ok().flatten(),
                Seat::Lead { number, members, full, mut answer } => {
                    let leading = Leading { batcher: self, key, number, members };
                    // Full or not, it is time.
                    drop(timeout(self.window, full.notified()).await);
                    let turn = self.turn.lock().await;
                    let mut members = leading.close();
                    members.retain(|member| !member.answer.is_closed());
                    let answers = call(members.iter().map(|member| member.item.clone()).collect()).await;
                    drop(turn);
                    for (member, answer) in members.into_iter().zip(answers) {
                        // One that went away meanwhile needs no answer.
                        drop(member.answer.send(answer));
                    }
                    answer.try_recv().ok().flatten()
                }
            };
            if answer.is_some() {
                return answer;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::join_all;

    fn batcher(most: usize) -> Batcher<&'static str, u32, u32> {
        Batcher::new(most, Duration::from_millis(50))
    }

    #[tokio::test]
    async fn askers_of_one_moment_share_a_call() {
        let (batcher, calls) = (batcher(10), AtomicU64::new(0));
        let ask = |item: u32| {
            batcher.ask(&"k", item, |items| {
                calls.fetch_add(1, Ordering::SeqCst);
                async move { items.iter().map(|item| Some(item * 2)).collect() }
            })
        };
        assert_eq!(join_all((0..25).map(ask)).await, (0..25).map(|item| Some(item * 2)).collect::<Vec<_>>());
        assert_eq!(calls.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn a_leader_that_goes_away_takes_nobody_with_it() {
        let batcher = Arc::new(batcher(10));
        let call = |items: Vec<u32>| async move { items.into_iter().map(Some).collect() };
        let leader = tokio::spawn({
            let batcher = Arc::clone(&batcher);
            async move { batcher.ask(&"k", 1, call).await }
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
        let follower = tokio::spawn({
            let batcher = Arc::clone(&batcher);
            async move { batcher.ask(&"k", 2, call).await }
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
        leader.abort();
        assert_eq!(follower.await.unwrap(), Some(2));
    }

    #[tokio::test]
    async fn a_follower_that_goes_away_is_not_asked_for() {
        let batcher = Arc::new(batcher(10));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let call = {
            let seen = Arc::clone(&seen);
            move |items: Vec<u32>| {
                lock(&seen).extend(items.clone());
                async move { items.into_iter().map(Some).collect::<Vec<_>>() }
            }
        };
        let leader = tokio::spawn({
            let (batcher, call) = (Arc::clone(&batcher), call.clone());
            async move { batcher.ask(&"k", 1, call).await }
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
        let follower = tokio::spawn({
            let batcher = Arc::clone(&batcher);
            async move { batcher.ask(&"k", 2, call).await }
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
        follower.abort();
        assert_eq!(leader.await.unwrap(), Some(1));
        assert_eq!(*lock(&seen), [1]);
    }
}
