//! `ec2.detach-from-service`.

use cordon_shared::id::CellId;
use futures::future::{BoxFuture, try_join_all};
use serde_json::{Value, json};

use super::{Setting, World, Yard, cell, shape};
use crate::{
    Hand, LabError,
    drill::Trespass,
    organization::{
        Exposure, Instance, call, items,
        service::{Kind, Sizes},
    },
};

pub(super) const ACTION: &str = "ec2.detach-from-service";

/// The port on which somebody else registers the instance.
const THEIRS: i64 = 7777;

#[derive(Debug)]
struct Service {
    hand: Hand,
    cell: CellId,
    with: Value,
    instance: Instance,
    group: Option<String>,
    target_groups: Vec<String>,
    classic: Option<String>,
    /// After an undo the group has one more: the replacement.
    grows: bool,
}

/// A group with one more member, its target group, and a classic balancer besides.
pub(super) fn detached(yard: &Yard) -> Setting<'_> {
    Box::pin(async move {
        let (instance, other) = two(yard).await?;
        let organization = &yard.organization;
        let targets = organization.target_group(&instance, &format!("{}-web", instance.name), Kind::Instances, 8080).await?;
        organization.balance(&instance, &format!("{}-lb", instance.name), std::slice::from_ref(&targets)).await?;
        let sizes = Sizes { min: 2, max: 3, others: 1 };
        let group = organization.scaling_group(&instance, sizes, std::slice::from_ref(&targets)).await?;
        let classic = format!("{}-classic", instance.name);
        organization.classic_balancer(&instance, &classic, &[&instance.id, &other.id]).await?;
        let mut world = service(yard, instance, vec![targets], json!({}))?;
        (world.group, world.classic, world.grows) = (Some(group), Some(classic), true);
        Ok(Box::new(world) as Box<dyn World>)
    })
}

/// A group at its minimum size, in which the instance is to stand by; targets on ports of their own.
pub(super) fn standby(yard: &Yard) -> Setting<'_> {
    Box::pin(async move {
        let (instance, other) = two(yard).await?;
        let organization = &yard.organization;
        let kept = organization.target_group(&instance, &format!("{}-kept", instance.name), Kind::Instances, 80).await?;
        let own = organization.target_group(&instance, &format!("{}-own", instance.name), Kind::Instances, 80).await?;
        organization.balance(&instance, &format!("{}-lb", instance.name), &[kept.clone(), own.clone()]).await?;
        organization.register(&instance, &own, &[(&instance.id, 8443), (&instance.id, 9443), (&other.id, 8443)]).await?;
        let sizes = Sizes { min: 2, max: 2, others: 1 };
        let group = organization.scaling_group(&instance, sizes, std::slice::from_ref(&kept)).await?;
        let mut world = service(yard, instance, vec![own, kept], json!({"standby": true}))?;
        world.group = Some(group);
        Ok(Box::new(world) as Box<dyn World>)
    })
}

/// No group: targets by id and by address.
pub(super) fn by_address(yard: &Yard) -> Setting<'_> {
    Box::pin(async move {
        let (instance, other) = two(yard).await?;
        let organization = &yard.organization;
        let ids = organization.target_group(&instance, &format!("{}-ids", instance.name), Kind::Instances, 80).await?;
        let hosts = organization.target_group(&instance, &format!("{}-ips", instance.name), Kind::Addresses, 80).await?;
        organization.balance(&instance, &format!("{}-lb", instance.name), &[ids.clone(), hosts.clone()]).await?;
        organization.register(&instance, &ids, &[(&instance.id, 443), (&other.id, 443)]).await?;
        organization.register(&instance, &hosts, &[(&instance.address, 9000), (&other.address, 9000)]).await?;
        Ok(Box::new(service(yard, instance, vec![ids, hosts], json!({}))?) as Box<dyn World>)
    })
}

/// So many target groups, with the longest names that there are.
pub(super) fn crowd(yard: &Yard, size: usize) -> Setting<'_> {
    Box::pin(async move {
        let (instance, other) = two(yard).await?;
        let organization = &yard.organization;
        let (here, there) = (&instance, &other);
        let made = (0..size).map(|number| async move {
            let name = format!("{:x<29}-{number:02}", here.name);
            let arn = organization.target_group(here, &name, Kind::Instances, 80).await?;
            organization.register(here, &arn, &[(&here.id, 80), (&there.id, 80)]).await?;
            Ok::<_, LabError>(arn)
        });
        let target_groups = try_join_all(made).await?;
        Ok(Box::new(service(yard, instance, target_groups, json!({}))?) as Box<dyn World>)
    })
}

/// The instance, and another one in the same VPC.
async fn two(yard: &Yard) -> Result<(Instance, Instance), LabError> {
    let (account, region) = yard.place();
    let (one, other) = (shape(vec![Exposure::Port]), shape(vec![Exposure::Port]));
    let organization = &yard.organization;
    futures::try_join!(organization.instance(account, region, &one), organization.instance(account, region, &other))
}

fn service(yard: &Yard, instance: Instance, target_groups: Vec<String>, mut with: Value) -> Result<Service, LabError> {
    if let Some(with) = with.as_object_mut() {
        with.insert("instance".to_owned(), json!(instance.id));
    }
    let hand = yard.organization.hand.clone();
    let cell = cell(&instance.account, &instance.region)?;
    Ok(Service { hand, cell, with, instance, group: None, target_groups, classic: None, grows: false })
}

impl Service {
    async fn ask(&self, service: &str, operation: &str, params: Value) -> Result<Value, LabError> {
        call(&self.hand, self.cell.account.as_str(), self.cell.region.as_str(), service, operation, params).await
    }

    /// The group's sizes, the instance's state in it, and how many others are in service.
    async fn group(&self) -> Result<Value, LabError> {
        let Some(name) = &self.group else { return Ok(Value::Null) };
        let found = self.ask("autoscaling", "describe_auto_scaling_groups", json!({"AutoScalingGroupNames": [name]})).await?;
        let group = found.pointer("/AutoScalingGroups/0").cloned().unwrap_or_default();
        let own = |member: &&Value| member.get("InstanceId") == Some(&json!(self.instance.id));
        let state = |member: &Value| member.get("LifecycleState").cloned();
        let others = items(&group, "/Instances").filter(|member| !own(member) && state(member) == Some(json!("InService"))).count();
        Ok(json!({
            "min": group.get("MinSize"), "max": group.get("MaxSize"), "desired": group.get("DesiredCapacity"),
            "own": items(&group, "/Instances").find(own).and_then(state), "others": others,
        }))
    }

    /// The instance's targets in a target group, with their ports, zones and states.
    async fn targets(&self, arn: &str) -> Result<Value, LabError> {
        let found = self.ask("elbv2", "describe_target_health", json!({"TargetGroupArn": arn})).await?;
        let mut targets = Vec::new();
        for entry in items(&found, "/TargetHealthDescriptions") {
            let id = entry.pointer("/Target/Id").and_then(Value::as_str).unwrap_or_default();
            let name = [(&self.instance.id, "id"), (&self.instance.address, "address")].into_iter().find(|(own, _)| own.as_str() == id);
            let Some((_, name)) = name else { continue };
            let zoned = entry.pointer("/Target/AvailabilityZone").is_some();
            targets.push(json!([name, entry.pointer("/Target/Port"), zoned, entry.pointer("/TargetHealth/State")]));
        }
        targets.sort_by_key(Value::to_string);
        Ok(json!(targets))
    }

    async fn classic(&self) -> Result<Value, LabError> {
        let Some(name) = &self.classic else { return Ok(Value::Null) };
        let found = self.ask("elb", "describe_load_balancers", json!({"LoadBalancerNames": [name]})).await?;
        let instances: Vec<&Value> = items(&found, "/LoadBalancerDescriptions/0/Instances").collect();
        let own = instances.iter().filter(|instance| instance.get("InstanceId") == Some(&json!(self.instance.id))).count();
        Ok(json!({"own": own, "all": instances.len()}))
    }
}

/// The state of a group's sizes that may grow with a replacement, and the rest.
fn apart(state: &Value) -> (Vec<i64>, Value) {
    let mut rest = state.clone();
    let mut grown = Vec::new();
    if let Some(group) = rest.get_mut("group").and_then(Value::as_object_mut) {
        grown.extend(["desired", "others"].into_iter().filter_map(|name| group.remove(name)?.as_i64()));
    }
    (grown, rest)
}

impl World for Service {
    fn cell(&self) -> &CellId {
        &self.cell
    }

    fn with(&self) -> Value {
        self.with.clone()
    }

    fn look(&self) -> BoxFuture<'_, Result<Value, LabError>> {
        Box::pin(async move {
            let mut target_groups = Vec::new();
            for arn in &self.target_groups {
                target_groups.push(self.targets(arn).await?);
            }
            Ok(json!({"group": self.group().await?, "target_groups": target_groups, "classic": self.classic().await?}))
        })
    }

    /// Somebody registers the instance on a port of theirs.
    fn drift(&self) -> BoxFuture<'_, Result<(), LabError>> {
        Box::pin(async move {
            let targets = json!([{"Id": self.instance.id, "Port": THEIRS}]);
            let params = json!({"TargetGroupArn": self.target_groups.first(), "Targets": targets});
            self.ask("elbv2", "register_targets", params).await.map(drop)
        })
    }

    fn drifted(&self, state: &Value) -> bool {
        let targets = items(state, "/target_groups").flat_map(|targets| items(targets, ""));
        targets.into_iter().any(|target| target.get(1) == Some(&json!(THEIRS)) && target.get(3) != Some(&json!("draining")))
    }

    fn restored(&self, found: &Value, now: &Value) -> bool {
        let ((was, before), (is, after)) = (apart(found), apart(now));
        let may_grow = i64::from(self.grows);
        before == after && was.iter().zip(&is).all(|(was, is)| (0..=may_grow).contains(&(is - was)))
    }

    fn trespasses(&self) -> Vec<Trespass> {
        let (account, region, id) = (self.cell.account.as_str(), self.cell.region.as_str(), &self.instance.id);
        let stranger = format!("arn:aws:elasticloadbalancing:{region}:{account}:targetgroup/somebody-elses/0123456789abcdef");
        let own = self.target_groups.first().cloned().unwrap_or_default();
        let targets = json!([{"Id": id, "Port": 80}]);
        let trespass = |service, operation, params| Trespass { service, operation, params };
        let group = self.group.clone().unwrap_or_else(|| "somebody-elses".to_owned());
        vec![
            trespass(
                "autoscaling",
                "detach_instances",
                json!({"AutoScalingGroupName": "somebody-elses", "InstanceIds": [id], "ShouldDecrementDesiredCapacity": true}),
            ),
            trespass("autoscaling", "update_auto_scaling_group", json!({"AutoScalingGroupName": "somebody-elses", "MinSize": 0})),
            trespass("autoscaling", "delete_auto_scaling_group", json!({"AutoScalingGroupName": group, "ForceDelete": true})),
            trespass(
                "autoscaling",
                "terminate_instance_in_auto_scaling_group",
                json!({"InstanceId": id, "ShouldDecrementDesiredCapacity": true}),
            ),
            trespass("elbv2", "deregister_targets", json!({"TargetGroupArn": stranger, "Targets": targets})),
            trespass("elbv2", "register_targets", json!({"TargetGroupArn": stranger, "Targets": targets})),
            trespass("elbv2", "delete_target_group", json!({"TargetGroupArn": own})),
            trespass("elbv2", "describe_target_groups", json!({})),
            trespass(
                "elb",
                "deregister_instances_from_load_balancer",
                json!({"LoadBalancerName": "somebody-elses", "Instances": [{"InstanceId": id}]}),
            ),
        ]
    }
}
