//! Bad input: a clear message with its place and a code, the rest is processed, and the exit code says so.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail as tests do")]

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use cordon_lab::{cordon::Output, organization::Instance};
use serde_json::{Value, json};

use crate::respond::world::{HOME, World, incidents, of, state, text};

/// The lines that were rejected: place and code.
fn rejected(output: &Output) -> Vec<(String, String)> {
    let lines = output.objects().into_iter().filter(|line| line["state"] == "rejected");
    lines.map(|line| (text(&line, "/input").to_owned(), text(&line, "/code").to_owned())).collect()
}

fn native(world: &World, instance: &Instance) -> Value {
    serde_json::from_str::<Value>(&world.attack(instance)).unwrap()["detail"].clone()
}

/// One of each on a line of its own, and after them a true finding.
#[tokio::test]
async fn each_bad_line_is_rejected_at_its_place_with_its_code_and_the_good_one_is_answered() {
    let world = World::new().await;
    let instance = world.instance("web").await;
    let good = world.attack(&instance);
    let changed = |pointer: &str, value: Value| {
        let mut finding = native(&world, &instance);
        *finding.pointer_mut(pointer).unwrap() = value;
        world.event(&finding)
    };
    let other = "210987654321";
    let foreign = instance.arn.replace(&instance.account, other);
    let group = json!({"Type": "AwsEc2Instance", "Id": foreign, "Partition": "aws", "Region": HOME});
    let mut copy = cordon_lab::organization::finding::hub_copy(&native(&world, &instance));
    copy["Resources"] = json!([group]);
    let half = good.get(..good.len() / 2).unwrap();
    let cases: Vec<(String, &str, &str)> = vec![
        ("{\"detail\": }".to_owned(), "CDN-1001", "line 1, column 12"),
        (half.to_owned(), "CDN-1005", "line 2, column 1"),
        ("[1]".to_owned(), "CDN-1006", "line 3"),
        ("{\"colour\": \"red\"}".to_owned(), "CDN-1007", "$"),
        (changed("/arn", Value::Null).replace("\"id\":\"", "\"no\":\""), "CDN-1011", "id"),
        (changed("/accountId", json!("40000000001")), "CDN-1014", "$.detail.accountId"),
        (changed("/region", json!("us-middle-1")), "CDN-1016", "us-middle-1"),
        (copy.to_string(), "CDN-1017", "Resources[0]"),
        ("nonsense".to_owned(), "CDN-1001", "line 9, column 2"),
    ];
    let file = world.folder.path().join("bad.ndjson");
    let lines: Vec<&str> = cases.iter().map(|(line, ..)| line.as_str()).chain([good.as_str()]).collect();
    std::fs::write(&file, lines.join("\n")).unwrap();
    let file = file.to_str().unwrap();
    let output = world.cordon(&["respond", file, "--format", "json"], "").await;
    assert_eq!(output.code, Some(4), "{output:?}");
    let found = output.objects().into_iter().filter(|line| line["state"] == "rejected").collect::<Vec<_>>();
    assert_eq!(found.len(), cases.len(), "{found:#?}");
    for (number, ((line, code, place), told)) in cases.iter().zip(&found).enumerate() {
        assert_eq!((text(told, "/input"), text(told, "/code")), (format!("{file}:{}", number + 1).as_str(), *code), "{line}: {told:#}");
        assert!(text(told, "/reason").contains(place), "{line}: {told:#}");
    }
    assert_eq!(state(&of(&output, &instance)), "contained", "{output:?}");
    assert!(!world.open(&instance, 22).await && world.blocked(&instance).await);

    // For people the same, on standard error; an incident that failed would count for more, a wrong usage for most.
    let table = world.cordon(&["respond", file], "").await;
    assert!(table.code == Some(4) && table.stderr.contains(&format!("{file}:6: rejected CDN-1014")), "{table:?}");
    let usage = world.cordon(&["respond", file, "--fail-on", "hold"], "").await;
    assert!(usage.code == Some(2) && usage.stderr.contains("held"), "{usage:?}");
}

#[tokio::test]
async fn input_that_is_nothing_or_not_to_be_read_is_told() {
    let world = World::new().await;
    for (name, bytes) in [("empty.json", ""), ("blank.json", " \n\t\n")] {
        let file = world.folder.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        let output = world.cordon(&["respond", file.to_str().unwrap(), "--format", "json"], "").await;
        assert_eq!(output.code, Some(4), "{output:?}");
        assert_eq!(rejected(&output), [(format!("{}:1", file.display()), "CDN-1001".to_owned())], "{output:?}");
    }
    assert_eq!(rejected(&world.respond("").await), [("-:1".to_owned(), "CDN-1001".to_owned())]);
    // A list of nothing is a list.
    let none = world.respond("{\"Findings\": []}").await;
    assert!(matches!(none.code, Some(0 | 4)) && none.objects().len() == 1, "{none:?}");
    let binary = world.folder.path().join("binary");
    std::fs::write(&binary, b"\xff\xfe{\x00\"\x00a\x00\"\x00\n").unwrap();
    let output = world.cordon(&["respond", binary.to_str().unwrap(), "--format", "json"], "").await;
    assert_eq!((output.code, rejected(&output)[0].1.as_str()), (Some(4), "CDN-1002"), "{output:?}");

    // What cannot be opened stops all of it before anything is done.
    let folder = world.folder.path().to_str().unwrap();
    for (arguments, said) in [
        (vec!["respond", folder], "it is a folder"),
        (vec!["respond", "/nowhere/event.json"], "/nowhere/event.json"),
        (vec!["respond"], "FILE"),
        (vec!["respnd", "-"], "respond"),
        (vec!["incident", "show", "00000000-0000-7000-8000-000000000000"], "00000000"),
        (vec!["incident", "undo", "zzz", "--yes"], "zzz"),
    ] {
        let output = world.cordon(&arguments, "").await;
        assert!(output.code == Some(2) && output.stderr.contains(said) && output.stdout.is_empty(), "{arguments:?}: {output:?}");
    }
    assert!(world.writes().is_empty());
}

#[tokio::test]
async fn a_typo_in_the_configuration_is_shown_at_its_place_with_what_was_meant() {
    let world = World::new().await;
    let right = world.organization.config_toml(&world.settings);
    let event = world.attack(&world.instance("web").await);
    for (wrong, place, said) in [
        (right.replace("state_dir", "state_dri"), "state_dri", "did you mean `state_dir`"),
        (right.replace("mode = \"act\"", "mode = \"atc\""), "\"atc\"", "did you mean"),
        (right.replace("[caps]", "[cpas]"), "[cpas]", "caps"),
        (right.replace(&format!("regions = [\"{HOME}\"]"), "regions = [\"us-eats-1\"]"), "us-eats-1", "us-east-1"),
        (right.replace("[hub]", "[hub"), "[hub", "]"),
    ] {
        assert_ne!(wrong, right, "{place}");
        let output = world.cordon.configured(&wrong).unwrap().run(&["respond", "-"], &event).await.unwrap();
        crate::respond::world::assert_no_panic(&output);
        assert!(output.code == Some(2) && output.stdout.is_empty(), "{output:?}");
        let marked = output.stderr.contains('^') || output.stderr.contains('─') || output.stderr.contains("--");
        assert!(marked && output.stderr.contains(place) && output.stderr.contains(said), "{place}: {}", output.stderr);
        assert!(output.stderr.contains("cordon.toml:"), "{}", output.stderr);
    }
    let missing = world.cordon(&["respond", "-", "--config", "/nowhere/cordon.toml"], &event).await;
    assert!(missing.code == Some(2) && missing.stderr.contains("/nowhere/cordon.toml"), "{missing:?}");
    assert!(world.gateway().ledger().all().is_empty() && !world.settings.state_dir.exists());
}

/// Whether the hub's role may assume no role.
async fn locked_out(world: &World) -> bool {
    let of = json!({"RoleName": "CordonHub"});
    let named = world.hand(&world.organization.security, "iam", "list_role_policies", of).await["PolicyNames"].clone();
    named.as_array().unwrap().contains(&json!("CordonFrozen"))
}

#[tokio::test]
async fn a_hard_freeze_locks_the_hubs_role_out_also_where_the_journal_cannot_be_opened() {
    let mut world = World::new().await;
    let operator = crate::people::person(&mut world, "Olga", &["operator"]).await;
    let (folder, role) = (world.settings.state_dir.clone(), world.organization.hub_role());
    let freeze = async |why: &str| operator.run(&["freeze", "--hard", "--why", why], "").await.unwrap();
    let damaged = || {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("journal.db"), "no database at all\n".repeat(1_000)).unwrap();
    };
    let no_folder = || {
        std::fs::remove_dir_all(&folder).unwrap();
        std::fs::write(&folder, "a file").unwrap();
    };
    let cases: [(&str, &dyn Fn()); 2] = [("damaged", &damaged), ("no folder", &no_folder)];
    for (what, harm) in cases {
        harm();
        let frozen = freeze(what).await;
        crate::respond::world::assert_no_panic(&frozen);
        assert!(frozen.code == Some(1) && frozen.stdout.is_empty(), "{what}: {frozen:?}");
        for part in ["may assume no role any more", &format!("{role} is locked out, but no freeze is written: "), "journal.db"] {
            assert!(frozen.stderr.contains(part), "{what}: {part}: {}", frozen.stderr);
        }
        assert!(locked_out(&world).await, "{what}");
        let delete = json!({"RoleName": "CordonHub", "PolicyName": "CordonFrozen"});
        world.hand(&world.organization.security, "iam", "delete_role_policy", delete).await;
    }
}

#[tokio::test]
async fn a_hard_freeze_without_a_configuration_says_what_to_do_by_hand() {
    let world = World::new().await;
    let right = world.organization.config_toml(&world.settings);
    let role = format!("role = \"{}\"\n", world.organization.hub_role());
    let command = |name: &str| format!("`aws iam put-role-policy --role-name {name} --policy-name CordonFrozen --policy-document '");
    for (wrong, name) in [
        (right.replace("state_dir", "state_dri"), "CordonHub"),
        (right.replace("[hub]", "[hub"), "CordonHub"),
        (right.replace("[hub]", "[hub").replace(&role, ""), "NAME"),
        (right.replace("[hub]", "[hub").replace("CordonHub\"\n", "Cordon;reboot\"\n"), "NAME"),
    ] {
        let output = world.cordon.configured(&wrong).unwrap().run(&["freeze", "--hard", "--why", "x"], "").await.unwrap();
        crate::respond::world::assert_no_panic(&output);
        assert_eq!(output.code, Some(2), "{output:?}");
        for part in ["cordon.toml:", "nothing is frozen, as the configuration cannot be read; by hand", &command(name)] {
            assert!(output.stderr.contains(part), "{part}: {}", output.stderr);
        }
        // What is to be typed there is what Cordon would have put.
        let document = output.stderr.split_once("--policy-document '").and_then(|(_, rest)| rest.split_once('\'')).unwrap().0;
        let document: Value = serde_json::from_str(document).unwrap();
        assert_eq!((&document["Statement"][0]["Effect"], &document["Statement"][0]["Action"]), (&json!("Deny"), &json!("sts:AssumeRole")));
        let soft = world.cordon(&["freeze", "--why", "x"], "").await;
        assert!(soft.code == Some(2) && !soft.stderr.contains("aws iam"), "{soft:?}");
    }
    let missing = world.cordon(&["freeze", "--hard", "--why", "x", "--config", "/nowhere/cordon.toml"], "").await;
    assert!(missing.code == Some(2) && missing.stderr.contains(&command("NAME")), "{missing:?}");
    assert!(world.gateway().ledger().all().is_empty());
}

/// An event of 10 MB is an event: whatever somebody put into it changes nothing about it.
#[tokio::test]
async fn an_event_of_ten_megabytes_is_answered_and_one_over_the_limit_is_rejected_unheld() {
    let world = World::new().await;
    let instance = world.instance("web").await;
    let mut large = native(&world, &instance);
    large["description"] = json!("x".repeat(10 * 1024 * 1024));
    let mut huge = large.clone();
    huge["description"] = json!("y".repeat(40 * 1024 * 1024));
    let file = world.folder.path().join("large.ndjson");
    std::fs::write(&file, format!("{}\n{}\n", world.event(&huge), world.event(&large))).unwrap();
    let output = world.cordon(&["respond", file.to_str().unwrap(), "--format", "json"], "").await;
    assert_eq!(output.code, Some(4), "{}", output.stderr);
    assert_eq!(rejected(&output), [(format!("{}:1", file.display()), "CDN-1003".to_owned())]);
    let incident = of(&output, &instance);
    assert_eq!(state(&incident), "contained");
    assert!(output.stdout.len() < 1024 * 1024, "what is printed holds no document: {} bytes", output.stdout.len());
    let audit = world.cordon(&["audit", "verify"], "").await;
    assert_eq!(audit.code, Some(0), "{audit:?}");
}

const LINES: usize = 100_000;
/// What a process may need at most, in KiB, however long its input is.
const MOST_KIB: u64 = 256 * 1024;

/// Peak memory of a process, in KiB; nothing when it has ended.
fn peak(pid: u64) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().trim_end_matches(" kB").parse().ok()
}

#[tokio::test]
async fn a_hundred_thousand_lines_are_read_in_bounded_memory_and_each_is_accounted_for() {
    let world = World::new().await;
    let made = futures::join!(world.instance("one"), world.instance("two"));
    let events = [world.attack(&made.0), world.attack(&made.1)];
    let ignored = {
        let mut other = native(&world, &made.0);
        other["type"] = json!("Recon:EC2/PortProbeUnprotectedPort");
        other["id"] = json!("0".repeat(32));
        other["arn"] = json!(text(&other, "/arn").replace(text(&native(&world, &made.0), "/id"), &"0".repeat(32)));
        world.event(&other)
    };
    let mut input = String::new();
    let (mut bad, mut unknown) = (0, 0);
    for number in 0..LINES {
        match number % 50 {
            0 | 25 => writeln!(input, "{}", events[usize::from(number % 50 == 0)]),
            10 => {
                unknown += 1;
                writeln!(input, "{ignored}")
            }
            1..=3 => {
                unknown += 1;
                writeln!(input, "{{\"version\":\"0\",\"id\":\"{number}\",\"detail-type\":\"EC2 Instance State-change Notification\",\"source\":\"aws.ec2\",\"account\":\"{}\",\"region\":\"{HOME}\",\"detail\":{{}}}}", world.account)
            }
            _ => {
                bad += 1;
                writeln!(input, "{{\"line\": {number}")
            }
        }
        .unwrap();
    }
    let file = world.folder.path().join("many.ndjson");
    std::fs::write(&file, input).unwrap();

    let begun = Instant::now();
    let mut running = world.cordon.spawn(&["respond", file.to_str().unwrap(), "--format", "json"]).unwrap();
    let pid = running.pid();
    let (mut most, mut lines) = (0, Vec::new());
    while running.is_running() {
        most = peak(pid).unwrap_or(0).max(most);
        lines.extend(running.lines());
        assert!(begun.elapsed() < Duration::from_secs(120), "{} lines so far", lines.len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let code = running.wait(Duration::from_secs(5)).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    lines.extend(running.lines());
    let output = Output { code, stdout: lines.join("\n"), stderr: running.log() };
    crate::respond::world::assert_no_panic(&output);
    assert_eq!(output.code, Some(4), "{}", output.stderr);
    assert!(most > 0 && most < MOST_KIB, "{most} KiB at its most");
    let places = rejected(&output);
    assert_eq!(places.len(), bad);
    assert!(places.contains(&(format!("{}:{}", file.display(), LINES), "CDN-1005".to_owned())), "{:?}", places.last());
    let told = incidents(&output);
    let states = |wanted: &str| told.iter().filter(|incident| state(incident) == wanted).count();
    assert_eq!(states("ignored"), unknown);
    // However often a finding comes, it is one incident; nothing was done twice.
    let known: std::collections::BTreeSet<&str> = told.iter().filter_map(|incident| incident["incident"].as_str()).collect();
    assert_eq!(known.len(), 2);
    for instance in [&made.0, &made.1] {
        let writes = world.gateway().ledger().find(|call| call.write && call.params.to_string().contains(&instance.acl));
        assert!(writes.len() == 2 && !world.open(instance, 22).await, "{writes:?}");
    }
}
