//! A role as IAM has it: its tags, its trust, its inline policies; and the role of an instance.

use std::collections::BTreeSet;

use aws_sdk_iam::Client;
use cordon_shared::id::Region;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::Value;

use super::super::super::ec2::look::{Machine, filter, machines};
use crate::action::{ActionError, Cx, classify};

/// How many inline policies are read at the same time.
const AT_A_TIME: usize = 4;

/// A role.
#[derive(Debug, Clone)]
pub(super) struct Role {
    pub name: String,
    pub arn: String,
    pub tags: Vec<(String, String)>,
    /// The services that its trust policy lets in.
    pub services: BTreeSet<String>,
    /// Everybody else whom its trust policy lets in: accounts, principals, identity providers.
    pub others: BTreeSet<String>,
}

impl Role {
    /// The role as an ARN has it, its path included: `app/web`.
    pub fn path_name(&self) -> &str {
        self.arn.split_once(":role/").map_or(self.name.as_str(), |(_, name)| name)
    }

    pub fn tag_pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.tags.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

/// The role with this name; `None` where there is none.
pub(super) async fn role(client: &Client, name: &str) -> Result<Option<Role>, ActionError> {
    let answer = match client.get_role().role_name(name).send().await.map_err(|error| classify("iam:GetRole", error)) {
        Ok(answer) => answer,
        Err(ActionError::Gone { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(answer.role().map(|wire| {
        let trust = wire.assume_role_policy_document().map(decoded).unwrap_or_default();
        let (services, others) = trusted(&trust);
        Role {
            name: wire.role_name().to_owned(),
            arn: wire.arn().to_owned(),
            tags: wire.tags().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect(),
            services,
            others,
        }
    }))
}

/// One inline policy; `None` where the role has none of this name, or is gone.
pub(super) async fn policy(client: &Client, role: &str, name: &str) -> Result<Option<String>, ActionError> {
    let answer = client.get_role_policy().role_name(role).policy_name(name).send().await;
    match answer.map_err(|error| classify("iam:GetRolePolicy", error)) {
        Ok(answer) => Ok(Some(decoded(answer.policy_document()))),
        Err(ActionError::Gone { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The names of the inline policies of a role, and how many characters each has that count.
pub(super) async fn sizes(client: &Client, role: &str) -> Result<Vec<(String, usize)>, ActionError> {
    let names = client.list_role_policies().role_name(role).into_paginator().items().send();
    let names = names.collect::<Result<Vec<_>, _>>().await.map_err(|error| classify("iam:ListRolePolicies", error))?;
    let sizes = stream::iter(names).map(|name| async move {
        let text = policy(client, role, &name).await?;
        Ok::<_, ActionError>((name, text.map_or(0, |text| super::policy::size(&text))))
    });
    sizes.buffered(AT_A_TIME).try_collect().await
}

/// The instance with this id and its Region: in the step's, or, where that is none, in the first configured one that has it.
pub(super) async fn machine(cx: Cx<'_>, id: &str) -> Result<Option<(Region, Machine)>, ActionError> {
    for region in places(cx) {
        let client = cx.read.in_region(&region).ec2();
        if let Some(machine) = machines(&client, &[id.to_owned()]).await?.remove(id) {
            return Ok(Some((region, machine)));
        }
    }
    Ok(None)
}

/// Where an instance is looked for.
fn places(cx: Cx<'_>) -> Vec<Region> {
    if cx.cell.region == Region::global() { cx.regions.to_vec() } else { vec![cx.cell.region.clone()] }
}

/// The name of the role whose sessions an instance gets, or why it gets none.
pub(super) async fn role_of(cx: Cx<'_>, id: &str, region: &Region) -> Result<Result<String, String>, ActionError> {
    let client = cx.read.in_region(region).ec2();
    let pages = client.describe_iam_instance_profile_associations().filters(filter("instance-id", [id])).into_paginator().items().send();
    let found = pages.collect::<Result<Vec<_>, _>>().await;
    let found = found.map_err(|error| classify("ec2:DescribeIamInstanceProfileAssociations", error))?;
    let in_force = found.iter().find(|one| one.state().is_some_and(|state| matches!(state.as_str(), "associated" | "associating")));
    let Some(arn) = in_force.and_then(|one| one.iam_instance_profile()?.arn()) else {
        return Ok(Err(format!("instance {id} has no instance profile, so no role gives it sessions")));
    };
    let none = || format!("instance profile {arn} of {id} has no role");
    Ok(role_of_profile(&cx.read.iam(), arn).await?.map(|(name, _)| name).ok_or_else(none))
}

/// Name and ARN of the role in an instance profile, given by its ARN; `None` where the profile is gone or has none.
pub(in crate::actions) async fn role_of_profile(client: &Client, arn: &str) -> Result<Option<(String, String)>, ActionError> {
    let name = arn.rsplit('/').next().unwrap_or(arn);
    let answer = client.get_instance_profile().instance_profile_name(name).send().await;
    match answer.map_err(|error| classify("iam:GetInstanceProfile", error)) {
        Ok(answer) => {
            let role = answer.instance_profile().and_then(|profile| profile.roles().first());
            Ok(role.map(|role| (role.role_name().to_owned(), role.arn().to_owned())))
        }
        Err(ActionError::Gone { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whom a trust policy lets in: services, and all others.
fn trusted(text: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let policy: Value = serde_json::from_str(text).unwrap_or_default();
    let statements = match policy.get("Statement") {
        Some(Value::Array(list)) => list.clone(),
        Some(one) => vec![one.clone()],
        None => Vec::new(),
    };
    let (mut services, mut others) = (BTreeSet::new(), BTreeSet::new());
    for statement in statements.iter().filter(|statement| statement.get("Effect").and_then(Value::as_str) == Some("Allow")) {
        match statement.get("Principal") {
            Some(Value::Object(kinds)) => {
                for (kind, value) in kinds {
                    let into = if kind == "Service" { &mut services } else { &mut others };
                    into.extend(texts(value));
                }
            }
            Some(other) => others.extend(texts(other)),
            None => {}
        }
    }
    (services, others)
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

/// A policy as it was written: IAM answers it percent-encoded
/// (<https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetRolePolicy.html>, RFC 3986).
pub(super) fn decoded(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut found = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let mut digit = || ahead.next().and_then(|byte| char::from(byte).to_digit(16)).and_then(|digit| u8::try_from(digit).ok());
        match (byte, (byte == b'%').then(|| Some((digit()?, digit()?))).flatten()) {
            (_, Some((high, low))) => {
                found.push(high * 16 + low);
                bytes = ahead;
            }
            (plain, None) => found.push(plain),
        }
    }
    String::from_utf8_lossy(&found).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_as_it_was_written() {
        assert_eq!(decoded("%7B%22a%22%3A%20%22%C3%A9+%25%22%7D"), "{\"a\": \"é+%\"}");
        assert_eq!(decoded("100%"), "100%");
        assert_eq!(decoded("%zz%4"), "%zz%4");
    }

    #[test]
    fn a_trust_policy_names_services_and_others() {
        let text = r#"{"Statement": [
            {"Effect": "Allow", "Principal": {"Service": ["ec2.amazonaws.com", "lambda.amazonaws.com"], "AWS": "arn:aws:iam::111122223333:root"}},
            {"Effect": "Allow", "Principal": "*"}, {"Effect": "Deny", "Principal": {"Service": "glue.amazonaws.com"}}]}"#;
        let (services, others) = trusted(text);
        assert_eq!(services.into_iter().collect::<Vec<_>>(), ["ec2.amazonaws.com", "lambda.amazonaws.com"]);
        assert_eq!(others.into_iter().collect::<Vec<_>>(), ["*", "arn:aws:iam::111122223333:root"]);
    }
}
