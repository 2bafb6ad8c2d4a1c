//! `securityhub.update-finding`. The hub's account is the one that moto takes the sessions' made-up key for.

use cordon_shared::id::CellId;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::{Setting, World, Yard, cell};
use crate::{
    Hand, LabError,
    drill::{MADE_UP_ACCOUNT, Trespass},
    organization::{call, finding::open_port_22, text},
};

pub(super) const ACTION: &str = "securityhub.update-finding";

#[derive(Debug)]
struct Finding {
    hand: Hand,
    cell: CellId,
    document: Value,
    id: String,
    /// Whether a person wrote a note before: Security Hub cannot take one's note away without leaving another.
    noted: bool,
}

pub(super) fn unanswered(yard: &Yard) -> Setting<'_> {
    Box::pin(set(yard, None))
}

pub(super) fn noted(yard: &Yard) -> Setting<'_> {
    Box::pin(set(yard, Some(json!({"Text": "I look into it.", "UpdatedBy": "a person", "UpdatedAt": "2026-11-24T08:00:00.000Z"}))))
}

async fn set(yard: &Yard, note: Option<Value>) -> Result<Box<dyn World>, LabError> {
    let hand = yard.organization.hand.clone();
    let (account, _) = yard.place();
    let home = yard.organization.home.as_str();
    let group = format!("arn:aws:ec2:{home}:{account}:security-group/sg-{}", crate::accounts::fresh());
    let mut document = open_port_22(account, home, &group);
    let noted = note.is_some();
    if let (Some(map), Some(note)) = (document.as_object_mut(), note) {
        map.insert("Note".to_owned(), note);
    }
    let id = text(&document, "/Id")?;
    yard.seed(MADE_UP_ACCOUNT, home, "securityhub-findings", vec![document.clone()]).await?;
    Ok(Box::new(Finding { hand, cell: cell(MADE_UP_ACCOUNT, home)?, document, id, noted }))
}

impl Finding {
    async fn ask(&self, operation: &str, params: Value) -> Result<Value, LabError> {
        call(&self.hand, self.cell.account.as_str(), self.cell.region.as_str(), "securityhub", operation, params).await
    }
}

impl World for Finding {
    fn cell(&self) -> &CellId {
        &self.cell
    }

    fn with(&self) -> Value {
        json!({
            "finding": self.id, "account": self.document.get("AwsAccountId"), "region": self.cell.region, "note": "Cordon has answered this finding.",
            "workflow": "NOTIFIED",
        })
    }

    fn look(&self) -> BoxFuture<'_, Result<Value, LabError>> {
        Box::pin(async move {
            let filters = json!({"Filters": {"Id": [{"Value": self.id, "Comparison": "EQUALS"}]}});
            let found = self.ask("get_findings", filters).await?;
            let one = found.pointer("/Findings/0").ok_or_else(|| LabError::new("the finding is gone"))?;
            let at = |pointer: &str| one.pointer(pointer).cloned().unwrap_or_default();
            Ok(json!({
                "note": at("/Note/Text"), "by": at("/Note/UpdatedBy"), "workflow": at("/Workflow/Status"), "severity": at("/Severity/Label"),
                "record": at("/RecordState"), "fields": at("/UserDefinedFields"),
            }))
        })
    }

    fn drift(&self) -> BoxFuture<'_, Result<(), LabError>> {
        Box::pin(async move {
            let finding = json!({"Id": self.id, "ProductArn": self.document.get("ProductArn")});
            let params = json!({
                "FindingIdentifiers": [finding], "Note": {"Text": "It is ours, leave it.", "UpdatedBy": "theirs"}, "Workflow": {"Status": "SUPPRESSED"},
            });
            self.ask("batch_update_findings", params).await.map(drop)
        })
    }

    fn drifted(&self, state: &Value) -> bool {
        state.get("by") == Some(&json!("theirs")) && state.get("workflow") == Some(&json!("SUPPRESSED"))
    }

    fn restored(&self, found: &Value, now: &Value) -> bool {
        let mut wanted = found.clone();
        let ours = now.get("by") == Some(&json!("cordon")) && now.get("note") != self.with().get("note");
        if let (false, true, Some(map)) = (self.noted, ours, wanted.as_object_mut()) {
            // What stands there says that the answer was taken back.
            for name in ["note", "by"] {
                map.insert(name.to_owned(), now.get(name).cloned().unwrap_or_default());
            }
        }
        wanted == *now
    }

    fn trespasses(&self) -> Vec<Trespass> {
        let trespass = |operation, params| Trespass { service: "securityhub", operation, params };
        vec![trespass("batch_import_findings", json!({"Findings": [self.document]})), trespass("get_findings", json!({}))]
    }
}
