//! Cells: the network of an account in a Region, made when something is first put into it; and open security groups, in any number.

use std::{
    collections::HashMap,
    net::Ipv6Addr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use futures::future::try_join_all;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::{Organization, finding, text};
use crate::LabError;

type Slot = Arc<OnceCell<Arc<Network>>>;

/// The networks that exist.
#[derive(Debug, Clone, Default)]
pub(super) struct Cells {
    known: Arc<Mutex<HashMap<(String, String), Slot>>>,
}

/// The VPC of a cell.
#[derive(Debug)]
pub(super) struct Network {
    pub vpc: String,
    ipv6: Option<Ipv6Addr>,
    next: AtomicU32,
}

/// A subnet with a network ACL of its own.
#[derive(Debug, Clone)]
pub(super) struct Subnet {
    pub id: String,
    pub acl: String,
    pub ipv6: bool,
}

/// A security group whose port 22 is open to the world.
#[derive(Debug, Clone)]
pub struct OpenGroup {
    /// Its account.
    pub account: String,
    /// Its Region.
    pub region: String,
    /// Its id.
    pub id: String,
    /// Its ARN.
    pub arn: String,
    /// What Security Hub says of it: control EC2.13 has failed, in ASFF.
    pub finding: Value,
}

impl Organization {
    /// The network of a cell.
    pub(super) async fn network(&self, account: &str, region: &str) -> Result<Arc<Network>, LabError> {
        let key = (account.to_owned(), region.to_owned());
        let slot = Arc::clone(self.cells.known.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default());
        let made = slot.get_or_try_init(async || {
            let params = json!({"CidrBlock": "10.20.0.0/16", "AmazonProvidedIpv6CidrBlock": true});
            let made = self.call(account, region, "ec2", "create_vpc", params).await?;
            let block = text(&made, "/Vpc/Ipv6CidrBlockAssociationSet/0/Ipv6CidrBlock").ok();
            let ipv6 = block.and_then(|block| block.split('/').next()?.parse().ok());
            Ok::<_, LabError>(Arc::new(Network { vpc: text(&made, "/Vpc/VpcId")?, ipv6, next: AtomicU32::new(0) }))
        });
        made.await.map(Arc::clone)
    }

    /// A new subnet in a cell, with a network ACL that lets everything through by rules of its own.
    pub(super) async fn subnet(&self, account: &str, region: &str, name: &str) -> Result<Subnet, LabError> {
        let network = self.network(account, region).await?;
        let number = network.next.fetch_add(1, Ordering::Relaxed);
        let ask = async |operation: &str, params: Value| self.call(account, region, "ec2", operation, params).await;
        let mut params = json!({"VpcId": network.vpc, "CidrBlock": format!("10.20.{number}.0/24")});
        let ipv6 = network.ipv6.map(|base| Ipv6Addr::from(u128::from(base) + (u128::from(number) << 64)));
        if let (Some(map), Some(block)) = (params.as_object_mut(), ipv6) {
            map.insert("Ipv6CidrBlock".to_owned(), json!(format!("{block}/64")));
        }
        let tags = json!([{"ResourceType": "network-acl", "Tags": [{"Key": "Name", "Value": name}]}]);
        let acl = json!({"VpcId": network.vpc, "TagSpecifications": tags});
        let (subnet, acl) = futures::try_join!(ask("create_subnet", params), ask("create_network_acl", acl))?;
        let (id, acl) = (text(&subnet, "/Subnet/SubnetId")?, text(&acl, "/NetworkAcl/NetworkAclId")?);
        let associate = async {
            let filters = json!({"Filters": [{"Name": "association.subnet-id", "Values": [id]}]});
            let found = ask("describe_network_acls", filters).await?;
            let of_subnet = |one: &&Value| one.get("SubnetId").and_then(Value::as_str) == Some(id.as_str());
            let association = super::items(&found, "/NetworkAcls/0/Associations").find(of_subnet).cloned().unwrap_or_default();
            let association = text(&association, "/NetworkAclAssociationId")?;
            ask("replace_network_acl_association", json!({"AssociationId": association, "NetworkAclId": acl})).await
        };
        let mut entries = Vec::new();
        for egress in [false, true] {
            entries.push(json!({"CidrBlock": "0.0.0.0/0", "RuleNumber": 100, "Egress": egress}));
            if ipv6.is_some() {
                entries.push(json!({"Ipv6CidrBlock": "::/0", "RuleNumber": 110, "Egress": egress}));
            }
        }
        let allow = try_join_all(entries.into_iter().map(|mut entry| {
            if let Some(map) = entry.as_object_mut() {
                map.extend([("NetworkAclId", json!(acl)), ("Protocol", json!("-1")), ("RuleAction", json!("allow"))].map(own));
            }
            ask("create_network_acl_entry", entry)
        }));
        futures::try_join!(associate, allow)?;
        Ok(Subnet { id, acl, ipv6: ipv6.is_some() })
    }

    /// A security group with these permissions.
    pub(super) async fn group(&self, account: &str, region: &str, name: &str, permissions: Value) -> Result<String, LabError> {
        let network = self.network(account, region).await?;
        let params = json!({"GroupName": name, "Description": format!("{name} of the lab"), "VpcId": network.vpc});
        let made = self.call(account, region, "ec2", "create_security_group", params).await?;
        let id = text(&made, "/GroupId")?;
        let params = json!({"GroupId": id, "IpPermissions": permissions});
        self.call(account, region, "ec2", "authorize_security_group_ingress", params).await?;
        Ok(id)
    }

    /// So many security groups in a cell whose port 22 is open to the world, with their findings, which nobody has been told of yet.
    ///
    /// # Errors
    /// The first call that failed.
    pub async fn open_groups(&self, account: &str, region: &str, count: usize) -> Result<Vec<OpenGroup>, LabError> {
        self.network(account, region).await?;
        let make = async |number: usize| {
            let name = format!("open-{number}-{}", crate::accounts::fresh());
            let id = self.group(account, region, &name, permissions((22, 22), false)).await?;
            let arn = format!("arn:aws:ec2:{region}:{account}:security-group/{id}");
            let finding = finding::open_port_22(account, region, &arn);
            Ok::<_, LabError>(OpenGroup { account: account.to_owned(), region: region.to_owned(), id, arn, finding })
        };
        let make = &make;
        try_join_all((0..count).map(make)).await
    }

    /// Tags a resource of EC2.
    ///
    /// # Errors
    /// When there is no such resource.
    pub async fn tag(&self, account: &str, region: &str, id: &str, key: &str, value: &str) -> Result<(), LabError> {
        let params = json!({"Resources": [id], "Tags": [{"Key": key, "Value": value}]});
        self.call(account, region, "ec2", "create_tags", params).await.map(drop)
    }
}

fn own((name, value): (&str, Value)) -> (String, Value) {
    (name.to_owned(), value)
}

/// What is to be closed, and beside it what is rightful: 443 from everywhere, 22 from the inside.
pub(super) fn permissions((from, to): (u16, u16), ipv6: bool) -> Value {
    let range = |from: u16, to: u16, cidr: &str, what: &str| json!({"IpProtocol": "tcp", "FromPort": from, "ToPort": to, "IpRanges": [{"CidrIp": cidr, "Description": what}]});
    let mut open = range(from, to, "0.0.0.0/0", "temporary");
    if let (true, Some(map)) = (ipv6, open.as_object_mut()) {
        map.insert("Ipv6Ranges".to_owned(), json!([{"CidrIpv6": "::/0", "Description": "temporary"}]));
    }
    json!([open, range(443, 443, "0.0.0.0/0", "web"), range(22, 22, "10.0.0.0/8", "bastion")])
}
