//! What is to be done now: a pure function of the view and the time.

use jiff::{SignedDuration, Timestamp};

use super::{
    entry::{Entry, UndoCause},
    look,
    stand::StepState,
    step::StepView,
    view::View,
};
use crate::{
    plan::StepKey,
    playbook::{EvenIf, OnExpiry},
};

/// One thing wanted now.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Look up the account and decide whether the run may work in it at all.
    Admit,
    /// What a step found makes something else of the subject: this turn of the playbook.
    Turn(usize),
    /// Begin a step: evaluate `when` and `with`, then probe, hold, or plan, decide and apply.
    Begin(StepKey),
    /// A later generation: evaluate a started step's parameters anew.
    Renew(StepKey),
    /// The question's time is over: [`expired`] says what becomes of it.
    Expire(StepKey),
    /// Ask after something slow.
    Poll(StepKey),
    /// Something slow took too long.
    Timeout(StepKey),
    /// Read the post-condition back.
    Verify(StepKey),
    /// A warrant was given in another life, or an answer was lost: read the world.
    Recover(StepKey),
    /// Undo.
    Undo(StepKey, UndoCause),
    /// The undo of all that the run changed stopped at a later step, the second: the first is not undone any more.
    StopUndo(StepKey, StepKey),
    /// Look again whether a change is still in effect.
    Look(StepKey),
}

impl Command {
    /// The step it is for.
    #[must_use]
    pub fn step(&self) -> Option<&StepKey> {
        match self {
            Self::Admit | Self::Turn(_) => None,
            Self::Begin(key)
            | Self::Renew(key)
            | Self::Expire(key)
            | Self::Poll(key)
            | Self::Timeout(key)
            | Self::Verify(key)
            | Self::Recover(key)
            | Self::Undo(key, _)
            | Self::StopUndo(key, _)
            | Self::Look(key) => Some(key),
        }
    }
}

/// What is wanted now, and when to look again if nothing happens before.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Next {
    /// Wanted now: at most one command for each step.
    pub commands: Vec<Command>,
    /// The next time at which something becomes due by itself.
    pub wake: Option<Timestamp>,
}

/// What the engine has to know besides the view.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The epoch of the lease now held.
    pub epoch: u64,
    /// When this process took it: a call of an earlier life was sent before this.
    pub since: Timestamp,
    /// How long a call of an earlier life may still take effect.
    pub attempt_timeout: SignedDuration,
}

impl Next {
    fn at(&mut self, due: Timestamp, now: Timestamp, command: Command) {
        if due <= now {
            self.commands.push(command);
        } else {
            self.wake = Some(self.wake.map_or(due, |wake| wake.min(due)));
        }
    }
}

/// The commands wanted at `now`. Time that goes back un-expires nothing: the last entry's time counts as the least.
#[must_use]
pub fn next(view: &View, now: Timestamp, pace: Pace) -> Next {
    let now = now.max(view.updated_at);
    let mut wanted = Next::default();
    let open = view.hold.is_none() && view.closed_by.is_none();
    if open && view.account.is_none() {
        wanted.at(view.put_off.map_or(now, |(until, _)| until), now, Command::Admit);
    }
    let begin = open && view.account.is_some();
    if begin && let Some(turn) = due_turn(view) {
        wanted.at(now, now, Command::Turn(turn));
    }
    let mut undo_taken = false;
    let stopper = view.steps.iter().find(|step| step.whole_undo.stops).map(|step| &step.key);
    for step in view.steps.iter().rev() {
        let key = step.key.clone();
        let ready = step.not_before.unwrap_or(now);
        let ttl = view.definition(step).and_then(|definition| definition.ttl);
        match &step.state {
            StepState::Waiting if begin && needs_met(view, step) => wanted.at(ready.max(not_before(view, step)), now, Command::Begin(key)),
            StepState::Reapply if begin => wanted.at(ready, now, Command::Begin(key)),
            StepState::Asked { expires, .. } if open => wanted.at(*expires, now, Command::Expire(key)),
            StepState::Applying { epoch, at } if *epoch != pace.epoch => wanted.at(later(*at, pace).max(ready), now, Command::Recover(key)),
            StepState::Broken { again, .. } => wanted.at((*again).max(ready), now, Command::Recover(key)),
            StepState::Pending { due, since, .. } => {
                let within = view.definition(step).map_or(SignedDuration::ZERO, |definition| definition.within);
                let deadline = since.checked_add(within).unwrap_or(Timestamp::MAX);
                if deadline <= now {
                    wanted.at(now, now, Command::Timeout(key));
                } else {
                    wanted.at((*due).max(ready).min(deadline), now, Command::Poll(key));
                }
            }
            StepState::Unverified { next, .. } => wanted.at((*next).max(ready), now, Command::Verify(key)),
            StepState::UndoWanted { cause, .. } if cause.is_whole() && stopper.is_some() => {
                if let Some(stopper) = stopper {
                    wanted.at(now, now, Command::StopUndo(key, stopper.clone()));
                }
            }
            StepState::UndoWanted { cause, again } => {
                // In reverse order, one after the other.
                if !undo_taken {
                    wanted.at(again.unwrap_or(now).max(ready), now, Command::Undo(key, cause.clone()));
                }
                undo_taken = true;
            }
            StepState::Undoing { epoch, at, cause } => {
                undo_taken = true;
                if *epoch != pace.epoch {
                    wanted.at(later(*at, pace), now, Command::Undo(key, cause.clone()));
                }
            }
            _ => {
                if let Some(expires) = step.expires(ttl) {
                    wanted.at(expires.max(ready), now, Command::Undo(key.clone(), UndoCause::Ttl));
                }
                if begin && is_stale(view, step) && !wanted.commands.iter().any(|command| command.step() == Some(&key)) {
                    wanted.at(now, now, Command::Renew(key.clone()));
                }
                if let Some(due) = look::due(view, step).filter(|_| !wanted.commands.iter().any(|command| command.step() == Some(&key))) {
                    wanted.at(due, now, Command::Look(key));
                }
            }
        }
    }
    wanted.commands.reverse();
    wanted
}

/// What becomes of a question whose time is over: where the playbook says so it is asked once more, for `lasts`; else the step is held.
#[must_use]
pub fn expired(view: &View, key: &StepKey, now: Timestamp, lasts: SignedDuration) -> Entry {
    let step = key.clone();
    let asked = view.step(key);
    let again = asked.is_some_and(|asked| {
        matches!(asked.state, StepState::Asked { escalated: false, .. })
            && view.definition(asked).is_some_and(|definition| definition.on_expiry == OnExpiry::Escalate)
    });
    if again { Entry::Escalated { step, expires: now.checked_add(lasts).unwrap_or(Timestamp::MAX) } } else { Entry::AskExpired { step } }
}

/// The turn of the playbook that has come true, if one has. A run turns once, and all that a turn reads must be there.
pub(super) fn due_turn(view: &View) -> Option<usize> {
    if view.turned.is_some() {
        return None;
    }
    let told = |id: &str| view.latest(id).is_some_and(|step| !step.outcome.is_null());
    let mut data = None;
    view.playbook.turns.iter().position(|turn| {
        view.plays_another_part_than(turn.role)
            && turn.reads_outcomes_of().all(|id| told(&id))
            && turn.when.truth(data.get_or_insert_with(|| view.data())).unwrap_or(false)
    })
}

/// When a step whose needs are met may begin: its `after`, reckoned from when the last of them was settled.
///
/// A step that is not wanted (its `when` is false) is not waited for: it is passed over at once, and looked at anew with the run's next
/// generation. Nor is one that comes after what was only observed: nothing was done whose effect would need the time.
pub(super) fn not_before(view: &View, step: &StepView) -> Timestamp {
    let Some(definition) = view.definition(step).filter(|definition| !definition.after.is_zero()) else { return Timestamp::MIN };
    let needs = || definition.needs.iter().filter_map(|need| view.latest(need));
    if needs().any(|need| matches!(need.state, StepState::Observed { .. })) {
        return Timestamp::MIN;
    }
    let unwanted = || needs().all(|need| need.state.is_settled()) && view.wants(definition).is_ok_and(|wants| wants.is_empty());
    if !step.fixed && definition.when.is_some() && unwanted() {
        return Timestamp::MIN;
    }
    let settled = needs().filter_map(|need| need.settled).max();
    settled.unwrap_or(view.opened_at).checked_add(definition.after).unwrap_or(Timestamp::MAX)
}

fn later(at: Timestamp, pace: Pace) -> Timestamp {
    at.max(pace.since).checked_add(pace.attempt_timeout).unwrap_or(Timestamp::MAX)
}

/// When a run wants to be looked at again if the process that drives it dies: what it had under way is then read.
#[must_use]
pub fn after_death(view: &View, pace: Pace) -> Option<Timestamp> {
    let under_way = view.steps.iter().filter_map(|step| match &step.state {
        StepState::Applying { at, .. } | StepState::Undoing { at, .. } => Some(*at),
        _ => None,
    });
    under_way.min().map(|at| at.checked_add(pace.attempt_timeout).unwrap_or(Timestamp::MAX))
}

/// A started step that the latest generation has not been held against yet, and can be: what it needs was. What was undone stays undone.
pub(super) fn is_stale(view: &View, step: &StepView) -> bool {
    let latest = |id: &str| view.latest(id);
    let started = matches!(step.state, StepState::InEffect | StepState::AlreadyDone | StepState::Done);
    started
        && step.generation < view.generation
        && latest(&step.key.id).is_some_and(|latest| latest.key == step.key)
        && view.definition(step).is_some_and(|definition| {
            definition.needs.iter().all(|need| {
                latest(need).is_some_and(|need| {
                    let never = matches!(need.state, StepState::Undone { .. } | StepState::ByHand { .. } | StepState::Stuck { .. })
                        || (need.fixed && matches!(need.state, StepState::Held(_) | StepState::Failed { .. }));
                    never || need.generation == view.generation
                })
            })
        })
        && needs_met(view, step)
}

/// Whether all that the step needs is behind it.
pub(super) fn needs_met(view: &View, step: &StepView) -> bool {
    let Some(definition) = view.definition(step) else { return false };
    definition.needs.iter().all(|need| {
        view.latest(need).is_some_and(|need| match need.state {
            StepState::InEffect
            | StepState::AlreadyDone
            | StepState::Done
            | StepState::Skipped { .. }
            | StepState::Observed { .. }
            | StepState::Undone { .. }
            | StepState::ByHand { .. } => true,
            StepState::Failed { .. } | StepState::Held(_) | StepState::Stuck { .. } => definition.even_if >= EvenIf::Failed,
            StepState::Asked { .. } | StepState::Broken { .. } | StepState::Unverified { .. } => definition.even_if >= EvenIf::Waiting,
            StepState::Waiting => definition.even_if >= EvenIf::Waiting && need.tries > 0,
            _ => false,
        })
    })
}
