//! Amazon SES: plain messages to one address.

use aws_sdk_sesv2::{
    config::retry::RetryConfig,
    types::{Body, Content, Destination, EmailContent, Message},
};

use crate::{
    action::{ActionError, classify},
    permission::Permission,
    session::Clients,
};

/// What this port calls in the hub's account; `{identity}` is the verified address, or its domain.
pub const SENDS: &[Permission] = &[Permission::new("ses:SendEmail", "arn:{partition}:ses:{region}:{account}:identity/{identity}")];

/// Errors that a person may mend: identities to verify, an account whose sending is paused
/// (<https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html>, "Errors").
const MENDABLE: &[&str] = &["AccountSuspendedException", "SendingPausedException", "MailFromDomainNotVerifiedException", "MessageRejected"];

/// A message. SES makes its headers from these parts, so that no text becomes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mail<'a> {
    /// The sender, an identity verified in SES.
    pub from: &'a str,
    /// The one address that it goes to.
    pub to: &'a str,
    /// One line.
    pub subject: &'a str,
    /// Plain text.
    pub body: &'a str,
}

/// Sends a message, once: the SDK does not repeat it, since one whose answer was lost may have been sent. Gives SES's id of it.
///
/// # Errors
/// Those of the call. It may have happened where there was no answer.
pub async fn send(clients: &Clients, mail: Mail<'_>) -> Result<String, ActionError> {
    const CALL: &str = "ses:SendEmail";
    let text = |data: &str| Content::builder().data(data).charset("UTF-8").build();
    let bug = |error: aws_sdk_sesv2::error::BuildError| ActionError::Bug(format!("{CALL} could not be built: {error}"));
    let body = Body::builder().text(text(mail.body).map_err(bug)?).build();
    let message = Message::builder().subject(text(mail.subject).map_err(bug)?).body(body).build();
    let once = aws_sdk_sesv2::config::Builder::new().retry_config(RetryConfig::disabled());
    let request = clients
        .ses()
        .send_email()
        .from_email_address(mail.from)
        .destination(Destination::builder().to_addresses(mail.to).build())
        .content(EmailContent::builder().simple(message).build());
    let answer = request.customize().config_override(once).send().await.map_err(|error| classify(CALL, error))?;
    Ok(answer.message_id().unwrap_or_default().to_owned())
}

/// Whether a refusal is one that a person may mend, so that the same message can go later.
#[must_use]
pub fn mendable(error: &ActionError) -> bool {
    match error {
        ActionError::Denied(_) | ActionError::Session(_) => true,
        ActionError::Service { code, .. } => MENDABLE.contains(&code.as_str()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::aws::fake::World;

    const MAIL: Mail<'_> = Mail { from: "cordon@example.com", to: "team@example.com", subject: "s", body: "b" };

    #[tokio::test]
    async fn a_message_is_plain_text_to_one_address() {
        let world = World::new(|_, _| (200, json!({ "MessageId": "m-1" }))).await;
        assert_eq!(send(&world.clients, MAIL).await.unwrap(), "m-1");
        let asked = world.fake.asked();
        assert_eq!((asked.len(), asked[0].0.as_str()), (1, "POST /v2/email/outbound-emails"));
        let body = &asked[0].1;
        assert_eq!(body["Destination"], json!({ "ToAddresses": ["team@example.com"] }));
        assert_eq!(body["Content"]["Simple"]["Body"], json!({ "Text": { "Data": "b", "Charset": "UTF-8" } }));
    }

    #[tokio::test]
    async fn a_message_is_not_sent_again_by_the_sdk_and_a_refusal_says_whether_it_can_be_mended() {
        let world = World::new(|_, _| (500, json!({ "__type": "InternalServiceErrorException", "message": "x" }))).await;
        assert!(send(&world.clients, MAIL).await.unwrap_err().may_pass());
        assert_eq!(world.fake.asked().len(), 1);
        for (code, mends) in [("SendingPausedException", true), ("AccessDeniedException", true), ("BadRequestException", false)] {
            let world = World::new(move |_, _| (400, json!({ "__type": code, "message": "x" }))).await;
            let error = send(&world.clients, MAIL).await.unwrap_err();
            assert_eq!((mendable(&error), error.may_pass()), (mends, false), "{code}");
        }
    }
}
