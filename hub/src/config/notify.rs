//! Who is told of what, and by which ways answers come: `[slack]`, `[[webhook]]`, `[[sns]]`, `[notices]`.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf};

use cordon_shared::arn::Arn;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::{
    file::File,
    owner::{self, Owner},
    people::{APPROVER, Person},
    problem::Problems,
};

type Text = Spanned<String>;

/// Slack's Web API.
const API: &str = "https://slack.com/api";
/// Whom a page calls: everybody in its channel.
const MENTION: &str = "<!channel>";

/// Slack: where incidents are told of and plans are approved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SlackFile {
    /// The bot's token (`xoxb-…`), by where it is kept: `env:NAME`, `file:/path`, `ssm:/parameter` or `secretsmanager:id`. Empty: no Slack.
    #[serde(default = "nothing")]
    #[schemars(with = "String")]
    pub token: Text,
    /// The id of the channel that is told of what no route takes: `C0123456789`.
    #[serde(default = "nothing")]
    #[schemars(with = "String")]
    pub channel: Text,
    /// The id of the channel that is paged: alarms, freezes, thaws, and questions that nobody answered. Empty: `channel`.
    #[serde(default = "nothing")]
    #[schemars(with = "String")]
    pub pages: Text,
    /// Whom an alarm and a question that nobody answered call: `<!channel>`, `<!here>`, `<!subteam^S…>` (a user group) or `<@U…>` (one person).
    /// Empty: nobody.
    #[serde(default = "mention")]
    #[schemars(with = "String")]
    pub page_mention: Text,
    /// The address and port on which buttons that were pressed are received by signed HTTPS requests, behind something that ends TLS:
    /// `127.0.0.1:8443`, path `/slack/interactions`. Empty: none.
    #[serde(default = "nothing")]
    #[schemars(with = "String")]
    pub listen: Text,
    /// The app's signing secret, by where it is kept. Needed for `listen`.
    #[serde(default = "nothing")]
    #[schemars(with = "String")]
    pub signing_secret: Text,
    /// The app-level token (`xapp-…`), by where it is kept: buttons that were pressed come by Socket Mode, without an inbound address. Empty: none.
    #[serde(default = "nothing")]
    #[schemars(with = "String")]
    pub app_token: Text,
    /// Slack's Web API; another only for GovSlack or a test on this computer.
    #[serde(default = "api")]
    #[schemars(with = "String")]
    pub api_url: Text,
    /// Which channel is told of what. The first that fits counts.
    #[serde(default)]
    pub route: Vec<RouteFile>,
}

/// A channel for some incidents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteFile {
    /// The OU with all below it, by its names from the root: `Root/Workloads/Production`. Left out: any.
    #[schemars(with = "Option<String>")]
    pub ou: Option<Text>,
    /// The provider's least severity, 0 to 100. Left out: any.
    #[schemars(with = "Option<u8>", range(max = 100))]
    pub severity: Option<Spanned<i64>>,
    /// The channel's id.
    #[schemars(with = "String")]
    pub channel: Text,
}

/// A service that is told by signed requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookFile {
    /// Its name, for messages about it.
    #[schemars(with = "String", length(min = 1))]
    pub name: Text,
    /// Where notices are posted to.
    #[schemars(with = "String")]
    pub url: Text,
    /// What they are signed with (HMAC-SHA256), by where it is kept.
    #[schemars(with = "String")]
    pub secret: Text,
}

/// A topic of Amazon SNS.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TopicFile {
    /// Its ARN.
    #[schemars(with = "String")]
    pub topic: Text,
}

/// Other places that are told.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoticesFile {
    /// Whether `cordon serve` writes each notice to its standard output, as one line of JSON.
    #[serde(default)]
    pub stdout: bool,
}

fn nothing() -> Text {
    Spanned::new(0..0, String::new())
}

fn mention() -> Text {
    Spanned::new(0..0, MENTION.to_owned())
}

fn api() -> Text {
    Spanned::new(0..0, API.to_owned())
}

impl Default for SlackFile {
    fn default() -> Self {
        Self {
            token: nothing(),
            channel: nothing(),
            pages: nothing(),
            page_mention: mention(),
            listen: nothing(),
            signing_secret: nothing(),
            app_token: nothing(),
            api_url: api(),
            route: Vec::new(),
        }
    }
}

/// Where a secret is kept. The secret itself never stands in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretRef {
    /// In an environment variable.
    Env(String),
    /// In a file.
    File(PathBuf),
    /// In Systems Manager's Parameter Store.
    Ssm(String),
    /// In Secrets Manager.
    SecretsManager(String),
}

/// Who is told, and who may answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notify {
    /// Slack.
    pub slack: Option<Slack>,
    /// Services that are told by signed requests.
    pub webhooks: Vec<Webhook>,
    /// ARNs of SNS topics.
    pub topics: Vec<Arn>,
    /// `cordon serve` writes notices to its standard output.
    pub stdout: bool,
    /// How owners of what was changed are told; `None`: they are not.
    pub owner: Option<Owner>,
}

/// Slack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slack {
    /// The bot's token.
    pub token: SecretRef,
    /// The channel for what no route takes.
    pub channel: String,
    /// The channel that is paged.
    pub pages: String,
    /// Whom a page calls, as Slack writes that; empty: nobody.
    pub page_mention: String,
    /// Where signed requests come in, and what they are signed with.
    pub listen: Option<(SocketAddr, SecretRef)>,
    /// The token for Socket Mode.
    pub app_token: Option<SecretRef>,
    /// The Web API, without a slash at its end.
    pub url: String,
    /// Channels for some incidents.
    pub routes: Vec<Route>,
}

/// A channel for some incidents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Names of OUs from the root.
    pub ou: Vec<String>,
    /// The least severity.
    pub severity: u64,
    /// The channel.
    pub channel: String,
}

/// A service that is told by signed requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its name.
    pub name: String,
    /// Where to.
    pub url: String,
    /// What with.
    pub secret: SecretRef,
}

/// Checks it all; `None` after an error.
pub(super) fn check(p: &mut Problems, file: &File, people: &[Person]) -> Option<Notify> {
    let slack = slack(p, &file.slack);
    if let Some(Some(slack)) = &slack
        && (slack.listen.is_some() || slack.app_token.is_some())
        && !people.iter().any(|person| person.slack.is_some() && person.roles.iter().any(|role| role == APPROVER))
    {
        let help = Some("name one: [[people]] name = \"…\", roles = [\"approver\"], slack = \"U…\"".to_owned());
        p.warning(file.slack.token.span(), "nobody may answer from Slack: no person has the role `approver` and a Slack user", help);
    }
    let mut names = BTreeSet::new();
    let webhooks: Vec<Option<Webhook>> = file
        .webhook
        .iter()
        .map(|hook| {
            let name = hook.name.get_ref().trim().to_owned();
            if name.is_empty() || !names.insert(name.clone()) {
                p.error(
                    hook.name.span(),
                    format!("`{name}` is empty or named twice"),
                    Some("give each webhook a name of its own".to_owned()),
                );
            }
            let (url, secret) = (url(p, &hook.url), secret(p, &hook.secret, "[[webhook]] secret"));
            Some(Webhook { name, url: url?, secret: secret? })
        })
        .collect();
    let topics: Vec<Option<Arn>> = file.sns.iter().map(|topic| self::topic(p, &topic.topic)).collect();
    let owner = owner::check(p, &file.owner, !file.slack.token.get_ref().is_empty());
    Some(Notify {
        slack: slack?,
        webhooks: webhooks.into_iter().collect::<Option<_>>()?,
        topics: topics.into_iter().collect::<Option<_>>()?,
        stdout: file.notices.stdout,
        owner: owner?,
    })
}

/// `Some(None)`: no Slack.
fn slack(p: &mut Problems, slack: &SlackFile) -> Option<Option<Slack>> {
    if slack.token.get_ref().is_empty() {
        let others = [&slack.channel, &slack.pages, &slack.listen, &slack.signing_secret, &slack.app_token];
        if let Some(other) = others.into_iter().find(|other| !other.get_ref().is_empty()) {
            p.error(other.span(), "there is no `[slack] token`", Some("name where it is kept: token = \"env:SLACK_BOT_TOKEN\"".to_owned()));
            return None;
        }
        return Some(None);
    }
    let token = secret(p, &slack.token, "[slack] token");
    let channel = channel(p, &slack.channel);
    let pages = if slack.pages.get_ref().is_empty() { channel.clone() } else { self::channel(p, &slack.pages) };
    let page_mention = page_mention(p, &slack.page_mention);
    let url = url(p, &slack.api_url);
    let app_token =
        if slack.app_token.get_ref().is_empty() { Some(None) } else { secret(p, &slack.app_token, "[slack] app_token").map(Some) };
    let listen = listen(p, slack);
    let routes: Vec<Option<Route>> = slack.route.iter().map(|route| self::route(p, route)).collect();
    Some(Some(Slack {
        token: token?,
        channel: channel?,
        pages: pages?,
        page_mention: page_mention?,
        listen: listen?,
        app_token: app_token?,
        url: url?.trim_end_matches('/').to_owned(),
        routes: routes.into_iter().collect::<Option<_>>()?,
    }))
}

/// Only what calls somebody: everything else would be text of the configuration that Slack reads as markup.
fn page_mention(p: &mut Problems, spot: &Text) -> Option<String> {
    let text = spot.get_ref();
    let within =
        |start: &str, first: &str| text.strip_prefix(start).and_then(|rest| rest.strip_suffix('>')).is_some_and(|id| is_id(id, first));
    if text.is_empty() || matches!(text.as_str(), "<!channel>" | "<!here>") || within("<!subteam^", "S") || within("<@", "UW") {
        return Some(text.clone());
    }
    let help = Some("write <!channel>, <!here>, <!subteam^S0123456789> or <@U0123456789>; empty: nobody is called".to_owned());
    p.error(spot.span(), format!("`{text}` calls nobody in Slack"), help);
    None
}

fn listen(p: &mut Problems, slack: &SlackFile) -> Option<Option<(SocketAddr, SecretRef)>> {
    if slack.listen.get_ref().is_empty() {
        return Some(None);
    }
    let address = address(p, &slack.listen)?;
    if slack.signing_secret.get_ref().is_empty() {
        let help = Some("name where it is kept: signing_secret = \"env:SLACK_SIGNING_SECRET\"".to_owned());
        p.error(slack.listen.span(), "what comes in there cannot be checked without `signing_secret`", help);
        return None;
    }
    Some(Some((address, secret(p, &slack.signing_secret, "[slack] signing_secret")?)))
}

/// An address to listen on.
pub(super) fn address(p: &mut Problems, spot: &Text) -> Option<SocketAddr> {
    let Ok(address) = spot.get_ref().parse::<SocketAddr>() else {
        let why = format!("`{}` is no address with a port", spot.get_ref());
        p.error(spot.span(), why, Some("write it like 127.0.0.1:8443".to_owned()));
        return None;
    };
    if !address.ip().is_loopback() {
        let why = "requests from other computers come in without TLS here";
        p.warning(spot.span(), why, Some("listen on 127.0.0.1, behind a load balancer or proxy that ends TLS".to_owned()));
    }
    Some(address)
}

fn route(p: &mut Problems, route: &RouteFile) -> Option<Route> {
    let severity = route.severity.as_ref().map_or(Some(0), |spot| match u64::try_from(*spot.get_ref()) {
        Ok(severity) if severity <= 100 => Some(severity),
        _ => {
            p.error(spot.span(), format!("{} is out of range", spot.get_ref()), Some("a severity is 0 to 100".to_owned()));
            None
        }
    });
    let ou = route.ou.as_ref().map(|ou| ou.get_ref().split('/').map(|unit| unit.trim().to_owned()).collect::<Vec<_>>());
    if let (Some(spot), Some(path)) = (&route.ou, &ou)
        && path.iter().any(String::is_empty)
    {
        let help = Some("the OUs' names from the root on: Root/Workloads/Production".to_owned());
        p.error(spot.span(), format!("`{}` is no path of OUs", spot.get_ref()), help);
    }
    Some(Route { ou: ou.unwrap_or_default(), severity: severity?, channel: channel(p, &route.channel)? })
}

fn channel(p: &mut Problems, spot: &Text) -> Option<String> {
    if !is_id(spot.get_ref(), "CGD") {
        let help = Some("the id at the end of the channel's details in Slack, like C0123456789 (a name can change hands)".to_owned());
        p.error(spot.span(), format!("`{}` is no id of a Slack channel", spot.get_ref()), help);
        return None;
    }
    Some(spot.get_ref().clone())
}

fn topic(p: &mut Problems, spot: &Text) -> Option<Arn> {
    let arn = spot.get_ref().parse::<Arn>().ok().filter(|arn| arn.service() == "sns" && arn.region().is_some() && arn.account().is_some());
    if arn.is_none() {
        let help = Some("write it like arn:aws:sns:us-east-1:222222222222:incidents".to_owned());
        p.error(spot.span(), format!("`{}` is not the ARN of an SNS topic", spot.get_ref()), help);
    }
    arn
}

/// An address to post to. What goes there is nobody else's business: TLS, unless it stays on this computer.
pub(super) fn url(p: &mut Problems, spot: &Text) -> Option<String> {
    let text = spot.get_ref();
    let local = text.strip_prefix("http://").is_some_and(|rest| {
        let host = rest.split('/').next().unwrap_or_default();
        ["127.0.0.1", "localhost", "[::1]"]
            .iter()
            .any(|known| host == *known || host.strip_prefix(known).is_some_and(|port| port.starts_with(':')))
    });
    let https = text.strip_prefix("https://").is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'));
    if (https || local) && text.chars().all(|c| c.is_ascii_graphic()) && !text.contains('@') {
        return Some(text.clone());
    }
    p.error(
        spot.span(),
        format!("`{text}` cannot be posted to"),
        Some("an address that begins with https://, without a user in it".to_owned()),
    );
    None
}

/// Its place is not shown: the text may be the secret itself.
fn secret(p: &mut Problems, spot: &Text, key: &str) -> Option<SecretRef> {
    let found = match spot.get_ref().split_once(':') {
        Some((_, "")) => None,
        Some(("env", name)) => Some(SecretRef::Env(name.to_owned())),
        Some(("file", path)) if path.starts_with('/') => Some(SecretRef::File(PathBuf::from(path))),
        Some(("ssm", name)) => Some(SecretRef::Ssm(name.to_owned())),
        Some(("secretsmanager", id)) => Some(SecretRef::SecretsManager(id.to_owned())),
        _ => None,
    };
    if found.is_none() {
        let help = Some("where it is kept, never the secret itself: env:NAME, file:/path, ssm:/parameter or secretsmanager:id".to_owned());
        p.error(0..0, format!("`{key}` does not say where a secret is kept"), help);
    }
    found
}

pub(super) fn is_id(text: &str, first: &str) -> bool {
    (3..=64).contains(&text.len())
        && text.starts_with(|c| first.contains(c))
        && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
}
