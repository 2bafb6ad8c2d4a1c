use serde_json::Value;

use super::*;
use crate::aws::fake::{Fake, World};

const ACCOUNT: &str = "111122223333";
const INSTANCE: &str = "i-0123456789abcdef0";
const SOURCE: &str = "198.51.100.23";

fn with(more: Value) -> Params {
    let mut with =
        json!({ "subjects": [format!("arn:aws:ec2:us-east-1:{ACCOUNT}:instance/{INSTANCE}")], "sources": [SOURCE], "account": ACCOUNT });
    with.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(with).unwrap()
}

fn arn(id: &str) -> String {
    format!("arn:aws:guardduty:us-east-1:{ACCOUNT}:detector/members/finding/{id}")
}

/// A finding of GuardDuty's about an instance, seen at an hour of the day.
fn native(id: &str, instance: &str, hour: u32) -> Value {
    let at = format!("2026-11-24T{hour:02}:00:00.000Z");
    json!({
        "id": id, "arn": arn(id), "accountId": ACCOUNT, "region": "us-east-1", "type": "Recon:EC2/Portscan", "severity": 5, "title": format!("title of {id}"),
        "createdAt": at, "updatedAt": at, "resource": { "resourceType": "Instance", "instanceDetails": { "instanceId": instance } },
        "service": { "serviceName": "guardduty", "archived": id == "old", "eventFirstSeen": at, "eventLastSeen": at, "action": {
            "actionType": "NETWORK_CONNECTION", "networkConnectionAction": { "remoteIpDetails": { "ipAddressV4": SOURCE } } } },
    })
}

/// Security Hub's copy of it.
fn copy(id: &str, hour: u32) -> Value {
    let at = format!("2026-11-24T{hour:02}:00:00.000Z");
    json!({
        "SchemaVersion": "2018-10-08", "Id": arn(id), "ProductArn": "arn:aws:securityhub:us-east-1::product/aws/guardduty", "AwsAccountId": ACCOUNT,
        "Region": "us-east-1", "GeneratorId": "g", "Types": ["TTPs/Discovery/Recon:EC2-Portscan"], "Title": "copy", "Description": "copy",
        "CreatedAt": at, "UpdatedAt": at, "LastObservedAt": at, "Severity": { "Product": 5, "Label": "MEDIUM" }, "RecordState": "ACTIVE",
        "Resources": [{ "Type": "AwsEc2Instance", "Id": format!("arn:aws:ec2:us-east-1:{ACCOUNT}:instance/{INSTANCE}") }],
    })
}

/// Answers of a Security Hub and a GuardDuty that pass over every filter.
async fn world(hub: Vec<Value>, natives: Vec<Value>) -> World {
    World::new(move |operation, _| match operation {
        "POST /findings" => (200, json!({ "Findings": hub })),
        "GET /detector" => (200, json!({ "detectorIds": ["d"] })),
        "POST /detector/d/findings" => (200, json!({ "findingIds": natives.iter().map(|native| &native["id"]).collect::<Vec<_>>() })),
        _ => (200, json!({ "findings": natives })),
    })
    .await
}

async fn run(world: &World, with: &Params) -> Outcome {
    RelatedFindings.run(world.cx(), with).await.unwrap().outcome
}

fn asked(fake: &Fake, operation: &str) -> Vec<Value> {
    fake.asked().into_iter().filter(|(asked, _)| asked == operation).map(|(_, body)| body).collect()
}

#[tokio::test]
async fn copies_of_one_finding_are_one_and_the_known_one_is_left_out() {
    let natives = vec![native("own", INSTANCE, 11), native("other", INSTANCE, 9), native("old", "i-00000000000000000", 10)];
    let world = world(vec![copy("other", 9), copy("own", 11)], natives).await;
    let found = run(&world, &with(json!({ "except": arn("own") }))).await;
    let told: Vec<(&str, &str, &[Share], bool)> =
        found.findings.iter().map(|one| (one.id.as_str(), one.title.as_str(), one.shares.as_slice(), one.archived)).collect();
    // The last seen first; the provider's own document counts.
    assert_eq!(
        told,
        [
            (arn("old").as_str(), "title of old", &[Share::Source][..], true),
            (arn("other").as_str(), "title of other", &[Share::Instance, Share::Source], false)
        ]
    );
    let places: Vec<(&str, usize)> = found.looked_in.iter().map(|looked| (looked.place.as_str(), looked.found)).collect();
    assert_eq!(places, [("Security Hub in us-east-1", 1), ("GuardDuty in us-east-1", 2), ("GuardDuty in eu-west-1", 2)]);
    assert!(!found.truncated && found.looked_in.iter().all(|looked| looked.problem.is_none()), "{found:?}");
    // Without the whole ARN, by the id alone.
    assert_eq!(run(&world, &with(json!({ "except": "own" }))).await.findings.len(), 2);

    let kept = world.kept.items();
    let kept: Value = serde_json::from_slice(&kept[0].bytes).unwrap();
    assert_eq!(kept["documents"][1]["service"]["action"]["actionType"], "NETWORK_CONNECTION");
}

#[tokio::test]
async fn each_attribute_is_a_question_of_its_own() {
    let world = world(vec![], vec![]).await;
    let more = json!({ "subjects": [INSTANCE, "arn:aws:iam::111122223333:role/path/web", "ann", "arn:aws:s3:::logs"], "access_keys": ["ASIAEXAMPLE"], "hours": 24 });
    run(&world, &with(more)).await;
    let hub = asked(&world.fake, "POST /findings");
    let day = json!([{ "Start": "2026-11-23T12:00:00Z", "End": "2026-11-24T12:15:00Z" }]);
    for question in &hub {
        let filters = &question["Filters"];
        assert_eq!(
            (&filters["AwsAccountId"][0]["Value"], &filters["RecordState"][0]["Value"], &filters["UpdatedAt"]),
            (&json!(ACCOUNT), &json!("ACTIVE"), &day)
        );
        assert_eq!(filters.as_object().unwrap().len(), 4, "{filters}");
    }
    let of = |name: &str, key: &str| {
        let values = hub.iter().filter_map(|question| question["Filters"][name].as_array()).flatten();
        values.map(|value| value[key].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let resources = of("ResourceId", "Value");
    for wanted in [
        "AWS::IAM::AccessKey:ASIAEXAMPLE",
        "arn:aws:ec2:eu-west-1:111122223333:instance/i-0123456789abcdef0",
        "arn:aws:iam::111122223333:role/path/web",
        "arn:aws:iam::111122223333:user/ann",
        "arn:aws:s3:::logs",
    ] {
        assert!(resources.iter().any(|resource| resource == wanted), "{wanted}: {resources:?}");
    }
    assert_eq!(of("ResourceAwsIamAccessKeyPrincipalName", "Value"), ["ann", "web"]);
    assert_eq!(of("ProductFields", "Key").len(), 2);

    let mut criteria: Vec<String> = Vec::new();
    for question in asked(&world.fake, "POST /detector/d/findings") {
        let criterion = question["findingCriteria"]["criterion"].as_object().unwrap().clone();
        assert_eq!((criterion.len(), &criterion["accountId"]["equals"]), (3, &json!([ACCOUNT])));
        assert_eq!(criterion["updatedAt"]["greaterThanOrEqual"], 1_795_435_200_000_i64);
        criteria.extend(criterion.keys().filter(|key| key.starts_with("re") || key.starts_with("se")).cloned());
    }
    criteria.sort();
    criteria.dedup();
    assert_eq!(criteria.len(), 5, "{criteria:?}");
}

#[tokio::test]
async fn a_place_that_is_not_there_is_a_problem_and_the_others_are_looked_through() {
    let world = World::new(|operation, _| match operation {
        "POST /findings" => (401, json!({ "__type": "InvalidAccessException", "Message": "not subscribed" })),
        _ => (200, json!({ "detectorIds": [] })),
    })
    .await;
    let found = run(&world, &with(json!({}))).await;
    let problems: Vec<&str> = found.looked_in.iter().map(|looked| looked.problem.as_deref().unwrap()).collect();
    assert!(problems[0].contains("Security Hub is not enabled") && problems[1].contains("no GuardDuty detector"), "{problems:?}");
    assert!(found.truncated && found.findings.is_empty());
}

#[tokio::test]
async fn more_than_can_be_shown_is_said_to_be_more() {
    let natives = (0..250).map(|n| native(&format!("f{n:03}"), INSTANCE, 10)).collect();
    let found = run(&world(vec![], natives).await, &with(json!({}))).await;
    assert_eq!((found.findings.len(), found.truncated), (MOST, true));
    assert_eq!(found.findings[0].id, arn("f000"));
}

#[tokio::test]
async fn what_passes_over_the_filters_is_not_related() {
    let mut foreign = native("foreign", INSTANCE, 10);
    foreign["accountId"] = json!("444455556666");
    foreign["arn"] = json!(arn("foreign").replace(ACCOUNT, "444455556666"));
    let mut elsewhere = native("elsewhere", "i-00000000000000000", 10);
    elsewhere["service"]["action"] = json!({});
    let mut unusable = copy("unusable", 10);
    unusable["AwsAccountId"] = json!("12345");
    let found = run(&world(vec![unusable], vec![foreign, elsewhere]).await, &with(json!({}))).await;
    assert!(found.findings.is_empty(), "{found:?}");
    assert_eq!(found.looked_in[0].problem.as_deref(), Some("findings that cannot be read: 1"), "however many questions it answers");
    assert!(found.truncated);
}

#[tokio::test]
async fn a_key_and_its_role_are_shared_whatever_the_instance() {
    let mut stolen = native("stolen", "i-00000000000000000", 10);
    stolen["type"] = json!("UnauthorizedAccess:IAMUser/InstanceCredentialExfiltration.OutsideAWS");
    stolen["resource"] = json!({ "resourceType": "AccessKey", "accessKeyDetails": {
        "accessKeyId": "ASIAEXAMPLE", "principalId": format!("AROAEXAMPLE:{INSTANCE}"), "userType": "AssumedRole", "userName": "web" } });
    stolen["service"]["action"] = json!({});
    let world = world(vec![], vec![stolen]).await;
    let shares = async |more: Value| run(&world, &with(more)).await.findings.first().map(|found| found.shares.clone()).unwrap_or_default();
    assert_eq!(shares(json!({ "subjects": [], "access_keys": ["ASIAEXAMPLE"] })).await, [Share::AccessKey]);
    assert_eq!(shares(json!({ "subjects": ["web"] })).await, [Share::Role]);
    assert_eq!(shares(json!({ "subjects": ["arn:aws:iam::111122223333:user/web"] })).await, []);
    // The session is the instance's.
    assert_eq!(shares(json!({})).await, [Share::Instance]);
}

#[tokio::test]
async fn hours_beyond_what_is_kept_are_a_matter_of_parameters() {
    let world = world(vec![], vec![]).await;
    for hours in [0, 2_161] {
        assert!(matches!(RelatedFindings.run(world.cx(), &with(json!({ "hours": hours }))).await, Err(ActionError::Params(_))));
    }
}
