//! Playbooks: data that says which findings are answered, and with which steps.
//!
//! A playbook is a TOML document. What it matches is written in EventBridge's own language ([`crate::pattern`]), its
//! conditions and parameters as small expressions ([`crate::expr`]). [`Playbook::parse`] reads one and reports everything
//! that is wrong with it at once, each at its place in the text; [`Playbook::check`] holds it against the catalogue of actions.

mod check;
mod error;
pub mod foresee;
mod graph;
mod load;
mod reader;
mod shape;
mod step;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use check::{ActionInfo, Catalogue};
pub use error::PlaybookError;

use crate::{
    expr::{Expr, Template},
    finding::{Finding, ResourceRole, Subject, SubjectKind},
    mode::Mode,
    pattern::Pattern,
};

/// How long a slow step may take where its playbook does not say.
pub const DEFAULT_WITHIN: SignedDuration = SignedDuration::from_mins(30);

/// When what was changed is looked at again where its playbook does not say: after an hour, when what reconciles often has run, and after a day,
/// when what runs nightly has.
pub const DEFAULT_LOOKS: [SignedDuration; 2] = [SignedDuration::from_hours(1), SignedDuration::from_hours(24)];

/// A playbook that has been read and found sound in itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Playbook {
    /// `ec2-brute-force`.
    pub name: String,
    /// One line for people.
    pub title: String,
    /// Which kind of the finding's subjects is the primary one.
    pub subject: SubjectKind,
    /// How far this playbook may go at most.
    pub mode: Mode,
    /// It answers a finding that any of these matches.
    pub patterns: Vec<Pattern>,
    /// Facts found on the way that make an actor of the target (`[[turns]]`).
    pub turns: Vec<Turn>,
    /// How long after a change came into effect it is looked at again, ascending.
    pub looks: Vec<SignedDuration>,
    /// Its steps in the order of the text, which need not be the order of execution.
    pub steps: Vec<Step>,
    /// Lower-case hexadecimal SHA-256 of `source`; a run pins its playbook by it.
    pub digest: String,
    /// The name of the file it was read from, for messages.
    pub file: String,
    /// The text it was read from.
    pub source: String,
}

/// A fact that, found by a step, changes what the run is about: a confirmed login makes an actor of the target. A new generation begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// The condition; it reads outcomes, and counts once all of them are there.
    pub when: Expr,
    /// The part the subject plays from then on (`finding.role`).
    pub role: ResourceRole,
    /// For the reader.
    pub why: String,
}

impl Turn {
    /// The steps whose outcomes its condition reads.
    pub fn reads_outcomes_of(&self) -> impl Iterator<Item = String> {
        let ids: std::collections::BTreeSet<String> = self.when.paths().filter_map(|path| shape::step_of(&path)).collect();
        ids.into_iter()
    }
}

/// Which part of the work a step belongs to. An incident is contained when its `contain` and `credentials` steps are in effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Keeping what is there, before anything changes.
    Record,
    /// Cutting the attacker off.
    Contain,
    /// Taking away what the attacker's credentials can do.
    Credentials,
    /// Keeping disks.
    Preserve,
    /// Finding out.
    Investigate,
    /// Going back to work.
    Recover,
    /// Telling.
    Report,
}

/// One step of a playbook.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Unique within the playbook: `[a-z][a-z0-9-]*`.
    pub id: String,
    /// What it does.
    pub work: Work,
    /// The steps it waits for: as written, else the step above (the first: none).
    pub needs: Vec<String>,
    /// Whether it starts even if a step it needs failed, is held or waits for a person. A skipped need always counts as met.
    pub even_if: EvenIf,
    /// The condition it is done under; not fulfilled, the step is skipped.
    pub when: Option<Expr>,
    /// Of which of the incident's findings the condition must hold.
    pub of: Of,
    /// Its parameters; of a hold, none.
    pub with: Template,
    /// Its deadline.
    pub within: SignedDuration,
    /// What becomes of it when the deadline passes.
    pub on_timeout: OnTimeout,
    /// What its failure does to the run.
    pub on_failure: OnFailure,
    /// The change is undone after this time.
    pub ttl: Option<SignedDuration>,
    /// Whether a person is asked in every mode.
    pub ask: bool,
    /// What becomes of a question about it that is not answered in time.
    pub on_expiry: OnExpiry,
    /// It begins so long after the last step it needs was settled.
    pub after: SignedDuration,
    /// The Region it works in, where that is not the subject's own; a template of one text.
    pub region: Option<Template>,
    /// Which part of the work it belongs to.
    pub phase: Option<Phase>,
}

/// Of which findings a step's condition must hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Of {
    /// One is enough: what an earlier finding asked for, a later one does not take back.
    #[default]
    Any,
    /// Each of them: what is unsure of one is sure once another says so.
    Every,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// The action with this name.
    Action(String),
    /// Nothing: it holds the run for a person, with this reason.
    Hold(String),
}

/// What a step starts in spite of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EvenIf {
    /// Nothing: all that it needs must be behind it.
    #[default]
    Never,
    /// A step it needs failed or is held.
    Failed,
    /// A step it needs failed, is held, asks a person, failed so far and is tried again, or is done and not yet read back: what must not wait.
    Waiting,
}

/// What becomes of a step whose deadline has passed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnTimeout {
    /// It has failed.
    #[default]
    Fail,
    /// It is held for a person.
    Hold,
}

/// What becomes of a question that not enough people answered in time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnExpiry {
    /// The step is held for a person.
    #[default]
    Hold,
    /// It is asked once more, for as long again, and paged; then the step is held.
    Escalate,
}

/// What the failure of a step does to the run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// The run is held for a person.
    #[default]
    Hold,
    /// The run has failed.
    Fail,
    /// The run goes on and is not failed by it; the failure is shown all the same.
    Continue,
}

impl Playbook {
    /// Reads a playbook. `file` is only the name that messages call it by.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of the text.
    pub fn parse(text: &str, file: &str) -> Result<Self, Vec<PlaybookError>> {
        load::load(text, file)
    }

    /// What is wrong with it given the actions there are: unknown ones, parameters they do not take or need, a `ttl` on a
    /// step that changes nothing. Empty when all is well.
    #[must_use]
    pub fn check(&self, catalogue: &dyn Catalogue) -> Vec<PlaybookError> {
        check::check(self, catalogue)
    }

    /// Which of the finding's subjects this playbook is about: the first one of its kind, those of the finding's own account before others, and all
    /// others of its kind in the same account (an attack sequence names several instances). Each is answered by an incident of its own. Of
    /// access keys only the first: what a finding says of a credential is about that one.
    pub fn subjects_of<'f>(&self, finding: &'f Finding) -> impl Iterator<Item = &'f Subject> {
        let fits = || finding.subjects.iter().filter(|subject| subject.kind == self.subject);
        let first = fits().find(|subject| subject.cell.account == finding.cell.account).or_else(|| fits().next());
        let more = move |subject: &&Subject| {
            subject.kind != SubjectKind::AccessKey
                && first.is_some_and(|first| first.cell.account == subject.cell.account && first != *subject)
        };
        first.into_iter().chain(fits().filter(more).collect::<Vec<_>>())
    }

    /// Whether it answers this finding, given as it is serialised.
    #[must_use]
    pub fn matches(&self, finding: &Value) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(finding))
    }

    /// The step with this id.
    #[must_use]
    pub fn step(&self, id: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.id == id)
    }
}

impl Step {
    /// The steps whose outcome its condition or its parameters read; each is among its (transitive) needs.
    pub fn reads_outcomes_of(&self) -> impl Iterator<Item = String> {
        let region = self.region.iter().flat_map(Template::paths);
        let paths = self.when.iter().flat_map(Expr::paths).chain(self.with.paths()).chain(region);
        let ids: std::collections::BTreeSet<String> = paths.filter_map(|path| shape::step_of(&path)).collect();
        ids.into_iter()
    }
}

#[cfg(test)]
mod tests;
