//! A finding that comes again and says something new.

use std::net::IpAddr;

use cordon_lab::organization::finding::{Part, brute_force};
use serde_json::{Value, json};

use super::world::{ATTACKER, HOME, World, id, state, step, steps, text};

const SECOND: &str = "203.0.113.66";

/// A later version of a finding.
fn later(native: &Value) -> Value {
    let mut later = native.clone();
    let at = text(native, "/updatedAt").parse::<jiff::Timestamp>().unwrap();
    later["updatedAt"] = json!(format!("{:.3}", at.checked_add(jiff::SignedDuration::from_secs(240)).unwrap()));
    later["service"]["count"] = json!(60);
    later
}

#[tokio::test]
async fn a_new_source_of_the_same_finding_is_blocked_beside_the_first() {
    let world = World::new().await;
    let instance = world.instance("web").await;
    let native = brute_force(&instance, ATTACKER, Part::Target);
    let first = world.one(&world.event(&native)).await;
    let mut second = later(&native);
    second["service"]["action"]["networkConnectionAction"]["remoteIpDetails"]["ipAddressV4"] = json!(SECOND);
    let joined = world.one(&world.event(&second)).await;
    assert_eq!((id(&joined), state(&joined)), (id(&first), "contained"), "{joined:#}");
    assert_eq!(
        (&step(&joined, "block-source")["state"], &step(&joined, "block-source#2")["state"]),
        (&json!("applied"), &json!("applied"))
    );
    assert!(joined["duplicate_of"].is_null(), "{joined:#}");
    for source in [ATTACKER, SECOND] {
        let passage = world.organization.passes(&instance, source.parse().unwrap(), 22).await.unwrap();
        assert!(!passage.inward && !passage.outward, "{source}: {passage:?}");
    }
    // An undo takes both away, the later one first.
    let entries = world.organization.entries(&instance.account, HOME, &instance.acl).await.unwrap();
    let numbers = |source: &str| -> Vec<String> {
        let of = entries.iter().filter(|entry| entry["CidrBlock"] == format!("{source}/32"));
        of.map(|entry| format!("{} {}", entry["RuleNumber"], entry["Egress"])).collect()
    };
    let (of_first, of_second) = (numbers(ATTACKER), numbers(SECOND));
    assert_eq!((of_first.len(), of_second.len()), (2, 2), "{entries:#?}");
    let mark = world.gateway().ledger().mark();
    let undone = world.incident(&["incident", "undo", &id(&first), "--yes"]).await;
    assert_eq!((&step(&undone, "block-source")["state"], &step(&undone, "block-source#2")["state"]), (&json!("undone"), &json!("undone")));
    for source in [ATTACKER, SECOND] {
        let passage = world.organization.passes(&instance, source.parse().unwrap(), 22).await.unwrap();
        assert!(passage.inward && passage.outward, "{source}: {passage:?}");
    }
    let calls = world.gateway().ledger().since(mark);
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let deleted: Vec<String> = calls
        .iter()
        .filter(|call| call.operation == "DeleteNetworkAclEntry" && call.succeeded())
        .map(|call| format!("{} {}", plain(&call.params["RuleNumber"]), plain(&call.params["Egress"])))
        .collect();
    assert_eq!(deleted.len(), 4, "{deleted:?}");
    assert!(deleted[..2].iter().all(|entry| of_second.contains(entry)), "of {SECOND}: {of_second:?}, deleted: {deleted:?}");
    assert!(deleted[2..].iter().all(|entry| of_first.contains(entry)), "of {ATTACKER}: {of_first:?}, deleted: {deleted:?}");
}

#[tokio::test]
async fn a_target_that_begins_to_attack_is_contained_and_what_was_closed_stays_closed() {
    let world = World::new().await;
    let instance = world.instance("web").await;
    let native = brute_force(&instance, ATTACKER, Part::Target);
    let first = world.one(&world.event(&native)).await;
    let mut actor = later(&brute_force(&instance, ATTACKER, Part::Actor));
    for name in ["id", "arn"] {
        actor[name] = native[name].clone();
    }
    let turned = world.one(&world.event(&actor)).await;
    assert_eq!((id(&turned), state(&turned)), (id(&first), "contained"), "{turned:#}");
    assert_eq!(step(&turned, "isolate")["state"], "applied", "{turned:#}");
    let kept = steps(&turned);
    assert!(kept.contains(&("close-ingress", "applied")) && kept.contains(&("block-source", "applied")), "{turned:#}");
    assert!(!world.open(&instance, 22).await);
}

#[tokio::test]
async fn an_attacker_with_an_ipv6_address_is_blocked_by_it() {
    let world = World::new().await;
    let instance = world.instance("web").await;
    let mut native = brute_force(&instance, ATTACKER, Part::Target);
    native["service"]["action"]["networkConnectionAction"]["remoteIpDetails"] = json!({"ipAddressV6": "2a00:1450:4001::7"});
    let incident = world.one(&world.event(&native)).await;
    assert_eq!((state(&incident), &step(&incident, "block-source")["state"]), ("contained", &json!("applied")), "{incident:#}");
    let look = async |address: &str| world.organization.passes(&instance, address.parse::<IpAddr>().unwrap(), 22).await.unwrap();
    let (attacker, neighbour, other) = (look("2a00:1450:4001::7").await, look("2a00:1450:4001::8").await, look(ATTACKER).await);
    assert!(!attacker.inward && !attacker.outward && neighbour.inward && neighbour.outward && other.inward, "{attacker:?} {neighbour:?}");
    let entries = world.organization.entries(&instance.account, HOME, &instance.acl).await.unwrap();
    assert!(entries.iter().any(|entry| entry["Ipv6CidrBlock"] == "2a00:1450:4001::7/128"), "{entries:?}");
}
