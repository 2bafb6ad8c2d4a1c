//! Placement over small ACLs, and what a cut says of itself.

use super::*;
use crate::actions::ec2::nacl::acl::{anything_let_through_by, deny_all, lasting};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn entry(number: i32, egress: bool, deny: bool, protocol: &str, cidr: &str, ports: Option<(i32, i32)>) -> Entry {
    Entry { number, egress, deny, protocol: protocol.into(), cidr: cidr.parse().unwrap(), ports, icmp: None }
}

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

fn text(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(numbered).collect()
}

#[test]
fn everything_with_a_remote_is_denied_in_both_directions_and_families() {
    let hosts = [ip("203.0.113.9"), ip("2001:db8::9")];
    let placement = place(&default_acl(), &hosts);
    assert_eq!(
        text(&placement.create),
        [
            "1 deny ingress all from 203.0.113.9/32",
            "1 deny egress all to 203.0.113.9/32",
            "2 deny ingress all from 2001:db8::9/128",
            "2 deny egress all to 2001:db8::9/128",
        ]
    );
    let mut after = default_acl();
    after.extend(placement.create);
    for (host, egress) in hosts.iter().flat_map(|host| [(*host, false), (*host, true)]) {
        assert_eq!(anything_let_through_by(&after, egress, host), None);
    }
    assert!(anything_let_through_by(&after, false, ip("203.0.113.10")).is_some());
    let again = place(&after, &hosts);
    assert!(again.create.is_empty() && again.left.is_empty() && again.already.len() == 4);
}

#[test]
fn a_narrower_deny_is_not_enough_and_a_wider_one_is() {
    let mut acl = default_acl();
    acl.push(entry(50, false, true, "6", "203.0.113.9/32", Some((22, 22))));
    acl.push(entry(51, true, true, "-1", "203.0.113.0/24", None));
    let placement = place(&acl, &[ip("203.0.113.9")]);
    assert_eq!(text(&placement.create), ["1 deny ingress all from 203.0.113.9/32"]);
    assert_eq!(placement.already.len(), 1);
}

#[test]
fn an_acl_at_its_quota_or_without_a_number_leaves_the_remote_and_says_so() {
    let mut acl = default_acl();
    acl.extend((0..18).map(|n| entry(10 + n, true, true, "6", &format!("198.51.100.{n}/32"), Some((1024, 65535)))));
    let placement = place(&acl, &[ip("203.0.113.9"), ip("2001:db8::9")]);
    assert_eq!(placement.left.len(), 1);
    assert!(placement.left[0].1.contains("egress entries are at their quota"));
    assert_eq!(placement.create.len(), 2, "the other family has a quota of its own");

    let mut acl = default_acl();
    acl.push(entry(1, false, false, "17", "0.0.0.0/0", None));
    let placement = place(&acl, &[ip("203.0.113.9")]);
    assert!(placement.create.is_empty() && placement.left[0].1.contains("no number is free below 1"));
}

#[test]
fn many_remotes_fill_the_quota_and_no_more() {
    let hosts: Vec<IpAddr> = (1..=30).map(|n| IpAddr::from([203, 0, 113, n])).collect();
    let placement = place(&default_acl(), &hosts);
    assert_eq!((placement.create.len(), placement.left.len()), (36, 12));
}

#[test]
fn what_stands_for_minutes_is_no_lasting_block() {
    let host = ip("203.0.113.9");
    let mut acl = default_acl();
    acl.extend([deny_all(1, false, host), deny_all(1, true, host), deny_all(2, false, ip("203.0.113.10"))]);
    let lasting = lasting(&acl);
    assert_eq!(anything_let_through_by(&lasting, false, host), Some(100));
    assert_eq!(anything_let_through_by(&lasting, false, ip("203.0.113.10")), None, "one direction alone is somebody's own");
}

#[test]
fn a_cut_without_remotes_says_that_flows_may_persist() {
    let said = serde_json::to_value(outcome(&Before::default())).unwrap();
    assert_eq!(said["tracked_flows"], "may-persist");
    let cut = Before { denied: vec![ip("203.0.113.9")], ..Before::default() };
    let said = serde_json::to_value(outcome(&cut)).unwrap();
    assert_eq!((said["tracked_flows"].as_str(), said["remotes"][0].as_str()), (Some("ended-with"), Some("203.0.113.9")));
    assert!(ended(&cut).contains("their own end"));
}

#[test]
fn a_session_without_acls_reaches_none() {
    let cell = cordon_shared::id::CellId::new("111122223333".parse().unwrap(), "eu-west-1".parse().unwrap());
    let with: Params = serde_json::from_value(json!({ "instance": "i-1" })).unwrap();
    let scopes = write_policies(CutTrackedFlows::WRITES, &cell, &CutTrackedFlows.bind(&with, &Before::default())).unwrap();
    assert!(scopes[0].policy.contains("network-acl/none") && !scopes[0].policy.contains('*'), "{}", scopes[0].policy);
}
