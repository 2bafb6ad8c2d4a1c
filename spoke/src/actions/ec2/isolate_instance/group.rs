//! The isolation group: made, emptied, read back, and told from one that somebody else made.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use aws_sdk_ec2::{
    Client,
    types::{Filter, IpPermission, IpRange, Ipv6Range, ResourceType, SecurityGroup, Tag, TagSpecification, UserIdGroupPair},
};
use cordon_shared::id::IncidentId;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Before, Place};
use crate::{
    action::{ActionError, ApplyError, Cx, classify},
    actions::ec2::{
        look::{Tags, chunks, filter, interfaces, tags},
        nacl::entries::READ_BACK,
    },
    session::{RUN_TAG, STEP_TAG},
};

const CREATE: &str = "ec2:CreateSecurityGroup";
const REVOKE: &str = "ec2:RevokeSecurityGroupEgress";
const AUTHORIZE: &str = "ec2:AuthorizeSecurityGroupEgress";
/// Where Systems Manager is reached.
const HTTPS: i32 = 443;

/// Where an isolation group lets TCP 443 out to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// What is in this group.
    Group(String),
    /// This address.
    Address(IpNet),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(id) => f.write_str(id),
            Self::Address(net) => net.fmt(f),
        }
    }
}

/// The rules of a group, as far as an isolation group may have any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// The rules that AWS gives a new group: everything may leave, by family (`0.0.0.0/0`, `::/0`).
    pub defaults: BTreeSet<&'static str>,
    /// TCP 443 out.
    pub kept: BTreeSet<Target>,
    /// All other rules, in words.
    pub other: Vec<String>,
}

const ALL_IPV4: &str = "0.0.0.0/0";
const ALL_IPV6: &str = "::/0";

impl Rules {
    /// Whether nothing is let in, and nothing out beyond `keep`.
    pub fn within(&self, keep: &BTreeSet<Target>) -> bool {
        self.defaults.is_empty() && self.other.is_empty() && self.kept.is_subset(keep)
    }

    fn of(group: &SecurityGroup) -> Self {
        let mut found = Self::default();
        for wire in group.ip_permissions() {
            found.other.push(format!("ingress {}", words(wire)));
        }
        for wire in group.ip_permissions_egress() {
            found.egress(wire);
        }
        found
    }

    fn egress(&mut self, wire: &IpPermission) {
        let protocol = wire.ip_protocol().unwrap_or("-1");
        let https = protocol == "tcp" && wire.from_port() == Some(HTTPS) && wire.to_port() == Some(HTTPS);
        let ranges = wire.ip_ranges().iter().filter_map(|range| range.cidr_ip());
        let ranges6 = wire.ipv6_ranges().iter().filter_map(|range| range.cidr_ipv6());
        let mut rest = Vec::new();
        for cidr in ranges.chain(ranges6) {
            let single = cidr.parse::<IpNet>().ok().filter(|net| net.prefix_len() == net.max_prefix_len());
            match (cidr, single) {
                (ALL_IPV4, _) if protocol == "-1" => self.defaults.extend([ALL_IPV4]),
                (ALL_IPV6, _) if protocol == "-1" => self.defaults.extend([ALL_IPV6]),
                (_, Some(net)) if https => self.kept.extend([Target::Address(net)]),
                _ => rest.push(cidr.to_owned()),
            }
        }
        for id in wire.user_id_group_pairs().iter().filter_map(|pair| pair.group_id()) {
            if https { self.kept.extend([Target::Group(id.to_owned())]) } else { rest.push(id.to_owned()) }
        }
        rest.extend(wire.prefix_list_ids().iter().filter_map(|list| list.prefix_list_id()).map(str::to_owned));
        if !rest.is_empty() {
            self.other.push(format!("egress {} to {}", ports(wire), rest.join(", ")));
        }
    }
}

fn ports(wire: &IpPermission) -> String {
    match (wire.ip_protocol().unwrap_or("-1"), wire.from_port(), wire.to_port()) {
        ("-1", ..) => "all".to_owned(),
        (protocol, Some(from), Some(to)) if from == to => format!("{protocol}/{from}"),
        (protocol, Some(from), Some(to)) => format!("{protocol}/{from}-{to}"),
        (protocol, ..) => protocol.to_owned(),
    }
}

fn words(wire: &IpPermission) -> String {
    let ranges = wire.ip_ranges().iter().filter_map(|range| range.cidr_ip());
    let ranges6 = wire.ipv6_ranges().iter().filter_map(|range| range.cidr_ipv6());
    let groups = wire.user_id_group_pairs().iter().filter_map(|pair| pair.group_id());
    let lists = wire.prefix_list_ids().iter().filter_map(|list| list.prefix_list_id());
    let all: Vec<&str> = ranges.chain(ranges6).chain(groups).chain(lists).collect();
    format!("{} from {}", ports(wire), all.join(", "))
}

/// A security group.
#[derive(Debug, Clone)]
pub struct Group {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its tags.
    pub tags: Tags,
    /// Its rules.
    pub rules: Rules,
}

impl Group {
    /// The incident whose isolation group of this VPC it is, by tag and name.
    pub fn incident(&self, vpc: &str) -> Option<IncidentId> {
        let run: IncidentId = self.tags.get(RUN_TAG)?.parse().ok()?;
        (self.tags.contains_key(STEP_TAG) && self.name == name(run, vpc)).then_some(run)
    }
}

impl From<&SecurityGroup> for Group {
    fn from(wire: &SecurityGroup) -> Self {
        Self {
            id: wire.group_id().unwrap_or_default().to_owned(),
            name: wire.group_name().unwrap_or_default().to_owned(),
            tags: tags(wire.tags()),
            rules: Rules::of(wire),
        }
    }
}

/// Whether two lists name the same groups.
pub fn same(one: &[String], other: &[String]) -> bool {
    let set = |list: &[String]| list.iter().cloned().collect::<BTreeSet<_>>();
    set(one) == set(other)
}

fn name(run: IncidentId, vpc: &str) -> String {
    format!("cordon-{run}-{vpc}")
}

async fn described(client: &Client, filters: Vec<Filter>) -> Result<Vec<Group>, ActionError> {
    let pages = client.describe_security_groups().set_filters(Some(filters)).into_paginator().items().send();
    let found = pages.collect::<Result<Vec<_>, _>>().await.map_err(|error| classify("ec2:DescribeSecurityGroups", error))?;
    Ok(found.iter().map(Group::from).collect())
}

/// The groups with these ids; those that do not exist are missing in the answer.
pub async fn by_id(client: &Client, ids: BTreeSet<String>) -> Result<BTreeMap<String, Group>, ActionError> {
    let ids: Vec<String> = ids.into_iter().collect();
    let mut found = BTreeMap::new();
    for ids in chunks(&ids) {
        let groups = described(client, vec![filter("group-id", ids)]).await?;
        found.extend(groups.into_iter().map(|group| (group.id.clone(), group)));
    }
    Ok(found)
}

/// The group of this place, whoever made it.
pub async fn find(client: &Client, place: &Place) -> Result<Option<Group>, ActionError> {
    let filters = vec![filter("group-name", [&place.name]), filter("vpc-id", [&place.vpc])];
    Ok(described(client, filters).await?.into_iter().find(|group| group.name == place.name))
}

/// What is known of a VPC, and how its isolation group is called.
pub async fn place(cx: Cx<'_>, client: &Client, vpc: &str, keep: BTreeSet<Target>, notes: &mut Vec<String>) -> Result<Place, ActionError> {
    let pages = client.describe_vpcs().filters(filter("vpc-id", [vpc])).into_paginator().items().send();
    let found = pages.collect::<Result<Vec<_>, _>>().await.map_err(|error| classify("ec2:DescribeVpcs", error))?;
    let wire = found.first();
    let account = cx.cell.account.as_str();
    let owner = wire.and_then(|vpc| vpc.owner_id()).unwrap_or(account);
    if owner != account {
        // https://docs.aws.amazon.com/vpc/latest/userguide/vpc-share-limitations.html: groups are the participant's own.
        notes.push(format!("VPC {vpc} is shared by account {owner}: the isolation group is made in it and belongs to account {account}"));
    }
    let ipv6 = wire.is_some_and(|vpc| !vpc.ipv6_cidr_block_association_set().is_empty());
    Ok(Place { vpc: vpc.to_owned(), owner: owner.to_owned(), name: name(cx.run, vpc), ipv6, keep })
}

/// Whether a group that is there may be used, or why not. Its name and tags can be forged: also its rules must be those that AWS gives a new
/// group or that we leave it, and nobody else's interface may be in it.
pub async fn usable(
    client: &Client,
    group: &Group,
    run: IncidentId,
    place: &Place,
    instance: &str,
) -> Result<Result<(), String>, ActionError> {
    let (id, name) = (&group.id, &group.name);
    let taken =
        |why: String| Ok(Err(format!("{id} is called `{name}` like the isolation group, and {why}. Look who made it, and remove it")));
    if group.incident(&place.vpc) != Some(run) {
        return taken(format!("it does not carry the tags of {run}"));
    }
    let foreign = group.rules.kept.difference(&place.keep).map(|target| format!("egress tcp/{HTTPS} to {target}"));
    let foreign: Vec<String> = group.rules.other.iter().cloned().chain(foreign).collect();
    if !foreign.is_empty() {
        return taken(format!("it has rules that are not Cordon's: {}", foreign.join("; ")));
    }
    let users = interfaces(client, Some(filter("group-id", [id]))).await?;
    let strangers: Vec<&str> =
        users.iter().filter(|user| user.instance.as_deref() != Some(instance)).map(|user| user.id.as_str()).collect();
    if strangers.is_empty() { Ok(Ok(())) } else { taken(format!("other interfaces are in it: {}", strangers.join(", "))) }
}

fn not_ours(why: String) -> ActionError {
    ActionError::Service { call: CREATE.to_owned(), code: "GroupNotOurs".to_owned(), message: why }
}

/// The id of the place's isolation group, which lets nothing through but what is kept: found, or made. `done` counts calls that took effect.
pub async fn ensure(
    cx: Cx<'_>,
    write: &Client,
    place: &Place,
    before: &Before,
    instance: &str,
    done: &mut usize,
) -> Result<String, ApplyError> {
    let read = cx.read.ec2();
    let mut owed: BTreeSet<&'static str> = BTreeSet::new();
    let found = find(&read, place).await.map_err(|error| ApplyError::after(*done, error))?;
    let id = match found {
        Some(group) => checked(&read, group, cx, place, instance, *done).await?,
        None => match create(cx, write, place, before).await {
            Ok(id) => {
                *done += 1;
                // https://docs.aws.amazon.com/vpc/latest/userguide/creating-security-groups.html: a new group lets everything out.
                owed.insert(ALL_IPV4);
                if place.ipv6 {
                    owed.insert(ALL_IPV6);
                }
                id
            }
            Err(ActionError::Service { code, .. }) if code == "InvalidGroup.Duplicate" => {
                let group = appears(&read, place, *done).await?;
                checked(&read, group, cx, place, instance, *done).await?
            }
            Err(error) => return Err(ApplyError::after(*done, error)),
        },
    };
    close(&read, write, &id, place, owed, done).await?;
    Ok(id)
}

async fn checked(read: &Client, group: Group, cx: Cx<'_>, place: &Place, instance: &str, done: usize) -> Result<String, ApplyError> {
    let usable = usable(read, &group, cx.run, place, instance).await.map_err(|error| ApplyError::after(done, error))?;
    usable.map_err(|why| ApplyError::after(done, not_ours(why)))?;
    Ok(group.id)
}

/// A group that AWS says is there, and does not show yet.
async fn appears(read: &Client, place: &Place, done: usize) -> Result<Group, ApplyError> {
    for wait in READ_BACK {
        tokio::time::sleep(wait).await;
        if let Some(group) = find(read, place).await.map_err(|error| ApplyError::after(done, error))? {
            return Ok(group);
        }
    }
    let message = format!("AWS says that there is a group `{}` in {} and does not show it", place.name, place.vpc);
    Err(ApplyError::after(done, ActionError::Service { call: CREATE.to_owned(), code: "NotReadBack".to_owned(), message }))
}

async fn create(cx: Cx<'_>, write: &Client, place: &Place, before: &Before) -> Result<String, ActionError> {
    let tag = |key: &str, value: String| Tag::builder().key(key).value(value).build();
    let tags = TagSpecification::builder()
        .resource_type(ResourceType::SecurityGroup)
        .tags(tag(RUN_TAG, before.run.clone()))
        .tags(tag(STEP_TAG, cx.step.to_string().replace('#', ":")))
        .build();
    let call = write
        .create_security_group()
        .group_name(&place.name)
        .description(format!("Cordon isolates what is in this group ({})", before.run))
        .vpc_id(&place.vpc)
        .tag_specifications(tags);
    let made = call.send().await.map_err(|error| classify(CREATE, error))?;
    made.group_id()
        .map(str::to_owned)
        .ok_or_else(|| ActionError::Transient { call: CREATE.to_owned(), message: "the answer names no group".to_owned() })
}

fn everything(family: &str) -> IpPermission {
    let wire = IpPermission::builder().ip_protocol("-1");
    if family == ALL_IPV4 {
        wire.ip_ranges(IpRange::builder().cidr_ip(ALL_IPV4).build()).build()
    } else {
        wire.ipv6_ranges(Ipv6Range::builder().cidr_ipv6(ALL_IPV6).build()).build()
    }
}

fn https(target: &Target) -> IpPermission {
    let wire = IpPermission::builder().ip_protocol("tcp").from_port(HTTPS).to_port(HTTPS);
    match target {
        Target::Group(id) => wire.user_id_group_pairs(UserIdGroupPair::builder().group_id(id).build()),
        Target::Address(net @ IpNet::V4(_)) => wire.ip_ranges(IpRange::builder().cidr_ip(net.to_string()).build()),
        Target::Address(net @ IpNet::V6(_)) => wire.ipv6_ranges(Ipv6Range::builder().cidr_ipv6(net.to_string()).build()),
    }
    .build()
}

/// Revokes one default rule, on its own: AWS revokes none of a call when it does not know one of them. `false`: ask again.
async fn revoke(write: &Client, id: &str, family: &str, done: &mut usize) -> Result<bool, ApplyError> {
    let call = write.revoke_security_group_egress().group_id(id).ip_permissions(everything(family));
    match call.send().await.map_err(|error| classify(REVOKE, error)) {
        Ok(_) => {
            *done += 1;
            Ok(true)
        }
        // No such rule, or no such group yet.
        Err(ActionError::Gone { message, .. }) => Ok(message.starts_with("InvalidPermission.")),
        Err(error) => Err(ApplyError::after(*done, error)),
    }
}

/// Takes away what AWS gave the group, opens what is kept, and reads back. `owed` are rules that were not seen and are there all the same:
/// a group that was just made may be read before its rules can be.
async fn close(
    read: &Client,
    write: &Client,
    id: &str,
    place: &Place,
    mut owed: BTreeSet<&'static str>,
    done: &mut usize,
) -> Result<(), ApplyError> {
    let mut last = "it is not shown".to_owned();
    for wait in READ_BACK {
        for family in owed.clone() {
            if revoke(write, id, family, done).await? {
                owed.remove(family);
            }
        }
        tokio::time::sleep(wait).await;
        let groups = by_id(read, [id.to_owned()].into()).await.map_err(|error| ApplyError::after(*done, error))?;
        let Some(group) = groups.get(id) else { continue };
        let rules = &group.rules;
        if !rules.other.is_empty() || !rules.kept.is_subset(&place.keep) {
            let why = format!("{id} (`{}`) was given rules while it was made: {rules:?}. Look who did it", place.name);
            return Err(ApplyError::after(*done, not_ours(why)));
        }
        let missing: Vec<IpPermission> = place.keep.difference(&rules.kept).map(https).collect();
        if rules.defaults.is_empty() && missing.is_empty() && owed.is_empty() {
            return Ok(());
        }
        last = format!("it lets out {:?}, and {} kept rules are missing", rules.defaults, missing.len());
        owed.extend(&rules.defaults);
        if rules.defaults.is_empty() && !missing.is_empty() {
            let call = write.authorize_security_group_egress().group_id(id).set_ip_permissions(Some(missing));
            match call.send().await.map_err(|error| classify(AUTHORIZE, error)) {
                Ok(_) => *done += 1,
                Err(ActionError::Gone { .. }) => {}
                Err(ActionError::Service { code, .. }) if code == "InvalidPermission.Duplicate" => {}
                Err(error) => return Err(ApplyError::after(*done, error)),
            }
        }
    }
    let message = format!("{id} could not be closed before anything is moved into it: {last}. Nothing was moved");
    Err(ApplyError::after(*done, ActionError::Service { call: REVOKE.to_owned(), code: "NotReadBack".to_owned(), message }))
}
