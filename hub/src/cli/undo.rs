//! `cordon incident undo`: first what it would put back, then the question, then the request.

use std::{io::IsTerminal as _, time::Duration};

use clap::Args;
use cordon_shared::plan::StepKey;

use super::{Common, Exit, Failure, Format, door::Door, incident::request, output};
use crate::{journal::requests::Request, undo_preview::text};

/// What to undo.
#[derive(Debug, Args)]
pub(super) struct Undo {
    /// The incident, or the beginning of its id
    id: String,
    /// Only this step: its id, or id#number
    #[arg(long)]
    step: Option<StepKey>,
    /// Only show what it would put back, and what not
    #[arg(long, conflicts_with = "yes")]
    plan: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// How long the preview before an undo may take: it must not keep anybody from undoing.
const PATIENCE: Duration = Duration::from_secs(60);

/// Obeys `cordon incident undo`.
pub(super) async fn undo(common: &Common, door: &Door, undo: Undo) -> Result<Exit, Failure> {
    let run = door.find(&undo.id).await?;
    if undo.plan {
        let preview = door.undo_preview(run, undo.step.as_ref()).await?;
        match common.format {
            Format::Json => output::object(&preview)?,
            Format::Table => output::line(&text(&preview)),
        }
        return Ok(Exit::Well);
    }
    if undo.yes || std::io::stdin().is_terminal() {
        match tokio::time::timeout(PATIENCE, door.undo_preview(run, undo.step.as_ref())).await {
            Ok(Ok(preview)) => output::tell(&text(&preview)),
            Ok(Err(failure)) => output::tell(&format!("what it would put back cannot be shown: {}", failure.text)),
            Err(_) => output::tell(&format!("what it would put back could not be read within {} s", PATIENCE.as_secs())),
        }
    }
    let what = undo.step.as_ref().map_or_else(|| format!("what {run} changed"), |step| format!("step `{step}` of {run}"));
    output::confirmed(undo.yes, &format!("Undo {what}?"))?;
    request(common, door, Request::Undo { run, step: undo.step }).await
}
