//! Requests of people: any `cordon` process may append them, the process that drives answers them.

use cordon_shared::{
    engine::{Entry, Person, StepState, StepView, UndoCause, View, look},
    gate,
    id::IncidentId,
    journal::{JournalError, ops},
    plan::StepKey,
    playbook::{Phase, Work},
};
use jiff::Timestamp;

use super::Hub;
use crate::{
    journal::requests::{Asker, OpenRequest, Request},
    people,
    policy::person::About,
};

/// Answers all open requests. Gives back how many.
///
/// # Errors
/// Those of the journal; a request that cannot be met is answered with the reason.
pub async fn serve_requests(hub: &Hub) -> Result<usize, JournalError> {
    hub.store.refuse_unreadable_requests(hub.clock.now()).await?;
    let open = hub.store.open_requests().await?;
    let count = open.len();
    for asked in open {
        let answer = match answer(hub, &asked).await {
            Ok(text) => Ok(text),
            Err(JournalError::Refused(text)) => Err(text),
            // An incident that cannot be read keeps nobody else waiting.
            Err(error) if error.is_of_one_run() => Err(error.to_string()),
            Err(error) => return Err(error),
        };
        hub.store.answer_request(asked.id, answer, hub.clock.now()).await?;
    }
    if count > 0 {
        hub.ring();
    }
    Ok(count)
}

async fn answer(hub: &Hub, asked: &OpenRequest) -> Result<String, JournalError> {
    let (now, pace) = (hub.clock.now(), hub.pace);
    let (request, by) = (asked.request.clone(), asked.by.clone());
    may(hub, &request, &by.by, now).await?;
    let by_name: Vec<&'static str> = hub.registry.iter().filter(|action| action.undo_only_named).map(|action| action.name).collect();
    hub.journal
        .with(move |tx| {
            let mut view = ops::load(tx, request.run())?;
            let (entries, text) = entries(&view, &request, &by, now, &by_name)?;
            match &request {
                // From now on, not only from the moment that the undo begins: nothing of it is done again in between.
                Request::Undo { .. } => gate::stand_down(tx, &view, now)?,
                Request::Release { .. } if stands_down(&view) => gate::lift_stand_down(tx, &view)?,
                _ => {}
            }
            ops::append(tx, &mut view, entries, now, pace)?;
            Ok(text)
        })
        .await
}

/// Whether the policies let the person have that done, whichever way it was asked.
async fn may(hub: &Hub, request: &Request, by: &Person, now: Timestamp) -> Result<(), JournalError> {
    let entries = hub.store.entries(request.run()).await?;
    let view = ops::fold(request.run(), &entries)?;
    let Some(person) = people::named(&hub.config.people, by) else {
        return no(format!("there is no {} in `[[people]]`: nothing was changed", by.0));
    };
    let step = request.step().map(|key| instance(&view, key)).transpose()?;
    let about = About { view: &view, entries: &entries, step };
    let zone = &hub.config.policy.time_zone;
    hub.policies.in_force().may(person, request.doing(), Some(&about), now, zone).map_err(JournalError::Refused)
}

fn no<T>(why: String) -> Result<T, JournalError> {
    Err(JournalError::Refused(why))
}

/// The instance with this key, or which there are.
pub(crate) fn instance<'v>(view: &'v View, key: &StepKey) -> Result<&'v StepView, JournalError> {
    view.step(key).ok_or_else(|| {
        let keys: Vec<String> = view.steps.iter().map(|step| step.key.to_string()).collect();
        JournalError::Refused(format!("{} has no step `{key}`; its steps are {}", view.run, keys.join(", ")))
    })
}

fn entries(
    view: &View,
    request: &Request,
    Asker { by, identity }: &Asker,
    now: Timestamp,
    by_name: &[&str],
) -> Result<(Vec<Entry>, String), JournalError> {
    let run = view.run;
    if let (Request::Grant { .. } | Request::Deny { .. }, Some((by, _))) = (request, &view.closed_by) {
        return no(format!("{run} asks nothing now: {} closed it", by.0));
    }
    match request {
        Request::Grant { step, digest, expires: of, .. } => {
            let known = instance(view, step)?;
            let (asked, expires, people) = asks(view, known)?;
            if !means(digest, asked) {
                return no(format!(
                    "the plan of `{step}` is now {}, not {digest}: look at it again before you say yes (`cordon incident show {run}`)",
                    short(asked)
                ));
            }
            in_time(view, step, expires, *of, now)?;
            if known.approvals.iter().any(|yes| yes.is_of(by, identity)) {
                return no(format!("{} has said yes to `{step}` already: another person has to", by.0));
            }
            let entry =
                Entry::Approved { step: step.clone(), digest: asked.to_owned(), by: by.clone(), expires, identity: identity.clone() };
            let missing = usize::from(people).saturating_sub(known.approvals.len().saturating_add(1));
            let text = match missing {
                0 => format!("`{step}` of {run} may be done as planned ({})", short(asked)),
                1 => format!("`{step}` of {run} waits for one more person"),
                more => format!("`{step}` of {run} waits for {more} more persons"),
            };
            Ok((vec![entry], text))
        }
        Request::Deny { step, why, digest, expires: of, .. } => {
            let (asked, expires, _) = asks(view, instance(view, step)?)?;
            if digest.as_ref().is_some_and(|digest| !means(digest, asked)) {
                return no(format!("the plan of `{step}` is now {}, not the one that you said no to: look at it again", short(asked)));
            }
            in_time(view, step, expires, *of, now)?;
            let entry = Entry::Refused { step: step.clone(), by: by.clone(), why: why.clone(), identity: identity.clone() };
            Ok((vec![entry], format!("`{step}` of {run} will not be done")))
        }
        Request::Undo { step: Some(step), .. } => {
            let known = instance(view, step)?;
            if !undoable(known) {
                return no(format!("`{step}` of {run} has nothing to undo: it is {}", known.word()));
            }
            let cause = UndoCause::Person { by: by.clone(), whole: false };
            Ok((vec![Entry::UndoAsked { step: step.clone(), cause }], format!("`{step}` of {run} is being undone")))
        }
        Request::Undo { step: None, .. } => undo_all(view, by, by_name),
        Request::Release { step, .. } => {
            let held = |step: &StepView| matches!(step.state, StepState::Held(_));
            let any = match step {
                Some(key) => held(instance(view, key)?),
                None => view.hold.is_some() || view.steps.iter().any(held),
            };
            if !any {
                return no(format!("nothing is held in {run}"));
            }
            Ok((vec![Entry::Released { step: step.clone(), by: by.clone() }], format!("{run} is looked at again")))
        }
        Request::Retry { step: Some(key), .. } if look::reverted(view, instance(view, key)?).is_some() => {
            Ok((anew(view, key, by), format!("`{key}` of {run} is planned anew")))
        }
        Request::Retry { step, .. } => {
            let failed = |step: &StepView| matches!(step.state, StepState::Failed { .. });
            let again: Vec<Entry> = match step {
                Some(_) => Vec::new(),
                None => view
                    .steps
                    .iter()
                    .filter(|step| look::reverted(view, step).is_some())
                    .flat_map(|step| anew(view, &step.key, by))
                    .collect(),
            };
            let any = match step {
                Some(key) => matches!(
                    instance(view, key)?.state,
                    StepState::Failed { .. } | StepState::Held(_) | StepState::Skipped { .. } | StepState::Observed { .. }
                ),
                None => view.steps.iter().any(failed),
            };
            if !any && again.is_empty() {
                return no(format!("nothing has failed in {run}"));
            }
            let failed = any.then(|| Entry::Retried { step: step.clone(), by: by.clone() });
            Ok((failed.into_iter().chain(again).collect(), format!("{run} is tried again")))
        }
        Request::Close { why, .. } => {
            let busy = view.steps.iter().find(|step| step.state.is_under_way());
            if let Some(step) = busy {
                return no(format!("`{}` of {run} is under way; close it when that is over", step.key));
            }
            if view.closed_by.is_some() && view.steps.iter().all(|step| look::reverted(view, step).is_none()) {
                return no(format!("{run} is closed already"));
            }
            Ok((
                vec![Entry::ClosedBy { by: by.clone(), why: why.clone() }],
                format!("{run} is closed; what it changed stays, and is undone when its time is over"),
            ))
        }
    }
}

/// What a step asks now: its plan's digest, until when, and of how many persons.
fn asks<'v>(view: &View, step: &'v StepView) -> Result<(&'v str, Timestamp, u8), JournalError> {
    match &step.state {
        StepState::Asked { digest, expires, people, .. } => Ok((digest, *expires, *people)),
        _ => no(format!("`{}` of {} asks nothing now: it is {}", step.key, view.run, step.word())),
    }
}

/// Whether the beginning of a digest, 8 digits or more, is of the plan that is asked about.
pub(crate) fn means(digest: &str, asked: &str) -> bool {
    digest.len() >= 8 && asked.starts_with(digest)
}

/// Whether an answer is to the question that stands, `of` being the expiry of the one that was looked at, and comes while it stands: one that
/// was asked once more, or anew, is another question about the same plan, and after its time it is for `on_expiry` to say what becomes of it.
fn in_time(view: &View, step: &StepKey, expires: Timestamp, of: Option<Timestamp>, now: Timestamp) -> Result<(), JournalError> {
    let run = view.run;
    if of.is_some_and(|of| of != expires) {
        return no(format!(
            "that question was asked anew: `{step}` of {run} asks until {expires:.0} now, look at it again before you answer (`cordon incident show {run}`)"
        ));
    }
    // Time that goes back makes no question stand again.
    if now.max(view.updated_at) >= expires {
        return no(format!("the question expired at {expires:.0}; release the step to have it asked anew"));
    }
    Ok(())
}

/// What somebody changed back is done again as a new instance of the step: planned, decided and applied like any other.
fn anew(view: &View, key: &StepKey, by: &Person) -> Vec<Entry> {
    let next = view.latest(&key.id).map_or_else(|| key.next(), |latest| latest.key.next());
    vec![Entry::Retried { step: Some(key.clone()), by: by.clone() }, Entry::Renewed { step: next, generation: view.generation }]
}

fn stands_down(view: &View) -> bool {
    view.steps.iter().any(|step| matches!(&step.state, StepState::Held(hold) if hold.code == "stand-down"))
}

/// Whether an undo may be asked for.
pub(crate) fn undoable(step: &StepView) -> bool {
    match step.state {
        StepState::InEffect | StepState::ByHand { .. } | StepState::UndoFrozen { .. } => true,
        StepState::AlreadyDone => !step.claims.is_empty(),
        // Begun once, something of it may be there.
        StepState::Stuck { .. } | StepState::Failed { .. } | StepState::Held(_) | StepState::Asked { .. } => step.fixed,
        _ => false,
    }
}

/// Why an incident is not undone as a whole now: a change that is being made would be left out, and what came before it undone beneath it.
pub(crate) fn not_yet(view: &View) -> Option<String> {
    use StepState as S;
    // What keeps evidence may take hours, and is no part of what an undo hangs on; nor is a note.
    let beside =
        |step: &StepView| step.uncounted || view.definition(step).is_some_and(|definition| definition.phase == Some(Phase::Preserve));
    let being_done = |step: &&StepView| {
        step.fixed
            && !beside(step)
            && matches!(step.state, S::Applying { .. } | S::Pending { .. } | S::Unverified { .. } | S::Broken { .. })
    };
    let doing: Vec<String> = view.steps.iter().filter(being_done).map(|step| format!("`{}`", step.key)).collect();
    let run = view.run;
    (!doing.is_empty()).then(|| {
        format!(
            "{} of {run} is being done just now: undo the incident when that has ended (`cordon incident show {run}`), or single steps by `--step`",
            doing.join(", ")
        )
    })
}

fn undo_all(view: &View, by: &Person, by_name: &[&str]) -> Result<(Vec<Entry>, String), JournalError> {
    let run: IncidentId = view.run;
    if let Some(why) = not_yet(view) {
        return no(why);
    }
    let (mut entries, mut left) = (Vec::new(), Vec::new());
    for step in view.steps.iter().filter(|step| undoable(step)) {
        let named_only = view
            .definition(step)
            .is_some_and(|definition| matches!(&definition.work, Work::Action(name) if by_name.contains(&name.as_str())));
        if named_only {
            left.push(step.key.to_string());
        } else {
            entries.push(Entry::UndoAsked { step: step.key.clone(), cause: UndoCause::Person { by: by.clone(), whole: true } });
        }
    }
    let hint = left.iter().map(|step| format!("`cordon incident undo {run} --step {step}`")).collect::<Vec<_>>().join(", ");
    if entries.is_empty() {
        return no(if left.is_empty() {
            format!("{run} has nothing to undo")
        } else {
            format!("what {run} changed opens a way in when it is undone, so its steps must be named: {hint}")
        });
    }
    let undone: Vec<String> = entries.iter().filter_map(Entry::step).map(|step| format!("`{step}`")).collect();
    let rest = if left.is_empty() { String::new() } else { format!("; what was closed stays closed unless named: {hint}") };
    Ok((entries, format!("{} of {run} being undone{rest}", undone.join(", "))))
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

#[cfg(test)]
mod tests;
