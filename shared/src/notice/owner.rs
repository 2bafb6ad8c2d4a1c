//! What the owners of what was changed are told: that something of theirs was changed, that it was put back, that the incident is over.
//! Each once in a run, and nothing of runs that changed nothing of a member's. Children of a sweep are no different.

use super::{Audience, Notice, NoticeKind, Standing, blank};
use crate::engine::{RunState, StepState, StepView, View, contained_at};

/// The steps that changed something in the member account, or may have.
pub fn changed(view: &View) -> impl Iterator<Item = &StepView> {
    view.steps.iter().filter(|step| {
        let member = step.plan.as_ref().is_some_and(|plan| plan.seat.is_member() && !plan.changes.is_empty());
        // Given a warrant, and read back as in effect; or nobody knows.
        member && step.first_change.is_some() && (step.effective.is_some() || matches!(step.state, StepState::Stuck { .. }))
    })
}

/// What owners are to know of a run that stands so.
pub(super) fn news(view: &View, state: RunState) -> Option<NoticeKind> {
    changed(view).next()?;
    match state {
        RunState::Closed => Some(NoticeKind::Closed),
        RunState::Undone => Some(NoticeKind::Undone),
        // What contains is in effect, whatever else is still looked for; or nothing goes on before somebody says so.
        RunState::Running => contained_at(view).map(|_| NoticeKind::Contained),
        RunState::Contained | RunState::Held | RunState::Waiting | RunState::Failed | RunState::Stuck => Some(NoticeKind::Contained),
        RunState::Planned | RunState::Ignored => None,
    }
}

/// What owners are to be told of a run that stood there and stands here now. The key has no number: each is told once.
#[must_use]
pub fn for_owners(before: &Standing, view: &View) -> Option<Notice> {
    let now = Standing::of(view);
    let kind = now.owners.filter(|_| now.owners != before.owners)?;
    Some(Notice { key: format!("owner/{}", kind.as_str()), audience: Audience::Owner, kind, ..blank(view, &now) })
}
