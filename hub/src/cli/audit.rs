//! `cordon audit`: the evidence that nothing was changed afterwards.

use clap::Subcommand;

use super::{Common, Exit, Failure, Format, output};
use crate::audit;

/// Check what was written.
#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// Check every hash chain and every evidence file, offline
    Verify,
}

/// Obeys `cordon audit`.
pub(super) async fn audit(common: &Common, command: Audit) -> Result<Exit, Failure> {
    let Audit::Verify = command;
    let config = common.load()?;
    let folder = config.hub.state_dir;
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
