//! Findings as the providers keep them: Security Hub's `GetFindings` page by page, and GuardDuty's by the administrator's detectors.
//!
//! Documents are cut out of the answer byte for byte, so that fields which the SDK does not know survive. What is asked for is
//! checked again on each document: an endpoint that passes over a filter must not widen what a sweep works on.

pub mod guardduty;
pub mod history;

use std::collections::BTreeSet;

use aws_sdk_securityhub::types::{AwsSecurityFindingFilters, DateFilter, SortCriterion, SortOrder, StringFilter, StringFilterComparison};
use cordon_shared::id::AccountId;
use futures::{Stream, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::raw::Body;
use crate::{
    action::{ActionError, classify},
    permission::Permission,
    session::Clients,
};

/// What this port calls, in the hub's own account. `ListDetectors` has no resource: AWS's own `AmazonDetectiveFullAccess` allows it on `*`
/// (<https://docs.aws.amazon.com/aws-managed-policy/latest/reference/AmazonDetectiveFullAccess.html>); for the others see
/// <https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonguardduty.html>.
pub const READS: &[Permission] = &[
    Permission::new("securityhub:GetFindings", "arn:{partition}:securityhub:{region}:{account}:hub/default"),
    Permission::new("guardduty:ListDetectors", "*"),
    Permission::new("guardduty:ListFindings", "arn:{partition}:guardduty:{region}:{account}:detector/*"),
    Permission::new("guardduty:GetFindings", "arn:{partition}:guardduty:{region}:{account}:detector/*"),
];

/// The largest page of `GetFindings` (<https://docs.aws.amazon.com/securityhub/1.0/APIReference/API_GetFindings.html>, `MaxResults`).
const PAGE: i32 = 100;
/// Most values of one attribute in a filter (API reference, `AwsSecurityFindingFilters`: "up to 20 filter values").
pub(crate) const VALUES: usize = 20;

/// Which findings. Empty lists ask for any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingsFilter {
    /// Consolidated control ids, `EC2.13` (`Compliance.SecurityControlId`).
    pub controls: Vec<String>,
    /// Types: ASFF's (`TTPs/Initial Access/…`), or GuardDuty's own (`UnauthorizedAccess:EC2/SSHBruteForce`).
    pub types: Vec<String>,
    /// Accounts.
    pub accounts: Vec<AccountId>,
    /// `ACTIVE`, `ARCHIVED`.
    pub record_states: Vec<String>,
    /// `NEW`, `NOTIFIED`, `RESOLVED`, `SUPPRESSED`.
    pub workflows: Vec<String>,
    /// `FAILED`, `PASSED`, `WARNING`, `NOT_AVAILABLE`. A finding that is no control's has none.
    pub compliance: Vec<String>,
    /// Updated by its provider from the first to the second time, both included.
    pub updated: Option<(Timestamp, Timestamp)>,
}

impl FindingsFilter {
    /// What waits for an answer: active and not resolved or suppressed.
    #[must_use]
    pub fn open() -> Self {
        Self { record_states: vec!["ACTIVE".to_owned()], workflows: vec!["NEW".to_owned(), "NOTIFIED".to_owned()], ..Self::default() }
    }

    /// The backlog of failed controls: [`FindingsFilter::open`] and `FAILED`.
    #[must_use]
    pub fn failed_controls(controls: impl IntoIterator<Item = String>) -> Self {
        Self { controls: controls.into_iter().collect(), compliance: vec!["FAILED".to_owned()], ..Self::open() }
    }

    /// The same question in parts that each fit into one request: at most 20 values of an attribute, and GuardDuty's own
    /// type names apart from ASFF's. Attributes are joined by "and", values of one by "or", so the parts together ask for the same.
    #[must_use]
    pub fn parts(&self) -> Vec<Self> {
        let (native, asff): (Vec<&String>, Vec<&String>) = self.types.iter().partition(|kind| is_native(kind));
        let mut types: Vec<Vec<String>> = asff.chunks(VALUES).map(|chunk| chunk.iter().map(|kind| (*kind).clone()).collect()).collect();
        if !native.is_empty() || types.is_empty() {
            types.push(native.into_iter().cloned().collect());
        }
        let controls = chunks(&self.controls);
        let accounts = chunks(&self.accounts);
        let mut parts = Vec::new();
        for types in &types {
            for controls in &controls {
                for accounts in &accounts {
                    parts.push(Self { types: types.clone(), controls: controls.clone(), accounts: accounts.clone(), ..self.clone() });
                }
            }
        }
        parts
    }

    fn request(&self) -> AwsSecurityFindingFilters {
        let (native, asff): (Vec<&String>, Vec<&String>) = self.types.iter().partition(|kind| is_native(kind));
        let accounts: Vec<&str> = self.accounts.iter().map(AccountId::as_str).collect();
        let dates = self.updated.map(|(since, until)| vec![DateFilter::builder().start(since.to_string()).end(until.to_string()).build()]);
        // ASFF wraps GuardDuty's types in a namespace that differs from type to type, and filters know no "contains" here:
        // so all of GuardDuty's are asked for, and told apart on arrival.
        let product = (!native.is_empty()).then(|| equal(["GuardDuty"])).flatten();
        AwsSecurityFindingFilters::builder()
            .set_compliance_security_control_id(equal(self.controls.iter().map(String::as_str)))
            .set_type(equal(asff.iter().map(|kind| kind.as_str())))
            .set_product_name(product)
            .set_aws_account_id(equal(accounts))
            .set_record_state(equal(self.record_states.iter().map(String::as_str)))
            .set_workflow_status(equal(self.workflows.iter().map(String::as_str)))
            .set_compliance_status(equal(self.compliance.iter().map(String::as_str)))
            .set_updated_at(dates)
            .build()
    }

    /// Whether a document is what was asked for.
    fn wants(&self, known: &Known<'_>) -> bool {
        let among =
            |wanted: &[String], value: Option<&str>| wanted.is_empty() || value.is_some_and(|value| wanted.iter().any(|one| one == value));
        let compliance = known.compliance.as_ref();
        let kind = |wanted: &String| {
            let name = if is_native(wanted) { wanted.replacen('/', "-", 1) } else { wanted.clone() };
            known.types.iter().any(|kind| *kind == name || (is_native(wanted) && kind.rsplit('/').next() == Some(&name)))
        };
        among(&self.controls, compliance.and_then(|compliance| compliance.control.as_deref()))
            && among(&self.compliance, compliance.and_then(|compliance| compliance.status.as_deref()))
            && among(&self.record_states, known.record_state.as_deref().or(Some("ACTIVE")))
            && among(&self.workflows, known.workflow.as_ref().and_then(|workflow| workflow.status.as_deref()).or(Some("NEW")))
            && (self.accounts.is_empty() || self.accounts.iter().any(|account| known.account.as_deref() == Some(account.as_str())))
            && (self.types.is_empty() || self.types.iter().any(kind))
            && self.updated.is_none_or(|(since, until)| {
                known.updated.as_deref().and_then(|at| at.parse::<Timestamp>().ok()).is_some_and(|at| since <= at && at <= until)
            })
    }
}

/// A GuardDuty type: `ThreatPurpose:ResourceType/Name` has a colon before its first slash, an ASFF type has not.
fn is_native(kind: &str) -> bool {
    kind.split('/').next().is_some_and(|first| first.contains(':'))
}

fn chunks<T: Clone>(values: &[T]) -> Vec<Vec<T>> {
    if values.is_empty() { vec![Vec::new()] } else { values.chunks(VALUES).map(<[T]>::to_vec).collect() }
}

pub(crate) fn equal<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<Vec<StringFilter>> {
    let values: BTreeSet<&str> = values.into_iter().collect();
    let filters = values.into_iter().map(|value| StringFilter::builder().value(value).comparison(StringFilterComparison::Equals).build());
    Some(filters.collect::<Vec<_>>()).filter(|filters| !filters.is_empty())
}

/// What of a document is looked at to tell whether it was asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Known<'a> {
    #[serde(rename = "AwsAccountId", borrow)]
    account: Option<std::borrow::Cow<'a, str>>,
    types: Vec<String>,
    record_state: Option<String>,
    workflow: Option<Status>,
    compliance: Option<Compliance>,
    #[serde(rename = "UpdatedAt")]
    updated: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Status {
    status: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Compliance {
    status: Option<String>,
    #[serde(rename = "SecurityControlId")]
    control: Option<String>,
}

/// How far a question was read: keep it with what was made of the page, and the reading goes on there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Which of [`FindingsFilter::parts`].
    pub part: usize,
    /// Security Hub's token for the next page of it.
    pub token: Option<String>,
}

/// One page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The documents (ASFF), as they came.
    pub documents: Vec<Vec<u8>>,
    /// Documents that the answer held and the question did not ask for.
    pub passed_over: usize,
    /// Where to go on; `None`: that was all.
    pub next: Option<Cursor>,
}

/// Reads the page at a cursor; [`Cursor::default`] is the first. Security Hub answers three `GetFindings` a second and Region,
/// which the limiter divides.
///
/// # Errors
/// Those of the call. A token that Security Hub no longer takes is `InvalidInputException`: begin the part again, intake knows
/// what it has seen.
pub async fn page(clients: &Clients, filter: &FindingsFilter, at: &Cursor) -> Result<Page, ActionError> {
    let client = clients.securityhub();
    read_page(&client, filter, at).await
}

async fn read_page(client: &aws_sdk_securityhub::Client, filter: &FindingsFilter, at: &Cursor) -> Result<Page, ActionError> {
    let parts = filter.parts();
    let Some(part) = parts.get(at.part) else {
        return Ok(Page { documents: Vec::new(), passed_over: 0, next: None });
    };
    let order = part.updated.map(|_| SortOrder::Ascending);
    let (all, token) = one_page(client, part.request(), order, at.token.clone()).await?;
    let total = all.len();
    let documents: Vec<Vec<u8>> = all
        .into_iter()
        // What cannot be read is left to intake, which says why.
        .filter(|document| serde_json::from_slice::<Known<'_>>(document).map_or(true, |known| part.wants(&known)))
        .collect();
    let next = match token {
        Some(token) => Some(Cursor { part: at.part, token: Some(token) }),
        None => Some(Cursor { part: at.part.saturating_add(1), token: None }).filter(|next| next.part < parts.len()),
    };
    Ok(Page { passed_over: total - documents.len(), documents, next })
}

/// One page of an answer, its documents as they came, and the token of the next. `order` is that of the providers' own updates.
pub(crate) async fn one_page(
    client: &aws_sdk_securityhub::Client,
    filters: AwsSecurityFindingFilters,
    order: Option<SortOrder>,
    token: Option<String>,
) -> Result<(Vec<Vec<u8>>, Option<String>), ActionError> {
    let body = Body::default();
    let answer = client
        .get_findings()
        .filters(filters)
        .set_sort_criteria(order.map(|order| vec![SortCriterion::builder().field("UpdatedAt").sort_order(order).build()]))
        .max_results(PAGE)
        .set_next_token(token.clone())
        .customize()
        .interceptor(body.clone())
        .send()
        .await
        .map_err(|error| classify("securityhub:GetFindings", error))?;
    let documents = cut("securityhub:GetFindings", &body.take(), "Findings")?;
    let next = answer.next_token().filter(|next| !next.is_empty() && Some(*next) != token.as_deref()).map(str::to_owned);
    Ok((documents, next))
}

/// All pages from a cursor on, each when it is asked for. After an error the stream ends; go on from the last page's `next`.
pub fn pages<'a>(clients: &'a Clients, filter: &'a FindingsFilter, from: Cursor) -> impl Stream<Item = Result<Page, ActionError>> + 'a {
    stream::try_unfold(Some(from), move |at| async move {
        let Some(at) = at else { return Ok(None) };
        let page = page(clients, filter, &at).await?;
        let next = page.next.clone();
        Ok(Some((page, next)))
    })
}

/// Cuts the documents of a list out of an answer.
fn cut(call: &str, body: &[u8], list: &str) -> Result<Vec<Vec<u8>>, ActionError> {
    let unreadable =
        |error: serde_json::Error| ActionError::Transient { call: call.to_owned(), message: format!("the answer cannot be read: {error}") };
    let answer: std::collections::BTreeMap<&str, &RawValue> = serde_json::from_slice(body).map_err(unreadable)?;
    let Some(list) = answer.get(list) else { return Ok(Vec::new()) };
    let documents: Vec<&RawValue> = serde_json::from_str(list.get()).map_err(unreadable)?;
    Ok(documents.into_iter().map(|document| document.get().as_bytes().to_vec()).collect())
}

#[cfg(test)]
mod tests;
