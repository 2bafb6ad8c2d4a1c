//! How they got in, or were kept out, and the evidence for it. What is missing is said to be missing.

use cordon_shared::engine::{StepState, StepView, View};
use serde_json::Value;

use super::{
    Access, AccessVerdict, CLOSE_INGRESS, FIND_LOGINS, LoginLine, LookedAt, Statement, at, count, plain,
    story::{finding_reference, provider},
    tell::{because, unknown},
    text_at,
};

/// What is known of the attacker's access.
pub(super) fn access(view: &View) -> Access {
    let mut statements = Vec::new();
    if let Some(note) = view.findings.last() {
        let role = text_at(&note.finding, &["role"]);
        let reference = Some(finding_reference(note));
        let text = match role {
            Some("TARGET") => Some(format!("{} says that this resource was attacked{}.", provider(note), network(&note.finding))),
            Some("ACTOR") => Some(format!(
                "{} says that this resource itself attacks{}: it counts as compromised.",
                provider(note),
                network(&note.finding)
            )),
            _ => None,
        };
        match text {
            Some(text) => statements.push(Statement { text, reference, not_known_because: None }),
            None if network(&note.finding).is_empty() => {}
            None => statements.push(unknown("Whether this resource attacks or is attacked", "the finding does not say", reference)),
        }
    }
    let actor = view.findings.iter().any(|note| text_at(&note.finding, &["role"]) == Some("ACTOR"));
    if let Some((_, why)) = &view.turned {
        let text = format!("{}: from then on it counted as compromised.", why.trim_end_matches('.'));
        statements.push(Statement { text, reference: Some("the steps below".to_owned()), not_known_because: None });
    }
    statements.extend(view.steps.iter().filter(|step| view.action(step) == CLOSE_INGRESS).filter_map(exposure));
    let search = view.steps.iter().rfind(|step| view.action(step) == FIND_LOGINS);
    let about_access = actor || search.is_some();
    let (verdict, logins, looked_at) = match search {
        Some(step) => searched(step, &mut statements),
        None if about_access => {
            statements.push(unknown("Whether the attacker logged in", "no step of this playbook searches logs", None));
            (AccessVerdict::NotKnown, Vec::new(), Vec::new())
        }
        None => (AccessVerdict::NotAsked, Vec::new(), Vec::new()),
    };
    let compromised = actor && verdict != AccessVerdict::GotIn;
    Access { verdict: if compromised { AccessVerdict::Compromised } else { verdict }, statements, logins, looked_at }
}

/// ` from 203.0.113.5 on tcp port 22, first seen …, last seen …, 14 times`.
fn network(finding: &Value) -> String {
    let mut out = String::new();
    let ips: Vec<String> = at(finding, &["network", "remote_ips"]).and_then(Value::as_array).into_iter().flatten().map(plain).collect();
    if !ips.is_empty() {
        let shown: Vec<&str> = ips.iter().take(5).map(String::as_str).collect();
        let more = ips.len().saturating_sub(shown.len());
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        out.push_str(&format!(" from {}{rest}", shown.join(", ")));
    }
    if let Some(port) = at(finding, &["network", "local_port"]) {
        out.push_str(&format!(" on {} port {}", text_at(finding, &["network", "protocol"]).unwrap_or("its"), plain(port)));
    }
    for (key, word) in [("first_seen", "first seen"), ("last_seen", "last seen")] {
        if let Some(when) = text_at(finding, &[key]) {
            out.push_str(&format!(", {word} {when}"));
        }
    }
    if let Some(times) = at(finding, &["count"]).and_then(Value::as_u64).filter(|times| *times > 1 && !out.is_empty()) {
        out.push_str(&format!(", {times} times"));
    }
    out
}

/// Whether the world could reach the attacked port.
fn exposure(step: &StepView) -> Option<Statement> {
    let reference = Some(format!("step {}", step.key));
    let say = |text: String| Some(Statement { text, reference: reference.clone(), not_known_because: None });
    let plan = step.plan.as_ref();
    if let Some(plan) = plan.filter(|plan| !plan.changes.is_empty()) {
        let first = plan.changes.first().map(|change| format!("{} of {} was {}", change.attribute, change.resource, plain(&change.before)));
        let more = plan.changes.len().saturating_sub(1);
        let rest = if more > 0 { format!("; {more} more in the table of changes") } else { String::new() };
        return say(format!("The attacked port was open to the world: {}{rest}.", first.unwrap_or_default()));
    }
    match &step.state {
        StepState::AlreadyDone if !step.claims.is_empty() => {
            say("The attacked port had been open to the world; an earlier change of Cordon had closed it.".to_owned())
        }
        StepState::AlreadyDone => say("No rule opened the attacked port to the world when Cordon looked.".to_owned()),
        // The condition was not met: the question was not asked.
        StepState::Skipped { .. } => None,
        _ => Some(unknown("Whether the attacked port was open to the world", because(step), reference)),
    }
}

/// What the search of the logs says.
fn searched(step: &StepView, statements: &mut Vec<Statement>) -> (AccessVerdict, Vec<LoginLine>, Vec<LookedAt>) {
    let out = &step.outcome;
    let reference = || Some(format!("step {}", step.key));
    let Some(verdict) = text_at(out, &["verdict"]) else {
        statements.push(unknown("Whether the attacker logged in", because(step), reference()));
        return (AccessVerdict::NotKnown, Vec::new(), Vec::new());
    };
    let logins: Vec<LoginLine> = at(out, &["logins"]).and_then(Value::as_array).into_iter().flatten().map(login).collect();
    let looked_at: Vec<LookedAt> = at(out, &["looked_at"]).and_then(Value::as_array).into_iter().flatten().map(looked).collect();
    let number = |key: &str| at(out, &[key]).and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok()).unwrap_or_default();
    let window = match (text_at(out, &["window", "since"]), text_at(out, &["window", "until"])) {
        (Some(since), Some(until)) => format!(" between {since} and {until}"),
        _ => String::new(),
    };
    let read = format!(
        "{} read in {}{window}",
        count(number("lines_read"), "log event", "log events"),
        count(looked_at.len(), "stream", "streams")
    );
    let line =
        logins.first().filter(|login| !login.reference.is_empty()).map(|login| format!("step {}, log line {}", step.key, login.reference));
    let found = |text: String| Statement { text, reference: line.clone().or_else(reference), not_known_because: None };
    let truncated = at(out, &["truncated"]).and_then(Value::as_bool) == Some(true);
    let answer = match verdict {
        "confirmed" => {
            statements
                .push(found(format!("The attacker got in: {} confirmed; {read}.", count(number("confirmed").max(1), "login", "logins"))));
            AccessVerdict::GotIn
        }
        "probable" => {
            let logins = count(number("probable").max(1), "login is", "logins are");
            statements.push(found(format!("The attacker may have got in: {logins} probably the attacker's; {read}.")));
            AccessVerdict::MayHaveGotIn
        }
        "lead" | "none" => {
            let leads = match number("leads") {
                0 => String::new(),
                leads => format!(
                    " {} worth a look: a user name that the attacker tried logged in from elsewhere.",
                    count(leads, "lead is", "leads are")
                ),
            };
            statements.push(found(format!("No login of the attacker was found; {read}.{leads}")));
            if truncated { AccessVerdict::NotKnown } else { AccessVerdict::NoLoginFound }
        }
        "no-log-source" => {
            let why = if looked_at.is_empty() {
                "no login log of this instance was found"
            } else {
                "no login log was found in the places looked at"
            };
            statements.push(unknown("Whether the attacker logged in", why, reference()));
            AccessVerdict::NotKnown
        }
        other => {
            statements.push(unknown("Whether the attacker logged in", format!("the search answered `{other}`"), reference()));
            AccessVerdict::NotKnown
        }
    };
    if let failures @ 1.. = number("failures") {
        statements.push(Statement {
            text: format!("The log shows at least {}.", count(failures, "failed attempt", "failed attempts")),
            reference: reference(),
            not_known_because: None,
        });
    }
    if truncated {
        statements.push(unknown(
            "What the rest of the log says",
            "not everything in the window could be read: finding no login is no proof",
            reference(),
        ));
    }
    (answer, logins, looked_at)
}

fn login(value: &Value) -> LoginLine {
    let text = |keys: &[&str]| keys.iter().find_map(|key| at(value, &[key])).map(plain).unwrap_or_default();
    let method = match at(value, &["method"]) {
        Some(Value::String(method)) => method.clone(),
        Some(method) => {
            let kind = text_at(method, &["kind"]).unwrap_or("other");
            let detail = ["fingerprint", "name", "logon_type"].iter().find_map(|key| at(method, &[key])).map(plain);
            detail.map_or_else(|| kind.to_owned(), |detail| format!("{kind} {detail}"))
        }
        None => String::new(),
    };
    LoginLine {
        confidence: text(&["confidence"]),
        user: text(&["user"]),
        from: text(&["from", "host"]),
        at: text(&["at"]),
        method,
        why: text(&["why"]),
        line: text(&["line"]),
        reference: text(&["reference", "source"]),
    }
}

fn looked(value: &Value) -> LookedAt {
    let text = |key: &str| at(value, &[key]).map(plain);
    let place = match (text("group"), text("stream")) {
        (Some(group), Some(stream)) => format!("{group}, stream {stream}"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => plain(value),
    };
    let lines = at(value, &["lines"]).and_then(Value::as_u64).unwrap_or_default();
    let span = text("first").zip(text("last")).map(|(first, last)| format!(", from {first} to {last}")).unwrap_or_default();
    let read = format!("{lines} {}{span}", if lines == 1 { "line" } else { "lines" });
    let result = match text("problem") {
        Some(problem) if lines == 0 => problem,
        Some(problem) => format!("{read}; {problem}"),
        None => read,
    };
    LookedAt { place, result }
}
