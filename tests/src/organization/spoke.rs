//! Roles: the hub's in the security account, the reader in the management account, the spoke in each member by CloudFormation.

use futures::future::try_join_all;
use serde_json::{Value, json};

use super::{HUB_ROLE, Organization, READER_ROLE, SPOKE_ROLE, Standing, call};
use crate::{Hand, LabError};

const GLOBAL: &str = "us-east-1";
/// Where the spoke's stack stands in a member: its role counts in all Regions.
const STACK: &str = "cordon-spoke";

impl Organization {
    pub(super) async fn make_roles(&self) -> Result<(), LabError> {
        let template = spoke_template()?;
        let hub = async {
            let trust = allow(json!({"Service": "ec2.amazonaws.com"}), "sts:AssumeRole", None);
            let trust = with(trust, allow(json!({"AWS": format!("arn:aws:iam::{}:root", self.security)}), "sts:AssumeRole", None));
            let own = json!({"Version": "2012-10-17", "Statement": [
                {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": [format!("arn:aws:iam::*:role/{SPOKE_ROLE}"), self.reader_role()]},
                {"Effect": "Allow", "Action": ["sts:SetSourceIdentity", "sts:TagSession"], "Resource": "*"},
                {"Effect": "Allow", "Resource": "*", "Action": [
                    "organizations:Describe*", "organizations:List*", "guardduty:List*", "guardduty:Get*", "securityhub:Get*",
                    "securityhub:BatchUpdateFindings", "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:SendMessage"
                ]},
            ]});
            role(&self.hand, &self.security, HUB_ROLE, &trust, &own).await
        };
        let reader = async {
            let condition = json!({
                "StringEquals": {"sts:ExternalId": self.management}, "StringLike": {"sts:SourceIdentity": "cordon-*"}
            });
            let trust = allow(json!({"AWS": self.hub_role()}), json!(["sts:AssumeRole", "sts:SetSourceIdentity"]), Some(condition));
            let own = json!({"Version": "2012-10-17", "Statement": [
                {"Effect": "Allow", "Action": ["organizations:Describe*", "organizations:List*"], "Resource": "*"}
            ]});
            role(&self.hand, &self.management, READER_ROLE, &trust, &own).await
        };
        let with_role = self.members.iter().filter(|member| member.standing != Standing::WithoutRole);
        let spokes = try_join_all(with_role.map(|member| self.deploy_spoke(&member.account, &template)));
        futures::try_join!(hub, reader, spokes)?;
        Ok(())
    }

    /// Deploys the spoke role into an account, the way its team would.
    pub(super) async fn deploy_spoke(&self, account: &str, template: &str) -> Result<(), LabError> {
        let parameter = |name: &str, value: &str| json!({"ParameterKey": name, "ParameterValue": value});
        let params = json!({
            "StackName": STACK, "TemplateBody": template, "Capabilities": ["CAPABILITY_NAMED_IAM"],
            "Parameters": [
                parameter("HubAccountId", &self.security), parameter("HubPrincipalArn", &self.hub_role()), parameter("RoleName", SPOKE_ROLE)
            ],
        });
        self.call(account, GLOBAL, "cloudformation", "create_stack", params).await?;
        let role = self.call(account, GLOBAL, "iam", "get_role", json!({"RoleName": SPOKE_ROLE})).await;
        role.map(drop).map_err(|error| LabError::new(format!("the spoke stack in {account} made no role: {error}")))
    }

    /// Takes the spoke role out of an account.
    ///
    /// # Errors
    /// When there is none.
    pub async fn remove_spoke(&self, account: &str) -> Result<(), LabError> {
        self.call(account, GLOBAL, "cloudformation", "delete_stack", json!({"StackName": STACK})).await.map(drop)
    }

    /// Deploys the spoke role into an account that has none.
    ///
    /// # Errors
    /// When the stack cannot be made.
    pub async fn add_spoke(&self, account: &str) -> Result<(), LabError> {
        self.deploy_spoke(account, &spoke_template()?).await
    }
}

/// What `cordon infra render` writes.
///
/// # Errors
/// When the catalogue of actions is broken.
fn spoke_template() -> Result<String, LabError> {
    let registry = cordon_hub::setup::registry().map_err(|error| LabError::new(error.to_string()))?;
    Ok(cordon_hub::infra::spoke_role(&registry))
}

async fn role(hand: &Hand, account: &str, name: &str, trust: &Value, own: &Value) -> Result<(), LabError> {
    let made = json!({"RoleName": name, "AssumeRolePolicyDocument": trust.to_string(), "MaxSessionDuration": 43200});
    call(hand, account, GLOBAL, "iam", "create_role", made).await?;
    let policy = json!({"RoleName": name, "PolicyName": "own", "PolicyDocument": own.to_string()});
    call(hand, account, GLOBAL, "iam", "put_role_policy", policy).await.map(drop)
}

fn allow(principal: Value, action: impl Into<Value>, condition: Option<Value>) -> Value {
    let mut statement = json!({"Effect": "Allow", "Principal": principal, "Action": action.into()});
    if let (Some(map), Some(condition)) = (statement.as_object_mut(), condition) {
        map.insert("Condition".to_owned(), condition);
    }
    json!({"Version": "2012-10-17", "Statement": [statement]})
}

/// One policy with the statements of both.
fn with(mut one: Value, other: Value) -> Value {
    let more = other.get("Statement").and_then(Value::as_array).cloned().unwrap_or_default();
    if let Some(statements) = one.get_mut("Statement").and_then(Value::as_array_mut) {
        statements.extend(more);
    }
    one
}
