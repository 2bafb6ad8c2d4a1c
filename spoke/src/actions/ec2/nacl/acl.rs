//! A network ACL's entries, and what they decide about traffic.
//!
//! Entries are read in the order of their numbers and the first that matches decides, for each direction and without memory of
//! connections (<https://docs.aws.amazon.com/vpc/latest/userguide/nacl-rules.html>).

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// The number of the last entry, `*`, is above those that can be given: 32767 in IPv4, 32768 in IPv6
/// (<https://docs.aws.amazon.com/vpc/latest/userguide/default-network-acl.html>).
pub const LAST_NUMBER: i32 = 32_766;

/// The ports that replies go to: those that clients of any system take theirs from
/// (<https://docs.aws.amazon.com/vpc/latest/userguide/nacl-ephemeral-ports.html>).
pub const REPLY_PORTS: (i32, i32) = (1024, 65_535);

/// One entry of a network ACL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Entry {
    /// Its number, unique in its direction.
    pub number: i32,
    /// For traffic that leaves the subnet.
    pub egress: bool,
    /// Whether it denies.
    pub deny: bool,
    /// The protocol's number, `-1` for all.
    pub protocol: String,
    /// The addresses at the other end.
    pub cidr: IpNet,
    /// Destination ports; `None` for all and for protocols without.
    pub ports: Option<(i32, i32)>,
    /// Type and code of ICMP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp: Option<(i32, i32)>,
}

impl Entry {
    /// The same but for the number.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        Self { number: other.number, ..self.clone() } == *other
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.deny { "deny" } else { "allow" };
        let (way, side) = if self.egress { ("egress", "to") } else { ("ingress", "from") };
        let protocol = match self.protocol.as_str() {
            "6" => "tcp",
            "17" => "udp",
            "-1" => "all",
            other => other,
        };
        write!(f, "{verb} {way} {protocol}")?;
        match self.ports {
            Some((from, to)) if from == to => write!(f, "/{from}")?,
            Some((from, to)) => write!(f, "/{from}-{to}")?,
            None => {}
        }
        write!(f, " {side} {}", self.cidr)
    }
}

/// Traffic of one transport protocol between a subnet and one host, in one direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traffic {
    /// Leaving the subnet.
    pub egress: bool,
    /// The protocol's number.
    pub protocol: u8,
    /// The host at the other end.
    pub host: IpAddr,
    /// Destination ports.
    pub ports: (i32, i32),
}

impl Traffic {
    /// The entry that denies it.
    #[must_use]
    pub fn deny(&self, number: i32) -> Entry {
        Entry {
            number,
            egress: self.egress,
            deny: true,
            protocol: self.protocol.to_string(),
            cidr: IpNet::from(self.host),
            ports: Some(self.ports),
            icmp: None,
        }
    }

    fn concerns(&self, entry: &Entry) -> bool {
        entry.egress == self.egress
            && entry.cidr.contains(&self.host)
            && (entry.protocol == "-1" || entry.protocol == self.protocol.to_string())
    }

    /// Whether the entry matches some of it.
    #[must_use]
    pub fn meets(&self, entry: &Entry) -> bool {
        let ports = match entry.ports {
            Some((from, to)) if entry.protocol != "-1" => from <= self.ports.1 && self.ports.0 <= to,
            _ => true,
        };
        ports && self.concerns(entry)
    }

    /// Whether the entry matches all of it.
    #[must_use]
    pub fn within(&self, entry: &Entry) -> bool {
        let ports = match entry.ports {
            Some((from, to)) if entry.protocol != "-1" => from <= self.ports.0 && self.ports.1 <= to,
            _ => true,
        };
        ports && self.concerns(entry)
    }

    /// The number of the first entry that lets some of it through, unless one entry before denies all of it; `None`: it is denied.
    #[must_use]
    pub fn let_through_by(&self, entries: &[Entry]) -> Option<i32> {
        let first = entries.iter().filter(|entry| !entry.deny && self.meets(entry)).map(|entry| entry.number).min()?;
        let denied = entries.iter().any(|entry| entry.deny && entry.number < first && self.within(entry));
        (!denied).then_some(first)
    }
}

/// An entry that denies one host everything, in one direction: what ends the flows that a security group goes on to let through.
#[must_use]
pub fn deny_all(number: i32, egress: bool, host: IpAddr) -> Entry {
    Entry { number, egress, deny: true, protocol: "-1".to_owned(), cidr: IpNet::from(host), ports: None, icmp: None }
}

/// The number of the first entry that lets some of a host's traffic through, unless one before denies all of it; `None`: it is denied.
#[must_use]
pub fn anything_let_through_by(entries: &[Entry], egress: bool, host: IpAddr) -> Option<i32> {
    let of_host = |entry: &&Entry| entry.egress == egress && entry.cidr.contains(&host);
    let first = entries.iter().filter(of_host).filter(|entry| !entry.deny).map(|entry| entry.number).min()?;
    let denied = entries.iter().filter(of_host).any(|entry| entry.deny && entry.protocol == "-1" && entry.number < first);
    (!denied).then_some(first)
}

/// The entries without those that deny one host everything in both directions with one number: they look like those of [`deny_all`], which
/// are taken away after minutes. What only they deny is not denied to stay.
#[must_use]
pub fn lasting(entries: &[Entry]) -> Vec<Entry> {
    let passing = |entry: &Entry| {
        let host = entry.cidr.addr();
        let alone = entry.cidr.prefix_len() == entry.cidr.max_prefix_len();
        alone && *entry == deny_all(entry.number, entry.egress, host) && entries.contains(&deny_all(entry.number, !entry.egress, host))
    };
    entries.iter().filter(|entry| !passing(entry)).cloned().collect()
}

/// The number of entries an ACL may have in one direction and family
/// (<https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html#vpc-limits-nacls>): 20, the default entry counted; it can be
/// raised to 40, which shows only where there are more than 20.
#[must_use]
pub fn quota(present: usize) -> usize {
    if present > 20 { 40 } else { 20 }
}

/// How many entries there are in a direction for the family of `host`.
#[must_use]
pub fn count(entries: &[Entry], egress: bool, host: IpAddr) -> usize {
    entries.iter().filter(|entry| entry.egress == egress && entry.cidr.addr().is_ipv4() == host.is_ipv4()).count()
}

/// An IPv4 address that is written as IPv6 (RFC 4291, section 2.5.5.2) is an IPv4 address.
#[must_use]
pub fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Why an address is none that an attacker in the Internet could have: RFC 1918, RFC 4193 and the special purposes of RFC 6890
/// (<https://www.iana.org/assignments/iana-ipv4-special-registry/>, <https://www.iana.org/assignments/iana-ipv6-special-registry/>).
/// Documentation ranges are not among them: nothing rightful ever comes from there.
#[must_use]
pub fn special(address: IpAddr) -> Option<&'static str> {
    const V4: &[([u8; 4], u8, &str)] = &[
        ([0, 0, 0, 0], 8, "this network (RFC 791)"),
        ([10, 0, 0, 0], 8, "private (RFC 1918)"),
        ([100, 64, 0, 0], 10, "carrier-grade NAT (RFC 6598)"),
        ([127, 0, 0, 0], 8, "loopback (RFC 1122)"),
        ([169, 254, 0, 0], 16, "link-local (RFC 3927)"),
        ([172, 16, 0, 0], 12, "private (RFC 1918)"),
        ([192, 0, 0, 0], 24, "IETF protocols (RFC 6890)"),
        ([192, 168, 0, 0], 16, "private (RFC 1918)"),
        ([198, 18, 0, 0], 15, "benchmarks (RFC 2544)"),
        ([224, 0, 0, 0], 4, "multicast (RFC 5771)"),
        ([240, 0, 0, 0], 4, "reserved (RFC 1112)"),
    ];
    const V6: &[([u16; 8], u8, &str)] = &[
        ([0, 0, 0, 0, 0, 0, 0, 0], 128, "unspecified (RFC 4291)"),
        ([0, 0, 0, 0, 0, 0, 0, 1], 128, "loopback (RFC 4291)"),
        ([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96, "NAT64 (RFC 6052)"),
        ([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, "local NAT64 (RFC 8215)"),
        ([0x100, 0, 0, 0, 0, 0, 0, 0], 64, "discard (RFC 6666)"),
        ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, "unique local (RFC 4193)"),
        ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, "link-local (RFC 4291)"),
        ([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, "site-local (RFC 3879)"),
        ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, "multicast (RFC 4291)"),
    ];
    let hit = |net: IpAddr, bits: u8| IpNet::new(net, bits).is_ok_and(|net| net.contains(&address));
    match address {
        IpAddr::V4(_) => V4.iter().find(|(net, bits, _)| hit(Ipv4Addr::from(*net).into(), *bits)).map(|(_, _, why)| *why),
        IpAddr::V6(_) => V6.iter().find(|(net, bits, _)| hit(Ipv6Addr::from(*net).into(), *bits)).map(|(_, _, why)| *why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        plain(text.parse().unwrap())
    }

    #[test]
    fn addresses_that_no_attacker_has() {
        for address in [
            "10.1.2.3",
            "172.31.0.9",
            "192.168.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "0.0.0.0",
            "::1",
            "fd00::1",
            "fe80::1",
            "ff02::1",
            "::",
            "::ffff:10.0.0.1",
        ] {
            assert!(special(ip(address)).is_some(), "{address}");
        }
        for address in [
            "198.51.100.7",
            "203.0.113.9",
            "192.0.2.1",
            "8.8.8.8",
            "2001:db8::1",
            "2600::1",
            "172.32.0.1",
            "100.128.0.1",
            "::ffff:203.0.113.9",
        ] {
            assert!(special(ip(address)).is_none(), "{address}");
        }
        assert_eq!(ip("::ffff:203.0.113.9"), ip("203.0.113.9"));
    }

    #[test]
    fn an_entry_reads_like_its_attribute() {
        let traffic = Traffic { egress: false, protocol: 6, host: ip("203.0.113.9"), ports: (22, 22) };
        assert_eq!(traffic.deny(99).to_string(), "deny ingress tcp/22 from 203.0.113.9/32");
        let replies = Traffic { egress: true, protocol: 6, host: ip("2001:db8::1"), ports: REPLY_PORTS };
        assert_eq!(replies.deny(99).to_string(), "deny egress tcp/1024-65535 to 2001:db8::1/128");
    }

    #[test]
    fn a_quota_that_was_raised_shows() {
        assert_eq!((quota(3), quota(20), quota(21), quota(40)), (20, 20, 40, 40));
    }
}
