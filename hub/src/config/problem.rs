//! What is wrong with a configuration, shown where it is wrong.

use std::{fmt, ops::Range, path::PathBuf, sync::Arc};

use cordon_shared::{playbook::PlaybookError, words::closest};
use jiff::civil::Date;

/// The smallest configuration that works.
pub const SMALLEST: &str = r#"[hub]
account = "222222222222"    # the security account that Cordon runs in
regions = ["us-east-1"]     # where it works
"#;

/// A configuration that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigError {
    /// There is no such file.
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file cannot be read.
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the operating system says.
        why: String,
    },
    /// Everything that is wrong with it, in the order of the text. Each is a picture of its place.
    Invalid(Vec<PlaybookError>),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { path } => {
                writeln!(f, "error: there is no configuration file `{}`", path.display())?;
                writeln!(f, "The smallest one that works:\n")?;
                for line in SMALLEST.lines() {
                    writeln!(f, "    {line}")?;
                }
                write!(f, "\nSave that as `{}`, or name another file with `--config FILE` or CORDON_CONFIG. ", path.display())?;
                write!(f, "Every key is in docs/configuration.md.")
            }
            Self::Unreadable { path, why } => write!(f, "error: the configuration `{}` cannot be read: {why}", path.display()),
            Self::Invalid(problems) => join(f, problems),
        }
    }
}

impl std::error::Error for ConfigError {}

fn join(f: &mut fmt::Formatter<'_>, problems: &[PlaybookError]) -> fmt::Result {
    for (index, problem) in problems.iter().enumerate() {
        let gap = if index == 0 { "" } else { "\n\n" };
        write!(f, "{gap}{problem}")?;
    }
    Ok(())
}

/// Something about a configuration that its owner should know; it can be used all the same. Displayed, it is a picture of its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning(pub(super) PlaybookError);

impl Warning {
    /// What it says, without the picture.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0.why
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let picture = self.0.to_string();
        write!(f, "warning{}", picture.strip_prefix("error").unwrap_or(&picture))
    }
}

/// Collects what is wrong with one file, and what is odd about it.
#[derive(Debug)]
pub(super) struct Problems {
    file: String,
    source: Arc<str>,
    errors: Vec<PlaybookError>,
    warnings: Vec<Warning>,
}

impl Problems {
    pub(super) fn new(file: &str, source: &str) -> Self {
        Self { file: file.to_owned(), source: source.into(), errors: Vec::new(), warnings: Vec::new() }
    }

    fn picture(&self, at: Range<usize>, why: String, help: Option<String>) -> PlaybookError {
        PlaybookError { file: self.file.clone(), source: Arc::clone(&self.source), at, why, help }
    }

    pub(super) fn error(&mut self, at: Range<usize>, why: impl Into<String>, help: impl Into<Option<String>>) {
        let picture = self.picture(at, why.into(), help.into());
        self.errors.push(picture);
    }

    pub(super) fn warning(&mut self, at: Range<usize>, why: impl Into<String>, help: impl Into<Option<String>>) {
        let picture = self.picture(at, why.into(), help.into());
        self.warnings.push(Warning(picture));
    }

    /// How many errors there are so far.
    pub(super) fn errors(&self) -> usize {
        self.errors.len()
    }

    /// What was found: warnings, or everything that is wrong.
    pub(super) fn end(mut self) -> Result<Vec<Warning>, ConfigError> {
        self.errors.sort_by_key(|error| error.at.start);
        if self.errors.is_empty() { Ok(self.warnings) } else { Err(ConfigError::Invalid(self.errors)) }
    }

    /// What the reader of TOML did not like, in our words.
    pub(super) fn unread(mut self, error: &toml::de::Error) -> ConfigError {
        let at = error.span().unwrap_or(0..0);
        let message = error.message().trim().replace('\n', "; ");
        let (why, mut help) = in_our_words(&message);
        if self.source.get(at.clone()).is_some_and(|written| written.parse::<Date>().is_ok()) {
            help = Some("put the date in quotes: until = \"2026-12-31\"".to_owned());
        }
        self.error(at, why, help);
        ConfigError::Invalid(self.errors)
    }
}

/// Turns serde's messages into sentences, with a guess at what was meant.
fn in_our_words(message: &str) -> (String, Option<String>) {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match quoted.split_first() {
        Some((key, known)) if message.starts_with("unknown field") => {
            let near = closest(key, known).map(|near| format!("did you mean `{near}`?"));
            let all = || format!("the keys here are {}", known.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", "));
            (format!("there is no key `{key}` here"), Some(near.unwrap_or_else(all)))
        }
        Some((key, _)) if message.starts_with("missing field") => {
            (format!("`{key}` is missing"), example(key).map(|example| format!("write for example {example}")))
        }
        _ => (message.to_owned(), None),
    }
}

fn example(key: &str) -> Option<&'static str> {
    Some(match key {
        "hub" => "[hub], account = \"222222222222\" and regions = [\"us-east-1\"] in three lines",
        "account" => "account = \"222222222222\", the security account that Cordon runs in",
        "regions" => "regions = [\"us-east-1\", \"eu-west-1\"]",
        "scope" => "scope = \"account\", \"organization\", an account's id or an OU's (ou-…)",
        "window" => "window = \"24h\"",
        "cidr" => "cidr = \"198.51.100.0/24\"",
        "until" => "until = \"2026-12-31\", at most 90 days away",
        "why" => "why = \"quarterly penetration test\"",
        "kind" => "kind = \"auth\" or kind = \"cloudtrail\"",
        "channel" => "channel = \"C0123456789\"",
        "name" => "name = \"Alice\"",
        "topic" => "topic = \"arn:aws:sns:us-east-1:222222222222:incidents\"",
        "secret" => "secret = \"env:WEBHOOK_SECRET\"",
        "group" => "group = \"/var/log/secure\"",
        _ => return None,
    })
}
