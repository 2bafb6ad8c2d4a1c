//! Closing, and reading back that it is closed.

use std::collections::BTreeSet;

use aws_sdk_ec2::Client;
use cordon_shared::plan::Verdict;

use super::{
    Before, GroupOutcome, Job, Outcome,
    rule::{Body, RuleKey},
    split::{Split, open},
    wire::{self, keys, rules_of},
};
use crate::action::{ActionError, ApplyError};

pub(super) async fn apply(read: &Client, write: &Client, before: &Before) -> Result<Outcome, ApplyError> {
    let mut done = 0;
    let mut groups = Vec::new();
    for group in &before.groups {
        let current = keys(&rules_of(read, &group.id).await.map_err(|error| ApplyError::after(done, error))?);
        // A wide rule that is not there any more is not replaced: what stands in its place would open what somebody closed.
        let live: Vec<&Split> = group.closing.splits.iter().filter(|split| current.contains(&split.wide.body.key())).collect();
        let needed: BTreeSet<RuleKey> = live.iter().flat_map(|split| &split.pieces).map(Body::key).collect();
        let pieces: Vec<Body> = group.closing.make.iter().filter(|piece| needed.contains(&piece.key())).cloned().collect();
        wire::authorize(read, write, &group.id, &pieces, &mut done).await?;
        let wide: Vec<Body> = live.iter().map(|split| split.wide.body.clone()).collect();
        wire::revoke(read, write, &group.id, &wide, &mut done).await?;
        let words = |bodies: &[Body]| bodies.iter().map(Body::to_string).collect();
        groups.push(GroupOutcome { group: group.id.clone(), revoked: words(&wide), authorized: words(&pieces) });
    }
    Ok(Outcome { groups })
}

pub(super) async fn verify(read: &Client, job: &Job, before: &Before) -> Result<Verdict, ActionError> {
    let attacked = job.order.ports();
    let ids: Vec<String> = before.groups.iter().map(|group| group.id.clone()).collect();
    let there: BTreeSet<String> = wire::groups(read, &ids).await?.iter().filter_map(|group| group.group_id()).map(str::to_owned).collect();
    let rules = wire::rules(read, &ids).await?;
    let mut missing = None;
    for group in before.groups.iter().filter(|group| there.contains(&group.id)) {
        let rules = rules.get(&group.id).map(Vec::as_slice).unwrap_or_default();
        let ours: BTreeSet<RuleKey> = group.closing.splits.iter().map(|split| split.wide.body.key()).collect();
        for rule in open(rules, job.transport, &attacked, |source| before.world(source).is_some()) {
            if ours.contains(&rule.body.key()) {
                missing.get_or_insert_with(|| format!("{} still has {} ({})", group.id, rule.id, rule.body));
            } else {
                return Ok(Verdict::Drifted { detail: format!("{} was opened again by {} ({})", group.id, rule.id, rule.body) });
            }
        }
        let present = keys(rules);
        for piece in group.closing.splits.iter().flat_map(|split| &split.pieces).filter(|piece| !present.contains(&piece.key())) {
            // Another incident may have closed a port of it since, which leaves rules for its other ports.
            let ports = piece.opens(job.transport);
            let in_part = rules.iter().any(|rule| rule.body.source == piece.source && rule.body.opens(job.transport).meets(&ports));
            if !in_part {
                missing.get_or_insert_with(|| format!("{} lacks `{piece}`, which keeps the other ports open", group.id));
            }
        }
    }
    Ok(missing.map_or(Verdict::InEffect, |detail| Verdict::NotInEffect { detail }))
}
