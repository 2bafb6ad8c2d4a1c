//! `guardduty.archive-finding`: an answered finding leaves the list of those that wait for an answer.
//!
//! Hub seat. Only the administrator account may archive, and by its own detector in the finding's Region, whichever member's finding it is
//! (<https://docs.aws.amazon.com/guardduty/latest/APIReference/API_ArchiveFindings.html>): the detector in the finding's ARN is the
//! member's. The Region is that of the ARN, because a finding about a key or a role is of no Region otherwise.
//!
//! **Recovery key**: the finding's own state. Archived is archived, however often it is said.

#[cfg(test)]
mod tests;

use cordon_shared::{
    arn::Arn,
    id::Region,
    plan::{Change as Difference, ChangeKey, Plan as Planned, Risk, Seat, Verdict},
};
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    action::{ActionError, ApplyError, Change, Cx, Plan, Progress, Undo, Write, classify},
    aws::findings::guardduty::{detector, finding_id, one},
    permission::{Bindings, Permission},
};

/// The attribute's name.
const ARCHIVED: &str = "archived";

/// Which finding.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The finding's ARN, as the finding has it. What is no ARN of GuardDuty's is left alone.
    pub finding: String,
}

/// The finding as it was, and by which detector it is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// The finding's Region.
    pub region: Region,
    /// The administrator's detector there.
    pub detector: String,
    /// Whether it was archived.
    pub archived: bool,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// The finding.
    pub finding: String,
    /// By which detector.
    pub detector: String,
    /// Whether it was archived before.
    pub was: bool,
}

/// The action.
#[derive(Debug, Clone, Copy, Default)]
pub struct ArchiveFinding;

/// The Region of a GuardDuty finding's ARN.
fn region_of(finding: &str) -> Option<Region> {
    let arn: Arn = finding.parse().ok()?;
    let is_finding = arn.service() == "guardduty" && arn.resource().starts_with("detector/") && arn.resource().contains("/finding/");
    is_finding.then(|| arn.region()).flatten()
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Document {
    #[serde(alias = "Service")]
    service: Service,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Service {
    #[serde(alias = "Archived")]
    archived: bool,
}

/// Whether the finding is archived now; `None`: the detector does not know it.
async fn look(cx: Cx<'_>, with: &Params, region: &Region, detector: &str) -> Result<Option<bool>, ActionError> {
    let client = cx.read.in_region(region).guardduty();
    let Some(document) = one(&client, detector, &with.finding).await? else { return Ok(None) };
    let document: Document = serde_json::from_slice(&document).map_err(|error| ActionError::Transient {
        call: "guardduty:GetFindings".to_owned(),
        message: format!("the answer cannot be read: {error}"),
    })?;
    Ok(Some(document.service.archived))
}

fn difference(with: &Params, before: bool, after: bool) -> Difference {
    Difference { resource: with.finding.clone(), attribute: ARCHIVED.to_owned(), before: json!(before), after: json!(after) }
}

fn moot(why: String) -> Result<Plan<Before>, ActionError> {
    Ok(Plan::Moot { why })
}

/// The finding is not there any more.
fn forgotten(before: &Before) -> String {
    format!(
        "the administrator's detector {} in {} does not know the finding any more: GuardDuty keeps one for 90 days, and an account that is no member takes its own along",
        before.detector, before.region
    )
}

impl Change for ArchiveFinding {
    const NAME: &'static str = "guardduty.archive-finding";
    const ABOUT: &'static str = "Archives the finding in GuardDuty.";
    const RISK: Risk = Risk::Reversible;
    const SEAT: Seat = Seat::Hub;
    /// For resources see <https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonguardduty.html>.
    const READS: &'static [Permission] = &[
        Permission::new("guardduty:ListDetectors", "*"),
        Permission::new("guardduty:GetFindings", "arn:{partition}:guardduty:{place}:{account}:detector/{detector}"),
    ];
    const WRITES: &'static [Permission] = &[
        Permission::new("guardduty:ArchiveFindings", "arn:{partition}:guardduty:{place}:{account}:detector/{detector}"),
        Permission::new("guardduty:UnarchiveFindings", "arn:{partition}:guardduty:{place}:{account}:detector/{detector}"),
    ];
    /// Read back at once as a rule; AWS promises nothing.
    const SETTLE: SignedDuration = SignedDuration::from_mins(2);
    type Params = Params;
    type Before = Before;
    type Ticket = ();
    type Outcome = Outcome;

    fn bind(&self, _with: &Params, before: &Before) -> Bindings {
        Bindings::new().with("place", [before.region.as_str()]).with("detector", [before.detector.as_str()])
    }

    async fn plan(&self, cx: Cx<'_>, with: &Params) -> Result<Plan<Before>, ActionError> {
        let finding = &with.finding;
        let Some(region) = region_of(finding) else {
            return moot(format!("not a GuardDuty finding: `{finding}`"));
        };
        if !cx.regions.contains(&region) {
            return moot(format!("{finding} is of Region {region}, which is not among `[hub] regions`: it is left as it is"));
        }
        let detector = match detector(&cx.read.in_region(&region)).await {
            Ok(detector) => detector,
            Err(ActionError::Gone { .. }) => {
                return moot(format!("account {} has no GuardDuty detector in {region}, so it cannot archive {finding}", cx.cell.account));
            }
            Err(error) => return Err(error),
        };
        let Some(archived) = look(cx, with, &region, &detector).await? else {
            let account = &cx.cell.account;
            return moot(format!(
                "detector {detector} of account {account} in {region} does not know {finding}: it has expired, or the account is not GuardDuty's delegated administrator for it"
            ));
        };
        let mut plan = Planned { touches: [finding.clone()].into(), ..Planned::default() };
        if archived {
            plan.already.push(difference(with, true, true))
        } else {
            plan.changes.push(difference(with, false, true))
        }
        Ok(Plan::Ready { before: Before { region, detector, archived }, plan })
    }

    async fn apply(&self, _cx: Cx<'_>, write: Write<'_>, with: &Params, before: &Before) -> Result<Progress<(), Outcome>, ApplyError> {
        if !before.archived {
            let client = write.aws.in_region(&before.region).guardduty();
            let call = client.archive_findings().detector_id(&before.detector).finding_ids(finding_id(&with.finding));
            call.send().await.map_err(|error| classify("guardduty:ArchiveFindings", error))?;
        }
        Ok(Progress::Done(Outcome { finding: with.finding.clone(), detector: before.detector.clone(), was: before.archived }))
    }

    async fn verify(&self, cx: Cx<'_>, with: &Params, before: &Before) -> Result<Verdict, ActionError> {
        Ok(match look(cx, with, &before.region, &before.detector).await? {
            Some(true) => Verdict::InEffect,
            // Somebody who unarchived it left it as it was before, which is all that can be seen.
            Some(false) => Verdict::NotInEffect { detail: "the finding is not archived".to_owned() },
            None => Verdict::Drifted { detail: forgotten(before) },
        })
    }

    async fn undo(&self, cx: Cx<'_>, write: Write<'_>, with: &Params, before: &Before, only: &[ChangeKey]) -> Result<Undo, ApplyError> {
        let named = only.iter().any(|key| key.resource == with.finding && key.attribute == ARCHIVED);
        if before.archived || !named {
            return Ok(Undo::Restored(Vec::new()));
        }
        match look(cx, with, &before.region, &before.detector).await? {
            None => Ok(Undo::ByHand(vec![format!("{} cannot be unarchived: {}", with.finding, forgotten(before))])),
            Some(false) => Ok(Undo::Restored(Vec::new())),
            Some(true) => {
                let client = write.aws.in_region(&before.region).guardduty();
                let call = client.unarchive_findings().detector_id(&before.detector).finding_ids(finding_id(&with.finding));
                call.send().await.map_err(|error| classify("guardduty:UnarchiveFindings", error))?;
                Ok(Undo::Restored(vec![difference(with, true, false)]))
            }
        }
    }
}
