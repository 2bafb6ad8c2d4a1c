//! Amazon SNS: a topic that notices are published to.

use crate::{
    action::{ActionError, classify},
    permission::Permission,
    session::Clients,
};

/// What this port calls on the topic, `{topic}`.
pub const PUBLISHES: &[Permission] = &[Permission::new("sns:Publish", "arn:{partition}:sns:{region}:{account}:{topic}")];

/// Longest subject (<https://docs.aws.amazon.com/sns/latest/api/API_Publish.html>: ASCII, fewer than 100 characters, no line breaks).
const SUBJECT: usize = 99;

/// Publishes a message. On a FIFO topic the messages of one `group` stay in order, and SNS itself drops a second one with the same `key`.
///
/// # Errors
/// Those of the call. It may have happened where there was no answer.
pub async fn publish(clients: &Clients, arn: &str, subject: &str, message: &str, group: &str, key: &str) -> Result<(), ActionError> {
    let subject: String = subject.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).take(SUBJECT).collect();
    let mut request = clients.sns().publish().topic_arn(arn).subject(subject).message(message);
    if arn.ends_with(".fifo") {
        request = request.message_group_id(group).message_deduplication_id(key);
    }
    request.send().await.map_err(|error| classify("sns:Publish", error))?;
    Ok(())
}
