//! `cordon open`: an analyst starts an incident by hand, through the same gate.

use std::sync::Arc;

use clap::Args;
use cordon_shared::{
    arn::Arn,
    finding::{Finding, FindingId, Format as Source, HubState, Network, Provider, Raw, ResourceRole, Subject, SubjectKind},
    id::{AccountId, CellId, Region},
    intake::Origin,
    journal::Accepted,
};

use super::{Common, Exit, Failure, Format, exit::Tally, freeze, output, person};
use crate::{
    driver::{self, Hub},
    incident::IncidentJson,
    intake,
    setup::{self, Wanted},
};

/// An incident started by hand.
#[derive(Debug, Args)]
pub(super) struct Open {
    /// The playbook
    #[arg(long)]
    playbook: String,
    /// What it is about: an instance's or a security group's id
    #[arg(long)]
    subject: String,
    /// Its account
    #[arg(long)]
    account: AccountId,
    /// Its Region
    #[arg(long)]
    region: Region,
    /// Why
    #[arg(long)]
    why: String,
    /// The finding type it is answered as; not needed where the playbook answers one
    #[arg(long = "type")]
    kind: Option<String>,
    /// The part the subject plays
    #[arg(long, default_value = "target", value_parser = ["target", "actor"])]
    role: String,
    /// An attacker's address; may be given again
    #[arg(long)]
    source: Vec<std::net::IpAddr>,
    /// The attacked port
    #[arg(long)]
    port: Option<u16>,
}

/// Obeys `cordon open`.
pub(super) async fn open(common: &Common, open: Open) -> Result<Exit, Failure> {
    let fail_on = common.states()?;
    let config = common.load()?;
    let hub = setup::hub(config, Wanted { what: "open", ..Wanted::default() }).await?;
    freeze::tell(&hub.store).await?;
    setup::holding(&hub, run(common, &hub, open, fail_on)).await
}

async fn run(common: &Common, hub: &Arc<Hub>, open: Open, fail_on: Vec<String>) -> Result<Exit, Failure> {
    let finding = finding(hub, &open)?;
    let document = serde_json::to_value(&finding).unwrap_or_default();
    if let Err(ignored) = intake::answered(std::slice::from_ref(playbook(hub, &open.playbook)?), &finding, &document, false) {
        return Err(Failure::usage(format!("playbook `{}` does not answer that: {}", open.playbook, ignored.why)));
    }
    let origin = Origin { input: format!("opened by {}", person().0), line: 1 };
    let (accepted, _) = intake::take(hub, &origin, &finding, None).await.map_err(|error| Failure::other(error.to_string()))?;
    let id = match accepted {
        Accepted::Opened(run) | Accepted::Joined { run, .. } | Accepted::Duplicate(run) => run,
        Accepted::Ignored { why, .. } => return Err(Failure::usage(why)),
    };
    driver::drive(Arc::clone(hub), async |hub: &Hub| Ok(hub.store.running().await? == 0)).await?;
    let view = hub.store.view(id).await?;
    let incident = IncidentJson::new(&view, None);
    match common.format {
        Format::Json => output::object(&incident)?,
        Format::Table => output::line(&crate::show::incident(&incident)),
    }
    let mut tally = Tally::new(fail_on);
    if let Some(row) = hub.store.run(id).await? {
        tally.state(row.state);
    }
    Ok(tally.exit())
}

fn playbook<'h>(hub: &'h Hub, name: &str) -> Result<&'h Arc<cordon_shared::playbook::Playbook>, Failure> {
    hub.playbooks.iter().find(|playbook| playbook.name == name).ok_or_else(|| {
        let names: Vec<&str> = hub.playbooks.iter().map(|playbook| playbook.name.as_str()).collect();
        Failure::usage(format!("there is no playbook `{name}`; there are {}", names.join(", ")))
    })
}

/// The observation of a person, as a finding that the playbook answers.
fn finding(hub: &Hub, open: &Open) -> Result<Finding, Failure> {
    let playbook = playbook(hub, &open.playbook)?;
    let types: Vec<String> = playbook
        .patterns
        .iter()
        .filter_map(|pattern| pattern.to_json().get("type").cloned())
        .flat_map(|kinds| kinds.as_array().cloned().unwrap_or_default())
        .filter_map(|kind| kind.as_str().map(str::to_owned))
        .collect();
    let kind = match (&open.kind, types.as_slice()) {
        (Some(kind), _) => kind.clone(),
        (None, [only]) => only.clone(),
        (None, _) => {
            return Err(Failure::usage(format!(
                "playbook `{}` answers several types: say which with `--type` ({})",
                playbook.name,
                types.join(", ")
            )));
        }
    };
    let (prefix, shape) = match playbook.subject {
        SubjectKind::Instance => ("i-", "instance"),
        SubjectKind::SecurityGroup => ("sg-", "security-group"),
        _ => {
            return Err(Failure::usage(format!(
                "playbook `{}` cannot be opened by hand yet: its subject is neither an instance nor a security group",
                playbook.name
            )));
        }
    };
    if !open.subject.starts_with(prefix) || !open.subject.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        return Err(Failure::usage(format!("`{}` is not the id of a subject of `{}` ({prefix}…)", open.subject, playbook.name)));
    }
    let text = format!("arn:{}:ec2:{}:{}:{shape}/{}", open.region.partition(), open.region, open.account, open.subject);
    let arn: Arn = text.parse().map_err(|error: cordon_shared::arn::ArnError| Failure::usage(error.to_string()))?;
    let cell = CellId::new(open.account.clone(), open.region.clone());
    let now = hub.clock.now();
    let provider = if playbook.subject == SubjectKind::SecurityGroup { Provider::SecurityHub } else { Provider::GuardDuty };
    let raw = serde_json::json!({ "opened_by": person().0, "at": now, "why": open.why, "playbook": playbook.name, "subject": text });
    Ok(Finding {
        id: FindingId(format!("cordon:opened/{}/{}", open.subject, now.as_millisecond())),
        provider,
        format: if provider == Provider::GuardDuty { Source::GuardDuty } else { Source::Asff },
        kind,
        title: open.why.clone(),
        severity: 0,
        cell: cell.clone(),
        subjects: vec![Subject { cell, kind: playbook.subject, id: open.subject.clone(), arn: Some(arn) }],
        role: Some(if open.role == "actor" { ResourceRole::Actor } else { ResourceRole::Target }),
        credential: None,
        network: Network { remote_ips: open.source.clone(), local_port: open.port, protocol: Some("tcp".to_owned()), ..Network::default() },
        first_seen: Some(now),
        last_seen: Some(now),
        updated_at: Some(now),
        count: 1,
        sample: false,
        archived: false,
        hub: HubState { compliance: Some("FAILED".to_owned()), record_state: Some("ACTIVE".to_owned()), ..HubState::default() },
        raw: Raw::new(raw.to_string().as_bytes()),
    })
}
