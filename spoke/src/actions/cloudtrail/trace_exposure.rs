//! `cloudtrail.trace-exposure`: since when a port of an instance was open to the world, and by whose doing: from CloudTrail's event history.
//!
//! `ec2.instance-exposure` says whether it was, and by which rules; that is quick, and closing the port waits for it. CloudTrail is not, and
//! nothing waits for this.
//!
//! A rule is found again by its id, or where a record has none by what it says. Of what made the port reachable the last counts: the rule that
//! was opened first of those that are open, the launch of the instance, the association of its Elastic IP address. What the whole history does
//! not show is older than it.

use std::collections::BTreeSet;

use aws_sdk_cloudtrail::types::LookupAttributeKey;
use cordon_shared::{
    plan::Seat,
    trail::{Opening, Record, redact},
};
use ipnet::IpNet;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::search::{
    Window,
    history::{self, End, lookup, within},
};
use crate::{
    action::{ActionError, Cx, Found, Probe},
    actions::ec2::{
        close_open_ingress::{Body, Breadth, Source, Transport, breadth},
        instance_exposure::OpenRule,
    },
    permission::Permission,
};

#[cfg(test)]
mod tests;

const NAME: &str = "cloudtrail.trace-exposure";

/// How long CloudTrail is asked in all.
const TIME: std::time::Duration = std::time::Duration::from_secs(120);
/// Most groups that are asked about.
const GROUPS: usize = 10;
/// Most records that are kept.
const MOST: usize = 2_000;

/// Which port of which instance, and what lets the world in.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The instance (`i-…`).
    pub instance: String,
    /// The port.
    pub port: u16,
    /// `tcp` or `udp`, or its number.
    #[serde(default = "Transport::usual")]
    pub protocol: String,
    /// The rules that let the world in: `open_rules` of `ec2.instance-exposure`.
    pub rules: Vec<OpenRule>,
    /// Whether the instance has an Elastic IP address: `elastic` of `ec2.instance-exposure`.
    #[serde(default)]
    pub elastic: bool,
    /// From when on CloudTrail is asked. Without it: as far back as its event history reaches, 90 days.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub since: Option<Timestamp>,
}

impl Params {
    /// The rules that made the port reachable; where nothing did, those that are open all the same.
    fn openers(&self) -> impl Iterator<Item = &OpenRule> {
        let telling = self.rules.iter().any(|rule| rule.reaches);
        self.rules.iter().filter(move |rule| rule.reaches || !telling)
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Since when the port was open as it was, and by whose doing, as far as CloudTrail has it.
    pub since: Option<Since>,
    /// Why that is not known.
    pub since_unknown_because: Option<String>,
    /// Of each rule, when it was opened and by whom.
    pub rules: Vec<Opened>,
    /// What CloudTrail's event history leaves out.
    pub note: &'static str,
}

/// A rule that lets the world in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Opened {
    /// The group.
    pub group: String,
    /// The rule.
    pub rule: String,
    /// When it was opened and by whom; none where CloudTrail does not have it.
    pub since: Option<Since>,
}

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

/// The probe.
#[derive(Debug, Clone, Copy, Default)]
pub struct TraceExposure;

impl Probe for TraceExposure {
    const NAME: &'static str = NAME;
    const ABOUT: &'static str = "Finds out in CloudTrail since when a port of an instance was open to the world, and by whose doing.";
    const SEAT: Seat = Seat::Member;
    // https://docs.aws.amazon.com/service-authorization/latest/reference/list_awscloudtrail.html
    const READS: &'static [Permission] = &[Permission::new("cloudtrail:LookupEvents", "*")];
    type Params = Params;
    type Outcome = Outcome;

    async fn run(&self, cx: Cx<'_>, with: &Params) -> Result<Found<Outcome>, ActionError> {
        let transport = Transport::asked(NAME, &with.protocol)?;
        let unknown = |why: &str| {
            let since_unknown_because = Some(why.to_owned());
            let outcome = Outcome { since: None, since_unknown_because, rules: Vec::new(), note: history::NOTE };
            Found { outcome, evidence: Vec::new() }
        };
        if with.rules.is_empty() {
            return Ok(unknown("no rule lets the world in; rules that were there before are not looked for"));
        }
        let now = cx.clock.now();
        let since = with.since.unwrap_or(Timestamp::MIN);
        let Some(window) = within(now, Window { since, until: now }) else {
            return Ok(unknown("`since` lies ahead"));
        };
        let mut history = History::default();
        gather(cx, with, window, &mut history).await?;
        history.records.sort_by(|one, other| (one.at, &one.id).cmp(&(other.at, &other.id)));
        let mut evidence = Vec::new();
        if !history.raw.is_empty() {
            let document = json!({ "since": with.since, "problem": history.problem, "records": history.raw });
            let about = cx.ec2_arn(&format!("instance/{}", with.instance));
            evidence.push(cx.keep("cloudtrail-records", &about, &document).await?);
        }
        Ok(Found { outcome: weigh(&history, transport, with), evidence })
    }
}

/// Looks up what was done to the groups and to the instance.
async fn gather(cx: Cx<'_>, with: &Params, window: Window, history: &mut History) -> Result<(), ActionError> {
    let groups: BTreeSet<&str> = with.openers().map(|open| open.group.as_str()).collect();
    let client = cx.read.cloudtrail();
    let deadline = Instant::now() + TIME;
    if groups.len() > GROUPS {
        history.problem = Some(format!("more than {GROUPS} groups are open: only some of them were looked up"));
    }
    let resources = groups.iter().take(GROUPS).copied().chain([with.instance.as_str()]);
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

fn weigh(history: &History, transport: Transport, with: &Params) -> Outcome {
    let done = |record: &Record, what: String| {
        let by =
            By { arn: record.by.arn.clone(), source_address: record.address.clone(), event_id: record.id.clone(), call: record.call() };
        Some(Since { at: record.at?, what, by })
    };
    let opened = |open: &OpenRule| {
        let record = opening(history, open, transport, with.port);
        let since = record.and_then(|record| done(record, format!("rule {} of {} was opened", open.rule, open.group)));
        Opened { group: open.group.clone(), rule: open.rule.clone(), since }
    };
    let rules: Vec<Opened> = with.openers().map(opened).collect();
    let told = |since: Result<Since, String>| {
        let (since, since_unknown_because) = since.map_or_else(|why| (None, Some(why)), |since| (Some(since), None));
        Outcome { since, since_unknown_because, rules: rules.clone(), note: history::NOTE }
    };
    let older: Vec<&str> = rules.iter().filter(|rule| rule.since.is_none()).map(|rule| rule.rule.as_str()).collect();
    if let Some(problem) = history.problem.as_ref().filter(|_| !older.is_empty()) {
        return told(Err(format!("the event history could not be read whole: {problem}")));
    }
    let first = || rules.iter().filter_map(|rule| rule.since.clone()).min_by_key(|since| since.at);
    let rule = older.is_empty().then(first).flatten();
    let launched = |record: &&Record| record.name == "RunInstances" && record.made.iter().any(|made| made.id == with.instance);
    let launch =
        history.records.iter().rev().find(launched).and_then(|record| done(record, format!("instance {} was launched", with.instance)));
    let associated = history.records.iter().rev().find(|record| with.elastic && record.name == "AssociateAddress");
    let associated = associated.and_then(|record| done(record, "an Elastic IP address was associated".to_owned()));
    let last = [rule, launch, associated].into_iter().flatten().max_by_key(|since| since.at);
    told(last.ok_or_else(|| {
        let span = with.since.map_or_else(|| "of the last 90 days".to_owned(), |since| format!("since {since}"));
        format!(
            "no event {span} opened {}: it was opened before, or minutes ago (an event appears up to about 15 minutes late)",
            older.join(", ")
        )
    }))
}

/// The record that opened a rule as it is: the last after which it was never narrower.
fn opening<'a>(history: &'a History, open: &OpenRule, transport: Transport, port: u16) -> Option<&'a Record> {
    let body = open.body();
    let mut found: Option<&Record> = None;
    for record in &history.records {
        let of_rule = |opening: &&Opening| {
            opening.group == open.group
                && match &opening.rule {
                    Some(rule) => *rule == open.rule,
                    None => same(opening, &body),
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
