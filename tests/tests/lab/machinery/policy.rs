//! The gateway's understanding of requests and its evaluator of policies, by themselves.

use cordon_lab::gateway::{
    parse::{self, Protocol},
    policy::{Context, Policy, Verdict},
    resources,
};
use hyper::{HeaderMap, Method, Uri};
use serde_json::{Value, json};

fn context(pairs: &[(&str, &[&str])]) -> Context {
    pairs.iter().map(|(key, values)| ((*key).to_owned(), values.iter().map(|value| (*value).to_owned()).collect())).collect()
}

fn verdict(statements: Value, action: &str, resource: &str, context: &Context) -> Verdict {
    Policy::parse(&json!({"Version": "2012-10-17", "Statement": statements})).unwrap().evaluate(action, resource, context)
}

#[test]
fn actions_and_resources_match_as_in_iam() {
    let none = Context::new();
    let group = "arn:aws:ec2:us-east-1:111122223333:security-group/sg-1";
    for (statement, expected) in [
        (json!({"Effect": "Allow", "Action": "ec2:authorize*", "Resource": "*"}), Verdict::Allow),
        (
            json!({"Effect": "Allow", "Action": ["s3:*", "ec2:Auth?rizeSecurityGroup*"], "Resource": "arn:aws:ec2:*:*:security-group/sg-1"}),
            Verdict::Allow,
        ),
        (json!({"Effect": "Allow", "Action": "*", "Resource": "arn:aws:ec2:*:*:security-group/SG-1"}), Verdict::ImplicitDeny),
        (json!({"Effect": "Allow", "Action": "ec2:Authorize", "Resource": "*"}), Verdict::ImplicitDeny),
        (json!({"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}), Verdict::Allow),
        (json!({"Effect": "Allow", "Action": "*", "NotResource": "arn:aws:ec2:*"}), Verdict::ImplicitDeny),
        (
            json!([{"Effect": "Allow", "Action": "*", "Resource": "*"}, {"Effect": "Deny", "Action": "ec2:*", "Resource": "*/sg-1"}]),
            Verdict::ExplicitDeny,
        ),
    ] {
        assert_eq!(verdict(statement.clone(), "ec2:AuthorizeSecurityGroupIngress", group, &none), expected, "{statement}");
    }
}

#[test]
fn conditions_hold_as_in_iam() {
    let here = context(&[
        ("aws:requestedregion", &["us-east-1"]),
        ("aws:tagkeys", &["cordon:run", "cordon:step"]),
        ("aws:tokenissuetime", &["2026-11-24T04:00:00Z"]),
        ("aws:userid", &["AROA:i-0123"]),
        ("aws:sourceip", &["192.0.2.77"]),
        ("aws:multifactorauthpresent", &["false"]),
        ("aws:principaltag/team", &["red"]),
        ("ec2:volumesize", &["10"]),
    ]);
    for (condition, holds) in [
        (json!({"StringEquals": {"aws:RequestedRegion": ["eu-west-1", "us-east-1"]}}), true),
        (json!({"StringNotEquals": {"aws:RequestedRegion": ["eu-west-1", "us-east-1"]}}), false),
        (json!({"StringNotEquals": {"aws:RequestedRegion": "eu-west-1"}}), true),
        (json!({"StringEquals": {"aws:Absent": "x"}}), false),
        (json!({"StringNotEquals": {"aws:Absent": "x"}}), true),
        (json!({"StringEqualsIfExists": {"aws:Absent": "x"}}), true),
        (json!({"StringLike": {"aws:userid": "*:i-0123"}}), true),
        (json!({"Null": {"aws:Absent": "true"}}), true),
        (json!({"Null": {"aws:userid": true}}), false),
        (json!({"Bool": {"aws:MultiFactorAuthPresent": false}}), true),
        (json!({"DateLessThan": {"aws:TokenIssueTime": "2026-11-24T04:00:01Z"}}), true),
        (json!({"DateGreaterThanEquals": {"aws:TokenIssueTime": "2026-11-24T04:00:01Z"}}), false),
        (json!({"NumericLessThanEquals": {"ec2:VolumeSize": "10"}}), true),
        (json!({"IpAddress": {"aws:SourceIp": ["198.51.100.0/24", "192.0.2.64/26"]}}), true),
        (json!({"NotIpAddress": {"aws:SourceIp": "192.0.2.0/24"}}), false),
        (json!({"ForAllValues:StringLike": {"aws:TagKeys": "cordon:*"}}), true),
        (json!({"ForAllValues:StringEquals": {"aws:TagKeys": "cordon:run"}}), false),
        (json!({"ForAnyValue:StringEquals": {"aws:TagKeys": "cordon:run"}}), true),
        (json!({"ForAllValues:StringEquals": {"aws:Absent": "x"}}), true),
        (json!({"ForAnyValue:StringEquals": {"aws:Absent": "x"}}), false),
        (json!({"StringEquals": {"aws:PrincipalTag/team": "red", "aws:RequestedRegion": "eu-west-1"}}), false),
        (json!({"StringEquals": {"aws:userid": "AROA:${aws:PrincipalTag/team}"}}), false),
        (json!({"StringEquals": {"aws:PrincipalTag/team": "${aws:PrincipalTag/team}"}}), true),
        (json!({"StringEquals": {"aws:PrincipalTag/team": "${aws:Absent}"}}), false),
    ] {
        let statement = json!({"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": condition});
        assert_eq!(verdict(statement, "ec2:StopInstances", "*", &here) == Verdict::Allow, holds, "{condition}");
    }
}

#[test]
fn what_is_not_known_is_an_error() {
    for statement in [
        json!({"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"StringSounds": {"a": "b"}}}),
        json!({"Effect": "allow", "Action": "*", "Resource": "*"}),
        json!({"Effect": "Allow", "Action": "*", "NotPrincipal": "*"}),
        json!({"Effect": "Allow", "Resource": "*"}),
    ] {
        Policy::parse(&json!({"Statement": statement})).unwrap_err();
    }
}

#[test]
fn a_trust_names_accounts_roles_and_sessions() {
    let session = "arn:aws:sts::222222222222:assumed-role/CordonHub/serve";
    for (principal, trusted) in [
        (json!({"AWS": "222222222222"}), true),
        (json!({"AWS": ["arn:aws:iam::333333333333:root", "arn:aws:iam::222222222222:root"]}), true),
        (json!({"AWS": "arn:aws:iam::222222222222:role/path/CordonHub"}), true),
        (json!({"AWS": session}), true),
        (json!("*"), true),
        (json!({"AWS": "arn:aws:iam::222222222222:role/CordonHubToo"}), false),
        (json!({"AWS": "arn:aws:iam::333333333333:role/CordonHub"}), false),
        (json!({"Service": "ec2.amazonaws.com"}), false),
    ] {
        let policy =
            Policy::parse(&json!({"Statement": [{"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}]})).unwrap();
        assert_eq!(policy.trusts("sts:AssumeRole", session, &Context::new()) == Verdict::Allow, trusted, "{principal}");
        assert_eq!(policy.trusts("sts:TagSession", session, &Context::new()), Verdict::ImplicitDeny);
    }
}

fn request(service: &str, method: &Method, uri: &str, more: &[(&'static str, &str)], body: &str) -> parse::Parsed {
    let mut headers = HeaderMap::new();
    let credential =
        format!("AWS4-HMAC-SHA256 Credential=ASIAKEY/20261124/eu-west-1/{service}/aws4_request, SignedHeaders=host, Signature=0");
    headers.insert("authorization", credential.parse().unwrap());
    for (name, value) in more {
        headers.insert(*name, value.parse().unwrap());
    }
    parse::parse(method, &uri.parse::<Uri>().unwrap(), &headers, body.as_bytes())
}

#[test]
fn forms_become_objects_and_lists() {
    let body = "Action=AuthorizeSecurityGroupIngress&Version=2016-11-15&GroupId=sg-1&IpPermissions.1.FromPort=22&IpPermissions.1.IpRanges.2.CidrIp=b\
                &IpPermissions.1.IpRanges.1.CidrIp=10.0.0.0%2F8&IpPermissions.1.IpRanges.1.Description=a+b&TagSpecification.1.ResourceType=security-group-rule\
                &TagSpecification.1.Tag.1.Key=cordon%3Arun&TagSpecification.1.Tag.1.Value=7";
    let parsed = request("ec2", &Method::POST, "/", &[("content-type", "application/x-www-form-urlencoded; charset=utf-8")], body);
    assert_eq!(
        (parsed.protocol, parsed.operation.as_str(), parsed.region.as_str()),
        (Protocol::Ec2, "AuthorizeSecurityGroupIngress", "eu-west-1")
    );
    let ranges = json!([{"CidrIp": "10.0.0.0/8", "Description": "a b"}, {"CidrIp": "b"}]);
    assert_eq!(parsed.params["IpPermissions"], json!([{"FromPort": "22", "IpRanges": ranges}]));
    let needs = resources::needs(&parsed, "111122223333", true);
    let found: Vec<_> = needs.iter().map(|need| (need.action.as_str(), need.resource.as_str())).collect();
    let expected = [
        ("ec2:AuthorizeSecurityGroupIngress", "arn:aws:ec2:eu-west-1:111122223333:security-group/sg-1"),
        ("ec2:CreateTags", "arn:aws:ec2:eu-west-1:111122223333:security-group-rule/*"),
    ];
    assert_eq!(found, expected);
    assert_eq!(needs[1].context["aws:requesttag/cordon:run"], ["7"]);

    let body =
        "Action=AssumeRole&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2FX&Tags.member.1.Key=a&Tags.member.1.Value=b&PolicyArns.member.1.arn=p";
    let parsed = request("sts", &Method::POST, "/", &[("content-type", "application/x-www-form-urlencoded")], body);
    assert_eq!((parsed.protocol, &parsed.params["Tags"]), (Protocol::Query, &json!([{"Key": "a", "Value": "b"}])));
    let actions: Vec<_> = resources::needs(&parsed, "1", false).into_iter().map(|need| need.action).collect();
    assert_eq!(actions, ["sts:AssumeRole", "sts:TagSession"]);
}

#[test]
fn the_other_protocols_are_understood() {
    let parsed = request("logs", &Method::POST, "/", &[("x-amz-target", "Logs_20140328.FilterLogEvents")], "{\"logGroupName\":\"/x\"}");
    assert_eq!((parsed.protocol, parsed.operation.as_str()), (Protocol::Json, "FilterLogEvents"));
    assert_eq!(resources::needs(&parsed, "1", false)[0].resource, "arn:aws:logs:eu-west-1:1:log-group:/x:log-stream:");
    let parsed = request("monitoring", &Method::POST, "/service/GraniteServiceVersion20100801/operation/DescribeAlarms", &[], "");
    assert_eq!((parsed.protocol, parsed.service.as_str(), parsed.operation.as_str()), (Protocol::Cbor, "cloudwatch", "DescribeAlarms"));
    let parsed = request("guardduty", &Method::POST, "/detector/d1/findings/get", &[], "{\"findingIds\":[\"f\"]}");
    assert_eq!((parsed.operation.as_str(), &parsed.params), ("GetFindings", &json!({"DetectorId": "d1", "findingIds": ["f"]})));
    let parsed = request("securityhub", &Method::PATCH, "/findings/batchupdate", &[], "{}");
    assert_eq!((parsed.protocol, parsed.operation.as_str()), (Protocol::RestJson, "BatchUpdateFindings"));
    let parsed = request("guardduty", &Method::GET, "/nowhere/at/all", &[], "");
    assert_eq!((parsed.protocol, parsed.operation.as_str()), (Protocol::Other, parse::UNKNOWN));
}

#[test]
fn reads_and_writes_are_told_apart() {
    for (service, operation, write) in [
        ("ec2", "DescribeInstances", false),
        ("ec2", "CreateNetworkAclEntry", true),
        ("ec2", "RevokeSecurityGroupIngress", true),
        ("sts", "AssumeRole", false),
        ("logs", "FilterLogEvents", false),
        ("logs", "StartQuery", false),
        ("securityhub", "BatchUpdateFindings", true),
        ("securityhub", "GetFindings", false),
        ("sqs", "ReceiveMessage", false),
        ("sqs", "DeleteMessage", true),
        ("ssm", "SendCommand", true),
        ("x", parse::UNKNOWN, true),
    ] {
        assert_eq!(parse::is_write(service, operation), write, "{service}:{operation}");
    }
}
