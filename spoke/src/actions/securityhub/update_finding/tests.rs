use std::sync::{Arc, Mutex};

use super::*;
use crate::aws::fake::World;
use futures::future::join_all;

const ID: &str = "arn:aws:guardduty:us-east-1:111122223333:detector/d/finding/f1";
const PRODUCT: &str = "arn:aws:securityhub:us-east-1::product/aws/guardduty";
const TEXT: &str = "Cordon has answered this finding.";

fn with(finding: &str) -> Params {
    serde_json::from_value(json!({ "finding": finding, "product_arn": null, "account": "111122223333", "region": "us-east-1", "note": TEXT, "workflow": "NOTIFIED" })).unwrap()
}

fn finding(id: &str) -> Value {
    json!({ "Id": id, "ProductArn": PRODUCT, "AwsAccountId": "111122223333", "Workflow": { "Status": "NEW" } })
}

/// A Security Hub that remembers.
async fn hub(findings: Vec<Value>) -> (World, Arc<Mutex<Vec<Value>>>) {
    let state = Arc::new(Mutex::new(findings));
    let shared = Arc::clone(&state);
    let world = World::new(move |operation, asked| {
        let mut findings = shared.lock().unwrap();
        if operation == "POST /findings" {
            // Filters are passed over, as moto does.
            return (200, json!({ "Findings": *findings }));
        }
        assert_eq!(operation, "PATCH /findings/batchupdate");
        let (mut done, mut not) = (vec![], vec![]);
        for id in asked["FindingIdentifiers"].as_array().unwrap() {
            let Some(finding) = findings.iter_mut().find(|finding| finding["Id"] == id["Id"] && finding["ProductArn"] == id["ProductArn"])
            else {
                not.push(json!({ "FindingIdentifier": id, "ErrorCode": "FindingNotFound", "ErrorMessage": "Finding Not Found" }));
                continue;
            };
            if let Some(note) = asked.get("Note") {
                finding["Note"] = note.clone();
            }
            if let Some(workflow) = asked.get("Workflow") {
                finding["Workflow"] = workflow.clone();
            }
            done.push(id.clone());
        }
        (200, json!({ "ProcessedFindings": done, "UnprocessedFindings": not }))
    })
    .await;
    (world, state)
}

async fn ready(action: &UpdateFinding, world: &World, with: &Params) -> (Before, Planned) {
    match action.plan(world.cx(), with).await.unwrap() {
        Plan::Ready { before, plan } => (before, plan),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn note_and_status_are_written_read_back_and_put_back() {
    let (world, state) = hub(vec![finding("other"), finding(ID)]).await;
    let (action, with, warrant) = (UpdateFinding::default(), with(ID), world.warrant().await);
    let write = Write { aws: &world.clients, parts: &[], warrant: &warrant };
    let (before, plan) = ready(&action, &world, &with).await;
    assert_eq!(plan.changes.len(), 2);
    assert!(matches!(action.verify(world.cx(), &with, &before).await.unwrap(), Verdict::NotInEffect { .. }));
    action.apply(world.cx(), write, &with, &before).await.unwrap();
    assert_eq!(action.verify(world.cx(), &with, &before).await.unwrap(), Verdict::InEffect);
    assert_eq!(state.lock().unwrap()[1]["Note"], json!({ "Text": TEXT, "UpdatedBy": "cordon" }));
    // The same again changes nothing.
    let (_, again) = ready(&action, &world, &with).await;
    assert!(again.changes.is_empty() && again.already.len() == 2);
    let keys: Vec<ChangeKey> = plan.changes.iter().map(Difference::key).collect();
    let Undo::Restored(restored) = action.undo(world.cx(), write, &with, &before, &keys).await.unwrap() else { panic!() };
    assert_eq!(restored.len(), 2);
    let now = state.lock().unwrap()[1].clone();
    assert_eq!((&now["Workflow"]["Status"], &now["Note"]["Text"]), (&json!("NEW"), &json!(WITHDRAWN)));
    // Undone already: nothing to do.
    assert_eq!(action.undo(world.cx(), write, &with, &before, &keys).await.unwrap(), Undo::Restored(vec![]));
}

#[tokio::test]
async fn what_somebody_wrote_after_us_stays() {
    let (world, state) = hub(vec![finding(ID)]).await;
    let (action, with, warrant) = (UpdateFinding::default(), with(ID), world.warrant().await);
    let write = Write { aws: &world.clients, parts: &[], warrant: &warrant };
    let (before, plan) = ready(&action, &world, &with).await;
    action.apply(world.cx(), write, &with, &before).await.unwrap();
    state.lock().unwrap()[0]["Note"] = json!({ "Text": "mine now", "UpdatedBy": "ana" });
    assert!(matches!(action.verify(world.cx(), &with, &before).await.unwrap(), Verdict::Drifted { .. }));
    let keys: Vec<ChangeKey> = plan.changes.iter().map(Difference::key).collect();
    assert!(matches!(action.undo(world.cx(), write, &with, &before, &keys).await.unwrap(), Undo::ByHand(_)));
    let now = state.lock().unwrap()[0].clone();
    assert_eq!((&now["Note"]["Text"], &now["Workflow"]["Status"]), (&json!("mine now"), &json!("NEW")));
}

#[tokio::test]
async fn nothing_closed_is_reopened_and_no_forged_copy_is_meant() {
    let mut real = finding(ID);
    real["Workflow"]["Status"] = json!("SUPPRESSED");
    let mut forged = finding(ID);
    forged["ProductArn"] = json!("arn:aws:securityhub:us-east-1:111122223333:product/111122223333/default");
    let (world, _) = hub(vec![forged, real]).await;
    let (before, plan) = ready(&UpdateFinding::default(), &world, &with(ID)).await;
    assert_eq!(before.product_arn, PRODUCT);
    assert_eq!(plan.changes.iter().map(|change| change.attribute.as_str()).collect::<Vec<_>>(), [NOTE]);
    assert!(plan.notes[0].contains("SUPPRESSED"));
}

#[tokio::test]
async fn no_finding_and_no_security_hub_are_moot_and_no_operation_is_an_error() {
    let (world, _) = hub(vec![finding("other")]).await;
    assert!(
        matches!(UpdateFinding::default().plan(world.cx(), &with(ID)).await.unwrap(), Plan::Moot { why } if why.contains("no finding"))
    );
    let world = World::new(|_, _| (401, json!({ "__type": "InvalidAccessException", "Message": "not subscribed" }))).await;
    assert!(
        matches!(UpdateFinding::default().plan(world.cx(), &with(ID)).await.unwrap(), Plan::Moot { why } if why.contains("not enabled"))
    );
    let world = World::new(|_, _| (404, json!("<h1>Not Found</h1>"))).await;
    let error = UpdateFinding::default().plan(world.cx(), &with(ID)).await.unwrap_err();
    assert!(error.to_string().contains("does not know the operation"), "{error}");
}

#[tokio::test]
async fn many_notes_share_a_call_and_each_has_its_own_result() {
    let ids: Vec<String> = (0..30).map(|n| format!("arn:aws:guardduty:us-east-1:111122223333:detector/d/finding/n{n}")).collect();
    let (world, state) = hub(ids.iter().map(|id| finding(id)).collect()).await;
    let action = UpdateFinding::default();
    let plans = join_all(ids.iter().map(|id| {
        let with = with(id);
        let (action, world) = (&action, &world);
        async move { (ready(action, world, &with).await.0, with) }
    }))
    .await;
    assert_eq!(world.fake.count("POST /findings"), 2, "20 ids to a question");
    state.lock().unwrap().retain(|finding| finding["Id"] != ids[7].as_str());
    let mut warrants = Vec::new();
    for _ in &ids {
        warrants.push(world.warrant().await);
    }
    let results = join_all(plans.iter().zip(&warrants).map(|((before, with), warrant)| {
        let (action, world) = (&action, &world);
        async move { action.apply(world.cx(), Write { aws: &world.clients, parts: &[], warrant }, with, before).await }
    }))
    .await;
    assert_eq!(world.fake.count("PATCH /findings/batchupdate"), 1);
    for (at, result) in results.iter().enumerate() {
        match result {
            Ok(_) => assert_ne!(at, 7),
            Err(error) => assert!(at == 7 && matches!(error.error, ActionError::Gone { .. }), "{at}: {error}"),
        }
    }
}

#[test]
fn a_product_follows_from_the_findings_arn() {
    let product = |id: &str| product_of(&with(id));
    assert_eq!(product(ID).as_deref(), Some(PRODUCT));
    let control = "arn:aws-us-gov:securityhub:us-gov-west-1:111122223333:security-control/EC2.13/finding/x";
    assert_eq!(product(control).as_deref(), Some("arn:aws-us-gov:securityhub:us-gov-west-1::product/aws/securityhub"));
    assert_eq!(
        product("arn:aws:inspector2:eu-west-1:111122223333:finding/x").as_deref(),
        Some("arn:aws:securityhub:eu-west-1::product/aws/inspector")
    );
    assert_eq!(product("not-an-arn"), None);
}

#[tokio::test]
async fn a_note_that_security_hub_would_not_take_is_a_matter_of_parameters() {
    let (world, _) = hub(vec![]).await;
    let long = Params { note: "x".repeat(513), ..with(ID) };
    assert!(matches!(UpdateFinding::default().plan(world.cx(), &long).await, Err(ActionError::Params(_))));
}
