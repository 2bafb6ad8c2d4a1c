use serde_json::{Value, json};

use super::{
    list_chained_roles::ListChainedRoles,
    search::{Params, Source, Wanted},
    trace_credentials::{Outcome, TraceCredentials},
};
use crate::{
    action::{LogSource, Probe},
    aws::fake::World,
};

const KEY: &str = "AKIAEXAMPLE000000001";
const THIEF: &str = "203.0.113.9";
const INSTANCE: &str = "i-0123456789abcdef0";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

fn by_user(account: &str, name: &str, key: &str) -> Value {
    json!({"type": "IAMUser", "accountId": account, "arn": format!("arn:aws:iam::{account}:user/{name}"), "accessKeyId": key, "userName": name})
}

fn by_instance(account: &str) -> Value {
    json!({"type": "AssumedRole", "accountId": account, "principalId": format!("AROAEXAMPLE:{INSTANCE}"), "accessKeyId": "ASIAEXAMPLE000000009"})
}

/// A record in the account of [`World`], at a minute of 11 o'clock.
fn record(minute: u8, region: &str, call: &str, by: Value, more: Value) -> Value {
    let (service, name) = call.split_once(':').unwrap();
    let account = by["accountId"].clone();
    let mut record = json!({
        "eventID": format!("{call}-{minute}-{account}"), "eventTime": format!("2026-11-24T11:{minute:02}:00Z"), "awsRegion": region,
        "eventSource": format!("{service}.amazonaws.com"), "eventName": name, "sourceIPAddress": THIEF, "userAgent": "aws-cli/2.22",
        "userIdentity": by, "recipientAccountId": account,
    });
    record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    record
}

fn home(world: &World) -> String {
    world.cx().cell.account.to_string()
}

/// CloudTrail with these records in every Region, two on a page; and a log group `trail` with those, the first page empty.
fn aws(history: Option<Vec<Value>>, group: Option<Vec<Value>>) -> impl Fn(&str, &Value) -> (u16, Value) + Send + Sync {
    let denied = |what: &str| (400, json!({"__type": "AccessDeniedException", "message": format!("not authorized to perform {what}")}));
    move |operation, asked| match operation {
        "LookupEvents" => {
            let Some(records) = &history else { return denied("cloudtrail:LookupEvents") };
            let attribute = &asked["LookupAttributes"][0];
            let wanted = |record: &&Value| match attribute["AttributeKey"].as_str().unwrap() {
                "AccessKeyId" => record["userIdentity"]["accessKeyId"] == attribute["AttributeValue"],
                _ => record["userIdentity"].to_string().contains(attribute["AttributeValue"].as_str().unwrap()),
            };
            let found: Vec<Value> =
                records.iter().rev().filter(wanted).map(|record| json!({"CloudTrailEvent": record.to_string()})).collect();
            let from: usize = asked["NextToken"].as_str().map_or(0, |token| token.parse().unwrap());
            let to = (from + 2).min(found.len());
            (200, json!({"Events": found[from..to], "NextToken": (to < found.len()).then(|| to.to_string())}))
        }
        "DescribeLogGroups" if group.is_some() => (200, json!({"logGroups": [{"logGroupName": "trail", "retentionInDays": 1}]})),
        "DescribeLogGroups" => (200, json!({"logGroups": []})),
        "FilterLogEvents" => {
            if asked["nextToken"].is_null() {
                return (200, json!({"events": [], "nextToken": "more"}));
            }
            // The values of the pattern stand for it.
            let pattern = asked["filterPattern"].as_str().unwrap();
            assert!(pattern.len() <= 1_024);
            let values: Vec<&str> = pattern.split('"').skip(1).step_by(2).map(|value| value.trim_start_matches('*')).collect();
            let holds = |record: &&Value| values.iter().any(|value| record.to_string().contains(value));
            let lines = group.iter().flatten().filter(holds).map(|record| json!({"message": record.to_string(), "timestamp": 1}));
            (200, json!({"events": lines.collect::<Vec<_>>()}))
        }
        other => panic!("{other}"),
    }
}

fn trail() -> Vec<LogSource> {
    vec![LogSource {
        kind: "cloudtrail".into(),
        group: "trail".into(),
        stream: None,
        account: None,
        region: Some("us-east-1".parse().unwrap()),
    }]
}

fn with(more: Value) -> Params {
    let mut with = json!({"since": "2026-11-24T10:00:00Z"});
    with.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(with).unwrap()
}

fn keys() -> Params {
    with(json!({"access_keys": [KEY, null, ""]}))
}

async fn account() -> String {
    home(&World::new(aws(None, None)).await)
}

/// What a thief did with the key.
fn story(account: &str) -> Vec<Value> {
    let by = || by_user(account, "build", KEY);
    let denied = json!({"errorCode": "AccessDenied"});
    let key = json!({"responseElements": {"accessKey": {"accessKeyId": "AKIANEW", "userName": "mallory", "secretAccessKey": SECRET}}});
    vec![
        record(1, "us-east-1", "sts:GetCallerIdentity", by(), json!({"readOnly": true})),
        record(2, "us-east-1", "iam:ListUsers", by(), denied.clone()),
        record(3, "us-east-1", "iam:ListUsers", by(), denied),
        record(4, "us-east-1", "iam:CreateAccessKey", by(), key),
        record(5, "eu-west-1", "ec2:RunInstances", by(), json!({"responseElements": {"instancesSet": {"items": [{"instanceId": "i-1"}]}}})),
    ]
}

async fn trace(world: &World, with: &Params) -> Outcome {
    TraceCredentials.run(world.cx(), with).await.unwrap().outcome
}

#[tokio::test]
async fn what_a_key_did_is_summed_up_from_every_regions_event_history_each_call_once() {
    let account = account().await;
    let mut records = story(&account);
    records.push(record(6, "us-east-1", "iam:ListUsers", by_user(&account, "build", "AKIAOTHER00000000001"), json!({})));
    let world = World::new(aws(Some(records), None)).await;
    let found = TraceCredentials.run(world.cx(), &keys()).await.unwrap();
    let (outcome, summary) = (&found.outcome, &found.outcome.summary);
    assert_eq!((outcome.source, summary.events), (Source::LookupEvents, 5));
    let places: Vec<&str> = outcome.looked_in.iter().map(|looked| looked.place.as_str()).collect();
    assert_eq!(places, [format!("event history of {account}/eu-west-1"), format!("event history of {account}/us-east-1")]);
    assert_eq!((summary.denied[0].call.as_str(), summary.denied[0].count), ("iam:ListUsers", 2));
    let created: Vec<_> = summary.created.iter().map(|made| (made.kind.as_str(), made.id.as_str())).collect();
    assert_eq!(created, [("access-key", "AKIANEW mallory"), ("instance", "i-1")]);
    assert_eq!((summary.sources[0].address.as_str(), summary.sources[0].calls), (THIEF, 5));
    assert_eq!(summary.regions, ["eu-west-1", "us-east-1"]);
    // What was denied or changes something comes first.
    assert_eq!((summary.calls[0].call.as_str(), summary.calls[4].call.as_str()), ("iam:ListUsers", "sts:GetCallerIdentity"));
    assert!(outcome.horizon.note.contains("90 days"));
    let kept = world.kept.items();
    assert_eq!((kept.len(), found.evidence.len()), (2, 2));
    assert!(kept.iter().all(|item| !String::from_utf8_lossy(&item.bytes).contains(SECRET)));
    assert!(String::from_utf8_lossy(&kept[0].bytes).contains("AKIANEW"));
    assert!(!serde_json::to_string(outcome).unwrap().contains(SECRET));
}

#[tokio::test]
async fn a_trails_log_group_is_read_and_regions_of_which_it_showed_nothing_are_looked_up() {
    let account = account().await;
    let group: Vec<Value> = story(&account).into_iter().take(4).collect();
    let mut world = World::new(aws(Some(vec![]), Some(group))).await;
    world.logs = trail();
    let outcome = trace(&world, &keys()).await;
    assert_eq!((outcome.source, outcome.summary.events), (Source::LogGroup, 4));
    assert_eq!(outcome.looked_in[0].place, format!("log group trail in {account}/us-east-1"));
    assert!(outcome.looked_in[0].complete && outcome.looked_in[0].problem.is_none());
    // It showed records of us-east-1 alone.
    assert_eq!(
        (outcome.looked_in.len(), outcome.looked_in[1].place.as_str()),
        (2, format!("event history of {account}/eu-west-1").as_str())
    );
}

#[tokio::test]
async fn nothing_found_and_nothing_to_be_read_are_two_answers() {
    let world = World::new(aws(Some(vec![]), None)).await;
    let found = TraceCredentials.run(world.cx(), &keys()).await.unwrap();
    assert_eq!((found.outcome.source, found.outcome.summary.events, found.outcome.nothing_known_because), (Source::LookupEvents, 0, None));
    assert_eq!(found.evidence.len(), 1, "that it was looked for is kept");

    let denied = trace(&World::new(aws(None, None)).await, &keys()).await;
    assert_eq!((denied.source, denied.looked_in[0].complete), (Source::None, false));
    assert!(denied.nothing_known_because.unwrap().contains("access denied to cloudtrail:LookupEvents"));

    let nobody = trace(&world, &with(json!({"access_keys": [null]}))).await;
    assert!(nobody.nothing_known_because.unwrap().contains("nothing to look for"));
}

#[tokio::test]
async fn a_log_group_without_a_record_of_the_account_proves_nothing() {
    let account = account().await;
    let other = record(1, "us-east-1", "ec2:RunInstances", by_user("999999999999", "build", KEY), json!({}));
    for group in [Some(vec![]), Some(vec![record(1, "us-east-1", "s3:ListBuckets", by_user(&account, "x", "AKIAX"), json!({}))]), None] {
        let known = group.as_ref().is_some_and(|group| !group.is_empty());
        let missing = group.is_none();
        let mut world = World::new(aws(Some(story(&account)), group)).await;
        world.logs = trail();
        let outcome = trace(&world, &keys()).await;
        assert_eq!(outcome.source, if known { Source::LogGroup } else { Source::LookupEvents });
        assert_eq!(outcome.summary.events, 5, "the event history is looked up all the same");
        let problem = outcome.looked_in[0].problem.clone().unwrap_or_default();
        assert_eq!(problem.contains("no trail of it writes here"), !known && !missing, "{problem}");
        assert_eq!(problem.contains("there is no such log group"), missing, "{problem}");
    }
    // A user's name is unique in its account alone.
    let mut world = World::new(aws(Some(vec![]), Some(vec![other]))).await;
    world.logs = trail();
    assert_eq!(trace(&world, &with(json!({"user": "build"}))).await.summary.events, 0);
}

#[tokio::test]
async fn an_instances_sessions_a_user_and_a_session_are_found_by_their_names() {
    let account = account().await;
    let records = vec![
        record(1, "us-east-1", "s3:ListBuckets", by_instance(&account), json!({})),
        record(2, "us-east-1", "s3:ListBuckets", by_user(&account, "build", KEY), json!({})),
    ];
    let world = World::new(aws(Some(records), None)).await;
    for named in [json!({"instance": INSTANCE, "role_session": INSTANCE}), json!({"role_session": INSTANCE}), json!({"user": "build"})] {
        assert_eq!(trace(&world, &with(named.clone())).await.summary.events, 1, "{named}");
    }
    assert_eq!(world.fake.count("LookupEvents"), 6, "one attribute for each, in two Regions");
}

#[tokio::test]
async fn more_records_than_are_read_are_said_to_be_left() {
    let account = account().await;
    let outcome = trace(&World::new(aws(Some(story(&account)), None)).await, &Params { max_events: 3, ..keys() }).await;
    assert_eq!((outcome.summary.events, outcome.looked_in[0].complete), (3, false));
    assert!(outcome.looked_in[0].problem.as_deref().unwrap().contains("more than 3 records"));
}

#[tokio::test]
async fn no_answer_before_anything_was_read_is_an_error_that_may_pass() {
    let world = World::new(|_, _| (503, json!({"__type": "ServiceUnavailableException", "message": "later"}))).await;
    assert!(TraceCredentials.run(world.cx(), &keys()).await.unwrap_err().may_pass());
}

#[tokio::test]
async fn names_that_aws_does_not_give_reach_no_pattern() {
    let world = World::new(aws(Some(vec![]), None)).await;
    for named in [
        json!({"access_keys": ["AKIA\") || ($.x = \"*"]}),
        json!({"access_keys": ["*"]}),
        json!({"instance": "*"}),
        json!({"user": "a\"b"}),
        json!({"role_session": "*"}),
    ] {
        let error = TraceCredentials.run(world.cx(), &with(named.clone())).await.unwrap_err();
        assert_eq!(error.code(), "parameters", "{named}");
    }
    assert!(world.fake.asked().is_empty());
    let error = TraceCredentials.run(world.cx(), &Params { until: "2026-01-01T00:00:00Z".parse().ok(), ..keys() }).await.unwrap_err();
    assert_eq!(error.code(), "parameters");
}

#[tokio::test]
async fn many_keys_are_asked_for_in_several_patterns_none_of_them_too_long() {
    let world = World::new(aws(Some(vec![]), None)).await;
    let many: Vec<String> = (0..60).map(|number| format!("AKIAEXAMPLE{number:09}")).collect();
    let params = Params { access_keys: many.clone(), ..keys() };
    let wanted = Wanted::new("test", world.cx(), &params, true).unwrap();
    let patterns = wanted.patterns();
    assert!(patterns.len() > 1 && patterns.iter().all(|pattern| pattern.len() <= 1_024));
    assert!(many.iter().all(|key| patterns.iter().any(|pattern| pattern.contains(key.as_str()))));
}

#[tokio::test]
async fn a_window_before_the_event_history_is_not_known() {
    let world = World::new(aws(Some(vec![]), None)).await;
    let old = Params { since: "2026-01-01T00:00:00Z".parse().ok(), until: "2026-01-02T00:00:00Z".parse().ok(), ..keys() };
    let outcome = trace(&world, &old).await;
    assert_eq!(outcome.source, Source::None);
    assert!(outcome.nothing_known_because.unwrap().contains("older than the event history"));
    assert!(world.fake.asked().is_empty());
    let long = Params { until: None, ..old };
    assert_eq!(trace(&world, &long).await.horizon.from, "2026-08-26T13:00:00Z".parse().unwrap());
}

#[tokio::test]
async fn roles_that_were_assumed_are_listed_with_whose_they_are_and_whether_they_may_live() {
    let account = account().await;
    let assume = |minute, role: &str, seconds: Value, ends: Value| {
        let answered = if ends == json!("failed") {
            json!({"errorCode": "AccessDenied"})
        } else {
            json!({"responseElements": {"credentials": {"accessKeyId": "ASIANEXT", "sessionToken": "IQoJ".repeat(80), "expiration": ends}}})
        };
        let mut more = json!({"requestParameters": {"roleArn": role, "roleSessionName": "s", "durationSeconds": seconds}});
        more.as_object_mut().unwrap().extend(answered.as_object().unwrap().clone());
        record(minute, "us-east-1", "sts:AssumeRole", by_instance(&account), more)
    };
    let (own, other) = (format!("arn:aws:iam::{account}:role/path/deploy"), "arn:aws:iam::999999999999:role/audit".to_owned());
    let records = vec![
        assume(1, &own, json!(900), Value::Null),
        assume(2, &own, Value::Null, Value::Null),
        assume(3, &other, json!(900), json!("Nov 24, 2026, 11:30:00 PM")),
        assume(4, &other, json!(900), json!("failed")),
        record(5, "us-east-1", "s3:ListBuckets", by_instance(&account), json!({})),
    ];
    let world = World::new(aws(Some(records), None)).await;
    let found = ListChainedRoles.run(world.cx(), &with(json!({"instance": INSTANCE}))).await.unwrap();
    let told: Vec<_> = found.outcome.roles.iter().map(|role| (role.role.as_str(), role.other_account, role.may_live)).collect();
    assert_eq!(told, [("deploy", false, false), ("deploy", false, true), ("audit", true, true)]);
    assert_eq!(found.outcome.roles[1].until, "2026-11-24T12:02:00Z".parse().ok(), "an hour where nothing is said");
    assert_eq!(
        (found.outcome.roles[2].account.as_str(), found.outcome.roles[2].access_key_id.as_deref()),
        ("999999999999", Some("ASIANEXT"))
    );
    assert!(world.kept.items().iter().all(|item| !String::from_utf8_lossy(&item.bytes).contains("IQoJIQoJ")));
}
