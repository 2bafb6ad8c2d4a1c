//! What the steps of a playbook read with, packed into as few session policies as hold it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use cordon_shared::{
    plan::Seat,
    playbook::{Playbook, Work},
};
use cordon_spoke::{
    action::Kind,
    actions::cloudtrail::date_tag,
    permission::{Permission, read_policy},
};

use super::Hub;

/// What one read session may do, and the actions that read with it.
#[derive(Debug, Default)]
struct Part {
    reads: BTreeSet<Permission>,
    actions: BTreeSet<&'static str>,
}

/// The parts of each playbook by its digest, worked out once: every look of every step asks for them.
#[derive(Debug, Default)]
pub struct ReadParts(Mutex<BTreeMap<String, Arc<[Part]>>>);

impl Hub {
    /// What a playbook's action reads with, for its read session's policy: with those of the playbook's other actions, as many as fit.
    #[must_use]
    pub fn reads(&self, playbook: &Playbook, action: &str) -> Vec<Permission> {
        let parts = self.parts(playbook);
        let part = parts.iter().find(|part| part.actions.contains(action));
        part.map(|part| part.reads.iter().copied().collect()).unwrap_or_default()
    }

    fn parts(&self, playbook: &Playbook) -> Arc<[Part]> {
        let mut known = self.read_parts.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(playbook.digest.clone()).or_insert_with(|| self.pack(playbook)))
    }

    fn pack(&self, playbook: &Playbook) -> Arc<[Part]> {
        let actions = playbook.steps.iter().filter_map(|step| match &step.work {
            Work::Action(name) => self.registry.get(name).filter(|action| action.seat == Seat::Member),
            Work::Hold(_) => None,
        });
        let mut parts = vec![Part::default()];
        for action in actions {
            // A change may meet an opt-out, and is then asked since when that is there.
            let dating: &[Permission] = if matches!(action.kind, Kind::Change(_)) { date_tag::READS } else { &[] };
            let fits = |part: &Part| {
                let all: BTreeSet<Permission> = part.reads.iter().chain(action.reads).chain(dating).copied().collect();
                let all: Vec<Permission> = all.into_iter().collect();
                read_policy(&all, self.own_cell.region.partition(), self.own_cell.account.as_str()).is_ok()
            };
            if parts.last().is_some_and(|part| !fits(part)) {
                parts.push(Part::default());
            }
            if let Some(part) = parts.last_mut() {
                part.reads.extend(action.reads.iter().chain(dating));
                part.actions.insert(action.name);
            }
        }
        parts.into()
    }
}
