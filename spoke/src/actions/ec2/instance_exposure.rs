//! `ec2.instance-exposure`: can the Internet reach a port of an instance, and through what? Since when, and by whose doing, is
//! `cloudtrail.trace-exposure`'s to find out: this one is quick, so that it can look before the port is closed.
//!
//! For each interface and each address family four things are needed: an address in the Internet, a rule of a security group that lets the
//! world in, a route of the subnet's table through an Internet gateway, and a network ACL that lets it in and the replies out. One that is
//! missing means no; one that could not be read, or whose answer lies beyond what is looked at, means unknown.

mod judge;
mod part;
mod path;
#[cfg(test)]
mod tests;

use cordon_shared::plan::Seat;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use self::part::Parts;
use super::close_open_ingress::{Body, Source, Transport};
use crate::{
    action::{ActionError, Cx, Found, Probe},
    permission::Permission,
};

const NAME: &str = "ec2.instance-exposure";

/// What the answer leaves out.
const NOTE: &str = "only direct reachability was looked at: not load balancers, not what forwards from other networks, not VPC Block Public Access, not a firewall on the instance itself";

/// Which port of which instance.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The instance (`i-…`).
    pub instance: String,
    /// The port. Without it: the one for logins of the instance's platform, 22 or with Windows 3389.
    #[serde(default)]
    pub port: Option<u16>,
    /// `tcp` or `udp`, or its number.
    #[serde(default = "Transport::usual")]
    pub protocol: String,
}

/// Yes, no, or not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It could be reached.
    Yes,
    /// It could not.
    No,
    /// It cannot be said.
    Unknown,
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Yes => to.serialize_bool(true),
            Self::No => to.serialize_bool(false),
            Self::Unknown => to.serialize_str("unknown"),
        }
    }
}

impl Verdict {
    /// All of it is needed.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            _ => Self::Yes,
        }
    }

    /// One is enough.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Yes, _) | (_, Self::Yes) => Self::Yes,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            _ => Self::No,
        }
    }
}

/// A rule that lets the world in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenRule {
    /// The group.
    pub group: String,
    /// `sgr-…`.
    pub rule: String,
    /// The range, or the prefix list that holds one.
    pub cidr: String,
    /// `tcp`, `udp`, a number, or `-1` for all.
    pub protocol: String,
    /// The first port; none where it is for all.
    #[serde(default)]
    pub from: Option<i32>,
    /// The last port.
    #[serde(default)]
    pub to: Option<i32>,
    /// The range of ports around the one that was asked for: `22`, `0-65535`.
    pub port_range: String,
    /// Its description.
    #[serde(default)]
    pub description: Option<String>,
    /// Whether its interface has an address in the Internet of the rule's family.
    pub reaches: bool,
}

impl OpenRule {
    /// What it says.
    pub(in crate::actions) fn body(&self) -> Body {
        let cidr = self.cidr.clone();
        let source = match &cidr {
            list if list.starts_with("pl-") => Source::PrefixList(cidr),
            six if six.contains(':') => Source::Ipv6(cidr),
            _ => Source::Ipv4(cidr),
        };
        Body { protocol: self.protocol.clone(), from: self.from, to: self.to, source, description: self.description.clone() }
    }
}

/// An interface of the instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exposed {
    /// Its id.
    pub id: String,
    /// Its subnet.
    pub subnet: String,
    /// Its groups.
    pub groups: Vec<String>,
    /// Its addresses in the Internet.
    pub addresses: Vec<String>,
    /// The route table of its subnet.
    pub route_table: Option<String>,
    /// The network ACL of its subnet.
    pub acl: Option<String>,
    /// Whether the port could be reached through it.
    pub reachable: Verdict,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// The instance's state; `not-found` where there is none.
    pub state: String,
    /// The port that was looked at.
    pub port: u16,
    /// Whether the Internet could reach the port: true, false or "unknown".
    pub reachable: Verdict,
    /// Its interfaces.
    pub interfaces: Vec<Exposed>,
    /// Why, each sentence with the ids of what it speaks of.
    pub because: Vec<String>,
    /// The rules that let the world in.
    pub open_rules: Vec<OpenRule>,
    /// Whether one of its addresses is an Elastic IP address.
    pub elastic: bool,
    /// What was not looked at.
    pub note: &'static str,
}

/// The probe.
#[derive(Debug, Clone, Copy, Default)]
pub struct InstanceExposure;

impl Probe for InstanceExposure {
    const NAME: &'static str = NAME;
    const ABOUT: &'static str =
        "Finds out whether the Internet can reach a port of an instance: through which address, rules, route and network ACL.";
    const SEAT: Seat = Seat::Member;
    // https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
    const READS: &'static [Permission] = &[
        Permission::new("ec2:DescribeInstances", "*"),
        Permission::new("ec2:DescribeManagedPrefixLists", "*"),
        Permission::new("ec2:DescribeNetworkAcls", "*"),
        Permission::new("ec2:DescribeNetworkInterfaces", "*"),
        Permission::new("ec2:DescribeRouteTables", "*"),
        Permission::new("ec2:DescribeSecurityGroupRules", "*"),
        Permission::new("ec2:GetManagedPrefixListEntries", "arn:{partition}:ec2:{region}:*:prefix-list/*"),
    ];
    type Params = Params;
    type Outcome = Outcome;

    async fn run(&self, cx: Cx<'_>, with: &Params) -> Result<Found<Outcome>, ActionError> {
        let transport = Transport::asked(NAME, &with.protocol)?;
        let mut parts = Parts::new(cx, &with.instance);
        let seen = parts.look().await?;
        let port = with.port.unwrap_or_else(|| seen.login_port());
        let judged = judge::judge(&seen, transport, port);
        let outcome = Outcome {
            state: seen.state,
            port,
            reachable: judged.reachable,
            interfaces: judged.interfaces,
            because: judged.because,
            open_rules: judged.rules,
            elastic: judged.elastic,
            note: NOTE,
        };
        Ok(Found { outcome, evidence: parts.evidence })
    }
}
