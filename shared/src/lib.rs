//! Cordon's domain and its pure engine. No AWS SDK, no HTTP, no clock but its own trait.

pub mod arn;
pub mod authlog;
pub mod clock;
pub mod engine;
pub mod evidence;
pub mod expr;
pub mod finding;
pub mod freeze;
pub mod gate;
pub mod id;
pub mod intake;
pub mod journal;
pub mod managed;
pub mod mode;
pub mod notice;
pub mod optout;
pub mod page;
pub mod pattern;
pub mod plan;
pub mod playbook;
pub mod trail;
pub mod words;
