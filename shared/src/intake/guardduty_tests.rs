use super::*;
use crate::{
    finding::{ResourceRole, SubjectKind},
    intake::codes,
};
use serde_json::json;

fn brute_force() -> Value {
    json!({
        "schemaVersion": "2.0", "accountId": "111122223333", "region": "eu-west-1", "partition": "aws", "id": "9f",
        "arn": "arn:aws:guardduty:eu-west-1:111122223333:detector/d1/finding/9f", "type": "UnauthorizedAccess:EC2/SSHBruteForce",
        "severity": 2.04, "title": "192.0.2.7 is performing SSH brute force attacks against i-0abc.", "updatedAt": "2024-01-02T03:04:05.678Z",
        "resource": {"resourceType": "Instance", "instanceDetails": {"instanceId": "i-0abc", "networkInterfaces": [
            {"networkInterfaceId": "eni-1", "privateIpAddress": "10.0.0.4", "publicIp": "198.51.100.4", "ipv6Addresses": ["2001:db8::4"]},
            {"networkInterfaceId": "eni-2", "privateIpAddress": "10.0.0.5"}]}},
        "service": {"serviceName": "guardduty", "detectorId": "d1", "resourceRole": "TARGET", "count": 12, "archived": false,
            "eventFirstSeen": "2024-01-02T01:00:00Z", "eventLastSeen": "2024-01-02T03:00:00Z",
            "action": {"actionType": "NETWORK_CONNECTION", "networkConnectionAction": {
                "connectionDirection": "INBOUND", "protocol": "TCP", "localNetworkInterface": "eni-1", "localPortDetails": {"port": 22},
                "remotePortDetails": {"port": 40000}, "remoteIpDetails": {"ipAddressV4": "192.0.2.7"}}}}
    })
}

/// The same with every name in the casing of the API.
fn pascal(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let upper = |name: &String| name.chars().take(1).flat_map(char::to_uppercase).chain(name.chars().skip(1)).collect::<String>();
            Value::Object(map.iter().map(|(name, inner)| (upper(name), pascal(inner))).collect())
        }
        Value::Array(list) => Value::Array(list.iter().map(pascal).collect()),
        other => other.clone(),
    }
}

fn told(value: &Value) -> Result<Finding, Rejection> {
    read(value, &value.to_string(), &Context { path: "$.detail".to_owned(), region: Some("eu-west-1".to_owned()), custom_action: None })
}

fn with(change: &Value) -> Value {
    let mut value = brute_force();
    value.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    value
}

#[test]
fn a_brute_force_finding_is_read_whole() {
    let finding = told(&brute_force()).unwrap();
    assert_eq!(finding.id.0, "arn:aws:guardduty:eu-west-1:111122223333:detector/d1/finding/9f");
    assert_eq!((finding.kind.as_str(), finding.severity, finding.count), ("UnauthorizedAccess:EC2/SSHBruteForce", 20, 12));
    assert_eq!((finding.role, finding.sample, finding.archived), (Some(ResourceRole::Target), false, false));
    assert_eq!((finding.cell.to_string().as_str(), finding.subject().unwrap().id.as_str()), ("111122223333/eu-west-1", "i-0abc"));
    let network = &finding.network;
    assert_eq!((network.direction.as_deref(), network.protocol.as_deref()), (Some("INBOUND"), Some("tcp")));
    assert_eq!((network.local_port, network.remote_port), (Some(22), Some(40000)));
    assert_eq!(network.remote_ips, ["192.0.2.7".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(network.local_ips.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.4", "198.51.100.4", "2001:db8::4"]);
    assert_eq!(finding.updated_at, "2024-01-02T03:04:05.678Z".parse().ok());
}

#[test]
fn both_casings_are_one_finding() {
    let (mut one, mut other) = (told(&brute_force()).unwrap(), told(&pascal(&brute_force())).unwrap());
    (one.raw, other.raw) = (Raw::new(b""), Raw::new(b""));
    assert_eq!(one, other);
}

#[test]
fn without_an_arn_the_id_is_made_into_one_where_the_detector_is_known() {
    let arn = told(&brute_force()).unwrap().id;
    assert_eq!(told(&with(&json!({"arn": null}))).unwrap().id, arn);
    assert_eq!(told(&with(&json!({"arn": null, "service": {"resourceRole": "TARGET"}}))).unwrap().id.0, "9f");
    assert_eq!(told(&with(&json!({"accountId": null, "region": null}))).unwrap().cell.to_string(), "111122223333/eu-west-1");
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    for (change, code, place) in [
        (json!({"arn": null, "id": " "}), codes::NO_ID, "$.detail.id"),
        (json!({"type": ""}), codes::NO_TYPE, "$.detail.type"),
        (json!({"arn": null, "accountId": null}), codes::NO_ACCOUNT, "$.detail.accountId"),
        (json!({"accountId": "1234567891234"}), codes::BAD_ACCOUNT, "`1234567891234`"),
        (json!({"accountId": "<account>"}), codes::BAD_ACCOUNT, "$.detail.accountId is `<account>`"),
        (json!({"region": "eu-west-9"}), codes::BAD_REGION, "$.detail.region is `eu-west-9`"),
        (json!({"accountId": "444455556666"}), codes::OTHER_ACCOUNT, "$.detail.arn"),
        (
            json!({"type": "X:EKS/Y", "resource": {"eksClusterDetails": {"arn": "arn:aws:eks:eu-west-1:444455556666:cluster/c"}}}),
            codes::OTHER_ACCOUNT,
            "$.detail.resource",
        ),
    ] {
        let why = told(&with(&change)).unwrap_err();
        assert!(why.code == code && why.reason.contains(place), "{change}: {why}");
    }
}

#[test]
fn nothing_else_is_essential() {
    let bare = json!({"accountId": "111122223333", "region": "us-east-1", "id": "9f", "type": "Policy:IAMUser/RootCredentialUsage", "resource": {}});
    let finding = told(&bare).unwrap();
    assert_eq!((finding.subject().unwrap().kind, finding.count, finding.role), (SubjectKind::Account, 1, None));
}

#[test]
fn a_sample_is_told_in_every_form_and_its_made_up_resources_are_no_reason_to_reject_it() {
    for change in [
        json!({"title": "[SAMPLE] 192.0.2.7 is performing SSH brute force attacks"}),
        json!({"service": {"additionalInfo": {"sample": true}}}),
        json!({"service": {"additionalInfo": {"type": "default", "value": "{\"sample\":true}"}}}),
    ] {
        assert!(told(&with(&change)).unwrap().sample, "{change}");
    }
    let foreign = json!({"rdsDbInstanceDetails": {"dbInstanceArn": "arn:aws:rds:eu-west-1:123456789000:db:generated"}});
    let change = json!({"type": "Discovery:RDS/TorIPCaller", "resource": foreign, "service": {"additionalInfo": {"sample": true}}});
    assert_eq!(told(&with(&change)).unwrap().subject().unwrap().kind, SubjectKind::Account);
}

#[test]
fn a_key_and_the_principal_behind_it_are_subjects() {
    for (user_type, expected) in [("IAMUser", SubjectKind::User), ("AssumedRole", SubjectKind::Role), ("Role", SubjectKind::Role)] {
        let key = json!({"accessKeyId": "ASIA1", "principalId": "AROA1:s", "userName": "ci", "userType": user_type});
        let change = json!({"type": "UnauthorizedAccess:IAMUser/InstanceCredentialExfiltration.OutsideAWS",
            "resource": {"accessKeyDetails": key, "instanceDetails": {"instanceId": "i-1"}}});
        let kinds: Vec<SubjectKind> = told(&with(&change)).unwrap().subjects.iter().map(|subject| subject.kind).collect();
        assert_eq!(
            (kinds.first(), kinds.contains(&expected), kinds.contains(&SubjectKind::Instance)),
            (Some(&SubjectKind::AccessKey), true, true)
        );
    }
}

#[test]
fn an_attack_sequence_has_the_resources_actors_and_endpoints_it_carries() {
    let sequence = json!({
        "uid": "s1", "endpoints": [{"id": "e1", "ip": "192.0.2.8"}, {"id": "e2", "ip": "192.0.2.9"}],
        "actors": [{"id": "a1", "user": {"name": "ann", "type": "IAMUser", "credentialUid": "AKIA1"}}],
        "resources": [
            {"uid": "arn:aws:s3:::b", "resourceType": "S3_BUCKET", "accountId": "111122223333", "region": "eu-west-1"},
            {"uid": "AKIA1", "resourceType": "ACCESS_KEY", "accountId": "111122223333", "data": {"accessKey": {"userName": "ann", "userType": "IAMUser"}}},
            {"uid": "arn:aws:ec2:eu-west-1:444455556666:instance/i-2", "resourceType": "EC2_INSTANCE", "accountId": "444455556666"}]
    });
    let of = |kind: &str| {
        let service = json!({"resourceRole": "TARGET", "detection": {"sequence": sequence.clone()}});
        told(&with(&json!({"type": kind, "resource": {"resourceType": "AttackSequence"}, "service": service}))).unwrap()
    };
    let finding = of("AttackSequence:IAM/CompromisedCredentials");
    let names: Vec<&str> = finding.subjects.iter().map(Subject::name).collect();
    assert_eq!(names, ["AKIA1", "arn:aws:s3:::b", "ann", "arn:aws:ec2:eu-west-1:444455556666:instance/i-2"]);
    assert_eq!(finding.network.remote_ips.len(), 2);
    assert_eq!(of("AttackSequence:S3/CompromisedData").subject().unwrap().kind, SubjectKind::Bucket);
}

#[test]
fn probes_of_one_port_keep_it_with_every_source() {
    let details = json!([
        {"localPortDetails": {"port": 22}, "remoteIpDetails": {"ipAddressV4": "192.0.2.9"}},
        {"localPortDetails": {"port": 22}, "remoteIpDetails": {"ipAddressV4": "192.0.2.1"}}]);
    let service = json!({"resourceRole": "TARGET", "action": {"portProbeAction": {"portProbeDetails": details}}});
    let finding = told(&with(&json!({"type": "Recon:EC2/PortProbeUnprotectedPort", "service": service}))).unwrap();
    assert_eq!((finding.network.local_port, finding.network.remote_ips.len()), (Some(22), 2));
}
