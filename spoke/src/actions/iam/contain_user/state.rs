//! What a user can get in with, and what denies it everything.

use aws_sdk_iam::{
    Client,
    types::{StatusType, SummaryKeyType},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    action::{ActionError, classify},
    actions::iam::look::{self, Credential, User, there},
};

/// The kinds of credentials that have a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    AccessKey,
    Certificate,
    Service,
    Ssh,
}

impl Kind {
    pub fn noun(self) -> &'static str {
        match self {
            Self::AccessKey => "access key",
            Self::Certificate => "signing certificate",
            Self::Service => "service-specific credential",
            Self::Ssh => "SSH public key",
        }
    }
}

/// A credential of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    pub kind: Kind,
    #[serde(flatten)]
    pub credential: Credential,
    /// The service that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

impl Held {
    /// Its name among a user's attributes.
    pub fn attribute(&self) -> String {
        match self.kind {
            Kind::AccessKey => look::key_attribute(&self.credential.id),
            kind => format!("{} {}", kind.noun(), self.credential.id),
        }
    }

    pub fn is(&self, other: &Self) -> bool {
        self.kind == other.kind && self.credential.id == other.credential.id
    }
}

/// A password for the console.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Login {
    pub made: Option<Timestamp>,
    pub reset_required: bool,
}

/// A second factor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Device {
    pub serial: String,
    pub enabled: Option<Timestamp>,
}

impl Device {
    pub fn attribute(&self) -> String {
        format!("MFA device {}", self.serial)
    }

    pub fn is_since(&self, since: Timestamp) -> bool {
        self.enabled.is_some_and(|enabled| enabled >= since)
    }
}

/// What denies a user everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Denial {
    /// AWS's managed policy.
    #[serde(rename = "AWSDenyAll")]
    Managed,
    /// An inline policy of Cordon's, where no managed policy can be attached any more.
    #[serde(rename = "CordonDenyAll")]
    Inline,
}

/// The name of the inline policy.
pub(super) const INLINE: &str = "CordonDenyAll";

/// The ARN of AWS's policy (<https://docs.aws.amazon.com/aws-managed-policy/latest/reference/AWSDenyAll.html>).
pub(super) fn managed(partition: &str) -> String {
    format!("arn:{partition}:iam::aws:policy/AWSDenyAll")
}

/// The document of the inline policy.
pub(super) fn inline_document() -> Value {
    json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Deny", "Action": "*", "Resource": "*" }] })
}

/// A user as IAM has it.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub user: User,
    pub held: Vec<Held>,
    pub login: Option<Login>,
    pub devices: Vec<Device>,
    /// ARNs of attached managed policies.
    pub attached: Vec<String>,
    /// The document of the inline policy that has our name.
    pub inline: Option<Value>,
}

impl State {
    /// What denies the user everything now.
    pub fn denial(&self, partition: &str) -> Option<Denial> {
        if self.attached.contains(&managed(partition)) {
            return Some(Denial::Managed);
        }
        (self.inline.as_ref() == Some(&inline_document())).then_some(Denial::Inline)
    }

    pub fn held(&self, wanted: &Held) -> Option<&Held> {
        self.held.iter().find(|held| held.is(wanted))
    }

    pub fn device(&self, wanted: &Device) -> Option<&Device> {
        self.devices.iter().find(|device| device.serial == wanted.serial)
    }
}

/// The user of this name with all that belongs to it; `None` where there is none.
pub(super) async fn read(client: &Client, name: &str) -> Result<Option<State>, ActionError> {
    let Some(user) = look::user(client, name).await? else { return Ok(None) };
    let name = user.name.as_str();
    let (keys, certificates, services, ssh, login, devices, attached, inline) = futures::try_join!(
        look::keys(client, name),
        certificates(client, name),
        services(client, name),
        ssh_keys(client, name),
        login(client, name),
        devices(client, name),
        look::attached(client, name),
        inline(client, name, INLINE),
    )?;
    let keys = keys.unwrap_or_default().into_iter().map(|credential| Held { kind: Kind::AccessKey, credential, service: None });
    let mut held: Vec<Held> = keys.chain(certificates).chain(services).chain(ssh).collect();
    held.sort_by(|one, other| (one.kind, &one.credential.id).cmp(&(other.kind, &other.credential.id)));
    let inline = inline.map(|text| look::document(&text).unwrap_or(Value::Null));
    Ok(Some(State { user, held, login, devices, attached, inline }))
}

async fn certificates(client: &Client, user: &str) -> Result<Vec<Held>, ActionError> {
    let pages = client.list_signing_certificates().user_name(user).into_paginator().items().send();
    let found = pages.collect::<Result<Vec<_>, _>>().await.map_err(|error| classify("iam:ListSigningCertificates", error));
    let held = |one: &aws_sdk_iam::types::SigningCertificate| Held {
        kind: Kind::Certificate,
        credential: Credential::new(one.certificate_id(), Some(one.status()), one.upload_date()),
        service: None,
    };
    Ok(there(found)?.unwrap_or_default().iter().map(held).collect())
}

async fn services(client: &Client, user: &str) -> Result<Vec<Held>, ActionError> {
    let (mut all, mut marker) = (Vec::new(), None);
    loop {
        let call = client.list_service_specific_credentials().user_name(user).set_marker(marker);
        let answer = call.send().await.map_err(|error| classify("iam:ListServiceSpecificCredentials", error));
        let Some(answer) = there(answer)? else { return Ok(all) };
        all.extend(answer.service_specific_credentials().iter().map(|one| Held {
            kind: Kind::Service,
            credential: Credential::new(one.service_specific_credential_id(), Some(one.status()), Some(one.create_date())),
            service: Some(one.service_name().to_owned()),
        }));
        marker = answer.marker().filter(|_| answer.is_truncated()).map(str::to_owned);
        if marker.is_none() {
            return Ok(all);
        }
    }
}

async fn ssh_keys(client: &Client, user: &str) -> Result<Vec<Held>, ActionError> {
    let pages = client.list_ssh_public_keys().user_name(user).into_paginator().items().send();
    let found = pages.collect::<Result<Vec<_>, _>>().await.map_err(|error| classify("iam:ListSSHPublicKeys", error));
    let held = |one: &aws_sdk_iam::types::SshPublicKeyMetadata| Held {
        kind: Kind::Ssh,
        credential: Credential::new(one.ssh_public_key_id(), Some(one.status()), Some(one.upload_date())),
        service: None,
    };
    Ok(there(found)?.unwrap_or_default().iter().map(held).collect())
}

async fn login(client: &Client, user: &str) -> Result<Option<Login>, ActionError> {
    let answer = client.get_login_profile().user_name(user).send().await.map_err(|error| classify("iam:GetLoginProfile", error));
    let profile = there(answer)?.and_then(|answer| answer.login_profile);
    Ok(profile.map(|profile| Login { made: look::time(profile.create_date()), reset_required: profile.password_reset_required() }))
}

async fn devices(client: &Client, user: &str) -> Result<Vec<Device>, ActionError> {
    let pages = client.list_mfa_devices().user_name(user).into_paginator().items().send();
    let found = pages.collect::<Result<Vec<_>, _>>().await.map_err(|error| classify("iam:ListMFADevices", error));
    let device =
        |one: &aws_sdk_iam::types::MfaDevice| Device { serial: one.serial_number().to_owned(), enabled: look::time(one.enable_date()) };
    let mut found: Vec<Device> = there(found)?.unwrap_or_default().iter().map(device).collect();
    found.sort_by(|one, other| one.serial.cmp(&other.serial));
    Ok(found)
}

/// The text of an inline policy of a user, as IAM answers it.
async fn inline(client: &Client, user: &str, policy: &str) -> Result<Option<String>, ActionError> {
    let answer = client.get_user_policy().user_name(user).policy_name(policy).send().await;
    let answer = there(answer.map_err(|error| classify("iam:GetUserPolicy", error)))?;
    Ok(answer.map(|answer| answer.policy_document().to_owned()))
}

/// How many managed policies a user may have without a raised quota, and how long its inline policies may be together, spaces left out
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>).
const ATTACHED: usize = 10;
const INLINE_LENGTH: usize = 2_048;

/// What can still deny a user everything: a managed policy where the quota has room, else an inline one, else nothing.
pub(super) async fn room(client: &Client, state: &State) -> Result<Option<Denial>, ActionError> {
    if state.attached.len() < ATTACHED {
        return Ok(Some(Denial::Managed));
    }
    let answer = client.get_account_summary().send().await.map_err(|error| classify("iam:GetAccountSummary", error))?;
    let quota = |key| answer.summary_map().and_then(|map| map.get(&key)).and_then(|value| usize::try_from(*value).ok());
    if state.attached.len() < quota(SummaryKeyType::AttachedPoliciesPerUserQuota).unwrap_or(ATTACHED) {
        return Ok(Some(Denial::Managed));
    }
    if state.inline.is_some() {
        // Somebody else's policy has the name: it is not overwritten.
        return Ok(None);
    }
    let user = state.user.name.as_str();
    let pages = client.list_user_policies().user_name(user).into_paginator().items().send();
    let names = pages.collect::<Result<Vec<_>, _>>().await.map_err(|error| classify("iam:ListUserPolicies", error))?;
    let mut length = letters(&inline_document().to_string());
    for name in names {
        let text = inline(client, user, &name).await?.unwrap_or_default();
        length += letters(&look::decoded(&text).unwrap_or(text));
    }
    Ok((length <= quota(SummaryKeyType::UserPolicySizeQuota).unwrap_or(INLINE_LENGTH)).then_some(Denial::Inline))
}

fn letters(text: &str) -> usize {
    text.chars().filter(|letter| !letter.is_whitespace()).count()
}

/// Sets the status of a credential.
pub(super) async fn set(client: &Client, user: &str, held: &Held, status: StatusType) -> Result<(), ActionError> {
    let id = held.credential.id.as_str();
    match held.kind {
        Kind::AccessKey => look::set_key(client, user, id, status).await,
        Kind::Certificate => {
            let call = client.update_signing_certificate().user_name(user).certificate_id(id).status(status);
            call.send().await.map(drop).map_err(|error| classify("iam:UpdateSigningCertificate", error))
        }
        Kind::Service => {
            let call = client.update_service_specific_credential().user_name(user).service_specific_credential_id(id).status(status);
            call.send().await.map(drop).map_err(|error| classify("iam:UpdateServiceSpecificCredential", error))
        }
        Kind::Ssh => {
            let call = client.update_ssh_public_key().user_name(user).ssh_public_key_id(id).status(status);
            call.send().await.map(drop).map_err(|error| classify("iam:UpdateSSHPublicKey", error))
        }
    }
}
