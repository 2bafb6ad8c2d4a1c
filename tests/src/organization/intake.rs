//! The way of a finding: detectors, EventBridge rules, the queue and its dead-letter queue in the security account.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use serde_json::{Value, json};

use super::{Organization, text};
use crate::LabError;

const NAME: &str = "cordon-findings";
const DEAD: &str = "cordon-findings-dead";
/// What the rule in the home Region takes.
const SECURITY_HUB: [&str; 2] = ["Security Hub Findings - Imported", "Security Hub Findings - Custom Action"];
const GUARDDUTY: &str = "GuardDuty Finding";

/// Where findings arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// For `[queue] url`, in AWS's form.
    pub url: String,
    /// For `[queue] dead_letter_url`.
    pub dead_letter_url: String,
}

impl Organization {
    /// GuardDuty's detectors and Security Hub in the security account.
    pub(super) async fn detectors(&self) -> Result<BTreeMap<String, String>, LabError> {
        let make = async |region: &str| {
            let made = self.call(&self.security, region, "guardduty", "create_detector", json!({"Enable": true})).await?;
            self.call(&self.security, region, "securityhub", "enable_security_hub", json!({})).await?;
            Ok::<_, LabError>((region.to_owned(), text(&made, "/DetectorId")?))
        };
        let detectors = try_join_all(self.regions.iter().map(|region| make(region))).await?;
        if self.extended {
            let params = json!({"RegionLinkingMode": "ALL_REGIONS"});
            self.call(&self.security, &self.home, "securityhub", "create_finding_aggregator", params).await?;
        }
        Ok(detectors.into_iter().collect())
    }

    /// GuardDuty's events stay in their Region, so that other Regions hand them on to the home Region's bus. Security Hub's are gathered by
    /// its aggregator.
    pub(super) async fn make_queue(&self) -> Result<Queue, LabError> {
        let (account, home) = (&self.security, &self.home);
        self.call(account, home, "sqs", "create_queue", json!({"QueueName": DEAD})).await?;
        let redrive = json!({"deadLetterTargetArn": format!("arn:aws:sqs:{home}:{account}:{DEAD}"), "maxReceiveCount": 5});
        let attributes = json!({"RedrivePolicy": redrive.to_string(), "VisibilityTimeout": "60"});
        self.call(account, home, "sqs", "create_queue", json!({"QueueName": NAME, "Attributes": attributes})).await?;
        let mut types = vec![GUARDDUTY];
        types.extend(SECURITY_HUB);
        self.rule(home, &types, &format!("arn:aws:sqs:{home}:{account}:{NAME}")).await?;
        let bus = format!("arn:aws:events:{home}:{account}:event-bus/default");
        try_join_all(self.regions.iter().skip(1).map(|region| self.rule(region, &[GUARDDUTY], &bus))).await?;
        let url = |name: &str| format!("https://sqs.{home}.amazonaws.com/{account}/{name}");
        Ok(Queue { url: url(NAME), dead_letter_url: url(DEAD) })
    }

    async fn rule(&self, region: &str, types: &[&str], target: &str) -> Result<(), LabError> {
        let pattern = json!({"source": ["aws.guardduty", "aws.securityhub"], "detail-type": types});
        let rule = json!({"Name": "cordon-findings", "EventPattern": pattern.to_string()});
        self.call(&self.security, region, "events", "put_rule", rule).await?;
        let targets = json!({"Rule": "cordon-findings", "Targets": [{"Id": "cordon", "Arn": target}]});
        self.call(&self.security, region, "events", "put_targets", targets).await.map(drop)
    }

    /// Sends an event on the security account's bus, as AWS's own services do: `source`, `detail-type`, `detail`, `region`.
    ///
    /// # Errors
    /// When moto has no extension.
    pub async fn emit(&self, event: &Value) -> Result<(), LabError> {
        let region = event.get("region").and_then(Value::as_str).unwrap_or(&self.home).to_owned();
        self.moto.seed(&self.security, &region, "events", vec![event.clone()]).await
    }

    /// Puts a text on the queue, whatever it is.
    ///
    /// # Errors
    /// When there is no queue.
    pub async fn send(&self, body: &str) -> Result<(), LabError> {
        let params = json!({"QueueUrl": self.queue()?.url, "MessageBody": body});
        self.call(&self.security, &self.home, "sqs", "send_message", params).await.map(drop)
    }

    /// How many messages wait, and how many are being worked on.
    ///
    /// # Errors
    /// When there is no queue.
    pub async fn waiting(&self) -> Result<(u64, u64), LabError> {
        self.depth(&self.queue()?.url).await
    }

    /// How many messages were put aside.
    ///
    /// # Errors
    /// When there is no queue.
    pub async fn put_aside(&self) -> Result<u64, LabError> {
        Ok(self.depth(&self.queue()?.dead_letter_url).await?.0)
    }

    /// The messages that were put aside, with their attributes.
    ///
    /// # Errors
    /// When there is no queue.
    pub async fn dead_letters(&self) -> Result<Vec<Value>, LabError> {
        let params = json!({"QueueUrl": self.queue()?.dead_letter_url, "MaxNumberOfMessages": 10, "MessageAttributeNames": ["All"]});
        let answer = self.call(&self.security, &self.home, "sqs", "receive_message", params).await?;
        Ok(super::items(&answer, "/Messages").cloned().collect())
    }

    fn queue(&self) -> Result<&Queue, LabError> {
        self.queue.as_ref().ok_or_else(|| LabError::new("this organization was built without a queue"))
    }

    async fn depth(&self, url: &str) -> Result<(u64, u64), LabError> {
        let names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"];
        let params = json!({"QueueUrl": url, "AttributeNames": names});
        let answer = self.call(&self.security, &self.home, "sqs", "get_queue_attributes", params).await?;
        let [visible, hidden] = names.map(|name| text(&answer, &format!("/Attributes/{name}")).and_then(|count| number(&count)));
        Ok((visible?, hidden?))
    }
}

fn number(text: &str) -> Result<u64, LabError> {
    text.parse().map_err(|_| LabError::new(format!("{text:?} is not a number")))
}
