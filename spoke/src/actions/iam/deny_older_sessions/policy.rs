//! What the inline policy says: whose sessions are denied, up to when, and what it replaced. The pure part.
//!
//! The form is that of the console's "Revoke active sessions"
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_revoke-sessions.html>), narrowed by `aws:userid` where it is not for the
//! whole role: a session of a role has the role's id, a colon and the session's name as its user id, and the session of an instance is
//! called after the instance (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html>, principal key values).

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// The policy that the console writes.
pub(super) const CONSOLE: &str = "AWSRevokeOlderSessions";
/// The `Sid` of a statement for the whole role that we wrote, followed by the date that it replaced: the console writes none. Who moves the
/// cut-off again can tell by it that the date there is ours, and which date was there before us.
const MARK: &str = "CordonRevoke";
const REPLACED: &str = "CordonRevokeInsteadOf";

/// A cut-off that is not older than this is recent enough, also where it shall be moved forward: what was issued since is caught by the next
/// move, and a plan that is made twice does not move it twice.
pub(super) const FRESH: SignedDuration = SignedDuration::from_secs(60);

/// The most characters that the inline policies of a role have together, white space not counted
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>).
pub(super) const ROOM: usize = 10_240;

/// Whose sessions are denied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Those of one instance.
    Instance(String),
    /// Those of one session name.
    Session(String),
    /// All of the role.
    Role,
}

impl Scope {
    /// In a word.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Instance(_) => "instance",
            Self::Session(_) => "session",
            Self::Role => "role",
        }
    }

    /// Under which name the policy stands.
    pub(super) fn policy_name(&self) -> String {
        match self {
            Self::Instance(id) => format!("CordonRevoke-{id}"),
            Self::Session(name) => {
                let hash = Sha256::digest(name.as_bytes());
                let hash: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
                format!("CordonRevoke-{hash}")
            }
            Self::Role => CONSOLE.to_owned(),
        }
    }

    /// The pattern of the user ids that are denied.
    pub(super) fn userid(&self) -> Option<String> {
        match self {
            Self::Instance(name) | Self::Session(name) => Some(format!("*:{name}")),
            Self::Role => None,
        }
    }

    /// What claims go by: the same for whoever moves the cut-off.
    pub(super) fn attribute(&self) -> String {
        match self {
            Self::Instance(id) => format!("sessions of {id} older than the cut-off"),
            Self::Session(name) => format!("sessions called {name} older than the cut-off"),
            Self::Role => "all sessions older than the cut-off".to_owned(),
        }
    }
}

/// The policy. `replaced`: the date of the console's policy that it takes the place of.
pub(super) fn document(scope: &Scope, cutoff: Timestamp, replaced: Option<&str>) -> Value {
    let mut statement = statement(scope, &written(cutoff));
    if *scope == Scope::Role {
        let mark = replaced.map_or_else(|| MARK.to_owned(), |date| format!("{REPLACED}{}", packed(date)));
        statement.insert("Sid".to_owned(), Value::String(mark));
    }
    json!({ "Version": "2012-10-17", "Statement": [statement] })
}

/// The policy that the console writes.
pub(super) fn console_document(date: &str) -> Value {
    json!({ "Version": "2012-10-17", "Statement": [statement(&Scope::Role, date)] })
}

fn statement(scope: &Scope, date: &str) -> Map<String, Value> {
    let mut condition = Map::new();
    if let Some(userid) = scope.userid() {
        condition.insert("StringLike".to_owned(), json!({ "aws:userid": userid }));
    }
    condition.insert("DateLessThan".to_owned(), json!({ "aws:TokenIssueTime": date }));
    let mut statement = Map::new();
    statement.insert("Effect".to_owned(), json!("Deny"));
    statement.insert("Action".to_owned(), json!(["*"]));
    statement.insert("Resource".to_owned(), json!(["*"]));
    statement.insert("Condition".to_owned(), Value::Object(condition));
    statement
}

/// A cut-off as it is written into a policy.
pub(super) fn written(cutoff: Timestamp) -> String {
    cutoff.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The next whole second: a session's time of issue has no fractions, and one that was issued in this second is an older one.
pub(super) fn cutoff(now: Timestamp) -> Timestamp {
    let second = now.as_second() + i64::from(now.subsec_nanosecond() > 0);
    Timestamp::from_second(second).unwrap_or(now)
}

/// What stands under the policy's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing.
    None,
    /// What we write: its cut-off, and the console's date that it replaced.
    Ours { cutoff: Timestamp, replaced: Option<String> },
    /// What the console writes: its date as it is there.
    Console { cutoff: Timestamp, date: String },
    /// Anything else.
    Foreign,
}

impl Found {
    /// The cut-off that is in force.
    pub(super) fn cutoff(&self) -> Option<Timestamp> {
        match self {
            Self::Ours { cutoff, .. } | Self::Console { cutoff, .. } => Some(*cutoff),
            Self::None | Self::Foreign => None,
        }
    }

    /// The cut-off as it is written there.
    pub(super) fn date(&self) -> Option<String> {
        match self {
            Self::Console { date, .. } => Some(date.clone()),
            other => other.cutoff().map(written),
        }
    }

    /// The console's date that comes back when ours goes.
    pub(super) fn replaced(&self) -> Option<String> {
        match self {
            Self::Ours { replaced, .. } => replaced.clone(),
            Self::Console { date, .. } => Some(date.clone()),
            Self::None | Self::Foreign => None,
        }
    }
}

/// Reads what stands under the policy's name.
pub(super) fn read(scope: &Scope, text: Option<&str>) -> Found {
    match text {
        None => Found::None,
        Some(text) => parse(scope, text).unwrap_or(Found::Foreign),
    }
}

/// `None`: it is not exactly the form.
fn parse(scope: &Scope, text: &str) -> Option<Found> {
    let policy: Value = serde_json::from_str(text).ok()?;
    let [version, statements] = exactly(policy.as_object()?, ["Version", "Statement"])?;
    (version == "2012-10-17").then_some(())?;
    let statement = single(statements).as_object()?;
    let sid = statement.get("Sid");
    let mut bare = statement.clone();
    bare.remove("Sid");
    let [effect, action, resource, condition] = exactly(&bare, ["Effect", "Action", "Resource", "Condition"])?;
    (effect == "Deny" && single(action) == "*" && single(resource) == "*").then_some(())?;
    let condition = condition.as_object()?;
    let date = match scope.userid() {
        None => {
            let [date] = exactly(condition, ["DateLessThan"])?;
            date
        }
        Some(userid) => {
            let [date, like] = exactly(condition, ["DateLessThan", "StringLike"])?;
            let [found] = exactly(like.as_object()?, ["aws:userid"])?;
            (single(found) == userid.as_str()).then_some(())?;
            date
        }
    };
    let [date] = exactly(date.as_object()?, ["aws:TokenIssueTime"])?;
    let date = single(date).as_str()?;
    let cutoff = moment(date)?;
    match (scope, sid) {
        (Scope::Instance(_) | Scope::Session(_), None) => Some(Found::Ours { cutoff, replaced: None }),
        (Scope::Role, None) => Some(Found::Console { cutoff, date: date.to_owned() }),
        (Scope::Role, Some(sid)) => {
            let replaced = match sid.as_str()? {
                MARK => None,
                sid => Some(unpacked(sid.strip_prefix(REPLACED)?)?),
            };
            Some(Found::Ours { cutoff, replaced })
        }
        _ => None,
    }
}

/// The values of these names, if the object has these and no others.
fn exactly<'v, const N: usize>(map: &'v Map<String, Value>, names: [&str; N]) -> Option<[&'v Value; N]> {
    let mut values = [&Value::Null; N];
    for (value, name) in values.iter_mut().zip(names) {
        *value = map.get(name)?;
    }
    (map.len() == N).then_some(values)
}

/// A list of one is the one.
fn single(value: &Value) -> &Value {
    match value.as_array().map(Vec::as_slice) {
        Some([one]) => one,
        _ => value,
    }
}

/// The moment that a date of the console's form names: `2026-11-24T12:00:00.085Z`.
fn moment(date: &str) -> Option<Timestamp> {
    let shape = |(at, letter): (usize, char)| match at {
        4 | 7 => letter == '-',
        10 => letter == 'T',
        13 | 16 => letter == ':',
        19 => matches!(letter, '.' | 'Z'),
        _ => letter.is_ascii_digit() || letter == 'Z',
    };
    let good = date.len() >= 20 && date.char_indices().all(shape) && date.matches('Z').count() == 1 && date.ends_with('Z');
    good.then(|| date.parse().ok()).flatten()
}

/// A date as a `Sid` may hold it: letters and digits.
fn packed(date: &str) -> String {
    date.chars().filter(char::is_ascii_alphanumeric).collect()
}

fn unpacked(text: &str) -> Option<String> {
    let part = |from: usize, to: usize| text.get(from..to);
    let fraction = text.get(15..)?.strip_suffix('Z')?;
    let point = if fraction.is_empty() { "" } else { "." };
    let (year, month, day, hour) = (part(0, 4)?, part(4, 6)?, part(6, 8)?, part(9, 11)?);
    let date = format!("{year}-{month}-{day}T{hour}:{}:{}{point}{fraction}Z", part(11, 13)?, part(13, 15)?);
    (packed(&date) == text && moment(&date).is_some()).then_some(date)
}

/// How far what stands there is from what was planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Everything older than the planned cut-off is denied.
    InEffect,
    /// Not yet, and nobody else is in the way.
    Free,
    /// Somebody else wrote something else.
    Theirs,
}

/// Compares what stands there with the planned cut-off and with what was there at the plan.
pub(super) fn standing(now: &Found, planned: Timestamp, at_plan: &Found) -> Standing {
    match now {
        Found::Foreign => Standing::Theirs,
        found if found.cutoff().is_some_and(|cutoff| cutoff >= planned) => Standing::InEffect,
        // Somebody revoked by the console in between: that date would be lost.
        Found::Console { .. } if now != at_plan => Standing::Theirs,
        _ => Standing::Free,
    }
}

/// The characters of a policy that count.
pub(super) fn size(text: &str) -> usize {
    text.chars().filter(|letter| !letter.is_whitespace()).count()
}
