use jiff::SignedDuration;
use serde_json::json;

use super::*;
use crate::{
    engine::{ClaimFrom, Entry, FindingNote, Hold, Person, UndoCause},
    finding::{FindingId, Subject, SubjectKind, Version},
    id::CellId,
    mode::Mode,
    plan::{Change, Effect, Plan, Verdict},
};

const PLAYBOOK: &str = "name = \"t\"\ntitle = \"T\"\nsubject = \"instance\"\n[[match]]\ntype = [\"T\"]\n\
    [[steps]]\nid = \"a\"\naction = \"x\"\non_expiry = \"escalate\"\n[[steps]]\nid = \"b\"\naction = \"x\"\nneeds = []\non_failure = \"continue\"\n";

fn start() -> Timestamp {
    "2026-11-24T00:00:00Z".parse().unwrap()
}

fn later(minutes: i64) -> Timestamp {
    start() + SignedDuration::from_mins(minutes)
}

fn a() -> StepKey {
    StepKey::first("a")
}

fn by() -> Person {
    Person("ann".into())
}

/// A run of its own, or a sweep's child, and all that was told of it.
struct Story {
    view: View,
    child: bool,
    told: Vec<Notice>,
}

impl Story {
    fn new(child: bool) -> Self {
        let cell = CellId::new("111122223333".parse().unwrap(), "us-east-1".parse().unwrap());
        let version = Version { updated_at: None, count: 1, severity: 20, role: None, remote_ips: vec![] };
        let finding = FindingNote {
            id: FindingId("f".into()),
            version,
            input: "-".into(),
            finding: json!({ "type": "T", "severity": 20 }),
            raw_sha256: String::new(),
        };
        let opened = Entry::Opened {
            playbook: "t".into(),
            source: PLAYBOOK.into(),
            digest: String::new(),
            subject: Subject { cell, kind: SubjectKind::Instance, id: "i-1".into(), arn: None },
            finding: Box::new(finding),
            mode: Mode::Act,
            observe_only: None,
            detected_at: start(),
        };
        Self { view: View::open(IncidentId::from_u128(1), start(), &opened).unwrap(), child, told: Vec::new() }
    }

    /// What everybody is told of these entries.
    fn add(&mut self, entries: impl IntoIterator<Item = Entry>) -> Vec<&'static str> {
        let before = Standing::of(&self.view);
        for entry in entries {
            self.view.fold(start(), &entry).unwrap();
        }
        let new = notices(&before, &self.view, self.child);
        let kinds = new.iter().filter(|notice| notice.everybody).map(|notice| notice.kind.as_str()).collect();
        self.told.extend(new);
        kinds
    }

    fn admit(&mut self) -> Vec<&'static str> {
        self.add([Entry::Admitted { account: json!({}) }])
    }

    fn planned(&self, step: StepKey) -> Entry {
        let change = Change { resource: "r".into(), attribute: "on".into(), before: json!(false), after: json!(true) };
        let plan = Box::new(Plan { changes: vec![change], ..Plan::default() });
        Entry::Planned { step, with: json!({}), plan, digest: "d".into(), region: None }
    }

    fn ask(&mut self) -> Vec<&'static str> {
        let planned = self.planned(a());
        let asked = Entry::Asked { step: a(), digest: "d".into(), why: "production".into(), expires: later(60), people: 1 };
        self.add([planned, asked])
    }

    /// A step that comes into effect as it should.
    fn done(&mut self, step: StepKey) -> Vec<&'static str> {
        let mut entries = if self.view.step(&step).unwrap().plan.is_some() { Vec::new() } else { vec![self.planned(step.clone())] };
        entries.push(Entry::ApplyStarted { step: step.clone(), attempt: 1, epoch: 1, also: vec![], uncounted: false });
        entries.push(Entry::Applied { step: step.clone(), outcome: json!({}) });
        entries.push(Entry::Verified { step, verdict: Verdict::InEffect, again: None });
        self.add(entries)
    }
}

/// A question.
pub(crate) fn asking() -> Notice {
    let mut story = Story::new(false);
    story.admit();
    story.ask();
    story.told.into_iter().find(|notice| notice.kind == NoticeKind::Asks).unwrap()
}

#[test]
fn a_sweeps_child_in_which_nothing_happens_is_no_news() {
    let mut child = Story::new(true);
    assert!(child.admit().is_empty() && child.done(a()).is_empty());
    let failed = Entry::Failed { step: StepKey::first("b"), code: "x".into(), why: "a note".into() };
    assert!(child.add([failed]).is_empty(), "what may fail needs nobody");
    // Who is told of the outcomes of all children still finds them.
    let kept: Vec<_> = child.told.iter().map(|notice| (notice.kind, notice.everybody)).collect();
    assert_eq!(kept, [(NoticeKind::Closed, false)]);
    let mut own = Story::new(false);
    assert_eq!(own.admit(), ["detected"]);
    own.done(a());
    assert_eq!(own.done(StepKey::first("b")), ["closed"]);
}

#[test]
fn a_sweeps_child_is_told_of_from_the_first_question_on_and_its_thread_begins_with_the_detection() {
    let mut child = Story::new(true);
    assert!(child.admit().is_empty());
    assert!(child.done(StepKey::first("b")).is_empty());
    assert_eq!(child.ask(), ["detected", "asks"]);
    assert_eq!(
        child.add([Entry::Approved { step: a(), digest: "d".into(), by: by(), expires: later(60), identity: String::new() }]),
        ["answered"]
    );
    assert_eq!(child.done(a()), ["closed"], "and from then on all of it is");
    let detected = child.told.iter().filter(|notice| notice.kind == NoticeKind::Detected).count();
    assert_eq!(detected, 1);
}

#[test]
fn a_hold_a_failure_and_an_unknown_effect_of_a_sweeps_child_are_told() {
    let held = |code: &str| Entry::Held { step: None, hold: Hold { code: code.into(), why: "w".into() } };
    assert_eq!(Story::new(true).add([held("role-missing")]), ["detected", "held"]);
    let mut child = Story::new(true);
    child.admit();
    child.done(StepKey::first("b"));
    let started = [child.planned(a()), Entry::ApplyStarted { step: a(), attempt: 1, epoch: 1, also: vec![], uncounted: false }];
    child.add(started);
    let error = Entry::ApplyFailed { step: a(), effect: Effect::Unknown, error: "e".into(), again: None, counts: true };
    assert_eq!(child.add([error, Entry::Stuck { step: a(), why: "w".into() }]), ["detected", "stuck"]);
    let mut child = Story::new(true);
    child.admit();
    child.done(StepKey::first("b"));
    assert_eq!(child.add([Entry::Failed { step: a(), code: "denied".into(), why: "w".into() }]), ["detected", "held"]);
    let retried = child.add([Entry::Retried { step: Some(a()), by: by() }]);
    assert!(retried.is_empty() && child.done(a()) == ["closed"], "{retried:?}");
}

#[test]
fn what_a_freeze_stops_in_a_sweeps_children_is_told_by_the_freeze_alone() {
    let mut child = Story::new(true);
    child.admit();
    child.done(StepKey::first("b"));
    assert!(child.add([Entry::Held { step: Some(a()), hold: Hold { code: "frozen".into(), why: "w".into() } }]).is_empty());
    assert!(child.add([Entry::Thawed { by: by(), why: "w".into() }]).is_empty() && child.done(a()).is_empty());
    // Where a person has to finish an undo, one is needed.
    let from = ClaimFrom { key: child.view.step(&a()).unwrap().claims[0].key.clone(), run: child.view.run, step: a() };
    let undone = [
        Entry::UndoAsked { step: a(), cause: UndoCause::Ttl },
        Entry::UndoStarted { step: a(), attempt: 1, epoch: 1, from: vec![from] },
        Entry::ByHand { step: a(), steps: vec!["do it".into()] },
    ];
    assert_eq!(child.add(undone), ["detected", "held"]);
}

#[test]
fn a_question_that_is_escalated_is_told_as_answered_and_asked_anew() {
    let mut story = Story::new(false);
    story.admit();
    story.ask();
    assert_eq!(story.add([Entry::Escalated { step: a(), expires: later(120) }]), ["answered", "asks"]);
    let [.., answered, asks] = story.told.as_slice() else { panic!() };
    assert_eq!((answered.escalated, answered.expires, asks.escalated, asks.expires), (false, Some(later(60)), true, Some(later(120))));
    assert_eq!((asks.digest.as_deref(), asks.key.as_str()), (Some("d"), format!("asks/a/{}", story.view.seq).as_str()));
    let expired = story.add([Entry::AskExpired { step: a() }]);
    assert_eq!(expired, ["answered"], "the other step is still to be done");
}
