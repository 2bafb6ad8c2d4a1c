//! Watching the incidents as a person would, with `cordon incident list`, and saying what changes.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{Screen, Stage};
use crate::{Cordon, LabError, Organization};

/// How much of a reason is shown.
const REASON: usize = 64;

/// What is known of an incident.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub id: String,
    pub state: String,
    pub code: String,
    pub reason: String,
}

/// The incidents by their subject's ARN.
pub(super) struct Watch<'a> {
    cordon: &'a Cordon,
    organization: &'a Organization,
    stage: &'a Stage,
    started: Instant,
    seen: BTreeMap<String, Seen>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(cordon: &'a Cordon, organization: &'a Organization, stage: &'a Stage) -> Self {
        Self { cordon, organization, stage, started: Instant::now(), seen: BTreeMap::new() }
    }

    /// Looks once.
    pub(super) async fn look(&mut self, screen: &Screen) -> Result<(), LabError> {
        let listed = self.cordon.run(&["incident", "list", "--format", "json"], "").await?;
        if listed.code != Some(0) {
            return Err(LabError::new(format!("cordon incident list failed: {}", listed.stderr)));
        }
        // The newest comes first.
        for row in listed.objects().into_iter().rev() {
            let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let (subject, now) =
                (text("subject"), Seen { id: text("run"), state: text("state"), code: text("code"), reason: text("reason") });
            if self.seen.get(&subject).is_none_or(|before| before.state != now.state) {
                let after = self.started.elapsed().as_secs_f64();
                screen.line(&format!("{after:>5.1} s  {}  {}", screen.state(&now.state), self.what(&subject)));
            }
            self.seen.insert(subject, now);
        }
        Ok(())
    }

    /// Looks until everything that was found has an incident and none is being worked on.
    pub(super) async fn until_at_rest(&mut self, screen: &Screen, patience: Duration) -> Result<(), LabError> {
        let wanted = self.stage.cast.len() + self.stage.groups.len() + 1;
        loop {
            self.look(screen).await?;
            if self.seen.len() >= wanted && self.seen.values().all(|seen| seen.state != "running") {
                return Ok(());
            }
            if self.started.elapsed() > patience {
                return Err(LabError::new(format!(
                    "{} of {wanted} incidents after {} s: {:#?}",
                    self.seen.len(),
                    patience.as_secs(),
                    self.seen
                )));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    pub(super) fn count(&self) -> usize {
        self.seen.len()
    }

    pub(super) fn of(&self, subject: &str) -> Result<&Seen, LabError> {
        self.seen.get(subject).ok_or_else(|| LabError::new(format!("there is no incident about {subject}")))
    }

    pub(super) fn incident(&self, subject: &str) -> Result<String, LabError> {
        self.of(subject).map(|seen| seen.id.clone())
    }

    /// The subject, and where it is.
    fn what(&self, subject: &str) -> String {
        let mut parts = subject.split(':').skip(3);
        let (region, account) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let named = self.stage.cast.iter().find(|actor| actor.instance.arn == subject).map(|actor| actor.instance.name.as_str());
        let id = subject.rsplit('/').next().unwrap_or(subject);
        let short: String = id.chars().take(11).collect();
        format!("{:<12}{:<24}", named.unwrap_or(&short), format!("{}/{region}", self.organization.name_of(account)))
    }

    /// The incidents at rest, in the order in which they came.
    pub(super) fn table(&self, screen: &Screen) {
        let mut rows: Vec<(&String, &Seen)> = self.seen.iter().collect();
        rows.sort_by_key(|(_, seen)| &seen.id);
        for (subject, seen) in rows {
            screen.line(&format!("{}  {}  {}{}", seen.id, screen.state(&seen.state), self.what(subject), reason(seen)));
        }
    }
}

/// A few words of the reason; `cordon incident show` has all of it.
fn reason(seen: &Seen) -> String {
    match (seen.state.as_str(), seen.code.as_str()) {
        ("contained", _) if seen.reason.starts_with("`block-source`") => "port 22 closed, source denied for 24 hours".to_owned(),
        ("contained", _) => "cut off, its credentials cut, its disks kept".to_owned(),
        ("closed", _) => "port 22 closed".to_owned(),
        ("held", "playbook") if seen.reason.contains("Roles were assumed") => {
            "cut off; roles were assumed from it: a person must decide".to_owned()
        }
        (_, "opted-out") => "opted out: nothing is changed".to_owned(),
        (_, "role-missing") => "the account has no role that lets Cordon in".to_owned(),
        // `step`: why. More.
        _ => {
            let why = seen.reason.split_once("`: ").map_or(seen.reason.as_str(), |(_, why)| why);
            let words: String = why.split(". ").next().unwrap_or(why).chars().take(REASON).collect();
            let words = words.trim_end_matches('.');
            if words.len() < REASON { words.to_owned() } else { format!("{}: {words}…", seen.code) }
        }
    }
}
