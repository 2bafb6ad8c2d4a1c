//! What AWS looks up before it decides: the path of a role, a user or a profile, which its ARN has and the request does not; the instance
//! of an association; the role that a call passes to EC2.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    ledger::Need,
    parse::{self, Parsed},
    resources::request_tags,
    upstream::Upstream,
};

const KINDS: [(&str, &str); 3] = [("InstanceProfileName", "instance-profile"), ("RoleName", "role"), ("UserName", "user")];

/// What a call needs, with what AWS knows of the resources that it names.
pub(crate) async fn resolve(upstream: &Upstream, parsed: &Parsed, account: &str, needs: Vec<Need>) -> Vec<Need> {
    match parsed.service.as_str() {
        "iam" if parse::is_write(&parsed.service, &parsed.operation) => iam(upstream, parsed, account, needs).await,
        "ec2" if parsed.operation.ends_with("IamInstanceProfile") || parsed.operation.ends_with("IamInstanceProfileAssociation") => {
            ec2(upstream, parsed, account, needs).await
        }
        _ => needs,
    }
}

fn text<'p>(parsed: &'p Parsed, name: &str) -> Option<&'p str> {
    parsed.params.get(name).and_then(Value::as_str)
}

fn need(action: &str, resource: String, context: BTreeMap<String, Vec<String>>) -> Need {
    Need { action: action.to_owned(), resource, context }
}

fn pass(role: String) -> Need {
    need("iam:PassRole", role, [("iam:passedtoservice".to_owned(), vec!["ec2.amazonaws.com".to_owned()])].into())
}

async fn iam(upstream: &Upstream, parsed: &Parsed, account: &str, mut needs: Vec<Need>) -> Vec<Need> {
    let Some((name, kind)) = KINDS.iter().find_map(|(parameter, kind)| text(parsed, parameter).map(|name| (name, *kind))) else {
        return needs;
    };
    let without_path = format!("arn:aws:iam::{account}:{kind}/{name}");
    let creates = matches!(parsed.operation.as_str(), "CreateRole" | "CreateUser" | "CreateInstanceProfile");
    let resource = if creates {
        format!("arn:aws:iam::{account}:{kind}{}{name}", text(parsed, "Path").unwrap_or("/"))
    } else {
        // Of what is not there nobody knows a path.
        upstream.iam_arn(account, kind, name).await.unwrap_or(without_path)
    };
    if let Some(first) = needs.first_mut() {
        first.resource.clone_from(&resource);
        if creates {
            first.context.extend(request_tags(parsed.params.get("Tags")));
        }
    }
    if creates && parsed.params.get("Tags").is_some() {
        let action = match kind {
            "role" => "iam:TagRole",
            "user" => "iam:TagUser",
            _ => "iam:TagInstanceProfile",
        };
        needs.push(need(action, resource, request_tags(parsed.params.get("Tags"))));
    }
    if parsed.operation == "AddRoleToInstanceProfile"
        && let Some(role) = text(parsed, "RoleName")
    {
        let without_path = format!("arn:aws:iam::{account}:role/{role}");
        needs.push(pass(upstream.iam_arn(account, "role", role).await.unwrap_or(without_path)));
    }
    needs
}

async fn ec2(upstream: &Upstream, parsed: &Parsed, account: &str, mut needs: Vec<Need>) -> Vec<Need> {
    if let Some(association) = text(parsed, "AssociationId")
        && let Some(instance) = upstream.instance_of(account, &parsed.region, association).await
        && let Some(first) = needs.first_mut()
    {
        first.resource = format!("arn:aws:ec2:{}:{account}:instance/{instance}", parsed.region);
    }
    let profile = parsed.params.get("IamInstanceProfile");
    let profile = profile.and_then(|profile| profile.get("Name").or_else(|| profile.get("Arn"))).and_then(Value::as_str);
    if let Some(name) = profile.and_then(|profile| profile.rsplit('/').next())
        && let Some(role) = upstream.role_of_profile(account, name).await
    {
        needs.push(pass(role));
    }
    needs
}
