//! AWS Security Hub, from the hub's seat.

pub mod related_findings;
pub mod update_finding;
