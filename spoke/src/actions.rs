//! The list of actions. A new one is a file below and a line here.

pub mod cloudtrail;
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
        change(ec2::close_open_ingress::CloseOpenIngress),
        change(ec2::block_source_in_nacl::BlockSourceInNacl),
        probe(logs::find_logins::FindLogins),
        probe(cloudtrail::trace_credentials::TraceCredentials),
        probe(cloudtrail::list_chained_roles::ListChainedRoles),
        probe(ec2::instance_exposure::InstanceExposure),
        change(securityhub::update_finding::UpdateFinding::default()),
    ]
}
