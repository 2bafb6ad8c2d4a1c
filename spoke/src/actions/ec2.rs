//! Amazon EC2 and VPC.

pub mod block_source_in_nacl;
pub mod close_open_ingress;
mod controller;
pub mod disable_instance_metadata;
mod instance;
mod look;
mod profile;
pub mod protect_instance;
pub mod record_all;
pub mod swap_instance_profile;
