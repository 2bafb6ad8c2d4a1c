//! The Web API of the stand-in.

use std::time::{Duration, Instant};

use axum::{
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{APP, APP_TOKEN, BOT, Slack, SlackCall, SlackMessage, SlackPause, TOKEN, Trouble};
use crate::gateway::parse::percent_decode;

/// The characters of all blocks of a message from which on it is refused whole; Slack does not say where.
const MOST: usize = 12_000;

impl Slack {
    /// Whether a call comes to a channel that said to come back later: then how many seconds are left. It is remembered.
    fn too_early(&self, call: &SlackCall) -> Option<u64> {
        let channel = call.body.get("channel")?.as_str()?;
        let mut known = self.known();
        let pause = known.pauses.iter_mut().find(|pause| pause.channel == channel && call.at < pause.until)?;
        pause.early.push(call.clone());
        Some(pause.until.duration_since(call.at).as_secs() + 1)
    }

    /// From now on the channel takes nothing for so many seconds.
    fn limit(&self, body: &Value, seconds: u64) -> Response {
        let channel = body.get("channel").and_then(Value::as_str).unwrap_or_default().to_owned();
        self.known().pauses.push(SlackPause { channel, until: Instant::now() + Duration::from_secs(seconds), early: Vec::new() });
        limited(seconds)
    }

    fn place(&self, body: &Value, bot: &str) -> SlackMessage {
        let mut known = self.known();
        known.clock += 1;
        let now = Timestamp::now().as_second();
        let ts = format!("{now}.{:06}", known.clock);
        let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
        let message = SlackMessage {
            channel: text("channel"),
            ts,
            thread: body["thread_ts"].as_str().map(str::to_owned),
            bot: bot.to_owned(),
            event_type: body.pointer("/metadata/event_type").and_then(Value::as_str).unwrap_or_default().to_owned(),
            key: body.pointer("/metadata/event_payload/key").and_then(Value::as_str).unwrap_or_default().to_owned(),
            text: text("text"),
            blocks: body["blocks"].clone(),
        };
        known.messages.push(message.clone());
        message
    }

    /// Writes a message anew, or says why not (<https://docs.slack.dev/reference/methods/chat.update>, "Errors").
    fn replace(&self, body: &Value) -> Result<(), &'static str> {
        let mut known = self.known();
        let found =
            known.messages.iter_mut().find(|message| body["ts"] == message.ts.as_str() && body["channel"] == message.channel.as_str());
        let message = found.ok_or("message_not_found")?;
        if message.bot != BOT {
            return Err("cant_update_message");
        }
        message.text = body["text"].as_str().unwrap_or_default().to_owned();
        message.blocks = body["blocks"].clone();
        Ok(())
    }

    /// The next trouble for a call.
    fn trouble_of(&self, method: &str) -> Option<Trouble> {
        let whispers = method == "chat.postEphemeral";
        if !whispers && !posts(method) {
            return None;
        }
        let mut known = self.known();
        let next = known.troubles.iter().position(|trouble| matches!(trouble, Trouble::Unheard(_)) == whispers)?;
        known.troubles.remove(next)
    }

    /// Messages of somebody else's beside one.
    fn chatter(&self, body: &Value, many: usize) {
        for number in 0..many {
            let of = json!({ "channel": body["channel"], "thread_ts": body["thread_ts"], "text": format!("chatter {number}") });
            self.place(&of, "B0OTHER");
        }
    }

    /// A page of a channel, the newest first, or of a thread, the oldest first and its first message with each
    /// (<https://docs.slack.dev/reference/methods/conversations.history>, <https://docs.slack.dev/reference/methods/conversations.replies>).
    fn page(&self, method: &str, body: &Value) -> Value {
        let text = |key: &str| body[key].as_str().unwrap_or_default();
        let number = |text: &str| text.parse::<f64>().unwrap_or_default();
        let known = self.known();
        let in_channel = known.messages.iter().filter(|message| message.channel == text("channel"));
        let young = |message: &SlackMessage| number(&message.ts) >= number(text("oldest"));
        let all: Vec<&SlackMessage> = if method == "conversations.history" {
            in_channel.rev().filter(|message| message.thread.is_none() && young(message)).collect()
        } else {
            let root = text("ts");
            if !in_channel.clone().any(|message| message.ts == root) {
                return json!({ "ok": false, "error": "thread_not_found" });
            }
            in_channel.filter(|message| message.ts == root || (message.thread.as_deref() == Some(root) && young(message))).collect()
        };
        let limit = text("limit").parse::<usize>().unwrap_or(100).min(999);
        let from = text("cursor").strip_prefix("from-").and_then(|from| from.parse::<usize>().ok()).unwrap_or_default();
        let page: Vec<Value> =
            all.iter().skip(from).take(limit).map(|message| shown(message, text("include_all_metadata") == "true")).collect();
        let has_more = from + limit < all.len();
        let next = if has_more { format!("from-{}", from + limit) } else { String::new() };
        json!({ "ok": true, "messages": page, "has_more": has_more, "response_metadata": { "next_cursor": next } })
    }
}

/// Whether a call posts or updates.
fn posts(method: &str) -> bool {
    matches!(method, "chat.postMessage" | "chat.update")
}

/// The characters of all texts in blocks.
fn size(blocks: &Value) -> usize {
    match blocks {
        Value::String(text) => text.encode_utf16().count(),
        Value::Array(values) => values.iter().map(size).sum(),
        Value::Object(fields) => fields.values().map(size).sum(),
        _ => 0,
    }
}

/// Answers a call.
pub(super) async fn answer(State(slack): State<Slack>, Path(method): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    let is_json = headers.get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    let body: Value = if is_json { serde_json::from_slice(&body).unwrap_or_default() } else { form(&body) };
    let call = SlackCall { at: Instant::now(), method: method.clone(), body: body.clone() };
    slack.known().calls.push(call.clone());
    let token = slack.known().token.clone().unwrap_or_else(|| TOKEN.to_owned());
    let wanted = if method == "apps.connections.open" { APP_TOKEN } else { token.as_str() };
    if headers.get("authorization").and_then(|value| value.to_str().ok()) != Some(&format!("Bearer {wanted}")) {
        return said(json!({ "ok": false, "error": "invalid_auth" }));
    }
    if slack.known().down {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let posts = posts(&method);
    if let Some(seconds) = posts.then(|| slack.too_early(&call)).flatten() {
        return limited(seconds);
    }
    let trouble = slack.trouble_of(&method);
    match &trouble {
        Some(Trouble::Limited(seconds)) => return slack.limit(&body, *seconds),
        Some(Trouble::Status(status) | Trouble::Unheard(status)) => {
            return StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_GATEWAY).into_response();
        }
        Some(Trouble::Refused(word)) => return said(json!({ "ok": false, "error": word })),
        Some(Trouble::Copied { bot, event_type }) => {
            let mut copy = body.clone();
            if let Some(kind) = copy.pointer_mut("/metadata/event_type") {
                *kind = json!(event_type);
            }
            slack.place(&copy, bot);
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
        _ => {}
    }
    if posts && body.get("blocks").map_or(0, size) > MOST {
        return said(json!({ "ok": false, "error": "msg_blocks_too_long" }));
    }
    let buried = if let Some(Trouble::Buried(many)) = trouble { many } else { 0 };
    slack.chatter(&body, buried);
    let field = |key: &str| body.get(key).cloned().unwrap_or_default();
    let answer = match method.as_str() {
        "auth.test" => json!({ "ok": true, "team": "lab", "team_id": "T0LAB", "user": "cordon", "user_id": "U0BOT", "bot_id": BOT }),
        "chat.postMessage" => {
            let message = slack.place(&body, BOT);
            json!({ "ok": true, "channel": field("channel"), "ts": message.ts, "message": shown(&message, true) })
        }
        "chat.update" => match slack.replace(&body) {
            Ok(()) => json!({ "ok": true, "channel": field("channel"), "ts": field("ts") }),
            Err(word) => json!({ "ok": false, "error": word }),
        },
        "chat.postEphemeral" => {
            slack.known().whispers.push(body.clone());
            json!({ "ok": true, "message_ts": "1" })
        }
        "conversations.replies" | "conversations.history" => slack.page(&method, &body),
        "users.lookupByEmail" => match slack.known().users.get(field("email").as_str().unwrap_or_default()) {
            Some(id) => json!({ "ok": true, "user": { "id": id, "deleted": false } }),
            None => json!({ "ok": false, "error": "users_not_found" }),
        },
        "apps.connections.open" => json!({ "ok": true, "url": format!("ws://{}/link?ticket=1", slack.socket) }),
        _ => json!({ "ok": false, "error": "unknown_method" }),
    };
    slack.chatter(&body, buried);
    match trouble {
        Some(Trouble::Silence) => std::future::pending().await,
        Some(Trouble::Lost | Trouble::Buried(_)) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        _ => said(answer),
    }
}

fn limited(seconds: u64) -> Response {
    (StatusCode::TOO_MANY_REQUESTS, [("retry-after", seconds.to_string())]).into_response()
}

/// A message as Slack gives it back, with its metadata only where that is asked for
/// (<https://docs.slack.dev/reference/methods/conversations.history>).
fn shown(message: &SlackMessage, metadata: bool) -> Value {
    json!({
        "type": "message", "ts": message.ts, "thread_ts": message.thread, "text": message.text, "blocks": message.blocks, "team": "T0LAB",
        "user": if message.bot == BOT { "U0BOT" } else { "U0OTHER" }, "bot_id": message.bot,
        "app_id": if message.bot == BOT { APP } else { "A0OTHER" },
        "metadata": metadata.then(|| json!({ "event_type": message.event_type, "event_payload": { "key": message.key } })),
    })
}

fn said(value: Value) -> Response {
    ([("content-type", "application/json; charset=utf-8")], value.to_string()).into_response()
}

fn form(body: &[u8]) -> Value {
    let text = String::from_utf8_lossy(body);
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), json!(percent_decode(value, true))))
        .collect::<serde_json::Map<_, _>>()
        .into()
}
