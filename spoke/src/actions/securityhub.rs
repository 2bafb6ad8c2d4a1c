//! AWS Security Hub, from the hub's seat.

pub mod update_finding;
