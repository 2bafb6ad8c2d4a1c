//! Reads log events, page by page, within bounds.
//!
//! First everything in the window, oldest first, without a filter: only then can "no login" be told from "no log", and no
//! peculiarity of a filter pattern can lose a line. Where that is more than the bounds allow, the rest is searched with terms that
//! each line of a successful login holds; what such a search leaves unread is said to be truncated.

use std::{
    collections::{BTreeMap, HashSet},
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    time::Duration,
};

use aws_sdk_cloudwatchlogs::{Client, operation::filter_log_events::FilterLogEventsOutput, types::FilteredLogEvent};
use cordon_shared::authlog::LogLine;
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;

use super::{
    LookedAt, Search,
    places::{Target, Targets},
};
use crate::{
    action::{ActionError, classify},
    aws::patiently,
};

const CALL: &str = "logs:FilterLogEvents";

/// Bounds of one pass over one place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Pages; AWS puts at most 10,000 events or 1 MB on one, and some are empty.
    pub pages: usize,
    /// Bytes of messages.
    pub bytes: usize,
    /// Time.
    pub time: Duration,
}

/// The first pass: 64 MiB are some 400,000 lines of sshd.
const WHOLE: Bounds = Bounds { pages: 200, bytes: 64 << 20, time: Duration::from_secs(120) };
/// The second. Its pages are mostly empty.
const LOGINS: Bounds = Bounds { pages: 400, bytes: 16 << 20, time: Duration::from_secs(120) };

/// Any of these words is in every line of a successful login: `Accepted METHOD for …` of sshd, events 4624 and 4648 of Windows
/// (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html>, "Match any term").
const TERMS: &str = "?Accepted ?4624 ?4648";

/// How long a page may wait for the rate limit.
const PATIENCE: Duration = Duration::from_secs(30);
/// Most streams that are told apart in the outcome.
const TOLD_APART: usize = 100;

/// A few lines that name an attacker, for the report.
#[derive(Debug, Default)]
pub(super) struct Sample {
    wanted: Vec<String>,
    lines: Vec<Sampled>,
    bytes: usize,
}

/// One of them.
#[derive(Debug, Serialize)]
pub(super) struct Sampled {
    at: Timestamp,
    line: String,
    reference: String,
}

impl Sample {
    const LINES: usize = 100;
    const BYTES: usize = 48 << 10;
    const LINE: usize = 2_048;

    pub fn new(sources: &[IpAddr]) -> Self {
        Self { wanted: sources.iter().map(|address| address.to_canonical().to_string()).collect(), ..Self::default() }
    }

    pub fn lines(&self) -> &[Sampled] {
        &self.lines
    }

    fn offer(&mut self, line: &LogLine) {
        if self.lines.len() >= Self::LINES
            || self.bytes >= Self::BYTES
            || !self.wanted.iter().any(|address| line.text.contains(address.as_str()))
        {
            return;
        }
        let text = line.text.get(..line.text.floor_char_boundary(Self::LINE)).unwrap_or_default();
        self.bytes += text.len();
        self.lines.push(Sampled { at: line.at, line: text.to_owned(), reference: line.reference.clone() });
    }
}

/// What one place gave.
#[derive(Default)]
struct Tally {
    streams: BTreeMap<String, Count>,
    seen: Seen,
}

#[derive(Default)]
struct Count {
    lines: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

/// Which events were read, so that the second pass reads none again.
#[derive(Default)]
struct Seen {
    state: RandomState,
    events: HashSet<u64>,
}

impl Seen {
    fn is_new(&mut self, event: &FilteredLogEvent) -> bool {
        match event.event_id() {
            Some(id) => self.events.insert(self.state.hash_one((event.log_stream_name(), id))),
            None => true,
        }
    }
}

/// How a pass ended.
enum End {
    /// All of it was read.
    Whole,
    /// A bound was reached.
    Bound,
}

/// Reads all places into the search.
pub(super) async fn read(client: &Client, targets: Targets, search: &mut Search) -> Result<(), ActionError> {
    read_within(client, targets, search, (WHOLE, LOGINS)).await
}

pub(super) async fn read_within(
    client: &Client,
    targets: Targets,
    search: &mut Search,
    bounds: (Bounds, Bounds),
) -> Result<(), ActionError> {
    search.notes.extend(targets.notes);
    search.truncated |= targets.truncated;
    search.passing = targets.passing;
    search.looked_at.extend(targets.not_read);
    for target in &targets.read {
        let mut tally = Tally::default();
        let mut problems = Vec::new();
        if let Some((_, why)) = targets.horizons.get(&target.group).filter(|(from, _)| *from > search.window.since) {
            problems.push(why.clone());
        }
        match place(client, target, search, &mut tally, bounds).await {
            Ok(None) => {}
            Ok(Some(problem)) => {
                search.truncated = true;
                problems.push(problem);
            }
            Err(
                error @ (ActionError::Stopped(_)
                | ActionError::Session(_)
                | ActionError::Evidence(_)
                | ActionError::Params(_)
                | ActionError::Bug(_)),
            ) => {
                return Err(error);
            }
            Err(ActionError::Gone { .. }) => problems.push("the log group or stream is not there".to_owned()),
            Err(error) => {
                search.truncated |= tally.streams.values().any(|count| count.lines > 0);
                problems.push(error.to_string());
                if error.may_pass() {
                    search.passing.get_or_insert(error);
                }
            }
        }
        report(target, tally, &problems, search);
    }
    Ok(())
}

/// One line of the outcome for each stream.
fn report(target: &Target, mut tally: Tally, problems: &[String], search: &mut Search) {
    for stream in &target.streams {
        tally.streams.entry(stream.clone()).or_default();
    }
    if tally.streams.is_empty() {
        let problem = Some(problems.join("; ")).filter(|text| !text.is_empty());
        search.looked_at.push(LookedAt { group: target.group.clone(), stream: None, lines: 0, first: None, last: None, problem });
        return;
    }
    for (stream, count) in tally.streams {
        let nothing = (count.lines == 0 && problems.is_empty()).then(|| "no lines in the window".to_owned());
        search.looked_at.push(LookedAt {
            group: target.group.clone(),
            stream: Some(stream),
            lines: count.lines,
            first: count.first,
            last: count.last,
            problem: nothing.or_else(|| Some(problems.join("; "))).filter(|text| !text.is_empty()),
        });
    }
}

/// Reads one place: everything, and beyond the bounds the logins. The text says what was left.
async fn place(
    client: &Client,
    target: &Target,
    search: &mut Search,
    tally: &mut Tally,
    bounds: (Bounds, Bounds),
) -> Result<Option<String>, ActionError> {
    match pass(client, target, None, search, tally, bounds.0).await? {
        End::Whole => Ok(None),
        End::Bound => {
            let upto = tally.streams.values().filter_map(|count| count.last).max();
            let upto = upto.map_or_else(|| "some point".to_owned(), |at| at.to_string());
            Ok(Some(match pass(client, target, Some(TERMS), search, tally, bounds.1).await? {
                End::Whole => format!("too long to read whole: everything up to about {upto}, after that successful logins only"),
                End::Bound => {
                    format!("too long to read whole: everything up to about {upto}, after that successful logins only, and not all of them")
                }
            }))
        }
    }
}

async fn pass(
    client: &Client,
    target: &Target,
    pattern: Option<&str>,
    search: &mut Search,
    tally: &mut Tally,
    bounds: Bounds,
) -> Result<End, ActionError> {
    let deadline = Instant::now() + bounds.time;
    let (mut token, mut bytes) = (None, 0_usize);
    for _ in 0..bounds.pages {
        let request = || {
            let sent = client
                .filter_log_events()
                .log_group_name(&target.group)
                .set_log_stream_names(Some(target.streams.clone()).filter(|streams| !streams.is_empty()))
                .start_time(search.window.since.as_millisecond())
                .end_time(search.window.until.as_millisecond())
                .set_filter_pattern(pattern.map(str::to_owned))
                .set_next_token(token.clone())
                .send();
            async { sent.await.map_err(|error| classify(CALL, error)) }
        };
        let answer = patiently(PATIENCE, request).await?;
        bytes = bytes.saturating_add(take(&target.group, &answer, search, tally));
        // An empty page with a token is not the end.
        match answer.next_token().filter(|next| !next.is_empty() && Some(*next) != token.as_deref()) {
            None => return Ok(End::Whole),
            Some(next) => token = Some(next.to_owned()),
        }
        if bytes >= bounds.bytes || Instant::now() >= deadline {
            break;
        }
    }
    Ok(End::Bound)
}

/// Feeds a page to the judge.
fn take(group: &str, answer: &FilterLogEventsOutput, search: &mut Search, tally: &mut Tally) -> usize {
    let mut bytes = 0;
    for event in answer.events() {
        let (Some(text), Some(at)) = (event.message(), event.timestamp().or_else(|| event.ingestion_time())) else { continue };
        let Ok(at) = Timestamp::from_millisecond(at) else { continue };
        bytes += text.len();
        if !tally.seen.is_new(event) {
            continue;
        }
        let stream = event.log_stream_name().unwrap_or_default();
        let line = LogLine {
            at,
            source: format!("{group} {stream}"),
            text: text.to_owned(),
            reference: format!("group {group}, stream {stream}, event {}", event.event_id().unwrap_or("unknown")),
        };
        search.judge.feed(&line);
        search.sample.offer(&line);
        let name = if tally.streams.contains_key(stream) || tally.streams.len() < TOLD_APART { stream } else { "(others)" };
        let count = tally.streams.entry(name.to_owned()).or_default();
        count.lines += 1;
        count.first = Some(count.first.map_or(at, |first| first.min(at)));
        count.last = Some(count.last.map_or(at, |last| last.max(at)));
    }
    bytes
}
