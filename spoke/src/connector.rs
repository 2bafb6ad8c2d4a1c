//! What every call to AWS passes on its way out, once per attempt.
//!
//! One shared HTTP client does the sending. In front of it, a [`Metered`] connector asks: does the warrant behind a write session still
//! live, and does no freeze stop it? Is there a token for this class of calls in this account and Region? If not within [`PATIENCE`], nothing is sent, and the SDK
//! does not try again: the step goes back to its queue. The attempt is timed from the moment the token is spent until the whole answer is
//! there. Throttling lowers the rate of the bucket that the call was charged to.
//!
//! An attempt of a write session that got no usable answer is not repeated by the SDK: it may have happened. It is read back first.

use std::{fmt, sync::Arc, time::Duration};

use aws_smithy_http_client::{
    Builder, ConnectorBuilder,
    proxy::ProxyConfig,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        connector_metadata::ConnectorMetadata,
        http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector},
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::{RuntimeComponents, RuntimeComponentsBuilder},
    },
};
use aws_smithy_types::{body::SdkBody, byte_stream::ByteStream, config_bag::ConfigBag};
use cordon_shared::{
    clock::Clock,
    gate::Watch,
    id::{AccountId, CellId, Region},
};

use crate::limits::{Access, Charge, Class, Limits, PATIENCE, Service, asking};

/// How long `ReceiveMessage` may wait on the other side (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>).
const LONG_POLL: Duration = Duration::from_secs(20);

/// How much of an error's body is looked at for its code.
const CODE_WITHIN: usize = 4_096;

/// Error codes that mean throttling: the SDK's own list (`aws-runtime`, `retries/classifiers.rs`), and those of EC2 and Organizations.
pub(crate) const THROTTLING: &[&str] = &[
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottledException",
    "TooManyRequestsException",
    "ProvisionedThroughputExceededException",
    "TransactionInProgressException",
    "RequestLimitExceeded",
    "Client.RequestLimitExceeded",
    "BandwidthLimitExceeded",
    "RequestThrottled",
    "SlowDown",
    "PriorRequestNotComplete",
    "EC2ThrottledException",
];

/// Why an attempt came to nothing, by our own doing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There was no token for it: nothing was sent.
    #[error("no free call of {0} within {s} s", s = PATIENCE.as_secs())]
    NotSent(String),
    /// The warrant is used up or expired, the lease is lost, or the work is frozen: nothing was sent.
    #[error("{0}")]
    Stopped(String),
    /// It would change something, and its warrant only lets one look ([`Watch::only_looks`]): nothing was sent.
    #[error("a changing call, which is only looked at")]
    OnlyLooking,
    /// It was sent with a write session, there was no usable answer, and it must not be sent again unseen.
    #[error("it may have happened: {0}")]
    Unanswered(String),
    /// The answer did not come in time.
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
}

impl Refusal {
    /// As the SDK takes it: only a read that timed out may be tried again. `ConnectorError::user` is the kind that no retry classifier
    /// of the SDK acts on (`aws-smithy-runtime`, `client/retries/classifiers.rs`).
    fn into_error(self) -> ConnectorError {
        match self {
            Self::TimedOut(_) => ConnectorError::timeout(self.into()),
            Self::NotSent(_) | Self::Stopped(_) | Self::OnlyLooking | Self::Unanswered(_) => ConnectorError::user(self.into()),
        }
    }
}

/// The one HTTP client: hyper 1, rustls with AWS-LC, the platform's roots, the proxy of the environment; as the SDK's own default
/// (`aws-smithy-runtime`, `client/http.rs`), but one for all.
pub(crate) fn shared_client() -> SharedHttpClient {
    Builder::new().build_with_connector_fn(|settings, components| {
        let mut builder = ConnectorBuilder::default().tls_provider(Provider::Rustls(CryptoMode::AwsLc));
        builder.set_connector_settings(settings.cloned());
        if let Some(components) = components {
            builder.set_sleep_impl(components.sleep_impl());
        }
        builder.set_proxy_config(Some(ProxyConfig::from_env()));
        builder.build()
    })
}

/// What is measured, and against what.
pub(crate) struct Meter {
    pub(crate) limits: Limits,
    pub(crate) clock: Arc<dyn Clock>,
    /// Of the warrant behind a write session.
    pub(crate) watch: Option<Watch>,
    pub(crate) service: Service,
    pub(crate) access: Access,
    pub(crate) payer: AccountId,
    pub(crate) region: Region,
    /// The cell that is called, and in whose turn, unless it is on behalf of another.
    pub(crate) cell: CellId,
    pub(crate) attempt_timeout: Duration,
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Meter({} {:?} of {}/{} for {})", self.service, self.access, self.payer, self.region, self.cell)
    }
}

/// The shared client, metered.
#[derive(Debug)]
pub(crate) struct Metered {
    inner: SharedHttpClient,
    meter: Arc<Meter>,
}

impl Metered {
    pub(crate) fn new(inner: SharedHttpClient, meter: Meter) -> Self {
        Self { inner, meter: Arc::new(meter) }
    }
}

impl HttpClient for Metered {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(MeteredConnector {
            inner: self.inner.http_connector(settings, components),
            meter: Arc::clone(&self.meter),
        })
    }
    fn validate_base_client_config(&self, _: &RuntimeComponentsBuilder, _: &ConfigBag) -> Result<(), BoxError> {
        // The shared client would build a connector of its own for each SDK client here, and drop it.
        Ok(())
    }
    fn validate_final_config(&self, components: &RuntimeComponents, config: &ConfigBag) -> Result<(), BoxError> {
        HttpClient::validate_final_config(&self.inner, components, config)
    }
    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.inner.connector_metadata()
    }
}

#[derive(Debug)]
struct MeteredConnector {
    inner: SharedHttpConnector,
    meter: Arc<Meter>,
}

impl HttpConnector for MeteredConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (inner, meter) = (self.inner.clone(), Arc::clone(&self.meter));
        HttpConnectorFuture::new(async move { meter.attempt(&inner, request).await })
    }
}

impl Meter {
    fn stopped(&self) -> Result<(), ConnectorError> {
        if self.watch.as_ref().is_some_and(Watch::only_looks) {
            return Err(Refusal::OnlyLooking.into_error());
        }
        match self.watch.as_ref().and_then(|watch| watch.stopped(self.clock.now())) {
            Some(why) => Err(Refusal::Stopped(why.to_owned()).into_error()),
            None => Ok(()),
        }
    }

    /// A freeze of any process stops what has not left yet.
    async fn frozen(&self) -> Result<(), ConnectorError> {
        let Some(watch) = &self.watch else { return Ok(()) };
        match watch.frozen().await {
            Some(why) => Err(Refusal::Stopped(why).into_error()),
            None => Ok(()),
        }
    }

    async fn attempt(&self, inner: &SharedHttpConnector, mut request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        self.stopped()?;
        let path = request.uri_mut().path().to_owned();
        let class = Class::of(self.service, self.access, request.headers().get("x-amz-target"), &path);
        let charge =
            class.map(|class| Charge { payer: self.payer.clone(), region: self.region.clone(), class, asking: asking(&self.cell) });
        if let Some(charge) = &charge {
            let token = self.limits.take(charge, PATIENCE).await.ok_or_else(|| Refusal::NotSent(charge.to_string()).into_error())?;
            // The world may have changed while it waited; a token dropped here goes back.
            self.frozen().await?;
            self.stopped()?;
            token.spend();
        } else {
            self.frozen().await?;
        }
        let timeout = if self.service == Service::Sqs { self.attempt_timeout + LONG_POLL } else { self.attempt_timeout };
        let answer = match tokio::time::timeout(timeout, whole(inner.call(request))).await {
            Ok(answer) => answer,
            Err(_) => Err(Refusal::TimedOut(timeout).into_error()),
        };
        match answer {
            Ok((response, throttled)) => {
                if throttled && let Some(charge) = &charge {
                    tracing::debug!(%charge, "throttled");
                    self.limits.throttled(charge);
                }
                if self.access == Access::Write && response.status().is_server_error() && !throttled_by_code(&response) {
                    let status = response.status().as_u16();
                    let code = code_of(&response).unwrap_or_default();
                    return Err(Refusal::Unanswered(format!("status {status} {code}")).into_error());
                }
                Ok(response)
            }
            Err(error) if self.access == Access::Write => Err(Refusal::Unanswered(chain(&error)).into_error()),
            Err(error) => Err(error),
        }
    }
}

/// Waits for an answer and all of its body, and says whether it means throttling.
async fn whole(call: HttpConnectorFuture) -> Result<(HttpResponse, bool), ConnectorError> {
    let mut response = call.await?;
    let body = ByteStream::new(response.take_body()).collect().await.map_err(|error| ConnectorError::io(error.into()))?;
    *response.body_mut() = SdkBody::from(body.into_bytes());
    let throttled = matches!(response.status().as_u16(), 429 | 503) || throttled_by_code(&response);
    Ok((response, throttled))
}

fn throttled_by_code(response: &HttpResponse) -> bool {
    code_of(response).is_some_and(|code| THROTTLING.contains(&code))
}

/// The error code of an answer, whichever protocol it speaks: the header of REST-JSON, `"__type"` or `"code"` of JSON, `<Code>` of XML.
fn code_of(response: &HttpResponse) -> Option<&str> {
    let status = response.status().as_u16();
    if status < 400 {
        return None;
    }
    if let Some(header) = response.headers().get("x-amzn-errortype") {
        return Some(bare(header));
    }
    let body = response.body().bytes()?;
    let head = body.get(..CODE_WITHIN).unwrap_or(body);
    // Cut in the middle of a character at worst: what is before it counts.
    let text = std::str::from_utf8(head).or_else(|error| std::str::from_utf8(head.get(..error.valid_up_to()).unwrap_or_default())).ok()?;
    if let Some((_, rest)) = text.split_once("<Code>") {
        return rest.split_once("</Code>").map(|(code, _)| code.trim());
    }
    ["\"__type\"", "\"code\"", "\"Code\""].into_iter().find_map(|key| {
        let (_, rest) = text.split_once(key)?;
        let (_, rest) = rest.trim_start().strip_prefix(':')?.split_once('"')?;
        rest.split_once('"').map(|(code, _)| bare(code))
    })
}

/// `com.amazon.x#ThrottlingException:http://…` is `ThrottlingException`.
fn bare(code: &str) -> &str {
    let code = code.split_once(':').map_or(code, |(code, _)| code);
    code.rsplit_once('#').map_or(code, |(_, code)| code).trim()
}

/// An error and all its causes in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
pub(crate) mod tests;
