//! Instances to attack: a subnet and a network ACL of their own, an instance profile, several interfaces with open groups, a login log.

use futures::future::try_join_all;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Organization, cells::permissions, text};
use crate::LabError;

const GLOBAL: &str = "us-east-1";
/// The log group of logins; its streams are called after the instances.
pub const LOG_GROUP: &str = "/var/log/secure";
/// How many guesses of an attacker a log holds.
const GUESSES: i64 = 24;

/// What an interface's group opens to the world, beside what is rightful.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposure {
    /// Port 22.
    Port,
    /// Ports 20 to 25.
    Range,
}

/// How an instance is to be.
#[derive(Debug, Clone)]
pub struct InstanceShape {
    /// Its name.
    pub name: String,
    /// Its interfaces, each with a group of its own.
    pub interfaces: Vec<Exposure>,
    /// Tags besides its name.
    pub tags: Vec<(String, String)>,
}

impl InstanceShape {
    /// Two interfaces: one with port 22 open, one with ports 20 to 25 open.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), interfaces: vec![Exposure::Port, Exposure::Range], tags: Vec::new() }
    }

    /// With a tag.
    #[must_use]
    pub fn tagged(mut self, key: &str, value: &str) -> Self {
        self.tags.push((key.to_owned(), value.to_owned()));
        self
    }
}

/// An instance.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Its name.
    pub name: String,
    /// Its account.
    pub account: String,
    /// Its Region.
    pub region: String,
    /// Its id.
    pub id: String,
    /// Its ARN.
    pub arn: String,
    /// Its VPC.
    pub vpc: String,
    /// Its subnet.
    pub subnet: String,
    /// The subnet's network ACL.
    pub acl: String,
    /// Its groups, one for each interface.
    pub groups: Vec<String>,
    /// Its interfaces.
    pub interfaces: Vec<String>,
    /// The address of the first interface.
    pub address: String,
    /// The ARN of its instance profile.
    pub profile: String,
    /// Its tags.
    pub tags: Vec<(String, String)>,
}

impl Organization {
    /// Makes an instance.
    ///
    /// # Errors
    /// The first call that failed.
    pub async fn instance(&self, account: &str, region: &str, shape: &InstanceShape) -> Result<Instance, LabError> {
        let name = &shape.name;
        let ask = async |operation: &str, params: Value| self.call(account, region, "ec2", operation, params).await;
        let subnet = self.subnet(account, region, name).await?;
        let group = async |number: usize, exposure: &Exposure| {
            let (name, ports) = match exposure {
                Exposure::Port => (format!("{name}-{number}-ssh"), (22, 22)),
                Exposure::Range => (format!("{name}-{number}-range"), (20, 25)),
            };
            self.group(account, region, &name, permissions(ports, subnet.ipv6)).await
        };
        let group = &group;
        let groups = try_join_all(shape.interfaces.iter().enumerate().map(|(number, exposure)| group(number, exposure)));
        let (groups, profile) = futures::try_join!(groups, self.profile(account, region, name))?;
        let mut tags = vec![("Name".to_owned(), name.clone())];
        tags.extend(shape.tags.iter().cloned());
        let pairs: Vec<Value> = tags.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect();
        let params = json!({
            "ImageId": "ami-12c6146b", "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1, "SubnetId": subnet.id,
            "SecurityGroupIds": groups.first(), "IamInstanceProfile": {"Arn": profile},
            "TagSpecifications": [{"ResourceType": "instance", "Tags": pairs}],
        });
        let made = ask("run_instances", listed(params, "SecurityGroupIds")).await?;
        let id = text(&made, "/Instances/0/InstanceId")?;
        let mut interfaces = vec![text(&made, "/Instances/0/NetworkInterfaces/0/NetworkInterfaceId")?];
        for (number, group) in groups.iter().enumerate().skip(1) {
            let made = ask("create_network_interface", json!({"SubnetId": subnet.id, "Groups": [group]})).await?;
            let interface = text(&made, "/NetworkInterface/NetworkInterfaceId")?;
            let params = json!({"InstanceId": id, "NetworkInterfaceId": interface, "DeviceIndex": number});
            ask("attach_network_interface", params).await?;
            interfaces.push(interface);
        }
        Ok(Instance {
            name: name.clone(),
            account: account.to_owned(),
            region: region.to_owned(),
            arn: format!("arn:aws:ec2:{region}:{account}:instance/{id}"),
            vpc: text(&made, "/Instances/0/VpcId")?,
            address: text(&made, "/Instances/0/PrivateIpAddress")?,
            subnet: subnet.id,
            acl: subnet.acl,
            id,
            groups,
            interfaces,
            profile,
            tags,
        })
    }

    async fn profile(&self, account: &str, region: &str, name: &str) -> Result<String, LabError> {
        let ask = async |operation: &str, params: Value| self.call(account, GLOBAL, "iam", operation, params).await;
        let name = format!("{name}-{region}-{}", crate::accounts::fresh());
        let trust = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ]});
        let role = json!({"RoleName": name, "AssumeRolePolicyDocument": trust.to_string()});
        let profile = json!({"InstanceProfileName": name});
        let (_, made) = futures::try_join!(ask("create_role", role), ask("create_instance_profile", profile))?;
        ask("add_role_to_instance_profile", json!({"InstanceProfileName": name, "RoleName": name})).await?;
        text(&made, "/InstanceProfile/Arn")
    }

    /// Writes an attack into an instance's login log: guesses over the last ten minutes, and a login by password after them if `login` names
    /// a user.
    ///
    /// # Errors
    /// The first call that failed.
    pub async fn log_attack(&self, instance: &Instance, attacker: &str, login: Option<&str>) -> Result<(), LabError> {
        let mut lines = Vec::new();
        for guess in 0..GUESSES {
            let user = ["root", "invalid user admin", "invalid user oracle", "ubuntu"].get(usize::try_from(guess % 4).unwrap_or(0));
            let user = user.copied().unwrap_or("root");
            lines.push((600 - guess * 20, format!("Failed password for {user} from {attacker} port {} ssh2", 40_000 + guess)));
        }
        if let Some(user) = login {
            lines.push((90, format!("Accepted password for {user} from {attacker} port 41999 ssh2")));
            lines.push((90, format!("pam_unix(sshd:session): session opened for user {user}(uid=1000) by (uid=0)")));
        }
        self.log(instance, &lines).await
    }

    /// Writes sshd's lines, each so many seconds ago, into an instance's login log.
    ///
    /// # Errors
    /// The first call that failed.
    pub async fn log(&self, instance: &Instance, lines: &[(i64, String)]) -> Result<(), LabError> {
        let host = format!("ip-{}", instance.address.replace('.', "-"));
        let now = Timestamp::now();
        let mut events = Vec::new();
        for (ago, line) in lines {
            let at = now.checked_sub(SignedDuration::from_secs(*ago)).unwrap_or(now);
            let message = format!("{} {host} sshd[2417]: {line}", at.strftime("%b %e %H:%M:%S"));
            events.push(json!({"timestamp": at.as_millisecond(), "message": message}));
        }
        let known = async |operation: &str, params: Value| match self
            .hand
            .call(&instance.account, &instance.region, "logs", operation, params)
            .await
        {
            Err(error) if error.code != "ResourceAlreadyExistsException" => Err(LabError::new(format!("logs {operation}: {error}"))),
            _ => Ok(()),
        };
        known("create_log_group", json!({"logGroupName": LOG_GROUP})).await?;
        known("create_log_stream", json!({"logGroupName": LOG_GROUP, "logStreamName": instance.id})).await?;
        let params = json!({"logGroupName": LOG_GROUP, "logStreamName": instance.id, "logEvents": events});
        self.call(&instance.account, &instance.region, "logs", "put_log_events", params).await.map(drop)
    }
}

/// A parameter that is a list of one, where it is one.
fn listed(mut params: Value, name: &str) -> Value {
    if let Some(one) = params.get_mut(name) {
        *one = if one.is_null() { json!([]) } else { json!([one.take()]) };
    }
    params
}
