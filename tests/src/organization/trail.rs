//! CloudTrail's records, as if somebody had called: moto records nothing.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::Organization;
use crate::LabError;

/// Who a record says has called.
#[derive(Debug, Clone)]
pub struct Caller {
    account: String,
    identity: Value,
    address: String,
}

impl Caller {
    /// An IAM user with an access key.
    #[must_use]
    pub fn user(account: &str, name: &str, key: &str, address: &str) -> Self {
        let identity = json!({
            "type": "IAMUser", "principalId": format!("AIDALAB{account}"), "arn": format!("arn:aws:iam::{account}:user/{name}"),
            "accountId": account, "accessKeyId": key, "userName": name,
        });
        Self { account: account.to_owned(), identity, address: address.to_owned() }
    }

    /// A session of a role; that of an instance is named after the instance.
    #[must_use]
    pub fn session(account: &str, role: &str, session: &str, key: &str, address: &str) -> Self {
        let principal = format!("AROALAB{account}");
        let identity = json!({
            "type": "AssumedRole", "principalId": format!("{principal}:{session}"), "accountId": account, "accessKeyId": key,
            "arn": format!("arn:aws:sts::{account}:assumed-role/{role}/{session}"),
            "sessionContext": {
                "sessionIssuer": {
                    "type": "Role", "principalId": principal, "accountId": account, "userName": role,
                    "arn": format!("arn:aws:iam::{account}:role/{role}"),
                },
                "attributes": {"creationDate": "2026-01-01T00:00:00Z", "mfaAuthenticated": "false"},
            },
        });
        Self { account: account.to_owned(), identity, address: address.to_owned() }
    }

    /// A record of a call, so many seconds ago. `more` is merged into it: `requestParameters`, `responseElements`, `errorCode`.
    #[must_use]
    pub fn record(&self, region: &str, ago: i64, service: &str, name: &str, more: Value) -> Value {
        let now = Timestamp::now();
        let at = now.checked_sub(SignedDuration::from_secs(ago)).unwrap_or(now);
        let reads = ["Get", "List", "Describe", "AssumeRole"].iter().any(|word| name.starts_with(word));
        let mut record = json!({
            "eventVersion": "1.09", "eventID": format!("5d9fab00-0000-4000-8000-{}", crate::accounts::fresh()), "eventType": "AwsApiCall",
            "eventCategory": "Management", "managementEvent": true, "readOnly": reads, "recipientAccountId": self.account,
            "eventTime": at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(), "eventSource": format!("{service}.amazonaws.com"), "eventName": name,
            "awsRegion": region, "sourceIPAddress": self.address, "userAgent": "aws-cli/2.22.7 md/awscrt#0.23.4 ua/2.0 os/linux#6.8",
            "userIdentity": self.identity, "requestParameters": null, "responseElements": null,
        });
        if let (Some(record), Value::Object(more)) = (record.as_object_mut(), more) {
            record.extend(more);
        }
        record
    }

    /// AssumeRole with its answer, secrets and all.
    #[must_use]
    pub fn assumes(&self, region: &str, ago: i64, role: &str, session: &str, key: &str) -> Value {
        let ends = Timestamp::now().checked_add(SignedDuration::from_secs(3_600 - ago)).unwrap_or(Timestamp::MAX);
        let token = format!("{}{}", "IQoJb3JpZ2luX2VjEAsaCXVzLWVhc3QtMSJH".repeat(12), crate::accounts::fresh());
        crate::secrets::remember(&token);
        let credentials = json!({
            "accessKeyId": key, "sessionToken": token,
            "expiration": ends.strftime("%b %d, %Y, %I:%M:%S %p").to_string(),
        });
        let more = json!({
            "requestParameters": {"roleArn": role, "roleSessionName": session, "durationSeconds": 3600},
            "responseElements": {"credentials": credentials, "assumedRoleUser": {"assumedRoleId": format!("AROAOTHER:{session}")}},
            "resources": [{"ARN": role, "type": "AWS::IAM::Role"}],
        });
        self.record(region, ago, "sts", "AssumeRole", more)
    }

    /// What a thief does with a credential, over the last quarter of an hour: looks around, is denied, makes a user with a key and a policy,
    /// starts an instance, and assumes a role here and one elsewhere.
    #[must_use]
    pub fn abuse(&self, region: &str, elsewhere: &str) -> Vec<Value> {
        let account = &self.account;
        let (home, user) = ("us-east-1", "backup-agent");
        let asked = |asked: Value| json!({"requestParameters": asked});
        let made = |asked: Value, answered: Value| json!({"requestParameters": asked, "responseElements": answered});
        let denied = |code: &str| json!({"errorCode": code, "errorMessage": "no identity-based policy allows it"});
        let key = json!({"accessKey": {"accessKeyId": format!("AKIALABNEW{}", account.chars().take(10).collect::<String>()), "userName": user, "status": "Active"}});
        let instance = json!({"instancesSet": {"items": [{"instanceId": "i-0badc0ffee0badc0f"}]}});
        vec![
            self.record(home, 900, "sts", "GetCallerIdentity", json!({})),
            self.record(home, 890, "iam", "ListUsers", denied("AccessDenied")),
            self.record(home, 880, "iam", "ListUsers", denied("AccessDenied")),
            self.record(region, 870, "ec2", "DescribeInstances", denied("Client.UnauthorizedOperation")),
            self.record(home, 600, "iam", "CreateUser", made(json!({"userName": user}), json!({"user": {"userName": user}}))),
            self.record(home, 590, "iam", "CreateAccessKey", made(json!({"userName": user}), key)),
            self.record(
                home,
                580,
                "iam",
                "AttachUserPolicy",
                asked(json!({"userName": user, "policyArn": "arn:aws:iam::aws:policy/AdministratorAccess"})),
            ),
            self.record(
                region,
                500,
                "ec2",
                "RunInstances",
                made(json!({"instanceType": "p5.48xlarge", "userData": "<sensitiveDataRemoved>"}), instance),
            ),
            self.assumes(region, 400, &format!("arn:aws:iam::{account}:role/deploy"), "s-1", "ASIALABCHAINED000001"),
            self.assumes(region, 390, &format!("arn:aws:iam::{elsewhere}:role/audit"), "s-2", "ASIALABCHAINED000002"),
        ]
    }
}

impl Organization {
    /// Puts records into the event history, each in its account and Region.
    ///
    /// # Errors
    /// When moto has no extension.
    pub async fn recorded(&self, records: &[Value]) -> Result<(), LabError> {
        for record in records {
            let text = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default();
            self.moto.seed(text("recipientAccountId"), text("awsRegion"), "cloudtrail-events", vec![record.clone()]).await?;
        }
        Ok(())
    }

    /// Writes records into a trail's log group in an account and Region, as CloudTrail does: a stream for each account.
    ///
    /// # Errors
    /// The first call that failed.
    pub async fn delivered(&self, account: &str, region: &str, group: &str, records: &[Value]) -> Result<(), LabError> {
        let known = async |operation: &str, params: Value| match self.hand.call(account, region, "logs", operation, params).await {
            Err(error) if error.code != "ResourceAlreadyExistsException" => Err(LabError::new(format!("logs {operation}: {error}"))),
            _ => Ok(()),
        };
        known("create_log_group", json!({"logGroupName": group})).await?;
        for record in records {
            let text = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default();
            let stream = format!("{}_CloudTrail_{region}", text("recipientAccountId"));
            known("create_log_stream", json!({"logGroupName": group, "logStreamName": stream})).await?;
            let at = text("eventTime").parse::<Timestamp>().map(Timestamp::as_millisecond).unwrap_or_default();
            let events = json!([{"timestamp": at, "message": record.to_string()}]);
            let params = json!({"logGroupName": group, "logStreamName": stream, "logEvents": events});
            self.call(account, region, "logs", "put_log_events", params).await?;
        }
        Ok(())
    }
}
