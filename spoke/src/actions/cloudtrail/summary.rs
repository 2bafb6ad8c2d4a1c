//! What the records of a principal add up to.

use std::collections::BTreeMap;

use cordon_shared::trail::Record;
use jiff::Timestamp;
use serde::Serialize;

/// Most addresses.
const SOURCES: usize = 100;
/// Most programs' names, and how long one may be.
const AGENTS: (usize, usize) = (20, 200);
/// Most calls that were denied, each with its reason once.
const DENIED: usize = 100;
/// Most things that were made, and most roles.
const MADE: usize = 200;
/// Most single calls.
const CALLS: usize = 200;

/// Calls of one service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Service {
    /// `iam`.
    pub service: String,
    /// How many.
    pub calls: usize,
    /// How many of them were denied.
    pub denied: usize,
}

/// Calls from one address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct From {
    /// The address; of calls that an AWS service made for the principal the service's name.
    pub address: String,
    /// How many.
    pub calls: usize,
    /// The first.
    pub first: Option<Timestamp>,
    /// The last.
    pub last: Option<Timestamp>,
}

/// A call that was denied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Denied {
    /// `iam:CreateUser`.
    pub call: String,
    /// How often.
    pub count: usize,
    /// The first time.
    pub first: Option<Timestamp>,
    /// AWS's code.
    pub error: String,
}

/// Something that was made or opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Created {
    /// `user`, `access-key`, `role`, `login-profile`, `policy`, `instance`, …
    pub kind: String,
    /// Its id, name or ARN.
    pub id: String,
    /// When.
    pub at: Option<Timestamp>,
    /// By which call.
    pub by_call: String,
    /// CloudTrail's id of the record.
    pub event_id: String,
}

/// A role that was assumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Assumed {
    /// The role.
    pub role_arn: String,
    /// The session's name.
    pub session: Option<String>,
    /// The access key that was handed out.
    pub access_key_id: Option<String>,
    /// When.
    pub at: Option<Timestamp>,
    /// From which address.
    pub from: Option<String>,
}

/// One call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Call {
    /// When.
    pub at: Option<Timestamp>,
    /// `ec2:RunInstances`.
    pub call: String,
    /// The Region.
    pub region: Option<String>,
    /// From which address.
    pub source: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// CloudTrail's id of the record.
    pub event_id: String,
}

/// What the records add up to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// How many records.
    pub events: usize,
    /// Time of the first.
    pub first: Option<Timestamp>,
    /// Time of the last.
    pub last: Option<Timestamp>,
    /// Services that were called, those called most first.
    pub services: Vec<Service>,
    /// Regions that were called.
    pub regions: Vec<String>,
    /// Where the calls came from, those with most calls first; at most 100.
    pub sources: Vec<From>,
    /// What the programs called themselves; at most 20.
    pub user_agents: Vec<String>,
    /// Calls that were denied; at most 100.
    pub denied: Vec<Denied>,
    /// What was made or opened; at most 200.
    pub created: Vec<Created>,
    /// Roles that were assumed; at most 200.
    pub assumed_roles: Vec<Assumed>,
    /// The calls, those that change something or were denied first; at most 200. All of them are in the evidence.
    pub calls: Vec<Call>,
    /// Calls that are not in `calls`.
    pub calls_left_out: usize,
}

impl Summary {
    /// Adds up records, which are in the order of time.
    pub fn of(records: &[Record]) -> Self {
        let times = || records.iter().filter_map(|record| record.at);
        let mut regions: Vec<String> = records.iter().filter_map(|record| record.region.clone()).collect();
        regions.sort();
        regions.dedup();
        let mut calls: Vec<&Record> = records.iter().collect();
        // Stable: within both halves the order of time stays.
        calls.sort_by_key(|record| record.read_only && !record.is_denied() && record.role.is_none());
        let made = |record: &'_ Record| -> Vec<Created> {
            let created = |made: &cordon_shared::trail::Made| Created {
                kind: made.kind.clone(),
                id: made.id.clone(),
                at: record.at,
                by_call: record.call(),
                event_id: record.id.clone(),
            };
            record.made.iter().map(created).collect()
        };
        Self {
            events: records.len(),
            first: times().min(),
            last: times().max(),
            services: services(records),
            regions,
            sources: sources(records),
            user_agents: agents(records),
            denied: denied(records),
            created: records.iter().flat_map(made).take(MADE).collect(),
            assumed_roles: records.iter().filter_map(assumed).take(MADE).collect(),
            calls_left_out: records.len().saturating_sub(CALLS),
            calls: calls.into_iter().take(CALLS).map(call).collect(),
        }
    }
}

fn services(records: &[Record]) -> Vec<Service> {
    let mut found: BTreeMap<&str, Service> = BTreeMap::new();
    for record in records {
        let service = found.entry(record.service()).or_default();
        service.calls += 1;
        service.denied += usize::from(record.is_denied());
    }
    let named = |(name, service): (&str, Service)| Service { service: name.to_owned(), ..service };
    let mut found: Vec<Service> = found.into_iter().map(named).collect();
    found.sort_by_key(|service| std::cmp::Reverse(service.calls));
    found
}

fn sources(records: &[Record]) -> Vec<From> {
    let mut found: BTreeMap<&str, From> = BTreeMap::new();
    for record in records {
        let Some(address) = record.address.as_deref() else { continue };
        let from = found.entry(address).or_default();
        from.calls += 1;
        if let Some(at) = record.at {
            from.first = Some(from.first.map_or(at, |first| first.min(at)));
            from.last = Some(from.last.map_or(at, |last| last.max(at)));
        }
    }
    let mut found: Vec<From> = found.into_iter().map(|(address, from)| From { address: address.to_owned(), ..from }).collect();
    found.sort_by_key(|from| std::cmp::Reverse(from.calls));
    found.truncate(SOURCES);
    found
}

fn agents(records: &[Record]) -> Vec<String> {
    let (most, long) = AGENTS;
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    for agent in records.iter().filter_map(|record| record.user_agent.as_deref()).filter(|agent| !agent.is_empty()) {
        let cut = agent.get(..agent.floor_char_boundary(long)).unwrap_or_default();
        *found.entry(cut.to_owned()).or_default() += 1;
    }
    let mut found: Vec<(String, usize)> = found.into_iter().collect();
    found.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    found.into_iter().map(|(agent, _)| agent).take(most).collect()
}

fn denied(records: &[Record]) -> Vec<Denied> {
    let mut found: Vec<Denied> = Vec::new();
    for record in records.iter().filter(|record| record.is_denied()) {
        let (call, error) = (record.call(), record.error.clone().unwrap_or_default());
        match found.iter().position(|denied| denied.call == call && denied.error == error) {
            Some(at) => found.iter_mut().skip(at).take(1).for_each(|denied| denied.count += 1),
            None if found.len() < DENIED => found.push(Denied { call, count: 1, first: record.at, error }),
            None => {}
        }
    }
    found
}

fn assumed(record: &Record) -> Option<Assumed> {
    let role = record.role.as_ref().filter(|_| record.assumes() && record.error.is_none())?;
    Some(Assumed {
        role_arn: role.arn.clone(),
        session: role.session.clone(),
        access_key_id: record.issued.as_ref().map(|issued| issued.access_key.clone()),
        at: record.at,
        from: record.address.clone(),
    })
}

fn call(record: &Record) -> Call {
    Call {
        at: record.at,
        call: record.call(),
        region: record.region.clone(),
        source: record.address.clone(),
        error: record.error.clone(),
        event_id: record.id.clone(),
    }
}
