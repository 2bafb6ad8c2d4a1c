//! CloudTrail in the lab: a trail's log group, in the account itself and in one that keeps the organization's logs.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail as tests do")]

use cordon_lab::{
    drill::{Ground, Permit, Yard},
    organization::trail::Caller,
    shared,
};
use cordon_shared::id::CellId;
use cordon_spoke::action::{Kind, LogSource};
use serde_json::{Value, json};

const TRACE: &str = "cloudtrail.trace-credentials";

async fn trace(yard: &Yard, cell: &CellId, logs: Vec<LogSource>, with: Value) -> Value {
    let ground = Ground::new(yard).unwrap().with_logs(logs);
    let action = ground.action(TRACE).unwrap().clone();
    let Kind::Probe(probe) = &action.kind else { panic!("{TRACE} is no probe") };
    let read = ground.read(&action, cell).await.unwrap();
    let permit = Permit::open(&action, cell).await.unwrap();
    let found = probe.run(ground.cx(cell, &read, permit.run(), permit.step()), &with).await.unwrap();
    assert!(!found.evidence.is_empty());
    found.outcome
}

fn source(group: &str, account: Option<&str>) -> LogSource {
    LogSource {
        kind: "cloudtrail".to_owned(),
        group: group.to_owned(),
        stream: Some("{account}_CloudTrail_".to_owned()),
        account: account.map(|account| account.parse().unwrap()),
        region: Some("us-east-1".parse().unwrap()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_traced_in_the_log_group_of_its_account_and_in_that_of_another() {
    let lab = tokio::task::spawn_blocking(shared).await.unwrap().unwrap();
    let yard = Yard::build(lab).await.unwrap();
    let (subject, keeper) = (yard.organization.members[0].account.clone(), yard.organization.members[1].account.clone());
    let cell = CellId::new(subject.parse().unwrap(), "us-east-1".parse().unwrap());
    let key = "AKIALABTRACED0000001";
    let records = Caller::user(&subject, "build", key, "203.0.113.77").abuse("us-east-1", &keeper);
    // The same user and the same key's beginning in another account are somebody else.
    let other =
        Caller::user(&keeper, "build", "AKIALABTRACED0000002", "198.51.100.4").record("us-east-1", 30, "ec2", "RunInstances", json!({}));
    yard.organization.delivered(&subject, "us-east-1", &format!("trail/{subject}"), &records).await.unwrap();
    let both: Vec<Value> = records.iter().cloned().chain([other]).collect();
    yard.organization.delivered(&keeper, "us-east-1", "organization-trail", &both).await.unwrap();

    for (group, account) in [("trail/{account}", None), ("organization-trail", Some(keeper.as_str()))] {
        for with in [json!({"access_keys": [key]}), json!({"user": "build"})] {
            let outcome = trace(&yard, &cell, vec![source(group, account)], with.clone()).await;
            assert_eq!((&outcome["source"], &outcome["events"]), (&json!("log-group"), &json!(records.len())), "{group} {with}: {outcome}");
            assert_eq!(outcome["looked_in"][0]["complete"], true, "{outcome}");
            assert_eq!(outcome["created"][0]["id"], "backup-agent", "{outcome}");
        }
    }

    // A group that is not there, or that the account does not write into, is no log: the event history is looked up, and has nothing.
    let missing = trace(&yard, &cell, vec![source("nowhere", None)], json!({"access_keys": [key]})).await;
    assert_eq!((&missing["source"], &missing["events"]), (&json!("lookup-events"), &json!(0)), "{missing}");
    assert_eq!(missing["looked_in"][0]["problem"], "there is no such log group");
    assert_eq!(missing["nothing_known_because"], Value::Null);
}
