//! Several findings of one incident: each is answered, and what silences or changes one takes nothing from another.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail as tests do")]

use cordon_lab::{
    Shape,
    organization::{
        OpenGroup,
        finding::{Part, brute_force, hub_copy, imported},
        look::open_to_world,
    },
};
use serde_json::{Value, json};

use crate::respond::world::{ATTACKER, HOME, World, hold, id, one, state, step, text};

/// The same group, found by another control.
fn of_control(finding: &Value, control: &str) -> Value {
    let text = finding.to_string().replace("EC2.13", control);
    serde_json::from_str(&text).unwrap()
}

fn event(world: &World, findings: &[Value]) -> String {
    imported(&world.organization.security, HOME, findings).to_string()
}

#[tokio::test]
async fn two_controls_of_one_group_are_both_answered_whichever_comes_first() {
    let world = World::new().await;
    let mut groups = world.organization.open_groups(&world.account, HOME, 2).await.unwrap();
    let others: Vec<OpenGroup> =
        groups.iter().map(|group| OpenGroup { finding: of_control(&group.finding, "EC2.19"), ..group.clone() }).collect();
    groups.extend(others);
    world.organization.backlog(&groups).await.unwrap();
    for (group, turned) in groups.iter().zip([false, true]) {
        let database = json!([{"IpProtocol": "tcp", "FromPort": 3306, "ToPort": 3306, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]);
        let params = json!({"GroupId": group.id, "IpPermissions": database});
        world.hand(&world.account, "ec2", "authorize_security_group_ingress", params).await;
        let mut findings = [group.finding.clone(), of_control(&group.finding, "EC2.19")];
        if turned {
            findings.reverse();
        }
        // Each as an event of its own, the second while the first is worked on.
        let text = findings.iter().map(|finding| event(&world, std::slice::from_ref(finding))).collect::<Vec<_>>().join("\n");
        let incident = one(&world.respond(&text).await);
        assert_eq!(
            (state(&incident), step(&incident, "close-ssh")["state"].as_str()),
            ("waiting", Some("applied")),
            "{turned}: {incident:#}"
        );
        assert_eq!(step(&incident, "close-high-risk-ports")["state"], "waiting", "{turned}: {incident:#}");
        let rules = world.organization.ingress(&world.account, HOME, &group.id).await.unwrap();
        assert!(!open_to_world(&rules, 22), "{turned}: {rules:?}");
        // Both findings get their note.
        let noted =
            incident["steps"].as_array().unwrap().iter().filter(|step| text_of(step).starts_with("note") && step["state"] == "applied");
        assert_eq!(noted.count(), 2, "{turned}: {incident:#}");
    }
}

fn text_of(step: &Value) -> &str {
    text(step, "/id")
}

#[tokio::test]
async fn a_question_about_an_instance_that_attacks_stands_when_it_is_attacked_too() {
    let world = World::with(Shape::small(), |mut settings| {
        settings.mode = "ask".to_owned();
        settings
    })
    .await;
    let instance = world.instance("web").await;
    let attacks = world.one(&world.event(&brute_force(&instance, "203.0.113.77", Part::Actor))).await;
    assert_eq!((state(&attacks), step(&attacks, "isolate")["state"].as_str()), ("waiting", Some("waiting")), "{attacks:#}");
    let both = world.one(&world.event(&brute_force(&instance, ATTACKER, Part::Target))).await;
    assert_eq!(id(&both), id(&attacks));
    for asked in ["isolate", "close-ingress"] {
        assert_eq!(step(&both, asked)["state"], "waiting", "{asked}: {both:#}");
    }
    // Whom it attacked is not blocked as one that attacks it.
    let run = id(&both);
    for step in ["close-ingress", "block-source"] {
        world.incident(&["approval", "grant", &run, "--step", step, "--yes"]).await;
    }
    let shown = world.incident(&["incident", "show", &run]).await;
    assert_eq!(step(&shown, "block-source")["state"], "applied", "{shown:#}");
    let blocked = step(&shown, "block-source").to_string();
    assert!(blocked.contains(ATTACKER) && !blocked.contains("203.0.113.77"), "{blocked}");
}

#[tokio::test]
async fn what_silences_one_finding_silences_no_other() {
    let world = World::new().await;
    let instance = world.instance("web").await;
    let (quiet, loud) = (brute_force(&instance, ATTACKER, Part::Target), brute_force(&instance, "203.0.113.78", Part::Actor));
    for native in [&quiet, &loud] {
        world.organization.know(native).await.unwrap();
    }
    // The security account says that attacks on it need no answer.
    let params = json!({
        "FindingIdentifiers": [{"Id": hub_copy(&quiet)["Id"], "ProductArn": hub_copy(&quiet)["ProductArn"]}], "Workflow": {"Status": "SUPPRESSED"},
    });
    world.hand(&world.organization.security, "securityhub", "batch_update_findings", params).await;
    let mut silent = hub_copy(&quiet);
    silent["Workflow"] = json!({"Status": "SUPPRESSED"});
    let first = world.one(&event(&world, &[silent])).await;
    assert_eq!(step(&first, "close-ingress")["state"], "skipped", "{first:#}");
    assert!(world.open(&instance, 22).await);
    let then = world.one(&event(&world, &[hub_copy(&loud)])).await;
    assert_eq!(step(&then, "isolate")["state"], "applied", "{then:#}");
    assert_eq!(step(&then, "close-ingress")["state"], "skipped", "{then:#}");
}

#[tokio::test]
async fn a_known_source_silences_its_own_findings_steps_and_no_other() {
    let world = World::with(Shape::small(), |mut settings| {
        settings.more =
            format!("{}\n[[known]]\ncidr = \"203.0.113.80/32\"\nwhy = \"the scanner\"\nuntil = \"{}\"\n", settings.more, soon());
        settings
    })
    .await;
    let instance = world.instance("web").await;
    let scanned = world.one(&world.event(&brute_force(&instance, "203.0.113.80", Part::Target))).await;
    assert!(text(step(&scanned, "close-ingress"), "/reason").contains("the scanner"), "{scanned:#}");
    assert!(world.writes().is_empty() && world.open(&instance, 22).await);
    let (other, quiet) = (world.instance("other").await, brute_force);
    let attacks = world.one(&world.event(&quiet(&other, "203.0.113.81", Part::Actor))).await;
    assert_eq!(step(&attacks, "isolate")["state"], "applied", "{attacks:#}");
    // The scanner looks at what is isolated already: nothing of that is taken back or held.
    let both = world.one(&world.event(&quiet(&other, "203.0.113.80", Part::Target))).await;
    assert_eq!((id(&both), step(&both, "isolate")["state"].as_str()), (id(&attacks), Some("applied")), "{both:#}");
    assert!(text(step(&both, "close-ingress"), "/reason").contains("the scanner"), "{both:#}");
}

/// A day a month from now.
fn soon() -> String {
    let then = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(30 * 24);
    then.to_string().split('T').next().unwrap().to_owned()
}

#[tokio::test]
async fn under_a_limited_freeze_a_port_that_a_control_found_open_is_closed() {
    let world = World::new().await;
    let group = world.organization.open_groups(&world.account, HOME, 1).await.unwrap().remove(0);
    world.freeze(&["limited"]).await;
    let incident = world.one(&event(&world, std::slice::from_ref(&group.finding))).await;
    assert_eq!(step(&incident, "close-ssh")["state"], "applied", "{incident:#}");
}

#[tokio::test]
async fn a_note_asks_where_its_playbook_says_so() {
    let world = World::with(Shape::small(), |mut settings| {
        let folder = settings.state_dir.parent().unwrap().join("playbooks");
        std::fs::create_dir_all(&folder).unwrap();
        let shipped = include_str!("../../../hub/playbooks/open-admin-port.toml");
        let asking = shipped.replace("action = \"securityhub.update-finding\"", "action = \"securityhub.update-finding\"\nask = true");
        assert_ne!(asking, shipped);
        std::fs::write(folder.join("open-admin-port.toml"), asking).unwrap();
        settings.more = format!("{}\n[playbooks]\ndir = {}\n", settings.more, json!(folder));
        settings
    })
    .await;
    let group = world.organization.open_groups(&world.account, HOME, 1).await.unwrap().remove(0);
    world.organization.backlog(std::slice::from_ref(&group)).await.unwrap();
    let incident = world.one(&event(&world, std::slice::from_ref(&group.finding))).await;
    assert_eq!(
        (step(&incident, "close-ssh")["state"].as_str(), step(&incident, "note")["state"].as_str()),
        (Some("applied"), Some("waiting"))
    );
    assert!(text(hold(&incident, "approval"), "/why").contains("the playbook asks"), "{incident:#}");
    let granted = world.incident(&["approval", "grant", &id(&incident), "--yes"]).await;
    assert_eq!(step(&granted, "note")["state"], "applied", "{granted:#}");
}
