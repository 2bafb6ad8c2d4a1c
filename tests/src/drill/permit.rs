//! Warrants, in the only way there is one: decisions of the gate over a journal. A tiny run of one step, in memory, that goes through the
//! entries that a driver writes.

use std::sync::Arc;

use cordon_shared::{
    clock::{Clock as _, SystemClock},
    engine::{Entry, FindingNote, Pace, UndoCause, View},
    finding::{FindingId, Subject, SubjectKind, Version},
    gate::{self, Ask, Caps, Decision, Facts, Lease, PolicyAnswer, UndoDecision, Warrant},
    id::{CellId, IncidentId},
    journal::{Journal, JournalError, mem::MemStore, ops},
    mode::Mode,
    plan::{ChangeKey, Effect, Plan, StepKey, Verdict},
    playbook::Playbook,
};
use cordon_spoke::action::Action;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::LabError;

const STEP: &str = "step";

/// The right to do one step: a run that gives warrants for it.
#[derive(Debug)]
pub struct Permit {
    action: Action,
    journal: Journal,
    lease: Arc<Lease>,
    pace: Pace,
    view: View,
    step: StepKey,
}

fn wrong(error: &JournalError) -> LabError {
    LabError::new(format!("the drill's journal: {error}"))
}

impl Permit {
    /// A run of a playbook with this action as its only step.
    ///
    /// # Errors
    /// When the journal refuses it.
    pub async fn open(action: &Action, cell: &CellId) -> Result<Self, LabError> {
        Self::open_as(action, cell, None).await
    }

    /// The same, with this run's id.
    ///
    /// # Errors
    /// As [`Permit::open`].
    pub async fn open_as(action: &Action, cell: &CellId, run: Option<IncidentId>) -> Result<Self, LabError> {
        let source = format!(
            "name = \"drill\"\ntitle = \"Drill\"\nsubject = \"instance\"\n[[match]]\ntype = [\"Drill\"]\n[[steps]]\nid = \"{STEP}\"\naction = \"{}\"\n",
            action.name
        );
        let playbook =
            Playbook::parse(&source, "drill.toml").map_err(|errors| LabError::new(format!("the drill's playbook: {errors:?}")))?;
        let store = Arc::new(MemStore::default());
        let lease = Lease::new(store.next_epoch());
        let pace = Pace { epoch: lease.epoch(), since: jiff::Timestamp::UNIX_EPOCH, attempt_timeout: SignedDuration::from_secs(10) };
        let journal = Journal::new(store);
        let now = SystemClock.now();
        let run = run.unwrap_or_else(|| IncidentId::new(u64::try_from(now.as_millisecond()).unwrap_or_default()));
        let subject = Subject { cell: cell.clone(), kind: SubjectKind::Instance, id: "i-0drill".to_owned(), arn: None };
        let version = Version { updated_at: Some(now), count: 1, severity: 20, role: None, remote_ips: Vec::new() };
        let note = FindingNote {
            id: FindingId("drill".to_owned()),
            version,
            input: "-".to_owned(),
            finding: json!({"type": "Drill"}),
            raw_sha256: String::new(),
        };
        let entry = Entry::Opened {
            playbook: playbook.name.clone(),
            digest: playbook.digest.clone(),
            source,
            subject: subject.clone(),
            finding: Box::new(note.clone()),
            mode: Mode::Act,
            observe_only: None,
            detected_at: now,
        };
        let opening = ops::Opening { run, entry, keys: ops::keys("drill", &[subject]), sweep: None };
        let arrival = ops::Arrival { note, opening: Some(opening), ignored: None };
        let view = journal
            .with(move |tx| {
                ops::accept(tx, &arrival, now, pace)?;
                let mut view = ops::load(tx, run)?;
                ops::append(tx, &mut view, vec![Entry::Admitted { account: Value::Null }], now, pace)?;
                Ok(view)
            })
            .await
            .map_err(|error| wrong(&error))?;
        Ok(Self { action: action.clone(), journal, lease, pace, view, step: StepKey::first(STEP) })
    }

    /// The run.
    #[must_use]
    pub fn run(&self) -> IncidentId {
        self.view.run
    }

    /// The step.
    #[must_use]
    pub fn step(&self) -> &StepKey {
        &self.step
    }

    async fn write(&mut self, entries: Vec<Entry>) -> Result<(), LabError> {
        let (mut view, now, pace) = (self.view.clone(), SystemClock.now(), self.pace);
        let moved = self.journal.with(move |tx| {
            ops::append(tx, &mut view, entries, now, pace)?;
            Ok(view)
        });
        self.view = moved.await.map_err(|error| wrong(&error))?;
        Ok(())
    }

    /// A warrant to apply this plan; after [`Permit::not_in_effect`] another one.
    ///
    /// # Errors
    /// When the gate says anything but yes.
    pub async fn to_apply(&mut self, with: &Value, plan: &Plan) -> Result<Warrant, LabError> {
        let now = SystemClock.now();
        let ask = Ask {
            step: self.step.clone(),
            action: self.action.name,
            risk: self.action.risk,
            with: with.clone(),
            region: None,
            plan: plan.clone(),
            mode: Mode::Act,
            ask: false,
            planned_at: now,
            facts: Facts { read_at: now, ..Facts::default() },
            policy: PolicyAnswer::allow("none"),
            caps: Caps { per_account_hour: 1_000, per_organization_hour: 1_000 },
            spending: Default::default(),
            question_lasts: SignedDuration::from_hours(1),
            stand_down: gate::stand_down_key(&self.view),
            uncounted: false,
            rehearsal: false,
        };
        let (view, decision) =
            gate::commit(&self.journal, &self.lease, &self.view, ask, now, self.pace).await.map_err(|error| wrong(&error))?;
        self.view = view;
        match decision {
            Decision::Go(warrant) => Ok(warrant),
            Decision::No(ruling) => Err(LabError::new(format!("the gate gives no warrant: {ruling:?}"))),
        }
    }

    /// The world was read after an apply that ended in whatever way: the change is not in effect and may be applied again.
    ///
    /// # Errors
    /// When that cannot have happened.
    pub async fn not_in_effect(&mut self, detail: &str) -> Result<(), LabError> {
        let verdict = Verdict::NotInEffect { detail: detail.to_owned() };
        self.write(vec![Entry::Recovered { step: self.step.clone(), verdict }]).await
    }

    /// The change was applied and read back.
    ///
    /// # Errors
    /// When that cannot have happened.
    pub async fn in_effect(&mut self) -> Result<(), LabError> {
        self.write(vec![Entry::Recovered { step: self.step.clone(), verdict: Verdict::InEffect }]).await
    }

    /// The apply broke off and is not tried again.
    ///
    /// # Errors
    /// When that cannot have happened.
    pub async fn stuck(&mut self, effect: Effect, error: &str) -> Result<(), LabError> {
        let (step, error) = (self.step.clone(), error.to_owned());
        let failed = Entry::ApplyFailed { step: step.clone(), effect, error: error.clone(), again: None, counts: true };
        self.write(vec![failed, Entry::Stuck { step, why: error }]).await
    }

    /// A warrant to look at an undo, and what of it.
    #[must_use]
    pub fn to_preview(&self) -> (Warrant, Vec<ChangeKey>) {
        let warrant = gate::preview(&self.journal, &self.view, &self.step, SystemClock.now());
        let claims = self.view.step(&self.step).map(|step| step.claims.iter().map(|claim| claim.key.clone()).collect());
        (warrant, claims.unwrap_or_default())
    }

    /// A warrant to undo, and what is to be undone. Asked for again, it is what a process gets that finds an undo without an end.
    ///
    /// # Errors
    /// When there is nothing to undo.
    pub async fn to_undo(&mut self) -> Result<(Warrant, Vec<ChangeKey>), LabError> {
        let (step, now) = (self.step.clone(), SystemClock.now());
        let decision = gate::commit_undo(&self.journal, &self.lease, &self.view, step, UndoCause::Ttl, None, now, self.pace).await;
        let (view, decision) = decision.map_err(|error| wrong(&error))?;
        self.view = view;
        match decision {
            UndoDecision::Go { warrant, from, .. } => Ok((warrant, from.into_iter().map(|claim| claim.key).collect())),
            other => Err(LabError::new(format!("there is nothing to undo: {other:?}"))),
        }
    }
}
