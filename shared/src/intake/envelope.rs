//! Unwrapping: SQS and SNS messages, EventBridge events, API responses and lists, down to the findings in them.
//!
//! Only AWS can put events with a source `aws.…` on a bus, so an event from another source is never a finding, whatever
//! its detail looks like.

use std::collections::BTreeMap;

use serde_json::{Value, value::RawValue};

use super::{
    Document, Item, Origin, Rejection, asff, codes,
    common::{Context, shown},
    document, guardduty, inspector, ocsf,
    value::get,
};
use crate::trail::Record;

/// The detail type of CloudTrail's records on a bus
/// (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-service-event-cloudtrail.html>).
const API_CALL: &str = "AWS API Call via CloudTrail";
/// Wrappers within wrappers: SNS in SQS in a list is three. More is nonsense.
const MOST_WRAPPERS: usize = 8;

/// Reads all there is in a document, each with where it came from; never nothing.
#[must_use]
pub fn read(document: &Document) -> Vec<(Origin, Item)> {
    let mut reader = Reader { found: Vec::new(), wrappers: 0 };
    reader.any(&document.text, &Context { path: "$".to_owned(), ..Context::default() });
    reader.found.into_iter().map(|item| (document.origin.clone(), item)).collect()
}

type Fields<'a> = BTreeMap<String, &'a RawValue>;

struct Reader {
    found: Vec<Item>,
    wrappers: usize,
}

/// The formats a finding comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    GuardDuty,
    Asff,
    Ocsf,
    Inspector,
    /// OCSF of a class that is not a finding.
    OtherOcsf,
    CloudTrail,
}

impl Reader {
    fn reject(&mut self, code: &'static str, reason: String) {
        self.found.push(Item::Rejected(Rejection::new(code, reason)));
    }

    fn not_a_finding(&mut self, what: impl Into<String>) {
        self.found.push(Item::NotAFinding { what: what.into(), record: None });
    }

    fn call(&mut self, what: String, raw: &str) {
        self.found.push(Item::NotAFinding { what, record: Record::parse(raw).map(Box::new) });
    }

    /// Parses a part of the document, or says why not.
    fn parse<'a, T: serde::Deserialize<'a>>(&mut self, raw: &'a str, path: &str) -> Option<T> {
        match serde_json::from_str(raw) {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                let place = format!("line {}, column {} of {path}", error.line(), error.column());
                let code = if error.to_string().contains("recursion limit") { codes::TOO_DEEP } else { codes::SYNTAX };
                self.reject(code, format!("{place}: not valid JSON: {}", document::message(&error)));
                None
            }
        }
    }

    /// An object, a list, or neither.
    fn any(&mut self, raw: &str, cx: &Context) {
        match raw.trim_start().as_bytes().first() {
            Some(b'[') => {
                let Some(elements) = self.parse::<Vec<&RawValue>>(raw, &cx.path) else { return };
                self.elements(&elements, cx);
            }
            Some(b'{') => {
                let Some(fields) = self.parse::<Fields<'_>>(raw, &cx.path) else { return };
                self.object(raw, &fields, cx);
            }
            _ => self.reject(codes::NOT_AN_OBJECT, format!("{} is {}, where an event or a finding belongs", cx.path, shown(raw))),
        }
    }

    fn elements(&mut self, elements: &[&RawValue], cx: &Context) {
        if elements.is_empty() {
            self.not_a_finding(format!("an empty list ({})", cx.path));
        }
        for (index, element) in elements.iter().enumerate() {
            self.any(element.get(), &Context { path: format!("{}[{index}]", cx.path), ..cx.clone() });
        }
    }

    fn object(&mut self, raw: &str, fields: &Fields<'_>, cx: &Context) {
        if self.wrapped(fields, cx) {
            return;
        }
        if fields.contains_key("detail-type") || (fields.contains_key("detail") && shape_of_keys(fields).is_none()) {
            return self.event(fields, cx);
        }
        let shape = shape_of_keys(fields);
        if shape.is_none() {
            for name in ["Findings", "findings"] {
                if let Some(list) = fields.get(name) {
                    return self.list(list.get(), &below(cx, name));
                }
            }
        }
        match shape {
            Some(shape) => self.finding(raw, shape, cx),
            None => {
                let names: Vec<&str> = fields.keys().take(8).map(String::as_str).collect();
                let what =
                    format!("{} is neither an event nor a finding of a known format; its fields: {}", cx.path, shown(&names.join(", ")));
                self.reject(codes::UNRECOGNISED, what);
            }
        }
    }

    /// SQS and SNS, in all their forms: Lambda's events, the API's answers, and a message by itself.
    fn wrapped(&mut self, fields: &Fields<'_>, cx: &Context) -> bool {
        for name in ["Records", "Messages"] {
            let Some(list) = fields.get(name) else { continue };
            let Some(records) = self.parse::<Vec<&RawValue>>(list.get(), &format!("{}.{name}", cx.path)) else { return true };
            if records.is_empty() {
                self.not_a_finding(format!("an empty list ({}.{name})", cx.path));
            }
            for (index, record) in records.iter().enumerate() {
                self.record(record.get(), &Context { path: format!("{}.{name}[{index}]", cx.path), ..cx.clone() });
            }
            return true;
        }
        let kind = fields.get("Type").and_then(|raw| string(raw));
        match (kind.as_deref(), fields.get("Message")) {
            (Some("Notification"), Some(message)) if fields.contains_key("TopicArn") || fields.contains_key("MessageId") => {
                self.message(message, &below(cx, "Message"));
                return true;
            }
            (Some("SubscriptionConfirmation" | "UnsubscribeConfirmation"), _) => {
                self.not_a_finding("an SNS subscription message");
                return true;
            }
            _ => {}
        }
        for (name, beside) in [("body", "receiptHandle"), ("Body", "ReceiptHandle"), ("body", "messageId"), ("Body", "MessageId")] {
            if let Some(body) = fields.get(name).filter(|_| fields.contains_key(beside)) {
                self.message(body, &below(cx, name));
                return true;
            }
        }
        false
    }

    fn record(&mut self, raw: &str, cx: &Context) {
        if !raw.trim_start().starts_with('{') {
            return self.any(raw, cx);
        }
        let Some(fields) = self.parse::<Fields<'_>>(raw, &cx.path) else { return };
        if let Some(sns) = fields.get("Sns") {
            let Some(inner) = self.parse::<Fields<'_>>(sns.get(), &format!("{}.Sns", cx.path)) else { return };
            return match inner.get("Message") {
                Some(message) => self.message(message, &below(cx, "Sns.Message")),
                None => self.reject(codes::NO_CONTENT, format!("{}.Sns has no Message", cx.path)),
            };
        }
        let body = ["body", "Body"].into_iter().find_map(|name| Some((name, fields.get(name)?)));
        if let Some((name, body)) = body {
            return self.message(body, &below(cx, name));
        }
        if shape_of_keys(&fields).is_none() {
            let source = ["eventSource", "EventSource"].iter().find_map(|name| fields.get(*name).and_then(|raw| string(raw)));
            if let Some(source) = source {
                return self.call(format!("a record of {}", shown(&source)), raw);
            }
        }
        self.object(raw, &fields, cx);
    }

    /// The text of a message holds a document of its own.
    fn message(&mut self, raw: &RawValue, cx: &Context) {
        if !raw.get().starts_with('"') {
            return self.any(raw.get(), cx);
        }
        let Some(text) = self.parse::<String>(raw.get(), &cx.path) else { return };
        if !text.trim_start().starts_with(['{', '[']) {
            let what = if text.trim().is_empty() { "empty".to_owned() } else { format!("{}, which is not JSON", shown(&text)) };
            return self.reject(codes::SYNTAX, format!("{} is {what}", cx.path));
        }
        if self.wrappers >= MOST_WRAPPERS {
            return self.reject(codes::TOO_DEEP, format!("{}: more than {MOST_WRAPPERS} messages within messages", cx.path));
        }
        self.wrappers += 1;
        for found in document::documents(text.as_bytes(), &cx.path, document::MAX_DOCUMENT_BYTES) {
            match found {
                Ok(inner) => self.any(&inner.text, cx),
                Err((_, why)) => self.reject(why.code, format!("in the text of {}: {}", cx.path, why.reason)),
            }
        }
        self.wrappers -= 1;
    }

    /// An EventBridge event, or the parts of one.
    fn event(&mut self, fields: &Fields<'_>, cx: &Context) {
        let is_list = |name: &str| fields.get(name).is_some_and(|raw| raw.get().starts_with('['));
        if is_list("source") || is_list("detail-type") {
            let what = format!("{} is an EventBridge event pattern (`source` or `detail-type` is a list), not an event", cx.path);
            return self.reject(codes::EVENT_PATTERN, what);
        }
        let of = |name: &str| fields.get(name).and_then(|raw| string(raw));
        let (source, kind, region) = (of("source"), of("detail-type"), of("region"));
        let expected = match (source.as_deref(), kind.as_deref()) {
            (Some("aws.guardduty"), Some("GuardDuty Finding")) => Some(Shape::GuardDuty),
            (Some("aws.inspector2"), Some("Inspector2 Finding")) => Some(Shape::Inspector),
            (Some("aws.securityhub"), Some("Security Hub Findings - Imported" | "Security Hub Findings - Custom Action")) => {
                Some(Shape::Asff)
            }
            (Some("aws.securityhub"), Some(kind)) if kind.starts_with("Findings") && kind.ends_with("V2") => Some(Shape::Ocsf),
            (None, None) => None,
            (source, kind) => {
                let of_aws = source.is_some_and(|source| source.starts_with("aws.")) && kind == Some(API_CALL);
                let (kind, source) = (shown(kind.unwrap_or_default()), shown(source.unwrap_or_default()));
                let what = format!("an EventBridge event {kind} from {source}");
                return match fields.get("detail").filter(|_| of_aws) {
                    Some(detail) => self.call(what, detail.get()),
                    None => self.not_a_finding(what),
                };
            }
        };
        let Some(detail) = fields.get("detail") else {
            return self.reject(codes::NO_CONTENT, format!("{} announces a finding and has no `detail`", cx.path));
        };
        let custom = kind.as_deref() == Some("Security Hub Findings - Custom Action");
        let resources = fields.get("resources").filter(|_| custom).and_then(|raw| serde_json::from_str::<Vec<String>>(raw.get()).ok());
        let custom_action = resources.and_then(|resources| resources.into_iter().next());
        let cx = Context { region: region.or_else(|| cx.region.clone()), custom_action, ..below(cx, "detail") };
        match expected {
            Some(Shape::Asff | Shape::Ocsf) => self.security_hub(detail.get(), &cx),
            Some(shape) => self.finding(detail.get(), shape, &cx),
            None => self.any(detail.get(), &cx),
        }
    }

    /// The detail of Security Hub's events.
    fn security_hub(&mut self, raw: &str, cx: &Context) {
        if !raw.starts_with('{') {
            return self.reject(codes::NO_CONTENT, format!("{} is {}, where an object with `findings` belongs", cx.path, shown(raw)));
        }
        let Some(fields) = self.parse::<Fields<'_>>(raw, &cx.path) else { return };
        match fields.get("findings") {
            Some(list) if !is_empty_list(list) => self.list(list.get(), &below(cx, "findings")),
            _ => self.reject(codes::NO_CONTENT, format!("{} announces findings and holds none (`findings`)", cx.path)),
        }
    }

    /// A list of findings.
    fn list(&mut self, raw: &str, cx: &Context) {
        if raw.starts_with('[') {
            return self.any(raw, cx);
        }
        self.reject(codes::NO_CONTENT, format!("{} is {}, where a list of findings belongs", cx.path, shown(raw)));
    }

    fn finding(&mut self, raw: &str, shape: Shape, cx: &Context) {
        if !raw.starts_with('{') {
            return self.reject(codes::NO_CONTENT, format!("{} is {}, where a finding belongs", cx.path, shown(raw)));
        }
        let Some(value) = self.parse::<Value>(raw, &cx.path) else { return };
        let text = |name: &str| get(&value, name).and_then(Value::as_str).unwrap_or("?").to_owned();
        let read = match shape {
            Shape::GuardDuty => guardduty::read(&value, raw, cx),
            Shape::Asff => asff::read(&value, raw, cx),
            Shape::Ocsf => ocsf::read(&value, raw, cx),
            Shape::Inspector => inspector::read(&value, raw, cx),
            Shape::OtherOcsf => return self.not_a_finding(format!("an OCSF event of class {}", shown(&text("class_name")))),
            Shape::CloudTrail => {
                let what = format!("a CloudTrail record of {} from {}", shown(&text("eventName")), shown(&text("eventSource")));
                return self.call(what, raw);
            }
        };
        self.found.push(match read {
            Ok(finding) => Item::Finding(Box::new(finding)),
            Err(why) => Item::Rejected(why),
        });
    }
}

fn below(cx: &Context, name: &str) -> Context {
    Context { path: format!("{}.{name}", cx.path), ..cx.clone() }
}

fn string(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

fn is_empty_list(raw: &RawValue) -> bool {
    serde_json::from_str::<Vec<&RawValue>>(raw.get()).is_ok_and(|list| list.is_empty())
}

/// The format that an object's fields show.
fn shape_of_keys(fields: &Fields<'_>) -> Option<Shape> {
    let has = |name: &str| fields.contains_key(name);
    let any = |names: &[&str]| names.iter().any(|name| fields.contains_key(*name));
    if has("ProductArn") || (has("AwsAccountId") && any(&["GeneratorId", "Resources", "SchemaVersion", "Types"])) {
        return Some(Shape::Asff);
    }
    if any(&["class_uid", "finding_info"]) || (has("category_uid") && has("metadata")) {
        let class = fields.get("class_uid").and_then(|raw| serde_json::from_str::<u64>(raw.get()).ok());
        let finding = any(&["finding_info", "finding"]) || class.is_some_and(|class| (2000..3000).contains(&class));
        return Some(if finding { Shape::Ocsf } else { Shape::OtherOcsf });
    }
    if has("findingArn") || (has("awsAccountId") && any(&["inspectorScore", "severity", "resources"]) && has("type")) {
        return Some(Shape::Inspector);
    }
    let source = fields.get("eventSource").filter(|_| has("eventName")).and_then(|raw| string(raw));
    if source.is_some_and(|source| source.contains(".amazonaws.com")) {
        return Some(Shape::CloudTrail);
    }
    let about = any(&["resource", "Resource", "service", "Service"]);
    (about && any(&["accountId", "AccountId", "type", "Type", "severity", "Severity"])).then_some(Shape::GuardDuty)
}

#[cfg(test)]
#[path = "envelope_tests.rs"]
mod tests;
