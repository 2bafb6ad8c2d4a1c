//! Asking the policies about a step: its case is put together from what is known now, and answered by the set in force.

use std::collections::BTreeMap;

use cordon_shared::{
    engine::{StepView, View},
    gate::{
        PolicyAnswer, PolicyVerdict,
        budget::{self, Place},
    },
    journal::JournalError,
    mode::Mode,
    plan::{Plan, Seat},
    playbook::Step,
};
use cordon_spoke::action::{Action, TagsRead};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{Hub, run::Run};
use crate::{
    org::{AccountFacts, OrgError},
    people,
    policy::{
        Case,
        case::{Deed, Matter, OptOuts},
        person::{About, Doing},
    },
};

/// The window of what was spent, as the caps have it.
const WINDOW: SignedDuration = SignedDuration::from_hours(1);

/// The tags that say what a resource is for.
const WHAT_FOR: [&str; 2] = ["environment", "criticality"];

/// What the policies say to a step: `Err` when what they are asked about cannot be read now.
pub(super) async fn judge(
    run: &Run,
    view: &View,
    (step, action): (&Step, &Action),
    plan: Option<&Plan>,
    opt_outs: OptOuts,
) -> Result<PolicyAnswer, String> {
    let hub = &run.hub;
    let policies = hub.policies.in_force();
    let facts = match hub.org.facts(&view.subject.cell.account).await {
        Ok(facts) => facts,
        Err(OrgError::Passing(why)) => return Err(why),
        // The gate holds for that reason; the policies are not asked about an account that nobody knows.
        Err(OrgError::Unfit(hold)) => {
            let (verdict, why, set) = (PolicyVerdict::Failed, hold.why, policies.digest.clone());
            return Ok(PolicyAnswer { verdict, why, policies: Vec::new(), set, opt_out: None, asked: Value::Null });
        }
    };
    Ok(policies.judge(&case(run, view, Deed::Step(step, action), plan, &facts, opt_outs).await?))
}

/// What the policies are asked about, as it is known now; `Err` when it cannot be read.
pub(super) async fn case(
    run: &Run,
    view: &View,
    deed: Deed<'_>,
    plan: Option<&Plan>,
    facts: &AccountFacts,
    opt_outs: OptOuts,
) -> Result<Case, String> {
    let hub = &run.hub;
    let now = hub.clock.now();
    let since = now.checked_sub(WINDOW).unwrap_or(Timestamp::MIN);
    let spent = hub.store.spent_since(since, view.subject.cell.account.as_str()).await.map_err(|error| error.to_string())?;
    let budget_spent = budget_spent(hub, view, deed, plan, facts).await.map_err(|error| error.to_string())?;
    let matter = Matter { view, deed, plan, mode: mode(run, view), facts, spent, caps: hub.caps(), budget_spent, opt_outs };
    Ok(Case::new(matter, now, &hub.config.policy.time_zone))
}

/// How much is spent of the fullest budget that a step counts against, in percent.
async fn budget_spent(hub: &Hub, view: &View, deed: Deed<'_>, plan: Option<&Plan>, facts: &AccountFacts) -> Result<u32, JournalError> {
    let (Deed::Step(_, action), Some(plan)) = (deed, plan) else { return Ok(0) };
    let place = Place { account: view.subject.cell.account.to_string(), path: facts.path.ids().map(str::to_owned).collect() };
    let uses = budget::uses(plan, action.counts);
    let mut most = 0;
    for one in hub.config.budgets.iter().filter(|_| action.seat != Seat::Hub) {
        let charged = hub.store.charges(budget::since(one, hub.clock.now()), one.counts).await?;
        most = most.max(budget::spent_percent(one, charged, &place, &uses).unwrap_or(0));
    }
    Ok(most)
}

/// Who may say yes to a step no more though they did, and why: they are not among the people any more, or the policies in force say so.
pub(super) async fn void(run: &Run, view: &View, step: &StepView) -> Result<BTreeMap<String, String>, JournalError> {
    let mut void = BTreeMap::new();
    if step.approvals.is_empty() || step.finishing {
        return Ok(void);
    }
    let hub = &run.hub;
    let (entries, policies) = (hub.store.entries(view.run).await?, hub.policies.in_force());
    for (before, yes) in step.approvals.iter().enumerate() {
        let Some(person) = people::named(&hub.config.people, &yes.by) else {
            void.insert(yes.by.0.clone(), "there is nobody of this name in `[[people]]` now".to_owned());
            continue;
        };
        // Asked as it was then: with the yes of those who were before.
        let mut then = step.clone();
        then.approvals.truncate(before);
        let about = About { view, entries: &entries, step: Some(&then) };
        if let Err(why) = policies.may(person, Doing::Approve, Some(&about), hub.clock.now(), &hub.config.policy.time_zone) {
            void.insert(yes.by.0.clone(), why);
        }
    }
    Ok(void)
}

/// The mode that a run's steps are decided under.
pub(super) fn mode(run: &Run, view: &View) -> Mode {
    run.hub.config.hub.mode.strictest(view.playbook.mode)
}

/// The tags of the subject and of what a plan would change, as the plan read them. Of what else it read because it would be hit, too (the
/// instances that share a role), those that policies go by.
pub(super) fn tags_of(view: &View, plan: &Plan, read: &TagsRead) -> BTreeMap<String, BTreeMap<String, String>> {
    let (changed, counted) = (plan.resources(), plan.counted());
    let concerned = |resource: &str| {
        resource == view.subject.name() || changed.contains(resource) || counted.contains(resource) || plan.touches.contains(resource)
    };
    let mut read = read.all();
    read.retain(|resource, tags| {
        let concerned = concerned(resource);
        tags.retain(|key, _| concerned || WHAT_FOR.iter().any(|what| key.eq_ignore_ascii_case(what)));
        concerned || !tags.is_empty()
    });
    read
}

/// Why a probe may not look: code and sentence. A probe has no plan that a person could say yes to, so that a question is a no.
pub(super) fn refused(answer: &PolicyAnswer) -> Option<(&'static str, String)> {
    match answer.verdict {
        PolicyVerdict::Allow => None,
        PolicyVerdict::Ask { .. } => Some(("policy", format!("{}; a probe has no plan that one could say yes to", answer.why))),
        PolicyVerdict::Deny => Some(("policy", answer.why.clone())),
        PolicyVerdict::Failed => Some(("policy-error", answer.why.clone())),
    }
}
