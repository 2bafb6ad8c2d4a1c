use cordon_shared::{engine::Entry, intake::codes, mode::Mode};
use serde_json::json;

use super::*;
use crate::report::fixture::{Run, analyst, blocking, closing, golden, no_login, step};

fn json_of(run: &Run) -> Value {
    serde_json::to_value(IncidentJson::new(&run.view(), None)).unwrap()
}

#[test]
fn a_contained_incident_has_the_shape_that_is_documented() {
    let mut run = Run::open(Mode::Act);
    run.probe("record", json!({ "instances": 1 }), "bb");
    run.applied("close-ingress", closing());
    run.applied("block-source", blocking());
    run.probe("find-logins", no_login(), "aa");
    run.add(Entry::Skipped { step: step("login-confirmed"), why: "its condition is not met".into() });
    let value = json_of(&run);
    assert_eq!(
        (&value["schema"], &value["state"], &value["reason_code"]),
        (&json!("cordon.incident/1"), &json!("contained"), &json!("ttl"))
    );
    assert_eq!((&value["account"], &value["region"]), (&json!("111122223333"), &json!("us-east-1")));
    assert_eq!(value["subject"], json!("arn:aws:ec2:us-east-1:111122223333:instance/i-0abc"));
    assert_eq!(
        (&value["first_change_at"], &value["ended_at"], &value["duplicate_of"]),
        (&json!("2026-11-24T12:00:05Z"), &Value::Null, &Value::Null)
    );
    let states: Vec<_> = value["steps"].as_array().unwrap().iter().map(|step| step["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["done", "applied", "applied", "done", "skipped"]);
    assert_eq!(value["steps"][1]["changes"][0]["after"], json!("closed"));
    assert_eq!(value["steps"][1]["outcome"], json!({}));
    assert_eq!(value["steps"][4]["action"], json!("hold"));
    assert_eq!(value["holds"], json!([]));
    // The finding's document and the logs' are the same bytes here: kept once, named once.
    assert_eq!(value["evidence"], json!([format!("sha256:{}", "aa".repeat(32)), format!("sha256:{}", "bb".repeat(32))]));
    assert_eq!(serde_json::from_value::<IncidentJson>(value).unwrap(), IncidentJson::new(&run.view(), None));
}

#[test]
fn each_hold_prints_the_command_that_answers_it() {
    let mut run = Run::open(Mode::Ask);
    run.held("record", "opted-out", "the account is opted out");
    let digest = run.planned("close-ingress", closing());
    let expires = "2026-11-24T16:00:00Z".parse().unwrap();
    run.add(Entry::Asked { step: step("close-ingress"), digest: digest.clone(), why: "mode ask".into(), expires, people: 1 });
    let value = json_of(&run);
    let (id, short) = (run.id, digest.chars().take(12).collect::<String>());
    assert_eq!(value["holds"][0]["release"], json!(format!("cordon incident release {id} --step record")));
    assert_eq!(value["holds"][1]["release"], json!(format!("cordon approval grant {id} --step close-ingress --digest {short}")));
    assert_eq!((&value["state"], &value["holds"][1]["code"]), (&json!("running"), &json!("approval")));
    assert_eq!(value["steps"][1]["changes"].as_array().unwrap().len(), 2);

    run.add(Entry::Held { step: None, hold: cordon_shared::gate::hold("suspended", "the account is suspended") });
    let value = json_of(&run);
    assert_eq!(
        (&value["holds"][0]["release"], &value["holds"][0]["step"]),
        (&json!(format!("cordon incident release {id}")), &Value::Null)
    );

    run.add(Entry::ClosedBy { by: analyst(), why: "a drill".into() });
    let value = json_of(&run);
    assert_eq!((&value["state"], &value["holds"]), (&json!("closed"), &json!([])));
    assert!(value["ended_at"].is_string());
}

#[test]
fn an_undone_and_a_planned_incident_have_ended() {
    let mut run = Run::open(Mode::Act);
    run.probe("record", json!({}), "bb");
    run.applied("close-ingress", closing());
    run.add(Entry::Skipped { step: step("block-source"), why: "no".into() });
    run.probe("find-logins", no_login(), "cc");
    run.add(Entry::Skipped { step: step("login-confirmed"), why: "no".into() });
    run.undone("close-ingress", &closing());
    let value = json_of(&run);
    assert_eq!((&value["state"], &value["steps"][1]["state"]), (&json!("undone"), &json!("undone")));
    assert_eq!(value["steps"][1]["changes"].as_array().unwrap().len(), 2);
    assert!(value["ended_at"].is_string());
}

#[test]
fn a_duplicate_names_the_incident_that_had_it() {
    let run = Run::open(Mode::Act);
    let value = serde_json::to_value(IncidentJson::new(&run.view(), Some(run.id))).unwrap();
    assert_eq!((&value["duplicate_of"], &value["incident"]), (&json!(run.id.to_string()), &json!(run.id.to_string())));
}

#[test]
fn every_state_is_written_as_the_engine_writes_it() {
    let states = [
        RunState::Planned,
        RunState::Running,
        RunState::Waiting,
        RunState::Held,
        RunState::Ignored,
        RunState::Contained,
        RunState::Closed,
        RunState::Undone,
        RunState::Failed,
        RunState::Stuck,
    ];
    for state in states {
        assert_eq!(serde_json::to_value(state).unwrap(), json!(state.as_str()));
    }
}

#[test]
fn rejected_input_and_ignored_findings_have_their_lines() {
    let rejected = RejectedJson::new("events.ndjson:7", &Rejection::new(codes::NO_ID, "the finding has no id"));
    let value = serde_json::to_value(Line::Rejected(rejected.clone())).unwrap();
    assert_eq!(value, json!({ "input": "events.ndjson:7", "state": "rejected", "code": "CDN-1011", "reason": "the finding has no id" }));
    assert_eq!(serde_json::from_value::<Line>(value).unwrap(), Line::Rejected(rejected));

    let text = br#"{"schemaVersion":"2.0","accountId":"111122223333","region":"us-east-1","id":"f1","arn":"arn:aws:guardduty:us-east-1:111122223333:detector/d1/finding/f1",
        "type":"Policy:S3/BucketBlockPublicAccessDisabled","severity":2,"title":"t","resource":{"resourceType":"S3Bucket","s3BucketDetails":[{"name":"b","arn":"arn:aws:s3:::b"}]},
        "service":{"serviceName":"guardduty","count":1}}"#;
    let mut found = None;
    for document in cordon_shared::intake::documents(std::io::Cursor::new(text), "f.json", 1_000_000) {
        for (_, item) in cordon_shared::intake::read(document.as_ref().unwrap()) {
            if let cordon_shared::intake::Item::Finding(finding) = item {
                found = Some(finding);
            }
        }
    }
    let at = "2026-11-24T12:00:00Z".parse().unwrap();
    let line = IncidentJson::ignored(&found.unwrap(), "f.json:1", "no-playbook", "no playbook matches it", at);
    let value = serde_json::to_value(&line).unwrap();
    assert_eq!((&value["incident"], &value["playbook"], &value["state"]), (&Value::Null, &Value::Null, &json!("ignored")));
    assert_eq!((&value["reason_code"], &value["findings"][0]["input"]), (&json!("no-playbook"), &json!("f.json:1")));
}

#[test]
fn the_schema_in_the_documentation_is_that_of_the_code() {
    golden("../docs/incident.schema.json", &serde_json::to_string_pretty(&schema()).unwrap());
    golden("../docs/undo-preview.schema.json", &serde_json::to_string_pretty(&crate::undo_preview::schema()).unwrap());
}
