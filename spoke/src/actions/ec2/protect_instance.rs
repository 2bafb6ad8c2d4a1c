//! `ec2.protect-instance`: keeps an instance and its volumes from being terminated, by an attacker or by a colleague, while they are evidence.
//!
//! Termination protection and stop protection on, a shutdown from within stops instead of terminating, and no EBS volume goes with the
//! instance. What an instance does not support is noted, and the other attributes are set all the same.

mod apply;
mod attribute;
#[cfg(test)]
mod tests;

use aws_sdk_ec2::{
    Client,
    types::{DeviceType, Instance, InstanceAttributeName, InstanceLifecycleType, InstanceTypeInfo},
};
use cordon_shared::plan::{Change as Difference, ChangeKey, Plan as Planned, Risk, Seat, Verdict};
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::attribute::{Attribute, Setting};
use super::instance::{living, subject};
use crate::{
    action::{ActionError, ApplyError, Change, Cx, Plan, Progress, Undo, Write, classify},
    permission::{Bindings, Permission},
};

/// Keeps an instance and its volumes from being terminated.
#[derive(Debug, Clone, Copy)]
pub struct ProtectInstance;

const NAME: &str = "ec2.protect-instance";

/// Which instance.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The instance (`i-…`).
    pub instance: String,
    /// Also where another controller (EKS, ECS, Elastic Beanstalk, …) runs it.
    #[serde(default)]
    pub even_if_managed: bool,
}

/// All that undo needs: every attribute as it was, also those that are not changed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Before {
    instance: String,
    settings: Vec<Setting>,
}

impl Before {
    /// The attributes that are changed.
    fn changed(&self) -> impl Iterator<Item = &Setting> {
        self.settings.iter().filter(|setting| setting.unsupported.is_none() && setting.was != setting.attribute.wanted())
    }
}

/// What was done.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The attributes that were set.
    pub attributes: Vec<Set>,
    /// Those that could not be.
    pub unsupported: Vec<Unsupported>,
}

/// An attribute that was set.
#[derive(Debug, Clone, Serialize)]
pub struct Set {
    /// Which.
    pub attribute: String,
    /// As it was.
    pub was: Value,
    /// As it is.
    pub now: Value,
}

/// An attribute that could not be set.
#[derive(Debug, Clone, Serialize)]
pub struct Unsupported {
    /// Which.
    pub attribute: String,
    /// Why, in words.
    pub why: String,
}

/// Every attribute of an instance as it is now; `None` where the instance is gone.
async fn read(client: &Client, id: &str) -> Result<Option<Vec<(Attribute, Value)>>, ActionError> {
    match living(client, id).await? {
        Some((_, instance)) => attributes(client, id, &instance).await.map(Some),
        None => Ok(None),
    }
}

/// Every attribute of an instance as it is now, in the order in which they are set.
async fn attributes(client: &Client, id: &str, instance: &Instance) -> Result<Vec<(Attribute, Value)>, ActionError> {
    const CALL: &str = "ec2:DescribeInstanceAttribute";
    let ask = async |attribute: InstanceAttributeName| {
        let answer = client.describe_instance_attribute().instance_id(id).attribute(attribute).send().await;
        answer.map_err(|error| classify(CALL, error))
    };
    let missing = |what: &str| ActionError::Service {
        call: CALL.to_owned(),
        code: "UnknownAttribute".to_owned(),
        message: format!("AWS does not say the {what} of {id}"),
    };
    let flag = |value: Option<&aws_sdk_ec2::types::AttributeBooleanValue>, attribute: &Attribute| {
        value.and_then(|value| value.value()).map(Value::from).ok_or_else(|| missing(&attribute.to_string()))
    };
    let termination = ask(InstanceAttributeName::DisableApiTermination).await?;
    let stop = ask(InstanceAttributeName::DisableApiStop).await?;
    let shutdown = ask(InstanceAttributeName::InstanceInitiatedShutdownBehavior).await?;
    let shutdown = shutdown.instance_initiated_shutdown_behavior().and_then(|value| value.value());
    let shutdown = shutdown.map(Value::from).ok_or_else(|| missing("shutdown behaviour"))?;
    let mut found = vec![
        (Attribute::TerminationProtection, flag(termination.disable_api_termination(), &Attribute::TerminationProtection)?),
        (Attribute::StopProtection, flag(stop.disable_api_stop(), &Attribute::StopProtection)?),
        (Attribute::ShutdownBehaviour, shutdown),
    ];
    found.extend(instance.block_device_mappings().iter().filter_map(|mapping| {
        let (device, ebs) = (mapping.device_name()?.to_owned(), mapping.ebs()?);
        let volume = ebs.volume_id()?.to_owned();
        Some((Attribute::DeleteOnTermination { device, volume }, json!(ebs.delete_on_termination() == Some(true))))
    }));
    Ok(found)
}

fn is_spot(instance: &Instance) -> bool {
    instance.instance_lifecycle() == Some(&InstanceLifecycleType::Spot)
}

fn is_instance_store(instance: &Instance) -> bool {
    instance.root_device_type() == Some(&DeviceType::InstanceStore)
}

/// Why an instance does not support an attribute; `None`: it does.
///
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_ChangingDisableAPITermination.html>,
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-stop-protection.html>,
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_ChangingInstanceInitiatedShutdownBehavior.html>
fn unsupported(instance: &Instance, attribute: &Attribute) -> Option<&'static str> {
    match attribute {
        Attribute::DeleteOnTermination { .. } => None,
        _ if is_spot(instance) => Some("it is a Spot Instance"),
        Attribute::StopProtection | Attribute::ShutdownBehaviour if is_instance_store(instance) => {
            Some("its root device is an instance store")
        }
        _ => None,
    }
}

/// What a reader should know about how far the protection goes.
fn notes(id: &str, instance: &Instance, kind: Option<&InstanceTypeInfo>) -> Vec<String> {
    let mut notes = Vec::new();
    if is_spot(instance) {
        notes.push(format!(
            "{id} is a Spot Instance: EC2 supports no termination or stop protection for it and may reclaim it at any time; only its volumes are kept"
        ));
    }
    if is_instance_store(instance) {
        notes.push(format!(
            "the root device of {id} is an instance store: it cannot be stopped, a shutdown from within terminates it, and its disk is lost then"
        ));
    }
    // AWS alone sets tags that begin with `aws:`
    // (https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-tagging.html).
    let group = instance.tags().iter().find(|tag| tag.key() == Some("aws:autoscaling:groupName")).and_then(|tag| tag.value());
    if let Some(group) = group {
        notes.push(format!(
            "{id} is in the Auto Scaling group {group}: protection stops neither a scale-in nor the replacement of an unhealthy instance; detach it from the group"
        ));
    }
    // https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-store-lifetime.html
    let disks = kind.and_then(|kind| kind.instance_storage_info()).map(|info| info.disks()).unwrap_or_default();
    if !disks.is_empty() {
        let disk = |disk: &aws_sdk_ec2::types::DiskInfo| {
            let kind = disk.r#type().map_or("disk", |kind| kind.as_str());
            format!("{} × {} GB {kind}", disk.count().unwrap_or(1), disk.size_in_gb().unwrap_or_default())
        };
        let disks: Vec<String> = disks.iter().map(disk).collect();
        notes.push(format!(
            "stopping, hibernating or terminating {id} loses its instance-store volumes ({}); no snapshot holds them",
            disks.join(", ")
        ));
    }
    notes
}

/// What the instance's type is; `None` where AWS does not say.
async fn kind(client: &Client, instance: &Instance) -> Result<Option<InstanceTypeInfo>, ActionError> {
    let Some(kind) = instance.instance_type() else { return Ok(None) };
    let answer = client.describe_instance_types().instance_types(kind.clone()).send().await;
    let answer = answer.map_err(|error| classify("ec2:DescribeInstanceTypes", error))?;
    Ok(answer.instance_types.unwrap_or_default().into_iter().next())
}

impl Change for ProtectInstance {
    const NAME: &'static str = NAME;
    const ABOUT: &'static str = "Protects an instance and its volumes from termination: as evidence, and from whoever would get rid of it";
    const RISK: Risk = Risk::Reversible;
    const SEAT: Seat = Seat::Member;
    // https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
    const READS: &'static [Permission] = &[
        Permission::new("ec2:DescribeInstanceAttribute", "*"),
        Permission::new("ec2:DescribeInstanceTypes", "*"),
        Permission::new("ec2:DescribeInstances", "*"),
    ];
    const WRITES: &'static [Permission] = &[
        Permission::new("ec2:ModifyInstanceAttribute", "arn:{partition}:ec2:{region}:{account}:instance/{instance}"),
        // The volume of a mapping may be checked too; the instance always is, so this reaches no other's.
        Permission::new("ec2:ModifyInstanceAttribute", "arn:{partition}:ec2:{region}:{account}:volume/*"),
    ];
    const SETTLE: SignedDuration = SignedDuration::from_secs(60);

    type Params = Params;
    type Before = Before;
    type Ticket = ();
    type Outcome = Outcome;

    fn bind(&self, _with: &Params, before: &Before) -> Bindings {
        Bindings::new().with("instance", [before.instance.clone()])
    }

    async fn plan(&self, cx: Cx<'_>, with: &Params) -> Result<Plan<Before>, ActionError> {
        let (client, id) = (cx.read.ec2(), &with.instance);
        let mut plan = Planned::default();
        let (_, instance) = match subject(cx, id, with.even_if_managed, &mut plan).await? {
            Ok(found) => found,
            Err(none) => return Ok(none),
        };
        let now = attributes(&client, id, &instance).await?;
        let arn = cx.ec2_arn(&format!("instance/{id}"));
        let mut before = Before { instance: id.clone(), settings: Vec::new() };
        for (attribute, was) in now {
            let wanted = attribute.wanted();
            let unsupported = (was != wanted).then(|| unsupported(&instance, &attribute)).flatten().map(str::to_owned);
            if unsupported.is_none() {
                let list = if was == wanted { &mut plan.already } else { &mut plan.changes };
                list.push(Difference { resource: arn.clone(), attribute: attribute.to_string(), before: was.clone(), after: wanted });
            }
            before.settings.push(Setting { attribute, was, unsupported });
        }
        plan.notes.extend(notes(id, &instance, kind(&client, &instance).await?.as_ref()));
        if plan.changes.is_empty() && plan.already.is_empty() {
            return Ok(Plan::Moot { why: format!("nothing of {id} can be protected: {}", plan.notes.join("; ")) });
        }
        plan.touches.insert(arn);
        Ok(Plan::Ready { before, plan })
    }

    async fn apply(&self, cx: Cx<'_>, write: Write<'_>, _with: &Params, before: &Before) -> Result<Progress<(), Outcome>, ApplyError> {
        apply::apply(&cx.read.ec2(), &write.aws.ec2(), before).await.map(Progress::Done)
    }

    async fn verify(&self, cx: Cx<'_>, _with: &Params, before: &Before) -> Result<Verdict, ActionError> {
        apply::verify(&cx.read.ec2(), before).await
    }

    async fn undo(&self, cx: Cx<'_>, write: Write<'_>, _with: &Params, before: &Before, only: &[ChangeKey]) -> Result<Undo, ApplyError> {
        apply::undo(cx, &write.aws.ec2(), before, only).await
    }
}
