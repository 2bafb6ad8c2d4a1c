//! What is read of EC2, part by part. Each answer is kept as it came; a part that cannot be read is named and does not stop the others.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::{
    Client,
    types::{NetworkInterface, RouteTable as WireTable},
};
use cordon_shared::evidence::Item;
use ipnet::IpNet;

use super::path::{Route, Table};
use crate::{
    action::{ActionError, Cx, classify},
    actions::ec2::{
        close_open_ingress::{Rule, Source, lists, rules},
        look::{chunks, filter},
        nacl::wire::{Acl, acls},
        record_all::capture::Capture,
    },
};

/// An interface, as far as it matters here.
#[derive(Debug, Clone, Default)]
pub(super) struct Interface {
    pub id: String,
    pub subnet: String,
    pub vpc: String,
    pub groups: Vec<String>,
    /// Public IPv4 addresses, with the allocation of those that are Elastic.
    pub ipv4: Vec<(String, Option<String>)>,
    pub ipv6: Vec<String>,
}

/// All that was seen. `Err` of a part: why it could not be read.
#[derive(Debug)]
pub(super) struct Seen {
    pub instance: String,
    pub state: String,
    /// Whether it runs Windows.
    pub windows: bool,
    pub interfaces: Result<Vec<Interface>, String>,
    /// Inbound rules by group.
    pub rules: Result<BTreeMap<String, Vec<Rule>>, String>,
    /// Prefix lists of those rules that are open to the world, or may be: whether for IPv6, and why.
    pub lists: BTreeMap<String, (bool, String)>,
    pub tables: Result<Vec<Table>, String>,
    pub acls: Result<Vec<Acl>, String>,
}

impl Seen {
    /// The port by which people log in to its platform: SSH, or the Remote Desktop Protocol.
    pub fn login_port(&self) -> u16 {
        if self.windows { 3389 } else { 22 }
    }
}

/// Reads and keeps.
pub(super) struct Parts<'a> {
    cx: Cx<'a>,
    instance: String,
    capture: Capture,
    client: Client,
    pub evidence: Vec<String>,
}

impl<'a> Parts<'a> {
    pub fn new(cx: Cx<'a>, instance: &str) -> Self {
        let capture = Capture::default();
        let client = capture.listen(&cx.read.ec2());
        Self { cx, instance: instance.to_owned(), capture, client, evidence: Vec::new() }
    }

    pub fn about(&self) -> String {
        self.cx.ec2_arn(&format!("instance/{}", self.instance))
    }

    /// Keeps the answers of a part.
    async fn part<T>(&mut self, kind: &str, answer: Result<T, ActionError>) -> Result<Result<T, String>, ActionError> {
        for bytes in self.capture.take() {
            let item = Item { kind: kind.to_owned(), about: self.about(), media_type: "text/xml".to_owned(), bytes };
            self.evidence.push(self.cx.evidence.put(item).await?);
        }
        match answer {
            Ok(answer) => Ok(Ok(answer)),
            Err(error) if error.may_pass() => Err(error),
            Err(error @ (ActionError::Stopped(_) | ActionError::Session(_) | ActionError::Evidence(_) | ActionError::Bug(_))) => Err(error),
            Err(error) => Ok(Err(error.to_string())),
        }
    }

    pub async fn look(&mut self) -> Result<Seen, ActionError> {
        let client = self.client.clone();
        let by_id = filter("instance-id", [self.instance.as_str()]);
        let answer = client.describe_instances().filters(by_id).send().await;
        let answer = self.part("describe-instances", answer.map_err(|error| classify("ec2:DescribeInstances", error))).await?;
        let (state, windows) = match &answer {
            Err(_) => ("unknown", false),
            Ok(answer) => match answer.reservations().iter().flat_map(|reservation| reservation.instances()).next() {
                Some(instance) => {
                    let state = instance.state().and_then(|state| state.name()).map_or("unknown", |name| name.as_str());
                    // `windows` or nothing: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Instance.html
                    (state, instance.platform().is_some())
                }
                None => ("not-found", false),
            },
        };
        let state = state.to_owned();
        let by_instance = filter("attachment.instance-id", [self.instance.as_str()]);
        let pages = client.describe_network_interfaces().filters(by_instance).into_paginator().items().send();
        let answer = pages.collect::<Result<Vec<_>, _>>().await.map_err(|error| classify("ec2:DescribeNetworkInterfaces", error));
        let interfaces = self.part("describe-network-interfaces", answer).await?.map(|found| {
            let mut found: Vec<Interface> = found.iter().map(interface).collect();
            found.sort_by(|one, other| one.id.cmp(&other.id));
            found
        });
        let of = |each: fn(&Interface) -> Vec<String>| -> Vec<String> {
            let found: BTreeSet<String> = interfaces.iter().flatten().flat_map(each).collect();
            found.into_iter().collect()
        };
        let (groups, subnets, vpcs) = (
            of(|interface| interface.groups.clone()),
            of(|interface| vec![interface.subnet.clone()]),
            of(|interface| vec![interface.vpc.clone()]),
        );
        let answer = rules(&client, &groups).await;
        let rules = self.part("describe-security-group-rules", answer).await?;
        let used = |rules: &BTreeMap<String, Vec<Rule>>| -> BTreeSet<String> {
            let sources = rules.values().flatten().map(|rule| &rule.body.source);
            sources.filter_map(|source| if let Source::PrefixList(id) = source { Some(id.clone()) } else { None }).collect()
        };
        let ids = rules.as_ref().map(used).unwrap_or_default();
        let answer = lists(&client, &ids).await;
        let lists = match self.part("describe-managed-prefix-lists", answer).await? {
            Ok(found) => {
                let open = found.into_iter().filter_map(|(id, list)| Some((id, (list.open?.is_ipv6(), list.why))));
                open.collect()
            }
            Err(why) => ids.iter().flat_map(|id| [(id.clone(), (false, format!("it could not be read: {why}")))]).collect(),
        };
        let tables = tables(&client, &vpcs).await;
        let tables = self.part("describe-route-tables", tables).await?;
        let acls = acls(&client, &subnets).await;
        let acls = self.part("describe-network-acls", acls).await?;
        Ok(Seen { instance: self.instance.clone(), state, windows, interfaces, rules, lists, tables, acls })
    }
}

fn interface(wire: &NetworkInterface) -> Interface {
    let of_addresses = wire.private_ip_addresses().iter().filter_map(|address| address.association());
    let mut ipv4: Vec<(String, Option<String>)> = wire
        .association()
        .into_iter()
        .chain(of_addresses)
        .filter_map(|association| Some((association.public_ip()?.to_owned(), association.allocation_id().map(str::to_owned))))
        .collect();
    // The same address may be told twice, once without its allocation.
    ipv4.sort_by(|one, other| one.0.cmp(&other.0).then(other.1.cmp(&one.1)));
    ipv4.dedup_by(|one, other| one.0 == other.0);
    Interface {
        id: wire.network_interface_id().unwrap_or_default().to_owned(),
        subnet: wire.subnet_id().unwrap_or_default().to_owned(),
        vpc: wire.vpc_id().unwrap_or_default().to_owned(),
        groups: wire.groups().iter().filter_map(|group| group.group_id()).map(str::to_owned).collect(),
        ipv4,
        ipv6: wire.ipv6_addresses().iter().filter_map(|address| address.ipv6_address()).map(str::to_owned).collect(),
    }
}

/// The route tables of these VPCs.
async fn tables(client: &Client, vpcs: &[String]) -> Result<Vec<Table>, ActionError> {
    let mut found = Vec::new();
    for vpcs in chunks(vpcs) {
        let pages = client.describe_route_tables().filters(filter("vpc-id", vpcs)).into_paginator().items().send();
        let tables = pages.collect::<Result<Vec<_>, _>>().await.map_err(|error| classify("ec2:DescribeRouteTables", error))?;
        found.extend(tables.iter().map(table));
    }
    found.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(found)
}

fn table(wire: &WireTable) -> Table {
    let subnets = wire.associations().iter().filter_map(|association| association.subnet_id()).map(str::to_owned).collect();
    Table {
        id: wire.route_table_id().unwrap_or_default().to_owned(),
        vpc: wire.vpc_id().unwrap_or_default().to_owned(),
        main: wire.associations().iter().any(|association| association.main() == Some(true)),
        subnets,
        routes: wire.routes().iter().filter_map(route).collect(),
    }
}

fn route(wire: &aws_sdk_ec2::types::Route) -> Option<Route> {
    let to = wire.destination_cidr_block().or_else(|| wire.destination_ipv6_cidr_block())?;
    let targets = [
        wire.gateway_id(),
        wire.egress_only_internet_gateway_id(),
        wire.nat_gateway_id(),
        wire.transit_gateway_id(),
        wire.vpc_peering_connection_id(),
        wire.network_interface_id(),
        wire.instance_id(),
        wire.carrier_gateway_id(),
        wire.local_gateway_id(),
        wire.core_network_arn(),
    ];
    Some(Route {
        to: to.parse::<IpNet>().ok()?,
        target: targets.into_iter().flatten().next().unwrap_or("nowhere").to_owned(),
        active: wire.state().is_none_or(|state| state.as_str() == "active"),
    })
}
