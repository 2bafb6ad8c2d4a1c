//! The interfaces of an instance, with all that is recorded of them.

use std::net::IpAddr;

use aws_sdk_ec2::{
    Client,
    types::{Filter, NetworkInterface},
};
use serde::{Deserialize, Serialize};

use super::Refused;
use crate::{
    action::{ActionError, classify},
    actions::ec2::look::{Interface, filter},
};

/// An interface as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    /// Its id.
    pub id: String,
    /// Its VPC.
    pub vpc: String,
    /// Its subnet.
    pub subnet: String,
    /// Its groups, in their order.
    pub groups: Vec<String>,
    /// Its addresses in the VPC.
    pub private: Vec<IpAddr>,
    /// Its addresses in the Internet.
    pub public: Vec<IpAddr>,
    /// Its Elastic IP addresses.
    pub elastic_ips: Vec<ElasticIp>,
}

/// An Elastic IP address and how it is associated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElasticIp {
    /// The interface.
    pub interface: String,
    /// The address.
    pub public_ip: String,
    /// `eipalloc-…`.
    pub allocation: String,
    /// `eipassoc-…`.
    pub association: Option<String>,
}

/// An interface that was looked at.
#[derive(Debug, Clone)]
pub struct Seen {
    /// As all actions look at it.
    pub interface: Interface,
    /// What is recorded.
    pub nic: Nic,
}

impl Seen {
    /// Why it is left alone, where it is.
    pub fn refused(&self) -> Option<Refused> {
        let by = self.interface.managed_by.clone()?;
        Some(Refused { interface: self.nic.id.clone(), by })
    }
}

impl From<&NetworkInterface> for Seen {
    fn from(wire: &NetworkInterface) -> Self {
        let interface = Interface::from(wire);
        let elastic = |association: &aws_sdk_ec2::types::NetworkInterfaceAssociation| {
            Some(ElasticIp {
                interface: interface.id.clone(),
                public_ip: association.public_ip()?.to_owned(),
                allocation: association.allocation_id()?.to_owned(),
                association: association.association_id().map(str::to_owned),
            })
        };
        let mut elastic_ips: Vec<ElasticIp> = Vec::new();
        let of_addresses = wire.private_ip_addresses().iter().filter_map(|address| address.association());
        for found in wire.association().into_iter().chain(of_addresses).filter_map(elastic) {
            if !elastic_ips.iter().any(|known| known.public_ip == found.public_ip) {
                elastic_ips.push(found);
            }
        }
        let ipv4 = wire.private_ip_addresses().iter().filter_map(|address| address.private_ip_address());
        let ipv6 = wire.ipv6_addresses().iter().filter_map(|address| address.ipv6_address());
        let mut public = interface.public.clone();
        public.sort_unstable();
        public.dedup();
        let nic = Nic {
            id: interface.id.clone(),
            vpc: wire.vpc_id().unwrap_or_default().to_owned(),
            subnet: interface.subnet.clone(),
            groups: interface.groups.clone(),
            private: ipv4.chain(ipv6).filter_map(|address| address.parse().ok()).collect(),
            public,
            elastic_ips,
        };
        Self { interface, nic }
    }
}

/// The interfaces for which the filter holds, by id.
pub async fn of(client: &Client, filter: Filter) -> Result<Vec<Seen>, ActionError> {
    let pages = client.describe_network_interfaces().filters(filter).into_paginator().items().send();
    let found = pages.collect::<Result<Vec<_>, _>>().await.map_err(|error| classify("ec2:DescribeNetworkInterfaces", error))?;
    let mut found: Vec<Seen> = found.iter().map(Seen::from).collect();
    found.sort_by(|one, other| one.nic.id.cmp(&other.nic.id));
    Ok(found)
}

/// The interfaces of an instance, those that AWS services run too.
pub async fn of_instance(client: &Client, id: &str) -> Result<Vec<Seen>, ActionError> {
    of(client, filter("attachment.instance-id", [id])).await
}
