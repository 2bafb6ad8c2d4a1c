//! Cordon's domain and its pure engine. No AWS SDK, no HTTP, no clock but its own trait.

pub mod arn;
pub mod finding;
pub mod id;
