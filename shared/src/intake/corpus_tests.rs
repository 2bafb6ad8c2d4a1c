//! Real events and findings, from a folder that `CORDON_CORPUS` names; without it there is nothing to test.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{Document, Item, MAX_DOCUMENT_BYTES, Origin, codes, documents, read};
use crate::finding::Finding;

/// What each file below `folder` gave.
fn read_folder(folder: &str) -> Option<BTreeMap<String, Vec<(Origin, Item)>>> {
    let Some(root) = std::env::var_os("CORDON_CORPUS") else {
        println!("skipped: CORDON_CORPUS is not set");
        return None;
    };
    let mut files = Vec::new();
    walk(&Path::new(&root).join(folder), &mut files);
    assert!(!files.is_empty(), "no files in {folder}");
    let told = |path: &PathBuf| (path.display().to_string(), items(&std::fs::read(path).unwrap()));
    Some(files.iter().map(told).collect())
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { walk(&path, files) } else { files.push(path) }
    }
}

fn items(bytes: &[u8]) -> Vec<(Origin, Item)> {
    let told = |found: Result<Document, _>| match found {
        Ok(document) => read(&document),
        Err((origin, why)) => vec![(origin, Item::Rejected(why))],
    };
    documents(bytes, "in", MAX_DOCUMENT_BYTES).flat_map(told).collect()
}

fn findings<'a>(files: &'a BTreeMap<String, Vec<(Origin, Item)>>, part: &str) -> Vec<&'a Finding> {
    let named = files.iter().filter(|(path, _)| path.contains(part)).flat_map(|(_, items)| items);
    let finding = |item: &'a Item| match item {
        Item::Finding(finding) => Some(&**finding),
        _ => None,
    };
    named.filter_map(|(_, item)| finding(item)).collect()
}

fn kinds<'a>(files: &'a BTreeMap<String, Vec<(Origin, Item)>>, part: &str) -> Vec<&'a str> {
    findings(files, part).into_iter().map(|finding| finding.kind.as_str()).collect()
}

/// Every file gives something, every rejection has a known code and says where.
fn check(files: &BTreeMap<String, Vec<(Origin, Item)>>) {
    for (path, items) in files {
        let blank = std::fs::read(path).unwrap().iter().all(u8::is_ascii_whitespace);
        assert_eq!(items.is_empty(), blank, "{path}");
        for (_, item) in items {
            match item {
                Item::Finding(finding) => {
                    assert!(!finding.subjects.is_empty() && !finding.kind.is_empty() && !finding.id.0.is_empty(), "{path}: {finding:?}");
                    assert_eq!(finding.subject().map(|subject| &subject.cell), Some(&finding.cell), "{path}");
                    assert!(serde_json::to_value(finding).is_ok(), "{path}");
                }
                Item::NotAFinding { what, .. } => assert!(!what.is_empty(), "{path}"),
                Item::Rejected(why) => {
                    let placed = why.reason.contains("line ") || why.reason.contains('$');
                    assert!(codes::ALL.contains(&why.code) && placed, "{path}: {why}");
                }
            }
        }
    }
}

#[test]
fn guardduty_in_both_casings() {
    let Some(files) = read_folder("guardduty") else { return };
    check(&files);
    assert!(findings(&files, "").len() >= 20, "{}", findings(&files, "").len());
    assert_eq!(kinds(&files, "aws-cli/"), ["Recon:IAMUser/UserPermissions"]);
    assert_eq!(kinds(&files, "test_guardduty_1.json"), ["UnauthorizedAccess:EC2/RDPBruteForce"]);
    assert!(findings(&files, "test_guardduty_2.json").iter().all(|finding| finding.sample));
    let copies = [findings(&files, "aws-cli/"), findings(&files, "aws_guardduty_example.json")].concat();
    assert!(copies.windows(2).all(|pair| pair[0].id == pair[1].id && pair[0].version() == pair[1].version()));
}

#[test]
fn security_hub_asff() {
    let Some(files) = read_folder("securityhub-asff") else { return };
    check(&files);
    assert!(findings(&files, "").len() >= 140, "{}", findings(&files, "").len());
    for (part, kind) in [
        ("/cis-41.json", "EC2.13"),
        ("/cis4142.json", "EC2.13"),
        ("/cis-42.json", "EC2.14"),
        ("/pci-ec2.5.json", "EC2.13"),
        ("/pci-iam.7.json", "IAM.8"),
        ("/Security_Hub.raw", "EC2.19"),
        ("/inspector.raw", "PACKAGE_VULNERABILITY"),
        ("/sechub-guardduty.raw", "Stealth:IAMUser/CloudTrailLoggingDisabled"),
        ("/CIS-bad.json", "IAM.8"),
    ] {
        assert_eq!(kinds(&files, part), [kind], "{part}");
    }
    let custom: Vec<&Finding> = findings(&files, "/CIS_1-6-multi-select.json");
    assert!(custom.len() == 2 && custom.iter().all(|finding| finding.hub.custom_action.is_some()));
}

#[test]
fn security_hub_ocsf_and_its_asff_original() {
    let (Some(ocsf), Some(asff)) = (read_folder("securityhub-ocsf"), read_folder("securityhub-asff")) else { return };
    check(&ocsf);
    assert!(findings(&ocsf, "").len() >= 9, "{}", findings(&ocsf, "").len());
    for name in ["/sechub-guardduty.", "/inspector.", "/sechub-pci.", "/Security_Hub."] {
        let (one, other) = (findings(&ocsf, name), findings(&asff, name));
        let (one, other) = (one.first().unwrap(), other.first().unwrap());
        assert_eq!((&one.id, &one.kind, &one.subjects, one.provider), (&other.id, &other.kind, &other.subjects, other.provider), "{name}");
        assert_eq!(one.version(), other.version(), "{name}");
    }
    assert!(kinds(&ocsf, "/samples.json").contains(&"Execution:Runtime/NewBinaryExecuted"));
}

#[test]
fn inspector() {
    let Some(files) = read_folder("inspector2") else { return };
    check(&files);
    assert_eq!(findings(&files, "").len(), files.len());
    assert!(findings(&files, "").iter().all(|finding| finding.updated_at.is_some()));
}

#[test]
fn other_events_give_no_finding_and_malformed_ones_a_position() {
    for folder in ["eventbridge-other", "cloudtrail", "malformed"] {
        let Some(files) = read_folder(folder) else { return };
        check(&files);
        assert_eq!(findings(&files, "").len(), 0, "{folder}");
        if folder == "malformed" {
            for (path, items) in &files {
                let placed = |item: &Item| matches!(item, Item::Rejected(why) if why.reason.starts_with("line "));
                assert!(items.len() == 1 && items.iter().all(|(_, item)| placed(item)), "{path}: {items:?}");
            }
        }
    }
}
