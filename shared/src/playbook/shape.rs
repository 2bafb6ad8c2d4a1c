//! Which fields a playbook can read, so that a misspelt one is an error and not silently nothing.

use crate::expr::Part;

/// What is found at a place of the data.
#[derive(Debug)]
enum Shape {
    /// A text, a number or a boolean.
    Leaf,
    /// Not known here.
    Any,
    List(&'static Shape),
    Object(&'static [(&'static str, Shape)]),
}

use Shape::{Any, Leaf, List, Object};

const CELL: Shape = Object(&[("account", Leaf), ("region", Leaf)]);

const SUBJECT: Shape = Object(&[("cell", CELL), ("kind", Leaf), ("id", Leaf), ("arn", Leaf)]);

/// [`crate::finding::Finding`] as it is serialised.
const FINDING: Shape = Object(&[
    ("id", Leaf),
    ("provider", Leaf),
    ("format", Leaf),
    ("type", Leaf),
    ("title", Leaf),
    ("severity", Leaf),
    ("cell", CELL),
    ("subjects", List(&SUBJECT)),
    ("role", Leaf),
    (
        "credential",
        Object(&[
            ("access_key_id", Leaf),
            ("principal_id", Leaf),
            ("user_type", Leaf),
            ("user_name", Leaf),
            ("session", Leaf),
            ("instance", Leaf),
        ]),
    ),
    (
        "network",
        Object(&[
            ("direction", Leaf),
            ("protocol", Leaf),
            ("local_port", Leaf),
            ("remote_port", Leaf),
            ("remote_ips", List(&Leaf)),
            ("local_ips", List(&Leaf)),
        ]),
    ),
    ("first_seen", Leaf),
    ("last_seen", Leaf),
    ("updated_at", Leaf),
    ("count", Leaf),
    ("sample", Leaf),
    ("archived", Leaf),
    ("hub", Object(&[("record_state", Leaf), ("workflow", Leaf), ("compliance", Leaf), ("custom_action", Leaf), ("product_arn", Leaf)])),
]);

const DATA: Shape = Object(&[("finding", FINDING), ("subject", SUBJECT), ("account", Any), ("steps", Any)]);

/// What is wrong with a path and what to do about it.
pub(super) type Fault = (String, Option<String>);

/// Checks the path of an expression.
pub(super) fn check_path(parts: &[Part]) -> Result<(), Fault> {
    let mut shape = &DATA;
    let mut way = String::new();
    for part in parts {
        shape = match (shape, part) {
            (Any, _) => return Ok(()),
            (Object(fields), Part::Key(key)) => field(fields, key, &way)?,
            (List(element), Part::Index(_)) => element,
            (List(_), Part::Key(_)) => return Err((format!("`{way}` is a list"), Some(format!("take an element of it: `{way}[0]`")))),
            (_, Part::Index(_)) => return Err((format!("`{way}` is not a list"), None)),
            (Leaf, Part::Key(key)) => return Err((format!("`{way}` is a plain value; there is no `{key}` in it"), None)),
        };
        match part {
            Part::Key(key) if way.is_empty() => way.push_str(key),
            Part::Key(key) => {
                way.push('.');
                way.push_str(key);
            }
            Part::Index(index) => way.push_str(&format!("[{index}]")),
        }
    }
    Ok(())
}

/// Checks a field of a pattern over a finding, where lists are looked through. `way` leads to it.
pub(super) fn check_field(way: &[&str]) -> Result<(), Fault> {
    let mut shape = &FINDING;
    let mut named = "a finding".to_owned();
    for key in way.iter().flat_map(|key| key.split('.')) {
        shape = match through(shape) {
            Object(fields) => field(fields, key, &named)?,
            _ => return Err((format!("`{named}` is a plain value; there is no `{key}` in it"), None)),
        };
        named = key.to_owned();
    }
    match through(shape) {
        Object(fields) => {
            let names: Vec<_> = fields.iter().map(|(name, _)| *name).collect();
            Err((
                format!("`{named}` has fields of its own and no value that could match"),
                Some(format!("name one of them: {}", names.join(", "))),
            ))
        }
        _ => Ok(()),
    }
}

fn through(shape: &'static Shape) -> &'static Shape {
    if let List(element) = shape { element } else { shape }
}

fn field(fields: &'static [(&'static str, Shape)], key: &str, way: &str) -> Result<&'static Shape, Fault> {
    let names = || fields.iter().map(|(name, _)| *name);
    fields.iter().find(|(name, _)| *name == key).map(|(_, shape)| shape).ok_or_else(|| {
        let help = crate::words::closest(key, names())
            .map_or_else(|| format!("there are {}", names().collect::<Vec<_>>().join(", ")), |near| format!("did you mean `{near}`?"));
        (format!("there is no `{key}` in {}", if way.contains(' ') { way.to_owned() } else { format!("`{way}`") }), Some(help))
    })
}

/// Why this field of a finding decides nothing, if so: any account of the organization can set it on its findings with
/// `BatchUpdateFindings` (<https://docs.aws.amazon.com/securityhub/1.0/APIReference/API_BatchUpdateFindings.html>).
pub(super) fn decides_nothing(way: &[&str]) -> Option<Fault> {
    matches!(way, ["hub", "workflow"] | ["hub.workflow"]).then(|| {
        let why = "`hub.workflow` can be set by the account the finding is about, so nothing is decided by it".to_owned();
        (why, Some("decide by what the provider says: `type`, `role`, `network`, `severity`, `archived`".to_owned()))
    })
}

/// The step that a path reads, if it begins with `steps`.
pub(super) fn step_of(path: &[String]) -> Option<String> {
    match path {
        [root, step, ..] if root == "steps" => Some(step.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Each value of `json` must have its place in `shape`, and the other way round.
    fn agree(shape: &Shape, json: &Value, way: &str) {
        match (shape, json) {
            (Any, _) => {}
            (Leaf, leaf) => assert!(!leaf.is_object() && !leaf.is_array(), "{way}"),
            (List(shape), Value::Array(list)) => list.iter().for_each(|json| agree(shape, json, way)),
            (Object(fields), Value::Object(object)) => {
                let mut names: Vec<_> = fields.iter().map(|(name, _)| name.to_string()).collect();
                names.sort();
                assert_eq!(
                    names,
                    object.keys().cloned().collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>(),
                    "{way}"
                );
                fields.iter().for_each(|(name, shape)| agree(shape, &json[name], &format!("{way}.{name}")));
            }
            _ => panic!("{way}: {shape:?} is not the shape of {json}"),
        }
    }

    #[test]
    fn the_fields_a_playbook_can_read_are_those_of_a_serialised_finding() {
        use crate::finding::*;
        let cell = crate::id::CellId::new("111122223333".parse().unwrap(), "eu-west-1".parse().unwrap());
        let arn = "arn:aws:ec2:eu-west-1:111122223333:instance/i-0abc".parse().unwrap();
        let subject = Subject { cell: cell.clone(), kind: SubjectKind::Instance, id: "i-0abc".to_owned(), arn: Some(arn) };
        let some = |text: &str| Some(text.to_owned());
        let now = Some(jiff::Timestamp::UNIX_EPOCH);
        let finding = Finding {
            id: FindingId("x".to_owned()),
            provider: Provider::GuardDuty,
            format: Format::GuardDuty,
            kind: "x".to_owned(),
            title: "x".to_owned(),
            severity: 20,
            cell,
            subjects: vec![subject],
            role: Some(ResourceRole::Target),
            credential: Credential::new(Some("ASIA1"), Some("AROA1:i-0123456789abcdef0"), Some("AssumedRole"), Some("web")),
            network: Network {
                direction: some("INBOUND"),
                protocol: some("tcp"),
                local_port: Some(22),
                remote_port: Some(1),
                remote_ips: vec!["192.0.2.1".parse().unwrap()],
                local_ips: vec!["10.0.0.1".parse().unwrap()],
            },
            first_seen: now,
            last_seen: now,
            updated_at: now,
            count: 1,
            sample: false,
            archived: false,
            hub: HubState {
                record_state: some("ACTIVE"),
                workflow: some("NEW"),
                compliance: some("FAILED"),
                custom_action: some("x"),
                product_arn: some("x"),
            },
            raw: Raw::new(b"{}"),
        };
        let finding = serde_json::to_value(finding).unwrap();
        agree(&DATA, &json!({"finding": finding, "subject": finding["subjects"][0], "account": {}, "steps": {}}), "data");
    }
}
