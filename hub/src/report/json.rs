//! The report as data, `cordon.report/1`. The Markdown is made from it.

use cordon_shared::id::IncidentId;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::incident::IncidentJson;

/// The name and version of the report's shape.
pub const SCHEMA: &str = "cordon.report/1";

/// Everything that can be said about an incident. Text from findings, logs and tags stands in it as it came: it is data, not markup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// `cordon.report/1`.
    pub schema: String,
    /// The incident as `cordon.incident/1` has it.
    pub incident: IncidentJson,
    /// What the playbook calls it.
    pub title: String,
    /// What happened, in sentences.
    pub what_happened: Vec<Statement>,
    /// Everything that happened, in order.
    pub timeline: Vec<Moment>,
    /// How they got in, or were kept out.
    pub access: Access,
    /// The root cause: how it could happen, how they got in, what they did, what removes that way in. Empty where no step looks for it.
    pub root_cause: Vec<Answer>,
    /// What was changed.
    pub changed: Vec<Changed>,
    /// What would be changed, and was not.
    pub would_change: Vec<Changed>,
    /// What was not done, and why.
    pub not_done: Vec<NotDone>,
    /// What a reader should know: neighbours, limits met, what was left alone.
    pub notes: Vec<Note>,
    /// What people were asked, said and did.
    pub people: Vec<PersonSaid>,
    /// How to undo.
    pub undo: UndoGuide,
    /// What is kept.
    pub evidence: Vec<EvidenceRef>,
    /// The journal that this report was made from.
    pub journal: JournalRef,
    /// What the measures taken do not do.
    pub limits: Vec<Limit>,
}

/// A question, and what is known of its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    /// The question.
    pub question: String,
    /// The answer, each statement with what it rests on; what is not known, with the reason.
    pub statements: Vec<Statement>,
}

/// A sentence, and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Statement {
    /// The sentence.
    pub text: String,
    /// What it rests on: a finding, a step, a log line.
    pub reference: Option<String>,
    /// For what is not known: why not.
    pub not_known_because: Option<String>,
}

/// One moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Moment {
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// The journal entry's number.
    pub seq: u64,
    /// The step.
    pub step: Option<String>,
    /// What happened.
    pub text: String,
}

/// Whether the attacker got in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AccessVerdict {
    /// A login of the attacker is confirmed.
    GotIn,
    /// No login of the attacker is confirmed, but its provider says that the subject does an attacker's work.
    Compromised,
    /// A login is probably the attacker's.
    MayHaveGotIn,
    /// The logs that were read show no login of the attacker.
    NoLoginFound,
    /// It is not known.
    NotKnown,
    /// It is not about access: a control that failed.
    NotAsked,
}

/// How they got in, or were kept out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Access {
    /// In one word.
    pub verdict: AccessVerdict,
    /// The evidence for it.
    pub statements: Vec<Statement>,
    /// Logins found, the surest first.
    pub logins: Vec<LoginLine>,
    /// Where logs were looked for.
    pub looked_at: Vec<LookedAt>,
}

/// One login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LoginLine {
    /// `confirmed`, `probable`, `lead`.
    pub confidence: String,
    /// As whom.
    pub user: String,
    /// From where.
    pub from: String,
    /// When.
    pub at: String,
    /// How.
    pub method: String,
    /// Why this confidence.
    pub why: String,
    /// The log line.
    pub line: String,
    /// How the line can be found again.
    pub reference: String,
}

/// One log stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LookedAt {
    /// Group and stream.
    pub place: String,
    /// What was read there, or why nothing was.
    pub result: String,
}

/// One attribute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Changed {
    /// The step.
    pub step: String,
    /// The action.
    pub action: String,
    /// The resource.
    pub resource: String,
    /// The attribute.
    pub attribute: String,
    /// As it was.
    pub before: Value,
    /// As it is, or would be.
    pub after: Value,
    /// Where it stands, in words.
    pub now: String,
}

/// Something that was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotDone {
    /// The step; null: the whole incident.
    pub step: Option<String>,
    /// The action.
    pub action: String,
    /// `skipped`, `refused`, `held`, `waiting`, `planned`, `failed`, `stuck`, `by-hand`.
    pub state: String,
    /// Why.
    pub why: String,
    /// The command that goes on from here.
    pub answer: Option<String>,
}

/// What a reader should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Note {
    /// The step.
    pub step: String,
    /// What.
    pub text: String,
}

/// What a person was asked, said or did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PersonSaid {
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Who; null: Cordon asked, or nobody answered.
    pub by: Option<String>,
    /// The step; null: the whole incident.
    pub step: Option<String>,
    /// What.
    pub text: String,
}

/// How to undo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UndoGuide {
    /// Commands, and what each puts back.
    pub commands: Vec<UndoCommand>,
    /// What is undone by itself, and when.
    pub by_itself: Vec<String>,
    /// What an undo does not do.
    pub will_not: Vec<String>,
}

/// One command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UndoCommand {
    /// The command.
    pub command: String,
    /// What it does.
    pub does: String,
}

/// Something kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EvidenceRef {
    /// SHA-256, 64 hexadecimal digits.
    pub sha256: String,
    /// What it is.
    pub what: String,
}

/// The journal's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JournalRef {
    /// The incident.
    #[schemars(with = "String")]
    pub incident: IncidentId,
    /// How many entries.
    pub entries: u64,
    /// The last entry's hash.
    pub head: String,
}

/// What a measure does not do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Limit {
    /// A stable word, such as `tracked_flows_may_persist`; null where there is none.
    pub code: Option<String>,
    /// The sentence.
    pub text: String,
    /// Where AWS says so.
    pub source: Option<String>,
}
