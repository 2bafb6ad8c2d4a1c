//! GuardDuty's own format, in the casing of EventBridge (`accountId`) and of its API (`AccountId`).

use serde_json::Value;

use super::{
    Rejection,
    common::{self, Context, Owner, arn_part},
    service, severity,
    subject::{self, Resource},
    value::{address, at, elements, get, number, text, text_at, time_at},
};
use crate::finding::{Credential, Finding, FindingId, Format, HubState, Network, Provider, Raw, Subject};

/// Reads one finding; `raw` is its document.
pub(super) fn read(value: &Value, raw: &str, cx: &Context) -> Result<Finding, Rejection> {
    let own = text_at(value, &["arn"]);
    let bare = text_at(value, &["id"]);
    let owner = owner(value, own, cx)?;
    let service = get(value, "service").or_else(|| moved_service(value)).unwrap_or(&Value::Null);
    if let Some(arn) = own {
        common::belongs(arn, &owner, &cx.field(value, "arn"))?;
    }
    let id = match (own, bare) {
        (Some(arn), _) => arn.to_owned(),
        (None, Some(bare)) => arn_of(bare, service, &owner),
        (None, None) => return Err(common::no_id(&cx.field(value, "id"))),
    };
    let kind = text_at(value, &["type"]).ok_or_else(|| common::no_type(&cx.field(value, "type")))?;

    let told = service::read(service);
    let mut network = told.network;
    network.local_ips.extend(interface_addresses(value, told.interface.as_deref(), &network));
    network.local_ips = service::sorted(network.local_ips);
    let mut subjects = subjects(value, service, &owner);
    subject::order(kind, &mut subjects, &owner);
    let title = ["title", "description"].iter().find_map(|name| text_at(value, &[name])).unwrap_or(kind);
    let sample = told.sample || title.starts_with("[SAMPLE]");
    let (primary, subjects) = common::settle(subjects, None, &cx.field(value, "resource"), sample, &owner)?;
    Ok(Finding {
        id: FindingId(id),
        provider: Provider::GuardDuty,
        format: Format::GuardDuty,
        kind: kind.to_owned(),
        title: title.to_owned(),
        severity: get(value, "severity").and_then(number).map_or(0, severity::of_guardduty),
        cell: primary.cell,
        role: told.role,
        credential: credential(value, service),
        network,
        first_seen: told.first_seen.or_else(|| time_at(value, &["createdAt"])),
        last_seen: told.last_seen,
        updated_at: time_at(value, &["updatedAt"]).or(told.last_seen),
        count: told.count.unwrap_or(1),
        sample,
        archived: told.archived.unwrap_or(false),
        hub: HubState { custom_action: cx.custom_action.clone(), ..HubState::default() },
        raw: Raw::new(raw.as_bytes()),
        subjects,
    })
}

/// The account and Region of the finding: its own fields, else those in its ARN. The envelope's account is no help (for
/// a member's finding it is the administrator's), its Region is: GuardDuty's findings never leave theirs.
fn owner(value: &Value, arn: Option<&str>, cx: &Context) -> Result<Owner, Rejection> {
    let account = match get(value, "accountId") {
        Some(account) => common::account(account, &cx.field(value, "accountId"))?,
        None => {
            let named = arn.and_then(|arn| arn_part(arn, 4)).ok_or_else(|| common::no_account(&cx.field(value, "accountId")))?;
            common::account(&Value::from(named), &cx.field(value, "arn"))?
        }
    };
    let region = match (text_at(value, &["region"]), arn.and_then(|arn| arn_part(arn, 3)), cx.region.as_deref()) {
        (Some(region), _, _) => common::region(region, &cx.field(value, "region"))?,
        (None, Some(region), _) => common::region(region, &cx.field(value, "arn"))?,
        (None, None, Some(region)) => common::region(region, "$.region")?,
        (None, None, None) => return Err(common::no_region(&cx.field(value, "region"))),
    };
    Ok(Owner { account, region })
}

/// Some log stores rename `service` to `finding`; what says it is GuardDuty's service part is one.
fn moved_service(value: &Value) -> Option<&Value> {
    get(value, "finding").filter(|moved| text_at(moved, &["serviceName"]) == Some("guardduty"))
}

/// The finding's ARN from its bare id, where the detector is known; else the bare id.
fn arn_of(bare: &str, service: &Value, owner: &Owner) -> String {
    let detector = text_at(service, &["detectorId"]);
    let arn =
        |detector| format!("arn:{}:guardduty:{}:{}:detector/{detector}/finding/{bare}", owner.partition(), owner.region, owner.account);
    detector.map_or_else(|| bare.to_owned(), arn)
}

/// What `resource` and, for an attack sequence, `service.detection.sequence` name.
fn subjects(value: &Value, service: &Value, owner: &Owner) -> Vec<Subject> {
    let mut found = Vec::new();
    let resource = get(value, "resource").unwrap_or(&Value::Null);
    if let Some(id) = text_at(resource, &["instanceDetails", "instanceId"]) {
        found.push(subject::instance(id, owner));
    }
    if let Some(key) = get(resource, "accessKeyDetails") {
        found.extend(key_and_principal(key, text_at(key, &["accessKeyId"]), owner));
    }
    for bucket in elements(get(resource, "s3BucketDetails")) {
        let id = ["arn", "name"].iter().find_map(|name| text_at(bucket, &[name]));
        found.extend(id.map(|id| Resource { kind: "AwsS3Bucket", id, region: None }.subject(owner)));
    }
    for path in OTHERS {
        found.extend(text_at(resource, path).map(|id| Resource { kind: "", id, region: None }.subject(owner)));
    }
    for volume in elements(at(resource, &["ebsVolumeDetails", "scannedVolumeDetails"])) {
        found.extend(text_at(volume, &["volumeArn"]).map(|id| Resource { kind: "", id, region: None }.subject(owner)));
    }
    if let Some(sequence) = at(service, &["detection", "sequence"]) {
        found.extend(of_sequence(sequence, owner));
    }
    found
}

/// The credentials it is about: `accessKeyDetails`, or of an attack sequence the first actor that used some.
fn credential(value: &Value, service: &Value) -> Option<Credential> {
    let details = at(value, &["resource", "accessKeyDetails"]).and_then(|key| {
        Credential::new(
            text_at(key, &["accessKeyId"]),
            text_at(key, &["principalId"]),
            text_at(key, &["userType"]),
            text_at(key, &["userName"]),
        )
    });
    details.or_else(|| {
        let actors = at(service, &["detection", "sequence", "actors"]);
        elements(actors).filter_map(|actor| get(actor, "user")).find_map(|user| {
            let key = text_at(user, &["credentialUid"])?;
            Credential::new(Some(key), text_at(user, &["uid"]), text_at(user, &["type"]), text_at(user, &["name"]))
        })
    })
}

/// Resources that have an ARN and no more detail here.
const OTHERS: &[&[&str]] = &[
    &["eksClusterDetails", "arn"],
    &["ecsClusterDetails", "arn"],
    &["lambdaDetails", "functionArn"],
    &["rdsDbInstanceDetails", "dbInstanceArn"],
    &["rdsLimitlessDbDetails", "dbShardGroupArn"],
    &["ebsSnapshotDetails", "snapshotArn"],
    &["ec2ImageDetails", "imageArn"],
    &["recoveryPointDetails", "recoveryPointArn"],
    &["containerDetails", "id"],
];

/// An access key and the principal behind it, from GuardDuty's `accessKeyDetails` or an attack sequence's `accessKey`.
fn key_and_principal(details: &Value, key: Option<&str>, owner: &Owner) -> Vec<Subject> {
    let key = key.map(|id| Resource { kind: "AwsIamAccessKey", id, region: None }.subject(owner));
    let name = ["userName", "principalId"].iter().find_map(|name| text_at(details, &[name]));
    let principal = name.map(|name| subject::principal(text_at(details, &["userType"]), name, owner));
    key.into_iter().chain(principal).collect()
}

/// The resources and actors of an attack sequence. They may be of several accounts.
fn of_sequence(sequence: &Value, owner: &Owner) -> Vec<Subject> {
    let mut found = Vec::new();
    for resource in elements(get(sequence, "resources")) {
        let Some(id) = ["uid", "name"].iter().find_map(|name| text_at(resource, &[name])) else { continue };
        let account = get(resource, "accountId").and_then(text).and_then(|account| account.parse().ok());
        let owner = Owner { account: account.unwrap_or_else(|| owner.account.clone()), region: owner.region.clone() };
        let kind = text_at(resource, &["resourceType"]).unwrap_or_default();
        found.push(Resource { kind, id, region: text_at(resource, &["region"]) }.subject(&owner));
        if let Some(key) = at(resource, &["data", "accessKey"]) {
            found.extend(key_and_principal(key, None, &owner));
        }
    }
    for user in elements(get(sequence, "actors")).filter_map(|actor| get(actor, "user")) {
        let key = text_at(user, &["credentialUid"]).map(|id| Resource { kind: "AwsIamAccessKey", id, region: None }.subject(owner));
        let principal = text_at(user, &["name"]).map(|name| subject::principal(text_at(user, &["type"]), name, owner));
        found.extend(key.into_iter().chain(principal));
    }
    found
}

/// The addresses of the attacked interface: the one the action names, the one that has the attacked address, or the
/// instance's only one. None where nothing was attacked over the network.
fn interface_addresses(value: &Value, named: Option<&str>, network: &Network) -> Vec<std::net::IpAddr> {
    if network.local_port.is_none() && network.local_ips.is_empty() && named.is_none() {
        return Vec::new();
    }
    let all: Vec<&Value> = elements(at(value, &["resource", "instanceDetails", "networkInterfaces"])).collect();
    let of = |interface: &Value| {
        let lists = ["ipv6Addresses", "privateIpAddresses"].iter().flat_map(|name| elements(get(interface, name)));
        let single = ["privateIpAddress", "publicIp"].iter().filter_map(|name| get(interface, name));
        let listed = lists.filter_map(|entry| get(entry, "privateIpAddress").or(Some(entry)));
        single.chain(listed).filter_map(address).collect::<Vec<_>>()
    };
    let is_named = |interface: &&&Value| named.is_some() && text_at(interface, &["networkInterfaceId"]) == named;
    let has_address = |interface: &&&Value| of(interface).iter().any(|ip| network.local_ips.contains(ip));
    let found = all.iter().find(is_named).or_else(|| all.iter().find(has_address));
    found.or_else(|| all.first().filter(|_| all.len() == 1)).map(|interface| of(interface)).unwrap_or_default()
}

#[cfg(test)]
#[path = "guardduty_tests.rs"]
mod tests;
