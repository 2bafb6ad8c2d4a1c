//! Ports to AWS services that the hub itself uses. They return our own types.

pub mod findings;
pub mod organization;
pub mod queue;
