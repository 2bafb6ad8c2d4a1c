//! `[owner]`: how the owner of what was changed is found and told.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::{check::tag_key, problem::Problems};
use crate::owner::address;

type Text = Spanned<String>;

/// The longest `contact`, in characters.
const CONTACT: usize = 200;

/// How the owner of what was changed is told: at containment, when it is put back, and when the incident is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Owner")]
pub struct OwnerFile {
    /// The key of the tag that names the owner, on the resource or on its account; capitals make no difference.
    #[serde(default = "key")]
    #[schemars(with = "String")]
    pub tag_key: Text,
    /// The sender of e-mail: an address whose identity is verified in Amazon SES, in the hub's account and home Region. Empty: no e-mail.
    #[serde(default = "nothing")]
    #[schemars(with = "String")]
    pub from: Text,
    /// Whether owners are told in Slack, by their e-mail address or the id in the tag. It needs `[slack] token`.
    #[serde(default = "no")]
    #[schemars(with = "bool")]
    pub slack: Spanned<bool>,
    /// The domains that may be written to. Empty: any.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub domains: Vec<Text>,
    /// Whom an owner asks for undo: an address, a channel, a telephone number.
    #[serde(default = "nothing")]
    #[schemars(with = "String", length(max = 200))]
    pub contact: Text,
}

fn unwritten<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

fn key() -> Text {
    unwritten("owner".to_owned())
}

fn nothing() -> Text {
    unwritten(String::new())
}

fn no() -> Spanned<bool> {
    unwritten(false)
}

impl Default for OwnerFile {
    fn default() -> Self {
        Self { tag_key: key(), from: nothing(), slack: no(), domains: Vec::new(), contact: nothing() }
    }
}

/// How owners are found and told; at least one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The tag's key.
    pub tag_key: String,
    /// The sender of e-mail; `None`: none is sent.
    pub from: Option<String>,
    /// Whether Slack is a way.
    pub slack: bool,
    /// The domains that may be written to, in small letters; empty: any.
    pub domains: Vec<String>,
    /// Whom an owner asks for undo.
    pub contact: String,
}

/// Checks it; `Some(None)`: owners are not told, `None`: an error. `has_slack`: there is a token.
pub(super) fn check(p: &mut Problems, file: &OwnerFile, has_slack: bool) -> Option<Option<Owner>> {
    let before = p.errors();
    tag_key(p, &file.tag_key);
    let from = file.from.get_ref();
    if !from.is_empty() && !address::is_mail(from) {
        let help = Some("one address without a name, like cordon@example.com".to_owned());
        p.error(file.from.span(), format!("`{from}` is no e-mail address"), help);
    }
    for spot in file.domains.iter().filter(|spot| !address::is_domain(spot.get_ref())) {
        let help = Some("what stands behind the @, like example.com; each domain by itself, without `*`".to_owned());
        p.error(spot.span(), format!("`{}` is no domain", spot.get_ref()), help);
    }
    let slack = *file.slack.get_ref();
    if slack && !has_slack {
        let help = Some("name where it is kept: token = \"env:SLACK_BOT_TOKEN\" in `[slack]`".to_owned());
        p.error(file.slack.span(), "there is no `[slack] token` to tell owners by", help);
    }
    let contact = file.contact.get_ref().trim();
    let told = slack || !from.is_empty();
    if contact.chars().count() > CONTACT || contact.chars().any(char::is_control) {
        let help = Some(format!("one line of at most {CONTACT} characters: security@example.com or #security"));
        p.error(file.contact.span(), "`contact` is too long or more than one line", help);
    } else if told && contact.is_empty() {
        let at = if from.is_empty() { file.slack.span() } else { file.from.span() };
        let help = Some("name it: contact = \"security@example.com or #security\"".to_owned());
        p.error(at, "owners are told without a word on whom to ask for undo: `contact` is missing", help);
    } else if !told && !contact.is_empty() {
        let help = Some("name a way: from = \"cordon@example.com\", or slack = true".to_owned());
        p.warning(file.contact.span(), "no owner is told: neither `from` nor `slack` is set", help);
    }
    if p.errors() > before {
        return None;
    }
    let domains = file.domains.iter().map(|spot| spot.get_ref().to_ascii_lowercase()).collect();
    let (tag_key, from) = (file.tag_key.get_ref().clone(), Some(from.clone()).filter(|from| !from.is_empty()));
    Some(told.then(|| Owner { tag_key, from, slack, domains, contact: contact.to_owned() }))
}
