//! `ec2.cut-tracked-flows`: ends the flows of an instance that security groups go on to let through.
//!
//! A security group tracks connections: what it let through once goes on when its rules change, and when the interface is moved into
//! another group (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/security-group-connection-tracking.html>). Two things end that:
//!
//! - A network ACL knows no connections. An entry that denies an address ends the flows with it at once. It names the other end's address,
//!   never the instance's, so it reaches only the addresses that are known.
//! - The idle timeouts of an interface. At their least, 60 seconds, a flow that is silent for that long is forgotten.
//!
//! Both are for minutes: the playbook's `ttl` takes them back.

mod apply;
mod place;
mod timers;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use cordon_shared::plan::{Change as Difference, ChangeKey, Plan as Planned, Risk, Seat, Verdict};
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::{
    place::{Placement, place},
    timers::{LEAST, Timer, Timers},
};
use super::{
    look::{Interface, Subject, interfaces, pairs, subject},
    nacl::{
        acl::{Entry, plain},
        around::{self, about, deniable, reaches},
        entries::numbered,
        wire,
    },
};
use crate::{
    action::{ActionError, ApplyError, Change, Cx, Plan, Progress, Undo, Write},
    permission::{Bindings, Permission, write_policies},
};

/// Ends flows that are tracked.
#[derive(Debug, Clone, Copy)]
pub struct CutTrackedFlows;

/// Whose flows end, and with whom at once.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The instance (`i-…`).
    pub instance: String,
    /// Addresses at the other end that it must not go on talking to; may be empty.
    #[serde(default)]
    pub remotes: Vec<IpAddr>,
    /// Also an instance that another controller runs (EKS, ECS, Beanstalk, EMR, …).
    #[serde(default)]
    pub even_if_managed: bool,
}

/// All that undo needs.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Before {
    /// The interfaces whose timeouts are lowered.
    interfaces: Vec<Timers>,
    /// The entries that are made, by ACL.
    acls: BTreeMap<String, Vec<Entry>>,
    /// The addresses that are then denied in every ACL of the instance.
    denied: Vec<IpAddr>,
    /// Addresses that are not, and why.
    left: Vec<String>,
}

/// What was done.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// By interface.
    pub interfaces: Vec<Lowered>,
    /// By ACL.
    pub denied: Vec<Denied>,
    /// `ended-with` the remotes, or `may-persist`.
    pub tracked_flows: &'static str,
    /// The addresses that nothing is exchanged with any more.
    pub remotes: Vec<IpAddr>,
    /// Addresses that could not be denied, and why.
    pub left: Vec<String>,
}

/// The timeouts of one interface.
#[derive(Debug, Clone, Serialize)]
pub struct Lowered {
    /// The interface.
    pub interface: String,
    /// Of TCP connections.
    pub tcp_established_timeout: Step,
    /// Of UDP flows with several answers.
    pub udp_stream_timeout: Step,
}

/// From how many seconds to how many. `was` is nothing where nobody had set it: the instance type's default.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Step {
    /// As it was.
    pub was: Option<i32>,
    /// As it is.
    pub now: i32,
}

/// The entries of one ACL.
#[derive(Debug, Clone, Serialize)]
pub struct Denied {
    /// The ACL.
    pub acl: String,
    /// Entries made, with their numbers.
    pub entries: Vec<String>,
}

/// Nothing has this id: it stands where a step changes no ACL, or no interface, since a name without an id would be refused.
const NOTHING: &str = "none";

impl Change for CutTrackedFlows {
    const NAME: &'static str = "ec2.cut-tracked-flows";
    const ABOUT: &'static str = "Ends tracked flows of an instance: denies remote addresses in its network ACLs and lowers its connection tracking timeouts, for minutes";
    const RISK: Risk = Risk::Reversible;
    const SEAT: Seat = Seat::Member;
    // https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
    const READS: &'static [Permission] = &[
        Permission::new("ec2:DescribeAddresses", "*"),
        Permission::new("ec2:DescribeInstances", "*"),
        Permission::new("ec2:DescribeInstanceTypes", "*"),
        Permission::new("ec2:DescribeNatGateways", "*"),
        Permission::new("ec2:DescribeNetworkAcls", "*"),
        Permission::new("ec2:DescribeNetworkInterfaces", "*"),
        Permission::new("ec2:DescribeSubnets", "*"),
        Permission::new("ec2:DescribeVpcPeeringConnections", "*"),
        Permission::new("ec2:DescribeVpcs", "*"),
    ];
    const WRITES: &'static [Permission] = &[
        Permission::new("ec2:CreateNetworkAclEntry", "arn:{partition}:ec2:{region}:{account}:network-acl/{acl}"),
        Permission::new("ec2:DeleteNetworkAclEntry", "arn:{partition}:ec2:{region}:{account}:network-acl/{acl}"),
        Permission::new("ec2:ModifyNetworkInterfaceAttribute", "arn:{partition}:ec2:{region}:{account}:network-interface/{interface}"),
    ];
    const SETTLE: SignedDuration = SignedDuration::from_secs(60);

    type Params = Params;
    type Before = Before;
    type Ticket = ();
    type Outcome = Outcome;

    fn bind(&self, _with: &Params, before: &Before) -> Bindings {
        let or_nothing = |ids: Vec<String>| if ids.is_empty() { vec![NOTHING.to_owned()] } else { ids };
        Bindings::new()
            .with("acl", or_nothing(before.acls.keys().cloned().collect()))
            .with("interface", or_nothing(before.interfaces.iter().map(|timers| timers.id.clone()).collect()))
    }

    async fn plan(&self, cx: Cx<'_>, with: &Params) -> Result<Plan<Before>, ActionError> {
        let client = cx.read.ec2();
        let id = &with.instance;
        let Some(Subject { machine, interfaces: own, skipped }) = subject(&client, id).await? else {
            return Ok(Plan::Moot { why: format!("there is no instance {id}") });
        };
        if machine.is_gone() {
            return Ok(Plan::Moot { why: format!("instance {id} is {}", machine.state) });
        }
        let mut plan = Planned { notes: skipped, ..Planned::default() };
        if let Some(who) = &machine.controller {
            if !with.even_if_managed {
                let why = format!("instance {id} is run by {who}; its network is that controller's. A person has to decide");
                return Ok(Plan::Refuse { code: "run-by-controller", why });
            }
            plan.notes.push(format!("instance {id} is run by {who}; its flows are cut because the step says so"));
        }
        if own.is_empty() {
            return Ok(Plan::Moot { why: format!("instance {id} has no network interface of its own") });
        }
        let instance = cx.ec2_arn(&format!("instance/{id}"));
        plan.opt_outs.extend(cx.opt_out(&instance, pairs(&machine.tags)));
        let mut counts: BTreeSet<String> = [instance].into();
        let mut before = Before::default();
        if !with.remotes.is_empty() {
            counts.extend(remotes(cx, with, &own, &mut before, &mut plan).await?);
        }
        lower(cx, id, &machine.kind, &own, &mut before, &mut plan).await?;
        let ended = ended(&before);
        if before.denied.is_empty() {
            plan.notes.push(format!("tracked flows may persist: {ended}"));
        } else {
            let hosts: Vec<String> = before.denied.iter().map(IpAddr::to_string).collect();
            plan.notes.push(format!("tracked flows with {} end at once", hosts.join(", ")));
            plan.notes.push(format!("active flows with other addresses may go on until they idle out: {ended}"));
        }
        plan.counts = Some(counts);
        if plan.changes.is_empty() && plan.already.is_empty() {
            return Ok(Plan::Moot { why: plan.notes.join("; ") });
        }
        if let Err(error) = write_policies(Self::WRITES, cx.cell, &self.bind(with, &before)) {
            let why = format!(
                "{} interfaces and {} network ACLs are too many for the write sessions of one step ({error})",
                before.interfaces.len(),
                before.acls.len()
            );
            return Ok(Plan::Refuse { code: "too-many-resources", why });
        }
        Ok(Plan::Ready { before, plan })
    }

    async fn apply(&self, cx: Cx<'_>, write: Write<'_>, _with: &Params, before: &Before) -> Result<Progress<(), Outcome>, ApplyError> {
        apply::apply(cx, write, before).await.map(Progress::Done)
    }

    async fn verify(&self, cx: Cx<'_>, _with: &Params, before: &Before) -> Result<Verdict, ActionError> {
        apply::verify(cx, before).await
    }

    async fn undo(&self, cx: Cx<'_>, write: Write<'_>, _with: &Params, before: &Before, only: &[ChangeKey]) -> Result<Undo, ApplyError> {
        apply::undo(cx, write, before, only).await
    }
}

/// What becomes of flows that no entry denies.
fn ended(before: &Before) -> String {
    if before.interfaces.is_empty() {
        "nothing ends those of this instance but their own end".to_owned()
    } else {
        format!("{LEAST} seconds of silence end one, and one that is never silent goes on")
    }
}

/// Where the remotes are denied. What finds no place, or belongs to somebody else, is noted. Gives the ARNs of the ACLs that are changed.
async fn remotes(
    cx: Cx<'_>,
    with: &Params,
    own: &[Interface],
    before: &mut Before,
    plan: &mut Planned,
) -> Result<Vec<String>, ActionError> {
    let client = cx.read.ec2();
    let around::Acls { acls, foreign, .. } = around::acls(cx, &client, own, &mut plan.notes).await?;
    let all = interfaces(&client, None).await?;
    let home = wire::home(&client, &all).await?;
    let hosts = deniable(cx, &with.remotes, &home, &mut plan.notes);
    let never: BTreeSet<IpAddr> = with.remotes.iter().copied().map(plain).filter(|host| !hosts.contains(host)).collect();
    before.left.extend(never.iter().map(|host| format!("{host}: it is never blocked")));
    let mut left: BTreeMap<IpAddr, String> = BTreeMap::new();
    if foreign || acls.is_empty() {
        let why = if acls.is_empty() {
            "no network ACL of the instance is this account's"
        } else {
            "not all network ACLs of the instance are this account's"
        };
        left.extend(hosts.iter().map(|host| (*host, why.to_owned())));
    }
    let mut changed = Vec::new();
    let mut reached: BTreeSet<IpAddr> = BTreeSet::new();
    for acl in &acls {
        let reach: Vec<IpAddr> = hosts.iter().copied().filter(|host| reaches(&home, acl, *host, &mut plan.notes)).collect();
        reached.extend(&reach);
        let Placement { create, already, left: unplaced } = place(&acl.entries, &reach);
        let arn = cx.ec2_arn(&format!("network-acl/{}", acl.id));
        for entry in &create {
            let after = json!({ "number": entry.number, "entry": entry.to_string() });
            plan.changes.push(Difference { resource: arn.clone(), attribute: entry.to_string(), before: Value::Null, after });
        }
        for entry in &already {
            let state = json!({ "entry": entry.to_string() });
            plan.already.push(Difference { resource: arn.clone(), attribute: entry.to_string(), before: state.clone(), after: state });
        }
        for (host, why) in unplaced {
            plan.notes.push(format!("{host} cannot be denied in {}: {why}", acl.id));
            left.entry(host).or_insert_with(|| format!("{}: {why}", acl.id));
        }
        if !create.is_empty() || !already.is_empty() {
            plan.touches.insert(arn.clone());
        }
        if !create.is_empty() {
            about(cx, &client, acl, &home, &all, plan).await?;
            before.acls.insert(acl.id.clone(), create);
            changed.push(arn);
        }
    }
    for host in hosts.iter().filter(|host| !reached.contains(host)) {
        left.entry(*host).or_insert_with(|| "no VPC of the instance has its address family".to_owned());
    }
    before.denied = hosts.into_iter().filter(|host| !left.contains_key(host)).collect();
    before.left.extend(left.into_iter().map(|(host, why)| format!("{host}: {why}")));
    Ok(changed)
}

/// Which timeouts are lowered.
async fn lower(
    cx: Cx<'_>,
    instance: &str,
    kind: &str,
    own: &[Interface],
    before: &mut Before,
    plan: &mut Planned,
) -> Result<(), ActionError> {
    let client = cx.read.ec2();
    let Some(defaults) = timers::defaults(&client, kind).await? else {
        plan.notes.push(format!("instance type {kind} is not of the Nitro system: its connection tracking timeouts cannot be changed"));
        return Ok(());
    };
    let now = timers::of_instance(&client, instance, defaults).await?;
    for interface in own {
        let Some(timers) = now.iter().find(|timers| timers.id == interface.id) else { continue };
        let arn = cx.ec2_arn(&format!("network-interface/{}", interface.id));
        plan.opt_outs.extend(cx.opt_out(&arn, pairs(&interface.tags)));
        plan.touches.insert(arn.clone());
        for Timer { attribute, was, .. } in timers.both() {
            let difference = Difference { resource: arn.clone(), attribute: attribute.to_owned(), before: shown(was), after: json!(LEAST) };
            if was == Some(LEAST) { plan.already.push(difference) } else { plan.changes.push(difference) }
        }
        if !timers.least() {
            before.interfaces.push(timers.clone());
        }
    }
    Ok(())
}

fn shown(seconds: Option<i32>) -> Value {
    seconds.map_or_else(|| json!("default"), |seconds| json!(seconds))
}

fn outcome(before: &Before) -> Outcome {
    let step = |timer: Timer| Step { was: timer.was, now: LEAST };
    Outcome {
        interfaces: before
            .interfaces
            .iter()
            .map(|timers| Lowered {
                interface: timers.id.clone(),
                tcp_established_timeout: step(timers.tcp()),
                udp_stream_timeout: step(timers.udp()),
            })
            .collect(),
        denied: before
            .acls
            .iter()
            .map(|(acl, entries)| Denied { acl: acl.clone(), entries: entries.iter().map(numbered).collect() })
            .collect(),
        tracked_flows: if before.denied.is_empty() { "may-persist" } else { "ended-with" },
        remotes: before.denied.clone(),
        left: before.left.clone(),
    }
}

#[cfg(test)]
#[path = "cut_tracked_flows/tests.rs"]
mod tests;
