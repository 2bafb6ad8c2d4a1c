//! The window of a budget slides: what it made ask goes unasked when what was spent is out of it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail as tests do")]

use cordon_lab::{
    MovedClock,
    organization::{
        Instance,
        finding::{Part, brute_force},
    },
};
use serde_json::{Value, json};

use crate::{
    clock::earlier,
    respond::world::{ATTACKER, World, hold, id, state, step, text},
};

const HOUR: i64 = 3_600;

/// One change, whose question nobody is called for.
const CLOSE: &str = r#"
name = "ec2-brute-force"
title = "Only closing"
subject = "instance"
[[match]]
type = [{ prefix = "UnauthorizedAccess:EC2/" }]
[[steps]]
id = "close-ingress"
action = "ec2.close-open-ingress"
with = { instance = "${subject.id}", ports = [22] }
"#;

async fn shown(world: &World) -> Value {
    let output = world.cordon(&["budget", "show", "--format", "json"], "").await;
    assert_eq!(output.code, Some(0), "{output:?}");
    output.objects().remove(0)
}

/// What was found 25 hours ago.
fn attack(world: &World, instance: &Instance) -> String {
    world.event(&earlier(&brute_force(instance, ATTACKER, Part::Target), 25 * HOUR))
}

#[tokio::test]
async fn what_a_spent_budget_made_ask_goes_unasked_when_its_window_has_passed() {
    let mut world = World::with_playbook("ec2-brute-force", CLOSE, |settings| settings).await;
    let clock = MovedClock::new().unwrap();
    world.cordon = clock.on(&world.cordon);
    clock.set(-25 * HOUR).unwrap();
    let playbooks = world.settings.more.clone();
    let limit = async |world: &mut World, most: u64| {
        world.set(|settings| {
            settings.more = format!("{playbooks}\n[[budgets]]\nscope = \"account\"\nwindow = \"24h\"\nresources = {most}\n");
        });
    };
    limit(&mut world, 100).await;
    let (first, second) = futures::join!(world.instance("first"), world.instance("second"));
    let closed = world.one(&attack(&world, &first)).await;
    assert_eq!(state(&closed), "closed", "{closed:#}");
    let spent = shown(&world).await["spent"].as_u64().unwrap();
    assert!(spent > 0);
    limit(&mut world, spent).await;
    let event = attack(&world, &second);
    let asks = world.one(&event).await;
    let run = id(&asks);
    let why = text(hold(&asks, "approval"), "/why");
    assert!(why.contains(&format!("budget of {spent} resources changed")) && why.contains(&id(&closed)), "{why}");

    // Within the window it asks again, whoever releases it: nobody answered the first time.
    for hours in [-20, 0] {
        clock.set(hours * HOUR).unwrap();
        world.respond(&event).await;
        let expired = world.incident(&["incident", "show", &run]).await;
        assert_eq!(text(hold(&expired, "ask-expired"), "/step"), "close-ingress", "{expired:#}");
        let row = shown(&world).await;
        let released = world.incident(&["incident", "release", &run]).await;
        if hours < 0 {
            assert_eq!((row["spent"].as_u64(), &row["asks"]), (Some(spent), &json!(true)), "{row:#}");
            assert_eq!(text(hold(&released, "approval"), "/code"), "approval", "{released:#}");
            assert!(world.open(&second, 22).await);
            continue;
        }
        assert_eq!((row["spent"].as_u64(), &row["asks"]), (Some(0), &json!(false)), "{row:#}");
        let done = step(&released, "close-ingress");
        assert_eq!((state(&released), &done["state"]), ("closed", &json!("applied")), "{released:#}");
        assert!(!text(done, "/reason").contains("said yes"), "nobody was asked: {done:#}");
        assert!(!world.open(&second, 22).await);
    }
    assert_eq!(shown(&world).await["incidents"], json!([run]));
    assert_eq!(world.cordon(&["audit", "verify"], "").await.code, Some(0));
}
