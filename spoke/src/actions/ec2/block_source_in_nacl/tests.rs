//! Placement over small ACLs, and over random ones.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn entry(number: i32, egress: bool, deny: bool, protocol: &str, cidr: &str, ports: Option<(i32, i32)>) -> Entry {
    Entry { number, egress, deny, protocol: protocol.into(), cidr: cidr.parse().unwrap(), ports, icmp: None }
}

/// A default ACL of a VPC with both families.
fn default_acl() -> Vec<Entry> {
    [false, true]
        .into_iter()
        .flat_map(|egress| {
            [
                entry(100, egress, false, "-1", "0.0.0.0/0", None),
                entry(101, egress, false, "-1", "::/0", None),
                entry(32767, egress, true, "-1", "0.0.0.0/0", None),
                entry(32768, egress, true, "-1", "::/0", None),
            ]
        })
        .collect()
}

fn done(entries: &[Entry], placement: &Placement) -> Vec<Entry> {
    let gone: Vec<&Entry> = placement.evict.iter().flat_map(|block| [&block.ingress, &block.egress]).collect();
    entries.iter().filter(|entry| !gone.contains(entry)).chain(&placement.create).cloned().collect()
}

fn text(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| format!("{} {entry}", entry.number)).collect()
}

/// Whether a packet passes: the first entry that matches decides.
fn passes(entries: &[Entry], egress: bool, protocol: u8, host: IpAddr, port: i32) -> bool {
    let packet = Traffic { egress, protocol, host, ports: (port, port) };
    entries.iter().filter(|entry| packet.meets(entry)).min_by_key(|entry| entry.number).is_some_and(|entry| !entry.deny)
}

#[test]
fn entries_go_right_below_the_first_matching_allow_in_both_directions() {
    let placement = place(&default_acl(), &[ip("203.0.113.9"), ip("2001:db8::9")], 6, 22);
    assert_eq!(
        text(&placement.create),
        [
            "99 deny ingress tcp/22 from 203.0.113.9/32",
            "99 deny egress tcp/1024-65535 to 203.0.113.9/32",
            "98 deny ingress tcp/22 from 2001:db8::9/128",
            "98 deny egress tcp/1024-65535 to 2001:db8::9/128",
        ]
    );
    let again = place(&done(&default_acl(), &placement), &[ip("203.0.113.9"), ip("2001:db8::9")], 6, 22);
    assert!(again.create.is_empty() && again.evict.is_empty() && again.already.len() == 4);
}

#[test]
fn an_earlier_allow_counts_and_one_that_does_not_match_does_not() {
    let mut acl = default_acl();
    acl.extend([
        entry(10, false, false, "6", "203.0.113.0/24", Some((20, 30))),
        entry(5, false, false, "17", "0.0.0.0/0", None),
        entry(9, false, true, "6", "198.51.100.0/24", None),
        entry(50, true, false, "6", "0.0.0.0/0", Some((1024, 65535))),
    ]);
    let placement = place(&acl, &[ip("203.0.113.9")], 6, 22);
    assert_eq!(placement.create.iter().map(|entry| entry.number).collect::<Vec<_>>(), [8, 8]);
}

#[test]
fn an_allow_with_the_first_number_leaves_no_place() {
    let mut acl = default_acl();
    acl.push(entry(1, false, false, "-1", "0.0.0.0/0", None));
    let placement = place(&acl, &[ip("203.0.113.9"), ip("2001:db8::9")], 6, 22);
    assert_eq!(placement.left.len(), 1);
    assert!(placement.left[0].1.contains("below 1"));
    assert_eq!(placement.create.len(), 2, "the other family has its place");
}

#[test]
fn what_is_denied_already_needs_no_entry() {
    let mut acl = default_acl();
    acl.push(entry(7, false, true, "-1", "203.0.113.0/24", None));
    let placement = place(&acl, &[ip("203.0.113.9")], 6, 22);
    assert_eq!(text(&placement.create), ["99 deny egress tcp/1024-65535 to 203.0.113.9/32"]);
    assert_eq!(placement.already.len(), 1);
    assert!(place(&[], &[ip("203.0.113.9")], 6, 22).create.is_empty(), "nothing lets it through");
}

#[test]
fn the_sixth_block_evicts_the_oldest_and_so_on_round_and_round() {
    let mut acl = default_acl();
    for n in 0..250_u8 {
        let host = IpAddr::from([203, 0, 113, n]);
        let placement = place(&acl, &[host], 6, 22);
        acl = done(&acl, &placement);
        let evicted: Vec<IpAddr> = placement.evict.iter().map(Block::host).collect();
        let oldest: Vec<IpAddr> = n.checked_sub(5).map(|old| IpAddr::from([203, 0, 113, old])).into_iter().collect();
        assert_eq!(evicted, oldest, "{n}");
        assert_eq!(own(&acl).len(), usize::from(n + 1).min(MOST_BLOCKS));
    }
}

#[test]
fn six_sources_of_one_incident_are_five_and_a_reason() {
    let hosts: Vec<IpAddr> = (1..=6).map(|n| IpAddr::from([203, 0, 113, n])).collect();
    let placement = place(&default_acl(), &hosts, 6, 22);
    assert_eq!((placement.create.len(), placement.evict.len(), placement.left.len()), (10, 0, 1));
}

#[test]
fn a_full_acl_gives_up_ours_and_never_theirs() {
    let mut acl = default_acl();
    for n in 0..18 {
        acl.push(entry(200 + n, false, true, "6", &format!("198.51.100.{n}/32"), Some((22, 22))));
    }
    let placement = place(&acl, &[ip("203.0.113.9")], 6, 22);
    assert!(placement.create.is_empty() && placement.evict.is_empty() && placement.left[0].1.contains("quota"));
    // One of theirs less and one of ours instead.
    acl.pop();
    let acl = done(&acl, &place(&acl, &[ip("203.0.113.1")], 6, 22));
    let placement = place(&acl, &[ip("203.0.113.9")], 6, 22);
    assert_eq!(placement.evict.iter().map(Block::host).collect::<Vec<_>>(), [ip("203.0.113.1")]);
    assert_eq!(count(&done(&acl, &placement), false, ip("203.0.113.9")), 20);
    // The other family has a quota of its own.
    assert_eq!(place(&acl, &[ip("2001:db8::9")], 6, 22).create.len(), 2);
}

#[test]
fn a_second_port_of_one_source_shares_the_entry_against_replies() {
    let acl = done(&default_acl(), &place(&default_acl(), &[ip("203.0.113.9")], 6, 22));
    let placement = place(&acl, &[ip("203.0.113.9")], 6, 3389);
    assert_eq!(text(&placement.create), ["98 deny ingress tcp/3389 from 203.0.113.9/32"]);
    assert_eq!(placement.already.iter().map(Entry::to_string).collect::<Vec<_>>(), ["deny egress tcp/1024-65535 to 203.0.113.9/32"]);
}

const HOSTS: [&str; 6] = ["203.0.113.9", "203.0.113.10", "198.51.100.7", "10.0.0.5", "2001:db8::9", "2001:db8:1::1"];
const NETS: [&str; 8] =
    ["0.0.0.0/0", "203.0.113.0/24", "203.0.113.9/32", "198.51.100.7/32", "10.0.0.0/8", "::/0", "2001:db8::/64", "2001:db8::9/128"];
const PORTS: [i32; 8] = [0, 21, 22, 23, 80, 1023, 1024, 65535];

fn acls() -> impl Strategy<Value = Vec<Entry>> {
    let number = prop_oneof![3 => 1..12_i32, 2 => 95..104_i32, 1 => 1..32767_i32];
    let ports = prop_oneof![
        Just(None),
        Just(Some((22, 22))),
        Just(Some((1024, 65535))),
        (prop::sample::select(&PORTS[..]), prop::sample::select(&PORTS[..])).prop_map(|(a, b)| Some((a.min(b), a.max(b))))
    ];
    let one =
        (number, any::<bool>(), any::<bool>(), prop::sample::select(&["-1", "6", "17", "1"][..]), prop::sample::select(&NETS[..]), ports);
    prop::collection::vec(one, 0..40).prop_map(|raw| {
        let mut seen = BTreeSet::new();
        let mut acl = default_acl();
        acl.retain(|e| seen.insert((e.number, e.egress)));
        for (number, egress, deny, protocol, cidr, ports) in raw {
            if seen.insert((number, egress)) {
                let ports = ports.filter(|_| matches!(protocol, "6" | "17"));
                acl.push(entry(number, egress, deny, protocol, cidr, ports));
            }
        }
        acl
    })
}

proptest! {
    #[test]
    fn the_source_is_denied_and_everything_else_decided_as_before(before in acls(), rounds in prop::collection::vec(prop::sample::subsequence(&HOSTS[..], 1..3), 1..5), udp: bool) {
        let protocol = if udp { 17 } else { 6 };
        let mut acl = before;
        for hosts in rounds {
            let hosts: Vec<IpAddr> = hosts.into_iter().map(ip).collect();
            let placement = place(&acl, &hosts, protocol, 22);
            prop_assert_eq!(&placement, &place(&acl, &hosts, protocol, 22));
            let after = done(&acl, &placement);
            let mut numbers = BTreeSet::new();
            prop_assert!(after.iter().all(|entry| numbers.insert((entry.egress, entry.number))));
            prop_assert!(placement.create.iter().all(|entry| (1..=LAST_NUMBER).contains(&entry.number)));
            prop_assert!(own(&after).len() <= own(&acl).len().max(MOST_BLOCKS));
            let left: Vec<IpAddr> = placement.left.iter().map(|(host, _)| *host).collect();
            let evicted: Vec<IpAddr> = placement.evict.iter().map(Block::host).collect();
            for host in HOSTS.map(ip) {
                for egress in [false, true] {
                    if count(&acl, egress, host) <= 20 {
                        prop_assert!(count(&after, egress, host) <= 20);
                    }
                    for transport in [1_u8, 6, 17] {
                        for port in PORTS {
                            let ours = transport == protocol && hosts.contains(&host) && !left.contains(&host) && if egress { port >= 1024 } else { port == 22 };
                            let passes_now = passes(&after, egress, transport, host, port);
                            if ours {
                                prop_assert!(!passes_now);
                            } else if !evicted.contains(&host) {
                                prop_assert_eq!(passes_now, passes(&acl, egress, transport, host, port), "{} {} {} {}", host, egress, transport, port);
                            }
                        }
                    }
                }
            }
            acl = after;
        }
    }
}
