//! What a playbook would do for a finding, and why, as far as the finding alone tells: nothing is looked up and nothing is run.

use serde_json::{Map, Value, json};

use super::{Playbook, Step, Work};
use crate::{
    expr::{Foreseen, Template},
    finding::{ResourceRole, Subject},
    pattern::Mismatch,
};

/// What a playbook would do.
#[derive(Debug, Clone, PartialEq)]
pub struct Foresight {
    /// For each `[[match]]` why it does not match; nothing where it does.
    pub matches: Vec<Option<Mismatch>>,
    /// Its steps, in the order of the text.
    pub steps: Vec<ForeseenStep>,
    /// What would turn the subject's part into another, and what that would change.
    pub turns: Vec<ForeseenTurn>,
}

/// What would become of a step.
#[derive(Debug, Clone, PartialEq)]
pub struct ForeseenStep {
    /// Its id.
    pub id: String,
    /// What would become of it.
    pub fate: Fate,
    /// What its condition reads, as far as it is known, by its path.
    pub values: Vec<(String, Value)>,
    /// Its parameters; what is not known yet stands as it is written. `None`: it would be skipped, or is a hold.
    pub with: Option<Value>,
    /// The Region it names, likewise.
    pub region: Option<Value>,
    /// What its parameters depend on that is not known yet.
    pub depends_on: Vec<String>,
}

/// What would become of a step, when those it needs are done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Its condition holds, or it has none.
    Begins,
    /// Its condition does not hold.
    Skipped,
    /// Its condition depends on this, which is not known yet.
    DependsOn(String),
    /// Its condition or its parameters cannot be computed: it would fail.
    Fails(String),
}

/// A turn and what it would change.
#[derive(Debug, Clone, PartialEq)]
pub struct ForeseenTurn {
    /// Its condition, as written.
    pub when: String,
    /// The part that the subject would play.
    pub role: ResourceRole,
    /// For the reader.
    pub why: String,
    /// The steps whose fate would be another, and which.
    pub changes: Vec<(String, Fate)>,
}

impl Playbook {
    /// What it would do for a finding, given as it is serialised, about this subject.
    #[must_use]
    pub fn foresee(&self, finding: &Value, subject: &Subject) -> Foresight {
        let steps = self.foresee_steps(finding, subject);
        let turns = self.turns.iter().map(|turn| {
            let mut turned = finding.clone();
            if let Some(finding) = turned.as_object_mut() {
                finding.insert("role".to_owned(), json!(turn.role));
            }
            let after = self.foresee_steps(&turned, subject);
            let other = steps.iter().zip(after).filter(|(before, after)| before.fate != after.fate);
            let changes = other.map(|(_, after)| (after.id, after.fate)).collect();
            ForeseenTurn { when: turn.when.to_string(), role: turn.role, why: turn.why.clone(), changes }
        });
        let turns = turns.collect();
        Foresight { matches: self.patterns.iter().map(|pattern| pattern.explain(finding)).collect(), steps, turns }
    }

    fn foresee_steps(&self, finding: &Value, subject: &Subject) -> Vec<ForeseenStep> {
        // A step that is skipped has no outcome, and that is known: so what reads it is known too. Each round adds one at least.
        let mut skipped = Map::new();
        loop {
            let data = json!({ "finding": finding, "subject": subject, "steps": skipped });
            let steps: Vec<ForeseenStep> = self.steps.iter().map(|step| foresee(step, &data)).collect();
            let known = skipped.len();
            for step in steps.iter().filter(|step| step.fate == Fate::Skipped) {
                skipped.insert(step.id.clone(), json!({ "outcome": null, "state": "skipped" }));
            }
            if skipped.len() == known {
                return steps;
            }
        }
    }
}

fn foresee(step: &Step, data: &Value) -> ForeseenStep {
    let mut foreseen = ForeseenStep {
        id: step.id.clone(),
        fate: Fate::Begins,
        values: values(step, data),
        with: None,
        region: None,
        depends_on: Vec::new(),
    };
    foreseen.fate = match step.when.as_ref().map(|when| when.foresee_truth(data)) {
        None | Some(Ok(Foreseen::Known(true))) => Fate::Begins,
        Some(Ok(Foreseen::Known(false))) => Fate::Skipped,
        Some(Ok(Foreseen::DependsOn(what))) => Fate::DependsOn(what),
        Some(Err(error)) => Fate::Fails(format!("its condition cannot be evaluated: {error}")),
    };
    if matches!(step.work, Work::Hold(_)) || matches!(foreseen.fate, Fate::Skipped | Fate::Fails(_)) {
        return foreseen;
    }
    let mut compute = |template: &Template, what: &str| match template.foresee(data) {
        Ok((value, unknown)) => {
            foreseen.depends_on.extend(unknown);
            Some(value)
        }
        Err(error) => {
            foreseen.fate = Fate::Fails(format!("{what} cannot be evaluated: {error}"));
            None
        }
    };
    let with = compute(&step.with, "its parameters");
    let region = step.region.as_ref().and_then(|region| compute(region, "its Region"));
    (foreseen.with, foreseen.region) = (with, region);
    foreseen.depends_on.sort();
    foreseen.depends_on.dedup();
    foreseen
}

/// What a condition reads of what is known.
fn values(step: &Step, data: &Value) -> Vec<(String, Value)> {
    let mut values: Vec<(String, Value)> = Vec::new();
    for path in step.when.iter().flat_map(crate::expr::Expr::paths) {
        let name = path.join(".");
        if matches!(path.first().map(String::as_str), Some("steps" | "account")) || values.iter().any(|(known, _)| *known == name) {
            continue;
        }
        let found = path.iter().try_fold(data, |value, part| match value {
            Value::Array(list) => list.get(part.parse::<usize>().ok()?),
            other => other.get(part),
        });
        values.push((name, found.cloned().unwrap_or_default()));
    }
    values
}
