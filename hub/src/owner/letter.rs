//! What an owner is told: what happened, what was changed, why, when it ends by itself, and how to ask for undo. A pure function of a run.
//!
//! The same parts are drawn as plain text for e-mail and as blocks for Slack. Texts of others are cut, and mean nothing in either: nothing
//! becomes markup, a link, a mention or a line of its own.

use std::collections::BTreeSet;

use cordon_shared::{
    engine::{Entry, StepState, UndoCause, View, summary},
    journal::Sealed,
    notice::{Notice, NoticeKind, changed},
};
use serde_json::Value;

use super::find::{Found, shown};
use crate::{
    report::{Changed, Report, provider},
    slack::card::{self, Card},
    text,
};

/// How many changes are listed.
const LISTED: usize = 25;
/// Characters of a value, of a reason.
const VALUE: usize = 120;
const REASON: usize = 300;
/// Characters of the subject line (RFC 5322, section 2.1.1, recommends lines of at most 78; a header may be folded).
const SUBJECT: usize = 140;

/// A piece of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// Our words.
    Ours(String),
    /// A text of others: of a finding, a tag, a person, AWS.
    Theirs(String),
}

type Line = Vec<Part>;

fn ours(text: impl Into<String>) -> Part {
    Part::Ours(text.into())
}

fn theirs(text: &str, most: usize) -> Part {
    Part::Theirs(text::cut(text, most))
}

/// What is said under one heading.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Section {
    heading: &'static str,
    lines: Vec<Line>,
}

/// A message to an owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    title: String,
    sections: Vec<Section>,
    foot: Vec<Line>,
}

impl Letter {
    /// What is said of a run as it stands. `found`: the owner it goes to; `contact`: whom they ask for undo.
    #[must_use]
    pub fn new(view: &View, entries: &[Sealed], notice: &Notice, found: &Found, contact: &str) -> Self {
        let report = Report::new(view, entries);
        let account = &view.subject.cell.account;
        let name = view.account.as_ref().and_then(|account| account.get("name")).and_then(Value::as_str).map(shown).unwrap_or_default();
        let place = if name.is_empty() { account.to_string() } else { format!("{account} ({name})") };
        let title = match notice.kind {
            NoticeKind::Undone => format!("Cordon put back what it had changed in account {place}"),
            NoticeKind::Closed => format!("The incident is over: what Cordon changed in account {place}"),
            _ => format!("Cordon has changed something in account {place} to contain an incident"),
        };
        let sections = vec![
            Section { heading: "What happened", lines: happened(view) },
            Section { heading: "What was changed", lines: changes(view, &report) },
            Section { heading: "Why", lines: reasons(view, entries) },
            Section { heading: "How it goes on", lines: goes_on(view, entries, notice, &report) },
            Section { heading: "How to ask for undo", lines: undo(view, &report, contact) },
        ];
        Self { title, sections, foot: foot(view, found) }
    }

    /// The subject of an e-mail: one line without control characters.
    #[must_use]
    pub fn subject(&self) -> String {
        text::cut(&plain(&self.title), SUBJECT)
    }

    /// The text of an e-mail.
    #[must_use]
    pub fn body(&self) -> String {
        let line = |line: &Line| {
            let parts = line.iter().map(|part| match part {
                Part::Ours(text) => text.clone(),
                Part::Theirs(text) => plain(text),
            });
            parts.collect::<String>()
        };
        let mut out = format!("{}.\n", plain(&self.title));
        for section in &self.sections {
            out.push_str(&format!("\n{}\n", section.heading));
            section.lines.iter().for_each(|one| out.push_str(&format!("  {}\n", line(one))));
        }
        out.push_str("\n--\n");
        self.foot.iter().for_each(|one| out.push_str(&format!("{}\n", line(one))));
        out
    }

    /// The message for Slack.
    #[must_use]
    pub fn card(&self) -> Card {
        let line = |line: &Line| {
            let parts = line.iter().map(|part| match part {
                Part::Ours(text) => card::escape(text),
                Part::Theirs(text) => card::code(text),
            });
            parts.collect::<String>()
        };
        let section = |section: &Section| card::Part::List(section.heading, section.lines.iter().map(line).collect());
        let foot = self.foot.iter().map(line).collect::<Vec<_>>().join("\n");
        Card::new(&self.title, self.sections.iter().map(section).chain([card::context(&foot)]).collect(), "")
    }
}

/// Text of others in plain text: one line, nothing hidden, and nothing that a reader's program would make a link of: no scheme, no name of a
/// computer with or without `www.`, no address. A dot before a digit stays, so that
/// networks can be read: the last part of a computer's name is letters (<https://www.rfc-editor.org/rfc/rfc1123#section-2.1>).
fn plain(text: &str) -> String {
    let text = text::safe(text).replace("://", "[:]//");
    let mut out = String::with_capacity(text.len());
    let (mut before, mut rest) = (' ', text.chars().peekable());
    while let Some(c) = rest.next() {
        let in_a_name = before.is_alphanumeric() && rest.peek().is_some_and(|next| next.is_alphabetic());
        match c {
            '@' => out.push_str("[@]"),
            // The last three are dots to a browser, too (<https://www.unicode.org/reports/tr46/#Notation>).
            '.' | '\u{3002}' | '\u{ff0e}' | '\u{ff61}' if in_a_name => out.extend(['[', c, ']']),
            c => out.push(c),
        }
        before = c;
    }
    out
}

fn happened(view: &View) -> Vec<Line> {
    let finding = view.finding();
    let word = |key: &str| finding.get(key).and_then(Value::as_str).unwrap_or_default();
    let provider = view.findings.last().map_or("A security product", provider);
    let severity = finding.get("severity").and_then(Value::as_u64).map(|severity| format!(", severity {severity} of 100"));
    let mut first = vec![ours(format!("{provider} reported ")), theirs(word("type"), REASON), ours(severity.unwrap_or_default())];
    if !word("title").is_empty() {
        first.extend([ours(": "), theirs(word("title"), REASON)]);
    }
    let cell = &view.subject.cell;
    let about = vec![ours("It is about "), theirs(view.subject.name(), REASON), ours(format!(", Region {}", cell.region))];
    vec![first, about]
}

/// The rows of steps that worked in the member account.
fn rows<'r>(view: &View, report: &'r Report) -> Vec<&'r Changed> {
    let steps: BTreeSet<String> = changed(view).map(|step| step.key.to_string()).collect();
    report.changed.iter().filter(|row| steps.contains(&row.step)).collect()
}

fn changes(view: &View, report: &Report) -> Vec<Line> {
    let value = |value: &Value| match value {
        Value::Null => ours("nothing"),
        Value::String(text) => theirs(text, VALUE),
        other => theirs(&other.to_string(), VALUE),
    };
    let rows = rows(view, report);
    let one = |row: &&Changed| {
        vec![
            theirs(&row.resource, REASON),
            ours(" "),
            theirs(&row.attribute, VALUE),
            ours(": "),
            value(&row.before),
            ours(" -> "),
            value(&row.after),
            ours(" ("),
            theirs(&row.now, REASON),
            ours(")"),
        ]
    };
    let mut lines: Vec<Line> = rows.iter().take(LISTED).map(one).collect();
    if rows.len() > LISTED {
        lines.push(vec![ours(format!("… and {} more", rows.len() - LISTED))]);
    }
    lines
}

fn reasons(view: &View, entries: &[Sealed]) -> Vec<Line> {
    let playbook = &view.playbook;
    let mut lines =
        vec![vec![ours("The playbook "), theirs(&playbook.name, VALUE), ours(" answers it: "), theirs(&playbook.title, REASON)]];
    for step in changed(view) {
        let yes: BTreeSet<&str> = entries
            .iter()
            .filter_map(|sealed| match &sealed.entry {
                Entry::Approved { step: of, by, .. } if *of == step.key => Some(by.0.as_str()),
                _ => None,
            })
            .collect();
        let mut line = vec![theirs(&step.key.to_string(), VALUE), ours(": ")];
        line.push(theirs(step.because.as_deref().unwrap_or("the gate said yes"), REASON));
        for person in yes {
            line.extend([ours("; yes said by "), theirs(person, VALUE)]);
        }
        lines.push(line);
    }
    lines
}

fn goes_on(view: &View, entries: &[Sealed], notice: &Notice, report: &Report) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let sum = summary(view);
    match notice.kind {
        NoticeKind::Undone => {
            let asked = entries.iter().rev().find_map(|sealed| match &sealed.entry {
                Entry::UndoAsked { cause, .. } => Some(cause),
                _ => None,
            });
            lines.push(match asked {
                Some(UndoCause::Person { by, .. }) => vec![ours("It was put back because somebody asked for it: "), theirs(&by.0, VALUE)],
                _ => vec![ours("It was put back because its time was over")],
            });
        }
        NoticeKind::Closed if sum.why.is_empty() => lines.push(vec![ours("The incident is over")]),
        NoticeKind::Closed => lines.push(vec![ours("The incident is over: "), theirs(&sum.why, REASON)]),
        _ => lines.push(vec![ours("More may follow; you are told again when it is put back, and when the incident is over")]),
    }
    lines.extend(report.undo.by_itself.iter().map(|text| vec![ours("By itself: "), theirs(text, REASON)]));
    if report.undo.by_itself.is_empty() && stands(view) {
        lines.push(vec![ours("Nothing of it ends by itself")]);
    }
    lines
}

/// Whether something that was changed is still so, as far as is known.
fn stands(view: &View) -> bool {
    changed(view).any(|step| !matches!(step.state, StepState::Undone { .. }))
}

fn undo(view: &View, report: &Report, contact: &str) -> Vec<Line> {
    if !stands(view) {
        return vec![vec![
            ours("Nothing is left to be undone. Questions go to "),
            ours(contact),
            ours(format!(", with the incident {}", view.run)),
        ]];
    }
    let ask = vec![ours("Write to "), ours(contact), ours(format!(", name the incident {}, and say why it is wrong", view.run))];
    let mut lines = vec![ask];
    if !report.undo.will_not.is_empty() {
        lines.push(vec![ours("Do not change it back by hand: what somebody else has changed since is not put back")]);
    }
    lines
}

fn foot(view: &View, found: &Found) -> Vec<Line> {
    let mut lines = Vec::new();
    if let Some((address, place)) = &found.address {
        let because = ours("You are told because this names you: ");
        lines.push(vec![because, theirs(&place.to_string(), REASON), ours(", "), theirs(address.text(), VALUE)]);
    }
    for (name, place) in &found.names {
        lines.push(vec![ours("Its owner is also named as "), theirs(name, VALUE), ours(", by "), theirs(&place.to_string(), REASON)]);
    }
    lines.push(vec![ours(format!("Incident {}, as of {:.0}", view.run, view.updated_at))]);
    lines
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cordon_shared::{mode::Mode, notice::Audience, plan::Seat};

    use super::*;
    use crate::{
        config::owner::Owner,
        owner::find::{Clue, Place, of_resources},
        report::fixture::{GROUP, Run, analyst, blocking, closing, golden, step},
    };

    fn notice(run: &Run, kind: NoticeKind) -> Notice {
        let view = run.view();
        Notice {
            key: format!("owner/{}", kind.as_str()),
            audience: Audience::Owner,
            kind,
            run: view.run,
            ..crate::slack::testing::notice(kind)
        }
    }

    fn settings() -> Owner {
        let contact = "security@example.com or #security".into();
        Owner { tag_key: "owner".into(), from: Some("cordon@example.com".into()), slack: true, domains: Vec::new(), contact }
    }

    fn tagged(value: &str) -> cordon_shared::plan::Plan {
        let tags = BTreeMap::from([("owner".to_owned(), value.to_owned())]);
        cordon_shared::plan::Plan { tags: BTreeMap::from([(GROUP.to_owned(), tags)]), ..closing() }
    }

    fn contained(title: &str, value: &str) -> Run {
        let mut run = Run::open_titled(Mode::Act, title);
        run.applied("close-ingress", tagged(value));
        run.applied("block-source", blocking());
        run
    }

    fn letter(run: &Run, kind: NoticeKind) -> Letter {
        let view = run.view();
        let contact = Clue { place: Place::Contact("111122223333".into()), text: "sec@example.com".into() };
        let found = Found::default().look(of_resources(&view, "owner").into_iter().chain([contact]), &settings());
        Letter::new(&view, &run.entries, &notice(run, kind), &found, &settings().contact)
    }

    fn shown(letter: &Letter) -> String {
        format!("Subject: {}\n\n{}\n{}", letter.subject(), letter.body(), serde_json::to_string_pretty(&letter.card().blocks).unwrap())
    }

    #[test]
    fn an_owner_reads_what_was_changed_why_until_when_and_whom_to_ask_for_undo() {
        let run = contained("203.0.113.5 is performing SSH brute force attacks against i-0abc.", "payments@example.com");
        golden("src/owner/golden/contained.txt", &shown(&letter(&run, NoticeKind::Contained)));
    }

    #[test]
    fn an_owner_reads_that_it_was_put_back_and_by_whose_wish() {
        let mut run = contained("t", "payments@example.com");
        run.undone("block-source", &blocking());
        run.undone("close-ingress", &closing());
        let said = letter(&run, NoticeKind::Undone).body();
        assert!(said.contains(&analyst().0) && said.contains("(put back)") && said.contains("Nothing is left to be undone"), "{said}");
    }

    #[test]
    fn a_yes_is_told_with_who_said_it() {
        let mut run = Run::open(Mode::Ask);
        let digest = run.planned("close-ingress", closing());
        let expires = crate::slack::testing::expires(&run);
        run.add(Entry::Asked { step: step("close-ingress"), digest: digest.clone(), why: "mode ask".into(), expires, people: 1 });
        run.add(Entry::Approved { step: step("close-ingress"), digest, by: analyst(), expires, identity: String::new() });
        run.applied("close-ingress", closing());
        let said = letter(&run, NoticeKind::Contained).body();
        assert!(said.contains(&format!("yes said by {}", analyst().0)), "{said}");
    }

    #[test]
    fn no_name_address_or_scheme_of_others_becomes_a_link_in_a_mail_and_networks_stay_as_they_are() {
        for (text, shown) in [
            ("see Www.evil.example now", "see Www[.]evil[.]example now"),
            ("WWW.EVIL.EXAMPLE", "WWW[.]EVIL[.]EXAMPLE"),
            ("evil.example/login?a=b.c", "evil[.]example/login?a=b[.]c"),
            ("a1.9evil.co.uk", "a1.9evil[.]co[.]uk"),
            ("help@evil.example or \"h\"@[192.0.2.1]", "help[@]evil[.]example or \"h\"[@][192.0.2.1]"),
            ("hTTps://evil.example:8443", "hTTps[:]//evil[.]example:8443"),
            ("b\u{fc}ro.ex\u{e4}mple \u{4f8b}\u{3002}\u{4f8b}", "b\u{fc}ro[.]ex\u{e4}mple \u{4f8b}[\u{3002}]\u{4f8b}"),
            ("from 203.0.113.5/32 and 2001:db8::1, 3.5 times. Then …", "from 203.0.113.5/32 and 2001:db8::1, 3.5 times. Then …"),
            ("arn:aws:ec2:us-east-1:111122223333:security-group/sg-0abc", "arn:aws:ec2:us-east-1:111122223333:security-group/sg-0abc"),
        ] {
            assert_eq!(plain(text), shown);
        }
    }

    /// Whoever writes tags and findings writes no header, no link, no mention, and no line of ours.
    #[test]
    fn hostile_titles_and_tags_mean_nothing_in_mail_or_slack() {
        let hostile = "x\r\nBcc: evil@example.net\r\n\r\nHow to ask for undo\n  Write to <!channel> <https://evil.example|us> `@here` *now* www.evil.example \u{202e}";
        let run = contained(hostile, hostile);
        let letter = letter(&run, NoticeKind::Contained);
        let (subject, body) = (letter.subject(), letter.body());
        assert!(!subject.contains(['\r', '\n']) && subject.chars().count() <= SUBJECT, "{subject}");
        assert!(!body.contains(['\r', '\u{202e}', '\u{1b}']) && !body.contains("://") && !body.contains("www."), "{body}");
        assert!(!body.contains("evil.example") && !body.contains("evil@"), "{body}");
        assert_eq!(body.lines().filter(|line| line.trim_start().starts_with("How to ask for undo")).count(), 1, "{body}");
        assert!(!body.lines().any(|line| line.trim_start().starts_with("Bcc:")), "{body}");
        let card = letter.card();
        let blocks = Value::from(card.blocks).to_string();
        assert!(!blocks.contains("<!channel>") && !blocks.contains("<https") && !card.text.contains('<'), "{blocks}");
        golden("src/owner/golden/hostile.txt", &body);
    }

    #[test]
    fn a_note_on_the_finding_is_nothing_of_the_owners() {
        let mut run = Run::open(Mode::Act);
        run.applied("close-ingress", cordon_shared::plan::Plan { seat: Seat::Hub, ..closing() });
        assert_eq!(changed(&run.view()).count(), 0);
        assert!(rows(&run.view(), &Report::new(&run.view(), &run.entries)).is_empty());
    }

    #[test]
    fn many_and_long_changes_are_counted_and_cut() {
        let mut run = Run::open(Mode::Act);
        let mut plan = closing();
        let one = plan.changes[0].clone();
        let long =
            |n: usize| cordon_shared::plan::Change { attribute: format!("a{n}"), before: Value::from("x".repeat(9_000)), ..one.clone() };
        plan.changes = (0..LISTED + 7).map(long).collect();
        run.applied("close-ingress", plan);
        let letter = letter(&run, NoticeKind::Closed);
        assert!(letter.body().contains("… and 7 more") && letter.body().len() < 20_000);
        assert!(
            letter.card().blocks.iter().all(|block| block["text"]["text"].as_str().unwrap_or_default().encode_utf16().count() <= 3_000)
        );
    }
}
