//! The architecture, held against the repository's own files: which crate may name which, what only one place may do, how the
//! documentation and the code agree. Nothing here is built or run; everything is read.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail as tests do")]

#[path = "arch/docs.rs"]
mod docs;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use toml::{Table, Value};

/// The longest source file.
const MOST_LINES: usize = 500;

/// The repository's top level.
pub fn root() -> PathBuf {
    cordon_lab::home().parent().unwrap().to_owned()
}

pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Files below a folder with one of these extensions, without what cargo or Python made.
pub fn files(below: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![below.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !matches!(name.as_str(), "target" | "__pycache__" | ".venv" | ".git" | "node_modules") {
                folders.push(path);
            } else if path.is_file() && path.extension().is_some_and(|extension| extensions.iter().any(|one| extension == *one)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// All Rust sources, by their path from the top level.
pub fn sources() -> BTreeMap<String, String> {
    let root = root();
    let all = ["shared", "spoke", "hub", "tests"].into_iter().flat_map(|part| files(&root.join(part), &["rs"]));
    all.map(|path| (path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/"), read(&path))).collect()
}

/// Whether a source file holds tests only: this one, say.
fn only_tests(path: &str) -> bool {
    path.starts_with("tests/tests/") || path.ends_with("tests.rs") || path.contains("/tests/") || path.ends_with("/testing.rs")
}

/// Places, `path:line`, where a text stands in the code of non-test sources. Comments and what follows `mod tests {` do not count.
fn places(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (path, source) in sources().iter().filter(|(path, _)| !only_tests(path)) {
        for (number, line) in (1..).zip(source.lines().take_while(|line| line.trim() != "mod tests {")) {
            if line.split("//").next().unwrap_or_default().contains(text) {
                found.push(format!("{path}:{number}"));
            }
        }
    }
    found
}

fn outside(text: &str, allowed: &[&str]) -> Vec<String> {
    places(text).into_iter().filter(|place| !allowed.iter().any(|path| place.starts_with(path))).collect()
}

fn manifest(krate: &str) -> Table {
    read(&root().join(krate).join("Cargo.toml")).parse().unwrap()
}

/// The names of a manifest's dependencies of these kinds.
fn dependencies(manifest: &Table, kinds: &[&str]) -> BTreeSet<String> {
    let tables = kinds.iter().filter_map(|kind| manifest.get(*kind).and_then(Value::as_table));
    tables.flat_map(|table| table.keys().cloned()).collect()
}

const ALL_KINDS: &[&str] = &["dependencies", "dev-dependencies", "build-dependencies"];

/// A package of Cargo.lock: name, version, dependencies (`name`, or `name version` where there are several).
struct Package {
    name: String,
    version: String,
    needs: Vec<String>,
}

fn lock() -> Vec<Package> {
    let lock: Table = read(&root().join("Cargo.lock")).parse().unwrap();
    let text = |package: &Table, key: &str| package[key].as_str().unwrap().to_owned();
    let packages = lock["package"].as_array().unwrap().iter().map(|package| package.as_table().unwrap());
    packages
        .map(|package| Package {
            name: text(package, "name"),
            version: text(package, "version"),
            needs: package
                .get("dependencies")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .map(|need| need.as_str().unwrap().to_owned())
                .collect(),
        })
        .collect()
}

/// Everything that a package needs, itself included, by name.
fn reached(from: &str) -> BTreeSet<String> {
    let lock = lock();
    let mut reached = BTreeSet::new();
    let mut todo = vec![from.to_owned()];
    while let Some(next) = todo.pop() {
        let (name, version) = next.split_once(' ').map_or((next.as_str(), None), |(name, version)| (name, Some(version)));
        for package in lock.iter().filter(|package| package.name == name && version.is_none_or(|version| package.version == version)) {
            if reached.insert(package.name.clone()) {
                todo.extend(package.needs.iter().cloned());
            }
        }
    }
    reached
}

#[test]
fn there_is_one_http_client_and_one_tls_stack() {
    let lock = lock();
    let versions =
        |name: &str| lock.iter().filter(|package| package.name == name).map(|package| package.version.as_str()).collect::<Vec<_>>();
    for (name, wanted) in
        [("hyper", "1."), ("h2", "0.4."), ("http", "1."), ("rustls", "0.23."), ("hyper-rustls", "0.27."), ("tokio-rustls", "0.26.")]
    {
        let found = versions(name);
        assert!(found.len() <= 1, "{name} is there more than once: {found:?}");
        assert!(found.iter().all(|version| version.starts_with(wanted)), "{name} is {found:?}, not {wanted}x");
    }
    assert_eq!(versions("rustls").len(), 1, "TLS is rustls");
    for other in [
        "reqwest",
        "ureq",
        "curl",
        "isahc",
        "surf",
        "attohttpc",
        "minreq",
        "awc",
        "native-tls",
        "openssl",
        "openssl-sys",
        "hyper-tls",
        "boring",
        "s2n-tls",
    ] {
        assert!(versions(other).is_empty(), "{other} is a second client or a second TLS stack");
    }
}

#[test]
fn the_mandated_crates_are_declared() {
    let workspace = manifest("");
    let declared = dependencies(workspace["workspace"].as_table().unwrap(), &["dependencies"]);
    let used: BTreeSet<String> =
        ["shared", "spoke", "hub", "tests"].iter().flat_map(|krate| dependencies(&manifest(krate), &["dependencies"])).collect();
    for name in [
        "tokio",
        "aws-sdk-sts",
        "aws-sdk-organizations",
        "aws-sdk-guardduty",
        "aws-sdk-securityhub",
        "aws-sdk-iam",
        "aws-sdk-ec2",
        "aws-sdk-ssm",
        "aws-sdk-inspector2",
        "aws-sdk-cloudwatchlogs",
        "governor",
        "futures",
    ] {
        assert!(declared.contains(name) && used.contains(name), "{name} is not declared");
    }
}

#[test]
fn shared_reaches_no_aws_sdk_and_no_http() {
    let forbidden =
        |name: &&String| name.starts_with("aws-") || ["hyper", "h2", "http", "tokio", "rusqlite", "rustls"].contains(&name.as_str());
    let reached = reached("cordon-shared");
    assert!(reached.contains("serde_json"), "Cargo.lock was not read as it is meant");
    assert_eq!(reached.iter().filter(forbidden).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn only_spoke_names_an_aws_crate() {
    for krate in ["shared", "hub", "tests"] {
        let named: Vec<String> = dependencies(&manifest(krate), ALL_KINDS).into_iter().filter(|name| name.starts_with("aws-")).collect();
        assert!(named.is_empty(), "{krate}/Cargo.toml names {named:?}");
    }
    assert!(dependencies(&manifest("spoke"), ALL_KINDS).contains("aws-config"));
    for module in ["aws_sdk_", "aws_config", "aws_smithy_", "aws_credential_types"] {
        assert_eq!(outside(module, &["spoke/src/"]), Vec::<String>::new(), "{module}");
    }
}

#[test]
fn imports_run_one_way() {
    let ours =
        |krate: &str| dependencies(&manifest(krate), ALL_KINDS).into_iter().filter(|name| name.starts_with("cordon-")).collect::<Vec<_>>();
    assert_eq!(ours("shared"), Vec::<String>::new());
    assert_eq!(ours("spoke"), ["cordon-shared"]);
    assert_eq!(ours("hub"), ["cordon-shared", "cordon-spoke"]);
    assert_eq!(ours("tests"), ["cordon-hub", "cordon-shared", "cordon-spoke"]);
}

#[test]
fn dependencies_are_declared_once_for_the_workspace() {
    for krate in ["shared", "spoke", "hub", "tests"] {
        let manifest = manifest(krate);
        for kind in ALL_KINDS {
            for (name, value) in manifest.get(*kind).and_then(Value::as_table).into_iter().flatten() {
                let inherited = value.get("workspace").and_then(Value::as_bool) == Some(true);
                let alone = value.as_table().is_some_and(|table| table.len() == 1);
                assert!(
                    inherited && alone,
                    "{krate}/Cargo.toml: `{name}` must be `{name}.workspace = true`, so that features are the same in every build"
                );
            }
        }
        assert_eq!(manifest["lints"]["workspace"].as_bool(), Some(true), "{krate} has the workspace's lints");
    }
}

#[test]
fn the_top_level_holds_what_it_should() {
    const WANTED: &[&str] = &[
        ".cargo",
        ".ci",
        ".gitignore",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "README.md",
        "clippy.toml",
        "docs",
        "hub",
        "infra",
        "rust-toolchain.toml",
        "rustfmt.toml",
        "shared",
        "spoke",
        "tests",
    ];
    let root = root();
    for name in WANTED {
        assert!(root.join(name).exists(), "{name} is missing");
    }
    // Not a checkout, or no git: there is no telling what belongs to the repository.
    let Ok(listed) = Command::new("git").arg("-C").arg(&root).args(["ls-files", "-z"]).output() else { return };
    if !listed.status.success() {
        return;
    }
    let listed = String::from_utf8(listed.stdout).unwrap();
    let top: BTreeSet<&str> = listed.split('\0').filter(|path| !path.is_empty()).map(|path| path.split('/').next().unwrap()).collect();
    let strangers: Vec<&&str> = top.iter().filter(|name| !WANTED.contains(name)).collect();
    assert!(strangers.is_empty(), "{strangers:?} are at the top level");
}

#[test]
fn source_files_are_short() {
    let root = root();
    let python = files(&root.join("tests/python"), &["py"])
        .into_iter()
        .map(|path| (path.strip_prefix(&root).unwrap().display().to_string(), read(&path)));
    let all = sources().into_iter().chain(python);
    let long: Vec<String> = all
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > MOST_LINES)
        .map(|(path, lines)| format!("{path}: {lines}"))
        .collect();
    assert!(long.is_empty(), "longer than {MOST_LINES} lines: {long:?}");
}

#[test]
fn nothing_is_left_to_be_written() {
    for left in [["to", "do!("], ["unimple", "mented!("], ["dbg", "!("]] {
        let left = left.concat();
        let found: Vec<String> = sources().into_iter().filter(|(_, text)| text.contains(&left)).map(|(path, _)| path).collect();
        assert!(found.is_empty(), "`{left}` in {found:?}");
    }
}

#[test]
fn only_the_gates_commit_makes_a_warrant() {
    assert_eq!(outside("Warrant::mint(", &["shared/src/gate.rs:"]), Vec::<String>::new());
    assert_eq!(outside("fn mint(", &["shared/src/gate/warrant.rs:"]), Vec::<String>::new());
    assert!(!places("Warrant::mint(").is_empty());
    // Nor one for looking, with which nothing is changed.
    assert_eq!(outside("only_looking(", &["shared/src/gate/warrant.rs:", "shared/src/gate/undo.rs:"]), Vec::<String>::new());
    assert_eq!(outside("purpose: Purpose::Preview", &["shared/src/gate/warrant.rs:"]), Vec::<String>::new());
    let warrant = &sources()["shared/src/gate/warrant.rs"];
    let head = warrant.split("pub struct Warrant").next().unwrap();
    let derives = head.rsplit("#[derive(").next().unwrap();
    assert!(!derives.contains("Clone") && !derives.contains("Deserialize"), "a warrant is copied by nothing");
    assert!(
        warrant.contains("pub(super) fn mint(") && !warrant.contains("pub fn new(run"),
        "only the gate's own module can call its constructor"
    );
    // A literal would need the fields, which are private to that file.
    let fields = warrant.split("pub struct Warrant {").nth(1).unwrap().split("\n}").next().unwrap();
    assert!(!fields.contains("pub"), "a warrant's fields are private");
}

#[test]
fn only_sessions_build_sdk_clients_and_read_aws_settings() {
    for built in ["Client::from_conf(", "Client::new(&"] {
        // `fake.rs` is compiled for tests only; `capture.rs` copies a session's client, metered connector and all, to keep its answers' bytes.
        let allowed = ["spoke/src/session/", "spoke/src/aws/fake.rs:", "spoke/src/actions/ec2/record_all/capture.rs:"];
        assert_eq!(outside(built, &allowed), Vec::<String>::new(), "{built}");
    }
    assert_eq!(outside("aws_config::", &["spoke/src/session"]), Vec::<String>::new());
    for variable in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"] {
        assert_eq!(outside(variable, &["tests/"]), Vec::<String>::new(), "{variable}");
    }
}

#[test]
fn time_comes_from_the_clock() {
    for now in ["SystemTime::now", "Timestamp::now", "Zoned::now"] {
        assert_eq!(outside(now, &["shared/src/clock.rs:", "tests/src/"]), Vec::<String>::new(), "{now}");
    }
}

#[test]
fn the_engine_does_no_io() {
    let engine: Vec<(String, String)> =
        sources().into_iter().filter(|(path, _)| path.starts_with("shared/src/engine") && !only_tests(path)).collect();
    assert!(engine.len() >= 4);
    for (path, text) in engine {
        for io in ["async ", ".await", "std::fs", "std::net", "std::thread", "std::process", "std::env", "Instant::now"] {
            assert!(!text.contains(io), "{path} has `{io}`");
        }
    }
}

#[test]
fn only_output_prints() {
    for print in ["println!(", "eprintln!(", "print!(", "eprint!("] {
        assert_eq!(outside(print, &["hub/src/cli/output.rs:", "tests/src/"]), Vec::<String>::new(), "{print}");
    }
}
