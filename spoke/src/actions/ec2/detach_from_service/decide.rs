//! From what is seen to what is to be done, without any call.

use std::collections::BTreeSet;

use cordon_shared::plan::{Change as Difference, Plan as Planned, ShareTaken};
use serde_json::json;

use super::{
    Balancer, Before, MINIMUM, Membership, Mode, Params, Pool, Share, Target,
    look::{Classic, Group, Host, Seen, Targets},
    membership,
};
use crate::action::Plan;

/// States in which a member of a group has left its work, or is leaving it
/// (<https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-lifecycle.html>).
pub(super) const STANDBY: &[&str] = &["EnteringStandby", "Standby"];
pub(super) const DETACHED: &[&str] = &["Detaching", "Detached"];
pub(super) const IN_SERVICE: &str = "InService";

/// A plan in the making.
struct Draft {
    /// The instance's ARN.
    arn: String,
    before: Before,
    plan: Planned,
    /// Why a person is asked.
    last: Vec<String>,
    /// What cannot be done.
    stuck: Vec<String>,
}

impl Draft {
    fn change(&mut self, resource: &str, attribute: String, from: serde_json::Value, to: serde_json::Value) {
        self.plan.touches.insert(resource.to_owned());
        self.plan.changes.push(Difference { resource: resource.to_owned(), attribute, before: from, after: to });
    }

    fn already(&mut self, resource: &str, attribute: String, state: &str) {
        self.plan.touches.insert(resource.to_owned());
        let (before, after) = (json!(state), json!(state));
        self.plan.already.push(Difference { resource: resource.to_owned(), attribute, before, after });
    }

    fn note(&mut self, text: String) {
        self.plan.notes.push(text);
    }

    fn share(&mut self, resource: &str, remaining: usize, of: usize) {
        // An instance may be several targets of a group.
        for number in 0..of.saturating_sub(remaining) {
            let member = if number == 0 { self.arn.clone() } else { format!("{} ({})", self.arn, number + 1) };
            let of = u32::try_from(of).unwrap_or(u32::MAX);
            self.plan.shares.push(ShareTaken { group: resource.to_owned(), member, of });
        }
        self.before.remaining.push(Share { resource: resource.to_owned(), remaining, of });
    }
}

/// What is to be done to the instance with this ARN.
pub(super) fn decide(seen: &Seen, with: &Params, arn: &str) -> Plan<Before> {
    let host = &seen.host;
    if host.is_gone() {
        return Plan::Moot { why: format!("instance {} is {}", host.id, host.state) };
    }
    let group_operator = seen.group.as_ref().and_then(|group| group.operator.as_ref());
    let operated = group_operator.map(|who| format!("{who} (the operator of its Auto Scaling group)"));
    let controller = host.controller.clone().or(operated);
    if let Some(who) = controller.as_ref().filter(|_| !with.even_if_managed) {
        let why = format!("instance {} is run by {who}; what it serves is that controller's. A person has to decide", host.id);
        return Plan::Refuse { code: "run-by-controller", why };
    }
    let addresses = host.addresses.iter().filter(|net| net.prefix_len() == net.max_prefix_len()).map(|net| net.addr().to_string());
    let ids: BTreeSet<String> = addresses.chain([host.id.clone()]).collect();
    let before = Before { ids, ..Before::default() };
    let mut draft = Draft { arn: arn.to_owned(), before, plan: Planned::default(), last: Vec::new(), stuck: Vec::new() };
    if let Some(who) = controller {
        draft.note(format!("instance {} is run by {who}: it may put the instance back, or replace it", host.id));
    }
    if host.spot {
        draft.note(format!("instance {} is a Spot Instance: EC2 may still take it back at any time", host.id));
    }
    if let Some(group) = &seen.group {
        in_group(group, host, with, &mut draft);
    }
    for targets in &seen.target_groups {
        in_target_group(targets, host, &mut draft);
    }
    for classic in &seen.balancers {
        in_balancer(classic, host, &mut draft);
    }
    if let Some(group) = &seen.group {
        kept_out(group, seen, &mut draft);
    }
    let Draft { before, mut plan, last, stuck, .. } = draft;
    if plan.changes.is_empty() && plan.already.is_empty() {
        return if stuck.is_empty() {
            Plan::Moot { why: format!("no Auto Scaling group, target group or balancer has {}", host.id) }
        } else {
            Plan::Refuse { code: "not-in-service", why: stuck.join("; ") }
        };
    }
    plan.notes.extend(stuck);
    plan.counts = Some([arn.to_owned()].into());
    plan.ask = (!last.is_empty()).then(|| last.join("; "));
    Plan::Ready { before, plan }
}

fn in_group(group: &Group, host: &Host, with: &Params, draft: &mut Draft) {
    let (name, id) = (&group.name, &host.id);
    let Some(member) = group.members.iter().find(|member| member.id == *id) else {
        // It left between two answers of AWS.
        draft.already(&group.arn, membership(id), Mode::Detached.word());
        return;
    };
    if let Some(who) = &group.operator {
        draft.stuck.push(format!("Auto Scaling group {name} is changed by {who} alone: {id} stays its member"));
        return;
    }
    match member.state.as_str() {
        IN_SERVICE => {}
        state if STANDBY.contains(&state) => {
            draft.already(&group.arn, membership(id), Mode::Standby.word());
            draft.note(format!("{id} is {state} in Auto Scaling group {name}: it serves nothing there, and stays so"));
            return;
        }
        state if DETACHED.contains(&state) => {
            draft.already(&group.arn, membership(id), Mode::Detached.word());
            draft.note(format!("{id} is {state} from Auto Scaling group {name} already"));
            return;
        }
        // Only what is in service can be detached or stand by
        // (https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-detach-attach-instances.html).
        state => {
            draft
                .stuck
                .push(format!("{id} is {state} in Auto Scaling group {name}: AWS lets an instance leave only while it is {IN_SERVICE}"));
            return;
        }
    }
    let in_service = group.members.iter().filter(|member| member.state == IN_SERVICE).count();
    let remaining = in_service.saturating_sub(1);
    draft.share(&group.arn, remaining, in_service);
    let mode = if with.standby { Mode::Standby } else { Mode::Detached };
    let mut membership_of = Membership {
        name: name.clone(),
        arn: group.arn.clone(),
        mode,
        min: group.min,
        max: group.max,
        desired: group.desired,
        weight: member.weight,
        lower_to: None,
    };
    let after = membership_of.desired_after();
    let size = format!("minimum {}, desired {}, maximum {}", group.min, group.desired, group.max);
    draft.change(&group.arn, membership(id), json!(IN_SERVICE), json!(mode.word()));
    let then = match mode {
        Mode::Standby if after < group.min => {
            let lower_to = after.max(0);
            membership_of.lower_to = Some(lower_to);
            draft.change(&group.arn, MINIMUM.to_owned(), json!(group.min), json!(lower_to));
            format!("its minimum size is lowered to {lower_to} first, and its desired capacity goes to {after} until an undo")
        }
        Mode::Standby => format!("its desired capacity goes to {after} until an undo"),
        Mode::Detached if group.launches_nothing => "no replacement starts: its Launch process is suspended".to_owned(),
        Mode::Detached => "a replacement starts".to_owned(),
    };
    draft.note(format!("{remaining} of {in_service} instances in service remain in Auto Scaling group {name} ({size}); {then}"));
    if mode == Mode::Detached && after.saturating_add(member.weight) > group.max {
        draft.note(format!("Auto Scaling group {name} is at its maximum size: to attach {id} again needs room that a person makes first"));
    }
    if group.mixed && mode == Mode::Detached {
        draft.note(format!("Auto Scaling group {name} mixes instance types: the replacement may be of another type or purchase option"));
    }
    if remaining == 0 {
        draft.last.push(format!("{id} is the last instance in service of Auto Scaling group {name}"));
    }
    draft.before.group = Some(membership_of);
}

fn in_target_group(targets: &Targets, host: &Host, draft: &mut Draft) {
    let (name, arn) = (&targets.name, &targets.arn);
    let own = |id: &str| if targets.by_address { host.has(id) } else { id == host.id };
    let ours: Vec<_> = targets.entries.iter().filter(|entry| own(&entry.target.id)).collect();
    if ours.is_empty() {
        return;
    }
    // Two VPCs may have one address.
    if targets.vpc != host.vpc {
        for entry in ours.iter().filter(|entry| entry.registered()) {
            draft.note(format!(
                "{} is registered in target group {name} of another VPC: whether that is {} cannot be told, it is left alone",
                entry.target.id, host.id
            ));
        }
        return;
    }
    let mut taken: Vec<Target> = Vec::new();
    for entry in &ours {
        if entry.registered() {
            taken.push(entry.target.clone());
        } else if !ours.iter().any(|other| other.registered() && other.target.is(&entry.target)) {
            draft.already(arn, entry.target.attribute(), "deregistered");
        }
    }
    if taken.is_empty() {
        return;
    }
    taken.sort();
    for target in &taken {
        draft.change(arn, target.attribute(), json!("registered"), json!("deregistered"));
    }
    let registered = targets.entries.iter().filter(|entry| entry.registered());
    let healthy = registered.clone().filter(|entry| entry.healthy());
    let (of, rest) = (healthy.clone().count(), healthy.filter(|entry| !own(&entry.target.id)).count());
    draft.share(arn, rest, of);
    if targets.in_use {
        draft.note(format!("{rest} of {of} healthy targets remain in target group {name}"));
        // With no healthy target a balancer sends traffic to all of them: the only one is the last, whatever its health.
        let alone = registered.clone().all(|entry| own(&entry.target.id));
        if alone || (rest == 0 && of > 0) {
            draft.last.push(format!("{} is the last healthy target of target group {name}", host.id));
        }
    } else {
        draft.note(format!("no load balancer uses target group {name}"));
    }
    draft.before.ids.extend(taken.iter().map(|target| target.id.clone()));
    draft.before.target_groups.push(Pool { arn: arn.clone(), by_address: targets.by_address, targets: taken });
}

fn in_balancer(classic: &Classic, host: &Host, draft: &mut Draft) {
    let (name, arn) = (&classic.name, &classic.arn);
    let of = classic.instances.iter().filter(|(_, in_service)| *in_service).count();
    let rest = classic.instances.iter().filter(|(id, in_service)| *in_service && *id != host.id).count();
    draft.change(arn, membership(&host.id), json!("registered"), json!("deregistered"));
    draft.share(arn, rest, of);
    draft.note(format!("{rest} of {of} instances in service remain in classic load balancer {name}"));
    if classic.instances.iter().all(|(id, _)| *id == host.id) || (rest == 0 && of > 0) {
        draft.last.push(format!("{} is the last instance in service of classic load balancer {name}", host.id));
    }
    draft.before.balancers.push(Balancer { name: name.clone(), arn: arn.clone() });
}

/// What a group keeps its members in, and does not keep this one in while it stands by: a claim can be laid on that too, or else the undo of
/// the incident that put it there would register it again while another one needs it out.
fn kept_out(group: &Group, seen: &Seen, draft: &mut Draft) {
    let id = &seen.host.id;
    if !group.members.iter().any(|member| member.id == *id && STANDBY.contains(&member.state.as_str())) {
        return;
    }
    let targets = seen.target_groups.iter().filter(|targets| group.target_groups.contains(&targets.arn) && !targets.by_address);
    let targets = targets.map(|targets| {
        let target = Target { id: id.clone(), port: targets.port, zone: None, quic: None };
        (targets.arn.clone(), target.attribute())
    });
    let balancers = group.balancers.iter().filter_map(|name| Some((balancer_beside(&group.arn, name)?, membership(id))));
    for (arn, attribute) in targets.chain(balancers).collect::<Vec<_>>() {
        let mut known = draft.plan.changes.iter().chain(&draft.plan.already);
        if !known.any(|one| one.resource == arn && one.attribute == attribute) {
            draft.already(&arn, attribute, "deregistered");
        }
    }
}

/// The ARN of a classic balancer in the account and Region of another ARN.
fn balancer_beside(arn: &str, name: &str) -> Option<String> {
    let mut parts = arn.split(':').skip(1);
    let (partition, _, region, account) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    Some(format!("arn:{partition}:elasticloadbalancing:{region}:{account}:loadbalancer/{name}"))
}
