//! Policies as code: what the shipped ones ask in production, what an operator's own forbid or ask, how a set is changed in a running service,
//! and what is told of it afterwards.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail as tests do")]

#[path = "policy/context.rs"]
mod context;

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use cordon_lab::{
    Cordon, Running, Settings, Shape,
    organization::{
        Instance,
        credential::{Stolen, misuse},
        finding::Part,
        user::UserShape,
    },
};
use serde_json::Value;

use crate::respond::world::{ATTACKER, HOME, World, hold, id, one, state, step, text};

const PATIENCE: Duration = Duration::from_secs(40);
pub(crate) const CLOSE_ASKS_TWO: &str = "// Closing a port takes two.\n@id(\"two-to-close\")\n@why(\"ports are opened by change requests\")\nforbid (principal, action == Action::\"ec2.close-open-ingress\", resource)\nwhen { context.approvals < 2 };\n";
const NOT_HERE: &str = "@id(\"not-here\")\n@why(\"the team answers itself\")\nforbid (principal, action in Action::\"change\", resource)\nwhen { resource.units.contains(\"production\") && context.seat == \"member\" };\n";

/// The folder of a test's own policies, with these in it.
pub(crate) fn folder(settings: &Settings, files: &[(&str, &str)]) -> PathBuf {
    let folder = settings.state_dir.parent().unwrap().join("policies");
    fs::create_dir_all(&folder).unwrap();
    for (file, text) in files {
        fs::write(folder.join(file), text).unwrap();
    }
    folder
}

async fn world(files: &[(&str, &str)]) -> (World, PathBuf) {
    let world = World::with(Shape::small(), |settings| Settings { policies: Some(folder(&settings, files)), ..settings }).await;
    let folder = world.settings.policies.clone().unwrap();
    (world, folder)
}

async fn grant(cordon: &Cordon, run: &str, step: &str) -> (Option<i32>, String, Vec<Value>) {
    let command = ["approval", "grant", run, "--step", step, "--yes", "--format", "json"];
    let output = cordon.run(&command, "").await.unwrap();
    let objects = output.objects();
    (output.code, output.stderr, objects)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_disrupts_production_asks_a_person_is_explained_and_can_be_replayed() {
    let world = World::with(Shape::small(), |settings| Settings { policies: None, ..settings }).await;
    let user = world.organization.user(&world.account, &UserShape::default()).await.unwrap();
    let stolen = Stolen { account: &world.account, access_key: user.key(0), principal: "AIDALAB", user_type: "IAMUser", user: &user.name };
    let finding = misuse("UnauthorizedAccess:IAMUser/TorIPCaller", HOME, &stolen, "203.0.113.9");
    let incident = world.one(&world.event(&finding)).await;
    let run = id(&incident);
    assert_eq!((state(&incident), &step(&incident, "deactivate-key")["state"]), ("waiting", &Value::from("waiting")), "{incident:#}");
    let why = "policy `disruptive-in-production` (it interrupts who uses it rightfully, in production) asks one person";
    assert_eq!(text(hold(&incident, "approval"), "/why"), why);
    world.works(&user.keys[0]).await.unwrap();

    let explained = world.cordon(&["policy", "explain", &run, "deactivate-key"], "").await;
    assert_eq!(explained.code, Some(0), "{explained:?}");
    for part in
        [why, "ask one person", "gate      a person is asked", "Root/Workloads/Production", "iam.deactivate-access-key (disruptive)"]
    {
        assert!(explained.stdout.contains(part), "{part}: {}", explained.stdout);
    }
    let (code, told, _) = grant(&world.cordon, &run, "deactivate-key").await;
    assert_eq!(code, Some(0), "{told}");
    let shown = world.incident(&["incident", "show", &run]).await;
    assert_eq!(step(&shown, "deactivate-key")["state"], "applied", "{shown:#}");
    let explained = world.cordon(&["policy", "explain", &run, "deactivate-key", "--format", "json"], "").await.objects().remove(0);
    assert_eq!((&explained["verdict"], &explained["people"]), (&Value::from("ask"), &Value::from(1)), "{explained:#}");
    assert_eq!(explained["policies"], serde_json::json!(["disruptive-in-production"]));
    assert!(text(&explained, "/then").starts_with("yes: Lab Operator"), "{explained:#}");
    let unknown = world.cordon(&["policy", "explain", &run, "root"], "").await;
    assert!(unknown.code == Some(2) && unknown.stderr.contains("`deactivate-key`"), "{unknown:?}");

    // The lab's own policies would not have asked; nothing is written by asking that.
    let lights_out = cordon_lab::home().join("policies").display().to_string();
    let entries = world.cordon(&["incident", "report", &run, "--format", "json"], "").await.stdout;
    let replay = ["policy", "replay", "--since", "1d", "--policies", &lights_out];
    let replayed = world.cordon(&[&replay[..], &["--format", "json"]].concat(), "").await;
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
    let different = replayed.objects();
    assert!(!different.is_empty() && different.iter().all(|one| one["step"] == "deactivate-key"), "{different:#?}");
    assert_eq!((&different[0]["then"]["verdict"], &different[0]["then"]["people"]), (&Value::from("ask"), &Value::from(1)));
    assert_eq!((&different[0]["now"]["verdict"], &different[0]["policies"]), (&Value::from("allow"), &serde_json::json!(["disruptive"])));
    let table = world.cordon(&replay, "").await;
    assert!(table.stdout.contains("ask 1") && table.stderr.contains("would come out differently"), "{table:?}");
    assert_eq!(world.cordon(&["incident", "report", &run, "--format", "json"], "").await.stdout, entries);
    assert_eq!(world.cordon(&["audit", "verify"], "").await.code, Some(0));
}

#[tokio::test]
async fn a_policys_no_holds_until_the_policy_is_another_one() {
    let (world, folder) = world(&[("not-here.cedar", NOT_HERE)]).await;
    let instance = world.instance("web").await;
    let incident = world.one(&world.attack(&instance)).await;
    let run = id(&incident);
    let held = hold(&incident, "policy");
    assert_eq!((state(&incident), text(held, "/why")), ("held", "policy `not-here` (the team answers itself) forbids it"), "{incident:#}");
    assert!(world.open(&instance, 22).await && world.writes().is_empty());
    let command = text(held, "/release").to_owned();
    let arguments: Vec<&str> = command.split(' ').skip(1).collect();
    let again = world.incident(&arguments).await;
    assert_eq!(step(&again, "close-ingress")["state"], "held", "a release overrides no policy: {again:#}");
    assert!(world.open(&instance, 22).await);
    fs::write(folder.join("not-here.cedar"), "// Lifted.\n").unwrap();
    let released = world.incident(&["incident", "release", &run]).await;
    assert_eq!(step(&released, "close-ingress")["state"], "applied", "{released:#}");
    assert!(!world.open(&instance, 22).await);
}

#[tokio::test]
async fn two_different_persons_say_yes_before_a_policy_that_asks_two_is_content() {
    let (mut world, _) = world(&[("two.cedar", CLOSE_ASKS_TWO)]).await;
    let (ann, ben) =
        (crate::people::person(&mut world, "Ann", &["approver"]).await, crate::people::person(&mut world, "Ben", &["approver"]).await);
    let instance = world.instance("web").await;
    let incident = world.one(&world.attack(&instance)).await;
    let run = id(&incident);
    assert_eq!(step(&incident, "close-ingress")["state"], "waiting", "{incident:#}");
    let asked = world.cordon(&["approval", "list", "--format", "json"], "").await.objects();
    assert_eq!((asked.len(), &asked[0]["people"], &asked[0]["said_yes"]), (1, &Value::from(2), &serde_json::json!([])), "{asked:#?}");

    // Their credentials are their own: another process drives.
    world.set(|settings| settings.poll_every = "1h".to_owned());
    let mut service = crate::people::serving(&world).await;
    let (code, told, objects) = grant(&ann, &run, "close-ingress").await;
    assert!(code == Some(0) && told.contains("waits for one more person"), "{told}");
    assert_eq!(step(&objects[0], "close-ingress")["state"], "waiting");
    assert!(world.open(&instance, 22).await, "one is not enough");
    let (code, told, _) = grant(&ann, &run, "close-ingress").await;
    assert!(code == Some(2) && told.contains("another person has to"), "{told}");
    assert!(world.open(&instance, 22).await, "nor is one person twice");
    let table = world.cordon(&["approval", "list"], "").await;
    assert!(table.stdout.contains("1 of 2"), "{table:?}");

    let (code, told, objects) = grant(&ben, &run, "close-ingress").await;
    assert_eq!(code, Some(0), "{told}");
    let close = step(&objects[0], "close-ingress");
    assert_eq!(close["state"], "applied", "{close:#}");
    let because = text(close, "/reason");
    assert!(because.starts_with("Ann and Ben said yes"), "{because}");
    assert!(!world.open(&instance, 22).await);
    service.terminate();
    assert_eq!(service.wait(PATIENCE).await, Some(0), "{}", service.log());
}

/// Cedar itself would leave the policy out, and let it pass.
#[tokio::test]
async fn a_policy_that_cannot_be_evaluated_holds_with_its_name_and_error() {
    let overflow = "@id(\"overflow\")\nforbid (principal, action in Action::\"reversible\", resource)\nwhen { context.blast_radius + 9223372036854775807 > 0 && context.seat == \"member\" };\n";
    let (world, _) = world(&[("all.cedar", "permit (principal, action, resource);\n"), ("overflow.cedar", overflow)]).await;
    let instance = world.instance("web").await;
    let incident = world.one(&world.attack(&instance)).await;
    let why = text(hold(&incident, "policy-error"), "/why");
    assert!(why.contains("policy `overflow` (overflow.cedar) cannot be evaluated") && why.contains("cordon policy check"), "{why}");
    assert!(world.open(&instance, 22).await && world.writes().is_empty());
}

#[tokio::test]
async fn policies_that_are_not_sound_are_told_at_their_place_and_nothing_is_begun() {
    let typo = CLOSE_ASKS_TWO.replace("approvals", "aprovals");
    let (mut world, folder) = world(&[("two.cedar", &typo)]).await;
    world.set(|settings| settings.poll_every = "1h".to_owned());
    let dir = folder.display().to_string();
    let instance = world.instance("web").await;
    let event = world.attack(&instance);
    let place = "--> two.cedar:5:";
    for (arguments, input) in
        [(vec!["policy", "check", dir.as_str()], ""), (vec!["policy", "check"], ""), (vec!["respond", "-"], event.as_str())]
    {
        let output = world.cordon(&arguments, input).await;
        assert_eq!((output.code, output.stdout.as_str()), (Some(2), ""), "{output:?}");
        let caret = output.stderr.lines().any(|line| line.trim_start_matches([' ', '|']).starts_with('^'));
        assert!(output.stderr.starts_with("error: ") && output.stderr.contains(place) && caret, "{}", output.stderr);
        assert!(output.stderr.contains("aprovals"), "{}", output.stderr);
    }
    assert!(world.writes().is_empty());
    // Each command that would have driven leaves an entry; one that only checks leaves none.
    let away = async || world.cordon(&["audit", "turned-away", "--format", "json"], "").await.objects();
    let before = away().await;
    assert_eq!(before.len(), 1, "{before:#?}");
    let served = world.cordon(&["serve"], "").await;
    assert!(served.code == Some(2) && served.stderr.contains(place), "{served:?}");
    let both = away().await;
    assert_eq!(both.len(), 2, "{both:#?}");
    for entry in &both {
        assert_eq!((text(entry, "/door"), text(entry, "/what")), ("policies", "policies that are not sound"), "{entry:#}");
        assert!(text(entry, "/why").contains(place) && text(entry, "/why").contains("aprovals"), "{entry:#}");
    }
    fs::write(folder.join("two.cedar"), CLOSE_ASKS_TWO).unwrap();
    let checked = world.cordon(&["policy", "check", &dir], "").await;
    assert!(checked.code == Some(0) && checked.stderr.contains("12 policies, all sound"), "{checked:?}");
    let listed = world.cordon(&["policy", "list", "--format", "json"], "").await.objects();
    assert!(listed.iter().any(|known| known["name"] == "two-to-close" && known["file"] == "two.cedar"), "{listed:#?}");
    let shown = world.cordon(&["policy", "show", "two-to-close"], "").await;
    assert!(shown.stdout.contains("context.approvals < 2"), "{shown:?}");
    let nowhere = world.cordon(&["policy", "check", "/nowhere/at/all"], "").await;
    assert!(nowhere.code == Some(2) && nowhere.stderr.contains("/nowhere/at/all"), "{nowhere:?}");
    let schema = world.cordon(&["policy", "schema"], "").await;
    assert!(schema.stdout.contains("action \"ec2.isolate-instance\" in [disruptive]"), "{schema:?}");
    let bad = world.cordon(&["policy", "replay", "--since", "soon", "--policies", &dir], "").await;
    assert!(bad.code == Some(2) && bad.stderr.contains("30d"), "{bad:?}");
}

async fn logged(service: &mut Running, part: &str) {
    let until = Instant::now() + PATIENCE;
    while !service.log().contains(part) {
        assert!(service.is_running() && Instant::now() < until, "{part}: {}", service.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn row(world: &World, instance: &Instance, state: &str, service: &Running) -> String {
    let until = Instant::now() + PATIENCE;
    loop {
        let rows = world.cordon(&["incident", "list", "--format", "json"], "").await.objects();
        if let Some(row) = rows.iter().find(|row| row["subject"] == instance.arn.as_str() && row["state"] == state) {
            return text(row, "/run").to_owned();
        }
        assert!(Instant::now() < until, "not {state}: {rows:#?}\n{}", service.log());
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}

#[tokio::test]
async fn a_running_service_takes_sound_policies_over_and_keeps_the_last_sound_ones() {
    let shape = Shape { queue: true, ..Shape::small() };
    let change = |settings: Settings| Settings { queue: true, policies: Some(folder(&settings, &[("mine.cedar", NOT_HERE)])), ..settings };
    let world = World::with(shape, change).await;
    let file = world.settings.policies.clone().unwrap().join("mine.cedar");
    let instance = world.instance("web").await;
    let mut service = world.cordon.spawn(&["serve"]).unwrap();
    logged(&mut service, "serving account").await;
    fs::write(&file, NOT_HERE.replace("seat", "saet")).unwrap();
    logged(&mut service, "the last sound ones stay in force").await;
    assert!(service.log().contains("--> mine.cedar:4:") && service.log().contains("saet"), "{}", service.log());
    let away = world.cordon(&["audit", "turned-away", "--format", "json"], "").await.objects();
    assert!(away.len() == 1 && away[0]["door"] == "policies" && text(&away[0], "/why").contains("saet"), "told once: {away:#?}");

    world.organization.attack(&instance, ATTACKER, Part::Target).await.unwrap();
    let run = row(&world, &instance, "held", &service).await;
    let shown = world.incident(&["incident", "show", &run]).await;
    assert!(text(hold(&shown, "policy"), "/why").contains("`not-here`"), "{shown:#}");
    let before = world.cordon(&["policy", "explain", &run, "close-ingress", "--format", "json"], "").await.objects().remove(0);

    fs::write(&file, "// Lifted.\n").unwrap();
    logged(&mut service, "changed policies are in force").await;
    let released = one(&world.cordon(&["incident", "release", &run, "--format", "json"], "").await);
    assert_eq!(step(&released, "close-ingress")["state"], "applied", "{released:#}\n{}", service.log());
    let after = world.cordon(&["policy", "explain", &run, "close-ingress", "--format", "json"], "").await.objects().remove(0);
    assert_eq!((&before["verdict"], &after["verdict"]), (&Value::from("deny"), &Value::from("allow")));
    assert_ne!(before["set"], after["set"], "the set in force is journalled with each decision");
    assert!(!world.open(&instance, 22).await);
}
