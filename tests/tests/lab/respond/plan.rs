//! `cordon plan`: everything but the deed.

use serde_json::json;

use super::world::{ATTACKER, World, hold, one, state, step, text};

#[tokio::test]
async fn a_plan_says_what_would_be_changed_and_only_reads() {
    let world = World::new().await;
    let instance = world.instance("web").await;
    world.organization.log_attack(&instance, ATTACKER, None).await.unwrap();
    let before = world.state(&instance).await;
    let output = world.cordon(&["plan", "-", "--format", "json"], &world.attack(&instance)).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    let incident = one(&output);
    assert_eq!(state(&incident), "planned", "{incident:#}");

    // What would be changed: both groups and the ACL, with what is there now.
    let close = step(&incident, "close-ingress");
    assert_eq!(close["state"], "planned", "{close:#}");
    let changed: Vec<&str> = close["changes"].as_array().unwrap().iter().map(|change| text(change, "/resource")).collect();
    for group in &instance.groups {
        assert!(changed.iter().any(|resource| resource.ends_with(group.as_str())), "{group}: {close:#}");
    }
    assert!(close["changes"].as_array().unwrap().iter().all(|change| change["after"] == "closed" && change["before"] != "closed"));
    assert!(close["changes"].to_string().contains("0.0.0.0/0") && close["changes"].to_string().contains("::/0"), "{close:#}");
    let block = step(&incident, "block-source");
    assert!(block["state"] == "planned" && block["changes"].to_string().contains(&instance.acl), "{block:#}");
    assert_eq!(
        (step(&incident, "record")["state"].clone(), step(&incident, "find-logins")["state"].clone()),
        (json!("done"), json!("done"))
    );
    assert!(incident["first_change_at"].is_null(), "{incident:#}");

    // Nothing was, anywhere.
    let calls = world.gateway().ledger().all();
    assert!(calls.iter().all(|call| !call.write), "{:?}", calls.iter().filter(|call| call.write).collect::<Vec<_>>());
    let member: Vec<_> = calls.iter().filter(|call| call.account == world.account).collect();
    assert!(!member.is_empty() && member.iter().all(|call| call.principal.source_identity.as_deref() == Some("cordon-read")));
    assert_eq!(world.state(&instance).await, before);
    assert!(!world.settings.state_dir.exists(), "a plan leaves no journal behind");
}

#[tokio::test]
async fn a_plan_says_who_would_be_asked_and_what_would_hold() {
    let mut world = World::with(super::world::members(1, &[super::world::HOME]), |mut settings| {
        settings.mode = "ask".to_owned();
        settings
    })
    .await;
    let instance = world.instance("web").await;
    let event = world.attack(&instance);
    let plan = ["plan", "-", "--format", "json"];
    let asked = one(&world.cordon(&plan, &event).await);
    assert_eq!(state(&asked), "planned", "{asked:#}");
    assert!(text(step(&asked, "close-ingress"), "/reason").contains("would ask a person"), "{asked:#}");
    world.set(|settings| (settings.mode, settings.caps) = ("act".to_owned(), (1, 100)));
    let held = one(&world.cordon(&plan, &event).await);
    assert!(text(hold(&held, "cap-spent"), "/why").contains("the cap of 1 resources"), "{held:#}");
    assert!(world.writes().is_empty());
    // For people, the same as a table.
    let table = world.cordon(&["plan", "-"], &event).await;
    assert!(table.code == Some(0) && table.stdout.contains("close-ingress") && table.stdout.contains(&instance.groups[0]), "{table:?}");
}
