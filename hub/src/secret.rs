//! Secrets: where each is kept is in the configuration, what it is is read when it is needed and never shown.

use std::{
    fmt,
    time::{Duration, Instant},
};

use cordon_shared::id::Region;
use cordon_spoke::{aws::secret, session::Sessions};
use tokio::sync::Mutex;

use crate::config::notify::SecretRef;

/// How long a secret is used before it is read anew, so that one that was changed counts.
const LASTS: Duration = Duration::from_secs(300);
/// How long reading it anew may take while there is one to be used: Slack waits for three seconds.
const PATIENCE: Duration = Duration::from_secs(1);

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

/// A secret that is read when it is first needed, and anew every five minutes. Where that fails it is read again the next time.
#[derive(Debug)]
pub struct Kept {
    from: SecretRef,
    sessions: Sessions,
    home: Region,
    known: Mutex<Known>,
}

/// What was read, and when.
type Known = Option<(Secret, Instant)>;

impl Kept {
    /// The secret that is kept there.
    #[must_use]
    pub fn new(from: SecretRef, sessions: Sessions, home: Region) -> Self {
        Self { from, sessions, home, known: Mutex::default() }
    }

    /// The secret.
    ///
    /// # Errors
    /// Where it is kept, and why it cannot be read.
    pub async fn get(&self) -> Result<Secret, String> {
        let mut known = self.known.lock().await;
        current(&mut known, Instant::now(), self.read()).await
    }

    /// What it is shown to says no to it: it is read anew the next time, unless it was already.
    pub async fn refused(&self, secret: &Secret) {
        let mut known = self.known.lock().await;
        if known.as_ref().is_some_and(|(kept, _)| kept == secret) {
            *known = None;
        }
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

/// The secret that is known, or what is read. One that is old is used on where it cannot be read anew, or not soon.
async fn current(known: &mut Known, now: Instant, read: impl Future<Output = Result<Secret, String>>) -> Result<Secret, String> {
    let secret = match known.as_ref() {
        Some((secret, at)) if now.duration_since(*at) < LASTS => return Ok(secret.clone()),
        Some((secret, _)) => {
            let anew = tokio::time::timeout(PATIENCE, read).await;
            anew.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs()))).unwrap_or_else(|why| {
                tracing::warn!(%why, "a secret is not read anew: the one that is known is used");
                secret.clone()
            })
        }
        None => read.await?,
    };
    *known = Some((secret.clone(), now));
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_secret_is_read_anew_after_a_while_and_the_one_that_is_known_outlives_a_place_that_fails() {
        let read = async |text: &str| Ok(Secret::for_test(text));
        let failing = async || Err("the place is down".to_owned());
        let (mut known, begun) = (None, Instant::now());
        let at = |seconds: u64| begun + Duration::from_secs(seconds);
        assert!(current(&mut known, at(0), failing()).await.is_err());
        let got = async |known: &mut Known, second, text: &str| current(known, at(second), read(text)).await.unwrap().expose().to_owned();
        assert_eq!(got(&mut known, 0, "one").await, "one");
        assert_eq!(got(&mut known, 299, "two").await, "one");
        assert_eq!(got(&mut known, 300, "two").await, "two");
        assert_eq!(current(&mut known, at(600), failing()).await.unwrap().expose(), "two");
        assert_eq!(current(&mut known, at(900), std::future::pending()).await.unwrap().expose(), "two");
        assert_eq!(got(&mut known, 1_200, "three").await, "three");
    }
}
