//! Tables for people: the incidents, fitted to the terminal, and the same bytes every time where there is none.

use std::env;

use comfy_table::{Cell, ColumnConstraint, ContentArrangement, Table, presets};
use cordon_shared::{arn::Arn, engine::RunState, journal::RunRow};

use crate::text::safe;

/// How a table is to look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Look {
    /// Columns of the terminal; `None`: as wide as it needs to be.
    pub width: Option<u16>,
    /// Whether states are coloured.
    pub colour: bool,
}

impl Look {
    /// How it looks on this output. Off a terminal (a pipe, a file) there is no colour and nothing is wrapped. `NO_COLOR`
    /// (<https://no-color.org>, any value but an empty one) and `TERM=dumb` take the colour away; where the terminal's `width` is not
    /// known, `COLUMNS` is asked.
    #[must_use]
    pub fn of(is_terminal: bool, width: Option<u16>) -> Self {
        Self::with(is_terminal, width, |name| env::var(name).ok())
    }

    fn with(is_terminal: bool, width: Option<u16>, variable: impl Fn(&str) -> Option<String>) -> Self {
        if !is_terminal {
            return Self::default();
        }
        let no_colour = variable("NO_COLOR").is_some_and(|value| !value.is_empty()) || variable("TERM").is_some_and(|term| term == "dumb");
        let width = width.or_else(|| variable("COLUMNS").and_then(|columns| columns.trim().parse().ok()));
        Self { width: Some(width.unwrap_or(120).max(40)), colour: !no_colour }
    }
}

/// How much of a reason the table shows; `cordon incident show` has the whole.
const REASON: usize = 120;

/// One line of the table of incidents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncidentRow {
    /// The id; `-` for a finding that was ignored.
    pub incident: String,
    /// The state's word.
    pub state: String,
    /// The playbook.
    pub playbook: String,
    /// The account.
    pub account: String,
    /// The Region.
    pub region: String,
    /// The subject, without what the account and Region say already.
    pub subject: String,
    /// The reason.
    pub reason: String,
}

impl From<&RunRow> for IncidentRow {
    fn from(row: &RunRow) -> Self {
        Self {
            incident: row.run.to_string(),
            state: row.state.to_string(),
            playbook: row.playbook.clone(),
            account: row.account.clone(),
            region: row.region.clone(),
            subject: short(&row.subject),
            reason: crate::text::cut(&row.reason, REASON),
        }
    }
}

/// The resource of an ARN without its type; anything else as it is.
fn short(subject: &str) -> String {
    subject.parse::<Arn>().map_or_else(|_| subject.to_owned(), |arn| arn.resource_id().to_owned())
}

/// The table of incidents: incident, state, playbook, account, region, subject, reason. Ends without a line break; empty for no rows.
#[must_use]
pub fn incidents(rows: &[IncidentRow], look: Look) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let header = ["incident", "state", "playbook", "account", "region", "subject", "reason"];
    let cells = rows
        .iter()
        .map(|row| [&row.incident, &row.state, &row.playbook, &row.account, &row.region, &row.subject, &row.reason].map(|text| safe(text)));
    let mut table = plain(&header, cells, look);
    // What is copied from the table stays whole: id, state, playbook, account and Region are never wrapped.
    for (index, column) in table.column_iter_mut().enumerate() {
        if index <= 4 {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    let widths = table.column_max_content_widths();
    let text = trimmed(&table);
    if !look.colour {
        return text;
    }
    // Columns stand two blanks apart, and the first two are never wrapped: the state begins behind the first.
    let from = usize::from(widths.first().copied().unwrap_or_default()) + 2;
    let width = usize::from(widths.get(1).copied().unwrap_or_default());
    text.lines().map(|line| coloured(line, from, width)).collect::<Vec<_>>().join("\n")
}

/// Any table in Cordon's style: a header, no borders, two blanks between columns. Cells must be [`safe`].
#[must_use]
pub fn plain<R, C>(header: &[&str], rows: impl IntoIterator<Item = R>, look: Look) -> Table
where
    R: IntoIterator<Item = C>,
    C: Into<String>,
{
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.iter().map(|name| Cell::new(name.to_uppercase())));
    for row in rows {
        table.add_row(row.into_iter().map(|cell| Cell::new(cell.into())));
    }
    match look.width {
        Some(width) => table.set_width(width).set_content_arrangement(ContentArrangement::Dynamic),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// A table's text without blanks at the ends of lines.
#[must_use]
pub fn trimmed(table: &Table) -> String {
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// The line with the state in it coloured. Ids and states are ASCII, so that letters are bytes there.
fn coloured(line: &str, from: usize, width: usize) -> String {
    let to = (from + width).min(line.len());
    let parts = line.get(..from).zip(line.get(from..to)).zip(line.get(to..));
    let Some(((before, cell), after)) = parts else { return line.to_owned() };
    let word = cell.trim_end();
    let Some(colour) = colour(word) else { return line.to_owned() };
    let blanks = " ".repeat(cell.len() - word.len());
    format!("{before}\u{1b}[{colour}m{word}\u{1b}[0m{blanks}{after}")
}

/// The colour of a state (ECMA-48, Select Graphic Rendition).
fn colour(word: &str) -> Option<&'static str> {
    let states = [
        (RunState::Planned, "36"),
        (RunState::Running, "34"),
        (RunState::Waiting, "33"),
        (RunState::Held, "33"),
        (RunState::Ignored, "2"),
        (RunState::Contained, "32"),
        (RunState::Closed, "32"),
        (RunState::Undone, "36"),
        (RunState::Failed, "31"),
        (RunState::Stuck, "1;31"),
    ];
    states.into_iter().find(|(state, _)| state.as_str() == word).map(|(_, colour)| colour)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<IncidentRow> {
        let row = |state: &str, subject: &str, reason: &str| IncidentRow {
            incident: "inc-00000000000000000000000000000001".into(),
            state: state.into(),
            playbook: "ec2-brute-force".into(),
            account: "111122223333".into(),
            region: "us-east-1".into(),
            subject: subject.into(),
            reason: reason.into(),
        };
        vec![
            row("contained", "i-0abc", "`block-source` is undone at 2026-11-25T12:00:05Z"),
            row("held", "i-0def", "r-x is opted out by its tag, value `\u{1b}[2Jtrue` and a long reason that has to be wrapped somewhere"),
        ]
    }

    #[test]
    fn off_a_terminal_it_is_plain_and_each_incident_one_line() {
        let text = incidents(&rows(), Look::of(false, Some(20)));
        assert_eq!(
            text,
            "INCIDENT                              STATE      PLAYBOOK         ACCOUNT       REGION     SUBJECT  REASON\n\
             inc-00000000000000000000000000000001  contained  ec2-brute-force  111122223333  us-east-1  i-0abc   `block-source` is undone at 2026-11-25T12:00:05Z\n\
             inc-00000000000000000000000000000001  held       ec2-brute-force  111122223333  us-east-1  i-0def   r-x is opted out by its tag, value `\\u{1b}[2Jtrue` and a long reason that has to be wrapped somewhere"
        );
        assert_eq!(incidents(&[], Look::default()), "");
    }

    #[test]
    fn on_a_terminal_it_fits_and_ids_stay_whole() {
        let text = incidents(&rows(), Look { width: Some(130), colour: false });
        assert!(text.lines().count() > 3, "{text}");
        for line in text.lines() {
            assert!(line.chars().count() <= 130, "{line}");
        }
        assert_eq!(text.matches("inc-00000000000000000000000000000001").count(), 2, "{text}");
    }

    #[test]
    fn a_state_is_coloured_and_nothing_else() {
        let (with, without) = (Look { width: Some(130), colour: true }, Look { width: Some(130), colour: false });
        let text = incidents(&rows(), with);
        assert!(text.contains("\u{1b}[32mcontained\u{1b}[0m ") && text.contains("\u{1b}[33mheld\u{1b}[0m "), "{text}");
        let stripped = ["32", "33", "0"].iter().fold(text, |text, code| text.replace(&format!("\u{1b}[{code}m"), ""));
        assert_eq!(stripped, incidents(&rows(), without));
    }

    #[test]
    fn no_color_and_dumb_terminals_are_honoured() {
        let ask = |set: &[(&str, &str)]| {
            let set: Vec<(String, String)> = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            Look::with(true, None, move |name| set.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()))
        };
        assert!(ask(&[]).colour && ask(&[("NO_COLOR", "")]).colour);
        assert!(!ask(&[("NO_COLOR", "1")]).colour && !ask(&[("TERM", "dumb")]).colour);
        assert_eq!(ask(&[("COLUMNS", "97")]).width, Some(97));
    }

    #[test]
    fn a_subject_is_shown_by_its_id() {
        assert_eq!(short("arn:aws:ec2:us-east-1:111122223333:instance/i-0abc"), "i-0abc");
        assert_eq!(short("AKIAEXAMPLE"), "AKIAEXAMPLE");
    }
}
