//! Instances with a network of their own: a VPC with both families that nothing else is in, two subnets, groups, and any number of interfaces.

use futures::future::try_join_all;
use serde_json::{Value, json};

use super::{Organization, text};
use crate::LabError;

/// An instance in a VPC of its own.
#[derive(Debug, Clone)]
pub struct Apart {
    /// Its id.
    pub id: String,
    /// Its VPC.
    pub vpc: String,
    /// Its subnets: interfaces are in them by turns.
    pub subnets: Vec<String>,
    /// Groups of the VPC, each with port 22 open to the world.
    pub groups: Vec<String>,
    /// Its interfaces.
    pub interfaces: Vec<String>,
}

impl Organization {
    /// An instance of a type in a VPC of its own, with `groups` groups, and for each interface the places of its groups among them.
    ///
    /// # Errors
    /// The first call that failed.
    pub async fn apart(&self, account: &str, region: &str, kind: &str, groups: usize, interfaces: &[&[usize]]) -> Result<Apart, LabError> {
        let ask = async |operation: &str, params: Value| self.call(account, region, "ec2", operation, params).await;
        let made = ask("create_vpc", json!({"CidrBlock": "10.30.0.0/16", "AmazonProvidedIpv6CidrBlock": true})).await?;
        let vpc = text(&made, "/Vpc/VpcId")?;
        let subnet = async |number: usize| {
            let made = ask("create_subnet", json!({"VpcId": vpc, "CidrBlock": format!("10.30.{number}.0/24")})).await?;
            text(&made, "/Subnet/SubnetId")
        };
        let group = async |number: usize| {
            let params = json!({"GroupName": format!("web-{number}"), "Description": "of the lab", "VpcId": vpc});
            let id = text(&ask("create_security_group", params).await?, "/GroupId")?;
            let open = json!([{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]);
            ask("authorize_security_group_ingress", json!({"GroupId": id, "IpPermissions": open})).await?;
            Ok::<_, LabError>(id)
        };
        let (subnet, group) = (&subnet, &group);
        let (subnets, groups) = futures::try_join!(try_join_all((0..2).map(subnet)), try_join_all((0..groups).map(group)))?;
        let of = |places: &[usize]| places.iter().filter_map(|place| groups.get(*place)).cloned().collect::<Vec<_>>();
        let place = |number: usize| subnets.get(number % 2).cloned().unwrap_or_default();
        let params = json!({
            "ImageId": "ami-12c6146b", "InstanceType": kind, "MinCount": 1, "MaxCount": 1, "SubnetId": place(0),
            "SecurityGroupIds": of(interfaces.first().copied().unwrap_or_default()),
        });
        let made = ask("run_instances", params).await?;
        let id = text(&made, "/Instances/0/InstanceId")?;
        let mut found = vec![text(&made, "/Instances/0/NetworkInterfaces/0/NetworkInterfaceId")?];
        for (number, places) in interfaces.iter().enumerate().skip(1) {
            let made = ask("create_network_interface", json!({"SubnetId": place(number), "Groups": of(places)})).await?;
            let interface = text(&made, "/NetworkInterface/NetworkInterfaceId")?;
            let params = json!({"InstanceId": id, "NetworkInterfaceId": interface, "DeviceIndex": number});
            ask("attach_network_interface", params).await?;
            found.push(interface);
        }
        Ok(Apart { id, vpc, subnets, groups, interfaces: found })
    }
}
