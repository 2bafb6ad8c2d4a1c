//! Undo, looks and people in the toy organization of [`super::history`].

use futures::executor::block_on;
use jiff::SignedDuration;
use serde_json::json;

use super::{
    Entry, Person, Sight, StepState, UndoCause, View,
    history::{Fate, Lab, Move},
    history_limits::ous,
    look::{self, Reverted},
};
use crate::{
    gate::{self, UndoDecision},
    plan::{Change, StepKey, Verdict},
};

impl Lab {
    pub(super) fn undo(&mut self, view: &View, key: &StepKey, cause: UndoCause, fate: Fate) {
        let stopped = view.steps.iter().any(|step| step.whole_undo.stops);
        assert!(!(cause.is_whole() && stopped), "an undo went on behind what it may not touch");
        let (given, by_person) = (self.now, matches!(cause, UndoCause::Person { .. }));
        let ous = Some(ous(view));
        let (view, decision) =
            block_on(gate::commit_undo(&self.journal, &self.lease, view, key.clone(), cause, ous, self.now, self.pace())).unwrap();
        let UndoDecision::Go { warrant, from, left } = decision else { return };
        if fate == Fate::CrashBefore {
            return self.crash();
        }
        let step = key.clone();
        let (mut restored, mut by_hand) = (Vec::new(), Vec::new());
        for (number, claim) in (1..).zip(&from) {
            if number == from.len() {
                self.meanwhile(fate);
            }
            if let Some(error) = self.halted(&warrant.watch()) {
                return self.broken_off(view.run, Entry::UndoFailed { step, error, again: Some(self.now) });
            }
            match self.world.get(&claim.key.resource).map(String::as_str) {
                // Only what we turned on is turned off.
                Some("ours") => {
                    self.called(&view, given, by_person);
                    self.world.remove(&claim.key.resource);
                    restored.push(Change {
                        resource: claim.key.resource.clone(),
                        attribute: "on".into(),
                        before: json!(true),
                        after: json!(false),
                    });
                }
                Some(_) => by_hand.push(format!("{} is somebody's", claim.key.resource)),
                None => {}
            }
        }
        if fate == Fate::CrashAfter {
            return self.crash();
        }
        let entry = if by_hand.is_empty() { Entry::Undone { step, restored, left } } else { Entry::ByHand { step, steps: by_hand } };
        self.append(view.run, vec![entry]).unwrap();
    }

    pub(super) fn look(&mut self, view: &View, key: &StepKey, fate: Fate) {
        let step = view.step(key).unwrap();
        assert!(step.state == StepState::InEffect && !step.claims.is_empty(), "{step:?} is looked at");
        let (look, after) = look::number(view, step, self.now).unwrap();
        assert!(step.effective.unwrap() + after <= self.now.max(view.updated_at) && look > step.looks.done);
        let found = match (fate, self.verdict(view, key)) {
            (Fate::Throttled, _) => {
                Sight::Unread { why: "throttled".into(), again: (step.looks.tries < 3).then(|| self.now + SignedDuration::from_secs(10)) }
            }
            (_, Verdict::InEffect) => Sight::InEffect,
            (_, Verdict::NotInEffect { detail } | Verdict::Drifted { detail }) => {
                Sight::Reverted(Reverted { detail, attributes: vec![], managers: vec![] })
            }
        };
        self.append(view.run, vec![Entry::Looked { step: key.clone(), look, after, found: Box::new(found) }]).unwrap();
    }

    /// A switch that is on becomes somebody else's.
    pub(super) fn seize(&mut self, which: u8) {
        if let Some(by) = self.world.get_mut(["a", "b", "c"][usize::from(which)]) {
            *by = "theirs".into();
        }
    }

    pub(super) fn person(&mut self, what: Move) {
        let by = Person("ann".into());
        for run in self.runs.clone() {
            let view = self.view(run);
            let mut entries = Vec::new();
            for step in &view.steps {
                match (&step.state, what) {
                    (StepState::Asked { digest, .. }, Move::Approve) => {
                        // Another person each time.
                        let by = Person(["ann", "ben", "cleo"].get(step.approvals.len()).copied().unwrap_or("dora").into());
                        let expires = self.now + SignedDuration::from_hours(1);
                        entries.push(Entry::Approved {
                            step: step.key.clone(),
                            digest: digest.clone(),
                            by,
                            expires,
                            identity: String::new(),
                        });
                    }
                    (StepState::Asked { .. }, Move::Deny) => {
                        entries.push(Entry::Refused { step: step.key.clone(), by: by.clone(), why: "no".into(), identity: String::new() })
                    }
                    (StepState::Held(_), Move::Release) => {
                        entries.push(Entry::Released { step: Some(step.key.clone()), by: by.clone() });
                    }
                    (StepState::InEffect | StepState::AlreadyDone | StepState::ByHand { .. }, Move::Undo) => {
                        let cause = UndoCause::Person { by: by.clone(), whole: true };
                        entries.push(Entry::UndoAsked { step: step.key.clone(), cause });
                    }
                    (StepState::Held(_) | StepState::Failed { .. } | StepState::Asked { .. }, Move::Undo) if step.fixed => {
                        let cause = UndoCause::Person { by: by.clone(), whole: true };
                        entries.push(Entry::UndoAsked { step: step.key.clone(), cause });
                    }
                    (StepState::Held(_) | StepState::Failed { .. }, Move::Retry) => {
                        entries.push(Entry::Retried { step: Some(step.key.clone()), by: by.clone() });
                    }
                    (StepState::Skipped { .. }, Move::Retry) if step.refused.is_some() => {
                        entries.push(Entry::Retried { step: Some(step.key.clone()), by: by.clone() });
                    }
                    (StepState::InEffect, Move::Retry) if look::reverted(&view, step).is_some() => {
                        let next = view.latest(&step.key.id).unwrap().key.next();
                        entries.push(Entry::Retried { step: Some(step.key.clone()), by: by.clone() });
                        entries.push(Entry::Renewed { step: next, generation: view.generation });
                    }
                    _ => {}
                }
            }
            if matches!(what, Move::Close) && view.closed_by.is_none() && !view.steps.iter().any(|step| step.state.is_under_way()) {
                entries.push(Entry::ClosedBy { by: by.clone(), why: "enough".into() });
            }
            self.append(run, entries).unwrap();
        }
    }
}
