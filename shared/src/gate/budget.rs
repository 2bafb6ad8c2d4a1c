//! Budgets: how much may be changed in a window before a person is asked. Spent means ask, never drop; the hard caps stay beneath.
//!
//! What a step uses is charged in the gate's transaction together with the decision, so that no two steps spend the same rest. A charge counts
//! from its time on for the window; a clock that goes back makes none younger.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Ask;
use crate::{
    engine::View,
    id::{AccountId, IncidentId},
    journal::{JournalError, Tx},
    plan::{Counts, Plan, StepKey},
};

/// Whose changes a budget counts together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// All of the organization.
    Organization,
    /// Each account by itself.
    EachAccount,
    /// One account.
    Account(AccountId),
    /// An OU or the root, with all below it.
    Unit(String),
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Organization => f.write_str("the organization"),
            Self::EachAccount => f.write_str("each account"),
            Self::Account(account) => write!(f, "account {account}"),
            Self::Unit(unit) => write!(f, "OU {unit}"),
        }
    }
}

impl Scope {
    /// Whether what happens in a place counts in it.
    fn holds(&self, place: &Place) -> bool {
        match self {
            Self::Organization | Self::EachAccount => true,
            Self::Account(account) => account.as_str() == place.account,
            Self::Unit(unit) => place.path.contains(unit),
        }
    }
}

/// A budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// Whose changes.
    pub scope: Scope,
    /// In how long a time.
    pub window: SignedDuration,
    /// What is counted.
    pub counts: Counts,
    /// How many; of a share in service, percent of a group. Zero: every such step asks.
    pub most: u32,
}

/// Where a step works.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The account.
    pub account: String,
    /// The ids of the root and the OUs above it, from the root down.
    pub path: Vec<String>,
}

/// Something that a step uses up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Use {
    /// Of which kind.
    pub counts: Counts,
    /// The resource; of a share in service, the group.
    pub resource: String,
    /// Of a share in service, what leaves the group; else empty.
    pub member: String,
    /// Of a share in service, how many were in service; else 0.
    pub of: u32,
}

/// What was charged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// When.
    pub at: Timestamp,
    /// To which run.
    pub run: IncidentId,
    /// To which step.
    pub step: StepKey,
    /// Where.
    pub place: Place,
    /// What was used.
    pub used: Use,
}

/// What of a budget is spent, in one account of its own or in the whole scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The account, where each has its own; the group, where a share of it is counted.
    pub whose: Option<String>,
    /// So many, or percent.
    pub spent: u32,
    /// By which incidents.
    pub by: BTreeSet<IncidentId>,
    /// When the next of it is free again.
    pub frees_at: Option<Timestamp>,
}

/// What the gate is told of budgets.
#[derive(Debug, Clone, Default)]
pub struct Spending {
    /// The budgets of the configuration.
    pub budgets: std::sync::Arc<[Budget]>,
    /// What the action's resources count as, besides resources changed.
    pub counts: &'static [Counts],
}

/// What a plan uses, of an action that counts as `counts`.
#[must_use]
pub fn uses(plan: &Plan, counts: &[Counts]) -> Vec<Use> {
    let plain = |counts: Counts, resource: &String| Use { counts, resource: resource.clone(), member: String::new(), of: 0 };
    let resources = plan.counted();
    let kinds = std::iter::once(Counts::Resources).chain(counts.iter().copied());
    let mut all: Vec<Use> = kinds.flat_map(|kind| resources.iter().map(move |resource| plain(kind, resource))).collect();
    if !plan.changes.is_empty() {
        all.extend(plan.shares.iter().map(|share| Use {
            counts: Counts::InService,
            resource: share.group.clone(),
            member: share.member.clone(),
            of: share.of,
        }));
    }
    all
}

/// How large a group is that members are taken out of, as its uses have seen it, the oldest first.
///
/// A share is of what was in service before anything was taken: no more than the group ever had in the window, so that replacements hide
/// nothing, and no more than it has now with what was taken before, so that a group that has been scaled in since counts as small as it is.
#[derive(Debug, Default)]
struct Size<'u> {
    largest: u32,
    newest: u32,
    /// Whom the newest size was seen with, and who was taken before.
    now: BTreeSet<&'u str>,
    before: BTreeSet<&'u str>,
}

impl<'u> Size<'u> {
    fn see(&mut self, used: &'u Use) {
        // Of a group without anybody in service nothing is taken.
        if used.of == 0 {
            return;
        }
        if used.of != self.newest {
            self.before.append(&mut self.now);
            self.newest = used.of;
        }
        self.now.insert(&used.member);
        self.largest = self.largest.max(used.of);
    }

    fn of(&self) -> u32 {
        self.largest.min(self.newest.saturating_add(u32::try_from(self.before.len()).unwrap_or(u32::MAX)))
    }
}

/// The size of each group of which members are counted.
fn sizes<'u>(uses: impl Iterator<Item = &'u Use>) -> BTreeMap<&'u str, u32> {
    let mut groups: BTreeMap<&str, Size<'_>> = BTreeMap::new();
    for used in uses {
        groups.entry(&used.resource).or_default().see(used);
    }
    groups.into_iter().map(|(group, size)| (group, size.of())).collect()
}

/// How much of a budget these uses are: distinct resources, or the greatest percentage of a group of these sizes, and which one that is.
fn amount<'u>(counts: Counts, uses: impl Iterator<Item = &'u Use>, sizes: &BTreeMap<&str, u32>) -> (u32, Option<&'u str>) {
    if counts != Counts::InService {
        let resources: BTreeSet<&str> = uses.map(|used| used.resource.as_str()).collect();
        return (u32::try_from(resources.len()).unwrap_or(u32::MAX), None);
    }
    let mut groups: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for used in uses {
        groups.entry(&used.resource).or_default().insert(&used.member);
    }
    let percent = |group: &str, members: &BTreeSet<&str>| {
        let taken = u32::try_from(members.len()).unwrap_or(u32::MAX);
        // Rounded up: a third is more than 33 %.
        match sizes.get(group) {
            None | Some(0) => 0,
            Some(of) => taken.saturating_mul(100).div_ceil(*of),
        }
    };
    let most = groups.iter().map(|(group, members)| (percent(group, members), *group)).max();
    most.map_or((0, None), |(percent, group)| (percent, Some(group)))
}

/// Why a person must be asked before these uses: the first budget that they would overspend.
///
/// # Errors
/// Those of the store.
pub fn spent(tx: &mut dyn Tx, budgets: &[Budget], place: &Place, wanted: &[Use], now: Timestamp) -> Result<Option<String>, JournalError> {
    for budget in budgets.iter().filter(|budget| budget.scope.holds(place)) {
        let mine: Vec<&Use> = wanted.iter().filter(|used| used.counts == budget.counts).collect();
        if mine.is_empty() {
            continue;
        }
        let charges = tx.charges(since(budget, now), budget.counts)?;
        for mine in apart(budget.counts, mine) {
            let charged = that_count(budget, &charges, place, &mine);
            let spent = || charged.iter().map(|charge| &charge.used);
            let sizes = sizes(spent().chain(mine.iter().copied()));
            let (before, _) = amount(budget.counts, spent(), &sizes);
            let (after, group) = amount(budget.counts, spent().chain(mine.iter().copied()), &sizes);
            // What was counted already costs nothing more, but where nothing is given nothing is free.
            if after > budget.most && (after > before || budget.most == 0) {
                let by: BTreeSet<IncidentId> = charged.iter().map(|charge| charge.run).collect();
                return Ok(Some(told(budget, before, after, group, &by)));
            }
        }
    }
    Ok(None)
}

/// What is held against a budget together: of shares those of one group, else all.
fn apart(counts: Counts, mine: Vec<&Use>) -> Vec<Vec<&Use>> {
    if counts != Counts::InService {
        return vec![mine];
    }
    let mut groups: BTreeMap<&str, Vec<&Use>> = BTreeMap::new();
    for used in mine {
        groups.entry(&used.resource).or_default().push(used);
    }
    groups.into_values().collect()
}

/// Of all charges of a budget's kind and window those that count together with these uses.
fn that_count<'c>(budget: &Budget, charges: &'c [Charge], place: &Place, mine: &[&Use]) -> Vec<&'c Charge> {
    // Of other groups nothing is taken now.
    let together = |charge: &Charge| budget.counts != Counts::InService || mine.iter().any(|used| used.resource == charge.used.resource);
    charges.iter().filter(|charge| counted(budget, charge, place) && together(charge)).collect()
}

/// How much of a budget is spent before these uses, in percent of it: 100 and more where nothing is left. `charged`: all of its kind in its
/// window. `None`: the uses do not count against it.
#[must_use]
pub fn spent_percent(budget: &Budget, charged: Vec<Charge>, place: &Place, wanted: &[Use]) -> Option<u32> {
    let mine: Vec<&Use> = wanted.iter().filter(|used| used.counts == budget.counts).collect();
    if mine.is_empty() || !budget.scope.holds(place) {
        return None;
    }
    let charged = that_count(budget, &charged, place, &mine);
    let spent = || charged.iter().map(|charge| &charge.used);
    let (before, _) = amount(budget.counts, spent(), &sizes(spent().chain(mine.iter().copied())));
    Some(before.saturating_mul(100).checked_div(budget.most).unwrap_or(100))
}

/// Since when charges count against a budget.
#[must_use]
pub fn since(budget: &Budget, now: Timestamp) -> Timestamp {
    now.checked_sub(budget.window).unwrap_or(Timestamp::MIN)
}

fn counted(budget: &Budget, charge: &Charge, place: &Place) -> bool {
    match budget.scope {
        Scope::EachAccount => charge.place.account == place.account,
        _ => budget.scope.holds(&charge.place),
    }
}

fn told(budget: &Budget, before: u32, after: u32, group: Option<&str>, by: &BTreeSet<IncidentId>) -> String {
    let window = format!("{:#}", budget.window);
    let by =
        if by.is_empty() { String::new() } else { format!(" by {}", by.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")) };
    match group {
        Some(group) => format!(
            "the budget of {} % of a group's members in service, in {window} in {}, is spent: {before} % of {group} was taken out{by}, and this \
             step would make it {after} %",
            budget.most, budget.scope
        ),
        None => format!(
            "the budget of {} {} in {window} in {} is spent: {before} were counted{by}, and this step would make it {after}",
            budget.most,
            budget.counts.words(),
            budget.scope
        ),
    }
}

/// Why the gate asks a person, for want of budget.
///
/// # Errors
/// Those of the store.
pub(super) fn asks(tx: &mut dyn Tx, view: &View, ask: &Ask, now: Timestamp) -> Result<Option<String>, JournalError> {
    if ask.uncounted || ask.spending.budgets.is_empty() {
        return Ok(None);
    }
    spent(tx, &ask.spending.budgets, &place(view, ask), &uses(&ask.plan, ask.spending.counts), now)
}

/// Charges a step that goes on.
///
/// # Errors
/// Those of the store.
pub(super) fn charge(tx: &mut dyn Tx, view: &View, ask: &Ask, now: Timestamp) -> Result<(), JournalError> {
    let place = place(view, ask);
    for used in if ask.uncounted { Vec::new() } else { uses(&ask.plan, ask.spending.counts) } {
        tx.charge(&Charge { at: now, run: view.run, step: ask.step.clone(), place: place.clone(), used })?;
    }
    Ok(())
}

fn place(view: &View, ask: &Ask) -> Place {
    Place { account: view.subject.cell.account.to_string(), path: ask.facts.path.clone() }
}

/// What of a budget is spent, from the charges of its kind. Never empty: a budget of which nothing is spent says so.
#[must_use]
pub fn standings(budget: &Budget, charges: &[Charge], now: Timestamp) -> Vec<Standing> {
    let since = since(budget, now);
    let mut parts: BTreeMap<Option<String>, Vec<&Charge>> = BTreeMap::new();
    for charge in
        charges.iter().filter(|charge| charge.used.counts == budget.counts && charge.at > since && budget.scope.holds(&charge.place))
    {
        let whose = match (budget.counts, &budget.scope) {
            (Counts::InService, _) => Some(charge.used.resource.clone()),
            (_, Scope::EachAccount) => Some(charge.place.account.clone()),
            _ => None,
        };
        parts.entry(whose).or_default().push(charge);
    }
    if parts.is_empty() {
        return vec![Standing { whose: None, spent: 0, by: BTreeSet::new(), frees_at: None }];
    }
    let standing = |(whose, charges): (Option<String>, Vec<&Charge>)| {
        // A resource that is charged again counts from its last time on.
        let mut last: BTreeMap<(&str, &str), Timestamp> = BTreeMap::new();
        for charge in &charges {
            let at = last.entry((&charge.used.resource, &charge.used.member)).or_insert(charge.at);
            *at = (*at).max(charge.at);
        }
        let uses = || charges.iter().map(|charge| &charge.used);
        Standing {
            whose,
            spent: amount(budget.counts, uses(), &sizes(uses())).0,
            by: charges.iter().map(|charge| charge.run).collect(),
            frees_at: last.values().min().and_then(|at| at.checked_add(budget.window).ok()),
        }
    };
    parts.into_iter().map(standing).collect()
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
