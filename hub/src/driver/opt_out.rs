//! Since when opt-outs are there: what was seen of tags is noted, and what a step met is dated, by that and by CloudTrail.

use std::collections::BTreeSet;

use cordon_shared::{
    engine::{Entry, Hold, View},
    gate::{
        Facts, PolicyVerdict, hold,
        opt_out::{all_new, attack_began, met},
    },
    id::Region,
    journal::{
        JournalError, Sighting,
        sightings::{self, Look},
    },
    optout::{self, Since},
    plan::{Plan, StepKey},
};
use cordon_spoke::{action::Action, actions::cloudtrail::date_tag};
use jiff::Timestamp;

use super::{judge, post::Post, run::Run};
use crate::{
    org::AccountFacts,
    policy::case::{Deed, OptOuts},
};

/// Of how many resources of one step CloudTrail is asked.
const MOST: usize = 10;

/// A step whose opt-outs are dated.
#[derive(Clone, Copy)]
pub(super) struct Step<'a> {
    pub key: &'a StepKey,
    pub action: &'a Action,
    pub region: Option<&'a Region>,
    /// When its planning began; `None`: its plan is of an earlier decision, and stays as it is.
    pub planned_at: Option<Timestamp>,
}

/// Notes what a step's plan and the organization say of opt-out tags, and dates those that count for the step.
pub(super) async fn of_step(run: &Run, view: &View, step: Step<'_>, facts: &mut Facts, plan: &mut Plan) -> Result<OptOuts, JournalError> {
    let hub = &run.hub;
    let (key, now) = (hub.config.opt_out_key.as_str(), hub.clock.now());
    let mut looks = match hub.org.facts(&view.subject.cell.account).await {
        Ok(account) => of_account(&account, key, now),
        // The gate holds for that reason.
        Err(_) => Vec::new(),
    };
    if let Some(from) = step.planned_at {
        let look = |whose: &str, value: Option<String>| Look { whose: whose.to_owned(), value, from, until: now };
        let carriers: BTreeSet<&str> = plan.opt_outs.iter().map(|seen| seen.resource.as_str()).collect();
        let others = plan.tags.iter().filter(|(arn, _)| !carriers.contains(arn.as_str()));
        looks.extend(others.map(|(arn, tags)| look(arn, tags.get(key).cloned())));
        looks.extend(plan.opt_outs.iter().map(|seen| look(&seen.resource, Some(seen.value.clone()))));
    }
    let seen = note(run, looks).await?;
    let began = attack_began(view);
    let region = step.region.unwrap_or(&view.subject.cell.region).as_str();
    let work = optout::Work { playbook: &view.playbook.name, action: Some(step.action.name), region };
    let opts_out = |value: &str| optout::read(value, work, now).changes;
    let sighted = |whose: &str, value: &str| {
        let (_, sighting) = seen.iter().find(|(known, _)| known == whose)?;
        sighting.since(value, began, opts_out)
    };
    for fact in facts.opt_outs.iter_mut().filter(|fact| opts_out(&fact.value)) {
        fact.since = Some(sighted(&fact.id, &fact.value).unwrap_or_else(|| unseen(&seen, &fact.id)));
    }
    let mut asked = BTreeSet::new();
    for tag in plan.opt_outs.iter_mut().filter(|tag| step.planned_at.is_some() && opts_out(&tag.value)) {
        let seen = sighted(&tag.resource, &tag.value);
        if seen.as_ref().is_some_and(|seen| !seen.came_after(began)) {
            tag.since = seen;
            continue;
        }
        // What was seen to appear is new whatever CloudTrail has; by whom, only CloudTrail can say.
        let record = if asked.len() < MOST || asked.contains(&tag.resource) {
            asked.insert(tag.resource.clone());
            recorded(run, view, step, &tag.resource, began, opts_out).await
        } else {
            Since::Unknown { why: format!("more than {MOST} opt-outs were met, and it was not looked up") }
        };
        tag.since = seen.filter(|_| !record.came_after(began)).or(Some(record));
    }
    let met = met(view, step.action.name, step.region, facts, plan, now);
    let since = met.iter().map(|met| met.since.and_then(Since::first_seen)).collect::<Option<Vec<_>>>();
    Ok(OptOuts { since: since.and_then(|all| all.into_iter().min()), new: all_new(&met, began) })
}

/// What sightings leave open of an account or an OU: Organizations records who tags them in the management account, which is not read.
fn unseen(seen: &[(String, Sighting)], id: &str) -> Since {
    let first = seen.iter().find(|(known, _)| known == id).map(|(_, sighting)| sighting.now.first);
    let first = first.map(|first| format!(" until {first:.0}")).unwrap_or_default();
    let why = format!(
        "Cordon did not look at it from the attack's beginning{first}, and who tags it is recorded in the management account alone"
    );
    Since::Unknown { why }
}

/// What CloudTrail says, asked once for each resource while the run is driven.
async fn recorded(run: &Run, view: &View, step: Step<'_>, resource: &str, began: Timestamp, opts_out: impl Fn(&str) -> bool) -> Since {
    let mut dated = run.dated.lock().await;
    let key = (resource.to_owned(), began);
    if !dated.contains_key(&key) {
        let calls = match Post::open(run, view, step.action, step.region).await {
            Ok(post) => date_tag::calls(post.cx(view, step.key), resource, &run.hub.config.opt_out_key, began).await,
            Err(error) => Err(format!("CloudTrail cannot be asked: {error}")),
        };
        dated.insert(key.clone(), calls);
    }
    let unread = Err("it was not looked up".to_owned());
    date_tag::since(dated.get(&key).unwrap_or(&unread), opts_out)
}

fn of_account(account: &AccountFacts, key: &str, now: Timestamp) -> Vec<Look> {
    let look = |(id, value): (&str, Option<&str>)| Look {
        whose: id.to_owned(),
        value: value.map(str::to_owned),
        from: account.read_at,
        until: now,
    };
    account.tags_of_all(key).map(look).collect()
}

/// Notes looks, and gives what is known with them.
async fn note(run: &Run, looks: Vec<Look>) -> Result<Vec<(String, Sighting)>, JournalError> {
    run.hub.journal.with(move |tx| looks.into_iter().map(|look| Ok((look.whose.clone(), sightings::note(tx, &look)?))).collect()).await
}

/// What an opt-out that forbids even looking makes of a run's admission: nothing, a hold, or an entry that says why it is looked at.
pub(super) async fn of_looking(run: &Run, view: &View, account: &AccountFacts) -> Result<Result<Option<Entry>, Hold>, JournalError> {
    let hub = &run.hub;
    let now = hub.clock.now();
    let seen = note(run, of_account(account, &hub.config.opt_out_key, now)).await?;
    let work = optout::Work { playbook: &view.playbook.name, action: None, region: view.subject.cell.region.as_str() };
    let blinds = |value: &str| optout::read(value, work, now).investigation;
    let blind: Vec<_> = account.opt_outs.iter().filter(|fact| blinds(&fact.value)).collect();
    if blind.is_empty() {
        return Ok(Ok(None));
    }
    let began = attack_began(view);
    let since = |id: &str, value: &str| {
        let sighting = seen.iter().find(|(known, _)| known == id).and_then(|(_, sighting)| sighting.since(value, began, blinds));
        sighting.unwrap_or_else(|| unseen(&seen, id))
    };
    let dated: Vec<Since> = blind.iter().map(|fact| since(&fact.id, &fact.value)).collect();
    let told: Vec<String> = blind
        .iter()
        .zip(&dated)
        .map(|(fact, since)| {
            format!("{} is opted out even of investigation by its tag, value `{}`; {}", fact.whose, fact.value, since.words(began))
        })
        .collect();
    let told = told.join("; ");
    if !dated.iter().all(|since| since.came_after(began)) {
        return Ok(Err(hold("opted-out", told)));
    }
    let opt_outs = OptOuts { since: dated.iter().filter_map(Since::first_seen).min(), new: true };
    let case = judge::case(run, view, Deed::Looking, None, account, opt_outs).await.map_err(JournalError::Store)?;
    let answer = hub.policies.in_force().question(&case);
    // There is no plan yet that persons could say yes to: a question is none.
    Ok(match answer.verdict {
        PolicyVerdict::Allow => Ok(Some(Entry::LookedOn { why: format!("{told}; {}", answer.why) })),
        _ => Err(hold("opted-out", format!("{told}. It is obeyed all the same: {}", answer.why))),
    })
}
