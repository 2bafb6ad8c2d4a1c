//! Records of CloudTrail: who called what, from where, and what came of it.
//!
//! A record is read into a small type of ours, from named fields only. What is not asked for is not kept, and no secret is asked for:
//! CloudTrail has session tokens, passwords and user data in what services were asked and answered
//! (<https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html>). For evidence there is
//! [`redact`], which keeps a record whole but for its secrets.
//!
//! Nothing in a record is trusted to be there, or to be of the type that it should be. Names, user agents and descriptions are chosen by
//! whoever calls; texts are cut to a length.

#[cfg(test)]
mod corpus_tests;
mod ingress;
mod made;
mod redact;
pub mod tagging;
#[cfg(test)]
mod tests;

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use ingress::Opening;
pub use made::Made;
pub use redact::{REMOVED, redact};
pub use tagging::Tagged;

/// Longest text that is kept: the longest ARN of IAM is shorter
/// (<https://docs.aws.amazon.com/IAM/latest/APIReference/API_Role.html>, `Arn`: 2,048), user agents are cut.
const TEXT: usize = 2_048;

/// One call, as CloudTrail recorded it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// CloudTrail's own id of it; empty where there is none.
    pub id: String,
    /// When.
    pub at: Option<Timestamp>,
    /// `RunInstances`.
    pub name: String,
    /// `ec2.amazonaws.com`.
    pub source: String,
    /// The Region; global services are recorded in one.
    pub region: Option<String>,
    /// The account that the record is for.
    pub account: Option<String>,
    /// Whether the call changes nothing: as the record says, else by the name.
    pub read_only: bool,
    /// An address, or the name of an AWS service.
    pub address: Option<String>,
    /// What the caller's program calls itself.
    pub user_agent: Option<String>,
    /// Why it failed: `AccessDenied`, `Client.UnauthorizedOperation`; `None` when it did not.
    pub error: Option<String>,
    /// Who.
    pub by: Identity,
    /// What it made, where it did not fail.
    pub made: Vec<Made>,
    /// The role that was to be assumed.
    pub role: Option<Role>,
    /// The session that was handed out.
    pub issued: Option<Issued>,
    /// The inbound rules of security groups that it made.
    pub openings: Vec<Opening>,
}

/// Who called.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// `IAMUser`, `AssumedRole`, `Root`, `AWSService`, …
    pub kind: Option<String>,
    /// `AIDA…`, `AROA…:session`.
    pub principal: Option<String>,
    /// The ARN.
    pub arn: Option<String>,
    /// The account of the caller.
    pub account: Option<String>,
    /// The access key's id.
    pub access_key: Option<String>,
    /// The user's name; of a federated user and a session that of who issued it.
    pub user: Option<String>,
    /// The session's name.
    pub session: Option<String>,
    /// The ARN of the role or user that the session is of.
    pub issuer: Option<String>,
    /// Whether a second factor was used.
    pub mfa: Option<bool>,
    /// The source identity that the session carries
    /// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_control-access_monitor.html>).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_identity: Option<String>,
}

/// A role, as AssumeRole names it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// Its ARN.
    pub arn: String,
    /// The session's name.
    pub session: Option<String>,
    /// How many seconds the session was to last.
    pub seconds: Option<i64>,
    /// The source identity that the session was to carry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_identity: Option<String>,
}

/// A session that STS handed out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    /// The id of its access key.
    pub access_key: String,
    /// Until when it lasts.
    pub until: Option<Timestamp>,
}

impl Record {
    /// Reads a record. `None`: it is none, having no name of a call.
    #[must_use]
    pub fn read(document: &Value) -> Option<Self> {
        let name = text(document, "eventName")?;
        let error = text(document, "errorCode").or_else(|| failed_login(document));
        let mut record = Self {
            id: text(document, "eventID").unwrap_or_default(),
            at: text(document, "eventTime").and_then(|at| at.parse().ok()),
            source: text(document, "eventSource").unwrap_or_default(),
            region: text(document, "awsRegion"),
            account: text(document, "recipientAccountId"),
            read_only: flag(document.get("readOnly")).unwrap_or_else(|| only_reads(&name)),
            address: text(document, "sourceIPAddress"),
            user_agent: text(document, "userAgent"),
            by: Identity::read(document.get("userIdentity").unwrap_or(&Value::Null)),
            error,
            name,
            ..Self::default()
        };
        record.role = role(document);
        if record.error.is_none() {
            record.issued = issued(document);
            record.made = made::made(&record, document);
            record.openings = ingress::openings(&record.name, document);
        }
        Some(record)
    }

    /// Reads a record from its text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().as_ref().and_then(Self::read)
    }

    /// `iam:CreateUser`.
    #[must_use]
    pub fn call(&self) -> String {
        format!("{}:{}", self.service(), self.name)
    }

    /// `iam`.
    #[must_use]
    pub fn service(&self) -> &str {
        self.source.strip_suffix(".amazonaws.com").unwrap_or(&self.source)
    }

    /// Whether it failed for want of a permission. Services have words of their own for it.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        const WORDS: &[&str] = &["AccessDenied", "Unauthorized", "NotAuthorized", "AuthFailure", "Forbidden", "AuthorizationError"];
        self.error.as_deref().is_some_and(|error| WORDS.iter().any(|word| error.contains(word)))
    }

    /// Whether a role is assumed by it: `AssumeRole` and its kin.
    #[must_use]
    pub fn assumes(&self) -> bool {
        self.source == "sts.amazonaws.com" && self.name.starts_with("AssumeRole")
    }
}

impl Identity {
    fn read(document: &Value) -> Self {
        let issuer = document.pointer("/sessionContext/sessionIssuer").unwrap_or(&Value::Null);
        let (kind, principal, arn) = (text(document, "type"), text(document, "principalId"), text(document, "arn"));
        Self {
            account: text(document, "accountId"),
            access_key: text(document, "accessKeyId").filter(|key| !key.is_empty()),
            user: text(document, "userName").or_else(|| text(issuer, "userName")),
            session: session(kind.as_deref(), principal.as_deref(), arn.as_deref()),
            issuer: text(issuer, "arn"),
            mfa: flag(document.pointer("/sessionContext/attributes/mfaAuthenticated")),
            source_identity: text_at(document, "/sessionContext/sourceIdentity"),
            kind,
            principal,
            arn,
        }
    }
}

/// The session's name, behind the colon of the principal's id
/// (<https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-user-identity.html>).
fn session(kind: Option<&str>, principal: Option<&str>, arn: Option<&str>) -> Option<String> {
    if !matches!(kind, Some("AssumedRole" | "FederatedUser")) && !arn.is_some_and(|arn| arn.contains(":assumed-role/")) {
        return None;
    }
    let of_principal = principal.and_then(|id| id.split_once(':')).map(|(_, session)| session);
    let of_arn = || arn.filter(|arn| arn.contains(":assumed-role/")).and_then(|arn| arn.rsplit_once('/')).map(|(_, session)| session);
    of_principal.or_else(of_arn).filter(|session| !session.is_empty()).map(str::to_owned)
}

/// A login at the console that failed has no code
/// (<https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-aws-console-sign-in-events.html>).
fn failed_login(document: &Value) -> Option<String> {
    (document.pointer("/responseElements/ConsoleLogin").and_then(Value::as_str) == Some("Failure")).then(|| "Failure".to_owned())
}

fn role(document: &Value) -> Option<Role> {
    let asked = document.get("requestParameters").unwrap_or(&Value::Null);
    if !text(document, "eventName").is_some_and(|name| name.starts_with("AssumeRole")) {
        return None;
    }
    Some(Role {
        arn: text(asked, "roleArn")?,
        session: text(asked, "roleSessionName"),
        seconds: asked.get("durationSeconds").and_then(number),
        source_identity: text(asked, "sourceIdentity"),
    })
}

/// Id and end of the credentials that a call handed out; their secret and token are not looked at.
fn issued(document: &Value) -> Option<Issued> {
    if text(document, "eventSource").as_deref() != Some("sts.amazonaws.com") {
        return None;
    }
    let credentials = document.pointer("/responseElements/credentials")?;
    let access_key = text(credentials, "accessKeyId").filter(|key| !key.is_empty())?;
    Some(Issued { access_key, until: text(credentials, "expiration").as_deref().and_then(moment) })
}

/// A time as CloudTrail writes those of answers: `Nov 30, 2024, 8:43:17 PM`, with or without the second comma; or RFC 3339.
fn moment(text: &str) -> Option<Timestamp> {
    if let Ok(at) = text.parse() {
        return Some(at);
    }
    // Newer records have a narrow no-break space before the half of the day.
    let plain: String = text.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).filter(|c| *c != ',').collect();
    let at = DateTime::strptime("%b %d %Y %I:%M:%S %p", plain).ok()?;
    TimeZone::UTC.to_timestamp(at).ok()
}

/// What a call does, by its name, where the record does not say.
fn only_reads(name: &str) -> bool {
    const READS: &[&str] =
        &["Describe", "List", "Get", "Head", "Lookup", "BatchGet", "Query", "Scan", "Search", "Select", "Filter", "Check"];
    READS.iter().any(|read| name.starts_with(read))
}

/// A text of a document, cut.
fn text(document: &Value, name: &str) -> Option<String> {
    document.get(name).and_then(Value::as_str).map(cut)
}

/// A text at a path, cut.
fn text_at(document: &Value, pointer: &str) -> Option<String> {
    document.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty()).map(cut)
}

fn cut(text: &str) -> String {
    text.get(..text.floor_char_boundary(TEXT)).unwrap_or_default().to_owned()
}

/// A truth, or its name: session attributes are texts.
fn flag(value: Option<&Value>) -> Option<bool> {
    match value? {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// A number, or its text.
fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}
