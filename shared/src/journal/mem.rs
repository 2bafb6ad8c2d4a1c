//! A journal in memory: for `cordon plan`, which keeps nothing, and for tests. Lost with the process.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use futures::future::BoxFuture;
use jiff::Timestamp;

use super::{Claim, JournalError, RunRow, Sealed, Seen, Sighting, Store, Tx, Work};
use crate::{
    finding::FindingId,
    freeze::{self, Freeze, Level, Scope},
    gate::budget::Charge,
    id::IncidentId,
    notice::{Audience, Notice, Target},
    page::Page,
    plan::{ChangeKey, Counts, StepKey},
};

/// The tables.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    /// The lease's epoch.
    pub epoch: u64,
    /// Entries of each run.
    pub entries: BTreeMap<IncidentId, Arc<Vec<Sealed>>>,
    /// Rows of each run.
    pub runs: BTreeMap<IncidentId, RunRow>,
    /// Findings.
    pub seen: BTreeMap<FindingId, Seen>,
    /// Correlation keys.
    pub keys: BTreeSet<(String, IncidentId)>,
    /// Locks.
    pub locks: BTreeMap<String, (IncidentId, StepKey)>,
    /// When locks were last given back.
    pub unlocked: BTreeMap<String, Timestamp>,
    /// Claims.
    pub claims: Vec<Claim>,
    /// Resources changed: when, in which account.
    pub spent: Vec<(Timestamp, String, String)>,
    /// What was charged to budgets.
    pub charges: Vec<Charge>,
    /// Stand-downs.
    pub stand_downs: BTreeMap<String, Timestamp>,
    /// What was seen of opt-out tags.
    pub sightings: BTreeMap<String, Sighting>,
    /// Where notices go.
    pub targets: BTreeSet<Target>,
    /// The outbox: by run, key and destination.
    pub outbox: BTreeMap<(IncidentId, String, String), Notice>,
    /// Pages: by key and destination; an empty one stands for those that there will be.
    pub pages: BTreeMap<(String, String), Page>,
    /// Freezes and thaws.
    pub freezes: Vec<Freeze>,
}

/// A store in memory.
#[derive(Debug, Default)]
pub struct MemStore(Mutex<Tables>);

impl Tables {
    /// The destinations of those who work with Cordon: who is told of pages.
    fn team(&self) -> BTreeSet<String> {
        self.targets.iter().filter(|target| target.audience == Audience::Team).map(|target| target.name.clone()).collect()
    }
}

impl MemStore {
    /// A copy of the tables, to look at.
    #[must_use]
    pub fn tables(&self) -> Tables {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// A run's entries.
    #[must_use]
    pub fn entries_of(&self, run: IncidentId) -> Arc<Vec<Sealed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entries.get(&run).cloned().unwrap_or_default()
    }
    /// Sets where notices go.
    pub fn set_targets(&self, targets: &[Target]) {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tables.targets = targets.iter().cloned().collect();
        let team = tables.team();
        let lone: Vec<Page> = tables.pages.iter().filter(|((_, target), _)| target.is_empty()).map(|(_, page)| page.clone()).collect();
        if !team.is_empty() {
            tables.pages.retain(|(_, target), _| !target.is_empty());
        }
        for (page, target) in lone.iter().flat_map(|page| team.iter().map(move |target| (page, target))) {
            tables.pages.insert((page.key.clone(), target.clone()), page.clone());
        }
    }
    /// Gives the lease to the next epoch and returns it.
    pub fn next_epoch(&self) -> u64 {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tables.epoch += 1;
        tables.epoch
    }
}

impl Store for MemStore {
    fn write(&self, work: Work) -> BoxFuture<'_, Result<(), JournalError>> {
        let result = {
            let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let mut copy = tables.clone();
            work(&mut copy).map(|()| *tables = copy)
        };
        Box::pin(futures::future::ready(result))
    }
    fn freezes(&self) -> BoxFuture<'_, Result<Vec<Freeze>, JournalError>> {
        let standing = freeze::standing(&self.0.lock().unwrap_or_else(PoisonError::into_inner).freezes);
        Box::pin(futures::future::ready(Ok(standing)))
    }
}

impl Tx for Tables {
    fn epoch(&mut self) -> Result<u64, JournalError> {
        Ok(self.epoch)
    }
    fn head(&mut self, run: IncidentId) -> Result<Option<(u64, String)>, JournalError> {
        Ok(self.entries.get(&run).and_then(|entries| entries.last()).map(|last| (last.seq, last.hash.clone())))
    }
    fn push(&mut self, run: IncidentId, sealed: &Sealed) -> Result<(), JournalError> {
        Arc::make_mut(self.entries.entry(run).or_default()).push(sealed.clone());
        Ok(())
    }
    fn entries(&mut self, run: IncidentId) -> Result<Vec<Sealed>, JournalError> {
        Ok(self.entries.get(&run).map(|entries| entries.to_vec()).unwrap_or_default())
    }
    fn save_run(&mut self, row: &RunRow) -> Result<(), JournalError> {
        self.runs.insert(row.run, row.clone());
        Ok(())
    }
    fn run(&mut self, run: IncidentId) -> Result<Option<RunRow>, JournalError> {
        Ok(self.runs.get(&run).cloned())
    }
    fn seen(&mut self, id: &FindingId) -> Result<Option<Seen>, JournalError> {
        Ok(self.seen.get(id).cloned())
    }
    fn save_seen(&mut self, id: &FindingId, seen: &Seen) -> Result<(), JournalError> {
        self.seen.insert(id.clone(), seen.clone());
        Ok(())
    }
    fn open_run_with_key(&mut self, key: &str) -> Result<Option<IncidentId>, JournalError> {
        let open = |run: &IncidentId| self.runs.get(run).is_some_and(RunRow::takes_findings);
        Ok(self.keys.iter().filter(|(held, _)| held == key).map(|(_, run)| *run).find(open))
    }
    fn save_key(&mut self, run: IncidentId, key: &str) -> Result<(), JournalError> {
        self.keys.insert((key.to_owned(), run));
        Ok(())
    }
    fn lock_holder(&mut self, resource: &str) -> Result<Option<(IncidentId, StepKey)>, JournalError> {
        Ok(self.locks.get(resource).cloned())
    }
    fn lock(&mut self, resource: &str, run: IncidentId, step: &StepKey) -> Result<(), JournalError> {
        self.locks.insert(resource.to_owned(), (run, step.clone()));
        Ok(())
    }
    fn unlock(&mut self, run: IncidentId, step: &StepKey, at: Timestamp) -> Result<(), JournalError> {
        let unlocked = &mut self.unlocked;
        self.locks.retain(|resource, (held, by)| {
            let stays = !(*held == run && by == step);
            if !stays {
                unlocked.insert(resource.clone(), at);
            }
            stays
        });
        Ok(())
    }
    fn last_unlocked(&mut self, resource: &str) -> Result<Option<Timestamp>, JournalError> {
        Ok(self.unlocked.get(resource).copied())
    }
    fn claims(&mut self, key: &ChangeKey) -> Result<Vec<Claim>, JournalError> {
        Ok(self.claims.iter().filter(|claim| claim.from.key == *key).cloned().collect())
    }
    fn claim(&mut self, claim: &Claim) -> Result<(), JournalError> {
        if !self.claims.contains(claim) {
            self.claims.push(claim.clone());
        }
        Ok(())
    }
    fn unclaim(&mut self, run: IncidentId, step: &StepKey) -> Result<(), JournalError> {
        self.claims.retain(|claim| !(claim.run == run && claim.step == *step));
        Ok(())
    }
    fn spent(&mut self, since: Timestamp, account: Option<&str>) -> Result<BTreeSet<String>, JournalError> {
        let wanted = |(at, held, _): &&(Timestamp, String, String)| *at > since && account.is_none_or(|account| account == held);
        Ok(self.spent.iter().filter(wanted).map(|(_, _, resource)| resource.clone()).collect())
    }
    fn spend(&mut self, at: Timestamp, account: &str, resource: &str) -> Result<(), JournalError> {
        self.spent.push((at, account.to_owned(), resource.to_owned()));
        Ok(())
    }
    fn charges(&mut self, since: Timestamp, counts: Counts) -> Result<Vec<Charge>, JournalError> {
        Ok(self.charges.iter().filter(|charge| charge.at > since && charge.used.counts == counts).cloned().collect())
    }
    fn charge(&mut self, charge: &Charge) -> Result<(), JournalError> {
        self.charges.push(charge.clone());
        Ok(())
    }
    fn stand_down(&mut self, key: &str) -> Result<Option<Timestamp>, JournalError> {
        Ok(self.stand_downs.get(key).copied())
    }
    fn save_stand_down(&mut self, key: &str, until: Option<Timestamp>) -> Result<(), JournalError> {
        match until {
            Some(until) => self.stand_downs.insert(key.to_owned(), until),
            None => self.stand_downs.remove(key),
        };
        Ok(())
    }
    fn sighting(&mut self, whose: &str) -> Result<Option<Sighting>, JournalError> {
        Ok(self.sightings.get(whose).cloned())
    }
    fn save_sighting(&mut self, whose: &str, sighting: &Sighting) -> Result<(), JournalError> {
        self.sightings.insert(whose.to_owned(), sighting.clone());
        Ok(())
    }
    fn forget_sightings(&mut self, before: Timestamp) -> Result<(), JournalError> {
        self.sightings.retain(|_, sighting| sighting.now.last >= before);
        Ok(())
    }
    fn notify(&mut self, notice: &Notice) -> Result<(), JournalError> {
        for target in self.targets.iter().filter(|target| target.audience == notice.audience) {
            self.outbox.entry((notice.run, notice.key.clone(), target.name.clone())).or_insert_with(|| notice.clone());
        }
        Ok(())
    }
    fn page(&mut self, page: &Page) -> Result<(), JournalError> {
        let team = self.team();
        let targets = if team.is_empty() { BTreeSet::from([String::new()]) } else { team };
        for target in targets {
            self.pages.entry((page.key.clone(), target)).or_insert_with(|| page.clone());
        }
        Ok(())
    }
    fn freezes(&mut self) -> Result<Vec<Freeze>, JournalError> {
        Ok(freeze::standing(&self.freezes))
    }
    fn save_freeze(&mut self, line: &Freeze) -> Result<u64, JournalError> {
        let number = self.freezes.last().map_or(0, |last| last.number) + 1;
        self.freezes.push(Freeze { number, ..line.clone() });
        Ok(number)
    }
    fn alarmed(&mut self, id: &str) -> Result<bool, JournalError> {
        Ok(self.freezes.iter().any(|line| line.alarm.as_deref() == Some(id)))
    }
    fn thawed(&mut self) -> Result<Option<Timestamp>, JournalError> {
        let thaws = self.freezes.iter().filter(|line| line.level == Level::Off && line.scope == Scope::Organization);
        Ok(thaws.map(|line| line.at).max())
    }
}
