//! `ec2.disable-instance-metadata`.

use cordon_lab::drill::{Drill, Ground};
use cordon_shared::plan::Verdict;
use cordon_spoke::action::Undo;
use serde_json::json;

use super::{METADATA, Place, noted, swap, yard};

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_off_already_is_claimed_and_not_changed() {
    let place = Place::run(json!({"MetadataOptions": {"HttpEndpoint": "disabled"}})).await;
    let plan = place.ready(METADATA).await;
    assert!(plan.changes.is_empty() && plan.already.len() == 1, "{plan:?}");
    assert!(plan.counted().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_without_a_profile_is_cut_off_too_and_the_report_says_that_there_was_nothing_to_get() {
    let plan = Place::run(json!({})).await.ready(METADATA).await;
    assert!(plan.changes.len() == 1 && noted(&plan, "has no instance profile: there are no credentials"), "{plan:?}");
    let (place, profile) = swap::with_profile().await;
    let plan = place.ready(METADATA).await;
    assert!(noted(&plan, &format!("(instance profile {profile}) stay valid until they expire")), "{:?}", plan.notes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_instance_is_cut_off_from_its_next_start_on() {
    let place = Place::run(json!({})).await;
    place.ask("ec2", "stop_instances", json!({"InstanceIds": [place.id]})).await;
    let ground = Ground::new(yard().await).unwrap();
    let mut drill = Drill::begin(&ground, &place, METADATA).await.unwrap();
    let plan = drill.plan().await.unwrap();
    assert!(noted(&plan, "is stopped: the change is taken over when it starts"), "{:?}", plan.notes);
    let outcome = drill.apply().await.unwrap().unwrap();
    assert_eq!(outcome, json!({"was": "enabled", "now": "disabled", "state": "pending"}));
    assert_eq!(drill.verify().await.unwrap(), Verdict::InEffect);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_a_person_turned_on_again_is_left_as_it_is() {
    let place = Place::run(json!({})).await;
    let ground = Ground::new(yard().await).unwrap();
    let mut drill = Drill::begin(&ground, &place, METADATA).await.unwrap();
    drill.plan().await.unwrap();
    drill.apply().await.unwrap().unwrap();
    assert_eq!(drill.recover().await.unwrap(), 0);
    let on = json!({"InstanceId": place.id, "HttpEndpoint": "enabled"});
    place.ask("ec2", "modify_instance_metadata_options", on).await;
    let mark = ground.lab.gateway.ledger().mark();
    assert!(matches!(drill.undo().await.unwrap().unwrap(), Undo::Restored(changes) if changes.is_empty()));
    assert!(drill.calls(mark).iter().all(|call| !call.write));
}
