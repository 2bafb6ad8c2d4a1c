//! A small evaluator of IAM policies: what the lab needs, not all that IAM can. An operator or a form that it does not know is an error when the
//! policy is read, never passed over. Its decisions stand in the ledger, so that an evaluator that is not ours can judge them again.

use std::collections::BTreeMap;

use serde_json::Value;

use super::condition::{self, Condition};

/// Condition keys, in lower case, and their values.
pub type Context = BTreeMap<String, Vec<String>>;

/// What a policy says to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Allowed by a statement, denied by none.
    Allow,
    /// Denied by a statement.
    ExplicitDeny,
    /// Not mentioned.
    ImplicitDeny,
}

/// A policy as it is evaluated.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    statements: Vec<Statement>,
}

#[derive(Debug, Clone, PartialEq)]
struct Statement {
    allow: bool,
    actions: Patterns,
    resources: Patterns,
    principals: Vec<String>,
    conditions: Vec<Condition>,
}

/// `Action` or `NotAction`, `Resource` or `NotResource`.
#[derive(Debug, Clone, PartialEq)]
struct Patterns {
    patterns: Vec<String>,
    inverted: bool,
}

impl Policy {
    /// Reads a policy document.
    ///
    /// # Errors
    /// When it has a form that this evaluator does not know.
    pub fn parse(document: &Value) -> Result<Self, String> {
        let statements = match document.get("Statement") {
            Some(Value::Array(statements)) => statements.iter().map(statement).collect::<Result<_, _>>()?,
            Some(one @ Value::Object(_)) => vec![statement(one)?],
            _ => return Err("a policy needs a Statement".to_owned()),
        };
        Ok(Self { statements })
    }

    /// What an identity or session policy says to an action on a resource.
    #[must_use]
    pub fn evaluate(&self, action: &str, resource: &str, context: &Context) -> Verdict {
        self.weigh(
            |statement| statement.actions.cover(action, true, context) && statement.resources.cover(resource, false, context),
            context,
        )
    }

    /// What a trust policy says to an action of a principal, given by its ARN.
    #[must_use]
    pub fn trusts(&self, action: &str, principal: &str, context: &Context) -> Verdict {
        self.weigh(
            |statement| {
                statement.actions.cover(action, true, context) && statement.principals.iter().any(|wanted| is_principal(wanted, principal))
            },
            context,
        )
    }

    fn weigh(&self, covers: impl Fn(&Statement) -> bool, context: &Context) -> Verdict {
        let mut verdict = Verdict::ImplicitDeny;
        for statement in &self.statements {
            if covers(statement) && statement.conditions.iter().all(|condition| condition.holds(context)) {
                if !statement.allow {
                    return Verdict::ExplicitDeny;
                }
                verdict = Verdict::Allow;
            }
        }
        verdict
    }
}

impl Patterns {
    fn cover(&self, text: &str, ignore_case: bool, context: &Context) -> bool {
        let found = self.patterns.iter().any(|pattern| {
            let Some(pattern) = condition::expand(pattern, context) else { return false };
            if ignore_case { condition::like(&pattern.to_lowercase(), &text.to_lowercase()) } else { condition::like(&pattern, text) }
        });
        found != self.inverted
    }
}

fn statement(value: &Value) -> Result<Statement, String> {
    let known = ["Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Principal", "Condition"].as_slice();
    if let Some(unknown) = value.as_object().and_then(|map| map.keys().find(|key| !known.contains(&key.as_str()))) {
        return Err(format!("a statement has the element {unknown}"));
    }
    let allow = match value.get("Effect").and_then(Value::as_str) {
        Some("Allow") => true,
        Some("Deny") => false,
        _ => return Err("Effect is Allow or Deny".to_owned()),
    };
    let mut conditions = Vec::new();
    for (operator, keys) in value.get("Condition").and_then(Value::as_object).into_iter().flatten() {
        for (key, wanted) in keys.as_object().into_iter().flatten() {
            conditions.push(Condition::parse(operator, key, texts(wanted))?);
        }
    }
    let resources = if value.get("Resource").is_none() && value.get("NotResource").is_none() {
        // A trust policy has none.
        Patterns { patterns: vec!["*".to_owned()], inverted: false }
    } else {
        patterns(value, "Resource", "NotResource")?
    };
    let principals = match value.get("Principal") {
        None => Vec::new(),
        Some(Value::Object(kinds)) => kinds.get("AWS").map(texts).unwrap_or_default(),
        Some(other) => texts(other),
    };
    Ok(Statement { allow, actions: patterns(value, "Action", "NotAction")?, resources, principals, conditions })
}

fn patterns(value: &Value, plain: &str, inverted: &str) -> Result<Patterns, String> {
    match (value.get(plain), value.get(inverted)) {
        (Some(found), None) => Ok(Patterns { patterns: texts(found), inverted: false }),
        (None, Some(found)) => Ok(Patterns { patterns: texts(found), inverted: true }),
        _ => Err(format!("a statement needs either {plain} or {inverted}")),
    }
}

/// A text, a number, a truth value, or a list of them.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Null => Vec::new(),
        other => vec![other.to_string()],
    }
}

/// Whether a principal element names this caller: `*`, its account, its role (whatever session), or itself.
fn is_principal(wanted: &str, caller: &str) -> bool {
    let account = caller.split(':').nth(4).unwrap_or_default();
    if wanted == "*" || wanted == account || wanted == caller {
        return true;
    }
    if let Some(of) = wanted.strip_prefix("arn:aws:iam::").and_then(|rest| rest.strip_suffix(":root")) {
        return of == account;
    }
    // A session's ARN has the role's name without its path.
    let role_of_caller = caller.split_once(":assumed-role/").and_then(|(_, rest)| rest.split('/').next());
    let role_wanted = wanted.split_once(":role/").map(|(_, path)| path.rsplit('/').next().unwrap_or_default());
    wanted.split(':').nth(4) == Some(account) && role_wanted.is_some() && role_of_caller == role_wanted
}
