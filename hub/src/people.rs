//! Who somebody is: an identity that was proven, and the person of `[[people]]` that it belongs to. One person has one name, by whatever
//! way they come, so that nobody answers as two.

use std::fmt;

use cordon_shared::engine::Person as Name;

use crate::{config::people::Person, journal::requests::Asker};

/// An identity that was proven: by Slack's signature, or by AWS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// A Slack user's id.
    Slack(String),
    /// An ARN, as STS tells it.
    Aws(String),
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slack(user) => write!(f, "slack:{user}"),
            Self::Aws(arn) => f.write_str(arn),
        }
    }
}

/// An identity that belongs to no person of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{identity}` is nobody that Cordon knows: whoever may is named in cordon.toml, {example}")]
pub struct Stranger {
    identity: String,
    example: String,
}

/// The person that an identity belongs to.
#[must_use]
pub fn whose<'p>(people: &'p [Person], identity: &Identity) -> Option<&'p Person> {
    people.iter().find(|person| match identity {
        Identity::Slack(user) => person.slack.as_deref() == Some(user),
        Identity::Aws(arn) => person.aws.iter().any(|principal| principal.is(arn)),
    })
}

/// The person of this name.
#[must_use]
pub fn named<'p>(people: &'p [Person], name: &Name) -> Option<&'p Person> {
    people.iter().find(|person| person.name == name.0)
}

/// Who asks, by their identity.
///
/// # Errors
/// [`Stranger`], with what to write where.
pub fn asker<'p>(people: &'p [Person], identity: &Identity) -> Result<(&'p Person, Asker), Stranger> {
    match whose(people, identity) {
        Some(person) => Ok((person, Asker { by: Name(person.name.clone()), identity: identity.to_string() })),
        None => Err(Stranger { identity: identity.to_string(), example: example(identity) }),
    }
}

fn example(identity: &Identity) -> String {
    match identity {
        Identity::Slack(user) => format!("[[people]] name = \"…\", slack = \"{user}\""),
        Identity::Aws(arn) => match crate::config::people::Principal::read(arn) {
            Ok(_) => format!("[[people]] name = \"…\", roles = [\"approver\"], aws = [\"{arn}\"]"),
            Err(help) => format!("[[people]] name = \"…\", roles = [\"approver\"], aws = [\"…\"]; {help}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::people::Principal;

    #[test]
    fn one_person_is_one_by_whichever_way_they_come() {
        let arn = "arn:aws:iam::222222222222:user/ann";
        let ann = Person {
            name: "Ann".into(),
            roles: vec!["approver".into()],
            slack: Some("U01".into()),
            aws: vec![Principal::read(arn).unwrap()],
        };
        let people = [ann];
        let (_, by_slack) = asker(&people, &Identity::Slack("U01".into())).unwrap();
        let (_, by_aws) = asker(&people, &Identity::Aws(arn.into())).unwrap();
        assert_eq!(by_slack.by, by_aws.by);
        assert_eq!((by_slack.identity.as_str(), by_aws.identity.as_str()), ("slack:U01", arn));
        let stranger = asker(&people, &Identity::Aws("arn:aws:sts::222222222222:assumed-role/Admin/ann".into())).unwrap_err().to_string();
        assert!(
            stranger.contains("assumed-role/Admin/ann") && stranger.contains("[[people]]") && stranger.contains("the role"),
            "{stranger}"
        );
    }
}
