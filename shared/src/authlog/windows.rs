//! Logon events of the Windows Security log: as XML, and as the text that Windows renders.
//!
//! 4624 (logged on), 4625 (failed to log on), 4648 (explicit credentials), 4740 (locked out):
//! <https://learn.microsoft.com/previous-versions/windows/it-pro/windows-10/security/threat-protection/auditing/event-4625>.
//! The CloudWatch agent's `event_format` is `xml` (default) or `text`, the latter as
//! `[Channel] [LEVEL] [EventID] [Provider] [Computer] [Description]`. Rendered text is read in English only.

use super::{Event, Evidence, Family, Method, Parsed, Source, envelope, sshd};

/// The only provider of these events.
pub(super) const PROVIDER: &str = "Microsoft-Windows-Security-Auditing";
/// The provider of OpenSSH for Windows: its messages are sshd's.
const OPENSSH: &str = "OpenSSH";

/// `SubStatus` of 4625: the user name does not exist.
const NO_SUCH_USER: &str = "0xc0000064";
/// The account of a connection without credentials: a null session is no login.
const ANONYMOUS: (&str, &str) = ("ANONYMOUS LOGON", "S-1-5-7");

/// Wraps an event of the Security log.
pub(super) fn parsed(event: Event) -> Parsed {
    Parsed { event, times: 1, family: Family::Windows, pid: None, tagged: true }
}

/// What an event of this number tells, given its `EventData` by name.
pub(super) fn event(id: u32, field: &dyn Fn(&str) -> Option<String>) -> Event {
    let named = |name: &str| field(name).filter(|value| !matches!(value.as_str(), "" | "-"));
    let from = |name: &str| Source::read(field(name).unwrap_or_default().trim());
    logon(
        id,
        Logon {
            user: named("TargetUserName"),
            anonymous: named("TargetUserSid").as_deref() == Some(ANONYMOUS.1),
            logon_type: named("LogonType").and_then(|value| value.trim().parse().ok()),
            from: from("IpAddress"),
            port: named("IpPort").and_then(|value| value.trim().parse().ok()),
            invalid_user: named("SubStatus").is_some_and(|value| value.trim().eq_ignore_ascii_case(NO_SUCH_USER)),
            caller: named("TargetDomainName"),
        },
    )
}

struct Logon {
    user: Option<String>,
    anonymous: bool,
    logon_type: Option<u32>,
    from: Source,
    port: Option<u16>,
    invalid_user: bool,
    caller: Option<String>,
}

fn logon(id: u32, logon: Logon) -> Event {
    let Logon { user, anonymous, logon_type, from, port, invalid_user, caller } = logon;
    let anonymous = anonymous || user.as_deref().is_some_and(|user| user.eq_ignore_ascii_case(ANONYMOUS.0));
    match (id, user, logon_type) {
        (4624, Some(user), Some(logon_type)) if !anonymous => Event::LoginOk { user, from, port, method: Method::Windows { logon_type } },
        (4625, user, logon_type) => {
            let method = logon_type.map(|logon_type| Method::Windows { logon_type });
            Event::LoginFailed { user, from, port, invalid_user, method, evidence: Evidence::Attempt }
        }
        (4648, Some(user), _) => Event::ExplicitCredentials { user, from },
        (4740, Some(user), _) => Event::AccountLocked { user, caller },
        _ => Event::Other,
    }
}

/// Whether a text is an event in XML. Viewers put `- ` before elements that can be folded.
pub(super) fn is_xml(text: &str) -> bool {
    text.strip_prefix("- ").unwrap_or(text).starts_with("<Event")
}

/// Reads an event in XML. What a client chose is escaped in it, so that only the writer can begin an element.
pub(super) fn read_xml(text: &str) -> Option<Parsed> {
    let (system, data) = text.split_once("<EventData").unwrap_or((text, ""));
    let data = data.split_once("</EventData>").map_or("", |(data, _)| data);
    let (_, provider) = system.split_once("<Provider")?;
    let provider = attribute(provider.split_once('>')?.0, "Name")?;
    let id = system.split_once("<EventID")?.1.split_once('>')?.1.split_once('<')?.0.trim().parse().ok()?;
    let fields = data_elements(data).unwrap_or_default();
    let field = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    match provider.as_str() {
        PROVIDER => Some(parsed(event(id, &field))),
        OPENSSH => {
            envelope::is_sshd(&field("process")?).then_some(())?;
            let (event, times) = sshd::read(&field("payload")?);
            Some(Parsed { event, times, family: Family::Sshd, pid: None, tagged: true })
        }
        _ => None,
    }
}

/// `<Data Name="…">…</Data>`, in order; `None` where a name comes twice or an element is not closed.
fn data_elements(text: &str) -> Option<Vec<(String, String)>> {
    let mut fields: Vec<(String, String)> = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("<Data") {
        let (attributes, after) = after.split_once('>')?;
        let (value, after) = match attributes.trim_end().strip_suffix('/') {
            Some(_) => ("", after),
            None => after.split_once("</Data>")?,
        };
        rest = after;
        if let Some(name) = attribute(attributes, "Name") {
            if value.contains('<') || fields.iter().any(|(known, _)| *known == name) {
                return None;
            }
            fields.push((name, unescape(value)));
        }
    }
    Some(fields)
}

fn attribute(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(name)?;
    let rest = rest.trim_start().strip_prefix('=')?.trim_start();
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let (value, _) = rest.strip_prefix(quote)?.split_once(quote)?;
    Some(unescape(value))
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let (name, tail) = after.split_once(';').unwrap_or(("", after));
        let number = match name.strip_prefix("#x").or_else(|| name.strip_prefix("#X")) {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => name.strip_prefix('#').and_then(|decimal| decimal.parse().ok()),
        };
        let found = match name {
            "lt" => Some('<'),
            "gt" => Some('>'),
            "amp" => Some('&'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            _ => number.and_then(char::from_u32),
        };
        match found {
            Some(c) => {
                out.push(c);
                rest = tail;
            }
            None => {
                out.push('&');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// Whether a text is an event as Windows renders it, with what agents put before.
pub(super) fn is_rendered(text: &str) -> bool {
    text.starts_with("[Security] [")
        || text.starts_with("[OpenSSH/")
        || (text.contains("\nLogName=Security") && text.contains("\nEventCode="))
}

/// Reads a rendered event with its head.
pub(super) fn read_rendered(text: &str) -> Option<Parsed> {
    if let Some(rest) = text.strip_prefix('[') {
        let mut parts = rest.splitn(6, "] [");
        let (_channel, _level, id, provider, _computer) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let description = parts.next()?;
        let description = description.strip_suffix(']').unwrap_or(description);
        return match provider {
            OPENSSH => envelope::read(description),
            PROVIDER => Some(parsed(described(id.parse().ok()?, description))),
            _ => None,
        };
    }
    let (head, description) = text.split_once("\nMessage=")?;
    let value = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).map(str::trim);
    (value("LogName") == Some("Security")).then_some(())?;
    matches!(value("SourceName"), Some(PROVIDER | "Microsoft Windows security auditing.")).then_some(())?;
    Some(parsed(described(value("EventCode")?.parse().ok()?, description)))
}

/// What a description tells. An account name could hold line breaks, so an address counts only if all lines that look
/// like one agree.
pub(super) fn described(id: u32, description: &str) -> Event {
    let account = match id {
        4624 => "New Logon:",
        4625 => "Account For Which Logon Failed:",
        4648 => "Account Whose Credentials Were Used:",
        4740 => "Account That Was Locked Out:",
        _ => return Event::Other,
    };
    let mut section = "";
    let (mut user, mut sid, mut logon_type, mut status, mut port, mut caller) = (None, None, None, None, None, None);
    let mut sources: Vec<Source> = Vec::new();
    for line in description.lines() {
        let trimmed = line.trim();
        if trimmed.ends_with(':') && !line.starts_with([' ', '\t']) {
            section = trimmed;
            continue;
        }
        let Some((name, value)) = trimmed.split_once(':') else { continue };
        let value = value.trim();
        let value = (!matches!(value, "" | "-")).then_some(value);
        match name {
            "Account Name" if section == account && user.is_none() => user = value,
            "Security ID" if section == account && sid.is_none() => sid = value,
            "Logon Type" if logon_type.is_none() => logon_type = value,
            "Sub Status" if status.is_none() => status = value,
            "Source Port" | "Port" if port.is_none() => port = value,
            "Caller Computer Name" if caller.is_none() => caller = value,
            "Source Network Address" | "Network Address" => {
                let source = Source::read(value.unwrap_or_default());
                if !sources.contains(&source) {
                    sources.push(source);
                }
            }
            _ => {}
        }
    }
    let from = match sources.as_slice() {
        [] => Source::Unknown,
        [one] => one.clone(),
        many => Source::Ambiguous(many.iter().filter_map(Source::address).take(8).collect()),
    };
    logon(
        id,
        Logon {
            user: user.map(str::to_owned),
            anonymous: matches!(sid, Some("ANONYMOUS LOGON" | "NT AUTHORITY\\ANONYMOUS LOGON" | "S-1-5-7")),
            logon_type: logon_type.and_then(|value| value.parse().ok()),
            from,
            port: port.and_then(|value| value.parse().ok()),
            invalid_user: status.is_some_and(|value| value.eq_ignore_ascii_case(NO_SUCH_USER)),
            caller: caller.map(str::to_owned),
        },
    )
}
