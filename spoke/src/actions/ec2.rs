//! Amazon EC2 and VPC.

pub mod block_source_in_nacl;
pub mod close_open_ingress;
mod controller;
pub mod cut_tracked_flows;
pub mod isolate_instance;
mod look;
mod nacl;
pub mod record_all;
