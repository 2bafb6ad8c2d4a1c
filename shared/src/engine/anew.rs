//! What a thaw, and what a person who releases, retries or undoes, makes of a step.

use jiff::Timestamp;

use super::{
    entry::{Hold, UndoCause},
    stand::StepState,
    step::{StepView, WholeUndo},
};
use crate::{
    plan::Effect,
    playbook::{Playbook, Work},
};

/// A released hold that the playbook itself wrote is done; any other is looked at again.
fn after_release(playbook: &Playbook, step: &StepView, at: Timestamp) -> StepState {
    match playbook.steps.get(step.at).map(|definition| &definition.work) {
        Some(Work::Hold(_)) => StepState::Done,
        // It was begun once: the world is read before anything more is done.
        _ if step.fixed => StepState::Broken { effect: Effect::Unknown, again: at },
        _ => StepState::Waiting,
    }
}

impl StepView {
    /// What a freeze had stopped goes on.
    pub(super) fn thaw(&mut self, playbook: &Playbook, at: Timestamp) {
        match &self.state {
            StepState::Held(hold) if hold.code == "frozen" => {
                self.state = after_release(playbook, self, at);
                self.settled = None;
                self.tries = 0;
                self.not_before = None;
            }
            StepState::UndoFrozen { cause, .. } => self.state = StepState::UndoWanted { cause: cause.clone(), again: None },
            _ => {}
        }
    }

    /// A person has what is held looked at again.
    pub(super) fn release(&mut self, hold: Hold, playbook: &Playbook, at: Timestamp) {
        // What a freeze had stopped goes on after the thaw, whatever else a person has looked at again.
        self.finishing &= hold.code == "frozen";
        self.released = Some(hold);
        self.state = after_release(playbook, self, at);
        self.tries = 0;
        self.not_before = None;
    }

    /// Its undo is asked for.
    pub(super) fn undo_asked(&mut self, cause: &UndoCause) {
        let stood = self.whole_undo.stood.take().filter(|_| matches!(self.state, StepState::UndoFrozen { .. }));
        self.whole_undo = WholeUndo { stood: stood.or_else(|| Some(Box::new(self.state.clone()))), ..WholeUndo::default() };
        self.state = StepState::UndoWanted { cause: cause.clone(), again: None };
    }

    /// A person has it tried again.
    pub(super) fn retry(&mut self, at: Timestamp) {
        self.finishing = false;
        self.state = if self.fixed { StepState::Broken { effect: Effect::Unknown, again: at } } else { StepState::Waiting };
        self.tries = 0;
        self.not_before = None;
        self.whole_undo = WholeUndo::default();
    }
}
