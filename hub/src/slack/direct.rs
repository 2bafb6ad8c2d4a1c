//! Messages to one user or channel, outside of any incident's thread: what owners are told.

use serde_json::{Value, json};

use super::{
    card::Card,
    client::{Api, CallError},
};
use crate::{config::notify::Slack, driver::Hub, notify::Unsent, owner::address::Address};

/// Why a message did not go.
#[derive(Debug)]
pub(crate) enum Undelivered {
    /// Slack knows nobody with that address or id, or not any more.
    NoUser,
    /// Anything else.
    Unsent(Unsent),
}

impl From<CallError> for Undelivered {
    fn from(error: CallError) -> Self {
        Self::Unsent(error.into())
    }
}

/// What Slack says of an id that nobody has (<https://docs.slack.dev/reference/methods/chat.postMessage>, "Errors").
const NOBODYS: &[&str] = &["channel_not_found", "user_not_found", "users_not_found"];

/// What a refusal says of an address. An id was written by hand in a tag: of one that nobody has no other message is to wait.
fn undelivered(address: &Address, error: CallError) -> Undelivered {
    match (address, error) {
        (Address::Slack(_), CallError::Refused(word)) if NOBODYS.contains(&word.as_str()) => Undelivered::NoUser,
        (_, error) => error.into(),
    }
}

/// Writes to users and channels.
#[derive(Debug)]
pub(crate) struct Direct {
    client: Api,
}

impl Direct {
    pub(crate) fn new(hub: &Hub, slack: &Slack) -> Self {
        Self { client: Api::new(hub, &slack.url, &slack.token) }
    }

    /// Posts a card to a user or a channel. An e-mail address is that of a user.
    pub(crate) async fn tell(&self, address: &Address, card: &Card) -> Result<(), Undelivered> {
        let channel = match address {
            Address::Slack(id) => id.clone(),
            Address::Mail(mail) => self.user(mail).await?,
        };
        let body = json!({ "channel": channel, "text": card.text, "blocks": card.blocks, "unfurl_links": false, "unfurl_media": false });
        self.client.say("chat.postMessage", &channel, &body).await.map(drop).map_err(|error| undelivered(address, error))
    }

    /// The user with this address (<https://docs.slack.dev/reference/methods/users.lookupByEmail>).
    async fn user(&self, mail: &str) -> Result<String, Undelivered> {
        let said = match self.client.ask("users.lookupByEmail", &[("email", mail)]).await {
            Ok(said) => said,
            Err(CallError::Refused(word)) if word == "users_not_found" => return Err(Undelivered::NoUser),
            Err(error) => return Err(error.into()),
        };
        let gone = said.pointer("/user/deleted").and_then(Value::as_bool) == Some(true);
        let id = said.pointer("/user/id").and_then(Value::as_str).filter(|_| !gone);
        id.map(str::to_owned).ok_or(Undelivered::NoUser)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_a_tag_that_nobody_has_is_no_channel_that_a_person_may_mend() {
        let said = |address: Address, word: &str| undelivered(&address, CallError::Refused(word.to_owned()));
        let tag = || Address::Slack("U012AB3CD".to_owned());
        for word in NOBODYS {
            assert!(matches!(said(tag(), word), Undelivered::NoUser), "{word}");
        }
        assert!(matches!(said(tag(), "not_in_channel"), Undelivered::Unsent(Unsent::Mendable(_))));
        let mail = Address::Mail("ann@example.com".to_owned());
        assert!(matches!(said(mail, "channel_not_found"), Undelivered::Unsent(Unsent::Mendable(_))));
    }
}
