//! What the formats share: the account and Region a finding is about, and the checks on its primary subject.

use serde_json::Value;

use super::{
    Rejection, codes, subject,
    value::{get, spelling, text},
};
use crate::{
    finding::Subject,
    id::{AccountId, Region},
};

/// Where the finding stands in its document, and what its envelope knows.
#[derive(Debug, Clone, Default)]
pub(super) struct Context {
    /// The JSON path of the finding, `$.detail.findings[0]`.
    pub path: String,
    /// The envelope's Region: a hint for services whose findings never leave theirs.
    pub region: Option<String>,
    /// The custom action's ARN.
    pub custom_action: Option<String>,
}

impl Context {
    /// The path of a field, spelled as in the document.
    pub(super) fn field(&self, value: &Value, name: &str) -> String {
        format!("{}.{}", self.path, spelling(value, name))
    }
}

/// Who owns what the finding names, unless a resource says otherwise.
#[derive(Debug, Clone)]
pub(super) struct Owner {
    /// The finding's account.
    pub account: AccountId,
    /// The finding's Region.
    pub region: Region,
}

impl Owner {
    /// The partition that the Region belongs to.
    pub(super) fn partition(&self) -> &'static str {
        self.region.partition()
    }
}

/// A text shortened for a message.
pub(super) fn shown(text: &str) -> String {
    let short: String = text.chars().take(120).collect();
    if short.len() < text.len() { format!("`{short}…`") } else { format!("`{short}`") }
}

/// The account in `value`, which stands at `path`.
pub(super) fn account(value: &Value, path: &str) -> Result<AccountId, Rejection> {
    let written = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    written.trim().parse().map_err(|_| {
        let what = format!("{path} is {}, and an AWS account id is exactly 12 digits", shown(&written));
        Rejection::new(codes::BAD_ACCOUNT, what)
    })
}

/// The Region in `written`, which stands at `path`.
pub(super) fn region(written: &str, path: &str) -> Result<Region, Rejection> {
    written.trim().parse().map_err(|_| {
        let what = format!("{path} is {}, and no AWS Region has that name", shown(written));
        Rejection::new(codes::BAD_REGION, what)
    })
}

/// The rejection of a finding that has no id where one belongs.
pub(super) fn no_id(path: &str) -> Rejection {
    Rejection::new(codes::NO_ID, format!("the finding has no id ({path}), so it cannot be told from another"))
}

/// The rejection of a finding that has no type where one belongs.
pub(super) fn no_type(path: &str) -> Rejection {
    Rejection::new(codes::NO_TYPE, format!("the finding has no type ({path}), so no playbook can be chosen"))
}

/// The rejection of a finding that names no account.
pub(super) fn no_account(path: &str) -> Rejection {
    Rejection::new(codes::NO_ACCOUNT, format!("the finding names no account ({path})"))
}

/// The rejection of a finding that names no Region.
pub(super) fn no_region(path: &str) -> Rejection {
    Rejection::new(codes::NO_REGION, format!("the finding names no Region ({path})"))
}

/// The `index`-th part of a text in ARN form, not empty.
pub(super) fn arn_part(text: &str, index: usize) -> Option<&str> {
    if !text.starts_with("arn:") {
        return None;
    }
    text.splitn(6, ':').nth(index).filter(|part| !part.is_empty())
}

/// That an ARN at `path` names the owner's account and a Region that exists; what is not an ARN passes.
pub(super) fn belongs(written: &str, owner: &Owner, path: &str) -> Result<(), Rejection> {
    if let Some(named) = arn_part(written, 4).filter(|named| *named != "aws") {
        let named: AccountId = named.parse().map_err(|_| {
            let what = format!("{path} is {}, and the account in it is not 12 digits", shown(written));
            Rejection::new(codes::BAD_ACCOUNT, what)
        })?;
        if named != owner.account {
            let what = format!("{path} is {}, an ARN of another account than the finding's, {}", shown(written), owner.account);
            return Err(Rejection::new(codes::OTHER_ACCOUNT, what));
        }
    }
    match arn_part(written, 3) {
        Some(named) => region(named, path).map(|_| ()),
        None => Ok(()),
    }
}

/// The subjects of a finding, never none: the account as a whole where the finding names no resource. The primary one
/// must be the finding's account's own; `written` is its id as it stands at `path`. The resources of GuardDuty's sample
/// findings are made up, some of them in accounts that do not exist: there the account stands first.
pub(super) fn settle(
    subjects: Vec<Subject>,
    written: Option<&str>,
    path: &str,
    sample: bool,
    owner: &Owner,
) -> Result<(Subject, Vec<Subject>), Rejection> {
    let mut subjects = subject::distinct(subjects);
    let checked = match subjects.first() {
        Some(primary) => belongs(written.unwrap_or_else(|| primary.name()), owner, path).and_then(|()| own(primary, owner, path)),
        None => Ok(()),
    };
    let foreign = match checked {
        Err(why) if !sample => return Err(why),
        checked => checked.is_err(),
    };
    match subjects.first() {
        Some(primary) if !foreign => Ok((primary.clone(), subjects)),
        _ => {
            let account = subject::account(owner);
            subjects.insert(0, account.clone());
            Ok((account, subjects))
        }
    }
}

fn own(primary: &Subject, owner: &Owner, path: &str) -> Result<(), Rejection> {
    if primary.cell.account == owner.account {
        return Ok(());
    }
    let name = shown(primary.name());
    let what = format!("{path}: the resource {name} is of account {}, the finding of {}", primary.cell.account, owner.account);
    Err(Rejection::new(codes::OTHER_ACCOUNT, what))
}

/// The text of a field that must be there.
pub(super) fn required<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    get(value, name).and_then(text)
}
