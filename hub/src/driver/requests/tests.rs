use cordon_shared::engine::Person;
use jiff::SignedDuration;
use serde_json::json;

use super::*;
use crate::{
    report::fixture::{Run, step},
    slack::testing::{asking, expires},
};

/// What is answered to a request of Ann's.
fn said(run: &Run, request: &Request) -> Result<Vec<Entry>, String> {
    let by = Asker { by: Person("Ann".into()), identity: "slack:U0ANN".into() };
    match entries(&run.view(), request, &by, run.now, &[]) {
        Ok((entries, _)) => Ok(entries),
        Err(JournalError::Refused(why)) => Err(why),
        Err(other) => panic!("{other}"),
    }
}

/// A yes and a no to what is asked, bound to a question so far as it is known.
fn both(run: &Run, digest: &str, expires: Option<Timestamp>) -> [Request; 2] {
    let (run, step, digest) = (run.id, step("close-ingress"), digest.to_owned());
    let deny = Request::Deny { run, step: step.clone(), why: "ours".into(), digest: Some(digest.clone()), expires };
    [Request::Grant { run, step, digest, expires }, deny]
}

#[test]
fn a_no_counts_as_long_as_a_yes_and_after_that_the_question_does_what_it_says_when_nobody_answers() {
    let (mut run, asked) = asking("t");
    let digest = asked.digest.unwrap();
    let until = asked.expires.unwrap();
    for request in both(&run, &digest, None) {
        assert_eq!(said(&run, &request).unwrap().len(), 1, "{request:?}");
    }
    run.now = until;
    let bare = Request::Deny { run: run.id, step: step("close-ingress"), why: String::new(), digest: None, expires: None };
    for request in both(&run, &digest, None).into_iter().chain([bare]) {
        let no = said(&run, &request).unwrap_err();
        assert!(no.contains(&format!("expired at {until:.0}")) && no.contains("asked anew"), "{request:?}: {no}");
    }
}

#[test]
fn a_no_is_bound_to_the_plan_as_a_yes_is_by_the_beginning_of_its_digest() {
    let (run, asked) = asking("t");
    let digest = asked.digest.unwrap();
    for (named, good) in [
        (digest.as_str(), true),
        (digest.get(..8).unwrap(), true),
        (digest.get(..7).unwrap(), false),
        ("", false),
        ("0000000000000000", false),
    ] {
        for request in both(&run, named, asked.expires) {
            let answer = said(&run, &request);
            assert_eq!(answer.is_ok(), good, "{request:?}: {answer:?}");
            assert!(answer.is_ok_and(|entries| entries.len() == 1) || !good);
        }
    }
}

#[test]
fn an_answer_to_a_question_that_was_escalated_or_asked_anew_about_the_same_plan_is_not_one_to_the_next() {
    let escalated = |run: &mut Run| {
        let until = expires(run);
        run.add(Entry::Escalated { step: step("close-ingress"), expires: until });
    };
    let anew = |run: &mut Run| {
        run.add(Entry::AskExpired { step: step("close-ingress") });
        run.add(Entry::Released { step: None, by: Person("Bob".into()) });
        let digest = run.planned("close-ingress", crate::report::fixture::closing());
        let (step, expires) = (step("close-ingress"), expires(run));
        run.add(Entry::Asked { step, digest, why: "mode ask".into(), expires, people: 1 });
    };
    type Again = fn(&mut Run);
    for (what, again) in [("escalated", escalated as Again), ("asked anew", anew)] {
        let (mut run, asked) = asking("t");
        let digest = asked.digest.unwrap();
        run.now = run.now.checked_add(SignedDuration::from_hours(4)).unwrap();
        again(&mut run);
        for request in both(&run, &digest, asked.expires) {
            let no = said(&run, &request).unwrap_err();
            assert!(no.contains("that question was asked anew"), "{what}: {request:?}: {no}");
        }
        let view = run.view();
        let StepState::Asked { digest: same, expires, .. } = &view.step(&step("close-ingress")).unwrap().state else { panic!("{what}") };
        assert_eq!(*same, digest, "{what}: the same plan");
        // To the one that stands, and from whoever does not say which.
        for request in both(&run, &digest, Some(*expires)).into_iter().chain(both(&run, &digest, None)) {
            assert_eq!(said(&run, &request).unwrap().len(), 1, "{what}: {request:?}");
        }
    }
}

#[test]
fn requests_of_before_say_no_question_and_are_read() {
    let (run, step) = (IncidentId::from_u128(7), "close-ingress");
    let grant: Request = serde_json::from_value(json!({"request": "grant", "run": run, "step": step, "digest": "d"})).unwrap();
    assert!(matches!(grant, Request::Grant { expires: None, .. }), "{grant:?}");
    let deny: Request = serde_json::from_value(json!({"request": "deny", "run": run, "step": step, "why": ""})).unwrap();
    assert!(matches!(deny, Request::Deny { digest: None, expires: None, .. }), "{deny:?}");
    assert_eq!(serde_json::to_value(&grant).unwrap(), json!({"request": "grant", "run": run, "step": step, "digest": "d"}));
}

#[test]
fn an_incident_is_not_undone_as_a_whole_while_one_of_its_changes_is_being_made() {
    let mut run = Run::open(cordon_shared::mode::Mode::Act);
    run.applied("close-ingress", crate::report::fixture::closing());
    let undo = |run: &Run, one: Option<&str>| said(run, &Request::Undo { run: run.id, step: one.map(step) });
    assert_eq!(undo(&run, None).unwrap().len(), 1);
    run.planned("block-source", crate::report::fixture::blocking());
    run.add(Entry::ApplyStarted { step: step("block-source"), attempt: 1, epoch: 1, also: vec![], uncounted: false });
    let no = undo(&run, None).unwrap_err();
    assert!(no.contains("`block-source`") && no.contains("is being done just now") && no.contains("--step"), "{no}");
    assert_eq!(undo(&run, Some("close-ingress")).unwrap().len(), 1, "one step can be named");
}
