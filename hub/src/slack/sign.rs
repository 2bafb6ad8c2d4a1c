//! Whether a request is Slack's (<https://docs.slack.dev/authentication/verifying-requests-from-slack>).

use cordon_shared::journal::JournalError;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::{SignedDuration, Timestamp};
use sha2::Sha256;
use tokio::time::{Instant, timeout_at};

use crate::secret::Secret;

/// The header with the signature.
pub const SIGNATURE: &str = "x-slack-signature";
/// The header with the time of signing.
pub const TIMESTAMP: &str = "x-slack-request-timestamp";
/// How old a request may be, and how far ahead of our clock.
pub const WINDOW: SignedDuration = SignedDuration::from_mins(5);

/// Why a request is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Forged {
    /// A header is missing.
    #[error("it carries no signature, or no time of signing")]
    Unsigned,
    /// Older or newer than the window.
    #[error("it was signed more than five minutes from now")]
    Old,
    /// The signature is not that of the body.
    #[error("its signature is wrong")]
    Wrong,
    /// It was here before.
    #[error("it was received before")]
    Replayed,
}

/// What is remembered of a request that was Slack's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// Its signature, written in one way only.
    pub signature: String,
    /// When it is too old anyway, by any clock that is less than the window off.
    pub until: Timestamp,
}

/// Whether a request is Slack's, and recent. Whether it is here for the first time says [`first`].
///
/// # Errors
/// Why it is not.
pub fn check(secret: &Secret, time: Option<&str>, signature: Option<&str>, body: &[u8], now: Timestamp) -> Result<Signed, Forged> {
    let (Some(time), Some(signature)) = (time, signature) else { return Err(Forged::Unsigned) };
    let signed: i64 = time.parse().map_err(|_| Forged::Unsigned)?;
    let signed = Timestamp::from_second(signed).map_err(|_| Forged::Old)?;
    if now.duration_since(signed).abs() > WINDOW {
        return Err(Forged::Old);
    }
    let given = signature.strip_prefix("v0=").and_then(|text| hex::decode(text).ok()).ok_or(Forged::Wrong)?;
    let mut mac = mac(secret).ok_or(Forged::Wrong)?;
    for part in [b"v0:".as_slice(), time.as_bytes(), b":", body] {
        mac.update(part);
    }
    // In constant time.
    mac.verify_slice(&given).map_err(|_| Forged::Wrong)?;
    let until = signed.checked_add(WINDOW.saturating_mul(2)).unwrap_or(Timestamp::MAX);
    Ok(Signed { signature: format!("slack:v0={}", hex::encode(given)), until })
}

/// Whether a request is here for the first time. `taken`: what the journal says, which remembers it with that; `until`: when Slack has to
/// have its answer.
///
/// # Errors
/// The journal failed, or not in time for Slack: not known is not the first time.
pub async fn first(until: Instant, taken: impl Future<Output = Result<bool, JournalError>>) -> Result<Result<(), Forged>, String> {
    match timeout_at(until, taken).await {
        Ok(Ok(true)) => Ok(Ok(())),
        Ok(Ok(false)) => Ok(Err(Forged::Replayed)),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the journal has not answered in time".to_owned()),
    }
}

fn mac(secret: &Secret) -> Option<Hmac<Sha256>> {
    Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::sqlite::SqliteStore;

    // The example of Slack's documentation.
    const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
    const TIME: &str = "1531420618";
    const BODY: &str = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    const SIGNED: &str = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";

    fn soon() -> Instant {
        Instant::now() + std::time::Duration::from_secs(60)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn check(time: Option<&str>, signature: Option<&str>, body: &str, now: i64) -> Result<Signed, Forged> {
        super::check(&Secret::for_test(SECRET), time, signature, body.as_bytes(), at(now))
    }

    #[tokio::test]
    async fn the_example_of_slacks_documentation_is_slacks_and_only_once() {
        let store = SqliteStore::in_memory().unwrap();
        let now = 1_531_420_618;
        let once = async |signature: &str, now: i64| {
            let signed = check(Some(TIME), Some(signature), BODY, now).unwrap();
            first(soon(), store.take_proof(&signed.signature, signed.until, at(now))).await.unwrap()
        };
        assert_eq!(once(SIGNED, now).await, Ok(()));
        assert_eq!(once(SIGNED, now + 200).await, Err(Forged::Replayed));
        assert_eq!(once(&SIGNED.to_uppercase().replace("V0", "v0"), now).await, Err(Forged::Replayed));
        assert_eq!(once(SIGNED, now + 300).await, Err(Forged::Replayed), "until its age turns it away");
        assert_eq!(once(SIGNED, now - 300).await, Err(Forged::Replayed), "and after a clock that goes back");
    }

    #[tokio::test]
    async fn a_request_is_refused_where_it_cannot_be_remembered_and_in_time_for_slack() {
        let failed = first(soon(), async { Err(JournalError::Store("the disk is full".to_owned())) }).await;
        assert!(failed.is_err_and(|why| why.contains("the disk is full")));
        assert!(first(Instant::now(), std::future::pending()).await.is_err());
    }

    #[test]
    fn what_is_missing_old_of_the_future_or_changed_is_not_slacks() {
        let now = 1_531_420_618;
        assert_eq!(check(None, Some(SIGNED), BODY, now), Err(Forged::Unsigned));
        assert_eq!(check(Some(TIME), None, BODY, now), Err(Forged::Unsigned));
        assert_eq!(check(Some("soon"), Some(SIGNED), BODY, now), Err(Forged::Unsigned));
        assert_eq!(check(Some(TIME), Some(SIGNED), BODY, now + 301), Err(Forged::Old));
        assert_eq!(check(Some(TIME), Some(SIGNED), BODY, now - 301), Err(Forged::Old));
        assert_eq!(check(Some("1531420619"), Some(SIGNED), BODY, now), Err(Forged::Wrong));
        assert_eq!(check(Some(TIME), Some(SIGNED), &BODY.replace("foobar", "foobaz"), now), Err(Forged::Wrong));
        for wrong in ["", "v0=", "v1=a2114d57", "v0=zz", SIGNED.get(..20).unwrap()] {
            assert_eq!(check(Some(TIME), Some(wrong), BODY, now), Err(Forged::Wrong), "{wrong}");
        }
    }
}
