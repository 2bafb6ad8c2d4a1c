//! Writing the policy, reading it back, and taking it away. IAM compares nothing when it writes: each write follows a read.

use std::time::Duration;

use aws_sdk_iam::Client;
use cordon_shared::plan::{Change as Difference, ChangeKey, Verdict};
use serde_json::{Value, json};

use super::{
    Before, Scope,
    policy::{Found, Standing, console_document, document, read, standing, written},
    role,
};
use crate::action::{ActionError, ApplyError, Cx, Undo, classify};

/// After which waits an undo is read back before it counts as not done: IAM's reads follow its writes with a delay
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency>).
const READ_BACK: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

async fn now(cx: Cx<'_>, before: &Before) -> Result<Found, ActionError> {
    let text = role::policy(&cx.read.iam(), &before.role, &before.policy_name()).await?;
    Ok(read(&before.scope, text.as_deref()))
}

async fn put(write: &Client, before: &Before, document: &Value) -> Result<(), ActionError> {
    let request = write.put_role_policy().role_name(&before.role).policy_name(before.policy_name());
    let answer = request.policy_document(document.to_string()).send().await;
    answer.map(drop).map_err(|error| classify("iam:PutRolePolicy", error))
}

/// Writes the policy, unless what is there denies as much.
pub(super) async fn apply(cx: Cx<'_>, write: &Client, before: &Before) -> Result<(), ApplyError> {
    let found = now(cx, before).await?;
    match standing(&found, before.cutoff, &before.at_plan()) {
        Standing::InEffect => Ok(()),
        Standing::Free => {
            let replaced = found.replaced().or_else(|| before.replaced.clone());
            Ok(put(write, before, &document(&before.scope, before.cutoff, replaced.as_deref())).await?)
        }
        Standing::Theirs => Err(ActionError::Service {
            call: "iam:PutRolePolicy".to_owned(),
            code: "PolicyChanged".to_owned(),
            message: format!("inline policy {} of {} was changed since the plan: it is left as it is", before.policy_name(), before.arn),
        }
        .into()),
    }
}

pub(super) async fn verify(cx: Cx<'_>, before: &Before) -> Result<Verdict, ActionError> {
    let found = now(cx, before).await?;
    let policy = before.policy_name();
    Ok(match standing(&found, before.cutoff, &before.at_plan()) {
        Standing::InEffect => Verdict::InEffect,
        Standing::Free => {
            let is = found.date().map_or_else(|| "is not there".to_owned(), |date| format!("has the cut-off {date}"));
            Verdict::NotInEffect { detail: format!("inline policy {policy} of {} {is}", before.arn) }
        }
        Standing::Theirs => Verdict::Drifted { detail: format!("somebody else wrote inline policy {policy} of {}", before.arn) },
    })
}

/// Takes our policy away, whatever its cut-off: who moved it forward took it over. The console's date that it replaced comes back.
pub(super) async fn undo(cx: Cx<'_>, write: &Client, before: &Before, only: &[ChangeKey]) -> Result<Undo, ApplyError> {
    let key = ChangeKey { resource: before.arn.clone(), attribute: before.scope.attribute() };
    if !only.contains(&key) {
        return Ok(Undo::Restored(Vec::new()));
    }
    let found = now(cx, before).await?;
    let (cutoff, replaced) = match &found {
        Found::Ours { cutoff, replaced } => (*cutoff, replaced.clone()),
        // As before us.
        Found::None if before.replaced.is_none() => return Ok(Undo::Restored(Vec::new())),
        Found::Console { date, .. } if before.replaced.as_ref() == Some(date) => return Ok(Undo::Restored(Vec::new())),
        Found::None | Found::Console { .. } | Found::Foreign => return Ok(Undo::ByHand(by_hand(cx, before, &found))),
    };
    match &replaced {
        Some(date) => put(write, before, &console_document(date)).await?,
        None => {
            let answer = write.delete_role_policy().role_name(&before.role).policy_name(before.policy_name()).send().await;
            match answer.map_err(|error| classify("iam:DeleteRolePolicy", error)) {
                // It is gone already.
                Ok(_) | Err(ActionError::Gone { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    read_back(cx, before, replaced.as_deref()).await?;
    let state = |date: &str| json!({ "denied, if issued before": date });
    let after = replaced.as_deref().map_or(Value::Null, state);
    Ok(Undo::Restored(vec![Difference { resource: key.resource, attribute: key.attribute, before: state(&written(cutoff)), after }]))
}

/// Reads back that ours is gone.
async fn read_back(cx: Cx<'_>, before: &Before, replaced: Option<&str>) -> Result<(), ApplyError> {
    for wait in READ_BACK {
        tokio::time::sleep(wait).await;
        let found = now(cx, before).await.map_err(|error| ApplyError::after(1, error))?;
        let gone = match replaced {
            None => found == Found::None,
            Some(_) => !matches!(found, Found::Ours { .. } | Found::None),
        };
        if gone {
            return Ok(());
        }
    }
    let message = format!("inline policy {} of {} was put back and can still be read as it was", before.policy_name(), before.arn);
    Err(ApplyError::after(1, ActionError::Transient { call: "iam:GetRolePolicy".to_owned(), message }))
}

/// What a person does where somebody else wrote under the policy's name.
fn by_hand(cx: Cx<'_>, before: &Before, found: &Found) -> Vec<String> {
    let (role, policy, account) = (&before.role, before.policy_name(), &cx.cell.account);
    let remove = format!("in account {account}: aws iam delete-role-policy --role-name {role} --policy-name {policy}");
    match found {
        Found::None => {
            let date = before.replaced.as_deref().unwrap_or_default();
            let document = console_document(date);
            vec![format!(
                "somebody removed {policy} of {}. Before us it denied all sessions older than {date}; if it shall again, in account {account}: aws iam put-role-policy --role-name {role} --policy-name {policy} --policy-document '{document}'",
                before.arn
            )]
        }
        Found::Console { date, .. } => vec![format!(
            "somebody revoked all sessions of {} older than {date} after us, by AWS's console. If they shall work again, {remove}",
            before.arn
        )],
        Found::Ours { .. } | Found::Foreign => {
            let what = if before.scope == Scope::Role { "all sessions" } else { "these sessions" };
            vec![format!(
                "somebody changed {policy} of {} after us. Look whether it still denies {what} (aws iam get-role-policy --role-name {role} --policy-name {policy}); if it shall go, {remove}",
                before.arn
            )]
        }
    }
}
