use serde_json::json;

use super::{
    copies::{Copying, Source, WRITES, description, key},
    *,
};
use crate::{
    action::Undo,
    aws::fake::World,
    permission::{SESSION_POLICY_LIMIT, write_policies, write_policy},
};
use cordon_shared::plan::Verdict;

const AT: &str = "2026-11-24T12:00:00Z";
const KEY: &str = "arn:aws:kms:eu-west-1:222222222222:key/5e3a1f0c-3f3b-4d0e-9a39-0d1c0e9b7a11";

fn snapshot(id: &str, volume: &str, state: &str) -> Snapshot {
    Snapshot {
        id: id.to_owned(),
        volume: volume.to_owned(),
        state: state.to_owned(),
        message: String::new(),
        started: Some(AT.parse().unwrap()),
        owner: "111122223333".to_owned(),
        size_gib: 8,
        encrypted: false,
        kms_key: None,
        description: String::new(),
        tags: Tags::new(),
    }
}

fn made(of: &[(&str, Option<Snapshot>)], locked: &[(&str, i32)]) -> Made {
    Made {
        of: of.iter().map(|(source, one)| ((*source).to_owned(), one.clone())).collect(),
        locks: locked
            .iter()
            .map(|(id, days)| ((*id).to_owned(), Lock { state: "governance".to_owned(), days: Some(*days), until: None }))
            .collect(),
    }
}

#[test]
fn a_snapshot_of_another_account_or_from_before_the_plan_is_none_of_ours() {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let one = snapshot("snap-1", "vol-1", "pending");
    assert!(made_since(&one, "111122223333", at("2026-11-24T11:59:00Z")));
    // Clocks are apart, by less than what AWS's signatures stand.
    assert!(made_since(&one, "111122223333", at("2026-11-24T12:04:00Z")));
    assert!(!made_since(&one, "111122223333", at("2026-11-24T12:06:00Z")));
    assert!(!made_since(&one, "999999999999", at("2026-11-24T11:59:00Z")));
    assert!(!made_since(&Snapshot { started: None, ..one }, "111122223333", at("2026-11-24T11:59:00Z")));
}

#[test]
fn an_incidents_id_says_when_it_began() {
    let at: Timestamp = AT.parse().unwrap();
    assert_eq!(began(IncidentId::new(u64::try_from(at.as_millisecond()).unwrap())), at);
}

#[test]
fn what_is_missing_was_never_made_or_was_deleted() {
    let (one, two) = (Some(snapshot("snap-1", "vol-1", "completed")), Some(snapshot("snap-2", "vol-2", "pending")));
    let none = made(&[("vol-1", None), ("vol-2", None)], &[]);
    assert!(matches!(none.verdict(30, true), Verdict::NotInEffect { .. }));
    assert_eq!(none.undo(30, true), Undo::Restored(vec![]));

    let half = made(&[("vol-1", one.clone()), ("vol-2", None)], &[]);
    // One call makes all or none; many calls may have been broken off.
    assert!(matches!(half.verdict(30, true), Verdict::Drifted { .. }));
    assert!(matches!(half.verdict(30, false), Verdict::NotInEffect { .. }));
    assert_eq!(half.undo(30, false), Undo::Restored(vec![]));
    let after_a_lock = made(&[("vol-1", one.clone()), ("vol-2", None)], &[("snap-1", 30)]);
    assert!(matches!(after_a_lock.verdict(30, false), Verdict::Drifted { .. }));
    assert!(matches!(after_a_lock.undo(30, false), Undo::ByHand(steps) if steps.len() == 1));

    let all = [("vol-1", one), ("vol-2", two)];
    assert!(matches!(made(&all, &[("snap-1", 30)]).verdict(30, true), Verdict::NotInEffect { .. }));
    assert_eq!(made(&all, &[("snap-1", 30), ("snap-2", 31)]).verdict(30, true), Verdict::InEffect);
    assert_eq!(made(&all, &[]).verdict(0, true), Verdict::InEffect);
    assert!(!made(&all, &[]).all_completed());
}

#[test]
fn a_lock_that_was_shortened_and_a_snapshot_that_failed_are_told() {
    let one = [("vol-1", Some(snapshot("snap-1", "vol-1", "completed")))];
    let weak = made(&one, &[("snap-1", 1)]);
    assert!(matches!(weak.verdict(30, true), Verdict::Drifted { .. }));
    assert!(matches!(weak.undo(30, true), Undo::ByHand(_)));
    let failed = made(&[("vol-1", Some(snapshot("snap-1", "vol-1", "error")))], &[]);
    let Verdict::NotInEffect { detail } = failed.verdict(30, true) else { panic!() };
    assert_eq!(detail, "snap-1 of vol-1 failed");
}

#[test]
fn a_snapshot_of_hours_is_not_asked_after_every_few_seconds() {
    let at: Timestamp = AT.parse().unwrap();
    let after = |seconds: i64| wait(at, at.checked_add(SignedDuration::from_secs(seconds)).unwrap()).as_secs();
    assert_eq!([after(0), after(40), after(7200)], [5, 10, 60]);
    assert_eq!(wait(at.checked_add(SignedDuration::from_secs(9)).unwrap(), at).as_secs(), 5);
}

fn copying(count: usize) -> Copying {
    let source = |n: usize| Source {
        of: format!("snap-0123456789abcd{n:03}"),
        id: format!("snap-0123456789abcd{n:03}"),
        kms_key: Some("arn:aws:kms:eu-west-1:111122223333:key/aaaaaaaa-3f3b-4d0e-9a39-0d1c0e9b7a11".to_owned()),
        encrypted: true,
    };
    Copying {
        run: IncidentId::from_u128(1).to_string(),
        planned_at: AT.parse().unwrap(),
        key: KEY.to_owned(),
        sources: (0..count).map(source).collect(),
    }
}

#[test]
fn a_session_that_copies_reads_its_sources_with_their_keys_and_no_other() {
    let cell = cordon_shared::id::CellId::new("111122223333".parse().unwrap(), "eu-west-1".parse().unwrap());
    let text = write_policy(WRITES, &cell, &copying(1).bind()).unwrap();
    let policy: serde_json::Value = serde_json::from_str(&text).unwrap();
    let allowed = |action: &str| {
        let named = |one: &&serde_json::Value| one["Action"].to_string().contains(action);
        policy["Statement"].as_array().unwrap().iter().filter(named).cloned().collect::<Vec<_>>()
    };
    let copies = allowed("ec2:CopySnapshot");
    assert_eq!(copies.len(), 2);
    for one in copies {
        let named = one["Resource"] == json!("arn:aws:ec2:eu-west-1::snapshot/snap-0123456789abcd000");
        assert!(named || one["Condition"]["StringLike"]["aws:RequestTag/cordon:run"].is_string(), "{one}");
    }
    let keys = allowed("kms:CreateGrant");
    assert_eq!(keys[0]["Resource"].as_array().unwrap().len(), 2);
    assert_eq!(keys[0]["Condition"], json!({ "StringLike": { "kms:ViaService": "ec2.eu-west-1.amazonaws.com*" } }));
    let many = write_policies(WRITES, &cell, &copying(30).bind()).unwrap();
    assert!(many.len() > 1 && many.iter().all(|scope| scope.policy.chars().count() <= SESSION_POLICY_LIMIT));
}

#[tokio::test]
async fn without_a_key_of_the_security_account_snapshots_stay_where_they_are() {
    let mut world = World::new(|_, _| (200, json!({}))).await;
    let ids = ["snap-1".to_owned()];
    assert!(key(world.cx(), &ids).unwrap_err().contains("copy_key"));
    world.copy_key = Some(KEY.to_owned());
    assert_eq!(key(world.cx(), &ids), Ok(KEY));
    assert!(key(world.cx(), &[]).is_err());
}

#[tokio::test]
async fn the_address_of_a_copy_is_signed_and_names_the_source() {
    let world = World::new(|_, _| (200, json!({}))).await;
    let address = world.clients.copy_snapshot_address("snap-1", AT.parse().unwrap()).await.unwrap();
    for part in [
        "https://ec2.us-east-1.amazonaws.com/?Action=CopySnapshot&Version=2016-11-15",
        "&SourceRegion=us-east-1&SourceSnapshotId=snap-1&DestinationRegion=us-east-1",
        "&X-Amz-Date=20261124T120000Z",
        "&X-Amz-Expires=900",
        "&X-Amz-Signature=",
    ] {
        assert!(address.contains(part), "{part}: {address}");
    }
}

#[test]
fn a_copy_is_described_by_its_incident_and_its_source() {
    assert_eq!(description("inc-1", "snap-1"), "Cordon inc-1: copy of snap-1");
}
