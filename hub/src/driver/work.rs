//! What each command of the engine means here.

use std::sync::Arc;

use cordon_shared::{
    engine::{Command, Entry, StepState, StepView, View, expired},
    gate::hold,
    journal::JournalError,
    plan::{Effect, StepKey, Verdict},
    playbook::{OnTimeout, Work},
};
use cordon_spoke::{
    action::{Action, ActionError, DynChange, Kind, Progress},
    session::SessionError,
};
use jiff::{SignedDuration, Timestamp};

use super::{Hub, begin, look, opt_out, post::Post, run::Run, truth, undo};
use crate::org::OrgError;

/// How often something that may pass is tried before a person is asked.
pub(super) const TRIES: u32 = 5;

/// The time `seconds` from now.
pub(super) fn after(now: Timestamp, wait: SignedDuration) -> Timestamp {
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}

/// Waits longer each time: 1, 2, 4, 8, 16 seconds.
pub(super) fn backoff(tries: u32) -> SignedDuration {
    SignedDuration::from_secs(1 << tries.min(4))
}

/// Does what a command wants and journals what came of it.
pub(super) async fn obey(run: Arc<Run>, command: Command) -> Result<(), JournalError> {
    let view = run.view().await;
    match command {
        Command::Admit => admit(&run, &view).await,
        Command::Turn(turn) => turned(&run, &view, turn).await,
        Command::Begin(key) => begin::begin(&run, &view, &key).await,
        Command::Renew(key) => begin::renew(&run, &view, &key).await,
        Command::Expire(key) => {
            let entry = expired(&view, &key, run.hub.clock.now(), run.hub.config.question_lasts);
            run.append(vec![entry]).await
        }
        Command::Poll(key) => poll(&run, &view, &key).await,
        Command::Timeout(key) => timeout(&run, &view, &key).await,
        Command::Verify(key) => verify(&run, &view, &key).await,
        Command::Recover(key) => recover(&run, &view, &key).await,
        Command::Undo(key, cause) => undo::undo(&run, &view, &key, cause).await,
        Command::StopUndo(key, at) => run.append(vec![Entry::UndoStopped { step: key, at }]).await,
        Command::Look(key) => look::look(&run, &view, &key).await,
    }
}

/// A task that panicked gave no answer: what was under way has an unknown effect, anything else failed.
pub(super) async fn after_panic(run: &Run, command: &Command) -> Result<(), JournalError> {
    let view = run.view().await;
    let Some(step) = command.step().and_then(|key| view.step(key)) else {
        let hold = hold("defect", "Cordon failed while looking the account up; this is a defect, please report it");
        return run.append(vec![Entry::Held { step: None, hold }]).await;
    };
    let key = step.key.clone();
    let why = "Cordon failed in the middle of this step; this is a defect, please report it".to_owned();
    let entries = match &step.state {
        _ if matches!(command, Command::Look(_)) => return look::failed(run, &view, &key, &why).await,
        StepState::Applying { .. } => {
            vec![Entry::ApplyFailed { step: key, effect: Effect::Unknown, error: why, again: None, counts: true }]
        }
        StepState::Undoing { .. } => vec![Entry::UndoFailed { step: key, error: why, again: None }],
        _ if step.fixed => vec![Entry::Stuck { step: key, why }],
        _ => vec![Entry::Failed { step: key, code: "defect".to_owned(), why }],
    };
    run.append(entries).await
}

async fn admit(run: &Run, view: &View) -> Result<(), JournalError> {
    let hub = &run.hub;
    let cell = &view.subject.cell;
    let held = |hold| run.append(vec![Entry::Held { step: None, hold }]);
    let region = cell.region.as_str();
    if region != "global" && !hub.config.hub.regions.contains(&cell.region) {
        return held(hold("region-not-configured", format!("Region {region} is not among `[hub] regions`: add it, then release"))).await;
    }
    if let Some(why) = hub.refuses(view) {
        return held(hold("refused-subject", why)).await;
    }
    if let Some(foreign) = truth::foreign(view) {
        return held(foreign).await;
    }
    match hub.org.facts(&cell.account).await {
        Ok(facts) => {
            if let Some(unfit) = facts.unfit() {
                return held(unfit).await;
            }
            let looked_on = match opt_out::of_looking(run, view, &facts).await? {
                Ok(looked_on) => looked_on,
                Err(opted_out) => return held(opted_out).await,
            };
            run.append(looked_on.into_iter().chain([Entry::Admitted { account: facts.data() }]).collect()).await
        }
        Err(OrgError::Unfit(unfit)) => held(unfit).await,
        Err(OrgError::Passing(why)) => {
            let tries = view.put_off.map_or(0, |(_, tries)| tries);
            if tries >= TRIES {
                return held(hold("organization-unreadable", format!("the organization cannot be read, so opt-outs are unknown: {why}")))
                    .await;
            }
            let until = after(hub.clock.now(), backoff(tries));
            run.append(vec![Entry::Deferred { step: None, why, until, counts: true }]).await
        }
    }
}

/// What a step found makes something else of the subject.
async fn turned(run: &Run, view: &View, turn: usize) -> Result<(), JournalError> {
    let Some(turn) = view.playbook.turns.get(turn) else { return Ok(()) };
    run.append_of(view.generation, vec![Entry::Turned { role: turn.role, why: turn.why.clone() }]).await
}

/// A step that is under way: its instance, its action and its change.
pub(super) struct Underway<'v> {
    pub step: &'v StepView,
    pub action: Action,
    pub change: Arc<dyn DynChange>,
}

/// The change that a step instance stands for.
pub(super) fn underway<'v>(run: &Run, view: &'v View, key: &StepKey) -> Result<Underway<'v>, JournalError> {
    underway_in(&run.hub, view, key)
}

/// The same, of a run that nobody drives.
pub(super) fn underway_in<'v>(hub: &Hub, view: &'v View, key: &StepKey) -> Result<Underway<'v>, JournalError> {
    let broken = |why: String| JournalError::Refused(format!("{}: step `{key}` {why}", view.run));
    let step = view.step(key).ok_or_else(|| broken("is not there".to_owned()))?;
    let Some(Work::Action(name)) = view.definition(step).map(|definition| &definition.work) else {
        return Err(broken("is not an action".to_owned()));
    };
    let action = hub
        .registry
        .get(name)
        .ok_or_else(|| broken(format!("needs the action `{name}`, which this version of Cordon does not have")))?
        .clone();
    let Kind::Change(change) = &action.kind else {
        return Err(broken(format!("is under way, but `{name}` only reads")));
    };
    let change = Arc::clone(change);
    Ok(Underway { step, action, change })
}

/// Whether nothing was sent for want of a token: no attempt is counted.
pub(super) fn not_sent(error: &ActionError) -> bool {
    match error {
        ActionError::NotSent(_) => true,
        ActionError::Session(error) => error.not_sent(),
        _ => false,
    }
}

/// Whether our own side stopped it before the call: the world is read, and the gate asked anew.
pub(super) fn stopped(error: &ActionError) -> bool {
    matches!(error, ActionError::Stopped(_) | ActionError::Session(SessionError::Stopped(_)))
}

/// An error of a step that has not begun: later, or for a person.
pub(super) async fn put_off(run: &Run, step: &StepView, error: &ActionError) -> Result<(), JournalError> {
    let now = run.hub.clock.now();
    let key = step.key.clone();
    let entry = match error {
        error if not_sent(error) => {
            Entry::Deferred { step: Some(key), why: error.to_string(), until: after(now, backoff(step.waits)), counts: false }
        }
        error if error.may_pass() && step.tries < TRIES => {
            Entry::Deferred { step: Some(key), why: error.to_string(), until: after(now, backoff(step.tries)), counts: true }
        }
        // A missing role or a missing permission is for a person, whatever the playbook says of failures.
        error @ (ActionError::Session(_) | ActionError::Denied(_)) if !error.may_pass() => {
            Entry::Held { step: Some(key), hold: hold(error.code(), error.to_string()) }
        }
        error => Entry::Failed { step: key, code: error.code().to_owned(), why: error.to_string() },
    };
    run.append(vec![entry]).await
}

async fn poll(run: &Run, view: &View, key: &StepKey) -> Result<(), JournalError> {
    let under = underway(run, view, key)?;
    let StepState::Pending { ticket, .. } = &under.step.state else { return Ok(()) };
    let plan = under.step.plan.clone().unwrap_or_default();
    let asked = async {
        let post = Post::open(run, view, &under.action, under.step.region.as_ref()).await?;
        under.change.poll(post.cx(view, key), &under.step.with, &plan.before, ticket).await
    };
    match asked.await {
        Ok(Progress::Done(outcome)) => run.append(vec![Entry::Applied { step: key.clone(), outcome }]).await,
        Ok(Progress::Pending { ticket, after: wait }) => {
            let due = after(run.hub.clock.now(), wait);
            run.append(vec![Entry::Pending { step: key.clone(), ticket, due }]).await
        }
        Err(error) => put_off(run, under.step, &error).await,
    }
}

async fn timeout(run: &Run, view: &View, key: &StepKey) -> Result<(), JournalError> {
    let Some(definition) = view.step(key).and_then(|step| view.definition(step)) else { return Ok(()) };
    let why = format!("it did not end within {:#}", definition.within);
    let step = Some(key.clone());
    let entry = match definition.on_timeout {
        OnTimeout::Hold => Entry::Held { step, hold: hold("timeout", why) },
        OnTimeout::Fail => Entry::Failed { step: key.clone(), code: "timeout".to_owned(), why },
    };
    run.append(vec![entry]).await
}

async fn verify(run: &Run, view: &View, key: &StepKey) -> Result<(), JournalError> {
    let under = underway(run, view, key)?;
    let StepState::Unverified { since, reads, .. } = &under.step.state else { return Ok(()) };
    let now = run.hub.clock.now();
    let verdict = match read_back(run, view, &under).await {
        Ok(verdict) => verdict,
        Err(error) if (error.may_pass() && under.step.tries < TRIES * 2) || not_sent(&error) => {
            let counts = !not_sent(&error);
            let until = after(now, backoff(under.step.tries));
            return run.append(vec![Entry::Deferred { step: Some(key.clone()), why: error.to_string(), until, counts }]).await;
        }
        Err(error) => {
            let why = format!("it was applied, but could not be read back: {error}");
            return run.append(vec![Entry::Stuck { step: key.clone(), why }]).await;
        }
    };
    let step = key.clone();
    let entries = match verdict {
        Verdict::InEffect => vec![Entry::Verified { step, verdict, again: None }],
        Verdict::NotInEffect { ref detail } => {
            let settled = now.duration_since(*since) >= under.change.settle();
            if settled {
                let why = format!("it was applied, but is not in effect after {:#}: {detail}", under.change.settle());
                let failed = Entry::Failed { step: step.clone(), code: "not-in-effect".to_owned(), why };
                vec![Entry::Verified { step, verdict, again: None }, failed]
            } else {
                let again = Some(after(now, backoff(*reads)));
                vec![Entry::Verified { step, verdict, again }]
            }
        }
        Verdict::Drifted { ref detail } => {
            let why = format!("somebody else changed it right after Cordon did: {detail}");
            let failed = Entry::Failed { step: step.clone(), code: "drifted".to_owned(), why };
            vec![Entry::Verified { step, verdict, again: None }, failed]
        }
    };
    run.append(entries).await
}

pub(super) async fn read_back(run: &Run, view: &View, under: &Underway<'_>) -> Result<Verdict, ActionError> {
    let post = Post::open(run, view, &under.action, under.step.region.as_ref()).await?;
    let plan = under.step.plan.clone().unwrap_or_default();
    under.change.verify(post.cx(view, &under.step.key), &under.step.with, &plan.before).await
}

/// After a crash or a lost answer: what does the world say?
async fn recover(run: &Run, view: &View, key: &StepKey) -> Result<(), JournalError> {
    let under = underway(run, view, key)?;
    let now = run.hub.clock.now();
    let step = key.clone();
    let verdict = match read_back(run, view, &under).await {
        Ok(verdict) => verdict,
        Err(error) if (error.may_pass() && under.step.tries < TRIES * 2) || not_sent(&error) => {
            let counts = !not_sent(&error);
            let until = after(now, backoff(under.step.tries));
            return run.append(vec![Entry::Deferred { step: Some(step), why: error.to_string(), until, counts }]).await;
        }
        Err(error) => {
            return run.append(vec![Entry::Stuck { step, why: format!("its effect is unknown and cannot be read: {error}") }]).await;
        }
    };
    let entries = match &verdict {
        Verdict::Drifted { detail } => {
            let why = format!("its effect is unknown, and somebody else has changed the resource since: {detail}");
            vec![Entry::Recovered { step: step.clone(), verdict }, Entry::Stuck { step, why }]
        }
        Verdict::NotInEffect { detail } if under.step.tries >= TRIES => {
            let why = format!("it failed {} times and is not in effect: {detail}", under.step.tries);
            vec![Entry::Recovered { step: step.clone(), verdict }, Entry::Failed { step, code: "not-in-effect".to_owned(), why }]
        }
        _ => vec![Entry::Recovered { step, verdict }],
    };
    run.append(entries).await
}
