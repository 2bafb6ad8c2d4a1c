use super::*;
use crate::{
    finding::{ResourceRole, SubjectKind},
    intake::codes,
};
use serde_json::json;

const ARN: &str = "arn:aws:guardduty:eu-west-1:111122223333:detector/d1/finding/9f";

fn brute_force() -> Value {
    let connection = "aws/guardduty/service/action/networkConnectionAction";
    json!({
        "SchemaVersion": "2018-10-08", "Id": ARN, "ProductArn": "arn:aws:securityhub:eu-west-1::product/aws/guardduty",
        "GeneratorId": "arn:aws:guardduty:eu-west-1:111122223333:detector/d1", "AwsAccountId": "111122223333", "Region": "eu-west-1",
        "Types": ["TTPs/Initial Access/UnauthorizedAccess:EC2-SSHBruteForce"], "UpdatedAt": "2024-01-02T03:04:05.678Z",
        "Severity": {"Product": 2, "Label": "LOW", "Normalized": 40}, "Title": "brute force",
        "FindingProviderFields": {"Severity": {"Label": "LOW"}, "Types": ["TTPs/Initial Access/UnauthorizedAccess:EC2-SSHBruteForce"]},
        "ProductFields": {
            "aws/guardduty/service/resourceRole": "TARGET", "aws/guardduty/service/count": "12", "aws/guardduty/service/archived": "false",
            "aws/guardduty/service/eventLastSeen": "2024-01-02T03:00:00Z",
            (format!("{connection}/connectionDirection")): "INBOUND", (format!("{connection}/protocol")): "TCP",
            (format!("{connection}/localPortDetails/port")): "22", (format!("{connection}/remoteIpDetails/ipAddressV4")): "192.0.2.7",
            "aws/securityhub/FindingId": format!("arn:aws:securityhub:eu-west-1::product/aws/guardduty/{ARN}"),
        },
        "Resources": [{"Type": "AwsEc2Instance", "Id": "arn:aws:ec2:eu-west-1:111122223333:instance/i-0abc", "Region": "eu-west-1"}],
        "RecordState": "ACTIVE", "Workflow": {"Status": "NEW"}
    })
}

fn open_port(generator: &str) -> Value {
    json!({
        "SchemaVersion": "2018-10-08", "ProductArn": "arn:aws:securityhub:us-east-1::product/aws/securityhub", "GeneratorId": generator,
        "Id": "arn:aws:securityhub:us-east-1:111122223333:security-control/X.1/finding/1", "AwsAccountId": "111122223333",
        "Types": ["Software and Configuration Checks"], "UpdatedAt": "2024-01-02T03:04:05Z", "Compliance": {"Status": "FAILED"},
        "FindingProviderFields": {"Severity": {"Label": "HIGH", "Original": "HIGH"}, "Types": ["Software and Configuration Checks"]},
        "Resources": [{"Type": "AwsEc2SecurityGroup", "Id": "arn:aws:ec2:us-east-1:111122223333:security-group/sg-1", "Region": "us-east-1"}]
    })
}

fn told(value: &Value) -> Result<Finding, Rejection> {
    read(value, &value.to_string(), &Context { path: "$".to_owned(), region: Some("us-west-2".to_owned()), custom_action: None })
}

fn with(mut value: Value, change: &Value) -> Value {
    value.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    value
}

#[test]
fn guarddutys_own_is_recovered_from_what_security_hub_keeps() {
    let finding = told(&brute_force()).unwrap();
    assert_eq!((finding.id.0.as_str(), finding.provider, finding.format), (ARN, Provider::GuardDuty, Format::Asff));
    assert_eq!((finding.kind.as_str(), finding.severity, finding.count), ("UnauthorizedAccess:EC2/SSHBruteForce", 20, 12));
    assert_eq!((finding.role, finding.archived), (Some(ResourceRole::Target), false));
    assert_eq!((finding.network.local_port, finding.network.direction.as_deref()), (Some(22), Some("INBOUND")));
    assert_eq!(finding.network.remote_ips, ["192.0.2.7".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(finding.subject().unwrap().kind, SubjectKind::Instance);
    assert_eq!((finding.cell.to_string().as_str(), finding.hub.workflow.as_deref()), ("111122223333/eu-west-1", Some("NEW")));
}

#[test]
fn the_aggregators_copy_and_our_own_note_are_nothing_new() {
    let first = told(&brute_force()).unwrap();
    let note = json!({"Note": {"Text": "seen", "UpdatedBy": "x", "UpdatedAt": "2025-01-01T00:00:00Z"}, "ProcessedAt": "2025-01-01T00:00:00Z",
        "Workflow": {"Status": "NOTIFIED"}});
    let copy = told(&with(brute_force(), &note)).unwrap();
    assert_eq!((&copy.id, copy.version()), (&first.id, first.version()));
}

#[test]
fn what_a_member_can_set_decides_nothing() {
    let first = told(&brute_force()).unwrap();
    let set = json!({"Severity": {"Product": 10, "Label": "CRITICAL", "Normalized": 100}, "Types": ["TTPs/X/Backdoor:EC2-Spambot"],
        "Workflow": {"Status": "SUPPRESSED"}, "RecordState": "ARCHIVED", "UserDefinedFields": {"aws/guardduty/service/resourceRole": "ACTOR"}});
    let copy = told(&with(brute_force(), &set)).unwrap();
    assert_eq!((copy.severity, copy.kind, copy.archived, copy.role), (first.severity, first.kind, first.archived, first.role));
}

#[test]
fn without_provider_fields_the_document_never_met_a_member() {
    let old = with(brute_force(), &json!({"FindingProviderFields": null, "Severity": {"Product": 8, "Normalized": 40}}));
    let finding = told(&old).unwrap();
    assert_eq!((finding.kind.as_str(), finding.severity), ("UnauthorizedAccess:EC2/SSHBruteForce", 80));
    let kept = with(brute_force(), &json!({"FindingProviderFields": {"Severity": {"Label": "LOW"}}}));
    assert_eq!(told(&kept).unwrap_err().code, codes::NO_TYPE);
}

#[test]
fn the_provider_is_the_products_arn_and_nothing_else() {
    let forged =
        json!({"ProductArn": "arn:aws:securityhub:eu-west-1:111122223333:product/111122223333/default", "ProductName": "GuardDuty"});
    let finding = told(&with(brute_force(), &forged)).unwrap();
    assert_eq!((finding.provider, finding.role), (Provider::Other, None));
    assert_eq!(finding.id.0, format!("arn:aws:securityhub:eu-west-1:111122223333:product/111122223333/default/{ARN}"));
    let partner = json!({"ProductArn": "arn:aws:securityhub:eu-west-1::product/acme/scanner", "Id": "deploy.sh"});
    let finding = told(&with(brute_force(), &partner)).unwrap();
    assert_eq!(finding.id.0, "arn:aws:securityhub:eu-west-1::product/acme/scanner/111122223333/deploy.sh");
    for (arn, provider) in [
        ("arn:aws-cn:securityhub:cn-north-1::product/aws/guardduty", Provider::GuardDuty),
        ("arn:aws:securityhub:us-east-1::productv2/aws/guardduty", Provider::GuardDuty),
        ("arn:aws:securityhub:us-east-1::product/aws/inspector", Provider::Inspector),
        ("arn:aws:securityhub:us-east-1::product/aws/macie", Provider::Other),
        ("arn:aws:securityhub:us-east-1:111122223333:product/aws/guardduty", Provider::Other),
        ("product/aws/guardduty", Provider::Other),
    ] {
        assert_eq!(Product::of(Some(arn)).provider, provider, "{arn}");
    }
}

#[test]
fn a_control_has_its_consolidated_id_and_the_group_as_subject() {
    for generator in ["security-control/EC2.13", "cis-aws-foundations-benchmark/v/1.2.0/4.1", "pci-dss/v/3.2.1/PCI.EC2.5"] {
        let finding = told(&open_port(generator)).unwrap();
        assert_eq!((finding.kind.as_str(), finding.severity, finding.provider), ("EC2.13", 70, Provider::SecurityHub));
        let subject = finding.subject().unwrap();
        assert_eq!((subject.kind, subject.id.as_str()), (SubjectKind::SecurityGroup, "sg-1"));
        assert_eq!((finding.cell.to_string().as_str(), finding.hub.compliance.as_deref()), ("111122223333/us-east-1", Some("FAILED")));
    }
}

#[test]
fn a_key_brings_the_principal_behind_it() {
    let key = json!({"Type": "AwsIamAccessKey", "Id": "AWS::IAM::AccessKey:ASIA1",
        "Details": {"AwsIamAccessKey": {"PrincipalId": "AROA1:s", "PrincipalName": "Admin", "PrincipalType": "AssumedRole"}}});
    let types = json!({"Types": ["TTPs/Defense Evasion/Stealth:IAMUser-CloudTrailLoggingDisabled"]});
    let finding = told(&with(brute_force(), &json!({"Resources": [key], "FindingProviderFields": types}))).unwrap();
    let told: Vec<_> = finding.subjects.iter().map(|subject| (subject.kind, subject.id.as_str())).collect();
    assert_eq!(told, [(SubjectKind::AccessKey, "ASIA1"), (SubjectKind::Role, "Admin")]);
    assert_eq!(finding.cell.to_string(), "111122223333/global");
}

#[test]
fn the_network_side_is_read_from_action_where_product_fields_have_none() {
    let action = json!({"ActionType": "PORT_PROBE", "PortProbeAction": {"PortProbeDetails": [
        {"LocalPortDetails": {"Port": 3389}, "RemoteIpDetails": {"IpAddressV4": "192.0.2.1"}}]}});
    let finding = told(&with(brute_force(), &json!({"Action": action, "ProductFields": {}}))).unwrap();
    assert_eq!((finding.network.local_port, finding.network.remote_ips.len()), (Some(3389), 1));
}

#[test]
fn an_account_as_a_whole_and_no_resource_at_all_are_subjects() {
    let account = json!({"Resources": [{"Type": "AwsAccount", "Id": "AWS::::Account:111122223333"}]});
    for change in [account, json!({"Resources": []}), json!({"Resources": null})] {
        let finding = told(&with(open_port("security-control/EC2.7"), &change)).unwrap();
        assert_eq!((finding.subject().unwrap().kind, finding.subjects.len()), (SubjectKind::Account, 1), "{change}");
    }
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let group = |arn: &str| json!({"Resources": [{"Type": "AwsEc2SecurityGroup", "Id": arn}]});
    for (change, code, place) in [
        (json!({"Id": null}), codes::NO_ID, "$.Id"),
        (json!({"AwsAccountId": null}), codes::NO_ACCOUNT, "$.AwsAccountId"),
        (json!({"AwsAccountId": "<account>"}), codes::BAD_ACCOUNT, "$.AwsAccountId is `<account>`"),
        (json!({"Region": "mars-north-1"}), codes::BAD_REGION, "$.Region is `mars-north-1`"),
        (
            json!({"ProductArn": "arn:aws:securityhub:test-region::product/aws/securityhub"}),
            codes::BAD_REGION,
            "$.ProductArn is `test-region`",
        ),
        (group("arn:aws:ec2:us-east-1:444455556666:security-group/sg-1"), codes::OTHER_ACCOUNT, "$.Resources[0].Id"),
        (group("arn:aws:ec2:us-east-1:0123:security-group/sg-1"), codes::BAD_ACCOUNT, "$.Resources[0].Id"),
        (group("arn:aws:ec2:us-east-9:111122223333:security-group/sg-1"), codes::BAD_REGION, "$.Resources[0].Id"),
        (group("AWS::::Account:444455556666"), codes::OTHER_ACCOUNT, "$.Resources[0].Id"),
        (json!({"Id": "arn:aws:securityhub:us-east-1:444455556666:security-control/EC2.13/finding/1"}), codes::OTHER_ACCOUNT, "$.Id"),
    ] {
        let why = told(&with(open_port("security-control/EC2.13"), &change)).unwrap_err();
        assert!(why.code == code && why.reason.contains(place), "{change}: {why}");
    }
}

#[test]
fn inspectors_types_have_its_own_names() {
    assert_eq!(inspector_kind("Software and Configuration Checks/Vulnerabilities/CVE"), "PACKAGE_VULNERABILITY");
    assert_eq!(
        inspector_kind("Software and Configuration Checks/AWS Security Best Practices/Network Reachability"),
        "NETWORK_REACHABILITY"
    );
    assert_eq!(inspector_kind("Something/New"), "Something/New");
}
