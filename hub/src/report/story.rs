//! What happened, in words.

use std::collections::BTreeSet;

use cordon_shared::{
    engine::{Entry, FindingNote, Person, StepState, UndoCause, View, summary},
    finding::{Subject, SubjectKind},
    journal::Sealed,
    plan::{Effect, Verdict},
};

use super::{Moment, PersonSaid, Statement, at, count, plain, text_at};

/// What a finding note is called as a reference.
pub(super) fn finding_reference(note: &FindingNote) -> String {
    if note.raw_sha256.is_empty() {
        format!("finding {}", note.id.0)
    } else {
        format!("finding {}, evidence sha256:{}", note.id.0, note.raw_sha256)
    }
}

/// Who observed a finding, by its full name.
pub(crate) fn provider(note: &FindingNote) -> &str {
    match text_at(&note.finding, &["provider"]) {
        Some("guard-duty") => "Amazon GuardDuty",
        Some("security-hub") => "AWS Security Hub",
        Some("inspector") => "Amazon Inspector",
        _ => "A security product",
    }
}

fn subject_word(kind: SubjectKind) -> &'static str {
    match kind {
        SubjectKind::Instance => "EC2 instance",
        SubjectKind::SecurityGroup => "security group",
        SubjectKind::AccessKey => "access key",
        SubjectKind::User => "IAM user",
        SubjectKind::Role => "IAM role",
        SubjectKind::Bucket => "S3 bucket",
        SubjectKind::Account => "account",
        SubjectKind::Other => "resource",
    }
}

/// What else of the subject's kind a finding names.
fn others(view: &View, finding: &serde_json::Value) -> Vec<String> {
    let subjects = at(finding, &["subjects"]).and_then(serde_json::Value::as_array).into_iter().flatten();
    let of_kind = subjects.filter_map(|subject| serde_json::from_value::<Subject>(subject.clone()).ok());
    of_kind
        .filter(|subject| subject.kind == view.subject.kind && *subject != view.subject)
        .map(|subject| subject.name().to_owned())
        .collect()
}

/// The incident in a few sentences.
pub(super) fn what_happened(view: &View) -> Vec<Statement> {
    let say = |text: String, reference: Option<String>| Statement { text, reference, not_known_because: None };
    let mut out = Vec::new();
    if let Some(note) = view.findings.last() {
        let kind = text_at(&note.finding, &["type"]).unwrap_or("a finding without a type");
        let severity =
            at(&note.finding, &["severity"]).map(|severity| format!(", severity {} of 100", plain(severity))).unwrap_or_default();
        let title = text_at(&note.finding, &["title"]).map(|title| format!(": {title}")).unwrap_or_default();
        out.push(say(format!("{} reported {kind}{severity}{title}", provider(note)), Some(finding_reference(note))));
        let others = others(view, &note.finding);
        if !others.is_empty() {
            out.push(say(
                format!("It names {} too; an incident of its own answers each that a playbook is about.", others.join(", ")),
                Some(finding_reference(note)),
            ));
        }
        if view.findings.len() > 1 {
            let text =
                format!("{} belong to this incident; the latest is the one above.", count(view.findings.len(), "finding", "findings"));
            out.push(say(text, None));
        }
    }
    let subject = &view.subject;
    let cell = &subject.cell;
    let name = view.account.as_ref().and_then(|account| text_at(account, &["name"])).map(|name| format!(" ({name})")).unwrap_or_default();
    out.push(say(
        format!("It is about {} {} in account {}{name}, Region {}.", subject_word(subject.kind), subject.id, cell.account, cell.region),
        None,
    ));
    let first = view.steps.iter().filter_map(|step| step.first_change).min();
    let detected = format!("Cordon took it in at {:.0}, under mode {}", view.detected_at, view.mode);
    match first {
        Some(first) => {
            let after = first.duration_since(view.detected_at).as_secs();
            out.push(say(format!("{detected}, and began its first change at {first:.0}, {after} s later."), None));
            out.push(say(standing(view), None));
        }
        None => out.push(say(format!("{detected}. Nothing was changed."), None)),
    }
    let sum = summary(view);
    let why = if sum.why.is_empty() { String::new() } else { format!(": {}", sum.why.trim_end_matches('.')) };
    out.push(say(format!("The incident is {}{why}.", sum.state), None));
    out
}

/// What of all that was changed stands.
fn standing(view: &View) -> String {
    let stands = |step: &&cordon_shared::engine::StepView| step.state == StepState::InEffect && step.looks.reverted.is_none();
    let changes: Vec<_> = view.steps.iter().filter(stands).filter_map(|step| step.plan.as_ref()).flat_map(|plan| &plan.changes).collect();
    let resources: BTreeSet<&str> = changes.iter().map(|change| change.resource.as_str()).collect();
    if changes.is_empty() {
        return "No change is in effect now.".to_owned();
    }
    let (attributes, resources) = (count(changes.len(), "change", "changes"), count(resources.len(), "resource", "resources"));
    format!("{attributes} of {resources} in effect, each read back from AWS.")
}

/// Every entry as a moment.
pub(super) fn timeline(entries: &[Sealed]) -> Vec<Moment> {
    let moment = |sealed: &Sealed| Moment {
        at: sealed.at,
        seq: sealed.seq,
        step: sealed.entry.step().map(ToString::to_string),
        text: words(&sealed.entry),
    };
    entries.iter().map(moment).collect()
}

/// An entry in words.
fn words(entry: &Entry) -> String {
    match entry {
        Entry::Opened { playbook, finding, mode, observe_only, .. } => {
            let only = observe_only.as_ref().map(|why| format!("; observing only: {why}")).unwrap_or_default();
            format!("{} taken in from {}: incident opened with playbook {playbook}, mode {mode}{only}", kind(finding), finding.input)
        }
        Entry::FindingJoined { finding, renews: true } => {
            format!("{} from {} joined and tells something new: what has not begun is planned anew", kind(finding), finding.input)
        }
        Entry::FindingJoined { finding, renews: false } => format!("{} from {} joined and tells nothing new", kind(finding), finding.input),
        Entry::Admitted { .. } => "the account is an active one of the organization".to_owned(),
        Entry::LookedOn { why } => format!("looked at in spite of its opt-out: {why}"),
        Entry::Kept { .. } => "a later finding changes nothing for this step".to_owned(),
        Entry::Renewed { .. } => "this step is asked for once more".to_owned(),
        Entry::Skipped { why, .. } => format!("skipped: {why}"),
        Entry::Turned { why, .. } => format!("{why}: it counts as compromised from here on, and is planned anew"),
        Entry::Planned { plan, .. } => format!("planned: {}", count(plan.changes.len(), "change", "changes")),
        Entry::Observed { why, .. } => format!("stays a plan: {why}"),
        Entry::AlreadyDone { claims, .. } if claims.is_empty() => "everything is as wanted already".to_owned(),
        Entry::AlreadyDone { .. } => {
            "everything is as wanted already, by an earlier change of Cordon; it stays as long as this incident needs it".to_owned()
        }
        Entry::Decided { because, .. } => format!("the gate said yes: {because}"),
        Entry::ApplyStarted { attempt, .. } => format!("change begun, attempt {attempt}; the state before is stored"),
        Entry::Pending { due, .. } => format!("something slow was started; asked after at {due:.0}"),
        Entry::Applied { .. } => "changed; not yet read back".to_owned(),
        Entry::ApplyFailed { effect, error, again, .. } => {
            let effect = match effect {
                Effect::None => "nothing was changed",
                Effect::Partial => "part of it was changed",
                Effect::Unknown => "whether it took effect is unknown",
            };
            let again = again.map(|again| format!("; looked at again at {again:.0}")).unwrap_or_default();
            format!("the change failed, {effect}: {error}{again}")
        }
        Entry::Verified { verdict, again, .. } => {
            let again = again.map(|again| format!("; read again at {again:.0}")).unwrap_or_default();
            format!("read back: {}{again}", verdict_words(verdict))
        }
        Entry::Recovered { verdict, .. } => format!("read after an interruption: {}", verdict_words(verdict)),
        Entry::ProbeDone { outcome, evidence, .. } => {
            let verdict = text_at(outcome, &["verdict"]).map(|verdict| format!(", verdict {verdict}")).unwrap_or_default();
            format!("looked{verdict}; {} kept", count(evidence.len(), "piece of evidence", "pieces of evidence"))
        }
        Entry::Deferred { why, until, .. } => format!("put off until {until:.0}: {why}"),
        Entry::Failed { why, .. } => format!("failed: {why}"),
        Entry::Held { hold, .. } => format!("held ({}): {}", hold.code, hold.why),
        Entry::Retried { by, .. } => format!("{} had it tried again", by.0),
        Entry::UndoAsked { cause, .. } => match cause {
            UndoCause::Person { by, .. } => format!("{} asked for it to be undone", by.0),
            UndoCause::Ttl => "its time is over: it is to be undone".to_owned(),
        },
        Entry::UndoStarted { attempt, from, .. } => {
            format!("undo begun, attempt {attempt}: {}", count(from.len(), "attribute", "attributes"))
        }
        Entry::Looked { after, found, .. } => format!("looked at again after {after:#}: {}", found.words()),
        Entry::LetGo { keys, to, .. } => {
            format!("{} changed back by somebody: {to} answers for it now", count(keys.len(), "attribute was", "attributes were"))
        }
        Entry::UndoStopped { at, .. } => format!("not undone: the undo stopped at {at}"),
        Entry::UndoFrozen { why, .. } => format!("the undo is frozen: {why}"),
        Entry::Undone { restored, left, .. } => {
            let left = if left.is_empty() { String::new() } else { format!("; left: {}", left.join("; ")) };
            format!("undone: {} put back{left}", count(restored.len(), "attribute", "attributes"))
        }
        Entry::ByHand { steps, .. } => format!("a person has to undo it: {}", steps.join("; ")),
        Entry::UndoFailed { error, again, .. } => {
            let again = again.map(|again| format!("; tried again at {again:.0}")).unwrap_or_default();
            format!("the undo failed: {error}{again}")
        }
        Entry::Stuck { why, .. } => format!("the effect is unknown: {why}"),
        Entry::Judged { answer, .. } => {
            let opt_out = answer.opt_out.as_ref().map(|answer| format!("; new opt-out: {}", answer.why)).unwrap_or_default();
            format!("policies: {}{opt_out}", answer.why)
        }
        Entry::Asked { .. }
        | Entry::Approved { .. }
        | Entry::Refused { .. }
        | Entry::Escalated { .. }
        | Entry::AskExpired { .. }
        | Entry::Released { .. }
        | Entry::Thawed { .. }
        | Entry::ClosedBy { .. } => {
            said(entry).map(|(by, text)| by.map_or_else(|| text.clone(), |by| format!("{by} {text}"))).unwrap_or_default()
        }
    }
}

fn kind(note: &FindingNote) -> String {
    text_at(&note.finding, &["type"]).map_or_else(|| "a finding".to_owned(), |kind| format!("finding {kind}"))
}

fn verdict_words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::InEffect => "in effect".to_owned(),
        Verdict::NotInEffect { detail } => format!("not in effect: {detail}"),
        Verdict::Drifted { detail } => format!("somebody else changed it: {detail}"),
    }
}

/// What people were asked, said and did.
pub(super) fn people(entries: &[Sealed]) -> Vec<PersonSaid> {
    let one = |sealed: &Sealed| {
        let (by, text) = said(&sealed.entry)?;
        Some(PersonSaid { at: sealed.at, by, step: sealed.entry.step().map(ToString::to_string), text })
    };
    entries.iter().filter_map(one).collect()
}

/// A person, with the identity by which it was proven.
fn as_whom(by: &Person, identity: &str) -> String {
    if identity.is_empty() { by.0.clone() } else { format!("{} ({identity})", by.0) }
}

/// Who said what, where an entry is about a person.
fn said(entry: &Entry) -> Option<(Option<String>, String)> {
    let short = |digest: &str| digest.chars().take(crate::incident::DIGEST_LETTERS).collect::<String>();
    Some(match entry {
        Entry::Asked { digest, why, expires, people, .. } => {
            let who = if *people == 1 { "a person is asked".to_owned() } else { format!("{people} different persons are asked") };
            (None, format!("{who} about plan {} until {expires:.0}: {why}", short(digest)))
        }
        Entry::Approved { digest, by, expires, identity, .. } => {
            (Some(as_whom(by, identity)), format!("said yes to plan {}; it counts until {expires:.0}", short(digest)))
        }
        Entry::Refused { by, why, identity, .. } if why.is_empty() => (Some(as_whom(by, identity)), "said no".to_owned()),
        Entry::Refused { by, why, identity, .. } => (Some(as_whom(by, identity)), format!("said no: {why}")),
        Entry::Escalated { expires, .. } => {
            (None, format!("not enough people answered in time: it is asked once more, escalated, until {expires:.0}"))
        }
        Entry::AskExpired { .. } => (None, "not enough people answered in time".to_owned()),
        Entry::Released { by, .. } => (Some(by.0.clone()), "released the hold".to_owned()),
        Entry::Thawed { by, why } => (Some(by.0.clone()), format!("had what was frozen looked at again: {why}")),
        Entry::Retried { by, .. } => (Some(by.0.clone()), "had it tried again".to_owned()),
        Entry::UndoAsked { cause: UndoCause::Person { by, .. }, .. } => (Some(by.0.clone()), "asked for it to be undone".to_owned()),
        Entry::ClosedBy { by, why } => (Some(by.0.clone()), format!("closed the incident: {why}")),
        _ => return None,
    })
}
