//! Whose turn it is: round-robin by account, then by cell, first come first served within a cell.

use std::collections::VecDeque;

use cordon_shared::id::{AccountId, CellId, Region};

/// A place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(u64);

struct Cell<T> {
    region: Region,
    waiting: VecDeque<(Place, T)>,
}

struct Account<T> {
    id: AccountId,
    cells: VecDeque<Cell<T>>,
}

/// Those who wait.
pub(super) struct Turns<T> {
    accounts: VecDeque<Account<T>>,
    next: u64,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { accounts: VecDeque::new(), next: 0 }
    }
}

impl<T> Turns<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    /// How many accounts wait.
    pub(super) fn accounts(&self) -> usize {
        self.accounts.len()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.accounts.iter().flat_map(|account| &account.cells).map(|cell| cell.waiting.len()).sum()
    }

    /// Queues up. An account that was not waiting comes after all accounts that are.
    pub(super) fn push(&mut self, cell: &CellId, item: T) -> Place {
        let place = Place(self.next);
        self.next = self.next.wrapping_add(1);
        let entry = (place, item);
        match self.accounts.iter_mut().find(|account| account.id == cell.account) {
            Some(account) => match account.cells.iter_mut().find(|known| known.region == cell.region) {
                Some(known) => known.waiting.push_back(entry),
                None => account.cells.push_back(Cell { region: cell.region.clone(), waiting: VecDeque::from([entry]) }),
            },
            None => {
                let cells = VecDeque::from([Cell { region: cell.region.clone(), waiting: VecDeque::from([entry]) }]);
                self.accounts.push_back(Account { id: cell.account.clone(), cells });
            }
        }
        place
    }

    /// Gives a place up.
    pub(super) fn remove(&mut self, cell: &CellId, place: Place) {
        for account in self.accounts.iter_mut().filter(|account| account.id == cell.account) {
            for known in account.cells.iter_mut().filter(|known| known.region == cell.region) {
                known.waiting.retain(|(at, _)| *at != place);
            }
            account.cells.retain(|known| !known.waiting.is_empty());
        }
        self.accounts.retain(|account| !account.cells.is_empty());
    }

    /// The next in turn, of those that `may`. Account and cell that were served go behind the others; those passed over keep their turn.
    pub(super) fn take(&mut self, may: impl Fn(&AccountId, &Region) -> bool) -> Option<(CellId, T)> {
        for at in 0..self.accounts.len() {
            let Some(account) = self.accounts.get_mut(at) else { break };
            let Some(which) = account.cells.iter().position(|cell| may(&account.id, &cell.region)) else { continue };
            let Some(mut cell) = account.cells.remove(which) else { continue };
            let Some((_, item)) = cell.waiting.pop_front() else { continue };
            let id = CellId::new(account.id.clone(), cell.region.clone());
            if !cell.waiting.is_empty() {
                account.cells.push_back(cell);
            }
            if let Some(account) = self.accounts.remove(at)
                && !account.cells.is_empty()
            {
                self.accounts.push_back(account);
            }
            return Some((id, item));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(account: u32, region: &str) -> CellId {
        CellId::new(format!("{account:012}").parse().unwrap(), region.parse().unwrap())
    }

    #[test]
    fn turns_go_round_by_account_then_by_cell() {
        let mut turns = Turns::default();
        for n in 0..3 {
            turns.push(&cell(1, "us-east-1"), format!("a-east-{n}"));
        }
        turns.push(&cell(1, "eu-west-1"), "a-west".to_owned());
        turns.push(&cell(2, "us-east-1"), "b".to_owned());
        let order: Vec<String> = std::iter::from_fn(|| turns.take(|_, _| true)).map(|(_, item)| item).collect();
        assert_eq!(order, ["a-east-0", "b", "a-west", "a-east-1", "a-east-2"]);
        assert!(turns.is_empty());
    }

    #[test]
    fn who_is_passed_over_keeps_the_turn() {
        let mut turns = Turns::default();
        for account in 1..=3 {
            turns.push(&cell(account, "us-east-1"), account);
            turns.push(&cell(account, "us-east-1"), account);
        }
        let first = cell(1, "us-east-1").account;
        assert_eq!(turns.take(|account, _| *account != first).map(|(_, n)| n), Some(2));
        assert_eq!(turns.take(|_, _| true).map(|(_, n)| n), Some(1));
    }

    #[test]
    fn a_place_that_is_given_up_is_gone() {
        let mut turns = Turns::default();
        let place = turns.push(&cell(1, "us-east-1"), 1);
        turns.push(&cell(2, "us-east-1"), 2);
        turns.remove(&cell(1, "us-east-1"), place);
        assert_eq!(turns.accounts(), 1);
        assert_eq!(turns.take(|_, _| true).map(|(_, n)| n), Some(2));
    }
}
