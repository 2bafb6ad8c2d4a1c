//! What is sent: a notice of an incident, or a page.

use cordon_shared::{journal::JournalError, page::Page};
use jiff::Timestamp;
use serde_json::Value;

use super::plain::{page_payload, payload};
use crate::journal::{
    SqliteStore,
    outbox::{Due, Slip},
};

/// How many notices are taken at a time.
const BATCH: usize = 64;

/// One message of the outbox.
#[derive(Debug)]
pub(super) enum Message {
    /// Of an incident.
    Notice(Due),
    /// Of none.
    Page(Due<Page>),
}

impl Message {
    /// Its row, how often it was tried, and whether an attempt may have come through.
    pub(super) fn standing(&self) -> (Slip, u32, bool) {
        match self {
            Self::Notice(due) => (due.slip, due.tries, due.unsure),
            Self::Page(due) => (due.slip, due.tries, due.unsure),
        }
    }

    /// What it is called where somebody reads of it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Notice(due) => format!("{} {}", due.notice.run, due.notice.key),
            Self::Page(due) => format!("page {}", due.notice.key),
        }
    }

    /// As others read it.
    pub(super) fn payload(&self) -> Value {
        match self {
            Self::Notice(due) => payload(&due.notice),
            Self::Page(due) => page_payload(&due.notice),
        }
    }
}

/// What is to be sent to a destination now: a page before all news of incidents.
pub(super) async fn due(store: &SqliteStore, target: &str, now: Timestamp) -> Result<Vec<Message>, JournalError> {
    let page = store.page_due(target, now).await?.map(Message::Page);
    let notices = store.outbox_due(target, now, BATCH).await?;
    Ok(page.into_iter().chain(notices.into_iter().map(Message::Notice)).collect())
}

/// When the next message to a destination is due, which may be in the past; `None`: all are sent.
pub(super) async fn next(store: &SqliteStore, target: &str) -> Result<Option<Timestamp>, JournalError> {
    let (page, notice) = (store.page_next(target).await?, store.outbox_next(target).await?);
    Ok(page.into_iter().chain(notice).min())
}
