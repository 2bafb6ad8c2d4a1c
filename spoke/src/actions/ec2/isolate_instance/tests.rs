//! Bindings, sessions, and what a group's rules come to.

use aws_sdk_ec2::types::{IpPermission, IpRange, Ipv6Range, SecurityGroup, Tag, UserIdGroupPair};
use cordon_shared::id::{CellId, IncidentId};

use super::{
    group::{Rules, same},
    *,
};
use crate::permission::{PolicyError, SESSION_POLICY_LIMIT, Scope};

fn before(interfaces: usize, groups: usize, each: usize) -> Before {
    let vpc = "vpc-0123456789abcdef0";
    let nic = |n: usize| Nic {
        id: format!("eni-0123456789abcde{n:02}"),
        vpc: vpc.to_owned(),
        subnet: "subnet-1".to_owned(),
        groups: (0..each).map(|k| format!("sg-0123456789abcd{:03}", (n * each + k) % groups)).collect(),
        private: Vec::new(),
        public: Vec::new(),
        elastic_ips: Vec::new(),
    };
    let run = IncidentId::from_u128(7);
    let place = Place {
        vpc: vpc.to_owned(),
        owner: "111122223333".to_owned(),
        name: format!("cordon-{run}-{vpc}"),
        ipv6: true,
        keep: BTreeSet::new(),
    };
    Before {
        run: run.to_string(),
        places: vec![place],
        interfaces: (0..interfaces).map(nic).collect(),
        isolated: BTreeMap::new(),
        refused: Vec::new(),
    }
}

fn scopes(before: &Before) -> Result<Vec<Scope>, PolicyError> {
    let cell = CellId::new("111122223333".parse().unwrap(), "ap-southeast-1".parse().unwrap());
    let with: Params = serde_json::from_value(json!({ "instance": "i-1" })).unwrap();
    write_policies(IsolateInstance::WRITES, &cell, &IsolateInstance.bind(&with, before))
}

#[test]
fn the_write_sessions_of_fifteen_interfaces_are_narrowed_to_each() {
    for (groups, each) in [(1, 1), (3, 3), (15, 1)] {
        let before = before(15, groups, each);
        let scopes = scopes(&before).unwrap();
        assert!(scopes.iter().all(|scope| scope.policy.chars().count() <= SESSION_POLICY_LIMIT));
        for nic in &before.interfaces {
            assert!(scopes.iter().any(|scope| covers(&scope.bindings, nic)), "{groups} {each} {}", nic.id);
        }
        for scope in &scopes {
            assert!(!scope.policy.contains("network-interface/*") && scope.policy.contains("vpc/vpc-0123456789abcdef0"));
        }
    }
}

#[test]
fn a_session_reaches_the_groups_of_its_incident_and_those_that_it_found() {
    let scopes = scopes(&before(2, 2, 1)).unwrap();
    assert_eq!(scopes.len(), 1);
    let policy: serde_json::Value = serde_json::from_str(&scopes[0].policy).unwrap();
    for statement in policy["Statement"].as_array().unwrap() {
        let text = statement.to_string();
        // Groups that are not named are reached by the incident's tag alone.
        let any = text.contains("security-group/*");
        assert_eq!(any, text.contains(&format!("\"{}\"", IncidentId::from_u128(7))), "{text}");
        assert!(!text.contains("DeleteSecurityGroup") || text.contains("aws:ResourceTag/cordon:run"), "{text}");
    }
}

fn egress(protocol: &str, port: Option<i32>, cidrs: &[&str], groups: &[&str]) -> IpPermission {
    let (six, four): (Vec<&str>, Vec<&str>) = cidrs.iter().partition(|cidr| cidr.contains(':'));
    IpPermission::builder()
        .ip_protocol(protocol)
        .set_from_port(port)
        .set_to_port(port)
        .set_ip_ranges(Some(four.into_iter().map(|cidr| IpRange::builder().cidr_ip(cidr).build()).collect()))
        .set_ipv6_ranges(Some(six.into_iter().map(|cidr| Ipv6Range::builder().cidr_ipv6(cidr).build()).collect()))
        .set_user_id_group_pairs(Some(groups.iter().map(|id| UserIdGroupPair::builder().group_id(*id).build()).collect()))
        .build()
}

fn rules(ingress: Vec<IpPermission>, egress: Vec<IpPermission>) -> Rules {
    let wire = SecurityGroup::builder().set_ip_permissions(Some(ingress)).set_ip_permissions_egress(Some(egress)).build();
    Group::from(&wire).rules
}

#[test]
fn the_rules_that_aws_gives_are_told_from_those_of_others() {
    let none = BTreeSet::new();
    let new = rules(vec![], vec![egress("-1", None, &["0.0.0.0/0", "::/0"], &[])]);
    assert!(new.other.is_empty() && new.defaults.len() == 2 && !new.within(&none));
    assert!(rules(vec![], vec![]).within(&none));
    let keep: BTreeSet<Target> = [Target::Group("sg-e".to_owned()), Target::Address("10.0.0.9/32".parse().unwrap())].into();
    let kept = rules(vec![], vec![egress("tcp", Some(443), &["10.0.0.9/32"], &["sg-e"])]);
    assert!(kept.within(&keep) && !kept.within(&none) && kept.kept == keep);
    for foreign in [
        rules(vec![egress("-1", None, &["0.0.0.0/0"], &[])], vec![]),
        rules(vec![], vec![egress("tcp", Some(443), &["0.0.0.0/0"], &[])]),
        rules(vec![], vec![egress("tcp", Some(443), &["10.0.0.0/8"], &[])]),
        rules(vec![], vec![egress("tcp", Some(22), &[], &["sg-e"])]),
        rules(vec![], vec![egress("-1", None, &[], &["sg-e"])]),
        rules(vec![], vec![egress("-1", None, &["10.0.0.9/32"], &[])]),
    ] {
        assert!(!foreign.other.is_empty() && !foreign.within(&keep), "{foreign:?}");
    }
}

#[test]
fn an_isolation_group_is_known_by_name_and_tags_together() {
    let run = IncidentId::from_u128(7);
    let group = |name: &str, tags: &[(&str, &str)]| {
        let tags = tags.iter().map(|(key, value)| Tag::builder().key(*key).value(*value).build()).collect();
        Group::from(&SecurityGroup::builder().group_name(name).set_tags(Some(tags)).build())
    };
    let (name, text) = (format!("cordon-{run}-vpc-1"), run.to_string());
    let tags = [("cordon:run", text.as_str()), ("cordon:step", "isolate")];
    assert_eq!(group(&name, &tags).incident("vpc-1"), Some(run));
    assert_eq!(group(&name, &tags).incident("vpc-2"), None);
    assert_eq!(group(&name, &tags[..1]).incident("vpc-1"), None);
    assert_eq!(group("cordon-other-vpc-1", &tags).incident("vpc-1"), None);
    assert_eq!(group(&name, &[("cordon:run", "inc-1"), ("cordon:step", "isolate")]).incident("vpc-1"), None);
}

#[test]
fn groups_are_the_same_in_any_order() {
    let list = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    assert!(same(&list(&["sg-1", "sg-2"]), &list(&["sg-2", "sg-1"])));
    assert!(!same(&list(&["sg-1"]), &list(&["sg-1", "sg-2"])));
}
