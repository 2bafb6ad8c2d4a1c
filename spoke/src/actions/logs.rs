//! Amazon CloudWatch Logs.

pub mod find_logins;
pub(in crate::actions) mod horizon;
