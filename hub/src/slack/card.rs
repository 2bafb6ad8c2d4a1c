//! What messages look like: Block Kit, as pure functions of a run.
//!
//! Slack's limits (<https://docs.slack.dev/reference/block-kit/blocks>): 50 blocks in a message, 3,000 characters in a section's text, 150 in
//! a header's, 10 fields of 2,000 characters, 2,000 in a button's value. Text of others is shown letter for letter and means nothing:
//! `&`, `<` and `>` are written out (<https://docs.slack.dev/messaging/formatting-message-text>, "Escaping text"), and nothing becomes a link (`verbatim`).

use cordon_shared::{
    engine::{Entry, StepState, View, summary},
    journal::Sealed,
    notice::{Notice, NoticeKind},
    page::{Page, PageKind},
    plan::StepKey,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    incident::{DIGEST_LETTERS, IncidentJson},
    report::Report,
    text,
};

/// The button that says yes.
pub const APPROVE: &str = "cordon-approve";
/// The button that says no.
pub const DENY: &str = "cordon-deny";

const BLOCKS: usize = 50;
const SECTION: usize = 3_000;
const HEADER: usize = 150;
/// Of one line of a list, so that one long text does not hide the others.
const LINE: usize = 400;

/// A message: what notifications show, and its blocks.
#[derive(Debug, Clone, PartialEq)]
pub struct Card {
    /// One line.
    pub text: String,
    /// The blocks.
    pub blocks: Vec<Value>,
}

impl Card {
    pub(crate) fn new(title: &str, blocks: Vec<Value>) -> Self {
        let header =
            json!({ "type": "header", "text": { "type": "plain_text", "text": clip(&text::safe(title), HEADER), "emoji": false } });
        let blocks = std::iter::once(header).chain(blocks).take(BLOCKS).collect();
        Self { text: clip(&escape(title), SECTION), blocks }
    }
}

/// Characters as Slack counts them, at most so many.
fn clip(text: &str, most: usize) -> String {
    if text.encode_utf16().count() <= most {
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

fn section(text: &str) -> Value {
    json!({ "type": "section", "text": mrkdwn(text, SECTION) })
}

pub(crate) fn context(text: &str) -> Value {
    json!({ "type": "context", "elements": [mrkdwn(text, SECTION)] })
}

/// Lines under a heading, as many as fit; how many do not is said.
pub(crate) fn list(heading: &str, lines: &[String]) -> Option<Value> {
    let mut text = format!("*{heading}*");
    let mut shown = 0;
    for line in lines {
        let line = format!("\n• {}", clip(line, LINE));
        if text.encode_utf16().count() + line.encode_utf16().count() > SECTION - 40 {
            break;
        }
        text.push_str(&line);
        shown += 1;
    }
    if shown < lines.len() {
        text.push_str(&format!("\n… and {} more", lines.len() - shown));
    }
    (!lines.is_empty()).then(|| section(&text))
}

fn fields(view: &View) -> Value {
    let finding = view.finding();
    let account = view.account.as_ref();
    let name = account.and_then(|account| account.get("name")).and_then(Value::as_str).unwrap_or_default();
    let path: Vec<&str> = account
        .and_then(|account| account.get("path"))
        .and_then(Value::as_array)
        .map(|path| path.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let cell = &view.subject.cell;
    let word = |key: &str| finding.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let severity = finding.get("severity").map(ToString::to_string).unwrap_or_default();
    let pairs = [
        ("Subject", code(view.subject.name())),
        ("Account", format!("{} {}", code(cell.account.as_str()), if name.is_empty() { String::new() } else { code(name) })),
        ("Region", code(cell.region.as_str())),
        ("OU", code(&path.join("/"))),
        ("Finding", code(&word("type"))),
        ("Severity", format!("{severity} of 100")),
        ("Playbook", code(&view.playbook.name)),
        ("Incident", code(&view.run.to_string())),
    ];
    let fields: Vec<Value> = pairs.iter().map(|(label, value)| mrkdwn(&format!("*{label}*\n{value}"), 2_000)).collect();
    json!({ "type": "section", "fields": fields })
}

fn title(view: &View) -> String {
    let finding = view.finding();
    let title = finding.get("title").and_then(Value::as_str).filter(|title| !title.is_empty());
    title.unwrap_or(&view.playbook.title).to_owned()
}

/// The first message of an incident's thread; kept up to date in place.
#[must_use]
pub fn detected(view: &View) -> Card {
    let sum = summary(view);
    let why = if sum.why.is_empty() { String::new() } else { format!(": {}", code(&sum.why)) };
    let steps: Vec<String> = IncidentJson::new(view, None)
        .steps
        .iter()
        .map(|step| {
            let state = json!(step.state);
            let word = state.as_str().unwrap_or_default();
            if step.reason.is_empty() {
                format!("{} {word}", code(&step.id))
            } else {
                format!("{} {word}: {}", code(&step.id), code(&step.reason))
            }
        })
        .collect();
    let mut blocks = vec![section(&format!("The incident is *{}*{why}", sum.state)), fields(view)];
    blocks.extend(list("Steps", &steps));
    blocks.push(context(&format!("Detected at {:.0}, mode {}. `cordon incident show {}`", view.detected_at, view.mode, view.run)));
    Card::new(&title(view), blocks)
}

/// Whether a question stands: the step asks about exactly that plan, and its time is not over.
fn stands(view: &View, notice: &Notice, now: Timestamp) -> bool {
    let asked = notice.step.as_ref().and_then(|step| view.step(step)).map(|step| &step.state);
    let Some(StepState::Asked { digest, expires, .. }) = asked else { return false };
    view.closed_by.is_none() && notice.digest.as_ref() == Some(digest) && notice.expires == Some(*expires) && now < *expires
}

/// What became of a question.
fn answer(entries: &[Sealed], notice: &Notice, step: &StepKey) -> String {
    let later = entries.iter().filter(|sealed| sealed.seq > notice.seq && sealed.entry.step() == Some(step));
    let mut yes = Vec::new();
    for sealed in later {
        match &sealed.entry {
            Entry::Approved { digest, by, .. } if notice.digest.as_ref() == Some(digest) => yes.push(code(&by.0)),
            Entry::Refused { by, why, .. } => {
                let why = if why.is_empty() { String::new() } else { format!(": {}", code(why)) };
                return format!(":no_entry: *Denied* by {}{why}", code(&by.0));
            }
            Entry::Escalated { .. } => return format!(":rotating_light: *Escalated*: {}; it is asked once more", not_enough(&yes)),
            Entry::AskExpired { .. } => return format!(":hourglass: *Expired*: {}", not_enough(&yes)),
            Entry::Asked { .. } => {
                let void = if yes.is_empty() { String::new() } else { format!(", and the yes of {} is void", yes.join(", ")) };
                return format!(":arrows_counterclockwise: *Asked anew*: the plan is another one now{void}");
            }
            _ => {}
        }
    }
    let closed = entries.iter().find_map(|sealed| if let Entry::ClosedBy { by, .. } = &sealed.entry { Some(by) } else { None });
    if let (Some(by), true) = (closed, yes.is_empty()) {
        format!(":heavy_minus_sign: *No longer asked*: {} closed the incident", code(&by.0))
    } else if yes.is_empty() {
        ":heavy_minus_sign: *No longer asked*".to_owned()
    } else {
        format!(":white_check_mark: *Approved* by {}", yes.join(", "))
    }
}

fn not_enough(yes: &[String]) -> String {
    if yes.is_empty() { "nobody answered in time".to_owned() } else { format!("only {} said yes in time", yes.join(", ")) }
}

/// A plan that waits for a yes, with its difference and its reach. Buttons are there only while the question stands.
#[must_use]
pub fn question(view: &View, entries: &[Sealed], notice: &Notice, now: Timestamp) -> Card {
    let Some(step) = &notice.step else { return Card::new("A question about no step", Vec::new()) };
    let digest = notice.digest.as_deref().unwrap_or_default();
    // The plan as it was when it was asked about, whatever was planned since.
    let plan = entries.iter().rev().find_map(|sealed| match &sealed.entry {
        Entry::Planned { step: planned, plan, digest: of, .. } if planned == step && of == digest => Some(plan),
        _ => None,
    });
    let mut blocks = vec![section(&format!("{}\n_{}_", code(&notice.why), code(view.subject.name())))];
    if let Some(plan) = plan {
        let change = |change: &cordon_shared::plan::Change| {
            format!(
                "{} {}: {} → {}",
                code(&change.resource),
                escape(&change.attribute),
                code(&short(&change.before)),
                code(&short(&change.after))
            )
        };
        blocks.extend(list("What would be changed", &plan.changes.iter().map(change).collect::<Vec<_>>()));
        let resources = plan.resources().len();
        let reach = format!(
            "*Blast radius*: {} {} of {resources} {}, {} counted against the caps",
            plan.changes.len(),
            if plan.changes.len() == 1 { "change" } else { "changes" },
            if resources == 1 { "resource" } else { "resources" },
            plan.counted().len()
        );
        blocks.push(section(&reach));
        blocks.extend(list("To know", &plan.notes.iter().map(|note| escape(note)).collect::<Vec<_>>()));
    }
    let letters: String = digest.chars().take(DIGEST_LETTERS).collect();
    if stands(view, notice, now) {
        let value = json!({ "run": view.run, "step": step, "digest": digest }).to_string();
        let button = |id: &str, label: &str, style: &str| {
            json!({
                "type": "button", "action_id": id, "style": style, "value": value,
                "text": { "type": "plain_text", "text": label, "emoji": false },
            })
        };
        let elements = [button(APPROVE, "Approve", "primary"), button(DENY, "Deny", "danger")];
        blocks.truncate(BLOCKS - 3);
        blocks.push(json!({ "type": "actions", "elements": elements }));
        let expires = notice.expires.map(|expires| format!("{expires:.0}")).unwrap_or_default();
        let command = format!("cordon approval grant {} --step {step} --digest {letters}", view.run);
        blocks.push(context(&format!("Plan {}. Void after {expires}. {}", code(&letters), code(&command))));
    } else {
        blocks.truncate(BLOCKS - 3);
        blocks.push(section(&answer(entries, notice, step)));
        blocks.push(context(&format!("Plan {}", code(&letters))));
    }
    let again = if notice.escalated { "Escalated, nobody answered in time. " } else { "" };
    Card::new(&format!("{again}May `{step}` be done? {}", title(view)), blocks)
}

/// A page: what happened, to what, by whom and why, and the command that answers it. `mention`: whom it calls where it is urgent, as Slack
/// writes that; empty: nobody.
#[must_use]
pub fn page(page: &Page, mention: &str) -> Card {
    let scope = page.scope.as_ref().map(ToString::to_string).unwrap_or_default();
    let level = page.level.map(|level| level.as_str()).unwrap_or_default();
    let question = page.question.as_deref();
    let step = question.and_then(|question| question.step.as_ref()).map(ToString::to_string).unwrap_or_default();
    let title = match page.kind {
        PageKind::Alarm => format!("Self-alarm: {scope} is frozen ({level})"),
        PageKind::Frozen => format!("Frozen ({level}): {scope}"),
        PageKind::Thawed => format!("Thawed: {scope}"),
        PageKind::Escalated => format!("Nobody answered in time: may `{step}` be done?"),
        PageKind::ClockBack => "Cordon's clock went back".to_owned(),
        PageKind::Unreadable => "An incident cannot be read".to_owned(),
    };
    let mut blocks = Vec::new();
    let mention = if page.kind.is_urgent() { mention } else { "" };
    if !mention.is_empty() {
        blocks.push(section(mention));
    }
    blocks.push(section(&code(&page.why)));
    let mut pairs = Vec::new();
    if let Some(question) = question {
        let expires = question.expires.map(|expires| format!("{expires:.0}")).unwrap_or_default();
        pairs.extend([
            ("Subject", code(&question.subject)),
            ("Account", format!("{} {}", code(&question.account), code(&question.region))),
            ("Playbook", code(&question.playbook)),
            ("Incident", code(&question.run.to_string())),
            ("Step", code(&step)),
            ("Void after", code(&expires)),
        ]);
    } else if matches!(page.kind, PageKind::ClockBack | PageKind::Unreadable) {
        pairs.push(("When", code(&format!("{:.0}", page.at))));
    } else {
        let by = page.by.as_ref().map(|by| by.0.as_str()).unwrap_or_default();
        let hard = if page.hard { ", and the hub's role with it" } else { "" };
        pairs.extend([
            ("What", code(&scope)),
            ("Level", format!("{level}{hard}")),
            ("Who", code(by)),
            ("When", code(&format!("{:.0}", page.at))),
        ]);
        pairs.extend(page.alarm.as_ref().map(|alarm| ("Raised by", code(alarm))));
    }
    let fields: Vec<Value> = pairs.iter().map(|(label, value)| mrkdwn(&format!("*{label}*\n{value}"), 2_000)).collect();
    blocks.push(json!({ "type": "section", "fields": fields }));
    let said = match page.kind {
        PageKind::Alarm => "Look who it was first. What lifts it",
        PageKind::Frozen => "What lifts it",
        PageKind::Thawed => "What was frozen",
        PageKind::Escalated => "The question stands in the incident's thread once more. What says yes",
        PageKind::ClockBack => "What shows the computer's time service, where it has systemd",
        PageKind::Unreadable => "What shows what is wrong with it",
    };
    blocks.push(context(&format!("{said}: {}", code(&page.answer))));
    let mut card = Card::new(&title, blocks);
    if !mention.is_empty() {
        card.text = clip(&format!("{mention} {}", card.text), SECTION);
    }
    card
}

fn short(value: &Value) -> String {
    text::cut(&value.as_str().map_or_else(|| value.to_string(), str::to_owned), 120)
}

/// How a run stands; the closing report where nothing more happens in it.
#[must_use]
pub fn outcome(view: &View, entries: &[Sealed], notice: &Notice) -> Card {
    let head = match notice.kind {
        NoticeKind::Contained => "Contained",
        NoticeKind::Held => "Held: a person is needed",
        NoticeKind::Failed => "Failed: a person is needed",
        NoticeKind::Reverted => "Changed back: a person is needed",
        NoticeKind::Stuck => "Stuck: the effect of something is unknown",
        NoticeKind::Undone => "Undone",
        NoticeKind::Planned => "Only planned",
        NoticeKind::Closed => "Closed",
        NoticeKind::Detected | NoticeKind::Asks | NoticeKind::Answered => "News",
    };
    let report = Report::new(view, entries);
    let over = matches!(notice.kind, NoticeKind::Closed | NoticeKind::Undone | NoticeKind::Planned);
    let mut blocks = Vec::new();
    if !notice.why.is_empty() {
        blocks.push(section(&code(&notice.why)));
    }
    if over {
        blocks.extend(list("What happened", &report.what_happened.iter().map(|said| escape(&said.text)).collect::<Vec<_>>()));
    }
    let holds = report.incident.holds.iter().map(|hold| format!("{}: {} → {}", escape(&hold.code), code(&hold.why), code(&hold.release)));
    blocks.extend(list("What waits for a person", &holds.collect::<Vec<_>>()));
    let changed = |changed: &crate::report::Changed| {
        format!(
            "{} {}: {} → {} ({})",
            code(&changed.resource),
            escape(&changed.attribute),
            code(&short(&changed.before)),
            code(&short(&changed.after)),
            escape(&changed.now)
        )
    };
    blocks.extend(list("What was changed", &report.changed.iter().map(changed).collect::<Vec<_>>()));
    if over {
        let not_done =
            report.not_done.iter().map(|not| format!("{}: {}", code(not.step.as_deref().unwrap_or("the incident")), code(&not.why)));
        blocks.extend(list("What was not done", &not_done.collect::<Vec<_>>()));
        blocks.extend(list("Limits", &report.limits.iter().map(|limit| escape(&limit.text)).collect::<Vec<_>>()));
    }
    let undo = report.undo.commands.iter().map(|undo| format!("{}: {}", code(&undo.command), escape(&undo.does)));
    blocks.extend(list("How to undo", &undo.chain(report.undo.by_itself.iter().map(|text| escape(text))).collect::<Vec<_>>()));
    blocks.push(context(&format!("{:.0}. `cordon incident report {}`", notice.at, view.run)));
    Card::new(&format!("{head}: {}", title(view)), blocks)
}

#[cfg(test)]
mod tests;
