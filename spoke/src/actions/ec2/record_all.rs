//! `ec2.record-all`: keeps everything that EC2 says about an instance or a security group as evidence, before anything is changed.
//!
//! Each answer of AWS is one item, byte for byte as it came. A part that cannot be read is named and does not stop the others;
//! evidence that cannot be stored stops everything.

pub(super) mod capture;

use std::collections::BTreeSet;

use aws_sdk_ec2::{Client, types::InstanceAttributeName};
use cordon_shared::{
    evidence::{EvidenceError, Item},
    plan::Seat,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::capture::Capture;
use super::look::filter;
use crate::{
    action::{ActionError, Cx, Found, ParamsError, Probe, classify},
    permission::Permission,
};

/// Keeps everything about an instance or a group as evidence.
#[derive(Debug, Clone, Copy)]
pub struct RecordAll;

const NAME: &str = "ec2.record-all";

/// What is recorded. Exactly one of both.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// An instance (`i-…`) with all around it.
    pub instance: Option<String>,
    /// A security group (`sg-…`) and what uses it.
    pub group: Option<String>,
}

/// What was found, in short; the whole is in the evidence.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Outcome {
    /// The instance's state, `found` for a group; `not-found` when there is no such thing.
    pub state: String,
    /// Its VPC.
    pub vpc: Option<String>,
    /// Its network interfaces; those that use the group.
    pub interfaces: BTreeSet<String>,
    /// Its security groups.
    pub groups: BTreeSet<String>,
    /// The subnets of its interfaces.
    pub subnets: BTreeSet<String>,
    /// Their network ACLs.
    pub acls: BTreeSet<String>,
    /// Its EBS volumes.
    pub volumes: BTreeSet<String>,
    /// The ARN of its instance profile.
    pub profile: Option<String>,
    /// Its public IPv4 addresses and its IPv6 addresses.
    pub public_addresses: BTreeSet<String>,
    /// Instances that use the group.
    pub instances: BTreeSet<String>,
    /// What could not be read.
    pub missing: Vec<Missing>,
}

/// A part that could not be read.
#[derive(Debug, Clone, Serialize)]
pub struct Missing {
    /// Which.
    pub part: String,
    /// Why.
    pub why: String,
}

/// The record as it grows.
struct Record<'a> {
    cx: Cx<'a>,
    about: String,
    capture: Capture,
    client: Client,
    outcome: Outcome,
    evidence: Vec<String>,
}

impl Record<'_> {
    /// Keeps the answers of a part, and gives back what it said; `None` when it could not be read.
    async fn part<T>(&mut self, kind: &str, answer: Result<T, ActionError>) -> Result<Option<T>, ActionError> {
        for bytes in self.capture.take() {
            let item = Item { kind: kind.to_owned(), about: self.about.clone(), media_type: "text/xml".to_owned(), bytes };
            let kept: Result<String, EvidenceError> = self.cx.evidence.put(item).await;
            self.evidence.push(kept?);
        }
        match answer {
            Ok(answer) => Ok(Some(answer)),
            // No answer of AWS about this part: the probe is tried again as a whole.
            Err(error @ (ActionError::NotSent(_) | ActionError::Stopped(_) | ActionError::Session(_) | ActionError::Evidence(_))) => {
                Err(error)
            }
            Err(error) => {
                self.outcome.missing.push(Missing { part: kind.to_owned(), why: error.to_string() });
                Ok(None)
            }
        }
    }
}

/// One describe call with all its pages, as a part.
macro_rules! part {
    ($record:ident, $kind:literal, $call:literal, $request:expr) => {{
        let answer = $request.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
        let answer = answer.map_err(|error| classify($call, error));
        $record.part($kind, answer).await?.unwrap_or_default()
    }};
}

impl Probe for RecordAll {
    const NAME: &'static str = NAME;
    const ABOUT: &'static str = "Keeps everything that EC2 says about an instance or a security group as evidence";
    const SEAT: Seat = Seat::Member;
    // https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
    const READS: &'static [Permission] = &[
        Permission::new("ec2:DescribeAddresses", "*"),
        Permission::new("ec2:DescribeIamInstanceProfileAssociations", "*"),
        Permission::new("ec2:DescribeInstanceAttribute", "*"),
        Permission::new("ec2:DescribeInstances", "*"),
        Permission::new("ec2:DescribeNetworkAcls", "*"),
        Permission::new("ec2:DescribeNetworkInterfaces", "*"),
        Permission::new("ec2:DescribeRouteTables", "*"),
        Permission::new("ec2:DescribeSecurityGroupRules", "*"),
        Permission::new("ec2:DescribeSecurityGroups", "*"),
        Permission::new("ec2:DescribeSubnets", "*"),
        Permission::new("ec2:DescribeTags", "*"),
        Permission::new("ec2:DescribeVolumes", "*"),
        Permission::new("ec2:DescribeVpcs", "*"),
    ];

    type Params = Params;
    type Outcome = Outcome;

    async fn run(&self, cx: Cx<'_>, with: &Params) -> Result<Found<Outcome>, ActionError> {
        let resource = match (&with.instance, &with.group) {
            (Some(id), None) => format!("instance/{id}"),
            (None, Some(id)) => format!("security-group/{id}"),
            _ => return Err(ParamsError { action: NAME, why: "exactly one of `instance` and `group` is needed".to_owned() }.into()),
        };
        let capture = Capture::default();
        let client = capture.listen(&cx.read.ec2());
        let mut record = Record { cx, about: cx.ec2_arn(&resource), capture, client, outcome: Outcome::default(), evidence: Vec::new() };
        match (&with.instance, &with.group) {
            (Some(id), _) => instance(&mut record, id).await?,
            (_, Some(id)) => group(&mut record, id).await?,
            _ => {}
        }
        Ok(Found { outcome: record.outcome, evidence: record.evidence })
    }
}

async fn instance(record: &mut Record<'_>, id: &str) -> Result<(), ActionError> {
    let client = record.client.clone();
    let answer = client.describe_instances().filters(filter("instance-id", [id])).send().await;
    let answer = answer.map_err(|error| classify("ec2:DescribeInstances", error))?;
    let answer = record.part("describe-instances", Ok(answer)).await?;
    let found = answer.as_ref().and_then(|answer| answer.reservations().iter().flat_map(|reservation| reservation.instances()).next());
    let Some(found) = found else {
        "not-found".clone_into(&mut record.outcome.state);
        return Ok(());
    };
    record.outcome.state =
        found.state().and_then(|state| state.name()).map_or_else(|| "unknown".to_owned(), |name| name.as_str().to_owned());
    record.outcome.vpc = found.vpc_id().map(str::to_owned);
    record.outcome.profile = found.iam_instance_profile().and_then(|profile| profile.arn()).map(str::to_owned);
    let ebs = found.block_device_mappings().iter().filter_map(|mapping| mapping.ebs()?.volume_id());
    record.outcome.volumes = ebs.map(str::to_owned).collect();
    record.outcome.groups = found.security_groups().iter().filter_map(|group| group.group_id()).map(str::to_owned).collect();
    record.outcome.subnets = found.subnet_id().map(str::to_owned).into_iter().collect();
    record.outcome.public_addresses = found.public_ip_address().map(str::to_owned).into_iter().collect();
    for (kind, attribute) in [
        ("disable-api-termination", InstanceAttributeName::DisableApiTermination),
        ("disable-api-stop", InstanceAttributeName::DisableApiStop),
        ("instance-initiated-shutdown-behavior", InstanceAttributeName::InstanceInitiatedShutdownBehavior),
    ] {
        let answer = client.describe_instance_attribute().instance_id(id).attribute(attribute).send().await;
        record.part(kind, answer.map_err(|error| classify("ec2:DescribeInstanceAttribute", error))).await?;
    }
    let request = client.describe_iam_instance_profile_associations().filters(filter("instance-id", [id]));
    let associations = part!(record, "describe-iam-instance-profile-associations", "ec2:DescribeIamInstanceProfileAssociations", request);
    let profile = associations.iter().find_map(|association| association.iam_instance_profile()?.arn());
    record.outcome.profile = profile.map(str::to_owned).or_else(|| record.outcome.profile.take());
    part!(record, "describe-tags", "ec2:DescribeTags", client.describe_tags().filters(filter("resource-id", [id])));
    if !record.outcome.volumes.is_empty() {
        let request = client.describe_volumes().filters(filter("attachment.instance-id", [id]));
        part!(record, "describe-volumes", "ec2:DescribeVolumes", request);
    }
    interfaces(record, "attachment.instance-id", id).await?;
    let answer = client.describe_addresses().filters(filter("instance-id", [id])).send().await;
    let answer = record.part("describe-addresses", answer.map_err(|error| classify("ec2:DescribeAddresses", error))).await?;
    let addresses = answer.iter().flat_map(|answer| answer.addresses()).filter_map(|address| address.public_ip());
    record.outcome.public_addresses.extend(addresses.map(str::to_owned));
    groups(record).await?;
    network(record).await
}

async fn group(record: &mut Record<'_>, id: &str) -> Result<(), ActionError> {
    record.outcome.groups.insert(id.to_owned());
    let found = groups(record).await?;
    if !found {
        "not-found".clone_into(&mut record.outcome.state);
        return Ok(());
    }
    "found".clone_into(&mut record.outcome.state);
    let own = record.outcome.groups.clone();
    interfaces(record, "group-id", id).await?;
    // The other groups of those interfaces are not what this is about.
    record.outcome.groups = own;
    let instances: Vec<String> = record.outcome.instances.iter().cloned().collect();
    let client = record.client.clone();
    for ids in super::look::chunks(&instances) {
        part!(record, "describe-instances", "ec2:DescribeInstances", client.describe_instances().filters(filter("instance-id", ids)));
    }
    vpc(record).await
}

/// The interfaces for which a filter holds, with their groups, subnets, instances and addresses.
async fn interfaces(record: &mut Record<'_>, name: &str, value: &str) -> Result<(), ActionError> {
    let client = record.client.clone();
    let request = client.describe_network_interfaces().filters(filter(name, [value]));
    for wire in part!(record, "describe-network-interfaces", "ec2:DescribeNetworkInterfaces", request) {
        let interface = super::look::Interface::from(&wire);
        let outcome = &mut record.outcome;
        outcome.public_addresses.extend(interface.public.iter().map(ToString::to_string));
        outcome.groups.extend(interface.groups);
        outcome.subnets.insert(interface.subnet);
        outcome.instances.extend(interface.instance.filter(|id| id != value));
        outcome.interfaces.insert(interface.id);
    }
    Ok(())
}

/// The groups and their rules; whether one was found.
async fn groups(record: &mut Record<'_>) -> Result<bool, ActionError> {
    let client = record.client.clone();
    let ids: Vec<String> = record.outcome.groups.iter().cloned().collect();
    let mut found = false;
    for ids in super::look::chunks(&ids) {
        let request = client.describe_security_groups().filters(filter("group-id", ids));
        let groups = part!(record, "describe-security-groups", "ec2:DescribeSecurityGroups", request);
        found |= !groups.is_empty();
        if record.outcome.vpc.is_none() {
            record.outcome.vpc = groups.iter().find_map(|group| group.vpc_id()).map(str::to_owned);
        }
        let request = client.describe_security_group_rules().filters(filter("group-id", ids));
        part!(record, "describe-security-group-rules", "ec2:DescribeSecurityGroupRules", request);
    }
    Ok(found)
}

/// Subnets, network ACLs, route tables and the VPC.
async fn network(record: &mut Record<'_>) -> Result<(), ActionError> {
    let client = record.client.clone();
    let subnets: Vec<String> = record.outcome.subnets.iter().cloned().collect();
    if !subnets.is_empty() {
        part!(record, "describe-subnets", "ec2:DescribeSubnets", client.describe_subnets().filters(filter("subnet-id", &subnets)));
        let request = client.describe_network_acls().filters(filter("association.subnet-id", &subnets));
        let acls = part!(record, "describe-network-acls", "ec2:DescribeNetworkAcls", request);
        record.outcome.acls = acls.iter().filter_map(|acl| acl.network_acl_id()).map(str::to_owned).collect();
    }
    vpc(record).await
}

/// The VPC, and its route tables: a subnet without one of its own uses the main one.
async fn vpc(record: &mut Record<'_>) -> Result<(), ActionError> {
    let client = record.client.clone();
    if let Some(vpc) = record.outcome.vpc.clone() {
        part!(
            record,
            "describe-route-tables",
            "ec2:DescribeRouteTables",
            client.describe_route_tables().filters(filter("vpc-id", [vpc.as_str()]))
        );
        part!(record, "describe-vpcs", "ec2:DescribeVpcs", client.describe_vpcs().filters(filter("vpc-id", [vpc.as_str()])));
    }
    Ok(())
}
