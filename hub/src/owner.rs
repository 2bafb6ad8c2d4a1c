//! The owner of what was changed: who that is, and telling them what, why, and how to ask for undo.
//!
//! - [`address`]: what a text names: an e-mail address, an id of Slack, or only a name.
//! - [`find`]: the owner, from the resource's tag, the account's, and the account's contact for security.
//! - [`letter`]: what they are told, as a pure function of a run.
//! - [`teller`]: notices of the outbox, sent to owners.
//!
//! All that names an owner is text of somebody in the member account, an attacker there included. It is read as an address or shown as a
//! name, never as markup, and no more of it than [`find::SHOWN`] characters.

pub mod address;
pub mod find;
pub mod letter;
mod teller;
mod told;

pub(crate) use teller::Teller;
pub use told::{OwnerTold, Told};

/// The destination's name in the outbox: by e-mail.
pub const MAIL: &str = "owner:e-mail";
/// The destination's name in the outbox: in Slack.
pub const SLACK: &str = "owner:slack";
