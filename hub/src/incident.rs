//! The incident as one JSON object, `cordon.incident/1`: what `respond`, `plan` and `sweep` print, one to a line, and
//! `docs/incident.schema.json` describes.

use cordon_shared::{
    engine::{REVERTED, RunState, StepState, StepView, UNDO_STOPPED, View, contained_at, reverted_why, summary, undo_stopped},
    finding::Finding,
    freeze,
    id::IncidentId,
    intake::Rejection,
    plan::Change,
};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::owner::OwnerTold;

/// The name and version of the object's shape.
pub const SCHEMA: &str = "cordon.incident/1";
/// How many letters of a plan's digest a command shows.
pub const DIGEST_LETTERS: usize = 12;

/// One line of output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(title = "A line of `cordon respond --format json`")]
pub enum Line {
    /// An incident, or a finding that was ignored.
    Incident(Box<IncidentJson>),
    /// Input that could not be used.
    Rejected(RejectedJson),
}

/// An incident, or (`incident` null, `state` `ignored`) a finding that no playbook answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IncidentJson {
    /// `cordon.incident/1`.
    pub schema: String,
    /// The incident's id; null for an ignored finding.
    #[schemars(with = "Option<String>")]
    pub incident: Option<IncidentId>,
    /// The playbook's name.
    pub playbook: Option<String>,
    /// The account it happens in.
    pub account: String,
    /// The Region.
    pub region: String,
    /// ARN of the primary subject, or its id where AWS has no ARN for it.
    pub subject: String,
    /// Where it stands.
    pub state: RunState,
    /// A stable word for the reason; empty where the state says it all.
    pub reason_code: String,
    /// The reason, for people.
    pub reason: String,
    /// The incident that had the same finding before, where this input told nothing new.
    #[schemars(with = "Option<String>")]
    pub duplicate_of: Option<IncidentId>,
    /// The findings that belong to it.
    pub findings: Vec<FindingRef>,
    /// When Cordon took the first finding in.
    #[schemars(with = "String")]
    pub detected_at: Timestamp,
    /// When the first change was begun; null: nothing was changed.
    #[schemars(with = "Option<String>")]
    pub first_change_at: Option<Timestamp>,
    /// When the last of what contains was in effect; null: not yet, or nothing had to be contained.
    #[schemars(with = "Option<String>")]
    pub contained_at: Option<Timestamp>,
    /// When it ended; null: something is still owed.
    #[schemars(with = "Option<String>")]
    pub ended_at: Option<Timestamp>,
    /// What waits for a person, with the command that answers it.
    pub holds: Vec<HoldJson>,
    /// The steps, in the playbook's order.
    pub steps: Vec<StepJson>,
    /// Evidence kept, each as `sha256:` and 64 hexadecimal digits.
    pub evidence: Vec<String>,
    /// What became of telling the owner of what was changed, where that was looked up: by `incident show` and `report`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owner: Vec<OwnerTold>,
}

/// A finding, and where it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FindingRef {
    /// The provider's own id.
    pub id: String,
    /// `file:line`, or the queue.
    pub input: String,
}

/// Something that waits for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HoldJson {
    /// A stable word.
    pub code: String,
    /// The step; null: the whole incident.
    pub step: Option<String>,
    /// Why.
    pub why: String,
    /// The command that answers it.
    pub release: String,
}

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StepWord {
    /// A change is in effect, read back.
    Applied,
    /// A probe has answered, or a playbook's hold was released.
    Done,
    /// Everything was as wanted already.
    AlreadyDone,
    /// Not done, for a reason.
    Skipped,
    /// Planned, and no more than that is allowed.
    Planned,
    /// Work is going on.
    Running,
    /// Not begun, or a person is asked.
    Waiting,
    /// A person is needed.
    Held,
    /// Failed.
    Failed,
    /// Put back.
    Undone,
    /// A person has to undo it.
    ByHand,
}

impl StepWord {
    fn of(step: &StepView) -> Self {
        match step.word() {
            "applied" => Self::Applied,
            "done" => Self::Done,
            "already-done" => Self::AlreadyDone,
            "skipped" => Self::Skipped,
            "planned" => Self::Planned,
            "waiting" => Self::Waiting,
            "held" => Self::Held,
            "failed" => Self::Failed,
            "undone" => Self::Undone,
            "by-hand" => Self::ByHand,
            _ => Self::Running,
        }
    }
}

/// One step instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepJson {
    /// The step's id, with `#2` for a later instance.
    pub id: String,
    /// The action's name, or `hold`.
    pub action: String,
    /// Where it stands.
    pub state: StepWord,
    /// Why; empty where there is nothing to say.
    pub reason: String,
    /// The changes of its plan: made where the state is `applied`, put back where it is `undone`, otherwise no more than meant.
    /// Empty for `skipped`, `done` and `already-done`.
    pub changes: Vec<Change>,
    /// What came of it; of a probe: what it found.
    pub outcome: Value,
}

/// Input that could not be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RejectedJson {
    /// `file:line`.
    pub input: String,
    /// Always `rejected`.
    pub state: RejectedState,
    /// The error's code, `CDN-…`.
    pub code: String,
    /// What is wrong and where.
    pub reason: String,
}

/// The one state of rejected input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RejectedState {
    /// It could not be used.
    Rejected,
}

impl RejectedJson {
    /// A rejection at a place of the input.
    #[must_use]
    pub fn new(input: impl Into<String>, rejection: &Rejection) -> Self {
        Self { input: input.into(), state: RejectedState::Rejected, code: rejection.code.to_owned(), reason: rejection.reason.clone() }
    }
}

impl IncidentJson {
    /// The incident as it stands. `duplicate_of`: the input that asks for it told nothing new.
    #[must_use]
    pub fn new(view: &View, duplicate_of: Option<IncidentId>) -> Self {
        let sum = summary(view);
        Self {
            schema: SCHEMA.to_owned(),
            incident: Some(view.run),
            playbook: Some(view.playbook.name.clone()),
            account: view.subject.cell.account.to_string(),
            region: view.subject.cell.region.to_string(),
            subject: view.subject.name().to_owned(),
            state: sum.state,
            reason_code: sum.code,
            reason: sum.why,
            duplicate_of,
            findings: view.findings.iter().map(|note| FindingRef { id: note.id.0.clone(), input: note.input.clone() }).collect(),
            detected_at: view.detected_at,
            first_change_at: view.steps.iter().filter_map(|step| step.first_change).min(),
            contained_at: contained_at(view),
            ended_at: sum.over.then_some(view.acted_at),
            holds: holds(view),
            steps: view.steps.iter().map(|step| self::step(view, step)).collect(),
            evidence: evidence(view),
            owner: Vec::new(),
        }
    }

    /// A finding that opens no incident.
    #[must_use]
    pub fn ignored(finding: &Finding, input: impl Into<String>, code: &str, reason: impl Into<String>, at: Timestamp) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            incident: None,
            playbook: None,
            account: finding.cell.account.to_string(),
            region: finding.cell.region.to_string(),
            subject: finding.subject().map(|subject| subject.name().to_owned()).unwrap_or_default(),
            state: RunState::Ignored,
            reason_code: code.to_owned(),
            reason: reason.into(),
            duplicate_of: None,
            findings: vec![FindingRef { id: finding.id.0.clone(), input: input.into() }],
            detected_at: at,
            first_change_at: None,
            contained_at: None,
            ended_at: Some(at),
            holds: Vec::new(),
            steps: Vec::new(),
            evidence: Vec::new(),
            owner: Vec::new(),
        }
    }
}

/// The JSON Schema of a line, as it stands in `docs/incident.schema.json`.
#[must_use]
pub fn schema() -> Value {
    cordon_shared::words::canonical(schemars::schema_for!(Line).to_value())
}

/// What waits for a person. A person who closed the incident has answered everything.
fn holds(view: &View) -> Vec<HoldJson> {
    let run = view.run;
    let of_reverted = view.steps.iter().filter_map(|step| {
        let release = format!("cordon incident retry {run} --step {}", step.key);
        Some(HoldJson { code: REVERTED.to_owned(), step: Some(step.key.to_string()), why: reverted_why(view, step)?, release })
    });
    if view.closed_by.is_some() {
        return of_reverted.collect();
    }
    let stopped = undo_stopped(view).map(|why| HoldJson {
        code: UNDO_STOPPED.to_owned(),
        step: None,
        why,
        release: format!("cordon incident undo {run}"),
    });
    let whole = view.hold.iter().map(|hold| HoldJson {
        code: hold.code.clone(),
        step: None,
        why: hold.why.clone(),
        release: format!("cordon incident release {run}"),
    });
    let of_steps = view.steps.iter().filter_map(|step| {
        let key = &step.key;
        let (code, why, release) = match &step.state {
            StepState::Held(hold) if hold.code == "frozen" => (hold.code.clone(), hold.why.clone(), freeze::answer(&hold.why).to_owned()),
            StepState::UndoFrozen { why, .. } => ("frozen".to_owned(), why.clone(), freeze::answer(why).to_owned()),
            StepState::Held(hold) => (hold.code.clone(), hold.why.clone(), format!("cordon incident release {run} --step {key}")),
            StepState::Asked { why, digest, .. } if view.closed_by.is_none() => {
                let digest: String = digest.chars().take(DIGEST_LETTERS).collect();
                ("approval".to_owned(), why.clone(), format!("cordon approval grant {run} --step {key} --digest {digest}"))
            }
            StepState::ByHand { steps } => {
                ("undo-by-hand".to_owned(), steps.join("; "), format!("cordon incident undo {run} --step {key}"))
            }
            StepState::Stuck { why } => ("unknown-effect".to_owned(), why.clone(), format!("cordon incident undo {run} --step {key}")),
            _ => return None,
        };
        Some(HoldJson { code, step: Some(key.to_string()), why, release })
    });
    whole.chain(stopped).chain(of_steps).chain(of_reverted).collect()
}

fn step(view: &View, step: &StepView) -> StepJson {
    let action = view.action(step).to_owned();
    let state = StepWord::of(step);
    let shown = !matches!(state, StepWord::Skipped | StepWord::Done | StepWord::AlreadyDone);
    let changes = step.plan.as_ref().filter(|_| shown).map(|plan| plan.changes.clone()).unwrap_or_default();
    let outcome = if step.outcome.is_null() { json!({}) } else { step.outcome.clone() };
    StepJson { id: step.key.to_string(), action, state, reason: reason(step), changes, outcome }
}

/// Why a step stands where it does.
fn reason(step: &StepView) -> String {
    match &step.state {
        StepState::Asked { why, .. } | StepState::Skipped { why } | StepState::Observed { why } | StepState::Stuck { why } => why.clone(),
        StepState::Held(hold) => hold.why.clone(),
        StepState::UndoFrozen { why, .. } => format!("to be undone: {why}"),
        StepState::Failed { why, .. } => why.clone(),
        StepState::ByHand { steps } => steps.join("; "),
        StepState::Undone { left } => left.join("; "),
        StepState::InEffect if step.looks.reverted.is_some() => {
            step.looks.reverted.as_ref().map(|reverted| format!("changed back: {}", reverted.words())).unwrap_or_default()
        }
        StepState::InEffect => step.because.clone().unwrap_or_default(),
        StepState::AlreadyDone if step.claims.is_empty() => "everything was as wanted already".to_owned(),
        StepState::AlreadyDone => "everything is as wanted already, by an earlier change of Cordon".to_owned(),
        StepState::Done => step.released.as_ref().map(|hold| format!("released: {}", hold.why)).unwrap_or_default(),
        StepState::Broken { .. } => "the change failed part way; the world is read again".to_owned(),
        StepState::Waiting
        | StepState::Applying { .. }
        | StepState::Pending { .. }
        | StepState::Unverified { .. }
        | StepState::Reapply
        | StepState::UndoWanted { .. }
        | StepState::Undoing { .. } => step.deferred.clone().unwrap_or_default(),
    }
}

/// Everything kept: the findings' documents first, then what the steps kept, each once.
fn evidence(view: &View) -> Vec<String> {
    let of_findings = view.findings.iter().map(|note| &note.raw_sha256);
    let of_steps = view.steps.iter().flat_map(|step| &step.evidence);
    let mut all: Vec<String> = Vec::new();
    for digest in of_findings.chain(of_steps).filter(|digest| !digest.is_empty()) {
        let name = format!("sha256:{digest}");
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all
}

#[cfg(test)]
mod tests;
