//! AWS Identity and Access Management.

pub mod deny_older_sessions;
