//! Entries written, read back and taken away. AWS compares nothing when it writes an ACL: each write follows a read.

use std::time::Duration;

use aws_sdk_ec2::Client;

use super::{
    acl::Entry,
    wire::{self, Acl},
};
use crate::action::{ActionError, ApplyError, Cx};

/// After which waits a write is read back before it counts as not there
/// (<https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html>).
pub const READ_BACK: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// An entry with its number, in words.
pub fn numbered(entry: &Entry) -> String {
    format!("{} {entry}", entry.number)
}

/// The entry that has this one's number.
pub fn at<'e>(entries: &'e [Entry], entry: &Entry) -> Option<&'e Entry> {
    entries.iter().find(|other| other.number == entry.number && other.egress == entry.egress)
}

/// An ACL is no longer what the plan is for.
pub fn moved(acl: &str, why: &str) -> ActionError {
    ActionError::Service {
        call: "ec2:CreateNetworkAclEntry".to_owned(),
        code: "AclChanged".to_owned(),
        message: format!("{acl} was changed since the plan: {why}"),
    }
}

/// The ACL as it is; that it is gone is an error.
pub async fn read_now(read: &Client, id: &str, done: usize) -> Result<Acl, ApplyError> {
    let acl = wire::one(read, id).await.map_err(|error| ApplyError::after(done, error))?;
    acl.ok_or_else(|| ApplyError::after(done, ActionError::Gone { what: id.to_owned(), message: "the network ACL was deleted".to_owned() }))
}

/// Reads back that entries were made.
pub async fn read_back(read: &Client, id: &str, wanted: &[Entry], done: usize) -> Result<(), ApplyError> {
    let mut missing = String::new();
    for wait in READ_BACK {
        tokio::time::sleep(wait).await;
        let entries = read_now(read, id, done).await?.entries;
        let Some(entry) = wanted.iter().find(|entry| !entries.contains(entry)) else { return Ok(()) };
        if let Some(other) = at(&entries, entry) {
            return Err(ApplyError::after(done, moved(id, &format!("number {} was taken by `{other}` in between", entry.number))));
        }
        missing = numbered(entry);
    }
    let message = format!("`{missing}` was made in {id} and cannot be read back");
    Err(ApplyError::after(done, not_read_back("ec2:CreateNetworkAclEntry", message)))
}

/// Reads back that what was removed is gone.
pub async fn gone(read: &Client, id: &str, removed: &[Entry], done: usize) -> Result<(), ApplyError> {
    let mut still = String::new();
    for wait in READ_BACK {
        if removed.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(wait).await;
        let acl = wire::one(read, id).await.map_err(|error| ApplyError::after(done, error))?;
        let entries = acl.map(|acl| acl.entries).unwrap_or_default();
        match removed.iter().find(|entry| entries.contains(entry)) {
            None => return Ok(()),
            Some(entry) => still = numbered(entry),
        }
    }
    let message = format!("`{still}` was removed from {id} and can still be read");
    Err(ApplyError::after(done, not_read_back("ec2:DeleteNetworkAclEntry", message)))
}

fn not_read_back(call: &str, message: String) -> ActionError {
    ActionError::Service { call: call.to_owned(), code: "NotReadBack".to_owned(), message }
}

/// What a person does about an entry of ours that somebody changed.
pub fn changed(cx: Cx<'_>, id: &str, planned: &Entry, other: &Entry) -> String {
    format!(
        "{id}: somebody changed number {} from `{planned}` to `{other}`. If it shall go, in account {}: aws ec2 delete-network-acl-entry --region {} --network-acl-id {id} --rule-number {} {}",
        planned.number,
        cx.cell.account,
        cx.cell.region,
        planned.number,
        if planned.egress { "--egress" } else { "--ingress" },
    )
}
