//! The outbox: nothing is lost, nothing told twice, and nobody waits for it.

use cordon_lab::slack::{SlackCall, Trouble};
use serde_json::json;

use super::*;

/// The keys of the notices of a contained incident.
fn contained(world: &World) -> bool {
    world.message("/contained/").is_some()
}

#[tokio::test]
async fn slack_that_is_down_delays_no_containment_and_each_message_comes_once_in_the_end() {
    let world = World::new(Door::Requests, |_| {}).await;
    world.slack.down(true);
    let service = world.serve().await;
    world.attack().await;
    let begun = Instant::now();
    while world.state().await != "contained" {
        assert!(begun.elapsed() < PATIENCE, "{}", service.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(world.closed().await && world.slack.messages().is_empty());

    let away = world.turned_away().await;
    assert!(away.len() == 1 && away[0]["who"] == "slack" && away[0]["why"].as_str().unwrap().contains("it is tried again"), "{away:#?}");

    // It comes back, badly: too many calls, an error, an answer that is lost, and one that never comes.
    let bad = [Trouble::Limited(2), Trouble::Lost, Trouble::Silence, Trouble::Status(500)];
    world.slack.trouble(bad);
    world.slack.down(false);
    until(&service, "all is told", || contained(&world)).await;
    let messages = world.one_thread();
    assert!(messages.len() >= 2, "{messages:#?}");
    let looked = world.slack.calls().iter().filter(|call| call.method.starts_with("conversations.")).count();
    assert!(looked >= 1, "what may have come through is looked for first");
    let pauses = world.slack.pauses();
    assert!(pauses.len() == 1 && pauses[0].channel == "C0LAB" && pauses[0].early.is_empty(), "{pauses:#?}");
}

/// The first message and a later one: neither comes before the time that Slack says, nor does any other to that channel.
#[tokio::test]
async fn a_channel_that_says_when_to_come_back_is_told_nothing_before_and_then_each_message_once() {
    let world = World::new(Door::Requests, |_| {}).await;
    world.slack.trouble([Trouble::Limited(4)]);
    let service = world.serve().await;
    world.attack().await;
    until(&service, "it posts", || !world.slack.messages().is_empty()).await;
    world.slack.trouble([Trouble::Limited(3)]);
    until(&service, "all is told", || contained(&world) && world.slack.pauses().len() == 2).await;
    until(&service, "the pause is over", || world.slack.pauses()[1].until < Instant::now()).await;
    for pause in world.slack.pauses() {
        assert!(pause.channel == "C0LAB" && pause.early.is_empty(), "{pause:#?}");
    }
    world.one_thread();
    let first = world.slack.pauses()[0].until;
    let calls = world.slack.calls();
    let posts: Vec<_> = calls.iter().filter(|call| call.method == "chat.postMessage").collect();
    // The same message, refused and then told.
    let key = |post: &SlackCall| post.body["metadata"]["event_payload"]["key"].clone();
    assert_eq!(key(posts[0]), key(posts[1]));
    assert!(posts[0].at < first && posts[1..].iter().all(|post| post.at >= first), "{posts:#?}");
}

#[tokio::test]
async fn a_message_of_another_app_with_the_same_key_is_not_taken_for_ours() {
    let world = World::new(Door::Requests, |_| {}).await;
    let copied = |bot: &str, event_type: &str| Trouble::Copied { bot: bot.to_owned(), event_type: event_type.to_owned() };
    // Nothing of ours came through; what says so is another app's, and one of the app's that is no notice.
    world.slack.trouble([copied("B0OTHER", "cordon_notice"), copied(slack::BOT, "another"), Trouble::Lost]);
    let service = world.serve().await;
    world.attack().await;
    let ours = || world.slack.messages().into_iter().filter(|message| message.bot == slack::BOT && message.event_type == "cordon_notice");
    until(&service, "all is told", || ours().any(|message| message.key.contains("/contained/"))).await;
    let messages: Vec<SlackMessage> = ours().collect();
    let keys: BTreeSet<&str> = messages.iter().map(|message| message.key.as_str()).collect();
    assert_eq!(keys.len(), messages.len(), "told twice: {messages:#?}");
    let root = &messages[0];
    assert!(root.key.ends_with("/detected") && root.thread.is_none(), "{root:?}");
    assert!(messages.iter().skip(1).all(|message| message.thread.as_ref() == Some(&root.ts)), "{messages:#?}");
    let copies: Vec<SlackMessage> = world.slack.messages().into_iter().filter(|message| !messages.contains(message)).collect();
    assert!(copies.len() == 2 && copies.iter().all(|copy| copy.key == root.key), "{copies:#?}");
    let changed: Vec<Value> =
        world.slack.calls().into_iter().filter(|call| call.method == "chat.update").map(|call| call.body["ts"].clone()).collect();
    assert!(copies.iter().all(|copy| !changed.contains(&json!(copy.ts))), "nobody else's message is written over");
    let asked = world.slack.calls().iter().filter(|call| call.method == "auth.test").count();
    assert_eq!(asked, 1, "who it is itself is asked once");
}

#[tokio::test]
async fn a_service_that_is_killed_between_journal_and_slack_loses_nothing_and_tells_nothing_twice() {
    let world = World::new(Door::Requests, |_| {}).await;
    // The first message is posted, and no answer comes before the end.
    world.slack.trouble([Trouble::Silence]);
    let mut service = world.serve().await;
    world.attack().await;
    until(&service, "it posts", || !world.slack.messages().is_empty()).await;
    let begun = Instant::now();
    while world.state().await != "contained" {
        assert!(begun.elapsed() < PATIENCE, "{}", service.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    service.kill();
    assert_eq!(service.wait(PATIENCE).await, Some(137));
    assert_eq!(world.slack.messages().len(), 1);

    let again = world.serve().await;
    until(&again, "all is told", || contained(&world)).await;
    world.one_thread();
}

#[tokio::test]
async fn what_slack_refuses_is_given_up_with_the_reason_and_the_rest_is_told() {
    let world = World::new(Door::Requests, |_| {}).await;
    world.slack.trouble([Trouble::Refused("invalid_blocks".to_owned())]);
    let service = world.serve().await;
    world.attack().await;
    until(&service, "the rest is told", || contained(&world)).await;
    let away = world.turned_away().await;
    assert_eq!(away.len(), 1, "{away:#?}");
    assert!(away[0]["why"].as_str().unwrap().contains("invalid_blocks") && away[0]["who"] == "slack", "{away:#?}");
    assert!(away[0]["what"].as_str().unwrap().ends_with(" detected"), "{away:#?}");
}

#[tokio::test]
async fn a_command_that_ends_sends_what_it_can_and_the_next_one_sends_the_rest() {
    let world = World::new(Door::Requests, |settings| settings.confirm_findings = false).await;
    world.slack.down(true);
    let output = world.cordon.run(&["respond", "-", "--format", "json"], &world.attacked()).await.unwrap();
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stderr.contains("notices are not sent yet"), "{}", output.stderr);
    assert!(world.closed().await && world.slack.messages().is_empty());

    world.slack.down(false);
    let begun = Instant::now();
    while !contained(&world) {
        assert!(begun.elapsed() < PATIENCE, "{:#?}", world.slack.messages());
        let output = world.cordon.run(&["respond", "-"], &world.attacked()).await.unwrap();
        assert_eq!(output.code, Some(0), "{output:?}");
    }
    world.one_thread();
}

/// A webhook whose secret is in the Parameter Store, a topic, and standard output; Slack's token is in Secrets Manager.
#[tokio::test]
async fn a_signed_webhook_a_topic_and_standard_output_are_told_the_same() {
    let secret = "0123456789abcdef0123456789abcdefHook";
    secrets::remember(secret);
    let world = World::new(Door::Requests, |_| {}).await;
    let security = world.organization.security.clone();
    let hand = async |service: &str, operation: &str, params: Value| {
        let answer = world.lab.hand.call(&security, HOME, service, operation, params).await;
        answer.unwrap_or_else(|error| panic!("{service} {operation}: {error}"))
    };
    hand("ssm", "put_parameter", json!({ "Name": "/cordon/hook", "Value": secret, "Type": "SecureString" })).await;
    hand("secretsmanager", "create_secret", json!({ "Name": "cordon/slack", "SecretString": slack::TOKEN })).await;
    let topic = hand("sns", "create_topic", json!({ "Name": "incidents" })).await["TopicArn"].as_str().unwrap().to_owned();
    let queue = hand("sqs", "create_queue", json!({ "QueueName": "told" })).await["QueueUrl"].as_str().unwrap().to_owned();
    let queue_arn = format!("arn:aws:sqs:{HOME}:{security}:told");
    hand("sns", "subscribe", json!({ "TopicArn": topic, "Protocol": "sqs", "Endpoint": queue_arn })).await;

    let text = std::fs::read_to_string(&world.cordon.config).unwrap();
    let more = format!(
        "\n[[webhook]]\nname = \"pager\"\nurl = \"{}\"\nsecret = \"ssm:/cordon/hook\"\n[[sns]]\ntopic = \"{topic}\"\n[notices]\nstdout = true\n",
        world.slack.hook()
    );
    world.cordon.configured(&(text.replace("env:SLACK_BOT_TOKEN", "secretsmanager:cordon/slack") + &more)).unwrap();
    let mut service = world.serve().await;
    world.attack().await;
    until(&service, "Slack is told", || contained(&world)).await;
    let hooked = || world.slack.hooks().iter().any(|(_, body)| String::from_utf8_lossy(body).contains("/contained/"));
    until(&service, "the webhook is told", hooked).await;

    let mut ids = Vec::new();
    for (headers, body) in world.slack.hooks() {
        let header = |name: &str| headers[name].to_str().unwrap().to_owned();
        let body = String::from_utf8(body.to_vec()).unwrap();
        let signed = hmac(secret, &format!("{}.{body}", header("cordon-timestamp")));
        assert_eq!(header("cordon-signature"), format!("v1={signed}"));
        let notice: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((notice["schema"].as_str(), notice["account"].as_str()), (Some("cordon.notice/1"), Some(world.web.account.as_str())));
        ids.push(notice["id"].as_str().unwrap().to_owned());
    }
    let keys: Vec<String> = world.slack.messages().into_iter().map(|message| message.key).collect();
    assert_eq!(ids, keys, "in the same order, each once");

    let mut published = BTreeSet::new();
    let begun = Instant::now();
    while published.len() < keys.len() {
        assert!(begun.elapsed() < PATIENCE, "{published:?}\n{}", service.log());
        let received = hand("sqs", "receive_message", json!({ "QueueUrl": queue, "MaxNumberOfMessages": 10 })).await;
        for message in received["Messages"].as_array().into_iter().flatten() {
            let envelope: Value = serde_json::from_str(message["Body"].as_str().unwrap()).unwrap();
            let notice: Value = serde_json::from_str(envelope["Message"].as_str().unwrap()).unwrap();
            published.insert(notice["id"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(published, keys.iter().cloned().collect());
    let (mut printed, begun) = (Vec::new(), Instant::now());
    while printed.len() < keys.len() && begun.elapsed() < PATIENCE {
        let lines: Vec<Value> = service.lines().iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
        printed.extend(lines.iter().filter_map(|line| line["id"].as_str()).map(str::to_owned));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(printed, keys);
}

pub(super) fn hmac(secret: &str, text: &str) -> String {
    use hmac::{KeyInit as _, Mac as _};
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

/// The first one that fits an incident by OU and severity, for all that is told of it.
#[tokio::test]
async fn each_incident_is_told_in_the_channel_of_the_first_route_that_fits_its_ou_and_severity() {
    let routes = [
        ("severity = 95", "C0CRITICAL"),
        ("ou = \"Root/Workloads/Production\"\nseverity = 70", "C0PRODHIGH"),
        ("ou = \"Root/Workloads/Development\"", "C0DEV"),
        ("ou = \"Root/Workloads/Production\"\nseverity = 10", "C0PROD"),
    ];
    let routes = routes.map(|(what, channel)| format!("[[slack.route]]\n{what}\nchannel = \"{channel}\"\n")).concat();
    let shape = Shape { members: 3, queue: true, ..Shape::small() };
    let world = World::shaped(Door::Requests, &shape, |settings| {
        settings.confirm_findings = false;
        settings.more = settings.more.replace("[[slack.route]]\nou = \"Root\"\nchannel = \"C0LAB\"\n", &routes);
    })
    .await;
    let (production, development) = (world.web.account.clone(), world.organization.ordinary(2).unwrap().account.clone());
    let mut wanted = std::collections::BTreeMap::new();
    let mut findings = String::new();
    for (name, account, severity, channel) in [
        ("high", &production, 8.0, "C0PRODHIGH"),
        ("low", &production, 2.0, "C0PROD"),
        ("lower", &production, 0.5, "C0OTHER"),
        ("dev", &development, 2.0, "C0DEV"),
        ("dev-critical", &development, 9.5, "C0CRITICAL"),
    ] {
        let instance = world.organization.instance(account, HOME, &InstanceShape::named(name)).await.unwrap();
        let mut native = brute_force(&instance, ATTACKER, Part::Target);
        native["severity"] = json!(severity);
        findings.push_str(&format!("{}\n", event(&world.organization.security, &native)));
        wanted.insert(instance.arn, channel);
    }
    let output = world.cordon.run(&["respond", "-"], &findings).await.unwrap();
    assert_eq!(output.code, Some(0), "{output:?}");
    let rows = world.run(&["incident", "list"]).await;
    assert_eq!(rows.len(), wanted.len(), "{rows:#?}");
    // What did not go within the command's time is sent by the next one.
    let service = world.serve().await;
    for row in &rows {
        let (run, subject) = (row["run"].as_str().unwrap(), row["subject"].as_str().unwrap());
        let of_run =
            || -> Vec<SlackMessage> { world.slack.messages().into_iter().filter(|message| message.key.starts_with(run)).collect() };
        let whole = |messages: &[SlackMessage]| {
            ["/detected", "/contained/"].iter().all(|part| messages.iter().any(|message| message.key.contains(part)))
        };
        until(&service, subject, || whole(&of_run())).await;
        let channels: BTreeSet<String> = of_run().into_iter().map(|message| message.channel).collect();
        assert_eq!(channels, [wanted[subject].to_owned()].into(), "{subject}: {:#?}", of_run());
    }
}

#[tokio::test]
async fn a_secret_of_a_file_is_read_without_its_line_break_and_one_that_is_missing_or_empty_is_named() {
    let world = World::new(Door::Requests, |settings| settings.confirm_findings = false).await;
    let file = world.cordon.config.with_file_name("slack-token");
    let text = std::fs::read_to_string(&world.cordon.config).unwrap();
    let text = text.replace("env:SLACK_BOT_TOKEN", &format!("file:{}", file.display()));
    assert!(text.contains("file:/"));
    let mut cordon = world.cordon.configured(&text).unwrap();
    cordon.environment.retain(|(name, _)| name != "SLACK_BOT_TOKEN");
    let service = cordon.spawn(&["serve"]).unwrap();
    world.attack().await;
    until(&service, "the missing file", || service.log().contains(&format!("the file {} cannot be read: No such file", file.display())))
        .await;
    std::fs::write(&file, "\n").unwrap();
    until(&service, "the empty file", || service.log().contains(&format!("the file {} is empty", file.display()))).await;
    assert!(world.slack.calls().is_empty(), "nobody is asked without a token: {:#?}", world.slack.calls());
    // It is read again, and its incident is told of as any other.
    std::fs::write(&file, format!("{}\r\n", slack::TOKEN)).unwrap();
    until(&service, "all is told", || contained(&world)).await;
    world.one_thread();
    std::fs::remove_file(&file).unwrap();
}
