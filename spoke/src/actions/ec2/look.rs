//! What the EC2 actions look at, in our own types.

use std::{collections::BTreeMap, net::IpAddr};

use aws_sdk_ec2::{
    Client,
    types::{Filter, NetworkInterface, Tag},
};

use super::controller::controller;
use crate::action::{ActionError, classify};

/// The tags of a resource.
pub(in crate::actions) type Tags = BTreeMap<String, String>;

/// How many values one filter takes (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html>).
const FILTER_VALUES: usize = 200;

pub(super) fn tags(list: &[Tag]) -> Tags {
    list.iter().filter_map(|tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()))).collect()
}

/// Tags as an opt-out is looked for in them.
pub(in crate::actions) fn pairs(tags: &Tags) -> impl Iterator<Item = (&str, &str)> {
    tags.iter().map(|(key, value)| (key.as_str(), value.as_str()))
}

pub(in crate::actions) fn filter(name: &str, values: impl IntoIterator<Item = impl Into<String>>) -> Filter {
    Filter::builder().name(name).set_values(Some(values.into_iter().map(Into::into).collect())).build()
}

/// The groups of values that one filter takes.
pub(in crate::actions) fn chunks(ids: &[String]) -> impl Iterator<Item = &[String]> {
    ids.chunks(FILTER_VALUES)
}

/// An instance.
#[derive(Debug, Clone)]
pub(in crate::actions) struct Machine {
    pub id: String,
    /// `running`, `terminated`, …
    pub state: String,
    /// `t3.micro`, …
    pub kind: String,
    pub tags: Tags,
    /// Who else runs it.
    pub controller: Option<String>,
}

impl Machine {
    /// Whether there is nothing left to protect or to contain.
    pub fn is_gone(&self) -> bool {
        matches!(self.state.as_str(), "terminated" | "shutting-down")
    }
}

/// An instance as AWS describes it, in our own type.
pub(super) fn machine(instance: &aws_sdk_ec2::types::Instance) -> Option<Machine> {
    let tags = tags(instance.tags());
    let operator = instance
        .operator()
        .filter(|operator| operator.managed() == Some(true))
        .map(|operator| operator.principal().unwrap_or("an AWS service"));
    Some(Machine {
        id: instance.instance_id()?.to_owned(),
        state: instance.state().and_then(|state| state.name()).map_or_else(|| "unknown".to_owned(), |name| name.as_str().to_owned()),
        kind: instance.instance_type().map(|kind| kind.as_str().to_owned()).unwrap_or_default(),
        controller: controller(&tags, operator),
        tags,
    })
}

/// The instances with these ids; ids that do not exist are missing in the answer.
pub(in crate::actions) async fn machines(client: &Client, ids: &[String]) -> Result<BTreeMap<String, Machine>, ActionError> {
    let mut found = BTreeMap::new();
    for ids in chunks(ids) {
        found.extend(machines_where(client, filter("instance-id", ids)).await?);
    }
    Ok(found)
}

/// The instances for which a filter holds.
pub(in crate::actions) async fn machines_where(client: &Client, filter: Filter) -> Result<BTreeMap<String, Machine>, ActionError> {
    let pages = client.describe_instances().filters(filter).into_paginator().items().send();
    let reservations = pages.collect::<Result<Vec<_>, _>>().await.map_err(|error| classify("ec2:DescribeInstances", error))?;
    let machines = reservations.iter().flat_map(|reservation| reservation.instances()).filter_map(machine);
    Ok(machines.map(|machine| (machine.id.clone(), machine)).collect())
}

/// A network interface.
#[derive(Debug, Clone)]
pub(super) struct Interface {
    pub id: String,
    pub subnet: String,
    pub groups: Vec<String>,
    /// The AWS service that made and runs it.
    pub managed_by: Option<String>,
    /// The instance it is attached to.
    pub instance: Option<String>,
    pub tags: Tags,
    /// Its addresses in the Internet: public IPv4 ones, and IPv6.
    pub public: Vec<IpAddr>,
}

impl From<&NetworkInterface> for Interface {
    fn from(wire: &NetworkInterface) -> Self {
        let of_addresses = wire.private_ip_addresses().iter().filter_map(|address| address.association()?.public_ip());
        let ipv4 = wire.association().and_then(|association| association.public_ip()).into_iter().chain(of_addresses);
        let ipv6 = wire.ipv6_addresses().iter().filter_map(|address| address.ipv6_address());
        let managed = wire.requester_managed() == Some(true) || wire.operator().is_some_and(|operator| operator.managed() == Some(true));
        Self {
            id: wire.network_interface_id().unwrap_or_default().to_owned(),
            subnet: wire.subnet_id().unwrap_or_default().to_owned(),
            groups: wire.groups().iter().filter_map(|group| group.group_id()).map(str::to_owned).collect(),
            managed_by: managed.then(|| {
                let operator = wire.operator().and_then(|operator| operator.principal());
                operator.or_else(|| wire.requester_id()).unwrap_or("an AWS service").to_owned()
            }),
            instance: wire.attachment().and_then(|attachment| attachment.instance_id()).map(str::to_owned),
            tags: tags(wire.tag_set()),
            public: ipv4.chain(ipv6).filter_map(|address| address.parse().ok()).collect(),
        }
    }
}

/// The interfaces for which `filter` holds; all of the cell without one.
pub(super) async fn interfaces(client: &Client, filter: Option<Filter>) -> Result<Vec<Interface>, ActionError> {
    let pages = client.describe_network_interfaces().set_filters(filter.map(|filter| vec![filter])).into_paginator().items().send();
    let found = pages.collect::<Result<Vec<_>, _>>().await.map_err(|error| classify("ec2:DescribeNetworkInterfaces", error))?;
    let mut found: Vec<Interface> = found.iter().map(Interface::from).collect();
    found.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(found)
}

/// An instance with its interfaces, those that an AWS service runs apart.
#[derive(Debug)]
pub(super) struct Subject {
    pub machine: Machine,
    pub interfaces: Vec<Interface>,
    /// What was left alone, in words.
    pub skipped: Vec<String>,
}

/// The instance with this id, `None` where there is none.
pub(super) async fn subject(client: &Client, id: &str) -> Result<Option<Subject>, ActionError> {
    let Some(machine) = machines(client, &[id.to_owned()]).await?.remove(id) else { return Ok(None) };
    let all = interfaces(client, Some(filter("attachment.instance-id", [id]))).await?;
    let (skipped, interfaces): (Vec<_>, Vec<_>) = all.into_iter().partition(|interface| interface.managed_by.is_some());
    let words = |interface: &Interface| {
        format!("interface {} is run by {}: left alone", interface.id, interface.managed_by.as_deref().unwrap_or_default())
    };
    let skipped = skipped.iter().map(words).collect();
    Ok(Some(Subject { machine, interfaces, skipped }))
}
