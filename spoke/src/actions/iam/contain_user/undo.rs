//! Giving a user back what it had. What denies it everything goes last.

use aws_sdk_iam::{Client, types::StatusType};
use cordon_shared::plan::{Change as Difference, ChangeKey};
use serde_json::{Value, json};

use super::{
    Before, DENY,
    state::{self, Denial, INLINE, State, inline_document, managed},
};
use crate::{
    action::{ActionError, ApplyError, Cx, Undo, classify},
    actions::iam::look::{ACTIVE, INACTIVE, READ_BACK},
};

/// What an undo came to so far.
struct Back<'a> {
    cx: Cx<'a>,
    before: &'a Before,
    only: &'a [ChangeKey],
    restored: Vec<Difference>,
    by_hand: Vec<String>,
}

impl Back<'_> {
    fn named(&self, attribute: &str) -> bool {
        self.only.iter().any(|key| key.resource == self.before.arn && key.attribute == attribute)
    }

    fn restored(&mut self, attribute: String, before: Value, after: Value) {
        self.restored.push(Difference { resource: self.before.arn.clone(), attribute, before, after });
    }

    fn failed(&self, error: ActionError) -> ApplyError {
        ApplyError::after(self.restored.len(), error)
    }

    /// A step for a person, in the account of the user.
    fn step(&mut self, why: &str, command: &str) {
        self.by_hand.push(format!("{why}, in account {}: {command}", self.cx.cell.account));
    }

    async fn credentials(&mut self, write: &Client, now: &State) -> Result<(), ApplyError> {
        for held in self.before.held.iter().filter(|held| held.credential.is_active()) {
            let attribute = held.attribute();
            if !self.named(&attribute) {
                continue;
            }
            match now.held(held) {
                None => {
                    let why = format!("{attribute} of {} was deleted after us and cannot be had back", self.before.arn);
                    self.by_hand.push(format!("{why}. If the user needs one, it has to be made anew in account {}", self.cx.cell.account));
                }
                Some(found) if found.credential.status == INACTIVE => {
                    state::set(write, &self.before.user, held, StatusType::Active).await.map_err(|error| self.failed(error))?;
                    self.restored(attribute, json!(INACTIVE), json!(ACTIVE));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn irreversible(&mut self, now: &State) {
        let user = self.before.user.clone();
        if self.before.login.is_some() && now.login.is_none() && self.named(super::LOGIN) {
            let why = format!("a deleted password cannot be put back. If {} shall sign in to the console again", self.before.arn);
            let command =
                format!("aws iam create-login-profile --user-name {user} --password-reset-required --password, with a new password");
            self.step(&why, &command);
        }
        for device in self.before.hostile_devices() {
            let attribute = device.attribute();
            if now.device(device).is_none() && self.named(&attribute) {
                let why = format!("{attribute} is enabled with two of its codes. If it is the user's own");
                let serial = &device.serial;
                let command = format!(
                    "aws iam enable-mfa-device --user-name {user} --serial-number {serial} --authentication-code1 … --authentication-code2 …"
                );
                self.step(&why, &command);
            }
        }
    }

    async fn allow(&mut self, write: &Client, now: &State) -> Result<(), ApplyError> {
        let (user, partition) = (self.before.user.as_str(), self.cx.read.partition());
        let Some(planned) = self.before.denial.planned().filter(|_| self.named(DENY)) else { return Ok(()) };
        // Where we put an inline policy, a managed one is somebody else's.
        if planned == Denial::Managed && now.attached.contains(&managed(partition)) {
            let call = write.detach_user_policy().user_name(user).policy_arn(managed(partition));
            let result = call.send().await.map(drop).map_err(|error| classify("iam:DetachUserPolicy", error));
            result.or_else(gone).map_err(|error| self.failed(error))?;
            self.restored(DENY.to_owned(), json!(Denial::Managed), Value::Null);
        }
        match &now.inline {
            Some(found) if self.before.inline.as_ref() == Some(found) => {}
            Some(found) if *found == inline_document() => {
                let result = write.delete_user_policy().user_name(user).policy_name(INLINE).send().await;
                let result = result.map(drop).map_err(|error| classify("iam:DeleteUserPolicy", error));
                result.or_else(gone).map_err(|error| self.failed(error))?;
                self.restored(DENY.to_owned(), json!(Denial::Inline), Value::Null);
            }
            Some(_) => {
                let why = format!("somebody changed the inline policy {INLINE} of {}. If it shall go", self.before.arn);
                self.step(&why, &format!("aws iam delete-user-policy --user-name {user} --policy-name {INLINE}"));
            }
            None => {}
        }
        Ok(())
    }
}

fn gone(error: ActionError) -> Result<(), ActionError> {
    if matches!(error, ActionError::Gone { .. }) { Ok(()) } else { Err(error) }
}

pub(super) async fn undo(cx: Cx<'_>, write: &Client, before: &Before, only: &[ChangeKey]) -> Result<Undo, ApplyError> {
    let read = cx.read.iam();
    let Some(now) = state::read(&read, &before.user).await? else {
        return Ok(Undo::ByHand(vec![format!("{} was deleted after us: there is nothing left to put back", before.arn)]));
    };
    let mut back = Back { cx, before, only, restored: Vec::new(), by_hand: Vec::new() };
    back.credentials(write, &now).await?;
    back.irreversible(&now);
    back.allow(write, &now).await?;
    read_back(&read, &back).await?;
    if back.by_hand.is_empty() {
        return Ok(Undo::Restored(back.restored));
    }
    let told = |change: &Difference| format!("nothing more to do for `{}` of {}: it was put back", change.attribute, change.resource);
    back.by_hand.extend(back.restored.iter().map(told));
    Ok(Undo::ByHand(back.by_hand))
}

/// Reads back that what was put back is there.
async fn read_back(read: &Client, back: &Back<'_>) -> Result<(), ApplyError> {
    let (before, partition) = (back.before, back.cx.read.partition());
    let restored = |attribute: &str| back.restored.iter().any(|change| change.attribute == attribute);
    let mut still = None;
    for wait in READ_BACK {
        if back.restored.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(wait).await;
        let Some(now) = state::read(read, &before.user).await.map_err(|error| back.failed(error))? else { return Ok(()) };
        let inactive =
            |held: &&state::Held| restored(&held.attribute()) && now.held(held).is_some_and(|held| held.credential.status == INACTIVE);
        still = before.held.iter().find(inactive).map(state::Held::attribute);
        if still.is_none() && restored(DENY) && before.denial.planned() == now.denial(partition) {
            still = Some(DENY.to_owned());
        }
        if still.is_none() {
            return Ok(());
        }
    }
    let message = format!("`{}` of {} was put back and is not read back so", still.unwrap_or_default(), before.arn);
    Err(back.failed(ActionError::Service { call: "iam".to_owned(), code: "NotReadBack".to_owned(), message }))
}
