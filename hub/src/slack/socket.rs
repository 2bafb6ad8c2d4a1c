//! Socket Mode (<https://docs.slack.dev/apis/events-api/using-socket-mode>): presses come by a connection that Cordon opens.

use std::{sync::Arc, time::Duration};

use futures::{SinkExt as _, StreamExt as _, stream::FuturesUnordered};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

use super::{
    client::Api,
    press::{ACKNOWLEDGED, Desk},
};
use crate::{config::notify::SecretRef, notify, serve::wait};

/// How long a connection may take to come up.
const PATIENCE: Duration = Duration::from_secs(15);
/// A connection that says nothing for so long is dead: Slack pings every few seconds.
const SILENCE: Duration = Duration::from_secs(60);

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}
type Socket = WebSocketStream<Box<dyn Stream>>;

/// Serves until the hub is stopped; a connection that ends is opened anew.
pub(super) async fn serve(desk: Arc<Desk>, token: SecretRef) {
    let hub = Arc::clone(&desk.hub);
    let client = Api::new(&hub, &desk.url, &token);
    let mut tries = 0_u32;
    loop {
        let pause = match tokio::select! { opened = open(&client) => opened, () = hub.stop.cancelled() => return } {
            Ok(mut socket) => {
                tries = 0;
                tracing::info!("connected to Slack by Socket Mode");
                tokio::select! {
                    () = listen(&desk, &mut socket) => {}
                    () = hub.stop.cancelled() => return,
                }
                Duration::from_millis(200)
            }
            Err(why) => {
                tries = tries.saturating_add(1);
                tracing::warn!(%why, "no connection to Slack by Socket Mode");
                notify::pause(tries)
            }
        };
        if !wait(&hub, pause).await {
            return;
        }
    }
}

async fn open(client: &Api) -> Result<Socket, String> {
    let said = client.call("apps.connections.open", &json!({})).await.map_err(|error| format!("{error:?}"))?;
    let url = said.get("url").and_then(Value::as_str).ok_or("Slack named no address")?;
    tokio::time::timeout(PATIENCE, connect(url)).await.map_err(|_| "no connection in time".to_owned())?
}

/// The address holds a ticket: it is never logged.
async fn connect(url: &str) -> Result<Socket, String> {
    let (secure, rest) = match (url.strip_prefix("wss://"), url.strip_prefix("ws://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        _ => return Err("the address that Slack named is no WebSocket".to_owned()),
    };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse::<u16>().map_err(|_| "the address that Slack named has no port".to_owned())?),
        None => (authority, if secure { 443 } else { 80 }),
    };
    if !secure && !matches!(host, "127.0.0.1" | "localhost") {
        return Err("the address that Slack named is without TLS".to_owned());
    }
    let stream = TcpStream::connect((host, port)).await.map_err(|error| format!("{host}: {error}"))?;
    let stream: Box<dyn Stream> = if secure { Box::new(encrypted(host, stream).await?) } else { Box::new(stream) };
    let (socket, _) = tokio_tungstenite::client_async(url, stream).await.map_err(|error| format!("{host}: {error}"))?;
    Ok(socket)
}

/// TLS as AWS is called with: rustls with AWS-LC and the platform's roots.
async fn encrypted(host: &str, stream: TcpStream) -> Result<impl Stream + 'static, String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from(host.to_owned()).map_err(|error| format!("{host}: {error}"))?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| format!("{host}: {error}"))
}

/// Whether Slack could be told that an envelope was taken.
async fn acknowledge(socket: &mut Socket, id: String) -> bool {
    let sent = socket.send(Message::text(json!({ "envelope_id": id }).to_string())).await;
    sent.inspect_err(|error| tracing::warn!(%error, "an envelope of Slack's cannot be acknowledged")).is_ok()
}

/// Takes envelopes until the connection ends, or Slack says that it will. Each is acknowledged when the journal has it, or before Slack gives
/// up waiting: what comes of it goes to the person another way. One that was not acknowledged comes again, and is known again.
async fn listen(desk: &Arc<Desk>, socket: &mut Socket) {
    let mut taken = FuturesUnordered::new();
    let mut dead = Instant::now() + SILENCE;
    loop {
        let message = tokio::select! {
            message = timeout_at(dead, socket.next()) => message,
            Some(id) = taken.next() => {
                if !acknowledge(socket, id).await {
                    return;
                }
                continue;
            }
        };
        dead = Instant::now() + SILENCE;
        let message = match message {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(error))) => return tracing::debug!(%error, "Slack's connection broke"),
            Ok(None) | Err(_) => return,
        };
        let Message::Text(text) = message else {
            if message.is_close() {
                return;
            }
            continue;
        };
        let Ok(mut envelope) = serde_json::from_str::<Value>(&text) else { continue };
        let kind = envelope.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        if kind == "disconnect" {
            // Slack takes what it hears before it closes.
            let rest = async {
                while let Some(id) = taken.next().await
                    && acknowledge(socket, id).await
                {}
            };
            timeout_at(Instant::now() + ACKNOWLEDGED, rest).await.ok();
            return;
        }
        let Some(id) = envelope.get("envelope_id").and_then(Value::as_str).map(str::to_owned) else { continue };
        let payload = envelope.get_mut("payload").map(Value::take).filter(|_| kind == "interactive");
        taken.push(async move {
            if let Some(payload) = payload {
                desk.take(payload, Some(format!("slack:envelope:{id}")), Instant::now() + ACKNOWLEDGED).await;
            }
            id
        });
    }
}
