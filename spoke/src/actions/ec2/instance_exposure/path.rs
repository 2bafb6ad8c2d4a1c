//! The way between a subnet and the Internet: its route table, and its network ACL.

use ipnet::IpNet;

use super::Verdict;
use crate::actions::ec2::{
    close_open_ingress::{Breadth, breadth},
    nacl::acl::Entry,
};

/// A route table.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    pub id: String,
    pub vpc: String,
    /// Whether it is that of subnets without one of their own.
    pub main: bool,
    pub subnets: Vec<String>,
    pub routes: Vec<Route>,
}

/// A route.
#[derive(Debug, Clone)]
pub(super) struct Route {
    pub to: IpNet,
    /// `igw-…`, `local`, …
    pub target: String,
    /// Whether its target is there.
    pub active: bool,
}

/// The table of a subnet: its own, else the VPC's main one
/// (<https://docs.aws.amazon.com/vpc/latest/userguide/subnet-route-tables.html>).
pub(super) fn table_of<'a>(tables: &'a [Table], subnet: &str, vpc: &str) -> Option<&'a Table> {
    let own = tables.iter().find(|table| table.subnets.iter().any(|one| one == subnet));
    own.or_else(|| tables.iter().find(|table| table.main && table.vpc == vpc))
}

/// Whether a table sends what goes to the Internet through an Internet gateway. Through one that only lets out, or address translation,
/// nothing comes in (<https://docs.aws.amazon.com/vpc/latest/userguide/egress-only-internet-gateway.html>,
/// <https://docs.aws.amazon.com/vpc/latest/userguide/vpc-nat-gateway.html>).
pub(super) fn routed(table: &Table, ipv6: bool) -> (Verdict, String) {
    let family = if ipv6 { "IPv6" } else { "IPv4" };
    let of_family = || table.routes.iter().filter(|route| route.to.addr().is_ipv6() == ipv6 && route.target != "local");
    let world: Vec<&Route> = of_family().filter(|route| route.active && breadth(&route.to.to_string()) == Breadth::World).collect();
    let told = |routes: &[&Route]| {
        let told: Vec<String> = routes.iter().map(|route| format!("{} to {}", route.to, route.target)).collect();
        format!("route table {} sends {}", table.id, told.join(", "))
    };
    let gateway = |route: &&&Route| route.target.starts_with("igw-");
    let through = world.iter().filter(gateway).count();
    if world.is_empty() {
        let narrow: Vec<&Route> = of_family().filter(|route| route.active).filter(|route| route.target.starts_with("igw-")).collect();
        if !narrow.is_empty() {
            return (Verdict::Unknown, format!("{}, and nothing wider: whoever is there may reach it", told(&narrow)));
        }
        let broken = of_family().find(|route| !route.active);
        let broken = broken.map(|route| format!(" (that to {} leads nowhere)", route.target)).unwrap_or_default();
        return (Verdict::No, format!("route table {} has no route of {family} to an Internet gateway{broken}", table.id));
    }
    if through == world.len() {
        return (Verdict::Yes, told(&world));
    }
    let one_way = |route: &&Route| route.target.starts_with("nat-") || route.target.starts_with("eigw-");
    if through == 0 && world.iter().all(one_way) {
        return (Verdict::No, format!("{}, which lets nothing in", told(&world)));
    }
    (Verdict::Unknown, format!("{}: beyond that is not looked at", told(&world)))
}

/// How a network ACL meets traffic of the whole world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pass {
    /// It lets it through, by the entry with this number.
    Open(i32),
    /// It lets through only these.
    Partly(i32, IpNet),
    /// It does not.
    Closed,
}

/// What an ACL's entries do with traffic between any address of the Internet and the subnet. Entries are read by their numbers, the first that
/// matches decides (<https://docs.aws.amazon.com/vpc/latest/userguide/nacl-rules.html>); denies of a few addresses leave the rest of the world.
pub(super) fn pass(entries: &[Entry], egress: bool, ipv6: bool, protocol: u8, ports: (i32, i32)) -> Pass {
    let mut entries: Vec<&Entry> = entries
        .iter()
        .filter(|entry| entry.egress == egress && entry.cidr.addr().is_ipv6() == ipv6)
        .filter(|entry| entry.protocol == "-1" || entry.protocol == protocol.to_string())
        .collect();
    entries.sort_by_key(|entry| entry.number);
    let (mut partly, mut denied) = (None, Vec::new());
    for entry in entries {
        let range = entry.ports.filter(|_| entry.protocol != "-1");
        let meets = range.is_none_or(|(from, to)| from <= ports.1 && ports.0 <= to);
        let whole = range.is_none_or(|(from, to)| from <= ports.0 && ports.1 <= to);
        if entry.deny && whole {
            denied.push(entry.cidr);
            if IpNet::aggregate(&denied).iter().any(|net| net.prefix_len() == 0) {
                break;
            }
        } else if !entry.deny && meets {
            if breadth(&entry.cidr.to_string()) == Breadth::World {
                return Pass::Open(entry.number);
            }
            partly.get_or_insert(Pass::Partly(entry.number, entry.cidr));
        }
    }
    partly.unwrap_or(Pass::Closed)
}
