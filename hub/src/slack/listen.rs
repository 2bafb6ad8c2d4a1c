//! Signed HTTPS requests: what ends TLS stands before this.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{ConnectInfo, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use serde_json::Value;
use tokio::{
    net::TcpListener,
    time::{Instant, timeout_at},
};

use super::{
    SLACK,
    press::{ACKNOWLEDGED, Desk},
    sign::{Forged, SIGNATURE, TIMESTAMP, check, first},
};
use crate::{
    config::notify::SecretRef,
    listener::{self, Peer},
    secret::Kept,
};

/// The path that Slack is told of as the app's "Request URL".
pub(super) const PATH: &str = "/slack/interactions";
/// The longest request that is read. A payload carries the message that the button is in.
const MOST: usize = 1 << 20;

struct Door {
    desk: Arc<Desk>,
    secret: Kept,
}

/// Serves until the hub is stopped.
pub(super) async fn serve(desk: Arc<Desk>, listener: TcpListener, secret: SecretRef) {
    let hub = Arc::clone(&desk.hub);
    let secret = Kept::new(secret, hub.sessions.clone(), hub.config.hub.home_region.clone());
    let door = Arc::new(Door { desk, secret });
    let router = Router::new().route(PATH, post(take)).with_state(door);
    listener::serve(SLACK, listener, router, MOST, hub.stop.clone()).await;
}

async fn take(State(door): State<Arc<Door>>, ConnectInfo(peer): ConnectInfo<Peer>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let until = Instant::now() + ACKNOWLEDGED;
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let turn_away = async |why: Forged| {
        door.desk.keeper.turn_away(&peer.address.to_string(), "a request to Slack's door", &why.to_string()).await;
        StatusCode::UNAUTHORIZED
    };
    // For strangers no secret is read.
    if header(TIMESTAMP).is_none() || header(SIGNATURE).is_none() {
        return turn_away(Forged::Unsigned).await;
    }
    let secret = match timeout_at(until, door.secret.get()).await {
        Ok(Ok(secret)) => secret,
        Ok(Err(why)) => {
            tracing::error!(%why, "what comes from Slack cannot be checked");
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        Err(_) => {
            tracing::error!("what comes from Slack cannot be checked: the secret is not read in time");
            return StatusCode::SERVICE_UNAVAILABLE;
        }
    };
    let (hub, now) = (&door.desk.hub, door.desk.hub.clock.now());
    let checked = match check(&secret, header(TIMESTAMP), header(SIGNATURE), &body, now) {
        // Nothing is written but for what is Slack's.
        Ok(signed) => match first(until, hub.store.take_proof(&signed.signature, signed.until, now)).await {
            Ok(first) => first,
            Err(why) => {
                tracing::error!(%why, "whether a request of Slack's was here before is not known: it is refused");
                return StatusCode::SERVICE_UNAVAILABLE;
            }
        },
        Err(forged) => Err(forged),
    };
    if let Err(why) = checked {
        return turn_away(why).await;
    }
    let Some(payload) = payload(&body) else { return StatusCode::BAD_REQUEST };
    // The answer goes to the person another way.
    door.desk.take(payload, None, until).await;
    StatusCode::OK
}

/// The form's `payload`.
fn payload(body: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(body).ok()?;
    let field = text.split('&').find_map(|pair| pair.strip_prefix("payload="))?;
    serde_json::from_slice(&decoded(field)?).ok()
}

/// A form's value, decoded (<https://url.spec.whatwg.org/#urlencoded-parsing>).
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forms_payload_is_read_and_what_is_none_is_not() {
        let read = payload(b"payload=%7B%22type%22%3A+%22block_actions%22%2C%22a%22%3A%22%C3%A4%2B%22%7D&x=1").unwrap();
        assert_eq!((read["type"].as_str(), read["a"].as_str()), (Some("block_actions"), Some("ä+")));
        for wrong in ["", "payload=", "payload=%7", "payload=%zz", "other=%7B%7D", "payload=%7B"] {
            assert_eq!(payload(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
