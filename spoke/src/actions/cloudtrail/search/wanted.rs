//! Whose records are wanted: as a test of a record, as patterns of CloudWatch Logs, and as attributes of LookupEvents.

use aws_sdk_cloudtrail::types::LookupAttributeKey;
use cordon_shared::trail::{Identity, Record};

use super::Params;
use crate::action::{ActionError, Cx, ParamsError};

/// Longest filter pattern
/// (<https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html>, `filterPattern`).
const PATTERN: usize = 1_024;

/// One way to name a principal.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Of {
    Key(String),
    Instance(String),
    User(String),
    Session(String),
}

/// Whose records are wanted.
#[derive(Debug, Clone)]
pub(in crate::actions::cloudtrail) struct Wanted<'a> {
    of: Vec<Of>,
    /// The account whose users and sessions are meant: their names are unique in it alone.
    account: &'a str,
    /// Only what assumes roles.
    assumes: bool,
}

impl<'a> Wanted<'a> {
    /// Whom the parameters name. What AWS would not take as such a name is refused: it ends up in a pattern.
    pub fn new(action: &'static str, cx: Cx<'a>, with: &Params, assumes: bool) -> Result<Self, ActionError> {
        let mut of: Vec<Of> = with.access_keys.iter().cloned().map(Of::Key).collect();
        let named = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        of.extend(named(&with.instance).map(Of::Instance));
        of.extend(named(&with.user).map(Of::User));
        of.extend(named(&with.role_session).map(Of::Session));
        of.dedup();
        // The sessions of an instance are named after it: once is enough.
        if let Some(instance) = &with.instance {
            of.retain(|one| !matches!(one, Of::Session(session) if session == instance));
        }
        match of.iter().find(|one| !one.is_sound()) {
            None => Ok(Self { of, account: cx.cell.account.as_str(), assumes }),
            Some(one) => Err(ParamsError { action, why: format!("{} cannot be looked for: AWS gives no such names", one.words()) }.into()),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// Whether a record is of one of them.
    pub fn matches(&self, record: &Record) -> bool {
        (!self.assumes || record.assumes()) && self.of.iter().any(|one| one.is(&record.by, self.account))
    }

    /// What is looked for, in words.
    pub fn words(&self) -> Vec<String> {
        self.of.iter().map(Of::words).collect()
    }

    /// What the evidence is about.
    pub fn about(&self, cx: Cx<'_>) -> String {
        match self.of.iter().find(|one| !matches!(one, Of::Key(_))).or_else(|| self.of.first()) {
            Some(Of::Instance(id)) => cx.ec2_arn(&format!("instance/{id}")),
            Some(Of::User(name)) => cx.iam_arn(&format!("user/{name}")),
            Some(other) => other.words(),
            None => String::new(),
        }
    }

    /// Filter patterns, as many as it takes, whose matches together hold every record that is wanted. `*` stands for any characters
    /// (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/matching-terms-json-log-events.html>; at the beginning of a text as in
    /// <https://docs.aws.amazon.com/securityhub/latest/userguide/cloudwatch-controls.html#cloudwatch-2>).
    pub fn patterns(&self) -> Vec<String> {
        let whole = |terms: &str| match self.assumes {
            true => format!("{{ ($.eventSource = \"sts.amazonaws.com\") && ({terms}) }}"),
            false => format!("{{ {terms} }}"),
        };
        let mut found = Vec::new();
        let mut terms = String::new();
        for one in &self.of {
            let term = one.term(self.account);
            let more = if terms.is_empty() { term.clone() } else { format!("{terms} || {term}") };
            if whole(&more).len() > PATTERN && !terms.is_empty() {
                found.push(whole(&terms));
                terms = term;
            } else {
                terms = more;
            }
        }
        if !terms.is_empty() {
            found.push(whole(&terms));
        }
        found
    }

    /// Attributes to look up, one call each. The user name of a session's events is the session's name.
    pub fn attributes(&self) -> Vec<(LookupAttributeKey, &str)> {
        let attribute = |one: &'_ Of| match one {
            Of::Key(_) => LookupAttributeKey::AccessKeyId,
            _ => LookupAttributeKey::Username,
        };
        self.of.iter().map(|one| (attribute(one), one.name())).collect()
    }
}

impl Of {
    fn name(&self) -> &str {
        match self {
            Self::Key(name) | Self::Instance(name) | Self::User(name) | Self::Session(name) => name,
        }
    }

    /// Names as AWS allows them
    /// (<https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>, `RoleSessionName`;
    /// <https://docs.aws.amazon.com/IAM/latest/APIReference/API_AccessKey.html>).
    fn is_sound(&self) -> bool {
        let name = self.name();
        let of_iam = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
        match self {
            Self::Key(_) => (16..=128).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'),
            Self::Instance(_) => name.strip_prefix("i-").is_some_and(|id| id.len() >= 8 && id.bytes().all(|b| b.is_ascii_hexdigit())),
            Self::User(_) | Self::Session(_) => name.len() <= 64 && name.chars().all(of_iam),
        }
    }

    fn is(&self, by: &Identity, account: &str) -> bool {
        let session = |name: &str| by.session.as_deref() == Some(name);
        let home = by.account.as_deref().is_none_or(|of| of == account);
        match self {
            Self::Key(key) => by.access_key.as_deref() == Some(key.as_str()),
            Self::Instance(id) => session(id),
            Self::User(name) => {
                home && by.user.as_deref() == Some(name.as_str()) && matches!(by.kind.as_deref(), Some("IAMUser" | "FederatedUser"))
            }
            Self::Session(name) => home && session(name),
        }
    }

    fn term(&self, account: &str) -> String {
        match self {
            Self::Key(key) => format!("($.userIdentity.accessKeyId = \"{key}\")"),
            Self::Instance(id) => format!("($.userIdentity.principalId = \"*:{id}\")"),
            Self::Session(name) => {
                format!("(($.userIdentity.accountId = \"{account}\") && ($.userIdentity.principalId = \"*:{name}\"))")
            }
            Self::User(name) => format!(
                "(($.userIdentity.accountId = \"{account}\") && (($.userIdentity.userName = \"{name}\") || \
                 ($.userIdentity.sessionContext.sessionIssuer.userName = \"{name}\")))"
            ),
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Key(name) => format!("access key {name}"),
            Self::Instance(name) => format!("sessions of instance {name}"),
            Self::User(name) => format!("user {name}"),
            Self::Session(name) => format!("session {name}"),
        }
    }
}
