//! What people look at and ask for, the same from the command line and by the HTTP API: incidents, questions, freezes, budgets.

pub mod frozen;

use std::{sync::Arc, time::Duration};

use cordon_shared::{
    engine::{RunState, StepState, StepView, View},
    freeze::{self, Freeze, standing},
    gate::budget::{Budget, since, standings},
    id::IncidentId,
    journal::{Journal, JournalError, RunRow, Store, ops},
    page::freeze_key,
    plan::{Change, Counts, StepKey},
    playbook::Playbook,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    incident::IncidentJson,
    journal::{Answer, FindRunError, RunFilter, pages::Told, sqlite::SqliteStore},
    report::Report,
};

/// How long an answer of the process that drives is waited for.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How long a request that was met is given to come to rest, so that what is shown is what came of it.
const REST: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// It is not there, or it is not clear what is meant.
    #[error("{0}")]
    Unknown(String),
    /// It is not what can be asked for, with what can.
    #[error("{0}")]
    Wrong(String),
    /// It cannot be done, with the reason.
    #[error("{0}")]
    Refused(String),
    /// The process that drives has not answered.
    #[error("{0}")]
    Late(String),
    /// The journal failed.
    #[error(transparent)]
    Journal(JournalError),
}

impl From<JournalError> for DeskError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Refused(why) => Self::Refused(why),
            JournalError::NoRun(run) => Self::Unknown(format!("there is no incident {run}")),
            other => Self::Journal(other),
        }
    }
}

impl From<FindRunError> for DeskError {
    fn from(error: FindRunError) -> Self {
        match error {
            FindRunError::Journal(error) => error.into(),
            other => Self::Unknown(other.to_string()),
        }
    }
}

/// How a report is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// One JSON object.
    Json,
    /// Markdown.
    Markdown,
    /// One HTML page.
    Html,
}

/// Which incidents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Which {
    /// Only these states; empty: any.
    pub states: Vec<RunState>,
    /// Only this account.
    pub account: Option<String>,
    /// Only this playbook.
    pub playbook: Option<String>,
    /// Only those that are not over.
    pub open: bool,
    /// At most so many; left out: 200.
    pub limit: Option<usize>,
}

/// A question to people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// The incident.
    pub incident: IncidentId,
    /// The step that asks.
    pub step: StepKey,
    /// The plan's digest: an answer is bound to it.
    pub digest: String,
    /// Why a person must say it.
    pub why: String,
    /// When the question becomes void; an answer is bound to that too, as the next question about the same plan expires at another time.
    pub expires: Option<Timestamp>,
    /// How many different persons have to say yes.
    pub people: u8,
    /// Who has.
    pub said_yes: Vec<String>,
    /// What would be changed.
    pub changes: Vec<Change>,
}

impl Question {
    /// No question: a step that asks nothing now.
    #[must_use]
    pub fn none(incident: IncidentId, step: &StepKey) -> Self {
        let (digest, why) = Default::default();
        Self { incident, step: step.clone(), digest, why, expires: None, people: 0, said_yes: Vec::new(), changes: Vec::new() }
    }

    /// The questions that an incident asks now.
    #[must_use]
    pub fn all(view: &View) -> Vec<Self> {
        view.steps.iter().filter_map(|step| Self::of(view, step)).collect()
    }

    /// The question that a step asks now.
    #[must_use]
    pub fn of(view: &View, step: &StepView) -> Option<Self> {
        let StepState::Asked { digest, why, expires, people, .. } = &step.state else { return None };
        if view.closed_by.is_some() {
            return None;
        }
        Some(Self {
            incident: view.run,
            step: step.key.clone(),
            digest: digest.clone(),
            why: why.clone(),
            expires: Some(*expires),
            people: *people,
            said_yes: step.approvals.iter().map(|yes| yes.by.0.clone()).collect(),
            changes: step.plan.as_ref().map(|plan| plan.changes.clone()).unwrap_or_default(),
        })
    }
}

/// A budget, and what of it is spent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    /// Whose changes are counted together.
    pub scope: String,
    /// The account, or the group, that this much of it was spent in; null: the scope as a whole.
    pub whose: Option<String>,
    /// What is counted.
    pub counts: Counts,
    /// In how long a time.
    pub window: String,
    /// How much may be.
    pub most: u32,
    /// How much is.
    pub spent: u32,
    /// Whether the next step of this kind asks.
    pub asks: bool,
    /// The incidents that spent it.
    pub incidents: Vec<IncidentId>,
    /// When the next of it frees.
    pub frees_at: Option<Timestamp>,
}

/// A freeze or a thaw, with whom was told of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    /// The line.
    #[serde(flatten)]
    pub line: Freeze,
    /// Each destination.
    pub told: Vec<Told>,
}

/// What a freeze did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Frozen {
    /// The line that was written.
    #[serde(flatten)]
    pub line: Freeze,
    /// Why it may stop nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// What a thaw did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Thawed {
    /// The line that was written.
    pub line: Freeze,
    /// The freezes that it lifted.
    pub lifted: Vec<Freeze>,
    /// What stands still.
    pub stands: Vec<Freeze>,
    /// The incidents that a freeze may have stopped and that go on now.
    pub waiting: usize,
}

/// The answer to a request, where it is no refusal.
pub(crate) fn said(answer: Answer) -> Result<String, DeskError> {
    if answer.ok { Ok(answer.text) } else { Err(DeskError::Refused(answer.text)) }
}

/// The desk over a journal.
#[derive(Debug, Clone)]
pub struct Desk {
    store: Arc<SqliteStore>,
}

impl Desk {
    /// Over this journal.
    #[must_use]
    pub fn new(store: Arc<SqliteStore>) -> Self {
        Self { store }
    }

    /// The journal.
    #[must_use]
    pub fn store(&self) -> &Arc<SqliteStore> {
        &self.store
    }

    /// Incidents, the newest first.
    ///
    /// # Errors
    /// Those of the journal.
    pub async fn incidents(&self, which: &Which) -> Result<Vec<RunRow>, DeskError> {
        let filter = RunFilter {
            open_only: which.open,
            states: which.states.clone(),
            account: which.account.clone(),
            playbook: which.playbook.clone(),
            limit: Some(which.limit.unwrap_or(200)),
            ..RunFilter::default()
        };
        Ok(self.store.runs(&filter).await?)
    }

    /// The incident whose id begins so.
    ///
    /// # Errors
    /// [`DeskError::Unknown`] when none or several do.
    pub async fn find(&self, id: &str) -> Result<IncidentId, DeskError> {
        Ok(self.store.find_run(id).await?)
    }

    /// One incident.
    ///
    /// # Errors
    /// As [`Desk::find`].
    pub async fn incident(&self, id: &str) -> Result<IncidentJson, DeskError> {
        let run = self.find(id).await?;
        let mut incident = IncidentJson::new(&self.store.view(run).await?, None);
        incident.owner = self.store.owners_told(run).await?;
        Ok(incident)
    }

    /// An incident's report.
    ///
    /// # Errors
    /// As [`Desk::find`].
    pub async fn report(&self, id: &str, form: Form) -> Result<String, DeskError> {
        let run = self.find(id).await?;
        let entries = self.store.entries(run).await?;
        let view = ops::fold(run, &entries)?;
        let mut report = Report::new(&view, &entries);
        report.incident.owner = self.store.owners_told(run).await?;
        Ok(match form {
            Form::Json => serde_json::to_string(&report).map_err(|error| JournalError::Store(error.to_string()))?,
            Form::Markdown => report.markdown(),
            Form::Html => report.html(),
        })
    }

    /// What waits for a yes. An incident that cannot be read asks nothing; the list of incidents names it.
    ///
    /// # Errors
    /// Those of the journal.
    pub async fn questions(&self) -> Result<Vec<Question>, DeskError> {
        let filter = RunFilter { open_only: true, ..RunFilter::default() };
        let mut waiting = Vec::new();
        for row in self.store.runs(&filter).await? {
            match self.store.view(row.run).await {
                Ok(view) => waiting.extend(Question::all(&view)),
                Err(error) if error.is_of_one_run() => tracing::warn!(run = %row.run, %error, "this incident cannot be read"),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(waiting)
    }

    /// What waits for a yes in one incident.
    ///
    /// # Errors
    /// Those of the journal.
    pub async fn questions_of(&self, run: IncidentId) -> Result<Vec<Question>, DeskError> {
        Ok(Question::all(&self.store.view(run).await?))
    }

    /// Freezes that stand, or all freezes and thaws that ever were.
    ///
    /// # Errors
    /// Those of the journal.
    pub async fn freezes(&self, all: bool) -> Result<Vec<Listed>, DeskError> {
        let lines = if all { self.store.freezes_and_thaws().await? } else { self.standing().await? };
        let mut listed = Vec::new();
        for line in lines {
            let told = self.store.page_told(&freeze_key(line.number)).await?;
            listed.push(Listed { line, told });
        }
        Ok(listed)
    }

    async fn standing(&self) -> Result<Vec<Freeze>, DeskError> {
        Ok(standing(&self.store.freezes_and_thaws().await?))
    }

    /// Freezes. It is written straight into the journal, whoever drives and whether anybody does. `playbooks`: those that there are, as
    /// [`frozen::sound`] takes them.
    ///
    /// # Errors
    /// What cannot be frozen, and those of the journal.
    pub async fn freeze(&self, line: Freeze, playbooks: &[Arc<Playbook>]) -> Result<Freeze, DeskError> {
        let line = frozen::sound(line, playbooks)?;
        let written = line.clone();
        self.journal().with(move |tx| freeze::freeze(tx, &line)).await?;
        Ok(written)
    }

    /// Lifts what is frozen in exactly this scope.
    ///
    /// # Errors
    /// [`DeskError::Refused`] when it is not frozen, and those of [`Desk::freeze`].
    pub async fn thaw(&self, line: Freeze, playbooks: &[Arc<Playbook>]) -> Result<Thawed, DeskError> {
        // What stands can be lifted, also if nobody could freeze it so today: a playbook may be gone since.
        let line = match self.standing().await?.iter().any(|freeze| freeze.scope == line.scope) {
            true => frozen::reasoned(line)?,
            false => frozen::sound(line, playbooks)?,
        };
        let mine = line.clone();
        let lifted = self.journal().with(move |tx| freeze::thaw(tx, &mine)).await?;
        let waiting = self.store.maybe_frozen().await?.len();
        Ok(Thawed { line, lifted, stands: self.standing().await?, waiting })
    }

    fn journal(&self) -> Journal {
        let dynamic: Arc<dyn Store> = self.store.clone();
        Journal::new(dynamic)
    }

    /// Each budget, and what of it is spent.
    ///
    /// # Errors
    /// Those of the journal.
    pub async fn budgets(&self, budgets: &[Budget], now: Timestamp) -> Result<Vec<Spent>, DeskError> {
        let mut rows = Vec::new();
        for budget in budgets {
            let charges = self.store.charges(since(budget, now), budget.counts).await?;
            rows.extend(standings(budget, &charges, now).into_iter().map(|standing| Spent {
                scope: budget.scope.to_string(),
                whose: standing.whose,
                counts: budget.counts,
                window: format!("{:#}", budget.window),
                most: budget.most,
                spent: standing.spent,
                asks: standing.spent >= budget.most,
                incidents: standing.by.into_iter().collect(),
                frees_at: standing.frees_at,
            }));
        }
        Ok(rows)
    }

    /// Waits for the answer to a request, and for what it set going to come to rest.
    ///
    /// # Errors
    /// [`DeskError::Refused`] with the answer where it is a no, [`DeskError::Late`] when there is none within [`PATIENCE`].
    pub async fn answered(&self, request: i64, run: IncidentId) -> Result<String, DeskError> {
        let answer = tokio::time::timeout(PATIENCE, self.answer(request)).await.map_err(|_| {
            DeskError::Late(format!(
                "the running service has not answered within {} s; the request stands, look again with `cordon incident show {run}`",
                PATIENCE.as_secs()
            ))
        })??;
        let text = said(answer)?;
        let rest = async {
            while self.store.run(run).await?.is_some_and(|row| row.state == RunState::Running) {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Ok::<_, JournalError>(())
        };
        match tokio::time::timeout(REST, rest).await {
            Ok(rested) => rested?,
            Err(_) => tracing::debug!(%run, "it goes on"),
        }
        Ok(text)
    }

    async fn answer(&self, request: i64) -> Result<Answer, JournalError> {
        loop {
            if let Some(answer) = self.store.answer_of(request).await? {
                return Ok(answer);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
