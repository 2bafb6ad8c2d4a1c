//! A pressed button: who pressed it, what it asks for, and the answer. Both ways in end here, and go on as the command line does: as a
//! request to the process that drives, which is kept with its answer.

use std::{sync::Arc, time::Duration};

use cordon_shared::{id::IncidentId, journal::JournalError, plan::StepKey};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout_at},
};

use super::{
    SLACK,
    card::{APPROVE, DENY, escape},
    client::{Api, CallError},
};
use crate::{
    config::notify::Slack,
    doorkeeper::Doorkeeper,
    driver::Hub,
    journal::Request,
    notify::Unsent,
    people::{self, Identity},
};

/// How long the process that drives may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// By when Slack is told that a press was taken: it waits for three seconds (<https://docs.slack.dev/interactivity/handling-user-interaction>).
pub(super) const ACKNOWLEDGED: Duration = Duration::from_millis(2_500);
/// For how long a press that may come again is known.
const AGAIN: SignedDuration = SignedDuration::from_hours(1);
/// How soon an answer that did not go to its person is tried again, where Slack does not say when; and how long it may say.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];
const LONGEST: Duration = Duration::from_secs(10);

/// What is said where there is no answer yet.
const LATE: &str = "It is asked for; the answer takes its time and will be seen here.";

/// What a button carries.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bound {
    run: IncidentId,
    step: StepKey,
    digest: String,
    /// Until when its question stood; buttons of before do not say.
    #[serde(default)]
    expires: Option<Timestamp>,
}

/// A press that the journal has.
enum Noted {
    /// All is said about it.
    Said(String),
    /// It is a request with this number.
    Asked(i64),
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

    /// Takes an interaction that is known to be Slack's (<https://docs.slack.dev/reference/interaction-payloads/block_actions-payload>). It comes
    /// back once the journal has what was pressed, and at `until` in any case; what the person is told follows. `mark`: what it is known by
    /// where it may come again.
    pub(super) async fn take(self: &Arc<Self>, payload: Value, mark: Option<String>, until: Instant) {
        let (written, known) = oneshot::channel();
        let desk = Arc::clone(self);
        // A task of its own: it goes on when nobody waits for it any more.
        tokio::spawn(async move {
            let user = payload.pointer("/user/id").and_then(Value::as_str).unwrap_or_default();
            let noted = desk.note(&payload, user, mark.as_deref()).await;
            written.send(()).ok();
            for noted in noted {
                let said = desk.outcome(noted).await.unwrap_or_else(|error| {
                    tracing::error!(%error, "the answer to a pressed button cannot be read");
                    LATE.to_owned()
                });
                desk.say(&payload, user, &said).await;
            }
        });
        if timeout_at(until, known).await.is_err() {
            tracing::warn!("the journal takes its time: Slack is told that a press was taken before it is written");
        }
    }

    /// Writes down what was pressed.
    async fn note(&self, payload: &Value, user: &str, mark: Option<&str>) -> Vec<Noted> {
        let mut all = Vec::new();
        if payload.get("type").and_then(Value::as_str) != Some("block_actions") {
            return all;
        }
        for (number, action) in payload.get("actions").and_then(Value::as_array).into_iter().flatten().enumerate() {
            let field = |key: &str| action.get(key).and_then(Value::as_str).unwrap_or_default();
            let yes = match field("action_id") {
                APPROVE => true,
                DENY => false,
                _ => continue,
            };
            let mark = mark.map(|mark| format!("{mark}/{number}"));
            let noted = self.press(user, yes, field("value"), mark.as_deref()).await;
            all.extend(noted.unwrap_or_else(|error| Some(Noted::Said(failed(&error)))));
        }
        all
    }

    /// What becomes of a press at first; `None`: it was here before.
    async fn press(&self, user: &str, yes: bool, value: &str, mark: Option<&str>) -> Result<Option<Noted>, JournalError> {
        let (store, now) = (&self.hub.store, self.hub.clock.now());
        let mark = mark.map(|mark| (mark, now.checked_add(AGAIN).unwrap_or(now)));
        let turned_away = async |why: &str, said: String| {
            if let Some((mark, until)) = mark
                && !store.take_proof(mark, until, now).await?
            {
                return Ok(None);
            }
            self.keeper.turn_away(user, &format!("{} {value}", if yes { "approve" } else { "deny" }), why).await;
            Ok(Some(Noted::Said(said)))
        };
        let Ok(bound) = serde_json::from_str::<Bound>(value) else {
            let said = "This button carries nothing that Cordon wrote; nothing was changed.".to_owned();
            return turned_away("the button carries nothing that Cordon wrote", said).await;
        };
        let Ok((_, asker)) = people::asker(&self.hub.config.people, &Identity::Slack(user.to_owned())) else {
            let said = format!("You ({user}) are nobody that Cordon knows, so nothing was changed. Ask for an entry in `[[people]]`.");
            return turned_away("no person is configured with this Slack user", said).await;
        };
        let Bound { run, step, digest, expires } = bound;
        let request = if yes {
            Request::Grant { run, step, digest, expires }
        } else {
            Request::Deny { run, step, why: "said in Slack".to_owned(), digest: Some(digest), expires }
        };
        let id = match mark {
            Some(mark) => store.append_request_once(&request, &asker, mark, now).await?,
            None => Some(store.append_request(&request, &asker, now).await?),
        };
        Ok(id.map(Noted::Asked))
    }

    /// What is said to whoever pressed, once it is known.
    async fn outcome(&self, noted: Noted) -> Result<String, JournalError> {
        let id = match noted {
            Noted::Said(said) => return Ok(said),
            Noted::Asked(id) => id,
        };
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = self.hub.store.answer_of(id).await? {
                return Ok(if answer.ok { answer.text } else { format!("Nothing was changed: {}", answer.text) });
            }
            if Instant::now() >= until {
                return Ok(LATE.to_owned());
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Tells the one who pressed, and nobody else. Where it does not go it is tried twice more; where it is refused, once: the token may be
    /// another one since it was read.
    async fn say(&self, payload: &Value, user: &str, said: &str) {
        let text = |pointer: &str| payload.pointer(pointer).and_then(Value::as_str);
        let Some(channel) = text("/channel/id").or_else(|| text("/container/channel_id")) else { return };
        let mut body = json!({ "channel": channel, "user": user, "text": escape(said) });
        let thread = text("/message/thread_ts").or_else(|| text("/container/thread_ts"));
        if let (Some(thread), Some(fields)) = (thread, body.as_object_mut()) {
            fields.insert("thread_ts".to_owned(), json!(thread));
        }
        let (mut pauses, mut refused) = (PAUSES.into_iter(), 0);
        while let Err(error) = self.client.call("chat.postEphemeral", &body).await {
            match (&error, pauses.next()) {
                (CallError::Unsent(Unsent::Limited { pause, .. }), Some(_)) if *pause <= LONGEST => sleep(*pause).await,
                (CallError::Unsent(Unsent::Later { .. }), Some(pause)) => sleep(pause).await,
                (CallError::Unsent(Unsent::Mendable(_)), Some(pause)) if refused == 0 => {
                    refused += 1;
                    sleep(pause).await;
                }
                _ => return tracing::warn!(?error, "the answer to a pressed button cannot be shown; the journal has it"),
            }
        }
    }
}

fn failed(error: &JournalError) -> String {
    tracing::error!(%error, "a button was pressed and the journal failed");
    "Cordon's journal failed; nothing was changed. Press again, or answer by the command line.".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_button_says_which_question_it_is_of_and_one_of_before_says_none() {
        let card = |more: Value| {
            let mut value = json!({ "run": IncidentId::from_u128(7), "step": "close-ingress", "digest": "d" });
            value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value::<Bound>(value).unwrap().expires
        };
        assert_eq!(card(json!({})), None);
        assert_eq!(card(json!({ "expires": "2026-11-24T04:00:00.5Z" })), Some("2026-11-24T04:00:00.5Z".parse().unwrap()));
    }
}
