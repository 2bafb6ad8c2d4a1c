//! Logins in log lines: who tried, who got in, from where.
//!
//! [`parse`] reads one message of an SSH server or of the Windows Security log, whatever wraps it. [`Judge`] weighs a
//! stream of such lines against a question ("did this attacker get in?") in bounded memory.
//!
//! **Whom a line can be trusted about.** User names, client software names, disconnect reasons, certificate ids and
//! host-based client names are chosen by whoever connects, and sshd writes them into its messages unquoted. sshd itself
//! writes the address, at a fixed place: mostly at the right end. So messages are anchored at both ends and read from
//! the end that the other side cannot write to. Where two readings stay possible the address is
//! [`Source::Ambiguous`]: an [`Source::Address`] is the true one.
//!
//! Message formats: `auth.c` (`auth_log`, `auth_maxtries_exceeded`, `allowed_user`, `auth_root_allowed`,
//! `getpwnamallow`), `auth-pam.c` and `packet.c` (`sshpkt_vfatal`, `ssh_packet_disconnect`) of
//! <https://github.com/openssh/openssh-portable>; Windows events 4624, 4625, 4648, 4740:
//! <https://learn.microsoft.com/previous-versions/windows/it-pro/windows-10/security/threat-protection/auditing/event-4624>
//! and its neighbours.

mod books;
mod envelope;
mod findings;
mod json;
mod judge;
mod sshd;
mod tail;
mod windows;

#[cfg(test)]
mod corpus_tests;
#[cfg(test)]
mod judge_tests;
#[cfg(test)]
mod sshd_tests;
#[cfg(test)]
mod windows_tests;

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use findings::{Confidence, Findings, Login, NotKept, UserTried};
pub use judge::{Judge, LogLine, Question};

/// Longest text that is looked at: the largest event CloudWatch Logs takes
/// (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html>).
const MAX_TEXT: usize = 1024 * 1024;

/// Where a message says that it came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "value")]
pub enum Source {
    /// An address: without its zone, and an IPv4 address mapped into IPv6 as the IPv4 address.
    Address(IpAddr),
    /// A host name, or an address written so that it has more than one reading (`192.030.0.6`). Never looked up.
    Name(String),
    /// More than one address could be meant: somebody wrote one into a text that sshd does not quote.
    Ambiguous(Vec<IpAddr>),
    /// The message names none (`-` in Windows events, `UNKNOWN` of sshd).
    Unknown,
}

impl Source {
    /// The address, where there is exactly one.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(*address),
            _ => None,
        }
    }

    /// Reads the host part of a message.
    fn read(text: &str) -> Self {
        if matches!(text, "" | "-" | "UNKNOWN" | "unknown") {
            return Self::Unknown;
        }
        let bare = match text.split_once('%') {
            Some((bare, zone)) if !zone.is_empty() && zone.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) => bare,
            _ => text,
        };
        match bare.parse::<IpAddr>() {
            Ok(address) => Self::Address(address.to_canonical()),
            Err(_) => Self::Name(text.to_owned()),
        }
    }
}

/// How a login was, or was to be, authenticated.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Method {
    /// SSH `password` (RFC 4252).
    Password,
    /// SSH `keyboard-interactive` (RFC 4256) with whatever sub-method: PAM, BSD auth, one-time codes.
    KeyboardInteractive,
    /// SSH `publickey`.
    PublicKey {
        /// The key's fingerprint as logged; of a certificate the certified key's, else its CA's.
        fingerprint: Option<String>,
    },
    /// SSH `gssapi-with-mic` and relatives: Kerberos.
    Gssapi,
    /// SSH `hostbased`.
    HostBased,
    /// Another SSH method, by its name. `none` succeeds for an account with an empty password only.
    Other {
        /// As sshd writes it.
        name: String,
    },
    /// A Windows logon, by its type: 3 network (also RDP with NLA at first), 10 remote interactive (RDP).
    Windows {
        /// `LogonType` of events 4624 and 4625.
        logon_type: u32,
    },
}

impl Method {
    /// Whether what was proven is the knowledge of a password, which can be guessed (an empty one included).
    #[must_use]
    pub fn is_password(&self) -> bool {
        match self {
            Self::Password | Self::KeyboardInteractive => true,
            Self::Windows { logon_type } => matches!(logon_type, 3 | 10),
            Self::Other { name } => name == "none",
            Self::PublicKey { .. } | Self::Gssapi | Self::HostBased => false,
        }
    }

    /// Whether it is a logon to Windows.
    #[must_use]
    pub fn is_windows(&self) -> bool {
        matches!(self, Self::Windows { .. })
    }
}

/// Which kind of message tells of a failure. One failed attempt leaves up to three lines of different kinds, so kinds
/// are counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// The verdict on one attempt: `Failed METHOD for …`, Windows 4625.
    Attempt,
    /// `Invalid user …`: a name that does not exist here.
    UnknownUser,
    /// Turned away: `not allowed because …`, `ROOT LOGIN REFUSED`, too many attempts.
    Refused,
    /// sshd reporting what PAM said: `error: PAM: Authentication failure for …`.
    Pam,
    /// A PAM module's own line: `pam_unix(sshd:auth): authentication failure; …`. With several modules in the stack it
    /// is written before a login that succeeds, so alone it does not prove a failed attempt.
    PamModule,
    /// The connection ended before authentication, after a user name was given.
    Ended,
}

/// What one message tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Event {
    /// Somebody got in: `Accepted …`, Windows 4624.
    LoginOk {
        /// As whom.
        user: String,
        /// From where.
        from: Source,
        /// Source port.
        port: Option<u16>,
        /// How.
        method: Method,
    },
    /// Somebody did not get in.
    LoginFailed {
        /// As whom, where the message says so.
        user: Option<String>,
        /// From where.
        from: Source,
        /// Source port.
        port: Option<u16>,
        /// Whether the account does not exist or is refused as such.
        invalid_user: bool,
        /// How, where the message says so.
        method: Option<Method>,
        /// Which kind of message.
        evidence: Evidence,
    },
    /// A public key was not accepted for an existing user. Clients offer all the keys they have, so it is no failure.
    KeyRefused {
        /// For whom.
        user: String,
        /// From where.
        from: Source,
        /// Source port.
        port: Option<u16>,
        /// The key's fingerprint.
        fingerprint: Option<String>,
    },
    /// `pam_unix(sshd:session): session opened for user …`: no address in it.
    SessionOpened {
        /// For whom.
        user: String,
    },
    /// A connection that never came to a user name: scanners, banners, failed key exchanges, time-outs.
    Probe {
        /// From where.
        from: Source,
        /// Source port.
        port: Option<u16>,
    },
    /// A connection began (sshd at `LogLevel VERBOSE`).
    Connected {
        /// From where.
        from: Source,
        /// Source port.
        port: Option<u16>,
    },
    /// A connection ended, with no failure in the message.
    Disconnected {
        /// Of whom, after authentication.
        user: Option<String>,
        /// From where.
        from: Source,
        /// Source port.
        port: Option<u16>,
        /// Whether it ended before authentication.
        preauth: bool,
    },
    /// Windows 4648: a logon was attempted with explicit credentials.
    ExplicitCredentials {
        /// Whose credentials.
        user: String,
        /// From where.
        from: Source,
    },
    /// Windows 4740: an account was locked out.
    AccountLocked {
        /// Which.
        user: String,
        /// The computer from which the attempts came, as it calls itself.
        caller: Option<String>,
    },
    /// A line of an SSH server or of the Windows Security log that tells nothing about logins.
    Other,
}

/// Which log a line belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// An OpenSSH server's.
    Sshd,
    /// The Windows Security event log.
    Windows,
}

/// One message, read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Parsed {
    /// What it tells.
    pub event: Event,
    /// How often: `message repeated N times` and `PAM N more authentication failures` count N.
    pub times: u32,
    /// Which log.
    pub family: Family,
    /// Process id of the server process, where the line has one.
    pub pid: Option<u32>,
    /// Whether the line itself names its process. A bare message is taken as sshd's because of where it was found.
    pub tagged: bool,
}

/// Reads one log message, whatever wraps it: syslog (RFC 3164 and RFC 5424, with or without priority), `journalctl`'s
/// short forms, journald or fluentd JSON, a bare message; Windows Security events as XML, JSON or rendered text.
///
/// `None` where the line is not an SSH server's and no Windows logon event: in particular where it names another
/// process, whatever that process wrote.
#[must_use]
pub fn parse(line: &str) -> Option<Parsed> {
    let text = line.trim_start_matches('\u{feff}').trim();
    if text.is_empty() || text.len() > MAX_TEXT {
        return None;
    }
    if text.starts_with('{') {
        return json::read(text);
    }
    read_text(text)
}

/// Reads what is no JSON.
fn read_text(text: &str) -> Option<Parsed> {
    if windows::is_xml(text) {
        return windows::read_xml(text);
    }
    if windows::is_rendered(text) {
        return windows::read_rendered(text);
    }
    envelope::read(text)
}

/// Reads one log event that may hold several messages: one for each line if every line names an SSH server as its
/// process, else the whole as one message. sshd escapes line breaks that a client sends; a process that does not, cannot
/// begin a message of sshd's.
#[must_use]
pub fn parse_all(text: &str) -> Vec<Parsed> {
    let trimmed = text.trim();
    if trimmed.contains('\n') && !trimmed.starts_with('{') && !windows::is_xml(trimmed) && !windows::is_rendered(trimmed) {
        let lines = trimmed.lines().filter(|line| !line.trim().is_empty());
        if lines.clone().all(envelope::is_from_sshd) {
            return lines.filter_map(parse).collect();
        }
    }
    parse(trimmed).into_iter().collect()
}
