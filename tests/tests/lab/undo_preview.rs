//! `cordon incident undo --plan`: what an undo would put back is seen first, changes nothing, and agrees with the undo that follows.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail as tests do")]

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use cordon_hub::undo_preview::{AttributePreview, Fate};
use cordon_lab::{
    Settings,
    drill::{Ground, Scene},
};
use cordon_shared::plan::{Change, ChangeKey};
use cordon_spoke::action::Undo;
use serde_json::{Value, json};

use crate::{
    drills::{applied, each, told},
    respond::world::{HOME, World, hold, id, members, one, state, step, text},
};

async fn preview(world: &World, run: &str, more: &[&str]) -> Value {
    let output = world.cordon(&[&["incident", "undo", run, "--plan", "--format", "json"], more].concat(), "").await;
    assert_eq!(output.code, Some(0), "{output:?}");
    let objects = output.objects();
    assert_eq!((objects.len(), &objects[0]["schema"]), (1, &json!("cordon.undo-preview/1")), "{output:?}");
    objects[0].clone()
}

/// The fates of a step's attributes.
fn fates(preview: &Value, id: &str) -> BTreeSet<String> {
    let steps = preview["steps"].as_array().unwrap();
    let step = steps.iter().find(|step| step["step"] == id).unwrap_or_else(|| panic!("no step {id} in {preview:#}"));
    step["attributes"].as_array().unwrap().iter().map(|one| one["fate"].as_str().unwrap().to_owned()).collect()
}

fn only(fate: &str) -> BTreeSet<String> {
    BTreeSet::from([fate.to_owned()])
}

#[tokio::test]
async fn an_undo_shows_first_what_it_would_put_back_and_changes_nothing() {
    let world = World::with(members(1, &[HOME]), |settings| Settings { poll_every: "1h".to_owned(), ..settings }).await;
    let instance = world.instance("web").await;
    let before = world.state(&instance).await;
    let run = id(&world.one(&world.attack(&instance)).await);
    let after = world.state(&instance).await;
    // Beside a service that drives.
    let mut running = world.cordon.spawn(&["serve"]).unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    while !running.log().contains("serving account") {
        assert!(Instant::now() < until && running.is_running(), "{}", running.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let entries = async || world.incident(&["incident", "show", &run]).await;
    let (known, mark) = (entries().await, world.gateway().ledger().mark());
    let whole = preview(&world, &run, &[]).await;
    assert_eq!((fates(&whole, "block-source"), fates(&whole, "close-ingress")), (only("restores"), only("only-by-name")), "{whole:#}");
    let order: Vec<&str> = whole["steps"].as_array().unwrap().iter().map(|step| step["step"].as_str().unwrap()).collect();
    let place = |id: &str| order.iter().position(|step| *step == id).unwrap();
    assert!(place("block-source") < place("close-ingress"), "{order:?}");
    assert!(whole.to_string().contains(&format!("cordon incident undo {run} --step close-ingress")), "{whole:#}");
    assert_eq!((text(&whole, "/stand_down/subject"), &whole["frozen"]), (instance.arn.as_str(), &Value::Null));
    let days: jiff::Timestamp = text(&whole, "/stand_down/until").parse().unwrap();
    assert!((6..=7).contains(&(days.duration_since(jiff::Timestamp::now()).as_hours() / 24)), "{whole:#}");

    let named = preview(&world, &run, &["--step", "close-ingress"]).await;
    assert_eq!(fates(&named, "close-ingress"), only("restores"), "{named:#}");
    let one = &named["steps"][0]["attributes"][0];
    assert!(one["now"] == "closed" && one["after"].to_string().contains("0.0.0.0/0"), "{named:#}");

    // Nothing was changed, no session that could was opened, nothing was journalled.
    let calls = world.gateway().ledger().since(mark);
    let changing: Vec<_> = calls.iter().filter(|call| call.write || call.params.to_string().contains("cordon-inc-")).collect();
    assert!(!calls.is_empty() && changing.is_empty(), "{changing:?}");
    assert_eq!((world.state(&instance).await, entries().await), (after, known));

    world.seize_block(&instance).await;
    let drifted = preview(&world, &run, &[]).await;
    assert!(fates(&drifted, "block-source").contains("by-hand"), "{drifted:#}");
    let table = world.cordon(&["incident", "undo", &run, "--plan"], "").await;
    for words in ["by hand", "only by name", "here the undo stops", "--network-acl-id", "is held instead of contained"] {
        assert!(table.code == Some(0) && table.stdout.contains(words), "{words}: {table:?}");
    }
    running.terminate();
    assert_eq!(running.wait(Duration::from_secs(20)).await, Some(0), "{}", running.log());

    // Under a freeze it is still seen, and what stops it.
    let frozen = world.cordon(&["freeze", "full", "--why", "an exercise"], "").await;
    assert_eq!(frozen.code, Some(0), "{frozen:?}");
    let shown = preview(&world, &run, &["--step", "close-ingress"]).await;
    assert!(text(&shown, "/frozen").contains("an exercise") && fates(&shown, "close-ingress") == only("restores"), "{shown:#}");
    assert_eq!(world.cordon(&["thaw", "--why", "over", "--yes"], "").await.code, Some(0));

    // A real undo shows it too, before it is done.
    let output = world.cordon(&["incident", "undo", &run, "--step", "close-ingress", "--yes", "--format", "json"], "").await;
    assert!(output.code == Some(5) || output.code == Some(0), "{output:?}");
    assert!(output.stderr.contains("restores") && output.stderr.contains("an undo of step `close-ingress`"), "{output:?}");
    assert_eq!(step(&crate::respond::world::one(&output), "close-ingress")["state"], "undone");
    assert_eq!(world.state(&instance).await["groups"], before["groups"]);
    let nothing = world.cordon(&["incident", "undo", &run, "--step", "close-ingress", "--plan"], "").await;
    assert!(nothing.code == Some(2) && nothing.stderr.contains("nothing to undo"), "{nothing:?}");
}

fn keys(looked: &[AttributePreview], fate: Fate) -> BTreeSet<ChangeKey> {
    looked.iter().filter(|one| one.fate == fate).map(AttributePreview::key).collect()
}

fn restored(changes: &[Change]) -> BTreeSet<ChangeKey> {
    changes.iter().map(Change::key).collect()
}

/// What a step for a person says is the matter. The command after it is for one attribute in a preview, and for all that it is about in an undo.
fn reason(step: &str) -> &str {
    step.split_once(". If ").map_or(step, |(reason, _)| reason)
}

/// What a preview says and what the undo then does, of one world.
fn agree(scene: &Scene, looked: &[AttributePreview], undone: &Undo) {
    let by_hand = keys(looked, Fate::ByHand);
    assert_eq!(keys(looked, Fate::NotKnown), BTreeSet::new(), "{}: {looked:?}", told(scene));
    match undone {
        Undo::Restored(changes) => {
            assert_eq!(by_hand, BTreeSet::new(), "{}: {looked:?}", told(scene));
            assert_eq!(keys(looked, Fate::Restores), restored(changes), "{}", told(scene));
        }
        Undo::ByHand(steps) => {
            assert!(!by_hand.is_empty(), "{}: {steps:?} but {looked:?}", told(scene));
            for said in looked.iter().filter(|one| one.fate == Fate::ByHand).flat_map(|one| &one.what) {
                let known = steps.iter().any(|step| reason(step) == reason(said));
                assert!(known, "{}: `{said}` is not among {steps:?}", told(scene));
            }
            // What is by hand and nothing else is: each step for a person was foretold.
            let foretold: BTreeSet<&str> = looked.iter().flat_map(|one| &one.what).map(|said| reason(said)).collect();
            for step in steps.iter().filter(|step| !step.starts_with("nothing more to do") && !step.contains("nothing to do about it")) {
                assert!(foretold.contains(reason(step)), "{}: `{step}` was not foretold by {looked:?}", told(scene));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_and_the_undo_that_follows_agree_for_every_change() {
    for drifts in [false, true] {
        each(async |yard, scene| {
            let (ground, world) = (Ground::new(yard).unwrap(), scene.set(yard).await.unwrap());
            let mut drill = applied(&ground, world.as_ref(), &scene).await;
            if drifts {
                world.drift().await.unwrap();
            }
            let stands = world.look().await.unwrap();
            let mark = ground.lab.gateway.ledger().mark();
            let looked = drill.preview().await.unwrap();
            assert!(!looked.is_empty(), "{}", told(&scene));
            let calls = drill.calls(mark);
            assert_eq!(drill.not_reads(&calls), Vec::<String>::new(), "{}: a preview does more than read", told(&scene));
            assert_eq!(drill.sessions(mark), 0, "{}: a preview opens a session", told(&scene));
            assert_eq!(world.look().await.unwrap(), stands, "{}: a preview changes something", told(&scene));

            let undone = drill.undo().await.unwrap().unwrap_or_else(|error| panic!("{}: {error}", told(&scene)));
            agree(&scene, &looked, &undone);
            if !drifts {
                assert!(scene.keeps || looked.iter().any(|one| one.fate == Fate::Restores), "{}: {looked:?}", told(&scene));
                let again = drill.preview().await.unwrap();
                assert!(again.iter().all(|one| one.fate == Fate::NothingToDo), "{}: {again:?}", told(&scene));
            }
        })
        .await;
    }
}

/// Three changes of an instance itself, one after the other.
const THREE: &str = r#"
name = "ec2-brute-force"
title = "Three changes"
subject = "instance"
[[match]]
type = [{ prefix = "UnauthorizedAccess:EC2/" }]
[[steps]]
id = "protect"
action = "ec2.protect-instance"
phase = "contain"
with = { instance = "${subject.id}" }
[[steps]]
id = "metadata"
action = "ec2.disable-instance-metadata"
phase = "credentials"
with = { instance = "${subject.id}" }
[[steps]]
id = "block-source"
action = "ec2.block-source-in-nacl"
phase = "contain"
with = { instance = "${subject.id}", sources = "${finding.network.remote_ips}", protocol = "tcp", port = 22 }
"#;

#[tokio::test]
async fn an_undo_stops_at_what_it_may_not_touch_and_goes_on_when_that_is_done() {
    let world = World::with_playbook("ec2-brute-force", THREE, |settings| settings).await;
    let instance = world.instance("web").await;
    let before = world.state(&instance).await;
    let done = world.one(&world.attack(&instance)).await;
    assert_eq!(state(&done), "closed", "{done:#}");
    let run = id(&done);
    // Somebody turns the endpoint on again, with options of their own.
    let options = async |tokens: &str, endpoint: &str| {
        let params = json!({"InstanceId": instance.id, "HttpTokens": tokens, "HttpEndpoint": endpoint});
        world.hand(&instance.account, "ec2", "modify_instance_metadata_options", params).await;
    };
    let found = world.hand(&instance.account, "ec2", "describe_instances", json!({"InstanceIds": [instance.id]})).await;
    let was = text(&found, "/Reservations/0/Instances/0/MetadataOptions/HttpTokens").to_owned();
    options(if was == "required" { "optional" } else { "required" }, "enabled").await;

    let output = world.cordon(&["incident", "undo", &run, "--yes", "--format", "json"], "").await;
    assert!(output.stderr.contains("here the undo stops"), "{output:?}");
    let shown = one(&output);
    let states: Vec<&Value> = ["protect", "metadata", "block-source"].iter().map(|id| &step(&shown, id)["state"]).collect();
    assert_eq!(states, ["applied", "by-hand", "undone"], "{shown:#}");
    assert_eq!((state(&shown), text(&shown, "/reason_code")), ("held", "undo-stopped"), "{shown:#}");
    let stopped = hold(&shown, "undo-stopped");
    assert_eq!(text(stopped, "/release"), format!("cordon incident undo {run}"));
    assert!(text(stopped, "/why").contains("modify-instance-metadata-options") && text(stopped, "/why").contains("`protect` stays"));
    assert_eq!(world.state(&instance).await["acl"], before["acl"]);
    let protected = async || {
        let params = json!({"InstanceId": instance.id, "Attribute": "disableApiTermination"});
        let found = world.hand(&instance.account, "ec2", "describe_instance_attribute", params).await;
        found["DisableApiTermination"]["Value"] == true
    };
    assert!(protected().await, "what comes before it stays as it was");

    // The person does it, and the same command goes on.
    options(&was, "enabled").await;
    let output = world.cordon(&["incident", "undo", &run, "--yes", "--format", "json"], "").await;
    assert_eq!(output.code, Some(0), "{output:?}");
    let shown = one(&output);
    assert_eq!(state(&shown), "undone", "{shown:#}");
    assert!(!protected().await);
    assert_eq!(world.cordon(&["audit", "verify"], "").await.code, Some(0));
}
