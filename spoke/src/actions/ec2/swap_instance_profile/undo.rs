//! Giving the old profile back, and taking away what was made.

use cordon_shared::plan::{Change as Difference, ChangeKey};

use super::{
    ATTRIBUTE, Before, Held,
    apply::replace,
    blank::{self, Blank},
    held,
};
use crate::{
    action::{ActionError, ApplyError, Cx, Undo, Write},
    actions::ec2::{
        instance::living,
        profile::{Association, association, associations, name_in, profile},
    },
};

/// What is to be done about the instance.
enum Todo {
    /// Give the old profile back.
    Give(Association),
    /// Nothing.
    Nothing,
    /// A person has to decide.
    Ask {
        /// What, with the command.
        step: String,
        /// Whether the instance keeps the profile that was made for it until then.
        keeps: bool,
    },
}

pub(super) async fn undo(cx: Cx<'_>, write: Write<'_>, before: &Before, only: &[ChangeKey]) -> Result<Undo, ApplyError> {
    let (client, id) = (cx.read.ec2(), &before.instance);
    let arn = cx.ec2_arn(&format!("instance/{id}"));
    let blank = Blank::of(cx, id);
    if before.profile == blank.profile_arn || !only.iter().any(|key| key.resource == arn && key.attribute == ATTRIBUTE) {
        return Ok(Undo::Restored(Vec::new()));
    }
    let (mut done, mut steps, mut restored) = (0, Vec::new(), Vec::new());
    let mut kept = false;
    match todo(cx, before, &blank).await? {
        Todo::Nothing => {}
        Todo::Ask { step, keeps } => {
            steps.push(step);
            kept = keeps;
        }
        Todo::Give(found) => {
            replace(&client, &write.aws.ec2(), &found, &before.profile, &mut done).await?;
            let old = Held { profile: before.profile.clone(), role: before.role.arn.clone() };
            restored.push(Difference { resource: arn, attribute: ATTRIBUTE.to_owned(), before: held(&blank.held()), after: held(&old) });
        }
    }
    if write.only_looks() && !steps.is_empty() {
        return Ok(Undo::ByHand(steps));
    }
    if !kept {
        let all = associations(&client, None).await.map_err(|error| ApplyError::after(done, error))?;
        match all.iter().find(|other| other.profile == blank.profile_arn && other.instance != *id) {
            Some(user) => steps.push(format!("the instance profile {} is left: somebody gave it to {}", blank.name, user.instance)),
            None => steps.extend(blank::unmake(cx, &write.aws.iam(), &blank, &before.run, &mut done).await?),
        }
    }
    if steps.is_empty() {
        return Ok(Undo::Restored(restored));
    }
    steps.extend(restored.iter().map(|_| format!("nothing more to do for the instance profile of {id}: it has {} again", before.profile)));
    Ok(Undo::ByHand(steps))
}

async fn todo(cx: Cx<'_>, before: &Before, blank: &Blank) -> Result<Todo, ActionError> {
    let (client, id) = (cx.read.ec2(), &before.instance);
    // Of an instance that was terminated there is nothing to restore.
    if living(&client, id).await?.is_none() {
        return Ok(Todo::Nothing);
    }
    let place = format!("in account {}: aws ec2", cx.cell.account);
    let profile_option = format!("--iam-instance-profile Arn={}", before.profile);
    let Some(found) = association(&client, id).await? else {
        let step = format!(
            "{id}: somebody took its instance profile away. If it shall have {} again, {place} associate-iam-instance-profile --region {} --instance-id {id} {profile_option}",
            before.profile, cx.cell.region
        );
        return Ok(Todo::Ask { step, keeps: false });
    };
    let command = format!(
        "{place} replace-iam-instance-profile-association --region {} --association-id {} {profile_option}",
        cx.cell.region, found.id
    );
    if found.profile == before.profile {
        return Ok(Todo::Nothing);
    }
    if found.profile != blank.profile_arn {
        let step = format!("{id}: somebody gave it {}. If it shall have {} again, {command}", found.profile, before.profile);
        return Ok(Todo::Ask { step, keeps: false });
    }
    let old = profile(&cx.read.iam(), name_in(&before.profile)).await?.filter(|old| old.arn == before.profile);
    let step = match old {
        None => format!(
            "{id}: its instance profile {} was deleted since. Make one with the role {}, then {command}",
            before.profile, before.role.arn
        ),
        Some(old) if !old.roles.iter().any(|role| role.arn == before.role.arn) => {
            let now = old.roles.first().map_or("no role", |role| role.arn.as_str());
            format!(
                "{id}: its instance profile {} holds {now} now, not {}. If {id} shall have it all the same, {command}",
                before.profile, before.role.arn
            )
        }
        Some(_) => return Ok(Todo::Give(found)),
    };
    Ok(Todo::Ask { step, keeps: true })
}
