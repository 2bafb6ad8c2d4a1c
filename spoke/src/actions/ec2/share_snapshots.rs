//! `ec2.share-snapshots`: lets the security account, and nobody else, read snapshots of an incident.
//!
//! A snapshot that is not encrypted, or is under the security account's key, is shared itself; of an encrypted one its copy is, that
//! `ec2.reencrypt-snapshots` made. The write session can share with the security account only (`ec2:Add/userId`).

use aws_sdk_ec2::{
    Client,
    types::{OperationType, SnapshotAttributeName},
};
use cordon_shared::plan::{Change as Difference, ChangeKey, Plan as Planned, Risk, Seat, Verdict};
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::snapshots::{
    SOURCE_TAG, Snapshot, arn, began, by_ids,
    copies::{self, description, not_ready},
    made_since, not_ours, tagged,
};
use crate::{
    action::{ActionError, ApplyError, Change, Cx, Plan, Progress, Undo, Write, classify},
    permission::{Bindings, Permission, write_policies},
};

/// Shares snapshots with the security account.
#[derive(Debug, Clone, Copy)]
pub struct ShareSnapshots;

/// Which snapshots.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Snapshots of this incident (`snap-…`), as `ec2.snapshot-volumes` took them.
    pub snapshots: Vec<String>,
}

/// What is to be shared that was not.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Before {
    hub: String,
    share: Vec<String>,
}

/// What is shared.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// With whom.
    pub account: String,
    /// The snapshots.
    pub shared: Vec<String>,
}

fn attribute(hub: &str) -> String {
    format!("shared with {hub}")
}

/// Whether a snapshot is shared with an account by name; `None`: it is not there.
async fn is_shared(client: &Client, id: &str, with: &str) -> Result<Option<bool>, ActionError> {
    let request = client.describe_snapshot_attribute().snapshot_id(id).attribute(SnapshotAttributeName::CreateVolumePermission);
    match request.send().await.map_err(|error| classify("ec2:DescribeSnapshotAttribute", error)) {
        Ok(answer) => Ok(Some(answer.create_volume_permissions().iter().any(|one| one.user_id() == Some(with)))),
        Err(ActionError::Gone { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn modify(client: &Client, id: &str, hub: &str, operation: OperationType) -> Result<(), ActionError> {
    let attribute = SnapshotAttributeName::CreateVolumePermission;
    let request = client.modify_snapshot_attribute().snapshot_id(id).attribute(attribute).operation_type(operation).user_ids(hub);
    request.send().await.map(drop).map_err(|error| classify("ec2:ModifySnapshotAttribute", error))
}

/// What is shared of a snapshot: itself, or the copy of it under the security account's key.
fn stands_for<'s>(cx: Cx<'_>, snapshot: &'s Snapshot, key: &str, own: &'s [Snapshot]) -> Option<&'s Snapshot> {
    if !snapshot.encrypted || snapshot.kms_key.as_deref() == Some(key) {
        return Some(snapshot);
    }
    let text = description(&cx.run.to_string(), &snapshot.id);
    own.iter().find(|one| {
        one.tags.get(SOURCE_TAG) == Some(&snapshot.id)
            && one.description == text
            && one.kms_key.as_deref() == Some(key)
            && made_since(one, cx.cell.account.as_str(), began(cx.run))
    })
}

impl Change for ShareSnapshots {
    const NAME: &'static str = "ec2.share-snapshots";
    const ABOUT: &'static str = "Lets the security account, and nobody else, read snapshots of an incident";
    const RISK: Risk = Risk::Reversible;
    const SEAT: Seat = Seat::Member;
    // https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
    const READS: &'static [Permission] = &[
        Permission::new("ec2:DescribeSnapshotAttribute", "arn:{partition}:ec2:{region}::snapshot/*"),
        Permission::new("ec2:DescribeSnapshots", "*"),
    ];
    const WRITES: &'static [Permission] = &[
        Permission {
            action: "ec2:ModifySnapshotAttribute",
            resource: "arn:{partition}:ec2:{region}::snapshot/{snapshot}",
            conditions: &[("StringLike", "ec2:Add/userId", "{hub}")],
        },
        Permission {
            action: "ec2:ModifySnapshotAttribute",
            resource: "arn:{partition}:ec2:{region}::snapshot/{snapshot}",
            conditions: &[("StringLike", "ec2:Remove/userId", "{hub}")],
        },
    ];
    const SETTLE: SignedDuration = SignedDuration::from_secs(60);

    type Params = Params;
    type Before = Before;
    type Ticket = ();
    type Outcome = Outcome;

    fn bind(&self, _with: &Params, before: &Before) -> Bindings {
        Bindings::new().with("hub", [before.hub.clone()]).with("snapshot", before.share.clone())
    }

    async fn plan(&self, cx: Cx<'_>, with: &Params) -> Result<Plan<Before>, ActionError> {
        let key = match copies::key(cx, &with.snapshots) {
            Ok(key) => key,
            Err(why) => return Ok(Plan::Moot { why }),
        };
        let client = cx.read.ec2();
        let found = by_ids(&client, cx.cell.account.as_str(), &with.snapshots).await?;
        let own = tagged(&client, cx, false).await?;
        let mut plan = Planned { counts: Some([].into()), ..Planned::default() };
        let mut before = Before { hub: cx.hub.to_string(), share: Vec::new() };
        for id in &with.snapshots {
            let Some(snapshot) = found.get(id) else {
                return Ok(Plan::Refuse { code: "snapshot-gone", why: format!("there is no snapshot {} in the account", arn(cx, id)) });
            };
            if let Some((code, why)) = not_ours(cx, snapshot) {
                return Ok(Plan::Refuse { code, why });
            }
            let Some(shared) = stands_for(cx, snapshot, key, &own) else {
                let why = format!(
                    "{} is encrypted with {}, which the security account cannot use, and there is no copy of it under {key}; \
                     `ec2.reencrypt-snapshots` makes one",
                    arn(cx, id),
                    snapshot.kms_key.as_deref().unwrap_or("a key that is not named")
                );
                return Ok(Plan::Refuse { code: "snapshot-not-reencrypted", why });
            };
            if let Some((code, why)) = not_ready(cx, shared) {
                return Ok(Plan::Refuse { code, why });
            }
            let resource = arn(cx, &shared.id);
            plan.touches.insert(resource.clone());
            let is = is_shared(&client, &shared.id, &before.hub).await? == Some(true);
            let list = if is { &mut plan.already } else { &mut plan.changes };
            list.push(Difference { resource, attribute: attribute(&before.hub), before: json!(is), after: json!(true) });
            if !is {
                before.share.push(shared.id.clone());
            }
            if shared.id != *id {
                plan.notes.push(format!("{id} is shared as {}, its copy under the security account's key", shared.id));
            }
        }
        if !before.share.is_empty()
            && let Err(error) = write_policies(Self::WRITES, cx.cell, &self.bind(with, &before))
        {
            let why = format!("{} snapshots are too many for one step ({error}); name fewer in `snapshots`", before.share.len());
            return Ok(Plan::Refuse { code: "too-many-resources", why });
        }
        Ok(Plan::Ready { before, plan })
    }

    async fn apply(&self, _cx: Cx<'_>, write: Write<'_>, _with: &Params, before: &Before) -> Result<Progress<(), Outcome>, ApplyError> {
        for (done, id) in before.share.iter().enumerate() {
            let client = write.on("snapshot", id).ec2();
            modify(&client, id, &before.hub, OperationType::Add).await.map_err(|error| ApplyError::after(done, error))?;
        }
        Ok(Progress::Done(Outcome { account: before.hub.clone(), shared: before.share.clone() }))
    }

    async fn verify(&self, cx: Cx<'_>, _with: &Params, before: &Before) -> Result<Verdict, ActionError> {
        let client = cx.read.ec2();
        let mut missing = Vec::new();
        for id in &before.share {
            match is_shared(&client, id, &before.hub).await? {
                None => return Ok(Verdict::Drifted { detail: format!("{id} was deleted") }),
                Some(false) => missing.push(id.as_str()),
                Some(true) => {}
            }
        }
        let detail = format!("{} is not shared with {}", missing.join(", "), before.hub);
        Ok(if missing.is_empty() { Verdict::InEffect } else { Verdict::NotInEffect { detail } })
    }

    async fn undo(&self, cx: Cx<'_>, write: Write<'_>, _with: &Params, before: &Before, only: &[ChangeKey]) -> Result<Undo, ApplyError> {
        let client = cx.read.ec2();
        let (mut restored, mut by_hand) = (Vec::new(), Vec::new());
        for id in &before.share {
            let key = ChangeKey { resource: arn(cx, id), attribute: attribute(&before.hub) };
            if !only.contains(&key) {
                continue;
            }
            let now = is_shared(&client, id, &before.hub).await.map_err(|error| ApplyError::after(restored.len(), error))?;
            match now {
                None => by_hand.push(format!("{id} was deleted by somebody after it was shared: look for DeleteSnapshot in CloudTrail")),
                Some(false) => {}
                Some(true) => {
                    let client = write.on("snapshot", id).ec2();
                    let done = modify(&client, id, &before.hub, OperationType::Remove).await;
                    done.map_err(|error| ApplyError::after(restored.len(), error))?;
                    let ChangeKey { resource, attribute } = key;
                    restored.push(Difference { resource, attribute, before: json!(true), after: json!(false) });
                }
            }
        }
        if by_hand.is_empty() {
            return Ok(Undo::Restored(restored));
        }
        by_hand.extend(restored.iter().map(|done| format!("{} is no longer shared, nothing to do about it", done.resource)));
        Ok(Undo::ByHand(by_hand))
    }
}
