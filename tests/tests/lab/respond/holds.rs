//! What is not done, and says so: held for a person, or skipped for a reason.

use cordon_lab::{
    Shape, Standing, accounts,
    gateway::{Action, Fault, Match},
    organization::{
        Instance, InstanceShape,
        finding::{Part, brute_force},
    },
};
use serde_json::json;

use super::world::{ATTACKER, AWAY, HOME, World, hold, id, members, of, state, step, text};

#[tokio::test]
async fn a_known_source_is_recorded_and_not_acted_on() {
    let world = World::with(Shape::small(), |mut settings| {
        let until = jiff::Timestamp::now().checked_add(jiff::SignedDuration::from_hours(24 * 30)).unwrap().strftime("%Y-%m-%d").to_string();
        settings.more = format!("\n[[known]]\ncidr = \"198.51.100.0/24\"\nuntil = \"{until}\"\nwhy = \"quarterly penetration test\"\n");
        settings
    })
    .await;
    let instance = world.instance("web").await;
    let before = world.state(&instance).await;
    let incident = world.one(&world.attack(&instance)).await;
    assert_eq!(step(&incident, "record")["state"], "done", "{incident:#}");
    for name in ["close-ingress", "block-source"] {
        let step = step(&incident, name);
        assert!(step["state"] == "skipped" && text(step, "/reason").contains("known source"), "{incident:#}");
    }
    assert_eq!((world.writes().len(), world.state(&instance).await), (0, before));
    // Somebody else beside the known one is no known source.
    let other = world.event(&brute_force(&instance, "203.0.113.9", Part::Target));
    world.one(&other).await;
    assert!(!world.open(&instance, 22).await);
}

/// Two groups and an ACL are three resources; a second instance would be six.
#[tokio::test]
async fn what_goes_over_the_cap_is_held_until_the_cap_is_raised() {
    let mut world = World::with(members(1, &[HOME]), |mut settings| {
        settings.caps = (3, 100);
        settings
    })
    .await;
    let (one, two) = futures::join!(world.instance("one"), world.instance("two"));
    let first = world.one(&world.attack(&one)).await;
    assert_eq!(state(&first), "contained", "{first:#}");
    let before = world.state(&two).await;
    let second = world.one(&world.attack(&two)).await;
    assert_eq!((state(&second), text(&second, "/reason_code")), ("held", "cap-spent"), "{second:#}");
    let why = text(hold(&second, "cap-spent"), "/why");
    assert!(why.contains(&world.account) && why.contains("changes_per_account_hour"), "{why}");
    assert_eq!(world.state(&two).await, before);
    // A release looks again: nothing has changed, then the cap has.
    let again = world.incident(&["incident", "release", &id(&second)]).await;
    assert_eq!((state(&again), world.state(&two).await), ("held", before), "{again:#}");
    world.set(|settings| settings.caps = (10, 100));
    let raised = world.incident(&["incident", "release", &id(&second)]).await;
    assert_eq!(state(&raised), "contained", "{raised:#}");
    assert!(!world.open(&two, 22).await && world.blocked(&two).await);
}

#[tokio::test]
async fn other_regions_and_strange_accounts_are_held_without_a_call_to_them() {
    let world = World::new().await;
    let instance = world.instance("web").await;
    let stranger = Instance { account: accounts::fresh(), ..instance.clone() };
    let stranger = Instance { arn: stranger.arn.replace(&instance.account, &stranger.account), ..stranger };
    let elsewhere = Instance { region: AWAY.to_owned(), arn: instance.arn.replace(HOME, AWAY), ..instance.clone() };
    let events = format!("{}\n{}\n", world.attack(&stranger), world.attack(&elsewhere));
    let output = world.respond(&events).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    for (instance, code, name) in
        [(&stranger, "outside-organization", stranger.account.as_str()), (&elsewhere, "region-not-configured", AWAY)]
    {
        let incident = of(&output, instance);
        assert_eq!((state(&incident), text(&incident, "/reason_code")), ("held", code), "{incident:#}");
        assert!(text(hold(&incident, code), "/why").contains(name), "{incident:#}");
        assert!(text(hold(&incident, code), "/release").contains(&id(&incident)), "{incident:#}");
    }
    let ledger = world.gateway().ledger();
    let to_stranger =
        ledger.find(|call| call.account == stranger.account || call.params.to_string().contains(&format!("{}:role", stranger.account)));
    let to_elsewhere = ledger.find(|call| call.region == AWAY);
    assert!(to_stranger.is_empty() && to_elsewhere.is_empty(), "{to_stranger:?} {to_elsewhere:?}");
}

#[tokio::test]
async fn a_suspended_account_is_held() {
    let world = World::with(members(2, &[HOME]), |settings| settings).await;
    let organization = &world.organization;
    let gone = organization.ordinary(1).unwrap().account.clone();
    let instance = organization.instance(&gone, HOME, &InstanceShape::named("web")).await.unwrap();
    let before = world.state(&instance).await;
    world.hand(&organization.management, "organizations", "close_account", json!({"AccountId": gone})).await;
    let incident = world.one(&world.attack(&instance)).await;
    assert_eq!((state(&incident), text(&incident, "/reason_code")), ("held", "account-not-active"), "{incident:#}");
    assert!(text(hold(&incident, "account-not-active"), "/why").contains("SUSPENDED"), "{incident:#}");
    assert!(world.state(&instance).await == before && world.gateway().ledger().of_account(&gone).is_empty());
}

#[tokio::test]
async fn an_account_without_the_spoke_role_is_held_and_says_what_to_deploy() {
    let world = World::with(Shape { members: 2, without_role: true, ..Shape::small() }, |settings| settings).await;
    let organization = &world.organization;
    let account = organization.member(Standing::WithoutRole).unwrap().account.clone();
    let instance = organization.instance(&account, HOME, &InstanceShape::named("legacy")).await.unwrap();
    let before = world.state(&instance).await;
    let event = world.attack(&instance);
    let incident = world.one(&event).await;
    assert_eq!((state(&incident), text(&incident, "/reason_code")), ("held", "role-missing"), "{incident:#}");
    let why = text(hold(&incident, "role-missing"), "/why");
    assert!(why.contains("CordonSpoke") && why.contains(&account), "{why}");
    assert_eq!((world.writes().len(), world.state(&instance).await), (0, before));
    // Deployed and released, it goes on.
    organization.add_spoke(&account).await.unwrap();
    world.gateway().forget_roles();
    let released = world.incident(&["incident", "release", &id(&incident)]).await;
    assert_eq!(state(&released), "contained", "{released:#}");
    assert!(!world.open(&instance, 22).await && world.blocked(&instance).await);
}

#[tokio::test]
async fn a_terminated_instance_is_left_alone_with_the_reason() {
    let world = World::new().await;
    let instance = world.instance("web").await;
    world.hand(&world.account, "ec2", "terminate_instances", json!({"InstanceIds": [instance.id]})).await;
    let incident = world.one(&world.attack(&instance)).await;
    for name in ["close-ingress", "block-source"] {
        let step = step(&incident, name);
        assert!(step["state"] == "skipped" && text(step, "/reason").contains("terminated"), "{incident:#}");
    }
    assert!(world.writes().is_empty() && incident["holds"].as_array().unwrap().is_empty(), "{incident:#}");
}

#[tokio::test]
async fn no_log_that_would_show_a_login_is_told_apart_from_no_login() {
    let world = World::new().await;
    let (silent, searched) = futures::join!(world.instance("silent"), world.instance("searched"));
    let incident = world.one(&world.attack(&silent)).await;
    let outcome = &step(&incident, "find-logins")["outcome"];
    assert_eq!((text(outcome, "/verdict"), &outcome["lines_read"]), ("no-log-source", &json!(0)), "{incident:#}");
    assert!(outcome["looked_at"].to_string().contains("/var/log/secure"), "{outcome:#}");
    assert_eq!(state(&incident), "contained", "{incident:#}");
    let report = world.cordon(&["incident", "report", &id(&incident)], "").await.stdout;
    assert!(report.contains("/var/log/secure"), "{report}");

    // A group that is there and has no streams says as little, and it is said.
    let empty = world.instance("empty").await;
    world.hand(&world.account, "logs", "create_log_group", json!({"logGroupName": "/var/log/secure"})).await;
    let incident = world.one(&world.attack(&empty)).await;
    assert_eq!(text(step(&incident, "find-logins"), "/outcome/verdict"), "no-log-source", "{incident:#}");
    let report = world.cordon(&["incident", "report", &id(&incident)], "").await.stdout;
    assert!(report.contains("the log group has no streams"), "{report}");

    world.organization.log_attack(&searched, ATTACKER, None).await.unwrap();
    // Whoever tries to log in chooses the name: it forges no address and no success.
    let forged = "Failed password for invalid user x from 1.2.3.4 port 22 ssh2 from 198.51.100.7 port 40022 ssh2".to_owned();
    world.organization.log(&searched, &[(300, forged)]).await.unwrap();
    let incident = world.one(&world.attack(&searched)).await;
    assert_eq!(text(step(&incident, "find-logins"), "/outcome/verdict"), "none", "{incident:#}");
    let report = world.cordon(&["incident", "report", &id(&incident)], "").await.stdout;
    assert!(report.contains("No login of the attacker was found") && !report.contains("1.2.3.4"), "{report}");
}

#[tokio::test]
async fn an_instance_whose_part_is_unknown_is_recorded_and_held() {
    let world = World::new().await;
    let instance = world.instance("worker").await;
    let before = world.state(&instance).await;
    let mut native = brute_force(&instance, ATTACKER, Part::Target);
    native["service"].as_object_mut().unwrap().remove("resourceRole");
    let incident = world.one(&world.event(&native)).await;
    assert_eq!((state(&incident), text(&incident, "/reason_code")), ("held", "playbook"), "{incident:#}");
    for (id, state) in [("record", "done"), ("close-ingress", "skipped"), ("block-source", "skipped"), ("isolate", "skipped")] {
        assert_eq!(step(&incident, id)["state"], state, "{incident:#}");
    }
    assert_eq!(step(&incident, "role-unknown")["state"], "held", "{incident:#}");
    assert!(incident["evidence"].as_array().unwrap().len() > 1, "{incident:#}");
    assert_eq!((world.writes().len(), world.state(&instance).await), (0, before));
}

/// Who blocks its own way out cuts off itself.
#[tokio::test]
async fn an_address_of_the_organizations_own_and_a_private_one_are_never_blocked() {
    let world = World::new().await;
    let made = world.hand(&world.account, "ec2", "allocate_address", json!({"Domain": "vpc"})).await;
    let own = text(&made, "/PublicIp").to_owned();
    let (by_own, by_private) = futures::join!(world.instance("by-own"), world.instance("by-private"));
    let before = [world.state(&by_own).await, world.state(&by_private).await];
    let cases = [(&by_own, own.as_str()), (&by_private, "10.77.0.9")];
    let events: Vec<String> = cases.iter().map(|(instance, from)| world.event(&brute_force(instance, from, Part::Target))).collect();
    let output = world.respond(&events.join("\n")).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    for ((instance, from), before) in cases.into_iter().zip(before) {
        let incident = of(&output, instance);
        let block = step(&incident, "block-source");
        assert!(block["state"] == "skipped" && text(block, "/reason").contains(from), "{block:#}");
        assert_eq!(step(&incident, "close-ingress")["state"], "applied", "{incident:#}");
        assert!(world.state(instance).await["acl"] == before["acl"] && !world.open(instance, 22).await);
    }
}

/// A service control policy, or an old role: the change is refused by AWS.
#[tokio::test]
async fn a_change_that_aws_refuses_is_held_and_a_release_does_it() {
    let world = World::new().await;
    let instance = world.instance("web").await;
    let before = world.state(&instance).await;
    for operation in ["AuthorizeSecurityGroupIngress", "RevokeSecurityGroupIngress"] {
        let matching = Match { operation: Some(operation.to_owned()), ..Match::default() };
        world.gateway().faults().add(Fault::new(matching, Action::Deny { code: None, status: None }));
    }
    let incident = world.one(&world.attack(&instance)).await;
    assert_eq!((state(&incident), text(&incident, "/reason_code")), ("held", "access-denied"), "{incident:#}");
    let why = text(hold(&incident, "access-denied"), "/why");
    assert!(why.contains("SecurityGroupIngress") && why.contains("cordon infra render"), "{why}");
    assert_eq!(world.state(&instance).await["groups"], before["groups"]);
    // The source is blocked all the same: it does not wait for what failed.
    assert!(world.blocked(&instance).await);

    world.gateway().faults().clear();
    let again = world.incident(&["incident", "release", &id(&incident)]).await;
    assert_eq!((state(&again), &step(&again, "close-ingress")["state"]), ("contained", &json!("applied")), "{again:#}");
    assert!(!world.open(&instance, 22).await);
}

/// The narrower rules are made, and then the wide one may not be revoked.
#[tokio::test]
async fn a_change_that_aws_refuses_half_way_is_for_a_person_and_its_undo_puts_back_what_was_done() {
    let world = World::new().await;
    let instance = world.instance("web").await;
    let before = world.state(&instance).await;
    let second =
        Match { operation: Some("RevokeSecurityGroupIngress".to_owned()), param: Some(instance.groups[1].clone()), ..Match::default() };
    world.gateway().faults().add(Fault::new(second, Action::Deny { code: None, status: None }).times(1));
    let output = world.respond(&world.attack(&instance)).await;
    let incident = super::world::one(&output);
    assert_eq!((output.code, state(&incident), text(&incident, "/reason_code")), (Some(3), "stuck", "unknown-effect"), "{incident:#}");
    assert_ne!(world.state(&instance).await["groups"], before["groups"]);
    let stuck = hold(&incident, "unknown-effect");
    assert!(text(stuck, "/why").contains("in part") && text(stuck, "/release").contains("undo"), "{stuck:#}");
    let undone = world.cordon(&["incident", "undo", &id(&incident), "--step", "close-ingress", "--yes"], "").await;
    assert_eq!(undone.code, Some(0), "{undone:?}");
    assert_eq!(world.state(&instance).await["groups"], before["groups"]);
}
