//! A security group's inbound rule, and whom it lets in.

use std::{collections::BTreeMap, fmt};

use ipnet::{IpNet, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::ports::PortSet;
use crate::action::ParamsError;

/// A transport protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// Protocol 6.
    Tcp,
    /// Protocol 17.
    Udp,
}

impl Transport {
    /// From a name in any case or a protocol number
    /// (<https://www.iana.org/assignments/protocol-numbers/protocol-numbers.xhtml>).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.trim().to_ascii_lowercase().as_str() {
            "tcp" | "6" => Some(Self::Tcp),
            "udp" | "17" => Some(Self::Udp),
            _ => None,
        }
    }

    /// The one that a step means which says none.
    #[must_use]
    pub fn usual() -> String {
        Self::Tcp.as_str().to_owned()
    }

    /// From a step's parameter.
    ///
    /// # Errors
    /// It is neither.
    pub fn asked(action: &'static str, protocol: &str) -> Result<Self, ParamsError> {
        Self::parse(protocol).ok_or_else(|| ParamsError { action, why: format!("`{protocol}` is neither tcp nor udp") })
    }

    /// As AWS writes it in rules of security groups.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    /// The protocol's number, as network ACLs want it.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

/// Whom a rule lets in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// An IPv4 range in CIDR notation.
    Ipv4(String),
    /// An IPv6 range in CIDR notation.
    Ipv6(String),
    /// What a prefix list holds.
    PrefixList(String),
    /// The members of a security group.
    Group(String),
}

impl Source {
    /// What the source's addresses are called in an attribute: `ipv4`, `ipv6`, `prefix-list pl-…`.
    #[must_use]
    pub fn family(&self) -> String {
        match self {
            Self::Ipv4(_) => "ipv4".to_owned(),
            Self::Ipv6(_) => "ipv6".to_owned(),
            Self::PrefixList(id) => format!("prefix-list {id}"),
            Self::Group(id) => format!("group {id}"),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipv4(text) | Self::Ipv6(text) | Self::PrefixList(text) | Self::Group(text) => f.write_str(text),
        }
    }
}

/// How much of the Internet a range is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breadth {
    /// Half of all addresses that are routed in the Internet, or more: open to the world.
    World,
    /// Wider than any private network, but less than half: stands, and is reported.
    Wide,
    /// Anything else.
    Narrow,
}

/// How much of the Internet a CIDR range is.
///
/// *World* is half of the family's addresses or more: a prefix of at most 1 bit in IPv4, so that `0.0.0.0/1` with `128.0.0.0/1` is no
/// way around `0.0.0.0/0`; in IPv6 half or more of the global unicast space `2000::/3`, the only one that is routed
/// (<https://www.iana.org/assignments/ipv6-address-space/ipv6-address-space.xhtml>): at most 4 bits and meeting it.
/// *Wide* is wider than the largest private network: less than 8 bits in IPv4 (10.0.0.0/8, RFC 1918), less than 16 in IPv6
/// (the largest blocks that registries hold are /12).
#[must_use]
pub fn breadth(cidr: &str) -> Breadth {
    match cidr.parse::<IpNet>() {
        Ok(IpNet::V4(net)) => match net.prefix_len() {
            0 | 1 => Breadth::World,
            2..=7 => Breadth::Wide,
            _ => Breadth::Narrow,
        },
        Ok(IpNet::V6(net)) => {
            let global = Ipv6Net::new(std::net::Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
            let routed = global.is_ok_and(|global| global.contains(&net.network()) || net.contains(&global.network()));
            match net.prefix_len() {
                0..=4 if routed => Breadth::World,
                0..=15 if routed => Breadth::Wide,
                _ => Breadth::Narrow,
            }
        }
        Err(_) => Breadth::Narrow,
    }
}

/// An inbound rule as AWS describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// `sgr-…`; empty where the wire has none.
    pub id: String,
    /// The rule itself.
    #[serde(flatten)]
    pub body: Body,
    /// Its tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// What a rule says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    /// As on the wire: `tcp`, `-1`, `47`.
    pub protocol: String,
    /// First port, or ICMP type; `None` for all traffic.
    pub from: Option<i32>,
    /// Last port, or ICMP code; `None` for all traffic.
    pub to: Option<i32>,
    /// Whom it lets in.
    pub source: Source,
    /// Its description.
    pub description: Option<String>,
}

/// What makes two rules of one group the same rule to AWS: everything but id, description and tags.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RuleKey {
    protocol: String,
    from: i32,
    to: i32,
    source: Source,
}

impl Body {
    /// A rule for a range of ports.
    #[must_use]
    pub fn ports(transport: Transport, range: (u16, u16), source: &Source, description: Option<&str>) -> Self {
        Self {
            protocol: transport.as_str().to_owned(),
            from: Some(i32::from(range.0)),
            to: Some(i32::from(range.1)),
            source: source.clone(),
            description: description.map(str::to_owned),
        }
    }

    /// Whether it lets in all traffic (protocol -1).
    #[must_use]
    pub fn is_all_traffic(&self) -> bool {
        self.protocol == "-1" || self.protocol.eq_ignore_ascii_case("all")
    }

    /// The ports of `transport` that it opens.
    #[must_use]
    pub fn opens(&self, transport: Transport) -> PortSet {
        if self.is_all_traffic() {
            return PortSet::all();
        }
        if Transport::parse(&self.protocol) != Some(transport) {
            return PortSet::default();
        }
        match (self.from, self.to) {
            // Of TCP and UDP, no range and -1 stand for all ports.
            (None | Some(-1), _) | (_, None | Some(-1)) => PortSet::all(),
            (Some(from), Some(to)) => {
                let bound = |port: i32| u16::try_from(port.clamp(0, i32::from(u16::MAX))).unwrap_or(u16::MAX);
                PortSet::of([(bound(from), bound(to))])
            }
        }
    }

    /// What makes it the same rule to AWS.
    #[must_use]
    pub fn key(&self) -> RuleKey {
        let (protocol, from, to) = if self.is_all_traffic() {
            ("-1".to_owned(), -1, -1)
        } else if let Some(transport) = Transport::parse(&self.protocol) {
            let opens = self.opens(transport);
            let (from, to) = opens.ranges().first().copied().unwrap_or((0, u16::MAX));
            (transport.as_str().to_owned(), i32::from(from), i32::from(to))
        } else {
            (self.protocol.to_ascii_lowercase(), self.from.unwrap_or(-1), self.to.unwrap_or(-1))
        };
        let source = match &self.source {
            Source::Ipv4(text) | Source::Ipv6(text) => match text.parse::<IpNet>() {
                Ok(net @ IpNet::V4(_)) => Source::Ipv4(net.trunc().to_string()),
                Ok(net @ IpNet::V6(_)) => Source::Ipv6(net.trunc().to_string()),
                Err(_) => self.source.clone(),
            },
            other => other.clone(),
        };
        RuleKey { protocol, from, to, source }
    }
}

impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_all_traffic() {
            return write!(f, "all traffic from {}", self.source);
        }
        match (self.from, self.to) {
            (Some(from), Some(to)) if from == to => write!(f, "{} {from} from {}", self.protocol, self.source),
            (Some(from), Some(to)) => write!(f, "{} {from}-{to} from {}", self.protocol, self.source),
            _ => write!(f, "{} from {}", self.protocol, self.source),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(protocol: &str, from: i32, to: i32) -> Body {
        Body { protocol: protocol.into(), from: Some(from), to: Some(to), source: Source::Ipv4("0.0.0.0/0".into()), description: None }
    }

    #[test]
    fn half_of_the_routed_addresses_is_the_world() {
        for world in ["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "::/0", "::/1", "2000::/3", "2000::/4", "3000::/4"] {
            assert_eq!(breadth(world), Breadth::World, "{world}");
        }
        for wide in ["0.0.0.0/2", "64.0.0.0/7", "2000::/5", "2600::/12"] {
            assert_eq!(breadth(wide), Breadth::Wide, "{wide}");
        }
        for narrow in ["10.0.0.0/8", "203.0.113.9/32", "fc00::/7", "8000::/1", "2001:db8::/32", "nonsense"] {
            assert_eq!(breadth(narrow), Breadth::Narrow, "{narrow}");
        }
    }

    #[test]
    fn a_protocol_may_be_a_number() {
        assert_eq!(body("6", 22, 22).opens(Transport::Tcp), PortSet::ports([22]));
        assert_eq!(body("TCP", 0, 65535).opens(Transport::Tcp), PortSet::all());
        assert!(body("17", 22, 22).opens(Transport::Tcp).is_empty());
        assert_eq!(body("6", 22, 22).key(), body("tcp", 22, 22).key());
    }

    #[test]
    fn types_and_codes_of_icmp_are_no_ports() {
        for protocol in ["icmp", "1", "icmpv6", "58", "47", "esp"] {
            assert!(
                body(protocol, 22, 22).opens(Transport::Tcp).is_empty() && body(protocol, -1, -1).opens(Transport::Udp).is_empty(),
                "{protocol}"
            );
        }
    }

    #[test]
    fn all_traffic_and_all_ports_are_seen() {
        let all = Body { protocol: "-1".into(), from: None, to: None, source: Source::Ipv6("::/0".into()), description: None };
        assert_eq!((all.opens(Transport::Tcp), all.opens(Transport::Udp)), (PortSet::all(), PortSet::all()));
        assert_eq!(body("tcp", -1, -1).opens(Transport::Tcp), PortSet::all());
        assert_eq!(all.key(), Body { from: Some(-1), to: Some(-1), ..all.clone() }.key());
    }
}
