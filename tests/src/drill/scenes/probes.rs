//! The probes: `ec2.record-all`, `ec2.find-instance` and `logs.find-logins`. They have nothing to undo, and no bystander is in their way.

use cordon_shared::id::CellId;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::{Setting, World, Yard, cell, shape};
use crate::{
    LabError, Organization,
    drill::Trespass,
    organization::{Exposure, Instance},
};

pub(super) const RECORD: &str = "ec2.record-all";
pub(super) const FIND: &str = "ec2.find-instance";
pub(super) const LOGINS: &str = "logs.find-logins";

const ATTACKER: &str = "198.51.100.23";

#[derive(Debug)]
struct Seen {
    organization: Organization,
    instance: Instance,
    cell: CellId,
    with: Value,
    /// Where in an outcome which value is expected.
    expected: Vec<(&'static str, Value)>,
}

async fn seen(yard: &Yard) -> Result<Seen, LabError> {
    let (account, region) = yard.place();
    let shape = shape(vec![Exposure::Port, Exposure::Range]);
    let instance = yard.organization.instance(account, region, &shape).await?;
    Ok(Seen {
        organization: yard.organization.clone(),
        cell: cell(account, region)?,
        with: json!({"instance": instance.id}),
        expected: Vec::new(),
        instance,
    })
}

pub(super) fn record(yard: &Yard) -> Setting<'_> {
    Box::pin(async move {
        let mut world = seen(yard).await?;
        let mut groups = world.instance.groups.clone();
        groups.sort();
        world.expected = vec![
            ("/state", json!("running")),
            ("/missing", json!([])),
            ("/acls", json!([world.instance.acl])),
            ("/groups", json!(groups)),
            ("/profile", json!(world.instance.profile)),
        ];
        Ok(Box::new(world) as Box<dyn World>)
    })
}

/// The probe is begun in a Region that the instance is not in.
pub(super) fn find(yard: &Yard) -> Setting<'_> {
    Box::pin(async move {
        let mut world = seen(yard).await?;
        let elsewhere = yard.organization.regions.iter().find(|region| **region != world.instance.region);
        world.cell = cell(&world.instance.account, elsewhere.map_or("", String::as_str))?;
        let role = world.instance.profile.replace(":instance-profile/", ":role/");
        world.expected = vec![
            ("/region", json!(world.instance.region)),
            ("/state", json!("running")),
            ("/role/arn", json!(role)),
            ("/profile", json!(world.instance.profile)),
            ("/not_looked_in", json!([])),
        ];
        Ok(Box::new(world) as Box<dyn World>)
    })
}

pub(super) fn logins(yard: &Yard) -> Setting<'_> {
    Box::pin(async move {
        let mut world = seen(yard).await?;
        yard.organization.log_attack(&world.instance, ATTACKER, Some("ec2-user")).await?;
        world.with = json!({"instance": world.instance.id, "sources": [ATTACKER], "port": 22});
        world.expected = vec![("/verdict", json!("confirmed")), ("/confirmed", json!(1)), ("/truncated", json!(false))];
        Ok(Box::new(world) as Box<dyn World>)
    })
}

impl World for Seen {
    fn cell(&self) -> &CellId {
        &self.cell
    }

    fn with(&self) -> Value {
        self.with.clone()
    }

    fn look(&self) -> BoxFuture<'_, Result<Value, LabError>> {
        Box::pin(self.organization.state(&self.instance))
    }

    fn drift(&self) -> BoxFuture<'_, Result<(), LabError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn drifted(&self, _state: &Value) -> bool {
        false
    }

    fn trespasses(&self) -> Vec<Trespass> {
        Vec::new()
    }

    fn misses(&self, outcome: &Value) -> Option<String> {
        let wrong = |(pointer, wanted): &&(&str, Value)| outcome.pointer(pointer) != Some(wanted);
        self.expected.iter().find(wrong).map(|(pointer, wanted)| format!("{pointer} is not {wanted}: {outcome}"))
    }
}
