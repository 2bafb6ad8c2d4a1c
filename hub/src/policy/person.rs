//! What a person may have done: the same policies, asked about people in their roles.

use cordon_shared::engine::{Entry, StepView, View};
use cordon_shared::journal::Sealed;
use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Map, Value, json};

use super::{Case, Policies, case, load::group, named, told, unfit};
use crate::config::people::Person;

/// What people do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// Say yes to a plan.
    Approve,
    /// Say no to it.
    Deny,
    /// Have changes put back.
    Undo,
    /// Answer a hold.
    Release,
    /// Have what failed tried again.
    Retry,
    /// End an incident.
    Close,
    /// Begin one by hand.
    Open,
    /// Stop changes.
    Freeze,
    /// Lift that.
    Thaw,
    /// Look at incidents, questions, freezes and budgets from afar.
    Look,
}

impl Doing {
    /// The word, as policies have it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Deny => "deny",
            Self::Undo => "undo",
            Self::Release => "release",
            Self::Retry => "retry",
            Self::Close => "close",
            Self::Open => "open",
            Self::Freeze => "freeze",
            Self::Thaw => "thaw",
            Self::Look => "look",
        }
    }
}

/// An incident that a person has something done about.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The incident.
    pub view: &'a View,
    /// Its entries.
    pub entries: &'a [Sealed],
    /// One step of it.
    pub step: Option<&'a StepView>,
}

impl About<'_> {
    /// The case that the policies were last asked about this step, or else about any: it knows the tags and the OUs' ids.
    fn case(&self) -> Option<Case> {
        self.step.and_then(|step| self.asked(Some(step))).or_else(|| self.asked(None))
    }

    /// The case that the policies were last asked about this step, or about any.
    fn asked(&self, of: Option<&StepView>) -> Option<Case> {
        self.entries.iter().rev().find_map(|sealed| match &sealed.entry {
            Entry::Judged { step, answer } if of.is_none_or(|of| of.key == *step) => serde_json::from_value(answer.asked.clone()).ok(),
            _ => None,
        })
    }

    /// Who opened it by hand, or joined it so.
    fn opened_by(&self) -> Vec<&str> {
        let by_hand = self.view.findings.iter().filter(|note| note.id.0.starts_with("cordon:opened/"));
        // `opened by NAME:1`, as inputs are named.
        let rest = by_hand.filter_map(|note| note.input.strip_prefix("opened by "));
        rest.map(|rest| rest.rsplit_once(':').map_or(rest, |(name, _)| name)).collect()
    }

    fn context(&self) -> Map<String, Value> {
        let mut context = Map::new();
        context.insert("playbook".to_owned(), json!(self.view.playbook.name));
        context.insert("severity".to_owned(), json!(self.view.severity()));
        context.insert("approvals".to_owned(), json!(self.step.map_or(0, |step| step.approvals.len())));
        context.insert("opened_by".to_owned(), json!(self.opened_by()));
        if let Some(step) = self.step {
            context.insert("step".to_owned(), json!(step.key.id));
            if let Some(case) = self.asked(Some(step)) {
                context.insert("risk".to_owned(), json!(group(case.risk)));
            }
        }
        context
    }
}

impl Policies {
    /// Whether a person may have this done now, by the clocks of a time zone.
    ///
    /// # Errors
    /// Why not, for whoever asked. What cannot be asked is a no.
    pub fn may(&self, person: &Person, doing: Doing, about: Option<&About<'_>>, now: Timestamp, zone: &TimeZone) -> Result<(), String> {
        match self.asked(person, doing, about, now, zone) {
            Ok(None) => Ok(()),
            Ok(Some(against)) => {
                let roles = if person.roles.is_empty() { "no role".to_owned() } else { format!("the roles {}", person.roles.join(", ")) };
                let why = match against.as_slice() {
                    [] => "no policy permits it".to_owned(),
                    some => format!("forbidden by {}", self.list(some)),
                };
                let hint = match doing {
                    _ if !against.is_empty() => "",
                    Doing::Approve | Doing::Deny => "; the policies that come with Cordon ask for the role `approver`",
                    Doing::Look | Doing::Freeze => "",
                    _ => "; the policies that come with Cordon ask for the role `operator`",
                };
                Err(format!("{}, who has {roles}, may not {} here: {why}{hint}", person.name, doing.word()))
            }
            Err((_, why)) => Err(format!("whether {} may {} cannot be decided, so it is not done: {why}", person.name, doing.word())),
        }
    }

    /// `Some`: the policies that forbid it, or none that permits it.
    fn asked(
        &self,
        person: &Person,
        doing: Doing,
        about: Option<&About<'_>>,
        now: Timestamp,
        zone: &TimeZone,
    ) -> Result<Option<Vec<String>>, (Vec<String>, String)> {
        let local = zone.to_datetime(now);
        let uid = |kind: &str, id: &str| json!({ "type": kind, "id": id });
        let case = about.map(|about| about.case().unwrap_or_else(|| Case::bare(about.view)));
        let mut entities =
            case.as_ref().map_or_else(|| vec![json!({ "uid": uid("Hub", "cordon"), "attrs": {}, "parents": [] })], Case::entities);
        let roles: Vec<Value> = person.roles.iter().map(|role| uid("Role", role)).collect();
        entities.extend(roles.iter().map(|role| json!({ "uid": role, "attrs": {}, "parents": [] })));
        entities.push(json!({ "uid": uid("Person", &person.name), "attrs": { "name": person.name }, "parents": roles }));
        let entities =
            cedar_policy::Entities::from_json_value(Value::Array(entities), Some(&*self.schema)).map_err(|error| unfit(&told(&error)))?;
        let mut context = about.map(About::context).unwrap_or_default();
        context.insert("hour".to_owned(), json!(local.hour()));
        context.insert("minute".to_owned(), json!(local.minute()));
        context.insert("weekday".to_owned(), json!(case::weekday(local.weekday())));
        let on = case.as_ref().map_or(("Hub", "cordon"), |case| ("Resource", case.subject.name.as_str()));
        let named = named([("Person", &person.name), ("Action", doing.word()), on])?;
        let said = self.ask(Value::Object(context), &named, &entities)?;
        Ok((!said.allows).then_some(said.because))
    }
}
