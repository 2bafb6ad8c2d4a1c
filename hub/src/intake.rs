//! Taking findings in: which playbook answers one, what is ignored and why, and the journal's acceptance of it.

use std::sync::Arc;

use cordon_shared::{
    engine::{Entry, FindingNote},
    evidence::{EvidenceError, Item},
    finding::{Finding, Subject},
    id::IncidentId,
    intake::Origin,
    journal::{Accepted, JournalError, ops},
    playbook::Playbook,
};
use serde_json::Value;

use crate::{alarm, driver::Hub};

/// Why a finding could not be taken in. It is not lost: the queue keeps it, a file's line is reported.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// The journal did not take it.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Its raw bytes could not be kept.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
}

/// Why a finding opens no incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignored {
    /// `sample`, `archived`, `no-playbook`, `no-subject`.
    pub code: &'static str,
    /// For the reader.
    pub why: String,
}

/// The playbook that answers a finding, and its subject.
///
/// # Errors
/// Why none does.
pub fn answered<'p>(
    playbooks: &'p [Arc<Playbook>],
    finding: &Finding,
    document: &Value,
    allow_samples: bool,
) -> Result<(&'p Arc<Playbook>, Subject), Ignored> {
    if finding.sample && !allow_samples {
        let why = "a sample finding; `--allow-samples` observes it".to_owned();
        return Err(Ignored { code: "sample", why });
    }
    if finding.archived {
        let why = "its provider has archived it: a suppression rule or a person says it needs no answer".to_owned();
        return Err(Ignored { code: "archived", why });
    }
    let Some(playbook) = playbooks.iter().find(|playbook| playbook.matches(document)) else {
        let near = playbooks.iter().find_map(|playbook| near_miss(playbook, document));
        let why = near.unwrap_or_else(|| format!("no playbook answers findings of type `{}`", finding.kind));
        return Err(Ignored { code: "no-playbook", why });
    };
    match playbook.subject_of(finding) {
        Some(subject) => Ok((playbook, subject.clone())),
        None => {
            let kind = serde_json::to_value(playbook.subject).ok().and_then(|kind| kind.as_str().map(str::to_owned)).unwrap_or_default();
            let why = format!("playbook `{}` answers it, but it names no {kind}", playbook.name);
            Err(Ignored { code: "no-subject", why })
        }
    }
}

/// A playbook that wants this type of finding, but not this one.
fn near_miss(playbook: &Playbook, document: &Value) -> Option<String> {
    let mismatches: Vec<_> = playbook.patterns.iter().filter_map(|pattern| pattern.explain(document)).collect();
    let miss = mismatches.into_iter().find(|miss| miss.path != "type" && miss.path != "provider")?;
    let wants_type = playbook.patterns.iter().any(|pattern| {
        let alone = pattern.to_json().get("type").map(|kind| serde_json::json!({ "type": kind }));
        alone.and_then(|alone| cordon_shared::pattern::Pattern::parse(&alone).ok()).is_some_and(|alone| alone.matches(document))
    });
    wants_type.then(|| format!("playbook `{}` does not answer it: {miss}", playbook.name))
}

/// Takes a finding in. Durable when it returns: only then may a queue forget it.
///
/// # Errors
/// [`TakeError`].
pub async fn take(hub: &Hub, origin: &Origin, finding: &Finding, sweep: Option<String>) -> Result<(Accepted, Option<Ignored>), TakeError> {
    let document = serde_json::to_value(finding).map_err(|error| JournalError::Store(format!("a finding is no JSON: {error}")))?;
    let note = FindingNote {
        id: finding.id.clone(),
        version: finding.version(),
        input: origin.to_string(),
        finding: document,
        raw_sha256: finding.raw.sha256.clone(),
    };
    let now = hub.clock.now();
    alarm::finding(hub, finding).await?;
    let answered = answered(&hub.playbooks, finding, &note.finding, hub.allow_samples);
    let ignored = answered.as_ref().err().cloned();
    let arrival = match answered {
        Err(ignored) => ops::Arrival { note, opening: None, ignored: Some(ignored.why) },
        Ok((playbook, subject)) => {
            let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
            let entry = Entry::Opened {
                playbook: playbook.name.clone(),
                source: playbook.source.clone(),
                digest: playbook.digest.clone(),
                subject: subject.clone(),
                finding: Box::new(note.clone()),
                mode: hub.config.hub.mode,
                observe_only: finding.sample.then(|| "a sample finding is only observed".to_owned()),
                detected_at: now,
            };
            let keys = ops::keys(&playbook.name, std::slice::from_ref(&subject));
            ops::Arrival { note, opening: Some(ops::Opening { run: IncidentId::new(millis), entry, keys, sweep }), ignored: None }
        }
    };
    if arrival.ignored.is_none() {
        // Before the journal speaks of it: kept twice is kept once, and kept for nothing does no harm.
        let item = Item {
            kind: "finding".to_owned(),
            about: finding.id.0.clone(),
            media_type: "application/json".to_owned(),
            bytes: finding.raw.bytes.to_vec(),
        };
        hub.evidence.put(item).await?;
    }
    let pace = hub.pace;
    let accepted = hub.journal.with(move |tx| ops::accept(tx, &arrival, now, pace)).await?;
    match accepted {
        Accepted::Opened(_) => hub.poke.notify_one(),
        Accepted::Joined { .. } => hub.ring(),
        Accepted::Duplicate(_) | Accepted::Ignored { .. } => {}
    }
    Ok((accepted, ignored))
}
