//! `ec2.copy-snapshots`: copies snapshots that a member account shares into the security account, under its own key, and locks them there.
//!
//! Hub seat: `Cx::cell` is the hub's account in the snapshots' Region. What the member shares is the snapshot itself, or where that is
//! encrypted, a copy under the security account's key that `ec2.reencrypt-snapshots` made: known by its owner, its key and its description,
//! which is all that another account sees of it.

use cordon_shared::{
    id::AccountId,
    plan::{ChangeKey, Plan as Planned, Risk, Seat, Verdict},
};
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::Deserialize;

pub use super::snapshots::{
    Ticket,
    copies::{Before, Copied, Outcome},
};
use super::snapshots::{
    arn, began, by_ids,
    copies::{self, Copying, Source, description, not_ready},
    described, made_since, wrong_days,
};
use crate::{
    action::{ActionError, ApplyError, Change, Cx, ParamsError, Plan, Progress, Undo, Write},
    permission::{Bindings, Permission},
};

/// Copies shared snapshots into the security account.
#[derive(Debug, Clone, Copy)]
pub struct CopySnapshots;

const NAME: &str = "ec2.copy-snapshots";

/// Which snapshots, of whom.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Snapshots of the member's volumes (`snap-…`), as `ec2.snapshot-volumes` took them.
    pub snapshots: Vec<String>,
    /// The member account.
    pub account: AccountId,
    /// For how many days the copies are locked against deletion, in governance mode; 0: not at all.
    #[serde(default = "lock_days")]
    pub lock_days: u32,
}

fn lock_days() -> u32 {
    30
}

impl Change for CopySnapshots {
    const NAME: &'static str = NAME;
    const ABOUT: &'static str = "Copies snapshots that a member account shares into the security account, under its key, and locks them";
    const RISK: Risk = Risk::Reversible;
    const SEAT: Seat = Seat::Hub;
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
        if with.account == cx.cell.account {
            return Ok(Plan::Moot { why: "the snapshots are in the security account already".to_owned() });
        }
        let key = match copies::key(cx, &with.snapshots) {
            Ok(key) => key,
            Err(why) => return Ok(Plan::Moot { why }),
        };
        let (client, owner, run) = (cx.read.ec2(), with.account.as_str(), cx.run.to_string());
        let themselves = by_ids(&client, owner, &with.snapshots).await?;
        let texts: Vec<String> = with.snapshots.iter().map(|id| description(&run, id)).collect();
        let stand_ins = described(&client, owner, &texts).await?;
        let mut copying = Copying { run: run.clone(), planned_at: cx.clock.now(), key: key.to_owned(), sources: Vec::new() };
        for id in &with.snapshots {
            let text = description(&run, id);
            let stands_in = |one: &&super::snapshots::Snapshot| {
                one.description == text && one.kms_key.as_deref() == Some(key) && made_since(one, owner, began(cx.run))
            };
            let Some(snapshot) = stand_ins.iter().find(stands_in).or_else(|| themselves.get(id)) else {
                let why = format!(
                    "account {owner} shares neither {} nor a copy of it under {key} with the security account; `ec2.share-snapshots` does",
                    arn(cx, id)
                );
                return Ok(Plan::Refuse { code: "snapshot-not-shared", why });
            };
            if let Some((code, why)) = not_ready(cx, snapshot) {
                return Ok(Plan::Refuse { code, why });
            }
            copying.sources.push(Source::new(id, snapshot));
        }
        let made = copying.made(&client, cx, began(cx.run)).await?;
        let mut plan = Planned::default();
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
