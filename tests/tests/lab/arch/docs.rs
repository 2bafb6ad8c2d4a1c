//! The documentation, held against the code.

use std::collections::{BTreeMap, BTreeSet};

use cordon_shared::intake::codes;

use super::{files, only_tests, read, root, sources};

/// Names of test functions, and the files they are in.
fn tests() -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, source) in sources() {
        let (mut marked, mut listed) = (false, false);
        for line in source.lines().map(str::trim) {
            // One function for each name and store: a macro makes the test functions.
            listed = (listed || line == "for_each_store!(") && line != ");";
            if let Some(name) = line.strip_suffix(',').filter(|_| listed) {
                found.entry(name.to_owned()).or_default().push(path.clone());
            } else if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                marked = true;
            } else if let Some(rest) = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn ")) {
                if std::mem::take(&mut marked) {
                    let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                    found.entry(name).or_default().push(path.clone());
                }
            } else if !(line.is_empty() || line.starts_with("#[") || line.starts_with("//")) {
                marked = false;
            }
        }
    }
    found
}

/// What stands between back quotes.
fn spans(line: &str) -> Vec<&str> {
    line.split('`').skip(1).step_by(2).collect()
}

#[test]
fn each_promise_names_tests_that_are_there() {
    let tests = tests();
    assert!(tests.contains_key("each_promise_names_tests_that_are_there"), "test functions were not found as it is meant");
    let page = read(&root().join("docs/semantics.md"));
    let (mut promises, mut named, mut wrong) = (0, 0, Vec::new());
    for (number, line) in (1..).zip(page.lines()) {
        if !line.starts_with("- **") {
            continue;
        }
        promises += 1;
        let Some((_, held)) = line.split_once("Held by ") else {
            if !line.contains("No test yet") {
                wrong.push(format!("docs/semantics.md:{number}: neither `Held by` nor `No test yet`"));
            }
            continue;
        };
        let names = spans(held);
        if names.is_empty() {
            wrong.push(format!("docs/semantics.md:{number}: held by nothing"));
        }
        for name in names {
            named += 1;
            if !tests.contains_key(name) {
                wrong.push(format!("docs/semantics.md:{number}: there is no test `{name}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(promises > 50 && named > promises, "{promises} promises, {named} tests");
}

/// Words in the first column of a page's tables.
fn first_column(page: &str) -> BTreeSet<String> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| "));
    let cells = rows.filter_map(|row| row.split('|').next()).map(str::trim);
    cells.flat_map(|cell| if cell.contains('`') { spans(cell) } else { vec![cell] }).map(str::to_owned).collect()
}

fn is_code(text: &str) -> bool {
    text.len() > 2
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c == '-' || c.is_ascii_digit())
}

/// Texts in quotation marks that look like a reason's code.
fn quoted(text: &str) -> Vec<String> {
    text.split('"').skip(1).step_by(2).filter(|word| is_code(word)).map(str::to_owned).collect()
}

/// The codes of holds, failures and ignored findings that the code can give.
fn reasons() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (path, source) in sources().iter().filter(|(path, _)| !only_tests(path) && !path.starts_with("tests/")) {
        let code: Vec<&str> =
            source.lines().take_while(|line| line.trim() != "mod tests {").map(|line| line.split("//").next().unwrap()).collect();
        for (at, line) in code.iter().enumerate() {
            if let Some((_, rest)) = line.split_once("hold(\"") {
                found.extend(quoted(&format!("\"{rest}")).into_iter().take(1));
            }
            if path.starts_with("spoke/src/actions") && line.contains("Plan::Refuse {") {
                found.extend(quoted(&[*line, code.get(at + 1).unwrap_or(&"")].concat()));
            }
            if (line.contains("Ignored {") || line.contains("Hold {") || line.contains("Failed {")) && line.contains("code: \"") {
                found.extend(quoted(line).into_iter().take(1));
            }
            if path.ends_with("error.rs") && path.starts_with("spoke/src/") && line.contains("=> \"") {
                found.extend(quoted(line));
            }
            if path.starts_with("hub/src/audit/") {
                found.extend(quoted(line).into_iter().filter(|word| word.contains('-')));
            }
            if path == "shared/src/engine/state.rs" && (line.contains("make(RunState::") || line.starts_with("pub const ")) {
                found.extend(quoted(line).into_iter().take(1));
            }
        }
    }
    found
}

#[test]
fn every_reason_code_is_explained() {
    let documented = first_column(&read(&root().join("docs/errors.md")));
    let reasons = reasons();
    for sure in ["opted-out", "cap-spent", "role-missing", "shared-vpc", "ask-expired", "not-in-effect", "access-denied", "no-playbook"] {
        assert!(reasons.contains(sure), "`{sure}` was not found in the code: codes are not found as it is meant");
    }
    let missing: Vec<&String> = reasons.iter().filter(|code| !documented.contains(*code)).collect();
    assert!(missing.is_empty(), "docs/errors.md does not explain {missing:?}");
}

#[test]
fn every_code_of_rejected_input_is_in_both_pages() {
    for page in ["docs/errors.md", "docs/errors-intake.md"] {
        let documented = first_column(&read(&root().join(page)));
        let listed: BTreeSet<&str> = documented.iter().map(String::as_str).filter(|code| code.starts_with("CDN-")).collect();
        assert_eq!(listed, codes::ALL.iter().copied().collect::<BTreeSet<_>>(), "{page}");
    }
}

#[test]
fn links_between_pages_lead_somewhere() {
    let root = root();
    let mut pages: Vec<_> = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"].iter().map(|page| root.join(page)).collect();
    pages.extend(files(&root.join("docs"), &["md"]));
    let (mut links, mut dead) = (0, Vec::new());
    for page in pages {
        let text = read(&page);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") || link.starts_with('#') || link.contains(' ') {
                continue;
            }
            links += 1;
            let (file, heading) = link.split_once('#').map_or((link, None), |(file, heading)| (file, Some(heading)));
            let target = page.parent().unwrap().join(file);
            let there = target.exists() && heading.is_none_or(|heading| headings(&read(&target)).contains(heading));
            if !there {
                dead.push(format!("{}: {link}", page.strip_prefix(&root).unwrap().display()));
            }
        }
    }
    assert!(dead.is_empty(), "links that lead nowhere: {dead:#?}");
    assert!(links > 20);
}

/// The anchors of a page's headings, as GitHub makes them.
fn headings(page: &str) -> BTreeSet<String> {
    let titles = page.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim().to_lowercase());
    titles
        .map(|title| {
            title
                .chars()
                .filter_map(|c| if c == ' ' { Some('-') } else { (c.is_alphanumeric() || c == '-' || c == '_').then_some(c) })
                .collect()
        })
        .collect()
}

#[test]
fn every_decision_is_in_the_list() {
    let root = root();
    let architecture = read(&root.join("docs/architecture.md"));
    let decisions = files(&root.join("docs/adr"), &["md"]);
    assert!(decisions.len() >= 7);
    for decision in decisions {
        let name = decision.file_name().unwrap().to_string_lossy().into_owned();
        assert!(architecture.contains(&name), "docs/architecture.md does not mention docs/adr/{name}");
    }
}

#[test]
fn documented_commands_are_commands() {
    let source = &sources()["hub/src/cli.rs"];
    let list = source.split("enum Command {").nth(1).unwrap().split("\n}").next().unwrap();
    let known: BTreeSet<String> = list
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()))
        .filter_map(|line| line.split('(').next())
        .map(str::to_lowercase)
        .collect();
    assert!(known.contains("respond") && known.contains("audit"), "{known:?}");
    let mut wrong = Vec::new();
    for page in [root().join("README.md"), root().join("docs/errors.md"), root().join("docs/semantics.md")] {
        for (number, line) in (1..).zip(read(&page).lines()) {
            for rest in line.split("`cordon ").skip(1) {
                let command: String = rest.chars().take_while(char::is_ascii_lowercase).collect();
                if !command.is_empty() && !known.contains(&command) {
                    wrong.push(format!("{}:{number}: cordon {command}", page.file_name().unwrap().to_string_lossy()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}
