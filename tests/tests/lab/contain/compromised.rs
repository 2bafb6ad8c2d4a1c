//! Instances that do an attacker's work.

use cordon_lab::{
    gateway::{Action, Fault, Match},
    organization::{
        Instance,
        finding::{Part, brute_force},
    },
};
use serde_json::{Value, json};

use super::look::all;
use crate::respond::world::{World, hold, id, of, state, step, text};

const DROP_POINT: &str = "198.51.100.99";

/// GuardDuty's finding of another type about an instance. It calls the instance a TARGET, as it does in most of these.
fn found(instance: &Instance, kind: &str) -> Value {
    let mut native = brute_force(instance, DROP_POINT, Part::Target);
    native["type"] = json!(kind);
    native["severity"] = json!(5.0);
    native["title"] = json!(format!("{} talks to {DROP_POINT}.", instance.id));
    native["service"]["action"]["networkConnectionAction"]["connectionDirection"] = json!("OUTBOUND");
    native
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trojan_is_contained_whatever_part_guardduty_gives_the_instance_and_a_protection_that_fails_delays_nothing() {
    let world = World::new().await;
    let instance = world.instance("worker").await;
    let protection = Match {
        account: Some(world.account.clone()),
        service: Some("ec2".to_owned()),
        operation: Some("ModifyInstanceAttribute".to_owned()),
        ..Match::default()
    };
    world.gateway().faults().add(Fault::new(protection, Action::Deny { code: None, status: None }));
    let incident = world.one(&world.event(&found(&instance, "Trojan:EC2/DropPoint"))).await;
    world.gateway().faults().clear();
    all(&incident, &["protect"], "failed");
    all(&incident, &["cut-flows", "isolate", "cut-issuance", "deny-sessions", "snapshot"], "applied");
    all(&incident, &["unsure", "detach"], "skipped");
    let isolated = world.groups(&instance).await;
    assert_eq!(world.rules(&instance, &isolated[0][0]).await, 0);
    assert_eq!(state(&incident), "contained", "{incident:#}");
    // What failed, and that no login explains it, is said and not guessed.
    let report = world.cordon(&["incident", "report", &id(&incident)], "").await.stdout;
    for part in ["Whether the attacker got in is not known", "ModifyInstanceAttribute", "What else was found"] {
        assert!(report.contains(part), "{part}: {report}");
    }
    assert!(!report.contains("The attacker got in"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_an_administrators_own_doing_changes_nothing_until_a_person_releases_it() {
    let world = World::new().await;
    let instance = world.instance("tools").await;
    let before = (world.state(&instance).await, world.groups(&instance).await);
    let incident = world.one(&world.event(&found(&instance, "UnauthorizedAccess:EC2/MaliciousIPCaller.Custom"))).await;
    assert_eq!((state(&incident), text(hold(&incident, "playbook"), "/code")), ("held", "playbook"), "{incident:#}");
    all(&incident, &["record", "exposure", "find-logins"], "done");
    assert_eq!((world.state(&instance).await, world.groups(&instance).await), before);
    let released = world.incident(&["incident", "release", &id(&incident), "--step", "unsure"]).await;
    all(&released, &["isolate", "deny-sessions"], "applied");
    assert_ne!(world.groups(&instance).await, before.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attack_sequence_is_answered_by_an_incident_for_each_of_its_instances() {
    let world = World::new().await;
    let (one, two) = futures::join!(world.instance("node-1"), world.instance("node-2"));
    let mut native = found(&one, "AttackSequence:EC2/CompromisedInstanceGroup");
    let resource = |instance: &Instance| {
        json!({"uid": instance.arn, "name": instance.id, "resourceType": "EC2_INSTANCE", "accountId": instance.account, "region": instance.region,
            "data": {"ec2Instance": {"instanceState": "running"}}})
    };
    native["resource"] = json!({"resourceType": "AttackSequence"});
    native["service"]["action"] = Value::Null;
    native["service"]["detection"] = json!({"sequence": {
        "uid": "s-1", "description": "A group of instances does an attacker's work.", "signals": [], "actors": [],
        "endpoints": [{"id": "e-1", "ip": DROP_POINT}], "resources": [resource(&one), resource(&two)],
    }});
    let event = world.event(&native);
    let output = world.respond(&event).await;
    assert_eq!((output.code, output.objects().len()), (Some(0), 2), "{output:?}");
    for (instance, other) in [(&one, &two), (&two, &one)] {
        let incident = of(&output, instance);
        all(&incident, &["isolate", "cut-issuance", "deny-sessions"], "applied");
        assert_eq!(step(&incident, "find-logins")["state"], "done", "{incident:#}");
        let report = world.cordon(&["incident", "report", &id(&incident)], "").await.stdout;
        assert!(report.contains(&format!("It names {} too", other.arn).replace('-', "\\-")) || report.contains(&other.id), "{report}");
    }
    // The same event again is nothing new for either.
    let writes = world.writes().len();
    let again = world.respond(&event).await;
    assert_eq!((again.objects().len(), world.writes().len()), (2, writes), "{again:?}");
    assert!(again.objects().iter().all(|incident| incident["duplicate_of"].is_string()), "{again:?}");
}
