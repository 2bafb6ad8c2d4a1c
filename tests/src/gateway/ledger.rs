//! The ledger: every call that came through a gateway.

use std::{
    collections::BTreeMap,
    io::Write,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who made a call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// The account it acts in.
    pub account: String,
    /// As `GetCallerIdentity` names it.
    pub arn: String,
    /// The role's name, for a session.
    pub role: Option<String>,
    /// The session's name.
    pub session: Option<String>,
    /// `SourceIdentity` of the session.
    pub source_identity: Option<String>,
    /// Session tags.
    pub tags: BTreeMap<String, String>,
    /// The external id with which the role was assumed.
    pub external_id: Option<String>,
    /// Whether the session was given a policy of its own.
    pub narrowed: bool,
    /// When the session ends.
    pub expires: Option<Timestamp>,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Outcome {
    /// Not ended yet; or the client gave up, which a call that hangs ends with.
    Pending,
    /// An answer without an error.
    Ok {
        /// HTTP status.
        status: u16,
    },
    /// An error, from moto or from the gateway.
    Error {
        /// HTTP status.
        status: u16,
        /// AWS's error code.
        code: String,
    },
    /// The connection was cut instead of an answer.
    Dropped,
}

/// The inputs and the result of an access decision, complete enough to be judged again by another evaluator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// What the call needs, one by one: IAM action and resource, with what is special to this one in the request context.
    pub needs: Vec<Need>,
    /// The request context, keys in lower case.
    pub context: BTreeMap<String, Vec<String>>,
    /// The role's own policies.
    pub identity: Vec<Value>,
    /// The session's policies; empty when it has none.
    pub session: Vec<Value>,
    /// The role's permissions boundary.
    pub boundary: Option<Value>,
    /// The result.
    pub allowed: bool,
    /// Why not, as AWS says it.
    pub reason: String,
}

/// One thing that a call needs to be allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// `ec2:RevokeSecurityGroupIngress`.
    pub action: String,
    /// An ARN, or `*`.
    pub resource: String,
    /// Condition keys that only this one has.
    pub context: BTreeMap<String, Vec<String>>,
}

/// One call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Its place in the ledger, from 0.
    pub number: u64,
    /// When it arrived.
    pub at: Timestamp,
    /// How long it took, in milliseconds; nothing while it is pending.
    pub took_ms: Option<f64>,
    /// The account it acts in.
    pub account: String,
    /// The Region it is signed for.
    pub region: String,
    /// IAM's prefix of the service.
    pub service: String,
    /// The operation, or `unknown`.
    pub operation: String,
    /// Whether it changes anything (STS does not).
    pub write: bool,
    /// The access key.
    pub access_key: String,
    /// Who it is.
    pub principal: Principal,
    /// The ARNs that it names, `*` for none.
    pub resources: Vec<String>,
    /// Its parameters.
    pub params: Value,
    /// Whether it reached moto.
    pub forwarded: bool,
    /// How it ended.
    pub outcome: Outcome,
    /// The fault that was injected.
    pub fault: Option<String>,
    /// The access decision, where one was made.
    pub decision: Option<Arc<Decision>>,
}

impl Call {
    /// `ec2:DescribeInstances`.
    #[must_use]
    pub fn permission(&self) -> String {
        format!("{}:{}", self.service, self.operation)
    }

    /// Whether it ended without an error.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        matches!(self.outcome, Outcome::Ok { .. })
    }

    /// The error code, if it ended with one.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        if let Outcome::Error { code, .. } = &self.outcome { Some(code) } else { None }
    }
}

/// Every call in the order of arrival.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Ledger {
    fn with<T>(&self, function: impl FnOnce(&mut Vec<Call>) -> T) -> T {
        function(&mut self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes a call down and gives its number.
    pub(crate) fn open(&self, mut call: Call) -> u64 {
        self.with(|calls| {
            call.number = calls.len() as u64;
            calls.push(call);
            calls.len() as u64 - 1
        })
    }

    /// Completes a call.
    pub(crate) fn update(&self, number: u64, change: impl FnOnce(&mut Call)) {
        self.with(|calls| {
            if let Some(call) = usize::try_from(number).ok().and_then(|place| calls.get_mut(place)) {
                change(call);
            }
        });
    }

    /// How many calls there are: a mark to ask [`Ledger::since`] from.
    #[must_use]
    pub fn mark(&self) -> u64 {
        self.with(|calls| calls.len() as u64)
    }

    /// The calls from a mark on.
    #[must_use]
    pub fn since(&self, mark: u64) -> Vec<Call> {
        self.with(|calls| calls.iter().skip(usize::try_from(mark).unwrap_or(usize::MAX)).cloned().collect())
    }

    /// All calls.
    #[must_use]
    pub fn all(&self) -> Vec<Call> {
        self.since(0)
    }

    /// The calls for which the test holds.
    #[must_use]
    pub fn find(&self, test: impl Fn(&Call) -> bool) -> Vec<Call> {
        self.with(|calls| calls.iter().filter(|call| test(call)).cloned().collect())
    }

    /// The calls that act in an account.
    #[must_use]
    pub fn of_account(&self, account: &str) -> Vec<Call> {
        self.find(|call| call.account == account)
    }

    /// The calls that would change an account, whether or not they succeeded.
    #[must_use]
    pub fn writes_in(&self, account: &str) -> Vec<Call> {
        self.find(|call| call.write && call.account == account)
    }

    /// The calls of an operation, `ec2`, `DescribeInstances`.
    #[must_use]
    pub fn of_operation(&self, service: &str, operation: &str) -> Vec<Call> {
        self.find(|call| call.service == service && call.operation == operation)
    }

    /// The calls of the sessions of a role.
    #[must_use]
    pub fn of_role(&self, account: &str, role: &str) -> Vec<Call> {
        self.find(|call| call.account == account && call.principal.role.as_deref() == Some(role))
    }

    /// One JSON object a line.
    #[must_use]
    pub fn to_ndjson(&self, test: impl Fn(&Call) -> bool) -> String {
        self.find(test).iter().filter_map(|call| serde_json::to_string(call).ok()).map(|line| line + "\n").collect()
    }

    /// Writes all calls into a file, one JSON object a line.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_ndjson(&self, path: &Path) -> std::io::Result<()> {
        std::fs::File::create(path)?.write_all(self.to_ndjson(|_| true).as_bytes())
    }
}
