//! Asking other policies about what was decided: a question to the journal, which stays as it is.

use cordon_shared::{
    engine::Entry,
    gate::{OptOutAnswer, PolicyAnswer},
    id::IncidentId,
    journal::{JournalError, Sealed},
};
use jiff::Timestamp;
use serde::Serialize;

use super::{Case, Policies};
use crate::journal::{queries::RunFilter, sqlite::SqliteStore};

/// A decision that would come out differently.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Different {
    /// When it was decided.
    pub at: Timestamp,
    /// The incident.
    pub incident: IncidentId,
    /// Its step.
    pub step: String,
    /// The action.
    pub action: String,
    /// The account.
    pub account: String,
    /// What the policies said then.
    pub then: Verdict,
    /// What these policies say.
    pub now: Verdict,
    /// Why they say so.
    pub why: String,
    /// The policies that say so.
    pub policies: Vec<String>,
}

/// A verdict in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// `allow`, `ask`, `deny` or `error`.
    pub verdict: &'static str,
    /// The persons asked; 0 where none is.
    pub people: u8,
    /// What is made of an opt-out that is new: `question`, `obey` or `error`; none where there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opt_out: Option<&'static str>,
}

impl From<&PolicyAnswer> for Verdict {
    fn from(answer: &PolicyAnswer) -> Self {
        Self { verdict: answer.verdict.word(), people: answer.people(), opt_out: answer.opt_out.as_ref().map(OptOutAnswer::word) }
    }
}

impl Verdict {
    /// For a table.
    #[must_use]
    pub fn text(&self) -> String {
        let opt_out = self.opt_out.map(|word| format!(", opt-out: {word}")).unwrap_or_default();
        match self.people {
            0 => format!("{}{opt_out}", self.verdict),
            people => format!("{} {people}{opt_out}", self.verdict),
        }
    }
}

/// What a replay came to.
#[derive(Debug, Default)]
pub struct Replayed {
    /// The decisions that were asked about again.
    pub decisions: usize,
    /// Those that could not be: they were decided before policies were journalled, or in another shape.
    pub unreadable: usize,
    /// Those that would come out differently, oldest first within an incident, the newest incidents first.
    pub different: Vec<Different>,
}

impl Replayed {
    /// Asks about the entries of one run.
    pub fn run(&mut self, run: IncidentId, entries: &[Sealed], since: Timestamp, policies: &Policies) {
        for sealed in entries.iter().filter(|sealed| sealed.at >= since) {
            let Entry::Judged { step, answer } = &sealed.entry else { continue };
            let Ok(case) = serde_json::from_value::<Case>(answer.asked.clone()) else {
                self.unreadable = self.unreadable.saturating_add(1);
                continue;
            };
            self.decisions = self.decisions.saturating_add(1);
            let again = policies.judge(&case);
            let said = |answer: &PolicyAnswer| answer.opt_out.as_ref().map(|opt_out| opt_out.verdict);
            if again.verdict == answer.verdict && said(&again) == said(answer) {
                continue;
            }
            // Where the step itself would be answered the same, what is said of the opt-out is what differs.
            let (why, policies) = match &again.opt_out {
                Some(opt_out) if again.verdict == answer.verdict => (opt_out.why.clone(), opt_out.policies.clone()),
                _ => (again.why.clone(), again.policies.clone()),
            };
            self.different.push(Different {
                at: sealed.at,
                incident: run,
                step: step.to_string(),
                action: case.action,
                account: case.account.id,
                then: Verdict::from(&**answer),
                now: Verdict::from(&again),
                why,
                policies,
            });
        }
    }
}

/// Asks policies about all decisions since a time.
///
/// # Errors
/// Those of the journal.
pub async fn replay(store: &SqliteStore, since: Timestamp, policies: &Policies) -> Result<Replayed, JournalError> {
    let mut replayed = Replayed::default();
    for row in store.runs(&RunFilter::default()).await?.into_iter().filter(|row| row.updated_at >= since) {
        replayed.run(row.run, &store.entries(row.run).await?, since, policies);
    }
    Ok(replayed)
}
