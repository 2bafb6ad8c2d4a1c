//! The self-alarm: Cordon's own roles, used by somebody who is not Cordon.
//!
//! The hub's role and the spoke role are worth more to an attacker than any other. What GuardDuty finds of their credentials, and what
//! CloudTrail records of them that no incident in the journal accounts for, freezes the organization to `limited`: what disrupts waits
//! for a person, and attackers are still contained.

use cordon_shared::{
    arn::{Arn, same_principal},
    engine::View,
    finding::{Finding, Provider, SubjectKind},
    freeze,
    id::IncidentId,
    journal::JournalError,
    trail::Record,
};
use cordon_spoke::session::READ_IDENTITY;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::{config::Config, driver::Hub, text::one_line, truth::SKEW};

/// How long before a call its warrant was given at most: a warrant lives 15 minutes.
const BEFORE: SignedDuration = SignedDuration::from_mins(16);
/// By how much CloudTrail's clock may be behind ours: as far as a clock may be wrong that AWS still takes signatures of.
const AFTER: SignedDuration = SKEW;

/// One of Cordon's own roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Own {
    /// What the hub runs as.
    Hub,
    /// What it assumes: the spoke role in any account, the narrow role in its own.
    Assumed,
}

/// Which of Cordon's roles this is, by its account and name.
fn own(config: &Config, account: &str, name: &str) -> Option<Own> {
    let is = |role: &str| same_principal(role, name);
    let at_home = account == config.hub.account.as_str();
    if at_home && config.hub.role.as_ref().is_some_and(|role| is(role.as_str())) {
        return Some(Own::Hub);
    }
    let narrow = at_home && config.hub.action_role.as_deref().is_some_and(is);
    (narrow || is(&config.spoke.role_name)).then_some(Own::Assumed)
}

/// Why the credentials that a run is about are not touched: they are of a session of Cordon's own role. Elsewhere roles are refused by name.
#[must_use]
pub fn own_credentials(config: &Config, view: &View) -> Option<String> {
    if !matches!(view.subject.kind, SubjectKind::AccessKey | SubjectKind::User | SubjectKind::Role) {
        return None;
    }
    let finding = view.finding();
    let of = |name: &str| finding.pointer(&format!("/credential/{name}")).and_then(Value::as_str);
    if of("user_type") == Some("IAMUser") {
        return None;
    }
    let role = of("user_name")?;
    own(config, view.subject.cell.account.as_str(), role)?;
    Some(format!("{} is of a session of Cordon's own role {role}: Cordon never changes it; look at who uses it", view.subject.name()))
}

/// Looks at a finding on its way in: GuardDuty's about credentials of Cordon's own roles raises the alarm.
///
/// # Errors
/// Those of the journal.
pub async fn finding(hub: &Hub, finding: &Finding) -> Result<(), JournalError> {
    if finding.provider != Provider::GuardDuty || finding.sample || finding.archived {
        return Ok(());
    }
    let credential = finding.credential.as_ref().filter(|credential| credential.user_type.as_deref() != Some("IAMUser"));
    let named = credential.and_then(|credential| Some((&finding.cell.account, credential.user_name.as_deref()?)));
    let roles = finding.subjects.iter().filter(|subject| subject.kind == SubjectKind::Role);
    let roles = roles.map(|subject| (&subject.cell.account, subject.id.as_str()));
    let found = named.into_iter().chain(roles).find(|(account, name)| own(&hub.config, account.as_str(), name).is_some());
    match found {
        Some((account, name)) => {
            let why = format!("GuardDuty finding {} ({}) is about Cordon's own role {name} in {account}", finding.id.0, finding.kind);
            raise(hub, &finding.id.0, finding.last_seen, why).await
        }
        None => Ok(()),
    }
}

/// Looks at a call that CloudTrail recorded: one of Cordon's own roles that no incident accounts for raises the alarm.
///
/// # Errors
/// Those of the journal.
pub async fn call(hub: &Hub, record: Option<&Record>) -> Result<(), JournalError> {
    let Some((record, name, role)) = record.and_then(|record| {
        let (account, name) = caller(record)?;
        let role = own(&hub.config, &account, &name)?;
        Some((record, name, role))
    }) else {
        return Ok(());
    };
    let Some(what) = unaccounted(hub, record, role).await? else { return Ok(()) };
    let account = record.by.account.as_deref().unwrap_or("an unknown account");
    let from = record.address.as_deref().unwrap_or("an unknown address");
    let why = format!("CloudTrail event {}: {} by Cordon's own role {name} in {account}, from {from}: {what}", record.id, record.call());
    let id = if record.id.is_empty() { why.clone() } else { record.id.clone() };
    raise(hub, &id, None, why).await
}

/// The account and the name of the role whose session called.
fn caller(record: &Record) -> Option<(String, String)> {
    let by = &record.by;
    let of_issuer = || {
        let arn: Arn = by.issuer.as_deref()?.parse().ok()?;
        Some((arn.account()?.to_string(), arn.resource().strip_prefix("role/")?.to_owned()))
    };
    let of_session = || {
        let arn: Arn = by.arn.as_deref()?.parse().ok()?;
        let role = arn.resource().strip_prefix("assumed-role/")?.split('/').next()?;
        Some((arn.account()?.to_string(), role.to_owned()))
    };
    of_issuer().or_else(of_session)
}

/// What is wrong with a call of one of Cordon's roles; `None`: it is Cordon's own.
async fn unaccounted(hub: &Hub, record: &Record, role: Own) -> Result<Option<String>, JournalError> {
    let changes = !record.read_only && !record.assumes();
    let identity = match role {
        // The hub's own credentials carry no identity; the sessions that it opens do.
        Own::Hub if record.assumes() => record.role.as_ref().and_then(|role| role.source_identity.as_deref()),
        Own::Hub if !changes || mails(hub, record) => return Ok(None),
        Own::Hub => {
            let known = warranted(hub, None, record.at).await?;
            return Ok((!known).then(|| "it changes something, and no warrant was given at that time".to_owned()));
        }
        Own::Assumed => record.by.source_identity.as_deref(),
    };
    let Some(identity) = identity else { return Ok(Some("its session has no source identity".to_owned())) };
    if identity == READ_IDENTITY {
        return Ok(changes.then(|| "a session that only reads has changed something".to_owned()));
    }
    let Some(run) = identity.strip_prefix("cordon-").and_then(|id| id.parse::<IncidentId>().ok()) else {
        return Ok(Some(format!("source identity `{}` is not Cordon's", shown(identity))));
    };
    if hub.store.run(run).await?.is_none() {
        return Ok(Some(format!("there is no incident {run} in the journal")));
    }
    let known = !changes || warranted(hub, Some(run), record.at).await?;
    Ok((!known).then(|| format!("incident {run} had no warrant at that time")))
}

/// Whether it is a message of the kind that owners are told by: it changes nothing, and no warrant is given for it.
fn mails(hub: &Hub, record: &Record) -> bool {
    let told = hub.config.notify.owner.as_ref().is_some_and(|owner| owner.from.is_some());
    told && record.service() == "ses" && record.name == "SendEmail"
}

async fn warranted(hub: &Hub, run: Option<IncidentId>, at: Option<Timestamp>) -> Result<bool, JournalError> {
    let at = at.unwrap_or_else(|| hub.clock.now());
    let (from, until) = (at.checked_sub(BEFORE).unwrap_or(Timestamp::MIN), at.checked_add(AFTER).unwrap_or(Timestamp::MAX));
    hub.store.warranted(run, from, until).await
}

fn shown(text: &str) -> String {
    text.chars().take(100).collect()
}

async fn raise(hub: &Hub, id: &str, seen: Option<Timestamp>, why: String) -> Result<(), JournalError> {
    if hub.rehearsal {
        return Ok(());
    }
    // Names, addresses and identities in it were chosen by whoever called.
    let why = one_line(&why);
    let (now, id, told) = (hub.clock.now(), id.to_owned(), why.clone());
    if hub.journal.with(move |tx| freeze::alarm(tx, &id, seen, why, now)).await? {
        tracing::error!("self-alarm: the organization is frozen to `limited`: {told}; `cordon thaw` lifts it when you know who it was");
    }
    Ok(())
}
