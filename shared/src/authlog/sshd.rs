//! Messages of an OpenSSH server, without what stands around them.

use super::{Event, Evidence, Method, Source, tail};

/// What a message tells, and how often.
pub(super) fn read(message: &str) -> (Event, u32) {
    let message = strip_relay(message.trim());
    match repeated(message) {
        Some((inner, times)) => (event(strip_relay(inner.trim())), times),
        None => match more_failures(message) {
            Some(found) => found,
            None => (event(message), 1),
        },
    }
}

/// `message repeated N times: [ MESSAGE]`, as rsyslog and sysklogd reduce repetitions.
fn repeated(text: &str) -> Option<(&str, u32)> {
    let (times, rest) = text.strip_prefix("message repeated ")?.split_once(" times: [")?;
    Some((rest.strip_suffix(']')?, times.parse().ok()?))
}

/// `PAM N more authentication failures; logname= … rhost=HOST  user=USER` (`auth-pam.c`, Linux-PAM's `pam_unix`).
fn more_failures(text: &str) -> Option<(Event, u32)> {
    let (times, rest) = text.strip_prefix("PAM ")?.split_once(" more authentication failure")?;
    let fields = rest.strip_prefix('s').unwrap_or(rest).strip_prefix("; ")?;
    Some((pam_failure(fields)?, times.parse().ok()?))
}

/// What relays put between tag and message: Solaris' message id, a kernel's time.
fn strip_relay(text: &str) -> &str {
    if let Some((_, rest)) = text.strip_prefix("[ID ").and_then(|rest| rest.split_once("] ")) {
        return rest;
    }
    let Some(rest) = text.strip_prefix("kernel:") else { return text };
    match rest.trim_start().strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((seconds, rest)) if seconds.bytes().all(|b| b.is_ascii_digit() || b". ".contains(&b)) => {
            rest.trim_start_matches(':').trim_start()
        }
        _ => text,
    }
}

fn event(text: &str) -> Event {
    let (text, preauth) = match text.trim_end().strip_suffix("[preauth]") {
        Some(text) => (text.trim_end(), true),
        None => (text.trim_end(), false),
    };
    let text = ["error: ", "fatal: "].iter().find_map(|level| text.strip_prefix(level)).unwrap_or(text);
    understood(text, preauth).unwrap_or(Event::Other)
}

fn understood(text: &str, preauth: bool) -> Option<Event> {
    if let Some(rest) = text.strip_prefix("Accepted ") {
        return accepted(rest);
    }
    if let Some(rest) = text.strip_prefix("Failed ") {
        return failed(rest);
    }
    if let Some(rest) = text.strip_prefix("Invalid user").or_else(|| text.strip_prefix("Illegal user")) {
        let rest = rest.strip_prefix(' ')?;
        let tail = tail::from_port(rest).or_else(|| tail::from_host(rest))?;
        return Some(failure(Some(tail.before), tail.source(), tail.port, true, Evidence::UnknownUser));
    }
    for start in ["Connection closed by ", "Connection reset by ", "Disconnected from "] {
        if let Some(rest) = text.strip_prefix(start) {
            return ended(rest, preauth);
        }
    }
    if let Some(rest) = text.strip_prefix("Disconnecting") {
        return disconnecting(rest, preauth);
    }
    if let Some(rest) = text.strip_prefix("Received disconnect from ") {
        let tail = tail::leading(rest)?;
        return Some(Event::Disconnected { user: None, from: tail.source(), port: tail.port, preauth });
    }
    if let Some(rest) = text.strip_prefix("maximum authentication attempts exceeded for ") {
        let tail = tail::from_port_protocol(rest).or_else(|| tail::from_port(rest)).or_else(|| tail::from_host(rest))?;
        let (user, invalid) = user(tail.before);
        return Some(failure(user, tail.source(), tail.port, invalid, Evidence::Refused));
    }
    if let Some(rest) = text.strip_prefix("User ") {
        return not_allowed(rest);
    }
    if let Some(rest) = text.strip_prefix("ROOT LOGIN REFUSED FROM ") {
        let tail = tail::leading(rest)?;
        return Some(failure(Some("root"), tail.source(), tail.port, false, Evidence::Refused));
    }
    pam(text).or_else(|| probe(text))
}

fn failure(user: Option<&str>, from: Source, port: Option<u16>, invalid_user: bool, evidence: Evidence) -> Event {
    Event::LoginFailed { user: user.map(str::to_owned), from, port, invalid_user, method: None, evidence }
}

/// `METHOD for USER from HOST port N ssh2[: INFO]`
fn accepted(rest: &str) -> Option<Event> {
    let (word, rest) = rest.split_once(" for ").filter(|(word, _)| is_method(word))?;
    let (tail, from) = verdict(rest, word)?;
    Some(Event::LoginOk { user: tail.before.to_owned(), from, port: tail.port, method: method(word, tail.info) })
}

/// `METHOD for [invalid user ]USER from HOST port N ssh2[: INFO]`, and without the end as very old servers write it.
fn failed(rest: &str) -> Option<Event> {
    let (word, rest) = rest.split_once(" for ").filter(|(word, _)| is_method(word))?;
    let (tail, from) = verdict(rest, word).or_else(|| {
        let tail = tail::from_port(rest).or_else(|| tail::from_host(rest))?;
        Some((tail, tail.source()))
    })?;
    let method = method(word, tail.info);
    let (user, invalid_user) = user(tail.before);
    if let (Method::PublicKey { fingerprint }, Some(user), false) = (&method, user, invalid_user) {
        return Some(Event::KeyRefused { user: user.to_owned(), from, port: tail.port, fingerprint: fingerprint.clone() });
    }
    let user = user.map(str::to_owned);
    Some(Event::LoginFailed { user, from, port: tail.port, invalid_user, method: Some(method), evidence: Evidence::Attempt })
}

/// The end of `auth_log`'s message. INFO is a key (two words that sshd makes itself) or, for certificates, host-based and
/// Kerberos authentication, text that the client has a say in: then every reading must agree.
fn verdict<'a>(rest: &'a str, method: &str) -> Option<(tail::Tail<'a>, Source)> {
    let plain = tail::from_port_protocol(rest);
    if method.starts_with("gssapi") || method.starts_with("hostbased") {
        return tail::agree(plain.into_iter().chain(tail::readings_with_info(rest)));
    }
    if let Some(tail) = plain.or_else(|| tail::from_port_protocol_key(rest)) {
        return Some((tail, tail.source()));
    }
    tail::agree(tail::readings_with_info(rest))
}

fn is_method(word: &str) -> bool {
    !word.is_empty() && word.len() <= 64 && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-/_.@".contains(&b))
}

fn method(word: &str, info: &str) -> Method {
    match word.split('/').next().unwrap_or(word) {
        "password" => Method::Password,
        "keyboard-interactive" | "challenge-response" => Method::KeyboardInteractive,
        "publickey" => Method::PublicKey { fingerprint: fingerprint(info) },
        "hostbased" => Method::HostBased,
        name if name.starts_with("gssapi") => Method::Gssapi,
        _ => Method::Other { name: word.to_owned() },
    }
}

fn fingerprint(info: &str) -> Option<String> {
    let is_print = |word: &&str| word.starts_with("SHA256:") || word.starts_with("MD5:") || word.matches(':').count() >= 5;
    info.split(' ').find(is_print).map(|word| word.trim_end_matches(',').chars().take(128).collect())
}

/// The user part: `[invalid user ]USER`; Solaris hides the name.
fn user(text: &str) -> (Option<&str>, bool) {
    if text == "<invalid username>" {
        return (None, true);
    }
    match text.strip_prefix("invalid user ").or_else(|| text.strip_prefix("illegal user ")) {
        Some(user) => (Some(user), true),
        None => (Some(text), false),
    }
}

/// `authenticating user USER `, `invalid user USER ` or `user USER ` before `HOST port N`: sshd's "log preamble". In the
/// first two the user is not authenticated.
fn preamble(text: &str) -> Option<(&str, bool, bool)> {
    [("authenticating user ", false, true), ("invalid user ", true, true), ("user ", false, false)]
        .into_iter()
        .find_map(|(start, invalid, before)| text.strip_prefix(start).map(|rest| (rest, invalid, before)))
}

/// `[PREAMBLE]HOST port N`, or `HOST` alone, at the right end.
fn ended(rest: &str, preauth: bool) -> Option<Event> {
    if let Some((body, invalid, before)) = preamble(rest) {
        let tail = tail::host_port(body)?;
        return Some(preamble_event(tail, tail.source(), invalid, before, preauth));
    }
    let tail = if rest.contains(' ') {
        tail::host_port(rest).filter(|tail| tail.before.is_empty() && !rest.starts_with(' '))?
    } else {
        tail::leading(rest)?
    };
    // `remote host` or `peer` is no address, and sshd writes nothing but addresses here.
    matches!(tail.source(), Source::Address(_)).then_some(())?;
    Some(Event::Disconnected { user: None, from: tail.source(), port: tail.port, preauth })
}

fn preamble_event(tail: tail::Tail<'_>, from: Source, invalid: bool, before: bool, preauth: bool) -> Event {
    if before {
        failure(Some(tail.before), from, tail.port, invalid, Evidence::Ended)
    } else {
        Event::Disconnected { user: Some(tail.before.to_owned()), from, port: tail.port, preauth }
    }
}

const TOO_MANY: &str = ": Too many authentication failures";

/// `Disconnecting[ [PREAMBLE]HOST port N]: REASON`
fn disconnecting(rest: &str, preauth: bool) -> Option<Event> {
    if let Some(rest) = rest.strip_prefix(TOO_MANY) {
        let user = rest.strip_prefix(" for ");
        return (rest.is_empty() || user.is_some()).then(|| failure(user, Source::Unknown, None, false, Evidence::Refused));
    }
    let rest = rest.strip_prefix(' ')?;
    if let Some((body, invalid, before)) = preamble(rest) {
        if let Some(body) = body.strip_suffix(TOO_MANY) {
            let tail = tail::host_port(body)?;
            return Some(failure(Some(tail.before), tail.source(), tail.port, invalid, Evidence::Refused));
        }
        // User name and reason are both the client's to choose.
        let (tail, from) = tail::agree(tail::announced_readings(body))?;
        return Some(preamble_event(tail, from, invalid, before, preauth));
    }
    let tail = tail::leading(rest)?;
    let from = tail.source();
    if rest.ends_with(TOO_MANY) {
        return Some(failure(None, from, tail.port, false, Evidence::Refused));
    }
    Some(Event::Disconnected { user: None, from, port: tail.port, preauth })
}

/// `USER from HOST not allowed because REASON`
fn not_allowed(rest: &str) -> Option<Event> {
    let (who, why) = rest.rsplit_once(" not allowed because ")?;
    let denied = ["listed in DenyUsers", "not listed in AllowUsers", "not in any group", "a group is listed in DenyGroups"];
    if denied.contains(&why) || why == "none of user's groups are listed in AllowGroups" {
        let tail = tail::from_host(who)?;
        return Some(failure(Some(tail.before), tail.source(), None, false, Evidence::Refused));
    }
    (why.starts_with("account is locked") || why.starts_with("shell "))
        .then(|| failure(Some(who), Source::Unknown, None, false, Evidence::Refused))
}

fn pam(text: &str) -> Option<Event> {
    let failed = |rest: &str| rest.strip_prefix("authentication failure; ").and_then(pam_failure);
    let opened = |rest: &str| {
        let (user, _) = rest.strip_prefix("session opened for user ")?.rsplit_once(" by ")?;
        let user = user.strip_suffix(')').and_then(|user| user.rsplit_once("(uid=")).map_or(user, |(user, _)| user);
        Some(Event::SessionOpened { user: user.to_owned() })
    };
    if let Some((module, rest)) = text.strip_prefix("pam_").and_then(|rest| rest.split_once("): ")) {
        let (name, service) = module.split_once('(')?;
        name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_').then_some(())?;
        return match service {
            "sshd:auth" => failed(rest),
            "sshd:session" => opened(rest),
            _ => None,
        };
    }
    if let Some(found) = failed(text).or_else(|| opened(text)) {
        return Some(found);
    }
    let said = match text.strip_prefix("PAM: ") {
        Some(said) => said,
        None if text.starts_with("Authentication ") || text.starts_with("authentication ") => text,
        None => return None,
    };
    let (what, rest) = said.split_once(" for ")?;
    (what.len() <= 100 && !what.contains(" from ")).then_some(())?;
    // macOS and BSD add ` via ADDRESS`, which is the server's own.
    let tail = tail::from_host(rest).or_else(|| rest.rsplit_once(" via ").and_then(|(rest, _)| tail::from_host(rest)))?;
    let (user, invalid) = user(tail.before);
    Some(failure(user, tail.source(), None, invalid || what.starts_with("User not known"), Evidence::Pam))
}

/// `logname= uid=0 euid=0 tty=ssh ruser= rhost=HOST  user=USER`: the user is the last field and may hold anything, so it
/// is read from the left.
fn pam_failure(fields: &str) -> Option<Event> {
    let mut rest = fields;
    let mut remote_user = "";
    loop {
        let (field, after) = rest.split_once(' ').unwrap_or((rest, ""));
        let (name, value) = field.split_once('=')?;
        match name {
            "rhost" => {
                let user = after.trim_start().strip_prefix("user=").unwrap_or(remote_user);
                let user = (!user.is_empty()).then_some(user);
                return Some(failure(user, Source::read(value), None, false, Evidence::PamModule));
            }
            "ruser" => remote_user = value,
            "logname" | "uid" | "euid" | "tty" => {}
            _ => return None,
        }
        rest = after.trim_start();
    }
}

/// Connections that never came to a user name.
fn probe(text: &str) -> Option<Event> {
    let at_right = |rest: &str| tail::from_port(rest).or_else(|| tail::from_host(rest)).map(|tail| (tail.source(), tail.port));
    let at_left = |rest: &str| tail::leading(rest).map(|tail| (tail.source(), tail.port));
    if let Some(rest) = text.strip_prefix("Connection from ") {
        let (from, port) = at_left(rest)?;
        return Some(Event::Connected { from, port });
    }
    let found = if let Some(rest) = text.strip_prefix("Did not receive identification string ") {
        at_right(rest)
    } else if text.starts_with("Bad protocol version identification '") || text.starts_with("Magic value check failed (") {
        at_right(text)
    } else if let Some(rest) = text.strip_prefix("refused connect from ") {
        let (_, host) = rest.strip_suffix(')')?.rsplit_once(" (")?;
        Some((Source::read(host), None))
    } else if let Some(rest) = text.strip_prefix("Timeout before authentication for ") {
        at_left(rest.strip_prefix("connection from ").unwrap_or(rest))
    } else if let Some(rest) = text.strip_prefix("Unable to negotiate with ") {
        announced(rest)
    } else {
        let (what, rest) = text.split_once(": Connection from ")?;
        (what == "banner exchange" || ["ssh_", "sshpkt_", "kex_", "userauth_"].iter().any(|start| what.starts_with(start))).then_some(())?;
        announced(rest)
    };
    let (from, port) = found?;
    Some(Event::Probe { from, port })
}

/// `[PREAMBLE]HOST port N: TEXT`
fn announced(rest: &str) -> Option<(Source, Option<u16>)> {
    match preamble(rest) {
        Some((body, ..)) => tail::agree(tail::announced_readings(body)).map(|(tail, from)| (from, tail.port)),
        None => tail::leading(rest).map(|tail| (tail.source(), tail.port)),
    }
}
