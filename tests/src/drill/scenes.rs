//! The scenes. A new action needs one here: a [`World`] in a file below, and a line in [`scenes_of`].

mod finding;
mod guardduty;
mod ingress;
mod nacl;
mod probes;

use cordon_shared::id::CellId;
use futures::future::BoxFuture;

use super::{World, Yard};
use crate::{
    LabError,
    organization::{Exposure, InstanceShape},
};

/// A world that is being set up.
pub(super) type Setting<'a> = BoxFuture<'a, Result<Box<dyn World>, LabError>>;

/// A scene: an action, and how a world for it is set up.
#[derive(Debug, Clone, Copy)]
pub struct Scene {
    /// The action.
    pub action: &'static str,
    /// What is special about the scene, in a few words.
    pub name: &'static str,
    set: for<'a> fn(&'a Yard) -> Setting<'a>,
    crowd: Option<for<'a> fn(&'a Yard, usize) -> Setting<'a>>,
}

impl Scene {
    /// Sets up a new world.
    ///
    /// # Errors
    /// The first call of the hand that failed.
    pub async fn set(&self, yard: &Yard) -> Result<Box<dyn World>, LabError> {
        let told = |error| LabError::new(format!("the scene `{}` of {} cannot be set: {error}", self.name, self.action));
        (self.set)(yard).await.map_err(told)
    }

    /// Sets up a world in which so many resources are to be changed at once. `None`: one step of this action never changes more than one.
    ///
    /// # Errors
    /// The first call of the hand that failed.
    pub async fn crowd(&self, yard: &Yard, size: usize) -> Result<Option<Box<dyn World>>, LabError> {
        match self.crowd {
            Some(crowd) => crowd(yard, size).await.map(Some),
            None => Ok(None),
        }
    }
}

/// The scenes of an action; none where nobody has written one.
#[must_use]
pub fn scenes_of(action: &str) -> Vec<Scene> {
    let scene = |action, name, set| Scene { action, name, set, crowd: None };
    let all = [
        Scene {
            crowd: Some(ingress::crowd),
            ..scene(ingress::ACTION, "two groups of an instance, one with a wide range", ingress::instance)
        },
        scene(ingress::ACTION, "a group with ports, ranges and halves of the world", ingress::group),
        Scene { crowd: Some(nacl::crowd), ..scene(nacl::ACTION, "two sources, one of each family", nacl::sources) },
        scene(nacl::ACTION, "an ACL that is full of our blocks", nacl::full),
        scene(finding::ACTION, "a finding that nobody has answered", finding::unanswered),
        scene(finding::ACTION, "a finding with a person's note", finding::noted),
        scene(guardduty::ARCHIVE, "a finding that nobody has archived", guardduty::open),
        scene(guardduty::ARCHIVE, "a finding of another Region than the step's", guardduty::far),
        scene(guardduty::RELATED, "an instance with two findings, one of them known", guardduty::related),
        scene(probes::RECORD, "an instance", probes::record),
        scene(probes::LOGINS, "a log with a login", probes::logins),
    ];
    all.into_iter().filter(|scene| scene.action == action).collect()
}

/// A cell by the names of its account and Region.
pub(super) fn cell(account: &str, region: &str) -> Result<CellId, LabError> {
    let wrong = || LabError::new(format!("{account}/{region} is no cell"));
    Ok(CellId::new(account.parse().map_err(|_| wrong())?, region.parse().map_err(|_| wrong())?))
}

/// An instance with a name that nothing else has, and an interface for each of these.
pub(super) fn shape(interfaces: Vec<Exposure>) -> InstanceShape {
    InstanceShape { name: format!("drill-{}", crate::accounts::fresh()), interfaces, tags: Vec::new() }
}
