//! `cordon respond` and `cordon plan`: what an attack on an instance leads to, in AWS, in what is printed and in what is kept.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail as tests do")]

#[path = "respond/again.rs"]
mod again;
#[path = "respond/ask.rs"]
mod ask;
#[path = "respond/confirm.rs"]
mod confirm;
#[path = "respond/flagship.rs"]
mod flagship;
#[path = "respond/holds.rs"]
mod holds;
#[path = "respond/ignored.rs"]
mod ignored;
#[path = "respond/kept.rs"]
mod kept;
#[path = "respond/kill.rs"]
mod kill;
#[path = "respond/neighbours.rs"]
mod neighbours;
#[path = "respond/opt_out.rs"]
mod opt_out;
#[path = "respond/opt_out_new.rs"]
mod opt_out_new;
#[path = "respond/plan.rs"]
mod plan;
#[path = "respond/record.rs"]
mod record;
#[path = "respond/world.rs"]
pub(crate) mod world;
