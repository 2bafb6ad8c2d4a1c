use super::*;
use serde_json::json;

const NATIVE: &str = r#"{"accountId":"111122223333","region":"eu-west-1","arn":"arn:aws:guardduty:eu-west-1:111122223333:detector/d/finding/f",  "type":"UnauthorizedAccess:EC2/SSHBruteForce","future":{"é":1.0},"resource":{"instanceDetails":{"instanceId":"i-1"}}}"#;
const ASFF: &str = r#"{"Id":"arn:aws:guardduty:eu-west-1:111122223333:detector/d/finding/f","ProductArn":"arn:aws:securityhub:eu-west-1::product/aws/guardduty","AwsAccountId":"111122223333","FindingProviderFields":{"Types":["TTPs/Initial Access/UnauthorizedAccess:EC2-SSHBruteForce"]},"Resources":[{"Type":"AwsEc2Instance","Id":"arn:aws:ec2:eu-west-1:111122223333:instance/i-1"}]}"#;
const OCSF: &str = r#"{"class_uid":2004,"finding_info":{"uid":"arn:aws:guardduty:eu-west-1:111122223333:detector/d/finding/f","types":["UnauthorizedAccess:EC2/SSHBruteForce"]},"cloud":{"account":{"uid":"111122223333"},"region":"eu-west-1"},"metadata":{"product":{"uid":"arn:aws:securityhub:eu-west-1::productv2/aws/guardduty"}},"resources":[{"type":"AWS::EC2::Instance","uid":"i-1"}]}"#;
const INSPECTOR: &str = r#"{"findingArn":"arn:aws:inspector2:eu-west-1:111122223333:finding/f","awsAccountId":"111122223333","type":"NETWORK_REACHABILITY","resources":[{"type":"AWS_EC2_INSTANCE","id":"i-1","region":"eu-west-1"}]}"#;

fn items(text: &str) -> Vec<Item> {
    let origin = Origin { input: "in".to_owned(), line: 1 };
    read(&Document { origin, column: 1, text: text.to_owned() }).into_iter().map(|(_, item)| item).collect()
}

fn event(source: &str, kind: &str, detail: &str) -> String {
    format!(
        r#"{{"version":"0","id":"e","detail-type":"{kind}","source":"{source}","account":"999988887777","region":"eu-west-1","resources":["arn:aws:securityhub:eu-west-1:999988887777:action/custom/respond"],"detail":{detail}}}"#
    )
}

fn findings(text: &str) -> Vec<crate::finding::Finding> {
    let found = |item| match item {
        Item::Finding(finding) => *finding,
        other => panic!("{text}: {other:?}"),
    };
    items(text).into_iter().map(found).collect()
}

fn code(text: &str) -> &'static str {
    match items(text).as_slice() {
        [Item::Rejected(why)] => why.code,
        other => panic!("{text}: {other:?}"),
    }
}

/// Each finding as it travels.
fn wrapped() -> Vec<(String, &'static str)> {
    vec![
        (NATIVE.to_owned(), NATIVE),
        (ASFF.to_owned(), ASFF),
        (OCSF.to_owned(), OCSF),
        (INSPECTOR.to_owned(), INSPECTOR),
        (event("aws.guardduty", "GuardDuty Finding", NATIVE), NATIVE),
        (event("aws.inspector2", "Inspector2 Finding", INSPECTOR), INSPECTOR),
        (event("aws.securityhub", "Security Hub Findings - Imported", &format!(r#"{{"findings":[{ASFF}]}}"#)), ASFF),
        (
            event("aws.securityhub", "Security Hub Findings - Custom Action", &format!(r#"{{"actionName":"a","findings": [ {ASFF} ]}}"#)),
            ASFF,
        ),
        (event("aws.securityhub", "Findings Imported V2", &format!(r#"{{"findings":[{OCSF}]}}"#)), OCSF),
        (format!(r#"{{"Findings":[{ASFF}],"NextToken":"x"}}"#), ASFF),
        (format!(r#"{{"findings":[{INSPECTOR}]}}"#), INSPECTOR),
        (format!(r#"{{"Findings":[{NATIVE}]}}"#), NATIVE),
        (format!("[[{NATIVE}]]"), NATIVE),
        (format!(r#"{{"region":"eu-west-1","detail":{NATIVE}}}"#), NATIVE),
    ]
}

#[test]
fn a_finding_is_kept_byte_for_byte_whatever_it_came_wrapped_in() {
    for (text, inner) in wrapped() {
        let sns = json!({"Type": "Notification", "MessageId": "m", "TopicArn": "t", "Message": text}).to_string();
        for outer in [
            text.clone(),
            json!({"Records": [{"messageId": "m", "body": text, "eventSource": "aws:sqs"}]}).to_string(),
            json!({"Records": [{"EventSource": "aws:sns", "Sns": {"Type": "Notification", "Message": text}}]}).to_string(),
            json!({"Messages": [{"MessageId": "m", "Body": text, "ReceiptHandle": "r"}]}).to_string(),
            json!({"MessageId": "m", "Body": sns, "ReceiptHandle": "r"}).to_string(),
            sns,
        ] {
            let found = findings(&outer);
            assert_eq!(found.len(), 1, "{outer}");
            assert_eq!(std::str::from_utf8(&found[0].raw.bytes), Ok(inner), "{outer}");
        }
    }
}

#[test]
fn native_asff_and_ocsf_copies_are_one_finding_about_one_subject() {
    let [native, asff, ocsf] = [NATIVE, ASFF, OCSF].map(|text| findings(text).remove(0));
    for copy in [&asff, &ocsf] {
        assert_eq!((&copy.id, &copy.kind, &copy.subjects, copy.provider), (&native.id, &native.kind, &native.subjects, native.provider));
    }
}

#[test]
fn the_custom_action_is_kept_and_several_findings_are_several() {
    let text = event("aws.securityhub", "Security Hub Findings - Custom Action", &format!(r#"{{"findings":[{ASFF},{ASFF}]}}"#));
    let found = findings(&text);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].hub.custom_action.as_deref(), Some("arn:aws:securityhub:eu-west-1:999988887777:action/custom/respond"));
    let imported = event("aws.securityhub", "Security Hub Findings - Imported", &format!(r#"{{"findings":[{ASFF}]}}"#));
    assert_eq!(findings(&imported)[0].hub.custom_action, None);
}

#[test]
fn one_bad_finding_does_not_take_the_others_with_it() {
    let bad = ASFF.replace("111122223333\",\"Finding", "1111\",\"Finding");
    let text = event("aws.securityhub", "Security Hub Findings - Imported", &format!(r#"{{"findings":[{ASFF},{bad},7]}}"#));
    let found = items(&text);
    assert!(matches!(found[0], Item::Finding(_)));
    let Item::Rejected(why) = &found[1] else { panic!("{found:?}") };
    assert!(why.code == codes::BAD_ACCOUNT && why.reason.contains("$.detail.findings[1].AwsAccountId"), "{why}");
    assert!(matches!(&found[2], Item::Rejected(why) if why.code == codes::NOT_AN_OBJECT));
}

#[test]
fn other_events_are_known_not_to_be_findings() {
    for text in [
        event("aws.ec2", "EC2 Instance State-change Notification", r#"{"state":"running"}"#),
        event("aws.guardduty", "GuardDuty Runtime Protection Unhealthy", "{}"),
        event("aws.securityhub", "Security Hub Insight Results", "{}"),
        event("aws.inspector2", "Inspector2 Scan", "{}"),
        r#"{"detail-type":"CloudWatch Alarm State Change","source":"aws.cloudwatch","alarmData":{}}"#.to_owned(),
        r#"{"eventVersion":"1.08","eventSource":"iam.amazonaws.com","eventName":"CreateUser"}"#.to_owned(),
        r#"{"Records":[{"eventVersion":"1.08","eventSource":"iam.amazonaws.com","eventName":"CreateUser"}]}"#.to_owned(),
        r#"{"Records":[{"eventSource":"aws:ses","ses":{}}]}"#.to_owned(),
        r#"{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3","eventName":"ObjectCreated:Put","s3":{}}]}"#.to_owned(),
        r#"{"Type":"SubscriptionConfirmation","Message":"You have chosen to subscribe"}"#.to_owned(),
        r#"{"class_uid":3002,"class_name":"Authentication","metadata":{}}"#.to_owned(),
        r#"{"Findings":[]}"#.to_owned(),
        "[]".to_owned(),
    ] {
        assert!(matches!(items(&text).as_slice(), [Item::NotAFinding { .. }]), "{text}: {:?}", items(&text));
    }
}

#[test]
fn an_event_that_aws_did_not_send_is_no_finding_whatever_it_holds() {
    for source in ["custom.guardduty", "aws.guardduty.fake", "acme", ""] {
        let text = event(source, "GuardDuty Finding", NATIVE);
        assert!(matches!(items(&text).as_slice(), [Item::NotAFinding { .. }]), "{text}");
    }
}

#[test]
fn what_should_hold_a_finding_and_does_not_is_rejected() {
    for (text, expected) in [
        (event("aws.guardduty", "GuardDuty Finding", "null"), codes::NO_CONTENT),
        (event("aws.guardduty", "GuardDuty Finding", "[]"), codes::NO_CONTENT),
        (event("aws.guardduty", "GuardDuty Finding", "{}"), codes::NO_ACCOUNT),
        (event("aws.securityhub", "Security Hub Findings - Imported", "{}"), codes::NO_CONTENT),
        (event("aws.securityhub", "Security Hub Findings - Imported", r#"{"findings":[]}"#), codes::NO_CONTENT),
        (event("aws.securityhub", "Findings Imported V2", r#"{"findings":{}}"#), codes::NO_CONTENT),
        (r#"{"detail-type":"GuardDuty Finding","source":"aws.guardduty"}"#.to_owned(), codes::NO_CONTENT),
        (r#"{"source":["aws.guardduty"],"detail-type":["GuardDuty Finding"],"detail":{"severity":[4]}}"#.to_owned(), codes::EVENT_PATTERN),
        (r#"{"Findings":7}"#.to_owned(), codes::NO_CONTENT),
        (r#"{"a":1}"#.to_owned(), codes::UNRECOGNISED),
        (r#"{"Records":[{"messageId":"m","body":"Hello from SQS!"}]}"#.to_owned(), codes::SYNTAX),
        (r#"{"Records":[{"messageId":"m","body":""}]}"#.to_owned(), codes::SYNTAX),
        (r#"{"Records":[{"messageId":"m","body":"{\"a\":"}]}"#.to_owned(), codes::TRUNCATED),
        (r#"{"accountId":"111122223333","type":"\ud800","resource":{}}"#.to_owned(), codes::SYNTAX),
    ] {
        assert_eq!(code(&text), expected, "{text}");
    }
}

#[test]
fn messages_within_messages_end_somewhere() {
    let mut text = NATIVE.to_owned();
    for _ in 0..12 {
        text = json!({"messageId": "m", "body": text, "receiptHandle": "r"}).to_string();
        if text.len() > 4_000_000 {
            break;
        }
    }
    assert!(matches!(items(&text).as_slice(), [Item::Rejected(_) | Item::Finding(_)]));
}
