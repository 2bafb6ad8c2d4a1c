//! Intake: from bytes to findings.
//!
//! [`documents`] cuts a stream into JSON documents without holding more than one of them; [`read`] unwraps a document
//! (SQS, SNS, EventBridge, API responses, lists) and reads each finding in it. Both are pure, neither panics, and
//! whatever goes in comes out as an [`Item`] or a [`Rejection`]: nothing is lost silently.
//!
//! What a finding *is* gets decided by who may write a field. A member account can set `Severity`, `Types`, `Workflow`
//! and `Note` of a Security Hub finding (`BatchUpdateFindings`), or import findings of its own under
//! `product/<its account>/default`. Hence the provider is read from the product's ARN alone, type and severity from
//! `FindingProviderFields` and `ProductFields`, and a finding of a product that is not AWS's own has the product in its
//! id: nobody can take the id of a GuardDuty finding and have the real one dropped as a repetition.

use std::{fmt, io::BufRead};

use crate::{finding::Finding, trail::Record};

mod asff;
pub mod codes;
mod common;
mod control;
mod document;
mod envelope;
mod guardduty;
mod inspector;
mod kind;
mod ocsf;
mod product;
mod service;
mod severity;
mod subject;
mod value;

#[cfg(test)]
mod corpus_tests;
#[cfg(test)]
mod tests;

pub use document::{Document, Documents, MAX_DEPTH, MAX_DOCUMENT_BYTES, documents};
pub use envelope::read;
pub use kind::native as native_type;
pub use product::{imported_by, reserved};

/// Everything that an input holds, in its order: [`documents`] and [`read`] in one. What cannot be read is among the items, rejected;
/// an input without any item is empty. Documents are read as the items are taken.
pub fn items<R: BufRead>(reader: R, input: &str) -> impl Iterator<Item = (Origin, Item)> + use<R> {
    documents(reader, input, MAX_DOCUMENT_BYTES).flat_map(|document| match document {
        Ok(document) => read(&document),
        Err((origin, rejection)) => vec![(origin, Item::Rejected(rejection))],
    })
}

/// Where a document began.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The file's name, `-` for standard input, or a queue's name.
    pub input: String,
    /// The line it begins on, from 1.
    pub line: u64,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.input, self.line)
    }
}

/// What one piece of input turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// A finding.
    Finding(Box<Finding>),
    /// A well-formed document that is known not to be a finding: another service's event, a CloudTrail record.
    NotAFinding {
        /// What it is, in a few words.
        what: String,
        /// The call, where it is CloudTrail's record of one: it answers nothing, but it may be of Cordon's own roles.
        record: Option<Box<Record>>,
    },
    /// It should have been a finding, and cannot be used.
    Rejected(Rejection),
}

/// Why a piece of input cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {reason}")]
pub struct Rejection {
    /// One of [`codes`].
    pub code: &'static str,
    /// For the reader: what is wrong, where (a JSON path, or line and column), and what to do.
    pub reason: String,
}

impl Rejection {
    /// A rejection with one of [`codes`].
    #[must_use]
    pub fn new(code: &'static str, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }
}
