//! What the findings of a run want of a step. A step is wanted where the latest version of any finding wants it, so that a later finding adds
//! to what an earlier one asked for and takes nothing of it back; or, where its playbook says so (`of = "every"`), where each of them does.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{entry::FindingNote, step::StepView, view::View};
use crate::{
    expr::EvalError,
    finding::ResourceRole,
    playbook::{Of, Step},
};

/// What one instance of a step is to be done with.
#[derive(Debug, Clone, PartialEq)]
pub struct Demand {
    /// What expressions see: that of the finding that wants it.
    pub data: Value,
    /// Rendered parameters.
    pub with: Value,
    /// Whether findings ask for other parameters, too, that no instance has yet.
    pub more: bool,
}

impl View {
    /// The latest version of each finding, the newest first.
    fn heard(&self) -> impl Iterator<Item = &FindingNote> {
        let mut known = BTreeSet::new();
        self.findings.iter().rev().filter(move |note| known.insert(&note.id))
    }

    /// The part that the subject plays: what a step found, else ACTOR where any finding says so, else what the latest that knows says.
    #[must_use]
    pub fn role(&self) -> Option<ResourceRole> {
        let told = || -> Vec<ResourceRole> { self.heard().filter_map(part).collect() };
        self.turned.as_ref().map(|(role, _)| *role).or_else(|| {
            let told = told();
            told.iter().find(|role| **role == ResourceRole::Actor).or_else(|| told.first()).copied()
        })
    }

    /// The highest severity that a finding has had, of 100.
    #[must_use]
    pub fn severity(&self) -> u8 {
        let of = |note: &FindingNote| note.finding.get("severity").and_then(Value::as_u64).and_then(|severity| u8::try_from(severity).ok());
        self.findings.iter().filter_map(of).max().unwrap_or(0)
    }

    /// The latest finding, as expressions see it.
    #[must_use]
    pub fn finding(&self) -> Value {
        self.findings.last().map_or(Value::Null, |note| self.seen(note))
    }

    /// A finding as expressions see it: with the remote addresses of all findings in which the subject plays the same part, since a source once
    /// seen is not forgotten for a later one, and the victims of an instance are no attackers of it.
    fn seen(&self, note: &FindingNote) -> Value {
        let mut finding = note.finding.clone();
        if let Some(known) = finding.pointer_mut("/network/remote_ips").and_then(Value::as_array_mut) {
            known.clear();
            // In one order, whichever of the findings is asked.
            let alike = |other: &&FindingNote| {
                part(other) == part(note) && direction(other) == direction(note) && (suppressed(note) || !suppressed(other))
            };
            let alike = self.findings.iter().filter(alike);
            let of = |other: &FindingNote| other.finding.pointer("/network/remote_ips").and_then(Value::as_array).cloned();
            for ip in alike.filter_map(of).flatten() {
                if !known.contains(&ip) {
                    known.push(ip);
                }
            }
        }
        if let (Some((role, _)), Some(finding)) = (&self.turned, finding.as_object_mut()) {
            finding.insert("role".to_owned(), json!(role));
        }
        finding
    }

    /// What `when` and `with` are evaluated over, of the latest finding.
    #[must_use]
    pub fn data(&self) -> Value {
        let mut data = self.around();
        put(&mut data, self.finding());
        data
    }

    /// What expressions see besides the finding.
    fn around(&self) -> Value {
        let mut steps = serde_json::Map::new();
        for step in &self.playbook.steps {
            if let Some(latest) = self.latest(&step.id) {
                steps.insert(step.id.clone(), json!({ "outcome": latest.outcome, "state": latest.word() }));
            }
        }
        json!({ "finding": null, "subject": self.subject, "account": self.account, "steps": steps })
    }

    /// The findings that want the step, as expressions see them, the newest first. Empty: it is not wanted.
    ///
    /// # Errors
    /// When the condition cannot be evaluated over the newest finding.
    pub fn wants(&self, definition: &Step) -> Result<Vec<Value>, EvalError> {
        let Some(when) = &definition.when else { return Ok(self.heard().map(|note| self.seen(note)).collect()) };
        let (mut wants, mut data) = (Vec::new(), self.around());
        for (place, note) in self.heard().enumerate() {
            let finding = self.seen(note);
            put(&mut data, finding.clone());
            match when.truth(&data) {
                Ok(true) => wants.push(finding),
                Ok(false) if definition.of == Of::Every => return Ok(Vec::new()),
                Err(error) if place == 0 => return Err(error),
                Ok(false) | Err(_) => {}
            }
        }
        Ok(wants)
    }

    /// What an instance of a step that is not begun is to be done with: what it was asked about before where that is still wanted, else what no
    /// other instance has. `None`: other instances have all that is wanted.
    ///
    /// # Errors
    /// When the parameters cannot be evaluated over the newest finding that wants it.
    pub fn demand(&self, step: &StepView, definition: &Step, wants: &[Value]) -> Result<Option<Demand>, EvalError> {
        // What somebody changed back is done again by another instance, if a person says so.
        let others = self.of_step(step).filter(|other| other.key != step.key && other.looks.reverted.is_none());
        let taken: Vec<&Value> = others.map(|other| &other.with).filter(|with| !with.is_null()).collect();
        let all = self.rendered(definition, wants)?;
        let open: Vec<&(&Value, Value)> = all.iter().filter(|(_, with)| !taken.contains(&with)).collect();
        // An instance that came to nothing before it was planned stands for one of them all the same, and no other is made for that.
        let before = self.of_step(step).take_while(|other| other.key != step.key).filter(|other| other.with.is_null()).count();
        let Some((finding, with)) = open.iter().find(|(_, with)| *with == step.with).or_else(|| open.get(before)) else { return Ok(None) };
        let last = self.latest(&step.key.id).is_some_and(|latest| latest.key == step.key);
        let mut data = self.around();
        put(&mut data, (*finding).clone());
        Ok(Some(Demand { data, with: with.clone(), more: last && open.len() > before.saturating_add(1) }))
    }

    /// The latest version of each finding that wants the step done with these parameters; of each finding where none does.
    #[must_use]
    pub fn wanted_by(&self, definition: &Step, with: &Value) -> Vec<&FindingNote> {
        let mut data = self.around();
        let wants = |note: &&FindingNote| {
            put(&mut data, self.seen(note));
            definition.when.as_ref().is_none_or(|when| when.truth(&data).unwrap_or(true))
                && definition.with.render(&data).is_ok_and(|wanted| wanted == *with)
        };
        let by: Vec<&FindingNote> = self.heard().filter(wants).collect();
        if by.is_empty() { self.heard().collect() } else { by }
    }

    /// What a look is to be done with: what the newest finding that wants it says.
    ///
    /// # Errors
    /// When the parameters cannot be evaluated over that finding.
    pub fn newest_demand(&self, definition: &Step, wants: &[Value]) -> Result<Option<Demand>, EvalError> {
        let Some(finding) = wants.first() else { return Ok(None) };
        let mut data = self.around();
        put(&mut data, finding.clone());
        let with = definition.with.render(&data)?;
        Ok(Some(Demand { data, with, more: false }))
    }

    /// Whether findings ask for parameters that no instance of the step has. Where that cannot be evaluated, they do.
    #[must_use]
    pub fn asks_for_more(&self, step: &StepView, definition: &Step) -> bool {
        let Ok(wants) = self.wants(definition) else { return true };
        let Ok(all) = self.rendered(definition, &wants) else { return true };
        let open = all.iter().filter(|(_, with)| !self.of_step(step).any(|known| known.with == *with)).count();
        open > self.of_step(step).filter(|other| other.with.is_null()).count()
    }

    /// The different parameters that are wanted, the newest first, each with the finding that wants them.
    fn rendered<'w>(&self, definition: &Step, wants: &'w [Value]) -> Result<Vec<(&'w Value, Value)>, EvalError> {
        let (mut all, mut data): (Vec<(&Value, Value)>, _) = (Vec::new(), self.around());
        for (place, finding) in wants.iter().enumerate() {
            put(&mut data, finding.clone());
            match definition.with.render(&data) {
                Ok(with) if all.iter().all(|(_, known)| *known != with) => all.push((finding, with)),
                Err(error) if place == 0 => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(all)
    }

    fn of_step<'v>(&'v self, step: &'v StepView) -> impl Iterator<Item = &'v StepView> {
        self.steps.iter().filter(|other| other.key.id == step.key.id)
    }
}

fn put(data: &mut Value, finding: Value) {
    if let Some(data) = data.as_object_mut() {
        data.insert("finding".to_owned(), finding);
    }
}

fn part(note: &FindingNote) -> Option<ResourceRole> {
    serde_json::from_value(note.finding.get("role")?.clone()).ok()
}

/// Whether it is suppressed in Security Hub, by whomever.
#[must_use]
pub fn suppressed(note: &FindingNote) -> bool {
    note.finding.pointer("/hub/workflow").and_then(Value::as_str) == Some("SUPPRESSED")
}

fn direction(note: &FindingNote) -> Option<&str> {
    note.finding.pointer("/network/direction").and_then(Value::as_str)
}
