//! A stand-in for Slack on loopback: the Web API as far as Cordon uses it, Socket Mode, and the presses of buttons. It keeps every call and
//! every message, and can answer as Slack does on a bad day. A webhook's receiver is beside it (`/hook`).

mod web;

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
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

use crate::LabError;

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

/// How it answers a call that posts or updates, once; [`Trouble::Unheard`] is for what only one person is to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// 429, come back after so many seconds. What comes to the same channel before gets a 429 too, and is remembered.
    Limited(u64),
    /// A status, and nothing is done.
    Status(u16),
    /// A status to what only one person is to see, and nothing is done.
    Unheard(u16),
    /// It is done, and the answer is a 500.
    Lost,
    /// It is done, the answer is a 500, and so many messages of others come before it and after it.
    Buried(usize),
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
    /// What the webhook's receiver answers next.
    statuses: VecDeque<u16>,
    /// The bot's token that is taken instead of [`TOKEN`].
    token: Option<String>,
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
        let router = Router::new().route("/api/{method}", post(web::answer)).route("/hook", post(hook)).with_state(here.clone());
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

    /// The bot's token is another one now.
    pub fn takes(&self, token: &str) {
        self.known().token = Some(token.to_owned());
    }

    /// Answers of the webhook's receiver to the next requests.
    pub fn hook_answers(&self, statuses: impl IntoIterator<Item = u16>) {
        self.known().statuses.extend(statuses);
    }

    /// Answers of the next calls that post or update.
    pub fn trouble(&self, troubles: impl IntoIterator<Item = Trouble>) {
        self.known().troubles.extend(troubles);
    }

    /// The next calls go well.
    pub fn mended(&self) {
        self.known().troubles.clear();
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
    let mut known = slack.known();
    if let Some(status) = known.statuses.pop_front() {
        return StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    }
    known.hooks.push((headers, body));
    StatusCode::NO_CONTENT
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
                // After a "disconnect" Slack takes what it hears for a while: the other side closes.
                if socket.send(Frame::text(text)).await.is_err() {
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
