//! Budgets: what is spent asks, a person's yes lets it go on, and `cordon budget show` says who spent it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail as tests do")]

use serde_json::{Value, json};

use crate::respond::world::{World, hold, id, state, text};

fn budget(scope: &str, what: &str) -> String {
    format!("\n[[budgets]]\nscope = \"{scope}\"\nwindow = \"24h\"\n{what}\n")
}

async fn shown(world: &World) -> Vec<Value> {
    let output = world.cordon(&["budget", "show", "--format", "json"], "").await;
    assert_eq!(output.code, Some(0), "{output:?}");
    output.objects()
}

#[tokio::test]
async fn the_second_incident_of_an_ou_asks_by_its_budget_and_a_yes_lets_it_go_on() {
    let mut world = World::new().await;
    let parents = world.hand(&world.organization.management, "organizations", "list_parents", json!({"ChildId": world.account})).await;
    let unit = text(&parents, "/Parents/0/Id").to_owned();
    world.set(|settings| settings.more = budget(&unit, "resources = 100"));
    let (first, second) = futures::join!(world.instance("first"), world.instance("second"));
    assert_eq!((shown(&world).await[0]["spent"].as_u64(), &shown(&world).await[0]["asks"]), (Some(0), &json!(false)));
    let contained = world.one(&world.attack(&first)).await;
    assert_eq!(state(&contained), "contained", "{contained:#}");
    let row = shown(&world).await.remove(0);
    let spent = row["spent"].as_u64().unwrap();
    assert!(spent > 0 && row["incidents"] == json!([id(&contained)]) && row["frees_at"].is_string(), "{row:#}");

    // No more than that: the next one asks, and nothing of it is dropped.
    world.set(|settings| settings.more = budget(&unit, &format!("resources = {spent}")));
    let before = world.state(&second).await;
    let asks = world.one(&world.attack(&second)).await;
    assert_eq!(state(&asks), "waiting", "{asks:#}");
    let why = text(hold(&asks, "approval"), "/why");
    assert!(why.contains(&format!("budget of {spent} resources changed")) && why.contains(&unit) && why.contains(&id(&contained)), "{why}");
    assert_eq!(world.state(&second).await, before);
    let row = shown(&world).await.remove(0);
    assert_eq!((row["spent"].as_u64(), &row["asks"], text(&row, "/scope")), (Some(spent), &json!(true), format!("OU {unit}").as_str()));
    let table = world.cordon(&["budget", "show"], "").await.stdout;
    assert!(table.contains(&format!("{spent} of {spent}")) && table.contains("asks"), "{table}");

    // Each step asks for itself.
    let run = id(&asks);
    let mut answered = world.incident(&["approval", "grant", &run, "--yes"]).await;
    while state(&answered) == "waiting" {
        answered = world.incident(&["approval", "grant", &run, "--yes"]).await;
    }
    assert_eq!(state(&answered), "contained", "{answered:#}");
    assert!(!world.open(&second, 22).await && world.blocked(&second).await);
    let row = shown(&world).await.remove(0);
    assert!(row["spent"].as_u64().unwrap() > spent && row["incidents"] == json!([id(&contained), run]), "{row:#}");
}

#[tokio::test]
async fn a_budget_that_cannot_be_meant_is_shown_at_its_place() {
    let world = World::new().await;
    let right = world.organization.config_toml(&world.settings);
    for (scope, what, said) in [
        ("organisation", "resources = 1", "did you mean `organization`"),
        ("ou-prod", "resources = 1", "not the id of an OU"),
        ("account", "resources = -1", "out of range"),
        ("account", "", "limits nothing"),
    ] {
        let cordon = world.cordon.configured(&format!("{right}{}", budget(scope, what))).unwrap();
        let output = cordon.run(&["budget", "show"], "").await.unwrap();
        assert!(output.code == Some(2) && output.stderr.contains(said) && output.stderr.contains("^^"), "{scope} {what}: {output:?}");
    }
    let none = world.cordon.configured(&right).unwrap().run(&["budget", "show"], "").await.unwrap();
    assert!(none.code == Some(0) && none.stderr.contains("no budget is configured"), "{none:?}");
}
