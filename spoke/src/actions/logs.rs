//! Amazon CloudWatch Logs.

pub mod find_logins;
