//! Several findings of one incident.

use futures::executor::block_on;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    Entry, FindingNote, Person, StepState, View,
    history::{Fate, Lab, Move},
};
use crate::{
    finding::{FindingId, ResourceRole, Subject, SubjectKind, Version},
    gate::{PolicyAnswer, PolicyVerdict},
    id::{CellId, IncidentId},
    mode::Mode,
    plan::{Plan, StepKey},
    playbook::Playbook,
};

const PLAYBOOK: &str = r#"
name = "ports"
title = "Ports"
subject = "instance"
[[match]]
type = ["Open"]
[[steps]]
id = "close"
action = "toy.close"
when = "finding.type == 'Open'"
with = { port = "${finding.network.local_port}", sources = "${finding.network.remote_ips}" }
[[steps]]
id = "cut"
action = "toy.cut"
when = "finding.role == 'ACTOR'"
[[steps]]
id = "unsure"
hold = "a person must look"
when = "finding.type == 'Vague'"
of = "every"
"#;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_900_000_000 + second).unwrap()
}

fn note(id: &str, finding: Value) -> FindingNote {
    let version = Version { updated_at: None, count: 1, severity: 20, role: None, remote_ips: vec![] };
    FindingNote { id: FindingId(id.to_owned()), version, input: "-".into(), finding, raw_sha256: String::new() }
}

fn open(port: u16, role: &str, ip: &str) -> Value {
    json!({ "type": "Open", "role": role, "severity": 20, "network": { "local_port": port, "direction": "INBOUND", "remote_ips": [ip] } })
}

fn run(first: FindingNote) -> View {
    let playbook = Playbook::parse(PLAYBOOK, "ports.toml").unwrap();
    let cell = CellId::new("111111111111".parse().unwrap(), "us-east-1".parse().unwrap());
    let entry = Entry::Opened {
        playbook: "ports".into(),
        source: PLAYBOOK.into(),
        digest: playbook.digest,
        subject: Subject { cell, kind: SubjectKind::Instance, id: "i-1".into(), arn: None },
        finding: Box::new(first),
        mode: Mode::Act,
        observe_only: None,
        detected_at: at(0),
    };
    View::open(IncidentId::from_u128(1), at(0), &entry).unwrap()
}

fn join(view: &mut View, note: FindingNote) {
    view.fold(at(1), &Entry::FindingJoined { finding: Box::new(note), renews: true }).unwrap();
}

fn wanted(view: &View, id: &str) -> usize {
    view.wants(view.definition(view.latest(id).unwrap()).unwrap()).unwrap().len()
}

/// The parameters of an instance of `close`, and whether there are more.
fn demand(view: &View, key: &StepKey) -> Option<(Value, bool)> {
    let step = view.step(key).unwrap();
    let definition = view.definition(step).unwrap();
    let wants = view.wants(definition).unwrap();
    view.demand(step, definition, &wants).unwrap().map(|demand| (demand.with["port"].clone(), demand.more))
}

fn asked(view: &mut View, key: &StepKey, with: Value) {
    let step = key.clone();
    let planned = Entry::Planned { step: step.clone(), with, plan: Box::new(Plan::default()), digest: "d".into(), region: None };
    let asked = Entry::Asked { step, digest: "d".into(), why: "toy".into(), expires: at(3600), people: 1 };
    for entry in [planned, asked] {
        view.fold(at(0), &entry).unwrap();
    }
}

#[test]
fn what_one_finding_asks_for_a_later_one_does_not_take_back() {
    let mut severe = open(22, "ACTOR", "192.0.2.1");
    severe["severity"] = json!(80);
    let mut view = run(note("f-1", severe));
    assert_eq!((wanted(&view, "close"), wanted(&view, "cut"), wanted(&view, "unsure")), (1, 1, 0));
    join(&mut view, note("f-2", open(22, "TARGET", "192.0.2.2")));
    assert_eq!((view.role(), view.severity()), (Some(ResourceRole::Actor), 80));
    assert_eq!((wanted(&view, "close"), wanted(&view, "cut")), (2, 1));
    // A later version of the same finding does.
    join(&mut view, note("f-1", open(22, "TARGET", "192.0.2.1")));
    assert_eq!((view.role(), wanted(&view, "cut")), (Some(ResourceRole::Target), 0));
}

#[test]
fn findings_that_ask_for_different_things_are_instances_of_the_step_and_a_question_stays_what_it_was() {
    let (first, second) = (StepKey::first("close"), StepKey::first("close").next());
    let mut view = run(note("f-1", open(22, "TARGET", "192.0.2.1")));
    assert_eq!(demand(&view, &first), Some((json!(22), false)));
    let with = |port: u16| json!({ "port": port, "sources": ["192.0.2.1"] });
    asked(&mut view, &first, with(22));
    join(&mut view, note("f-2", open(3389, "TARGET", "192.0.2.1")));
    assert_eq!(demand(&view, &first), Some((json!(22), true)));
    view.fold(at(2), &Entry::Renewed { step: second.clone(), generation: view.generation }).unwrap();
    assert_eq!((demand(&view, &first), demand(&view, &second)), (Some((json!(22), false)), Some((json!(3389), false))));
    // Where each has an instance, a third finds nothing.
    asked(&mut view, &first, with(22));
    asked(&mut view, &second, with(3389));
    let third = second.next();
    view.fold(at(2), &Entry::Renewed { step: third.clone(), generation: view.generation }).unwrap();
    assert_eq!(demand(&view, &third), None);
    let definition = view.definition(view.step(&first).unwrap()).unwrap();
    assert!(!view.asks_for_more(view.step(&first).unwrap(), definition));
    assert_eq!(view.wanted_by(definition, &with(22)).iter().map(|note| note.id.0.as_str()).collect::<Vec<_>>(), ["f-1"]);
}

#[test]
fn an_instance_that_comes_to_nothing_stands_for_what_it_was_to_do_and_begets_no_others() {
    let (first, second) = (StepKey::first("close"), StepKey::first("close").next());
    let mut view = run(note("f-1", open(22, "TARGET", "192.0.2.1")));
    join(&mut view, note("f-2", open(3389, "TARGET", "192.0.2.1")));
    assert_eq!(demand(&view, &first), Some((json!(22), true)));
    view.fold(at(2), &Entry::Renewed { step: second.clone(), generation: view.generation }).unwrap();
    for (key, port) in [(&first, 22), (&second, 3389)] {
        // Whether it has come to its end or is put off.
        for entry in [None, Some(Entry::Skipped { step: key.clone(), why: "there is nothing to close".into() })] {
            entry.into_iter().for_each(|entry| view.fold(at(2), &entry).unwrap());
            assert_eq!(demand(&view, key), Some((json!(port), false)), "{key}");
        }
        let step = view.step(key).unwrap();
        assert!(!view.asks_for_more(step, view.definition(step).unwrap()), "{key}");
    }
    // A third demand is a third instance, and that is all.
    join(&mut view, note("f-3", open(5985, "TARGET", "192.0.2.1")));
    assert_eq!((demand(&view, &first), demand(&view, &second)), (Some((json!(22), false)), Some((json!(3389), true))));
    let third = second.next();
    view.fold(at(3), &Entry::Renewed { step: third.clone(), generation: view.generation }).unwrap();
    assert_eq!((demand(&view, &second), demand(&view, &third)), (Some((json!(3389), false)), Some((json!(5985), false))));
}

/// A new source changes what both are asked about.
#[test]
fn instances_that_are_looked_at_beside_each_other_never_take_the_same() {
    let (first, second) = (StepKey::first("close"), StepKey::first("close").next());
    let mut view = run(note("f-1", open(22, "TARGET", "192.0.2.1")));
    join(&mut view, note("f-2", open(3389, "TARGET", "192.0.2.1")));
    view.fold(at(2), &Entry::Renewed { step: second.clone(), generation: view.generation }).unwrap();
    let with = |port: u16| json!({ "port": port, "sources": ["192.0.2.1"] });
    asked(&mut view, &first, with(22));
    asked(&mut view, &second, with(3389));
    for id in ["f-1", "f-2"] {
        join(&mut view, note(id, open(if id == "f-1" { 22 } else { 3389 }, "TARGET", "192.0.2.2")));
    }
    // On one view, as two tasks of a run see it.
    assert_eq!((demand(&view, &first), demand(&view, &second)), (Some((json!(22), false)), Some((json!(3389), false))));
    assert_eq!(view.finding()["network"]["remote_ips"], json!(["192.0.2.1", "192.0.2.2"]), "the sources of all versions");
}

#[test]
fn the_victims_of_an_instance_are_not_taken_for_its_attackers() {
    let victim =
        json!({ "type": "Open", "role": "ACTOR", "network": { "local_port": 22, "direction": "OUTBOUND", "remote_ips": ["203.0.113.9"] } });
    let mut view = run(note("f-1", victim));
    join(&mut view, note("f-2", open(22, "TARGET", "192.0.2.2")));
    assert_eq!(view.finding()["network"]["remote_ips"], json!(["192.0.2.2"]));
}

#[test]
fn a_finding_that_was_suppressed_decides_for_no_other() {
    let quiet = |mut finding: Value| {
        finding["hub"] = json!({ "workflow": "SUPPRESSED" });
        finding
    };
    let mut view = run(note("f-1", json!({ "type": "Vague", "role": "TARGET" })));
    join(&mut view, note("f-2", quiet(open(22, "ACTOR", "192.0.2.7"))));
    assert_eq!((view.role(), wanted(&view, "unsure")), (Some(ResourceRole::Target), 1));
    assert!(view.plays_another_part_than(ResourceRole::Actor));
    // What it asks for itself is weighed by who suppressed it.
    let definition = view.definition(view.latest("cut").unwrap()).unwrap();
    assert_eq!(wanted(&view, "cut"), 1);
    assert!(view.wanted_by(definition, &json!({})).iter().all(|note| super::want::suppressed(note)));
    // Where each was, they speak.
    join(&mut view, note("f-1", quiet(json!({ "type": "Vague", "role": "TARGET" }))));
    assert_eq!((view.role(), wanted(&view, "unsure")), (Some(ResourceRole::Actor), 0));
}

#[test]
fn what_every_finding_must_say_ends_with_the_first_that_does_not() {
    let mut view = run(note("f-1", json!({ "type": "Vague", "role": "ACTOR" })));
    assert_eq!(wanted(&view, "unsure"), 1);
    join(&mut view, note("f-2", open(22, "ACTOR", "192.0.2.1")));
    assert_eq!(wanted(&view, "unsure"), 0);
    join(&mut view, note("f-3", json!({ "type": "Vague", "role": "ACTOR" })));
    assert_eq!(wanted(&view, "unsure"), 0, "nor does a later one begin it again");
}

#[test]
fn a_question_goes_on_through_a_later_finding_that_changes_nothing_of_its_plan() {
    let mut lab = Lab::new(Mode::Act);
    let answer = PolicyAnswer { verdict: PolicyVerdict::Ask { people: 2 }, ..PolicyAnswer::allow("toy") };
    lab.policy = answer;
    lab.arrive(0, false, false, false);
    while lab.step(Fate::Well) {}
    lab.person(Move::Approve);
    let first = |lab: &Lab| lab.view(lab.runs[0]).latest("first").unwrap().clone();
    let StepState::Asked { expires, digest, .. } = first(&lab).state else { panic!("{:?}", first(&lab)) };
    lab.now += SignedDuration::from_mins(40);
    lab.arrive(0, true, false, false);
    assert_eq!(first(&lab).state, StepState::Waiting);
    while lab.step(Fate::Well) {}
    let step = first(&lab);
    assert!(matches!(&step.state, StepState::Asked { expires: now, digest: same, .. } if *now == expires && *same == digest), "{step:?}");
    assert_eq!(step.approvals.len(), 1, "who said yes has said so to this very plan");
    // Its time is over when it would have been, and it is asked once more as the playbook says; a third finding begins neither anew.
    lab.now = expires;
    while lab.step(Fate::Well) {}
    assert!(matches!(first(&lab).state, StepState::Asked { escalated: true, .. }), "{:?}", first(&lab));
    lab.arrive(0, true, true, false);
    lab.arrive(0, true, false, false);
    while lab.step(Fate::Well) {}
    let of_first = lab.view(lab.runs[0]).step(&StepKey::first("first")).unwrap().clone();
    assert!(matches!(of_first.state, StepState::Asked { escalated: true, .. }), "{of_first:?}");
}

#[test]
fn a_claim_that_was_let_go_of_is_held_again_where_the_change_is_in_effect_after_all() {
    let mut lab = Lab::new(Mode::Act);
    lab.arrive(0, false, false, false);
    let run = lab.runs[0];
    let first = |lab: &Lab| lab.view(run).latest("first").unwrap().clone();
    while !matches!(first(&lab).state, StepState::Broken { .. }) {
        assert!(lab.step(Fate::LostAnswer));
    }
    let claims = |lab: &Lab| {
        let key = first(lab).claims[0].key.clone();
        block_on(lab.journal.with(move |tx| tx.claims(&key))).unwrap().len()
    };
    // It is not there, and fails for good: nothing of it is held.
    lab.world.clear();
    lab.now += SignedDuration::from_secs(2);
    while first(&lab).state != StepState::Reapply {
        assert!(lab.step(Fate::Well));
    }
    let failed = Entry::Failed { step: StepKey::first("first"), code: "denied".into(), why: "toy".into() };
    lab.append(run, vec![failed]).unwrap();
    assert_eq!(claims(&lab), 0);
    // Somebody did it by hand, and a person has it looked at again.
    lab.world.insert("a".into(), "theirs".into());
    lab.append(run, vec![Entry::Released { step: Some(StepKey::first("first")), by: Person("ann".into()) }]).unwrap();
    while first(&lab).state != StepState::InEffect {
        assert!(lab.step(Fate::Well));
    }
    assert_eq!(claims(&lab), 1);
}
