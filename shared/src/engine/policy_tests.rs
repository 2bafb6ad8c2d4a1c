//! Policies in the gate: they make it stricter and never milder, and so many persons as they ask for have to say yes to one plan.

use futures::executor::block_on;
use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::json;

use super::{
    Entry, Person, RunState, StepState, UndoCause, View,
    history::{Fate, Lab},
    summary,
};
use crate::{
    gate::{self, Ask, Caps, Facts, OptOutFact, PolicyAnswer, PolicyVerdict, Ruling},
    journal::JournalError,
    mode::Mode,
    plan::{Risk, StepKey},
};

fn says(verdict: PolicyVerdict) -> PolicyAnswer {
    let (why, policies) = ("policy `careful` says so".to_owned(), vec!["careful".to_owned()]);
    PolicyAnswer { verdict, why, policies, asked: json!({ "case": 1 }), ..PolicyAnswer::allow("set") }
}

/// A run whose step `first` is about to be decided.
pub(super) fn about_to_decide(policy: PolicyAnswer, mode: Mode) -> Lab {
    let mut lab = Lab::new(mode);
    lab.policy = policy;
    lab.arrive(0, false, false, false);
    for _ in 0..2 {
        assert!(lab.step(Fate::Well));
    }
    assert!(matches!(first(&lab).state, StepState::Waiting));
    lab
}

fn first(lab: &Lab) -> super::StepView {
    view(lab).latest("first").unwrap().clone()
}

pub(super) fn view(lab: &Lab) -> View {
    lab.view(lab.runs[0])
}

fn yes(lab: &Lab, by: &str, digest: &str) -> Result<(), JournalError> {
    let entry = Entry::Approved {
        step: StepKey::first("first"),
        digest: digest.to_owned(),
        by: Person(by.into()),
        expires: lab.now + SignedDuration::from_hours(1),
        identity: String::new(),
    };
    lab.append(lab.runs[0], vec![entry])
}

fn digest(lab: &Lab) -> String {
    match first(lab).state {
        StepState::Asked { digest, .. } => digest,
        other => panic!("{other:?}"),
    }
}

fn verdicts() -> impl Strategy<Value = PolicyVerdict> {
    prop_oneof![
        Just(PolicyVerdict::Allow),
        (1..=gate::MOST_PEOPLE).prop_map(|people| PolicyVerdict::Ask { people }),
        Just(PolicyVerdict::Deny),
        Just(PolicyVerdict::Failed),
    ]
}

proptest! {
    #[test]
    fn a_policy_makes_the_gate_stricter_and_never_milder(
        verdict in verdicts(),
        mode in prop_oneof![Just(Mode::Observe), Just(Mode::Ask), Just(Mode::Act)],
        (ask, plan_asks, opted_out, refused, known, uncounted) in any::<(bool, bool, bool, bool, bool, bool)>(),
        cap in 0_u32..2,
        said in 0_usize..4,
        (other_plan, ann_left) in any::<(bool, bool)>(),
    ) {
        let lab = about_to_decide(PolicyAnswer::allow("toy"), mode);
        let mut view = view(&lab);
        let mut plan = lab.plan(&json!({ "switches": ["a"] }));
        plan.ask = plan_asks.then(|| "it breaks something".to_owned());
        let question = |policy: PolicyAnswer| Ask {
            step: StepKey::first("first"),
            action: "toy.switch",
            risk: Risk::Reversible,
            with: json!({}),
            region: None,
            plan: plan.clone(),
            mode,
            ask,
            planned_at: lab.now + SignedDuration::from_nanos(1),
            facts: Facts {
                read_at: lab.now,
                opt_outs: opted_out.then(|| OptOutFact { id: "111122223333".into(), whose: "account".into(), value: "true".into(), since: None }).into_iter().collect(),
                known: known.then(|| "known".to_owned()),
                refused: refused.then(|| "refused".to_owned()),
                void: ann_left.then(|| ("ann".to_owned(), "she left".to_owned())).into_iter().collect(),
                ..Facts::default()
            },
            policy,
            caps: Caps { per_account_hour: cap, per_organization_hour: cap },
            question_lasts: SignedDuration::from_hours(1),
            stand_down: "none".into(),
            spending: Default::default(),
            uncounted,
            rehearsal: false,
        };
        let digest = plan.digest("toy.switch", &json!({}));
        let of = if other_plan { "another".to_owned() } else { digest.clone() };
        let step = view.steps.iter_mut().find(|step| step.key.id == "first").unwrap();
        let expires = lab.now + SignedDuration::from_hours(1);
        // Three voices of two persons.
        step.approvals = ["ann", "ben", "ann"].iter().take(said).map(|by| super::Approval { digest: of.clone(), by: Person((*by).into()), expires, identity: String::new() }).collect();
        let persons = if other_plan { 0 } else { [0_u8, 1, 2, 2][said] - u8::from(ann_left && said > 0) };
        let rule = |policy: PolicyAnswer| {
            let (question, view, digest, now) = (question(policy), view.clone(), digest.clone(), lab.now);
            block_on(lab.journal.with(move |tx| gate::rule(tx, &view, &question, &digest, now))).unwrap()
        };
        let (with, without) = (rule(says(verdict)), rule(PolicyAnswer::allow("toy")));
        let fits = match (&without, &with) {
            (Ruling::Go, Ruling::Go | Ruling::Ask { .. } | Ruling::Hold(_)) => true,
            (Ruling::Ask { people: least, .. }, Ruling::Ask { people, .. }) => people >= least,
            (Ruling::Ask { .. }, Ruling::Hold(_)) => true,
            // People are asked before the caps are looked at.
            (Ruling::Hold(hold), Ruling::Ask { .. } | Ruling::Hold(_)) if hold.code == "cap-spent" => true,
            (without, with) => without == with,
        };
        prop_assert!(fits, "{:?} beside {:?}", with, without);
        if verdict == PolicyVerdict::Allow {
            prop_assert_eq!(&with, &without);
        }
        if with == Ruling::Go {
            prop_assert!(says(verdict).people() <= persons && says(verdict).refusal().is_none());
        }
        if let Ruling::Ask { why, .. } = &with {
            prop_assert_eq!(why.contains("the yes of ann counts no more: she left"), ann_left && said > 0);
        }
        // And each no of the policies that is reached says whose it is.
        if let (Ruling::Hold(hold), Ruling::Go | Ruling::Ask { .. }) = (&with, &without) {
            prop_assert!(["policy", "policy-error", "cap-spent"].contains(&hold.code.as_str()), "{:?}", hold);
        }
    }
}

#[test]
fn a_policys_no_holds_and_is_journalled_with_what_it_was_asked() {
    for (verdict, code) in [(PolicyVerdict::Deny, "policy"), (PolicyVerdict::Failed, "policy-error")] {
        let mut lab = about_to_decide(says(verdict), Mode::Act);
        while lab.step(Fate::Well) {}
        let StepState::Held(hold) = first(&lab).state else { panic!("{:?}", first(&lab)) };
        assert_eq!((hold.code.as_str(), hold.why.as_str()), (code, "policy `careful` says so"));
        assert!(!lab.world.contains_key("a"));
        let entries = lab.store.entries_of(lab.runs[0]);
        let judged = entries.iter().find_map(|sealed| match &sealed.entry {
            Entry::Judged { answer, .. } => Some((**answer).clone()),
            _ => None,
        });
        assert_eq!(judged.unwrap(), lab.policy);
    }
}

#[test]
fn two_different_persons_have_to_say_yes_to_one_plan() {
    let mut lab = about_to_decide(says(PolicyVerdict::Ask { people: 2 }), Mode::Act);
    while lab.step(Fate::Well) {}
    let plan = digest(&lab);
    assert!(yes(&lab, "ann", "another plan").is_err());
    yes(&lab, "ann", &plan).unwrap();
    assert!(!lab.step(Fate::Well), "one is not enough");
    assert!(yes(&lab, "ann", &plan).is_err(), "nor is the same person twice");
    assert_eq!(summary(&view(&lab)).state, RunState::Waiting);
    yes(&lab, "ben", &plan).unwrap();
    while lab.step(Fate::Well) {}
    let step = first(&lab);
    assert_eq!(step.state, StepState::InEffect);
    assert_eq!(step.because.as_deref(), Some("ann and ben said yes to exactly this plan"));
    assert!(step.approvals.is_empty(), "a yes is used once");
}

#[test]
fn a_plan_that_has_become_another_voids_every_yes_and_is_asked_about_anew() {
    let mut lab = about_to_decide(says(PolicyVerdict::Ask { people: 2 }), Mode::Act);
    while lab.step(Fate::Well) {}
    let plan = digest(&lab);
    yes(&lab, "ann", &plan).unwrap();
    // A later version of the finding brings a second switch.
    lab.arrive(0, false, true, true);
    while lab.step(Fate::Well) {}
    let other = digest(&lab);
    assert_ne!(plan, other);
    assert!(first(&lab).approvals.is_empty() && yes(&lab, "ben", &plan).is_err());
    yes(&lab, "ben", &other).unwrap();
    assert!(!lab.step(Fate::Well), "the yes to the old plan does not count");
    yes(&lab, "ann", &other).unwrap();
    while lab.step(Fate::Well) {}
    assert_eq!(first(&lab).state, StepState::InEffect);
}

#[test]
fn a_question_that_is_not_answered_by_all_in_time_is_held_and_asked_from_nothing() {
    let mut lab = about_to_decide(says(PolicyVerdict::Ask { people: 2 }), Mode::Act);
    while lab.step(Fate::Well) {}
    let plan = digest(&lab);
    yes(&lab, "ann", &plan).unwrap();
    for _ in 0..2 {
        lab.now += SignedDuration::from_mins(61);
        while lab.step(Fate::Well) {}
    }
    let StepState::Held(hold) = first(&lab).state else { panic!("{:?}", first(&lab)) };
    assert_eq!(hold.code, "ask-expired");
    assert!(yes(&lab, "ben", &plan).is_err(), "too late");
    lab.append(lab.runs[0], vec![Entry::Released { step: Some(StepKey::first("first")), by: Person("ann".into()) }]).unwrap();
    while lab.step(Fate::Well) {}
    assert!(first(&lab).approvals.is_empty());
    assert!(matches!(first(&lab).state, StepState::Asked { people: 2, .. }));
}

#[test]
fn a_question_is_escalated_once_with_every_yes_void_and_then_held() {
    let mut lab = about_to_decide(says(PolicyVerdict::Ask { people: 2 }), Mode::Act);
    while lab.step(Fate::Well) {}
    let plan = digest(&lab);
    yes(&lab, "ann", &plan).unwrap();
    lab.now += SignedDuration::from_mins(61);
    while lab.step(Fate::Well) {}
    let asked = first(&lab);
    let again = lab.now + SignedDuration::from_hours(1);
    assert!(
        matches!(&asked.state, StepState::Asked { digest, expires, people: 2, escalated: true, .. } if *digest == plan && *expires == again),
        "the same plan, as many persons, as long again: {asked:?}"
    );
    assert!(asked.approvals.is_empty(), "a yes counts as long as its question");
    assert_eq!(summary(&view(&lab)).state, RunState::Waiting);
    yes(&lab, "ben", &plan).unwrap();
    assert!(!lab.step(Fate::Well), "the yes from before does not count");
    yes(&lab, "ann", &plan).unwrap();
    while lab.step(Fate::Well) {}
    assert_eq!(first(&lab).state, StepState::InEffect);

    let mut lab = about_to_decide(says(PolicyVerdict::Ask { people: 2 }), Mode::Act);
    while lab.step(Fate::Well) {}
    let plan = digest(&lab);
    for _ in 0..2 {
        lab.now += SignedDuration::from_mins(61);
        while lab.step(Fate::Well) {}
    }
    let StepState::Held(hold) = first(&lab).state else { panic!("{:?}", first(&lab)) };
    assert_eq!((hold.code.as_str(), hold.why.as_str()), ("ask-expired", "nobody answered in time, also after it was escalated"));
    assert!(yes(&lab, "ben", &plan).is_err() && lab.world.is_empty(), "too late");
    // Released it is asked from nothing, and may be escalated again.
    lab.append(lab.runs[0], vec![Entry::Released { step: Some(StepKey::first("first")), by: Person("ann".into()) }]).unwrap();
    while lab.step(Fate::Well) {}
    assert!(matches!(first(&lab).state, StepState::Asked { escalated: false, .. }));
}

#[test]
fn a_no_stands_until_a_yes_also_when_a_later_finding_comes_and_nothing_else_would_ask() {
    let mut lab = about_to_decide(says(PolicyVerdict::Ask { people: 1 }), Mode::Act);
    while lab.step(Fate::Well) {}
    let by = Person("ann".into());
    let no = Entry::Refused { step: StepKey::first("first"), by: by.clone(), why: "it is the shop".into(), identity: String::new() };
    lab.append(lab.runs[0], vec![no]).unwrap();
    assert!(matches!(first(&lab).state, StepState::Skipped { .. }));
    // No policy asks any more, and what the finding says is more than before.
    lab.policy = PolicyAnswer::allow("toy");
    lab.arrive(0, false, true, true);
    while lab.step(Fate::Well) {}
    let StepState::Asked { why, people, .. } = first(&lab).state else { panic!("{:?}", first(&lab)) };
    assert_eq!((why.as_str(), people), ("before, ann said no: it is the shop", 1));
    // Nor does an operator's retry do it.
    lab.append(
        lab.runs[0],
        vec![Entry::Refused { step: StepKey::first("first"), by: by.clone(), why: String::new(), identity: String::new() }],
    )
    .unwrap();
    lab.append(lab.runs[0], vec![Entry::Retried { step: Some(StepKey::first("first")), by }]).unwrap();
    while lab.step(Fate::Well) {}
    assert!(matches!(first(&lab).state, StepState::Asked { .. }) && lab.world.is_empty());
    yes(&lab, "ben", &digest(&lab)).unwrap();
    while lab.step(Fate::Well) {}
    assert_eq!(first(&lab).state, StepState::InEffect);
    assert_eq!(first(&lab).refused, None);
}

/// A yes that was there before the no is none.
#[test]
fn a_no_voids_the_yes_of_others_to_the_same_plan() {
    let mut lab = about_to_decide(says(PolicyVerdict::Ask { people: 2 }), Mode::Act);
    while lab.step(Fate::Well) {}
    yes(&lab, "ann", &digest(&lab)).unwrap();
    let no = Entry::Refused { step: StepKey::first("first"), by: Person("ben".into()), why: String::new(), identity: String::new() };
    let again = Entry::Retried { step: Some(StepKey::first("first")), by: Person("cleo".into()) };
    lab.append(lab.runs[0], vec![no, again]).unwrap();
    lab.policy = PolicyAnswer::allow("toy");
    while lab.step(Fate::Well) {}
    assert!(matches!(first(&lab).state, StepState::Asked { people: 1, .. }) && lab.world.is_empty());
}

/// A no may end its incident: nothing else is wanted in it.
#[test]
fn a_no_stands_in_the_next_incident_of_the_subject_until_a_yes_or_for_a_week() {
    let said_no = |days: i64| {
        let mut lab = about_to_decide(says(PolicyVerdict::Ask { people: 1 }), Mode::Act);
        while lab.step(Fate::Well) {}
        let no = Entry::Refused { step: StepKey::first("first"), by: Person("ann".into()), why: String::new(), identity: String::new() };
        lab.append(lab.runs[0], vec![no, Entry::ClosedBy { by: Person("ann".into()), why: "enough".into() }]).unwrap();
        lab.policy = PolicyAnswer::allow("toy");
        lab.now += SignedDuration::from_hours(24 * days);
        lab.arrive(0, false, false, false);
        while lab.step(Fate::Well) {}
        lab
    };
    let lab = said_no(6);
    let of_first = |lab: &Lab| lab.view(lab.runs[1]).latest("first").unwrap().clone();
    let StepState::Asked { why, digest, .. } = of_first(&lab).state else { panic!("{:?}", of_first(&lab)) };
    assert!(why.starts_with("a person said no to it for this subject before"), "{why}");
    let yes = Entry::Approved {
        step: StepKey::first("first"),
        digest,
        by: Person("ben".into()),
        expires: lab.now + SignedDuration::from_hours(1),
        identity: String::new(),
    };
    lab.append(lab.runs[1], vec![yes]).unwrap();
    let mut lab = lab;
    while lab.step(Fate::Well) {}
    assert_eq!(of_first(&lab).state, StepState::InEffect);
    assert!(lab.store.tables().stand_downs.is_empty(), "a yes answers it");
    assert_eq!(of_first(&said_no(8)).state, StepState::InEffect);
}

/// What was begun is finished by itself after a crash; where AWS refused it and a person has it tried again, what asks then asks then.
#[test]
fn what_was_begun_is_finished_without_a_question_and_what_a_person_has_begun_anew_is_asked_about_anew() {
    for again in [false, true] {
        let mut lab = about_to_decide(says(PolicyVerdict::Ask { people: 2 }), Mode::Act);
        while lab.step(Fate::Well) {}
        let plan = digest(&lab);
        yes(&lab, "ann", &plan).unwrap();
        yes(&lab, "ben", &plan).unwrap();
        lab.step(Fate::CrashBefore);
        assert!(first(&lab).fixed && lab.world.is_empty());
        if again {
            let (step, code, why) = (StepKey::first("first"), "access-denied".into(), "refused".into());
            lab.append(lab.runs[0], vec![Entry::Failed { step: step.clone(), code, why }]).unwrap();
            lab.append(lab.runs[0], vec![Entry::Retried { step: Some(step), by: Person("cleo".into()) }]).unwrap();
        }
        lab.now += SignedDuration::from_mins(20);
        while lab.step(Fate::Well) {}
        if again {
            let plan = digest(&lab);
            assert!(lab.world.is_empty(), "a yes is used once");
            yes(&lab, "ann", &plan).unwrap();
            // A no to what was begun once is no end that nobody looks at.
            let no =
                Entry::Refused { step: StepKey::first("first"), by: Person("ben".into()), why: String::new(), identity: String::new() };
            lab.append(lab.runs[0], vec![no]).unwrap();
            let StepState::Held(hold) = first(&lab).state else { panic!("{:?}", first(&lab)) };
            assert_eq!(hold.code, "said-no");
            // It can be undone as it stands, also while it is asked about.
            let undo =
                Entry::UndoAsked { step: StepKey::first("first"), cause: UndoCause::Person { by: Person("cleo".into()), whole: false } };
            view(&lab).fold(lab.now, &undo).unwrap();
            lab.append(lab.runs[0], vec![Entry::Released { step: None, by: Person("cleo".into()) }]).unwrap();
            while lab.step(Fate::Well) {}
            let plan = digest(&lab);
            yes(&lab, "ann", &plan).unwrap();
            yes(&lab, "ben", &plan).unwrap();
            while lab.step(Fate::Well) {}
        }
        assert_eq!(first(&lab).state, StepState::InEffect, "{again}");
    }
}
