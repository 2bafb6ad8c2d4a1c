//! A clock that goes back under a running service.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail as tests do")]

use std::time::{Duration, Instant};

use cordon_lab::{MovedClock, Running};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::{
    people::serving,
    respond::world::{HOME, World, hold, id, members, one, step, text},
};

const PATIENCE: Duration = Duration::from_secs(60);
const HOUR: i64 = 3_600;

/// The same finding as it would have been written so many seconds before: what is of the future is not believed.
pub(crate) fn earlier(native: &Value, seconds: i64) -> Value {
    let mut native = native.clone();
    for place in ["/createdAt", "/updatedAt", "/service/eventFirstSeen", "/service/eventLastSeen"] {
        let at: Timestamp = text(&native, place).parse().unwrap();
        *native.pointer_mut(place).unwrap() = format!("{:.3}", at - SignedDuration::from_secs(seconds)).into();
    }
    native
}

/// The incident, once it fits.
pub(crate) async fn until(world: &World, service: &Running, run: &str, fits: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let incident = one(&world.cordon(&["incident", "show", run, "--format", "json"], "").await);
        if fits(&incident) {
            return incident;
        }
        assert!(begun.elapsed() < PATIENCE, "{incident:#}\n{}", service.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn setbacks(world: &World) -> Vec<String> {
    let away = world.cordon(&["audit", "turned-away", "--format", "json"], "").await.objects();
    away.iter().filter(|entry| entry["door"] == "clock").map(|entry| text(entry, "/why").to_owned()).collect()
}

#[tokio::test]
async fn a_clock_that_goes_back_is_told_and_remembered_and_what_was_void_stays_void() {
    let mut world = World::with(members(1, &[HOME]), |mut settings| {
        settings.mode = "ask".to_owned();
        settings.poll_every = "1h".to_owned();
        settings
    })
    .await;
    let clock = MovedClock::new().unwrap();
    world.cordon = clock.on(&world.cordon);
    let instance = world.instance("web").await;
    let run = id(&world.one(&world.attack(&instance)).await);
    let grant = ["approval", "grant", run.as_str(), "--step", "close-ingress", "--yes", "--format", "json"];

    // Nobody answers, not when it is escalated either.
    clock.set(5 * HOUR).unwrap();
    let mut service = serving(&world).await;
    for hours in [5, 10] {
        if hours > 5 {
            // A clock that jumps ahead has the lease run out: whatever manages the service starts it again.
            clock.set(hours * HOUR).unwrap();
            assert_eq!(service.wait(PATIENCE).await, Some(1), "{}", service.log());
            service = serving(&world).await;
        }
        until(&world, &service, &run, |incident| match hours {
            5 => text(incident, "/reason").contains("escalated"),
            _ => step(incident, "close-ingress")["state"] == "held",
        })
        .await;
    }
    assert_eq!(setbacks(&world).await, [""; 0]);
    clock.set(0).unwrap();
    let begun = Instant::now();
    while setbacks(&world).await.is_empty() {
        assert!(begun.elapsed() < PATIENCE, "{}", service.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(service.log().contains("the clock of the computer that Cordon runs on went from"), "{}", service.log());

    // The question's time is over, though by the clock it is not.
    let late = world.cordon(&grant, "").await;
    assert!(late.code == Some(2) && late.stderr.contains("asks nothing about `close-ingress`"), "{late:?}");
    let held = until(&world, &service, &run, |_| true).await;
    assert_eq!(text(hold(&held, "ask-expired"), "/step"), "close-ingress", "{held:#}");
    assert!(world.open(&instance, 22).await && world.writes().is_empty());

    // Asked anew it stands as long as ever, and is done once.
    let release = ["incident", "release", run.as_str(), "--step", "close-ingress", "--yes", "--format", "json"];
    world.cordon(&release, "").await;
    until(&world, &service, &run, |incident| step(incident, "close-ingress")["state"] == "waiting").await;
    let done = one(&world.cordon(&grant, "").await);
    assert_eq!(step(&done, "close-ingress")["state"], "applied", "{done:#}");
    assert!(!world.open(&instance, 22).await);
    let [why] = setbacks(&world).await.try_into().unwrap();
    assert!(why.contains("what was due, void or spent before stays so"), "{why}");
    service.terminate();
    assert_eq!(service.wait(PATIENCE).await, Some(0), "{}", service.log());
    assert_eq!(world.cordon(&["audit", "verify"], "").await.code, Some(0));
}
