//! `ec2.close-open-ingress`.

use cordon_shared::id::CellId;
use futures::future::{BoxFuture, try_join_all};
use serde_json::{Value, json};

use super::{Setting, World, Yard, cell, shape};
use crate::{
    Hand, LabError,
    drill::Trespass,
    organization::{Exposure, call, text},
};

pub(super) const ACTION: &str = "ec2.close-open-ingress";

#[derive(Debug)]
struct Groups {
    hand: Hand,
    cell: CellId,
    with: Value,
    groups: Vec<String>,
    /// A group that is none of its business.
    other: String,
}

/// The attacked instance of the flagship: two interfaces, a group each.
pub(super) fn instance(yard: &Yard) -> Setting<'_> {
    Box::pin(async move {
        let (account, region) = yard.place();
        let shape = shape(vec![Exposure::Port, Exposure::Range]);
        let instance = yard.organization.instance(account, region, &shape).await?;
        let with = json!({"instance": instance.id, "protocol": "tcp", "ports": [22]});
        world(yard, account, region, with, instance.groups, &instance.vpc).await
    })
}

/// One group with everything that a rule open to the world can look like and that few rules can split.
pub(super) fn group(yard: &Yard) -> Setting<'_> {
    Box::pin(async move {
        let (account, region) = yard.place();
        let vpc = default_vpc(yard, account, region).await?;
        let range = |from: u16, to: u16, cidr: &str| json!({"IpProtocol": "tcp", "FromPort": from, "ToPort": to, "IpRanges": [{"CidrIp": cidr, "Description": "of old"}]});
        let both = json!({"IpProtocol": "tcp", "FromPort": 3000, "ToPort": 3400, "IpRanges": [{"CidrIp": "0.0.0.0/0"}], "Ipv6Ranges": [{"CidrIpv6": "::/0", "Description": "six"}]});
        let permissions = json!([
            range(22, 22, "0.0.0.0/0"),
            range(0, 1023, "0.0.0.0/1"),
            range(22, 22, "128.0.0.0/1"),
            range(22, 22, "192.0.2.0/24"),
            range(443, 443, "0.0.0.0/0"),
            both,
            {"IpProtocol": "udp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]},
        ]);
        let group = make(yard, account, region, &vpc, permissions).await?;
        let with = json!({"group": group, "protocol": "tcp", "ports": [22, 3389]});
        world(yard, account, region, with, vec![group], &vpc).await
    })
}

/// An instance with so many open groups on its one interface.
pub(super) fn crowd(yard: &Yard, size: usize) -> Setting<'_> {
    Box::pin(async move {
        let (account, region) = yard.place();
        let shape = shape(vec![Exposure::Port]);
        let instance = yard.organization.instance(account, region, &shape).await?;
        let open = json!([{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]);
        let more = try_join_all((1..size).map(|_| make(yard, account, region, &instance.vpc, open.clone()))).await?;
        let groups: Vec<String> = instance.groups.iter().cloned().chain(more).collect();
        let interface = instance.interfaces.first().cloned().unwrap_or_default();
        let params = json!({"NetworkInterfaceId": interface, "Groups": groups});
        call(&yard.organization.hand, account, region, "ec2", "modify_network_interface_attribute", params).await?;
        let with = json!({"instance": instance.id, "protocol": "tcp", "ports": [22]});
        world(yard, account, region, with, groups, &instance.vpc).await
    })
}

async fn default_vpc(yard: &Yard, account: &str, region: &str) -> Result<String, LabError> {
    let found = call(&yard.organization.hand, account, region, "ec2", "describe_vpcs", json!({})).await?;
    text(&found, "/Vpcs/0/VpcId")
}

async fn make(yard: &Yard, account: &str, region: &str, vpc: &str, permissions: Value) -> Result<String, LabError> {
    let hand = &yard.organization.hand;
    let name = format!("drill-{}", crate::accounts::fresh());
    let params = json!({"GroupName": name, "Description": "of a drill", "VpcId": vpc});
    let group = text(&call(hand, account, region, "ec2", "create_security_group", params).await?, "/GroupId")?;
    if permissions.as_array().is_some_and(|permissions| !permissions.is_empty()) {
        let params = json!({"GroupId": group, "IpPermissions": permissions});
        call(hand, account, region, "ec2", "authorize_security_group_ingress", params).await?;
    }
    Ok(group)
}

async fn world(yard: &Yard, account: &str, region: &str, with: Value, groups: Vec<String>, vpc: &str) -> Result<Box<dyn World>, LabError> {
    let other = make(yard, account, region, vpc, json!([])).await?;
    Ok(Box::new(Groups { hand: yard.organization.hand.clone(), cell: cell(account, region)?, with, groups, other }))
}

/// Whom a bystander lets in: half of the world, through a range of ports that no scene has.
const THEIRS: &str = "128.0.0.0/1";

impl Groups {
    async fn ask(&self, operation: &str, params: Value) -> Result<Value, LabError> {
        call(&self.hand, self.cell.account.as_str(), self.cell.region.as_str(), "ec2", operation, params).await
    }
}

impl World for Groups {
    fn cell(&self) -> &CellId {
        &self.cell
    }

    fn with(&self) -> Value {
        self.with.clone()
    }

    /// The rules of each group, without their ids: a rule that is made again has another.
    fn look(&self) -> BoxFuture<'_, Result<Value, LabError>> {
        Box::pin(async move {
            let mut state = Vec::new();
            for group in self.groups.iter().chain([&self.other]) {
                let filters = json!({"Filters": [{"Name": "group-id", "Values": [group]}]});
                let found = self.ask("describe_security_group_rules", filters).await?;
                let mut rules: Vec<Value> = found.pointer("/SecurityGroupRules").and_then(Value::as_array).cloned().unwrap_or_default();
                for rule in rules.iter_mut().filter_map(Value::as_object_mut) {
                    for id in ["SecurityGroupRuleId", "SecurityGroupRuleArn", "GroupId", "GroupOwnerId"] {
                        rule.remove(id);
                    }
                    // No description and an empty one are the same.
                    rule.retain(|_, value| value.as_str() != Some(""));
                }
                rules.sort_by_key(Value::to_string);
                state.push(rules);
            }
            Ok(json!(state))
        })
    }

    fn drift(&self) -> BoxFuture<'_, Result<(), LabError>> {
        Box::pin(async move {
            let group = self.groups.first().cloned().unwrap_or_default();
            let open =
                json!([{"IpProtocol": "tcp", "FromPort": 21, "ToPort": 22, "IpRanges": [{"CidrIp": THEIRS, "Description": "theirs"}]}]);
            self.ask("authorize_security_group_ingress", json!({"GroupId": group, "IpPermissions": open})).await.map(drop)
        })
    }

    fn drifted(&self, state: &Value) -> bool {
        state.to_string().contains("\"theirs\"")
    }

    fn trespasses(&self) -> Vec<Trespass> {
        let open = json!([{"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "192.0.2.0/24"}]}]);
        let trespass = |operation, params| Trespass { service: "ec2", operation, params };
        let own = self.groups.first().cloned().unwrap_or_default();
        vec![
            trespass("authorize_security_group_ingress", json!({"GroupId": self.other, "IpPermissions": open})),
            trespass("revoke_security_group_ingress", json!({"GroupId": self.other, "IpPermissions": open})),
            trespass("authorize_security_group_egress", json!({"GroupId": own, "IpPermissions": open})),
            trespass("delete_security_group", json!({"GroupId": own})),
            trespass("describe_security_groups", json!({})),
        ]
    }
}
