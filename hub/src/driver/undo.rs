//! Undoing a step: what no other step still needs is put back, from the `before` of the step that changed it.

use std::collections::BTreeMap;

use cordon_shared::{
    engine::{ClaimFrom, Entry, UndoCause, View},
    gate::{self, UndoDecision, Warrant},
    id::IncidentId,
    journal::JournalError,
    plan::{Change, ChangeKey, StepKey},
};
use cordon_spoke::action::{ActionError, ApplyError, Undo, Write};

use super::{
    Hub,
    apply::{open_write, write},
    post::{Post, cell},
    run::Run,
    thaw,
    work::{TRIES, after, backoff, not_sent, stopped, underway, underway_in},
};

/// Undoes a step.
pub(super) async fn undo(run: &Run, view: &View, key: &StepKey, cause: UndoCause) -> Result<(), JournalError> {
    let hub = &run.hub;
    let (now, pace, step) = (hub.clock.now(), hub.pace, key.clone());
    let ous = thaw::ous(hub, view).await?;
    let decision = run.decide(async |view| gate::commit_undo(&hub.journal, &hub.lease, &view, step, cause, ous, now, pace).await).await?;
    let UndoDecision::Go { warrant, from, left } = decision else { return Ok(()) };
    let result = put_back(run, view, from, &warrant).await;
    drop(warrant);
    let step = key.clone();
    let entry = match result {
        Ok(Undo::Restored(restored)) => Entry::Undone { step, restored, left },
        Ok(Undo::ByHand(steps)) => Entry::ByHand { step, steps },
        Err(ApplyError { error, .. }) => {
            let tries = view.step(key).map_or(0, |step| step.undo_attempts);
            let again = ((error.may_pass() || stopped(&error)) && tries < TRIES) || not_sent(&error);
            let now = hub.clock.now();
            Entry::UndoFailed { step, error: error.to_string(), again: again.then(|| after(now, backoff(tries))) }
        }
    };
    run.append(vec![entry]).await
}

/// Puts attributes back, each from the step that changed it: this one, or the one of another run whose change this one took over.
async fn put_back(run: &Run, view: &View, from: Vec<ClaimFrom>, warrant: &Warrant) -> Result<Undo, ApplyError> {
    let mut origins: BTreeMap<(IncidentId, StepKey), Vec<ChangeKey>> = BTreeMap::new();
    for claim in from {
        origins.entry((claim.run, claim.step)).or_default().push(claim.key);
    }
    let mut restored: Vec<Change> = Vec::new();
    let mut by_hand: Vec<String> = Vec::new();
    for ((origin, step), only) in origins {
        let other;
        let of = if origin == run.id {
            view
        } else {
            other = run.hub.store.view(origin).await.map_err(|error| ActionError::Bug(error.to_string()))?;
            &other
        };
        match one(run, of, &step, &only, warrant).await? {
            Undo::Restored(changes) => restored.extend(changes),
            Undo::ByHand(steps) => by_hand.extend(steps),
        }
    }
    Ok(if by_hand.is_empty() { Undo::Restored(restored) } else { Undo::ByHand(by_hand) })
}

/// What an undo of these attributes would come to: the action's own undo, up to its first changing call, which does not leave
/// ([`ActionError::OnlyLooking`]). `run` is the run that is undone, `view` the one whose step `key` changed the attributes. STS opens no
/// write session for it.
pub(crate) async fn look_at(
    hub: &Hub,
    run: IncidentId,
    view: &View,
    key: &StepKey,
    only: &[ChangeKey],
    warrant: &Warrant,
) -> Result<Undo, ApplyError> {
    let under = underway_in(hub, view, key).map_err(|error| ActionError::Bug(error.to_string()))?;
    let plan = under.step.plan.clone().unwrap_or_default();
    let post = Post::open_in(hub, run, view, &under.action, under.step.region.as_ref()).await?;
    let clients = hub.sessions.looking(post.read(), warrant).map_err(ActionError::from)?;
    let write = Write { aws: &clients, parts: &[], warrant };
    under.change.undo(post.cx(view, key), write, &under.step.with, &plan.before, only).await
}

async fn one(run: &Run, view: &View, key: &StepKey, only: &[ChangeKey], warrant: &Warrant) -> Result<Undo, ApplyError> {
    let bug = |error: JournalError| ActionError::Bug(error.to_string());
    let under = underway(run, view, key).map_err(bug)?;
    let plan = under.step.plan.clone().unwrap_or_default();
    let scopes = under
        .change
        .policies(&cell(run, view, &under.action, under.step.region.as_ref()), &under.step.with, &plan.before)?
        .map_err(|error| ActionError::Session(error.into()))?;
    let region = under.step.region.as_ref();
    let post = Post::open(run, view, &under.action, region).await?;
    let parts = open_write(run, &cell(run, view, &under.action, region), warrant.step(), &under.action, scopes, warrant).await?;
    under.change.undo(post.cx(view, key), write(&parts, warrant)?, &under.step.with, &plan.before, only).await
}
