//! Few calls for many findings. Steps that ask about findings, or write the same on them, within a moment share one call.
//!
//! The step that comes first makes the call, through its own session and warrant; a step whose warrant has died meanwhile is
//! left out. A write session for notes can update any finding of the hub (`BatchUpdateFindings` knows no narrower resource), so
//! that sharing widens nothing; AWS's own trail shows the first step's incident for all of them, the journal each its own.
//! What fails for the first step's own reasons (its warrant, its session) is made again by the next; each finding has its own result.

use std::{collections::BTreeMap, time::Duration};

use aws_sdk_securityhub::{
    Client,
    types::{
        AwsSecurityFindingFilters, AwsSecurityFindingIdentifier, NoteUpdate, StringFilter, StringFilterComparison, WorkflowStatus,
        WorkflowUpdate,
    },
};
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use cordon_shared::{
    gate::{Warrant, Watch},
    id::CellId,
};

use super::Note;
use crate::{
    action::{ActionError, Cx, classify},
    aws::{batch::Batcher, patiently},
};

/// Most findings of one update (<https://docs.aws.amazon.com/securityhub/1.0/APIReference/API_BatchUpdateFindings.html>).
const UPDATES: usize = 100;
/// Most ids in one question (`AwsSecurityFindingFilters`: 20 values of an attribute).
const QUESTIONS: usize = 20;
/// Most pages read for one question: filters leave one, but an endpoint that passes over them has all findings.
const PAGES: usize = 200;
/// How long an update waits for others.
const UPDATE_WINDOW: Duration = Duration::from_millis(500);
/// How long a question waits for others.
const QUESTION_WINDOW: Duration = Duration::from_millis(150);
/// How long a question waits for the rate limit.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a finding is updated again that somebody else was updating at the same moment.
const AGAIN: u32 = 2;

const GET: &str = "securityhub:GetFindings";
const UPDATE: &str = "securityhub:BatchUpdateFindings";

/// What Security Hub has of a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub product_arn: String,
    pub account: String,
    pub note: Option<Note>,
    pub workflow: String,
}

/// What is written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Update {
    pub note: Option<Note>,
    pub workflow: Option<String>,
}

impl Update {
    pub fn is_empty(&self) -> bool {
        self.note.is_none() && self.workflow.is_none()
    }
}

/// A finding in Security Hub: id and product.
type Id = (String, String);

#[derive(Debug, Clone)]
struct Letter {
    id: Id,
    watch: Watch,
}

/// The outbox of one process.
#[derive(Debug)]
pub(super) struct Outbox {
    updates: Batcher<(CellId, Update), Letter, Result<(), ActionError>>,
    questions: Batcher<CellId, String, Result<Vec<Seen>, ActionError>>,
}

impl Default for Outbox {
    fn default() -> Self {
        Self { updates: Batcher::new(UPDATES, UPDATE_WINDOW), questions: Batcher::new(QUESTIONS, QUESTION_WINDOW) }
    }
}

fn nobody(call: &str) -> ActionError {
    ActionError::NotSent(format!("{call}: those who were to make the call went away"))
}

impl Outbox {
    /// All findings with this id.
    pub async fn read(&self, client: &Client, hub: &CellId, finding: &str) -> Result<Vec<Seen>, ActionError> {
        let call = |ids: Vec<String>| async move { ask(client, &ids).await };
        self.questions.ask(hub, finding.to_owned(), call).await.unwrap_or_else(|| Err(nobody(GET)))
    }

    /// Writes on a finding, together with whoever writes the same.
    pub async fn write(&self, client: &Client, cx: Cx<'_>, warrant: &Warrant, id: (&str, &str), update: Update) -> Result<(), ActionError> {
        if warrant.watch().only_looks() {
            // It may not go with another's request either.
            return Err(ActionError::OnlyLooking);
        }
        let letter = Letter { id: (id.0.to_owned(), id.1.to_owned()), watch: warrant.watch() };
        let key = (cx.cell.clone(), update);
        let update = &key.1;
        for attempt in 0..=AGAIN {
            let call = |letters: Vec<Letter>| async move { post(client, cx, update, letters).await };
            let result = self.updates.ask(&key, letter.clone(), call).await.unwrap_or_else(|| Err(nobody(UPDATE)));
            match result {
                // Nothing was written.
                Err(ActionError::Service { code, .. }) if code == "ConcurrentUpdateError" && attempt < AGAIN => {}
                result => return result,
            }
        }
        Err(nobody(UPDATE))
    }
}

/// One question about several ids.
async fn ask(client: &Client, ids: &[String]) -> Vec<Option<Result<Vec<Seen>, ActionError>>> {
    match pages(client, ids).await {
        Ok(mut found) => {
            // Two may ask for the same.
            ids.iter().map(|id| Some(Ok(found.get_mut(id).cloned().unwrap_or_default()))).collect()
        }
        Err(error) => shared(error, ids.len()),
    }
}

async fn pages(client: &Client, ids: &[String]) -> Result<BTreeMap<String, Vec<Seen>>, ActionError> {
    let equals = |id: &String| StringFilter::builder().value(id).comparison(StringFilterComparison::Equals).build();
    let filters = AwsSecurityFindingFilters::builder()
        .set_id(Some(ids.iter().collect::<std::collections::BTreeSet<_>>().into_iter().map(equals).collect()))
        .build();
    let mut found: BTreeMap<String, Vec<Seen>> = BTreeMap::new();
    let mut token: Option<String> = None;
    for _ in 0..PAGES {
        let request = || {
            let sent = client.get_findings().filters(filters.clone()).max_results(100).set_next_token(token.clone()).send();
            async { sent.await.map_err(|error| sort(GET, error)) }
        };
        let answer = patiently(PATIENCE, request).await?;
        for finding in answer.findings() {
            let Some(id) = finding.id().filter(|id| ids.iter().any(|wanted| wanted == id)) else { continue };
            let note = finding
                .note()
                .and_then(|note| Some(Note { text: note.text()?.to_owned(), by: note.updated_by().unwrap_or_default().to_owned() }));
            let workflow = finding.workflow().and_then(|workflow| workflow.status()).map_or("NEW", WorkflowStatus::as_str);
            found.entry(id.to_owned()).or_default().push(Seen {
                product_arn: finding.product_arn().unwrap_or_default().to_owned(),
                account: finding.aws_account_id().unwrap_or_default().to_owned(),
                note,
                workflow: workflow.to_owned(),
            });
        }
        let next = answer.next_token().filter(|next| !next.is_empty() && Some(*next) != token.as_deref());
        match next {
            Some(next) => token = Some(next.to_owned()),
            None => return Ok(found),
        }
    }
    let message = format!("more than {PAGES} pages for {} ids", ids.len());
    Err(ActionError::Service { call: GET.to_owned(), code: "too-many-pages".to_owned(), message })
}

/// One update of several findings.
async fn post(client: &Client, cx: Cx<'_>, update: &Update, letters: Vec<Letter>) -> Vec<Option<Result<(), ActionError>>> {
    let now = cx.clock.now();
    let mut stopped: Vec<Option<String>> = Vec::new();
    for letter in &letters {
        let frozen = letter.watch.frozen().await;
        stopped.push(frozen.or_else(|| letter.watch.stopped(now).map(str::to_owned)));
    }
    let mut ids: Vec<&Id> = letters.iter().zip(&stopped).filter(|(_, stopped)| stopped.is_none()).map(|(letter, _)| &letter.id).collect();
    // The same finding twice in one request is an error to Security Hub.
    ids.sort_unstable();
    ids.dedup();
    let results = match send(client, update, &ids).await {
        Ok(results) => results,
        Err(error) => {
            let mut answers = shared(error, letters.len());
            for (answer, stopped) in answers.iter_mut().zip(stopped) {
                if let Some(why) = stopped {
                    *answer = Some(Err(ActionError::Stopped(why)));
                }
            }
            return answers;
        }
    };
    let answer = |(letter, stopped): (&Letter, Option<String>)| match (stopped, results.get(&letter.id)) {
        (Some(why), _) => Err(ActionError::Stopped(why)),
        (None, Some(None)) => Ok(()),
        (None, Some(Some((code, message)))) => Err(refused(code, message)),
        (None, None) => Err(ActionError::Transient { call: UPDATE.to_owned(), message: "the answer does not name the finding".to_owned() }),
    };
    letters.iter().zip(stopped).map(answer).map(Some).collect()
}

type Refusal = Option<(String, String)>;

/// The result for each finding that the answer names.
async fn send(client: &Client, update: &Update, ids: &[&Id]) -> Result<BTreeMap<Id, Refusal>, ActionError> {
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let identifier = |(id, product): &&Id| AwsSecurityFindingIdentifier::builder().id(id).product_arn(product).build();
    let note = update.note.as_ref().map(|note| NoteUpdate::builder().text(&note.text).updated_by(&note.by).build());
    let workflow = update.workflow.as_deref().map(|status| WorkflowUpdate::builder().status(WorkflowStatus::from(status)).build());
    let request = client
        .batch_update_findings()
        .set_finding_identifiers(Some(ids.iter().map(identifier).collect()))
        .set_note(note)
        .set_workflow(workflow);
    let answer = request.send().await.map_err(|error| sort(UPDATE, error))?;
    let key = |of: &AwsSecurityFindingIdentifier| (of.id().unwrap_or_default().to_owned(), of.product_arn().unwrap_or_default().to_owned());
    let mut results: BTreeMap<Id, Refusal> = answer.processed_findings().iter().map(|of| (key(of), None)).collect();
    for failure in answer.unprocessed_findings() {
        if let Some(of) = failure.finding_identifier() {
            let text = |text: Option<&str>| text.unwrap_or("unknown").to_owned();
            results.insert(key(of), Some((text(failure.error_code()), text(failure.error_message()))));
        }
    }
    Ok(results)
}

/// Codes of findings that were not updated (API reference, `BatchUpdateFindingsUnprocessedFinding`).
fn refused(code: &str, message: &str) -> ActionError {
    let call = UPDATE.to_owned();
    match code {
        "FindingNotFound" => ActionError::Gone { what: "the finding".to_owned(), message: message.to_owned() },
        "InternalFailure" => ActionError::Transient { call, message: format!("{code}: {message}") },
        _ => ActionError::Service { call, code: code.to_owned(), message: message.to_owned() },
    }
}

/// As [`classify`]; an endpoint that does not know the operation at all gives an error page, not an answer of Security Hub.
fn sort<E>(call: &str, error: SdkError<E, HttpResponse>) -> ActionError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let status = error.raw_response().map(|response| response.status().as_u16());
    match classify(call, error) {
        ActionError::Transient { call, message } if matches!(status, Some(404 | 405 | 501)) => ActionError::Service {
            call,
            code: "UnknownOperation".to_owned(),
            message: format!("the endpoint does not know the operation ({message})"),
        },
        ActionError::Service { call, code, message } if code == "unknown" && matches!(status, Some(404 | 405 | 501)) => {
            ActionError::Service {
                call,
                code: "UnknownOperation".to_owned(),
                message: format!("the endpoint does not know the operation ({message})"),
            }
        }
        error => error,
    }
}

/// The error of a call that was made for several: the caller's for the first, a copy for the others. What lies with the first's
/// own session or warrant says nothing about the others: they call again.
fn shared<T>(error: ActionError, count: usize) -> Vec<Option<Result<T, ActionError>>> {
    let mut answers: Vec<Option<Result<T, ActionError>>> = (1..count).map(|_| copy(&error).map(Err)).collect();
    answers.insert(0, Some(Err(error)));
    answers
}

fn copy(error: &ActionError) -> Option<ActionError> {
    match error {
        ActionError::NotSent(why) => Some(ActionError::NotSent(why.clone())),
        ActionError::Throttled { call, message } => Some(ActionError::Throttled { call: call.clone(), message: message.clone() }),
        ActionError::Denied(denied) => Some(ActionError::Denied(denied.clone())),
        ActionError::Gone { what, message } => Some(ActionError::Gone { what: what.clone(), message: message.clone() }),
        ActionError::Transient { call, message } => Some(ActionError::Transient { call: call.clone(), message: message.clone() }),
        ActionError::Service { call, code, message } => {
            Some(ActionError::Service { call: call.clone(), code: code.clone(), message: message.clone() })
        }
        ActionError::Stopped(_)
        | ActionError::OnlyLooking
        | ActionError::Session(_)
        | ActionError::Evidence(_)
        | ActionError::Params(_)
        | ActionError::Bug(_) => None,
    }
}
