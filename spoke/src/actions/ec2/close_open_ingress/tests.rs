//! The pure parts over small worlds, and over random ones.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{
    ports::PortSet,
    restore::{Restore, restore},
    rule::{Body, Breadth, Rule, RuleKey, Source, Transport, breadth},
    split::{Closing, Order, close, open},
};

const TCP: Transport = Transport::Tcp;

fn world(source: &Source) -> bool {
    match source {
        Source::Ipv4(cidr) | Source::Ipv6(cidr) => breadth(cidr) == Breadth::World,
        Source::PrefixList(id) => id == "pl-world",
        Source::Group(_) => false,
    }
}

fn v4(cidr: &str) -> Source {
    Source::Ipv4(cidr.into())
}

fn rule(protocol: &str, from: i32, to: i32, source: Source, description: &str) -> Rule {
    let ports = if protocol == "-1" { (None, None) } else { (Some(from), Some(to)) };
    let body = Body {
        protocol: protocol.into(),
        from: ports.0,
        to: ports.1,
        source,
        description: (!description.is_empty()).then(|| description.into()),
    };
    Rule { id: format!("sgr-{protocol}-{from}-{to}"), body, tags: Default::default() }
}

fn tcp(from: i32, to: i32) -> Rule {
    rule("tcp", from, to, v4("0.0.0.0/0"), "d")
}

/// A group that takes what AWS takes.
#[derive(Debug, Clone, PartialEq)]
struct Group(Vec<Rule>);

impl Group {
    fn authorize(&mut self, body: &Body) {
        if !self.0.iter().any(|rule| rule.body.key() == body.key()) {
            self.0.push(Rule { id: format!("sgr-{}", self.0.len()), body: body.clone(), tags: Default::default() });
        }
    }
    fn revoke(&mut self, body: &Body) {
        self.0.retain(|rule| rule.body.key() != body.key());
    }
    fn close(&mut self, ports: &[u16]) -> Closing {
        let closing = close(&self.0, TCP, &PortSet::ports(ports.iter().copied()), world);
        closing.make.iter().for_each(|body| self.authorize(body));
        closing.splits.iter().for_each(|split| self.revoke(&split.wide.body));
        closing
    }
    fn undo(&mut self, closing: &Closing, ports: &[u16]) -> Restore {
        let ports = PortSet::ports(ports.iter().copied());
        let todo = restore(closing, TCP, &self.0, world, |_| ports.clone());
        todo.authorize.iter().for_each(|body| self.authorize(body));
        todo.revoke.iter().for_each(|rule| self.revoke(&rule.body));
        todo
    }
    fn keys(&self) -> BTreeSet<(RuleKey, Option<String>)> {
        self.0.iter().map(|rule| (rule.body.key(), rule.body.description.clone())).collect()
    }
    fn text(&self) -> Vec<String> {
        let mut all: Vec<String> = self.0.iter().map(|rule| rule.body.to_string()).collect();
        all.sort();
        all
    }
    /// Whether a packet from a source with this range gets in.
    fn allows(&self, transport: Transport, port: u16, source: &Source) -> bool {
        self.0.iter().any(|rule| rule.body.source == *source && rule.body.opens(transport).covers(&PortSet::ports([port])))
    }
    fn open(&self, port: u16) -> bool {
        !open(&self.0, TCP, &PortSet::ports([port]), world).is_empty()
    }
}

#[test]
fn a_rule_that_covers_more_is_split_and_others_stand() {
    let mut group =
        Group(vec![tcp(0, 65535), rule("tcp", 22, 22, v4("10.0.0.0/8"), ""), rule("tcp", 22, 22, Source::Group("sg-2".into()), "")]);
    let closing = group.close(&[22]);
    assert_eq!(group.text(), ["tcp 0-21 from 0.0.0.0/0", "tcp 22 from 10.0.0.0/8", "tcp 22 from sg-2", "tcp 23-65535 from 0.0.0.0/0"]);
    assert!(closing.make.iter().all(|body| body.description.as_deref() == Some("d")));
}

#[test]
fn halves_of_the_world_prefix_lists_and_both_families_are_closed() {
    let mut group = Group(vec![
        rule("6", 22, 22, v4("0.0.0.0/1"), ""),
        rule("tcp", 20, 22, v4("128.0.0.0/1"), ""),
        rule("tcp", 22, 23, Source::Ipv6("::/0".into()), ""),
        rule("tcp", 22, 22, Source::PrefixList("pl-world".into()), ""),
        rule("tcp", 22, 22, Source::PrefixList("pl-office".into()), ""),
    ]);
    group.close(&[22]);
    assert_eq!(group.text(), ["tcp 20-21 from 128.0.0.0/1", "tcp 22 from pl-office", "tcp 23 from ::/0"]);
}

#[test]
fn all_traffic_becomes_what_few_rules_can_say_and_comes_back_whole() {
    let before = Group(vec![rule("-1", 0, 0, v4("0.0.0.0/0"), "any")]);
    let mut group = before.clone();
    let closing = group.close(&[22]);
    assert_eq!(
        group.text(),
        ["icmp -1 from 0.0.0.0/0", "tcp 0-21 from 0.0.0.0/0", "tcp 23-65535 from 0.0.0.0/0", "udp 0-65535 from 0.0.0.0/0"]
    );
    assert_eq!(group.undo(&closing, &[22]).by_hand, []);
    assert_eq!(group.keys(), before.keys());
}

#[test]
fn all_traffic_with_another_port_closed_since_is_for_a_person() {
    let mut group = Group(vec![rule("-1", 0, 0, v4("0.0.0.0/0"), "any")]);
    let ssh = group.close(&[22]);
    let rdp = group.close(&[3389]);
    let seen = group.clone();
    assert_eq!(group.undo(&ssh, &[22]).by_hand.len(), 1);
    assert_eq!(group, seen, "nothing is changed where a person must act");
    group.undo(&rdp, &[3389]);
    assert!(group.open(3389) && !group.open(22));
    assert_eq!(group.undo(&ssh, &[22]).by_hand, []);
    assert_eq!(group.text(), ["all traffic from 0.0.0.0/0"]);
}

#[test]
fn pieces_that_are_there_already_are_not_ours() {
    let before = Group(vec![tcp(0, 65535), rule("tcp", 0, 21, v4("0.0.0.0/0"), "theirs"), rule("tcp", 443, 443, v4("0.0.0.0/0"), "d")]);
    let mut group = before.clone();
    let closing = group.close(&[22]);
    assert_eq!(closing.make.len(), 1);
    group.undo(&closing, &[22]);
    assert_eq!(group.keys(), before.keys());
}

#[test]
fn a_port_that_somebody_opened_again_is_left_to_a_person() {
    let mut group = Group(vec![tcp(0, 65535)]);
    let closing = group.close(&[22]);
    group.0.push(tcp(22, 22));
    let seen = group.clone();
    assert_eq!(group.undo(&closing, &[22]).by_hand.len(), 1);
    assert_eq!(group, seen);
}

#[test]
fn a_piece_that_somebody_took_away_stays_away() {
    let mut group = Group(vec![tcp(0, 65535)]);
    let closing = group.close(&[22]);
    group.revoke(&tcp(0, 21).body);
    group.undo(&closing, &[22]);
    assert_eq!(group.text(), ["tcp 22-65535 from 0.0.0.0/0"]);
}

#[test]
fn two_incidents_on_one_wide_rule_in_any_order() {
    for first_undone in [22, 3389] {
        let before = Group(vec![tcp(0, 65535)]);
        let mut group = before.clone();
        let (ssh, rdp) = (group.close(&[22]), group.close(&[3389]));
        assert!(!group.open(22) && !group.open(3389));
        let second = if first_undone == 22 { 3389 } else { 22 };
        let of = |port: u16| if port == 22 { &ssh } else { &rdp };
        assert_eq!(group.undo(of(first_undone), &[first_undone]).by_hand, []);
        assert!(group.open(first_undone) && !group.open(second) && group.open(80) && group.open(4000), "{:?}", group.text());
        assert_eq!(group.undo(of(second), &[second]).by_hand, []);
        assert_eq!(group.keys(), before.keys(), "{first_undone} first");
    }
}

#[test]
fn all_but_two_ports_closed_and_one_attribute_kept_closed() {
    let before = Group(vec![tcp(0, 65535)]);
    let mut group = before.clone();
    let order = Order::Except([80, 443].into());
    let closing = close(&group.0, TCP, &order.ports(), world);
    closing.make.iter().for_each(|body| group.authorize(body));
    closing.splits.iter().for_each(|split| group.revoke(&split.wide.body));
    assert_eq!(group.text(), ["tcp 443 from 0.0.0.0/0", "tcp 80 from 0.0.0.0/0"]);
    let parts = order.parts(TCP);
    assert_eq!(parts.iter().fold(PortSet::default(), |all, part| all.union(&part.ports)), order.ports());
    let without = order.ports().minus(&PortSet::ports([22]));
    let todo = restore(&closing, TCP, &group.0, world, |_| without.clone());
    todo.authorize.iter().for_each(|body| group.authorize(body));
    todo.revoke.iter().for_each(|rule| group.revoke(&rule.body));
    assert!(!group.open(22) && group.open(80) && group.open(65535));
    assert_eq!(group.undo(&closing, &[22]).by_hand, []);
    assert_eq!(group.keys(), before.keys());
}

fn sources() -> impl Strategy<Value = Source> {
    prop_oneof![
        4 => Just(v4("0.0.0.0/0")), 1 => Just(v4("0.0.0.0/1")), 1 => Just(v4("203.0.113.0/24")),
        2 => Just(Source::Ipv6("::/0".into())), 1 => Just(Source::Ipv6("2001:db8::/32".into())),
        1 => Just(Source::Group("sg-2".into())), 1 => Just(Source::PrefixList("pl-world".into())),
    ]
}

fn rules(protocols: &'static [&'static str]) -> impl Strategy<Value = Group> {
    let port = prop_oneof![Just(0), Just(21), Just(22), Just(23), Just(3388), Just(3389), Just(3390), Just(65535), 0..65536_i32];
    let one = (prop::sample::select(protocols), port.clone(), port, sources(), prop::sample::select(&["", "a", "b"][..]))
        .prop_map(|(protocol, a, b, source, text)| rule(protocol, a.min(b), a.max(b), source, text));
    prop::collection::vec(one, 0..7).prop_map(|rules| {
        let mut seen = BTreeSet::new();
        Group(
            rules
                .into_iter()
                .filter(|rule| seen.insert(rule.body.key()))
                .enumerate()
                .map(|(n, rule)| Rule { id: format!("sgr-{n}"), ..rule })
                .collect(),
        )
    })
}

const ALL: &[&str] = &["tcp", "6", "udp", "17", "-1", "icmp", "icmpv6", "47"];
const PORTED: &[&str] = &["tcp", "6", "udp"];
const PROBES: [u16; 12] = [0, 1, 20, 21, 22, 23, 80, 3388, 3389, 3390, 65534, 65535];

proptest! {
    #[test]
    fn the_port_is_closed_to_the_world_and_nothing_else_changes(before in rules(ALL), ports in prop::sample::subsequence(&PROBES[..], 1..4)) {
        let mut group = before.clone();
        group.close(&ports);
        for rule in &before.0 {
            for port in PROBES {
                for transport in [TCP, Transport::Udp] {
                    let shut = transport == TCP && ports.contains(&port) && world(&rule.body.source);
                    let was = before.allows(transport, port, &rule.body.source);
                    prop_assert_eq!(group.allows(transport, port, &rule.body.source), was && !shut, "{:?} {} {}", transport, port, &rule.body.source);
                }
            }
        }
        let again = group.clone().close(&ports);
        prop_assert!(again.splits.is_empty() && again.make.is_empty());
    }

    #[test]
    fn undo_gives_back_the_rules_it_found(before in rules(ALL), ports in prop::sample::subsequence(&PROBES[..], 1..4)) {
        let mut group = before.clone();
        let closing = group.close(&ports);
        let todo = group.undo(&closing, &ports);
        prop_assert_eq!(&todo.by_hand, &vec![]);
        prop_assert_eq!(group.keys(), before.keys(), "{:?} {:?} {:?}", ports, before.text(), group.text());
        let again = group.undo(&closing, &ports);
        prop_assert!(again.revoke.is_empty() && again.by_hand.is_empty());
        prop_assert_eq!(group.keys(), before.keys(), "{:?} {:?} {:?}", ports, before.text(), group.text());
    }

    #[test]
    fn an_undo_that_broke_off_anywhere_ends_the_same(before in rules(ALL), ports in prop::sample::subsequence(&PROBES[..], 1..4), stop in 0_usize..8) {
        let mut group = before.clone();
        let closing = group.close(&ports);
        let set = PortSet::ports(ports.iter().copied());
        let todo = restore(&closing, TCP, &group.0, world, |_| set.clone());
        for (n, body) in todo.authorize.iter().enumerate() {
            if n < stop { group.authorize(body); }
        }
        for (n, rule) in todo.revoke.iter().enumerate() {
            if n + todo.authorize.len() < stop { group.revoke(&rule.body); }
        }
        group.undo(&closing, &ports);
        prop_assert_eq!(group.keys(), before.keys(), "{:?} {:?} {:?}", ports, before.text(), group.text());
    }

    #[test]
    fn two_closings_undone_in_any_order_never_open_the_others_port(before in rules(PORTED), pair in prop::sample::subsequence(&PROBES[..], 2), swap: bool) {
        let (one, two) = (pair[0], pair[1]);
        let mut group = before.clone();
        let (first, second) = (group.close(&[one]), group.close(&[two]));
        let both = group.clone();
        let (a, pa, b, pb) = if swap { (&second, two, &first, one) } else { (&first, one, &second, two) };
        let todo = group.undo(a, &[pa]);
        prop_assert!(!group.open(pb));
        // Rightful ports stay as they were.
        for rule in &before.0 {
            for port in PROBES.into_iter().filter(|port| *port != pa) {
                prop_assert_eq!(group.allows(TCP, port, &rule.body.source), both.allows(TCP, port, &rule.body.source));
            }
        }
        let by_hand = !todo.by_hand.is_empty() || !group.undo(b, &[pb]).by_hand.is_empty();
        if !by_hand {
            for rule in &before.0 {
                for port in PROBES {
                    prop_assert_eq!(group.allows(TCP, port, &rule.body.source), before.allows(TCP, port, &rule.body.source), "{} {}\n{:?}\n{:?}", port, &rule.body.source, before.text(), group.text());
                }
            }
        }
    }
}
