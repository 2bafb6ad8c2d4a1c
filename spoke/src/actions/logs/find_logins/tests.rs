use super::*;
use crate::{
    action::LogSource,
    aws::fake::{NOW, World},
};
use serde_json::Value;
use std::collections::BTreeMap;

const INSTANCE: &str = "i-0123456789abcdef0";
const ATTACKER: &str = "203.0.113.7";

/// Groups, their streams, and lines with the minute after 11:00 at which they were written.
type Groups = BTreeMap<&'static str, Vec<(String, Vec<(i64, String)>)>>;

fn at(minute: i64) -> i64 {
    "2026-11-24T11:00:00Z".parse::<Timestamp>().unwrap().as_millisecond() + minute * 60_000
}

fn gone() -> (u16, Value) {
    (400, json!({ "__type": "ResourceNotFoundException", "message": "The specified log group does not exist." }))
}

/// CloudWatch Logs with pages of `page` events, an empty one first.
fn logs(groups: Groups, page: usize) -> impl Fn(&str, &Value) -> (u16, Value) {
    move |operation, asked| {
        let text = |name: &str| asked[name].as_str();
        match operation {
            "DescribeLogGroups" => {
                let made = at(-100_000);
                let found: Vec<Value> = groups
                    .keys()
                    .filter(|name| name.starts_with(text("logGroupNamePrefix").unwrap()))
                    .map(|name| json!({ "logGroupName": name, "creationTime": made, "retentionInDays": 1 }))
                    .collect();
                (200, json!({ "logGroups": found }))
            }
            "DescribeLogStreams" => {
                let Some(streams) = groups.get(text("logGroupName").unwrap()) else { return gone() };
                let prefix = text("logStreamNamePrefix").unwrap_or_default();
                let found: Vec<Value> =
                    streams.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(name, _)| json!({ "logStreamName": name })).collect();
                (200, json!({ "logStreams": found }))
            }
            "FilterLogEvents" => {
                let Some(streams) = groups.get(text("logGroupName").unwrap()) else { return gone() };
                let names = asked["logStreamNames"].as_array();
                let wanted = |name: &str| names.is_none_or(|names| names.iter().any(|one| one == name));
                let terms: Vec<&str> =
                    text("filterPattern").unwrap_or_default().split(' ').filter_map(|term| term.strip_prefix('?')).collect();
                let mut events = Vec::new();
                for (name, lines) in streams.iter().filter(|(name, _)| wanted(name)) {
                    for (number, (minute, line)) in lines.iter().enumerate() {
                        let time = at(*minute);
                        let inside = asked["startTime"].as_i64().unwrap() <= time && time <= asked["endTime"].as_i64().unwrap();
                        if inside && (terms.is_empty() || terms.iter().any(|term| line.contains(term))) {
                            events.push(
                                json!({ "logStreamName": name, "timestamp": time, "message": line, "eventId": format!("{name}{number}") }),
                            );
                        }
                    }
                }
                events.sort_by_key(|event| event["timestamp"].as_i64());
                let Some(from) = text("nextToken") else { return (200, json!({ "events": [], "nextToken": "0" })) };
                let from: usize = from.parse().unwrap();
                let to = (from + page).min(events.len());
                let next = (to < events.len()).then(|| to.to_string());
                (200, json!({ "events": events[from..to], "nextToken": next }))
            }
            other => panic!("{other}"),
        }
    }
}

fn failed(minute: i64) -> (i64, String) {
    (minute, format!("Nov 24 11:00:00 ip-10-0-0-1 sshd[77]: Failed password for root from {ATTACKER} port 4022 ssh2"))
}

fn accepted(minute: i64, from: &str) -> (i64, String) {
    (minute, format!("Nov 24 11:30:00 ip-10-0-0-1 sshd[99]: Accepted password for root from {from} port 4023 ssh2"))
}

fn with(port: u16) -> Params {
    serde_json::from_value(json!({ "instance": INSTANCE, "sources": [ATTACKER], "port": port, "since": null, "until": null })).unwrap()
}

async fn world(groups: Groups) -> World {
    let mut world = World::new(logs(groups, 3)).await;
    world.window = (Some("2026-11-24T11:05:00Z".parse().unwrap()), Some("2026-11-24T11:20:00Z".parse().unwrap()));
    world
}

async fn run(world: &World, with: &Params) -> Outcome {
    FindLogins.run(world.cx(), with).await.unwrap().outcome
}

#[tokio::test]
async fn a_login_after_failures_is_confirmed_with_its_line_and_kept() {
    let mut lines: Vec<_> = (0..8).map(failed).collect();
    lines.push(accepted(30, ATTACKER));
    let world =
        world(Groups::from([("/var/log/secure", vec![(INSTANCE.into(), lines), ("i-other".into(), vec![accepted(31, "198.51.100.1")])])]))
            .await;
    let found = FindLogins.run(world.cx(), &with(22)).await.unwrap();
    let outcome = found.outcome;
    assert_eq!((outcome.verdict, outcome.confirmed, outcome.lines_read, outcome.truncated), (Answer::Confirmed, 1, 9, false));
    assert_eq!(outcome.logins[0].user, "root");
    assert!(outcome.logins[0].reference.contains("group /var/log/secure, stream i-0123456789abcdef0, event"));
    let looked = &outcome.looked_at;
    assert!(
        looked.iter().any(|place| place.group == "/var/log/auth.log" && place.problem.as_deref() == Some("there is no such log group"))
    );
    assert!(looked.iter().any(|place| place.group == "/var/log/secure" && place.lines == 9 && place.problem.is_none()));
    assert_eq!((found.evidence.len(), world.kept.items()[0].kind.as_str()), (1, "log-lines"));
}

#[tokio::test]
async fn no_login_and_no_log_are_two_answers() {
    let quiet = world(Groups::from([("/var/log/secure", vec![(INSTANCE.into(), vec![failed(3)])])])).await;
    assert_eq!(run(&quiet, &with(22)).await.verdict, Answer::None);
    // What sshd writes says nothing about RDP.
    assert_eq!(run(&quiet, &with(3389)).await.verdict, Answer::NoLogSource);
    let nowhere = run(&world(Groups::new()).await, &with(22)).await;
    assert_eq!(nowhere.verdict, Answer::NoLogSource);
    assert!(nowhere.looked_at.len() >= 8);
    let other = world(Groups::from([("/var/log/secure", vec![(INSTANCE.into(), vec![(3, "kernel: eth0 up".to_owned())])])])).await;
    assert_eq!(run(&other, &with(22)).await.verdict, Answer::NoLogSource);
    let shared = run(&world(Groups::from([("secure", vec![("ip-10-0-0-1".into(), vec![failed(3)])])])).await, &with(22)).await;
    assert_eq!(shared.verdict, Answer::NoLogSource);
    assert!(
        shared
            .looked_at
            .iter()
            .any(|place| place.problem.as_deref().is_some_and(|problem| problem.contains("name the stream in `[[logs]]`")))
    );
}

#[tokio::test]
async fn a_stream_may_hold_the_instances_id_anywhere_as_a_word() {
    let stream = format!("prod/{INSTANCE}/secure");
    let longer = format!("{INSTANCE}0");
    let groups = Groups::from([("secure", vec![(longer, vec![accepted(3, ATTACKER)]), (stream.clone(), vec![failed(2)])])]);
    let outcome = run(&world(groups).await, &with(22)).await;
    assert_eq!((outcome.verdict, outcome.lines_read), (Answer::None, 1));
    assert!(outcome.looked_at.iter().any(|place| place.stream.as_deref() == Some(&stream)));
}

#[tokio::test]
async fn configured_places_are_looked_at_and_no_others() {
    let mut world =
        world(Groups::from([("org/222222222222", vec![("a".into(), vec![failed(1)]), ("b".into(), vec![accepted(2, ATTACKER)])])])).await;
    world.logs = vec![
        LogSource { kind: "auth".into(), group: "org/{account}".into(), stream: None, account: None, region: None },
        LogSource { kind: "cloudtrail".into(), group: "trail".into(), stream: None, account: None, region: None },
    ];
    let outcome = run(&world, &with(22)).await;
    assert_eq!((outcome.verdict, outcome.looked_at.len()), (Answer::Confirmed, 2));
    assert!(outcome.notes.iter().any(|note| note.contains("lines of other instances")));
}

#[tokio::test]
async fn denied_logs_are_no_log_source_and_say_so() {
    let mut world = World::new(|_, _| (400, json!({ "__type": "AccessDeniedException", "message": "no" }))).await;
    world.logs = vec![LogSource { kind: "auth".into(), group: "g".into(), stream: Some("{instance}".into()), account: None, region: None }];
    let outcome = run(&world, &with(22)).await;
    assert_eq!(outcome.verdict, Answer::NoLogSource);
    assert!(outcome.looked_at[0].problem.as_deref().unwrap().contains("access denied to logs:FilterLogEvents"));
}

#[tokio::test]
async fn beyond_the_bounds_logins_are_still_found() {
    let mut lines: Vec<_> = (0..40).map(failed).collect();
    lines.push(accepted(59, ATTACKER));
    let world = world(Groups::from([("secure", vec![(INSTANCE.into(), lines)])])).await;
    let with = with(22);
    let window = window(NOW.parse().unwrap(), world.window, &with).unwrap();
    let mut search = Search::new(world.cx(), &with, window);
    let client = world.clients.logs();
    let targets = places::find(&client, world.cx(), INSTANCE).await.unwrap();
    let few = reader::Bounds { pages: 3, bytes: 1 << 20, time: std::time::Duration::from_secs(60) };
    reader::read_within(&client, targets, &mut search, (few, few)).await.unwrap();
    let outcome = search.finish(world.cx(), &with).await.unwrap().outcome;
    assert_eq!((outcome.verdict, outcome.truncated, outcome.lines_read), (Answer::Confirmed, true, 7));
    assert!(
        outcome.looked_at.iter().any(|place| place.problem.as_deref().is_some_and(|problem| problem.contains("successful logins only")))
    );
}

#[tokio::test]
async fn lines_that_are_no_longer_kept_are_said_to_be_gone() {
    let world = world(Groups::from([("secure", vec![(INSTANCE.into(), vec![failed(2)])])])).await;
    let with = Params { since: Some("2026-11-20T00:00:00Z".parse().unwrap()), ..with(22) };
    let outcome = run(&world, &with).await;
    assert!(
        outcome.looked_at.iter().any(|place| place.problem.as_deref().is_some_and(|problem| problem.contains("keeps lines for 1 days")))
    );
}

#[tokio::test]
async fn throttled_before_anything_was_read_is_an_error_that_may_pass() {
    let mut world = World::new(|operation, _| match operation {
        "FilterLogEvents" => (503, json!({ "__type": "ServiceUnavailableException", "message": "later" })),
        "DescribeLogGroups" => (200, json!({ "logGroups": [] })),
        _ => (200, json!({ "logStreams": [{ "logStreamName": INSTANCE }] })),
    })
    .await;
    world.logs = vec![LogSource { kind: "auth".into(), group: "g".into(), stream: Some("{instance}".into()), account: None, region: None }];
    let error = FindLogins.run(world.cx(), &with(22)).await.unwrap_err();
    assert!(error.may_pass(), "{error}");
}

#[test]
fn the_window_reaches_from_an_hour_before_the_first_observation_until_now() {
    let time = |text: &str| text.parse::<Timestamp>().unwrap();
    let seen = (Some(time("2026-11-24T09:00:00Z")), Some(time("2026-11-24T09:30:00Z")));
    let with = with(22);
    let soon = window(time("2026-11-24T12:00:00Z"), seen, &with).unwrap();
    assert_eq!((soon.since, soon.until), (time("2026-11-24T08:00:00Z"), time("2026-11-24T12:15:00Z")));
    let late = window(time("2026-12-24T12:00:00Z"), seen, &with).unwrap();
    assert_eq!(late.until, time("2026-12-24T12:15:00Z"));
    let wrong = Params { since: Some(late.until), until: Some(soon.since), ..with };
    assert!(window(time(NOW), seen, &wrong).is_err());
}
