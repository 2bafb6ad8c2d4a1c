//! A yes of a person, as a step keeps it.

use jiff::Timestamp;

use super::entry::Person;

/// A yes of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// The plan it was given for.
    pub digest: String,
    /// Who gave it.
    pub by: Person,
    /// Until when it counts.
    pub expires: Timestamp,
    /// The identity by which it was proven.
    pub identity: String,
}

impl Approval {
    /// Whether it is of this person, by whichever name they go now.
    #[must_use]
    pub fn is_of(&self, by: &Person, identity: &str) -> bool {
        self.by == *by || (!identity.is_empty() && self.identity == identity)
    }
}
