//! Where in a network ACL the entries against a source go, and which of our own must leave for them.
//!
//! A **block** is two entries: one denies the source the attacked port, one denies replies to it. Both have the same number. That pair
//! (one number, deny, one host, one protocol, a single port in and exactly the reply ports out) is how our own entries are known again:
//! entries have neither tags nor descriptions. Who writes such a pair by hand risks that it is evicted as one of ours, and nothing else.

use std::{collections::BTreeSet, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::actions::ec2::nacl::acl::{Entry, LAST_NUMBER, REPLY_PORTS, Traffic, count, lasting, quota};

/// How many blocks of ours an ACL holds at most, of both families together.
pub const MOST_BLOCKS: usize = 5;

/// Both entries against one source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Against the source.
    pub ingress: Entry,
    /// Against replies to it.
    pub egress: Entry,
}

impl Block {
    fn host(&self) -> IpAddr {
        self.ingress.cidr.addr()
    }
}

/// What is done to one ACL.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Our own older blocks that must leave, before the new entries are made.
    pub evict: Vec<Block>,
    /// The new entries.
    pub create: Vec<Entry>,
    /// What is denied already, as the entry that we would have made (its number means nothing).
    pub already: Vec<Entry>,
    /// Sources for which there is no place, and why.
    pub left: Vec<(IpAddr, String)>,
}

/// The two directions of one source's traffic.
#[must_use]
pub fn traffic(host: IpAddr, protocol: u8, port: u16) -> [Traffic; 2] {
    let port = i32::from(port);
    [Traffic { egress: false, protocol, host, ports: (port, port) }, Traffic { egress: true, protocol, host, ports: REPLY_PORTS }]
}

/// The blocks in an ACL that look like ours, by number from high to low.
#[must_use]
pub fn own(entries: &[Entry]) -> Vec<Block> {
    let single = |entry: &Entry| {
        entry.deny && entry.cidr.prefix_len() == entry.cidr.max_prefix_len() && matches!(entry.protocol.as_str(), "6" | "17")
    };
    let mut blocks: Vec<Block> = entries
        .iter()
        .filter(|entry| !entry.egress && single(entry) && entry.ports.is_some_and(|(from, to)| from == to))
        .filter_map(|ingress| {
            let egress = entries.iter().find(|entry| {
                entry.egress
                    && single(entry)
                    && entry.number == ingress.number
                    && entry.cidr == ingress.cidr
                    && entry.protocol == ingress.protocol
                    && entry.ports == Some(REPLY_PORTS)
            })?;
            Some(Block { ingress: ingress.clone(), egress: egress.clone() })
        })
        .collect();
    blocks.sort_by_key(|block| std::cmp::Reverse(block.ingress.number));
    blocks
}

/// Blocks from the oldest to the newest. Numbers are given downwards from `top` and begin again there after 1, so the newest is the one
/// with the widest gap below it.
#[must_use]
pub fn by_age(blocks: &[Block], top: i32) -> Vec<Block> {
    let top = blocks.iter().map(|block| block.ingress.number).max().unwrap_or(top).max(top);
    let numbers: Vec<i32> = blocks.iter().map(|block| block.ingress.number).collect();
    let gap = |at: usize| match (numbers.get(at), numbers.get(at + 1), numbers.first()) {
        (Some(number), Some(next), _) => number - next,
        (Some(number), None, Some(first)) => number + top - first,
        _ => 0,
    };
    // Of equal gaps the last: then nothing has begun again.
    let newest = (0..numbers.len()).max_by_key(|at| gap(*at)).unwrap_or(0);
    blocks.iter().cycle().skip(newest + 1).take(blocks.len()).cloned().collect()
}

/// The number for a source's entries: the next one below the newest of ours, free in each direction that needs an entry, and below
/// `first`, the first entry that lets the traffic through. `None`: there is none.
fn number(entries: &[Entry], ways: &[bool], first: i32) -> Option<i32> {
    let top = (first - 1).min(LAST_NUMBER);
    let taken: BTreeSet<i32> = entries.iter().filter(|entry| ways.contains(&entry.egress)).map(|entry| entry.number).collect();
    let newest = by_age(&own(entries), top).last().map_or(top + 1, |block| block.ingress.number.min(top + 1));
    (1..newest).rev().chain((newest..=top).rev()).find(|number| !taken.contains(number))
}

/// Where the entries against these hosts go in an ACL with these entries.
#[must_use]
pub fn place(entries: &[Entry], hosts: &[IpAddr], protocol: u8, port: u16) -> Placement {
    let mut placement = Placement::default();
    let mut now: Vec<Entry> = entries.to_vec();
    let mut seen = BTreeSet::new();
    for host in hosts.iter().copied().filter(|host| seen.insert(*host)) {
        let mut open = Vec::new();
        let lasting = lasting(&now);
        for traffic in traffic(host, protocol, port) {
            match traffic.let_through_by(&lasting) {
                Some(first) => open.push((traffic, first)),
                None => placement.already.push(traffic.deny(0)),
            }
        }
        let Some(first) = open.iter().map(|(_, first)| *first).min() else { continue };
        let mut trial = now.clone();
        let mut evicted = Vec::new();
        let why = loop {
            let old = by_age(&own(&trial), first - 1);
            let old: Vec<Block> = old.into_iter().filter(|block| !hosts.contains(&block.host())).collect();
            let full = open.iter().find(|(traffic, _)| {
                let present = count(&trial, traffic.egress, host);
                // A quota that shows is the ACL's as it was found, not as it is after an eviction.
                present >= quota(count(entries, traffic.egress, host))
            });
            let victim = if own(&trial).len() >= MOST_BLOCKS {
                old.first().ok_or_else(|| format!("{MOST_BLOCKS} sources of this incident are blocked in this ACL, more are never"))
            } else if let Some((traffic, _)) = full {
                let way = if traffic.egress { "egress" } else { "ingress" };
                old.iter()
                    .find(|block| block.host().is_ipv4() == host.is_ipv4())
                    .ok_or_else(|| format!("the ACL's {way} entries are at their quota, and none of them is ours"))
            } else {
                let ways: Vec<bool> = open.iter().map(|(traffic, _)| traffic.egress).collect();
                match number(&trial, &ways, first) {
                    Some(number) => {
                        for (traffic, _) in &open {
                            trial.push(traffic.deny(number));
                            placement.create.push(traffic.deny(number));
                        }
                        now = trial;
                        placement.evict.append(&mut evicted);
                        break None;
                    }
                    None => break Some(format!("no number is free below {first}, the first entry that lets the traffic through")),
                }
            };
            match victim {
                Ok(victim) => {
                    trial.retain(|entry| *entry != victim.ingress && *entry != victim.egress);
                    evicted.push(victim.clone());
                }
                Err(why) => break Some(why),
            }
        };
        if let Some(why) = why {
            placement.already.retain(|entry| entry.cidr.addr() != host);
            placement.left.push((host, why));
        }
    }
    placement
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
