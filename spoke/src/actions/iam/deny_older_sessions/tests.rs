//! What the policy says, how it is read, and who is never touched.

use super::{
    policy::{Found, Standing, console_document, cutoff, document, read, size, standing},
    shared::{NotLooked, SharedWith, counted},
    *,
};

const INSTANCE: &str = "i-0123456789abcdef0";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn instance() -> Scope {
    Scope::Instance(INSTANCE.to_owned())
}

fn ours(text: &str, replaced: Option<&str>) -> Found {
    Found::Ours { cutoff: at(text), replaced: replaced.map(str::to_owned) }
}

fn console(text: &str) -> Found {
    Found::Console { cutoff: at(text), date: text.to_owned() }
}

#[test]
fn the_policy_denies_one_instances_older_sessions_and_nothing_else() {
    let policy = document(&instance(), at("2026-11-24T12:00:01Z"), None);
    let wanted = json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Deny", "Action": ["*"], "Resource": ["*"], "Condition": {
            "StringLike": { "aws:userid": "*:i-0123456789abcdef0" }, "DateLessThan": { "aws:TokenIssueTime": "2026-11-24T12:00:01Z" } } }] });
    assert_eq!(policy, wanted);
    assert_eq!(instance().policy_name(), "CordonRevoke-i-0123456789abcdef0");
    // Another session name, another policy; and the same one always.
    let session = |name: &str| Scope::Session(name.to_owned()).policy_name();
    assert_eq!(session("deploy@host"), session("deploy@host"));
    assert_ne!(session("deploy@host"), session("deploy@hosT"));
}

#[test]
fn what_was_written_is_read_as_ours_whatever_its_cut_off() {
    for scope in [instance(), Scope::Session("deploy".to_owned()), Scope::Role] {
        for date in ["2026-11-24T12:00:01Z", "2020-01-01T00:00:00Z"] {
            let text = document(&scope, at(date), None).to_string();
            assert_eq!(read(&scope, Some(&text)), ours(date, None), "{text}");
        }
        assert_eq!(read(&scope, None), Found::None);
    }
    // Of another instance it is not ours.
    let text = document(&instance(), at("2026-11-24T12:00:01Z"), None).to_string();
    assert_eq!(read(&Scope::Instance("i-0aaaaaaaaaaaaaaaa".to_owned()), Some(&text)), Found::Foreign);
}

#[test]
fn the_consoles_own_revocation_is_known_and_comes_back_with_its_date() {
    for date in ["2024-10-10T09:43:48.085Z", "2024-10-10T09:43:48Z"] {
        let text = console_document(date).to_string();
        assert_eq!(read(&Scope::Role, Some(&text)), console(date));
        // As older versions of the console, and AWS's documentation, write it.
        let single = json!({ "Version": "2012-10-17", "Statement": { "Effect": "Deny", "Action": "*", "Resource": "*",
            "Condition": { "DateLessThan": { "aws:TokenIssueTime": date } } } });
        assert_eq!(read(&Scope::Role, Some(&single.to_string())), console(date));
        // Whoever moves it again knows what was there before the first.
        let first = document(&Scope::Role, at("2026-11-24T12:00:01Z"), Some(date));
        let found = read(&Scope::Role, Some(&first.to_string()));
        assert_eq!(found, ours("2026-11-24T12:00:01Z", Some(date)));
        let second = document(&Scope::Role, at("2026-11-24T12:20:00Z"), found.replaced().as_deref());
        assert_eq!(read(&Scope::Role, Some(&second.to_string())), ours("2026-11-24T12:20:00Z", Some(date)));
    }
}

#[test]
fn a_policy_that_says_anything_else_is_somebody_elses() {
    let good = console_document("2024-10-10T09:43:48.085Z");
    let with = |pointer: &str, name: &str, value: Value| {
        let mut policy = good.clone();
        policy.pointer_mut(pointer).unwrap().as_object_mut().unwrap().insert(name.to_owned(), value);
        policy.to_string()
    };
    let two = json!([good["Statement"][0], good["Statement"][0]]);
    for text in [
        with("", "Id", json!("x")),
        with("", "Version", json!("2008-10-17")),
        with("", "Statement", two),
        with("", "Statement", json!([])),
        with("/Statement/0", "Effect", json!("Allow")),
        with("/Statement/0", "Action", json!(["s3:*"])),
        with("/Statement/0", "Action", json!(["*", "s3:*"])),
        with("/Statement/0", "Resource", json!("arn:aws:s3:::bucket")),
        with("/Statement/0", "NotPrincipal", json!("*")),
        with("/Statement/0", "Sid", json!("Mine")),
        with("/Statement/0", "Sid", json!("CordonRevokeInsteadOfYesterday")),
        with("/Statement/0/Condition", "StringLike", json!({ "aws:userid": "*:i-0123456789abcdef0" })),
        with("/Statement/0/Condition", "DateLessThan", json!({ "aws:CurrentTime": "2024-10-10T09:43:48Z" })),
        with("/Statement/0/Condition/DateLessThan", "aws:TokenIssueTime", json!("yesterday")),
        with("/Statement/0/Condition/DateLessThan", "aws:TokenIssueTime", json!("2024-10-10T09:43:48+02:00")),
        with("/Statement/0/Condition/DateLessThan", "aws:TokenIssueTime", json!(["2024-10-10T09:43:48Z", "2025-10-10T09:43:48Z"])),
        "not JSON".to_owned(),
        "[]".to_owned(),
    ] {
        assert_eq!(read(&Scope::Role, Some(&text)), Found::Foreign, "{text}");
    }
    // Under the narrow name, what the console writes is not ours.
    assert_eq!(read(&instance(), Some(&good.to_string())), Found::Foreign);
}

#[test]
fn a_later_cut_off_is_enough_and_nobodys_revocation_is_overwritten() {
    let planned = at("2026-11-24T12:00:00Z");
    let (older, later) = ("2026-11-24T11:00:00Z", "2026-11-24T12:05:00Z");
    for (now, at_plan, wanted) in [
        (Found::None, Found::None, Standing::Free),
        (Found::None, ours(older, None), Standing::Free),
        (ours(older, None), ours(older, None), Standing::Free),
        (ours("2026-11-24T12:00:00Z", None), Found::None, Standing::InEffect),
        (ours(later, None), Found::None, Standing::InEffect),
        (console(later), Found::None, Standing::InEffect),
        (console(older), console(older), Standing::Free),
        (console(older), Found::None, Standing::Theirs),
        (Found::Foreign, Found::None, Standing::Theirs),
    ] {
        assert_eq!(standing(&now, planned, &at_plan), wanted, "{now:?} {at_plan:?}");
    }
}

#[test]
fn the_cut_off_is_the_next_whole_second() {
    assert_eq!(cutoff(at("2026-11-24T12:00:00Z")), at("2026-11-24T12:00:00Z"));
    assert_eq!(cutoff(at("2026-11-24T12:00:00.001Z")), at("2026-11-24T12:00:01Z"));
}

#[test]
fn white_space_takes_no_room() {
    assert_eq!(size("{ \"a\" :\n\t[ 1 ] }"), size("{\"a\":[1]}"));
}

#[test]
fn parameters_name_exactly_one_kind_of_sessions() {
    let params = |value: Value| scope(&serde_json::from_value(value).unwrap()).map_err(|error| error.to_string());
    assert_eq!(params(json!({ "instance": INSTANCE })), Ok(instance()));
    assert_eq!(params(json!({ "role": "web", "session": "deploy@host" })), Ok(Scope::Session("deploy@host".to_owned())));
    // The session of an instance is called after it.
    assert_eq!(params(json!({ "role": "web", "session": INSTANCE })), Ok(instance()));
    assert_eq!(params(json!({ "role": "web", "wide": true })), Ok(Scope::Role));
    for bad in [
        json!({}),
        json!({ "role": "web" }),
        json!({ "wide": true }),
        json!({ "session": "deploy" }),
        json!({ "role": "web", "instance": INSTANCE, "wide": true }),
        json!({ "role": "web", "session": "deploy", "wide": true }),
        json!({ "role": "web", "instance": INSTANCE, "session": "deploy" }),
        json!({ "instance": "web" }),
        json!({ "role": "web", "session": "*" }),
        json!({ "role": "web", "session": "a b" }),
    ] {
        assert!(params(bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn service_linked_identity_center_and_protected_roles_are_never_touched() {
    let protected = ["CordonSpoke".to_owned(), "ops/break-glass".to_owned()];
    let arn = |name: &str| format!("arn:aws:iam::111122223333:role/{name}");
    for name in ["AWSServiceRoleForSupport", "AWSReservedSSO_Admin_0123456789abcdef", "CordonSpoke", "break-glass", "Break-Glass"] {
        assert!(refused(name, &arn(name), &protected).is_some(), "{name}");
    }
    assert!(refused("odd", &arn("aws-service-role/odd.amazonaws.com/odd"), &protected).is_some());
    assert!(refused("odd", &arn("aws-reserved/sso.amazonaws.com/odd"), &protected).is_some());
    assert_eq!(refused("web", &arn("app/web"), &protected), None);
}

#[test]
fn the_question_counts_all_and_names_ten() {
    let instances: BTreeSet<String> = (0..12).map(|n| format!("arn:aws:ec2:eu-west-1:111122223333:instance/i-{n:02}")).collect();
    assert_eq!(counted("instance", &BTreeSet::new(), 10), "no instances");
    assert!(counted("instance", &instances, 10).starts_with("12 instances (i-00 in eu-west-1, "));
    assert!(counted("instance", &instances, 10).ends_with("i-09 in eu-west-1 and 2 more)"));
    let role = Role {
        name: "web".to_owned(),
        arn: "arn:aws:iam::111122223333:role/app/web".to_owned(),
        tags: vec![],
        services: ["ec2.amazonaws.com".to_owned()].into(),
        others: ["arn:aws:iam::444455556666:root".to_owned()].into(),
    };
    assert_eq!(role.path_name(), "app/web");
    let unread = vec![NotLooked { region: "us-east-1".to_owned(), why: "denied".to_owned() }];
    let shared = SharedWith { instances, functions: BTreeSet::new(), services: role.services.clone(), not_looked_in: unread };
    let question = shared.question(&role);
    for part in ["role web", "12 instances", "2 more", "no Lambda functions", "1 service (ec2.amazonaws.com)", "us-east-1 (denied)"] {
        assert!(question.contains(part), "{part}: {question}");
    }
    let notes = shared.notes(&role).join("\n");
    for part in ["i-11 in eu-west-1)", "arn:aws:iam::444455556666:root", "us-east-1 (denied)"] {
        assert!(notes.contains(part), "{part}: {notes}");
    }
}
