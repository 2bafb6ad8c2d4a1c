//! What an action means to change, and what it found: the currency between actions, gate and journal.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::optout::Since;

/// How much harm a change can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Risk {
    /// Only reads.
    ReadOnly,
    /// Undo restores what was.
    Reversible,
    /// Interrupts a rightful user; undo restores.
    Disruptive,
    /// Something of it cannot be undone.
    Destructive,
}

/// Where an action works.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Seat {
    /// In the member account, through the spoke role.
    #[default]
    Member,
    /// In the hub's own account.
    Hub,
}

impl Seat {
    /// Whether it is the member account.
    #[must_use]
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
    pub fn is_member(&self) -> bool {
        *self == Self::Member
    }
}

/// One instance of a playbook's step: `block-source`, or `block-source#2` after a later finding changed its parameters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepKey {
    /// The step's id in the playbook.
    pub id: String,
    /// 1 for the first instance.
    pub instance: u32,
}

impl StepKey {
    /// The first instance of the step `id`.
    #[must_use]
    pub fn first(id: &str) -> Self {
        Self { id: id.to_owned(), instance: 1 }
    }
    /// The instance after this one.
    #[must_use]
    pub fn next(&self) -> Self {
        Self { id: self.id.clone(), instance: self.instance.saturating_add(1) }
    }
}

impl fmt::Display for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.instance == 1 { f.write_str(&self.id) } else { write!(f, "{}#{}", self.id, self.instance) }
    }
}

/// A text that is not `step` or `step#2`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a step (a step's id, or id#number)")]
pub struct StepKeyError(String);

impl FromStr for StepKey {
    type Err = StepKeyError;
    fn from_str(text: &str) -> Result<Self, StepKeyError> {
        let wrong = || StepKeyError(text.chars().take(80).collect());
        match text.split_once('#') {
            None if !text.is_empty() => Ok(Self::first(text)),
            Some((id, number)) if !id.is_empty() => {
                let instance = number.parse().ok().filter(|n| *n > 0).ok_or_else(wrong)?;
                Ok(Self { id: id.to_owned(), instance })
            }
            _ => Err(wrong()),
        }
    }
}

impl Serialize for StepKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StepKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One attribute of one resource, from what to what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// The resource's ARN.
    pub resource: String,
    /// Which attribute, in words that stay the same from plan to plan.
    pub attribute: String,
    /// As it is, or was.
    pub before: Value,
    /// As it will be, or is.
    pub after: Value,
}

/// The attribute that a claim is laid on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChangeKey {
    /// The resource's ARN.
    pub resource: String,
    /// Which attribute.
    pub attribute: String,
}

impl Change {
    /// The attribute that it changes.
    #[must_use]
    pub fn key(&self) -> ChangeKey {
        ChangeKey { resource: self.resource.clone(), attribute: self.attribute.clone() }
    }
}

/// What a changed resource counts as against a budget, besides as a resource changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Counts {
    /// A resource changed, of whatever kind.
    Resources,
    /// An instance isolated or stopped.
    Instances,
    /// A credential revoked.
    Credentials,
    /// A share of the members in service of an Auto Scaling group, a target group or a balancer.
    InService,
}

impl Counts {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Resources, Self::Instances, Self::Credentials, Self::InService];

    /// The word that stands for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Resources => "resources",
            Self::Instances => "instances",
            Self::Credentials => "credentials",
            Self::InService => "in-service",
        }
    }

    /// In a sentence.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Resources => "resources changed",
            Self::Instances => "instances isolated or stopped",
            Self::Credentials => "credentials revoked",
            Self::InService => "percent of members in service",
        }
    }
}

/// A member that a change takes out of what it serves in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShareTaken {
    /// The ARN of the Auto Scaling group, target group or balancer.
    pub group: String,
    /// The ARN of what leaves it.
    pub member: String,
    /// How many were in service, it included where it was.
    pub of: u32,
}

/// An opt-out tag that a plan met on a resource it looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TagSeen {
    /// The resource that carries it.
    pub resource: String,
    /// The tag's value.
    pub value: String,
    /// Since when it is there, where that was looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Since>,
}

/// What a change would do, captured before anything is changed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// All that undo needs.
    pub before: Value,
    /// What would be changed. Empty: everything is already as wanted.
    #[serde(default)]
    pub changes: Vec<Change>,
    /// Where that is: in the member account, or in the hub's own (a note on a finding).
    #[serde(default, skip_serializing_if = "Seat::is_member")]
    pub seat: Seat,
    /// What is already as wanted.
    #[serde(default)]
    pub already: Vec<Change>,
    /// The resources that no other step may change at the same time.
    #[serde(default)]
    pub touches: BTreeSet<String>,
    /// What counts against the caps, where that is not the resources changed: the instance, for its own interfaces, volumes and
    /// memberships. `None`: each resource changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<BTreeSet<String>>,
    /// What it takes out of service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shares: Vec<ShareTaken>,
    /// Why a person must be asked, whatever the mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<String>,
    /// Another reason to ask, which may come and go without making the plan another one: a yes is not bound to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<String>,
    /// Opt-out tags met on the subject, on what would be changed, or on what shares it.
    #[serde(default)]
    pub opt_outs: Vec<TagSeen>,
    /// The tags of the subject and of what would be changed, by ARN, as far as the plan read them: policies look at them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, BTreeMap<String, String>>,
    /// What a reader of the report should know: neighbours, limits met, what was left alone and why.
    #[serde(default)]
    pub notes: Vec<String>,
}

impl Plan {
    /// What an approval is bound to: SHA-256 of action, parameters and changes. The same plan of the same world has the same digest.
    #[must_use]
    pub fn digest(&self, action: &str, with: &Value) -> String {
        let body = serde_json::json!({ "action": action, "with": with, "changes": self.changes, "touches": self.touches, "ask": self.ask });
        hex::encode(Sha256::digest(crate::words::canonical(body).to_string().as_bytes()))
    }

    /// The ARNs that count against the caps.
    #[must_use]
    pub fn counted(&self) -> BTreeSet<String> {
        match &self.counts {
            Some(counts) if !self.changes.is_empty() => counts.clone(),
            Some(_) => BTreeSet::new(),
            None => self.resources(),
        }
    }

    /// The ARNs of the resources that would be changed.
    #[must_use]
    pub fn resources(&self) -> BTreeSet<String> {
        self.changes.iter().map(|change| change.resource.clone()).collect()
    }
}

/// How far a change that failed got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Nothing was changed.
    None,
    /// Some of it was.
    Partial,
    /// Nobody knows: the answer was lost.
    Unknown,
}

/// What reading the post-condition back says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Verdict {
    /// All changes are in effect.
    InEffect,
    /// Not, or not all, or not yet.
    NotInEffect {
        /// What is missing.
        detail: String,
    },
    /// Somebody else changed it.
    Drifted {
        /// What differs.
        detail: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_key_reads_back_from_its_text() {
        for text in ["record", "block-source#2"] {
            assert_eq!(text.parse::<StepKey>().unwrap().to_string(), text);
        }
        for bad in ["", "#2", "a#0", "a#x"] {
            assert!(bad.parse::<StepKey>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_digest_depends_on_parameters_and_changes_only() {
        let plan = Plan { before: Value::from(1), ..Plan::default() };
        let other_before = Plan { before: Value::from(2), notes: vec!["n".into()], ..Plan::default() };
        assert_eq!(plan.digest("a.b", &Value::Null), other_before.digest("a.b", &Value::Null));
        assert_ne!(plan.digest("a.b", &Value::Null), plan.digest("a.b", &Value::from(1)));
    }
}
