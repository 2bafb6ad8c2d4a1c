//! Requests to services that are not AWS's, by the HTTP client and the TLS stack that AWS is called with.

use std::{sync::Arc, time::Duration};

use aws_smithy_http_client::{
    Connector,
    proxy::ProxyConfig,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::{http::HttpConnector as _, orchestrator::HttpRequest};
use aws_smithy_types::{body::SdkBody, byte_stream::ByteStream};

/// The most of an answer that is read.
const MOST: usize = 4 << 20;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP's status.
    pub status: u16,
    /// The seconds of its `Retry-After`, where it has one in seconds.
    pub retry_after: Option<Duration>,
    /// Its body.
    pub body: Vec<u8>,
}

/// There was no usable answer; the request may have come through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unanswered(String);

/// The client. Connections are kept and used again; the proxy is that of the environment.
#[derive(Debug, Clone)]
pub struct Http {
    connector: Arc<Connector>,
}

impl Default for Http {
    fn default() -> Self {
        Self::new()
    }
}

impl Http {
    /// A client.
    #[must_use]
    pub fn new() -> Self {
        let builder = Connector::builder().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).proxy_config(ProxyConfig::from_env());
        Self { connector: Arc::new(builder.build()) }
    }

    /// Posts a body and waits for the whole answer, no longer than `patience`. Redirections are not followed.
    ///
    /// # Errors
    /// [`Unanswered`] when there is no answer in time, or none that can be read.
    pub async fn post(
        &self,
        url: &str,
        headers: &[(&'static str, String)],
        body: Vec<u8>,
        patience: Duration,
    ) -> Result<Answer, Unanswered> {
        let wrong = |why: String| Unanswered(why);
        let mut request = HttpRequest::new(SdkBody::from(body));
        request.set_method("POST").map_err(|error| wrong(error.to_string()))?;
        request.set_uri(url).map_err(|_| wrong("its URL cannot be called".to_owned()))?;
        for (name, value) in headers {
            request.headers_mut().try_insert(*name, value.clone()).map_err(|_| wrong(format!("the header {name} cannot be written")))?;
        }
        let call = async {
            let mut response = self.connector.call(request).await.map_err(|error| wrong(crate::connector::chain(&error)))?;
            let retry_after =
                response.headers().get("retry-after").and_then(|seconds| seconds.trim().parse().ok()).map(Duration::from_secs);
            let status = response.status().as_u16();
            let mut stream = ByteStream::new(response.take_body());
            let mut body = Vec::new();
            while let Some(part) = stream.next().await {
                let part = part.map_err(|error| wrong(crate::connector::chain(&error)))?;
                if body.len() + part.len() > MOST {
                    return Err(wrong("its answer is too long".to_owned()));
                }
                body.extend_from_slice(&part);
            }
            Ok(Answer { status, retry_after, body })
        };
        match tokio::time::timeout(patience, call).await {
            Ok(answer) => answer,
            Err(_) => Err(wrong(format!("no answer within {} s", patience.as_secs()))),
        }
    }
}
