//! Pages: the self-alarm, freezes, thaws, and questions that nobody answered, told to everybody.

use cordon_lab::{
    organization::{SPOKE_ROLE, trail::Caller},
    slack::Trouble,
};
use serde_json::json;

use super::{approve::accepted_by_the_sdk, *};

const PAGES: &str = "C0PAGES";

/// A Slack with a channel for pages.
pub(super) fn paging(settings: &mut Settings) {
    settings.more = settings.more.replace("channel = \"C0OTHER\"", &format!("channel = \"C0OTHER\"\npages = \"{PAGES}\""));
}

impl World {
    /// The messages in the channel that is paged.
    pub(super) fn pages(&self) -> Vec<SlackMessage> {
        self.slack.messages().into_iter().filter(|message| message.channel == PAGES).collect()
    }

    /// `cordon freeze` or `cordon thaw` that does what it is told.
    pub(super) async fn written(&self, arguments: &[&str]) {
        let output = self.cordon.run(arguments, "").await.unwrap();
        assert_eq!(output.code, Some(0), "{arguments:?}: {output:?}");
    }

    /// Whom each freeze and thaw was told: of each line the destinations, and whether it was told there.
    async fn told_of(&self) -> Vec<Vec<(String, bool)>> {
        let of = |line: &Value| {
            let told = line["told"].as_array().unwrap().iter();
            told.map(|told| (told["to"].as_str().unwrap().to_owned(), told["at"].is_string())).collect()
        };
        self.run(&["freeze", "list", "--all"]).await.iter().map(of).collect()
    }

    pub(super) async fn stop(&self, mut service: Running) {
        service.terminate();
        assert_eq!(service.wait(PATIENCE).await, Some(0), "{}", service.log());
    }
}

/// CloudTrail's event of a call of the spoke role that no incident accounts for.
fn misuse(account: &str) -> (String, String) {
    let caller = Caller::session(account, SPOKE_ROLE, "somebody", "ASIALABALABALABALAB0", "203.0.113.66");
    let record = caller.record(HOME, 1, "iam", "CreateUser", json!({}));
    let id = record["eventID"].as_str().unwrap().to_owned();
    let event = json!({
        "version": "0", "id": "6f8a9c30-0000-4000-8000-000000000002", "detail-type": "AWS API Call via CloudTrail", "source": "aws.iam",
        "account": account, "time": record["eventTime"], "region": HOME, "resources": [], "detail": record,
    });
    (event.to_string(), id)
}

#[tokio::test]
async fn a_self_alarm_pages_once_in_every_channel() {
    let secret = "0123456789abcdef0123456789abcdefPage";
    secrets::remember(secret);
    let mut world = World::new(Door::Requests, paging).await;
    world.cordon = world.cordon.clone().with("HOOK", secret);
    let security = world.organization.security.clone();
    let hand = async |service: &str, operation: &str, params: Value| {
        let answer = world.lab.hand.call(&security, HOME, service, operation, params).await;
        answer.unwrap_or_else(|error| panic!("{service} {operation}: {error}"))
    };
    let topic = hand("sns", "create_topic", json!({ "Name": "pages" })).await["TopicArn"].as_str().unwrap().to_owned();
    let queue = hand("sqs", "create_queue", json!({ "QueueName": "paged" })).await["QueueUrl"].as_str().unwrap().to_owned();
    let arn = format!("arn:aws:sqs:{HOME}:{security}:paged");
    hand("sns", "subscribe", json!({ "TopicArn": topic, "Protocol": "sqs", "Endpoint": arn })).await;
    let text = std::fs::read_to_string(&world.cordon.config).unwrap();
    let more = format!(
        "\n[[webhook]]\nname = \"pager\"\nurl = \"{}\"\nsecret = \"env:HOOK\"\n[[sns]]\ntopic = \"{topic}\"\n[notices]\nstdout = true\n",
        world.slack.hook()
    );
    world.cordon.configured(&(text + &more)).unwrap();
    let mut service = world.serve().await;
    let (event, id) = misuse(&world.web.account);
    world.organization.send(&event).await.unwrap();
    until(&service, "Slack is paged", || !world.pages().is_empty()).await;
    until(&service, "the webhook is paged", || !world.slack.hooks().is_empty()).await;

    // The same record a second time, and a second alarm that a person can tell from the first.
    world.organization.send(&event).await.unwrap();
    let (other, other_id) = misuse(&world.web.account);
    world.organization.send(&other).await.unwrap();
    until(&service, "it is paged again", || world.pages().len() > 1).await;
    until(&service, "the webhook too", || world.slack.hooks().len() > 1).await;
    let pages = world.pages();
    assert_eq!((pages.len(), world.slack.messages().len()), (2, 2), "{pages:#?}");
    for (page, id) in pages.iter().zip([&id, &other_id]) {
        let shown = page.blocks.to_string();
        assert!(page.text.starts_with("<!channel> Self-alarm: ") && page.thread.is_none(), "{page:#?}");
        for wanted in ["<!channel>", id.as_str(), "self-alarm", "203.0.113.66", "`cordon thaw`", "limited"] {
            assert!(shown.contains(wanted), "{wanted}: {shown}");
        }
    }
    let hooks: Vec<Value> = world.slack.hooks().iter().map(|(_, body)| serde_json::from_slice(body).unwrap()).collect();
    let of = |value: &Value| ["schema", "id", "kind", "level"].map(|key| value[key].as_str().unwrap_or_default().to_owned());
    let wanted = |number: u64| ["cordon.page/1", &format!("freeze/{number}"), "alarm", "limited"].map(str::to_owned);
    assert_eq!(hooks.iter().map(of).collect::<Vec<_>>(), [wanted(1), wanted(2)], "{hooks:#?}");
    assert_eq!((hooks[0]["alarm"].as_str(), hooks[0]["answer"].as_str()), (Some(id.as_str()), Some("cordon thaw")), "{hooks:#?}");

    let (mut published, mut printed, begun) = (BTreeSet::new(), Vec::new(), Instant::now());
    while published.len() < 2 || printed.len() < 2 {
        assert!(begun.elapsed() < PATIENCE, "{published:?} {printed:?}\n{}", service.log());
        let received = hand("sqs", "receive_message", json!({ "QueueUrl": queue, "MaxNumberOfMessages": 10 })).await;
        for message in received["Messages"].as_array().into_iter().flatten() {
            let envelope: Value = serde_json::from_str(message["Body"].as_str().unwrap()).unwrap();
            let page: Value = serde_json::from_str(envelope["Message"].as_str().unwrap()).unwrap();
            assert!(published.insert(of(&page)), "published twice: {page:#}");
        }
        printed.extend(service.lines().iter().filter_map(|line| serde_json::from_str::<Value>(line).ok()).map(|page| of(&page)));
    }
    assert_eq!((published, printed), ([wanted(1), wanted(2)].into(), vec![wanted(1), wanted(2)]));
    accepted_by_the_sdk(&world).await;
    let told = world.told_of().await;
    assert!(told.len() == 2 && told.iter().all(|told| told.len() == 4 && told.iter().all(|(_, told)| *told)), "{told:?}");
    world.stop(service).await;
    world.stop(world.serve().await).await;
    assert_eq!((world.slack.messages().len(), world.slack.hooks().len()), (2, 2), "once");
}

#[tokio::test]
async fn a_freeze_and_its_thaw_are_told_also_when_they_were_written_while_nothing_ran() {
    let world = World::new(Door::Requests, paging).await;
    let account = world.web.account.clone();
    // Nothing ever ran in this state directory: nobody knows of a destination yet.
    world.written(&["freeze", "limited", "--account", &account, "--why", "<!channel> a drill"]).await;
    world.written(&["thaw", "--account", &account, "--why", "it is over", "--yes"]).await;
    assert!(world.slack.calls().is_empty());
    assert_eq!(world.told_of().await, [vec![], vec![]]);
    let service = world.serve().await;
    until(&service, "both are told", || world.pages().len() == 2).await;
    let pages = world.pages();
    assert_eq!(pages[0].text, format!("Frozen (limited): account {account}"));
    assert_eq!(pages[1].text, format!("Thawed: account {account}"));
    let shown = pages[0].blocks.to_string();
    assert!(shown.contains("a drill") && shown.contains(&format!("`cordon thaw --account {account}`")), "{shown}");
    assert!(!shown.contains("<!channel>"), "what somebody wrote calls nobody: {shown}");
    assert!(pages[1].blocks.to_string().contains("it is over"), "{pages:#?}");
    accepted_by_the_sdk(&world).await;
    world.stop(service).await;
    let slack = |told: bool| vec![("slack".to_owned(), told)];
    assert_eq!(world.told_of().await, [slack(true), slack(true)]);

    // One that ran before has said where to: it waits for whoever drives next, a command too.
    world.written(&["freeze", "full", "--why", "something is wrong"]).await;
    assert_eq!((world.told_of().await[2].clone(), world.pages().len()), (slack(false), 2));
    let output = world.cordon.run(&["respond", "-"], &world.attacked()).await.unwrap();
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(world.told_of().await[2], slack(true));
    let texts: Vec<String> = world.pages().into_iter().skip(2).map(|page| page.text).collect();
    assert_eq!(texts, ["Frozen (full): the organization"]);
}

#[tokio::test]
async fn a_freeze_is_written_though_slack_is_down() {
    let world = World::new(Door::Requests, paging).await;
    world.slack.down(true);
    let service = world.serve().await;
    let begun = Instant::now();
    world.written(&["freeze", "--why", "a drill"]).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "nobody waits for Slack");
    world.attack().await;
    let begun = Instant::now();
    while world.state().await != "held" {
        assert!(begun.elapsed() < PATIENCE, "{}", service.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(world.changes().is_empty() && !world.closed().await && world.slack.messages().is_empty());
    assert_eq!(world.told_of().await, [vec![("slack".to_owned(), false)]]);

    // It comes back, badly: what was posted and got no answer is looked for before it is posted again.
    world.slack.trouble([Trouble::Lost, Trouble::Limited(1), Trouble::Status(503)]);
    world.slack.down(false);
    until(&service, "it is told", || world.message("/held/").is_some() && !world.pages().is_empty()).await;
    world.stop(service).await;
    let pages = world.pages();
    assert_eq!(pages.len(), 1, "{pages:#?}");
    assert_eq!(world.told_of().await, [vec![("slack".to_owned(), true)]]);
}

/// Twice a minute: the shortest time that a question may stand.
#[tokio::test]
async fn a_question_that_nobody_answers_is_escalated_once_and_then_held() {
    let world = World::new(Door::Requests, |settings| {
        paging(settings);
        settings.mode = "ask".to_owned();
        settings.more.push_str("\n[approval]\nquestion_lasts = \"1m\"\n");
    })
    .await;
    let service = world.serve().await;
    world.attack().await;
    let first = world.question(&service, "close-ingress").await;
    let of = |ts: &str| world.slack.messages().into_iter().find(|message| message.ts == ts).unwrap();
    let settled = |ts: &str, word: &str| of(ts).button(APPROVE).is_none() && of(ts).blocks.to_string().contains(word);
    until(&service, "it is escalated", || settled(&first.ts, "*Escalated*: nobody answered in time")).await;
    until(&service, "it asks once more", || world.asked("close-ingress").is_some()).await;
    let second = world.asked("close-ingress").unwrap();
    let bound = |message: &SlackMessage| -> Value { serde_json::from_str(&message.button(APPROVE).unwrap()).unwrap() };
    let same = |key: &str| bound(&second)[key] == bound(&first)[key];
    assert!(["run", "step", "digest"].into_iter().all(same), "the same step and plan: {second:#?}");
    assert!(second.ts != first.ts && second.thread == first.thread && second.text.starts_with("Escalated"), "{second:#?}");
    until(&service, "it is paged", || !world.pages().is_empty()).await;
    let page = world.pages().remove(0);
    let shown = page.blocks.to_string();
    assert!(page.text.starts_with("<!channel> Nobody answered in time") && shown.contains("<!channel>"), "{page:#?}");
    for wanted in ["close-ingress", "cordon approval grant", world.web.account.as_str(), "Void after"] {
        assert!(shown.contains(wanted), "{wanted}: {shown}");
    }
    let waiting = world.run(&["incident", "list"]).await;
    assert!(waiting[0]["state"] == "waiting" && waiting[0]["reason"].as_str().unwrap().contains("escalated"), "{waiting:#?}");

    until(&service, "it is held", || settled(&second.ts, "*Expired*")).await;
    let run = waiting[0]["run"].as_str().unwrap();
    let shown = world.run(&["incident", "show", run]).await.remove(0);
    let hold = shown["holds"].as_array().unwrap().iter().find(|hold| hold["code"] == "ask-expired").unwrap_or_else(|| panic!("{shown:#}"));
    assert_eq!(hold["why"], "nobody answered in time, also after it was escalated", "{shown:#}");
    let late = world.told(&service, ALICE, APPROVE, &second, &second.button(APPROVE).unwrap()).await;
    assert!(late.contains("Nothing was changed"), "{late}");
    assert!(world.changes().is_empty() && !world.closed().await);
    let about = world.pages().into_iter().filter(|page| page.blocks.to_string().contains("close-ingress")).count();
    assert_eq!(about, 1, "once: {:#?}", world.pages());
    accepted_by_the_sdk(&world).await;
    let report = world.cordon.run(&["incident", "report", run], "").await.unwrap();
    assert!(report.stdout.contains("asked once more, escalated"), "{}", report.stdout);
    assert_eq!(world.cordon.run(&["audit", "verify"], "").await.unwrap().code, Some(0));
}
