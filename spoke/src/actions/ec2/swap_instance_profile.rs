//! `ec2.swap-instance-profile`: gives an instance another instance profile, with another role, which may do nothing.
//!
//! Profile and role are made for this one instance, `cordon-<instance id>` at the path `/cordon/`, and taken away again by the undo. A
//! profile with the same role would not do: the instance would get fresh credentials of that role. The old role is not touched, nor is
//! any other instance that has it. **Recovery key:** name and path of role and profile with the tags of the incident, and for the
//! association the profile that it names; AWS gives an association another id with each replacement.

mod apply;
mod blank;
mod undo;

use cordon_shared::{
    arn::same_principal,
    plan::{Change as Difference, ChangeKey, Plan as Planned, Risk, Seat, Verdict},
};
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::blank::{Blank, PATH, Thing};
use super::{
    instance::subject,
    profile::{Role, association, name_in, profile},
};
use crate::{
    action::{ActionError, ApplyError, Change, Cx, Plan, Progress, Undo, Write},
    permission::{Bindings, Permission},
};

/// Gives an instance a profile whose role may do nothing.
#[derive(Debug, Clone, Copy)]
pub struct SwapInstanceProfile;

const NAME: &str = "ec2.swap-instance-profile";
const ATTRIBUTE: &str = "instance profile";

/// Which instance.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The instance (`i-…`).
    pub instance: String,
    /// Also where another controller (EKS, ECS, Elastic Beanstalk, …) runs it.
    #[serde(default)]
    pub even_if_managed: bool,
}

/// All that undo needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Before {
    instance: String,
    /// The id of the association that was found.
    association: String,
    /// The ARN of the profile that was found.
    profile: String,
    /// The role in it.
    role: Role,
    /// The incident whose tag what is made carries.
    run: String,
}

/// A profile and its role.
#[derive(Debug, Clone, Serialize)]
pub struct Held {
    /// The ARN of the profile.
    pub profile: String,
    /// The ARN of the role.
    pub role: String,
}

/// What was done.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The id of the association now.
    pub association: String,
    /// What the instance had.
    pub was: Held,
    /// What it has.
    pub now: Held,
}

impl Blank {
    fn held(&self) -> Held {
        Held { profile: self.profile_arn.clone(), role: self.role_arn.clone() }
    }
}

fn held(value: &Held) -> Value {
    json!(value)
}

impl Change for SwapInstanceProfile {
    const NAME: &'static str = NAME;
    const ABOUT: &'static str = "Gives an instance another instance profile with a role without any rights; the old role is not touched";
    const RISK: Risk = Risk::Disruptive;
    const SEAT: Seat = Seat::Member;
    // https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
    // https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsidentityandaccessmanagementiam.html
    const READS: &'static [Permission] = &[
        Permission::new("ec2:DescribeIamInstanceProfileAssociations", "*"),
        Permission::new("ec2:DescribeInstances", "*"),
        Permission::new("iam:GetInstanceProfile", "arn:{partition}:iam::{account}:instance-profile/*"),
        // All roles: of one that is not there IAM knows no path, and would deny instead of saying so.
        Permission::new("iam:GetRole", "arn:{partition}:iam::{account}:role/*"),
        Permission::new("iam:ListAttachedRolePolicies", "arn:{partition}:iam::{account}:role/*"),
        Permission::new("iam:ListRolePolicies", "arn:{partition}:iam::{account}:role/*"),
    ];
    const WRITES: &'static [Permission] = &[
        Permission::new("ec2:ReplaceIamInstanceProfileAssociation", "arn:{partition}:ec2:{region}:{account}:instance/{instance}"),
        Permission::new("iam:CreateRole", "arn:{partition}:iam::{account}:role/cordon/cordon-{instance}"),
        Permission::new("iam:DeleteRole", "arn:{partition}:iam::{account}:role/cordon/cordon-{instance}"),
        // Tags at creation need it: https://docs.aws.amazon.com/IAM/latest/UserGuide/id_tags_roles.html
        Permission::new("iam:TagRole", "arn:{partition}:iam::{account}:role/cordon/cordon-{instance}"),
        Permission::new("iam:AddRoleToInstanceProfile", "arn:{partition}:iam::{account}:instance-profile/cordon/cordon-{instance}"),
        Permission::new("iam:CreateInstanceProfile", "arn:{partition}:iam::{account}:instance-profile/cordon/cordon-{instance}"),
        Permission::new("iam:DeleteInstanceProfile", "arn:{partition}:iam::{account}:instance-profile/cordon/cordon-{instance}"),
        Permission::new("iam:RemoveRoleFromInstanceProfile", "arn:{partition}:iam::{account}:instance-profile/cordon/cordon-{instance}"),
        Permission::new("iam:TagInstanceProfile", "arn:{partition}:iam::{account}:instance-profile/cordon/cordon-{instance}"),
        PASS_OURS,
        PASS_OLD,
    ];
    const SETTLE: SignedDuration = SignedDuration::from_secs(60);

    type Params = Params;
    type Before = Before;
    type Ticket = ();
    type Outcome = Outcome;

    fn bind(&self, _with: &Params, before: &Before) -> Bindings {
        Bindings::new().with("instance", [before.instance.clone()]).with("old", [before.role.in_arn()])
    }

    async fn plan(&self, cx: Cx<'_>, with: &Params) -> Result<Plan<Before>, ActionError> {
        let (id, iam) = (&with.instance, cx.read.iam());
        let mut plan = Planned::default();
        let machine = match subject(cx, id, with.even_if_managed, &mut plan).await? {
            Ok((machine, _)) => machine,
            Err(none) => return Ok(none),
        };
        let Some(found) = association(&cx.read.ec2(), id).await? else {
            return Ok(Plan::Moot { why: format!("instance {id} has no instance profile: there are no credentials to cut") });
        };
        let blank = Blank::of(cx, id);
        let state = blank::look(&iam, &blank).await?;
        if let Some(why) = state.foreign() {
            let why = format!("{why}. It is not used. Find out who made it, and delete it if it should not be there");
            return Ok(Plan::Refuse { code: "foreign-role", why });
        }
        let arn = cx.ec2_arn(&format!("instance/{id}"));
        let difference =
            |before: Value| Difference { resource: arn.clone(), attribute: ATTRIBUTE.to_owned(), before, after: held(&blank.held()) };
        // The profile is the lock: nobody else works with it, and slow steps do not keep the instance from it.
        plan.touches.insert(blank.profile_arn.clone());
        let ours = found.profile == blank.profile_arn;
        let Some(role) = profile(&iam, name_in(&found.profile)).await?.filter(|profile| profile.arn == found.profile) else {
            let why = format!("the instance profile {} of {id} was deleted: it hands out no fresh credentials", found.profile);
            return Ok(Plan::Moot { why });
        };
        let Some(role) = role.roles.into_iter().next() else {
            let why = format!("there is no role in the instance profile {} of {id}: there are no credentials to cut", found.profile);
            return Ok(Plan::Moot { why });
        };
        let before = Before { instance: id.clone(), association: found.id, profile: found.profile, role, run: cx.run.to_string() };
        if ours {
            plan.already.push(difference(held(&blank.held())));
            return Ok(Plan::Ready { before, plan });
        }
        plan.changes.push(difference(held(&Held { profile: before.profile.clone(), role: before.role.arn.clone() })));
        notes(cx, &blank, &state, &before, &machine.state, &mut plan);
        Ok(Plan::Ready { before, plan })
    }

    async fn apply(&self, cx: Cx<'_>, write: Write<'_>, _with: &Params, before: &Before) -> Result<Progress<(), Outcome>, ApplyError> {
        apply::apply(cx, write, before).await.map(Progress::Done)
    }

    async fn verify(&self, cx: Cx<'_>, _with: &Params, before: &Before) -> Result<Verdict, ActionError> {
        apply::verify(cx, before).await
    }

    async fn undo(&self, cx: Cx<'_>, write: Write<'_>, _with: &Params, before: &Before, only: &[ChangeKey]) -> Result<Undo, ApplyError> {
        undo::undo(cx, write, before, only).await
    }
}

/// A role is passed to EC2 and to no other service: `ec2.amazonaws.com`, in China `ec2.amazonaws.com.cn`
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_iam-condition-keys.html#ck_PassedToService>).
const TO_EC2: &[crate::permission::Condition] = &[("StringLike", "iam:PassedToService", "ec2.amazonaws.com*")];

const PASS_OURS: Permission =
    Permission { action: "iam:PassRole", resource: "arn:{partition}:iam::{account}:role/cordon/cordon-{instance}", conditions: TO_EC2 };

/// What an undo gives back.
const PASS_OLD: Permission =
    Permission { action: "iam:PassRole", resource: "arn:{partition}:iam::{account}:role/{old}", conditions: TO_EC2 };

/// Whether a role is one that Cordon never changes. An instance may lose it all the same: the role stays as it is.
fn is_kept(protected: &[String], role: &str) -> bool {
    role.starts_with("AWSServiceRole") || role.starts_with("AWSReservedSSO_") || protected.iter().any(|own| same_principal(own, role))
}

/// What a reader should know.
fn notes(cx: Cx<'_>, blank: &Blank, state: &blank::State, before: &Before, power: &str, plan: &mut Planned) {
    let (id, old) = (&before.instance, &before.role);
    plan.notes.push(format!(
        "{id} gets the role {} without any rights, made for it alone, instead of {}; other instances with that role are not touched",
        blank.name, old.name
    ));
    plan.notes.push(format!(
        "credentials of {} that {id} was given before stay valid until they expire, up to 6 hours, unless older sessions are denied",
        old.name
    ));
    if is_kept(cx.protected, &old.name) {
        plan.notes.push(format!("{} is a role that Cordon never changes: only {id} loses it, the role stays as it is", old.name));
    }
    if power != "running" {
        plan.notes.push(format!("{id} is {power}: it gets credentials of the other role when it runs again"));
    }
    for (what, thing) in [("role", &state.role), ("instance profile", &state.profile)] {
        if let Thing::Ours { run } = thing
            && *run != before.run
        {
            plan.notes.push(format!("the {what} {PATH}{} of {run} is used again; an undo leaves it", blank.name));
        }
    }
}

#[cfg(test)]
mod tests {
    use cordon_shared::id::CellId;

    use super::*;
    use crate::permission::{SESSION_POLICY_LIMIT, role_statements, write_policy};

    #[test]
    fn roles_that_are_never_changed_are_known_by_name_whatever_their_path() {
        let protected = ["CordonSpoke".to_owned(), "ops/break-glass".to_owned()];
        for role in ["CordonSpoke", "break-glass", "Break-Glass", "cordonspoke", "AWSServiceRoleForEC2", "AWSReservedSSO_Admin_0123"] {
            assert!(is_kept(&protected, role), "{role}");
        }
        assert!(!is_kept(&protected, "app") && !is_kept(&[], "CordonSpoke2"));
    }

    #[test]
    fn the_write_session_passes_two_roles_to_ec2_and_makes_one() {
        let cell = CellId::new("111122223333".parse().unwrap(), "ap-southeast-1".parse().unwrap());
        let role = Role { name: "app".to_owned(), arn: "arn:aws:iam::111122223333:role/service/app".to_owned() };
        let before = Before {
            instance: "i-0123456789abcdef0".to_owned(),
            association: "iip-assoc-1".to_owned(),
            profile: "arn:aws:iam::111122223333:instance-profile/service/app".to_owned(),
            role,
            run: "inc-1".to_owned(),
        };
        let with: Params = serde_json::from_value(json!({ "instance": before.instance })).unwrap();
        let policy = write_policy(SwapInstanceProfile::WRITES, &cell, &SwapInstanceProfile.bind(&with, &before)).unwrap();
        assert!(policy.len() < SESSION_POLICY_LIMIT && !policy.contains("/*"), "{policy}");
        let policy: Value = serde_json::from_str(&policy).unwrap();
        let passes = policy["Statement"].as_array().unwrap().iter().find(|statement| statement["Action"] == "iam:PassRole").unwrap();
        assert_eq!(
            passes["Resource"],
            json!(["arn:aws:iam::111122223333:role/cordon/cordon-i-0123456789abcdef0", "arn:aws:iam::111122223333:role/service/app"])
        );
        assert_eq!(passes["Condition"], json!({ "StringLike": { "iam:PassedToService": "ec2.amazonaws.com*" } }));
        let standing = role_statements(SwapInstanceProfile::WRITES);
        let creates = standing.iter().find(|statement| statement["Action"].to_string().contains("iam:CreateRole")).unwrap();
        assert_eq!(creates["Resource"], "arn:${AWS::Partition}:iam::${AWS::AccountId}:role/cordon/cordon-*");
        assert!(!serde_json::to_string(&standing).unwrap().contains("PutRolePolicy"));
    }
}
