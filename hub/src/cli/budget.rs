//! `cordon budget`: what is spent, by which incidents, and when it frees.

use clap::Subcommand;
use cordon_shared::plan::Counts;

use super::{Common, Exit, Failure, door::Door, freeze, output};

/// Budgets.
#[derive(Debug, Subcommand)]
pub(super) enum BudgetCommand {
    /// Each budget: what of it is spent, by which incidents, and when the next of it frees
    Show,
}

/// Obeys `cordon budget`.
pub(super) async fn budget(common: &Common, command: BudgetCommand) -> Result<Exit, Failure> {
    let BudgetCommand::Show = command;
    let door = Door::open(common).await?;
    freeze::tell(&door).await?;
    let rows = door.budgets().await?;
    if rows.is_empty() && !door.is_there() && door.config().budgets.is_empty() {
        output::tell("no budget is configured (`[[budgets]]`); the hard caps of `[caps]` hold");
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
