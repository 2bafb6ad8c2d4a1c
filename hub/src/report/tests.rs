use cordon_shared::{
    engine::Entry,
    finding::ResourceRole,
    mode::Mode,
    plan::{Change, Effect, Plan, Verdict},
};
use jiff::SignedDuration;
use serde_json::json;

use super::{
    AccessVerdict, Report,
    fixture::{ACTOR, Run, analyst, blocking, closing, golden, no_login, step},
};

fn report(run: &Run) -> Report {
    Report::new(&run.view(), &run.entries)
}

fn matches_golden(name: &str, run: &Run) {
    golden(&format!("src/report/golden/{name}.md"), &report(run).markdown());
}

fn contained() -> Run {
    let mut run = Run::open(Mode::Act);
    run.probe("record", json!({ "instances": 1, "groups": 1 }), "bb");
    run.applied("close-ingress", closing());
    run.applied("block-source", blocking());
    run.probe("find-logins", no_login(), "cc");
    run.add(Entry::Skipped { step: step("login-confirmed"), why: "its condition is not met".into() });
    run
}

#[test]
fn a_target_run_that_is_contained() {
    let run = contained();
    matches_golden("contained", &run);
    let json = serde_json::to_string_pretty(&report(&run)).unwrap();
    golden("src/report/golden/contained.json", &json);
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report(&run));
    assert_eq!(report(&run).access.verdict, AccessVerdict::NoLoginFound);
}

#[test]
fn a_confirmed_login_is_held() {
    let mut run = Run::open(Mode::Act);
    run.probe("record", json!({}), "bb");
    run.applied("close-ingress", closing());
    run.applied("block-source", blocking());
    let mut outcome = no_login();
    outcome["verdict"] = json!("confirmed");
    outcome["confirmed"] = json!(1);
    outcome["logins"] = json!([{
        "confidence": "confirmed", "user": "ec2-user", "from": "203.0.113.5", "host": null, "at": "2026-11-24T11:41:07Z", "method": { "kind": "password" },
        "failures_before": 212, "times": 1, "why": "login by password from the attacker's address after 212 or more failed attempts from it",
        "line": "Nov 24 11:41:07 ip-10-0-0-5 sshd[4711]: Accepted password for ec2-user from 203.0.113.5 port 51515 ssh2",
        "source": "/var/log/secure i-0abc", "reference": "/var/log/secure i-0abc event 38321",
    }]);
    run.probe("find-logins", outcome, "cc");
    run.held(
        "login-confirmed",
        "playbook",
        "A login from the attacker succeeded. A person must isolate this instance and replace its credentials.",
    );
    matches_golden("confirmed-login", &run);
    assert_eq!(report(&run).access.verdict, AccessVerdict::GotIn);
}

fn one_change(resource: &str, attribute: &str, before: serde_json::Value, after: serde_json::Value) -> Plan {
    let change = Change { resource: resource.into(), attribute: attribute.into(), before, after };
    Plan { changes: vec![change], touches: [resource.to_owned()].into(), ..Plan::default() }
}

/// An instance whose password was guessed: found, turned, contained and traced.
fn intrusion(flows: &str) -> Run {
    let mut run = Run::open_with(Mode::Act, "203.0.113.5 is performing SSH brute force attacks against i-0abc.", ACTOR);
    let exposure = json!({
        "reachable": true, "port": 22, "interfaces": [], "because": ["Interface eni-0aa has public address 198.51.100.7, and subnet subnet-0aa routes to igw-0aa."],
        "open_rules": [{ "group": "sg-0aa", "rule": "sgr-01", "cidr": "0.0.0.0/0", "port_range": "tcp 22" }],
    });
    run.probe("exposure", exposure, "ab");
    let since = json!({ "at": "2026-11-20T08:15:00Z", "what": "rule sgr-01 of sg-0aa was opened", "by": {
        "arn": "arn:aws:iam::111122223333:user/ci", "source_address": "192.0.2.44", "event_id": "e-1", "call": "ec2:AuthorizeSecurityGroupIngress",
    } });
    let opened = json!({
        "since": since, "since_unknown_because": null, "rules": [{ "group": "sg-0aa", "rule": "sgr-01", "since": since }],
    });
    run.applied("close-ingress", closing());
    run.probe("opened", opened, "ad");
    let mut logins = no_login();
    logins["verdict"] = json!("confirmed");
    logins["confirmed"] = json!(1);
    logins["logins"] = json!([{
        "confidence": "confirmed", "user": "ec2-user", "from": "203.0.113.5", "host": null, "at": "2026-11-24T11:41:07Z", "method": { "kind": "password" },
        "failures_before": 212, "times": 1, "why": "login by password from the attacker's address after 212 or more failed attempts from it",
        "line": "Nov 24 11:41:07 ip-10-0-0-5 sshd[4711]: Accepted password for ec2-user from 203.0.113.5 port 51515 ssh2",
        "source": "/var/log/secure i-0abc", "reference": "/var/log/secure i-0abc event 38321",
    }]);
    run.probe("find-logins", logins, "cc");
    run.add(Entry::Turned { role: ResourceRole::Actor, why: "A login of the attacker is confirmed".into() });
    run.add(Entry::Kept { step: step("close-ingress"), generation: 2 });
    let eni = "arn:aws:ec2:us-east-1:111122223333:network-interface/eni-0aa";
    run.applied_with(
        "cut-flows",
        one_change(eni, "established TCP time-out", json!(null), json!("60 s")),
        json!({ "tracked_flows": flows }),
    );
    run.applied("isolate", one_change(eni, "security groups", json!(["sg-0aa"]), json!("cordon-inc-1-vpc-0aa")));
    let role = "arn:aws:iam::111122223333:role/web";
    run.applied("deny-sessions", one_change(role, "sessions of i-0abc older than the cut-off", json!("allowed"), json!("denied")));
    let trace = json!({
        "source": "lookup-events", "looked_in": [
            { "place": "CloudTrail events of us-east-1", "events": 3, "complete": true, "problem": null },
            { "place": "CloudTrail events of eu-west-1", "events": 0, "complete": false, "problem": "access denied" },
        ],
        "horizon": { "from": "2026-11-24T10:00:00Z", "until": "2026-11-24T12:00:20Z", "note": "management events of the last 90 days, up to 15 minutes late" },
        "events": 3, "first": "2026-11-24T11:43:00Z", "last": "2026-11-24T11:50:00Z",
        "services": [{ "service": "iam.amazonaws.com", "calls": 2, "denied": 1 }, { "service": "sts.amazonaws.com", "calls": 1, "denied": 0 }],
        "regions": ["us-east-1"], "sources": [{ "address": "203.0.113.5", "calls": 3, "first": "2026-11-24T11:43:00Z", "last": "2026-11-24T11:50:00Z" }],
        "user_agents": ["aws-cli/2.15"], "denied": [{ "call": "iam:CreateRole", "count": 1, "first": "2026-11-24T11:50:00Z", "error": "AccessDenied" }],
        "created": [{ "kind": "user", "id": "backdoor", "at": "2026-11-24T11:45:00Z", "by_call": "iam:CreateUser", "event_id": "e-7" }],
        "assumed_roles": [], "nothing_known_because": null,
        "calls": [{ "at": "2026-11-24T11:45:00Z", "call": "iam:CreateUser", "region": "us-east-1", "source": "203.0.113.5", "error": null, "event_id": "e-7" }],
    });
    run.probe("trace", trace, "dd");
    let role = |id: &str, other: bool, lives: bool| {
        json!({ "role_arn": format!("arn:aws:iam::111122223333:role/{id}"), "role": id, "account": if other { "444455556666" } else { "111122223333" },
            "other_account": other, "session": "s-1", "access_key_id": "ASIACHAINED", "at": "2026-11-24T11:48:00Z", "source": "203.0.113.5",
            "call": "sts:AssumeRole", "until": "2026-11-24T12:48:00Z", "may_live": lives, "event_id": "e-8" })
    };
    run.probe(
        "chained-roles",
        json!({ "roles": [role("deploy", false, false), role("audit", true, true)], "looked_in": [], "nothing_known_because": null }),
        "ee",
    );
    let related = json!({ "id": "arn:aws:guardduty:us-east-1:111122223333:detector/d1/finding/f2", "type": "Recon:EC2/PortProbeUnprotectedPort",
        "severity": 20, "title": "t", "account": "111122223333", "region": "us-east-1", "subject": "i-0def", "first_seen": null,
        "last_seen": "2026-11-24T10:00:00Z", "shares": ["source"], "provider": "guard-duty", "archived": true });
    run.probe("related", json!({ "findings": [related], "looked_in": [{ "place": "GuardDuty in eu-west-1", "found": 0, "problem": "access denied" }], "truncated": false }), "ef");
    run
}

/// A second look at what the credentials did.
fn looked_again(run: &mut Run, calls: serde_json::Value, nothing: Option<&str>) {
    let outcome = json!({ "source": "lookup-events", "looked_in": [], "horizon": {}, "events": 1, "services": [], "regions": [], "sources": [], "denied": [],
        "created": [{ "kind": "user", "id": "latecomer", "at": "2026-11-24T11:45:00Z", "by_call": "iam:CreateUser", "event_id": "e-9" }],
        "assumed_roles": [], "calls": calls, "nothing_known_because": nothing });
    run.probe("trace-again", outcome, "fa");
}

#[test]
fn what_was_assumed_and_what_else_was_found_is_told_with_what_could_not_be_read() {
    let told = report(&intrusion("ended-with")).root_cause;
    let of = |question: &str| {
        let answer = told.iter().find(|answer| answer.question.contains(question)).unwrap();
        answer.statements.iter().map(|one| (one.text.clone(), one.not_known_because.clone())).collect::<Vec<_>>()
    };
    let roles = of("Which roles");
    assert!(roles[0].0.contains("Role deploy in this account, as s-1, key ASIACHAINED") && roles[0].0.ends_with("has ended."), "{roles:?}");
    assert!(
        roles[1].0.contains("account 444455556666, another one") && roles[1].0.contains("may live until 2026-11-24T12:48:00Z"),
        "{roles:?}"
    );
    let related = of("What else was found");
    assert!(
        related[0].0.contains("Recon:EC2/PortProbeUnprotectedPort about i-0def") && related[0].0.ends_with("the same source."),
        "{related:?}"
    );
    assert_eq!(related[1], ("What GuardDuty in eu-west-1 holds".to_owned(), Some("access denied".to_owned())));
}

#[test]
fn calls_since_containment_are_told_to_be_denied_or_not() {
    let call = |at: &str, error: Option<&str>| json!({ "at": at, "call": "iam:ListUsers", "region": "us-east-1", "source": "203.0.113.5", "error": error, "event_id": "e" });
    let before = || call("2026-11-24T11:45:00Z", None);
    for (calls, told) in [
        (json!([before()]), "no call of them is recorded"),
        (json!([before(), call("2026-11-24T12:10:00Z", Some("AccessDenied"))]), "1 call was made, and denied"),
        (
            json!([call("2026-11-24T12:10:00Z", Some("AccessDenied")), call("2026-11-24T12:11:00Z", None)]),
            "1 of 2 calls went through: iam:ListUsers at 2026-11-24T12:11:00Z",
        ),
    ] {
        let mut run = intrusion("ended-with");
        run.now += SignedDuration::from_mins(20);
        looked_again(&mut run, calls, None);
        let report = report(&run);
        let all: Vec<&str> = report.root_cause.iter().flat_map(|answer| &answer.statements).map(|one| one.text.as_str()).collect();
        assert!(
            all.iter().any(|text| text.starts_with("Since containment at 2026-11-24T12:00") && text.contains(told)),
            "{told}: {all:#?}"
        );
    }
}

#[test]
fn a_second_look_that_could_not_see_hides_nothing_of_the_first() {
    let mut run = intrusion("ended-with");
    looked_again(&mut run, json!([]), Some("access to CloudTrail was denied"));
    let told = report(&run).markdown();
    assert!(told.contains("iam:CreateUser") && told.contains("backdoor") && !told.contains("latecomer"), "{told}");
}

#[test]
fn an_actor_without_a_confirmed_login_is_not_told_to_have_been_entered() {
    let mut run = Run::open(Mode::Act);
    let mut note = run.view().findings[0].clone();
    note.finding["role"] = json!("ACTOR");
    run.add(Entry::FindingJoined { finding: Box::new(note), renews: true });
    run.probe("record", json!({}), "bb");
    run.probe("find-logins", no_login(), "cc");
    let report = report(&run);
    assert_eq!(report.access.verdict, AccessVerdict::Compromised);
    assert!(!report.markdown().contains("The attacker got in"));
}

#[test]
fn a_successful_intrusion_is_told_from_the_open_rule_to_the_stolen_credentials_calls() {
    let run = intrusion("ended-with");
    matches_golden("intrusion", &run);
    let report = report(&run);
    assert_eq!(report.access.verdict, AccessVerdict::GotIn);
    let told = report.markdown();
    for part in ["sgr-01", "user/ci", "Accepted password for ec2-user", "ec2-user logged in from 203.0.113.5", "backdoor", "iam:CreateUser"]
    {
        assert!(told.contains(part), "{part} is not in:\n{told}");
    }
    assert!(
        report
            .root_cause
            .iter()
            .flat_map(|answer| &answer.statements)
            .all(|one| one.reference.is_some() || one.not_known_because.is_some())
    );
    assert!(report.incident.contained_at > report.incident.first_change_at && report.incident.first_change_at.is_some());
    assert!(report.limits.iter().all(|limit| limit.code.is_none()), "{:?}", report.limits);
}

#[test]
fn flows_that_may_persist_are_said_to() {
    let report = report(&intrusion("may-persist"));
    assert!(report.limits.iter().any(|limit| limit.code.as_deref() == Some("tracked_flows_may_persist")), "{:?}", report.limits);
}

#[test]
fn the_page_needs_nothing_else_and_markup_of_others_stays_text() {
    let title = "<script>alert(1)</script> [x](javascript:alert(1)) <img src=x onerror=alert(1)> ![y](https://example.com/y.png)";
    let run = Run::open_with(Mode::Act, title, ACTOR);
    let page = report(&run).html();
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"), "{page}");
    for forbidden in ["<script", "<img", "<link", "href=\"javascript", "href=\"https://example"] {
        assert!(!page.contains(forbidden), "{forbidden} in {page}");
    }
    assert!(page.contains("&lt;script&gt;"), "{page}");
    golden("src/report/golden/intrusion.html", &report(&intrusion("ended-with")).html());
}

#[test]
fn an_opted_out_account_is_held() {
    let mut run = Run::open(Mode::Act);
    run.probe("record", json!({}), "bb");
    let why = "account 111122223333 is opted out by its tag, value `true`";
    run.planned("close-ingress", closing());
    run.held("close-ingress", "opted-out", why);
    run.planned("block-source", blocking());
    run.held("block-source", "opted-out", why);
    let mut outcome = no_login();
    outcome["verdict"] = json!("no-log-source");
    outcome["failures"] = json!(0);
    outcome["lines_read"] = json!(0);
    outcome["looked_at"] = json!([{ "group": "/var/log/secure", "stream": null, "lines": 0, "first": null, "last": null, "problem": "there is no such log group" }]);
    run.probe("find-logins", outcome, "cc");
    run.add(Entry::Skipped { step: step("login-confirmed"), why: "its condition is not met".into() });
    matches_golden("opted-out", &run);
    assert_eq!(report(&run).access.verdict, AccessVerdict::NotKnown);
}

#[test]
fn a_run_that_is_only_planned() {
    let mut run = Run::open(Mode::Observe);
    run.probe("record", json!({}), "bb");
    for (id, plan) in [("close-ingress", closing()), ("block-source", blocking())] {
        run.planned(id, plan);
        run.add(Entry::Observed { step: step(id), why: "mode observe: a plan and no more".into() });
    }
    run.probe("find-logins", no_login(), "cc");
    run.add(Entry::Skipped { step: step("login-confirmed"), why: "its condition is not met".into() });
    matches_golden("planned", &run);
}

#[test]
fn a_run_that_was_approved_and_undone() {
    let mut run = Run::open(Mode::Ask);
    run.probe("record", json!({}), "bb");
    let digest = run.planned("close-ingress", closing());
    let expires = "2026-11-24T16:00:00Z".parse().unwrap();
    run.add(Entry::Asked { step: step("close-ingress"), digest: digest.clone(), why: "mode ask".into(), expires, people: 1 });
    run.add(Entry::Approved { step: step("close-ingress"), digest, by: analyst(), expires, identity: String::new() });
    run.applied("close-ingress", closing());
    let digest = run.planned("block-source", blocking());
    run.add(Entry::Asked { step: step("block-source"), digest, why: "mode ask".into(), expires, people: 1 });
    run.add(Entry::Refused { step: step("block-source"), by: analyst(), why: "it is our scanner".into(), identity: String::new() });
    run.probe("find-logins", no_login(), "cc");
    run.add(Entry::Skipped { step: step("login-confirmed"), why: "its condition is not met".into() });
    run.undone("close-ingress", &closing());
    matches_golden("undone", &run);
}

/// A line without its code spans and escaped characters (CommonMark 0.31, 2.4 and 6.1).
fn outside_of_code(line: &str) -> String {
    let chars: Vec<char> = line.chars().collect();
    let ticks = |at: usize| chars[at..].iter().take_while(|c| **c == '`').count();
    let (mut out, mut at) = (String::new(), 0);
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '`' => {
                let fence = ticks(at);
                let mut end = at + fence;
                while end < chars.len() && ticks(end) != fence {
                    end += ticks(end).max(1);
                }
                assert!(end < chars.len(), "a code span is not closed: {line}");
                at = end + fence;
            }
            c => {
                out.push(c);
                at += 1;
            }
        }
    }
    out
}

#[test]
fn what_an_attacker_wrote_cannot_leave_its_place() {
    let evil = "x | y \\| z\n## Owned\n<img src=x> [click](http://evil.example) `code` \u{1b}[2J\u{202e}@team";
    let mut run = Run::open_titled(Mode::Act, evil);
    run.probe("record", json!({}), "bb");
    run.applied("close-ingress", closing());
    run.applied("block-source", Plan { notes: vec![evil.into()], ..blocking() });
    let mut outcome = no_login();
    outcome["verdict"] = json!("probable");
    outcome["logins"] = json!([{ "confidence": evil, "user": evil, "host": evil, "line": evil, "reference": evil, "why": evil, "method": evil, "at": evil }]);
    outcome["looked_at"] = json!([{ "group": evil, "stream": evil, "problem": evil }, evil, 7, null]);
    outcome["notes"] = json!([evil]);
    run.probe("find-logins", outcome, "cc");
    run.held("login-confirmed", "x", evil);
    let text = report(&run).markdown();
    assert!(!text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'));
    assert!(!text.lines().any(|line| line.starts_with("## Owned")));
    // Outside of code spans nothing of it is markup.
    for line in text.lines() {
        let outside = outside_of_code(line).replace("[AWS](https", "");
        assert!(!outside.contains("<img") && !outside.contains("](http") && !outside.contains("@team"), "{line}");
    }
    // Every row of a table has as many cells as its header.
    let cells = |line: &str| line.replace("\\\\", "").replace("\\|", "").matches('|').count();
    let mut header = None;
    for line in text.lines() {
        match header {
            _ if !line.starts_with('|') => header = None,
            None => header = Some(cells(line)),
            Some(expected) => assert_eq!(cells(line), expected, "{line}"),
        }
    }
}

#[test]
fn an_outcome_in_another_shape_is_told_as_not_known() {
    for outcome in
        [json!({}), json!(null), json!([1]), json!({ "verdict": "maybe", "logins": 3, "looked_at": {} }), json!({ "verdict": 1 })]
    {
        let mut run = Run::open(Mode::Act);
        run.probe("record", json!({}), "bb");
        run.probe("find-logins", outcome, "cc");
        let report = report(&run);
        assert_eq!(report.access.verdict, AccessVerdict::NotKnown);
        assert!(report.markdown().contains("not known, because"));
    }
}

#[test]
fn a_search_that_was_cut_short_proves_nothing() {
    let mut run = Run::open(Mode::Act);
    run.probe("record", json!({}), "bb");
    let mut outcome = no_login();
    outcome["truncated"] = json!(true);
    run.probe("find-logins", outcome, "cc");
    assert_eq!(report(&run).access.verdict, AccessVerdict::NotKnown);
}

#[test]
fn failures_and_unknown_effects_are_told_with_what_to_do() {
    let mut run = Run::open(Mode::Act);
    run.add(Entry::Failed { step: step("record"), code: "denied".into(), why: "ec2:DescribeInstances was denied".into() });
    run.planned("close-ingress", closing());
    run.add(Entry::ApplyStarted { step: step("close-ingress"), attempt: 1, epoch: 1, also: vec![], uncounted: false });
    let again = Some(run.now);
    run.add(Entry::ApplyFailed {
        step: step("close-ingress"),
        effect: Effect::Unknown,
        error: "the answer was lost".into(),
        again,
        counts: true,
    });
    run.add(Entry::Recovered { step: step("close-ingress"), verdict: Verdict::Drifted { detail: "somebody changed it".into() } });
    run.add(Entry::Stuck { step: step("close-ingress"), why: "somebody changed it meanwhile".into() });
    let report = report(&run);
    let of = |id: &str| report.not_done.iter().find(|one| one.step.as_deref() == Some(id)).unwrap();
    assert!(of("record").answer.as_ref().unwrap().starts_with("cordon incident release inc-"));
    assert_eq!(of("close-ingress").state, "stuck");
    assert_eq!(report.changed.first().map(|row| row.now.as_str()), Some("unknown"));
    assert!(report.undo.will_not.iter().any(|line| line.contains("to the world again")));
}

#[test]
fn what_a_plan_notes_and_why_a_step_was_refused_or_had_nothing_to_do_stands_in_the_report() {
    let mut run = Run::open(Mode::Act);
    run.probe("record", json!({}), "bb");
    let spot = "i-0abc is a Spot Instance: AWS may take it at any time";
    run.applied("close-ingress", Plan { notes: vec![spot.into()], ..closing() });
    let full = "network ACL acl-0bb has no room for another entry";
    run.held("block-source", "acl-full", full);
    run.add(Entry::Failed { step: step("find-logins"), code: "denied".into(), why: "logs:FilterLogEvents was denied".into() });
    let told = report(&run);
    assert!(told.notes.iter().any(|note| note.text == spot), "{:?}", told.notes);
    let why = |id: &str| told.not_done.iter().find(|one| one.step.as_deref() == Some(id)).map(|one| one.why.clone()).unwrap_or_default();
    assert!(why("block-source").contains(full) && why("find-logins").contains("was denied"));
    let text = told.markdown();
    for part in ["is a Spot Instance", "has no room for another entry", "was denied"] {
        assert!(text.contains(part), "{part}: {text}");
    }

    // What was so already, such as a key that is inactive, is neither a change nor passed over in silence.
    let mut run = Run::open(Mode::Act);
    run.probe("record", json!({}), "bb");
    let already = Plan { already: closing().changes, changes: Vec::new(), ..closing() };
    run.planned("close-ingress", already);
    run.add(Entry::AlreadyDone { step: step("close-ingress"), claims: vec![] });
    let told = report(&run);
    let done = told.not_done.iter().find(|one| one.step.as_deref() == Some("close-ingress")).unwrap();
    assert!(done.state == "already-done" && done.why.ends_with("already"), "{done:?}");
}
