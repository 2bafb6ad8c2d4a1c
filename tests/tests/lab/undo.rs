//! `cordon incident undo`: what was changed is put back as it was found, and nothing of anybody else's.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail as tests do")]

use std::time::{Duration, Instant};

use cordon_lab::{
    Settings,
    organization::{
        Exposure, Instance, InstanceShape,
        look::{lets_in, open_to_world},
    },
};
use serde_json::{Value, json};

use crate::respond::world::{HOME, World, hold, id, state, step, text};

async fn undo(world: &World, run: &str, more: &[&str]) -> cordon_lab::cordon::Output {
    world.cordon(&[&["incident", "undo", run, "--yes", "--format", "json"], more].concat(), "").await
}

async fn undone(world: &World, run: &str, more: &[&str]) -> Value {
    let output = undo(world, run, more).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    crate::respond::world::one(&output)
}

#[tokio::test]
async fn an_undo_takes_the_block_away_and_opens_the_port_only_when_its_step_is_named() {
    let world = World::new().await;
    let instance = world.instance("web").await;
    let before = world.state(&instance).await;
    let incident = world.one(&world.attack(&instance)).await;
    let run = id(&incident);
    let after = world.state(&instance).await;

    // Nobody can be asked here.
    let refused = world.cordon(&["incident", "undo", &run], "y\n").await;
    assert!(refused.code == Some(2) && refused.stderr.contains("--yes"), "{refused:?}");
    assert_eq!(world.state(&instance).await, after);

    let output = undo(&world, &run, &[]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stderr.contains(&format!("cordon incident undo {run} --step close-ingress")), "{output:?}");
    let shown = crate::respond::world::one(&output);
    assert_eq!((&step(&shown, "block-source")["state"], &step(&shown, "close-ingress")["state"]), (&json!("undone"), &json!("applied")));
    let now = world.state(&instance).await;
    assert_eq!((&now["acl"], &now["groups"]), (&before["acl"], &after["groups"]));

    let shown = undone(&world, &run, &["--step", "close-ingress"]).await;
    assert_eq!((state(&shown), &step(&shown, "close-ingress")["state"]), ("undone", &json!("undone")), "{shown:#}");
    assert_eq!(world.state(&instance).await, before);
    let nothing = undo(&world, &run, &[]).await;
    assert!(nothing.code == Some(2) && nothing.stderr.contains("nothing to undo"), "{nothing:?}");
    assert_eq!(world.cordon(&["audit", "verify"], "").await.code, Some(0));
}

#[tokio::test]
async fn after_an_undo_the_same_type_of_finding_stands_down_until_a_person_releases_it() {
    let world = World::new().await;
    let (instance, other) = futures::join!(world.instance("web"), world.instance("other"));
    let before = world.state(&instance).await;
    let run = id(&world.one(&world.attack(&instance)).await);
    undone(&world, &run, &[]).await;
    undone(&world, &run, &["--step", "close-ingress"]).await;
    assert_eq!(world.state(&instance).await, before);

    // A new version of the finding, and somebody else's instance.
    let again = world.one(&world.attack(&instance)).await;
    assert_eq!((state(&again), text(&again, "/reason_code")), ("held", "stand-down"), "{again:#}");
    assert!(text(hold(&again, "stand-down"), "/why").contains("a person undid this"), "{again:#}");
    assert_eq!(world.state(&instance).await, before);
    assert_eq!(state(&world.one(&world.attack(&other)).await), "contained");

    let mut released = world.incident(&["incident", "release", &id(&again)]).await;
    if state(&released) == "held" {
        // Each step was held by itself.
        released = world.incident(&["incident", "release", &id(&again)]).await;
    }
    assert_eq!(state(&released), "contained", "{released:#}");
    assert!(!world.open(&instance, 22).await && world.blocked(&instance).await);
}

/// Somebody opens the port again, and takes the number of our entry for an entry of their own.
#[tokio::test]
async fn what_somebody_changed_in_between_is_left_to_a_person_with_the_commands() {
    let world = World::new().await;
    let instance = world.instance("web").await;
    let run = id(&world.one(&world.attack(&instance)).await);
    world.seize_block(&instance).await;
    let rule = json!({"GroupId": instance.groups[0], "IpPermissions": [
        {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 30, "IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "by hand"}]}
    ]});
    world.hand(&instance.account, "ec2", "authorize_security_group_ingress", rule).await;

    let output = undo(&world, &run, &[]).await;
    let shown = crate::respond::world::one(&output);
    let block = step(&shown, "block-source");
    assert_eq!(block["state"], "by-hand", "{output:?}");
    assert!(text(block, "/reason").contains(&format!("--network-acl-id {}", instance.acl)), "{block:#}");
    assert!(text(hold(&shown, "undo-by-hand"), "/release").contains("--step block-source"), "{shown:#}");
    let now = world.organization.entries(&instance.account, HOME, &instance.acl).await.unwrap();
    assert!(now.iter().any(|entry| entry["CidrBlock"] == "198.51.100.7/32" && entry["Protocol"] == "-1"), "{now:?}");

    let output = undo(&world, &run, &["--step", "close-ingress"]).await;
    let shown = crate::respond::world::one(&output);
    let close = step(&shown, "close-ingress");
    assert_eq!(close["state"], "by-hand", "{output:?}");
    assert!(text(close, "/reason").contains("aws ec2") && text(close, "/reason").contains(&instance.groups[0]), "{close:#}");
    let rules = world.organization.ingress(&instance.account, HOME, &instance.groups[0]).await.unwrap();
    assert!(rules.iter().any(|rule| rule.to_string().contains("by hand")), "{rules:?}");
    let report = world.cordon(&["incident", "report", &run], "").await;
    assert!(report.code == Some(0) && report.stdout.contains("aws ec2"), "{report:?}");
}

/// An instance behind a group that another one is behind as well.
async fn sharing(world: &World, name: &str, group: &str) -> Instance {
    let shape = InstanceShape { interfaces: vec![Exposure::Port], ..InstanceShape::named(name) };
    let mut instance = world.shaped(&shape).await;
    let params = json!({"NetworkInterfaceId": instance.interfaces[0], "Groups": [group]});
    world.hand(&world.account, "ec2", "modify_network_interface_attribute", params).await;
    instance.groups = vec![group.to_owned()];
    instance
}

#[tokio::test]
async fn a_port_that_two_incidents_closed_stays_closed_until_both_are_undone() {
    for first_goes_first in [true, false] {
        let world = World::new().await;
        let shape = InstanceShape { interfaces: vec![Exposure::Port], ..InstanceShape::named("one") };
        let one = world.shaped(&shape).await;
        let group = one.groups[0].clone();
        let two = sharing(&world, "two", &group).await;
        let before = world.state(&one).await;
        let first = world.one(&world.attack(&one)).await;
        let second = world.one(&world.attack(&two)).await;
        assert_eq!(step(&first, "close-ingress")["state"], "applied", "{first:#}");
        assert_eq!(step(&second, "close-ingress")["state"], "already-done", "{second:#}");

        let (sooner, later) = if first_goes_first { (&first, &second) } else { (&second, &first) };
        let plan = ["incident", "undo", &id(sooner), "--step", "close-ingress", "--plan"];
        let looked = world.cordon(&plan, "").await;
        assert!(looked.stdout.contains("stays") && looked.stdout.contains(&id(later)), "{looked:?}");
        let rules = async || world.organization.ingress(&world.account, HOME, &group).await.unwrap();
        let shown = undone(&world, &id(sooner), &["--step", "close-ingress"]).await;
        assert_eq!(step(&shown, "close-ingress")["state"], "undone", "{shown:#}");
        assert!(text(step(&shown, "close-ingress"), "/reason").contains(&id(later)), "{shown:#}");
        assert!(!open_to_world(&rules().await, 22), "it is still closed for the other");

        undone(&world, &id(later), &["--step", "close-ingress"]).await;
        assert_eq!(world.state(&one).await["groups"], before["groups"]);
        assert!(lets_in(&rules().await, 22, "0.0.0.0/0"));
    }
}

/// The same playbook, but a block lasts seconds.
const SHORT: &str = include_str!("../../../hub/playbooks/ec2-brute-force.toml");

#[tokio::test]
async fn a_block_ends_when_its_time_is_over_also_for_an_incident_that_a_person_closed() {
    let (poll_every, short) = ("1h".to_owned(), SHORT.replace("ttl = \"24h\"", "ttl = \"15s\""));
    let mut world = World::with_playbook("ec2-brute-force", &short, |settings| Settings { poll_every, ..settings }).await;
    let (open, closed) = futures::join!(world.instance("open"), world.instance("closed"));
    let before = [world.state(&open).await, world.state(&closed).await];
    let events = format!("{}\n{}\n", world.attack(&open), world.attack(&closed));
    let output = world.respond(&events).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    let run = id(&crate::respond::world::of(&output, &closed));
    let shown = world.incident(&["incident", "close", &run, "--why", "answered by hand"]).await;
    assert_eq!((state(&shown), text(&shown, "/reason_code")), ("contained", "ttl"), "{shown:#}");
    // A lower mode does not stop what is owed.
    world.set(|settings| settings.mode = "observe".to_owned());
    let mut running = world.cordon.spawn(&["serve"]).unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while world.blocked(&open).await || world.blocked(&closed).await {
        assert!(Instant::now() < until && running.is_running(), "{}", running.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    running.terminate();
    assert_eq!(running.wait(Duration::from_secs(20)).await, Some(0), "{}", running.log());
    let shown = world.incident(&["incident", "show", &run]).await;
    assert_eq!((state(&shown), text(&shown, "/reason_code")), ("closed", "closed-by-person"), "{shown:#}");
    for (instance, before) in [&open, &closed].into_iter().zip(before) {
        let now = world.state(instance).await;
        assert_eq!(now["acl"], before["acl"]);
        assert_ne!(now["groups"], before["groups"], "the port has no time to live");
        assert!(!world.open(instance, 22).await);
    }
}
