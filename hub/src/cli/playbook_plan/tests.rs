use std::path::Path;

use cordon_shared::clock::ManualClock;

use super::*;
use crate::setup;

const CONFIG: &str = "[hub]\naccount = \"222222222222\"\nregions = [\"us-east-1\"]\nmode = \"ask\"\n";

fn native(role: &str, region: &str) -> Value {
    json!({
        "schemaVersion": "2.0", "accountId": "111122223333", "region": region, "id": "f1", "type": "UnauthorizedAccess:EC2/SSHBruteForce",
        "arn": format!("arn:aws:guardduty:{region}:111122223333:detector/d/finding/f1"), "severity": 2, "title": "an attack",
        "createdAt": "2026-11-24T08:00:00Z", "updatedAt": "2026-11-24T09:00:00Z",
        "resource": { "resourceType": "Instance", "instanceDetails": { "instanceId": "i-0123456789abcdef0" } },
        "service": { "serviceName": "guardduty", "resourceRole": role, "archived": false, "count": 3, "action": {
            "actionType": "NETWORK_CONNECTION", "networkConnectionAction": {
                "protocol": "TCP", "localPortDetails": { "port": 22 }, "remoteIpDetails": { "ipAddressV4": "198.51.100.23" } } } },
    })
}

/// What a playbook that comes with Cordon would do for a finding: as JSON and as text.
fn asked(name: &str, document: &Value) -> (Value, String) {
    let clock = ManualClock::at("2026-11-24T12:00:00Z".parse().unwrap());
    let (config, _) = Config::parse(CONFIG, "cordon.toml", Path::new("/etc/cordon"), &clock).unwrap();
    let registry = setup::registry().unwrap();
    let playbooks = setup::built_in(&registry).unwrap();
    let playbook = playbooks.iter().find(|playbook| playbook.name == name).unwrap();
    let question = Question { config: &config, registry: &registry, playbooks: &playbooks, playbook };
    let text = document.to_string();
    let (origin, item) = intake::items(text.as_bytes(), "f.json").next().unwrap();
    let Item::Finding(finding) = item else { panic!("{item:?}") };
    let answer = Answer::of(&question, &origin, &finding);
    (answer.json(), answer.text())
}

fn step<'a>(answer: &'a Value, id: &str) -> &'a Value {
    answer["steps"].as_array().unwrap().iter().find(|step| step["id"] == id).unwrap()
}

#[test]
fn it_says_what_each_step_would_do_with_which_parameters_and_why() {
    let (answer, text) = asked("ec2-brute-force", &native("TARGET", "us-east-1"));
    assert_eq!((&answer["state"], &answer["reason"], &answer["mode"]), (&json!("planned"), &json!(""), &json!("ask")));
    assert_eq!(answer["match"], json!([{ "pattern": 1, "matches": true, "field": null, "wanted": null, "found": null }]));
    assert_eq!(answer["subject"]["id"], "i-0123456789abcdef0");
    let close = step(&answer, "close-ingress");
    assert_eq!((&close["would"], &close["kind"], &close["with"]["ports"]), (&json!("run"), &json!("change"), &json!([22])));
    assert_eq!((&close["values"]["finding.role"], &close["needs"]), (&json!("TARGET"), &json!(["record", "exposure"])));
    assert!(text.contains("close-ingress") && text.contains("\"ports\":[22]") && text.contains("finding.role is \"TARGET\""), "{text}");
    let block = step(&answer, "block-source");
    assert_eq!((&block["ttl"], &block["with"]["sources"]), (&json!("24h"), &json!(["198.51.100.23"])));
    assert!(
        answer["steps"]
            .as_array()
            .unwrap()
            .iter()
            .any(|step| step["would"] == "depends" && step["why"].as_str().unwrap().contains("`find-logins`")),
        "{answer:#}"
    );
    assert_eq!(step(&answer, "find-logins")["kind"], "probe");
}

#[test]
fn a_finding_that_does_not_match_is_told_which_field_misses() {
    let mut other = native("TARGET", "us-east-1");
    other["type"] = json!("Recon:EC2/Portscan");
    let (answer, text) = asked("ec2-brute-force", &other);
    assert_eq!(
        (&answer["state"], &answer["reason_code"], &answer["match"][0]["field"]),
        (&json!("ignored"), &json!("no-match"), &json!("type"))
    );
    assert_eq!(answer["steps"], json!([]));
    assert!(text.contains("`type` is \"Recon:EC2/Portscan\", wanted is"), "{text}");
}

#[test]
fn what_would_keep_it_from_running_is_said_and_the_steps_are_shown_all_the_same() {
    let (answer, _) = asked("ec2-brute-force", &native("TARGET", "eu-west-1"));
    assert_eq!((&answer["state"], &answer["reason_code"]), (&json!("held"), &json!("region-not-configured")));
    let mut sample = native("TARGET", "us-east-1");
    sample["title"] = json!("[SAMPLE] an attack");
    let (answer, _) = asked("ec2-brute-force", &sample);
    assert_eq!((&answer["state"], &answer["reason_code"]), (&json!("ignored"), &json!("sample")));
    assert_eq!(step(&answer, "close-ingress")["would"], "run");
    let mut nothing = native("TARGET", "us-east-1");
    nothing["resource"] = json!({ "resourceType": "Instance" });
    let (answer, text) = asked("ec2-brute-force", &nothing);
    assert_eq!((&answer["reason_code"], &answer["subject"]), (&json!("no-subject"), &Value::Null));
    assert!(text.contains("names no instance"), "{text}");
}

#[test]
fn a_title_and_an_id_of_others_do_not_reach_the_terminal_as_they_are() {
    let mut evil = native("TARGET", "us-east-1");
    evil["type"] = json!("Evil\u{1b}[2J");
    let (_, text) = asked("ec2-brute-force", &evil);
    assert!(!text.contains('\u{1b}'), "{text}");
}
