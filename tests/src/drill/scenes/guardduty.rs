//! `guardduty.archive-finding` and `securityhub.related-findings`: what is seen from the hub's account. The findings are about members, and
//! kept in the account that moto takes the sessions' made-up key for.

use std::sync::Arc;

use cordon_shared::id::CellId;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{Setting, World, Yard, cell, shape};
use crate::{
    Hand, LabError, Moto,
    drill::{MADE_UP_ACCOUNT, Trespass},
    organization::{
        Exposure, call,
        finding::{Part, brute_force, hub_copy},
        items, text,
    },
};

pub(super) const ARCHIVE: &str = "guardduty.archive-finding";
pub(super) const RELATED: &str = "securityhub.related-findings";

const ATTACKER: &str = "198.51.100.77";

/// A finding of GuardDuty's.
#[derive(Debug)]
struct Finding {
    hand: Hand,
    moto: Arc<Moto>,
    /// The step's; the finding may be of another Region.
    cell: CellId,
    region: String,
    detector: String,
    id: String,
    arn: String,
}

/// The detector of the made-up account in a Region; AWS allows one.
async fn detector(hand: &Hand, region: &str) -> Result<String, LabError> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
    let _turn = ONE_AT_A_TIME.lock().await;
    let known = call(hand, MADE_UP_ACCOUNT, region, "guardduty", "list_detectors", json!({})).await?;
    match items(&known, "/DetectorIds").next().and_then(Value::as_str) {
        Some(detector) => Ok(detector.to_owned()),
        None => text(&call(hand, MADE_UP_ACCOUNT, region, "guardduty", "create_detector", json!({"Enable": true})).await?, "/DetectorId"),
    }
}

pub(super) fn open(yard: &Yard) -> Setting<'_> {
    Box::pin(async move {
        let home = yard.organization.home.clone();
        set(yard, &home).await
    })
}

pub(super) fn far(yard: &Yard) -> Setting<'_> {
    Box::pin(async move {
        let far = yard.organization.regions.iter().find(|region| **region != yard.organization.home).cloned();
        set(yard, &far.ok_or_else(|| LabError::new("the organization has one Region only"))?).await
    })
}

async fn set(yard: &Yard, region: &str) -> Result<Box<dyn World>, LabError> {
    let (account, _) = yard.place();
    let id = format!("{:0>32}", crate::accounts::fresh());
    let arn = format!("arn:aws:guardduty:{region}:{account}:detector/members/finding/{id}");
    let finding = json!({
        "id": id, "arn": arn, "accountId": account, "region": region, "type": "Recon:EC2/Portscan", "severity": 5.0, "title": "A port scan.",
        "createdAt": "2026-11-24T08:00:00.000Z", "updatedAt": "2026-11-24T08:00:00.000Z", "resource": {"resourceType": "Instance"},
        "service": {"serviceName": "guardduty", "archived": false, "count": 1},
    });
    yard.seed(MADE_UP_ACCOUNT, region, "guardduty-findings", vec![finding]).await?;
    let hand = yard.organization.hand.clone();
    let detector = detector(&hand, region).await?;
    let moto = Arc::clone(&yard.organization.moto);
    let cell = cell(MADE_UP_ACCOUNT, &yard.organization.home)?;
    Ok(Box::new(Finding { hand, moto, cell, region: region.to_owned(), detector, id, arn }))
}

impl World for Finding {
    fn cell(&self) -> &CellId {
        &self.cell
    }

    fn with(&self) -> Value {
        json!({"finding": self.arn})
    }

    fn look(&self) -> BoxFuture<'_, Result<Value, LabError>> {
        Box::pin(async move {
            let asked = json!({"DetectorId": self.detector, "FindingIds": [self.id]});
            let found = call(&self.hand, MADE_UP_ACCOUNT, &self.region, "guardduty", "get_findings", asked).await?;
            let archived = items(&found, "/Findings").next().and_then(|finding| finding.pointer("/Service/Archived")).cloned();
            Ok(json!({"archived": archived}))
        })
    }

    /// A finding has no other state than this one; but it may go.
    fn drift(&self) -> BoxFuture<'_, Result<(), LabError>> {
        let gone = vec![json!({"id": self.id, "expired": true})];
        Box::pin(async move { self.moto.seed(MADE_UP_ACCOUNT, &self.region, "guardduty-findings", gone).await })
    }

    fn drifted(&self, state: &Value) -> bool {
        state.get("archived") == Some(&Value::Null)
    }

    fn trespasses(&self) -> Vec<Trespass> {
        let trespass = |operation, params| Trespass { service: "guardduty", operation, params };
        let ids = json!([self.id]);
        vec![
            trespass("archive_findings", json!({"DetectorId": "another", "FindingIds": ids})),
            trespass("get_findings", json!({"DetectorId": self.detector, "FindingIds": ids})),
            trespass("update_detector", json!({"DetectorId": self.detector, "Enable": false})),
            trespass("delete_detector", json!({"DetectorId": self.detector})),
        ]
    }
}

/// An instance that several findings are about.
#[derive(Debug)]
struct Several {
    cell: CellId,
    with: Value,
    expected: Vec<(&'static str, Value)>,
}

pub(super) fn related(yard: &Yard) -> Setting<'_> {
    Box::pin(async move {
        let (account, region) = yard.place();
        let instance = yard.organization.instance(account, region, &shape(vec![Exposure::Port])).await?;
        let (known, attack) = (brute_force(&instance, ATTACKER, Part::Target), brute_force(&instance, "198.51.100.78", Part::Actor));
        let copies = vec![hub_copy(&known), hub_copy(&attack)];
        yard.seed(MADE_UP_ACCOUNT, &yard.organization.home, "securityhub-findings", copies).await?;
        let id = text(&known, "/arn")?;
        let other = text(&attack, "/arn")?;
        yard.seed(MADE_UP_ACCOUNT, region, "guardduty-findings", vec![known, attack]).await?;
        for region in &yard.organization.regions {
            detector(&yard.organization.hand, region).await?;
        }
        let expected = vec![
            ("/findings/0/id", json!(other)),
            ("/findings/0/shares", json!(["instance"])),
            ("/findings/1", Value::Null),
            ("/looked_in/0/found", json!(1)),
            ("/looked_in/0/problem", Value::Null),
            ("/truncated", json!(false)),
        ];
        let with = json!({"subjects": [instance.arn], "sources": [ATTACKER], "except": id, "account": account});
        Ok(Box::new(Several { cell: cell(MADE_UP_ACCOUNT, &yard.organization.home)?, with, expected }) as Box<dyn World>)
    })
}

impl World for Several {
    fn cell(&self) -> &CellId {
        &self.cell
    }

    fn with(&self) -> Value {
        self.with.clone()
    }

    fn look(&self) -> BoxFuture<'_, Result<Value, LabError>> {
        Box::pin(std::future::ready(Ok(Value::Null)))
    }

    fn drift(&self) -> BoxFuture<'_, Result<(), LabError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn drifted(&self, _state: &Value) -> bool {
        false
    }

    fn trespasses(&self) -> Vec<Trespass> {
        Vec::new()
    }

    fn misses(&self, outcome: &Value) -> Option<String> {
        let wrong = |(pointer, wanted): &&(&str, Value)| outcome.pointer(pointer).unwrap_or(&Value::Null) != wanted;
        self.expected.iter().find(wrong).map(|(pointer, wanted)| format!("{pointer} is not {wanted}: {outcome}"))
    }
}
