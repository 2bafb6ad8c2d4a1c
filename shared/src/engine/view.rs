//! The state of a run: the fold of its entries. A stream of entries that could not have happened is refused.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::Value;

use super::{
    entry::{Entry, FindingNote, Hold, Person},
    look::Sight,
    stand::StepState,
    step::StepView,
};
use crate::{
    finding::{ResourceRole, Subject},
    id::IncidentId,
    mode::Mode,
    plan::StepKey,
    playbook::{OnFailure, Playbook, Step, Work},
};

/// An entry that does not fit what came before it: the journal was written by something else, or damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry {seq} of {run} does not follow: {why}; run `cordon audit verify`")]
pub struct Illegal {
    /// The run.
    pub run: IncidentId,
    /// The entry's number.
    pub seq: u64,
    /// What does not fit.
    pub why: String,
}

/// The state of a run.
#[derive(Debug, Clone)]
pub struct View {
    /// Which run.
    pub run: IncidentId,
    /// The pinned playbook.
    pub playbook: Arc<Playbook>,
    /// What it is about.
    pub subject: Subject,
    /// Its findings, in the order they came; the last is what expressions see.
    pub findings: Vec<FindingNote>,
    /// What a step found made this of the subject, whatever the findings say of its part.
    pub turned: Option<(ResourceRole, String)>,
    /// 1, and one more for each finding that told something new.
    pub generation: u32,
    /// The mode it opened under.
    pub mode: Mode,
    /// Why it may only observe.
    pub observe_only: Option<String>,
    /// When the first finding was taken in.
    pub detected_at: Timestamp,
    /// When the run opened.
    pub opened_at: Timestamp,
    /// The time of the last entry.
    pub updated_at: Timestamp,
    /// The time of the last entry that is no look.
    pub acted_at: Timestamp,
    /// What expressions see as `account`, once admitted.
    pub account: Option<Value>,
    /// The whole run waits for a person.
    pub hold: Option<Hold>,
    /// Admission is put off until then, after so many tries.
    pub put_off: Option<(Timestamp, u32)>,
    /// A person ended it.
    pub closed_by: Option<(Person, String)>,
    /// Whether a person was ever needed in it. A freeze needs nobody here: it is told of by itself, and what it stopped goes on by itself.
    pub person_needed: bool,
    /// Step instances, by place in the playbook and number.
    pub steps: Vec<StepView>,
    /// The number of the last entry.
    pub seq: u64,
    /// Where the chain stands: the last entry's hash.
    pub head: String,
}

impl View {
    /// Opens a view from a run's first entry.
    ///
    /// # Errors
    /// When the entry is not [`Entry::Opened`] or its playbook's text cannot be read any more.
    pub fn open(run: IncidentId, at: Timestamp, entry: &Entry) -> Result<Self, Illegal> {
        let Entry::Opened { playbook, source, subject, finding, mode, observe_only, detected_at, .. } = entry else {
            return Err(Illegal { run, seq: 1, why: "a run begins with `opened`".to_owned() });
        };
        let playbook = pinned(source, playbook).map_err(|why| Illegal { run, seq: 1, why })?;
        let steps = playbook.steps.iter().enumerate().map(|(place, step)| StepView::new(StepKey::first(&step.id), place, 1)).collect();
        Ok(Self {
            run,
            playbook,
            subject: subject.clone(),
            findings: vec![(**finding).clone()],
            turned: None,
            generation: 1,
            mode: *mode,
            observe_only: observe_only.clone(),
            detected_at: *detected_at,
            opened_at: at,
            updated_at: at,
            acted_at: at,
            account: None,
            hold: None,
            put_off: None,
            closed_by: None,
            person_needed: false,
            steps,
            seq: 1,
            head: String::new(),
        })
    }

    /// The playbook's step that an instance is of.
    #[must_use]
    pub fn definition(&self, step: &StepView) -> Option<&Step> {
        self.playbook.steps.get(step.at)
    }

    /// The name of an instance's action; `hold` for a playbook's hold.
    #[must_use]
    pub fn action(&self, step: &StepView) -> &str {
        match self.definition(step).map(|definition| &definition.work) {
            Some(Work::Action(name)) => name,
            _ => "hold",
        }
    }

    /// The instance with this key.
    #[must_use]
    pub fn step(&self, key: &StepKey) -> Option<&StepView> {
        self.steps.iter().find(|step| step.key == *key)
    }

    /// The latest instance of the playbook's step `id`.
    #[must_use]
    pub fn latest(&self, id: &str) -> Option<&StepView> {
        self.steps.iter().filter(|step| step.key.id == id).max_by_key(|step| step.key.instance)
    }

    /// A new generation: what was not started is planned anew.
    fn renew(&mut self) {
        self.generation = self.generation.saturating_add(1);
        for step in self.steps.iter_mut().filter(|step| step.not_started()) {
            step.renew(self.generation);
        }
    }

    /// Adds one entry.
    ///
    /// # Errors
    /// [`Illegal`] when the entry cannot follow; the view is then unchanged.
    pub fn fold(&mut self, at: Timestamp, entry: &Entry) -> Result<(), Illegal> {
        let seq = self.seq.saturating_add(1);
        let run = self.run;
        let illegal = |why: String| Illegal { run, seq, why };
        match entry {
            Entry::Opened { .. } => return Err(illegal("a run is opened once".to_owned())),
            Entry::FindingJoined { finding, renews } => {
                self.findings.push((**finding).clone());
                if *renews {
                    self.renew();
                }
            }
            Entry::Turned { role, why } => {
                if self.turned.is_some() {
                    return Err(illegal("it has turned already".to_owned()));
                }
                self.turned = Some((*role, why.clone()));
                self.renew();
            }
            Entry::Admitted { account } => {
                self.account = Some(account.clone());
                self.put_off = None;
            }
            Entry::LookedOn { .. } => {}
            Entry::ClosedBy { by, why } => {
                self.closed_by = Some((by.clone(), why.clone()));
                for step in &mut self.steps {
                    step.looks.accepted = step.looks.reverted.is_some();
                    step.whole_undo.stopped = None;
                }
            }
            Entry::Deferred { step: None, until, counts, .. } => {
                let tries = self.put_off.map_or(0, |(_, tries)| tries).saturating_add(u32::from(*counts));
                self.put_off = Some((*until, tries));
            }
            Entry::Held { step: None, hold } => self.hold = Some(hold.clone()),
            Entry::Released { step: None, .. } => {
                self.hold = None;
                self.account = None;
                self.put_off = None;
                for step in &mut self.steps {
                    if let StepState::Held(hold) = step.state.clone() {
                        step.release(hold, &self.playbook, at);
                    }
                }
            }
            Entry::Thawed { .. } => {
                for step in &mut self.steps {
                    step.thaw(&self.playbook, at);
                }
            }
            Entry::Retried { step: None, .. } => {
                for step in &mut self.steps {
                    if matches!(step.state, StepState::Failed { .. }) {
                        step.retry(at);
                    }
                }
            }
            Entry::Renewed { step: key, generation } => {
                let Some(place) = self.steps.iter().find(|step| step.key.id == key.id).map(|step| step.at) else {
                    return Err(illegal(format!("the playbook has no step `{}`", key.id)));
                };
                if self.step(key).is_some() {
                    return Err(illegal(format!("`{key}` exists already")));
                }
                let index = self.steps.iter().rposition(|step| step.at == place).map_or(self.steps.len(), |last| last + 1);
                let mut anew = StepView::new(key.clone(), place, *generation);
                // Who said no to it has said no to this one.
                anew.refused = self.latest(&key.id).and_then(|before| before.refused.clone());
                self.steps.insert(index, anew);
            }
            other => {
                let Some(key) = other.step() else { return Err(illegal("it names no step".to_owned())) };
                let playbook = Arc::clone(&self.playbook);
                let Some(step) = self.steps.iter_mut().find(|step| step.key == *key) else {
                    return Err(illegal(format!("there is no step `{key}`")));
                };
                let mut next = step.clone();
                next.fold(run, at, other, &playbook).map_err(|why| illegal(format!("`{key}`: {why}")))?;
                if matches!(other, Entry::Retried { .. }) && next.state == StepState::InEffect {
                    // What was changed back is done again, also where a person had closed the incident.
                    self.closed_by = None;
                    next.looks.accepted = false;
                    next.looks.done_anew = true;
                }
                *step = next;
            }
        }
        self.person_needed |= self.needs_a_person(entry);
        self.seq = seq;
        self.updated_at = self.updated_at.max(at);
        if !matches!(entry, Entry::Looked { .. }) {
            self.acted_at = self.updated_at;
        }
        Ok(())
    }

    /// Whether an entry that was just added says that a person is needed.
    fn needs_a_person(&self, entry: &Entry) -> bool {
        match entry {
            Entry::Asked { .. } | Entry::Stuck { .. } | Entry::ByHand { .. } | Entry::UndoFailed { again: None, .. } => true,
            Entry::Held { hold, .. } => hold.code != "frozen",
            Entry::Looked { found, .. } => matches!(**found, Sight::Reverted(_)),
            Entry::Failed { step, .. } => {
                let definition = self.step(step).and_then(|step| self.definition(step));
                definition.is_none_or(|definition| definition.on_failure != OnFailure::Continue)
            }
            _ => false,
        }
    }
}

/// How many pinned playbooks are kept read.
const KEPT: usize = 64;

/// The playbook of this text. Runs are read often and pin few texts, so each text is read once.
fn pinned(source: &str, name: &str) -> Result<Arc<Playbook>, String> {
    static READ: Mutex<Vec<Arc<Playbook>>> = Mutex::new(Vec::new());
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = read.iter().find(|known| known.source == source) {
        return Ok(Arc::clone(known));
    }
    let playbook = Playbook::parse(source, name).map_err(|errors| format!("the pinned playbook cannot be read: {}", join(&errors)))?;
    let playbook = Arc::new(playbook);
    if read.len() >= KEPT {
        read.remove(0);
    }
    read.push(Arc::clone(&playbook));
    Ok(playbook)
}

fn join(errors: &[impl std::fmt::Display]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
