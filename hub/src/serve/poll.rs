//! The reconciling poll: what Security Hub and GuardDuty know and the queue did not bring. It shares the journal's deduplication with the
//! queue, and each finding has one identity: what came by the queue, by Security Hub and by GuardDuty itself is one.
//!
//! Each place is read by itself, up to its own last success. One that fails is reported and read from there at the next poll.

use std::{fmt, sync::Arc, time::Duration};

use cordon_shared::{
    id::Region,
    intake::{self, Item},
};
use cordon_spoke::{
    action::ActionError,
    aws::findings::{
        Cursor, FindingsFilter,
        guardduty::{self, Criteria, Order},
        page,
    },
};
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};

use super::wait;
use crate::{driver::Hub, intake::take};

/// How far the first poll looks back, and how far each looks back behind the last: an event may come late.
const LOOK_BACK: SignedDuration = SignedDuration::from_hours(24);
const OVERLAP: SignedDuration = SignedDuration::from_mins(15);

/// Who is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// Security Hub in the home Region, which aggregates.
    SecurityHub,
    /// GuardDuty in a Region, through the hub account's own detector.
    GuardDuty(Region),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SecurityHub => f.write_str("securityhub"),
            Self::GuardDuty(region) => write!(f, "guardduty/{region}"),
        }
    }
}

/// A place, and from when on it is read.
#[derive(Debug)]
struct Place {
    source: Source,
    since: Timestamp,
}

/// Polls until the hub is stopped.
pub(super) async fn poll(hub: Arc<Hub>, every: Duration) {
    let since = hub.clock.now().checked_sub(LOOK_BACK).unwrap_or(Timestamp::MIN);
    let regions = hub.config.hub.regions.iter().cloned().map(Source::GuardDuty);
    let mut places: Vec<Place> = std::iter::once(Source::SecurityHub).chain(regions).map(|source| Place { source, since }).collect();
    loop {
        join_all(places.iter_mut().map(|place| look(&hub, place))).await;
        if !wait(&hub, every).await {
            return;
        }
    }
}

async fn look(hub: &Arc<Hub>, place: &mut Place) {
    let until = hub.clock.now();
    let read = match &place.source {
        Source::SecurityHub => security_hub(hub, &place.source, (place.since, until)).await,
        Source::GuardDuty(region) => guard_duty(hub, &place.source, region, (place.since, until)).await,
    };
    match read {
        Ok(()) => place.since = until.checked_sub(OVERLAP).unwrap_or(place.since),
        Err(error) => tracing::warn!(%error, place = %place.source, "findings cannot be read here; the next poll looks back as far"),
    }
}

async fn security_hub(hub: &Arc<Hub>, source: &Source, span: (Timestamp, Timestamp)) -> Result<(), ActionError> {
    let clients = hub.sessions.hub(&hub.config.hub.home_region);
    let filter = FindingsFilter { updated: Some(span), ..FindingsFilter::open() };
    let mut at = Some(Cursor::default());
    while let Some(cursor) = at {
        if hub.stop.is_cancelled() {
            return Ok(());
        }
        let read = page(&clients, &filter, &cursor).await?;
        take_all(hub, source, &read.documents).await?;
        at = read.next;
    }
    Ok(())
}

async fn guard_duty(hub: &Arc<Hub>, source: &Source, region: &Region, span: (Timestamp, Timestamp)) -> Result<(), ActionError> {
    let clients = hub.sessions.hub(region);
    let detector = guardduty::detector(&clients).await?;
    let criteria = Criteria { archived: Some(false), updated: Some(span), ..Criteria::default() };
    let mut token = None;
    loop {
        if hub.stop.is_cancelled() {
            return Ok(());
        }
        let read = guardduty::page(&clients, &detector, &criteria, Order::OldestFirst, token).await?;
        take_all(hub, source, &read.documents).await?;
        token = read.next;
        if token.is_none() {
            return Ok(());
        }
    }
}

async fn take_all(hub: &Arc<Hub>, source: &Source, documents: &[Vec<u8>]) -> Result<(), ActionError> {
    for bytes in documents {
        for (origin, item) in intake::items(bytes.as_slice(), &source.to_string()) {
            match item {
                Item::NotAFinding { .. } => {}
                Item::Rejected(rejection) => {
                    tracing::warn!(code = rejection.code, reason = rejection.reason, place = %source, "a finding cannot be used");
                }
                Item::Finding(finding) => {
                    take(hub, &origin, &finding, None).await.map_err(|error| ActionError::Bug(error.to_string()))?;
                }
            }
        }
    }
    Ok(())
}
