//! The calls about network ACLs, and what is known of addresses that are never blocked.

use std::{collections::BTreeMap, net::IpAddr};

use aws_sdk_ec2::{
    Client,
    types::{NetworkAcl, NetworkAclEntry, PortRange, RuleAction, VpcPeeringConnectionVpcInfo},
};
use ipnet::IpNet;

use super::acl::{Entry, plain};
use crate::{
    action::{ActionError, classify},
    actions::ec2::look::{Interface, Tags, filter, tags},
};

/// A network ACL.
#[derive(Debug, Clone)]
pub struct Acl {
    pub id: String,
    pub owner: Option<String>,
    pub vpc: String,
    pub subnets: Vec<String>,
    pub tags: Tags,
    pub entries: Vec<Entry>,
}

fn acl(wire: &NetworkAcl) -> Result<Acl, ActionError> {
    let id = wire.network_acl_id().unwrap_or_default().to_owned();
    let mut entries = wire.entries().iter().map(|wire| entry(&id, wire)).collect::<Result<Vec<_>, _>>()?;
    entries.sort();
    let mut subnets: Vec<String> =
        wire.associations().iter().filter_map(|association| association.subnet_id()).map(str::to_owned).collect();
    subnets.sort();
    Ok(Acl {
        owner: wire.owner_id().map(str::to_owned),
        vpc: wire.vpc_id().unwrap_or_default().to_owned(),
        subnets,
        tags: tags(wire.tags()),
        entries,
        id,
    })
}

fn entry(acl: &str, wire: &NetworkAclEntry) -> Result<Entry, ActionError> {
    let cidr = wire.cidr_block().or_else(|| wire.ipv6_cidr_block()).and_then(|cidr| cidr.parse::<IpNet>().ok());
    let (Some(cidr), Some(number), Some(action)) = (cidr, wire.rule_number(), wire.rule_action()) else {
        let message = format!("an entry of {acl} has no range, number or action that can be read");
        return Err(ActionError::Service { call: READ.to_owned(), code: "UnknownEntry".to_owned(), message });
    };
    let protocol = wire.protocol().unwrap_or("-1");
    let ports = wire.port_range().and_then(|range| Some((range.from()?, range.to()?)));
    Ok(Entry {
        number,
        egress: wire.egress() == Some(true),
        // What is not an allow counts as none.
        deny: *action != RuleAction::Allow,
        protocol: match protocol {
            "tcp" => "6",
            "udp" => "17",
            "all" => "-1",
            other => other,
        }
        .to_owned(),
        cidr: cidr.trunc(),
        // Of TCP and UDP, 0-65535 and nothing are the same.
        ports: ports.filter(|ports| matches!(protocol, "6" | "17" | "tcp" | "udp") && *ports != (0, 65_535) && *ports != (-1, -1)),
        icmp: wire.icmp_type_code().and_then(|icmp| Some((icmp.r#type()?, icmp.code()?))),
    })
}

const READ: &str = "ec2:DescribeNetworkAcls";
const CREATE: &str = "ec2:CreateNetworkAclEntry";
const DELETE: &str = "ec2:DeleteNetworkAclEntry";

/// The ACLs of these subnets.
pub async fn acls(client: &Client, subnets: &[String]) -> Result<Vec<Acl>, ActionError> {
    let mut found = BTreeMap::new();
    for subnets in crate::actions::ec2::look::chunks(subnets) {
        let pages = client.describe_network_acls().filters(filter("association.subnet-id", subnets)).into_paginator().items().send();
        for wire in pages.collect::<Result<Vec<_>, _>>().await.map_err(|error| classify(READ, error))? {
            let acl = acl(&wire)?;
            found.insert(acl.id.clone(), acl);
        }
    }
    Ok(found.into_values().collect())
}

/// The ACL with this id; `None` when it is gone.
pub async fn one(client: &Client, id: &str) -> Result<Option<Acl>, ActionError> {
    let pages = client.describe_network_acls().network_acl_ids(id).into_paginator().items().send();
    match pages.collect::<Result<Vec<_>, _>>().await.map_err(|error| classify(READ, error)) {
        Ok(found) => found.first().map(acl).transpose(),
        Err(ActionError::Gone { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes an entry. An entry with that number that is there already is not an error here: the caller reads back.
pub async fn create(client: &Client, acl: &str, entry: &Entry) -> Result<(), ActionError> {
    let call = client
        .create_network_acl_entry()
        .network_acl_id(acl)
        .rule_number(entry.number)
        .egress(entry.egress)
        .rule_action(if entry.deny { RuleAction::Deny } else { RuleAction::Allow })
        .protocol(&entry.protocol)
        .set_port_range(entry.ports.map(|(from, to)| PortRange::builder().from(from).to(to).build()));
    let call = match entry.cidr {
        IpNet::V4(net) => call.cidr_block(net.to_string()),
        IpNet::V6(net) => call.ipv6_cidr_block(net.to_string()),
    };
    match call.send().await.map_err(|error| classify(CREATE, error)) {
        Err(ActionError::Service { code, .. }) if code == "NetworkAclEntryAlreadyExists" => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Removes the entry with this number. The caller has just read that it is the one that is meant: AWS compares nothing.
pub async fn delete(client: &Client, acl: &str, entry: &Entry) -> Result<(), ActionError> {
    let call = client.delete_network_acl_entry().network_acl_id(acl).rule_number(entry.number).egress(entry.egress);
    match call.send().await.map_err(|error| classify(DELETE, error)) {
        Err(ActionError::Gone { .. }) => Ok(()),
        other => other.map(|_| ()),
    }
}

/// A subnet or VPC: its owner and tags.
#[derive(Debug, Clone)]
pub struct Place {
    pub owner: Option<String>,
    pub tags: Tags,
}

pub async fn subnets(client: &Client, ids: &[String]) -> Result<BTreeMap<String, Place>, ActionError> {
    let mut found = BTreeMap::new();
    for ids in crate::actions::ec2::look::chunks(ids) {
        let pages = client.describe_subnets().filters(filter("subnet-id", ids)).into_paginator().items().send();
        for subnet in pages.collect::<Result<Vec<_>, _>>().await.map_err(|error| classify("ec2:DescribeSubnets", error))? {
            let place = Place { owner: subnet.owner_id().map(str::to_owned), tags: tags(subnet.tags()) };
            found.insert(subnet.subnet_id().unwrap_or_default().to_owned(), place);
        }
    }
    Ok(found)
}

/// Everything in the cell that an address can belong to.
#[derive(Debug, Default)]
pub struct Home {
    /// The cell's VPCs.
    pub vpcs: BTreeMap<String, Place>,
    /// VPCs with IPv6 addresses.
    pub ipv6: Vec<String>,
    nets: Vec<(IpNet, String)>,
    addresses: BTreeMap<IpAddr, String>,
}

impl Home {
    /// Whose an address is, where it is the organization's own.
    pub fn owner(&self, address: IpAddr) -> Option<String> {
        let net = || self.nets.iter().find(|(net, _)| net.contains(&address)).map(|(net, whose)| format!("in {net} of {whose}"));
        self.addresses.get(&address).cloned().or_else(net)
    }

    fn net(&mut self, cidr: Option<&str>, whose: &str) {
        if let Some(net) = cidr.and_then(|cidr| cidr.parse().ok()) {
            self.nets.push((net, whose.to_owned()));
        }
    }

    fn address(&mut self, address: Option<&str>, whose: String) {
        if let Some(address) = address.and_then(|address| address.parse().ok()) {
            self.addresses.entry(plain(address)).or_insert(whose);
        }
    }

    fn peer(&mut self, info: Option<&VpcPeeringConnectionVpcInfo>) {
        let Some(info) = info else { return };
        let whose = format!("the peered VPC {}", info.vpc_id().unwrap_or_default());
        let blocks = info.cidr_block_set().iter().map(|block| block.cidr_block());
        let blocks6 = info.ipv6_cidr_block_set().iter().map(|block| block.ipv6_cidr_block());
        for cidr in blocks.chain(blocks6).chain([info.cidr_block()]) {
            self.net(cidr, &whose);
        }
    }
}

/// Reads what is the organization's own in this cell: the ranges of its VPCs and of those peered with them, Elastic IP addresses,
/// addresses of NAT gateways, and the public addresses of `interfaces`, which are all of the cell.
pub async fn home(client: &Client, interfaces: &[Interface]) -> Result<Home, ActionError> {
    let mut home = Home::default();
    let vpcs = client.describe_vpcs().into_paginator().items().send();
    for vpc in vpcs.collect::<Result<Vec<_>, _>>().await.map_err(|error| classify("ec2:DescribeVpcs", error))? {
        let id = vpc.vpc_id().unwrap_or_default();
        let whose = format!("VPC {id}");
        home.net(vpc.cidr_block(), &whose);
        for block in vpc.cidr_block_association_set() {
            home.net(block.cidr_block(), &whose);
        }
        for block in vpc.ipv6_cidr_block_association_set() {
            home.net(block.ipv6_cidr_block(), &whose);
        }
        if !vpc.ipv6_cidr_block_association_set().is_empty() {
            home.ipv6.push(id.to_owned());
        }
        home.vpcs.insert(id.to_owned(), Place { owner: vpc.owner_id().map(str::to_owned), tags: tags(vpc.tags()) });
    }
    let peerings = client.describe_vpc_peering_connections().into_paginator().items().send();
    for peering in peerings.collect::<Result<Vec<_>, _>>().await.map_err(|error| classify("ec2:DescribeVpcPeeringConnections", error))? {
        if peering.status().and_then(|status| status.code()).is_some_and(|code| code.as_str() == "active") {
            home.peer(peering.requester_vpc_info());
            home.peer(peering.accepter_vpc_info());
        }
    }
    let addresses = client.describe_addresses().send().await.map_err(|error| classify("ec2:DescribeAddresses", error))?;
    for address in addresses.addresses() {
        let whose = format!("Elastic IP address {}", address.allocation_id().unwrap_or_default());
        home.address(address.public_ip(), whose.clone());
        home.address(address.carrier_ip(), whose);
    }
    let gateways = client.describe_nat_gateways().into_paginator().items().send();
    for gateway in gateways.collect::<Result<Vec<_>, _>>().await.map_err(|error| classify("ec2:DescribeNatGateways", error))? {
        for address in gateway.nat_gateway_addresses() {
            home.address(address.public_ip(), format!("NAT gateway {}", gateway.nat_gateway_id().unwrap_or_default()));
        }
    }
    for interface in interfaces {
        for address in &interface.public {
            home.addresses.entry(plain(*address)).or_insert_with(|| format!("interface {}", interface.id));
        }
    }
    Ok(home)
}
