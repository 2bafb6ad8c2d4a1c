//! Making the swap, and reading it back.

use std::time::Duration;

use aws_sdk_ec2::{Client, types::IamInstanceProfileSpecification};
use cordon_shared::plan::{Effect, Verdict};

use super::{
    Before, Held, Outcome,
    blank::{self, Blank, Thing},
};
use crate::{
    action::{ActionError, ApplyError, Cx, Write, classify},
    actions::ec2::{
        instance::{READ_BACK, living, not_read_back},
        profile::{Association, association},
    },
};

pub(super) const REPLACE: &str = "ec2:ReplaceIamInstanceProfileAssociation";

/// After which waits EC2 is asked again to take a profile that IAM has made just now: it says that the profile is invalid until it has
/// heard of it (<https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency>).
const HEARD_OF: [Duration; 9] = [
    Duration::ZERO,
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(8),
    Duration::from_secs(8),
];

/// What EC2 says of a profile that it does not know.
const NOT_KNOWN: &str = "InvalidParameterValue";

/// Gives the instance of an association another profile, and reads back that it has it. `done` counts calls that took effect.
pub(super) async fn replace(
    read: &Client,
    write: &Client,
    found: &Association,
    profile: &str,
    done: &mut usize,
) -> Result<Association, ApplyError> {
    let mut refused = None;
    for wait in HEARD_OF {
        tokio::time::sleep(wait).await;
        let specification = IamInstanceProfileSpecification::builder().arn(profile).build();
        let call = write.replace_iam_instance_profile_association().association_id(&found.id).iam_instance_profile(specification);
        match call.send().await.map_err(|error| classify(REPLACE, error)) {
            Ok(_) => {
                *done += 1;
                refused = None;
                break;
            }
            Err(ActionError::Service { code, message, .. }) if code == NOT_KNOWN => refused = Some(message),
            Err(error) => return Err(ApplyError::after(*done, error)),
        }
    }
    if let Some(message) = refused {
        // It may pass: the whole is tried again, and what was made is found again.
        let message = format!("EC2 does not know the instance profile {profile} yet ({NOT_KNOWN}: {message})");
        let effect = if *done > 0 { Effect::Partial } else { Effect::None };
        return Err(ApplyError { effect, error: ActionError::Transient { call: REPLACE.to_owned(), message } });
    }
    for wait in READ_BACK {
        tokio::time::sleep(wait).await;
        let now = association(read, &found.instance).await.map_err(|error| ApplyError::after(*done, error))?;
        if let Some(now) = now.filter(|now| now.profile == profile) {
            return Ok(now);
        }
    }
    let message = format!("{} was given {profile} and is not read as having it", found.instance);
    Err(ApplyError::after(*done, not_read_back(REPLACE, message)))
}

pub(super) async fn apply(cx: Cx<'_>, write: Write<'_>, before: &Before) -> Result<Outcome, ApplyError> {
    let (client, id) = (cx.read.ec2(), &before.instance);
    let blank = Blank::of(cx, id);
    let changed = |message: String| ActionError::Service { call: REPLACE.to_owned(), code: "ProfileChanged".to_owned(), message };
    let mut done = 0;
    // First of all: nothing is made for an instance that has another profile by now.
    let Some(found) = association(&client, id).await? else {
        return Err(changed(format!("{id} has no instance profile any more")).into());
    };
    if found.profile != before.profile && found.profile != blank.profile_arn {
        return Err(changed(format!("{id} was given {} since the plan; it stays", found.profile)).into());
    }
    blank::make(cx, &write.aws.iam(), &blank, &before.run, &mut done).await?;
    let now = if found.profile == blank.profile_arn {
        found
    } else {
        replace(&client, &write.aws.ec2(), &found, &blank.profile_arn, &mut done).await?
    };
    Ok(Outcome {
        association: now.id,
        was: Held { profile: before.profile.clone(), role: before.role.arn.clone() },
        now: Held { profile: blank.profile_arn.clone(), role: blank.role_arn.clone() },
    })
}

pub(super) async fn verify(cx: Cx<'_>, before: &Before) -> Result<Verdict, ActionError> {
    let (client, id) = (cx.read.ec2(), &before.instance);
    let blank = Blank::of(cx, id);
    let drifted = |detail: String| Ok(Verdict::Drifted { detail });
    let not_yet = |detail: String| Ok(Verdict::NotInEffect { detail });
    if living(&client, id).await?.is_none() {
        return drifted(format!("{id} was terminated"));
    }
    let Some(found) = association(&client, id).await? else { return drifted(format!("{id} has no instance profile any more")) };
    if found.profile == before.profile && before.profile != blank.profile_arn {
        return not_yet(format!("{id} still has {}", found.profile));
    }
    if found.profile != blank.profile_arn {
        return drifted(format!("{id} was given {}", found.profile));
    }
    let state = blank::look(&cx.read.iam(), &blank).await?;
    if let Some(why) = state.foreign() {
        return drifted(why.to_owned());
    }
    if state.role == Thing::Absent || state.profile == Thing::Absent || !state.joined {
        return not_yet(format!("role and instance profile {} are not there, or not together", blank.name));
    }
    if !found.settled {
        return not_yet(format!("{id} has not taken {} over yet", found.profile));
    }
    Ok(Verdict::InEffect)
}
