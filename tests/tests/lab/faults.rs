//! What responders of this kind are known to get wrong, each as a test of the whole program; and bad answers of people.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail as tests do")]

use cordon_lab::{
    gateway::{Action, Fault, Match},
    organization::{
        credential::{Stolen, misuse},
        finding::{Part, brute_force},
        user::UserShape,
    },
};
use serde_json::{Value, json};

use crate::respond::world::{ATTACKER, HOME, World, hold, id, members, of as of_instance, state, step, text};

const TOR: &str = "UnauthorizedAccess:IAMUser/TorIPCaller";

fn calls(operation: &str) -> Match {
    Match { operation: Some(operation.to_owned()), ..Match::default() }
}

const DENIED: Action = Action::Deny { code: None, status: None };

impl World {
    /// Who was turned away, and what was refused.
    async fn turned_away(&self) -> Vec<Value> {
        let output = self.cordon(&["audit", "turned-away", "--format", "json"], "").await;
        assert_eq!(output.code, Some(0), "{output:?}");
        output.objects()
    }
}

/// AWS says that it was done, and it was not: what counts is what is read back.
#[tokio::test]
async fn a_change_that_aws_acknowledged_and_did_not_make_is_no_success() {
    let world = World::new().await;
    let (unclosed, unblocked) = (world.instance("unclosed").await, world.instance("unblocked").await);
    let before = world.state(&unblocked).await;
    let one = |operation: &str, param: &str| Match { param: Some(param.to_owned()), ..calls(operation) };
    let faults = world.gateway().faults();
    for group in &unclosed.groups {
        faults.add(Fault::new(one("RevokeSecurityGroupIngress", group), Action::Pretend));
    }
    let acls = world.hand(&world.account, "ec2", "describe_network_acls", json!({})).await;
    let linked = |acl: &&Value| acl["Associations"].as_array().unwrap().iter().any(|link| link["SubnetId"] == unblocked.subnet.as_str());
    let acl = text(acls["NetworkAcls"].as_array().unwrap().iter().find(linked).unwrap(), "/NetworkAclId").to_owned();
    faults.add(Fault::new(one("CreateNetworkAclEntry", &acl), Action::Pretend));
    let output = world.respond(&format!("{}\n{}\n", world.attack(&unclosed), world.attack(&unblocked))).await;
    assert_eq!(output.code, Some(3), "{output:?}");
    let incident = of_instance(&output, &unclosed);
    assert_eq!((state(&incident), text(&incident, "/reason_code")), ("stuck", "unknown-effect"), "{incident:#}");
    let close = step(&incident, "close-ingress");
    assert!(close["state"] == "failed" && text(close, "/reason").contains("can still be read"), "{close:#}");
    assert!(incident["contained_at"].is_null() && world.open(&unclosed, 22).await, "{incident:#}");

    let incident = of_instance(&output, &unblocked);
    assert_eq!((state(&incident), text(&incident, "/reason_code")), ("stuck", "unknown-effect"), "{incident:#}");
    let block = step(&incident, "block-source");
    assert!(block["state"] == "failed" && text(block, "/reason").contains("cannot be read back"), "{block:#}");
    assert!(incident["contained_at"].is_null() && world.state(&unblocked).await["acl"] == before["acl"], "{incident:#}");
    assert!(text(hold(&incident, "unknown-effect"), "/release").starts_with("cordon incident undo "), "{incident:#}");
}

/// A tag that cannot be read may be an opt-out.
#[tokio::test]
async fn what_cannot_be_read_of_the_organization_or_of_the_resource_is_held_and_nothing_is_changed() {
    let world = World::new().await;
    let (by_org, by_tag) = (world.instance("org").await, world.instance("tag").await);
    let before = [world.state(&by_org).await, world.state(&by_tag).await];
    for operation in ["ListTagsForResource", "ListParents", "DescribeAccount"] {
        let matching = Match { service: Some("organizations".to_owned()), ..calls(operation) };
        world.gateway().faults().clear();
        world.gateway().faults().add(Fault::new(matching, DENIED));
        let incident = world.one(&world.attack(&by_org)).await;
        assert_eq!((state(&incident), text(&incident, "/reason_code")), ("held", "organization-unreadable"), "{operation}: {incident:#}");
        assert_eq!((world.writes().len(), &world.state(&by_org).await), (0, &before[0]), "{operation}");
        world.cordon(&["incident", "close", &id(&incident), "--why", "the next case"], "").await;
    }
    world.gateway().faults().clear();
    world.gateway().faults().add(Fault::new(calls("DescribeSecurityGroups"), DENIED));
    let incident = world.one(&world.attack(&by_tag)).await;
    let close = step(&incident, "close-ingress");
    assert!(close["state"] == "held" && text(hold(&incident, "access-denied"), "/why").contains("DescribeSecurityGroups"), "{incident:#}");
    assert_eq!(world.state(&by_tag).await["groups"], before[1]["groups"]);
}

/// No record, no change: also where the disk gives up after the finding was taken in.
#[tokio::test]
async fn evidence_that_cannot_be_stored_in_the_middle_of_a_run_holds_and_changes_nothing() {
    let world = World::new().await;
    let instance = world.instance("web").await;
    let before = world.state(&instance).await;
    let (evidence, aside) = (world.settings.state_dir.join("evidence"), world.settings.state_dir.join("aside"));
    world.gateway().faults().add(Fault::new(calls("DescribeInstances"), Action::Delay { ms: 3_000 }));
    let attack = world.attack(&instance);
    let breaking = async {
        while world.gateway().ledger().find(|call| call.operation == "DescribeInstances").is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        std::fs::rename(&evidence, &aside).unwrap();
        std::fs::write(&evidence, "no folder").unwrap();
    };
    let (output, ()) = futures::join!(world.respond(&attack), breaking);
    assert_eq!(output.code, Some(0), "{output:?}");
    let incident = crate::respond::world::one(&output);
    assert_eq!((state(&incident), text(&incident, "/reason_code")), ("held", "evidence"), "{incident:#}");
    for name in ["record", "close-ingress", "block-source"] {
        assert_eq!(step(&incident, name)["state"], "held", "{name}: {incident:#}");
    }
    let why = text(step(&incident, "close-ingress"), "/reason");
    assert!(why.contains("`record`") && why.contains(&format!("cordon incident release {}`", id(&incident))), "{why}");
    assert_eq!((world.writes().len(), world.state(&instance).await), (0, before));

    world.gateway().faults().clear();
    std::fs::remove_file(&evidence).unwrap();
    std::fs::rename(&aside, &evidence).unwrap();
    let again = world.incident(&["incident", "release", &id(&incident)]).await;
    assert_eq!(state(&again), "contained", "{again:#}");
    assert!(!world.open(&instance, 22).await && world.blocked(&instance).await);
}

#[tokio::test]
async fn an_undo_of_a_key_step_never_reactivates_without_being_named_and_approved() {
    let world = World::new().await;
    let user = world.organization.user(&world.account, &UserShape { keys: 1, ..UserShape::default() }).await.unwrap();
    let stolen = Stolen { account: &world.account, access_key: user.key(0), principal: "AIDALAB", user_type: "IAMUser", user: &user.name };
    let incident = world.one(&world.event(&misuse(TOR, HOME, &stolen, ATTACKER))).await;
    assert_eq!(step(&incident, "deactivate-key")["state"], "applied", "{incident:#}");
    let run = id(&incident);
    let status = async || {
        let keys = world.hand(&world.account, "iam", "list_access_keys", json!({"UserName": user.name})).await;
        text(&keys, "/AccessKeyMetadata/0/Status").to_owned()
    };
    assert_eq!(status().await, "Inactive");
    // Of the whole incident, whoever says yes; of the step, while nobody does; and by whatever else looks at it again.
    let tries: [(&[&str], Option<i32>); 5] = [
        (&["incident", "undo", &run, "--yes"], None),
        (&["incident", "undo", &run, "--step", "deactivate-key"], Some(2)),
        (&["incident", "retry", &run], None),
        (&["incident", "release", &run], None),
        (&["incident", "close", &run, "--why", "a mistake of ours"], None),
    ];
    for (arguments, code) in tries {
        let output = world.cordon(arguments, "").await;
        assert!(code.is_none_or(|code| output.code == Some(code)), "{arguments:?}: {output:?}");
        assert_eq!(status().await, "Inactive", "{arguments:?}: {output:?}");
    }
    let undone = world.cordon(&["incident", "undo", &run, "--step", "deactivate-key", "--yes"], "").await;
    assert_eq!((undone.code, status().await.as_str()), (Some(0), "Active"), "{undone:?}");
}

/// No group on the way is open for a moment: nothing is permitted at all, and what is written into network ACLs denies.
#[tokio::test]
async fn no_call_of_a_containment_opens_anything() {
    let world = World::new().await;
    let instance = world.instance("web").await;
    let incident = world.one(&world.event(&brute_force(&instance, ATTACKER, Part::Actor))).await;
    assert_eq!(step(&incident, "isolate")["state"], "applied", "{incident:#}");
    let ledger = world.gateway().ledger();
    let permits = ledger.find(|call| call.operation.starts_with("AuthorizeSecurityGroup"));
    assert!(permits.is_empty(), "{permits:#?}");
    let entries = ledger.find(|call| call.operation.contains("NetworkAclEntry") && call.write);
    for entry in entries.iter().filter(|call| call.operation != "DeleteNetworkAclEntry") {
        assert_eq!(entry.params["RuleAction"], "deny", "{entry:#?}");
    }
    // What a new group lets out by itself is taken away before an interface comes into it.
    let number = |operation: &str, about: &str| {
        let found = ledger.find(|call| call.operation == operation && call.succeeded() && call.params.to_string().contains(about));
        found.first().map(|call| call.number)
    };
    let (emptied, moved) = (number("RevokeSecurityGroupEgress", ""), number("ModifyNetworkInterfaceAttribute", "sg-"));
    assert!(emptied.is_some() && emptied < moved, "{emptied:?} {moved:?}");
}

/// A subject of another account than the one that is named is refused before anything is asked there.
#[tokio::test]
async fn an_arn_of_another_account_than_the_sessions_is_refused_before_any_call() {
    let world = World::with(members(2, &[HOME]), |settings| settings).await;
    let other = world.organization.ordinary(1).unwrap().account.clone();
    let instance = world.instance("web").await;
    let foreign = instance.arn.replace(&world.account, &other);
    let mark = world.gateway().ledger().mark();
    let kind = "UnauthorizedAccess:EC2/SSHBruteForce";
    let of = ["--subject", &foreign, "--account", &world.account, "--region", HOME, "--why", "x"];
    let opened = [&["open", "--playbook", "ec2-brute-force", "--type", kind], &of[..]].concat();
    let output = world.cordon(&opened, "").await;
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(output.stderr.contains(&other), "{output:?}");
    // And one whose id is that of an instance of the other account: it is looked for in the account that the finding is of, and only there.
    let lone = world.organization.instance(&other, HOME, &cordon_lab::organization::InstanceShape::named("lone")).await.unwrap();
    let before = world.state(&lone).await;
    let mut native = brute_force(&lone, ATTACKER, Part::Target);
    native["accountId"] = json!(world.account);
    // Its own ARN still names the other account: it is not believed at all.
    let told = world.respond(&world.event(&native)).await;
    let rejected = told.objects().into_iter().find(|line| line["state"] == "rejected").unwrap_or_default();
    assert_eq!((told.code, &rejected["code"]), (Some(4), &json!("CDN-1017")), "{told:?}");
    native["arn"] = json!(text(&native, "/arn").replace(&other, &world.account));
    let told = world.respond(&world.event(&native)).await;
    let incident = crate::respond::world::one(&told);
    assert_eq!((told.code, state(&incident)), (Some(0), "closed"), "{incident:#}");
    for name in ["close-ingress", "block-source"] {
        let step = step(&incident, name);
        let nobody = format!("there is no instance {}", lone.id);
        assert_eq!((&step["state"], text(step, "/reason")), (&json!("skipped"), nobody.as_str()), "{name}: {incident:#}");
    }
    let of_other: Vec<_> = world.gateway().ledger().since(mark).into_iter().filter(|call| call.account == other).collect();
    assert!(of_other.is_empty() && world.state(&lone).await == before, "{of_other:#?}");
    assert_eq!(world.writes().len(), 0);
}

#[tokio::test]
async fn a_budget_of_zero_asks_and_without_a_yes_nothing_is_changed() {
    let world = World::with(members(1, &[HOME]), |mut settings| {
        settings.more = "\n[[budgets]]\nscope = \"account\"\nwindow = \"1h\"\nresources = 0\n".to_owned();
        settings
    })
    .await;
    let instance = world.instance("web").await;
    let before = world.state(&instance).await;
    let incident = world.one(&world.attack(&instance)).await;
    assert_eq!((state(&incident), text(&incident, "/reason_code")), ("waiting", "approval"), "{incident:#}");
    assert!(text(step(&incident, "close-ingress"), "/reason").contains("budget"), "{incident:#}");
    assert_eq!((world.writes().len(), world.state(&instance).await), (0, before));
    let report = world.cordon(&["incident", "report", &id(&incident)], "").await.stdout;
    assert!(report.contains("a person is asked"), "{report}");
    let granted = world.incident(&["approval", "grant", &id(&incident), "--step", "close-ingress", "--yes"]).await;
    assert_eq!(step(&granted, "close-ingress")["state"], "applied", "{granted:#}");
}

#[tokio::test]
async fn an_answer_to_an_incident_that_is_over_and_one_to_another_plan_change_nothing_and_are_remembered() {
    let world = World::with(members(1, &[HOME]), |mut settings| {
        settings.mode = "ask".to_owned();
        settings
    })
    .await;
    let (instance, other) = (world.instance("web").await, world.instance("other").await);
    let before = [world.state(&instance).await, world.state(&other).await];
    let events = format!("{}\n{}\n", world.attack(&instance), world.attack(&other));
    let output = world.respond(&events).await;
    let (over, open) = (id(&of_instance(&output, &instance)), id(&of_instance(&output, &other)));
    let closed = world.cordon(&["incident", "close", &over, "--why", "our own scanner"], "").await;
    assert_eq!(closed.code, Some(0), "{closed:?}");
    let shown = world.incident(&["incident", "show", &over]).await;
    assert_eq!(shown["holds"], json!([]), "nothing is asked of anybody any more: {shown:#}");
    assert_eq!(world.turned_away().await, Vec::<Value>::new());

    let digest = "0".repeat(64);
    let cases: [(&[&str], &str, &str, &str); 5] = [
        (&["approval", "grant", &over, "--step", "close-ingress", "--yes"], "asks nothing", "command-line", &over),
        (&["approval", "deny", &over, "--step", "close-ingress", "--why", "no"], "asks nothing", "command-line", &over),
        (&["approval", "grant", &open, "--step", "close-ingress", "--digest", &digest, "--yes"], "the plan of", "request", &open),
        (&["incident", "close", &over, "--why", "twice"], "closed already", "request", &over),
        (&["incident", "release", &open, "--step", "close-ingress"], "nothing is held", "request", &open),
    ];
    for (number, (arguments, said, door, run)) in cases.into_iter().enumerate() {
        let output = world.cordon(arguments, "").await;
        assert!(output.code == Some(2) && output.stderr.contains(said), "{arguments:?}: {output:?}");
        let away = world.turned_away().await;
        assert_eq!(away.len(), number + 1, "{arguments:?}: {away:#?}");
        assert_eq!(text(&away[0], "/door"), door, "{away:#?}");
        assert!(text(&away[0], "/what").contains(run) && text(&away[0], "/why").contains(said), "{away:#?}");
        // Who asks something of the process that drives is proven; nobody else is.
        let who = text(&away[0], "/who");
        assert!(if door == "request" { who == "Lab Operator" } else { who.contains('@') }, "{away:#?}");
    }
    assert_eq!((world.writes().len(), [world.state(&instance).await, world.state(&other).await]), (0, before));
}
