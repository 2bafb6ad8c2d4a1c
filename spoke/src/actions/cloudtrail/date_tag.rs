//! Since when a resource carries a tag, and by whose doing: from CloudTrail's event history. No action: the hub asks it of an opt-out that a
//! plan met, and only then.
//!
//! The events that name the resource are looked up as far back as the history reaches; then, where those do not tell, all calls that set tags
//! since the attack began: what an event of tags names as its resources is not documented. What cannot be read, or not wholly, is not known.

use aws_sdk_cloudtrail::{Client, types::LookupAttributeKey};
use cordon_shared::{
    arn::Arn,
    optout::Since,
    trail::tagging::{self, Tagged, Tagging},
};
use jiff::Timestamp;
use tokio::time::Instant;

use super::search::{
    Window, global,
    history::{End, NOTE, lookup, within},
};
use crate::{
    action::{ActionError, Cx},
    permission::Permission,
};

/// What it reads with
/// (<https://docs.aws.amazon.com/service-authorization/latest/reference/list_awscloudtrail.html>).
pub const READS: &[Permission] = &[Permission::new("cloudtrail:LookupEvents", "*")];

/// How long CloudTrail is asked in all: the step waits for it.
const TIME: std::time::Duration = std::time::Duration::from_secs(30);

/// What calls did to a tag, or why that cannot be read.
pub type Calls = Result<Vec<Tagged>, String>;

/// What calls did to the tag `key` of a resource, as far as they tell whether it was there when an attack `began`. `Err`: why they cannot be read.
///
/// # Errors
/// A sentence for the reader.
pub async fn calls(cx: Cx<'_>, resource: &str, key: &str, began: Timestamp) -> Calls {
    let arn = match resource.parse::<Arn>() {
        Ok(arn) if arn.account().as_ref() == Some(&cx.cell.account) => arn,
        Ok(_) => return Err("it is another account's, whose records this step does not read".to_owned()),
        Err(_) => return Err("it has no ARN by which records name it".to_owned()),
    };
    let read = tokio::time::timeout(TIME, look(cx, &arn, key, began)).await;
    read.unwrap_or_else(|_| Err(format!("CloudTrail did not answer within {} s", TIME.as_secs())))
}

/// Since when the tag opts out, by what [`calls`] gave.
#[must_use]
pub fn since(calls: &Calls, opts_out: impl Fn(&str) -> bool) -> Since {
    match calls {
        Ok(calls) => tagging::since(calls.clone(), opts_out).unwrap_or_else(|| Since::Unknown {
            why: format!("CloudTrail has no record of the call that set it; {NOTE}: release it later to look again"),
        }),
        Err(why) => Since::Unknown { why: why.clone() },
    }
}

async fn look(cx: Cx<'_>, arn: &Arn, key: &str, began: Timestamp) -> Calls {
    let region = arn.region().or_else(|| global(cx.read.partition())).unwrap_or_else(|| cx.cell.region.clone());
    let client = cx.read.in_region(&region).cloudtrail();
    let now = cx.clock.now();
    let reading = Reading { client: &client, arn, key, began, deadline: Instant::now() + TIME };
    let mut calls = Vec::new();
    if let Some(window) = within(now, Window { since: Timestamp::MIN, until: now }) {
        for name in names(arn) {
            reading.read((LookupAttributeKey::ResourceName, name), window, &mut calls).await?;
        }
    }
    // The tag is there: where the newest call did not set it, one is missing.
    let set = calls.iter().max_by_key(|call| call.at).is_some_and(|call| matches!(call.what, Tagging::Set(_)));
    if let Some(window) = within(now, Window { since: began, until: now }).filter(|_| !set) {
        reading.read((LookupAttributeKey::EventName, setter(arn)), window, &mut calls).await?;
    }
    Ok(calls)
}

struct Reading<'a> {
    client: &'a Client,
    arn: &'a Arn,
    key: &'a str,
    began: Timestamp,
    deadline: Instant,
}

impl Reading<'_> {
    /// Reads the newest events first, until one tells what the tag was when the attack began.
    async fn read(&self, attribute: (LookupAttributeKey, &str), window: Window, calls: &mut Vec<Tagged>) -> Result<(), String> {
        let ended = lookup(self.client, attribute, window, self.deadline, |text| {
            let document = serde_json::from_str(text).unwrap_or_default();
            let Some(call) = Tagged::read(&document, self.arn, self.key) else { return false };
            let enough = call.at <= self.began;
            calls.push(call);
            enough
        });
        match ended.await {
            Ok(End::Whole | End::Enough) => Ok(()),
            Ok(End::Late) => Err("CloudTrail has more events of it than could be read in time".to_owned()),
            Err(ActionError::Denied(denied)) => Err(format!("access denied to {}: {}", denied.call, denied.message)),
            Err(error) => Err(format!("CloudTrail cannot be asked: {error}")),
        }
    }
}

/// The names that events may give a resource.
fn names(arn: &Arn) -> Vec<&str> {
    let last = arn.resource().rsplit('/').next().unwrap_or_default();
    match arn.service() {
        "ec2" | "iam" => vec![last],
        _ => vec![arn.as_str(), last],
    }
}

/// The call that sets a tag on such a resource.
fn setter(arn: &Arn) -> &'static str {
    match arn.service() {
        "ec2" => "CreateTags",
        "iam" if arn.resource().starts_with("user/") => "TagUser",
        "iam" => "TagRole",
        "autoscaling" => "CreateOrUpdateTags",
        _ => "AddTags",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::aws::fake::World;

    const KEY: &str = "cordon:opt-out";

    #[test]
    fn a_resource_is_looked_up_by_the_names_that_events_give_it() {
        let arn = |text: &str| text.parse::<Arn>().unwrap();
        let instance = arn("arn:aws:ec2:eu-west-1:111122223333:instance/i-1");
        let role = arn("arn:aws:iam::111122223333:role/path/web");
        let target = arn("arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/t/0123456789abcdef");
        assert_eq!((names(&instance), setter(&instance)), (vec!["i-1"], "CreateTags"));
        assert_eq!((names(&role), setter(&role)), (vec!["web"], "TagRole"));
        assert_eq!((names(&target).len(), setter(&target)), (2, "AddTags"));
    }

    /// An event of a tag that was set, as the event history gives it.
    fn set(at: &str, value: &str) -> Value {
        let record = json!({
            "eventID": format!("e-{at}"), "eventName": "CreateTags", "eventSource": "ec2.amazonaws.com", "eventTime": at,
            "userIdentity": {"type": "IAMUser", "arn": "arn:aws:iam::222222222222:user/mallory"},
            "requestParameters": {"resourcesSet": {"items": [{"resourceId": "i-1"}]}, "tagSet": {"items": [{"key": KEY, "value": value}]}},
        });
        json!({"EventId": format!("e-{at}"), "CloudTrailEvent": record.to_string()})
    }

    /// What is known of the tag, where a look-up by each attribute gives these events, and whether each was made.
    async fn known(by_name: Vec<Value>, by_call: Vec<Value>) -> (Since, Vec<String>) {
        let world = World::new(move |_, body| {
            let by = body.pointer("/LookupAttributes/0/AttributeKey").and_then(Value::as_str).unwrap_or_default();
            (200, json!({"Events": if by == "ResourceName" { &by_name } else { &by_call }}))
        })
        .await;
        let arn = "arn:aws:ec2:us-east-1:222222222222:instance/i-1";
        let calls = calls(world.cx(), arn, KEY, "2026-11-24T11:00:00Z".parse().unwrap()).await;
        let since = since(&calls, |value| value != "false");
        let asked = world.fake.asked().into_iter().map(|(_, body)| body.pointer("/LookupAttributes/0/AttributeValue").unwrap().to_string());
        (since, asked.collect())
    }

    #[tokio::test]
    async fn it_is_dated_by_the_events_of_the_resource_and_else_by_all_calls_that_set_tags_since_the_attack() {
        let at = |since: &Since| since.first_seen().map(|at| at.to_string());
        let (since, asked) = known(vec![set("2026-11-24T11:30:00Z", "true"), set("2026-11-20T11:30:00Z", "false")], vec![]).await;
        assert_eq!((at(&since).as_deref(), asked.len()), (Some("2026-11-24T11:30:00Z"), 1), "{since:?}");
        let (since, _) = known(vec![set("2026-11-24T11:30:00Z", "true"), set("2026-11-20T11:30:00Z", "all")], vec![]).await;
        assert_eq!(at(&since).as_deref(), Some("2026-11-20T11:30:00Z"), "it was set again, and is as old as the first time");
        let (since, asked) = known(vec![], vec![set("2026-11-24T11:30:00Z", "true")]).await;
        assert_eq!((at(&since).as_deref(), asked), (Some("2026-11-24T11:30:00Z"), vec!["\"i-1\"".to_owned(), "\"CreateTags\"".to_owned()]));
        let (since, _) = known(vec![], vec![]).await;
        let Since::Unknown { why } = since else { panic!("{since:?}") };
        assert!(why.contains("no record") && why.contains("about 15 minutes later"), "{why}");
    }

    #[tokio::test]
    async fn what_is_denied_or_of_another_account_is_not_known() {
        let world = World::new(|_, _| (400, json!({"__type": "AccessDeniedException", "message": "no"}))).await;
        let ask = async |arn: &str| calls(world.cx(), arn, KEY, Timestamp::MIN).await.unwrap_err();
        let denied = ask("arn:aws:ec2:us-east-1:222222222222:instance/i-1").await;
        assert!(denied.contains("access denied to cloudtrail:LookupEvents"), "{denied}");
        assert!(ask("arn:aws:ec2:us-east-1:111122223333:instance/i-1").await.contains("another account's"));
        assert!(ask("i-1").await.contains("no ARN"));
    }
}
