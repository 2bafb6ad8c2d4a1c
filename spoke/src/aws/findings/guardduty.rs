//! GuardDuty's findings, as the administrator account's own detectors have them: one by its name, or those that meet criteria, page by page.
//!
//! A delegated administrator sees its members' findings by its own detector in each Region, never by theirs
//! (<https://docs.aws.amazon.com/guardduty/latest/ug/administrator_member_relationships.html>).

use aws_sdk_guardduty::{
    Client,
    types::{Condition, FindingCriteria, OrderBy, SortCriteria},
};
use cordon_shared::arn::Arn;
use jiff::Timestamp;
use serde::Deserialize;

use super::{Body, cut};
use crate::{
    action::{ActionError, classify},
    session::Clients,
};

/// The largest page of `ListFindings`, and the most ids of `GetFindings`
/// (<https://docs.aws.amazon.com/guardduty/latest/APIReference/API_ListFindings.html>, `maxResults`; `API_GetFindings.html`, `findingIds`).
pub const PAGE: usize = 50;
/// Most values of one criterion (`API_Condition.html`, `equals`).
pub const VALUES: usize = 50;

const LIST_DETECTORS: &str = "guardduty:ListDetectors";
const LIST: &str = "guardduty:ListFindings";
const GET: &str = "guardduty:GetFindings";

/// Which findings: every criterion must be met. Fields are named as `ListFindings` names them, `resource.instanceDetails.instanceId`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Criteria {
    /// A field, and the values of which it must have one.
    pub equals: Vec<(&'static str, Vec<String>)>,
    /// Archived or not; `None`: both.
    pub archived: Option<bool>,
    /// Updated by GuardDuty from the first to the second time, both included.
    pub updated: Option<(Timestamp, Timestamp)>,
}

/// Which come first, by the time of GuardDuty's last update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The oldest. What is updated while pages are read moves to the end, and none is passed over.
    OldestFirst,
    /// The newest.
    NewestFirst,
}

/// A page of findings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The documents, as they came.
    pub documents: Vec<Vec<u8>>,
    /// The token of the next page; `None`: that was all.
    pub next: Option<String>,
}

impl Criteria {
    fn request(&self) -> FindingCriteria {
        let mut criteria = FindingCriteria::builder();
        for (field, values) in &self.equals {
            criteria = criteria.criterion(*field, Condition::builder().set_equals(Some(values.clone())).build());
        }
        if let Some(archived) = self.archived {
            criteria = criteria.criterion("service.archived", Condition::builder().equals(archived.to_string()).build());
        }
        if let Some((since, until)) = self.updated {
            // A time is a number of milliseconds here.
            let span = Condition::builder().greater_than_or_equal(since.as_millisecond()).less_than_or_equal(until.as_millisecond());
            criteria = criteria.criterion("updatedAt", span.build());
        }
        criteria.build()
    }
}

/// The id of the detector of the clients' account in their Region. An account has at most one in a Region.
///
/// # Errors
/// [`ActionError::Gone`] when there is none, and those of the call.
pub async fn detector(clients: &Clients) -> Result<String, ActionError> {
    own_detector(&clients.guardduty()).await
}

async fn own_detector(client: &Client) -> Result<String, ActionError> {
    let detectors = client.list_detectors().send().await.map_err(|error| classify(LIST_DETECTORS, error))?;
    detectors.detector_ids().first().cloned().ok_or_else(|| {
        let message = "the account has no GuardDuty detector in this Region".to_owned();
        ActionError::Gone { what: LIST_DETECTORS.to_owned(), message }
    })
}

/// A page of the findings that meet the criteria: `ListFindings`, then `GetFindings`.
///
/// # Errors
/// Those of the calls. A token that GuardDuty no longer takes is a `BadRequestException`: begin again, intake knows what it has seen.
pub async fn page(
    clients: &Clients,
    detector: &str,
    criteria: &Criteria,
    order: Order,
    token: Option<String>,
) -> Result<Page, ActionError> {
    let client = clients.guardduty();
    let (ids, next) = ids(&client, detector, criteria, order, token).await?;
    let documents = documents(&client, detector, &ids).await?;
    Ok(Page { documents, next })
}

/// The ids on a page, and the token of the next.
pub(crate) async fn ids(
    client: &Client,
    detector: &str,
    criteria: &Criteria,
    order: Order,
    token: Option<String>,
) -> Result<(Vec<String>, Option<String>), ActionError> {
    let by = match order {
        Order::OldestFirst => OrderBy::Asc,
        Order::NewestFirst => OrderBy::Desc,
    };
    let answer = client
        .list_findings()
        .detector_id(detector)
        .finding_criteria(criteria.request())
        .sort_criteria(SortCriteria::builder().attribute_name("updatedAt").order_by(by).build())
        .max_results(i32::try_from(PAGE).unwrap_or(i32::MAX))
        .set_next_token(token.clone())
        .send()
        .await
        .map_err(|error| classify(LIST, error))?;
    let next = answer.next_token().filter(|next| !next.is_empty() && Some(*next) != token.as_deref()).map(str::to_owned);
    Ok((answer.finding_ids().to_vec(), next))
}

/// The documents of at most [`PAGE`] findings; those that GuardDuty does not know are left out.
pub(crate) async fn documents(client: &Client, detector: &str, ids: &[String]) -> Result<Vec<Vec<u8>>, ActionError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let body = Body::default();
    client
        .get_findings()
        .detector_id(detector)
        .set_finding_ids(Some(ids.to_vec()))
        .customize()
        .interceptor(body.clone())
        .send()
        .await
        .map_err(|error| classify(GET, error))?;
    cut(GET, &body.take(), "findings")
}

/// One finding as the administrator account's own detector has it: by its ARN or its id, through the clients of the administrator
/// account in the finding's Region. `None`: GuardDuty does not know it there.
///
/// # Errors
/// [`ActionError::Gone`] when the account has no detector in that Region, and those of the calls.
pub async fn finding(clients: &Clients, finding: &str) -> Result<Option<Vec<u8>>, ActionError> {
    let client = clients.guardduty();
    let detector = own_detector(&client).await?;
    one(&client, &detector, finding).await
}

/// As [`finding`], by a detector that is known.
pub(crate) async fn one(client: &Client, detector: &str, finding: &str) -> Result<Option<Vec<u8>>, ActionError> {
    let id = finding_id(finding);
    let documents = documents(client, detector, &[id.to_owned()]).await?;
    Ok(documents.into_iter().find(|document| {
        let known: Option<Named> = serde_json::from_slice(document).ok();
        known.is_some_and(|known| known.id == id)
    }))
}

#[derive(Deserialize)]
struct Named {
    #[serde(alias = "Id")]
    id: String,
}

/// The id in `arn:…:guardduty:…:detector/D/finding/F`, or the text itself.
pub(crate) fn finding_id(finding: &str) -> &str {
    let is_arn = finding.parse::<Arn>().is_ok_and(|arn| arn.service() == "guardduty");
    if is_arn { finding.rsplit('/').next().unwrap_or(finding) } else { finding }
}

#[cfg(test)]
mod tests;
