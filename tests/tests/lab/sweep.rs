//! `cordon sweep`: the backlog of a whole organization, in waves, with a stop-loss, interrupted and gone on with.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail as tests do")]

#[path = "sweep/apart.rs"]
mod apart;
#[path = "sweep/backlog.rs"]
mod backlog;
#[path = "sweep/field.rs"]
mod field;
#[path = "sweep/told.rs"]
mod told;
#[path = "sweep/waves.rs"]
mod waves;
