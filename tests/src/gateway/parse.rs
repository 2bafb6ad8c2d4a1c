//! What a request asks: service, Region, operation, parameters, and how its answer has to look.

use hyper::{HeaderMap, Method, Uri};
use serde::Serialize;
use serde_json::{Map, Value};

/// The operation of a request that could not be understood.
pub const UNKNOWN: &str = "unknown";
const ROUTES: &str = include_str!("rest_routes.txt");

/// The wire protocol of a service, which says what an error looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Form in, XML out, in EC2's dialect.
    Ec2,
    /// Form in, XML out.
    Query,
    /// JSON both ways, the operation in `X-Amz-Target`.
    Json,
    /// JSON both ways, the operation in method and path.
    RestJson,
    /// CBOR both ways, the operation in the path.
    Cbor,
    /// Anything else, S3 for example.
    Other,
}

/// A request as far as it was understood.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// IAM's prefix of the service, `ec2`; `unknown` when the request is not signed.
    pub service: String,
    /// The Region of the signature.
    pub region: String,
    /// The access key of the signature, empty when there is none.
    pub access_key: String,
    /// The operation, `DescribeInstances`, or [`UNKNOWN`].
    pub operation: String,
    /// How errors have to look.
    pub protocol: Protocol,
    /// The parameters: text throughout for the form protocols, as sent for JSON.
    pub params: Value,
}

/// Understands a request. It never fails: what is not understood is [`UNKNOWN`].
#[must_use]
pub fn parse(method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Parsed {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (access_key, region, service) = credential(text("authorization"));
    let mut parsed = Parsed {
        service: prefix(&service).to_owned(),
        region,
        access_key,
        operation: UNKNOWN.to_owned(),
        protocol: Protocol::Other,
        params: Value::Null,
    };
    let target = text("x-amz-target");
    if !target.is_empty() {
        parsed.protocol = Protocol::Json;
        parsed.operation = target.rsplit('.').next().unwrap_or(UNKNOWN).to_owned();
        parsed.params = serde_json::from_slice(body).unwrap_or_default();
    } else if let Some(operation) = rpc_operation(uri.path()) {
        parsed.protocol = Protocol::Cbor;
        parsed.operation = operation;
    } else if text("content-type").starts_with("application/x-www-form-urlencoded")
        || uri.query().is_some_and(|query| query.contains("Action="))
    {
        parsed.protocol = if service == "ec2" { Protocol::Ec2 } else { Protocol::Query };
        let form = if body.is_empty() { uri.query().unwrap_or_default().to_owned() } else { String::from_utf8_lossy(body).into_owned() };
        let mut params = form_parameters(&form);
        if let Some(object) = params.as_object_mut() {
            object.remove("Version");
            if let Some(Value::String(action)) = object.remove("Action") {
                parsed.operation = action;
            }
        }
        parsed.params = params;
    } else if let Some((operation, path)) = rest_operation(&service, method, uri.path()) {
        parsed.protocol = Protocol::RestJson;
        parsed.operation = operation;
        let mut params = serde_json::from_slice(body)
            .ok()
            .and_then(|value| if let Value::Object(map) = value { Some(map) } else { None })
            .unwrap_or_default();
        params.extend(path);
        for (name, value) in pairs(uri.query().unwrap_or_default()) {
            params.entry(name).or_insert(Value::String(value));
        }
        parsed.params = Value::Object(params);
    }
    parsed
}

/// Access key, Region and service of a SigV4 (or SigV4A, which has no Region) `Authorization` header.
fn credential(header: &str) -> (String, String, String) {
    let scope = header.split_once("Credential=").map(|(_, rest)| rest.split([',', ' ']).next().unwrap_or_default()).unwrap_or_default();
    let parts: Vec<&str> = scope.split('/').collect();
    match parts.as_slice() {
        [key, _, region, service, _] => ((*key).to_owned(), (*region).to_owned(), (*service).to_owned()),
        [key, _, service, _] => ((*key).to_owned(), "*".to_owned(), (*service).to_owned()),
        _ => (String::new(), String::new(), UNKNOWN.to_owned()),
    }
}

/// IAM's prefix of a service that signs with another name.
fn prefix(signing_name: &str) -> &str {
    match signing_name {
        "monitoring" => "cloudwatch",
        "email" => "ses",
        other => other,
    }
}

/// `/service/NAME/operation/NAME`.
fn rpc_operation(path: &str) -> Option<String> {
    match path.split('/').collect::<Vec<_>>().as_slice() {
        ["", "service", _, "operation", operation] => Some((*operation).to_owned()),
        _ => None,
    }
}

/// The operation of a REST request, and the parameters in its path.
fn rest_operation(service: &str, method: &Method, path: &str) -> Option<(String, Map<String, Value>)> {
    let mut best: Option<(usize, String, Map<String, Value>)> = None;
    for line in ROUTES.lines().filter(|line| !line.starts_with('#')) {
        let [of, verb, template, operation] = line.split(' ').collect::<Vec<_>>().try_into().ok()?;
        if of == service
            && verb == method.as_str()
            && let Some(found) = match_path(template, path)
        {
            // `/detector/{id}/findings/get` before `/detector/{id}/findings/{other}`: the fewer holes, the better.
            if best.as_ref().is_none_or(|(holes, ..)| found.len() < *holes) {
                best = Some((found.len(), operation.to_owned(), found));
            }
        }
    }
    best.map(|(_, operation, found)| (operation, found))
}

fn match_path(template: &str, path: &str) -> Option<Map<String, Value>> {
    let mut found = Map::new();
    let path = path.trim_end_matches('/');
    let mut pieces = path.split('/');
    for wanted in template.trim_end_matches('/').split('/') {
        let name = wanted.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        match name {
            Some(name) if name.ends_with('+') => {
                let rest = pieces.by_ref().collect::<Vec<_>>().join("/");
                if rest.is_empty() {
                    return None;
                }
                found.insert(name.trim_end_matches('+').to_owned(), Value::String(percent_decode(&rest, false)));
            }
            Some(name) => {
                let piece = pieces.next().filter(|piece| !piece.is_empty())?;
                found.insert(name.to_owned(), Value::String(percent_decode(piece, false)));
            }
            None => {
                if pieces.next()? != wanted {
                    return None;
                }
            }
        }
    }
    pieces.next().is_none().then_some(found)
}

/// `IpPermissions.1.IpRanges.2.CidrIp=…` as objects and arrays; `member` and `entry` levels are left out.
#[must_use]
pub fn form_parameters(form: &str) -> Value {
    let mut root = Value::Object(Map::new());
    for (name, value) in pairs(form) {
        let path: Vec<&str> = name.split('.').filter(|piece| !matches!(*piece, "member" | "entry")).take(16).collect();
        insert(&mut root, &path, value);
    }
    arrays(root)
}

fn insert(node: &mut Value, path: &[&str], value: String) {
    let Some((first, rest)) = path.split_first() else { return };
    if !node.is_object() {
        *node = Value::Object(Map::new());
    }
    if let Some(object) = node.as_object_mut() {
        if rest.is_empty() {
            object.insert((*first).to_owned(), Value::String(value));
        } else {
            insert(object.entry(*first).or_insert(Value::Null), rest, value);
        }
    }
}

/// Objects whose keys are all numbers become arrays, in the order of the numbers.
fn arrays(value: Value) -> Value {
    match value {
        Value::Object(map) if !map.is_empty() && map.keys().all(|key| key.parse::<u32>().is_ok()) => {
            let mut items: Vec<(u32, Value)> = map.into_iter().map(|(key, item)| (key.parse().unwrap_or_default(), arrays(item))).collect();
            items.sort_by_key(|(number, _)| *number);
            Value::Array(items.into_iter().map(|(_, item)| item).collect())
        }
        Value::Object(map) => Value::Object(map.into_iter().map(|(key, item)| (key, arrays(item))).collect()),
        other => other,
    }
}

fn pairs(form: &str) -> impl Iterator<Item = (String, String)> {
    form.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (percent_decode(name, true), percent_decode(value, true))
    })
}

/// `%41` as `A`; in forms `+` is a space.
#[must_use]
pub fn percent_decode(text: &str, form: bool) -> String {
    let mut bytes = text.bytes();
    let mut found = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let mut ahead = bytes.clone();
                let digit =
                    |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16)).and_then(|digit| u8::try_from(digit).ok());
                if let (Some(high), Some(low)) = (digit(ahead.next()), digit(ahead.next())) {
                    found.push(high * 16 + low);
                    bytes = ahead;
                } else {
                    found.push(byte);
                }
            }
            b'+' if form => found.push(b' '),
            other => found.push(other),
        }
    }
    String::from_utf8_lossy(&found).into_owned()
}

/// Whether an operation changes anything, by the name of its IAM action. STS hands out sessions and changes nothing.
#[must_use]
pub fn is_write(service: &str, operation: &str) -> bool {
    const READS: &[&str] = &[
        "Describe",
        "List",
        "Get",
        "Filter",
        "Lookup",
        "Search",
        "Head",
        "BatchGet",
        "BatchDescribe",
        "Query",
        "Scan",
        "Select",
        "Simulate",
        "Validate",
        "Estimate",
        "Preview",
        "Check",
        "Test",
        "Detect",
        "Verify",
        "Receive",
    ];
    match (service, operation) {
        ("sts", _)
        | ("logs", "StartQuery" | "StopQuery" | "StartLiveTail")
        | ("iam", "GenerateCredentialReport" | "GenerateServiceLastAccessedDetails") => false,
        (_, operation) => !READS.iter().any(|read| operation.starts_with(read)),
    }
}
