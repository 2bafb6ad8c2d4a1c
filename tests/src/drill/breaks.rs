//! What may happen to a call: the drill of an apply, or an undo, that breaks off at its nth call.

use cordon_spoke::action::{ApplyError, Undo};
use serde_json::Value;

use super::{Drill, Ground, Scene, World, Yard};
use crate::{
    LabError,
    gateway::{Action as Wrong, Fault, Match},
};

/// What happens to the nth call, and to those after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// AWS says no to it and to all after it.
    Denied,
    /// AWS fails at it and at all after it.
    Failing,
    /// It and all after it are throttled.
    Throttled,
    /// It never reaches AWS, nor does any after it: the process died before it.
    Before,
    /// It has its effect, the answer is lost, and none after it reaches AWS: the process died after it.
    After,
    /// It has its effect, and AWS says that it failed. Those after it are answered well.
    FalseFailure,
}

impl Break {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Denied, Self::Failing, Self::Throttled, Self::Before, Self::After, Self::FalseFailure];

    fn faults(self, at: u64) -> Vec<Fault> {
        let from = |action: Wrong| Fault::new(Match { write: Some(true), ..Match::default() }, action).from(at);
        let failing = Wrong::Deny { code: Some("InternalError".to_owned()), status: Some(500) };
        match self {
            Self::Denied => vec![from(Wrong::Deny { code: None, status: None })],
            Self::Failing => vec![from(failing)],
            Self::Throttled => vec![from(Wrong::Throttle)],
            Self::Before => vec![from(Wrong::DropBefore)],
            // The second fault does not see the call that the first one takes.
            Self::After => vec![from(Wrong::DropAfter).times(1), from(Wrong::DropBefore)],
            Self::FalseFailure => vec![from(Wrong::FailAfter).times(1)],
        }
    }
}

impl Ground {
    /// From now on the nth call that changes something breaks.
    fn break_at(&self, how: Break, at: u64) {
        self.lab.gateway.faults().clear();
        how.faults(at).into_iter().for_each(|fault| self.lab.gateway.faults().add(fault));
    }

    /// Nothing breaks any more. Whether something did.
    fn mend(&self) -> bool {
        let broke = self.lab.gateway.faults().list().iter().any(|fault| fault.done > 0);
        self.lab.gateway.faults().clear();
        broke
    }
}

/// What came of breaking a change at every call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Broken {
    /// How many calls of applies were broken.
    pub applies: u64,
    /// How many calls of undos were broken.
    pub undos: u64,
}

/// The worlds of a scene, one after the other: a world that is as it was found is used again.
struct Course<'a> {
    scene: &'a Scene,
    yard: &'a Yard,
    ground: &'a Ground,
    how: Break,
    world: Box<dyn World>,
    found: Value,
}

impl Scene {
    /// Breaks the change of a scene at each of its calls in turn, as `how` says: it recovers and ends as if nothing had happened, and its undo
    /// breaks and is begun again; and it is undone where it stands.
    ///
    /// # Errors
    /// The first time that it does not end as it should.
    pub async fn break_everywhere(&self, yard: &Yard, how: Break) -> Result<Broken, LabError> {
        let ground = Ground::new(yard)?;
        let world = self.set(yard).await?;
        let found = world.look().await?;
        let mut course = Course { scene: self, yard, ground: &ground, how, world, found };
        let after = course.nothing_breaks().await?;
        let mut broken = Broken::default();
        for at in 1.. {
            let told = |error: LabError| LabError::new(format!("{} ({}): {how:?} at call {at}: {error}", self.action, self.name));
            let (applied, undone) = course.recover_and_undo(at, &after).await.map_err(told)?;
            course.again().await?;
            let halfway = course.undo_halfway(at).await.map_err(told)?;
            course.again().await?;
            broken.applies += u64::from(applied);
            broken.undos += u64::from(undone);
            if !(applied || undone || halfway) {
                break;
            }
        }
        Ok(broken)
    }
}

impl Course<'_> {
    async fn begin(&self) -> Result<Drill<'_>, LabError> {
        let mut drill = Drill::begin(self.ground, self.world.as_ref(), self.scene.action).await?;
        drill.plan().await?;
        Ok(drill)
    }

    /// A world for the next round.
    async fn again(&mut self) -> Result<(), LabError> {
        if self.world.look().await? != self.found {
            self.world = self.scene.set(self.yard).await?;
            self.found = self.world.look().await?;
        }
        Ok(())
    }

    /// The state after a change that nothing breaks.
    async fn nothing_breaks(&mut self) -> Result<Value, LabError> {
        let mut drill = self.begin().await?;
        drill.apply().await?.map_err(|error| LabError::new(format!("{}: {error}", self.scene.action)))?;
        drill.recover().await?;
        let after = self.world.look().await?;
        undone(drill.undo().await?)?;
        self.as_found("undone without any break").await?;
        self.again().await?;
        Ok(after)
    }

    /// Broken, recovered, and as if nothing had happened; undone, broken, undone again, and as it was found. Whether the apply and the undo
    /// were broken.
    async fn recover_and_undo(&self, at: u64, after: &Value) -> Result<(bool, bool), LabError> {
        let mut drill = self.begin().await?;
        self.ground.break_at(self.how, at);
        let result = drill.apply().await?;
        let applied = self.ground.mend();
        if !applied && let Err(error) = &result {
            return Err(LabError::new(format!("it failed without a break: {error}")));
        }
        drill.recover().await.map_err(|error| LabError::new(format!("after {}: {error}", said(&result))))?;
        let now = self.world.look().await?;
        if now != *after {
            let why = format!("recovered after {}, it is not as if nothing had happened", said(&result));
            return Err(LabError::new(format!("{why}:\n  is     {now}\n  should {after}")));
        }
        self.ground.break_at(self.how, at);
        let first = drill.undo().await?;
        let undo = self.ground.mend();
        undone(drill.undo().await?).map_err(|error| LabError::new(format!("undo after an undo that ended with {first:?}: {error}")))?;
        self.as_found(&format!("undone again after an undo that ended with {first:?}")).await?;
        Ok((applied, undo))
    }

    /// Broken, given up, and undone.
    async fn undo_halfway(&self, at: u64) -> Result<bool, LabError> {
        let mut drill = self.begin().await?;
        self.ground.break_at(self.how, at);
        let result = drill.apply().await?;
        let broke = self.ground.mend();
        drill.give_up(&result).await?;
        undone(drill.undo().await?).map_err(|error| LabError::new(format!("undo after {}: {error}", said(&result))))?;
        self.as_found(&format!("undone after {}", said(&result))).await?;
        Ok(broke)
    }

    async fn as_found(&self, when: &str) -> Result<(), LabError> {
        let (found, now) = (&self.found, self.world.look().await?);
        if self.world.restored(found, &now) {
            return Ok(());
        }
        Err(LabError::new(format!("{when}, it is not as it was found:\n  is    {now}\n  found {found}")))
    }
}

fn said(result: &Result<Value, ApplyError>) -> String {
    match result {
        Ok(outcome) => format!("an apply that answered {outcome}"),
        Err(ApplyError { effect, error }) => format!("an apply that failed with `{error}`, effect {effect:?}"),
    }
}

fn undone(result: Result<Undo, ApplyError>) -> Result<(), LabError> {
    match result {
        Ok(Undo::Restored(_)) => Ok(()),
        Ok(Undo::ByHand(steps)) => Err(LabError::new(format!("it is left to a person, though nobody interfered: {steps:?}"))),
        Err(error) => Err(LabError::new(format!("the undo failed: {error}"))),
    }
}
