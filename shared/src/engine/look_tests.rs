//! Looks, and undos that stop.

use jiff::SignedDuration;
use serde_json::json;

use super::{
    Command, Entry, NowIs, Person, Reverted, RunState, Sight, StepState, UndoCause, View,
    history::{Fate, Lab, Move},
    look, next, summary,
};
use crate::{
    gate,
    managed::Manager,
    mode::Mode,
    notice::{NoticeKind, Standing, notices},
    plan::StepKey,
};

/// `first` and, twenty minutes later, `later` in effect.
fn done() -> Lab {
    let mut lab = Lab::new(Mode::Act);
    lab.caps.per_account_hour = 3;
    lab.arrive(0, false, false, false);
    while lab.step(Fate::Well) {}
    lab.now += SignedDuration::from_mins(20);
    while lab.step(Fate::Well) {}
    for key in ["first", "later"] {
        assert_eq!(the(&lab).latest(key).unwrap().state, StepState::InEffect);
    }
    lab
}

fn the(lab: &Lab) -> View {
    lab.view(lab.runs[0])
}

fn looks(lab: &Lab) -> Vec<String> {
    let entries = lab.store.entries_of(lab.runs[0]);
    let line = |entry: &Entry| match entry {
        Entry::Looked { step, look, found, .. } => Some(format!("{step} {look} {}", found.words())),
        _ => None,
    };
    entries.iter().filter_map(|sealed| line(&sealed.entry)).collect()
}

#[test]
fn a_change_is_looked_at_after_an_hour_and_after_a_day_as_data_and_no_more_once_it_was_undone() {
    let mut lab = done();
    let since = the(&lab).latest("first").unwrap().effective.unwrap();
    assert_eq!(next(&the(&lab), lab.now, lab.pace()), super::Next { commands: vec![], wake: Some(since + SignedDuration::from_hours(1)) });
    lab.now = since + SignedDuration::from_hours(1);
    while lab.step(Fate::Well) {}
    assert_eq!(looks(&lab), ["first 1 still in effect"]);
    let stood = summary(&the(&lab));
    assert_eq!((stood.state, stood.code.as_str()), (RunState::Contained, "ttl"));
    assert!(the(&lab).acted_at < the(&lab).updated_at, "a look is no deed");
    // `first` has a time to live of a day: with its last look it is undone, and that comes first.
    lab.now = since + SignedDuration::from_hours(30);
    while lab.step(Fate::Well) {}
    // Of two looks that were missed, one is made.
    assert_eq!(looks(&lab), ["first 1 still in effect", "later 2 still in effect"]);
    assert_eq!(next(&the(&lab), lab.now, lab.pace()), super::Next::default());
}

#[test]
fn a_look_that_reads_nothing_is_tried_again_and_then_said_and_fails_nothing() {
    let mut lab = done();
    lab.now += SignedDuration::from_hours(1);
    let key = StepKey::first("later");
    for _ in 0..4 {
        let view = the(&lab);
        lab.now = lab.now.max(look::due(&view, view.step(&key).unwrap()).unwrap());
        lab.look(&view, &key, Fate::Throttled);
    }
    let step = the(&lab).step(&key).unwrap().clone();
    assert_eq!((step.looks.done, step.looks.tries, step.state), (1, 0, StepState::InEffect));
    assert!(looks(&lab)[3].contains("whether it is still in effect is not known: throttled"), "{:?}", looks(&lab));
    assert_eq!(summary(&the(&lab)).state, RunState::Contained);
}

#[test]
fn a_clock_that_goes_back_takes_no_look_back_that_was_due() {
    let mut lab = done();
    let key = StepKey::first("later");
    let since = the(&lab).step(&key).unwrap().effective.unwrap();
    lab.now = since + SignedDuration::from_hours(25);
    lab.append(lab.runs[0], vec![Entry::Released { step: None, by: Person("ann".into()) }]).unwrap();
    lab.now = since;
    let view = the(&lab);
    assert!(next(&view, lab.now, lab.pace()).commands.contains(&Command::Look(key.clone())));
    assert_eq!(look::number(&view, view.step(&key).unwrap(), lab.now), Some((2, SignedDuration::from_hours(24))));
}

fn reverted() -> (Lab, Vec<NoticeKind>) {
    let mut lab = done();
    let before = Standing::of(&the(&lab));
    lab.world.remove("c");
    lab.now += SignedDuration::from_hours(1);
    while lab.step(Fate::Well) {}
    let told = notices(&before, &the(&lab), false).into_iter().map(|notice| notice.kind).collect();
    (lab, told)
}

#[test]
fn what_was_changed_back_holds_the_run_is_told_and_is_never_done_again_by_itself() {
    let (mut lab, told) = reverted();
    let sum = summary(&the(&lab));
    assert_eq!((sum.state, sum.code.as_str(), sum.over), (RunState::Held, "reverted", false), "{sum:?}");
    let run = lab.runs[0];
    for command in [format!("cordon incident retry {run} --step later"), format!("cordon incident close {run}")] {
        assert!(sum.why.contains(&command), "{}", sum.why);
    }
    assert_eq!(told, [NoticeKind::Reverted], "told once, and not as any other hold");
    lab.now += SignedDuration::from_hours(48);
    while lab.step(Fate::Well) {}
    assert!(!lab.world.contains_key("c"));
    // The next finding is another incident.
    lab.arrive(0, false, true, false);
    assert_eq!(lab.runs.len(), 2);
}

#[test]
fn what_was_changed_back_is_planned_anew_when_a_person_says_so_and_its_claim_goes_over() {
    let (mut lab, _) = reverted();
    lab.person(Move::Retry);
    while lab.step(Fate::Well) {}
    let view = the(&lab);
    let again: StepKey = "later#2".parse().unwrap();
    assert_eq!(view.step(&again).unwrap().state, StepState::InEffect);
    assert!(matches!(&view.latest("later").unwrap().plan, Some(plan) if plan.before != json!(null)));
    let StepState::Undone { left } = &view.step(&StepKey::first("later")).unwrap().state else { panic!("{:?}", view.steps) };
    assert!(left[0].contains("`later#2` did it again"), "{left:?}");
    assert!(lab.world.contains_key("c"));
    let of_c: Vec<_> = lab.store.tables().claims.into_iter().filter(|claim| claim.from.key.resource == "c").collect();
    assert!(of_c.len() == 1 && of_c[0].step == again, "{of_c:?}");
    assert_ne!(summary(&view).code, "reverted");
    lab.person(Move::Undo);
    while lab.step(Fate::Well) {}
    assert!(!lab.world.contains_key("c"));
}

#[test]
fn a_person_may_leave_it_so_and_one_who_had_closed_the_incident_hears_of_it_all_the_same() {
    let close = |lab: &Lab| lab.append(lab.runs[0], vec![Entry::ClosedBy { by: Person("ann".into()), why: "enough".into() }]).unwrap();
    let (lab, _) = reverted();
    close(&lab);
    let sum = summary(&the(&lab));
    assert_ne!((sum.state, sum.code.as_str()), (RunState::Held, "reverted"));
    // Closed before anybody had changed it back.
    let mut lab = done();
    close(&lab);
    lab.world.remove("c");
    lab.now += SignedDuration::from_hours(1);
    while lab.step(Fate::Well) {}
    assert_eq!(summary(&the(&lab)).code, "reverted");
    lab.person(Move::Retry);
    while lab.step(Fate::Well) {}
    assert!(the(&lab).closed_by.is_none() && lab.world.contains_key("c"));
}

#[test]
fn nobody_looks_again_where_the_playbook_says_so_nor_at_what_changes_nothing_in_an_account() {
    let lab = done();
    let mut view = the(&lab);
    let due = |view: &View| view.steps.iter().filter(|step| look::due(view, step).is_some()).count();
    assert_eq!(due(&view), 2);
    view.steps.iter_mut().for_each(|step| step.uncounted = true);
    assert_eq!(due(&view), 0);
    let mut view = the(&lab);
    let mut playbook = (*view.playbook).clone();
    playbook.looks.clear();
    view.playbook = std::sync::Arc::new(playbook);
    assert_eq!(due(&view), 0);
}

#[test]
fn a_finding_joins_no_incident_that_has_ended_and_is_only_looked_at_again() {
    let mut lab = done();
    // Not the one with a time to live.
    lab.append(lab.runs[0], vec![Entry::UndoAsked { step: StepKey::first("first"), cause: UndoCause::Ttl }]).unwrap();
    while lab.step(Fate::Well) {}
    let row = lab.store.tables().runs[&lab.runs[0]].clone();
    assert_eq!((row.state, row.over, row.takes_findings()), (RunState::Closed, false, false), "{row:?}");
    assert!(row.wake.is_some_and(|wake| wake > lab.now), "a look is due");
    lab.arrive(0, false, true, false);
    assert_eq!(lab.runs.len(), 2);
}

#[test]
fn an_undo_stops_at_what_it_may_not_touch_and_what_is_before_it_stands_as_it_stood() {
    let mut lab = done();
    lab.seize(2);
    lab.person(Move::Undo);
    while lab.step(Fate::Well) {}
    let view = the(&lab);
    assert!(matches!(view.latest("later").unwrap().state, StepState::ByHand { .. }));
    let first = view.latest("first").unwrap();
    assert_eq!((&first.state, first.claims.len()), (&StepState::InEffect, 1));
    assert!(lab.world.contains_key("a"));
    let sum = summary(&view);
    assert_eq!((sum.state, sum.code.as_str()), (RunState::Held, "undo-stopped"));
    let command = format!("cordon incident undo {}", lab.runs[0]);
    assert!(sum.why.contains("c is somebody's") && sum.why.contains("`first` stays") && sum.why.contains(&command), "{}", sum.why);
    // The person has done it: the same command goes on.
    lab.world.remove("c");
    lab.person(Move::Undo);
    while lab.step(Fate::Well) {}
    assert!(lab.world.is_empty());
    assert_eq!(summary(&the(&lab)).state, RunState::Undone);
}

#[test]
fn an_undo_whose_time_has_come_stops_no_other_and_is_stopped_by_none() {
    let mut lab = done();
    lab.seize(2);
    lab.append(lab.runs[0], vec![Entry::UndoAsked { step: StepKey::first("later"), cause: UndoCause::Ttl }]).unwrap();
    while lab.step(Fate::Well) {}
    let by = Person("ann".into());
    let cause = UndoCause::Person { by, whole: false };
    lab.append(lab.runs[0], vec![Entry::UndoAsked { step: StepKey::first("first"), cause }]).unwrap();
    let wanted = next(&the(&lab), lab.now, lab.pace()).commands;
    assert!(matches!(wanted.as_slice(), [Command::Undo(..)]), "{wanted:?}");
    while lab.step(Fate::Well) {}
    assert!(!lab.world.contains_key("a"));
}

#[test]
fn a_preview_hangs_on_no_lease_and_only_looks() {
    let lab = done();
    let view = the(&lab);
    let warrant = gate::preview(&lab.journal, &view, &StepKey::first("first"), lab.now);
    assert_eq!(warrant.purpose(), gate::Purpose::Preview);
    assert!(warrant.watch().only_looks() && warrant.watch().stopped(lab.now).is_some());
}

#[test]
fn what_was_changed_back_is_told_with_what_it_is_now_and_who_manages_it() {
    let manager = Manager { resource: "arn:sg".into(), by: "Terraform".into(), tag: "managed-by".into() };
    let now = NowIs { resource: "arn:sg".into(), attribute: "port 22".into(), now: json!("open") };
    let mut reverted = Reverted { detail: "open".into(), attributes: vec![now], managers: vec![manager] };
    let words = Sight::Reverted(reverted.clone()).words();
    assert_eq!(words, "reverted: `port 22` of arn:sg is open now; arn:sg is managed by Terraform (tag `managed-by`)");
    reverted.attributes.clear();
    reverted.managers.clear();
    assert_eq!(reverted.words(), "open; no tag says who manages it");
}
