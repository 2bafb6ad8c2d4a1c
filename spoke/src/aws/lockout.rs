//! The hard freeze: an inline policy on the hub's own role that denies it to assume roles. It takes rights from Cordon and from nobody
//! else, needs no warrant, and works with whatever credentials the command line has, also when the service is dead.
//!
//! Sessions that are open already live on: reading ones up to an hour, writing ones up to 15 minutes
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_revoke-sessions.html>). What the hub does in its own account without
//! assuming a role is not denied by it.

use aws_sdk_iam::Client;
use cordon_shared::{
    arn::Arn,
    id::{AccountId, Region},
};
use serde_json::{Value, json};

use crate::{
    action::{ActionError, classify},
    actions::iam::look::{document, there},
    permission::Permission,
    session::{SessionError, Sessions},
};

/// The policy's name.
pub const POLICY: &str = "CordonFrozen";

/// What the one who freezes or thaws hard calls on the hub's role, `{role}`.
pub const CALLS: &[Permission] = &[
    Permission::new("iam:GetRolePolicy", "arn:{partition}:iam::{account}:role/{role}"),
    Permission::new("iam:PutRolePolicy", "arn:{partition}:iam::{account}:role/{role}"),
    Permission::new("iam:DeleteRolePolicy", "arn:{partition}:iam::{account}:role/{role}"),
];

/// Why the hub's role could not be locked out, or let in again.
#[derive(Debug, thiserror::Error)]
pub enum LockoutError {
    /// The credentials are of another account.
    #[error(
        "the AWS credentials here are of account {got}, and the hub's role is {role}: use those of somebody who may change it; by hand: {by_hand}"
    )]
    Elsewhere {
        /// The credentials' account.
        got: AccountId,
        /// The role.
        role: String,
        /// What to call.
        by_hand: String,
    },
    /// There are no credentials, or STS does not answer.
    #[error("it is not known whose AWS credentials these are: {error}; by hand: {by_hand}")]
    Caller {
        /// Why.
        error: SessionError,
        /// What to call.
        by_hand: String,
    },
    /// The call failed.
    #[error("{role} could not be changed: {error}; by hand: {by_hand}")]
    Call {
        /// The role.
        role: String,
        /// Why.
        error: ActionError,
        /// What to call.
        by_hand: String,
    },
    /// There is a policy of this name that Cordon did not write.
    #[error(
        "{role} has a policy `{POLICY}` that is not Cordon's; it is left as it is: look at it with `aws iam get-role-policy --role-name {name} --policy-name {POLICY}`"
    )]
    Strange {
        /// The role.
        role: String,
        /// Its name.
        name: String,
    },
}

/// The hub's role, and who is to change it.
#[derive(Debug)]
pub struct Lockout {
    sessions: Sessions,
    role: Arn,
}

fn wanted() -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{ "Sid": POLICY, "Effect": "Deny", "Action": "sts:AssumeRole", "Resource": "*" }],
    })
}

/// What locks a role of this name out by hand.
#[must_use]
pub fn deny_by_hand(name: &str) -> String {
    format!("`aws iam put-role-policy --role-name {name} --policy-name {POLICY} --policy-document '{}'`", wanted())
}

impl Lockout {
    /// Of this role, with the credentials of the environment.
    #[must_use]
    pub fn new(sessions: Sessions, role: Arn) -> Self {
        Self { sessions, role }
    }

    /// The role's ARN.
    #[must_use]
    pub fn role(&self) -> &str {
        self.role.as_str()
    }

    fn name(&self) -> &str {
        self.role.resource().rsplit('/').next().unwrap_or_default()
    }

    fn deny_by_hand(&self) -> String {
        deny_by_hand(self.name())
    }

    fn lift_by_hand(&self) -> String {
        format!("`aws iam delete-role-policy --role-name {} --policy-name {POLICY}`", self.name())
    }

    async fn client(&self, by_hand: &str) -> Result<Client, LockoutError> {
        let by_hand = || by_hand.to_owned();
        let got = self.sessions.caller().await.map_err(|error| LockoutError::Caller { error, by_hand: by_hand() })?;
        if self.role.account().as_ref() != Some(&got) {
            return Err(LockoutError::Elsewhere { got, role: self.role().to_owned(), by_hand: by_hand() });
        }
        Ok(self.sessions.hub(&Region::global()).iam())
    }

    fn failed(&self, error: ActionError, by_hand: String) -> LockoutError {
        LockoutError::Call { role: self.role().to_owned(), error, by_hand }
    }

    /// Whether our policy is there. One of its name that says anything else is an error.
    async fn is_there(&self, client: &Client, by_hand: &str) -> Result<bool, LockoutError> {
        const CALL: &str = "iam:GetRolePolicy";
        let request = client.get_role_policy().role_name(self.name()).policy_name(POLICY);
        let answer = there(request.send().await.map_err(|error| classify(CALL, error)));
        match answer.map_err(|error| self.failed(error, by_hand.to_owned()))? {
            None => Ok(false),
            Some(answer) if document(answer.policy_document()) == Some(wanted()) => Ok(true),
            Some(_) => Err(LockoutError::Strange { role: self.role().to_owned(), name: self.name().to_owned() }),
        }
    }

    /// Denies the role to assume roles. Denied already is well.
    ///
    /// # Errors
    /// [`LockoutError`], each with what to do by hand.
    pub async fn deny(&self) -> Result<(), LockoutError> {
        let by_hand = self.deny_by_hand();
        let client = self.client(&by_hand).await?;
        if self.is_there(&client, &by_hand).await? {
            return Ok(());
        }
        let request = client.put_role_policy().role_name(self.name()).policy_name(POLICY).policy_document(wanted().to_string());
        request.send().await.map_err(|error| self.failed(classify("iam:PutRolePolicy", error), by_hand))?;
        Ok(())
    }

    /// Takes the denial away. False: there was none.
    ///
    /// # Errors
    /// [`LockoutError`], each with what to do by hand.
    pub async fn lift(&self) -> Result<bool, LockoutError> {
        let by_hand = self.lift_by_hand();
        let client = self.client(&by_hand).await?;
        if !self.is_there(&client, &by_hand).await? {
            return Ok(false);
        }
        let request = client.delete_role_policy().role_name(self.name()).policy_name(POLICY);
        request.send().await.map_err(|error| self.failed(classify("iam:DeleteRolePolicy", error), by_hand))?;
        Ok(true)
    }
}
