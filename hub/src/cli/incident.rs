//! `cordon incident` and `cordon approval`: look at, answer and reverse what was done.

use clap::{Args, Subcommand};
use cordon_shared::{
    id::IncidentId,
    journal::RunRow,
    plan::{Change, StepKey},
};

use super::{Common, Exit, Failure, Format, door::Door, exit::Tally, freeze, output, undo};
use crate::{
    api::Answered,
    desk::{Form, Question, Which},
    driver::requests::means,
    journal::Request,
    text::{json, safe},
};

/// Look at, answer and reverse what was done.
#[derive(Debug, Subcommand)]
pub(super) enum Incident {
    /// All incidents, the newest first
    List(List),
    /// One incident, step by step
    Show {
        /// The incident, or the beginning of its id
        id: String,
    },
    /// What happened, how they got in or were kept out, what was changed, how to undo it
    Report {
        /// The incident, or the beginning of its id
        id: String,
        /// As one HTML page that needs nothing else
        #[arg(long)]
        html: bool,
    },
    /// Put back what was changed, after a look for changes of others
    Undo(undo::Undo),
    /// Look at what is held again
    Release(OnStep),
    /// Try what failed again
    Retry(OnStep),
    /// End an incident by hand
    Close {
        /// The incident, or the beginning of its id
        id: String,
        /// Why
        #[arg(long)]
        why: String,
    },
}

/// Which incidents.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Only these states, such as held,waiting
    #[arg(long, value_delimiter = ',')]
    state: Vec<String>,
    /// Only this account
    #[arg(long)]
    account: Option<String>,
    /// Only this playbook
    #[arg(long)]
    playbook: Option<String>,
    /// Only those that are not over
    #[arg(long)]
    open: bool,
    /// At most so many
    #[arg(long, default_value_t = 200)]
    limit: usize,
}

/// An incident, and perhaps one step of it.
#[derive(Debug, Args)]
pub(super) struct OnStep {
    /// The incident, or the beginning of its id
    id: String,
    /// Only this step: its id, or id#number
    #[arg(long)]
    step: Option<StepKey>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Answer what waits for a yes.
#[derive(Debug, Subcommand)]
pub(super) enum Approval {
    /// What waits
    List,
    /// Yes, to exactly the plan with this digest
    Grant(Answer),
    /// No
    Deny(Answer),
}

/// An answer.
#[derive(Debug, Args)]
pub(super) struct Answer {
    /// The incident, or the beginning of its id
    id: String,
    /// The step; not needed where only one asks
    #[arg(long)]
    step: Option<StepKey>,
    /// The plan's digest as `cordon approval list` shows it (8 digits or more)
    #[arg(long)]
    digest: Option<String>,
    /// Why
    #[arg(long, default_value = "")]
    why: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Obeys `cordon incident`.
pub(super) async fn incident(common: &Common, command: Incident) -> Result<Exit, Failure> {
    let door = Door::open(common).await?;
    match command {
        Incident::List(list) => {
            freeze::tell(&door).await?;
            let states = list
                .state
                .iter()
                .map(|state| {
                    serde_json::from_value(serde_json::Value::String(state.clone()))
                        .map_err(|_| Failure::usage(format!("`--state {state}`: there is no such state")))
                })
                .collect::<Result<Vec<_>, Failure>>()?;
            let which = Which { states, account: list.account, playbook: list.playbook, open: list.open, limit: Some(list.limit) };
            show_rows(common.format, &door.incidents(&which).await?)
        }
        Incident::Show { id } => {
            freeze::tell(&door).await?;
            let incident = door.incident(&id).await?;
            match common.format {
                Format::Json => output::object(&incident)?,
                Format::Table => output::line(&crate::show::incident(&incident)),
            }
            Ok(Exit::Well)
        }
        Incident::Report { id, html } => {
            let form = match common.format {
                Format::Table if html => Form::Html,
                Format::Json if html => return Err(Failure::usage("`--html` and `--format json` are two formats: choose one")),
                Format::Json => Form::Json,
                Format::Table => Form::Markdown,
            };
            freeze::tell(&door).await?;
            let report = door.report(&id, form).await?;
            output::line(&if form == Form::Json { json(&report) } else { report.trim_end().to_owned() });
            Ok(Exit::Well)
        }
        Incident::Undo(undo) => undo::undo(common, &door, undo).await,
        Incident::Release(on) => {
            let id = door.find(&on.id).await?;
            request(common, &door, Request::Release { run: id, step: on.step }).await
        }
        Incident::Retry(on) => {
            let id = door.find(&on.id).await?;
            request(common, &door, Request::Retry { run: id, step: on.step }).await
        }
        Incident::Close { id, why } => {
            let id = door.find(&id).await?;
            request(common, &door, Request::Close { run: id, why }).await
        }
    }
}

fn show_rows(format: Format, rows: &[RunRow]) -> Result<Exit, Failure> {
    match format {
        Format::Json => rows.iter().try_for_each(output::object)?,
        Format::Table if rows.is_empty() => output::tell("no incidents"),
        Format::Table => output::line(&crate::table::incidents(&rows.iter().map(Into::into).collect::<Vec<_>>(), output::look())),
    }
    Ok(Exit::Well)
}

/// Obeys `cordon approval`.
pub(super) async fn approval(common: &Common, command: Approval) -> Result<Exit, Failure> {
    let door = Door::open(common).await?;
    freeze::tell(&door).await?;
    match command {
        Approval::List => {
            let waiting = door.questions().await?;
            output::rows(common.format, &waiting, &["incident", "step", "digest", "expires", "yes", "why", "changes"], |asked| {
                let changes = asked.changes.iter().map(|change| safe(&format!("{} {}", change.resource, change.attribute)));
                let digest = asked.digest.chars().take(12).collect();
                vec![
                    asked.incident.to_string(),
                    asked.step.to_string(),
                    digest,
                    asked.expires.map(|expires| format!("{expires:.0}")).unwrap_or_default(),
                    format!("{} of {}", asked.said_yes.len(), asked.people),
                    safe(&asked.why),
                    changes.collect::<Vec<_>>().join("\n"),
                ]
            })?;
            Ok(Exit::Well)
        }
        Approval::Grant(answer) => {
            let (run, asked) = question(&door, &answer).await?;
            let digest = bound(answer.digest, &asked);
            asked_for(&asked).iter().for_each(|line| output::tell(line));
            output::confirmed(answer.yes, &format!("Say yes to `{}` of {run}?", asked.step))?;
            request(common, &door, Request::Grant { run, step: asked.step, digest, expires: asked.expires }).await
        }
        Approval::Deny(answer) => {
            let (run, asked) = question(&door, &answer).await?;
            let digest = Some(bound(answer.digest, &asked));
            request(common, &door, Request::Deny { run, step: asked.step, why: answer.why, digest, expires: asked.expires }).await
        }
    }
}

/// What an answer is bound to: the whole digest of the plan that was read, unless another one was named; that is the service's to refuse.
fn bound(named: Option<String>, asked: &Question) -> String {
    match named {
        Some(named) if !means(&named, &asked.digest) => named,
        _ => asked.digest.clone(),
    }
}

/// What is read before a yes: what would be changed, and why a person is asked, which may be somebody's opt-out.
fn asked_for(asked: &Question) -> Vec<String> {
    let change = |change: &Change| safe(&format!("  {} {}: {} -> {}", change.resource, change.attribute, change.before, change.after));
    let why = (!asked.why.is_empty()).then(|| format!("You are asked because: {}", safe(&asked.why)));
    asked.changes.iter().map(change).chain(why).collect()
}

async fn question(door: &Door, answer: &Answer) -> Result<(IncidentId, Question), Failure> {
    let id = door.find(&answer.id).await?;
    let mut open = door.questions_of(id).await?;
    if let Some(step) = &answer.step {
        open.retain(|asked| asked.step == *step);
    }
    match (open.len(), &answer.step) {
        // From afar the service says no, and remembers it.
        (0, Some(step)) if door.is_there() => Ok((id, Question::none(id, step))),
        (0, _) => {
            let about = answer.step.as_ref().map(|step| format!(" about `{step}`")).unwrap_or_default();
            let why = format!("{id} asks nothing{about}; `cordon approval list` shows what waits");
            door.turned_away(&format!("an answer to {id}{about}"), &why).await?;
            Err(Failure::usage(why))
        }
        (1, _) => Ok((id, open.remove(0))),
        _ => Err(Failure::usage(format!("{id} asks about {} steps: say which with `--step`", open.len()))),
    }
}

/// Has a request met, and shows what came of it.
pub(super) async fn request(common: &Common, door: &Door, request: Request) -> Result<Exit, Failure> {
    let tally = Tally::new(common.states()?);
    let Answered { answer, incident } = door.request(request).await?;
    output::tell(&safe(&answer));
    match common.format {
        Format::Json => output::object(&incident)?,
        Format::Table => output::line(&crate::show::incident(&incident)),
    }
    Ok(tally.of(incident.state).exit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_says_yes_reads_why_they_are_asked_and_no_text_leaves_its_line() {
        let mut asked = Question::none(IncidentId::from_u128(7), &StepKey::first("isolate"));
        assert_eq!(asked_for(&asked), Vec::<String>::new());
        let mut change = crate::report::fixture::closing().changes.remove(0);
        change.resource = "sg-1\u{1b}[2J\nYou are asked because: a drill".to_owned();
        change.before = serde_json::json!("a\u{9b}31m\u{202e}b");
        asked.changes = vec![change];
        asked.why = "the opt-out `cordon:opt-out`\n on account 111122223333 is new\u{1b}[8m".to_owned();
        let lines = asked_for(&asked);
        assert_eq!(lines.len(), 2);
        assert!(lines.iter().all(|line| !line.contains(['\n', '\u{1b}', '\u{9b}', '\u{202e}'])), "{lines:?}");
        assert!(lines[0].contains("sg-1\\u{1b}[2J\\nYou") && lines[0].contains("\\u{9b}31m\\u{202e}b"), "{lines:?}");
        assert!(lines[1].starts_with("You are asked because: the opt-out `cordon:opt-out`") && lines[1].contains("is new"), "{lines:?}");
    }
}
