//! What one entry of a pattern's list asks of a value.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Number, Value};

/// One entry of the list that a pattern gives a field.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Test {
    /// A literal; a text that is no address, a boolean or null.
    Equal(Value),
    Number(Number),
    /// A text that is an address, however it is written.
    Address(IpAddr),
    Text(TextTest),
    /// None of these literals, whatever else.
    AnythingButValue(Vec<Value>),
    /// A value that passes none of these, whatever else.
    AnythingButText(Vec<TextTest>),
    Numeric(Interval),
    Exists(bool),
    Cidr(IpNet),
}

/// A test that only texts can pass.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum TextTest {
    Prefix(String),
    PrefixIgnoreCase(String),
    Suffix(String),
    SuffixIgnoreCase(String),
    EqualIgnoreCase(String),
    Wildcard(Wildcard),
}

/// Millionths, each end open or closed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Interval {
    pub(super) from: Option<(f64, Open)>,
    pub(super) to: Option<(f64, Open)>,
}

/// Whether an end itself lies outside.
pub(super) type Open = bool;

/// The pieces of a text between its wildcards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wildcard {
    pub(super) pieces: Vec<String>,
}

/// The number in millionths, if it lies where EventBridge compares numbers: from -5e9 to 5e9, six decimal places.
pub(super) fn millionths(number: &Number) -> Option<f64> {
    number.as_f64().filter(|value| value.abs() <= 5e9).map(|value| (value * 1e6).round())
}

fn same_number(left: &Number, right: &Number) -> bool {
    left == right || millionths(left).is_some_and(|left| millionths(right) == Some(left))
}

impl Test {
    pub(super) fn matches(&self, value: &Value) -> bool {
        match self {
            Self::Equal(wanted) => wanted == value,
            Self::Number(wanted) => matches!(value, Value::Number(value) if same_number(wanted, value)),
            Self::Address(wanted) => address(value).is_some_and(|address| address == *wanted),
            Self::Text(test) => value.as_str().is_some_and(|text| test.matches(text)),
            Self::AnythingButValue(unwanted) => !unwanted.iter().any(|unwanted| match (unwanted, value) {
                (Value::Number(unwanted), Value::Number(value)) => same_number(unwanted, value),
                _ => unwanted == value,
            }),
            Self::AnythingButText(unwanted) => !value.as_str().is_some_and(|text| unwanted.iter().any(|test| test.matches(text))),
            Self::Numeric(interval) => matches!(value, Value::Number(number) if millionths(number).is_some_and(|n| interval.holds(n))),
            Self::Exists(wanted) => *wanted,
            Self::Cidr(block) => address(value).is_some_and(|address| block.contains(&address)),
        }
    }
}

fn address(value: &Value) -> Option<IpAddr> {
    value.as_str().and_then(|text| text.parse().ok())
}

impl TextTest {
    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Prefix(prefix) => text.starts_with(prefix.as_str()),
            Self::Suffix(suffix) => text.ends_with(suffix.as_str()),
            Self::PrefixIgnoreCase(prefix) => starts_alike(text.chars(), prefix.chars()).is_some(),
            Self::SuffixIgnoreCase(suffix) => starts_alike(text.chars().rev(), suffix.chars().rev()).is_some(),
            Self::EqualIgnoreCase(wanted) => starts_alike(text.chars(), wanted.chars()) == Some(true),
            Self::Wildcard(wildcard) => wildcard.matches(text),
        }
    }
}

/// Whether `text` begins with `start` but for case, and if so whether that is all of it.
fn starts_alike(mut text: impl Iterator<Item = char>, mut start: impl Iterator<Item = char>) -> Option<bool> {
    let alike = |(l, r): (char, char)| l == r || l.to_lowercase().eq(r.to_lowercase()) || l.to_uppercase().eq(r.to_uppercase());
    start.all(|wanted| text.next().is_some_and(|found| alike((found, wanted)))).then(|| text.next().is_none())
}

impl Interval {
    fn holds(self, value: f64) -> bool {
        self.from.is_none_or(|(from, open)| if open { value > from } else { value >= from })
            && self.to.is_none_or(|(to, open)| if open { value < to } else { value <= to })
    }
}

impl Wildcard {
    /// Reads `*` as any run of characters, none included, and `\*` and `\\` as themselves.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = vec![];
        let mut piece = String::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '*' if chars.peek() == Some(&'*') => return Err("two `*` in a row are not allowed".to_owned()),
                '*' => pieces.push(std::mem::take(&mut piece)),
                '\\' => match chars.next_if(|c| matches!(c, '*' | '\\')) {
                    Some(escaped) => piece.push(escaped),
                    None => return Err("`\\` may only stand before `*` or another `\\`".to_owned()),
                },
                _ => piece.push(c),
            }
        }
        pieces.push(piece);
        Ok(Self { pieces })
    }

    fn matches(&self, text: &str) -> bool {
        let Some((first, rest)) = self.pieces.split_first() else { return false };
        let Some((last, middle)) = rest.split_last() else { return text == first };
        let Some(mut inner) = text.strip_prefix(first.as_str()).and_then(|text| text.strip_suffix(last.as_str())) else { return false };
        for piece in middle {
            let Some((_, after)) = inner.split_once(piece.as_str()) else { return false };
            inner = after;
        }
        true
    }
}

/// A value as people are shown it: JSON, not too long.
pub(super) fn shown(value: &Value) -> String {
    const LONGEST: usize = 200;
    let json = match value {
        Value::Array(_) => return "a list".to_owned(),
        Value::Object(_) => return "an object".to_owned(),
        leaf => leaf.to_string(),
    };
    if json.chars().count() <= LONGEST { json } else { json.chars().take(LONGEST).chain(['…']).collect() }
}
