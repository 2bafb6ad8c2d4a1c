//! Amazon EC2 and VPC.

pub mod block_source_in_nacl;
pub mod close_open_ingress;
mod controller;
pub mod copy_snapshots;
pub mod cut_tracked_flows;
pub mod detach_from_service;
pub mod disable_instance_metadata;
pub mod find_instance;
mod instance;
pub mod instance_exposure;
pub mod isolate_instance;
pub(super) mod look;
mod nacl;
mod profile;
pub mod protect_instance;
pub mod record_all;
pub mod reencrypt_snapshots;
pub mod share_snapshots;
pub mod snapshot_volumes;
mod snapshots;
pub mod swap_instance_profile;
