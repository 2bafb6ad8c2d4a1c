//! The hash chain of a run: each entry's hash covers the one before it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{JournalError, canonical};
use crate::{engine::Entry, id::IncidentId};

/// A chain that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the chain of {run} breaks at entry {seq}: {why}")]
pub struct ChainError {
    /// The run.
    pub run: IncidentId,
    /// The first entry that does not fit.
    pub seq: u64,
    /// What does not fit.
    pub why: String,
}

/// An entry in its chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sealed {
    /// Counts from 1 in each run.
    pub seq: u64,
    /// When it was written.
    pub at: Timestamp,
    /// What happened.
    pub entry: Entry,
    /// The hash of the entry before, empty for the first.
    pub prev: String,
    /// SHA-256 over run, number, time, entry and `prev`.
    pub hash: String,
}

impl Sealed {
    /// Seals an entry behind `prev`. The keys of what it holds are sorted from here on: it is one text, whoever put it together.
    ///
    /// # Errors
    /// When the entry cannot be written as JSON, or would not read back.
    pub fn new(run: IncidentId, seq: u64, at: Timestamp, entry: Entry, prev: &str) -> Result<Self, JournalError> {
        let body = canonical(&entry)?;
        let hash = digest(run, seq, at, &body, prev);
        let entry = serde_json::from_value(body)
            .map_err(|error| JournalError::Store(format!("entry {seq} of {run} would not read back: {error}")))?;
        Ok(Self { seq, at, entry, prev: prev.to_owned(), hash })
    }
}

fn digest(run: IncidentId, seq: u64, at: Timestamp, body: &Value, prev: &str) -> String {
    let body = body.to_string();
    let mut sha = Sha256::new();
    for part in [run.to_string().as_str(), "\n", &seq.to_string(), "\n", &at.to_string(), "\n", prev, "\n", &body] {
        sha.update(part.as_bytes());
    }
    hex::encode(sha.finalize())
}

/// Checks a run's whole chain and gives back its head.
///
/// # Errors
/// [`ChainError`] at the first entry whose number, link or hash does not fit.
pub fn verify(run: IncidentId, entries: &[Sealed]) -> Result<String, JournalError> {
    let mut prev = String::new();
    for (expected, sealed) in (1_u64..).zip(entries) {
        let broken = |why: String| ChainError { run, seq: sealed.seq, why };
        if sealed.seq != expected {
            return Err(broken(format!("entry {expected} is missing")).into());
        }
        if sealed.prev != prev {
            return Err(broken("it does not follow the entry before it".to_owned()).into());
        }
        if digest(run, sealed.seq, sealed.at, &canonical(&sealed.entry)?, &prev) != sealed.hash {
            return Err(broken("its content was changed".to_owned()).into());
        }
        prev.clone_from(&sealed.hash);
    }
    Ok(prev)
}
