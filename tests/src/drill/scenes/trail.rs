//! The probes that find out how it happened: `cloudtrail.trace-credentials`, `cloudtrail.list-chained-roles`, `ec2.instance-exposure` and
//! `cloudtrail.trace-exposure`.

use cordon_shared::id::CellId;
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Setting, World, Yard, cell, shape};
use crate::{
    LabError, Organization,
    drill::Trespass,
    organization::{Exposure, Instance, trail::Caller},
};

pub(super) const TRACE: &str = "cloudtrail.trace-credentials";
pub(super) const CHAINED: &str = "cloudtrail.list-chained-roles";
pub(super) const EXPOSURE: &str = "ec2.instance-exposure";
pub(super) const OPENED: &str = "cloudtrail.trace-exposure";

const THIEF: &str = "203.0.113.77";
/// Another account's id, which nobody has to know.
const ELSEWHERE: &str = "444455556666";

/// Records of a thief, or an instance that may be open: nothing in it changes by being looked at.
#[derive(Debug)]
struct Seen {
    organization: Organization,
    instance: Option<Instance>,
    cell: CellId,
    with: Value,
    /// Where in an outcome which value is expected.
    expected: Vec<(&'static str, Value)>,
}

fn span(mut with: Value) -> Value {
    let now = Timestamp::now();
    let since = now.checked_sub(SignedDuration::from_hours(2)).unwrap_or(now);
    if let Some(map) = with.as_object_mut() {
        map.extend([("since".to_owned(), json!(since)), ("until".to_owned(), json!(now))]);
    }
    with
}

fn key() -> String {
    format!("AKIALAB{}0", crate::accounts::fresh())
}

pub(super) fn stolen_key(yard: &Yard) -> Setting<'_> {
    Box::pin(async move {
        let (account, region) = yard.place();
        let key = key();
        let caller = Caller::user(account, "build", &key, THIEF);
        let records = caller.abuse(region, ELSEWHERE);
        yard.organization.recorded(&records).await?;
        // What others do is none of its business.
        let other = Caller::user(account, "build", "AKIALABSOMEBODYELSE0", "198.51.100.4");
        yard.organization.recorded(&[other.record(region, 60, "ec2", "StopInstances", json!({}))]).await?;
        let expected = vec![
            ("/source", json!("lookup-events")),
            ("/events", json!(records.len())),
            ("/sources/0/address", json!(THIEF)),
            ("/denied/0/call", json!("iam:ListUsers")),
            ("/denied/0/count", json!(2)),
            ("/created/0/kind", json!("user")),
            ("/created/0/id", json!("backup-agent")),
            ("/created/3/id", json!("i-0badc0ffee0badc0f")),
            ("/assumed_roles/1/access_key_id", json!("ASIALABCHAINED000002")),
            ("/looked_in/0/complete", json!(true)),
            ("/nothing_known_because", Value::Null),
        ];
        world(yard, account, region, None, span(json!({"access_keys": [key]})), expected)
    })
}

pub(super) fn chain(yard: &Yard) -> Setting<'_> {
    Box::pin(async move {
        let (account, region) = yard.place();
        let instance = yard.organization.instance(account, region, &shape(vec![Exposure::Port])).await?;
        let caller = Caller::session(account, "web", &instance.id, "ASIALABINSTANCE00001", THIEF);
        yard.organization.recorded(&caller.abuse(region, ELSEWHERE)).await?;
        let expected = vec![
            ("/roles/0/role", json!("deploy")),
            ("/roles/0/other_account", json!(false)),
            ("/roles/1/account", json!(ELSEWHERE)),
            ("/roles/1/other_account", json!(true)),
            ("/roles/1/may_live", json!(true)),
            ("/roles/1/source", json!(THIEF)),
            ("/roles/2", Value::Null),
        ];
        let with = span(json!({"access_keys": [null], "instance": instance.id, "role_session": instance.id}));
        world(yard, account, region, Some(instance), with, expected)
    })
}

/// An instance that the world reaches.
pub(super) fn open(yard: &Yard) -> Setting<'_> {
    Box::pin(async move {
        let (account, region) = yard.place();
        let instance = yard.organization.instance(account, region, &shape(vec![Exposure::Port])).await?;
        let table = yard.organization.in_the_internet(&instance).await?;
        let expected = vec![
            ("/reachable", json!(true)),
            ("/state", json!("running")),
            ("/open_rules/0/cidr", json!("0.0.0.0/0")),
            ("/open_rules/0/reaches", json!(true)),
            ("/elastic", json!(true)),
            ("/interfaces/0/route_table", json!(table)),
            ("/interfaces/0/acl", json!(instance.acl)),
        ];
        let with = json!({"instance": instance.id, "port": 22});
        world(yard, account, region, Some(instance), with, expected)
    })
}

/// An instance with a rule that somebody opened three days ago.
pub(super) fn opened(yard: &Yard) -> Setting<'_> {
    Box::pin(async move {
        let (account, region) = yard.place();
        let organization = &yard.organization;
        let instance = organization.instance(account, region, &shape(vec![Exposure::Port])).await?;
        let caller = Caller::user(account, "deployer", "AKIALABDEPLOYER00000", "198.51.100.9");
        let launched = json!({"responseElements": {"instancesSet": {"items": [{"instanceId": instance.id}]}}});
        let day = 86_400;
        organization.recorded(&[caller.record(region, 5 * day, "ec2", "RunInstances", launched)]).await?;
        organization.opened_by(&instance, &caller, 3 * day).await?;
        let rules = organization.open_rules(&instance).await?;
        let rules: Vec<Value> = rules
            .iter()
            .map(|rule| {
                let value = |name: &str| rule.get(name).cloned().unwrap_or_default();
                let cidr = [value("CidrIpv4"), value("CidrIpv6")].into_iter().find(Value::is_string);
                json!({
                    "group": value("GroupId"), "rule": value("SecurityGroupRuleId"), "cidr": cidr, "protocol": "tcp", "from": 22, "to": 22,
                    "port_range": "22", "reaches": true,
                })
            })
            .collect();
        let expected = vec![
            ("/since/by/call", json!("ec2:AuthorizeSecurityGroupIngress")),
            ("/since/by/source_address", json!("198.51.100.9")),
            ("/since_unknown_because", Value::Null),
            ("/rules/0/since/by/arn", json!(format!("arn:aws:iam::{account}:user/deployer"))),
        ];
        let with = json!({"instance": instance.id, "port": 22, "rules": rules});
        world(yard, account, region, Some(instance), with, expected)
    })
}

/// An instance with an open rule and no way to the Internet.
pub(super) fn shut(yard: &Yard) -> Setting<'_> {
    Box::pin(async move {
        let (account, region) = yard.place();
        let instance = yard.organization.instance(account, region, &shape(vec![Exposure::Range])).await?;
        let expected = vec![("/reachable", json!(false)), ("/open_rules/0/port_range", json!("20-25")), ("/elastic", json!(false))];
        let with = json!({"instance": instance.id, "port": 22, "protocol": "tcp"});
        world(yard, account, region, Some(instance), with, expected)
    })
}

fn world(
    yard: &Yard,
    account: &str,
    region: &str,
    instance: Option<Instance>,
    with: Value,
    expected: Vec<(&'static str, Value)>,
) -> Result<Box<dyn World>, LabError> {
    Ok(Box::new(Seen { organization: yard.organization.clone(), instance, cell: cell(account, region)?, with, expected }))
}

impl World for Seen {
    fn cell(&self) -> &CellId {
        &self.cell
    }

    fn with(&self) -> Value {
        self.with.clone()
    }

    fn look(&self) -> BoxFuture<'_, Result<Value, LabError>> {
        Box::pin(async move {
            match &self.instance {
                Some(instance) => self.organization.state(instance).await,
                None => Ok(Value::Null),
            }
        })
    }

    fn drift(&self) -> BoxFuture<'_, Result<(), LabError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn drifted(&self, _state: &Value) -> bool {
        false
    }

    fn trespasses(&self) -> Vec<Trespass> {
        Vec::new()
    }

    fn misses(&self, outcome: &Value) -> Option<String> {
        let wrong = |(pointer, wanted): &&(&str, Value)| outcome.pointer(pointer).unwrap_or(&Value::Null) != wanted;
        self.expected.iter().find(wrong).map(|(pointer, wanted)| format!("{pointer} is not {wanted}: {outcome}"))
    }
}
