//! How closed ports are opened again, without touching what anybody else did since.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    ports::PortSet,
    rule::{Body, Rule, RuleKey, Source, Transport},
    split::Closing,
};

/// What is to be done to a group, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restore {
    /// Rules to make; some may be there already, from an attempt that did not end.
    pub authorize: Vec<Body>,
    /// Rules that are then superfluous.
    pub revoke: Vec<Rule>,
    /// What only a person can do: why, and which rule it is about.
    pub by_hand: Vec<(String, Rule)>,
}

/// How the ports in `reopen` are opened again in a group that now has the rules `current`.
///
/// Only ports that we closed are opened. What we made is recognised by being what we planned, a part of it (someone closed another
/// port of it), or a rule that has grown over it (another closing of ours was undone); a rule that was there before us is never ours.
/// Pieces that meet an opened port become one rule with it. So two closings of one wide rule are undone in any order: ports that
/// the other one closed stay closed, and when both are undone the wide rule is back.
#[must_use]
pub fn restore(
    closing: &Closing,
    transport: Transport,
    current: &[Rule],
    world: impl Fn(&Source) -> bool,
    reopen: impl Fn(&Source) -> PortSet,
) -> Restore {
    let mut todo = Restore::default();
    let mut revoke: BTreeMap<RuleKey, &Rule> = BTreeMap::new();
    let wide_keys: BTreeSet<RuleKey> = closing.splits.iter().map(|split| split.wide.body.key()).collect();
    let present: BTreeSet<RuleKey> = current.iter().map(|rule| rule.body.key()).collect();
    for split in &closing.splits {
        let wide = &split.wide.body;
        let opens = wide.opens(transport);
        let wanted = reopen(&wide.source).and(&opens);
        if wanted.is_empty() {
            continue;
        }
        let made: Vec<&Body> = split.pieces.iter().filter(|piece| !closing.standing.contains(&piece.key())).collect();
        let made_keys: BTreeSet<RuleKey> = made.iter().map(|piece| piece.key()).collect();
        let kept = split.pieces.iter().fold(PortSet::default(), |all, piece| all.union(&piece.opens(transport)));
        if wide.is_all_traffic() {
            all_traffic(&mut todo, &mut revoke, closing, split, &wanted, transport, current, &world);
            continue;
        }
        // Rules that could be ours: like the wide one in all but their ports, and not there before us. Of two wide rules that leave
        // one piece between them, it has the description of the first.
        let like: Vec<&Rule> = current
            .iter()
            .filter(|rule| {
                let key = rule.body.key();
                !rule.body.is_all_traffic()
                    && !closing.standing.contains(&key)
                    && !wide_keys.contains(&key)
                    && !rule.body.opens(transport).is_empty()
                    && same_source(&rule.body, wide)
                    && (made_keys.contains(&key) || same_description(&rule.body, wide))
            })
            .collect();
        let missing: Vec<PortSet> =
            made.iter().filter(|piece| !present.contains(&piece.key())).map(|piece| piece.opens(transport)).collect();
        let ours: Vec<&Rule> = like
            .iter()
            .copied()
            .filter(|rule| {
                let ports = rule.body.opens(transport);
                made_keys.contains(&rule.body.key())
                    || missing.iter().any(|piece| piece.covers(&ports) || (ports.covers(piece) && !ports.meets(&wanted)))
                    // What an attempt of this undo that did not end has made already.
                    || (opens.covers(&ports) && ports.meets(&wanted) && ports.meets(&kept))
            })
            .collect();
        let inside: Vec<&Rule> = like.iter().copied().filter(|rule| opens.covers(&rule.body.opens(transport))).collect();
        // With all that stands inside the wide rule it may be whole again; otherwise with what is surely ours.
        // A piece that was there before us counts, and stays.
        let lent = split.pieces.iter().filter(|piece| present.contains(&piece.key()) && !made_keys.contains(&piece.key()));
        let lent = lent.fold(PortSet::default(), |all, piece| all.union(&piece.opens(transport)));
        let reach_of = |rules: &[&Rule]| union(rules, transport).union(&wanted).union(&lent);
        let whole = |rules: &[&Rule]| reach_of(rules).and(&opens) == opens;
        let mergeable = if whole(&ours) || !whole(&inside) { ours } else { inside };
        let reach = reach_of(&mergeable);
        let runs: Vec<(u16, u16)> = reach.ranges().iter().copied().filter(|run| PortSet::of([*run]).meets(&wanted)).collect();
        let bodies: Vec<Body> = runs.iter().map(|run| Body::ports(transport, *run, &wide.source, wide.description.as_deref())).collect();
        let run_keys: BTreeSet<RuleKey> = bodies.iter().map(Body::key).collect();
        let reopened: Vec<&Rule> = current
            .iter()
            .filter(|rule| {
                let key = rule.body.key();
                world(&rule.body.source)
                    && rule.body.source.family() == wide.source.family()
                    && rule.body.opens(transport).meets(&wanted)
                    && !wide_keys.contains(&key)
                    && !run_keys.contains(&key)
                    && !todo.authorize.iter().any(|body| body.key() == key)
            })
            .collect();
        if !present.contains(&wide.key())
            && let Some(other) = reopened.first()
        {
            let why = format!("{} is open again by a rule that Cordon did not make ({}, {})", wanted, other.id, other.body);
            todo.by_hand.push((why, split.wide.clone()));
            continue;
        }
        let whole_again = run_keys.contains(&wide.key()) || present.contains(&wide.key());
        if whole_again {
            // The very rule, as it was written.
            todo.authorize.push(wide.clone());
        } else {
            todo.authorize.extend(bodies);
        }
        let covered = if whole_again { opens.union(&PortSet::of(runs)) } else { PortSet::of(runs) };
        for rule in mergeable.into_iter().filter(|rule| covered.covers(&rule.body.opens(transport)) && !run_keys.contains(&rule.body.key()))
        {
            revoke.insert(rule.body.key(), rule);
        }
    }
    let mut seen = BTreeSet::new();
    todo.authorize.retain(|body| seen.insert(body.key()));
    todo.revoke = revoke.into_iter().filter(|(key, _)| !seen.contains(key)).map(|(_, rule)| rule.clone()).collect();
    todo
}

fn same_source(one: &Body, other: &Body) -> bool {
    let at = |body: &Body| Body { protocol: "-1".to_owned(), ..body.clone() }.key();
    at(one) == at(other)
}

fn same_description(one: &Body, other: &Body) -> bool {
    one.description.as_deref().unwrap_or_default() == other.description.as_deref().unwrap_or_default()
}

fn union(rules: &[&Rule], transport: Transport) -> PortSet {
    rules.iter().fold(PortSet::default(), |all, rule| all.union(&rule.body.opens(transport)))
}

/// A rule for all traffic comes back only whole: when everything that replaced it still stands and nothing else was closed since.
#[expect(clippy::too_many_arguments, reason = "one branch of one function, apart for its length")]
fn all_traffic<'r>(
    todo: &mut Restore,
    revoke: &mut BTreeMap<RuleKey, &'r Rule>,
    closing: &Closing,
    split: &super::split::Split,
    wanted: &PortSet,
    transport: Transport,
    current: &'r [Rule],
    world: &impl Fn(&Source) -> bool,
) {
    let wide = &split.wide.body;
    let find = |body: &Body| current.iter().find(|rule| rule.body.key() == body.key());
    let kept = split.pieces.iter().fold(PortSet::default(), |all, piece| all.union(&piece.opens(transport)));
    let there = find(wide).is_some();
    if !there {
        let ours = |rule: &Rule| closing.splits.iter().any(|split| split.wide.body.key() == rule.body.key());
        let others = current.iter().find(|rule| {
            world(&rule.body.source)
                && rule.body.source.family() == wide.source.family()
                && rule.body.opens(transport).meets(wanted)
                && !ours(rule)
        });
        let problem = if let Some(other) = others {
            Some(format!("{wanted} is open again by {} ({})", other.id, other.body))
        } else if kept.union(wanted) != PortSet::all() {
            Some("other ports that were closed with it stay closed".to_owned())
        } else {
            split
                .pieces
                .iter()
                .find(|piece| find(piece).is_none())
                .map(|piece| format!("the rule `{piece}` that replaced part of it is not there any more"))
        };
        if let Some(problem) = problem {
            todo.by_hand.push((problem, split.wide.clone()));
            return;
        }
    }
    todo.authorize.push(wide.clone());
    for piece in split.pieces.iter().filter(|piece| !closing.standing.contains(&piece.key())) {
        if let Some(rule) = find(piece) {
            revoke.insert(rule.body.key(), rule);
        }
    }
}
