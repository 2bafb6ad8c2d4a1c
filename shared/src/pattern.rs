//! Event patterns: the language of an Amazon EventBridge rule, here for a playbook's `match`.
//!
//! A pattern has the form of the documents it matches. Every field that it names must match (and), by any of the values
//! that it lists (or); fields it does not name do not count. It means here what it means in AWS: the operators of
//! <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html>, read as AWS's own
//! implementation does, Event Ruler (<https://github.com/aws/event-ruler>):
//!
//! - Only leaves match: texts, numbers, booleans, null. An empty list or object is the same as no field at all.
//! - Lists in a document are looked through, at any depth: a field matches if any of its values does. Fields found inside
//!   different elements of one list never match together.
//! - `anything-but` matches a value of any type that is not among those listed, but needs one to be there.
//! - A text that is an IP address matches the same address written otherwise.
//! - Numbers are compared by value, to six decimal places, from -5e9 to 5e9; beyond that only an equal literal matches.
//! - A name with dots is the same as the names nested, in patterns and documents alike.
//!
//! Where AWS accepts what can only be a mistake (a CIDR block with host bits, read there as a range from that very
//! address), this is an error here.

mod document;
mod parse;
mod test;

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde_json::Value;

use document::{Document, Membership};
use test::Test;

/// A value that is not an event pattern: where in it, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{why}", if path.is_empty() { String::new() } else { format!("`{}`: ", path.join(".")) })]
pub struct PatternError {
    /// The way to the offending part: names, and numbers of list elements from 0.
    pub path: Vec<String>,
    /// What is wrong with it.
    pub why: String,
}

/// Why a document does not match, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The first field that does not match, of the alternative that comes nearest; its names joined by dots.
    pub path: String,
    /// What the pattern wants there, as JSON.
    pub wanted: String,
    /// What the document has there.
    pub found: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "the document" } else { &self.path };
        write!(f, "`{path}` is {}, wanted is {}", self.found, self.wanted)
    }
}

/// An event pattern that has been read.
#[derive(Clone)]
pub struct Pattern {
    json: Value,
    /// Each `$or` written out: it matches when all fields of one of these do.
    alternatives: Vec<Alternative>,
}

/// Fields by their names joined by dots, in the order in which AWS looks at them.
type Alternative = BTreeMap<String, Arc<Field>>;

/// What a pattern says of one field.
#[derive(Debug)]
struct Field {
    /// It matches by any of these.
    tests: Vec<Test>,
    /// The list as it was written.
    json: Value,
}

impl Pattern {
    /// Reads an event pattern.
    ///
    /// # Errors
    /// The first thing in it that EventBridge would refuse, or that cannot mean what it says.
    pub fn parse(json: &Value) -> Result<Self, PatternError> {
        Self::parse_all(json).map_err(|errors| {
            let nothing = || PatternError { path: Vec::new(), why: "not a pattern".to_owned() };
            errors.into_iter().next().unwrap_or_else(nothing)
        })
    }

    /// Reads an event pattern and reports everything that is wrong with it.
    pub(crate) fn parse_all(json: &Value) -> Result<Self, Vec<PatternError>> {
        parse::parse(json).map(|alternatives| Self { json: json.clone(), alternatives })
    }

    /// Whether this document matches. What is not an object never does.
    #[must_use]
    pub fn matches(&self, document: &Value) -> bool {
        self.document(document)
            .is_some_and(|document| self.alternatives.iter().any(|alternative| first_failure(alternative, &document).is_none()))
    }

    /// Why this document does not match; nothing if it does.
    #[must_use]
    pub fn explain(&self, document: &Value) -> Option<Mismatch> {
        let Some(document) = self.document(document) else {
            let (wanted, found) = ("an object".to_owned(), test::shown(document));
            return Some(Mismatch { path: String::new(), wanted, found });
        };
        let mut nearest: Option<(usize, Mismatch)> = None;
        for alternative in &self.alternatives {
            let (passed, mismatch) = first_failure(alternative, &document)?;
            if nearest.as_ref().is_none_or(|(most, _)| passed > *most) {
                nearest = Some((passed, mismatch));
            }
        }
        nearest.map(|(_, mismatch)| mismatch)
    }

    /// The pattern as JSON, to be given to an EventBridge rule.
    #[must_use]
    pub fn to_json(&self) -> Value {
        self.json.clone()
    }

    /// The fields it looks at, each as its names joined by dots, sorted.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.alternatives.iter().flat_map(BTreeMap::keys).map(String::as_str).collect::<std::collections::BTreeSet<_>>().into_iter()
    }

    fn document<'d>(&self, document: &'d Value) -> Option<Document<'d>> {
        let names = self.alternatives.iter().flat_map(BTreeMap::keys).map(String::as_str).collect();
        Document::flatten(document, &names)
    }
}

/// The first field of `alternative` that cannot match together with those before it, and how many those are.
///
/// As Event Ruler does, fields are taken in the order of their names, and after each one what is remembered is in which
/// elements of which lists the values were found so far. Lists that no later field lies in are forgotten, so that the
/// work grows with the document's size and not with the product of its lists.
fn first_failure(alternative: &Alternative, document: &Document<'_>) -> Option<(usize, Mismatch)> {
    let mut states: std::collections::BTreeSet<Membership> = [Membership::default()].into();
    let mut rest = alternative.iter();
    let mut passed = 0;
    while let Some((path, field)) = rest.next() {
        let leaves = document.leaves(path);
        let matching: Vec<_> = leaves.iter().filter(|leaf| field.tests.iter().any(|test| test.matches(leaf.value))).collect();
        let may_be_absent = field.tests.contains(&Test::Exists(false));
        let later = document.lists_of(rest.clone().map(|(path, _)| path.as_str()));
        let mut next = std::collections::BTreeSet::new();
        for state in &states {
            next.extend(matching.iter().filter_map(|leaf| state.join(&leaf.membership)).map(|joined| joined.only(&later)));
            if may_be_absent && !leaves.iter().any(|leaf| state.join(&leaf.membership).is_some()) {
                next.insert(state.only(&later));
            }
        }
        if next.is_empty() {
            let mut found = if leaves.is_empty() {
                "missing".to_owned()
            } else {
                leaves.iter().take(8).map(|leaf| test::shown(leaf.value)).collect::<Vec<_>>().join(", ")
            };
            if leaves.len() > 8 {
                found.push_str(", …");
            }
            if !matching.is_empty() {
                found.push_str(" (not in the same element as the fields before)");
            }
            return Some((passed, Mismatch { path: path.clone(), wanted: field.json.to_string(), found }));
        }
        states = next;
        passed += 1;
    }
    None
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.json == other.json
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.json, f)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({})", self.json)
    }
}

#[cfg(test)]
mod tests;
