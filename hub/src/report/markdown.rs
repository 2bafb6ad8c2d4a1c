//! The report as Markdown. Nothing that came from outside is written without [`markdown`], [`code`] or [`cell`].

use std::fmt::Write as _;

use serde_json::Value;

use super::{AccessVerdict, Changed, Report, Statement, plain};
use crate::text::{cell, code, cut, markdown};

/// Letters of a value in a table; the JSON report has the whole.
const CELL: usize = 300;
/// Logins in the table; the JSON report has all.
const LOGINS: usize = 20;

/// Adds a line; writing to a string cannot fail.
macro_rules! line {
    ($out:expr) => { $out.push('\n') };
    ($out:expr, $($part:tt)*) => { writeln!($out, $($part)*).unwrap_or_default() };
}

pub(super) fn render(report: &Report) -> String {
    let mut out = String::new();
    head(&mut out, report);
    section(&mut out, "What happened");
    statements(&mut out, &report.what_happened);
    access(&mut out, report);
    root_cause(&mut out, report);
    section(&mut out, "What was changed");
    if report.changed.is_empty() {
        line!(out, "Nothing.");
    } else {
        changes(&mut out, &report.changed);
    }
    if !report.would_change.is_empty() {
        section(&mut out, "What would be changed, and was not");
        changes(&mut out, &report.would_change);
    }
    not_done(&mut out, report);
    people(&mut out, report);
    owner(&mut out, report);
    undo(&mut out, report);
    timeline(&mut out, report);
    evidence(&mut out, report);
    if !report.limits.is_empty() {
        section(&mut out, "What these measures do not do");
        for limit in &report.limits {
            let source = limit.source.as_ref().map(|source| format!(" ([AWS]({source}))")).unwrap_or_default();
            let code = limit.code.as_ref().map(|code| format!("{}: ", self::code(code))).unwrap_or_default();
            line!(out, "- {code}{}{source}", limit.text);
        }
    }
    out
}

fn section(out: &mut String, title: &str) {
    line!(out, "\n## {title}\n");
}

fn head(out: &mut String, report: &Report) {
    let incident = &report.incident;
    line!(out, "# {}\n", markdown(&report.title));
    line!(out, "| | |\n| --- | --- |");
    let state = serde_json::to_value(incident.state).map(|state| plain(&state)).unwrap_or_default();
    let reason = if incident.reason.is_empty() { String::new() } else { format!(": {}", markdown(&incident.reason)) };
    line!(out, "| Incident | {} |", cell(&report.journal.incident.to_string()));
    line!(out, "| State | **{state}**{reason} |");
    line!(out, "| Playbook | {} |", cell(incident.playbook.as_deref().unwrap_or_default()));
    line!(out, "| Subject | {} |", cell(&incident.subject));
    line!(out, "| Account, Region | {}, {} |", cell(&incident.account), cell(&incident.region));
    line!(out, "| Detected | {:.0} |", incident.detected_at);
    line!(out, "| First change | {} |", incident.first_change_at.map_or_else(|| "none".to_owned(), |at| format!("{at:.0}")));
    line!(out, "| Contained | {} |", incident.contained_at.map_or_else(|| "not, or not yet".to_owned(), |at| format!("{at:.0}")));
    line!(out, "| Ended | {} |", incident.ended_at.map_or_else(|| "not yet".to_owned(), |at| format!("{at:.0}")));
    line!(out, "\nAll times are UTC. Text from findings, logs and tags is shown as it came, with control characters written out.");
}

fn statements(out: &mut String, statements: &[Statement]) {
    for statement in statements {
        let reference = statement.reference.as_ref().map(|reference| format!(" [{}]", code(reference))).unwrap_or_default();
        match &statement.not_known_because {
            Some(why) => {
                line!(out, "- {}: not known, because {}.{reference}", markdown(&statement.text), markdown(why.trim_end_matches('.')))
            }
            None => line!(out, "- {}{reference}", markdown(&statement.text)),
        }
    }
}

fn access(out: &mut String, report: &Report) {
    let access = &report.access;
    let verdict = match access.verdict {
        AccessVerdict::NotAsked => return,
        AccessVerdict::GotIn => "**The attacker got in.**",
        AccessVerdict::Compromised => "**It does an attacker's work, its provider says; no login of the attacker is confirmed.**",
        AccessVerdict::MayHaveGotIn => "**The attacker may have got in; a person must decide.**",
        AccessVerdict::NoLoginFound => "**No login of the attacker was found.**",
        AccessVerdict::NotKnown => "**Whether the attacker got in is not known.**",
    };
    section(out, "How they got in, or were kept out");
    line!(out, "{verdict}\n");
    statements(out, &access.statements);
    if !access.logins.is_empty() {
        line!(out, "\n| How sure | User | From | When | By | Why | Line | Reference |\n| --- | --- | --- | --- | --- | --- | --- | --- |");
        for login in access.logins.iter().take(LOGINS) {
            let cells = [&login.user, &login.from, &login.at, &login.method].map(|text| cell(&cut(text, CELL))).join(" | ");
            let (why, log, reference) =
                (markdown(&cut(&login.why, CELL)), cell(&cut(&login.line, CELL)), cell(&cut(&login.reference, CELL)));
            line!(out, "| {} | {cells} | {why} | {log} | {reference} |", markdown(&login.confidence));
        }
        let more = access.logins.len().saturating_sub(LOGINS);
        if more > 0 {
            line!(out, "\n{more} more are in the JSON report.");
        }
    }
    if !access.looked_at.is_empty() {
        line!(out, "\nLooked at:\n");
        for looked in &access.looked_at {
            line!(out, "- {}: {}", code(&looked.place), markdown(&looked.result));
        }
    }
}

fn root_cause(out: &mut String, report: &Report) {
    if report.root_cause.is_empty() {
        return;
    }
    section(out, "Root cause");
    for (index, answer) in report.root_cause.iter().enumerate() {
        let gap = if index == 0 { "" } else { "\n" };
        line!(out, "{gap}### {}\n", answer.question);
        statements(out, &answer.statements);
    }
}

fn changes(out: &mut String, rows: &[Changed]) {
    line!(out, "| Step | Resource | Attribute | Before | After | Now |\n| --- | --- | --- | --- | --- | --- |");
    for row in rows {
        let (before, after) = (value(&row.before), value(&row.after));
        line!(
            out,
            "| {} | {} | {} | {before} | {after} | {} |",
            cell(&row.step),
            cell(&row.resource),
            cell(&row.attribute),
            markdown(&row.now)
        );
    }
}

fn value(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        value => cell(&cut(&plain(value), CELL)),
    }
}

fn not_done(out: &mut String, report: &Report) {
    section(out, "What was not done, and why");
    if report.not_done.is_empty() {
        line!(out, "Everything that the playbook asks for was done.");
    }
    for one in &report.not_done {
        let name = one.step.as_ref().map_or_else(|| "The whole incident".to_owned(), |step| code(step));
        let action = if one.step.is_some() { format!(" ({})", code(&one.action)) } else { String::new() };
        line!(out, "- {name}{action}, **{}**: {}", one.state, markdown(&one.why));
        if let Some(answer) = &one.answer {
            line!(out, "  - To go on: {}", code(answer));
        }
    }
    if !report.notes.is_empty() {
        line!(out, "\nWorth knowing:\n");
        for note in &report.notes {
            line!(out, "- {}: {}", code(&note.step), markdown(&note.text));
        }
    }
}

fn people(out: &mut String, report: &Report) {
    section(out, "Approvals, and what people did");
    if report.people.is_empty() {
        line!(out, "Nobody was asked, and nobody intervened.");
        return;
    }
    line!(out, "| When | Who | Step | What |\n| --- | --- | --- | --- |");
    for one in &report.people {
        let who = one.by.as_ref().map_or_else(|| "Cordon".to_owned(), |by| cell(by));
        let step = one.step.as_ref().map_or_else(|| "all".to_owned(), |step| cell(step));
        line!(out, "| {:.0} | {who} | {step} | {} |", one.at, markdown(&one.text));
    }
}

/// Whether the owner knows. The lines are safe text of ours and others.
fn owner(out: &mut String, report: &Report) {
    if report.incident.owner.is_empty() {
        return;
    }
    section(out, "Its owner");
    for told in &report.incident.owner {
        line!(out, "- Owner: {}", markdown(&told.line()));
    }
}

fn undo(out: &mut String, report: &Report) {
    section(out, "How to undo");
    let guide = &report.undo;
    if guide.commands.is_empty() {
        line!(out, "There is nothing to undo.");
    }
    for one in &guide.commands {
        line!(out, "- {}: {}", code(&one.command), markdown(&one.does));
    }
    if !guide.by_itself.is_empty() {
        line!(out, "\nBy itself:\n");
        for one in &guide.by_itself {
            line!(out, "- {}", markdown(one));
        }
    }
    if !guide.will_not.is_empty() {
        line!(out, "\nAn undo will not:\n");
        for one in &guide.will_not {
            line!(out, "- {one}");
        }
    }
}

fn timeline(out: &mut String, report: &Report) {
    section(out, "Timeline");
    line!(out, "| When | Entry | Step | What |\n| --- | --- | --- | --- |");
    for moment in &report.timeline {
        let step = moment.step.as_ref().map(|step| cell(step)).unwrap_or_default();
        line!(out, "| {:.3} | {} | {step} | {} |", moment.at, moment.seq, markdown(&moment.text));
    }
}

fn evidence(out: &mut String, report: &Report) {
    section(out, "Evidence");
    if report.evidence.is_empty() {
        line!(out, "None was kept.");
    } else {
        line!(out, "| SHA-256 | What |\n| --- | --- |");
        for one in &report.evidence {
            line!(out, "| {} | {} |", cell(&one.sha256), markdown(&one.what));
        }
    }
    let journal = &report.journal;
    line!(out, "\nMade from {} entries of the journal, the last with hash {}.", journal.entries, code(&journal.head));
    line!(out, "{} checks the chain and the evidence offline.", code("cordon audit verify"));
}
