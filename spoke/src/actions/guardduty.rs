//! Amazon GuardDuty.

pub mod archive_finding;
