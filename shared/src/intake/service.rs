//! The `service` part of a GuardDuty finding, from the native document in either casing, or put together again from the
//! flattened `ProductFields` that Security Hub keeps (`aws/guardduty/service/action/…`).

use std::{collections::BTreeSet, net::IpAddr};

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::value::{address, at, elements, flag, get, list, port, text, text_at, time_at, whole};
use crate::finding::{Network, ResourceRole};

/// No field of GuardDuty's lies deeper; a longer path is not one of them.
const DEEPEST: usize = 16;

/// What the `service` part says.
#[derive(Debug, Default)]
pub(super) struct Service {
    /// TARGET or ACTOR.
    pub role: Option<ResourceRole>,
    /// How often seen.
    pub count: Option<u64>,
    /// First seen.
    pub first_seen: Option<Timestamp>,
    /// Last seen.
    pub last_seen: Option<Timestamp>,
    /// Archived in GuardDuty itself.
    pub archived: Option<bool>,
    /// A sample finding.
    pub sample: bool,
    /// The network side.
    pub network: Network,
    /// The attacked interface, `eni-…`.
    pub interface: Option<String>,
}

/// Reads a `service` object.
pub(super) fn read(service: &Value) -> Service {
    let (network, interface) = get(service, "action").map(network).unwrap_or_default();
    let mut network = network;
    for endpoint in elements(at(service, &["detection", "sequence", "endpoints"])) {
        network.remote_ips.extend(get(endpoint, "ip").and_then(address));
    }
    network.remote_ips = sorted(network.remote_ips);
    Service {
        role: get(service, "resourceRole").and_then(text).and_then(role),
        count: get(service, "count").and_then(whole),
        first_seen: time_at(service, &["eventFirstSeen"]),
        last_seen: time_at(service, &["eventLastSeen"]),
        archived: get(service, "archived").and_then(flag),
        sample: get(service, "additionalInfo").is_some_and(is_sample),
        network,
        interface,
    }
}

/// TARGET or ACTOR.
pub(super) fn role(written: &str) -> Option<ResourceRole> {
    match written.to_ascii_uppercase().as_str() {
        "TARGET" => Some(ResourceRole::Target),
        "ACTOR" => Some(ResourceRole::Actor),
        _ => None,
    }
}

/// Sorted, without repetition.
pub(super) fn sorted(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    addresses.into_iter().collect::<BTreeSet<_>>().into_iter().collect()
}

/// `sample: true`, by itself (EventBridge) or in the JSON text of `value` (API).
fn is_sample(info: &Value) -> bool {
    get(info, "sample").and_then(flag) == Some(true) || get(info, "value").and_then(text).is_some_and(is_sample_text)
}

/// Whether a JSON text says `"sample": true`.
pub(super) fn is_sample_text(written: &str) -> bool {
    serde_json::from_str::<Value>(written).is_ok_and(|inner| get(&inner, "sample").and_then(flag) == Some(true))
}

/// The network side of an `action`, GuardDuty's or the one that ASFF has at its top level.
pub(super) fn network(action: &Value) -> (Network, Option<String>) {
    let mut network = Network::default();
    let mut interface = None;
    let (mut local, mut remote) = (BTreeSet::new(), BTreeSet::new());
    let mut take = |network: &mut Network, part: &Value| {
        network.remote_ips.extend(addresses(part, "remoteIpDetails"));
        network.local_ips.extend(addresses(part, "localIpDetails"));
        local.extend(at(part, &["localPortDetails", "port"]).and_then(port));
        remote.extend(at(part, &["remotePortDetails", "port"]).and_then(port));
    };
    if let Some(connection) = get(action, "networkConnectionAction") {
        take(&mut network, connection);
        network.direction = text_at(connection, &["connectionDirection"]).map(str::to_ascii_uppercase);
        network.protocol = text_at(connection, &["protocol"]).map(str::to_ascii_lowercase);
        interface = text_at(connection, &["localNetworkInterface"]).map(str::to_owned);
    }
    if let Some(probe) = get(action, "portProbeAction") {
        for detail in list(probe, "portProbeDetails") {
            take(&mut network, detail);
        }
    }
    for name in ["awsApiCallAction", "kubernetesApiCallAction", "rdsLoginAttemptAction"] {
        if let Some(call) = get(action, name) {
            network.remote_ips.extend(addresses(call, "remoteIpDetails"));
        }
    }
    if let Some(dns) = get(action, "dnsRequestAction") {
        network.protocol = text_at(dns, &["protocol"]).map(str::to_ascii_lowercase);
    }
    network.local_port = only(&local);
    network.remote_port = only(&remote);
    network.remote_ips = sorted(network.remote_ips);
    network.local_ips = sorted(network.local_ips);
    (network, interface)
}

/// The one port; of several none, because acting on one of them is not acting on the finding.
pub(super) fn only(ports: &BTreeSet<u16>) -> Option<u16> {
    if ports.len() == 1 { ports.first().copied() } else { None }
}

fn addresses(part: &Value, name: &str) -> Vec<IpAddr> {
    let Some(details) = get(part, name) else { return Vec::new() };
    ["ipAddressV4", "ipAddressV6"].iter().filter_map(|family| get(details, family).and_then(address)).collect()
}

/// The object that flattened fields came from: those whose name begins with `prefix`, their path parted by `/`.
pub(super) fn unflatten<'a>(fields: impl Iterator<Item = (&'a String, &'a Value)>, prefix: &str) -> Value {
    let mut root = Map::new();
    for (name, value) in fields {
        let Some(path) = name.strip_prefix(prefix) else { continue };
        let names: Vec<&str> = path.split('/').take(DEEPEST + 1).collect();
        let Some((last, above)) = names.split_last().filter(|_| names.len() <= DEEPEST) else { continue };
        let mut inner = Some(&mut root);
        for name in above {
            inner = inner.and_then(|map| map.entry(*name).or_insert_with(|| Value::Object(Map::new())).as_object_mut());
        }
        if let Some(map) = inner {
            map.entry(*last).or_insert_with(|| value.clone());
        }
    }
    Value::Object(root)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn flattened_fields_read_like_the_object_they_came_from() {
        let native = json!({
            "resourceRole": "TARGET", "count": 7, "archived": false, "eventFirstSeen": "2024-01-01T00:00:00Z",
            "action": {"portProbeAction": {"portProbeDetails": [
                {"localPortDetails": {"port": 22}, "remoteIpDetails": {"ipAddressV4": "192.0.2.9"}},
                {"localPortDetails": {"port": 22}, "remoteIpDetails": {"ipAddressV4": "192.0.2.1"}}]}}
        });
        let probe = "aws/guardduty/service/action/portProbeAction/portProbeDetails";
        let fields = json!({
            "aws/guardduty/service/resourceRole": "TARGET", "aws/guardduty/service/count": "7", "aws/guardduty/service/archived": "false",
            "aws/guardduty/service/eventFirstSeen": "2024-01-01T00:00:00Z",
            (format!("{probe}.0_/localPortDetails/port")): "22", (format!("{probe}.0_/remoteIpDetails/ipAddressV4")): "192.0.2.9",
            (format!("{probe}.1_/localPortDetails/port")): "22", (format!("{probe}.1_/remoteIpDetails/ipAddressV4")): "192.0.2.1",
            "aws/securityhub/ProductName": "GuardDuty",
        });
        let (one, other) = (read(&native), read(&unflatten(fields.as_object().unwrap().iter(), "aws/guardduty/service/")));
        assert_eq!(one.network, other.network);
        assert_eq!((one.role, one.count, one.archived, one.first_seen), (other.role, other.count, other.archived, other.first_seen));
        assert_eq!(one.network.remote_ips, ["192.0.2.1".parse::<IpAddr>().unwrap(), "192.0.2.9".parse().unwrap()]);
        assert_eq!(one.network.local_port, Some(22));
    }

    #[test]
    fn probes_of_several_ports_name_none() {
        let details = json!([{"localPortDetails": {"port": 22}}, {"localPortDetails": {"port": 3389}}]);
        assert_eq!(network(&json!({"portProbeAction": {"portProbeDetails": details}})).0.local_port, None);
    }

    #[test]
    fn a_field_of_absurd_depth_is_left_out() {
        let name = format!("p/{}", "a/".repeat(100_000));
        let fields = json!({ name: "x", "p/b": "y" });
        assert_eq!(unflatten(fields.as_object().unwrap().iter(), "p/"), json!({"b": "y"}));
    }

    #[test]
    fn a_sample_says_so_in_either_form() {
        assert!(is_sample(&json!({"sample": true})));
        assert!(is_sample(&json!({"Type": "default", "Value": "{\"sample\":true}"})));
        assert!(!is_sample(&json!({"value": "{\"sample\":false}"})));
        assert!(!is_sample(&json!({"value": "not json"})));
    }
}
