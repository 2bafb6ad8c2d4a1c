//! Budgets: what is spent asks, a person's yes lets it go on, and `cordon budget show` says who spent it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail as tests do")]

use cordon_lab::{
    Settings, Shape,
    organization::{
        finding::{Part, brute_force},
        service::{Kind, Sizes},
    },
};
use serde_json::{Value, json};

use crate::respond::world::{World, hold, id, state, step, text};

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

#[tokio::test(flavor = "multi_thread")]
async fn budgets_of_instances_of_credentials_and_of_a_share_in_service_ask_each_for_its_own_steps() {
    let mut world = World::new().await;
    world.set(|settings| settings.more = budget("organization", "instances = 0\ncredentials = 0\nin_service_percent = 10"));
    let (instance, mate) = futures::join!(world.instance("worker"), world.instance("mate"));
    // Behind a balancer it is one of two, in the Auto Scaling group one of three.
    let targets = world.organization.target_group(&instance, "workers", Kind::Instances, 80).await.unwrap();
    world.organization.balance(&instance, "workers", std::slice::from_ref(&targets)).await.unwrap();
    world.organization.register(&instance, &targets, &[(&instance.id, 8080), (&mate.id, 8080)]).await.unwrap();
    world.organization.role_that_works(&instance).await.unwrap();
    world.organization.scaling_group(&instance, Sizes { min: 1, max: 5, others: 2 }, &[]).await.unwrap();
    let mut incident = world.one(&world.event(&brute_force(&instance, "192.0.2.44", Part::Actor))).await;
    let run = id(&incident);
    let mut asked = std::collections::BTreeMap::new();
    let questions = |incident: &Value| -> Vec<(String, String)> {
        let holds = incident["holds"].as_array().unwrap().iter().filter(|hold| hold["code"] == "approval");
        holds.map(|hold| (text(hold, "/step").to_owned(), text(hold, "/why").to_owned())).collect()
    };
    loop {
        let open = questions(&incident);
        let Some((step, _)) = open.first().cloned() else { break };
        asked.extend(open);
        incident = world.incident(&["approval", "grant", &run, "--step", &step, "--yes"]).await;
    }
    for (step, word) in [
        ("isolate", "budget of 0 instances isolated"),
        ("deny-sessions", "budget of 0 credentials revoked"),
        ("detach", "budget of 10 % of a group's members in service"),
    ] {
        assert!(asked.get(step).is_some_and(|why| why.contains(word)), "{step}: {asked:#?}");
    }
    assert!(asked.keys().all(|step| !["protect", "cut-flows", "snapshot"].contains(&step.as_str())), "{asked:#?}");
    let rows = shown(&world).await;
    let spent = |counts: &str| rows.iter().find(|row| row["counts"] == counts).map(|row| row["spent"].as_u64().unwrap());
    assert_eq!(spent("instances"), Some(1), "{rows:#?}");
    assert!(spent("credentials").is_some_and(|spent| spent >= 1), "{rows:#?}");
    let shares: Vec<&Value> = rows.iter().filter(|row| row["counts"] == "in-service").collect();
    assert_eq!(shares.len(), 2, "{rows:#?}");
    let share =
        |whose: &str| *shares.iter().find(|row| text(row, "/whose").contains(whose)).unwrap_or_else(|| panic!("{whose}: {rows:#?}"));
    let (of_group, of_targets) = (share("autoScalingGroup"), share(&targets));
    assert_eq!((of_group["spent"].as_u64(), of_targets["spent"].as_u64()), (Some(34), Some(50)), "{rows:#?}");
    assert_eq!(text(of_targets, "/whose"), targets);
    for row in shares {
        assert_eq!((&row["asks"], &row["incidents"], &row["most"]), (&json!(true), &json!([run]), &json!(10)), "{row:#}");
    }
}

/// Nothing else asks here. Without a network an instance serves as little as one that was taken out of service.
#[tokio::test(flavor = "multi_thread")]
async fn an_isolation_counts_as_a_share_too_where_the_instance_still_serves() {
    let mut world = World::new().await;
    world.set(|settings| settings.more = budget("organization", "in_service_percent = 40"));
    let (instance, mate) = futures::join!(world.instance("worker"), world.instance("mate"));
    let targets = world.organization.target_group(&instance, "workers", Kind::Instances, 80).await.unwrap();
    world.organization.balance(&instance, "workers", std::slice::from_ref(&targets)).await.unwrap();
    world.organization.register(&instance, &targets, &[(&instance.id, 8080), (&mate.id, 8080)]).await.unwrap();
    let mut incident = world.one(&world.event(&brute_force(&instance, "192.0.2.45", Part::Actor))).await;
    let run = id(&incident);
    for asked in ["detach", "isolate"] {
        assert_eq!(step(&incident, asked)["state"], "waiting", "{asked}: {incident:#}");
        let why = text(step(&incident, asked), "/reason");
        assert!(why.contains("budget of 40 % of a group's members in service"), "{asked}: {why}");
    }
    // Once it serves no more, to isolate it takes nothing from anybody.
    incident = world.incident(&["approval", "grant", &run, "--step", "detach", "--yes"]).await;
    assert_eq!(step(&incident, "detach")["state"], "applied", "{incident:#}");
    incident = world.incident(&["approval", "grant", &run, "--step", "isolate", "--yes"]).await;
    assert_eq!(step(&incident, "isolate")["state"], "applied", "{incident:#}");
    let rows = shown(&world).await;
    let spent: Vec<Option<u64>> = rows.iter().filter(|row| row["counts"] == "in-service").map(|row| row["spent"].as_u64()).collect();
    assert_eq!(spent, [Some(50)], "the same instance is counted once: {rows:#?}");
}

/// Policies see how full the budgets are that a step counts against.
#[tokio::test]
async fn a_policy_asks_before_a_budget_is_spent() {
    let early = "@id(\"early\")\nforbid (principal, action in Action::\"change\", resource) when { context.budget_spent >= 50 && context.approvals < 1 };\n";
    let world = World::with(Shape::small(), |settings| {
        let folder = settings.state_dir.parent().unwrap().join("policies");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("early.cedar"), early).unwrap();
        Settings { policies: Some(folder), more: budget("account", "resources = 4"), ..settings }
    })
    .await;
    let incident = world.one(&world.attack(&world.instance("web").await)).await;
    // Two groups are half of four: the network ACL asks, and by the policy.
    assert_eq!(step(&incident, "close-ingress")["state"], "applied", "{incident:#}");
    let why = text(hold(&incident, "approval"), "/why");
    assert!(why.contains("policy `early` asks one person"), "{why}");
    let explained = world.cordon(&["policy", "explain", &id(&incident), "block-source", "--format", "json"], "").await.objects();
    assert_eq!(explained[0]["asked"]["around"]["budget_spent"], 50, "{explained:#?}");
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
