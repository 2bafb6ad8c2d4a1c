//! CloudTrail's event history, which every account has without a trail: management events of the last 90 days, Region by Region.

use std::time::Duration;

use aws_sdk_cloudtrail::{
    Client,
    primitives::DateTime,
    types::{LookupAttribute, LookupAttributeKey},
};
use cordon_shared::id::{CellId, Region};
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::{Read, Source, Wanted, Window};
use crate::{
    action::{ActionError, Cx, classify},
    aws::patiently,
};

const CALL: &str = "cloudtrail:LookupEvents";

/// How far the event history reaches back, a little less, so that the start is never out of range
/// (<https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html>).
const REACH: SignedDuration = SignedDuration::from_hours(90 * 24 - 1);
/// How long a page may wait for the rate limit: two calls a second for each account and Region are all there are.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one Region is looked up.
const TIME: Duration = Duration::from_secs(120);
/// Events on a page, the most that AWS gives.
const PAGE: i32 = 50;

/// What the event history leaves out.
pub(in crate::actions) const NOTE: &str =
    "the event history has management events of the last 90 days only, and a call appears in it up to about 15 minutes later";

/// How a look-up ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::actions) enum End {
    /// All events were given.
    Whole,
    /// Whoever takes them has had enough.
    Enough,
    /// Time is up.
    Late,
}

/// The window as far as the event history reaches; `None` where it does not.
pub(in crate::actions) fn within(now: Timestamp, window: Window) -> Option<Window> {
    let from = now.checked_sub(REACH).unwrap_or(Timestamp::MIN);
    let reached = Window { since: window.since.max(from), until: window.until };
    (reached.since <= reached.until).then_some(reached)
}

/// Looks up the events with one attribute, newest first, and gives each record's text to `take`, which says when it has enough.
pub(in crate::actions) async fn lookup(
    client: &Client,
    attribute: (LookupAttributeKey, &str),
    window: Window,
    deadline: Instant,
    mut take: impl FnMut(&str) -> bool,
) -> Result<End, ActionError> {
    let wrong = |error: aws_sdk_cloudtrail::error::BuildError| ActionError::Bug(format!("{CALL} could not be built: {error}"));
    let (key, value) = attribute;
    let attribute = LookupAttribute::builder().attribute_key(key).attribute_value(value).build().map_err(wrong)?;
    let mut token = None;
    loop {
        let request = || {
            let sent = client
                .lookup_events()
                .lookup_attributes(attribute.clone())
                .start_time(DateTime::from_secs(window.since.as_second()))
                // Whole seconds: the second that the window ends in belongs to it.
                .end_time(DateTime::from_secs(window.until.as_second().saturating_add(1)))
                .max_results(PAGE)
                .set_next_token(token.clone())
                .send();
            async { sent.await.map_err(|error| classify(CALL, error)) }
        };
        let answer = patiently(PATIENCE, request).await?;
        for event in answer.events() {
            if let Some(text) = event.cloud_trail_event()
                && take(text)
            {
                return Ok(End::Enough);
            }
        }
        token = answer.next_token().filter(|next| !next.is_empty() && Some(*next) != token.as_deref()).map(str::to_owned);
        if token.is_none() {
            return Ok(End::Whole);
        }
        if Instant::now() >= deadline {
            return Ok(End::Late);
        }
    }
}

/// Searches the event history of the subject's account in one Region.
pub(super) async fn search(cx: Cx<'_>, region: &Region, wanted: &Wanted<'_>, window: Window, most: usize) -> Result<Read, ActionError> {
    let cell = CellId::new(cx.cell.account.clone(), region.clone());
    let mut read = Read::new(format!("event history of {cell}"), Source::LookupEvents);
    let Some(reached) = within(cx.clock.now(), window) else {
        read.says("the whole window is older than the event history, 90 days");
        return Ok(read);
    };
    read.horizon = (Some(reached.since).filter(|since| *since > window.since), NOTE.to_owned());
    let client = cx.read.in_region(region).cloudtrail();
    let deadline = Instant::now() + TIME;
    read.complete = true;
    for attribute in wanted.attributes() {
        let catch = &mut read.catch;
        let ended = lookup(&client, attribute, reached, deadline, |text| {
            let full = catch.is_full(most);
            if !full {
                catch.take(text, wanted, reached);
            }
            full
        });
        match ended.await {
            Ok(End::Whole) => read.usable = true,
            Ok(End::Enough) => {
                (read.usable, read.complete) = (true, false);
                read.says(format!("more than {most} records: older ones were not read"));
                break;
            }
            Ok(End::Late) => {
                (read.usable, read.complete) = (true, false);
                read.says("too many to read in time: older records may be missing");
            }
            Err(error) => {
                read.usable |= !read.catch.records.is_empty();
                read.fails(error)?;
                break;
            }
        }
    }
    Ok(read)
}
