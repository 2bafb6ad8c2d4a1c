//! `ec2.reencrypt-snapshots`: copies encrypted snapshots within their account, under the security account's key.
//!
//! A snapshot under the AWS managed key cannot be shared, and a key of the member's is not the security account's to use
//! (<https://docs.aws.amazon.com/ebs/latest/userguide/ebs-modifying-snapshot-permissions.html>). What is not encrypted can be shared as it is.
//! Sharing comes after the wait for the copies, so it is an action of its own: `ec2.share-snapshots`.

use cordon_shared::plan::{Change as Difference, ChangeKey, Plan as Planned, Risk, Seat, Verdict};
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

pub use super::snapshots::{
    Ticket,
    copies::{Before, Copied, Outcome},
};
use super::snapshots::{
    arn, began, by_ids,
    copies::{self, Copying, Source, not_ready},
    not_ours, wrong_days,
};
use crate::{
    action::{ActionError, ApplyError, Change, Cx, ParamsError, Plan, Progress, Undo, Write},
    permission::{Bindings, Permission},
};

/// Copies encrypted snapshots under the security account's key.
#[derive(Debug, Clone, Copy)]
pub struct ReencryptSnapshots;

const NAME: &str = "ec2.reencrypt-snapshots";

/// Which snapshots.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Snapshots of this incident (`snap-…`), as `ec2.snapshot-volumes` took them.
    pub snapshots: Vec<String>,
    /// For how many days the copies are locked: they are needed until the security account has its own.
    #[serde(default = "lock_days")]
    pub lock_days: u32,
}

fn lock_days() -> u32 {
    7
}

impl Change for ReencryptSnapshots {
    const NAME: &'static str = NAME;
    const ABOUT: &'static str =
        "Copies encrypted snapshots within their account, under the security account's key, so that they can be shared";
    const RISK: Risk = Risk::Reversible;
    const SEAT: Seat = Seat::Member;
    // https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
    const READS: &'static [Permission] = copies::READS;
    const WRITES: &'static [Permission] = copies::WRITES;
    const SETTLE: SignedDuration = SignedDuration::from_secs(60);

    type Params = Params;
    type Before = Before;
    type Ticket = Ticket;
    type Outcome = Outcome;

    fn bind(&self, _with: &Params, before: &Before) -> Bindings {
        before.copying.bind()
    }

    async fn plan(&self, cx: Cx<'_>, with: &Params) -> Result<Plan<Before>, ActionError> {
        if let Some(why) = wrong_days(with.lock_days) {
            return Err(ParamsError { action: NAME, why }.into());
        }
        let key = match copies::key(cx, &with.snapshots) {
            Ok(key) => key,
            Err(why) => return Ok(Plan::Moot { why }),
        };
        let client = cx.read.ec2();
        let found = by_ids(&client, cx.cell.account.as_str(), &with.snapshots).await?;
        let mut plan = Planned::default();
        let mut copying = Copying { run: cx.run.to_string(), planned_at: cx.clock.now(), key: key.to_owned(), sources: Vec::new() };
        for id in &with.snapshots {
            let Some(snapshot) = found.get(id) else {
                let why = format!("there is no snapshot {} in the account", arn(cx, id));
                return Ok(Plan::Refuse { code: "snapshot-gone", why });
            };
            if let Some((code, why)) = not_ours(cx, snapshot).or_else(|| not_ready(cx, snapshot)) {
                return Ok(Plan::Refuse { code, why });
            }
            if snapshot.encrypted && snapshot.kms_key.as_deref() != Some(key) {
                copying.sources.push(Source::new(id, snapshot));
            } else {
                let word = if snapshot.encrypted { "under the security account's key" } else { "not encrypted" };
                plan.notes.push(format!("{id} is {word}: it can be shared as it is"));
                let (resource, attribute) = (arn(cx, id), "encryption".to_owned());
                plan.already.push(Difference { resource, attribute, before: json!(word), after: json!(word) });
            }
        }
        let made = copying.made(&client, cx, began(cx.run)).await?;
        if let Some(refused) = copying.plan(cx, &made, with.lock_days, Self::WRITES, &mut plan) {
            return Ok(refused);
        }
        Ok(Plan::Ready { before: Before { copying }, plan })
    }

    async fn apply(&self, cx: Cx<'_>, write: Write<'_>, with: &Params, before: &Before) -> Result<Progress<Ticket, Outcome>, ApplyError> {
        before.copying.apply(cx, write, with.lock_days).await
    }

    async fn poll(&self, cx: Cx<'_>, _with: &Params, before: &Before, ticket: &Ticket) -> Result<Progress<Ticket, Outcome>, ActionError> {
        before.copying.poll(cx, ticket).await
    }

    async fn verify(&self, cx: Cx<'_>, with: &Params, before: &Before) -> Result<Verdict, ActionError> {
        before.copying.verify(cx, with.lock_days).await
    }

    async fn undo(&self, cx: Cx<'_>, _write: Write<'_>, with: &Params, before: &Before, only: &[ChangeKey]) -> Result<Undo, ApplyError> {
        before.copying.undo(cx, with.lock_days, only).await
    }
}
