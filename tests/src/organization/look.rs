//! Reading the world back with boto3, and what it means by AWS's rules: nothing of ours is asked.

use std::net::IpAddr;

use futures::future::try_join_all;
use serde_json::{Value, json};

use super::{Instance, Organization, items};
use crate::LabError;

impl Organization {
    /// The ingress permissions of a group.
    ///
    /// # Errors
    /// When there is no such group.
    pub async fn ingress(&self, account: &str, region: &str, group: &str) -> Result<Vec<Value>, LabError> {
        let found = self.call(account, region, "ec2", "describe_security_groups", json!({"GroupIds": [group]})).await?;
        let mut permissions: Vec<Value> = items(&found, "/SecurityGroups/0/IpPermissions").cloned().collect();
        permissions.sort_by_key(Value::to_string);
        Ok(permissions)
    }

    /// The entries of a network ACL, as they are evaluated: by number.
    ///
    /// # Errors
    /// When there is no such ACL.
    pub async fn entries(&self, account: &str, region: &str, acl: &str) -> Result<Vec<Value>, LabError> {
        let found = self.call(account, region, "ec2", "describe_network_acls", json!({"NetworkAclIds": [acl]})).await?;
        let mut entries: Vec<Value> = items(&found, "/NetworkAcls/0/Entries").cloned().collect();
        entries.sort_by_key(|entry| (flag(entry, "Egress"), entry.get("RuleNumber").and_then(Value::as_i64)));
        Ok(entries)
    }

    /// All that Cordon could have changed about an instance: the permissions of its groups and the entries of its ACL. Equal before and after
    /// means untouched.
    ///
    /// # Errors
    /// The first call that failed.
    pub async fn state(&self, instance: &Instance) -> Result<Value, LabError> {
        let Instance { account, region, .. } = instance;
        let groups = try_join_all(instance.groups.iter().map(|group| self.ingress(account, region, group)));
        let (groups, entries) = futures::try_join!(groups, self.entries(account, region, &instance.acl))?;
        Ok(json!({"groups": groups, "acl": entries}))
    }

    /// Which of an instance's groups let the world in on a port, `0.0.0.0/0` or `::/0`.
    ///
    /// # Errors
    /// The first call that failed.
    pub async fn open_groups_of(&self, instance: &Instance, port: u16) -> Result<Vec<String>, LabError> {
        let mut open = Vec::new();
        for group in &instance.groups {
            if open_to_world(&self.ingress(&instance.account, &instance.region, group).await?, port) {
                open.push(group.clone());
            }
        }
        Ok(open)
    }

    /// Whether an instance's ACL lets packets of an address in to a port, and replies out to it.
    ///
    /// # Errors
    /// The first call that failed.
    pub async fn passes(&self, instance: &Instance, address: IpAddr, port: u16) -> Result<Passage, LabError> {
        let entries = self.entries(&instance.account, &instance.region, &instance.acl).await?;
        Ok(Passage { inward: passes(&entries, false, address, port), outward: passes(&entries, true, address, 50_000) })
    }
}

/// What an ACL lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passage {
    /// To the port.
    pub inward: bool,
    /// Replies, to an ephemeral port.
    pub outward: bool,
}

fn flag(value: &Value, name: &str) -> bool {
    value.get(name).and_then(Value::as_bool).unwrap_or(false)
}

fn covers_port(from: Option<&Value>, to: Option<&Value>, port: u16) -> bool {
    let edge = |edge: Option<&Value>| edge.and_then(Value::as_i64);
    match (edge(from), edge(to)) {
        (Some(from), Some(to)) => (from..=to).contains(&i64::from(port)),
        _ => true,
    }
}

/// Whether permissions let the world in on a TCP port.
#[must_use]
pub fn open_to_world(permissions: &[Value], port: u16) -> bool {
    lets_in(permissions, port, "0.0.0.0/0") || lets_in(permissions, port, "::/0")
}

/// Whether one of the permissions names exactly this range for a TCP port.
#[must_use]
pub fn lets_in(permissions: &[Value], port: u16, cidr: &str) -> bool {
    permissions.iter().any(|permission| {
        let protocol = permission.get("IpProtocol").and_then(Value::as_str).unwrap_or_default();
        let named = |list: &str, field: &str| {
            items(permission, &format!("/{list}")).any(|range| range.get(field).and_then(Value::as_str) == Some(cidr))
        };
        matches!(protocol, "tcp" | "6" | "-1")
            && (protocol == "-1" || covers_port(permission.get("FromPort"), permission.get("ToPort"), port))
            && (named("IpRanges", "CidrIp") || named("Ipv6Ranges", "CidrIpv6"))
    })
}

/// Whether a network ACL lets TCP packets between an address and a port through: the first entry by number that matches decides.
#[must_use]
pub fn passes(entries: &[Value], egress: bool, address: IpAddr, port: u16) -> bool {
    let matching = entries.iter().filter(|entry| {
        let protocol = entry.get("Protocol").and_then(Value::as_str).unwrap_or_default();
        let cidr = ["CidrBlock", "Ipv6CidrBlock"].iter().find_map(|name| entry.get(*name).and_then(Value::as_str));
        flag(entry, "Egress") == egress
            && matches!(protocol, "-1" | "6" | "tcp")
            && (protocol == "-1" || covers_port(entry.pointer("/PortRange/From"), entry.pointer("/PortRange/To"), port))
            && cidr.is_some_and(|cidr| contains(cidr, address))
    });
    let first = matching.min_by_key(|entry| entry.get("RuleNumber").and_then(Value::as_i64));
    first.and_then(|entry| entry.get("RuleAction")).and_then(Value::as_str) == Some("allow")
}

fn contains(cidr: &str, address: IpAddr) -> bool {
    let Some((net, bits)) = cidr.split_once('/') else { return false };
    let (Ok(net), Ok(bits)) = (net.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
    match (net, address) {
        (IpAddr::V4(net), IpAddr::V4(address)) => bits == 0 || (u32::from(net) ^ u32::from(address)).checked_shr(32 - bits) == Some(0),
        (IpAddr::V6(net), IpAddr::V6(address)) => bits == 0 || (u128::from(net) ^ u128::from(address)).checked_shr(128 - bits) == Some(0),
        _ => false,
    }
}
