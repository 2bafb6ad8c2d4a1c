//! Taking findings in: which playbook answers one, what is ignored and why, and the journal's acceptance of it.

use std::sync::Arc;

use cordon_shared::{
    engine::{Entry, FindingNote},
    evidence::{EvidenceError, Item},
    finding::{Finding, FindingId, Provider, Subject},
    id::IncidentId,
    intake::Origin,
    journal::{Accepted, JournalError, Tx, ops},
    playbook::Playbook,
};
use serde_json::Value;

use crate::{alarm, driver::Hub, truth};

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
    /// `sample`, `archived`, `stale`, `future-dated`, `not-the-providers`, `no-playbook`, `no-subject`.
    pub code: &'static str,
    /// For the reader.
    pub why: String,
}

/// The playbook that answers a finding, and its subjects, of which there is one at least.
///
/// # Errors
/// Why none does.
pub fn answered<'p>(
    playbooks: &'p [Arc<Playbook>],
    finding: &Finding,
    document: &Value,
    allow_samples: bool,
) -> Result<(&'p Arc<Playbook>, Vec<Subject>), Ignored> {
    if finding.sample && !allow_samples {
        let why = "a sample finding; `--allow-samples` observes it".to_owned();
        return Err(Ignored { code: "sample", why });
    }
    if finding.archived {
        let why = "its provider has archived it: a suppression rule or a person says it needs no answer".to_owned();
        return Err(Ignored { code: "archived", why });
    }
    let Some(playbook) = playbooks.iter().find(|playbook| playbook.matches(document)) else {
        if let Some(ignored) = truth::pretends(finding, |provider| would_answer(playbooks, document, provider)) {
            return Err(ignored);
        }
        let near = playbooks.iter().find_map(|playbook| near_miss(playbook, document));
        let why = near.unwrap_or_else(|| format!("no playbook answers findings of type `{}`", finding.kind));
        return Err(Ignored { code: "no-playbook", why });
    };
    let subjects: Vec<Subject> = playbook.subjects_of(finding).cloned().collect();
    if subjects.is_empty() {
        let kind = serde_json::to_value(playbook.subject).ok().and_then(|kind| kind.as_str().map(str::to_owned)).unwrap_or_default();
        let why = format!("playbook `{}` answers it, but it names no {kind}", playbook.name);
        return Err(Ignored { code: "no-subject", why });
    }
    Ok((playbook, subjects))
}

/// The playbook that would answer the same finding of another provider.
fn would_answer(playbooks: &[Arc<Playbook>], document: &Value, provider: Provider) -> Option<String> {
    let mut document = document.clone();
    *document.get_mut("provider")? = serde_json::to_value(provider).ok()?;
    let own = document.get("type").and_then(Value::as_str).and_then(cordon_shared::intake::native_type);
    if let Some(own) = own.filter(|_| provider == Provider::GuardDuty) {
        *document.get_mut("type")? = Value::String(own);
    }
    playbooks.iter().find(|playbook| playbook.matches(&document)).map(|playbook| playbook.name.clone())
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

/// What became of a finding: one answer for each subject that its playbook is about, in their order, or one that says why it is ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// What the journal did.
    pub accepted: Vec<Accepted>,
    /// Why it opens no incident, where it does not.
    pub ignored: Option<Ignored>,
}

/// Takes a finding in. Durable when it returns: only then may a queue forget it. All of its subjects are taken in, or none.
///
/// # Errors
/// [`TakeError`].
pub async fn take(hub: &Hub, origin: &Origin, finding: &Finding, sweep: Option<String>) -> Result<Taken, TakeError> {
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
    let findings = &hub.config.findings;
    let answered = truth::timely(finding, now, findings, sweep.is_some())
        .and_then(|()| answered(&hub.playbooks, finding, &note.finding, hub.allow_samples));
    let ignored = answered.as_ref().err().cloned();
    let arrivals = match answered {
        Err(ignored) => vec![(note.id.clone(), ops::Arrival { note, opening: None, ignored: Some(ignored.why) })],
        Ok((playbook, subjects)) => {
            let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
            let observe_only = match finding.sample {
                true => Some("a sample finding is only observed".to_owned()),
                false => truth::only_observed(finding, findings),
            };
            // What is only observed joins no run that acts, and takes no true finding into one that does not.
            let apart = if observe_only.is_some() { format!("{} observed", playbook.name) } else { playbook.name.clone() };
            let arrival = |(number, subject): (usize, &Subject)| {
                let entry = Entry::Opened {
                    playbook: playbook.name.clone(),
                    source: playbook.source.clone(),
                    digest: playbook.digest.clone(),
                    subject: subject.clone(),
                    finding: Box::new(note.clone()),
                    mode: hub.config.hub.mode,
                    observe_only: observe_only.clone(),
                    detected_at: now,
                };
                let keys = ops::keys(&apart, std::slice::from_ref(subject));
                let opening = Some(ops::Opening { run: IncidentId::new(millis), entry, keys, sweep: sweep.clone() });
                let known_as = match number {
                    0 => note.id.clone(),
                    _ => FindingId(format!("{} of {}", note.id.0, subject.name())),
                };
                (known_as, ops::Arrival { note: note.clone(), opening, ignored: None })
            };
            subjects.iter().enumerate().map(arrival).collect()
        }
    };
    if ignored.is_none() {
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
    let accept = move |tx: &mut dyn Tx| {
        let one = |(id, arrival): &(FindingId, ops::Arrival)| ops::accept_as(tx, id, arrival, now, pace);
        arrivals.iter().map(one).collect::<Result<Vec<_>, _>>()
    };
    let accepted = hub.journal.with(accept).await?;
    if accepted.iter().any(|accepted| matches!(accepted, Accepted::Joined { .. })) {
        hub.ring();
    } else if accepted.iter().any(|accepted| matches!(accepted, Accepted::Opened(_))) {
        hub.poke.notify_one();
    }
    Ok(Taken { accepted, ignored })
}
