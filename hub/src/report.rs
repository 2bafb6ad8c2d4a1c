//! `cordon incident report`: what happened, how they got in or were kept out, what was changed, what was not and why, how to undo.
//!
//! [`Report::new`] makes it from the journal alone, so that the same entries always give the same report; [`Report::markdown`] renders it.

mod access;
mod cause;
mod deeds;
mod html;
mod json;
mod markdown;
mod reach;
mod story;
mod tell;

use cordon_shared::{engine::View, journal::Sealed};
use serde_json::Value;

pub use json::{
    Access, AccessVerdict, Answer, Changed, EvidenceRef, JournalRef, Limit, LoginLine, LookedAt, Moment, NotDone, Note, PersonSaid, Report,
    SCHEMA, Statement, UndoCommand, UndoGuide,
};

pub(crate) use story::provider;

use crate::incident::IncidentJson;

/// Actions that the report has something to say about.
const ISOLATE: &str = "ec2.isolate-instance";
const CUT_FLOWS: &str = "ec2.cut-tracked-flows";
const DENY_SESSIONS: &str = "iam.deny-older-sessions";
const EXPOSURE: &str = "ec2.instance-exposure";
const TRACE: &str = "cloudtrail.trace-credentials";
const CHAINED: &str = "cloudtrail.list-chained-roles";
const RELATED: &str = "securityhub.related-findings";
const DEACTIVATE: &str = "iam.deactivate-access-key";
const TRACE_EXPOSURE: &str = "cloudtrail.trace-exposure";
const CLOSE_INGRESS: &str = "ec2.close-open-ingress";
const BLOCK_SOURCE: &str = "ec2.block-source-in-nacl";
const FIND_LOGINS: &str = "logs.find-logins";

impl Report {
    /// The report on a run, from its view and the entries that the view is the fold of.
    #[must_use]
    pub fn new(view: &View, entries: &[Sealed]) -> Self {
        let access = access::access(view);
        Self {
            schema: SCHEMA.to_owned(),
            incident: IncidentJson::new(view, None),
            title: view.playbook.title.clone(),
            what_happened: story::what_happened(view),
            timeline: story::timeline(entries),
            root_cause: cause::answers(view, &access),
            access,
            changed: deeds::changed(view, entries),
            would_change: deeds::would_change(view),
            not_done: deeds::not_done(view),
            notes: deeds::notes(view),
            people: story::people(entries),
            undo: deeds::undo(view),
            evidence: deeds::evidence(view),
            journal: JournalRef {
                incident: view.run,
                entries: view.seq,
                head: entries.last().map_or_else(|| view.head.clone(), |sealed| sealed.hash.clone()),
            },
            limits: deeds::limits(view),
        }
    }

    /// The report as Markdown, for people. Text from findings, logs and tags cannot leave its place in it.
    #[must_use]
    pub fn markdown(&self) -> String {
        markdown::render(self)
    }

    /// The report as one HTML page that needs nothing else.
    #[must_use]
    pub fn html(&self) -> String {
        html::render(self)
    }
}

/// The text at a path of a document.
fn text_at<'v>(value: &'v Value, path: &[&str]) -> Option<&'v str> {
    at(value, path).and_then(Value::as_str)
}

/// The value at a path of a document, null being nothing.
fn at<'v>(value: &'v Value, path: &[&str]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, key| value.get(key)).filter(|value| !value.is_null())
}

/// A value for people: a text as it is, anything else as JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// `1 rule`, `2 rules`.
fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
