//! AWS CloudTrail: what a credential did.

pub mod date_tag;
pub mod list_chained_roles;
pub(in crate::actions) mod search;
mod summary;
#[cfg(test)]
mod tests;
pub mod trace_credentials;
pub mod trace_exposure;
