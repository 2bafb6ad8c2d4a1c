//! What was done to a finding in Security Hub, and by whom: `GetFindingHistory`, which keeps 90 days of `BatchUpdateFindings` and
//! `BatchImportFindings` (<https://docs.aws.amazon.com/securityhub/1.0/APIReference/API_GetFindingHistory.html>).

use aws_sdk_securityhub::types::{AwsSecurityFindingIdentifier, FindingHistoryRecord};
use jiff::Timestamp;

use crate::{
    action::{ActionError, classify},
    permission::Permission,
    session::Clients,
};

/// What this port calls, in the hub's own account and home Region.
pub const READS: &[Permission] =
    &[Permission::new("securityhub:GetFindingHistory", "arn:{partition}:securityhub:{region}:{account}:hub/default")];

const CALL: &str = "securityhub:GetFindingHistory";
/// The largest page (API reference, `MaxResults`).
const PAGE: i32 = 100;
/// How many pages are read at most: a history without an end proves nothing.
const PAGES: usize = 50;

/// The last time that a finding's workflow status was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowChange {
    /// `NEW`, `NOTIFIED`, `RESOLVED`, `SUPPRESSED`.
    pub status: String,
    /// The ARN of who set it, as Security Hub has it; empty where it has none.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// Who last set a finding's workflow status, and to what. `None`: the history does not tell.
///
/// # Errors
/// Those of the call; a history that does not end within 50 pages is an answer that cannot be used.
pub async fn last_workflow(clients: &Clients, product_arn: &str, id: &str) -> Result<Option<WorkflowChange>, ActionError> {
    let client = clients.securityhub();
    let finding = AwsSecurityFindingIdentifier::builder().id(id).product_arn(product_arn).build();
    let mut last: Option<WorkflowChange> = None;
    let mut token: Option<String> = None;
    for _ in 0..PAGES {
        let request = client.get_finding_history().finding_identifier(finding.clone()).max_results(PAGE).set_next_token(token.clone());
        let answer = request.send().await.map_err(|error| classify(CALL, error))?;
        for change in answer.records().iter().filter_map(workflow) {
            if last.as_ref().is_none_or(|known| known.at <= change.at) {
                last = Some(change);
            }
        }
        let next = answer.next_token().filter(|next| !next.is_empty()).map(str::to_owned);
        if next.is_none() || next == token {
            return Ok(last);
        }
        token = next;
    }
    let message = format!("the history of finding {id} does not end");
    Err(ActionError::Transient { call: CALL.to_owned(), message })
}

fn workflow(record: &FindingHistoryRecord) -> Option<WorkflowChange> {
    let changed = record.updates().iter().rev().find(|update| update.updated_field().is_some_and(|field| field.starts_with("Workflow")))?;
    // The value is the word itself, or the object around it as text.
    let value = changed.new_value()?;
    let status = ["SUPPRESSED", "NOTIFIED", "RESOLVED", "NEW"].into_iter().find(|word| value.contains(word))?;
    let time = record.update_time()?;
    let at = Timestamp::new(time.secs(), i32::try_from(time.subsec_nanos()).ok()?).ok()?;
    let by = record.update_source().and_then(|source| source.identity()).unwrap_or_default();
    Some(WorkflowChange { status: status.to_owned(), by: by.to_owned(), at })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::aws::fake::World;

    fn record(at: &str, by: &str, field: &str, value: &str) -> Value {
        json!({
            "UpdateTime": at, "UpdateSource": {"Type": "BATCH_UPDATE_FINDINGS", "Identity": by},
            "Updates": [{"UpdatedField": "Note", "NewValue": "x"}, {"UpdatedField": field, "OldValue": "NEW", "NewValue": value}],
        })
    }

    async fn asked(pages: Vec<Value>) -> Option<WorkflowChange> {
        let world = World::new(move |_, body| {
            let at = body["NextToken"].as_str().map_or(0, |token| token.parse().unwrap());
            let mut answer = json!({ "Records": pages[at] });
            if at + 1 < pages.len() {
                answer["NextToken"] = json!((at + 1).to_string());
            }
            (200, answer)
        })
        .await;
        last_workflow(&world.clients, "arn:aws:securityhub:us-east-1::product/aws/securityhub", "f-1").await.unwrap()
    }

    #[tokio::test]
    async fn the_last_change_of_the_workflow_is_told_with_who_made_it() {
        let member = "arn:aws:sts::111122223333:assumed-role/dev/x";
        let admin = "arn:aws:sts::222222222222:assumed-role/soc/y";
        let pages = vec![
            json!([record("2026-11-24T10:00:00.000Z", admin, "Workflow.Status", "NOTIFIED")]),
            json!([record("2026-11-24T11:00:00.000Z", member, "Workflow", "{\"Status\":\"SUPPRESSED\"}"), {"UpdateTime": "2026-11-24T11:30:00.000Z"}]),
        ];
        let last = asked(pages).await.unwrap();
        assert_eq!((last.status.as_str(), last.by.as_str(), last.at), ("SUPPRESSED", member, "2026-11-24T11:00:00Z".parse().unwrap()));
        assert_eq!(asked(vec![json!([record("2026-11-24T11:00:00.000Z", member, "Severity", "LOW")])]).await, None);
        assert_eq!(asked(vec![json!([])]).await, None);
    }
}
