//! `ec2.detach-from-service` in the lab: what the drills of all actions do not ask.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail as tests do")]

use std::collections::BTreeSet;

use cordon_lab::{
    LabError,
    drill::{Drill, Ground, Trespass, World, Yard},
    organization::{
        Exposure, Instance, InstanceShape, OPT_OUT,
        service::{Kind, Sizes},
    },
};
use cordon_shared::{
    id::CellId,
    plan::{Plan as Planned, Verdict},
};
use cordon_spoke::action::{Plan, Undo};
use futures::future::{BoxFuture, try_join_all};
use serde_json::{Value, json};

use super::drills::yard;

const ACTION: &str = "ec2.detach-from-service";

/// An instance to be taken out of service, and another one beside it.
#[derive(Debug)]
struct Place {
    yard: &'static Yard,
    cell: CellId,
    one: Instance,
    other: Instance,
    standby: bool,
}

impl World for Place {
    fn cell(&self) -> &CellId {
        &self.cell
    }
    fn with(&self) -> Value {
        json!({"instance": self.one.id, "standby": self.standby})
    }
    fn look(&self) -> BoxFuture<'_, Result<Value, LabError>> {
        Box::pin(async { Ok(Value::Null) })
    }
    fn drift(&self) -> BoxFuture<'_, Result<(), LabError>> {
        Box::pin(async { Ok(()) })
    }
    fn drifted(&self, _state: &Value) -> bool {
        false
    }
    fn trespasses(&self) -> Vec<Trespass> {
        Vec::new()
    }
}

impl Place {
    async fn new(standby: bool) -> Self {
        let yard = yard().await;
        let (account, region) = yard.place();
        let shape = || InstanceShape {
            name: format!("service-{}", cordon_lab::accounts::fresh()),
            interfaces: vec![Exposure::Port],
            tags: Vec::new(),
        };
        let (first, second) = (shape(), shape());
        let organization = &yard.organization;
        let (one, other) =
            futures::try_join!(organization.instance(account, region, &first), organization.instance(account, region, &second)).unwrap();
        let cell = CellId::new(account.parse().unwrap(), region.parse().unwrap());
        Self { yard, cell, one, other, standby }
    }

    async fn ask(&self, service: &str, operation: &str, params: Value) -> Value {
        let (account, region) = (self.cell.account.as_str(), self.cell.region.as_str());
        self.yard.organization.hand.call(account, region, service, operation, params).await.unwrap()
    }

    /// A target group with both instances on a port, behind a load balancer.
    async fn balanced(&self, name: &str, port: u16) -> String {
        let organization = &self.yard.organization;
        let arn = organization.target_group(&self.one, &format!("{}-{name}", self.one.name), Kind::Instances, 80).await.unwrap();
        organization.balance(&self.one, &format!("{}-{name}", self.one.name), std::slice::from_ref(&arn)).await.unwrap();
        organization.register(&self.one, &arn, &[(&self.one.id, port), (&self.other.id, port)]).await.unwrap();
        arn
    }

    async fn group(&self, min: u32, max: u32, others: u32) -> String {
        self.yard.organization.scaling_group(&self.one, Sizes { min, max, others }, &[]).await.unwrap()
    }

    /// A group's minimum and desired size, this instance's state in it, and how many others are in service.
    async fn sizes(&self, group: &str) -> (i64, i64, Option<String>, usize) {
        let found = self.ask("autoscaling", "describe_auto_scaling_groups", json!({"AutoScalingGroupNames": [group]})).await;
        let group = &found["AutoScalingGroups"][0];
        let members = group["Instances"].as_array().unwrap();
        let own = members.iter().find(|member| member["InstanceId"] == self.one.id.as_str());
        let others =
            members.iter().filter(|member| member["InstanceId"] != self.one.id.as_str() && member["LifecycleState"] == "InService");
        let state = own.map(|member| member["LifecycleState"].as_str().unwrap().to_owned());
        (group["MinSize"].as_i64().unwrap(), group["DesiredCapacity"].as_i64().unwrap(), state, others.count())
    }

    /// The ports on which a target group has this instance.
    async fn ports(&self, arn: &str) -> Vec<i64> {
        let found = self.ask("elbv2", "describe_target_health", json!({"TargetGroupArn": arn})).await;
        let own = found["TargetHealthDescriptions"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|entry| entry["Target"]["Id"] == self.one.id.as_str() && entry["TargetHealth"]["State"] != "draining");
        own.map(|entry| entry["Target"]["Port"].as_i64().unwrap()).collect()
    }
}

async fn begun<'a>(ground: &'a Ground, place: &'a Place) -> Drill<'a> {
    Drill::begin(ground, place, ACTION).await.unwrap()
}

/// Planned, applied and read back; the plan and the outcome.
async fn applied(drill: &mut Drill<'_>) -> (Planned, Value) {
    let plan = drill.plan().await.unwrap();
    let outcome = drill.apply().await.unwrap().unwrap();
    assert_eq!(drill.verify().await.unwrap(), Verdict::InEffect);
    assert_eq!(drill.recover().await.unwrap(), 0);
    (plan, outcome)
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_target_groups_are_left_through_several_sessions_and_all_come_back() {
    let place = Place::new(false).await;
    let made = (0..40_u16).map(|number| {
        let place = &place;
        async move {
            let organization = &place.yard.organization;
            let name = format!("{:x<29}-{number:02}", place.one.name);
            let arn = organization.target_group(&place.one, &name, Kind::Instances, 80).await?;
            organization.register(&place.one, &arn, &[(&place.one.id, 8000 + number), (&place.other.id, 80)]).await?;
            Ok::<_, LabError>(arn)
        }
    });
    let arns = try_join_all(made).await.unwrap();
    let group = place.group(2, 3, 1).await;
    let ground = Ground::new(place.yard).unwrap();
    let mut drill = begun(&ground, &place).await;
    let mark = ground.lab.gateway.ledger().mark();
    let (plan, outcome) = applied(&mut drill).await;
    assert_eq!((plan.changes.len(), outcome["target_groups"].as_array().unwrap().len()), (41, 40));
    assert_eq!(plan.counts.clone().unwrap(), BTreeSet::from([place.one.arn.clone()]), "one instance, whatever it serves in");
    let scopes = drill.policies(&plan).unwrap();
    assert!(scopes.len() > 1 && scopes.iter().all(|scope| scope.policy.chars().count() <= 2048));
    for arn in &arns {
        assert_eq!(place.ports(arn).await, Vec::<i64>::new(), "{arn}");
    }
    let Undo::Restored(restored) = drill.undo().await.unwrap().unwrap() else { panic!("left to a person") };
    assert_eq!(restored.len(), 41);
    for (arn, number) in arns.iter().zip(0..) {
        assert_eq!(place.ports(arn).await, [8000 + number], "{arn}");
    }
    assert_eq!(place.sizes(&group).await.2.as_deref(), Some("InService"));
    let writes: Vec<_> = drill.calls(mark).into_iter().filter(|call| call.write).collect();
    assert_eq!(drill.not_writes(&writes), Vec::<String>::new());
    let keys: BTreeSet<&String> = writes.iter().map(|call| &call.access_key).collect();
    assert!(keys.len() >= scopes.len() * 2, "each session does its own part");
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_minimum_size_a_replacement_starts_and_an_undo_says_that_there_is_one_more() {
    let place = Place::new(false).await;
    let group = place.group(2, 3, 1).await;
    let ground = Ground::new(place.yard).unwrap();
    let mut drill = begun(&ground, &place).await;
    let (_, outcome) = applied(&mut drill).await;
    assert_eq!(outcome["auto_scaling"], json!({"group": group, "mode": "detached", "desired": 2, "min_was": 2}));
    assert_eq!(place.sizes(&group).await, (2, 2, None, 2));
    let state = place.ask("ec2", "describe_instances", json!({"InstanceIds": [place.one.id]})).await;
    assert_eq!(state["Reservations"][0]["Instances"][0]["State"]["Name"], "running", "it is evidence");
    let Undo::Restored(restored) = drill.undo().await.unwrap().unwrap() else { panic!("left to a person") };
    assert_eq!(place.sizes(&group).await, (2, 3, Some("InService".to_owned()), 2));
    assert_eq!(restored[0].after["desired"], 3);
    let note = restored[0].after["note"].as_str().unwrap();
    assert!(note.contains("1 more than before") && note.contains("terminate-instance-in-auto-scaling-group"), "{note}");
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_minimum_size_standby_lowers_it_and_an_undo_is_exact() {
    let place = Place::new(true).await;
    let group = place.group(2, 2, 1).await;
    let ground = Ground::new(place.yard).unwrap();
    let mut drill = begun(&ground, &place).await;
    let (_, outcome) = applied(&mut drill).await;
    assert_eq!(outcome["auto_scaling"], json!({"group": group, "mode": "standby", "desired": 1, "min_was": 2}));
    assert_eq!(place.sizes(&group).await, (1, 1, Some("Standby".to_owned()), 1));
    assert!(matches!(drill.undo().await.unwrap().unwrap(), Undo::Restored(restored) if restored.len() == 2));
    assert_eq!(place.sizes(&group).await, (2, 2, Some("InService".to_owned()), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minimum_that_somebody_changed_meanwhile_is_left_to_a_person() {
    let place = Place::new(true).await;
    let group = place.group(2, 4, 1).await;
    let ground = Ground::new(place.yard).unwrap();
    let mut drill = begun(&ground, &place).await;
    applied(&mut drill).await;
    place.ask("autoscaling", "update_auto_scaling_group", json!({"AutoScalingGroupName": group, "MinSize": 0})).await;
    let Undo::ByHand(steps) = drill.undo().await.unwrap().unwrap() else { panic!("overwritten") };
    assert!(steps[0].contains("somebody changed the minimum size") && steps[0].contains("--min-size 2"), "{steps:?}");
    assert_eq!(place.sizes(&group).await, (0, 2, Some("InService".to_owned()), 1), "the instance itself is back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_full_or_gone_takes_nothing_back_and_a_person_is_told_what_to_do() {
    let place = Place::new(false).await;
    let group = place.group(2, 2, 1).await;
    let targets = place.balanced("api", 8443).await;
    let ground = Ground::new(place.yard).unwrap();
    let mut drill = begun(&ground, &place).await;
    let (plan, _) = applied(&mut drill).await;
    assert!(plan.notes.iter().any(|note| note.contains("at its maximum size")), "{:?}", plan.notes);
    let Undo::ByHand(steps) = drill.undo().await.unwrap().unwrap() else { panic!("beyond the maximum size") };
    assert!(steps[0].contains("maximum size (2 of 2)") && steps[0].contains("aws autoscaling --region"), "{steps:?}");
    assert!(steps.iter().any(|step| step.starts_with("nothing more to do") && step.contains("port 8443")), "{steps:?}");
    assert_eq!((place.sizes(&group).await, place.ports(&targets).await), ((2, 2, None, 2), vec![8443]));
    place.ask("autoscaling", "delete_auto_scaling_group", json!({"AutoScalingGroupName": group, "ForceDelete": true})).await;
    let Undo::ByHand(steps) = drill.undo().await.unwrap().unwrap() else { panic!("there is no group") };
    assert!(steps[0].contains("was deleted"), "{steps:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_registered_again_is_left_and_what_is_gone_is_told() {
    let place = Place::new(false).await;
    let (again, gone) = (place.balanced("again", 8443).await, place.balanced("gone", 9443).await);
    let ground = Ground::new(place.yard).unwrap();
    let mut drill = begun(&ground, &place).await;
    applied(&mut drill).await;
    place.yard.organization.register(&place.one, &again, &[(&place.one.id, 8443)]).await.unwrap();
    let found = place.ask("elbv2", "describe_load_balancers", json!({"Names": [format!("{}-gone", place.one.name)]})).await;
    place.ask("elbv2", "delete_load_balancer", json!({"LoadBalancerArn": found["LoadBalancers"][0]["LoadBalancerArn"]})).await;
    place.ask("elbv2", "delete_target_group", json!({"TargetGroupArn": gone})).await;
    let mark = ground.lab.gateway.ledger().mark();
    let Undo::ByHand(steps) = drill.undo().await.unwrap().unwrap() else { panic!("a target group is gone") };
    assert!(steps.len() == 1 && steps[0].contains(&gone) && steps[0].contains("was deleted"), "{steps:?}");
    assert!(drill.calls(mark).iter().all(|call| !call.write));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_one_in_service_asks() {
    let place = Place::new(false).await;
    let organization = &place.yard.organization;
    let name = format!("{}-only", place.one.name);
    let arn = organization.target_group(&place.one, &name, Kind::Addresses, 80).await.unwrap();
    organization.balance(&place.one, &name, std::slice::from_ref(&arn)).await.unwrap();
    organization.register(&place.one, &arn, &[(&place.one.address, 8080)]).await.unwrap();
    let ground = Ground::new(place.yard).unwrap();
    let Plan::Ready { plan, .. } = begun(&ground, &place).await.look().await.unwrap() else { panic!("no plan") };
    assert!(plan.ask.unwrap().contains(&format!("last healthy target of target group {name}")));
    assert!(plan.notes.iter().any(|note| note.contains("0 of 1 healthy targets remain")), "{:?}", plan.notes);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opt_out_on_what_would_be_changed_is_seen_and_one_elsewhere_is_not() {
    let place = Place::new(false).await;
    let (ours, theirs) = (place.balanced("ours", 80).await, place.balanced("theirs", 80).await);
    for arn in [&ours, &theirs] {
        place.ask("elbv2", "add_tags", json!({"ResourceArns": [arn], "Tags": [{"Key": OPT_OUT, "Value": "yes"}]})).await;
    }
    place.ask("elbv2", "deregister_targets", json!({"TargetGroupArn": theirs, "Targets": [{"Id": place.one.id, "Port": 80}]})).await;
    place
        .ask(
            "elbv2",
            "modify_target_group_attributes",
            json!({"TargetGroupArn": theirs, "Attributes": [
                {"Key": "deregistration_delay.timeout_seconds", "Value": "0"}
            ]}),
        )
        .await;
    let ground = Ground::new(place.yard).unwrap();
    let Plan::Ready { plan, .. } = begun(&ground, &place).await.look().await.unwrap() else { panic!("no plan") };
    assert_eq!(plan.opt_outs.iter().map(|seen| &seen.resource).collect::<Vec<_>>(), [&ours]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_serves_in_nothing_or_is_gone_is_moot_and_one_that_stopped_is_not_put_back() {
    let place = Place::new(false).await;
    let ground = Ground::new(place.yard).unwrap();
    let moot = async |says: &str| {
        let Plan::Moot { why } = begun(&ground, &place).await.look().await.unwrap() else { panic!("there is something to do") };
        assert!(why.contains(says), "{why}");
    };
    moot("no Auto Scaling group, target group or balancer has").await;
    let targets = place.balanced("api", 8443).await;
    let mut drill = begun(&ground, &place).await;
    applied(&mut drill).await;
    place.ask("ec2", "stop_instances", json!({"InstanceIds": [place.one.id]})).await;
    let Undo::ByHand(steps) = drill.undo().await.unwrap().unwrap() else { panic!("a stopped target") };
    assert!(steps[0].contains("start it first") && steps[0].contains("Port=8443"), "{steps:?}");
    assert_eq!(place.ports(&targets).await, Vec::<i64>::new());
    place.ask("ec2", "terminate_instances", json!({"InstanceIds": [place.one.id]})).await;
    moot("is terminated").await;
    assert!(
        matches!(drill.undo().await.unwrap().unwrap(), Undo::Restored(restored) if restored.is_empty()),
        "there is nothing to put back"
    );
}
