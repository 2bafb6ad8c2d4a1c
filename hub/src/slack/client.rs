//! Slack's Web API (<https://docs.slack.dev/apis/web-api/>).

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use cordon_spoke::http::Http;
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use crate::{
    config::notify::SecretRef,
    driver::Hub,
    notify::{OBEYED, Unsent},
    secret::{Kept, Secret},
};

/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Messages of an app to one channel: one a second (<https://docs.slack.dev/apis/web-api/rate-limits>, "Posting messages").
const TURN: Duration = Duration::from_secs(1);
/// How long to wait where Slack says that there were too many calls and not when to come back.
const COME_BACK: Duration = Duration::from_secs(30);

/// Errors that say nothing about the call itself (<https://docs.slack.dev/reference/methods/chat.postMessage>, "Errors").
const PASSING: &[&str] = &["internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org", "accesslimited"];
/// Errors that say that the token is not, or not any more, one to call with.
const OF_THE_TOKEN: &[&str] = &["account_inactive", "invalid_auth", "not_authed", "token_expired", "token_revoked"];
/// Errors that say what is wrong with the message itself: it is refused however often it is sent
/// (<https://docs.slack.dev/reference/methods/chat.postMessage>, <https://docs.slack.dev/reference/methods/chat.update>, "Errors").
/// All others a person may mend: the token and its scopes, the app's membership, the channel, the workspace's settings.
const OF_THE_MESSAGE: &[&str] = &[
    "block_mismatch",
    "cannot_reply_to_message",
    "cant_update_message",
    "edit_window_closed",
    "invalid_arg_name",
    "invalid_arguments",
    "invalid_array_arg",
    "invalid_attachments",
    "invalid_blocks",
    "invalid_blocks_format",
    "invalid_charset",
    "invalid_form_data",
    "invalid_json",
    "invalid_metadata_format",
    "invalid_metadata_schema",
    "invalid_post_type",
    "json_not_object",
    "markdown_text_conflict",
    "message_not_found",
    "metadata_too_large",
    "missing_post_type",
    "msg_blocks_too_long",
    "msg_too_long",
    "no_text",
    "too_many_attachments",
    "too_many_contact_cards",
];

/// The Web API, with one token.
#[derive(Debug)]
pub(super) struct Api {
    http: Http,
    url: String,
    token: Kept,
    /// When each channel takes the next message, and each method the next question.
    turns: Mutex<BTreeMap<String, Turn>>,
}

/// When a channel or a method takes the next call.
#[derive(Debug, Clone, Copy)]
struct Turn {
    at: Instant,
    /// Whether Slack said so: then nobody waits for it here.
    said: bool,
}

/// Why a call came to nothing.
#[derive(Debug)]
pub(super) enum CallError {
    /// Slack understood it and says no, with this word.
    Refused(String),
    /// Anything else.
    Unsent(Unsent),
}

impl From<CallError> for Unsent {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(word) if OF_THE_MESSAGE.contains(&word.as_str()) => Self::Never(format!("Slack refuses it: {word}")),
            CallError::Refused(word) => Self::Mendable(format!("Slack refuses it: {word}")),
            CallError::Unsent(unsent) => unsent,
        }
    }
}

impl Api {
    pub(super) fn new(hub: &Hub, url: &str, token: &SecretRef) -> Self {
        let token = Kept::new(token.clone(), hub.sessions.clone(), hub.config.hub.home_region.clone());
        Self { http: Http::new(), url: url.to_owned(), token, turns: Mutex::default() }
    }

    /// Says something in a channel, in its turn. While the channel is to be left alone, nothing is sent there, and to others it is.
    pub(super) async fn say(&self, method: &str, channel: &str, body: &Value) -> Result<Value, CallError> {
        let at = self.turn(channel, TURN)?;
        sleep_until(at).await;
        let said = self.call(method, body).await;
        self.obey(channel, said)
    }

    /// Calls a method with a JSON body.
    pub(super) async fn call(&self, method: &str, body: &Value) -> Result<Value, CallError> {
        self.post(method, "application/json; charset=utf-8", body.to_string()).await
    }

    /// Calls a method that takes a form.
    pub(super) async fn ask(&self, method: &str, fields: &[(&str, &str)]) -> Result<Value, CallError> {
        self.turn(method, Duration::ZERO)?;
        let form: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let said = self.post(method, "application/x-www-form-urlencoded", form.join("&")).await;
        self.obey(method, said)
    }

    fn turns(&self) -> MutexGuard<'_, BTreeMap<String, Turn>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When it takes the next call, and `each` after that the one after.
    fn turn(&self, whose: &str, each: Duration) -> Result<Instant, CallError> {
        let (mut turns, now) = (self.turns(), Instant::now());
        turns.retain(|_, turn| turn.at > now);
        let at = match turns.get(whose) {
            Some(turn) if turn.said => return Err(CallError::Unsent(Unsent::Limited { pause: turn.at.duration_since(now), all: false })),
            Some(turn) => turn.at,
            None => now,
        };
        turns.insert(whose.to_owned(), Turn { at: at + each, said: false });
        Ok(at)
    }

    /// Keeps until when it is to be left alone, where that is the answer.
    fn obey(&self, whose: &str, said: Result<Value, CallError>) -> Result<Value, CallError> {
        if let Err(CallError::Unsent(Unsent::Limited { pause, .. })) = &said {
            self.turns().insert(whose.to_owned(), Turn { at: Instant::now() + (*pause).min(OBEYED), said: true });
        }
        said
    }

    /// The token that calls are made with now.
    pub(super) async fn token(&self) -> Result<Secret, CallError> {
        self.token.get().await.map_err(|unread| CallError::Unsent(unread.into()))
    }

    async fn post(&self, method: &str, kind: &str, body: String) -> Result<Value, CallError> {
        let later = |why: String, unsure| CallError::Unsent(Unsent::Later { why, unsure });
        let token = self.token().await?;
        let headers = [("authorization", format!("Bearer {}", token.expose())), ("content-type", kind.to_owned())];
        let answer = self.http.post(&format!("{}/{method}", self.url), &headers, body.into_bytes(), PATIENCE).await;
        let answer = answer.map_err(|error| later(format!("{method}: {error}"), true))?;
        let limited = || CallError::Unsent(Unsent::Limited { pause: answer.retry_after.unwrap_or(COME_BACK), all: false });
        if answer.status == 429 {
            return Err(limited());
        }
        if answer.status != 200 {
            return Err(later(format!("{method}: Slack answered {}", answer.status), true));
        }
        let said: Value = serde_json::from_slice(&answer.body).map_err(|_| later(format!("{method}: the answer is no JSON"), true))?;
        if said.get("ok").and_then(Value::as_bool) == Some(true) {
            return Ok(said);
        }
        match said.get("error").and_then(Value::as_str).unwrap_or("no_reason") {
            "ratelimited" | "rate_limited" => Err(limited()),
            word if PASSING.contains(&word) => Err(later(format!("{method}: {word}"), true)),
            word if OF_THE_TOKEN.contains(&word) => {
                self.token.refused(&token).await;
                Err(CallError::Unsent(Unsent::Mendable(format!("Slack refuses the token: {word}"))))
            }
            word => Err(CallError::Refused(crate::text::cut(&crate::text::safe(word), 100))),
        }
    }
}

/// A value of a form, with everything but letters, digits and `-._~` written out (<https://url.spec.whatwg.org/#urlencoded-serializing>).
fn encoded(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    value.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wrong_with_the_message_itself_is_given_up_at_once() {
        let unsent = |word: &str| Unsent::from(CallError::Refused(word.to_owned()));
        for word in OF_THE_MESSAGE {
            assert!(matches!(unsent(word), Unsent::Never(why) if why.contains(word)));
        }
        for word in ["missing_scope", "not_in_channel", "channel_not_found", "is_archived", "org_login_required", "of_tomorrow"] {
            assert!(matches!(unsent(word), Unsent::Mendable(why) if why.contains(word)), "{word}");
        }
    }

    #[test]
    fn a_value_of_a_form_stays_one_value() {
        assert_eq!(encoded("a+b@example.com&token=x"), "a%2Bb%40example.com%26token%3Dx");
        assert_eq!(encoded("1795500000.000001"), "1795500000.000001");
    }
}
