//! What an undo would do, before anybody asks for it: `cordon incident undo … --plan`, and before the question of a real one.
//!
//! The preview is the undo with its writes stopped. Each action's own `undo` is called, attribute by attribute, with a read session whose
//! connector refuses every changing call: what ends by hand is a matter for a person, what comes to a changing call would be put back, what
//! ends without one is as before already. So the preview and the undo cannot disagree about one world, and no action is written twice.

#[cfg(test)]
mod tests;
mod text;

use std::{collections::BTreeMap, sync::Arc};

use cordon_shared::{
    engine::{ClaimFrom, StepView, View},
    gate::{self, Stays},
    id::IncidentId,
    journal::JournalError,
    plan::{Change, ChangeKey, StepKey},
};
use cordon_spoke::action::{ActionError, ApplyError, Undo};
use futures::future::BoxFuture;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::driver::{
    Hub,
    requests::{instance, not_yet, undoable},
    thaw, undo,
};

pub use text::text;

/// The name and version of the object's shape.
pub const SCHEMA: &str = "cordon.undo-preview/1";

/// What an undo would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "What `cordon incident undo --plan --format json` prints")]
pub struct Preview {
    /// `cordon.undo-preview/1`.
    pub schema: String,
    /// The incident.
    #[schemars(with = "String")]
    pub incident: IncidentId,
    /// The one step that is looked at; null: all that the incident changed.
    pub step: Option<String>,
    /// When the world was read. What changes after it is not in it.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Which freeze stops the undo now, and how it is lifted; null: none does.
    pub frozen: Option<String>,
    /// What would not be contained again for a while.
    pub stand_down: StandDown,
    /// The steps in the order in which they would be undone.
    pub steps: Vec<StepPreview>,
}

/// What stands down after a person's undo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StandDown {
    /// This type of finding …
    pub finding: String,
    /// … about this subject …
    pub subject: String,
    /// … in this account …
    pub account: String,
    /// … and Region is held …
    pub region: String,
    /// … until then, were the undo asked for now.
    #[schemars(with = "String")]
    pub until: Timestamp,
}

/// One step instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepPreview {
    /// Its id, with `#2` for a later instance.
    pub step: String,
    /// Its action.
    pub action: String,
    /// Whether the undo comes to it: an undo of the whole incident stops at the first step that is a matter for a person.
    pub reached: bool,
    /// Whether the undo stops here until a person has done something.
    pub stops: bool,
    /// The attributes that it has a claim on.
    pub attributes: Vec<AttributePreview>,
}

/// What becomes of an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It is put back.
    Restores,
    /// It is as before already, or what was made stays for good (evidence).
    NothingToDo,
    /// Another step or incident still needs it.
    Stays,
    /// Somebody changed it, or it cannot be put back by calls: a person does it.
    ByHand,
    /// It is put back only when its step is named: it opens what an attacker used.
    OnlyByName,
    /// It could not be read.
    NotKnown,
}

/// One attribute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AttributePreview {
    /// The resource's ARN.
    pub resource: String,
    /// The attribute.
    pub attribute: String,
    /// What becomes of it.
    pub fate: Fate,
    /// What Cordon left there, for what is put back; null otherwise.
    pub now: Value,
    /// What it would be afterwards, for what is put back; null otherwise.
    pub after: Value,
    /// Why, who holds it, or what a person does, with the command; empty where the fate says it all.
    pub what: Vec<String>,
}

/// What an undo of a run, or of one step of it, would do. Nothing is changed, nothing is journalled, and no lease is needed.
///
/// # Errors
/// [`JournalError::Refused`] when there is nothing to undo, and those of the store. What cannot be read of the world is no error: it is not
/// known, and says why.
pub async fn preview(hub: &Arc<Hub>, run: IncidentId, step: Option<&StepKey>) -> Result<Preview, JournalError> {
    let view = hub.store.view(run).await?;
    if let Some(why) = not_yet(&view).filter(|_| step.is_none()) {
        return Err(JournalError::Refused(why));
    }
    let wanted: Vec<&StepView> = match step {
        Some(key) => vec![instance(&view, key)?].into_iter().filter(|step| undoable(step)).collect(),
        None => view.steps.iter().rev().filter(|step| undoable(step)).collect(),
    };
    if wanted.is_empty() {
        let what = step.map_or_else(|| run.to_string(), |key| format!("`{key}` of {run}"));
        return Err(JournalError::Refused(format!("{what} has nothing to undo")));
    }
    let at = hub.clock.now();
    let ous = thaw::ous(hub, &view).await?;
    let frozen = gate::undo_frozen(&hub.journal, &view, ous).await?;
    let (mut steps, mut gone, mut reached) = (Vec::new(), Vec::new(), true);
    for known in wanted {
        let action = view.action(known);
        let named_only = step.is_none() && hub.registry.get(action).is_some_and(|action| action.undo_only_named);
        let attributes = if named_only {
            known.claims.iter().map(|claim| by_name(&view, known, claim)).collect()
        } else {
            gone.push(known.key.clone());
            let (from, stays) = hub.store.to_restore(run, known.clone(), gone.clone()).await?;
            attributes(hub, &view, known, from, stays).await?
        };
        let stops = attributes.iter().any(|attribute: &AttributePreview| attribute.fate == Fate::ByHand);
        steps.push(StepPreview {
            step: known.key.to_string(),
            action: action.to_owned(),
            reached: named_only || reached,
            stops,
            attributes,
        });
        reached &= !stops;
    }
    let finding = view.findings.first().and_then(|note| note.finding.get("type")).and_then(Value::as_str).unwrap_or_default();
    let cell = &view.subject.cell;
    let stand_down = StandDown {
        finding: finding.to_owned(),
        subject: view.subject.name().to_owned(),
        account: cell.account.to_string(),
        region: cell.region.to_string(),
        until: gate::stands_down_until(at),
    };
    Ok(Preview { schema: SCHEMA.to_owned(), incident: run, step: step.map(ToString::to_string), at, frozen, stand_down, steps })
}

/// The JSON Schema of a preview, as it stands in `docs/undo-preview.schema.json`.
#[must_use]
pub fn schema() -> Value {
    cordon_shared::words::canonical(schemars::schema_for!(Preview).to_value())
}

fn plain(key: &ChangeKey, fate: Fate, what: Vec<String>) -> AttributePreview {
    let ChangeKey { resource, attribute } = key.clone();
    AttributePreview { resource, attribute, fate, now: Value::Null, after: Value::Null, what }
}

fn by_name(view: &View, step: &StepView, claim: &ClaimFrom) -> AttributePreview {
    let what = format!("cordon incident undo {} --step {}", view.run, step.key);
    plain(&claim.key, Fate::OnlyByName, vec![what])
}

/// The attributes of one step, in the order of its claims.
async fn attributes(
    hub: &Arc<Hub>,
    view: &View,
    step: &StepView,
    from: Vec<ClaimFrom>,
    stays: Vec<Stays>,
) -> Result<Vec<AttributePreview>, JournalError> {
    let mut told: BTreeMap<ChangeKey, AttributePreview> =
        stays.iter().map(|stays| (stays.claim.key.clone(), plain(&stays.claim.key, Fate::Stays, vec![stays.words()]))).collect();
    // As the undo does: each from the step that changed it.
    let mut origins: BTreeMap<(IncidentId, StepKey), Vec<ChangeKey>> = BTreeMap::new();
    for claim in from {
        origins.entry((claim.run, claim.step)).or_default().push(claim.key);
    }
    for ((origin, key), keys) in origins {
        let other;
        let of = if origin == view.run {
            view
        } else {
            other = hub.store.view(origin).await?;
            &other
        };
        let warrant = gate::preview(&hub.journal, view, &step.key, hub.clock.now());
        let changes = of.step(&key).and_then(|step| step.plan.as_ref()).map(|plan| plan.changes.as_slice()).unwrap_or_default();
        let look = |only: Vec<ChangeKey>| -> BoxFuture<'_, Result<Undo, ApplyError>> {
            let (warrant, key) = (&warrant, &key);
            Box::pin(async move { undo::look_at(hub, view.run, of, key, &only, warrant).await })
        };
        for attribute in fates(&keys, changes, look).await {
            told.insert(attribute.key(), attribute);
        }
    }
    Ok(step.claims.iter().filter_map(|claim| told.remove(&claim.key)).collect())
}

/// Whether an undo came to a changing call.
fn changes(result: &Result<Undo, ApplyError>) -> bool {
    matches!(result, Err(ApplyError { error: ActionError::OnlyLooking, .. }))
}

/// What becomes of attributes that one step changed. `undo` undoes some of them with a warrant that only looks.
pub async fn fates<'a>(
    keys: &[ChangeKey],
    planned: &[Change],
    undo: impl Fn(Vec<ChangeKey>) -> BoxFuture<'a, Result<Undo, ApplyError>>,
) -> Vec<AttributePreview> {
    let mut out = Vec::new();
    for key in keys {
        out.push(match undo(vec![key.clone()]).await {
            Err(ApplyError { error: ActionError::OnlyLooking, .. }) => restores(key, planned),
            Ok(Undo::Restored(_)) => plain(key, Fate::NothingToDo, Vec::new()),
            Ok(Undo::ByHand(steps)) => plain(key, Fate::ByHand, steps),
            Err(ApplyError { error, .. }) => plain(key, Fate::NotKnown, vec![error.to_string()]),
        });
    }
    // Of those that are by hand one by one, some are put back together: a rule for all traffic comes back only when each of its ports does.
    // From all of them one after the other is left out, until none can be: what is left needs each of its own.
    let by_hand = out.iter().filter(|one| one.fate == Fate::ByHand);
    let mut rest: Vec<ChangeKey> = by_hand.map(AttributePreview::key).collect();
    while rest.len() > 1 && changes(&undo(rest.clone()).await) {
        let mut least = rest.clone();
        for key in &rest {
            let without: Vec<ChangeKey> = least.iter().filter(|other| *other != key).cloned().collect();
            if changes(&undo(without.clone()).await) {
                least = without;
            }
        }
        rest.retain(|key| !least.contains(key));
        for one in out.iter_mut().filter(|one| least.contains(&one.key())) {
            *one = restores(&one.key(), planned);
        }
    }
    out
}

fn restores(key: &ChangeKey, planned: &[Change]) -> AttributePreview {
    let change = planned.iter().find(|change| change.key() == *key);
    let (now, after) = change.map(|change| (change.after.clone(), change.before.clone())).unwrap_or_default();
    AttributePreview { now, after, ..plain(key, Fate::Restores, Vec::new()) }
}

impl AttributePreview {
    /// The attribute.
    #[must_use]
    pub fn key(&self) -> ChangeKey {
        ChangeKey { resource: self.resource.clone(), attribute: self.attribute.clone() }
    }
}
