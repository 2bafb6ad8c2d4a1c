//! `cloudtrail.list-chained-roles`: the roles that a credential assumed. Deactivating the credential ends none of their sessions.
//!
//! It reports and goes no further: what those sessions did and assumed in turn is a search of its own, for each of them.

use cordon_shared::{plan::Seat, trail::Record};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::search::{self, Horizon, LookedIn, Params, Source};
use crate::{
    action::{ActionError, Cx, Found, Probe},
    permission::Permission,
};

/// Most sessions in the outcome; all of them are in the evidence.
const SESSIONS: usize = 500;
/// How long a session lasts where nothing says it (<https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>,
/// `DurationSeconds`).
const DEFAULT: i64 = 3_600;
/// The longest that a session of an assumed role lasts (the same page).
const LONGEST: i64 = 43_200;

/// A session of a role that was assumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Chained {
    /// The role.
    pub role_arn: String,
    /// Its name.
    pub role: String,
    /// Its account.
    pub account: String,
    /// Whether that is another account than the subject's.
    pub other_account: bool,
    /// The session's name.
    pub session: Option<String>,
    /// The access key that was handed out.
    pub access_key_id: Option<String>,
    /// When.
    pub at: Option<Timestamp>,
    /// From which address.
    pub source: Option<String>,
    /// By which call.
    pub call: String,
    /// When the session ends.
    pub until: Option<Timestamp>,
    /// Whether the session may still be used, unless it was revoked.
    pub may_live: bool,
    /// CloudTrail's id of the record.
    pub event_id: String,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// The sessions, in the order of time; at most 500.
    pub roles: Vec<Chained>,
    /// Sessions that are not in `roles`.
    pub roles_left_out: usize,
    /// Where the records come from.
    pub source: Source,
    /// Where was looked.
    pub looked_in: Vec<LookedIn>,
    /// What can be seen at all.
    pub horizon: Horizon,
    /// Why nothing is known, where no record could be read: then no roles prove nothing.
    pub nothing_known_because: Option<String>,
}

/// The probe.
#[derive(Debug, Clone, Copy, Default)]
pub struct ListChainedRoles;

impl Probe for ListChainedRoles {
    const NAME: &'static str = "cloudtrail.list-chained-roles";
    const ABOUT: &'static str = "Lists the roles that access keys, an instance's sessions, a user or a session assumed, from CloudTrail.";
    const SEAT: Seat = Seat::Member;
    const READS: &'static [Permission] = search::READS;
    type Params = Params;
    type Outcome = Outcome;

    async fn run(&self, cx: Cx<'_>, with: &Params) -> Result<Found<Outcome>, ActionError> {
        let found = search::search(Self::NAME, cx, with, true).await?;
        let (now, home) = (cx.clock.now(), cx.cell.account.as_str());
        let mut roles: Vec<Chained> = found.records.iter().filter_map(|record| chained(record, home, now)).collect();
        let roles_left_out = roles.len().saturating_sub(SESSIONS);
        // The latest are those that may still live.
        roles.drain(..roles_left_out);
        let outcome = Outcome {
            roles,
            roles_left_out,
            source: found.source,
            looked_in: found.looked_in,
            horizon: found.horizon,
            nothing_known_because: found.nothing_known_because,
        };
        Ok(Found { outcome, evidence: found.evidence })
    }
}

fn chained(record: &Record, home: &str, now: Timestamp) -> Option<Chained> {
    let role = record.role.as_ref().filter(|_| record.assumes() && record.error.is_none())?;
    let account = role.arn.split(':').nth(4).unwrap_or_default();
    let until = until(record);
    Some(Chained {
        role: role.arn.rsplit('/').next().unwrap_or_default().to_owned(),
        account: account.to_owned(),
        other_account: account != home,
        role_arn: role.arn.clone(),
        session: role.session.clone(),
        access_key_id: record.issued.as_ref().map(|issued| issued.access_key.clone()),
        at: record.at,
        source: record.address.clone(),
        call: record.call(),
        until,
        // Whose end is not known may live.
        may_live: until.is_none_or(|until| until > now),
        event_id: record.id.clone(),
    })
}

/// When a session ends: as STS answered, else as it was asked, else as STS does without being asked.
fn until(record: &Record) -> Option<Timestamp> {
    let asked = || {
        let seconds = record.role.as_ref().and_then(|role| role.seconds).unwrap_or(DEFAULT).clamp(0, LONGEST);
        record.at?.checked_add(SignedDuration::from_secs(seconds)).ok()
    };
    record.issued.as_ref().and_then(|issued| issued.until).or_else(asked)
}
