//! The calls to Amazon EC2 Auto Scaling and to Elastic Load Balancing of both kinds.

use std::collections::BTreeMap;

use aws_sdk_elasticloadbalancing::types::Instance as ClassicInstance;
use aws_sdk_elasticloadbalancingv2::types::{TargetDescription, TargetTypeEnum};
use ipnet::IpNet;

use super::{
    Pool, Target,
    look::{Classic, Entry, Group, Host, Member, Targets},
};
use crate::{
    action::{ActionError, Cx, classify},
    actions::ec2::{
        controller::controller,
        look::{Tags, filter, tags as ec2_tags},
    },
};

/// How many resources one DescribeTags names
/// (<https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTags.html>).
const TAGGED: usize = 20;
/// How many targets one call registers or deregisters
/// (<https://docs.aws.amazon.com/general/latest/gr/elb.html>, "Targets per registration").
const TARGETS: usize = 100;

/// What AWS says to a call that has to wait for another one
/// (<https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_DetachInstances.html>, "Errors").
const BUSY: &[&str] = &["ResourceContention", "ScalingActivityInProgress"];

/// An error of Auto Scaling: what is busy is asked again.
fn scaling(error: ActionError) -> ActionError {
    match error {
        ActionError::Service { call, code, message } if BUSY.contains(&code.as_str()) => ActionError::Throttled { call, message },
        other => other,
    }
}

/// Whether AWS says that the group or balancer is not there.
pub(super) fn is_missing(error: &ActionError) -> bool {
    match error {
        ActionError::Service { code, .. } => {
            matches!(code.as_str(), "TargetGroupNotFound" | "LoadBalancerNotFound" | "AccessPointNotFound")
        }
        ActionError::Gone { .. } => true,
        _ => false,
    }
}

/// The instance.
pub(super) async fn host(client: &aws_sdk_ec2::Client, id: &str) -> Result<Option<Host>, ActionError> {
    let pages = client.describe_instances().filters(filter("instance-id", [id])).into_paginator().items().send();
    let found = pages.collect::<Result<Vec<_>, _>>().await.map_err(|error| classify("ec2:DescribeInstances", error))?;
    let Some(wire) = found.iter().flat_map(|reservation| reservation.instances()).find(|wire| wire.instance_id() == Some(id)) else {
        return Ok(None);
    };
    let tags = ec2_tags(wire.tags());
    let operator = wire.operator().filter(|operator| operator.managed() == Some(true));
    let operator = operator.map(|operator| operator.principal().unwrap_or("an AWS service"));
    let hosts = wire.network_interfaces().iter().flat_map(|interface| {
        let first = interface.private_ip_address();
        let more = interface.private_ip_addresses().iter().filter_map(|address| address.private_ip_address());
        first.into_iter().chain(more).chain(interface.ipv6_addresses().iter().filter_map(|address| address.ipv6_address()))
    });
    let hosts = wire
        .private_ip_address()
        .into_iter()
        .chain(hosts)
        .filter_map(|address| Some(IpNet::from(address.parse::<std::net::IpAddr>().ok()?)));
    let prefixes = wire.network_interfaces().iter().flat_map(|interface| {
        let ipv4 = interface.ipv4_prefixes().iter().filter_map(|prefix| prefix.ipv4_prefix());
        ipv4.chain(interface.ipv6_prefixes().iter().filter_map(|prefix| prefix.ipv6_prefix()))
    });
    let mut addresses: Vec<IpNet> = hosts.chain(prefixes.filter_map(|prefix| prefix.parse().ok())).collect();
    addresses.sort();
    addresses.dedup();
    Ok(Some(Host {
        id: id.to_owned(),
        state: wire.state().and_then(|state| state.name()).map_or_else(|| "unknown".to_owned(), |name| name.as_str().to_owned()),
        spot: wire.instance_lifecycle().is_some_and(|kind| kind.as_str() == "spot"),
        controller: controller(&tags, operator),
        tags,
        vpc: wire.vpc_id().map(str::to_owned),
        addresses,
    }))
}

/// In which Auto Scaling group an instance is, and in what state.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    pub group: String,
    pub state: String,
}

/// Where an instance stands; `None`: in no group.
pub(super) async fn standing(client: &aws_sdk_autoscaling::Client, id: &str) -> Result<Option<Standing>, ActionError> {
    let answer = client.describe_auto_scaling_instances().instance_ids(id).send().await;
    let answer = answer.map_err(|error| scaling(classify("autoscaling:DescribeAutoScalingInstances", error)))?;
    let found = answer.auto_scaling_instances().iter().find(|one| one.instance_id() == Some(id));
    Ok(found.map(|one| Standing {
        group: one.auto_scaling_group_name().unwrap_or_default().to_owned(),
        state: one.lifecycle_state().unwrap_or_default().to_owned(),
    }))
}

/// An Auto Scaling group; `None` where there is none of this name.
pub(super) async fn group(client: &aws_sdk_autoscaling::Client, name: &str) -> Result<Option<Group>, ActionError> {
    let answer = client.describe_auto_scaling_groups().auto_scaling_group_names(name).send().await;
    let answer = answer.map_err(|error| scaling(classify("autoscaling:DescribeAutoScalingGroups", error)))?;
    let Some(wire) = answer.auto_scaling_groups().iter().find(|one| one.auto_scaling_group_name() == Some(name)) else { return Ok(None) };
    let members = wire.instances().iter().map(|member| Member {
        id: member.instance_id().unwrap_or_default().to_owned(),
        state: member.lifecycle_state().map(|state| state.as_str().to_owned()).unwrap_or_default(),
        weight: member.weighted_capacity().and_then(|weight| weight.parse().ok()).unwrap_or(1),
    });
    let tags = wire.tags().iter().filter_map(|tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned())));
    Ok(Some(Group {
        name: name.to_owned(),
        arn: wire.auto_scaling_group_arn().unwrap_or_default().to_owned(),
        min: wire.min_size().unwrap_or_default(),
        max: wire.max_size().unwrap_or_default(),
        desired: wire.desired_capacity().unwrap_or_default(),
        launches_nothing: wire.suspended_processes().iter().any(|process| process.process_name() == Some("Launch")),
        mixed: wire.mixed_instances_policy().is_some(),
        operator: wire.operator().map(|operator| operator.principal().unwrap_or("an AWS service").to_owned()),
        tags: tags.collect(),
        members: members.collect(),
        target_groups: wire.target_group_arns().to_vec(),
        balancers: wire.load_balancer_names().to_vec(),
    }))
}

/// The target groups of the cell, without their targets; those of functions and of balancers left out.
pub(super) async fn target_groups(client: &aws_sdk_elasticloadbalancingv2::Client) -> Result<Vec<Targets>, ActionError> {
    let pages = client.describe_target_groups().into_paginator().items().send();
    let found = pages.collect::<Result<Vec<_>, _>>().await;
    let found = found.map_err(|error| classify("elasticloadbalancing:DescribeTargetGroups", error))?;
    let one = |wire: &aws_sdk_elasticloadbalancingv2::types::TargetGroup| {
        let by_address = match wire.target_type()? {
            TargetTypeEnum::Instance => false,
            TargetTypeEnum::Ip => true,
            _ => return None,
        };
        Some(Targets {
            arn: wire.target_group_arn()?.to_owned(),
            name: wire.target_group_name().unwrap_or_default().to_owned(),
            by_address,
            vpc: wire.vpc_id().map(str::to_owned),
            port: wire.port(),
            in_use: !wire.load_balancer_arns().is_empty(),
            ..Targets::default()
        })
    };
    Ok(found.iter().filter_map(one).collect())
}

/// The targets of a target group; `None` where it is not there any more.
pub(super) async fn health(client: &aws_sdk_elasticloadbalancingv2::Client, arn: &str) -> Result<Option<Vec<Entry>>, ActionError> {
    let answer = client.describe_target_health().target_group_arn(arn).send().await;
    let answer = match answer.map_err(|error| classify("elasticloadbalancing:DescribeTargetHealth", error)) {
        Ok(answer) => answer,
        Err(error) if is_missing(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let entry = |wire: &aws_sdk_elasticloadbalancingv2::types::TargetHealthDescription| {
        let (target, health) = (wire.target()?, wire.target_health());
        Some(Entry {
            target: Target {
                id: target.id()?.to_owned(),
                port: target.port(),
                zone: target.availability_zone().map(str::to_owned),
                quic: target.quic_server_id().map(str::to_owned),
            },
            state: health.and_then(|health| health.state()).map(|state| state.as_str().to_owned()).unwrap_or_default(),
            reason: health.and_then(|health| health.reason()).map(|reason| reason.as_str().to_owned()).unwrap_or_default(),
        })
    };
    Ok(Some(answer.target_health_descriptions().iter().filter_map(entry).collect()))
}

/// The tags of target groups.
pub(super) async fn tags(client: &aws_sdk_elasticloadbalancingv2::Client, arns: &[String]) -> Result<BTreeMap<String, Tags>, ActionError> {
    let mut found = BTreeMap::new();
    for arns in arns.chunks(TAGGED) {
        let answer = client.describe_tags().set_resource_arns(Some(arns.to_vec())).send().await;
        let answer = answer.map_err(|error| classify("elasticloadbalancing:DescribeTags", error))?;
        for one in answer.tag_descriptions() {
            let tags = one.tags().iter().filter_map(|tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned())));
            found.insert(one.resource_arn().unwrap_or_default().to_owned(), tags.collect());
        }
    }
    Ok(found)
}

/// The ARN of a classic balancer.
fn classic_arn(cx: Cx<'_>, name: &str) -> String {
    format!("arn:{}:elasticloadbalancing:{}:{}:loadbalancer/{name}", cx.read.partition(), cx.cell.region, cx.cell.account)
}

/// The classic balancers that have the instance, with their tags and the health of their instances.
pub(super) async fn classic(client: &aws_sdk_elasticloadbalancing::Client, cx: Cx<'_>, id: &str) -> Result<Vec<Classic>, ActionError> {
    let pages = client.describe_load_balancers().into_paginator().items().send();
    let found = pages.collect::<Result<Vec<_>, _>>().await;
    let found = found.map_err(|error| classify("elasticloadbalancing:DescribeLoadBalancers", error))?;
    let has = |wire: &&aws_sdk_elasticloadbalancing::types::LoadBalancerDescription| {
        wire.instances().iter().any(|instance| instance.instance_id() == Some(id))
    };
    let mut names: Vec<String> = found.iter().filter(has).filter_map(|wire| wire.load_balancer_name()).map(str::to_owned).collect();
    names.sort();
    let mut balancers = Vec::new();
    for name in &names {
        let answer = client.describe_instance_health().load_balancer_name(name).send().await;
        let answer = match answer.map_err(|error| classify("elasticloadbalancing:DescribeInstanceHealth", error)) {
            Ok(answer) => answer,
            Err(error) if is_missing(&error) => continue,
            Err(error) => return Err(error),
        };
        let states = answer.instance_states().iter();
        balancers.push(Classic {
            name: name.clone(),
            arn: classic_arn(cx, name),
            tags: Tags::new(),
            instances: states.filter_map(|one| Some((one.instance_id()?.to_owned(), one.state() == Some("InService")))).collect(),
        });
    }
    for names in names.chunks(TAGGED) {
        let answer = client.describe_tags().set_load_balancer_names(Some(names.to_vec())).send().await;
        let answer = answer.map_err(|error| classify("elasticloadbalancing:DescribeTags", error))?;
        for one in answer.tag_descriptions() {
            let Some(balancer) = balancers.iter_mut().find(|balancer| one.load_balancer_name() == Some(balancer.name.as_str())) else {
                continue;
            };
            balancer.tags = one.tags().iter().map(|tag| (tag.key().to_owned(), tag.value().unwrap_or_default().to_owned())).collect();
        }
    }
    Ok(balancers)
}

/// Whether a classic balancer has the instance; `None` where there is no such balancer.
pub(super) async fn has(client: &aws_sdk_elasticloadbalancing::Client, name: &str, id: &str) -> Result<Option<bool>, ActionError> {
    let answer = client.describe_load_balancers().load_balancer_names(name).send().await;
    match answer.map_err(|error| classify("elasticloadbalancing:DescribeLoadBalancers", error)) {
        Ok(answer) => {
            let mut instances = answer.load_balancer_descriptions().iter().flat_map(|wire| wire.instances());
            Ok(Some(instances.any(|instance| instance.instance_id() == Some(id))))
        }
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sets the minimum size of an Auto Scaling group.
pub(super) async fn set_minimum(client: &aws_sdk_autoscaling::Client, group: &str, min: i32) -> Result<(), ActionError> {
    let sent = client.update_auto_scaling_group().auto_scaling_group_name(group).min_size(min).send().await;
    sent.map(drop).map_err(|error| scaling(classify("autoscaling:UpdateAutoScalingGroup", error)))
}

pub(super) async fn enter_standby(client: &aws_sdk_autoscaling::Client, group: &str, id: &str) -> Result<(), ActionError> {
    let call = client.enter_standby().auto_scaling_group_name(group).instance_ids(id).should_decrement_desired_capacity(true);
    call.send().await.map(drop).map_err(|error| scaling(classify("autoscaling:EnterStandby", error)))
}

pub(super) async fn exit_standby(client: &aws_sdk_autoscaling::Client, group: &str, id: &str) -> Result<(), ActionError> {
    let sent = client.exit_standby().auto_scaling_group_name(group).instance_ids(id).send().await;
    sent.map(drop).map_err(|error| scaling(classify("autoscaling:ExitStandby", error)))
}

pub(super) async fn detach(client: &aws_sdk_autoscaling::Client, group: &str, id: &str) -> Result<(), ActionError> {
    let call = client.detach_instances().auto_scaling_group_name(group).instance_ids(id).should_decrement_desired_capacity(false);
    call.send().await.map(drop).map_err(|error| scaling(classify("autoscaling:DetachInstances", error)))
}

pub(super) async fn attach(client: &aws_sdk_autoscaling::Client, group: &str, id: &str) -> Result<(), ActionError> {
    let sent = client.attach_instances().auto_scaling_group_name(group).instance_ids(id).send().await;
    sent.map(drop).map_err(|error| scaling(classify("autoscaling:AttachInstances", error)))
}

/// Deregisters exactly these targets. AWS answers well to targets that are not there
/// (<https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DeregisterTargets.html>).
pub(super) async fn deregister(client: &aws_sdk_elasticloadbalancingv2::Client, pool: &Pool) -> Result<(), ActionError> {
    for targets in pool.targets.chunks(TARGETS) {
        let targets = targets.iter().map(|target| TargetDescription::builder().id(&target.id).set_port(target.port).build()).collect();
        let sent = client.deregister_targets().target_group_arn(&pool.arn).set_targets(Some(targets)).send().await;
        sent.map_err(|error| classify("elasticloadbalancing:DeregisterTargets", error))?;
    }
    Ok(())
}

/// Registers targets as they were. A zone belongs to addresses alone
/// (<https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetDescription.html>).
pub(super) async fn register(client: &aws_sdk_elasticloadbalancingv2::Client, pool: &Pool, targets: &[Target]) -> Result<(), ActionError> {
    for targets in targets.chunks(TARGETS) {
        let targets = targets.iter().map(|target| described(pool, target)).collect();
        let sent = client.register_targets().target_group_arn(&pool.arn).set_targets(Some(targets)).send().await;
        sent.map_err(|error| classify("elasticloadbalancing:RegisterTargets", error))?;
    }
    Ok(())
}

fn described(pool: &Pool, target: &Target) -> TargetDescription {
    let zone = target.zone.clone().filter(|_| pool.by_address);
    let built = TargetDescription::builder().id(&target.id).set_port(target.port).set_availability_zone(zone);
    built.set_quic_server_id(target.quic.clone()).build()
}

pub(super) async fn leave(client: &aws_sdk_elasticloadbalancing::Client, name: &str, id: &str) -> Result<(), ActionError> {
    let instance = ClassicInstance::builder().instance_id(id).build();
    let sent = client.deregister_instances_from_load_balancer().load_balancer_name(name).instances(instance).send().await;
    sent.map(drop).map_err(|error| classify("elasticloadbalancing:DeregisterInstancesFromLoadBalancer", error))
}

pub(super) async fn join(client: &aws_sdk_elasticloadbalancing::Client, name: &str, id: &str) -> Result<(), ActionError> {
    let instance = ClassicInstance::builder().instance_id(id).build();
    let sent = client.register_instances_with_load_balancer().load_balancer_name(name).instances(instance).send().await;
    sent.map(drop).map_err(|error| classify("elasticloadbalancing:RegisterInstancesWithLoadBalancer", error))
}
