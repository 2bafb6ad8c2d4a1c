//! `cordon audit`: the evidence that nothing was changed afterwards.

use clap::Subcommand;

use super::{Common, Exit, Failure, Format, output};
use crate::{audit, journal::SqliteStore};

/// Check what was written.
#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// Check every hash chain and every evidence file, offline
    Verify,
    /// Show who was turned away at a door, what could not be told, and why; the newest first
    TurnedAway {
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
}

/// Obeys `cordon audit`.
pub(super) async fn audit(common: &Common, command: Audit) -> Result<Exit, Failure> {
    let what = if matches!(command, Audit::Verify) { "audit verify" } else { "audit turned-away" };
    let config = common.load_here(what)?;
    let folder = config.hub.state_dir;
    if let Audit::TurnedAway { limit } = command {
        let away = SqliteStore::open(&folder)?.turned_away(limit).await?;
        output::rows(common.format, &away, &["at", "door", "who", "what", "why"], |entry| {
            let safe = crate::text::safe;
            vec![format!("{:.0}", entry.at), safe(&entry.door), safe(&entry.who), safe(&entry.what), safe(&entry.why)]
        })?;
        return Ok(Exit::Well);
    }
    let report = tokio::task::spawn_blocking(move || audit::verify(&folder)).await.map_err(|error| Failure::other(error.to_string()))??;
    match common.format {
        Format::Json => output::object(&report)?,
        Format::Table => {
            for problem in &report.problems {
                output::line(&crate::text::safe(&format!("{}: {}: {}", problem.what, problem.place, problem.why)));
            }
            output::line(&format!(
                "{} incidents, {} entries, {} anchors, {} evidence files: {}",
                report.runs,
                report.entries,
                report.anchors,
                report.evidence_files,
                if report.problems.is_empty() { "all as written".to_owned() } else { format!("{} problems", report.problems.len()) }
            ));
        }
    }
    Ok(if report.problems.is_empty() { Exit::Well } else { Exit::Other })
}
