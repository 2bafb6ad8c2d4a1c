//! What a destination refuses: what a person may mend waits for that, what is wrong with the message is given up; and what ends, ends in time.

use std::collections::BTreeMap;

use cordon_lab::slack::Trouble;
use serde_json::json;

use super::{pages::paging, *};

impl World {
    /// Opens incidents of so many more instances while Slack is down: what is told of them waits.
    async fn behind(&self, many: usize) {
        let mut findings = String::new();
        for number in 0..many {
            let shape = InstanceShape::named(&format!("behind-{number}"));
            let instance = self.organization.instance(&self.web.account, HOME, &shape).await.unwrap();
            findings.push_str(&format!("{}\n", event(&self.organization.security, &brute_force(&instance, ATTACKER, Part::Target))));
        }
        self.slack.down(true);
        let output = self.cordon.run(&["respond", "-"], &findings).await.unwrap();
        assert_eq!(output.code, Some(0), "{output:?}");
        self.slack.down(false);
        assert!(self.slack.messages().is_empty());
    }

    /// The keys of what Cordon posted, in that order.
    fn keys(&self) -> Vec<String> {
        self.slack.messages().into_iter().filter(|message| message.bot == slack::BOT).map(|message| message.key).collect()
    }

    /// Nothing is told twice.
    fn each_once(&self) {
        let keys = self.keys();
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len(), "told twice: {keys:#?}");
    }

    async fn waits(&self, service: &Running, state: &str) {
        let begun = Instant::now();
        while self.state().await != state {
            assert!(begun.elapsed() < PATIENCE, "{}", service.log());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

#[tokio::test]
async fn a_token_that_is_refused_loses_nothing_and_all_is_told_in_order_once_there_is_a_new_one() {
    let (anew, newest) = ("xoxbLab0123456789TokenThatIsNewer01234567", "xoxbLab0123456789TokenOfTheDayAfter012345");
    secrets::remember(anew);
    secrets::remember(newest);
    let world = World::new(Door::Requests, |settings| {
        paging(settings);
        settings.mode = "ask".to_owned();
    })
    .await;
    let file = world.cordon.config.with_file_name("slack-token");
    std::fs::write(&file, slack::TOKEN).unwrap();
    let text = std::fs::read_to_string(&world.cordon.config).unwrap();
    world.cordon.configured(&text.replace("env:SLACK_BOT_TOKEN", &format!("file:{}", file.display()))).unwrap();
    world.slack.takes(anew);
    let service = world.serve().await;
    world.attack().await;
    world.waits(&service, "waiting").await;
    let other = world.organization.security.clone();
    world.written(&["freeze", "limited", "--account", &other, "--why", "a drill"]).await;
    let refused = || world.slack.calls().iter().filter(|call| call.method == "chat.postMessage").count();
    until(&service, "it is tried again and again", || refused() >= 5).await;
    assert!(world.slack.messages().is_empty());
    let away = world.turned_away().await;
    assert!(away.len() == 1 && away[0]["who"] == "slack", "{away:#?}");
    let why = away[0]["why"].as_str().unwrap();
    assert!(why.contains("invalid_auth") && why.contains("it is tried again"), "{why}");

    // Nothing is restarted: the secret is read anew.
    std::fs::write(&file, anew).unwrap();
    let journal = rusqlite::Connection::open(world._folder.path().join("state").join("journal.db")).unwrap();
    let left = || -> i64 { journal.query_row("SELECT count(*) FROM outbox WHERE done IS NULL", [], |row| row.get(0)).unwrap() };
    until(&service, "all is told", || world.asked("close-ingress").is_some() && !world.pages().is_empty() && left() == 0).await;
    let question = world.asked("close-ingress").unwrap();

    // It is another one again, and the first to hear of that is the answer to a press.
    std::fs::write(&file, newest).unwrap();
    world.slack.takes(newest);
    let said = world.told(&service, CAROL, APPROVE, &question, &question.button(APPROVE).unwrap()).await;
    assert!(said.contains("Nothing was changed"), "{said}");
    world.stop(service).await;
    std::fs::remove_file(&file).unwrap();
    world.each_once();
    let keys: Vec<String> = world.keys().into_iter().filter(|key| !key.starts_with("page/")).collect();
    assert!(keys[0].ends_with("/detected") && keys[1].contains("/asks/close-ingress/"), "{keys:#?}");
    assert_eq!(world.pages().len(), 1, "{:#?}", world.pages());
    let away = world.turned_away().await;
    assert_eq!(away.iter().filter(|entry| entry["door"] == "outbox").count(), 1, "listed once, not at each try: {away:#?}");
}

#[tokio::test]
async fn a_webhook_that_refuses_what_a_person_may_mend_is_told_once_it_takes_it_with_the_secret_of_then() {
    let (first, second) = ("0123456789abcdef0123456789abcdefOld1", "0123456789abcdef0123456789abcdefNew2");
    secrets::remember(first);
    secrets::remember(second);
    let world = World::new(Door::Requests, |settings| settings.mode = "ask".to_owned()).await;
    let file = world.cordon.config.with_file_name("hook-secret");
    std::fs::write(&file, first).unwrap();
    let text = std::fs::read_to_string(&world.cordon.config).unwrap();
    let more = format!("\n[[webhook]]\nname = \"pager\"\nurl = \"{}\"\nsecret = \"file:{}\"\n", world.slack.hook(), file.display());
    world.cordon.configured(&(text + &more)).unwrap();
    // The detection is wrong in itself, says the first answer; the question is refused for what is about it.
    world.slack.hook_answers([422, 302, 404, 403]);
    let service = world.serve().await;
    world.attack().await;
    until(&service, "it is refused", || service.log().contains("it answered 302")).await;
    std::fs::write(&file, second).unwrap();
    until(&service, "the question is told", || !world.slack.hooks().is_empty()).await;
    world.stop(service).await;
    std::fs::remove_file(&file).unwrap();
    let hooks = world.slack.hooks();
    let (headers, body) = &hooks[0];
    let body = String::from_utf8(body.to_vec()).unwrap();
    assert!(hooks.len() == 1 && body.contains("/asks/close-ingress/"), "{hooks:#?}");
    let time = headers["cordon-timestamp"].to_str().unwrap();
    let signed = super::outbox::hmac(second, &format!("{time}.{body}"));
    assert_eq!(headers["cordon-signature"].to_str().unwrap(), format!("v1={signed}"));
    let away = world.turned_away().await;
    let whys: Vec<&str> = away.iter().map(|entry| entry["why"].as_str().unwrap()).collect();
    assert!(whys.len() == 2 && whys[0].contains("302; it is tried again") && whys[1] == "it answered 422", "{away:#?}");
}

/// The detection came through though it was answered by an error; the question is another's with the same id.
#[tokio::test]
async fn a_webhook_that_has_a_message_already_was_told_where_the_answer_was_lost_and_refuses_it_otherwise() {
    let secret = "0123456789abcdef0123456789abcdefOnly";
    let world = World::new(Door::Requests, |settings| settings.mode = "ask".to_owned()).await;
    let text = std::fs::read_to_string(&world.cordon.config).unwrap();
    let more = format!("\n[[webhook]]\nname = \"pager\"\nurl = \"{}\"\nsecret = \"env:HOOK_SECRET\"\n", world.slack.hook());
    world.cordon.configured(&(text + &more)).unwrap();
    world.slack.hook_answers([500, 409, 409]);
    let world = World { cordon: world.cordon.clone().with("HOOK_SECRET", secret), ..world };
    secrets::remember(secret);
    let service = world.serve().await;
    world.attack().await;
    let question = world.question(&service, "close-ingress").await;
    until(&service, "the question is given up", || service.log().contains("a notice is given up")).await;
    assert!(world.slack.hooks().is_empty());
    // What comes after goes its way.
    world.told(&service, ALICE, APPROVE, &question, &question.button(APPROVE).unwrap()).await;
    until(&service, "the rest is told", || !world.slack.hooks().is_empty()).await;
    world.stop(service).await;
    let away = world.turned_away().await;
    let told: Vec<(&str, &str)> = away.iter().map(|entry| (entry["what"].as_str().unwrap(), entry["why"].as_str().unwrap())).collect();
    assert!(told.len() == 2 && told[1].0.ends_with(" detected") && told[1].1.contains("500; it is tried again"), "{away:#?}");
    assert!(told[0].0.contains(" asks/close-ingress/") && told[0].1 == "it answered 409", "{away:#?}");
}

/// The detection is refused for good, so that the question is the thread's first message.
#[tokio::test]
async fn a_question_that_begins_its_thread_stays_a_question() {
    let world = World::new(Door::Requests, |settings| settings.mode = "ask".to_owned()).await;
    world.slack.trouble([Trouble::Refused("invalid_blocks".to_owned())]);
    let service = world.serve().await;
    world.attack().await;
    let question = world.question(&service, "close-ingress").await;
    assert!(question.thread.is_none(), "{question:#?}");
    world.told(&service, ALICE, APPROVE, &question, &question.button(APPROVE).unwrap()).await;
    let next = world.question(&service, "block-source").await;
    assert_eq!(next.thread.as_ref(), Some(&question.ts));
    world.stop(service).await;
    let root = world.slack.messages().into_iter().find(|message| message.ts == question.ts).unwrap();
    assert!(root.text.starts_with("May `close-ingress` be done?"), "{root:#?}");
    assert!(root.blocks.to_string().contains("*Approved* by `Alice`"), "{root:#?}");
}

/// In a channel the newest message comes first, in a thread the oldest: it is behind the others in both.
#[tokio::test]
async fn a_message_whose_answer_was_lost_is_found_among_hundreds_of_others() {
    let world = World::new(Door::Requests, |_| {}).await;
    world.slack.trouble([Trouble::Buried(250), Trouble::Buried(250)]);
    let service = world.serve().await;
    world.attack().await;
    until(&service, "all is told", || world.message("/contained/").is_some()).await;
    world.stop(service).await;
    world.each_once();
    let asked =
        |method: &str| world.slack.calls().into_iter().filter(|call| call.method == method && call.body["cursor"].is_string()).count();
    assert!(asked("conversations.history") >= 1 && asked("conversations.replies") >= 1, "{:#?}", world.slack.calls());
}

#[tokio::test]
async fn a_page_waits_for_no_news_and_for_no_other_channel() {
    let world = World::new(Door::Requests, |settings| {
        paging(settings);
        settings.confirm_findings = false;
    })
    .await;
    world.behind(6).await;
    let service = world.serve().await;
    let served = Instant::now();
    until(&service, "it posts", || !world.slack.messages().is_empty()).await;
    world.written(&["freeze", "limited", "--account", &world.web.account, "--why", "a drill"]).await;
    let then = world.keys().len();
    until(&service, "it is paged", || !world.pages().is_empty()).await;
    let keys = world.keys();
    let before = keys.iter().take_while(|key| !key.starts_with("page/")).count();
    assert!(before <= then + 3 && before < 12, "{then} before the freeze was written: {keys:#?}");

    // The incidents' channel takes nothing for a while; that of the pages does.
    world.slack.trouble([Trouble::Limited(45)]);
    until(&service, "it is limited", || world.slack.pauses().len() == 1).await;
    world.written(&["thaw", "--account", &world.web.account, "--why", "it is over", "--yes"]).await;
    until(&service, "it is paged again", || world.pages().len() == 2).await;
    let pause = world.slack.pauses().remove(0);
    let is_page = |body: &Value| body["metadata"]["event_payload"]["key"].as_str().is_some_and(|key| key.starts_with("page/"));
    let last = world.slack.calls().into_iter().rfind(|call| is_page(&call.body)).unwrap();
    assert!(pause.channel == "C0LAB" && last.at < pause.until, "{pause:#?} {last:#?}");
    until(&service, "the pause is over", || pause.until < Instant::now()).await;
    until(&service, "all is told", || world.keys().iter().filter(|key| key.contains("/contained/")).count() == 6).await;
    assert!(world.slack.pauses()[0].early.is_empty(), "{:#?}", world.slack.pauses());
    world.stop(service).await;
    world.each_once();
    let mut channels: BTreeMap<String, Vec<Instant>> = BTreeMap::new();
    for call in world.slack.calls().into_iter().filter(|call| call.method == "chat.postMessage" && call.at > served) {
        channels.entry(call.body["channel"].to_string()).or_default().push(call.at);
    }
    assert_eq!(channels.len(), 2, "{channels:#?}");
    for (channel, posts) in channels {
        let fast = posts.windows(2).filter(|pair| pair[1] - pair[0] < Duration::from_millis(900)).count();
        assert_eq!(fast, 0, "more than one message a second in {channel}: {posts:#?}");
    }
}

#[tokio::test]
async fn what_ends_waits_no_longer_than_ten_seconds_for_a_slack_that_hangs_and_tells_nothing_twice() {
    let world = World::new(Door::Requests, |settings| settings.confirm_findings = false).await;
    world.behind(4).await;
    world.slack.trouble(vec![Trouble::Silence; 40]);
    let mut service = world.serve().await;
    until(&service, "it posts", || !world.slack.messages().is_empty()).await;
    let begun = Instant::now();
    service.terminate();
    assert_eq!(service.wait(PATIENCE).await, Some(0), "{}", service.log());
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}\n{}", begun.elapsed(), service.log());

    world.slack.mended();
    let again = world.serve().await;
    until(&again, "all is told", || world.keys().iter().filter(|key| key.contains("/contained/")).count() == 4).await;
    world.stop(again).await;
    world.each_once();
}

#[tokio::test]
async fn what_is_told_of_an_incident_that_cannot_be_read_waits_with_growing_pauses_and_holds_up_no_other() {
    let world = World::new(Door::Requests, |settings| settings.confirm_findings = false).await;
    world.behind(1).await;
    let rows = world.run(&["incident", "list"]).await;
    let damaged = rows[0]["run"].as_str().unwrap().to_owned();
    let journal = rusqlite::Connection::open(world._folder.path().join("state").join("journal.db")).unwrap();
    journal.execute_batch("DROP TRIGGER entries_never_change").unwrap();
    let of_it = "run = (SELECT id FROM runs WHERE run = ?1) AND seq = 2";
    let before: String = journal.query_row(&format!("SELECT entry FROM entries WHERE {of_it}"), [&damaged], |row| row.get(0)).unwrap();
    let write = |text: &str| journal.execute(&format!("UPDATE entries SET entry = ?2 WHERE {of_it}"), [&damaged, text]).unwrap();
    assert_eq!(write(&json!({ "entry": "of-tomorrow" }).to_string()), 1);
    journal.execute("UPDATE outbox SET tries = 0, due = 0 WHERE done IS NULL", []).unwrap();

    let service = world.serve().await;
    world.attack().await;
    until(&service, "the other is told", || world.message("/contained/").is_some()).await;
    assert!(world.keys().iter().all(|key| !key.starts_with(&damaged)), "{:#?}", world.keys());
    let tries: u32 = journal.query_row("SELECT max(tries) FROM outbox WHERE done IS NULL", [], |row| row.get(0)).unwrap();
    assert!((1..=6).contains(&tries), "{tries} tries\n{}", service.log());

    // Once it can be read it is told.
    assert_eq!(write(&before), 1);
    until(&service, "it is told, too", || world.keys().iter().any(|key| key.starts_with(&damaged) && key.contains("/contained/"))).await;
    world.stop(service).await;
    world.each_once();
}
