//! An account that throttles, denies or hangs delays no other.

use std::time::{Duration, Instant};

use cordon_lab::{
    gateway::{Action, Fault, Match},
    organization::InstanceShape,
};
use futures::future::try_join_all;
use serde_json::Value;

use super::world::{HOME, World, members, state, text};

#[tokio::test]
async fn an_account_that_throttles_denies_or_hangs_delays_no_other() {
    let world = World::with(members(5, &[HOME]), |settings| settings).await;
    let organization = &world.organization;
    let shape = InstanceShape::named("web");
    let accounts: Vec<String> = (0..5).map(|number| organization.ordinary(number).unwrap().account.clone()).collect();
    let made = try_join_all(accounts.iter().map(|account| organization.instance(account, HOME, &shape))).await.unwrap();
    let bad = [Action::Hang, Action::Throttle, Action::Deny { code: None, status: None }];
    for (account, action) in accounts.iter().zip(bad) {
        let all = Match { account: Some(account.clone()), service: Some("ec2".to_owned()), ..Match::default() };
        world.gateway().faults().add(Fault::new(all, action));
    }
    let file = world.folder.path().join("events.ndjson");
    let events: Vec<String> = made.iter().map(|instance| world.attack(instance)).collect();
    std::fs::write(&file, events.join("\n")).unwrap();

    let begun = Instant::now();
    let mut running = world.cordon.spawn(&["respond", file.to_str().unwrap(), "--format", "json"]).unwrap();
    let mut settled: Vec<Value> = Vec::new();
    let is = |settled: &[Value], number: usize| settled.iter().any(|incident| incident["subject"] == made[number].arn.as_str());
    while !(is(&settled, 3) && is(&settled, 4)) {
        assert!(begun.elapsed() < Duration::from_secs(30) && running.is_running(), "{settled:?} {}", running.log());
        settled.extend(running.lines().iter().filter_map(|line| serde_json::from_str::<Value>(line).ok()));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The two good ones ended while the first had not been given up.
    assert!(!is(&settled, 0) && running.is_running(), "{settled:?}");
    for instance in &made[3..] {
        let incident = settled.iter().find(|incident| incident["subject"] == instance.arn.as_str()).unwrap();
        assert_eq!(state(incident), "contained", "{incident:#}");
        assert!(!world.open(instance, 22).await && world.blocked(instance).await);
    }
    // Denied is told at once, for a person.
    while !is(&settled, 2) && begun.elapsed() < Duration::from_secs(30) {
        settled.extend(running.lines().iter().filter_map(|line| serde_json::from_str::<Value>(line).ok()));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let denied = settled.iter().find(|incident| incident["subject"] == made[2].arn.as_str()).unwrap();
    assert_eq!((state(denied), text(denied, "/reason_code")), ("held", "access-denied"), "{denied:#}");
    running.kill();
    running.wait(Duration::from_secs(10)).await;
    for instance in &made[..3] {
        assert!(world.open(instance, 22).await);
    }
}
