//! What an instance serves in, as AWS shows it.

use std::net::IpAddr;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use ipnet::IpNet;

use super::wire;
use crate::{
    action::{ActionError, Cx},
    actions::ec2::look::Tags,
};

/// How many target groups are asked after their targets at the same time.
pub(super) const AT_A_TIME: usize = 4;

/// The instance.
#[derive(Debug, Clone, Default)]
pub(super) struct Host {
    pub id: String,
    /// `running`, `terminated`, …
    pub state: String,
    pub spot: bool,
    pub tags: Tags,
    /// Who else runs it.
    pub controller: Option<String>,
    pub vpc: Option<String>,
    /// Its private addresses, and the prefixes delegated to its interfaces.
    pub addresses: Vec<IpNet>,
}

impl Host {
    /// Whether there is nothing left to take out of service.
    pub fn is_gone(&self) -> bool {
        matches!(self.state.as_str(), "terminated" | "shutting-down")
    }

    /// Whether a target of a group of addresses is this instance.
    pub fn has(&self, target: &str) -> bool {
        target.parse::<IpAddr>().is_ok_and(|address| self.addresses.iter().any(|net| net.contains(&address)))
    }
}

/// A member of an Auto Scaling group.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub id: String,
    /// `InService`, `Standby`, …
    pub state: String,
    /// How much of the desired capacity it is.
    pub weight: i32,
}

/// An Auto Scaling group.
#[derive(Debug, Clone, Default)]
pub(super) struct Group {
    pub name: String,
    pub arn: String,
    pub min: i32,
    pub max: i32,
    pub desired: i32,
    /// It starts no instances.
    pub launches_nothing: bool,
    /// It has a policy of mixed instance types or purchase options.
    pub mixed: bool,
    /// The AWS service that alone may change it.
    pub operator: Option<String>,
    pub tags: Tags,
    pub members: Vec<Member>,
    /// The target groups that it keeps its members in.
    pub target_groups: Vec<String>,
    /// The classic balancers likewise.
    pub balancers: Vec<String>,
}

/// A target of a target group, and its health.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub target: super::Target,
    /// `healthy`, `draining`, …
    pub state: String,
    /// `Target.NotRegistered`, …
    pub reason: String,
}

impl Entry {
    /// Whether it is registered: connections of one that is not may still drain
    /// (<https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html>, "Target health status").
    pub fn registered(&self) -> bool {
        self.state != "draining" && self.reason != "Target.NotRegistered"
    }

    /// Whether it gets traffic as a healthy one. Of a group without health checks nobody knows; its targets get traffic.
    pub fn healthy(&self) -> bool {
        self.state == "healthy" || self.reason == "Target.HealthCheckDisabled"
    }
}

/// A target group.
#[derive(Debug, Clone, Default)]
pub(super) struct Targets {
    pub arn: String,
    pub name: String,
    pub by_address: bool,
    pub vpc: Option<String>,
    /// The port of targets that were registered without one.
    pub port: Option<i32>,
    /// Whether a load balancer sends traffic to it.
    pub in_use: bool,
    pub tags: Tags,
    pub entries: Vec<Entry>,
}

/// A classic balancer.
#[derive(Debug, Clone, Default)]
pub(super) struct Classic {
    pub name: String,
    pub arn: String,
    pub tags: Tags,
    /// Its instances, and whether each is in service.
    pub instances: Vec<(String, bool)>,
}

/// All of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub host: Host,
    pub group: Option<Group>,
    /// Target groups that the instance is in, or that its Auto Scaling group keeps its members in.
    pub target_groups: Vec<Targets>,
    pub balancers: Vec<Classic>,
}

/// Looks; `None` where there is no such instance. Of one that is gone nothing more is read.
pub(super) async fn look(cx: Cx<'_>, id: &str) -> Result<Option<Seen>, ActionError> {
    let Some(host) = wire::host(&cx.read.ec2(), id).await? else { return Ok(None) };
    if host.is_gone() {
        return Ok(Some(Seen { host, ..Seen::default() }));
    }
    let (scaling, elb) = (cx.read.autoscaling(), cx.read.elb());
    let group = async {
        match wire::standing(&scaling, id).await? {
            Some(standing) => wire::group(&scaling, &standing.group).await,
            None => Ok(None),
        }
    };
    let (group, target_groups, balancers) = futures::try_join!(group, pools(cx, &host), wire::classic(&elb, cx, id))?;
    let mut seen = Seen { host, group, target_groups, balancers };
    let kept = |targets: &Targets| seen.group.as_ref().is_some_and(|group| group.target_groups.contains(&targets.arn));
    let host = &seen.host;
    let ours = |targets: &Targets| targets.entries.iter().any(|entry| entry.target.id == host.id || host.has(&entry.target.id));
    let mut found: Vec<Targets> = seen.target_groups.iter().filter(|targets| ours(targets) || kept(targets)).cloned().collect();
    found.sort_by(|one, other| one.arn.cmp(&other.arn));
    let arns: Vec<String> = found.iter().map(|targets| targets.arn.clone()).collect();
    let mut tags = wire::tags(&cx.read.elbv2(), &arns).await?;
    for targets in &mut found {
        targets.tags = tags.remove(&targets.arn).unwrap_or_default();
    }
    seen.target_groups = found;
    Ok(Some(seen))
}

/// The target groups that may have the instance among their targets, with their targets. By id only groups of its own VPC can
/// (<https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-target-groups.html>, "Target type"); those of addresses
/// are all read: an address of another VPC may be registered across a peering.
async fn pools(cx: Cx<'_>, host: &Host) -> Result<Vec<Targets>, ActionError> {
    let client = &cx.read.elbv2();
    let all = wire::target_groups(client).await?;
    let maybe = all.into_iter().filter(|targets| targets.by_address || targets.vpc == host.vpc);
    let found: Vec<Option<Targets>> = stream::iter(maybe)
        .map(|targets| async move {
            let entries = wire::health(client, &targets.arn).await?;
            Ok::<_, ActionError>(entries.map(|entries| Targets { entries, ..targets }))
        })
        .buffer_unordered(AT_A_TIME)
        .try_collect()
        .await?;
    Ok(found.into_iter().flatten().collect())
}

/// What may carry an opt-out tag: the instance, and all that would be changed.
pub(super) fn tagged<'s>(seen: &'s Seen, instance: &'s str) -> impl Iterator<Item = (&'s str, &'s Tags)> {
    let group = seen.group.iter().map(|group| (group.arn.as_str(), &group.tags));
    let targets = seen.target_groups.iter().map(|targets| (targets.arn.as_str(), &targets.tags));
    let classic = seen.balancers.iter().map(|classic| (classic.arn.as_str(), &classic.tags));
    std::iter::once((instance, &seen.host.tags)).chain(group).chain(targets).chain(classic)
}
