//! Writing entries, reading them back, and taking them away. AWS compares nothing when it writes an ACL: each write follows a read.

use aws_sdk_ec2::Client;
use cordon_shared::plan::{Change as Difference, ChangeKey, Verdict};
use serde_json::{Value, json};

use super::{
    AclOutcome, Before, Outcome,
    place::{Block, own},
};
use crate::{
    action::{ActionError, ApplyError, Cx, Undo},
    actions::ec2::nacl::{
        acl::{Entry, Traffic},
        entries::{at, changed, gone, moved, numbered, read_back, read_now},
        wire,
    },
};

/// The traffic that one of our entries is about.
fn traffic(entry: &Entry) -> Traffic {
    let ports = entry.ports.unwrap_or((0, 65_535));
    Traffic { egress: entry.egress, protocol: entry.protocol.parse().unwrap_or(6), host: entry.cidr.addr(), ports }
}

pub(super) async fn apply(read: &Client, write: &Client, before: &Before) -> Result<Outcome, ApplyError> {
    let mut done = 0;
    let mut acls = Vec::new();
    for (id, placement) in &before.acls {
        let current = read_now(read, id, done).await?.entries;
        // Nothing is evicted for an entry that cannot be made: first all places are looked at.
        let leaving: Vec<&Entry> = placement.evict.iter().flat_map(|block| [&block.ingress, &block.egress]).collect();
        for entry in &placement.create {
            match at(&current, entry) {
                Some(there) if there != entry && !leaving.contains(&there) => {
                    return Err(ApplyError::after(done, moved(id, &format!("number {} is taken by `{there}`", entry.number))));
                }
                None if current.iter().any(|other| !other.deny && other.number < entry.number && traffic(entry).meets(other)) => {
                    let why = format!("another entry lets the traffic through before number {}", entry.number);
                    return Err(ApplyError::after(done, moved(id, &why)));
                }
                _ => {}
            }
        }
        // What an older incident made leaves only while it still is exactly that.
        let mut evicted = Vec::new();
        for entry in leaving.iter().filter(|entry| current.contains(entry)) {
            wire::delete(write, id, entry).await.map_err(|error| ApplyError::after(done, error))?;
            done += 1;
        }
        for block in &placement.evict {
            evicted.extend([numbered(&block.ingress), numbered(&block.egress)]);
        }
        for entry in placement.create.iter().filter(|entry| !current.contains(entry)) {
            wire::create(write, id, entry).await.map_err(|error| ApplyError::after(done, error))?;
            done += 1;
        }
        read_back(read, id, &placement.create, done).await?;
        let left = placement.left.iter().map(|(host, why)| format!("{host}: {why}")).collect();
        acls.push(AclOutcome { acl: id.clone(), denied: placement.create.iter().map(numbered).collect(), evicted, left });
    }
    Ok(Outcome { acls })
}

pub(super) async fn verify(read: &Client, before: &Before) -> Result<Verdict, ActionError> {
    let mut missing = None;
    for (id, placement) in &before.acls {
        let Some(acl) = wire::one(read, id).await? else {
            return Ok(Verdict::Drifted { detail: format!("{id} was deleted") });
        };
        for entry in &placement.create {
            match at(&acl.entries, entry) {
                Some(there) if there != entry => {
                    return Ok(Verdict::Drifted { detail: format!("{id}: number {} is `{there}` now, not `{entry}`", entry.number) });
                }
                Some(_) => {
                    if let Some(number) = traffic(entry).let_through_by(&acl.entries) {
                        return Ok(Verdict::Drifted { detail: format!("{id}: number {number} lets through what `{entry}` denies") });
                    }
                }
                None => {
                    missing.get_or_insert_with(|| format!("{id} lacks {}", numbered(entry)));
                }
            }
        }
        let leaving = placement.evict.iter().flat_map(|block| [&block.ingress, &block.egress]);
        for entry in leaving.filter(|entry| acl.entries.contains(entry)) {
            missing.get_or_insert_with(|| format!("{id} still has {}", numbered(entry)));
        }
    }
    Ok(missing.map_or(Verdict::InEffect, |detail| Verdict::NotInEffect { detail }))
}

/// Which entry an undo removes: the one we made, or else the same entry that a later incident made in its place and left to us.
fn ours<'e>(entries: &'e [Entry], planned: &Entry) -> Option<&'e Entry> {
    let again = || {
        own(entries).into_iter().find_map(|Block { ingress, egress }| {
            let entry = if planned.egress { egress } else { ingress };
            entry.same_as(planned).then(|| entries.iter().find(|other| **other == entry)).flatten()
        })
    };
    entries.iter().find(|entry| *entry == planned).or_else(again)
}

pub(super) async fn undo(cx: Cx<'_>, write: &Client, before: &Before, only: &[ChangeKey]) -> Result<Undo, ApplyError> {
    let read = cx.read.ec2();
    let mut done = 0;
    let (mut restored, mut by_hand) = (Vec::new(), Vec::new());
    for (id, placement) in &before.acls {
        let arn = cx.ec2_arn(&format!("network-acl/{id}"));
        let wanted: Vec<&Entry> = placement
            .create
            .iter()
            .filter(|entry| only.iter().any(|key| key.resource == arn && key.attribute == entry.to_string()))
            .collect();
        if wanted.is_empty() {
            continue;
        }
        // Of an ACL that was deleted there is nothing to restore.
        let Some(acl) = wire::one(&read, id).await.map_err(|error| ApplyError::after(done, error))? else { continue };
        let mut removed = Vec::new();
        for planned in wanted {
            if let Some(entry) = ours(&acl.entries, planned) {
                wire::delete(write, id, entry).await.map_err(|error| ApplyError::after(done, error))?;
                done += 1;
                let state = json!({ "number": entry.number, "entry": entry.to_string() });
                removed.push(entry.clone());
                restored.push(Difference { resource: arn.clone(), attribute: planned.to_string(), before: state, after: Value::Null });
            } else if let Some(other) = at(&acl.entries, planned).filter(|other| other.cidr == planned.cidr) {
                by_hand.push(changed(cx, id, planned, other));
            }
        }
        gone(&read, id, &removed, done).await?;
    }
    if by_hand.is_empty() {
        return Ok(Undo::Restored(restored));
    }
    by_hand.extend(
        restored.iter().map(|change| format!("nothing more to do for `{}` of {}: it was removed", change.attribute, change.resource)),
    );
    Ok(Undo::ByHand(by_hand))
}
