//! Snapshots of EBS volumes: reading them, locking them, and finding those again that a step made.
//!
//! Neither CreateSnapshots nor CopySnapshot takes a client token. What a step makes carries its incident and its step as tags from the same
//! call on, and is found again by them **and** by what it is of: a member can put tags on anything.

pub(super) mod copies;
mod made;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use aws_sdk_ec2::{
    Client,
    types::{LockMode, ResourceType, SnapshotInfo, Tag, TagSpecification},
};
use aws_smithy_types::DateTime;
use cordon_shared::id::IncidentId;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

pub(super) use self::made::{Made, wait};
use super::look::{Tags, chunks, filter, tags};
use crate::{
    action::{ActionError, Cx, classify},
    session::{RUN_TAG, STEP_TAG},
};

/// The tag that says what a copy is of.
pub(super) const SOURCE_TAG: &str = "cordon:source";

/// The longest lock (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_LockSnapshot.html>, `LockDuration`).
const LONGEST_LOCK: u32 = 36_500;

/// How far our clock and AWS's may be apart: farther, and AWS refuses our signatures
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html>).
const SKEW: SignedDuration = SignedDuration::from_mins(5);

/// After which waits a snapshot that was just made is locked again before it counts as gone
/// (<https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html>).
const AGAIN: [Duration; 4] = [Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub id: String,
    /// What it was taken of; of a copy it means nothing.
    pub volume: String,
    /// `pending`, `completed`, `error`, …
    pub state: String,
    /// Why it is in error.
    pub message: String,
    pub started: Option<Timestamp>,
    pub owner: String,
    pub size_gib: i32,
    pub encrypted: bool,
    pub kms_key: Option<String>,
    pub description: String,
    pub tags: Tags,
}

impl Snapshot {
    pub fn is_completed(&self) -> bool {
        self.state == "completed"
    }
    pub fn has_failed(&self) -> bool {
        self.state == "error"
    }
}

fn time(time: Option<&DateTime>) -> Option<Timestamp> {
    Timestamp::from_millisecond(time?.to_millis().ok()?).ok()
}

impl From<&aws_sdk_ec2::types::Snapshot> for Snapshot {
    fn from(wire: &aws_sdk_ec2::types::Snapshot) -> Self {
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        Self {
            id: text(wire.snapshot_id()),
            volume: text(wire.volume_id()),
            state: text(wire.state().map(|state| state.as_str())),
            message: text(wire.state_message()),
            started: time(wire.start_time()),
            owner: text(wire.owner_id()),
            size_gib: wire.volume_size().unwrap_or_default(),
            encrypted: wire.encrypted() == Some(true),
            kms_key: wire.kms_key_id().map(str::to_owned),
            description: text(wire.description()),
            tags: tags(wire.tags()),
        }
    }
}

/// As CreateSnapshots answers: without the key.
impl From<&SnapshotInfo> for Snapshot {
    fn from(wire: &SnapshotInfo) -> Self {
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        Self {
            id: text(wire.snapshot_id()),
            volume: text(wire.volume_id()),
            state: text(wire.state().map(|state| state.as_str())),
            message: String::new(),
            started: time(wire.start_time()),
            owner: text(wire.owner_id()),
            size_gib: wire.volume_size().unwrap_or_default(),
            encrypted: wire.encrypted() == Some(true),
            kms_key: None,
            description: text(wire.description()),
            tags: tags(wire.tags()),
        }
    }
}

/// The ARN of a snapshot: it belongs to no account.
pub(super) fn arn(cx: Cx<'_>, id: &str) -> String {
    format!("arn:{}:ec2:{}::snapshot/{id}", cx.cell.region.partition(), cx.cell.region)
}

/// The value of the step's tag, as its write session carries it.
fn step_value(cx: Cx<'_>) -> String {
    cx.step.to_string().replace('#', ":")
}

/// What a snapshot is tagged with in the call that makes it. Tags of the volume are not copied: an opt-out or a secret among them would
/// come along.
pub(super) fn tag_specification(cx: Cx<'_>, name: &str, more: &[(&str, &str)]) -> TagSpecification {
    let (run, step) = (cx.run.to_string(), step_value(cx));
    let own = [(RUN_TAG, run.as_str()), (STEP_TAG, step.as_str()), ("Name", name)];
    let tags = own.iter().chain(more).map(|(key, value)| Tag::builder().key(*key).value(*value).build());
    TagSpecification::builder().resource_type(ResourceType::Snapshot).set_tags(Some(tags.collect())).build()
}

async fn pages(
    request: aws_sdk_ec2::operation::describe_snapshots::builders::DescribeSnapshotsFluentBuilder,
) -> Result<Vec<Snapshot>, ActionError> {
    let found = request.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
    Ok(found.map_err(|error| classify("ec2:DescribeSnapshots", error))?.iter().map(Snapshot::from).collect())
}

/// The snapshots with these ids that `owner` has and this account sees; what is not there is missing in the answer.
pub(super) async fn by_ids(client: &Client, owner: &str, ids: &[String]) -> Result<BTreeMap<String, Snapshot>, ActionError> {
    let mut found = BTreeMap::new();
    for ids in chunks(ids) {
        let page = pages(client.describe_snapshots().owner_ids(owner).filters(filter("snapshot-id", ids))).await?;
        found.extend(page.into_iter().map(|snapshot| (snapshot.id.clone(), snapshot)));
    }
    Ok(found)
}

/// The snapshots of `owner` with one of these descriptions, the oldest first.
pub(super) async fn described(client: &Client, owner: &str, texts: &[String]) -> Result<Vec<Snapshot>, ActionError> {
    let mut found = Vec::new();
    for texts in chunks(texts) {
        found.extend(pages(client.describe_snapshots().owner_ids(owner).filters(filter("description", texts))).await?);
    }
    sort(&mut found);
    Ok(found)
}

/// This account's own snapshots that carry the incident's tag, the oldest first; only the step's own where that is wanted.
pub(super) async fn tagged(client: &Client, cx: Cx<'_>, of_step: bool) -> Result<Vec<Snapshot>, ActionError> {
    let mut request = client.describe_snapshots().owner_ids(cx.cell.account.as_str());
    request = request.filters(filter(&format!("tag:{RUN_TAG}"), [cx.run.to_string()]));
    if of_step {
        request = request.filters(filter(&format!("tag:{STEP_TAG}"), [step_value(cx)]));
    }
    let mut found = pages(request).await?;
    sort(&mut found);
    Ok(found)
}

fn sort(snapshots: &mut [Snapshot]) {
    snapshots.sort_by(|one, other| (one.started, &one.id).cmp(&(other.started, &other.id)));
}

/// Whether a snapshot that carries the tags can be one that was made after `since`: it is this account's, and not older.
pub(super) fn made_since(snapshot: &Snapshot, account: &str, since: Timestamp) -> bool {
    snapshot.owner == account && snapshot.started.is_some_and(|started| started.duration_since(since) >= -SKEW)
}

/// When an incident began: what it made cannot be older. Its id holds the time (RFC 9562, UUID version 7).
pub(super) fn began(run: IncidentId) -> Timestamp {
    let text = run.to_string();
    let millis = text.get(4..16).and_then(|digits| i64::from_str_radix(digits, 16).ok());
    millis.and_then(|millis| Timestamp::from_millisecond(millis).ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Why a snapshot is none of an incident's: only what Cordon took for it leaves the account.
pub(super) fn not_ours(cx: Cx<'_>, snapshot: &Snapshot) -> Option<(&'static str, String)> {
    let run = cx.run.to_string();
    (snapshot.tags.get(RUN_TAG) != Some(&run)).then(|| {
        (
            "not-our-snapshot",
            format!("{} does not carry the tag {RUN_TAG} = {run}: it was not taken for this incident", arn(cx, &snapshot.id)),
        )
    })
}

/// A lock on a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lock {
    /// `governance`, `compliance`, `compliance-cooloff`, `expired`.
    pub state: String,
    pub days: Option<i32>,
    /// `None` while the snapshot is pending: the time runs from completion.
    pub until: Option<Timestamp>,
}

/// The locks on these snapshots, all of which must exist.
pub(super) async fn locks(client: &Client, ids: &[String]) -> Result<BTreeMap<String, Lock>, ActionError> {
    let mut found = BTreeMap::new();
    for ids in chunks(ids) {
        let mut token = None;
        loop {
            let request = client.describe_locked_snapshots().set_snapshot_ids(Some(ids.to_vec())).set_next_token(token.take());
            let answer = request.send().await.map_err(|error| classify("ec2:DescribeLockedSnapshots", error))?;
            for lock in answer.snapshots() {
                let (Some(id), Some(state)) = (lock.snapshot_id(), lock.lock_state()) else { continue };
                let until = time(lock.lock_expires_on());
                found.insert(id.to_owned(), Lock { state: state.as_str().to_owned(), days: lock.lock_duration(), until });
            }
            token = answer.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
            if token.is_none() {
                break;
            }
        }
    }
    Ok(found)
}

/// Locks a snapshot in governance mode. A pending one may be locked: it cannot be deleted from then on, and the time runs from completion; if
/// the snapshot fails, the lock is gone (<https://docs.aws.amazon.com/ebs/latest/userguide/snapshot-lock-considerations.html>).
pub(super) async fn lock(client: &Client, id: &str, days: u32) -> Result<Lock, ActionError> {
    let days = i32::try_from(days).unwrap_or(i32::MAX);
    let mut waits = AGAIN.iter();
    loop {
        let answer = client.lock_snapshot().snapshot_id(id).lock_mode(LockMode::Governance).lock_duration(days).send().await;
        match answer.map_err(|error| classify("ec2:LockSnapshot", error)) {
            Ok(answer) => {
                let state = answer.lock_state().map_or("governance", |state| state.as_str()).to_owned();
                return Ok(Lock { state, days: answer.lock_duration().or(Some(days)), until: time(answer.lock_expires_on()) });
            }
            Err(error @ ActionError::Gone { .. }) => match waits.next() {
                Some(wait) => tokio::time::sleep(*wait).await,
                None => return Err(error),
            },
            Err(error) => return Err(error),
        }
    }
}

/// How to ask after snapshots: by what each is of, its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    snapshots: BTreeMap<String, String>,
}

/// What is wrong with a number of days.
pub(super) fn wrong_days(days: u32) -> Option<String> {
    (days > LONGEST_LOCK).then(|| format!("`lock_days` is {days}; a snapshot is locked for at most {LONGEST_LOCK} days"))
}
