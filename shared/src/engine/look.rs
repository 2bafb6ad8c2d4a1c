//! Looks at a change after it was read back: an hour later, a day later, or when its playbook says. They only read.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{stand::StepState, step::StepView, view::View};
use crate::managed::Manager;

/// What a look saw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "sight")]
pub enum Sight {
    /// All of it is in effect.
    InEffect,
    /// What was changed is not there any more (the instance is terminated): nothing is left to look at.
    Gone {
        /// What is not there.
        why: String,
    },
    /// Somebody changed it back, or to something else.
    Reverted(Reverted),
    /// It could not be read.
    Unread {
        /// Why.
        why: String,
        /// When it is tried again; `None`: not for this look.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        again: Option<Timestamp>,
    },
}

/// What somebody changed back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reverted {
    /// What the action read.
    pub detail: String,
    /// The attributes that are not as Cordon left them, and what they are now; empty where that could not be told one by one.
    #[serde(default)]
    pub attributes: Vec<NowIs>,
    /// Who manages the resources, as far as their tags say.
    #[serde(default)]
    pub managers: Vec<Manager>,
}

/// An attribute as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NowIs {
    /// The resource's ARN.
    pub resource: String,
    /// The attribute.
    pub attribute: String,
    /// What it is.
    pub now: Value,
}

impl Sight {
    /// Puts off the time at which it is tried again.
    pub fn put_off(&mut self, by: SignedDuration) {
        if let Self::Unread { again: Some(again), .. } = self {
            *again = again.checked_add(by).unwrap_or(Timestamp::MAX);
        }
    }

    /// What was seen, in words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::InEffect => "still in effect".to_owned(),
            Self::Gone { why } => format!("nothing is left to look at: {why}"),
            Self::Reverted(reverted) => format!("reverted: {}", reverted.words()),
            Self::Unread { why, again: Some(again) } => format!("it could not be read, tried again at {again:.0}: {why}"),
            Self::Unread { why, again: None } => format!("it could not be read, whether it is still in effect is not known: {why}"),
        }
    }
}

impl Reverted {
    /// What was changed back, and who owns it, in a sentence.
    #[must_use]
    pub fn words(&self) -> String {
        let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let attributes: Vec<String> =
            self.attributes.iter().map(|now| format!("`{}` of {} is {} now", now.attribute, now.resource, plain(&now.now))).collect();
        let what = if attributes.is_empty() { self.detail.clone() } else { attributes.join(", ") };
        let managers: Vec<String> = self.managers.iter().map(ToString::to_string).collect();
        let who = if managers.is_empty() { "no tag says who manages it".to_owned() } else { managers.join(", ") };
        format!("{what}; {who}")
    }
}

/// Where a step stands with its looks.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Looks {
    /// How many of the playbook's looks are behind it.
    pub done: u32,
    /// How often the next one was tried and read nothing.
    pub tries: u32,
    /// Not before this time.
    pub again: Option<Timestamp>,
    /// What was found changed back.
    pub reverted: Option<Reverted>,
    /// A person has it done again, by another instance of the step.
    pub done_anew: bool,
    /// A person knows, and leaves it so.
    pub accepted: bool,
    /// It is not looked at any more.
    pub over: bool,
}

impl Looks {
    pub(super) fn fold(&mut self, look: u32, found: &Sight) {
        if let Sight::Unread { again: Some(again), .. } = found {
            self.tries = self.tries.saturating_add(1);
            self.again = Some(*again);
            return;
        }
        (self.tries, self.again) = (0, None);
        self.done = self.done.max(look);
        match found {
            Sight::InEffect | Sight::Unread { .. } => {}
            Sight::Gone { .. } => self.over = true,
            Sight::Reverted(reverted) => self.reverted = Some(reverted.clone()),
        }
    }
}

/// When a step is looked at next; `None`: not any more.
#[must_use]
pub fn due(view: &View, step: &StepView) -> Option<Timestamp> {
    let looks = &step.looks;
    if step.state != StepState::InEffect || step.uncounted || looks.over || looks.reverted.is_some() || step.claims.is_empty() {
        return None;
    }
    let after = view.playbook.looks.get(usize::try_from(looks.done).ok()?)?;
    let due = step.effective?.checked_add(*after).unwrap_or(Timestamp::MAX);
    Some(looks.again.map_or(due, |again| again.max(due)))
}

/// The look that is due at `now`, from 1, and how long after the change came into effect that is. Of several that were missed, the last.
/// As in [`super::next`], time that goes back takes nothing back: the last entry's time counts as the least.
#[must_use]
pub fn number(view: &View, step: &StepView, now: Timestamp) -> Option<(u32, SignedDuration)> {
    let effective = step.effective?;
    let now = now.max(view.updated_at);
    let is_due = |after: &SignedDuration| effective.checked_add(*after).is_ok_and(|due| due <= now);
    let looks = (1_u32..).zip(view.playbook.looks.iter().copied());
    looks.filter(|(number, after)| *number > step.looks.done && (is_due(after) || *number == step.looks.done.saturating_add(1))).last()
}

/// What was found changed back of a step, while it waits for a person.
#[must_use]
pub fn reverted<'v>(view: &View, step: &'v StepView) -> Option<&'v Reverted> {
    let reverted = step.looks.reverted.as_ref().filter(|_| step.state == StepState::InEffect && !step.looks.accepted)?;
    let anew = view.latest(&step.key.id).filter(|latest| latest.key != step.key && step.looks.done_anew);
    // The instance that does it again speaks for itself, unless nothing came of it.
    let came_to_nothing = |anew: &StepView| matches!(anew.state, StepState::Skipped { .. } | StepState::Observed { .. });
    anew.is_none_or(came_to_nothing).then_some(reverted)
}
