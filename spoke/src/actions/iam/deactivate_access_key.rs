//! `iam.deactivate-access-key`: a user's access key stops working, and is not deleted.
//!
//! In an incident a key is deactivated first: what used it shows itself by failing, and it can be had back. Recovery key: user and key id.
//! Sessions that were opened with the key before live on.

#[cfg(test)]
mod tests;

use aws_sdk_iam::{Client, types::StatusType};
use cordon_shared::plan::{Change as Difference, ChangeKey, Counts, Plan as Planned, Risk, Seat, Verdict};
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::look::{self, ACTIVE, Credential, INACTIVE, READ_BACK};
use crate::{
    action::{ActionError, ApplyError, Change, Cx, ParamsError, Plan, Progress, Undo, Write, classify},
    permission::{Bindings, Permission},
};

/// Makes an access key inactive.
#[derive(Debug, Clone, Copy)]
pub struct DeactivateAccessKey;

const NAME: &str = "iam.deactivate-access-key";

/// Which key.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The access key's id (`AKIA…`).
    pub key: String,
    /// The user it is said to be of. IAM is asked whose it is; without an answer this user's keys are looked through.
    #[serde(default)]
    pub user: Option<String>,
}

/// All that undo needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Before {
    /// The user's name.
    user: String,
    /// The user's ARN.
    arn: String,
    /// The key as it was.
    key: Credential,
    /// The user's other keys that are active.
    others: Vec<String>,
    /// AWS's own quarantine policies on the user.
    quarantine: Vec<String>,
}

/// What was done.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The user.
    pub user: String,
    /// The key.
    pub key: String,
    /// Its status before.
    pub was: String,
    /// The user's other keys that are active: they still work.
    pub other_active_keys: Vec<String>,
    /// AWS's own quarantine policies on the user, which stay.
    pub quarantine: Vec<String>,
}

/// When and where a key was last used, as far as IAM knows.
struct LastUsed {
    user: Option<String>,
    at: Option<Timestamp>,
    service: String,
    region: String,
}

async fn last_used(client: &Client, key: &str) -> Result<LastUsed, ActionError> {
    let answer = client.get_access_key_last_used().access_key_id(key).send().await;
    let answer = answer.map_err(|error| classify("iam:GetAccessKeyLastUsed", error))?;
    let used = answer.access_key_last_used();
    Ok(LastUsed {
        user: answer.user_name().filter(|name| !name.is_empty()).map(str::to_owned),
        at: used.and_then(|used| used.last_used_date()).and_then(look::time),
        service: used.map(|used| used.service_name().to_owned()).unwrap_or_default(),
        region: used.map(|used| used.region().to_owned()).unwrap_or_default(),
    })
}

fn check(with: &Params) -> Result<(), ActionError> {
    // https://docs.aws.amazon.com/IAM/latest/APIReference/API_UpdateAccessKey.html, `AccessKeyId`.
    let fits = (16..=128).contains(&with.key.len()) && with.key.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    if fits {
        return Ok(());
    }
    Err(ParamsError { action: NAME, why: "`key` is not the id of an access key: 16 to 128 letters and digits".to_owned() }.into())
}

fn root(key: &str, account: &str) -> Plan<Before> {
    let why = format!(
        "access key {key} is of the root user of account {account}: Cordon never changes it. A person signs in as root and deactivates it there (IAM console, \"My security credentials\"), or removes it through centralized root access"
    );
    Plan::Refuse { code: "root-key", why }
}

/// Whose key it is, as far as can be found out.
enum Owner {
    User(look::User, Option<LastUsed>),
    Other(Box<Plan<Before>>),
}

async fn owner(cx: Cx<'_>, with: &Params) -> Result<Owner, ActionError> {
    let (client, key, account) = (cx.read.iam(), &with.key, cx.cell.account.as_str());
    if with.user.as_deref().is_some_and(look::is_root) {
        return Ok(Owner::Other(Box::new(root(key, account))));
    }
    let used = match last_used(&client, key).await {
        Ok(used) => Some(used),
        Err(ActionError::Gone { .. }) => {
            return Ok(Owner::Other(Box::new(Plan::Moot { why: format!("there is no access key {key} in account {account}") })));
        }
        // IAM may say so of a key that is another account's. The user that the finding names, if any, says more.
        Err(ActionError::Denied(_)) if with.user.is_some() => None,
        Err(error) => return Err(error),
    };
    let name = match &used {
        Some(used) => match &used.user {
            Some(name) if !look::is_root(name) => name,
            _ => return Ok(Owner::Other(Box::new(root(key, account)))),
        },
        None => with.user.as_ref().unwrap_or(key),
    };
    match look::user(&client, name).await? {
        Some(user) if user.arn.ends_with(":root") => Ok(Owner::Other(Box::new(root(key, account)))),
        Some(user) => Ok(Owner::User(user, used)),
        // A user cannot be deleted before its keys: a key of no user is root's.
        None if used.is_some() => Ok(Owner::Other(Box::new(root(key, account)))),
        None => Ok(Owner::Other(Box::new(Plan::Moot { why: format!("there is no IAM user {name} in account {account}") }))),
    }
}

fn notes(with: &Params, before: &Before, used: Option<&LastUsed>, plan: &mut Planned) {
    let user = &before.user;
    if let Some(said) = with.user.as_ref().filter(|said| !said.eq_ignore_ascii_case(user)) {
        plan.notes.push(format!("the key was said to be of {said}; IAM says that it is {user}'s"));
    }
    let lags = "IAM's record lags and proves no absence";
    match used.map(|used| (used.at, used)) {
        Some((Some(at), used)) => {
            let LastUsed { service, region, .. } = used;
            plan.notes.push(format!("{} was last used at {at}, for {service} in {region} ({lags})", with.key));
        }
        Some((None, _)) => plan.notes.push(format!("IAM has no record of a use of {} ({lags})", with.key)),
        None => {}
    }
    if !before.others.is_empty() {
        let others = before.others.join(", ");
        plan.notes.push(format!("{user} has another active access key, {others}: it is left alone; iam.contain-user cuts all of them"));
    }
    plan.notes.extend(look::quarantine_note(user, &before.quarantine));
    plan.notes.push(format!(
        "sessions that were opened with {} before live on until they expire; iam.contain-user ends the user's own",
        with.key
    ));
}

async fn key_now(client: &Client, before: &Before) -> Result<Option<Credential>, ActionError> {
    let keys = look::keys(client, &before.user).await?.unwrap_or_default();
    Ok(keys.into_iter().find(|key| key.id == before.key.id))
}

impl Change for DeactivateAccessKey {
    const NAME: &'static str = NAME;
    const ABOUT: &'static str = "Makes a user's access key inactive; never deletes it";
    const RISK: Risk = Risk::Disruptive;
    const COUNTS: &'static [Counts] = &[Counts::Credentials];
    const SEAT: Seat = Seat::Member;
    // https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsidentityandaccessmanagementiam.html
    const READS: &'static [Permission] = &[
        // Whose a key is, is not known before it is asked; root's is of no user.
        Permission::new("iam:GetAccessKeyLastUsed", "*"),
        Permission::new("iam:GetUser", "arn:{partition}:iam::{account}:user/{user}"),
        Permission::new("iam:ListAccessKeys", "arn:{partition}:iam::{account}:user/{user}"),
        Permission::new("iam:ListAttachedUserPolicies", "arn:{partition}:iam::{account}:user/{user}"),
    ];
    const WRITES: &'static [Permission] = &[Permission::new("iam:UpdateAccessKey", "arn:{partition}:iam::{account}:user/{user}")];
    const SETTLE: SignedDuration = SignedDuration::from_mins(5);
    /// Undoing it gives an exposed key its power back.
    const UNDO_ONLY_NAMED: bool = true;

    type Params = Params;
    type Before = Before;
    type Ticket = ();
    type Outcome = Outcome;

    fn bind(&self, _with: &Params, before: &Before) -> Bindings {
        Bindings::new().with("user", [look::bound(&before.arn, &before.user)])
    }

    async fn plan(&self, cx: Cx<'_>, with: &Params) -> Result<Plan<Before>, ActionError> {
        check(with)?;
        // https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids
        if with.key.starts_with("ASIA") {
            let why = format!("{} is a session's key: it cannot be deactivated. Sessions are ended by iam.deny-older-sessions", with.key);
            return Ok(Plan::Refuse { code: "temporary-key", why });
        }
        let (user, used) = match owner(cx, with).await? {
            Owner::User(user, used) => (user, used),
            Owner::Other(plan) => return Ok(*plan),
        };
        if look::is_protected(cx, &user.name) {
            let why = format!("{} is a principal of `[protected]`: Cordon never changes it. A person deactivates {}", user.arn, with.key);
            return Ok(Plan::Refuse { code: "refused-subject", why });
        }
        let client = cx.read.iam();
        let keys = look::keys(&client, &user.name).await?.unwrap_or_default();
        let (this, others): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| key.id == with.key);
        let Some(key) = this.into_iter().next() else {
            return Ok(Plan::Moot { why: format!("{} has no access key {}", user.arn, with.key) });
        };
        let quarantine = look::quarantines(&look::attached(&client, &user.name).await?);
        let others = others.into_iter().filter(Credential::is_active).map(|key| key.id).collect();
        let mut plan = Planned { touches: [user.arn.clone()].into(), ..Planned::default() };
        plan.opt_outs.extend(cx.opt_out(&user.arn, look::pairs(&user.tags)));
        let before = Before { user: user.name, arn: user.arn, key, others, quarantine };
        notes(with, &before, used.as_ref(), &mut plan);
        let list = if before.key.is_active() { &mut plan.changes } else { &mut plan.already };
        list.push(Difference {
            resource: before.arn.clone(),
            attribute: look::key_attribute(&with.key),
            before: json!(before.key.status),
            after: json!(if before.key.is_active() { INACTIVE } else { &before.key.status }),
        });
        Ok(Plan::Ready { before, plan })
    }

    async fn apply(&self, cx: Cx<'_>, write: Write<'_>, _with: &Params, before: &Before) -> Result<Progress<(), Outcome>, ApplyError> {
        let Some(now) = key_now(&cx.read.iam(), before).await? else {
            let message = format!("{} was deleted since the plan", before.key.id);
            return Err(ActionError::Gone { what: before.arn.clone(), message }.into());
        };
        if now.is_active() {
            look::set_key(&write.aws.iam(), &before.user, &before.key.id, StatusType::Inactive).await?;
        }
        Ok(Progress::Done(Outcome {
            user: before.user.clone(),
            key: before.key.id.clone(),
            was: before.key.status.clone(),
            other_active_keys: before.others.clone(),
            quarantine: before.quarantine.clone(),
        }))
    }

    async fn verify(&self, cx: Cx<'_>, _with: &Params, before: &Before) -> Result<Verdict, ActionError> {
        Ok(match key_now(&cx.read.iam(), before).await? {
            None => Verdict::Drifted { detail: format!("{} has no access key {} any more: it was deleted", before.arn, before.key.id) },
            Some(key) if key.is_active() => Verdict::NotInEffect { detail: format!("access key {} of {} is active", key.id, before.arn) },
            Some(_) => Verdict::InEffect,
        })
    }

    async fn undo(&self, cx: Cx<'_>, write: Write<'_>, _with: &Params, before: &Before, only: &[ChangeKey]) -> Result<Undo, ApplyError> {
        let attribute = look::key_attribute(&before.key.id);
        let named = only.iter().any(|key| key.resource == before.arn && key.attribute == attribute);
        if !named || !before.key.is_active() {
            return Ok(Undo::Restored(Vec::new()));
        }
        let read = cx.read.iam();
        match key_now(&read, before).await? {
            None => {
                let why = format!("access key {} of {} was deleted after us and cannot be had back", before.key.id, before.arn);
                let step = format!(
                    "{why}. If the user needs one, in account {}: aws iam create-access-key --user-name {}, handed to whom it belongs",
                    cx.cell.account, before.user
                );
                Ok(Undo::ByHand(vec![step]))
            }
            Some(now) if now.status == INACTIVE => {
                look::set_key(&write.aws.iam(), &before.user, &now.id, StatusType::Active).await?;
                for wait in READ_BACK {
                    tokio::time::sleep(wait).await;
                    let again = key_now(&read, before).await.map_err(|error| ApplyError::after(1, error))?;
                    if again.is_none_or(|key| key.is_active()) {
                        let resource = before.arn.clone();
                        let back = Difference { resource, attribute, before: json!(INACTIVE), after: json!(ACTIVE) };
                        return Ok(Undo::Restored(vec![back]));
                    }
                }
                let message = format!("{} was made active and is still read as inactive", now.id);
                let error = ActionError::Service { call: "iam:UpdateAccessKey".to_owned(), code: "NotReadBack".to_owned(), message };
                Err(ApplyError::after(1, error))
            }
            Some(_) => Ok(Undo::Restored(Vec::new())),
        }
    }
}
