//! Who the owner is: from the resource's tag, the account's tag, then the account's alternate contact for security.

use std::{collections::BTreeMap, fmt};

use cordon_shared::{engine::View, notice::changed};

use super::address::{self, Address};
use crate::{config::owner::Owner as Settings, text};

/// How many characters of a text of others are shown.
pub const SHOWN: usize = 80;

/// Where an owner is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the tag with this key of a resource.
    Resource(String, String),
    /// In the tag with this key of an account.
    Account(String, String),
    /// In the SECURITY alternate contact of an account.
    Contact(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resource(key, arn) => write!(f, "the tag `{}` of {arn}", shown(key)),
            Self::Account(key, account) => write!(f, "the tag `{}` of account {account}", shown(key)),
            Self::Contact(account) => write!(f, "the security contact of account {account}"),
        }
    }
}

/// A text that may name the owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clue {
    /// Where it stands.
    pub place: Place,
    /// The text, as somebody in the member account wrote it.
    pub text: String,
}

/// The owner, as far as found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Where to tell them, and where that stands.
    pub address: Option<(Address, Place)>,
    /// The names that lead nowhere, and where they stand.
    pub names: Vec<(String, Place)>,
    /// What was passed over, and why, in sentences.
    pub passed_over: Vec<String>,
}

impl Found {
    /// Looks at clues in their order, until one leads to an address that may be told by a way that there is.
    #[must_use]
    pub fn look(mut self, clues: impl IntoIterator<Item = Clue>, settings: &Settings) -> Self {
        for Clue { place, text } in clues {
            if self.address.is_some() {
                break;
            }
            match address::read(&text) {
                Some(Address::Mail(mail)) if !address::is_within(&mail, &settings.domains) => {
                    self.passed_over.push(format!("{} of {place} is outside `[owner] domains`", shown(&mail)));
                }
                Some(Address::Slack(id)) if !settings.slack => {
                    self.passed_over
                        .push(format!("{} of {place} is an id of Slack, where owners are not told (`[owner] slack`)", shown(&id)));
                }
                Some(address) => self.address = Some((address, place)),
                None if text.trim().is_empty() => self.passed_over.push(format!("{place} is empty")),
                None => {
                    self.passed_over.push(format!("`{}` of {place} is a name and no address", shown(&text)));
                    self.names.push((shown(&text), place));
                }
            }
        }
        self
    }

    /// Why nobody is told.
    #[must_use]
    pub fn nobody(&self) -> String {
        if self.passed_over.is_empty() {
            return "nobody is named: neither by a tag nor as the account's security contact".to_owned();
        }
        format!("nobody is named who can be told: {}", self.passed_over.join("; "))
    }
}

/// A text of others, short and without anything that is not seen.
pub(super) fn shown(text: &str) -> String {
    text::cut(&text::safe(text.trim()), SHOWN)
}

/// What the tags of the subject say, then those of what was changed, as the steps' plans read them. Each resource once.
#[must_use]
pub fn of_resources(view: &View, key: &str) -> Vec<Clue> {
    let mut clues: Vec<Clue> = Vec::new();
    let subject = view.subject.name();
    let plans = || changed(view).filter_map(|step| step.plan.as_ref());
    let of_subject = plans().filter_map(|plan| plan.tags.get_key_value(subject));
    let of_changed = plans().flat_map(|plan| {
        let resources = plan.resources();
        plan.tags.iter().filter(move |(resource, _)| resources.contains(*resource))
    });
    for (resource, tags) in of_subject.chain(of_changed) {
        let Some((name, text)) = tag(tags, key) else { continue };
        let clue = Clue { place: Place::Resource(name.to_owned(), resource.clone()), text: text.to_owned() };
        if !clues.contains(&clue) {
            clues.push(clue);
        }
    }
    clues
}

/// What the tag of an account says.
#[must_use]
pub fn of_account(account: &str, tags: &BTreeMap<String, String>, key: &str) -> Option<Clue> {
    tag(tags, key).map(|(name, text)| Clue { place: Place::Account(name.to_owned(), account.to_owned()), text: text.to_owned() })
}

/// The tag with this key; capitals make no difference, unless one has exactly these.
fn tag<'t>(tags: &'t BTreeMap<String, String>, key: &str) -> Option<(&'t str, &'t str)> {
    let alike = || tags.iter().find(|(name, _)| name.to_lowercase() == key.to_lowercase());
    tags.get_key_value(key).or_else(alike).map(|(name, text)| (name.as_str(), text.as_str()))
}

#[cfg(test)]
mod tests {
    use cordon_shared::mode::Mode;

    use super::*;
    use crate::report::fixture::{GROUP, Run, blocking, closing};

    fn settings(slack: bool, domains: &[&str]) -> Settings {
        Settings {
            tag_key: "owner".into(),
            from: Some("cordon@example.com".into()),
            slack,
            domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
            contact: "#security".into(),
        }
    }

    fn clue(place: Place, text: &str) -> Clue {
        Clue { place, text: text.to_owned() }
    }

    fn on_resource() -> Place {
        Place::Resource("owner".into(), GROUP.into())
    }

    fn on_account() -> Place {
        Place::Account("Owner".into(), "111122223333".into())
    }

    fn contact() -> Place {
        Place::Contact("111122223333".into())
    }

    fn told(clues: Vec<Clue>, settings: &Settings) -> (Option<String>, Vec<String>) {
        let found = Found::default().look(clues, settings);
        (found.address.map(|(address, place)| format!("{} from {place}", address.text())), found.passed_over)
    }

    #[test]
    fn the_resources_tag_counts_before_the_accounts_and_that_before_the_contact() {
        let all = [clue(on_resource(), "a@example.com"), clue(on_account(), "b@example.com"), clue(contact(), "c@example.com")];
        for (first, wanted) in [(0, "a@"), (1, "b@"), (2, "c@")] {
            let (found, over) = told(all[first..].to_vec(), &settings(false, &[]));
            assert!(found.unwrap().starts_with(wanted) && over.is_empty());
        }
    }

    #[test]
    fn a_name_is_told_as_a_name_and_the_next_place_is_asked() {
        let found = Found::default().look([clue(on_resource(), "payments"), clue(contact(), "sec@example.com")], &settings(true, &[]));
        assert_eq!(found.names, [("payments".to_owned(), on_resource())]);
        assert_eq!(found.address, Some((Address::Mail("sec@example.com".into()), contact())));
        assert_eq!(found.passed_over, [format!("`payments` of the tag `owner` of {GROUP} is a name and no address")]);
    }

    #[test]
    fn an_address_outside_the_domains_and_an_id_of_slack_without_slack_are_passed_over_and_said() {
        let clues = || vec![clue(on_resource(), "a@evil.example.net"), clue(on_account(), "U012AB3CD")];
        let (found, over) = told(clues(), &settings(false, &["example.com"]));
        assert_eq!(found, None);
        assert!(over[0].contains("outside `[owner] domains`") && over[1].contains("where owners are not told"), "{over:?}");
        let (found, _) = told(clues(), &settings(true, &["example.com"]));
        assert_eq!(found.as_deref(), Some("U012AB3CD from the tag `Owner` of account 111122223333"));
    }

    #[test]
    fn nobody_known_is_said_with_what_was_passed_over() {
        let nobody = |clues: Vec<Clue>| Found::default().look(clues, &settings(true, &[])).nobody();
        assert!(nobody(Vec::new()).starts_with("nobody is named: neither"));
        let hostile = format!("see https://evil.example/{}\r\nBcc: x@y.zz\u{202e}", "x".repeat(300));
        let said = nobody(vec![clue(on_resource(), &hostile), clue(on_account(), "  ")]);
        assert!(said.contains("is a name and no address") && said.ends_with("account 111122223333 is empty"), "{said}");
        assert!(said.len() < 500 && !said.contains(['\r', '\n', '\u{202e}']), "{said}");
    }

    #[test]
    fn tags_are_those_of_the_plans_of_steps_that_changed_something_the_subjects_first() {
        let mut run = Run::open(Mode::Act);
        let subject = run.view().subject.name().to_owned();
        let tags = |value: &str| BTreeMap::from([("OWNER".to_owned(), value.to_owned()), ("Name".to_owned(), "x".to_owned())]);
        let mut closed = closing();
        closed.tags = BTreeMap::from([(GROUP.to_owned(), tags("group")), (subject.clone(), tags("instance"))]);
        closed.tags.insert("arn:aws:ec2:us-east-1:111122223333:vpc/vpc-1".to_owned(), tags("bystander"));
        let mut blocked = blocking();
        blocked.tags = BTreeMap::from([(crate::report::fixture::ACL.to_owned(), tags("never begun"))]);
        run.applied("close-ingress", closed);
        run.planned("block-source", blocked);
        let clues = of_resources(&run.view(), "Owner");
        let texts: Vec<&str> = clues.iter().map(|clue| clue.text.as_str()).collect();
        assert_eq!(texts, ["instance", "group"]);
        assert_eq!(clues[0].place, Place::Resource("OWNER".into(), subject));
    }

    #[test]
    fn a_key_in_exactly_these_letters_counts_before_one_in_others() {
        let tags = BTreeMap::from([("OWNER".to_owned(), "a".to_owned()), ("owner".to_owned(), "b".to_owned())]);
        assert_eq!(of_account("1", &tags, "owner").unwrap().text, "b");
        assert_eq!(of_account("1", &tags, "Owner").unwrap().text, "a");
        assert_eq!(of_account("1", &tags, "team"), None);
    }
}
