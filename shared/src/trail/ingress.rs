//! The inbound rules of security groups that a call made or changed.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{number, text_at};

/// Most rules of one call that are kept.
const MOST: usize = 200;

/// An inbound rule that a call made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// The group.
    pub group: String,
    /// `sgr-…`; `None` where the record does not say.
    pub rule: Option<String>,
    /// `tcp`, `-1`; `None` where a change of a rule left it out.
    pub protocol: Option<String>,
    /// First port.
    pub from: Option<i64>,
    /// Last port.
    pub to: Option<i64>,
    /// The range that is let in.
    pub cidr: Option<String>,
}

/// The rules that a record says were made. Records from before 2021 name no rule's id, and each form of the request is written differently.
pub(super) fn openings(name: &str, document: &Value) -> Vec<Opening> {
    let mut found = match name {
        "AuthorizeSecurityGroupIngress" => {
            let answered = answered(document);
            if answered.is_empty() { asked(document) } else { answered }
        }
        "ModifySecurityGroupRules" => modified(document),
        _ => Vec::new(),
    };
    found.truncate(MOST);
    found
}

/// `items` of a list, as EC2's records have them; a list of one may be the one itself.
pub(super) fn items(list: Option<&Value>) -> Vec<&Value> {
    match list {
        Some(Value::Array(items)) => items.iter().collect(),
        Some(Value::Object(map)) => match map.get("items") {
            Some(Value::Array(items)) => items.iter().collect(),
            Some(one @ Value::Object(_)) => vec![one],
            Some(_) => Vec::new(),
            None if map.is_empty() => Vec::new(),
            None => list.into_iter().collect(),
        },
        _ => Vec::new(),
    }
}

fn answered(document: &Value) -> Vec<Opening> {
    let rules = items(document.pointer("/responseElements/securityGroupRuleSet"));
    let inbound = rules.into_iter().filter(|rule| rule.get("isEgress").and_then(Value::as_bool) != Some(true));
    inbound
        .map(|rule| Opening {
            group: text_at(rule, "/groupId").unwrap_or_default(),
            rule: text_at(rule, "/securityGroupRuleId"),
            protocol: text_at(rule, "/ipProtocol"),
            from: rule.get("fromPort").and_then(number),
            to: rule.get("toPort").and_then(number),
            cidr: text_at(rule, "/cidrIpv4").or_else(|| text_at(rule, "/cidrIpv6")).or_else(|| text_at(rule, "/prefixListId")),
        })
        .collect()
}

fn asked(document: &Value) -> Vec<Opening> {
    let asked = document.get("requestParameters").unwrap_or(&Value::Null);
    let group = text_at(asked, "/groupId").unwrap_or_default();
    let opening = |of: &Value, cidr: Option<String>| Opening {
        group: group.clone(),
        rule: None,
        protocol: text_at(of, "/ipProtocol"),
        from: of.get("fromPort").and_then(number),
        to: of.get("toPort").and_then(number),
        cidr,
    };
    let mut found = Vec::new();
    if let Some(cidr) = text_at(asked, "/cidrIp") {
        found.push(opening(asked, Some(cidr)));
    }
    for permission in items(asked.get("ipPermissions")) {
        for (list, name) in [("ipRanges", "/cidrIp"), ("ipv6Ranges", "/cidrIpv6"), ("prefixListIds", "/prefixListId")] {
            found.extend(items(permission.get(list)).into_iter().map(|range| opening(permission, text_at(range, name))));
        }
    }
    found
}

fn modified(document: &Value) -> Vec<Opening> {
    let asked = document.pointer("/requestParameters/ModifySecurityGroupRulesRequest").unwrap_or(&Value::Null);
    let group = text_at(asked, "/GroupId").unwrap_or_default();
    items(asked.get("SecurityGroupRule"))
        .into_iter()
        .map(|change| {
            let rule = change.get("SecurityGroupRule").unwrap_or(&Value::Null);
            Opening {
                group: group.clone(),
                rule: text_at(change, "/SecurityGroupRuleId"),
                protocol: text_at(rule, "/IpProtocol"),
                from: rule.get("FromPort").and_then(number),
                to: rule.get("ToPort").and_then(number),
                cidr: text_at(rule, "/CidrIpv4").or_else(|| text_at(rule, "/CidrIpv6")).or_else(|| text_at(rule, "/PrefixListId")),
            }
        })
        .collect()
}
