//! Who calls: the sessions that a gateway saw being opened, and whom moto takes the other access keys for.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use serde_json::Value;

use super::{ledger::Principal, parse::Parsed, policy::Context, wire};

/// What is known of an access key.
#[derive(Debug, Clone, Default)]
pub struct Session {
    /// Who it is.
    pub principal: Principal,
    /// Whether the session was opened through this gateway: only then is access decided.
    pub watched: bool,
    /// The session's policies.
    pub policies: Vec<Value>,
    /// `aws:userid`.
    pub user_id: String,
    /// The ARN of the role, with its path.
    pub role_arn: String,
    /// When it was opened.
    pub issued: Option<Timestamp>,
}

impl Session {
    /// Whether it has ended.
    #[must_use]
    pub fn expired(&self, now: Timestamp) -> bool {
        self.watched && self.principal.expires.is_some_and(|expires| expires <= now)
    }

    /// The name of the user whose own key it is.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        let (kind, name) = self.principal.arn.split_once(":user/")?;
        (!self.watched && kind.contains(":iam:")).then(|| name.rsplit('/').next().unwrap_or(name))
    }

    /// The condition keys that say who calls.
    #[must_use]
    pub fn context(&self, region: &str, now: Timestamp) -> Context {
        let principal = &self.principal;
        let mut context = Context::new();
        let mut put = |key: &str, value: String| {
            context.insert(key.to_owned(), vec![value]);
        };
        put("aws:requestedregion", region.to_owned());
        put("aws:principalaccount", principal.account.clone());
        put("aws:resourceaccount", principal.account.clone());
        put("aws:principalarn", if self.role_arn.is_empty() { principal.arn.clone() } else { self.role_arn.clone() });
        put("aws:principaltype", if principal.role.is_some() { "AssumedRole" } else { "User" }.to_owned());
        put("aws:currenttime", now.to_string());
        put("aws:epochtime", now.as_second().to_string());
        put("aws:securetransport", "false".to_owned());
        put("aws:sourceip", "127.0.0.1".to_owned());
        if !self.user_id.is_empty() {
            put("aws:userid", self.user_id.clone());
        }
        if let Some(issued) = self.issued {
            put("aws:tokenissuetime", issued.to_string());
        }
        if let Some(identity) = &principal.source_identity {
            put("aws:sourceidentity", identity.clone());
        }
        for (key, value) in &principal.tags {
            put(&format!("aws:principaltag/{}", key.to_lowercase()), value.clone());
        }
        context
    }
}

/// The sessions of a gateway.
#[derive(Debug, Clone, Default)]
pub struct Sessions {
    known: Arc<Mutex<HashMap<String, Session>>>,
}

impl Sessions {
    /// What is known of an access key.
    #[must_use]
    pub fn get(&self, access_key: &str) -> Option<Session> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(access_key).cloned()
    }

    /// Makes an access key known.
    pub fn put(&self, access_key: &str, session: Session) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(access_key.to_owned(), session);
    }

    /// Ends the sessions of a role now: their next call is told that the token has expired.
    pub fn expire(&self, account: &str, role: &str) {
        for session in self.known.lock().unwrap_or_else(PoisonError::into_inner).values_mut() {
            if session.principal.account == account && session.principal.role.as_deref() == Some(role) {
                session.principal.expires = Some(Timestamp::UNIX_EPOCH);
            }
        }
    }

    /// The sessions that were opened through the gateway.
    #[must_use]
    pub fn watched(&self) -> Vec<Session> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).values().filter(|session| session.watched).cloned().collect()
    }

    /// Learns a session from the answer to its AssumeRole.
    pub(crate) fn learn(&self, parsed: &Parsed, caller: &Session, managed: Vec<Value>, answer: &str, now: Timestamp) {
        let (Some(key), Some(arn)) = (wire::element(answer, "AccessKeyId"), wire::element(answer, "Arn")) else { return };
        for secret in ["SecretAccessKey", "SessionToken"] {
            wire::element(answer, secret).iter().for_each(|secret| crate::secrets::remember(secret));
        }
        if let Some(secret) = wire::element(answer, "SecretAccessKey") {
            crate::secrets::remember_key(&key, &secret);
        }
        let text = |name: &str| parsed.params.get(name).and_then(Value::as_str).map(str::to_owned);
        let inline = text("Policy").and_then(|text| serde_json::from_str(&text).ok());
        let mut policies = managed;
        policies.extend(inline);
        let mut tags = BTreeMap::new();
        for tag in parsed.params.get("Tags").and_then(Value::as_array).into_iter().flatten() {
            if let (Some(key), Some(value)) = (tag.get("Key").and_then(Value::as_str), tag.get("Value").and_then(Value::as_str)) {
                tags.insert(key.to_owned(), value.to_owned());
            }
        }
        let mut names = arn.split_once(":assumed-role/").map(|(_, rest)| rest.split('/').map(str::to_owned)).into_iter().flatten();
        let principal = Principal {
            account: arn.split(':').nth(4).unwrap_or_default().to_owned(),
            role: names.next(),
            session: names.next(),
            // A session's identity goes with it into the next one.
            source_identity: text("SourceIdentity").or_else(|| caller.principal.source_identity.clone()),
            tags,
            external_id: text("ExternalId"),
            narrowed: !policies.is_empty(),
            expires: wire::element(answer, "Expiration").and_then(|text| text.parse().ok()),
            arn,
        };
        let session = Session {
            principal,
            watched: true,
            policies,
            user_id: wire::element(answer, "AssumedRoleId").unwrap_or_default(),
            role_arn: text("RoleArn").unwrap_or_default(),
            issued: Some(now),
        };
        self.put(&key, session);
    }

    /// A key that was not opened through the gateway, as moto knows it.
    pub(crate) fn adopt(&self, access_key: &str, account: String, arn: String) -> Session {
        let mut names = arn.split_once(":assumed-role/").map(|(_, rest)| rest.split('/').map(str::to_owned)).into_iter().flatten();
        let principal = Principal { account, role: names.next(), session: names.next(), arn, ..Principal::default() };
        let session = Session { principal, ..Session::default() };
        self.put(access_key, session.clone());
        session
    }
}
