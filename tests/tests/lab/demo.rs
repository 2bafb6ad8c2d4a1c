//! `cargo demo` keeps its promises, and leaves no process behind, however it ends.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail as tests do")]

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use cordon_lab::cordon_binary;

fn demo() -> Command {
    let mut command = Command::new(cordon_binary().unwrap().with_file_name("cordon-demo"));
    command.stdin(Stdio::null());
    command
}

/// The processes below one, as `/proc` has them.
fn below(pid: u32) -> Vec<u32> {
    let mut parents: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The parent is the second field behind the name, which stands in parentheses.
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().nth(1)?.parse().ok());
        parents.entry(parent.unwrap_or(0)).or_default().push(child);
    }
    let (mut all, mut next) = (Vec::new(), vec![pid]);
    while let Some(parent) = next.pop() {
        let children = parents.get(&parent).cloned().unwrap_or_default();
        all.extend(&children);
        next.extend(children);
    }
    all
}

/// An ended process that nobody has waited for has no command line.
fn is_running(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|text| !text.is_empty())
}

/// Starts the demo and waits until incidents are under way.
fn underway() -> (Child, Vec<u32>) {
    let mut child = demo().stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("What Cordon does")));
    // moto, the hand, the guard of the service, the service.
    let processes = below(child.id());
    assert!(processes.len() >= 4, "{processes:?}");
    (child, processes)
}

fn all_end(processes: &[u32], how: &str) {
    let until = Instant::now() + Duration::from_secs(10);
    while processes.iter().any(|pid| is_running(*pid)) {
        assert!(Instant::now() < until, "after {how}: {:?} of {processes:?} still run", processes.iter().filter(|pid| is_running(**pid)));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What has to be said as kept, each line once at least: the beginning of a line, and what else is in it.
const KEPT: &[(&str, &str)] = &[
    ("web-1: port 22 is closed to the world", "IPv4 and IPv6"),
    ("the same finding again and a sample finding", "no new incident"),
    ("3 groups of Security Hub's EC2.13", "then their budget is spent"),
    ("", "both interfaces are in one group that lets nothing in and nothing out"),
    ("", "the credentials that were stolen from it are denied everything"),
    ("the user's stolen key is inactive and not deleted", "is refused"),
    // Answers of people.
    ("the budget of the account is spent", "budget of 3 resources changed"),
    ("with a yes to exactly that plan sg-", "is closed"),
    ("after a no the user keeps what it may do", "only the stolen key stays inactive"),
    // A freeze and a thaw.
    ("web-2 is attacked and nothing is changed", "a change window"),
    ("after the thaw it goes on by itself", "port 22 is closed"),
    // An undo.
    ("both entries are gone from acl-", "through the running service"),
    ("port 22 stays closed", "opening it again has to be named"),
];

/// What was typed for it.
const TYPED: &[&str] = &["approval grant inc-", "approval deny inc-", "freeze full --why", "thaw ", "incident undo inc-"];

/// One after another: there is one demo at a time in a target folder.
#[test]
fn the_demo_keeps_its_promises_and_leaves_nothing_behind() {
    let mut command = demo();
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && !said.contains("FAIL"), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let kept: Vec<&str> = said.lines().filter_map(|line| line.trim_start().strip_prefix("ok    ")).collect();
    for (begins, holds) in KEPT {
        assert!(kept.iter().any(|line| line.starts_with(begins) && line.contains(holds)), "not kept: {begins} … {holds}\n{said}");
    }
    let typed: Vec<&str> = said.lines().filter_map(|line| line.trim_start().strip_prefix("$ cordon ")).collect();
    for command in TYPED {
        assert!(typed.iter().any(|line| line.starts_with(command)), "nobody said `{command}`\n{said}");
    }

    let (mut child, processes) = underway();
    child.kill().unwrap();
    child.wait().unwrap();
    all_end(&processes, "a kill");

    let (mut child, processes) = underway();
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    all_end(&processes, "an interrupt");
}
