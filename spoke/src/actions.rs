//! The list of actions. A new one is a file below and a line here.

pub mod cloudtrail;
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
        probe(ec2::find_instance::FindInstance),
        change(ec2::close_open_ingress::CloseOpenIngress),
        change(ec2::block_source_in_nacl::BlockSourceInNacl),
        change(ec2::isolate_instance::IsolateInstance),
        change(ec2::cut_tracked_flows::CutTrackedFlows),
        change(ec2::protect_instance::ProtectInstance),
        change(ec2::disable_instance_metadata::DisableInstanceMetadata),
        change(ec2::swap_instance_profile::SwapInstanceProfile),
        change(ec2::snapshot_volumes::SnapshotVolumes),
        change(ec2::reencrypt_snapshots::ReencryptSnapshots),
        change(ec2::share_snapshots::ShareSnapshots),
        change(ec2::copy_snapshots::CopySnapshots),
        change(iam::deny_older_sessions::DenyOlderSessions),
        change(ec2::detach_from_service::DetachFromService),
        probe(logs::find_logins::FindLogins),
        change(iam::deactivate_access_key::DeactivateAccessKey),
        change(iam::contain_user::ContainUser),
        probe(cloudtrail::trace_credentials::TraceCredentials),
        probe(cloudtrail::list_chained_roles::ListChainedRoles),
        probe(ec2::instance_exposure::InstanceExposure),
        probe(cloudtrail::trace_exposure::TraceExposure),
        probe(securityhub::related_findings::RelatedFindings),
        change(securityhub::update_finding::UpdateFinding::default()),
        change(guardduty::archive_finding::ArchiveFinding),
    ]
}
