//! The calls about security groups.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use aws_sdk_ec2::{
    Client,
    types::{IpPermission, IpRange, Ipv6Range, PrefixListId, SecurityGroup, SecurityGroupRule, UserIdGroupPair},
};

use super::{
    Family,
    rule::{Body, Breadth, Rule, RuleKey, Source, breadth},
};
use crate::{
    action::{ActionError, ApplyError, classify},
    actions::ec2::look::{chunks, filter, tags},
};

/// How often and after which waits a change is read back before it counts as not there. EC2 is eventually consistent
/// (<https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html>).
const READ_BACK: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// The groups with these ids; those that do not exist are missing in the answer.
pub(super) async fn groups(client: &Client, ids: &[String]) -> Result<Vec<SecurityGroup>, ActionError> {
    let mut found = Vec::new();
    for ids in chunks(ids) {
        let pages = client.describe_security_groups().filters(filter("group-id", ids)).into_paginator().items().send();
        found.extend(pages.collect::<Result<Vec<_>, _>>().await.map_err(|error| classify("ec2:DescribeSecurityGroups", error))?);
    }
    found.sort_by(|one, other| one.group_id().cmp(&other.group_id()));
    Ok(found)
}

/// The inbound rules of these groups, by group.
pub(in crate::actions::ec2) async fn rules(client: &Client, ids: &[String]) -> Result<BTreeMap<String, Vec<Rule>>, ActionError> {
    let mut found: BTreeMap<String, Vec<Rule>> = ids.iter().map(|id| (id.clone(), Vec::new())).collect();
    for ids in chunks(ids) {
        let pages = client.describe_security_group_rules().filters(filter("group-id", ids)).into_paginator().items().send();
        let rules = pages.collect::<Result<Vec<_>, _>>().await.map_err(|error| classify("ec2:DescribeSecurityGroupRules", error))?;
        for wire in rules.iter().filter(|rule| rule.is_egress() != Some(true)) {
            let group = wire.group_id().unwrap_or_default();
            let rule = rule(wire).ok_or_else(|| ActionError::Service {
                call: "ec2:DescribeSecurityGroupRules".to_owned(),
                code: "UnknownRule".to_owned(),
                message: format!(
                    "rule {} of {group} has no source that Cordon knows",
                    wire.security_group_rule_id().unwrap_or("without id")
                ),
            })?;
            found.entry(group.to_owned()).or_default().push(rule);
        }
    }
    for rules in found.values_mut() {
        rules.sort_by_cached_key(|rule| (rule.body.key(), rule.id.clone()));
    }
    Ok(found)
}

/// The inbound rules of one group.
pub(super) async fn rules_of(client: &Client, group: &str) -> Result<Vec<Rule>, ActionError> {
    Ok(rules(client, &[group.to_owned()]).await?.remove(group).unwrap_or_default())
}

fn rule(wire: &SecurityGroupRule) -> Option<Rule> {
    let text = str::to_owned;
    let source = match (wire.cidr_ipv4(), wire.cidr_ipv6(), wire.prefix_list_id(), wire.referenced_group_info()) {
        (Some(cidr), ..) => Source::Ipv4(text(cidr)),
        (_, Some(cidr), ..) => Source::Ipv6(text(cidr)),
        (_, _, Some(list), _) => Source::PrefixList(text(list)),
        (_, _, _, Some(group)) => Source::Group(text(group.group_id().or_else(|| group.vpc_peering_connection_id()).unwrap_or_default())),
        _ => return None,
    };
    let mut body = Body {
        protocol: wire.ip_protocol().unwrap_or("-1").to_owned(),
        from: wire.from_port(),
        to: wire.to_port(),
        source,
        description: wire.description().filter(|text| !text.is_empty()).map(text),
    };
    if body.is_all_traffic() {
        (body.from, body.to) = (None, None);
    }
    Some(Rule { id: wire.security_group_rule_id().unwrap_or_default().to_owned(), body, tags: tags(wire.tags()) })
}

fn permission(body: &Body, described: bool) -> IpPermission {
    let description = body.description.clone().filter(|_| described);
    let wire = IpPermission::builder().ip_protocol(&body.protocol).set_from_port(body.from).set_to_port(body.to);
    match &body.source {
        Source::Ipv4(cidr) => wire.ip_ranges(IpRange::builder().cidr_ip(cidr).set_description(description).build()),
        Source::Ipv6(cidr) => wire.ipv6_ranges(Ipv6Range::builder().cidr_ipv6(cidr).set_description(description).build()),
        Source::PrefixList(id) => wire.prefix_list_ids(PrefixListId::builder().prefix_list_id(id).set_description(description).build()),
        Source::Group(id) => wire.user_id_group_pairs(UserIdGroupPair::builder().group_id(id).set_description(description).build()),
    }
    .build()
}

/// A rule as `--ip-permissions` of the AWS command line takes it.
pub(super) fn as_cli(body: &Body) -> String {
    let mut source = serde_json::Map::new();
    let (list, key) = match &body.source {
        Source::Ipv4(_) => ("IpRanges", "CidrIp"),
        Source::Ipv6(_) => ("Ipv6Ranges", "CidrIpv6"),
        Source::PrefixList(_) => ("PrefixListIds", "PrefixListId"),
        Source::Group(_) => ("UserIdGroupPairs", "GroupId"),
    };
    source.insert(key.to_owned(), body.source.to_string().into());
    if let Some(description) = &body.description {
        source.insert("Description".to_owned(), description.as_str().into());
    }
    let mut wire = serde_json::Map::new();
    wire.insert("IpProtocol".to_owned(), body.protocol.as_str().into());
    for (key, port) in [("FromPort", body.from), ("ToPort", body.to)] {
        if let Some(port) = port {
            wire.insert(key.to_owned(), port.into());
        }
    }
    wire.insert(list.to_owned(), serde_json::Value::Array(vec![source.into()]));
    serde_json::Value::Array(vec![wire.into()]).to_string()
}

const AUTHORIZE: &str = "ec2:AuthorizeSecurityGroupIngress";
const REVOKE: &str = "ec2:RevokeSecurityGroupIngress";

fn is(error: &ActionError, wanted: &str) -> bool {
    matches!(error, ActionError::Service { code, .. } if code == wanted)
}

/// Makes rules that are not there yet and reads them back. `done` counts calls that took effect. When the group can take no more rules,
/// those that were made are taken away again and nothing has changed.
pub(super) async fn authorize(read: &Client, write: &Client, group: &str, wanted: &[Body], done: &mut usize) -> Result<(), ApplyError> {
    let before = *done;
    let at_first = keys(&rules_of(read, group).await.map_err(|error| ApplyError::after(*done, error))?);
    let missing: Vec<&Body> = wanted.iter().filter(|body| !at_first.contains(&body.key())).collect();
    if missing.is_empty() {
        return Ok(());
    }
    match authorize_call(write, group, &missing).await {
        Ok(()) => *done += 1,
        Err(error) if is(&error, "InvalidPermission.Duplicate") => {
            // Some are there: made in between, or by a call whose answer was lost.
            for body in &missing {
                match authorize_call(write, group, &[body]).await {
                    Ok(()) => *done += 1,
                    Err(error) if is(&error, "InvalidPermission.Duplicate") => {}
                    Err(error) => return Err(withdraw(read, write, group, &missing, &at_first, before, error).await),
                }
            }
        }
        Err(error) => return Err(withdraw(read, write, group, &missing, &at_first, before, error).await),
    }
    let mut absent = String::new();
    for wait in READ_BACK {
        tokio::time::sleep(wait).await;
        let there = keys(&rules_of(read, group).await.map_err(|error| ApplyError::after(*done, error))?);
        match wanted.iter().find(|body| !there.contains(&body.key())) {
            None => return Ok(()),
            Some(body) => absent = body.to_string(),
        }
    }
    let message = format!("`{absent}` was authorized in {group} and cannot be read back; the wide rule was not revoked");
    Err(ApplyError::after(*done, ActionError::Service { call: AUTHORIZE.to_owned(), code: "NotReadBack".to_owned(), message }))
}

async fn authorize_call(write: &Client, group: &str, bodies: &[&Body]) -> Result<(), ActionError> {
    let permissions = bodies.iter().map(|body| permission(body, true)).collect();
    let call = write.authorize_security_group_ingress().group_id(group).set_ip_permissions(Some(permissions));
    call.send().await.map(|_| ()).map_err(|error| classify(AUTHORIZE, error))
}

/// After an authorization that AWS refused: what it made all the same is taken away, so that nothing has changed.
async fn withdraw(
    read: &Client,
    write: &Client,
    group: &str,
    missing: &[&Body],
    at_first: &BTreeSet<RuleKey>,
    before: usize,
    error: ActionError,
) -> ApplyError {
    if !matches!(error, ActionError::Service { .. }) {
        return ApplyError::after(before, error);
    }
    let Ok(there) = rules_of(read, group).await.map(|rules| keys(&rules)) else { return ApplyError::after(before + 1, error) };
    let made = missing.iter().filter(|body| there.contains(&body.key()) && !at_first.contains(&body.key()));
    let made: Vec<Body> = made.map(|body| (*body).clone()).collect();
    match revoke(read, write, group, &made, &mut 0).await {
        Ok(()) => ApplyError::after(before, error),
        Err(_) => ApplyError::after(before + 1, error),
    }
}

/// How rules are revoked. AWS revokes none of a call when it does not know one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// By what they say, all in one call.
    Together,
    /// By what they say, one by one.
    Apart,
    /// By their ids: where AWS does not know a rule by what it just said of it.
    ById,
}

impl How {
    fn next(self) -> Self {
        if self == Self::Together { Self::Apart } else { Self::ById }
    }
}

async fn revoke_call(write: &Client, group: &str, rules: &[&Rule], how: How) -> Result<(), ActionError> {
    let call = write.revoke_security_group_ingress().group_id(group);
    let by_id = how == How::ById && rules.iter().all(|rule| !rule.id.is_empty());
    let call = if by_id {
        call.set_security_group_rule_ids(Some(rules.iter().map(|rule| rule.id.clone()).collect()))
    } else {
        call.set_ip_permissions(Some(rules.iter().map(|rule| permission(&rule.body, false)).collect()))
    };
    call.send().await.map(|_| ()).map_err(|error| classify(REVOKE, error))
}

/// Revokes rules by what they say, so that a rule that was changed in between is not hit, and reads back that they are gone.
pub(super) async fn revoke(read: &Client, write: &Client, group: &str, unwanted: &[Body], done: &mut usize) -> Result<(), ApplyError> {
    let unwanted_keys: BTreeSet<RuleKey> = unwanted.iter().map(Body::key).collect();
    let mut how = How::Together;
    let mut last = String::new();
    for wait in READ_BACK {
        tokio::time::sleep(wait).await;
        let current = rules_of(read, group).await.map_err(|error| ApplyError::after(*done, error))?;
        let present: Vec<&Rule> = current.iter().filter(|rule| unwanted_keys.contains(&rule.body.key())).collect();
        let Some(first) = present.first() else { return Ok(()) };
        last = first.body.to_string();
        let mut unknown = false;
        for rules in present.chunks(if how == How::Together { present.len() } else { 1 }) {
            match revoke_call(write, group, rules, how).await {
                Ok(()) => *done += 1,
                Err(ActionError::Gone { .. }) => unknown = true,
                Err(error) => return Err(ApplyError::after(*done, error)),
            }
        }
        if unknown {
            how = how.next();
        }
    }
    let message = format!("`{last}` was revoked in {group} and can still be read");
    Err(ApplyError::after(*done, ActionError::Service { call: REVOKE.to_owned(), code: "NotReadBack".to_owned(), message }))
}

pub(super) fn keys(rules: &[Rule]) -> BTreeSet<RuleKey> {
    rules.iter().map(|rule| rule.body.key()).collect()
}

/// What is known of a prefix list that a rule uses.
#[derive(Debug, Clone)]
pub(in crate::actions::ec2) struct List {
    /// Its family, where it is open to the world or may be.
    pub open: Option<Family>,
    /// Why a person should look.
    pub why: String,
}

/// Looks into prefix lists. A list that cannot be read counts as open to the world.
pub(in crate::actions::ec2) async fn lists(client: &Client, ids: &BTreeSet<String>) -> Result<BTreeMap<String, List>, ActionError> {
    let mut found = BTreeMap::new();
    for id in ids {
        let pages = client.describe_managed_prefix_lists().prefix_list_ids(id).into_paginator().items().send();
        let described = pages.collect::<Result<Vec<_>, _>>().await.map_err(|error| classify("ec2:DescribeManagedPrefixLists", error))?;
        let list = described.first();
        if list.and_then(|list| list.owner_id()) == Some("AWS") {
            found.insert(id.clone(), List { open: None, why: "AWS keeps it".to_owned() });
            continue;
        }
        let family = if list.and_then(|list| list.address_family()) == Some("IPv6") { Family::Ipv6 } else { Family::Ipv4 };
        let pages = client.get_managed_prefix_list_entries().prefix_list_id(id).into_paginator().items().send();
        let entries = pages.collect::<Result<Vec<_>, _>>().await.map_err(|error| classify("ec2:GetManagedPrefixListEntries", error));
        let known = match entries {
            Ok(entries) => {
                let world = entries.iter().filter_map(|entry| entry.cidr()).find(|cidr| breadth(cidr) == Breadth::World);
                let why = world.map_or_else(|| "it holds no range that is open to the world".to_owned(), |cidr| format!("it holds {cidr}"));
                List { open: world.map(|_| family), why }
            }
            Err(error @ (ActionError::Denied(_) | ActionError::Gone { .. } | ActionError::Service { .. })) => {
                List { open: Some(family), why: format!("it could not be read: {error}") }
            }
            Err(error) => return Err(error),
        };
        found.insert(id.clone(), known);
    }
    Ok(found)
}
