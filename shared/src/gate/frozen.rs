//! What a freeze means to the gate: which work it stops, and what becomes of that.

use jiff::Timestamp;

use super::{Ask, hold};
use crate::{
    engine::{Entry, Hold, Pace, Person, StepState, UndoCause, View},
    freeze::{self, Deed, Freeze, Level, Place},
    journal::{JournalError, Tx, ops},
    plan::{Risk, StepKey},
    playbook::Phase,
};

/// The word of a hold that a freeze made.
const CODE: &str = "frozen";

/// Where a run works, as freezes see it.
pub(super) fn place(view: &View, ous: Option<Vec<String>>) -> Place {
    Place { account: view.subject.cell.account.clone(), ous, playbook: view.playbook.name.clone() }
}

/// What kind of work a step is. One whose playbook names no phase is not known to contain.
pub(super) fn deed(view: &View, ask: &Ask) -> Deed {
    let phase = view.step(&ask.step).and_then(|step| view.definition(step)).and_then(|definition| definition.phase);
    let contains = matches!(phase, Some(Phase::Record | Phase::Contain | Phase::Credentials | Phase::Preserve));
    let gentle = matches!(ask.risk, Risk::ReadOnly | Risk::Reversible);
    if ask.uncounted || (contains && gentle) { Deed::Contain } else { Deed::Change }
}

/// What kind of work an undo is.
pub(super) fn undo(cause: &UndoCause) -> Deed {
    match cause {
        UndoCause::Person { .. } => Deed::UndoAsked,
        UndoCause::Ttl => Deed::UndoDue,
    }
}

/// The hold that a freeze makes of a step.
pub(super) fn of(tx: &mut dyn Tx, view: &View, ask: &Ask) -> Result<Option<Hold>, JournalError> {
    let why = freeze::stops(&tx.freezes()?, &place(view, ask.facts.ous.clone()), deed(view, ask));
    Ok(why.map(|why| hold("frozen", why)))
}

/// An undo that a freeze stops waits for the thaw.
pub(super) fn undo_waits(
    tx: &mut dyn Tx,
    view: &mut View,
    step: &StepKey,
    cause: UndoCause,
    why: String,
    now: Timestamp,
    pace: Pace,
) -> Result<(), JournalError> {
    let asked = view.step(step).is_some_and(|step| matches!(step.state, StepState::UndoWanted { .. } | StepState::Undoing { .. }));
    let mut entries = Vec::new();
    if !asked {
        entries.push(Entry::UndoAsked { step: step.clone(), cause });
    }
    entries.push(Entry::UndoFrozen { step: step.clone(), why });
    ops::append(tx, view, entries, now, pace)
}

/// Whether something in a run waits for a thaw.
#[must_use]
pub fn waits_for_a_thaw(view: &View) -> bool {
    since(view).next().is_some()
}

/// Since when each of a run's steps waits for a thaw.
fn since(view: &View) -> impl Iterator<Item = Timestamp> {
    view.steps.iter().filter_map(|step| match &step.state {
        StepState::Held(hold) if hold.code == CODE => Some(step.settled.unwrap_or(view.opened_at)),
        StepState::UndoFrozen { since, .. } => Some(*since),
        _ => None,
    })
}

/// The entry by which what waits in a run is looked at again, where a thaw has made room for it; `None`: it waits on. `lines` are all
/// freezes and thaws in their order, `ous` the names of the OUs above the account.
#[must_use]
pub fn looked_at_again(view: &View, ous: Option<Vec<String>>, lines: &[Freeze]) -> Option<Entry> {
    if !waits_for_a_thaw(view) {
        return None;
    }
    let place = place(view, ous);
    let here = |line: &&Freeze| line.scope.covers(&place);
    let strictest = freeze::standing(lines).iter().filter(here).map(|line| line.level).max().unwrap_or(Level::Off);
    let thaw = lines.iter().filter(here).rfind(|line| line.level == Level::Off);
    // Under what is left, more may pass than before: but only once for each thaw.
    let news = thaw.is_some_and(|thaw| since(view).any(|since| since <= thaw.at));
    if strictest == Level::Full || (strictest == Level::Limited && !news) {
        return None;
    }
    let by = thaw.map_or_else(|| Person("nobody".to_owned()), |thaw| thaw.by.clone());
    let why = match thaw {
        Some(thaw) if thaw.why.is_empty() => format!("{} was thawed", thaw.scope),
        Some(thaw) => format!("{} was thawed: {}", thaw.scope, thaw.why),
        None => "no freeze applies any more".to_owned(),
    };
    Some(Entry::Thawed { by, why })
}
