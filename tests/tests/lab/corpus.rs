//! Real findings and events, from a folder that `CORDON_CORPUS` names, through the real binary; without it there is nothing to test.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests may fail as tests do"
)]

use std::path::{Path, PathBuf};

use cordon_lab::cordon::Output;
use serde_json::Value;

use crate::respond::world::World;

/// The files below a folder of the corpus.
fn files(folder: &str) -> Option<Vec<String>> {
    let Some(root) = std::env::var_os("CORDON_CORPUS") else {
        println!("skipped: CORDON_CORPUS is not set");
        return None;
    };
    let mut found = Vec::new();
    walk(&PathBuf::from(root).join(folder), &mut found);
    found.sort();
    assert!(!found.is_empty(), "no files in {folder}");
    Some(found)
}

fn walk(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { walk(&path, found) } else { found.push(path.to_str().unwrap().to_owned()) }
    }
}

/// Where the lines of an output were read: of a rejection its place, of an incident those of all its findings.
fn inputs(output: &Output) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of = |line: &Value| match line.get("input") {
        Some(input) => vec![text(input)],
        None => line["findings"].as_array().unwrap().iter().map(|finding| text(&finding["input"])).collect(),
    };
    output.objects().iter().flat_map(of).collect()
}

fn is_of(input: &str, file: &str) -> bool {
    input.strip_prefix(file).is_some_and(|rest| rest.starts_with(':'))
}

/// Plans all files of a folder; a file that gave no line because another one holds the same finding is planned again by itself.
async fn planned(world: &World, folder: &str) -> Option<Vec<(String, Vec<Value>)>> {
    let files = files(folder)?;
    let mut arguments = vec!["plan", "--format", "json"];
    arguments.extend(files.iter().map(String::as_str));
    let output = world.cordon(&arguments, "").await;
    assert!(matches!(output.code, Some(0 | 4)), "{folder}: {:?} {}", output.code, output.stderr);
    let said = inputs(&output);
    let mut all = Vec::new();
    for file in files {
        let mut of_file: Vec<Value> = output.objects();
        of_file.retain(|line| line.to_string().contains(&format!("\"{file}:")));
        if !said.iter().any(|input| is_of(input, &file)) {
            let alone = world.cordon(&["plan", "--format", "json", &file], "").await;
            assert!(matches!(alone.code, Some(0 | 4)), "{file}: {alone:?}");
            assert!(inputs(&alone).iter().any(|input| is_of(input, &file)), "{file} gave nothing: {alone:?}");
            of_file = alone.objects();
        }
        all.push((file, of_file));
    }
    // Each line is one that the schema knows.
    for line in all.iter().flat_map(|(_, lines)| lines) {
        let known: Result<cordon_hub::incident::Line, _> = serde_json::from_value(line.clone());
        assert!(known.is_ok(), "{known:?}: {line:#}");
    }
    Some(all)
}

/// The states of all lines, without repetitions.
fn states(lines: &[(String, Vec<Value>)]) -> std::collections::BTreeSet<&str> {
    lines.iter().flat_map(|(_, lines)| lines).map(|line| line["state"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn every_file_of_findings_gives_an_incident_a_reason_or_a_rejection() {
    let world = World::new().await;
    for folder in ["guardduty", "securityhub-asff", "securityhub-ocsf", "inspector2"] {
        let Some(lines) = planned(&world, folder).await else { return };
        // Nobody of theirs is in this organization, and nothing is planned for strangers.
        for state in states(&lines) {
            assert!(["held", "ignored", "rejected"].contains(&state), "{folder}: {state}");
        }
        for line in lines.iter().flat_map(|(_, lines)| lines) {
            let reason = line["reason"].as_str().unwrap();
            assert!(!reason.is_empty() || line["state"] == "held", "{line:#}");
        }
    }
    assert!(world.writes().is_empty());
}

#[tokio::test]
async fn events_that_are_no_findings_give_no_incident_and_malformed_ones_a_place() {
    let world = World::new().await;
    let Some(other) = planned(&world, "eventbridge-other").await else { return };
    for (file, lines) in &other {
        for line in lines {
            let no_incident = line["incident"].is_null() && ["ignored", "rejected"].contains(&line["state"].as_str().unwrap());
            assert!(no_incident, "{file}: {line:#}");
        }
    }
    let malformed = planned(&world, "malformed").await.unwrap();
    for (file, lines) in &malformed {
        assert!(!lines.is_empty(), "{file}");
        for line in lines {
            let reason = line["reason"].as_str().unwrap();
            assert!(line["state"] == "rejected" && line["code"].as_str().unwrap().starts_with("CDN-"), "{file}: {line:#}");
            assert!(reason.starts_with("line ") && reason.contains("column "), "{file}: {line:#}");
        }
    }
}
