//! The evidence: each file's content against its name, and what entries speak of against the files.

use std::{collections::BTreeSet, path::Path};

use super::{AuditReport, Referred};
use crate::evidence::{DIR, files, is_name, sha256_of_file};

pub(super) fn check(dir: &Path, report: &mut AuditReport, referred: &Referred) {
    let paths = match files(&dir.join(DIR)) {
        Ok(paths) => paths,
        Err(error) => return report.problem("evidence-unreadable", DIR, error.to_string()),
    };
    let mut found = BTreeSet::new();
    let mut described = BTreeSet::new();
    for path in paths {
        let place = path.strip_prefix(dir).unwrap_or(&path).display().to_string();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(name) = name.strip_suffix(".json").filter(|name| is_name(name)) {
            described.insert(name.to_owned());
            continue;
        }
        let at_home = name.get(..2) == path.parent().and_then(Path::file_name).and_then(|folder| folder.to_str());
        if !is_name(name) || !at_home {
            report.problem("evidence-strange", place, "Cordon keeps no such file there");
            continue;
        }
        report.evidence_files = report.evidence_files.saturating_add(1);
        match sha256_of_file(&path) {
            Ok(sha256) if sha256 == name => {}
            Ok(_) => report.problem("evidence-changed", place, "its content is not what its name says"),
            Err(error) => report.problem("evidence-unreadable", place, error.to_string()),
        }
        found.insert(name.to_owned());
    }
    for name in described.difference(&found) {
        report.problem("evidence-missing", name.as_str(), "the file that describes it is there, its content is not");
    }
    for (name, place) in referred {
        if !found.contains(name) && !described.contains(name) {
            report.problem("evidence-missing", name.as_str(), format!("{place} speaks of it"));
        }
    }
}
