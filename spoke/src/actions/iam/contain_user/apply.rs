//! Cutting a user off, and reading back that it is.

use aws_sdk_iam::{Client, types::StatusType};
use cordon_shared::plan::Verdict;

use super::{
    Before, Cut, Outcome,
    state::{self, Denial, Held, INLINE, Kind, State, inline_document, managed},
};
use crate::action::{ActionError, ApplyError, Cx, classify};

/// What was done so far, and what went wrong without stopping the rest.
#[derive(Default)]
struct Work {
    done: usize,
    wrong: Option<ActionError>,
}

impl Work {
    /// What AWS refuses for good does not keep the other parts from being done; what may pass is tried again as a whole.
    /// Whether it was done.
    fn note(&mut self, result: Result<(), ActionError>) -> Result<bool, ApplyError> {
        match result {
            Ok(()) => {
                self.done += 1;
                Ok(true)
            }
            // It was deleted meanwhile: nobody gets in with it.
            Err(ActionError::Gone { .. }) => Ok(false),
            Err(error @ (ActionError::Denied(_) | ActionError::Service { .. })) => {
                self.wrong.get_or_insert(error);
                Ok(false)
            }
            Err(error) => Err(ApplyError::after(self.done, error)),
        }
    }
}

fn is(error: &ActionError, wanted: &str) -> bool {
    matches!(error, ActionError::Service { code, .. } if code == wanted)
}

async fn attach(client: &Client, user: &str, partition: &str) -> Result<(), ActionError> {
    let call = client.attach_user_policy().user_name(user).policy_arn(managed(partition));
    call.send().await.map(drop).map_err(|error| classify("iam:AttachUserPolicy", error))
}

async fn put(client: &Client, user: &str) -> Result<(), ActionError> {
    let call = client.put_user_policy().user_name(user).policy_name(INLINE).policy_document(inline_document().to_string());
    call.send().await.map(drop).map_err(|error| classify("iam:PutUserPolicy", error))
}

/// Denies the user everything. A quota that filled up since the plan leaves the inline policy.
async fn deny(client: &Client, before: &Before, partition: &str, now: &State, work: &mut Work) -> Result<Option<Denial>, ApplyError> {
    if let Some(denial) = now.denial(partition) {
        return Ok(Some(denial));
    }
    let Some(wanted) = before.denial.planned() else { return Ok(None) };
    if wanted == Denial::Managed {
        match attach(client, &before.user, partition).await {
            Err(error) if is(&error, "LimitExceeded") => {}
            result => return Ok(work.note(result)?.then_some(Denial::Managed)),
        }
    }
    let result = if now.inline.is_some() {
        let message = format!("{} has an inline policy {INLINE} that is not Cordon's: it is not overwritten", before.arn);
        Err(ActionError::Service { call: "iam:PutUserPolicy".to_owned(), code: "NameTaken".to_owned(), message })
    } else {
        put(client, &before.user).await
    };
    Ok(work.note(result)?.then_some(Denial::Inline))
}

pub(super) async fn apply(cx: Cx<'_>, client: &Client, before: &Before) -> Result<Outcome, ApplyError> {
    let (user, partition) = (before.user.as_str(), cx.read.partition());
    let Some(now) = state::read(&cx.read.iam(), user).await? else {
        return Err(ActionError::Gone { what: before.arn.clone(), message: "the user was deleted since the plan".to_owned() }.into());
    };
    let mut work = Work::default();
    // First what stops everything, sessions that are open too.
    let denied_by = deny(client, before, partition, &now, &mut work).await?;
    for held in before.held.iter().filter(|held| held.credential.is_active()) {
        if now.held(held).is_some_and(|held| held.credential.is_active()) {
            work.note(state::set(client, user, held, StatusType::Inactive).await)?;
        }
    }
    if before.login.is_some() && now.login == before.login {
        let result = client.delete_login_profile().user_name(user).send().await;
        work.note(result.map(drop).map_err(|error| classify("iam:DeleteLoginProfile", error)).map_err(passing))?;
    }
    for device in before.hostile_devices() {
        if now.device(device) == Some(device) {
            let result = client.deactivate_mfa_device().user_name(user).serial_number(&device.serial).send().await;
            work.note(result.map(drop).map_err(|error| classify("iam:DeactivateMFADevice", error)).map_err(passing))?;
        }
    }
    match work.wrong {
        Some(error) => Err(ApplyError::after(work.done, error)),
        None => Ok(outcome(before, denied_by)),
    }
}

/// What was made or changed a moment ago cannot be changed yet, which passes
/// (<https://docs.aws.amazon.com/IAM/latest/APIReference/API_DeleteLoginProfile.html>, `EntityTemporarilyUnmodifiable`).
fn passing(error: ActionError) -> ActionError {
    match error {
        ActionError::Service { call, code, message } if code == "EntityTemporarilyUnmodifiable" || code == "ConcurrentModification" => {
            ActionError::Throttled { call, message: format!("{code}: {message}") }
        }
        error => error,
    }
}

fn outcome(before: &Before, denied_by: Option<Denial>) -> Outcome {
    let cuts = |kind: Kind| {
        let held = before.held.iter().filter(|held| held.kind == kind);
        held.map(|Held { credential, .. }| Cut {
            id: credential.id.clone(),
            was: credential.status.clone(),
            made_in_window: credential.is_since(before.since),
        })
        .collect()
    };
    Outcome {
        user: before.user.clone(),
        keys: before
            .held
            .iter()
            .filter(|held| held.kind == Kind::AccessKey)
            .map(|held| super::KeyCut {
                key: held.credential.id.clone(),
                was: held.credential.status.clone(),
                made_in_window: held.credential.is_since(before.since),
            })
            .collect(),
        login_profile: if before.login.is_some() { "deleted" } else { "none" },
        certificates: cuts(Kind::Certificate),
        service_credentials: cuts(Kind::Service),
        ssh_keys: cuts(Kind::Ssh),
        mfa_deactivated: before.hostile_devices().map(|device| device.serial.clone()).collect(),
        denied_by,
        quarantine: before.quarantine.clone(),
    }
}

/// Compares what IAM has now with what was planned.
pub(super) fn judge(before: &Before, partition: &str, now: Option<&State>) -> Verdict {
    let Some(now) = now else { return Verdict::Drifted { detail: format!("{} was deleted", before.arn) } };
    let arn = &before.arn;
    let drifted = |detail: String| Verdict::Drifted { detail };
    let mut missing = None;
    if before.denial.is_wanted() && now.denial(partition).is_none() {
        if now.inline.is_some() && now.inline != before.inline {
            return drifted(format!("the inline policy {INLINE} of {arn} is another now, and denies not everything"));
        }
        missing = Some(format!("nothing denies {arn} everything"));
    }
    for held in &before.held {
        let attribute = held.attribute();
        match now.held(held) {
            None => return drifted(format!("{attribute} of {arn} was deleted")),
            Some(held) if !held.credential.is_active() => {}
            Some(_) if held.credential.is_active() => {
                missing.get_or_insert_with(|| format!("{attribute} of {arn} is active"));
            }
            Some(_) => return drifted(format!("{attribute} of {arn} was made active")),
        }
    }
    if let Some(new) = now.held.iter().find(|held| held.credential.is_active() && !before.held.iter().any(|old| old.is(held))) {
        return drifted(format!("{} of {arn} was made since the plan, and is active", new.attribute()));
    }
    match (&before.login, &now.login) {
        (_, None) => {}
        (Some(old), Some(new)) if old == new => {
            missing.get_or_insert_with(|| format!("{arn} still has its login profile"));
        }
        _ => return drifted(format!("{arn} was given a login profile since the plan")),
    }
    for device in before.hostile_devices() {
        match now.device(device) {
            None => {}
            Some(found) if found == device => {
                missing.get_or_insert_with(|| format!("{} of {arn} is enabled", device.attribute()));
            }
            Some(_) => return drifted(format!("{} of {arn} was enabled again", device.attribute())),
        }
    }
    missing.map_or(Verdict::InEffect, |detail| Verdict::NotInEffect { detail })
}
