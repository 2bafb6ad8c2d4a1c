//! The opt-out tag: what its value means. An unknown word or a bad date means opted out.

mod since;

use jiff::{Timestamp, civil::Date, tz::TimeZone};

pub use since::Since;

/// What one opt-out tag says to one piece of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptOut {
    /// Whether changes are forbidden.
    pub changes: bool,
    /// Whether even reading is forbidden (`investigate:no`).
    pub investigation: bool,
    /// Something the owner should know: the tag has expired, or a word was not understood.
    pub remark: Option<String>,
}

/// What the work is that asks.
#[derive(Debug, Clone, Copy)]
pub struct Work<'a> {
    /// The playbook's name.
    pub playbook: &'a str,
    /// The action's name; `None` asks for the incident as a whole.
    pub action: Option<&'a str>,
    /// The Region's name.
    pub region: &'a str,
}

/// Reads the tag's `value` for `work` at `now`.
///
/// Empty, `true`, `yes`, `all`: opted out. `false`, `no`, `none`: not. Otherwise words apart by spaces: `playbook:NAME`, `action:NAME`,
/// `region:NAME`, `until:YYYY-MM-DD` (alone: everything until 24:00 UTC of that day; with others it limits those), `investigate:no`.
#[must_use]
pub fn read(value: &str, work: Work<'_>, now: Timestamp) -> OptOut {
    let value = value.trim().to_lowercase();
    match value.as_str() {
        "" | "true" | "yes" | "all" => return OptOut { changes: true, investigation: false, remark: None },
        "false" | "no" | "none" => return OptOut { changes: false, investigation: false, remark: None },
        _ => {}
    }
    let mut scopes = 0_u32;
    let mut hit = false;
    let mut investigate_no = false;
    let mut until: Option<Date> = None;
    let mut wrong: Option<String> = None;
    for word in value.split_whitespace() {
        match word.split_once(':') {
            Some(("playbook", name)) if !name.is_empty() => {
                scopes += 1;
                hit |= name == work.playbook.to_lowercase();
            }
            Some(("action", name)) if !name.is_empty() => {
                scopes += 1;
                hit |= work.action.is_some_and(|action| name == action.to_lowercase());
            }
            Some(("region", name)) if !name.is_empty() => {
                scopes += 1;
                hit |= name == work.region.to_lowercase();
            }
            Some(("until", day)) => match day.parse::<Date>() {
                Ok(day) => until = Some(until.map_or(day, |other| other.max(day))),
                Err(_) => wrong = Some(format!("`{word}` is not a date; read as opted out")),
            },
            Some(("investigate", "no")) => investigate_no = true,
            _ => wrong = Some(format!("`{word}` is not a word of the opt-out tag; read as opted out")),
        }
    }
    if wrong.is_some() {
        return OptOut { changes: true, investigation: investigate_no, remark: wrong };
    }
    if let Some(day) = until {
        let end = day.tomorrow().ok().and_then(|next| next.to_zoned_datetime(TimeZone::UTC).ok()).map(|zoned| zoned.timestamp());
        if end.is_some_and(|end| now >= end) {
            return OptOut { changes: false, investigation: false, remark: Some(format!("the opt-out expired at the end of {day} (UTC)")) };
        }
    }
    OptOut { changes: scopes == 0 || hit, investigation: investigate_no && (scopes == 0 || hit), remark: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }
    fn ask(value: &str) -> OptOut {
        let work = Work { playbook: "ec2-brute-force", action: Some("ec2.block-source-in-nacl"), region: "eu-west-1" };
        read(value, work, at("2026-11-24T12:00:00Z"))
    }

    #[test]
    fn plain_values_are_yes_or_no() {
        for yes in ["", "  ", "true", "YES", "All"] {
            assert!(ask(yes).changes, "{yes:?}");
        }
        for no in ["false", " No ", "none"] {
            assert!(!ask(no).changes, "{no:?}");
        }
    }

    #[test]
    fn words_limit_it_to_a_playbook_an_action_or_a_region() {
        for hit in
            ["playbook:ec2-brute-force", "action:EC2.block-source-in-nacl", "region:eu-west-1", "region:us-east-1 playbook:ec2-brute-force"]
        {
            assert!(ask(hit).changes, "{hit}");
        }
        for miss in ["playbook:open-admin-port", "action:ec2.isolate-instance", "region:us-east-1"] {
            assert!(!ask(miss).changes, "{miss}");
        }
    }

    #[test]
    fn until_holds_to_the_end_of_that_day_and_is_then_reported() {
        assert!(ask("until:2026-11-24").changes);
        let expired = ask("until:2026-11-23");
        assert!(!expired.changes && expired.remark.unwrap().contains("expired"));
        assert!(!ask("until:2026-12-24 playbook:other").changes);
        assert!(ask("until:2026-12-24 playbook:ec2-brute-force").changes);
    }

    #[test]
    fn what_is_not_understood_means_opted_out_and_says_so() {
        for odd in ["ture", "until:soon", "until:2026-02-30", "playbook:", "investigate:maybe", "colour:red"] {
            let read = ask(odd);
            assert!(read.changes && read.remark.is_some(), "{odd}");
        }
    }

    #[test]
    fn investigation_stays_allowed_unless_it_says_no() {
        assert!(!ask("true").investigation);
        assert!(ask("investigate:no").investigation && ask("investigate:no").changes);
        assert!(!ask("investigate:no playbook:other").investigation);
    }
}
