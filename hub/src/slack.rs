//! Slack: incidents are told there, one thread each, and plans are approved there.
//!
//! - [`card`]: what messages look like, as pure functions of a run.
//! - [`client`]: the Web API.
//! - [`direct`]: messages to one user or channel: what owners are told.
//! - [`poster`]: notices of the outbox, posted and updated in place.
//! - [`sign`]: whether a request is Slack's.
//! - [`press`]: what a pressed button means: the same request that the command line makes.
//! - [`listen`], [`socket`]: the two ways by which presses come.

pub mod card;
mod client;
mod direct;
mod listen;
mod poster;
mod press;
pub mod sign;
mod socket;
#[cfg(test)]
pub(crate) mod testing;

use std::sync::Arc;

use tokio::task::JoinSet;

pub(crate) use direct::{Direct, Undelivered};
pub(crate) use poster::Poster;

use crate::driver::Hub;

/// The destination's name in the outbox.
pub const SLACK: &str = "slack";

/// Starts what presses come in by, as far as it is configured.
///
/// # Errors
/// When the address to listen on cannot be had.
pub async fn receive(hub: &Arc<Hub>, tasks: &mut JoinSet<()>) -> Result<(), String> {
    let Some(slack) = &hub.config.notify.slack else { return Ok(()) };
    let desk = Arc::new(press::Desk::new(Arc::clone(hub), slack));
    if let Some((address, secret)) = &slack.listen {
        let listener = tokio::net::TcpListener::bind(address)
            .await
            .map_err(|error| format!("`[slack] listen`: {address} cannot be listened on: {error}"))?;
        tasks.spawn(listen::serve(Arc::clone(&desk), listener, secret.clone()));
    }
    if let Some(token) = &slack.app_token {
        tasks.spawn(socket::serve(desk, token.clone()));
    }
    Ok(())
}
