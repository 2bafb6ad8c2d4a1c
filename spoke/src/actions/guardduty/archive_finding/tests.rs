use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::*;
use crate::{
    aws::fake::World,
    permission::{PolicyError, write_policy},
};

const ID: &str = "arn:aws:guardduty:eu-west-1:111122223333:detector/members/finding/f1";

fn with(finding: &str) -> Params {
    Params { finding: finding.to_owned() }
}

/// A GuardDuty that remembers whether its one finding is archived; `None`: it does not know it.
async fn guardduty(archived: Option<bool>) -> (World, Arc<Mutex<Option<bool>>>) {
    let state = Arc::new(Mutex::new(archived));
    let shared = Arc::clone(&state);
    let world = World::new(move |operation, asked| {
        let mut archived = shared.lock().unwrap();
        match operation {
            "GET /detector" => (200, json!({ "detectorIds": ["admins"] })),
            "POST /detector/admins/findings/get" => {
                assert_eq!(asked["findingIds"], json!(["f1"]));
                let findings: Vec<Value> =
                    archived.iter().map(|archived| json!({ "id": "f1", "service": { "archived": archived } })).collect();
                (200, json!({ "findings": findings }))
            }
            "POST /detector/admins/findings/archive" => {
                *archived = Some(true);
                (200, json!({}))
            }
            "POST /detector/admins/findings/unarchive" => {
                *archived = Some(false);
                (200, json!({}))
            }
            other => panic!("{other}"),
        }
    })
    .await;
    (world, state)
}

async fn ready(world: &World) -> (Before, Planned) {
    match ArchiveFinding.plan(world.cx(), &with(ID)).await.unwrap() {
        Plan::Ready { before, plan } => (before, plan),
        other => panic!("{other:?}"),
    }
}

async fn moot(world: &World, finding: &str) -> String {
    match ArchiveFinding.plan(world.cx(), &with(finding)).await.unwrap() {
        Plan::Moot { why } => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn it_is_archived_by_the_administrators_detector_and_unarchived() {
    let (world, state) = guardduty(Some(false)).await;
    let warrant = world.warrant().await;
    let write = Write { aws: &world.clients, parts: &[], warrant: &warrant };
    let (before, plan) = ready(&world).await;
    assert_eq!(before, Before { region: "eu-west-1".parse().unwrap(), detector: "admins".to_owned(), archived: false });
    assert_eq!(plan.changes, [difference(&with(ID), false, true)]);
    assert!(matches!(ArchiveFinding.verify(world.cx(), &with(ID), &before).await.unwrap(), Verdict::NotInEffect { .. }));
    for _ in 0..2 {
        let progress = ArchiveFinding.apply(world.cx(), write, &with(ID), &before).await.unwrap();
        let Progress::Done(outcome) = progress else { panic!() };
        assert_eq!(serde_json::to_value(outcome).unwrap(), json!({ "finding": ID, "detector": "admins", "was": false }));
    }
    assert_eq!(ArchiveFinding.verify(world.cx(), &with(ID), &before).await.unwrap(), Verdict::InEffect);
    let keys: Vec<ChangeKey> = plan.changes.iter().map(Difference::key).collect();
    let undone = ArchiveFinding.undo(world.cx(), write, &with(ID), &before, &keys).await.unwrap();
    assert_eq!((undone, *state.lock().unwrap()), (Undo::Restored(vec![difference(&with(ID), true, false)]), Some(false)));
    assert_eq!(ArchiveFinding.undo(world.cx(), write, &with(ID), &before, &keys).await.unwrap(), Undo::Restored(vec![]));
}

#[tokio::test]
async fn what_is_archived_already_is_already_so_and_stays_so() {
    let (world, state) = guardduty(Some(true)).await;
    let warrant = world.warrant().await;
    let write = Write { aws: &world.clients, parts: &[], warrant: &warrant };
    let (before, plan) = ready(&world).await;
    assert_eq!((plan.changes.len(), &plan.already), (0, &vec![difference(&with(ID), true, true)]));
    ArchiveFinding.apply(world.cx(), write, &with(ID), &before).await.unwrap();
    let keys: Vec<ChangeKey> = plan.already.iter().map(Difference::key).collect();
    assert_eq!(ArchiveFinding.undo(world.cx(), write, &with(ID), &before, &keys).await.unwrap(), Undo::Restored(vec![]));
    assert_eq!((*state.lock().unwrap(), world.fake.count("POST /detector/admins/findings/archive")), (Some(true), 0));
}

#[tokio::test]
async fn what_is_not_guardduties_or_not_known_to_the_administrator_is_left_alone() {
    let (world, _) = guardduty(None).await;
    for other in ["f1", "", "arn:aws:inspector2:eu-west-1:111122223333:finding/f1", "arn:aws:guardduty:eu-west-1:111122223333:detector/d"] {
        assert!(moot(&world, other).await.starts_with("not a GuardDuty finding"), "{other}");
    }
    assert!(moot(&world, ID).await.contains("does not know"));
    assert!(moot(&world, &ID.replace("eu-west-1", "eu-north-1")).await.contains("not among `[hub] regions`"));
    let none = World::new(|_, _| (200, json!({ "detectorIds": [] }))).await;
    assert!(moot(&none, ID).await.contains("has no GuardDuty detector in eu-west-1"));
}

#[tokio::test]
async fn a_finding_that_guardduty_forgot_is_left_to_a_person() {
    let (world, state) = guardduty(Some(false)).await;
    let warrant = world.warrant().await;
    let write = Write { aws: &world.clients, parts: &[], warrant: &warrant };
    let (before, plan) = ready(&world).await;
    ArchiveFinding.apply(world.cx(), write, &with(ID), &before).await.unwrap();
    *state.lock().unwrap() = None;
    assert!(matches!(ArchiveFinding.verify(world.cx(), &with(ID), &before).await.unwrap(), Verdict::Drifted { .. }));
    let keys: Vec<ChangeKey> = plan.changes.iter().map(Difference::key).collect();
    assert!(
        matches!(ArchiveFinding.undo(world.cx(), write, &with(ID), &before, &keys).await.unwrap(), Undo::ByHand(steps) if steps.len() == 1)
    );
}

#[tokio::test]
async fn its_session_reaches_the_administrators_detector_in_the_findings_region_whatever_the_steps_own() {
    let (world, _) = guardduty(Some(false)).await;
    let (before, _) = ready(&world).await;
    for region in ["us-east-1", "global"] {
        let cell = cordon_shared::id::CellId::new("222222222222".parse().unwrap(), region.parse().unwrap());
        let policy = write_policy(ArchiveFinding::WRITES, &cell, &ArchiveFinding.bind(&with(ID), &before)).unwrap();
        assert!(policy.contains("\"arn:aws:guardduty:eu-west-1:222222222222:detector/admins\""), "{policy}");
        assert!(matches!(write_policy(ArchiveFinding::WRITES, &cell, &Bindings::new()), Err(PolicyError::Unbound { .. })));
    }
}
