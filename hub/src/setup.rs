//! Putting the hub together from its configuration.

use std::sync::Arc;

use cordon_shared::{
    clock::{Clock, SystemClock},
    engine::Pace,
    evidence::Evidence,
    gate::Lease,
    id::CellId,
    journal::{Journal, JournalError, Store},
    playbook::{Playbook, PlaybookError},
};
use cordon_spoke::{
    action::{LogSource, Registry, RegistryError},
    actions,
    limits::{Limits, Rates, Slots},
    session::{SessionError, SessionSettings, Sessions},
};
use jiff::SignedDuration;
use tokio::sync::{Notify, mpsc::UnboundedSender, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Config, LogKind},
    driver::{Hub, ReadParts, thaw},
    evidence::{FsEvidence, MemEvidence},
    journal::{lease::LeaseError, outbox::TurnedAway, sqlite::SqliteStore},
    notify,
    org::Org,
    policy::{Keeper, LoadError},
    refused::Protected,
    setback,
};

/// The playbooks that come with Cordon, in the order they are asked.
const BUILT_IN: [(&str, &str); 4] = [
    ("ec2-brute-force.toml", include_str!("../playbooks/ec2-brute-force.toml")),
    ("ec2-compromised.toml", include_str!("../playbooks/ec2-compromised.toml")),
    ("iam-credential-compromise.toml", include_str!("../playbooks/iam-credential-compromise.toml")),
    ("open-admin-port.toml", include_str!("../playbooks/open-admin-port.toml")),
];

/// Why the hub cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The journal cannot be opened.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Another process drives.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// No sessions.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Two actions of one name.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Playbooks that cannot be used.
    #[error("{}", list(.0))]
    Playbooks(Vec<PlaybookError>),
    /// The playbook folder cannot be read.
    #[error("playbooks cannot be read from {path}: {why}")]
    PlaybookFolder {
        /// The folder or file.
        path: String,
        /// Why.
        why: String,
    },
    /// Policies that cannot be used.
    #[error(transparent)]
    Policies(#[from] LoadError),
    /// The evidence folder cannot be used.
    #[error(transparent)]
    Evidence(#[from] cordon_shared::evidence::EvidenceError),
}

fn list(errors: &[PlaybookError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// What the command wants of the hub.
#[derive(Debug, Default)]
pub struct Wanted {
    /// The command's name, for whoever finds the lease taken.
    pub what: &'static str,
    /// Nothing is kept and nothing is done.
    pub rehearsal: bool,
    /// It only looks at what is there: no lease is taken, nothing is appended.
    pub looks_only: bool,
    /// Sample findings are observed.
    pub allow_samples: bool,
    /// Told of runs that were put down.
    pub put_down: Option<UnboundedSender<cordon_shared::id::IncidentId>>,
}

/// The catalogue of actions.
///
/// # Errors
/// When two have one name.
pub fn registry() -> Result<Registry, SetupError> {
    Ok(Registry::new(actions::all())?)
}

/// The playbooks that come with Cordon.
///
/// # Errors
/// Every error of every playbook.
pub fn built_in(registry: &Registry) -> Result<Vec<Arc<Playbook>>, SetupError> {
    read(&BUILT_IN.map(|(file, text)| (file.to_owned(), text.to_owned())), registry)
}

/// All playbooks: those built in, each replaced by a file of the same name in the folder, then the folder's others by name.
///
/// # Errors
/// Every error of every playbook, each at its place.
pub fn playbooks(config: &Config, registry: &Registry) -> Result<Vec<Arc<Playbook>>, SetupError> {
    let mut texts: Vec<(String, String)> = BUILT_IN.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
    if let Some(folder) = &config.playbooks_dir {
        let wrong = |error: &std::io::Error, path: &std::path::Path| SetupError::PlaybookFolder {
            path: path.display().to_string(),
            why: error.to_string(),
        };
        let mut files: Vec<std::path::PathBuf> = std::fs::read_dir(folder)
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
            .map_err(|error| wrong(&error, folder))?;
        files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
        files.sort();
        for file in files {
            let text = std::fs::read_to_string(&file).map_err(|error| wrong(&error, &file))?;
            let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            match texts.iter_mut().find(|(known, _)| *known == name) {
                Some(known) => known.1 = text,
                None => texts.push((name, text)),
            }
        }
    }
    read(&texts, registry)
}

fn read(texts: &[(String, String)], registry: &Registry) -> Result<Vec<Arc<Playbook>>, SetupError> {
    let (mut playbooks, mut errors) = (Vec::new(), Vec::new());
    for (file, text) in texts {
        match Playbook::parse(text, file) {
            Ok(playbook) => {
                errors.extend(playbook.check(registry));
                playbooks.push(Arc::new(playbook));
            }
            Err(wrong) => errors.extend(wrong),
        }
    }
    if errors.is_empty() { Ok(playbooks) } else { Err(SetupError::Playbooks(errors)) }
}

/// The session settings of a configuration.
#[must_use]
pub fn session_settings(config: &Config) -> SessionSettings {
    SessionSettings {
        role_name: config.spoke.role_name.clone(),
        external_id: config.spoke.external_id.clone(),
        org_read_role: config.org_read_role.clone(),
        // By its name, as the spoke role: sessions know the hub's account.
        hub_role: config.hub.action_role.as_deref().and_then(|arn| arn.split_once(":role/")).map(|(_, name)| name.to_owned()),
        attempt_timeout: config.limits.attempt_timeout.unsigned_abs(),
        ..SessionSettings::new(config.hub.account.clone(), config.hub.home_region.clone())
    }
}

/// Puts the hub together: journal and lease, sessions, organization, catalogue, playbooks.
///
/// # Errors
/// [`SetupError`].
pub async fn hub(config: Config, wanted: Wanted) -> Result<Arc<Hub>, SetupError> {
    let registry = registry()?;
    let playbooks = playbooks(&config, &registry)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let policies = match Keeper::load(config.policy.dir.as_deref(), &registry) {
        Ok(policies) => policies,
        Err(error) => {
            if !wanted.rehearsal && !wanted.looks_only {
                let store = SqliteStore::open(&config.hub.state_dir)?;
                store.turn_away(TurnedAway::unsound_policies(clock.now(), &error.to_string())).await?;
            }
            return Err(error.into());
        }
    };
    let (store, evidence): (Arc<SqliteStore>, Arc<dyn Evidence>) = if wanted.rehearsal {
        (SqliteStore::rehearsing(&config.hub.state_dir)?, Arc::new(MemEvidence::default()))
    } else {
        let store = SqliteStore::open(&config.hub.state_dir)?;
        let evidence: Arc<dyn Evidence> = match wanted.looks_only {
            true => Arc::new(MemEvidence::default()),
            false => Arc::new(FsEvidence::open(&config.hub.state_dir, Arc::clone(&clock))?),
        };
        (store, evidence)
    };
    let lease = if wanted.looks_only { nobodys() } else { store.take_lease(clock.as_ref(), wanted.what).await? };
    if !wanted.rehearsal && !wanted.looks_only {
        store.set_targets(&notify::targets(&config.notify, wanted.what == "serve"), clock.now()).await?;
        store.try_set_aside_again().await?;
        setback::at_start(&store, clock.as_ref()).await?;
    }
    let limits = Limits::new(Rates::default());
    let sessions = Sessions::new(session_settings(&config), limits, Arc::clone(&clock)).await?;
    let org = Org::new(sessions.clone(), Arc::clone(&clock), &config.opt_out_key);
    let slots = Slots::new(
        at_least_one(config.limits.organization_slots),
        at_least_one(config.limits.account_slots),
        at_least_one(config.limits.cell_slots),
    );
    let logs = config
        .logs
        .iter()
        .map(|log| LogSource {
            kind: match log.kind {
                LogKind::Auth => "auth".to_owned(),
                LogKind::Cloudtrail => "cloudtrail".to_owned(),
            },
            group: log.group.clone(),
            stream: log.stream.clone(),
            account: log.account.clone(),
            region: log.region.clone(),
        })
        .collect();
    let own = std::iter::once(config.spoke.role_name.clone()).chain(config.hub.action_role.clone());
    let own = own.chain(config.hub.role.as_ref().map(ToString::to_string));
    let names = own.chain(config.protected.iter().cloned()).collect();
    let pace =
        Pace { epoch: lease.epoch(), since: clock.now(), attempt_timeout: config.limits.attempt_timeout + SignedDuration::from_secs(1) };
    let dynamic: Arc<dyn Store> = store.clone();
    Ok(Arc::new(Hub {
        own_cell: CellId::new(config.hub.account.clone(), config.hub.home_region.clone()),
        known_nets: config.known_nets(),
        config,
        clock,
        journal: Journal::new(dynamic),
        store,
        lease,
        pace,
        sessions,
        org,
        registry,
        playbooks,
        policies,
        read_parts: ReadParts::default(),
        evidence,
        slots,
        logs,
        protected: Protected { names },
        allow_samples: wanted.allow_samples,
        rehearsal: wanted.rehearsal,
        thawed: thaw::Looked::default(),
        put_down: wanted.put_down,
        poke: Notify::new(),
        changed: watch::Sender::new(0),
        stop: CancellationToken::new(),
    }))
}

/// Does work that drives incidents: the lease is kept while it goes on, people are told beside it and for a little while after it, and it is
/// given back with the chains' heads anchored when it ends.
///
/// # Errors
/// Those of the work, and of the journal.
pub async fn holding<T, E: From<JournalError>>(hub: &Arc<Hub>, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let (keeper, enough) = (Arc::clone(hub), CancellationToken::new());
    let until = enough.clone();
    let keep = async move { keeper.store.keep(Arc::clone(&keeper.lease), Arc::clone(&keeper.clock), until).await };
    let keeping = tokio::spawn(keep);
    let thawing = thaw::watch(hub);
    let told = CancellationToken::new();
    let telling = (!hub.rehearsal).then(|| tokio::spawn(notify::send(Arc::clone(hub), told.clone())));
    let result = work.await;
    hub.stop.cancel();
    told.cancel();
    if let Some(telling) = telling {
        match telling.await {
            Ok(Ok(0)) => {}
            Ok(Ok(left)) => tracing::warn!(left, "notices are not sent yet: the next command or `cordon serve` sends them"),
            Ok(Err(error)) => tracing::error!(%error, "the outbox cannot be read"),
            Err(error) => tracing::error!(%error, "the task that tells people died"),
        }
    }
    if let Err(error) = thawing.await {
        tracing::error!(%error, "the task that looks after thaws died");
    }
    // Only now: while calls were under way, nobody else might have driven.
    enough.cancel();
    if let Err(error) = keeping.await {
        tracing::error!(%error, "the task that kept the lease died");
    }
    if hub.lease.held() {
        hub.store.anchor(hub.clock.now()).await?;
        hub.store.give_back(&hub.lease).await?;
    }
    result
}

/// A lease that nobody holds: with it nothing is written and nothing is changed.
fn nobodys() -> Arc<Lease> {
    let lease = Lease::new(0);
    lease.lose();
    lease
}

fn at_least_one(slots: u32) -> usize {
    usize::try_from(slots).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests;
