//! The CloudFormation template of the spoke role: the one thing that a member account deploys.
//!
//! Its permissions are those that the actions declare, and what the hub itself reads to tell owners; nothing else. It is JSON, which CloudFormation reads as it reads YAML.

use cordon_shared::plan::Seat;
use cordon_spoke::{
    action::Registry,
    actions::cloudtrail::date_tag,
    aws::MEMBER_READS,
    permission::{Permission, role_statements},
};
use serde_json::{Value, json};

/// What has CloudFormation's pseudo parameters in it, a resource or the value of a condition, becomes `Fn::Sub`.
fn substitute(value: Value) -> Value {
    match value {
        Value::String(text) if text.contains("${AWS::") => json!({ "Fn::Sub": text }),
        Value::Array(items) => Value::Array(items.into_iter().map(substitute).collect()),
        Value::Object(map) => Value::Object(map.into_iter().map(|(key, value)| (key, substitute(value))).collect()),
        other => other,
    }
}

fn statements(permissions: &[Permission]) -> Vec<Value> {
    role_statements(permissions)
        .into_iter()
        .map(|mut statement| {
            for part in ["Resource", "Condition"] {
                if let Some(value) = statement.get_mut(part) {
                    *value = substitute(value.take());
                }
            }
            statement
        })
        .collect()
}

/// The template, as text that ends in a line break.
#[must_use]
pub fn spoke_role(registry: &Registry) -> String {
    let of = |more: &[Permission], pick: fn(&cordon_spoke::action::Action) -> &'static [Permission]| {
        let actions = registry.iter().filter(|action| action.seat == Seat::Member);
        let mut permissions: Vec<Permission> =
            actions.flat_map(|action| pick(action).iter().copied()).chain(more.iter().copied()).collect();
        permissions.sort_unstable();
        permissions.dedup();
        permissions
    };
    let also: Vec<Permission> = MEMBER_READS.iter().chain(date_tag::READS).copied().collect();
    let (reads, writes) = (of(&also, |action| action.reads), of(&[], |action| action.writes));
    let template = json!({
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "Cordon spoke role: lets the organization's incident responder look, and contain, in this account. Rendered by `cordon infra render` from the actions' own permissions.",
        "Parameters": {
            "HubAccountId": { "Type": "String", "AllowedPattern": "^[0-9]{12}$", "Description": "The security account that Cordon runs in" },
            "HubPrincipalArn": {
                "Type": "String", "Default": "",
                "Description": "The role that Cordon runs as there; empty: every principal of that account that may assume this role"
            },
            "ExternalId": { "Type": "String", "Default": "", "Description": "[spoke] external_id of cordon.toml, where it is not `{account}`" },
            "RoleName": { "Type": "String", "Default": "CordonSpoke", "Description": "[spoke] role_name of cordon.toml" }
        },
        "Conditions": {
            "OnePrincipal": { "Fn::Not": [{ "Fn::Equals": [{ "Ref": "HubPrincipalArn" }, ""] }] },
            "OwnExternalId": { "Fn::Not": [{ "Fn::Equals": [{ "Ref": "ExternalId" }, ""] }] }
        },
        "Resources": {
            "SpokeRole": {
                "Type": "AWS::IAM::Role",
                "Properties": {
                    "RoleName": { "Ref": "RoleName" },
                    "Description": "Cordon contains and investigates here. To opt out, tag the account or a resource with cordon:opt-out.",
                    "MaxSessionDuration": 3600,
                    "AssumeRolePolicyDocument": {
                        "Version": "2012-10-17",
                        "Statement": [{
                            "Effect": "Allow",
                            "Principal": { "AWS": { "Fn::If": ["OnePrincipal", { "Ref": "HubPrincipalArn" }, { "Fn::Sub": "arn:${AWS::Partition}:iam::${HubAccountId}:root" }] } },
                            "Action": ["sts:AssumeRole", "sts:SetSourceIdentity", "sts:TagSession"],
                            "Condition": {
                                "StringEquals": { "sts:ExternalId": { "Fn::If": ["OwnExternalId", { "Ref": "ExternalId" }, { "Ref": "AWS::AccountId" }] } },
                                "StringLike": { "sts:SourceIdentity": "cordon-*" }
                            }
                        }]
                    },
                    "Policies": [
                        { "PolicyName": "look", "PolicyDocument": { "Version": "2012-10-17", "Statement": statements(&reads) } },
                        { "PolicyName": "contain", "PolicyDocument": { "Version": "2012-10-17", "Statement": statements(&writes) } }
                    ]
                }
            }
        },
        "Outputs": { "SpokeRoleArn": { "Value": { "Fn::GetAtt": ["SpokeRole", "Arn"] } } }
    });
    let mut text = serde_json::to_string_pretty(&cordon_shared::words::canonical(template)).unwrap_or_default();
    text.push('\n');
    text
}
