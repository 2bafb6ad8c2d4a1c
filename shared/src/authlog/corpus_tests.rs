//! Agreement with the labels of other people's corpora, where there are any: `CORDON_CORPUS` names a folder with the
//! test logs of fail2ban (`# failJSON: {…}` above each line), of the CrowdSec hub (`NAME__FILE.log` with
//! `NAME__parser.assert` and `NAME__scenario.assert`) and of OCSF (`NAME.event` with `NAME.json`), at any depth.
//!
//! fail2ban's labels speak of what its filter does after the lines before, in one of its modes. Where that is not what
//! the line itself says, the line counts under a heading of its own, and what it must be is checked too:
//! - "from elsewhere": the label's host is in another line of the connection;
//! - "released": a success on which fail2ban counts the failures before it;
//! - "deferred": a PAM module's failure, which fail2ban counts only with what comes after;
//! - "mode": the end of a connection before authentication, a failure in some modes only;
//! - "two readings": free text after `ssh2:` of a password attempt. OpenSSH writes none there, so it is read as part of
//!   the user name; the label takes it for text. The same bytes, and a user name may forge the label's reading.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::*;

fn corpus() -> Option<Vec<PathBuf>> {
    let Some(root) = std::env::var_os("CORDON_CORPUS") else {
        println!("skipped: CORDON_CORPUS is not set");
        return None;
    };
    let root = PathBuf::from(root);
    let parts: Vec<PathBuf> = ["authlog", "windows-security"].iter().map(|part| root.join(part)).filter(|part| part.is_dir()).collect();
    let mut files = Vec::new();
    let mut open = if parts.is_empty() { vec![root] } else { parts };
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    Some(files)
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()
}

/// What an event says: a word for its kind, its user, its source.
fn summary(event: &Event) -> (&'static str, Option<&str>, Source) {
    match event {
        Event::LoginOk { user, from, .. } => ("ok", Some(user), from.clone()),
        Event::LoginFailed { user, from, .. } => ("failed", user.as_deref(), from.clone()),
        Event::Probe { from, .. } => ("probe", None, from.clone()),
        Event::Disconnected { user, from, .. } => ("ended", user.as_deref(), from.clone()),
        Event::KeyRefused { user, from, .. } => ("key", Some(user), from.clone()),
        Event::Connected { from, .. } => ("connected", None, from.clone()),
        _ => ("other", None, Source::Unknown),
    }
}

fn report(name: &str, counts: &BTreeMap<&str, u32>, wrong: &[String]) {
    println!("{name}: {counts:?}, wrong {}", wrong.len());
    assert!(wrong.is_empty(), "{name}:\n{}", wrong.join("\n"));
    assert!(counts.values().sum::<u32>() > 0, "{name}: nothing found");
}

#[test]
fn agrees_with_fail2ban_labels() {
    let Some(files) = corpus() else { return };
    let mut counts = BTreeMap::new();
    let mut wrong = Vec::new();
    for path in files {
        let text = read(&path);
        if !text.contains("# failJSON:") {
            continue;
        }
        let mut label: Option<serde_json::Value> = None;
        for line in text.lines() {
            if let Some(json) = line.trim_start_matches('#').trim_start().strip_prefix("failJSON:") {
                label = serde_json::from_str(json).ok();
            } else if !line.starts_with('#')
                && let Some(label) = label.take()
            {
                match fail2ban(line, &label) {
                    Ok(heading) => *counts.entry(heading).or_default() += 1,
                    Err(why) => wrong.push(format!("{line}\n  {label}\n  {why}")),
                }
            }
        }
    }
    report("fail2ban", &counts, &wrong);
}

fn fail2ban(line: &str, label: &serde_json::Value) -> Result<&'static str, String> {
    let event = parse(line).map_or(Event::Other, |parsed| parsed.event);
    let (kind, user, from) = summary(&event);
    let bad = || Err(format!("{event:?}"));
    let evidence = match &event {
        Event::LoginFailed { evidence, .. } => Some(*evidence),
        _ => None,
    };
    if label["match"] == false {
        return match (kind, evidence) {
            ("failed", Some(Evidence::PamModule)) => Ok("deferred"),
            ("failed", Some(Evidence::Ended)) => Ok("mode"),
            // The failure before it is counted already, says the label.
            ("failed", Some(Evidence::Refused)) if line.contains("Disconnecting ") => Ok("mode"),
            ("failed", _) if from.address().is_some() => bad(),
            _ if line.contains(": Accepted ") && kind != "ok" => bad(),
            _ => Ok("no failure"),
        };
    }
    let Some(host) = ["host", "ip4", "ip6"].iter().find_map(|key| label[*key].as_str()) else {
        return if from.address().is_none() { Ok("from elsewhere") } else { bad() };
    };
    let labelled = Source::read(host);
    if !line.contains(host) {
        return if from.address().is_none() { Ok("from elsewhere") } else { bad() };
    }
    if from != labelled {
        let free_text = line.split_once(&format!(" from {host} port ")).is_some_and(|(_, rest)| rest.contains("ssh2: from "));
        let last = line.rsplit_once(" from ").and_then(|(_, rest)| rest.split(' ').next()).map(Source::read);
        return if free_text && kind == "failed" && Some(&from) == last.as_ref() { Ok("two readings") } else { bad() };
    }
    if let Some(labelled) = label["user"].as_str()
        && kind == "failed"
        && user != Some(labelled)
    {
        return bad();
    }
    match kind {
        "failed" => Ok("failure"),
        "ok" => Ok("released"),
        "ended" | "probe" => Ok("connection"),
        _ => bad(),
    }
}

#[test]
fn agrees_with_crowdsec_assertions() {
    let Some(files) = corpus() else { return };
    let mut counts = BTreeMap::new();
    let mut wrong = Vec::new();
    for path in files.iter().filter(|path| path.extension().is_some_and(|end| end == "log")) {
        let name = path.to_string_lossy().into_owned();
        let Some((test, _)) = name.rsplit_once("__") else { continue };
        let events: Vec<Event> = read(path)
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| parse(line).map_or(Event::Other, |parsed| parsed.event))
            .collect();
        let parser = fs::read_to_string(format!("{test}__parser.assert")).unwrap_or_default();
        for (index, expected) in assertions(&parser, "results[\"s01-parse\"]", &events) {
            match crowdsec(&expected, &events[index]) {
                Ok(heading) => *counts.entry(heading).or_default() += 1,
                Err(why) => wrong.push(format!("{test} line {index}: {expected:?}\n  {why}")),
            }
        }
        let scenario = fs::read_to_string(format!("{test}__scenario.assert")).unwrap_or_default();
        for expected in scenario_events(&scenario) {
            let found: Vec<_> = events.iter().map(|event| crowdsec(&expected, event)).collect();
            match found.iter().find_map(|one| one.as_ref().ok()) {
                Some(_) => *counts.entry("scenario event").or_default() += 1,
                None => wrong.push(format!("{test}: no line gives {expected:?}")),
            }
        }
    }
    report("crowdsec", &counts, &wrong);
}

type Expected = BTreeMap<String, String>;

/// `results["s01-parse"]["PARSER"][INDEX].Evt.Meta["KEY"] == "VALUE"`, of all parsers that saw each line of the log.
fn assertions(text: &str, start: &str, events: &[Event]) -> BTreeMap<usize, Expected> {
    let mut by_parser: BTreeMap<(&str, usize), Expected> = BTreeMap::new();
    for line in text.lines() {
        let Some((left, value)) = line.strip_prefix(start).and_then(|rest| rest.split_once(" == ")) else { continue };
        let mut parts = left.split(['[', ']']).filter(|part| !part.is_empty());
        let (Some(parser), Some(Ok(index))) = (parts.next(), parts.next().map(str::parse)) else { continue };
        let key = match parts.next() {
            Some(".Evt.Meta") => parts.next().unwrap_or_default(),
            Some(".Success") => "\"success\"",
            _ => continue,
        };
        by_parser.entry((parser, index)).or_default().insert(key.trim_matches('"').to_owned(), value.trim_matches('"').to_owned());
    }
    let mut merged: BTreeMap<usize, Expected> = BTreeMap::new();
    for parser in by_parser.keys().map(|(parser, _)| *parser).collect::<std::collections::BTreeSet<_>>() {
        let own: Vec<_> = by_parser.iter().filter(|((name, _), _)| *name == parser).collect();
        // A parser that saw only some of the lines numbers those; which, the assertions do not say.
        if own.len() != events.len() {
            continue;
        }
        for ((_, index), expected) in own {
            let known = merged.entry(*index).or_default();
            if expected["success"] == "true" || known.is_empty() {
                known.extend(expected.clone());
            }
        }
    }
    merged
}

/// `results[N].Overflow.Alert.Events[M].GetMeta("KEY") == "VALUE"`
fn scenario_events(text: &str) -> Vec<Expected> {
    let mut events: BTreeMap<String, Expected> = BTreeMap::new();
    for line in text.lines() {
        let Some((event, rest)) = line.split_once(".GetMeta(\"") else { continue };
        let Some((key, value)) = rest.split_once("\") == ") else { continue };
        let event = event.rsplit_once("results").map_or(event, |(_, event)| event);
        events.entry(event.to_owned()).or_default().insert(key.to_owned(), value.trim_matches('"').to_owned());
    }
    events.into_values().collect()
}

fn crowdsec(expected: &Expected, event: &Event) -> Result<&'static str, String> {
    let (kind, user, from) = summary(event);
    let bad = || Err(format!("{event:?}"));
    if expected.get("success").is_some_and(|success| success == "false") {
        return if matches!(kind, "ok" | "failed") { bad() } else { Ok("not parsed") };
    }
    let Some(source) = expected.get("source_ip") else { return Ok("no source expected") };
    let wanted = ["target_user", "user", "username"].iter().find_map(|key| expected.get(*key)).filter(|user| !user.is_empty());
    if from != Source::read(source) || (wanted.is_some() && wanted.map(String::as_str) != user) {
        return bad();
    }
    let kind_fits = |kinds: &[&str]| kinds.contains(&kind);
    match expected.get("log_type").map(String::as_str) {
        Some("auth_success") if kind_fits(&["ok"]) => Ok("success"),
        Some("ssh_failed-auth" | "windows_failed_auth") if kind_fits(&["failed"]) => Ok("failure"),
        // Without a user name it is no login that failed.
        Some("ssh_failed-auth") if wanted.is_none() && kind_fits(&["probe", "ended"]) => Ok("failure without a user: connection"),
        Some("ssh_auth_timeout" | "ssh_bad_keyexchange" | "ssh_dispatch_fatal" | "ssh_refused_conn" | "ssh_bad_banner")
            if kind_fits(&["probe"]) =>
        {
            Ok("connection")
        }
        _ => bad(),
    }
}

#[test]
fn reads_ocsf_and_the_event_it_was_made_of_alike() {
    let Some(files) = corpus() else { return };
    let mut counts = BTreeMap::new();
    let mut wrong = Vec::new();
    for path in files.iter().filter(|path| path.extension().is_some_and(|end| end == "event")) {
        let rendered = parse(&read(path)).map(|parsed| parsed.event);
        let ocsf = parse(&read(&path.with_extension("json"))).map(|parsed| parsed.event);
        let login =
            |event: &Option<Event>| event.clone().filter(|event| matches!(event, Event::LoginOk { .. } | Event::LoginFailed { .. }));
        let number = path.file_name().unwrap().to_string_lossy().chars().take(4).collect::<String>();
        let expected = matches!(number.as_str(), "4624" | "4625");
        if login(&rendered) == login(&ocsf) && login(&rendered).is_some() == expected {
            *counts.entry(if expected { "logon" } else { "other" }).or_default() += 1;
        } else {
            wrong.push(format!("{}: {rendered:?} and {ocsf:?}", path.display()));
        }
    }
    if wrong.is_empty() && counts.is_empty() {
        return;
    }
    report("ocsf", &counts, &wrong);
}
