//! What a step made, measured by what it was to make.

use std::collections::BTreeMap;

use aws_sdk_ec2::Client;
use cordon_shared::plan::Verdict;
use jiff::{SignedDuration, Timestamp};

use super::{Lock, Snapshot, Ticket, arn, by_ids, lock, locks};
use crate::action::{ActionError, ApplyError, Cx, Undo};

/// The shortest and the longest wait between two questions.
const SOON: SignedDuration = SignedDuration::from_secs(5);
const LATE: SignedDuration = SignedDuration::from_secs(60);

/// The snapshots of a step by what each is of: a volume, or a snapshot that is copied. `None`: there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::actions::ec2) struct Made {
    pub of: BTreeMap<String, Option<Snapshot>>,
    pub locks: BTreeMap<String, Lock>,
}

impl Made {
    /// The first of `found` that `fits` each source, with its lock. `found` begins with the oldest: a later one is nobody's.
    pub async fn read(
        client: &Client,
        sources: impl IntoIterator<Item = String>,
        found: &[Snapshot],
        fits: impl Fn(&str, &Snapshot) -> bool,
    ) -> Result<Self, ActionError> {
        let pick = |source: &str| found.iter().find(|snapshot| fits(source, snapshot)).cloned();
        let mut made =
            Self { of: sources.into_iter().map(|source| (pick(&source), source)).map(|(one, of)| (of, one)).collect(), ..Self::default() };
        made.read_locks(client).await?;
        Ok(made)
    }

    async fn read_locks(&mut self, client: &Client) -> Result<(), ActionError> {
        let ids: Vec<String> = self.there().map(|(_, snapshot)| snapshot.id.clone()).collect();
        self.locks = locks(client, &ids).await?;
        Ok(())
    }

    /// What is there.
    pub fn there(&self) -> impl Iterator<Item = (&str, &Snapshot)> {
        self.of.iter().filter_map(|(source, snapshot)| Some((source.as_str(), snapshot.as_ref()?)))
    }

    /// Of what there is none.
    pub fn missing(&self) -> Vec<&str> {
        self.of.iter().filter(|(_, snapshot)| snapshot.is_none()).map(|(source, _)| source.as_str()).collect()
    }

    pub fn lock_of(&self, snapshot: &Snapshot) -> Option<&Lock> {
        self.locks.get(&snapshot.id)
    }

    fn unlocked(&self) -> Vec<&Snapshot> {
        self.there().map(|(_, snapshot)| snapshot).filter(|snapshot| self.lock_of(snapshot).is_none()).collect()
    }

    /// Snapshots whose lock somebody shortened.
    fn weakened(&self, days: u32) -> Vec<String> {
        let short = |lock: &Lock| lock.state == "governance" && lock.days.is_some_and(|now| i64::from(now) < i64::from(days));
        let weak = self.there().filter_map(|(_, snapshot)| Some((snapshot, self.lock_of(snapshot).filter(|lock| short(lock))?)));
        weak.map(|(snapshot, lock)| format!("{} is locked for {} days only, not for {days}", snapshot.id, lock.days.unwrap_or_default()))
            .collect()
    }

    /// What was made and is gone. Of what one call makes, a part is never missing; of what many calls make, none is locked before all are
    /// made.
    fn gone(&self, at_once: bool) -> Vec<&str> {
        let all_were_there = !self.locks.is_empty() || (at_once && self.there().next().is_some());
        if all_were_there { self.missing() } else { Vec::new() }
    }

    pub fn all_completed(&self) -> bool {
        self.missing().is_empty() && self.there().all(|(_, snapshot)| snapshot.is_completed())
    }

    /// The post-condition: all there, pending or completed, locked where that is wanted.
    pub fn verdict(&self, days: u32, at_once: bool) -> Verdict {
        let failed: Vec<String> =
            self.there().filter(|(_, one)| one.has_failed()).map(|(of, one)| format!("{} of {of} failed", one.id)).collect();
        if !failed.is_empty() {
            return Verdict::NotInEffect { detail: failed.join("; ") };
        }
        let gone = self.gone(at_once);
        if !gone.is_empty() {
            return Verdict::Drifted { detail: format!("the snapshot of {} is not there any more", gone.join(", ")) };
        }
        let missing = self.missing();
        if !missing.is_empty() {
            return Verdict::NotInEffect { detail: format!("there is no snapshot of {} yet", missing.join(", ")) };
        }
        let weakened = self.weakened(days);
        if !weakened.is_empty() {
            return Verdict::Drifted { detail: weakened.join("; ") };
        }
        let unlocked = self.unlocked();
        if days > 0 && !unlocked.is_empty() {
            let ids: Vec<&str> = unlocked.iter().map(|snapshot| snapshot.id.as_str()).collect();
            return Verdict::NotInEffect { detail: format!("{} is not locked", ids.join(", ")) };
        }
        Verdict::InEffect
    }

    /// Evidence is not deleted: where all is as it was left, there is nothing to put back. What somebody deleted or weakened is told.
    pub fn undo(&self, days: u32, at_once: bool) -> Undo {
        let deleted = self.gone(at_once).into_iter().map(|source| {
            format!("the snapshot of {source} is not there any more: somebody deleted evidence, look for DeleteSnapshot and UnlockSnapshot in CloudTrail")
        });
        let weakened = self.weakened(days).into_iter().map(|weak| format!("{weak}: look for LockSnapshot in CloudTrail"));
        let steps: Vec<String> = deleted.chain(weakened).collect();
        if steps.is_empty() { Undo::Restored(Vec::new()) } else { Undo::ByHand(steps) }
    }

    /// Locks what is not locked. `done`: how many calls had taken effect before.
    pub async fn lock_all(&mut self, client: &Client, days: u32, mut done: usize) -> Result<(), ApplyError> {
        if days == 0 {
            return Ok(());
        }
        let wanted: Vec<String> = self.unlocked().into_iter().filter(|one| !one.has_failed()).map(|one| one.id.clone()).collect();
        for id in wanted {
            let made = lock(client, &id, days).await.map_err(|error| ApplyError::after(done, error))?;
            done += 1;
            self.locks.insert(id, made);
        }
        Ok(())
    }

    /// How to ask after them.
    pub fn ticket(&self) -> Ticket {
        Ticket { snapshots: self.there().map(|(source, snapshot)| (source.to_owned(), snapshot.id.clone())).collect() }
    }

    /// The snapshots of a ticket as they are now.
    pub async fn ask(client: &Client, cx: Cx<'_>, call: &str, ticket: &Ticket) -> Result<Self, ActionError> {
        let ids: Vec<String> = ticket.snapshots.values().cloned().collect();
        let mut found = by_ids(client, cx.cell.account.as_str(), &ids).await?;
        let of = ticket.snapshots.iter().map(|(source, id)| (source.clone(), found.remove(id)));
        let mut made = Self { of: of.collect(), ..Self::default() };
        for (source, id) in &ticket.snapshots {
            let what = arn(cx, id);
            match made.of.get(source).and_then(Option::as_ref) {
                None => {
                    return Err(ActionError::Gone {
                        what,
                        message: format!("the snapshot of {source} was deleted before it was complete"),
                    });
                }
                Some(snapshot) if snapshot.has_failed() => {
                    let message = format!("{what}, the snapshot of {source}, failed: {}", or_unknown(&snapshot.message));
                    return Err(ActionError::Service { call: call.to_owned(), code: "SnapshotFailed".to_owned(), message });
                }
                Some(_) => {}
            }
        }
        made.read_locks(client).await?;
        Ok(made)
    }
}

fn or_unknown(text: &str) -> &str {
    if text.is_empty() { "EC2 gives no reason" } else { text }
}

/// How long to wait before asking: a quarter of the time that has gone, so that a snapshot of hours is not asked after every few seconds.
pub(in crate::actions::ec2) fn wait(since: Timestamp, now: Timestamp) -> SignedDuration {
    let gone = now.duration_since(since);
    SignedDuration::from_secs((gone.as_secs() / 4).clamp(SOON.as_secs(), LATE.as_secs()))
}
