//! What Cordon saw of opt-out tags, and when: by it an opt-out that appears while it looks is known to be new.
//!
//! Kept of accounts, of the OUs above them, of the subjects of incidents, of what steps plan to change, and of what carries an opt-out that a
//! plan met. What was not seen for [`KEPT`] is forgotten.

use jiff::{SignedDuration, Timestamp};

use super::{JournalError, Tx};
use crate::optout::Since;

/// How long something that is not seen any more is remembered: as long as CloudTrail's event history reaches back.
pub const KEPT: SignedDuration = SignedDuration::from_hours(90 * 24);
/// How often the same is written again at most.
const AGAIN: SignedDuration = SignedDuration::from_secs(60);

/// What the tag was, and when it was seen so. A read has two ends: `first` is the end of the first one, `last` the beginning of the last
/// one, so that neither claims more than was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The tag's value; `None`: there was none.
    pub value: Option<String>,
    /// When it was first seen so.
    pub first: Timestamp,
    /// When it was last seen so.
    pub last: Timestamp,
}

/// What is remembered of one account, OU or resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// As it is.
    pub now: Seen,
    /// As it was before it became so; `None`: it was never seen otherwise.
    pub before: Option<Seen>,
}

/// A look at a tag: whose (an ARN, or the id of an account or OU), its value, and when the read began and ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Whose tag.
    pub whose: String,
    /// Its value; `None`: there is none.
    pub value: Option<String>,
    /// When the read began.
    pub from: Timestamp,
    /// When it had ended.
    pub until: Timestamp,
}

/// Notes a look, and gives what is known with it. A look older than what is known changes nothing.
///
/// # Errors
/// Those of the store.
pub fn note(tx: &mut dyn Tx, look: &Look) -> Result<Sighting, JournalError> {
    let fresh = || Seen { value: look.value.clone(), first: look.until, last: look.from };
    let sighting = match tx.sighting(&look.whose)? {
        Some(known) if look.from < known.now.last => return Ok(known),
        Some(known) if known.now.value == look.value => {
            if look.from.duration_since(known.now.last) < AGAIN {
                return Ok(known);
            }
            Sighting { now: Seen { last: look.from, ..known.now }, before: known.before }
        }
        Some(known) => Sighting { now: fresh(), before: Some(known.now) },
        None => Sighting { now: fresh(), before: None },
    };
    tx.save_sighting(&look.whose, &sighting)?;
    tx.forget_sightings(look.from.checked_sub(KEPT).unwrap_or(Timestamp::MIN))?;
    Ok(sighting)
}

impl Sighting {
    /// What it says of an opt-out that is read as `value` now, for an attack that `began` then. `None`: it does not tell.
    #[must_use]
    pub fn since(&self, value: &str, began: Timestamp, opts_out: impl Fn(&str) -> bool) -> Option<Since> {
        if self.now.value.as_deref() != Some(value) {
            return None;
        }
        let before = self.before.as_ref();
        if let Some(before) = before.filter(|before| before.value.as_deref().is_some_and(opts_out)) {
            // Opted out in other words before: when that began is not remembered, unless it was there when the attack began.
            return (before.first <= began).then_some(Since::Sighted { without: None, with: before.first });
        }
        let without = before.map(|before| before.last);
        let tells = self.now.first <= began || without.is_some_and(|without| without >= began);
        tells.then_some(Since::Sighted { without, with: self.now.first })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::mem::Tables;

    fn at(minute: i64) -> Timestamp {
        "2026-11-24T12:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_mins(minute)
    }
    fn look(tables: &mut Tables, value: Option<&str>, minute: i64) -> Sighting {
        let from = at(minute);
        let look = Look { whose: "i-1".into(), value: value.map(str::to_owned), from, until: from + SignedDuration::from_secs(5) };
        note(tables, &look).unwrap()
    }
    fn says(sighting: &Sighting, value: &str) -> Option<bool> {
        sighting.since(value, at(0), |value| value != "false").map(|since| since.came_after(at(0)))
    }

    #[test]
    fn a_tag_that_appears_while_cordon_looks_is_new() {
        let mut tables = Tables::default();
        look(&mut tables, None, 1);
        assert_eq!(says(&look(&mut tables, Some("true"), 3), "true"), Some(true));
        // From a value that does not opt out to one that does, likewise.
        let mut tables = Tables::default();
        look(&mut tables, Some("false"), 1);
        let seen = look(&mut tables, Some("true"), 3);
        assert_eq!(says(&seen, "true"), Some(true));
        assert_eq!(says(&seen, "yes"), None, "another value than the one that was seen");
    }

    #[test]
    fn a_tag_that_was_there_before_the_attack_is_old() {
        let mut tables = Tables::default();
        look(&mut tables, None, -60);
        look(&mut tables, Some("true"), -30);
        assert_eq!(says(&look(&mut tables, Some("true"), 3), "true"), Some(false));
        assert_eq!(says(&look(&mut tables, Some("yes"), 5), "yes"), Some(false), "in other words");
    }

    #[test]
    fn what_was_first_seen_with_it_or_may_have_got_it_before_the_attack_tells_nothing() {
        let mut tables = Tables::default();
        assert_eq!(says(&look(&mut tables, Some("true"), 1), "true"), None);
        let mut tables = Tables::default();
        look(&mut tables, None, -60);
        assert_eq!(says(&look(&mut tables, Some("true"), 1), "true"), None);
    }

    #[test]
    fn an_older_look_changes_nothing_and_what_is_not_seen_any_more_is_forgotten() {
        let mut tables = Tables::default();
        look(&mut tables, Some("true"), 10);
        assert_eq!(look(&mut tables, None, 5).now.value.as_deref(), Some("true"));
        let from = at(10) + KEPT + SignedDuration::from_mins(1);
        note(&mut tables, &Look { whose: "i-2".into(), value: None, from, until: from }).unwrap();
        assert_eq!(tables.sightings.keys().collect::<Vec<_>>(), ["i-2"]);
    }
}
