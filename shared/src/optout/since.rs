//! Since when an opt-out is there, as far as that is known.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is known of when an opt-out appeared. No member can make it older than it is: not known counts as old all the same, and says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "known")]
pub enum Since {
    /// Cordon itself read the tags before and after.
    Sighted {
        /// When it was last seen without an opt-out; `None`: it never was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<String>")]
        without: Option<Timestamp>,
        /// When it was first seen with one.
        #[schemars(with = "String")]
        with: Timestamp,
    },
    /// CloudTrail has the call that set the tag.
    Recorded {
        /// When.
        #[schemars(with = "String")]
        at: Timestamp,
        /// `ec2:CreateTags`.
        call: String,
        /// The ARN of who called.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
        /// From which address.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<String>,
        /// CloudTrail's id of the record.
        event: String,
    },
    /// Nobody knows.
    Unknown {
        /// Why.
        why: String,
    },
}

impl Since {
    /// The earliest time at which it is known to have been there.
    #[must_use]
    pub fn first_seen(&self) -> Option<Timestamp> {
        match self {
            Self::Sighted { with, .. } => Some(*with),
            Self::Recorded { at, .. } => Some(*at),
            Self::Unknown { .. } => None,
        }
    }

    /// Whether it is known to have appeared after an attack began.
    #[must_use]
    pub fn came_after(&self, began: Timestamp) -> bool {
        match self {
            Self::Sighted { without, .. } => without.is_some_and(|without| without >= began),
            Self::Recorded { at, .. } => *at > began,
            Self::Unknown { .. } => false,
        }
    }

    /// For people: whether it came after the attack began, and how that is known.
    #[must_use]
    pub fn words(&self, began: Timestamp) -> String {
        let how = match self {
            Self::Unknown { why } => return format!("since when is not known: {why}"),
            Self::Sighted { without: Some(without), with } => {
                format!("Cordon saw it without an opt-out at {without:.0} and with one at {with:.0}; by whom is not known")
            }
            Self::Sighted { without: None, with } => format!("Cordon saw it at {with:.0}"),
            Self::Recorded { at, call, by, address, event } => {
                let by = by.as_ref().map_or_else(|| "somebody whom the record does not name".to_owned(), Clone::clone);
                let from = address.as_ref().map(|address| format!(" from {address}")).unwrap_or_default();
                format!("set at {at:.0} by {by}{from} ({call}, CloudTrail record {event})")
            }
        };
        match self.came_after(began) {
            true => format!("it appeared after the attack began at {began:.0}: {how}"),
            false => format!("it was there before the attack began at {began:.0}: {how}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn only_what_is_known_to_have_come_later_is_new() {
        let (before, began, after) = (at("2026-11-24T11:00:00Z"), at("2026-11-24T12:00:00Z"), at("2026-11-24T12:05:00Z"));
        let recorded =
            |at| Since::Recorded { at, call: "ec2:CreateTags".into(), by: Some("arn:x".into()), address: None, event: "e-1".into() };
        let sighted = |without, with| Since::Sighted { without, with };
        for (since, new) in [
            (recorded(after), true),
            (recorded(before), false),
            (recorded(began), false),
            (sighted(Some(began), after), true),
            (sighted(Some(before), after), false),
            (sighted(None, before), false),
            (sighted(None, after), false),
            (Since::Unknown { why: "no record".into() }, false),
        ] {
            assert_eq!(since.came_after(began), new, "{since:?}");
            assert_eq!(since.words(began).contains("appeared after the attack began"), new, "{since:?}");
            let text = serde_json::to_string(&since).unwrap();
            assert_eq!(serde_json::from_str::<Since>(&text).unwrap(), since);
        }
        let told = recorded(after).words(began);
        assert!(told.contains("set at 2026-11-24T12:05:00Z by arn:x") && told.contains("ec2:CreateTags"), "{told}");
    }
}
