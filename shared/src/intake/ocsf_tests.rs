use super::*;
use crate::{finding::SubjectKind, intake::codes};
use serde_json::json;

const ARN: &str = "arn:aws:guardduty:eu-west-1:111122223333:detector/d1/finding/9f";

fn brute_force() -> Value {
    json!({
        "class_uid": 2004, "category_uid": 2, "activity_id": 1, "count": 12, "time": 1_704_164_645_678_i64,
        "cloud": {"account": {"uid": "111122223333"}, "provider": "AWS", "region": "eu-west-1"},
        "metadata": {"product": {"name": "GuardDuty", "uid": "arn:aws:securityhub:eu-west-1::productv2/aws/guardduty"}, "uid": "m1"},
        "finding_info": {"uid": ARN, "title": "brute force", "types": ["Threats", "UnauthorizedAccess:EC2/SSHBruteForce"],
            "modified_time": 1_704_164_645_678_i64, "modified_time_dt": "2024-01-02T03:04:05.678Z"},
        "evidences": [{"connection_info": {"direction": "Inbound", "direction_id": 1, "protocol_name": "TCP"},
            "src_endpoint": {"ip": "192.0.2.7", "port": 40000}, "dst_endpoint": {"ip": "10.0.0.4", "port": 22}}],
        "resources": [{"type": "AWS::EC2::Instance", "uid": "i-0abc", "region": "eu-west-1", "role_id": 1,
            "owner": {"account": {"uid": "111122223333"}}}],
        "severity": "Low", "severity_id": 2, "status": "New", "status_id": 1, "vendor_attributes": {"severity": "Low", "severity_id": 2}
    })
}

fn told(value: &Value) -> Result<Finding, Rejection> {
    read(value, &value.to_string(), &Context { path: "$".to_owned(), ..Context::default() })
}

fn with(change: &Value) -> Value {
    let mut value = brute_force();
    value.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    value
}

#[test]
fn guardduty_in_ocsf_is_the_same_finding() {
    let finding = told(&brute_force()).unwrap();
    assert_eq!((finding.id.0.as_str(), finding.kind.as_str()), (ARN, "UnauthorizedAccess:EC2/SSHBruteForce"));
    assert_eq!((finding.severity, finding.count, finding.role), (20, 12, Some(ResourceRole::Target)));
    assert_eq!(finding.updated_at, "2024-01-02T03:04:05.678Z".parse().ok());
    assert_eq!(finding.subject().unwrap().name(), "arn:aws:ec2:eu-west-1:111122223333:instance/i-0abc");
    let network = &finding.network;
    assert_eq!((network.direction.as_deref(), network.local_port, network.remote_port), (Some("INBOUND"), Some(22), Some(40000)));
    assert_eq!(network.remote_ips, ["192.0.2.7".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(finding.hub.workflow.as_deref(), Some("NEW"));
}

#[test]
fn an_outbound_connection_has_the_target_as_the_other_side() {
    let evidence = json!({"connection_info": {"direction": "Outbound"}, "src_endpoint": {"ip": "10.0.0.4", "port": 40000},
        "dst_endpoint": {"ip": "192.0.2.7", "port": 443}});
    let network = told(&with(&json!({"evidences": [evidence]}))).unwrap().network;
    assert_eq!((network.local_port, network.remote_port), (Some(40000), Some(443)));
    assert_eq!(network.remote_ips, ["192.0.2.7".parse::<std::net::IpAddr>().unwrap()]);
    let call = json!({"api": {"operation": "DeleteTrail"}, "src_endpoint": {"ip": "192.0.2.9"}});
    assert_eq!(told(&with(&json!({"evidences": [call]}))).unwrap().network.remote_ips.len(), 1);
}

#[test]
fn what_a_member_can_set_decides_nothing() {
    let set = json!({"severity": "Critical", "severity_id": 5, "status": "Suppressed", "status_id": 3, "comment": "no", "activity_id": 3});
    let finding = told(&with(&set)).unwrap();
    assert_eq!((finding.severity, finding.archived, finding.version()), (20, false, told(&brute_force()).unwrap().version()));
    assert!(told(&with(&json!({"activity_id": 3}))).unwrap().archived);
}

#[test]
fn a_control_and_a_translation_from_asff_are_read_alike() {
    let control = json!({
        "compliance": {"control": "EC2.13", "status": "Fail"}, "metadata": {"product": {"uid": "arn:aws:securityhub:eu-west-1::productv2/aws/securityhub"}},
        "finding_info": {"uid": "arn:aws:securityhub:eu-west-1:111122223333:security-control/EC2.13/finding/1", "types": ["Posture Management"]},
        "resources": [{"type": "AWS::EC2::SecurityGroup", "uid": "sg-1"}]
    });
    let finding = told(&with(&control)).unwrap();
    assert_eq!(
        (finding.kind.as_str(), finding.provider, finding.hub.compliance.as_deref()),
        ("EC2.13", Provider::SecurityHub, Some("FAILED"))
    );
    assert_eq!(finding.subject().unwrap().kind, SubjectKind::SecurityGroup);
    let unmapped = json!({"ProductFields.aws/guardduty/service/resourceRole": "ACTOR", "ProductFields.aws/guardduty/service/count": "3",
        "FindingProviderFields.Severity.Label": "HIGH", "RecordState": "ARCHIVED"});
    let finding = told(&with(&json!({"unmapped": unmapped, "vendor_attributes": null, "count": null}))).unwrap();
    assert_eq!((finding.role, finding.count, finding.severity, finding.archived), (Some(ResourceRole::Actor), 3, 80, true));
}

#[test]
fn other_products_become_findings_of_another_provider() {
    let other = json!({
        "metadata": {"event_code": "ec2_open_port", "product": {"name": "Prowler", "uid": "prowler"}},
        "finding_info": {"uid": ARN, "types": ["IAM"], "title": "t"}, "vendor_attributes": null,
        "resources": [{"type": "AwsEc2SecurityGroup", "uid": "arn:aws:ec2:eu-west-1:111122223333:security-group/sg-1"}]
    });
    let finding = told(&with(&other)).unwrap();
    assert_eq!((finding.provider, finding.kind.as_str(), finding.severity), (Provider::Other, "ec2_open_port", 1));
    assert_eq!(finding.id.0, format!("prowler/111122223333/{ARN}"));
}

#[test]
fn older_ocsf_is_read_too() {
    let old = json!({"finding_info": null, "finding": {"uid": ARN, "types": ["UnauthorizedAccess:EC2/SSHBruteForce"]},
        "cloud": {"account_uid": "111122223333", "region": "eu-west-1"}, "resources": null, "resource": {"type": "AwsEc2Instance", "uid": "i-0abc"}});
    let finding = told(&with(&old)).unwrap();
    assert_eq!((finding.id.0.as_str(), finding.subject().unwrap().id.as_str()), (ARN, "i-0abc"));
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    for (change, code, place) in [
        (json!({"finding_info": {}}), codes::NO_ID, "$.finding_info.uid"),
        (json!({"finding_info": {"uid": ARN}}), codes::NO_TYPE, "$.finding_info.types"),
        (json!({"cloud": {"region": "eu-west-1"}, "resources": null}), codes::NO_ACCOUNT, "$.cloud.account.uid"),
        (json!({"cloud": {"account": {"uid": "<account_uid>"}}}), codes::BAD_ACCOUNT, "$.cloud.account.uid is `<account_uid>`"),
        (json!({"cloud": {"account": {"uid": "111122223333"}, "region": "<region>"}}), codes::BAD_REGION, "$.cloud.region"),
        (json!({"cloud": {"account": {"uid": "444455556666"}, "region": "eu-west-1"}}), codes::OTHER_ACCOUNT, "$.finding_info.uid"),
        (json!({"resources": [{"uid": "arn:aws:ec2:eu-west-1:444455556666:instance/i-1"}]}), codes::OTHER_ACCOUNT, "$.resources[0].uid"),
    ] {
        let why = told(&with(&change)).unwrap_err();
        assert!(why.code == code && why.reason.contains(place), "{change}: {why}");
    }
}
