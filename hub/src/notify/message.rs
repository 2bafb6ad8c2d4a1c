//! What is sent: a notice of an incident, or a page.

use cordon_shared::{journal::JournalError, page::Page};
use jiff::Timestamp;
use serde_json::Value;

use super::{
    MENDED_WITHIN,
    plain::{page_payload, payload},
};
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

    /// Whether it is given up that was tried so often, and is refused for what a person may mend. A page never is.
    pub(super) fn is_given_up_after(&self, tries: u32) -> bool {
        matches!(self, Self::Notice(_)) && tries >= MENDED_WITHIN
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

/// The page that is to be sent to a destination now: before all news of incidents.
pub(super) async fn page(store: &SqliteStore, target: &str, now: Timestamp) -> Result<Option<Message>, JournalError> {
    Ok(store.page_due(target, now).await?.map(Message::Page))
}

/// The notices that are to be sent to a destination now.
pub(super) async fn notices(store: &SqliteStore, target: &str, now: Timestamp) -> Result<Vec<Message>, JournalError> {
    Ok(store.outbox_due(target, now, BATCH).await?.into_iter().map(Message::Notice).collect())
}

/// When the next message to a destination is due, which may be in the past; `None`: all are sent.
pub(super) async fn next(store: &SqliteStore, target: &str) -> Result<Option<Timestamp>, JournalError> {
    let (page, notice) = (store.page_next(target).await?, store.outbox_next(target).await?);
    Ok(page.into_iter().chain(notice).min())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slack::testing;

    #[test]
    fn a_notice_that_nobody_makes_possible_is_given_up_and_a_page_never() {
        let notice = testing::notice(cordon_shared::notice::NoticeKind::Asks);
        let notice = Message::Notice(Due { slip: Slip::Notice(1), notice, tries: 0, unsure: false, place: None });
        let page = Message::Page(Due { slip: Slip::Page(1), notice: testing::alarm("why"), tries: 0, unsure: false, place: None });
        assert!(!notice.is_given_up_after(MENDED_WITHIN - 1) && notice.is_given_up_after(MENDED_WITHIN));
        assert!(!page.is_given_up_after(u32::MAX));
    }
}
