//! `iam.deny-older-sessions`: denies everything to sessions of a role that were issued before now: those of one instance, those of one
//! session name, or, when a person says so, all of them.
//!
//! A session cannot be ended; it can be denied by when it was issued (`aws:TokenIssueTime`). Whoever can still have a new one issued passes:
//! issuance is cut first. The cut-off is the moment of the plan, kept in `before` and left out of the plan's changes: the same plan made
//! twice is one plan.

mod apply;
mod policy;
pub(in crate::actions) mod role;
mod shared;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use cordon_shared::{
    arn::{Arn, same_principal},
    plan::{Change as Difference, ChangeKey, Counts, Plan as Planned, Risk, Seat, Verdict},
};
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::{
    policy::{CONSOLE, FRESH, Found, ROOM},
    role::Role,
    shared::counted,
};
use super::super::ec2::look::pairs;
use crate::{
    action::{ActionError, ApplyError, Change, Cx, ParamsError, Plan, Progress, Undo, Write},
    permission::{Bindings, Permission},
};

pub use self::{
    policy::Scope,
    shared::{NotLooked, SharedWith},
};

/// Denies older sessions of a role.
#[derive(Debug, Clone, Copy)]
pub struct DenyOlderSessions;

const NAME: &str = "iam.deny-older-sessions";

/// Whose sessions. Exactly one of `instance`, `session` and `wide`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The role, by name or ARN. With `instance` it may be left out: then it is the role of the instance's profile **now**. Where another
    /// profile was put in its place before, the role must be named.
    #[serde(default)]
    pub role: Option<String>,
    /// Only the sessions of this instance (`i-…`).
    #[serde(default)]
    pub instance: Option<String>,
    /// Only the sessions with this session name.
    #[serde(default)]
    pub session: Option<String>,
    /// All sessions of the role. A person is always asked, and told who shares it.
    #[serde(default)]
    pub wide: bool,
    /// Only moves the cut-off of an earlier step forward to now, for sessions that were issued while that step took hold.
    #[serde(default)]
    pub move_forward: bool,
    /// Also where another controller runs the instance.
    #[serde(default)]
    pub even_if_managed: bool,
}

/// All that undo needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Before {
    /// The role's name.
    pub role: String,
    /// As its ARN has it, with its path.
    pub path_name: String,
    /// Its ARN.
    pub arn: String,
    /// Whose sessions.
    pub scope: Scope,
    /// Up to when.
    pub cutoff: Timestamp,
    /// The policy that stood under that name, word for word; `None`: there was none.
    pub found: Option<String>,
    /// The date of the console's policy whose place ours takes.
    pub replaced: Option<String>,
    /// Who shares the role.
    pub shared_with: SharedWith,
}

impl Before {
    fn policy_name(&self) -> String {
        self.scope.policy_name()
    }

    fn at_plan(&self) -> Found {
        policy::read(&self.scope, self.found.as_deref())
    }
}

/// What was denied.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The role.
    pub role: String,
    /// The inline policy.
    pub policy: String,
    /// `instance`, `session` or `role`.
    pub scope: &'static str,
    /// Sessions that were issued before it are denied.
    pub cutoff: String,
    /// The pattern of the user ids that are denied; `None`: all.
    pub userid: Option<String>,
    /// Who shares the role.
    pub shared_with: SharedWith,
    /// The cut-off that was there before.
    pub moved_from: Option<String>,
}

/// Letters of a session's name (<https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>): none has a meaning in a pattern.
fn is_session_name(name: &str) -> bool {
    (2..=64).contains(&name.len()) && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "_+=,.@-".contains(letter))
}

fn is_instance(id: &str) -> bool {
    id.strip_prefix("i-").is_some_and(|rest| (8..=17).contains(&rest.len()) && rest.chars().all(|letter| letter.is_ascii_hexdigit()))
}

fn wrong(why: String) -> ActionError {
    ParamsError { action: NAME, why }.into()
}

/// Whose sessions are meant.
fn scope(with: &Params) -> Result<Scope, ActionError> {
    match (&with.instance, &with.session, with.wide) {
        (Some(id), None, false) if is_instance(id) => Ok(Scope::Instance(id.clone())),
        (Some(id), None, false) => Err(wrong(format!("`instance`: `{id}` is not the id of an instance"))),
        (None, ..) if with.role.is_none() => Err(wrong("without `instance`, `role` is needed".to_owned())),
        // An instance's session is called after it.
        (None, Some(name), false) if is_instance(name) => Ok(Scope::Instance(name.clone())),
        (None, Some(name), false) if is_session_name(name) => Ok(Scope::Session(name.clone())),
        (None, Some(name), false) => Err(wrong(format!("`session`: `{name}` is not the name of a session"))),
        (None, None, true) => Ok(Scope::Role),
        _ => Err(wrong("exactly one of `instance`, `session` and `wide` is needed".to_owned())),
    }
}

/// The name of the role that is given by its name or ARN.
fn role_name(cx: Cx<'_>, role: &str) -> Result<String, ActionError> {
    let name = if role.starts_with("arn:") {
        let arn: Arn = role.parse().map_err(|error| wrong(format!("`role`: {error}")))?;
        if arn.service() != "iam" || !arn.resource().starts_with("role/") || arn.account().as_ref() != Some(&cx.cell.account) {
            return Err(wrong(format!("`role`: {arn} is no role of account {}", cx.cell.account)));
        }
        arn.resource_id().rsplit('/').next().unwrap_or_default().to_owned()
    } else {
        role.rsplit('/').next().unwrap_or_default().to_owned()
    };
    if name.is_empty() { Err(wrong(format!("`role`: `{role}` is not the name of a role"))) } else { Ok(name) }
}

/// Why a role is never changed; `None`: it may be. Service-linked roles and those of Identity Center cannot be edited
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_revoke-sessions.html>).
fn refused(name: &str, arn: &str, protected: &[String]) -> Option<&'static str> {
    if name.starts_with("AWSServiceRole") || arn.contains(":role/aws-service-role/") {
        Some("a service-linked role: only its service can change it")
    } else if name.starts_with("AWSReservedSSO_") || arn.contains(":role/aws-reserved/") {
        Some("a role of IAM Identity Center: its sessions are revoked there")
    } else if protected.iter().any(|own| same_principal(own, name)) {
        Some("a role of Cordon itself, or one of `[protected]`")
    } else {
        None
    }
}

/// What every reader of the report should know.
fn facts(scope: &Scope) -> Vec<String> {
    let mut facts = vec![
        "sessions issued after the cut-off, and long-term keys, are not denied: issuance must be cut first (metadata off, or another profile)"
            .to_owned(),
        "IAM may take minutes until every service denies; a session of a role lasts up to 12 hours".to_owned(),
    ];
    if *scope != Scope::Role {
        let why = "sessions that were opened with these ones, under another name or in another role, are not among them: cloudtrail.list-chained-roles shows them";
        facts.push(why.to_owned());
    }
    facts
}

impl Change for DenyOlderSessions {
    const NAME: &'static str = NAME;
    const ABOUT: &'static str =
        "Denies everything to sessions of a role that are older than now: those of one instance, or all when a person says so";
    const RISK: Risk = Risk::Disruptive;
    const COUNTS: &'static [Counts] = &[Counts::Credentials];
    const SEAT: Seat = Seat::Member;
    // https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsidentityandaccessmanagementiam.html
    // https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
    // https://docs.aws.amazon.com/service-authorization/latest/reference/list_awslambda.html
    const READS: &'static [Permission] = &[
        Permission::new("ec2:DescribeIamInstanceProfileAssociations", "*"),
        Permission::new("ec2:DescribeInstances", "*"),
        Permission::new("iam:GetInstanceProfile", "arn:{partition}:iam::{account}:instance-profile/*"),
        Permission::new("iam:GetRole", "arn:{partition}:iam::{account}:role/*"),
        Permission::new("iam:GetRolePolicy", "arn:{partition}:iam::{account}:role/*"),
        Permission::new("iam:ListInstanceProfilesForRole", "arn:{partition}:iam::{account}:role/*"),
        Permission::new("iam:ListRolePolicies", "arn:{partition}:iam::{account}:role/*"),
        Permission::new("lambda:ListFunctions", "*"),
    ];
    const WRITES: &'static [Permission] = &[
        Permission::new("iam:DeleteRolePolicy", "arn:{partition}:iam::{account}:role/{role}"),
        Permission::new("iam:PutRolePolicy", "arn:{partition}:iam::{account}:role/{role}"),
    ];
    const SETTLE: SignedDuration = SignedDuration::from_mins(5);
    const UNDO_ONLY_NAMED: bool = true;

    type Params = Params;
    type Before = Before;
    type Ticket = ();
    type Outcome = Outcome;

    fn bind(&self, _with: &Params, before: &Before) -> Bindings {
        Bindings::new().with("role", [before.path_name.clone()])
    }

    async fn plan(&self, cx: Cx<'_>, with: &Params) -> Result<Plan<Before>, ActionError> {
        let scope = scope(with)?;
        let mut plan = Planned::default();
        let name = match subject(cx, with, &scope, &mut plan).await? {
            Ok(name) => name,
            Err(stop) => return Ok(stop),
        };
        let refuse = |arn: &str| {
            refused(&name, arn, cx.protected)
                .map(|what| Plan::Refuse { code: "refused-subject", why: format!("role {name} is {what}. Cordon never changes it") })
        };
        if let Some(stop) = refuse("") {
            return Ok(stop);
        }
        let client = cx.read.iam();
        let Some(role) = role::role(&client, &name).await? else {
            return Ok(Plan::Moot { why: format!("there is no role {name} in account {}", cx.cell.account) });
        };
        if let Some(stop) = refuse(&role.arn) {
            return Ok(stop);
        }
        plan.opt_outs.extend(cx.opt_out(&role.arn, role.tag_pairs()));
        let policy_name = scope.policy_name();
        let text = role::policy(&client, &role.name, &policy_name).await?;
        let found = policy::read(&scope, text.as_deref());
        match found {
            Found::Foreign => return Ok(foreign(&role, &policy_name)),
            Found::None if with.move_forward => {
                let why = format!("role {name} has no policy {policy_name}: there is no cut-off to move forward");
                return Ok(Plan::Moot { why });
            }
            _ => {}
        }
        let cutoff = policy::cutoff(cx.clock.now());
        let recent = cutoff.checked_sub(FRESH).unwrap_or(cutoff);
        let done = found.cutoff().is_some_and(|cutoff| cutoff >= recent);
        if !done
            && let Some(stop) = room(&client, &role, &policy_name, &policy::document(&scope, cutoff, found.replaced().as_deref())).await?
        {
            return Ok(stop);
        }
        let shared_with = sharers(cx, &scope, &role, &mut plan).await?;
        plan.notes.extend(facts(&scope));
        plan.touches = [role.arn.clone()].into();
        plan.counts = Some([role.arn.clone()].into());
        let denied = json!("denied");
        let difference =
            |before: Value| Difference { resource: role.arn.clone(), attribute: scope.attribute(), before, after: denied.clone() };
        if done {
            plan.already.push(difference(denied.clone()));
        } else {
            if scope == Scope::Role {
                plan.ask = Some(shared_with.question(&role));
            }
            let date = found.date();
            if let Some(date) = &date {
                let whose = if matches!(found, Found::Console { .. }) { "AWS's own revocation" } else { "an earlier cut-off" };
                plan.notes.push(format!("{policy_name} of role {name} is {whose}, of {date}: it is moved forward"));
            }
            plan.changes.push(difference(date.map_or(Value::Null, |date| json!({ "denied, if issued before": date }))));
        }
        let before = Before {
            path_name: role.path_name().to_owned(),
            role: role.name,
            arn: role.arn,
            cutoff,
            replaced: if scope == Scope::Role { found.replaced() } else { None },
            found: text,
            scope,
            shared_with,
        };
        Ok(Plan::Ready { before, plan })
    }

    async fn apply(&self, cx: Cx<'_>, write: Write<'_>, _with: &Params, before: &Before) -> Result<Progress<(), Outcome>, ApplyError> {
        apply::apply(cx, &write.aws.iam(), before).await?;
        Ok(Progress::Done(Outcome {
            role: before.role.clone(),
            policy: before.policy_name(),
            scope: before.scope.word(),
            cutoff: policy::written(before.cutoff),
            userid: before.scope.userid(),
            shared_with: before.shared_with.clone(),
            moved_from: before.at_plan().date(),
        }))
    }

    async fn verify(&self, cx: Cx<'_>, _with: &Params, before: &Before) -> Result<Verdict, ActionError> {
        apply::verify(cx, before).await
    }

    async fn undo(&self, cx: Cx<'_>, write: Write<'_>, _with: &Params, before: &Before, only: &[ChangeKey]) -> Result<Undo, ApplyError> {
        apply::undo(cx, &write.aws.iam(), before, only).await
    }
}

/// The name of the role, or why the plan stops: the instance is looked at where one is meant.
async fn subject(cx: Cx<'_>, with: &Params, scope: &Scope, plan: &mut Planned) -> Result<Result<String, Plan<Before>>, ActionError> {
    let named = with.role.as_deref().map(|role| role_name(cx, role)).transpose()?;
    let Scope::Instance(id) = scope else {
        return named.map(Ok).ok_or_else(|| wrong("without `instance`, `role` is needed".to_owned()));
    };
    let Some((region, machine)) = role::machine(cx, id).await? else {
        return Ok(match named {
            Some(name) => {
                let why = format!("there is no instance {id} in {}: sessions that it had are denied all the same", cx.cell);
                plan.notes.push(why);
                Ok(name)
            }
            None => Err(Plan::Moot { why: format!("there is no instance {id} in {}, so its role is not known", cx.cell) }),
        });
    };
    let arn = format!("arn:{}:ec2:{region}:{}:instance/{id}", region.partition(), cx.cell.account);
    plan.opt_outs.extend(cx.opt_out(&arn, pairs(&machine.tags)));
    if let Some(who) = machine.controller.as_ref().filter(|_| !with.even_if_managed) {
        let why = format!("instance {id} is run by {who}, which works with these sessions. A person has to decide");
        return Ok(Err(Plan::Refuse { code: "run-by-controller", why }));
    }
    if let Some(name) = named {
        return Ok(Ok(name));
    }
    Ok(role::role_of(cx, id, &region).await?.map_err(|why| Plan::Moot { why }))
}

/// The hold where something else stands under the policy's name.
fn foreign(role: &Role, policy: &str) -> Plan<Before> {
    let whose = if policy == CONSOLE { "is not what AWS's console writes" } else { "is not what Cordon writes" };
    let why = format!(
        "inline policy {policy} of {} {whose}: it is left alone. Look at it (aws iam get-role-policy --role-name {} --policy-name {policy}), and rename or remove it",
        role.arn, role.name
    );
    Plan::Refuse { code: "foreign-policy", why }
}

/// The hold where the role's inline policies leave no room; `None`: there is.
async fn room(client: &aws_sdk_iam::Client, role: &Role, policy: &str, document: &Value) -> Result<Option<Plan<Before>>, ActionError> {
    let sizes = role::sizes(client, &role.name).await?;
    let others: usize = sizes.iter().filter(|(name, _)| name != policy).map(|(_, size)| size).sum();
    let ours = policy::size(&document.to_string());
    if others + ours <= ROOM {
        return Ok(None);
    }
    let mut largest = sizes;
    largest.sort_by_key(|(name, size)| (std::cmp::Reverse(*size), name.clone()));
    let largest: Vec<String> =
        largest.iter().filter(|(name, _)| name != policy).take(5).map(|(name, size)| format!("{name} {size}")).collect();
    let why = format!(
        "the inline policies of {} have {others} of {ROOM} characters ({}), and {policy} needs {ours}: move one of them into a managed policy",
        role.arn,
        largest.join(", ")
    );
    Ok(Some(Plan::Refuse { code: "no-policy-room", why }))
}

/// Who shares the role, with what the reader should know of it, and whose opt-outs count.
async fn sharers(cx: Cx<'_>, scope: &Scope, role: &Role, plan: &mut Planned) -> Result<SharedWith, ActionError> {
    let (mut all, opt_outs) = shared::shared(cx, role, *scope == Scope::Role).await?;
    match scope {
        // All of them are hit: the opt-out of each counts.
        Scope::Role => {
            plan.opt_outs.extend(opt_outs);
            plan.notes.extend(all.notes(role));
        }
        Scope::Instance(_) | Scope::Session(_) => {
            if let Scope::Instance(id) = scope {
                all.instances.retain(|arn| !arn.ends_with(&format!("/{id}")));
            }
            let others: Vec<(&str, &BTreeSet<String>)> = vec![("other instance", &all.instances), ("Lambda function", &all.functions)];
            for (what, sharers) in others.into_iter().filter(|(_, sharers)| !sharers.is_empty()) {
                plan.notes.push(format!("role {} is shared by {}: their sessions go on working", role.name, counted(what, sharers, 10)));
            }
            if !all.not_looked_in.is_empty() {
                plan.notes.push(all.unread());
            }
        }
    }
    Ok(all)
}
