use std::{
    net::SocketAddr,
    sync::Mutex,
    time::{Duration, Instant},
};

use cordon_shared::{
    clock::SystemClock,
    engine::Person,
    freeze::{self, Freeze, Level, Scope},
    journal::Journal,
    plan::{Effect, StepKey},
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{
    action::{ActionError, classify},
    aws::fake::World,
    limits::{Rate, Rates},
    session::{SessionSettings, Sessions},
};

/// One request as the stand-in got it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
    /// A field of a form, percent-decoded.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let value = self.body.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name)?.1;
        let (mut text, mut bytes) = (Vec::new(), value.bytes());
        while let Some(byte) = bytes.next() {
            match byte {
                b'+' => text.push(b' '),
                b'%' => {
                    let hex = [bytes.next()?, bytes.next()?];
                    text.push(u8::from_str_radix(std::str::from_utf8(&hex).ok()?, 16).ok()?);
                }
                other => text.push(other),
            }
        }
        String::from_utf8(text).ok()
    }
    /// The Region it is signed for.
    pub(crate) fn region(&self) -> String {
        self.header("authorization").split('/').nth(2).unwrap_or_default().to_owned()
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Now(u16, String),
    Never,
}

/// Stands in for AWS on a loopback port.
#[derive(Clone)]
pub(crate) struct Stand {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Stand {
    pub(crate) async fn new(answer: impl Fn(usize, &Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stand = Self { address: listener.local_addr().unwrap(), asked: Arc::default() };
        let (answer, asked) = (Arc::new(answer), Arc::clone(&stand.asked));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, asked) = (Arc::clone(&answer), Arc::clone(&asked));
                tokio::spawn(async move { serve(stream, &*answer, &asked).await });
            }
        });
        stand
    }
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn serve(stream: TcpStream, answer: &(dyn Fn(usize, &Asked) -> Reply + Send + Sync), asked: &Mutex<Vec<Asked>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut request = Asked::default();
        if stream.read_line(&mut request.line).await.ok()? == 0 {
            return None;
        }
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.ok()?;
            let Some((name, value)) = line.trim().split_once(':') else { break };
            request.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut body = vec![0; request.header("content-length").parse().unwrap_or(0)];
        stream.read_exact(&mut body).await.ok()?;
        request.body = String::from_utf8_lossy(&body).into_owned();
        let number = {
            let mut asked = asked.lock().unwrap();
            asked.push(request.clone());
            asked.len() - 1
        };
        let Reply::Now(status, body) = answer(number, &request) else { return std::future::pending().await };
        let head = format!("HTTP/1.1 {status} X\r\ncontent-type: text/xml\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).await.ok()?;
    }
}

pub(crate) fn ec2_error(status: u16, code: &str) -> Reply {
    Reply::Now(status, format!("<Response><Errors><Error><Code>{code}</Code><Message>said so</Message></Error></Errors></Response>"))
}

fn fine() -> Reply {
    Reply::Now(200, "<StopInstancesResponse/>".to_owned())
}

fn sessions(stand: &Stand, limits: Limits) -> Sessions {
    let mut settings = SessionSettings::new("222222222222".parse().unwrap(), "us-east-1".parse().unwrap());
    settings.attempt_timeout = Duration::from_millis(300);
    Sessions::at_endpoint(settings, limits, Arc::new(SystemClock), &stand.endpoint()).unwrap()
}

/// A write session of the hub, and what stops it: good for 15 minutes from [`crate::aws::fake::NOW`].
async fn writing(stand: &Stand, limits: Limits) -> (crate::session::Clients, cordon_shared::gate::Warrant) {
    let (clients, warrant, _) = writing_over(stand, limits).await;
    (clients, warrant)
}

/// The same, and the journal that freezes are written to.
async fn writing_over(stand: &Stand, limits: Limits) -> (crate::session::Clients, cordon_shared::gate::Warrant, Journal) {
    let mut settings = SessionSettings::new("222222222222".parse().unwrap(), "us-east-1".parse().unwrap());
    settings.attempt_timeout = Duration::from_millis(300);
    let clock = Arc::new(cordon_shared::clock::ManualClock::at(crate::aws::fake::NOW.parse().unwrap()));
    let sessions = Sessions::at_endpoint(settings, limits, clock, &stand.endpoint()).unwrap();
    let (warrant, journal) = World::new(|_, _| (200, Value::Null)).await.warrant_and_journal().await;
    let region = "us-east-1".parse().unwrap();
    let clients = sessions.write_hub(&region, warrant.run(), &StepKey::first("step"), String::new(), &warrant).await.unwrap();
    (clients, warrant, journal)
}

async fn stop(clients: &crate::session::Clients) -> Result<(), ActionError> {
    let answer = clients.ec2().stop_instances().instance_ids("i-0abc").send().await;
    answer.map(drop).map_err(|error| classify("ec2:StopInstances", error))
}

#[tokio::test]
async fn a_call_without_a_token_is_not_sent_and_not_tried_again() {
    let stand = Stand::new(|_, _| Reply::Now(200, "<DescribeRegionsResponse/>".into())).await;
    let limits = Limits::new(Rates::default().with(Class::Ec2Read, Rate::new(0.001, 1)));
    let clients = sessions(&stand, limits).hub(&"us-east-1".parse().unwrap());
    clients.ec2().describe_regions().send().await.unwrap();
    let start = Instant::now();
    let error = clients.ec2().describe_regions().send().await.unwrap_err();
    let waited = start.elapsed();
    assert!(waited >= PATIENCE && waited < PATIENCE * 2, "one wait of two seconds, not one for each attempt: {waited:?}");
    let error = classify("ec2:DescribeRegions", error);
    assert!(matches!(error, ActionError::NotSent(_)), "{error}");
    assert!(error.may_pass() && error.effect() == Effect::None);
    assert_eq!(stand.asked().len(), 1);
}

#[tokio::test]
async fn a_write_session_ends_with_its_warrant() {
    let stand = Stand::new(|_, _| fine()).await;
    let (clients, warrant) = writing(&stand, Limits::new(Rates::scaled(1000.0))).await;
    stop(&clients).await.unwrap();
    drop(warrant);
    let error = stop(&clients).await.unwrap_err();
    assert!(matches!(error, ActionError::Stopped(_)), "{error}");
    assert_eq!(stand.asked().len(), 1);
}

#[tokio::test]
async fn a_warrant_that_ends_while_a_call_waits_stops_it_and_its_token_goes_back() {
    let stand = Stand::new(|_, _| fine()).await;
    let limits = Limits::new(Rates::default().with(Class::Ec2Write, Rate::new(0.001, 1)));
    let (clients, warrant) = writing(&stand, limits.clone()).await;
    let cell = clients.cell().clone();
    let charge = Charge { payer: cell.account.clone(), region: cell.region.clone(), class: Class::Ec2Write, asking: cell };
    let token = limits.take(&charge, Duration::ZERO).await.unwrap();
    let call = tokio::spawn(async move { stop(&clients).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(warrant);
    drop(token);
    assert!(matches!(call.await.unwrap(), Err(ActionError::Stopped(_))));
    assert!(limits.take(&charge, Duration::ZERO).await.is_some());
    assert!(stand.asked().is_empty());
}

fn line(level: Level) -> Freeze {
    let (at, by) = (crate::aws::fake::NOW.parse().unwrap(), Person("ann".into()));
    Freeze { number: 0, at, by, why: "a drill".into(), scope: Scope::Organization, level, hard: false, alarm: None }
}

#[tokio::test]
async fn a_freeze_that_comes_while_a_call_waits_stops_it_and_its_token_goes_back() {
    let stand = Stand::new(|_, _| fine()).await;
    let limits = Limits::new(Rates::default().with(Class::Ec2Write, Rate::new(0.001, 1)));
    let (clients, _warrant, journal) = writing_over(&stand, limits.clone()).await;
    let cell = clients.cell().clone();
    let charge = Charge { payer: cell.account.clone(), region: cell.region.clone(), class: Class::Ec2Write, asking: cell };
    let token = limits.take(&charge, Duration::ZERO).await.unwrap();
    let called = clients.clone();
    let call = tokio::spawn(async move { stop(&called).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    journal.with(|tx| freeze::freeze(tx, &line(Level::Full))).await.unwrap();
    drop(token);
    let error = call.await.unwrap().unwrap_err();
    assert!(matches!(&error, ActionError::Stopped(why) if why.contains("a drill")), "{error}");
    assert_eq!((error.effect(), stand.asked().len()), (Effect::None, 0));
    // The token went back, and the warrant lives.
    journal.with(|tx| freeze::thaw(tx, &line(Level::Off))).await.unwrap();
    stop(&clients).await.unwrap();
    assert_eq!(stand.asked().len(), 1);
}

#[tokio::test]
async fn a_write_without_an_answer_is_not_repeated_and_may_have_happened() {
    for reply in [Reply::Never, ec2_error(500, "InternalError"), ec2_error(503, "Unavailable")] {
        let stand = Stand::new(move |_, _| reply.clone()).await;
        let (clients, _warrant) = writing(&stand, Limits::new(Rates::scaled(1000.0))).await;
        let error = stop(&clients).await.unwrap_err();
        assert_eq!(error.effect(), Effect::Unknown, "{error}");
        assert!(error.to_string().contains("may have happened"), "{error}");
        assert_eq!(stand.asked().len(), 1, "{error}");
    }
}

#[tokio::test]
async fn a_read_without_an_answer_is_repeated() {
    for reply in [Reply::Never, ec2_error(500, "InternalError")] {
        let stand = Stand::new(move |n, _| if n == 0 { reply.clone() } else { Reply::Now(200, "<DescribeRegionsResponse/>".into()) }).await;
        let clients = sessions(&stand, Limits::new(Rates::scaled(1000.0))).hub(&"us-east-1".parse().unwrap());
        clients.ec2().describe_regions().send().await.unwrap();
        assert_eq!(stand.asked().len(), 2);
    }
}

#[tokio::test]
async fn an_answer_whose_body_does_not_come_is_timed_out_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stand = Stand { address: listener.local_addr().unwrap(), asked: Arc::default() };
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 8_192]).await.unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\n<StopInst").await.unwrap();
        std::future::pending::<()>().await;
    });
    let (clients, _warrant) = writing(&stand, Limits::new(Rates::scaled(1000.0))).await;
    let error = stop(&clients).await.unwrap_err();
    assert!(error.to_string().contains("no answer within 300 ms"), "{error}");
}

#[tokio::test]
async fn a_throttled_write_is_repeated_and_lowers_its_bucket_only() {
    let stand = Stand::new(|n, _| if n == 0 { ec2_error(503, "RequestLimitExceeded") } else { fine() }).await;
    let limits = Limits::new(Rates::scaled(1000.0));
    let (clients, _warrant) = writing(&stand, limits.clone()).await;
    stop(&clients).await.unwrap();
    assert_eq!(stand.asked().len(), 2);
    let cell = clients.cell().clone();
    let mut charge = Charge { payer: cell.account.clone(), region: cell.region.clone(), class: Class::Ec2Write, asking: cell };
    assert!(limits.pace(&charge) < 1.0);
    charge.class = Class::Ec2Read;
    assert!((limits.pace(&charge) - 1.0).abs() < 1e-9);
}

#[tokio::test]
async fn each_cell_has_a_retry_quota_of_its_own() {
    let stand = Stand::new(|_, _| fine()).await;
    let sessions = sessions(&stand, Limits::default());
    let (one, other) = (sessions.hub(&"eu-west-1".parse().unwrap()).ec2(), sessions.hub(&"us-east-1".parse().unwrap()).ec2());
    // A partition made with `RetryPartition::custom` owns its quota; those of one name would not even share it.
    assert_eq!(one.config().retry_partition().map(ToString::to_string).as_deref(), Some("222222222222/eu-west-1/ec2"));
    assert_ne!(one.config().retry_partition(), other.config().retry_partition());
    let again = sessions.hub(&"eu-west-1".parse().unwrap()).ec2();
    assert_eq!(one.config().retry_partition(), again.config().retry_partition());
}

#[test]
fn codes_are_read_in_every_protocol() {
    let answer = |status: u16, header: Option<&'static str>, body: &str| {
        let mut response = HttpResponse::new(aws_smithy_runtime_api::http::StatusCode::try_from(status).unwrap(), SdkBody::from(body));
        if let Some(header) = header {
            response.headers_mut().insert("x-amzn-errortype", header);
        }
        response
    };
    let xml = "<Response><Errors><Error><Code>RequestLimitExceeded</Code></Error></Errors></Response>";
    for (status, header, body, code) in [
        (503, None, xml, Some("RequestLimitExceeded")),
        (400, None, r#"{"__type":"com.amazonaws.logs#ThrottlingException","message":"x"}"#, Some("ThrottlingException")),
        (400, None, r#"{ "code" : "TooManyRequestsException" }"#, Some("TooManyRequestsException")),
        (429, Some("TooManyRequestsException:http://internal.amazon.com/coral"), "", Some("TooManyRequestsException")),
        (200, None, xml, None),
        (500, None, "<Code>half", None),
        (500, None, "", None),
    ] {
        assert_eq!(code_of(&answer(status, header, body)), code, "{body}");
    }
}
