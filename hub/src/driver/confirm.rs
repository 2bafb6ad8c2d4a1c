//! Is the finding true? Before the first change GuardDuty itself is asked, through the delegated administrator's own detector.

use cordon_shared::{
    arn::Arn,
    engine::{FindingNote, Hold, View},
    finding::{Finding, Subject, SubjectKind},
    gate::hold,
    intake::{self, Item},
};
use serde_json::Value;

use super::{run::Run, truth};

/// Why a finding is not acted on.
pub(super) enum Doubt {
    /// GuardDuty could not be asked now.
    Passing(String),
    /// A person has to look.
    Standing(Hold),
}

/// What speaks against the findings of GuardDuty that want a step; each version of each is asked for once.
pub(super) async fn doubt(run: &Run, view: &View, wanted_by: &[&FindingNote]) -> Option<Doubt> {
    if !run.hub.config.hub.confirm_findings {
        return None;
    }
    for note in wanted_by {
        // What an analyst opened by hand is known to nobody else.
        let by_hand = note.input.starts_with("opened by ") && note.id.0.starts_with("cordon:opened/");
        if by_hand || note.finding.get("provider").and_then(Value::as_str) != Some("guard-duty") {
            continue;
        }
        let name = format!("{} {:?}", note.id.0, note.version);
        let mut confirmed = run.confirmed.lock().await;
        if confirmed.contains(&name) {
            continue;
        }
        if let Some(doubt) = one(run, view, note).await {
            return Some(doubt);
        }
        confirmed.insert(name);
    }
    None
}

async fn one(run: &Run, view: &View, note: &FindingNote) -> Option<Doubt> {
    let standing = |why: String| Some(Doubt::Standing(hold("unconfirmed", why)));
    let id = &note.id.0;
    let region = id.parse::<Arn>().ok().and_then(|arn| arn.region()).unwrap_or_else(|| view.subject.cell.region.clone());
    let clients = run.hub.sessions.hub(&region);
    let document = match cordon_spoke::aws::findings::guardduty::finding(&clients, id).await {
        Ok(Some(document)) => document,
        Ok(None) => {
            return standing(format!(
                "GuardDuty in the hub's account does not know finding {id}: it may be forged, or be of an account that is not a member"
            ));
        }
        Err(error) if error.may_pass() => {
            return Some(Doubt::Passing(format!("finding {id} could not be fetched again from GuardDuty: {error}")));
        }
        Err(error) => {
            return standing(format!(
                "finding {id} could not be fetched again from GuardDuty: {error}; mend it and release, or set `[hub] confirm_findings = false`"
            ));
        }
    };
    let Some(known) = read(&document) else {
        return standing(format!("what GuardDuty has as finding {id} cannot be read"));
    };
    // What a run has contained it may have archived itself.
    if known.archived && !truth::changed(view) {
        return standing(format!("GuardDuty has archived finding {id}: a suppression rule or a person says it needs no answer"));
    }
    differs(view, note, &known).and_then(|what| standing(format!("what came as finding {id} is not what GuardDuty has: {what}")))
}

fn read(document: &[u8]) -> Option<Finding> {
    intake::items(document, "guardduty").find_map(|(_, item)| match item {
        Item::Finding(finding) => Some(*finding),
        Item::NotAFinding { .. } | Item::Rejected(_) => None,
    })
}

/// What a forged copy would change: what it is about, what part the subject plays, which port is closed, whose credentials are cut and whose
/// addresses are blocked.
const COMPARED: [(&str, &str); 12] = [
    ("/type", "its type"),
    ("/role", "the subject's part"),
    ("/cell", "its account or Region"),
    ("/network/local_port", "the attacked port"),
    ("/network/protocol", "its protocol"),
    ("/network/direction", "its direction"),
    ("/credential/access_key_id", "the access key"),
    ("/credential/principal_id", "the principal"),
    ("/credential/user_type", "the kind of principal"),
    ("/credential/user_name", "the principal's name"),
    ("/credential/session", "the session"),
    ("/credential/instance", "the instance whose credentials they are"),
];

/// Where what came says something else than GuardDuty. A copy of another format may leave things out and list more resources than GuardDuty;
/// what it says of these must be the same.
fn differs(view: &View, note: &FindingNote, known: &Finding) -> Option<&'static str> {
    let theirs = serde_json::to_value(known).unwrap_or_default();
    let native = note.finding.get("format").and_then(Value::as_str) == Some("guard-duty");
    for (pointer, name) in COMPARED {
        let ours = note.finding.pointer(pointer);
        if (native || ours.is_some()) && ours != theirs.pointer(pointer) {
            return Some(name);
        }
    }
    if native && note.finding.get("subjects") != theirs.get("subjects") {
        return Some("its subjects");
    }
    let copied: Vec<Subject> = note.finding.get("subjects").and_then(|all| serde_json::from_value(all.clone()).ok()).unwrap_or_default();
    let about = |subject: &&Subject| subject.kind != SubjectKind::Other;
    if std::iter::once(&view.subject).chain(copied.iter().filter(about)).any(|subject| !known.subjects.contains(subject)) {
        return Some("its subjects");
    }
    note.version.remote_ips.iter().any(|ip| !known.network.remote_ips.contains(ip)).then_some("the remote addresses")
}
