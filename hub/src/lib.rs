//! The service in the security account: intake, organization, gate, drivers, journal, reports and the command line.

pub mod alarm;
pub mod audit;
pub mod cli;
pub mod config;
pub mod driver;
pub mod evidence;
pub mod incident;
pub mod infra;
pub mod intake;
pub mod journal;
pub mod notify;
pub mod org;
pub mod policy;
pub mod refused;
pub mod report;
pub mod secret;
pub mod serve;
pub mod setup;
pub mod show;
pub mod slack;
pub mod table;
pub mod text;
pub mod truth;
pub mod undo_preview;
