//! The role without rights, and the profile that it is in: looked at, made, and taken away again.

use std::time::Duration;

use aws_sdk_iam::{Client, types::Tag};
use serde_json::{Value, json};

use crate::{
    action::{ActionError, ApplyError, Cx, classify},
    actions::ec2::profile::profile,
    session::{RUN_TAG, STEP_TAG},
};

/// Where they stand.
pub(super) const PATH: &str = "/cordon/";

/// After which waits IAM is read back: what it made is there for all readers after some seconds
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency>).
const READ_BACK: [Duration; 7] = [
    Duration::ZERO,
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];

/// What they are called, in one account.
#[derive(Debug, Clone)]
pub(super) struct Blank {
    /// Of both.
    pub name: String,
    /// The role's ARN.
    pub role_arn: String,
    /// The profile's ARN.
    pub profile_arn: String,
    /// Who is trusted.
    service: &'static str,
}

impl Blank {
    /// For this instance.
    pub(super) fn of(cx: Cx<'_>, instance: &str) -> Self {
        let name = format!("cordon-{instance}");
        Self {
            role_arn: cx.iam_arn(&format!("role{PATH}{name}")),
            profile_arn: cx.iam_arn(&format!("instance-profile{PATH}{name}")),
            // https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html#principal-services-in-opt-in-regions
            service: if cx.read.partition() == "aws-cn" { "ec2.amazonaws.com.cn" } else { "ec2.amazonaws.com" },
            name,
        }
    }

    fn trust(&self) -> Value {
        json!({
            "Version": "2012-10-17",
            "Statement": [{ "Effect": "Allow", "Principal": { "Service": self.service }, "Action": "sts:AssumeRole" }],
        })
    }
}

/// What has the name of a role or a profile of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Thing {
    /// Nothing.
    Absent,
    /// It is as we make it.
    Ours {
        /// The incident whose tag it carries.
        run: String,
    },
    /// It is not, or not any more.
    Foreign {
        /// What is wrong with it.
        why: String,
    },
}

/// What there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    /// The role.
    pub role: Thing,
    /// The profile.
    pub profile: Thing,
    /// Whether the role is in the profile.
    pub joined: bool,
}

impl State {
    /// Why they may not be used.
    pub(super) fn foreign(&self) -> Option<&str> {
        [&self.role, &self.profile].into_iter().find_map(|thing| match thing {
            Thing::Foreign { why } => Some(why.as_str()),
            _ => None,
        })
    }
}

/// A name with the tag of an incident at our path is ours; a member can forge both, so content counts besides.
fn ours(what: &str, path: &str, run: Option<&str>) -> Thing {
    match run {
        _ if path != PATH => Thing::Foreign { why: format!("{what} stands at the path {path}, not {PATH}") },
        Some(run) if !run.is_empty() => Thing::Ours { run: run.to_owned() },
        _ => Thing::Foreign { why: format!("{what} does not carry the tag {RUN_TAG}: Cordon did not make it") },
    }
}

/// Whether a trust policy lets EC2 assume the role, and nobody and nothing else.
fn trusts_only(document: &Value, service: &str) -> bool {
    let one = |value: &Value| match value {
        Value::Array(items) if items.len() == 1 => items.first().cloned().unwrap_or_default(),
        other => other.clone(),
    };
    let Some(statements) = document.get("Statement") else { return false };
    let statement = one(statements);
    let Some(parts) = statement.as_object() else { return false };
    let part = |name: &str| parts.get(name).map(one).unwrap_or_default();
    let principal = part("Principal");
    parts.keys().all(|key| matches!(key.as_str(), "Sid" | "Effect" | "Principal" | "Action"))
        && part("Effect") == "Allow"
        && part("Action") == "sts:AssumeRole"
        && principal.as_object().is_some_and(|kinds| kinds.len() == 1)
        && principal.get("Service").map(one).is_some_and(|found| found == service)
}

/// A policy document as IAM answers it: JSON, percent-encoded (<https://www.rfc-editor.org/rfc/rfc3986>).
fn document(text: &str) -> Option<Value> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let pair = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&pair).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    serde_json::from_slice(&bytes).ok()
}

/// What there is of them.
pub(super) async fn look(iam: &Client, blank: &Blank) -> Result<State, ActionError> {
    let name = &blank.name;
    let profile = profile(iam, name).await?;
    let joined = profile.as_ref().is_some_and(|profile| profile.roles.iter().any(|role| role.arn == blank.role_arn));
    let profile = match profile {
        None => Thing::Absent,
        Some(profile) => {
            let what = format!("the instance profile {name}");
            match profile.roles.iter().find(|role| role.arn != blank.role_arn) {
                Some(role) => Thing::Foreign { why: format!("{what} holds the role {}, not {}", role.arn, blank.role_arn) },
                None => ours(&what, &profile.path, profile.tags.get(RUN_TAG).map(String::as_str)),
            }
        }
    };
    Ok(State { role: role(iam, blank).await?, profile, joined })
}

async fn role(iam: &Client, blank: &Blank) -> Result<Thing, ActionError> {
    let (name, what) = (&blank.name, format!("the role {}", blank.name));
    let answer = match iam.get_role().role_name(name).send().await.map_err(|error| classify("iam:GetRole", error)) {
        Ok(answer) => answer,
        Err(ActionError::Gone { .. }) => return Ok(Thing::Absent),
        Err(error) => return Err(error),
    };
    let Some(wire) = answer.role() else { return Ok(Thing::Absent) };
    let run = wire.tags().iter().find(|tag| tag.key() == RUN_TAG).map(Tag::value);
    let thing = ours(&what, wire.path(), run);
    if matches!(thing, Thing::Foreign { .. }) {
        return Ok(thing);
    }
    if !wire.assume_role_policy_document().and_then(document).is_some_and(|trust| trusts_only(&trust, blank.service)) {
        return Ok(Thing::Foreign { why: format!("{what} is trusted by others than {}", blank.service) });
    }
    let inline = iam.list_role_policies().role_name(name).into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
    let mut policies = match inline.map_err(|error| classify("iam:ListRolePolicies", error)) {
        Ok(found) => found,
        Err(ActionError::Gone { .. }) => return Ok(Thing::Absent),
        Err(error) => return Err(error),
    };
    let attached = iam.list_attached_role_policies().role_name(name).into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
    match attached.map_err(|error| classify("iam:ListAttachedRolePolicies", error)) {
        Ok(found) => policies.extend(found.into_iter().filter_map(|policy| policy.policy_arn)),
        Err(ActionError::Gone { .. }) => return Ok(Thing::Absent),
        Err(error) => return Err(error),
    }
    Ok(match policies.first() {
        Some(policy) => Thing::Foreign { why: format!("{what} has the policy {policy}") },
        None => thing,
    })
}

fn failed(call: &str, code: &str, message: String) -> ActionError {
    ActionError::Service { call: call.to_owned(), code: code.to_owned(), message }
}

/// A failure that reading again answers: it is there already, or not there yet for the other call.
fn seen_by_reading(error: &ActionError) -> bool {
    match error {
        ActionError::Gone { .. } => true,
        ActionError::Service { code, .. } => matches!(code.as_str(), "EntityAlreadyExists" | "LimitExceeded" | "ConcurrentModification"),
        _ => false,
    }
}

/// Makes what is missing, until role and profile can be read back as they must be: joined, trusted by EC2 alone, and without any policy.
/// `done` counts calls that took effect.
pub(super) async fn make(cx: Cx<'_>, write: &Client, blank: &Blank, run: &str, done: &mut usize) -> Result<(), ApplyError> {
    let (read, name) = (cx.read.iam(), &blank.name);
    let tags = vec![tag(RUN_TAG, run)?, tag(STEP_TAG, &cx.step.to_string().replace('#', ":"))?];
    for wait in READ_BACK {
        tokio::time::sleep(wait).await;
        let state = look(&read, blank).await.map_err(|error| ApplyError::after(*done, error))?;
        if let Some(why) = state.foreign() {
            return Err(ApplyError::after(*done, failed("iam:CreateRole", "ForeignRole", format!("{why}; it is not used"))));
        }
        if state.role != Thing::Absent && state.profile != Thing::Absent && state.joined {
            return Ok(());
        }
        if state.role == Thing::Absent {
            let call = write.create_role().path(PATH).role_name(name).assume_role_policy_document(blank.trust().to_string());
            let call = call.description("Without any rights, for an instance that Cordon contains").set_tags(Some(tags.clone()));
            made(call.send().await.map_err(|error| classify("iam:CreateRole", error)), done)?;
        }
        if state.profile == Thing::Absent {
            let call = write.create_instance_profile().path(PATH).instance_profile_name(name).set_tags(Some(tags.clone()));
            made(call.send().await.map_err(|error| classify("iam:CreateInstanceProfile", error)), done)?;
        }
        if !state.joined {
            let call = write.add_role_to_instance_profile().instance_profile_name(name).role_name(name);
            made(call.send().await.map_err(|error| classify("iam:AddRoleToInstanceProfile", error)), done)?;
        }
    }
    let message = format!("role and instance profile {name} were made and cannot be read back");
    Err(ApplyError::after(*done, failed("iam:CreateRole", "NotReadBack", message)))
}

fn made<T>(answer: Result<T, ActionError>, done: &mut usize) -> Result<(), ApplyError> {
    match answer {
        Ok(_) => *done += 1,
        Err(error) if seen_by_reading(&error) => {}
        Err(error) => return Err(ApplyError::after(*done, error)),
    }
    Ok(())
}

fn tag(key: &str, value: &str) -> Result<Tag, ActionError> {
    Tag::builder().key(key).value(value).build().map_err(|error| ActionError::Bug(format!("a tag could not be built: {error}")))
}

/// Takes away what carries the tag of this incident and is as it was made. Gives what was left, and why.
pub(super) async fn unmake(cx: Cx<'_>, write: &Client, blank: &Blank, run: &str, done: &mut usize) -> Result<Vec<String>, ApplyError> {
    let (read, name) = (cx.read.iam(), &blank.name);
    let mut last: Option<(State, ActionError)> = None;
    for wait in READ_BACK {
        tokio::time::sleep(wait).await;
        let state = look(&read, blank).await.map_err(|error| ApplyError::after(*done, error))?;
        if let Some(why) = state.foreign() {
            return Ok(vec![format!("{why}: role and instance profile {name} are left. Find out who changed them, then delete them")]);
        }
        let own = |thing: &Thing| matches!(thing, Thing::Ours { run: of } if of == run);
        if !own(&state.role) && !own(&state.profile) {
            return Ok(Vec::new());
        }
        // A call that failed may have taken effect: of a role that is gone IAM knows no path, and denies the second attempt.
        match last.take() {
            Some((before, error)) if before == state && !matches!(error, ActionError::Gone { .. } | ActionError::Service { .. }) => {
                return Err(ApplyError::after(*done, error));
            }
            _ => {}
        }
        last = take(write, &state, name, own, done).await.err().map(|error| (state, error));
    }
    let message = format!("role and instance profile {name} were deleted and can still be read");
    let error = last.map_or_else(|| failed("iam:DeleteRole", "NotReadBack", message), |(_, error)| error);
    Err(ApplyError::after(*done, error))
}

async fn take(write: &Client, state: &State, name: &str, own: impl Fn(&Thing) -> bool, done: &mut usize) -> Result<(), ActionError> {
    if state.joined {
        let call = write.remove_role_from_instance_profile().instance_profile_name(name).role_name(name);
        call.send().await.map_err(|error| classify("iam:RemoveRoleFromInstanceProfile", error))?;
        *done += 1;
    }
    if own(&state.profile) {
        let call = write.delete_instance_profile().instance_profile_name(name);
        call.send().await.map_err(|error| classify("iam:DeleteInstanceProfile", error))?;
        *done += 1;
    }
    if own(&state.role) {
        let call = write.delete_role().role_name(name);
        call.send().await.map_err(|error| classify("iam:DeleteRole", error))?;
        *done += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EC2: &str = "ec2.amazonaws.com";

    #[test]
    fn only_the_trust_of_ec2_alone_is_ours() {
        let trust = |statement: Value| json!({ "Version": "2012-10-17", "Statement": statement });
        let plain = json!({ "Effect": "Allow", "Principal": { "Service": EC2 }, "Action": "sts:AssumeRole" });
        assert!(trusts_only(&trust(plain.clone()), EC2));
        assert!(trusts_only(&trust(json!([plain])), EC2));
        let lists = json!([{ "Sid": "", "Effect": "Allow", "Principal": { "Service": [EC2] }, "Action": ["sts:AssumeRole"] }]);
        assert!(trusts_only(&trust(lists), EC2));
        for wrong in [
            json!([plain, plain]),
            json!([]),
            json!({ "Effect": "Allow", "Principal": { "AWS": "*" }, "Action": "sts:AssumeRole" }),
            json!({ "Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole" }),
            json!({ "Effect": "Allow", "Principal": { "Service": EC2, "AWS": "111122223333" }, "Action": "sts:AssumeRole" }),
            json!({ "Effect": "Allow", "Principal": { "Service": [EC2, "lambda.amazonaws.com"] }, "Action": "sts:AssumeRole" }),
            json!({ "Effect": "Allow", "Principal": { "Service": EC2 }, "Action": ["sts:AssumeRole", "sts:TagSession"] }),
            json!({ "Effect": "Allow", "NotPrincipal": { "Service": EC2 }, "Principal": { "Service": EC2 }, "Action": "sts:AssumeRole" }),
        ] {
            assert!(!trusts_only(&trust(wrong.clone()), EC2), "{wrong}");
        }
        assert!(!trusts_only(&json!({}), EC2));
    }

    #[test]
    fn another_path_and_a_missing_tag_are_foreign() {
        assert_eq!(ours("the role x", PATH, Some("inc-1")), Thing::Ours { run: "inc-1".to_owned() });
        for thing in [ours("the role x", "/", Some("inc-1")), ours("the role x", PATH, None), ours("the role x", PATH, Some(""))] {
            assert!(matches!(thing, Thing::Foreign { .. }), "{thing:?}");
        }
    }

    #[test]
    fn documents_are_read_as_iam_sends_them() {
        assert_eq!(document("%7B%22a%22%3A%20%22b%25%22%7D"), Some(json!({ "a": "b%" })));
        assert_eq!(document("{\"a\": 1}"), Some(json!({ "a": 1 })));
        for broken in ["%7", "%zz", "{", ""] {
            assert_eq!(document(broken), None, "{broken}");
        }
    }
}
