//! What became of telling owners: who was told by which destination, or why nobody was.

use cordon_shared::{
    id::IncidentId,
    journal::JournalError,
    notice::{Audience, Notice},
};
use rusqlite::params;

use super::{
    outbox::Slip,
    rows::{all, failed, json, stamp, strange},
    sqlite::SqliteStore,
};
use crate::owner::{OwnerTold, Told};

impl SqliteStore {
    /// Who was told by this notice. Written before it is done with.
    ///
    /// # Errors
    /// Those of the store, as of all here.
    pub async fn outbox_told(&self, slip: Slip, told: &Told) -> Result<(), JournalError> {
        let told = json(told)?;
        self.set(slip, "told = ?2", move |row, id| row.execute(params![id, told])).await
    }

    /// What became of telling the owners of what a run changed, in the order of the notices.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn owners_told(&self, run: IncidentId) -> Result<Vec<OwnerTold>, JournalError> {
        self.read(move |conn| {
            let sql = "SELECT o.notice, o.target, o.done, o.gave_up, o.last, o.told FROM outbox o JOIN runs r ON r.id = o.run \
                       WHERE r.run = ?1 AND o.target LIKE 'owner:%' ORDER BY o.id";
            let rows = all(conn, sql, [run.to_string()], |row| {
                let text = |column: usize| row.get::<_, Option<String>>(column).map_err(failed);
                let notice: Notice = serde_json::from_str(&text(0)?.unwrap_or_default()).map_err(|error| strange("a notice", error))?;
                let told: Option<Told> =
                    text(5)?.map(|told| serde_json::from_str(&told)).transpose().map_err(|error| strange("who was told", error))?;
                let target: String = row.get(1).map_err(failed)?;
                let done = row.get::<_, Option<i64>>(2).map_err(failed)?.map(stamp);
                let why = text(3)?.or(text(4)?);
                let of_owner = notice.audience == Audience::Owner;
                Ok(of_owner.then(|| OwnerTold::of(&notice, &target, done, why, told)).flatten())
            })?;
            Ok(rows.into_iter().flatten().collect())
        })
        .await
    }
}
