//! What limits the toy organization of [`super::history`]: caps, budgets, freezes, the lease; and what the world itself knows of each call.

use std::collections::{BTreeMap, BTreeSet};

use futures::executor::block_on;
use jiff::{SignedDuration, Timestamp};

use super::{
    Entry, Person, View,
    history::{Fate, Lab},
};
use crate::{
    freeze::{self, Freeze, Level, Scope},
    gate::{
        self,
        budget::{self, Budget},
    },
    id::IncidentId,
    plan::Counts,
};

/// What is frozen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Where {
    Everything,
    /// The account of the first instances.
    Account,
    /// The OU above the account of the others.
    Unit,
    Playbook,
}

impl Where {
    pub(super) const ALL: [Self; 4] = [Self::Everything, Self::Account, Self::Unit, Self::Playbook];

    fn scope(self) -> Scope {
        match self {
            Self::Everything => Scope::Organization,
            Self::Account => Scope::Account(ACCOUNTS[0].parse().unwrap()),
            Self::Unit => Scope::Ou(UNITS[1].to_owned()),
            Self::Playbook => Scope::Playbook("toy".to_owned()),
        }
    }
}

/// The accounts, each in an OU of its own: the first two instances are in the first, the others in the second.
pub(super) const ACCOUNTS: [&str; 2] = ["111122223333", "444455556666"];
const UNITS: [&str; 2] = ["ou-test-11111111", "ou-test-22222222"];

/// Which of the accounts a run works in, and with which OU above it.
fn home(view: &View) -> usize {
    usize::from(view.subject.cell.account.as_str() == ACCOUNTS[1])
}

/// The OUs above a run's account.
pub(super) fn ous(view: &View) -> Vec<String> {
    vec![UNITS[home(view)].to_owned()]
}

impl Lab {
    pub(super) fn budgets(&self) -> [Budget; 2] {
        [(budget::Scope::Organization, self.budget), (budget::Scope::EachAccount, self.of_each)].map(|(scope, most)| Budget {
            scope,
            window: SignedDuration::from_hours(1),
            counts: Counts::Resources,
            most,
        })
    }

    /// What is spent of each budget, of each account's in the account of a run.
    fn spent(&self, view: &View) -> [u32; 2] {
        let since = self.now - SignedDuration::from_hours(1);
        let charges = block_on(self.journal.with(move |tx| tx.charges(since, Counts::Resources))).unwrap();
        let account = view.subject.cell.account.as_str();
        self.budgets().map(|budget| {
            let standings = budget::standings(&budget, &charges, self.now);
            let ours = standings.iter().find(|standing| standing.whose.as_deref().is_none_or(|whose| whose == account));
            ours.map_or(0, |standing| standing.spent)
        })
    }

    /// What counts before a decision: what is spent of each budget, and how many resources were changed in the last hour in all and in each
    /// account.
    pub(super) fn counted(&self, view: &View) -> ([u32; 2], [u32; 3]) {
        (self.spent(view), [None, Some(ACCOUNTS[0]), Some(ACCOUNTS[1])].map(|account| self.changed(account)))
    }

    /// How many resources were changed in the last hour, in an account or in all.
    fn changed(&self, account: Option<&str>) -> u32 {
        let (since, account) = (self.now - SignedDuration::from_hours(1), account.map(str::to_owned));
        u32::try_from(block_on(self.journal.with(move |tx| Ok(tx.spent(since, account.as_deref())?.len()))).unwrap()).unwrap()
    }

    /// What was given a warrant adds nothing beyond the caps, and where no person said yes, nothing beyond a budget. A clock that goes back can
    /// bring back into the last hour what was over: then there is more than the cap, and nothing is added to it.
    pub(super) fn assert_within(&self, view: &View, before: ([u32; 2], [u32; 3]), said_yes: bool) {
        let (spent, changed) = self.counted(view);
        let caps = [self.caps.per_organization_hour, self.caps.per_account_hour, self.caps.per_account_hour];
        for ((changed, before), cap) in changed.into_iter().zip(before.1).zip(caps) {
            assert!(changed <= cap || changed == before, "{changed} resources changed in an hour, {before} before, the cap is {cap}");
        }
        for ((budget, spent), before) in self.budgets().iter().zip(spent).zip(before.0) {
            let free = spent <= budget.most || (spent == before && budget.most > 0);
            assert!(said_yes || free, "{spent} of {} in {} spent without a question, {before} before", budget.most, budget.scope);
        }
    }

    /// What happens before the last call of a change or an undo.
    pub(super) fn meanwhile(&mut self, fate: Fate) {
        match fate {
            Fate::Frozen => self.freeze(Level::Full, Where::Everything),
            Fate::LeaseLost => self.lease.lose(),
            Fate::WarrantEnds => self.now += SignedDuration::from_mins(16),
            _ => {}
        }
    }

    /// Why a call may not leave, asked as the connector asks before each.
    pub(super) fn halted(&self, watch: &gate::Watch) -> Option<String> {
        watch.stopped(self.now).map(str::to_owned).or_else(|| block_on(watch.frozen()))
    }

    /// A call leaves. By what the world itself knows, whatever warrant and watch say: is it one that may?
    pub(super) fn called(&mut self, view: &View, given: Timestamp, by_person: bool) {
        let frozen = self.store.tables().freezes.iter().fold(BTreeMap::new(), |mut levels: BTreeMap<String, Level>, line| {
            let here = match &line.scope {
                Scope::Organization | Scope::Playbook(_) => true,
                Scope::Account(account) => account.as_str() == ACCOUNTS[home(view)],
                Scope::Ou(unit) => unit == UNITS[home(view)],
            };
            if here {
                levels.insert(line.scope.to_string(), line.level);
            }
            levels
        });
        let frozen = frozen.into_values().any(|level| level == Level::Full || (level == Level::Limited && !by_person));
        let alive =
            self.lease.held() && self.lease.epoch() == self.store.tables().epoch && self.now < given + SignedDuration::from_mins(15);
        self.unwarranted += u32::from(frozen || !alive);
    }

    /// The connector let nothing more out. Whoever has lost the lease can write no more either: another process goes on.
    pub(super) fn broken_off(&mut self, run: IncidentId, entry: Entry) {
        if self.lease.held() { self.append(run, vec![entry]).unwrap() } else { self.crash() }
    }

    /// Freezes; any process may.
    pub(super) fn freeze(&self, level: Level, what: Where) {
        let line = self.line(level, what);
        block_on(self.journal.with(move |tx| freeze::freeze(tx, &line))).unwrap();
    }

    fn line(&self, level: Level, what: Where) -> Freeze {
        let by = Person("ann".into());
        Freeze { number: 0, at: self.now, by, why: "toy".into(), scope: what.scope(), level, hard: false, alarm: None }
    }

    /// Thaws everything, and has what waited looked at again as the driver does.
    pub(super) fn thaw(&self) {
        let lines = Where::ALL.map(|what| self.line(Level::Off, what));
        let thawed = lines.into_iter().filter(|line| {
            block_on(self.journal.with({
                let line = line.clone();
                move |tx| freeze::thaw(tx, &line)
            }))
            .is_ok()
        });
        if thawed.count() == 0 {
            return;
        }
        let lines = self.store.tables().freezes;
        for run in &self.runs {
            let view = self.view(*run);
            if let Some(entry) = gate::looked_at_again(&view, Some(ous(&view)), &lines) {
                self.append(*run, vec![entry]).unwrap();
            }
        }
    }
}

/// The first entry by which something was begun that a person had said no to, with nobody's yes since.
pub(super) fn against_a_no(lab: &Lab, run: IncidentId) -> Option<u64> {
    let mut said_no = BTreeSet::new();
    lab.store.entries_of(run).iter().find_map(|sealed| {
        let step = &sealed.entry.step()?.id;
        match &sealed.entry {
            Entry::Refused { .. } => drop(said_no.insert(step.clone())),
            Entry::Approved { .. } => drop(said_no.remove(step)),
            Entry::ApplyStarted { .. } if said_no.contains(step) => return Some(sealed.seq),
            _ => {}
        }
        None
    })
}
