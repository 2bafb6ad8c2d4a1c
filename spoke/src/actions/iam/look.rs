//! What the IAM actions look at, in our own types. Nothing secret is among it: IAM answers a secret only when it makes one.

use std::{collections::BTreeMap, time::Duration};

use aws_sdk_iam::{
    Client,
    types::{StatusType, Tag},
};
use aws_smithy_types::DateTime;
use cordon_shared::arn::same_principal;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::action::{ActionError, Cx, classify};

/// After which waits a change is read back before it counts as not there. IAM is eventually consistent
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency>).
pub(super) const READ_BACK: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// The tags of a resource.
pub(super) type Tags = BTreeMap<String, String>;

pub(super) fn tags(list: &[Tag]) -> Tags {
    list.iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect()
}

/// Tags as an opt-out is looked for in them.
pub(super) fn pairs(tags: &Tags) -> impl Iterator<Item = (&str, &str)> {
    tags.iter().map(|(key, value)| (key.as_str(), value.as_str()))
}

pub(super) fn time(at: &DateTime) -> Option<Timestamp> {
    at.to_millis().ok().and_then(|millis| Timestamp::from_millisecond(millis).ok())
}

/// What is there; `None` where IAM knows no such entity.
pub(crate) fn there<T>(result: Result<T, ActionError>) -> Result<Option<T>, ActionError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(ActionError::Gone { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A document as IAM answers it: JSON, percent-encoded
/// (<https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetUserPolicy.html>).
pub(crate) fn document(text: &str) -> Option<serde_json::Value> {
    serde_json::from_str(text).ok().or_else(|| serde_json::from_str(&decoded(text)?).ok())
}

/// As [`document`], not yet read as JSON.
pub(super) fn decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut found = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            found.push(byte);
            continue;
        }
        let mut digit = || u8::try_from(char::from(bytes.next()?).to_digit(16)?).ok();
        found.push(digit()? * 16 + digit()?);
    }
    String::from_utf8(found).ok()
}

/// A part of an ARN as a policy names it: a path may hold what is a wildcard or a variable there
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html#policy-vars-specialchars>).
pub(super) fn in_policy(part: &str) -> String {
    let mut found = String::with_capacity(part.len());
    for letter in part.chars() {
        match letter {
            '*' | '?' | '$' => found.extend(['$', '{', letter, '}']),
            other => found.push(other),
        }
    }
    found
}

/// Whether Cordon never touches a principal of this name.
pub(super) fn is_protected(cx: Cx<'_>, name: &str) -> bool {
    cx.protected.iter().any(|own| same_principal(own, name))
}

/// Whether a name stands for the root user: as CloudTrail and findings write it, and as the credential report does.
pub(super) fn is_root(name: &str) -> bool {
    name.eq_ignore_ascii_case("root") || name == "<root_account>"
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    pub name: String,
    pub arn: String,
    pub tags: Tags,
}

/// Path and name of a user as its ARN has them: what a permission of a write session on it is bound to.
pub(super) fn bound(arn: &str, name: &str) -> String {
    in_policy(arn.split_once(":user/").map_or(name, |(_, id)| id))
}

/// The user of this name; `None` where there is none.
pub(super) async fn user(client: &Client, name: &str) -> Result<Option<User>, ActionError> {
    let answer = client.get_user().user_name(name).send().await.map_err(|error| classify("iam:GetUser", error));
    let found = there(answer)?.and_then(|answer| answer.user);
    Ok(found.map(|user| User { name: user.user_name().to_owned(), arn: user.arn().to_owned(), tags: tags(user.tags()) }))
}

/// What a user authenticates with, and what IAM says of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Credential {
    pub id: String,
    /// `Active`, `Inactive`, `Expired`.
    pub status: String,
    /// When it was made or uploaded.
    pub made: Option<Timestamp>,
}

pub(super) const ACTIVE: &str = "Active";
pub(super) const INACTIVE: &str = "Inactive";

impl Credential {
    pub fn new(id: &str, status: Option<&StatusType>, made: Option<&DateTime>) -> Self {
        let status = status.map_or("unknown", StatusType::as_str).to_owned();
        Self { id: id.to_owned(), status, made: made.and_then(time) }
    }

    /// Whether it lets somebody in.
    pub fn is_active(&self) -> bool {
        self.status == ACTIVE
    }

    /// Whether it was made in a window that began at `since`.
    pub fn is_since(&self, since: Timestamp) -> bool {
        self.made.is_some_and(|made| made >= since)
    }
}

/// The attribute of a user that an access key is.
pub(super) fn key_attribute(id: &str) -> String {
    format!("access key {id}")
}

/// The access keys of a user; `None` where there is no such user.
pub(super) async fn keys(client: &Client, user: &str) -> Result<Option<Vec<Credential>>, ActionError> {
    let pages = client.list_access_keys().user_name(user).into_paginator().items().send();
    let found = pages.collect::<Result<Vec<_>, _>>().await.map_err(|error| classify("iam:ListAccessKeys", error));
    let key = |key: &aws_sdk_iam::types::AccessKeyMetadata| Some(Credential::new(key.access_key_id()?, key.status(), key.create_date()));
    let found = there(found)?.map(|found| found.iter().filter_map(key).collect::<Vec<_>>());
    Ok(found.map(|mut found| {
        found.sort_by(|one, other| one.id.cmp(&other.id));
        found
    }))
}

/// Makes an access key active or inactive.
pub(super) async fn set_key(client: &Client, user: &str, id: &str, status: StatusType) -> Result<(), ActionError> {
    let call = client.update_access_key().user_name(user).access_key_id(id).status(status);
    call.send().await.map(drop).map_err(|error| classify("iam:UpdateAccessKey", error))
}

/// The ARNs of the managed policies attached to a user, in order; none where there is no such user.
pub(super) async fn attached(client: &Client, user: &str) -> Result<Vec<String>, ActionError> {
    let pages = client.list_attached_user_policies().user_name(user).into_paginator().items().send();
    let found = pages.collect::<Result<Vec<_>, _>>().await.map_err(|error| classify("iam:ListAttachedUserPolicies", error));
    let found = there(found)?.unwrap_or_default();
    let mut arns: Vec<String> = found.iter().filter_map(|policy| policy.policy_arn()).map(str::to_owned).collect();
    arns.sort();
    Ok(arns)
}

/// The names of AWS's own quarantine policies among attached ones
/// (<https://docs.aws.amazon.com/aws-managed-policy/latest/reference/AWSCompromisedKeyQuarantineV3.html>, and its earlier versions).
pub(super) fn quarantines(attached: &[String]) -> Vec<String> {
    let names = attached.iter().filter_map(|arn| arn.split_once(":iam::aws:policy/")).map(|(_, name)| name);
    names.filter(|name| name.starts_with("AWSCompromisedKeyQuarantine")).map(str::to_owned).collect()
}

/// What a reader should know about AWS's quarantine of a user.
pub(super) fn quarantine_note(user: &str, policies: &[String]) -> Option<String> {
    (!policies.is_empty()).then(|| {
        format!(
            "AWS itself has put {} on {user}: it knows a key of it as exposed. Cordon keeps that, also in an undo; it forbids some calls only",
            policies.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_wildcards_widens_no_policy() {
        assert_eq!(in_policy("ops/alice"), "ops/alice");
        assert_eq!(in_policy("*/a?$/alice"), "${*}/a${?}${$}/alice");
    }

    #[test]
    fn a_document_is_read_as_iam_writes_it() {
        let plain = serde_json::json!({ "a": "ü %" });
        assert_eq!(document("%7B%22a%22%3A%22%C3%BC%20%25%22%7D"), Some(plain.clone()));
        assert_eq!(document(&plain.to_string()), Some(plain));
        for broken in ["%7", "%zz", "{", "%FF"] {
            assert_eq!(document(broken), None, "{broken}");
        }
    }

    #[test]
    fn quarantine_policies_are_those_of_aws() {
        let attached = [
            "arn:aws:iam::111122223333:policy/AWSCompromisedKeyQuarantineV2",
            "arn:aws:iam::aws:policy/AWSCompromisedKeyQuarantine",
            "arn:aws:iam::aws:policy/AWSCompromisedKeyQuarantineV3",
            "arn:aws:iam::aws:policy/ReadOnlyAccess",
        ]
        .map(str::to_owned);
        assert_eq!(quarantines(&attached), ["AWSCompromisedKeyQuarantine", "AWSCompromisedKeyQuarantineV3"]);
        assert_eq!(quarantine_note("alice", &[]), None);
    }
}
