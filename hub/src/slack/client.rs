//! Slack's Web API (<https://docs.slack.dev/apis/web-api/>).

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use cordon_spoke::http::Http;
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use crate::{config::notify::SecretRef, driver::Hub, notify::Unsent, secret::Kept};

/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Messages of an app to one channel: one a second (<https://docs.slack.dev/apis/web-api/rate-limits>, "Posting messages").
const TURN: Duration = Duration::from_secs(1);
/// How long to wait where Slack says that there were too many calls and not when to come back.
const COME_BACK: Duration = Duration::from_secs(30);

/// Errors that say nothing about the call itself (<https://docs.slack.dev/reference/methods/chat.postMessage>, "Errors").
const PASSING: &[&str] = &["internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org", "accesslimited"];

/// The Web API, with one token.
#[derive(Debug)]
pub(super) struct Api {
    http: Http,
    url: String,
    token: Kept,
    /// When each channel takes the next message.
    turns: Mutex<BTreeMap<String, Instant>>,
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
            CallError::Refused(word) => Self::Never(format!("Slack refuses it: {word}")),
            CallError::Unsent(unsent) => unsent,
        }
    }
}

impl Api {
    pub(super) fn new(hub: &Hub, url: &str, token: &SecretRef) -> Self {
        let token = Kept::new(token.clone(), hub.sessions.clone(), hub.config.hub.home_region.clone());
        Self { http: Http::new(), url: url.to_owned(), token, turns: Mutex::default() }
    }

    /// Waits until the channel takes a message.
    pub(super) async fn turn(&self, channel: &str) {
        let at = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            turns.retain(|_, next| *next > now);
            let at = turns.get(channel).copied().unwrap_or(now);
            turns.insert(channel.to_owned(), at + TURN);
            at
        };
        sleep_until(at).await;
    }

    /// Calls a method with a JSON body.
    pub(super) async fn call(&self, method: &str, body: &Value) -> Result<Value, CallError> {
        self.post(method, "application/json; charset=utf-8", body.to_string()).await
    }

    /// Calls a method that takes a form.
    pub(super) async fn ask(&self, method: &str, fields: &[(&str, &str)]) -> Result<Value, CallError> {
        let form: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        self.post(method, "application/x-www-form-urlencoded", form.join("&")).await
    }

    async fn post(&self, method: &str, kind: &str, body: String) -> Result<Value, CallError> {
        let later = |why: String, unsure| CallError::Unsent(Unsent::Later { why, unsure });
        let token = self.token.get().await.map_err(|why| later(why, false))?;
        let headers = [("authorization", format!("Bearer {}", token.expose())), ("content-type", kind.to_owned())];
        let answer = self.http.post(&format!("{}/{method}", self.url), &headers, body.into_bytes(), PATIENCE).await;
        let answer = answer.map_err(|error| later(format!("{method}: {error}"), true))?;
        if answer.status == 429 {
            return Err(CallError::Unsent(Unsent::Limited(answer.retry_after.unwrap_or(COME_BACK))));
        }
        if answer.status != 200 {
            return Err(later(format!("{method}: Slack answered {}", answer.status), true));
        }
        let said: Value = serde_json::from_slice(&answer.body).map_err(|_| later(format!("{method}: the answer is no JSON"), true))?;
        if said.get("ok").and_then(Value::as_bool) == Some(true) {
            return Ok(said);
        }
        match said.get("error").and_then(Value::as_str).unwrap_or("no_reason") {
            "ratelimited" | "rate_limited" => Err(CallError::Unsent(Unsent::Limited(answer.retry_after.unwrap_or(COME_BACK)))),
            word if PASSING.contains(&word) => Err(later(format!("{method}: {word}"), true)),
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
    fn a_value_of_a_form_stays_one_value() {
        assert_eq!(encoded("a+b@example.com&token=x"), "a%2Bb%40example.com%26token%3Dx");
        assert_eq!(encoded("1795500000.000001"), "1795500000.000001");
    }
}
