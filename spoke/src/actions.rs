//! The list of actions. A new one is a file below and a line here.

pub mod ec2;
pub mod logs;
pub mod securityhub;

use crate::action::{Action, AsChange, AsProbe, action_of};

/// Every action of Cordon.
#[must_use]
pub fn all() -> Vec<Action> {
    vec![
        action_of(AsProbe(ec2::record_all::RecordAll)),
        action_of(AsChange(ec2::close_open_ingress::CloseOpenIngress)),
        action_of(AsChange(ec2::block_source_in_nacl::BlockSourceInNacl)),
        action_of(AsProbe(logs::find_logins::FindLogins)),
        action_of(AsChange(securityhub::update_finding::UpdateFinding::default())),
    ]
}
