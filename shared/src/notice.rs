//! What people are told of a run: a pure function of where it stood and where it stands.
//!
//! A notice is written in the transaction of the entries that it tells of, under a key that the same entries always give, so that none is
//! lost and none is written twice. What it looks like in the end is its destination's business.

mod owner;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    engine::{REVERTED, RunState, StepState, View, reverted_why, summary},
    id::IncidentId,
    plan::StepKey,
};

pub use owner::{changed, for_owners};

/// Whom a notice is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Audience {
    /// Those who work with Cordon.
    #[default]
    Team,
    /// Whoever owns what was changed.
    Owner,
}

impl Audience {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Team => "team",
            Self::Owner => "owner",
        }
    }

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
    fn is_team(&self) -> bool {
        *self == Self::Team
    }
}

/// A destination of notices, and which of them it wants.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// What the outbox calls it.
    pub name: String,
    /// Whose notices it is told.
    pub audience: Audience,
}

/// What a notice tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoticeKind {
    /// An incident was opened.
    Detected,
    /// A plan waits for a person's yes.
    Asks,
    /// A question stands no more: answered, expired, or asked anew about another plan.
    Answered,
    /// What contains is in effect.
    Contained,
    /// A person is needed.
    Held,
    /// A step failed that may not fail.
    Failed,
    /// Somebody changed back what was changed.
    Reverted,
    /// The effect of something is unknown.
    Stuck,
    /// What was changed was put back.
    Undone,
    /// Only planned: the mode allows no more.
    Planned,
    /// The incident is over.
    Closed,
}

impl NoticeKind {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Detected => "detected",
            Self::Asks => "asks",
            Self::Answered => "answered",
            Self::Contained => "contained",
            Self::Held => "held",
            Self::Failed => "failed",
            Self::Reverted => "reverted",
            Self::Stuck => "stuck",
            Self::Undone => "undone",
            Self::Planned => "planned",
            Self::Closed => "closed",
        }
    }

    fn of(state: RunState) -> Option<Self> {
        Some(match state {
            RunState::Contained => Self::Contained,
            RunState::Held => Self::Held,
            RunState::Failed => Self::Failed,
            RunState::Stuck => Self::Stuck,
            RunState::Undone => Self::Undone,
            RunState::Planned => Self::Planned,
            RunState::Closed => Self::Closed,
            RunState::Running | RunState::Waiting | RunState::Ignored => return None,
        })
    }
}

/// One thing that people are told. Texts of others stand in it as they came: it is data, not markup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// What makes it one of its run: the same entries give the same key.
    pub key: String,
    /// Whom it is for.
    #[serde(default, skip_serializing_if = "Audience::is_team")]
    pub audience: Audience,
    /// What it tells.
    pub kind: NoticeKind,
    /// The incident.
    pub run: IncidentId,
    /// The number of the run's last entry.
    pub seq: u64,
    /// That entry's time.
    pub at: Timestamp,
    /// The playbook.
    pub playbook: String,
    /// The account.
    pub account: String,
    /// The Region.
    pub region: String,
    /// The subject's ARN or id.
    pub subject: String,
    /// The latest finding's type.
    pub finding: String,
    /// The provider's severity of it, 0 to 100.
    pub severity: u64,
    /// Where the incident stands.
    pub state: RunState,
    /// The reason's stable word.
    pub code: String,
    /// The reason; for a question, why a person must say it.
    pub why: String,
    /// The step that asks or asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepKey>,
    /// The digest of the plan that it asks about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// When the question becomes void.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Whether it is asked a second time, since not enough people answered the first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub escalated: bool,
    /// Whether everybody is told of it: all of an incident of its own; of a sweep's child what follows once a person was needed in it.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub everybody: bool,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Question {
    step: StepKey,
    digest: String,
    why: String,
    expires: Timestamp,
    escalated: bool,
}

/// Where a run stood, as far as it says what is news.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    begun: bool,
    needed: bool,
    asked: Vec<Question>,
    reverted: Vec<(StepKey, String)>,
    state: RunState,
    code: String,
    why: String,
    /// What owners are to know of it.
    owners: Option<NoticeKind>,
}

impl Standing {
    /// Where a run stands.
    #[must_use]
    pub fn of(view: &View) -> Self {
        let sum = summary(view);
        // An incident that a person closed asks nothing any more.
        let open = view.steps.iter().filter(|_| view.closed_by.is_none());
        let asked = open.filter_map(|step| match &step.state {
            StepState::Asked { digest, why, expires, escalated, .. } => {
                let (step, digest, why) = (step.key.clone(), digest.clone(), why.clone());
                Some(Question { step, digest, why, expires: *expires, escalated: *escalated })
            }
            _ => None,
        });
        let reverted = view.steps.iter().filter_map(|step| Some((step.key.clone(), reverted_why(view, step)?)));
        // Told once the account was looked up, or could not be: the OU decides who is told.
        let begun = view.account.is_some() || view.hold.is_some() || view.put_off.is_some() || view.closed_by.is_some();
        Self {
            begun,
            needed: view.person_needed,
            asked: asked.collect(),
            reverted: reverted.collect(),
            owners: owner::news(view, sum.state),
            state: sum.state,
            code: sum.code,
            why: sum.why,
        }
    }
}

/// What is to be told of a run that stood there and stands here now.
///
/// Of a sweep's child (`child`) everybody is told once a person is needed in it, and from then on: thousands of children in which nothing
/// happens are no news. Its detection is told then, for its thread begins with it.
#[must_use]
pub fn notices(before: &Standing, view: &View, child: bool) -> Vec<Notice> {
    let now = Standing::of(view);
    let blank = Notice { everybody: !child || now.needed, ..blank(view, &now) };
    let told = |key: String, kind| Notice { key, kind, ..blank.clone() };
    let of = |question: &Question, key: String, kind| Notice {
        why: question.why.clone(),
        step: Some(question.step.clone()),
        digest: Some(question.digest.clone()),
        expires: Some(question.expires),
        escalated: question.escalated,
        ..told(key, kind)
    };
    let mut out = Vec::new();
    let first = if child { now.needed && !before.needed } else { now.begun && !before.begun };
    if first {
        out.push(told("detected".to_owned(), NoticeKind::Detected));
    }
    for gone in before.asked.iter().filter(|question| !now.asked.contains(question)) {
        out.push(of(gone, format!("answered/{}/{}", gone.step, view.seq), NoticeKind::Answered));
    }
    for new in now.asked.iter().filter(|question| !before.asked.contains(question)) {
        out.push(of(new, format!("asks/{}/{}", new.step, view.seq), NoticeKind::Asks));
    }
    for (step, why) in now.reverted.iter().filter(|reverted| !before.reverted.contains(reverted)) {
        let key = format!("reverted/{step}/{}", view.seq);
        out.push(Notice { why: why.clone(), step: Some(step.clone()), ..told(key, NoticeKind::Reverted) });
    }
    let news = (before.state, &before.code, &before.why) != (now.state, &now.code, &now.why);
    // What was changed back is told above, with its step.
    let news = news && !(now.state == RunState::Held && now.code == REVERTED);
    if let Some(kind) = NoticeKind::of(now.state).filter(|_| news) {
        // Containment is told once for each generation, whatever it waits for meanwhile.
        let key = match kind {
            NoticeKind::Contained | NoticeKind::Planned => format!("{}/generation-{}", kind.as_str(), view.generation),
            _ => format!("{}/{}", kind.as_str(), view.seq),
        };
        out.push(told(key, kind));
    }
    out
}

fn blank(view: &View, now: &Standing) -> Notice {
    let finding = view.finding();
    Notice {
        key: String::new(),
        audience: Audience::Team,
        kind: NoticeKind::Detected,
        run: view.run,
        seq: view.seq,
        at: view.updated_at,
        playbook: view.playbook.name.clone(),
        account: view.subject.cell.account.to_string(),
        region: view.subject.cell.region.to_string(),
        subject: view.subject.name().to_owned(),
        finding: finding.get("type").and_then(Value::as_str).unwrap_or_default().to_owned(),
        severity: finding.get("severity").and_then(Value::as_u64).unwrap_or_default(),
        state: now.state,
        code: now.code.clone(),
        why: now.why.clone(),
        step: None,
        digest: None,
        expires: None,
        escalated: false,
        everybody: true,
    }
}

#[cfg(test)]
pub(crate) mod tests;
