//! Errors as each protocol writes them, and what can be read from an answer.

use http_body_util::Full;
use hyper::{HeaderMap, Response, StatusCode, body::Bytes, header::HeaderValue};
use serde_json::{Value, json};

use super::parse::Protocol;

/// An error of AWS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsError {
    /// HTTP status.
    pub status: u16,
    /// AWS's code, in the spelling of the protocol it is for.
    pub code: String,
    /// What it says.
    pub message: String,
}

impl AwsError {
    /// An error.
    #[must_use]
    pub fn new(status: u16, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status, code: code.into(), message: message.into() }
    }

    /// AWS's answer with this error.
    #[must_use]
    pub fn response(&self, protocol: Protocol, service: &str, number: u64) -> Response<Full<Bytes>> {
        let id = format!("00000000-0000-4000-8000-{number:012x}");
        let (kind, body) = match protocol {
            Protocol::Ec2 => (
                "text/xml;charset=UTF-8",
                format!(
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{}</Code><Message>{}</Message></Error></Errors><RequestID>{id}</RequestID></Response>",
                    escape(&self.code),
                    escape(&self.message)
                )
                .into_bytes(),
            ),
            Protocol::Query | Protocol::Other => {
                let fault = if self.status >= 500 { "Receiver" } else { "Sender" };
                (
                    "text/xml",
                    format!(
                        "<ErrorResponse xmlns=\"https://{service}.amazonaws.com/doc/\"><Error><Type>{fault}</Type><Code>{}</Code><Message>{}</Message></Error><RequestId>{id}</RequestId></ErrorResponse>",
                        escape(&self.code),
                        escape(&self.message)
                    )
                    .into_bytes(),
                )
            }
            Protocol::Json => {
                ("application/x-amz-json-1.1", json!({"__type": self.code, "message": self.message, "Message": self.message}).to_string().into_bytes())
            }
            Protocol::RestJson => ("application/json", json!({"message": self.message, "Message": self.message}).to_string().into_bytes()),
            Protocol::Cbor => ("application/cbor", cbor(&[("__type", &self.code), ("message", &self.message)])),
        };
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        let headers = response.headers_mut();
        headers.insert("content-type", HeaderValue::from_static(kind));
        if let Ok(id) = HeaderValue::from_str(&id) {
            headers.insert("x-amzn-requestid", id);
        }
        if let Ok(code) = HeaderValue::from_str(&self.code)
            && matches!(protocol, Protocol::Json | Protocol::RestJson)
        {
            headers.insert("x-amzn-errortype", code);
        }
        if protocol == Protocol::Cbor {
            headers.insert("smithy-protocol", HeaderValue::from_static("rpc-v2-cbor"));
        }
        response
    }
}

/// The answer to a call that was done and has nothing to tell.
#[must_use]
pub fn done(protocol: Protocol, operation: &str) -> Response<Bytes> {
    let xml = |body: &str| format!("<{operation}Response>{body}</{operation}Response>").into_bytes();
    let (kind, body) = match protocol {
        Protocol::Ec2 => {
            ("text/xml;charset=UTF-8", xml("<requestId>00000000-0000-4000-8000-000000000000</requestId><return>true</return>"))
        }
        Protocol::Query | Protocol::Other => ("text/xml", xml("")),
        Protocol::Json => ("application/x-amz-json-1.1", b"{}".to_vec()),
        Protocol::RestJson => ("application/json", b"{}".to_vec()),
        Protocol::Cbor => ("application/cbor", cbor(&[])),
    };
    let mut response = Response::new(Bytes::from(body));
    response.headers_mut().insert("content-type", HeaderValue::from_static(kind));
    response
}

/// What AWS calls a denied call.
#[must_use]
pub fn denied(protocol: Protocol, message: String) -> AwsError {
    match protocol {
        Protocol::Ec2 => {
            let encoded = hex::encode(message.as_bytes());
            let message =
                format!("You are not authorized to perform this operation. {message}. Encoded authorization failure message: {encoded}");
            AwsError::new(403, "UnauthorizedOperation", message)
        }
        Protocol::Query | Protocol::Other => AwsError::new(403, "AccessDenied", message),
        Protocol::Json | Protocol::Cbor => AwsError::new(400, "AccessDeniedException", message),
        Protocol::RestJson => AwsError::new(403, "AccessDeniedException", message),
    }
}

/// What AWS calls a call too many.
#[must_use]
pub fn throttled(protocol: Protocol, service: &str) -> AwsError {
    match (protocol, service) {
        (Protocol::Ec2, _) => AwsError::new(503, "RequestLimitExceeded", "Request limit exceeded."),
        (Protocol::Query | Protocol::Other, _) => AwsError::new(400, "Throttling", "Rate exceeded"),
        (Protocol::Json, "organizations") => AwsError::new(
            400,
            "TooManyRequestsException",
            "AWS Organizations can't complete your request because another request is already in progress. Try again later.",
        ),
        (Protocol::RestJson, "securityhub" | "guardduty") => AwsError::new(429, "TooManyRequestsException", "Too Many Requests"),
        (Protocol::RestJson, _) => AwsError::new(429, "ThrottlingException", "Rate exceeded"),
        (Protocol::Json | Protocol::Cbor, _) => AwsError::new(400, "ThrottlingException", "Rate exceeded"),
    }
}

/// What AWS says to an access key that is inactive, or that it does not know
/// (<https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html>,
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html>).
#[must_use]
pub fn invalid_key(protocol: Protocol, service: &str) -> AwsError {
    let message = "The security token included in the request is invalid.";
    match (protocol, service) {
        (Protocol::Ec2, _) => AwsError::new(401, "AuthFailure", "AWS was not able to validate the provided access credentials"),
        (_, "s3") => AwsError::new(403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."),
        (Protocol::Query | Protocol::Other, _) => AwsError::new(403, "InvalidClientTokenId", message),
        (Protocol::Json | Protocol::Cbor, _) => AwsError::new(400, "UnrecognizedClientException", message),
        (Protocol::RestJson, _) => AwsError::new(403, "UnrecognizedClientException", message),
    }
}

/// What AWS says to a session that has ended.
#[must_use]
pub fn expired(protocol: Protocol) -> AwsError {
    match protocol {
        Protocol::Ec2 => AwsError::new(400, "RequestExpired", "Request has expired."),
        Protocol::Query | Protocol::Other => AwsError::new(403, "ExpiredToken", "The security token included in the request is expired"),
        Protocol::Json | Protocol::Cbor => {
            AwsError::new(400, "ExpiredTokenException", "The security token included in the request is expired")
        }
        Protocol::RestJson => AwsError::new(403, "ExpiredTokenException", "The security token included in the request is expired"),
    }
}

/// The error code of an answer that is an error.
#[must_use]
pub fn error_code(headers: &HeaderMap, body: &[u8]) -> String {
    let clean = |code: &str| code.split(':').next().unwrap_or_default().rsplit('#').next().unwrap_or_default().to_owned();
    if let Some(code) = headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok()) {
        return clean(code);
    }
    if let Ok(value) = serde_json::from_slice::<Value>(body) {
        return ["__type", "code", "Code"].iter().find_map(|name| value.get(name)).and_then(Value::as_str).map(clean).unwrap_or_default();
    }
    element(&String::from_utf8_lossy(body), "Code").unwrap_or_default()
}

/// The text of the first element of this name.
#[must_use]
pub fn element(xml: &str, name: &str) -> Option<String> {
    elements(xml, name).into_iter().next()
}

/// The texts of all elements of this name. Enough for AWS's answers, where these elements hold no others.
#[must_use]
pub fn elements(xml: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    xml.split(&open).skip(1).filter_map(|rest| rest.split_once(&close)).map(|(text, _)| unescape(text)).collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#34;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

/// A map of texts in CBOR.
fn cbor(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut found = vec![0xbf];
    for text in pairs.iter().flat_map(|(name, value)| [*name, *value]) {
        found.push(0x7b);
        found.extend_from_slice(&(text.len() as u64).to_be_bytes());
        found.extend_from_slice(text.as_bytes());
    }
    found.push(0xff);
    found
}
