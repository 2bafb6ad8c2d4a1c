//! One instance, as the actions look at it that change something of the instance itself.

use std::time::Duration;

use aws_sdk_ec2::{Client, types::Instance};
use cordon_shared::plan::Plan as Planned;

use super::look::{Machine, filter, machine, pairs};
use crate::action::{ActionError, Cx, Plan, classify};

/// After which waits a change is read back before it counts as not there
/// (<https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html>).
pub(super) const READ_BACK: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// The instance with this id, as AWS describes it; `None` where there is none.
async fn described(client: &Client, id: &str) -> Result<Option<Instance>, ActionError> {
    let pages = client.describe_instances().filters(filter("instance-id", [id])).into_paginator().items().send();
    let reservations = pages.collect::<Result<Vec<_>, _>>().await.map_err(|error| classify("ec2:DescribeInstances", error))?;
    let mut instances = reservations.into_iter().flat_map(|reservation| reservation.instances.unwrap_or_default());
    Ok(instances.find(|instance| instance.instance_id() == Some(id)))
}

/// The instance with this id, unless it is gone.
pub(super) async fn living(client: &Client, id: &str) -> Result<Option<(Machine, Instance)>, ActionError> {
    let found = described(client, id).await?;
    let found = found.and_then(|instance| machine(&instance).map(|machine| (machine, instance)));
    Ok(found.filter(|(machine, _)| !machine.is_gone()))
}

/// Looks at an instance before something of it is changed: what counts against the caps, its opt-out and who else runs it go into `plan`.
/// The inner error is the plan where there is nothing to plan.
pub(super) async fn subject<B>(
    cx: Cx<'_>,
    id: &str,
    even_if_managed: bool,
    plan: &mut Planned,
) -> Result<Result<(Machine, Instance), Plan<B>>, ActionError> {
    let Some(instance) = described(&cx.read.ec2(), id).await? else {
        return Ok(Err(Plan::Moot { why: format!("there is no instance {id}") }));
    };
    let Some(machine) = machine(&instance) else { return Err(ActionError::Bug(format!("instance {id} was described without its id"))) };
    if machine.is_gone() {
        return Ok(Err(Plan::Moot { why: format!("instance {id} is {}", machine.state) }));
    }
    match &machine.controller {
        Some(who) if !even_if_managed => {
            let why = format!("instance {id} is run by {who}; it may undo what is changed here. A person has to decide");
            return Ok(Err(Plan::Refuse { code: "run-by-controller", why }));
        }
        Some(who) => plan.notes.push(format!("instance {id} is run by {who}, which may undo what is changed here or replace the instance")),
        None => {}
    }
    let arn = cx.ec2_arn(&format!("instance/{id}"));
    plan.opt_outs.extend(cx.opt_out(&arn, pairs(&machine.tags)));
    plan.counts = Some([arn].into());
    Ok(Ok((machine, instance)))
}

/// What was changed and cannot be read back.
pub(super) fn not_read_back(call: &str, message: String) -> ActionError {
    ActionError::Service { call: call.to_owned(), code: "NotReadBack".to_owned(), message }
}
