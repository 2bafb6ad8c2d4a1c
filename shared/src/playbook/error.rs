//! What is wrong with a playbook, shown where it is wrong.

use std::{fmt, ops::Range, sync::Arc};

/// One thing that is wrong with a playbook. Displayed, it is a picture of the place, with carets under the offending text.
#[derive(Clone, PartialEq, Eq)]
pub struct PlaybookError {
    /// The name of the file.
    pub file: String,
    /// The whole text of it.
    pub source: Arc<str>,
    /// The offending bytes of the text.
    pub at: Range<usize>,
    /// What is wrong with them.
    pub why: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl PlaybookError {
    /// Line and column, both from 1, the column in characters.
    #[must_use]
    pub fn line_and_column(&self) -> (usize, usize) {
        let place = self.place();
        (place.line_number, place.before.chars().count() + 1)
    }

    fn place(&self) -> Place<'_> {
        let start = floor(&self.source, self.at.start);
        let end = floor(&self.source, self.at.end).max(start);
        let before = self.source.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let rest = self.source.get(start..).unwrap_or_default();
        let line_end = start + rest.find('\n').unwrap_or(rest.len());
        Place {
            line_number: before.matches('\n').count() + 1,
            line: self.source.get(line_start..line_end).unwrap_or_default().trim_end_matches('\r'),
            before: self.source.get(line_start..start).unwrap_or_default(),
            marked: self.source.get(start..end.min(line_end)).unwrap_or_default().trim_end_matches('\r'),
        }
    }
}

struct Place<'s> {
    line_number: usize,
    line: &'s str,
    before: &'s str,
    marked: &'s str,
}

/// The nearest boundary of a character at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// What is shown for a character, so that a picture keeps its columns and no control character reaches a terminal.
fn shown(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

impl fmt::Display for PlaybookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place();
        let number = place.line_number.to_string();
        let gutter = " ".repeat(number.len());
        let (column, carets) = (place.before.chars().count(), place.marked.chars().count().max(1));
        let one_line = |text: &str| -> String { text.chars().map(shown).collect() };
        writeln!(f, "error: {}", one_line(&self.why))?;
        writeln!(f, "{gutter}--> {}:{number}:{}", one_line(&self.file), column + 1)?;
        writeln!(f, "{gutter} |")?;
        writeln!(f, "{}", format!("{number} | {}", one_line(place.line)).trim_end())?;
        write!(f, "{gutter} | {}{}", " ".repeat(column), "^".repeat(carets))?;
        match &self.help {
            Some(help) => write!(f, "\n{gutter} = help: {}", one_line(help)),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for PlaybookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, at, why, help, .. } = self;
        f.debug_struct("PlaybookError").field("file", file).field("at", at).field("why", why).field("help", help).finish_non_exhaustive()
    }
}

impl std::error::Error for PlaybookError {}
