//! Contain and prove: instances that attack, instances that were taken over, credentials that were stolen; what is cut, what is kept, what is
//! found out, and what an undo gives back.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail as tests do")]

#[path = "contain/actor.rs"]
mod actor;
#[path = "contain/compromised.rs"]
mod compromised;
#[path = "contain/credentials.rs"]
mod credentials;
#[path = "contain/intrusion.rs"]
mod intrusion;
#[path = "contain/look.rs"]
mod look;
