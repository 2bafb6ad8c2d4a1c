//! `ec2.block-source-in-nacl`: denies sources the attacked port in the network ACLs of an instance's subnets, and denies replies to them.
//!
//! Two entries for each source: ingress for the protocol and port, egress for the protocol and the ports that replies go to
//! ([`REPLY_PORTS`](super::nacl::acl::REPLY_PORTS)): an ACL knows no connections, and an entry filters by destination port only. Both are numbered below the first
//! entry that lets the traffic through. An ACL holds at most [`place::MOST_BLOCKS`] blocks of ours; the oldest leaves for a new one.

mod apply;
mod place;

use std::{collections::BTreeMap, net::IpAddr};

use cordon_shared::plan::{Change as Difference, ChangeKey, Plan as Planned, Risk, Seat, Verdict};
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::place::{MOST_BLOCKS, Placement, place};
use super::{
    close_open_ingress::Transport,
    look::{Subject, interfaces, pairs, subject},
    nacl::{
        acl::Entry,
        around::{self, about, deniable, reaches},
        entries::numbered,
        wire::{self, Acl},
    },
};
use crate::{
    action::{ActionError, ApplyError, Change, Cx, ParamsError, Plan, Progress, Undo, Write},
    permission::{Bindings, Permission, write_policy},
};

/// Denies sources the attacked port in network ACLs.
#[derive(Debug, Clone, Copy)]
pub struct BlockSourceInNacl;

const NAME: &str = "ec2.block-source-in-nacl";

/// Who is blocked, and where.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The attacked instance (`i-…`): the ACLs of the subnets of all its interfaces.
    pub instance: String,
    /// The attackers' addresses.
    pub sources: Vec<IpAddr>,
    /// `tcp` or `udp`, or its number.
    #[serde(default = "Transport::usual")]
    pub protocol: String,
    /// The attacked port.
    pub port: u16,
}

/// All that undo needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Before {
    acls: BTreeMap<String, Placement>,
}

/// What was done.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// By ACL.
    pub acls: Vec<AclOutcome>,
}

/// What was done to one ACL.
#[derive(Debug, Clone, Serialize)]
pub struct AclOutcome {
    /// The ACL.
    pub acl: String,
    /// Entries made, with their numbers.
    pub denied: Vec<String>,
    /// Entries of older incidents that left for them.
    pub evicted: Vec<String>,
    /// Sources for which there was no place, and why.
    pub left: Vec<String>,
}

/// What a removed older block is called: never the attribute that its own incident holds.
fn eviction(entry: &Entry) -> String {
    format!("eviction of {}", numbered(entry))
}

fn transport(with: &Params) -> Result<Transport, ActionError> {
    let wrong = |why: &str| ActionError::from(ParamsError { action: NAME, why: why.to_owned() });
    if with.sources.is_empty() {
        return Err(wrong("`sources` is empty"));
    }
    Transport::parse(&with.protocol).ok_or_else(|| wrong("`protocol` is neither tcp nor udp"))
}

impl Change for BlockSourceInNacl {
    const NAME: &'static str = NAME;
    const ABOUT: &'static str = "Denies sources the attacked port, and replies to them, in the network ACLs of an instance's subnets";
    const RISK: Risk = Risk::Reversible;
    const SEAT: Seat = Seat::Member;
    // https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
    const READS: &'static [Permission] = &[
        Permission::new("ec2:DescribeAddresses", "*"),
        Permission::new("ec2:DescribeInstances", "*"),
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
    ];
    const SETTLE: SignedDuration = SignedDuration::from_secs(60);

    type Params = Params;
    type Before = Before;
    type Ticket = ();
    type Outcome = Outcome;

    fn bind(&self, _with: &Params, before: &Before) -> Bindings {
        Bindings::new().with("acl", before.acls.keys().cloned())
    }

    async fn plan(&self, cx: Cx<'_>, with: &Params) -> Result<Plan<Before>, ActionError> {
        let transport = transport(with)?;
        let client = cx.read.ec2();
        let id = &with.instance;
        let Some(Subject { machine, interfaces: own, skipped }) = subject(&client, id).await? else {
            return Ok(Plan::Moot { why: format!("there is no instance {id}") });
        };
        if machine.is_gone() {
            return Ok(Plan::Moot { why: format!("instance {id} is {}", machine.state) });
        }
        if let Some(who) = &machine.controller {
            let why = format!("instance {id} is run by {who}; its network is that controller's. A person has to decide");
            return Ok(Plan::Refuse { code: "run-by-controller", why });
        }
        if own.is_empty() {
            return Ok(Plan::Moot { why: format!("instance {id} has no network interface of its own") });
        }
        let mut plan = Planned { notes: skipped, ..Planned::default() };
        plan.opt_outs.extend(cx.opt_out(&cx.ec2_arn(&format!("instance/{id}")), pairs(&machine.tags)));
        let around::Acls { acls, subnets, foreign } = around::acls(cx, &client, &own, &mut plan.notes).await?;
        if acls.is_empty() {
            let why =
                if plan.notes.is_empty() { format!("no network ACL of {} can be read", subnets.join(", ")) } else { plan.notes.join("; ") };
            return Ok(Plan::Refuse { code: if foreign { "shared-vpc" } else { "no-acl" }, why });
        }
        let all = interfaces(&client, None).await?;
        let home = wire::home(&client, &all).await?;
        let sources = deniable(cx, &with.sources, &home, &mut plan.notes);
        if sources.is_empty() {
            let why = if plan.notes.is_empty() { "no source to block".to_owned() } else { plan.notes.join("; ") };
            return Ok(Plan::Moot { why });
        }
        let mut before = Before { acls: BTreeMap::new() };
        let mut unplaced = 0;
        for acl in &acls {
            let hosts: Vec<IpAddr> = sources.iter().copied().filter(|host| reaches(&home, acl, *host, &mut plan.notes)).collect();
            let placement = place(&acl.entries, &hosts, transport.number(), with.port);
            let arn = cx.ec2_arn(&format!("network-acl/{}", acl.id));
            changes(&arn, acl, &placement, &mut plan);
            unplaced += placement.left.len();
            // Also where all is as wanted: what another step is taking away is not there to stay.
            plan.touches.insert(arn);
            if !placement.create.is_empty() {
                about(cx, &client, acl, &home, &all, &mut plan).await?;
                before.acls.insert(acl.id.clone(), placement);
            }
        }
        if plan.changes.is_empty() && unplaced > 0 {
            return Ok(Plan::Refuse { code: "no-place-in-acl", why: plan.notes.join("; ") });
        }
        if !before.acls.is_empty()
            && let Err(error) = write_policy(Self::WRITES, cx.cell, &self.bind(with, &before))
        {
            let why = format!("{} network ACLs are too many for one write session ({error})", before.acls.len());
            return Ok(Plan::Refuse { code: "too-many-resources", why });
        }
        Ok(Plan::Ready { before, plan })
    }

    async fn apply(&self, cx: Cx<'_>, write: Write<'_>, _with: &Params, before: &Before) -> Result<Progress<(), Outcome>, ApplyError> {
        apply::apply(&cx.read.ec2(), &write.aws.ec2(), before).await.map(Progress::Done)
    }

    async fn verify(&self, cx: Cx<'_>, _with: &Params, before: &Before) -> Result<Verdict, ActionError> {
        apply::verify(&cx.read.ec2(), before).await
    }

    async fn undo(&self, cx: Cx<'_>, write: Write<'_>, _with: &Params, before: &Before, only: &[ChangeKey]) -> Result<Undo, ApplyError> {
        apply::undo(cx, &write.aws.ec2(), before, only).await
    }
}

/// A placement as changes.
fn changes(arn: &str, acl: &Acl, placement: &Placement, plan: &mut Planned) {
    let entry = |entry: &Entry| json!({ "number": entry.number, "entry": entry.to_string() });
    for created in &placement.create {
        plan.changes.push(Difference {
            resource: arn.to_owned(),
            attribute: created.to_string(),
            before: Value::Null,
            after: entry(created),
        });
    }
    for block in &placement.evict {
        for evicted in [&block.ingress, &block.egress] {
            plan.changes.push(Difference {
                resource: arn.to_owned(),
                attribute: eviction(evicted),
                before: entry(evicted),
                after: Value::Null,
            });
        }
        plan.notes.push(format!(
            "{}: an older block of {} (number {}) leaves for the new one: at most {MOST_BLOCKS} are kept; an undo does not bring it back",
            acl.id,
            block.ingress.cidr.addr(),
            block.ingress.number
        ));
    }
    for denied in &placement.already {
        let state = json!({ "entry": denied.to_string() });
        plan.already.push(Difference { resource: arn.to_owned(), attribute: denied.to_string(), before: state.clone(), after: state });
    }
    for (host, why) in &placement.left {
        plan.notes.push(format!("{host} cannot be blocked in {}: {why}", acl.id));
    }
}
