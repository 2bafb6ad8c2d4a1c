//! `securityhub.related-findings`: what else is known about the same instance, key, role or source, in Security Hub and in GuardDuty.
//!
//! Hub seat: `Cx::cell` is the hub's account in Security Hub's aggregation Region; GuardDuty is asked in every configured Region, through the
//! account's own detector there, for findings leave their Region only in Security Hub, which some do late. Copies of one finding are one,
//! by its provider's own identity. Titles and names are others' text: data, never more.
//!
//! A place that cannot be asked is named with its problem: "nothing else" is only said of places that were looked at.

mod places;
mod topic;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, net::IpAddr};

use cordon_shared::{
    finding::{Finding, Format, Provider},
    id::{AccountId, Region},
    plan::Seat,
};
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};

use crate::{
    action::{ActionError, Cx, Found, ParamsError, Probe},
    permission::Permission,
};
use places::Read;
use topic::{Share, Topic};

/// Most findings in the outcome, and most that are read from one place.
const MOST: usize = 200;
/// Longest title that is kept in the outcome, in characters; the raw document has all of it.
const TITLE: usize = 300;
/// How far back at most: Security Hub and GuardDuty keep findings for 90 days
/// (<https://docs.aws.amazon.com/securityhub/latest/userguide/securityhub-findings.html>,
/// <https://docs.aws.amazon.com/guardduty/latest/ug/guardduty_findings.html>).
const LONGEST: u32 = 90 * 24;

/// What the findings have to be about.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Resources: ARNs, or the ids of instances and the names of roles and users.
    #[serde(default)]
    pub subjects: Vec<String>,
    /// Access key ids, of users and of sessions.
    #[serde(default)]
    pub access_keys: Vec<String>,
    /// Addresses of the other side.
    #[serde(default)]
    pub sources: Vec<IpAddr>,
    /// The finding that is known already.
    #[serde(default)]
    pub except: Option<String>,
    /// The account whose findings are looked through.
    pub account: AccountId,
    /// How many hours back, by the provider's last update: 1 to 2,160.
    #[serde(default = "three_days")]
    pub hours: u32,
}

fn three_days() -> u32 {
    72
}

/// A finding that has something in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Related {
    /// The provider's own name for it.
    pub id: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The provider's severity, 0 to 100.
    pub severity: u8,
    /// Its title: others' text.
    pub title: String,
    /// Its account.
    pub account: AccountId,
    /// Its Region; `global` for a finding about a principal.
    pub region: Region,
    /// What it is about.
    pub subject: String,
    /// When the provider first saw it.
    pub first_seen: Option<Timestamp>,
    /// When the provider last saw it.
    pub last_seen: Option<Timestamp>,
    /// What it has in common.
    pub shares: Vec<Share>,
    /// Who observed it.
    pub provider: Provider,
    /// Whether its provider has archived it.
    pub archived: bool,
}

/// A place that was looked in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Looked {
    /// `Security Hub in us-east-1`.
    pub place: String,
    /// How many findings with something in common it has.
    pub found: usize,
    /// Why it was not looked through, or not wholly.
    pub problem: Option<String>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Findings, the last seen first; at most 200.
    pub findings: Vec<Related>,
    /// Where.
    pub looked_in: Vec<Looked>,
    /// Whether there may be more: then this is no complete list.
    pub truncated: bool,
}

/// The probe.
#[derive(Debug, Clone, Copy, Default)]
pub struct RelatedFindings;

/// A finding and what it has in common.
struct Match {
    finding: Finding,
    shares: Vec<Share>,
}

impl Match {
    fn related(&self) -> Related {
        let Finding { id, provider, kind, title, severity, cell, first_seen, last_seen, archived, .. } = &self.finding;
        Related {
            id: id.0.clone(),
            kind: kind.clone(),
            severity: *severity,
            title: title.chars().take(TITLE).collect(),
            account: cell.account.clone(),
            region: cell.region.clone(),
            subject: self.finding.subject().map(|subject| subject.name().to_owned()).unwrap_or_default(),
            first_seen: *first_seen,
            last_seen: *last_seen,
            shares: self.shares.clone(),
            provider: *provider,
            archived: *archived,
        }
    }
}

/// Takes a copy of a finding in: the provider's own document says more than Security Hub's copy of it.
fn take(known: &mut BTreeMap<String, Match>, copy: Match) {
    match known.get_mut(&copy.finding.id.0) {
        None => drop(known.insert(copy.finding.id.0.clone(), copy)),
        Some(first) => {
            let shares = first.shares.iter().chain(&copy.shares).copied().collect::<std::collections::BTreeSet<_>>();
            if first.finding.format == Format::Asff && copy.finding.format != Format::Asff {
                *first = copy;
            }
            first.shares = shares.into_iter().collect();
        }
    }
}

impl Probe for RelatedFindings {
    const NAME: &'static str = "securityhub.related-findings";
    const ABOUT: &'static str = "Looks in Security Hub and GuardDuty for other findings on the same resource, key, role or source.";
    const SEAT: Seat = Seat::Hub;
    const READS: &'static [Permission] = crate::aws::findings::READS;
    type Params = Params;
    type Outcome = Outcome;

    async fn run(&self, cx: Cx<'_>, with: &Params) -> Result<Found<Outcome>, ActionError> {
        if !(1..=LONGEST).contains(&with.hours) {
            let why = format!("`hours` is {}; it is 1 to {LONGEST}, for findings are kept no longer", with.hours);
            return Err(ParamsError { action: Self::NAME, why }.into());
        }
        let now = cx.clock.now();
        let shift = |by: SignedDuration| now.checked_add(by).unwrap_or(now);
        // Clocks differ by a little.
        let span = (shift(SignedDuration::from_hours(-i64::from(with.hours))), shift(SignedDuration::from_mins(15)));
        let topic = Topic::new(cx, with);
        let reads = places::all(cx, &topic, span).await?;

        let mut known: BTreeMap<String, Match> = BTreeMap::new();
        let (mut looked_in, mut truncated) = (Vec::new(), false);
        for Read { place, documents, problem, cut_off } in reads {
            let (matches, unusable) = topic.matches(&documents, &place);
            let found = matches.iter().map(|found| found.finding.id.0.as_str()).collect::<std::collections::BTreeSet<_>>().len();
            matches.into_iter().for_each(|found| take(&mut known, found));
            truncated |= cut_off || problem.is_some() || unusable > 0;
            let unusable = (unusable > 0).then(|| format!("findings that cannot be read: {unusable}"));
            let problems: Vec<String> = problem.into_iter().chain(unusable).collect();
            looked_in.push(Looked { place, found, problem: Some(problems.join("; ")).filter(|text| !text.is_empty()) });
        }
        let mut matches: Vec<Match> = known.into_values().collect();
        matches.sort_by(|a, b| b.finding.last_seen.cmp(&a.finding.last_seen).then_with(|| a.finding.id.cmp(&b.finding.id)));
        truncated |= matches.len() > MOST;
        matches.truncate(MOST);

        let outcome = Outcome { findings: matches.iter().map(Match::related).collect(), looked_in, truncated };
        let raw = |found: &Match| {
            let text = String::from_utf8(found.finding.raw.bytes.to_vec()).unwrap_or_default();
            RawValue::from_string(text).ok()
        };
        let documents: Vec<Box<RawValue>> = matches.iter().filter_map(raw).collect();
        #[derive(Serialize)]
        struct Kept<'a> {
            account: &'a AccountId,
            asked: serde_json::Value,
            looked_in: &'a [Looked],
            truncated: bool,
            documents: Vec<Box<RawValue>>,
        }
        let asked =
            json!({ "subjects": with.subjects, "access_keys": with.access_keys, "sources": with.sources, "since": span.0, "until": now });
        let kept = Kept { account: &with.account, asked, looked_in: &outcome.looked_in, truncated, documents };
        let about = with.except.as_deref().or_else(|| with.subjects.first().map(String::as_str)).unwrap_or_else(|| with.account.as_str());
        let kept = cx.keep("related-findings", about, &kept).await?;
        Ok(Found { outcome, evidence: vec![kept] })
    }
}
