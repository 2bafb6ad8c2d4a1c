//! `ec2.snapshot-volumes`: one set of snapshots of all EBS volumes of an instance, of one instant, tagged with the incident and locked.
//!
//! One CreateSnapshots for the whole instance: the set is crash-consistent over its volumes. It is a moment's call; that the snapshots are
//! complete may take hours, and is asked after by ticket. They are locked while they are pending. Evidence is not deleted: undo leaves
//! snapshots and locks, and tells what somebody else did to them.

mod look;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::{Client, types::InstanceSpecification};
use cordon_shared::plan::{Change as Difference, ChangeKey, Plan as Planned, Risk, Seat, Verdict};
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::look::{Disk, disks, host};
pub use super::snapshots::Ticket;
use super::{
    look::pairs,
    snapshots::{Made, Snapshot, began, copies::once, made_since, tag_specification, tagged, wait, wrong_days},
};
use crate::{
    action::{ActionError, ApplyError, Change, Cx, ParamsError, Plan, Progress, Undo, Write, classify},
    permission::{Bindings, Permission},
};

/// Takes snapshots of an instance's volumes.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotVolumes;

const NAME: &str = "ec2.snapshot-volumes";
const CALL: &str = "ec2:CreateSnapshots";

/// How many volumes one call takes (<https://docs.aws.amazon.com/ebs/latest/userguide/ebs-create-snapshots.html>).
const MOST_VOLUMES: usize = 128;
/// How many volumes one call leaves out (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstanceSpecification.html>).
const MOST_LEFT_OUT: usize = 40;
/// How long snapshots are locked where nobody says otherwise.
const LOCK_DAYS: u32 = 30;

/// Of which instance.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The instance (`i-…`).
    pub instance: String,
    /// For how many days the snapshots are locked against deletion, in governance mode; 0: not at all.
    #[serde(default = "lock_days")]
    pub lock_days: u32,
    /// Also when another controller runs the instance (Amazon EKS, Elastic Beanstalk, …).
    #[serde(default)]
    pub even_if_managed: bool,
}

fn lock_days() -> u32 {
    LOCK_DAYS
}

/// The volumes as they were, and by when a snapshot is ours.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Before {
    run: String,
    /// No snapshot of ours is older.
    planned_at: Timestamp,
    root_device: Option<String>,
    volumes: Vec<Disk>,
}

/// What was taken.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The snapshots' ids, for the steps that follow.
    pub ids: Vec<String>,
    /// The snapshots.
    pub snapshots: Vec<Taken>,
}

/// A snapshot.
#[derive(Debug, Clone, Serialize)]
pub struct Taken {
    /// The snapshot.
    pub snapshot: String,
    /// Of this volume.
    pub volume: String,
    /// Attached as.
    pub device: String,
    /// The volume's size.
    pub size_gib: i32,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// With which key.
    pub kms_key: Option<String>,
    /// `completed`.
    pub state: String,
    /// When its lock ends.
    pub locked_until: Option<Timestamp>,
}

fn volume_arn(cx: Cx<'_>, id: &str) -> String {
    cx.ec2_arn(&format!("volume/{id}"))
}

fn attribute(cx: Cx<'_>) -> String {
    format!("snapshot for {} {}", cx.run, cx.step)
}

fn check(with: &Params) -> Result<(), ActionError> {
    wrong_days(with.lock_days).map_or(Ok(()), |why| Err(ParamsError { action: NAME, why }.into()))
}

/// The snapshots that this step took of these volumes, none older than `since`. The tags say which step; the volume and the owner are EC2's
/// own word: a tag on a snapshot of something else makes it none of ours.
async fn made(client: &Client, cx: Cx<'_>, volumes: &[Disk], since: Timestamp) -> Result<Made, ActionError> {
    let found = tagged(client, cx, true).await?;
    let account = cx.cell.account.as_str();
    let fits = |volume: &str, snapshot: &Snapshot| snapshot.volume == volume && made_since(snapshot, account, since);
    Made::read(client, volumes.iter().map(|disk| disk.id.clone()), &found, fits).await
}

impl Before {
    fn progress(&self, cx: Cx<'_>, made: &Made) -> Progress<Ticket, Outcome> {
        if !made.all_completed() {
            return Progress::Pending { ticket: made.ticket(), after: wait(self.planned_at, cx.clock.now()) };
        }
        let disks: BTreeMap<&str, &Disk> = self.volumes.iter().map(|disk| (disk.id.as_str(), disk)).collect();
        let taken = |(volume, snapshot): (&str, &Snapshot)| Taken {
            snapshot: snapshot.id.clone(),
            volume: volume.to_owned(),
            device: disks.get(volume).map(|disk| disk.device.clone()).unwrap_or_default(),
            size_gib: snapshot.size_gib,
            encrypted: snapshot.encrypted,
            kms_key: snapshot.kms_key.clone(),
            state: snapshot.state.clone(),
            locked_until: made.lock_of(snapshot).and_then(|lock| lock.until),
        };
        let snapshots: Vec<Taken> = made.there().map(taken).collect();
        Progress::Done(Outcome { ids: snapshots.iter().map(|taken| taken.snapshot.clone()).collect(), snapshots })
    }
}

/// Takes the snapshots of these volumes of an instance, and of no other of its volumes, in one call.
async fn take(
    write: &Client,
    cx: Cx<'_>,
    with: &Params,
    before: &Before,
    wanted: &BTreeSet<&str>,
    now: &[Disk],
) -> Result<Vec<Snapshot>, ActionError> {
    let (root, left_out): (Vec<&Disk>, Vec<&Disk>) =
        now.iter().filter(|disk| !wanted.contains(disk.id.as_str())).partition(|disk| Some(&disk.device) == before.root_device.as_ref());
    if left_out.len() > MOST_LEFT_OUT {
        let message = format!(
            "{} volumes were attached to {} since the plan; CreateSnapshots leaves out {MOST_LEFT_OUT}",
            left_out.len(),
            with.instance
        );
        return Err(ActionError::Service { call: CALL.to_owned(), code: "VolumesChanged".to_owned(), message });
    }
    let left_out: Vec<String> = left_out.iter().map(|disk| disk.id.clone()).collect();
    let which = InstanceSpecification::builder()
        .instance_id(&with.instance)
        .set_exclude_boot_volume((!root.is_empty()).then_some(true))
        .set_exclude_data_volume_ids((!left_out.is_empty()).then_some(left_out))
        .build();
    let text = format!("Cordon {}: {}", before.run, with.instance);
    let request =
        write.create_snapshots().instance_specification(which).description(&text).tag_specifications(tag_specification(cx, &text, &[]));
    let answer = request.customize().config_override(once()).send().await.map_err(|error| classify(CALL, error))?;
    Ok(answer.snapshots().iter().map(Snapshot::from).collect())
}

impl Change for SnapshotVolumes {
    const NAME: &'static str = NAME;
    const ABOUT: &'static str =
        "Takes one crash-consistent set of snapshots of an instance's EBS volumes, tagged and locked; an undo keeps them";
    const RISK: Risk = Risk::Reversible;
    const SEAT: Seat = Seat::Member;
    // https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
    const READS: &'static [Permission] = &[
        Permission::new("ec2:DescribeInstanceTypes", "*"),
        Permission::new("ec2:DescribeInstances", "*"),
        Permission::new("ec2:DescribeLockedSnapshots", "*"),
        Permission::new("ec2:DescribeSnapshots", "*"),
        Permission::new("ec2:DescribeVolumes", "*"),
    ];
    // The call names the instance, and its volumes are those attached to it: with the instance bound, `volume/*` is no more than them.
    const WRITES: &'static [Permission] = &[
        Permission::new("ec2:CreateSnapshots", "arn:{partition}:ec2:{region}:{account}:instance/{instance}"),
        Permission::new("ec2:CreateSnapshots", "arn:{partition}:ec2:{region}:{account}:volume/*"),
        Permission::new("ec2:CreateSnapshots", "arn:{partition}:ec2:{region}::snapshot/*"),
        Permission {
            action: "ec2:CreateTags",
            resource: "arn:{partition}:ec2:{region}::snapshot/*",
            conditions: &[("StringLike", "aws:RequestTag/cordon:run", "{run}"), ("StringLike", "ec2:CreateAction", "CreateSnapshots")],
        },
        Permission::own("ec2:LockSnapshot", "arn:{partition}:ec2:{region}::snapshot/*"),
    ];
    const SETTLE: SignedDuration = SignedDuration::from_secs(60);

    type Params = Params;
    type Before = Before;
    type Ticket = Ticket;
    type Outcome = Outcome;

    fn bind(&self, with: &Params, before: &Before) -> Bindings {
        Bindings::new().with("instance", [with.instance.clone()]).with("run", [before.run.clone()])
    }

    async fn plan(&self, cx: Cx<'_>, with: &Params) -> Result<Plan<Before>, ActionError> {
        check(with)?;
        let (client, id) = (cx.read.ec2(), &with.instance);
        let Some(host) = host(&client, id).await? else { return Ok(Plan::Moot { why: format!("there is no instance {id}") }) };
        if host.machine.is_gone() {
            return Ok(Plan::Moot { why: format!("instance {id} is {}: its volumes are detached or deleted with it", host.machine.state) });
        }
        let mut plan = Planned::default();
        if let Some(who) = &host.machine.controller {
            if !with.even_if_managed {
                let why = format!("instance {id} is run by {who}. `even_if_managed = true` takes the snapshots all the same");
                return Ok(Plan::Refuse { code: "run-by-controller", why });
            }
            plan.notes.push(format!("instance {id} is run by {who}, which may replace it while the snapshots are taken"));
        }
        plan.opt_outs.extend(cx.opt_out(&cx.ec2_arn(&format!("instance/{id}")), pairs(&host.machine.tags)));
        plan.notes.extend(host.without_snapshot(&client).await);
        let volumes = disks(&client, id).await?;
        if volumes.is_empty() {
            let why = [format!("instance {id} has no EBS volume")].into_iter().chain(plan.notes).collect::<Vec<_>>().join("; ");
            return Ok(Plan::Moot { why });
        }
        if volumes.len() > MOST_VOLUMES {
            let why = format!("instance {id} has {} volumes; one set of snapshots takes {MOST_VOLUMES}. Take them in parts", volumes.len());
            return Ok(Plan::Refuse { code: "too-many-resources", why });
        }
        let made = made(&client, cx, &volumes, began(cx.run)).await?;
        for disk in &volumes {
            let arn = volume_arn(cx, &disk.id);
            plan.opt_outs.extend(cx.opt_out(&arn, pairs(&disk.tags)));
            plan.notes.extend(disk.note(id));
            let after = json!({ "locked_days": with.lock_days });
            let there = made.of.get(&disk.id).is_some_and(Option::is_some);
            let (list, now) = if there { (&mut plan.already, after.clone()) } else { (&mut plan.changes, Value::Null) };
            list.push(Difference { resource: arn.clone(), attribute: attribute(cx), before: now, after });
            // Its volumes only: the instance must stay free for what contains it.
            plan.touches.insert(arn);
        }
        if with.lock_days == 0 {
            plan.notes.push("the snapshots are not locked: whoever may delete snapshots in the account may delete them".to_owned());
        }
        plan.counts = Some([cx.ec2_arn(&format!("instance/{id}"))].into());
        let before = Before { run: cx.run.to_string(), planned_at: cx.clock.now(), root_device: host.root_device, volumes };
        Ok(Plan::Ready { before, plan })
    }

    async fn apply(&self, cx: Cx<'_>, write: Write<'_>, with: &Params, before: &Before) -> Result<Progress<Ticket, Outcome>, ApplyError> {
        let (read, client) = (cx.read.ec2(), write.aws.ec2());
        let mut made = made(&read, cx, &before.volumes, before.planned_at).await?;
        let mut done = 0;
        let missing: Vec<String> = made.missing().into_iter().map(str::to_owned).collect();
        if !missing.is_empty() {
            let now = disks(&read, &with.instance).await?;
            let wanted: BTreeSet<&str> = missing.iter().map(String::as_str).filter(|id| now.iter().any(|disk| disk.id == *id)).collect();
            if !wanted.is_empty() {
                for snapshot in take(&client, cx, with, before, &wanted, &now).await? {
                    made.of.insert(snapshot.volume.clone(), Some(snapshot));
                }
                done += 1;
            }
        }
        made.lock_all(&client, with.lock_days, done).await?;
        let missing = made.missing();
        if !missing.is_empty() {
            let arns: Vec<String> = missing.into_iter().map(|id| volume_arn(cx, id)).collect();
            let message = "it was detached since the plan and is in no snapshot; the other volumes' were taken. Take it by hand".to_owned();
            return Err(ApplyError::after(made.there().count(), ActionError::Gone { what: arns.join(", "), message }));
        }
        Ok(before.progress(cx, &made))
    }

    async fn poll(&self, cx: Cx<'_>, _with: &Params, before: &Before, ticket: &Ticket) -> Result<Progress<Ticket, Outcome>, ActionError> {
        Ok(before.progress(cx, &Made::ask(&cx.read.ec2(), cx, CALL, ticket).await?))
    }

    async fn verify(&self, cx: Cx<'_>, with: &Params, before: &Before) -> Result<Verdict, ActionError> {
        Ok(made(&cx.read.ec2(), cx, &before.volumes, before.planned_at).await?.verdict(with.lock_days, true))
    }

    async fn undo(&self, cx: Cx<'_>, _write: Write<'_>, with: &Params, before: &Before, only: &[ChangeKey]) -> Result<Undo, ApplyError> {
        let mut made = made(&cx.read.ec2(), cx, &before.volumes, before.planned_at).await?;
        let all = made.undo(with.lock_days, true);
        made.of.retain(|volume, _| only.contains(&ChangeKey { resource: volume_arn(cx, volume), attribute: attribute(cx) }));
        Ok(if made.of.is_empty() { Undo::Restored(Vec::new()) } else { all })
    }
}
