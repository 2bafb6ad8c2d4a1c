//! The organization as the hub knows it: account state, OU path, tags and opt-outs, read live and shared for a short while.
//!
//! One read serves every incident that needs it within [`FRESH`]; two that ask at once wait for the same read. Failures are not kept.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cordon_shared::{
    clock::Clock,
    engine::Hold,
    freeze::names_of_ous,
    gate::{OptOutFact, hold},
    id::AccountId,
};
use cordon_spoke::{
    action::ActionError,
    aws::organization::{self, Account, AccountState, OrganizationError, OuPath, Parent, Unit},
    session::{Clients, Sessions},
};
use jiff::Timestamp;
use moka::future::Cache;
use serde_json::{Value, json};

/// How long a read is shared. What is known of an account may rest on a read of its OUs that old: together with the time to decide
/// that stays below the 60 seconds that a decision may rest on.
const FRESH: Duration = Duration::from_secs(20);
/// How many accounts and OUs are kept at most.
const KEPT: u64 = 20_000;

/// Why the organization says nothing about an account.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OrgError {
    /// It may work in a moment.
    #[error("{0}")]
    Passing(String),
    /// It holds the work, with this reason.
    #[error("{}", .0.why)]
    Unfit(Hold),
}

/// What is known of an account, and since when.
#[derive(Debug, Clone)]
pub struct AccountFacts {
    /// The account.
    pub account: Account,
    /// From the root down.
    pub path: OuPath,
    /// The account's tags.
    pub tags: BTreeMap<String, String>,
    /// The tags of the OUs above it and of the root, by id.
    pub unit_tags: BTreeMap<String, BTreeMap<String, String>>,
    /// Opt-out tags on the account and the OUs above it.
    pub opt_outs: Vec<OptOutFact>,
    /// When the oldest of it was read.
    pub read_at: Timestamp,
}

impl AccountFacts {
    /// What a playbook's expressions see as `account`.
    #[must_use]
    pub fn data(&self) -> Value {
        let path: Vec<&str> = self.path.0.iter().map(|unit| unit.name.as_str()).collect();
        json!({ "id": self.account.id, "name": self.account.name, "path": path, "tags": self.tags })
    }

    /// The OU path for people: `Root/Workloads/Production`.
    #[must_use]
    pub fn path_text(&self) -> String {
        self.path.0.iter().map(|unit| unit.name.as_str()).collect::<Vec<_>>().join("/")
    }

    /// What the OUs above it go by, as freezes name them.
    #[must_use]
    pub fn ous(&self) -> Vec<String> {
        names_of_ous(self.path.0.iter().map(|unit| (unit.id.as_str(), unit.name.as_str())))
    }

    /// The value of a tag of the account and of each OU above it, by id; `None` where there is none.
    pub fn tags_of_all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
        let of_units = self.unit_tags.iter().map(|(id, tags)| (id.as_str(), tags));
        let all = std::iter::once((self.account.id.as_str(), &self.tags)).chain(of_units);
        all.map(move |(id, tags)| (id, tags.get(key).map(String::as_str)))
    }

    /// Why no work is done in it, if none is.
    #[must_use]
    pub fn unfit(&self) -> Option<Hold> {
        match &self.account.state {
            AccountState::Active => None,
            AccountState::Other(state) => {
                Some(hold("account-not-active", format!("account {} is {state}: Cordon works in ACTIVE accounts only", self.account.id)))
            }
        }
    }
}

/// What is known of an OU or the root. One read serves all accounts below it.
#[derive(Debug)]
struct UnitFacts {
    name: String,
    tags: BTreeMap<String, String>,
    /// What it hangs under; the root under nothing.
    above: Option<Parent>,
    read_at: Timestamp,
}

/// Reads the organization. Cheap to clone.
#[derive(Clone)]
pub struct Org {
    sessions: Sessions,
    clock: Arc<dyn Clock>,
    tag_key: Arc<str>,
    accounts: Cache<AccountId, Arc<AccountFacts>>,
    units: Cache<String, Arc<UnitFacts>>,
}

impl std::fmt::Debug for Org {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Org").field("accounts", &self.accounts.entry_count()).finish_non_exhaustive()
    }
}

impl Org {
    /// Reads through `sessions`; opt-outs are tags with the key `tag_key`.
    #[must_use]
    pub fn new(sessions: Sessions, clock: Arc<dyn Clock>, tag_key: &str) -> Self {
        Self {
            sessions,
            clock,
            tag_key: tag_key.into(),
            accounts: Cache::builder().max_capacity(KEPT).time_to_live(FRESH).build(),
            units: Cache::builder().max_capacity(KEPT).time_to_live(FRESH).build(),
        }
    }

    /// What is known of an account, not older than [`FRESH`].
    ///
    /// # Errors
    /// [`OrgError::Passing`] when it may work in a moment, [`OrgError::Unfit`] when a person has to look.
    pub async fn facts(&self, account: &AccountId) -> Result<Arc<AccountFacts>, OrgError> {
        self.accounts.try_get_with(account.clone(), self.read(account)).await.map_err(|error: Arc<OrgError>| (*error).clone())
    }

    /// What a test says of an account, for as long as a read counts.
    #[cfg(test)]
    pub(crate) async fn know(&self, facts: AccountFacts) {
        self.accounts.insert(facts.account.id.clone(), Arc::new(facts)).await;
    }

    /// All accounts of the organization, read anew.
    ///
    /// # Errors
    /// As [`Org::facts`].
    pub async fn accounts(&self) -> Result<Vec<Account>, OrgError> {
        let clients =
            self.sessions.organization().await.map_err(|error| sorted(OrganizationError::Other(ActionError::Session(error)), None))?;
        organization::list_accounts(&clients).await.map_err(|error| sorted(error, None))
    }

    /// Whether the organization has an OU of this id or path ([`organization::has_unit`]), read anew.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub async fn has_ou(&self, called: &str) -> Result<bool, OrganizationError> {
        let clients = self.sessions.organization().await.map_err(|error| OrganizationError::Other(ActionError::Session(error)))?;
        organization::has_unit(&clients, called).await
    }

    async fn read(&self, id: &AccountId) -> Result<Arc<AccountFacts>, OrgError> {
        let mut read_at = self.clock.now();
        let wrong = |error| sorted(error, Some(id));
        let clients = self.sessions.organization().await.map_err(|error| wrong(OrganizationError::Other(ActionError::Session(error))))?;
        let account = organization::account(&clients, id).await.map_err(wrong)?;
        let tags = organization::account_tags(&clients, id).await.map_err(wrong)?;
        let mut opt_outs: Vec<OptOutFact> = Vec::new();
        if let Some(value) = tags.get(&*self.tag_key) {
            opt_outs.push(OptOutFact { id: id.to_string(), whose: format!("account {id}"), value: value.clone(), since: None });
        }
        let (mut path, mut unit_tags) = (Vec::new(), BTreeMap::new());
        let mut above = Some(organization::parent(&clients, id.as_str()).await.map_err(wrong)?);
        while let Some(parent) = above {
            if path.len() > organization::DEPTH {
                let why = format!("no root above {id} after {} levels", organization::DEPTH);
                return Err(wrong(OrganizationError::Unusable { call: "organizations:ListParents", why }));
            }
            let read = self.read_unit(&clients, &parent, id);
            let unit = self.units.try_get_with(parent.id().to_owned(), read).await.map_err(|error| (*error).clone())?;
            read_at = read_at.min(unit.read_at);
            if let Some(value) = unit.tags.get(&*self.tag_key) {
                let whose = format!("OU {} ({})", unit.name, parent.id());
                opt_outs.push(OptOutFact { id: parent.id().to_owned(), whose, value: value.clone(), since: None });
            }
            unit_tags.insert(parent.id().to_owned(), unit.tags.clone());
            path.push(Unit { id: parent.id().to_owned(), name: unit.name.clone() });
            above = unit.above.clone();
        }
        path.reverse();
        let path = OuPath(path);
        Ok(Arc::new(AccountFacts { account, path, tags, unit_tags, opt_outs, read_at }))
    }
}

impl Org {
    async fn read_unit(&self, clients: &Clients, unit: &Parent, below: &AccountId) -> Result<Arc<UnitFacts>, OrgError> {
        let wrong = |error| sorted(error, Some(below));
        let read_at = self.clock.now();
        let tags = organization::ou_tags(clients, unit.id()).await.map_err(wrong)?;
        let (name, above) = match unit {
            Parent::Root(_) => ("Root".to_owned(), None),
            Parent::Unit(id) => {
                let name = organization::ou_name(clients, id).await.map_err(wrong)?;
                (name, Some(organization::parent(clients, id).await.map_err(wrong)?))
            }
        };
        Ok(Arc::new(UnitFacts { name, tags, above, read_at }))
    }
}

/// Unknown is no: what does not pass by itself holds the work.
fn sorted(error: OrganizationError, account: Option<&AccountId>) -> OrgError {
    if error.may_pass() {
        return OrgError::Passing(error.to_string());
    }
    OrgError::Unfit(match (&error, account) {
        (OrganizationError::Outside(_), Some(account)) => {
            hold("outside-organization", format!("account {account} is not in the organization"))
        }
        _ => hold("organization-unreadable", format!("the organization cannot be read, so opt-outs are unknown: {error}")),
    })
}
