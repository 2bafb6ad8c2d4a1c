//! Taking the instance out, and reading that back.

use cordon_shared::plan::Verdict;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    Before, Membership, Mode, Outcome, Pool,
    decide::{DETACHED, IN_SERVICE, STANDBY},
    literal,
    look::{AT_A_TIME, Entry},
    part, wire,
};
use crate::action::{ActionError, ApplyError, Cx, Write};

/// Somebody changed the group since the plan.
fn moved(call: &str, message: String) -> ActionError {
    ActionError::Service { call: call.to_owned(), code: "GroupChanged".to_owned(), message: format!("{message} since the plan") }
}

pub(super) async fn apply(cx: Cx<'_>, write: Write<'_>, id: &str, before: &Before) -> Result<Outcome, ApplyError> {
    let mut done = 0;
    if let Some(group) = &before.group {
        leave_group(cx, write, id, group, &mut done).await.map_err(|error| ApplyError::after(done, error))?;
    }
    for pool in &before.target_groups {
        let client = write.on("target_group", part(&pool.arn)).elbv2();
        match wire::deregister(&client, pool).await {
            Ok(()) => done += 1,
            // What is not there serves nothing.
            Err(error) if wire::is_missing(&error) => {}
            Err(error) => return Err(ApplyError::after(done, error)),
        }
    }
    for balancer in &before.balancers {
        let there = wire::has(&cx.read.elb(), &balancer.name, id).await.map_err(|error| ApplyError::after(done, error))?;
        if there == Some(true) {
            let client = write.on("balancer", &balancer.name).elb();
            wire::leave(&client, &balancer.name, id).await.map_err(|error| ApplyError::after(done, error))?;
            done += 1;
        }
    }
    Ok(before.outcome())
}

async fn leave_group(cx: Cx<'_>, write: Write<'_>, id: &str, group: &Membership, done: &mut usize) -> Result<(), ActionError> {
    let read = cx.read.autoscaling();
    let client = write.on("group", &literal(&group.name)).autoscaling();
    let call = match group.mode {
        Mode::Detached => "autoscaling:DetachInstances",
        Mode::Standby => "autoscaling:EnterStandby",
    };
    let Some(standing) = wire::standing(&read, id).await? else {
        return match group.mode {
            Mode::Detached => Ok(()),
            Mode::Standby => Err(moved(call, format!("{id} left Auto Scaling group {}", group.name))),
        };
    };
    let state = standing.state.as_str();
    if standing.group != group.name {
        return Err(moved(call, format!("{id} came into Auto Scaling group {}", standing.group)));
    }
    if DETACHED.contains(&state) || STANDBY.contains(&state) {
        return Ok(());
    }
    if state != IN_SERVICE {
        return Err(moved(call, format!("{id} became {state} in Auto Scaling group {}", group.name)));
    }
    if group.mode == Mode::Standby {
        make_room(cx, write, group, done).await?;
        wire::enter_standby(&client, &group.name, id).await?;
    } else {
        wire::detach(&client, &group.name, id).await?;
    }
    *done += 1;
    Ok(())
}

/// Lowers the minimum size as far as it was planned.
async fn make_room(cx: Cx<'_>, write: Write<'_>, group: &Membership, done: &mut usize) -> Result<(), ActionError> {
    let Some(now) = wire::group(&cx.read.autoscaling(), &group.name).await? else {
        return Err(moved("autoscaling:EnterStandby", format!("Auto Scaling group {} was deleted", group.name)));
    };
    if now.desired.saturating_sub(group.weight) >= now.min {
        return Ok(());
    }
    match group.lower_to {
        Some(lower_to) if now.min == group.min && now.desired.saturating_sub(group.weight) >= lower_to => {
            let client = write.on("standby_group", &literal(&group.name)).autoscaling();
            wire::set_minimum(&client, &group.name, lower_to).await?;
            *done += 1;
            Ok(())
        }
        _ => {
            let sizes = format!("its minimum size is {} and its desired capacity {}", now.min, now.desired);
            Err(moved("autoscaling:EnterStandby", format!("Auto Scaling group {} changed, {sizes}", group.name)))
        }
    }
}

/// What is missing, and what somebody else did.
#[derive(Default)]
struct Found {
    missing: Option<String>,
    drifted: Option<String>,
}

impl Found {
    fn lacks(&mut self, detail: String) {
        self.missing.get_or_insert(detail);
    }
    fn drifts(&mut self, detail: String) {
        self.drifted.get_or_insert(detail);
    }
}

pub(super) async fn verify(cx: Cx<'_>, id: &str, before: &Before) -> Result<Verdict, ActionError> {
    let mut found = Found::default();
    if let Some(group) = &before.group {
        verify_group(cx, id, group, &mut found).await?;
    }
    for (pool, entries) in health(cx, &before.target_groups).await? {
        for entry in entries.iter().filter(|entry| entry.registered() && before.ids.contains(&entry.target.id)) {
            let what = format!("{} has {}", pool.arn, entry.target.attribute());
            if pool.targets.iter().any(|target| target.is(&entry.target)) {
                found.lacks(what);
            } else {
                found.drifts(format!("{what}, which somebody registered since the plan"));
            }
        }
    }
    for balancer in &before.balancers {
        if wire::has(&cx.read.elb(), &balancer.name, id).await? == Some(true) {
            found.lacks(format!("{} has {id}", balancer.arn));
        }
    }
    Ok(match (found.drifted, found.missing) {
        (Some(detail), _) => Verdict::Drifted { detail },
        (None, Some(detail)) => Verdict::NotInEffect { detail },
        (None, None) => Verdict::InEffect,
    })
}

/// The targets of these groups now; groups that are not there any more are left out.
async fn health<'b>(cx: Cx<'_>, pools: &'b [Pool]) -> Result<Vec<(&'b Pool, Vec<Entry>)>, ActionError> {
    let client = &cx.read.elbv2();
    let arns: Vec<String> = pools.iter().map(|pool| pool.arn.clone()).collect();
    let found: Vec<Option<Vec<Entry>>> =
        stream::iter(arns).map(|arn| async move { wire::health(client, &arn).await }).buffered(AT_A_TIME).try_collect().await?;
    Ok(pools.iter().zip(found).filter_map(|(pool, entries)| Some((pool, entries?))).collect())
}

async fn verify_group(cx: Cx<'_>, id: &str, group: &Membership, found: &mut Found) -> Result<(), ActionError> {
    let standing = wire::standing(&cx.read.autoscaling(), id).await?;
    let state = standing.as_ref().map(|standing| standing.state.as_str()).unwrap_or_default();
    match (&standing, group.mode) {
        (Some(standing), _) if standing.group != group.name => {
            found.drifts(format!("{id} is a member of Auto Scaling group {} now", standing.group));
        }
        (Some(_), _) if state == IN_SERVICE => found.lacks(format!("{id} is {state} in {}", group.arn)),
        (None, Mode::Detached) => {}
        (None, Mode::Standby) => found.drifts(format!("{id} is no member of {} any more", group.arn)),
        // Its connections may drain for minutes; no new ones come.
        (Some(_), Mode::Detached) if DETACHED.contains(&state) => {}
        (Some(_), Mode::Standby) if STANDBY.contains(&state) => {}
        (Some(_), mode) => found.drifts(format!("{id} is {state} in {}, not {}", group.arn, mode.word())),
    }
    Ok(())
}
