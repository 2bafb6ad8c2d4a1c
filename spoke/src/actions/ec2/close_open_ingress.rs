//! `ec2.close-open-ingress`: closes ports of security groups to the world, and to nobody else.
//!
//! Of every rule that is open to the world on an attacked port ([`rule::breadth`]) the other ports stay open: narrower rules for them
//! are authorized and read back, then the wide rule is revoked, so that no rightful port is closed for an instant. Rules for narrower
//! ranges and for other groups stand untouched. A rule is revoked by what it says, not by its id: that is AWS's only compare-and-delete.

mod apply;
mod notes;
mod ports;
mod restore;
mod rule;
mod split;
#[cfg(test)]
mod tests;
mod undo;
mod wire;

use std::collections::{BTreeMap, BTreeSet};

use cordon_shared::plan::{Change as Difference, ChangeKey, Plan as Planned, Risk, Seat, Verdict};
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(in crate::actions) use self::rule::{Body, Breadth, Source, Transport, breadth};
use self::{
    ports::PortSet,
    split::{Closing, Order, Part, close, open},
};
pub(super) use self::{
    rule::Rule,
    wire::{lists, rules},
};
use crate::{
    action::{ActionError, ApplyError, Change, Cx, ParamsError, Plan, Progress, Undo, Write},
    actions::ec2::look::{Subject, interfaces, pairs, subject},
    permission::{Bindings, Permission, write_policy},
};

/// Closes ports of security groups that are open to the world.
#[derive(Debug, Clone, Copy)]
pub struct CloseOpenIngress;

const NAME: &str = "ec2.close-open-ingress";

/// Which ports are closed, and of which groups. Exactly one of `instance` and `group`, and one of `ports` and `except`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// All groups of all interfaces of this instance (`i-…`).
    pub instance: Option<String>,
    /// This group (`sg-…`).
    pub group: Option<String>,
    /// `tcp` or `udp`, or its number.
    #[serde(default = "Transport::usual")]
    pub protocol: String,
    /// These ports.
    pub ports: Option<Vec<u16>>,
    /// All ports but these.
    pub except: Option<Vec<u16>>,
    /// A group on more interfaces than this asks a person; 20 without it.
    pub max_interfaces: Option<u32>,
}

const MAX_INTERFACES: u32 = 20;

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// Whether it is the newer one.
    #[must_use]
    pub fn is_ipv6(self) -> bool {
        self == Self::Ipv6
    }

    const BOTH: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    fn as_str(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }
}

/// All that undo needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Before {
    groups: Vec<GroupBefore>,
    /// Prefix lists that count as open to the world.
    lists: BTreeMap<String, Family>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct GroupBefore {
    id: String,
    closing: Closing,
}

impl Before {
    /// The family of a source, where that source is open to the world.
    fn world(&self, source: &Source) -> Option<Family> {
        world(&self.lists, source)
    }
}

fn world(lists: &BTreeMap<String, Family>, source: &Source) -> Option<Family> {
    match source {
        Source::Ipv4(cidr) => (breadth(cidr) == Breadth::World).then_some(Family::Ipv4),
        Source::Ipv6(cidr) => (breadth(cidr) == Breadth::World).then_some(Family::Ipv6),
        Source::PrefixList(id) => lists.get(id).copied(),
        Source::Group(_) => None,
    }
}

/// What was done.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// By group: the rules that were revoked, and those that stand in their place.
    pub groups: Vec<GroupOutcome>,
}

/// What was done to one group.
#[derive(Debug, Clone, Serialize)]
pub struct GroupOutcome {
    /// The group.
    pub group: String,
    /// Rules revoked, in words.
    pub revoked: Vec<String>,
    /// Rules made in their place, in words.
    pub authorized: Vec<String>,
}

/// Parameters that make sense.
struct Job {
    transport: Transport,
    order: Order,
    parts: Vec<Part>,
}

impl Job {
    fn of(with: &Params) -> Result<Self, ActionError> {
        let wrong = |why: &str| ActionError::from(ParamsError { action: NAME, why: why.to_owned() });
        let transport = Transport::parse(&with.protocol).ok_or_else(|| wrong("`protocol` is neither tcp nor udp"))?;
        if with.instance.is_some() == with.group.is_some() {
            return Err(wrong("exactly one of `instance` and `group` is needed"));
        }
        let order = match (&with.ports, &with.except) {
            (Some(ports), None) if !ports.is_empty() => Order::Only(ports.iter().copied().collect()),
            (None, Some(ports)) if !ports.is_empty() => Order::Except(ports.iter().copied().collect()),
            _ => return Err(wrong("exactly one of `ports` and `except` is needed, with at least one port")),
        };
        Ok(Self { transport, parts: order.parts(transport), order })
    }

    fn attribute(part: &Part, family: Family) -> String {
        format!("{} {}", part.name, family.as_str())
    }

    /// The ports that are to be opened again, of one group and family.
    fn reopened(&self, group_arn: &str, family: Family, only: &[ChangeKey]) -> PortSet {
        let wanted = self.parts.iter().filter(|part| {
            let attribute = Self::attribute(part, family);
            only.iter().any(|key| key.resource == group_arn && key.attribute == attribute)
        });
        wanted.fold(PortSet::default(), |all, part| all.union(&part.ports))
    }
}

fn described(rules: &[&Rule]) -> Value {
    json!(rules)
}

impl Change for CloseOpenIngress {
    const NAME: &'static str = NAME;
    const ABOUT: &'static str = "Closes ports of security groups that are open to the world; all other rules stand";
    const RISK: Risk = Risk::Reversible;
    const SEAT: Seat = Seat::Member;
    // https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
    const READS: &'static [Permission] = &[
        Permission::new("ec2:DescribeInstances", "*"),
        Permission::new("ec2:DescribeManagedPrefixLists", "*"),
        Permission::new("ec2:DescribeNetworkInterfaces", "*"),
        Permission::new("ec2:DescribeSecurityGroupRules", "*"),
        Permission::new("ec2:DescribeSecurityGroups", "*"),
        // A list may be another account's, shared with this one.
        Permission::new("ec2:GetManagedPrefixListEntries", "arn:{partition}:ec2:{region}:*:prefix-list/*"),
    ];
    const WRITES: &'static [Permission] = &[
        Permission::new("ec2:AuthorizeSecurityGroupIngress", "arn:{partition}:ec2:{region}:{account}:security-group/{group}"),
        Permission::new("ec2:RevokeSecurityGroupIngress", "arn:{partition}:ec2:{region}:{account}:security-group/{group}"),
    ];
    const SETTLE: SignedDuration = SignedDuration::from_secs(60);
    /// Undoing it opens to the world again what was attacked.
    const UNDO_ONLY_NAMED: bool = true;

    type Params = Params;
    type Before = Before;
    type Ticket = ();
    type Outcome = Outcome;

    fn bind(&self, _with: &Params, before: &Before) -> Bindings {
        Bindings::new().with("group", before.groups.iter().map(|group| group.id.clone()))
    }

    async fn plan(&self, cx: Cx<'_>, with: &Params) -> Result<Plan<Before>, ActionError> {
        let job = Job::of(with)?;
        let client = cx.read.ec2();
        let mut plan = Planned::default();
        let wanted: BTreeSet<String> = match (&with.instance, &with.group) {
            (Some(id), _) => {
                let Some(Subject { machine, interfaces, skipped }) = subject(&client, id).await? else {
                    return Ok(Plan::Moot { why: format!("there is no instance {id}") });
                };
                if machine.is_gone() {
                    return Ok(Plan::Moot { why: format!("instance {id} is {}", machine.state) });
                }
                if let Some(who) = &machine.controller {
                    let why = format!("instance {id} is run by {who}; it may undo what is changed here. A person has to change it there");
                    return Ok(Plan::Refuse { code: "run-by-controller", why });
                }
                plan.opt_outs.extend(cx.opt_out(&cx.ec2_arn(&format!("instance/{id}")), pairs(&machine.tags)));
                plan.notes.extend(skipped);
                interfaces.into_iter().flat_map(|interface| interface.groups).collect()
            }
            (None, id) => id.iter().cloned().collect(),
        };
        let wanted: Vec<String> = wanted.into_iter().collect();
        let found = wire::groups(&client, &wanted).await?;
        if found.is_empty() {
            let what = with
                .group
                .as_deref()
                .map_or_else(|| "the instance has no security group".to_owned(), |id| format!("there is no security group {id}"));
            return Ok(Plan::Moot { why: what });
        }
        let (own, foreign): (Vec<_>, Vec<_>) =
            found.iter().partition(|group| group.owner_id().is_none_or(|owner| owner == cx.cell.account.as_str()));
        for group in &foreign {
            let (id, owner) = (group.group_id().unwrap_or_default(), group.owner_id().unwrap_or_default());
            plan.notes.push(format!("group {id} belongs to account {owner} (a shared VPC): only its owner can change it, left alone"));
        }
        if own.is_empty() {
            return Ok(Plan::Refuse { code: "shared-vpc", why: plan.notes.join("; ") });
        }
        let ids: Vec<String> = own.iter().filter_map(|group| group.group_id()).map(str::to_owned).collect();
        let rules = wire::rules(&client, &ids).await?;
        let attacked = job.order.ports();
        let mut asks = Vec::new();
        let lists = notes::prefix_lists(&client, &job, &attacked, &rules, &mut asks, &mut plan).await?;
        let mut before = Before { groups: Vec::new(), lists };
        for group in &own {
            let id = group.group_id().unwrap_or_default();
            let rules = rules.get(id).map(Vec::as_slice).unwrap_or_default();
            let arn = cx.ec2_arn(&format!("security-group/{id}"));
            for (part, family) in job.parts.iter().flat_map(|part| Family::BOTH.map(|family| (part, family))) {
                let open = open(rules, job.transport, &part.ports, |source| before.world(source) == Some(family));
                let (now, list) =
                    if open.is_empty() { (json!("closed"), &mut plan.already) } else { (described(&open), &mut plan.changes) };
                list.push(Difference {
                    resource: arn.clone(),
                    attribute: Job::attribute(part, family),
                    before: now,
                    after: json!("closed"),
                });
            }
            // Also where all is as wanted: what another step is opening again is not closed to stay.
            plan.touches.insert(arn);
            let closing = close(rules, job.transport, &attacked, |source| before.world(source).is_some());
            notes::of_rules(id, rules, &closing, job.transport, &attacked, &mut asks, &mut plan);
            if !closing.splits.is_empty() {
                notes::of_group(cx, group, &mut asks, &mut plan);
                before.groups.push(GroupBefore { id: id.to_owned(), closing });
            }
        }
        if !before.groups.is_empty() {
            let most = with.max_interfaces.unwrap_or(MAX_INTERFACES);
            notes::neighbours(cx, &client, &before, with.instance.as_deref(), most, &mut asks, &mut plan).await?;
            if let Err(error) = write_policy(Self::WRITES, cx.cell, &self.bind(with, &before)) {
                let why = format!("{} groups are too many for one write session ({error}); close them group by group", before.groups.len());
                return Ok(Plan::Refuse { code: "too-many-resources", why });
            }
        }
        plan.ask = (!asks.is_empty()).then(|| asks.join("; "));
        Ok(Plan::Ready { before, plan })
    }

    async fn apply(&self, cx: Cx<'_>, write: Write<'_>, _with: &Params, before: &Before) -> Result<Progress<(), Outcome>, ApplyError> {
        apply::apply(&cx.read.ec2(), &write.aws.ec2(), before).await.map(Progress::Done)
    }

    async fn verify(&self, cx: Cx<'_>, with: &Params, before: &Before) -> Result<Verdict, ActionError> {
        apply::verify(&cx.read.ec2(), &Job::of(with)?, before).await
    }

    async fn undo(&self, cx: Cx<'_>, write: Write<'_>, with: &Params, before: &Before, only: &[ChangeKey]) -> Result<Undo, ApplyError> {
        undo::undo(cx, write, &Job::of(with)?, before, only).await
    }
}

#[cfg(test)]
mod policy_tests {
    use super::*;

    #[test]
    fn the_write_session_of_fifteen_groups_fits_one_policy() {
        let cell = cordon_shared::id::CellId::new("111122223333".parse().unwrap(), "ap-southeast-1".parse().unwrap());
        let group = |n: u8| GroupBefore { id: format!("sg-0123456789abcde{n:02}"), closing: Closing::default() };
        let before = Before { groups: (0..15).map(group).collect(), lists: BTreeMap::new() };
        let with: Params = serde_json::from_value(json!({ "group": "sg-1", "ports": [22] })).unwrap();
        let policy = write_policy(CloseOpenIngress::WRITES, &cell, &CloseOpenIngress.bind(&with, &before)).unwrap();
        assert!(policy.contains("security-group/sg-0123456789abcde14") && !policy.contains("security-group/*"));
    }

    #[test]
    fn parameters_are_exact() {
        let job = |with: Value| {
            serde_json::from_value::<Params>(with)
                .map_err(|error| error.to_string())
                .and_then(|with| Job::of(&with).map_err(|error| error.to_string()))
        };
        assert!(job(json!({ "instance": "i-1", "ports": [22], "protocol": "TCP" })).is_ok());
        assert!(job(json!({ "group": "sg-1", "except": [80, 443], "protocol": "6" })).is_ok());
        for wrong in [
            json!({ "instance": "i-1", "group": "sg-1", "ports": [22] }),
            json!({ "ports": [22] }),
            json!({ "group": "sg-1" }),
            json!({ "group": "sg-1", "ports": [] }),
            json!({ "group": "sg-1", "ports": [22], "except": [80] }),
            json!({ "group": "sg-1", "ports": [70000] }),
            json!({ "group": "sg-1", "ports": [22], "protocol": "icmp" }),
            json!({ "group": "sg-1", "ports": [22], "colour": "red" }),
        ] {
            assert!(job(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
