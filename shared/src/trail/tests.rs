use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const TOKEN: &str = "IQoJb3JpZ2luX2VjEOH//////////wEaCXVzLWVhc3QtMSJ";

fn assumed() -> Value {
    json!({
        "eventVersion": "1.08", "eventID": "e-1", "eventTime": "2026-11-24T10:00:00Z", "eventSource": "sts.amazonaws.com",
        "eventName": "AssumeRole", "awsRegion": "eu-west-1", "readOnly": true, "recipientAccountId": "111122223333",
        "sourceIPAddress": "203.0.113.9", "userAgent": "aws-cli/2.15",
        "userIdentity": {
            "type": "AssumedRole", "principalId": "AROAEXAMPLE:i-0123456789abcdef0", "accountId": "111122223333",
            "arn": "arn:aws:sts::111122223333:assumed-role/web/i-0123456789abcdef0", "accessKeyId": "ASIAEXAMPLE",
            "sessionContext": {
                "sessionIssuer": {"type": "Role", "arn": "arn:aws:iam::111122223333:role/web", "userName": "web"},
                "attributes": {"mfaAuthenticated": "false"},
            },
        },
        "requestParameters": {"roleArn": "arn:aws:iam::444455556666:role/admin", "roleSessionName": "s", "durationSeconds": 900},
        "responseElements": {"credentials": {
            "accessKeyId": "ASIANEXT", "secretAccessKey": SECRET, "sessionToken": TOKEN.repeat(8), "expiration": "Nov 24, 2026, 10:15:00 AM",
        }},
    })
}

#[test]
fn a_role_that_was_assumed_is_read_with_who_and_until_when_and_without_its_secrets() {
    let record = Record::read(&assumed()).unwrap();
    assert_eq!((record.call().as_str(), record.read_only, record.assumes()), ("sts:AssumeRole", true, true));
    assert_eq!(record.by.session.as_deref(), Some("i-0123456789abcdef0"));
    assert_eq!((record.by.issuer.as_deref(), record.by.mfa), (Some("arn:aws:iam::111122223333:role/web"), Some(false)));
    let issued = record.issued.clone().unwrap();
    assert_eq!((issued.access_key.as_str(), issued.until), ("ASIANEXT", "2026-11-24T10:15:00Z".parse().ok()));
    assert_eq!(record.role.as_ref().unwrap().seconds, Some(900));
    let kept = serde_json::to_string(&record).unwrap();
    assert!(!kept.contains(SECRET) && !kept.contains(TOKEN));
}

#[test]
fn a_call_that_failed_made_nothing() {
    let mut document = json!({
        "eventName": "CreateUser", "eventSource": "iam.amazonaws.com", "requestParameters": {"userName": "mallory"},
        "responseElements": {"user": {"userName": "mallory"}},
    });
    assert_eq!(Record::read(&document).unwrap().made, [Made { kind: "user".into(), id: "mallory".into() }]);
    document["errorCode"] = json!("AccessDenied");
    let record = Record::read(&document).unwrap();
    assert!(record.made.is_empty() && record.is_denied());
    for denied in ["Client.UnauthorizedOperation", "AccessDeniedException", "NotAuthorized"] {
        document["errorCode"] = json!(denied);
        assert!(Record::read(&document).unwrap().is_denied(), "{denied}");
    }
    document["errorCode"] = json!("EntityAlreadyExistsException");
    assert!(!Record::read(&document).unwrap().is_denied());
}

#[test]
fn what_calls_made_is_named() {
    let made = |source: &str, name: &str, asked: Value, answered: Value| {
        let document = json!({"eventName": name, "eventSource": source, "requestParameters": asked, "responseElements": answered});
        let made = Record::read(&document).unwrap().made;
        made.into_iter().map(|made| format!("{} {}", made.kind, made.id)).collect::<Vec<_>>().join("; ")
    };
    let key = json!({"accessKey": {"accessKeyId": "AKIANEW", "userName": "mallory", "secretAccessKey": SECRET}});
    assert_eq!(made("iam.amazonaws.com", "CreateAccessKey", json!({}), key), "access-key AKIANEW mallory");
    let profile = json!({"userName": "mallory", "password": "hunter2"});
    assert_eq!(made("iam.amazonaws.com", "CreateLoginProfile", profile, json!(null)), "login-profile mallory");
    let instances = json!({"instancesSet": {"items": [{"instanceId": "i-1"}, {"instanceId": 5}, {"instanceId": "i-2"}]}});
    assert_eq!(made("ec2.amazonaws.com", "RunInstances", json!({"userData": SECRET}), instances), "instance i-1; instance i-2");
    let attach = json!({"userName": "mallory", "policyArn": "arn:aws:iam::aws:policy/AdministratorAccess"});
    assert_eq!(
        made("iam.amazonaws.com", "AttachUserPolicy", attach, json!(null)),
        "user-policy mallory arn:aws:iam::aws:policy/AdministratorAccess"
    );
    assert_eq!(made("lambda.amazonaws.com", "UpdateFunctionCode20150331v2", json!({"functionName": "f"}), json!({})), "function-code f");
    assert_eq!(made("ec2.amazonaws.com", "DescribeInstances", json!({}), json!({})), "");
}

#[test]
fn rules_that_were_opened_are_read_in_each_form_of_the_call() {
    let opened = |name: &str, asked: Value, answered: Value| {
        let document =
            json!({"eventName": name, "eventSource": "ec2.amazonaws.com", "requestParameters": asked, "responseElements": answered});
        Record::read(&document).unwrap().openings
    };
    let rule = json!({"securityGroupRuleSet": {"items": [
        {"groupId": "sg-1", "securityGroupRuleId": "sgr-1", "ipProtocol": "tcp", "fromPort": 22, "toPort": 22, "cidrIpv4": "0.0.0.0/0", "isEgress": false},
    ]}});
    let wanted = Opening {
        group: "sg-1".into(),
        rule: Some("sgr-1".into()),
        protocol: Some("tcp".into()),
        from: Some(22),
        to: Some(22),
        cidr: Some("0.0.0.0/0".into()),
    };
    assert_eq!(opened("AuthorizeSecurityGroupIngress", json!({"groupId": "sg-1"}), rule), std::slice::from_ref(&wanted));
    let of_old = json!({"groupId": "sg-1", "ipPermissions": {"items": [
        {"ipProtocol": "tcp", "fromPort": 22, "toPort": 22, "ipRanges": {"items": [{"cidrIp": "0.0.0.0/0"}]}, "ipv6Ranges": {"items": [{"cidrIpv6": "::/0"}]}, "groups": {}},
    ]}});
    let found = opened("AuthorizeSecurityGroupIngress", of_old, json!({"_return": true}));
    assert_eq!(found, [Opening { rule: None, ..wanted.clone() }, Opening { rule: None, cidr: Some("::/0".into()), ..wanted.clone() }]);
    let changed = json!({"ModifySecurityGroupRulesRequest": {"GroupId": "sg-1", "SecurityGroupRule": {
        "SecurityGroupRuleId": "sgr-1", "SecurityGroupRule": {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "CidrIpv4": "0.0.0.0/0"}, "tag": 1,
    }}});
    assert_eq!(opened("ModifySecurityGroupRules", changed, json!({})), [wanted]);
}

#[test]
fn a_record_is_kept_whole_but_for_its_secrets() {
    let mut document = assumed();
    document["requestParameters"]["policy"] = json!("{\"Statement\": []}");
    document["responseElements"]["note"] = json!(format!("export AWS_SECRET_ACCESS_KEY={SECRET}"));
    document["responseElements"]["list"] = json!([{"Password": "hunter2"}, {"userData": {"value": "IyEvYmluL3No"}}, SECRET]);
    document["requestParameters"]["secretId"] = json!("prod/database");
    document["requestParameters"]["passwordResetRequired"] = json!(false);
    let kept = redact(&document);
    let text = kept.to_string();
    for secret in [SECRET, TOKEN, "hunter2", "IyEvYmluL3No"] {
        assert!(!text.contains(secret), "{secret}");
    }
    for same in [
        "/eventID",
        "/userIdentity",
        "/requestParameters/policy",
        "/requestParameters/secretId",
        "/responseElements/credentials/accessKeyId",
    ] {
        assert_eq!(kept.pointer(same), document.pointer(same), "{same}");
    }
    assert_eq!(kept["requestParameters"]["passwordResetRequired"], false);
    let hash = "2fd4e1c67a2d28fced849ee1bb76e7391b93eb12";
    assert_eq!(redact(&json!({ "sha": hash }))["sha"], hash);
}

#[test]
fn a_record_that_is_too_long_or_too_deep_is_shortened() {
    let long =
        json!({"requestParameters": {"many": (0..50_000).map(|n| format!("value {n}")).collect::<Vec<_>>(), "one": "x".repeat(1 << 20)}});
    assert!(redact(&long).to_string().len() < 400_000);
    let mut deep = json!("end");
    for _ in 0..100 {
        deep = json!({ "a": deep });
    }
    assert!(!redact(&deep).to_string().contains("end"));
    let cut = Record::read(&json!({"eventName": "A", "userAgent": "ü".repeat(5_000)})).unwrap();
    assert_eq!(cut.user_agent.unwrap().len(), TEXT);
}

#[test]
fn times_of_answers_are_read_in_all_their_forms() {
    let wanted = "2024-11-30T20:43:17Z".parse::<Timestamp>().ok();
    for text in ["Nov 30, 2024, 8:43:17 PM", "Nov 30, 2024 8:43:17 PM", "Nov 30, 2024, 8:43:17\u{202f}PM", "2024-11-30T20:43:17Z"] {
        assert_eq!(moment(text), wanted, "{text}");
    }
    assert_eq!(moment("tomorrow"), None);
}

#[test]
fn a_login_at_the_console_that_failed_is_an_error() {
    let login = |answer: &str| json!({"eventName": "ConsoleLogin", "eventSource": "signin.amazonaws.com", "responseElements": {"ConsoleLogin": answer}});
    assert_eq!(Record::read(&login("Failure")).unwrap().error.as_deref(), Some("Failure"));
    assert_eq!(Record::read(&login("Success")).unwrap().error, None);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,60}".prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z]{1,12}", inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_a_field_holds_a_record_is_read_without_a_panic(
        field in prop::sample::select(vec![
            "eventName", "eventTime", "userIdentity", "requestParameters", "responseElements", "readOnly", "errorCode", "eventSource", "sourceIPAddress",
        ]),
        value in any_json(),
        base in prop::sample::select(vec!["AssumeRole", "AuthorizeSecurityGroupIngress", "ModifySecurityGroupRules", "CreateAccessKey", "RunInstances"]),
    ) {
        let mut document = assumed();
        document["eventName"] = json!(base);
        document[field] = value;
        drop(Record::read(&document));
        let kept = redact(&document).to_string();
        prop_assert!(!kept.contains(SECRET));
    }

    #[test]
    fn any_text_is_no_record_or_one(text in ".{0,200}") {
        drop(Record::parse(&text));
    }

    #[test]
    fn a_secret_under_its_name_is_never_kept(name in prop::sample::select(vec![
        "secretAccessKey", "SecretAccessKey", "session_token", "X-Amz-Security-Token", "masterUserPassword", "userData", "secretString",
    ]), document in any_json()) {
        let marked = json!({"requestParameters": {"a": [document, {name: "the secret itself"}]}});
        prop_assert!(!redact(&marked).to_string().contains("the secret itself"));
    }
}
