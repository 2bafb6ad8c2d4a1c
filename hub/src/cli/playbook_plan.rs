//! `cordon playbook show NAME --plan FILE`: what one playbook would do for the findings in a file, and why. Nobody is asked, AWS neither:
//! what is there now, and what would be changed of it, is `cordon plan`.

use std::{io::BufReader, sync::Arc};

use cordon_shared::{
    engine::RunState,
    finding::{Finding, Subject},
    id::Region,
    intake::{self, Item, Origin, Rejection},
    pattern::Mismatch,
    playbook::{
        EvenIf, OnExpiry, Playbook, Step, Work,
        foresee::{Fate, ForeseenStep, ForeseenTurn, Foresight},
    },
};
use cordon_spoke::action::{Kind, Registry};
use serde_json::{Map, Value, json};

use super::{Common, Exit, Failure, Format, exit::Tally, output, respond::open};
use crate::{
    config::Config,
    incident::RejectedJson,
    refused::Protected,
    text::{self, safe},
};

/// The name and version of the objects that are printed.
const SCHEMA: &str = "cordon.playbook-plan/1";

/// What is needed to tell what a playbook would do.
pub(super) struct Question<'a> {
    pub config: &'a Config,
    pub registry: &'a Registry,
    /// All of them, in the order they are asked.
    pub playbooks: &'a [Arc<Playbook>],
    pub playbook: &'a Playbook,
}

/// Obeys it.
pub(super) fn show(common: &Common, question: &Question<'_>, file: &str) -> Result<Exit, Failure> {
    let mut tally = Tally::new(common.states()?);
    let (input, source) = open(file)?;
    let mut empty = true;
    let mut one = |origin: Origin, item: Item| -> Result<(), Failure> {
        let answer = match item {
            Item::Rejected(rejection) => {
                tally.rejected();
                return rejected(common, &origin, &rejection);
            }
            Item::NotAFinding { what, .. } => Answer::nothing(question, &origin, "not-a-finding", format!("not a finding: {what}")),
            Item::Finding(finding) => Answer::of(question, &origin, &finding),
        };
        tally.state(answer.state);
        match common.format {
            Format::Json => output::object(&answer.json()),
            Format::Table => {
                output::line(&answer.text());
                Ok(())
            }
        }
    };
    for (origin, item) in intake::items(BufReader::new(source), &input) {
        empty = false;
        one(origin, item)?;
    }
    if empty {
        let rejection = Rejection::new(intake::codes::SYNTAX, "the input is empty: there is no JSON document in it");
        one(Origin { input, line: 1 }, Item::Rejected(rejection))?;
    }
    Ok(tally.exit())
}

fn rejected(common: &Common, origin: &Origin, rejection: &Rejection) -> Result<(), Failure> {
    match common.format {
        Format::Json => output::object(&RejectedJson::new(origin.to_string(), rejection)),
        Format::Table => {
            output::tell(&format!("{origin}: rejected {}: {}", rejection.code, safe(&rejection.reason)));
            Ok(())
        }
    }
}

/// What the playbook would do for one finding.
struct Answer<'a> {
    question: &'a Question<'a>,
    input: String,
    state: RunState,
    code: &'static str,
    reason: String,
    finding: Option<Finding>,
    subject: Option<Subject>,
    foresight: Option<Foresight>,
}

impl<'a> Answer<'a> {
    fn nothing(question: &'a Question<'a>, origin: &Origin, code: &'static str, reason: String) -> Self {
        let input = origin.to_string();
        Self { question, input, state: RunState::Ignored, code, reason, finding: None, subject: None, foresight: None }
    }

    fn of(question: &'a Question<'a>, origin: &Origin, finding: &Finding) -> Self {
        let playbook = question.playbook;
        let mut answer = Self { finding: Some(finding.clone()), ..Self::nothing(question, origin, "", String::new()) };
        let document = serde_json::to_value(finding).unwrap_or_default();
        if !playbook.matches(&document) {
            let misses: Vec<String> =
                playbook.patterns.iter().filter_map(|pattern| pattern.explain(&document)).map(|miss| miss.to_string()).collect();
            (answer.code, answer.reason) = ("no-match", format!("it does not answer this finding: {}", misses.join("; or ")));
            return answer;
        }
        let Some(subject) = playbook.subjects_of(finding).next() else {
            (answer.code, answer.reason) = ("no-subject", format!("it answers this finding, but it names no {}", word(&playbook.subject)));
            return answer;
        };
        answer.subject = Some(subject.clone());
        answer.foresight = Some(playbook.foresee(&document, subject));
        (answer.state, answer.code, answer.reason) = standing(question, finding, &document, subject);
        answer
    }

    fn mode(&self) -> String {
        let (configured, own) = (self.question.config.hub.mode, self.question.playbook.mode);
        format!("{}: the stricter of the configuration's `{configured}` and the playbook's `{own}`", configured.strictest(own))
    }

    fn steps(&self) -> impl Iterator<Item = (&'a Step, &ForeseenStep)> {
        let steps = self.foresight.iter().flat_map(|foresight| &foresight.steps);
        self.question.playbook.steps.iter().zip(steps)
    }

    fn json(&self) -> Value {
        let finding = self.finding.as_ref().map(|finding| {
            json!({ "id": finding.id, "type": finding.kind, "title": finding.title, "provider": finding.provider, "severity": finding.severity,
                "account": finding.cell.account, "region": finding.cell.region })
        });
        let document = self.finding.as_ref().and_then(|finding| serde_json::to_value(finding).ok());
        let patterns: Vec<Value> = self
            .question
            .playbook
            .patterns
            .iter()
            .zip(1_u32..)
            .filter_map(|(pattern, number)| {
                let miss = pattern.explain(document.as_ref()?);
                let of = |pick: fn(&Mismatch) -> &String| miss.as_ref().map(pick);
                let (field, wanted, found) = (of(|miss| &miss.path), of(|miss| &miss.wanted), of(|miss| &miss.found));
                Some(json!({ "pattern": number, "matches": miss.is_none(), "field": field, "wanted": wanted, "found": found }))
            })
            .collect();
        let turns: Vec<Value> = self.foresight.iter().flat_map(|foresight| &foresight.turns).map(turn_json).collect();
        let steps: Vec<Value> = self.steps().map(|(step, foreseen)| self.step_json(step, foreseen)).collect();
        json!({
            "schema": SCHEMA, "playbook": self.question.playbook.name, "input": self.input, "state": self.state, "reason_code": self.code,
            "reason": self.reason, "finding": finding, "match": patterns, "subject": self.subject,
            "mode": self.question.config.hub.mode.strictest(self.question.playbook.mode), "steps": steps, "turns": turns,
        })
    }

    fn step_json(&self, step: &Step, foreseen: &ForeseenStep) -> Value {
        let (fate, why) = fate(step, foreseen);
        let mut told = json!({
            "id": step.id, "would": fate, "why": why, "when": step.when.as_ref().map(ToString::to_string), "of": step.of,
            "values": foreseen.values.iter().cloned().collect::<Map<_, _>>(), "needs": step.needs, "even_if": step.even_if,
            "with": foreseen.with, "region": foreseen.region, "depends_on": foreseen.depends_on, "phase": step.phase,
            "after": length(step.after), "within": length(step.within), "ttl": step.ttl.map(length), "ask": step.ask, "on_expiry": step.on_expiry,
        });
        let more = match &step.work {
            Work::Hold(hold) => json!({ "hold": hold }),
            Work::Action(name) => match self.question.registry.get(name) {
                Some(action) => {
                    json!({ "action": name, "kind": kind(&action.kind), "about": action.about, "risk": action.risk, "seat": action.seat })
                }
                None => json!({ "action": name }),
            },
        };
        if let (Some(told), Value::Object(more)) = (told.as_object_mut(), more) {
            told.extend(more);
        }
        told
    }

    fn text(&self) -> String {
        let mut lines = vec![format!("{}  {}  {}", self.question.playbook.name, word(&self.state), safe(&self.input))];
        if !self.reason.is_empty() {
            lines.push(format!("  {}", safe(&self.reason)));
        }
        if let Some(finding) = &self.finding {
            let cell = &finding.cell;
            lines.push(format!("  finding  {} {}", safe(&finding.kind), safe(&finding.id.0)));
            lines.push(format!("           severity {}, account {}, {}", finding.severity, cell.account, cell.region));
        }
        if let Some(subject) = &self.subject {
            lines.push(format!("  subject  {} {}", word(&subject.kind), safe(subject.name())));
            lines.push(format!("  mode     {}", self.mode()));
        }
        for (step, foreseen) in self.steps() {
            self.step_text(step, foreseen, &mut lines);
        }
        for turn in self.foresight.iter().flat_map(|foresight| &foresight.turns) {
            lines.push(format!("  if {}", turn.when));
            lines.push(format!("    the subject counts as {}: {}", word(&turn.role), safe(&turn.why)));
            for (id, fate) in &turn.changes {
                lines.push(format!("    then {id}: {}", told(fate)));
            }
        }
        lines.join("\n")
    }

    fn step_text(&self, step: &Step, foreseen: &ForeseenStep, lines: &mut Vec<String>) {
        const UNDER: &str = "               ";
        let (fate, why) = fate(step, foreseen);
        let work = match &step.work {
            Work::Action(name) => name.clone(),
            Work::Hold(_) => "hold".to_owned(),
        };
        lines.push(format!("  {fate:<13}{:<24} {work}", step.id));
        match &step.work {
            Work::Hold(why) => lines.push(format!("{UNDER}{}", safe(why))),
            Work::Action(name) => {
                if let Some(action) = self.question.registry.get(name) {
                    let what = match action.kind {
                        Kind::Probe(_) => "reads only".to_owned(),
                        Kind::Change(_) => format!("a change, {}", word(&action.risk)),
                    };
                    lines.push(format!("{UNDER}{} ({what})", action.about));
                }
            }
        }
        lines.push(format!("{UNDER}{}", safe(&why)));
        if let Some(with) = foreseen.with.as_ref().filter(|with| with.as_object().is_none_or(|with| !with.is_empty())) {
            lines.push(format!("{UNDER}with {}", text::json(&with.to_string())));
        }
        if !foreseen.depends_on.is_empty() {
            lines.push(format!("{UNDER}its parameters depend on {}", foreseen.depends_on.join(", ")));
        }
        let terms = terms(step, foreseen);
        if !terms.is_empty() {
            lines.push(format!("{UNDER}{}", terms.join("; ")));
        }
    }
}

/// Whether the incident would run at all, as far as the finding and the configuration tell.
fn standing(question: &Question<'_>, finding: &Finding, document: &Value, subject: &Subject) -> (RunState, &'static str, String) {
    let regions = &question.config.hub.regions;
    let region = &subject.cell.region;
    if finding.sample {
        return (RunState::Ignored, "sample", "a sample finding is ignored; `--allow-samples` observes it".to_owned());
    }
    if finding.archived {
        return (RunState::Ignored, "archived", "its provider has archived it, so it is ignored".to_owned());
    }
    if let Some(first) =
        question.playbooks.iter().find(|other| other.matches(document)).filter(|first| first.name != question.playbook.name)
    {
        let why = format!("`{}` is asked first and answers it, so this playbook would not", first.name);
        return (RunState::Ignored, "other-playbook", why);
    }
    if *region != Region::global() && !regions.contains(region) {
        return (RunState::Held, "region-not-configured", format!("Region {region} is not among `[hub] regions`"));
    }
    let config = question.config;
    let own = std::iter::once(config.spoke.role_name.clone()).chain(config.hub.action_role.clone());
    let own = own.chain(config.hub.role.as_ref().map(ToString::to_string));
    let protected = Protected { names: own.chain(config.protected.iter().cloned()).collect() };
    match protected.refuses(subject) {
        Some(why) => (RunState::Held, "refused-subject", why),
        None => (RunState::Planned, "", String::new()),
    }
}

/// What would become of a step in a word, and why.
fn fate(step: &Step, foreseen: &ForeseenStep) -> (&'static str, String) {
    let because = || {
        let Some(when) = &step.when else { return "it has no condition".to_owned() };
        let values: Vec<String> = foreseen.values.iter().map(|(path, value)| format!("{path} is {value}")).collect();
        let values = if values.is_empty() { String::new() } else { format!(" ({})", values.join(", ")) };
        format!("when {when}{values}")
    };
    match (&foreseen.fate, &step.work) {
        (Fate::Begins, Work::Hold(_)) => ("hold", format!("{}: true", because())),
        (Fate::Begins, Work::Action(_)) if step.when.is_none() => ("run", because()),
        (Fate::Begins, Work::Action(_)) => ("run", format!("{}: true", because())),
        (Fate::Skipped, _) => ("skip", format!("{}: false", because())),
        (Fate::DependsOn(what), _) => ("depends", format!("{}: depends on {what}", because())),
        (Fate::Fails(why), _) => ("fail", why.clone()),
    }
}

fn told(fate: &Fate) -> String {
    match fate {
        Fate::Begins => "begins".to_owned(),
        Fate::Skipped => "is skipped".to_owned(),
        Fate::DependsOn(what) => format!("depends on {what}"),
        Fate::Fails(why) => format!("fails: {}", safe(why)),
    }
}

fn turn_json(turn: &ForeseenTurn) -> Value {
    let changes: Map<String, Value> = turn.changes.iter().map(|(id, fate)| (id.clone(), json!(told(fate)))).collect();
    json!({ "when": turn.when, "role": turn.role, "why": turn.why, "changes": changes })
}

/// When and how a step is done, beside its condition.
fn terms(step: &Step, foreseen: &ForeseenStep) -> Vec<String> {
    let mut terms = Vec::new();
    if !step.needs.is_empty() {
        let even = match step.even_if {
            EvenIf::Never => "",
            EvenIf::Failed => ", even if that failed",
            EvenIf::Waiting => ", even if that failed or waits for a person",
        };
        terms.push(format!("after {}{even}", step.needs.join(", ")));
    }
    if !step.after.is_zero() {
        terms.push(format!("{} later", length(step.after)));
    }
    terms.extend(foreseen.region.as_ref().map(|region| format!("in {}", region.as_str().map_or_else(|| region.to_string(), safe))));
    terms.extend(step.phase.map(|phase| format!("phase {}", word(&phase))));
    terms.extend(step.ttl.map(|ttl| format!("undone after {}", length(ttl))));
    if step.ask {
        terms.push("asks a person in every mode".to_owned());
    }
    if step.on_expiry == OnExpiry::Escalate {
        terms.push("a question that nobody answers is escalated".to_owned());
    }
    terms
}

fn kind(kind: &Kind) -> &'static str {
    match kind {
        Kind::Probe(_) => "probe",
        Kind::Change(_) => "change",
    }
}

fn length(duration: jiff::SignedDuration) -> String {
    format!("{duration:#}")
}

/// The word that a value is written with.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
