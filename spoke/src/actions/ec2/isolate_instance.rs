//! `ec2.isolate-instance`: moves every interface of an instance into one group that lets nothing in and nothing out.
//!
//! The group is made for the incident, one in each VPC, and is called after both: that name, with the incident's tag, is how it is found
//! again. AWS gives a new group rules that let everything out; they are revoked and the group is read back before any interface is moved.
//! Interfaces are moved one by one: `ModifyInstanceAttribute` would reach the primary one only.

mod apply;
mod group;
mod nics;
mod ssm;
mod undo;

use std::collections::{BTreeMap, BTreeSet};

use cordon_shared::plan::{Change as Difference, ChangeKey, Counts, Plan as Planned, Risk, Seat, Verdict};
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::{
    group::{Group, Target},
    nics::{ElasticIp, Nic},
};
use super::{
    detach_from_service::serving,
    look::{machines, pairs},
};
use crate::{
    action::{ActionError, ApplyError, Change, Cx, Plan, Progress, Undo, Write},
    permission::{Bindings, Condition, Permission, write_policies},
    session::Clients,
};

/// Isolates an instance.
#[derive(Debug, Clone, Copy)]
pub struct IsolateInstance;

/// The attribute of an interface that is changed.
const ATTRIBUTE: &str = "security groups";

/// What is isolated, and how far.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The instance (`i-…`): all its interfaces.
    pub instance: String,
    /// Leaves the way to Systems Manager open, through interface endpoints of the VPC and nothing else.
    #[serde(default)]
    pub keep_ssm: bool,
    /// Also an instance that another controller runs (EKS, ECS, Beanstalk, EMR, …).
    #[serde(default)]
    pub even_if_managed: bool,
}

/// All that undo needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Before {
    run: String,
    /// Where interfaces are moved.
    places: Vec<Place>,
    /// The interfaces that are moved, as they were.
    interfaces: Vec<Nic>,
    /// Interfaces that are isolated already, and the group that does it.
    isolated: BTreeMap<String, String>,
    /// Interfaces that AWS services run.
    refused: Vec<Refused>,
}

/// A VPC and its isolation group.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Place {
    vpc: String,
    /// The account that owns the VPC.
    owner: String,
    /// The group's name.
    name: String,
    /// Whether a new group of this VPC lets IPv6 out too.
    ipv6: bool,
    /// Where the group lets TCP 443 out to.
    keep: BTreeSet<Target>,
}

/// An interface that was left alone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Refused {
    /// The interface.
    pub interface: String,
    /// The AWS service that runs it.
    pub by: String,
}

/// What was done.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The interfaces that were moved.
    pub interfaces: Vec<Moved>,
    /// The isolation groups.
    pub groups: Vec<Made>,
    /// Whether the way to Systems Manager is open.
    pub kept_ssm: bool,
    /// Elastic IP addresses that stay associated.
    pub elastic_ips: Vec<ElasticIp>,
    /// Interfaces that were left alone.
    pub refused: Vec<Refused>,
}

/// An interface that was moved.
#[derive(Debug, Clone, Serialize)]
pub struct Moved {
    /// The interface.
    pub interface: String,
    /// The group that it is in.
    pub group: String,
    /// The groups that it was in.
    pub was: Vec<String>,
}

/// An isolation group.
#[derive(Debug, Clone, Serialize)]
pub struct Made {
    /// The VPC.
    pub vpc: String,
    /// The group.
    pub group: String,
}

/// A group may be made with the incident's tag alone.
const ASKED: &[Condition] = &[("StringLike", "aws:RequestTag/cordon:run", "{run}")];
/// Tags are written in the call that makes the group, at no other time.
const AT_CREATION: &[Condition] =
    &[("StringLike", "aws:RequestTag/cordon:run", "{run}"), ("StringLike", "ec2:CreateAction", "CreateSecurityGroup")];
const GROUPS: &str = "arn:{partition}:ec2:{region}:{account}:security-group/*";

impl Change for IsolateInstance {
    const NAME: &'static str = "ec2.isolate-instance";
    const ABOUT: &'static str = "Moves every interface of an instance into one security group that lets nothing in and nothing out";
    const RISK: Risk = Risk::Disruptive;
    const COUNTS: &'static [Counts] = &[Counts::Instances];
    const SEAT: Seat = Seat::Member;
    // https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
    // What it serves in is read as `ec2.detach-from-service` reads it.
    const READS: &'static [Permission] = &[
        Permission::new("autoscaling:DescribeAutoScalingGroups", "*"),
        Permission::new("autoscaling:DescribeAutoScalingInstances", "*"),
        Permission::new("ec2:DescribeInstances", "*"),
        Permission::new("ec2:DescribeNetworkInterfaces", "*"),
        Permission::new("ec2:DescribeSecurityGroups", "*"),
        Permission::new("ec2:DescribeVpcEndpoints", "*"),
        Permission::new("ec2:DescribeVpcs", "*"),
        Permission::new("elasticloadbalancing:DescribeInstanceHealth", "*"),
        Permission::new("elasticloadbalancing:DescribeLoadBalancers", "*"),
        Permission::new("elasticloadbalancing:DescribeTags", "*"),
        Permission::new("elasticloadbalancing:DescribeTargetGroups", "*"),
        Permission::new("elasticloadbalancing:DescribeTargetHealth", "*"),
    ];
    const WRITES: &'static [Permission] = &[
        // A shared VPC is its owner's; the group that is made in it is ours.
        Permission::new("ec2:CreateSecurityGroup", "arn:{partition}:ec2:{region}:{owner}:vpc/{vpc}"),
        Permission { action: "ec2:CreateSecurityGroup", resource: GROUPS, conditions: ASKED },
        Permission { action: "ec2:CreateTags", resource: GROUPS, conditions: AT_CREATION },
        Permission::own("ec2:AuthorizeSecurityGroupEgress", GROUPS),
        Permission::own("ec2:DeleteSecurityGroup", GROUPS),
        Permission::own("ec2:ModifyNetworkInterfaceAttribute", GROUPS),
        Permission::own("ec2:RevokeSecurityGroupEgress", GROUPS),
        Permission::new("ec2:ModifyNetworkInterfaceAttribute", "arn:{partition}:ec2:{region}:{account}:network-interface/{interface}"),
        Permission::new("ec2:ModifyNetworkInterfaceAttribute", "arn:{partition}:ec2:{region}:{account}:security-group/{group}"),
    ];
    const SETTLE: SignedDuration = SignedDuration::from_secs(60);

    type Params = Params;
    type Before = Before;
    type Ticket = ();
    type Outcome = Outcome;

    fn bind(&self, _with: &Params, before: &Before) -> Bindings {
        Bindings::new()
            .with("run", [before.run.clone()])
            .with("vpc", before.places.iter().map(|place| place.vpc.clone()))
            .with("owner", before.places.iter().map(|place| place.owner.clone()))
            .with("interface", before.interfaces.iter().map(|nic| nic.id.clone()))
            .with("group", before.interfaces.iter().flat_map(|nic| nic.groups.clone()))
    }

    async fn plan(&self, cx: Cx<'_>, with: &Params) -> Result<Plan<Before>, ActionError> {
        let client = cx.read.ec2();
        let id = &with.instance;
        let Some(machine) = machines(&client, std::slice::from_ref(id)).await?.remove(id) else {
            return Ok(Plan::Moot { why: format!("there is no instance {id}") });
        };
        if machine.is_gone() {
            return Ok(Plan::Moot { why: format!("instance {id} is {}", machine.state) });
        }
        let mut plan = Planned::default();
        if let Some(who) = &machine.controller {
            if !with.even_if_managed {
                let why =
                    format!("instance {id} is run by {who}, which may replace it or undo what is changed here. A person has to decide");
                return Ok(Plan::Refuse { code: "run-by-controller", why });
            }
            plan.notes.push(format!("instance {id} is run by {who}, which may replace it; it is isolated because the step says so"));
        }
        let seen = nics::of_instance(&client, id).await?;
        let refused: Vec<Refused> = seen.iter().filter_map(nics::Seen::refused).collect();
        for Refused { interface, by } in &refused {
            plan.notes.push(format!("interface {interface} is run by {by}: it cannot be isolated and is left alone"));
        }
        if seen.len() == refused.len() {
            if refused.is_empty() {
                return Ok(Plan::Moot { why: format!("instance {id} has no network interface") });
            }
            let why = format!("every interface of instance {id} is run by an AWS service: {}", plan.notes.join("; "));
            return Ok(Plan::Refuse { code: "managed-interfaces", why });
        }
        let own: Vec<nics::Seen> = seen.into_iter().filter(|seen| seen.interface.managed_by.is_none()).collect();
        let instance = cx.ec2_arn(&format!("instance/{id}"));
        plan.opt_outs.extend(cx.opt_out(&instance, pairs(&machine.tags)));
        plan.counts = Some([instance].into());
        if machine.state != "running" {
            plan.notes.push(format!("instance {id} is {}: its interfaces are isolated all the same", machine.state));
        }
        let groups = group::by_id(&client, own.iter().flat_map(|seen| seen.nic.groups.clone()).collect()).await?;
        let mut before = Before { run: cx.run.to_string(), places: Vec::new(), interfaces: Vec::new(), isolated: BTreeMap::new(), refused };
        let vpcs: BTreeSet<String> = own.iter().map(|seen| seen.nic.vpc.clone()).collect();
        for vpc in vpcs {
            let here: Vec<&nics::Seen> = own.iter().filter(|seen| seen.nic.vpc == vpc).collect();
            let keep = if with.keep_ssm { ssm::endpoints(cx, &client, &vpc, &here, &mut plan.notes).await? } else { BTreeSet::new() };
            let place = group::place(cx, &client, &vpc, keep, &mut plan.notes).await?;
            if let Some(there) = group::find(&client, &place).await?
                && let Err(why) = group::usable(&client, &there, cx.run, &place, id).await?
            {
                return Ok(Plan::Refuse { code: "isolation-group-taken", why });
            }
            let moved = before.interfaces.len();
            for seen in here {
                interface(cx, seen, &place, &groups, &mut before, &mut plan);
            }
            if before.interfaces.len() > moved {
                before.places.push(place);
            }
        }
        always(&own, &mut plan.notes);
        // Without a network it serves nothing, also where it was not taken out of service first.
        if !before.interfaces.is_empty() {
            match serving(cx, id).await {
                Ok((shares, last)) => (plan.shares, plan.beside) = (shares, last),
                // Who may not know that asks, and isolates all the same.
                Err(error @ (ActionError::Denied(_) | ActionError::Service { .. })) => {
                    plan.beside = Some(format!("what instance {id} serves in cannot be read"));
                    plan.notes.push(format!("what instance {id} serves in cannot be read: {error}"));
                }
                Err(error) => return Err(error),
            }
        }
        if !before.interfaces.is_empty()
            && let Err(why) = self.sessions(cx, with, &before)
        {
            let why = format!("{} interfaces are too many for the write sessions of one step ({why}); isolate them by hand", own.len());
            return Ok(Plan::Refuse { code: "too-many-resources", why });
        }
        Ok(Plan::Ready { before, plan })
    }

    async fn apply(&self, cx: Cx<'_>, write: Write<'_>, with: &Params, before: &Before) -> Result<Progress<(), Outcome>, ApplyError> {
        apply::apply(cx, write, with, before).await.map(Progress::Done)
    }

    async fn verify(&self, cx: Cx<'_>, with: &Params, before: &Before) -> Result<Verdict, ActionError> {
        apply::verify(cx, with, before).await
    }

    async fn undo(&self, cx: Cx<'_>, write: Write<'_>, _with: &Params, before: &Before, only: &[ChangeKey]) -> Result<Undo, ApplyError> {
        undo::undo(cx, write, before, only).await
    }
}

impl IsolateInstance {
    /// Whether write sessions can be narrowed to the plan: one of them must hold an interface together with all groups that it was in.
    fn sessions(self, cx: Cx<'_>, with: &Params, before: &Before) -> Result<(), String> {
        let scopes = write_policies(Self::WRITES, cx.cell, &self.bind(with, before)).map_err(|error| error.to_string())?;
        let apart = before.interfaces.iter().find(|nic| !scopes.iter().any(|scope| covers(&scope.bindings, nic)));
        apart.map_or(Ok(()), |nic| Err(format!("interface {} and its {} groups do not fit one", nic.id, nic.groups.len())))
    }
}

fn covers(bindings: &Bindings, nic: &Nic) -> bool {
    bindings.has("interface", &nic.id) && nic.groups.iter().all(|group| bindings.has("group", group))
}

/// The session that may put this interface back.
fn session<'a>(write: Write<'a>, nic: &Nic) -> &'a Clients {
    write.parts.iter().find(|(bindings, _)| covers(bindings, nic)).map_or(write.aws, |(_, clients)| clients)
}

/// One interface: it is moved, or isolated already.
fn interface(cx: Cx<'_>, seen: &nics::Seen, place: &Place, groups: &BTreeMap<String, Group>, before: &mut Before, plan: &mut Planned) {
    let nic = &seen.nic;
    let arn = cx.ec2_arn(&format!("network-interface/{}", nic.id));
    plan.opt_outs.extend(cx.opt_out(&arn, pairs(&seen.interface.tags)));
    // Also where all is as wanted: what another step is putting back is not isolated to stay.
    plan.touches.insert(arn.clone());
    let only = match nic.groups.as_slice() {
        [only] => groups.get(only),
        _ => None,
    };
    let of_incident = only.and_then(|group| Some((group, group.incident(&place.vpc)?)));
    if let Some((group, run)) = &of_incident {
        let ours = *run == cx.run;
        if group.rules.within(&place.keep) {
            if !ours {
                plan.notes.push(format!("interface {} is isolated already, by {run}: it stays in {}", nic.id, group.id));
            }
            before.isolated.insert(nic.id.clone(), group.id.clone());
            let state = json!([group.name]);
            plan.already.push(Difference { resource: arn, attribute: ATTRIBUTE.to_owned(), before: state.clone(), after: state });
            return;
        }
        plan.notes.push(format!("interface {} is in {}, the isolation group of {run}, which has rules: it is moved out", nic.id, group.id));
    }
    for elastic in &nic.elastic_ips {
        plan.notes.push(format!("Elastic IP {} stays associated with interface {}", elastic.public_ip, nic.id));
    }
    plan.changes.push(Difference { resource: arn, attribute: ATTRIBUTE.to_owned(), before: json!(nic.groups), after: json!([place.name]) });
    before.interfaces.push(nic.clone());
}

/// What a reader must know of every isolation.
fn always(own: &[nics::Seen], notes: &mut Vec<String>) {
    notes.push("security groups cut neither the VPC's DNS resolver nor the instance metadata service".to_owned());
    notes.push(format!(
        "connections of {} that are tracked already go on after the change, until they idle out (`ec2.cut-tracked-flows` shortens that)",
        if own.len() == 1 { "the interface".to_owned() } else { format!("the {} interfaces", own.len()) }
    ));
}

#[cfg(test)]
#[path = "isolate_instance/tests.rs"]
mod tests;
