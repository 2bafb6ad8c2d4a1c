//! One receiver on the queue. A message is deleted only after the journal has its findings; one that can never be used goes to the
//! dead-letter queue with the reason; one that could not be taken in now stays, and comes again.

use std::{sync::Arc, time::Duration};

use cordon_shared::intake::{self, Item};
use cordon_spoke::{
    aws::queue::{BATCH, LONG_POLL, Message, Queue as Port},
    session::Clients,
};

use super::wait;
use crate::{alarm, config::Queue, driver::Hub, intake::take};

/// How long a message stays invisible to other receivers.
const VISIBILITY: Duration = Duration::from_secs(60);
/// How often that is extended while messages are still worked on.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// How long a receiver waits after the queue could not be read.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// What became of a message.
enum Fate {
    /// Its findings are in the journal, or it holds none.
    Taken,
    /// It can never be used.
    Poison { code: &'static str, reason: String },
    /// Not now.
    Again,
}

/// Receives until the hub is stopped.
pub(super) async fn receive(hub: Arc<Hub>, queue: Queue) {
    let clients = hub.sessions.hub(&region(&hub, &queue.url));
    let port = Port::new(queue.url.clone());
    let dead = queue.dead_letter_url.clone().map(Port::new);
    while !hub.stop.is_cancelled() {
        let received = tokio::select! {
            received = port.receive(&clients, BATCH, LONG_POLL, VISIBILITY) => received,
            () = hub.stop.cancelled() => return,
        };
        match received {
            Ok(messages) if messages.is_empty() => {}
            Ok(messages) => batch(&hub, &clients, &port, dead.as_ref(), messages).await,
            Err(error) => {
                tracing::warn!(%error, queue = port.url(), "the queue cannot be read");
                if !wait(&hub, AFTER_FAILURE).await {
                    return;
                }
            }
        }
    }
}

/// The Region in a queue's URL (`https://sqs.REGION.amazonaws.com/…`), else the home Region.
fn region(hub: &Hub, url: &str) -> cordon_shared::id::Region {
    let host = url.split("://").nth(1).unwrap_or(url);
    host.split('.').nth(1).and_then(|name| name.parse().ok()).unwrap_or_else(|| hub.config.hub.home_region.clone())
}

async fn batch(hub: &Arc<Hub>, clients: &Clients, port: &Port, dead: Option<&Port>, messages: Vec<Message>) {
    let work = async {
        let mut done = Vec::new();
        for message in &messages {
            match fate(hub, message).await {
                Fate::Taken => done.push(message.clone()),
                Fate::Again => {}
                Fate::Poison { code, reason } => match dead {
                    Some(dead) => match dead.send_to_dlq(clients, message, code, &reason).await {
                        Ok(()) => done.push(message.clone()),
                        Err(error) => {
                            tracing::error!(%error, id = message.id, code, reason, "a message that cannot be used could not be put aside either")
                        }
                    },
                    // Without a dead-letter queue of ours, the queue's own redrive policy takes it; the log has the reason.
                    None => tracing::error!(id = message.id, code, reason, times = message.receive_count, "a message cannot be used"),
                },
            }
        }
        done
    };
    let beat = async {
        loop {
            tokio::time::sleep(HEARTBEAT).await;
            for failed in port.extend_visibility_batch(clients, &messages, VISIBILITY).await {
                tracing::warn!(code = failed.code, message = failed.message, "a message's time could not be extended");
            }
        }
    };
    let done = tokio::select! {
        done = work => done,
        never = beat => never,
    };
    for failed in if done.is_empty() { Vec::new() } else { port.delete_batch(clients, &done).await } {
        // It is delivered again, and known then.
        tracing::warn!(code = failed.code, message = failed.message, "a message could not be deleted");
    }
}

async fn fate(hub: &Arc<Hub>, message: &Message) -> Fate {
    let mut rejected = None;
    let mut taken = 0_u32;
    for (origin, item) in intake::items(message.body.as_bytes(), "queue") {
        match item {
            Item::NotAFinding { what, record } => {
                if let Err(error) = alarm::call(hub, record.as_deref()).await {
                    tracing::error!(%error, id = message.id, "a record of CloudTrail could not be looked at; the queue keeps it");
                    return Fate::Again;
                }
                taken += 1;
                tracing::debug!(id = message.id, what, "not a finding");
            }
            Item::Rejected(rejection) => rejected = Some(rejection),
            Item::Finding(finding) => match take(hub, &origin, &finding, None).await {
                Ok(_) => taken += 1,
                Err(error) => {
                    tracing::error!(%error, id = message.id, "a finding could not be taken in; the queue keeps it");
                    return Fate::Again;
                }
            },
        }
    }
    match rejected {
        Some(rejection) => Fate::Poison { code: rejection.code, reason: rejection.reason },
        None if taken == 0 => Fate::Poison { code: intake::codes::SYNTAX, reason: "the message is empty".to_owned() },
        None => Fate::Taken,
    }
}
