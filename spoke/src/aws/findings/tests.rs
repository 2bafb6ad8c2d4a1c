use super::*;
use crate::aws::fake::{Fake, fake_client};
use serde_json::json;

fn finding(id: &str, control: &str) -> serde_json::Value {
    json!({ "Id": id, "AwsAccountId": "111122223333", "Types": ["Software and Configuration Checks"], "RecordState": "ACTIVE",
        "Workflow": { "Status": "NEW" }, "Compliance": { "Status": "FAILED", "SecurityControlId": control },
        "UpdatedAt": "2026-01-01T00:00:00Z", "OfTomorrow": { "Deep": [1.50, "x"] } })
}

#[tokio::test]
async fn documents_come_byte_for_byte_with_fields_the_sdk_does_not_know() {
    let fake = Fake::new(|_, asked| match asked.get("NextToken") {
        None => (200, json!({ "Findings": [finding("a", "EC2.13"), finding("b", "EC2.99")], "NextToken": "t" })),
        Some(_) => (200, json!({ "Findings": [finding("c", "EC2.13")] })),
    });
    let client = fake_client!(aws_sdk_securityhub, fake);
    let filter = FindingsFilter::failed_controls(["EC2.13".to_owned()]);
    let first = read_page(&client, &filter, &Cursor::default()).await.unwrap();
    assert_eq!(first.documents, [finding("a", "EC2.13").to_string().into_bytes()]);
    assert_eq!(first.passed_over, 1, "a control that was not asked for");
    let second = read_page(&client, &filter, &first.next.unwrap()).await.unwrap();
    assert_eq!((second.documents.len(), second.next), (1, None));
    let (operation, asked) = fake.asked().remove(0);
    assert_eq!(operation, "POST /findings");
    assert_eq!(asked["MaxResults"], 100);
    assert_eq!(
        asked["Filters"]["WorkflowStatus"],
        json!([{ "Value": "NEW", "Comparison": "EQUALS" }, { "Value": "NOTIFIED", "Comparison": "EQUALS" }])
    );
    assert_eq!(asked["Filters"]["ComplianceStatus"], json!([{ "Value": "FAILED", "Comparison": "EQUALS" }]));
}

#[test]
fn a_question_too_long_for_one_request_is_asked_in_parts() {
    let controls = (0..45).map(|n| format!("EC2.{n}"));
    let filter = FindingsFilter {
        types: vec!["UnauthorizedAccess:EC2/SSHBruteForce".to_owned(), "Effects/Data Exposure".to_owned()],
        ..FindingsFilter::failed_controls(controls)
    };
    let parts = filter.parts();
    assert_eq!(parts.len(), 6);
    assert!(parts.iter().all(|part| part.controls.len() <= VALUES));
    assert_eq!(FindingsFilter::default().parts().len(), 1);
}

#[test]
fn a_guardduty_type_is_found_behind_its_asff_name() {
    let filter = FindingsFilter { types: vec!["UnauthorizedAccess:EC2/SSHBruteForce".to_owned()], ..FindingsFilter::open() };
    let known = |kind: &str| Known { types: vec![kind.to_owned()], ..Known::default() };
    assert!(filter.wants(&known("TTPs/Initial Access/UnauthorizedAccess:EC2-SSHBruteForce")));
    assert!(!filter.wants(&known("TTPs/Initial Access/UnauthorizedAccess:EC2-RDPBruteForce")));
}
