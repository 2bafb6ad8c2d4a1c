//! `ec2.cut-tracked-flows`.

use cordon_shared::id::CellId;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::{Setting, World, Yard, cell, shape};
use crate::{
    Hand, LabError,
    drill::Trespass,
    organization::{Exposure, call},
};

pub(super) const ACTION: &str = "ec2.cut-tracked-flows";
/// What an instance type has where nobody has set anything.
const DEFAULTS: [(&str, i64); 3] = [("TcpEstablishedTimeout", 432_000), ("UdpStreamTimeout", 180), ("UdpTimeout", 30)];

#[derive(Debug)]
struct Flows {
    hand: Hand,
    cell: CellId,
    with: Value,
    interfaces: Vec<String>,
    acls: Vec<String>,
    /// An instance's interface and ACL that are none of its business.
    other: (String, String),
}

/// An instance with two interfaces that talks to the Internet in both families.
pub(super) fn remotes(yard: &Yard) -> Setting<'_> {
    Box::pin(async move {
        let world = world(yard, json!(["198.51.100.23", "2001:db8::23"])).await?;
        Ok(Box::new(world) as Box<dyn World>)
    })
}

/// The timeouts of one interface were set, one of them to the least, and no remote is known.
pub(super) fn set_before(yard: &Yard) -> Setting<'_> {
    Box::pin(async move {
        let world = world(yard, json!([])).await?;
        let set = json!({"TcpEstablishedTimeout": 600, "UdpStreamTimeout": 60, "UdpTimeout": 45});
        world.set(set).await?;
        Ok(Box::new(world) as Box<dyn World>)
    })
}

/// An instance with so many interfaces.
pub(super) fn crowd(yard: &Yard, size: usize) -> Setting<'_> {
    Box::pin(async move {
        let (account, region) = yard.place();
        let places: Vec<&[usize]> = (0..size).map(|_| [0].as_slice()).collect();
        let instance = yard.organization.apart(account, region, "t3.micro", 1, &places).await?;
        let (hand, cell) = (yard.organization.hand.clone(), cell(account, region)?);
        let other = (String::new(), String::new());
        let with = json!({"instance": instance.id, "remotes": []});
        Ok(Box::new(Flows { hand, cell, with, interfaces: instance.interfaces, acls: Vec::new(), other }) as Box<dyn World>)
    })
}

async fn world(yard: &Yard, remotes: Value) -> Result<Flows, LabError> {
    let (account, region) = yard.place();
    let one = async |exposures| yard.organization.instance(account, region, &shape(exposures)).await;
    let (instance, other) = futures::try_join!(one(vec![Exposure::Port, Exposure::Port]), one(vec![Exposure::Port]))?;
    Ok(Flows {
        hand: yard.organization.hand.clone(),
        cell: cell(account, region)?,
        with: json!({"instance": instance.id, "remotes": remotes}),
        interfaces: instance.interfaces,
        acls: vec![instance.acl],
        other: (other.interfaces.first().cloned().unwrap_or_default(), other.acl),
    })
}

impl Flows {
    async fn ask(&self, operation: &str, params: Value) -> Result<Value, LabError> {
        call(&self.hand, self.cell.account.as_str(), self.cell.region.as_str(), "ec2", operation, params).await
    }

    async fn set(&self, timeouts: Value) -> Result<(), LabError> {
        let params = json!({"NetworkInterfaceId": self.interfaces.first(), "ConnectionTrackingSpecification": timeouts});
        self.ask("modify_network_interface_attribute", params).await.map(drop)
    }
}

impl World for Flows {
    fn cell(&self) -> &CellId {
        &self.cell
    }

    fn with(&self) -> Value {
        self.with.clone()
    }

    /// The timeouts of each interface, where what nobody has set is what the instance type has; and the entries of the ACLs.
    fn look(&self) -> BoxFuture<'_, Result<Value, LabError>> {
        Box::pin(async move {
            let mut interfaces = Vec::new();
            for id in self.interfaces.iter().chain([&self.other.0]).filter(|id| !id.is_empty()) {
                let found = self.ask("describe_network_interfaces", json!({"NetworkInterfaceIds": [id]})).await?;
                let set = found.pointer("/NetworkInterfaces/0/ConnectionTrackingConfiguration").cloned().unwrap_or_default();
                interfaces.push(DEFAULTS.map(|(name, default)| set.get(name).and_then(Value::as_i64).unwrap_or(default)));
            }
            let mut acls = Vec::new();
            for acl in self.acls.iter().chain([&self.other.1]).filter(|id| !id.is_empty()) {
                let found = self.ask("describe_network_acls", json!({"NetworkAclIds": [acl]})).await?;
                let mut entries: Vec<Value> =
                    found.pointer("/NetworkAcls/0/Entries").and_then(Value::as_array).cloned().unwrap_or_default();
                entries.sort_by_key(Value::to_string);
                acls.push(entries);
            }
            Ok(json!({"interfaces": interfaces, "acls": acls}))
        })
    }

    /// Somebody sets a timeout of the first interface.
    fn drift(&self) -> BoxFuture<'_, Result<(), LabError>> {
        Box::pin(self.set(json!({"TcpEstablishedTimeout": 3600})))
    }

    fn drifted(&self, state: &Value) -> bool {
        state.pointer("/interfaces/0/0") == Some(&json!(3600))
    }

    fn trespasses(&self) -> Vec<Trespass> {
        let trespass = |operation, params| Trespass { service: "ec2", operation, params };
        let (interface, acl) = &self.other;
        let entry = json!({
            "NetworkAclId": acl, "RuleNumber": 50, "Egress": false, "RuleAction": "deny", "Protocol": "-1", "CidrBlock": "192.0.2.1/32",
        });
        let timeouts = json!({"NetworkInterfaceId": interface, "ConnectionTrackingSpecification": {"TcpEstablishedTimeout": 60}});
        let groups = json!({"NetworkInterfaceId": self.interfaces.first(), "Groups": ["sg-0123456789abcdef0"]});
        vec![
            trespass("create_network_acl_entry", entry),
            trespass("delete_network_acl_entry", json!({"NetworkAclId": acl, "RuleNumber": 100, "Egress": false})),
            trespass("modify_network_interface_attribute", timeouts),
            trespass("modify_network_interface_attribute", groups),
            trespass("delete_network_interface", json!({"NetworkInterfaceId": self.interfaces.first()})),
            trespass("describe_network_interfaces", json!({})),
        ]
    }
}
