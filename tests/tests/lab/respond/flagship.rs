//! An attacked instance, from the finding to the report, over a moto as it is.

use std::path::Path;

use cordon_lab::{
    Shape, Standing,
    organization::{
        InstanceShape,
        look::{lets_in, open_to_world},
    },
};

use super::world::{ATTACKER, HOME, World, hold, id, incidents, of, state, step, text};

fn two_accounts() -> Shape {
    Shape { members: 2, opted_out: true, ..Shape::small() }
}

/// Files of evidence, without the small ones beside them that say what they are.
fn kept(folder: &Path) -> usize {
    let folders = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = folders.flat_map(|folder| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
    files.filter(|file| file.extension().is_none()).count()
}

/// No gateway, no extension: the address of moto and credentials of the security account are all that it is told of AWS.
#[tokio::test]
async fn an_attacked_instance_is_closed_its_attacker_blocked_the_log_searched_and_the_same_event_changes_nothing() {
    let world = World::plain(two_accounts()).await;
    let organization = &world.organization;
    let instance = world.instance("web").await;
    let other = organization.member(Standing::OptedOut).unwrap().account.clone();
    let other = organization.instance(&other, HOME, &InstanceShape::named("bench")).await.unwrap();
    organization.log_attack(&instance, ATTACKER, None).await.unwrap();
    organization.log_attack(&other, ATTACKER, None).await.unwrap();
    let (before, other_before) = (world.state(&instance).await, world.state(&other).await);
    let events = format!("{}\n{}\n", world.attack(&instance), world.attack(&other));

    let direct = world.cordon.clone().with("AWS_ENDPOINT_URL", &world.lab.moto.endpoint());
    let output = direct.run(&["respond", "-", "--format", "json"], &events).await.unwrap();
    assert_eq!((output.code, incidents(&output).len()), (Some(0), 2), "{output:?}");

    // The world, by AWS's rules.
    for group in &instance.groups {
        let rules = organization.ingress(&instance.account, HOME, group).await.unwrap();
        assert!(!open_to_world(&rules, 22) && lets_in(&rules, 443, "0.0.0.0/0") && lets_in(&rules, 22, "10.0.0.0/8"), "{rules:?}");
    }
    let range = organization.ingress(&instance.account, HOME, &instance.groups[1]).await.unwrap();
    for (port, cidr) in [20, 21, 23, 24, 25].into_iter().flat_map(|port| ["0.0.0.0/0", "::/0"].map(|cidr| (port, cidr))) {
        assert!(lets_in(&range, port, cidr), "{port} {cidr}: {range:?}");
    }
    assert!(world.blocked(&instance).await);
    let entries = organization.entries(&instance.account, HOME, &instance.acl).await.unwrap();
    assert!(before["acl"].as_array().unwrap().iter().all(|entry| entries.contains(entry)), "{entries:?}");
    let denies: Vec<bool> = entries
        .iter()
        .filter(|entry| entry["CidrBlock"] == format!("{ATTACKER}/32") && entry["RuleAction"] == "deny")
        .map(|entry| entry["Egress"].as_bool().unwrap() && entry["RuleNumber"].as_i64().unwrap() < 100)
        .collect();
    assert_eq!(denies, [false, true], "{entries:?}");

    // What is said of it.
    let incident = of(&output, &instance);
    assert_eq!(state(&incident), "contained", "{incident:#}");
    let expected = [("record", "done"), ("close-ingress", "applied"), ("block-source", "applied"), ("find-logins", "done")];
    for (id, state) in expected {
        assert_eq!(step(&incident, id)["state"], state, "{incident:#}");
    }
    let outcome = &step(&incident, "find-logins")["outcome"];
    assert_eq!((text(outcome, "/verdict"), &outcome["failures"]), ("none", &24.into()), "{outcome:#}");
    assert!(incident["first_change_at"].is_string() && incident["duplicate_of"].is_null(), "{incident:#}");

    // Who opted out is untouched, and held by name.
    let held = of(&output, &other);
    assert_eq!((state(&held), world.state(&other).await), ("held", other_before.clone()), "{held:#}");
    assert!(text(hold(&held, "opted-out"), "/why").contains(&other.account), "{held:#}");
    assert!(text(hold(&held, "opted-out"), "/release").starts_with("cordon incident "), "{held:#}");
    assert_eq!(step(&held, "record")["state"], "done", "{held:#}");

    // What is kept of it.
    let evidence = incident["evidence"].as_array().unwrap();
    assert!(evidence.len() > 1 && kept(&world.settings.state_dir.join("evidence")) >= evidence.len(), "{evidence:?}");
    let report = world.cordon(&["incident", "report", &id(&incident)], "").await;
    for part in [ATTACKER, &instance.id, "close-ingress", "incident undo"] {
        assert!(report.stdout.contains(part), "{part}: {}", report.stdout);
    }
    assert_eq!(report.code, Some(0));
    let report = world.cordon(&["incident", "report", &id(&incident), "--format", "json"], "").await;
    assert!(report.objects().len() == 1 && report.code == Some(0), "{report:?}");
    assert_eq!(world.cordon(&["audit", "verify"], "").await.code, Some(0));

    // The same event again, this time with somebody who counts the calls.
    let after = world.state(&instance).await;
    let again = world.respond(&events).await;
    assert_eq!(again.code, Some(0), "{again:?}");
    let duplicate = of(&again, &instance);
    assert_eq!((&duplicate["duplicate_of"], &duplicate["incident"]), (&incident["incident"], &incident["incident"]));
    assert_eq!((duplicate["steps"].clone(), state(&duplicate)), (incident["steps"].clone(), "contained"));
    assert_eq!((world.state(&instance).await, world.state(&other).await), (after, other_before));
    assert!(world.gateway().ledger().find(|call| call.write).is_empty());
}

#[tokio::test]
async fn a_confirmed_login_is_named_with_its_line_and_the_instance_is_contained() {
    let world = World::with(Shape::small(), |settings| settings).await;
    let instance = world.instance("db").await;
    world.organization.log_attack(&instance, ATTACKER, Some("ec2-user")).await.unwrap();
    let incident = world.one(&world.attack(&instance)).await;
    assert_eq!(state(&incident), "contained", "{incident:#}");
    let outcome = &step(&incident, "find-logins")["outcome"];
    let login = &outcome["logins"][0];
    assert_eq!((text(outcome, "/verdict"), text(login, "/user")), ("confirmed", "ec2-user"), "{outcome:#}");
    assert!(text(login, "/line").contains("Accepted password for ec2-user from 198.51.100.7"), "{login:#}");
    assert_eq!(step(&incident, "isolate")["state"], "applied");
    assert!(!world.open(&instance, 22).await);
    let denied = world.organization.passes(&instance, ATTACKER.parse().unwrap(), 22).await.unwrap();
    assert!(!denied.inward && !denied.outward);
}
