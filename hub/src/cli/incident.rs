//! `cordon incident` and `cordon approval`: look at, answer and reverse what was done.

use std::{sync::Arc, time::Duration};

use clap::{Args, Subcommand};
use cordon_shared::{
    engine::{StepState, View},
    id::IncidentId,
    journal::{RunRow, ops},
    plan::StepKey,
};

use super::{Common, Exit, Failure, Format, exit::Tally, freeze, output, person, undo};
use crate::{
    driver::{self, Hub, serve_requests},
    incident::IncidentJson,
    journal::{queries::RunFilter, requests::Request, sqlite::SqliteStore},
    report::Report,
    setup::{self, SetupError, Wanted},
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

pub(super) fn store(common: &Common) -> Result<Arc<SqliteStore>, Failure> {
    let config = common.load()?;
    Ok(SqliteStore::open(&config.hub.state_dir)?)
}

pub(super) async fn find(store: &Arc<SqliteStore>, id: &str) -> Result<IncidentId, Failure> {
    store.find_run(id).await.map_err(|error| Failure::usage(error.to_string()))
}

/// Obeys `cordon incident`.
pub(super) async fn incident(common: &Common, command: Incident) -> Result<Exit, Failure> {
    match command {
        Incident::List(list) => {
            let store = store(common)?;
            freeze::tell(&store).await?;
            let states = list
                .state
                .iter()
                .map(|state| {
                    serde_json::from_value(serde_json::Value::String(state.clone()))
                        .map_err(|_| Failure::usage(format!("`--state {state}`: there is no such state")))
                })
                .collect::<Result<Vec<_>, Failure>>()?;
            let filter = RunFilter {
                open_only: list.open,
                states,
                account: list.account,
                playbook: list.playbook,
                limit: Some(list.limit),
                ..RunFilter::default()
            };
            let rows = store.runs(&filter).await?;
            show_rows(common.format, &rows)
        }
        Incident::Show { id } => {
            let store = store(common)?;
            freeze::tell(&store).await?;
            let id = find(&store, &id).await?;
            let incident = IncidentJson::new(&store.view(id).await?, None);
            match common.format {
                Format::Json => output::object(&incident)?,
                Format::Table => output::line(&crate::show::incident(&incident)),
            }
            Ok(Exit::Well)
        }
        Incident::Report { id, html } => {
            let store = store(common)?;
            let id = find(&store, &id).await?;
            let entries = store.entries(id).await?;
            let view = ops::fold(id, &entries)?;
            match common.format {
                Format::Table if html => output::line(Report::new(&view, &entries).html().trim_end()),
                Format::Json if html => return Err(Failure::usage("`--html` and `--format json` are two formats: choose one")),
                Format::Json => output::object(&Report::new(&view, &entries))?,
                Format::Table => output::line(Report::new(&view, &entries).markdown().trim_end()),
            }
            Ok(Exit::Well)
        }
        Incident::Undo(undo) => undo::undo(common, undo).await,
        Incident::Release(on) => {
            let store = store(common)?;
            let id = find(&store, &on.id).await?;
            request(common, store, Request::Release { run: id, step: on.step }).await
        }
        Incident::Retry(on) => {
            let store = store(common)?;
            let id = find(&store, &on.id).await?;
            request(common, store, Request::Retry { run: id, step: on.step }).await
        }
        Incident::Close { id, why } => {
            let store = store(common)?;
            let id = find(&store, &id).await?;
            request(common, store, Request::Close { run: id, why }).await
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
    let store = store(common)?;
    freeze::tell(&store).await?;
    match command {
        Approval::List => {
            let filter = RunFilter { open_only: true, ..RunFilter::default() };
            let mut waiting = Vec::new();
            for row in store.runs(&filter).await? {
                let view = store.view(row.run).await?;
                waiting.extend(view.steps.iter().filter_map(|step| asked(&view, step)));
            }
            output::rows(common.format, &waiting, &["incident", "step", "digest", "expires", "yes", "why", "changes"], |asked| {
                let changes =
                    asked.changes.iter().map(|change| format!("{} {}", change.resource, change.attribute)).collect::<Vec<_>>().join("\n");
                let digest = asked.digest.chars().take(12).collect();
                vec![
                    asked.incident.to_string(),
                    asked.step.to_string(),
                    digest,
                    asked.expires.clone(),
                    format!("{} of {}", asked.said_yes.len(), asked.people),
                    crate::text::safe(&asked.why),
                    changes,
                ]
            })?;
            Ok(Exit::Well)
        }
        Approval::Grant(answer) => {
            let (run, asked) = question(&store, &answer).await?;
            let digest = answer.digest.unwrap_or_else(|| asked.digest.clone());
            for change in &asked.changes {
                output::tell(&format!("  {} {}: {} -> {}", change.resource, change.attribute, change.before, change.after));
            }
            output::confirmed(answer.yes, &format!("Say yes to `{}` of {run}?", asked.step))?;
            request(common, store, Request::Grant { run, step: asked.step, digest }).await
        }
        Approval::Deny(answer) => {
            let (run, asked) = question(&store, &answer).await?;
            request(common, store, Request::Deny { run, step: asked.step, why: answer.why, digest: None }).await
        }
    }
}

/// A question to a person.
#[derive(Debug, serde::Serialize)]
struct Asked {
    incident: IncidentId,
    step: StepKey,
    digest: String,
    why: String,
    expires: String,
    /// The persons who have to say yes, and who has.
    people: u8,
    said_yes: Vec<String>,
    changes: Vec<cordon_shared::plan::Change>,
}

fn asked(view: &View, step: &cordon_shared::engine::StepView) -> Option<Asked> {
    let StepState::Asked { digest, why, expires, people } = &step.state else { return None };
    let changes = step.plan.as_ref().map(|plan| plan.changes.clone()).unwrap_or_default();
    Some(Asked {
        incident: view.run,
        step: step.key.clone(),
        digest: digest.clone(),
        why: why.clone(),
        expires: format!("{expires:.0}"),
        people: *people,
        said_yes: step.approvals.iter().map(|yes| yes.by.0.clone()).collect(),
        changes,
    })
}

async fn question(store: &Arc<SqliteStore>, answer: &Answer) -> Result<(IncidentId, Asked), Failure> {
    let id = find(store, &answer.id).await?;
    let view = store.view(id).await?;
    let mut open: Vec<Asked> = view.steps.iter().filter_map(|step| asked(&view, step)).collect();
    if let Some(step) = &answer.step {
        open.retain(|asked| asked.step == *step);
    }
    match open.len() {
        0 => Err(Failure::usage(format!(
            "{id} asks nothing{}; `cordon approval list` shows what waits",
            answer.step.as_ref().map(|step| format!(" about `{step}`")).unwrap_or_default()
        ))),
        1 => Ok((id, open.remove(0))),
        _ => Err(Failure::usage(format!("{id} asks about {} steps: say which with `--step`", open.len()))),
    }
}

/// How long an answer of the running service is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Hands a request to the process that drives, or drives it here.
pub(super) async fn request(common: &Common, store: Arc<SqliteStore>, request: Request) -> Result<Exit, Failure> {
    let run = request.run();
    let id = store.append_request(&request, &person(), cordon_shared::clock::Clock::now(&cordon_shared::clock::SystemClock)).await?;
    let config = common.load()?;
    let hub = match setup::hub(config, Wanted { what: "incident", ..Wanted::default() }).await {
        Ok(hub) => hub,
        Err(SetupError::Lease(held)) => {
            output::tell(&format!("handed on: {held}"));
            return wait(common, &store, id, run).await;
        }
        Err(error) => return Err(error.into()),
    };
    let driving = async {
        serve_requests(&hub).await?;
        if let Some(Ok(_)) = answer(&store, id).await? {
            driver::drive(Arc::clone(&hub), async |hub: &Hub| Ok(hub.store.running().await? == 0)).await?;
        }
        Ok::<_, Failure>(())
    };
    setup::holding(&hub, driving).await?;
    wait(common, &store, id, run).await
}

async fn answer(store: &Arc<SqliteStore>, id: i64) -> Result<Option<Result<String, String>>, Failure> {
    Ok(store.answer_of(id).await?.map(|answer| if answer.ok { Ok(answer.text) } else { Err(answer.text) }))
}

async fn wait(common: &Common, store: &Arc<SqliteStore>, id: i64, run: IncidentId) -> Result<Exit, Failure> {
    let text = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(answer) = answer(store, id).await? {
                // Give a request that was taken a moment to come to rest, so that what is shown is what came of it.
                for _ in 0..50 {
                    let running = store.run(run).await?.is_some_and(|row| row.state == cordon_shared::engine::RunState::Running);
                    if answer.is_err() || !running {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                return Ok::<_, Failure>(answer);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .map_err(|_| {
        Failure::other(format!(
            "the running service has not answered within {} s; the request stands, look again with `cordon incident show {run}`",
            PATIENCE.as_secs()
        ))
    })??;
    match text {
        Ok(text) => {
            output::tell(&text);
            let incident = IncidentJson::new(&store.view(run).await?, None);
            match common.format {
                Format::Json => output::object(&incident)?,
                Format::Table => output::line(&crate::show::incident(&incident)),
            }
            let mut tally = Tally::new(common.states()?);
            if let Some(row) = store.run(run).await? {
                tally.state(row.state);
            }
            Ok(tally.exit())
        }
        Err(why) => Err(Failure::usage(why)),
    }
}
