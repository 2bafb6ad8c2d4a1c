//! The list of actions. A new one is a file below and a line here.

pub mod ec2;
pub mod guardduty;
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
        probe(securityhub::related_findings::RelatedFindings),
        change(securityhub::update_finding::UpdateFinding::default()),
        change(guardduty::archive_finding::ArchiveFinding),
    ]
}
