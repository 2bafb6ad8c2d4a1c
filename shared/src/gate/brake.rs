//! The brake of a warrant: a freeze that comes after the yes stops what has not left yet.

use crate::{
    freeze::{self, Deed, Freeze, Place},
    journal::Journal,
};

/// Looks in the journal for freezes that stop one piece of work. They may be written by any process.
#[derive(Debug, Clone)]
pub struct Brake {
    journal: Journal,
    place: Place,
    deed: Deed,
}

impl Brake {
    pub(super) fn new(journal: &Journal, place: Place, deed: Deed) -> Self {
        Self { journal: journal.clone(), place, deed }
    }

    /// What of these freezes stops it, in words.
    #[must_use]
    pub fn stops(&self, standing: &[Freeze]) -> Option<String> {
        freeze::stops(standing, &self.place, self.deed)
    }

    /// Why no changing call may leave now. A journal that cannot be read stops it too.
    pub async fn pulled(&self) -> Option<String> {
        match self.journal.freezes().await {
            Ok(standing) => self.stops(&standing),
            Err(error) => Some(format!("whether it is frozen cannot be read: {error}")),
        }
    }
}
