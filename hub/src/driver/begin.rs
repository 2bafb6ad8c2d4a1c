//! Beginning a step: condition, parameters, then a probe, a hold, or plan and decision; the change itself is [`super::apply`].

use std::sync::Arc;

use cordon_shared::{
    engine::{Demand, Entry, StepState, StepView, View},
    gate::{self, Ask, Decision, budget::Spending, hold},
    id::Region,
    journal::JournalError,
    mode::Mode,
    plan::{Plan, Seat, StepKey},
    playbook::{OnTimeout, Phase, Step, Work},
};
use cordon_spoke::action::{Action, DynChange, DynProbe, Kind, Plan as Planned};
use jiff::Timestamp;
use serde_json::Value;

use super::{
    apply::{Deed, apply},
    confirm::{Doubt, doubt},
    judge::{self, judge},
    opt_out,
    post::{Post, cell},
    run::Run,
    truth::{self, Suppression},
    work::{TRIES, after, backoff, put_off, underway},
};
use crate::policy::case::OptOuts;

/// Begins a step, or goes on with one that has its plan and may be applied again.
pub(super) async fn begin(run: &Run, view: &View, key: &StepKey) -> Result<(), JournalError> {
    let (Some(step), Some(definition)) = (view.step(key), view.step(key).and_then(|step| view.definition(step))) else { return Ok(()) };
    let beginning = Beginning { run, view, step, definition, at: run.hub.clock.now() };
    if step.fixed {
        let under = underway(run, view, key)?;
        let plan = step.plan.clone().unwrap_or_default();
        let order = Order { with: step.with.clone(), region: step.region.clone() };
        return beginning.decide(&under.action, &under.change, order, plan).await;
    }
    beginning.evaluate().await
}

/// What a step is told: its parameters, and the Region where that is not the subject's own.
struct Order {
    with: Value,
    region: Option<Region>,
}

/// A step that is being begun, for the finding as it was when this began.
struct Beginning<'a> {
    run: &'a Run,
    view: &'a View,
    step: &'a StepView,
    definition: &'a Step,
    at: Timestamp,
}

impl Beginning<'_> {
    fn key(&self) -> StepKey {
        self.step.key.clone()
    }

    /// Journals what came of it, unless a later finding has made the question another one.
    async fn end(&self, entry: Entry) -> Result<(), JournalError> {
        self.run.append_of(self.view.generation, vec![entry]).await
    }

    async fn held(&self, code: &str, why: String) -> Result<(), JournalError> {
        self.end(Entry::Held { step: Some(self.key()), hold: hold(code, why) }).await
    }

    async fn failed(&self, code: &str, why: String) -> Result<(), JournalError> {
        self.end(Entry::Failed { step: self.key(), code: code.to_owned(), why }).await
    }

    async fn evaluate(&self) -> Result<(), JournalError> {
        let Self { run, view, step, definition, .. } = *self;
        if let Some(need) = only_planned(view, definition) {
            let why = format!("depends on the outcome of `{need}`, which is only planned");
            return self.end(Entry::Observed { step: self.key(), why }).await;
        }
        let wants = match view.wants(definition) {
            Ok(wants) => wants,
            Err(error) => return self.failed("expression", format!("its condition cannot be evaluated: {error}")).await,
        };
        if wants.is_empty() {
            let when = definition.when.as_ref().map(ToString::to_string).unwrap_or_default();
            return self.end(Entry::Skipped { step: self.key(), why: format!("not the case: {when}") }).await;
        }
        let name = match &definition.work {
            Work::Hold(why) => return self.held("playbook", why.clone()).await,
            Work::Action(name) => name,
        };
        let Some(action) = run.hub.registry.get(name).cloned() else {
            return self.held("unknown-action", format!("the playbook wants `{name}`, which this version of Cordon does not have")).await;
        };
        let demand = match &action.kind {
            Kind::Probe(_) => view.newest_demand(definition, &wants),
            Kind::Change(_) => view.demand(step, definition, &wants),
        };
        let Demand { data, with, more } = match demand {
            Ok(Some(demand)) => demand,
            Ok(None) => {
                let why = "other instances of this step do all that the findings ask for".to_owned();
                return self.end(Entry::Skipped { step: self.key(), why }).await;
            }
            Err(error) => return self.failed("expression", format!("its parameters cannot be evaluated: {error}")).await,
        };
        let region = match self.region(&data) {
            Ok(region) => region,
            Err((code, why)) => return self.held(code, why).await,
        };
        let order = Order { with, region };
        match &action.kind {
            Kind::Probe(probe) => self.look(&action, probe, order).await,
            Kind::Change(change) => {
                if more {
                    self.end(Entry::Renewed { step: step.key.next(), generation: view.generation }).await?;
                }
                self.plan(&action, change, order).await
            }
        }
    }

    /// The Region that the step names, one that Cordon works in.
    fn region(&self, data: &Value) -> Result<Option<Region>, (&'static str, String)> {
        let Some(template) = &self.definition.region else { return Ok(None) };
        let wrong = |why: String| ("expression", format!("its Region cannot be evaluated: {why}"));
        let value = template.render(data).map_err(|error| wrong(error.to_string()))?;
        let text = value.as_str().ok_or_else(|| wrong(format!("{value} is not a text")))?;
        let region: Region = text.parse().map_err(|_| wrong(format!("`{text}` is not a Region")))?;
        let known = region == Region::global() || self.run.hub.config.hub.regions.contains(&region);
        known
            .then_some(Some(region))
            .ok_or_else(|| ("region-not-configured", format!("Region {text} is not among `[hub] regions`: add it, then release")))
    }

    async fn look(&self, action: &Action, probe: &Arc<dyn DynProbe>, order: Order) -> Result<(), JournalError> {
        let Self { run, view, step, definition, .. } = *self;
        // Behind a look there is no gate: where nobody knows the account, or it is not worked in any more, nothing is looked at in it.
        if action.seat == Seat::Member {
            match run.facts(view).await {
                Ok(facts) => {
                    if let Some(hold) = facts.unfit {
                        return self.end(Entry::Held { step: Some(self.key()), hold }).await;
                    }
                }
                Err(why) => return self.later("organization-unreadable", format!("the organization cannot be read: {why}")).await,
            }
        }
        match judge(run, view, (definition, action), None, OptOuts::default()).await {
            Err(why) => return self.later("organization-unreadable", format!("the policies cannot be asked: {why}")).await,
            Ok(answer) => {
                if let Some((code, why)) = judge::refused(&answer).filter(|_| !answer.asked.is_null()) {
                    let judged = Entry::Judged { step: self.key(), answer: Box::new(answer) };
                    let held = Entry::Held { step: Some(self.key()), hold: hold(code, why) };
                    return run.append_of(view.generation, vec![judged, held]).await;
                }
            }
        }
        let found = async {
            let post = Post::open(run, view, action, order.region.as_ref()).await?;
            probe.run(post.cx(view, &step.key), &order.with).await
        };
        match tokio::time::timeout(definition.within.unsigned_abs(), found).await {
            Ok(Ok(found)) => {
                self.end(Entry::ProbeDone { step: self.key(), with: order.with, outcome: found.outcome, evidence: found.evidence }).await
            }
            Ok(Err(error)) => put_off(run, step, &error).await,
            Err(_) => {
                let why = format!("it did not end within {:#}", definition.within);
                match definition.on_timeout {
                    OnTimeout::Hold => self.held("timeout", why).await,
                    OnTimeout::Fail => self.failed("timeout", why).await,
                }
            }
        }
    }

    async fn plan(&self, action: &Action, change: &Arc<dyn DynChange>, order: Order) -> Result<(), JournalError> {
        let Self { run, view, step, .. } = *self;
        if let Some(why) = unrecorded(view).filter(|_| action.seat == Seat::Member) {
            return self.held("evidence", why).await;
        }
        let planned = async {
            let post = Post::open(run, view, action, order.region.as_ref()).await?;
            let mut planned = change.plan(post.cx(view, &step.key), &order.with).await?;
            if let Planned::Ready { plan, .. } = &mut planned {
                plan.tags = judge::tags_of(view, plan, &post.tags);
                plan.seat = action.seat;
            }
            Ok(planned)
        };
        match planned.await {
            Ok(Planned::Ready { plan, .. }) => self.decide(action, change, order, plan).await,
            Ok(Planned::Refuse { code, why }) => self.held(code, why).await,
            Ok(Planned::Moot { why }) => self.end(Entry::Skipped { step: self.key(), why }).await,
            Err(error) => put_off(run, step, &error).await,
        }
    }

    /// Later, or for a person when it was put off often enough.
    async fn later(&self, code: &str, why: String) -> Result<(), JournalError> {
        let tries = self.step.tries;
        if tries >= TRIES {
            return self.held(code, why).await;
        }
        let until = after(self.run.hub.clock.now(), backoff(tries));
        self.end(Entry::Deferred { step: Some(self.key()), why, until, counts: true }).await
    }

    async fn decide(&self, action: &Action, change: &Arc<dyn DynChange>, order: Order, mut plan: Plan) -> Result<(), JournalError> {
        let Self { run, view, step, definition, at } = *self;
        let Order { with, region } = order;
        let hub = &run.hub;
        let mut facts = match run.facts(view).await {
            Ok(facts) => facts,
            Err(why) => {
                let why = format!("the organization cannot be read, so opt-outs are unknown: {why}");
                return self.later("organization-unreadable", why).await;
            }
        };
        facts.void = judge::void(run, view, step).await?;
        let mode = judge::mode(run, view);
        let wanted_by = view.wanted_by(definition, &with);
        // What the hub writes about a finding changes nothing of a member's: neither its opt-out nor a known source forbids it.
        if action.seat == Seat::Hub {
            facts.opt_outs.clear();
        } else {
            facts.known = hub.known_source(view, &wanted_by);
        }
        let planned_at = (!step.fixed).then_some(at);
        let of_step = opt_out::Step { key: &step.key, action, region: region.as_ref(), planned_at };
        let opt_outs = opt_out::of_step(run, view, of_step, &mut facts, &mut plan).await?;
        let policy = match judge(run, view, (definition, action), Some(&plan), opt_outs).await {
            Ok(policy) => policy,
            Err(why) => return self.later("organization-unreadable", format!("the policies cannot be asked: {why}")).await,
        };
        if action.seat == Seat::Member
            && !hub.rehearsal
            && mode != Mode::Observe
            && view.observe_only.is_none()
            && !plan.changes.is_empty()
            && facts.unfit.is_none()
        {
            let doubt = match truth::suppressed(run, view, &wanted_by).await {
                Some(Suppression::Theirs(doubt)) => Some(doubt),
                Some(Suppression::Ours(why)) => {
                    facts.known.get_or_insert(why);
                    None
                }
                None => doubt(run, view, &wanted_by).await,
            };
            match doubt {
                None => {}
                Some(Doubt::Passing(why)) => return self.later("unconfirmed", why).await,
                Some(Doubt::Standing(hold)) => facts.unfit = Some(hold),
            }
            facts.unfit = facts.unfit.or_else(|| truth::foreign(view));
        }
        // The session's policy is made before anything is decided: what cannot be narrowed is not begun.
        let scopes = match change.policies(&cell(run, view, action, region.as_ref()), &with, &plan.before) {
            Ok(Ok(scopes)) => scopes,
            Ok(Err(_)) if plan.changes.is_empty() => Vec::new(),
            Ok(Err(error)) => return self.held("session-policy", error.to_string()).await,
            Err(error) => return put_off(run, step, &error).await,
        };
        let ask = Ask {
            step: self.key(),
            action: action.name,
            risk: action.risk,
            with: with.clone(),
            region: region.clone(),
            plan: plan.clone(),
            mode,
            ask: definition.ask,
            planned_at: at,
            facts,
            policy,
            caps: hub.caps(),
            spending: Spending { budgets: hub.config.budgets.clone(), counts: action.counts },
            question_lasts: hub.config.question_lasts,
            stand_down: gate::stand_down_key(view),
            uncounted: action.seat == Seat::Hub,
            rehearsal: hub.rehearsal,
        };
        let (now, pace, generation) = (hub.clock.now(), hub.pace, view.generation);
        let fixed = step.fixed;
        let decision = run
            .decide(async |view| {
                if !fixed && view.generation != generation {
                    return Err(JournalError::Conflict { run: view.run, expected: view.seq, found: view.seq });
                }
                gate::commit(&hub.journal, &hub.lease, &view, ask, now, pace).await
            })
            .await?;
        match decision {
            Decision::Go(warrant) => {
                apply(
                    run,
                    view,
                    Deed { key: &step.key, action, change, with: &with, region: region.as_ref(), plan: &plan },
                    scopes,
                    warrant,
                )
                .await
            }
            Decision::No(_) => Ok(()),
        }
    }
}

/// Why nothing is changed where evidence could not be stored: what was there before could not be shown afterwards. A record that the playbook
/// goes on without (`on_failure = "continue"`) is none that this waits for.
fn unrecorded(view: &View) -> Option<String> {
    view.steps.iter().find_map(|step| {
        let StepState::Held(hold) = &step.state else { return None };
        // A change that is held for this names the step that it is held for, not itself.
        let records = view.definition(step).is_some_and(|definition| definition.phase.is_none_or(|phase| phase == Phase::Record));
        (records && hold.code == "evidence").then(|| {
            let answer = format!("mend the disk, then `cordon incident release {}`", view.run);
            format!("what `{}` found could not be stored, and nothing is changed without it: {}; {answer}", step.key, hold.why)
        })
    })
}

/// A step whose outcome is needed and that was only planned.
fn only_planned(view: &View, definition: &Step) -> Option<String> {
    definition.reads_outcomes_of().find(|id| view.latest(id).is_some_and(|step| matches!(step.state, StepState::Observed { .. })))
}

/// A later generation holds a started step's parameters against the new finding.
pub(super) async fn renew(run: &Run, view: &View, key: &StepKey) -> Result<(), JournalError> {
    let (Some(step), Some(definition)) = (view.step(key), view.step(key).and_then(|step| view.definition(step))) else { return Ok(()) };
    let generation = view.generation;
    let more = match &definition.work {
        Work::Hold(_) => false,
        Work::Action(name) => match run.hub.registry.get(name).map(|action| &action.kind) {
            // What only looks goes by the newest finding.
            Some(Kind::Probe(_)) => {
                let newest = view.wants(definition).and_then(|wants| view.newest_demand(definition, &wants));
                newest.is_ok_and(|newest| newest.is_some_and(|newest| newest.with != step.with))
            }
            Some(Kind::Change(_)) | None => view.asks_for_more(step, definition),
        },
    };
    let entry = if more { Entry::Renewed { step: key.next(), generation } } else { Entry::Kept { step: key.clone(), generation } };
    run.append_of(generation, vec![entry]).await
}
