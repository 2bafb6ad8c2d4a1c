//! The freeze: the kill switch. Who pressed it, where, how far, and what it stops.
//!
//! A freeze is a line in the journal, written by whichever process a person has at hand; the gate reads it in its own transaction, and the
//! connector before each changing call. Lines are never changed or removed: a thaw is one more line, of level [`Level::Off`], and lifts
//! all that was frozen under the same scope before it. Where several freezes apply, the strictest counts.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    engine::Person,
    id::AccountId,
    journal::{JournalError, Tx},
    page::Page,
};

/// Who freezes when Cordon does so by itself.
pub const SELF_ALARM: &str = "self-alarm";

/// How far a freeze goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Nothing is stopped: what a thaw writes.
    Off,
    /// What reads, verifies, contains reversibly or keeps evidence goes on, and an undo that a person asked for.
    Limited,
    /// Only what reads goes on.
    Full,
}

impl Level {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Limited => "limited",
            Self::Full => "full",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What is frozen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "scope", content = "of")]
pub enum Scope {
    /// Everything.
    Organization,
    /// Work for subjects of this account.
    Account(AccountId),
    /// Work for subjects of accounts below this OU: its id (`ou-…`, `r-…`) or its path (`Workloads/Production`, with or without `Root/`).
    Ou(String),
    /// Work under this playbook.
    Playbook(String),
}

impl Scope {
    /// The flags by which the command line names it, each with a space before it.
    #[must_use]
    pub fn flags(&self) -> String {
        match self {
            Self::Organization => String::new(),
            Self::Account(account) => format!(" --account {account}"),
            Self::Ou(ou) => format!(" --ou {}", quoted(ou)),
            Self::Playbook(name) => format!(" --playbook {}", quoted(name)),
        }
    }

    /// Whether work at this place is meant. An OU counts as meant where it is not known which OUs are above the account.
    #[must_use]
    pub fn covers(&self, place: &Place) -> bool {
        match self {
            Self::Organization => true,
            Self::Account(account) => *account == place.account,
            Self::Ou(ou) => place.ous.as_ref().is_none_or(|ous| ous.contains(ou)),
            Self::Playbook(name) => *name == place.playbook,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Organization => f.write_str("the organization"),
            Self::Account(account) => write!(f, "account {account}"),
            Self::Ou(ou) => write!(f, "OU {ou}"),
            Self::Playbook(name) => write!(f, "playbook {name}"),
        }
    }
}

/// A word as a POSIX shell takes it.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// The names that an OU above an account goes by: for each OU its id, its path from the root, and the same without the root.
/// `units` are id and name, from the root down.
#[must_use]
pub fn names_of_ous<'u>(units: impl IntoIterator<Item = (&'u str, &'u str)>) -> Vec<String> {
    let (mut names, mut path) = (Vec::new(), Vec::new());
    for (id, name) in units {
        path.push(name);
        names.push(id.to_owned());
        names.push(path.join("/"));
        if let Some((_, below)) = path.split_first().filter(|(_, below)| !below.is_empty()) {
            names.push(below.join("/"));
        }
    }
    names
}

/// Where work is done, as freezes see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The subject's account.
    pub account: AccountId,
    /// The names of the OUs above it ([`names_of_ous`]); `None`: not known.
    pub ous: Option<Vec<String>>,
    /// The run's playbook.
    pub playbook: String,
}

/// What kind of work it is, as freezes see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// A reversible change of a step that contains, cuts credentials, records or preserves; or a note of the hub's that changes nothing of
    /// a member's.
    Contain,
    /// Any other change.
    Change,
    /// An undo that a person asked for.
    UndoAsked,
    /// An undo whose time has come.
    UndoDue,
}

impl Deed {
    /// Whether a freeze of this level lets it pass.
    #[must_use]
    pub fn passes(self, level: Level) -> bool {
        match level {
            Level::Off => true,
            Level::Limited => matches!(self, Self::Contain | Self::UndoAsked),
            Level::Full => false,
        }
    }
}

/// One line: a freeze, or a thaw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    /// Its number; they count up. 0: not written yet.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// Who, or [`SELF_ALARM`].
    pub by: Person,
    /// Why, in that person's words.
    pub why: String,
    /// What is frozen.
    #[serde(flatten)]
    pub scope: Scope,
    /// How far; off: thawed.
    pub level: Level,
    /// Whether the hub's role was to be locked out too.
    pub hard: bool,
    /// The id of the finding or event that raised a self-alarm. One raises it once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarm: Option<String>,
}

impl fmt::Display for Freeze {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is frozen ({}) by {} since {:.0}", self.scope, self.level, self.by.0, self.at)?;
        if self.why.is_empty() { Ok(()) } else { write!(f, ": {}", self.why) }
    }
}

/// Of all lines, in their order, those that stand: freezes after which their scope was not thawed.
#[must_use]
pub fn standing(lines: &[Freeze]) -> Vec<Freeze> {
    let thawed =
        |freeze: &Freeze| lines.iter().any(|line| line.level == Level::Off && line.scope == freeze.scope && line.number > freeze.number);
    lines.iter().filter(|line| line.level != Level::Off && !thawed(line)).cloned().collect()
}

/// What of the standing freezes stops a deed, in words that end with the command that answers it; `None`: nothing does.
#[must_use]
pub fn stops(standing: &[Freeze], place: &Place, deed: Deed) -> Option<String> {
    let mut stopping: Vec<&Freeze> = standing.iter().filter(|freeze| freeze.scope.covers(place) && !deed.passes(freeze.level)).collect();
    stopping.sort_by_key(|freeze| std::cmp::Reverse(freeze.level));
    let first = stopping.first()?;
    let others = match stopping.len() {
        1 => String::new(),
        more => format!(" (and {} more: `cordon freeze list`)", more - 1),
    };
    let may = if first.level == Level::Limited {
        let what = if deed == Deed::UndoDue { "only an undo that a person asks for passes" } else { "only reversible containment passes" };
        format!("{what}; ")
    } else {
        String::new()
    };
    Some(format!("{first}{others}; {may}it goes on by itself after `{}`", thaw_command(&first.scope)))
}

/// The command that lifts the freezes of a scope.
#[must_use]
pub fn thaw_command(scope: &Scope) -> String {
    format!("cordon thaw{}", scope.flags())
}

/// The command at the end of what [`stops`] says.
#[must_use]
pub fn answer(why: &str) -> &str {
    let said = why.strip_suffix('`').and_then(|rest| rest.rfind("`cordon thaw").and_then(|at| rest.get(at + 1..)));
    said.unwrap_or("cordon freeze list")
}

/// Writes a line, and the page that tells everybody of it. Whether anybody can be told does not matter to the line.
fn write(tx: &mut dyn Tx, line: &Freeze) -> Result<(), JournalError> {
    let number = tx.save_freeze(line)?;
    tx.page(&Page::of_freeze(&Freeze { number, ..line.clone() }))
}

/// Freezes a scope. The lease does not matter: any process may.
///
/// # Errors
/// Those of the store.
pub fn freeze(tx: &mut dyn Tx, line: &Freeze) -> Result<(), JournalError> {
    write(tx, line)
}

/// Thaws a scope, and gives back the freezes that this lifts.
///
/// # Errors
/// [`JournalError::Refused`] when nothing is frozen under exactly this scope, and those of the store.
pub fn thaw(tx: &mut dyn Tx, line: &Freeze) -> Result<Vec<Freeze>, JournalError> {
    let standing = tx.freezes()?;
    let lifted: Vec<Freeze> = standing.iter().filter(|freeze| freeze.scope == line.scope).cloned().collect();
    if lifted.is_empty() {
        let others: Vec<String> = standing.iter().map(|freeze| format!("{freeze} (`{}`)", thaw_command(&freeze.scope))).collect();
        let others = if others.is_empty() { "nothing is".to_owned() } else { format!("but {}", others.join("; ")) };
        return Err(JournalError::Refused(format!("{} is not frozen, {others}", line.scope)));
    }
    write(tx, &Freeze { level: Level::Off, ..line.clone() })?;
    Ok(lifted)
}

/// Freezes the organization to `limited` because of what was seen, unless the same was answered before. A finding that goes on is answered
/// anew when it was last `seen` after a person had thawed the organization. Whether it froze.
///
/// # Errors
/// Those of the store.
pub fn alarm(tx: &mut dyn Tx, id: &str, seen: Option<Timestamp>, why: String, at: Timestamp) -> Result<bool, JournalError> {
    let mut id = id.to_owned();
    if tx.alarmed(&id)? {
        let Some(seen) = seen else { return Ok(false) };
        let frozen = tx.freezes()?.iter().any(|freeze| freeze.scope == Scope::Organization);
        let goes_on = !frozen && tx.thawed()?.is_some_and(|thawed| seen > thawed);
        id = format!("{id} as of {seen}");
        if !goes_on || tx.alarmed(&id)? {
            return Ok(false);
        }
    }
    let line = Freeze {
        number: 0,
        at,
        by: Person(SELF_ALARM.to_owned()),
        why,
        scope: Scope::Organization,
        level: Level::Limited,
        hard: false,
        alarm: Some(id),
    };
    write(tx, &line)?;
    Ok(true)
}

#[cfg(test)]
mod tests;
