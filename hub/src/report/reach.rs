//! How far it reaches: the roles that were assumed from the credentials, and what else is known of the same resource, role, key or source.

use cordon_shared::engine::{StepView, View, contained_at};
use jiff::Timestamp;
use serde_json::Value;

use super::{
    CHAINED, RELATED, Statement, at, count,
    tell::{NAMED, because, latest, list, say, some_of, text, unknown},
    text_at,
};

/// The roles that the credentials assumed: no containment of the credentials ends their sessions.
pub(super) fn chained(view: &View) -> Vec<Statement> {
    let what = "Which roles they assumed";
    let Some(step) = latest(view, CHAINED) else { return vec![unknown(what, "no step has looked", None)] };
    let reference = format!("step {}", step.key);
    if let Some(unknown) = nothing(step, what, &reference) {
        return vec![unknown];
    }
    let mut out: Vec<Statement> = list(&step.outcome, &["roles"])
        .take(NAMED * 2)
        .map(|role| {
            let other = at(role, &["other_account"]) == Some(&Value::Bool(true));
            let place = if other { format!("account {}, another one", text(role, "account")) } else { "this account".to_owned() };
            let key = text_at(role, &["access_key_id"]).map(|key| format!(", key {key}")).unwrap_or_default();
            let session = text_at(role, &["session"]).unwrap_or("a session without a name");
            let lives = match (at(role, &["may_live"]), text_at(role, &["until"])) {
                (Some(Value::Bool(false)), _) => "has ended".to_owned(),
                (_, Some(until)) => format!("may live until {until} unless a person ends it"),
                _ => "may live still unless a person ends it".to_owned(),
            };
            let sentence =
                format!("Role {} in {place}, as {session}{key}, at {}: that session {lives}.", text(role, "role"), text(role, "at"));
            say(sentence, format!("{reference}, CloudTrail event {}", text(role, "event_id")))
        })
        .collect();
    if out.is_empty() {
        out.push(say("No assumed role is recorded.", &reference));
    }
    out.extend(problems(step, &reference));
    out
}

/// Other findings that share something with this one.
pub(super) fn related(view: &View) -> Vec<Statement> {
    let what = "What else was found";
    let Some(step) = latest(view, RELATED) else { return vec![unknown(what, "no step has looked", None)] };
    let reference = format!("step {}", step.key);
    if let Some(unknown) = nothing(step, what, &reference) {
        return vec![unknown];
    }
    let all: Vec<&Value> = list(&step.outcome, &["findings"]).collect();
    let mut out: Vec<Statement> = all
        .iter()
        .take(NAMED)
        .map(|finding| {
            let shares = some_of(list(finding, &["shares"]).map(super::plain));
            let seen = text_at(finding, &["last_seen"]).map(|seen| format!(", last seen {seen}")).unwrap_or_default();
            let archived = if at(finding, &["archived"]) == Some(&Value::Bool(true)) { ", archived" } else { "" };
            let sentence = format!(
                "{} about {} in account {}, {}{seen}{archived}: the same {shares}.",
                text(finding, "type"),
                text(finding, "subject"),
                text(finding, "account"),
                text(finding, "region")
            );
            say(sentence, format!("{reference}, finding {}", text(finding, "id")))
        })
        .collect();
    let more = all.len().saturating_sub(NAMED);
    if more > 0 {
        out.push(say(format!("{} in the outcome of the step.", count(more, "more finding is", "more findings are")), &reference));
    }
    if out.is_empty() {
        out.push(say("No other finding shares its resource, role, key or source.", &reference));
    }
    if at(&step.outcome, &["truncated"]) == Some(&Value::Bool(true)) {
        out.push(unknown("Whether there are more", "not all findings could be read", Some(reference.clone())));
    }
    out.extend(problems(step, &reference));
    out
}

/// The calls of the credentials since they were contained: containment is shown by their being denied.
pub(super) fn since_contained(view: &View, trace: &StepView, reference: &str) -> Option<Statement> {
    let contained = contained_at(view)?;
    let looked = trace.settled.filter(|looked| *looked > contained)?;
    let later = |call: &&Value| text_at(call, &["at"]).and_then(|at| at.parse::<Timestamp>().ok()).is_some_and(|at| at > contained);
    let later: Vec<&Value> = list(&trace.outcome, &["calls"]).filter(later).collect();
    let went: Vec<&&Value> = later.iter().filter(|call| at(call, &["error"]).is_none()).collect();
    let sentence = match (later.len(), went.len()) {
        (0, _) => format!(
            "Since containment at {contained:.0} no call of them is recorded; CloudTrail was asked at {looked:.0}, and has a call up to about 15 minutes late."
        ),
        (all, 0) => {
            format!("Since containment at {contained:.0} {}.", count(all, "call was made, and denied", "calls were made, and all denied"))
        }
        (all, went_through) => {
            let named = some_of(went.iter().map(|call| format!("{} at {}", text(call, "call"), text(call, "at"))));
            format!("Since containment at {contained:.0} {went_through} of {all} calls went through: {named}.")
        }
    };
    Some(say(sentence, reference))
}

/// Why a step that has looked, or was to, has nothing to say.
fn nothing(step: &StepView, what: &str, reference: &str) -> Option<Statement> {
    if !step.outcome.is_object() {
        return Some(unknown(what, because(step), Some(reference.to_owned())));
    }
    text_at(&step.outcome, &["nothing_known_because"]).map(|why| unknown(what, why, Some(reference.to_owned())))
}

/// What could not be read.
pub(super) fn problems(step: &StepView, reference: &str) -> Vec<Statement> {
    let of = |place: &Value| {
        let problem = text_at(place, &["problem"])?;
        Some(unknown(&format!("What {} holds", text(place, "place")), problem, Some(reference.to_owned())))
    };
    list(&step.outcome, &["looked_in"]).filter_map(of).collect()
}
