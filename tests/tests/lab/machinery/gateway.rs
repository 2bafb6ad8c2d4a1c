//! The gateway: ledger, faults, buckets.

use std::time::{Duration, Instant};

use cordon_lab::{
    GatewayOptions, Lab, accounts,
    gateway::{Action, Fault, Match, Outcome},
    hand::Hand,
    shared,
};
use serde_json::{Value, json};

use super::REGION;

/// A gateway of its own, and a hand that goes through it as an administrator of a fresh account.
async fn through() -> (Lab, Hand, String) {
    let lab = shared().unwrap().beside(GatewayOptions::default()).unwrap();
    let account = accounts::fresh();
    let hand = lab.hand.at(&lab.endpoint()).with(&lab.hand.credentials(&account).await.unwrap());
    (lab, hand, account)
}

async fn call(hand: &Hand, service: &str, operation: &str, params: Value) -> Result<Value, cordon_lab::HandError> {
    hand.call("", REGION, service, operation, params).await
}

#[tokio::test]
async fn every_call_is_in_the_ledger() {
    let (lab, hand, account) = through().await;
    let vpcs = call(&hand, "ec2", "describe_vpcs", json!({})).await.unwrap();
    let vpc = vpcs["Vpcs"][0]["VpcId"].as_str().unwrap();
    let group = call(&hand, "ec2", "create_security_group", json!({"GroupName": "g", "Description": "d", "VpcId": vpc})).await.unwrap();
    let group = group["GroupId"].as_str().unwrap().to_owned();
    let permission = json!([{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]);
    call(&hand, "ec2", "authorize_security_group_ingress", json!({"GroupId": group, "IpPermissions": permission})).await.unwrap();
    call(&hand, "ec2", "describe_instances", json!({"InstanceIds": ["i-0123456789abcdef0"]})).await.unwrap_err();
    call(&hand, "logs", "describe_log_groups", json!({})).await.unwrap();
    let detector =
        call(&hand, "guardduty", "create_detector", json!({"Enable": true})).await.unwrap()["DetectorId"].as_str().unwrap().to_owned();
    call(&hand, "guardduty", "list_findings", json!({"DetectorId": detector})).await.unwrap();
    call(&hand, "iam", "list_users", json!({})).await.unwrap();

    let calls = lab.gateway.ledger().of_account(&account);
    let names: Vec<String> =
        calls.iter().map(|call| format!("{} {}", call.permission(), if call.write { "write" } else { "read" })).collect();
    assert_eq!(
        names,
        [
            "ec2:DescribeVpcs read",
            "ec2:CreateSecurityGroup write",
            "ec2:AuthorizeSecurityGroupIngress write",
            "ec2:DescribeInstances read",
            "logs:DescribeLogGroups read",
            "guardduty:CreateDetector write",
            "guardduty:ListFindings read",
            "iam:ListUsers read",
        ]
    );
    let authorize = &calls[2];
    assert_eq!(authorize.resources, [format!("arn:aws:ec2:{REGION}:{account}:security-group/{group}")]);
    assert_eq!(authorize.params["IpPermissions"][0]["IpRanges"][0]["CidrIp"], "0.0.0.0/0");
    assert_eq!(authorize.principal.role.as_deref(), Some("OrganizationAccountAccessRole"));
    assert!(authorize.succeeded() && authorize.forwarded && authorize.took_ms.is_some());
    assert_eq!(calls[3].outcome, Outcome::Error { status: 400, code: "InvalidInstanceID.NotFound".to_owned() });
    assert_eq!(calls[6].resources, [format!("arn:aws:guardduty:{REGION}:{account}:detector/{detector}")]);
    assert_eq!(lab.gateway.ledger().writes_in(&account).len(), 3);
    let file = tempfile::NamedTempFile::new().unwrap();
    lab.gateway.ledger().write_ndjson(file.path()).unwrap();
    assert_eq!(std::fs::read_to_string(file.path()).unwrap().lines().count(), 8);
}

#[tokio::test]
async fn what_is_not_understood_is_passed_on() {
    let (lab, _, _) = through().await;
    let script = "
import os, urllib.request
def get(path, **headers):
    try: return urllib.request.urlopen(urllib.request.Request(os.environ['AWS_ENDPOINT_URL'] + path, headers=headers)).status
    except urllib.error.HTTPError as error: return error.code
get('/'); get('/strange/path?a=%zz', Authorization='nonsense'); get('/x', Authorization='AWS4-HMAC-SHA256 Credential=A/20260101/us-east-1/guardduty/aws4_request')
print(get('/moto-api/'))
";
    let output = lab.python.run(script, &lab.endpoint(), &[]).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "200\n", "{}", String::from_utf8_lossy(&output.stderr));
    let calls = lab.gateway.ledger().all();
    assert_eq!(calls.len(), 4);
    assert!(calls.iter().all(|call| call.operation == "unknown" && call.forwarded));
}

#[tokio::test]
async fn each_service_throttles_in_its_own_words() {
    let (lab, hand, account) = through().await;
    lab.gateway.faults().add(Fault::new(Match { account: Some(account), ..Match::default() }, Action::Throttle));
    for (service, operation, code, status) in [
        ("ec2", "describe_instances", "RequestLimitExceeded", 503),
        ("sts", "get_caller_identity", "Throttling", 400),
        ("iam", "list_users", "Throttling", 400),
        ("organizations", "list_accounts", "TooManyRequestsException", 400),
        ("logs", "describe_log_groups", "ThrottlingException", 400),
        ("sqs", "list_queues", "ThrottlingException", 400),
        ("guardduty", "list_detectors", "TooManyRequestsException", 429),
        ("securityhub", "get_findings", "TooManyRequestsException", 429),
        ("inspector2", "list_findings", "ThrottlingException", 429),
        ("cloudwatch", "describe_alarms", "ThrottlingException", 400),
    ] {
        let error = call(&hand, service, operation, json!({})).await.unwrap_err();
        assert_eq!((error.code.as_str(), error.status), (code, Some(status)), "{service}");
        let last = lab.gateway.ledger().all().pop().unwrap();
        assert_eq!((last.error(), last.forwarded, last.fault.as_deref()), (Some(code), false, Some("throttle")), "{service}");
    }
}

#[tokio::test]
async fn faults_come_when_they_are_due() {
    let (lab, hand, account) = through().await;
    let matching = Match { account: Some(account), service: Some("ec2".into()), operation: Some("Describe*".into()), ..Match::default() };
    lab.gateway.faults().add(Fault::new(matching, Action::Deny { code: None, status: None }).from(2).times(2));
    let mut codes = Vec::new();
    for _ in 0..5 {
        codes.push(call(&hand, "ec2", "describe_vpcs", json!({})).await.map_or_else(|error| error.code, |_| "ok".to_owned()));
    }
    assert_eq!(codes, ["ok", "UnauthorizedOperation", "UnauthorizedOperation", "ok", "ok"]);
    assert_eq!((lab.gateway.faults().list()[0].seen, lab.gateway.faults().list()[0].done), (5, 2));
}

#[tokio::test]
async fn an_answer_can_be_late_or_never_come() {
    let (lab, hand, account) = through().await;
    let of = |operation: &str| Match { account: Some(account.clone()), operation: Some(operation.to_owned()), ..Match::default() };
    lab.gateway.faults().add(Fault::new(of("ListQueues"), Action::Delay { ms: 300 }));
    lab.gateway.faults().add(Fault::new(of("ListUsers"), Action::Hang));
    let started = Instant::now();
    call(&hand, "sqs", "list_queues", json!({})).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(300));
    let error = call(&hand.patience(Duration::from_millis(700)), "iam", "list_users", json!({})).await.unwrap_err();
    assert_eq!(error.code, "ReadTimeoutError");
    let hung = lab.gateway.ledger().of_operation("iam", "ListUsers");
    assert_eq!((hung.len(), &hung[0].outcome, hung[0].forwarded), (1, &Outcome::Pending, false));
}

#[tokio::test]
async fn a_lost_answer_leaves_its_effect() {
    let (lab, hand, account) = through().await;
    let direct = lab.hand.clone();
    let exists = async |name: &str| direct.call(&account, REGION, "sqs", "get_queue_url", json!({"QueueName": name})).await.is_ok();
    for (action, name, effect) in
        [(Action::DropBefore, "before", false), (Action::DropAfter, "after", true), (Action::FailAfter, "failed", true)]
    {
        lab.gateway.faults().clear();
        lab.gateway.faults().add(Fault::new(Match { param: Some(format!("\"{name}\"")), ..Match::default() }, action.clone()));
        let error = call(&hand, "sqs", "create_queue", json!({"QueueName": name})).await.unwrap_err();
        assert_eq!(error.status, if action == Action::FailAfter { Some(500) } else { None }, "{error}");
        assert_eq!(exists(name).await, effect, "{name}");
    }
}

#[tokio::test]
async fn faults_and_ledger_are_reached_over_http() {
    let (lab, hand, account) = through().await;
    let script = "
import json, os, urllib.request
base = os.environ['AWS_ENDPOINT_URL'] + '/cordon-gateway/'
def ask(method, path, body=None):
    request = urllib.request.Request(base + path, method=method, data=json.dumps(body).encode() if body is not None else None)
    try: return urllib.request.urlopen(request).read().decode()
    except urllib.error.HTTPError as error: return str(error.code)
print(len(json.loads(ask('POST', 'faults', [{'match': {'service': 'iam'}, 'do': 'deny', 'code': 'Odd', 'status': 418, 'times': 1}]))))
print(ask('POST', 'faults', [{'match': {'servise': 'iam'}, 'do': 'throttle'}]))
print(ask('POST', 'throttle', {'scale': None}))
print(ask('GET', 'nothing'))
";
    let output = lab.python.run(script, &lab.endpoint(), &[]).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1\n400\n{\"scale\":null}\n404\n", "{}", String::from_utf8_lossy(&output.stderr));
    let error = call(&hand, "iam", "list_users", json!({})).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.status), ("Odd", Some(418)));
    call(&hand, "iam", "list_users", json!({})).await.unwrap();
    let script = "
import json, os, urllib.request
text = urllib.request.urlopen(os.environ['AWS_ENDPOINT_URL'] + '/cordon-gateway/ledger?service=iam&account=' + os.environ['ACCOUNT']).read().decode()
print([json.loads(line)['outcome']['kind'] for line in text.splitlines()])
";
    let output = lab.python.run(script, &lab.endpoint(), &[("ACCOUNT", &account)]).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "['error', 'ok']\n", "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn buckets_run_empty_one_account_at_a_time() {
    let (lab, hand, _) = through().await;
    let other = lab.hand.at(&lab.endpoint()).with(&lab.hand.credentials(&accounts::fresh()).await.unwrap());
    // A fiftieth of AWS's rates: two calls at once, then one in two and a half seconds.
    lab.gateway.throttle().enable(0.02);
    let filter = json!({"Filters": [{"Name": "vpc-id", "Values": ["vpc-1"]}]});
    let mut codes = Vec::new();
    for _ in 0..3 {
        codes.push(call(&hand, "ec2", "describe_subnets", filter.clone()).await.map_or_else(|error| error.code, |_| "ok".to_owned()));
    }
    assert_eq!(codes, ["ok", "ok", "RequestLimitExceeded"]);
    call(&other, "ec2", "describe_subnets", filter.clone()).await.unwrap();
    lab.gateway.throttle().disable();
    call(&hand, "ec2", "describe_subnets", filter).await.unwrap();
}
