//! Calls of the API, each signed with the AWS credentials of whoever calls.

use std::{sync::Arc, time::Duration};

use cordon_shared::{clock::SystemClock, id::AccountId};
use cordon_spoke::{
    http::Http,
    limits::{Limits, Rates},
    session::{SessionError, Sessions},
};
use serde::{Serialize, de::DeserializeOwned};

use super::{PROOF, Wrong, bound, encoded};
use crate::{config::Config, desk::PATIENCE, setup};

/// How long a call may take: longer than the service waits for its driver.
const LIMIT: Duration = Duration::from_secs(PATIENCE.as_secs() + 30);

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// There is nothing to sign with.
    #[error("the call cannot be signed: {0}")]
    Unsigned(#[from] SessionError),
    /// The service does not answer.
    #[error("the service at {url} (`[hub] api`) does not answer: {why}; on its own computer `--here` works on the state folder")]
    Unanswered {
        /// Where it should be.
        url: String,
        /// Why.
        why: String,
    },
    /// It says no.
    #[error("{0}")]
    Refused(String),
    /// It cannot do it now.
    #[error("{0}")]
    Later(String),
}

/// The service, from afar.
#[derive(Debug)]
pub struct Caller {
    http: Http,
    url: String,
    account: AccountId,
    sessions: Sessions,
}

impl Caller {
    /// The service of this address, with the AWS credentials of the environment.
    ///
    /// # Errors
    /// When the AWS settings cannot be used.
    pub async fn new(config: &Config, url: &str) -> Result<Self, SessionError> {
        let sessions = Sessions::new(setup::session_settings(config), Limits::new(Rates::default()), Arc::new(SystemClock)).await?;
        Ok(Self { http: Http::new(), url: url.to_owned(), account: config.hub.account.clone(), sessions })
    }

    /// Makes one call.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call<T: DeserializeOwned>(&self, name: &str, body: &impl Serialize) -> Result<T, CallError> {
        let unanswered = |why: String| CallError::Unanswered { url: self.url.clone(), why };
        let body = serde_json::to_vec(body).map_err(|error| CallError::Refused(error.to_string()))?;
        let path = format!("/v1/{name}");
        let proof = self.sessions.prove(&bound(&self.account, &path, &body)).await?;
        let proof = encoded(&proof).ok_or_else(|| CallError::Refused("the proof cannot be written".to_owned()))?;
        let headers = [("content-type", "application/json".to_owned()), (PROOF, proof)];
        let answer = self.http.post(&format!("{}{path}", self.url), &headers, body, LIMIT).await;
        let answer = answer.map_err(|error| unanswered(error.to_string()))?;
        if answer.status == 200 {
            return serde_json::from_slice(&answer.body).map_err(|error| unanswered(format!("its answer cannot be read: {error}")));
        }
        let Ok(Wrong { error }) = serde_json::from_slice(&answer.body) else {
            return Err(unanswered(format!("what answers there says {} and is not Cordon", answer.status)));
        };
        Err(if answer.status >= 500 { CallError::Later(error) } else { CallError::Refused(error) })
    }
}
