//! The stand-in for AWS: a moto server on a free loopback port.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStdin, Stdio},
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::{Value, json};

use crate::{LabError, Python};

const START: Duration = Duration::from_secs(90);
/// How much of what the server writes to its standard error is kept.
const LOG: usize = 64 * 1024;

/// How moto is to run.
#[derive(Debug, Clone, Default)]
pub struct MotoOptions {
    /// Without the lab's extension.
    pub plain: bool,
    /// More environment variables, `MOTO_…` for example.
    pub environment: Vec<(String, String)>,
}

/// A running moto server. It ends when this is dropped, and when this process ends in any other way.
#[derive(Debug)]
pub struct Moto {
    process: Program,
    port: u16,
}

impl Moto {
    /// Starts a server and waits until it listens.
    ///
    /// # Errors
    /// When it does not say its port within 90 seconds; the message holds the end of its log.
    pub fn start(python: &Python, options: &MotoOptions) -> Result<Self, LabError> {
        let mut command = python.program("lab_moto.py");
        if options.plain {
            command.arg("--plain");
        }
        command.env("MOTO_EC2_LOAD_DEFAULT_AMIS", "false").envs(options.environment.iter().map(|(name, value)| (name, value)));
        let (process, lines) = Program::start(command)?;
        let said = lines.recv_timeout(START).ok().and_then(|line| serde_json::from_str::<Value>(&line).ok());
        let port = said.as_ref().and_then(|said| said.get("port")).and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
        match port {
            Some(port) => Ok(Self { process, port }),
            None => Err(LabError::new(format!("moto did not start:\n{}", process.log()))),
        }
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The server's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// The end of what it wrote to its standard error.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Puts items of a kind that no AWS API accepts into the extension's store.
    ///
    /// # Errors
    /// When the extension is not there or refuses the items.
    pub async fn seed(&self, account: &str, region: &str, kind: &str, items: Vec<Value>) -> Result<(), LabError> {
        let body = json!({"account": account, "region": region, "kind": kind, "items": items}).to_string();
        let request = Request::post(format!("{}/cordon-lab/seed", self.endpoint())).header("content-type", "application/json");
        let request = request.body(Full::new(Bytes::from(body))).map_err(|error| LabError::new(error.to_string()))?;
        let client = Client::builder(TokioExecutor::new()).build_http();
        let answer = client.request(request).await.map_err(|error| LabError::new(format!("moto does not answer: {error}")))?;
        let status = answer.status();
        let text = answer.into_body().collect().await.map_err(|error| LabError::new(error.to_string()))?.to_bytes();
        if status.is_success() {
            Ok(())
        } else {
            Err(LabError::new(format!("seeding {kind} failed ({status}): {}", String::from_utf8_lossy(&text))))
        }
    }
}

/// A Python program that ends with its standard input: killed and waited for on drop.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    input: Mutex<Option<ChildStdin>>,
    log: Arc<Mutex<Vec<u8>>>,
}

impl Program {
    /// Starts it, and gives the lines that it writes to its standard output.
    pub(crate) fn start(mut command: std::process::Command) -> Result<(Self, mpsc::Receiver<String>), LabError> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| LabError::new(format!("cannot start {command:?}: {error}")))?;
        let input = Mutex::new(child.stdin.take());
        let log = Arc::new(Mutex::new(Vec::new()));
        let (sender, lines) = mpsc::channel();
        if let Some(output) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        if let Some(mut errors) = child.stderr.take() {
            let log = Arc::clone(&log);
            std::thread::spawn(move || {
                let mut buffer = [0_u8; 4096];
                while let Ok(count @ 1..) = errors.read(&mut buffer) {
                    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                    log.extend_from_slice(buffer.get(..count).unwrap_or_default());
                    let excess = log.len().saturating_sub(LOG);
                    log.drain(..excess);
                }
            });
        }
        Ok((Self { child, input, log }, lines))
    }

    /// Writes one line to its standard input.
    pub(crate) fn write_line(&self, line: &str) -> std::io::Result<()> {
        use std::io::Write;
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        let input = input.as_mut().ok_or(std::io::ErrorKind::BrokenPipe)?;
        input.write_all(line.as_bytes())?;
        input.write_all(b"\n")?;
        input.flush()
    }

    /// How it ended; nothing while it runs.
    pub(crate) fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// The end of what it wrote to its standard error.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&self.log.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        *self.input.lock().unwrap_or_else(PoisonError::into_inner) = None;
        // It may have ended by itself already; then both do nothing.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
