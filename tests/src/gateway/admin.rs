//! The gateway's own addresses, for processes that are not in this one.

use http_body_util::Full;
use hyper::{Method, Response, StatusCode, body::Bytes, http::request::Parts};
use serde_json::{Value, json};

use super::{Call, Fault, Inner, parse};

impl Inner {
    pub(super) fn administer(&self, parts: &Parts, body: &Bytes) -> Response<Full<Bytes>> {
        let done = |value: Value| reply(StatusCode::OK, &value.to_string());
        match (&parts.method, parts.uri.path()) {
            (&Method::GET, "/cordon-gateway/ledger") => {
                let wanted = parse::form_parameters(parts.uri.query().unwrap_or_default());
                let text = |name: &str| wanted.get(name).and_then(Value::as_str);
                let since = text("since").and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
                let fits = |call: &Call| {
                    call.number >= since
                        && text("account").is_none_or(|account| account == call.account)
                        && text("service").is_none_or(|service| service == call.service)
                        && text("operation").is_none_or(|operation| operation == call.operation)
                };
                reply(StatusCode::OK, &self.ledger.to_ndjson(fits))
            }
            (&Method::GET, "/cordon-gateway/faults") => done(json!(self.faults.list())),
            (&Method::DELETE, "/cordon-gateway/faults") => {
                self.faults.clear();
                done(json!([]))
            }
            (&Method::POST, "/cordon-gateway/faults") => match serde_json::from_slice::<Vec<Fault>>(body) {
                Ok(faults) => {
                    faults.into_iter().for_each(|fault| self.faults.add(fault));
                    done(json!(self.faults.list()))
                }
                Err(error) => reply(StatusCode::BAD_REQUEST, &format!("{error}\n")),
            },
            (&Method::POST, "/cordon-gateway/throttle") => {
                let scale = serde_json::from_slice::<Value>(body).ok().and_then(|value| value.get("scale").cloned());
                match scale.as_ref().map(|scale| (scale, scale.as_f64())) {
                    Some((_, Some(scale))) => self.throttle.enable(scale),
                    Some((Value::Null, _)) => self.throttle.disable(),
                    _ => return reply(StatusCode::BAD_REQUEST, "{\"scale\": NUMBER or null}\n"),
                }
                done(json!({"scale": scale}))
            }
            _ => reply(StatusCode::NOT_FOUND, "there are /cordon-gateway/ledger, /cordon-gateway/faults and /cordon-gateway/throttle\n"),
        }
    }
}

fn reply(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text.to_owned())));
    *response.status_mut() = status;
    response
}
