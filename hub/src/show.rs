//! One incident for people: its state, what waits, each step with what it changes.

use crate::{
    incident::{HoldJson, IncidentJson, StepJson},
    text::{json, safe},
};

/// The incident as text, without a line break at the end.
#[must_use]
pub fn incident(incident: &IncidentJson) -> String {
    let id = incident.incident.map_or_else(|| "-".to_owned(), |id| id.to_string());
    let mut text = format!("{id}  {}  {}", word(&incident.state), incident.playbook.as_deref().unwrap_or("-"));
    put(&mut text, format_args!("\n  {} in account {}, {}", safe(&incident.subject), incident.account, incident.region));
    if !incident.reason.is_empty() {
        put(&mut text, format_args!("\n  {}", safe(&incident.reason)));
    }
    times(&mut text, incident);
    for hold in &incident.holds {
        held(&mut text, hold);
    }
    for told in &incident.owner {
        put(&mut text, format_args!("\n  Owner: {}", told.line()));
    }
    for step in &incident.steps {
        self::step(&mut text, step, &word(&step.state));
    }
    text
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.push_str(&arguments.to_string());
}

/// When it was detected, and how long after that it was first acted on, contained and over.
fn times(text: &mut String, incident: &IncidentJson) {
    if incident.incident.is_none() {
        return;
    }
    put(text, format_args!("\n  detected {:.0}", incident.detected_at));
    let moments = [("first change", incident.first_change_at), ("contained", incident.contained_at), ("ended", incident.ended_at)];
    for (what, at) in moments {
        if let Some(at) = at {
            let after = at.duration_since(incident.detected_at).as_millis().max(0);
            put(text, format_args!(", {what} {}.{} s later", after / 1000, after % 1000 / 100));
        }
    }
}

fn held(text: &mut String, hold: &HoldJson) {
    put(text, format_args!("\n  waits for a person ({}): {}\n    {}", hold.code, safe(&hold.why), safe(&hold.release)));
}

fn step(text: &mut String, step: &StepJson, state: &str) {
    put(text, format_args!("\n  {state:<13}{:<24} {}", step.id, step.action));
    if !step.reason.is_empty() {
        put(text, format_args!("\n               {}", safe(&step.reason)));
    }
    for change in &step.changes {
        put(
            text,
            format_args!(
                "\n               {} {}\n                 - {}\n                 + {}",
                safe(&change.resource),
                safe(&change.attribute),
                json(&change.before.to_string()),
                json(&change.after.to_string())
            ),
        );
    }
}

/// A state as the word it is written with.
fn word(state: &impl serde::Serialize) -> String {
    serde_json::to_value(state).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}
