//! Who takes part in the demo: instances and groups all over the organization, and what the services of AWS find about them.

use std::net::IpAddr;

use futures::future::try_join_all;
use serde_json::Value;

use crate::{
    LabError, Organization, Standing,
    hand::Credentials,
    organization::{
        Instance, InstanceShape, OPT_OUT, OpenGroup,
        credential::{Stolen, misuse},
        finding::{Part, brute_force, event, sample},
        trail::Caller,
        user::{User, UserShape},
    },
};

/// What an instance is there to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scene {
    /// It is attacked, nobody gets in.
    Attacked,
    /// It is attacked, and somebody gets in.
    Entered,
    /// It is attacked and opted out by its tag.
    OptedOut,
    /// Its account is opted out.
    AccountOptedOut,
    /// Its account has no spoke role.
    WithoutRole,
    /// It attacks others.
    Attacker,
}

/// An instance of the demo.
#[derive(Debug, Clone)]
pub(super) struct Actor {
    pub role: Scene,
    pub instance: Instance,
    /// The address on the other side.
    pub other: &'static str,
}

/// Everybody.
#[derive(Debug)]
pub(super) struct Stage {
    pub cast: Vec<Actor>,
    pub groups: Vec<OpenGroup>,
    /// A user whose key somebody else uses, and who has another one.
    pub user: User,
    /// The attacker's credentials of the instance that is entered, as its metadata service handed them out.
    pub stolen: Credentials,
}

/// From where the stolen key is used.
pub(super) const THIEF: &str = "203.0.113.9";
/// The one who gets in, as whom.
pub(super) const INTRUDER: &str = "ec2-user";

/// The user who opened the port four days before.
pub(super) const OPENER: &str = "ci";

impl Stage {
    /// Makes everybody, at the same time.
    pub(super) async fn set(organization: &Organization, endpoint: &str) -> Result<Self, LabError> {
        let home = organization.home.as_str();
        let away = organization.regions.last().map_or(home, String::as_str);
        let place = |role: Scene| -> Result<(&str, &str), LabError> {
            Ok(match role {
                Scene::Attacked | Scene::OptedOut => (&organization.ordinary(0)?.account, home),
                Scene::Entered => (&organization.ordinary(1)?.account, away),
                Scene::Attacker => (&organization.ordinary(2)?.account, home),
                Scene::AccountOptedOut => (&organization.member(Standing::OptedOut)?.account, home),
                Scene::WithoutRole => (&organization.member(Standing::WithoutRole)?.account, home),
            })
        };
        let parts = [
            (Scene::Attacked, "web-1", "198.51.100.23"),
            (Scene::Entered, "db-1", "203.0.113.77"),
            (Scene::OptedOut, "batch-1", "198.51.100.23"),
            (Scene::AccountOptedOut, "bench-1", "198.51.100.23"),
            (Scene::WithoutRole, "legacy-1", "198.51.100.23"),
            (Scene::Attacker, "worker-1", "192.0.2.44"),
        ];
        let make = async |(role, name, other): (Scene, &str, &'static str)| {
            let (account, region) = place(role)?;
            let mut shape = InstanceShape::named(name);
            if role == Scene::OptedOut {
                shape = shape.tagged(OPT_OUT, "true");
            }
            let instance = organization.instance(account, region, &shape).await?;
            let user = (role == Scene::Entered).then_some(INTRUDER);
            if role != Scene::Attacker {
                organization.log_attack(&instance, other, user).await?;
            }
            if role == Scene::Entered {
                organization.role_that_works(&instance).await?;
                organization.in_the_internet(&instance).await?;
                let opener = Caller::user(account, OPENER, "AKIALABCI00000000001", "192.0.2.200");
                organization.opened_by(&instance, &opener, 4 * 86_400).await?;
            }
            Ok::<_, LabError>(Actor { role, instance, other })
        };
        let make = &make;
        let fourth = &organization.ordinary(3)?.account;
        let groups = async {
            let (one, two) = futures::try_join!(organization.open_groups(fourth, home, 2), organization.open_groups(fourth, away, 2))?;
            Ok::<_, LabError>(one.into_iter().chain(two).collect())
        };
        let shape = UserShape { keys: 2, ..UserShape::default() };
        let user = organization.user(&organization.ordinary(2)?.account, &shape);
        let (cast, groups, user) = futures::try_join!(try_join_all(parts.map(make)), groups, user)?;
        let entered = cast.iter().find(|actor| actor.role == Scene::Entered).ok_or_else(|| LabError::new("nobody is entered"))?;
        let stolen = organization.issued(&entered.instance, endpoint).await?;
        let role = organization.role_of(&entered.instance);
        let by_instance = Caller::session(&entered.instance.account, role, &entered.instance.id, &stolen.access_key, entered.other);
        let by_user = Caller::user(&user.account, &user.name, user.key(0), THIEF);
        organization.recorded(&by_instance.abuse(away, &organization.security)).await?;
        organization.recorded(&by_user.abuse(home, &organization.security)).await?;
        Ok(Self { cast, groups, user, stolen })
    }

    /// The instance that shows something.
    pub(super) fn actor(&self, role: Scene) -> Result<&Instance, LabError> {
        self.find(role).map(|actor| &actor.instance)
    }

    fn find(&self, role: Scene) -> Result<&Actor, LabError> {
        self.cast.iter().find(|actor| actor.role == role).ok_or_else(|| LabError::new(format!("nobody is {role:?}")))
    }

    /// The address of its attacker.
    pub(super) fn attacker(&self, role: Scene) -> Result<IpAddr, LabError> {
        let text = self.find(role)?.other;
        text.parse().map_err(|_| LabError::new(format!("{text} is not an address")))
    }

    /// What is found, for the screen.
    pub(super) fn lines(&self, organization: &Organization) -> Vec<String> {
        let place = |account: &str, region: &str| format!("{}/{region}", organization.name_of(account));
        let mut lines: Vec<String> = self
            .cast
            .iter()
            .map(|Actor { role, instance, other }| {
                let what = match role {
                    Scene::Attacked => format!("SSH brute force from {other}"),
                    Scene::Entered => format!("SSH brute force from {other}, and the log shows that it got in"),
                    Scene::OptedOut => "SSH brute force; the instance is opted out by its tag".to_owned(),
                    Scene::AccountOptedOut => "SSH brute force; the account is opted out by its tag".to_owned(),
                    Scene::WithoutRole => "SSH brute force; the account has no spoke role".to_owned(),
                    Scene::Attacker => format!("SSH brute force against {other}: the instance attacks"),
                };
                format!("GuardDuty     {:<10}{:<24}{what}", instance.name, place(&instance.account, &instance.region))
            })
            .collect();
        let user_place = place(&self.user.account, "global");
        lines.push(format!("GuardDuty     {:<10}{user_place:<24}its access key is used by way of Tor, from {THIEF}", "a user"));
        for region in &organization.regions {
            let here: Vec<&OpenGroup> = self.groups.iter().filter(|group| group.region == *region).collect();
            if let Some(first) = here.first() {
                let name = format!("{} groups", here.len());
                lines.push(format!("Security Hub  {name:<10}{:<24}EC2.13: port 22 open to the world", place(&first.account, region)));
            }
        }
        lines
    }

    /// Makes the services find everything. Gives the finding about the attacked instance.
    pub(super) async fn announce(&self, organization: &Organization) -> Result<Value, LabError> {
        let mut main = Value::Null;
        for Actor { role, instance, other } in &self.cast {
            let part = if *role == Scene::Attacker { Part::Actor } else { Part::Target };
            let native = organization.attack(instance, other, part).await?;
            if *role == Scene::Attacked {
                main = native;
            }
        }
        organization.misused(&self.theft(organization)).await?;
        organization.import(&self.groups).await?;
        Ok(main)
    }

    /// What GuardDuty finds about the user's key.
    fn theft(&self, organization: &Organization) -> Value {
        let User { account, name, .. } = &self.user;
        let stolen = Stolen { account, access_key: self.user.key(0), principal: "AIDALABUSER", user_type: "IAMUser", user: name };
        misuse("UnauthorizedAccess:IAMUser/TorIPCaller", &organization.home, &stolen, THIEF)
    }

    /// Sends a finding again as it was, and a sample finding.
    pub(super) async fn announce_again(&self, organization: &Organization, native: &Value) -> Result<(), LabError> {
        organization.emit(&event(&organization.security, native)).await?;
        let made_up = sample(brute_force(self.actor(Scene::Attacked)?, "192.0.2.99", Part::Target));
        organization.emit(&event(&organization.security, &made_up)).await
    }

    /// The groups and ACLs of all instances, as they are.
    pub(super) async fn states(&self, organization: &Organization) -> Result<Vec<Value>, LabError> {
        try_join_all(self.cast.iter().map(|actor| organization.state(&actor.instance))).await
    }
}
