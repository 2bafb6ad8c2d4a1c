//! Real records, from the folder that `CORDON_CORPUS` names; without it there is nothing to test.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Record, redact};

/// The records below `cloudtrail/`, with their files.
fn records() -> Option<Vec<(String, Value)>> {
    let Some(root) = std::env::var_os("CORDON_CORPUS") else {
        println!("skipped: CORDON_CORPUS is not set");
        return None;
    };
    let mut files = Vec::new();
    walk(&Path::new(&root).join("cloudtrail"), &mut files);
    assert!(!files.is_empty(), "no files in cloudtrail");
    let mut found = Vec::new();
    for file in files {
        let (name, text) = (file.display().to_string(), String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned());
        let documents: Vec<Value> = match serde_json::from_str(&text) {
            Ok(one) => vec![one],
            Err(_) => text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect(),
        };
        let list = |document: Value| match document {
            Value::Array(items) => items,
            mut one => match one.get_mut("Records").map(Value::take) {
                Some(Value::Array(items)) => items,
                _ => vec![one],
            },
        };
        found.extend(documents.into_iter().flat_map(list).filter(|one| one.get("eventName").is_some()).map(|one| (name.clone(), one)));
    }
    Some(found)
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { walk(&path, files) } else { files.push(path) }
    }
}

#[test]
fn every_real_record_is_read_and_no_secret_of_it_is_kept() {
    let Some(records) = records() else { return };
    assert!(records.len() >= 700, "{}", records.len());
    let mut tokens = 0;
    for (file, document) in &records {
        let record = Record::read(document).unwrap_or_else(|| panic!("{file}: {document}"));
        assert!(
            record.at.is_some() || document.get("eventTime").and_then(Value::as_str).is_none_or(|at| at.len() != 20),
            "{file}: {document}"
        );
        let kept = format!("{}{}", serde_json::to_string(&record).unwrap(), redact(document));
        for secret in
            ["/responseElements/credentials/sessionToken", "/responseElements/credentials/secretAccessKey", "/requestParameters/password"]
        {
            if let Some(text) = document.pointer(secret).and_then(Value::as_str).filter(|text| text.len() > 40) {
                tokens += 1;
                assert!(!kept.contains(text), "{file}: {secret}");
            }
        }
    }
    assert!(tokens >= 5, "{tokens}");
}

#[test]
fn what_attackers_of_the_corpus_made_is_named() {
    let Some(records) = records() else { return };
    let of = |part: &str| -> Vec<Record> {
        records.iter().filter(|(file, _)| file.contains(part)).filter_map(|(_, document)| Record::read(document)).collect()
    };
    let kinds = |part: &str| -> Vec<String> { of(part).iter().flat_map(|record| record.made.clone()).map(|made| made.kind).collect() };
    for (part, wanted) in [
        ("iam-create-admin-user", "access-key"),
        ("iam-create-admin-user", "user"),
        ("iam-create-backdoor-role", "role"),
        ("iam-create-user-login-profile", "login-profile"),
        ("iam-backdoor-role", "trust-policy"),
        ("iam-backdoor-user", "access-key"),
        ("sts-federation-token", "federation-token"),
        ("rolesanywhere-create-trust-anchor", "trust-anchor"),
        ("lambda-overwrite-code", "function-code"),
    ] {
        assert!(kinds(part).iter().any(|kind| kind == wanted), "{part}: {:?}", kinds(part));
    }
    let opened = of("ec2-security-group-open-port-22-ingress");
    assert!(opened.iter().flat_map(|record| &record.openings).any(|opening| opening.from == Some(22) && opening.rule.is_some()));
    let assumed = of("ec2-launch-unusual-instances");
    let issued: Vec<_> = assumed.iter().filter(|record| record.assumes()).filter_map(|record| record.issued.clone()).collect();
    assert!(!issued.is_empty() && issued.iter().all(|issued| issued.until.is_some()));
}
