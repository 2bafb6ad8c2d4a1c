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
pub mod org;
pub mod refused;
pub mod report;
pub mod serve;
pub mod setup;
pub mod show;
pub mod table;
pub mod text;
