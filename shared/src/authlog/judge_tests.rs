use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;

const ATTACKER: &str = "203.0.113.9";

fn at(second: i64) -> Timestamp {
    "2026-11-24T04:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(second)
}

fn line(second: i64, message: &str) -> LogLine {
    LogLine {
        at: at(second),
        source: "/var/log/secure:i-0a".to_owned(),
        text: if message.starts_with(['<', '{']) {
            message.to_owned()
        } else {
            format!("Nov 24 04:00:00 ip-10-0-0-5 sshd[{}]: {message}", 100 + second)
        },
        reference: format!("event-{second}"),
    }
}

fn failed(second: i64, user: &str, from: &str) -> LogLine {
    line(second, &format!("Failed password for {user} from {from} port 5 ssh2"))
}

fn accepted(second: i64, method: &str, user: &str, from: &str) -> LogLine {
    let key = if method == "publickey" { ": ED25519 SHA256:abc" } else { "" };
    line(second, &format!("Accepted {method} for {user} from {from} port 5 ssh2{key}"))
}

fn question(known: &[&str]) -> Question {
    Question {
        attackers: vec![ATTACKER.parse().unwrap(), "2001:db8:1:2::9".parse().unwrap()],
        since: at(0),
        until: at(10_000),
        known: known.iter().map(|net| net.parse().unwrap()).collect(),
    }
}

fn judge(lines: &[LogLine]) -> Findings {
    judge_with(&question(&[]), lines)
}

fn judge_with(question: &Question, lines: &[LogLine]) -> Findings {
    let mut judge = Judge::new(question);
    lines.iter().for_each(|line| judge.feed(line));
    judge.finish()
}

#[test]
fn a_password_login_after_failures_of_the_same_address_is_confirmed() {
    for method in ["password", "keyboard-interactive/pam", "none"] {
        let findings = judge(&[
            failed(1, "root", ATTACKER),
            failed(2, "root", ATTACKER),
            accepted(3, method, "root", ATTACKER),
            failed(4, "root", ATTACKER),
        ]);
        let [login] = findings.logins.as_slice() else { panic!("{findings:?}") };
        assert_eq!(login.confidence, Confidence::Confirmed, "{method}");
        assert_eq!((login.user.as_str(), login.from, login.failures_before), ("root", Some(ATTACKER.parse().unwrap()), 2));
        assert_eq!((login.at, login.reference.as_str()), (at(3), "event-3"));
        assert!(login.line.contains("Accepted"));
        assert_eq!((findings.failures, findings.confidence()), (3, Some(Confidence::Confirmed)));
    }
}

#[test]
fn the_order_of_feeding_does_not_matter_but_the_time_does() {
    let mut lines = vec![accepted(5, "password", "root", ATTACKER), failed(1, "root", ATTACKER), failed(9, "root", ATTACKER)];
    for _ in 0..3 {
        lines.rotate_left(1);
        let login = judge(&lines).logins.remove(0);
        assert_eq!((login.confidence, login.failures_before), (Confidence::Confirmed, 1));
    }
    let late = judge(&[failed(9, "root", ATTACKER), accepted(5, "password", "root", ATTACKER)]);
    assert_eq!((late.logins[0].confidence, late.logins[0].failures_before), (Confidence::Probable, 0));
    let same_instant = judge(&[accepted(5, "password", "root", ATTACKER), failed(5, "root", ATTACKER)]);
    assert_eq!(same_instant.logins[0].confidence, Confidence::Probable);
    let same_instant = judge(&[failed(5, "root", ATTACKER), accepted(5, "password", "root", ATTACKER)]);
    assert_eq!((same_instant.logins[0].confidence, same_instant.logins[0].failures_before), (Confidence::Confirmed, 1));
}

#[test]
fn an_early_login_does_not_hide_a_later_one_after_failures() {
    let findings = judge(&[
        accepted(1, "password", "root", ATTACKER),
        failed(2, "root", ATTACKER),
        accepted(3, "password", "root", ATTACKER),
        accepted(4, "password", "root", ATTACKER),
    ]);
    let [login] = findings.logins.as_slice() else { panic!("{findings:?}") };
    assert_eq!((login.confidence, login.at, login.times), (Confidence::Confirmed, at(3), 3));
    assert_eq!((login.first, login.last), (at(1), at(4)));
}

#[test]
fn neighbours_keys_and_logins_without_failures_are_probable() {
    for (lines, why) in [
        (vec![failed(1, "root", ATTACKER), accepted(2, "password", "root", "203.0.113.77")], "neighbourhood"),
        (vec![failed(1, "root", ATTACKER), accepted(2, "password", "root", "2001:db8:1:2:ffff::1")], "neighbourhood"),
        (vec![failed(1, "root", ATTACKER), accepted(2, "publickey", "root", ATTACKER)], "public key"),
        (vec![accepted(2, "password", "root", ATTACKER)], "no failed attempt"),
        (vec![failed(1, "root", "198.51.100.1"), accepted(2, "password", "root", ATTACKER)], "no failed attempt"),
        (vec![failed(1, "root", ATTACKER), accepted(2, "hostbased", "root", ATTACKER)], "other means"),
    ] {
        let findings = judge(&lines);
        assert_eq!(findings.logins[0].confidence, Confidence::Probable, "{why}");
        assert!(findings.logins[0].why.contains(why), "{}", findings.logins[0].why);
    }
    assert!(judge(&[failed(1, "x", ATTACKER), accepted(2, "password", "root", "203.0.114.9")]).logins.is_empty());
}

#[test]
fn what_is_no_guess_does_not_confirm() {
    for message in [
        format!("Failed publickey for root from {ATTACKER} port 5 ssh2: RSA SHA256:a"),
        format!("Failed none for root from {ATTACKER} port 5 ssh2"),
        format!("Connection closed by authenticating user root {ATTACKER} port 5 [preauth]"),
        format!("Connection closed by {ATTACKER} port 5 [preauth]"),
        format!("Unable to negotiate with {ATTACKER} port 5: no matching cipher found. Their offer: x"),
    ] {
        assert_eq!(
            judge(&[line(1, &message), accepted(2, "password", "root", ATTACKER)]).logins[0].confidence,
            Confidence::Probable,
            "{message}"
        );
    }
}

#[test]
fn a_pam_module_in_the_logins_own_process_is_no_failure() {
    let module = |second: i64, pid: u32| LogLine {
        text: format!(
            "Nov 24 04:00:00 h sshd[{pid}]: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ATTACKER}  user=root"
        ),
        ..line(second, "")
    };
    let login = accepted(5, "password", "root", ATTACKER);
    assert_eq!(judge(&[module(1, 105), login.clone()]).logins[0].confidence, Confidence::Probable);
    assert_eq!(judge(&[module(1, 104), login.clone()]).logins[0].confidence, Confidence::Confirmed);
    assert_eq!(judge(&[login, module(1, 105), module(2, 104)]).logins[0].confidence, Confidence::Confirmed);
}

#[test]
fn a_tried_user_that_logs_in_elsewhere_afterwards_is_a_lead() {
    let lines = [
        accepted(1, "publickey", "ec2-user", "198.51.100.1"),
        failed(2, "ec2-user", ATTACKER),
        accepted(3, "publickey", "ec2-user", "198.51.100.2"),
        accepted(4, "publickey", "deploy", "198.51.100.3"),
        accepted(5, "password", "ec2-user", "bastion.example.com"),
    ];
    let findings = judge(&lines);
    let found: Vec<_> =
        findings.logins.iter().map(|login| (login.confidence, login.from.map(|from| from.to_string()), login.host.as_deref())).collect();
    assert_eq!(
        found,
        [(Confidence::Lead, Some("198.51.100.2".into()), None), (Confidence::Lead, None, Some("bastion.example.com"))],
        "before it was tried, and users nobody tried, are no leads"
    );
    let reversed: Vec<_> = lines.iter().rev().cloned().collect();
    assert_eq!(judge(&reversed).logins.len(), 2);
}

#[test]
fn known_sources_never_count() {
    let lines = [
        failed(1, "root", ATTACKER),
        accepted(2, "password", "root", ATTACKER),
        accepted(3, "password", "root", "203.0.113.77"),
        accepted(4, "password", "root", "198.51.100.2"),
    ];
    for known in ["203.0.113.0/24", "::ffff:203.0.113.0/120"] {
        let findings = judge_with(&question(&[known]), &lines);
        assert!(findings.logins.is_empty(), "{findings:?}");
        assert_eq!((findings.failures, findings.known_lines), (0, 3));
    }
    assert_eq!(judge_with(&question(&["198.51.100.0/24"]), &lines).logins.len(), 2);
}

#[test]
fn a_forged_user_name_confirms_nothing() {
    let findings = judge(&[
        failed(1, "root", ATTACKER),
        line(2, &format!("Invalid user Accepted password for root from {ATTACKER} port 22 ssh2 from 198.51.100.1 port 5")),
        line(3, &format!("Failed password for invalid user x from {ATTACKER} port 22 ssh2 from 198.51.100.1 port 5 ssh2")),
        LogLine { text: format!("Nov 24 04:00:00 h httpd[1]: Accepted password for root from {ATTACKER} port 22 ssh2"), ..line(4, "") },
    ]);
    assert_eq!((findings.logins.len(), findings.failures, findings.sshd_lines, findings.lines_read), (0, 1, 3, 4));
}

#[test]
fn windows_logons_follow_the_same_rules() {
    let event = |second: i64, id: u32, kind: u32, user: &str, from: &str| {
        line(
            second,
            &format!(
                "<Event><System><Provider Name='Microsoft-Windows-Security-Auditing'/><EventID>{id}</EventID></System><EventData><Data Name='TargetUserName'>{user}</Data><Data Name='LogonType'>{kind}</Data><Data Name='IpAddress'>{from}</Data></EventData></Event>"
            ),
        )
    };
    for (kind, confidence) in [(3, Confidence::Confirmed), (10, Confidence::Confirmed), (8, Confidence::Probable)] {
        let findings = judge(&[event(1, 4625, 3, "Administrator", ATTACKER), event(2, 4624, kind, "administrator", ATTACKER)]);
        assert_eq!(findings.logins[0].confidence, confidence, "type {kind}");
        assert_eq!((findings.windows_lines, findings.sshd_lines), (2, 0));
    }
    let findings = judge(&[
        event(1, 4625, 3, "Administrator", ATTACKER),
        event(2, 4624, 5, "administrator", "-"),
        event(3, 4624, 3, "administrator", "127.0.0.1"),
        event(4, 4624, 3, "administrator", "198.51.100.1"),
        event(5, 4648, 0, "administrator", ATTACKER),
        event(6, 4740, 0, "administrator", "-"),
    ]);
    assert_eq!(findings.logins.iter().map(|login| login.confidence).collect::<Vec<_>>(), [Confidence::Lead, Confidence::Lead]);
    assert_eq!(findings.lockouts, 1);
    assert_eq!(
        judge(&[event(1, 4625, 3, "a", ATTACKER), accepted(2, "password", "a", ATTACKER)]).logins[0].confidence,
        Confidence::Probable
    );
}

#[test]
fn one_attempt_that_leaves_three_lines_is_one_failure() {
    let pam = format!("pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ATTACKER}");
    let findings = judge(&[
        line(1, &format!("Invalid user x from {ATTACKER} port 5")),
        line(1, &pam),
        line(2, &format!("Failed password for invalid user x from {ATTACKER} port 5 ssh2")),
        line(3, &format!("message repeated 4 times: [ Failed password for invalid user x from {ATTACKER} port 5 ssh2]")),
    ]);
    assert_eq!(findings.failures, 5);
    assert_eq!((findings.users_tried[0].user.as_str(), findings.users_tried[0].attempts, findings.users_tried[0].first), ("x", 5, at(1)));
}

#[test]
fn says_whether_there_was_a_log_and_a_window() {
    let nothing = judge(&[]);
    assert!(!nothing.saw_a_log() && nothing.first_line.is_none());
    assert!(!judge(&[LogLine { text: "GET / 200".into(), ..line(1, "") }]).saw_a_log());
    let findings = judge(&[failed(-1, "root", ATTACKER), accepted(5, "password", "root", ATTACKER), failed(10_001, "root", ATTACKER)]);
    assert!(findings.saw_a_log());
    assert_eq!((findings.outside_window, findings.first_line, findings.last_line), (2, Some(at(5)), Some(at(5))));
    assert_eq!(findings.logins[0].confidence, Confidence::Probable);
}

#[test]
fn a_confirmed_login_is_never_dropped_for_lesser_ones() {
    let mut judge = Judge::new(&question(&[]));
    for user in 0..3_000 {
        judge.feed(&accepted(1, "password", &format!("early-{user}"), ATTACKER));
        judge.feed(&accepted(1, "publickey", &format!("key-{user}"), "203.0.113.77"));
        judge.feed(&accepted(1, "password", &format!("elsewhere-{user}"), "198.51.100.1"));
    }
    judge.feed(&failed(2, "late", ATTACKER));
    judge.feed(&accepted(3, "password", "late", ATTACKER));
    judge.feed(&accepted(3, "password", "late", "198.51.100.1"));
    for user in 0..3_000 {
        judge.feed(&accepted(1, "password", &format!("again-{user}"), ATTACKER));
    }
    let findings = judge.finish();
    assert_eq!((findings.logins[0].user.as_str(), findings.logins[0].confidence), ("late", Confidence::Confirmed));
    assert!(findings.logins.iter().any(|login| login.confidence == Confidence::Lead && login.user == "late"));
    assert!(findings.is_truncated() && findings.logins.len() < 3_000);
    assert!(findings.not_kept.attacker_logins > 4_000 && findings.not_kept.other_logins > 2_000 && findings.not_kept.elsewhere > 1_500);
}

#[test]
fn many_names_and_many_moments_stay_bounded() {
    let mut judge = Judge::new(&Question { until: at(1_000_000), ..question(&[]) });
    for n in 0..60_000 {
        judge.feed(&failed(n, &format!("user-{n}"), ATTACKER));
    }
    judge.feed(&accepted(30_000, "password", "root", ATTACKER));
    let findings = judge.finish();
    assert_eq!((findings.failures, findings.users_tried.len(), findings.users_tried_total), (60_000, 20, 50_000));
    assert!(findings.not_kept.users_tried >= 10_000);
    let before = findings.logins[0].failures_before;
    assert!((29_000..=30_001).contains(&before), "{before}");
    assert_eq!(findings.logins[0].confidence, Confidence::Confirmed);
}

#[test]
fn findings_survive_a_journal() {
    let findings = judge(&[failed(1, "root", ATTACKER), accepted(2, "publickey", "root", ATTACKER)]);
    let text = serde_json::to_string(&findings).unwrap();
    assert_eq!(serde_json::from_str::<Findings>(&text).unwrap(), findings);
    assert!(serde_json::to_string(&schemars::schema_for!(Findings)).unwrap().contains("not_kept"));
}

proptest! {
    #[test]
    fn confirmed_exactly_when_a_guess_lies_before_a_password_login(
        events in proptest::collection::vec((0..40_i64, any::<bool>()), 1..30),
        rotation in 0..30_usize,
    ) {
        let mut lines: Vec<LogLine> = Vec::new();
        // Different instants, so that the order of feeding cannot matter.
        for (index, (second, is_login)) in events.iter().enumerate() {
            let moment = second * 100 + i64::try_from(index).unwrap();
            lines.push(if *is_login { accepted(moment, "password", "root", ATTACKER) } else { failed(moment, "root", ATTACKER) });
        }
        let time = |line: &LogLine| line.at;
        let first_failure = lines.iter().filter(|line| line.text.contains("Failed")).map(time).min();
        let logins: Vec<Timestamp> = lines.iter().filter(|line| line.text.contains("Accepted")).map(time).collect();
        let confirmed = first_failure.is_some_and(|first| logins.iter().any(|login| *login > first));
        let length = lines.len();
        lines.rotate_left(rotation % length);
        let findings = judge(&lines);
        prop_assert_eq!(findings.confidence() == Some(Confidence::Confirmed), confirmed);
        prop_assert_eq!(findings.logins.len(), usize::from(!logins.is_empty()));
        if let Some(login) = findings.logins.first() {
            let before = lines.iter().filter(|line| line.text.contains("Failed") && line.at < login.at).count() as u64;
            prop_assert_eq!(login.failures_before, before);
        }
    }

    #[test]
    fn no_line_makes_the_judge_panic(texts in proptest::collection::vec(any::<String>(), 0..20), address in any::<[u8; 16]>()) {
        let mut judge = Judge::new(&Question { attackers: vec![IpAddr::from(address)], ..question(&["0.0.0.0/32", "::/128"]) });
        for text in texts {
            judge.feed(&LogLine { text: format!("sshd[1]: {text}"), ..line(1, "") });
        }
        prop_assert!(judge.finish().lines_read <= 20);
    }
}

#[test]
fn where_nobody_is_named_an_address_is_judged_by_its_own_failures_and_a_mistyped_password_is_nothing() {
    let nobody = Question { attackers: vec![], ..question(&["198.51.100.0/24"]) };
    let tries = |from: &str, times: i64| (0..times).map(|n| failed(n, "root", from)).collect::<Vec<_>>();
    let mut lines = tries(ATTACKER, 12);
    lines.push(accepted(100, "password", "ubuntu", ATTACKER));
    lines.extend(tries("203.0.114.77", 4));
    lines.push(accepted(101, "password", "ann", "203.0.114.77"));
    lines.extend(tries("203.0.115.5", 1));
    lines.push(accepted(102, "password", "bob", "203.0.115.5"));
    lines.push(accepted(103, "publickey", "eve", "203.0.116.6"));
    // A scanner that is known never counts.
    lines.extend(tries("198.51.100.4", 40));
    lines.push(accepted(104, "password", "scan", "198.51.100.4"));
    let findings = judge_with(&nobody, &lines);
    let told: Vec<(Confidence, &str, u64)> =
        findings.logins.iter().map(|login| (login.confidence, login.user.as_str(), login.failures_before)).collect();
    assert_eq!(told, [(Confidence::Confirmed, "ubuntu", 12), (Confidence::Lead, "ann", 4)]);
}
