//! Opt-outs in the rule: which count for a step, which of them appeared after the attack began, and whether a person is asked about those.
//!
//! An opt-out is obeyed. The one exception (ADR 19): where **all** that count are known to have appeared after the attack began, and the
//! policies say so, a person is asked instead. It is never passed over unasked, and the yes is bound to the opt-outs that it was asked about.

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Ask, Facts, OptOutAnswer, PolicyVerdict, hold};
use crate::{
    engine::{Hold, View},
    id::Region,
    optout::{self, Since},
    plan::Plan,
    words::canonical,
};

/// An opt-out that counts for a step.
#[derive(Debug, Clone)]
pub struct Met<'a> {
    /// The account, OU or resource that carries the tag.
    pub whose: &'a str,
    /// Its value.
    pub value: &'a str,
    /// Since when it is there, where that was looked up.
    pub since: Option<&'a Since>,
    remark: Option<String>,
}

/// The opt-outs that count for an action of a run in a Region (`None`: the subject's own): those of account and OUs, then those of the plan.
pub fn met<'a>(view: &View, action: &str, region: Option<&Region>, facts: &'a Facts, plan: &'a Plan, now: Timestamp) -> Vec<Met<'a>> {
    let region = region.unwrap_or(&view.subject.cell.region).as_str();
    let work = optout::Work { playbook: &view.playbook.name, action: Some(action), region };
    let of_accounts = facts.opt_outs.iter().map(|fact| (fact.whose.as_str(), fact.value.as_str(), fact.since.as_ref()));
    let of_resources = plan.opt_outs.iter().map(|seen| (seen.resource.as_str(), seen.value.as_str(), seen.since.as_ref()));
    of_accounts
        .chain(of_resources)
        .filter_map(|(whose, value, since)| {
            let read = optout::read(value, work, now);
            read.changes.then_some(Met { whose, value, since, remark: read.remark })
        })
        .collect()
}

/// When the attack of a run began: the earliest time at which a provider says that it saw what one of its findings is about. Where none
/// says, when the run was detected, by which fewer opt-outs are new.
#[must_use]
pub fn attack_began(view: &View) -> Timestamp {
    let seen = |finding: &Value| finding.get("first_seen").and_then(Value::as_str).and_then(|at| at.parse::<Timestamp>().ok());
    view.findings.iter().filter_map(|note| seen(&note.finding)).min().unwrap_or(view.detected_at)
}

/// Whether there are opt-outs and all of them are known to have appeared after the attack began. One that is older, or of which nobody
/// knows, is obeyed whatever else is new.
#[must_use]
pub fn all_new(met: &[Met<'_>], began: Timestamp) -> bool {
    !met.is_empty() && met.iter().all(|met| met.is_new(began))
}

impl Met<'_> {
    fn is_new(&self, began: Timestamp) -> bool {
        self.since.is_some_and(|since| since.came_after(began))
    }

    fn words(&self, began: Timestamp) -> String {
        let remark = self.remark.as_ref().map(|remark| format!(" ({remark})")).unwrap_or_default();
        let since = self.since.map(|since| format!("; {}", since.words(began))).unwrap_or_default();
        format!("{} is opted out by its tag, value `{}`{remark}{since}", self.whose, self.value)
    }
}

/// What opt-outs make of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stand {
    /// None counts.
    None,
    /// They are obeyed.
    Obeyed(Hold),
    /// So many persons, at least one, are asked.
    Questioned { why: String, people: u8 },
}

/// Weighs the opt-outs of a step; `digest` is that of what was asked, with what it questions.
pub(super) fn weigh(view: &View, ask: &Ask, digest: &str, now: Timestamp) -> Stand {
    let met = met(view, ask.action, ask.region.as_ref(), &ask.facts, &ask.plan, now);
    let Some(first) = met.first() else { return Stand::None };
    let began = attack_began(view);
    let obeyed = |why: String| Stand::Obeyed(hold("opted-out", why));
    if let Some(old) = met.iter().find(|met| !met.is_new(began)) {
        let others: Vec<String> = met.iter().filter(|met| met.is_new(began)).map(|met| met.words(began)).collect();
        let others = if others.is_empty() { String::new() } else { format!(". Besides: {}", others.join("; ")) };
        return obeyed(format!("{}{others}", old.words(began)));
    }
    let told = met.iter().map(|met| met.words(began)).collect::<Vec<_>>().join("; ");
    let Some((answer, people)) = questioned(ask) else {
        let why =
            ask.policy.opt_out.as_ref().map_or_else(|| "the policies were not asked about it".to_owned(), |answer| answer.why.clone());
        return obeyed(format!("{told}. It is obeyed all the same: {why}"));
    };
    // What was begun had its yes to other circumstances: without exactly these opt-outs nobody was asked about them.
    if view.step(&ask.step).is_some_and(|step| step.fixed && step.digest != digest) {
        return obeyed(format!(
            "{told}. {} had begun before, when nobody was asked about it: undo it, or have the tag taken off",
            first.whose
        ));
    }
    Stand::Questioned { why: format!("{told}; {}", answer.why), people }
}

/// Whether the policies question what is new, and how many persons they want: at least one.
fn questioned(ask: &Ask) -> Option<(&OptOutAnswer, u8)> {
    let answer = ask.policy.opt_out.as_ref()?;
    match answer.verdict {
        PolicyVerdict::Allow => Some((answer, 1)),
        PolicyVerdict::Ask { people } => Some((answer, people.max(1))),
        PolicyVerdict::Deny | PolicyVerdict::Failed => None,
    }
}

/// What a yes to a step is bound to: its plan, and the opt-outs that it is asked about. A yes to the plan without them, or with others, is none.
#[must_use]
pub fn digest(view: &View, ask: &Ask, now: Timestamp) -> String {
    let plan = ask.plan.digest(ask.action, &ask.with);
    let met = met(view, ask.action, ask.region.as_ref(), &ask.facts, &ask.plan, now);
    if !all_new(&met, attack_began(view)) || questioned(ask).is_none() {
        return plan;
    }
    let mut over: Vec<(&str, &str)> = met.iter().map(|met| (met.whose, met.value)).collect();
    over.sort_unstable();
    over.dedup();
    let body = canonical(json!({ "plan": plan, "over": over }));
    hex::encode(Sha256::digest(body.to_string().as_bytes()))
}
