//! `cordon open`: an analyst starts an incident by hand, through the same gate.

use std::sync::Arc;

use clap::Args;
use cordon_shared::{
    arn::Arn,
    finding::{Credential, Finding, FindingId, Format as Source, HubState, Network, Provider, Raw, ResourceRole, Subject, SubjectKind},
    id::{AccountId, CellId, Region},
    intake::Origin,
    journal::Accepted,
};

use super::{Common, Exit, Failure, Format, door, exit::Tally, freeze, output};
use crate::{
    driver::{self, Hub},
    incident::IncidentJson,
    intake,
    journal::sqlite::SqliteStore,
    policy::person::Doing,
    setup::{self, Wanted},
};

/// An incident started by hand.
#[derive(Debug, Args)]
pub(super) struct Open {
    /// The playbook
    #[arg(long)]
    playbook: String,
    /// What it is about: an instance's, a security group's or an access key's id
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
    /// Of an access key: the IAM user whose key it is
    #[arg(long, conflicts_with_all = ["assumed_role", "session"])]
    user: Option<String>,
    /// Of an access key: the role whose session it belongs to
    #[arg(long, requires = "session")]
    assumed_role: Option<String>,
    /// Of an access key: the name of that session
    #[arg(long, requires = "assumed_role")]
    session: Option<String>,
}

/// Ids of one kind of subject.
struct Ids {
    prefixes: &'static [&'static str],
    /// The resource type in its ARN; none where AWS gives it no ARN.
    resource: Option<&'static str>,
}

fn ids(kind: SubjectKind) -> Option<Ids> {
    match kind {
        SubjectKind::Instance => Some(Ids { prefixes: &["i-"], resource: Some("instance") }),
        SubjectKind::SecurityGroup => Some(Ids { prefixes: &["sg-"], resource: Some("security-group") }),
        // https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids
        SubjectKind::AccessKey => Some(Ids { prefixes: &["AKIA", "ASIA"], resource: None }),
        _ => None,
    }
}

/// Whose access key it is, as GuardDuty would write it.
fn credential(open: &Open) -> Result<Credential, Failure> {
    let of = |kind: &str, name: &str, session: Option<&str>| {
        let principal = session.map(|session| format!(":{session}"));
        let credential = Credential::new(Some(&open.subject), principal.as_deref(), Some(kind), Some(name));
        Credential { principal_id: None, ..credential.unwrap_or_default() }
    };
    match (&open.user, &open.assumed_role, &open.session) {
        (Some(user), ..) => Ok(of("IAMUser", user, None)),
        (None, Some(role), Some(session)) => Ok(of("AssumedRole", role, Some(session))),
        _ => Err(Failure::usage(format!(
            "whose access key {} is has to be said: `--user NAME` of a user's own key, `--assumed-role NAME --session NAME` of a session's",
            open.subject
        ))),
    }
}

/// Obeys `cordon open`.
pub(super) async fn open(common: &Common, open: Open) -> Result<Exit, Failure> {
    let fail_on = common.states()?;
    let config = common.load_here("open")?;
    let asker = door::permitted(&config, Doing::Open).await;
    let by = door::known(&*SqliteStore::open(&config.hub.state_dir)?, "open an incident", asker).await?.by.0;
    let hub = setup::hub(config, Wanted { what: "open", ..Wanted::default() }).await?;
    freeze::tell_of(&hub.store).await?;
    setup::holding(&hub, run(common, &hub, open, &by, fail_on)).await
}

async fn run(common: &Common, hub: &Arc<Hub>, open: Open, by: &str, fail_on: Vec<String>) -> Result<Exit, Failure> {
    let finding = finding(hub, &open, by)?;
    let document = serde_json::to_value(&finding).unwrap_or_default();
    if let Err(ignored) = intake::answered(std::slice::from_ref(playbook(hub, &open.playbook)?), &finding, &document, false) {
        return Err(Failure::usage(format!("playbook `{}` does not answer that: {}", open.playbook, ignored.why)));
    }
    let origin = Origin { input: format!("opened by {by}"), line: 1 };
    let taken = intake::take(hub, &origin, &finding, None).await.map_err(|error| Failure::other(error.to_string()))?;
    let id = match taken.accepted.into_iter().next() {
        Some(Accepted::Opened(run) | Accepted::Joined { run, .. } | Accepted::Duplicate(run)) => run,
        Some(Accepted::Ignored { why, .. }) => return Err(Failure::usage(why)),
        None => return Err(Failure::other(format!("{} was not taken in", open.subject))),
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
fn finding(hub: &Hub, open: &Open, by: &str) -> Result<Finding, Failure> {
    let playbook = playbook(hub, &open.playbook)?;
    let wanted: Vec<serde_json::Value> = playbook
        .patterns
        .iter()
        .filter_map(|pattern| pattern.to_json().get("type").cloned())
        .flat_map(|kinds| kinds.as_array().cloned().unwrap_or_default())
        .collect();
    let told = |kind: &serde_json::Value| match kind {
        serde_json::Value::String(kind) => Some(kind.clone()),
        other => other.get("prefix").and_then(serde_json::Value::as_str).map(|prefix| format!("{prefix}…")),
    };
    let types: Vec<String> = wanted.iter().filter_map(told).collect();
    let kind = match (&open.kind, types.as_slice()) {
        (Some(kind), _) => kind.clone(),
        (None, [only]) if !only.ends_with('…') => only.clone(),
        (None, _) => {
            return Err(Failure::usage(format!(
                "playbook `{}` answers several types: say which with `--type` ({})",
                playbook.name,
                types.join(", ")
            )));
        }
    };
    let Some(Ids { prefixes, resource }) = ids(playbook.subject) else {
        return Err(Failure::usage(format!(
            "playbook `{}` cannot be opened by hand yet: its subject is neither an instance, a security group nor an access key",
            playbook.name
        )));
    };
    let begins = prefixes.iter().any(|prefix| open.subject.starts_with(prefix));
    if !begins || !open.subject.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        let wanted = prefixes.iter().map(|prefix| format!("{prefix}…")).collect::<Vec<_>>().join(" or ");
        return Err(Failure::usage(format!("`{}` is not the id of a subject of `{}` ({wanted})", open.subject, playbook.name)));
    }
    let is_key = playbook.subject == SubjectKind::AccessKey;
    if !is_key && (open.user.is_some() || open.assumed_role.is_some()) {
        return Err(Failure::usage(format!("`--user`, `--assumed-role` and `--session` are of an access key; {} is none", open.subject)));
    }
    let credential = is_key.then(|| credential(open)).transpose()?;
    let arn: Option<Arn> = resource
        .map(|shape| format!("arn:{}:ec2:{}:{}:{shape}/{}", open.region.partition(), open.region, open.account, open.subject).parse())
        .transpose()
        .map_err(|error: cordon_shared::arn::ArnError| Failure::usage(error.to_string()))?;
    let cell = CellId::new(open.account.clone(), open.region.clone());
    let now = hub.clock.now();
    let provider = if playbook.subject == SubjectKind::SecurityGroup { Provider::SecurityHub } else { Provider::GuardDuty };
    let subject = Subject {
        cell: CellId::new(open.account.clone(), if is_key { Region::global() } else { open.region.clone() }),
        kind: playbook.subject,
        id: open.subject.clone(),
        arn,
    };
    let raw = serde_json::json!({ "opened_by": by, "at": now, "why": open.why, "playbook": playbook.name, "subject": subject.name() });
    Ok(Finding {
        id: FindingId(format!("cordon:opened/{}/{}", open.subject, now.as_millisecond())),
        provider,
        format: if provider == Provider::GuardDuty { Source::GuardDuty } else { Source::Asff },
        kind,
        title: open.why.clone(),
        severity: 0,
        cell,
        subjects: vec![subject],
        role: Some(if open.role == "actor" { ResourceRole::Actor } else { ResourceRole::Target }),
        credential,
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
