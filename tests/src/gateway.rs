//! The gateway between Cordon and moto.

use crate::LabError;

/// What a gateway does besides recording.
#[derive(Debug, Clone, Default)]
pub struct GatewayOptions {}

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    upstream: String,
}

impl Gateway {
    /// Starts a gateway before the server at this address.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn start(upstream: &str, _options: GatewayOptions) -> Result<Self, LabError> {
        Ok(Self { upstream: upstream.to_owned() })
    }

    /// Its address.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.upstream.clone()
    }
}
