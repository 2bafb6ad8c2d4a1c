//! Since when, and by whose doing: from CloudTrail's event history.
//!
//! A rule is found again by its id, or where a record has none by what it says. Of what made the port reachable the last counts: the rule that
//! was opened first of those that are open, the launch of the instance, the association of its Elastic IP address. What the whole history does
//! not show is older than it.

use std::collections::BTreeSet;

use aws_sdk_cloudtrail::types::LookupAttributeKey;
use cordon_shared::trail::{Opening, Record, redact};
use ipnet::IpNet;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    OpenRule, Params,
    judge::Judged,
    part::{Parts, Seen},
};
use crate::{
    action::{ActionError, Cx},
    actions::{
        cloudtrail::search::{
            Window,
            history::{End, lookup, within},
        },
        ec2::close_open_ingress::{Body, Breadth, Source, Transport, breadth},
    },
};

/// How long CloudTrail is asked in all.
const TIME: std::time::Duration = std::time::Duration::from_secs(120);
/// Most groups that are asked about.
const GROUPS: usize = 10;
/// Most records that are kept.
const MOST: usize = 2_000;

/// Since when, and who did it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Since {
    /// When.
    pub at: Timestamp,
    /// What was done: the rule that was opened, the instance that was launched.
    pub what: String,
    /// Who.
    pub by: By,
}

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct By {
    /// The ARN of who called.
    pub arn: Option<String>,
    /// From which address.
    pub source_address: Option<String>,
    /// CloudTrail's id of the record.
    pub event_id: String,
    /// `ec2:AuthorizeSecurityGroupIngress`.
    pub call: String,
}

/// The records that were found.
#[derive(Default)]
struct History {
    records: Vec<Record>,
    raw: Vec<Value>,
    seen: BTreeSet<String>,
    problem: Option<String>,
}

impl History {
    /// Takes a record that may matter; says whether it has enough.
    fn take(&mut self, text: &str) -> bool {
        const LAUNCHES: &[&str] = &["RunInstances", "AssociateAddress"];
        let Ok(document) = serde_json::from_str::<Value>(text) else { return false };
        let Some(record) = Record::read(&document).filter(|record| record.error.is_none()) else { return false };
        let matters = !record.openings.is_empty() || LAUNCHES.contains(&record.name.as_str());
        if matters && (record.id.is_empty() || self.seen.insert(record.id.clone())) {
            self.raw.push(redact(&document));
            self.records.push(record);
        }
        self.records.len() >= MOST
    }
}

/// Finds it, or says why it is not known.
pub(super) async fn find(
    cx: Cx<'_>,
    with: &Params,
    transport: Transport,
    seen: &Seen,
    judged: &Judged,
    parts: &mut Parts<'_>,
) -> Result<(Option<Since>, Option<String>), ActionError> {
    if judged.rules.is_empty() {
        let why = "no rule lets the world in now; rules that were there before are not looked for";
        return Ok((None, Some(why.to_owned())));
    }
    let now = cx.clock.now();
    let since = with.since.unwrap_or(Timestamp::MIN);
    let Some(window) = within(now, Window { since, until: now }) else { return Ok((None, Some("`since` lies ahead".to_owned()))) };
    let mut history = History::default();
    gather(cx, seen, judged, window, &mut history).await?;
    history.records.sort_by(|one, other| (one.at, &one.id).cmp(&(other.at, &other.id)));
    if !history.raw.is_empty() {
        let document = json!({ "since": with.since, "problem": history.problem, "records": history.raw });
        parts.evidence.push(cx.keep("cloudtrail-records", &parts.about(), &document).await?);
    }
    Ok(weigh(&history, transport, with, seen, judged))
}

/// Looks up what was done to the groups and to the instance.
async fn gather(cx: Cx<'_>, seen: &Seen, judged: &Judged, window: Window, history: &mut History) -> Result<(), ActionError> {
    let groups: BTreeSet<&str> = judged.openers().map(|(_, open)| open.group.as_str()).collect();
    let client = cx.read.cloudtrail();
    let deadline = Instant::now() + TIME;
    if groups.len() > GROUPS {
        history.problem = Some(format!("more than {GROUPS} groups are open: only some of them were looked up"));
    }
    let resources = groups.iter().take(GROUPS).copied().chain([seen.instance.as_str()]);
    let attributes = resources.map(|id| (LookupAttributeKey::ResourceName, id));
    // What it names as resources of a change of rules is not documented; it is looked up by its name.
    for attribute in attributes.chain([(LookupAttributeKey::EventName, "ModifySecurityGroupRules")]) {
        match lookup(&client, attribute, window, deadline, |text| history.take(text)).await {
            Ok(End::Whole) => {}
            Ok(End::Enough | End::Late) => {
                history.problem.get_or_insert_with(|| "there are more events than could be read".to_owned());
            }
            Err(error @ (ActionError::Stopped(_) | ActionError::Session(_) | ActionError::Bug(_))) => return Err(error),
            Err(error) => {
                history.problem.get_or_insert_with(|| error.to_string());
                break;
            }
        }
    }
    Ok(())
}

fn weigh(history: &History, transport: Transport, with: &Params, seen: &Seen, judged: &Judged) -> (Option<Since>, Option<String>) {
    let opened: Vec<(&OpenRule, Option<&Record>)> =
        judged.openers().map(|(rule, open)| (open, opening(history, open, &rule.body, transport, with.port))).collect();
    let older: Vec<&str> = opened.iter().filter(|(_, record)| record.is_none()).map(|(open, _)| open.rule.as_str()).collect();
    if let Some(problem) = history.problem.as_ref().filter(|_| !older.is_empty()) {
        return (None, Some(format!("the event history could not be read whole: {problem}")));
    }
    let done = |record: &Record, what: String| {
        let by =
            By { arn: record.by.arn.clone(), source_address: record.address.clone(), event_id: record.id.clone(), call: record.call() };
        Some(Since { at: record.at?, what, by })
    };
    let rule = if older.is_empty() {
        let all = opened.iter().filter_map(|(open, record)| done((*record)?, format!("rule {} of {} was opened", open.rule, open.group)));
        all.min_by_key(|since| since.at)
    } else {
        None
    };
    let launched = |record: &&Record| record.name == "RunInstances" && record.made.iter().any(|made| made.id == seen.instance);
    let launch =
        history.records.iter().rev().find(launched).and_then(|record| done(record, format!("instance {} was launched", seen.instance)));
    let elastic = seen.interfaces.iter().flatten().any(|interface| interface.ipv4.iter().any(|(_, allocation)| allocation.is_some()));
    let associated = history.records.iter().rev().find(|record| elastic && record.name == "AssociateAddress");
    let associated = associated.and_then(|record| done(record, "an Elastic IP address was associated".to_owned()));
    match [rule, launch, associated].into_iter().flatten().max_by_key(|since| since.at) {
        Some(since) => (Some(since), None),
        None => {
            let span = with.since.map_or_else(|| "of the last 90 days".to_owned(), |since| format!("since {since}"));
            let why = format!(
                "no event {span} opened {}: it was opened before, or minutes ago (an event appears up to about 15 minutes late)",
                older.join(", ")
            );
            (None, Some(why))
        }
    }
}

/// The record that opened a rule as it is: the last after which it was never narrower.
fn opening<'a>(history: &'a History, open: &OpenRule, body: &Body, transport: Transport, port: u16) -> Option<&'a Record> {
    let mut found: Option<&Record> = None;
    for record in &history.records {
        let of_rule = |opening: &&Opening| {
            opening.group == open.group
                && match &opening.rule {
                    Some(rule) => *rule == open.rule,
                    None => same(opening, body),
                }
        };
        for opening in record.openings.iter().filter(of_rule) {
            let lets_in = reaches(opening, transport, port);
            if !lets_in {
                found = None;
            } else if found.is_none() {
                found = Some(record);
            }
        }
    }
    found
}

/// Whether a record without a rule's id speaks of a rule that says this.
fn same(opening: &Opening, body: &Body) -> bool {
    let cidr = match &body.source {
        Source::Ipv4(cidr) | Source::Ipv6(cidr) => cidr,
        Source::PrefixList(id) | Source::Group(id) => return opening.cidr.as_deref() == Some(id.as_str()),
    };
    let net = |text: &str| text.parse::<IpNet>().ok().map(|net| net.trunc());
    let range = opening.cidr.as_deref().and_then(net);
    let of_opening = body_of(opening, body.source.clone());
    range.is_some() && range == net(cidr) && of_opening.key() == body.key()
}

/// Whether what a record made lets the world in on a port.
fn reaches(opening: &Opening, transport: Transport, port: u16) -> bool {
    let cidr = opening.cidr.clone().unwrap_or_default();
    let world = cidr.starts_with("pl-") || breadth(&cidr) == Breadth::World;
    let opens = body_of(opening, Source::Ipv4(cidr)).opens(transport);
    world && opens.ranges().iter().any(|(from, to)| (*from..=*to).contains(&port))
}

fn body_of(opening: &Opening, source: Source) -> Body {
    let port = |port: Option<i64>| port.and_then(|port| i32::try_from(port).ok());
    Body {
        protocol: opening.protocol.clone().unwrap_or_else(|| "-1".to_owned()),
        from: port(opening.from),
        to: port(opening.to),
        source,
        description: None,
    }
}

/// For tests: weighs records, which are in the order of time.
#[cfg(test)]
pub(super) fn weigh_records(
    records: Vec<Record>,
    problem: Option<String>,
    transport: Transport,
    port: u16,
    seen: &Seen,
    judged: &Judged,
) -> (Option<Since>, Option<String>) {
    let with = Params { instance: seen.instance.clone(), port, protocol: transport.as_str().to_owned(), since: None };
    let history = History { records, problem, ..History::default() };
    weigh(&history, transport, &with, seen, judged)
}
