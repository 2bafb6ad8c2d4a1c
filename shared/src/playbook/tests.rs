use proptest::prelude::*;
use serde_json::json;

use super::*;

mod errors;
mod foresee;
mod step_errors;
mod step_terms;

const BRUTE_FORCE: &str = include_str!("../../../hub/playbooks/ec2-brute-force.toml");
const OPEN_PORT: &str = include_str!("../../../hub/playbooks/open-admin-port.toml");

const HEAD: &str = "name = \"p\"\ntitle = \"T\"\nsubject = \"instance\"\n[[match]]\ntype = [\"x\"]\n";

fn parse(text: &str) -> Playbook {
    Playbook::parse(text, "p.toml").unwrap_or_else(|errors| panic!("{}", shown(&errors)))
}

/// A playbook with these steps after a head of five lines.
fn steps(text: &str) -> Playbook {
    parse(&format!("{HEAD}{text}"))
}

fn shown(errors: &[PlaybookError]) -> String {
    errors.iter().map(PlaybookError::to_string).collect::<Vec<_>>().join("\n")
}

struct Actions;

impl Catalogue for Actions {
    fn action(&self, name: &str) -> Option<ActionInfo> {
        let (parameters, is_change): (&[(&str, bool)], bool) = match name {
            "ec2.record-all" => (&[("instance", false), ("group", false)], false),
            "ec2.close-open-ingress" => (
                &[
                    ("instance", false),
                    ("group", false),
                    ("protocol", false),
                    ("ports", false),
                    ("except", false),
                    ("max_interfaces", false),
                ],
                true,
            ),
            "ec2.block-source-in-nacl" => (&[("instance", true), ("sources", true), ("protocol", false), ("port", true)], true),
            "logs.find-logins" => (&[("instance", true), ("sources", true), ("since", false), ("until", false), ("port", true)], false),
            "securityhub.update-finding" => (
                &[("finding", true), ("product_arn", false), ("region", true), ("account", true), ("note", true), ("workflow", false)],
                true,
            ),
            _ => return None,
        };
        Some(ActionInfo { parameters: parameters.iter().map(|(name, required)| ((*name).to_owned(), *required)).collect(), is_change })
    }

    fn names(&self) -> Vec<String> {
        ["ec2.record-all", "ec2.close-open-ingress", "ec2.block-source-in-nacl", "logs.find-logins", "securityhub.update-finding"]
            .map(str::to_owned)
            .into()
    }
}

#[test]
fn the_built_in_playbooks_are_sound_and_use_only_actions_there_are() {
    for text in [BRUTE_FORCE, OPEN_PORT] {
        let playbook = parse(text);
        assert_eq!(shown(&playbook.check(&Actions)), "");
        assert_eq!(playbook.source, text);
        assert_eq!(playbook.digest, crate::finding::Raw::new(text.as_bytes()).sha256);
        assert_eq!(playbook.mode, Mode::Act);
    }
    assert_eq!(parse(BRUTE_FORCE).name, "ec2-brute-force");
    assert_eq!(parse(OPEN_PORT).subject, SubjectKind::SecurityGroup);
}

/// The steps that a finding leaves standing, given what the log search found.
fn standing(text: &str, finding: &Value, verdict: &str) -> Vec<String> {
    let data = json!({
        "finding": finding, "subject": { "id": "i-0abc" }, "account": {}, "steps": { "find-logins": { "outcome": { "verdict": verdict } } },
    });
    let playbook = parse(text);
    let stands = |step: &&Step| step.when.as_ref().is_none_or(|when| when.truth(&data).unwrap());
    playbook.steps.iter().filter(stands).map(|step| step.id.clone()).collect()
}

#[test]
fn an_attacked_instance_is_closed_first_and_its_source_blocked_for_a_day() {
    let finding = json!({ "type": "UnauthorizedAccess:EC2/SSHBruteForce", "provider": "guard-duty", "role": "TARGET", "severity": 20,
        "network": { "remote_ips": ["192.0.2.1"], "local_port": 2222 } });
    let playbook = parse(BRUTE_FORCE);
    assert!(playbook.matches(&finding));
    let contain = ["record", "close-ingress", "block-source", "find-logins"];
    assert_eq!(standing(BRUTE_FORCE, &finding, "none"), [&contain[..], &["note"]].concat());
    assert_eq!(standing(BRUTE_FORCE, &finding, "confirmed"), [&contain[..], &["login-confirmed", "note"]].concat());
    assert_eq!(standing(BRUTE_FORCE, &finding, "probable"), [&contain[..], &["login-probable", "note"]].concat());
    let block = playbook.step("block-source").unwrap();
    assert_eq!((block.needs.as_slice(), block.ttl), (&["close-ingress".to_owned()][..], Some(SignedDuration::from_hours(24))));
    assert!(
        playbook.steps.iter().filter(|step| matches!(step.work, Work::Action(_)) && step.id != "record").all(|step| step.even_if_failed)
    );
    let data = json!({ "finding": finding, "subject": { "id": "i-0abc" } });
    let with = playbook.step("close-ingress").unwrap().with.render(&data).unwrap();
    assert_eq!(with, json!({ "instance": "i-0abc", "protocol": "tcp", "ports": [2222] }));
}

#[test]
fn the_port_of_a_brute_force_without_one_is_the_services_own() {
    let playbook = parse(BRUTE_FORCE);
    for (kind, port) in [("UnauthorizedAccess:EC2/SSHBruteForce", 22), ("UnauthorizedAccess:EC2/RDPBruteForce", 3389)] {
        let data = json!({ "finding": { "type": kind, "network": { "remote_ips": ["192.0.2.1"] } }, "subject": { "id": "i-0abc" } });
        assert_eq!(playbook.step("block-source").unwrap().with.render(&data).unwrap()["port"], json!(port));
        assert_eq!(playbook.step("find-logins").unwrap().with.render(&data).unwrap()["port"], json!(port));
        assert_eq!(playbook.step("close-ingress").unwrap().with.render(&data).unwrap()["ports"], json!([port]));
    }
}

#[test]
fn an_attacking_instance_and_one_of_unknown_role_are_held() {
    let finding = |role: Value| json!({ "type": "Impact:EC2/WinRMBruteForce", "provider": "guard-duty", "role": role, "network": { "remote_ips": [] } });
    assert!(parse(BRUTE_FORCE).matches(&finding(json!("ACTOR"))));
    assert_eq!(standing(BRUTE_FORCE, &finding(json!("ACTOR")), "none"), ["record", "actor", "note"]);
    assert_eq!(standing(BRUTE_FORCE, &finding(Value::Null), "none"), ["record", "role-unknown", "note"]);
    let pretended = json!({ "type": "UnauthorizedAccess:EC2/SSHBruteForce", "provider": "other" });
    assert!(!parse(BRUTE_FORCE).matches(&pretended));
}

#[test]
fn an_open_admin_port_is_closed_and_other_ports_ask() {
    let finding = |kind: &str| json!({ "type": kind, "provider": "security-hub", "hub": { "compliance": "FAILED" }, "network": { "remote_ips": [] } });
    for (kind, step, asks) in [
        ("EC2.13", "close-ssh", false),
        ("EC2.14", "close-rdp", false),
        ("EC2.18", "close-unauthorized-ports", true),
        ("EC2.19", "close-high-risk-ports", true),
    ] {
        let playbook = parse(OPEN_PORT);
        assert!(playbook.matches(&finding(kind)));
        assert_eq!(standing(OPEN_PORT, &finding(kind), "none"), ["record", step, "note"]);
        assert_eq!(playbook.step(step).unwrap().ask, asks);
    }
    let passed = json!({ "type": "EC2.13", "provider": "security-hub", "hub": { "compliance": "PASSED" } });
    assert!(!parse(OPEN_PORT).matches(&passed));
}

#[test]
fn a_step_says_no_more_than_it_must() {
    let playbook = steps(
        "[[steps]]\nid = \"a\"\naction = \"x\"\n[[steps]]\nid = \"b\"\nhold = \"why\"\n[[steps]]\nid = \"c\"\naction = \"x\"\nneeds = []\n",
    );
    let [a, b, c] = playbook.steps.as_slice() else { panic!() };
    let wanted = Step {
        id: "a".to_owned(),
        work: Work::Action("x".to_owned()),
        needs: vec![],
        even_if_failed: false,
        when: None,
        with: Template::empty(),
        within: SignedDuration::from_mins(30),
        on_timeout: OnTimeout::Fail,
        on_failure: OnFailure::Hold,
        ttl: None,
        ask: false,
        after: SignedDuration::ZERO,
        region: None,
        phase: None,
    };
    assert_eq!(*a, wanted);
    assert_eq!((&b.work, b.needs.as_slice()), (&Work::Hold("why".to_owned()), &["a".to_owned()][..]));
    assert!(c.needs.is_empty());
}

#[test]
fn a_step_says_all_it_can() {
    let text = r#"
        [[steps]]
        id = "a"
        action = "x"
        [[steps]]
        id = "b"
        action = "x"
        even_if = "failed"
        when = "steps.a.outcome.n > 1"
        with = { n = "${steps.a.outcome.n}", at = 2026-01-01 }
        within = "1h 30m"
        on_timeout = "hold"
        on_failure = "continue"
        ttl = "24h"
        ask = true
    "#;
    let playbook = steps(text);
    let step = playbook.step("b").unwrap();
    assert!(step.even_if_failed && step.ask);
    assert_eq!((step.on_timeout, step.on_failure), (OnTimeout::Hold, OnFailure::Continue));
    assert_eq!((step.within, step.ttl), (SignedDuration::from_mins(90), Some(SignedDuration::from_hours(24))));
    assert_eq!(step.reads_outcomes_of().collect::<Vec<_>>(), ["a"]);
    let data = json!({ "steps": { "a": { "outcome": { "n": 2 } } } });
    assert_eq!(step.with.render(&data).unwrap(), json!({ "n": 2, "at": "2026-01-01" }));
}

#[test]
fn the_subject_is_the_first_of_its_kind() {
    let cell = crate::id::CellId::new("111122223333".parse().unwrap(), "eu-west-1".parse().unwrap());
    let subject = |kind, id: &str| Subject { cell: cell.clone(), kind, id: id.to_owned(), arn: None };
    let mut finding: Finding = Finding {
        id: crate::finding::FindingId("f".to_owned()),
        provider: crate::finding::Provider::GuardDuty,
        format: crate::finding::Format::GuardDuty,
        kind: "x".to_owned(),
        title: String::new(),
        severity: 0,
        cell: cell.clone(),
        subjects: vec![subject(SubjectKind::Role, "r"), subject(SubjectKind::Instance, "i-1"), subject(SubjectKind::Instance, "i-2")],
        role: None,
        credential: None,
        network: crate::finding::Network::default(),
        first_seen: None,
        last_seen: None,
        updated_at: None,
        count: 1,
        sample: false,
        archived: false,
        hub: crate::finding::HubState::default(),
        raw: crate::finding::Raw::new(b""),
    };
    let playbook = steps("[[steps]]\nid = \"a\"\naction = \"x\"\n");
    assert_eq!(playbook.subject_of(&finding).map(|subject| subject.id.as_str()), Some("i-1"));
    assert!(playbook.matches(&serde_json::to_value(&finding).unwrap()));
    finding.subjects.truncate(1);
    assert_eq!(playbook.subject_of(&finding), None);
}

proptest! {
    #[test]
    fn any_text_is_a_playbook_or_errors_within_it(text in r#"([ -~é\n]|\[\[steps\]\]\n|\[\[match\]\]\n|id = "a"\n|needs = \["a"\]\n|when = '|type = \["x"\]\n|with = \{ a = "\$\{){0,30}"#) {
        let with_head = format!("{HEAD}{text}");
        for text in [text, with_head] {
            if let Err(errors) = Playbook::parse(&text, "p.toml") {
                prop_assert!(!errors.is_empty());
                for error in errors {
                    prop_assert!(text.get(error.at.clone()).is_some(), "{:?}", error);
                    prop_assert!(error.to_string().contains("p.toml:"));
                }
            }
        }
    }

    #[test]
    fn any_change_of_a_byte_in_a_built_in_is_survived(at in 0..BRUTE_FORCE.len(), with in "[ -~\n]{0,3}") {
        let mut text = BRUTE_FORCE.to_owned();
        if text.is_char_boundary(at) && text.is_char_boundary(at + 1) {
            text.replace_range(at..at + 1, &with);
            match Playbook::parse(&text, "p.toml") {
                Ok(playbook) => drop(playbook.check(&Actions)),
                Err(errors) => prop_assert!(!shown(&errors).is_empty()),
            }
        }
    }
}
