//! AWS Identity and Access Management.

pub mod contain_user;
pub mod deactivate_access_key;
mod look;
