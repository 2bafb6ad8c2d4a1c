//! Amazon EC2 and VPC.

pub mod block_source_in_nacl;
pub mod close_open_ingress;
mod controller;
pub mod cut_tracked_flows;
pub mod isolate_instance;
pub mod copy_snapshots;
pub mod instance_exposure;
pub mod detach_from_service;
mod look;
mod nacl;
pub mod disable_instance_metadata;
mod instance;
mod look;
mod profile;
pub mod protect_instance;
pub mod find_instance;
pub(super) mod look;
pub mod record_all;
pub mod swap_instance_profile;
pub mod reencrypt_snapshots;
pub mod share_snapshots;
pub mod snapshot_volumes;
mod snapshots;
