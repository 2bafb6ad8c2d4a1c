//! What was changed, what was not and why, and how to undo.

use std::{collections::BTreeSet, sync::LazyLock};

use cordon_shared::{
    engine::{Entry, StepState, StepView, View, look},
    journal::Sealed,
    plan::Change,
};
use serde_json::Value;

use super::{
    BLOCK_SOURCE, CLOSE_INGRESS, CUT_FLOWS, Changed, DENY_SESSIONS, EvidenceRef, FIND_LOGINS, ISOLATE, Limit, NotDone, Note, UndoCommand,
    UndoGuide, at, plain,
};
use crate::incident::IncidentJson;

fn row(view: &View, step: &StepView, change: &Change, now: String) -> Changed {
    Changed {
        step: step.key.to_string(),
        action: view.action(step).to_owned(),
        resource: change.resource.clone(),
        attribute: change.attribute.clone(),
        before: change.before.clone(),
        after: change.after.clone(),
        now,
    }
}

/// Every attribute that a warrant was given for, and where it stands.
pub(super) fn changed(view: &View, entries: &[Sealed]) -> Vec<Changed> {
    let mut rows = Vec::new();
    for step in view.steps.iter().filter(|step| step.first_change.is_some()) {
        let restored: BTreeSet<_> = entries
            .iter()
            .filter_map(|sealed| match &sealed.entry {
                Entry::Undone { step: key, restored, .. } if *key == step.key => Some(restored),
                _ => None,
            })
            .flatten()
            .map(Change::key)
            .collect();
        for change in step.plan.iter().flat_map(|plan| &plan.changes) {
            let now = match &step.state {
                StepState::InEffect => stands(view, step),
                StepState::UndoFrozen { .. } => "in effect; its undo is frozen".to_owned(),
                StepState::Undone { .. } if restored.contains(&change.key()) => "put back".to_owned(),
                StepState::Undone { left } => {
                    // What the undo says of this attribute, or all that it says.
                    let about = left.iter().find(|line| line.contains(&change.attribute) && line.contains(&change.resource));
                    about.cloned().unwrap_or_else(|| "left as it is".to_owned())
                }
                StepState::ByHand { .. } => "to be undone by hand".to_owned(),
                StepState::Stuck { .. } => "unknown".to_owned(),
                StepState::Failed { .. } | StepState::Held(_) => "failed: see what was not done".to_owned(),
                _ => "under way".to_owned(),
            };
            rows.push(row(view, step, change, now));
        }
    }
    rows
}

/// Where a change stands that nobody has undone.
fn stands(view: &View, step: &StepView) -> String {
    match (&step.looks.reverted, look::reverted(view, step)) {
        (Some(reverted), Some(_)) => format!("changed back: {}", reverted.words()),
        (Some(_), None) if step.looks.accepted => "changed back by somebody, and left so".to_owned(),
        (Some(_), None) => "changed back by somebody, and done again".to_owned(),
        (None, _) => "in effect".to_owned(),
    }
}

/// Attributes that a plan would change and no warrant was given for.
pub(super) fn would_change(view: &View) -> Vec<Changed> {
    let meant = |step: &&StepView| {
        step.first_change.is_none() && matches!(step.state, StepState::Observed { .. } | StepState::Asked { .. } | StepState::Held(_))
    };
    let rows = |step: &StepView| -> Vec<Changed> {
        let changes = step.plan.iter().flat_map(|plan| &plan.changes);
        changes.map(|change| row(view, step, change, step.word().to_owned())).collect()
    };
    view.steps.iter().filter(meant).flat_map(rows).collect()
}

/// What was not done, and the command that goes on from there.
pub(super) fn not_done(view: &View) -> Vec<NotDone> {
    let run = view.run;
    let holds = IncidentJson::new(view, None).holds;
    let answer_of = |step: Option<&str>| holds.iter().find(|hold| hold.step.as_deref() == step).map(|hold| hold.release.clone());
    let mut out: Vec<NotDone> = Vec::new();
    if let Some(hold) = &view.hold {
        let why = format!("{} ({})", hold.why, hold.code);
        out.push(NotDone { step: None, action: "the whole incident".to_owned(), state: "held".to_owned(), why, answer: answer_of(None) });
    }
    for step in &view.steps {
        let key = step.key.to_string();
        let (state, why, answer) = match &step.state {
            StepState::Skipped { why } if why.contains(" said no") => {
                ("refused", why.clone(), Some(format!("cordon incident retry {run} --step {key}")))
            }
            StepState::Skipped { why } => ("skipped", why.clone(), None),
            StepState::AlreadyDone => ("already-done", already(step), None),
            StepState::Observed { why } => ("planned", why.clone(), None),
            StepState::Held(hold) => ("held", format!("{} ({})", hold.why, hold.code), answer_of(Some(&key))),
            StepState::UndoFrozen { why, .. } => ("held", format!("to be undone: {why} (frozen)"), answer_of(Some(&key))),
            StepState::Asked { why, .. } => ("waiting", format!("a person is asked: {why}"), answer_of(Some(&key))),
            StepState::Failed { code, why } => {
                ("failed", format!("{why} ({code})"), Some(format!("cordon incident retry {run} --step {key}")))
            }
            StepState::Stuck { why } => ("stuck", why.clone(), answer_of(Some(&key))),
            StepState::ByHand { steps } => ("by-hand", steps.join("; "), answer_of(Some(&key))),
            StepState::Waiting => ("waiting", step.deferred.clone().unwrap_or_else(|| "its turn has not come".to_owned()), None),
            _ => continue,
        };
        out.push(NotDone { step: Some(key), action: view.action(step).to_owned(), state: state.to_owned(), why, answer });
    }
    out
}

/// What there was nothing to change about.
fn already(step: &StepView) -> String {
    let found = step
        .plan
        .iter()
        .flat_map(|plan| &plan.already)
        .map(|change| format!("{} of {} was {} already", change.attribute, change.resource, plain(&change.after)));
    let found: Vec<String> = found.collect();
    if found.is_empty() { "it was so already".to_owned() } else { found.join("; ") }
}

/// What plans and probes want a reader to know.
pub(super) fn notes(view: &View) -> Vec<Note> {
    let mut out: Vec<Note> = Vec::new();
    for step in &view.steps {
        let of_plan = step.plan.iter().flat_map(|plan| plan.notes.iter().cloned());
        let of_outcome =
            ["notes", "problems"].into_iter().filter_map(|key| at(&step.outcome, &[key])).filter_map(Value::as_array).flatten().map(plain);
        for text in of_plan.chain(of_outcome) {
            let note = Note { step: step.key.to_string(), text };
            if !out.contains(&note) {
                out.push(note);
            }
        }
    }
    out
}

fn undoable(view: &View) -> Vec<&StepView> {
    let stands = |step: &&StepView| {
        let changed = step.first_change.is_some() || !step.claims.is_empty();
        changed
            && matches!(
                step.state,
                StepState::InEffect
                    | StepState::AlreadyDone
                    | StepState::Stuck { .. }
                    | StepState::ByHand { .. }
                    | StepState::Held(_)
                    | StepState::UndoFrozen { .. }
                    | StepState::Failed { .. }
            )
    };
    view.steps.iter().filter(stands).collect()
}

/// Whether an undo of the whole incident leaves the changes of this action as they are.
fn only_named(name: &str) -> bool {
    static NAMED: LazyLock<BTreeSet<&'static str>> =
        LazyLock::new(|| cordon_spoke::actions::all().iter().filter(|action| action.undo_only_named).map(|action| action.name).collect());
    NAMED.contains(name)
}

/// How to undo.
pub(super) fn undo(view: &View) -> UndoGuide {
    let run = view.run;
    let steps = undoable(view);
    let (open, others): (Vec<&StepView>, Vec<&StepView>) = steps.iter().partition(|step| only_named(view.action(step)));
    let mut guide = UndoGuide { commands: Vec::new(), by_itself: Vec::new(), will_not: Vec::new() };
    if !others.is_empty() {
        let names: Vec<String> = others.iter().rev().map(|step| step.key.to_string()).collect();
        guide.commands.push(UndoCommand {
            command: format!("cordon incident undo {run}"),
            does: format!("puts back, in this order: {}", names.join(", ")),
        });
    }
    for step in &others {
        guide.commands.push(UndoCommand {
            command: format!("cordon incident undo {run} --step {}", step.key),
            does: format!("puts back {} alone", step.key),
        });
    }
    for step in &open {
        let does = if view.action(step) == CLOSE_INGRESS {
            format!("opens to the world again what {} closed", step.key)
        } else {
            format!("gives back what {} took from credentials that may be an attacker's", step.key)
        };
        guide.commands.push(UndoCommand { command: format!("cordon incident undo {run} --step {}", step.key), does });
    }
    for step in &steps {
        if let Some(expires) = step.expires(view.definition(step).and_then(|definition| definition.ttl)) {
            guide.by_itself.push(format!("{} is undone at {expires:.0}", step.key));
        }
    }
    if !steps.is_empty() {
        if !open.is_empty() {
            let names = |closes: bool| {
                let those = open.iter().filter(|step| (view.action(step) == CLOSE_INGRESS) == closes);
                those.map(|step| step.key.to_string()).collect::<Vec<_>>().join(", ")
            };
            for (closes, what) in [(true, "Open a rule to the world again"), (false, "Give credentials back")] {
                if !names(closes).is_empty() {
                    guide.will_not.push(format!("{what}, unless its step ({}) is named.", names(closes)));
                }
            }
        }
        guide.will_not.push("Overwrite what somebody else has changed since: then it says what to do by hand.".to_owned());
        guide.will_not.push("Put back what another incident still needs: that stays until the last of them lets go.".to_owned());
        guide.will_not.push("Remove evidence, or entries of the journal.".to_owned());
        guide.will_not.push("Be followed by the same containment again: after an undo by a person, this subject stands down for 7 days for this type of finding.".to_owned());
    }
    guide
}

/// What is kept, each once.
pub(super) fn evidence(view: &View) -> Vec<EvidenceRef> {
    let of_findings = view
        .findings
        .iter()
        .map(|note| EvidenceRef { sha256: note.raw_sha256.clone(), what: format!("finding {} as it came from {}", note.id.0, note.input) });
    let of_steps = view.steps.iter().flat_map(|step| {
        let what = format!("kept by step {} ({})", step.key, view.action(step));
        step.evidence.iter().map(move |sha256| EvidenceRef { sha256: sha256.clone(), what: what.clone() })
    });
    let mut out: Vec<EvidenceRef> = Vec::new();
    for one in of_findings.chain(of_steps).filter(|one| !one.sha256.is_empty()) {
        if !out.iter().any(|other| other.sha256 == one.sha256) {
            out.push(one);
        }
    }
    out
}

const GROUPS: &str = "https://docs.aws.amazon.com/vpc/latest/userguide/vpc-security-groups.html";
const ACLS: &str = "https://docs.aws.amazon.com/vpc/latest/userguide/vpc-network-acls.html";
const TRACKING: &str = "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/security-group-connection-tracking.html";

const REVOKING: &str = "https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_revoke-sessions.html";

/// What the measures taken do not do.
pub(super) fn limits(view: &View) -> Vec<Limit> {
    let stands = |name: &str| {
        view.steps.iter().any(|step| view.action(step) == name && matches!(step.state, StepState::InEffect | StepState::AlreadyDone))
    };
    let (closed, blocked, isolated) = (stands(CLOSE_INGRESS), stands(BLOCK_SOURCE), stands(ISOLATE));
    let mut out = Vec::new();
    let mut say = |code: Option<&str>, text: &str, source: Option<&str>| {
        out.push(Limit { code: code.map(str::to_owned), text: text.to_owned(), source: source.map(str::to_owned) });
    };
    // Undone by its time, it has done its work.
    let cut = view.steps.iter().rfind(|step| view.action(step) == CUT_FLOWS && step.effective.is_some());
    let ended = cut.is_some_and(|step| at(&step.outcome, &["tracked_flows"]).and_then(Value::as_str) == Some("ended-with"));
    if isolated && !ended {
        say(
            Some("tracked_flows_may_persist"),
            "Connections that were open when the interfaces changed their groups are tracked and may go on until they time out (an established TCP connection idle up to 5 days; 350 seconds on Nitro v6): no address was named whose connections could be cut.",
            Some(TRACKING),
        );
    } else if isolated {
        say(
            None,
            "Connections with the addresses that the findings name were cut. Others that were open when the interfaces changed their groups are tracked, and may go on while they are active.",
            Some(TRACKING),
        );
    } else if closed {
        say(
            Some("tracked_flows_may_persist"),
            "Connections that were open when a security group's rule was removed are tracked and may go on until they time out (an established TCP connection idle up to 5 days; 350 seconds on Nitro v6). A network ACL cuts them, but only those of the sources that it denies.",
            Some(TRACKING),
        );
    }
    if closed || blocked || isolated {
        say(
            None,
            "Security groups cut neither the VPC's DNS resolver nor the instance metadata service: what runs on an instance still reaches both.",
            Some(GROUPS),
        );
        say(None, "The same goes for network ACLs. They also do not filter traffic inside a subnet.", Some(ACLS));
    }
    if blocked {
        say(None, "An attacker can come back from another address: the network ACL denies only the sources that the finding names.", None);
    }
    if stands(DENY_SESSIONS) {
        say(
            None,
            "Denying older sessions does not reach a user's own keys, sessions issued after the cut-off, or roles that the session had assumed before.",
            Some(REVOKING),
        );
    }
    if view.steps.iter().any(|step| view.action(step) == FIND_LOGINS && step.state == StepState::Done) {
        say(
            None,
            "The logs were written by the instance itself: who has taken it over can keep lines from being written, though not remove those already delivered.",
            None,
        );
    }
    out
}
