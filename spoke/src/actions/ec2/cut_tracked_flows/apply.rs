//! Denying, lowering, reading back, and taking both back.

use cordon_shared::plan::{Change as Difference, ChangeKey, Verdict};
use serde_json::{Value, json};

use super::{
    Before, Outcome, outcome, shown,
    timers::{self, LEAST, Timer, Timers},
};
use crate::{
    action::{ActionError, ApplyError, Cx, Undo, Write},
    actions::ec2::nacl::{
        acl::{Entry, anything_let_through_by},
        entries::{READ_BACK, at, changed, gone, moved, numbered, read_back, read_now},
        wire,
    },
};

pub(super) async fn apply(cx: Cx<'_>, write: Write<'_>, before: &Before) -> Result<Outcome, ApplyError> {
    let mut done = 0;
    let mut failed = None;
    // What the ACLs deny ends at once. One that somebody changed does not keep the timeouts from being lowered.
    for (id, entries) in &before.acls {
        match deny(cx, write, id, entries, &mut done).await {
            Err(ApplyError { error: error @ (ActionError::Service { .. } | ActionError::Gone { .. }), .. }) => {
                failed.get_or_insert(error);
            }
            other => other?,
        }
    }
    lower(cx, write, before, &mut done).await?;
    failed.map_or_else(|| Ok(outcome(before)), |error| Err(ApplyError::after(done, error)))
}

async fn deny(cx: Cx<'_>, write: Write<'_>, id: &str, entries: &[Entry], done: &mut usize) -> Result<(), ApplyError> {
    let read = cx.read.ec2();
    let client = write.on("acl", id).ec2();
    let current = read_now(&read, id, *done).await?.entries;
    for entry in entries {
        let host = entry.cidr.addr();
        let before = |other: &&Entry| other.egress == entry.egress && !other.deny && other.number < entry.number;
        match at(&current, entry) {
            Some(there) if there != entry => {
                return Err(ApplyError::after(*done, moved(id, &format!("number {} is taken by `{there}`", entry.number))));
            }
            None if current.iter().filter(before).any(|other| other.cidr.contains(&host)) => {
                let why = format!("another entry lets {host} through before number {}", entry.number);
                return Err(ApplyError::after(*done, moved(id, &why)));
            }
            _ => {}
        }
    }
    for entry in entries.iter().filter(|entry| !current.contains(entry)) {
        wire::create(&client, id, entry).await.map_err(|error| ApplyError::after(*done, error))?;
        *done += 1;
    }
    read_back(&read, id, entries, *done).await
}

/// Lowers the timeouts that are as they were found, and reads them back.
async fn lower(cx: Cx<'_>, write: Write<'_>, before: &Before, done: &mut usize) -> Result<(), ApplyError> {
    let mut others = Vec::new();
    let mut pending = None;
    for wait in READ_BACK {
        if before.interfaces.is_empty() {
            break;
        }
        tokio::time::sleep(wait).await;
        let now = timers::now(&cx.read.ec2(), &before.interfaces).await.map_err(|error| ApplyError::after(*done, error))?;
        (others, pending) = (Vec::new(), None);
        for found in &before.interfaces {
            let Some(current) = now.get(&found.id).filter(|current| !current.least()) else { continue };
            if let Some(timer) = somebodys(found, current) {
                others.push(format!("{}: {} is {}", found.id, timer.attribute, shown(timer.was)));
                continue;
            }
            let client = write.on("interface", &found.id).ec2();
            timers::set(&client, current, Some(LEAST), Some(LEAST)).await.map_err(|error| ApplyError::after(*done, error))?;
            *done += 1;
            pending = Some(&found.id);
        }
        if pending.is_none() {
            break;
        }
    }
    if let Some(id) = pending {
        return Err(ApplyError::after(*done, timers::not_read_back(id)));
    }
    if others.is_empty() { Ok(()) } else { Err(ApplyError::after(*done, timers::changed(&others))) }
}

/// The timeout that is neither as it was found nor as we set it.
fn somebodys(found: &Timers, current: &Timers) -> Option<Timer> {
    let pairs = found.both().into_iter().zip(current.both());
    pairs.filter(|(found, current)| current.was != Some(LEAST) && !found.is_found(current.was)).map(|(_, current)| current).next()
}

pub(super) async fn verify(cx: Cx<'_>, before: &Before) -> Result<Verdict, ActionError> {
    let read = cx.read.ec2();
    let mut missing = None;
    for (id, entries) in &before.acls {
        let Some(acl) = wire::one(&read, id).await? else {
            return Ok(Verdict::Drifted { detail: format!("{id} was deleted") });
        };
        for entry in entries {
            match at(&acl.entries, entry) {
                Some(there) if there != entry => {
                    return Ok(Verdict::Drifted { detail: format!("{id}: number {} is `{there}` now, not `{entry}`", entry.number) });
                }
                Some(_) => {
                    if let Some(number) = anything_let_through_by(&acl.entries, entry.egress, entry.cidr.addr()) {
                        return Ok(Verdict::Drifted { detail: format!("{id}: number {number} lets through what `{entry}` denies") });
                    }
                }
                None => {
                    missing.get_or_insert_with(|| format!("{id} lacks {}", numbered(entry)));
                }
            }
        }
    }
    let now = timers::now(&read, &before.interfaces).await?;
    for found in &before.interfaces {
        let Some(current) = now.get(&found.id).filter(|current| !current.least()) else { continue };
        if let Some(timer) = somebodys(found, current) {
            return Ok(Verdict::Drifted { detail: format!("{}: {} is {} now", found.id, timer.attribute, shown(timer.was)) });
        }
        missing.get_or_insert_with(|| format!("the timeouts of {} are not lowered", found.id));
    }
    Ok(missing.map_or(Verdict::InEffect, |detail| Verdict::NotInEffect { detail }))
}

pub(super) async fn undo(cx: Cx<'_>, write: Write<'_>, before: &Before, only: &[ChangeKey]) -> Result<Undo, ApplyError> {
    let mut done = 0;
    let mut undone = Undone::default();
    for (id, entries) in &before.acls {
        allow(cx, write, id, entries, only, &mut undone, &mut done).await?;
    }
    raise(cx, write, &before.interfaces, only, &mut undone, &mut done).await?;
    let Undone { restored, mut by_hand } = undone;
    if by_hand.is_empty() {
        return Ok(Undo::Restored(restored));
    }
    by_hand.extend(restored.iter().map(|change| format!("nothing more to do for `{}` of {}", change.attribute, change.resource)));
    Ok(Undo::ByHand(by_hand))
}

#[derive(Debug, Default)]
struct Undone {
    restored: Vec<Difference>,
    by_hand: Vec<String>,
}

/// Takes the entries away that still are exactly ours.
async fn allow(
    cx: Cx<'_>,
    write: Write<'_>,
    id: &str,
    entries: &[Entry],
    only: &[ChangeKey],
    undone: &mut Undone,
    done: &mut usize,
) -> Result<(), ApplyError> {
    let read = cx.read.ec2();
    let arn = cx.ec2_arn(&format!("network-acl/{id}"));
    let named = |entry: &&Entry| only.iter().any(|key| key.resource == arn && key.attribute == entry.to_string());
    let wanted: Vec<&Entry> = entries.iter().filter(named).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    // Of an ACL that was deleted there is nothing to restore.
    let Some(acl) = wire::one(&read, id).await.map_err(|error| ApplyError::after(*done, error))? else { return Ok(()) };
    let client = write.on("acl", id).ec2();
    let mut removed = Vec::new();
    for planned in wanted {
        match at(&acl.entries, planned) {
            Some(there) if there == planned => {
                wire::delete(&client, id, planned).await.map_err(|error| ApplyError::after(*done, error))?;
                *done += 1;
                let state = json!({ "number": planned.number, "entry": planned.to_string() });
                let attribute = planned.to_string();
                undone.restored.push(Difference { resource: arn.clone(), attribute, before: state, after: Value::Null });
                removed.push(planned.clone());
            }
            Some(other) if other.cidr == planned.cidr => undone.by_hand.push(changed(cx, id, planned, other)),
            // Ours is gone; whatever has its number is somebody else's.
            _ => {}
        }
    }
    gone(&read, id, &removed, *done).await
}

/// Sets the timeouts back that are as we left them.
async fn raise(
    cx: Cx<'_>,
    write: Write<'_>,
    interfaces: &[Timers],
    only: &[ChangeKey],
    undone: &mut Undone,
    done: &mut usize,
) -> Result<(), ApplyError> {
    let read = cx.read.ec2();
    let now = timers::now(&read, interfaces).await.map_err(|error| ApplyError::after(*done, error))?;
    let mut set: Vec<(&Timers, [Option<i32>; 2])> = Vec::new();
    for found in interfaces {
        let Some(current) = now.get(&found.id) else { continue };
        let arn = cx.ec2_arn(&format!("network-interface/{}", found.id));
        let mut wanted = [current.tcp().was, current.udp().was];
        let mut any = false;
        for ((timer, is), wanted) in found.both().into_iter().zip(current.both()).zip(&mut wanted) {
            if !only.iter().any(|key| key.resource == arn && key.attribute == timer.attribute) || timer.is_found(is.was) {
                continue;
            }
            if is.was == Some(LEAST) {
                *wanted = Some(timer.back());
                any = true;
                undone.restored.push(Difference {
                    resource: arn.clone(),
                    attribute: timer.attribute.to_owned(),
                    before: json!(LEAST),
                    after: shown(timer.was),
                });
            } else {
                undone.by_hand.push(format!(
                    "interface {}: somebody set its {} to {}; it was {}. To put it back, in account {}: aws ec2 modify-network-interface-attribute --region {} --network-interface-id {} --connection-tracking-specification {}={}",
                    found.id,
                    timer.attribute,
                    shown(is.was),
                    timer.back(),
                    cx.cell.account,
                    cx.cell.region,
                    found.id,
                    if timer.attribute == timers::TCP { "TcpEstablishedTimeout" } else { "UdpStreamTimeout" },
                    timer.back(),
                ));
            }
        }
        if any {
            let [tcp, udp] = wanted;
            let client = write.on("interface", &found.id).ec2();
            timers::set(&client, current, tcp, udp).await.map_err(|error| ApplyError::after(*done, error))?;
            *done += 1;
            set.push((found, wanted));
        }
    }
    let mut still = String::new();
    for wait in READ_BACK {
        if set.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(wait).await;
        let now = timers::now(&read, interfaces).await.map_err(|error| ApplyError::after(*done, error))?;
        let differs = |timers: &&(&Timers, [Option<i32>; 2])| {
            let (found, [tcp, udp]) = **timers;
            let back = |current: &Timers| found.tcp().alike(current.tcp().was, tcp) && found.udp().alike(current.udp().was, udp);
            now.get(&found.id).is_some_and(|current| !back(current))
        };
        match set.iter().find(differs) {
            None => return Ok(()),
            Some((found, _)) => still.clone_from(&found.id),
        }
    }
    Err(ApplyError::after(*done, timers::not_read_back(&still)))
}
