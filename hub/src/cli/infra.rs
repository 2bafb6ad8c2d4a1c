//! `cordon infra`: what a team deploys.

use clap::{Subcommand, ValueEnum};

use super::{Common, Exit, Failure, output};
use crate::{infra, setup};

/// What a team deploys.
#[derive(Debug, Subcommand)]
pub(super) enum Infra {
    /// A CloudFormation template, from the actions' own permissions
    Render {
        /// What
        #[arg(value_enum, default_value_t = What::SpokeRole)]
        what: What,
    },
}

/// What can be rendered.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum What {
    /// The one role of a member account.
    SpokeRole,
}

/// Obeys `cordon infra`. The template needs no configuration: what differs from team to team are its parameters.
pub(super) fn infra(_common: &Common, command: Infra) -> Result<Exit, Failure> {
    let Infra::Render { what: What::SpokeRole } = command;
    output::line(infra::spoke_role(&setup::registry()?).trim_end());
    Ok(Exit::Well)
}
