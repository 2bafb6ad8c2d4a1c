//! `logs.find-logins`: did the attacker get in? Reads what sshd and Windows wrote about logins, where CloudWatch Logs has it.
//!
//! "Nobody of theirs logged in" and "there is no log that would show it" are two answers. The first needs lines of a log in which
//! a login through the attacked port would be seen.

mod places;
mod reader;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use cordon_shared::{
    authlog::{Confidence, Findings, Judge, Login, Question, UserTried},
    plan::Seat,
};
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    action::{ActionError, Cx, Found, ParamsError, Probe},
    permission::Permission,
};

/// How long before the finding's start the log is read: what led up to it.
const BEFORE: SignedDuration = SignedDuration::from_hours(1);
/// How long after: clocks differ, and agents ship late.
const AFTER: SignedDuration = SignedDuration::from_mins(15);
/// Most logins in the outcome; all of them are in the evidence.
const LOGINS: usize = 50;

/// Ports at which Windows listens: RDP, WinRM, SMB, RPC. A login there is in no log of sshd.
const WINDOWS_PORTS: &[u16] = &[3389, 5985, 5986, 445, 139, 135];

/// Where and for whom to look.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The instance's id.
    pub instance: String,
    /// The attackers' addresses. Empty: nobody is named, and every address is judged by its own failures before its login.
    pub sources: Vec<IpAddr>,
    /// The attacked port.
    #[serde(default = "ssh")]
    pub port: u16,
    /// Start of the window. Without it: an hour before the finding's first observation.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub since: Option<Timestamp>,
    /// End of the window. Without it: now, or the finding's last observation if that is later; and a quarter of an hour.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub until: Option<Timestamp>,
}

fn ssh() -> u16 {
    22
}

/// The answer in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// An attacker's address logged in by password after it had failed.
    Confirmed,
    /// A login that is probably theirs: a person decides.
    Probable,
    /// A user name they tried logged in from elsewhere afterwards, or something alike.
    Lead,
    /// The log was read, and no login is theirs.
    None,
    /// There was no log in which a login would be seen.
    NoLogSource,
}

/// What was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LookedAt {
    /// The log group.
    pub group: String,
    /// The stream; `None`: all streams, or none was found.
    pub stream: Option<String>,
    /// Log events read from it.
    pub lines: u64,
    /// Time of the earliest.
    pub first: Option<Timestamp>,
    /// Time of the latest.
    pub last: Option<Timestamp>,
    /// Why it was not read, or not wholly, or says less than it seems to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// The time that was looked at, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Window {
    /// From.
    pub since: Timestamp,
    /// To.
    pub until: Timestamp,
}

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The answer.
    pub verdict: Answer,
    /// Confirmed logins: user, address and method, each counted once.
    pub confirmed: usize,
    /// Probable ones.
    pub probable: usize,
    /// Leads.
    pub leads: usize,
    /// The logins, worst first, with their lines; at most 50.
    pub logins: Vec<Login>,
    /// Failed attempts of the attackers: at least so many.
    pub failures: u64,
    /// User names they tried most.
    pub users_tried: Vec<UserTried>,
    /// Log events read.
    pub lines_read: u64,
    /// Where.
    pub looked_at: Vec<LookedAt>,
    /// Whether something in the window was not read: then "none" is no proof.
    pub truncated: bool,
    /// When.
    pub window: Window,
    /// What a reader should know.
    pub notes: Vec<String>,
}

/// The probe.
#[derive(Debug, Clone, Copy, Default)]
pub struct FindLogins;

impl Probe for FindLogins {
    const NAME: &'static str = "logs.find-logins";
    const ABOUT: &'static str = "Looks through the instance's login logs for logins of the attacker.";
    const SEAT: Seat = Seat::Member;
    const READS: &'static [Permission] = &[
        Permission::new("logs:DescribeLogGroups", "arn:{partition}:logs:{region}:{account}:log-group:*"),
        Permission::new("logs:DescribeLogStreams", "arn:{partition}:logs:{region}:{account}:log-group:*"),
        Permission::new("logs:FilterLogEvents", "arn:{partition}:logs:{region}:{account}:log-group:*"),
    ];
    type Params = Params;
    type Outcome = Outcome;

    async fn run(&self, cx: Cx<'_>, with: &Params) -> Result<Found<Outcome>, ActionError> {
        let window = window(cx.clock.now(), cx.window, with)?;
        let client = cx.read.logs();
        let mut search = Search::new(cx, with, window);
        let targets = places::find(&client, cx, &with.instance).await?;
        reader::read(&client, targets, &mut search).await?;
        search.finish(cx, with).await
    }
}

/// The window of a search.
fn window(now: Timestamp, seen: (Option<Timestamp>, Option<Timestamp>), with: &Params) -> Result<Window, ActionError> {
    let (first, last) = seen;
    let earlier = |at: Timestamp, by| at.checked_sub(by).unwrap_or(Timestamp::MIN);
    let later = |at: Timestamp, by| at.checked_add(by).unwrap_or(Timestamp::MAX);
    let since = with.since.unwrap_or_else(|| earlier(first.or(last).unwrap_or(now), BEFORE));
    // A login may come after the last attempt that the provider saw, however long after.
    let until = with.until.unwrap_or_else(|| later(last.map_or(now, |last| now.max(last)), AFTER));
    if since <= until {
        return Ok(Window { since, until });
    }
    let why = format!("`since` ({since}) lies after `until` ({until})");
    Err(ParamsError { action: FindLogins::NAME, why }.into())
}

/// What a search gathers.
struct Search {
    window: Window,
    judge: Judge,
    looked_at: Vec<LookedAt>,
    sample: reader::Sample,
    truncated: bool,
    notes: Vec<String>,
    /// The first error that may pass by itself.
    passing: Option<ActionError>,
}

impl Search {
    fn new(cx: Cx<'_>, with: &Params, window: Window) -> Self {
        let question = Question { attackers: with.sources.clone(), since: window.since, until: window.until, known: cx.known.to_vec() };
        let mut notes = Vec::new();
        let known = with.sources.iter().filter(|address| cx.is_known(**address)).count();
        if with.sources.is_empty() {
            notes.push(
                "nobody is named: a login by password counts after 10 failures from its own address, and is a lead after 3".to_owned(),
            );
        } else if known > 0 {
            notes.push(format!("{known} of {} source addresses are known sources: their logins do not count", with.sources.len()));
        }
        Self {
            window,
            judge: Judge::new(&question),
            looked_at: Vec::new(),
            sample: reader::Sample::new(&with.sources),
            truncated: false,
            notes,
            passing: None,
        }
    }

    /// Weighs what was read, and keeps it.
    async fn finish(mut self, cx: Cx<'_>, with: &Params) -> Result<Found<Outcome>, ActionError> {
        let findings = self.judge.finish();
        if let Some(error) = self.passing {
            if findings.lines_read == 0 {
                // Nothing was learnt, and it may work later.
                return Err(error);
            }
            self.truncated = true;
        }
        if findings.is_truncated() {
            self.truncated = true;
            self.notes.push("there were more logins or user names than can be kept".to_owned());
        }
        let count = |confidence| findings.logins.iter().filter(|login| login.confidence == confidence).count();
        let outcome = Outcome {
            verdict: answer(&findings, with.port),
            confirmed: count(Confidence::Confirmed),
            probable: count(Confidence::Probable),
            leads: count(Confidence::Lead),
            logins: findings.logins.iter().take(LOGINS).cloned().collect(),
            failures: findings.failures,
            users_tried: findings.users_tried.clone(),
            lines_read: findings.lines_read,
            looked_at: self.looked_at,
            truncated: self.truncated,
            window: self.window,
            notes: self.notes,
        };
        let document = json!({
            "instance": with.instance,
            "sources": with.sources,
            "window": outcome.window,
            "looked_at": outcome.looked_at,
            "truncated": outcome.truncated,
            "verdict": outcome.verdict,
            "findings": findings,
            "sample": self.sample.lines(),
        });
        let kept = cx.keep("log-lines", &cx.ec2_arn(&format!("instance/{}", with.instance)), &document).await?;
        Ok(Found { outcome, evidence: vec![kept] })
    }
}

/// The answer in a word.
fn answer(findings: &Findings, port: u16) -> Answer {
    match findings.confidence() {
        Some(Confidence::Confirmed) => Answer::Confirmed,
        Some(Confidence::Probable) => Answer::Probable,
        Some(Confidence::Lead) => Answer::Lead,
        None if would_show(findings, port) => Answer::None,
        None => Answer::NoLogSource,
    }
}

/// Whether a login through this port would be in what was read.
fn would_show(findings: &Findings, port: u16) -> bool {
    if WINDOWS_PORTS.contains(&port) {
        findings.windows_lines > 0
    } else if port == ssh() {
        findings.sshd_lines > 0
    } else {
        findings.saw_a_log()
    }
}
