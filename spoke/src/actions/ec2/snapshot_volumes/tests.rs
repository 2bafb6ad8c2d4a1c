use cordon_shared::id::{CellId, IncidentId};
use serde_json::json;

use super::*;
use crate::permission::write_policy;

fn with(value: Value) -> Result<Params, String> {
    let with: Params = serde_json::from_value(value).map_err(|error| error.to_string())?;
    check(&with).map_err(|error| error.to_string())?;
    Ok(with)
}

#[test]
fn a_lock_is_thirty_days_where_nobody_says_otherwise_and_never_over_a_hundred_years() {
    assert_eq!(with(json!({ "instance": "i-1" })).unwrap().lock_days, 30);
    assert_eq!(with(json!({ "instance": "i-1", "lock_days": 0 })).unwrap().lock_days, 0);
    assert!(with(json!({ "instance": "i-1", "lock_days": 36_501 })).unwrap_err().contains("36500"));
    assert!(with(json!({ "instance": "i-1", "lock": 3 })).is_err());
}

#[test]
fn the_write_session_takes_snapshots_of_its_instance_and_locks_its_incidents_alone() {
    let cell = CellId::new("111122223333".parse().unwrap(), "eu-west-1".parse().unwrap());
    let run = IncidentId::from_u128(7).to_string();
    let before = Before { run: run.clone(), planned_at: "2026-11-24T12:00:00Z".parse().unwrap(), root_device: None, volumes: Vec::new() };
    let with = with(json!({ "instance": "i-0abc" })).unwrap();
    let text = write_policy(SnapshotVolumes::WRITES, &cell, &SnapshotVolumes.bind(&with, &before)).unwrap();
    assert!(text.contains("instance/i-0abc") && !text.contains("instance/*"), "{text}");
    let policy: Value = serde_json::from_str(&text).unwrap();
    let lock = policy["Statement"].as_array().unwrap().iter().find(|one| one["Action"] == json!("ec2:LockSnapshot")).unwrap();
    assert_eq!(lock["Condition"], json!({ "StringLike": { "aws:ResourceTag/cordon:run": run } }));
}
