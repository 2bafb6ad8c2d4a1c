//! The end of a message where sshd writes address and port, read from the side that a client cannot write to.

use super::Source;

/// A message cut in three: what stands before, the host, the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tail<'a> {
    /// What stands left of ` from HOST` or ` HOST`; may hold anything.
    pub before: &'a str,
    /// The host as written.
    pub host: &'a str,
    /// The port, where there is one.
    pub port: Option<u16>,
    /// What stands right of it, `""` where it ends the message.
    pub info: &'a str,
}

impl Tail<'_> {
    /// The host as a source.
    pub fn source(&self) -> Source {
        Source::read(self.host)
    }
}

/// `… from HOST port N ssh2`
pub(super) fn from_port_protocol(text: &str) -> Option<Tail<'_>> {
    let (rest, protocol) = text.rsplit_once(' ')?;
    is_protocol(protocol).then_some(())?;
    from_port(rest)
}

/// `… from HOST port N`
pub(super) fn from_port(text: &str) -> Option<Tail<'_>> {
    let tail = host_port(text)?;
    let before = strip_from(tail.before)?;
    Some(Tail { before, ..tail })
}

/// `… from HOST`
pub(super) fn from_host(text: &str) -> Option<Tail<'_>> {
    let (rest, host) = text.rsplit_once(' ')?;
    Some(Tail { before: strip_from(rest)?, host, port: None, info: "" })
}

/// `… HOST port N`
pub(super) fn host_port(text: &str) -> Option<Tail<'_>> {
    let (rest, port) = text.rsplit_once(' ')?;
    let port = number(port)?;
    let rest = rest.strip_suffix(" port")?;
    let (before, host) = rest.rsplit_once(' ').unwrap_or(("", rest));
    Some(Tail { before, host, port, info: "" })
}

/// `… from HOST port N ssh2: ALG FINGERPRINT`: exactly two words, so that the text right of `ssh2:` cannot itself end
/// in an address.
pub(super) fn from_port_protocol_key(text: &str) -> Option<Tail<'_>> {
    let (rest, fingerprint) = text.rsplit_once(' ')?;
    let (rest, algorithm) = rest.rsplit_once(' ')?;
    (!fingerprint.is_empty() && !algorithm.is_empty()).then_some(())?;
    let tail = from_port_protocol(rest.strip_suffix(':')?)?;
    Some(Tail { info: fingerprint, ..tail })
}

/// Every `… from HOST port N ssh2: INFO` in it, from the left: where both sides may hold anything, more than one
/// reading may be possible.
pub(super) fn readings_with_info(text: &str) -> impl Iterator<Item = Tail<'_>> {
    text.match_indices(" from ").filter_map(move |(at, _)| {
        let before = text.get(..at)?;
        let (host, rest) = text.get(at..)?.strip_prefix(" from ")?.split_once(' ')?;
        let rest = rest.strip_prefix("port ")?;
        let (port, rest) = rest.split_once(' ')?;
        let (protocol, info) = rest.split_once(": ")?;
        (is_protocol(protocol) && !info.is_empty()).then_some(())?;
        Some(Tail { before, host, port: number(port)?, info })
    })
}

/// Every `… HOST port N: INFO` in it, from the left.
pub(super) fn announced_readings(text: &str) -> impl Iterator<Item = Tail<'_>> {
    text.match_indices(" port ").filter_map(move |(at, _)| {
        let (before, host) = text.get(..at)?.rsplit_once(' ')?;
        let (port, info) = text.get(at..)?.strip_prefix(" port ")?.split_once(':')?;
        Some(Tail { before, host, port: number(port)?, info })
    })
}

/// `HOST[ port N]` with whatever follows, where nothing a client writes can stand left of it.
pub(super) fn leading(text: &str) -> Option<Tail<'_>> {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    if let Some(host) = word.strip_suffix(':') {
        return (!host.is_empty()).then_some(Tail { before: "", host, port: None, info: rest });
    }
    (!word.is_empty()).then_some(())?;
    let Some(after) = rest.strip_prefix("port ") else {
        return Some(Tail { before: "", host: word, port: None, info: rest });
    };
    let digits = after.bytes().take_while(u8::is_ascii_digit).count();
    let (port, info) = after.split_at_checked(digits)?;
    Some(Tail { before: "", host: word, port: number(port)?, info: info.trim_start_matches([':', ' ']) })
}

/// One source out of several readings: the address if all agree, ambiguous if not.
pub(super) fn agree<'a>(readings: impl Iterator<Item = Tail<'a>>) -> Option<(Tail<'a>, Source)> {
    let mut first: Option<(Tail<'a>, Source)> = None;
    let mut all = Vec::new();
    let mut differ = false;
    for reading in readings {
        let source = reading.source();
        if let Source::Address(address) = source
            && !all.contains(&address)
            && all.len() < 8
        {
            all.push(address);
        }
        match &first {
            None => first = Some((reading, source)),
            Some((_, known)) => differ |= *known != source,
        }
    }
    let (tail, source) = first?;
    if differ { Some((Tail { port: None, ..tail }, Source::Ambiguous(all))) } else { Some((tail, source)) }
}

fn strip_from(text: &str) -> Option<&str> {
    if text == "from" { Some("") } else { text.strip_suffix(" from") }
}

fn is_protocol(word: &str) -> bool {
    word.strip_prefix("ssh").is_some_and(|version| version.len() <= 2 && version.bytes().all(|b| b.is_ascii_digit()))
}

/// A port number; one that is no 16-bit number is a port all the same (`port -1`, `port 65536`), but none to report.
#[expect(clippy::option_option, reason = "no number, and a number that is no port, are two things here")]
fn number(text: &str) -> Option<Option<u16>> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    (!digits.is_empty() && digits.len() <= 10 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())
}
