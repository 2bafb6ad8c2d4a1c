//! `iam.contain-user`: everything that a user gets in with is cut, and the user is denied everything.
//!
//! AWS's policy `AWSDenyAll` is attached first: alone it stops what the user and its sessions (console, `GetSessionToken`,
//! `GetFederationToken`) can do, from the next call on. Then each credential is cut by itself, so that it stays cut when the policy goes.
//! Nothing is deleted that can be made inactive; the password can only be deleted, since setting another would make a secret. MFA devices
//! are deactivated when they were added in the window: a device of the attacker's keeps its owner out. Recovery key: the user, and the
//! ids of its credentials. Roles that the user assumed live on in sessions of their own.

mod apply;
mod notes;
mod state;
#[cfg(test)]
mod tests;
mod undo;

use cordon_shared::plan::{Change as Difference, ChangeKey, Counts, Plan as Planned, Risk, Seat, Verdict};
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::state::{Device, Held, Login, State};
use super::look::{self, INACTIVE};
use crate::{
    action::{ActionError, ApplyError, Change, Cx, Plan, Progress, Undo, Write},
    permission::{Bindings, Permission},
};

pub use self::state::Denial;

/// Cuts a user off.
#[derive(Debug, Clone, Copy)]
pub struct ContainUser;

const NAME: &str = "iam.contain-user";

/// The names of attributes that are not credentials with an id.
const DENY: &str = "deny of everything";
const LOGIN: &str = "login profile";

/// How long before now the window begins when nothing says when.
const WINDOW: SignedDuration = SignedDuration::from_hours(24);

/// Which user.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The user's name.
    pub user: String,
    /// Begin of the window: what was made since is taken for the attacker's. Without it: the finding's first observation, else 24 hours ago.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub since: Option<Timestamp>,
}

/// What denies the user everything, before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Deny {
    /// It was so before us.
    Already(Denial),
    /// By us.
    Planned(Denial),
    /// The user takes no more policies.
    NoRoom,
}

impl Deny {
    fn planned(self) -> Option<Denial> {
        if let Self::Planned(denial) = self { Some(denial) } else { None }
    }

    fn is_wanted(self) -> bool {
        self != Self::NoRoom
    }
}

/// All that undo needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Before {
    user: String,
    arn: String,
    since: Timestamp,
    held: Vec<Held>,
    login: Option<Login>,
    devices: Vec<Device>,
    denial: Deny,
    /// The inline policy that has the name of ours.
    inline: Option<Value>,
    quarantine: Vec<String>,
}

impl Before {
    /// MFA devices that were added in the window.
    fn hostile_devices(&self) -> impl Iterator<Item = &Device> {
        self.devices.iter().filter(|device| device.is_since(self.since))
    }
}

/// What was done.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The user.
    pub user: String,
    /// Its access keys, all of which are inactive now.
    pub keys: Vec<KeyCut>,
    /// `deleted`, or `none`.
    pub login_profile: &'static str,
    /// Its signing certificates, inactive now.
    pub certificates: Vec<Cut>,
    /// Its credentials for one service each, inactive now.
    pub service_credentials: Vec<Cut>,
    /// Its SSH public keys for CodeCommit, inactive now.
    pub ssh_keys: Vec<Cut>,
    /// MFA devices added in the window, deactivated.
    pub mfa_deactivated: Vec<String>,
    /// What denies it everything; null where it takes no more policies.
    pub denied_by: Option<Denial>,
    /// AWS's own quarantine policies on the user, which stay.
    pub quarantine: Vec<String>,
}

/// An access key that was cut.
#[derive(Debug, Clone, Serialize)]
pub struct KeyCut {
    /// Its id.
    pub key: String,
    /// Its status before.
    pub was: String,
    /// Whether it was made in the window, and so is taken for the attacker's.
    pub made_in_window: bool,
}

/// Another credential that was cut.
#[derive(Debug, Clone, Serialize)]
pub struct Cut {
    /// Its id.
    pub id: String,
    /// Its status before.
    pub was: String,
    /// Whether it was made in the window, and so is taken for the attacker's.
    pub made_in_window: bool,
}

/// A user's name as IAM takes it (<https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetUser.html>).
fn is_name(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "_+=,.@-".contains(letter))
}

/// The changes, and what is so already.
fn changes(before: &Before, plan: &mut Planned) {
    let difference =
        |attribute: String, from: Value, to: Value| Difference { resource: before.arn.clone(), attribute, before: from, after: to };
    match before.denial {
        Deny::Already(denial) => plan.already.push(difference(DENY.to_owned(), json!(denial), json!(denial))),
        Deny::Planned(denial) => plan.changes.push(difference(DENY.to_owned(), Value::Null, json!(denial))),
        Deny::NoRoom => {}
    }
    for held in &before.held {
        let was = json!(held.credential.status);
        if held.credential.is_active() {
            plan.changes.push(difference(held.attribute(), was, json!(INACTIVE)));
        } else {
            plan.already.push(difference(held.attribute(), was.clone(), was));
        }
    }
    match &before.login {
        Some(login) => {
            let was = json!({ "made": login.made, "password_reset_required": login.reset_required });
            plan.changes.push(difference(LOGIN.to_owned(), was, Value::Null));
        }
        None => plan.already.push(difference(LOGIN.to_owned(), Value::Null, Value::Null)),
    }
    for device in before.hostile_devices() {
        plan.changes.push(difference(device.attribute(), json!({ "enabled": device.enabled }), Value::Null));
    }
}

fn moot(cx: Cx<'_>, user: &str) -> Plan<Before> {
    let why = format!(
        "account {} has no IAM user {user}; a person of IAM Identity Center is none: end their sessions there, and iam.deny-older-sessions those of their roles",
        cx.cell.account
    );
    Plan::Moot { why }
}

impl Change for ContainUser {
    const NAME: &'static str = NAME;
    const ABOUT: &'static str = "Cuts everything that an IAM user gets in with, and denies it everything";
    // A deleted password cannot be put back.
    const RISK: Risk = Risk::Destructive;
    const COUNTS: &'static [Counts] = &[Counts::Credentials];
    const SEAT: Seat = Seat::Member;
    // https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsidentityandaccessmanagementiam.html
    const READS: &'static [Permission] = &[
        Permission::new("iam:GetAccountSummary", "*"),
        Permission::new("iam:GetLoginProfile", "arn:{partition}:iam::{account}:user/{user}"),
        Permission::new("iam:GetUser", "arn:{partition}:iam::{account}:user/{user}"),
        Permission::new("iam:GetUserPolicy", "arn:{partition}:iam::{account}:user/{user}"),
        Permission::new("iam:ListAccessKeys", "arn:{partition}:iam::{account}:user/{user}"),
        Permission::new("iam:ListAttachedUserPolicies", "arn:{partition}:iam::{account}:user/{user}"),
        Permission::new("iam:ListMFADevices", "arn:{partition}:iam::{account}:user/{user}"),
        Permission::new("iam:ListSSHPublicKeys", "arn:{partition}:iam::{account}:user/{user}"),
        Permission::new("iam:ListServiceSpecificCredentials", "arn:{partition}:iam::{account}:user/{user}"),
        Permission::new("iam:ListSigningCertificates", "arn:{partition}:iam::{account}:user/{user}"),
        Permission::new("iam:ListUserPolicies", "arn:{partition}:iam::{account}:user/{user}"),
    ];
    const WRITES: &'static [Permission] = &[
        Permission {
            action: "iam:AttachUserPolicy",
            resource: "arn:{partition}:iam::{account}:user/{user}",
            conditions: &[("ArnEquals", "iam:PolicyARN", "arn:{partition}:iam::aws:policy/AWSDenyAll")],
        },
        Permission {
            action: "iam:DetachUserPolicy",
            resource: "arn:{partition}:iam::{account}:user/{user}",
            conditions: &[("ArnEquals", "iam:PolicyARN", "arn:{partition}:iam::aws:policy/AWSDenyAll")],
        },
        Permission::new("iam:DeactivateMFADevice", "arn:{partition}:iam::{account}:user/{user}"),
        Permission::new("iam:DeleteLoginProfile", "arn:{partition}:iam::{account}:user/{user}"),
        Permission::new("iam:DeleteUserPolicy", "arn:{partition}:iam::{account}:user/{user}"),
        Permission::new("iam:PutUserPolicy", "arn:{partition}:iam::{account}:user/{user}"),
        Permission::new("iam:UpdateAccessKey", "arn:{partition}:iam::{account}:user/{user}"),
        Permission::new("iam:UpdateSSHPublicKey", "arn:{partition}:iam::{account}:user/{user}"),
        Permission::new("iam:UpdateServiceSpecificCredential", "arn:{partition}:iam::{account}:user/{user}"),
        Permission::new("iam:UpdateSigningCertificate", "arn:{partition}:iam::{account}:user/{user}"),
    ];
    const SETTLE: SignedDuration = SignedDuration::from_mins(5);
    /// Undoing it lets in again whoever has the credentials.
    const UNDO_ONLY_NAMED: bool = true;

    type Params = Params;
    type Before = Before;
    type Ticket = ();
    type Outcome = Outcome;

    fn bind(&self, _with: &Params, before: &Before) -> Bindings {
        Bindings::new().with("user", [look::bound(&before.arn, &before.user)])
    }

    async fn plan(&self, cx: Cx<'_>, with: &Params) -> Result<Plan<Before>, ActionError> {
        let refused = |who: &str, what: &str| {
            let why = format!("{who} is {what}: Cordon never changes it. A person has to act in account {}", cx.cell.account);
            Ok(Plan::Refuse { code: "refused-subject", why })
        };
        if look::is_root(&with.user) {
            return refused("the user", "the root user");
        }
        if !is_name(&with.user) {
            return Ok(moot(cx, &with.user));
        }
        if look::is_protected(cx, &with.user) {
            return refused(&with.user, "a principal of `[protected]`");
        }
        let client = cx.read.iam();
        let Some(state) = state::read(&client, &with.user).await? else { return Ok(moot(cx, &with.user)) };
        if state.user.arn.ends_with(":root") {
            return refused("the user", "the root user");
        }
        let denial = match state.denial(cx.read.partition()) {
            Some(denial) => Deny::Already(denial),
            None => state::room(&client, &state).await?.map_or(Deny::NoRoom, Deny::Planned),
        };
        let begin = with.since.or(cx.window.0);
        let since = begin.or_else(|| cx.clock.now().checked_sub(WINDOW).ok()).unwrap_or(Timestamp::MIN);
        let mut plan = Planned { touches: [state.user.arn.clone()].into(), ..Planned::default() };
        plan.opt_outs.extend(cx.opt_out(&state.user.arn, look::pairs(&state.user.tags)));
        let quarantine = look::quarantines(&state.attached);
        let State { user, held, login, devices, inline, attached } = state;
        let before = Before { user: user.name, arn: user.arn, since, held, login, devices, denial, inline, quarantine };
        changes(&before, &mut plan);
        plan.notes = notes::notes(&before, attached.len());
        Ok(Plan::Ready { before, plan })
    }

    async fn apply(&self, cx: Cx<'_>, write: Write<'_>, _with: &Params, before: &Before) -> Result<Progress<(), Outcome>, ApplyError> {
        apply::apply(cx, &write.aws.iam(), before).await.map(Progress::Done)
    }

    async fn verify(&self, cx: Cx<'_>, _with: &Params, before: &Before) -> Result<Verdict, ActionError> {
        let now = state::read(&cx.read.iam(), &before.user).await?;
        Ok(apply::judge(before, cx.read.partition(), now.as_ref()))
    }

    async fn undo(&self, cx: Cx<'_>, write: Write<'_>, _with: &Params, before: &Before, only: &[ChangeKey]) -> Result<Undo, ApplyError> {
        undo::undo(cx, &write.aws.iam(), before, only).await
    }
}
