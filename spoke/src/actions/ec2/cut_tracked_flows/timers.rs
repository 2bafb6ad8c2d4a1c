//! The connection tracking timeouts of interfaces.

use std::collections::BTreeMap;

use aws_sdk_ec2::{
    Client,
    types::{ConnectionTrackingSpecificationRequest, Filter, InstanceTypeHypervisor, NetworkInterface},
};
use serde::{Deserialize, Serialize};

use crate::{
    action::{ActionError, classify},
    actions::ec2::look::filter,
};

/// The least that AWS takes for both timeouts, in seconds
/// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ConnectionTrackingSpecificationRequest.html>).
pub const LEAST: i32 = 60;
/// The defaults of instance types that do not state theirs (the same page).
const DEFAULTS: Defaults = Defaults { tcp: 432_000, udp: 180 };
const MODIFY: &str = "ec2:ModifyNetworkInterfaceAttribute";

/// What an instance type has where nobody has set anything: 350 or 432,000 seconds for TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Defaults {
    /// Of TCP connections.
    pub tcp: i32,
    /// Of UDP flows with several answers.
    pub udp: i32,
}

/// One timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timer {
    /// What the attribute is called.
    pub attribute: &'static str,
    /// In seconds; nothing where nobody has set it.
    pub was: Option<i32>,
    /// What it is then.
    pub default: i32,
}

impl Timer {
    /// What undo sets. A timeout that was set once cannot be unset: where there was none, the instance type's default is set, which is the same.
    pub fn back(&self) -> i32 {
        self.was.unwrap_or(self.default)
    }

    /// Whether two values come to the same.
    pub fn alike(&self, one: Option<i32>, other: Option<i32>) -> bool {
        one.unwrap_or(self.default) == other.unwrap_or(self.default)
    }

    /// Whether a value is the one that was found.
    pub fn is_found(&self, value: Option<i32>) -> bool {
        self.alike(value, self.was)
    }
}

/// The timeouts of an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timers {
    /// The interface.
    pub id: String,
    tcp_established: Option<i32>,
    tcp_default: i32,
    udp_stream: Option<i32>,
    udp_default: i32,
    /// The third timeout, which is left alone.
    udp: Option<i32>,
}

/// The attribute of TCP connections.
pub const TCP: &str = "tcp established timeout";
/// The attribute of UDP flows with several answers.
pub const UDP: &str = "udp stream timeout";

impl Timers {
    /// Of TCP connections.
    pub fn tcp(&self) -> Timer {
        Timer { attribute: TCP, was: self.tcp_established, default: self.tcp_default }
    }
    /// Of UDP flows with several answers.
    pub fn udp(&self) -> Timer {
        Timer { attribute: UDP, was: self.udp_stream, default: self.udp_default }
    }
    /// Both.
    pub fn both(&self) -> [Timer; 2] {
        [self.tcp(), self.udp()]
    }
    /// Whether both are the least already.
    pub fn least(&self) -> bool {
        self.both().iter().all(|timer| timer.was == Some(LEAST))
    }

    fn of(wire: &NetworkInterface, defaults: Defaults) -> Self {
        let set = wire.connection_tracking_configuration();
        Self {
            id: wire.network_interface_id().unwrap_or_default().to_owned(),
            tcp_established: set.and_then(|set| set.tcp_established_timeout()),
            tcp_default: defaults.tcp,
            udp_stream: set.and_then(|set| set.udp_stream_timeout()),
            udp_default: defaults.udp,
            udp: set.and_then(|set| set.udp_timeout()),
        }
    }
}

/// The defaults of an instance type; `None`: its timeouts cannot be changed, since it is not of the Nitro system
/// (<https://aws.amazon.com/about-aws/whats-new/2023/11/ec2-security-connection-tracking-idle-timeouts/>).
pub async fn defaults(client: &Client, kind: &str) -> Result<Option<Defaults>, ActionError> {
    let pages = client.describe_instance_types().filters(filter("instance-type", [kind])).into_paginator().items().send();
    let found = pages.collect::<Result<Vec<_>, _>>().await.map_err(|error| classify("ec2:DescribeInstanceTypes", error))?;
    let Some(wire) = found.first() else { return Ok(Some(DEFAULTS)) };
    if wire.hypervisor() == Some(&InstanceTypeHypervisor::Xen) {
        return Ok(None);
    }
    let stated = wire.network_info().and_then(|network| network.connection_tracking_configuration());
    Ok(Some(Defaults {
        tcp: stated.and_then(|stated| stated.default_tcp_established_timeout()).unwrap_or(DEFAULTS.tcp),
        udp: stated.and_then(|stated| stated.default_udp_stream_timeout()).unwrap_or(DEFAULTS.udp),
    }))
}

async fn of(client: &Client, filter: Filter, defaults: Defaults) -> Result<Vec<Timers>, ActionError> {
    let pages = client.describe_network_interfaces().filters(filter).into_paginator().items().send();
    let found = pages.collect::<Result<Vec<_>, _>>().await.map_err(|error| classify("ec2:DescribeNetworkInterfaces", error))?;
    let mut found: Vec<Timers> = found.iter().map(|wire| Timers::of(wire, defaults)).collect();
    found.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(found)
}

/// The timeouts of an instance's interfaces.
pub async fn of_instance(client: &Client, instance: &str, defaults: Defaults) -> Result<Vec<Timers>, ActionError> {
    of(client, filter("attachment.instance-id", [instance]), defaults).await
}

/// The timeouts of these interfaces as they are now, by id. One that is gone is missing.
pub async fn now(client: &Client, before: &[Timers]) -> Result<BTreeMap<String, Timers>, ActionError> {
    let ids: Vec<String> = before.iter().map(|timers| timers.id.clone()).collect();
    let mut found = BTreeMap::new();
    for ids in crate::actions::ec2::look::chunks(&ids) {
        let now = of(client, filter("network-interface-id", ids), DEFAULTS).await?;
        found.extend(now.into_iter().map(|timers| (timers.id.clone(), timers)));
    }
    Ok(found)
}

/// Sets both timeouts. All three are sent, so that none is taken for one to be unset.
pub async fn set(client: &Client, now: &Timers, tcp: Option<i32>, udp_stream: Option<i32>) -> Result<(), ActionError> {
    let wanted = ConnectionTrackingSpecificationRequest::builder()
        .set_tcp_established_timeout(tcp)
        .set_udp_stream_timeout(udp_stream)
        .set_udp_timeout(now.udp)
        .build();
    let call = client.modify_network_interface_attribute().network_interface_id(&now.id).connection_tracking_specification(wanted);
    match call.send().await.map_err(|error| classify(MODIFY, error)) {
        // Of an interface that is gone there is nothing to set.
        Err(ActionError::Gone { .. }) => Ok(()),
        other => other.map(|_| ()),
    }
}

/// An interface is no longer what the plan is for.
pub fn changed(what: &[String]) -> ActionError {
    let message = format!("somebody changed interfaces since the plan, they were left alone: {}", what.join("; "));
    ActionError::Service { call: MODIFY.to_owned(), code: "InterfaceChanged".to_owned(), message }
}

/// A timeout was set and is not read as set.
pub fn not_read_back(id: &str) -> ActionError {
    let message = format!("the connection tracking timeouts of {id} were set and cannot be read back");
    ActionError::Service { call: MODIFY.to_owned(), code: "NotReadBack".to_owned(), message }
}
