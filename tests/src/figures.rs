//! What the figures are measured with: findings through intake and decision, over the journal on disk and no AWS.

use std::{sync::Arc, time::Instant};

use cordon_hub::{
    intake::answered,
    journal::SqliteStore,
    setup::{built_in, registry},
};
use cordon_shared::{
    clock::{Clock as _, SystemClock},
    engine::{Entry, FindingNote, Pace as EnginePace},
    finding::Finding,
    gate::{self, Ask, Caps, Decision, Facts, Lease, PolicyAnswer},
    id::IncidentId,
    intake::{self, Item},
    journal::{Accepted, Journal, ops},
    mode::Mode,
    plan::{Change, Plan, Risk, StepKey},
    playbook::Playbook,
};
use futures::StreamExt as _;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::LabError;

/// How many findings are on their way at a time, as the service has them.
const IN_FLIGHT: usize = 64;

/// Findings a second.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Findings that each open an incident whose change is decided.
    pub new: f64,
    /// The same findings again.
    pub again: f64,
    /// The size of one.
    pub bytes: usize,
}

struct Bench {
    journal: Journal,
    lease: Arc<Lease>,
    pace: EnginePace,
    playbooks: Vec<Arc<Playbook>>,
}

fn said(error: impl std::fmt::Display) -> LabError {
    LabError::new(error.to_string())
}

/// Sends `count` findings of different instances through intake, matching, acceptance and the gate's commit, then the same again.
///
/// # Errors
/// When the journal cannot be made, or a finding is not decided as it must be.
pub async fn decisions(count: usize) -> Result<Pace, LabError> {
    let folder = tempfile::tempdir().map_err(said)?;
    let store = SqliteStore::open(folder.path()).map_err(said)?;
    let lease = store.take_lease(&SystemClock, "figures").await.map_err(said)?;
    let dynamic: Arc<dyn cordon_shared::journal::Store> = store;
    let pace = EnginePace { epoch: lease.epoch(), since: SystemClock.now(), attempt_timeout: SignedDuration::from_secs(10) };
    let playbooks = built_in(&registry().map_err(said)?).map_err(said)?;
    let bench = Arc::new(Bench { journal: Journal::new(dynamic), lease, pace, playbooks });
    let lines: Vec<String> = (0..count).map(line).collect();
    let bytes = lines.first().map_or(0, String::len);
    let new = run(&bench, &lines, true).await?;
    let again = run(&bench, &lines, false).await?;
    Ok(Pace { new, again, bytes })
}

#[expect(clippy::cast_precision_loss, reason = "counts of findings are far below 2^52")]
async fn run(bench: &Arc<Bench>, lines: &[String], new: bool) -> Result<f64, LabError> {
    let begun = Instant::now();
    let mut results = futures::stream::iter(lines.to_vec())
        .map(|line| {
            let bench = Arc::clone(bench);
            tokio::spawn(async move { one(&bench, &line, new).await })
        })
        .buffered(IN_FLIGHT);
    while let Some(result) = results.next().await {
        result.map_err(said)??;
    }
    Ok(lines.len() as f64 / begun.elapsed().as_secs_f64())
}

async fn one(bench: &Bench, line: &str, new: bool) -> Result<(), LabError> {
    let finding = read(line)?;
    let document = serde_json::to_value(&finding).map_err(said)?;
    let (playbook, subjects) = answered(&bench.playbooks, &finding, &document, false).map_err(|ignored| said(ignored.why))?;
    let subject = subjects.first().ok_or_else(|| said("no subject".to_owned()))?;
    let note = FindingNote {
        id: finding.id.clone(),
        version: finding.version(),
        input: "figures".to_owned(),
        finding: document,
        raw_sha256: finding.raw.sha256.clone(),
    };
    let now = SystemClock.now();
    let run = IncidentId::new(u64::try_from(now.as_millisecond()).unwrap_or(0));
    let entry = Entry::Opened {
        playbook: playbook.name.clone(),
        source: playbook.source.clone(),
        digest: playbook.digest.clone(),
        subject: subject.clone(),
        finding: Box::new(note.clone()),
        mode: Mode::Act,
        observe_only: None,
        detected_at: now,
    };
    let keys = ops::keys(&playbook.name, std::slice::from_ref(subject));
    let arrival = ops::Arrival { note, opening: Some(ops::Opening { run, entry, keys, sweep: None }), ignored: None };
    let pace = bench.pace;
    let accepted = bench.journal.with(move |tx| ops::accept(tx, &arrival, now, pace)).await.map_err(said)?;
    match (accepted, new) {
        (Accepted::Opened(run), true) => decide(bench, run, subject.name()).await,
        (Accepted::Duplicate(_), false) => Ok(()),
        (other, _) => Err(LabError::new(format!("not as it must be: {other:?}"))),
    }
}

/// The gate's commit for a change of one resource, as `close-ingress` would ask for it.
async fn decide(bench: &Bench, run: IncidentId, subject: &str) -> Result<(), LabError> {
    let now = SystemClock.now();
    let pace = bench.pace;
    let view = bench
        .journal
        .with(move |tx| {
            let mut view = ops::load(tx, run)?;
            let record = Entry::Skipped { step: StepKey::first("record"), why: "figures".to_owned() };
            ops::append(tx, &mut view, vec![Entry::Admitted { account: json!({}) }, record], now, pace)?;
            Ok(view)
        })
        .await
        .map_err(said)?;
    let change = Change { resource: subject.to_owned(), attribute: "figure".to_owned(), before: Value::Null, after: Value::Null };
    let plan = Plan { changes: vec![change], touches: [subject.to_owned()].into(), ..Plan::default() };
    let ask = Ask {
        step: StepKey::first("close-ingress"),
        action: "ec2.close-open-ingress",
        risk: Risk::Reversible,
        with: Value::Null,
        region: None,
        plan,
        mode: Mode::Act,
        ask: false,
        planned_at: now,
        facts: Facts { read_at: now, ..Facts::default() },
        policy: PolicyAnswer::allow("none"),
        caps: Caps { per_account_hour: u32::MAX, per_organization_hour: u32::MAX },
        spending: Default::default(),
        question_lasts: SignedDuration::from_hours(1),
        stand_down: gate::stand_down_key(&view),
        uncounted: false,
        rehearsal: false,
    };
    match gate::commit(&bench.journal, &bench.lease, &view, ask, now, pace).await.map_err(said)?.1 {
        Decision::Go(_) => Ok(()),
        Decision::No(ruling) => Err(LabError::new(format!("the gate said {ruling:?}"))),
    }
}

fn read(line: &str) -> Result<Finding, LabError> {
    intake::items(line.as_bytes(), "figures")
        .find_map(|(_, item)| match item {
            Item::Finding(finding) => Some(*finding),
            Item::NotAFinding { .. } | Item::Rejected(_) => None,
        })
        .ok_or_else(|| said("no finding"))
}

/// A brute-force event of GuardDuty against instance `number`.
fn line(number: usize) -> String {
    let account = format!("{:012}", 100_000_000_000 + number % 500);
    let id = format!("{number:032x}");
    json!({
        "version": "0", "id": id, "detail-type": "GuardDuty Finding", "source": "aws.guardduty", "account": account, "region": "us-east-1",
        "time": "2026-11-24T10:00:00Z", "resources": [],
        "detail": {
            "schemaVersion": "2.0", "accountId": account, "region": "us-east-1", "partition": "aws", "id": id,
            "arn": format!("arn:aws:guardduty:us-east-1:{account}:detector/d0/finding/{id}"),
            "type": "UnauthorizedAccess:EC2/SSHBruteForce", "severity": 2, "title": "SSH brute force attack", "description": "An attack.",
            "createdAt": "2026-11-24T10:00:00.000Z", "updatedAt": "2026-11-24T10:00:00.000Z",
            "resource": { "resourceType": "Instance", "instanceDetails": { "instanceId": format!("i-{number:017x}"), "tags": [], "networkInterfaces": [] } },
            "service": {
                "serviceName": "guardduty", "detectorId": "d0", "resourceRole": "TARGET", "archived": false, "count": 12,
                "eventFirstSeen": "2026-11-24T09:55:00Z", "eventLastSeen": "2026-11-24T10:00:00Z",
                "action": { "actionType": "NETWORK_CONNECTION", "networkConnectionAction": {
                    "connectionDirection": "INBOUND", "protocol": "TCP", "blocked": false,
                    "localPortDetails": { "port": 22, "portName": "SSH" }, "remotePortDetails": { "port": 50_000 },
                    "remoteIpDetails": { "ipAddressV4": "198.51.100.7" }
                } }
            }
        }
    })
    .to_string()
}
