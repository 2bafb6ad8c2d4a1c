//! Reading TOML by hand, so that everything wrong with a text is found at once and at its place.

use std::{borrow::Cow, ops::Range, sync::Arc};

use serde::{Deserialize, de::IntoDeserializer as _};
use serde_json::Value;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::PlaybookError;
use crate::words::closest;

/// A value of a TOML document and where it stands.
pub(super) type Spot<'t> = Spanned<DeValue<'t>>;

/// Collects what is wrong with one file.
#[derive(Debug)]
pub(super) struct Reader<'f> {
    file: &'f str,
    source: Arc<str>,
    errors: Vec<PlaybookError>,
}

impl<'f> Reader<'f> {
    pub(super) fn new(text: &str, file: &'f str) -> Self {
        Self { file, source: text.into(), errors: Vec::new() }
    }

    pub(super) fn error(&mut self, at: Range<usize>, why: impl Into<String>, help: Option<String>) {
        self.errors.push(PlaybookError { file: self.file.to_owned(), source: Arc::clone(&self.source), at, why: why.into(), help });
    }

    /// Everything found so far, in the order of the text.
    pub(super) fn into_errors(mut self) -> Vec<PlaybookError> {
        self.errors.sort_by_key(|error| error.at.start);
        self.errors
    }

    pub(super) fn is_clean(&self) -> bool {
        self.errors.is_empty()
    }

    pub(super) fn string<'v>(&mut self, spot: &'v Spot<'_>) -> Option<&'v str> {
        match spot.get_ref() {
            DeValue::String(text) => Some(text),
            other => {
                self.error(spot.span(), format!("a string is wanted here, not {}", kind_of(other)), None);
                None
            }
        }
    }

    pub(super) fn boolean(&mut self, spot: &Spot<'_>) -> Option<bool> {
        match spot.get_ref() {
            DeValue::Boolean(value) => Some(*value),
            other => {
                self.error(spot.span(), format!("true or false is wanted here, not {}", kind_of(other)), None);
                None
            }
        }
    }

    pub(super) fn list<'v>(&mut self, spot: &'v Spot<'v>) -> Option<&'v [Spot<'v>]> {
        match spot.get_ref() {
            DeValue::Array(list) => Some(list),
            other => {
                self.error(spot.span(), format!("a list is wanted here, not {}", kind_of(other)), None);
                None
            }
        }
    }

    pub(super) fn table<'v>(&mut self, spot: &'v Spot<'v>) -> Option<&'v DeTable<'v>> {
        match spot.get_ref() {
            DeValue::Table(table) => Some(table),
            other => {
                self.error(spot.span(), format!("a table is wanted here, not {}", kind_of(other)), None);
                None
            }
        }
    }

    /// One of the words of an enumeration.
    pub(super) fn word<'v, T: Deserialize<'v>>(&mut self, spot: &'v Spot<'_>) -> Option<T> {
        let text = self.string(spot)?;
        let deserializer: serde::de::value::StrDeserializer<'_, NotAWord> = text.into_deserializer();
        match T::deserialize(deserializer) {
            Ok(value) => Some(value),
            Err(NotAWord(words)) => {
                let help = closest(text, words).map(|near| format!("did you mean `{near}`?"));
                let help = help.unwrap_or_else(|| format!("it is one of {}", words.join(", ")));
                self.error(spot.span(), format!("`{text}` is not known here"), Some(help));
                None
            }
        }
    }

    /// The JSON form of a value. TOML's dates and times become texts.
    pub(super) fn json(&mut self, spot: &Spot<'_>) -> Option<Value> {
        match spot.get_ref() {
            DeValue::String(text) => Some(Value::String(text.to_string())),
            DeValue::Boolean(value) => Some(Value::Bool(*value)),
            DeValue::Datetime(time) => Some(Value::String(time.to_string())),
            DeValue::Integer(number) => {
                let value = i64::from_str_radix(number.as_str(), number.radix());
                self.number(spot, value.ok().map(serde_json::Number::from))
            }
            DeValue::Float(number) => {
                let value = number.as_str().parse().ok().and_then(serde_json::Number::from_f64);
                self.number(spot, value)
            }
            DeValue::Array(list) => {
                let values: Vec<_> = list.iter().map(|spot| self.json(spot)).collect();
                values.into_iter().collect::<Option<_>>().map(Value::Array)
            }
            DeValue::Table(table) => {
                let entries: Vec<_> = table.iter().map(|(key, spot)| Some((key.get_ref().to_string(), self.json(spot)?))).collect();
                entries.into_iter().collect::<Option<_>>().map(Value::Object)
            }
        }
    }

    fn number(&mut self, spot: &Spot<'_>, number: Option<serde_json::Number>) -> Option<Value> {
        if number.is_none() {
            self.error(spot.span(), "this number is out of range", None);
        }
        number.map(Value::Number)
    }

    /// Where bytes of a string's value stand in the source; the whole string where that cannot be told.
    pub(super) fn inside(&self, spot: &Spot<'_>, bytes: &Range<usize>) -> Range<usize> {
        let span = spot.span();
        let (Some(token), DeValue::String(text)) = (self.source.get(span.clone()), spot.get_ref()) else { return span };
        let (decoded, offsets) = decode(token);
        match (offsets.get(bytes.start), offsets.get(bytes.end)) {
            (Some(start), Some(end)) if decoded == *text => span.start + start..span.start + end,
            _ => span,
        }
    }

    /// The part of the text from a key to the end of its value, where both stand in one line; else the key.
    pub(super) fn entry(&self, key: &Range<usize>, value: &Range<usize>) -> Range<usize> {
        let whole = key.start..value.end;
        let one_line = key.end <= value.start && self.source.get(whole.clone()).is_some_and(|text| !text.contains('\n'));
        if one_line { whole } else { key.clone() }
    }
}

/// Takes known keys from a table and complains of the rest.
#[derive(Debug)]
pub(super) struct Keys<'t> {
    table: &'t DeTable<'t>,
    at: Range<usize>,
    known: Vec<&'static str>,
}

impl<'t> Keys<'t> {
    pub(super) fn new(table: &'t DeTable<'t>, at: Range<usize>) -> Self {
        Self { table, at, known: Vec::new() }
    }

    pub(super) fn at(&self) -> Range<usize> {
        self.at.clone()
    }

    /// The key and the value, if the table has it.
    pub(super) fn entry(&mut self, key: &'static str) -> Option<(Range<usize>, &'t Spot<'t>)> {
        self.known.push(key);
        self.table.iter().find(|(name, _)| name.get_ref() == key).map(|(name, value)| (name.span(), value))
    }

    pub(super) fn take(&mut self, key: &'static str) -> Option<&'t Spot<'t>> {
        self.entry(key).map(|(_, value)| value)
    }

    pub(super) fn required(&mut self, reader: &mut Reader<'_>, key: &'static str, help: &str) -> Option<&'t Spot<'t>> {
        let found = self.take(key);
        if found.is_none() {
            reader.error(self.at(), format!("`{key}` is missing"), Some(help.to_owned()));
        }
        found
    }

    /// Complains of every key that was not asked for.
    pub(super) fn finish(self, reader: &mut Reader<'_>) {
        for (key, _) in self.table {
            let name = key.get_ref().as_ref();
            if !self.known.contains(&name) {
                let help = closest(name, &self.known).map(|near| format!("did you mean `{near}`?"));
                let help = help.unwrap_or_else(|| format!("known here are {}", self.known.join(", ")));
                reader.error(key.span(), format!("unknown key `{name}`"), Some(help));
            }
        }
    }
}

/// Why a text is none of the words of an enumeration: those there are.
#[derive(Debug)]
struct NotAWord(&'static [&'static str]);

impl std::fmt::Display for NotAWord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not one of the known words")
    }
}

impl std::error::Error for NotAWord {}

impl serde::de::Error for NotAWord {
    fn custom<T: std::fmt::Display>(_: T) -> Self {
        Self(&[])
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self(expected)
    }
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The value of a TOML string, and for each byte of it, and for its end, the offset in the string as it is written
/// (<https://toml.io/en/v1.1.0#string>).
fn decode(token: &str) -> (Cow<'_, str>, Vec<usize>) {
    let quote = if token.starts_with('\'') { "'" } else { "\"" };
    let fence = if token.starts_with(&quote.repeat(3)) && token.len() >= 6 { 3 } else { 1 };
    let mut start = fence;
    if fence == 3 {
        let body = token.get(fence..).unwrap_or_default();
        start += if body.starts_with("\r\n") { 2 } else { usize::from(body.starts_with('\n')) };
    }
    let end = token.len().saturating_sub(fence).max(start);
    let body = token.get(start..end).unwrap_or_default();
    if quote == "'" || !body.contains('\\') {
        return (Cow::Borrowed(body), (start..=end).collect());
    }
    let mut text = String::new();
    let mut offsets = Vec::new();
    let mut chars = body.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let decoded = if c == '\\' {
            let Some((_, escape)) = chars.next() else { break };
            match escape {
                'b' => '\u{8}',
                't' => '\t',
                'n' => '\n',
                'f' => '\u{c}',
                'r' => '\r',
                'e' => '\u{1b}',
                'x' | 'u' | 'U' => {
                    let digits = if escape == 'x' {
                        2
                    } else if escape == 'u' {
                        4
                    } else {
                        8
                    };
                    let hex: String = chars.by_ref().take(digits).map(|(_, digit)| digit).collect();
                    u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER)
                }
                c if c.is_whitespace() => {
                    while chars.next_if(|(_, c)| c.is_whitespace()).is_some() {}
                    continue;
                }
                c => c,
            }
        } else {
            c
        };
        text.push(decoded);
        offsets.resize(text.len(), start + at);
    }
    offsets.push(end);
    (Cow::Owned(text), offsets)
}
