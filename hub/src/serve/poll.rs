//! The reconciling poll: what Security Hub knows and the queue did not bring. It shares the journal's deduplication with the queue.

use std::{sync::Arc, time::Duration};

use cordon_shared::intake::{self, Item};
use cordon_spoke::{
    action::ActionError,
    aws::findings::{Cursor, FindingsFilter, page},
};
use jiff::{SignedDuration, Timestamp};

use super::wait;
use crate::{driver::Hub, intake::take};

/// How far the first poll looks back, and how far each looks back behind the last: an event may come late.
const LOOK_BACK: SignedDuration = SignedDuration::from_hours(24);
const OVERLAP: SignedDuration = SignedDuration::from_mins(15);

/// Polls until the hub is stopped.
pub(super) async fn poll(hub: Arc<Hub>, every: Duration) {
    let mut since = hub.clock.now().checked_sub(LOOK_BACK).unwrap_or(Timestamp::MIN);
    loop {
        let until = hub.clock.now();
        match one(&hub, since, until).await {
            Ok(()) => since = until.checked_sub(OVERLAP).unwrap_or(since),
            Err(error) => tracing::warn!(%error, "Security Hub's findings cannot be read; the next poll looks back as far"),
        }
        if !wait(&hub, every).await {
            return;
        }
    }
}

async fn one(hub: &Arc<Hub>, since: Timestamp, until: Timestamp) -> Result<(), ActionError> {
    let clients = hub.sessions.hub(&hub.config.hub.home_region);
    let filter = FindingsFilter { updated: Some((since, until)), ..FindingsFilter::open() };
    let mut at = Some(Cursor::default());
    while let Some(cursor) = at {
        if hub.stop.is_cancelled() {
            return Ok(());
        }
        let read = page(&clients, &filter, &cursor).await?;
        for bytes in &read.documents {
            for (origin, item) in intake::items(bytes.as_slice(), "securityhub") {
                match item {
                    Item::NotAFinding { .. } => {}
                    Item::Rejected(rejection) => {
                        tracing::warn!(code = rejection.code, reason = rejection.reason, "a finding of Security Hub cannot be used")
                    }
                    Item::Finding(finding) => {
                        take(hub, &origin, &finding, None).await.map_err(|error| ActionError::Bug(error.to_string()))?;
                    }
                }
            }
        }
        at = read.next;
    }
    Ok(())
}
