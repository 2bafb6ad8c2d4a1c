//! OCSF findings: Security Hub's second version, and other products that write the format.
//!
//! A customer can change a finding's `severity_id`, `status_id` and `comment` (`BatchUpdateFindingsV2`), which leaves
//! `finding_info.modified_time` and `time` alone. The product's own severity is kept in `vendor_attributes`.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{
    Rejection,
    asff::{GUARDDUTY, inspector_kind},
    common::{self, Context, Owner, arn_part},
    control::{self, Sources},
    kind,
    product::Product,
    service::{self, Service},
    severity,
    subject::{self, Resource},
    value::{address, at, elements, get, port, text, text_at, time_at, whole},
};
use crate::finding::{Credential, Finding, FindingId, Format, HubState, Network, Provider, Raw, ResourceRole, Subject};

/// Reads one finding; `raw` is its document.
pub(super) fn read(value: &Value, raw: &str, cx: &Context) -> Result<Finding, Rejection> {
    let (info, info_name) = info(value);
    let path = |rest: &str| format!("{}.{rest}", cx.path);
    let own = text_at(info, &["uid"]).ok_or_else(|| common::no_id(&path(&format!("{info_name}.uid"))))?;
    let product = product(value);
    let owner = owner(value, own, cx)?;
    if matches!(product.provider, Provider::GuardDuty | Provider::SecurityHub) {
        common::belongs(own, &owner, &path(&format!("{info_name}.uid")))?;
    }
    let kind = kind_of(value, info, own, product.provider).ok_or_else(|| common::no_type(&path(&format!("{info_name}.types"))))?;

    let unmapped = get(value, "unmapped").and_then(Value::as_object);
    let told = if product.provider == Provider::GuardDuty { service(unmapped) } else { Service::default() };
    let role = told.role.or_else(|| resources(value).find_map(role));
    let network = if told.network.remote_ips.is_empty() { network(value, role) } else { told.network };

    let mut found: Vec<Subject> = Vec::new();
    for resource in resources(value) {
        found.extend(subject_of(resource, &owner));
    }
    if product.provider == Provider::GuardDuty {
        subject::order(&kind, &mut found, &owner);
    }
    let title = ["title", "desc"].iter().find_map(|name| text_at(info, &[name])).unwrap_or(&kind).to_owned();
    let sample = told.sample || title.starts_with("[SAMPLE]") || is_sample(value, unmapped);
    let (primary, subjects) = common::settle(found, None, &path("resources[0].uid"), sample, &owner)?;
    let record_state = unmapped.and_then(|map| map.get("RecordState")).and_then(text).map(str::to_ascii_uppercase);
    Ok(Finding {
        id: FindingId(product.finding_id(own, &owner)),
        provider: product.provider,
        format: Format::Ocsf,
        severity: severity_of(value, unmapped, product.provider),
        cell: primary.cell,
        role,
        credential: resources(value).find_map(credential),
        network,
        first_seen: told.first_seen.or_else(|| time_of(info, "first_seen_time")).or_else(|| time_of(info, "created_time")),
        last_seen: told.last_seen.or_else(|| time_of(info, "last_seen_time")),
        updated_at: time_of(info, "modified_time").or_else(|| time_of(value, "time")),
        count: told.count.or_else(|| get(value, "count").and_then(whole)).unwrap_or(1),
        sample,
        archived: told.archived.unwrap_or_else(|| record_state.as_deref() == Some("ARCHIVED") || is_closed(value)),
        hub: HubState {
            record_state,
            workflow: text_at(value, &["status"]).map(str::to_ascii_uppercase),
            compliance: text_at(value, &["compliance", "status"]).map(compliance),
            custom_action: cx.custom_action.clone(),
            product_arn: text_at(value, &["metadata", "product", "uid"]).filter(|uid| uid.starts_with("arn:")).map(str::to_owned),
        },
        raw: Raw::new(raw.as_bytes()),
        title,
        kind,
        subjects,
    })
}

/// `finding_info`, or `finding` as it was called before OCSF 1.1.
fn info(value: &Value) -> (&Value, &'static str) {
    match (get(value, "finding_info"), get(value, "finding")) {
        (Some(info), _) => (info, "finding_info"),
        (None, Some(info)) => (info, "finding"),
        (None, None) => (&Value::Null, "finding_info"),
    }
}

/// The product: its ARN, or for others whatever names it.
fn product(value: &Value) -> Product {
    Product::of(["uid", "name", "vendor_name"].iter().find_map(|name| text_at(value, &["metadata", "product", name])))
}

fn owner(value: &Value, own: &str, cx: &Context) -> Result<Owner, Rejection> {
    let path = |rest: &str| format!("{}.{rest}", cx.path);
    let first = resources(value).next();
    let places = [
        (at(value, &["cloud", "account", "uid"]), "cloud.account.uid"),
        (at(value, &["cloud", "account_uid"]), "cloud.account_uid"),
        (first.and_then(|resource| at(resource, &["owner", "account", "uid"])), "resources[0].owner.account.uid"),
    ];
    let found = places.iter().find_map(|(account, name)| account.map(|account| (account, *name)));
    let (account, name) = found.ok_or_else(|| common::no_account(&path("cloud.account.uid")))?;
    let account = common::account(account, &path(name))?;
    let places = [
        (text_at(value, &["cloud", "region"]), "cloud.region"),
        (first.and_then(|resource| text_at(resource, &["region"])), "resources[0].region"),
        (text_at(value, &["metadata", "product", "uid"]).and_then(|arn| arn_part(arn, 3)), "metadata.product.uid"),
        (arn_part(own, 3), "finding_info.uid"),
    ];
    let found = places.iter().find_map(|(region, name)| region.map(|region| (region, *name)));
    let (region, name) = found.ok_or_else(|| common::no_region(&path("cloud.region")))?;
    Ok(Owner { account, region: common::region(region, &path(name))? })
}

fn kind_of(value: &Value, info: &Value, own: &str, provider: Provider) -> Option<String> {
    let mut types = elements(get(info, "types")).filter_map(text);
    let generator = text_at(value, &["metadata", "product", "feature", "uid"]);
    match provider {
        Provider::GuardDuty => {
            let all: Vec<&str> = types.collect();
            all.iter().find_map(|name| kind::native(name)).or_else(|| all.last().map(|name| (*name).to_owned()))
        }
        Provider::SecurityHub => {
            let links = ["references", "kb_articles"].iter().flat_map(|name| elements(at(value, &["remediation", name])));
            let url = links.filter_map(text).next();
            let control = text_at(value, &["compliance", "control"]);
            control::id(Sources { control, generator, id: Some(own), standards_control: None, url })
                .or_else(|| types.next().map(str::to_owned))
        }
        Provider::Inspector => types.next().map(inspector_kind),
        Provider::Other => {
            // Other products put a category into `types` and name the check in `event_code`.
            let code = text_at(value, &["metadata", "event_code"]);
            code.or_else(|| types.next()).or(generator).or_else(|| text_at(value, &["type_name"])).map(str::to_owned)
        }
    }
}

/// GuardDuty's `service` part, where a translation from ASFF kept it.
fn service(unmapped: Option<&Map<String, Value>>) -> Service {
    let prefix = format!("ProductFields.{GUARDDUTY}");
    service::read(&service::unflatten(unmapped.into_iter().flatten(), &prefix))
}

/// `resources`, or `resource` as some classes have it.
fn resources(value: &Value) -> impl Iterator<Item = &Value> {
    elements(get(value, "resources")).chain(elements(get(value, "resource")))
}

/// The details of a resource: in `data` as a text of ASFF's details, or as an object.
fn details(resource: &Value) -> Option<Value> {
    let parsed = get(resource, "data").and_then(text).and_then(|data| serde_json::from_str::<Value>(data).ok());
    parsed.or_else(|| get(resource, "data").cloned())
}

/// The kind of principal behind a key, as GuardDuty's or as ASFF's details have it.
fn user_type(key: &Value) -> Option<&str> {
    ["principalType", "userType"].iter().find_map(|name| text_at(key, &[name]))
}

/// The name of the principal behind a key, likewise.
fn user_name(key: &Value) -> Option<&str> {
    ["principalName", "userName"].iter().find_map(|name| text_at(key, &[name]))
}

/// The credentials that a resource stands for.
fn credential(resource: &Value) -> Option<Credential> {
    let data = details(resource)?;
    let key = get(&data, "AwsIamAccessKey").unwrap_or(&data);
    let user_type = user_type(key)?;
    let uid = text_at(resource, &["uid"]).map(|uid| uid.strip_prefix("AWS::IAM::AccessKey:").unwrap_or(uid));
    let id = text_at(key, &["accessKeyId"]).or_else(|| uid.filter(|uid| uid.starts_with("AKIA") || uid.starts_with("ASIA")));
    Credential::new(id, text_at(key, &["principalId"]), Some(user_type), user_name(key))
}

fn subject_of(resource: &Value, owner: &Owner) -> Vec<Subject> {
    let id = ["uid", "uid_alt", "name"].iter().find_map(|name| text_at(resource, &[name]));
    let Some(id) = id else { return Vec::new() };
    let kind = text_at(resource, &["type"]).unwrap_or_default();
    let account = at(resource, &["owner", "account", "uid"]).and_then(text).and_then(|account| account.parse().ok());
    let owner = Owner { account: account.unwrap_or_else(|| owner.account.clone()), region: owner.region.clone() };
    let mut found = vec![Resource { kind, id, region: text_at(resource, &["region"]) }.subject(&owner)];
    // The principal behind a key.
    if let Some(data) = details(resource) {
        let key = get(&data, "AwsIamAccessKey").unwrap_or(&data);
        if let (Some(user_type), Some(name)) = (user_type(key), user_name(key)) {
            found.push(subject::principal(Some(user_type), name, &owner));
        }
    }
    found
}

/// The part a resource plays: `role_id` 1 is its target, 2 its actor.
fn role(resource: &Value) -> Option<ResourceRole> {
    match get(resource, "role_id").and_then(whole) {
        Some(1) => Some(ResourceRole::Target),
        Some(2) => Some(ResourceRole::Actor),
        _ => text_at(resource, &["role"]).and_then(service::role),
    }
}

/// The network side from `evidences`. Which endpoint is ours follows from the direction, else from the part we play,
/// else the source is the other side, as it is for an API call.
fn network(value: &Value, role: Option<ResourceRole>) -> Network {
    let mut network = Network::default();
    let (mut local, mut remote) = (BTreeSet::new(), BTreeSet::new());
    for evidence in elements(get(value, "evidences")) {
        let connection = get(evidence, "connection_info").unwrap_or(&Value::Null);
        let direction = match get(connection, "direction_id").and_then(whole) {
            Some(1) => Some("INBOUND".to_owned()),
            Some(2) => Some("OUTBOUND".to_owned()),
            _ => text_at(connection, &["direction"]).map(str::to_ascii_uppercase),
        };
        let outward = direction.as_deref() == Some("OUTBOUND") || (direction.is_none() && role == Some(ResourceRole::Actor));
        let (ours, theirs) = match (get(evidence, "src_endpoint"), get(evidence, "dst_endpoint")) {
            (Some(source), Some(target)) if outward => (Some(source), Some(target)),
            (Some(source), None) if direction.as_deref() == Some("OUTBOUND") => (Some(source), None),
            (None, Some(target)) if direction.as_deref() == Some("INBOUND") => (Some(target), None),
            (None, target) => (None, target),
            (source, target) => (target, source),
        };
        let ip = |endpoint: Option<&Value>| endpoint.and_then(|endpoint| get(endpoint, "ip")).and_then(address);
        let port_of = |endpoint: Option<&Value>| endpoint.and_then(|endpoint| get(endpoint, "port")).and_then(port);
        network.remote_ips.extend(ip(theirs));
        network.local_ips.extend(ip(ours));
        local.extend(port_of(ours));
        remote.extend(port_of(theirs));
        network.direction = network.direction.or(direction);
        network.protocol = network.protocol.or_else(|| text_at(connection, &["protocol_name"]).map(str::to_ascii_lowercase));
    }
    network.local_port = service::only(&local);
    network.remote_port = service::only(&remote);
    network.remote_ips = service::sorted(network.remote_ips);
    network.local_ips = service::sorted(network.local_ips);
    network
}

/// The product's severity: `vendor_attributes`, or what a translation from ASFF kept of `FindingProviderFields`. A
/// document with neither never went through Security Hub, where a customer could have changed its `severity_id`.
fn severity_of(value: &Value, unmapped: Option<&Map<String, Value>>, provider: Provider) -> u8 {
    let given = |part: &Value| {
        let id = get(part, "severity_id").and_then(whole).and_then(|id| severity::of_ocsf(id, provider));
        id.or_else(|| severity::of_label(text_at(part, &["severity"])?, provider))
    };
    let kept =
        || unmapped?.get("FindingProviderFields.Severity.Label").and_then(text).and_then(|label| severity::of_label(label, provider));
    get(value, "vendor_attributes").and_then(given).or_else(kept).or_else(|| given(value)).unwrap_or(0)
}

/// `…_time_dt` as text, or `…_time` as a number.
fn time_of(value: &Value, name: &str) -> Option<jiff::Timestamp> {
    time_at(value, &[&format!("{name}_dt")]).or_else(|| time_at(value, &[name]))
}

fn is_sample(value: &Value, unmapped: Option<&Map<String, Value>>) -> bool {
    let kept = unmapped.and_then(|map| map.get("Sample")).and_then(super::value::flag) == Some(true);
    let said = |evidence: &Value| match get(evidence, "data") {
        Some(Value::String(written)) => service::is_sample_text(written),
        Some(data) => get(data, "sample").and_then(super::value::flag) == Some(true),
        None => false,
    };
    kept || elements(get(value, "evidences")).any(said)
}

/// Closed by the product: `activity_id` 3, unless a person's status (suppressed, resolved, archived) may be the cause.
fn is_closed(value: &Value) -> bool {
    let status = get(value, "status_id").and_then(whole);
    get(value, "activity_id").and_then(whole) == Some(3) && !matches!(status, Some(3..=6))
}

/// ASFF's word for OCSF's.
fn compliance(written: &str) -> String {
    match written.to_ascii_uppercase().as_str() {
        "PASS" => "PASSED".to_owned(),
        "FAIL" => "FAILED".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
#[path = "ocsf_tests.rs"]
mod tests;
