//! Evidence: what is kept for forensics. Content-addressed, so that keeping a thing twice is keeping it once.

use futures::future::BoxFuture;

/// Something worth keeping.
#[derive(Debug, Clone)]
pub struct Item {
    /// What it is, in one word: `finding`, `describe-instances`, `log-lines`, `before`.
    pub kind: String,
    /// What it is about: an ARN, a log group.
    pub about: String,
    /// The media type of the bytes (RFC 6838), `application/json`.
    pub media_type: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Evidence could not be kept. A step whose evidence cannot be kept holds.
#[derive(Debug, thiserror::Error)]
#[error("evidence cannot be kept: {0}")]
pub struct EvidenceError(pub String);

/// Where evidence goes.
pub trait Evidence: Send + Sync + std::fmt::Debug {
    /// Keeps an item and gives back its lower-case hexadecimal SHA-256; durable when the future is ready.
    fn put(&self, item: Item) -> BoxFuture<'_, Result<String, EvidenceError>>;
}
