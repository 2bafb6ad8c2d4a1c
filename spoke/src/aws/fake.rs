//! Stands in for AWS in unit tests: an HTTP client that answers from a function and writes down what was asked.

use std::sync::{Arc, Mutex};

use aws_smithy_runtime_api::{
    client::{
        http::{HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn},
        orchestrator::{HttpRequest, HttpResponse},
    },
    http::StatusCode,
};
use aws_smithy_types::body::SdkBody;
use cordon_shared::{
    clock::{Clock as _, ManualClock},
    engine::{Entry, FindingNote, Pace, View},
    evidence::{Evidence, EvidenceError, Item},
    finding::{FindingId, Subject, SubjectKind, Version},
    gate::{self, Ask, Caps, Decision, Facts, Lease, PolicyAnswer, Warrant},
    id::{AccountId, CellId, IncidentId, Region},
    journal::{Journal, mem::MemStore, ops},
    mode::Mode,
    plan::{Change, Plan, Risk, StepKey},
    playbook::Playbook,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::{
    action::{ActionError, Cx, LogSource, Reach, TagsRead},
    limits::{Limits, Rates},
    session::{Clients, SessionSettings, Sessions},
};

type Answer = dyn Fn(&str, &Value) -> (u16, Value) + Send + Sync;

/// The stand-in. An operation is the last word of `x-amz-target`, or method and path (`POST /findings`).
#[derive(Clone)]
pub(crate) struct Fake {
    answer: Arc<Answer>,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

impl std::fmt::Debug for Fake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fake")
    }
}

impl Fake {
    pub(crate) fn new(answer: impl Fn(&str, &Value) -> (u16, Value) + Send + Sync + 'static) -> Self {
        Self { answer: Arc::new(answer), asked: Arc::default() }
    }
    /// What was asked: operation and body.
    pub(crate) fn asked(&self) -> Vec<(String, Value)> {
        self.asked.lock().unwrap().clone()
    }
    /// How often an operation was asked for.
    pub(crate) fn count(&self, operation: &str) -> usize {
        self.asked().iter().filter(|(asked, _)| asked == operation).count()
    }
    pub(crate) fn http(&self) -> SharedHttpClient {
        let connector = SharedHttpConnector::new(self.clone());
        http_client_fn(move |_, _| connector.clone())
    }
}

impl HttpConnector for Fake {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let path = request.uri().split_once("amazonaws.com").map_or("/", |(_, path)| path).to_owned();
        let operation = match request.headers().get("x-amz-target") {
            Some(target) => target.rsplit('.').next().unwrap_or_default().to_owned(),
            None => format!("{} {path}", request.method()),
        };
        let body = serde_json::from_slice(request.body().bytes().unwrap_or_default()).unwrap_or_default();
        let (status, answer) = (self.answer)(&operation, &body);
        self.asked.lock().unwrap().push((operation, body));
        let mut response = HttpResponse::new(StatusCode::try_from(status).unwrap(), SdkBody::from(answer.to_string()));
        response.headers_mut().insert("content-type", "application/x-amz-json-1.1");
        HttpConnectorFuture::ready(Ok(response))
    }
}

/// `fake_client!(aws_sdk_securityhub, fake)`: a client of that crate over a stand-in, without retries.
macro_rules! fake_client {
    ($sdk:ident, $fake:expr) => {
        $sdk::Client::from_conf(
            $sdk::Config::builder()
                .behavior_version($sdk::config::BehaviorVersion::latest())
                .region($sdk::config::Region::new("us-east-1"))
                .credentials_provider($sdk::config::Credentials::new("AKIDEXAMPLE", "example", None, None, "test"))
                .retry_config($sdk::config::retry::RetryConfig::disabled())
                .http_client($fake.http())
                .build(),
        )
    };
}
pub(crate) use fake_client;

/// A stand-in that listens: for what goes through [`crate::session::Clients`].
pub(crate) async fn serve(fake: Fake) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_on(stream, fake.clone()));
        }
    });
    format!("http://{address}")
}

async fn answer_on(stream: tokio::net::TcpStream, fake: Fake) {
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
    let mut stream = BufReader::new(stream);
    loop {
        let (mut first, mut length, mut target) = (String::new(), 0_usize, None);
        if stream.read_line(&mut first).await.unwrap_or(0) == 0 {
            return;
        }
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            let Some((name, value)) = line.trim().split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap(),
                "x-amz-target" => target = value.trim().rsplit('.').next().map(str::to_owned),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let operation = target.unwrap_or_else(|| first.rsplit_once(' ').unwrap().0.to_owned());
        let body = serde_json::from_slice(&body).unwrap_or_default();
        let (status, answer) = (fake.answer)(&operation, &body);
        fake.asked.lock().unwrap().push((operation, body));
        let answer = answer.to_string();
        let head = format!("HTTP/1.1 {status} X\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: {}\r\n\r\n", answer.len());
        stream.write_all((head + &answer).as_bytes()).await.unwrap();
    }
}

/// Evidence in memory.
#[derive(Debug, Default)]
pub(crate) struct Kept(Mutex<Vec<Item>>);

impl Kept {
    pub(crate) fn items(&self) -> Vec<Item> {
        self.0.lock().unwrap().clone()
    }
}

impl Evidence for Kept {
    fn put(&self, item: Item) -> futures::future::BoxFuture<'_, Result<String, EvidenceError>> {
        let mut items = self.0.lock().unwrap();
        items.push(item);
        let name = format!("kept-{}", items.len());
        Box::pin(async move { Ok(name) })
    }
}

/// What an action works in, over a stand-in that listens.
pub(crate) struct World {
    pub(crate) fake: Fake,
    pub(crate) clients: Clients,
    pub(crate) clock: ManualClock,
    pub(crate) kept: Kept,
    pub(crate) step: StepKey,
    pub(crate) known: Vec<ipnet::IpNet>,
    pub(crate) logs: Vec<LogSource>,
    pub(crate) window: (Option<Timestamp>, Option<Timestamp>),
    pub(crate) regions: Vec<Region>,
    pub(crate) hub: AccountId,
    pub(crate) copy_key: Option<String>,
    pub(crate) reach: Elsewhere,
    pub(crate) tags: TagsRead,
}

/// Other cells are answered by the same stand-in.
#[derive(Debug)]
pub(crate) struct Elsewhere(Clients);

impl Reach for Elsewhere {
    fn read<'a>(&'a self, cell: &'a CellId) -> futures::future::BoxFuture<'a, Result<Clients, ActionError>> {
        Box::pin(async move { Ok(self.0.in_region(&cell.region)) })
    }
}

pub(crate) const NOW: &str = "2026-11-24T12:00:00Z";

impl World {
    pub(crate) async fn new(answer: impl Fn(&str, &Value) -> (u16, Value) + Send + Sync + 'static) -> Self {
        let fake = Fake::new(answer);
        let clock = ManualClock::at(NOW.parse().unwrap());
        let settings = SessionSettings::new("222222222222".parse().unwrap(), "us-east-1".parse().unwrap());
        let limits = Limits::new(Rates::scaled(1000.0));
        let sessions =
            Sessions::at_endpoint(settings, limits, Arc::new(ManualClock::at(NOW.parse().unwrap())), &serve(fake.clone()).await).unwrap();
        let clients = sessions.hub(&"us-east-1".parse().unwrap());
        Self {
            fake,
            reach: Elsewhere(clients.clone()),
            tags: TagsRead::default(),
            clients,
            clock,
            kept: Kept::default(),
            step: StepKey::first("step"),
            known: vec![],
            logs: vec![],
            window: (None, None),
            regions: vec!["us-east-1".parse().unwrap(), "eu-west-1".parse().unwrap()],
            hub: "222222222222".parse().unwrap(),
            copy_key: None,
        }
    }

    pub(crate) fn cx(&self) -> Cx<'_> {
        Cx {
            cell: self.clients.cell(),
            read: &self.clients,
            clock: &self.clock,
            evidence: &self.kept,
            run: IncidentId::from_u128(1),
            step: &self.step,
            opt_out_key: "cordon:opt-out",
            protected: &[],
            known: &self.known,
            logs: &self.logs,
            window: self.window,
            regions: &self.regions,
            hub: &self.hub,
            copy_key: self.copy_key.as_deref(),
            reach: &self.reach,
            tags: &self.tags,
        }
    }

    /// A warrant, in the only way there is one: a decision of the gate over a journal in memory.
    pub(crate) async fn warrant(&self) -> Warrant {
        self.warrant_and_journal().await.0
    }

    /// The same, and the journal that it was decided over.
    pub(crate) async fn warrant_and_journal(&self) -> (Warrant, Journal) {
        let (warrant, journal, _) = self.decided().await;
        (warrant, journal)
    }

    /// A warrant under which the step's undo is only looked at.
    pub(crate) async fn preview(&self) -> Warrant {
        let (_, journal, view) = self.decided().await;
        gate::preview(&journal, &view, &self.step, self.clock.now())
    }

    async fn decided(&self) -> (Warrant, Journal, View) {
        let source = "name = \"toy\"\ntitle = \"Toy\"\nsubject = \"instance\"\n[[match]]\ntype = [\"Toy\"]\n[[steps]]\nid = \"step\"\naction = \"toy.toy\"\n";
        let store = Arc::new(MemStore::default());
        let lease = Lease::new(store.next_epoch());
        let journal = Journal::new(store);
        let (now, run, cell) = (self.clock.now(), IncidentId::from_u128(1), self.clients.cell().clone());
        let pace = Pace { epoch: lease.epoch(), since: now, attempt_timeout: SignedDuration::from_secs(10) };
        let subject = Subject { cell, kind: SubjectKind::Instance, id: "i-0abc".into(), arn: None };
        let version = Version { updated_at: Some(now), count: 1, severity: 20, role: None, remote_ips: vec![] };
        let finding = serde_json::json!({ "type": "Toy" });
        let note = FindingNote { id: FindingId("f".into()), version, input: "-".into(), finding, raw_sha256: String::new() };
        let entry = Entry::Opened {
            playbook: "toy".into(),
            source: source.into(),
            digest: Playbook::parse(source, "toy.toml").unwrap().digest,
            subject: subject.clone(),
            finding: Box::new(note.clone()),
            mode: Mode::Act,
            observe_only: None,
            detected_at: now,
        };
        let opening = ops::Opening { run, entry, keys: ops::keys("toy", &[subject]), sweep: None };
        let arrival = ops::Arrival { note, opening: Some(opening), ignored: None };
        let view = journal
            .with(move |tx| {
                ops::accept(tx, &arrival, now, pace)?;
                let mut view = ops::load(tx, run)?;
                ops::append(tx, &mut view, vec![Entry::Admitted { account: Value::Null }], now, pace)?;
                Ok(view)
            })
            .await
            .unwrap();
        let changes = vec![Change { resource: "r".into(), attribute: "a".into(), before: Value::Null, after: Value::Null }];
        let ask = Ask {
            step: self.step.clone(),
            action: "toy.toy",
            risk: Risk::Reversible,
            with: Value::Null,
            region: None,
            plan: Plan { changes, ..Plan::default() },
            mode: Mode::Act,
            ask: false,
            planned_at: now,
            facts: Facts { read_at: now, ..Facts::default() },
            policy: PolicyAnswer::allow("none"),
            caps: Caps { per_account_hour: 9, per_organization_hour: 9 },
            spending: Default::default(),
            question_lasts: SignedDuration::from_hours(1),
            stand_down: gate::stand_down_key(&view),
            uncounted: false,
            rehearsal: false,
        };
        match gate::commit(&journal, &lease, &view, ask, now, pace).await.unwrap() {
            (view, Decision::Go(warrant)) => (warrant, journal, view),
            (_, Decision::No(ruling)) => panic!("no warrant: {ruling:?}"),
        }
    }
}
