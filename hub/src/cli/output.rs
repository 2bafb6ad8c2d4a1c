//! Writing: the only place that prints. What is told and asked, and JSON, holds nothing that a terminal would obey, whoever wrote it; lines
//! of data are made so by whoever draws them.

use std::io::{IsTerminal as _, Write as _};

use serde::Serialize;

use super::{Failure, Format};
use crate::text;

/// A line of data.
pub(crate) fn line(text: &str) {
    // A reader that has gone away is not our failure.
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}

/// An object of data, on one line.
pub(super) fn object(value: &impl Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string(value).map_err(|error| Failure::other(format!("a value cannot be written as JSON: {error}")))?;
    line(&text::json(&json));
    Ok(())
}

/// A line for the person, or several.
pub(super) fn tell(words: &str) {
    drop(writeln!(std::io::stderr().lock(), "{}", text::lines(words)));
}

/// How tables look on standard output.
pub(super) fn look() -> crate::table::Look {
    crate::table::Look::of(std::io::stdout().is_terminal(), None)
}

/// Rows as a table, or as objects.
pub(super) fn rows<T: Serialize>(format: Format, rows: &[T], header: &[&str], cells: impl Fn(&T) -> Vec<String>) -> Result<(), Failure> {
    match format {
        Format::Json => rows.iter().try_for_each(object),
        Format::Table => {
            let cells: Vec<Vec<String>> = rows.iter().map(cells).collect();
            line(&crate::table::trimmed(&crate::table::plain(header, cells, look())));
            Ok(())
        }
    }
}

/// Asks on a terminal; `yes` answers; with neither it refuses.
pub(super) fn confirmed(yes: bool, question: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::usage(format!("{question} Nobody can be asked here: say `--yes`")));
    }
    let mut stderr = std::io::stderr().lock();
    drop(write!(stderr, "{} [y/N] ", text::lines(question)));
    drop(stderr.flush());
    let mut answer = String::new();
    stdin.read_line(&mut answer).map_err(|error| Failure::other(error.to_string()))?;
    if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") { Ok(()) } else { Err(Failure::usage("not done")) }
}
