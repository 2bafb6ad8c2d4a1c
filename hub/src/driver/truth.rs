//! May a run's findings be acted on, as far as they themselves and Security Hub tell? [`super::confirm`] asks GuardDuty.

use cordon_shared::{
    arn::Arn,
    engine::{FindingNote, Hold, View, want},
    gate::hold,
    id::CellId,
};
use cordon_spoke::aws::findings::history;
use serde_json::Value;

use super::{confirm::Doubt, run::Run};

/// What a member cannot have meant: a finding of one account that is about another one's resource. Such a finding may be true (an attack
/// over several accounts); a person looks.
pub(super) fn foreign(view: &View) -> Option<Hold> {
    let own = &view.subject.cell.account;
    view.findings.iter().find_map(|note| {
        let cell: CellId = serde_json::from_value(note.finding.get("cell")?.clone()).ok()?;
        (cell.account != *own).then(|| {
            let why = format!(
                "finding {} is of account {} and {} is of account {own}: a person has to look",
                note.id.0,
                cell.account,
                view.subject.name()
            );
            hold("other-account", why)
        })
    })
}

/// What a suppression in Security Hub comes to.
pub(super) enum Suppression {
    /// The security account's own: recorded, not acted on.
    Ours(String),
    /// Somebody else's, or nobody knows whose.
    Theirs(Doubt),
}

/// Whether the findings that want a step are suppressed, before the run's first change of a member's. A person's release of that hold answers
/// it. One that is not suppressed, or not any more, is enough: what silences one finding silences no other.
pub(super) async fn suppressed(run: &Run, view: &View, wanted_by: &[&FindingNote]) -> Option<Suppression> {
    let answered = view.steps.iter().any(|step| step.released.as_ref().is_some_and(|hold| hold.code == "suppressed"));
    if changed(view) || answered || !wanted_by.iter().all(|note| want::suppressed(note)) {
        return None;
    }
    let mut ours = None;
    for note in wanted_by {
        match by_whom(run, note).await? {
            Suppression::Ours(why) => ours = ours.or(Some(Suppression::Ours(why))),
            theirs @ Suppression::Theirs(_) => return Some(theirs),
        }
    }
    ours
}

/// Whether the run has begun a change in a member account: a note on a finding is none.
pub(super) fn changed(view: &View) -> bool {
    view.steps.iter().any(|step| step.first_change.is_some() && !step.uncounted)
}

/// Who suppressed a finding that says that it is suppressed; `None`: it is not any more.
async fn by_whom(run: &Run, note: &FindingNote) -> Option<Suppression> {
    let standing = |why: String| Some(Suppression::Theirs(Doubt::Standing(hold("suppressed", why))));
    let id = &note.id.0;
    let Some(product) = note.finding.pointer("/hub/product_arn").and_then(Value::as_str) else {
        return standing(format!("finding {id} is suppressed in Security Hub, and names no product: nobody knows by whom"));
    };
    let clients = run.hub.sessions.hub(&run.hub.config.hub.home_region);
    let own = id.strip_prefix(&format!("{product}/")).unwrap_or(id);
    match history::last_workflow(&clients, product, own).await {
        Ok(Some(last)) if last.status != "SUPPRESSED" => None,
        Ok(Some(last)) => {
            let whose = last.by.parse::<Arn>().ok().and_then(|arn| arn.account());
            let told = format!("finding {id} was suppressed in Security Hub by {} at {:.0}", last.by, last.at);
            if whose.as_ref() == Some(&run.hub.config.hub.account) {
                return Some(Suppression::Ours(format!("{told}, a principal of the security account: recorded, not acted on")));
            }
            standing(format!("{told}, who is not of the security account: a member does not decide whether its finding is answered"))
        }
        Ok(None) => standing(format!("finding {id} is suppressed in Security Hub, and its history does not tell by whom")),
        Err(error) if error.may_pass() => {
            Some(Suppression::Theirs(Doubt::Passing(format!("who suppressed finding {id} cannot be read now: {error}"))))
        }
        Err(error) => standing(format!("finding {id} is suppressed in Security Hub, and who did it cannot be read: {error}")),
    }
}
