//! Destinations that are told the notice itself, as one JSON object: signed requests, SNS topics, standard output.

use std::time::Duration;

use cordon_shared::{arn::Arn, notice::Notice, page::Page};
use cordon_spoke::{action::ActionError, aws::topic, http::Http};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Message, Unsent};
use crate::{config::notify::Webhook, driver::Hub, secret::Kept};

/// The name and version of the object's shape.
pub const SCHEMA: &str = "cordon.notice/1";
/// The same of a page's.
pub const PAGE_SCHEMA: &str = "cordon.page/1";
/// The header with the time of signing, in seconds since the Unix epoch.
pub const TIMESTAMP: &str = "cordon-timestamp";
/// The header with the signature: `v1=` and HMAC-SHA256, in hexadecimal, of the timestamp, a full stop and the body.
pub const SIGNATURE: &str = "cordon-signature";
/// How long a webhook may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Statuses that say what is wrong with the message itself (<https://www.rfc-editor.org/rfc/rfc9110#section-15.5>). Of the others one may
/// pass, or a person may mend what it is about: the address, the secret, a permission.
const OF_THE_MESSAGE: &[u16] = &[400, 406, 411, 413, 415, 422, 431];
/// The status of a webhook that knows a message by its `id` already.
const CONFLICT: u16 = 409;
/// SNS's codes that do (<https://docs.aws.amazon.com/sns/latest/api/API_Publish.html>, "Errors").
const OF_THE_NOTICE: &[&str] = &["InvalidParameter", "InvalidParameterValue", "ParameterValueInvalid", "ValidationException"];

/// A notice as others read it. Its `id` stays the same however often it is sent.
#[must_use]
pub fn payload(notice: &Notice) -> Value {
    let mut value = json!(notice);
    if let Some(fields) = value.as_object_mut() {
        fields.remove("run");
        fields.insert("schema".to_owned(), json!(SCHEMA));
        fields.insert("id".to_owned(), json!(format!("{}/{}", notice.run, notice.key)));
        fields.insert("incident".to_owned(), json!(notice.run));
    }
    value
}

/// A page as others read it. Its `id` stays the same however often it is sent.
#[must_use]
pub fn page_payload(page: &Page) -> Value {
    let mut value = json!(page);
    if let Some(fields) = value.as_object_mut() {
        fields.remove("key");
        fields.insert("schema".to_owned(), json!(PAGE_SCHEMA));
        fields.insert("id".to_owned(), json!(page.key));
        if let Some(question) = &page.question {
            fields.insert("question".to_owned(), payload(question));
        }
    }
    value
}

pub(super) struct Hook {
    http: Http,
    url: String,
    secret: Kept,
}

impl Hook {
    pub(super) fn new(hub: &Hub, hook: &Webhook) -> Self {
        let secret = Kept::new(hook.secret.clone(), hub.sessions.clone(), hub.config.hub.home_region.clone());
        Self { http: Http::new(), url: hook.url.clone(), secret }
    }

    /// Sends it. `unsure`: an attempt before may have come through.
    pub(super) async fn send(&self, hub: &Hub, told: Value, unsure: bool) -> Result<(), Unsent> {
        let later = |why: String, unsure| Unsent::Later { why, unsure };
        let secret = self.secret.get().await?;
        let (time, body) = (hub.clock.now().as_second().to_string(), told.to_string());
        let mut mac =
            Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).map_err(|_| Unsent::Mendable("its secret is no key".to_owned()))?;
        mac.update(time.as_bytes());
        mac.update(b".");
        mac.update(body.as_bytes());
        let headers = [
            ("content-type", "application/json; charset=utf-8".to_owned()),
            (TIMESTAMP, time),
            (SIGNATURE, format!("v1={}", hex::encode(mac.finalize().into_bytes()))),
        ];
        let answer =
            self.http.post(&self.url, &headers, body.into_bytes(), PATIENCE).await.map_err(|error| later(error.to_string(), true))?;
        match (answer.status, answer.retry_after) {
            (200..=299, _) => Ok(()),
            (429 | 503, Some(pause)) => Err(Unsent::Limited { pause, all: true }),
            // It came through before, and the answer was lost.
            (CONFLICT, _) if unsure => Ok(()),
            (CONFLICT, _) => Err(Unsent::Never(format!("it answered {CONFLICT}"))),
            (408 | 425 | 429 | 500..=599, _) => Err(later(format!("it answered {}", answer.status), true)),
            (status, _) if OF_THE_MESSAGE.contains(&status) => Err(Unsent::Never(format!("it answered {status}"))),
            (status, _) => {
                if matches!(status, 401 | 403) {
                    self.secret.refused(&secret).await;
                }
                Err(Unsent::Mendable(format!("it answered {status}")))
            }
        }
    }
}

pub(super) struct Topic {
    pub(super) arn: Arn,
}

impl Topic {
    pub(super) async fn send(&self, hub: &Hub, told: &Message) -> Result<(), Unsent> {
        let region = self.arn.region().unwrap_or_else(|| hub.config.hub.home_region.clone());
        let clients = hub.sessions.hub(&region);
        let (subject, group, id) = match told {
            Message::Notice(due) => {
                let (kind, run, account) = (due.notice.kind.as_str(), due.notice.run.to_string(), &due.notice.account);
                (format!("Cordon: {kind} {run} in {account}"), run.clone(), format!("{run}/{}", due.notice.key))
            }
            Message::Page(due) => (format!("Cordon: {}", due.notice.kind.as_str()), "pages".to_owned(), due.notice.key.clone()),
        };
        let key = hex::encode(Sha256::digest(id));
        let sent = topic::publish(&clients, &self.arn.to_string(), &subject, &told.payload().to_string(), &group, &key).await;
        sent.map_err(|error| match error {
            error if error.may_pass() => Unsent::Later { why: error.to_string(), unsure: !matches!(error, ActionError::NotSent(_)) },
            error if is_of_the_notice(&error) => Unsent::Never(error.to_string()),
            error => Unsent::Mendable(error.to_string()),
        })
    }
}

/// Whether SNS refuses what it is given: all else (a permission, a session, a topic or a key that is not there) a person may mend.
fn is_of_the_notice(error: &ActionError) -> bool {
    match error {
        ActionError::Service { code, .. } => OF_THE_NOTICE.contains(&code.as_str()),
        error => matches!(error, ActionError::Bug(_) | ActionError::Params(_)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_names_the_incident_and_has_an_id_that_stays() {
        let notice = crate::slack::testing::notice(cordon_shared::notice::NoticeKind::Asks);
        let value = payload(&notice);
        assert_eq!(value, payload(&notice));
        assert_eq!(value["schema"], SCHEMA);
        assert_eq!(value["id"], format!("{}/{}", notice.run, notice.key));
        assert_eq!((value["incident"].as_str(), value.get("run")), (Some(notice.run.to_string().as_str()), None));
    }

    #[test]
    fn what_a_person_may_mend_is_told_from_what_is_wrong_with_the_notice() {
        let service = |code: &str| ActionError::Service { call: "sns:Publish".into(), code: code.into(), message: "m".into() };
        let denied = cordon_spoke::action::Denied { call: "sns:Publish".into(), message: "m".into() };
        assert!(is_of_the_notice(&service("InvalidParameter")) && is_of_the_notice(&ActionError::Bug("b".into())));
        for mendable in [service("AuthorizationError"), service("NotFound"), service("KMSDisabled"), ActionError::Denied(denied)] {
            assert!(!is_of_the_notice(&mendable) && !mendable.may_pass(), "{mendable}");
        }
    }

    #[test]
    fn a_page_says_what_stands_who_did_it_and_what_answers_it() {
        let page = crate::slack::testing::alarm("why");
        let value = page_payload(&page);
        assert_eq!(
            (value["schema"].as_str(), value["id"].as_str(), value["kind"].as_str()),
            (Some(PAGE_SCHEMA), Some("freeze/7"), Some("alarm"))
        );
        assert_eq!(
            (value["scope"].as_str(), value["level"].as_str(), value["by"].as_str()),
            (Some("organization"), Some("limited"), Some("self-alarm"))
        );
        assert_eq!((value["answer"].as_str(), value["alarm"].as_str(), value.get("key")), (Some("cordon thaw"), Some("f-1"), None));
        let question = page_payload(&crate::slack::testing::escalated("why"));
        assert_eq!((question["question"]["schema"].as_str(), question["question"]["escalated"].as_bool()), (Some(SCHEMA), Some(true)));
    }
}
