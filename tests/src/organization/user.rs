//! Users of IAM in a member account, with what they get in with.

use serde_json::{Map, Value, json};

use super::{Organization, items, text};
use crate::{LabError, hand::Credentials};

/// IAM is everywhere; its calls are made here.
const PLACE: &str = "us-east-1";
/// A certificate that nobody has the key of.
const CERTIFICATE: &str = include_str!("certificate.pem");

/// What a user has.
#[derive(Debug, Clone, Copy)]
pub struct UserShape {
    /// `/`, `/ops/team/`.
    pub path: &'static str,
    /// Access keys.
    pub keys: usize,
    /// A signing certificate, a credential for one service and an SSH public key.
    pub others: bool,
    /// A password for the console.
    pub password: bool,
    /// How many managed policies of the account's own are attached.
    pub policies: usize,
    /// AWS's quarantine policy is attached.
    pub quarantined: bool,
}

impl Default for UserShape {
    fn default() -> Self {
        Self { path: "/", keys: 1, others: false, password: false, policies: 0, quarantined: false }
    }
}

/// A user.
#[derive(Debug, Clone)]
pub struct User {
    /// Its account.
    pub account: String,
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// Its access keys, in the order of their ids.
    pub keys: Vec<Credentials>,
}

impl User {
    /// The id of one of its access keys.
    #[must_use]
    pub fn key(&self, number: usize) -> &str {
        self.keys.get(number).map_or("", |key| key.access_key.as_str())
    }
}

impl Organization {
    async fn iam(&self, account: &str, operation: &str, params: Value) -> Result<Value, LabError> {
        self.call(account, PLACE, "iam", operation, params).await
    }

    /// A user that may do everything, with a name that nothing else has.
    ///
    /// # Errors
    /// The first call that failed.
    pub async fn user(&self, account: &str, shape: &UserShape) -> Result<User, LabError> {
        let name = format!("user-{}", crate::accounts::fresh());
        let ask = async |operation: &str, more: Value| {
            let mut params = Map::from_iter([("UserName".to_owned(), json!(name))]);
            params.extend(more.as_object().cloned().unwrap_or_default());
            self.iam(account, operation, Value::Object(params)).await
        };
        let made = ask("create_user", json!({"Path": shape.path})).await?;
        let allow = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]});
        ask("put_user_policy", json!({"PolicyName": "all", "PolicyDocument": allow.to_string()})).await?;
        let mut keys = Vec::new();
        for _ in 0..shape.keys {
            let key = ask("create_access_key", json!({})).await?;
            let (access_key, secret_key) = (text(&key, "/AccessKey/AccessKeyId")?, text(&key, "/AccessKey/SecretAccessKey")?);
            keys.push(Credentials { access_key, secret_key, token: None });
        }
        keys.sort_by(|one, other| one.access_key.cmp(&other.access_key));
        if shape.others {
            ask("upload_signing_certificate", json!({"CertificateBody": CERTIFICATE})).await?;
            ask("create_service_specific_credential", json!({"ServiceName": "codecommit.amazonaws.com"})).await?;
            ask("upload_ssh_public_key", json!({"SSHPublicKeyBody": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAfake of the lab"})).await?;
        }
        if shape.password {
            ask("create_login_profile", json!({"Password": "of-the-lab-1", "PasswordResetRequired": true})).await?;
        }
        for number in 0..shape.policies {
            let policy = json!({"PolicyName": format!("{name}-{number}"), "PolicyDocument": allow.to_string()});
            let made = self.iam(account, "create_policy", policy).await?;
            ask("attach_user_policy", json!({"PolicyArn": text(&made, "/Policy/Arn")?})).await?;
        }
        if shape.quarantined {
            ask("attach_user_policy", json!({"PolicyArn": "arn:aws:iam::aws:policy/AWSCompromisedKeyQuarantineV2"})).await?;
        }
        Ok(User { account: account.to_owned(), arn: text(&made, "/User/Arn")?, name, keys })
    }

    /// Gives a user an MFA device. Its serial number.
    ///
    /// # Errors
    /// The first call that failed.
    pub async fn add_mfa(&self, user: &User) -> Result<String, LabError> {
        let name = format!("mfa-{}", crate::accounts::fresh());
        let made = self.iam(&user.account, "create_virtual_mfa_device", json!({"VirtualMFADeviceName": name})).await?;
        let serial = text(&made, "/VirtualMFADevice/SerialNumber")?;
        let enable = json!({
            "UserName": user.name, "SerialNumber": serial, "AuthenticationCode1": "123456", "AuthenticationCode2": "654321",
        });
        self.iam(&user.account, "enable_mfa_device", enable).await?;
        Ok(serial)
    }

    /// Something of a user's (an access key, a certificate, a serial number, `login-profile`) was made then, and not now.
    ///
    /// # Errors
    /// When moto does not take it.
    pub async fn made_at(&self, user: &User, of: &str, at: jiff::Timestamp) -> Result<(), LabError> {
        let item = json!({"user": user.name, "of": of, "at": at.to_string()});
        self.moto.seed(&user.account, PLACE, "iam-dates", vec![item]).await
    }

    /// All that Cordon could have changed about a user: what it gets in with and its policies. The same for every user of a shape, as far as
    /// `name` stands for what differs.
    ///
    /// # Errors
    /// The first call that failed; a user that is not there has no state.
    pub async fn user_state(&self, user: &User) -> Result<Value, LabError> {
        let ask = async |operation: &str| self.iam(&user.account, operation, json!({"UserName": user.name})).await;
        let status = |found: &Value, list: &str, id: &str| -> Value {
            let mut all: Vec<Value> = items(found, list).map(|one| json!({"id": one.get(id), "status": one.get("Status")})).collect();
            all.sort_by_key(|one| one.get("id").map(Value::to_string));
            let named = all.into_iter().map(|one| one.get("status").cloned().unwrap_or_default());
            json!(named.collect::<Vec<_>>())
        };
        let keys = ask("list_access_keys").await?;
        let mut policies = Map::new();
        for name in items(&ask("list_user_policies").await?, "/PolicyNames").filter_map(Value::as_str) {
            let params = json!({"UserName": user.name, "PolicyName": name});
            let found = self.iam(&user.account, "get_user_policy", params).await?;
            policies.insert(name.to_owned(), found.get("PolicyDocument").cloned().unwrap_or_default());
        }
        let attached = ask("list_attached_user_policies").await?;
        let mut attached: Vec<String> = items(&attached, "/AttachedPolicies")
            .filter_map(|policy| policy.get("PolicyName").and_then(Value::as_str))
            .map(|name| name.replace(&user.name, "name"))
            .collect();
        attached.sort();
        let login = match self.hand.call(&user.account, PLACE, "iam", "get_login_profile", json!({"UserName": user.name})).await {
            Ok(_) => true,
            Err(error) if error.code == "NoSuchEntity" => false,
            Err(error) => return Err(error.into()),
        };
        Ok(json!({
            "keys": status(&keys, "/AccessKeyMetadata", "AccessKeyId"),
            "certificates": status(&ask("list_signing_certificates").await?, "/Certificates", "CertificateId"),
            "services": status(
                &ask("list_service_specific_credentials").await?, "/ServiceSpecificCredentials", "ServiceSpecificCredentialId"
            ),
            "ssh": status(&ask("list_ssh_public_keys").await?, "/SSHPublicKeys", "SSHPublicKeyId"),
            "mfa": items(&ask("list_mfa_devices").await?, "/MFADevices").count(),
            "login": login,
            "attached": attached,
            "inline": policies,
        }))
    }
}
