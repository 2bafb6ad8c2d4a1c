//! `iam.deny-older-sessions` and `ec2.find-instance` on moto, through the gateway that decides as AWS does: who is denied, who is not, and
//! what is left to a person.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail as tests do")]

use std::{sync::Arc, time::Duration};

use cordon_lab::{
    HandError, accounts,
    drill::{Ground, Permit, Yard},
    gateway::{Action as Wrong, Fault, Match},
    hand::Credentials,
};
use cordon_shared::{
    id::CellId,
    plan::{Plan, Verdict},
};
use cordon_spoke::action::{Action, Cx, DynChange, Kind, Plan as Planned, Progress, Undo, Write};
use serde_json::{Value, json};

use crate::drills::yard;

const HOME: &str = "us-east-1";
const AWAY: &str = "eu-west-1";
const CONSOLE: &str = "AWSRevokeOlderSessions";
/// What the console wrote, long ago.
const REVOKED: &str = "2024-10-10T09:43:48.085Z";
/// How long the gateway takes a role for true that it has read, and a cut-off to lie in the past.
const IN_FORCE: Duration = Duration::from_millis(3_200);

/// A member account, and a role in it with a profile.
struct World {
    yard: &'static Yard,
    ground: Ground,
    account: String,
    role: String,
    arn: String,
    profile: String,
}

impl World {
    async fn new(services: &[&str]) -> Self {
        let yard = yard().await;
        let ground = Ground::new(yard).unwrap();
        let account = yard.place().0.to_owned();
        let name = format!("app-{}", accounts::fresh());
        let mut world = Self { yard, ground, account: account.clone(), role: name.clone(), arn: String::new(), profile: String::new() };
        let trust = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": {"Service": services}, "Action": "sts:AssumeRole"},
            {"Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{account}:root")}, "Action": "sts:AssumeRole"},
        ]});
        let made = json!({"RoleName": name, "Path": "/app/", "AssumeRolePolicyDocument": trust.to_string()});
        world.arn = world.iam("create_role", made).await["Role"]["Arn"].as_str().unwrap().to_owned();
        let own = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ec2:Describe*", "Resource": "*"}]});
        world.put("own", &own).await;
        let made = world.iam("create_instance_profile", json!({"InstanceProfileName": name, "Path": "/app/"})).await;
        world.profile = made["InstanceProfile"]["Arn"].as_str().unwrap().to_owned();
        world.iam("add_role_to_instance_profile", json!({"InstanceProfileName": name, "RoleName": name})).await;
        world
    }

    async fn call(&self, region: &str, service: &str, operation: &str, params: Value) -> Value {
        self.yard.organization.hand.call(&self.account, region, service, operation, params).await.unwrap()
    }

    async fn iam(&self, operation: &str, params: Value) -> Value {
        self.call(HOME, "iam", operation, params).await
    }

    async fn put(&self, policy: &str, document: &Value) {
        let params = json!({"RoleName": self.role, "PolicyName": policy, "PolicyDocument": document.to_string()});
        self.iam("put_role_policy", params).await;
    }

    async fn policy(&self, policy: &str) -> Option<Value> {
        let params = json!({"RoleName": self.role, "PolicyName": policy});
        let found = self.yard.organization.hand.call(&self.account, HOME, "iam", "get_role_policy", params).await;
        found.ok().map(|found| found["PolicyDocument"].clone())
    }

    /// An instance with the role; `tags` besides.
    async fn instance(&self, region: &str, profile: Option<&str>, tags: &[(&str, &str)]) -> String {
        let mut params = json!({"ImageId": "ami-12c6146b", "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1});
        let map = params.as_object_mut().unwrap();
        if let Some(profile) = profile {
            map.insert("IamInstanceProfile".to_owned(), json!({"Arn": profile}));
        }
        if !tags.is_empty() {
            let tags: Vec<Value> = tags.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect();
            map.insert("TagSpecifications".to_owned(), json!([{"ResourceType": "instance", "Tags": tags}]));
        }
        self.call(region, "ec2", "run_instances", params).await["Instances"][0]["InstanceId"].as_str().unwrap().to_owned()
    }

    /// Credentials as the metadata service of an instance hands them out.
    async fn issued(&self, instance: &str) -> Credentials {
        let hand = &self.yard.organization.hand;
        let account = hand.credentials(&self.account).await.unwrap();
        hand.at(&self.ground.lab.endpoint()).with(&account).assume("", HOME, &self.arn, instance, json!({})).await.unwrap()
    }

    async fn works(&self, credentials: &Credentials) -> Result<(), HandError> {
        let hand = self.yard.organization.hand.at(&self.ground.lab.endpoint()).with(credentials);
        hand.call("", HOME, "ec2", "describe_instances", json!({})).await.map(drop)
    }

    fn cell(&self, region: &str) -> CellId {
        CellId::new(self.account.parse().unwrap(), region.parse().unwrap())
    }

    async fn deed(&self, region: &str, with: Value) -> Deed<'_> {
        let action = self.ground.action("iam.deny-older-sessions").unwrap().clone();
        let Kind::Change(change) = &action.kind else { panic!() };
        let (change, cell) = (Arc::clone(change), self.cell(region));
        let permit = Permit::open(&action, &cell).await.unwrap();
        Deed { ground: &self.ground, change, action, cell, permit, with, plan: Plan::default() }
    }

    /// What a plan that makes none comes to: its code, or `moot`, and why.
    async fn stopped(&self, with: Value) -> (String, String) {
        match self.deed(HOME, with).await.look(&[]).await {
            Planned::Refuse { code, why } => (code.to_owned(), why),
            Planned::Moot { why } => ("moot".to_owned(), why),
            Planned::Ready { plan, .. } => panic!("{plan:?}"),
        }
    }

    async fn find(&self, instance: &str) -> Result<Value, String> {
        let action = self.ground.action("ec2.find-instance").unwrap().clone();
        let Kind::Probe(probe) = &action.kind else { panic!() };
        let cell = self.cell(HOME);
        let (read, permit) = (self.ground.read(&action, &cell).await.unwrap(), Permit::open(&action, &cell).await.unwrap());
        let cx = self.ground.cx(&cell, &read, permit.run(), permit.step());
        let found = probe.run(cx, &json!({"instance": instance})).await.map_err(|error| error.to_string())?;
        assert!(!found.evidence.is_empty());
        Ok(found.outcome)
    }
}

/// One step.
struct Deed<'a> {
    ground: &'a Ground,
    action: Action,
    change: Arc<dyn DynChange>,
    cell: CellId,
    permit: Permit,
    with: Value,
    plan: Plan,
}

impl Deed<'_> {
    async fn look(&self, protected: &[String]) -> Planned<Value> {
        let read = self.ground.read(&self.action, &self.cell).await.unwrap();
        let cx = self.ground.cx(&self.cell, &read, self.permit.run(), self.permit.step());
        self.change.plan(Cx { protected, ..cx }, &self.with).await.unwrap()
    }

    async fn plan(&mut self) -> Plan {
        let Planned::Ready { plan, .. } = self.look(&[]).await else { panic!("no plan: {:?}", self.look(&[]).await) };
        self.plan = plan.clone();
        plan
    }

    /// Applies the plan, a person having said yes where one is asked.
    async fn apply(&mut self) -> Value {
        let agreed = Plan { ask: None, ..self.plan.clone() };
        let scopes = self.change.policies(&self.cell, &self.with, &agreed.before).unwrap().unwrap();
        let warrant = self.permit.to_apply(&self.with, &agreed).await.unwrap();
        let parts = self.ground.write(&self.action, &self.cell, scopes, &self.permit, &warrant).await.unwrap();
        let read = self.ground.read(&self.action, &self.cell).await.unwrap();
        let cx = self.ground.cx(&self.cell, &read, self.permit.run(), self.permit.step());
        let write = Write { aws: &parts[0].1, parts: &parts, warrant: &warrant };
        let Progress::Done(outcome) = self.change.apply(cx, write, &self.with, &agreed.before).await.unwrap() else { panic!() };
        assert_eq!(self.change.verify(cx, &self.with, &agreed.before).await.unwrap(), Verdict::InEffect);
        drop((parts, warrant));
        self.permit.in_effect().await.unwrap();
        outcome
    }

    async fn undo(&mut self) -> Undo {
        let scopes = self.change.policies(&self.cell, &self.with, &self.plan.before).unwrap().unwrap();
        let (warrant, only) = self.permit.to_undo().await.unwrap();
        let parts = self.ground.write(&self.action, &self.cell, scopes, &self.permit, &warrant).await.unwrap();
        let read = self.ground.read(&self.action, &self.cell).await.unwrap();
        let cx = self.ground.cx(&self.cell, &read, self.permit.run(), self.permit.step());
        let write = Write { aws: &parts[0].1, parts: &parts, warrant: &warrant };
        self.change.undo(cx, write, &self.with, &self.plan.before, &only).await.unwrap()
    }
}

fn console(date: &str) -> Value {
    json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Deny", "Action": ["*"], "Resource": ["*"], "Condition": {"DateLessThan": {"aws:TokenIssueTime": date}}}
    ]})
}

fn some(plan: &Plan, part: &str) -> bool {
    plan.notes.iter().any(|note| note.contains(part))
}

#[tokio::test(flavor = "multi_thread")]
async fn older_sessions_of_one_instance_are_denied_and_those_of_another_one_of_its_role_go_on() {
    let world = World::new(&["ec2.amazonaws.com"]).await;
    let (one, other, away) = futures::join!(
        world.instance(HOME, Some(&world.profile), &[]),
        world.instance(HOME, Some(&world.profile), &[]),
        world.instance(AWAY, Some(&world.profile), &[])
    );
    let (stolen, of_other) = (world.issued(&one).await, world.issued(&other).await);
    world.works(&stolen).await.unwrap();

    let mut deed = world.deed(HOME, json!({"instance": one})).await;
    let plan = deed.plan().await;
    assert!(plan.ask.is_none() && plan.opt_outs.is_empty(), "{plan:?}");
    assert_eq!((plan.resources(), plan.counted()), ([world.arn.clone()].into(), [world.arn.clone()].into()));
    assert!(some(&plan, "shared by 2 other instances") && some(&plan, &away) && some(&plan, "go on working"), "{plan:?}");
    assert!(some(&plan, "long-term keys") && some(&plan, "12 hours") && some(&plan, "list-chained-roles"), "{plan:?}");
    let outcome = deed.apply().await;
    assert_eq!((&outcome["role"], &outcome["scope"]), (&json!(world.role), &json!("instance")));
    assert_eq!((&outcome["userid"], &outcome["moved_from"]), (&json!(format!("*:{one}")), &Value::Null));
    let sharing = outcome["shared_with"]["instances"].as_array().unwrap();
    assert!(sharing.len() == 2 && !sharing.iter().any(|arn| arn.as_str().unwrap().ends_with(&one)), "{outcome:#}");
    assert_eq!(outcome["shared_with"]["services"], json!(["ec2.amazonaws.com"]));

    tokio::time::sleep(IN_FORCE).await;
    let denied = world.works(&stolen).await.unwrap_err();
    assert_eq!(denied.code, "UnauthorizedOperation");
    assert!(denied.message.contains("explicit deny"), "{denied}");
    world.works(&of_other).await.unwrap();
    // What is issued later passes: issuance is for another step to cut.
    let new = world.issued(&one).await;
    world.works(&new).await.unwrap();
    assert_eq!(world.works(&stolen).await.unwrap_err().code, "UnauthorizedOperation");

    assert!(matches!(deed.undo().await, Undo::Restored(restored) if restored.len() == 1));
    assert_eq!(world.policy(outcome["policy"].as_str().unwrap()).await, None);
    tokio::time::sleep(IN_FORCE).await;
    world.works(&stolen).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn denying_all_sessions_of_a_role_asks_and_names_everyone_who_shares_it() {
    let world = World::new(&["ec2.amazonaws.com", "lambda.amazonaws.com"]).await;
    let one = world.instance(HOME, Some(&world.profile), &[]).await;
    let away = world.instance(AWAY, Some(&world.profile), &[("cordon:opt-out", "false")]).await;
    let function = |name: &str, role: &str| json!({"FunctionName": name, "Role": role, "PackageType": "Image", "Code": {"ImageUri": "111122223333.dkr.ecr.eu-west-1.amazonaws.com/f:1"}});
    let name = format!("thumbnails-{}", accounts::fresh());
    world.call(AWAY, "lambda", "create_function", function(&name, &world.arn)).await;
    world.put(CONSOLE, &console(REVOKED)).await;
    let stolen = world.issued("deploy@laptop").await;

    let mut deed = world.deed(HOME, json!({"role": world.arn, "wide": true})).await;
    let plan = deed.plan().await;
    let ask = plan.ask.clone().unwrap();
    for part in ["2 instances (", "1 Lambda function (", "2 services (ec2.amazonaws.com, lambda.amazonaws.com)", &one, &away, &name] {
        assert!(ask.contains(part), "{part}: {ask}");
    }
    assert!(some(&plan, &away) && some(&plan, &name) && some(&plan, REVOKED), "{plan:?}");
    // All of them are hit, so the tag of each counts.
    assert!(plan.opt_outs.len() == 1 && plan.opt_outs[0].resource.ends_with(&away), "{plan:?}");
    let outcome = deed.apply().await;
    assert_eq!((&outcome["policy"], &outcome["scope"], &outcome["userid"]), (&json!(CONSOLE), &json!("role"), &Value::Null));
    assert_eq!(outcome["moved_from"], REVOKED);
    assert_eq!(outcome["shared_with"]["functions"].as_array().unwrap().len(), 1, "{outcome:#}");
    tokio::time::sleep(IN_FORCE).await;
    assert_eq!(world.works(&stolen).await.unwrap_err().code, "UnauthorizedOperation");
    let new = world.issued("deploy@laptop").await;
    world.works(&new).await.unwrap();

    // What the console wrote stands again.
    assert!(matches!(deed.undo().await, Undo::Restored(_)));
    assert_eq!(world.policy(CONSOLE).await, Some(console(REVOKED)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_does_not_answer_is_named_in_the_question() {
    let world = World::new(&["ec2.amazonaws.com"]).await;
    let matching = Match { region: Some(AWAY.to_owned()), operation: Some("DescribeInstances".to_owned()), ..Match::default() };
    world.ground.lab.gateway.faults().add(Fault::new(matching, Wrong::Deny { code: None, status: None }));
    let plan = world.deed(HOME, json!({"role": world.role, "wide": true})).await.plan().await;
    assert!(plan.ask.unwrap().contains(&format!("could not be read in {AWAY}")));
}

/// The cut-off is moved forward once, when the first has taken hold everywhere. Whoever is undone last puts back what was there before the first.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_off_that_was_moved_forward_is_undone_in_either_order() {
    for (wide, first_goes_first) in [(false, true), (false, false), (true, true), (true, false)] {
        let world = World::new(&["ec2.amazonaws.com"]).await;
        let instance = world.instance(HOME, Some(&world.profile), &[]).await;
        let (with, policy) = if wide {
            world.put(CONSOLE, &console(REVOKED)).await;
            (json!({"role": world.role, "wide": true}), CONSOLE.to_owned())
        } else {
            (json!({"role": world.role, "instance": instance}), format!("CordonRevoke-{instance}"))
        };
        let before = world.policy(&policy).await;
        let mut first = world.deed(HOME, with.clone()).await;
        first.plan().await;
        first.apply().await;
        // Minutes go by.
        let mut there = world.policy(&policy).await.unwrap();
        *there.pointer_mut("/Statement/0/Condition/DateLessThan/aws:TokenIssueTime").unwrap() = json!("2026-01-01T00:00:00Z");
        world.put(&policy, &there).await;

        let mut again = with;
        again["move_forward"] = json!(true);
        let mut second = world.deed(HOME, again).await;
        let plan = second.plan().await;
        assert_eq!(plan.changes[0].key(), first.plan.changes[0].key(), "one claim for both");
        let outcome = second.apply().await;
        assert_eq!(outcome["moved_from"], "2026-01-01T00:00:00Z");
        assert!(second.plan().await.changes.is_empty(), "moved once is enough");
        second.plan = plan;

        let (sooner, later) = if first_goes_first { (&mut first, &mut second) } else { (&mut second, &mut first) };
        assert!(matches!(sooner.undo().await, Undo::Restored(restored) if restored.len() == 1));
        assert_eq!(world.policy(&policy).await, before, "wide {wide}, first {first_goes_first}");
        assert!(matches!(later.undo().await, Undo::Restored(restored) if restored.is_empty()));
        assert_eq!(world.policy(&policy).await, before);
    }
    // Where nothing was denied, or it was taken back, nothing is moved.
    let world = World::new(&["ec2.amazonaws.com"]).await;
    let instance = world.instance(HOME, Some(&world.profile), &[]).await;
    let (code, why) = world.stopped(json!({"instance": instance, "move_forward": true})).await;
    assert!(code == "moot" && why.contains("no cut-off to move forward"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_by_the_console_after_us_is_left_to_a_person() {
    let world = World::new(&["ec2.amazonaws.com"]).await;
    let mut deed = world.deed(HOME, json!({"role": world.role, "wide": true})).await;
    deed.plan().await;
    deed.apply().await;
    let theirs = console("2026-12-24T00:00:00.000Z");
    world.put(CONSOLE, &theirs).await;
    let Undo::ByHand(steps) = deed.undo().await else { panic!() };
    assert!(steps[0].contains("aws iam delete-role-policy") && steps[0].contains(&world.role), "{steps:?}");
    assert_eq!(world.policy(CONSOLE).await, Some(theirs));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_of_that_name_that_says_anything_else_holds() {
    let world = World::new(&["ec2.amazonaws.com"]).await;
    let instance = world.instance(HOME, Some(&world.profile), &[]).await;
    let narrow = format!("CordonRevoke-{instance}");
    let mut theirs = console(REVOKED);
    theirs["Statement"][0]["Action"] = json!(["s3:*"]);
    for (policy, with) in [(CONSOLE, json!({"role": world.role, "wide": true})), (narrow.as_str(), json!({"instance": instance}))] {
        world.put(policy, &theirs).await;
        let (code, why) = world.stopped(with).await;
        assert!(code == "foreign-policy" && why.contains(policy) && why.contains(&world.arn), "{code}: {why}");
        assert_eq!(world.policy(policy).await, Some(theirs.clone()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inline_policies_without_room_for_another_hold() {
    let world = World::new(&["ec2.amazonaws.com"]).await;
    let instance = world.instance(HOME, Some(&world.profile), &[]).await;
    let large = |count: usize| {
        let actions: Vec<String> = (0..count).map(|number| format!("s3:GetObject{number:08}")).collect();
        json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]})
    };
    world.put("large", &large(430)).await;
    let (code, why) = world.stopped(json!({"instance": instance})).await;
    assert!(code == "no-policy-room" && why.contains("of 10240 characters (large ") && why.contains(&world.arn), "{code}: {why}");
    // The lab's IAM agrees.
    let denial = json!({"RoleName": world.role, "PolicyName": "more", "PolicyDocument": large(20).to_string()});
    let full = world.yard.organization.hand.call(&world.account, HOME, "iam", "put_role_policy", denial).await.unwrap_err();
    assert_eq!(full.code, "LimitExceeded");
    world.put("large", &large(300)).await;
    let mut deed = world.deed(HOME, json!({"instance": instance})).await;
    deed.plan().await;
    deed.apply().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_that_are_never_touched_are_refused_and_what_is_not_there_is_moot() {
    let world = World::new(&["ec2.amazonaws.com"]).await;
    for role in ["AWSServiceRoleForAutoScaling", "AWSReservedSSO_Admin_0123456789abcdef"] {
        assert_eq!(world.stopped(json!({"role": role, "wide": true})).await.0, "refused-subject");
    }
    let instance = world.instance(HOME, Some(&world.profile), &[]).await;
    let deed = world.deed(HOME, json!({"instance": instance})).await;
    let protected = [world.role.clone()];
    assert!(matches!(deed.look(&protected).await, Planned::Refuse { code: "refused-subject", .. }));

    let bare = world.instance(HOME, None, &[]).await;
    let (code, why) = world.stopped(json!({"instance": bare})).await;
    assert!(code == "moot" && why.contains("has no instance profile"), "{why}");
    assert_eq!(world.stopped(json!({"instance": "i-0123456789abcdef0"})).await.0, "moot");
    assert_eq!(world.stopped(json!({"role": "not-there", "wide": true})).await.0, "moot");
    // A role that is named is denied whatever has become of the instance.
    let mut deed = world.deed(HOME, json!({"role": world.role, "instance": "i-0123456789abcdef0"})).await;
    assert!(some(&deed.plan().await, "there is no instance"));
    deed.apply().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_of_another_controller_is_left_to_it_unless_the_playbook_says_so() {
    let world = World::new(&["ec2.amazonaws.com"]).await;
    let node = world.instance(AWAY, Some(&world.profile), &[("eks:cluster-name", "prod"), ("cordon:opt-out", "false")]).await;
    let deed = world.deed(AWAY, json!({"instance": node})).await;
    assert!(matches!(deed.look(&[]).await, Planned::Refuse { code: "run-by-controller", .. }));
    let mut deed = world.deed(AWAY, json!({"instance": node, "even_if_managed": true})).await;
    assert_eq!(deed.plan().await.opt_outs[0].value, "false");
    // IAM's own cell has no Region: then the instance is looked for in all.
    let mut deed = world.deed("global", json!({"instance": node, "even_if_managed": true})).await;
    deed.plan().await;
    deed.apply().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_found_in_whichever_region_it_is() {
    let world = World::new(&["ec2.amazonaws.com"]).await;
    let away = world.instance(AWAY, Some(&world.profile), &[]).await;
    let found = world.find(&away).await.unwrap();
    assert_eq!((&found["region"], &found["state"], &found["role"]["arn"]), (&json!(AWAY), &json!("running"), &json!(world.arn)));
    assert_eq!((&found["profile"], &found["looked_in"]), (&json!(world.profile), &json!([AWAY, HOME])));
    let bare = world.instance(HOME, None, &[]).await;
    let found = world.find(&bare).await.unwrap();
    assert_eq!((&found["region"], &found["role"], &found["profile"]), (&json!(HOME), &Value::Null, &Value::Null));
    let found = world.find("i-0123456789abcdef0").await.unwrap();
    assert_eq!((&found["region"], &found["state"], &found["looked_in"]), (&Value::Null, &Value::Null, &json!([AWAY, HOME])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_cannot_be_asked_is_named_and_one_that_may_answer_later_is_asked_again() {
    let world = World::new(&["ec2.amazonaws.com"]).await;
    let here = world.instance(HOME, Some(&world.profile), &[]).await;
    let fault = |action| {
        let matching = Match { region: Some(AWAY.to_owned()), operation: Some("DescribeInstances".to_owned()), ..Match::default() };
        world.ground.lab.gateway.faults().clear();
        world.ground.lab.gateway.faults().add(Fault::new(matching, action));
    };
    fault(Wrong::Deny { code: None, status: None });
    for instance in [here.as_str(), "i-0123456789abcdef0"] {
        let found = world.find(instance).await.unwrap();
        assert_eq!((&found["looked_in"], &found["not_looked_in"][0]["region"]), (&json!([HOME]), &json!(AWAY)), "{found:#}");
    }
    fault(Wrong::Deny { code: Some("InternalError".to_owned()), status: Some(500) });
    assert_eq!(world.find(&here).await.unwrap()["region"], HOME);
    // It may be there: "nowhere" would be a lie.
    let error = world.find("i-0123456789abcdef0").await.unwrap_err();
    assert!(error.contains("ec2:DescribeInstances"), "{error}");
}
