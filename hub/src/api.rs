//! The HTTP API: what the command line does on the state folder, from another computer, by people whom AWS knows.
//!
//! Each call is one POST to `/v1/NAME` with a JSON object, answered by JSON; an error is `{"error": "…"}`. Who calls is proven by a request for
//! STS's GetCallerIdentity that the caller signs and the service sends ([`cordon_spoke::session::proof`]), in the header [`PROOF`]. It is
//! bound to account, path and body of this one call, good for five minutes, and counts once. There are no sessions, keys or passwords.
//!
//! - [`server`]: the listener of `cordon serve`.
//! - [`client`]: what commands call it with.

pub mod client;
pub mod server;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use cordon_shared::{
    freeze::{Level, Scope},
    id::AccountId,
    plan::StepKey,
};
use cordon_spoke::session::proof::Proof;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{desk::Form, incident::IncidentJson};

/// The header that carries the proof: base64url of its JSON.
pub const PROOF: &str = "cordon-proof";

/// The names of the calls.
pub mod call {
    /// [`crate::desk::Which`]; an array of rows.
    pub const INCIDENTS: &str = "incidents";
    /// [`super::Id`]; `cordon.incident/1`.
    pub const INCIDENT: &str = "incident";
    /// [`super::ReportOf`]; `{"report": "…"}`.
    pub const REPORT: &str = "report";
    /// [`super::UndoOf`]; `cordon.undo-preview/1`.
    pub const UNDO_PREVIEW: &str = "undo-preview";
    /// `{}`, or [`super::Id`]; an array of questions.
    pub const QUESTIONS: &str = "questions";
    /// [`super::All`]; an array of freezes.
    pub const FREEZES: &str = "freezes";
    /// [`super::Freeze`]; the freeze.
    pub const FREEZE: &str = "freeze";
    /// [`super::Thaw`]; what it did.
    pub const THAW: &str = "thaw";
    /// `{}`; an array of budgets.
    pub const BUDGETS: &str = "budgets";
    /// [`crate::journal::Request`]; [`super::Answered`].
    pub const REQUEST: &str = "request";
}

/// Which incident: its id, or the beginning of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Id {
    /// The incident.
    pub id: String,
}

/// Which report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportOf {
    /// The incident.
    pub id: String,
    /// How it is wanted.
    pub form: Form,
}

/// Of which undo a preview is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UndoOf {
    /// The incident.
    pub id: String,
    /// One step of it; left out: all.
    #[serde(default)]
    pub step: Option<StepKey>,
}

/// A report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportText {
    /// Its text.
    pub report: String,
}

/// Of which incident questions are wanted; left out: of all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Of {
    /// The incident.
    pub id: Option<String>,
}

/// Whether what was thawed is wanted as well.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct All {
    /// All freezes and thaws that ever were.
    pub all: bool,
}

/// A freeze.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    /// What is frozen.
    #[serde(flatten)]
    pub scope: Scope,
    /// How far.
    pub level: Level,
    /// Why.
    pub why: String,
    /// Whether the hub's role is locked out too, by whoever calls.
    #[serde(default)]
    pub hard: bool,
}

/// A thaw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thaw {
    /// What is thawed.
    #[serde(flatten)]
    pub scope: Scope,
    /// Why.
    #[serde(default)]
    pub why: String,
    /// Whether the hub's role was let in again too, by whoever calls.
    #[serde(default)]
    pub hard: bool,
}

/// A request that was met.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answered {
    /// What was done.
    pub answer: String,
    /// The incident as it stands.
    pub incident: IncidentJson,
}

/// An error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wrong {
    /// For the reader.
    pub error: String,
}

/// What a proof for a call is bound to: lower-case hexadecimal SHA-256 of a line each for the form of this, the hub's account, method and
/// path, and the body's SHA-256.
#[must_use]
pub fn bound(account: &AccountId, path: &str, body: &[u8]) -> String {
    let text = format!("cordon-api/1\n{account}\nPOST {path}\n{}", hex::encode(Sha256::digest(body)));
    hex::encode(Sha256::digest(text.as_bytes()))
}

fn encoded(proof: &Proof) -> Option<String> {
    serde_json::to_vec(proof).ok().map(|json| URL_SAFE_NO_PAD.encode(json))
}

fn decoded(header: &str) -> Option<Proof> {
    URL_SAFE_NO_PAD.decode(header).ok().and_then(|json| serde_json::from_slice(&json).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_bound_to_account_path_and_body() {
        let account = |id: &str| id.parse::<AccountId>().unwrap();
        let first = bound(&account("222222222222"), "/v1/freeze", b"{}");
        assert_eq!(first.len(), 64);
        for other in [
            bound(&account("333333333333"), "/v1/freeze", b"{}"),
            bound(&account("222222222222"), "/v1/thaw", b"{}"),
            bound(&account("222222222222"), "/v1/freeze", b"{ }"),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn what_is_no_proof_is_none() {
        for wrong in ["", "?", "e30", "bnVsbA"] {
            assert_eq!(decoded(wrong), None, "{wrong}");
        }
    }
}
