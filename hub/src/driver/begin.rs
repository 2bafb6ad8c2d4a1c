//! Beginning a step: condition, parameters, then a probe, a hold, or plan, decision and change.

use std::sync::Arc;

use cordon_shared::{
    engine::{Entry, Hold, StepState, StepView, View},
    gate::{self, Ask, Decision, Warrant, hold},
    journal::JournalError,
    mode::Mode,
    plan::{Effect, Plan, Seat, StepKey},
    playbook::{Step, Work},
};
use cordon_spoke::action::{Action, ActionError, ApplyError, DynChange, DynProbe, Kind, Plan as Planned, Progress, Write};
use serde_json::Value;

use super::{
    run::Run,
    work::{TRIES, after, backoff, cell, clients, cx, not_sent, put_off},
};

/// Begins a step, or goes on with one that has its plan and may be applied again.
pub(super) async fn begin(run: &Run, view: &View, key: &StepKey) -> Result<(), JournalError> {
    let (Some(step), Some(definition)) = (view.step(key), view.step(key).and_then(|step| view.definition(step))) else { return Ok(()) };
    if step.fixed {
        let under = super::work::underway(run, view, key)?;
        let plan = step.plan.clone().unwrap_or_default();
        return decide(run, view, step, definition, &under.action, &under.change, step.with.clone(), plan).await;
    }
    if let Some(need) = only_planned(view, definition) {
        let why = format!("depends on the outcome of `{need}`, which is only planned");
        return run.append(vec![Entry::Observed { step: key.clone(), why }]).await;
    }
    let data = view.data();
    let wrong = |code: &str, why: String| vec![Entry::Failed { step: key.clone(), code: code.to_owned(), why }];
    if let Some(when) = &definition.when {
        match when.truth(&data) {
            Ok(true) => {}
            Ok(false) => return run.append(vec![Entry::Skipped { step: key.clone(), why: format!("not the case: {when}") }]).await,
            Err(error) => return run.append(wrong("expression", format!("its condition cannot be evaluated: {error}"))).await,
        }
    }
    let name = match &definition.work {
        Work::Hold(why) => return run.append(vec![Entry::Held { step: Some(key.clone()), hold: hold("playbook", why.clone()) }]).await,
        Work::Action(name) => name,
    };
    let with = match definition.with.render(&data) {
        Ok(with) => with,
        Err(error) => return run.append(wrong("expression", format!("its parameters cannot be evaluated: {error}"))).await,
    };
    let Some(action) = run.hub.registry.get(name).cloned() else {
        let hold = hold("unknown-action", format!("the playbook wants `{name}`, which this version of Cordon does not have"));
        return run.append(vec![Entry::Held { step: Some(key.clone()), hold }]).await;
    };
    match &action.kind {
        Kind::Probe(probe) => look(run, view, step, &action, probe, with).await,
        Kind::Change(change) => {
            let planned = async {
                let read = clients(run, view, &action).await?;
                change.plan(cx(run, view, &action, key, &read), &with).await
            };
            match planned.await {
                Ok(Planned::Ready { plan, .. }) => decide(run, view, step, definition, &action, change, with, plan).await,
                Ok(Planned::Refuse { code, why }) => run.append(vec![Entry::Held { step: Some(key.clone()), hold: hold(code, why) }]).await,
                Ok(Planned::Moot { why }) => run.append(vec![Entry::Skipped { step: key.clone(), why }]).await,
                Err(error) => put_off(run, step, &error).await,
            }
        }
    }
}

/// A step whose outcome is needed and that was only planned.
fn only_planned(view: &View, definition: &Step) -> Option<String> {
    definition.reads_outcomes_of().find(|id| view.latest(id).is_some_and(|step| matches!(step.state, StepState::Observed { .. })))
}

async fn look(
    run: &Run,
    view: &View,
    step: &StepView,
    action: &Action,
    probe: &Arc<dyn DynProbe>,
    with: Value,
) -> Result<(), JournalError> {
    let key = &step.key;
    let found = async {
        let read = clients(run, view, action).await?;
        probe.run(cx(run, view, action, key, &read), &with).await
    };
    match found.await {
        Ok(found) => run.append(vec![Entry::ProbeDone { step: key.clone(), with, outcome: found.outcome, evidence: found.evidence }]).await,
        Err(error) => put_off(run, step, &error).await,
    }
}

#[expect(clippy::too_many_arguments, reason = "everything that a decision is about, once")]
async fn decide(
    run: &Run,
    view: &View,
    step: &StepView,
    definition: &Step,
    action: &Action,
    change: &Arc<dyn DynChange>,
    with: Value,
    plan: Plan,
) -> Result<(), JournalError> {
    let hub = &run.hub;
    let key = step.key.clone();
    let mut facts = match run.facts(view).await {
        Ok(facts) => facts,
        Err(why) => {
            let until = after(hub.clock.now(), backoff(step.tries));
            let entry = if step.tries < TRIES {
                Entry::Deferred { step: Some(key), why, until, counts: true }
            } else {
                let why = format!("the organization cannot be read, so opt-outs are unknown: {why}");
                Entry::Held { step: Some(key), hold: hold("organization-unreadable", why) }
            };
            return run.append(vec![entry]).await;
        }
    };
    let mode = hub.config.hub.mode.strictest(view.playbook.mode);
    // What the hub writes about a finding changes nothing of a member's, so that neither its opt-out nor a known source forbids it.
    if action.seat == Seat::Hub {
        facts.opt_outs.clear();
        facts.known = None;
    } else if !hub.rehearsal && mode != Mode::Observe && view.observe_only.is_none() && !plan.changes.is_empty() && facts.unfit.is_none() {
        facts.unfit = unconfirmed(run, view).await;
    }
    // The session's policy is made before anything is decided: what cannot be narrowed is not begun.
    let policy = match change.policy(cell(run, view, action), &with, &plan.before) {
        Ok(Ok(policy)) => policy,
        Ok(Err(_)) if plan.changes.is_empty() => String::new(),
        Ok(Err(error)) => return run.append(vec![Entry::Held { step: Some(key), hold: hold("session-policy", error.to_string()) }]).await,
        Err(error) => return put_off(run, step, &error).await,
    };
    let ask = Ask {
        step: key.clone(),
        action: action.name,
        risk: action.risk,
        with: with.clone(),
        plan: plan.clone(),
        mode,
        ask: definition.ask,
        facts,
        caps: hub.caps(),
        question_lasts: hub.config.question_lasts,
        stand_down: gate::stand_down_key(view),
        uncounted: action.seat == Seat::Hub,
        rehearsal: hub.rehearsal,
    };
    let (now, pace) = (hub.clock.now(), hub.pace);
    let decision = run.decide(async |view| gate::commit(&hub.journal, &hub.lease, &view, ask, now, pace).await).await?;
    let Decision::Go(warrant) = decision else { return Ok(()) };
    apply(run, view, &key, action, change, &with, &plan, policy, warrant).await
}

#[expect(clippy::too_many_arguments, reason = "everything that a change is made of, once")]
async fn apply(
    run: &Run,
    view: &View,
    key: &StepKey,
    action: &Action,
    change: &Arc<dyn DynChange>,
    with: &Value,
    plan: &Plan,
    policy: String,
    warrant: Warrant,
) -> Result<(), JournalError> {
    let done = async {
        let read = clients(run, view, action).await?;
        let aws = open_write(run, view, key, action, policy, &warrant).await?;
        change.apply(cx(run, view, action, key, &read), Write { aws: &aws, warrant: &warrant }, with, &plan.before).await
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
            let counted = !not_sent(&error);
            let again = (error.may_pass() && (tries < TRIES || !counted)) || effect == Effect::Unknown;
            failed(step, effect, &error, again.then(|| after(now, backoff(tries))))
        }
    };
    run.append(entries).await
}

/// What a failed change leaves behind. Nothing done and no hope: it failed. Something done or unknown: the world is read.
fn failed(step: StepKey, effect: Effect, error: &ActionError, again: Option<jiff::Timestamp>) -> Vec<Entry> {
    let mut entries = vec![Entry::ApplyFailed { step: step.clone(), effect, error: error.to_string(), again }];
    if again.is_none() {
        match effect {
            Effect::None => {
                let verdict = cordon_shared::plan::Verdict::NotInEffect { detail: "nothing was changed".to_owned() };
                entries.push(Entry::Recovered { step: step.clone(), verdict });
                entries.push(Entry::Failed { step, code: error.code().to_owned(), why: error.to_string() });
            }
            Effect::Partial | Effect::Unknown => {
                entries.push(Entry::Stuck {
                    step,
                    why: format!("it is done in part, and the rest failed: {error}; `cordon incident undo` puts back what was done"),
                });
            }
        }
    }
    entries
}

/// The write session of a step.
pub(super) async fn open_write(
    run: &Run,
    view: &View,
    key: &StepKey,
    action: &Action,
    policy: String,
    warrant: &Warrant,
) -> Result<cordon_spoke::session::Clients, ActionError> {
    let sessions = &run.hub.sessions;
    let opened = match action.seat {
        Seat::Member => sessions.write(&view.subject.cell, run.id, key, policy, warrant).await,
        Seat::Hub => sessions.write_hub(&run.hub.config.hub.home_region, run.id, key, policy, warrant).await,
    };
    Ok(opened?)
}

/// Whether GuardDuty itself still knows the finding (`confirm_findings`): asked once for a run, before its first change.
async fn unconfirmed(run: &Run, view: &View) -> Option<Hold> {
    if !run.hub.config.hub.confirm_findings {
        return None;
    }
    let note = view.findings.last()?;
    // What an analyst opened by hand is known to nobody else.
    if note.input.starts_with("opened by ") && note.id.0.starts_with("cordon:opened/") {
        return None;
    }
    if note.finding.get("provider").and_then(Value::as_str) != Some("guard-duty") {
        return None;
    }
    let ask = || async {
        let region = note
            .id
            .0
            .parse::<cordon_shared::arn::Arn>()
            .ok()
            .and_then(|arn| arn.region())
            .unwrap_or_else(|| view.subject.cell.region.clone());
        let clients = run.hub.sessions.hub(&region);
        match cordon_spoke::aws::findings::guardduty_finding(&clients, &note.id.0).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(hold(
                "unconfirmed",
                format!(
                    "GuardDuty in the hub's account does not know finding {}: it may be forged, or be of an account that is not a member",
                    note.id.0
                ),
            )),
            Err(error) => Err(hold(
                "unconfirmed",
                format!(
                    "the finding could not be fetched again from GuardDuty: {error}; mend it and release, or set `[hub] confirm_findings = false`"
                ),
            )),
        }
    };
    run.confirmed.get_or_init(ask).await.clone().err()
}

/// A later generation holds a started step's parameters against the new finding.
pub(super) async fn renew(run: &Run, view: &View, key: &StepKey) -> Result<(), JournalError> {
    let (Some(step), Some(definition)) = (view.step(key), view.step(key).and_then(|step| view.definition(step))) else { return Ok(()) };
    let data = view.data();
    let wanted = definition.when.as_ref().is_none_or(|when| when.truth(&data).unwrap_or(true));
    let same = definition.with.render(&data).is_ok_and(|with| with == step.with);
    let generation = view.generation;
    let entry = if wanted && !same && matches!(definition.work, Work::Action(_)) {
        Entry::Renewed { step: key.next(), generation }
    } else {
        Entry::Kept { step: key.clone(), generation }
    };
    run.append(vec![entry]).await
}
