//! The way to Systems Manager that may stay open: through the VPC's interface endpoints, and nowhere else.

use std::{collections::BTreeSet, net::IpAddr};

use aws_sdk_ec2::{
    Client,
    types::{IpPermission, VpcEndpoint},
};
use ipnet::IpNet;

use super::{
    group::Target,
    nics::{self, Seen},
};
use crate::{
    action::{ActionError, Cx, classify},
    actions::ec2::look::{chunks, filter, interfaces},
};

/// What an agent needs (<https://docs.aws.amazon.com/systems-manager/latest/userguide/setup-create-vpc.html>). Newer agents do without the last.
const SERVICES: [&str; 3] = ["ssm", "ssmmessages", "ec2messages"];
const HTTPS: i32 = 443;

/// The service of Systems Manager that an endpoint of this Region is for.
fn service(endpoint: &VpcEndpoint, region: &str) -> Option<&'static str> {
    let name = endpoint.service_name()?;
    let usable = endpoint.vpc_endpoint_type().is_some_and(|kind| kind.as_str() == "Interface")
        && endpoint.state().is_some_and(|state| state.as_str().eq_ignore_ascii_case("available"));
    let here = |service: &str| name.strip_suffix(service).is_some_and(|rest| rest.ends_with(&format!(".{region}.")));
    SERVICES.into_iter().find(|service| usable && here(service))
}

/// Where TCP 443 stays open to: the groups of the endpoints, or their addresses where a group is on anything else too, since a rule that
/// names a group lets through to all that is in it.
pub async fn endpoints(
    cx: Cx<'_>,
    client: &Client,
    vpc: &str,
    own: &[&Seen],
    notes: &mut Vec<String>,
) -> Result<BTreeSet<Target>, ActionError> {
    let pages = client.describe_vpc_endpoints().filters(filter("vpc-id", [vpc])).into_paginator().items().send();
    let all = pages.collect::<Result<Vec<_>, _>>().await.map_err(|error| classify("ec2:DescribeVpcEndpoints", error))?;
    let region = cx.cell.region.as_str();
    let found: Vec<&VpcEndpoint> = all.iter().filter(|endpoint| service(endpoint, region).is_some()).collect();
    if found.is_empty() {
        notes.push(format!(
            "VPC {vpc} has no interface endpoint for Systems Manager that this account can see: the instance is isolated fully"
        ));
        return Ok(BTreeSet::new());
    }
    let present: BTreeSet<&str> = found.iter().filter_map(|endpoint| service(endpoint, region)).collect();
    let missing: Vec<&str> = SERVICES.into_iter().filter(|service| !present.contains(service)).collect();
    if !missing.is_empty() {
        notes.push(format!("VPC {vpc} has no interface endpoint for {}: Systems Manager may not work", missing.join(", ")));
    }
    let nics: BTreeSet<String> = found.iter().flat_map(|endpoint| endpoint.network_interface_ids().to_vec()).collect();
    let groups: BTreeSet<String> =
        found.iter().flat_map(|endpoint| endpoint.groups()).filter_map(|group| group.group_id()).map(str::to_owned).collect();
    let mut shared = BTreeSet::new();
    for group in &groups {
        let users = interfaces(client, Some(filter("group-id", [group]))).await?;
        if users.iter().any(|user| !nics.contains(&user.id)) {
            notes.push(format!("group {group} of the endpoints is on other interfaces too: only the endpoints' addresses are let through"));
            shared.insert(group.clone());
        }
    }
    let mut keep = BTreeSet::new();
    let mut by_address: BTreeSet<String> = BTreeSet::new();
    for endpoint in &found {
        let of: Vec<&str> = endpoint.groups().iter().filter_map(|group| group.group_id()).collect();
        if of.is_empty() || of.iter().any(|group| shared.contains(*group)) {
            by_address.extend(endpoint.network_interface_ids().iter().cloned());
        } else {
            keep.extend(of.into_iter().map(|group| Target::Group(group.to_owned())));
        }
    }
    let by_address: Vec<String> = by_address.into_iter().collect();
    for ids in chunks(&by_address) {
        for seen in nics::of(client, filter("network-interface-id", ids)).await? {
            keep.extend(seen.nic.private.iter().map(|address| Target::Address(IpNet::from(*address))));
        }
    }
    let targets: Vec<String> = keep.iter().map(Target::to_string).collect();
    notes.push(format!("TCP {HTTPS} stays open to the endpoints of Systems Manager in VPC {vpc}: {}", targets.join(", ")));
    let_in(client, &groups, own, notes).await?;
    Ok(keep)
}

/// Whether the endpoints' own groups let the instance in. They are only looked at.
async fn let_in(client: &Client, groups: &BTreeSet<String>, own: &[&Seen], notes: &mut Vec<String>) -> Result<(), ActionError> {
    let addresses: Vec<IpAddr> = own.iter().flat_map(|seen| seen.nic.private.clone()).filter(IpAddr::is_ipv4).collect();
    let ids: Vec<String> = groups.iter().cloned().collect();
    let (mut open, mut unknown) = (false, false);
    for ids in chunks(&ids) {
        let pages = client.describe_security_groups().filters(filter("group-id", ids)).into_paginator().items().send();
        for group in pages.collect::<Result<Vec<_>, _>>().await.map_err(|error| classify("ec2:DescribeSecurityGroups", error))? {
            for wire in group.ip_permissions().iter().filter(|wire| covers(wire)) {
                let nets: Vec<IpNet> = wire.ip_ranges().iter().filter_map(|range| range.cidr_ip()?.parse().ok()).collect();
                open |= addresses.iter().all(|address| nets.iter().any(|net| net.contains(address)));
                unknown |= !wire.prefix_list_ids().is_empty();
            }
        }
    }
    let groups = ids.join(", ");
    notes.push(match (open, unknown) {
        (true, _) => format!("the endpoints' groups ({groups}) let the instance in"),
        (false, true) => format!("the endpoints' groups ({groups}) let in prefix lists: whether the instance is among them was not looked at"),
        (false, false) => format!(
            "the endpoints' groups ({groups}) do not let the instance in by its address on TCP {HTTPS}: Systems Manager will not work until they do"
        ),
    });
    Ok(())
}

fn covers(wire: &IpPermission) -> bool {
    match wire.ip_protocol() {
        Some("-1") => true,
        Some("tcp" | "6") => wire.from_port().is_none_or(|from| from <= HTTPS) && wire.to_port().is_none_or(|to| to >= HTTPS || to == -1),
        _ => false,
    }
}
