//! Which rules are closed, and what stands in their place.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    ports::PortSet,
    rule::{Body, Rule, RuleKey, Source, Transport},
};

/// The ports that AWS Security Hub's control EC2.19 calls high risk
/// (<https://docs.aws.amazon.com/securityhub/latest/userguide/ec2-controls.html#ec2-19>), and WinRM's.
///
/// An order that closes all ports but a few still names each of these in an attribute of its own, so that an incident about one of
/// them finds who closed it.
pub const NAMED: [u16; 26] = [
    20, 21, 22, 23, 25, 110, 135, 143, 445, 1433, 1434, 3000, 3306, 3389, 4333, 5000, 5432, 5500, 5601, 5985, 5986, 8080, 8088, 8888, 9200,
    9300,
];

/// Which ports are to be closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// These.
    Only(BTreeSet<u16>),
    /// All but these.
    Except(BTreeSet<u16>),
}

/// A part of the ports with a name, the same in every incident that is about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// `world-open ingress tcp/22`; the family is added to it.
    pub name: String,
    /// Its ports.
    pub ports: PortSet,
}

impl Order {
    /// All its ports.
    #[must_use]
    pub fn ports(&self) -> PortSet {
        match self {
            Self::Only(ports) => PortSet::ports(ports.iter().copied()),
            Self::Except(ports) => PortSet::ports(ports.iter().copied()).complement(),
        }
    }

    /// Its ports in parts that do not overlap. A port by itself has a part of its own, so that claims of two incidents meet.
    #[must_use]
    pub fn parts(&self, transport: Transport) -> Vec<Part> {
        let one = |port: u16| Part { name: format!("world-open ingress {}/{port}", transport.as_str()), ports: PortSet::ports([port]) };
        match self {
            Self::Only(ports) => ports.iter().copied().map(one).collect(),
            Self::Except(ports) => {
                let named: Vec<u16> = NAMED.into_iter().filter(|port| !ports.contains(port)).collect();
                let rest = self.ports().minus(&PortSet::ports(named.iter().copied()));
                let words: Vec<String> = ports.iter().map(u16::to_string).collect();
                let rest = Part { name: format!("world-open ingress {}/all but {}", transport.as_str(), words.join(",")), ports: rest };
                named.into_iter().map(one).chain([rest]).collect()
            }
        }
    }
}

/// A rule that is closed, and the rules that keep its other ports open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// The rule that goes.
    pub wide: Rule,
    /// What stays open of it.
    pub pieces: Vec<Body>,
}

/// What is done to one group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    /// The rules that go.
    pub splits: Vec<Split>,
    /// The pieces that are not there yet: those that we make, and that an undo removes.
    pub make: Vec<Body>,
    /// The rules that were there and stay: never ours, whatever they look like.
    pub standing: BTreeSet<RuleKey>,
}

/// What stays open of `wide` when `closed` ports of `transport` are closed.
///
/// Of a rule for all traffic, what a group can say in few rules stays: the other ports of the transport, all of the other transport,
/// and all ICMP of the family. Other protocols (GRE, ESP, SCTP, …) are lost, as there is no rule for "all protocols but one".
#[must_use]
pub fn pieces(wide: &Body, transport: Transport, closed: &PortSet) -> Vec<Body> {
    let description = wide.description.as_deref();
    let mut pieces: Vec<Body> = wide
        .opens(transport)
        .minus(closed)
        .ranges()
        .iter()
        .map(|range| Body::ports(transport, *range, &wide.source, description))
        .collect();
    if wide.is_all_traffic() {
        let other = match transport {
            Transport::Tcp => Transport::Udp,
            Transport::Udp => Transport::Tcp,
        };
        pieces.push(Body::ports(other, (0, u16::MAX), &wide.source, description));
        let icmp: &[&str] = match wide.source {
            Source::Ipv4(_) => &["icmp"],
            Source::Ipv6(_) => &["icmpv6"],
            _ => &["icmp", "icmpv6"],
        };
        for protocol in icmp {
            let all = Body {
                protocol: (*protocol).to_owned(),
                from: Some(-1),
                to: Some(-1),
                source: wide.source.clone(),
                description: wide.description.clone(),
            };
            pieces.push(all);
        }
    }
    pieces
}

/// What is done to a group with these rules so that none that is open to the `world` opens a port of `attacked`.
#[must_use]
pub fn close(rules: &[Rule], transport: Transport, attacked: &PortSet, world: impl Fn(&Source) -> bool) -> Closing {
    let mut closing = Closing::default();
    for rule in rules {
        if world(&rule.body.source) && rule.body.opens(transport).meets(attacked) {
            closing.splits.push(Split { wide: rule.clone(), pieces: pieces(&rule.body, transport, attacked) });
        } else {
            closing.standing.insert(rule.body.key());
        }
    }
    closing.splits.sort_by_key(|split| split.wide.body.key());
    let mut seen = closing.standing.clone();
    for piece in closing.splits.iter().flat_map(|split| &split.pieces) {
        if seen.insert(piece.key()) {
            closing.make.push(piece.clone());
        }
    }
    closing
}

/// Of these rules, those that are open to the world on a port of `ports`.
pub fn open<'r>(rules: &'r [Rule], transport: Transport, ports: &PortSet, world: impl Fn(&Source) -> bool) -> Vec<&'r Rule> {
    rules.iter().filter(|rule| world(&rule.body.source) && rule.body.opens(transport).meets(ports)).collect()
}
