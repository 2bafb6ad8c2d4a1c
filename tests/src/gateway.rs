//! The gateway between Cordon and moto: it records every call, and does what AWS does and moto does not.
//!
//! - **Ledger**: who called what, where, with which parameters, and how it ended ([`Ledger`]).
//! - **Access**: the trust of roles (external ids, source identities, session tags) and, for every session that was opened through the gateway,
//!   the role's and the session's policies ([`Enforcement`]); for a user's own key, whether it is active, and the user's policies. Other keys
//!   that it did not see being made are recorded, not judged.
//! - **Signatures** of GetCallerIdentity, by which people prove who they are, as far as the lab handed out the secret ([`signature`]).
//! - **Faults**: throttling, denials, hanging, late and lost answers ([`Faults`]).
//! - **Throttling** with AWS's published token buckets ([`Throttle`]).
//!
//! It never stands in the way of a call that it does not understand: that is passed on, and recorded as `unknown`.
//!
//! Over HTTP: `GET /cordon-gateway/ledger` (NDJSON; `?account=`, `?service=`, `?operation=`, `?since=`), `GET`, `POST` and `DELETE
//! /cordon-gateway/faults` (a JSON array of [`Fault`]s; `POST` adds), `POST /cordon-gateway/throttle` (`{"scale": 1.0}` or `{"scale": null}`).

mod access;
mod admin;
mod condition;
pub mod faults;
pub mod ledger;
pub mod parse;
pub mod policy;
mod resolve;
pub mod resources;
pub mod sessions;
pub mod signature;
pub mod throttle;
mod upstream;
pub mod wire;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Instant,
};

pub use faults::{Action, Fault, Faults, Match};
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
pub use ledger::{Call, Decision, Ledger, Outcome, Principal};
pub use sessions::{Session, Sessions};
pub use throttle::Throttle;
use tokio::{net::TcpListener, sync::watch};

use self::{access::Access, faults::Subject, parse::Parsed, upstream::Upstream, wire::AwsError};
use crate::LabError;

/// What is enforced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Enforcement {
    /// AssumeRole: the role must exist and trust the caller, the parameters must be what STS takes.
    pub trust: bool,
    /// Calls of sessions opened through the gateway: role, boundary and session policies must allow them. Calls with a user's own key: it must
    /// be active, and the user's policies and boundary must allow them.
    pub policies: bool,
}

impl Enforcement {
    /// Everything.
    #[must_use]
    pub const fn all() -> Self {
        Self { trust: true, policies: true }
    }
}

/// What a gateway does besides recording.
#[derive(Debug, Clone, Default)]
pub struct GatewayOptions {
    /// Access control.
    pub enforcement: Enforcement,
    /// Token buckets with AWS's rates times this.
    pub throttle: Option<f64>,
}

/// A running gateway. It ends when this is dropped.
#[derive(Debug)]
pub struct Gateway {
    address: SocketAddr,
    inner: Arc<Inner>,
    stop: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Inner {
    upstream: Upstream,
    access: Access,
    ledger: Ledger,
    faults: Faults,
    throttle: Throttle,
    sessions: Sessions,
    enforcement: RwLock<Enforcement>,
    errors: AtomicU64,
}

/// Cuts the connection: hyper ends it without an answer when the service fails.
#[derive(Debug)]
struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the lab cut the connection")
    }
}

impl std::error::Error for Cut {}

impl Gateway {
    /// Starts a gateway before the server at this address, on a free loopback port, with threads of its own.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn start(upstream: &str, options: GatewayOptions) -> Result<Self, LabError> {
        let upstream = Upstream::new(upstream);
        let inner = Arc::new(Inner {
            access: Access::new(upstream.clone()),
            upstream,
            ledger: Ledger::default(),
            faults: Faults::default(),
            throttle: Throttle::default(),
            sessions: Sessions::default(),
            enforcement: RwLock::new(options.enforcement),
            errors: AtomicU64::new(1),
        });
        if let Some(scale) = options.throttle {
            inner.throttle.enable(scale);
        }
        let (stop, stopped) = watch::channel(false);
        let (started, address) = mpsc::channel();
        let serving = Arc::clone(&inner);
        let thread = std::thread::Builder::new().name("cordon-gateway".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("cordon-gateway").enable_all().build();
            match runtime {
                Ok(runtime) => runtime.block_on(serve(serving, stopped, &started)),
                Err(error) => {
                    started.send(Err(error)).ok();
                }
            }
        });
        let thread = thread.map_err(|error| LabError::new(format!("the gateway did not start: {error}")))?;
        let address = address.recv().map_err(|_| LabError::new("the gateway ended at once"))?;
        let address = address.map_err(|error| LabError::new(format!("the gateway cannot listen: {error}")))?;
        Ok(Self { address, inner, stop, thread: Some(thread) })
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every call so far.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.inner.ledger
    }

    /// What it does wrong.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.inner.faults
    }

    /// The token buckets.
    #[must_use]
    pub fn throttle(&self) -> &Throttle {
        &self.inner.throttle
    }

    /// Whom it knows.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.inner.sessions
    }

    /// Changes what is enforced.
    pub fn enforce(&self, enforcement: Enforcement) {
        *self.inner.enforcement.write().unwrap_or_else(PoisonError::into_inner) = enforcement;
    }

    /// Reads roles from moto anew at their next use; else what was read is taken for true for 2 seconds.
    pub fn forget_roles(&self) {
        self.inner.access.forget();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.send(true).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

async fn serve(inner: Arc<Inner>, mut stop: watch::Receiver<bool>, started: &mpsc::Sender<std::io::Result<SocketAddr>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = match listener.and_then(|listener| listener.local_addr().map(|address| (listener, address))) {
        Ok((listener, address)) => {
            started.send(Ok(address)).ok();
            listener
        }
        Err(error) => {
            started.send(Err(error)).ok();
            return;
        }
    };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => return,
        };
        let Ok((stream, _)) = accepted else { continue };
        stream.set_nodelay(true).ok();
        let inner = Arc::clone(&inner);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let inner = Arc::clone(&inner);
                async move { inner.handle(request).await }
            });
            // A connection that ends badly is the client's business, or our own doing.
            http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
        });
    }
}

impl Inner {
    async fn handle(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Cut> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
        if parts.uri.path().starts_with("/cordon-gateway/") {
            return Ok(self.administer(&parts, &body));
        }
        let now = Timestamp::now();
        let started = Instant::now();
        let parsed = parse::parse(&parts.method, &parts.uri, &parts.headers, &body);
        let session = self.session(&parsed.access_key).await;
        let account = session.principal.account.clone();
        let write = parse::is_write(&parsed.service, &parsed.operation);
        let mut needs = resources::needs(&parsed, &account, write);
        if parsed.service == "iam" && self.enforcement().policies {
            self.access.with_paths(&account, &mut needs).await;
        }
        let mut named: Vec<String> = needs.iter().map(|need| need.resource.clone()).collect();
        named.dedup();
        let number = self.ledger.open(Call {
            number: 0,
            at: now,
            took_ms: None,
            account: account.clone(),
            region: parsed.region.clone(),
            service: parsed.service.clone(),
            operation: parsed.operation.clone(),
            write,
            access_key: parsed.access_key.clone(),
            principal: session.principal.clone(),
            resources: named,
            params: parsed.params.clone(),
            forwarded: false,
            outcome: Outcome::Pending,
            fault: None,
            decision: None,
        });
        let params = parsed.params.to_string();
        let subject = Subject {
            account: &account,
            region: &parsed.region,
            service: &parsed.service,
            operation: &parsed.operation,
            principal: &session.principal.arn,
            params: &params,
            write,
        };
        let fault = self.faults.due(&subject);
        if let Some(fault) = &fault {
            self.ledger.update(number, |call| call.fault = Some(fault.name().to_owned()));
        }
        let answer = self.answer(&parts, body, &parsed, &session, needs, fault.as_ref(), number).await;
        self.ledger.update(number, |call| {
            call.took_ms = Some(started.elapsed().as_secs_f64() * 1000.0);
            call.outcome = match &answer {
                Ok(answer) if answer.status().is_success() => Outcome::Ok { status: answer.status().as_u16() },
                Ok(answer) => Outcome::Error { status: answer.status().as_u16(), code: wire::error_code(answer.headers(), answer.body()) },
                Err(Cut) => Outcome::Dropped,
            };
        });
        answer.map(|answer| answer.map(Full::new))
    }

    fn enforcement(&self) -> Enforcement {
        *self.enforcement.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who an access key is: known, or asked from moto.
    async fn session(&self, access_key: &str) -> Session {
        if access_key.is_empty() {
            return Session::default();
        }
        match self.sessions.get(access_key) {
            Some(session) => session,
            None => match self.upstream.identity(access_key).await {
                Some((account, arn)) => self.sessions.adopt(access_key, account, arn),
                None => Session::default(),
            },
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one call, taken apart once")]
    async fn answer(
        &self,
        parts: &hyper::http::request::Parts,
        body: Bytes,
        parsed: &Parsed,
        session: &Session,
        needs: Vec<ledger::Need>,
        fault: Option<&Action>,
        number: u64,
    ) -> Result<Response<Bytes>, Cut> {
        let now = Timestamp::now();
        if let Some(fault) = fault {
            if let Some(error) = fault.error(parsed.protocol, &parsed.service) {
                return self.refuse(&error, parsed).await;
            }
            if let Some(delay) = fault.delay() {
                tokio::time::sleep(delay).await;
            }
            match fault {
                // hyper drops this when the client goes away.
                Action::Hang => std::future::pending().await,
                Action::DropBefore => return Err(Cut),
                _ => {}
            }
        }
        if !self.throttle.take(&session.principal.account, &parsed.region, &parsed.service, &parsed.operation, &parsed.params) {
            return self.refuse(&wire::throttled(parsed.protocol, &parsed.service), parsed).await;
        }
        if parsed.operation == "GetCallerIdentity"
            && let Some(secret) = crate::secrets::of(&parsed.access_key)
            && let Err(error) = signature::check(parts, &body, &secret, now)
        {
            return self.refuse(&error, parsed).await;
        }
        if session.expired(now) {
            return self.refuse(&wire::expired(parsed.protocol), parsed).await;
        }
        let enforcement = self.enforcement();
        let user = match session.user().filter(|_| enforcement.policies) {
            None => None,
            Some(name) => match self.access.user(&session.principal.account, name).await {
                Ok(Some(user)) if user.keys.contains(&parsed.access_key) => Some(user),
                // The key was deleted or made inactive.
                Ok(_) => return self.refuse(&wire::invalid_key(parsed.protocol, &parsed.service), parsed).await,
                Err(problem) => return self.refuse(&AwsError::new(500, "InternalFailure", problem), parsed).await,
            },
        };
        let free = parsed.operation == parse::UNKNOWN || parsed.operation == "GetCallerIdentity";
        if enforcement.policies && (session.watched || user.is_some()) && !free {
            let needs = resolve::resolve(&self.upstream, parsed, &session.principal.account, needs).await;
            let decision = Arc::new(match &user {
                Some(user) => self.access.decide_for_user(parsed, session, user, needs, now),
                None => self.access.decide(parsed, session, needs, now).await,
            });
            self.ledger.update(number, |call| call.decision = Some(Arc::clone(&decision)));
            if !decision.allowed {
                return self.refuse(&wire::denied(parsed.protocol, decision.reason.clone()), parsed).await;
            }
        }
        let assumes = parsed.service == "sts" && parsed.operation == "AssumeRole";
        let mut managed = Vec::new();
        if assumes {
            let account = parsed.params.get("RoleArn").and_then(|arn| arn.as_str()?.split(':').nth(4)).unwrap_or_default();
            let checked = if enforcement.trust {
                self.access.check_assume(parsed, session, now).await
            } else {
                self.access.managed(parsed, account).await
            };
            match checked {
                Ok(documents) => managed = documents,
                Err(error) => return self.refuse(&error, parsed).await,
            }
        }
        if matches!(fault, Some(Action::Pretend)) {
            return Ok(wire::done(parsed.protocol, &parsed.operation));
        }
        self.ledger.update(number, |call| call.forwarded = true);
        let answer = match self.upstream.pass(parts, body).await {
            Ok(answer) => answer,
            Err(problem) => {
                return self.refuse(&AwsError::new(502, "BadGateway", format!("moto does not answer: {problem}")), parsed).await;
            }
        };
        if parsed.service == "iam" && parse::is_write(&parsed.service, &parsed.operation) {
            // What it changes counts from the next call on.
            self.access.forget();
        }
        if assumes && answer.status().is_success() {
            self.sessions.learn(parsed, session, managed, &String::from_utf8_lossy(answer.body()), now);
        }
        match fault {
            Some(Action::DropAfter) => Err(Cut),
            Some(Action::FailAfter) => self.refuse(&AwsError::new(500, "InternalError", "An internal error has occurred."), parsed).await,
            _ => Ok(answer),
        }
    }

    /// Answers with an error of AWS.
    async fn refuse(&self, error: &AwsError, parsed: &Parsed) -> Result<Response<Bytes>, Cut> {
        let number = self.errors.fetch_add(1, Ordering::Relaxed);
        let (parts, body) = error.response(parsed.protocol, &parsed.service, number).into_parts();
        let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
        Ok(Response::from_parts(parts, body))
    }
}
