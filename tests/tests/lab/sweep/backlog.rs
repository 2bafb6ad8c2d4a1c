//! The whole job: 200 open groups of six accounts in two Regions, interrupted twice, and nothing done twice.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use cordon_lab::{
    Running, Shape, Standing,
    organization::{OPT_OUT, OpenGroup},
};
use serde_json::{Value, json};

use super::field::{Field, SWEEP, count, summary};

/// Most memory that a sweep may have had resident at once, in kB. It is bounded by what is begun at a time, not by the backlog.
const MOST_MEMORY: u64 = 512 * 1024;

/// `VmHWM` of a process, in kB; nothing when it has ended.
fn peak(pid: u64) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.split_whitespace().next()?.parse().ok()
}

/// Waits until so many groups are closed, or the sweep has ended.
async fn until_closed(field: &Field, sweep: &mut Running, groups: usize) {
    let started = Instant::now();
    while field.closed() < groups && sweep.is_running() {
        assert!(started.elapsed() < Duration::from_secs(60), "{} of {groups} closed: {}", field.closed(), sweep.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(sweep.is_running(), "the sweep ended before it could be interrupted: {}", sweep.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_groups_are_closed_once_however_often_the_sweep_is_interrupted() {
    let shape = Shape { members: 7, opted_out: false, without_role: true, users: 0, queue: false, ..Shape::default() };
    let mut field = Field::new(&shape, 6, 16).await;
    let (one, other) = (field.account(0), field.account(1));
    let regions = field.organization.regions.clone();
    let more: Vec<OpenGroup> = futures::future::join_all((0..8).map(|number| field.one_more(&one, &regions[number % 2]))).await;
    field.groups.extend(more);
    assert_eq!(field.groups.len(), 200);
    let (first, second) = futures::join!(field.one_more(&one, &regions[0]), field.one_more(&other, &regions[1]));
    for group in [&first, &second] {
        field.organization.tag(&group.account, &group.region, &group.id, OPT_OUT, "true").await.unwrap();
    }
    let acquired = field.organization.member(Standing::WithoutRole).unwrap().account.clone();
    let third = field.one_more(&acquired, &regions[0]).await;
    let left = [first, second, third];
    let left_ids: BTreeSet<String> = left.iter().map(|group| group.id.clone()).collect();

    // What would be done is said for all of it, and nothing is done. (The limit is far above the backlog: waves have tests of their own.)
    let mark = field.lab.gateway.ledger().mark();
    let planned = field.run(&["sweep", "--control", "EC2.13", "--max", "5000", "--plan", "--format", "json"]).await;
    assert_eq!(planned.code, Some(0), "{}", planned.stderr);
    assert_eq!(field.writes(mark), Vec::new(), "a plan changes nothing");
    let rows = summary(&planned);
    assert_eq!(
        (count(&rows, "planned", ""), count(&rows, "held", "opted-out"), count(&rows, "held", "role-missing")),
        (200, 2, 1),
        "{rows:#?}"
    );
    let incidents: Vec<Value> = planned.objects().into_iter().filter(|object| object["schema"] == "cordon.incident/1").collect();
    let subjects: BTreeSet<&str> = incidents.iter().filter_map(|incident| incident["subject"].as_str()).collect();
    assert_eq!(subjects.len(), 203, "each incident is shown");
    for incident in incidents.iter().filter(|incident| incident["state"] == "planned") {
        let step = incident["steps"].as_array().unwrap().iter().find(|step| step["id"] == "close-ssh").unwrap();
        assert_eq!(step["state"], "planned");
        assert_eq!(step["changes"][0]["attribute"], "world-open ingress tcp/22 ipv4", "{step:#}");
    }

    // Ctrl-C in the middle.
    let arguments = [SWEEP.as_slice(), &["--max", "5000", "--format", "json"]].concat();
    let mut sweep = field.cordon.spawn(&arguments).unwrap();
    until_closed(&field, &mut sweep, 50).await;
    sweep.interrupt();
    assert_eq!(sweep.wait(Duration::from_secs(30)).await, Some(130), "{}", sweep.log());
    let after = field.closed();
    assert!(after < 200, "it was not in the middle");

    // And killed in the middle.
    let mut sweep = field.cordon.spawn(&arguments).unwrap();
    until_closed(&field, &mut sweep, after.max(100) + 20).await;
    sweep.kill();
    assert_eq!(sweep.wait(Duration::from_secs(30)).await, Some(137), "{}", sweep.log());

    let mut sweep = field.cordon.spawn(&arguments).unwrap();
    let (started, mut most) = (Instant::now(), 0);
    while sweep.is_running() {
        assert!(started.elapsed() < Duration::from_secs(120), "it does not end: {}", sweep.log());
        most = peak(sweep.pid()).unwrap_or(0).max(most);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let code = sweep.wait(Duration::from_secs(1)).await;
    let output = cordon_lab::cordon::Output { code, stdout: sweep.lines().join("\n"), stderr: sweep.log() };
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(most > 0 && most < MOST_MEMORY, "{most} kB");

    let everything: Vec<OpenGroup> = field.groups.iter().chain(&left).cloned().collect();
    assert_eq!(field.still_open(&everything).await, left_ids);
    field.closed_once(&field.groups);
    assert!(left_ids.iter().all(|id| !field.revocations().contains_key(id)), "what is held is not touched");

    let rows = summary(&output);
    assert_eq!((count(&rows, "held", "opted-out"), count(&rows, "held", "role-missing"), count(&rows, "held", "")), (2, 1, 3), "{rows:#?}");
    let well = count(&rows, "closed", "") + count(&rows, "contained", "");
    assert_eq!(well, 200, "{rows:#?}");
    let cells: BTreeSet<(&str, &str)> =
        rows.iter().map(|row| (row["account"].as_str().unwrap(), row["region"].as_str().unwrap())).collect();
    assert_eq!(cells.len(), 13, "by account and Region: {rows:#?}");

    // Begun once more there is nothing to do.
    let mark = field.lab.gateway.ledger().mark();
    let again = field.run(&arguments).await;
    assert_eq!(again.code, Some(0), "{again:?}");
    let writes = field.writes(mark);
    assert!(writes.iter().all(|call| call.service == "securityhub"), "{writes:#?}");
    assert_eq!(summary(&again), rows);
    let audit = field.run(&["audit", "verify"]).await;
    assert_eq!(audit.code, Some(0), "{audit:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_needs_a_filter_a_limit_and_a_yes() {
    let field = Field::new(&Shape::small(), 1, 1).await;
    for arguments in [
        vec!["sweep", "--max", "5", "--yes"],
        vec!["sweep", "--control", "EC2.13", "--yes"],
        vec!["sweep", "--control", "EC2.13", "--max", "0", "--yes"],
        vec!["sweep", "--control", "EC2.13", "--max", "5"],
        vec!["sweep", "--account", &field.account(0), "--max", "5", "--yes"],
    ] {
        let output = field.run(&arguments).await;
        assert_eq!(output.code, Some(2), "{arguments:?}: {output:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?} says nothing");
    }
    assert_eq!(field.writes(0), Vec::new());
    assert_eq!(field.still_open(&field.groups).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_can_be_narrowed_and_stops_at_its_limit() {
    let shape = Shape { members: 2, ..Shape::small() };
    let field = Field::new(&shape, 2, 3).await;
    let (one, other) = (field.account(0), field.account(1));
    let output = field.run(&[SWEEP.as_slice(), &["--account", &one, "--max", "2", "--format", "json"]].concat()).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stderr.contains("--max 2 is reached"), "{output:?}");
    assert_eq!(field.closed(), 2);
    let output = field.run(&[SWEEP.as_slice(), &["--account", &one, "--max", "2", "--format", "json"]].concat()).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    let open = field.still_open(&field.groups).await;
    let others: BTreeSet<String> = field.groups.iter().filter(|group| group.account == other).map(|group| group.id.clone()).collect();
    assert_eq!(open, others, "only the account that was named");
    assert_eq!(summary(&output).iter().map(|row| row["account"].clone()).collect::<Vec<_>>(), vec![json!(one)]);
}
