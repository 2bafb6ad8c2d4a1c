//! `cordon budget`: what is spent, by which incidents, and when it frees.

use clap::Subcommand;
use cordon_shared::{
    clock::{Clock as _, SystemClock},
    gate::budget::standings,
    id::IncidentId,
    plan::Counts,
};
use jiff::Timestamp;
use serde::Serialize;

use super::{Common, Exit, Failure, output};
use crate::journal::sqlite::SqliteStore;

/// Budgets.
#[derive(Debug, Subcommand)]
pub(super) enum BudgetCommand {
    /// Each budget: what of it is spent, by which incidents, and when the next of it frees
    Show,
}

#[derive(Debug, Serialize)]
struct Row {
    scope: String,
    /// The account, or the group, that this much of it was spent in; null: the scope as a whole.
    whose: Option<String>,
    counts: Counts,
    window: String,
    most: u32,
    spent: u32,
    /// What the next step of this kind comes to.
    asks: bool,
    incidents: Vec<IncidentId>,
    frees_at: Option<Timestamp>,
}

/// Obeys `cordon budget`.
pub(super) async fn budget(common: &Common, command: BudgetCommand) -> Result<Exit, Failure> {
    let BudgetCommand::Show = command;
    let config = common.load()?;
    if config.budgets.is_empty() {
        output::tell("no budget is configured (`[[budgets]]`); the hard caps of `[caps]` hold");
    }
    let store = SqliteStore::open(&config.hub.state_dir).map_err(|error| Failure::other(error.to_string()))?;
    let now = SystemClock.now();
    let mut rows = Vec::new();
    for budget in config.budgets.iter() {
        let since = now.checked_sub(budget.window).unwrap_or(Timestamp::MIN);
        let charges = store.charges(since, budget.counts).await.map_err(|error| Failure::other(error.to_string()))?;
        rows.extend(standings(budget, &charges, now).into_iter().map(|standing| Row {
            scope: budget.scope.to_string(),
            whose: standing.whose,
            counts: budget.counts,
            window: format!("{:#}", budget.window),
            most: budget.most,
            spent: standing.spent,
            asks: standing.spent >= budget.most,
            incidents: standing.by.into_iter().collect(),
            frees_at: standing.frees_at,
        }));
    }
    output::rows(common.format, &rows, &["scope", "whose", "counts", "window", "spent", "next", "incidents", "frees at"], |row| {
        let percent = if row.counts == Counts::InService { " %" } else { "" };
        vec![
            row.scope.clone(),
            crate::text::safe(row.whose.as_deref().unwrap_or("-")),
            row.counts.words().to_owned(),
            row.window.clone(),
            format!("{} of {}{percent}", row.spent, row.most),
            if row.asks { "asks" } else { "goes" }.to_owned(),
            row.incidents.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            row.frees_at.map_or_else(|| "-".to_owned(), |at| format!("{at:.0}")),
        ]
    })?;
    Ok(Exit::Well)
}
