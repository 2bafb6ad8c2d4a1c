//! What each of the shipped policies says, and what an operator's own do beside them.

use std::collections::BTreeMap;

use cordon_shared::{
    gate::{Caps, PolicyAnswer, PolicyVerdict},
    mode::Mode,
    plan::{Change, Plan, Risk, Seat},
};
use cordon_spoke::aws::organization;
use jiff::{Timestamp, tz::TimeZone};
use serde_json::json;

use super::{
    BUILT_IN, Case, LoadError, Policies, Texts,
    case::{Account, Around, Deed, Matter, OptOuts, Subject, Unit},
    load::{read, schema},
};
use crate::{org::AccountFacts, setup::registry};

/// A case in an account of the OU `Workloads/Development`, on a Tuesday at noon.
pub(super) fn case(action: &str) -> Case {
    let risk = registry().unwrap().get(action).map_or(Risk::Reversible, |action| action.risk);
    let unit = |id: &str, name: &str| Unit { id: id.into(), name: name.into(), tags: BTreeMap::new() };
    Case {
        playbook: "ec2-brute-force".into(),
        action: action.into(),
        risk,
        subject: Subject {
            name: "arn:aws:ec2:us-east-1:111122223333:instance/i-0abc".into(),
            kind: "instance".into(),
            id: "i-0abc".into(),
            region: "us-east-1".into(),
            tags: BTreeMap::new(),
        },
        account: Account {
            id: "111122223333".into(),
            name: "payments".into(),
            tags: BTreeMap::new(),
            path: vec![unit("r-a1b2", "Root"), unit("ou-a1b2-11111111", "Workloads"), unit("ou-a1b2-22222222", "Development")],
        },
        environments: [].into(),
        criticalities: [].into(),
        around: Around {
            phase: Some("contain".into()),
            seat: Seat::Member,
            mode: Mode::Act,
            severity: 80,
            finding_type: "UnauthorizedAccess:EC2/SSHBruteForce".into(),
            part: Some("ACTOR".into()),
            finding_age: 60,
            opt_out_age: None,
            opt_out_new: false,
            blast_radius: 1,
            spent: (0, 0),
            budget_spent: 0,
            caps: (5, 25),
            hour: 12,
            minute: 0,
            weekday: "tuesday".into(),
        },
    }
}

fn in_production(mut case: Case) -> Case {
    case.account.path[2].name = "Production".into();
    case
}

pub(super) fn load(files: &[(&str, &str)]) -> Result<Policies, LoadError> {
    let texts: Texts = files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
    read(&texts, &schema(&registry().unwrap()).unwrap())
}

/// The shipped policies, with these files beside or instead of them.
pub(super) fn with(files: &[(&str, &str)]) -> Policies {
    let mut all: Texts = BUILT_IN.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
    all.extend(files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())));
    read(&all, &schema(&registry().unwrap()).unwrap()).unwrap_or_else(|error| panic!("{error}"))
}

fn verdict(policies: &Policies, case: &Case) -> PolicyVerdict {
    policies.judge(case).verdict
}

fn shipped(case: &Case) -> PolicyAnswer {
    with(&[]).judge(case)
}

#[test]
fn probes_are_always_allowed() {
    for case in [case("ec2.find-instance"), in_production(case("ec2.record-all"))] {
        let answer = shipped(&case);
        assert_eq!((answer.verdict, answer.policies.as_slice()), (PolicyVerdict::Allow, ["probes".to_owned()].as_slice()), "{answer:?}");
    }
}

#[test]
fn reversible_changes_may_be_made_everywhere() {
    for case in [case("ec2.close-open-ingress"), in_production(case("ec2.block-source-in-nacl"))] {
        let answer = shipped(&case);
        assert_eq!((answer.verdict, answer.why.as_str()), (PolicyVerdict::Allow, "policy `reversible` allows it"));
    }
}

#[test]
fn disruptive_changes_ask_one_person_in_production_and_nowhere_else() {
    let isolate = || case("ec2.isolate-instance");
    assert_eq!(shipped(&isolate()).verdict, PolicyVerdict::Allow);
    let answer = shipped(&in_production(isolate()));
    assert_eq!(answer.verdict, PolicyVerdict::Ask { people: 1 });
    let why = "policy `disruptive-in-production` (it interrupts who uses it rightfully, in production) asks one person";
    assert_eq!(answer.why, why);
    for value in ["production", "prod"] {
        let tagged = Case { environments: [value.to_owned()].into(), ..isolate() };
        assert_eq!(shipped(&tagged).verdict, PolicyVerdict::Ask { people: 1 }, "{value}");
    }
    let test = Case { environments: ["test".to_owned()].into(), ..isolate() };
    assert_eq!(shipped(&test).verdict, PolicyVerdict::Allow);
}

#[test]
fn destructive_changes_always_ask_two_persons() {
    for case in [case("iam.contain-user"), in_production(case("iam.contain-user"))] {
        assert_eq!(case.risk, Risk::Destructive);
        let answer = shipped(&case);
        assert_eq!(
            (answer.verdict, answer.policies.as_slice()),
            (PolicyVerdict::Ask { people: 2 }, ["destructive-asks-two".to_owned()].as_slice())
        );
        assert_eq!(answer.people(), 2);
    }
}

#[test]
fn an_account_above_which_nothing_is_tagged_has_no_environment_and_a_missing_tag_is_no_error() {
    let policies = with(&[(
        "critical.cedar",
        "@id(\"critical\")\nforbid (principal, action in Action::\"change\", resource)\nwhen { resource.hasTag(\"criticality\") && resource.getTag(\"criticality\") == \"high\" };",
    )]);
    let mut case = case("ec2.close-open-ingress");
    assert_eq!(verdict(&policies, &case), PolicyVerdict::Allow, "no tag, no error");
    case.subject.tags.insert("criticality".into(), "low".into());
    assert_eq!(verdict(&policies, &case), PolicyVerdict::Allow);
    case.subject.tags.insert("criticality".into(), "high".into());
    let answer = policies.judge(&case);
    assert_eq!((answer.verdict, answer.why.as_str()), (PolicyVerdict::Deny, "policy `critical` forbids it"));
}

#[test]
fn a_no_overrides_every_yes_whatever_else_permits_it() {
    let policies = with(&[
        ("all.cedar", "permit (principal, action, resource);"),
        (
            "sandbox.cedar",
            "@id(\"not-there\")\n@why(\"the team answers itself\")\nforbid (principal, action in Action::\"change\", resource in OrgUnit::\"ou-a1b2-22222222\");",
        ),
    ]);
    let answer = policies.judge(&case("ec2.close-open-ingress"));
    assert_eq!((answer.verdict, answer.why.as_str()), (PolicyVerdict::Deny, "policy `not-there` (the team answers itself) forbids it"));
    assert_eq!(verdict(&policies, &case("ec2.find-instance")), PolicyVerdict::Allow, "looking is no change");
    let mut elsewhere = case("ec2.close-open-ingress");
    elsewhere.account.path.pop();
    assert_eq!(verdict(&policies, &elsewhere), PolicyVerdict::Allow);
}

#[test]
fn what_no_policy_permits_is_a_no() {
    let answer = load(&[("probes.cedar", BUILT_IN[2].1)]).unwrap().judge(&case("ec2.isolate-instance"));
    assert_eq!(answer.verdict, PolicyVerdict::Deny);
    assert!(
        answer.policies.is_empty() && answer.why.starts_with("no policy permits `ec2.isolate-instance` (`disruptive`)"),
        "{}",
        answer.why
    );
}

#[test]
fn the_strictest_of_several_questions_counts_and_all_that_ask_are_named() {
    let policies = with(&[(
        "many.cedar",
        "@id(\"wide\")\nforbid (principal, action in Action::\"change\", resource)\nwhen { context.blast_radius > 3 && context.approvals < 2 };",
    )]);
    let mut case = in_production(case("ec2.isolate-instance"));
    assert_eq!(verdict(&policies, &case), PolicyVerdict::Ask { people: 1 });
    case.around.blast_radius = 4;
    let answer = policies.judge(&case);
    assert_eq!(answer.verdict, PolicyVerdict::Ask { people: 2 });
    assert_eq!(answer.policies, ["disruptive-in-production", "wide"]);
}

#[test]
fn every_step_can_be_made_to_ask() {
    let policies = with(&[("proceed.cedar", "forbid (principal, action in Action::\"change\", resource) when { context.approvals < 1 };")]);
    for action in ["ec2.close-open-ingress", "ec2.isolate-instance", "securityhub.update-finding"] {
        let answer = policies.judge(&case(action));
        assert_eq!(
            (answer.verdict, answer.policies.as_slice()),
            (PolicyVerdict::Ask { people: 1 }, ["proceed".to_owned()].as_slice()),
            "{action}"
        );
    }
}

/// The account of a case that is made of what a run and the organization say: `payments` below `Workloads` and `Production`.
fn facts(now: Timestamp) -> AccountFacts {
    let unit = |id: &str, name: &str| organization::Unit { id: id.to_owned(), name: name.to_owned() };
    let tags = |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    AccountFacts {
        account: organization::Account {
            id: "111122223333".parse().unwrap(),
            name: "payments".to_owned(),
            state: organization::AccountState::Active,
            joined: None,
        },
        path: organization::OuPath(vec![
            unit("r-a1b2", "Root"),
            unit("ou-a1b2-11111111", "Workloads"),
            unit("ou-a1b2-22222222", "Production"),
        ]),
        tags: tags(&[("Environment", " Staging ")]),
        unit_tags: [("ou-a1b2-11111111".to_owned(), tags(&[("criticality", "Low"), ("environment", "EU")]))].into(),
        opt_outs: Vec::new(),
        read_at: now,
    }
}

/// The case of a step with this action and plan, made as the driver makes it, at a time and by the clocks of a zone.
fn made(action: &str, plan: Option<&Plan>, zone: &str, time: &str) -> Case {
    let (view, registry, now) = (crate::slack::testing::view(), registry().unwrap(), time.parse::<Timestamp>().unwrap());
    let matter = Matter {
        view: &view,
        deed: Deed::Step(&view.playbook.steps[1], registry.get(action).unwrap()),
        plan,
        mode: Mode::Ask,
        facts: &facts(now),
        spent: (3, 17),
        caps: Caps { per_account_hour: 5, per_organization_hour: 25 },
        budget_spent: 40,
        opt_outs: OptOuts::default(),
    };
    Case::new(matter, now, &TimeZone::get(zone).unwrap())
}

/// Weekday, hour and minute of a case at a time in a zone.
fn clock(zone: &str, time: &str) -> (String, i8, i8) {
    let around = made("ec2.isolate-instance", None, zone, time).around;
    (around.weekday, around.hour, around.minute)
}

#[test]
fn a_case_has_weekday_hour_and_minute_of_its_time_zone() {
    // A Tuesday in Greenwich.
    let time = "2026-10-20T20:30:00Z";
    for (zone, weekday, hour, minute) in [
        ("UTC", "tuesday", 20, 30),
        ("Europe/Berlin", "tuesday", 22, 30),
        ("Asia/Kathmandu", "wednesday", 2, 15),
        ("Pacific/Kiritimati", "wednesday", 10, 30),
        ("Etc/GMT+12", "tuesday", 8, 30),
    ] {
        assert_eq!(clock(zone, time), (weekday.to_owned(), hour, minute), "{zone}");
    }
    assert_eq!(clock("Etc/GMT+12", "2026-10-26T11:59:00Z"), ("sunday".to_owned(), 23, 59), "Monday in Greenwich");
    // Berlin leaves summer time on 25 October 2026 at 01:00 UTC: the hour from two to three comes twice.
    assert_eq!(clock("Europe/Berlin", "2026-10-25T00:30:00Z"), ("sunday".to_owned(), 2, 30));
    assert_eq!(clock("Europe/Berlin", "2026-10-25T01:30:00Z"), ("sunday".to_owned(), 2, 30));
    // New York comes to it on 8 March 2026 at 07:00 UTC: that hour does not come.
    assert_eq!(clock("America/New_York", "2026-03-08T06:59:00Z"), ("sunday".to_owned(), 1, 59));
    assert_eq!(clock("America/New_York", "2026-03-08T07:00:00Z"), ("sunday".to_owned(), 3, 0));
}

#[test]
fn a_case_is_made_of_what_run_plan_and_organization_say() {
    let change = |resource: &str| Change {
        resource: resource.to_owned(),
        attribute: "port 22".to_owned(),
        before: json!("open"),
        after: json!("closed"),
    };
    let subject = "arn:aws:ec2:us-east-1:111122223333:instance/i-0abc";
    let group = "arn:aws:ec2:us-east-1:111122223333:security-group/sg-0aa";
    let tags = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
    let plan = Plan {
        changes: vec![change(group), change("arn:aws:ec2:us-east-1:111122223333:security-group/sg-0bb")],
        tags: [(subject.to_owned(), tags("Criticality", "High")), (group.to_owned(), tags("ENVIRONMENT", "prod"))].into(),
        ..Plan::default()
    };
    let case = made("ec2.close-open-ingress", Some(&plan), "UTC", "2026-11-24T12:00:30Z");
    let of = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<std::collections::BTreeSet<_>>();
    assert_eq!((case.environments.clone(), case.criticalities.clone()), (of(&["eu", "prod", "staging"]), of(&["high", "low"])));
    assert_eq!(case.subject.tags, tags("Criticality", "High"));
    let around = &case.around;
    assert_eq!((around.spent, around.caps, around.budget_spent, around.blast_radius), ((3, 17), (5, 25), 40, 2));
    // First seen at eleven.
    assert_eq!((around.finding_age, around.severity, around.mode), (3_630, 20, Mode::Ask));
    assert_eq!((around.part.as_deref(), around.finding_type.as_str()), (Some("TARGET"), "UnauthorizedAccess:EC2/SSHBruteForce"));
    // As the policies see it.
    let seen = "@id(\"seen\")\nforbid (principal, action in Action::\"reversible\", resource in OrgUnit::\"ou-a1b2-11111111\")\nwhen { resource.hasTag(\"Criticality\") && resource.criticalities.contains(\"high\") && resource.environments.contains(\"eu\") && resource.account.hasTag(\"Environment\") && context.spent.account == 3 && context.spent.organization == 17 && context.caps.account == 5 && context.caps.organization == 25 && context.finding_age > 3600 && context.blast_radius == 2 };";
    let answer = with(&[("seen.cedar", seen)]).judge(&case);
    assert_eq!((answer.verdict, answer.policies), (PolicyVerdict::Deny, vec!["seen".to_owned()]), "{}", answer.why);
}

#[test]
fn a_freeze_window_goes_by_the_local_clock_also_where_it_is_changed() {
    let night = "@id(\"night\")\nforbid (principal, action in Action::\"disruptive\", resource)\nwhen { context.hour >= 22 || context.hour < 3 || [\"saturday\", \"sunday\"].contains(context.weekday) };";
    // Nobody is asked for being in production.
    let policies = with(&[("night.cedar", night), ("disruptive.cedar", "permit (principal, action in Action::\"disruptive\", resource);")]);
    let at = |zone: &str, time: &str| {
        let case = made("ec2.isolate-instance", None, zone, time);
        (case.around.hour, verdict(&policies, &case))
    };
    // Berlin leaves summer time on 25 October 2026 at 01:00 UTC, a Sunday; the Tuesdays around it show the hour that it moves.
    assert_eq!(at("Europe/Berlin", "2026-10-20T20:30:00Z"), (22, PolicyVerdict::Deny), "summer: 22:30");
    assert_eq!(at("Europe/Berlin", "2026-10-27T20:30:00Z"), (21, PolicyVerdict::Allow), "winter: 21:30");
    assert_eq!(at("UTC", "2026-10-20T20:30:00Z"), (20, PolicyVerdict::Allow));
    assert_eq!(at("Europe/Berlin", "2026-10-24T22:30:00Z"), (0, PolicyVerdict::Deny), "Sunday has begun");
    assert_eq!(at("America/New_York", "2026-10-26T03:30:00Z"), (23, PolicyVerdict::Deny), "it has not ended there");
}

#[test]
fn what_was_asked_can_be_asked_again_from_the_journal() {
    let answer = shipped(&in_production(case("ec2.isolate-instance")));
    let text = serde_json::to_string(&answer).unwrap();
    let back: PolicyAnswer = serde_json::from_str(&text).unwrap();
    assert_eq!(back, answer);
    let again: Case = serde_json::from_value(back.asked).unwrap();
    assert_eq!(shipped(&again), answer);
}

#[test]
fn every_action_is_in_the_group_of_its_risk() {
    let registry = registry().unwrap();
    let policies = with(&[]);
    for action in registry.iter() {
        let answer = policies.judge(&case(action.name));
        let wanted = if action.risk == Risk::Destructive { PolicyVerdict::Ask { people: 2 } } else { PolicyVerdict::Allow };
        assert_eq!(answer.verdict, wanted, "{}: {}", action.name, answer.why);
    }
    assert_eq!(json!(Risk::ReadOnly), json!("read-only"));
}

fn person(name: &str, roles: &[&str]) -> crate::config::people::Person {
    let roles = roles.iter().map(|role| (*role).to_owned()).collect();
    crate::config::people::Person { name: name.to_owned(), roles, slack: None, aws: Vec::new() }
}

#[test]
fn people_may_what_their_roles_are_for_and_nobody_else_may() {
    use super::person::Doing::{Approve, Close, Deny, Freeze, Look, Open, Release, Retry, Thaw, Undo};
    let (policies, zone) = (with(&[]), jiff::tz::TimeZone::UTC);
    let now = "2026-11-29T03:00:00Z".parse().unwrap();
    let view = crate::slack::testing::view();
    let about = super::person::About { view: &view, entries: &[], step: None };
    let may = |roles: &[&str], doing| {
        let about = (![Freeze, Look, Open, Thaw].contains(&doing)).then_some(&about);
        policies.may(&person("Ann", roles), doing, about, now, &zone)
    };
    for doing in [Approve, Deny] {
        assert_eq!(may(&["approver"], doing), Ok(()));
        let why = may(&["operator"], doing).unwrap_err();
        assert!(why.contains("Ann, who has the roles operator, may not") && why.contains("`approver`"), "{why}");
    }
    for doing in [Undo, Release, Retry, Close, Open, Thaw] {
        assert_eq!(may(&["operator"], doing), Ok(()), "{doing:?}");
        assert!(may(&["approver"], doing).is_err() && may(&[], doing).is_err(), "{doing:?}");
    }
    assert_eq!((may(&[], Freeze), may(&[], Look)), (Ok(()), Ok(())));
}

#[test]
fn a_policy_says_when_and_where_people_may() {
    use super::person::{About, Doing};
    let night = "@id(\"not-at-night\")\n@why(\"nobody looks twice at three\")\nforbid (principal is Person, action == Action::\"undo\", resource) when { context.hour < 6 };\n";
    let broken =
        "forbid (principal is Person, action == Action::\"close\", resource) when { context.severity + 9223372036854775807 > 0 };\n";
    let policies = with(&[("night.cedar", night), ("broken.cedar", broken)]);
    let mut view = crate::slack::testing::view();
    view.findings[0].finding["severity"] = serde_json::json!(80);
    let about = About { view: &view, entries: &[], step: None };
    let zone = jiff::tz::TimeZone::get("Europe/Berlin").unwrap();
    let may = |doing, at: &str| policies.may(&person("Ann", &["operator"]), doing, Some(&about), at.parse().unwrap(), &zone);
    let why = may(Doing::Undo, "2026-11-29T02:00:00Z").unwrap_err();
    assert!(why.contains("`not-at-night` (nobody looks twice at three)"), "{why}");
    assert_eq!(may(Doing::Undo, "2026-11-29T05:30:00Z"), Ok(()), "half past six in Berlin");
    let why = may(Doing::Close, "2026-11-29T12:00:00Z").unwrap_err();
    assert!(why.contains("cannot be decided") && why.contains("broken"), "{why}");
}

/// A case that met an opt-out which appeared after an attack of this severity began.
fn newly_opted_out(severity: u8) -> Case {
    let mut case = case("ec2.close-open-ingress");
    (case.around.opt_out_new, case.around.opt_out_age, case.around.severity) = (true, Some(120), severity);
    case
}

#[test]
fn a_new_opt_out_is_questioned_for_critical_findings_and_obeyed_for_all_others() {
    for (severity, word) in [(100, "question"), (90, "question"), (89, "obey"), (0, "obey")] {
        let answer = shipped(&newly_opted_out(severity));
        let opt_out = answer.opt_out.unwrap();
        assert_eq!((opt_out.word(), answer.verdict), (word, PolicyVerdict::Allow), "{severity}: {}", opt_out.why);
    }
    let answer = shipped(&newly_opted_out(95)).opt_out.unwrap();
    assert_eq!(answer.why, "policy `question-new-opt-outs` (it appeared after a critical attack began) questions it");
    assert_eq!(shipped(&newly_opted_out(70)).opt_out.unwrap().why, "no policy questions it");
    let mut old = newly_opted_out(95);
    old.around.opt_out_new = false;
    assert_eq!(shipped(&old).opt_out, None, "an opt-out that is not new is not put to them");
    assert!(!with(&[]).question(&old).word().starts_with("question"), "and where it were, it would not be questioned");
}

#[test]
fn an_operators_policies_question_never_or_earlier_or_with_more_persons_and_one_that_fails_obeys() {
    let never = with(&[("opt-out.cedar", "// Never.\n")]);
    assert_eq!(never.question(&newly_opted_out(100)).word(), "obey");
    let earlier =
        "permit (principal, action == Action::\"question-opt-out\", resource)\nwhen { context.opt_out_new && context.severity >= 70 };";
    assert_eq!(with(&[("opt-out.cedar", earlier)]).question(&newly_opted_out(70)).word(), "question");
    let two = "@id(\"two\")\nforbid (principal, action == Action::\"question-opt-out\", resource)\nwhen { context.approvals < 2 };";
    assert_eq!(with(&[("two.cedar", two)]).question(&newly_opted_out(95)).verdict, PolicyVerdict::Ask { people: 2 });
    let forbids = "@id(\"ours\")\nforbid (principal, action == Action::\"question-opt-out\", resource);";
    let answer = with(&[("ours.cedar", forbids)]).question(&newly_opted_out(95));
    assert_eq!((answer.word(), answer.why.as_str()), ("obey", "policy `ours` forbids to question it"));
    let fails = "@id(\"overflow\")\nforbid (principal, action == Action::\"question-opt-out\", resource)\nwhen { (context.finding_age + 9223372036854775807) > 0 };";
    let answer = with(&[("fails.cedar", fails)]).judge(&newly_opted_out(95));
    let opt_out = answer.opt_out.unwrap();
    assert_eq!((opt_out.word(), answer.verdict), ("error", PolicyVerdict::Allow));
    assert!(opt_out.why.contains("policy `overflow` (fails.cedar) cannot be evaluated"), "{}", opt_out.why);
}

#[test]
fn what_was_said_of_an_opt_out_can_be_asked_again_from_the_journal() {
    let answer = shipped(&newly_opted_out(95));
    let text = serde_json::to_string(&answer).unwrap();
    let back: PolicyAnswer = serde_json::from_str(&text).unwrap();
    assert_eq!(back, answer);
    let again: Case = serde_json::from_value(back.asked).unwrap();
    assert_eq!(shipped(&again), answer);
    // A case from before opt-outs were dated.
    let mut old = serde_json::to_value(case("ec2.close-open-ingress")).unwrap();
    old["around"].as_object_mut().unwrap().remove("opt_out_new");
    assert_eq!(serde_json::from_value::<Case>(old).unwrap(), case("ec2.close-open-ingress"));
}
