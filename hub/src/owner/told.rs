//! What became of telling an owner, for whoever looks at the incident.

use cordon_shared::notice::Notice;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MAIL, SLACK};
use crate::text::safe;

/// Who was told, as the outbox keeps it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The address or id; empty: nobody yet.
    pub who: String,
    /// Where it stands.
    pub found: String,
    /// What was passed over for it, and why.
    #[serde(default)]
    pub passed_over: Vec<String>,
}

/// What became of telling the owner of what was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OwnerTold {
    /// What they were told of: `contained`, `undone`, `closed`.
    pub of: String,
    /// By which way: `e-mail`, `slack`.
    pub by: String,
    /// Who was told; null: nobody, or not yet.
    pub who: Option<String>,
    /// Where that address stands.
    pub found: Option<String>,
    /// When; null: not yet.
    #[schemars(with = "Option<String>")]
    pub at: Option<Timestamp>,
    /// Why nobody was told, or nobody is yet.
    pub not_told_because: Option<String>,
    /// What named an owner and was passed over, and why.
    pub passed_over: Vec<String>,
}

impl OwnerTold {
    /// From a row of the outbox. `None`: this destination left it to the other one.
    #[must_use]
    pub fn of(notice: &Notice, target: &str, done: Option<Timestamp>, why: Option<String>, told: Option<Told>) -> Option<Self> {
        let by = match target {
            MAIL => "e-mail",
            SLACK => "slack",
            other => other,
        };
        let (of, by) = (notice.kind.as_str().to_owned(), by.to_owned());
        match (done, why, told) {
            (Some(at), None, Some(told)) => {
                let (who, found) = (Some(told.who), Some(told.found));
                Some(Self { of, by, who, found, at: Some(at), not_told_because: None, passed_over: told.passed_over })
            }
            (Some(_), None, None) => None,
            (done, why, _) => {
                let why = why.unwrap_or_else(|| "it waits to be sent".to_owned());
                Some(Self { of, by, who: None, found: None, at: done, not_told_because: Some(why), passed_over: Vec::new() })
            }
        }
    }

    /// One line.
    #[must_use]
    pub fn line(&self) -> String {
        let by = if self.by == "slack" { "in Slack" } else { "by e-mail" };
        match (&self.who, &self.not_told_because) {
            (Some(who), _) => {
                let at = self.at.map(|at| format!(" at {at:.0}")).unwrap_or_default();
                let found = self.found.as_deref().map(|found| format!(", named by {}", safe(found))).unwrap_or_default();
                let over = self.passed_over.iter().map(|over| format!("; {}", safe(over))).collect::<String>();
                format!("told {} {by}{at} ({}{found}{over})", safe(who), self.of)
            }
            (None, why) => {
                let not = if self.at.is_some() { "not told" } else { "not told yet" };
                format!("{not} {by} ({}), because {}", self.of, safe(why.as_deref().unwrap_or("it waits to be sent")))
            }
        }
    }
}
