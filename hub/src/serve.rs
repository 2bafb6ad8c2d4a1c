//! The service: receivers on the queue, the reconciling poll, requests of people, the driver, and an anchor each minute.

mod poll;
mod receive;

use std::{sync::Arc, time::Duration};

use cordon_shared::journal::JournalError;

use crate::{
    driver::{self, Hub, serve_requests},
    journal::outbox::TurnedAway,
};

/// How often requests of other processes are looked for.
const REQUESTS: Duration = Duration::from_millis(250);
/// How often the folder of policies is looked at.
const POLICIES: Duration = Duration::from_secs(2);
/// How often the chains' heads are anchored.
const ANCHOR: Duration = Duration::from_secs(60);

/// Serves until the hub is stopped.
///
/// # Errors
/// When the lease is lost or the journal fails; a queue or a Security Hub that cannot be reached is tried again for ever, and logged.
pub async fn serve(hub: Arc<Hub>) -> Result<(), JournalError> {
    let mut tasks = tokio::task::JoinSet::new();
    if let Some(queue) = &hub.config.queue {
        for _ in 0..queue.receivers.max(1) {
            tasks.spawn(receive::receive(Arc::clone(&hub), queue.clone()));
        }
    }
    if let Some(every) = hub.config.poll_every {
        tasks.spawn(poll::poll(Arc::clone(&hub), every.unsigned_abs()));
    }
    crate::slack::receive(&hub, &mut tasks).await.map_err(JournalError::Refused)?;
    crate::api::server::receive(&hub, &mut tasks).await.map_err(JournalError::Refused)?;
    if hub.policies.has_folder() {
        tasks.spawn(policies(Arc::clone(&hub)));
    }
    tasks.spawn(requests(Arc::clone(&hub)));
    tasks.spawn(anchors(Arc::clone(&hub)));
    tasks.spawn(crate::setback::watch(Arc::clone(&hub)));
    let result = driver::drive(Arc::clone(&hub), async |_: &Hub| Ok(false)).await;
    hub.stop.cancel();
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a task of the service died");
        }
    }
    result
}

async fn requests(hub: Arc<Hub>) {
    while wait(&hub, REQUESTS).await {
        if let Err(error) = serve_requests(&hub).await {
            tracing::error!(%error, "requests cannot be answered");
        }
    }
}

/// Takes changed policies over; of a broken set it is said what is wrong, and the last sound one stays in force.
async fn policies(hub: Arc<Hub>) {
    while wait(&hub, POLICIES).await {
        let keeper = Arc::clone(&hub);
        match tokio::task::spawn_blocking(move || keeper.policies.look()).await {
            Ok(None) => {}
            Ok(Some(Ok(policies))) => tracing::warn!(set = %policies.digest, "changed policies are in force"),
            Ok(Some(Err(error))) => {
                let set = hub.policies.in_force().digest.clone();
                tracing::error!(%set, "changed policies cannot be used, the last sound ones stay in force:\n{error}");
                let entry = TurnedAway::unsound_policies(hub.clock.now(), &error.to_string());
                if let Err(error) = hub.store.turn_away(entry).await {
                    tracing::error!(%error, "who is turned away cannot be remembered");
                }
            }
            Err(error) => tracing::error!(%error, "the look after the policies died"),
        }
    }
}

async fn anchors(hub: Arc<Hub>) {
    while wait(&hub, ANCHOR).await {
        if let Err(error) = hub.store.anchor(hub.clock.now()).await {
            tracing::error!(%error, "the chains' heads cannot be anchored");
        }
    }
}

/// Waits; false when the hub is stopped.
pub(crate) async fn wait(hub: &Hub, pause: Duration) -> bool {
    tokio::select! {
        () = tokio::time::sleep(pause) => !hub.stop.is_cancelled(),
        () = hub.stop.cancelled() => false,
    }
}
