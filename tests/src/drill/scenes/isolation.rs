//! `ec2.isolate-instance`.

use cordon_shared::id::CellId;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::{Setting, World, Yard, cell};
use crate::{
    Hand, LabError,
    drill::Trespass,
    organization::{Apart, call, text},
};

pub(super) const ACTION: &str = "ec2.isolate-instance";

#[derive(Debug)]
struct Isolation {
    hand: Hand,
    cell: CellId,
    with: Value,
    instance: Apart,
    /// A group that is none of its business.
    other: String,
    /// An interface that is none of its business.
    bystander: String,
}

/// An instance with four interfaces, groups in several numbers and orders.
pub(super) fn four(yard: &Yard) -> Setting<'_> {
    Box::pin(async move { world(yard, 3, &[&[0], &[1, 0], &[1], &[2, 0, 1]], false).await })
}

/// Two of the endpoints' services are there: one with a group of its own, one with a group that others share.
pub(super) fn keeping_ssm(yard: &Yard) -> Setting<'_> {
    Box::pin(async move { world(yard, 2, &[&[0], &[1]], true).await })
}

/// An instance with so many interfaces, each with a group of its own.
pub(super) fn crowd(yard: &Yard, size: usize) -> Setting<'_> {
    Box::pin(async move {
        let places: Vec<[usize; 1]> = (0..size).map(|place| [place]).collect();
        let places: Vec<&[usize]> = places.iter().map(<[usize; 1]>::as_slice).collect();
        world(yard, size, &places, false).await
    })
}

async fn world(yard: &Yard, groups: usize, interfaces: &[&[usize]], keep_ssm: bool) -> Result<Box<dyn World>, LabError> {
    let (account, region) = yard.place();
    let hand = yard.organization.hand.clone();
    let ask = async |operation: &str, params: Value| call(&hand, account, region, "ec2", operation, params).await;
    let instance = yard.organization.apart(account, region, "t3.micro", groups, interfaces).await?;
    let group = async |name: &str| {
        let made = ask("create_security_group", json!({"GroupName": name, "Description": "of a drill", "VpcId": instance.vpc})).await?;
        text(&made, "/GroupId")
    };
    let other = group("other").await?;
    let subnet = instance.subnets.first();
    let made = ask("create_network_interface", json!({"SubnetId": subnet, "Groups": [other]})).await?;
    let bystander = text(&made, "/NetworkInterface/NetworkInterfaceId")?;
    if keep_ssm {
        for (service, group) in [("ssm", group("endpoints").await?), ("ssmmessages", other.clone())] {
            let name = format!("com.amazonaws.{region}.{service}");
            let params = json!({"VpcEndpointType": "Interface", "VpcId": instance.vpc, "ServiceName": name, "SubnetIds": [subnet], "SecurityGroupIds": [group]});
            ask("create_vpc_endpoint", params).await?;
        }
    }
    let with = if keep_ssm { json!({"instance": instance.id, "keep_ssm": true}) } else { json!({"instance": instance.id}) };
    let cell = cell(account, region)?;
    Ok(Box::new(Isolation { hand, cell, with, instance, other, bystander }))
}

fn list(value: &Value, pointer: &str) -> Vec<Value> {
    value.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default()
}

impl Isolation {
    async fn ask(&self, operation: &str, params: Value) -> Result<Value, LabError> {
        call(&self.hand, self.cell.account.as_str(), self.cell.region.as_str(), "ec2", operation, params).await
    }

    /// What a group is called in every world.
    fn called(&self, id: &str) -> String {
        let place = self.instance.groups.iter().position(|group| group == id);
        match place {
            Some(place) => format!("group {place}"),
            None if id == self.other => "other".to_owned(),
            None => "isolation".to_owned(),
        }
    }
}

impl World for Isolation {
    fn cell(&self) -> &CellId {
        &self.cell
    }

    fn with(&self) -> Value {
        self.with.clone()
    }

    /// The groups of each interface in their order, and the rules of each group that has been made since.
    fn look(&self) -> BoxFuture<'_, Result<Value, LabError>> {
        Box::pin(async move {
            let mut interfaces = Vec::new();
            for id in self.instance.interfaces.iter().chain([&self.bystander]) {
                let found = self.ask("describe_network_interfaces", json!({"NetworkInterfaceIds": [id]})).await?;
                let groups = list(&found, "/NetworkInterfaces/0/Groups");
                let names = groups.iter().map(|group| self.called(group.get("GroupId").and_then(Value::as_str).unwrap_or_default()));
                interfaces.push(names.collect::<Vec<_>>());
            }
            let filters = json!({"Filters": [{"Name": "vpc-id", "Values": [self.instance.vpc]}]});
            let found = self.ask("describe_security_groups", filters).await?;
            let ours = |group: &&Value| group.get("GroupName").and_then(Value::as_str).is_some_and(|name| name.starts_with("cordon-"));
            let rules = |group: &Value| {
                let out = list(group, "/IpPermissionsEgress");
                let count = |kind: &str| out.iter().map(|rule| list(rule, kind).len()).sum::<usize>();
                json!({
                    "in": list(group, "/IpPermissions").len(), "tags": list(group, "/Tags").len(),
                    "out": [count("/IpRanges"), count("/Ipv6Ranges"), count("/UserIdGroupPairs"), count("/PrefixListIds")],
                })
            };
            let groups: Vec<Value> = list(&found, "/SecurityGroups").iter().filter(ours).map(rules).collect();
            Ok(json!({"interfaces": interfaces, "groups": groups}))
        })
    }

    /// Somebody puts the first interface into a group of theirs.
    fn drift(&self) -> BoxFuture<'_, Result<(), LabError>> {
        Box::pin(async move {
            let params = json!({"NetworkInterfaceId": self.instance.interfaces.first(), "Groups": [self.other]});
            self.ask("modify_network_interface_attribute", params).await.map(drop)
        })
    }

    fn drifted(&self, state: &Value) -> bool {
        state.pointer("/interfaces/0") == Some(&json!(["other"]))
    }

    fn trespasses(&self) -> Vec<Trespass> {
        let all = json!([{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]);
        let own = self.instance.interfaces.first();
        let group = self.instance.groups.first();
        let trespass = |operation, params| Trespass { service: "ec2", operation, params };
        let named = |tags: Value| {
            json!({"GroupName": "more", "Description": "d", "VpcId": self.instance.vpc,
                "TagSpecifications": [{"ResourceType": "security-group", "Tags": tags}]})
        };
        vec![
            trespass("modify_network_interface_attribute", json!({"NetworkInterfaceId": self.bystander, "Groups": [group]})),
            trespass("modify_network_interface_attribute", json!({"NetworkInterfaceId": own, "Groups": [self.other]})),
            trespass("modify_instance_attribute", json!({"InstanceId": self.instance.id, "Groups": [group]})),
            trespass("authorize_security_group_ingress", json!({"GroupId": group, "IpPermissions": all})),
            trespass("authorize_security_group_egress", json!({"GroupId": self.other, "IpPermissions": all})),
            trespass("revoke_security_group_egress", json!({"GroupId": group, "IpPermissions": all})),
            trespass("delete_security_group", json!({"GroupId": self.other})),
            trespass("create_security_group", named(json!([{"Key": "cordon:run", "Value": "inc-of-another"}]))),
            trespass("create_security_group", json!({"GroupName": "more", "Description": "d", "VpcId": self.instance.vpc})),
            trespass("create_tags", json!({"Resources": [self.other], "Tags": [{"Key": "cordon:run", "Value": "inc"}]})),
            trespass("describe_security_groups", json!({})),
        ]
    }
}
