//! What cards are made of, and how much of it there is room for.

use serde_json::{Value, json};

use crate::text;

/// Of a message.
const BLOCKS: usize = 50;
/// Characters of all blocks of a message, ours: Slack refuses a message whole (`msg_blocks_too_long`) from about 13,000 on, and does not say
/// where (<https://docs.slack.dev/reference/methods/chat.postMessage>, "Errors").
pub(super) const MOST: usize = 10_000;
pub(super) const SECTION: usize = 3_000;
const HEADER: usize = 150;
/// Of one field of a section, so that ten leave room for the rest. Slack takes 2,000.
const FIELD: usize = 600;
/// Of one line of a list, so that one long text does not hide the others.
const LINE: usize = 400;
/// What a list takes beside its text.
const FRAME: usize = 20;

/// A message: what notifications show, and its blocks.
#[derive(Debug, Clone, PartialEq)]
pub struct Card {
    /// One line.
    pub text: String,
    /// The blocks.
    pub blocks: Vec<Value>,
}

/// A part of a card.
#[derive(Debug)]
pub(crate) enum Part {
    /// A block that is shown whole.
    Whole(Value),
    /// Lines under a heading, as many as there is room for; how many there are beside them is said.
    List(&'static str, Vec<String>),
}

impl Card {
    /// `rest`: what shows the lines that there is no room for, `cordon incident report ID`; empty: nothing does.
    pub(crate) fn new(title: &str, parts: Vec<Part>, rest: &str) -> Self {
        let header =
            json!({ "type": "header", "text": { "type": "plain_text", "text": clip(&text::safe(title), HEADER), "emoji": false } });
        let whole = parts.iter().map(|part| if let Part::Whole(block) = part { size(block) } else { 0 }).sum::<usize>();
        let wanted: Vec<usize> = parts
            .iter()
            .filter_map(|part| if let Part::List(heading, lines) = part { Some(wants(heading, lines)) } else { None })
            .collect();
        let most = share(wanted, MOST.saturating_sub(whole + size(&header)));
        let blocks = parts.into_iter().filter_map(|part| match part {
            Part::Whole(block) => Some(block),
            Part::List(heading, lines) => list(heading, &lines, most, rest),
        });
        let blocks = std::iter::once(header).chain(blocks).take(BLOCKS).collect();
        Self { text: clip(&escape(title), SECTION), blocks }
    }
}

/// Characters as Slack counts them.
fn length(text: &str) -> usize {
    text.encode_utf16().count()
}

/// The characters of all texts in a block.
pub(super) fn size(block: &Value) -> usize {
    match block {
        Value::String(text) => length(text),
        Value::Array(values) => values.iter().map(size).sum(),
        Value::Object(fields) => fields.values().map(size).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// The most that each of some may take of what is left: those that want less leave it to the others.
fn share(mut wanted: Vec<usize>, mut left: usize) -> usize {
    wanted.sort_unstable();
    for (others, want) in (1..=wanted.len()).rev().zip(&wanted) {
        let fair = left / others;
        if *want > fair {
            return fair;
        }
        left -= want;
    }
    usize::MAX
}

/// At most so many characters.
pub(super) fn clip(text: &str, most: usize) -> String {
    if length(text) <= most {
        return text.to_owned();
    }
    let mut used = 1;
    let kept: String = text
        .chars()
        .take_while(|c| {
            used += c.len_utf16();
            used <= most
        })
        .collect();
    // Half an entity would be shown as such.
    let whole = kept.rfind('&').filter(|at| kept.get(*at..).is_some_and(|end| !end.contains(';'))).and_then(|at| kept.get(..at));
    format!("{}…", whole.unwrap_or(&kept))
}

/// Text that means nothing in Slack.
#[must_use]
pub fn escape(text: &str) -> String {
    text::safe(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Text of others, letter for letter.
pub(crate) fn code(text: &str) -> String {
    let shown = escape(text).replace('`', "'");
    if shown.trim().is_empty() { "–".to_owned() } else { format!("`{shown}`") }
}

fn mrkdwn(text: &str, most: usize) -> Value {
    json!({ "type": "mrkdwn", "text": clip(text, most), "verbatim": true })
}

pub(super) fn section(text: &str) -> Part {
    Part::Whole(json!({ "type": "section", "text": mrkdwn(text, SECTION) }))
}

pub(crate) fn context(text: &str) -> Part {
    Part::Whole(json!({ "type": "context", "elements": [mrkdwn(text, SECTION)] }))
}

/// Names and what they stand for.
pub(super) fn fields(pairs: &[(&str, String)]) -> Part {
    let fields: Vec<Value> = pairs.iter().map(|(label, value)| mrkdwn(&format!("*{label}*\n{value}"), FIELD)).collect();
    Part::Whole(json!({ "type": "section", "fields": fields }))
}

/// How much a list wants of a message.
fn wants(heading: &str, lines: &[String]) -> usize {
    (length(heading) + 2 + lines.iter().map(|line| length(&bullet(line))).sum::<usize>()).min(SECTION) + FRAME
}

fn bullet(line: &str) -> String {
    format!("\n• {}", clip(line, LINE))
}

/// Lines under a heading, as many as fit. `None`: there are none.
fn list(heading: &str, lines: &[String], most: usize, rest: &str) -> Option<Value> {
    let most = most.saturating_sub(FRAME).min(SECTION);
    let more = |hidden: usize| {
        let rest = if rest.is_empty() { String::new() } else { format!(": {}", code(rest)) };
        format!("\n… and {hidden} more{rest}")
    };
    let bullets: Vec<String> = lines.iter().map(|line| bullet(line)).collect();
    let mut text = format!("*{heading}*");
    let fits = length(&text) + bullets.iter().map(|line| length(line)).sum::<usize>() <= most;
    let most = if fits { most } else { most.saturating_sub(length(&more(lines.len()))) };
    let mut shown = 0;
    for line in &bullets {
        if length(&text) + length(line) > most {
            break;
        }
        text.push_str(line);
        shown += 1;
    }
    if shown < lines.len() {
        text.push_str(&more(lines.len() - shown));
    }
    (!lines.is_empty()).then(|| json!({ "type": "section", "text": mrkdwn(&text, SECTION) }))
}
