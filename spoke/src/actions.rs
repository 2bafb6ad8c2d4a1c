//! The list of actions. A new one is a file below and a line here.

pub mod ec2;
pub mod iam;
pub mod logs;
pub mod securityhub;

use crate::action::{Action, change, probe};

/// Every action of Cordon.
#[must_use]
pub fn all() -> Vec<Action> {
    vec![
        probe(ec2::record_all::RecordAll),
        probe(ec2::find_instance::FindInstance),
        change(ec2::close_open_ingress::CloseOpenIngress),
        change(ec2::block_source_in_nacl::BlockSourceInNacl),
        change(iam::deny_older_sessions::DenyOlderSessions),
        probe(logs::find_logins::FindLogins),
        change(securityhub::update_finding::UpdateFinding::default()),
    ]
}
