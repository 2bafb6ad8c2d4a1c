//! How statements are made, and how the outcomes of steps are read for them.

use cordon_shared::engine::{StepState, StepView, View};
use serde_json::Value;

use super::{Statement, at, plain, text_at};

/// Calls, addresses and resources named in one statement; the JSON of the step has all.
pub(super) const NAMED: usize = 8;

pub(super) fn say(text: impl Into<String>, reference: impl Into<String>) -> Statement {
    Statement { text: text.into(), reference: Some(reference.into()), not_known_because: None }
}

pub(super) fn unknown(what: &str, because: impl Into<String>, reference: Option<String>) -> Statement {
    Statement { text: what.to_owned(), reference, not_known_because: Some(because.into()) }
}

/// Why a step has no answer.
pub(super) fn because(step: &StepView) -> String {
    let why = match &step.state {
        StepState::Held(hold) => hold.why.clone(),
        StepState::Failed { why, .. } | StepState::Skipped { why } | StepState::Stuck { why } | StepState::Observed { why } => why.clone(),
        _ => step.deferred.clone().unwrap_or_else(|| "it has not answered yet".to_owned()),
    };
    format!("step {} is {}: {why}", step.key, step.word())
}

/// The latest instance of an action that found something out; else the latest that has an outcome; else the latest that was at least wanted,
/// for the reason why it has none. A second look that could not see hides nothing of the first.
pub(super) fn latest<'v>(view: &'v View, name: &str) -> Option<&'v StepView> {
    let of = |step: &&StepView| view.action(step) == name;
    let answered = |step: &&StepView| of(step) && step.outcome.is_object();
    let knows = |step: &&StepView| answered(step) && text_at(&step.outcome, &["nothing_known_because"]).is_none();
    let wanted = |step: &&StepView| of(step) && !matches!(step.state, StepState::Skipped { .. });
    let steps = || view.steps.iter();
    let answered = steps().rfind(knows).or_else(|| steps().rfind(answered));
    answered.or_else(|| view.steps.iter().find(wanted)).or_else(|| view.steps.iter().find(of))
}

pub(super) fn list<'v>(value: &'v Value, path: &[&str]) -> impl Iterator<Item = &'v Value> {
    at(value, path).and_then(Value::as_array).into_iter().flatten()
}

pub(super) fn text(value: &Value, key: &str) -> String {
    at(value, &[key]).map(plain).unwrap_or_default()
}

/// `a, b and 3 more`.
pub(super) fn some_of(items: impl IntoIterator<Item = String>) -> String {
    let all: Vec<String> = items.into_iter().collect();
    let named: Vec<&str> = all.iter().take(NAMED).map(String::as_str).collect();
    let more = all.len().saturating_sub(named.len());
    if more == 0 { named.join(", ") } else { format!("{} and {more} more", named.join(", ")) }
}
