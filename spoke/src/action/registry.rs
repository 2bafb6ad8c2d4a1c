//! The list of actions, and actions without their types: parameters, `before` and outcomes as JSON.

use std::{collections::BTreeMap, sync::Arc};

use cordon_shared::{
    id::CellId,
    plan::{ChangeKey, Counts, Plan as Planned, Risk, Seat, Verdict},
    playbook::{ActionInfo, Catalogue},
};
use futures::future::BoxFuture;
use jiff::SignedDuration;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{ActionError, ApplyError, Change, Cx, Found, Plan, Probe, Progress, Undo, Write, params};
use crate::permission::{Bindings, Permission, PolicyError, Scope, write_policies};

/// An action of the catalogue.
#[derive(Clone)]
pub struct Action {
    /// `service.verb-noun`.
    pub name: &'static str,
    /// One line.
    pub about: &'static str,
    /// How much harm it can do.
    pub risk: Risk,
    /// Where it works.
    pub seat: Seat,
    /// What it reads with.
    pub reads: &'static [Permission],
    /// What it changes with.
    pub writes: &'static [Permission],
    /// Whether an undo of a whole incident leaves it as it is ([`Change::UNDO_ONLY_NAMED`]).
    pub undo_only_named: bool,
    /// What it counts as against budgets ([`Change::COUNTS`]).
    pub counts: &'static [Counts],
    /// JSON Schema of its parameters.
    pub schema: Value,
    /// The work itself.
    pub kind: Kind,
}

impl std::fmt::Debug for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Action").field("name", &self.name).field("risk", &self.risk).finish_non_exhaustive()
    }
}

/// A probe or a change.
#[derive(Clone)]
pub enum Kind {
    /// Reads.
    Probe(Arc<dyn DynProbe>),
    /// Changes.
    Change(Arc<dyn DynChange>),
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Probe(_) => "Probe",
            Self::Change(_) => "Change",
        })
    }
}

/// A probe without its types.
pub trait DynProbe: Send + Sync {
    /// As [`Probe::run`].
    fn run<'a>(&'a self, cx: Cx<'a>, with: &'a Value) -> BoxFuture<'a, Result<Found<Value>, ActionError>>;
}

/// A change without its types.
pub trait DynChange: Send + Sync {
    /// As [`Change::SETTLE`].
    fn settle(&self) -> SignedDuration;
    /// The session policies of the step's write sessions.
    ///
    /// # Errors
    /// Parameters that do not fit, and [`PolicyError`].
    fn policies(&self, cell: &CellId, with: &Value, before: &Value) -> Result<Result<Vec<Scope>, PolicyError>, ActionError>;
    /// As [`Change::bind`].
    ///
    /// # Errors
    /// Parameters that do not fit.
    fn bind(&self, with: &Value, before: &Value) -> Result<Bindings, ActionError>;
    /// As [`Change::plan`]; `before` is in the plan.
    fn plan<'a>(&'a self, cx: Cx<'a>, with: &'a Value) -> BoxFuture<'a, Result<Plan<Value>, ActionError>>;
    /// As [`Change::apply`].
    fn apply<'a>(
        &'a self,
        cx: Cx<'a>,
        write: Write<'a>,
        with: &'a Value,
        before: &'a Value,
    ) -> BoxFuture<'a, Result<Progress<Value, Value>, ApplyError>>;
    /// As [`Change::poll`].
    fn poll<'a>(
        &'a self,
        cx: Cx<'a>,
        with: &'a Value,
        before: &'a Value,
        ticket: &'a Value,
    ) -> BoxFuture<'a, Result<Progress<Value, Value>, ActionError>>;
    /// As [`Change::verify`].
    fn verify<'a>(&'a self, cx: Cx<'a>, with: &'a Value, before: &'a Value) -> BoxFuture<'a, Result<Verdict, ActionError>>;
    /// As [`Change::undo`].
    fn undo<'a>(
        &'a self,
        cx: Cx<'a>,
        write: Write<'a>,
        with: &'a Value,
        before: &'a Value,
        only: &'a [ChangeKey],
    ) -> BoxFuture<'a, Result<Undo, ApplyError>>;
}

struct Typed<A>(A);

fn json(action: &str, value: &impl Serialize) -> Result<Value, ActionError> {
    serde_json::to_value(value).map_err(|error| ActionError::Bug(format!("a value of `{action}` is no JSON: {error}")))
}

fn typed<T: DeserializeOwned>(action: &str, what: &str, value: &Value) -> Result<T, ActionError> {
    T::deserialize(value).map_err(|error| ActionError::Bug(format!("the journalled {what} of `{action}` cannot be read: {error}")))
}

impl<P: Probe> DynProbe for Typed<P> {
    fn run<'a>(&'a self, cx: Cx<'a>, with: &'a Value) -> BoxFuture<'a, Result<Found<Value>, ActionError>> {
        Box::pin(async move {
            let with = params::<P::Params>(P::NAME, with)?;
            let found = self.0.run(cx, &with).await?;
            Ok(Found { outcome: json(P::NAME, &found.outcome)?, evidence: found.evidence })
        })
    }
}

fn progress<T: Serialize, O: Serialize>(action: &str, progress: Progress<T, O>) -> Result<Progress<Value, Value>, ActionError> {
    Ok(match progress {
        Progress::Done(outcome) => Progress::Done(json(action, &outcome)?),
        Progress::Pending { ticket, after } => Progress::Pending { ticket: json(action, &ticket)?, after },
    })
}

impl<C: Change> DynChange for Typed<C> {
    fn settle(&self) -> SignedDuration {
        C::SETTLE
    }

    fn policies(&self, cell: &CellId, with: &Value, before: &Value) -> Result<Result<Vec<Scope>, PolicyError>, ActionError> {
        Ok(write_policies(C::WRITES, cell, &self.bind(with, before)?))
    }

    fn bind(&self, with: &Value, before: &Value) -> Result<Bindings, ActionError> {
        Ok(self.0.bind(&params(C::NAME, with)?, &typed(C::NAME, "before", before)?))
    }

    fn plan<'a>(&'a self, cx: Cx<'a>, with: &'a Value) -> BoxFuture<'a, Result<Plan<Value>, ActionError>> {
        Box::pin(async move {
            let with = params(C::NAME, with)?;
            Ok(match self.0.plan(cx, &with).await? {
                Plan::Ready { before, plan } => {
                    let before = json(C::NAME, &before)?;
                    Plan::Ready { plan: Planned { before: before.clone(), ..plan }, before }
                }
                Plan::Refuse { code, why } => Plan::Refuse { code, why },
                Plan::Moot { why } => Plan::Moot { why },
            })
        })
    }

    fn apply<'a>(
        &'a self,
        cx: Cx<'a>,
        write: Write<'a>,
        with: &'a Value,
        before: &'a Value,
    ) -> BoxFuture<'a, Result<Progress<Value, Value>, ApplyError>> {
        Box::pin(async move {
            let with = params(C::NAME, with).map_err(ActionError::from)?;
            let before = typed(C::NAME, "before", before)?;
            let done = self.0.apply(cx, write, &with, &before).await?;
            Ok(progress(C::NAME, done)?)
        })
    }

    fn poll<'a>(
        &'a self,
        cx: Cx<'a>,
        with: &'a Value,
        before: &'a Value,
        ticket: &'a Value,
    ) -> BoxFuture<'a, Result<Progress<Value, Value>, ActionError>> {
        Box::pin(async move {
            let with = params(C::NAME, with)?;
            let before = typed(C::NAME, "before", before)?;
            let ticket = typed(C::NAME, "ticket", ticket)?;
            progress(C::NAME, self.0.poll(cx, &with, &before, &ticket).await?)
        })
    }

    fn verify<'a>(&'a self, cx: Cx<'a>, with: &'a Value, before: &'a Value) -> BoxFuture<'a, Result<Verdict, ActionError>> {
        Box::pin(async move {
            let with = params(C::NAME, with)?;
            let before = typed(C::NAME, "before", before)?;
            self.0.verify(cx, &with, &before).await
        })
    }

    fn undo<'a>(
        &'a self,
        cx: Cx<'a>,
        write: Write<'a>,
        with: &'a Value,
        before: &'a Value,
        only: &'a [ChangeKey],
    ) -> BoxFuture<'a, Result<Undo, ApplyError>> {
        Box::pin(async move {
            let with = params(C::NAME, with).map_err(ActionError::from)?;
            let before = typed(C::NAME, "before", before)?;
            self.0.undo(cx, write, &with, &before, only).await
        })
    }
}

/// A change as an entry of the list of actions.
pub fn change<C: Change>(change: C) -> Action {
    Action {
        name: C::NAME,
        about: C::ABOUT,
        risk: C::RISK,
        seat: C::SEAT,
        reads: C::READS,
        writes: C::WRITES,
        undo_only_named: C::UNDO_ONLY_NAMED,
        counts: C::COUNTS,
        schema: cordon_shared::words::canonical(schemars::schema_for!(C::Params).to_value()),
        kind: Kind::Change(Arc::new(Typed(change))),
    }
}

/// A probe as an entry of the list of actions.
pub fn probe<P: Probe>(probe: P) -> Action {
    Action {
        name: P::NAME,
        about: P::ABOUT,
        risk: Risk::ReadOnly,
        seat: P::SEAT,
        reads: P::READS,
        writes: &[],
        undo_only_named: false,
        counts: &[],
        schema: cordon_shared::words::canonical(schemars::schema_for!(P::Params).to_value()),
        kind: Kind::Probe(Arc::new(Typed(probe))),
    }
}

/// A list that cannot be a catalogue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("two actions are named `{0}`")]
pub struct RegistryError(&'static str);

/// All actions by name.
#[derive(Debug, Clone, Default)]
pub struct Registry(BTreeMap<&'static str, Action>);

impl Registry {
    /// The catalogue of these actions.
    ///
    /// # Errors
    /// When two have one name.
    pub fn new(actions: impl IntoIterator<Item = Action>) -> Result<Self, RegistryError> {
        let mut registry = BTreeMap::new();
        for action in actions {
            let name = action.name;
            if registry.insert(name, action).is_some() {
                return Err(RegistryError(name));
            }
        }
        Ok(Self(registry))
    }
    /// The action with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Action> {
        self.0.get(name)
    }
    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Action> {
        self.0.values()
    }
}

impl Catalogue for Registry {
    fn action(&self, name: &str) -> Option<ActionInfo> {
        let action = self.get(name)?;
        let required: Vec<&str> =
            action.schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let properties = action.schema.get("properties").and_then(Value::as_object);
        let parameters = properties.into_iter().flatten().map(|(name, _)| (name.clone(), required.contains(&name.as_str()))).collect();
        Some(ActionInfo { parameters, is_change: matches!(action.kind, Kind::Change(_)) })
    }
    fn names(&self) -> Vec<String> {
        self.0.keys().map(|name| (*name).to_owned()).collect()
    }
}
