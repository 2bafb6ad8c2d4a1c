//! Making a change that the gate has said yes to, and what it leaves behind when it fails.

use std::sync::Arc;

use cordon_shared::{
    engine::{Entry, View},
    gate::Warrant,
    id::{CellId, Region},
    journal::JournalError,
    plan::{Effect, Plan, Seat, StepKey, Verdict},
};
use cordon_spoke::{
    action::{Action, ActionError, ApplyError, DynChange, Progress, Write},
    permission::{Bindings, Scope},
    session::Clients,
};
use jiff::Timestamp;
use serde_json::Value;

use super::{
    post::{Post, cell},
    run::Run,
    work::{TRIES, after, backoff, not_sent, stopped},
};

/// What is to be done.
#[derive(Clone, Copy)]
pub(super) struct Deed<'a> {
    pub key: &'a StepKey,
    pub action: &'a Action,
    pub change: &'a Arc<dyn DynChange>,
    pub with: &'a Value,
    pub region: Option<&'a Region>,
    pub plan: &'a Plan,
}

/// Does it, and journals what came of it.
pub(super) async fn apply(run: &Run, view: &View, deed: Deed<'_>, scopes: Vec<Scope>, warrant: Warrant) -> Result<(), JournalError> {
    let Deed { key, action, change, with, region, plan } = deed;
    let done = async {
        let post = Post::open(run, view, action, region).await?;
        let parts = open_write(run, &cell(run, view, action, region), key, action, scopes, &warrant).await?;
        change.apply(post.cx(view, key), write(&parts, &warrant)?, with, &plan.before).await
    };
    let result = done.await;
    drop(warrant);
    let now = run.hub.clock.now();
    let step = key.clone();
    let entries = match result {
        Ok(Progress::Done(outcome)) => vec![Entry::Applied { step, outcome }],
        Ok(Progress::Pending { ticket, after: wait }) => vec![Entry::Pending { step, ticket, due: after(now, wait) }],
        Err(ApplyError { effect, error }) => {
            let view = run.view().await;
            let tries = view.step(key).map_or(0, |step| step.tries);
            let counts = !not_sent(&error);
            let passes = error.may_pass() || stopped(&error);
            let again = (passes && (tries < TRIES || !counts)) || effect == Effect::Unknown;
            failed(step, effect, &error, again.then(|| after(now, backoff(tries))), counts)
        }
    };
    run.append(entries).await
}

/// What a failed change leaves behind. Nothing done and no hope: it failed. Something done or unknown: the world is read.
fn failed(step: StepKey, effect: Effect, error: &ActionError, again: Option<Timestamp>, counts: bool) -> Vec<Entry> {
    let mut entries = vec![Entry::ApplyFailed { step: step.clone(), effect, error: error.to_string(), again, counts }];
    if again.is_none() {
        match effect {
            Effect::None => {
                let verdict = Verdict::NotInEffect { detail: "nothing was changed".to_owned() };
                entries.push(Entry::Recovered { step: step.clone(), verdict });
                entries.push(Entry::Failed { step, code: error.code().to_owned(), why: error.to_string() });
            }
            Effect::Partial | Effect::Unknown => {
                let why = format!("it is done in part, and the rest failed: {error}; `cordon incident undo` puts back what was done");
                entries.push(Entry::Stuck { step, why });
            }
        }
    }
    entries
}

/// The write sessions of a step, with what each is narrowed to.
pub(super) async fn open_write(
    run: &Run,
    cell: &CellId,
    key: &StepKey,
    action: &Action,
    scopes: Vec<Scope>,
    warrant: &Warrant,
) -> Result<Vec<(Bindings, Clients)>, ActionError> {
    let sessions = &run.hub.sessions;
    let mut parts = Vec::new();
    for Scope { bindings, policy } in scopes {
        let opened = match action.seat {
            Seat::Member => sessions.write(cell, run.id, key, policy, warrant).await,
            Seat::Hub => sessions.write_hub(&cell.region, run.id, key, policy, warrant).await,
        };
        parts.push((bindings, opened?));
    }
    Ok(parts)
}

/// What a change's calls go through.
pub(super) fn write<'a>(parts: &'a [(Bindings, Clients)], warrant: &'a Warrant) -> Result<Write<'a>, ActionError> {
    let aws = parts.first().map(|(_, clients)| clients).ok_or_else(|| ActionError::Bug("a step without a write session".to_owned()))?;
    Ok(Write { aws, parts, warrant })
}
