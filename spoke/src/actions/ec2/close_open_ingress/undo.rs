//! Opening again.

use std::collections::BTreeSet;

use aws_sdk_ec2::Client;
use cordon_shared::plan::{Change as Difference, ChangeKey};
use serde_json::json;

use super::{
    Before, Family, GroupBefore, Job,
    ports::PortSet,
    restore::restore,
    rule::{Body, Rule, Source},
    split::open,
    wire::{self, as_cli, rules_of},
};
use crate::action::{ActionError, ApplyError, Cx, Undo, Write};

pub(super) async fn undo(cx: Cx<'_>, write: Write<'_>, job: &Job, before: &Before, only: &[ChangeKey]) -> Result<Undo, ApplyError> {
    let (only_looks, write): (bool, &Client) = (write.only_looks(), &write.aws.ec2());
    let read = cx.read.ec2();
    let mut done = 0;
    let (mut restored, mut by_hand) = (Vec::new(), Vec::new());
    let ids: Vec<String> = before.groups.iter().map(|group| group.id.clone()).collect();
    let there: BTreeSet<String> = wire::groups(&read, &ids).await?.iter().filter_map(|group| group.group_id()).map(str::to_owned).collect();
    // Of a group that was deleted there is nothing to restore.
    for group in before.groups.iter().filter(|group| there.contains(&group.id)) {
        let arn = cx.ec2_arn(&format!("security-group/{}", group.id));
        let reopen = |source: &Source| before.world(source).map_or_else(PortSet::default, |family| job.reopened(&arn, family, only));
        let current = rules_of(&read, &group.id).await.map_err(|error| ApplyError::after(done, error))?;
        let todo = restore(&group.closing, job.transport, &current, |source| before.world(source).is_some(), reopen);
        for (why, wide) in &todo.by_hand {
            let why = format!("{}: {why}", group.id);
            if wide.body.is_all_traffic() {
                // The whole rule would open what others closed: only the ports that this is about.
                let wanted = reopen(&wide.body.source);
                let bodies = wanted
                    .ranges()
                    .iter()
                    .map(|range| Body::ports(job.transport, *range, &wide.body.source, wide.body.description.as_deref()));
                by_hand.extend(bodies.map(|body| step(cx, &group.id, &why, &body, &[])));
            } else {
                let why = format!("{why}; look first whether another incident keeps a port of the rule closed");
                by_hand.push(step(cx, &group.id, &why, &wide.body, &pieces_there(group, wide, &current)));
            }
        }
        if only_looks && !todo.by_hand.is_empty() {
            continue;
        }
        match wire::authorize(&read, write, &group.id, &todo.authorize, &mut done).await {
            Ok(()) => {}
            Err(ApplyError { error: ActionError::Service { code, .. }, .. }) if code == "RulesPerSecurityGroupLimitExceeded" => {
                let full = format!("{} has no room for the rule that was there before", group.id);
                by_hand.extend(todo.authorize.iter().map(|body| step(cx, &group.id, &full, body, &[])));
                continue;
            }
            Err(error) => return Err(error),
        }
        let superfluous: Vec<Body> = todo.revoke.iter().map(|rule| rule.body.clone()).collect();
        wire::revoke(&read, write, &group.id, &superfluous, &mut done).await?;
        let now = rules_of(&read, &group.id).await.map_err(|error| ApplyError::after(done, error))?;
        for (part, family) in job.parts.iter().flat_map(|part| Family::BOTH.map(|family| (part, family))) {
            let attribute = Job::attribute(part, family);
            let wanted = only.iter().any(|key| key.resource == arn && key.attribute == attribute);
            let rules = open(&now, job.transport, &part.ports, |source| before.world(source) == Some(family));
            if wanted && !rules.is_empty() {
                restored.push(Difference { resource: arn.clone(), attribute, before: json!("closed"), after: super::described(&rules) });
            }
        }
    }
    if by_hand.is_empty() {
        return Ok(Undo::Restored(restored));
    }
    by_hand.extend(restored.iter().map(|change| {
        format!("nothing more to do for `{}` of {}: it was opened again as far as it is safe", change.attribute, change.resource)
    }));
    Ok(Undo::ByHand(by_hand))
}

/// The rules that a wide rule makes superfluous when a person puts it back.
fn pieces_there(group: &GroupBefore, wide: &Rule, current: &[Rule]) -> Vec<Rule> {
    let pieces = group.closing.splits.iter().filter(|split| split.wide == *wide).flat_map(|split| &split.pieces);
    let made = pieces.filter(|piece| group.closing.make.iter().any(|made| made.key() == piece.key()));
    made.filter_map(|piece| current.iter().find(|rule| rule.body.key() == piece.key())).cloned().collect()
}

fn step(cx: Cx<'_>, group: &str, why: &str, body: &Body, superfluous: &[Rule]) -> String {
    let place = format!("--region {} --group-id {group}", cx.cell.region);
    let mut text = format!(
        "{why}. If `{body}` shall be open again, in account {}: aws ec2 authorize-security-group-ingress {place} --ip-permissions '{}'",
        cx.cell.account,
        as_cli(body).replace('\'', "'\\''")
    );
    if !superfluous.is_empty() {
        let ids: Vec<&str> = superfluous.iter().map(|rule| rule.id.as_str()).collect();
        text.push_str(&format!(", then: aws ec2 revoke-security-group-ingress {place} --security-group-rule-ids {}", ids.join(" ")));
    }
    text
}
