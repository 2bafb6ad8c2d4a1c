//! `iam.deactivate-access-key` and `iam.contain-user` on the lab: what the user can still do, what cannot be put back, and the hard cases.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail as tests do")]

use cordon_lab::{
    HandError, LabError, Organization,
    drill::{Drill, Ground, Permit, Trespass, World, Yard},
    gateway::{
        Action, Fault, Match,
        policy::{Context, Policy, Verdict as Says},
    },
    hand::Credentials,
    organization::{User, UserShape},
};
use cordon_shared::{id::CellId, plan::Verdict};
use cordon_spoke::action::{Cx, Kind, Plan, Undo};
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::drills::yard;

const KEY: &str = "iam.deactivate-access-key";
const CONTAIN: &str = "iam.contain-user";
const REGION: &str = "eu-west-1";

#[derive(Debug)]
struct Subject {
    organization: Organization,
    cell: CellId,
    user: User,
    with: Value,
}

impl World for Subject {
    fn cell(&self) -> &CellId {
        &self.cell
    }
    fn with(&self) -> Value {
        self.with.clone()
    }
    fn look(&self) -> BoxFuture<'_, Result<Value, LabError>> {
        Box::pin(self.organization.user_state(&self.user))
    }
    fn drift(&self) -> BoxFuture<'_, Result<(), LabError>> {
        Box::pin(async { Ok(()) })
    }
    fn drifted(&self, _state: &Value) -> bool {
        false
    }
    fn trespasses(&self) -> Vec<Trespass> {
        Vec::new()
    }
}

async fn subject(yard: &Yard, shape: UserShape, with: impl FnOnce(&User) -> Value) -> Subject {
    let organization = yard.organization.clone();
    let user = organization.user(&organization.ordinary(0).unwrap().account, &shape).await.unwrap();
    let cell = CellId::new(user.account.parse().unwrap(), REGION.parse().unwrap());
    Subject { organization, cell, with: with(&user), user }
}

impl Subject {
    async fn iam(&self, operation: &str, more: Value) -> Value {
        let mut params = json!({"UserName": self.user.name});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.organization.hand.call(&self.user.account, REGION, "iam", operation, params).await.unwrap()
    }
}

/// A call with a user's own key, through the gateway of a drill.
async fn call(ground: &Ground, key: &Credentials, service: &str, operation: &str) -> Result<Value, HandError> {
    ground.lab.hand.at(&ground.lab.endpoint()).with(key).call("", REGION, service, operation, json!({})).await
}

async fn refused(ground: &Ground, key: &Credentials, service: &str, operation: &str) -> String {
    call(ground, key, service, operation).await.unwrap_err().code
}

/// Plans for parameters as they are, with these principals protected.
async fn plan(ground: &Ground, subject: &Subject, action: &str, with: &Value, protected: &[String]) -> Plan<Value> {
    let action = ground.action(action).unwrap().clone();
    let Kind::Change(change) = &action.kind else { panic!("{} only reads", action.name) };
    let read = ground.read(&action, &subject.cell).await.unwrap();
    let permit = Permit::open(&action, &subject.cell).await.unwrap();
    let cx = Cx { protected, ..ground.cx(&subject.cell, &read, permit.run(), permit.step()) };
    change.plan(cx, with).await.unwrap()
}

fn refusal(plan: Plan<Value>) -> (&'static str, String) {
    let Plan::Refuse { code, why } = plan else { panic!("{plan:?}") };
    (code, why)
}

fn moot(plan: Plan<Value>) -> String {
    let Plan::Moot { why } = plan else { panic!("{plan:?}") };
    why
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deactivated_key_is_refused_everywhere_and_is_not_deleted() {
    let yard = yard().await;
    let shape = UserShape { path: "/ops/", keys: 2, quarantined: true, ..UserShape::default() };
    let subject = subject(yard, shape, |user| json!({"key": user.key(0)})).await;
    let ground = Ground::new(yard).unwrap();
    let (dead, alive) = (&subject.user.keys[0], &subject.user.keys[1]);
    for key in [dead, alive] {
        call(&ground, key, "ec2", "describe_vpcs").await.unwrap();
    }
    let mut drill = Drill::begin(&ground, &subject, KEY).await.unwrap();
    let planned = drill.plan().await.unwrap();
    let notes = planned.notes.join("\n");
    for part in [alive.access_key.as_str(), "AWSCompromisedKeyQuarantineV2", "for ec2 in eu-west-1", "live on until they expire"] {
        assert!(notes.contains(part), "{part}: {notes}");
    }
    assert_eq!(planned.counted(), [subject.user.arn.clone()].into());
    let outcome = drill.apply().await.unwrap().unwrap();
    assert_eq!(
        outcome,
        json!({
            "user": subject.user.name, "key": dead.access_key, "was": "Active", "other_active_keys": [alive.access_key],
            "quarantine": ["AWSCompromisedKeyQuarantineV2"],
        })
    );
    drill.recover().await.unwrap();
    // Dead in each protocol, from the next call on.
    for (service, operation, code) in [
        ("sts", "get_caller_identity", "InvalidClientTokenId"),
        ("iam", "list_users", "InvalidClientTokenId"),
        ("ec2", "describe_vpcs", "AuthFailure"),
        ("logs", "describe_log_groups", "UnrecognizedClientException"),
    ] {
        assert_eq!(refused(&ground, dead, service, operation).await, code, "{service}");
    }
    call(&ground, alive, "ec2", "describe_vpcs").await.unwrap();
    let state = subject.look().await.unwrap();
    assert_eq!((&state["keys"], &state["attached"]), (&json!(["Inactive", "Active"]), &json!(["AWSCompromisedKeyQuarantineV2"])));

    assert!(matches!(drill.undo().await.unwrap().unwrap(), Undo::Restored(back) if back.len() == 1));
    call(&ground, dead, "ec2", "describe_vpcs").await.unwrap();
    assert_eq!(subject.look().await.unwrap()["attached"], json!(["AWSCompromisedKeyQuarantineV2"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_not_a_users_are_refused_and_keys_that_are_not_there_are_moot() {
    let yard = yard().await;
    let ground = Ground::new(yard).unwrap();
    let shape = UserShape { keys: 2, ..UserShape::default() };
    let subject = subject(yard, shape, |user| json!({"key": user.key(0)})).await;
    let (name, key) = (subject.user.name.clone(), subject.user.key(0).to_owned());
    let planned = async |with: Value| plan(&ground, &subject, KEY, &with, &[]).await;

    let (code, why) = refusal(planned(json!({"key": "ASIAIOSFODNN7EXAMPLE"})).await);
    assert!(code == "temporary-key" && why.contains("iam.deny-older-sessions"), "{code} {why}");
    let root = "AKIAROOTEXAMPLE00001";
    yard.seed(&subject.user.account, "us-east-1", "iam-root-keys", vec![json!(root)]).await.unwrap();
    for with in [json!({"key": root}), json!({"key": key, "user": "root"}), json!({"key": root, "user": name})] {
        let (code, why) = refusal(planned(with).await);
        assert!(code == "root-key" && why.contains(&subject.user.account), "{code} {why}");
    }
    let (code, why) = refusal(plan(&ground, &subject, KEY, &subject.with, &[format!("ops/{}", name.to_uppercase())]).await);
    assert!(code == "refused-subject" && why.contains(&subject.user.arn), "{code} {why}");

    let elsewhere = yard.organization.ordinary(1).unwrap().account.clone();
    let stranger = yard.organization.user(&elsewhere, &UserShape::default()).await.unwrap();
    for absent in ["AKIAIOSFODNN7EXAMPLE", "GeneratedFindingAccessKeyId", stranger.key(0)] {
        assert!(moot(planned(json!({"key": absent, "user": name})).await).contains(absent));
    }
    // IAM says whose it is, whatever was said.
    let Plan::Ready { plan: found, .. } = planned(json!({"key": key, "user": "somebody"})).await else { panic!("no plan") };
    assert!(found.changes[0].resource == subject.user.arn && found.notes.join("").contains("said to be of somebody"), "{found:?}");

    subject.iam("update_access_key", json!({"AccessKeyId": key, "Status": "Inactive"})).await;
    let Plan::Ready { plan: found, .. } = planned(json!({"key": key})).await else { panic!("no plan") };
    assert!(found.changes.is_empty() && found.already[0].attribute == format!("access key {key}"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opt_out_tag_of_the_user_is_seen() {
    let yard = yard().await;
    let ground = Ground::new(yard).unwrap();
    let subject = subject(yard, UserShape::default(), |user| json!({"key": user.key(0)})).await;
    subject.iam("tag_user", json!({"Tags": [{"Key": "cordon:opt-out", "Value": "all"}]})).await;
    for (action, with) in [(KEY, subject.with.clone()), (CONTAIN, json!({"user": subject.user.name}))] {
        let Plan::Ready { plan, .. } = plan(&ground, &subject, action, &with, &[]).await else { panic!("no plan") };
        assert_eq!((plan.opt_outs[0].resource.as_str(), plan.opt_outs[0].value.as_str()), (subject.user.arn.as_str(), "all"));
    }
}

/// A path may hold a wildcard: the write session is for this user all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_wildcard_in_a_users_path_widens_no_session() {
    let yard = yard().await;
    let ground = Ground::new(yard).unwrap();
    let subject = subject(yard, UserShape { path: "/*/", ..UserShape::default() }, |user| json!({"key": user.key(0)})).await;
    let mut drill = Drill::begin(&ground, &subject, KEY).await.unwrap();
    let planned = drill.plan().await.unwrap();
    let scopes = drill.policies(&planned).unwrap();
    let policy = Policy::parse(&serde_json::from_str(&scopes[0].policy).unwrap()).unwrap();
    let says = |arn: &str| policy.evaluate("iam:UpdateAccessKey", arn, &Context::new());
    assert_eq!(says(&subject.user.arn), Says::Allow);
    assert_eq!(says(&subject.user.arn.replace("/*/", "/ops/")), Says::ImplicitDeny);
    drill.apply().await.unwrap().unwrap();
    assert_eq!(drill.recover().await.unwrap(), 0);
}

/// A user with everything, of which the first key and one MFA device are old. The serial numbers of the old and of the new device.
async fn full_house(yard: &Yard) -> (Subject, String, String) {
    let shape = UserShape { path: "/ops/team/", keys: 2, others: true, password: true, quarantined: true, ..UserShape::default() };
    let subject = subject(yard, shape, |user| json!({"user": user.name})).await;
    let (old, new) =
        (subject.organization.add_mfa(&subject.user).await.unwrap(), subject.organization.add_mfa(&subject.user).await.unwrap());
    let long_ago = Timestamp::now() - SignedDuration::from_hours(240);
    for of in [subject.user.key(0), old.as_str()] {
        subject.organization.made_at(&subject.user, of, long_ago).await.unwrap();
    }
    (subject, old, new)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contained_user_can_do_nothing_and_what_cannot_be_put_back_is_left_to_a_person() {
    let yard = yard().await;
    let ground = Ground::new(yard).unwrap();
    let (subject, old, new) = full_house(yard).await;
    let found = subject.look().await.unwrap();
    let mut drill = Drill::begin(&ground, &subject, CONTAIN).await.unwrap();
    let planned = drill.plan().await.unwrap();
    let notes = planned.notes.join("\n");
    for part in [
        format!("access key {} was made at", subject.user.key(1)),
        format!("MFA device {new} was added at"),
        format!("MFA device {old} was added at"),
        "password for the console: it is deleted".to_owned(),
        "AWSCompromisedKeyQuarantineV2".to_owned(),
    ] {
        assert!(notes.contains(&part), "{part}: {notes}");
    }
    assert_eq!((planned.changes[0].attribute.as_str(), planned.counted().len()), ("deny of everything", 1));

    let outcome = drill.apply().await.unwrap().unwrap();
    let cut = |number: usize, hostile: bool| json!({"key": subject.user.key(number), "was": "Active", "made_in_window": hostile});
    assert_eq!(outcome["keys"], json!([cut(0, false), cut(1, true)]));
    for (list, count) in [("certificates", 1), ("service_credentials", 1), ("ssh_keys", 1)] {
        assert_eq!(outcome[list].as_array().unwrap().len(), count, "{outcome}");
        assert_eq!((&outcome[list][0]["was"], &outcome[list][0]["made_in_window"]), (&json!("Active"), &json!(true)));
    }
    assert_eq!((&outcome["login_profile"], &outcome["denied_by"]), (&json!("deleted"), &json!("AWSDenyAll")));
    assert_eq!((&outcome["mfa_deactivated"], &outcome["quarantine"]), (&json!([new]), &json!(["AWSCompromisedKeyQuarantineV2"])));
    let secret = &subject.user.keys[0].secret_key;
    assert!(!outcome.to_string().contains(secret) && !serde_json::to_string(&planned).unwrap().contains(secret));
    assert_eq!(drill.recover().await.unwrap(), 0);
    let state = subject.look().await.unwrap();
    assert_eq!(
        json!([state["keys"], state["certificates"], state["services"], state["ssh"], state["login"], state["mfa"], state["attached"]]),
        json!([
            ["Inactive", "Inactive"],
            ["Inactive"],
            ["Inactive"],
            ["Inactive"],
            false,
            1,
            ["AWSCompromisedKeyQuarantineV2", "AWSDenyAll"]
        ])
    );

    // The policy alone is enough: a key that somebody makes active again can do nothing.
    let key = &subject.user.keys[0];
    assert_eq!(refused(&ground, key, "iam", "list_roles").await, "InvalidClientTokenId");
    subject.iam("update_access_key", json!({"AccessKeyId": key.access_key, "Status": "Active"})).await;
    ground.lab.gateway.forget_roles();
    let error = call(&ground, key, "iam", "list_roles").await.unwrap_err();
    assert!(error.code == "AccessDenied" && error.message.contains("explicit deny"), "{error}");
    assert_eq!(refused(&ground, key, "ec2", "describe_vpcs").await, "UnauthorizedOperation");
    call(&ground, key, "sts", "get_caller_identity").await.unwrap();
    subject.iam("update_access_key", json!({"AccessKeyId": key.access_key, "Status": "Inactive"})).await;

    for _ in 0..2 {
        let Undo::ByHand(steps) = drill.undo().await.unwrap().unwrap() else { panic!("a password was put back") };
        let steps = steps.join("\n");
        for part in ["aws iam create-login-profile", "aws iam enable-mfa-device", new.as_str()] {
            assert!(steps.contains(part), "{part}: {steps}");
        }
        assert!(!steps.contains(&old), "{steps}");
        let mut wanted = found.clone();
        (wanted["login"], wanted["mfa"]) = (json!(false), json!(1));
        assert_eq!(subject.look().await.unwrap(), wanted);
    }
    call(&ground, key, "iam", "list_roles").await.unwrap();
}

/// As the drill of breaks, for a user whose undo is left to a person.
#[tokio::test(flavor = "multi_thread")]
async fn a_containment_broken_off_at_every_call_is_finished_all_the_same() {
    let yard = yard().await;
    let broken = async |breaks: fn(u64) -> Vec<Fault>| {
        for at in 1.. {
            let ground = Ground::new(yard).unwrap();
            let (subject, ..) = full_house(yard).await;
            let mut drill = Drill::begin(&ground, &subject, CONTAIN).await.unwrap();
            drill.plan().await.unwrap();
            breaks(at).into_iter().for_each(|fault| ground.lab.gateway.faults().add(fault));
            let result = drill.apply().await.unwrap();
            let broke = ground.lab.gateway.faults().list().iter().any(|fault| fault.done > 0);
            ground.lab.gateway.faults().clear();
            drill.recover().await.unwrap_or_else(|error| panic!("broken off at call {at} ({result:?}): {error}"));
            let state = subject.look().await.unwrap();
            assert_eq!(json!([state["keys"], state["login"], state["mfa"]]), json!([["Inactive", "Inactive"], false, 1]), "call {at}");
            if !broke {
                assert!(at > 8, "only {at} calls were broken");
                return;
            }
        }
    };
    fn fault(action: Action, at: u64) -> Fault {
        Fault::new(Match { write: Some(true), ..Match::default() }, action).from(at)
    }
    futures::join!(
        broken(|at| vec![fault(Action::Deny { code: None, status: None }, at)]),
        broken(|at| vec![fault(Action::DropAfter, at).times(1), fault(Action::DropBefore, at)]),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_aws_denies_keeps_no_other_part_from_being_cut() {
    let yard = yard().await;
    let ground = Ground::new(yard).unwrap();
    let (subject, ..) = full_house(yard).await;
    let mut drill = Drill::begin(&ground, &subject, CONTAIN).await.unwrap();
    drill.plan().await.unwrap();
    let denied = Match { operation: Some("AttachUserPolicy".to_owned()), ..Match::default() };
    ground.lab.gateway.faults().add(Fault::new(denied, Action::Deny { code: None, status: None }));
    let error = drill.apply().await.unwrap().unwrap_err();
    assert_eq!((error.effect, error.error.code()), (cordon_shared::plan::Effect::Partial, "access-denied"), "{error}");
    let state = subject.look().await.unwrap();
    assert_eq!(json!([state["keys"], state["login"], state["mfa"]]), json!([["Inactive", "Inactive"], false, 1]));
    assert!(matches!(drill.verify().await.unwrap(), Verdict::NotInEffect { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_takes_no_more_policies_is_cut_all_the_same_and_the_outcome_says_so() {
    let yard = yard().await;
    let ground = Ground::new(yard).unwrap();
    let shape = UserShape { policies: 10, password: true, ..UserShape::default() };
    let inline = subject(yard, shape, |user| json!({"user": user.name})).await;
    let full = subject(yard, shape, |user| json!({"user": user.name})).await;
    let long =
        json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": vec!["arn:aws:s3:::a"; 108]}]});
    full.iam("put_user_policy", json!({"PolicyName": "long", "PolicyDocument": long.to_string()})).await;
    for (subject, denied_by, note) in [
        (&inline, json!("CordonDenyAll"), "an inline policy CordonDenyAll denies everything instead"),
        (&full, Value::Null, "nothing can deny it everything"),
    ] {
        let mut drill = Drill::begin(&ground, subject, CONTAIN).await.unwrap();
        let planned = drill.plan().await.unwrap();
        assert!(planned.notes.join("\n").contains(note), "{:?}", planned.notes);
        let outcome = drill.apply().await.unwrap().unwrap();
        assert_eq!((&outcome["denied_by"], &outcome["login_profile"]), (&denied_by, &json!("deleted")));
        assert_eq!(drill.recover().await.unwrap(), 0);
        let state = subject.look().await.unwrap();
        assert_eq!((state["keys"].clone(), state["login"].clone()), (json!(["Inactive"]), json!(false)));
    }
    // The inline policy denies as much as AWS's.
    let key = &inline.user.keys[0];
    inline.iam("update_access_key", json!({"AccessKeyId": key.access_key, "Status": "Active"})).await;
    ground.lab.gateway.forget_roles();
    assert_eq!(refused(&ground, key, "iam", "list_users").await, "AccessDenied");
}

#[tokio::test(flavor = "multi_thread")]
async fn root_and_protected_users_are_never_contained_and_a_person_of_identity_center_is_no_user() {
    let yard = yard().await;
    let ground = Ground::new(yard).unwrap();
    let subject = subject(yard, UserShape::default(), |user| json!({"user": user.name})).await;
    let protected = [subject.user.name.clone()];
    for with in [json!({"user": "root"}), json!({"user": "<root_account>"}), subject.with.clone()] {
        assert_eq!(refusal(plan(&ground, &subject, CONTAIN, &with, &protected).await).0, "refused-subject", "{with}");
    }
    for name in ["nobody-of-this-name", "Jo Public", "jo@example.com"] {
        let why = moot(plan(&ground, &subject, CONTAIN, &json!({"user": name}), &protected).await);
        assert!(why.contains("Identity Center") && why.contains(name), "{why}");
    }
}

/// What another key of the same attacker's makes between plan and yes is said, not passed over.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_made_after_the_plan_is_drift() {
    let yard = yard().await;
    let ground = Ground::new(yard).unwrap();
    let subject = subject(yard, UserShape::default(), |user| json!({"user": user.name})).await;
    let mut drill = Drill::begin(&ground, &subject, CONTAIN).await.unwrap();
    drill.plan().await.unwrap();
    let made = subject.iam("create_access_key", json!({})).await;
    drill.apply().await.unwrap().unwrap();
    let verdict = drill.verify().await.unwrap();
    let id = made["AccessKey"]["AccessKeyId"].as_str().unwrap();
    assert!(matches!(&verdict, Verdict::Drifted { detail } if detail.contains(id)), "{verdict:?}");
}
