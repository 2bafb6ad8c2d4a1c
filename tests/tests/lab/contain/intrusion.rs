//! A target that was entered: what is found turns it into an actor.

use cordon_lab::{
    Settings, Shape,
    organization::{Exposure, InstanceShape, trail::Caller},
};

use super::look::all;
use crate::respond::world::{ATTACKER, HOME, World, id, state, step, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmed_login_turns_the_target_into_an_actor_and_the_report_tells_how_it_happened() {
    let world = World::with(Shape::small(), |settings| settings).await;
    let organization = &world.organization;
    let instance = world.instance("db").await;
    organization.log_attack(&instance, ATTACKER, Some("ec2-user")).await.unwrap();
    let role = organization.role_of(&instance);
    let caller = Caller::session(&instance.account, role, &instance.id, "ASIALABSTOLEN0000001", ATTACKER);
    let admin = Caller::user(&instance.account, "ci", "AKIALABCI00000000001", "192.0.2.200");
    organization.in_the_internet(&instance).await.unwrap();
    organization.opened_by(&instance, &admin, 86_400).await.unwrap();
    organization.recorded(&caller.abuse(HOME, &organization.security)).await.unwrap();

    let incident = world.one(&world.attack(&instance)).await;
    // Contained; but the roles that were assumed with its credentials are for a person.
    assert_eq!((state(&incident), incident["contained_at"].is_string()), ("held", true), "{incident:#}");
    // What the target needed was done first and stays; the actor's follows, in one run.
    all(&incident, &["close-ingress", "block-source", "protect", "isolate", "cut-issuance", "deny-sessions", "snapshot"], "applied");
    all(&incident, &["exposure", "opened", "find-logins", "trace"], "done");
    let times = |id: &str| step(&incident, id)["state"].as_str().map(str::to_owned);
    assert!(times("isolate").is_some());
    assert!(!world.open(&instance, 22).await);

    let report = world.cordon(&["incident", "report", &id(&incident), "--format", "json"], "").await;
    let report = report.objects().remove(0);
    assert_eq!(text(&report, "/access/verdict"), "got-in");
    let told = report["root_cause"].to_string();
    for part in [
        "Port 22 was reachable from the Internet",
        "has the public IPv4 address",
        "let 0.0.0.0/0 in",
        "user/ci",
        "AuthorizeSecurityGroupIngress",
        &instance.groups[0],
        "ec2-user logged in from 198.51.100.7",
        "backup-agent",
        "iam:CreateUser",
        "PasswordAuthentication no",
    ] {
        assert!(told.contains(part), "{part}: {:#}", report["root_cause"]);
    }
    assert!(report["access"]["logins"][0]["line"].as_str().unwrap().contains("Accepted password for ec2-user from 198.51.100.7"));
    // Each statement has what it rests on, or says why it is not known.
    for statement in report["root_cause"].as_array().unwrap().iter().flat_map(|answer| answer["statements"].as_array().unwrap()) {
        assert!(statement["reference"].is_string() || statement["not_known_because"].is_string(), "{statement:#}");
    }
    let turned =
        report["timeline"].as_array().unwrap().iter().find(|moment| moment["text"].as_str().unwrap().contains("counts as compromised"));
    assert!(turned.is_some(), "{:#}", report["timeline"]);

    // The same finding once more turns nothing back and repeats nothing.
    let writes = world.writes().len();
    let again = world.one(&world.attack(&instance)).await;
    assert_eq!((id(&again), world.writes().len()), (id(&incident), writes), "{again:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_with_one_interface_is_contained_within_the_default_caps() {
    let world = World::with(Shape::small(), |settings| Settings { caps: (5, 25), ..settings }).await;
    let shape = InstanceShape { interfaces: vec![Exposure::Port], ..InstanceShape::named("one") };
    let instance = world.shaped(&shape).await;
    world.organization.log_attack(&instance, ATTACKER, Some("ec2-user")).await.unwrap();
    let incident = world.one(&world.attack(&instance)).await;
    all(
        &incident,
        &["close-ingress", "block-source", "protect", "isolate", "cut-issuance", "swap-profile", "deny-sessions", "snapshot"],
        "applied",
    );
    assert!(incident["holds"].as_array().unwrap().is_empty() && incident["contained_at"].is_string(), "{incident:#}");
}
