//! Runs for tests: entries folded as the journal folds them.

use std::{env, fs, path::Path};

use cordon_shared::{
    engine::{Entry, FindingNote, Hold, Person, UndoCause, View},
    finding::{FindingId, ResourceRole, Subject, SubjectKind, Version},
    id::{CellId, IncidentId},
    journal::{Sealed, ops},
    mode::Mode,
    plan::{Change, Plan, StepKey, Verdict},
    playbook::Playbook,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

const PLAYBOOK: &str = r#"
name = "ec2-brute-force"
title = "An EC2 instance under brute force, or taking part in one"
subject = "instance"
[[match]]
type = ["UnauthorizedAccess:EC2/SSHBruteForce"]
[[steps]]
id = "record"
action = "ec2.record-all"
[[steps]]
id = "close-ingress"
action = "ec2.close-open-ingress"
needs = ["record"]
even_if = "failed"
[[steps]]
id = "block-source"
action = "ec2.block-source-in-nacl"
needs = ["close-ingress"]
even_if = "failed"
ttl = "24h"
[[steps]]
id = "find-logins"
action = "logs.find-logins"
needs = ["record"]
even_if = "failed"
[[steps]]
id = "login-confirmed"
hold = "A login from the attacker succeeded. A person must isolate this instance and replace its credentials."
needs = ["find-logins"]
when = "steps.find-logins.outcome.verdict == 'confirmed'"
"#;

/// One that contains an instance that was taken over, and looks for how.
pub(crate) const ACTOR: &str = r#"
name = "ec2-brute-force"
title = "An EC2 instance under brute force, or taking part in one"
subject = "instance"
[[match]]
type = ["UnauthorizedAccess:EC2/SSHBruteForce"]
[[turns]]
when = "steps.find-logins.outcome.verdict == 'confirmed'"
role = "ACTOR"
why = "A login of the attacker is confirmed"
[[steps]]
id = "exposure"
action = "ec2.instance-exposure"
phase = "record"
[[steps]]
id = "close-ingress"
action = "ec2.close-open-ingress"
phase = "contain"
[[steps]]
id = "opened"
action = "cloudtrail.trace-exposure"
phase = "investigate"
[[steps]]
id = "find-logins"
action = "logs.find-logins"
phase = "investigate"
[[steps]]
id = "cut-flows"
action = "ec2.cut-tracked-flows"
when = "finding.role == 'ACTOR'"
phase = "contain"
ttl = "5m"
[[steps]]
id = "isolate"
action = "ec2.isolate-instance"
when = "finding.role == 'ACTOR'"
phase = "contain"
[[steps]]
id = "deny-sessions"
action = "iam.deny-older-sessions"
when = "finding.role == 'ACTOR'"
phase = "credentials"
[[steps]]
id = "trace"
action = "cloudtrail.trace-credentials"
when = "finding.role == 'ACTOR'"
phase = "investigate"
[[steps]]
id = "chained-roles"
action = "cloudtrail.list-chained-roles"
when = "finding.role == 'ACTOR'"
phase = "investigate"
[[steps]]
id = "related"
action = "securityhub.related-findings"
phase = "investigate"
[[steps]]
id = "trace-again"
action = "cloudtrail.trace-credentials"
when = "finding.role == 'ACTOR'"
phase = "investigate"
"#;

pub(crate) const GROUP: &str = "arn:aws:ec2:us-east-1:111122223333:security-group/sg-0aa";
pub(crate) const ACL: &str = "arn:aws:ec2:us-east-1:111122223333:network-acl/acl-0bb";

/// A run under construction; each entry comes a second after the one before.
pub(crate) struct Run {
    pub(crate) id: IncidentId,
    pub(crate) now: Timestamp,
    pub(crate) entries: Vec<Sealed>,
}

pub(crate) fn step(id: &str) -> StepKey {
    StepKey::first(id)
}

pub(crate) fn analyst() -> Person {
    Person("arn:aws:sts::222222222222:assumed-role/Analyst/ada".into())
}

impl Run {
    pub(crate) fn open(mode: Mode) -> Self {
        Self::open_titled(mode, "203.0.113.5 is performing SSH brute force attacks against i-0abc.")
    }

    pub(crate) fn open_titled(mode: Mode, title: &str) -> Self {
        Self::open_with(mode, title, PLAYBOOK)
    }

    pub(crate) fn open_with(mode: Mode, title: &str, playbook: &str) -> Self {
        let cell = CellId::new("111122223333".parse().unwrap(), "us-east-1".parse().unwrap());
        let arn = "arn:aws:ec2:us-east-1:111122223333:instance/i-0abc".parse().ok();
        let subject = Subject { cell, kind: SubjectKind::Instance, id: "i-0abc".into(), arn };
        let remote = vec!["203.0.113.5".parse().unwrap()];
        let version = Version { updated_at: None, count: 14, severity: 20, role: Some(ResourceRole::Target), remote_ips: remote };
        let finding = FindingNote {
            id: FindingId("arn:aws:guardduty:us-east-1:111122223333:detector/d1/finding/f1".into()),
            version,
            input: "event.json:1".into(),
            finding: json!({
                "provider": "guard-duty", "type": "UnauthorizedAccess:EC2/SSHBruteForce", "title": title, "severity": 20, "role": "TARGET",
                "network": { "protocol": "tcp", "local_port": 22, "remote_ips": ["203.0.113.5"] },
                "first_seen": "2026-11-24T11:00:00Z", "last_seen": "2026-11-24T11:58:00Z", "count": 14,
            }),
            raw_sha256: "aa".repeat(32),
        };
        let now = "2026-11-24T12:00:00Z".parse().unwrap();
        let opened = Entry::Opened {
            playbook: "ec2-brute-force".into(),
            source: playbook.into(),
            digest: Playbook::parse(playbook, "ec2-brute-force.toml").unwrap().digest,
            subject,
            finding: Box::new(finding),
            mode,
            observe_only: None,
            detected_at: now,
        };
        let mut run = Self { id: IncidentId::from_u128(0x0193_5d10_0000_7000_8000_0000_0000_0001), now, entries: Vec::new() };
        run.add(opened);
        run.add(Entry::Admitted { account: json!({ "id": "111122223333", "name": "shop" }) });
        run
    }

    pub(crate) fn add(&mut self, entry: Entry) {
        let seq = self.entries.len() as u64 + 1;
        let prev = self.entries.last().map(|sealed| sealed.hash.clone()).unwrap_or_default();
        self.entries.push(Sealed::new(self.id, seq, self.now, entry, &prev).unwrap());
        self.now = self.now.checked_add(SignedDuration::from_secs(1)).unwrap();
    }

    pub(crate) fn view(&self) -> View {
        ops::fold(self.id, &self.entries).unwrap()
    }

    pub(crate) fn probe(&mut self, id: &str, outcome: Value, evidence: &str) {
        self.add(Entry::ProbeDone { step: step(id), with: json!({ "instance": "i-0abc" }), outcome, evidence: vec![evidence.repeat(32)] });
    }

    pub(crate) fn planned(&mut self, id: &str, plan: Plan) -> String {
        let digest = plan.digest(id, &json!({}));
        self.add(Entry::Planned { step: step(id), with: json!({}), plan: Box::new(plan), digest: digest.clone(), region: None });
        digest
    }

    pub(crate) fn applied(&mut self, id: &str, plan: Plan) {
        self.applied_with(id, plan, json!({}));
    }

    pub(crate) fn applied_with(&mut self, id: &str, plan: Plan, outcome: Value) {
        self.planned(id, plan);
        self.add(Entry::Decided { step: step(id), because: "mode act allows a reversible change; no opt-out, caps not spent".into() });
        self.add(Entry::ApplyStarted { step: step(id), attempt: 1, epoch: 1, also: vec![], uncounted: false });
        self.add(Entry::Applied { step: step(id), outcome });
        self.add(Entry::Verified { step: step(id), verdict: Verdict::InEffect, again: None });
    }

    pub(crate) fn held(&mut self, id: &str, code: &str, why: &str) {
        self.add(Entry::Held { step: Some(step(id)), hold: Hold { code: code.into(), why: why.into() } });
    }

    pub(crate) fn undone(&mut self, id: &str, plan: &Plan) {
        self.add(Entry::UndoAsked { step: step(id), cause: UndoCause::Person { by: analyst(), whole: false } });
        let from = self.view().step(&step(id)).unwrap().claims.clone();
        self.add(Entry::UndoStarted { step: step(id), attempt: 1, epoch: 1, from });
        let restored =
            plan.changes.iter().map(|change| Change { before: change.after.clone(), after: change.before.clone(), ..change.clone() });
        self.add(Entry::Undone { step: step(id), restored: restored.collect(), left: Vec::new() });
    }
}

pub(crate) fn closing() -> Plan {
    Plan {
        changes: vec![
            Change {
                resource: GROUP.into(),
                attribute: "ingress tcp 22 ipv4".into(),
                before: json!("open: sgr-01 tcp 22 from 0.0.0.0/0"),
                after: json!("closed"),
            },
            Change {
                resource: GROUP.into(),
                attribute: "ingress tcp 22 ipv6".into(),
                before: json!("open: sgr-02 tcp 22 from ::/0"),
                after: json!("closed"),
            },
        ],
        touches: [GROUP.to_owned()].into(),
        notes: vec!["group sg-0aa is also used by eni-0cc of i-0def".into()],
        ..Plan::default()
    }
}

pub(crate) fn blocking() -> Plan {
    Plan {
        changes: vec![
            Change {
                resource: ACL.into(),
                attribute: "ingress 99 deny 203.0.113.5/32 tcp 22".into(),
                before: Value::Null,
                after: json!({ "rule": 99, "action": "deny" }),
            },
            Change {
                resource: ACL.into(),
                attribute: "egress 99 deny 203.0.113.5/32 tcp 1024-65535".into(),
                before: Value::Null,
                after: json!({ "rule": 99, "action": "deny" }),
            },
        ],
        touches: [ACL.to_owned()].into(),
        ..Plan::default()
    }
}

pub(crate) fn no_login() -> Value {
    json!({
        "verdict": "none", "confirmed": 0, "probable": 0, "leads": 0, "logins": [], "failures": 212, "lines_read": 431,
        "looked_at": [{ "group": "/var/log/secure", "stream": "i-0abc", "lines": 431, "first": "2026-11-24T10:00:03Z", "last": "2026-11-24T11:59:58Z" }],
        "truncated": false, "window": { "since": "2026-11-24T10:00:00Z", "until": "2026-11-24T12:00:02Z" }, "notes": [],
    })
}

/// Compares with a file under the crate's folder; with `CORDON_UPDATE_GOLDEN` set, writes it.
pub(crate) fn golden(path: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let actual = format!("{}\n", actual.trim_end());
    if env::var_os("CORDON_UPDATE_GOLDEN").is_some() {
        fs::write(&path, &actual).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == actual,
        "{} is not what the code makes (CORDON_UPDATE_GOLDEN=1 writes it); the code makes:\n{actual}",
        path.display()
    );
}
