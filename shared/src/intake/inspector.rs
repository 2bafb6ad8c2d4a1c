//! Amazon Inspector's own format, as EventBridge and `ListFindings` give it.

use serde_json::Value;

use super::{
    Rejection,
    common::{self, Context, Owner, arn_part},
    severity,
    subject::Resource,
    value::{at, elements, get, port, text_at, time_at},
};
use crate::finding::{Finding, FindingId, Format, HubState, Network, Provider, Raw, Subject};

/// Reads one finding; `raw` is its document.
pub(super) fn read(value: &Value, raw: &str, cx: &Context) -> Result<Finding, Rejection> {
    let path = |name: &str| cx.field(value, name);
    let id = text_at(value, &["findingArn"]).ok_or_else(|| common::no_id(&path("findingArn")))?;
    let account = get(value, "awsAccountId").ok_or_else(|| common::no_account(&path("awsAccountId")))?;
    let account = common::account(account, &path("awsAccountId"))?;
    let resource = elements(get(value, "resources")).find_map(|resource| text_at(resource, &["region"]));
    let places =
        [(resource, path("resources[0].region")), (arn_part(id, 3), path("findingArn")), (cx.region.as_deref(), "$.region".to_owned())];
    let found = places.iter().find_map(|(region, at)| region.map(|region| (region, at)));
    let (region, at_path) = found.ok_or_else(|| common::no_region(&path("resources[0].region")))?;
    let owner = Owner { account, region: common::region(region, at_path)? };
    let kind = text_at(value, &["type"]).ok_or_else(|| common::no_type(&path("type")))?;

    let resources: Vec<(&str, Subject)> = elements(get(value, "resources"))
        .filter_map(|resource| {
            let id = text_at(resource, &["id"])?;
            let kind = text_at(resource, &["type"]).unwrap_or_default();
            Some((id, Resource { kind, id, region: text_at(resource, &["region"]) }.subject(&owner)))
        })
        .collect();
    let at_path = format!("{}.resources[0].id", cx.path);
    let written = resources.first().map(|(id, _)| *id);
    let subjects = resources.iter().map(|(_, subject)| subject.clone()).collect();
    let (primary, subjects) = common::settle(subjects, written, &at_path, false, &owner)?;

    let title = ["title", "description"].iter().find_map(|name| text_at(value, &[name])).unwrap_or(kind);
    let last_seen = time_at(value, &["lastObservedAt"]);
    Ok(Finding {
        id: FindingId(id.to_owned()),
        provider: Provider::Inspector,
        format: Format::Inspector,
        kind: kind.to_owned(),
        title: title.to_owned(),
        severity: text_at(value, &["severity"]).and_then(|label| severity::of_label(label, Provider::Inspector)).unwrap_or(0),
        cell: primary.cell,
        role: None,
        credential: None,
        network: network(value),
        first_seen: time_at(value, &["firstObservedAt"]),
        last_seen,
        updated_at: time_at(value, &["updatedAt"]).or(last_seen),
        count: 1,
        sample: title.starts_with("[SAMPLE]"),
        archived: text_at(value, &["status"]) == Some("CLOSED"),
        hub: HubState { custom_action: cx.custom_action.clone(), ..HubState::default() },
        raw: Raw::new(raw.as_bytes()),
        subjects,
    })
}

/// The open port of a reachability finding, where it is one.
fn network(value: &Value) -> Network {
    let Some(details) = get(value, "networkReachabilityDetails") else { return Network::default() };
    let end = |name: &str| at(details, &["openPortRange", name]).and_then(port);
    let local_port = end("begin").filter(|begin| end("end") == Some(*begin));
    let protocol = text_at(details, &["protocol"]).map(str::to_ascii_lowercase);
    Network { protocol, local_port, ..Network::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{finding::SubjectKind, intake::codes};
    use serde_json::json;

    fn document() -> Value {
        json!({
            "awsAccountId": "111122223333", "findingArn": "arn:aws:inspector2:eu-central-1:111122223333:finding/0a1b",
            "type": "NETWORK_REACHABILITY", "title": "Port 22 is reachable", "severity": "MEDIUM", "status": "ACTIVE",
            "firstObservedAt": "Thu Sep 05 13:06:56.334 UTC 2024", "updatedAt": "Thu Sep 05 13:06:56.334 UTC 2024",
            "networkReachabilityDetails": {"openPortRange": {"begin": 22, "end": 22}, "protocol": "TCP"},
            "resources": [{"type": "AWS_EC2_INSTANCE", "id": "i-0abc", "region": "eu-central-1"}]
        })
    }

    fn told(value: &Value) -> Result<Finding, Rejection> {
        read(value, &value.to_string(), &Context { path: "$".to_owned(), ..Context::default() })
    }

    #[test]
    fn a_reachability_finding_has_its_instance_port_and_times() {
        let finding = told(&document()).unwrap();
        let subject = finding.subject().unwrap();
        assert_eq!((subject.kind, subject.name()), (SubjectKind::Instance, "arn:aws:ec2:eu-central-1:111122223333:instance/i-0abc"));
        assert_eq!((finding.network.local_port, finding.network.protocol.as_deref()), (Some(22), Some("tcp")));
        assert_eq!((finding.severity, finding.updated_at), (40, "2024-09-05T13:06:56.334Z".parse().ok()));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        for (change, code) in [
            (json!({"findingArn": ""}), codes::NO_ID),
            (json!({"type": null}), codes::NO_TYPE),
            (json!({"awsAccountId": null}), codes::NO_ACCOUNT),
            (json!({"awsAccountId": "1111"}), codes::BAD_ACCOUNT),
            (json!({"resources": [{"id": "i-1", "region": "eu-north-9"}]}), codes::BAD_REGION),
            (json!({"resources": [{"id": "arn:aws:lambda:eu-central-1:444455556666:function:f"}]}), codes::OTHER_ACCOUNT),
        ] {
            let mut value = document();
            value.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let why = told(&value).unwrap_err();
            assert!(why.code == code && why.reason.contains("$."), "{change}: {why}");
        }
    }
}
