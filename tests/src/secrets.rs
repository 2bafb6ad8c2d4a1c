//! Secrets that were handed out in this process, and the look for them in whatever Cordon leaves behind: no secret access key and no session
//! token is ever to be in its journal, its evidence, its logs, its reports or its messages.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex, PoisonError},
};

use serde_json::Value;

/// The shortest text that is looked for: AWS's secret access keys have 40 characters.
const SHORTEST: usize = 32;

/// By length, so that a text is looked up and not compared with each.
static HANDED_OUT: LazyLock<Mutex<BTreeMap<usize, HashSet<Vec<u8>>>>> = LazyLock::new(Mutex::default);

/// The secret access keys among them, by the ids of their access keys.
static KEYS: LazyLock<Mutex<HashMap<String, String>>> = LazyLock::new(Mutex::default);

/// The secret of an access key that was handed out in this process.
#[must_use]
pub fn of(access_key: &str) -> Option<String> {
    KEYS.lock().unwrap_or_else(PoisonError::into_inner).get(access_key).cloned()
}

/// Remembers a secret as that of an access key.
pub fn remember_key(access_key: &str, secret: &str) {
    remember(secret);
    KEYS.lock().unwrap_or_else(PoisonError::into_inner).insert(access_key.to_owned(), secret.to_owned());
}

/// Remembers a secret.
pub fn remember(secret: &str) {
    if secret.len() >= SHORTEST {
        let mut known = HANDED_OUT.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(secret.len()).or_default().insert(secret.as_bytes().to_vec());
    }
}

/// Remembers the secrets in an answer of AWS: `SecretAccessKey` and `SessionToken`, wherever they stand.
pub fn remember_in(answer: &Value) {
    match answer {
        Value::Object(fields) => {
            let text = |name: &str| fields.get(name).and_then(Value::as_str);
            if let (Some(access_key), Some(secret)) = (text("AccessKeyId"), text("SecretAccessKey")) {
                remember_key(access_key, secret);
            }
            for (name, value) in fields {
                match value.as_str() {
                    Some(secret) if matches!(name.as_str(), "SecretAccessKey" | "SessionToken") => remember(secret),
                    _ => remember_in(value),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(remember_in),
        _ => {}
    }
}

/// How many secrets were handed out so far.
#[must_use]
pub fn known() -> usize {
    HANDED_OUT.lock().unwrap_or_else(PoisonError::into_inner).values().map(HashSet::len).sum()
}

fn is_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

/// How many secrets stand in these bytes.
#[must_use]
pub fn count_in(bytes: &[u8]) -> usize {
    let known = HANDED_OUT.lock().unwrap_or_else(PoisonError::into_inner);
    let runs = bytes.split(|byte| !is_part(*byte)).filter(|run| run.len() >= SHORTEST);
    runs.map(|run| known.iter().map(|(length, secrets)| run.windows(*length).filter(|part| secrets.contains(*part)).count()).sum::<usize>())
        .sum()
}

/// The files below a folder that hold a secret, and how many bytes were looked at.
#[must_use]
pub fn found_below(folder: &Path) -> (Vec<PathBuf>, u64) {
    let (mut found, mut looked) = (Vec::new(), 0);
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(path),
                Ok(kind) if kind.is_file() => {
                    let bytes = fs::read(&path).unwrap_or_default();
                    looked += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                    if count_in(&bytes) > 0 {
                        found.push(path);
                    }
                }
                _ => {}
            }
        }
    }
    (found, looked)
}

/// Looks through a folder when it is dropped, and fails the test whose it is when a secret is in it.
#[derive(Debug)]
pub(crate) struct Watchman(pub(crate) PathBuf);

impl Drop for Watchman {
    #[expect(clippy::panic, reason = "a test fails by it, and nothing but tests and the demo has a watchman")]
    fn drop(&mut self) {
        let (mut found, _) = found_below(&self.0);
        // What `cargo demo --keep` writes for whoever goes on by hand.
        found.retain(|path| path.file_name().is_none_or(|name| name != "environment.sh"));
        if !found.is_empty() && !std::thread::panicking() {
            panic!("a secret access key or session token is in {found:?}");
        }
    }
}
