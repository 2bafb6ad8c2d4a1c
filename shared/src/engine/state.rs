//! The state of a run in one word, and what is still owed.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    look,
    next::{due_turn, is_stale, needs_met, not_before},
    stand::StepState,
    step::StepView,
    view::View,
};
use crate::playbook::{EvenIf, OnFailure, Phase};

/// Where an incident stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "State")]
pub enum RunState {
    /// Observed only: what would be changed is known, nothing was.
    Planned,
    /// Work is going on or due.
    Running,
    /// A person is asked.
    Waiting,
    /// A person is needed.
    Held,
    /// Nothing to do, for a reason.
    Ignored,
    /// Changes are in effect, while work, a claim, a TTL or a person is outstanding.
    Contained,
    /// All steps verified, nothing owed.
    Closed,
    /// Everything that was changed was put back.
    Undone,
    /// A step failed that may not fail.
    Failed,
    /// The effect of something is unknown: a person is needed.
    Stuck,
}

impl RunState {
    /// Whether the incident has come to its end: nothing but looks may follow, and a later finding begins another.
    #[must_use]
    pub fn is_end(self) -> bool {
        matches!(self, Self::Planned | Self::Ignored | Self::Closed | Self::Undone)
    }

    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Held => "held",
            Self::Ignored => "ignored",
            Self::Contained => "contained",
            Self::Closed => "closed",
            Self::Undone => "undone",
            Self::Failed => "failed",
            Self::Stuck => "stuck",
        }
    }
}

impl std::fmt::Display for RunState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// A run's state, with the reason for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The word.
    pub state: RunState,
    /// A stable word for the reason.
    pub code: String,
    /// The reason for the reader.
    pub why: String,
    /// Whether nothing will ever happen in it again by itself but looks.
    pub over: bool,
}

/// Sums a run up. `busy` says whether the engine wants something now or a due time stands that is no TTL.
#[must_use]
pub fn summary(view: &View) -> Summary {
    let make = |state, code: &str, why: String| Summary { state, code: code.to_owned(), why, over: false };
    let mut running = false;
    let mut asked = None;
    let mut held = None;
    let mut failed = None;
    let mut changed = 0_u32;
    let mut undone = 0_u32;
    let mut by_hand = None;
    let mut observed = 0_u32;
    let mut owed = None;
    let mut later = None;
    let mut frozen = None;
    let mut reverted = None;
    for step in &view.steps {
        let definition = view.definition(step);
        match &step.state {
            StepState::Stuck { why } => return make(RunState::Stuck, "unknown-effect", format!("`{}`: {why}", step.key)),
            StepState::Failed { code, why } => {
                if definition.is_none_or(|definition| definition.on_failure != OnFailure::Continue) {
                    failed = failed.or_else(|| Some((code.clone(), format!("`{}`: {why}", step.key))));
                }
            }
            StepState::Asked { why, escalated, .. } => {
                let again = if *escalated { " (escalated: nobody answered in time)" } else { "" };
                asked = asked.or_else(|| Some(format!("`{}`: {why}{again}", step.key)));
            }
            StepState::Held(hold) => held = held.or_else(|| Some((hold.code.clone(), format!("`{}`: {}", step.key, hold.why)))),
            StepState::UndoFrozen { why, .. } => frozen = frozen.or_else(|| Some(format!("`{}` is to be undone: {why}", step.key))),
            StepState::ByHand { steps } => by_hand = by_hand.or_else(|| Some(format!("`{}`: {}", step.key, steps.join("; ")))),
            StepState::Waiting => {
                let begins = not_before(view, step);
                if begins > view.updated_at && needs_met(view, step) {
                    later = later.or_else(|| Some(format!("`{}` is done at {begins:.0}", step.key)));
                } else if !waits_for_time(view, &step.key.id, 0) {
                    running |= !blocked(view, &step.key.id, 0);
                }
            }
            StepState::Applying { .. }
            | StepState::Pending { .. }
            | StepState::Unverified { .. }
            | StepState::Broken { .. }
            | StepState::Reapply
            | StepState::UndoWanted { .. }
            | StepState::Undoing { .. } => running = true,
            StepState::InEffect | StepState::AlreadyDone => {
                // A step that may fail without the run failing is a side dish: a note is no containment.
                let counts = definition.is_none_or(|definition| definition.on_failure != OnFailure::Continue);
                changed = changed.saturating_add(u32::from(counts && step.state == StepState::InEffect));
                reverted = reverted.or_else(|| reverted_why(view, step));
                if let Some(expires) = step.expires(definition.and_then(|definition| definition.ttl)) {
                    owed = owed.or_else(|| Some(format!("`{}` is undone at {expires:.0}", step.key)));
                }
            }
            StepState::Undone { .. } => undone = undone.saturating_add(1),
            StepState::Observed { .. } => observed = observed.saturating_add(1),
            StepState::Skipped { .. } | StepState::Done => {}
        }
        running |= view.closed_by.is_none() && is_stale(view, step);
    }
    if let Some((by, why)) = &view.closed_by {
        if under_way(view) {
            return make(RunState::Running, "", String::new());
        }
        if let Some(why) = frozen {
            return make(RunState::Held, "frozen", why);
        }
        if let Some(why) = reverted {
            return make(RunState::Held, REVERTED, why);
        }
        if let Some(owed) = owed {
            return make(RunState::Contained, "ttl", owed);
        }
        return Summary { over: true, ..make(RunState::Closed, "closed-by-person", format!("{} closed it: {why}", by.0)) };
    }
    if let Some(hold) = &view.hold {
        return make(RunState::Held, &hold.code, hold.why.clone());
    }
    running |= due_turn(view).is_some();
    if running || view.account.is_none() {
        return make(RunState::Running, "", String::new());
    }
    if let Some(why) = undo_stopped(view) {
        return make(RunState::Held, UNDO_STOPPED, why);
    }
    if let Some((code, why)) = failed {
        return make(RunState::Failed, &code, why);
    }
    if let Some(why) = asked {
        return make(RunState::Waiting, "approval", why);
    }
    if let Some((code, why)) = held {
        return make(RunState::Held, &code, why);
    }
    if let Some(why) = frozen {
        return make(RunState::Held, "frozen", why);
    }
    if let Some(why) = by_hand {
        return make(RunState::Held, "undo-by-hand", why);
    }
    if let Some(why) = reverted {
        return make(RunState::Held, REVERTED, why);
    }
    if let Some(why) = owed {
        return make(RunState::Contained, "ttl", why);
    }
    if let Some(why) = later {
        let state = if changed > 0 { RunState::Contained } else { RunState::Waiting };
        return make(state, "later", why);
    }
    if undone > 0 && changed == 0 {
        return Summary { over: true, ..make(RunState::Undone, "undone", "what was changed was put back".to_owned()) };
    }
    if observed > 0 && changed == 0 {
        let why = view.observe_only.clone().unwrap_or_else(|| "the mode allows no more than a plan".to_owned());
        return Summary { over: true, ..make(RunState::Planned, "observe", why) };
    }
    Summary { over: true, ..make(RunState::Closed, "", "all steps verified".to_owned()) }
}

/// The code of a run in which somebody changed back what was changed.
pub const REVERTED: &str = "reverted";
/// The code of a run whose undo stopped at something that it may not touch.
pub const UNDO_STOPPED: &str = "undo-stopped";

/// What was changed back of a step, who owns it, and what to do; `None`: nothing that waits for a person.
#[must_use]
pub fn reverted_why(view: &View, step: &StepView) -> Option<String> {
    let (run, key) = (view.run, &step.key);
    let words = look::reverted(view, step)?.words();
    Some(format!(
        "`{key}` was changed back: {words}; `cordon incident retry {run} --step {key}` plans it anew, `cordon incident close {run} --why …` leaves it so"
    ))
}

/// Where an undo of all that a run changed has stopped, and what a person does; `None`: it has not.
#[must_use]
pub fn undo_stopped(view: &View) -> Option<String> {
    let run = view.run;
    let stopped: Vec<&StepView> = view.steps.iter().filter(|step| step.whole_undo.stopped.is_some()).collect();
    let at = stopped.first()?.whole_undo.stopped.as_ref()?;
    let names: Vec<String> = stopped.iter().map(|step| format!("`{}`", step.key)).collect();
    let first = match view.step(at).map(|step| &step.state) {
        Some(StepState::ByHand { steps }) => format!("first: {}; then", steps.join("; ")),
        Some(StepState::Stuck { why }) => format!("{why}; when that is mended"),
        _ => "that one is done;".to_owned(),
    };
    Some(format!("the undo stopped at `{at}`, and {} as before; {first} `cordon incident undo {run}` goes on", stay(&names)))
}

fn stay(names: &[String]) -> String {
    format!("{} {}", names.join(", "), if names.len() == 1 { "stays" } else { "stay" })
}

/// When the last of the steps that contain (`phase` contain or credentials) came into effect; `None` while one of them is outstanding, or
/// where none was needed. A step that is repeated later (`after`) is not waited for.
#[must_use]
pub fn contained_at(view: &View) -> Option<Timestamp> {
    let mut last = None;
    for step in &view.steps {
        let Some(definition) = view.definition(step) else { continue };
        let contains = matches!(definition.phase, Some(Phase::Contain | Phase::Credentials)) && definition.after.is_zero();
        // Of another instance that has begun the latest tells; what an earlier one still waits for is not contained.
        let waits = matches!(step.state, StepState::Asked { .. } | StepState::Held(_));
        if !contains || (!waits && view.latest(&step.key.id).is_some_and(|latest| latest.key != step.key)) {
            continue;
        }
        match &step.state {
            StepState::Skipped { .. } | StepState::Observed { .. } => {}
            StepState::Failed { .. } if definition.on_failure == OnFailure::Continue => {}
            _ => last = last.max(Some(step.effective?)),
        }
    }
    last
}

/// Whether something was begun that has to be ended, whatever a person closed.
fn under_way(view: &View) -> bool {
    view.steps.iter().any(|step| {
        matches!(
            step.state,
            StepState::Applying { .. }
                | StepState::Pending { .. }
                | StepState::Unverified { .. }
                | StepState::Broken { .. }
                | StepState::UndoWanted { .. }
                | StepState::Undoing { .. }
        )
    })
}

/// Whether a waiting step waits for one whose time has not come, so that nothing goes on meanwhile.
fn waits_for_time(view: &View, id: &str, depth: usize) -> bool {
    let Some(definition) = view.latest(id).and_then(|step| view.definition(step)) else { return false };
    depth < 64
        && definition.needs.iter().any(|need| {
            view.latest(need).is_some_and(|step| {
                step.state == StepState::Waiting
                    && ((needs_met(view, step) && not_before(view, step) > view.updated_at) || waits_for_time(view, need, depth + 1))
            })
        })
}

/// Whether a waiting step can never begin as things stand: something it needs failed or is held.
fn blocked(view: &View, id: &str, depth: usize) -> bool {
    let Some(step) = view.latest(id) else { return false };
    let Some(definition) = view.definition(step) else { return false };
    depth < 64
        && definition.needs.iter().any(|need| {
            view.latest(need).is_some_and(|need| match &need.state {
                StepState::Held(_) | StepState::Failed { .. } | StepState::Stuck { .. } => definition.even_if < EvenIf::Failed,
                StepState::Asked { .. } => definition.even_if < EvenIf::Waiting,
                StepState::Waiting => blocked(view, &need.key.id, depth + 1),
                _ => false,
            })
        })
}
