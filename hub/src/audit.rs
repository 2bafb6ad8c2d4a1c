//! `cordon audit verify`: checks a state directory from its files alone, also while a service works in it. It reads, and changes nothing.
//!
//! What it can show: an entry that was changed, put elsewhere or cut off; a run that was removed after an anchor held it; an anchor that was
//! changed; evidence that was changed or removed. Whoever can rewrite the whole directory can also compute all hashes anew: against that only
//! the newest anchor's hash helps, kept elsewhere and compared with [`AuditReport::anchor`].

mod files;
mod runs;

use std::{collections::BTreeMap, fmt, path::Path};

use cordon_shared::journal::JournalError;
use serde::Serialize;

/// Something that is not as Cordon left it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// What it is, a stable word: `run-removed`, `chain-broken`, …
    pub what: &'static str,
    /// Where: an incident, an entry of it, an anchor, a file.
    #[serde(rename = "where")]
    pub place: String,
    /// Why it is one.
    pub why: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.what, self.place, self.why)
    }
}

/// What was looked at and what was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AuditReport {
    /// Runs read.
    pub runs: u64,
    /// Entries read.
    pub entries: u64,
    /// Anchors read.
    pub anchors: u64,
    /// Items of evidence read.
    pub evidence_files: u64,
    /// The newest anchor's hash, to compare with one kept elsewhere.
    pub anchor: Option<String>,
    /// What is wrong. Empty: nothing.
    pub problems: Vec<Problem>,
}

impl AuditReport {
    fn problem(&mut self, what: &'static str, place: impl Into<String>, why: impl Into<String>) {
        self.problems.push(Problem { what, place: place.into(), why: why.into() });
    }
}

/// An item of evidence that entries speak of, and the first place that does.
type Referred = BTreeMap<String, String>;

/// Checks the state directory `dir`: every run's chain, the anchors, and the evidence.
///
/// # Errors
/// When there is no journal or it cannot be opened at all. What can be opened is reported on.
pub fn verify(dir: &Path) -> Result<AuditReport, JournalError> {
    let mut report = AuditReport::default();
    let mut referred = Referred::new();
    // The journal first: what its entries speak of was kept before they were written.
    runs::check(dir, &mut report, &mut referred)?;
    files::check(dir, &mut report, &referred);
    Ok(report)
}

#[cfg(test)]
mod tests;
