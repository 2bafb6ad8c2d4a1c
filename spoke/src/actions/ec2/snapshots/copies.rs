//! Copies of snapshots under the security account's key: in the member's account, so that they can be shared, and in the security account.

use std::collections::BTreeMap;

use aws_sdk_ec2::{
    Client,
    config::{Builder, retry::RetryConfig},
};
use cordon_shared::{
    arn::Arn,
    plan::{Change as Difference, ChangeKey, Plan as Planned, Verdict},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Made, SOURCE_TAG, Snapshot, Ticket, arn, made_since, tag_specification, tagged, wait};
use crate::{
    action::{ActionError, ApplyError, Cx, Plan, Progress, Undo, Write, classify},
    permission::{Bindings, Permission, write_policies},
    session::Clients,
};

const CALL: &str = "ec2:CopySnapshot";

/// What copying reads with.
pub(in crate::actions::ec2) const READS: &[Permission] =
    &[Permission::new("ec2:DescribeLockedSnapshots", "*"), Permission::new("ec2:DescribeSnapshots", "*")];

/// What copying writes with. A copy's own ARN in the check of `ec2:CopySnapshot` is `snapshot/*`; the tag in the request is known of the copy
/// only, not of what is copied, so that only the sources named can be copied
/// (<https://aws.amazon.com/blogs/storage/enhancing-resource-level-permissions-for-copying-amazon-ebs-snapshots/>).
/// EC2 uses the keys in the caller's name, and only through EC2 can this session
/// (<https://docs.aws.amazon.com/ebs/latest/userguide/ebs-copy-snapshot.html>).
pub(in crate::actions::ec2) const WRITES: &[Permission] = &[
    Permission::new("ec2:CopySnapshot", "arn:{partition}:ec2:{region}::snapshot/{snapshot}"),
    Permission {
        action: "ec2:CopySnapshot",
        resource: "arn:{partition}:ec2:{region}::snapshot/*",
        conditions: &[("StringLike", "aws:RequestTag/cordon:run", "{run}")],
    },
    Permission {
        action: "ec2:CreateTags",
        resource: "arn:{partition}:ec2:{region}::snapshot/*",
        conditions: &[("StringLike", "aws:RequestTag/cordon:run", "{run}"), ("StringLike", "ec2:CreateAction", "CopySnapshot")],
    },
    Permission::own("ec2:LockSnapshot", "arn:{partition}:ec2:{region}::snapshot/*"),
    through_ec2("kms:CreateGrant"),
    through_ec2("kms:Decrypt"),
    through_ec2("kms:DescribeKey"),
    through_ec2("kms:GenerateDataKeyWithoutPlaintext"),
    through_ec2("kms:ReEncryptFrom"),
    through_ec2("kms:ReEncryptTo"),
];

const fn through_ec2(action: &'static str) -> Permission {
    Permission {
        action,
        resource: "arn:{partition}:kms:{region}:{key}",
        conditions: &[("StringLike", "kms:ViaService", "ec2.{region}.amazonaws.com*")],
    }
}

/// A snapshot that is copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::actions::ec2) struct Source {
    /// The snapshot that was taken of a volume.
    pub of: String,
    /// The snapshot that is read: itself, or a copy that was made to be shared.
    pub id: String,
    pub kms_key: Option<String>,
    pub encrypted: bool,
}

impl Source {
    pub fn new(of: &str, snapshot: &Snapshot) -> Self {
        Self { of: of.to_owned(), id: snapshot.id.clone(), kms_key: snapshot.kms_key.clone(), encrypted: snapshot.encrypted }
    }
}

/// What is copied, and under which key. All that undo needs: evidence is left as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::actions::ec2) struct Copying {
    pub run: String,
    /// No copy of ours is older.
    pub planned_at: Timestamp,
    pub key: String,
    pub sources: Vec<Source>,
}

/// What a step that copies needs to go on, to verify and to undo.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Before {
    pub(in crate::actions::ec2) copying: Copying,
}

/// What was copied.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The copies.
    pub copies: Vec<Copied>,
}

/// A copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Copied {
    /// The copy.
    pub snapshot: String,
    /// What it is a copy of: the snapshot that was taken of a volume.
    pub of: String,
    /// Where it is.
    pub region: String,
    /// The key it is encrypted with.
    pub kms_key: String,
    /// `completed`.
    pub state: String,
    /// When its lock ends.
    pub locked_until: Option<Timestamp>,
}

/// The description of a copy: the one thing beside its owner and key that another account sees of it.
pub(in crate::actions::ec2) fn description(run: &str, of: &str) -> String {
    format!("Cordon {run}: copy of {of}")
}

/// An ARN's account and resource: `111122223333:key/…`.
fn key_place(arn: &str) -> Option<String> {
    let arn: Arn = arn.parse().ok()?;
    let text = arn.to_string();
    text.splitn(5, ':').nth(4).map(str::to_owned)
}

/// CopySnapshot and CreateSnapshots have no client token: a call without an answer is not sent again, what it made is looked for.
pub(in crate::actions::ec2) fn once() -> Builder {
    Builder::new().retry_config(RetryConfig::disabled())
}

impl Copying {
    pub fn bind(&self) -> Bindings {
        let keys = self.sources.iter().filter_map(|source| source.kms_key.as_deref()).chain([self.key.as_str()]).filter_map(key_place);
        Bindings::new()
            .with("run", [self.run.clone()])
            .with("snapshot", self.sources.iter().map(|source| source.id.clone()))
            .with("key", keys)
    }

    /// The copies that this step made, none older than `since`.
    pub async fn made(&self, client: &Client, cx: Cx<'_>, since: Timestamp) -> Result<Made, ActionError> {
        let found = tagged(client, cx, true).await?;
        let account = cx.cell.account.as_str();
        let fits = |of: &str, snapshot: &Snapshot| self.is_copy(of, snapshot, account, since);
        Made::read(client, self.sources.iter().map(|source| source.of.clone()), &found, fits).await
    }

    fn is_copy(&self, of: &str, snapshot: &Snapshot, account: &str, since: Timestamp) -> bool {
        made_since(snapshot, account, since)
            && snapshot.tags.get(SOURCE_TAG).is_some_and(|source| source == of)
            && snapshot.description == description(&self.run, of)
            && snapshot.kms_key.as_deref() == Some(self.key.as_str())
    }

    fn key_of(cx: Cx<'_>, of: &str) -> ChangeKey {
        ChangeKey { resource: arn(cx, of), attribute: format!("copy for {} {}", cx.run, cx.step) }
    }

    /// Puts the copies into a plan: those to be made, and those that are there. Snapshots of an incident are its own work and count against
    /// no cap. Or why it cannot be done in one step.
    pub fn plan<B>(&self, cx: Cx<'_>, made: &Made, days: u32, writes: &[Permission], plan: &mut Planned) -> Option<Plan<B>> {
        for source in &self.sources {
            let ChangeKey { resource, attribute } = Self::key_of(cx, &source.of);
            plan.touches.insert(resource.clone());
            let there = made.of.get(&source.of).is_some_and(Option::is_some);
            let after = json!({ "kms_key": self.key, "locked_days": days });
            let before = if there { after.clone() } else { Value::Null };
            let list = if there { &mut plan.already } else { &mut plan.changes };
            list.push(Difference { resource, attribute, before, after });
        }
        plan.counts = Some([].into());
        let policies = write_policies(writes, cx.cell, &self.bind());
        policies.err().filter(|_| !plan.changes.is_empty()).map(|error| {
            let why = format!("{} snapshots are too many for one step ({error}); name fewer in `snapshots`", self.sources.len());
            Plan::Refuse { code: "too-many-resources", why }
        })
    }

    pub async fn apply(&self, cx: Cx<'_>, write: Write<'_>, days: u32) -> Result<Progress<Ticket, Outcome>, ApplyError> {
        let read = cx.read.ec2();
        let mut made = self.made(&read, cx, self.planned_at).await?;
        let mut done = 0;
        for source in &self.sources {
            if made.of.get(&source.of).is_some_and(Option::is_some) {
                continue;
            }
            let copy = self.copy(cx, write.on("snapshot", &source.id), source).await.map_err(|error| ApplyError::after(done, error))?;
            made.of.insert(source.of.clone(), Some(copy));
            done += 1;
        }
        // None is locked before all are made: then a lock says that whatever is missing was deleted.
        made.lock_all(&write.aws.ec2(), days, done).await?;
        Ok(self.progress(cx, &made))
    }

    async fn copy(&self, cx: Cx<'_>, clients: &Clients, source: &Source) -> Result<Snapshot, ActionError> {
        let region = cx.cell.region.as_str();
        let address = if source.encrypted { Some(clients.copy_snapshot_address(&source.id, cx.clock.now()).await?) } else { None };
        let text = description(&self.run, &source.of);
        let request = clients
            .ec2()
            .copy_snapshot()
            .source_region(region)
            .source_snapshot_id(&source.id)
            .encrypted(true)
            .kms_key_id(&self.key)
            .set_presigned_url(address)
            .description(&text)
            .tag_specifications(tag_specification(cx, &text, &[(SOURCE_TAG, &source.of)]));
        let answer = request.customize().config_override(once()).send().await.map_err(|error| match classify(CALL, error) {
            // 20 copies at a time into one Region (<https://docs.aws.amazon.com/ebs/latest/userguide/ebs-resource-quotas.html>).
            ActionError::Service { call, code, message } if code == "ResourceLimitExceeded" => ActionError::Throttled { call, message },
            other => other,
        })?;
        let id = answer
            .snapshot_id()
            .ok_or_else(|| ActionError::Transient { call: CALL.to_owned(), message: "the answer names no snapshot".into() })?;
        Ok(Snapshot {
            id: id.to_owned(),
            volume: String::new(),
            state: "pending".to_owned(),
            message: String::new(),
            started: None,
            owner: cx.cell.account.to_string(),
            size_gib: 0,
            encrypted: true,
            kms_key: Some(self.key.clone()),
            description: text,
            tags: BTreeMap::new(),
        })
    }

    fn progress(&self, cx: Cx<'_>, made: &Made) -> Progress<Ticket, Outcome> {
        if made.all_completed() {
            return Progress::Done(Outcome { copies: self.copied(cx, made) });
        }
        Progress::Pending { ticket: made.ticket(), after: wait(self.planned_at, cx.clock.now()) }
    }

    fn copied(&self, cx: Cx<'_>, made: &Made) -> Vec<Copied> {
        let one = |(of, snapshot): (&str, &Snapshot)| Copied {
            snapshot: snapshot.id.clone(),
            of: of.to_owned(),
            region: cx.cell.region.to_string(),
            kms_key: self.key.clone(),
            state: snapshot.state.clone(),
            locked_until: made.lock_of(snapshot).and_then(|lock| lock.until),
        };
        made.there().map(one).collect()
    }

    pub async fn poll(&self, cx: Cx<'_>, ticket: &Ticket) -> Result<Progress<Ticket, Outcome>, ActionError> {
        let made = Made::ask(&cx.read.ec2(), cx, CALL, ticket).await?;
        Ok(self.progress(cx, &made))
    }

    pub async fn verify(&self, cx: Cx<'_>, days: u32) -> Result<Verdict, ActionError> {
        Ok(self.made(&cx.read.ec2(), cx, self.planned_at).await?.verdict(days, false))
    }

    pub async fn undo(&self, cx: Cx<'_>, days: u32, only: &[ChangeKey]) -> Result<Undo, ApplyError> {
        let mut made = self.made(&cx.read.ec2(), cx, self.planned_at).await?;
        made.of.retain(|of, _| only.contains(&Self::key_of(cx, of)));
        Ok(made.undo(days, false))
    }
}

/// The key that copies are encrypted with, or why there is nothing to be done.
pub(in crate::actions::ec2) fn key<'c>(cx: Cx<'c>, snapshots: &[String]) -> Result<&'c str, String> {
    if snapshots.is_empty() {
        return Err("there is no snapshot".to_owned());
    }
    cx.copy_key.ok_or_else(|| "`[snapshots] copy_key` is not set: the snapshots stay in the member's account".to_owned())
}

/// Why a snapshot cannot be copied or shared now, and its code.
pub(in crate::actions::ec2) fn not_ready(cx: Cx<'_>, snapshot: &Snapshot) -> Option<(&'static str, String)> {
    let what = arn(cx, &snapshot.id);
    if snapshot.has_failed() {
        return Some(("snapshot-failed", format!("{what} is in the state error ({}): take it again", snapshot.message)));
    }
    // https://docs.aws.amazon.com/ebs/latest/userguide/ebs-copy-snapshot.html: after it has reached the completed state
    (!snapshot.is_completed())
        .then(|| ("snapshot-pending", format!("{what} is {}: only a completed snapshot can be copied", snapshot.state)))
}
