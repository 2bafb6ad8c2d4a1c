//! A freeze by another process, in the middle of a change.

use std::time::Duration;

use cordon_lab::{
    Running,
    gateway::{Action, Fault, Match},
};

use super::assert_held;
use crate::respond::world::{HOME, World, id, incidents, members, of, state, steps};

const LONG: Duration = Duration::from_secs(60);

async fn reached(world: &World, running: &Running) {
    let reached = async {
        while world.gateway().faults().list()[0].done == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, reached).await.unwrap_or_else(|_| panic!("{}", running.log()));
}

/// The call under way is finished; of those that would have come after it none leaves.
#[tokio::test]
async fn a_freeze_of_another_process_stops_a_change_in_its_middle_and_the_thaw_finishes_it() {
    let world = World::with(members(1, &[HOME]), |mut settings| {
        settings.attempt_timeout = "5s".to_owned();
        settings
    })
    .await;
    let twin = world.instance("twin").await;
    let undisturbed = world.one(&world.attack(&twin)).await;
    for operation in ["AuthorizeSecurityGroupIngress", "RevokeSecurityGroupIngress"] {
        let instance = world.instance(&operation.to_lowercase()).await;
        let file = world.folder.path().join(format!("{operation}.json"));
        std::fs::write(&file, world.attack(&instance)).unwrap();
        world.gateway().faults().clear();
        let about = Match { operation: Some(operation.to_owned()), param: Some(instance.groups[1].clone()), ..Match::default() };
        world.gateway().faults().add(Fault::new(about, Action::Delay { ms: 3_000 }).times(1));
        let mut running = world.cordon.spawn(&["respond", file.to_str().unwrap(), "--format", "json"]).unwrap();
        reached(&world, &running).await;
        world.freeze(&[]).await;
        let since = world.gateway().ledger().find(|_| true).iter().map(|call| call.number).max().unwrap();
        assert_eq!(running.wait(LONG).await, Some(0), "{}", running.log());
        let left: Vec<_> = world.changing().into_iter().filter(|call| call.number > since).collect();
        assert!(left.is_empty(), "{operation}: {left:#?}");

        let lines: Vec<serde_json::Value> = running.lines().iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let stopped = lines.iter().rfind(|line| line["subject"] == instance.arn.as_str()).unwrap();
        assert_eq!((state(stopped), stopped["reason_code"].as_str()), ("held", Some("frozen")), "{operation}: {stopped:#}");
        let run = id(stopped);
        assert!(steps(stopped).iter().all(|(_, state)| *state != "failed"), "{operation}: {stopped:#}");

        world.thaw(&[]).await;
        let after = world.go_on(&instance, &run).await;
        assert_eq!((state(&after), steps(&after)), ("contained", steps(&undisturbed)), "{operation}: {after:#}");
        assert_eq!(world.state(&instance).await, world.state(&twin).await, "{operation}");
    }
    assert_eq!(world.cordon(&["audit", "verify"], "").await.code, Some(0));
}

/// Killed while it is frozen: what comes after reads the same journal.
#[tokio::test]
async fn a_freeze_outlives_a_process_that_is_killed_and_one_that_drives_notices_the_thaw_by_itself() {
    let world = World::with(members(1, &[HOME]), |mut settings| {
        settings.attempt_timeout = "2s".to_owned();
        settings.poll_every = "30m".to_owned();
        settings
    })
    .await;
    let instance = world.instance("web").await;
    let before = world.state(&instance).await;
    let about = Match { operation: Some("RevokeSecurityGroupIngress".to_owned()), ..Match::default() };
    world.gateway().faults().add(Fault::new(about, Action::Hang).times(1));
    let file = world.folder.path().join("event.json");
    std::fs::write(&file, world.attack(&instance)).unwrap();
    let mut running = world.cordon.spawn(&["respond", file.to_str().unwrap()]).unwrap();
    reached(&world, &running).await;
    world.freeze(&[]).await;
    running.kill();
    assert_eq!(running.wait(LONG).await, Some(137));
    world.gateway().faults().clear();

    let output = world.respond(&world.attack(&instance)).await;
    let held = incidents(&output).pop().unwrap();
    assert_eq!(of(&output, &instance)["reason_code"], "frozen", "{output:?}");
    assert!(world.open(&instance, 22).await, "{:#}", world.state(&instance).await);

    let service = world.cordon.spawn(&["serve"]).unwrap();
    let serving = async {
        while !service.log().contains("frozen: the organization") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, serving).await.unwrap_or_else(|_| panic!("{}", service.log()));
    world.thaw(&[]).await;
    let contained = async {
        while state(&world.shown(&id(&held)).await) != "contained" {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(LONG, contained).await.unwrap_or_else(|_| panic!("{}", service.log()));
    assert!(!world.open(&instance, 22).await && world.blocked(&instance).await && world.state(&instance).await != before);
    assert!(service.log().contains("is thawed"), "{}", service.log());
    let twin = world.instance("twin").await;
    world.freeze(&["--playbook", "ec2-brute-force"]).await;
    drop(service);
    assert_held(&world.one(&world.attack(&twin)).await, "cordon thaw --playbook ec2-brute-force");
}
