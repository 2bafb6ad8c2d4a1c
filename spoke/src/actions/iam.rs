//! AWS Identity and Access Management.

pub mod contain_user;
pub mod deactivate_access_key;
pub mod deny_older_sessions;
pub(crate) mod look;
