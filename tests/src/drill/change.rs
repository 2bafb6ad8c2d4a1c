//! One change, taken through its life as the driver takes it: plan, apply, tickets, read back, recovery, undo.

use std::{sync::Arc, time::Duration};

use cordon_hub::undo_preview::{AttributePreview, fates};
use cordon_shared::{
    id::IncidentId,
    plan::{ChangeKey, Plan, StepKey, Verdict},
};
use cordon_spoke::{
    action::{Action, ApplyError, DynChange, Kind, Plan as Planned, Progress, Undo, Write},
    permission::Scope,
    session::Clients,
};
use futures::future::BoxFuture;
use serde_json::Value;

use super::{Ground, Permit, World};
use crate::{
    LabError,
    gateway::{Call, Ledger},
};

/// How often a change is applied again before it counts as one that does not come to rest.
const TRIES: usize = 6;
/// How often a slow change is asked after.
const POLLS: usize = 200;
/// How long a drill waits between two questions, whatever the action says: the lab is not slow.
const POLL: Duration = Duration::from_millis(100);

/// A change in a world.
pub struct Drill<'a> {
    ground: &'a Ground,
    world: &'a dyn World,
    /// The action.
    pub action: Action,
    change: Arc<dyn DynChange>,
    read: Clients,
    permit: Permit,
    with: Value,
    plan: Option<Plan>,
}

impl std::fmt::Debug for Drill<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Drill").field("action", &self.action).field("world", &self.world).finish_non_exhaustive()
    }
}

impl<'a> Drill<'a> {
    /// A change that has not begun.
    ///
    /// # Errors
    /// When the action is none that changes something, or a session cannot be opened.
    pub async fn begin(ground: &'a Ground, world: &'a dyn World, action: &str) -> Result<Self, LabError> {
        let action = ground.action(action)?.clone();
        let Kind::Change(change) = &action.kind else { return Err(LabError::new(format!("{} only reads", action.name))) };
        let change = Arc::clone(change);
        let read = ground.read(&action, world.cell()).await?;
        let permit = Permit::open_as(&action, world.cell(), world.run()).await?;
        Ok(Self { ground, world, change, read, permit, with: world.with(), plan: None, action })
    }

    fn wrong(&self, what: impl std::fmt::Display) -> LabError {
        LabError::new(format!("{}: {what}", self.action.name))
    }

    fn run(&self) -> (IncidentId, StepKey) {
        (self.permit.run(), self.permit.step().clone())
    }

    /// Plans, without keeping the plan.
    ///
    /// # Errors
    /// When the plan fails.
    pub async fn look(&self) -> Result<Planned<Value>, LabError> {
        let (run, step) = self.run();
        let cx = self.ground.cx(self.world.cell(), &self.read, run, &step);
        self.change.plan(cx, &self.with).await.map_err(|error| self.wrong(format!("the plan failed: {error}")))
    }

    /// Plans, and keeps the plan for all that follows.
    ///
    /// # Errors
    /// When there is nothing to change, or a person would have to be asked: then the scene is no scene.
    pub async fn plan(&mut self) -> Result<Plan, LabError> {
        match self.look().await? {
            Planned::Ready { plan, .. } if plan.changes.is_empty() => Err(self.wrong("the plan changes nothing")),
            Planned::Ready { plan, .. } if plan.ask.is_some() => Err(self.wrong(format!("the plan asks: {:?}", plan.ask))),
            Planned::Ready { plan, .. } => {
                self.plan = Some(plan.clone());
                Ok(plan)
            }
            other => Err(self.wrong(format!("there is no plan: {other:?}"))),
        }
    }

    fn planned(&self) -> Result<&Plan, LabError> {
        self.plan.as_ref().ok_or_else(|| self.wrong("it was not planned"))
    }

    /// The session policies for a plan, one for each write session.
    ///
    /// # Errors
    /// When the action cannot say what it would change, or it does not fit into the sessions of one step.
    pub fn policies(&self, plan: &Plan) -> Result<Vec<Scope>, LabError> {
        let policies = self.change.policies(self.world.cell(), &self.with, &plan.before);
        policies.map_err(|error| self.wrong(error))?.map_err(|error| self.wrong(error))
    }

    /// The digest that a yes to a plan is bound to.
    #[must_use]
    pub fn digest(&self, plan: &Plan) -> String {
        plan.digest(self.action.name, &self.with)
    }

    /// Applies the plan with a warrant of its own, and follows tickets to their end.
    ///
    /// # Errors
    /// When the gate says no or a session cannot be opened. A change that fails is the inner error.
    pub async fn apply(&mut self) -> Result<Result<Value, ApplyError>, LabError> {
        let plan = self.planned()?.clone();
        let scopes = self.policies(&plan)?;
        let warrant = self.permit.to_apply(&self.with, &plan).await?;
        let cell = self.world.cell();
        let parts = self.ground.write(&self.action, cell, scopes, &self.permit, &warrant).await?;
        let Some((_, aws)) = parts.first() else { return Err(self.wrong("no write session")) };
        let (run, step) = self.run();
        let cx = self.ground.cx(cell, &self.read, run, &step);
        let mut progress = match self.change.apply(cx, Write { aws, parts: &parts, warrant: &warrant }, &self.with, &plan.before).await {
            Ok(progress) => progress,
            Err(error) => return Ok(Err(error)),
        };
        drop((parts, warrant));
        for _ in 0..POLLS {
            match progress {
                Progress::Done(outcome) => return Ok(Ok(outcome)),
                Progress::Pending { ticket, .. } => {
                    tokio::time::sleep(POLL).await;
                    progress = match self.change.poll(cx, &self.with, &plan.before, &ticket).await {
                        Ok(progress) => progress,
                        Err(error) => return Ok(Err(error.into())),
                    };
                }
            }
        }
        Err(self.wrong("it does not come to an end"))
    }

    /// Applies once more what was applied already, as after an answer that was lost.
    ///
    /// # Errors
    /// As [`Drill::apply`].
    pub async fn apply_again(&mut self) -> Result<Result<Value, ApplyError>, LabError> {
        self.permit.not_in_effect("the answer was lost").await?;
        self.apply().await
    }

    /// Reads back.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn verify(&self) -> Result<Verdict, LabError> {
        let (run, step) = self.run();
        let cx = self.ground.cx(self.world.cell(), &self.read, run, &step);
        let verdict = self.change.verify(cx, &self.with, &self.planned()?.before).await;
        verdict.map_err(|error| self.wrong(format!("it cannot be read back: {error}")))
    }

    /// Reads back, and applies again until it is in effect. Gives how often it was applied again.
    ///
    /// # Errors
    /// When somebody else changed it, or it does not come into effect.
    pub async fn recover(&mut self) -> Result<usize, LabError> {
        let mut last = String::new();
        for again in 0..TRIES {
            match self.verify().await? {
                Verdict::InEffect => {
                    self.permit.in_effect().await?;
                    return Ok(again);
                }
                Verdict::Drifted { detail } => {
                    return Err(self.wrong(format!("recovery takes its own half-done work for somebody else's: {detail} (before: {last})")));
                }
                Verdict::NotInEffect { detail } => {
                    self.permit.not_in_effect(&detail).await?;
                    let result = self.apply().await?;
                    last = result.err().map_or(detail, |error| error.to_string());
                }
            }
        }
        Err(self.wrong(format!("it does not come into effect: {last}")))
    }

    /// The apply broke off for good.
    ///
    /// # Errors
    /// When the journal refuses it.
    pub async fn give_up(&mut self, result: &Result<Value, ApplyError>) -> Result<(), LabError> {
        match result {
            Ok(_) => self.permit.in_effect().await,
            Err(error) => self.permit.stuck(error.effect, &error.to_string()).await,
        }
    }

    /// What an undo of all of it would do, as the hub's preview tells it.
    ///
    /// # Errors
    /// When it was not planned.
    pub async fn preview(&self) -> Result<Vec<AttributePreview>, LabError> {
        let plan = self.planned()?;
        let (warrant, keys) = self.permit.to_preview();
        let clients = self.ground.looking(&self.action, &self.read, &warrant)?;
        let (run, step) = self.run();
        let cx = self.ground.cx(self.world.cell(), &self.read, run, &step);
        let write = Write { aws: &clients, parts: &[], warrant: &warrant };
        let undo = |only: Vec<ChangeKey>| -> BoxFuture<'_, Result<Undo, ApplyError>> {
            Box::pin(async move { self.change.undo(cx, write, &self.with, &plan.before, &only).await })
        };
        Ok(fates(&keys, &plan.changes, undo).await)
    }

    /// The calls to STS since a mark.
    #[must_use]
    pub fn sessions(&self, mark: u64) -> usize {
        self.ground.lab.gateway.ledger().since(mark).iter().filter(|call| call.service == "sts").count()
    }

    /// Undoes all of it. Called again, it is the undo of a process that found one without an end.
    ///
    /// # Errors
    /// When the gate says no or a session cannot be opened. An undo that fails is the inner error.
    pub async fn undo(&mut self) -> Result<Result<Undo, ApplyError>, LabError> {
        let plan = self.planned()?.clone();
        let scopes = self.policies(&plan)?;
        let (warrant, only): (_, Vec<ChangeKey>) = self.permit.to_undo().await?;
        let cell = self.world.cell();
        let parts = self.ground.write(&self.action, cell, scopes, &self.permit, &warrant).await?;
        let Some((_, aws)) = parts.first() else { return Err(self.wrong("no write session")) };
        let (run, step) = self.run();
        let cx = self.ground.cx(cell, &self.read, run, &step);
        Ok(self.change.undo(cx, Write { aws, parts: &parts, warrant: &warrant }, &self.with, &plan.before, &only).await)
    }

    /// The calls since a mark in the gateway's ledger, sessions left out.
    #[must_use]
    pub fn calls(&self, mark: u64) -> Vec<Call> {
        since(self.ground.lab.gateway.ledger(), mark)
    }

    /// What is wrong with calls of plan, poll and verify: one that changes something, is none of those that the action says it reads with,
    /// or was denied.
    #[must_use]
    pub fn not_reads(&self, calls: &[Call]) -> Vec<String> {
        not_reads(&self.action, calls)
    }

    /// What is wrong with the calls that change something: one that the action does not say it changes with, or whose session was not narrowed to
    /// the plan.
    #[must_use]
    pub fn not_writes(&self, calls: &[Call]) -> Vec<String> {
        let mut wrong = Vec::new();
        for call in calls.iter().filter(|call| call.write) {
            if !self.action.writes.iter().any(|permission| permission.action == call.permission()) {
                wrong.push(format!("{} is not among WRITES", call.permission()));
            }
            let Some(decision) = &call.decision else {
                wrong.push(format!("{} was made with rights that nothing narrows", call.permission()));
                continue;
            };
            if !decision.allowed {
                wrong.push(format!("{} was denied: {}", call.permission(), decision.reason));
            }
            let narrowed = |policy: &Value| !policy.to_string().contains("\"*\"");
            if decision.session.is_empty() || !decision.session.iter().all(narrowed) {
                wrong.push(format!("{}: the session's policy is not narrowed: {:?}", call.permission(), decision.session));
            }
        }
        wrong
    }
}

/// The calls since a mark, sessions left out.
pub(super) fn since(ledger: &Ledger, mark: u64) -> Vec<Call> {
    ledger.since(mark).into_iter().filter(|call| call.service != "sts").collect()
}

/// As [`Drill::not_reads`].
pub(super) fn not_reads(action: &Action, calls: &[Call]) -> Vec<String> {
    let mut wrong = Vec::new();
    for call in calls {
        if call.write {
            wrong.push(format!("{} changes something", call.permission()));
        }
        if !action.reads.iter().any(|permission| permission.action == call.permission()) {
            wrong.push(format!("{} is not among READS", call.permission()));
        }
        if let Some(denied) = call.decision.as_ref().filter(|decision| !decision.allowed) {
            wrong.push(format!("{} was denied: {}", call.permission(), denied.reason));
        }
    }
    wrong
}
