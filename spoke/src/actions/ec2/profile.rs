//! Which instance profile an instance has, and which role is in it.

use aws_sdk_ec2::{Client, types::IamInstanceProfileAssociationState};
use serde::{Deserialize, Serialize};

use super::look::{Tags, filter};
use crate::action::{ActionError, classify};

/// What an instance and its profile hang on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::actions) struct Association {
    /// Its id. AWS gives another one with each replacement.
    pub id: String,
    /// The instance.
    pub instance: String,
    /// The ARN of the profile.
    pub profile: String,
    /// Whether the instance has taken it over.
    pub settled: bool,
}

/// The associations that hold or are about to; of one instance, or of all of the cell.
pub(in crate::actions) async fn associations(client: &Client, instance: Option<&str>) -> Result<Vec<Association>, ActionError> {
    let filters = instance.map(|id| vec![filter("instance-id", [id])]);
    let pages = client.describe_iam_instance_profile_associations().set_filters(filters).into_paginator().items().send();
    let found = pages.collect::<Result<Vec<_>, _>>().await;
    let found = found.map_err(|error| classify("ec2:DescribeIamInstanceProfileAssociations", error))?;
    let live = found.iter().filter_map(|wire| {
        let settled = match wire.state()? {
            IamInstanceProfileAssociationState::Associated => true,
            IamInstanceProfileAssociationState::Associating => false,
            _ => return None,
        };
        Some(Association {
            id: wire.association_id()?.to_owned(),
            instance: wire.instance_id()?.to_owned(),
            profile: wire.iam_instance_profile()?.arn()?.to_owned(),
            settled,
        })
    });
    Ok(live.collect())
}

/// The association of an instance: while one replaces another, the new one.
pub(in crate::actions) async fn association(client: &Client, instance: &str) -> Result<Option<Association>, ActionError> {
    Ok(associations(client, Some(instance)).await?.into_iter().min_by_key(|association| association.settled))
}

/// A role in a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::actions) struct Role {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
}

impl Role {
    /// Path and name, as they stand in its ARN after `role/`.
    pub fn in_arn(&self) -> &str {
        self.arn.split_once(":role/").map_or(self.name.as_str(), |(_, rest)| rest)
    }
}

/// An instance profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::actions) struct Profile {
    /// Its ARN.
    pub arn: String,
    /// Its path, `/` at both ends.
    pub path: String,
    /// Its tags.
    pub tags: Tags,
    /// The roles in it; AWS lets one in (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>).
    pub roles: Vec<Role>,
}

/// The name of a profile, a role or a user in its ARN: the path is left out.
pub(in crate::actions) fn name_in(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

/// The profile of this name; `None` where there is none.
pub(in crate::actions) async fn profile(iam: &aws_sdk_iam::Client, name: &str) -> Result<Option<Profile>, ActionError> {
    let answer = iam.get_instance_profile().instance_profile_name(name).send().await;
    let answer = match answer.map_err(|error| classify("iam:GetInstanceProfile", error)) {
        Ok(answer) => answer,
        Err(ActionError::Gone { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(answer.instance_profile().map(|wire| Profile {
        arn: wire.arn().to_owned(),
        path: wire.path().to_owned(),
        tags: wire.tags().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect(),
        roles: wire.roles().iter().map(|role| Role { name: role.role_name().to_owned(), arn: role.arn().to_owned() }).collect(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_bound_with_its_path() {
        let role = |arn: &str| Role { name: "app".to_owned(), arn: arn.to_owned() };
        assert_eq!(role("arn:aws:iam::111122223333:role/service/app").in_arn(), "service/app");
        assert_eq!(role("arn:aws:iam::111122223333:role/app").in_arn(), "app");
        assert_eq!(name_in("arn:aws:iam::111122223333:instance-profile/service/app"), "app");
    }
}
