//! The tests of the whole: the architecture and the documentation, the lab itself, and Cordon in the lab.

#[path = "lab/arch.rs"]
mod arch;
#[path = "lab/golden.rs"]
mod golden;
