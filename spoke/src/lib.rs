//! Everything that speaks to AWS: sessions, limits, the connector, the actions and the IAM policies they add up to.
//! The only crate that names an `aws-sdk-*` crate; what it gives back are our own types.

pub mod action;
pub mod actions;
pub mod aws;
pub mod connector;
pub mod http;
pub mod limits;
pub mod permission;
pub mod session;
