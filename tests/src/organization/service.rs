//! What instances serve in: Auto Scaling groups, target groups behind load balancers, classic balancers.

use futures::future::try_join_all;
use serde_json::{Value, json};

use super::{Instance, Organization, text};
use crate::LabError;

/// How an Auto Scaling group is to be.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// The minimum size.
    pub min: u32,
    /// The maximum size.
    pub max: u32,
    /// How many other instances it has, besides the one that is attached.
    pub others: u32,
}

/// How a target group is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Targets are instances.
    Instances,
    /// Targets are addresses.
    Addresses,
}

impl Organization {
    /// An Auto Scaling group with other instances and this one, which keeps its members in these target groups. It is named after the instance.
    ///
    /// # Errors
    /// The first call that failed.
    pub async fn scaling_group(&self, instance: &Instance, sizes: Sizes, target_groups: &[String]) -> Result<String, LabError> {
        let ask =
            async |operation: &str, params: Value| self.call(&instance.account, &instance.region, "autoscaling", operation, params).await;
        let name = format!("{}-group", instance.name);
        let launched = json!({"LaunchConfigurationName": name, "ImageId": "ami-12c6146b", "InstanceType": "t3.micro"});
        ask("create_launch_configuration", launched).await?;
        // The minimum is reached with the instance that is attached.
        let params = json!({
            "AutoScalingGroupName": name, "LaunchConfigurationName": name, "MinSize": 0, "MaxSize": sizes.max, "DesiredCapacity": sizes.others,
            "VPCZoneIdentifier": instance.subnet, "TargetGroupARNs": target_groups,
        });
        ask("create_auto_scaling_group", params).await?;
        ask("attach_instances", json!({"AutoScalingGroupName": name, "InstanceIds": [instance.id]})).await?;
        ask("update_auto_scaling_group", json!({"AutoScalingGroupName": name, "MinSize": sizes.min})).await?;
        Ok(name)
    }

    /// A target group in an instance's VPC.
    ///
    /// # Errors
    /// The first call that failed.
    pub async fn target_group(&self, instance: &Instance, name: &str, kind: Kind, port: u16) -> Result<String, LabError> {
        let kind = if kind == Kind::Addresses { "ip" } else { "instance" };
        let params = json!({"Name": name, "Protocol": "TCP", "Port": port, "VpcId": instance.vpc, "TargetType": kind});
        let made = self.call(&instance.account, &instance.region, "elbv2", "create_target_group", params).await?;
        text(&made, "/TargetGroups/0/TargetGroupArn")
    }

    /// A network load balancer in an instance's subnet that sends traffic to these target groups.
    ///
    /// # Errors
    /// The first call that failed.
    pub async fn balance(&self, instance: &Instance, name: &str, target_groups: &[String]) -> Result<(), LabError> {
        let ask = async |operation: &str, params: Value| self.call(&instance.account, &instance.region, "elbv2", operation, params).await;
        let made = ask("create_load_balancer", json!({"Name": name, "Type": "network", "Subnets": [instance.subnet]})).await?;
        let balancer = text(&made, "/LoadBalancers/0/LoadBalancerArn")?;
        let listeners = target_groups.iter().zip(2000..).map(|(group, port)| {
            ask(
                "create_listener",
                json!({
                    "LoadBalancerArn": balancer, "Protocol": "TCP", "Port": port,
                    "DefaultActions": [{"Type": "forward", "TargetGroupArn": group}],
                }),
            )
        });
        try_join_all(listeners).await.map(drop)
    }

    /// Registers targets, each by its id or address and its port.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn register(&self, instance: &Instance, target_group: &str, targets: &[(&str, u16)]) -> Result<(), LabError> {
        let targets: Vec<Value> = targets.iter().map(|(id, port)| json!({"Id": id, "Port": port})).collect();
        let params = json!({"TargetGroupArn": target_group, "Targets": targets});
        self.call(&instance.account, &instance.region, "elbv2", "register_targets", params).await.map(drop)
    }

    /// A classic balancer with these instances.
    ///
    /// # Errors
    /// The first call that failed.
    pub async fn classic_balancer(&self, instance: &Instance, name: &str, instances: &[&str]) -> Result<(), LabError> {
        let ask = async |operation: &str, params: Value| self.call(&instance.account, &instance.region, "elb", operation, params).await;
        let listener = json!({"Protocol": "tcp", "LoadBalancerPort": 80, "InstancePort": 8080});
        ask("create_load_balancer", json!({"LoadBalancerName": name, "Listeners": [listener], "Subnets": [instance.subnet]})).await?;
        let instances: Vec<Value> = instances.iter().map(|id| json!({"InstanceId": id})).collect();
        ask("register_instances_with_load_balancer", json!({"LoadBalancerName": name, "Instances": instances})).await.map(drop)
    }
}
