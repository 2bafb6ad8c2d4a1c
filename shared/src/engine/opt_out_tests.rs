//! Opt-outs in the gate: obeyed, or, where all of them are new and the policies question them, a person is asked. Never neither.

use futures::executor::block_on;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::json;

use super::{
    Approval, Person, View,
    policy_tests::{about_to_decide, view},
};
use crate::{
    gate::{self, Ask, Caps, Facts, OptOutAnswer, OptOutFact, PolicyAnswer, PolicyVerdict, Ruling, opt_out},
    mode::Mode,
    optout::Since,
    plan::{Plan, Risk, StepKey, TagSeen},
};

/// What is known of when an opt-out appeared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Age {
    /// Before the attack began.
    Old,
    /// Nobody knows.
    Unknown,
    /// It was not looked up.
    NotLooked,
    /// By Cordon's own sightings, after.
    Sighted,
    /// By CloudTrail, after.
    Recorded,
}

impl Age {
    fn is_new(self) -> bool {
        matches!(self, Self::Sighted | Self::Recorded)
    }
    fn since(self, began: Timestamp) -> Option<Since> {
        let (before, after) = (began - SignedDuration::from_mins(9), began + SignedDuration::from_mins(9));
        let recorded =
            |at| Since::Recorded { at, call: "ec2:CreateTags".into(), by: Some("mallory".into()), address: None, event: "e".into() };
        Some(match self {
            Self::Old => recorded(before),
            Self::Unknown => Since::Unknown { why: "no record".into() },
            Self::NotLooked => return None,
            Self::Sighted => Since::Sighted { without: Some(began), with: after },
            Self::Recorded => recorded(after),
        })
    }
}

/// The step `first` as it is asked about, with these opt-outs of the account and of resources, and this answer of the policies to them.
fn question(view: &View, plan: Plan, now: Timestamp, account: &[Age], resources: &[Age], answer: Option<PolicyVerdict>) -> Ask {
    let began = opt_out::attack_began(view);
    let fact = |(number, age): (usize, &Age)| OptOutFact {
        id: format!("ou-{number}"),
        whose: format!("OU {number}"),
        value: "true".into(),
        since: age.since(began),
    };
    let tag =
        |(number, age): (usize, &Age)| TagSeen { resource: format!("arn:{number}"), value: "playbook:toy".into(), since: age.since(began) };
    let plan = Plan { opt_outs: resources.iter().enumerate().map(tag).collect(), ..plan };
    let opt_out = answer.map(|verdict| OptOutAnswer { verdict, why: "policy `careful` says so".into(), policies: vec!["careful".into()] });
    Ask {
        step: StepKey::first("first"),
        action: "toy.switch",
        risk: Risk::Reversible,
        with: json!({}),
        region: None,
        plan,
        mode: Mode::Act,
        ask: false,
        planned_at: now + SignedDuration::from_nanos(1),
        facts: Facts { read_at: now, opt_outs: account.iter().enumerate().map(fact).collect(), ..Facts::default() },
        policy: PolicyAnswer { opt_out, ..PolicyAnswer::allow("set") },
        caps: Caps { per_account_hour: 10, per_organization_hour: 10 },
        question_lasts: SignedDuration::from_hours(1),
        stand_down: "none".into(),
        spending: Default::default(),
        uncounted: false,
        rehearsal: false,
    }
}

fn ages() -> impl Strategy<Value = Vec<Age>> {
    let age = prop_oneof![Just(Age::Old), Just(Age::Unknown), Just(Age::NotLooked), Just(Age::Sighted), Just(Age::Recorded)];
    proptest::collection::vec(age, 0..3)
}

fn answers() -> impl Strategy<Value = Option<PolicyVerdict>> {
    prop_oneof![
        Just(None),
        Just(Some(PolicyVerdict::Allow)),
        (0..=gate::MOST_PEOPLE).prop_map(|people| Some(PolicyVerdict::Ask { people })),
        Just(Some(PolicyVerdict::Deny)),
        Just(Some(PolicyVerdict::Failed)),
    ]
}

/// Which plan the persons said yes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    /// To this, with its opt-outs.
    This,
    /// To the plan as if nobody had opted out.
    PlanAlone,
    /// To something else.
    Another,
}

proptest! {
    #[test]
    fn an_opt_out_is_never_passed_over_without_a_persons_yes_to_it(
        account in ages(), resources in ages(), answer in answers(),
        mode in prop_oneof![Just(Mode::Observe), Just(Mode::Ask), Just(Mode::Act)],
        to in prop_oneof![Just(To::This), Just(To::PlanAlone), Just(To::Another)],
        said in 0_usize..4, (fixed, anew, begun_so, uncounted) in any::<(bool, bool, bool, bool)>(),
    ) {
        let lab = about_to_decide(PolicyAnswer::allow("toy"), mode);
        let mut view = view(&lab);
        let plan = lab.plan(&json!({ "switches": ["a"] }));
        let ask = Ask { mode, uncounted, ..question(&view, plan.clone(), lab.now, &account, &resources, answer) };
        let alone = plan.digest("toy.switch", &json!({}));
        let digest = opt_out::digest(&view, &ask, lab.now);
        let of = match to { To::This => digest.clone(), To::PlanAlone => alone.clone(), To::Another => "another".to_owned() };
        let expires = lab.now + SignedDuration::from_hours(1);
        let step = view.steps.iter_mut().find(|step| step.key.id == "first").unwrap();
        step.approvals =
            ["ann", "ben", "ann"].iter().take(said).map(|by| Approval { digest: of.clone(), by: Person((*by).into()), expires, identity: String::new() }).collect();
        (step.fixed, step.finishing) = (fixed, fixed && !anew);
        step.digest = if begun_so { digest.clone() } else { alone.clone() };
        let (asked, now) = (ask.clone(), lab.now);
        let (looked, key) = (view.clone(), digest.clone());
        let ruling = block_on(lab.journal.with(move |tx| gate::rule(tx, &looked, &asked, &key, now))).unwrap();

        let all: Vec<Age> = account.iter().chain(&resources).copied().collect();
        let questioned = match answer {
            Some(PolicyVerdict::Allow) => Some(1),
            Some(PolicyVerdict::Ask { people }) => Some(people.max(1)),
            _ => None,
        };
        let persons = if of == digest { [0_u8, 1, 2, 2][said] } else { 0 };
        if all.is_empty() {
            prop_assert_eq!(&digest, &alone);
            prop_assert!(!matches!(&ruling, Ruling::Hold(_)), "{:?}", ruling);
        } else if !all.iter().all(|age| age.is_new()) || questioned.is_none() {
            // One that is old or of which nobody knows is obeyed whatever else is new; so are all without the policies' word.
            prop_assert_eq!(&digest, &alone);
            let Ruling::Hold(hold) = &ruling else { panic!("{ruling:?}") };
            prop_assert_eq!(hold.code.as_str(), "opted-out");
            prop_assert_eq!(hold.why.contains("appeared after the attack began"), all.iter().any(|age| age.is_new()), "{}", hold.why);
        } else {
            prop_assert_ne!(&digest, &alone);
            let people = questioned.unwrap();
            match &ruling {
                Ruling::Go if fixed && !anew => prop_assert!(begun_so, "what was begun without this question is not finished over it"),
                Ruling::Go => prop_assert!(mode != Mode::Observe && persons >= people && (begun_so || !fixed)),
                Ruling::Ask { why, people: least } => {
                    prop_assert!(*least >= people && (!fixed || anew));
                    prop_assert!(why.contains("appeared after the attack began") && why.contains("policy `careful`"), "{}", why);
                }
                Ruling::Observe { .. } => prop_assert_eq!(mode, Mode::Observe),
                Ruling::Hold(hold) => prop_assert!(hold.code == "opted-out" && fixed && !begun_so, "{:?}", hold),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}

/// The words of the ruling on these opt-outs.
fn told(account: &[Age], resources: &[Age], answer: Option<PolicyVerdict>) -> (bool, String) {
    let lab = about_to_decide(PolicyAnswer::allow("toy"), Mode::Act);
    let (view, now) = (view(&lab), lab.now);
    let ask = question(&view, lab.plan(&json!({ "switches": ["a"] })), now, account, resources, answer);
    let digest = opt_out::digest(&view, &ask, now);
    match block_on(lab.journal.with(move |tx| gate::rule(tx, &view, &ask, &digest, now))).unwrap() {
        Ruling::Hold(hold) => (false, hold.why),
        Ruling::Ask { why, people: 1 } => (true, why),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_new_opt_out_is_told_with_since_when_and_by_whom_whether_it_is_obeyed_or_asked_about() {
    for (answer, asks) in
        [(None, false), (Some(PolicyVerdict::Deny), false), (Some(PolicyVerdict::Failed), false), (Some(PolicyVerdict::Allow), true)]
    {
        let (asked, why) = told(&[], &[Age::Recorded], answer);
        assert_eq!(asked, asks, "{why}");
        for part in
            ["arn:0 is opted out by its tag, value `playbook:toy`", "it appeared after the attack began at ", "by mallory (ec2:CreateTags"]
        {
            assert!(why.contains(part), "{part}: {why}");
        }
        assert_eq!(why.contains("policy `careful` says so"), answer.is_some(), "{why}");
    }
    let (asked, why) = told(&[Age::Sighted], &[], Some(PolicyVerdict::Allow));
    assert!(asked && why.contains("OU 0 is opted out") && why.contains("Cordon saw it without an opt-out at"), "{why}");
}

#[test]
fn one_old_or_unknown_opt_out_is_obeyed_whatever_else_is_new_and_all_are_told() {
    for (account, resources) in [([Age::Old], [Age::Recorded]), ([Age::Unknown], [Age::Recorded]), ([Age::Sighted], [Age::NotLooked])] {
        let (asked, why) = told(&account, &resources, Some(PolicyVerdict::Allow));
        assert!(!asked && why.contains("Besides: ") && why.contains("it appeared after the attack began"), "{why}");
    }
    let (_, why) = told(&[], &[Age::Unknown], Some(PolicyVerdict::Allow));
    assert!(why.ends_with("since when is not known: no record"), "{why}");
}

#[test]
fn the_attack_began_when_the_first_finding_was_first_seen() {
    let lab = about_to_decide(PolicyAnswer::allow("toy"), Mode::Act);
    let mut view = view(&lab);
    assert_eq!(opt_out::attack_began(&view), view.detected_at);
    let mut other = view.findings[0].clone();
    view.findings[0].finding["first_seen"] = json!("2026-11-23T22:00:00Z");
    other.finding["first_seen"] = json!("2026-11-23T21:00:00Z");
    view.findings.push(other);
    assert_eq!(opt_out::attack_began(&view).to_string(), "2026-11-23T21:00:00Z");
}
