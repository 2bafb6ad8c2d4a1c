//! Slack, signed requests to others, SNS and standard output: what people are told, and what their answers do.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail as tests do")]

#[path = "slack/approve.rs"]
mod approve;
#[path = "slack/mended.rs"]
mod mended;
#[path = "slack/outbox.rs"]
mod outbox;
#[path = "slack/pages.rs"]
mod pages;
#[path = "slack/press.rs"]
mod press;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use cordon_lab::{
    Cordon, GatewayOptions, Lab, Organization, Running, Settings, Shape, Slack,
    gateway::{Call, Enforcement},
    organization::{
        Instance, InstanceShape, UserShape,
        finding::{Part, brute_force, event},
    },
    secrets, shared,
    slack::{self, SlackMessage},
};
use jiff::Timestamp;
use serde_json::Value;
use tempfile::TempDir;

const HOME: &str = "us-east-1";
const ATTACKER: &str = "198.51.100.23";
const PATIENCE: Duration = Duration::from_secs(90);
const ALICE: &str = "U0ALICE";
const CAROL: &str = "U0CAROL";
const APPROVE: &str = "cordon-approve";
const DENY: &str = "cordon-deny";

/// By which way presses come.
enum Door {
    Requests,
    Socket,
}

/// An organization with an attacked instance, a Slack, and a Cordon between them.
struct World {
    lab: Lab,
    organization: Organization,
    web: Instance,
    cordon: Cordon,
    slack: Slack,
    port: u16,
    listens: bool,
    _folder: TempDir,
}

impl World {
    async fn new(door: Door, change: impl FnOnce(&mut Settings)) -> Self {
        Self::shaped(door, &Shape { queue: true, ..Shape::small() }, change).await
    }

    /// The same in an organization of another shape.
    async fn shaped(door: Door, shape: &Shape, change: impl FnOnce(&mut Settings)) -> Self {
        secrets::remember(slack::TOKEN);
        secrets::remember(slack::APP_TOKEN);
        secrets::remember(slack::SIGNING_SECRET);
        let lab = shared().unwrap().beside(GatewayOptions { enforcement: Enforcement::all(), throttle: None }).unwrap();
        let organization = Organization::build(&lab, shape).await.unwrap();
        let account = organization.ordinary(0).unwrap().account.clone();
        let web = organization.instance(&account, HOME, &InstanceShape::named("web-1")).await.unwrap();
        organization.log_attack(&web, ATTACKER, None).await.unwrap();
        let slack = Slack::start().await.unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let listens = matches!(door, Door::Requests);
        let door = match door {
            Door::Requests => format!("listen = \"127.0.0.1:{port}\"\nsigning_secret = \"env:SLACK_SIGNING_SECRET\""),
            Door::Socket => "app_token = \"env:SLACK_APP_TOKEN\"".to_owned(),
        };
        let people = format!(
            "[[people]]\nname = \"Alice\"\nroles = [\"approver\"]\nslack = \"{ALICE}\"\n[[people]]\nname = \"Carol\"\nslack = \"{CAROL}\"\n"
        );
        let more = format!(
            "\n[slack]\ntoken = \"env:SLACK_BOT_TOKEN\"\nchannel = \"C0OTHER\"\napi_url = \"{}\"\n{door}\n[[slack.route]]\nou = \"Root\"\nchannel = \"C0LAB\"\n{people}",
            slack.url()
        );
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings { attempt_timeout: "2s".to_owned(), more, ..Settings::serving(&folder.path().join("state")) };
        change(&mut settings);
        let cordon = Cordon::new(&lab, &organization, folder.path(), &settings).await.unwrap();
        let cordon = cordon
            .with("SLACK_BOT_TOKEN", slack::TOKEN)
            .with("SLACK_APP_TOKEN", slack::APP_TOKEN)
            .with("SLACK_SIGNING_SECRET", slack::SIGNING_SECRET);
        Self { lab, organization, web, cordon, slack, port, listens, _folder: folder }
    }

    async fn serve(&self) -> Running {
        let service = self.cordon.spawn(&["serve"]).unwrap();
        until(&service, "it serves", || service.log().contains("serving account")).await;
        if self.listens {
            until(&service, "it listens", || std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok()).await;
        }
        service
    }

    async fn attack(&self) -> Value {
        self.organization.attack(&self.web, ATTACKER, Part::Target).await.unwrap()
    }

    /// GuardDuty's event, for `cordon respond`.
    fn attacked(&self) -> String {
        event(&self.organization.security, &brute_force(&self.web, ATTACKER, Part::Target)).to_string()
    }

    async fn run(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.cordon.run(&[arguments, &["--format", "json"]].concat(), "").await.unwrap();
        assert_eq!(output.code, Some(0), "{arguments:?}: {}", output.stderr);
        output.objects()
    }

    async fn state(&self) -> String {
        let rows = self.run(&["incident", "list"]).await;
        rows.first().map(|row| row["state"].as_str().unwrap().to_owned()).unwrap_or_default()
    }

    /// Who was turned away, and why.
    async fn turned_away(&self) -> Vec<Value> {
        self.run(&["audit", "turned-away"]).await
    }

    /// The calls that changed something in the member's account.
    fn changes(&self) -> Vec<Call> {
        self.lab.gateway.ledger().writes_in(&self.web.account).into_iter().filter(Call::succeeded).collect()
    }

    async fn closed(&self) -> bool {
        self.organization.open_groups_of(&self.web, 22).await.unwrap().is_empty()
    }

    /// The question about a step that stands now.
    fn asked(&self, step: &str) -> Option<SlackMessage> {
        let key = format!("/asks/{step}/");
        self.slack.messages().into_iter().find(|message| message.key.contains(&key) && message.button(APPROVE).is_some())
    }

    async fn question(&self, service: &Running, step: &str) -> SlackMessage {
        until(service, "it asks", || self.asked(step).is_some()).await;
        self.asked(step).unwrap()
    }

    fn message(&self, key: &str) -> Option<SlackMessage> {
        self.slack.messages().into_iter().find(|message| message.key.contains(key))
    }

    fn door(&self) -> String {
        format!("http://127.0.0.1:{}/slack/interactions", self.port)
    }

    /// Somebody presses a button; Slack sends it, signed.
    async fn press(&self, user: &str, action: &str, value: &str, message: &SlackMessage) -> u16 {
        let body = slack::form_of(&self.slack.pressed(user, action, value, Some(message)));
        let time = Timestamp::now().as_second();
        self.deliver(&body, Some(time), Some(&slack::signature(time, &body))).await
    }

    async fn deliver(&self, body: &str, time: Option<i64>, signature: Option<&str>) -> u16 {
        let time = time.map(|time| time.to_string());
        let mut headers = vec![("content-type", "application/x-www-form-urlencoded")];
        headers.extend(time.as_deref().map(|time| ("x-slack-request-timestamp", time)));
        headers.extend(signature.map(|signature| ("x-slack-signature", signature)));
        slack::send(&self.door(), &headers, body.to_owned()).await.unwrap()
    }

    /// What the last one who pressed was told, once it is more than so many.
    async fn whispered(&self, service: &Running, before: usize) -> String {
        until(service, "an answer", || self.slack.whispers().len() > before).await;
        self.slack.whispers().last().unwrap()["text"].as_str().unwrap().to_owned()
    }

    /// Presses, and gives back what the person was told.
    async fn told(&self, service: &Running, user: &str, action: &str, message: &SlackMessage, value: &str) -> String {
        let before = self.slack.whispers().len();
        assert_eq!(self.press(user, action, value, message).await, 200);
        self.whispered(service, before).await
    }

    /// Each message is there once, in one thread that begins with the detection.
    fn one_thread(&self) -> Vec<SlackMessage> {
        let messages = self.slack.messages();
        let keys: BTreeSet<&str> = messages.iter().map(|message| message.key.as_str()).collect();
        assert_eq!(keys.len(), messages.len(), "told twice: {messages:#?}");
        let root = messages.first().unwrap();
        assert!(root.key.ends_with("/detected") && root.thread.is_none() && root.channel == "C0LAB", "{root:?}");
        assert!(messages.iter().skip(1).all(|message| message.thread.as_ref() == Some(&root.ts)), "{messages:#?}");
        messages
    }
}

async fn until(service: &Running, what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "{what}: not in time\n{}", service.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
