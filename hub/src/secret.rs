//! Secrets: where each is kept is in the configuration, what it is is read when it is first needed and never shown.

use std::fmt;

use cordon_shared::id::Region;
use cordon_spoke::{aws::secret, session::Sessions};
use tokio::sync::OnceCell;

use crate::config::notify::SecretRef;

/// A secret. It has no text but to those who ask for it by name.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret itself, for the header or the hash that it is needed for.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    #[cfg(test)]
    pub(crate) fn for_test(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A secret that is read once, when it is first needed. Where that fails it is read again the next time.
#[derive(Debug)]
pub struct Kept {
    from: SecretRef,
    sessions: Sessions,
    home: Region,
    known: OnceCell<Secret>,
}

impl Kept {
    /// The secret that is kept there.
    #[must_use]
    pub fn new(from: SecretRef, sessions: Sessions, home: Region) -> Self {
        Self { from, sessions, home, known: OnceCell::new() }
    }

    /// The secret.
    ///
    /// # Errors
    /// Where it is kept, and why it cannot be read.
    pub async fn get(&self) -> Result<&Secret, String> {
        self.known.get_or_try_init(|| self.read()).await
    }

    async fn read(&self) -> Result<Secret, String> {
        let (place, found) = match &self.from {
            SecretRef::Env(name) => {
                (format!("the environment variable {name}"), std::env::var(name).map(Some).map_err(|error| error.to_string()))
            }
            SecretRef::File(path) => {
                (format!("the file {}", path.display()), tokio::fs::read_to_string(path).await.map(Some).map_err(|error| error.to_string()))
            }
            SecretRef::Ssm(name) => {
                let found = secret::parameter(&self.sessions.hub(&self.home), name).await;
                (format!("the parameter {name}"), found.map_err(|error| error.to_string()))
            }
            SecretRef::SecretsManager(id) => {
                let found = secret::secret(&self.sessions.hub(&self.home), id).await;
                (format!("the secret {id}"), found.map_err(|error| error.to_string()))
            }
        };
        let text = found.map_err(|why| format!("{place} cannot be read: {why}"))?.unwrap_or_default().trim().to_owned();
        if text.is_empty() { Err(format!("{place} is empty")) } else { Ok(Secret(text)) }
    }
}
