//! What stands around an sshd message: syslog headers of RFC 3164 and RFC 5424, and the forms `journalctl` prints.

use super::{Event, Family, Parsed, sshd};

/// Which process a line names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    /// An SSH server's.
    Sshd,
    /// Another process.
    Foreign,
}

/// Reads a line that is no JSON and no Windows event.
pub(super) fn read(line: &str) -> Option<Parsed> {
    let (tag, pid, message) = open(line);
    match tag {
        Some(Tag::Foreign) => None,
        Some(Tag::Sshd) => {
            let (event, times) = sshd::read(message);
            Some(Parsed { event, times, family: Family::Sshd, pid, tagged: true })
        }
        None => {
            let (event, times) = sshd::read(message);
            (event != Event::Other).then_some(Parsed { event, times, family: Family::Sshd, pid: None, tagged: false })
        }
    }
}

/// Whether the line names an SSH server as its process.
pub(super) fn is_from_sshd(line: &str) -> bool {
    open(line).0 == Some(Tag::Sshd)
}

/// Whether a process name is an SSH server's: since OpenSSH 9.8 the work is done by `sshd-session`, since 10.0 the part
/// before authentication by `sshd-auth`.
pub(super) fn is_sshd(process: &str) -> bool {
    let name = process.rsplit('/').next().unwrap_or(process);
    let name = name.split('(').next().unwrap_or(name);
    matches!(name, "sshd" | "sshd-session" | "sshd-auth")
}

/// Process tag, process id and message of a line.
fn open(line: &str) -> (Option<Tag>, Option<u32>, &str) {
    let line = line.trim_start_matches('\u{feff}').trim();
    let rest = strip_priority(line);
    if let Some(found) = rfc5424(rest) {
        return found;
    }
    let rest = strip_time(rest);
    // Before any tag is looked for: `error: PAM: …` or `Disconnecting: …` is a message and not a process of that name.
    if sshd::read(rest).0 != Event::Other {
        return (None, None, rest);
    }
    if let Some(found) = tag(rest) {
        return found;
    }
    // A host name, and in some configurations the facility, stand before the tag.
    if let Some((_, after)) = word(rest) {
        if let Some(found) = tag(after) {
            return found;
        }
        if let Some((facility, after)) = word(after)
            && is_facility(facility)
            && let Some(found) = tag(after)
        {
            return found;
        }
    }
    (None, None, rest)
}

/// `name[pid]: message`, `name: message`, `[name]: message`, `[name] message`.
fn tag(text: &str) -> Option<(Option<Tag>, Option<u32>, &str)> {
    let (head, message) = text.split_once(' ').unwrap_or((text, ""));
    let (body, colon) = match head.strip_suffix(':') {
        Some(body) => (body, true),
        None => (head, false),
    };
    let (name, pid) = match body.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
        Some(inner) => (inner, None),
        None if !colon => return None,
        None => match body.strip_suffix(']').and_then(|inner| inner.rsplit_once('[')) {
            Some((name, pid)) => (name, pid.parse().ok()),
            None => (body, None),
        },
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-./()@+\\".contains(&b);
    if name.is_empty() || !name.bytes().all(plain) || !name.bytes().any(|b| b.is_ascii_alphabetic()) {
        return None;
    }
    let tag = if is_sshd(name) { Tag::Sshd } else { Tag::Foreign };
    Some((Some(tag), pid, message.trim_start()))
}

/// `1 TIMESTAMP HOST APP PROCID MSGID STRUCTURED-DATA MESSAGE` (<https://www.rfc-editor.org/rfc/rfc5424#section-6>).
fn rfc5424(text: &str) -> Option<(Option<Tag>, Option<u32>, &str)> {
    let rest = text.strip_prefix("1 ")?;
    let (time, rest) = word(rest)?;
    (time == "-" || is_iso(time)).then_some(())?;
    let (_host, rest) = word(rest)?;
    let (app, rest) = word(rest)?;
    let (process, rest) = word(rest)?;
    let (_message_id, rest) = word(rest)?;
    let rest = strip_structured_data(rest)?;
    let message = rest.trim_start().trim_start_matches('\u{feff}');
    let tag = match app {
        "-" => None,
        app if is_sshd(app) => Some(Tag::Sshd),
        _ => Some(Tag::Foreign),
    };
    Some((tag, process.parse().ok(), message))
}

/// What follows `-` or `[id name="value" …]…`; values are quoted, with `\` before `"`, `]` and `\`.
fn strip_structured_data(text: &str) -> Option<&str> {
    if let Some(rest) = text.strip_prefix('-') {
        return Some(rest);
    }
    let mut rest = text;
    while let Some(mut element) = rest.strip_prefix('[') {
        let mut quoted = false;
        loop {
            let mut chars = element.chars();
            let next = chars.next()?;
            if quoted && next == '\\' {
                chars.next();
            }
            element = chars.as_str();
            match next {
                '"' => quoted = !quoted,
                ']' if !quoted => break,
                _ => {}
            }
        }
        rest = element;
    }
    (rest.len() != text.len()).then_some(rest)
}

fn strip_priority(text: &str) -> &str {
    text.strip_prefix('<')
        .and_then(|rest| rest.split_once('>'))
        .filter(|(number, _)| (1..=3).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit()))
        .map_or(text, |(_, rest)| rest.trim_start())
}

/// What follows a time stamp, if there is one. The time itself is not used: it has no year and no zone in RFC 3164, and
/// the time of ingestion is known.
fn strip_time(text: &str) -> &str {
    stamped(text).map_or(text, str::trim_start)
}

fn stamped(text: &str) -> Option<&str> {
    let (first, rest) = word(text)?;
    if is_iso(first) || is_unix(first) {
        return Some(rest);
    }
    if is_date(first) {
        return date_and_clock(text);
    }
    if is_month(first) {
        let (day, rest) = word(rest)?;
        is_number(day, 1..=2).then_some(())?;
        let (clock, rest) = word(rest)?;
        if is_clock(clock) {
            return Some(rest);
        }
        let (clock, rest) = is_number(clock, 4..=4).then(|| word(rest)).flatten()?;
        return is_clock(clock).then_some(rest);
    }
    if is_number(first, 4..=4) {
        let (month, rest) = word(rest)?;
        let (day, rest) = word(rest)?;
        let (clock, rest) = word(rest)?;
        return (is_month(month) && is_number(day, 1..=2) && is_clock(clock)).then_some(rest);
    }
    if matches!(first, "Mon" | "Tue" | "Wed" | "Thu" | "Fri" | "Sat" | "Sun") {
        return date_and_clock(rest);
    }
    // `journalctl -o short-monotonic`: `[  970.699396]`.
    let (seconds, rest) = text.strip_prefix('[')?.split_once(']')?;
    is_unix(seconds.trim()).then_some(rest)
}

/// `2023-11-14 00:20:42[.1] [CET|UTC|+01:00]`
fn date_and_clock(text: &str) -> Option<&str> {
    let (date, rest) = word(text)?;
    let (clock, rest) = word(rest)?;
    (is_date(date) && is_clock(clock)).then_some(())?;
    match word(rest) {
        Some((zone, after)) if matches!(zone, "UTC" | "GMT" | "CET" | "CEST" | "EST" | "EDT" | "PST" | "PDT") || is_offset(zone) => {
            Some(after)
        }
        _ => Some(rest),
    }
}

fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let (word, rest) = text.split_once(' ')?;
    (!word.is_empty()).then(|| (word, rest.trim_start()))
}

fn is_number(text: &str, length: std::ops::RangeInclusive<usize>) -> bool {
    length.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_month(text: &str) -> bool {
    matches!(text, "Jan" | "Feb" | "Mar" | "Apr" | "May" | "Jun" | "Jul" | "Aug" | "Sep" | "Oct" | "Nov" | "Dec")
}

fn is_clock(text: &str) -> bool {
    let text = text.strip_suffix(':').unwrap_or(text);
    text.len() >= 7 && text.matches(':').count() == 2 && text.bytes().all(|b| b.is_ascii_digit() || b":.,".contains(&b))
}

fn is_date(text: &str) -> bool {
    let mut parts = text.split('-');
    matches!((parts.next(), parts.next(), parts.next(), parts.next()), (Some(y), Some(m), Some(d), None)
        if is_number(y, 4..=4) && is_number(m, 1..=2) && is_number(d, 1..=2))
}

fn is_iso(text: &str) -> bool {
    text.split_once(['T', 't']).is_some_and(|(date, clock)| {
        is_date(date)
            && clock.starts_with(|c: char| c.is_ascii_digit())
            && clock.bytes().all(|b| b.is_ascii_digit() || b":.,+-Zz".contains(&b))
    })
}

fn is_offset(text: &str) -> bool {
    text.strip_prefix(['+', '-']).is_some_and(|rest| (4..=5).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_digit() || b == b':'))
}

fn is_unix(text: &str) -> bool {
    text.split_once('.').is_some_and(|(seconds, fraction)| is_number(seconds, 1..=12) && is_number(fraction, 3..=9))
}

/// `auth.info`, as busybox and some syslog-ng templates write it.
fn is_facility(text: &str) -> bool {
    text.split_once('.').is_some_and(|(facility, severity)| {
        facility.starts_with("auth") && !severity.is_empty() && severity.bytes().all(|b| b.is_ascii_alphabetic())
    })
}
