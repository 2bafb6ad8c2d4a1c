//! Stands in for AWS in unit tests: an HTTP client that answers from a function and writes down what was asked.

use std::sync::{Arc, Mutex};

use aws_smithy_runtime_api::{
    client::{
        http::{HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn},
        orchestrator::{HttpRequest, HttpResponse},
    },
    http::StatusCode,
};
use aws_smithy_types::body::SdkBody;
use serde_json::Value;

type Answer = dyn Fn(&str, &Value) -> (u16, Value) + Send + Sync;

/// The stand-in. An operation is the last word of `x-amz-target`, or method and path (`POST /findings`).
#[derive(Clone)]
pub(crate) struct Fake {
    answer: Arc<Answer>,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

impl std::fmt::Debug for Fake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fake")
    }
}

impl Fake {
    pub(crate) fn new(answer: impl Fn(&str, &Value) -> (u16, Value) + Send + Sync + 'static) -> Self {
        Self { answer: Arc::new(answer), asked: Arc::default() }
    }
    /// What was asked: operation and body.
    pub(crate) fn asked(&self) -> Vec<(String, Value)> {
        self.asked.lock().unwrap().clone()
    }
    /// How often an operation was asked for.
    pub(crate) fn count(&self, operation: &str) -> usize {
        self.asked().iter().filter(|(asked, _)| asked == operation).count()
    }
    pub(crate) fn http(&self) -> SharedHttpClient {
        let connector = SharedHttpConnector::new(self.clone());
        http_client_fn(move |_, _| connector.clone())
    }
}

impl HttpConnector for Fake {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let path = request.uri().split_once("amazonaws.com").map_or("/", |(_, path)| path).to_owned();
        let operation = match request.headers().get("x-amz-target") {
            Some(target) => target.rsplit('.').next().unwrap_or_default().to_owned(),
            None => format!("{} {path}", request.method()),
        };
        let body = serde_json::from_slice(request.body().bytes().unwrap_or_default()).unwrap_or_default();
        let (status, answer) = (self.answer)(&operation, &body);
        self.asked.lock().unwrap().push((operation, body));
        let mut response = HttpResponse::new(StatusCode::try_from(status).unwrap(), SdkBody::from(answer.to_string()));
        response.headers_mut().insert("content-type", "application/x-amz-json-1.1");
        HttpConnectorFuture::ready(Ok(response))
    }
}

/// `fake_client!(aws_sdk_securityhub, fake)`: a client of that crate over a stand-in, without retries.
macro_rules! fake_client {
    ($sdk:ident, $fake:expr) => {
        $sdk::Client::from_conf(
            $sdk::Config::builder()
                .behavior_version($sdk::config::BehaviorVersion::latest())
                .region($sdk::config::Region::new("us-east-1"))
                .credentials_provider($sdk::config::Credentials::new("AKIDEXAMPLE", "example", None, None, "test"))
                .retry_config($sdk::config::retry::RetryConfig::disabled())
                .http_client($fake.http())
                .build(),
        )
    };
}
pub(crate) use fake_client;
