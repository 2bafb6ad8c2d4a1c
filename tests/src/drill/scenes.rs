//! The scenes. A new action needs one here: a [`World`] in a file below, and a line in [`scenes_of`].

mod finding;
mod flows;
mod guardduty;
mod ingress;
mod instance;
mod isolation;
mod nacl;
mod probes;
mod profile;
mod service;
mod sessions;
mod snapshots;
mod trail;
mod user;

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
    /// What it makes is evidence: its undo changes nothing.
    pub keeps: bool,
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
    let scene = |action, name, set| Scene { action, name, keeps: false, set, crowd: None };
    let all = [
        Scene {
            crowd: Some(ingress::crowd),
            ..scene(ingress::ACTION, "two groups of an instance, one with a wide range", ingress::instance)
        },
        scene(ingress::ACTION, "a group with ports, ranges and halves of the world", ingress::group),
        Scene { crowd: Some(nacl::crowd), ..scene(nacl::ACTION, "two sources, one of each family", nacl::sources) },
        scene(nacl::ACTION, "an ACL that is full of our blocks", nacl::full),
        Scene {
            crowd: Some(isolation::crowd),
            ..scene(isolation::ACTION, "four interfaces in two subnets of a VPC with both families", isolation::four)
        },
        scene(isolation::ACTION, "the way to Systems Manager is kept", isolation::keeping_ssm),
        Scene { crowd: Some(flows::crowd), ..scene(flows::ACTION, "two remotes, one of each family", flows::remotes) },
        scene(flows::ACTION, "timeouts that somebody had set", flows::set_before),
        scene(instance::PROTECT, "two volumes and a shutdown that terminates", instance::unprotected),
        scene(instance::PROTECT, "an instance that is protected in part", instance::protected_in_part),
        scene(instance::METADATA, "an instance with options of its own", instance::metadata),
        scene(profile::ACTION, "an instance with a profile, beside another", profile::instance),
        scene(service::ACTION, "a member of a group, in a target group and a classic balancer", service::detached),
        scene(service::ACTION, "standby at the minimum size, two ports", service::standby),
        Scene { crowd: Some(service::crowd), ..scene(service::ACTION, "targets by id and by address", service::by_address) },
        scene(finding::ACTION, "a finding that nobody has answered", finding::unanswered),
        scene(finding::ACTION, "a finding with a person's note", finding::noted),
        Scene { keeps: true, ..scene(snapshots::TAKE, "an instance with two volumes", snapshots::volumes) },
        Scene { keeps: true, ..scene(snapshots::REENCRYPT, "two snapshots under the AWS managed key", snapshots::encrypted) },
        Scene {
            crowd: Some(snapshots::private_crowd),
            ..scene(snapshots::SHARE, "a plain snapshot, and an encrypted one with its copy", snapshots::private)
        },
        Scene {
            keeps: true,
            crowd: Some(snapshots::shared_crowd),
            ..scene(snapshots::COPY, "two shared snapshots, one of them re-encrypted", snapshots::shared)
        },
        scene(user::KEY, "a key beside another that is active, of a user with a path", user::key),
        scene(user::KEY, "the only key of a user in quarantine", user::only_key),
        scene(user::CONTAIN, "a user with one of each", user::everything),
        scene(user::CONTAIN, "a user that takes no more managed policies", user::full),
        scene(sessions::ACTION, "an instance with a profile", sessions::instance),
        scene(sessions::ACTION, "a cut-off that is moved forward", sessions::moved),
        scene(sessions::ACTION, "a session of a role with a path", sessions::session),
        scene(guardduty::ARCHIVE, "a finding that nobody has archived", guardduty::open),
        scene(guardduty::ARCHIVE, "a finding of another Region than the step's", guardduty::far),
        scene(guardduty::RELATED, "an instance with two findings, one of them known", guardduty::related),
        scene(probes::RECORD, "an instance", probes::record),
        scene(probes::FIND, "an instance in another Region", probes::find),
        scene(probes::LOGINS, "a log with a login", probes::logins),
        scene(trail::TRACE, "a stolen key in the event history", trail::stolen_key),
        scene(trail::CHAINED, "the session of an instance", trail::chain),
        scene(trail::EXPOSURE, "an instance that the world reaches", trail::open),
        scene(trail::EXPOSURE, "an open rule and no way to the Internet", trail::shut),
        scene(trail::OPENED, "a rule that somebody opened", trail::opened),
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
