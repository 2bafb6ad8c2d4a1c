//! IAM permissions, declared by the actions: the one source of the role policy, the session policies and the documentation.

use std::collections::{BTreeMap, BTreeSet};

use cordon_shared::id::CellId;
use serde_json::{Value, json};

/// The longest inline session policy that AWS STS takes, in characters
/// (<https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>, `Policy`).
pub const SESSION_POLICY_LIMIT: usize = 2_048;

/// A condition: operator, key and value. In the value, `{name}` is bound as in an ARN template; in the role policy it is `*`, so its
/// operator is `StringLike`.
pub type Condition = (&'static str, &'static str, &'static str);

/// One IAM action on one kind of resource.
///
/// `resource` is an ARN template: `{partition}`, `{region}` and `{account}` are the cell's; any other `{name}` is bound to the
/// planned ids in a write session and is `*` in the role policy. `"*"` is for IAM actions without resource-level permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Permission {
    /// `ec2:RevokeSecurityGroupIngress`.
    pub action: &'static str,
    /// The ARN template, or `*`.
    pub resource: &'static str,
    /// Condition operator, key and value, all of which must hold.
    pub conditions: &'static [Condition],
}

impl Permission {
    /// A permission on what the step itself made: what carries its incident's tag, which the step binds as `{run}`. What AWS names only
    /// in its answer cannot be named in a session's policy.
    #[must_use]
    pub const fn own(action: &'static str, resource: &'static str) -> Self {
        Self { action, resource, conditions: &[("StringLike", "aws:ResourceTag/cordon:run", "{run}")] }
    }

    /// A permission without conditions.
    #[must_use]
    pub const fn new(action: &'static str, resource: &'static str) -> Self {
        Self { action, resource, conditions: &[] }
    }
}

/// What the names in ARN templates are bound to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bindings(BTreeMap<&'static str, BTreeSet<String>>);

impl Bindings {
    /// No names bound.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// Binds `name` to one more id.
    pub fn bind(&mut self, name: &'static str, id: impl Into<String>) {
        self.0.entry(name).or_default().insert(id.into());
    }
    /// Binds `name` to several ids. Bound to none, what is permitted on it is left out of the policy.
    #[must_use]
    pub fn with<I: Into<String>>(mut self, name: &'static str, ids: impl IntoIterator<Item = I>) -> Self {
        self.0.entry(name).or_default().extend(ids.into_iter().map(Into::into));
        self
    }
    /// Two of it, each with half of the ids of the name that has most; `None` where no name has two.
    fn halves(&self) -> Option<(Self, Self)> {
        let (name, ids) = self.0.iter().max_by_key(|(_, ids)| ids.len()).filter(|(_, ids)| ids.len() > 1)?;
        let (mut one, mut other) = (self.clone(), self.clone());
        let half = ids.len().div_ceil(2);
        one.0.insert(name, ids.iter().take(half).cloned().collect());
        other.0.insert(name, ids.iter().skip(half).cloned().collect());
        Some((one, other))
    }

    /// Whether a name is bound on purpose to nothing ([`Bindings::with`] without ids): the step has nothing of that kind.
    fn is_none(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(BTreeSet::is_empty)
    }

    /// Whether an id is among those bound to a name.
    #[must_use]
    pub fn has(&self, name: &str, id: &str) -> bool {
        self.0.get(name).is_some_and(|ids| ids.contains(id))
    }
    /// All ids bound to a name.
    pub fn ids(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.get(name).into_iter().flatten().map(String::as_str)
    }
}

/// A policy that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A name in an ARN template that the action did not bind: it would widen the session.
    #[error("`{action}`: `{{{name}}}` of its ARN template is bound to nothing")]
    Unbound {
        /// The IAM action.
        action: &'static str,
        /// The name.
        name: String,
    },
    /// Longer than STS takes.
    #[error("the session policy has {0} characters, STS takes {SESSION_POLICY_LIMIT}; the step must be split by resource")]
    TooLong(usize),
}

/// The ARNs that a template stands for, in one cell. `bindings: None` leaves names open (`*`).
fn expand(action: &'static str, template: &str, place: &Place<'_>, bindings: Option<&Bindings>) -> Result<Vec<String>, PolicyError> {
    let mut arns = vec![String::new()];
    let mut rest = template;
    while let Some((text, after)) = rest.split_once('{') {
        let Some((name, tail)) = after.split_once('}') else { break };
        for arn in &mut arns {
            arn.push_str(text);
        }
        let fixed = match name {
            "partition" => Some(place.partition),
            "region" => Some(place.region),
            "account" => Some(place.account),
            _ => None,
        };
        if let Some(value) = fixed {
            for arn in &mut arns {
                arn.push_str(value);
            }
        } else if let Some(bindings) = bindings {
            let ids: Vec<&str> = bindings.ids(name).collect();
            if ids.is_empty() && bindings.is_none(name) {
                return Ok(Vec::new());
            }
            if ids.is_empty() {
                return Err(PolicyError::Unbound { action, name: name.to_owned() });
            }
            arns = arns.iter().flat_map(|arn| ids.iter().map(move |id| format!("{arn}{id}"))).collect();
        } else {
            for arn in &mut arns {
                arn.push('*');
            }
        }
        rest = tail;
    }
    for arn in &mut arns {
        arn.push_str(rest);
    }
    Ok(arns)
}

struct Place<'a> {
    partition: &'a str,
    region: &'a str,
    account: &'a str,
}

/// Statements: IAM actions with the same resources and conditions share one.
fn statements(permissions: &[Permission], place: &Place<'_>, bindings: Option<&Bindings>) -> Result<Vec<Value>, PolicyError> {
    let mut groups: BTreeMap<(Vec<String>, Vec<Condition>), BTreeSet<&'static str>> = BTreeMap::new();
    // One IAM action may be declared on several kinds of resources: its resources are joined.
    let mut by_action: BTreeMap<(&'static str, Vec<Condition>), BTreeSet<String>> = BTreeMap::new();
    for permission in permissions {
        let arns = expand(permission.action, permission.resource, place, bindings)?;
        if arns.is_empty() {
            continue;
        }
        by_action.entry((permission.action, permission.conditions.to_vec())).or_default().extend(arns);
    }
    for ((action, conditions), resources) in by_action {
        groups.entry((resources.into_iter().collect(), conditions)).or_default().insert(action);
    }
    groups
        .into_iter()
        .map(|((resources, conditions), actions)| {
            let any = actions.first().copied().unwrap_or_default();
            let mut statement = json!({ "Effect": "Allow", "Action": one_or_many(actions), "Resource": one_or_many(resources) });
            if !conditions.is_empty() {
                let mut rendered = serde_json::Map::new();
                for (operator, key, template) in conditions {
                    let values = expand(any, template, place, bindings)?;
                    let entry = rendered.entry(operator.to_owned()).or_insert_with(|| json!({}));
                    if let Some(map) = entry.as_object_mut() {
                        map.insert(key.to_owned(), one_or_many(values));
                    }
                }
                if let Some(map) = statement.as_object_mut() {
                    map.insert("Condition".to_owned(), Value::Object(rendered));
                }
            }
            Ok(statement)
        })
        .collect()
}

fn one_or_many<T: Into<String>>(items: impl IntoIterator<Item = T>) -> Value {
    let mut items: Vec<Value> = items.into_iter().map(|item| Value::String(item.into())).collect();
    match items.len() {
        1 => items.pop().unwrap_or_default(),
        _ => Value::Array(items),
    }
}

/// The statements of the spoke role's own policy: every name open, every Region, the account as CloudFormation fills it in.
#[must_use]
pub fn role_statements(permissions: &[Permission]) -> Vec<Value> {
    let place = Place { partition: "${AWS::Partition}", region: "*", account: "${AWS::AccountId}" };
    // Without bindings nothing can be unbound.
    statements(permissions, &place, None).unwrap_or_default()
}

/// The session policy of a read session: the IAM actions a playbook reads with, in any configured Region of the account.
///
/// # Errors
/// [`PolicyError::TooLong`].
pub fn read_policy(permissions: &[Permission], partition: &str, account: &str) -> Result<String, PolicyError> {
    let place = Place { partition, region: "*", account };
    finish(statements(permissions, &place, None)?)
}

/// The session policy of a write session: only these permissions, only on what is bound, only in the cell's Region.
///
/// # Errors
/// [`PolicyError::Unbound`], [`PolicyError::TooLong`].
pub fn write_policy(permissions: &[Permission], cell: &CellId, bindings: &Bindings) -> Result<String, PolicyError> {
    let place = Place { partition: cell.region.partition(), region: cell.region.as_str(), account: cell.account.as_str() };
    let statements = statements(permissions, &place, Some(bindings))?;
    match permissions.first() {
        // A session that may do nothing is none that a step needs.
        Some(first) if statements.is_empty() => {
            let name = bindings.0.keys().copied().next().unwrap_or_default().to_owned();
            Err(PolicyError::Unbound { action: first.action, name })
        }
        _ => finish(statements),
    }
}

/// A part of a step's work: what it is narrowed to, and the session policy for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// What is bound in it.
    pub bindings: Bindings,
    /// The policy.
    pub policy: String,
}

/// How many sessions one step may have.
const MOST_PARTS: usize = 8;

/// The session policies of a step: one, or where that would be longer than STS takes, several, each for a part of what is bound. Nothing is
/// widened: together they bind what one would, and every part names every other bound name in full.
///
/// # Errors
/// As [`write_policy`], when more than eight parts would be needed.
pub fn write_policies(permissions: &[Permission], cell: &CellId, bindings: &Bindings) -> Result<Vec<Scope>, PolicyError> {
    let mut whole = vec![bindings.clone()];
    let mut scopes = Vec::new();
    while let Some(part) = whole.pop() {
        match write_policy(permissions, cell, &part) {
            Ok(policy) => scopes.push(Scope { bindings: part, policy }),
            Err(error @ PolicyError::TooLong(_)) => {
                let Some((one, other)) = part.halves().filter(|_| whole.len() + scopes.len() + 2 <= MOST_PARTS) else { return Err(error) };
                // The first half is worked on first: the order of the parts is that of the ids.
                whole.extend([other, one]);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(scopes)
}

fn finish(statements: Vec<Value>) -> Result<String, PolicyError> {
    let text = json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
    let length = text.chars().count();
    if length > SESSION_POLICY_LIMIT { Err(PolicyError::TooLong(length)) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REVOKE: Permission =
        Permission::new("ec2:RevokeSecurityGroupIngress", "arn:{partition}:ec2:{region}:{account}:security-group/{group}");
    const AUTHORIZE: Permission =
        Permission::new("ec2:AuthorizeSecurityGroupIngress", "arn:{partition}:ec2:{region}:{account}:security-group/{group}");

    fn cell() -> CellId {
        CellId::new("111122223333".parse().unwrap(), "eu-west-1".parse().unwrap())
    }

    #[test]
    fn a_write_policy_names_the_planned_resources_and_nothing_else() {
        let text = write_policy(&[REVOKE, AUTHORIZE], &cell(), &Bindings::new().with("group", ["sg-1", "sg-2"])).unwrap();
        let policy: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            policy["Statement"],
            json!([{ "Effect": "Allow",
                "Action": ["ec2:AuthorizeSecurityGroupIngress", "ec2:RevokeSecurityGroupIngress"],
                "Resource": ["arn:aws:ec2:eu-west-1:111122223333:security-group/sg-1", "arn:aws:ec2:eu-west-1:111122223333:security-group/sg-2"] }])
        );
    }

    #[test]
    fn an_unbound_name_is_refused_never_widened() {
        assert!(matches!(write_policy(&[REVOKE], &cell(), &Bindings::new()), Err(PolicyError::Unbound { .. })));
    }

    #[test]
    fn what_a_step_has_nothing_of_is_left_out_of_its_policy() {
        const REGISTER: Permission = Permission::new(
            "elasticloadbalancing:RegisterTargets",
            "arn:{partition}:elasticloadbalancing:{region}:{account}:targetgroup/{target_group}",
        );
        let bindings = Bindings::new().with("group", ["sg-1"]).with("target_group", Vec::<String>::new());
        let text = write_policy(&[REVOKE, REGISTER], &cell(), &bindings).unwrap();
        assert!(text.contains("security-group/sg-1") && !text.contains("elasticloadbalancing"), "{text}");
        assert!(write_policy(&[REVOKE, REGISTER], &cell(), &Bindings::new().with("group", ["sg-1"])).is_err(), "not said");
        let nothing = Bindings::new().with("group", Vec::<String>::new());
        assert!(matches!(write_policy(&[REVOKE], &cell(), &nothing), Err(PolicyError::Unbound { .. })));
    }

    #[test]
    fn a_policy_over_the_limit_is_refused() {
        let many = Bindings::new().with("group", (0..40).map(|n| format!("sg-0123456789abc{n:04}")));
        assert!(matches!(write_policy(&[REVOKE], &cell(), &many), Err(PolicyError::TooLong(_))));
    }

    #[test]
    fn what_does_not_fit_one_session_is_split_by_resource_and_never_widened() {
        let names: Vec<String> = (0..60).map(|n| format!("sg-0123456789abcd{n:03}")).collect();
        let bindings = Bindings::new().with("group", names.clone());
        let scopes = write_policies(&[REVOKE], &cell(), &bindings).unwrap();
        assert!(scopes.len() > 1 && scopes.iter().all(|scope| scope.policy.chars().count() <= SESSION_POLICY_LIMIT));
        let bound: Vec<&str> = scopes.iter().flat_map(|scope| scope.bindings.ids("group")).collect();
        assert_eq!(bound, names);
        assert!(scopes.iter().all(|scope| !scope.policy.contains("/*")));
        let too_many = Bindings::new().with("group", (0..600).map(|n| format!("sg-0123456789abcd{n:03}")));
        assert!(matches!(write_policies(&[REVOKE], &cell(), &too_many), Err(PolicyError::TooLong(_))));
    }

    #[test]
    fn what_a_step_made_is_reached_by_its_incidents_tag_alone() {
        const OWN: Permission = Permission::own("ec2:RevokeSecurityGroupEgress", "arn:{partition}:ec2:{region}:{account}:security-group/*");
        let text = write_policy(&[OWN], &cell(), &Bindings::new().with("run", ["inc-1"])).unwrap();
        let policy: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(policy["Statement"][0]["Condition"], json!({ "StringLike": { "aws:ResourceTag/cordon:run": "inc-1" } }));
        assert!(matches!(write_policy(&[OWN], &cell(), &Bindings::new()), Err(PolicyError::Unbound { .. })));
        assert_eq!(role_statements(&[OWN])[0]["Condition"], json!({ "StringLike": { "aws:ResourceTag/cordon:run": "*" } }));
    }

    #[test]
    fn the_role_policy_leaves_names_open() {
        let statements = role_statements(&[REVOKE]);
        assert_eq!(statements[0]["Resource"], "arn:${AWS::Partition}:ec2:*:${AWS::AccountId}:security-group/*");
    }
}
