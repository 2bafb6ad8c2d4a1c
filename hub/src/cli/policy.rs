//! `cordon policy`: what may be done, why it was decided so, and what other policies would have decided.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use cordon_shared::{
    clock::{Clock as _, SystemClock},
    engine::{Entry, Hold},
    gate::PolicyAnswer,
    journal::Sealed,
    plan::StepKey,
    words::closest,
};
use jiff::{Span, SpanRelativeTo, Timestamp};
use serde_json::json;

use super::{Common, Exit, Failure, Format, freeze, output};
use crate::{
    journal::sqlite::SqliteStore,
    policy::{self, Case, Keeper, Policies, replay},
    setup,
    text::safe,
};

/// What may be done, in Cedar.
#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Whether policies are sound; without a folder, those in use
    Check {
        /// A folder of `.cedar` files, taken together with those built in
        dir: Option<PathBuf>,
    },
    /// Every policy in use
    List,
    /// One policy's text
    Show {
        /// Its name
        name: String,
    },
    /// What policies can speak of, for an editor
    Schema,
    /// Which policies decided about a step, and what they were asked
    Explain {
        /// The incident, or the beginning of its id
        incident: String,
        /// The step: its id, or id#number
        step: StepKey,
    },
    /// What other policies would have decided differently; nothing is changed
    Replay {
        /// How far back, such as 30d or 12h
        #[arg(long, value_name = "TIME")]
        since: String,
        /// Their folder, taken together with the policies built in
        #[arg(long, value_name = "DIR")]
        policies: PathBuf,
    },
}

/// Obeys `cordon policy`.
pub(super) async fn policy(common: &Common, command: PolicyCommand) -> Result<Exit, Failure> {
    match command {
        PolicyCommand::Check { dir } => check(common, dir.as_deref()),
        PolicyCommand::List => list(common),
        PolicyCommand::Show { name } => show(common, &name),
        PolicyCommand::Schema => {
            output::line(policy::schema_text(&setup::registry()?).trim_end());
            Ok(Exit::Well)
        }
        PolicyCommand::Explain { incident, step } => explain(common, &incident, &step).await,
        PolicyCommand::Replay { since, policies } => replayed(common, &since, &policies).await,
    }
}

/// The policies of a folder, or those of the configuration.
fn load(common: &Common, dir: Option<&Path>) -> Result<Keeper, Failure> {
    let configured = match dir {
        Some(_) => None,
        None => common.load()?.policy.dir,
    };
    let registry = setup::registry()?;
    Ok(Keeper::load(dir.or(configured.as_deref()), &registry).map_err(setup::SetupError::from)?)
}

fn check(common: &Common, dir: Option<&Path>) -> Result<Exit, Failure> {
    let policies = load(common, dir)?.in_force();
    for warning in &policies.warnings {
        let picture = warning.to_string();
        output::tell(&format!("warning{}", picture.strip_prefix("error").unwrap_or(&picture)));
    }
    output::tell(&format!("{} policies, all sound; set {}", policies.iter().count(), short(&policies.digest)));
    Ok(Exit::Well)
}

fn list(common: &Common) -> Result<Exit, Failure> {
    let policies = load(common, None)?.in_force();
    let all: Vec<_> = policies.iter().collect();
    output::rows(common.format, &all, &["policy", "effect", "file", "why"], |known| {
        vec![safe(&known.name), known.effect.to_owned(), safe(&known.file), safe(&known.why)]
    })?;
    Ok(Exit::Well)
}

fn show(common: &Common, name: &str) -> Result<Exit, Failure> {
    let policies = load(common, None)?.in_force();
    let Some(known) = policies.iter().find(|known| known.name == name) else {
        let near = closest(name, policies.iter().map(|known| &known.name)).map(|near| format!("; did you mean `{near}`?"));
        return Err(Failure::usage(format!("there is no policy `{name}`{} (`cordon policy list` shows all)", near.unwrap_or_default())));
    };
    match common.format {
        Format::Json => output::object(known)?,
        Format::Table => output::line(known.text.trim_end()),
    }
    Ok(Exit::Well)
}

fn store(common: &Common, what: &str) -> Result<std::sync::Arc<SqliteStore>, Failure> {
    Ok(SqliteStore::open(&common.load_here(what)?.hub.state_dir)?)
}

async fn explain(common: &Common, incident: &str, step: &StepKey) -> Result<Exit, Failure> {
    let store = store(common, "policy explain")?;
    freeze::tell_of(&store).await?;
    let run = store.find_run(incident).await.map_err(|error| Failure::usage(error.to_string()))?;
    let entries = store.entries(run).await?;
    let of_step: Vec<&Sealed> = entries.iter().filter(|sealed| sealed.entry.step() == Some(step)).collect();
    let judged = of_step.iter().enumerate().rev().find_map(|(place, sealed)| match &sealed.entry {
        Entry::Judged { answer, .. } => Some((place, sealed.at, answer)),
        _ => None,
    });
    let Some((place, at, answer)) = judged else {
        let why = "the policies were not asked about it: it was not reached, there was nothing to change, the gate said no before them, or it \
                   only looks and was allowed to";
        let known: Vec<String> = asked_steps(&entries);
        let others = if known.is_empty() { String::new() } else { format!("; they were asked about {}", known.join(", ")) };
        return Err(Failure::usage(format!("`{step}` of {run}: {why}{others}")));
    };
    let then = of_step.iter().skip(place.saturating_add(1)).find_map(|sealed| said(&sealed.entry)).unwrap_or_default();
    match common.format {
        Format::Json => output::object(&json!({
            "incident": run, "step": step, "at": at, "verdict": answer.verdict.word(), "people": answer.people(), "why": answer.why,
            "policies": answer.policies, "opt_out": answer.opt_out, "set": answer.set, "asked": answer.asked, "then": then,
        }))?,
        Format::Table => {
            output::line(&format!("`{step}` of {run}, at {at:.0}"));
            output::line(&words(answer, &then));
        }
    }
    Ok(Exit::Well)
}

fn asked_steps(entries: &[Sealed]) -> Vec<String> {
    let mut known: Vec<String> = Vec::new();
    for sealed in entries {
        if let Entry::Judged { step, .. } = &sealed.entry {
            let name = format!("`{step}`");
            if !known.contains(&name) {
                known.push(name);
            }
        }
    }
    known
}

/// What the gate made of it.
fn said(entry: &Entry) -> Option<String> {
    Some(match entry {
        Entry::Decided { because, .. } => format!("yes: {because}"),
        Entry::Asked { why, people: 1, .. } => format!("a person is asked: {why}"),
        Entry::Asked { why, people, .. } => format!("{people} different persons are asked: {why}"),
        Entry::Held { hold: Hold { code, why }, .. } => format!("held ({code}): {why}"),
        Entry::Observed { why, .. } => format!("only planned: {why}"),
        _ => return None,
    })
}

/// An answer for people.
fn words(answer: &PolicyAnswer, then: &str) -> String {
    let mut lines = vec![format!("  policies  {}: {}", answer.verdict, answer.why)];
    if let Some(opt_out) = &answer.opt_out {
        lines.push(format!("  opt-out   {}: {}", opt_out.word(), opt_out.why));
    }
    if !then.is_empty() {
        lines.push(format!("  gate      {then}"));
    }
    if let Ok(case) = serde_json::from_value::<Case>(answer.asked.clone()) {
        let path: Vec<&str> = case.account.path.iter().map(|unit| unit.name.as_str()).collect();
        let around = &case.around;
        lines.push(format!(
            "  asked     may playbook {} do {} ({}) to {}",
            case.playbook,
            case.action,
            case.risk_word(),
            case.subject.name
        ));
        lines.push(format!("  account   {} {} in {}", case.account.id, case.account.name, path.join("/")));
        let set = |values: &std::collections::BTreeSet<String>| match values.len() {
            0 => "none".to_owned(),
            _ => values.iter().cloned().collect::<Vec<_>>().join(", "),
        };
        lines.push(format!("  tags      environment: {}; criticality: {}", set(&case.environments), set(&case.criticalities)));
        lines.push(format!(
            "  finding   {}, severity {}, {} s old{}",
            around.finding_type,
            around.severity,
            around.finding_age,
            around.part.as_ref().map(|part| format!(", {part}")).unwrap_or_default()
        ));
        if let Some(age) = around.opt_out_age {
            let new = if around.opt_out_new { ", after the attack began" } else { "" };
            lines.push(format!("  opted out {age} s ago{new}"));
        }
        lines.push(format!(
            "  changes   {} now; in the last hour {} of {} in the account, {} of {} in the organization; the fullest budget at {} %",
            around.blast_radius, around.spent.0, around.caps.0, around.spent.1, around.caps.1, around.budget_spent
        ));
        lines.push(format!("  time      {} {:02}:{:02}, mode {}", around.weekday, around.hour, around.minute, around.mode));
    }
    lines.push(format!("  set       {}", answer.set));
    lines.iter().map(|line| safe(line)).collect::<Vec<_>>().join("\n")
}

/// A time before now, `30d` for example; a day has 24 hours.
fn before(now: Timestamp, text: &str) -> Result<Timestamp, Failure> {
    let wrong = || Failure::usage(format!("`--since {text}` is no time: write days, hours or minutes, such as 30d, 12h or 90m"));
    let span: Span = text.parse().map_err(|_| wrong())?;
    let back = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    if back.is_negative() || back.is_zero() {
        return Err(wrong());
    }
    now.checked_sub(back).map_err(|_| wrong())
}

async fn replayed(common: &Common, since: &str, dir: &Path) -> Result<Exit, Failure> {
    let since = before(SystemClock.now(), since)?;
    let store = store(common, "policy replay")?;
    let policies: std::sync::Arc<Policies> = load(common, Some(dir))?.in_force();
    let replayed = replay::replay(store.as_ref(), since, &policies).await?;
    let header = ["at", "incident", "step", "account", "then", "now", "why"];
    if common.format == Format::Json || !replayed.different.is_empty() {
        output::rows(common.format, &replayed.different, &header, |different| {
            vec![
                format!("{:.0}", different.at),
                different.incident.to_string(),
                different.step.clone(),
                different.account.clone(),
                different.then.text(),
                different.now.text(),
                safe(&different.why),
            ]
        })?;
    }
    let unreadable = match replayed.unreadable {
        0 => String::new(),
        many => format!("; {many} were kept in another shape and cannot be asked about"),
    };
    output::tell(&format!(
        "{} decisions since {since:.0}: {} would come out differently{unreadable}",
        replayed.decisions,
        replayed.different.len()
    ));
    Ok(Exit::Well)
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_before_now_is_days_hours_or_minutes() {
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        assert_eq!(before(now, "30d").unwrap().to_string(), "2026-10-25T12:00:00Z");
        assert_eq!(before(now, "90m").unwrap().to_string(), "2026-11-24T10:30:00Z");
        for wrong in ["", "30", "soon", "-1d", "0s"] {
            assert!(before(now, wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_the_gate_made_of_an_answer_is_told() {
        let step = StepKey::first("contain");
        let asked = |people| Entry::Asked { step: step.clone(), digest: String::new(), why: "w".into(), expires: Timestamp::MAX, people };
        assert_eq!(said(&asked(1)).unwrap(), "a person is asked: w");
        assert_eq!(said(&asked(2)).unwrap(), "2 different persons are asked: w");
        assert_eq!(said(&Entry::Applied { step: step.clone(), outcome: json!(null) }), None);
    }
}
