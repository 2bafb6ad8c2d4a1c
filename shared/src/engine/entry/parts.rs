//! What entries are made of.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    finding::{FindingId, Version},
    id::IncidentId,
    plan::{ChangeKey, StepKey},
};

/// Why a step or a run stops and waits for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// A stable word: `opted-out`, `cap-spent`, `role-missing`, …
    pub code: String,
    /// A sentence for the reader.
    pub why: String,
}

/// A finding as a run keeps it: the normalised document, and where its raw bytes are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FindingNote {
    /// Its identity.
    pub id: FindingId,
    /// Its version.
    pub version: Version,
    /// Where it came from, `file:line` or the queue's name.
    pub input: String,
    /// The normalised finding, as patterns and expressions see it.
    pub finding: Value,
    /// SHA-256 of the raw document in the evidence store.
    pub raw_sha256: String,
}

/// Who a person is. The way it was proven is the driver's business.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person(pub String);

/// Why something is undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "cause")]
pub enum UndoCause {
    /// A person asked for it.
    Person {
        /// Who.
        by: Person,
        /// Whether it was asked for with all that the run changed: such an undo stops at the first thing that it may not touch.
        #[serde(default, skip_serializing_if = "super::is_false")]
        whole: bool,
    },
    /// Its time is over.
    Ttl,
}

impl UndoCause {
    /// Whether a person asked for all that the run changed.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        matches!(self, Self::Person { whole: true, .. })
    }
}

/// An attribute, and the step whose `before` restores it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ClaimFrom {
    /// The attribute.
    pub key: ChangeKey,
    /// The run that changed it.
    pub run: IncidentId,
    /// The step that changed it.
    pub step: StepKey,
}
