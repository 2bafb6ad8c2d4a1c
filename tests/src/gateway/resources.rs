//! What a call needs to be allowed: IAM actions and the ARNs of the resources it names, as the service authorization reference has them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{ledger::Need, parse::Parsed};

/// EC2's operations that name resources: where in the request, and of what type. `+TYPE` is a resource that the call makes.
/// Resource types without a star in the reference are checked too when the request names them: stricter than AWS may be, never laxer.
const EC2: &[(&str, &[(&str, &str)])] = &[
    ("AssociateIamInstanceProfile", &[("InstanceId", "instance")]),
    ("AttachNetworkInterface", &[("InstanceId", "instance"), ("NetworkInterfaceId", "network-interface")]),
    ("AuthorizeSecurityGroupEgress", &[("GroupId", "security-group")]),
    ("AuthorizeSecurityGroupIngress", &[("GroupId", "security-group")]),
    ("CopySnapshot", &[("SourceSnapshotId", "snapshot"), ("", "+snapshot")]),
    ("CreateImage", &[("InstanceId", "instance"), ("", "+image")]),
    ("CreateNetworkAclEntry", &[("NetworkAclId", "network-acl")]),
    ("CreateSecurityGroup", &[("VpcId", "vpc"), ("", "+security-group")]),
    ("CreateSnapshot", &[("VolumeId", "volume"), ("", "+snapshot")]),
    ("CreateSnapshots", &[("InstanceSpecification.InstanceId", "instance"), ("", "+volume"), ("", "+snapshot")]),
    ("DeleteNetworkAclEntry", &[("NetworkAclId", "network-acl")]),
    ("DeleteSecurityGroup", &[("GroupId", "security-group")]),
    ("DescribeSnapshotAttribute", &[("SnapshotId", "snapshot")]),
    ("DisassociateIamInstanceProfile", &[("", "+instance")]),
    ("LockSnapshot", &[("SnapshotId", "snapshot")]),
    ("ModifyInstanceAttribute", &[("InstanceId", "instance"), ("GroupId", "security-group")]),
    ("ModifyInstanceMetadataOptions", &[("InstanceId", "instance")]),
    ("ModifyNetworkInterfaceAttribute", &[("NetworkInterfaceId", "network-interface"), ("SecurityGroupId", "security-group")]),
    ("ModifySecurityGroupRules", &[("GroupId", "security-group"), ("SecurityGroupRule.*.SecurityGroupRuleId", "security-group-rule")]),
    ("ModifySnapshotAttribute", &[("SnapshotId", "snapshot")]),
    ("MonitorInstances", &[("InstanceId", "instance")]),
    ("RebootInstances", &[("InstanceId", "instance")]),
    ("ReplaceIamInstanceProfileAssociation", &[("", "+instance")]),
    ("ReplaceNetworkAclAssociation", &[("NetworkAclId", "network-acl"), ("", "+subnet")]),
    ("ReplaceNetworkAclEntry", &[("NetworkAclId", "network-acl")]),
    ("RevokeSecurityGroupEgress", &[("GroupId", "security-group")]),
    ("RevokeSecurityGroupIngress", &[("GroupId", "security-group")]),
    ("StartInstances", &[("InstanceId", "instance")]),
    ("StopInstances", &[("InstanceId", "instance")]),
    ("TerminateInstances", &[("InstanceId", "instance")]),
    ("UpdateSecurityGroupRuleDescriptionsEgress", &[("GroupId", "security-group")]),
    ("UpdateSecurityGroupRuleDescriptionsIngress", &[("GroupId", "security-group")]),
];
/// The type of an EC2 resource by the beginning of its id, for operations that are not in the table.
const PREFIXES: &[(&str, &str)] = &[
    ("acl-", "network-acl"),
    ("ami-", "image"),
    ("eipalloc-", "elastic-ip"),
    ("eni-", "network-interface"),
    ("i-", "instance"),
    ("igw-", "internet-gateway"),
    ("nat-", "natgateway"),
    ("pl-", "prefix-list"),
    ("rtb-", "route-table"),
    ("sg-", "security-group"),
    ("sgr-", "security-group-rule"),
    ("snap-", "snapshot"),
    ("subnet-", "subnet"),
    ("vol-", "volume"),
    ("vpc-", "vpc"),
];

/// What a call needs. Never empty: an operation without resources needs `*`.
#[must_use]
pub fn needs(parsed: &Parsed, account: &str, write: bool) -> Vec<Need> {
    let action = format!("{}:{}", parsed.service, parsed.operation);
    let named = match parsed.service.as_str() {
        "ec2" if write || EC2.iter().any(|(operation, _)| *operation == parsed.operation) => ec2(parsed, account),
        "ec2" => Vec::new(),
        _ => others(parsed, account),
    };
    let mut found: Vec<Need> = Vec::new();
    for resource in named {
        if !found.iter().any(|need| need.resource == resource) {
            found.push(Need { action: action.clone(), resource, context: BTreeMap::new() });
        }
    }
    if found.is_empty() {
        found.push(Need { action: action.clone(), resource: "*".to_owned(), context: BTreeMap::new() });
    }
    if parsed.service == "ec2" && parsed.operation == "CreateTags" {
        let tags = request_tags(parsed.params.get("Tag"));
        found.iter_mut().for_each(|need| need.context.clone_from(&tags));
    }
    if parsed.service == "ec2" && write {
        for need in &mut found {
            need.context.extend(tags_of_made(parsed, &need.resource));
        }
        found.extend(tags_at_creation(parsed, account));
    }
    if parsed.service == "sts" && parsed.operation == "AssumeRole" {
        let resource = found.first().map(|need| need.resource.clone()).unwrap_or_default();
        for (parameter, action) in [("SourceIdentity", "sts:SetSourceIdentity"), ("Tags", "sts:TagSession")] {
            if parsed.params.get(parameter).is_some() {
                found.push(Need {
                    action: action.to_owned(),
                    resource: resource.clone(),
                    context: request_tags(parsed.params.get("Tags")),
                });
            }
        }
    }
    found
}

fn ec2(parsed: &Parsed, account: &str) -> Vec<String> {
    let arn = |kind: &str, id: &str| {
        // Snapshots and images belong to no account in their ARNs.
        let owner = if matches!(kind, "snapshot" | "image") { "" } else { account };
        format!("arn:aws:ec2:{}:{owner}:{kind}/{id}", parsed.region)
    };
    if let Some((_, places)) = EC2.iter().find(|(operation, _)| *operation == parsed.operation) {
        let mut found = Vec::new();
        for (place, kind) in *places {
            match kind.strip_prefix('+') {
                Some(made) => found.push(arn(made, "*")),
                None => found.extend(texts_at(&parsed.params, place).into_iter().map(|id| arn(kind, &id))),
            }
        }
        return found;
    }
    let mut ids = Vec::new();
    match parsed.operation.as_str() {
        // A tag may hold anything, an id too.
        "CreateTags" | "DeleteTags" => parsed.params.get("ResourceId").into_iter().for_each(|node| all_texts(node, &mut ids)),
        _ => all_texts(&parsed.params, &mut ids),
    }
    ids.iter().filter_map(|id| PREFIXES.iter().find(|(prefix, _)| id.starts_with(prefix)).map(|(_, kind)| arn(kind, id))).collect()
}

/// `ec2:CreateTags` on what a call makes and tags in one go.
fn tags_at_creation(parsed: &Parsed, account: &str) -> Vec<Need> {
    let specifications = parsed.params.get("TagSpecification").and_then(Value::as_array).cloned().unwrap_or_default();
    specifications
        .iter()
        .filter_map(|specification| {
            let kind = specification.get("ResourceType")?.as_str()?;
            let owner = if matches!(kind, "snapshot" | "image") { "" } else { account };
            let mut context = request_tags(specification.get("Tag"));
            context.insert("ec2:createaction".to_owned(), vec![parsed.operation.clone()]);
            Some(Need { action: "ec2:CreateTags".to_owned(), resource: format!("arn:aws:ec2:{}:{owner}:{kind}/*", parsed.region), context })
        })
        .collect()
}

/// `aws:RequestTag` of a resource that the call makes and tags in one go: it is known of that resource only, not of those that it is made from.
fn tags_of_made(parsed: &Parsed, resource: &str) -> BTreeMap<String, Vec<String>> {
    let Some(kind) = resource.strip_suffix("/*").and_then(|arn| arn.rsplit(':').next()) else { return BTreeMap::new() };
    let specifications = parsed.params.get("TagSpecification").and_then(Value::as_array).into_iter().flatten();
    let of_kind = |specification: &&Value| specification.get("ResourceType").and_then(Value::as_str) == Some(kind);
    specifications.filter(of_kind).flat_map(|specification| request_tags(specification.get("Tag"))).collect()
}

/// The condition keys of tags that a request gives.
pub(super) fn request_tags(tags: Option<&Value>) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for tag in tags.and_then(Value::as_array).into_iter().flatten() {
        let (Some(key), value) = (tag.get("Key").and_then(Value::as_str), tag.get("Value").and_then(Value::as_str)) else { continue };
        found.entry("aws:tagkeys".to_owned()).or_default().push(key.to_owned());
        found.insert(format!("aws:requesttag/{}", key.to_lowercase()), vec![value.unwrap_or_default().to_owned()]);
    }
    found
}

fn others(parsed: &Parsed, account: &str) -> Vec<String> {
    let (region, params) = (&parsed.region, &parsed.params);
    let text = |name: &str| params.get(name).and_then(Value::as_str);
    let regional = |rest: String| format!("arn:aws:{}:{region}:{account}:{rest}", parsed.service);
    match parsed.service.as_str() {
        "iam" => [
            ("RoleName", "role"),
            ("UserName", "user"),
            ("InstanceProfileName", "instance-profile"),
            ("GroupName", "group"),
            ("PolicyName", "policy"),
        ]
        .iter()
        // An inline policy's resource is whom it belongs to.
        .find_map(|(name, kind)| text(name).map(|id| format!("arn:aws:iam::{account}:{kind}/{id}")))
        .or_else(|| text("PolicyArn").map(str::to_owned))
        .into_iter()
        .collect(),
        "sts" => text("RoleArn").map(str::to_owned).into_iter().collect(),
        "logs" => {
            let group =
                text("logGroupName").or_else(|| text("logGroupIdentifier").map(|arn| arn.rsplit(":log-group:").next().unwrap_or(arn)));
            let stream = text("logStreamName").unwrap_or_default();
            match parsed.operation.as_str() {
                "DescribeLogGroups" => vec![regional("log-group::log-stream:".to_owned())],
                _ => group.map(|group| regional(format!("log-group:{group}:log-stream:{stream}"))).into_iter().collect(),
            }
        }
        // Calls name a group; the id before the name they do not know.
        "autoscaling" if !parsed.operation.starts_with("Describe") => {
            let name = text("AutoScalingGroupName").map(|name| regional(format!("autoScalingGroup:*:autoScalingGroupName/{name}")));
            name.into_iter().collect()
        }
        // Classic balancers by their name, all else by its ARN.
        "elasticloadbalancing" if !parsed.operation.starts_with("Describe") => {
            let classic = text("LoadBalancerName").map(|name| regional(format!("loadbalancer/{name}")));
            let arns = ["TargetGroupArn", "LoadBalancerArn", "ListenerArn", "RuleArn"].into_iter().filter_map(text).map(str::to_owned);
            classic.into_iter().chain(arns).collect()
        }
        // In the account itself; of others of the organization only where the call names one.
        "account" if text("AccountId").is_none() => vec![format!("arn:aws:account::{account}:account")],
        "ses" => text("FromEmailAddress").map(|from| regional(format!("identity/{from}"))).into_iter().collect(),
        "guardduty" => text("DetectorId").map(|id| regional(format!("detector/{id}"))).into_iter().collect(),
        "securityhub" => vec![regional("hub/default".to_owned())],
        "sqs" => text("QueueUrl")
            .and_then(|url| url.rsplit('/').next())
            .or_else(|| text("QueueName"))
            .map(|name| regional(name.to_owned()))
            .into_iter()
            .collect(),
        "events" => text("Rule").or_else(|| text("Name")).map(|name| regional(format!("rule/{name}"))).into_iter().collect(),
        "ssm" => match parsed.operation.as_str() {
            "SendCommand" => {
                let document = text("DocumentName").unwrap_or_default();
                let owner = if document.starts_with("AWS-") || document.starts_with("AWSSupport-") { "" } else { account };
                let mut found = vec![format!("arn:aws:ssm:{region}:{owner}:document/{document}")];
                found.extend(texts_at(params, "InstanceIds").iter().map(|id| format!("arn:aws:ec2:{region}:{account}:instance/{id}")));
                found
            }
            _ => text("Name").map(|name| regional(format!("parameter/{}", name.trim_start_matches('/')))).into_iter().collect(),
        },
        _ => Vec::new(),
    }
}

/// The texts at a dotted path; `*` and a list at the end stand for each item.
fn texts_at(value: &Value, path: &str) -> Vec<String> {
    let mut nodes = vec![value];
    for piece in path.split('.') {
        nodes = nodes
            .into_iter()
            .flat_map(|node| match node {
                Value::Array(items) if piece == "*" => items.iter().collect(),
                other => other.get(piece).into_iter().collect::<Vec<_>>(),
            })
            .collect();
    }
    let mut found = Vec::new();
    nodes.into_iter().for_each(|node| all_texts(node, &mut found));
    found
}

fn all_texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| all_texts(item, found)),
        Value::Object(map) => map.values().for_each(|item| all_texts(item, found)),
        _ => {}
    }
}
