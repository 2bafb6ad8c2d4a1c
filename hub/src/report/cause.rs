//! The root cause: how it could happen, how they got in, what they did, and what removes that way in. From evidence only, each statement with
//! what it rests on; what is not known is said to be not known, and why.

use std::collections::BTreeSet;

use cordon_shared::engine::{StepState, StepView, View};
use serde_json::Value;

use super::{
    Access, AccessVerdict, Answer, CHAINED, CLOSE_INGRESS, DEACTIVATE, EXPOSURE, FIND_LOGINS, RELATED, Statement, TRACE, TRACE_EXPOSURE,
    at, count, plain, reach,
    story::finding_reference,
    tell::{NAMED, because, latest, list, say, some_of, text, unknown},
    text_at,
};

/// The answers, in the order a reader asks. None where no step of the playbook looks for them.
pub(super) fn answers(view: &View, access: &Access) -> Vec<Answer> {
    let asked = |name: &str| {
        view.playbook.steps.iter().any(|step| matches!(&step.work, cordon_shared::playbook::Work::Action(action) if action == name))
    };
    let mut out = Vec::new();
    if asked(EXPOSURE) {
        out.push(answer("Was the way in reachable, since when, and by whose change?", way_in(view)));
    }
    if asked(FIND_LOGINS) {
        out.push(answer("How did they get in: with what, as whom, from where?", entry(view, access)));
    }
    if asked(DEACTIVATE) {
        out.push(answer("How did they come by the credentials?", credentials(view)));
    }
    if asked(TRACE) {
        out.push(answer("What did the credentials do?", calls(view)));
    }
    if asked(CHAINED) {
        out.push(answer("Which roles did they assume with them?", reach::chained(view)));
    }
    if asked(RELATED) {
        out.push(answer("What else was found about the same resource, role, key or source?", reach::related(view)));
    }
    if !out.is_empty() {
        out.push(answer("What removes this way in?", remedy(view, access)));
    }
    out
}

fn answer(question: &str, statements: Vec<Statement>) -> Answer {
    Answer { question: question.to_owned(), statements }
}

fn way_in(view: &View) -> Vec<Statement> {
    let what = "Whether the port was reachable from the Internet";
    let Some(step) = latest(view, EXPOSURE) else { return vec![unknown(what, "no step has looked", None)] };
    let reference = format!("step {}", step.key);
    if !step.outcome.is_object() {
        return vec![unknown(what, because(step), Some(reference))];
    }
    let out = &step.outcome;
    let mut statements = Vec::new();
    let port = at(out, &["port"]).map_or_else(|| "The port".to_owned(), |port| format!("Port {}", plain(port)));
    match at(out, &["reachable"]) {
        Some(Value::Bool(true)) => statements.push(say(format!("{port} was reachable from the Internet when Cordon looked."), &reference)),
        Some(Value::Bool(false)) => {
            statements.push(say(format!("{port} was not reachable directly from the Internet when Cordon looked."), &reference))
        }
        _ => statements.push(unknown(what, "parts of the network could not be read", Some(reference.clone()))),
    }
    for rule in list(out, &["open_rules"]) {
        let sentence = format!(
            "Rule {} of {} let {} in on {}.",
            text(rule, "rule"),
            text(rule, "group"),
            text(rule, "cidr"),
            text(rule, "port_range")
        );
        statements.push(say(sentence, format!("{reference}, rule {}", text(rule, "rule"))));
    }
    statements.extend(list(out, &["because"]).map(|sentence| say(plain(sentence), &reference)));
    statements.extend(since(view, out));
    statements
}

/// Since when, and by whom: of the step that looked into CloudTrail for it.
fn since(view: &View, exposure: &Value) -> Vec<Statement> {
    let what = "Since when it was open, and by whose change";
    let open = list(exposure, &["open_rules"]).next().is_some();
    if !open && at(exposure, &["reachable"]) == Some(&Value::Bool(false)) {
        return Vec::new();
    }
    let Some(step) = latest(view, TRACE_EXPOSURE) else { return vec![unknown(what, "CloudTrail was not asked", None)] };
    let reference = format!("step {}", step.key);
    if !step.outcome.is_object() {
        let why = if open { because(step) } else { "no rule that was seen lets the world in".to_owned() };
        return vec![unknown(what, why, Some(reference))];
    }
    let done = |since: &Value, what: &str| {
        let from = text_at(since, &["by", "source_address"]).map(|address| format!(" from {address}")).unwrap_or_default();
        let call = text_at(since, &["by", "call"]).unwrap_or("a call");
        let who = text_at(since, &["by", "arn"]).unwrap_or("somebody whom the record does not name");
        let event = text_at(since, &["by", "event_id"]).unwrap_or_default();
        let sentence = format!("{what} at {} by {who}{from}, with {call}.", text(since, "at"));
        say(sentence, format!("{reference}, CloudTrail event {event}"))
    };
    let mut out: Vec<Statement> = list(&step.outcome, &["rules"])
        .filter_map(|rule| {
            let what = format!("Rule {} of {} was opened", text(rule, "rule"), text(rule, "group"));
            Some(done(at(rule, &["since"])?, &what))
        })
        .collect();
    match at(&step.outcome, &["since"]) {
        Some(since) => {
            let told = text(since, "what");
            let by_a_rule = list(&step.outcome, &["rules"]).any(|rule| at(rule, &["since"]) == Some(since));
            if !by_a_rule {
                out.push(done(since, &format!("It was open as it was only since {told},")));
            }
        }
        None => {
            let why = text_at(&step.outcome, &["since_unknown_because"]).unwrap_or("CloudTrail does not have it");
            out.push(unknown(what, why, Some(reference.clone())));
        }
    }
    out
}

fn entry(view: &View, access: &Access) -> Vec<Statement> {
    let Some(step) = latest(view, FIND_LOGINS) else { return vec![unknown("How they got in", "no step searches logs", None)] };
    let reference = |line: &str| if line.is_empty() { format!("step {}", step.key) } else { format!("step {}, log line {line}", step.key) };
    let sure: Vec<_> = access.logins.iter().filter(|login| login.confidence == "confirmed").collect();
    let told: Vec<_> = if sure.is_empty() { access.logins.iter().filter(|login| login.confidence == "probable").collect() } else { sure };
    let mut out: Vec<Statement> = told
        .iter()
        .take(NAMED)
        .map(|login| {
            let how = if login.method.is_empty() { String::new() } else { format!(" by {}", login.method) };
            let sure = if login.confidence == "confirmed" { "" } else { "Probably: " };
            let sentence =
                format!("{sure}{} logged in from {} at {}{how}: {}.", login.user, login.from, login.at, login.why.trim_end_matches('.'));
            say(sentence, reference(&login.reference))
        })
        .collect();
    if out.is_empty() {
        let why = match access.verdict {
            AccessVerdict::NoLoginFound => "the logs that were read show no login of theirs".to_owned(),
            _ if step.outcome.is_object() => match text_at(&step.outcome, &["verdict"]) {
                Some("no-log-source") => "no log that would show it was found".to_owned(),
                _ => "the logs that were read show no login of theirs".to_owned(),
            },
            _ => because(step),
        };
        out.push(unknown("How they got in", why, Some(reference(""))));
    }
    out
}

fn calls(view: &View) -> Vec<Statement> {
    let what = "What the credentials did";
    let Some(step) = latest(view, TRACE) else { return vec![unknown(what, "no step has looked", None)] };
    let reference = format!("step {}", step.key);
    let out = &step.outcome;
    if !out.is_object() {
        return vec![unknown(what, because(step), Some(reference))];
    }
    if let Some(why) = text_at(out, &["nothing_known_because"]) {
        return vec![unknown(what, why, Some(reference))];
    }
    let mut statements = Vec::new();
    let events = at(out, &["events"]).and_then(Value::as_u64).and_then(|events| usize::try_from(events).ok()).unwrap_or_default();
    let places: BTreeSet<String> = list(out, &["looked_in"]).map(|place| text(place, "place")).collect();
    let horizon = text_at(out, &["horizon", "note"]).map(|note| format!(" ({})", note.trim_end_matches('.'))).unwrap_or_default();
    let span = match (text_at(out, &["horizon", "from"]), text_at(out, &["horizon", "until"])) {
        (Some(from), Some(until)) => format!(" between {from} and {until}"),
        _ => String::new(),
    };
    if events == 0 {
        statements.push(say(format!("No API call of them is recorded{span} in {}{horizon}.", some_of(places)), &reference));
    } else {
        let services =
            some_of(list(out, &["services"]).map(|service| format!("{} ({})", text(service, "service"), text(service, "calls"))));
        statements.push(say(
            format!("{}{span}, to {services}{horizon}.", count(events, "API call is recorded", "API calls are recorded")),
            &reference,
        ));
        let addresses =
            some_of(list(out, &["sources"]).map(|source| format!("{} ({} calls)", text(source, "address"), text(source, "calls"))));
        let regions = some_of(list(out, &["regions"]).map(plain));
        statements.push(say(format!("They came from {addresses}, in Region {regions}."), &reference));
    }
    for made in list(out, &["created"]).take(NAMED * 2) {
        let sentence =
            format!("They made {} {} at {}, with {}.", text(made, "kind"), text(made, "id"), text(made, "at"), text(made, "by_call"));
        statements.push(say(sentence, format!("{reference}, CloudTrail event {}", text(made, "event_id"))));
    }
    for role in list(out, &["assumed_roles"]).take(NAMED) {
        let sentence = format!("They assumed role {} as {} at {}.", text(role, "role_arn"), text(role, "session"), text(role, "at"));
        statements.push(say(sentence, &reference));
    }
    let denied =
        list(out, &["denied"]).map(|denied| format!("{} ({}, {})", text(denied, "call"), text(denied, "count"), text(denied, "error")));
    let denied: Vec<String> = denied.collect();
    if !denied.is_empty() {
        statements.push(say(format!("They were denied {}.", some_of(denied)), &reference));
    }
    for call in list(out, &["calls"]).filter(|call| at(call, &["error"]).is_none()).take(NAMED) {
        let sentence =
            format!("{} at {} from {}, in {}.", text(call, "call"), text(call, "at"), text(call, "source"), text(call, "region"));
        statements.push(say(sentence, format!("{reference}, CloudTrail event {}", text(call, "event_id"))));
    }
    statements.extend(reach::since_contained(view, step, &reference));
    statements.extend(reach::problems(step, &reference));
    statements
}

/// Where the credentials were taken from. Nothing that is read records the copying of a key.
fn credentials(view: &View) -> Vec<Statement> {
    let what = "How they came by the credentials";
    let Some(note) = view.findings.last() else { return Vec::new() };
    let of = |key: &str| text_at(&note.finding, &["credential", key]);
    let reference = Some(finding_reference(note));
    match (of("user_type"), of("instance")) {
        (_, Some(instance)) => vec![
            say(format!("They are those that the metadata service of instance {instance} hands out."), finding_reference(note)),
            unknown(what, "no log that is read says who took them from the instance; look at what ran on it", reference),
        ],
        (Some("IAMUser"), _) => {
            let user = of("user_name").unwrap_or("the user");
            let why = format!("no log that is read says where a copy was taken; look at every place in which {user} keeps the key");
            vec![unknown(what, why, reference)]
        }
        _ => vec![unknown(what, "the finding names no place that they were taken from", reference)],
    }
}

fn remedy(view: &View, access: &Access) -> Vec<Statement> {
    let mut out = Vec::new();
    let closed = view
        .steps
        .iter()
        .find(|step| view.action(step) == CLOSE_INGRESS && matches!(step.state, StepState::InEffect | StepState::AlreadyDone));
    let open: Vec<&Value> = latest(view, EXPOSURE).map(|step| list(&step.outcome, &["open_rules"]).collect()).unwrap_or_default();
    match closed {
        Some(step) => out.push(say(
            "The port is closed to the world. Leave it closed, or open it to the addresses alone that need it.",
            format!("step {}", step.key),
        )),
        None if !open.is_empty() => {
            let rules = some_of(open.iter().map(|rule| format!("{} of {}", text(rule, "rule"), text(rule, "group"))));
            out.push(say(format!("Close to the world what still is open: {rules}."), "step that looked at the exposure"));
        }
        None => {}
    }
    let passwords: BTreeSet<&str> =
        access.logins.iter().filter(|login| login.confidence == "confirmed").map(|login| login.user.as_str()).collect();
    if !passwords.is_empty() {
        let users = passwords.into_iter().collect::<Vec<_>>().join(", ");
        let sentence = format!(
            "Turn off logins by password (sshd: `PasswordAuthentication no`), and change what {users} could log in with: it was guessed."
        );
        out.push(say(sentence, "the logins above"));
    }
    for login in access.logins.iter().filter(|login| login.confidence != "lead" && login.method.starts_with("public")).take(NAMED) {
        out.push(say(format!("Remove the key {} from {}.", login.method, login.user), format!("log line {}", login.reference)));
    }
    if let Some(step) = latest(view, TRACE) {
        let made = some_of(list(&step.outcome, &["created"]).map(|made| format!("{} {}", text(made, "kind"), text(made, "id"))));
        if !made.is_empty() {
            out.push(say(format!("Look at, and remove, what the credentials made: {made}."), format!("step {}", step.key)));
        }
    }
    let inactive = |step: &&StepView| view.action(step) == DEACTIVATE && matches!(step.state, StepState::InEffect | StepState::AlreadyDone);
    if let Some(step) = view.steps.iter().find(inactive) {
        let sentence = format!("{} is inactive. Give its rightful user another one, then delete it.", view.subject.name());
        out.push(say(sentence, format!("step {}", step.key)));
    }
    if matches!(access.verdict, AccessVerdict::GotIn | AccessVerdict::Compromised) {
        out.push(say("Rebuild what was taken over from a known image: what ran on it is not to be trusted again.", "the statements above"));
    }
    if out.is_empty() {
        out.push(unknown("What removes this way in", "how they got in is not known", None));
    }
    out
}
