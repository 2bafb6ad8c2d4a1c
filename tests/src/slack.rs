//! A stand-in for Slack on loopback: the Web API as far as Cordon uses it, Socket Mode, and the presses of buttons. It keeps every call and
//! every message, and can answer as Slack does on a bad day. A webhook's receiver is beside it (`/hook`).

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use futures::{SinkExt as _, StreamExt as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body_util::Full;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::{LabError, gateway::parse::percent_decode};

/// The bot's token that the stand-in takes.
pub const TOKEN: &str = "xoxbLab0123456789TokenOfTheLab0123456789";
/// The app-level token that it takes.
pub const APP_TOKEN: &str = "xappLab0123456789TokenOfTheLab0123456789";
/// What it signs with.
pub const SIGNING_SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";

/// The bot that the token is of, and its app.
pub const BOT: &str = "B0LAB";
/// The app.
pub const APP: &str = "A0LAB";

/// How it answers a call that posts or updates, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// 429, come back after so many seconds. What comes to the same channel before gets a 429 too, and is remembered.
    Limited(u64),
    /// A status, and nothing is done.
    Status(u16),
    /// It is done, and the answer is a 500.
    Lost,
    /// It is done, and no answer comes.
    Silence,
    /// `ok: false` with this word.
    Refused(String),
    /// A 500, nothing is done, and there is a message of another bot or of another kind of metadata that says the same.
    Copied {
        /// The bot.
        bot: String,
        /// The kind.
        event_type: String,
    },
}

/// A call of the Web API.
#[derive(Debug, Clone)]
pub struct SlackCall {
    /// When.
    pub at: Instant,
    /// `chat.postMessage` and so on.
    pub method: String,
    /// What was sent.
    pub body: Value,
}

/// A channel that said when to come back.
#[derive(Debug, Clone)]
pub struct SlackPause {
    /// The channel.
    pub channel: String,
    /// Until when it takes nothing.
    pub until: Instant,
    /// The calls that came to it before that.
    pub early: Vec<SlackCall>,
}

/// A message as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct SlackMessage {
    /// The channel.
    pub channel: String,
    /// Its time stamp.
    pub ts: String,
    /// That of its thread's first message.
    pub thread: Option<String>,
    /// The bot that posted it.
    pub bot: String,
    /// The kind of its metadata.
    pub event_type: String,
    /// The key in its metadata.
    pub key: String,
    /// Its text.
    pub text: String,
    /// Its blocks.
    pub blocks: Value,
}

impl SlackMessage {
    /// The value of a button, while it has one.
    #[must_use]
    pub fn button(&self, action: &str) -> Option<String> {
        let blocks = self.blocks.as_array().into_iter().flatten();
        let mut elements = blocks.filter_map(|block| block.get("elements")).filter_map(Value::as_array).flatten();
        elements.find(|element| element["action_id"] == action).and_then(|button| button["value"].as_str()).map(str::to_owned)
    }
}

#[derive(Debug, Default)]
struct Known {
    calls: Vec<SlackCall>,
    messages: Vec<SlackMessage>,
    whispers: Vec<Value>,
    troubles: VecDeque<Trouble>,
    pauses: Vec<SlackPause>,
    down: bool,
    clock: u64,
    sockets: Vec<mpsc::UnboundedSender<String>>,
    acknowledged: Vec<String>,
    hooks: Vec<(HeaderMap, Bytes)>,
    users: BTreeMap<String, String>,
}

/// The stand-in. It ends with the runtime that it was started in.
#[derive(Debug, Clone)]
pub struct Slack {
    address: SocketAddr,
    socket: SocketAddr,
    known: Arc<Mutex<Known>>,
}

impl Slack {
    /// Starts it on free ports.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start() -> Result<Self, LabError> {
        let wrong = |error: std::io::Error| LabError::new(format!("Slack's stand-in cannot listen: {error}"));
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(wrong)?;
        let sockets = TcpListener::bind("127.0.0.1:0").await.map_err(wrong)?;
        let address = listener.local_addr().map_err(wrong)?;
        let socket = sockets.local_addr().map_err(wrong)?;
        let here = Self { address, socket, known: Arc::default() };
        let router = Router::new().route("/api/{method}", post(answer)).route("/hook", post(hook)).with_state(here.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let server = here.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = sockets.accept().await {
                tokio::spawn(connected(server.clone(), stream));
            }
        });
        Ok(here)
    }

    /// `[slack] api_url`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/api", self.address)
    }

    /// Where a webhook may be sent.
    #[must_use]
    pub fn hook(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every call so far.
    #[must_use]
    pub fn calls(&self) -> Vec<SlackCall> {
        self.known().calls.clone()
    }

    /// Every message as it stands, the oldest first.
    #[must_use]
    pub fn messages(&self) -> Vec<SlackMessage> {
        self.known().messages.clone()
    }

    /// What only one person saw.
    #[must_use]
    pub fn whispers(&self) -> Vec<Value> {
        self.known().whispers.clone()
    }

    /// What came to the webhook's receiver.
    #[must_use]
    pub fn hooks(&self) -> Vec<(HeaderMap, Bytes)> {
        self.known().hooks.clone()
    }

    /// Answers of the next calls that post or update.
    pub fn trouble(&self, troubles: impl IntoIterator<Item = Trouble>) {
        self.known().troubles.extend(troubles);
    }

    /// The channels that said when to come back, each time, and what came before that.
    #[must_use]
    pub fn pauses(&self) -> Vec<SlackPause> {
        self.known().pauses.clone()
    }

    /// A user with this address.
    pub fn user(&self, mail: &str, id: &str) {
        self.known().users.insert(mail.to_owned(), id.to_owned());
    }

    /// Whether all calls get a 500.
    pub fn down(&self, down: bool) {
        self.known().down = down;
    }

    /// How many Socket Mode connections stand.
    #[must_use]
    pub fn connected(&self) -> usize {
        let mut known = self.known();
        known.sockets.retain(|socket| !socket.is_closed());
        known.sockets.len()
    }

    /// Sends an envelope to each connection.
    pub fn push(&self, envelope: &Value) {
        for socket in &self.known().sockets {
            socket.send(envelope.to_string()).ok();
        }
    }

    /// The envelopes that were acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> Vec<String> {
        self.known().acknowledged.clone()
    }

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
        let ts = format!("1795500000.{:06}", known.clock);
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

    fn replace(&self, body: &Value) -> bool {
        let mut known = self.known();
        let found =
            known.messages.iter_mut().find(|message| body["ts"] == message.ts.as_str() && body["channel"] == message.channel.as_str());
        let Some(message) = found else { return false };
        message.text = body["text"].as_str().unwrap_or_default().to_owned();
        message.blocks = body["blocks"].clone();
        true
    }

    /// What Slack sends of a press (<https://docs.slack.dev/reference/interaction-payloads/block_actions-payload>).
    #[must_use]
    pub fn pressed(&self, user: &str, action: &str, value: &str, message: Option<&SlackMessage>) -> Value {
        let ts = message.map_or("1795500000.000001", |message| message.ts.as_str());
        let thread = message.and_then(|message| message.thread.as_deref());
        let channel = message.map_or("C0LAB", |message| message.channel.as_str());
        json!({
            "type": "block_actions", "team": { "id": "T0LAB", "domain": "lab" }, "api_app_id": APP,
            "user": { "id": user, "username": "somebody", "team_id": "T0LAB" },
            "container": { "type": "message", "message_ts": ts, "channel_id": channel, "thread_ts": thread, "is_ephemeral": false },
            "channel": { "id": channel, "name": "incidents" },
            "message": { "ts": ts, "thread_ts": thread, "blocks": message.map(|message| message.blocks.clone()) },
            "response_url": "https://hooks.slack.com/actions/T0LAB/1/x", "trigger_id": "1.2.3",
            "actions": [{ "type": "button", "action_id": action, "block_id": "b", "value": value, "action_ts": ts }],
        })
    }
}

async fn hook(State(slack): State<Slack>, headers: HeaderMap, body: Bytes) -> StatusCode {
    slack.known().hooks.push((headers, body));
    StatusCode::NO_CONTENT
}

async fn answer(State(slack): State<Slack>, Path(method): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    let is_json = headers.get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    let body: Value = if is_json { serde_json::from_slice(&body).unwrap_or_default() } else { form(&body) };
    let call = SlackCall { at: Instant::now(), method: method.clone(), body: body.clone() };
    slack.known().calls.push(call.clone());
    let wanted = if method == "apps.connections.open" { APP_TOKEN } else { TOKEN };
    if headers.get("authorization").and_then(|value| value.to_str().ok()) != Some(&format!("Bearer {wanted}")) {
        return said(json!({ "ok": false, "error": "invalid_auth" }));
    }
    if slack.known().down {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let posts = matches!(method.as_str(), "chat.postMessage" | "chat.update");
    if let Some(seconds) = posts.then(|| slack.too_early(&call)).flatten() {
        return limited(seconds);
    }
    let trouble = if posts { slack.known().troubles.pop_front() } else { None };
    match &trouble {
        Some(Trouble::Limited(seconds)) => return slack.limit(&body, *seconds),
        Some(Trouble::Status(status)) => return StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_GATEWAY).into_response(),
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
    let field = |key: &str| body.get(key).cloned().unwrap_or_default();
    let answer = match method.as_str() {
        "auth.test" => json!({ "ok": true, "team": "lab", "team_id": "T0LAB", "user": "cordon", "user_id": "U0BOT", "bot_id": BOT }),
        "chat.postMessage" => {
            let message = slack.place(&body, BOT);
            json!({ "ok": true, "channel": field("channel"), "ts": message.ts, "message": shown(&message) })
        }
        "chat.update" if slack.replace(&body) => json!({ "ok": true, "channel": field("channel"), "ts": field("ts") }),
        "chat.update" => json!({ "ok": false, "error": "message_not_found" }),
        "chat.postEphemeral" => {
            slack.known().whispers.push(body.clone());
            json!({ "ok": true, "message_ts": "1" })
        }
        "conversations.replies" | "conversations.history" => {
            let of = |message: &&SlackMessage| {
                field("channel") == message.channel.as_str()
                    && (method == "conversations.history" || field("ts").as_str() == message.thread.as_deref())
            };
            let known = slack.known();
            json!({ "ok": true, "messages": known.messages.iter().filter(of).map(shown).collect::<Vec<_>>() })
        }
        "users.lookupByEmail" => match slack.known().users.get(field("email").as_str().unwrap_or_default()) {
            Some(id) => json!({ "ok": true, "user": { "id": id, "deleted": false } }),
            None => json!({ "ok": false, "error": "users_not_found" }),
        },
        "apps.connections.open" => json!({ "ok": true, "url": format!("ws://{}/link?ticket=1", slack.socket) }),
        _ => json!({ "ok": false, "error": "unknown_method" }),
    };
    match trouble {
        Some(Trouble::Silence) => std::future::pending().await,
        Some(Trouble::Lost) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        _ => said(answer),
    }
}

fn limited(seconds: u64) -> Response {
    (StatusCode::TOO_MANY_REQUESTS, [("retry-after", seconds.to_string())]).into_response()
}

/// A message as Slack gives it back (<https://docs.slack.dev/reference/methods/conversations.history>).
fn shown(message: &SlackMessage) -> Value {
    json!({
        "type": "message", "ts": message.ts, "thread_ts": message.thread, "text": message.text, "blocks": message.blocks, "team": "T0LAB",
        "user": if message.bot == BOT { "U0BOT" } else { "U0OTHER" }, "bot_id": message.bot,
        "app_id": if message.bot == BOT { APP } else { "A0OTHER" },
        "metadata": { "event_type": message.event_type, "event_payload": { "key": message.key } },
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

async fn connected(slack: Slack, stream: TcpStream) {
    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
    let (send, mut receive) = mpsc::unbounded_channel::<String>();
    let hello = json!({ "type": "hello", "num_connections": 1 }).to_string();
    if socket.send(Frame::text(hello)).await.is_err() {
        return;
    }
    slack.known().sockets.push(send);
    let mut ping = tokio::time::interval(Duration::from_secs(5));
    loop {
        tokio::select! {
            text = receive.recv() => {
                let Some(text) = text else { return };
                let ends = text.contains("\"disconnect\"");
                if socket.send(Frame::text(text)).await.is_err() || ends {
                    return;
                }
            }
            _ = ping.tick() => {
                if socket.send(Frame::Ping(Vec::new().into())).await.is_err() {
                    return;
                }
            }
            frame = socket.next() => match frame {
                Some(Ok(Frame::Text(text))) => {
                    let said: Value = serde_json::from_str(&text).unwrap_or_default();
                    slack.known().acknowledged.extend(said.get("envelope_id").and_then(Value::as_str).map(str::to_owned));
                }
                Some(Ok(_)) => {}
                _ => return,
            },
        }
    }
}

/// The form that carries an interaction.
#[must_use]
pub fn form_of(payload: &Value) -> String {
    let encoded: String = payload
        .to_string()
        .bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    format!("payload={encoded}")
}

/// Slack's signature of a body, with the secret.
#[must_use]
pub fn signature(time: i64, body: &str) -> String {
    let signed = Hmac::<Sha256>::new_from_slice(SIGNING_SECRET.as_bytes()).map(|mut mac| {
        mac.update(format!("v0:{time}:{body}").as_bytes());
        hex::encode(mac.finalize().into_bytes())
    });
    format!("v0={}", signed.unwrap_or_default())
}

/// Posts a body and gives back the status.
///
/// # Errors
/// When nothing answers.
pub async fn send(url: &str, headers: &[(&str, &str)], body: String) -> Result<u16, LabError> {
    let mut request = hyper::Request::builder().method("POST").uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body))).map_err(|error| LabError::new(error.to_string()))?;
    let client = Client::builder(TokioExecutor::new()).build_http();
    let answer = client.request(request).await.map_err(|error| LabError::new(format!("{url}: {error}")))?;
    Ok(answer.status().as_u16())
}
