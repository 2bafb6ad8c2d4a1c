//! Where an instance's login log may be: the configured places, or the usual ones.

use std::collections::BTreeMap;

use aws_sdk_cloudwatchlogs::{Client, types::OrderBy};
use jiff::Timestamp;

use super::LookedAt;
use crate::{
    action::{ActionError, Cx, classify},
    actions::logs::horizon::{self, Horizon},
    aws::patiently,
};

/// The usual groups. The CloudWatch agent names a group after the file where the configuration names none, up to the file name's
/// last dot; its wizard proposes the bare file name, for Windows the event log's name
/// (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch-Agent-Configuration-File-Details.html>,
/// `log_group_name`; `/aws/cwagent/…` are the defaults of its `opentelemetry` section). Amazon Linux 2023 has no `/var/log/secure`,
/// only the journal.
const USUAL: &[&str] = &[
    "/var/log/secure",
    "/var/log/auth.log",
    "/var/log/auth",
    "secure",
    "auth.log",
    "journald",
    "/var/log/journal",
    "/aws/cwagent/journald",
    "/aws/cwagent/files",
    "Security",
    "/aws/cwagent/windows_events",
];

/// Most streams of one group that are read: what one request of FilterLogEvents takes
/// (<https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html>, `logStreamNames`).
const STREAMS: usize = 100;
/// Most pages of 50 streams in which a name that holds the instance's id is looked for.
const STREAM_PAGES: usize = 4;
/// How long one call may wait for the rate limit.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

const STREAMS_CALL: &str = "logs:DescribeLogStreams";

/// A place to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub group: String,
    /// The streams; empty: all of the group's.
    pub streams: Vec<String>,
}

/// What there is to read, and what there is not.
#[derive(Debug, Default)]
pub(super) struct Targets {
    pub read: Vec<Target>,
    pub not_read: Vec<LookedAt>,
    pub notes: Vec<String>,
    /// The first error that may pass by itself.
    pub passing: Option<ActionError>,
    /// Streams were left out.
    pub truncated: bool,
    /// From when on a group has lines, and why.
    pub horizons: BTreeMap<String, (Timestamp, String)>,
}

/// A group and how its stream is called.
struct Wish {
    group: String,
    /// `None`: all streams.
    stream: Option<String>,
}

/// Looks for the places of an instance's login log. A group that is not there is no error.
pub(super) async fn find(client: &Client, cx: Cx<'_>, instance: &str) -> Result<Targets, ActionError> {
    let fill = |text: &str| text.replace("{instance}", instance).replace("{account}", cx.cell.account.as_str());
    let configured = cx.logs.iter().filter(|source| source.kind == "auth");
    let mut wishes: Vec<Wish> =
        configured.map(|source| Wish { group: fill(&source.group), stream: source.stream.as_deref().map(fill) }).collect();
    if wishes.is_empty() {
        wishes.extend(USUAL.iter().map(|group| Wish { group: (*group).to_owned(), stream: Some(instance.to_owned()) }));
    }
    let mut targets = Targets::default();
    for wish in wishes {
        let found = match &wish.stream {
            None => everything(client, &wish.group, instance, &mut targets).await,
            Some(stream) => named(client, &wish.group, stream, instance, &mut targets).await,
        };
        match found {
            Ok(streams) => add(&mut targets, wish.group, streams),
            Err(Missing::Said(problem)) => targets.not_read.push(unread(wish.group, wish.stream, problem)),
            // A stream of the wished name may be there all the same: asked for by name, its lines say so.
            Err(Missing::Failed(ActionError::Denied(denied))) => {
                targets.notes.push(format!("access denied to {}: {}", denied.call, denied.message));
                let streams = wish.stream.map(|stream| vec![stream]).unwrap_or_default();
                add(&mut targets, wish.group, streams);
            }
            Err(Missing::Failed(error)) if error.may_pass() => {
                targets.not_read.push(unread(wish.group, wish.stream, error.to_string()));
                targets.passing.get_or_insert(error);
            }
            Err(Missing::Failed(error @ (ActionError::Gone { .. } | ActionError::Service { .. }))) => {
                targets.not_read.push(unread(wish.group, wish.stream, error.to_string()));
            }
            Err(Missing::Failed(error)) => return Err(error),
        }
    }
    targets.notes.dedup();
    horizons(client, cx, &mut targets).await?;
    Ok(targets)
}

/// Why a place cannot be read.
enum Missing {
    Said(String),
    Failed(ActionError),
}

impl From<ActionError> for Missing {
    fn from(error: ActionError) -> Self {
        match error {
            ActionError::Gone { .. } => Self::Said("there is no such log group".to_owned()),
            error => Self::Failed(error),
        }
    }
}

fn unread(group: String, stream: Option<String>, problem: String) -> LookedAt {
    LookedAt { group, stream, lines: 0, first: None, last: None, problem: Some(problem) }
}

/// Two entries may lead to one place.
fn add(targets: &mut Targets, group: String, streams: Vec<String>) {
    match targets.read.iter_mut().find(|target| target.group == group) {
        None => targets.read.push(Target { group, streams }),
        Some(target) if target.streams.is_empty() || streams.is_empty() => target.streams.clear(),
        Some(target) => {
            for stream in streams {
                if !target.streams.contains(&stream) {
                    target.streams.push(stream);
                }
            }
        }
    }
}

/// Streams of a group, by name or newest first.
async fn streams(
    client: &Client,
    group: &str,
    prefix: Option<&str>,
    token: Option<String>,
) -> Result<(Vec<String>, Option<String>), ActionError> {
    let request = || {
        let request = client.describe_log_streams().log_group_name(group).limit(50).set_next_token(token.clone());
        let sent = match prefix {
            Some(prefix) => request.log_stream_name_prefix(prefix),
            // AWS takes no prefix together with this order.
            None => request.order_by(OrderBy::LastEventTime).descending(true),
        }
        .send();
        async { sent.await.map_err(|error| classify(STREAMS_CALL, error)) }
    };
    let answer = patiently(PATIENCE, request).await?;
    let names = answer.log_streams().iter().filter_map(|stream| stream.log_stream_name()).map(str::to_owned).collect();
    Ok((names, answer.next_token().filter(|next| !next.is_empty() && Some(*next) != token.as_deref()).map(str::to_owned)))
}

/// The streams of a group that are called `stream`, or begin with it; else those whose name holds the instance's id.
async fn named(client: &Client, group: &str, stream: &str, instance: &str, targets: &mut Targets) -> Result<Vec<String>, Missing> {
    let mut found = Vec::new();
    let mut token = None;
    loop {
        let (names, next) = streams(client, group, Some(stream), token).await?;
        found.extend(names.into_iter().filter(|name| begins(name, stream)));
        token = next;
        if token.is_none() || found.len() > STREAMS {
            break;
        }
    }
    if found.is_empty() {
        let mut others = 0_usize;
        for _ in 0..STREAM_PAGES {
            let (names, next) = streams(client, group, None, token).await?;
            others += names.len();
            found.extend(names.into_iter().filter(|name| holds(name, instance)));
            token = next;
            if token.is_none() {
                break;
            }
        }
        if found.is_empty() {
            return Err(Missing::Said(match others {
                0 => "the log group has no streams".to_owned(),
                _ => format!(
                    "the log group has {others} or more streams, none of them named after `{stream}`; name the stream in `[[logs]]`"
                ),
            }));
        }
    }
    if found.len() > STREAMS {
        targets.truncated = true;
        targets.notes.push(format!("more than {STREAMS} streams of {group} begin with `{stream}`: the first {STREAMS} are read"));
        found.truncate(STREAMS);
    }
    Ok(found)
}

/// Whether a name begins with this one and goes on, if it does, with another word: `i-0abc` is not the beginning of `i-0abcd`.
fn begins(name: &str, with: &str) -> bool {
    name.strip_prefix(with).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
}

/// Whether a name holds this one as a word.
fn holds(name: &str, word: &str) -> bool {
    name.match_indices(word).any(|(at, _)| {
        let before = name.get(..at).unwrap_or_default();
        !before.ends_with(|c: char| c.is_ascii_alphanumeric()) && name.get(at..).is_some_and(|rest| begins(rest, word))
    })
}

/// All streams of a group: it must be there, and lines of other instances may be among them.
async fn everything(client: &Client, group: &str, instance: &str, targets: &mut Targets) -> Result<Vec<String>, Missing> {
    let (names, next) = streams(client, group, None, None).await?;
    if names.is_empty() && next.is_none() {
        return Err(Missing::Said("the log group has no streams".to_owned()));
    }
    if names.len() > 1 && !group.contains(instance) {
        targets.notes.push(format!("all streams of {group} are read, as configured: lines of other instances may be among them"));
    }
    Ok(Vec::new())
}

/// Says where lines are older than their group keeps them.
async fn horizons(client: &Client, cx: Cx<'_>, targets: &mut Targets) -> Result<(), ActionError> {
    let now = cx.clock.now();
    let groups: Vec<String> = targets.read.iter().map(|target| target.group.clone()).collect();
    for group in groups {
        // How far back a group reaches is worth a note, not a failure.
        match horizon::of(client, &group, now).await {
            Ok(Horizon::From(from, why)) => {
                targets.horizons.insert(group, (from, why));
            }
            Ok(_) => {}
            Err(error @ (ActionError::Stopped(_) | ActionError::Session(_) | ActionError::Bug(_))) => return Err(error),
            Err(error) => targets.notes.push(format!("how long {group} keeps lines is not known: {error}")),
        }
    }
    Ok(())
}
