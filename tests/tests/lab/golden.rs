//! Files that are rendered from the code and kept in the repository, so that a change of them is seen: the pages of the actions and the
//! spoke role's template. With `CORDON_UPDATE_GOLDEN=1` they are written instead of compared.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail as tests do")]

use std::{collections::BTreeSet, fmt::Write as _, fs, path::PathBuf};

use cordon_hub::{infra, setup};
use cordon_shared::plan::{Risk, Seat};
use cordon_spoke::{
    action::{Action, Kind, Registry},
    aws::MEMBER_READS,
    permission::Permission,
};
use serde_json::Value;

use super::arch::{files, root};

fn registry() -> Registry {
    setup::registry().unwrap()
}

/// Compares a file with what it should be, or writes it.
fn golden(path: &PathBuf, wanted: &str) {
    if std::env::var_os("CORDON_UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, wanted).unwrap();
        return;
    }
    let found = fs::read_to_string(path).unwrap_or_default();
    let differs = found.lines().zip(wanted.lines()).position(|(found, wanted)| found != wanted);
    let at = differs.unwrap_or_else(|| found.lines().count().min(wanted.lines().count()));
    assert!(
        found == wanted,
        "{}, line {}: it has `{}`, the code renders `{}`; run the test again with CORDON_UPDATE_GOLDEN=1 and look at the difference",
        path.display(),
        at + 1,
        found.lines().nth(at).unwrap_or_default(),
        wanted.lines().nth(at).unwrap_or_default()
    );
}

/// The type of a parameter in words, from its JSON Schema.
fn kind_of(schema: &Value, whole: &Value) -> String {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let name = reference.rsplit('/').next().unwrap();
        return kind_of(&whole["$defs"][name], whole);
    }
    let choices = |list: &Value| {
        let kinds: Vec<String> = list.as_array().unwrap().iter().map(|one| kind_of(one, whole)).filter(|kind| kind != "null").collect();
        kinds.into_iter().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" or ")
    };
    if let Some(list) = schema.get("anyOf").or_else(|| schema.get("oneOf")) {
        return choices(list);
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return values
            .iter()
            .map(|value| format!("`{}`", value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
            .collect::<Vec<_>>()
            .join(" or ");
    }
    if let Some(value) = schema.get("const") {
        return format!("`{}`", value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    }
    let word = |kind: &str| match kind {
        "array" => format!("list of {}", schema.get("items").map_or_else(|| "any".to_owned(), |items| kind_of(items, whole))),
        "string" => match schema.get("format").and_then(Value::as_str) {
            Some("ip") => "address".to_owned(),
            Some("date-time") => "time".to_owned(),
            _ => "text".to_owned(),
        },
        "integer" => "number".to_owned(),
        other => other.to_owned(),
    };
    match schema.get("type") {
        Some(Value::String(kind)) => word(kind),
        Some(Value::Array(kinds)) => {
            kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").map(word).collect::<Vec<_>>().join(" or ")
        }
        _ => "any".to_owned(),
    }
}

/// A text in a cell of a table.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

fn parameters(page: &mut String, action: &Action) {
    let schema = &action.schema;
    let required: Vec<&str> = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    page.push_str("\n## Parameters\n\n| parameter | type | without it | what it is |\n| --- | --- | --- | --- |\n");
    for (name, property) in properties {
        let without = match property.get("default") {
            _ if required.contains(&name.as_str()) => "required".to_owned(),
            Some(Value::String(text)) => format!("`{text}`"),
            Some(value) if !value.is_null() => format!("`{value}`"),
            _ => "none".to_owned(),
        };
        let what = property.get("description").and_then(Value::as_str).unwrap_or_default();
        writeln!(page, "| `{name}` | {} | {without} | {} |", kind_of(property, schema), cell(what)).unwrap();
    }
}

fn permissions(page: &mut String, title: &str, who: &str, permissions: &[Permission]) {
    if permissions.is_empty() {
        return;
    }
    write!(page, "\n## {title}\n\n{who}\n\n| IAM action | resource | condition |\n| --- | --- | --- |\n").unwrap();
    for permission in permissions {
        let conditions: Vec<String> =
            permission.conditions.iter().map(|(operator, key, value)| format!("`{operator} {key} {value}`")).collect();
        let conditions = if conditions.is_empty() { "none".to_owned() } else { conditions.join(", ") };
        writeln!(page, "| `{}` | `{}` | {conditions} |", permission.action, permission.resource).unwrap();
    }
}

/// The page of one action.
fn page(action: &Action) -> String {
    let risk = match action.risk {
        Risk::ReadOnly => "only reads",
        Risk::Reversible => "reversible: undo restores what was",
        Risk::Disruptive => "disruptive: interrupts a rightful user; undo restores",
        Risk::Destructive => "destructive: something of it cannot be undone",
    };
    let seat = match action.seat {
        Seat::Member => "the member account, through the spoke role",
        Seat::Hub => "the hub's own account",
    };
    let (kind, undo) = match (&action.kind, action.undo_only_named) {
        (Kind::Probe(_), _) => ("probe", "There is nothing to undo."),
        (Kind::Change(_), true) => (
            "change",
            "Only when its step is named: `cordon incident undo ID --step STEP`. An undo of the whole incident leaves it, since putting it back opens what was attacked.",
        ),
        (Kind::Change(_), false) => {
            ("change", "With its incident (`cordon incident undo ID`), by its step (`--step STEP`), or when its playbook's `ttl` is over.")
        }
    };
    let mut page = format!(
        "<!-- Rendered from the code by `golden::the_pages_of_the_actions_are_those_of_the_code`; do not edit. -->\n# `{}`\n\n",
        action.name
    );
    let about = action.about.trim_end_matches('.');
    write!(page, "{about}.\n\n| | |\n| --- | --- |\n| kind | {kind} |\n| risk | {risk} |\n| works in | {seat} |\n").unwrap();
    if let Kind::Change(change) = &action.kind {
        writeln!(page, "| settles within | {:#} |", change.settle()).unwrap();
    }
    parameters(&mut page, action);
    permissions(
        &mut page,
        "Reads",
        "What plan, poll and verify call; part of the spoke role and of the playbook's read session.",
        action.reads,
    );
    let whose = match action.seat {
        Seat::Member => {
            "What apply and undo call. In the spoke role each `{name}` is `*`; in a step's write session it is the planned ids and nothing else."
        }
        Seat::Hub => "What apply and undo call, in the hub's account. The spoke role does not hold them.",
    };
    permissions(&mut page, "Writes", whose, action.writes);
    write!(page, "\n## Undo\n\n{undo}\n").unwrap();
    page
}

#[test]
fn the_pages_of_the_actions_are_those_of_the_code() {
    let registry = registry();
    let folder = root().join("docs/actions");
    let mut list = String::from(
        "<!-- Rendered from the code by `golden::the_pages_of_the_actions_are_those_of_the_code`; do not edit. -->\n# Actions\n\n",
    );
    list.push_str("| action | kind | risk | what it does |\n| --- | --- | --- | --- |\n");
    let mut wanted = BTreeSet::from(["README.md".to_owned()]);
    for action in registry.iter() {
        let file = format!("{}.md", action.name);
        golden(&folder.join(&file), &page(action));
        let kind = if matches!(action.kind, Kind::Probe(_)) { "probe" } else { "change" };
        let risk = serde_json::to_value(action.risk).unwrap();
        writeln!(
            list,
            "| [`{}`]({file}) | {kind} | {} | {} |",
            action.name,
            risk.as_str().unwrap(),
            cell(action.about.trim_end_matches('.'))
        )
        .unwrap();
        wanted.insert(file);
    }
    golden(&folder.join("README.md"), &list);
    let found: BTreeSet<String> =
        files(&folder, &["md"]).iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!(found, wanted, "docs/actions has pages of actions that there are not");
}

fn template() -> Value {
    serde_json::from_str(&infra::spoke_role(&registry())).unwrap()
}

#[test]
fn the_spoke_roles_template_is_that_of_the_code() {
    golden(&root().join("infra/spoke-role.template.json"), &infra::spoke_role(&registry()));
}

#[test]
fn the_spoke_role_may_do_what_its_actions_declare_and_nothing_else() {
    // What the hub itself reads there, beside the actions: whom to tell.
    let mut declared: BTreeSet<String> = MEMBER_READS.iter().map(|permission| permission.action.to_owned()).collect();
    for action in registry().iter().filter(|action| action.seat == Seat::Member) {
        declared.extend(action.reads.iter().chain(action.writes).map(|permission| permission.action.to_owned()));
    }
    let template = template();
    let role = &template["Resources"]["SpokeRole"]["Properties"];
    let mut granted = BTreeSet::new();
    for policy in role["Policies"].as_array().unwrap() {
        for statement in policy["PolicyDocument"]["Statement"].as_array().unwrap() {
            assert_eq!(statement["Effect"], "Allow");
            let actions = &statement["Action"];
            match actions {
                Value::String(one) => granted.extend([one.clone()]),
                many => granted.extend(many.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned())),
            }
            let text = statement.to_string();
            let only_reads = policy["PolicyName"] == "look";
            assert!(only_reads || statement["Resource"] != "*", "a change on every resource: {text}");
        }
    }
    assert_eq!(granted, declared);
    assert!(granted.iter().all(|action| !action.contains('*')), "an action with a wildcard");
    // What lets somebody in: never without an external id and a source identity of ours.
    let trust = &role["AssumeRolePolicyDocument"]["Statement"];
    assert_eq!(trust.as_array().unwrap().len(), 1);
    assert!(trust[0]["Condition"]["StringEquals"]["sts:ExternalId"].is_object());
    assert_eq!(trust[0]["Condition"]["StringLike"]["sts:SourceIdentity"], "cordon-*");
}

/// IAM counts the inline policies of a role together, without white space.
#[test]
fn the_spoke_roles_policies_fit_into_a_role() {
    let template = template();
    let policies = template["Resources"]["SpokeRole"]["Properties"]["Policies"].as_array().unwrap().clone();
    let size: usize =
        policies.iter().map(|policy| policy["PolicyDocument"].to_string().chars().filter(|c| !c.is_whitespace()).count()).sum();
    assert!(size <= 10_240, "the inline policies have {size} characters, a role takes 10,240");
    assert!(infra::spoke_role(&registry()).len() <= 51_200, "a template given in the call has at most 51,200 bytes");
}
