//! What a playbook would do is told from the finding alone.

use super::*;
use crate::playbook::foresee::Fate;

const TURNING: &str = r#"
name = "p"
title = "T"
subject = "instance"
[[match]]
type = ["x"]
role = ["TARGET"]
[[match]]
type = ["y"]
[[turns]]
when = "steps.find.outcome.verdict == 'confirmed'"
role = "ACTOR"
why = "a login is confirmed"
[[steps]]
id = "find"
action = "x"
when = "finding.role == 'TARGET'"
with = { port = "${finding.network.local_port ?? 22}" }
[[steps]]
id = "isolate"
action = "x"
when = "finding.role == 'ACTOR' or steps.find.outcome.verdict == 'confirmed'"
with = { instance = "${subject.id}", logins = "${steps.find.outcome.logins}" }
region = "${finding.cell.region}"
[[steps]]
id = "person"
hold = "why"
when = "steps.find.outcome.verdict == 'probable'"
[[steps]]
id = "broken"
action = "x"
with = { text = "from ${finding.network.remote_ips}" }
"#;

fn subject() -> Subject {
    let cell = crate::id::CellId::new("111122223333".parse().unwrap(), "eu-west-1".parse().unwrap());
    Subject { cell, kind: SubjectKind::Instance, id: "i-0abc".to_owned(), arn: None }
}

fn fates(text: &str, finding: &Value) -> Vec<Fate> {
    parse(text).foresee(finding, &subject()).steps.into_iter().map(|step| step.fate).collect()
}

#[test]
fn each_step_begins_is_skipped_depends_or_fails_and_says_by_what() {
    let finding = json!({ "type": "x", "role": "TARGET", "cell": { "region": "eu-west-1" }, "network": { "remote_ips": ["192.0.2.1"] } });
    let foresight = parse(TURNING).foresee(&finding, &subject());
    let depends = || Fate::DependsOn("the outcome of `find`".to_owned());
    let fates: Vec<Fate> = foresight.steps.iter().map(|step| step.fate.clone()).collect();
    assert_eq!(fates[..3], [Fate::Begins, depends(), depends()]);
    assert!(matches!(&fates[3], Fate::Fails(why) if why.contains("is a list")), "{fates:?}");
    let [find, isolate, person, _] = &foresight.steps[..] else { panic!() };
    assert_eq!((&find.with, &find.values), (&Some(json!({ "port": 22 })), &vec![("finding.role".to_owned(), json!("TARGET"))]));
    assert_eq!(isolate.with, Some(json!({ "instance": "i-0abc", "logins": "${steps.find.outcome.logins}" })));
    assert_eq!((&isolate.region, isolate.depends_on.as_slice()), (&Some(json!("eu-west-1")), &["the outcome of `find`".to_owned()][..]));
    assert_eq!(person.with, None);
    // The login would make an actor of it.
    let [turn] = &foresight.turns[..] else { panic!() };
    assert_eq!(turn.changes[..2], [("find".to_owned(), Fate::Skipped), ("isolate".to_owned(), Fate::Begins)]);
}

#[test]
fn a_step_that_is_skipped_has_no_outcome_and_that_is_known() {
    let finding = json!({ "type": "x", "role": "ACTOR", "cell": { "region": "eu-west-1" }, "network": { "remote_ips": [] } });
    assert_eq!(fates(TURNING, &finding)[..3], [Fate::Skipped, Fate::Begins, Fate::Skipped]);
}

#[test]
fn each_pattern_says_which_field_it_misses() {
    let finding = json!({ "type": "x", "role": "ACTOR" });
    let foresight = parse(TURNING).foresee(&finding, &subject());
    let told: Vec<String> = foresight.matches.into_iter().map(|miss| miss.map(|miss| miss.to_string()).unwrap_or_default()).collect();
    assert_eq!(told, ["`role` is \"ACTOR\", wanted is [\"TARGET\"]", "`type` is \"x\", wanted is [\"y\"]"]);
    assert_eq!(parse(TURNING).foresee(&json!({ "type": "y" }), &subject()).matches[1], None);
}

#[test]
fn the_built_in_playbooks_say_what_an_attacked_instance_would_see() {
    let finding = json!({ "type": "UnauthorizedAccess:EC2/SSHBruteForce", "provider": "guard-duty", "role": "TARGET", "id": "f",
        "cell": { "account": "111122223333", "region": "eu-west-1" }, "network": { "remote_ips": ["192.0.2.1"] }, "hub": {} });
    let foresight = parse(BRUTE_FORCE).foresee(&finding, &subject());
    let of = |id: &str| foresight.steps.iter().find(|step| step.id == id).unwrap();
    assert_eq!(of("record").fate, Fate::Begins);
    assert_eq!(of("close-ingress").with.as_ref().unwrap()["ports"], json!([22]));
    assert!(foresight.steps.iter().all(|step| !matches!(step.fate, Fate::Fails(_))), "{foresight:#?}");
}
