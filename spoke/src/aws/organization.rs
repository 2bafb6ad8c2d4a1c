//! AWS Organizations: accounts, where they hang in the tree, their tags, and who administers what.
//!
//! Every function reads live; caching, single flight and the 60 seconds of an opt-out's age are the caller's. The clients are
//! those of the delegated administrator, or of the reader role in the management account.

mod unit;

use std::{collections::BTreeMap, fmt, future::Future, time::Duration};

use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use cordon_shared::id::AccountId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
pub use unit::has_unit;

use super::patiently;
use crate::{
    action::{ActionError, classify},
    permission::Permission,
    session::Clients,
};

/// What this port calls. Organizations has no Region in its ARNs, and its resources carry the management account's id:
/// reads are given on all of it.
pub const READS: &[Permission] = &[
    Permission::new("organizations:DescribeOrganization", "*"),
    Permission::new("organizations:DescribeOrganizationalUnit", "*"),
    Permission::new("organizations:DescribeAccount", "*"),
    Permission::new("organizations:ListAccounts", "*"),
    Permission::new("organizations:ListDelegatedAdministrators", "*"),
    Permission::new("organizations:ListOrganizationalUnitsForParent", "*"),
    Permission::new("organizations:ListParents", "*"),
    Permission::new("organizations:ListRoots", "*"),
    Permission::new("organizations:ListTagsForResource", "*"),
];

/// Deepest tree: a root and five levels of OUs
/// (<https://docs.aws.amazon.com/organizations/latest/userguide/orgs_reference_limits.html>, "OU maximum nesting in a root").
pub const DEPTH: usize = 6;
/// How long one page may wait for the rate limit.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 60 });

/// Why the organization could not be read.
#[derive(Debug, thiserror::Error)]
pub enum OrganizationError {
    /// The account that asks is in no organization.
    #[error("the account that asks is not in an organization")]
    NotInUse,
    /// Nothing of that id is in the organization.
    #[error("`{0}` is not in the organization")]
    Outside(String),
    /// The organization shows nothing to the account that asks: it is no delegated administrator of any service.
    #[error(
        "{call} answered without any account: the hub's account is not a delegated administrator; register it, or name a role of the management account in `[org] read_role`"
    )]
    Blind {
        /// The call.
        call: &'static str,
    },
    /// AWS refused the call.
    #[error(
        "access denied to {call}: {message}; register the hub's account as delegated administrator, or name a role of the management account in `[org] read_role`"
    )]
    Denied {
        /// The call.
        call: &'static str,
        /// AWS's words.
        message: String,
    },
    /// AWS throttled it, or the limiter had no token for a minute.
    #[error("{call} is throttled: {message}")]
    Throttled {
        /// The call.
        call: &'static str,
        /// AWS's words, or the limiter's.
        message: String,
    },
    /// An answer that makes no sense: a missing id, a tree that does not end.
    #[error("{call} answered what cannot be used: {why}")]
    Unusable {
        /// The call.
        call: &'static str,
        /// What is wrong.
        why: String,
    },
    /// Anything else.
    #[error(transparent)]
    Other(ActionError),
}

impl OrganizationError {
    /// Whether the same may work later without anybody doing anything.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Throttled { .. } => true,
            Self::Other(error) => error.may_pass(),
            _ => false,
        }
    }
}

/// Whether an account can be worked in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccountState {
    /// `ACTIVE`.
    Active,
    /// Any other, as AWS writes it: `SUSPENDED`, `CLOSED`, `PENDING_CLOSURE`, `PENDING_ACTIVATION`, or one of tomorrow.
    Other(String),
}

impl AccountState {
    /// Reads `State`, and where that is missing the older `Status`, which AWS retires
    /// (<https://docs.aws.amazon.com/organizations/latest/APIReference/API_Account.html>). Neither: not active.
    fn read(state: Option<&str>, status: Option<&str>) -> Self {
        match state.or(status) {
            Some("ACTIVE") => Self::Active,
            Some(other) => Self::Other(other.to_owned()),
            None => Self::Other("UNKNOWN".to_owned()),
        }
    }
}

/// An account of the organization. Its e-mail address is not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// Its name.
    pub name: String,
    /// Whether it can be worked in.
    pub state: AccountState,
    /// When it joined.
    pub joined: Option<Timestamp>,
}

/// An organizational unit, or the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// `ou-…` or `r-…`.
    pub id: String,
    /// Its name; the root is `Root`.
    pub name: String,
}

/// Where an account hangs: from the root down to the OU that holds it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OuPath(pub Vec<Unit>);

impl OuPath {
    /// The ids, from the root down.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|unit| unit.id.as_str())
    }
}

impl fmt::Display for OuPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, unit) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("/")?;
            }
            f.write_str(&unit.name)?;
        }
        Ok(())
    }
}

/// What an account or an OU hangs under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parent {
    /// The root.
    Root(String),
    /// An OU.
    Unit(String),
}

impl Parent {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Root(id) | Self::Unit(id) => id,
        }
    }
}

/// A delegated administrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Administrator {
    /// The account.
    pub account: AccountId,
    /// Its name.
    pub name: String,
    /// Whether it can be worked in.
    pub state: AccountState,
}

/// The organization itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organization {
    /// `o-…`.
    pub id: String,
    /// The management account.
    pub management: AccountId,
}

/// Sorts an error. The codes are those of the API reference: `ChildNotFoundException` from ListParents,
/// `AccountNotFoundException` from DescribeAccount, `TargetNotFoundException` from ListTagsForResource.
fn sort<E, R>(call: &'static str, about: &str, error: SdkError<E, R>) -> OrganizationError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: fmt::Debug + Send + Sync + 'static,
{
    match error.code() {
        Some("AWSOrganizationsNotInUseException") => return OrganizationError::NotInUse,
        Some("AccountNotFoundException" | "ChildNotFoundException" | "TargetNotFoundException" | "OrganizationalUnitNotFoundException") => {
            return OrganizationError::Outside(about.to_owned());
        }
        _ => {}
    }
    other(call, classify(call, error))
}

fn other(call: &'static str, error: ActionError) -> OrganizationError {
    match error {
        ActionError::Denied(denied) => OrganizationError::Denied { call, message: denied.message },
        ActionError::Throttled { message, .. } | ActionError::NotSent(message) => OrganizationError::Throttled { call, message },
        error => OrganizationError::Other(error),
    }
}

/// One call, waiting for the rate limit.
async fn ask<T, E, R, F>(call: &'static str, about: &str, mut send: impl FnMut() -> F) -> Result<T, OrganizationError>
where
    F: Future<Output = Result<T, SdkError<E, R>>>,
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: fmt::Debug + Send + Sync + 'static,
{
    let result = patiently(PATIENCE, || {
        let sent = send();
        async {
            match sent.await {
                Ok(answer) => Ok(Ok(answer)),
                Err(error) => match sort(call, about, error) {
                    // What waiting helps against goes back to `patiently`.
                    OrganizationError::Throttled { call, message } => Err(ActionError::Throttled { call: call.to_owned(), message }),
                    error => Ok(Err(error)),
                },
            }
        }
    })
    .await;
    result.unwrap_or_else(|error| Err(other(call, error)))
}

/// The next page's token; one that does not move on is an error instead of a loop.
fn next(call: &'static str, now: Option<&String>, token: Option<&str>) -> Result<Option<String>, OrganizationError> {
    match token {
        Some(token) if !token.is_empty() && now.map(String::as_str) == Some(token) => {
            Err(OrganizationError::Unusable { call, why: "the same page again".to_owned() })
        }
        token => Ok(token.filter(|token| !token.is_empty()).map(str::to_owned)),
    }
}

fn account_id(call: &'static str, text: Option<&str>) -> Result<AccountId, OrganizationError> {
    text.unwrap_or_default().parse().map_err(|error| OrganizationError::Unusable { call, why: format!("{error}") })
}

fn time(at: Option<&aws_smithy_types::DateTime>) -> Option<Timestamp> {
    at.and_then(|at| at.to_millis().ok()).and_then(|millis| Timestamp::from_millisecond(millis).ok())
}

/// All accounts of the organization. An empty answer is an error: AWS shows at least the management account to who may ask.
///
/// # Errors
/// [`OrganizationError`].
pub async fn list_accounts(clients: &Clients) -> Result<Vec<Account>, OrganizationError> {
    read_accounts(&clients.organizations()).await
}

async fn read_accounts(client: &aws_sdk_organizations::Client) -> Result<Vec<Account>, OrganizationError> {
    const CALL: &str = "organizations:ListAccounts";
    let (mut accounts, mut token) = (Vec::new(), None);
    loop {
        let answer = ask(CALL, "", || client.list_accounts().set_next_token(token.clone()).send()).await?;
        for account in answer.accounts() {
            accounts.push(to_account(CALL, account)?);
        }
        token = next(CALL, token.as_ref(), answer.next_token())?;
        if token.is_none() {
            break;
        }
    }
    if accounts.is_empty() { Err(OrganizationError::Blind { call: CALL }) } else { Ok(accounts) }
}

fn to_account(call: &'static str, account: &aws_sdk_organizations::types::Account) -> Result<Account, OrganizationError> {
    let status = account.status().map(aws_sdk_organizations::types::AccountStatus::as_str);
    Ok(Account {
        id: account_id(call, account.id())?,
        name: account.name().unwrap_or_default().to_owned(),
        state: AccountState::read(account.state().map(aws_sdk_organizations::types::AccountState::as_str), status),
        joined: time(account.joined_timestamp()),
    })
}

/// One account, live.
///
/// # Errors
/// [`OrganizationError::Outside`] when it is not in the organization.
pub async fn account(clients: &Clients, account: &AccountId) -> Result<Account, OrganizationError> {
    const CALL: &str = "organizations:DescribeAccount";
    let client = clients.organizations();
    let answer = ask(CALL, account.as_str(), || client.describe_account().account_id(account.as_str()).send()).await?;
    let found = answer.account().ok_or_else(|| OrganizationError::Unusable { call: CALL, why: "no account in it".to_owned() })?;
    to_account(CALL, found)
}

/// What an account or an OU hangs under, live.
///
/// # Errors
/// [`OrganizationError::Outside`] when there is no such account or OU in the organization.
pub async fn parent(clients: &Clients, child: &str) -> Result<Parent, OrganizationError> {
    read_parent(&clients.organizations(), child).await
}

async fn read_parent(client: &aws_sdk_organizations::Client, child: &str) -> Result<Parent, OrganizationError> {
    const CALL: &str = "organizations:ListParents";
    let mut token = None;
    loop {
        let answer = ask(CALL, child, || client.list_parents().child_id(child).set_next_token(token.clone()).send()).await?;
        // A child has one parent at most, but a page may be empty and followed by another.
        if let Some(parent) = answer.parents().first() {
            let id = parent.id().unwrap_or_default().to_owned();
            return match parent.r#type().map(aws_sdk_organizations::types::ParentType::as_str) {
                Some("ROOT") if !id.is_empty() => Ok(Parent::Root(id)),
                Some("ORGANIZATIONAL_UNIT") if !id.is_empty() => Ok(Parent::Unit(id)),
                other => Err(OrganizationError::Unusable { call: CALL, why: format!("a parent `{id}` of type {other:?}") }),
            };
        }
        token = next(CALL, token.as_ref(), answer.next_token())?;
        if token.is_none() {
            return Err(OrganizationError::Blind { call: CALL });
        }
    }
}

/// The name of an OU.
///
/// # Errors
/// [`OrganizationError`].
pub async fn ou_name(clients: &Clients, ou: &str) -> Result<String, OrganizationError> {
    read_name(&clients.organizations(), ou).await
}

async fn read_name(client: &aws_sdk_organizations::Client, ou: &str) -> Result<String, OrganizationError> {
    const CALL: &str = "organizations:DescribeOrganizationalUnit";
    let answer = ask(CALL, ou, || client.describe_organizational_unit().organizational_unit_id(ou).send()).await?;
    let name = answer.organizational_unit().and_then(|unit| unit.name());
    name.map(str::to_owned).ok_or_else(|| OrganizationError::Unusable { call: CALL, why: "an OU without a name".to_owned() })
}

/// Where an account hangs, by walking up to the root: live, one call a level and one for each name. Who walks for many accounts
/// keeps [`parent`] and [`ou_name`] of the OUs.
///
/// # Errors
/// [`OrganizationError::Outside`] when the account is not in the organization.
pub async fn ou_path(clients: &Clients, account: &AccountId) -> Result<OuPath, OrganizationError> {
    walk(&clients.organizations(), account).await
}

async fn walk(client: &aws_sdk_organizations::Client, account: &AccountId) -> Result<OuPath, OrganizationError> {
    let (mut path, mut child) = (Vec::new(), account.to_string());
    for _ in 0..=DEPTH {
        match read_parent(client, &child).await? {
            Parent::Root(id) => {
                path.push(Unit { id, name: "Root".to_owned() });
                path.reverse();
                return Ok(OuPath(path));
            }
            Parent::Unit(id) => {
                path.push(Unit { name: read_name(client, &id).await?, id: id.clone() });
                child = id;
            }
        }
    }
    Err(OrganizationError::Unusable { call: "organizations:ListParents", why: format!("no root above {account} after {DEPTH} levels") })
}

/// The tags of an account, live.
///
/// # Errors
/// [`OrganizationError::Outside`] when it is not in the organization.
pub async fn account_tags(clients: &Clients, account: &AccountId) -> Result<BTreeMap<String, String>, OrganizationError> {
    read_tags(&clients.organizations(), account.as_str()).await
}

/// The tags of an OU or of the root, live.
///
/// # Errors
/// [`OrganizationError`].
pub async fn ou_tags(clients: &Clients, ou: &str) -> Result<BTreeMap<String, String>, OrganizationError> {
    read_tags(&clients.organizations(), ou).await
}

async fn read_tags(client: &aws_sdk_organizations::Client, resource: &str) -> Result<BTreeMap<String, String>, OrganizationError> {
    const CALL: &str = "organizations:ListTagsForResource";
    let (mut tags, mut token) = (BTreeMap::new(), None);
    loop {
        let answer =
            ask(CALL, resource, || client.list_tags_for_resource().resource_id(resource).set_next_token(token.clone()).send()).await?;
        tags.extend(answer.tags().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())));
        token = next(CALL, token.as_ref(), answer.next_token())?;
        if token.is_none() {
            return Ok(tags);
        }
    }
}

/// The delegated administrators of a service (`securityhub.amazonaws.com`), or of any.
///
/// # Errors
/// [`OrganizationError`].
pub async fn delegated_administrators(clients: &Clients, service: Option<&str>) -> Result<Vec<Administrator>, OrganizationError> {
    const CALL: &str = "organizations:ListDelegatedAdministrators";
    let client = clients.organizations();
    let (mut found, mut token) = (Vec::new(), None);
    loop {
        let service = service.map(str::to_owned);
        let request = || client.list_delegated_administrators().set_service_principal(service.clone()).set_next_token(token.clone()).send();
        let answer = ask(CALL, "", request).await?;
        for one in answer.delegated_administrators() {
            let status = one.status().map(aws_sdk_organizations::types::AccountStatus::as_str);
            found.push(Administrator {
                account: account_id(CALL, one.id())?,
                name: one.name().unwrap_or_default().to_owned(),
                state: AccountState::read(one.state().map(aws_sdk_organizations::types::AccountState::as_str), status),
            });
        }
        token = next(CALL, token.as_ref(), answer.next_token())?;
        if token.is_none() {
            return Ok(found);
        }
    }
}

/// The organization and its management account.
///
/// # Errors
/// [`OrganizationError::NotInUse`] when the account is in none.
pub async fn organization(clients: &Clients) -> Result<Organization, OrganizationError> {
    const CALL: &str = "organizations:DescribeOrganization";
    let client = clients.organizations();
    let answer = ask(CALL, "", || client.describe_organization().send()).await?;
    let found = answer.organization().ok_or_else(|| OrganizationError::Unusable { call: CALL, why: "no organization in it".to_owned() })?;
    Ok(Organization { id: found.id().unwrap_or_default().to_owned(), management: account_id(CALL, found.master_account_id())? })
}

#[cfg(test)]
mod tests;
