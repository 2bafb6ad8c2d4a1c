//! The tests of the whole: the architecture and the documentation, the lab itself, and Cordon in the lab.

#[path = "lab/arch.rs"]
mod arch;
#[path = "lab/golden.rs"]
mod golden;

#[path = "lab/bad_input.rs"]
mod bad_input;
#[path = "lab/corpus.rs"]
mod corpus;
#[path = "lab/demo.rs"]
mod demo;
#[path = "lab/drills.rs"]
mod drills;
#[path = "lab/machinery.rs"]
mod machinery;
#[path = "lab/respond.rs"]
mod respond;
#[path = "lab/serve.rs"]
mod serve;
#[path = "lab/snapshots.rs"]
mod snapshots;
#[path = "lab/sweep.rs"]
mod sweep;
#[path = "lab/undo.rs"]
mod undo;
