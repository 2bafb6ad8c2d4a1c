//! Ports to AWS services that the hub itself uses. They return our own types.

pub(crate) mod batch;
pub mod contact;
#[cfg(test)]
pub(crate) mod fake;
pub mod findings;
pub mod lockout;
pub mod mail;
pub mod organization;
pub mod queue;
pub(crate) mod raw;
pub mod secret;
pub mod topic;

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep};

use crate::{action::ActionError, permission::Permission};

/// What the hub itself reads in member accounts, through the spoke role, beside what the actions declare.
pub const MEMBER_READS: &[Permission] = contact::READS;

/// Repeats a read that the rate limit or AWS's throttling stopped, waiting longer each time, for at most `patience` in all.
/// For reads that go on over many pages: what was read before would be lost. Anything else fails at once.
pub(crate) async fn patiently<T, F>(patience: Duration, mut call: impl FnMut() -> F) -> Result<T, ActionError>
where
    F: Future<Output = Result<T, ActionError>>,
{
    let until = Instant::now() + patience;
    let mut pause = Duration::from_millis(500);
    loop {
        match call().await {
            Err(ActionError::NotSent(_) | ActionError::Throttled { .. }) if Instant::now() + pause < until => {
                sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(8));
            }
            result => return result,
        }
    }
}
