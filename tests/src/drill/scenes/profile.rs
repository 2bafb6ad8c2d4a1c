//! `ec2.swap-instance-profile`.

use cordon_shared::id::CellId;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::{Setting, World, Yard, cell, shape};
use crate::{
    Hand, LabError,
    drill::Trespass,
    organization::{Exposure, call, text},
};

pub(super) const ACTION: &str = "ec2.swap-instance-profile";

#[derive(Debug)]
struct Profiles {
    hand: Hand,
    cell: CellId,
    /// The instance.
    id: String,
    /// The profile that it has.
    old: String,
    /// A profile that somebody else gives it; its role has the same name.
    theirs: String,
    /// The association of another instance.
    other: String,
}

/// An instance with a profile, beside another.
pub(super) fn instance(yard: &Yard) -> Setting<'_> {
    Box::pin(async move {
        let (account, region) = yard.place();
        let make = async || {
            let shape = shape(vec![Exposure::Port]);
            yard.organization.instance(account, region, &shape).await
        };
        let (one, other) = futures::try_join!(make(), make())?;
        let hand = yard.organization.hand.clone();
        let mut world = Profiles {
            hand,
            cell: cell(account, region)?,
            id: one.id,
            old: one.profile,
            theirs: format!("theirs-{}", crate::accounts::fresh()),
            other: String::new(),
        };
        world.other = text(&world.association(&other.id).await?, "/AssociationId")?;
        let trust = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ]});
        let role = json!({"RoleName": world.theirs, "AssumeRolePolicyDocument": trust.to_string()});
        let profile = json!({"InstanceProfileName": world.theirs});
        futures::try_join!(world.ask("iam", "create_role", role), world.ask("iam", "create_instance_profile", profile))?;
        let params = json!({"InstanceProfileName": world.theirs, "RoleName": world.theirs});
        world.ask("iam", "add_role_to_instance_profile", params).await?;
        Ok(Box::new(world) as Box<dyn World>)
    })
}

impl Profiles {
    async fn ask(&self, service: &str, operation: &str, params: Value) -> Result<Value, LabError> {
        call(&self.hand, self.cell.account.as_str(), self.cell.region.as_str(), service, operation, params).await
    }

    /// As [`Profiles::ask`] of IAM; nothing where the thing is not there.
    async fn known(&self, operation: &str, params: Value) -> Result<Value, LabError> {
        match self.hand.call(self.cell.account.as_str(), self.cell.region.as_str(), "iam", operation, params).await {
            Ok(found) => Ok(found),
            Err(error) if error.code == "NoSuchEntity" => Ok(Value::Null),
            Err(error) => Err(error.into()),
        }
    }

    async fn association(&self, instance: &str) -> Result<Value, LabError> {
        let filters = json!({"Filters": [{"Name": "instance-id", "Values": [instance]}]});
        let found = self.ask("ec2", "describe_iam_instance_profile_associations", filters).await?;
        Ok(found.pointer("/IamInstanceProfileAssociations/0").cloned().unwrap_or_default())
    }

    fn own(&self) -> String {
        format!("cordon-{}", self.id)
    }

    fn whose(&self, arn: Option<&Value>) -> &'static str {
        match arn.and_then(Value::as_str) {
            Some(arn) if arn == self.old => "old",
            Some(arn) if arn.ends_with(&format!(":instance-profile/cordon/{}", self.own())) => "ours",
            Some(arn) if arn.ends_with(&self.theirs) => "theirs",
            Some(_) => "unknown",
            None => "none",
        }
    }
}

impl World for Profiles {
    fn cell(&self) -> &CellId {
        &self.cell
    }

    fn with(&self) -> Value {
        json!({"instance": self.id})
    }

    fn look(&self) -> BoxFuture<'_, Result<Value, LabError>> {
        Box::pin(async move {
            let association = self.association(&self.id).await?;
            let described = self.ask("ec2", "describe_instances", json!({"InstanceIds": [self.id]})).await?;
            let role = self.known("get_role", json!({"RoleName": self.own()})).await?;
            let inline = self.known("list_role_policies", json!({"RoleName": self.own()})).await?;
            let attached = self.known("list_attached_role_policies", json!({"RoleName": self.own()})).await?;
            let profile = self.known("get_instance_profile", json!({"InstanceProfileName": self.own()})).await?;
            let roles: Vec<&Value> = crate::organization::items(&profile, "/InstanceProfile/Roles").collect();
            Ok(json!({
                "association": self.whose(association.pointer("/IamInstanceProfile/Arn")),
                "instance": self.whose(described.pointer("/Reservations/0/Instances/0/IamInstanceProfile/Arn")),
                "role": role.pointer("/Role/Path"),
                "trust": role.pointer("/Role/AssumeRolePolicyDocument"),
                "inline": inline.get("PolicyNames"),
                "attached": attached.get("AttachedPolicies"),
                "profile": profile.pointer("/InstanceProfile/Path"),
                "joined": roles.len(),
            }))
        })
    }

    /// Somebody gives the instance a third profile.
    fn drift(&self) -> BoxFuture<'_, Result<(), LabError>> {
        Box::pin(async move {
            let association = text(&self.association(&self.id).await?, "/AssociationId")?;
            let params = json!({"AssociationId": association, "IamInstanceProfile": {"Name": self.theirs}});
            self.ask("ec2", "replace_iam_instance_profile_association", params).await.map(drop)
        })
    }

    fn drifted(&self, state: &Value) -> bool {
        state.get("association").and_then(Value::as_str) == Some("theirs")
    }

    fn trespasses(&self) -> Vec<Trespass> {
        let own = self.own();
        let iam = |operation, params| Trespass { service: "iam", operation, params };
        let ec2 = |operation, params| Trespass { service: "ec2", operation, params };
        vec![
            ec2("replace_iam_instance_profile_association", json!({"AssociationId": self.other, "IamInstanceProfile": {"Name": own}})),
            ec2("associate_iam_instance_profile", json!({"InstanceId": self.id, "IamInstanceProfile": {"Name": self.theirs}})),
            ec2("describe_instances", json!({})),
            iam("create_role", json!({"RoleName": "cordon-other", "Path": "/cordon/", "AssumeRolePolicyDocument": "{}"})),
            iam("create_role", json!({"RoleName": own, "AssumeRolePolicyDocument": "{}"})),
            iam("add_role_to_instance_profile", json!({"InstanceProfileName": own, "RoleName": self.theirs})),
            iam("put_role_policy", json!({"RoleName": own, "PolicyName": "all", "PolicyDocument": "{}"})),
            iam("attach_role_policy", json!({"RoleName": own, "PolicyArn": "arn:aws:iam::aws:policy/AdministratorAccess"})),
            iam("update_assume_role_policy", json!({"RoleName": own, "PolicyDocument": "{}"})),
            iam("delete_role", json!({"RoleName": self.theirs})),
            iam("delete_instance_profile", json!({"InstanceProfileName": self.theirs})),
        ]
    }
}
