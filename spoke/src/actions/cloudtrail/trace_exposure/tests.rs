use cordon_shared::trail::Record;
use serde_json::{Value, json};

use super::{History, Outcome, Params, weigh};
use crate::actions::ec2::{close_open_ingress::Transport, instance_exposure::OpenRule};

const INSTANCE: &str = "i-0123456789abcdef0";

/// A rule of `sg-1` that lets a range in on TCP 20 to 25.
fn rule(id: &str, cidr: &str, reaches: bool) -> OpenRule {
    serde_json::from_value(json!({
        "group": "sg-1", "rule": id, "cidr": cidr, "protocol": "tcp", "from": 20, "to": 25, "port_range": "20-25", "reaches": reaches,
    }))
    .unwrap()
}

/// What records, which are in the order of time, say of rules.
fn weighed(records: Vec<Record>, problem: Option<String>, rules: &[OpenRule]) -> Outcome {
    let with =
        Params { instance: INSTANCE.to_owned(), port: 22, protocol: "tcp".to_owned(), rules: rules.to_vec(), elastic: true, since: None };
    weigh(&History { records, problem, ..History::default() }, Transport::Tcp, &with)
}

fn record(day: u8, name: &str, more: Value) -> Record {
    let mut record = json!({
        "eventID": format!("e-{day}"), "eventTime": format!("2026-11-{day:02}T10:00:00Z"), "eventSource": "ec2.amazonaws.com", "eventName": name,
        "sourceIPAddress": "198.51.100.9", "userIdentity": {"type": "IAMUser", "arn": "arn:aws:iam::111122223333:user/deployer"},
    });
    record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Record::read(&record).unwrap()
}

fn authorized(day: u8, rule: &str, cidr: &str) -> Record {
    let rule = json!({"groupId": "sg-1", "securityGroupRuleId": rule, "ipProtocol": "tcp", "fromPort": 20, "toPort": 25, "cidrIpv4": cidr});
    record(day, "AuthorizeSecurityGroupIngress", json!({"responseElements": {"securityGroupRuleSet": {"items": [rule]}}}))
}

fn modified(day: u8, rule: &str, cidr: &str) -> Record {
    let rule =
        json!({"SecurityGroupRuleId": rule, "SecurityGroupRule": {"IpProtocol": "tcp", "FromPort": 20, "ToPort": 25, "CidrIpv4": cidr}});
    record(
        day,
        "ModifySecurityGroupRules",
        json!({"requestParameters": {"ModifySecurityGroupRulesRequest": {"GroupId": "sg-1", "SecurityGroupRule": rule}}}),
    )
}

fn launched(day: u8) -> Record {
    record(day, "RunInstances", json!({"responseElements": {"instancesSet": {"items": [{"instanceId": INSTANCE}]}}}))
}

#[test]
fn since_is_when_the_last_of_what_was_needed_came_to_be() {
    let since = |records: Vec<Record>| weighed(records, None, &[rule("sgr-1", "0.0.0.0/0", true)]);
    let told = |records: Vec<Record>| since(records).since.map(|since| (since.by.event_id, since.by.call));
    let of = |id: &str, call: &str| Some((id.to_owned(), format!("ec2:{call}")));
    assert_eq!(told(vec![launched(1), authorized(3, "sgr-1", "0.0.0.0/0")]), of("e-3", "AuthorizeSecurityGroupIngress"));
    assert_eq!(told(vec![authorized(3, "sgr-1", "0.0.0.0/0"), launched(5)]), of("e-5", "RunInstances"));
    // A rule that was narrow at first was opened by the change.
    assert_eq!(told(vec![authorized(3, "sgr-1", "10.0.0.0/8"), modified(4, "sgr-1", "0.0.0.0/0")]), of("e-4", "ModifySecurityGroupRules"));
    // One that was open all along was not opened by it.
    assert_eq!(
        told(vec![authorized(3, "sgr-1", "0.0.0.0/0"), modified(4, "sgr-1", "0.0.0.0/0")]),
        of("e-3", "AuthorizeSecurityGroupIngress")
    );
    // A rule of the same words that was revoked is another.
    assert_eq!(told(vec![authorized(3, "sgr-0", "0.0.0.0/0")]), None);
    // Older than all that is known is the rule, not the instance.
    assert_eq!(told(vec![launched(1)]), of("e-1", "RunInstances"));
    assert!(since(vec![]).since_unknown_because.unwrap().contains("no event of the last 90 days opened sgr-1"));
}

#[test]
fn a_rule_of_a_family_without_an_address_tells_nothing_about_since_when() {
    let records = || vec![authorized(2, "sgr-6", "::/0"), authorized(3, "sgr-1", "0.0.0.0/0")];
    let both = |six: bool| [rule("sgr-1", "0.0.0.0/0", true), rule("sgr-6", "::/0", six)];
    assert_eq!(weighed(records(), None, &both(false)).since.unwrap().what, "rule sgr-1 of sg-1 was opened");
    assert_eq!(weighed(records(), None, &both(true)).since.unwrap().what, "rule sgr-6 of sg-1 was opened");
}

#[test]
fn a_record_without_a_rules_id_is_found_by_what_it_says() {
    let asked = |from: u16, to: u16, cidr: &str| {
        let permission = json!({"ipProtocol": "tcp", "fromPort": from, "toPort": to, "ipRanges": {"items": [{"cidrIp": cidr}]}});
        record(
            3,
            "AuthorizeSecurityGroupIngress",
            json!({"requestParameters": {"groupId": "sg-1", "ipPermissions": {"items": [permission]}}}),
        )
    };
    let found = |record| weighed(vec![record], None, &[rule("sgr-1", "0.0.0.0/0", true)]).since.is_some();
    assert!(found(asked(20, 25, "0.0.0.0/0")) && found(asked(20, 25, "198.51.100.7/0")));
    assert!(!found(asked(22, 22, "0.0.0.0/0")) && !found(asked(20, 25, "0.0.0.0/1")));
}

#[test]
fn a_history_that_could_not_be_read_is_no_proof_of_age() {
    let found = weighed(vec![launched(1)], Some("access denied".into()), &[rule("sgr-1", "0.0.0.0/0", true)]);
    assert!(found.since.is_none() && found.since_unknown_because.unwrap().contains("access denied"));
}

#[test]
fn a_rule_whose_opening_is_known_is_told_beside_one_that_is_older() {
    let rules = [rule("sgr-1", "0.0.0.0/0", true), rule("sgr-2", "0.0.0.0/0", true)];
    let found = weighed(vec![authorized(3, "sgr-1", "0.0.0.0/0")], None, &rules);
    let known: Vec<(&str, bool)> = found.rules.iter().map(|rule| (rule.rule.as_str(), rule.since.is_some())).collect();
    assert_eq!(known, [("sgr-1", true), ("sgr-2", false)]);
    assert!(found.since.is_none() && found.since_unknown_because.unwrap().contains("opened sgr-2:"));
}
