//! `[[people]]`: who works with Cordon, by which identities, in which roles.

use std::{collections::BTreeSet, fmt};

use cordon_shared::arn::Arn;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::{file::File, problem::Problems};

type Text = Spanned<String>;

/// Somebody who works with Cordon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PersonFile {
    /// The name that the journal and the report know them by.
    #[schemars(with = "String", length(min = 1))]
    pub name: Text,
    /// What they may do, as the policies have it. Those that come with Cordon know `approver` (says yes and no to plans) and `operator`
    /// (undoes, releases, retries, closes, opens and thaws).
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub roles: Vec<Text>,
    /// Their Slack user's id: `U0123456789`.
    #[schemars(with = "Option<String>")]
    pub slack: Option<Text>,
    /// Who AWS says that they are, as `aws sts get-caller-identity` tells it: ARNs of IAM users and of sessions in IAM Identity Center. The ARN
    /// of a role stands for whoever may assume it.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub aws: Vec<Text>,
}

/// Somebody who works with Cordon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Their name.
    pub name: String,
    /// What they may do.
    pub roles: Vec<String>,
    /// Their Slack user.
    pub slack: Option<String>,
    /// Who AWS says that they are.
    pub aws: Vec<Principal>,
}

/// Who AWS says that somebody is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Principal(String);

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Sessions that IAM Identity Center opens are of roles of this name, and named after the user: nobody chooses that name
/// (<https://docs.aws.amazon.com/singlesignon/latest/userguide/referencingpermissionsets.html>).
const IDENTITY_CENTER: &str = "AWSReservedSSO_";

impl Principal {
    /// Reads an ARN that can stand for one person.
    ///
    /// # Errors
    /// Why it cannot, and what to write instead.
    pub fn read(text: &str) -> Result<Self, &'static str> {
        let arn: Arn = text.parse().map_err(|_| "write the ARN that `aws sts get-caller-identity` tells")?;
        if arn.account().is_none() {
            return Err("an ARN of a person's identity has an account");
        }
        match (arn.service(), arn.resource().split_once('/')) {
            ("iam", Some(("user" | "role", name))) if !name.is_empty() && !name.contains('*') => Ok(Self(text.to_owned())),
            ("sts", Some(("assumed-role", rest))) if !rest.contains('*') => match rest.split_once('/') {
                Some((role, session)) if role.starts_with(IDENTITY_CENTER) && !session.is_empty() => Ok(Self(text.to_owned())),
                _ => Err(
                    "who assumes this role chooses the session's name: name the user, a session of IAM Identity Center, or the role (arn:aws:iam::…:role/…)",
                ),
            },
            ("iam", None) if arn.resource() == "root" => {
                Err("the root user is nobody's daily identity: name a user, a role or a session of IAM Identity Center")
            }
            _ => Err("name an IAM user, a role, or a session of IAM Identity Center"),
        }
    }

    /// Whether one human could come as both: the same, a role and a session of it, or roles that sessions cannot tell apart (their paths are
    /// not in a session's ARN).
    fn overlaps(&self, other: &Self) -> bool {
        let session = |principal: &Self| {
            let arn: Option<Arn> = principal.0.parse().ok();
            arn.and_then(|arn| {
                let role = arn.resource().strip_prefix("role/")?.rsplit('/').next()?.to_owned();
                Some(format!("arn:{}:sts::{}:assumed-role/{role}/any", arn.partition(), arn.account()?))
            })
        };
        self.is(&other.0) || other.is(&self.0) || session(other).is_some_and(|session| self.is(&session))
    }

    /// Whether a caller, as STS tells it, is this one.
    #[must_use]
    pub fn is(&self, caller: &str) -> bool {
        if self.0 == caller {
            return true;
        }
        let (Ok(own), Ok(caller)) = (self.0.parse::<Arn>(), caller.parse::<Arn>()) else { return false };
        // The session's ARN has the role's name without its path.
        let role = own.resource().strip_prefix("role/").and_then(|role| role.rsplit('/').next());
        let of = caller.resource().strip_prefix("assumed-role/").and_then(|rest| rest.split('/').next());
        own.service() == "iam"
            && caller.service() == "sts"
            && own.partition() == caller.partition()
            && own.account() == caller.account()
            && role.is_some()
            && role == of
    }
}

/// The role of those who may say yes and no.
pub const APPROVER: &str = "approver";

/// Checks them.
pub(super) fn check(p: &mut Problems, file: &File) -> Vec<Person> {
    let people = people(p, &file.people);
    if matches!(file.hub.mode.get_ref().as_str(), "ask" | "act")
        && !people.iter().any(|person| !person.roles.is_empty() && (person.slack.is_some() || !person.aws.is_empty()))
    {
        let help =
            Some("name who may: [[people]] name = \"…\", roles = [\"approver\", \"operator\"], aws = [\"arn:aws:iam::…\"]".to_owned());
        p.warning(
            file.hub.mode.span(),
            "nobody may answer a question, release a hold or undo anything: no person has a role and an identity",
            help,
        );
    }
    people
}

fn people(p: &mut Problems, people: &[PersonFile]) -> Vec<Person> {
    let (mut names, mut users, mut principals) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    let mut out = Vec::new();
    for person in people {
        let name = person.name.get_ref().trim();
        if name.is_empty() || !names.insert(name) {
            let help = Some("one entry for each person, with all their identities: else one could answer as two".to_owned());
            p.error(person.name.span(), format!("`{name}` is empty or named twice"), help);
        }
        for role in person.roles.iter().filter(|role| !is_word(role.get_ref())) {
            let help = Some("a role is lower-case letters, digits and `-`".to_owned());
            p.error(role.span(), format!("`{}` is no role", role.get_ref()), help);
        }
        if let Some(user) = &person.slack {
            if !super::notify::is_id(user.get_ref(), "UW") {
                let help = Some("the id in the user's profile in Slack, like U0123456789".to_owned());
                p.error(user.span(), format!("`{}` is no id of a Slack user", user.get_ref()), help);
            } else if !users.insert(user.get_ref()) {
                p.error(user.span(), format!("`{}` is somebody else already", user.get_ref()), None);
            }
        }
        let mut aws = Vec::new();
        for arn in &person.aws {
            match Principal::read(arn.get_ref()) {
                Err(help) => p.error(arn.span(), format!("`{}` is no identity of one person", arn.get_ref()), Some(help.to_owned())),
                Ok(principal)
                    if principals.iter().any(|(whose, known): &(&str, Principal)| *whose != name && known.overlaps(&principal)) =>
                {
                    let help = Some("one identity belongs to one person: a role stands for each of its sessions".to_owned());
                    p.error(arn.span(), format!("`{principal}` is somebody already"), help);
                }
                Ok(principal) => {
                    principals.push((name, principal.clone()));
                    aws.push(principal);
                }
            }
        }
        out.push(Person {
            name: name.to_owned(),
            roles: person.roles.iter().map(|role| role.get_ref().clone()).collect(),
            slack: person.slack.as_ref().map(|user| user.get_ref().clone()),
            aws,
        });
    }
    out
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: &str = "arn:aws:sts::222222222222:assumed-role/AWSReservedSSO_Admin_0123456789abcdef/ann@example.com";

    #[test]
    fn only_what_one_person_alone_can_be_is_an_identity() {
        for good in ["arn:aws:iam::222222222222:user/ann", "arn:aws:iam::222222222222:role/people/Break", SESSION] {
            assert!(Principal::read(good).is_ok(), "{good}");
        }
        for wrong in [
            "ann",
            "arn:aws:iam::222222222222:root",
            "arn:aws:sts::222222222222:assumed-role/Admin/ann",
            "arn:aws:sts::222222222222:assumed-role/AWSReservedSSO_Admin_0123456789abcdef/",
            "arn:aws:sts::222222222222:assumed-role/AWSReservedSSO_Admin_0123456789abcdef/*",
            "arn:aws:iam::222222222222:user/*",
            "arn:aws:sts::222222222222:federated-user/ann",
            "arn:aws:iam:::user/ann",
        ] {
            assert!(Principal::read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_role_stands_for_each_of_its_sessions_and_nothing_else_for_another() {
        let role = Principal::read("arn:aws:iam::222222222222:role/people/Break").unwrap();
        assert!(role.is("arn:aws:sts::222222222222:assumed-role/Break/anything"));
        for other in [
            "arn:aws:sts::333333333333:assumed-role/Break/anything",
            "arn:aws-cn:sts::222222222222:assumed-role/Break/anything",
            "arn:aws:sts::222222222222:assumed-role/Breaker/anything",
            "arn:aws:iam::222222222222:user/Break",
        ] {
            assert!(!role.is(other), "{other}");
        }
        let bare = Principal::read("arn:aws:iam::222222222222:role/Break").unwrap();
        let other = Principal::read("arn:aws:iam::222222222222:role/Breaker").unwrap();
        assert!(role.overlaps(&bare) && bare.overlaps(&role) && !role.overlaps(&other));
        let sso = Principal::read("arn:aws:iam::222222222222:role/aws-reserved/AWSReservedSSO_Admin_0123456789abcdef").unwrap();
        let session = Principal::read(SESSION).unwrap();
        assert!(sso.overlaps(&session) && session.overlaps(&sso) && !session.overlaps(&role));
        assert!(session.is(SESSION) && !session.is(&SESSION.replace("ann@", "bob@")));
        let user = Principal::read("arn:aws:iam::222222222222:user/ann").unwrap();
        assert!(user.is("arn:aws:iam::222222222222:user/ann") && !user.is("arn:aws:sts::222222222222:assumed-role/ann/ann"));
    }
}
