//! Who set a tag of one resource, and when: from the records of the calls that set and take tags.
//!
//! Tags that a call set when it made the resource count too. What is not told here is not known: the tag then counts as old.

use jiff::Timestamp;
use serde_json::Value;

use super::{Record, ingress::items, text_at};
use crate::{arn::Arn, optout::Since};

/// What a call did to a tag of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tagging {
    /// It was set to this value.
    Set(String),
    /// It was taken off; with a value only where it was that.
    Taken(Option<String>),
}

/// A call that did something to the tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tagged {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: Tagging,
    /// The record.
    record: Record,
}

impl Tagged {
    /// Reads a record as one that did something to the tag `key` of a resource. `None`: it did nothing to it, or failed.
    #[must_use]
    pub fn read(document: &Value, arn: &Arn, key: &str) -> Option<Self> {
        let record = Record::read(document).filter(|record| record.error.is_none())?;
        let what = match record.service() {
            "ec2" if arn.service() == "ec2" => of_ec2(&record.name, document, arn, key),
            "iam" if arn.service() == "iam" => of_iam(&record.name, document, arn, key),
            "autoscaling" if arn.service() == "autoscaling" => of_scaling(&record.name, document, arn, key),
            service if service == arn.service() => of_arns(&record.name, document, arn, key),
            _ => None,
        }?;
        Some(Self { at: record.at?, what, record })
    }
}

/// Since when a tag that opts out now has done so without a break, by its calls in whatever order. `None`: they do not tell.
#[must_use]
pub fn since(mut calls: Vec<Tagged>, opts_out: impl Fn(&str) -> bool) -> Option<Since> {
    calls.sort_by(|one, other| (one.at, &one.record.id).cmp(&(other.at, &other.record.id)));
    let (mut value, mut set): (Option<String>, Option<Tagged>) = (None, None);
    for call in calls {
        match &call.what {
            Tagging::Set(new) => {
                value = Some(new.clone());
                if !opts_out(new) {
                    set = None;
                } else if set.is_none() {
                    set = Some(call);
                }
            }
            // With another value than the one that is there nothing is taken off.
            Tagging::Taken(Some(only)) if value.as_ref().is_some_and(|value| value != only) => {}
            Tagging::Taken(_) => (value, set) = (None, None),
        }
    }
    let Tagged { at, record, .. } = set?;
    let call = record.call();
    Some(Since::Recorded { at, call, by: record.by.arn, address: record.address, event: record.id })
}

/// The value of a tag in a list of keys and values.
fn value_in(list: Option<&Value>, key: &str) -> Option<String> {
    let tag = items(list).into_iter().find(|tag| tag.get("key").and_then(Value::as_str) == Some(key))?;
    Some(tag.get("value").and_then(Value::as_str).unwrap_or_default().to_owned())
}

/// Whether a list of texts holds one.
fn lists(list: Option<&Value>, text: &str) -> bool {
    match list {
        Some(Value::Array(texts)) => texts.iter().any(|item| item.as_str() == Some(text)),
        Some(Value::String(only)) => only == text,
        _ => false,
    }
}

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateTags.html>, `API_DeleteTags.html`: without tags all are taken off.
fn of_ec2(name: &str, document: &Value, arn: &Arn, key: &str) -> Option<Tagging> {
    let asked = document.get("requestParameters")?;
    let (kind, id) = arn.resource().split_once('/')?;
    let named = || items(asked.get("resourcesSet")).into_iter().any(|item| text_at(item, "/resourceId").as_deref() == Some(id));
    let tags = asked.get("tagSet");
    match name {
        "CreateTags" if named() => value_in(tags, key).map(Tagging::Set),
        "DeleteTags" if named() => {
            let listed = items(tags);
            let tag = listed.iter().find(|tag| text_at(tag, "/key").as_deref() == Some(key));
            (listed.is_empty() || tag.is_some()).then(|| Tagging::Taken(tag.and_then(|tag| tag.get("value")?.as_str().map(str::to_owned))))
        }
        _ if makes(name, document, kind, id) => {
            let specs = items(asked.get("tagSpecificationSet"));
            let spec = specs.into_iter().find(|spec| text_at(spec, "/resourceType").as_deref() == Some(kind))?;
            value_in(spec.get("tags").or_else(|| spec.get("tagSet")), key).map(Tagging::Set)
        }
        _ => None,
    }
}

/// Whether a call of EC2 made this resource.
fn makes(name: &str, document: &Value, kind: &str, id: &str) -> bool {
    const PLACES: &[(&str, &str, &str)] = &[
        ("CreateSecurityGroup", "security-group", "/responseElements/groupId"),
        ("CreateNetworkAcl", "network-acl", "/responseElements/networkAcl/networkAclId"),
        ("CreateSubnet", "subnet", "/responseElements/subnet/subnetId"),
        ("CreateVpc", "vpc", "/responseElements/vpc/vpcId"),
        ("CreateNetworkInterface", "network-interface", "/responseElements/networkInterface/networkInterfaceId"),
        ("CreateVolume", "volume", "/responseElements/volumeId"),
    ];
    if name == "RunInstances" && kind == "instance" {
        let made = items(document.pointer("/responseElements/instancesSet"));
        return made.into_iter().any(|item| text_at(item, "/instanceId").as_deref() == Some(id));
    }
    let place = PLACES.iter().find(|(call, of, _)| *call == name && *of == kind);
    place.is_some_and(|(.., place)| text_at(document, place).as_deref() == Some(id))
}

/// <https://docs.aws.amazon.com/IAM/latest/APIReference/API_TagRole.html> and its kin.
fn of_iam(name: &str, document: &Value, arn: &Arn, key: &str) -> Option<Tagging> {
    let asked = document.get("requestParameters")?;
    let (kind, path) = arn.resource().split_once('/')?;
    let (called, sets, takes, makes) = match kind {
        "user" => ("/userName", "TagUser", "UntagUser", "CreateUser"),
        "role" => ("/roleName", "TagRole", "UntagRole", "CreateRole"),
        _ => return None,
    };
    let own = path.rsplit('/').next()?;
    if text_at(asked, called).as_deref() != Some(own) {
        return None;
    }
    if name == sets || name == makes {
        return value_in(asked.get("tags"), key).map(Tagging::Set);
    }
    (name == takes && lists(asked.get("tagKeys"), key)).then_some(Tagging::Taken(None))
}

/// <https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_CreateOrUpdateTags.html>.
fn of_scaling(name: &str, document: &Value, arn: &Arn, key: &str) -> Option<Tagging> {
    let own = arn.resource().rsplit_once("autoScalingGroupName/").map(|(_, name)| name)?;
    let tags = items(document.pointer("/requestParameters/tags"));
    let of = |tag: &&Value| text_at(tag, "/resourceId").as_deref() == Some(own) && text_at(tag, "/key").as_deref() == Some(key);
    let tag = tags.into_iter().find(of)?;
    match name {
        "CreateOrUpdateTags" => Some(Tagging::Set(text_at(tag, "/value").unwrap_or_default())),
        "DeleteTags" => Some(Tagging::Taken(None)),
        _ => None,
    }
}

/// Services that name resources by their ARNs, load balancers among them
/// (<https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_AddTags.html>).
fn of_arns(name: &str, document: &Value, arn: &Arn, key: &str) -> Option<Tagging> {
    let asked = document.get("requestParameters")?;
    let named = ["resourceArns", "resourceArn", "resourceARN"].iter().any(|field| lists(asked.get(*field), arn.as_str()));
    match name {
        "AddTags" | "TagResource" if named => value_in(asked.get("tags"), key).map(Tagging::Set),
        "RemoveTags" | "UntagResource" if named && lists(asked.get("tagKeys"), key) => Some(Tagging::Taken(None)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KEY: &str = "cordon:opt-out";
    const INSTANCE: &str = "arn:aws:ec2:eu-west-1:111122223333:instance/i-1";

    fn record(minute: u32, source: &str, name: &str, asked: Value, answered: Value) -> Value {
        json!({
            "eventID": format!("e-{minute}"), "eventName": name, "eventSource": format!("{source}.amazonaws.com"),
            "eventTime": format!("2026-11-24T12:{minute:02}:00Z"), "sourceIPAddress": "203.0.113.9", "awsRegion": "eu-west-1",
            "userIdentity": {"type": "IAMUser", "arn": "arn:aws:iam::111122223333:user/mallory", "accountId": "111122223333"},
            "requestParameters": asked, "responseElements": answered,
        })
    }
    fn tags(minute: u32, name: &str, id: &str, tag: Value) -> Value {
        let asked = json!({"resourcesSet": {"items": [{"resourceId": "i-0"}, {"resourceId": id}]}, "tagSet": {"items": [tag]}});
        record(minute, "ec2", name, asked, json!({"_return": true}))
    }
    fn read(document: &Value, arn: &str) -> Option<Tagging> {
        Tagged::read(document, &arn.parse().unwrap(), KEY).map(|tagged| tagged.what)
    }
    fn set(value: &str) -> Option<Tagging> {
        Some(Tagging::Set(value.to_owned()))
    }
    fn known(calls: &[Value]) -> Option<(String, Option<String>)> {
        let arn = INSTANCE.parse().unwrap();
        let calls = calls.iter().filter_map(|call| Tagged::read(call, &arn, KEY)).collect();
        match since(calls, |value| value != "false")? {
            Since::Recorded { event, by, .. } => Some((event, by)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_tag_is_read_from_the_call_that_set_it_on_exactly_that_resource() {
        let tag = json!({"key": KEY, "value": "true"});
        assert_eq!(read(&tags(1, "CreateTags", "i-1", tag.clone()), INSTANCE), set("true"));
        assert_eq!(read(&tags(1, "CreateTags", "i-2", tag.clone()), INSTANCE), None);
        assert_eq!(read(&tags(1, "CreateTags", "i-1", json!({"key": "Name", "value": "true"})), INSTANCE), None);
        let mut failed = tags(1, "CreateTags", "i-1", tag.clone());
        failed["errorCode"] = json!("Client.UnauthorizedOperation");
        assert_eq!(read(&failed, INSTANCE), None);

        let asked = json!({"tagSpecificationSet": {"items": [{"resourceType": "instance", "tags": [{"key": KEY, "value": "all"}]}]}});
        let answered = json!({"instancesSet": {"items": [{"instanceId": "i-1", "groupSet": {"items": [{"groupId": "sg-1"}]}}]}});
        let launch = record(1, "ec2", "RunInstances", asked.clone(), answered);
        assert_eq!(read(&launch, INSTANCE), set("all"));
        assert_eq!(read(&launch, "arn:aws:ec2:eu-west-1:111122223333:security-group/sg-1"), None, "its group was not made by it");
        let group = json!({"tagSpecificationSet": {"items": [{"resourceType": "security-group", "tags": [{"key": KEY}]}]}});
        let group = record(1, "ec2", "CreateSecurityGroup", group, json!({"groupId": "sg-1"}));
        assert_eq!(read(&group, "arn:aws:ec2:eu-west-1:111122223333:security-group/sg-1"), set(""));

        let role = json!({"roleName": "web", "tags": [{"key": KEY, "value": "yes"}]});
        let arn = "arn:aws:iam::111122223333:role/path/web";
        assert_eq!(read(&record(1, "iam", "TagRole", role.clone(), Value::Null), arn), set("yes"));
        assert_eq!(read(&record(1, "iam", "TagRole", role, Value::Null), "arn:aws:iam::111122223333:role/other"), None);
        let untag = json!({"userName": "build", "tagKeys": [KEY]});
        let taken = record(1, "iam", "UntagUser", untag, Value::Null);
        assert_eq!(read(&taken, "arn:aws:iam::111122223333:user/build"), Some(Tagging::Taken(None)));

        let target = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/t/0123456789abcdef";
        let add = json!({"resourceArns": [target], "tags": [{"key": KEY, "value": "true"}]});
        assert_eq!(read(&record(1, "elasticloadbalancing", "AddTags", add, Value::Null), target), set("true"));
        let scaling = "arn:aws:autoscaling:eu-west-1:111122223333:autoScalingGroup:0:autoScalingGroupName/web";
        let add = json!({"tags": [{"resourceId": "web", "resourceType": "auto-scaling-group", "key": KEY, "value": "true"}]});
        assert_eq!(read(&record(1, "autoscaling", "CreateOrUpdateTags", add, Value::Null), scaling), set("true"));
    }

    #[test]
    fn it_counts_from_the_call_after_which_it_opted_out_without_a_break() {
        let set = |minute, value: &str| tags(minute, "CreateTags", "i-1", json!({"key": KEY, "value": value}));
        let take = |minute, tag: Value| tags(minute, "DeleteTags", "i-1", tag);
        let by = Some("arn:aws:iam::111122223333:user/mallory".to_owned());
        let event = |number: u32| Some((format!("e-{number}"), by.clone()));
        assert_eq!(known(&[]), None);
        // Set again, in whatever words and order: it is as old as the first time.
        assert_eq!(known(&[set(9, "all"), set(3, "true"), set(5, "true")]), event(3));
        assert_eq!(known(&[set(3, "true"), take(5, json!({"key": KEY})), set(9, "true")]), event(9));
        assert_eq!(known(&[set(3, "false"), set(9, "true")]), event(9));
        assert_eq!(known(&[set(3, "true"), take(5, json!({"key": KEY, "value": "other"})), set(9, "true")]), event(3), "nothing was taken");
        assert_eq!(known(&[set(3, "true"), take(5, json!({"key": KEY, "value": "true"})), set(9, "true")]), event(9));
        assert_eq!(known(&[set(3, "true"), take(5, json!({"key": "Name"})), set(9, "true")]), event(3));
        // The record of the last call has not come yet.
        assert_eq!(known(&[set(3, "true"), take(5, json!({"key": KEY}))]), None);
    }

    #[test]
    fn what_is_malformed_is_no_record_of_a_tag() {
        for broken in [json!({}), json!({"eventName": "CreateTags", "eventSource": "ec2.amazonaws.com"}), json!(7)] {
            assert_eq!(read(&broken, INSTANCE), None);
        }
        let mut timeless = tags(1, "CreateTags", "i-1", json!({"key": KEY, "value": "true"}));
        timeless["eventTime"] = json!("soon");
        assert_eq!(read(&timeless, INSTANCE), None);
    }
}
