//! `ec2.protect-instance`.

use cordon_lab::drill::{Drill, Ground};
use cordon_shared::plan::{Effect, Verdict};
use cordon_spoke::action::Undo;
use serde_json::{Value, json};

use super::{PROTECT, Place, fault, noted, yard};

/// An instance whose shutdown terminates it.
async fn careless() -> Place {
    Place::run(json!({"InstanceInitiatedShutdownBehavior": "terminate"})).await
}

async fn attribute(place: &Place, name: &str) -> Value {
    place.ask("ec2", "describe_instance_attribute", json!({"InstanceId": place.id, "Attribute": name})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_spot_instance_only_the_volumes_are_protected_and_the_rest_is_named() {
    let place =
        Place::run(json!({"InstanceMarketOptions": {"MarketType": "spot"}, "InstanceInitiatedShutdownBehavior": "terminate"})).await;
    let ground = Ground::new(yard().await).unwrap();
    let mut drill = Drill::begin(&ground, &place, PROTECT).await.unwrap();
    let plan = drill.plan().await.unwrap();
    let attributes: Vec<&str> = plan.changes.iter().map(|change| change.attribute.as_str()).collect();
    assert!(attributes.len() == 1 && attributes[0].starts_with("delete on termination of /dev/sda1"), "{attributes:?}");
    assert!(noted(&plan, "is a Spot Instance"), "{:?}", plan.notes);
    assert_eq!(plan.before["settings"].as_array().unwrap().len(), 4, "every value is recorded: {}", plan.before);

    let outcome = drill.apply().await.unwrap().unwrap();
    let unsupported: Vec<&str> = outcome["unsupported"].as_array().unwrap().iter().map(|one| one["attribute"].as_str().unwrap()).collect();
    assert_eq!(unsupported, ["termination protection", "stop protection", "shutdown behaviour"]);
    assert_eq!(outcome["attributes"][0]["was"], json!(true));
    assert_eq!(drill.recover().await.unwrap(), 0, "it is not in effect");
    assert!(matches!(drill.undo().await.unwrap().unwrap(), Undo::Restored(changes) if changes.len() == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_an_auto_scaling_group_is_protected_and_the_scale_in_is_noted() {
    let mut place = Place::new().await;
    let name = format!("web-{}", cordon_lab::accounts::fresh());
    let configuration = json!({"LaunchConfigurationName": name, "ImageId": "ami-12c6146b", "InstanceType": "t3.micro"});
    place.ask("autoscaling", "create_launch_configuration", configuration).await;
    let zone = format!("{}a", place.cell.region);
    let group = json!({
        "AutoScalingGroupName": name, "LaunchConfigurationName": name, "MinSize": 1, "MaxSize": 1, "AvailabilityZones": [zone]
    });
    place.ask("autoscaling", "create_auto_scaling_group", group).await;
    let groups = place.ask("autoscaling", "describe_auto_scaling_groups", json!({"AutoScalingGroupNames": [name]})).await;
    place.id = groups["AutoScalingGroups"][0]["Instances"][0]["InstanceId"].as_str().unwrap().to_owned();
    let plan = place.ready(PROTECT).await;
    assert!(!plan.changes.is_empty() && noted(&plan, &format!("in the Auto Scaling group {name}: protection stops neither")), "{plan:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn instance_store_volumes_are_named_before_anybody_stops_the_instance() {
    let place = Place::run(json!({"InstanceType": "m5d.large"})).await;
    let plan = place.ready(PROTECT).await;
    let note = format!("stopping, hibernating or terminating {} loses its instance-store volumes (1 × 75 GB ssd)", place.id);
    assert!(noted(&plan, &note), "{:?}", plan.notes);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attribute_that_aws_does_not_support_here_is_named_and_the_others_are_set() {
    let place = careless().await;
    let ground = Ground::new(yard().await).unwrap();
    let mut drill = Drill::begin(&ground, &place, PROTECT).await.unwrap();
    drill.plan().await.unwrap();
    ground.lab.gateway.faults().add(fault("ModifyInstanceAttribute", "DisableApiStop", "UnsupportedOperation"));
    let outcome = drill.apply().await.unwrap().unwrap();
    let set: Vec<&str> = outcome["attributes"].as_array().unwrap().iter().map(|one| one["attribute"].as_str().unwrap()).collect();
    assert!(set[..2] == ["termination protection", "shutdown behaviour"] && set[2].starts_with("delete on termination"), "{outcome}");
    assert_eq!(outcome["unsupported"][0]["attribute"], "stop protection");
    assert!(outcome["unsupported"][0]["why"].as_str().unwrap().starts_with("UnsupportedOperation"), "{outcome}");
    assert_eq!(attribute(&place, "disableApiTermination").await["DisableApiTermination"]["Value"], json!(true));
    assert_eq!(attribute(&place, "disableApiStop").await["DisableApiStop"]["Value"], json!(false));
    // What is not on is not said to be on.
    assert!(matches!(drill.verify().await.unwrap(), Verdict::NotInEffect { detail } if detail == "stop protection is false"));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_failure_stops_and_says_that_a_part_was_done() {
    let place = careless().await;
    let ground = Ground::new(yard().await).unwrap();
    let mut drill = Drill::begin(&ground, &place, PROTECT).await.unwrap();
    drill.plan().await.unwrap();
    ground.lab.gateway.faults().add(fault("ModifyInstanceAttribute", "DisableApiStop", "UnauthorizedOperation"));
    let error = drill.apply().await.unwrap().unwrap_err();
    assert_eq!((error.effect, error.error.code()), (Effect::Partial, "access-denied"), "{error}");
    ground.lab.gateway.faults().clear();
    assert!(matches!(drill.verify().await.unwrap(), Verdict::NotInEffect { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_terminated_before_the_undo_needs_none() {
    let place = careless().await;
    let ground = Ground::new(yard().await).unwrap();
    let mut drill = Drill::begin(&ground, &place, PROTECT).await.unwrap();
    drill.plan().await.unwrap();
    drill.apply().await.unwrap().unwrap();
    assert_eq!(drill.recover().await.unwrap(), 0);
    for name in ["DisableApiTermination", "DisableApiStop"] {
        let mut params = json!({"InstanceId": place.id});
        params[name] = json!({"Value": false});
        place.ask("ec2", "modify_instance_attribute", params).await;
    }
    place.terminate().await;
    assert!(matches!(drill.verify().await.unwrap(), Verdict::Drifted { .. }));
    assert!(matches!(drill.undo().await.unwrap().unwrap(), Undo::Restored(changes) if changes.is_empty()));
}
