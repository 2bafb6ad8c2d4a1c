//! `ec2.detach-from-service`: takes an instance out of what gives it work: its Auto Scaling group, target groups, classic balancers.
//!
//! The group comes first. What is deregistered from a balancer looks unhealthy to a group that asks the balancer, and the group would
//! terminate it. By default the instance is detached and a replacement starts: the capacity is not lowered. With `standby` it stays a member
//! that serves nothing, and coming back is exact; at its minimum size a group lets none stand by, so the minimum is lowered first.
//!
//! Recovery keys: the instance's own standing in its group, and (target group, target, port); both calls are of no effect the second time.

mod apply;
mod decide;
mod look;
mod undo;
mod wire;

use std::collections::BTreeSet;

use cordon_shared::plan::{ChangeKey, Risk, Seat, ShareTaken, Verdict};
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::decide::decide;
use crate::{
    action::{ActionError, ApplyError, Change, Cx, Plan, Progress, Undo, Write},
    permission::{Bindings, Permission, write_policies},
};

/// Takes an instance out of service.
#[derive(Debug, Clone, Copy)]
pub struct DetachFromService;

/// Which instance, and how.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The instance (`i-…`).
    pub instance: String,
    /// Standby in its Auto Scaling group, with one instance less, in place of a replacement for it.
    #[serde(default)]
    pub standby: bool,
    /// Also an instance that another controller runs (EKS, ECS, Beanstalk, EMR).
    #[serde(default)]
    pub even_if_managed: bool,
}

/// How an instance leaves the work of its Auto Scaling group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// It is no member any more, and a replacement starts.
    Detached,
    /// It stays a member that serves nothing.
    Standby,
}

impl Mode {
    /// As a plan says it.
    fn word(self) -> &'static str {
        match self {
            Self::Detached => "detached",
            Self::Standby => "Standby",
        }
    }
}

/// The instance's membership in an Auto Scaling group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    name: String,
    arn: String,
    mode: Mode,
    min: i32,
    max: i32,
    desired: i32,
    /// How much of the desired capacity it is.
    weight: i32,
    /// What the minimum size is lowered to, where standby would go below it.
    lower_to: Option<i32>,
}

/// A target.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Target {
    /// The instance's id, or one of its addresses.
    pub id: String,
    /// The port.
    pub port: Option<i32>,
    /// The Availability Zone it was registered with.
    pub zone: Option<String>,
    /// Its QUIC server id, where its group has QUIC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quic: Option<String>,
}

/// A target group, and which of its targets are the instance's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    arn: String,
    /// Whether its targets are addresses.
    by_address: bool,
    targets: Vec<Target>,
}

/// A classic balancer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balancer {
    name: String,
    arn: String,
}

/// How many remain in service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Of which group or balancer.
    pub resource: String,
    /// So many.
    pub remaining: usize,
    /// Of so many.
    pub of: usize,
}

/// All that undo needs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    group: Option<Membership>,
    target_groups: Vec<Pool>,
    balancers: Vec<Balancer>,
    /// What the instance may be registered as: its id and its addresses.
    ids: BTreeSet<String>,
    remaining: Vec<Share>,
}

/// What was done.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// In its Auto Scaling group.
    pub auto_scaling: Option<GroupOutcome>,
    /// What was deregistered from target groups.
    pub target_groups: Vec<TargetOutcome>,
    /// The names of the classic balancers that it was deregistered from.
    pub balancers: Vec<String>,
    /// What remained in service at the time of the plan.
    pub remaining: Vec<Share>,
}

/// What was done in an Auto Scaling group.
#[derive(Debug, Clone, Serialize)]
pub struct GroupOutcome {
    /// The group's name.
    pub group: String,
    /// How it left.
    pub mode: Mode,
    /// The desired capacity since then.
    pub desired: i32,
    /// The minimum size as it was.
    pub min_was: i32,
}

/// A target that was deregistered.
#[derive(Debug, Clone, Serialize)]
pub struct TargetOutcome {
    /// The target group.
    pub arn: String,
    /// The instance's id, or one of its addresses.
    pub target: String,
    /// The port.
    pub port: Option<i32>,
    /// The Availability Zone.
    pub zone: Option<String>,
}

/// What identifies a target group in its ARN: `name/id`.
fn part(arn: &str) -> &str {
    arn.split_once(":targetgroup/").map_or(arn, |(_, part)| part)
}

/// A name as it stands for nothing but itself in a policy: a group may be called `*`
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html#policy-vars-specialchars>).
fn literal(name: &str) -> String {
    name.chars().fold(String::new(), |mut text, letter| {
        if matches!(letter, '*' | '?' | '$') {
            text.extend(["${", &letter.to_string(), "}"]);
        } else {
            text.push(letter);
        }
        text
    })
}

/// What a change of the membership is called.
fn membership(instance: &str) -> String {
    format!("instance {instance}")
}

/// What a change of the minimum size is called.
const MINIMUM: &str = "minimum size";

impl Target {
    /// What its change is called.
    fn attribute(&self) -> String {
        self.port.map_or_else(|| format!("target {}", self.id), |port| format!("target {} port {port}", self.id))
    }

    fn is(&self, other: &Self) -> bool {
        self.id == other.id && self.port == other.port
    }
}

impl Membership {
    /// The desired capacity once the instance has left.
    fn desired_after(&self) -> i32 {
        match self.mode {
            Mode::Detached => self.desired,
            Mode::Standby => self.desired.saturating_sub(self.weight),
        }
    }
}

impl Before {
    fn outcome(&self) -> Outcome {
        let targets = self.target_groups.iter().flat_map(|pool| pool.targets.iter().map(move |target| (pool, target)));
        Outcome {
            auto_scaling: self.group.as_ref().map(|group| GroupOutcome {
                group: group.name.clone(),
                mode: group.mode,
                desired: group.desired_after(),
                min_was: group.min,
            }),
            target_groups: targets
                .map(|(pool, target)| TargetOutcome {
                    arn: pool.arn.clone(),
                    target: target.id.clone(),
                    port: target.port,
                    zone: target.zone.clone(),
                })
                .collect(),
            balancers: self.balancers.iter().map(|balancer| balancer.name.clone()).collect(),
            remaining: self.remaining.clone(),
        }
    }
}

impl Change for DetachFromService {
    const NAME: &'static str = "ec2.detach-from-service";
    const ABOUT: &'static str = "Takes an instance out of its Auto Scaling group, target groups and classic load balancers";
    const RISK: Risk = Risk::Disruptive;
    const SEAT: Seat = Seat::Member;
    // https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2autoscaling.html
    // https://docs.aws.amazon.com/service-authorization/latest/reference/list_awselasticloadbalancing.html (classic)
    // https://docs.aws.amazon.com/service-authorization/latest/reference/list_awselasticloadbalancingv2.html
    const READS: &'static [Permission] = &[
        Permission::new("autoscaling:DescribeAutoScalingGroups", "*"),
        Permission::new("autoscaling:DescribeAutoScalingInstances", "*"),
        Permission::new("ec2:DescribeInstances", "*"),
        Permission::new("elasticloadbalancing:DescribeInstanceHealth", "*"),
        Permission::new("elasticloadbalancing:DescribeLoadBalancers", "*"),
        Permission::new("elasticloadbalancing:DescribeTags", "*"),
        Permission::new("elasticloadbalancing:DescribeTargetGroups", "*"),
        Permission::new("elasticloadbalancing:DescribeTargetHealth", "*"),
    ];
    // Names of groups are unique in an account and Region; what stands between is an id that calls do not name.
    const WRITES: &'static [Permission] = &[
        Permission::new(
            "autoscaling:AttachInstances",
            "arn:{partition}:autoscaling:{region}:{account}:autoScalingGroup:*:autoScalingGroupName/{group}",
        ),
        Permission::new(
            "autoscaling:DetachInstances",
            "arn:{partition}:autoscaling:{region}:{account}:autoScalingGroup:*:autoScalingGroupName/{group}",
        ),
        Permission::new(
            "autoscaling:EnterStandby",
            "arn:{partition}:autoscaling:{region}:{account}:autoScalingGroup:*:autoScalingGroupName/{group}",
        ),
        Permission::new(
            "autoscaling:ExitStandby",
            "arn:{partition}:autoscaling:{region}:{account}:autoScalingGroup:*:autoScalingGroupName/{group}",
        ),
        Permission::new(
            "autoscaling:UpdateAutoScalingGroup",
            "arn:{partition}:autoscaling:{region}:{account}:autoScalingGroup:*:autoScalingGroupName/{standby_group}",
        ),
        Permission::new(
            "elasticloadbalancing:DeregisterInstancesFromLoadBalancer",
            "arn:{partition}:elasticloadbalancing:{region}:{account}:loadbalancer/{balancer}",
        ),
        Permission::new(
            "elasticloadbalancing:DeregisterTargets",
            "arn:{partition}:elasticloadbalancing:{region}:{account}:targetgroup/{target_group}",
        ),
        Permission::new(
            "elasticloadbalancing:RegisterInstancesWithLoadBalancer",
            "arn:{partition}:elasticloadbalancing:{region}:{account}:loadbalancer/{balancer}",
        ),
        Permission::new(
            "elasticloadbalancing:RegisterTargets",
            "arn:{partition}:elasticloadbalancing:{region}:{account}:targetgroup/{target_group}",
        ),
    ];
    const SETTLE: SignedDuration = SignedDuration::from_secs(60);

    type Params = Params;
    type Before = Before;
    type Ticket = ();
    type Outcome = Outcome;

    fn bind(&self, _with: &Params, before: &Before) -> Bindings {
        // The minimum size is touched only where it has to be lowered.
        let lowered = before.group.iter().filter(|group| group.lower_to.is_some());
        Bindings::new()
            .with("group", before.group.iter().map(|group| literal(&group.name)))
            .with("standby_group", lowered.map(|group| literal(&group.name)))
            .with("target_group", before.target_groups.iter().map(|pool| part(&pool.arn)))
            .with("balancer", before.balancers.iter().map(|balancer| balancer.name.as_str()))
    }

    async fn plan(&self, cx: Cx<'_>, with: &Params) -> Result<Plan<Before>, ActionError> {
        let id = &with.instance;
        let Some(seen) = look::look(cx, id).await? else {
            return Ok(Plan::Moot { why: format!("there is no instance {id}") });
        };
        let instance = cx.ec2_arn(&format!("instance/{id}"));
        let plan = decide(&seen, with, &instance);
        let Plan::Ready { before, mut plan } = plan else { return Ok(plan) };
        for (arn, tags) in look::tagged(&seen, &instance).filter(|(arn, _)| *arn == instance || plan.touches.contains(*arn)) {
            plan.opt_outs.extend(cx.opt_out(arn, super::look::pairs(tags)));
        }
        if !plan.changes.is_empty()
            && let Err(error) = write_policies(Self::WRITES, cx.cell, &self.bind(with, &before))
        {
            let why = format!("{} target groups are too many for the sessions of one step ({error})", before.target_groups.len());
            return Ok(Plan::Refuse { code: "too-many-resources", why });
        }
        Ok(Plan::Ready { before, plan })
    }

    async fn apply(&self, cx: Cx<'_>, write: Write<'_>, with: &Params, before: &Before) -> Result<Progress<(), Outcome>, ApplyError> {
        apply::apply(cx, write, &with.instance, before).await.map(Progress::Done)
    }

    async fn verify(&self, cx: Cx<'_>, with: &Params, before: &Before) -> Result<Verdict, ActionError> {
        apply::verify(cx, &with.instance, before).await
    }

    async fn undo(&self, cx: Cx<'_>, write: Write<'_>, with: &Params, before: &Before, only: &[ChangeKey]) -> Result<Undo, ApplyError> {
        undo::undo(cx, write, &with.instance, before, only).await
    }
}

/// What an instance that is cut off is taken out of, as far as it serves: shares of groups, and why a person is asked. Whoever else may change
/// a group, the instance serves there no more.
pub(super) async fn serving(cx: Cx<'_>, id: &str) -> Result<(Vec<ShareTaken>, Option<String>), ActionError> {
    let Some(mut seen) = look::look(cx, id).await? else { return Ok((Vec::new(), None)) };
    if let Some(group) = &mut seen.group {
        group.operator = None;
    }
    let with = Params { instance: id.to_owned(), standby: false, even_if_managed: true };
    match decide(&seen, &with, &cx.ec2_arn(&format!("instance/{id}"))) {
        Plan::Ready { plan, .. } => Ok((plan.shares, plan.ask)),
        Plan::Moot { .. } | Plan::Refuse { .. } => Ok((Vec::new(), None)),
    }
}

#[cfg(test)]
#[path = "detach_from_service/tests.rs"]
mod tests;
