//! Opt-out under attack: one that appears after the attack began is told, and where it is critical a person is asked in place of obeying it.

use cordon_lab::{
    gateway::{Action, Fault, Match},
    organization::{
        Instance, OPT_OUT,
        credential::{Stolen, misuse},
        finding::{Part, brute_force},
        trail::Caller,
        user::UserShape,
    },
};
use serde_json::{Value, json};

use super::world::{ATTACKER, HOME, World, hold, id, state, step, text};

const MALLORY: &str = "203.0.113.66";
/// Before the finding's first sight of the attack, 840 seconds ago, and after it.
const BEFORE: i64 = 5_000;
const AFTER: i64 = 300;

/// An attack on an instance that GuardDuty gives this severity; first seen 840 seconds ago.
fn attack(world: &World, instance: &Instance, severity: f64) -> String {
    let mut native = brute_force(instance, ATTACKER, Part::Target);
    native["severity"] = json!(severity);
    world.event(&native)
}

/// CloudTrail's record of somebody who tags a resource.
fn tagging(world: &World, id: &str, value: &str, ago: i64) -> Value {
    let asked = json!({"resourcesSet": {"items": [{"resourceId": id}]}, "tagSet": {"items": [{"key": OPT_OUT, "value": value}]}});
    let mallory = Caller::user(&world.account, "mallory", "AKIALABMALLORY000001", MALLORY);
    mallory.record(HOME, ago, "ec2", "CreateTags", json!({"requestParameters": asked, "responseElements": {"_return": true}}))
}

/// An instance whose opt-out was set so many seconds ago, as CloudTrail has it.
async fn opted_out(world: &World, name: &str, ago: i64) -> Instance {
    let instance = world.instance(name).await;
    world.organization.tag(&world.account, HOME, &instance.id, OPT_OUT, "true").await.unwrap();
    world.organization.recorded(&[tagging(world, &instance.id, "true", ago)]).await.unwrap();
    instance
}

/// How often CloudTrail was asked who sets tags.
fn lookups(world: &World) -> usize {
    world.gateway().ledger().find(|call| call.operation == "LookupEvents" && call.params.to_string().contains("CreateTags")).len()
}

async fn tag_account(world: &World, value: &str) {
    let tag = json!({"ResourceId": world.account, "Tags": [{"Key": OPT_OUT, "Value": value}]});
    world.hand(&world.organization.management, "organizations", "tag_resource", tag).await;
}

#[tokio::test]
async fn a_critical_finding_asks_about_an_opt_out_that_came_after_it_and_a_yes_contains_and_a_no_leaves() {
    let world = World::new().await;
    let instance = opted_out(&world, "web", AFTER).await;
    let before = world.state(&instance).await;
    let incident = world.one(&attack(&world, &instance, 9.5)).await;
    let run = id(&incident);
    let close = step(&incident, "close-ingress");
    assert_eq!((state(&incident), &close["state"]), ("waiting", &json!("waiting")), "{incident:#}");
    let why = text(close, "/reason");
    for part in [
        instance.arn.as_str(),
        "it appeared after the attack began at ",
        &format!("by arn:aws:iam::{}:user/mallory from {MALLORY} (ec2:CreateTags", world.account),
        "`question-new-opt-outs` (it appeared after a critical attack began) questions it",
    ] {
        assert!(why.contains(part), "{part}: {why}");
    }
    // Nothing goes on unasked, and looking does.
    assert_eq!((&step(&incident, "record")["state"], &step(&incident, "find-logins")["state"]), (&json!("done"), &json!("done")));
    assert_eq!((world.writes().len(), world.state(&instance).await), (0, before));
    let explained = world.cordon(&["policy", "explain", &run, "close-ingress"], "").await;
    assert!(explained.stdout.contains("opt-out   question: policy `question-new-opt-outs`"), "{explained:?}");
    let asked = world.cordon(&["policy", "explain", &run, "close-ingress", "--format", "json"], "").await.objects().remove(0);
    let age = asked.pointer("/asked/around/opt_out_age").and_then(Value::as_i64).unwrap();
    assert!((AFTER..AFTER + 300).contains(&age) && asked["asked"]["around"]["opt_out_new"] == true, "{asked:#}");

    let granted = world.incident(&["approval", "grant", &run, "--step", "close-ingress", "--yes"]).await;
    let close = step(&granted, "close-ingress");
    assert_eq!(close["state"], "applied", "{granted:#}");
    assert!(text(close, "/reason").contains(&format!("over the new opt-out of {}", instance.arn)), "{close:#}");
    assert!(!world.open(&instance, 22).await);
    let denied = world.incident(&["approval", "deny", &run, "--step", "block-source", "--why", "it is our own tag"]).await;
    assert_eq!(step(&denied, "block-source")["state"], "skipped", "{denied:#}");
    assert!(!world.blocked(&instance).await);
    let report = world.cordon(&["incident", "report", &run], "").await.stdout;
    assert!(report.contains("user/mallory") && report.contains("it appeared after the attack began"), "{report}");
    assert_eq!(world.cordon(&["audit", "verify"], "").await.code, Some(0));
}

#[tokio::test]
async fn a_new_opt_out_is_obeyed_below_critical_and_reported_with_since_when_and_by_whom() {
    let world = World::new().await;
    let instance = opted_out(&world, "web", AFTER).await;
    let before = world.state(&instance).await;
    let incident = world.one(&attack(&world, &instance, 8.0)).await;
    assert_eq!((state(&incident), text(&incident, "/reason_code")), ("held", "opted-out"), "{incident:#}");
    let why = text(hold(&incident, "opted-out"), "/why");
    assert!(why.contains("it appeared after the attack began") && why.contains("user/mallory") && why.contains(MALLORY), "{why}");
    assert!(why.ends_with("It is obeyed all the same: no policy questions it"), "{why}");
    assert_eq!((world.writes().len(), world.state(&instance).await), (0, before));
}

#[tokio::test]
async fn an_opt_out_that_was_there_before_the_attack_is_obeyed_at_any_severity() {
    let world = World::new().await;
    let instance = opted_out(&world, "web", BEFORE).await;
    // Set once more, as a tool does that brings things back to what is written down.
    world.organization.recorded(&[tagging(&world, &instance.id, "true", AFTER)]).await.unwrap();
    let before = world.state(&instance).await;
    let incident = world.one(&attack(&world, &instance, 10.0)).await;
    assert_eq!((state(&incident), text(&incident, "/reason_code")), ("held", "opted-out"), "{incident:#}");
    let why = text(hold(&incident, "opted-out"), "/why");
    assert!(why.contains("it was there before the attack began") && why.contains("user/mallory"), "{why}");
    assert_eq!((world.writes().len(), world.state(&instance).await), (0, before));
}

/// Who opts nothing out is not asked about: CloudTrail costs nothing then.
#[tokio::test]
async fn an_opt_out_of_which_nobody_knows_is_obeyed_until_a_record_of_it_comes_and_without_one_nothing_is_looked_up() {
    let world = World::new().await;
    let (instance, other) = futures::join!(world.instance("web"), world.instance("other"));
    let changes = ["close-ingress", "block-source"];
    let contained = world.one(&attack(&world, &other, 9.5)).await;
    assert!(changes.iter().all(|name| step(&contained, name)["state"] == "applied"), "{contained:#}");
    assert_eq!(lookups(&world), 0);

    world.organization.tag(&world.account, HOME, &instance.id, OPT_OUT, "true").await.unwrap();
    let incident = world.one(&attack(&world, &instance, 9.5)).await;
    assert_eq!((state(&incident), text(&incident, "/reason_code")), ("held", "opted-out"), "{incident:#}");
    let why = text(hold(&incident, "opted-out"), "/why");
    assert!(why.contains("since when is not known: CloudTrail has no record of the call that set it"), "{why}");
    assert!(world.open(&instance, 22).await && lookups(&world) > 0);

    world.organization.recorded(&[tagging(&world, &instance.id, "true", AFTER)]).await.unwrap();
    let again = world.incident(&["incident", "release", &id(&incident)]).await;
    assert_eq!(step(&again, "close-ingress")["state"], "waiting", "{again:#}");
    assert!(world.open(&instance, 22).await);
}

#[tokio::test]
async fn where_cloudtrail_is_denied_an_opt_out_is_obeyed_and_that_is_said() {
    let world = World::new().await;
    let instance = opted_out(&world, "web", AFTER).await;
    let lookup = Match { operation: Some("LookupEvents".to_owned()), ..Match::default() };
    world.gateway().faults().add(Fault::new(lookup, Action::Deny { code: None, status: None }));
    let incident = world.one(&attack(&world, &instance, 9.5)).await;
    let close = step(&incident, "close-ingress");
    assert_eq!((state(&incident), &close["state"]), ("held", &json!("held")), "{incident:#}");
    assert!(text(close, "/reason").contains("since when is not known: access denied to cloudtrail:LookupEvents"), "{close:#}");
    assert!(world.open(&instance, 22).await && world.writes().is_empty());
}

/// One yes was to the plan without the opt-out: it is none to the plan over it.
#[tokio::test]
async fn an_accounts_tag_that_appears_between_admission_and_the_yes_voids_the_yes_and_is_asked_about() {
    let mut world = World::new().await;
    world.set(|settings| settings.mode = "ask".to_owned());
    let instance = world.instance("web").await;
    let incident = world.one(&attack(&world, &instance, 9.5)).await;
    let run = id(&incident);
    assert_eq!(step(&incident, "close-ingress")["state"], "waiting", "{incident:#}");
    tag_account(&world, "true").await;
    let grant = ["approval", "grant", &run, "--step", "close-ingress", "--yes"];
    let again = world.incident(&grant).await;
    let close = step(&again, "close-ingress");
    let why = text(close, "/reason");
    assert_eq!(close["state"], "waiting", "{again:#}");
    assert!(
        why.contains(&format!("account {} is opted out", world.account)) && why.contains("Cordon saw it without an opt-out at"),
        "{why}"
    );
    assert!(world.writes().is_empty() && world.open(&instance, 22).await);
    let granted = world.incident(&grant).await;
    assert_eq!(step(&granted, "close-ingress")["state"], "applied", "{granted:#}");
    assert!(!world.open(&instance, 22).await);
}

/// What Cordon itself saw without the tag needs no record to be known as new; CloudTrail says by whom when it can.
#[tokio::test]
async fn an_instance_that_cordon_saw_without_its_opt_out_needs_no_record_to_be_asked_about() {
    let mut world = World::new().await;
    world.set(|settings| settings.mode = "ask".to_owned());
    let instance = world.instance("web").await;
    let incident = world.one(&attack(&world, &instance, 9.5)).await;
    let run = id(&incident);
    world.organization.tag(&world.account, HOME, &instance.id, OPT_OUT, "true").await.unwrap();
    let grant = ["approval", "grant", &run, "--step", "close-ingress", "--yes"];
    let again = world.incident(&grant).await;
    let close = step(&again, "close-ingress");
    assert!(close["state"] == "waiting" && text(close, "/reason").contains("Cordon saw it without an opt-out at"), "{again:#}");
    world.organization.recorded(&[tagging(&world, &instance.id, "true", 1)]).await.unwrap();
    // The tag is taken off: nobody is asked about it any more, and the yes to the plan over it is none to the plan alone.
    world.hand(&world.account, "ec2", "delete_tags", json!({"Resources": [instance.id], "Tags": [{"Key": OPT_OUT}]})).await;
    let alone = world.incident(&grant).await;
    let close = step(&alone, "close-ingress");
    assert!(close["state"] == "waiting" && !text(close, "/reason").contains("opted out"), "{alone:#}");
    world.organization.tag(&world.account, HOME, &instance.id, OPT_OUT, "true").await.unwrap();
    let named = world.incident(&grant).await;
    assert!(text(step(&named, "close-ingress"), "/reason").contains("user/mallory"), "{named:#}");
    assert!(world.writes().is_empty() && world.open(&instance, 22).await);
}

#[tokio::test]
async fn a_user_who_is_opted_out_by_the_thief_of_a_key_is_asked_about_and_by_whom_is_told() {
    let world = World::new().await;
    let user = world.organization.user(&world.account, &UserShape::default()).await.unwrap();
    let tag = json!({"UserName": user.name, "Tags": [{"Key": OPT_OUT, "Value": "all"}]});
    world.hand(&world.account, "iam", "tag_user", tag).await;
    let asked = json!({"userName": user.name, "tags": [{"key": OPT_OUT, "value": "all"}]});
    let thief = Caller::user(&world.account, &user.name, user.key(0), MALLORY);
    let record = thief.record("us-east-1", AFTER, "iam", "TagUser", json!({"requestParameters": asked}));
    world.organization.recorded(&[record]).await.unwrap();
    let stolen = Stolen { account: &world.account, access_key: user.key(0), principal: "AIDALAB", user_type: "IAMUser", user: &user.name };
    let mut finding = misuse("UnauthorizedAccess:IAMUser/TorIPCaller", HOME, &stolen, MALLORY);
    finding["severity"] = json!(9.0);
    let incident = world.one(&world.event(&finding)).await;
    let key = step(&incident, "deactivate-key");
    let why = text(key, "/reason");
    assert_eq!(key["state"], "waiting", "{incident:#}");
    assert!(why.contains(&user.arn) && why.contains(&format!("from {MALLORY} (iam:TagUser")), "{why}");
    world.works(&user.keys[0]).await.unwrap();
    let granted = world.incident(&["approval", "grant", &id(&incident), "--step", "deactivate-key", "--yes"]).await;
    assert_eq!(step(&granted, "deactivate-key")["state"], "applied", "{granted:#}");
}

#[tokio::test]
async fn an_account_that_begins_to_forbid_looking_under_a_critical_attack_is_looked_at_and_changed_only_by_a_yes() {
    let world = World::new().await;
    let (first, second, third) = futures::join!(world.instance("first"), world.instance("second"), world.instance("third"));
    // Cordon has seen the account without the tag.
    assert_eq!(state(&world.one(&attack(&world, &first, 2.0)).await), "contained");
    tag_account(&world, "investigate:no").await;
    let incident = world.one(&attack(&world, &second, 8.0)).await;
    let why = text(hold(&incident, "opted-out"), "/why");
    assert!(
        why.contains("even of investigation") && why.contains("Cordon saw it without an opt-out at") && why.contains("obeyed all the same"),
        "{why}"
    );
    assert_eq!(step(&incident, "record")["state"], "waiting", "{incident:#}");

    let incident = world.one(&attack(&world, &third, 9.5)).await;
    assert_eq!(
        (&step(&incident, "record")["state"], &step(&incident, "find-logins")["state"]),
        (&json!("done"), &json!("done")),
        "{incident:#}"
    );
    let close = step(&incident, "close-ingress");
    assert!(close["state"] == "waiting" && text(close, "/reason").contains("`investigate:no`"), "{close:#}");
    assert!(world.open(&second, 22).await && world.open(&third, 22).await);
    let report = world.cordon(&["incident", "report", &id(&incident)], "").await.stdout;
    assert!(report.contains("looked at in spite of its opt-out"), "{report}");
}
