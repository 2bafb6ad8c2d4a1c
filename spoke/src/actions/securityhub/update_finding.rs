//! `securityhub.update-finding`: a note and a workflow status on a finding in Security Hub, for those who look there.
//!
//! Hub seat: `Cx::cell` is the hub's account in Security Hub's aggregation Region, from where findings of all linked Regions
//! and member accounts are updated
//! (<https://docs.aws.amazon.com/securityhub/latest/userguide/finding-update-batchupdatefindings.html>).
//! Reads and updates that come within a moment share one call (see [`outbox`]): Security Hub answers three `GetFindings` and ten
//! `BatchUpdateFindings` a second.

mod outbox;
#[cfg(test)]
mod tests;

use cordon_shared::{
    arn::Arn,
    id::{AccountId, Region},
    plan::{Change as Difference, ChangeKey, Plan as Planned, Risk, Seat, Verdict},
};
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    action::{ActionError, ApplyError, Change, Cx, ParamsError, Plan, Progress, Undo, Write},
    permission::{Bindings, Permission},
};
use outbox::{Outbox, Seen, Update};

/// Who wrote the note, as Security Hub shows it (`Note.UpdatedBy`).
pub const AUTHOR: &str = "cordon";
/// Longest note (<https://docs.aws.amazon.com/securityhub/1.0/APIReference/API_NoteUpdate.html> and the ASFF reference: 512 characters).
const LONGEST: usize = 512;
/// Stands where a note of ours was withdrawn and none was before: Security Hub cannot delete a note.
const WITHDRAWN: &str = "Cordon has taken its answer to this finding back.";

/// The names of the two attributes.
const NOTE: &str = "note";
const WORKFLOW: &str = "workflow status";

/// Where an investigation stands (`Workflow.Status`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Workflow {
    /// Nobody has looked.
    New,
    /// Somebody was told.
    Notified,
    /// It is done with.
    Resolved,
    /// It is not to be looked at.
    Suppressed,
}

impl Workflow {
    /// As Security Hub writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "NEW",
            Self::Notified => "NOTIFIED",
            Self::Resolved => "RESOLVED",
            Self::Suppressed => "SUPPRESSED",
        }
    }

    /// Whether going to it from `now` reopens nothing that somebody closed: NEW, NOTIFIED, RESOLVED, in this order only.
    /// SUPPRESSED is a person's word.
    fn goes_on_from(self, now: &str) -> bool {
        let rank = |status: &str| ["NEW", "NOTIFIED", "RESOLVED"].iter().position(|one| *one == status);
        match (rank(now), rank(self.as_str())) {
            (Some(now), Some(then)) => then > now,
            _ => false,
        }
    }
}

/// What to write on which finding.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The finding's id as its provider gave it.
    pub finding: String,
    /// The ARN of the product that wrote it. Without one it follows from the finding's ARN, or from what Security Hub has.
    #[serde(default)]
    pub product_arn: Option<String>,
    /// The account the finding is of.
    pub account: AccountId,
    /// The Region the finding is of.
    pub region: Region,
    /// The note: one of few fixed texts, so that many findings share a call. At most 512 characters.
    pub note: String,
    /// The workflow status to go on to. What somebody resolved or suppressed is not reopened.
    #[serde(default)]
    pub workflow: Option<Workflow>,
}

/// A note.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Note {
    /// Its text.
    pub text: String,
    /// Who wrote it.
    pub by: String,
}

/// The finding's note and status as they were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// The product's ARN, with which the finding is addressed.
    pub product_arn: String,
    /// The note; `None`: there was none.
    pub note: Option<Note>,
    /// The workflow status.
    pub workflow: String,
}

/// What was written.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The finding.
    pub finding: String,
    /// Whether the note was written.
    pub note: bool,
    /// The workflow status that was set.
    pub workflow: Option<Workflow>,
}

/// The action; it holds the outbox of this process.
#[derive(Debug, Default)]
pub struct UpdateFinding {
    outbox: Outbox,
}

impl UpdateFinding {
    /// The finding as Security Hub has it now.
    async fn look(&self, cx: Cx<'_>, with: &Params, product: Option<&str>) -> Result<Found, ActionError> {
        let all = match self.outbox.read(&cx.read.securityhub(), cx.cell, &with.finding).await {
            Ok(all) => all,
            Err(ActionError::Service { code, message, .. }) if code == "InvalidAccessException" => return Ok(Found::NotEnabled(message)),
            Err(error) => return Err(error),
        };
        Ok(choose(all, with, product))
    }

    /// What verify and undo go by: the finding of the plan, which must still be there.
    async fn again(&self, cx: Cx<'_>, with: &Params, before: &Before) -> Result<Seen, ActionError> {
        let gone = |message: String| ActionError::Gone { what: with.finding.clone(), message };
        match self.look(cx, with, Some(&before.product_arn)).await? {
            Found::One(seen) => Ok(seen),
            Found::NotEnabled(message) => Err(gone(message)),
            Found::None | Found::Several(_) => {
                Err(gone("Security Hub has no such finding any more (it deletes them 90 days after the last update)".to_owned()))
            }
        }
    }

    async fn write(&self, cx: Cx<'_>, write: Write<'_>, with: &Params, before: &Before, update: Update) -> Result<(), ActionError> {
        self.outbox.write(&write.aws.securityhub(), cx, write.warrant, (&with.finding, &before.product_arn), update).await
    }
}

enum Found {
    NotEnabled(String),
    None,
    One(Seen),
    Several(Vec<String>),
}

/// The finding that is meant, among those that carry its id. A member can import a finding under any id, but only under a
/// product of its own.
fn choose(all: Vec<Seen>, with: &Params, product: Option<&str>) -> Found {
    let derived = product.map(str::to_owned).or_else(|| with.product_arn.clone()).or_else(|| product_of(with));
    let mut meant: Vec<Seen> = all
        .into_iter()
        .filter(|seen| seen.account == with.account.as_str() && derived.as_ref().is_none_or(|product| *product == seen.product_arn))
        .collect();
    match meant.len() {
        0 => Found::None,
        1 => meant.pop().map_or(Found::None, Found::One),
        _ => Found::Several(meant.into_iter().map(|seen| seen.product_arn).collect()),
    }
}

/// The product ARN that follows from a finding's ARN: AWS's own products are
/// `arn:{partition}:securityhub:{region}::product/aws/{product}`
/// (<https://docs.aws.amazon.com/securityhub/latest/userguide/securityhub-findings-format.html>, `ProductArn`).
fn product_of(with: &Params) -> Option<String> {
    let arn: Arn = with.finding.parse().ok()?;
    let product = match arn.service() {
        product @ ("guardduty" | "inspector" | "securityhub") => product,
        "inspector2" => "inspector",
        _ => return None,
    };
    let region = arn.region().unwrap_or_else(|| with.region.clone());
    Some(format!("arn:{}:securityhub:{region}::product/aws/{product}", arn.partition()))
}

fn check(with: &Params) -> Result<(), ActionError> {
    let length = with.note.chars().count();
    if (1..=LONGEST).contains(&length) {
        return Ok(());
    }
    let why = format!("`note` has {length} characters; Security Hub takes 1 to {LONGEST}");
    Err(ParamsError { action: UpdateFinding::NAME, why }.into())
}

fn ours(with: &Params) -> Note {
    Note { text: with.note.clone(), by: AUTHOR.to_owned() }
}

fn shown(note: Option<&Note>) -> Value {
    note.map_or(Value::Null, |note| json!({ "text": note.text, "by": note.by }))
}

/// The resource that claims and locks go by: the finding's ARN, or product and id where its id is none.
fn resource(with: &Params, product: &str) -> String {
    if with.finding.starts_with("arn:") { with.finding.clone() } else { format!("{product}/{}", with.finding) }
}

/// What is written on a finding that was so.
fn wanted(with: &Params, before: &Before) -> (Option<Note>, Option<Workflow>) {
    let note = ours(with);
    let workflow = with.workflow.filter(|workflow| workflow.goes_on_from(&before.workflow));
    ((before.note.as_ref() != Some(&note)).then_some(note), workflow)
}

impl Change for UpdateFinding {
    const NAME: &'static str = "securityhub.update-finding";
    const ABOUT: &'static str = "Writes a note and a workflow status on the finding in Security Hub.";
    const RISK: Risk = Risk::Reversible;
    const SEAT: Seat = Seat::Hub;
    const READS: &'static [Permission] =
        &[Permission::new("securityhub:GetFindings", "arn:{partition}:securityhub:{region}:{account}:hub/default")];
    const WRITES: &'static [Permission] =
        &[Permission::new("securityhub:BatchUpdateFindings", "arn:{partition}:securityhub:{region}:{account}:hub/default")];
    /// Updates are read back at once as a rule; AWS promises nothing.
    const SETTLE: SignedDuration = SignedDuration::from_mins(2);
    type Params = Params;
    type Before = Before;
    type Ticket = ();
    type Outcome = Outcome;

    fn bind(&self, _with: &Params, _before: &Before) -> Bindings {
        Bindings::new()
    }

    async fn plan(&self, cx: Cx<'_>, with: &Params) -> Result<Plan<Before>, ActionError> {
        check(with)?;
        let hub = cx.cell;
        let seen = match self.look(cx, with, None).await? {
            Found::One(seen) => seen,
            Found::NotEnabled(message) => return Ok(Plan::Moot { why: format!("Security Hub is not enabled in {hub}: {message}") }),
            Found::None => {
                let why = format!("Security Hub in {hub} has no finding `{}` of account {}", with.finding, with.account);
                return Ok(Plan::Moot { why });
            }
            Found::Several(products) => {
                let why = format!("Security Hub has finding `{}` of several products: {}", with.finding, products.join(", "));
                return Ok(Plan::Refuse { code: "ambiguous-finding", why });
            }
        };
        let before = Before { product_arn: seen.product_arn, note: seen.note, workflow: seen.workflow };
        let resource = resource(with, &before.product_arn);
        let (note, workflow) = wanted(with, &before);
        let mut plan = Planned { touches: [resource.clone()].into(), ..Planned::default() };
        let difference = |attribute: &str, before: Value, after: Value| Difference {
            resource: resource.clone(),
            attribute: attribute.to_owned(),
            before,
            after,
        };
        let from = shown(before.note.as_ref());
        match &note {
            Some(note) => {
                if let Some(old) = before.note.as_ref().filter(|old| old.by != AUTHOR) {
                    plan.notes.push(format!(
                        "Security Hub keeps one note: that of {} is replaced, it is kept here and comes back with undo",
                        old.by
                    ));
                }
                plan.changes.push(difference(NOTE, from, shown(Some(note))));
            }
            None => plan.already.push(difference(NOTE, from.clone(), from)),
        }
        let from = json!(before.workflow);
        match (workflow, with.workflow) {
            (Some(to), _) => plan.changes.push(difference(WORKFLOW, from, json!(to))),
            (None, Some(to)) if to.as_str() == before.workflow => plan.already.push(difference(WORKFLOW, from.clone(), from)),
            (None, Some(to)) => {
                plan.notes.push(format!("the workflow status stays {}: it is not set back to {}", before.workflow, to.as_str()))
            }
            (None, None) => {}
        }
        Ok(Plan::Ready { before, plan })
    }

    async fn apply(&self, cx: Cx<'_>, write: Write<'_>, with: &Params, before: &Before) -> Result<Progress<(), Outcome>, ApplyError> {
        let (note, workflow) = wanted(with, before);
        let outcome = Outcome { finding: with.finding.clone(), note: note.is_some(), workflow };
        let update = Update { note, workflow: workflow.map(|workflow| workflow.as_str().to_owned()) };
        if !update.is_empty() {
            self.write(cx, write, with, before, update).await?;
        }
        Ok(Progress::Done(outcome))
    }

    async fn verify(&self, cx: Cx<'_>, with: &Params, before: &Before) -> Result<Verdict, ActionError> {
        let now = self.again(cx, with, before).await?;
        let (note, workflow) = wanted(with, before);
        let mut missing = Vec::new();
        if let Some(note) = note
            && now.note.as_ref() != Some(&note)
        {
            if now.note != before.note {
                return Ok(Verdict::Drifted { detail: format!("the note is now {}", shown(now.note.as_ref())) });
            }
            missing.push("the note is not there yet");
        }
        if let Some(workflow) = workflow
            && now.workflow != workflow.as_str()
        {
            if now.workflow != before.workflow {
                return Ok(Verdict::Drifted { detail: format!("the workflow status is now {}", now.workflow) });
            }
            missing.push("the workflow status is not set yet");
        }
        Ok(if missing.is_empty() { Verdict::InEffect } else { Verdict::NotInEffect { detail: missing.join("; ") } })
    }

    async fn undo(&self, cx: Cx<'_>, write: Write<'_>, with: &Params, before: &Before, only: &[ChangeKey]) -> Result<Undo, ApplyError> {
        let now = self.again(cx, with, before).await?;
        let resource = resource(with, &before.product_arn);
        let named = |attribute: &str| only.iter().any(|key| key.resource == resource && key.attribute == attribute);
        let (note, workflow) = wanted(with, before);
        let (mut restored, mut by_hand) = (Vec::new(), Vec::new());
        let mut update = Update::default();
        if let Some(note) = note.filter(|_| named(NOTE)) {
            let back = before.note.clone().unwrap_or_else(|| Note { text: WITHDRAWN.to_owned(), by: AUTHOR.to_owned() });
            let difference = Difference {
                resource: resource.clone(),
                attribute: NOTE.to_owned(),
                before: shown(now.note.as_ref()),
                after: shown(Some(&back)),
            };
            if now.note.as_ref() == Some(&note) {
                update.note = Some(back);
                restored.push(difference);
            } else if now.note != before.note && now.note.as_ref() != Some(&back) {
                by_hand.push(format!(
                    "the note of {} was changed after us, to {}; before us it was {}",
                    with.finding,
                    shown(now.note.as_ref()),
                    shown(before.note.as_ref())
                ));
            }
        }
        if let Some(workflow) = workflow.filter(|_| named(WORKFLOW)) {
            if now.workflow == workflow.as_str() {
                update.workflow = Some(before.workflow.clone());
                restored.push(Difference {
                    resource,
                    attribute: WORKFLOW.to_owned(),
                    before: json!(now.workflow),
                    after: json!(before.workflow),
                });
            } else if now.workflow != before.workflow {
                by_hand.push(format!(
                    "the workflow status of {} was changed after us, to {}; before us it was {}",
                    with.finding, now.workflow, before.workflow
                ));
            }
        }
        if !update.is_empty() {
            self.write(cx, write, with, before, update).await?;
        }
        if by_hand.is_empty() {
            return Ok(Undo::Restored(restored));
        }
        by_hand
            .extend(restored.iter().map(|done| format!("the {} of {} is put back, nothing to do about it", done.attribute, done.resource)));
        Ok(Undo::ByHand(by_hand))
    }
}
