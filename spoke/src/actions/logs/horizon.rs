//! From when on a log group has lines.

use std::time::Duration;

use aws_sdk_cloudwatchlogs::Client;
use jiff::{SignedDuration, Timestamp};

use crate::{
    action::{ActionError, classify},
    aws::patiently,
};

const CALL: &str = "logs:DescribeLogGroups";
/// How long the call may wait for the rate limit.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is known of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::actions) enum Horizon {
    /// There is no such group.
    Missing,
    /// It is there, and nothing is said about its age.
    Open,
    /// Lines before this time are gone, or were never there; and why.
    From(Timestamp, String),
}

/// How far back a group reaches.
pub(in crate::actions) async fn of(client: &Client, group: &str, now: Timestamp) -> Result<Horizon, ActionError> {
    let request = || {
        let sent = client.describe_log_groups().log_group_name_prefix(group).send();
        async { sent.await.map_err(|error| classify(CALL, error)) }
    };
    let answer = patiently(PATIENCE, request).await?;
    // The exact name sorts before all others that begin with it.
    let Some(found) = answer.log_groups().iter().find(|found| found.log_group_name() == Some(group)) else { return Ok(Horizon::Missing) };
    let days = found.retention_in_days().map(i64::from);
    let kept = days.and_then(|days| Some((now.checked_sub(SignedDuration::from_hours(days.saturating_mul(24))).ok()?, days)));
    let made = found.creation_time().and_then(|millis| Timestamp::from_millisecond(millis).ok());
    let kept = kept.map(|(from, days)| (from, format!("the log group keeps lines for {days} days: those from before {from} are gone")));
    let made = made.map(|from| (from, format!("the log group was made at {from}")));
    Ok([kept, made].into_iter().flatten().max().map_or(Horizon::Open, |(from, why)| Horizon::From(from, why)))
}
