//! Weighs log lines against a question: did these attackers get in?

use std::{collections::HashMap, net::IpAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use jiff::Timestamp;

use super::{
    Confidence, Event, Evidence, Family, Findings, Login, Method, NotKept, Parsed, Source, UserTried,
    books::{self, Failures, Group, Key, Role, Seen, Shelf, Tried, clip, user_key},
    parse_all,
};

/// Groups of logins kept: from attackers by password, from them by other means and their neighbours, from elsewhere.
const MOST: (usize, usize, usize) = (1_024, 512, 1_024);
/// How many failures from one address make its login by password confirmed, where nobody is named, and how many make it a lead: people
/// mistype their passwords too.
pub const GUESSED: (u64, u64) = (10, 3);
/// Addresses whose failures are kept, where nobody is named.
const MOST_ADDRESSES: usize = 50_000;
/// User names reported.
const TOP_USERS: usize = 20;

/// One log event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When: the time of the event or of its ingestion, never the year-less time inside the text.
    pub at: Timestamp,
    /// Log group and stream.
    pub source: String,
    /// The text.
    pub text: String,
    /// How the line can be found again: group, stream, event id.
    pub reference: String,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Addresses of the attackers, as the finding names them. Empty: nobody is named, and every address is judged by what it did
    /// itself: [`GUESSED`] failures and then a login by password.
    pub attackers: Vec<IpAddr>,
    /// Start of the window, included.
    pub since: Timestamp,
    /// End of the window, included.
    pub until: Timestamp,
    /// Scanners, bastions and the like: what comes from them never counts, not even if a finding names them.
    pub known: Vec<IpNet>,
}

/// Reads lines in any order and judges at the end. Memory is bounded by the number of attackers and by fixed caps, not by
/// the number of lines; what did not fit is in [`Findings::not_kept`].
///
/// "After failures" goes by time; lines of the same instant go by the order in which they are fed.
#[derive(Debug)]
pub struct Judge {
    /// Nobody is named.
    anyone: bool,
    attackers: Vec<IpAddr>,
    neighbourhood: Vec<IpNet>,
    known: Vec<IpNet>,
    since: Timestamp,
    until: Timestamp,
    failures: HashMap<(IpAddr, Family), Failures>,
    tried: Tried,
    by_password: Shelf,
    otherwise: Shelf,
    elsewhere: Shelf,
    fed: u64,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    keys_refused: u64,
    probes: u64,
    lockouts: u64,
    sshd: u64,
    windows: u64,
    outside: u64,
    known: u64,
    addresses_not_kept: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

impl Judge {
    /// A judge for one question.
    #[must_use]
    pub fn new(question: &Question) -> Self {
        let known: Vec<IpNet> = question.known.iter().map(canonical).collect();
        let mut attackers: Vec<IpAddr> = question.attackers.iter().map(IpAddr::to_canonical).collect();
        attackers.retain(|address| !known.iter().any(|net| net.contains(address)));
        attackers.sort_unstable();
        attackers.dedup();
        let mut neighbourhood: Vec<IpNet> = attackers.iter().filter_map(|address| neighbours(*address)).collect();
        neighbourhood.sort_unstable();
        neighbourhood.dedup();
        Self {
            anyone: question.attackers.is_empty(),
            attackers,
            neighbourhood,
            known,
            since: question.since,
            until: question.until,
            failures: HashMap::new(),
            tried: Tried::default(),
            by_password: Shelf::new(MOST.0),
            otherwise: Shelf::new(MOST.1),
            elsewhere: Shelf::new(MOST.2),
            fed: 0,
            counts: Counts::default(),
        }
    }

    /// Looks at one log event.
    pub fn feed(&mut self, line: &LogLine) {
        self.fed += 1;
        if line.at < self.since || line.at > self.until {
            self.counts.outside += 1;
            return;
        }
        self.counts.first = Some(self.counts.first.map_or(line.at, |first| first.min(line.at)));
        self.counts.last = Some(self.counts.last.map_or(line.at, |last| last.max(line.at)));
        for parsed in parse_all(&line.text) {
            match parsed.family {
                Family::Sshd => self.counts.sshd += 1,
                Family::Windows => self.counts.windows += 1,
            }
            self.weigh(line, parsed);
        }
    }

    fn weigh(&mut self, line: &LogLine, parsed: Parsed) {
        let Parsed { event, times, family, pid, tagged } = parsed;
        let (at, times) = ((line.at, self.fed), times.max(1));
        if source_of(&event).and_then(Source::address).is_some_and(|address| self.known.iter().any(|net| net.contains(&address))) {
            self.counts.known += 1;
            return;
        }
        let seen = |user: &str| Seen {
            at,
            pid,
            tie: books::Tally::default(),
            user: clip(user, books::MAX_NAME).to_owned(),
            line: clip(&line.text, books::MAX_LINE).to_owned(),
            source: clip(&line.source, books::MAX_LINE).to_owned(),
            reference: clip(&line.reference, books::MAX_LINE).to_owned(),
            tagged,
        };
        match event {
            Event::LoginFailed { user, from, invalid_user, method, evidence, .. } => {
                let Some(address) = self.attacker(&from) else { return };
                let guess = proves_a_guess(evidence, invalid_user, method.as_ref());
                if self.failures.len() >= MOST_ADDRESSES && !self.failures.contains_key(&(address, family)) {
                    self.counts.addresses_not_kept += 1;
                    return;
                }
                self.failures.entry((address, family)).or_default().add(at, evidence, guess, pid, times);
                if let Some(user) = user {
                    self.tried.add(family, &user, at.0, Some(evidence), times);
                }
            }
            Event::KeyRefused { user, from, .. } if self.attacker(&from).is_some() => {
                self.counts.keys_refused += u64::from(times);
                self.tried.add(family, &user, at.0, None, times);
            }
            Event::Probe { from, .. } if self.attacker(&from).is_some() => self.counts.probes += u64::from(times),
            Event::AccountLocked { .. } => self.counts.lockouts += u64::from(times),
            Event::LoginOk { user, from, method, .. } => self.login(family, from, method, seen(&user)),
            Event::ExplicitCredentials { user, from } if matches!(self.role(&from), Role::Attacker | Role::Neighbour) => {
                let method = Method::Other { name: "explicit-credentials".to_owned() };
                let key = Key { role: Role::Credentials, family, user: user_key(family, &user), from, method };
                self.otherwise.put(key, seen(&user), |_, _| false);
            }
            _ => {}
        }
    }

    fn login(&mut self, family: Family, from: Source, method: Method, mut seen: Seen) {
        let role = self.role(&from);
        let Self { by_password, otherwise, elsewhere, failures, tried, .. } = self;
        let at = seen.at.0;
        let user = user_key(family, &seen.user);
        let from = match from {
            Source::Name(name) => Source::Name(clip(&name, books::MAX_NAME).to_owned()),
            from => from,
        };
        if role == Role::Attacker {
            tried.add(family, &seen.user, at, None, 0);
        }
        match (role, from.address()) {
            (Role::Attacker, Some(address)) if method.is_password() => {
                seen.tie = failures.get(&(address, family)).map(|failures| failures.at(at)).unwrap_or_default();
                let after = |key: &Key, seen: &Seen| failures_of(failures, key).is_some_and(|failures| failures.before(seen.at, seen.pid));
                by_password.put(Key { role, family, user, from, method }, seen, after);
            }
            (Role::Elsewhere, address) => {
                // Windows logs services and its own sessions as logons too, without an address or with the loopback's.
                if family == Family::Windows && address.is_none_or(|address| address.is_loopback()) {
                    return;
                }
                let after = |key: &Key, seen: &Seen| tried.first(key.family, &key.user).is_some_and(|first| first <= seen.at.0);
                elsewhere.put(Key { role, family, user, from, method }, seen, after);
            }
            _ => otherwise.put(Key { role, family, user, from, method }, seen, |key, _| key.role == Role::Attacker),
        }
    }

    fn attacker(&self, from: &Source) -> Option<IpAddr> {
        let named = |address: &IpAddr| self.attackers.binary_search(address).is_ok();
        from.address().filter(|address| if self.anyone { !address.is_loopback() } else { named(address) })
    }

    fn role(&self, from: &Source) -> Role {
        let near = |address: &IpAddr| self.attackers.contains(address) || self.neighbourhood.iter().any(|net| net.contains(address));
        match from {
            Source::Address(_) if self.attacker(from).is_some() => Role::Attacker,
            Source::Address(address) if near(address) => Role::Neighbour,
            Source::Ambiguous(addresses) if addresses.iter().any(near) => Role::Unclear,
            _ => Role::Elsewhere,
        }
    }

    /// The answer.
    #[must_use]
    pub fn finish(self) -> Findings {
        let mut logins: Vec<Login> = Vec::new();
        for (key, group) in self.by_password.iter() {
            logins.push(by_password(key, group, failures_of(&self.failures, key)));
        }
        for (key, group) in self.otherwise.iter() {
            logins.push(otherwise(key, group, failures_of(&self.failures, key)));
        }
        for (key, group) in self.elsewhere.iter() {
            if let Some(first) = self.tried.first(key.family, &key.user)
                && let Some(seen) = group.pick(|seen| first <= seen.at.0)
            {
                let why = format!("the attacker tried the user name at {first}, and it logged in from elsewhere afterwards");
                logins.push(report(key, group, seen, Confidence::Lead, 0, why));
            }
        }
        if self.anyone {
            logins = logins.into_iter().filter_map(guessed).collect();
        }
        logins.sort_by(|a, b| (a.confidence, a.at, &a.user, a.from, &a.method).cmp(&(b.confidence, b.at, &b.user, b.from, &b.method)));
        let not_kept = NotKept {
            attacker_logins: self.by_password.not_kept + self.counts.addresses_not_kept,
            other_logins: self.otherwise.not_kept,
            elsewhere: self.elsewhere.not_kept,
            users_tried: self.tried.not_kept,
        };
        let users = self.tried.into_users();
        let users_tried_total = users.len() as u64;
        let mut users_tried: Vec<UserTried> =
            users.map(|user| UserTried { attempts: user.tally.attempts(), first: user.first, user: user.written }).collect();
        users_tried.sort_by(|a, b| b.attempts.cmp(&a.attempts).then_with(|| a.user.cmp(&b.user)));
        users_tried.truncate(TOP_USERS);
        Findings {
            logins,
            failures: self.failures.values().map(Failures::attempts).sum(),
            keys_refused: self.counts.keys_refused,
            probes: self.counts.probes,
            lockouts: self.counts.lockouts,
            lines_read: self.fed,
            sshd_lines: self.counts.sshd,
            windows_lines: self.counts.windows,
            outside_window: self.counts.outside,
            known_lines: self.counts.known,
            first_line: self.counts.first,
            last_line: self.counts.last,
            users_tried,
            users_tried_total,
            not_kept,
        }
    }
}

fn failures_of<'a>(failures: &'a HashMap<(IpAddr, Family), Failures>, key: &Key) -> Option<&'a Failures> {
    failures.get(&(key.from.address()?, key.family))
}

/// From an attacker's address, by password: confirmed if a failure lies before it.
fn by_password(key: &Key, group: &Group, failures: Option<&Failures>) -> Login {
    let confirmed = failures.and_then(|failures| {
        let seen = group.pick(|seen| failures.before(seen.at, seen.pid))?;
        Some((seen, failures.count_before(seen.at.0, &seen.tie).max(1)))
    });
    if let Some((seen, count)) = confirmed {
        let why = format!("login by password from the attacker's address after {count} or more failed attempts from it");
        return report(key, group, seen, Confidence::Confirmed, count, why);
    }
    let why = match failures {
        Some(_) => "login by password from the attacker's address; what failed from there lies after it or is no proof of a failed attempt",
        None => "login by password from the attacker's address, of which the log shows no failed attempt",
    };
    let count = failures.map_or(0, |failures| failures.count_before(group.first.at.0, &group.first.tie));
    report(key, group, &group.first, Confidence::Probable, count, why.to_owned())
}

/// Where nobody is named, a login counts by the failures before it alone.
fn guessed(login: Login) -> Option<Login> {
    let (confirmed, lead) = GUESSED;
    let count = login.failures_before;
    let confidence = match login.confidence {
        Confidence::Confirmed if count >= confirmed => Confidence::Confirmed,
        Confidence::Confirmed if count >= lead => Confidence::Lead,
        _ => return None,
    };
    let why = format!("login by password after {count} or more failed attempts from the same address");
    Some(Login { confidence, why, ..login })
}

/// From an attacker's address by other means than a password, or from near it.
fn otherwise(key: &Key, group: &Group, failures: Option<&Failures>) -> Login {
    let (confidence, why) = match (key.role, &key.method) {
        (Role::Credentials, _) => (Confidence::Lead, "explicit credentials were used (event 4648) from the attacker's address or near it"),
        (Role::Neighbour, _) => (Confidence::Probable, "login from the attacker's neighbourhood (IPv4 /24, IPv6 /64)"),
        (Role::Unclear, _) => {
            (Confidence::Probable, "login from one of several addresses in the line, one of them the attacker's or near it")
        }
        (_, Method::PublicKey { .. }) => (Confidence::Probable, "login by public key from the attacker's address"),
        _ => (Confidence::Probable, "login from the attacker's address, by other means than a password that can be guessed"),
    };
    let count = failures.map_or(0, |failures| failures.count_before(group.first.at.0, &group.first.tie));
    report(key, group, &group.first, confidence, count, why.to_owned())
}

fn report(key: &Key, group: &Group, seen: &Seen, confidence: Confidence, failures_before: u64, why: String) -> Login {
    let host = match &key.from {
        Source::Address(_) | Source::Unknown => None,
        Source::Name(name) => Some(name.clone()),
        Source::Ambiguous(addresses) => Some(addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")),
    };
    Login {
        confidence,
        user: seen.user.clone(),
        from: key.from.address(),
        host,
        at: seen.at.0,
        method: key.method.clone(),
        failures_before,
        times: group.times,
        first: group.first.at.0,
        last: group.last.at.0,
        line: seen.line.clone(),
        source: seen.source.clone(),
        reference: seen.reference.clone(),
        tagged: seen.tagged,
        why,
    }
}

/// Whether a line proves a failed attempt to guess a password or a user name. A key that is not accepted, `none` and
/// Kerberos tickets are no guesses for an existing user, and a connection that ended may never have tried.
fn proves_a_guess(evidence: Evidence, invalid_user: bool, method: Option<&Method>) -> bool {
    match evidence {
        Evidence::UnknownUser | Evidence::Refused | Evidence::Pam => true,
        Evidence::PamModule | Evidence::Ended => false,
        Evidence::Attempt => match method {
            _ if invalid_user => true,
            None | Some(Method::Password | Method::KeyboardInteractive | Method::Windows { .. }) => true,
            Some(Method::Other { name }) => name != "none",
            Some(Method::PublicKey { .. } | Method::Gssapi | Method::HostBased) => false,
        },
    }
}

/// The source an event names.
fn source_of(event: &Event) -> Option<&Source> {
    match event {
        Event::LoginOk { from, .. }
        | Event::LoginFailed { from, .. }
        | Event::KeyRefused { from, .. }
        | Event::Probe { from, .. }
        | Event::Connected { from, .. }
        | Event::Disconnected { from, .. }
        | Event::ExplicitCredentials { from, .. } => Some(from),
        Event::SessionOpened { .. } | Event::AccountLocked { .. } | Event::Other => None,
    }
}

/// The network in which another address is as good as the attacker's own: what one customer usually gets.
fn neighbours(address: IpAddr) -> Option<IpNet> {
    match address {
        IpAddr::V4(address) => Ipv4Net::new(address, 24).ok().map(|net| IpNet::V4(net.trunc())),
        IpAddr::V6(address) => Ipv6Net::new(address, 64).ok().map(|net| IpNet::V6(net.trunc())),
    }
}

/// A network of IPv4 addresses mapped into IPv6 as the IPv4 network, as addresses are read.
fn canonical(net: &IpNet) -> IpNet {
    let mapped = match net {
        IpNet::V6(net) => net.network().to_ipv4_mapped().zip(net.prefix_len().checked_sub(96)),
        IpNet::V4(_) => None,
    };
    mapped.and_then(|(address, length)| Ipv4Net::new(address, length).ok()).map_or(*net, IpNet::V4)
}
