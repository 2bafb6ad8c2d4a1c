//! The journal on disk: SQLite in the state directory, one writer thread, read-only connections beside it.
//!
//! The rules are in [`cordon_shared::journal`]; here is only how they are kept: which transaction a piece of work runs in, when it is
//! durable, who may drive, and how the whole is shown to be untouched. Several processes may have the same journal open. Each may read it and
//! append requests; only the holder of the lease drives incidents.

mod adopt;
pub mod anchor;
mod freezes;
pub mod lease;
pub mod outbox;
pub mod pages;
mod proofs;
pub mod queries;
mod read;
pub mod requests;
pub(crate) mod rows;
mod sightings;
pub mod sqlite;
mod told;
mod tx;
mod writer;

pub use anchor::Anchor;
pub use lease::LeaseError;
pub use queries::{FindRunError, RunFilter, StateCount};
pub use requests::{Answer, OpenRequest, Request};
pub use sqlite::SqliteStore;

#[cfg(test)]
mod conformance_tests;
#[cfg(test)]
mod conformance_told_tests;
#[cfg(test)]
mod lease_tests;
#[cfg(test)]
mod sqlite_tests;
#[cfg(test)]
pub(crate) mod testing;
