//! Setting the attributes, reading them back, and putting them back.

use aws_sdk_ec2::Client;
use cordon_shared::plan::{Change as Difference, ChangeKey, Verdict};
use serde_json::Value;

use super::{
    Before, Outcome, Set, Unsupported,
    attribute::{Attribute, MODIFY, Setting, set},
    read,
};
use crate::{
    action::{ActionError, ApplyError, Cx, Undo},
    actions::ec2::instance::{READ_BACK, not_read_back},
};

/// Codes by which AWS says that this instance, or an instance in its state, does not have an attribute
/// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html>).
const NOT_HERE: &[&str] = &["UnsupportedOperation", "Unsupported", "IncorrectState", "IncorrectInstanceState"];

/// AWS's words, where a failure is about this attribute of this instance and the others can be set all the same.
pub(super) fn soft(error: &ActionError) -> Option<String> {
    match error {
        ActionError::Service { code, message, .. } if NOT_HERE.contains(&code.as_str()) => Some(format!("{code}: {message}")),
        _ => None,
    }
}

/// How an attribute stands now.
#[derive(Debug, PartialEq)]
pub(super) enum Now<'v> {
    /// With this value.
    Is(&'v Value),
    /// The device holds another volume.
    Other(String),
    /// The device holds no volume.
    Absent,
}

pub(super) fn now<'v>(found: &'v [(Attribute, Value)], wanted: &Attribute) -> Now<'v> {
    if let Some((_, value)) = found.iter().find(|(attribute, _)| attribute == wanted) {
        return Now::Is(value);
    }
    let Attribute::DeleteOnTermination { device, .. } = wanted else { return Now::Absent };
    let there = found.iter().find_map(|(attribute, _)| match attribute {
        Attribute::DeleteOnTermination { device: other, volume } if other == device => Some(volume.clone()),
        _ => None,
    });
    there.map_or(Now::Absent, Now::Other)
}

/// Attributes that go into one call: each alone, volumes together.
fn calls<'s>(settings: &[&'s Setting]) -> Vec<Vec<&'s Setting>> {
    let is_volume = |setting: &&Setting| matches!(setting.attribute, Attribute::DeleteOnTermination { .. });
    let (volumes, others): (Vec<&Setting>, Vec<&Setting>) = settings.iter().copied().partition(is_volume);
    let volumes = (!volumes.is_empty()).then_some(volumes);
    others.into_iter().map(|setting| vec![setting]).chain(volumes).collect()
}

pub(super) async fn apply(read_from: &Client, write: &Client, before: &Before) -> Result<Outcome, ApplyError> {
    let id = &before.instance;
    let Some(found) = read(read_from, id).await? else {
        return Err(ActionError::Gone { what: id.clone(), message: "the instance was terminated".to_owned() }.into());
    };
    let mut outcome = Outcome { attributes: Vec::new(), unsupported: Vec::new() };
    let mut fail = |setting: &Setting, why: String| outcome.unsupported.push(Unsupported { attribute: setting.attribute.to_string(), why });
    for setting in &before.settings {
        setting.unsupported.iter().for_each(|why| fail(setting, why.clone()));
    }
    let (mut todo, mut there) = (Vec::new(), Vec::new());
    for setting in before.changed() {
        match now(&found, &setting.attribute) {
            Now::Is(value) if *value == setting.attribute.wanted() => there.push(setting),
            Now::Is(_) => todo.push(setting),
            Now::Other(volume) => fail(setting, format!("the device holds {volume} now")),
            Now::Absent => fail(setting, "the volume was detached".to_owned()),
        }
    }
    let mut done = 0;
    for settings in calls(&todo) {
        let values: Vec<(&Attribute, Value)> = settings.iter().map(|setting| (&setting.attribute, setting.attribute.wanted())).collect();
        let values: Vec<(&Attribute, &Value)> = values.iter().map(|(attribute, value)| (*attribute, value)).collect();
        match set(write, id, &values).await {
            Ok(()) => {
                done += 1;
                there.extend(settings);
            }
            Err(error) => match soft(&error) {
                Some(why) => settings.iter().for_each(|setting| fail(setting, why.clone())),
                None => return Err(ApplyError::after(done, error)),
            },
        }
    }
    outcome.attributes = there
        .iter()
        .map(|setting| Set { attribute: setting.attribute.to_string(), was: setting.was.clone(), now: setting.attribute.wanted() })
        .collect();
    Ok(outcome)
}

pub(super) async fn verify(client: &Client, before: &Before) -> Result<Verdict, ActionError> {
    let Some(found) = read(client, &before.instance).await? else {
        return Ok(Verdict::Drifted { detail: format!("{} was terminated", before.instance) });
    };
    Ok(verdict(before, &found))
}

pub(super) fn verdict(before: &Before, found: &[(Attribute, Value)]) -> Verdict {
    let mut missing = Vec::new();
    for setting in before.changed() {
        match now(found, &setting.attribute) {
            Now::Is(value) if *value == setting.attribute.wanted() => {}
            Now::Is(value) => missing.push(format!("{} is {value}", setting.attribute)),
            Now::Other(volume) => return Verdict::Drifted { detail: format!("{}: the device holds {volume} now", setting.attribute) },
            // What is not attached is not deleted with the instance.
            Now::Absent => {}
        }
    }
    if missing.is_empty() { Verdict::InEffect } else { Verdict::NotInEffect { detail: missing.join("; ") } }
}

pub(super) async fn undo(cx: Cx<'_>, write: &Client, before: &Before, only: &[ChangeKey]) -> Result<Undo, ApplyError> {
    let (client, id) = (cx.read.ec2(), &before.instance);
    let arn = cx.ec2_arn(&format!("instance/{id}"));
    let wanted = |setting: &&Setting| {
        let name = setting.attribute.to_string();
        only.iter().any(|key| key.resource == arn && key.attribute == name)
    };
    // Of an instance that was terminated there is nothing to restore.
    let Some(found) = read(&client, id).await? else { return Ok(Undo::Restored(Vec::new())) };
    let by_hand = |setting: &Setting, why: &str| {
        format!(
            "{id}: {why}. If {} shall be {} again, in account {}: aws ec2 modify-instance-attribute --region {} --instance-id {id} {}",
            setting.attribute,
            setting.was,
            cx.cell.account,
            cx.cell.region,
            setting.attribute.as_cli(&setting.was)
        )
    };
    let (mut todo, mut steps) = (Vec::new(), Vec::new());
    for setting in before.changed().filter(wanted) {
        match now(&found, &setting.attribute) {
            Now::Is(value) if *value == setting.attribute.wanted() => todo.push(setting),
            Now::Is(value) if *value == setting.was => {}
            Now::Is(value) => steps.push(by_hand(setting, &format!("somebody else set {} to {value}", setting.attribute))),
            Now::Other(volume) => {
                steps.push(by_hand(setting, &format!("somebody attached {volume} where this volume was, which was never touched")));
            }
            Now::Absent => {}
        }
    }
    let (mut done, mut restored) = (0, Vec::new());
    for settings in calls(&todo) {
        let values: Vec<(&Attribute, &Value)> = settings.iter().map(|setting| (&setting.attribute, &setting.was)).collect();
        match set(write, id, &values).await {
            Ok(()) => {
                done += 1;
                restored.extend(settings);
            }
            Err(error) => match soft(&error) {
                Some(why) => steps.extend(settings.iter().map(|setting| by_hand(setting, &why))),
                None => return Err(ApplyError::after(done, error)),
            },
        }
    }
    put_back(&client, id, &restored, done).await?;
    let restored: Vec<Difference> = restored
        .iter()
        .map(|setting| Difference {
            resource: arn.clone(),
            attribute: setting.attribute.to_string(),
            before: setting.attribute.wanted(),
            after: setting.was.clone(),
        })
        .collect();
    if steps.is_empty() {
        return Ok(Undo::Restored(restored));
    }
    steps
        .extend(restored.iter().map(|change| format!("nothing more to do for {} of {id}: it is {} again", change.attribute, change.after)));
    Ok(Undo::ByHand(steps))
}

/// Reads back that what was put back is so.
async fn put_back(client: &Client, id: &str, restored: &[&Setting], done: usize) -> Result<(), ApplyError> {
    let mut still = String::new();
    for wait in READ_BACK {
        if restored.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(wait).await;
        let Some(found) = read(client, id).await.map_err(|error| ApplyError::after(done, error))? else { return Ok(()) };
        let not = restored.iter().find(|setting| now(&found, &setting.attribute) == Now::Is(&setting.attribute.wanted()));
        match not {
            None => return Ok(()),
            Some(setting) => still = setting.attribute.to_string(),
        }
    }
    Err(ApplyError::after(done, not_read_back(MODIFY, format!("{still} of {id} was put back and is still read as Cordon left it"))))
}
