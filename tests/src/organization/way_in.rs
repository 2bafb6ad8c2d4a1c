//! A way in from the Internet, and who opened it.

use futures::future::try_join_all;
use serde_json::{Value, json};

use super::{Instance, Organization, items, text, trail::Caller};
use crate::LabError;

impl Organization {
    /// Gives an instance an Elastic IP address and its subnet a route to the Internet; the id of the route table.
    ///
    /// # Errors
    /// The first call that failed.
    pub async fn in_the_internet(&self, instance: &Instance) -> Result<String, LabError> {
        let ask = async |operation: &str, params: Value| self.call(&instance.account, &instance.region, "ec2", operation, params).await;
        let filters = json!({"Filters": [{"Name": "attachment.vpc-id", "Values": [instance.vpc]}]});
        let there = ask("describe_internet_gateways", filters).await?;
        let gateway = match text(&there, "/InternetGateways/0/InternetGatewayId") {
            Ok(gateway) => gateway,
            Err(_) => {
                let gateway = text(&ask("create_internet_gateway", json!({})).await?, "/InternetGateway/InternetGatewayId")?;
                ask("attach_internet_gateway", json!({"InternetGatewayId": gateway, "VpcId": instance.vpc})).await?;
                gateway
            }
        };
        let table = text(&ask("create_route_table", json!({"VpcId": instance.vpc})).await?, "/RouteTable/RouteTableId")?;
        ask("create_route", json!({"RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0", "GatewayId": gateway})).await?;
        ask("associate_route_table", json!({"RouteTableId": table, "SubnetId": instance.subnet})).await?;
        let allocation = text(&ask("allocate_address", json!({"Domain": "vpc"})).await?, "/AllocationId")?;
        let interface = instance.interfaces.first();
        ask("associate_address", json!({"AllocationId": allocation, "NetworkInterfaceId": interface})).await?;
        Ok(table)
    }

    /// The rules by which the world gets in on port 22, as EC2 describes them.
    ///
    /// # Errors
    /// The first call that failed.
    pub async fn open_rules(&self, instance: &Instance) -> Result<Vec<Value>, LabError> {
        let of = |group: &String| {
            let filters = json!({"Filters": [{"Name": "group-id", "Values": [group]}]});
            self.call(&instance.account, &instance.region, "ec2", "describe_security_group_rules", filters)
        };
        let found = try_join_all(instance.groups.iter().map(of)).await?;
        let port = |rule: &Value, name: &str| rule.get(name).and_then(Value::as_i64);
        let world = |rule: &&Value| {
            let (from, to) = (port(rule, "FromPort"), port(rule, "ToPort"));
            let cidr = rule.get("CidrIpv4").or_else(|| rule.get("CidrIpv6")).and_then(Value::as_str);
            from.is_some_and(|from| from <= 22)
                && to.is_some_and(|to| to >= 22)
                && rule.get("IsEgress") != Some(&json!(true))
                && matches!(cidr, Some("0.0.0.0/0" | "::/0"))
        };
        Ok(found.iter().flat_map(|found| items(found, "/SecurityGroupRules")).filter(world).cloned().collect())
    }

    /// Has CloudTrail know that a caller opened these rules, so many seconds ago.
    ///
    /// # Errors
    /// The first call that failed.
    pub async fn opened_by(&self, instance: &Instance, caller: &Caller, ago: i64) -> Result<(), LabError> {
        let rules = self.open_rules(instance).await?;
        let record = |group: &String| {
            let of_group = rules.iter().filter(|rule| rule.get("GroupId").and_then(Value::as_str) == Some(group));
            let made: Vec<Value> = of_group
                .map(|rule| {
                    let value = |name: &str| rule.get(name).cloned().unwrap_or_default();
                    json!({
                        "groupId": group, "securityGroupRuleId": value("SecurityGroupRuleId"), "ipProtocol": value("IpProtocol"),
                        "fromPort": value("FromPort"), "toPort": value("ToPort"), "isEgress": false,
                        "cidrIpv4": value("CidrIpv4"), "cidrIpv6": value("CidrIpv6"),
                    })
                })
                .collect();
            let more = json!({
                "requestParameters": {"groupId": group},
                "responseElements": {"securityGroupRuleSet": {"items": made}},
                "resources": [{
                    "ARN": format!("arn:aws:ec2:{}:{}:security-group/{group}", instance.region, instance.account),
                    "type": "AWS::EC2::SecurityGroup",
                }],
            });
            caller.record(&instance.region, ago, "ec2", "AuthorizeSecurityGroupIngress", more)
        };
        self.recorded(&instance.groups.iter().map(record).collect::<Vec<_>>()).await
    }
}
