//! Amazon SQS: the queue that findings come through.
//!
//! [`receive`](Queue::receive) waits up to 20 seconds for a message, longer than any other call of ours: the clients given to it
//! need an attempt time-out above [`LONG_POLL`] for SQS.

use std::{collections::BTreeMap, time::Duration};

use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, MessageAttributeValue, MessageSystemAttributeName,
};
use jiff::Timestamp;

use crate::{
    action::{ActionError, classify},
    permission::Permission,
    session::Clients,
};

/// What this port calls on the queue, `{queue}`.
pub const CONSUMES: &[Permission] = &[
    Permission::new("sqs:ReceiveMessage", "arn:{partition}:sqs:{region}:{account}:{queue}"),
    Permission::new("sqs:DeleteMessage", "arn:{partition}:sqs:{region}:{account}:{queue}"),
    Permission::new("sqs:ChangeMessageVisibility", "arn:{partition}:sqs:{region}:{account}:{queue}"),
];
/// What this port calls on the dead-letter queue, `{dlq}`.
pub const SENDS: &[Permission] = &[Permission::new("sqs:SendMessage", "arn:{partition}:sqs:{region}:{account}:{dlq}")];

/// The longest that SQS waits for a message
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>, `WaitTimeSeconds`).
pub const LONG_POLL: Duration = Duration::from_secs(20);
/// Most messages of one receive or one batch (the same reference).
pub const BATCH: usize = 10;
/// Longest time that a message can stay invisible (`VisibilityTimeout`: 12 hours).
const VISIBILITY: Duration = Duration::from_secs(12 * 60 * 60);
/// Longest reason that goes with a dead letter. What SQS takes of a message, attributes included, is limited.
const REASON: usize = 1_024;

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// SQS's id of it.
    pub id: String,
    /// What it is deleted by; of this delivery only.
    pub receipt: String,
    /// Its body.
    pub body: String,
    /// How often it was delivered, this time included; approximate, as SQS says.
    pub receive_count: u32,
    /// When it was sent.
    pub sent_at: Option<Timestamp>,
}

/// A message that a batch could not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// Which, by its receipt.
    pub receipt: String,
    /// The error's code.
    pub code: String,
    /// AWS's words.
    pub message: String,
    /// Whether the same may work later.
    pub may_pass: bool,
}

/// A queue by its URL. Its Region must be the clients'.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    url: String,
}

impl Queue {
    /// The queue at this URL.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into() }
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Waits for messages: at most `max` (1 to 10) of them, at most `wait` (up to [`LONG_POLL`]) long. They stay invisible to others
    /// for `visibility`, whole seconds.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn receive(&self, clients: &Clients, max: usize, wait: Duration, visibility: Duration) -> Result<Vec<Message>, ActionError> {
        receive(&clients.sqs(), &self.url, max, wait, visibility).await
    }

    /// Deletes messages; those that could not be deleted come back and are delivered again.
    pub async fn delete_batch(&self, clients: &Clients, messages: &[Message]) -> Vec<Failed> {
        delete(&clients.sqs(), &self.url, messages).await
    }

    /// Keeps messages invisible for `visibility` from now on: the heartbeat of who still works on them. Those for which it failed
    /// come back: a receipt may have expired, then somebody else has the message.
    pub async fn extend_visibility_batch(&self, clients: &Clients, messages: &[Message], visibility: Duration) -> Vec<Failed> {
        extend(&clients.sqs(), &self.url, messages, visibility).await
    }

    /// Sends the body of a message that cannot be used to this queue, with the reason and where it came from as attributes
    /// (`cordon-code`, `cordon-reason`, `cordon-message-id`). Delete the message after it, not before.
    ///
    /// # Errors
    /// Those of the call. A body of the greatest size has no room for attributes; SQS's own redrive moves it in the end.
    pub async fn send_to_dlq(&self, clients: &Clients, message: &Message, code: &str, reason: &str) -> Result<(), ActionError> {
        send(&clients.sqs(), &self.url, message, code, reason).await
    }
}

fn seconds(time: Duration, most: Duration) -> i32 {
    i32::try_from(time.min(most).as_secs()).unwrap_or(i32::MAX)
}

async fn receive(
    client: &aws_sdk_sqs::Client,
    url: &str,
    max: usize,
    wait: Duration,
    visibility: Duration,
) -> Result<Vec<Message>, ActionError> {
    let answer = client
        .receive_message()
        .queue_url(url)
        .max_number_of_messages(i32::try_from(max.clamp(1, BATCH)).unwrap_or(1))
        .wait_time_seconds(seconds(wait, LONG_POLL))
        .visibility_timeout(seconds(visibility, VISIBILITY))
        .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
        .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
        .send()
        .await
        .map_err(|error| classify("sqs:ReceiveMessage", error))?;
    let messages = answer.messages().iter().filter_map(|message| {
        let attribute = |name| message.attributes().and_then(|all| all.get(&name)).map(String::as_str);
        let sent = attribute(MessageSystemAttributeName::SentTimestamp).and_then(|millis| millis.parse().ok());
        Some(Message {
            id: message.message_id().unwrap_or_default().to_owned(),
            // Without a receipt nothing can be done about it: it comes again.
            receipt: message.receipt_handle()?.to_owned(),
            body: message.body().unwrap_or_default().to_owned(),
            receive_count: attribute(MessageSystemAttributeName::ApproximateReceiveCount).and_then(|count| count.parse().ok()).unwrap_or(1),
            sent_at: sent.and_then(|millis| Timestamp::from_millisecond(millis).ok()),
        })
    });
    Ok(messages.collect())
}

/// What SQS says about the entries of a batch that failed, by the entry's number.
type Answer = Result<Vec<(String, Failed)>, ActionError>;

fn failed(errors: &[aws_sdk_sqs::types::BatchResultErrorEntry]) -> Vec<(String, Failed)> {
    let entry = |error: &aws_sdk_sqs::types::BatchResultErrorEntry| {
        let message = error.message().unwrap_or_default().to_owned();
        let failed = Failed { receipt: String::new(), code: error.code().to_owned(), message, may_pass: !error.sender_fault() };
        (error.id().to_owned(), failed)
    };
    errors.iter().map(entry).collect()
}

/// Puts the receipts back to the failures of one batch.
fn settle(batch: &[Message], answer: Answer) -> Vec<Failed> {
    match answer {
        Ok(failures) => {
            let by_number: BTreeMap<String, &Message> =
                batch.iter().enumerate().map(|(number, message)| (number.to_string(), message)).collect();
            let name = |(number, failed): (String, Failed)| {
                by_number.get(&number).map(|message| Failed { receipt: message.receipt.clone(), ..failed })
            };
            failures.into_iter().filter_map(name).collect()
        }
        Err(error) => {
            let fail = |message: &Message| Failed {
                receipt: message.receipt.clone(),
                code: error.code().to_owned(),
                message: error.to_string(),
                may_pass: error.may_pass(),
            };
            batch.iter().map(fail).collect()
        }
    }
}

fn built<T>(call: &str, entries: Result<Vec<T>, aws_smithy_types::error::operation::BuildError>) -> Result<Vec<T>, ActionError> {
    entries.map_err(|error| ActionError::Bug(format!("{call} could not be built: {error}")))
}

async fn delete(client: &aws_sdk_sqs::Client, url: &str, messages: &[Message]) -> Vec<Failed> {
    const CALL: &str = "sqs:DeleteMessage";
    let mut all = Vec::new();
    for batch in messages.chunks(BATCH) {
        let entry = |(number, message): (usize, &Message)| {
            DeleteMessageBatchRequestEntry::builder().id(number.to_string()).receipt_handle(&message.receipt).build()
        };
        let answer: Answer = async {
            let entries = built(CALL, batch.iter().enumerate().map(entry).collect())?;
            let request = client.delete_message_batch().queue_url(url).set_entries(Some(entries));
            let answer = request.send().await.map_err(|error| classify(CALL, error))?;
            Ok(failed(answer.failed()))
        }
        .await;
        all.extend(settle(batch, answer));
    }
    all
}

async fn extend(client: &aws_sdk_sqs::Client, url: &str, messages: &[Message], visibility: Duration) -> Vec<Failed> {
    const CALL: &str = "sqs:ChangeMessageVisibility";
    let mut all = Vec::new();
    for batch in messages.chunks(BATCH) {
        let entry = |(number, message): (usize, &Message)| {
            ChangeMessageVisibilityBatchRequestEntry::builder()
                .id(number.to_string())
                .receipt_handle(&message.receipt)
                .visibility_timeout(seconds(visibility, VISIBILITY))
                .build()
        };
        let answer: Answer = async {
            let entries = built(CALL, batch.iter().enumerate().map(entry).collect())?;
            let request = client.change_message_visibility_batch().queue_url(url).set_entries(Some(entries));
            let answer = request.send().await.map_err(|error| classify(CALL, error))?;
            Ok(failed(answer.failed()))
        }
        .await;
        all.extend(settle(batch, answer));
    }
    all
}

async fn send(client: &aws_sdk_sqs::Client, url: &str, message: &Message, code: &str, reason: &str) -> Result<(), ActionError> {
    const CALL: &str = "sqs:SendMessage";
    let mut request = client.send_message().queue_url(url).message_body(&message.body);
    for (name, value) in [("cordon-code", code), ("cordon-reason", reason), ("cordon-message-id", &message.id)] {
        // An attribute may be neither empty nor hold control characters.
        let text: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let text = text.get(..text.floor_char_boundary(REASON)).unwrap_or_default();
        if text.trim().is_empty() {
            continue;
        }
        let value = MessageAttributeValue::builder().data_type("String").string_value(text).build();
        request = request.message_attributes(name, value.map_err(|error| ActionError::Bug(format!("{CALL} could not be built: {error}")))?);
    }
    request.send().await.map_err(|error| classify(CALL, error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::fake::{Fake, fake_client};
    use serde_json::json;

    const URL: &str = "https://sqs.us-east-1.amazonaws.com/222222222222/findings";

    fn message(receipt: &str) -> Message {
        Message { id: format!("id-{receipt}"), receipt: receipt.to_owned(), body: "{}".to_owned(), receive_count: 1, sent_at: None }
    }

    #[tokio::test]
    async fn a_message_comes_with_how_often_it_came() {
        let fake = Fake::new(|_, _| {
            let attributes = json!({ "ApproximateReceiveCount": "3", "SentTimestamp": "1700000000000" });
            (
                200,
                json!({ "Messages": [{ "MessageId": "m", "ReceiptHandle": "r", "Body": "{}", "MD5OfBody": "99914b932bd37a50b983c5e7c90ae93b", "Attributes": attributes }] }),
            )
        });
        let messages = receive(&fake_client!(aws_sdk_sqs, fake), URL, 99, Duration::from_secs(60), Duration::from_secs(30)).await.unwrap();
        assert_eq!(messages[0].receive_count, 3);
        assert_eq!(messages[0].sent_at.unwrap().as_second(), 1_700_000_000);
        let asked = &fake.asked()[0].1;
        assert_eq!((&asked["WaitTimeSeconds"], &asked["MaxNumberOfMessages"]), (&json!(20), &json!(10)));
    }

    #[tokio::test]
    async fn a_batch_says_which_messages_it_could_not_do() {
        let fake = Fake::new(|operation, asked| match operation {
            "DeleteMessageBatch" => {
                let bad = |entry: &&serde_json::Value| entry["ReceiptHandle"] == "r3";
                let failed: Vec<_> = asked["Entries"].as_array().unwrap().iter().filter(bad).collect();
                let failed: Vec<_> = failed
                    .iter()
                    .map(|entry| json!({ "Id": entry["Id"], "SenderFault": true, "Code": "ReceiptHandleIsInvalid" }))
                    .collect();
                (200, json!({ "Successful": [], "Failed": failed }))
            }
            _ => (400, json!({ "__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "gone" })),
        });
        let client = fake_client!(aws_sdk_sqs, fake);
        let messages: Vec<Message> = (0..12).map(|number| message(&format!("r{number}"))).collect();
        let failed = delete(&client, URL, &messages).await;
        assert_eq!((failed.len(), failed[0].receipt.as_str(), failed[0].may_pass), (1, "r3", false));
        assert_eq!(fake.count("DeleteMessageBatch"), 2);
        assert_eq!(extend(&client, URL, &messages, Duration::from_secs(60)).await.len(), 12, "a call that fails fails for all in it");
    }

    #[tokio::test]
    async fn a_dead_letter_says_why() {
        let fake = Fake::new(|_, _| (200, json!({ "MessageId": "m" })));
        send(&fake_client!(aws_sdk_sqs, fake), URL, &message("r"), "CDN-1", "line 3\nis no JSON").await.unwrap();
        let asked = &fake.asked()[0].1;
        assert_eq!(asked["MessageAttributes"]["cordon-reason"]["StringValue"], "line 3 is no JSON");
        assert_eq!(asked["MessageBody"], "{}");
    }
}
