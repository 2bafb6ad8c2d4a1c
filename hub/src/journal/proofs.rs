//! Proofs that were taken, of people at the HTTP API and of Slack: each counts once, also after a restart.

use cordon_shared::journal::JournalError;
use jiff::Timestamp;
use rusqlite::{Connection, params};
use sha2::{Digest as _, Sha256};

use super::{
    rows::{failed, nanos},
    sqlite::SqliteStore,
};

/// Takes a proof by its signature ([`SqliteStore::take_proof`]).
pub(super) fn take(conn: &Connection, signature: &str, until: Timestamp, now: Timestamp) -> Result<bool, JournalError> {
    let digest = hex::encode(Sha256::digest(signature.as_bytes()));
    conn.prepare_cached("DELETE FROM proofs WHERE until < ?1")
        .and_then(|mut old| old.execute([nanos(now)]))
        .and_then(|_| conn.prepare_cached("INSERT INTO proofs (signature, until) VALUES (?1, ?2) ON CONFLICT DO NOTHING"))
        .and_then(|mut new| new.execute(params![digest, nanos(until)]))
        .map(|added| added == 1)
        .map_err(failed)
}

impl SqliteStore {
    /// Takes a proof by its signature. False: it was taken before. It is forgotten after `until`, when it would be too old anyway.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn take_proof(&self, signature: &str, until: Timestamp, now: Timestamp) -> Result<bool, JournalError> {
        let signature = signature.to_owned();
        self.execute(move |conn| take(conn, &signature, until, now)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_proof_counts_once_until_it_is_too_old_anyway() {
        let store = SqliteStore::in_memory().unwrap();
        let at = |second| Timestamp::from_second(second).unwrap();
        assert!(store.take_proof("aa", at(400), at(100)).await.unwrap());
        assert!(!store.take_proof("aa", at(400), at(200)).await.unwrap());
        assert!(store.take_proof("bb", at(400), at(200)).await.unwrap());
        assert!(store.take_proof("aa", at(900), at(401)).await.unwrap(), "by then its age turns it away");
    }
}
