use cordon_shared::{
    engine::Entry,
    mode::Mode,
    plan::{Effect, Plan, Verdict},
};
use serde_json::json;

use super::{
    AccessVerdict, Report,
    fixture::{Run, analyst, blocking, closing, golden, no_login, step},
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
    run.add(Entry::Asked { step: step("close-ingress"), digest: digest.clone(), why: "mode ask".into(), expires });
    run.add(Entry::Approved { step: step("close-ingress"), digest, by: analyst(), expires });
    run.applied("close-ingress", closing());
    let digest = run.planned("block-source", blocking());
    run.add(Entry::Asked { step: step("block-source"), digest, why: "mode ask".into(), expires });
    run.add(Entry::Refused { step: step("block-source"), by: analyst(), why: "it is our scanner".into() });
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
    run.add(Entry::ApplyStarted { step: step("close-ingress"), attempt: 1, epoch: 1, also: vec![] });
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
