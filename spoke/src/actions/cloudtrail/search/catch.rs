//! What a place gave: records, and what is kept of them as evidence.

use std::collections::HashSet;

use cordon_shared::trail::{Record, redact};
use serde_json::Value;

use super::{Wanted, Window};

/// Most bytes of records that are kept of one place.
const BYTES: usize = 16 << 20;

/// Records of one place.
#[derive(Debug, Default)]
pub(super) struct Catch {
    pub records: Vec<Record>,
    /// The same as they came, without secrets.
    pub raw: Vec<Value>,
    /// How many are not in `raw`, for want of space.
    pub left_out: usize,
    bytes: usize,
    seen: HashSet<String>,
}

impl Catch {
    /// Takes a record in, where it is wanted and new.
    pub fn take(&mut self, text: &str, wanted: &Wanted<'_>, window: Window) {
        let Ok(document) = serde_json::from_str::<Value>(text) else { return };
        let Some(record) = Record::read(&document) else { return };
        let outside = record.at.is_some_and(|at| at < window.since || at > window.until);
        if outside || !wanted.matches(&record) || (!record.id.is_empty() && !self.seen.insert(record.id.clone())) {
            return;
        }
        if self.bytes < BYTES {
            self.bytes += text.len();
            self.raw.push(redact(&document));
        } else {
            self.left_out += 1;
        }
        self.records.push(record);
    }

    /// Whether no more are to be read.
    pub fn is_full(&self, most: usize) -> bool {
        self.records.len() >= most
    }
}
