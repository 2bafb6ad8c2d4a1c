//! The backlog of a sweep: Security Hub's findings, page by page, and whose turn it is.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use cordon_shared::{
    finding::Finding,
    id::AccountId,
    intake::{self, Item, Origin},
};
use cordon_spoke::aws::findings::{Cursor, FindingsFilter, page};

use super::{
    super::{Failure, output},
    Sweep,
};
use crate::{driver::Hub, org::OrgError};

/// How often a page is asked for before the sweep gives up.
const TRIES: u32 = 10;

/// A finding of the backlog.
pub(super) struct Found {
    pub origin: Origin,
    pub finding: Box<Finding>,
}

/// The backlog as it is read.
pub(super) struct Backlog<'a> {
    hub: &'a Arc<Hub>,
    sweep: &'a Sweep,
    filter: FindingsFilter,
    at: Option<Cursor>,
    ready: VecDeque<Found>,
}

impl<'a> Backlog<'a> {
    pub fn new(hub: &'a Arc<Hub>, sweep: &'a Sweep) -> Self {
        Self { hub, sweep, filter: sweep.filter(), at: Some(Cursor::default()), ready: VecDeque::new() }
    }

    /// Whether nothing is left to read.
    pub fn is_read(&self) -> bool {
        self.at.is_none() && self.ready.is_empty()
    }

    /// The next finding, in Security Hub's order.
    pub async fn next(&mut self) -> Result<Option<Found>, Failure> {
        while self.ready.is_empty() && self.at.is_some() {
            self.read().await?;
        }
        Ok(self.ready.pop_front())
    }

    /// The findings of the page at hand, or of the next.
    pub async fn page(&mut self) -> Result<VecDeque<Found>, Failure> {
        if self.ready.is_empty() && self.at.is_some() {
            self.read().await?;
        }
        Ok(std::mem::take(&mut self.ready))
    }

    async fn read(&mut self) -> Result<(), Failure> {
        let Some(cursor) = self.at.clone() else { return Ok(()) };
        let clients = self.hub.sessions.hub(&self.hub.config.hub.home_region);
        let mut tries = 0_u32;
        let read = loop {
            match page(&clients, &self.filter, &cursor).await {
                Ok(read) => break read,
                Err(error) if error.may_pass() && tries < TRIES => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_secs(1 << tries.min(4))).await;
                }
                Err(error) => return Err(Failure::other(format!("Security Hub's findings cannot be read: {error}"))),
            }
        };
        for document in &read.documents {
            self.document(document).await?;
        }
        self.at = read.next;
        Ok(())
    }

    async fn document(&mut self, document: &[u8]) -> Result<(), Failure> {
        for (origin, item) in intake::items(document, "securityhub") {
            match item {
                Item::Rejected(rejection) => {
                    output::tell(&format!("{origin}: rejected {}: {}", rejection.code, crate::text::safe(&rejection.reason)));
                }
                Item::NotAFinding { .. } => {}
                Item::Finding(finding) => {
                    if in_ou(self.hub, self.sweep, &finding.cell.account).await? {
                        self.ready.push_back(Found { origin, finding });
                    }
                }
            }
        }
        Ok(())
    }
}

async fn in_ou(hub: &Hub, sweep: &Sweep, account: &AccountId) -> Result<bool, Failure> {
    if sweep.ou.is_empty() {
        return Ok(true);
    }
    match hub.org.facts(account).await {
        Ok(facts) => Ok(facts.path.0.iter().any(|unit| sweep.ou.iter().any(|ou| *ou == unit.id || *ou == unit.name))),
        Err(OrgError::Unfit(_)) => Ok(false),
        Err(OrgError::Passing(why)) => Err(Failure::other(format!("the OU of account {account} is unknown: {why}"))),
    }
}

/// Findings that wait for their account's turn.
#[derive(Default)]
pub(super) struct Turns {
    waiting: BTreeMap<AccountId, VecDeque<Found>>,
    count: usize,
    last: Option<AccountId>,
}

impl Turns {
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn extend(&mut self, found: impl IntoIterator<Item = Found>) {
        for found in found {
            self.count += 1;
            self.waiting.entry(found.finding.cell.account.clone()).or_default().push_back(found);
        }
    }

    /// The next finding that may be begun: of the account after the last, if fewer than `share` of its incidents run. What is at its
    /// share keeps no room from the others; they have `at_a_time` together. An account that alone has something waiting, with no `more` to
    /// be read of others, may have all of the room.
    pub fn next(&mut self, running: &BTreeMap<String, u64>, share: u64, at_a_time: u64, more: bool) -> Option<Found> {
        let of = |account: &AccountId| running.get(account.as_str()).copied().unwrap_or_default();
        let together: u64 = running.values().filter(|count| **count < share).sum();
        let all: u64 = running.values().sum();
        let alone = self.waiting.len() == 1 && !more;
        let may = |account: &AccountId| (of(account) < share && together < at_a_time) || (alone && all < at_a_time);
        let after =
            self.waiting.keys().filter(|account| self.last.as_ref().is_some_and(|last| *account > last)).find(|account| may(account));
        let account = after.or_else(|| self.waiting.keys().find(|account| may(account))).cloned()?;
        let queue = self.waiting.get_mut(&account)?;
        let found = queue.pop_front();
        if queue.is_empty() {
            self.waiting.remove(&account);
        }
        self.count -= usize::from(found.is_some());
        self.last = Some(account);
        found
    }
}
