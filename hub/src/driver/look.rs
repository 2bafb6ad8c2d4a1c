//! Looking again, an hour and a day later, whether a change is still in effect. It only reads, so no freeze stops it; it changes nothing back.

use cordon_shared::{
    engine::{Entry, NowIs, Reverted, Sight, View, look::number},
    journal::JournalError,
    managed::managers,
    plan::{ChangeKey, Plan, StepKey, Verdict},
};
use cordon_spoke::action::{ActionError, Plan as Planned};
use jiff::SignedDuration;

use super::{
    judge,
    post::Post,
    run::Run,
    work::{Underway, after, read_back, underway},
};

/// How often a look that reads nothing is tried before it is said so.
const TRIES: u32 = 5;

/// How long is waited before each try: 10, 40, 160, 640 and 2,560 seconds, nearly an hour in all.
fn pause(tries: u32) -> SignedDuration {
    SignedDuration::from_secs(10 << (2 * tries.min(4)))
}

/// Looks, and journals what was seen.
pub(super) async fn look(run: &Run, view: &View, key: &StepKey) -> Result<(), JournalError> {
    let under = underway(run, view, key)?;
    let found = match read_back(run, view, &under).await {
        Ok(Verdict::InEffect) => Sight::InEffect,
        Ok(Verdict::NotInEffect { detail } | Verdict::Drifted { detail }) => reverted(run, view, &under, detail).await,
        Err(ActionError::Gone { what, message }) => Sight::Gone { why: format!("{what}: {message}") },
        Err(error) => unread(run, view, key, &error.to_string()),
    };
    append(run, view, key, found).await
}

/// A look that came to nothing by a defect of ours.
pub(super) async fn failed(run: &Run, view: &View, key: &StepKey, why: &str) -> Result<(), JournalError> {
    append(run, view, key, unread(run, view, key, why)).await
}

async fn append(run: &Run, view: &View, key: &StepKey, found: Sight) -> Result<(), JournalError> {
    let Some((look, after)) = view.step(key).and_then(|step| number(view, step, run.hub.clock.now())) else { return Ok(()) };
    if !matches!(found, Sight::InEffect) {
        tracing::warn!(run = %run.id, step = %key, "looked at again after {after:#}: {}", crate::text::safe(&found.words()));
    }
    run.append(vec![Entry::Looked { step: key.clone(), look, after, found: Box::new(found) }]).await
}

fn unread(run: &Run, view: &View, key: &StepKey, why: &str) -> Sight {
    let tries = view.step(key).map_or(0, |step| step.looks.tries);
    let again = (tries < TRIES).then(|| after(run.hub.clock.now(), pause(tries)));
    Sight::Unread { why: why.to_owned(), again }
}

/// What is not as Cordon left it. The step is planned once more, without anything being done with the plan: it says attribute by attribute what
/// is there now, and reads the tags that say who manages it.
async fn reverted(run: &Run, view: &View, under: &Underway<'_>, detail: String) -> Sight {
    let done = under.step.plan.clone().unwrap_or_default();
    let keys: Vec<ChangeKey> = done.changes.iter().map(cordon_shared::plan::Change::key).collect();
    let mut tags = done.tags.clone();
    let anew = async {
        let post = Post::open(run, view, &under.action, under.step.region.as_ref()).await?;
        let planned = under.change.plan(post.cx(view, &under.step.key), &under.step.with).await?;
        let read = Plan { touches: done.touches.clone(), changes: done.changes.clone(), ..Plan::default() };
        Ok::<_, ActionError>((planned, judge::tags_of(view, &read, &post.tags)))
    };
    let mut attributes = Vec::new();
    match anew.await {
        // Terminated, deleted: nobody changed it back.
        Ok((Planned::Moot { why }, _)) => return Sight::Gone { why },
        Ok((planned, live)) => {
            tags.extend(live);
            if let Planned::Ready { plan, .. } = planned {
                let ours = plan.changes.into_iter().filter(|change| keys.contains(&change.key()));
                attributes.extend(ours.map(|change| NowIs { resource: change.resource, attribute: change.attribute, now: change.before }));
            }
        }
        Err(error) => {
            tracing::warn!(run = %run.id, step = %under.step.key, %error, "what was changed back cannot be told attribute by attribute")
        }
    }
    let changed = |resource: &str| match attributes.as_slice() {
        [] => done.changes.iter().any(|change| change.resource == resource),
        attributes => attributes.iter().any(|now| now.resource == resource),
    };
    let managers = tags.iter().filter(|(resource, _)| changed(resource)).flat_map(|(resource, tags)| managers(resource, tags)).collect();
    Sight::Reverted(Reverted { detail, attributes, managers })
}
