//! What a person should know before ports of a group are closed, and whose opt-out counts.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::{Client, types::SecurityGroup};
use cordon_shared::plan::Plan;

use super::{
    Before, Family, Job, interfaces, pairs,
    ports::PortSet,
    rule::{Breadth, Rule, Source, Transport, breadth},
    split::Closing,
    wire,
};
use crate::{
    action::{ActionError, Cx},
    actions::ec2::{
        controller::controller,
        look::{chunks, filter, machines, tags},
    },
};

/// How many neighbours a note names.
const NAMED: usize = 10;

/// The default quota of inbound rules of a group, for each family
/// (<https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html#vpc-limits-security-groups>).
const RULES_PER_GROUP: usize = 60;

/// The prefix lists that count as open to the world, of those that open an attacked port.
pub(super) async fn prefix_lists(
    client: &Client,
    job: &Job,
    attacked: &PortSet,
    rules: &BTreeMap<String, Vec<Rule>>,
    asks: &mut Vec<String>,
    plan: &mut Plan,
) -> Result<BTreeMap<String, Family>, ActionError> {
    let opening = rules.values().flatten().filter(|rule| rule.body.opens(job.transport).meets(attacked));
    let ids: BTreeSet<String> =
        opening.filter_map(|rule| if let Source::PrefixList(id) = &rule.body.source { Some(id.clone()) } else { None }).collect();
    let mut open = BTreeMap::new();
    for (id, list) in wire::lists(client, &ids).await? {
        if let Some(family) = list.open {
            asks.push(format!("a rule opens the port to prefix list {id}: {}", list.why));
            open.insert(id, family);
        } else {
            plan.notes.push(format!("the rule for prefix list {id} stands: {}", list.why));
        }
    }
    Ok(open)
}

/// What is special about a group's rules.
pub(super) fn of_rules(
    group: &str,
    rules: &[Rule],
    closing: &Closing,
    transport: Transport,
    attacked: &PortSet,
    asks: &mut Vec<String>,
    plan: &mut Plan,
) {
    for rule in rules.iter().filter(|rule| rule.body.opens(transport).meets(attacked)) {
        if let Source::Ipv4(cidr) | Source::Ipv6(cidr) = &rule.body.source
            && breadth(cidr) == Breadth::Wide
        {
            plan.notes.push(format!("{group}: {} ({}) is open to a very wide range and stands", rule.id, rule.body));
        }
    }
    for split in &closing.splits {
        let wide = &split.wide;
        if wide.body.is_all_traffic() {
            asks.push(format!("{group}: {} opens all traffic to {}", wide.id, wide.body.source));
            plan.notes.push(format!(
                "{group}: {} ({}) becomes {} with the other ports, all {} and all ICMP; other protocols (GRE, ESP, SCTP, …) are closed with it, and its flows are tracked from then on",
                wide.id,
                wide.body,
                transport.as_str(),
                if transport == Transport::Tcp { "UDP" } else { "TCP" },
            ));
        }
        if !wide.tags.is_empty() {
            let tags: Vec<String> = wide.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
            plan.notes.push(format!(
                "{group}: the tags of {} ({}) are recorded; an undo makes the rule again without them",
                wide.id,
                tags.join(", ")
            ));
        }
    }
    for family in Family::BOTH {
        // A rule for a group or a prefix list counts in both families.
        let counts = |source: &Source| !matches!((source, family), (Source::Ipv4(_), Family::Ipv6) | (Source::Ipv6(_), Family::Ipv4));
        let now = rules.iter().filter(|rule| counts(&rule.body.source)).count();
        let more = closing.make.iter().filter(|body| counts(&body.source)).count();
        if more > 0 && now + more > RULES_PER_GROUP {
            plan.notes.push(format!(
                "{group} has {now} inbound rules for {} and needs {more} more for a moment: if its quota is the default of {RULES_PER_GROUP}, AWS refuses and nothing is changed",
                family.as_str()
            ));
        }
    }
}

/// Opt-outs and owners of a group whose rules are closed.
pub(super) fn of_group(cx: Cx<'_>, group: &SecurityGroup, asks: &mut Vec<String>, plan: &mut Plan) {
    let id = group.group_id().unwrap_or_default();
    let tags = tags(group.tags());
    plan.opt_outs.extend(cx.opt_out(&cx.ec2_arn(&format!("security-group/{id}")), pairs(&tags)));
    if let Some(who) = controller(&tags, None) {
        asks.push(format!("group {id} is kept by {who}, which may open it again"));
    }
    if let Some(stack) = tags.get("aws:cloudformation:stack-name") {
        plan.notes.push(format!("group {id} belongs to CloudFormation stack {stack}: correct its template too"));
    }
}

/// Who else uses the groups: their opt-outs count, they are named, and many of them ask.
pub(super) async fn neighbours(
    cx: Cx<'_>,
    client: &Client,
    before: &Before,
    subject: Option<&str>,
    most: u32,
    asks: &mut Vec<String>,
    plan: &mut Plan,
) -> Result<(), ActionError> {
    let ids: Vec<String> = before.groups.iter().map(|group| group.id.clone()).collect();
    let mut using = Vec::new();
    for ids in chunks(&ids) {
        using.extend(interfaces(client, Some(filter("group-id", ids))).await?);
    }
    using.sort_by(|one, other| one.id.cmp(&other.id));
    using.dedup_by(|one, other| one.id == other.id);
    let instances: BTreeSet<String> = using.iter().filter_map(|interface| interface.instance.clone()).collect();
    let instances: Vec<String> = instances.into_iter().collect();
    let machines = machines(client, &instances).await?;
    for interface in &using {
        plan.opt_outs.extend(cx.opt_out(&cx.ec2_arn(&format!("network-interface/{}", interface.id)), pairs(&interface.tags)));
    }
    for machine in machines.values().filter(|machine| Some(machine.id.as_str()) != subject) {
        plan.opt_outs.extend(cx.opt_out(&cx.ec2_arn(&format!("instance/{}", machine.id)), pairs(&machine.tags)));
    }
    for group in &before.groups {
        let rules = group.closing.splits.iter().map(|split| &split.wide);
        for rule in rules {
            plan.opt_outs.extend(cx.opt_out(&cx.ec2_arn(&format!("security-group-rule/{}", rule.id)), pairs(&rule.tags)));
        }
        let users: Vec<_> = using.iter().filter(|interface| interface.groups.contains(&group.id)).collect();
        if users.len() > usize::try_from(most).unwrap_or(usize::MAX) {
            asks.push(format!("group {} is used by {} interfaces, more than {most}", group.id, users.len()));
        }
        let names: Vec<String> = users
            .iter()
            .filter(|interface| subject.is_none() || interface.instance.as_deref() != subject)
            .map(|interface| match (&interface.instance, &interface.managed_by) {
                (Some(instance), _) => {
                    let run_by = machines.get(instance).and_then(|machine| machine.controller.as_deref());
                    run_by.map_or_else(|| instance.clone(), |who| format!("{instance}, run by {who}"))
                }
                (None, Some(who)) => format!("{} of {who}", interface.id),
                (None, None) => interface.id.clone(),
            })
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        if !names.is_empty() {
            let shown: Vec<&str> = names.iter().map(String::as_str).take(NAMED).collect();
            let more = names.len().saturating_sub(NAMED);
            let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
            let others = if subject.is_some() { "also used by" } else { "used by" };
            plan.notes.push(format!("group {} is {others} {}{rest}", group.id, shown.join("; ")));
        }
    }
    Ok(())
}
