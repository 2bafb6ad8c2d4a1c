//! Is the finding true? Before the first change GuardDuty itself is asked, through the delegated administrator's own detector.

use cordon_shared::{
    arn::Arn,
    engine::{FindingNote, Hold, View},
    finding::Finding,
    gate::hold,
    intake::{self, Item},
};
use serde_json::Value;

use super::run::Run;

/// Why a finding is not acted on.
pub(super) enum Doubt {
    /// GuardDuty could not be asked now.
    Passing(String),
    /// A person has to look.
    Standing(Hold),
}

/// What speaks against the run's findings of GuardDuty; each version of each is asked for once.
pub(super) async fn doubt(run: &Run, view: &View) -> Option<Doubt> {
    if !run.hub.config.hub.confirm_findings {
        return None;
    }
    for note in &view.findings {
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
    differs(note, &known).and_then(|what| standing(format!("what came as finding {id} is not what GuardDuty has: {what}")))
}

fn read(document: &[u8]) -> Option<Finding> {
    intake::items(document, "guardduty").find_map(|(_, item)| match item {
        Item::Finding(finding) => Some(*finding),
        Item::NotAFinding { .. } | Item::Rejected(_) => None,
    })
}

/// What a forged copy would change: what it is about, what part the subject plays, whose credentials are cut, which port is closed, whose
/// addresses are blocked. A copy that says less than GuardDuty (Security Hub leaves things out) is none the falser for it.
fn differs(note: &FindingNote, known: &Finding) -> Option<&'static str> {
    let theirs = serde_json::to_value(known).unwrap_or_default();
    for (field, name) in
        [("type", "its type"), ("role", "the subject's part"), ("subjects", "its subjects"), ("cell", "its account or Region")]
    {
        if note.finding.get(field) != theirs.get(field) {
            return Some(name);
        }
    }
    let said = |part: &str| note.finding.get(part).and_then(Value::as_object).into_iter().flatten().filter(|(_, value)| !value.is_null());
    let other = |part: &str, (key, value): (&String, &Value)| theirs.get(part).and_then(|part| part.get(key)) != Some(value);
    if said("credential").any(|field| other("credential", field)) {
        return Some("whose credentials they are");
    }
    if said("network").filter(|(key, _)| *key != "remote_ips").any(|field| other("network", field)) {
        return Some("the port, the protocol or the direction");
    }
    note.version.remote_ips.iter().any(|ip| !known.network.remote_ips.contains(ip)).then_some("the remote addresses")
}
