//! What listens. Both doors, that for Slack and the HTTP API, are open to strangers: a request has to come in time, connections are as many
//! as one process has files for, none of them is kept where another one needs its place, and none keeps the service from ending.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{ConnectInfo, Request, State, connect_info::Connected},
    http::{
        HeaderValue, StatusCode,
        header::{CONNECTION, CONTENT_TYPE},
    },
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
    serve::{IncomingStream, Listener},
};
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep, timeout},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// What a listener bears.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// How long a request may take to come: its headers, and again its body.
    read: Duration,
    /// How long a connection may say nothing between two requests.
    idle: Duration,
    /// How long requests may go on once the service ends.
    grace: Duration,
    /// The most connections at the same time; others wait. While there are so many, each is closed after its next answer.
    connections: usize,
}

/// What stands before a listener keeps idle connections for 60 s as a rule: closed later than that, none is closed while a request is on its way.
const BOUNDS: Bounds =
    Bounds { read: Duration::from_secs(10), idle: Duration::from_secs(75), grace: Duration::from_secs(5), connections: 128 };

/// What is said to whoever still waits for an answer at the end.
const ENDS: &str = "the service ends; what was asked for may stand all the same: look with `cordon incident show RUN`";

/// Serves at one door until `stop`, and for a few seconds after it. `most`: the longest body that is read, in bytes.
pub(crate) async fn serve(door: &'static str, listener: TcpListener, router: Router, most: usize, stop: CancellationToken) {
    within(BOUNDS, door, listener, router, most, stop).await;
}

async fn within(bounds: Bounds, door: &'static str, listener: TcpListener, router: Router, most: usize, stop: CancellationToken) {
    let cut = CancellationToken::new();
    let places = Arc::new(Semaphore::new(bounds.connections));
    let reader = Reader { within: bounds.read, most, places: Arc::clone(&places), cut: cut.clone() };
    let listener = Bounded { listener, places, bounds, cut: cut.clone() };
    let service = router.layer(from_fn_with_state(reader, whole)).into_make_service_with_connect_info::<Peer>();
    let ending = stop.clone();
    let serving = axum::serve(listener, service).with_graceful_shutdown(async move { ending.cancelled().await });
    let late = async {
        stop.cancelled().await;
        sleep(bounds.grace).await;
    };
    tokio::select! {
        ended = serving.into_future() => if let Err(error) = ended {
            tracing::error!(door, %error, "a listener ended");
        },
        () = late => tracing::warn!(door, "connections are cut that were not over {} s after the end began", bounds.grace.as_secs()),
    }
    // Connections are tasks of their own.
    cut.cancel();
}

/// How requests are read.
#[derive(Debug, Clone)]
struct Reader {
    within: Duration,
    most: usize,
    places: Arc<Semaphore>,
    cut: CancellationToken,
}

/// Reads a request's body, in time, before anything is done with it. Whoever goes on asking keeps no place that another one may wait for.
async fn whole(State(reader): State<Reader>, ConnectInfo(peer): ConnectInfo<Peer>, request: Request, next: Next) -> Response {
    let _answering = peer.pace.answer();
    let (parts, body) = request.into_parts();
    let body = match timeout(reader.within, to_bytes(body, reader.most)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return no(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long, or broke off"),
        Err(_) => return no(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"),
    };
    let mut answer = tokio::select! {
        answer = next.run(Request::from_parts(parts, Body::from(body))) => answer,
        () = reader.cut.cancelled() => no(StatusCode::SERVICE_UNAVAILABLE, ENDS),
    };
    if reader.places.available_permits() == 0 {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// An answer after which the connection is closed: what is left of the request is not read.
fn no(status: StatusCode, why: &str) -> Response {
    (status, [(CONNECTION, "close"), (CONTENT_TYPE, "application/json")], json!({ "error": why }).to_string()).into_response()
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// The address: that of what stands before the listener.
    pub(crate) address: SocketAddr,
    pace: Arc<Pace>,
}

impl Connected<IncomingStream<'_, Bounded>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Bounded>) -> Self {
        Self { address: *stream.remote_addr(), pace: Arc::clone(&stream.io().pace) }
    }
}

/// What a connection is waited for, and until when.
#[derive(Debug)]
struct Pace {
    idle: Duration,
    read: Duration,
    now: Mutex<Now>,
}

#[derive(Debug)]
struct Now {
    /// How many requests are being answered: meanwhile nothing is waited for.
    answering: usize,
    /// Whether nothing of the next request has come yet.
    idle: bool,
    until: Instant,
}

impl Pace {
    /// Of a new connection, which has its first request to say.
    fn new(bounds: Bounds) -> Self {
        let now = Now { answering: 0, idle: false, until: Instant::now() + bounds.read };
        Self { idle: bounds.idle, read: bounds.read, now: Mutex::new(now) }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn until(&self) -> Option<Instant> {
        let now = self.now();
        (now.answering == 0).then_some(now.until)
    }

    /// Something came: the rest of the headers has to come in time.
    fn heard(&self) {
        let mut now = self.now();
        if now.answering == 0 && now.idle {
            (now.idle, now.until) = (false, Instant::now() + self.read);
        }
    }

    /// A request is being answered for as long as this is held.
    fn answer(self: &Arc<Self>) -> Answering {
        self.now().answering += 1;
        Answering(Arc::clone(self))
    }
}

struct Answering(Arc<Pace>);

impl Drop for Answering {
    fn drop(&mut self) {
        let mut now = self.0.now();
        now.answering = now.answering.saturating_sub(1);
        (now.idle, now.until) = (true, Instant::now() + self.0.idle);
    }
}

/// A listener with so many places.
struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
    bounds: Bounds,
    cut: CancellationToken,
}

impl Listener for Bounded {
    type Io = Line;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Line, SocketAddr) {
        // In this order no place is taken while nobody comes.
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { return std::future::pending().await };
        let pace = Arc::new(Pace::new(self.bounds));
        let cut = Box::pin(self.cut.clone().cancelled_owned());
        (Line { stream, pace, timer: Box::pin(sleep(self.bounds.read)), cut, _place: place }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that fails when nothing comes, or goes, in time.
struct Line {
    stream: TcpStream,
    pace: Arc<Pace>,
    timer: Pin<Box<Sleep>>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    _place: OwnedSemaphorePermit,
}

impl Line {
    /// Ready once nothing more is waited for.
    fn over<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let Some(until) = self.pace.until() else { return Poll::Pending };
        if self.timer.deadline() != until {
            self.timer.as_mut().reset(until);
        }
        ready!(self.timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Line {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buffer) {
            Poll::Ready(read) => {
                if buffer.filled().len() > before {
                    this.pace.heard();
                }
                Poll::Ready(read)
            }
            Poll::Pending => this.over(cx),
        }
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_write(cx, bytes) {
            Poll::Pending => this.over(cx),
            written => written,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::Bytes, routing::post};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        task::JoinHandle,
    };

    use super::*;

    const LONG: Duration = Duration::from_secs(20);
    const HEAD: &str = "POST /echo HTTP/1.1\r\nhost: here\r\ncontent-length: 9\r\n\r\n";

    fn small() -> Bounds {
        Bounds { read: Duration::from_millis(400), idle: Duration::from_millis(900), grace: Duration::from_millis(500), connections: 2 }
    }

    /// A door that gives back what it is told, and one call that never ends.
    async fn open(bounds: Bounds) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let router = Router::new()
            .route(
                "/echo",
                post(async |ConnectInfo(peer): ConnectInfo<Peer>, body: Bytes| {
                    assert!(peer.address.ip().is_loopback());
                    body
                }),
            )
            .route("/never", post(async || std::future::pending::<StatusCode>().await));
        let serving = tokio::spawn(within(bounds, "test", listener, router, 100, stop.clone()));
        (address, stop, serving)
    }

    async fn say(stream: &mut TcpStream, text: &str) {
        stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// All that comes until the connection is closed, and how long that took.
    async fn rest(stream: &mut TcpStream) -> (String, Duration) {
        let (begun, mut text) = (Instant::now(), Vec::new());
        // A connection that is cut may be reset.
        timeout(LONG, stream.read_to_end(&mut text)).await.unwrap().ok();
        (String::from_utf8(text).unwrap(), begun.elapsed())
    }

    #[tokio::test]
    async fn a_request_that_does_not_come_in_time_is_answered_or_closed_and_an_idle_connection_is_closed() {
        let (address, ..) = open(small()).await;
        let begin = async || TcpStream::connect(address).await.unwrap();
        let mut silent = begin().await;
        assert_eq!(rest(&mut silent).await.0, "", "nothing at all");
        let mut headers = begin().await;
        say(&mut headers, "POST /echo HTTP/1.1\r\nhost: ").await;
        let slowly = async {
            for _ in 0..20 {
                sleep(Duration::from_millis(100)).await;
                headers.write_all(b"a").await?;
            }
            Ok::<_, io::Error>(())
        };
        assert!(slowly.await.is_err(), "letter by letter it is cut too");
        let mut body = begin().await;
        say(&mut body, &format!("{HEAD}four")).await;
        let (answer, took) = rest(&mut body).await;
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("connection: close"), "{answer}");
        assert!(took >= small().read, "{took:?}");

        let mut good = begin().await;
        say(&mut good, &format!("{HEAD}nine char{HEAD}nine more")).await;
        let (answer, took) = rest(&mut good).await;
        assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 2, "{answer}");
        assert!(answer.contains("nine char") && answer.ends_with("nine more"), "{answer}");
        assert!(took >= small().idle, "it was kept for the next request: {took:?}");
        let mut long = begin().await;
        say(&mut long, &HEAD.replace('9', "101")).await;
        say(&mut long, &"x".repeat(101)).await;
        assert!(rest(&mut long).await.0.starts_with("HTTP/1.1 413 "));
    }

    #[tokio::test]
    async fn strangers_take_no_more_than_the_places_there_are_and_others_come_in_after_them() {
        let (address, ..) = open(small()).await;
        let (begun, mut crowd) = (Instant::now(), Vec::new());
        for _ in 0..20 {
            crowd.push(TcpStream::connect(address).await.unwrap());
        }
        let mut last = TcpStream::connect(address).await.unwrap();
        say(&mut last, &format!("{HEAD}nine char")).await;
        // Two at a time, each for as long as a request may take to come.
        let (answer, _) = rest(&mut last).await;
        assert!(answer.ends_with("nine char"), "{answer}");
        assert!(begun.elapsed() >= small().read * 9, "{:?}", begun.elapsed());
    }

    /// Asks, and gives back what comes up to the end of the echo; shorter where the connection is closed.
    async fn ask(stream: &mut TcpStream) -> String {
        let (mut text, mut part) = (String::new(), [0; 1_000]);
        stream.write_all(format!("{HEAD}nine char").as_bytes()).await.ok();
        while !text.ends_with("nine char") {
            match stream.read(&mut part).await {
                Ok(many) if many > 0 => text.push_str(std::str::from_utf8(&part[..many]).unwrap()),
                _ => return text,
            }
        }
        text
    }

    #[tokio::test]
    async fn strangers_who_go_on_asking_keep_no_place_that_another_one_waits_for() {
        let (address, ..) = open(Bounds { read: LONG, idle: LONG, ..small() }).await;
        let mut alone = TcpStream::connect(address).await.unwrap();
        for _ in 0..5 {
            let answer = ask(&mut alone).await;
            assert!(answer.starts_with("HTTP/1.1 200 ") && !answer.contains("connection: close"), "there is a free place: {answer}");
        }
        let crowd: Vec<JoinHandle<()>> = (0..6)
            .map(|_| {
                tokio::spawn(async move {
                    let mut stream = TcpStream::connect(address).await.unwrap();
                    while !ask(&mut stream).await.is_empty() {
                        sleep(Duration::from_millis(10)).await;
                    }
                })
            })
            .collect();
        for stranger in crowd {
            timeout(LONG / 2, stranger).await.unwrap().unwrap();
        }
        let mut last = TcpStream::connect(address).await.unwrap();
        let answer = timeout(LONG / 2, ask(&mut last)).await.unwrap();
        assert!(answer.contains("connection: close") && answer.ends_with("nine char"), "{answer}");
        assert!(ask(&mut alone).await.starts_with("HTTP/1.1 200 "), "it is kept while it says nothing");
    }

    #[tokio::test]
    async fn a_stalled_request_and_one_that_is_never_answered_keep_no_listener_from_ending() {
        let bounds = Bounds { read: LONG, idle: LONG, connections: 9, ..small() };
        let (address, stop, serving) = open(bounds).await;
        let mut stalled = Vec::new();
        for text in ["", "POST /echo HTTP/1.1\r\n", HEAD, &format!("{HEAD}nine char"), &HEAD.replace("echo", "never")] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            say(&mut stream, text).await;
            stalled.push(stream);
        }
        say(&mut stalled[4], "nine char").await;
        sleep(Duration::from_millis(100)).await;
        stop.cancel();
        let begun = Instant::now();
        timeout(LONG / 2, serving).await.unwrap().unwrap();
        assert!(begun.elapsed() >= bounds.grace, "{:?}", begun.elapsed());
        for mut stream in stalled {
            assert!(rest(&mut stream).await.1 < LONG / 2, "each connection is closed");
        }
        assert!(TcpStream::connect(address).await.is_err());
    }
}
