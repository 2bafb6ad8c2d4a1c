use cordon_shared::id::CellId;

use super::*;
use crate::permission::write_policy;

fn before(path: &str) -> Before {
    Before {
        user: "alice".to_owned(),
        arn: format!("arn:aws:iam::111122223333:user{path}alice"),
        key: Credential { id: "AKIAIOSFODNN7EXAMPLE".to_owned(), status: ACTIVE.to_owned(), made: None },
        others: vec!["AKIAI44QH8DHBEXAMPLE".to_owned()],
        quarantine: vec!["AWSCompromisedKeyQuarantineV3".to_owned()],
    }
}

fn with(key: &str, user: Option<&str>) -> Params {
    Params { key: key.to_owned(), user: user.map(str::to_owned) }
}

#[test]
fn a_write_session_is_for_the_one_user_with_its_path() {
    let cell = CellId::new("111122223333".parse().unwrap(), "eu-west-1".parse().unwrap());
    let policy = |path: &str| {
        let bindings = DeactivateAccessKey.bind(&with("AKIAIOSFODNN7EXAMPLE", None), &before(path));
        write_policy(DeactivateAccessKey::WRITES, &cell, &bindings).unwrap()
    };
    assert!(policy("/ops/team/").contains("\"arn:aws:iam::111122223333:user/ops/team/alice\""));
    // A path may hold what is a wildcard in a policy.
    assert!(policy("/*/").contains("\"arn:aws:iam::111122223333:user/${*}/alice\""));
}

#[test]
fn what_is_no_key_id_is_refused_before_aws_is_asked() {
    for key in ["", "AKIA", "AKIAIOSFODNN7EXAMPL E", "AKIAIOSFODNN7EXAMPLE;", "root"] {
        assert!(matches!(check(&with(key, None)), Err(ActionError::Params(_))), "{key}");
    }
    assert!(check(&with("AKIAIOSFODNN7EXAMPLE", None)).is_ok());
}

#[test]
fn notes_name_the_other_key_the_last_use_and_the_quarantine() {
    let used = LastUsed {
        user: Some("alice".to_owned()),
        at: Some("2026-11-24T08:00:00Z".parse().unwrap()),
        service: "s3".to_owned(),
        region: "us-east-1".to_owned(),
    };
    let mut plan = Planned::default();
    notes(&with("AKIAIOSFODNN7EXAMPLE", Some("bob")), &before("/"), Some(&used), &mut plan);
    let text = plan.notes.join("\n");
    for part in [
        "said to be of bob; IAM says that it is alice's",
        "last used at 2026-11-24T08:00:00Z, for s3 in us-east-1",
        "another active access key, AKIAI44QH8DHBEXAMPLE",
        "AWSCompromisedKeyQuarantineV3 on alice",
        "live on until they expire",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
