//! The world of a contained instance, read back with boto3.

use std::time::Duration;

use cordon_lab::{HandError, hand::Credentials, organization::Instance};
use serde_json::{Value, json};

use crate::respond::world::{HOME, World};

/// How long the gateway takes a role for true that it has read, and a cut-off to lie in the past.
pub(crate) const IN_FORCE: Duration = Duration::from_millis(3_200);

impl World {
    async fn ec2(&self, instance: &Instance, operation: &str, params: Value) -> Value {
        let found = self.lab.hand.call(&instance.account, &instance.region, "ec2", operation, params).await;
        found.unwrap_or_else(|error| panic!("ec2 {operation}: {error}"))
    }

    /// The groups of each interface.
    pub(crate) async fn groups(&self, instance: &Instance) -> Vec<Vec<String>> {
        let found = self.ec2(instance, "describe_network_interfaces", json!({"NetworkInterfaceIds": instance.interfaces})).await;
        let interfaces = found["NetworkInterfaces"].as_array().unwrap();
        let of = |interface: &Value| {
            interface["Groups"].as_array().unwrap().iter().map(|group| group["GroupId"].as_str().unwrap().to_owned()).collect()
        };
        let mut all: Vec<(String, Vec<String>)> =
            interfaces.iter().map(|one| (one["NetworkInterfaceId"].as_str().unwrap().to_owned(), of(one))).collect();
        all.sort();
        all.into_iter().map(|(_, groups)| groups).collect()
    }

    /// The rules of a group, ingress and egress, both families.
    pub(crate) async fn rules(&self, instance: &Instance, group: &str) -> usize {
        let params = json!({"Filters": [{"Name": "group-id", "Values": [group]}]});
        self.ec2(instance, "describe_security_group_rules", params).await["SecurityGroupRules"].as_array().unwrap().len()
    }

    /// An attribute of the instance.
    pub(crate) async fn attribute(&self, instance: &Instance, name: &str) -> Value {
        let found = self.ec2(instance, "describe_instance_attribute", json!({"InstanceId": instance.id, "Attribute": name})).await;
        found.as_object().unwrap().iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).unwrap().1["Value"].clone()
    }

    /// The instance as EC2 describes it.
    pub(crate) async fn described(&self, instance: &Instance) -> Value {
        self.ec2(instance, "describe_instances", json!({"InstanceIds": [instance.id]})).await["Reservations"][0]["Instances"][0].clone()
    }

    /// The snapshots of the account that carry the incident's tag.
    pub(crate) async fn snapshots(&self, instance: &Instance, incident: &str) -> Vec<Value> {
        let params = json!({"OwnerIds": ["self"], "Filters": [{"Name": "tag:cordon:run", "Values": [incident]}]});
        self.ec2(instance, "describe_snapshots", params).await["Snapshots"].as_array().unwrap().clone()
    }

    /// Whether credentials may look at instances, through the gateway that decides as AWS does.
    pub(crate) async fn works(&self, credentials: &Credentials) -> Result<(), HandError> {
        let hand = self.lab.hand.at(&self.lab.endpoint()).with(credentials);
        hand.call("", HOME, "ec2", "describe_instances", json!({})).await.map(drop)
    }

    /// Another instance with the same role.
    pub(crate) async fn twin(&self, instance: &Instance, name: &str) -> Instance {
        let twin = self
            .organization
            .instance(&instance.account, &instance.region, &cordon_lab::organization::InstanceShape::named(name))
            .await
            .unwrap();
        let found = self
            .ec2(&twin, "describe_iam_instance_profile_associations", json!({"Filters": [{"Name": "instance-id", "Values": [twin.id]}]}))
            .await;
        let association = found["IamInstanceProfileAssociations"][0]["AssociationId"].clone();
        let params = json!({"AssociationId": association, "IamInstanceProfile": {"Arn": instance.profile}});
        // EC2 knows a new profile only after a while.
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            let hand = &self.lab.hand;
            match hand.call(&twin.account, &twin.region, "ec2", "replace_iam_instance_profile_association", params.clone()).await {
                Ok(_) => break,
                Err(error) if error.code == "InvalidParameterValue" && tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
        Instance { profile: instance.profile.clone(), ..twin }
    }
}

/// The steps of an incident with their states.
pub(crate) fn states(incident: &Value) -> Vec<(&str, &str)> {
    incident["steps"].as_array().unwrap().iter().map(|step| (step["id"].as_str().unwrap(), step["state"].as_str().unwrap())).collect()
}

/// Each of these steps has this state.
pub(crate) fn all(incident: &Value, ids: &[&str], state: &str) {
    let states = states(incident);
    for id in ids {
        let found = states.iter().find(|(known, _)| known == id);
        assert_eq!(found, Some(&(*id, state)), "{incident:#}");
    }
}
