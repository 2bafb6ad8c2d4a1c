//! Notices of the outbox, posted once and updated in place.

use cordon_shared::{engine::View, journal::Sealed, notice::NoticeKind, page::Page};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{
    SLACK,
    card::{self, Card},
    client::{Api, CallError},
};
use crate::{
    config::notify::{Route, Slack},
    driver::Hub,
    journal::outbox::{Due, Place, Thread},
    notify::{self, Unsent},
    secret::Secret,
};

/// What the metadata of a message is called, by which it is found again.
pub(crate) const METADATA: &str = "cordon_notice";
/// How many messages are looked through at a time for one that may have come through.
const LOOKED: &str = "200";
/// How often at most: 2,000 messages.
const LOOKS: usize = 10;

/// Posts to Slack.
#[derive(Debug)]
pub(crate) struct Poster {
    client: Api,
    channel: String,
    routes: Vec<Route>,
    /// The channel for pages, and whom they call.
    pages: String,
    mention: String,
    /// The id of the bot that a token is of.
    bot: Mutex<Option<(Secret, Option<String>)>>,
}

impl Poster {
    pub(crate) fn new(hub: &Hub, slack: &Slack) -> Self {
        let client = Api::new(hub, &slack.url, &slack.token);
        let (channel, routes) = (slack.channel.clone(), slack.routes.clone());
        Self { client, channel, routes, pages: slack.pages.clone(), mention: slack.page_mention.clone(), bot: Mutex::default() }
    }

    /// Sends a notice. Posting is one step, done once; updating in place may be repeated.
    pub(crate) async fn send(&self, hub: &Hub, due: &Due) -> Result<(), Unsent> {
        let (entries, view) = notify::told_of(hub, &due.notice).await?;
        if due.notice.kind == NoticeKind::Answered {
            return self.settle(hub, due, &view, &entries).await;
        }
        let thread = hub.store.thread_of(view.run, SLACK).await?;
        let place = match &due.place {
            Some(place) => place.clone(),
            None => {
                let card = match due.notice.kind {
                    NoticeKind::Detected => card::detected(&view),
                    NoticeKind::Asks => card::question(&view, &entries, &due.notice, hub.clock.now()),
                    _ => card::outcome(&view, &entries, &due.notice),
                };
                let root = thread.as_ref().map(|thread| &thread.root);
                let channel = root.map_or_else(|| self.channel(&view), |root| &root.channel);
                let key = format!("{}/{}", due.notice.run, due.notice.key);
                let place = self.post(channel, root, due, &key, due.notice.at, &card).await?;
                hub.store.outbox_placed(due.slip, &place).await?;
                place
            }
        };
        self.head(thread, &place, &view).await
    }

    /// Sends a page. It stands by itself, and stays as it was.
    pub(crate) async fn page(&self, hub: &Hub, due: &Due<Page>) -> Result<(), Unsent> {
        if due.place.is_some() {
            return Ok(());
        }
        let card = card::page(&due.notice, &self.mention);
        let key = format!("page/{}", due.notice.key);
        let place = self.post(&self.pages, None, due, &key, due.notice.at, &card).await?;
        Ok(hub.store.outbox_placed(due.slip, &place).await?)
    }

    /// Draws the first card of a thread anew, where something else in it has changed. Where the detection could not be told another message is
    /// the first one, a question with its buttons say: that stays what it is.
    async fn head(&self, thread: Option<Thread>, changed: &Place, view: &View) -> Result<(), Unsent> {
        match thread {
            Some(Thread { root, detected: true }) if root != *changed => self.update(&root, &card::detected(view)).await,
            _ => Ok(()),
        }
    }

    /// The channel for an incident.
    fn channel(&self, view: &View) -> &str {
        route(&self.routes, view).unwrap_or(&self.channel)
    }

    async fn post<T>(
        &self,
        channel: &str,
        thread: Option<&Place>,
        due: &Due<T>,
        key: &str,
        at: Timestamp,
        card: &Card,
    ) -> Result<Place, Unsent> {
        if due.unsure
            && let Some(place) = self.find(channel, thread, at, key).await?
        {
            return Ok(place);
        }
        let mut body = json!({
            "channel": channel, "text": card.text, "blocks": card.blocks, "unfurl_links": false, "unfurl_media": false,
            "metadata": { "event_type": METADATA, "event_payload": { "key": key } },
        });
        if let (Some(thread), Some(fields)) = (thread, body.as_object_mut()) {
            fields.insert("thread_ts".to_owned(), json!(thread.ts));
        }
        let said = self.client.say("chat.postMessage", channel, &body).await?;
        let text = |key: &str| said.get(key).and_then(Value::as_str).map(str::to_owned);
        match (text("channel"), text("ts")) {
            (Some(channel), Some(ts)) => Ok(Place { channel, ts }),
            _ => Err(Unsent::Later { why: "chat.postMessage: the answer says not where the message is".to_owned(), unsure: true }),
        }
    }

    /// Who the app is in Slack, as a message says who posted it; asked once for each token
    /// (<https://docs.slack.dev/reference/methods/auth.test>).
    async fn bot(&self) -> Result<Option<String>, Unsent> {
        let token = self.client.token().await?;
        let mut known = self.bot.lock().await;
        if let Some((of, bot)) = known.as_ref()
            && *of == token
        {
            return Ok(bot.clone());
        }
        let said = self.client.ask("auth.test", &[]).await?;
        let bot = said.get("bot_id").and_then(Value::as_str).map(str::to_owned);
        if bot.is_none() {
            tracing::warn!("Slack's token is no bot's, so messages are not known again and one may come twice: use a bot token (xoxb-…)");
        }
        *known = Some((token, bot.clone()));
        Ok(bot)
    }

    /// Looks for a message whose answer was lost, page by page: a channel's messages come the newest first, a thread's the oldest first
    /// (<https://docs.slack.dev/reference/methods/conversations.history>, <https://docs.slack.dev/reference/methods/conversations.replies>).
    async fn find(&self, channel: &str, thread: Option<&Place>, at: Timestamp, key: &str) -> Result<Option<Place>, Unsent> {
        let Some(bot) = self.bot().await? else { return Ok(None) };
        let oldest = at.as_second().saturating_sub(300).to_string();
        let mut cursor = String::new();
        for _ in 0..LOOKS {
            let mut fields = vec![("channel", channel), ("include_all_metadata", "true"), ("limit", LOOKED), ("oldest", &oldest)];
            fields.extend((!cursor.is_empty()).then_some(("cursor", cursor.as_str())));
            let method = match thread {
                Some(thread) => {
                    fields.push(("ts", &thread.ts));
                    "conversations.replies"
                }
                None => "conversations.history",
            };
            let said = match self.client.ask(method, &fields).await {
                Ok(said) => said,
                // Without the right to look, telling twice is better than not at all.
                Err(CallError::Refused(word)) => {
                    tracing::warn!(%word, method, "Slack does not let the app look for its own message, so one may come twice: give it channels:history");
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            };
            let messages = said.get("messages").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let found = messages.iter().find(|message| is_ours(message, &bot, key));
            if let Some(ts) = found.and_then(|message| message.get("ts")).and_then(Value::as_str) {
                return Ok(Some(Place { channel: channel.to_owned(), ts: ts.to_owned() }));
            }
            cursor = said.pointer("/response_metadata/next_cursor").and_then(Value::as_str).unwrap_or_default().to_owned();
            if cursor.is_empty() {
                return Ok(None);
            }
        }
        tracing::warn!(
            key,
            channel,
            "a message that may have come through is not among the many that were looked through: it may come twice"
        );
        Ok(None)
    }

    async fn update(&self, place: &Place, card: &Card) -> Result<(), Unsent> {
        let body = json!({ "channel": place.channel, "ts": place.ts, "text": card.text, "blocks": card.blocks });
        match self.client.say("chat.update", &place.channel, &body).await {
            Ok(_) => Ok(()),
            // Somebody deleted it: there is nothing left to be pressed.
            Err(CallError::Refused(word)) if word == "message_not_found" => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// A question stands no more: its card says so, and its buttons go.
    async fn settle(&self, hub: &Hub, due: &Due, view: &View, entries: &[Sealed]) -> Result<(), Unsent> {
        let Some(step) = &due.notice.step else { return Ok(()) };
        let cards = hub.store.cards_of(view.run, SLACK, step).await?;
        let asked = cards.into_iter().find(|(asked, _)| asked.digest == due.notice.digest && asked.expires == due.notice.expires);
        let Some((asked, place)) = asked else { return Ok(()) };
        self.update(&place, &card::question(view, entries, &asked, hub.clock.now())).await?;
        self.head(hub.store.thread_of(view.run, SLACK).await?, &place, view).await
    }
}

/// Whether a message is the one that this bot posted with this key. Any app may write any metadata.
fn is_ours(message: &Value, bot: &str, key: &str) -> bool {
    let is = |at: &str, wanted: &str| message.pointer(at).and_then(Value::as_str) == Some(wanted);
    is("/bot_id", bot) && is("/metadata/event_type", METADATA) && is("/metadata/event_payload/key", key)
}

/// The first route that fits.
fn route<'r>(routes: &'r [Route], view: &View) -> Option<&'r str> {
    let severity = view.finding().get("severity").and_then(Value::as_u64).unwrap_or_default();
    let path: Vec<&str> = view
        .account
        .as_ref()
        .and_then(|account| account.get("path"))
        .and_then(Value::as_array)
        .map(|path| path.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let fits = |route: &&Route| {
        let below = route.ou.len() <= path.len() && route.ou.iter().zip(&path).all(|(wanted, unit)| wanted == unit);
        severity >= route.severity && below
    };
    routes.iter().find(fits).map(|route| route.channel.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slack::testing;

    #[test]
    fn a_message_is_ours_by_its_bot_the_kind_of_its_metadata_and_its_key() {
        let message = |bot: &str, kind: &str, key: &str| json!({ "bot_id": bot, "app_id": "A1", "metadata": { "event_type": kind, "event_payload": { "key": key } } });
        assert!(is_ours(&message("B1", METADATA, "k"), "B1", "k"));
        for other in [message("B2", METADATA, "k"), message("B1", "another", "k"), message("B1", METADATA, "l"), json!({ "bot_id": "B1" })]
        {
            assert!(!is_ours(&other, "B1", "k"), "{other}");
        }
        let mut persons = message("B1", METADATA, "k");
        persons["bot_id"] = Value::Null;
        assert!(!is_ours(&persons, "B1", "k"));
    }

    #[test]
    fn the_first_route_that_fits_by_ou_and_severity_counts() {
        let route_of = |ou: &[&str], severity: u64, channel: &str| Route {
            ou: ou.iter().map(|unit| (*unit).to_owned()).collect(),
            severity,
            channel: channel.to_owned(),
        };
        let routes =
            [route_of(&["Root", "Production"], 70, "CHIGH"), route_of(&["Root", "Production"], 0, "CPROD"), route_of(&[], 90, "CALL")];
        let mut view = testing::view();
        view.account = Some(json!({ "path": ["Root", "Production", "Web"] }));
        assert_eq!(route(&routes, &view), Some("CPROD"));
        view.findings[0].finding["severity"] = json!(80);
        assert_eq!(route(&routes, &view), Some("CHIGH"));
        view.account = Some(json!({ "path": ["Root"] }));
        assert_eq!(route(&routes, &view), None);
        view.findings[0].finding["severity"] = json!(95);
        view.account = None;
        assert_eq!(route(&routes, &view), Some("CALL"));
    }
}
