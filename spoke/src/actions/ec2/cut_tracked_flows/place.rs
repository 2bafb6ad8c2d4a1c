//! Where in a network ACL the entries that end the flows with an address go.
//!
//! They take the lowest free numbers: the blocks of `ec2.block-source-in-nacl` are numbered downwards from the first entry that lets
//! traffic through, and are known to each other by their numbers. Nothing ever leaves for an entry that stands for minutes.

use std::{collections::BTreeSet, net::IpAddr};

use crate::actions::ec2::nacl::acl::{Entry, anything_let_through_by, count, deny_all, quota};

/// What is done to one ACL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placement {
    /// The new entries.
    pub create: Vec<Entry>,
    /// What is denied already, as the entry that we would have made (its number means nothing).
    pub already: Vec<Entry>,
    /// Addresses for which there is no place, and why.
    pub left: Vec<(IpAddr, String)>,
}

/// Where the entries against these hosts go in an ACL with these entries: for each host both directions, or none.
#[must_use]
pub fn place(entries: &[Entry], hosts: &[IpAddr]) -> Placement {
    let mut placement = Placement::default();
    let mut now: Vec<Entry> = entries.to_vec();
    for host in hosts.iter().copied() {
        let mut open = Vec::new();
        let mut denied = Vec::new();
        for egress in [false, true] {
            match anything_let_through_by(&now, egress, host) {
                Some(first) => open.push((egress, first)),
                None => denied.push(deny_all(0, egress, host)),
            }
        }
        let Some(first) = open.iter().map(|(_, first)| *first).min() else {
            placement.already.extend(denied);
            continue;
        };
        let full = open.iter().find(|(egress, _)| count(&now, *egress, host) >= quota(count(entries, *egress, host)));
        if let Some((egress, _)) = full {
            let way = if *egress { "egress" } else { "ingress" };
            placement.left.push((host, format!("the ACL's {way} entries are at their quota")));
            continue;
        }
        let taken: BTreeSet<i32> =
            now.iter().filter(|entry| open.iter().any(|(egress, _)| *egress == entry.egress)).map(|entry| entry.number).collect();
        let Some(number) = (1..first).find(|number| !taken.contains(number)) else {
            placement.left.push((host, format!("no number is free below {first}, the first entry that lets traffic through")));
            continue;
        };
        let new: Vec<Entry> = open.iter().map(|(egress, _)| deny_all(number, *egress, host)).collect();
        now.extend(new.iter().cloned());
        placement.create.extend(new);
        placement.already.extend(denied);
    }
    placement
}
