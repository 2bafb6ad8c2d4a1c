//! Amazon EC2 and VPC.

pub mod block_source_in_nacl;
pub mod close_open_ingress;
mod controller;
pub mod copy_snapshots;
mod look;
pub mod record_all;
pub mod reencrypt_snapshots;
pub mod share_snapshots;
pub mod snapshot_volumes;
mod snapshots;
