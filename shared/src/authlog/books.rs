//! What the judge remembers, in bounded memory.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use super::{Evidence, Family, Method, Source};

/// A place in time and, within one instant, in the order of feeding.
pub(super) type Moment = (Timestamp, u64);

/// Longest user or host name kept. sshd cuts names after 100 bytes.
pub(super) const MAX_NAME: usize = 256;
/// Longest line kept.
pub(super) const MAX_LINE: usize = 2_048;
/// Most points in time at which failures of one address are counted apart; beyond, neighbouring points are counted
/// together.
const MAX_POINTS: usize = 1_024;
/// Most user names remembered.
const MAX_USERS: usize = 50_000;

/// The start of a text, cut where it is too long.
pub(super) fn clip(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default()
}

/// Lines counted by the kind of evidence.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally([u32; 6]);

impl Tally {
    pub fn add(&mut self, evidence: Evidence, times: u32) {
        let slot = match evidence {
            Evidence::Attempt => 0,
            Evidence::UnknownUser => 1,
            Evidence::Refused => 2,
            Evidence::Pam => 3,
            Evidence::PamModule => 4,
            Evidence::Ended => 5,
        };
        if let Some(count) = self.0.get_mut(slot) {
            *count = count.saturating_add(times);
        }
    }

    fn sum(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count = count.saturating_add(more);
        }
    }

    /// Attempts at least made: the kinds tell of the same attempts, so they are not added up.
    pub fn attempts(&self) -> u64 {
        self.0.iter().copied().max().unwrap_or_default().into()
    }
}

/// Failures of one address in one kind of log.
#[derive(Debug)]
pub(super) struct Failures {
    /// The earliest that proves a failed attempt by itself.
    earliest: Option<Moment>,
    /// The earliest lines of PAM modules, of two different processes.
    modules: Vec<(Moment, u32)>,
    totals: Tally,
    by_time: BTreeMap<i64, Tally>,
    width: i64,
}

impl Default for Failures {
    fn default() -> Self {
        Self { earliest: None, modules: Vec::new(), totals: Tally::default(), by_time: BTreeMap::new(), width: 1 }
    }
}

impl Failures {
    /// Adds one line. `guess`: it proves a failed attempt to guess a password or a name.
    pub fn add(&mut self, at: Moment, evidence: Evidence, guess: bool, pid: Option<u32>, times: u32) {
        self.totals.add(evidence, times);
        self.by_time.entry(at.0.as_millisecond().div_euclid(self.width)).or_default().add(evidence, times);
        while self.by_time.len() > MAX_POINTS {
            self.width = self.width.saturating_mul(2);
            let mut wider: BTreeMap<i64, Tally> = BTreeMap::new();
            for (point, tally) in &self.by_time {
                wider.entry(point.div_euclid(2)).or_default().sum(tally);
            }
            self.by_time = wider;
        }
        if guess && self.earliest.is_none_or(|known| at < known) {
            self.earliest = Some(at);
        }
        if evidence == Evidence::PamModule
            && let Some(pid) = pid
        {
            match self.modules.iter_mut().find(|(_, known)| *known == pid) {
                Some(known) => known.0 = known.0.min(at),
                None => self.modules.push((at, pid)),
            }
            self.modules.sort_unstable();
            self.modules.truncate(2);
        }
    }

    /// Whether a failed attempt lies before this login. What a PAM module said in the login's own process does not
    /// count: it says so too before another module lets the user in.
    pub fn before(&self, login: Moment, pid: Option<u32>) -> bool {
        self.earliest.is_some_and(|earliest| earliest < login)
            || pid.is_some_and(|pid| self.modules.iter().any(|(at, other)| *other != pid && *at < login))
    }

    /// Lines so far at the very instant, which lie before a login fed now.
    pub fn at(&self, at: Timestamp) -> Tally {
        if self.width == 1 { self.by_time.get(&at.as_millisecond()).copied().unwrap_or_default() } else { Tally::default() }
    }

    /// Attempts before an instant, at least; `tie`: those at the instant itself.
    pub fn count_before(&self, at: Timestamp, tie: &Tally) -> u64 {
        let at = at.as_millisecond();
        let mut tally = *tie;
        for (point, more) in &self.by_time {
            if point.saturating_add(1).saturating_mul(self.width) > at {
                break;
            }
            tally.sum(more);
        }
        tally.attempts()
    }

    pub fn attempts(&self) -> u64 {
        self.totals.attempts()
    }
}

/// User names the attackers tried.
#[derive(Debug, Default)]
pub(super) struct Tried {
    users: HashMap<(Family, String), TriedUser>,
    pub not_kept: u64,
}

#[derive(Debug)]
pub(super) struct TriedUser {
    pub written: String,
    pub tally: Tally,
    pub first: Timestamp,
}

impl Tried {
    pub fn add(&mut self, family: Family, user: &str, at: Timestamp, evidence: Option<Evidence>, times: u32) {
        let key = (family, user_key(family, user));
        if self.users.len() >= MAX_USERS && !self.users.contains_key(&key) {
            self.not_kept += 1;
            return;
        }
        let known = self.users.entry(key).or_insert_with(|| TriedUser {
            written: clip(user, MAX_NAME).to_owned(),
            tally: Tally::default(),
            first: at,
        });
        known.first = known.first.min(at);
        if let Some(evidence) = evidence {
            known.tally.add(evidence, times);
        }
    }

    /// When a user name, as made by [`user_key`], was first tried.
    pub fn first(&self, family: Family, key: &str) -> Option<Timestamp> {
        self.users.get(&(family, key.to_owned())).map(|user| user.first)
    }

    pub fn into_users(self) -> impl ExactSizeIterator<Item = TriedUser> {
        self.users.into_values()
    }
}

/// Under what a user is remembered: Windows knows no case in user names.
pub(super) fn user_key(family: Family, user: &str) -> String {
    let user = clip(user, MAX_NAME);
    match family {
        Family::Sshd => user.to_owned(),
        Family::Windows => user.to_lowercase(),
    }
}

/// What a login has to do with the attackers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Role {
    /// From an attacker's address.
    Attacker,
    /// From an attacker's neighbourhood.
    Neighbour,
    /// From what may be an attacker's address.
    Unclear,
    /// Windows 4648 naming an attacker's address or neighbourhood.
    Credentials,
    /// From anywhere else.
    Elsewhere,
}

/// Logins that are counted together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub role: Role,
    pub family: Family,
    /// As [`user_key`] makes it.
    pub user: String,
    pub from: Source,
    pub method: Method,
}

/// One login line.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub at: Moment,
    pub pid: Option<u32>,
    /// Failures fed before it at the same instant.
    pub tie: Tally,
    pub user: String,
    pub line: String,
    pub source: String,
    pub reference: String,
    pub tagged: bool,
}

/// The logins of one key: the lines that can matter, and how many there were.
#[derive(Debug)]
pub(super) struct Group {
    pub times: u64,
    pub first: Seen,
    pub last: Seen,
    /// The first that lay after the turning point (a failure, a user name tried) known when it was fed.
    pub first_after: Option<Seen>,
}

impl Group {
    /// The earliest kept line that `matters`.
    pub fn pick(&self, matters: impl Fn(&Seen) -> bool) -> Option<&Seen> {
        [Some(&self.first), self.first_after.as_ref(), Some(&self.last)].into_iter().flatten().find(|seen| matters(seen))
    }

    fn add(&mut self, seen: Seen, after: bool) {
        self.times += 1;
        if after && self.first_after.as_ref().is_none_or(|known| seen.at < known.at) {
            self.first_after = Some(seen.clone());
        }
        if seen.at < self.first.at {
            self.first = seen;
        } else if seen.at > self.last.at {
            self.last = seen;
        }
    }
}

/// A bounded store of groups. What matters is never dropped for what does not.
#[derive(Debug)]
pub(super) struct Shelf {
    groups: HashMap<Key, Group>,
    most: usize,
    pub not_kept: u64,
    /// All groups matter; what matters once does so for good.
    saturated: bool,
}

impl Shelf {
    pub fn new(most: usize) -> Self {
        Self { groups: HashMap::new(), most, not_kept: 0, saturated: false }
    }

    /// Puts a login line. `matters`: whether a line of this key is one that must not be dropped.
    pub fn put(&mut self, key: Key, seen: Seen, matters: impl Fn(&Key, &Seen) -> bool) {
        let after = matters(&key, &seen);
        if let Some(group) = self.groups.get_mut(&key) {
            group.add(seen, after);
            return;
        }
        if self.groups.len() >= self.most {
            let lesser = if after && !self.saturated {
                self.groups.iter().find(|(key, group)| group.pick(|seen| matters(key, seen)).is_none()).map(|(key, _)| key.clone())
            } else {
                None
            };
            match lesser.and_then(|key| self.groups.remove(&key)) {
                Some(group) => self.not_kept += group.times,
                None => {
                    self.saturated |= after;
                    self.not_kept += 1;
                    return;
                }
            }
        }
        let first_after = after.then(|| seen.clone());
        self.groups.insert(key, Group { times: 1, first: seen.clone(), last: seen, first_after });
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Group)> {
        self.groups.iter()
    }
}
