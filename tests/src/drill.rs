//! Drills: what every action must stand, whatever it does.
//!
//! An action is drilled through the interfaces that the driver uses, with real sessions, through a gateway that enforces the trust of roles and
//! the policies of sessions, and with warrants of the real gate. What the drills cannot know by themselves is a **scene**: how a world is set
//! up in which the action has something to do, what it is asked, how the state of that world is read back, and what a bystander would do to
//! it. Worlds are set up and read back by the hand.
//!
//! An action without a scene cannot be drilled, which is a failure of its own ([`scenes_of`]).

mod breaks;
mod change;
mod ground;
mod permit;
mod scenes;

use cordon_shared::id::{CellId, IncidentId};
use futures::future::BoxFuture;
use serde_json::Value;

pub use breaks::{Break, Broken};
pub use change::Drill;
pub use ground::{Ground, MADE_UP_ACCOUNT, Yard};
pub use permit::Permit;
pub use scenes::{Scene, scenes_of};

use crate::LabError;

/// A call that a write session must be denied: service, operation and parameters as boto3 names them.
#[derive(Debug, Clone)]
pub struct Trespass {
    /// `ec2`.
    pub service: &'static str,
    /// `authorize_security_group_ingress`.
    pub operation: &'static str,
    /// Its parameters.
    pub params: Value,
}

/// A world of the lab in which an action has something to do.
pub trait World: Send + Sync + std::fmt::Debug {
    /// Where the action works.
    fn cell(&self) -> &CellId;

    /// Its parameters.
    fn with(&self) -> Value;

    /// The incident that it is drilled for, where the world carries its traces already; else a new one.
    fn run(&self) -> Option<IncidentId> {
        None
    }

    /// The whole state that it can change, read by the hand. The same state is the same value in every world of the scene.
    fn look(&self) -> BoxFuture<'_, Result<Value, LabError>>;

    /// Somebody else changes what the action has changed.
    fn drift(&self) -> BoxFuture<'_, Result<(), LabError>>;

    /// Whether the change of [`World::drift`] stands in a state.
    fn drifted(&self, state: &Value) -> bool;

    /// Whether a state is the one that was found, as far as it can be put back.
    fn restored(&self, found: &Value, now: &Value) -> bool {
        found == now
    }

    /// What the write session of the action must be denied.
    fn trespasses(&self) -> Vec<Trespass>;

    /// What is wrong about a probe's outcome.
    fn misses(&self, _outcome: &Value) -> Option<String> {
        None
    }
}
