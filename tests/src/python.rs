//! The virtual environment of the lab's Python programs, in cargo's target folder.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use sha2::{Digest, Sha256};

use crate::LabError;

const REQUIREMENTS: &str = include_str!("../python/requirements.txt");
const SCRIPTS: &[(&str, &str)] = &[
    ("lab_moto.py", include_str!("../python/lab_moto.py")),
    ("hand.py", include_str!("../python/hand.py")),
    ("guard.py", include_str!("../python/guard.py")),
    ("extension/__init__.py", include_str!("../python/extension/__init__.py")),
    ("extension/ec2.py", include_str!("../python/extension/ec2.py")),
    ("extension/events.py", include_str!("../python/extension/events.py")),
    ("extension/guardduty.py", include_str!("../python/extension/guardduty.py")),
    ("extension/iam.py", include_str!("../python/extension/iam.py")),
    ("extension/logs.py", include_str!("../python/extension/logs.py")),
    ("extension/organizations.py", include_str!("../python/extension/organizations.py")),
    ("extension/securityhub.py", include_str!("../python/extension/securityhub.py")),
    ("extension/snapshots.py", include_str!("../python/extension/snapshots.py")),
    ("extension/web.py", include_str!("../python/extension/web.py")),
];
/// Tried in this order, after `CORDON_LAB_PYTHON`.
const INTERPRETERS: &[&str] = &["python3", "python3.13", "python3.12", "python3.11", "python3.10"];
const OLDEST: (u32, u32) = (3, 10);

/// A Python with the lab's packages and programs, ready to run.
#[derive(Debug, Clone)]
pub struct Python {
    interpreter: PathBuf,
    scripts: PathBuf,
}

impl Python {
    /// Finds the virtual environment, or makes it. Two processes at once are safe: one makes it, the other waits.
    ///
    /// # Errors
    /// When no suitable Python is there or the packages cannot be installed; the message says what to install.
    pub fn prepare() -> Result<Self, LabError> {
        let target = target_folder();
        fs::create_dir_all(&target).map_err(|error| LabError::new(format!("cannot make the folder {}: {error}", target.display())))?;
        let (base, version) = find_interpreter()?;
        let home = target.join(format!("cordon-lab-python-{}", digest(&[REQUIREMENTS, &version])));
        let scripts = target.join(format!("cordon-lab-scripts-{}", digest(&SCRIPTS.iter().map(|(_, text)| *text).collect::<Vec<_>>())));
        let here = Self { interpreter: home.join("bin/python"), scripts };
        if here.complete() {
            return Ok(here);
        }
        // Held until this function returns; the system lets go of it when the process dies.
        let lock_path = target.join("cordon-lab-python.lock");
        let lock = fs::File::create(&lock_path).map_err(|error| LabError::new(format!("cannot make {}: {error}", lock_path.display())))?;
        lock.lock().map_err(|error| LabError::new(format!("cannot lock {}: {error}", lock_path.display())))?;
        if !here.interpreter.exists() {
            install(&base, &target, &home)?;
        }
        if !here.scripts.exists() {
            write_scripts(&target, &here.scripts)
                .map_err(|error| LabError::new(format!("cannot write the lab's Python programs: {error}")))?;
        }
        Ok(here)
    }

    fn complete(&self) -> bool {
        self.interpreter.exists() && self.scripts.exists()
    }

    /// A command that runs one of the lab's programs, `lab_moto.py` for example.
    #[must_use]
    pub fn program(&self, name: &str) -> Command {
        let mut command = self.command();
        command.arg(self.scripts.join(name));
        command
    }

    /// Runs a Python program given as text, with boto3 at hand and `AWS_ENDPOINT_URL` set, and waits for its end.
    ///
    /// # Errors
    /// When Python cannot be started. A program that fails is not an error: see the output's status.
    pub async fn run(&self, source: &str, endpoint: &str, environment: &[(&str, &str)]) -> Result<Output, LabError> {
        let mut command = self.command();
        command.arg("-c").arg(source).env("AWS_ENDPOINT_URL", endpoint).env("AWS_ACCESS_KEY_ID", "AKIACORDONHAND000000");
        command.env("AWS_SECRET_ACCESS_KEY", "hand").env("AWS_DEFAULT_REGION", "us-east-1").stdin(Stdio::null());
        command.envs(environment.iter().copied());
        let mut command = tokio::process::Command::from(command);
        command.kill_on_drop(true);
        command.output().await.map_err(|error| LabError::new(format!("cannot run {}: {error}", self.interpreter.display())))
    }

    /// The interpreter, free of the AWS, Python and proxy settings of whoever runs the lab: they are not its business.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.interpreter);
        for name in ["PYTHONPATH", "PYTHONHOME", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "MOTO_ACCOUNT_ID"] {
            command.env_remove(name);
        }
        command
            .env("AWS_CONFIG_FILE", "/dev/null")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
            .env("AWS_EC2_METADATA_DISABLED", "true");
        command.env("NO_PROXY", "127.0.0.1,localhost").env("no_proxy", "127.0.0.1,localhost");
        command
    }
}

fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part.as_bytes());
    }
    hex::encode(hash.finalize()).chars().take(16).collect()
}

/// Cargo's target folder: the folder above this program that cargo marked as a cache, else `CARGO_TARGET_DIR`, else a folder named `target`.
pub(crate) fn target_folder() -> PathBuf {
    let program = env::current_exe().unwrap_or_default();
    let above = |wanted: &dyn Fn(&Path) -> bool| program.ancestors().skip(1).find(|folder| wanted(folder)).map(Path::to_path_buf);
    above(&|folder| folder.join("CACHEDIR.TAG").is_file())
        .or_else(|| env::var_os("CARGO_TARGET_DIR").and_then(|folder| std::path::absolute(folder).ok()))
        .or_else(|| above(&|folder| folder.file_name().is_some_and(|name| name == "target")))
        .unwrap_or_else(env::temp_dir)
}

/// The first Python that is new enough, and its version.
fn find_interpreter() -> Result<(PathBuf, String), LabError> {
    let chosen = env::var("CORDON_LAB_PYTHON").ok();
    let mut too_old = Vec::new();
    for name in chosen.as_deref().into_iter().chain(INTERPRETERS.iter().copied()) {
        let script = "import sys; print('%d.%d' % sys.version_info[:2])";
        let Ok(output) = Command::new(name).args(["-I", "-c", script]).stdin(Stdio::null()).output() else { continue };
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let numbers = version.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        match numbers {
            Some(numbers) if numbers >= OLDEST => return Ok((PathBuf::from(name), version)),
            Some(_) => too_old.push(format!("{name} is {version}")),
            None => {}
        }
    }
    let seen = if too_old.is_empty() { "none was found".to_owned() } else { too_old.join(", ") };
    Err(LabError::new(format!(
        "the lab needs Python {}.{} or later with its venv module, and {seen}. On Debian or Ubuntu: `apt-get install python3 python3-venv`. \
         CORDON_LAB_PYTHON may name another one.",
        OLDEST.0, OLDEST.1
    )))
}

fn install(base: &Path, target: &Path, home: &Path) -> Result<(), LabError> {
    let name = home.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    remove_leftovers(target, &name);
    eprintln!("cordon-lab: installing the lab's Python packages into {} (once)", home.display());
    // Made beside its place and renamed when whole, so that a half-made one is never taken for good. Only `bin/python` is used afterwards,
    // which survives the renaming.
    let making = target.join(format!("{name}.making-{}", std::process::id()));
    let venv = Command::new(base).args(["-m", "venv"]).arg(&making).stdin(Stdio::null()).output();
    let venv = venv.map_err(|error| LabError::new(format!("cannot run {}: {error}", base.display())))?;
    if !venv.status.success() {
        return Err(LabError::new(format!(
            "`{} -m venv` failed; on Debian or Ubuntu `apt-get install python3-venv` brings what it needs.\n{}",
            base.display(),
            tail(&venv)
        )));
    }
    let requirements = making.join("requirements.txt");
    fs::write(&requirements, REQUIREMENTS).map_err(|error| LabError::new(format!("cannot write {}: {error}", requirements.display())))?;
    let mut pip = Command::new(making.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--no-deps", "--require-hashes"]);
    pip.args(["--only-binary", ":all:", "--requirement"]).arg(&requirements).stdin(Stdio::null());
    let pip = pip.output().map_err(|error| LabError::new(format!("cannot run pip: {error}")))?;
    if !pip.status.success() {
        return Err(LabError::new(format!("pip could not install the lab's packages (it needs its package index once):\n{}", tail(&pip))));
    }
    fs::rename(&making, home).map_err(|error| LabError::new(format!("cannot rename {}: {error}", making.display())))
}

/// What an interrupted installation left. Called with the lock held, so nobody is making one now.
fn remove_leftovers(target: &Path, name: &str) {
    let prefix = format!("{name}.making-");
    for entry in fs::read_dir(target).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix)
            && let Err(error) = fs::remove_dir_all(entry.path())
        {
            eprintln!("cordon-lab: cannot remove {}: {error}", entry.path().display());
        }
    }
}

fn write_scripts(target: &Path, place: &Path) -> std::io::Result<()> {
    let making = tempfile::Builder::new().prefix("cordon-lab-scripts-").tempdir_in(target)?;
    for (name, text) in SCRIPTS {
        let path = making.path().join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, text)?;
    }
    fs::rename(making.keep(), place)
}

/// The end of what a failed command said.
fn tail(output: &Output) -> String {
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(12)..).unwrap_or_default().join("\n")
}
