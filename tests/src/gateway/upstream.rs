//! moto, as the gateway reaches it: calls passed on, and questions of its own about identities and roles.

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Bytes, http::request::Parts};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;

use super::{parse, wire};

/// Where questions to services without Regions are signed.
const GLOBAL: &str = "us-east-1";

/// A connection pool to moto.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    client: Client<HttpConnector, Full<Bytes>>,
    address: String,
}

/// What moto has of a role.
#[derive(Debug, Clone, Default)]
pub(crate) struct Role {
    pub trust: Value,
    pub policies: Vec<Value>,
    pub boundary: Option<Value>,
    pub max_session: Option<u64>,
}

/// What moto has of a user.
#[derive(Debug, Clone, Default)]
pub(crate) struct User {
    pub arn: String,
    /// `AIDA…`.
    pub id: String,
    pub name: String,
    /// Its access keys that are active.
    pub keys: Vec<String>,
    /// Its own policies and those of its groups.
    pub policies: Vec<Value>,
    pub boundary: Option<Value>,
}

impl Upstream {
    pub(crate) fn new(endpoint: &str) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).pool_idle_timeout(Duration::from_secs(20)).build(connector);
        Self { client, address: endpoint.trim_end_matches('/').to_owned() }
    }

    /// Passes a call on as it is.
    pub(crate) async fn pass(&self, parts: &Parts, body: Bytes) -> Result<Response<Bytes>, String> {
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::builder().method(parts.method.clone()).uri(format!("{}{path}", self.address));
        for (name, value) in &parts.headers {
            // The connection's own headers end here; `Host` stays, so that addresses in answers lead back to the gateway.
            if !matches!(name.as_str(), "connection" | "keep-alive" | "transfer-encoding" | "content-length" | "expect" | "te" | "upgrade")
            {
                request = request.header(name, value);
            }
        }
        self.send(request.body(Full::new(body)).map_err(|error| error.to_string())?).await
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, String> {
        let response = self.client.request(request).await.map_err(|error| error.to_string())?;
        let (mut parts, body) = response.into_parts();
        for name in ["connection", "keep-alive", "transfer-encoding", "content-length"] {
            parts.headers.remove(name);
        }
        let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
        Ok(Response::from_parts(parts, body))
    }

    /// A question of the gateway's own, in an account: `form` is a query without its version.
    async fn ask(
        &self,
        service: &str,
        version: &str,
        account: Option<&str>,
        key: &str,
        form: &[(&str, &str)],
    ) -> Result<(u16, String), String> {
        self.ask_in(GLOBAL, service, version, account, key, form).await
    }

    async fn ask_in(
        &self,
        region: &str,
        service: &str,
        version: &str,
        account: Option<&str>,
        key: &str,
        form: &[(&str, &str)],
    ) -> Result<(u16, String), String> {
        let mut body = format!("Version={version}");
        for (name, value) in form {
            body.push_str(&format!("&{name}={}", encode(value)));
        }
        let signature =
            format!("AWS4-HMAC-SHA256 Credential={key}/20260101/{region}/{service}/aws4_request, SignedHeaders=host, Signature=0");
        let mut request = Request::post(format!("{}/", self.address))
            .header("authorization", signature)
            .header("content-type", "application/x-www-form-urlencoded; charset=utf-8");
        if let Some(account) = account {
            request = request.header("x-moto-account-id", account);
        }
        let answer = self.send(request.body(Full::new(Bytes::from(body))).map_err(|error| error.to_string())?).await?;
        Ok((answer.status().as_u16(), String::from_utf8_lossy(answer.body()).into_owned()))
    }

    /// Account and ARN of an access key, as moto sees them.
    pub(crate) async fn identity(&self, access_key: &str) -> Option<(String, String)> {
        let (status, xml) = self.ask("sts", "2011-06-15", None, access_key, &[("Action", "GetCallerIdentity")]).await.ok()?;
        (status == 200).then_some(())?;
        Some((wire::element(&xml, "Account")?, wire::element(&xml, "Arn")?))
    }

    /// The id of the organization that an account belongs to.
    pub(crate) async fn organization(&self, account: &str) -> Option<String> {
        let signature =
            "AWS4-HMAC-SHA256 Credential=GATEWAY/20260101/us-east-1/organizations/aws4_request, SignedHeaders=host, Signature=0";
        let request = Request::post(format!("{}/", self.address))
            .header("authorization", signature)
            .header("x-amz-target", "AWSOrganizationsV20161128.DescribeOrganization")
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-moto-account-id", account)
            .body(Full::new(Bytes::from_static(b"{}")))
            .ok()?;
        let answer: Value = serde_json::from_slice(self.send(request).await.ok()?.body()).ok()?;
        answer.pointer("/Organization/Id").and_then(Value::as_str).map(str::to_owned)
    }

    /// The tags of EC2's resources with these ids: resource, key and value.
    pub(crate) async fn ec2_tags(&self, account: &str, region: &str, ids: &[&str]) -> Result<Vec<(String, String, String)>, String> {
        let places: Vec<String> = (1..=ids.len()).map(|number| format!("Filter.1.Value.{number}")).collect();
        let mut form = vec![("Action", "DescribeTags"), ("Filter.1.Name", "resource-id")];
        form.extend(places.iter().map(String::as_str).zip(ids.iter().copied()));
        let (status, xml) = self.ask_in(region, "ec2", "2016-11-15", Some(account), "GATEWAY", &form).await?;
        if status != 200 {
            return Err(format!("moto does not tell the tags of {}: {xml}", ids.join(", ")));
        }
        let text = |item: &str, name: &str| wire::element(item, name).unwrap_or_default();
        let items = xml.split("<item>").skip(1);
        Ok(items.map(|item| (text(item, "resourceId"), text(item, "key"), text(item, "value"))).collect())
    }

    /// A role with its policies; nothing when there is none.
    pub(crate) async fn role(&self, account: &str, name: &str) -> Result<Option<Role>, String> {
        let iam = async |form: &[(&str, &str)]| self.ask("iam", "2010-05-08", Some(account), "GATEWAY", form).await;
        let (status, xml) = iam(&[("Action", "GetRole"), ("RoleName", name)]).await?;
        if status != 200 {
            return Ok(None);
        }
        let mut role = Role {
            trust: wire::element(&xml, "AssumeRolePolicyDocument").map(|text| document(&text)).unwrap_or_default(),
            max_session: wire::element(&xml, "MaxSessionDuration").and_then(|text| text.parse().ok()),
            ..Role::default()
        };
        if let Some(arn) = wire::element(&xml, "PermissionsBoundaryArn") {
            role.boundary = Some(self.managed_policy(account, &arn).await?);
        }
        let (_, names) = iam(&[("Action", "ListRolePolicies"), ("RoleName", name)]).await?;
        for policy in wire::elements(&names, "member") {
            let (_, xml) = iam(&[("Action", "GetRolePolicy"), ("RoleName", name), ("PolicyName", &policy)]).await?;
            role.policies.extend(wire::element(&xml, "PolicyDocument").map(|text| document(&text)));
        }
        let (_, attached) = iam(&[("Action", "ListAttachedRolePolicies"), ("RoleName", name)]).await?;
        for arn in wire::elements(&attached, "PolicyArn") {
            role.policies.push(self.managed_policy(account, &arn).await?);
        }
        Ok(Some(role))
    }

    /// The ARN, with its path, of a `role`, a `user` or an `instance-profile`.
    pub(crate) async fn iam_arn(&self, account: &str, kind: &str, name: &str) -> Option<String> {
        let (operation, parameter) = match kind {
            "role" => ("GetRole", "RoleName"),
            "user" => ("GetUser", "UserName"),
            _ => ("GetInstanceProfile", "InstanceProfileName"),
        };
        let form = [("Action", operation), (parameter, name)];
        let (status, xml) = self.ask("iam", "2010-05-08", Some(account), "GATEWAY", &form).await.ok()?;
        let marked = format!(":{kind}/");
        wire::elements(&xml, "Arn").into_iter().find(|arn| status == 200 && arn.contains(&marked))
    }

    /// The ARN of the role in an instance profile.
    pub(crate) async fn role_of_profile(&self, account: &str, name: &str) -> Option<String> {
        let form = [("Action", "GetInstanceProfile"), ("InstanceProfileName", name)];
        let (status, xml) = self.ask("iam", "2010-05-08", Some(account), "GATEWAY", &form).await.ok()?;
        wire::elements(&xml, "Arn").into_iter().find(|arn| status == 200 && arn.contains(":role/"))
    }

    /// The instance of an association with an instance profile.
    pub(crate) async fn instance_of(&self, account: &str, region: &str, association: &str) -> Option<String> {
        let form = [("Action", "DescribeIamInstanceProfileAssociations"), ("AssociationId.1", association)];
        let (_, xml) = self.ask_in(region, "ec2", "2016-11-15", Some(account), "GATEWAY", &form).await.ok()?;
        wire::element(&xml, "instanceId")
    }

    /// A user with its active keys and its policies; nothing when there is none.
    pub(crate) async fn user(&self, account: &str, name: &str) -> Result<Option<User>, String> {
        let iam = async |form: &[(&str, &str)]| self.ask("iam", "2010-05-08", Some(account), "GATEWAY", form).await;
        let (status, xml) = iam(&[("Action", "GetUser"), ("UserName", name)]).await?;
        if status != 200 {
            return Ok(None);
        }
        let text = |name: &str| wire::element(&xml, name).unwrap_or_default();
        let mut user = User { arn: text("Arn"), id: text("UserId"), name: text("UserName"), ..User::default() };
        if let Some(arn) = wire::element(&xml, "PermissionsBoundaryArn") {
            user.boundary = Some(self.managed_policy(account, &arn).await?);
        }
        let (_, keys) = iam(&[("Action", "ListAccessKeys"), ("UserName", name)]).await?;
        let (ids, states) = (wire::elements(&keys, "AccessKeyId"), wire::elements(&keys, "Status"));
        user.keys = ids.into_iter().zip(states).filter(|(_, state)| state == "Active").map(|(id, _)| id).collect();
        user.policies = self.identity_policies(account, "User", name).await?;
        let (_, groups) = iam(&[("Action", "ListGroupsForUser"), ("UserName", name)]).await?;
        for group in wire::elements(&groups, "GroupName") {
            user.policies.extend(self.identity_policies(account, "Group", &group).await?);
        }
        Ok(Some(user))
    }

    /// Inline and attached policies of a `User` or a `Group`.
    async fn identity_policies(&self, account: &str, kind: &str, name: &str) -> Result<Vec<Value>, String> {
        let whose = format!("{kind}Name");
        let iam = async |action: String, more: Option<&str>| {
            let mut form = vec![("Action", action.as_str()), (whose.as_str(), name)];
            form.extend(more.map(|policy| ("PolicyName", policy)));
            self.ask("iam", "2010-05-08", Some(account), "GATEWAY", &form).await
        };
        let mut found = Vec::new();
        let (_, names) = iam(format!("List{kind}Policies"), None).await?;
        for policy in wire::elements(&names, "member") {
            let (_, xml) = iam(format!("Get{kind}Policy"), Some(&policy)).await?;
            found.extend(wire::element(&xml, "PolicyDocument").map(|text| document(&text)));
        }
        let (_, attached) = iam(format!("ListAttached{kind}Policies"), None).await?;
        for arn in wire::elements(&attached, "PolicyArn") {
            found.push(self.managed_policy(account, &arn).await?);
        }
        Ok(found)
    }

    /// The document of a managed policy's default version.
    pub(crate) async fn managed_policy(&self, account: &str, arn: &str) -> Result<Value, String> {
        let iam = async |form: &[(&str, &str)]| self.ask("iam", "2010-05-08", Some(account), "GATEWAY", form).await;
        let (_, policy) = iam(&[("Action", "GetPolicy"), ("PolicyArn", arn)]).await?;
        let version = wire::element(&policy, "DefaultVersionId").ok_or_else(|| format!("there is no policy {arn}"))?;
        let (_, xml) = iam(&[("Action", "GetPolicyVersion"), ("PolicyArn", arn), ("VersionId", &version)]).await?;
        wire::element(&xml, "Document").map(|text| document(&text)).ok_or_else(|| format!("the policy {arn} has no document"))
    }
}

/// A policy document as IAM answers it: JSON, percent-encoded.
fn document(text: &str) -> Value {
    serde_json::from_str(text).or_else(|_| serde_json::from_str(&parse::percent_decode(text, false))).unwrap_or_default()
}

fn encode(text: &str) -> String {
    text.bytes()
        .map(
            |byte| {
                if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
            },
        )
        .collect()
}
