//! What the findings of a run want of a step. A step is wanted where the latest version of any finding wants it, so that a later finding adds
//! to what an earlier one asked for and takes nothing of it back; or, where its playbook says so (`of = "every"`), where each of them does.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{entry::FindingNote, step::StepView, view::View};
use crate::{
    expr::EvalError,
    finding::{FindingId, ResourceRole},
    plan::StepKey,
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

/// A finding that wants a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Want {
    /// As expressions see it.
    pub finding: Value,
    /// When it was last told, by its place among the run's notes.
    told: usize,
}

impl View {
    /// The latest version of each finding, in the order in which they first came.
    fn heard(&self) -> Vec<(usize, &FindingNote)> {
        let mut heard: Vec<(usize, &FindingNote)> = Vec::new();
        let mut places: BTreeMap<&FindingId, usize> = BTreeMap::new();
        for (told, note) in self.findings.iter().enumerate() {
            match places.get(&note.id).and_then(|place| heard.get_mut(*place)) {
                Some(known) => *known = (told, note),
                None => {
                    places.insert(&note.id, heard.len());
                    heard.push((told, note));
                }
            }
        }
        heard
    }

    /// Those of them that speak for the incident as a whole: one that was suppressed does where all were.
    fn speaking(&self) -> Vec<(usize, &FindingNote)> {
        let mut heard = self.heard();
        if heard.iter().any(|(_, note)| !suppressed(note)) {
            heard.retain(|(_, note)| !suppressed(note));
        }
        heard
    }

    /// The part that the subject plays: what a step found, else ACTOR where any finding says so, else what one that knows says.
    #[must_use]
    pub fn role(&self) -> Option<ResourceRole> {
        let told: Vec<ResourceRole> = self.speaking().into_iter().filter_map(|(_, note)| part(note)).collect();
        let actor = told.iter().find(|role| **role == ResourceRole::Actor);
        self.turned.as_ref().map(|(role, _)| *role).or_else(|| actor.or_else(|| told.last()).copied())
    }

    /// Whether a finding says of the subject that it plays another part than this.
    #[must_use]
    pub fn plays_another_part_than(&self, role: ResourceRole) -> bool {
        self.turned.is_none() && self.speaking().iter().any(|(_, note)| part(note) != Some(role))
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

    /// A finding as expressions see it: with the remote addresses of all its versions in which the subject plays the same part, since a source
    /// once seen is not forgotten for a later one, and the victims of an instance are no attackers of it.
    #[must_use]
    pub fn seen(&self, note: &FindingNote) -> Value {
        let mut finding = note.finding.clone();
        if let Some(known) = finding.pointer_mut("/network/remote_ips").and_then(Value::as_array_mut) {
            known.clear();
            let alike = |other: &&FindingNote| other.id == note.id && part(other) == part(note) && direction(other) == direction(note);
            let of = |other: &FindingNote| other.finding.pointer("/network/remote_ips").and_then(Value::as_array).cloned();
            for ip in self.findings.iter().filter(alike).filter_map(of).flatten() {
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
        self.data_of(self.finding())
    }

    fn data_of(&self, finding: Value) -> Value {
        let mut data = self.around();
        put(&mut data, finding);
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

    /// The findings that want the step, in the order in which they first came. Empty: it is not wanted.
    ///
    /// # Errors
    /// When the condition can be evaluated over no finding, or not over each that it must hold of.
    pub fn wants(&self, definition: &Step) -> Result<Vec<Want>, EvalError> {
        let every = definition.of == Of::Every;
        let heard = if every { self.speaking() } else { self.heard() };
        let (mut wants, mut failed, mut data) = (Vec::new(), None, self.around());
        for (told, note) in heard {
            let finding = self.seen(note);
            put(&mut data, finding.clone());
            match definition.when.as_ref().map_or(Ok(true), |when| when.truth(&data)) {
                Ok(true) => wants.push(Want { finding, told }),
                Ok(false) if every => return Ok(Vec::new()),
                Ok(false) => {}
                Err(error) if every => return Err(error),
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) if wants.is_empty() => Err(error),
            _ => Ok(wants),
        }
    }

    /// What an instance of a step that is not begun is to be done with. `None`: other instances have all that is wanted.
    ///
    /// # Errors
    /// When the parameters can be evaluated over no finding that wants it.
    pub fn demand(&self, step: &StepView, definition: &Step, wants: &[Want]) -> Result<Option<Demand>, EvalError> {
        let all = self.rendered(definition, wants)?;
        let (shared, left) = self.shared_out(step, &all);
        let last = self.latest(&step.key.id).is_some_and(|latest| latest.key == step.key);
        let own = shared.into_iter().find(|(key, _)| **key == step.key).and_then(|(_, place)| all.get(place));
        Ok(own.map(|(want, with)| Demand { data: self.data_of(want.finding.clone()), with: with.clone(), more: last && left > 0 }))
    }

    /// Which instance has which of the parameters that are wanted, by their place, and how many have none. One that has begun has its own; one
    /// that has not keeps what it was asked about while that is wanted; the others take what is left, in their order. So two that are looked
    /// at beside each other never take the same, and one that comes to nothing stands for what it was to do.
    fn shared_out<'v>(&'v self, step: &'v StepView, all: &[(&Want, Value)]) -> (Vec<(&'v StepKey, usize)>, usize) {
        let place_of = |with: &Value| all.iter().position(|(_, wanted)| wanted == with);
        let mut free: Vec<usize> = (0..all.len()).collect();
        let (mut shared, mut waiting) = (Vec::new(), Vec::new());
        // What somebody changed back is done again by another instance once a person has said so.
        for known in self.of_step(step).filter(|known| !known.looks.done_anew) {
            match place_of(&known.with).filter(|place| free.contains(place)) {
                Some(place) => {
                    free.retain(|other| *other != place);
                    shared.push((&known.key, place));
                }
                None if known.not_started() => waiting.push(&known.key),
                None => {}
            }
        }
        let left = free.len().saturating_sub(waiting.len());
        shared.extend(waiting.into_iter().zip(free));
        (shared, left)
    }

    /// The latest version of each finding that wants the step done with these parameters; of each finding where none does.
    #[must_use]
    pub fn wanted_by(&self, definition: &Step, with: &Value) -> Vec<&FindingNote> {
        let mut data = self.around();
        let mut wants = |note: &FindingNote| {
            put(&mut data, self.seen(note));
            definition.when.as_ref().is_none_or(|when| when.truth(&data).unwrap_or(true))
                && definition.with.render(&data).is_ok_and(|wanted| wanted == *with)
        };
        let heard: Vec<&FindingNote> = self.heard().into_iter().map(|(_, note)| note).collect();
        let by: Vec<&FindingNote> = heard.iter().copied().filter(|note| wants(note)).collect();
        if by.is_empty() { heard } else { by }
    }

    /// What a look is to be done with: what the newest finding that wants it says.
    ///
    /// # Errors
    /// When the parameters cannot be evaluated over that finding.
    pub fn newest_demand(&self, definition: &Step, wants: &[Want]) -> Result<Option<Demand>, EvalError> {
        let Some(newest) = wants.iter().max_by_key(|want| want.told) else { return Ok(None) };
        let data = self.data_of(newest.finding.clone());
        let with = definition.with.render(&data)?;
        Ok(Some(Demand { data, with, more: false }))
    }

    /// Whether findings ask for parameters that no instance of the step has. Where that cannot be evaluated, they do.
    #[must_use]
    pub fn asks_for_more(&self, step: &StepView, definition: &Step) -> bool {
        let Ok(wants) = self.wants(definition) else { return true };
        let Ok(all) = self.rendered(definition, &wants) else { return true };
        self.shared_out(step, &all).1 > 0
    }

    /// The different parameters that are wanted, each with the finding that wants them.
    fn rendered<'w>(&self, definition: &Step, wants: &'w [Want]) -> Result<Vec<(&'w Want, Value)>, EvalError> {
        let (mut all, mut failed, mut data): (Vec<(&Want, Value)>, _, _) = (Vec::new(), None, self.around());
        for want in wants {
            put(&mut data, want.finding.clone());
            match definition.with.render(&data) {
                Ok(with) if all.iter().all(|(_, known)| *known != with) => all.push((want, with)),
                Ok(_) => {}
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) if all.is_empty() => Err(error),
            _ => Ok(all),
        }
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
