//! Policies: what may be done, as the organization writes it down in Cedar. The gate obeys the strictest of all that has a say; policies
//! never loosen it.
//!
//! A policy speaks of a playbook (principal), an action, and a resource in its account and OUs, under circumstances. It asks people by
//! forbidding while too few have said yes: `forbid (…) when { context.approvals < 2 }`. So the answer is found by asking Cedar with no yes,
//! with one, with two, …: the first number that it allows is how many persons are asked.

pub mod case;
pub mod keeper;
mod load;
pub mod person;
pub mod replay;

use std::{collections::BTreeMap, sync::Arc};

use cedar_policy::{Authorizer, Context, Decision, Entities, EntityUid, PolicyId, PolicySet, Request, Schema};
use cordon_shared::{
    gate::{MOST_PEOPLE, OptOutAnswer, PolicyAnswer, PolicyVerdict},
    playbook::PlaybookError,
};
use serde_json::Value;

pub use case::Case;
pub use keeper::Keeper;
pub use load::{BUILT_IN, LoadError, SCHEMA, Texts, schema_text, texts};

/// The action that permits a person to be asked in place of obeying an opt-out that is new.
pub const QUESTION: &str = "question-opt-out";

/// A sound set of policies.
#[derive(Debug)]
pub struct Policies {
    set: PolicySet,
    schema: Arc<Schema>,
    known: BTreeMap<String, Known>,
    /// SHA-256 of the files' names and texts.
    pub digest: String,
    /// What its owner should know of it.
    pub warnings: Vec<PlaybookError>,
}

/// What is known of a policy besides its rule.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Known {
    /// Its name: its `@id`, or the file's name and its number there.
    pub name: String,
    /// The file.
    pub file: String,
    /// `permit` or `forbid`.
    pub effect: &'static str,
    /// Its `@why`.
    pub why: String,
    /// Its text.
    pub text: String,
}

/// What Cedar says at one number of approvals.
struct Said {
    allows: bool,
    because: Vec<String>,
}

impl Policies {
    /// The policies, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Known> {
        self.known.values()
    }

    /// What the policies say to a step.
    #[must_use]
    pub fn judge(&self, case: &Case) -> PolicyAnswer {
        let answer = |verdict, why, policies| PolicyAnswer {
            verdict,
            why,
            policies,
            set: self.digest.clone(),
            opt_out: case.around.opt_out_new.then(|| self.question(case)),
            asked: serde_json::to_value(case).unwrap_or(Value::Null),
        };
        match self.people(case, &case.action) {
            Ok((verdict, policies)) => answer(verdict, self.words(verdict, &policies, case), policies),
            Err((policies, why)) => answer(PolicyVerdict::Failed, why, policies),
        }
    }

    /// What the policies say to asking persons in place of obeying an opt-out that is new. Whatever is no permit obeys it.
    #[must_use]
    pub fn question(&self, case: &Case) -> OptOutAnswer {
        let (verdict, policies) = match self.people(case, QUESTION) {
            Ok(said) => said,
            Err((policies, why)) => return OptOutAnswer { verdict: PolicyVerdict::Failed, why, policies },
        };
        let (list, many) = (self.list(&policies), policies.len() != 1);
        let (policy, s) = if many { ("policies", "") } else { ("policy", "s") };
        let why = match verdict {
            PolicyVerdict::Allow => format!("{policy} {list} question{s} it"),
            PolicyVerdict::Ask { people } => format!("{policy} {list} question{s} it, with {people} persons"),
            PolicyVerdict::Deny | PolicyVerdict::Failed if policies.is_empty() => "no policy questions it".to_owned(),
            PolicyVerdict::Deny | PolicyVerdict::Failed => format!("{policy} {list} forbid{s} to question it"),
        };
        OptOutAnswer { verdict, why, policies }
    }

    /// The verdict and the policies that it comes from; or which policies cannot be evaluated, and why.
    fn people(&self, case: &Case, action: &str) -> Result<(PolicyVerdict, Vec<String>), (Vec<String>, String)> {
        let entities =
            Entities::from_json_value(Value::Array(case.entities()), Some(&*self.schema)).map_err(|error| unfit(&told(&error)))?;
        let named = named(case.who_what_on(action))?;
        let mut against: Vec<String> = Vec::new();
        for people in 0..=MOST_PEOPLE {
            let said = self.ask(case.context(people), &named, &entities)?;
            if said.allows && people == 0 {
                return Ok((PolicyVerdict::Allow, said.because));
            }
            if said.allows {
                // Where nothing forbade it, what allows it only now is what asks.
                let deciding = if against.is_empty() { said.because } else { against };
                return Ok((PolicyVerdict::Ask { people }, deciding));
            }
            if people == MOST_PEOPLE {
                against = said.because;
            } else {
                against.extend(said.because.into_iter().filter(|name| !against.contains(name)).collect::<Vec<_>>());
            }
        }
        Ok((PolicyVerdict::Deny, against))
    }

    /// Cedar skips a policy that cannot be evaluated, even one that would forbid: here any such error is a no.
    fn ask(
        &self,
        context: Value,
        [principal, action, resource]: &[EntityUid; 3],
        entities: &Entities,
    ) -> Result<Said, (Vec<String>, String)> {
        let context = Context::from_json_value(context, Some((&*self.schema, action))).map_err(|error| unfit(&told(&error)))?;
        let request = Request::new(principal.clone(), action.clone(), resource.clone(), context, Some(&*self.schema));
        let request = request.map_err(|error| unfit(&told(&error)))?;
        let response = Authorizer::new().is_authorized(&request, &self.set, entities);
        let (mut failed, mut errors) = (Vec::new(), Vec::new());
        for error in response.diagnostics().errors() {
            let cedar_policy::AuthorizationError::PolicyEvaluationError(error) = error;
            let name = error.policy_id().to_string();
            errors.push(format!("policy `{name}` ({}) cannot be evaluated: {}", self.file(&name), error.inner()));
            failed.push(name);
        }
        if !errors.is_empty() {
            return Err((failed, format!("{}; mend it (`cordon policy check`), then release", errors.join("; "))));
        }
        let mut because: Vec<String> = response.diagnostics().reason().map(PolicyId::to_string).collect();
        because.sort();
        Ok(Said { allows: response.decision() == Decision::Allow, because })
    }

    fn file(&self, name: &str) -> &str {
        self.known.get(name).map_or("", |known| known.file.as_str())
    }

    /// Policies by their names, with their reasons.
    fn list(&self, policies: &[String]) -> String {
        let named = policies.iter().map(|name| match self.known.get(name) {
            Some(known) if !known.why.is_empty() => format!("`{name}` ({})", known.why),
            _ => format!("`{name}`"),
        });
        named.collect::<Vec<_>>().join(", ")
    }

    /// The answer in words.
    fn words(&self, verdict: PolicyVerdict, policies: &[String], case: &Case) -> String {
        let (list, many) = (self.list(policies), policies.len() != 1);
        let (policy, s) = if many { ("policies", "") } else { ("policy", "s") };
        match verdict {
            PolicyVerdict::Allow => format!("{policy} {list} allow{s} it"),
            PolicyVerdict::Ask { people: 1 } => format!("{policy} {list} ask{s} one person"),
            PolicyVerdict::Ask { people } => format!("{policy} {list} ask{s} {people} persons"),
            PolicyVerdict::Deny | PolicyVerdict::Failed if policies.is_empty() => {
                format!("no policy permits `{}` (`{}`) to playbook `{}` here", case.action, case.risk_word(), case.playbook)
            }
            PolicyVerdict::Deny | PolicyVerdict::Failed => format!("{policy} {list} forbid{s} it"),
        }
    }
}

/// No policy is to blame: the case itself cannot be put to them.
fn unfit(error: &str) -> (Vec<String>, String) {
    (Vec::new(), format!("the policies cannot be asked about this step: {error}"))
}

fn named(names: [(&str, &str); 3]) -> Result<[EntityUid; 3], (Vec<String>, String)> {
    let [principal, action, resource] = names.map(|(kind, id)| uid(kind, id));
    Ok([principal?, action?, resource?])
}

fn uid(kind: &str, id: &str) -> Result<EntityUid, (Vec<String>, String)> {
    EntityUid::from_json(serde_json::json!({ "type": kind, "id": id })).map_err(|error| unfit(&error.to_string()))
}

/// An error with what it was caused by: Cedar's own first line rarely says enough.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod traps;
