//! Keeps the very bytes that AWS answered with: evidence that nothing of ours has retold.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_ec2::{
    Client,
    config::{ConfigBag, Intercept, RuntimeComponents, SharedInterceptor, interceptors::AfterDeserializationInterceptorContextRef},
    error::BoxError,
};
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;

/// The bodies of the answers since they were last taken.
#[derive(Debug, Clone, Default)]
pub(in crate::actions::ec2) struct Capture(Arc<Mutex<Vec<Vec<u8>>>>);

impl Capture {
    /// A client that works like this one and keeps what it is answered.
    pub fn listen(&self, client: &Client) -> Client {
        let mut config = client.config().to_builder();
        config.push_interceptor(SharedInterceptor::new(self.clone()));
        Client::from_conf(config.build())
    }

    /// What was answered since the last time.
    pub fn take(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[dyn_dispatch_hint]
impl Intercept for Capture {
    fn name(&self) -> &'static str {
        "Capture"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if context.output_or_error().is_ok()
            && let Some(bytes) = context.response().body().bytes()
        {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(bytes.to_vec());
        }
        Ok(())
    }
}
