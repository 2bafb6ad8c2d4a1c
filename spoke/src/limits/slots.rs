//! Who may work at the same time: slots of the organization, of an account, of a cell.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use cordon_shared::id::{AccountId, CellId, Region};
use tokio::sync::oneshot;

use super::turns::{Place, Turns};

/// What part of the organization's slots one account may hold while another account waits.
const SHARE: usize = 8;

#[derive(Default)]
struct Held {
    total: usize,
    cells: HashMap<Region, usize>,
}

#[derive(Default)]
struct State {
    total: usize,
    accounts: HashMap<AccountId, Held>,
    turns: Turns<oneshot::Sender<SlotGuard>>,
}

struct Inner {
    organization: usize,
    account: usize,
    cell: usize,
    state: Mutex<State>,
}

/// The slots. Cheap to clone; clones share them.
///
/// They go round-robin by account, then by cell. While accounts wait, none of them gets more than an eighth of the organization's slots
/// (at least one): what is then left over is there for an account that has not asked yet.
#[derive(Clone)]
pub struct Slots(Arc<Inner>);

/// A slot, given back when dropped.
pub struct SlotGuard {
    slots: Option<Arc<Inner>>,
    cell: CellId,
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.state();
        f.debug_struct("Slots")
            .field("held", &state.total)
            .field("of", &self.0.organization)
            .field("accounts_waiting", &state.turns.accounts())
            .finish()
    }
}

impl fmt::Debug for SlotGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SlotGuard({})", self.cell)
    }
}

impl Slots {
    /// So many in all, in one account, and in one cell; each at least one.
    #[must_use]
    pub fn new(organization: usize, per_account: usize, per_cell: usize) -> Self {
        Self(Arc::new(Inner {
            organization: organization.max(1),
            account: per_account.max(1),
            cell: per_cell.max(1),
            state: Mutex::default(),
        }))
    }

    /// Waits for a slot of this cell. A caller that stops waiting gives its place up.
    pub async fn acquire(&self, cell: &CellId) -> SlotGuard {
        loop {
            let (sender, answer) = oneshot::channel();
            let place = {
                let mut state = self.0.state();
                let place = state.turns.push(cell, sender);
                self.0.serve(&mut state);
                place
            };
            let mut waiting = Waiting { slots: &self.0, cell, place, served: false };
            if let Ok(guard) = answer.await {
                waiting.served = true;
                return guard;
            }
        }
    }

    /// How many slots are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.0.state().total
    }
}

struct Waiting<'a> {
    slots: &'a Arc<Inner>,
    cell: &'a CellId,
    place: Place,
    served: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.served {
            let mut state = self.slots.state();
            state.turns.remove(self.cell, self.place);
            // With one account less waiting, another may go on.
            self.slots.serve(&mut state);
        }
    }
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        if let Some(slots) = self.slots.take() {
            let mut state = slots.state();
            state.release(&self.cell);
            slots.serve(&mut state);
        }
    }
}

impl State {
    fn release(&mut self, cell: &CellId) {
        self.total = self.total.saturating_sub(1);
        if let Some(held) = self.accounts.get_mut(&cell.account) {
            held.total = held.total.saturating_sub(1);
            if let Some(count) = held.cells.get_mut(&cell.region) {
                *count = count.saturating_sub(1);
            }
            held.cells.retain(|_, count| *count > 0);
            if held.total == 0 {
                self.accounts.remove(&cell.account);
            }
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(self: &Arc<Self>, state: &mut State) {
        let share = (self.organization / SHARE).max(1);
        while state.total < self.organization {
            let State { accounts, turns, .. } = state;
            let alone = turns.accounts() == 1;
            let next = turns.take(|account, region| {
                let Some(held) = accounts.get(account) else { return true };
                held.total < self.account
                    && (alone || held.total < share)
                    && held.cells.get(region).copied().unwrap_or_default() < self.cell
            });
            let Some((cell, sender)) = next else { break };
            state.total += 1;
            let held = state.accounts.entry(cell.account.clone()).or_default();
            held.total += 1;
            *held.cells.entry(cell.region.clone()).or_default() += 1;
            if let Err(mut guard) = sender.send(SlotGuard { slots: Some(Arc::clone(self)), cell: cell.clone() }) {
                // Disarmed by hand: its drop would want the lock that is held here.
                guard.slots = None;
                state.release(&cell);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use futures::future::join_all;

    use super::*;

    const SOON: Duration = Duration::from_millis(50);

    fn cell(account: u64, region: &str) -> CellId {
        CellId::new(format!("{account:012}").parse().unwrap(), region.parse().unwrap())
    }

    fn want(slots: &Slots, cell: &CellId) -> tokio::task::JoinHandle<SlotGuard> {
        let (slots, cell) = (slots.clone(), cell.clone());
        tokio::spawn(async move { slots.acquire(&cell).await })
    }

    async fn settle() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn slots_are_capped_for_the_organization_an_account_and_a_cell() {
        let slots = Slots::new(16, 4, 2);
        let at_work = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
        let tasks = (0..400_u64).map(|n| {
            let (slots, at_work) = (slots.clone(), Arc::clone(&at_work));
            let here = cell(n % 40, if n % 3 == 0 { "us-east-1" } else { "eu-west-1" });
            tokio::spawn(async move {
                let _slot = slots.acquire(&here).await;
                let now = at_work.0.fetch_add(1, Ordering::SeqCst) + 1;
                at_work.1.fetch_max(now, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(n % 7)).await;
                at_work.0.fetch_sub(1, Ordering::SeqCst);
            })
        });
        assert!(join_all(tasks.collect::<Vec<_>>()).await.into_iter().all(|task| task.is_ok()));
        assert_eq!(at_work.1.load(Ordering::SeqCst), 16);
        assert_eq!(slots.held(), 0);

        let (one, other) = (cell(1, "us-east-1"), cell(1, "eu-west-1"));
        let _held = (slots.acquire(&one).await, slots.acquire(&one).await);
        assert!(tokio::time::timeout(SOON, slots.acquire(&one)).await.is_err(), "two in a cell");
        let _more = (slots.acquire(&other).await, slots.acquire(&other).await);
        assert!(tokio::time::timeout(SOON, slots.acquire(&cell(1, "eu-north-1"))).await.is_err(), "four in an account");
    }

    #[tokio::test]
    async fn no_account_gets_more_than_an_eighth_while_another_waits() {
        let slots = Slots::new(16, 16, 16);
        let nine = cell(9, "us-east-1");
        let all = join_all((0..16).map(|_| slots.acquire(&nine)).collect::<Vec<_>>()).await;
        let busy: Vec<_> = (0..20).map(|_| want(&slots, &cell(1, "us-east-1"))).collect();
        let also: Vec<_> = (0..20).map(|_| want(&slots, &cell(2, "us-east-1"))).collect();
        settle().await;
        drop(all);
        settle().await;
        let got = |tasks: &[tokio::task::JoinHandle<SlotGuard>]| tasks.iter().filter(|task| task.is_finished()).count();
        assert_eq!((got(&busy), got(&also)), (2, 2));
        // One that has not asked yet is served at once.
        assert!(tokio::time::timeout(SOON, slots.acquire(&cell(3, "us-east-1"))).await.is_ok());
        // The other account stops waiting: the rest is free for the first.
        let mut kept = Vec::new();
        for task in also {
            if task.is_finished() { kept.push(task.await.unwrap()) } else { task.abort() }
        }
        settle().await;
        assert_eq!(got(&busy), 14);
        assert_eq!(slots.held(), 16);
        for task in busy {
            task.abort();
        }
    }

    #[tokio::test]
    async fn an_account_alone_may_have_all_and_gives_way_when_another_comes() {
        let slots = Slots::new(8, 8, 8);
        let (busy, quiet) = (cell(1, "us-east-1"), cell(2, "us-east-1"));
        let mut all = join_all((0..8).map(|_| slots.acquire(&busy)).collect::<Vec<_>>()).await;
        let more = want(&slots, &busy);
        settle().await;
        let quiet = want(&slots, &quiet);
        settle().await;
        all.pop();
        let got = quiet.await.unwrap();
        assert!(!more.is_finished(), "the busy account was first in the queue and still had to give way");
        drop(got);
        drop(more.await.unwrap());
        drop(all);
        assert_eq!(slots.held(), 0);
    }

    #[tokio::test]
    async fn slots_of_cancelled_waiters_are_not_lost() {
        let slots = Slots::new(2, 2, 2);
        let here = cell(1, "us-east-1");
        for round in 0..100_u64 {
            let held = (slots.acquire(&here).await, slots.acquire(&here).await);
            let waiters: Vec<_> = (0..3).map(|_| want(&slots, &here)).collect();
            settle().await;
            drop(held);
            for _ in 0..round % 3 {
                tokio::task::yield_now().await;
            }
            for waiter in &waiters {
                waiter.abort();
            }
            for waiter in waiters {
                drop(waiter.await);
            }
            assert_eq!(slots.held(), 0, "round {round}");
        }
    }
}
