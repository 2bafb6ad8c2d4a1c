//! `cordon action` and `cordon playbook`: the catalogue.

use clap::Subcommand;
use cordon_shared::{
    playbook::{Playbook, Work},
    words::closest,
};
use cordon_spoke::action::{Action, Kind};
use serde_json::{Value, json};

use super::{
    Common, Exit, Failure, Format, output,
    playbook_plan::{self, Question},
};
use crate::setup;

/// The catalogue of actions.
#[derive(Debug, Subcommand)]
pub(super) enum ActionCommand {
    /// Every action
    List,
    /// One action: parameters, permissions, how it is undone
    Show {
        /// Its name
        name: String,
    },
}

/// The playbooks.
#[derive(Debug, Subcommand)]
pub(super) enum PlaybookCommand {
    /// Every playbook, in the order they are asked
    List,
    /// One playbook's text, or what it would do for a finding and why
    Show {
        /// Its name
        name: String,
        /// Findings: what it would do for each, without asking AWS. `-` is standard input
        #[arg(long, value_name = "FILE")]
        plan: Option<String>,
    },
    /// Whether playbook files are sound; without a file, those in use
    Check {
        /// The files
        files: Vec<std::path::PathBuf>,
    },
}

fn describe(action: &Action) -> Value {
    let permissions = |permissions: &[cordon_spoke::permission::Permission]| {
        permissions.iter().map(|permission| json!({ "action": permission.action, "resource": permission.resource })).collect::<Vec<_>>()
    };
    json!({
        "name": action.name, "about": action.about, "risk": action.risk, "seat": action.seat,
        "kind": match action.kind { Kind::Probe(_) => "probe", Kind::Change(_) => "change" },
        "undo": match (&action.kind, action.undo_only_named) {
            (Kind::Probe(_), _) => "nothing to undo",
            (_, true) => "only when its step is named",
            (_, false) => "with its incident",
        },
        "parameters": action.schema, "reads": permissions(action.reads), "writes": permissions(action.writes),
    })
}

/// Obeys `cordon action`.
pub(super) fn action(common: &Common, command: ActionCommand) -> Result<Exit, Failure> {
    let registry = setup::registry()?;
    match command {
        ActionCommand::List => {
            let actions: Vec<Value> = registry.iter().map(describe).collect();
            let cell = |action: &Value, key: &str| action.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            output::rows(common.format, &actions, &["action", "kind", "risk", "seat", "about"], |action| {
                ["name", "kind", "risk", "seat", "about"].iter().map(|key| cell(action, key)).collect()
            })?;
        }
        ActionCommand::Show { name } => {
            let Some(action) = registry.get(&name) else {
                let names: Vec<&str> = registry.iter().map(|action| action.name).collect();
                return Err(unknown("action", &name, &names));
            };
            let described = cordon_shared::words::canonical(describe(action));
            match common.format {
                Format::Json => output::object(&described)?,
                Format::Table => output::line(&serde_json::to_string_pretty(&described).unwrap_or_default()),
            }
        }
    }
    Ok(Exit::Well)
}

fn unknown(what: &str, name: &str, names: &[&str]) -> Failure {
    let hint = closest(name, names.iter().copied()).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
    Failure::usage(format!("there is no {what} `{name}`{hint} (`cordon {what} list` shows all)"))
}

/// Obeys `cordon playbook`.
pub(super) fn playbook(common: &Common, command: PlaybookCommand) -> Result<Exit, Failure> {
    let registry = setup::registry()?;
    if let PlaybookCommand::Check { files } = &command
        && !files.is_empty()
    {
        let mut wrong = Vec::new();
        for file in files {
            let text =
                std::fs::read_to_string(file).map_err(|error| Failure::usage(format!("{} cannot be read: {error}", file.display())))?;
            match Playbook::parse(&text, &file.display().to_string()) {
                Ok(playbook) => wrong.extend(playbook.check(&registry)),
                Err(errors) => wrong.extend(errors),
            }
        }
        for error in &wrong {
            output::tell(&error.to_string());
        }
        return if wrong.is_empty() {
            output::tell("sound");
            Ok(Exit::Well)
        } else {
            Err(Failure::usage(format!("{} errors", wrong.len())))
        };
    }
    let config = common.load()?;
    let playbooks = setup::playbooks(&config, &registry)?;
    match command {
        PlaybookCommand::Check { .. } => output::tell(&format!("{} playbooks, all sound", playbooks.len())),
        PlaybookCommand::List => {
            let rows: Vec<Value> = playbooks
                .iter()
                .map(|playbook| {
                    let steps: Vec<&str> = playbook.steps.iter().map(|step| step.id.as_str()).collect();
                    json!({ "name": playbook.name, "title": playbook.title, "mode": playbook.mode, "subject": playbook.subject, "steps": steps, "digest": playbook.digest })
                })
                .collect();
            output::rows(common.format, &rows, &["playbook", "title", "mode", "steps"], |row| {
                let steps = row
                    .get("steps")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .collect::<Vec<_>>()
                    .join(" ");
                let text = |key: &str| row.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
                vec![text("name"), text("title"), text("mode"), steps]
            })?;
        }
        PlaybookCommand::Show { name, plan } => {
            let Some(playbook) = playbooks.iter().find(|playbook| playbook.name == name) else {
                let names: Vec<&str> = playbooks.iter().map(|playbook| playbook.name.as_str()).collect();
                return Err(unknown("playbook", &name, &names));
            };
            if let Some(file) = plan {
                let question = Question { config: &config, registry: &registry, playbooks: &playbooks, playbook };
                return playbook_plan::show(common, &question, &file);
            }
            match common.format {
                Format::Table => output::line(&playbook.source),
                Format::Json => {
                    let steps: Vec<Value> = playbook
                        .steps
                        .iter()
                        .map(|step| {
                            let (action, hold) = match &step.work {
                                Work::Action(action) => (Some(action), None),
                                Work::Hold(why) => (None, Some(why)),
                            };
                            json!({ "id": step.id, "action": action, "hold": hold, "needs": step.needs, "when": step.when.as_ref().map(ToString::to_string) })
                        })
                        .collect();
                    let patterns: Vec<Value> = playbook.patterns.iter().map(cordon_shared::pattern::Pattern::to_json).collect();
                    output::object(
                        &json!({ "name": playbook.name, "title": playbook.title, "mode": playbook.mode, "match": patterns, "steps": steps, "digest": playbook.digest }),
                    )?;
                }
            }
        }
    }
    Ok(Exit::Well)
}
