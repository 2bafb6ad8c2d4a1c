//! A pressed button: who pressed it, what it asks for, and the answer. Both ways in end here, and go on as the command line does: as a
//! request to the process that drives, which is kept with its answer.

use std::{sync::Arc, time::Duration};

use cordon_shared::{id::IncidentId, journal::JournalError, plan::StepKey};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    SLACK,
    card::{APPROVE, DENY, escape},
    client::Api,
};
use crate::{
    config::notify::Slack,
    doorkeeper::Doorkeeper,
    driver::Hub,
    journal::Request,
    people::{self, Identity},
};

/// How long the process that drives may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a button carries.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bound {
    run: IncidentId,
    step: StepKey,
    digest: String,
}

/// Takes what was pressed.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) hub: Arc<Hub>,
    pub(super) client: Api,
    pub(super) url: String,
    pub(super) keeper: Doorkeeper,
}

impl Desk {
    pub(super) fn new(hub: Arc<Hub>, slack: &Slack) -> Self {
        let client = Api::new(&hub, &slack.url, &slack.token);
        let keeper = Doorkeeper::new(SLACK, Arc::clone(&hub.store), Arc::clone(&hub.clock));
        Self { hub, client, url: slack.url.clone(), keeper }
    }

    /// Takes an interaction that is known to be Slack's (<https://docs.slack.dev/reference/interaction-payloads/block_actions-payload>).
    pub(super) async fn take(&self, payload: &Value) {
        let text = |pointer: &str| payload.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        if text("/type") != "block_actions" {
            return;
        }
        let user = text("/user/id");
        for action in payload.get("actions").and_then(Value::as_array).into_iter().flatten() {
            let field = |key: &str| action.get(key).and_then(Value::as_str).unwrap_or_default();
            let yes = match field("action_id") {
                APPROVE => true,
                DENY => false,
                _ => continue,
            };
            let said = match self.press(user, yes, field("value")).await {
                Ok(said) => said,
                Err(error) => {
                    tracing::error!(%error, "a button was pressed and the journal failed");
                    "Cordon's journal failed; nothing was changed. Press again, or answer by the command line.".to_owned()
                }
            };
            self.say(payload, user, &said).await;
        }
    }

    /// What becomes of a press, in words for whoever pressed.
    async fn press(&self, user: &str, yes: bool, value: &str) -> Result<String, JournalError> {
        let what = format!("{} {value}", if yes { "approve" } else { "deny" });
        let Ok(bound) = serde_json::from_str::<Bound>(value) else {
            self.keeper.turn_away(user, &what, "the button carries nothing that Cordon wrote").await;
            return Ok("This button carries nothing that Cordon wrote; nothing was changed.".to_owned());
        };
        let Ok((_, asker)) = people::asker(&self.hub.config.people, &Identity::Slack(user.to_owned())) else {
            self.keeper.turn_away(user, &what, "no person is configured with this Slack user").await;
            return Ok(format!("You ({user}) are nobody that Cordon knows, so nothing was changed. Ask for an entry in `[[people]]`."));
        };
        let Bound { run, step, digest } = bound;
        let request = if yes {
            Request::Grant { run, step, digest }
        } else {
            Request::Deny { run, step, why: "said in Slack".to_owned(), digest: Some(digest) }
        };
        let store = &self.hub.store;
        let id = store.append_request(&request, &asker, self.hub.clock.now()).await?;
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = store.answer_of(id).await? {
                return Ok(if answer.ok { answer.text } else { format!("Nothing was changed: {}", answer.text) });
            }
            if Instant::now() >= until {
                return Ok("It is asked for; the answer takes its time and will be seen here.".to_owned());
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Tells the one who pressed, and nobody else.
    async fn say(&self, payload: &Value, user: &str, said: &str) {
        let text = |pointer: &str| payload.pointer(pointer).and_then(Value::as_str);
        let Some(channel) = text("/channel/id").or_else(|| text("/container/channel_id")) else { return };
        let mut body = json!({ "channel": channel, "user": user, "text": escape(said) });
        let thread = text("/message/thread_ts").or_else(|| text("/container/thread_ts"));
        if let (Some(thread), Some(fields)) = (thread, body.as_object_mut()) {
            fields.insert("thread_ts".to_owned(), json!(thread));
        }
        if let Err(error) = self.client.call("chat.postEphemeral", &body).await {
            tracing::warn!(?error, "the answer to a pressed button cannot be shown; the journal has it");
        }
    }
}
