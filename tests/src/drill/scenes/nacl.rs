//! `ec2.block-source-in-nacl`.

use cordon_shared::id::CellId;
use futures::future::{BoxFuture, try_join_all};
use serde_json::{Value, json};

use super::{Setting, World, Yard, cell, shape};
use crate::{
    Hand, LabError,
    drill::Trespass,
    organization::{Exposure, call, text},
};

pub(super) const ACTION: &str = "ec2.block-source-in-nacl";

/// The port of the attack.
const PORT: u16 = 22;
/// The ports that replies go to.
const REPLIES: (u16, u16) = (1024, 65_535);

#[derive(Debug)]
struct Acls {
    hand: Hand,
    cell: CellId,
    with: Value,
    acls: Vec<String>,
    /// An ACL that is none of its business.
    other: String,
    /// The number of a block that leaves and does not come back.
    leaves: Option<u16>,
}

/// An instance that is attacked from both families.
pub(super) fn sources(yard: &Yard) -> Setting<'_> {
    Box::pin(async move {
        let (account, region) = yard.place();
        let instance = one(yard, account, region).await?;
        let with = json!({"instance": instance.id, "sources": ["198.51.100.23", "2001:db8::23"], "protocol": "tcp", "port": PORT});
        world(yard, account, region, with, vec![instance.acl], &instance.vpc, None).await
    })
}

/// Five blocks stand already; the oldest, with the highest number, leaves for the new one.
pub(super) fn full(yard: &Yard) -> Setting<'_> {
    Box::pin(async move {
        let (account, region) = yard.place();
        let instance = one(yard, account, region).await?;
        let blocks = (95..100_u16).flat_map(|number| [(number, false), (number, true)]);
        try_join_all(blocks.map(|(number, egress)| {
            let (from, to) = if egress { REPLIES } else { (PORT, PORT) };
            let entry = json!({
                "NetworkAclId": instance.acl, "RuleNumber": number, "Egress": egress, "RuleAction": "deny", "Protocol": "6",
                "CidrBlock": format!("203.0.113.{number}/32"), "PortRange": {"From": from, "To": to},
            });
            call(&yard.organization.hand, account, region, "ec2", "create_network_acl_entry", entry)
        }))
        .await?;
        let with = json!({"instance": instance.id, "sources": ["198.51.100.23"], "protocol": "tcp", "port": PORT});
        world(yard, account, region, with, vec![instance.acl], &instance.vpc, Some(99)).await
    })
}

/// An instance with interfaces in so many subnets, each with an ACL of its own.
pub(super) fn crowd(yard: &Yard, size: usize) -> Setting<'_> {
    Box::pin(async move {
        let (account, region) = yard.place();
        let hand = &yard.organization.hand;
        let instance = one(yard, account, region).await?;
        // Other instances bring their subnets; the interfaces there are for this one.
        let others = try_join_all((1..size).map(|_| one(yard, account, region))).await?;
        for (other, index) in others.iter().zip(1..) {
            let made = call(hand, account, region, "ec2", "create_network_interface", json!({"SubnetId": other.subnet})).await?;
            let interface = text(&made, "/NetworkInterface/NetworkInterfaceId")?;
            let params = json!({"InstanceId": instance.id, "NetworkInterfaceId": interface, "DeviceIndex": index});
            call(hand, account, region, "ec2", "attach_network_interface", params).await?;
        }
        let acls = std::iter::once(&instance).chain(&others).map(|instance| instance.acl.clone()).collect();
        let with = json!({"instance": instance.id, "sources": ["198.51.100.23"], "protocol": "tcp", "port": PORT});
        world(yard, account, region, with, acls, &instance.vpc, None).await
    })
}

async fn one(yard: &Yard, account: &str, region: &str) -> Result<crate::organization::Instance, LabError> {
    let shape = shape(vec![Exposure::Port]);
    yard.organization.instance(account, region, &shape).await
}

async fn world(
    yard: &Yard,
    account: &str,
    region: &str,
    with: Value,
    acls: Vec<String>,
    vpc: &str,
    leaves: Option<u16>,
) -> Result<Box<dyn World>, LabError> {
    let hand = yard.organization.hand.clone();
    let made = call(&hand, account, region, "ec2", "create_network_acl", json!({"VpcId": vpc})).await?;
    let other = text(&made, "/NetworkAcl/NetworkAclId")?;
    Ok(Box::new(Acls { hand, cell: cell(account, region)?, with, acls, other, leaves }))
}

impl Acls {
    async fn ask(&self, operation: &str, params: Value) -> Result<Value, LabError> {
        call(&self.hand, self.cell.account.as_str(), self.cell.region.as_str(), "ec2", operation, params).await
    }
}

fn number(entry: &Value) -> i64 {
    entry.get("RuleNumber").and_then(Value::as_i64).unwrap_or_default()
}

impl World for Acls {
    fn cell(&self) -> &CellId {
        &self.cell
    }

    fn with(&self) -> Value {
        self.with.clone()
    }

    fn look(&self) -> BoxFuture<'_, Result<Value, LabError>> {
        Box::pin(async move {
            let mut state = Vec::new();
            for acl in self.acls.iter().chain([&self.other]) {
                let found = self.ask("describe_network_acls", json!({"NetworkAclIds": [acl]})).await?;
                let mut entries: Vec<Value> =
                    found.pointer("/NetworkAcls/0/Entries").and_then(Value::as_array).cloned().unwrap_or_default();
                entries.sort_by_key(|entry| (entry.get("Egress").and_then(Value::as_bool), number(entry), entry.to_string()));
                state.push(entries);
            }
            Ok(json!(state))
        })
    }

    /// Somebody makes something else of the entry against the source.
    fn drift(&self) -> BoxFuture<'_, Result<(), LabError>> {
        Box::pin(async move {
            let acl = self.acls.first().cloned().unwrap_or_default();
            let found = self.ask("describe_network_acls", json!({"NetworkAclIds": [acl]})).await?;
            let source = format!("{}/32", self.with.pointer("/sources/0").and_then(Value::as_str).unwrap_or_default());
            let entries = found.pointer("/NetworkAcls/0/Entries").and_then(Value::as_array).into_iter().flatten();
            let ours = |entry: &&Value| {
                entry.get("CidrBlock").and_then(Value::as_str) == Some(source.as_str())
                    && entry.get("Egress").and_then(Value::as_bool) == Some(false)
            };
            let entry = entries.clone().find(ours).ok_or_else(|| LabError::new(format!("no entry is against {source}: {found}")))?;
            let params = json!({
                "NetworkAclId": acl, "RuleNumber": number(entry), "Egress": false, "RuleAction": "allow", "Protocol": "6", "CidrBlock": source,
                "PortRange": {"From": 8443, "To": 8443},
            });
            self.ask("replace_network_acl_entry", params).await.map(drop)
        })
    }

    fn drifted(&self, state: &Value) -> bool {
        state.to_string().contains("8443")
    }

    fn restored(&self, found: &Value, now: &Value) -> bool {
        let mut without = found.clone();
        for entries in without.as_array_mut().into_iter().flatten().filter_map(Value::as_array_mut) {
            entries.retain(|entry| self.leaves.map(i64::from) != Some(number(entry)));
        }
        // A block that was to leave may have left in part when the change broke off; all else is as it was.
        let within = |small: &Value, large: &Value| {
            let lists = |value: &Value| value.as_array().cloned().unwrap_or_default();
            lists(small).iter().zip(lists(large)).all(|(small, large)| lists(small).iter().all(|entry| lists(&large).contains(entry)))
        };
        within(now, found) && within(&without, now)
    }

    fn trespasses(&self) -> Vec<Trespass> {
        let entry = |acl: &str| {
            json!({
                "NetworkAclId": acl, "RuleNumber": 50, "Egress": false, "RuleAction": "deny", "Protocol": "6", "CidrBlock": "192.0.2.1/32",
                "PortRange": {"From": 22, "To": 22},
            })
        };
        let own = self.acls.first().cloned().unwrap_or_default();
        let trespass = |operation, params| Trespass { service: "ec2", operation, params };
        vec![
            trespass("create_network_acl_entry", entry(&self.other)),
            trespass("delete_network_acl_entry", json!({"NetworkAclId": self.other, "RuleNumber": 100, "Egress": false})),
            trespass("replace_network_acl_entry", entry(&own)),
            trespass("delete_network_acl", json!({"NetworkAclId": own})),
            trespass("describe_network_acls", json!({})),
        ]
    }
}
