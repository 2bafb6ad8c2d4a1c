//! Putting the interfaces back, and taking the isolation group away when nothing is in it any more.

use std::collections::{BTreeMap, BTreeSet};

use cordon_shared::plan::{Change as Difference, ChangeKey};
use serde_json::json;

use super::{
    ATTRIBUTE, Before, Place,
    apply::{MODIFY, set},
    group::{self, Group, same},
    nics::{self, Nic},
};
use crate::{
    action::{ActionError, ApplyError, Cx, Undo, Write, classify},
    actions::ec2::{
        look::{chunks, filter, interfaces},
        nacl::entries::READ_BACK,
    },
};

pub(super) async fn undo(cx: Cx<'_>, write: Write<'_>, before: &Before, only: &[ChangeKey]) -> Result<Undo, ApplyError> {
    let read = cx.read.ec2();
    let mut done = 0;
    let (mut restored, mut by_hand) = (Vec::new(), Vec::new());
    let known = before.interfaces.iter().flat_map(|nic| nic.groups.clone()).collect();
    let exist = group::by_id(&read, known).await?;
    let arn = |nic: &Nic| cx.ec2_arn(&format!("network-interface/{}", nic.id));
    for place in &before.places {
        let ours = group::find(&read, place).await.map_err(|error| ApplyError::after(done, error))?;
        let ours = ours.filter(|group| group.incident(&place.vpc) == Some(cx.run));
        let here = before.interfaces.iter().filter(|nic| nic.vpc == place.vpc);
        let wanted: Vec<&Nic> = here.filter(|nic| only.iter().any(|key| key.resource == arn(nic) && key.attribute == ATTRIBUTE)).collect();
        let mut back: Vec<&Nic> = Vec::new();
        let now = groups_of(cx, &wanted, done).await?;
        for nic in wanted {
            // Of an interface that is gone there is nothing to restore.
            let Some(current) = now.get(&nic.id).filter(|current| !same(current, &nic.groups)) else { continue };
            let isolated = ours.as_ref().is_some_and(|group| same(current, std::slice::from_ref(&group.id)));
            let lost: Vec<&str> = nic.groups.iter().filter(|group| !exist.contains_key(*group)).map(String::as_str).collect();
            if isolated && lost.is_empty() {
                back.push(nic);
            } else {
                by_hand.push(told(cx, nic, current, &lost));
            }
        }
        put_back(cx, write, &back, &mut done).await?;
        restored.extend(back.iter().map(|nic| Difference {
            resource: arn(nic),
            attribute: ATTRIBUTE.to_owned(),
            before: json!([place.name]),
            after: json!(nic.groups),
        }));
        let tidy = !write.only_looks() || by_hand.is_empty();
        if let Some(group) = ours.filter(|_| tidy) {
            by_hand.extend(remove(cx, write, place, &group, &mut done).await?);
        }
    }
    if by_hand.is_empty() {
        return Ok(Undo::Restored(restored));
    }
    by_hand.extend(restored.iter().map(|change| format!("nothing more to do for {}: it is back in its groups", change.resource)));
    Ok(Undo::ByHand(by_hand))
}

/// What a person does about an interface that cannot be put back.
fn told(cx: Cx<'_>, nic: &Nic, current: &[String], lost: &[&str]) -> String {
    let why = if lost.is_empty() {
        format!("somebody moved it, it is in {} now", current.join(", "))
    } else {
        format!("{} it was in no longer exists; choose what takes its place", lost.join(", "))
    };
    let groups: Vec<&str> = nic.groups.iter().map(String::as_str).filter(|group| !lost.contains(group)).collect();
    format!(
        "interface {}: {why}. To put it back, in account {}: aws ec2 modify-network-interface-attribute --region {} --network-interface-id {} --groups {}",
        nic.id,
        cx.cell.account,
        cx.cell.region,
        nic.id,
        if groups.is_empty() { "GROUP" } else { "" }.to_owned() + &groups.join(" ")
    )
}

async fn groups_of(cx: Cx<'_>, nics: &[&Nic], done: usize) -> Result<BTreeMap<String, Vec<String>>, ApplyError> {
    let ids: BTreeSet<String> = nics.iter().map(|nic| nic.id.clone()).collect();
    let ids: Vec<String> = ids.into_iter().collect();
    let mut found = BTreeMap::new();
    for ids in chunks(&ids) {
        let now = nics::of(&cx.read.ec2(), filter("network-interface-id", ids)).await.map_err(|error| ApplyError::after(done, error))?;
        found.extend(now.into_iter().map(|seen| (seen.nic.id, seen.nic.groups)));
    }
    Ok(found)
}

/// Puts interfaces into the groups that they were in, and reads it back.
async fn put_back(cx: Cx<'_>, write: Write<'_>, nics: &[&Nic], done: &mut usize) -> Result<(), ApplyError> {
    for nic in nics {
        set(write, nic, &nic.groups, done).await?;
    }
    let mut still = String::new();
    for wait in READ_BACK {
        if nics.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(wait).await;
        let now = groups_of(cx, nics, *done).await?;
        match nics.iter().find(|nic| now.get(&nic.id).is_some_and(|current| !same(current, &nic.groups))) {
            None => return Ok(()),
            Some(nic) => still.clone_from(&nic.id),
        }
    }
    let message = format!("interface {still} was put back into its groups and is not read as that");
    Err(ApplyError::after(*done, ActionError::Service { call: MODIFY.to_owned(), code: "NotReadBack".to_owned(), message }))
}

/// Takes the isolation group away when nothing is in it. What a person has to do where it stays.
async fn remove(cx: Cx<'_>, write: Write<'_>, place: &Place, group: &Group, done: &mut usize) -> Result<Option<String>, ApplyError> {
    let by_hand = |why: &str| {
        format!(
            "the isolation group {} of {} is not in use any more, and {why}. To remove it, in account {}: aws ec2 delete-security-group --region {} --group-id {}",
            group.id, place.vpc, cx.cell.account, cx.cell.region, group.id
        )
    };
    let client = write.on("vpc", &place.vpc).ec2();
    for wait in READ_BACK {
        tokio::time::sleep(wait).await;
        let users = interfaces(&cx.read.ec2(), Some(filter("group-id", [&group.id]))).await;
        if !users.map_err(|error| ApplyError::after(*done, error))?.is_empty() {
            return Ok(None);
        }
        if !group.rules.other.is_empty() || !group.rules.kept.is_subset(&place.keep) {
            return Ok(Some(by_hand("somebody gave it rules")));
        }
        match client.delete_security_group().group_id(&group.id).send().await.map_err(|error| classify("ec2:DeleteSecurityGroup", error)) {
            Ok(_) => {
                *done += 1;
                return Ok(None);
            }
            Err(ActionError::Gone { .. }) => return Ok(None),
            // What used it a moment ago may still count.
            Err(ActionError::Service { code, .. }) if code == "DependencyViolation" => {}
            Err(error) => return Err(ApplyError::after(*done, error)),
        }
    }
    Ok(Some(by_hand("something refers to it")))
}
