//! Credentials that somebody else uses.

use cordon_lab::{
    Settings, Shape,
    organization::{
        Instance,
        credential::{Stolen, misuse},
        trail::Caller,
        user::UserShape,
    },
};
use serde_json::json;

use super::look::{IN_FORCE, all};
use crate::respond::world::{AWAY, HOME, World, hold, id, state, step, text};

const THIEF: &str = "203.0.113.9";
const TOR: &str = "UnauthorizedAccess:IAMUser/TorIPCaller";
const EXFILTRATION: &str = "UnauthorizedAccess:IAMUser/InstanceCredentialExfiltration.OutsideAWS";

/// Credentials of an instance's role, in somebody else's hands.
fn of_role<'a>(world: &'a World, instance: &'a Instance, access_key: &'a str, principal: &'a str) -> Stolen<'a> {
    let user = world.organization.role_of(instance);
    Stolen { account: &world.account, access_key, principal, user_type: "AssumedRole", user }
}

fn two_regions() -> Shape {
    Shape { regions: vec![HOME.to_owned(), AWAY.to_owned()], ..Shape::small() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_stolen_key_is_deactivated_not_deleted_and_what_it_did_is_told() {
    let mut world = World::with(two_regions(), |settings| settings).await;
    let organization = &world.organization;
    let user = organization.user(&world.account, &UserShape { keys: 2, ..UserShape::default() }).await.unwrap();
    assert!(world.works(&user.keys[0]).await.is_ok() && world.works(&user.keys[1]).await.is_ok());
    let caller = Caller::user(&world.account, &user.name, user.key(0), THIEF);
    organization.recorded(&caller.abuse(AWAY, &organization.security)).await.unwrap();
    let stolen = Stolen { account: &world.account, access_key: user.key(0), principal: "AIDALAB", user_type: "IAMUser", user: &user.name };

    let incident = world.one(&world.event(&misuse(TOR, AWAY, &stolen, THIEF))).await;
    all(&incident, &["deactivate-key"], "applied");
    all(&incident, &["trace", "chained-roles", "related"], "done");
    // It made a user for itself: the user as a whole is contained if a person says so.
    assert_eq!((state(&incident), step(&incident, "contain-user")["state"].as_str()), ("waiting", Some("waiting")), "{incident:#}");
    assert!(text(hold(&incident, "approval"), "/release").starts_with("cordon approval grant "), "{incident:#}");
    tokio::time::sleep(IN_FORCE).await;
    let dead = world.works(&user.keys[0]).await.unwrap_err();
    assert!(dead.code.contains("InvalidClientTokenId") || dead.code.contains("AuthFailure"), "{dead:?}");
    world.works(&user.keys[1]).await.unwrap();
    let keys = world.hand(&world.account, "iam", "list_access_keys", json!({"UserName": user.name})).await;
    let mut told: Vec<String> =
        keys["AccessKeyMetadata"].as_array().unwrap().iter().map(|key| key["Status"].as_str().unwrap().to_owned()).collect();
    told.sort();
    assert_eq!(told, ["Active", "Inactive"]);
    let report = world.cordon(&["incident", "report", &id(&incident)], "").await.stdout;
    for part in [THIEF, "backup-agent", "iam:CreateUser", "gives back what deactivate-key took"] {
        assert!(report.contains(part), "{part}: {report}");
    }

    for part in [
        "Which roles did they assume with them?",
        "ASIALABCHAINED000001",
        "another one",
        "a copy was taken",
        "Give its rightful user another one",
    ] {
        assert!(report.contains(part), "{part}: {report}");
    }
    // Each role that was assumed is a question of its own.
    assert!(text(hold(&incident, "playbook"), "/why").contains("Roles were assumed"), "{incident:#}");
    let trust = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]});
    world.hand(&world.account, "iam", "create_role", json!({"RoleName": "deploy", "AssumeRolePolicyDocument": trust.to_string()})).await;
    let open = |whose: &[&'static str]| {
        let account = world.account.clone();
        let mut arguments: Vec<String> =
            ["open", "--playbook", "iam-credential-compromise", "--type", TOR, "--subject", "ASIALABCHAINED000001", "--region", HOME]
                .map(str::to_owned)
                .to_vec();
        arguments.extend(["--account".to_owned(), account, "--why".to_owned(), "assumed with a stolen key".to_owned()]);
        arguments.extend(whose.iter().map(|one| (*one).to_owned()));
        arguments
    };
    let unsaid = open(&[]);
    let unsaid = world.cordon(&unsaid.iter().map(String::as_str).collect::<Vec<_>>(), "").await;
    assert!(unsaid.code == Some(2) && unsaid.stderr.contains("whose access key"), "{unsaid:?}");
    let whose = open(&["--assumed-role", "deploy", "--session", "s-1"]);
    let asked = world.incident(&whose.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(step(&asked, "deny-session")["state"], "waiting", "{asked:#}");
    let release = text(hold(&asked, "approval"), "/release").to_owned();
    let granted: Vec<&str> = release.split_whitespace().skip(1).chain(["--yes"]).collect();
    // Whoever opened it does not approve it.
    assert!(world.cordon(&granted, "").await.stderr.contains("`four-eyes`"));
    let ann = crate::people::person(&mut world, "Ann", &["approver"]).await;
    world.set(|settings| settings.poll_every = "1h".to_owned());
    let service = crate::people::serving(&world).await;
    let answer = ann.run(&granted, "").await.unwrap();
    assert_eq!(answer.code, Some(0), "{answer:?}");
    drop(service);
    let denied = world.incident(&["incident", "show", &id(&asked)]).await;
    assert_eq!(step(&denied, "deny-session")["state"], "applied", "{denied:#}");

    // The undo of the whole gives no credential back; that of the step, named, does.
    let undone = world.cordon(&["incident", "undo", &id(&incident), "--yes"], "").await;
    assert!(undone.code.is_some() && !undone.stdout.contains("panicked"), "{undone:?}");
    assert!(world.works(&user.keys[0]).await.is_err());
    let undone = world.cordon(&["incident", "undo", &id(&incident), "--step", "deactivate-key", "--yes"], "").await;
    assert_eq!(undone.code, Some(0), "{undone:?}");
    tokio::time::sleep(IN_FORCE).await;
    world.works(&user.keys[0]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn containing_a_user_asks_two_persons_since_its_password_cannot_be_put_back() {
    let mut world = World::with(two_regions(), |settings| settings).await;
    let organization = &world.organization;
    let user = organization.user(&world.account, &UserShape::default()).await.unwrap();
    let caller = Caller::user(&world.account, &user.name, user.key(0), THIEF);
    organization.recorded(&caller.abuse(AWAY, &organization.security)).await.unwrap();
    let stolen = Stolen { account: &world.account, access_key: user.key(0), principal: "AIDALAB", user_type: "IAMUser", user: &user.name };
    let incident = world.one(&world.event(&misuse(TOR, AWAY, &stolen, THIEF))).await;
    let run = id(&incident);
    let why = |incident: &serde_json::Value| text(hold(incident, "approval"), "/why").to_owned();
    assert!(why(&incident).contains("`destructive-asks-two`") && why(&incident).contains("2 persons"), "{incident:#}");
    let grant = ["approval", "grant", run.as_str(), "--step", "contain-user", "--yes"];
    let denied = async |world: &World| {
        let policies = world.hand(&world.account, "iam", "list_attached_user_policies", json!({"UserName": user.name})).await;
        policies.to_string().contains("AWSDenyAll")
    };
    // One person is not enough, and is one person however often they say so.
    let one = world.incident(&grant).await;
    assert_eq!(step(&one, "contain-user")["state"], "waiting", "{one:#}");
    assert!(!denied(&world).await);
    let twice = world.cordon(&grant, "").await;
    assert!(twice.code == Some(2) && twice.stderr.contains("has said yes"), "{twice:?}");
    assert!(!denied(&world).await);
    let ann = crate::people::person(&mut world, "Ann", &["approver"]).await;
    world.set(|settings| settings.poll_every = "1h".to_owned());
    let service = crate::people::serving(&world).await;
    let answer = ann.run(&grant, "").await.unwrap();
    assert_eq!(answer.code, Some(0), "{answer:?}");
    drop(service);
    let both = world.incident(&["incident", "show", &run]).await;
    let said = text(step(&both, "contain-user"), "/reason");
    assert!(step(&both, "contain-user")["state"] == "applied" && said.contains("Lab Operator and Ann"), "{both:#}");
    assert!(denied(&world).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn stolen_credentials_of_an_instance_are_cut_where_the_instance_is_wherever_they_were_used() {
    let world = World::with(two_regions(), |settings| settings).await;
    let organization = &world.organization;
    let instance = organization.instance(&world.account, AWAY, &cordon_lab::organization::InstanceShape::named("app")).await.unwrap();
    organization.role_that_works(&instance).await.unwrap();
    let stolen = organization.issued(&instance, &world.lab.endpoint()).await.unwrap();
    world.works(&stolen).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let principal = format!("AROALAB:{}", instance.id);
    let about = of_role(&world, &instance, &stolen.access_key, &principal);
    // Used, and found, in another Region than the instance's.
    let incident = world.one(&world.event(&misuse(EXFILTRATION, HOME, &about, THIEF))).await;
    all(&incident, &["identify", "record", "trace"], "done");
    all(&incident, &["cut-issuance", "deny-sessions"], "applied");
    assert_eq!(step(&incident, "identify")["outcome"]["region"], AWAY, "{incident:#}");
    assert_eq!(step(&incident, "isolate")["state"], "waiting", "a person is asked: {incident:#}");
    assert_eq!(world.described(&instance).await["MetadataOptions"]["HttpEndpoint"], "disabled");
    tokio::time::sleep(IN_FORCE).await;
    assert!(world.works(&stolen).await.is_err());
}

/// What is changed is the role; who loses its sessions is the instance.
#[tokio::test(flavor = "multi_thread")]
async fn to_deny_an_instance_its_sessions_asks_where_the_instance_is_in_production() {
    let world = World::with(two_regions(), |settings| Settings { policies: None, ..settings }).await;
    let organization = &world.organization;
    let shape = cordon_lab::organization::InstanceShape::named("app").tagged("Environment", "production");
    let instance = organization.instance(&world.account, HOME, &shape).await.unwrap();
    organization.role_that_works(&instance).await.unwrap();
    let stolen = organization.issued(&instance, &world.lab.endpoint()).await.unwrap();
    let principal = format!("AROALAB:{}", instance.id);
    let about = of_role(&world, &instance, &stolen.access_key, &principal);
    let incident = world.one(&world.event(&misuse(EXFILTRATION, HOME, &about, THIEF))).await;
    let denied = step(&incident, "deny-sessions");
    assert!(denied["state"] == "waiting" && text(denied, "/reason").contains("`disruptive-in-production`"), "{incident:#}");
    world.works(&stolen).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_root_user_is_a_persons_work() {
    let world = World::with(two_regions(), |settings| settings).await;
    let stolen =
        Stolen { account: &world.account, access_key: "AKIALABROOT000000001", principal: &world.account, user_type: "Root", user: "Root" };
    let incident = world.one(&world.event(&misuse(TOR, HOME, &stolen, THIEF))).await;
    assert_eq!(state(&incident), "held", "{incident:#}");
    assert!(text(hold(&incident, "playbook"), "/why").contains("sign in as root"), "{incident:#}");
    assert!(world.writes().is_empty());
}
