//! `iam.deny-older-sessions`, but for its wide form, which always asks a person.

use cordon_shared::id::CellId;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::{Setting, World, Yard, cell, shape};
use crate::{
    Hand, LabError,
    drill::Trespass,
    organization::{Exposure, call, text},
};

pub(super) const ACTION: &str = "iam.deny-older-sessions";

const GLOBAL: &str = "us-east-1";
/// A cut-off of an earlier step.
const OLD: &str = "2026-01-01T00:00:00Z";

#[derive(Debug)]
struct Sessions {
    hand: Hand,
    cell: CellId,
    with: Value,
    role: String,
    /// Under which our policy stands.
    policy: String,
    /// What is named in it, and is another one in every world.
    named: String,
    /// A role that is none of its business.
    other: String,
    /// Whether the world has a policy of ours from the start: it goes with the later one, for which it was made way.
    moved: bool,
}

/// An instance with a profile; the role is looked up.
pub(super) fn instance(yard: &Yard) -> Setting<'_> {
    Box::pin(async move {
        let (account, region) = yard.place();
        let instance = yard.organization.instance(account, region, &shape(vec![Exposure::Port])).await?;
        let role = instance.profile.rsplit('/').next().unwrap_or_default().to_owned();
        let with = json!({"instance": instance.id});
        world(yard, account, region, with, role, &instance.id, None).await
    })
}

/// The same, where an earlier step has been.
pub(super) fn moved(yard: &Yard) -> Setting<'_> {
    Box::pin(async move {
        let (account, region) = yard.place();
        let instance = yard.organization.instance(account, region, &shape(vec![Exposure::Port])).await?;
        let role = instance.profile.rsplit('/').next().unwrap_or_default().to_owned();
        let with = json!({"instance": instance.id, "move_forward": true});
        let earlier = json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Deny", "Action": ["*"], "Resource": ["*"], "Condition": {
                "StringLike": {"aws:userid": format!("*:{}", instance.id)}, "DateLessThan": {"aws:TokenIssueTime": OLD}}
        }]});
        world(yard, account, region, with, role, &instance.id, Some(&earlier)).await
    })
}

/// One session name of a role with a path.
pub(super) fn session(yard: &Yard) -> Setting<'_> {
    Box::pin(async move {
        let (account, region) = yard.place();
        let name = format!("drill-{}", crate::accounts::fresh());
        let made = make(&yard.organization.hand, account, &name).await?;
        let with = json!({"role": text(&made, "/Role/Arn")?, "session": "deploy@example"});
        world(yard, account, region, with, name, "deploy@example", None).await
    })
}

async fn make(hand: &Hand, account: &str, name: &str) -> Result<Value, LabError> {
    let trust = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{account}:root")}, "Action": "sts:AssumeRole"}
    ]});
    let params = json!({"RoleName": name, "Path": "/drills/", "AssumeRolePolicyDocument": trust.to_string()});
    call(hand, account, GLOBAL, "iam", "create_role", params).await
}

async fn world(
    yard: &Yard,
    account: &str,
    region: &str,
    with: Value,
    role: String,
    named: &str,
    earlier: Option<&Value>,
) -> Result<Box<dyn World>, LabError> {
    let hand = yard.organization.hand.clone();
    let other = format!("drill-{}", crate::accounts::fresh());
    make(&hand, account, &other).await?;
    let own = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]});
    let put = async |policy: &str, document: &Value| {
        let params = json!({"RoleName": role, "PolicyName": policy, "PolicyDocument": document.to_string()});
        call(&hand, account, GLOBAL, "iam", "put_role_policy", params).await
    };
    put("own", &own).await?;
    // The hash of the session's name, as `sha256sum` gives it.
    let policy = if named.starts_with("i-") { format!("CordonRevoke-{named}") } else { "CordonRevoke-8f6855eac432f723".to_owned() };
    if let Some(earlier) = earlier {
        put(&policy, earlier).await?;
    }
    let moved = earlier.is_some();
    let (cell, named) = (cell(account, region)?, named.to_owned());
    Ok(Box::new(Sessions { hand, cell, with, role, policy, named, other, moved }))
}

impl Sessions {
    async fn ask(&self, operation: &str, params: Value) -> Result<Value, LabError> {
        call(&self.hand, self.cell.account.as_str(), GLOBAL, "iam", operation, params).await
    }

    /// A policy as it is the same in every world: its instance has no name, its cut-off is old or new.
    fn plain(&self, document: Value) -> Value {
        let mut document: Value = serde_json::from_str(&document.to_string().replace(&self.named, "NAMED")).unwrap_or_default();
        if let Some(date) = document.pointer_mut("/Statement/0/Condition/DateLessThan/aws:TokenIssueTime") {
            *date = json!(if *date == OLD { "old" } else { "new" });
        }
        document
    }
}

impl World for Sessions {
    fn cell(&self) -> &CellId {
        &self.cell
    }

    fn with(&self) -> Value {
        self.with.clone()
    }

    /// The inline and managed policies and the trust of both roles.
    fn look(&self) -> BoxFuture<'_, Result<Value, LabError>> {
        Box::pin(async move {
            let mut state = serde_json::Map::new();
            for (label, role) in [("role", &self.role), ("other", &self.other)] {
                let names = self.ask("list_role_policies", json!({"RoleName": role})).await?;
                for name in names.pointer("/PolicyNames").and_then(Value::as_array).into_iter().flatten() {
                    let found = self.ask("get_role_policy", json!({"RoleName": role, "PolicyName": name})).await?;
                    let name = name.as_str().unwrap_or_default().replace(&self.policy, "OURS");
                    let document = found.get("PolicyDocument").cloned().unwrap_or_default();
                    state.insert(format!("{label}: {name}"), self.plain(document));
                }
                let found = self.ask("list_attached_role_policies", json!({"RoleName": role})).await?;
                state.insert(format!("{label}: attached"), found.get("AttachedPolicies").cloned().unwrap_or_default());
                let trust = self.ask("get_role", json!({"RoleName": role})).await?;
                let trust = trust.pointer("/Role/AssumeRolePolicyDocument").cloned().unwrap_or_default();
                let trust = trust.to_string().replace(self.cell.account.as_str(), "ACCOUNT");
                state.insert(format!("{label}: trust"), json!(trust));
            }
            Ok(Value::Object(state))
        })
    }

    /// Somebody narrows what ours denies.
    fn drift(&self) -> BoxFuture<'_, Result<(), LabError>> {
        Box::pin(async move {
            let theirs =
                json!({"Version": "2012-10-17", "Statement": [{"Sid": "Theirs", "Effect": "Deny", "Action": "s3:*", "Resource": "*"}]});
            let params = json!({"RoleName": self.role, "PolicyName": self.policy, "PolicyDocument": theirs.to_string()});
            self.ask("put_role_policy", params).await.map(drop)
        })
    }

    fn drifted(&self, state: &Value) -> bool {
        state.pointer("/role: OURS/Statement/0/Sid") == Some(&json!("Theirs"))
    }

    fn restored(&self, found: &Value, now: &Value) -> bool {
        let mut wanted = found.clone();
        if let (true, Some(map)) = (self.moved, wanted.as_object_mut()) {
            map.remove("role: OURS");
        }
        wanted == *now
    }

    fn trespasses(&self) -> Vec<Trespass> {
        let trespass = |operation, params| Trespass { service: "iam", operation, params };
        let allow = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}).to_string();
        vec![
            trespass("put_role_policy", json!({"RoleName": self.other, "PolicyName": "x", "PolicyDocument": allow})),
            trespass("delete_role_policy", json!({"RoleName": self.other, "PolicyName": "x"})),
            trespass("attach_role_policy", json!({"RoleName": self.role, "PolicyArn": "arn:aws:iam::aws:policy/AdministratorAccess"})),
            trespass("update_assume_role_policy", json!({"RoleName": self.role, "PolicyDocument": allow})),
            trespass("delete_role", json!({"RoleName": self.role})),
            trespass("get_role", json!({"RoleName": self.role})),
        ]
    }
}
