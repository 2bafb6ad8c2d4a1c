//! What was changed is looked at again, and what somebody changed back is told.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail as tests do")]

use std::time::{Duration, Instant};

use cordon_lab::{
    MovedClock, Settings,
    organization::finding::{Part, brute_force},
};
use serde_json::json;

use crate::{
    clock::earlier,
    respond::world::{ATTACKER, HOME, World, hold, id, members, state, step, text},
};

/// One change, and nothing that waits.
const CLOSE: &str = r#"
name = "ec2-brute-force"
title = "Only closing"
subject = "instance"
looks = LOOKS
[[match]]
type = [{ prefix = "UnauthorizedAccess:EC2/" }]
[[steps]]
id = "close-ingress"
action = "ec2.close-open-ingress"
phase = "contain"
with = { instance = "${subject.id}", ports = [22] }
"#;

async fn world(looks: &str) -> World {
    let poll_every = "1h".to_owned();
    World::with_playbook("ec2-brute-force", &CLOSE.replace("LOOKS", looks), |settings| Settings { poll_every, ..settings }).await
}

/// Waits until the report of a run has these words.
async fn until(world: &World, run: &str, words: &str, running: &mut cordon_lab::cordon::Running) {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let report = world.cordon(&["incident", "report", run], "").await;
        if report.stdout.contains(words) {
            return;
        }
        assert!(Instant::now() < end && running.is_running(), "{words}: {}\n{}", report.stdout, running.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn what_was_closed_is_looked_at_again_and_a_change_that_somebody_reverted_is_told_with_who_owns_it() {
    let world = world(r#"["3s", "20s"]"#).await;
    let instance = world.instance("web").await;
    // Two groups let the port in; one of them is somebody's whose tag says so.
    let group = instance.groups[0].clone();
    let tags = json!({"Resources": [group], "Tags": [{"Key": "ManagedBy", "Value": "terraform"}]});
    world.hand(&instance.account, "ec2", "create_tags", tags).await;
    let rules = world.organization.ingress(&instance.account, HOME, &group).await.unwrap();
    assert!(world.open(&instance, 22).await, "{rules:?}");
    let done = world.one(&world.attack(&instance)).await;
    // Nobody waits for a look.
    assert_eq!(state(&done), "closed", "{done:#}");
    let (run, ended) = (id(&done), done["ended_at"].clone());

    let mut running = world.cordon.spawn(&["serve"]).unwrap();
    until(&world, &run, "looked at again after 3s: still in effect", &mut running).await;
    let shown = world.incident(&["incident", "show", &run]).await;
    assert_eq!((state(&shown), &shown["ended_at"]), ("closed", &ended), "{shown:#}");
    // It is not open any more, and is not listed so.
    let open = world.cordon(&["incident", "list", "--open", "--format", "json"], "").await;
    assert!(open.code == Some(0) && !open.stdout.contains(&run), "{open:?}");

    let rule = json!({"GroupId": group, "IpPermissions": [
        {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    ]});
    world.hand(&instance.account, "ec2", "authorize_security_group_ingress", rule).await;
    let mark = world.gateway().ledger().mark();
    until(&world, &run, "looked at again after 20s: reverted", &mut running).await;
    let shown = world.incident(&["incident", "show", &run]).await;
    assert_eq!((state(&shown), text(&shown, "/reason_code")), ("held", "reverted"), "{shown:#}");
    let reverted = hold(&shown, "reverted");
    assert_eq!(text(reverted, "/release"), format!("cordon incident retry {run} --step close-ingress"));
    for words in [format!("security-group/{group}"), "managed by Terraform (tag `ManagedBy`)".to_owned(), format!("incident close {run}")] {
        assert!(text(reverted, "/why").contains(&words), "{words}: {reverted:#}");
    }
    // Cordon only reads, and does nothing of it by itself.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let changing: Vec<_> = world.gateway().ledger().since(mark).into_iter().filter(|call| call.write).collect();
    // What the hand does goes past the gateway.
    assert!(changing.is_empty() && world.open(&instance, 22).await, "{changing:?}");
    running.terminate();
    assert_eq!(running.wait(Duration::from_secs(20)).await, Some(0), "{}", running.log());

    // A person says so: planned anew, through the gate.
    let again = world.incident(&["incident", "retry", &run, "--step", "close-ingress"]).await;
    assert_eq!((state(&again), &step(&again, "close-ingress#2")["state"]), ("closed", &json!("applied")), "{again:#}");
    assert!(!world.open(&instance, 22).await);
    let report = world.cordon(&["incident", "report", &run], "").await;
    assert!(report.stdout.contains("gate said yes") && report.stdout.contains("reverted:"), "{report:?}");
    assert_eq!(world.cordon(&["audit", "verify"], "").await.code, Some(0));
}

/// AWS alone sets the tags of a stack: the group is made by one, with its port open, and comes back so.
#[tokio::test]
async fn what_somebody_reverted_in_a_group_of_a_cloudformation_stack_is_told_with_the_stack() {
    let world = world(r#"["3s"]"#).await;
    let instance = world.instance("web").await;
    let ssh = json!({"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "CidrIp": "0.0.0.0/0"});
    let template = json!({"AWSTemplateFormatVersion": "2010-09-09", "Resources": {"Ssh": {
        "Type": "AWS::EC2::SecurityGroup",
        "Properties": {"GroupDescription": "of a stack", "VpcId": instance.vpc, "SecurityGroupIngress": [ssh]},
    }}});
    let stack = format!("bastion-{}", instance.id);
    let account = &instance.account;
    world.hand(account, "cloudformation", "create_stack", json!({"StackName": stack, "TemplateBody": template.to_string()})).await;
    let made = world.hand(account, "cloudformation", "describe_stack_resources", json!({"StackName": stack})).await;
    let group = text(&made, "/StackResources/0/PhysicalResourceId").to_owned();
    let into = json!({"NetworkInterfaceId": instance.interfaces[0], "Groups": [group]});
    world.hand(account, "ec2", "modify_network_interface_attribute", into).await;
    let done = world.one(&world.attack(&instance)).await;
    assert_eq!(state(&done), "closed", "{done:#}");
    let run = id(&done);
    let rules = async || world.organization.ingress(account, HOME, &group).await.unwrap();
    assert!(!cordon_lab::organization::look::open_to_world(&rules().await, 22));

    let rule = json!({"GroupId": group, "IpPermissions": [
        {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    ]});
    world.hand(account, "ec2", "authorize_security_group_ingress", rule).await;
    let mut running = world.cordon.spawn(&["serve"]).unwrap();
    until(&world, &run, "looked at again after 3s: reverted", &mut running).await;
    let shown = world.incident(&["incident", "show", &run]).await;
    let why = text(hold(&shown, "reverted"), "/why");
    let by = format!(
        "security-group/{group} is managed by the CloudFormation stack {stack} (arn:aws:cloudformation:{HOME}:{account}:stack/{stack}/"
    );
    assert!(why.contains(&by) && why.contains("(tag `aws:cloudformation:stack-name`)"), "{why}");
    running.terminate();
    assert_eq!(running.wait(Duration::from_secs(20)).await, Some(0), "{}", running.log());
}

#[tokio::test]
async fn a_finding_does_not_join_an_incident_that_is_closed_but_still_looked_at() {
    let world = world(r#"["1h", "24h"]"#).await;
    let instance = world.instance("web").await;
    let first = world.one(&world.attack(&instance)).await;
    assert_eq!(state(&first), "closed", "{first:#}");
    let rule = json!({"GroupId": instance.groups[0], "IpPermissions": [
        {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    ]});
    world.hand(&instance.account, "ec2", "authorize_security_group_ingress", rule).await;
    let second = world.one(&world.attack(&instance)).await;
    assert_ne!(id(&second), id(&first));
    assert_eq!((state(&second), &step(&second, "close-ingress")["state"]), ("closed", &json!("applied")), "{second:#}");
    assert!(!world.open(&instance, 22).await, "it contains anew");
    // Each may be undone, in any order.
    let undone = world.incident(&["incident", "undo", &id(&second), "--step", "close-ingress", "--yes"]).await;
    assert_eq!(state(&undone), "undone", "{undone:#}");
}

/// Of the playbook as it is shipped, at its own times.
#[tokio::test]
async fn an_hour_later_all_is_well_and_a_day_later_what_somebody_reverted_is_told_with_who_manages_it() {
    const HOUR: i64 = 3_600;
    let mut world = World::with(members(1, &[HOME]), |settings| Settings { poll_every: "1h".to_owned(), ..settings }).await;
    let clock = MovedClock::new().unwrap();
    world.cordon = clock.on(&world.cordon);
    // Each program is started at its time: a clock that jumps ends the lease of whoever drives.
    clock.set(-24 * HOUR - 120).unwrap();
    let instance = world.instance("web").await;
    let group = instance.groups[0].clone();
    let tags = json!({"Resources": [group], "Tags": [{"Key": "ManagedBy", "Value": "terraform"}]});
    world.hand(&instance.account, "ec2", "create_tags", tags).await;
    let finding = earlier(&brute_force(&instance, ATTACKER, Part::Target), 24 * HOUR + 120);
    let done = world.one(&world.event(&finding)).await;
    assert_eq!(step(&done, "close-ingress")["state"], "applied", "{done:#}");
    let run = id(&done);
    let reported = async || world.cordon(&["incident", "report", &run], "").await.stdout;
    assert!(!reported().await.contains("looked at again"));

    clock.set(-23 * HOUR).unwrap();
    let mut running = world.cordon.spawn(&["serve"]).unwrap();
    until(&world, &run, "looked at again after 1h: still in effect", &mut running).await;
    running.terminate();
    assert_eq!(running.wait(Duration::from_secs(20)).await, Some(0), "{}", running.log());
    let hour = reported().await;
    assert!(!hour.contains("after 24h") && !hour.contains("reverted"), "{hour}");

    let rule = json!({"GroupId": group, "IpPermissions": [
        {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    ]});
    world.hand(&instance.account, "ec2", "authorize_security_group_ingress", rule).await;
    clock.set(0).unwrap();
    let mut running = world.cordon.spawn(&["serve"]).unwrap();
    until(&world, &run, "looked at again after 24h: reverted", &mut running).await;
    running.terminate();
    assert_eq!(running.wait(Duration::from_secs(20)).await, Some(0), "{}", running.log());
    let shown = world.incident(&["incident", "show", &run]).await;
    let reverted = hold(&shown, "reverted");
    for words in [format!("security-group/{group}"), "managed by Terraform (tag `ManagedBy`)".to_owned()] {
        assert!(text(reverted, "/why").contains(&words), "{words}: {reverted:#}");
    }
    assert!(world.open(&instance, 22).await, "it is told, and not changed again");
    assert_eq!(world.cordon(&["audit", "verify"], "").await.code, Some(0));
}
