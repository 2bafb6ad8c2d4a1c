use cordon_shared::id::CellId;

use super::{
    apply::judge,
    state::{INLINE, Kind, inline_document, managed},
    *,
};
use crate::{
    actions::iam::look::{ACTIVE, Credential, User},
    permission::write_policies,
};

const SINCE: &str = "2026-11-24T08:00:00Z";

fn held(kind: Kind, id: &str, status: &str, made: &str) -> Held {
    let made = Some(made.parse().unwrap());
    Held { kind, credential: Credential { id: id.to_owned(), status: status.to_owned(), made }, service: None }
}

fn before() -> Before {
    let old = "2025-01-01T00:00:00Z";
    Before {
        user: "alice".to_owned(),
        arn: "arn:aws:iam::111122223333:user/ops/alice".to_owned(),
        since: SINCE.parse().unwrap(),
        held: vec![
            held(Kind::AccessKey, "AKIA1", ACTIVE, old),
            held(Kind::AccessKey, "AKIA2", ACTIVE, "2026-11-24T09:00:00Z"),
            held(Kind::Certificate, "CERT", ACTIVE, old),
            held(Kind::Ssh, "APKA", INACTIVE, old),
        ],
        login: Some(Login { made: Some(old.parse().unwrap()), reset_required: false }),
        devices: vec![
            Device { serial: "theirs".to_owned(), enabled: Some("2026-11-24T08:30:00Z".parse().unwrap()) },
            Device { serial: "own".to_owned(), enabled: Some(old.parse().unwrap()) },
        ],
        denial: Deny::Planned(Denial::Managed),
        inline: None,
        quarantine: vec![],
    }
}

/// The user as it is after the change.
fn after(before: &Before) -> State {
    let mut held = before.held.clone();
    held.iter_mut().for_each(|held| held.credential.status = INACTIVE.to_owned());
    State {
        user: User { name: before.user.clone(), arn: before.arn.clone(), tags: look::Tags::new() },
        held,
        login: None,
        devices: before.devices.iter().filter(|device| device.serial == "own").cloned().collect(),
        attached: vec![managed("aws")],
        inline: None,
    }
}

fn verdict(before: &Before, change: impl FnOnce(&mut State)) -> Verdict {
    let mut state = after(before);
    change(&mut state);
    judge(before, "aws", Some(&state))
}

#[test]
fn the_plan_names_each_credential_and_the_device_of_the_window() {
    let mut plan = Planned::default();
    changes(&before(), &mut plan);
    let named = |list: &[Difference]| list.iter().map(|change| change.attribute.clone()).collect::<Vec<_>>();
    assert_eq!(
        named(&plan.changes),
        [DENY, "access key AKIA1", "access key AKIA2", "signing certificate CERT", LOGIN, "MFA device theirs"]
    );
    assert_eq!(named(&plan.already), ["SSH public key APKA"]);
    assert_eq!(plan.resources().len(), 1);
    let notes = notes::notes(&before(), 0).join("\n");
    for part in [
        "access key AKIA2 was made at 2026-11-24T09:00:00Z, in the window",
        "password for the console: it is deleted",
        "MFA device theirs was added at 2026-11-24T08:30:00Z, in the window",
        "MFA device own was added at 2025-01-01T00:00:00Z, before the window: it stays",
        "roles that alice assumed live on",
    ] {
        assert!(notes.contains(part), "{part}: {notes}");
    }
    assert!(!notes.contains("AKIA1"));
}

#[test]
fn what_is_half_done_is_not_in_effect_and_what_others_did_is_drift() {
    let all = before();
    assert_eq!(verdict(&all, |_| {}), Verdict::InEffect);
    let half: [fn(&mut State); 4] = [
        |state| state.attached.clear(),
        |state| state.held[0].credential.status = ACTIVE.to_owned(),
        |state| state.login = before().login,
        |state| state.devices = before().devices,
    ];
    for change in half {
        assert!(matches!(verdict(&all, change), Verdict::NotInEffect { .. }));
    }
    let theirs: [fn(&mut State); 6] = [
        |state| drop(state.held.remove(0)),
        |state| state.held.push(held(Kind::AccessKey, "AKIA3", ACTIVE, "2026-11-24T10:00:00Z")),
        |state| state.held[3].credential.status = ACTIVE.to_owned(),
        |state| state.login = Some(Login { made: Some("2026-11-24T10:00:00Z".parse().unwrap()), reset_required: false }),
        |state| state.devices = vec![Device { serial: "theirs".to_owned(), enabled: Some("2026-11-24T10:00:00Z".parse().unwrap()) }],
        |state| (state.attached, state.inline) = (vec![], Some(json!({ "Statement": [] }))),
    ];
    for change in theirs {
        assert!(matches!(verdict(&all, change), Verdict::Drifted { .. }));
    }
    assert!(matches!(judge(&all, "aws", None), Verdict::Drifted { .. }));
    // Either policy denies everything.
    assert_eq!(verdict(&all, |state| (state.attached, state.inline) = (vec![], Some(inline_document()))), Verdict::InEffect);
    let full = Before { denial: Deny::NoRoom, ..before() };
    assert_eq!(verdict(&full, |state| state.attached.clear()), Verdict::InEffect);
}

#[test]
fn a_user_without_room_for_a_policy_is_said_to_have_none() {
    let inline = Before { denial: Deny::Planned(Denial::Inline), ..before() };
    assert!(notes::notes(&inline, 10).join("\n").contains(&format!("10 managed policies and takes no more: an inline policy {INLINE}")));
    let full = Before { denial: Deny::NoRoom, ..before() };
    assert!(notes::notes(&full, 10).join("\n").contains("nothing can deny it everything"));
    let mut plan = Planned::default();
    changes(&full, &mut plan);
    assert!(plan.changes.iter().chain(&plan.already).all(|change| change.attribute != DENY));
}

#[test]
fn the_write_session_names_the_user_and_attaches_nothing_but_the_denial() {
    let cell = CellId::new("111122223333".parse().unwrap(), "eu-west-1".parse().unwrap());
    let with = Params { user: "alice".to_owned(), since: None };
    let mut longest = before();
    longest.arn = format!("arn:aws:iam::111122223333:user/{}/{}", "p".repeat(510), "n".repeat(64));
    for before in [before(), longest] {
        let scopes = write_policies(ContainUser::WRITES, &cell, &ContainUser.bind(&with, &before)).unwrap();
        assert_eq!(scopes.len(), 1);
        let policy: Value = serde_json::from_str(&scopes[0].policy).unwrap();
        for statement in policy["Statement"].as_array().unwrap() {
            assert_eq!(statement["Resource"], before.arn);
            if statement["Action"].to_string().contains("AttachUserPolicy") {
                let only = json!({ "ArnEquals": { "iam:PolicyARN": "arn:aws:iam::aws:policy/AWSDenyAll" } });
                assert_eq!(statement["Condition"], only);
            }
        }
    }
}

#[test]
fn what_is_no_users_name_is_none() {
    for name in ["alice", "a.b+c=d,e@f-g_h"] {
        assert!(is_name(name), "{name}");
    }
    for name in ["", "a b", "<root_account>", "role/x", "ü"] {
        assert!(!is_name(name), "{name}");
    }
}
