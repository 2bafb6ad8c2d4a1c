//! From what was seen to yes or no, with reasons.

use super::{
    Exposed, OpenRule, Verdict,
    part::{Interface, Seen},
    path::{Pass, pass, routed, table_of},
};
use crate::actions::ec2::{
    close_open_ingress::{Body, Breadth, Source, Transport, breadth},
    nacl::acl::REPLY_PORTS,
};

/// What it comes to.
#[derive(Debug)]
pub(super) struct Judged {
    pub reachable: Verdict,
    pub interfaces: Vec<Exposed>,
    pub because: Vec<String>,
    /// The rules that let the world in, over whichever family.
    pub rules: Vec<OpenRule>,
    /// Whether one of the addresses is an Elastic IP address.
    pub elastic: bool,
}

/// Judges all interfaces.
pub(super) fn judge(seen: &Seen, transport: Transport, port: u16) -> Judged {
    let mut judged = Judged { reachable: Verdict::No, interfaces: Vec::new(), because: Vec::new(), rules: Vec::new(), elastic: false };
    match (&seen.interfaces, seen.state.as_str()) {
        (_, "not-found") => judged.because.push(format!("there is no instance {}", seen.instance)),
        (Err(why), _) => {
            judged.reachable = Verdict::Unknown;
            judged.because.push(format!("the interfaces of {} could not be read: {why}", seen.instance));
        }
        (Ok(interfaces), _) if interfaces.is_empty() => judged.because.push(format!("instance {} has no interface", seen.instance)),
        (Ok(interfaces), state) => {
            if state != "running" {
                judged.because.push(format!("instance {} is {state}: nothing answers at its ports", seen.instance));
            }
            let question = Question { seen, transport, port };
            for interface in interfaces {
                question.interface(interface, &mut judged);
            }
        }
    }
    // Of two interfaces of one group the rule reaches where one has an address.
    judged.rules.sort_by_cached_key(|open| (open.group.clone(), open.cidr.clone(), open.rule.clone(), !open.reaches));
    judged.rules.dedup_by(|one, other| (&one.group, &one.rule) == (&other.group, &other.rule));
    judged
}

struct Question<'a> {
    seen: &'a Seen,
    transport: Transport,
    port: u16,
}

/// A condition: whether it holds, and why.
type Reason = (Verdict, String);

impl Question<'_> {
    fn interface(&self, interface: &Interface, judged: &mut Judged) {
        let mut reachable = Verdict::No;
        for ipv6 in [false, true] {
            let addresses = addresses(interface, ipv6);
            let (open, rules) = self.rules(interface, ipv6);
            judged.rules.extend(open.into_iter().map(|open| OpenRule { reaches: addresses.is_some(), ..open }));
            let Some(addresses) = addresses else { continue };
            let conditions = [addresses, rules, self.route(interface, ipv6), self.acl(interface, ipv6)];
            reachable = reachable.or(conditions.iter().fold(Verdict::Yes, |all, (one, _)| all.and(*one)));
            for (_, reason) in conditions {
                if !judged.because.contains(&reason) {
                    judged.because.push(reason);
                }
            }
        }
        if interface.ipv4.is_empty() && interface.ipv6.is_empty() {
            judged.because.push(format!("interface {} has no address in the Internet", interface.id));
        }
        judged.reachable = judged.reachable.or(reachable);
        judged.elastic |= interface.ipv4.iter().any(|(_, allocation)| allocation.is_some());
        let table = self.seen.tables.as_ref().ok().and_then(|tables| table_of(tables, &interface.subnet, &interface.vpc));
        judged.interfaces.push(Exposed {
            id: interface.id.clone(),
            subnet: interface.subnet.clone(),
            groups: interface.groups.clone(),
            addresses: interface.ipv4.iter().map(|(address, _)| address.clone()).chain(interface.ipv6.iter().cloned()).collect(),
            route_table: table.map(|table| table.id.clone()),
            acl: self.acl_of(interface).map(|acl| acl.id.clone()),
            reachable,
        });
    }

    /// The rules that let the world in over a family, and whether there are any.
    fn rules(&self, interface: &Interface, ipv6: bool) -> (Vec<OpenRule>, Reason) {
        let family = family(ipv6);
        let groups = interface.groups.join(", ");
        let all = match &self.seen.rules {
            Ok(all) => all,
            Err(why) => return (Vec::new(), (Verdict::Unknown, format!("the rules of {groups} could not be read: {why}"))),
        };
        let (mut open, mut said, mut sure) = (Vec::new(), Vec::new(), false);
        let mut wide = Vec::new();
        for group in &interface.groups {
            for rule in all.get(group).into_iter().flatten().filter(|rule| self.lets_in(&rule.body)) {
                let words = format!("rule {} of {group} lets {} in on {}", rule.id, rule.body.source, self.ports(&rule.body));
                let found = match &rule.body.source {
                    Source::Ipv4(cidr) if !ipv6 => Some((breadth(cidr), String::new())),
                    Source::Ipv6(cidr) if ipv6 => Some((breadth(cidr), String::new())),
                    Source::PrefixList(id) => {
                        let list = self.seen.lists.get(id).filter(|(of_ipv6, _)| *of_ipv6 == ipv6);
                        list.map(|(_, why)| (Breadth::World, format!(": {why}")))
                    }
                    _ => None,
                };
                match found {
                    Some((Breadth::World, why)) => {
                        // A list that could not be read may hold anything.
                        sure |= !why.contains("could not be read");
                        said.push(format!("{words}{why}"));
                        open.push(OpenRule {
                            group: group.clone(),
                            rule: rule.id.clone(),
                            cidr: rule.body.source.to_string(),
                            protocol: rule.body.protocol.clone(),
                            from: rule.body.from,
                            to: rule.body.to,
                            port_range: self.ports(&rule.body),
                            description: rule.body.description.clone(),
                            reaches: false,
                        });
                    }
                    Some((Breadth::Wide, _)) => wide.push(words),
                    _ => {}
                }
            }
        }
        let reason = match (said.is_empty(), sure) {
            (false, true) => (Verdict::Yes, said.join("; ")),
            (false, false) => (Verdict::Unknown, said.join("; ")),
            (true, _) if !wide.is_empty() => (Verdict::Unknown, format!("{}: much of the Internet, but not the world", wide.join("; "))),
            (true, _) => {
                let what = format!("{} {} over {family}", self.transport.as_str(), self.port);
                (Verdict::No, format!("no rule of {groups} lets the world in on {what}"))
            }
        };
        (open, reason)
    }

    fn lets_in(&self, body: &Body) -> bool {
        body.opens(self.transport).ranges().iter().any(|(from, to)| (*from..=*to).contains(&self.port))
    }

    fn ports(&self, body: &Body) -> String {
        let opens = body.opens(self.transport);
        let range = opens.ranges().iter().find(|(from, to)| (*from..=*to).contains(&self.port));
        match range {
            Some((from, to)) if from == to => from.to_string(),
            Some((from, to)) => format!("{from}-{to}"),
            None => self.port.to_string(),
        }
    }

    fn route(&self, interface: &Interface, ipv6: bool) -> Reason {
        let tables = match &self.seen.tables {
            Ok(tables) => tables,
            Err(why) => return (Verdict::Unknown, format!("the route tables could not be read: {why}")),
        };
        match table_of(tables, &interface.subnet, &interface.vpc) {
            Some(table) => {
                let (verdict, why) = routed(table, ipv6);
                (verdict, format!("{why} ({})", interface.subnet))
            }
            None => (Verdict::Unknown, format!("no route table of {} was found", interface.subnet)),
        }
    }

    fn acl_of(&self, interface: &Interface) -> Option<&super::super::nacl::wire::Acl> {
        self.seen.acls.as_ref().ok()?.iter().find(|acl| acl.subnets.contains(&interface.subnet))
    }

    fn acl(&self, interface: &Interface, ipv6: bool) -> Reason {
        if let Err(why) = &self.seen.acls {
            return (Verdict::Unknown, format!("the network ACLs could not be read: {why}"));
        }
        let Some(acl) = self.acl_of(interface) else {
            return (Verdict::Unknown, format!("no network ACL of {} was found", interface.subnet));
        };
        let (protocol, port) = (self.transport.number(), i32::from(self.port));
        let ways = [pass(&acl.entries, false, ipv6, protocol, (port, port)), pass(&acl.entries, true, ipv6, protocol, REPLY_PORTS)];
        match ways {
            [Pass::Open(inward), Pass::Open(outward)] => (
                Verdict::Yes,
                format!(
                    "network ACL {} lets it in by entry {inward} and the replies out by entry {outward} ({})",
                    acl.id, interface.subnet
                ),
            ),
            [Pass::Closed, _] => {
                (Verdict::No, format!("network ACL {} lets nobody in over {} ({})", acl.id, family(ipv6), interface.subnet))
            }
            [_, Pass::Closed] => {
                (Verdict::No, format!("network ACL {} lets no replies out over {} ({})", acl.id, family(ipv6), interface.subnet))
            }
            ways => {
                let told: Vec<String> = ways
                    .iter()
                    .filter_map(|way| if let Pass::Partly(number, net) = way { Some(format!("{net} by entry {number}")) } else { None })
                    .collect();
                (
                    Verdict::Unknown,
                    format!("network ACL {} lets through only {} and the like ({})", acl.id, told.join(" and "), interface.subnet),
                )
            }
        }
    }
}

fn family(ipv6: bool) -> &'static str {
    if ipv6 { "IPv6" } else { "IPv4" }
}

/// The interface's addresses in the Internet of a family; `None` where it has none. IPv6 addresses of VPCs are public, but for those of
/// private ranges (<https://docs.aws.amazon.com/vpc/latest/userguide/vpc-ip-addressing.html>).
fn addresses(interface: &Interface, ipv6: bool) -> Option<Reason> {
    let told: Vec<String> = if ipv6 {
        let public = |address: &&String| !address.to_ascii_lowercase().starts_with("fc") && !address.to_ascii_lowercase().starts_with("fd");
        interface.ipv6.iter().filter(public).cloned().collect()
    } else {
        let elastic = |(address, allocation): &(String, Option<String>)| match allocation {
            Some(allocation) => format!("{address} ({allocation})"),
            None => address.clone(),
        };
        interface.ipv4.iter().map(elastic).collect()
    };
    (!told.is_empty())
        .then(|| (Verdict::Yes, format!("interface {} has the public {} address {}", interface.id, family(ipv6), told.join(", "))))
}
