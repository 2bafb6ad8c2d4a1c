//! What of a step an undo puts back, and a warrant under which an undo is only looked at.

use jiff::Timestamp;

use super::{Brake, Warrant, frozen};
use crate::{
    engine::{ClaimFrom, StepView, UndoCause, View},
    freeze,
    id::IncidentId,
    journal::{Claim, Journal, JournalError, Tx},
    plan::StepKey,
};

/// An attribute that stays as it is, because another step still needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stays {
    /// The step's own claim.
    pub claim: ClaimFrom,
    /// Who needs it.
    pub holder: Claim,
}

impl Stays {
    /// In words.
    #[must_use]
    pub fn words(&self) -> String {
        let key = &self.claim.key;
        format!("{} of {} stays: `{}` of {} still needs it", key.attribute, key.resource, self.holder.step, self.holder.run)
    }
}

/// What a step's undo restores, and what stays because others hold it. `gone`: steps of the run whose claims count as dropped already.
///
/// # Errors
/// Those of the store.
pub fn to_restore(
    tx: &mut dyn Tx,
    run: IncidentId,
    step: &StepView,
    gone: &[StepKey],
) -> Result<(Vec<ClaimFrom>, Vec<Stays>), JournalError> {
    let (mut from, mut stays) = (Vec::new(), Vec::new());
    for claim in &step.claims {
        let others = tx.claims(&claim.key)?.into_iter();
        let mut others = others.filter(|held| held.run != run || (held.step != step.key && !gone.contains(&held.step)));
        match others.next() {
            Some(holder) => stays.push(Stays { claim: claim.clone(), holder }),
            None => from.push(claim.clone()),
        }
    }
    Ok((from, stays))
}

/// A warrant under which the undo of a step is only looked at. No changing call leaves with it: its [`super::Watch`] tells the connector so, no
/// write session opens with it, and it hangs on a lease that nobody holds.
#[must_use]
pub fn preview(journal: &Journal, view: &View, step: &StepKey, now: Timestamp) -> Warrant {
    let brake = Brake::new(journal, frozen::place(view, None), frozen::undo(&UndoCause::Ttl));
    let digest = view.step(step).map(|step| step.digest.clone()).unwrap_or_default();
    Warrant::only_looking(view.run, step.clone(), digest, brake, now)
}

/// Which freeze stops an undo that a person asks for now; `None`: none does. `ous` as in [`super::commit_undo`].
///
/// # Errors
/// Those of the store.
pub async fn undo_frozen(journal: &Journal, view: &View, ous: Option<Vec<String>>) -> Result<Option<String>, JournalError> {
    Ok(freeze::stops(&journal.freezes().await?, &frozen::place(view, ous), freeze::Deed::UndoAsked))
}
