//! What messages look like: Block Kit, as pure functions of a run.
//!
//! Slack's limits (<https://docs.slack.dev/reference/block-kit/blocks>): 50 blocks in a message, 3,000 characters in a section's text, 150 in
//! a header's, 10 fields of 2,000 characters, 2,000 in a button's value; and a total, for which lists are cut ([`parts`]). Text of others is shown letter for letter and means nothing:
//! `&`, `<` and `>` are written out (<https://docs.slack.dev/messaging/formatting-message-text>, "Escaping text"), and nothing becomes a link (`verbatim`).

mod parts;

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

pub use parts::{Card, escape};
pub(crate) use parts::{Part, code, context};
use parts::{SECTION, clip, fields, section};

/// The button that says yes.
pub const APPROVE: &str = "cordon-approve";
/// The button that says no.
pub const DENY: &str = "cordon-deny";

fn facts(view: &View) -> Part {
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
    fields(&pairs)
}

/// The command that shows all of an incident.
fn report(view: &View) -> String {
    format!("cordon incident report {}", view.run)
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
    let mut blocks = vec![section(&format!("The incident is *{}*{why}", sum.state)), facts(view), Part::List("Steps", steps)];
    blocks.push(context(&format!("Detected at {:.0}, mode {}. `cordon incident show {}`", view.detected_at, view.mode, view.run)));
    Card::new(&title(view), blocks, &report(view))
}

/// Whether a question stands: the step asks about exactly that plan, and its time is not over.
fn stands(view: &View, notice: &Notice, now: Timestamp) -> bool {
    let asked = notice.step.as_ref().and_then(|step| view.step(step)).map(|step| &step.state);
    let Some(StepState::Asked { digest, expires, .. }) = asked else { return false };
    view.closed_by.is_none() && notice.digest.as_ref() == Some(digest) && notice.expires == Some(*expires) && now < *expires
}

/// How many persons are asked, where one is not enough, and who said yes before this was drawn.
fn asked(view: &View, step: &StepKey) -> Option<String> {
    let found = view.step(step)?;
    let StepState::Asked { people, .. } = &found.state else { return None };
    let yes: Vec<String> = found.approvals.iter().map(|yes| code(&yes.by.0)).collect();
    let so_far = if yes.is_empty() { String::new() } else { format!("; so far: {}", yes.join(", ")) };
    (*people > 1).then(|| format!("*{people} persons* are asked{so_far}"))
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
    let Some(step) = &notice.step else { return Card::new("A question about no step", Vec::new(), "") };
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
        blocks.push(Part::List("What would be changed", plan.changes.iter().map(change).collect()));
        let resources = plan.resources().len();
        let reach = format!(
            "*Blast radius*: {} {} of {resources} {}, {} counted against the caps",
            plan.changes.len(),
            if plan.changes.len() == 1 { "change" } else { "changes" },
            if resources == 1 { "resource" } else { "resources" },
            plan.counted().len()
        );
        blocks.push(section(&reach));
        blocks.push(Part::List("To know", plan.notes.iter().map(|note| escape(note)).collect()));
    }
    let letters: String = digest.chars().take(DIGEST_LETTERS).collect();
    if stands(view, notice, now) {
        let value = json!({ "run": view.run, "step": step, "digest": digest, "expires": notice.expires }).to_string();
        let button = |id: &str, label: &str, style: &str| {
            json!({
                "type": "button", "action_id": id, "style": style, "value": value,
                "text": { "type": "plain_text", "text": label, "emoji": false },
            })
        };
        let elements = [button(APPROVE, "Approve", "primary"), button(DENY, "Deny", "danger")];
        blocks.extend(asked(view, step).map(|text| section(&text)));
        blocks.push(Part::Whole(json!({ "type": "actions", "elements": elements })));
        let expires = notice.expires.map(|expires| format!("{expires:.0}")).unwrap_or_default();
        let command = format!("cordon approval grant {} --step {step} --digest {letters}", view.run);
        blocks.push(context(&format!("Plan {}. Void after {expires}. {}", code(&letters), code(&command))));
    } else {
        blocks.push(section(&answer(entries, notice, step)));
        blocks.push(context(&format!("Plan {}", code(&letters))));
    }
    let again = if notice.escalated { "Escalated, nobody answered in time. " } else { "" };
    Card::new(&format!("{again}May `{step}` be done? {}", title(view)), blocks, &report(view))
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
    blocks.push(fields(&pairs));
    let said = match page.kind {
        PageKind::Alarm => "Look who it was first. What lifts it",
        PageKind::Frozen => "What lifts it",
        PageKind::Thawed => "What was frozen",
        PageKind::Escalated => "The question stands in the incident's thread once more. What says yes",
        PageKind::ClockBack => "What shows the computer's time service, where it has systemd",
        PageKind::Unreadable => "What shows what is wrong with it",
    };
    blocks.push(context(&format!("{said}: {}", code(&page.answer))));
    let mut card = Card::new(&title, blocks, "");
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
    let known = Report::new(view, entries);
    let over = matches!(notice.kind, NoticeKind::Closed | NoticeKind::Undone | NoticeKind::Planned);
    let mut blocks = Vec::new();
    if !notice.why.is_empty() {
        blocks.push(section(&code(&notice.why)));
    }
    if over {
        blocks.push(Part::List("What happened", known.what_happened.iter().map(|said| escape(&said.text)).collect()));
    }
    let holds = known.incident.holds.iter().map(|hold| format!("{}: {} → {}", escape(&hold.code), code(&hold.why), code(&hold.release)));
    blocks.push(Part::List("What waits for a person", holds.collect()));
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
    blocks.push(Part::List("What was changed", known.changed.iter().map(changed).collect()));
    if over {
        let not_done =
            known.not_done.iter().map(|not| format!("{}: {}", code(not.step.as_deref().unwrap_or("the incident")), code(&not.why)));
        blocks.push(Part::List("What was not done", not_done.collect()));
        blocks.push(Part::List("Limits", known.limits.iter().map(|limit| escape(&limit.text)).collect()));
    }
    let undo = known.undo.commands.iter().map(|undo| format!("{}: {}", code(&undo.command), escape(&undo.does)));
    blocks.push(Part::List("How to undo", undo.chain(known.undo.by_itself.iter().map(|text| escape(text))).collect()));
    blocks.push(context(&format!("{:.0}. `{}`", notice.at, report(view))));
    Card::new(&format!("{head}: {}", title(view)), blocks, &report(view))
}

#[cfg(test)]
mod tests;
