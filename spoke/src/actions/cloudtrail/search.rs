//! Searches CloudTrail's records for those of a principal: in the configured log groups, else in CloudTrail's own event history.
//!
//! "It did nothing" and "there is no record that would show it" are two answers. A log group counts as read only where it has a record of the
//! account; Regions of which it showed none are looked up in the event history too, for a trail may be of one Region alone.

mod catch;
mod group;
pub(in crate::actions) mod history;
pub(super) mod wanted;

use std::collections::{BTreeMap, BTreeSet};

use cordon_shared::{id::Region, trail::Record};
use futures::future::try_join_all;
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;

use self::catch::Catch;
pub(super) use self::wanted::Wanted;
use crate::{
    action::{ActionError, Cx, ParamsError},
    permission::Permission,
};

/// What both probes read with. `LookupEvents` has no resource-level permissions
/// (<https://docs.aws.amazon.com/service-authorization/latest/reference/list_awscloudtrail.html>,
/// <https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoncloudwatchlogs.html>).
pub(super) const READS: &[Permission] = &[
    Permission::new("cloudtrail:LookupEvents", "*"),
    Permission::new("logs:DescribeLogGroups", "arn:{partition}:logs:{region}:{account}:log-group:*"),
    Permission::new("logs:FilterLogEvents", "arn:{partition}:logs:{region}:{account}:log-group:*"),
];

/// How long before the finding's first observation records are read.
const BEFORE: SignedDuration = SignedDuration::from_hours(1);
/// How far back without a finding's time.
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// Regions that are looked up at the same time: each has a rate of its own.
const AT_ONCE: usize = 4;
/// Most records of one place, whatever is asked.
const MOST: usize = 50_000;

/// Whose calls are looked for, and when.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Ids of access keys, of users (`AKIA…`) and of sessions (`ASIA…`).
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Vec<Option<String>>")]
    pub access_keys: Vec<String>,
    /// An instance: the sessions that its metadata service handed out, which carry its id as their name.
    #[serde(default)]
    pub instance: Option<String>,
    /// The name of an IAM user of the account.
    #[serde(default)]
    pub user: Option<String>,
    /// The name of a session of a role of the account.
    #[serde(default)]
    pub role_session: Option<String>,
    /// Start. Without it: an hour before the finding's first observation, or a day ago.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub since: Option<Timestamp>,
    /// End. Without it: now.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub until: Option<Timestamp>,
    /// Most records that are read of one place.
    #[serde(default = "enough")]
    pub max_events: usize,
}

fn enough() -> usize {
    5_000
}

/// A list in which what a playbook left open is null or empty.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let list = Option::<Vec<Option<String>>>::deserialize(from)?.unwrap_or_default();
    Ok(list.into_iter().flatten().filter(|text| !text.is_empty()).collect())
}

/// A span of time, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Window {
    /// From.
    pub since: Timestamp,
    /// To.
    pub until: Timestamp,
}

impl Window {
    fn of(action: &'static str, cx: Cx<'_>, with: &Params) -> Result<Self, ActionError> {
        let now = cx.clock.now();
        let earlier = |at: Timestamp, by| at.checked_sub(by).unwrap_or(Timestamp::MIN);
        let since = with.since.unwrap_or_else(|| cx.window.0.map_or_else(|| earlier(now, DAY), |first| earlier(first, BEFORE)));
        let until = with.until.unwrap_or(now);
        if since <= until {
            return Ok(Self { since, until });
        }
        let why = format!("`since` ({since}) lies after `until` ({until})");
        Err(ParamsError { action, why }.into())
    }
}

/// Where the records come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A trail's log group; Regions of which it showed nothing were looked up besides.
    LogGroup,
    /// CloudTrail's event history.
    LookupEvents,
    /// There was no record to be read.
    None,
}

/// A place that was looked in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LookedIn {
    /// `log group NAME in ACCOUNT/REGION`, `event history of ACCOUNT/REGION`.
    pub place: String,
    /// Records of the principal.
    pub events: usize,
    /// Whether all of the window was read.
    pub complete: bool,
    /// Why it was not read, or not wholly.
    pub problem: Option<String>,
}

/// What can be seen at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Horizon {
    /// Before this nothing is seen.
    pub from: Timestamp,
    /// After this nothing was asked for.
    pub until: Timestamp,
    /// What the places leave out.
    pub note: String,
}

/// What a search found.
#[derive(Debug)]
pub(super) struct Searched {
    pub source: Source,
    pub looked_in: Vec<LookedIn>,
    pub horizon: Horizon,
    /// In the order of time, each once.
    pub records: Vec<Record>,
    pub evidence: Vec<String>,
    /// Why nothing is known, where nothing could be read.
    pub nothing_known_because: Option<String>,
}

/// What one place gave.
#[derive(Debug)]
struct Read {
    place: String,
    source: Source,
    catch: Catch,
    complete: bool,
    /// Whether what is not in it did not happen.
    usable: bool,
    problem: Option<String>,
    /// From when on it has records, and a word about what it leaves out.
    horizon: (Option<Timestamp>, String),
    /// An error that may pass by itself.
    passing: Option<ActionError>,
}

impl Read {
    fn new(place: String, source: Source) -> Self {
        Self {
            place,
            source,
            catch: Catch::default(),
            complete: false,
            usable: false,
            problem: None,
            horizon: (None, String::new()),
            passing: None,
        }
    }

    /// Takes an error of this place for a problem of it; one that stops everything is given back.
    fn fails(&mut self, error: ActionError) -> Result<(), ActionError> {
        if matches!(error, ActionError::Stopped(_) | ActionError::Evidence(_) | ActionError::Params(_) | ActionError::Bug(_)) {
            return Err(error);
        }
        self.complete = false;
        self.says(match &error {
            ActionError::Denied(denied) => format!("access denied to {}: {}", denied.call, denied.message),
            other => other.to_string(),
        });
        if error.may_pass() {
            self.passing = Some(error);
        }
        Ok(())
    }

    fn says(&mut self, problem: impl Into<String>) {
        let problem = problem.into();
        self.problem = Some(match self.problem.take() {
            Some(before) if before != problem => format!("{before}; {problem}"),
            _ => problem,
        });
    }
}

/// Searches for the records of whom the parameters name.
pub(super) async fn search(action: &'static str, cx: Cx<'_>, with: &Params, assumes: bool) -> Result<Searched, ActionError> {
    let window = Window::of(action, cx, with)?;
    let wanted = Wanted::new(action, cx, with, assumes)?;
    let mut gathered = Gathered::default();
    if wanted.is_empty() {
        let why = "neither an access key, an instance, a user nor a session is named: there is nothing to look for";
        return Ok(gathered.finish(window, Some(why.to_owned())));
    }
    let most = with.max_events.clamp(1, MOST);
    for read in group::search(cx, &wanted, window, most).await? {
        gathered.add(cx, &wanted, window, read).await?;
    }
    for regions in gathered.regions_to_look_up(cx).chunks(AT_ONCE) {
        let reads = try_join_all(regions.iter().map(|region| history::search(cx, region, &wanted, window, most))).await?;
        for read in reads {
            gathered.add(cx, &wanted, window, read).await?;
        }
    }
    if !gathered.usable
        && let Some(error) = gathered.passing.take()
    {
        // Nothing was learnt, and it may work later.
        return Err(error);
    }
    if gathered.evidence.is_empty() {
        let document = json!({ "window": window, "looked_for": wanted.words(), "looked_in": gathered.looked_in, "records": [] });
        gathered.evidence.push(cx.keep("cloudtrail-records", &wanted.about(cx), &document).await?);
    }
    Ok(gathered.finish(window, None))
}

#[derive(Default)]
struct Gathered {
    records: BTreeMap<(Option<Timestamp>, String, usize), Record>,
    seen: BTreeSet<String>,
    looked_in: Vec<LookedIn>,
    evidence: Vec<String>,
    /// Regions of which a log group that was read whole showed records.
    covered: BTreeSet<String>,
    sources: Vec<Source>,
    horizons: Vec<(Option<Timestamp>, String)>,
    usable: bool,
    passing: Option<ActionError>,
}

impl Gathered {
    async fn add(&mut self, cx: Cx<'_>, wanted: &Wanted<'_>, window: Window, read: Read) -> Result<(), ActionError> {
        let looked = LookedIn { place: read.place, events: read.catch.records.len(), complete: read.complete, problem: read.problem };
        if looked.events > 0 {
            let document = json!({
                "looked_in": looked, "window": window, "looked_for": wanted.words(),
                "records_left_out": read.catch.left_out, "records": read.catch.raw,
            });
            self.evidence.push(cx.keep("cloudtrail-records", &wanted.about(cx), &document).await?);
        }
        self.looked_in.push(looked);
        if read.usable {
            self.usable = true;
            self.sources.push(read.source);
            self.horizons.push(read.horizon);
        }
        if read.complete && read.source == Source::LogGroup {
            self.covered.extend(read.catch.records.iter().filter_map(|record| record.region.clone()));
        }
        self.passing = self.passing.take().or(read.passing);
        for record in read.catch.records {
            // A record without an id is never the same as another.
            if record.id.is_empty() || self.seen.insert(record.id.clone()) {
                let key = (record.at, record.id.clone(), self.records.len());
                self.records.insert(key, record);
            }
        }
        Ok(())
    }

    /// The configured Regions and the one in which global services are recorded, but for those of which a log group that was read
    /// whole showed records.
    fn regions_to_look_up(&self, cx: Cx<'_>) -> Vec<Region> {
        let home = global(cx.read.partition());
        let all: BTreeSet<Region> = cx.regions.iter().cloned().chain(home).filter(|region| *region != Region::global()).collect();
        all.into_iter().filter(|region| !self.covered.contains(region.as_str())).collect()
    }

    fn finish(self, window: Window, why: Option<String>) -> Searched {
        let source = if self.sources.contains(&Source::LogGroup) {
            Source::LogGroup
        } else if self.sources.is_empty() {
            Source::None
        } else {
            Source::LookupEvents
        };
        let problems = || {
            let told = |looked: &LookedIn| format!("{}: {}", looked.place, looked.problem.as_deref().unwrap_or("not read"));
            let told: Vec<String> = self.looked_in.iter().map(told).collect();
            format!("no record of CloudTrail could be read: {}", told.join("; "))
        };
        let mut notes: Vec<&str> = Vec::new();
        for (_, note) in &self.horizons {
            if !notes.contains(&note.as_str()) {
                notes.push(note);
            }
        }
        let from = self.horizons.iter().filter_map(|(from, _)| *from).chain([window.since]).max().unwrap_or(window.since);
        Searched {
            nothing_known_because: why.or_else(|| (source == Source::None).then(problems)),
            horizon: Horizon { from, until: window.until, note: notes.join("; ") },
            source,
            looked_in: self.looked_in,
            records: self.records.into_values().collect(),
            evidence: self.evidence,
        }
    }
}

/// The Region of a partition in which the calls of global services are recorded
/// (<https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-concepts.html#cloudtrail-concepts-global-service-events>).
pub(super) fn global(partition: &str) -> Option<Region> {
    let name = match partition {
        "aws-cn" => "cn-north-1",
        "aws-us-gov" => "us-gov-west-1",
        _ => "us-east-1",
    };
    name.parse().ok()
}
