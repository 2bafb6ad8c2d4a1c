//! The real binary, run as a person or a service manager would run it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, OnceLock, PoisonError, mpsc},
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use crate::{
    Lab, LabError, Organization, Python, hand::Credentials, moto::Program, organization::Settings, python::target_folder, secrets::Watchman,
};

const ACCESS_KEY: &str = "AWS_ACCESS_KEY_ID";
const SECRET_KEY: &str = "AWS_SECRET_ACCESS_KEY";
const SESSION_TOKEN: &str = "AWS_SESSION_TOKEN";

/// How long a program may take to end after it was killed.
const END: Duration = Duration::from_secs(10);

/// The `cordon` of this workspace, built in this program's own profile and target folder. Built once in a process.
///
/// # Errors
/// When the build fails; the message holds the compiler's. The first failure is remembered.
pub fn cordon_binary() -> Result<&'static Path, LabError> {
    static BUILT: OnceLock<Result<PathBuf, LabError>> = OnceLock::new();
    BUILT.get_or_init(build).as_ref().map(PathBuf::as_path).map_err(LabError::clone)
}

fn build() -> Result<PathBuf, LabError> {
    let wrong = |why: String| LabError::new(format!("cordon cannot be built: {why}"));
    let program = env::current_exe().map_err(|error| wrong(error.to_string()))?;
    // Tests are in `deps`, below the profile's folder.
    let mut place = program.parent().unwrap_or_else(|| Path::new("."));
    if place.file_name().is_some_and(|name| name == "deps") {
        place = place.parent().unwrap_or(place);
    }
    let target = target_folder();
    let home = crate::home();
    let workspace = home.parent().unwrap_or_else(|| Path::new("."));
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--workspace", "--bins", "--target-dir"]).arg(&target).current_dir(workspace);
    match place.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => {}
        Some(profile) => drop(cargo.args(["--profile", profile])),
    }
    // A folder between target and profile is a target triple.
    if let Some(triple) = place.parent().filter(|above| *above != target).and_then(Path::file_name) {
        cargo.arg("--target").arg(triple);
    }
    // What cargo told this program about itself is not for another build: dependencies would be built again because of it.
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_"))) {
        cargo.env_remove(name);
    }
    let output = cargo.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_MANIFEST_PATH").stdin(Stdio::null()).output();
    let output = output.map_err(|error| wrong(format!("cargo does not run: {error}")))?;
    if !output.status.success() {
        return Err(wrong(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let binary = place.join(format!("cordon{}", env::consts::EXE_SUFFIX));
    if binary.is_file() { Ok(binary) } else { Err(wrong(format!("{} is not there", binary.display()))) }
}

/// What a command said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its exit code; nothing when a signal ended it.
    pub code: Option<i32>,
    /// Data.
    pub stdout: String,
    /// Everything else.
    pub stderr: String,
}

impl Output {
    /// The lines of standard output that are JSON.
    #[must_use]
    pub fn objects(&self) -> Vec<Value> {
        self.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

/// `cordon` with a configuration and an environment of its own.
#[derive(Debug, Clone)]
pub struct Cordon {
    /// The binary.
    pub program: PathBuf,
    /// The configuration file.
    pub config: PathBuf,
    /// What it is given besides a clean environment.
    pub environment: Vec<(String, String)>,
    python: Python,
    /// Looks for secrets in all that it left behind, when nobody needs it any more.
    _watch: Arc<Watchman>,
}

impl Cordon {
    /// Cordon as it runs in an organization's security account: the configuration is written into `folder`, calls go through the lab's gateway
    /// with the credentials of the hub's role.
    ///
    /// # Errors
    /// When the binary cannot be built, the file cannot be written, or moto gives no credentials.
    pub async fn new(lab: &Lab, organization: &Organization, folder: &Path, settings: &Settings) -> Result<Self, LabError> {
        let wrong = |error: std::io::Error| LabError::new(format!("{}: {error}", folder.display()));
        fs::create_dir_all(folder).map_err(wrong)?;
        let config = folder.join("cordon.toml");
        fs::write(&config, organization.config_toml(settings)).map_err(wrong)?;
        let program = tokio::task::spawn_blocking(cordon_binary).await.map_err(|error| LabError::new(error.to_string()))??.to_owned();
        let credentials = organization.hub_credentials().await?;
        let environment = environment(&lab.endpoint(), &organization.home, &credentials);
        let watch = Arc::new(Watchman(folder.to_owned()));
        Ok(Self { program, config, environment, python: lab.python.clone(), _watch: watch })
    }

    /// The same with another configuration text.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn configured(&self, text: &str) -> Result<Self, LabError> {
        let wrong = |error: std::io::Error| LabError::new(format!("{}: {error}", self.config.display()));
        fs::write(&self.config, text).map_err(wrong).map(|()| self.clone())
    }

    /// The same at the keyboard of somebody with these AWS credentials.
    #[must_use]
    pub fn as_person(mut self, credentials: &Credentials) -> Self {
        self.environment.retain(|(name, _)| name != SESSION_TOKEN);
        for (name, value) in [
            (ACCESS_KEY, Some(&credentials.access_key)),
            (SECRET_KEY, Some(&credentials.secret_key)),
            (SESSION_TOKEN, credentials.token.as_ref()),
        ] {
            if let Some(value) = value {
                self = self.with(name, value);
            }
        }
        self
    }

    /// The same with one more environment variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs a command to its end, with this on its standard input. It is killed when the future is dropped.
    ///
    /// # Errors
    /// When the program does not start. A command that fails is not an error.
    pub async fn run(&self, arguments: &[&str], input: &str) -> Result<Output, LabError> {
        let mut command = Command::new(&self.program);
        command.args(arguments);
        self.prepare(&mut command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut command = tokio::process::Command::from(command);
        let wrong = |error: std::io::Error| LabError::new(format!("{} does not run: {error}", self.program.display()));
        let mut child = command.kill_on_drop(true).spawn().map_err(wrong)?;
        let stdin = child.stdin.take();
        let write = async {
            if let Some(mut stdin) = stdin {
                // It need not want to read all of it.
                stdin.write_all(input.as_bytes()).await.ok();
            }
        };
        let (output, ()) = tokio::join!(child.wait_with_output(), write);
        let output = output.map_err(wrong)?;
        if crate::secrets::count_in(&output.stdout) + crate::secrets::count_in(&output.stderr) > 0 {
            return Err(LabError::new(format!("`cordon {}` said a secret access key or session token", arguments.join(" "))));
        }
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Output { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) })
    }

    /// Runs a command to its end on this process's own standard output and error.
    ///
    /// # Errors
    /// When the program does not start, or fails.
    pub async fn show(&self, arguments: &[&str]) -> Result<(), LabError> {
        let mut command = Command::new(&self.program);
        command.args(arguments).stdin(Stdio::null());
        self.prepare(&mut command);
        let status = tokio::process::Command::from(command).kill_on_drop(true).status().await;
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(LabError::new(format!("cordon {} failed: {status}", arguments.join(" ")))),
            Err(error) => Err(LabError::new(format!("{} does not run: {error}", self.program.display()))),
        }
    }

    /// Starts a command that goes on by itself, `serve` for example. It ends when the guard is dropped, and when this process ends in any
    /// other way.
    ///
    /// # Errors
    /// When the program does not start.
    pub fn spawn(&self, arguments: &[&str]) -> Result<Running, LabError> {
        let mut command = self.python.program("guard.py");
        command.arg(&self.program).args(arguments);
        self.prepare(&mut command);
        let (program, lines) = Program::start(command)?;
        let mut before = Vec::new();
        while let Ok(line) = lines.recv_timeout(END) {
            match serde_json::from_str::<Value>(&line).ok().as_ref().and_then(|said| said.get("pid")).and_then(Value::as_u64) {
                Some(pid) => return Ok(Running { program, pid, before, lines: Mutex::new(lines) }),
                None => before.push(line),
            }
        }
        Err(LabError::new(format!("{} does not run: {}", self.program.display(), program.log())))
    }

    /// An environment without the settings of whoever runs the lab.
    fn prepare(&self, command: &mut Command) {
        for (name, _) in env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("AWS_") || name.starts_with("CORDON_")) {
                command.env_remove(&name);
            }
        }
        command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
        command.env("NO_PROXY", "127.0.0.1,localhost").env("no_proxy", "127.0.0.1,localhost");
        command.env("CORDON_CONFIG", &self.config).envs(self.environment.iter().map(|(name, value)| (name, value)));
    }
}

fn environment(endpoint: &str, region: &str, credentials: &Credentials) -> Vec<(String, String)> {
    let mut environment = vec![
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_REGION", region),
        (ACCESS_KEY, &credentials.access_key),
        (SECRET_KEY, &credentials.secret_key),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    environment.extend(credentials.token.as_deref().map(|token| (SESSION_TOKEN, token)));
    environment.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// A command that goes on. Killed by its process id and waited for on drop.
#[derive(Debug)]
pub struct Running {
    program: Program,
    pid: u64,
    before: Vec<String>,
    lines: Mutex<mpsc::Receiver<String>>,
}

impl Running {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u64 {
        self.pid
    }

    /// The end of what it wrote to its standard error.
    #[must_use]
    pub fn log(&self) -> String {
        self.program.log()
    }

    /// The lines that it has written to its standard output since they were last taken.
    pub fn lines(&mut self) -> Vec<String> {
        let mut lines = std::mem::take(&mut self.before);
        lines.extend(self.lines.lock().unwrap_or_else(PoisonError::into_inner).try_iter());
        lines
    }

    /// Whether it goes on.
    #[must_use]
    pub fn is_running(&mut self) -> bool {
        self.program.ended().is_none()
    }

    /// Asks it to end, as Ctrl-C does.
    pub fn interrupt(&self) {
        self.program.write_line("interrupt").ok();
    }

    /// Asks it to end, as a service manager does.
    pub fn terminate(&self) {
        self.program.write_line("terminate").ok();
    }

    /// Kills it: it has no chance to do anything more.
    pub fn kill(&self) {
        self.program.write_line("kill").ok();
    }

    /// Waits for its end. Gives its exit code, 128 and more after a signal; nothing when it goes on.
    pub async fn wait(&mut self, patience: Duration) -> Option<i32> {
        let until = Instant::now() + patience;
        loop {
            if let Some(status) = self.program.ended() {
                return status.code();
            }
            if Instant::now() >= until {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Running {
    #[expect(clippy::panic, reason = "a test fails by it, and nothing but tests and the demo runs Cordon")]
    fn drop(&mut self) {
        self.kill();
        let until = Instant::now() + END;
        while self.program.ended().is_none() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        if crate::secrets::count_in(self.program.log().as_bytes()) > 0 && !std::thread::panicking() {
            panic!("a secret access key or session token is in the log of the service");
        }
    }
}
