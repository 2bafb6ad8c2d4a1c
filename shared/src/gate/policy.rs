//! What the policies say to a step, as plain data. They are evaluated elsewhere; here their answer only makes the gate stricter.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::hold;
use crate::engine::Hold;

/// The most persons that a policy can ask for.
pub const MOST_PEOPLE: u8 = 9;

/// What the policies in force say to a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyAnswer {
    /// The answer.
    #[serde(flatten)]
    pub verdict: PolicyVerdict,
    /// The answer in words, with the policies that it comes from.
    pub why: String,
    /// The names of the policies that decided.
    pub policies: Vec<String>,
    /// SHA-256 of the policies in force.
    pub set: String,
    /// What they say to asking a person in place of obeying an opt-out that is new; `None`: there was none, or they were not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opt_out: Option<OptOutAnswer>,
    /// What they were asked: playbook, action, resource, account and circumstances, as data that can be asked again.
    pub asked: Value,
}

/// What the policies say to an opt-out that appeared after the attack began: whatever is no permit means that it is obeyed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OptOutAnswer {
    /// The answer: allowed, or with so many persons, it is questioned.
    #[serde(flatten)]
    pub verdict: PolicyVerdict,
    /// The answer in words, with the policies that it comes from.
    pub why: String,
    /// The names of the policies that decided.
    pub policies: Vec<String>,
}

impl OptOutAnswer {
    /// The word of the command line's output.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self.verdict {
            PolicyVerdict::Allow | PolicyVerdict::Ask { .. } => "question",
            PolicyVerdict::Deny => "obey",
            PolicyVerdict::Failed => "error",
        }
    }
}

/// The answer of policies, from the mildest to the strictest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum PolicyVerdict {
    /// Nothing against it.
    Allow,
    /// Only when so many different persons have said yes to exactly this plan.
    Ask {
        /// How many, 1 to [`MOST_PEOPLE`].
        people: u8,
    },
    /// No.
    Deny,
    /// A policy could not be evaluated, which is a no.
    Failed,
}

impl PolicyAnswer {
    /// An answer that has nothing against anything, of a set of policies called `set`.
    #[must_use]
    pub fn allow(set: &str) -> Self {
        Self {
            verdict: PolicyVerdict::Allow,
            why: String::new(),
            policies: Vec::new(),
            set: set.to_owned(),
            opt_out: None,
            asked: Value::Null,
        }
    }

    /// How many persons have to say yes.
    #[must_use]
    pub fn people(&self) -> u8 {
        match self.verdict {
            PolicyVerdict::Ask { people } => people,
            _ => 0,
        }
    }

    /// The hold that a no is.
    #[must_use]
    pub fn refusal(&self) -> Option<Hold> {
        match self.verdict {
            PolicyVerdict::Allow | PolicyVerdict::Ask { .. } => None,
            PolicyVerdict::Deny => Some(hold("policy", self.why.clone())),
            PolicyVerdict::Failed => Some(hold("policy-error", self.why.clone())),
        }
    }
}

impl PolicyVerdict {
    /// The word of the command line's output.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Ask { .. } => "ask",
            Self::Deny => "deny",
            Self::Failed => "error",
        }
    }
}

impl std::fmt::Display for PolicyVerdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ask { people: 1 } => f.pad("ask one person"),
            Self::Ask { people } => f.pad(&format!("ask {people} persons")),
            other => f.pad(other.word()),
        }
    }
}
