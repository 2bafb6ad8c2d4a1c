//! What is around an address that is to be denied: whose the ACLs are, who shares them, and which addresses are never denied.

use std::{collections::BTreeSet, net::IpAddr};

use aws_sdk_ec2::Client;
use cordon_shared::plan::Plan;

use super::{
    acl::{plain, special},
    wire::{self, Acl, Home},
};
use crate::{
    action::{ActionError, Cx},
    actions::ec2::look::{Interface, pairs},
};

/// The network ACLs of an instance's subnets.
#[derive(Debug, Default)]
pub struct Acls {
    /// Those of this account.
    pub acls: Vec<Acl>,
    /// All subnets.
    pub subnets: Vec<String>,
    /// Whether some belong to another account.
    pub foreign: bool,
}

/// The ACLs of the subnets of these interfaces. Those that only another account can change are noted.
pub async fn acls(cx: Cx<'_>, client: &Client, own: &[Interface], notes: &mut Vec<String>) -> Result<Acls, ActionError> {
    let subnets: BTreeSet<String> = own.iter().map(|interface| interface.subnet.clone()).collect();
    let subnets: Vec<String> = subnets.into_iter().collect();
    let account = cx.cell.account.as_str();
    let foreign = |owner: &Option<String>| owner.as_deref().is_some_and(|owner| owner != account);
    let places = wire::subnets(client, &subnets).await?;
    let shared: Vec<&String> = places.iter().filter(|(_, place)| foreign(&place.owner)).map(|(id, _)| id).collect();
    let ours: Vec<String> = subnets.iter().filter(|id| !shared.contains(id)).cloned().collect();
    for subnet in &shared {
        notes.push(format!("subnet {subnet} is shared by another account: only its owner can change its network ACL"));
    }
    let (acls, others): (Vec<Acl>, Vec<Acl>) = wire::acls(client, &ours).await?.into_iter().partition(|acl| !foreign(&acl.owner));
    for acl in &others {
        notes.push(format!("{} belongs to account {}: only its owner can change it", acl.id, acl.owner.as_deref().unwrap_or_default()));
    }
    let foreign = !shared.is_empty() || !others.is_empty();
    Ok(Acls { acls, subnets, foreign })
}

/// The addresses that may be denied; why the others are not is noted.
pub fn deniable(cx: Cx<'_>, addresses: &[IpAddr], home: &Home, notes: &mut Vec<String>) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    for address in addresses.iter().copied().map(plain) {
        let why = special(address)
            .map(|what| format!("its range is {what}"))
            .or_else(|| home.owner(address).map(|whose| format!("it is the organization's own: {whose}")))
            .or_else(|| cx.is_known(address).then(|| "it is a known source".to_owned()));
        match why {
            Some(why) => notes.push(format!("{address} is never blocked: {why}")),
            None if found.contains(&address) => {}
            None => found.push(address),
        }
    }
    found
}

/// Whether an address can reach the ACL's subnets at all. An IPv6 entry in a VPC without IPv6 would be of no use.
pub fn reaches(home: &Home, acl: &Acl, host: IpAddr, notes: &mut Vec<String>) -> bool {
    let reaches = host.is_ipv4() || home.ipv6.contains(&acl.vpc);
    if !reaches {
        notes.push(format!("{host} needs no entry in {}: VPC {} has no IPv6", acl.id, acl.vpc));
    }
    reaches
}

/// Whose opt-outs count for an ACL, and who shares it.
pub async fn about(cx: Cx<'_>, client: &Client, acl: &Acl, home: &Home, all: &[Interface], plan: &mut Plan) -> Result<(), ActionError> {
    plan.opt_outs.extend(cx.opt_out(&cx.ec2_arn(&format!("network-acl/{}", acl.id)), pairs(&acl.tags)));
    for (id, place) in wire::subnets(client, &acl.subnets).await? {
        plan.opt_outs.extend(cx.opt_out(&cx.ec2_arn(&format!("subnet/{id}")), pairs(&place.tags)));
    }
    if let Some(vpc) = home.vpcs.get(&acl.vpc) {
        let seen = cx.opt_out(&cx.ec2_arn(&format!("vpc/{}", acl.vpc)), pairs(&vpc.tags));
        plan.opt_outs.extend(seen.filter(|seen| !plan.opt_outs.contains(seen)));
    }
    let here: Vec<&Interface> = all.iter().filter(|interface| acl.subnets.contains(&interface.subnet)).collect();
    let instances: BTreeSet<&str> = here.iter().filter_map(|interface| interface.instance.as_deref()).collect();
    plan.notes.push(format!(
        "{} filters {} subnets with {} instances and {} interfaces: the sources are denied for all of them",
        acl.id,
        acl.subnets.len(),
        instances.len(),
        here.len()
    ));
    Ok(())
}
