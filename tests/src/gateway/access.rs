//! Access control: what AWS would say to a call of a session that was opened through the gateway, and to the opening of one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde_json::Value;

use super::{
    ledger::{Decision, Need},
    parse::Parsed,
    policy::{Context, Policy, Verdict},
    sessions::Session,
    upstream::{Role, Upstream, User},
    wire::{self, AwsError},
};

/// How long a role that was read from moto is taken for true.
const FRESH: Duration = Duration::from_secs(2);
/// STS's limit for the text of a session policy.
const POLICY_LIMIT: usize = 2048;

/// What was read from moto, by account and name, and when.
#[derive(Debug)]
struct Known<T>(Mutex<HashMap<(String, String), Read<T>>>);

type Read<T> = (Instant, Option<T>);

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Known<T> {
    fn get(&self, account: &str, name: &str) -> Option<Option<T>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (read, found) = known.get(&(account.to_owned(), name.to_owned()))?;
        (read.elapsed() < FRESH).then(|| found.clone())
    }

    fn put(&self, account: &str, name: &str, found: Option<T>) -> Option<T> {
        let key = (account.to_owned(), name.to_owned());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, (Instant::now(), found.clone()));
        found
    }

    fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The roles' trust and policies, and users with their keys and policies, read from moto.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    upstream: Upstream,
    roles: Arc<Known<Arc<Role>>>,
    users: Arc<Known<Arc<User>>>,
    paths: Arc<Known<String>>,
}

impl Access {
    pub(crate) fn new(upstream: Upstream) -> Self {
        Self { upstream, roles: Arc::default(), users: Arc::default(), paths: Arc::default() }
    }

    pub(crate) fn forget(&self) {
        self.roles.forget();
        self.users.forget();
        self.paths.forget();
    }

    async fn role(&self, account: &str, name: &str) -> Result<Option<Arc<Role>>, String> {
        match self.roles.get(account, name) {
            Some(role) => Ok(role),
            None => Ok(self.roles.put(account, name, self.upstream.role(account, name).await?.map(Arc::new))),
        }
    }

    /// The user of this name; nothing where there is none.
    pub(crate) async fn user(&self, account: &str, name: &str) -> Result<Option<Arc<User>>, String> {
        match self.users.get(account, name) {
            Some(user) => Ok(user),
            None => Ok(self.users.put(account, name, self.upstream.user(account, name).await?.map(Arc::new))),
        }
    }

    /// The ARNs of IAM's users, roles and profiles have their paths, which the parameters of a call do not say.
    pub(crate) async fn with_paths(&self, account: &str, needs: &mut [Need]) {
        for need in needs {
            let Some((_, id)) = need.resource.split_once(":iam::").and_then(|(_, rest)| rest.split_once(':')) else { continue };
            let Some((kind @ ("user" | "role" | "instance-profile"), name)) = id.split_once('/') else { continue };
            let arn = match self.paths.get(account, id) {
                Some(arn) => arn,
                None => self.paths.put(account, id, self.upstream.iam_arn(account, kind, name).await),
            };
            if let Some(arn) = arn {
                need.resource = arn;
            }
        }
    }

    /// Decides a call that is made with a user's own key: its policies and those of its groups, and its boundary.
    pub(crate) fn decide_for_user(&self, parsed: &Parsed, session: &Session, user: &User, needs: Vec<Need>, now: Timestamp) -> Decision {
        let mut context = session.context(&parsed.region, now);
        context.extend(call_context(parsed));
        context.insert("aws:userid".to_owned(), vec![user.id.clone()]);
        context.insert("aws:username".to_owned(), vec![user.name.clone()]);
        context.insert("aws:principalarn".to_owned(), vec![user.arn.clone()]);
        let reason = weigh(&needs, &context, &user.policies, &[], user.boundary.as_ref());
        let reason = reason.map(|why| format!("User: {} is not authorized to perform: {why}", user.arn));
        let allowed = reason.is_none();
        let (identity, boundary) = (user.policies.clone(), user.boundary.clone());
        Decision { needs, context, identity, session: Vec::new(), boundary, allowed, reason: reason.unwrap_or_default() }
    }

    /// Decides a call of a session: the role's policies, its boundary and the session's policies must each allow everything that it needs.
    pub(crate) async fn decide(&self, parsed: &Parsed, session: &Session, mut needs: Vec<Need>, now: Timestamp) -> Decision {
        let mut context = session.context(&parsed.region, now);
        context.extend(call_context(parsed));
        let principal = &session.principal;
        let role = self.role(&principal.account, principal.role.as_deref().unwrap_or_default()).await;
        let (identity, boundary, mut problem) = match role {
            Ok(Some(role)) => (role.policies.clone(), role.boundary.clone(), None),
            Ok(None) => (Vec::new(), None, None),
            Err(problem) => (Vec::new(), None, Some(problem)),
        };
        if identity.iter().chain(&session.policies).chain(&boundary).any(asks_for_tags)
            && let Err(unread) = self.add_tags(parsed, &principal.account, &mut needs).await
        {
            problem.get_or_insert(unread);
        }
        let reason = match problem {
            Some(problem) => Some(format!("because the lab could not read the role, or the resource's tags: {problem}")),
            None => weigh(&needs, &context, &identity, &session.policies, boundary.as_ref()),
        };
        let reason = reason.map(|why| format!("User: {} is not authorized to perform: {why}", principal.arn));
        let allowed = reason.is_none();
        Decision { needs, context, identity, session: session.policies.clone(), boundary, allowed, reason: reason.unwrap_or_default() }
    }

    /// Adds the tags of the resources that a call of EC2 names, each to what is needed of that resource.
    async fn add_tags(&self, parsed: &Parsed, account: &str, needs: &mut [Need]) -> Result<(), String> {
        let id = |need: &Need| need.resource.rsplit_once('/').map(|(_, id)| id.to_owned()).filter(|id| !id.contains(['*', '?']));
        let mut ids: Vec<String> = needs.iter().filter_map(id).collect();
        ids.dedup();
        if parsed.service != "ec2" || ids.is_empty() {
            return Ok(());
        }
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        for (resource, key, value) in self.upstream.ec2_tags(account, &parsed.region, &ids).await? {
            for need in needs.iter_mut().filter(|need| id(need).as_deref() == Some(resource.as_str())) {
                for prefix in ["aws", "ec2"] {
                    need.context.insert(format!("{prefix}:resourcetag/{}", key.to_lowercase()), vec![value.clone()]);
                }
            }
        }
        Ok(())
    }

    /// Checks an AssumeRole as STS does, and gives the documents of the managed policies that it names.
    pub(crate) async fn check_assume(&self, parsed: &Parsed, caller: &Session, now: Timestamp) -> Result<Vec<Value>, AwsError> {
        let text = |name: &str| parsed.params.get(name).and_then(Value::as_str);
        let arn = text("RoleArn").unwrap_or_default();
        check_shape(parsed, caller)?;
        let denied = |action: &str| {
            let message = format!("User: {} is not authorized to perform: {action} on resource: {arn}", caller.principal.arn);
            wire::denied(parsed.protocol, message)
        };
        let account = arn.split(':').nth(4).unwrap_or_default();
        let name = arn.rsplit('/').next().unwrap_or_default();
        let fault = |problem: String| AwsError::new(500, "InternalFailure", problem);
        // STS does not tell a role that is not there from one that does not trust the caller.
        let role = self.role(account, name).await.map_err(fault)?.ok_or_else(|| denied("sts:AssumeRole"))?;
        let limit = role.max_session.unwrap_or(3600);
        if text("DurationSeconds").and_then(|seconds| seconds.parse::<u64>().ok()).is_some_and(|seconds| seconds > limit) {
            return Err(AwsError::new(
                400,
                "ValidationError",
                "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
            ));
        }
        let trust = Policy::parse(&role.trust).map_err(fault)?;
        let mut context = caller.context(&parsed.region, now);
        context.extend(call_context(parsed));
        if role.trust.to_string().contains("PrincipalOrg")
            && let Some(organization) = self.upstream.organization(&caller.principal.account).await
        {
            context.insert("aws:principalorgid".to_owned(), vec![organization]);
        }
        let mut actions = vec!["sts:AssumeRole"];
        actions.extend(parsed.params.get("SourceIdentity").map(|_| "sts:SetSourceIdentity"));
        actions.extend(parsed.params.get("Tags").map(|_| "sts:TagSession"));
        for action in actions {
            if trust.trusts(action, &caller.principal.arn, &context) != Verdict::Allow {
                return Err(denied(action));
            }
        }
        // The caller's own session may not have been opened here: what its role denies counts all the same.
        if let Some(own) = &caller.principal.role
            && let Some(own) = self.role(&caller.principal.account, own).await.map_err(fault)?
        {
            for document in &own.policies {
                if Policy::parse(document).map_err(fault)?.evaluate("sts:AssumeRole", arn, &context) == Verdict::ExplicitDeny {
                    return Err(denied("sts:AssumeRole"));
                }
            }
        }
        if let (Some(given), Some(carried)) = (text("SourceIdentity"), &caller.principal.source_identity)
            && given != carried
        {
            return Err(denied("sts:SetSourceIdentity"));
        }
        self.managed(parsed, account).await
    }

    /// The documents of the managed policies that an AssumeRole names for the session.
    pub(crate) async fn managed(&self, parsed: &Parsed, account: &str) -> Result<Vec<Value>, AwsError> {
        let mut documents = Vec::new();
        for item in parsed.params.get("PolicyArns").and_then(Value::as_array).into_iter().flatten() {
            let arn = item.get("arn").and_then(Value::as_str).unwrap_or_default();
            let found = self.upstream.managed_policy(account, arn).await;
            documents.push(found.map_err(|problem| AwsError::new(400, "MalformedPolicyDocument", problem))?);
        }
        Ok(documents)
    }
}

/// Why a call is not allowed, if it is not: what follows "is not authorized to perform: " in AWS's words.
fn weigh(needs: &[Need], context: &Context, identity: &[Value], session: &[Value], boundary: Option<&Value>) -> Option<String> {
    let kinds = [
        ("identity-based policy", Some(identity)),
        ("session policy", (!session.is_empty()).then_some(session)),
        ("permissions boundary", boundary.map(std::slice::from_ref)),
    ];
    for need in needs {
        let mut here = context.clone();
        here.extend(need.context.clone());
        let start = format!("{} on resource: {}", need.action, need.resource);
        let mut missing = None;
        for (kind, documents) in &kinds {
            let Some(documents) = documents else { continue };
            let mut allowed = false;
            for document in *documents {
                match Policy::parse(document).map(|policy| policy.evaluate(&need.action, &need.resource, &here)) {
                    Ok(Verdict::ExplicitDeny) => return Some(format!("{start} with an explicit deny in a {kind}")),
                    Ok(Verdict::Allow) => allowed = true,
                    Ok(Verdict::ImplicitDeny) => {}
                    Err(problem) => return Some(format!("{start}: the lab does not understand a {kind}: {problem}")),
                }
            }
            if !allowed && missing.is_none() {
                missing = Some(format!("{start} because no {kind} allows the {} action", need.action));
            }
        }
        if missing.is_some() {
            return missing;
        }
    }
    None
}

/// Whether a policy looks at tags of resources: only then they are read.
fn asks_for_tags(policy: &Value) -> bool {
    policy.to_string().to_lowercase().contains(":resourcetag/")
}

/// What STS refuses before it looks at any policy.
fn check_shape(parsed: &Parsed, caller: &Session) -> Result<(), AwsError> {
    let text = |name: &str| parsed.params.get(name).and_then(Value::as_str);
    let invalid = |message: String| Err(AwsError::new(400, "ValidationError", message));
    let plain = |value: &str| value.chars().all(|letter| letter.is_ascii_alphanumeric() || "_+=,.@-".contains(letter));
    let violates = |name: &str, value: &str, rule: &str| {
        invalid(format!("1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint: {rule}"))
    };
    for (parameter, name, needed) in [("RoleSessionName", "roleSessionName", true), ("SourceIdentity", "sourceIdentity", false)] {
        match text(parameter) {
            None if needed => return violates(name, "null", "Member must not be null"),
            Some(value) if !(2..=64).contains(&value.len()) || !plain(value) => {
                return violates(
                    name,
                    value,
                    "Member must satisfy regular expression pattern: [\\w+=,.@-]* and have length between 2 and 64",
                );
            }
            _ => {}
        }
    }
    if let Some(policy) = text("Policy") {
        if policy.chars().count() > POLICY_LIMIT {
            return violates("policy", policy, "Member must have length less than or equal to 2048");
        }
        let document = serde_json::from_str::<Value>(policy).map_err(|problem| problem.to_string());
        if let Err(problem) = document.and_then(|document| Policy::parse(&document)) {
            return Err(AwsError::new(400, "MalformedPolicyDocument", format!("Syntax errors in policy. ({problem})")));
        }
    }
    if let Some(seconds) = text("DurationSeconds") {
        match seconds.parse::<u64>() {
            Ok(900..=43200) => {}
            _ => return violates("durationSeconds", seconds, "Member must have value between 900 and 43200"),
        }
        if caller.principal.role.is_some() && seconds.parse::<u64>().is_ok_and(|seconds| seconds > 3600) {
            return invalid("The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining".to_owned());
        }
    }
    if parsed.params.get("Tags").and_then(Value::as_array).is_some_and(|tags| tags.len() > 50) {
        return violates("tags", "…", "Member must have length less than or equal to 50");
    }
    Ok(())
}

/// The condition keys that come from the call itself.
fn call_context(parsed: &Parsed) -> Context {
    let mut context = Context::new();
    let text = |name: &str| parsed.params.get(name).and_then(Value::as_str).map(str::to_owned);
    match (parsed.service.as_str(), parsed.operation.as_str()) {
        ("ec2", _) => {
            context.insert("ec2:region".to_owned(), vec![parsed.region.clone()]);
            if let Some(attribute) = text("Attribute") {
                context.insert("ec2:attribute".to_owned(), vec![attribute]);
            }
            if parsed.operation == "ModifySnapshotAttribute" {
                context.extend(shared_with(&parsed.params));
            }
        }
        ("iam", _) => {
            context.extend(text("PolicyArn").map(|arn| ("iam:policyarn".to_owned(), vec![arn])));
        }
        ("sts", "AssumeRole") => {
            for (parameter, key) in
                [("ExternalId", "sts:externalid"), ("RoleSessionName", "sts:rolesessionname"), ("SourceIdentity", "sts:sourceidentity")]
            {
                context.extend(text(parameter).map(|value| (key.to_owned(), vec![value])));
            }
            for tag in parsed.params.get("Tags").and_then(Value::as_array).into_iter().flatten() {
                let (Some(key), Some(value)) = (tag.get("Key").and_then(Value::as_str), tag.get("Value").and_then(Value::as_str)) else {
                    continue;
                };
                context.entry("aws:tagkeys".to_owned()).or_default().push(key.to_owned());
                context.insert(format!("aws:requesttag/{}", key.to_lowercase()), vec![value.to_owned()]);
            }
        }
        ("securityhub", "BatchUpdateFindings") => {
            for (name, value) in parsed.params.as_object().into_iter().flatten().filter(|(name, _)| *name != "FindingIdentifiers") {
                for (path, value) in leaves(name, value) {
                    context.entry(format!("securityhub:asffsyntaxpath/{}", path.to_lowercase())).or_default().push(value);
                }
            }
        }
        _ => {}
    }
    context
}

/// `ec2:Add/userId` and its like: with whom a snapshot is shared or no longer shared, in either of the two ways to say it.
fn shared_with(params: &Value) -> Context {
    let mut context = Context::new();
    for (verb, plain) in [("Add", "add"), ("Remove", "remove")] {
        let listed = params.pointer(&format!("/CreateVolumePermission/{verb}")).and_then(Value::as_array).cloned().unwrap_or_default();
        let flat = params.get("OperationType").and_then(Value::as_str) == Some(plain);
        for (key, name, one) in [("userid", "UserId", "UserId"), ("group", "UserGroup", "Group")] {
            let mut found: Vec<String> = listed.iter().filter_map(|item| item.get(one)?.as_str()).map(str::to_owned).collect();
            if flat && let Some(value) = params.get(name) {
                found.extend(leaves(name, value).into_iter().map(|(_, text)| text));
            }
            if !found.is_empty() {
                context.insert(format!("ec2:{plain}/{key}"), found);
            }
        }
    }
    context
}

/// The values below a name, with their dotted paths.
fn leaves(name: &str, value: &Value) -> Vec<(String, String)> {
    match value {
        Value::Object(map) => map.iter().flat_map(|(key, item)| leaves(&format!("{name}.{key}"), item)).collect(),
        Value::Array(items) => items.iter().flat_map(|item| leaves(name, item)).collect(),
        Value::String(text) => vec![(name.to_owned(), text.clone())],
        other => vec![(name.to_owned(), other.to_string())],
    }
}
