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
        f.debug_struct("Slots").field("held", &state.total).field("of", &self.0.organization).field("accounts_waiting", &state.turns.accounts()).finish()
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
        Self(Arc::new(Inner { organization: organization.max(1), account: per_account.max(1), cell: per_cell.max(1), state: Mutex::default() }))
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
