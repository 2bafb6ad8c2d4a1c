//! `cordon plan`: everything but the deed.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde_json::json;

use super::world::{ATTACKER, World, hold, id, one, state, step, text};

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

/// The files of the state folder, with their content; in SQLite's shared memory readers mark where they read.
fn kept(world: &World) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![world.settings.state_dir.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else {
                let shared = path.to_string_lossy().ends_with("-shm");
                files.insert(path.clone(), if shared { Vec::new() } else { fs::read(&path).unwrap() });
            }
        }
    }
    files
}

#[tokio::test]
async fn a_plan_knows_what_is_frozen_spent_and_standing_down() {
    let world = World::with(super::world::members(1, &[super::world::HOME]), |mut settings| {
        settings.caps = (3, 100);
        settings
    })
    .await;
    let (one_instance, other) = futures::join!(world.instance("one"), world.instance("other"));
    let plan = ["plan", "-", "--format", "json"];
    // Two groups and an ACL: three resources, all that the cap lets be changed.
    let run = id(&world.one(&world.attack(&one_instance)).await);
    let before = kept(&world);
    let spent = one(&world.cordon(&plan, &world.attack(&other)).await);
    assert_eq!(kept(&world), before, "a plan writes nothing there");
    assert!(text(hold(&spent, "cap-spent"), "/why").contains("(3 changed, this step would change"), "{spent:#}");

    let undone = world.cordon(&["incident", "undo", &run, "--yes"], "").await;
    assert_eq!(undone.code, Some(0), "{undone:?}");
    // A finding that the real journal has taken in opens an incident of the plan's own: runs are not taken over.
    let stands = one(&world.cordon(&plan, &world.attack(&one_instance)).await);
    assert!(text(hold(&stands, "stand-down"), "/why").contains("a person undid this"), "{stands:#}");

    let frozen = world.cordon(&["freeze", "full", "--why", "a drill"], "").await;
    assert_eq!(frozen.code, Some(0), "{frozen:?}");
    let after = kept(&world);
    let output = world.cordon(&plan, &world.attack(&other)).await;
    assert!(text(hold(&one(&output), "frozen"), "/why").contains("a drill"), "{output:?}");
    assert!(output.stderr.contains("frozen") || output.stderr.contains("freeze"), "who plans is told of a freeze that stands: {output:?}");
    assert_eq!(kept(&world), after, "a plan writes nothing there");

    // What is there and cannot be read is no empty journal.
    fs::write(world.settings.state_dir.join("journal.db"), "this is no database, and long enough to be looked at as if it were one")
        .unwrap();
    let broken = world.cordon(&plan, &world.attack(&other)).await;
    assert!(broken.code != Some(0) && broken.stderr.contains("journal.db"), "{broken:?}");
}

#[tokio::test]
async fn what_a_playbook_would_do_is_told_without_a_call() {
    let mut world = World::new().await;
    let instance = world.instance("web").await;
    let event = world.attack(&instance);
    let file = world.folder.path().join("findings.json");
    std::fs::write(&file, format!("{event}\n{{\"colour\": \"red\"}}\n")).unwrap();
    let show = ["playbook", "show", "ec2-brute-force", "--plan", file.to_str().unwrap(), "--format", "json"];
    let output = world.cordon(&show, "").await;
    // One of two documents was no finding; the other is answered all the same.
    assert_eq!(output.code, Some(4), "{output:?}");
    let [told, rejected] = &output.objects()[..] else { panic!("{output:?}") };
    assert_eq!((&told["state"], &told["subject"]["id"], &rejected["state"]), (&json!("planned"), &json!(instance.id), &json!("rejected")));
    let close = told["steps"].as_array().unwrap().iter().find(|step| step["id"] == "close-ingress").unwrap();
    assert_eq!((&close["would"], &close["with"]["ports"], &close["risk"]), (&json!("run"), &json!([22]), &json!("reversible")));
    let table = world.cordon(&show[..5], "").await;
    assert!(table.stdout.contains("close-ingress") && table.stderr.contains("rejected CDN-1007"), "{table:?}");
    // Another playbook says which field it misses; that is nobody's failure.
    let other = world.cordon(&["playbook", "show", "open-admin-port", "--plan", "-"], &event).await;
    assert!(other.code == Some(0) && other.stdout.contains("it does not answer this finding: `"), "{other:?}");
    let missing = world.cordon(&["playbook", "show", "ec2-brute-force", "--plan", "nowhere.json"], "").await;
    assert!(missing.code == Some(2) && missing.stderr.contains("nowhere.json cannot be read"), "{missing:?}");
    assert!(world.gateway().ledger().all().is_empty(), "{:?}", world.gateway().ledger().all());
    assert!(!world.settings.state_dir.exists());

    // A folder's playbook is checked as those built in are.
    let folder = world.folder.path().join("playbooks");
    std::fs::create_dir(&folder).unwrap();
    let wrong = "name = \"own\"\ntitle = \"T\"\nsubject = \"instance\"\n[[match]]\ntype = [\"x\"]\n[[steps]]\nid = \"a\"\naction = \"ec2.record-al\"\n";
    std::fs::write(folder.join("own.toml"), wrong).unwrap();
    world.set(|settings| settings.more.push_str("\n[playbooks]\ndir = \"playbooks\"\n"));
    let check = world.cordon(&["playbook", "check"], "").await;
    assert!(check.code == Some(2) && check.stderr.contains("own.toml:8:10\n") && check.stderr.contains("^^^"), "{check:?}");
    assert!(check.stderr.contains("did you mean `ec2.record-all`?"), "{check:?}");
}
