use proptest::prelude::*;
use serde_json::json;

use super::*;

mod errors;
mod foresee;
mod step_errors;
mod step_terms;

const BRUTE_FORCE: &str = include_str!("../../../hub/playbooks/ec2-brute-force.toml");
const COMPROMISED: &str = include_str!("../../../hub/playbooks/ec2-compromised.toml");
const CREDENTIALS: &str = include_str!("../../../hub/playbooks/iam-credential-compromise.toml");
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
fn the_built_in_playbooks_are_sound() {
    for (text, name, subject) in [
        (BRUTE_FORCE, "ec2-brute-force", SubjectKind::Instance),
        (COMPROMISED, "ec2-compromised", SubjectKind::Instance),
        (CREDENTIALS, "iam-credential-compromise", SubjectKind::AccessKey),
        (OPEN_PORT, "open-admin-port", SubjectKind::SecurityGroup),
    ] {
        let playbook = parse(text);
        assert_eq!((playbook.name.as_str(), playbook.subject, playbook.mode), (name, subject, Mode::Act));
        assert_eq!(playbook.source, text);
        assert_eq!(playbook.digest, crate::finding::Raw::new(text.as_bytes()).sha256);
    }
    assert_eq!(shown(&parse(OPEN_PORT).check(&Actions)), "");
}

/// The steps that a finding leaves standing, given what was found on the way.
fn standing(text: &str, finding: &Value, outcomes: Value) -> Vec<String> {
    let mut finding = finding.clone();
    let playbook = parse(text);
    let key = finding.pointer("/credential/access_key_id").cloned();
    let subject = json!({ "id": key.unwrap_or_else(|| json!("i-0abc")) });
    let data = |finding: &Value| json!({ "finding": finding, "subject": subject, "account": {}, "steps": outcomes });
    if let Some(turn) = playbook.turns.iter().find(|turn| turn.when.truth(&data(&finding)).unwrap()) {
        finding["role"] = json!(turn.role);
    }
    let data = data(&finding);
    let stands =
        |step: &&Step| step.when.as_ref().is_none_or(|when| when.truth(&data).unwrap_or_else(|error| panic!("{}: {error}", step.id)));
    playbook.steps.iter().filter(stands).map(|step| step.id.clone()).collect()
}

fn found(verdict: &str) -> Value {
    json!({ "find-logins": { "outcome": { "verdict": verdict } }, "identify": { "outcome": { "role": { "name": "web" }, "region": "us-east-1" } } })
}

const LOOKS: [&str; 3] = ["record", "identify", "exposure"];
const ACTOR: [&str; 15] = [
    "find-logins",
    "protect",
    "detach",
    "cut-flows",
    "isolate",
    "cut-issuance",
    "swap-profile",
    "deny-sessions",
    "deny-sessions-again",
    "snapshot",
    "trace",
    "chained-roles",
    "trace-again",
    "related",
    "note",
];

fn brute_force(role: Value) -> Value {
    json!({ "type": "UnauthorizedAccess:EC2/SSHBruteForce", "provider": "guard-duty", "role": role, "severity": 20,
        "network": { "remote_ips": ["192.0.2.1"], "local_port": 2222, "direction": "INBOUND" } })
}

fn all(parts: &[&[&'static str]]) -> Vec<&'static str> {
    parts.concat()
}

#[test]
fn an_attacked_instance_is_closed_first_and_its_source_blocked_for_a_day() {
    let finding = brute_force(json!("TARGET"));
    let playbook = parse(BRUTE_FORCE);
    assert!(playbook.matches(&finding));
    let contain = all(&[&LOOKS, &["close-ingress", "block-source", "find-logins"]]);
    assert_eq!(standing(BRUTE_FORCE, &finding, found("none")), all(&[&contain, &["related", "note"]]));
    assert_eq!(standing(BRUTE_FORCE, &finding, found("probable")), all(&[&contain, &["login-probable", "related", "note"]]));
    let block = playbook.step("block-source").unwrap();
    assert_eq!((block.needs.as_slice(), block.ttl), (&["close-ingress".to_owned()][..], Some(SignedDuration::from_hours(24))));
    let data = json!({ "finding": finding, "subject": { "id": "i-0abc" } });
    let with = playbook.step("close-ingress").unwrap().with.render(&data).unwrap();
    assert_eq!(with, json!({ "instance": "i-0abc", "protocol": "tcp", "ports": [2222] }));
    let with = playbook.step("find-logins").unwrap().with.render(&data).unwrap();
    assert_eq!(with, json!({ "instance": "i-0abc", "sources": ["192.0.2.1"], "port": 2222 }));
}

#[test]
fn the_port_of_a_brute_force_without_one_is_the_services_own() {
    let playbook = parse(BRUTE_FORCE);
    for (kind, port) in [("UnauthorizedAccess:EC2/SSHBruteForce", 22), ("UnauthorizedAccess:EC2/RDPBruteForce", 3389)] {
        let data = json!({ "finding": { "type": kind, "network": { "remote_ips": ["192.0.2.1"] } }, "subject": { "id": "i-0abc" } });
        assert_eq!(playbook.step("block-source").unwrap().with.render(&data).unwrap()["port"], json!(port));
        assert_eq!(playbook.step("find-logins").unwrap().with.render(&data).unwrap()["port"], json!(port));
        assert_eq!(playbook.step("close-ingress").unwrap().with.render(&data).unwrap()["ports"], json!([port]));
        assert_eq!(playbook.step("exposure").unwrap().with.render(&data).unwrap()["port"], json!(port));
    }
}

#[test]
fn an_attacking_instance_is_contained_and_one_that_a_login_is_confirmed_on_is_closed_and_contained() {
    let actor = json!({ "type": "UnauthorizedAccess:EC2/SSHBruteForce", "provider": "guard-duty", "role": "ACTOR",
        "network": { "remote_ips": ["192.0.2.1"], "local_port": 43210, "direction": "OUTBOUND" } });
    assert_eq!(standing(BRUTE_FORCE, &actor, found("none")), all(&[&LOOKS, &ACTOR]));
    // Turned by what was found: what the target needs is done all the same.
    let both = all(&[&LOOKS, &["close-ingress", "block-source"], &ACTOR]);
    assert_eq!(standing(BRUTE_FORCE, &brute_force(json!("TARGET")), found("confirmed")), both);
    let data = json!({ "finding": actor, "subject": { "id": "i-0abc" } });
    let with = parse(BRUTE_FORCE).step("find-logins").unwrap().with.render(&data).unwrap();
    assert_eq!(with, json!({ "instance": "i-0abc", "sources": [], "port": 22 }), "the addresses of an actor are its victims'");
    assert_eq!(
        standing(BRUTE_FORCE, &brute_force(Value::Null), found("none")),
        all(&[&LOOKS, &["find-logins", "role-unknown", "related", "note"]])
    );
    let pretended = json!({ "type": "UnauthorizedAccess:EC2/SSHBruteForce", "provider": "other" });
    assert!(!parse(BRUTE_FORCE).matches(&pretended));
}

#[test]
fn nothing_slow_and_no_answer_of_a_person_stands_before_isolation() {
    for text in [BRUTE_FORCE, COMPROMISED] {
        let playbook = parse(text);
        let isolate = playbook.step("isolate").unwrap();
        assert_eq!(isolate.even_if, EvenIf::Waiting);
        let mut before: Vec<&str> = isolate.needs.iter().map(String::as_str).collect();
        let mut seen = std::collections::BTreeSet::new();
        while let Some(id) = before.pop() {
            if seen.insert(id.to_owned()) {
                before.extend(playbook.step(id).unwrap().needs.iter().map(String::as_str));
            }
        }
        let slow = ["snapshot", "share-snapshots", "copy-snapshots", "trace", "find-logins", "related", "swap-profile", "deny-sessions"];
        assert!(slow.iter().all(|id| !seen.contains(*id)), "{seen:?}");
        assert_eq!(playbook.step("protect").unwrap().on_failure, OnFailure::Continue);
    }
}

/// The confirmation of findings needs the few calls of the hub's own GuardDuty first.
#[test]
fn related_findings_are_looked_for_after_containment_and_wait_for_nobodys_answer() {
    for (text, before) in [
        (BRUTE_FORCE, &["close-ingress", "block-source", "isolate", "deny-sessions"][..]),
        (CREDENTIALS, &["deactivate-key", "deactivate-key-asked", "deny-sessions", "deny-session"][..]),
    ] {
        let playbook = parse(text);
        let related = playbook.step("related").unwrap();
        assert!(before.iter().all(|id| related.needs.iter().any(|need| need == id)), "{:?}", related.needs);
        assert_eq!(related.even_if, EvenIf::Waiting);
    }
}

#[test]
fn an_instance_that_does_an_attackers_work_is_contained_and_what_may_be_an_administrators_asks() {
    // The part that GuardDuty gives the instance says nothing here: its own findings of these types have either.
    let finding = |kind: &str, role: &str| json!({ "type": kind, "provider": "guard-duty", "role": role, "network": { "remote_ips": [] } });
    let playbook = parse(COMPROMISED);
    for (kind, sure) in [
        ("Backdoor:EC2/C&CActivity.B!DNS", true),
        ("Trojan:EC2/DNSDataExfiltration", true),
        ("CryptoCurrency:EC2/BitcoinTool.B!DNS", true),
        ("Trojan:EC2/DropPoint", true),
        ("UnauthorizedAccess:EC2/TorClient", true),
        ("UnauthorizedAccess:EC2/MetadataDNSRebind", true),
        ("UnauthorizedAccess:EC2/MaliciousIPCaller.Custom", false),
        ("Execution:Runtime/ReverseShell", true),
        ("CryptoCurrency:Runtime/BitcoinTool.B", true),
        ("Execution:Runtime/NewBinaryExecuted", false),
        ("AttackSequence:EC2/CompromisedInstanceGroup", true),
    ] {
        for role in ["ACTOR", "TARGET"] {
            assert!(playbook.matches(&finding(kind, role)), "{kind}");
            let steps = standing(COMPROMISED, &finding(kind, role), found("none"));
            assert_eq!(steps.contains(&"unsure".to_owned()), !sure, "{kind}: {steps:?}");
            assert!(steps.contains(&"isolate".to_owned()) && steps.contains(&"deny-sessions".to_owned()));
        }
    }
    for other in ["Recon:EC2/PortProbeUnprotectedPort", "Policy:S3/BucketPublicAccessGranted", "Discovery:RDS/TorIPCaller"] {
        assert!(!playbook.matches(&finding(other, "ACTOR")), "{other}");
    }
    // Everything that disrupts waits for the person, and nothing that only looks does.
    for id in ["protect", "detach", "cut-flows", "cut-issuance"] {
        let step = playbook.step(id).unwrap();
        assert!(step.needs.contains(&"unsure".to_owned()) && step.even_if == EvenIf::Never, "{id}");
    }
}

#[test]
fn credentials_are_cut_by_what_they_are() {
    let finding = |kind: &str, credential: Value| json!({ "type": kind, "provider": "guard-duty", "credential": credential, "network": { "remote_ips": [] } });
    let stands = |finding: &Value| -> Vec<String> {
        let outcomes = json!({ "identify": { "outcome": { "region": "eu-west-1" } }, "trace": { "outcome": { "created": [] } } });
        let reports = ["trace", "chained-roles", "related", "trace-again", "note"];
        standing(CREDENTIALS, finding, outcomes).into_iter().filter(|id| !reports.contains(&id.as_str())).collect()
    };
    let user = json!({ "user_type": "IAMUser", "user_name": "ci", "access_key_id": "AKIAIOSFODNN7EXAMPLE" });
    assert_eq!(stands(&finding("UnauthorizedAccess:IAMUser/TorIPCaller", user.clone())), ["deactivate-key"]);
    assert_eq!(stands(&finding("Discovery:IAMUser/AnomalousBehavior", user.clone())), ["deactivate-key-asked"]);
    assert_eq!(stands(&finding("AttackSequence:IAM/CompromisedCredentials", user)), ["deactivate-key", "contain-user"]);
    let root = json!({ "user_type": "Root", "user_name": "Root" });
    assert_eq!(stands(&finding("UnauthorizedAccess:IAMUser/ConsoleLoginSuccess.B", root)), ["root"]);
    let session = json!({ "user_type": "AssumedRole", "user_name": "ci", "session": "build-7" });
    assert_eq!(stands(&finding("UnauthorizedAccess:IAMUser/MaliciousIPCaller", session)), ["deny-session"]);
    // Temporary credentials of a user end only with what the user may do, and what cannot be told apart is a person's work.
    let temporary = json!({ "user_type": "IAMUser", "user_name": "ci", "access_key_id": "ASIAIOSFODNN7EXAMPLE" });
    assert_eq!(stands(&finding("UnauthorizedAccess:IAMUser/TorIPCaller", temporary)), ["contain-user"]);
    for other in [
        json!({ "user_type": "FederatedUser", "user_name": "ann" }),
        json!({ "user_type": "AWSAccount" }),
        json!({ "user_type": "AssumedRole", "user_name": "ci" }),
        Value::Null,
    ] {
        assert_eq!(stands(&finding("UnauthorizedAccess:IAMUser/MaliciousIPCaller", other.clone())), ["other-credentials"], "{other}");
    }
    let role = json!({ "user_type": "Role", "user_name": "web", "session": "i-0123456789abcdef0", "instance": "i-0123456789abcdef0" });
    assert!(stands(&finding("UnauthorizedAccess:IAMUser/TorIPCaller", role)).contains(&"deny-sessions".to_owned()));
    assert!(parse(CREDENTIALS).matches(&finding("AttackSequence:S3/CompromisedData", Value::Null)));
    let instance =
        json!({ "user_type": "AssumedRole", "user_name": "web", "session": "i-0123456789abcdef0", "instance": "i-0123456789abcdef0" });
    let exfiltration = finding("UnauthorizedAccess:IAMUser/InstanceCredentialExfiltration.OutsideAWS", instance);
    assert_eq!(stands(&exfiltration), ["identify", "record", "cut-issuance", "deny-sessions", "deny-sessions-again", "isolate"]);
    // Where the instance is, is looked up: its Region is not the finding's.
    let playbook = parse(CREDENTIALS);
    for id in ["record", "cut-issuance", "isolate"] {
        let data = json!({ "finding": exfiltration, "steps": { "identify": { "outcome": { "region": "eu-west-1" } } } });
        assert_eq!(playbook.step(id).unwrap().region.as_ref().unwrap().render(&data).unwrap(), json!("eu-west-1"));
    }
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
        assert_eq!(standing(OPEN_PORT, &finding(kind), found("none")), ["record", step, "note"]);
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
        even_if: EvenIf::Never,
        when: None,
        of: Of::Any,
        with: Template::empty(),
        within: SignedDuration::from_mins(30),
        on_timeout: OnTimeout::Fail,
        on_failure: OnFailure::Hold,
        ttl: None,
        ask: false,
        on_expiry: OnExpiry::Hold,
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
        on_expiry = "escalate"
    "#;
    let playbook = steps(text);
    let step = playbook.step("b").unwrap();
    assert!(step.even_if == EvenIf::Failed && step.ask && step.on_expiry == OnExpiry::Escalate);
    assert_eq!((step.on_timeout, step.on_failure), (OnTimeout::Hold, OnFailure::Continue));
    assert_eq!((step.within, step.ttl), (SignedDuration::from_mins(90), Some(SignedDuration::from_hours(24))));
    assert_eq!(step.reads_outcomes_of().collect::<Vec<_>>(), ["a"]);
    let data = json!({ "steps": { "a": { "outcome": { "n": 2 } } } });
    assert_eq!(step.with.render(&data).unwrap(), json!({ "n": 2, "at": "2026-01-01" }));
}

#[test]
fn each_subject_of_its_kind_in_the_account_is_answered_and_of_access_keys_the_first() {
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
    let of = |playbook: &Playbook, finding: &Finding| playbook.subjects_of(finding).map(|one| one.id.clone()).collect::<Vec<_>>();
    assert_eq!(of(&playbook, &finding), ["i-1", "i-2"]);
    let elsewhere = crate::id::CellId::new("444455556666".parse().unwrap(), "eu-west-1".parse().unwrap());
    finding.subjects.push(Subject { cell: elsewhere, kind: SubjectKind::Instance, id: "i-3".to_owned(), arn: None });
    assert_eq!(of(&playbook, &finding), ["i-1", "i-2"], "one of another account is not answered on this finding's word");
    let of_keys = Playbook { subject: SubjectKind::AccessKey, ..playbook.clone() };
    finding.subjects.extend(["AKIA1", "AKIA2"].map(|id| subject(SubjectKind::AccessKey, id)));
    assert_eq!(of(&of_keys, &finding), ["AKIA1"]);
    assert!(playbook.matches(&serde_json::to_value(&finding).unwrap()));
    finding.subjects.truncate(1);
    assert_eq!(playbook.subjects_of(&finding).count(), 0);
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
