//! From text to a playbook.

use std::{collections::BTreeSet, ops::Range};

use jiff::SignedDuration;
use sha2::Digest as _;
use toml::de::{DeTable, DeValue};

use super::{
    DEFAULT_LOOKS, Playbook, PlaybookError, Step, Turn,
    graph::Graph,
    reader::{Keys, Reader, Spot},
    shape,
    step::{Draft, Read, condition, draft, duration},
};
use crate::{expr::Part, finding::SubjectKind, mode::Mode, pattern::Pattern, words::closest};

/// The longest text.
const MAX_LENGTH: usize = 256 * 1024;

/// The most looks at a change.
const MAX_LOOKS: usize = 5;
/// How soon after the change, and how late: what is changed back later than that is another story.
const SOONEST_LOOK: SignedDuration = SignedDuration::from_secs(1);
const LATEST_LOOK: SignedDuration = SignedDuration::from_hours(30 * 24);

/// The most steps.
const MAX_STEPS: usize = 100;

pub(super) fn load(text: &str, file: &str) -> Result<Playbook, Vec<PlaybookError>> {
    let mut reader = Reader::new(text, file);
    if text.len() > MAX_LENGTH {
        reader.error(0..0, format!("this playbook is longer than {MAX_LENGTH} bytes"), None);
        return Err(reader.into_errors());
    }
    let (root, faults) = DeTable::parse_recoverable(text);
    if !faults.is_empty() {
        // What follows a broken line is guesswork: only the text itself is complained of.
        for fault in faults {
            reader.error(fault.span().unwrap_or_default(), format!("this is not TOML: {}", fault.message()), None);
        }
        return Err(reader.into_errors());
    }
    let mut keys = Keys::new(root.get_ref(), 0..0);
    let name = keys.required(&mut reader, "name", "a name such as `name = \"ec2-brute-force\"`");
    let name = name.and_then(|spot| identifier(&mut reader, spot, "a playbook's name"));
    let title = keys.required(&mut reader, "title", "one line for people").and_then(|spot| line(&mut reader, spot));
    let subject = keys.required(&mut reader, "subject", "which kind of subject it is about: `subject = \"instance\"`");
    let subject: Option<SubjectKind> = subject.and_then(|spot| reader.word(spot));
    let mode = keys.take("mode").map_or(Some(Mode::Act), |spot| reader.word(spot));
    let patterns = keys.required(&mut reader, "match", "which findings it answers: `[[match]]` and an event pattern");
    let patterns = patterns.map(|spot| read_patterns(&mut reader, spot)).unwrap_or_default();
    let looks = keys.take("looks").map_or_else(|| Some(DEFAULT_LOOKS.to_vec()), |spot| read_looks(&mut reader, spot));
    let turns = keys.take("turns");
    let steps = keys.required(&mut reader, "steps", "what it does: `[[steps]]`");
    let (steps, drafts) = steps.map(|spot| read_steps(&mut reader, spot)).unwrap_or_default();
    let turns = turns.map(|spot| read_turns(&mut reader, spot, &drafts)).unwrap_or_default();
    keys.finish(&mut reader);
    match (reader.is_clean(), name, title, subject, mode, looks) {
        (true, Some(name), Some(title), Some(subject), Some(mode), Some(looks)) => Ok(Playbook {
            name,
            title,
            subject,
            mode,
            patterns,
            turns,
            looks,
            steps,
            digest: hex::encode(sha2::Sha256::digest(text.as_bytes())),
            file: file.to_owned(),
            source: text.to_owned(),
        }),
        _ => Err(reader.into_errors()),
    }
}

/// Times at which a change is looked at again.
fn read_looks(reader: &mut Reader<'_>, spot: &Spot<'_>) -> Option<Vec<SignedDuration>> {
    let list = reader.list(spot)?;
    if list.len() > MAX_LOOKS {
        reader.error(spot.span(), format!("a change is looked at again at most {MAX_LOOKS} times"), None);
        return None;
    }
    let mut looks: Vec<SignedDuration> = Vec::new();
    for spot in list {
        let after = duration(reader, spot)?;
        let help = "write them from the first to the last: `looks = [\"1h\", \"24h\"]`";
        if after < SOONEST_LOOK || after > LATEST_LOOK {
            reader.error(spot.span(), "a look is 1 second to 30 days after the change", Some(help.to_owned()));
        } else if looks.last().is_some_and(|before| *before >= after) {
            reader.error(spot.span(), "this look is not later than the one before it", Some(help.to_owned()));
        }
        looks.push(after);
    }
    Some(looks)
}

/// A text of the form `[a-z][a-z0-9-]*`.
pub(super) fn identifier(reader: &mut Reader<'_>, spot: &Spot<'_>, what: &str) -> Option<String> {
    let text = reader.string(spot)?;
    let is_fine = text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !is_fine {
        let why = format!("{what} is made of small letters, digits and `-`, begins with a letter and has at most 64 of them");
        reader.error(spot.span(), why, None);
    }
    is_fine.then(|| text.to_owned())
}

/// A text of one line that is not empty.
pub(super) fn line(reader: &mut Reader<'_>, spot: &Spot<'_>) -> Option<String> {
    let text = reader.string(spot)?;
    let is_fine = !text.trim().is_empty() && !text.chars().any(char::is_control);
    if !is_fine {
        reader.error(spot.span(), "one line of text is wanted here", None);
    }
    is_fine.then(|| text.to_owned())
}

fn read_patterns<'t>(reader: &mut Reader<'_>, spot: &'t Spot<'t>) -> Vec<Pattern> {
    let Some(list) = reader.list(spot) else { return Vec::new() };
    if list.is_empty() {
        reader.error(spot.span(), "it answers no finding", Some("write `[[match]]` and an event pattern".to_owned()));
    }
    let mut patterns = Vec::new();
    for spot in list {
        let Some(table) = reader.table(spot) else { continue };
        check_fields(reader, table, &mut Vec::new());
        let Some(json) = reader.json(spot) else { continue };
        match Pattern::parse_all(&json) {
            Ok(pattern) => patterns.push(pattern),
            Err(errors) => {
                for error in errors {
                    let at = locate(reader, spot, &error.path);
                    reader.error(at, error.why, None);
                }
            }
        }
    }
    patterns
}

/// Complains of fields that no finding has, and of those that decide nothing.
fn check_fields<'t>(reader: &mut Reader<'_>, table: &'t DeTable<'t>, way: &mut Vec<&'t str>) {
    for (key, value) in table {
        if key.get_ref() == "$or" {
            let branches = if let DeValue::Array(branches) = value.get_ref() { branches.as_ref() } else { &[] };
            for branch in branches.iter().filter_map(|branch| branch.get_ref().as_table()) {
                check_fields(reader, branch, way);
            }
            continue;
        }
        way.push(key.get_ref());
        if let DeValue::Table(table) = value.get_ref() {
            check_fields(reader, table, way);
        } else if let Some((why, help)) = shape::check_field(way).err().or_else(|| shape::decides_nothing(way)) {
            reader.error(key.span(), why, help);
        }
        way.pop();
    }
}

/// Where the part of a value stands that this path leads to.
fn locate(reader: &Reader<'_>, spot: &Spot<'_>, path: &[String]) -> Range<usize> {
    let mut at = spot.span();
    let mut spot = spot;
    for step in path {
        let next = match spot.get_ref() {
            DeValue::Table(table) => {
                table.iter().find(|(key, _)| key.get_ref() == step).map(|(key, value)| (reader.entry(&key.span(), &value.span()), value))
            }
            DeValue::Array(list) => step.parse::<usize>().ok().and_then(|index| list.get(index)).map(|value| (value.span(), value)),
            _ => None,
        };
        let Some((found, value)) = next else { return at };
        (at, spot) = (found, value);
    }
    at
}

/// Steps, and what the turns' conditions are held against.
type Steps = (Vec<Step>, Vec<(String, bool)>);

fn read_turns<'t>(reader: &mut Reader<'_>, spot: &'t Spot<'t>, steps: &[(String, bool)]) -> Vec<Turn> {
    let mut turns = Vec::new();
    for spot in reader.list(spot).into_iter().flatten() {
        let Some(table) = reader.table(spot) else { continue };
        let mut keys = Keys::new(table, spot.span());
        let mut reads = Vec::new();
        let when = keys.required(reader, "when", "the condition: `when = \"steps.find-logins.outcome.verdict == 'confirmed'\"`");
        let at = when.map(|spot| spot.span()).unwrap_or_default();
        let when = when.and_then(|spot| condition(reader, spot, &mut reads));
        let role = keys.required(reader, "role", "the part that the subject plays from then on: `role = \"ACTOR\"`");
        let role = role.and_then(|spot| reader.word(spot));
        let why = keys.required(reader, "why", "one line for people").and_then(|spot| line(reader, spot));
        keys.finish(reader);
        for read in &reads {
            if let Err((why, help)) = check_turn_read(&read.parts, steps) {
                reader.error(read.at.clone(), why, help);
            }
        }
        if let (Some(when), Some(role), Some(why)) = (when, role, why) {
            let turn = Turn { when, role, why };
            if turn.reads_outcomes_of().next().is_none() {
                reader.error(at, "it reads no step's outcome, so nothing that is found can make it true", None);
            }
            turns.push(turn);
        }
    }
    turns
}

/// What a turn's condition reads: any step's outcome, for it counts only when all that it reads is there.
fn check_turn_read(parts: &[Part], steps: &[(String, bool)]) -> Result<(), shape::Fault> {
    let [Part::Key(root), rest @ ..] = parts else { return shape::check_path(parts) };
    if root != "steps" {
        return shape::check_path(parts);
    }
    let (Some(Part::Key(step)), Some(Part::Key(what))) = (rest.first(), rest.get(1)) else {
        return Err(("of a step only the outcome can be read".to_owned(), Some("write `steps.<id>.outcome…`".to_owned())));
    };
    match steps.iter().find(|(id, _)| id == step) {
        None => {
            let near = closest(step, steps.iter().map(|(id, _)| id)).map(|near| format!("did you mean `{near}`?"));
            Err((format!("there is no step `{step}`"), near))
        }
        Some((_, true)) => Err((format!("`{step}` is a hold and has no outcome"), None)),
        Some((_, false)) if what != "outcome" => {
            Err((format!("a step has an `outcome`, not a `{what}`"), Some(format!("write `steps.{step}.outcome…`"))))
        }
        Some((_, false)) => Ok(()),
    }
}

fn read_steps<'t>(reader: &mut Reader<'_>, spot: &'t Spot<'t>) -> Steps {
    let Some(list) = reader.list(spot) else { return Steps::default() };
    if list.is_empty() || list.len() > MAX_STEPS {
        reader.error(spot.span(), format!("a playbook has from 1 to {MAX_STEPS} steps"), None);
        return Steps::default();
    }
    let mut drafts: Vec<Draft> = Vec::new();
    for spot in list {
        let Some(table) = reader.table(spot) else { continue };
        let draft = draft(reader, Keys::new(table, spot.span()), drafts.last());
        if let Some((id, at)) = &draft.id
            && drafts.iter().any(|earlier| earlier.id.as_ref().is_some_and(|(earlier, _)| earlier == id))
        {
            reader.error(at.clone(), format!("there is a step `{id}` already"), Some("each step has an id of its own".to_owned()));
        }
        drafts.push(draft);
    }
    check_steps(reader, &drafts);
    let known = drafts.iter().filter_map(|draft| Some((draft.id()?.to_owned(), draft.is_hold))).collect();
    (drafts.into_iter().filter_map(|draft| draft.step).collect(), known)
}

/// What can be told only when all steps are known: needs, cycles, and the outcomes that expressions read.
fn check_steps(reader: &mut Reader<'_>, drafts: &[Draft]) {
    let ids: BTreeSet<&str> = drafts.iter().filter_map(Draft::id).collect();
    let mut graph = Graph::default();
    for draft in drafts {
        for (need, at) in &draft.needs {
            if !ids.contains(need.as_str()) {
                reader.error(at.clone(), format!("there is no step `{need}`"), step_help(need, &ids));
            }
        }
        if let Some(id) = draft.id() {
            graph.add(id, draft.needs.iter().map(|(need, _)| need.as_str()));
        }
    }
    for cycle in graph.cycles() {
        let at = drafts
            .iter()
            .find(|draft| draft.id() == cycle.first().copied())
            .and_then(|draft| draft.needs.iter().find(|(need, _)| cycle.get(1) == Some(&need.as_str())).map(|(_, at)| at.clone()));
        let way: Vec<String> = cycle.iter().map(|id| format!("`{id}`")).collect();
        let why = format!("these steps wait for one another and would never start: {}", way.join(" needs "));
        reader.error(at.unwrap_or_default(), why, None);
    }
    for draft in drafts {
        let before = draft.id().map(|id| graph.before(id)).unwrap_or_default();
        for read in &draft.reads {
            if let Err((why, help)) = check_read(read, draft.id(), drafts, &ids, &before) {
                reader.error(read.at.clone(), why, help);
            }
        }
    }
}

fn step_help(wrong: &str, ids: &BTreeSet<&str>) -> Option<String> {
    let near = closest(wrong, ids.iter()).map(|near| format!("did you mean `{near}`?"));
    Some(near.unwrap_or_else(|| format!("there are {}", ids.iter().copied().collect::<Vec<_>>().join(", "))))
}

fn check_read(read: &Read, own: Option<&str>, drafts: &[Draft], ids: &BTreeSet<&str>, before: &BTreeSet<&str>) -> Result<(), shape::Fault> {
    let keys: Vec<&str> = read.parts.iter().filter_map(|part| if let Part::Key(key) = part { Some(key.as_str()) } else { None }).collect();
    if let ["finding", way @ ..] = keys.as_slice()
        && read.decides
        && let Some(fault) = shape::decides_nothing(way)
    {
        return Err(fault);
    }
    if keys.first() != Some(&"steps") {
        return shape::check_path(&read.parts);
    }
    let (Some(Part::Key(step)), Some(Part::Key(what))) = (read.parts.get(1), read.parts.get(2)) else {
        return Err(("of a step only the outcome can be read".to_owned(), Some("write `steps.<id>.outcome…`".to_owned())));
    };
    if !ids.contains(step.as_str()) {
        return Err((format!("there is no step `{step}`"), step_help(step, ids)));
    }
    if what != "outcome" {
        return Err((format!("a step has an `outcome`, not a `{what}`"), Some(format!("write `steps.{step}.outcome…`"))));
    }
    if own == Some(step) {
        return Err((format!("the outcome of `{step}` is not known before it has run"), None));
    }
    if drafts.iter().any(|draft| draft.id() == Some(step) && draft.is_hold) {
        return Err((format!("`{step}` is a hold and has no outcome"), None));
    }
    if before.contains(step.as_str()) {
        return Ok(());
    }
    let why = format!("this step does not wait for `{step}`, so its outcome may not be known yet");
    Err((why, Some(format!("name `{step}` in `needs`"))))
}
