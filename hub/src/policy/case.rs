//! What policies are asked about: a step and its circumstances, as data that is journalled and can be asked about again.

use std::collections::{BTreeMap, BTreeSet};

use cordon_shared::{
    engine::View,
    gate::Caps,
    mode::Mode,
    plan::{Plan, Risk, Seat},
    playbook::Step,
};
use cordon_spoke::action::Action;
use jiff::{Timestamp, civil::Weekday, tz::TimeZone};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::load::group;
use crate::org::AccountFacts;

type Tags = BTreeMap<String, String>;

/// A step that policies are asked about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// The playbook's name.
    pub playbook: String,
    /// The action's name.
    pub action: String,
    /// The action's risk.
    pub risk: Risk,
    /// What the incident is about.
    pub subject: Subject,
    /// Its account.
    pub account: Account,
    /// The values of the tags `environment` on it and above it, in lower case.
    pub environments: BTreeSet<String>,
    /// The values of the tags `criticality`, likewise.
    pub criticalities: BTreeSet<String>,
    /// The circumstances.
    pub around: Around,
}

/// What the incident is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Subject {
    /// Its ARN, or its id.
    pub name: String,
    /// `instance`, …
    pub kind: String,
    /// The service's own id.
    pub id: String,
    /// Its Region.
    pub region: String,
    /// Its tags, as far as the plan read them.
    #[serde(default)]
    pub tags: Tags,
}

/// An account and where it hangs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// 12 digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its tags.
    #[serde(default)]
    pub tags: Tags,
    /// The root and the OUs down to the one that holds it.
    pub path: Vec<Unit>,
}

/// An OU, or the root.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unit {
    /// `ou-…` or `r-…`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its tags.
    #[serde(default)]
    pub tags: Tags,
}

/// Circumstances; `cordon.cedarschema` says what each is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Around {
    /// The step's phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Where it works.
    pub seat: Seat,
    /// The strictest mode that applies.
    pub mode: Mode,
    /// The provider's severity, 0 to 100.
    pub severity: u8,
    /// The finding's type.
    pub finding_type: String,
    /// `TARGET` or `ACTOR`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// Seconds since the provider first saw it.
    pub finding_age: i64,
    /// Seconds since the oldest opt-out that counts is known to be there, where that is known of all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opt_out_age: Option<i64>,
    /// Whether there are opt-outs that count, and all of them are known to have appeared after the attack began.
    #[serde(default)]
    pub opt_out_new: bool,
    /// The resources that it would change, as the caps count them.
    pub blast_radius: u64,
    /// Resources changed in the last hour in the account, and in the organization.
    pub spent: (u64, u64),
    /// Percent that is spent of the fullest budget that the step counts against.
    #[serde(default)]
    pub budget_spent: u32,
    /// The caps on them.
    pub caps: (u32, u32),
    /// The local hour.
    pub hour: i8,
    /// The local minute.
    pub minute: i8,
    /// `monday` to `sunday`.
    pub weekday: String,
}

/// What a case is made of.
#[derive(Debug, Clone, Copy)]
pub struct Matter<'a> {
    /// The run.
    pub view: &'a View,
    /// What is asked about.
    pub deed: Deed<'a>,
    /// Its plan; a probe has none.
    pub plan: Option<&'a Plan>,
    /// The strictest of the modes that apply.
    pub mode: Mode,
    /// The account.
    pub facts: &'a AccountFacts,
    /// Resources changed in the last hour in the account, and in the organization.
    pub spent: (u64, u64),
    /// The caps on them.
    pub caps: Caps,
    /// How much is spent of the fullest budget that the step counts against, in percent.
    pub budget_spent: u32,
    /// What is known of the opt-outs that count.
    pub opt_outs: OptOuts,
}

/// What policies are asked about: a step's action, or the looking at an incident as a whole.
#[derive(Debug, Clone, Copy)]
pub enum Deed<'a> {
    /// An action, as a step of a phase.
    Step(&'a Step, &'a Action),
    /// Looking, in spite of an opt-out that forbids it.
    Looking,
}

impl Deed<'_> {
    fn action(&self) -> (&str, Risk, Seat) {
        match self {
            Self::Step(_, action) => (action.name, action.risk, action.seat),
            Self::Looking => (super::QUESTION, Risk::ReadOnly, Seat::Member),
        }
    }
}

/// What is known of the opt-outs that count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OptOuts {
    /// Since when the oldest is known to be there; `None`: there is none, or of one nobody knows.
    pub since: Option<Timestamp>,
    /// Whether there are any, and all of them appeared after the attack began.
    pub new: bool,
}

impl Case {
    /// The case of a step now, by the clocks of a time zone.
    #[must_use]
    pub fn new(matter: Matter<'_>, now: Timestamp, zone: &TimeZone) -> Self {
        let Matter { view, deed, plan, mode, facts, spent, caps, budget_spent, opt_outs } = matter;
        let (action, risk, seat) = deed.action();
        let local = zone.to_datetime(now);
        let finding = view.finding();
        let text = |name: &str| finding.get(name).and_then(Value::as_str).map(str::to_owned);
        let seen = text("first_seen").or_else(|| text("updated_at")).and_then(|at| at.parse().ok()).unwrap_or(view.detected_at);
        let word = |value: Value| value.as_str().map(str::to_owned);
        let of_plan = plan.map(|plan| &plan.tags);
        let path: Vec<Unit> = facts
            .path
            .0
            .iter()
            .map(|unit| Unit {
                id: unit.id.clone(),
                name: unit.name.clone(),
                tags: facts.unit_tags.get(&unit.id).cloned().unwrap_or_default(),
            })
            .collect();
        let everywhere = || {
            let above = path.iter().map(|unit| &unit.tags).chain([&facts.tags]);
            above.chain(of_plan.into_iter().flat_map(BTreeMap::values))
        };
        let (environments, criticalities) = (values(everywhere(), "environment"), values(everywhere(), "criticality"));
        Self {
            playbook: view.playbook.name.clone(),
            action: action.to_owned(),
            risk,
            subject: Subject {
                name: view.subject.name().to_owned(),
                kind: word(json!(view.subject.kind)).unwrap_or_default(),
                id: view.subject.id.clone(),
                region: view.subject.cell.region.to_string(),
                tags: of_plan.and_then(|tags| tags.get(view.subject.name())).cloned().unwrap_or_default(),
            },
            account: Account { id: facts.account.id.to_string(), name: facts.account.name.clone(), tags: facts.tags.clone(), path },
            environments,
            criticalities,
            around: Around {
                phase: match deed {
                    Deed::Step(step, _) => step.phase.and_then(|phase| word(json!(phase))),
                    Deed::Looking => None,
                },
                seat,
                mode,
                severity: view.severity(),
                finding_type: text("type").unwrap_or_default(),
                part: view.role().and_then(|role| word(json!(role))),
                finding_age: now.duration_since(seen).as_secs().max(0),
                opt_out_age: opt_outs.since.map(|since| now.duration_since(since).as_secs().max(0)),
                opt_out_new: opt_outs.new,
                blast_radius: plan.map_or(0, |plan| u64::try_from(plan.counted().len()).unwrap_or(u64::MAX)),
                spent,
                budget_spent,
                caps: (caps.per_account_hour, caps.per_organization_hour),
                hour: local.hour(),
                minute: local.minute(),
                weekday: weekday(local.weekday()).to_owned(),
            },
        }
    }

    /// What is known of an incident about which the policies were never asked: its subject and account, and no OU.
    pub(super) fn bare(view: &View) -> Self {
        let word = |value: Value| value.as_str().map(str::to_owned);
        let name = view.account.as_ref().and_then(|account| account.get("name")).and_then(Value::as_str).unwrap_or_default();
        Self {
            playbook: view.playbook.name.clone(),
            action: String::new(),
            risk: Risk::ReadOnly,
            subject: Subject {
                name: view.subject.name().to_owned(),
                kind: word(json!(view.subject.kind)).unwrap_or_default(),
                id: view.subject.id.clone(),
                region: view.subject.cell.region.to_string(),
                tags: Tags::new(),
            },
            account: Account { id: view.subject.cell.account.to_string(), name: name.to_owned(), tags: Tags::new(), path: Vec::new() },
            environments: BTreeSet::new(),
            criticalities: BTreeSet::new(),
            around: Around {
                phase: None,
                seat: Seat::Hub,
                mode: view.mode,
                severity: 0,
                finding_type: String::new(),
                part: None,
                finding_age: 0,
                opt_out_age: None,
                opt_out_new: false,
                blast_radius: 0,
                spent: (0, 0),
                budget_spent: 0,
                caps: (0, 0),
                hour: 0,
                minute: 0,
                weekday: String::new(),
            },
        }
    }

    /// The risk as policies call it.
    #[must_use]
    pub fn risk_word(&self) -> &'static str {
        group(self.risk)
    }

    /// Type and id of principal, action and resource.
    pub(super) fn who_what_on<'a>(&'a self, action: &'a str) -> [(&'static str, &'a str); 3] {
        [("Playbook", self.playbook.as_str()), ("Action", action), ("Resource", self.subject.name.as_str())]
    }

    /// The entities, as Cedar reads them.
    pub(super) fn entities(&self) -> Vec<Value> {
        let uid = |kind: &str, id: &str| json!({ "type": kind, "id": id });
        let mut entities = vec![json!({ "uid": uid("Playbook", &self.playbook), "attrs": {}, "parents": [] })];
        let mut above: Option<Value> = None;
        for (place, unit) in self.account.path.iter().enumerate() {
            let here = uid(if place == 0 { "Organization" } else { "OrgUnit" }, &unit.id);
            let attrs = if place == 0 { json!({}) } else { json!({ "name": unit.name }) };
            let parents: Vec<Value> = above.into_iter().collect();
            entities.push(json!({ "uid": here, "attrs": attrs, "parents": parents, "tags": unit.tags }));
            above = Some(here);
        }
        let account = uid("Account", &self.account.id);
        let parents: Vec<Value> = above.into_iter().collect();
        entities.push(json!({ "uid": account, "attrs": { "name": self.account.name }, "parents": parents, "tags": self.account.tags }));
        let units: BTreeSet<String> = self.account.path.iter().skip(1).map(|unit| unit.name.to_lowercase()).collect();
        let attrs = json!({
            "kind": self.subject.kind, "id": self.subject.id, "region": self.subject.region, "account": account,
            "units": units, "environments": self.environments, "criticalities": self.criticalities,
        });
        let resource = uid("Resource", &self.subject.name);
        entities.push(json!({ "uid": resource, "attrs": attrs, "parents": [account], "tags": self.subject.tags }));
        entities
    }

    /// The circumstances when so many persons have said yes, as Cedar reads them.
    pub(super) fn context(&self, approvals: u8) -> Value {
        let around = &self.around;
        let mut context = Map::new();
        let mut set = |name: &str, value: Value| drop(context.insert(name.to_owned(), value));
        set("approvals", json!(approvals));
        set("risk", json!(self.risk_word()));
        set("seat", json!(around.seat));
        set("mode", json!(around.mode.as_str()));
        set("severity", json!(around.severity));
        set("finding_type", json!(around.finding_type));
        set("finding_age", json!(around.finding_age));
        set("blast_radius", json!(around.blast_radius));
        set("spent", json!({ "account": around.spent.0, "organization": around.spent.1 }));
        set("budget_spent", json!(around.budget_spent));
        set("caps", json!({ "account": around.caps.0, "organization": around.caps.1 }));
        set("opt_out_new", json!(around.opt_out_new));
        set("hour", json!(around.hour));
        set("minute", json!(around.minute));
        set("weekday", json!(around.weekday));
        for (name, value) in [("phase", &around.phase), ("part", &around.part)] {
            if let Some(value) = value {
                set(name, json!(value));
            }
        }
        if let Some(age) = around.opt_out_age {
            set("opt_out_age", json!(age));
        }
        Value::Object(context)
    }
}

/// The values of all tags with this key, whatever its case, in lower case.
fn values<'t>(tags: impl Iterator<Item = &'t Tags>, key: &str) -> BTreeSet<String> {
    let all = tags.flatten().filter(|(name, _)| name.eq_ignore_ascii_case(key));
    all.map(|(_, value)| value.trim().to_lowercase()).collect()
}

pub(super) fn weekday(day: Weekday) -> &'static str {
    match day {
        Weekday::Monday => "monday",
        Weekday::Tuesday => "tuesday",
        Weekday::Wednesday => "wednesday",
        Weekday::Thursday => "thursday",
        Weekday::Friday => "friday",
        Weekday::Saturday => "saturday",
        Weekday::Sunday => "sunday",
    }
}
