//! `kill -9` in the middle of a change, and the same command again: it ends as if nothing had happened.

use std::{collections::BTreeSet, time::Duration};

use cordon_lab::{
    gateway::{Action, Call, Fault, Match},
    organization::Instance,
};
use serde_json::Value;

use super::world::{HOME, World, incidents, members, of, state, steps};

const LONG: Duration = Duration::from_secs(60);

/// A world in which a call that has not been answered is given up soon.
async fn hasty() -> World {
    World::with(members(1, &[HOME]), |mut settings| {
        settings.attempt_timeout = "2s".to_owned();
        settings
    })
    .await
}

/// When it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// The call has had no effect.
    Before,
    /// It has had its effect, and the connection was cut instead of an answer.
    Cut,
    /// It has had its effect, and the answer is on its way.
    After,
}

/// What the calls about an instance did to it, one by one, in words without ids.
fn effects(world: &World, instance: &Instance, when: When) -> BTreeSet<String> {
    let names = instance.groups.iter().chain([&instance.acl]).enumerate().map(|(number, id)| (id.as_str(), format!("resource {number}")));
    let names: Vec<(&str, String)> = names.collect();
    let about = |call: &Call| names.iter().any(|(id, _)| call.params.to_string().contains(id));
    let calls = world.gateway().ledger().find(|call| call.write && about(call));
    let done = |call: &Call| match call.fault.as_deref() {
        Some("hang") => when == When::After,
        Some("drop-after") => true,
        _ => call.succeeded(),
    };
    let mut effects = BTreeSet::new();
    for call in calls.iter().filter(|call| done(call)) {
        let field = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
        let which = ["GroupId", "NetworkAclId"].iter().find_map(|name| call.params.get(*name)?.as_str()).unwrap_or_default();
        let which = names.iter().find(|(id, _)| *id == which).map(|(_, name)| name.clone()).unwrap_or_default();
        let permissions = call.params["IpPermissions"].as_array().cloned().unwrap_or_default();
        for permission in &permissions {
            let ports = format!("{} {}-{}", field(permission, "IpProtocol"), field(permission, "FromPort"), field(permission, "ToPort"));
            for (list, name) in [("IpRanges", "CidrIp"), ("Ipv6Ranges", "CidrIpv6")] {
                for range in permission[list].as_array().into_iter().flatten() {
                    effects.insert(format!("{} {which} {ports} {}", call.operation, field(range, name)));
                }
            }
        }
        if permissions.is_empty() {
            let entry =
                ["RuleNumber", "Egress", "CidrBlock", "Ipv6CidrBlock", "RuleAction", "Protocol"].map(|name| field(&call.params, name));
            effects.insert(format!("{} {which} {}", call.operation, entry.join(" ")));
        }
    }
    effects
}

/// Does by hand what a call asked for: the form's texts become boto3's numbers and truth values.
async fn have_its_effect(world: &World, call: &Call) {
    fn typed(name: &str, value: &Value) -> Value {
        match (name, value) {
            ("FromPort" | "ToPort" | "From" | "To" | "RuleNumber", Value::String(text)) => text.parse::<i64>().unwrap().into(),
            ("Egress", Value::String(text)) => (text == "true").into(),
            (_, Value::Array(items)) => items.iter().map(|item| typed("", item)).collect(),
            (_, Value::Object(map)) => map.iter().map(|(name, item)| (name.clone(), typed(name, item))).collect(),
            (_, other) => other.clone(),
        }
    }
    let mut params = typed("", &call.params);
    let fields = params.as_object_mut().unwrap();
    fields.retain(|name, _| !matches!(name.as_str(), "Action" | "Version"));
    if let Some(tags) = fields.remove("TagSpecification") {
        fields.insert("TagSpecifications".to_owned(), tags);
    }
    let words =
        call.operation.char_indices().flat_map(|(at, letter)| (letter.is_uppercase() && at > 0).then_some('_').into_iter().chain([letter]));
    let operation = words.collect::<String>().to_lowercase();
    world.hand(&call.account, "ec2", &operation, params).await;
}

/// Kills `cordon respond` when a call about the instance is under way, and starts it again.
async fn killed_in(world: &World, instance: &Instance, operation: &str, when: When) -> Value {
    let folder = world.folder.path().join(&instance.name);
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("event.json");
    std::fs::write(&file, world.attack(instance)).unwrap();
    let settings = cordon_lab::Settings { state_dir: folder.join("state"), ..world.settings.clone() };
    let mut cordon = world.cordon.clone();
    cordon.config = folder.join("cordon.toml");
    let cordon = cordon.configured(&world.organization.config_toml(&settings)).unwrap();
    let command = ["respond", file.to_str().unwrap(), "--format", "json"];

    let resource = if operation == "CreateNetworkAclEntry" { &instance.acl } else { &instance.groups[1] };
    let about = Match { operation: Some(operation.to_owned()), param: Some(resource.clone()), ..Match::default() };
    let action = if when == When::Cut { Action::DropAfter } else { Action::Hang };
    world.gateway().faults().add(Fault::new(about, action).times(1));
    let mut running = cordon.spawn(&command).unwrap();
    let reached = async {
        loop {
            let about = |call: &Call| call.operation == operation && call.params.to_string().contains(resource.as_str());
            let calls = world.gateway().ledger().find(|call| call.fault.is_some() && about(call));
            // A connection is cut only when the call has had its effect.
            if let Some(call) = calls.into_iter().next().filter(|call| when != When::Cut || call.took_ms.is_some()) {
                return call;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let reached = tokio::time::timeout(LONG, reached).await;
    let call = reached.unwrap_or_else(|_| panic!("{operation} was never called: {}", running.log()));
    if when == When::After {
        have_its_effect(world, &call).await;
    }
    running.kill();
    assert_eq!(running.wait(LONG).await, Some(137), "{operation}: it was killed in the middle");

    let output = cordon.run(&command, "").await.unwrap();
    super::world::assert_no_panic(&output);
    assert_eq!(output.code, Some(0), "{operation}: {output:?}");
    let audit = cordon.run(&["audit", "verify"], "").await.unwrap();
    assert_eq!(audit.code, Some(0), "{operation}: {audit:?}");
    // What is said last counts.
    incidents(&output).pop().unwrap()
}

/// Each operation that changes something, killed before its effect and after it; each against one that nobody disturbed.
#[tokio::test]
async fn a_response_that_was_killed_in_the_middle_of_a_change_ends_as_if_nothing_had_happened() {
    let world = hasty().await;
    let twin = world.instance("twin").await;
    let undisturbed = world.one(&world.attack(&twin)).await;
    assert_eq!(state(&undisturbed), "contained", "{undisturbed:#}");
    let (expected, effect) = (world.state(&twin).await, effects(&world, &twin, When::Before));
    assert!(effect.len() >= 8, "{effect:?}");

    let cases: Vec<(&str, When)> = ["AuthorizeSecurityGroupIngress", "RevokeSecurityGroupIngress", "CreateNetworkAclEntry"]
        .into_iter()
        .flat_map(|operation| [When::Before, When::Cut, When::After].map(|when| (operation, when)))
        .collect();
    let world = &world;
    let case = async |number: usize, operation: &str, when: When| {
        let what = format!("{operation}, killed {when:?}");
        let instance = world.instance(&format!("killed-{number}")).await;
        let incident = killed_in(world, &instance, operation, when).await;
        assert_eq!((state(&incident), steps(&incident)), ("contained", steps(&undisturbed)), "{what}: {incident:#}");
        assert_eq!(world.state(&instance).await, expected, "{what}");
        assert_eq!(effects(world, &instance, when), effect, "{what}");
    };
    let case = &case;
    futures::future::join_all(cases.into_iter().enumerate().map(|(number, (operation, when))| case(number, operation, when))).await;
}

/// Interrupted as a person does it: calls under way are finished, exit code 130, and the same command goes on.
#[tokio::test]
async fn an_interrupted_response_says_so_and_goes_on() {
    let world = hasty().await;
    let instance = world.instance("web").await;
    let file = world.folder.path().join("event.json");
    std::fs::write(&file, world.attack(&instance)).unwrap();
    let command = ["respond", file.to_str().unwrap(), "--format", "json"];
    let about = Match { operation: Some("RevokeSecurityGroupIngress".to_owned()), ..Match::default() };
    world.gateway().faults().add(Fault::new(about, Action::Delay { ms: 1_000 }).times(1));
    let mut running = world.cordon.spawn(&command).unwrap();
    let reached = async {
        while world.gateway().faults().list()[0].done == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, reached).await.unwrap_or_else(|_| panic!("{}", running.log()));
    running.interrupt();
    assert_eq!(running.wait(LONG).await, Some(130), "{}", running.log());
    assert!(running.log().contains("interrupted"), "{}", running.log());
    let output = world.cordon(&command, "").await;
    assert_eq!((output.code, state(&of(&output, &instance))), (Some(0), "contained"), "{output:?}");
    assert!(!world.open(&instance, 22).await && world.blocked(&instance).await);
    let revoked: Vec<_> = world.gateway().ledger().of_operation("ec2", "RevokeSecurityGroupIngress");
    assert!(revoked.iter().all(Call::succeeded), "the call under way was finished: {revoked:?}");
}

/// Two on one state directory: the second says who drives, and does nothing.
#[tokio::test]
async fn a_second_process_on_one_state_directory_refuses_and_the_first_goes_on() {
    let world = hasty().await;
    let (instance, other) = futures::join!(world.instance("web"), world.instance("other"));
    let file = world.folder.path().join("event.json");
    std::fs::write(&file, world.attack(&instance)).unwrap();
    let about = Match { operation: Some("RevokeSecurityGroupIngress".to_owned()), ..Match::default() };
    world.gateway().faults().add(Fault::new(about, Action::Delay { ms: 1_500 }).times(1));
    let mut running = world.cordon.spawn(&["respond", file.to_str().unwrap(), "--format", "json"]).unwrap();
    let reached = async {
        while world.gateway().faults().list()[0].done == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, reached).await.unwrap_or_else(|_| panic!("{}", running.log()));
    let second = world.respond(&world.attack(&other)).await;
    assert!(second.code == Some(2) && second.stdout.is_empty(), "{second:?}");
    assert!(second.stderr.contains("respond") && second.stderr.contains(&running.pid().to_string()), "{second:?}");
    assert_eq!(running.wait(LONG).await, Some(0), "{}", running.log());
    assert!(!world.open(&instance, 22).await && world.open(&other, 22).await);
    // The next one drives.
    assert_eq!(state(&world.one(&world.attack(&other)).await), "contained");
}
