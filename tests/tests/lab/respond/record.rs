//! The record: what AWS said, kept before anything is changed.

use cordon_lab::gateway::{Action, Fault, Match};
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, body::Bytes};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::json;

use super::world::{HOME, World, state, step, text};

/// An answer of moto to a call of EC2, as it is on the wire.
async fn answer(world: &World, form: &str) -> Vec<u8> {
    let key = world.lab.hand.credentials(&world.account).await.unwrap().access_key;
    let scope = format!("AWS4-HMAC-SHA256 Credential={key}/20260101/{HOME}/ec2/aws4_request, SignedHeaders=host, Signature=0");
    let request = Request::post(world.lab.moto.endpoint())
        .header("authorization", scope)
        .header("host", format!("ec2.{HOME}.amazonaws.com"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Full::new(Bytes::from(form.to_owned())));
    let client = Client::builder(TokioExecutor::new()).build_http();
    let answer = client.request(request.unwrap()).await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
    answer.into_body().collect().await.unwrap().to_bytes().to_vec()
}

/// The items of an incident's evidence.
fn kept(world: &World, incident: &serde_json::Value) -> Vec<Vec<u8>> {
    let names = incident["evidence"].as_array().unwrap().iter();
    let names = names.map(|name| name.as_str().unwrap().strip_prefix("sha256:").unwrap());
    names.map(|name| std::fs::read(world.settings.state_dir.join("evidence").join(name.get(..2).unwrap()).join(name)).unwrap()).collect()
}

#[tokio::test]
async fn the_record_holds_the_answers_of_aws_byte_for_byte_and_the_finding_as_it_came() {
    let world = World::new().await;
    let instance = world.instance("web").await;
    let event = world.attack(&instance);
    let before = [
        answer(&world, &format!("Action=DescribeInstances&Version=2016-11-15&InstanceId.1={}", instance.id)).await,
        answer(
            &world,
            &format!("Action=DescribeSecurityGroups&Version=2016-11-15&GroupId.1={}&GroupId.2={}", instance.groups[0], instance.groups[1]),
        )
        .await,
    ];
    let incident = world.one(&event).await;
    let kept = kept(&world, &incident);
    // Attribute by attribute the same; who asked may differ in the answer's own id.
    let without_id = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let id = text.split_once("<requestId>").and_then(|(_, rest)| rest.split_once("</requestId>")).map(|(id, _)| id.to_owned());
        id.map_or_else(|| text.clone(), |id| text.replace(&id, ""))
    };
    let all: Vec<String> = kept.iter().map(|bytes| without_id(bytes)).collect();
    assert!(all.contains(&without_id(&before[0])), "the instance, before anything was changed");
    let groups = all.iter().filter(|text| text.contains("<DescribeSecurityGroupsResponse") && text.contains("0.0.0.0/0"));
    assert!(groups.into_iter().any(|text| instance.groups.iter().all(|group| text.contains(group.as_str()))), "{}", without_id(&before[1]));
    let finding = serde_json::from_str::<serde_json::Value>(&event).unwrap()["detail"].to_string();
    assert!(kept.iter().any(|bytes| bytes == finding.as_bytes()), "the finding, byte for byte");
}

#[tokio::test]
async fn a_part_of_the_record_that_cannot_be_read_is_named_and_containment_goes_on() {
    let world = World::new().await;
    let instance = world.instance("web").await;
    let volumes = Match { operation: Some("DescribeVolumes".to_owned()), ..Match::default() };
    world.gateway().faults().add(Fault::new(volumes, Action::Deny { code: None, status: None }));
    let incident = world.one(&world.attack(&instance)).await;
    let record = step(&incident, "record");
    assert_eq!((&record["state"], state(&incident)), (&json!("done"), "contained"), "{incident:#}");
    let missing = record["outcome"]["missing"].as_array().unwrap();
    assert!(missing.len() == 1 && text(&missing[0], "/why").contains("ec2:DescribeVolumes"), "{record:#}");
    assert!(!world.open(&instance, 22).await && world.blocked(&instance).await);
}

#[tokio::test]
async fn evidence_that_cannot_be_stored_stops_everything() {
    let world = World::new().await;
    let instance = world.instance("web").await;
    std::fs::create_dir_all(&world.settings.state_dir).unwrap();
    std::fs::write(world.settings.state_dir.join("evidence"), "not a folder").unwrap();
    let before = world.state(&instance).await;
    let output = world.respond(&world.attack(&instance)).await;
    assert!(matches!(output.code, Some(1 | 2)) && output.stderr.contains("evidence"), "{output:?}");
    assert_eq!((world.writes().len(), world.state(&instance).await), (0, before));
}
