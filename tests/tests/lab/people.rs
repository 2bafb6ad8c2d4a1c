//! Who may: people are proven by AWS, have roles, and are one person by whichever way they come.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail as tests do")]

#[path = "people/api.rs"]
pub(crate) mod api;

use std::time::{Duration, Instant};

use cordon_lab::{
    Cordon, Running,
    gateway::{Action, Fault, Match},
    organization::{Settings, User, UserShape},
};
use serde_json::json;

use crate::{
    policy,
    respond::world::{HOME, World, hold, id, members, one, state, step, text},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A person of the configuration, with a user in the security account.
pub(crate) async fn registered(world: &mut World, name: &str, roles: &[&str]) -> User {
    let user = world.organization.user(&world.organization.security, &UserShape::default()).await.unwrap();
    world.set(|settings| {
        settings.more.push_str(&format!("\n[[people]]\nname = \"{name}\"\nroles = {}\naws = [\"{}\"]\n", json!(roles), user.arn));
    });
    user
}

/// The same: the program at their keyboard.
pub(crate) async fn person(world: &mut World, name: &str, roles: &[&str]) -> Cordon {
    let user = registered(world, name, roles).await;
    world.cordon.clone().as_person(&user.keys[0])
}

async fn asking() -> World {
    World::with(members(1, &[HOME]), |mut settings| {
        settings.mode = "ask".to_owned();
        settings.poll_every = "1h".to_owned();
        settings
    })
    .await
}

/// The running service of the world.
pub(crate) async fn serving(world: &World) -> Running {
    let mut service = world.cordon.spawn(&["serve"]).unwrap();
    let until = Instant::now() + PATIENCE;
    while !service.log().contains("serving account") {
        assert!(Instant::now() < until && service.is_running(), "{}", service.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    service
}

#[tokio::test]
async fn a_yes_at_the_command_line_is_of_whom_aws_knows_and_of_nobody_else() {
    let mut world = asking().await;
    let instance = world.instance("web").await;
    let looker = person(&mut world, "Carol", &[]).await;
    let stranger = world.organization.user(&world.account, &UserShape::default()).await.unwrap();
    let run = id(&world.one(&world.attack(&instance)).await);
    let grant = ["approval", "grant", run.as_str(), "--step", "close-ingress", "--yes", "--format", "json"];

    // A user name is nobody, whatever the computer calls them.
    let named = world.cordon.clone().as_person(&stranger.keys[0]).with("SUDO_USER", "Lab Operator").with("USER", "Lab Operator");
    let refused = named.run(&grant, "").await.unwrap();
    assert_eq!(refused.code, Some(2), "{refused:?}");
    for part in [stranger.arn.as_str(), "nobody that Cordon knows", "[[people]]", "aws = ["] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    // Somebody with credentials that AWS does not take.
    let matching = Match { operation: Some("GetCallerIdentity".to_owned()), ..Match::default() };
    let action = Action::Deny { code: Some("InvalidClientTokenId".to_owned()), status: Some(403) };
    world.gateway().faults().add(Fault::new(matching, action).times(1));
    let refused = world.cordon.clone().as_person(&stranger.keys[0]).run(&grant, "").await.unwrap();
    assert!(refused.code == Some(2) && refused.stderr.contains("not known who you are"), "{refused:?}");
    // Somebody whom Cordon knows, and who may not.
    let service = serving(&world).await;
    let refused = looker.run(&grant, "").await.unwrap();
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("Carol, who has no role, may not approve") && refused.stderr.contains("`approver`"), "{refused:?}");
    assert!(world.open(&instance, 22).await && world.writes().is_empty());
    drop(service);
    let away = world.cordon(&["audit", "turned-away", "--format", "json"], "").await.stdout;
    for part in [stranger.arn.as_str(), "not known who you are", "Carol, who has no role"] {
        assert!(away.contains(part), "{part}: {away}");
    }

    let granted = one(&world.cordon(&grant, "").await);
    assert_eq!(step(&granted, "close-ingress")["state"], "applied", "{granted:#}");
    assert!(text(step(&granted, "close-ingress"), "/reason").starts_with("Lab Operator said yes"), "{granted:#}");
    let report = world.cordon(&["incident", "report", &run], "").await.stdout;
    assert!(report.contains("Lab Operator") && report.contains(":assumed-role/CordonHub/"), "{report}");
    assert_eq!(world.cordon(&["audit", "verify"], "").await.code, Some(0));
}

#[tokio::test]
async fn who_opened_an_incident_by_hand_does_not_say_yes_to_it() {
    let mut world = asking().await;
    let instance = world.instance("web").await;
    let (ann, looker) = (person(&mut world, "Ann", &["approver"]).await, person(&mut world, "Carol", &[]).await);
    let open = [
        "open",
        "--playbook",
        "ec2-brute-force",
        "--subject",
        instance.id.as_str(),
        "--account",
        instance.account.as_str(),
        "--region",
        instance.region.as_str(),
        "--type",
        "UnauthorizedAccess:EC2/SSHBruteForce",
        "--source",
        "198.51.100.7",
        "--port",
        "22",
        "--why",
        "seen in the logs",
        "--format",
        "json",
    ];
    let refused = looker.run(&open, "").await.unwrap();
    assert!(refused.code == Some(2) && refused.stderr.contains("may not open"), "{refused:?}");
    let incident = one(&world.cordon(&open, "").await);
    let run = id(&incident);
    assert_eq!((state(&incident), text(hold(&incident, "approval"), "/code")), ("waiting", "approval"), "{incident:#}");
    let grant = ["approval", "grant", run.as_str(), "--step", "close-ingress", "--yes", "--format", "json"];
    let own = world.cordon(&grant, "").await;
    assert!(own.code == Some(2) && own.stderr.contains("`four-eyes`"), "{own:?}");
    assert!(world.open(&instance, 22).await);

    let mut service = serving(&world).await;
    let granted = ann.run(&grant, "").await.unwrap();
    assert_eq!(granted.code, Some(0), "{granted:?}");
    assert!(!world.open(&instance, 22).await);
    // An approver is no operator.
    let undo = ann.run(&["incident", "undo", &run, "--step", "close-ingress", "--yes"], "").await.unwrap();
    assert!(undo.code == Some(2) && undo.stderr.contains("may not undo") && undo.stderr.contains("`operator`"), "{undo:?}");
    assert!(!world.open(&instance, 22).await);
    service.terminate();
    assert_eq!(service.wait(PATIENCE).await, Some(0), "{}", service.log());
}

#[tokio::test]
async fn the_yes_of_somebody_who_left_or_has_lost_the_role_counts_no_more_and_the_step_is_asked_anew() {
    let mut world = asking().await;
    let folder = policy::folder(&world.settings, &[("two.cedar", policy::CLOSE_ASKS_TWO)]);
    world.set(|settings| settings.policies = Some(folder.clone()));
    let instance = world.instance("web").await;
    let (ann, ben, dora) = (
        person(&mut world, "Ann", &["approver"]).await,
        person(&mut world, "Ben", &["approver"]).await,
        person(&mut world, "Dora", &["approver"]).await,
    );
    let run = id(&world.one(&world.attack(&instance)).await);
    let grant = ["approval", "grant", run.as_str(), "--step", "close-ingress", "--yes", "--format", "json"];
    let leaves = |settings: &mut Settings| settings.more = settings.more.replace("name = \"Ann\"", "name = \"Anne, who came after her\"");
    let loses = |settings: &mut Settings| {
        settings.more = settings.more.replace("name = \"Dora\"\nroles = [\"approver\"]", "name = \"Dora\"\nroles = []")
    };
    type Change = fn(&mut Settings);
    let cases: [(&Cordon, Change, &str); 2] = [
        (&ann, leaves, "the yes of Ann counts no more: there is nobody of this name in `[[people]]` now"),
        (&dora, loses, "the yes of Dora counts no more: Dora, who has no role, may not approve here"),
    ];
    let mut service = serving(&world).await;
    for (first, change, why) in cases {
        let said = first.run(&grant, "").await.unwrap();
        assert!(said.stderr.contains("waits for one more person"), "{said:?}");
        service.terminate();
        assert_eq!(service.wait(PATIENCE).await, Some(0), "{}", service.log());
        world.set(change);
        service = serving(&world).await;
        let said = one(&ben.run(&grant, "").await.unwrap());
        assert!(text(hold(&said, "approval"), "/why").contains(why), "{said:#}");
        assert!(world.open(&instance, 22).await && world.writes().is_empty());
    }
    // At once, by a policy, in the running service.
    let said = ben.run(&grant, "").await.unwrap();
    assert!(said.stderr.contains("waits for one more person"), "{said:?}");
    let left = folder.join("left.cedar");
    for (policy, sets) in [(Some("@id(\"ben-left\")\nforbid (principal == Person::\"Ben\", action, resource);"), 1), (None, 2)] {
        policy.map_or_else(|| std::fs::remove_file(&left), |text| std::fs::write(&left, text)).unwrap();
        let begun = Instant::now();
        while service.log().matches("changed policies are in force").count() < sets {
            assert!(begun.elapsed() < PATIENCE, "{}", service.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        if policy.is_some() {
            let said = one(&world.cordon(&grant, "").await);
            let why = text(hold(&said, "approval"), "/why").to_owned();
            assert!(
                why.contains("the yes of Ben counts no more: Ben, who has the roles approver, may not approve here: forbidden by")
                    && why.contains("ben-left"),
                "{why}"
            );
            assert!(world.open(&instance, 22).await && world.writes().is_empty());
        }
    }
    // Two who may.
    one(&ben.run(&grant, "").await.unwrap());
    assert!(world.open(&instance, 22).await && world.writes().is_empty());
    let done = one(&world.cordon(&grant, "").await);
    assert_eq!(step(&done, "close-ingress")["state"], "applied", "{done:#}");
    assert!(text(step(&done, "close-ingress"), "/reason").starts_with("Ben and Lab Operator said yes"), "{done:#}");
    assert!(!world.open(&instance, 22).await);
}

/// The service's first look at freezes, and that after a thaw, hang; nobody waits for them but what was frozen.
#[tokio::test]
async fn a_yes_is_answered_while_organizations_hangs_after_a_thaw_and_what_was_frozen_goes_on_once_it_answers() {
    let mut world = asking().await;
    world.set(|settings| settings.attempt_timeout = "12s".to_owned());
    let (web, twin) = (world.instance("web").await, world.instance("twin").await);
    let (run, frozen) = (id(&world.one(&world.attack(&web)).await), id(&world.one(&world.attack(&twin)).await));
    let done = async |arguments: &[&str]| {
        let output = world.cordon(arguments, "").await;
        assert_eq!(output.code, Some(0), "{output:?}");
        output
    };
    done(&["freeze", "--ou", "Root/Workloads", "--why", "a drill"]).await;
    let grant = |run| ["approval", "grant", run, "--step", "close-ingress", "--yes", "--format", "json"];
    let held = one(&done(&grant(frozen.as_str())).await);
    assert_eq!(text(hold(&held, "frozen"), "/release"), "cordon thaw --ou Root/Workloads", "{held:#}");

    let matching = Match { service: Some("organizations".to_owned()), ..Match::default() };
    world.gateway().faults().add(Fault::new(matching, Action::Hang));
    let mut service = serving(&world).await;
    let until = Instant::now() + PATIENCE;
    let hangs = || world.gateway().faults().list()[0].done;
    while hangs() == 0 {
        assert!(Instant::now() < until, "{}", service.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    done(&["thaw", "--ou", "Root/Workloads", "--yes"]).await;
    let journal = rusqlite::Connection::open(world.settings.state_dir.join("journal.db")).unwrap();
    let answered = || -> i64 { journal.query_row("SELECT count(*) FROM requests WHERE ok = 1", [], |row| row.get(0)).unwrap() };
    let (before, begun) = (answered(), Instant::now());
    let mut yes = world.cordon.spawn(&grant(run.as_str())).unwrap();
    while answered() == before {
        assert!(begun.elapsed() < Duration::from_secs(8), "{}\n{}", yes.log(), service.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(world.open(&web, 22).await && world.open(&twin, 22).await, "who is above the account is not known yet");
    world.gateway().faults().clear();
    let until = Instant::now() + PATIENCE;
    while world.open(&web, 22).await || world.open(&twin, 22).await {
        assert!(Instant::now() < until, "{}", service.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(service.log().contains("is thawed"), "{}", service.log());
    let report = world.cordon(&["incident", "report", &frozen], "").await.stdout;
    assert!(report.contains("had what was frozen looked at again"), "{report}");
    assert_eq!(yes.wait(PATIENCE).await, Some(0), "{}", yes.log());
    service.terminate();
    assert_eq!(service.wait(PATIENCE).await, Some(0), "{}", service.log());
}
