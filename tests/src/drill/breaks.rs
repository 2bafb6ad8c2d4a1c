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

struct Course<'a> {
    scene: &'a Scene,
    yard: &'a Yard,
    ground: &'a Ground,
    how: Break,
    /// The state after a change that nothing broke.
    after: Value,
}

impl Scene {
    /// Breaks the change of a scene at each of its calls in turn, as `how` says, three times: it recovers and ends as if nothing had happened; it is
    /// undone where it stands; it is undone, and the undo breaks and is begun again.
    ///
    /// # Errors
    /// The first time that it does not end as it should.
    pub async fn break_everywhere(&self, yard: &Yard, how: Break) -> Result<Broken, LabError> {
        let ground = Ground::new(yard)?;
        let world = self.set(yard).await?;
        let mut drill = Drill::begin(&ground, world.as_ref(), self.action).await?;
        let found = world.look().await?;
        drill.plan().await?;
        drill.apply().await?.map_err(|error| LabError::new(format!("{}: {error}", self.action)))?;
        drill.recover().await?;
        let after = world.look().await?;
        undone(drill.undo().await?)?;
        same_as_found(world.as_ref(), &found, "undone without any break").await?;
        let course = Course { scene: self, yard, ground: &ground, how, after };
        let mut broken = Broken::default();
        for at in 1.. {
            let place = format!("{} ({}): {how:?} at call {at}", self.action, self.name);
            let told = |error: LabError| LabError::new(format!("{place}: {error}"));
            let one = course.apply_and_recover(at).await.map_err(told)?;
            let two = course.apply_and_undo(at).await.map_err(told)?;
            let three = course.undo_and_undo(at).await.map_err(told)?;
            broken.applies += u64::from(one);
            broken.undos += u64::from(three);
            if !(one || two || three) {
                break;
            }
        }
        Ok(broken)
    }
}

impl Course<'_> {
    async fn world(&self) -> Result<Box<dyn World>, LabError> {
        self.scene.set(self.yard).await
    }

    /// Broken, recovered, and as if nothing had happened.
    async fn apply_and_recover(&self, at: u64) -> Result<bool, LabError> {
        let world = self.world().await?;
        let mut drill = Drill::begin(self.ground, world.as_ref(), self.scene.action).await?;
        drill.plan().await?;
        self.ground.break_at(self.how, at);
        let result = drill.apply().await?;
        let broke = self.ground.mend();
        if !broke && let Err(error) = &result {
            return Err(LabError::new(format!("it failed without a break: {error}")));
        }
        drill.recover().await.map_err(|error| LabError::new(format!("after {}: {error}", said(&result))))?;
        let now = world.look().await?;
        if now != self.after {
            return Err(LabError::new(format!(
                "recovered after {}, it is not as if nothing had happened:\n  is     {now}\n  should {}",
                said(&result),
                self.after
            )));
        }
        Ok(broke)
    }

    /// Broken, given up, and undone.
    async fn apply_and_undo(&self, at: u64) -> Result<bool, LabError> {
        let world = self.world().await?;
        let found = world.look().await?;
        let mut drill = Drill::begin(self.ground, world.as_ref(), self.scene.action).await?;
        drill.plan().await?;
        self.ground.break_at(self.how, at);
        let result = drill.apply().await?;
        let broke = self.ground.mend();
        drill.give_up(&result).await?;
        undone(drill.undo().await?).map_err(|error| LabError::new(format!("undo after {}: {error}", said(&result))))?;
        same_as_found(world.as_ref(), &found, &format!("undone after {}", said(&result))).await?;
        Ok(broke)
    }

    /// Applied, its undo broken, and undone again.
    async fn undo_and_undo(&self, at: u64) -> Result<bool, LabError> {
        let world = self.world().await?;
        let found = world.look().await?;
        let mut drill = Drill::begin(self.ground, world.as_ref(), self.scene.action).await?;
        drill.plan().await?;
        drill.apply().await?.map_err(|error| LabError::new(error.to_string()))?;
        drill.recover().await?;
        self.ground.break_at(self.how, at);
        let first = drill.undo().await?;
        let broke = self.ground.mend();
        undone(drill.undo().await?).map_err(|error| LabError::new(format!("undo after an undo that ended with {first:?}: {error}")))?;
        same_as_found(world.as_ref(), &found, &format!("undone again after an undo that ended with {first:?}")).await?;
        Ok(broke)
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

async fn same_as_found(world: &dyn World, found: &Value, when: &str) -> Result<(), LabError> {
    let now = world.look().await?;
    if world.restored(found, &now) {
        return Ok(());
    }
    Err(LabError::new(format!("{when}, it is not as it was found:\n  is    {now}\n  found {found}")))
}
