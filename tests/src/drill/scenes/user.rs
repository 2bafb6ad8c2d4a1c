//! `iam.deactivate-access-key` and `iam.contain-user`. What cannot be put back, a password and an MFA device, is in no scene: an undo leaves
//! it to a person, and its drills are tests of their own.

use cordon_shared::id::CellId;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::{Setting, World, Yard, cell};
use crate::{
    LabError,
    drill::Trespass,
    organization::{Organization, User, UserShape},
};

pub(super) const KEY: &str = "iam.deactivate-access-key";
pub(super) const CONTAIN: &str = "iam.contain-user";

#[derive(Debug)]
struct Subject {
    organization: Organization,
    cell: CellId,
    user: User,
    /// A user that is none of its business.
    other: User,
    with: Value,
    /// Somebody puts an inline policy in the place of ours; else somebody deletes a key.
    policy_drifts: bool,
}

pub(super) fn key(yard: &Yard) -> Setting<'_> {
    Box::pin(async move {
        let shape = UserShape { path: "/ops/team/", keys: 2, ..UserShape::default() };
        world(yard, &shape, |user| json!({"key": user.key(0)}), false).await
    })
}

pub(super) fn only_key(yard: &Yard) -> Setting<'_> {
    Box::pin(async move {
        let shape = UserShape { quarantined: true, ..UserShape::default() };
        world(yard, &shape, |user| json!({"key": user.key(0), "user": user.name}), false).await
    })
}

pub(super) fn everything(yard: &Yard) -> Setting<'_> {
    Box::pin(async move {
        let shape = UserShape { path: "/ops/team/", keys: 2, others: true, quarantined: true, ..UserShape::default() };
        world(yard, &shape, |user| json!({"user": user.name}), false).await
    })
}

pub(super) fn full(yard: &Yard) -> Setting<'_> {
    Box::pin(async move {
        let shape = UserShape { policies: 10, ..UserShape::default() };
        world(yard, &shape, |user| json!({"user": user.name}), true).await
    })
}

async fn world(yard: &Yard, shape: &UserShape, with: impl FnOnce(&User) -> Value, policy_drifts: bool) -> Result<Box<dyn World>, LabError> {
    let (account, region) = yard.place();
    let organization = yard.organization.clone();
    let user = organization.user(account, shape).await?;
    let other = organization.user(account, &UserShape::default()).await?;
    let with = with(&user);
    Ok(Box::new(Subject { organization, cell: cell(account, region)?, user, other, with, policy_drifts }))
}

impl World for Subject {
    fn cell(&self) -> &CellId {
        &self.cell
    }

    fn with(&self) -> Value {
        self.with.clone()
    }

    fn look(&self) -> BoxFuture<'_, Result<Value, LabError>> {
        Box::pin(async move {
            let (user, other) = (self.organization.user_state(&self.user).await?, self.organization.user_state(&self.other).await?);
            Ok(json!([user, other]))
        })
    }

    fn drift(&self) -> BoxFuture<'_, Result<(), LabError>> {
        Box::pin(async move {
            let (operation, params) = if self.policy_drifts {
                let theirs =
                    json!({"Version": "2012-10-17", "Statement": [{"Sid": "theirs", "Effect": "Deny", "Action": "s3:*", "Resource": "*"}]});
                (
                    "put_user_policy",
                    json!({"UserName": self.user.name, "PolicyName": "CordonDenyAll", "PolicyDocument": theirs.to_string()}),
                )
            } else {
                ("delete_access_key", json!({"UserName": self.user.name, "AccessKeyId": self.user.key(0)}))
            };
            let account = self.cell.account.as_str();
            self.organization.call(account, self.cell.region.as_str(), "iam", operation, params).await.map(drop)
        })
    }

    fn drifted(&self, state: &Value) -> bool {
        if self.policy_drifts {
            return state.to_string().contains("theirs");
        }
        state.pointer("/0/keys").and_then(Value::as_array).is_some_and(|keys| keys.len() + 1 == self.user.keys.len())
    }

    fn trespasses(&self) -> Vec<Trespass> {
        let trespass = |operation, params| Trespass { service: "iam", operation, params };
        let (own, other) = (&self.user.name, &self.other.name);
        let admin = "arn:aws:iam::aws:policy/AdministratorAccess";
        vec![
            trespass("update_access_key", json!({"UserName": other, "AccessKeyId": self.other.key(0), "Status": "Inactive"})),
            trespass("delete_access_key", json!({"UserName": own, "AccessKeyId": self.user.key(0)})),
            trespass("create_access_key", json!({"UserName": own})),
            trespass("attach_user_policy", json!({"UserName": own, "PolicyArn": admin})),
            trespass("attach_user_policy", json!({"UserName": other, "PolicyArn": "arn:aws:iam::aws:policy/AWSDenyAll"})),
            trespass("delete_user_policy", json!({"UserName": other, "PolicyName": "all"})),
            trespass("delete_user", json!({"UserName": own})),
            trespass("list_access_keys", json!({"UserName": own})),
        ]
    }
}
