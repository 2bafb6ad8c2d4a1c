use serde_json::{Value, json};

use super::*;
use crate::aws::fake::{Fake, World, fake_client};

#[tokio::test]
async fn a_guardduty_finding_is_read_by_the_administrators_own_detector() {
    let fake = Fake::new(|operation, _| match operation {
        "POST /detector/admins/findings/get" => (200, json!({ "findings": [{ "id": "f1", "severity": 2, "new": { "field": 1 } }] })),
        _ => (200, json!({ "detectorIds": ["admins"] })),
    });
    let client = fake_client!(aws_sdk_guardduty, fake);
    let detector = own_detector(&client).await.unwrap();
    let arn = "arn:aws:guardduty:us-east-1:111122223333:detector/members/finding/f1";
    let document = one(&client, &detector, arn).await.unwrap().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&document).unwrap()["new"]["field"], 1);
    assert_eq!(one(&client, &detector, "f2").await.unwrap(), None);
}

#[tokio::test]
async fn no_detector_and_no_finding_are_two_things() {
    let world = World::new(|_, _| (200, json!({ "detectorIds": [] }))).await;
    assert!(matches!(finding(&world.clients, "f1").await, Err(ActionError::Gone { .. })));
}

#[tokio::test]
async fn criteria_are_asked_page_by_page_and_documents_come_byte_for_byte() {
    let world = World::new(|operation, asked| match operation {
        "POST /detector/d/findings" if asked.get("nextToken").is_none() => (200, json!({ "findingIds": ["f1", "f2"], "nextToken": "t" })),
        "POST /detector/d/findings" => (200, json!({ "findingIds": [] })),
        _ => (200, json!({ "findings": asked["findingIds"].as_array().unwrap().iter().map(|id| json!({ "id": id, "OfTomorrow": [1.50] })).collect::<Vec<_>>() })),
    })
    .await;
    let criteria = Criteria {
        equals: vec![("accountId", vec!["111122223333".to_owned()])],
        archived: Some(false),
        updated: Some(("2026-11-24T11:00:00Z".parse().unwrap(), "2026-11-24T12:00:00Z".parse().unwrap())),
    };
    let first = page(&world.clients, "d", &criteria, Order::OldestFirst, None).await.unwrap();
    assert_eq!(first.documents[0], json!({ "id": "f1", "OfTomorrow": [1.50] }).to_string().into_bytes());
    let second = page(&world.clients, "d", &criteria, Order::OldestFirst, first.next).await.unwrap();
    assert_eq!(second, Page { documents: vec![], next: None });
    assert_eq!(world.fake.count("POST /detector/d/findings/get"), 1, "no ids, no question");
    let (_, asked) = world.fake.asked().remove(0);
    assert_eq!(
        asked["findingCriteria"]["criterion"],
        json!({
            "accountId": { "equals": ["111122223333"] }, "service.archived": { "equals": ["false"] },
            "updatedAt": { "greaterThanOrEqual": 1_795_518_000_000_i64, "lessThanOrEqual": 1_795_521_600_000_i64 },
        })
    );
    assert_eq!((&asked["maxResults"], &asked["sortCriteria"]), (&json!(50), &json!({ "attributeName": "updatedAt", "orderBy": "ASC" })));
}
