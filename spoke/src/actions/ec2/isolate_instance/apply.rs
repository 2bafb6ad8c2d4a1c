//! Moving the interfaces, and reading back that they are moved.

use std::collections::BTreeMap;

use cordon_shared::plan::Verdict;

use super::{
    Before, Made, Moved, Outcome, Params,
    group::{self, same},
    nics::{self, Nic},
    session,
};
use crate::{
    action::{ActionError, ApplyError, Cx, Write, classify},
    actions::ec2::nacl::entries::READ_BACK,
};

pub(super) const MODIFY: &str = "ec2:ModifyNetworkInterfaceAttribute";

/// Puts an interface into groups. `false`: interface or group are not there, or not yet.
pub(super) async fn set(write: Write<'_>, nic: &Nic, groups: &[String], done: &mut usize) -> Result<bool, ApplyError> {
    let client = session(write, nic).ec2();
    let call = client.modify_network_interface_attribute().network_interface_id(&nic.id).set_groups(Some(groups.to_vec()));
    match call.send().await.map_err(|error| classify(MODIFY, error)) {
        Ok(_) => {
            *done += 1;
            Ok(true)
        }
        Err(ActionError::Gone { .. }) => Ok(false),
        Err(error) => Err(ApplyError::after(*done, error)),
    }
}

/// The groups of an instance's interfaces, by interface.
pub(super) async fn groups_now(cx: Cx<'_>, instance: &str, done: usize) -> Result<BTreeMap<String, Vec<String>>, ApplyError> {
    let now = nics::of_instance(&cx.read.ec2(), instance).await.map_err(|error| ApplyError::after(done, error))?;
    Ok(now.into_iter().map(|seen| (seen.nic.id, seen.nic.groups)).collect())
}

pub(super) async fn apply(cx: Cx<'_>, write: Write<'_>, with: &Params, before: &Before) -> Result<Outcome, ApplyError> {
    let mut done = 0;
    let mut groups = BTreeMap::new();
    for place in &before.places {
        let client = write.on("vpc", &place.vpc).ec2();
        let id = group::ensure(cx, &client, place, before, &with.instance, &mut done).await?;
        groups.insert(place.vpc.as_str(), id);
    }
    let mut moved = Vec::new();
    let mut changed = Vec::new();
    let mut pending = None;
    for wait in READ_BACK {
        tokio::time::sleep(wait).await;
        let now = groups_now(cx, &with.instance, done).await?;
        (moved, changed, pending) = (Vec::new(), Vec::new(), None);
        for nic in &before.interfaces {
            // What is no longer on the instance is not isolated by this step.
            let (Some(current), Some(group)) = (now.get(&nic.id), groups.get(nic.vpc.as_str())) else { continue };
            let isolated = [group.clone()];
            if same(current, &isolated) {
                moved.push(Moved { interface: nic.id.clone(), group: group.clone(), was: nic.groups.clone() });
            } else if same(current, &nic.groups) {
                set(write, nic, &isolated, &mut done).await?;
                pending = Some(&nic.id);
            } else {
                changed.push(format!("{} is in {}", nic.id, current.join(", ")));
            }
        }
        if pending.is_none() {
            break;
        }
    }
    let failed = |code: &str, message: String| {
        Err(ApplyError::after(done, ActionError::Service { call: MODIFY.to_owned(), code: code.to_owned(), message }))
    };
    if let Some(id) = pending {
        return failed("NotReadBack", format!("interface {id} was moved and cannot be read back as moved"));
    }
    if !changed.is_empty() {
        let message = format!("somebody changed interfaces since the plan, they were left alone: {}", changed.join("; "));
        return failed("InterfaceChanged", message);
    }
    Ok(Outcome {
        interfaces: moved,
        groups: groups.into_iter().map(|(vpc, group)| Made { vpc: vpc.to_owned(), group }).collect(),
        kept_ssm: before.places.iter().any(|place| !place.keep.is_empty()),
        elastic_ips: before.interfaces.iter().flat_map(|nic| nic.elastic_ips.clone()).collect(),
        refused: before.refused.clone(),
    })
}

pub(super) async fn verify(cx: Cx<'_>, with: &Params, before: &Before) -> Result<Verdict, ActionError> {
    let client = cx.read.ec2();
    let mut missing = None;
    let mut groups = BTreeMap::new();
    for place in &before.places {
        let Some(group) = group::find(&client, place).await? else {
            missing.get_or_insert_with(|| format!("there is no isolation group in {}", place.vpc));
            continue;
        };
        if group.incident(&place.vpc) != Some(cx.run) {
            return Ok(Verdict::Drifted { detail: format!("{} (`{}`) does not carry the tags of this incident", group.id, group.name) });
        }
        if !group.rules.other.is_empty() || !group.rules.kept.is_subset(&place.keep) {
            return Ok(Verdict::Drifted { detail: format!("somebody gave the isolation group {} rules: {:?}", group.id, group.rules) });
        }
        if !group.rules.defaults.is_empty() || group.rules.kept != place.keep {
            missing.get_or_insert_with(|| format!("the isolation group {} is not closed yet", group.id));
        }
        groups.insert(place.vpc.as_str(), group.id);
    }
    for seen in nics::of_instance(&client, &with.instance).await?.iter().filter(|seen| seen.interface.managed_by.is_none()) {
        let (id, current) = (&seen.nic.id, &seen.nic.groups);
        let group = groups.get(seen.nic.vpc.as_str()).cloned();
        match before.interfaces.iter().find(|nic| nic.id == *id) {
            _ if group.as_ref().is_some_and(|group| same(current, std::slice::from_ref(group))) => {}
            Some(nic) if same(current, &nic.groups) => {
                missing.get_or_insert_with(|| format!("interface {id} is still in {}", current.join(", ")));
            }
            Some(_) => return Ok(Verdict::Drifted { detail: format!("interface {id} is in {} now", current.join(", ")) }),
            None if before.isolated.get(id).is_some_and(|group| same(current, std::slice::from_ref(group))) => {}
            None => {
                let detail =
                    format!("interface {id} came to the instance, or left its group, since the plan: it is in {}", current.join(", "));
                return Ok(Verdict::Drifted { detail });
            }
        }
    }
    Ok(missing.map_or(Verdict::InEffect, |detail| Verdict::NotInEffect { detail }))
}
