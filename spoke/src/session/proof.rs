//! Who somebody is, as AWS says: a request for STS's GetCallerIdentity that the person signs and somebody else sends.
//!
//! The one who proves signs the request with their own credentials and hands it over; the one who checks sends it, as it is, to the STS that
//! they themselves ask, and reads whose it was from the answer. The request is bound to what it is to prove by one more signed header, so
//! that it proves nothing else. The service needs no right for that in the person's account, and learns no secret key: a signature, and the
//! session token that belongs to temporary credentials. What holds one prints none, and it is kept nowhere.
//!
//! GetCallerIdentity needs no permission and cannot be denied (<https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html>).

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
};

use aws_config::retry::RetryConfig;
use aws_sdk_sts::config::Builder;
use aws_smithy_runtime_api::client::{
    http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector},
    orchestrator::HttpRequest,
    result::ConnectorError,
    runtime_components::RuntimeComponents,
};
use cordon_shared::id::CellId;
use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::Offset};
use serde::{Deserialize, Serialize};

use super::{SessionError, Sessions, Site, clients::Base, door};
use crate::limits::{Access, Service};

/// The signed header that says what a proof is for. Behind a `.` there may be anything that makes it one of its own: two proofs for the same
/// in one second would otherwise be one.
pub const BOUND: &str = "x-cordon-request";
/// How old a proof may be, and how far ahead of our clock. STS itself takes a signature for 15 minutes.
pub const WINDOW: SignedDuration = SignedDuration::from_mins(5);
/// The most headers, and the longest of them, that are looked at: a session token has up to some thousand characters.
const HEADERS: usize = 24;
const LENGTH: usize = 8 << 10;

/// The headers that a proof may have, all of them signed but the signature itself: no other reaches STS.
const NAMES: [&str; 13] = [
    "accept",
    "accept-encoding",
    "amz-sdk-invocation-id",
    "amz-sdk-request",
    "authorization",
    "content-length",
    "content-type",
    "host",
    "user-agent",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-user-agent",
    BOUND,
];

/// Who AWS says that somebody is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// `arn:aws:iam::…:user/alice`, `arn:aws:sts::…:assumed-role/role/session`.
    pub arn: String,
    /// The account.
    pub account: String,
}

/// A signed request that is not sent yet.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// Where it is to be sent.
    url: String,
    /// Its headers, signature and session token among them.
    headers: BTreeMap<String, String>,
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proof for {}", self.url)
    }
}

/// Why a proof proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    /// It is not a request as one that proves signs it.
    #[error("it is no signed GetCallerIdentity request: {0}")]
    Strange(&'static str),
    /// It was signed for another STS than ours.
    #[error("it was signed for {given}, and this Cordon asks {ours}: sign it with the same Region and endpoint")]
    Elsewhere {
        /// What it was signed for.
        given: String,
        /// What is asked here.
        ours: String,
    },
    /// It was signed for something else.
    #[error("it was signed for another request than this one")]
    OtherRequest,
    /// Older or newer than the window.
    #[error("it was signed more than five minutes from now")]
    Old,
    /// STS says that it is wrong.
    #[error("AWS does not take its signature: {0}")]
    Wrong(String),
    /// STS could not be asked.
    #[error("AWS could not be asked whose it is: {0}")]
    Unasked(String),
}

impl Proof {
    fn header(&self, name: &str) -> Result<&str, Unproven> {
        self.headers.get(name).map(String::as_str).ok_or(Unproven::Strange("a header is missing"))
    }

    /// Its signature: the same one is the same proof.
    #[must_use]
    pub fn signature(&self) -> &str {
        self.authorization().map_or("", |(_, signature)| signature)
    }

    /// The signed headers and the signature, of exactly the form that SDKs write: one proof has one text, so that it counts once
    /// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html>).
    fn authorization(&self) -> Option<(&str, &str)> {
        let rest = self.headers.get("authorization")?.strip_prefix("AWS4-HMAC-SHA256 Credential=")?;
        let (credential, rest) = rest.split_once(", SignedHeaders=")?;
        let (signed, signature) = rest.split_once(", Signature=")?;
        let plain = |text: &str| !text.contains([',', ' ', '=']);
        let hex = signature.len() == 64 && signature.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (plain(credential) && plain(signed) && hex).then_some((signed, signature))
    }

    /// Whether it is, as far as can be seen without asking AWS, a recent proof for exactly `bound`.
    fn check(&self, bound: &str, now: Timestamp) -> Result<(), Unproven> {
        if self.headers.len() > HEADERS || self.headers.iter().any(|(name, value)| name.len() + value.len() > LENGTH) {
            return Err(Unproven::Strange("it is too long"));
        }
        if self.headers.keys().any(|name| !NAMES.contains(&name.as_str())) {
            return Err(Unproven::Strange("it has a header that no such request has"));
        }
        let (signed, _) = self.authorization().ok_or(Unproven::Strange("it is not signed with AWS4-HMAC-SHA256"))?;
        let signed: Vec<&str> = signed.split(';').collect();
        // What is not signed could have been put there by anybody.
        if self.headers.keys().any(|name| name != "authorization" && !signed.contains(&name.as_str())) {
            return Err(Unproven::Strange("a header is not signed"));
        }
        if !["host", "x-amz-date", BOUND].iter().all(|name| signed.contains(name)) {
            return Err(Unproven::Strange("host, date or purpose is not signed"));
        }
        let purpose = self.header(BOUND)?;
        if purpose.split_once('.').map_or(purpose, |(purpose, _)| purpose) != bound {
            return Err(Unproven::OtherRequest);
        }
        let signed_at = moment(self.header("x-amz-date")?).ok_or(Unproven::Strange("its date cannot be read"))?;
        if now.duration_since(signed_at).abs() > WINDOW { Err(Unproven::Old) } else { Ok(()) }
    }
}

/// `20261129T101112Z`.
fn moment(text: &str) -> Option<Timestamp> {
    let time = DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    Offset::UTC.to_timestamp(time).ok()
}

impl Sessions {
    /// A client of STS with a connector of its own. Proofs of strangers pass no bucket of ours: what AWS answers to *their* signatures must
    /// not lower *our* rate of AssumeRole. Whoever takes proofs in bounds how many.
    fn identity_client(&self, client: SharedHttpClient) -> aws_sdk_sts::Client {
        let base = &self.0.base;
        let cell = CellId::new(base.hub.clone(), base.home.clone());
        let site = Site { cell, access: Access::Read, credentials: None, watch: None };
        let config = base.config(&site, Service::Sts);
        let builder = Builder::from(&config).retry_partition(Base::partition(&site, Service::Sts));
        aws_sdk_sts::Client::from_conf(builder.http_client(client).retry_config(RetryConfig::disabled()).build())
    }

    /// Who these credentials belong to, asked at STS.
    ///
    /// # Errors
    /// [`SessionError::NoCredentials`] and the ways a call can fail.
    pub async fn who_am_i(&self) -> Result<Caller, SessionError> {
        let sts = self.0.door.sts(&self.0.settings.home_region);
        let answer = sts.get_caller_identity().send().await.map_err(|error| door::plain(&error))?;
        Ok(Caller { arn: answer.arn().unwrap_or_default().to_owned(), account: answer.account().unwrap_or_default().to_owned() })
    }

    /// Signs a proof of who these credentials belong to, for `bound` and nothing else. Nothing is sent.
    ///
    /// # Errors
    /// [`SessionError::NoCredentials`] where there are none to sign with.
    pub async fn prove(&self, bound: &str) -> Result<Proof, SessionError> {
        let desk = Desk::default();
        let client = self.identity_client(SharedHttpClient::new(desk.clone()));
        let now = self.0.base.clock.now().as_nanosecond();
        let purpose = format!("{bound}.{now:x}-{:x}-{:x}", std::process::id(), self.0.written.fetch_add(1, Ordering::Relaxed));
        let request = client.get_caller_identity().customize().mutate_request(move |request| {
            request.headers_mut().insert(BOUND, purpose.clone());
        });
        let answer = request.send().await;
        let signed = desk.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (signed, answer) {
            (Some(proof), _) => Ok(proof),
            (None, Err(error)) => Err(SessionError::NoCredentials(crate::connector::chain(&error))),
            (None, Ok(_)) => Err(SessionError::NoCredentials("nothing was signed".to_owned())),
        }
    }

    /// Whose a proof is, asked at the STS that we ask ourselves.
    ///
    /// # Errors
    /// [`Unproven`].
    pub async fn identify(&self, proof: &Proof, bound: &str, now: Timestamp) -> Result<Caller, Unproven> {
        proof.check(bound, now)?;
        let elsewhere = Arc::new(Mutex::new(None));
        let inner = self.0.base.http.clone();
        let presenting = Presenting { inner, proof: Arc::new(proof.clone()), elsewhere: Arc::clone(&elsewhere) };
        let client = self.identity_client(SharedHttpClient::new(presenting));
        let patience = self.0.base.attempt_timeout;
        let answer = tokio::time::timeout(patience, client.get_caller_identity().send()).await;
        let answer = answer.map_err(|_| Unproven::Unasked(format!("no answer within {} s", patience.as_secs())))?;
        if let Some(ours) = elsewhere.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(Unproven::Elsewhere { given: host(&proof.url), ours: host(&ours) });
        }
        match answer {
            Ok(answer) => {
                Ok(Caller { arn: answer.arn().unwrap_or_default().to_owned(), account: answer.account().unwrap_or_default().to_owned() })
            }
            Err(error) => Err(match door::plain(&error) {
                // The code alone: the sentence behind it may hold what was signed.
                SessionError::NoCredentials(why) => Unproven::Wrong(why.split(':').next().unwrap_or_default().to_owned()),
                SessionError::Refused { code, .. } => Unproven::Wrong(code),
                other => Unproven::Unasked(other.to_string()),
            }),
        }
    }
}

fn host(url: &str) -> String {
    url.split("://").nth(1).unwrap_or(url).split('/').next().unwrap_or_default().chars().take(200).collect()
}

/// Keeps a signed request instead of sending it.
#[derive(Debug, Clone, Default)]
struct Desk(Arc<Mutex<Option<Proof>>>);

impl HttpClient for Desk {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Desk {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let headers: BTreeMap<String, String> =
            request.headers().iter().map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        let authorization = headers.get("authorization").cloned().unwrap_or_default();
        let list = authorization.split("SignedHeaders=").nth(1).and_then(|rest| rest.split(',').next()).unwrap_or_default();
        let signed: Vec<&str> = list.split(';').collect();
        let kept = headers.into_iter().filter(|(name, _)| name == "authorization" || signed.contains(&name.as_str())).collect();
        let proof = Proof { url: request.uri().to_owned(), headers: kept };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(proof);
        HttpConnectorFuture::ready(Err(ConnectorError::user("it is signed, and kept instead of sent".into())))
    }
}

/// Sends somebody's signed request in the place of our own.
#[derive(Debug)]
struct Presenting {
    inner: SharedHttpClient,
    proof: Arc<Proof>,
    /// Our own STS, where the proof is for another one.
    elsewhere: Arc<Mutex<Option<String>>>,
}

impl HttpClient for Presenting {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(PresentingConnector {
            inner: self.inner.http_connector(settings, components),
            proof: Arc::clone(&self.proof),
            elsewhere: Arc::clone(&self.elsewhere),
        })
    }
}

#[derive(Debug)]
struct PresentingConnector {
    inner: SharedHttpConnector,
    proof: Arc<Proof>,
    elsewhere: Arc<Mutex<Option<String>>>,
}

impl HttpConnector for PresentingConnector {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        let stopped = |why: &'static str| HttpConnectorFuture::ready(Err(ConnectorError::user(why.into())));
        if request.uri() != self.proof.url {
            *self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner) = Some(request.uri().to_owned());
            return stopped("the proof is for another STS");
        }
        let own: Vec<String> = request.headers().iter().map(|(name, _)| name.to_owned()).collect();
        for name in own {
            request.headers_mut().remove(name);
        }
        for (name, value) in &self.proof.headers {
            // The client writes host and length itself, as they are signed.
            if name != "host" && name != "content-length" && request.headers_mut().try_insert(name.clone(), value.clone()).is_err() {
                return stopped("a header of the proof cannot be written");
            }
        }
        self.inner.call(request)
    }
}

#[cfg(test)]
mod tests;
