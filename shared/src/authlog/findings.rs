//! What the judge found, as it goes into a step's outcome and the report.

use std::net::IpAddr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Method;

/// How sure it is that the attacker got in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// From the attacker's own address, by password, after that address failed: the attacker got in.
    Confirmed,
    /// From the attacker's neighbourhood (IPv4 /24, IPv6 /64), or from its address by key or without a failure before
    /// it: a person decides.
    Probable,
    /// A user name the attacker tried logged in from elsewhere afterwards, or something alike: reported.
    Lead,
}

/// Logins of one user, from one address, by one method.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Login {
    /// How sure.
    pub confidence: Confidence,
    /// As whom.
    pub user: String,
    /// From which address; `None` where the line names a host or more than one address could be meant.
    pub from: Option<IpAddr>,
    /// The source as written, where it is no address.
    pub host: Option<String>,
    /// When the log says the login on [`Login::line`] was.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// How it was authenticated.
    pub method: Method,
    /// Failed attempts of this address before it: at least so many.
    pub failures_before: u64,
    /// Logins of this user from there by this method in the window.
    pub times: u64,
    /// The first of them.
    #[schemars(with = "String")]
    pub first: Timestamp,
    /// The last of them.
    #[schemars(with = "String")]
    pub last: Timestamp,
    /// The log line, cut after 2,048 bytes.
    pub line: String,
    /// Log group and stream.
    pub source: String,
    /// How the line can be found again.
    pub reference: String,
    /// Whether the line itself names sshd, or is a Windows event.
    pub tagged: bool,
    /// Why this confidence, in a sentence.
    pub why: String,
}

/// A user name the attackers tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserTried {
    /// The name, as they wrote it.
    pub user: String,
    /// How often: at least so many failed attempts.
    pub attempts: u64,
    /// When first.
    #[schemars(with = "String")]
    pub first: Timestamp,
}

/// What did not fit into memory. All zero: nothing is missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotKept {
    /// Login lines from the attackers' addresses by password. Confirmed ones go last.
    pub attacker_logins: u64,
    /// Login lines from the attackers' addresses by other means, or from their neighbourhood.
    pub other_logins: u64,
    /// Login lines from elsewhere, of which some may have been leads.
    pub elsewhere: u64,
    /// Lines with user names tried that were not remembered, so that a lead may be missing.
    pub users_tried: u64,
}

/// The judge's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Findings {
    /// Logins, most severe first, then by time.
    pub logins: Vec<Login>,
    /// Failed attempts from the attackers: at least so many. One attempt can leave several lines; the kind of line of
    /// which there are most counts.
    pub failures: u64,
    /// Keys of existing users that were not accepted from the attackers: no failed attempts, clients offer all they have.
    pub keys_refused: u64,
    /// Connections of the attackers that never came to a user name.
    pub probes: u64,
    /// Account lock-outs in the window, whoever caused them (Windows 4740).
    pub lockouts: u64,
    /// Log events fed.
    pub lines_read: u64,
    /// Messages of an SSH server among them, inside the window.
    pub sshd_lines: u64,
    /// Events of the Windows Security log among them, inside the window.
    pub windows_lines: u64,
    /// Log events outside the window: not looked at.
    pub outside_window: u64,
    /// Messages that name a known source: never counted.
    pub known_lines: u64,
    /// Time of the first log event in the window.
    #[schemars(with = "Option<String>")]
    pub first_line: Option<Timestamp>,
    /// Time of the last log event in the window.
    #[schemars(with = "Option<String>")]
    pub last_line: Option<Timestamp>,
    /// The user names the attackers tried most, at most 20.
    pub users_tried: Vec<UserTried>,
    /// How many different user names the attackers tried: at least so many.
    pub users_tried_total: u64,
    /// What did not fit.
    pub not_kept: NotKept,
}

impl Findings {
    /// Whether the lines came from a log in which logins would be seen. If not, "no login" says nothing.
    #[must_use]
    pub fn saw_a_log(&self) -> bool {
        self.sshd_lines > 0 || self.windows_lines > 0
    }

    /// Whether anything that could change the answer did not fit into memory.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.not_kept != NotKept::default()
    }

    /// The highest confidence reached.
    #[must_use]
    pub fn confidence(&self) -> Option<Confidence> {
        self.logins.iter().map(|login| login.confidence).min()
    }
}
