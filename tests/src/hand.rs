//! The hand: AWS calls that are not ours. A long-running Python program over boto3, to set up the world and read it back.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::{LabError, Python, moto::Program};

/// What went wrong with a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandError {
    /// AWS's error code, or the name of the Python exception.
    pub code: String,
    /// What it says.
    pub message: String,
    /// The HTTP status, when AWS answered.
    pub status: Option<u16>,
}

impl fmt::Display for HandError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for HandError {}

/// An access key to act with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The id, `ASIA…`.
    pub access_key: String,
    /// The secret.
    pub secret_key: String,
    /// The session token.
    pub token: Option<String>,
}

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Result<Value, HandError>>>>>;

#[derive(Debug)]
struct Inner {
    program: Program,
    waiting: Waiting,
    next: AtomicU64,
}

/// Calls AWS through boto3; cheap to clone, usable from many tasks and runtimes at once.
#[derive(Debug, Clone)]
pub struct Hand {
    inner: Arc<Inner>,
    endpoint: String,
    credentials: Option<Credentials>,
    timeout: Duration,
    attempts: u32,
}

impl Hand {
    /// Starts the program.
    ///
    /// # Errors
    /// When Python does not start.
    pub fn start(python: &Python, endpoint: &str) -> Result<Self, LabError> {
        let mut command = python.program("hand.py");
        command.env("AWS_ENDPOINT_URL", endpoint);
        let (program, lines) = Program::start(command)?;
        let waiting = Waiting::default();
        let answers = Arc::clone(&waiting);
        std::thread::spawn(move || {
            for line in lines {
                let Ok(answer) = serde_json::from_str::<Value>(&line) else { continue };
                let Some(id) = answer.get("id").and_then(Value::as_u64) else { continue };
                let sender = answers.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
                if let Some(sender) = sender {
                    // Whoever asked may have given up.
                    sender.send(read_answer(answer)).ok();
                }
            }
            // The program ended: those who still wait are told by the fall of their senders.
            answers.lock().unwrap_or_else(PoisonError::into_inner).clear();
        });
        let inner = Arc::new(Inner { program, waiting, next: AtomicU64::new(1) });
        Ok(Self { inner, endpoint: endpoint.to_owned(), credentials: None, timeout: Duration::from_secs(60), attempts: 1 })
    }

    /// The same hand, aimed at another address: a gateway for example.
    #[must_use]
    pub fn at(&self, endpoint: &str) -> Self {
        Self { endpoint: endpoint.to_owned(), ..self.clone() }
    }

    /// The same hand, acting with these credentials whatever account a call names.
    #[must_use]
    pub fn with(&self, credentials: &Credentials) -> Self {
        Self { credentials: Some(credentials.clone()), ..self.clone() }
    }

    /// The same hand, waiting this long for an answer (60 s else).
    #[must_use]
    pub fn patience(&self, timeout: Duration) -> Self {
        Self { timeout, ..self.clone() }
    }

    /// The same hand, trying a call so many times as boto3 does (once else).
    #[must_use]
    pub fn attempts(&self, attempts: u32) -> Self {
        Self { attempts, ..self.clone() }
    }

    /// One call: `service` and `operation` as boto3 names them (`ec2`, `describe_instances`), `params` in boto3's form.
    ///
    /// # Errors
    /// AWS's error, or what kept boto3 from getting an answer.
    pub async fn call(&self, account: &str, region: &str, service: &str, operation: &str, params: Value) -> Result<Value, HandError> {
        self.send(json!({"account": account, "region": region, "service": service, "operation": operation, "params": params})).await
    }

    /// All pages of an operation that has pages, as one answer.
    ///
    /// # Errors
    /// As [`Hand::call`].
    pub async fn all(&self, account: &str, region: &str, service: &str, operation: &str, params: Value) -> Result<Value, HandError> {
        let request =
            json!({"account": account, "region": region, "service": service, "operation": operation, "params": params, "paginate": true});
        self.send(request).await
    }

    /// Assumes a role from an account and gives its credentials. `more` is merged into the parameters (`Policy`, `ExternalId`, …).
    ///
    /// # Errors
    /// As [`Hand::call`].
    pub async fn assume(&self, from: &str, region: &str, role_arn: &str, session: &str, more: Value) -> Result<Credentials, HandError> {
        let mut params = json!({"RoleArn": role_arn, "RoleSessionName": session});
        if let (Some(params), Value::Object(more)) = (params.as_object_mut(), more) {
            params.extend(more);
        }
        let answer = self.call(from, region, "sts", "assume_role", params).await?;
        let field = |name: &str| answer.pointer(&format!("/Credentials/{name}")).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Credentials { access_key: field("AccessKeyId"), secret_key: field("SecretAccessKey"), token: Some(field("SessionToken")) })
    }

    /// Credentials that act in an account as its administrator, from moto directly.
    ///
    /// # Errors
    /// As [`Hand::call`].
    pub async fn credentials(&self, account: &str) -> Result<Credentials, HandError> {
        let role = format!("arn:aws:iam::{account}:role/OrganizationAccountAccessRole");
        self.assume(account, "us-east-1", &role, "lab-hand", json!({"DurationSeconds": 43200})).await
    }

    async fn send(&self, mut request: Value) -> Result<Value, HandError> {
        let id = self.inner.next.fetch_add(1, Ordering::Relaxed);
        if let Some(request) = request.as_object_mut() {
            request.insert("id".to_owned(), json!(id));
            request.insert("endpoint".to_owned(), json!(self.endpoint));
            request.insert("timeout".to_owned(), json!(self.timeout.as_secs_f64()));
            request.insert("attempts".to_owned(), json!(self.attempts));
            if let Some(credentials) = &self.credentials {
                let credentials =
                    json!({"access_key": credentials.access_key, "secret_key": credentials.secret_key, "token": credentials.token});
                request.insert("credentials".to_owned(), credentials);
            }
        }
        let (sender, receiver) = oneshot::channel();
        self.inner.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id, sender);
        if let Err(error) = self.inner.program.write_line(&request.to_string()) {
            self.inner.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            return Err(self.gone(&error.to_string()));
        }
        receiver.await.unwrap_or_else(|_| Err(self.gone("it ended")))
    }

    fn gone(&self, why: &str) -> HandError {
        let message = format!("the hand does not answer ({why}): {}", self.inner.program.log());
        HandError { code: "HandGone".to_owned(), message, status: None }
    }
}

fn read_answer(mut answer: Value) -> Result<Value, HandError> {
    if let Some(ok) = answer.get_mut("ok") {
        crate::secrets::remember_in(ok);
        return Ok(ok.take());
    }
    let text = |name: &str| answer.pointer(&format!("/error/{name}")).and_then(Value::as_str).unwrap_or_default().to_owned();
    let status = answer.pointer("/error/status").and_then(Value::as_u64).and_then(|status| u16::try_from(status).ok());
    Err(HandError { code: text("code"), message: text("message"), status })
}
