use std::collections::BTreeMap;

use super::{
    Verdict,
    judge::{Judged, judge},
    part::{Interface, Seen},
    path::{Pass, Route, Table, pass, routed, table_of},
};
use crate::actions::ec2::{
    close_open_ingress::{Body, Rule, Source, Transport},
    nacl::{acl::Entry, wire::Acl},
};

const INSTANCE: &str = "i-0123456789abcdef0";

/// Takes something from what was seen.
type Spoil = fn(&mut Seen);

fn entry(number: i32, egress: bool, deny: bool, cidr: &str, ports: Option<(i32, i32)>) -> Entry {
    let protocol = if ports.is_some() { "6" } else { "-1" };
    Entry { number, egress, deny, protocol: protocol.into(), cidr: cidr.parse().unwrap(), ports, icmp: None }
}

fn table(routes: &[(&str, &str)]) -> Table {
    let route = |(to, target): &(&str, &str)| Route { to: to.parse().unwrap(), target: (*target).into(), active: true };
    Table {
        id: "rtb-1".into(),
        vpc: "vpc-1".into(),
        main: false,
        subnets: vec!["subnet-1".into()],
        routes: routes.iter().map(route).collect(),
    }
}

fn rule(id: &str, protocol: &str, ports: (i32, i32), source: Source) -> Rule {
    let body = Body { protocol: protocol.into(), from: Some(ports.0), to: Some(ports.1), source, description: Some("temporary".into()) };
    Rule { id: id.into(), body, tags: BTreeMap::new() }
}

fn world() -> Source {
    Source::Ipv4("0.0.0.0/0".into())
}

/// An instance that the world reaches on TCP 22.
fn seen() -> Seen {
    let interface = Interface {
        id: "eni-1".into(),
        subnet: "subnet-1".into(),
        vpc: "vpc-1".into(),
        groups: vec!["sg-1".into()],
        ipv4: vec![("198.51.100.1".into(), Some("eipalloc-1".into()))],
        ipv6: vec![],
    };
    let all = [false, true].map(|egress| entry(100, egress, false, "0.0.0.0/0", None));
    let acl = Acl {
        id: "acl-1".into(),
        owner: None,
        vpc: "vpc-1".into(),
        subnets: vec!["subnet-1".into()],
        tags: BTreeMap::new(),
        entries: all.to_vec(),
    };
    Seen {
        instance: INSTANCE.into(),
        state: "running".into(),
        windows: false,
        interfaces: Ok(vec![interface]),
        rules: Ok(BTreeMap::from([("sg-1".to_owned(), vec![rule("sgr-1", "tcp", (20, 25), world())])])),
        lists: BTreeMap::new(),
        tables: Ok(vec![table(&[("10.0.0.0/16", "local"), ("0.0.0.0/0", "igw-1")])]),
        acls: Ok(vec![acl]),
    }
}

fn judged(seen: &Seen) -> Judged {
    judge(seen, Transport::Tcp, 22)
}

#[test]
fn a_port_is_reachable_when_address_rule_route_and_acl_all_let_it_in_and_each_is_named() {
    let found = judged(&seen());
    assert_eq!(found.reachable, Verdict::Yes);
    let because = found.because.join("\n");
    for id in ["eni-1", "198.51.100.1 (eipalloc-1)", "sgr-1 of sg-1", "igw-1", "rtb-1", "acl-1"] {
        assert!(because.contains(id), "{id}: {because}");
    }
    let open = &found.rules[0];
    assert_eq!((open.port_range.as_str(), open.description.as_deref()), ("20-25", Some("temporary")));
    assert_eq!((found.interfaces[0].route_table.as_deref(), found.interfaces[0].acl.as_deref()), (Some("rtb-1"), Some("acl-1")));
}

#[test]
fn one_that_is_missing_means_no() {
    let missing: [(&str, Spoil); 6] = [
        ("address", |seen| seen.interfaces.as_mut().unwrap()[0].ipv4.clear()),
        ("rule", |seen| seen.rules = Ok(BTreeMap::from([("sg-1".into(), vec![rule("sgr-1", "udp", (22, 22), world())])]))),
        ("rule", |seen| {
            seen.rules = Ok(BTreeMap::from([("sg-1".into(), vec![rule("sgr-1", "tcp", (22, 22), Source::Ipv4("10.0.0.0/8".into()))])]))
        }),
        ("route", |seen| seen.tables = Ok(vec![table(&[("0.0.0.0/0", "nat-1")])])),
        ("entry in", |seen| seen.acls.as_mut().unwrap()[0].entries[0].deny = true),
        ("entry out", |seen| seen.acls.as_mut().unwrap()[0].entries[1].deny = true),
    ];
    for (what, take) in missing {
        let mut seen = seen();
        take(&mut seen);
        let found = judged(&seen);
        assert_eq!(found.reachable, Verdict::No, "{what}: {:?}", found.because);
        assert!(!found.because.is_empty(), "{what}");
    }
}

#[test]
fn what_could_not_be_read_means_unknown_unless_something_else_is_missing() {
    let unread: [Spoil; 4] = [
        |seen| seen.interfaces = Err("denied".into()),
        |seen| seen.rules = Err("denied".into()),
        |seen| seen.tables = Err("denied".into()),
        |seen| seen.acls = Err("denied".into()),
    ];
    for hide in unread {
        let mut seen = seen();
        hide(&mut seen);
        let found = judged(&seen);
        assert_eq!(found.reachable, Verdict::Unknown, "{:?}", found.because);
        assert!(found.because.iter().any(|why| why.contains("denied")));
    }
    let mut closed = seen();
    closed.rules = Err("denied".into());
    closed.tables = Ok(vec![table(&[])]);
    assert_eq!(judged(&closed).reachable, Verdict::No);
}

#[test]
fn a_prefix_list_that_holds_the_world_opens_and_one_that_may_not_be_read_is_not_known() {
    let mut seen = seen();
    seen.rules = Ok(BTreeMap::from([("sg-1".into(), vec![rule("sgr-1", "tcp", (22, 22), Source::PrefixList("pl-1".into()))])]));
    assert_eq!(judged(&seen).reachable, Verdict::No);
    seen.lists = BTreeMap::from([("pl-1".to_owned(), (false, "it holds 0.0.0.0/0".to_owned()))]);
    assert_eq!(judged(&seen).reachable, Verdict::Yes);
    seen.lists = BTreeMap::from([("pl-1".to_owned(), (false, "it could not be read: denied".to_owned()))]);
    assert_eq!(judged(&seen).reachable, Verdict::Unknown);
}

#[test]
fn an_instance_that_is_not_there_is_not_reachable() {
    let mut seen = seen();
    (seen.state, seen.interfaces) = ("not-found".into(), Ok(vec![]));
    let found = judged(&seen);
    assert_eq!((found.reachable, found.because.as_slice()), (Verdict::No, [format!("there is no instance {INSTANCE}")].as_slice()));
}

#[test]
fn ipv6_is_judged_by_its_own_rules_routes_and_entries() {
    let mut seen = seen();
    let interface = &mut seen.interfaces.as_mut().unwrap()[0];
    interface.ipv4.clear();
    interface.ipv6 = vec!["2001:db8::1".into()];
    seen.rules = Ok(BTreeMap::from([("sg-1".into(), vec![rule("sgr-1", "tcp", (22, 22), Source::Ipv6("::/0".into()))])]));
    seen.acls.as_mut().unwrap()[0].entries.extend([false, true].map(|egress| entry(110, egress, false, "::/0", None)));
    for (target, wanted) in [("igw-1", Verdict::Yes), ("eigw-1", Verdict::No)] {
        seen.tables = Ok(vec![table(&[("0.0.0.0/0", "igw-1"), ("::/0", target)])]);
        assert_eq!(judged(&seen).reachable, wanted, "{target}");
    }
}

#[test]
fn routes_lead_to_the_internet_only_through_its_gateway() {
    for (routes, wanted) in [
        (vec![("0.0.0.0/0", "igw-1")], Verdict::Yes),
        (vec![("0.0.0.0/1", "igw-1"), ("128.0.0.0/1", "igw-1")], Verdict::Yes),
        (vec![("0.0.0.0/0", "nat-1")], Verdict::No),
        (vec![("10.0.0.0/16", "local")], Verdict::No),
        (vec![("0.0.0.0/0", "tgw-1")], Verdict::Unknown),
        (vec![("0.0.0.0/0", "vpce-1")], Verdict::Unknown),
        (vec![("203.0.113.0/24", "igw-1")], Verdict::Unknown),
        (vec![("0.0.0.0/0", "igw-1"), ("0.0.0.0/1", "vpce-1")], Verdict::Unknown),
    ] {
        let (verdict, why) = routed(&table(&routes), false);
        assert_eq!(verdict, wanted, "{routes:?}: {why}");
    }
    let mut gone = table(&[("0.0.0.0/0", "igw-1")]);
    gone.routes[0].active = false;
    assert_eq!(routed(&gone, false).0, Verdict::No);
    let main = Table { id: "rtb-0".into(), vpc: "vpc-1".into(), main: true, ..Table::default() };
    let tables = [main, table(&[])];
    let of = |subnet| table_of(&tables, subnet, "vpc-1").map(|table| table.id.as_str());
    assert_eq!((of("subnet-1"), of("subnet-2")), (Some("rtb-1"), Some("rtb-0")));
    assert!(table_of(&tables, "subnet-2", "vpc-2").is_none());
}

#[test]
fn the_first_entry_that_matches_the_world_decides() {
    let port = Some((22, 22));
    let inward = |entries: &[Entry]| pass(entries, false, false, 6, (22, 22));
    let allow = entry(100, false, false, "0.0.0.0/0", None);
    assert_eq!(inward(std::slice::from_ref(&allow)), Pass::Open(100));
    assert_eq!(inward(&[entry(90, false, true, "0.0.0.0/0", port), allow.clone()]), Pass::Closed);
    // One attacker's address less is still the world.
    assert_eq!(inward(&[entry(90, false, true, "203.0.113.9/32", port), allow.clone()]), Pass::Open(100));
    assert_eq!(inward(&[entry(90, false, true, "0.0.0.0/0", Some((80, 80))), allow.clone()]), Pass::Open(100));
    let halves = [entry(90, false, true, "0.0.0.0/1", None), entry(91, false, true, "128.0.0.0/1", None), allow];
    assert_eq!(inward(&halves), Pass::Closed);
    let some = entry(100, false, false, "203.0.113.0/24", None);
    assert_eq!(inward(&[some]), Pass::Partly(100, "203.0.113.0/24".parse().unwrap()));
    assert_eq!(inward(&[entry(100, false, false, "::/0", None)]), Pass::Closed);
}

#[test]
fn a_rule_of_a_family_without_an_address_is_named_and_does_not_reach() {
    let mut seen = seen();
    let six = rule("sgr-6", "tcp", (22, 22), Source::Ipv6("::/0".into()));
    seen.rules.as_mut().unwrap().get_mut("sg-1").unwrap().push(six);
    let found = judged(&seen);
    let reaches: Vec<(&str, bool)> = found.rules.iter().map(|open| (open.rule.as_str(), open.reaches)).collect();
    assert_eq!(reaches, [("sgr-1", true), ("sgr-6", false)]);
    assert!(found.elastic);
}

#[test]
fn the_port_that_is_not_said_is_that_for_logins_of_the_platform() {
    assert_eq!((seen().login_port(), Seen { windows: true, ..seen() }.login_port()), (22, 3389));
}
