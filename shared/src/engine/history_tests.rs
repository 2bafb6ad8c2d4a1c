//! Random histories over toy actions: crashes at any point, throttles, drift, later findings, approvals, undo.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::json;

use super::{
    Entry, Person, RunState, StepState, UndoCause,
    history::{Fate, Lab, Move},
    history_limits::{Where, against_a_no},
    next, summary,
};
use crate::{
    freeze::Level,
    gate,
    id::IncidentId,
    journal::JournalError,
    mode::Mode,
    plan::{ChangeKey, StepKey, Verdict},
};

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Well),
        1 => Just(Fate::CrashBefore),
        1 => Just(Fate::CrashAfter),
        1 => Just(Fate::LostAnswer),
        1 => Just(Fate::Throttled),
        1 => Just(Fate::Frozen),
        1 => Just(Fate::LeaseLost),
        1 => Just(Fate::WarrantEnds),
    ]
}

fn moves() -> impl Strategy<Value = Vec<(u8, Move)>> {
    let one = prop_oneof![
        8 => fate().prop_map(Move::Step),
        1 => Just(Move::Crash),
        2 => (1_i64..4000).prop_map(Move::Wait),
        1 => Just(Move::Wait(-5000)),
        3 => (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(actor, more, repeat)| Move::Finding { actor, more, repeat }),
        1 => (0_u8..3).prop_map(Move::Drift),
        1 => Just(Move::Approve),
        1 => Just(Move::Deny),
        1 => Just(Move::Close),
        1 => Just(Move::Release),
        1 => Just(Move::Undo),
        1 => (0_u8..3).prop_map(Move::Seize),
        1 => Just(Move::Retry),
        1 => (prop_oneof![Just(Level::Limited), Just(Level::Full)], prop::sample::select(Where::ALL.to_vec())).prop_map(|(level, what)| Move::Freeze(level, what)),
        1 => Just(Move::Thaw),
    ];
    proptest::collection::vec((0_u8..3, one), 1..60)
}

/// A question as the entries tell of it: whether it was escalated, how many said yes, how many have to, about what, until when.
type Asked = (bool, usize, u8, String, Timestamp);

/// What of a run's questions was not escalated as it should: once for each question and where the playbook says so, before the step is
/// held, with every yes of before void. A later finding that changes nothing of the plan ends no question.
fn badly_escalated(lab: &Lab, run: IncidentId) -> Option<String> {
    let (mut open, mut before): (BTreeMap<StepKey, Asked>, BTreeMap<StepKey, Asked>) = Default::default();
    for sealed in lab.store.entries_of(run).iter() {
        if matches!(sealed.entry, Entry::FindingJoined { renews: true, .. } | Entry::Turned { .. }) {
            before.append(&mut open);
        }
        let Some(step) = sealed.entry.step() else { continue };
        let wrong = |what: &str| Some(format!("entry {}: {what}", sealed.seq));
        let escalates = step.id == "first";
        let goes_on = before.remove(step);
        match (&sealed.entry, open.get(step).cloned()) {
            (Entry::Asked { people, digest, expires, .. }, _) => {
                let same = goes_on.filter(|(.., plan, until)| plan == digest && until == expires);
                let (escalated, yes) = same.map_or((false, 0), |(escalated, yes, ..)| (escalated, yes));
                open.insert(step.clone(), (escalated, yes, *people, digest.clone(), *expires));
            }
            (Entry::Planned { .. } | Entry::Judged { .. } | Entry::Deferred { .. }, None) => {
                before.extend(goes_on.map(|it| (step.clone(), it)))
            }
            (Entry::Escalated { .. }, None) => return wrong("escalated, but nothing was asked"),
            (Entry::Escalated { .. }, Some((true, ..))) => return wrong("escalated twice"),
            (Entry::Escalated { .. }, Some(_)) if !escalates => return wrong("the playbook does not say so"),
            (Entry::Escalated { expires, .. }, Some((_, _, people, digest, _))) => {
                open.insert(step.clone(), (true, 0, people, digest, *expires));
            }
            (Entry::Approved { .. }, Some((escalated, yes, people, digest, expires))) => {
                open.insert(step.clone(), (escalated, yes + 1, people, digest, expires));
            }
            (Entry::AskExpired { .. }, Some((escalated, ..))) if escalated != escalates => return wrong("held too soon"),
            (Entry::ApplyStarted { .. }, Some((_, yes, people, ..))) if yes < usize::from(people) => {
                return wrong("a yes counted that was void");
            }
            (Entry::ApplyStarted { .. } | Entry::AskExpired { .. }, _) => drop(open.remove(step)),
            _ => {}
        }
    }
    None
}

/// How many histories: few at each run of the suite, as many as `PROPTEST_CASES` says when somebody looks for more.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(100)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_every_run_ends_in_a_state_that_says_why(ask in any::<bool>(), login in any::<bool>(), people in 0_u8..3, (budget, of_each) in (prop_oneof![Just(100_u32), 0_u32..4], prop_oneof![Just(100_u32), 0_u32..3]), moves in moves()) {
        let mut lab = Lab::new(if ask { Mode::Ask } else { Mode::Act });
        (lab.login, lab.budget, lab.of_each) = (login, budget, of_each);
        if people > 0 {
            lab.policy.verdict = gate::PolicyVerdict::Ask { people };
        }
        lab.arrive(0, false, false, false);
        for (instance, what) in moves {
            match what {
                Move::Step(fate) => { lab.step(fate); }
                Move::Crash => lab.crash(),
                Move::Wait(seconds) => lab.now += SignedDuration::from_secs(seconds),
                Move::Finding { actor, more, repeat } => lab.arrive(instance, actor, more, repeat),
                Move::Drift(which) => { lab.world.remove(["a", "b", "c"][usize::from(which)]); }
                Move::Seize(which) => lab.seize(which),
                Move::Freeze(level, what) => lab.freeze(level, what),
                Move::Thaw => lab.thaw(),
                other => lab.person(other),
            }
        }
        lab.settle();
        prop_assert_eq!(lab.unwarranted, 0);
        let tables = lab.store.tables();
        prop_assert!(tables.locks.is_empty(), "locks left: {:?}", tables.locks);
        for run in &lab.runs {
            let view = lab.view(*run);
            let sum = summary(&view);
            let ends = [RunState::Closed, RunState::Contained, RunState::Held, RunState::Waiting, RunState::Undone, RunState::Stuck];
            prop_assert!(ends.contains(&sum.state), "{:?} {:?}", sum, view.steps);
            prop_assert!(!sum.why.is_empty() && (!sum.code.is_empty() || sum.state == RunState::Closed), "no reason: {:?}", sum);
            // What an undo stopped before stands as it stood, with its claims; and the run says so.
            for step in view.steps.iter().filter(|step| step.whole_undo.stopped.is_some()) {
                prop_assert!(!matches!(step.state, StepState::UndoWanted { .. } | StepState::Undoing { .. }), "{:?}", step);
                prop_assert_eq!((sum.state, sum.code.as_str()), (RunState::Held, "undo-stopped"));
                for claim in &step.claims {
                    prop_assert!(tables.claims.iter().any(|held| held.run == *run && held.step == step.key && held.from == *claim));
                }
            }
            // The row tells what the fold tells.
            prop_assert_eq!(tables.runs.get(run).map(|row| row.state), Some(sum.state));
        }
        for run in &lab.runs {
            prop_assert_eq!(badly_escalated(&lab, *run), None);
            prop_assert_eq!(against_a_no(&lab, *run), None);
        }
        // No switch is on without a run that answers for it.
        for (switch, by) in &lab.world {
            let key = ChangeKey { resource: switch.clone(), attribute: "on".into() };
            prop_assert!(by != "ours" || tables.claims.iter().any(|claim| claim.from.key == key), "{} is on and nobody claims it", switch);
        }
    }

    #[test]
    fn a_fold_of_random_entries_never_panics_and_refuses_what_cannot_follow(steps in proptest::collection::vec((0_usize..6, 0_u8..20), 0..40)) {
        let mut lab = Lab::new(Mode::Act);
        lab.arrive(0, false, false, false);
        let mut view = lab.view(lab.runs[0]);
        let names = ["look", "first", "second", "person", "nobody", "first#2"];
        for (name, kind) in steps {
            let step: StepKey = names[name].parse().unwrap();
            let entry = match kind {
                0 => Entry::Skipped { step, why: String::new() },
                1 => Entry::AskExpired { step },
                2 => Entry::Applied { step, outcome: json!({}) },
                3 => Entry::Undone { step, restored: vec![], left: vec![] },
                4 => Entry::ApplyStarted { step, attempt: 1, epoch: 1, also: vec![], uncounted: false },
                5 => Entry::Planned { step, with: json!({}), plan: Box::default(), digest: String::new(), region: None },
                6 => Entry::Verified { step, verdict: Verdict::InEffect, again: None },
                7 => Entry::Renewed { step, generation: 2 },
                8 => Entry::Held { step: Some(step), hold: gate::hold("x", "y") },
                9 => Entry::Released { step: Some(step), by: Person("ann".into()) },
                10 => Entry::UndoAsked { step, cause: UndoCause::Ttl },
                11 => Entry::UndoFrozen { step, why: "x".into() },
                12 => Entry::Escalated { step, expires: lab.now },
                13 => Entry::Asked { step, digest: String::new(), why: String::new(), expires: lab.now, people: 2 },
                14 => Entry::Approved { step, digest: String::new(), by: Person("ann".into()), expires: lab.now, identity: String::new() },
                15 => Entry::Thawed { by: Person("ann".into()), why: "x".into() },
                16 => Entry::UndoStopped { at: step.clone(), step },
                17 => Entry::LetGo { to: step.clone(), step, keys: vec![] },
                18 => Entry::Looked { step, look: 1, after: SignedDuration::from_hours(1), found: Box::new(super::Sight::InEffect) },
                _ => Entry::Recovered { step, verdict: Verdict::InEffect },
            };
            let before = view.clone();
            if view.fold(lab.now, &entry).is_err() {
                prop_assert_eq!(&before.steps, &view.steps);
                prop_assert_eq!(before.seq, view.seq);
            }
            let _ = (next(&view, lab.now, lab.pace()), summary(&view));
        }
    }
}

#[test]
fn two_incidents_on_one_switch_undoing_the_first_leaves_it_for_the_second() {
    let mut lab = Lab::new(Mode::Act);
    lab.arrive(0, false, false, false);
    while lab.step(Fate::Well) {}
    lab.arrive(1, false, false, false);
    while lab.step(Fate::Well) {}
    assert_eq!(lab.view(lab.runs[1]).latest("first").unwrap().state, StepState::AlreadyDone);
    let undo = |lab: &mut Lab, run: usize| {
        let cause = UndoCause::Person { by: Person("ann".into()), whole: false };
        lab.append(lab.runs[run], vec![Entry::UndoAsked { step: StepKey::first("first"), cause }]).unwrap();
        while lab.step(Fate::Well) {}
    };
    undo(&mut lab, 0);
    assert!(lab.world.contains_key("a"), "the second incident still needs it");
    undo(&mut lab, 1);
    assert!(!lab.world.contains_key("a"), "nobody needs it any more");
}

#[test]
fn the_same_finding_again_changes_nothing() {
    let mut lab = Lab::new(Mode::Act);
    lab.arrive(0, false, false, false);
    while lab.step(Fate::Well) {}
    let entries = lab.view(lab.runs[0]).seq;
    lab.arrive(0, false, false, true);
    assert!(!lab.step(Fate::Well));
    assert_eq!((lab.runs.len(), lab.view(lab.runs[0]).seq), (1, entries));
}

#[test]
fn a_target_that_turns_actor_begins_a_new_generation() {
    let mut lab = Lab::new(Mode::Act);
    lab.caps.per_account_hour = 3;
    lab.arrive(0, false, false, false);
    while lab.step(Fate::Well) {}
    assert!(matches!(lab.view(lab.runs[0]).latest("second").unwrap().state, StepState::Skipped { .. }));
    lab.arrive(0, true, true, false);
    while lab.step(Fate::Well) {}
    let view = lab.view(lab.runs[0]);
    assert_eq!(view.generation, 2);
    assert_eq!(view.latest("first").unwrap().key.to_string(), "first#2");
    assert_eq!(view.latest("second").unwrap().state, StepState::InEffect);
    assert!(matches!(view.latest("person").unwrap().state, StepState::Held(_)));
    assert_eq!(summary(&view).state, RunState::Held);
}

#[test]
fn a_fact_that_a_step_finds_makes_an_actor_of_the_target_once() {
    let mut lab = Lab::new(Mode::Act);
    lab.login = true;
    lab.arrive(0, false, false, false);
    while lab.step(Fate::Well) {}
    let view = lab.view(lab.runs[0]);
    assert_eq!((view.generation, view.role()), (2, Some(crate::finding::ResourceRole::Actor)));
    assert_eq!(view.turned.as_ref().unwrap().1, "a login was found");
    assert_eq!(view.data()["finding"]["role"], "ACTOR");
    assert_eq!(view.latest("first").unwrap().state, StepState::InEffect, "what was done stays");
    assert_eq!(view.latest("first").unwrap().key.instance, 1);
    assert_eq!(view.latest("second").unwrap().state, StepState::InEffect, "what the target needed not, the actor does");
    // A later version that still says TARGET turns nothing back, and no run turns twice.
    lab.arrive(0, false, true, false);
    while lab.step(Fate::Well) {}
    let view = lab.view(lab.runs[0]);
    assert_eq!((view.generation, view.role()), (3, Some(crate::finding::ResourceRole::Actor)));
}

#[test]
fn a_step_with_a_delay_waits_as_data_and_the_run_counts_as_contained_meanwhile() {
    let mut lab = Lab::new(Mode::Act);
    lab.caps.per_account_hour = 3;
    lab.arrive(0, false, false, false);
    while lab.step(Fate::Well) {}
    let view = lab.view(lab.runs[0]);
    assert_eq!(view.latest("later").unwrap().state, StepState::Waiting);
    let settled = view.latest("second").unwrap().settled.unwrap();
    let due = settled + SignedDuration::from_mins(20);
    assert_eq!(next(&view, lab.now, lab.pace()).wake, Some(due));
    let sum = summary(&view);
    assert_eq!((sum.state, sum.over), (RunState::Contained, false), "{sum:?}");
    lab.now = due;
    while lab.step(Fate::Well) {}
    assert_eq!(lab.view(lab.runs[0]).latest("later").unwrap().state, StepState::InEffect);
}

#[test]
fn what_is_not_wanted_is_passed_over_at_once_and_looked_at_anew_when_it_may_be() {
    let mut lab = Lab::new(Mode::Act);
    lab.caps.per_account_hour = 3;
    lab.arrive(0, false, false, false);
    while lab.step(Fate::Well) {}
    let again = |lab: &Lab| lab.view(lab.runs[0]).latest("again").unwrap().state.clone();
    assert!(matches!(again(&lab), StepState::Skipped { .. }), "twenty minutes are not waited for nothing");
    lab.arrive(0, true, true, false);
    while lab.step(Fate::Well) {}
    assert_eq!(again(&lab), StepState::Waiting, "now it is wanted, and its time has not come");
    let settled = lab.view(lab.runs[0]).latest("second").unwrap().settled.unwrap();
    lab.now = settled + SignedDuration::from_mins(20);
    while lab.step(Fate::Well) {}
    assert_eq!(again(&lab), StepState::Done);
}

#[test]
fn what_comes_after_something_only_planned_waits_for_nothing() {
    let mut lab = Lab::new(Mode::Observe);
    lab.arrive(0, true, false, false);
    while lab.step(Fate::Well) {}
    let view = lab.view(lab.runs[0]);
    assert!(matches!(view.latest("second").unwrap().state, StepState::Observed { .. }));
    assert_eq!(view.latest("again").unwrap().state, StepState::Done);
    assert_eq!(next(&view, lab.now, lab.pace()).wake, None);
}

#[test]
fn what_must_not_wait_for_an_answer_does_not() {
    let mut lab = Lab::new(Mode::Ask);
    lab.arrive(0, false, false, false);
    lab.now += SignedDuration::from_mins(1);
    while lab.step(Fate::Well) {}
    let view = lab.view(lab.runs[0]);
    assert!(matches!(view.latest("first").unwrap().state, StepState::Asked { .. }));
    assert_eq!(view.latest("second").unwrap().state, StepState::Waiting, "it needs the answer");
    let text = "name = \"t\"\ntitle = \"T\"\nsubject = \"instance\"\n[[match]]\ntype = [\"T\"]\n[[steps]]\nid = \"a\"\naction = \"x\"\n[[steps]]\nid = \"b\"\naction = \"x\"\neven_if = \"waiting\"\n";
    let playbook = crate::playbook::Playbook::parse(text, "t.toml").unwrap();
    let mut waiting = view.clone();
    waiting.playbook = std::sync::Arc::new(playbook);
    let asked = view.latest("first").unwrap().clone();
    waiting.steps = vec![
        super::StepView { key: StepKey::first("a"), at: 0, ..asked.clone() },
        super::StepView { key: StepKey::first("b"), at: 1, state: StepState::Waiting, not_before: None, ..asked },
    ];
    let begins =
        |view: &super::View| next(view, lab.now, lab.pace()).commands.iter().any(|command| command.step() == Some(&StepKey::first("b")));
    assert!(begins(&waiting));
    // Nor for one that failed so far and is tried again; for one whose turn has not come it does.
    waiting.steps[0].state = StepState::Waiting;
    waiting.steps[0].not_before = Some(lab.now + SignedDuration::from_secs(8));
    assert!(!begins(&waiting));
    waiting.steps[0].tries = 1;
    assert!(begins(&waiting));
    // Nor for one that is done and not yet read back.
    waiting.steps[0].state = StepState::Unverified { since: lab.now, next: lab.now + SignedDuration::from_secs(8), reads: 1 };
    assert!(begins(&waiting));
}

#[test]
fn a_cap_holds_what_goes_over_it() {
    let mut lab = Lab::new(Mode::Act);
    lab.arrive(0, true, true, false);
    while lab.step(Fate::Well) {}
    let view = lab.view(lab.runs[0]);
    let StepState::Held(hold) = &view.latest("second").unwrap().state else { panic!("{:?}", view.steps) };
    assert_eq!(hold.code, "cap-spent");
    assert!(!lab.world.contains_key("b"));
}

#[test]
fn a_lost_lease_writes_nothing_more() {
    let mut lab = Lab::new(Mode::Act);
    lab.arrive(0, false, false, false);
    lab.store.next_epoch();
    assert!(matches!(lab.append(lab.runs[0], vec![Entry::Admitted { account: json!({}) }]), Err(JournalError::LeaseLost { .. })));
}

#[test]
fn a_changed_entry_breaks_its_chain() {
    let mut lab = Lab::new(Mode::Act);
    lab.arrive(0, false, false, false);
    while lab.step(Fate::Well) {}
    let mut entries = lab.store.entries_of(lab.runs[0]).to_vec();
    entries[2].entry = Entry::Admitted { account: json!({ "forged": true }) };
    let error = crate::journal::chain::verify(lab.runs[0], &entries).unwrap_err().to_string();
    assert!(error.contains("entry 3"), "{error}");
    let whole = lab.store.entries_of(lab.runs[0]).to_vec();
    let removed: Vec<_> = whole.iter().filter(|sealed| sealed.seq != 2).cloned().collect();
    assert!(crate::journal::chain::verify(lab.runs[0], &removed).is_err());
}

#[test]
fn facts_older_than_a_minute_decide_nothing() {
    let mut lab = Lab::new(Mode::Act);
    lab.facts_age = gate::FACTS_LAST + SignedDuration::from_secs(1);
    lab.arrive(0, false, false, false);
    for _ in 0..5 {
        lab.step(Fate::Well);
    }
    let view = lab.view(lab.runs[0]);
    assert!(view.latest("first").unwrap().deferred.as_ref().is_some_and(|why| why.contains("organization was last read")));
    assert!(lab.world.is_empty());
    lab.facts_age = gate::FACTS_LAST;
    lab.now += SignedDuration::from_secs(60);
    while lab.step(Fate::Well) {}
    assert!(lab.world.contains_key("a"));
}

/// One change in effect for a day, then a freeze.
fn contained(level: Level) -> Lab {
    let mut lab = Lab::new(Mode::Act);
    lab.arrive(0, false, false, false);
    while lab.step(Fate::Well) {}
    lab.freeze(level, Where::Everything);
    lab
}

#[test]
fn an_undo_whose_time_comes_under_a_freeze_waits_for_the_thaw_and_keeps_no_run_awake() {
    for level in [Level::Limited, Level::Full] {
        let mut lab = contained(level);
        let run = lab.runs[0];
        lab.now += SignedDuration::from_hours(25);
        while lab.step(Fate::Well) {}
        let view = lab.view(run);
        assert!(matches!(view.latest("first").unwrap().state, StepState::UndoFrozen { .. }), "{:?}", view.latest("first"));
        let sum = summary(&view);
        assert_eq!((sum.state, sum.code.as_str(), sum.over), (RunState::Held, "frozen", false));
        assert_eq!(next(&view, lab.now, lab.pace()).commands, vec![]);
        assert!(lab.world.contains_key("a"));
        lab.thaw();
        while lab.step(Fate::Well) {}
        assert!(matches!(lab.view(run).latest("first").unwrap().state, StepState::Undone { .. }) && !lab.world.contains_key("a"));
    }
}

#[test]
fn a_persons_undo_passes_a_limited_freeze_also_where_its_time_had_come_before() {
    let mut lab = contained(Level::Limited);
    lab.now += SignedDuration::from_hours(25);
    while lab.step(Fate::Well) {}
    let cause = UndoCause::Person { by: Person("ann".into()), whole: false };
    lab.append(lab.runs[0], vec![Entry::UndoAsked { step: StepKey::first("first"), cause }]).unwrap();
    while lab.step(Fate::Well) {}
    assert!(matches!(lab.view(lab.runs[0]).latest("first").unwrap().state, StepState::Undone { .. }));
}

#[test]
fn a_change_that_a_freeze_stopped_is_read_and_made_again_from_its_stored_plan_after_the_thaw() {
    let mut lab = Lab::new(Mode::Act);
    lab.arrive(0, false, false, false);
    while lab.view(lab.runs[0]).latest("first").unwrap().attempts == 0 {
        assert!(lab.step(Fate::Frozen));
    }
    while lab.step(Fate::Well) {}
    let (run, key) = (lab.runs[0], StepKey::first("first"));
    let held = lab.view(run);
    let step = held.step(&key).unwrap();
    assert!(matches!(&step.state, StepState::Held(hold) if hold.code == "frozen") && step.fixed, "{:?}", step.state);
    assert!(lab.world.is_empty() && gate::waits_for_a_thaw(&held));
    // Somebody is released into the freeze: held again.
    lab.person(Move::Release);
    while lab.step(Fate::Well) {}
    assert!(matches!(&lab.view(run).step(&key).unwrap().state, StepState::Held(hold) if hold.code == "frozen"));
    lab.thaw();
    while lab.step(Fate::Well) {}
    let after = lab.view(run);
    let again = after.step(&key).unwrap();
    assert_eq!((&again.state, again.attempts, &again.plan), (&StepState::InEffect, 2, &step.plan));
    assert!(lab.world.contains_key("a") && !gate::waits_for_a_thaw(&after));
}

#[test]
fn what_a_lower_freeze_still_stops_is_looked_at_once_for_each_thaw() {
    let mut lab = Lab::new(Mode::Act);
    lab.arrive(0, false, false, false);
    lab.freeze(Level::Full, Where::Everything);
    while lab.step(Fate::Well) {}
    let view = lab.view(lab.runs[0]);
    let mut lines = lab.store.tables().freezes;
    assert_eq!(gate::looked_at_again(&view, None, &lines), None, "it is frozen");
    let (mut thaw, mut limited) = (lines[0].clone(), lines[0].clone());
    (thaw.number, thaw.level, thaw.at) = (2, Level::Off, lab.now + SignedDuration::from_secs(1));
    (limited.number, limited.level) = (3, Level::Limited);
    lines.extend([thaw, limited]);
    let entry = gate::looked_at_again(&view, None, &lines);
    assert!(matches!(&entry, Some(Entry::Thawed { by, .. }) if by.0 == "ann"), "{entry:?}");
    lab.now += SignedDuration::from_secs(5);
    lab.append(lab.runs[0], vec![entry.unwrap()]).unwrap();
    // The journal still says full: held again, later than the thaw.
    while lab.step(Fate::Well) {}
    assert_eq!(gate::looked_at_again(&lab.view(lab.runs[0]), None, &lines), None);
}
