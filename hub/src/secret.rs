//! Secrets: where each is kept is in the configuration, what it is is read when it is needed and never shown.

use std::{
    fmt,
    time::{Duration, Instant},
};

use cordon_shared::id::Region;
use cordon_spoke::{action::ActionError, aws::secret, session::Sessions};
use tokio::{sync::Mutex, task::JoinHandle};

use crate::config::notify::SecretRef;

/// How long a secret is used before it is read anew, so that one that was changed counts.
const LASTS: Duration = Duration::from_secs(300);
/// How long reading it anew is waited for while there is one to be used: Slack waits for three seconds. It goes on beside that.
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

/// Where a secret is kept, and why it cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Unread {
    /// In words.
    pub why: String,
    /// Whether that may pass by itself: the place is down, or was asked too often.
    pub may_pass: bool,
}

impl Unread {
    fn new(why: impl fmt::Display) -> Self {
        Self { why: why.to_string(), may_pass: false }
    }
}

impl From<ActionError> for Unread {
    fn from(error: ActionError) -> Self {
        Self { why: error.to_string(), may_pass: error.may_pass() }
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

type Read = Result<Secret, Unread>;

#[derive(Debug, Default)]
struct Known {
    /// What was read, and when.
    kept: Option<(Secret, Instant)>,
    /// It is being read: a task of its own, which goes on where nobody waits for it any more.
    reading: Option<JoinHandle<Read>>,
}

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
    pub async fn get(&self) -> Result<Secret, Unread> {
        let mut known = self.known.lock().await;
        current(&mut known, Instant::now(), || read(self.from.clone(), self.sessions.clone(), self.home.clone())).await
    }

    /// What it is shown to says no to it: it is read anew the next time, unless it was already.
    pub async fn refused(&self, secret: &Secret) {
        let mut known = self.known.lock().await;
        if known.kept.as_ref().is_some_and(|(kept, _)| kept == secret) {
            // What is being read may be of before.
            if let Some(reading) = known.reading.take() {
                reading.abort();
            }
            known.kept = None;
        }
    }
}

async fn read(from: SecretRef, sessions: Sessions, home: Region) -> Read {
    let (place, found) = match &from {
        SecretRef::Env(name) => (format!("the environment variable {name}"), std::env::var(name).map(Some).map_err(Unread::new)),
        SecretRef::File(path) => {
            (format!("the file {}", path.display()), tokio::fs::read_to_string(path).await.map(Some).map_err(Unread::new))
        }
        SecretRef::Ssm(name) => {
            let found = secret::parameter(&sessions.hub(&home), name).await;
            (format!("the parameter {name}"), found.map_err(Unread::from))
        }
        SecretRef::SecretsManager(id) => {
            let found = secret::secret(&sessions.hub(&home), id).await;
            (format!("the secret {id}"), found.map_err(Unread::from))
        }
    };
    let found = found.map_err(|unread| Unread { why: format!("{place} cannot be read: {}", unread.why), ..unread })?;
    let text = found.unwrap_or_default().trim().to_owned();
    if text.is_empty() { Err(Unread::new(format!("{place} is empty"))) } else { Ok(Secret(text)) }
}

/// The secret that is known, or what is read. One that is old is used on where it cannot be read anew, or not soon; what is read later
/// counts from then on.
async fn current<F>(known: &mut Known, now: Instant, read: impl FnOnce() -> F) -> Read
where
    F: Future<Output = Read> + Send + 'static,
{
    let come = known.reading.as_ref().is_some_and(JoinHandle::is_finished);
    if let Some((secret, at)) = &known.kept
        && now.duration_since(*at) < LASTS
        && !come
    {
        return Ok(secret.clone());
    }
    let reading = known.reading.get_or_insert_with(|| tokio::spawn(read()));
    let anew = match &known.kept {
        Some(_) => tokio::time::timeout(PATIENCE, reading).await.ok(),
        None => Some(reading.await),
    };
    if anew.is_some() {
        known.reading = None;
    }
    let anew = anew.unwrap_or_else(|| Ok(Err(Unread::new(format!("no answer within {} s", PATIENCE.as_secs())))));
    let secret = match (anew.unwrap_or_else(|died| Err(Unread::new(died))), &known.kept) {
        (Ok(secret), _) => secret,
        (Err(why), Some((secret, _))) => {
            tracing::warn!(%why, "a secret is not read anew: the one that is known is used");
            secret.clone()
        }
        (Err(why), None) => return Err(why),
    };
    known.kept = Some((secret.clone(), now));
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_secret_is_read_anew_after_a_while_and_the_one_that_is_known_outlives_a_place_that_fails() {
        let failing = || std::future::ready(Err(Unread::new("the place is down")));
        let (mut known, begun) = (Known::default(), Instant::now());
        let at = |seconds: u64| begun + Duration::from_secs(seconds);
        assert!(current(&mut known, at(0), failing).await.is_err());
        let got = async |known: &mut Known, second, text: &str| {
            let secret = Secret::for_test(text);
            current(known, at(second), || std::future::ready(Ok(secret))).await.unwrap().expose().to_owned()
        };
        assert_eq!(got(&mut known, 0, "one").await, "one");
        assert_eq!(got(&mut known, 299, "two").await, "one");
        assert_eq!(got(&mut known, 300, "two").await, "two");
        assert_eq!(current(&mut known, at(600), failing).await.unwrap().expose(), "two");
        assert_eq!(got(&mut known, 900, "three").await, "three");
    }

    #[tokio::test]
    async fn a_place_that_always_takes_its_time_is_waited_for_beside_the_secret_that_is_known() {
        let slow = |come: oneshot::Receiver<&'static str>| move || async move { Ok(Secret::for_test(come.await.unwrap())) };
        let never = std::future::pending::<Read>;
        let (mut known, begun) = (Known::default(), Instant::now());
        let at = |seconds: u64| begun + Duration::from_secs(seconds);
        let (first, come) = oneshot::channel();
        assert!(tokio::time::timeout(Duration::from_millis(20), current(&mut known, at(0), slow(come))).await.is_err());
        first.send("one").unwrap();
        assert_eq!(current(&mut known, at(9), never).await.unwrap().expose(), "one", "whoever asks next has it");
        let (second, come) = oneshot::channel();
        assert_eq!(current(&mut known, at(309), slow(come)).await.unwrap().expose(), "one", "it is used on");
        assert_eq!(current(&mut known, at(310), never).await.unwrap().expose(), "one");
        second.send("two").unwrap();
        while !known.reading.as_ref().unwrap().is_finished() {
            tokio::task::yield_now().await;
        }
        assert_eq!(current(&mut known, at(311), never).await.unwrap().expose(), "two", "as soon as it was read");
        assert_eq!(current(&mut known, at(312), never).await.unwrap().expose(), "two");
    }
}
