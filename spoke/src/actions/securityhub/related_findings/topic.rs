//! What is looked for, and whether a finding has it.

use std::{collections::BTreeSet, net::IpAddr};

use cordon_shared::{
    arn::Arn,
    finding::{Finding, Subject, SubjectKind},
    id::AccountId,
    intake::{self, Item},
};
use serde::Serialize;

use super::{Match, Params};
use crate::{action::Cx, aws::findings::guardduty::finding_id};

/// What a finding has in common with the incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Share {
    /// The instance.
    Instance,
    /// The access key.
    AccessKey,
    /// The role.
    Role,
    /// The user.
    User,
    /// Another resource.
    Resource,
    /// The address of the other side.
    Source,
}

/// What is looked for.
#[derive(Debug)]
pub(super) struct Topic {
    pub account: AccountId,
    except: Option<String>,
    /// Ids of instances.
    pub instances: BTreeSet<String>,
    /// Names of roles and users.
    pub names: BTreeSet<String>,
    /// Names that are a role's, or a user's, or either.
    roles: BTreeSet<String>,
    users: BTreeSet<String>,
    pub keys: BTreeSet<String>,
    pub sources: BTreeSet<IpAddr>,
    /// As Security Hub may name what is looked for (`Resources.Id`).
    pub resources: BTreeSet<String>,
    /// ARNs of other resources.
    others: BTreeSet<String>,
}

impl Topic {
    pub fn new(cx: Cx<'_>, with: &Params) -> Self {
        let mut topic = Self {
            account: with.account.clone(),
            except: with.except.clone().filter(|id| !id.is_empty()),
            instances: BTreeSet::new(),
            names: BTreeSet::new(),
            roles: BTreeSet::new(),
            users: BTreeSet::new(),
            keys: with.access_keys.iter().map(|key| key.trim().to_owned()).filter(|key| !key.is_empty()).collect(),
            sources: with.sources.iter().copied().collect(),
            resources: BTreeSet::new(),
            others: BTreeSet::new(),
        };
        for subject in with.subjects.iter().map(|subject| subject.trim()).filter(|subject| !subject.is_empty()) {
            match subject.parse::<Arn>() {
                Ok(arn) => topic.arn(&arn),
                Err(_) => topic.bare(cx, subject),
            }
        }
        // As GuardDuty's and Security Hub's own products name a key
        // (<https://docs.aws.amazon.com/securityhub/latest/userguide/asff-resourcedetails-awsiam.html>).
        topic.resources.extend(topic.keys.iter().map(|key| format!("AWS::IAM::AccessKey:{key}")));
        topic
    }

    fn arn(&mut self, arn: &Arn) {
        self.resources.insert(arn.as_str().to_owned());
        let last = || arn.resource().rsplit('/').next().unwrap_or_default().to_owned();
        match (arn.service(), arn.resource().split_once('/')) {
            ("ec2", Some(("instance", id))) => drop(self.instances.insert(id.to_owned())),
            ("iam", Some(("role", _))) => self.principal(&last(), true, false),
            ("iam", Some(("user", _))) => self.principal(&last(), false, true),
            ("sts", Some(("assumed-role", path))) => self.principal(path.split('/').next().unwrap_or(path), true, false),
            _ => drop(self.others.insert(arn.as_str().to_owned())),
        }
    }

    /// An instance's id, or a name that may be a role's or a user's. Security Hub's filters know no suffix
    /// (<https://docs.aws.amazon.com/securityhub/1.0/APIReference/API_StringFilter.html>), so ARNs are made of it.
    fn bare(&mut self, cx: Cx<'_>, id: &str) {
        let partition = cx.read.partition();
        let account = self.account.clone();
        if id.starts_with("i-") {
            self.instances.insert(id.to_owned());
            let arns = cx.regions.iter().map(|region| format!("arn:{partition}:ec2:{region}:{account}:instance/{id}"));
            self.resources.extend(arns.chain([id.to_owned()]));
        } else {
            self.principal(id, true, true);
            self.resources.extend(["role", "user"].map(|kind| format!("arn:{partition}:iam::{account}:{kind}/{id}")));
        }
    }

    fn principal(&mut self, name: &str, role: bool, user: bool) {
        self.names.insert(name.to_owned());
        if role {
            self.roles.insert(name.to_owned());
        }
        if user {
            self.users.insert(name.to_owned());
        }
    }

    /// The findings among documents that have something in common, and how many documents cannot be read. What was asked for is checked
    /// again here: an endpoint that passes over a filter widens nothing.
    pub fn matches(&self, documents: &[Vec<u8>], place: &str) -> (Vec<Match>, usize) {
        let (mut found, mut unusable) = (Vec::new(), 0);
        for document in documents {
            for (_, item) in intake::items(document.as_slice(), place) {
                match item {
                    Item::Finding(finding) => {
                        let shares = self.shares(&finding);
                        if !shares.is_empty() && !self.is_known(&finding) && finding.cell.account == self.account {
                            found.push(Match { finding: *finding, shares });
                        }
                    }
                    Item::NotAFinding { .. } => {}
                    Item::Rejected(_) => unusable += 1,
                }
            }
        }
        (found, unusable)
    }

    fn is_known(&self, finding: &Finding) -> bool {
        let Some(except) = &self.except else { return false };
        finding.id.0 == *except || (finding.id.0.starts_with("arn:") && finding_id(&finding.id.0) == except)
    }

    fn shares(&self, finding: &Finding) -> Vec<Share> {
        let mut shares: BTreeSet<Share> = finding.subjects.iter().filter_map(|subject| self.share(subject)).collect();
        if let Some(credential) = &finding.credential {
            let among = |known: &BTreeSet<String>, value: &Option<String>| value.as_ref().is_some_and(|value| known.contains(value));
            if among(&self.keys, &credential.access_key_id) {
                shares.insert(Share::AccessKey);
            }
            if among(&self.instances, &credential.instance) {
                shares.insert(Share::Instance);
            }
        }
        if finding.network.remote_ips.iter().any(|ip| self.sources.contains(ip)) {
            shares.insert(Share::Source);
        }
        shares.into_iter().collect()
    }

    fn share(&self, subject: &Subject) -> Option<Share> {
        let (known, share) = match subject.kind {
            SubjectKind::Instance => (&self.instances, Share::Instance),
            SubjectKind::AccessKey => (&self.keys, Share::AccessKey),
            SubjectKind::Role => (&self.roles, Share::Role),
            SubjectKind::User => (&self.users, Share::User),
            _ => {
                let arn = subject.arn.as_ref()?.as_str();
                return self.others.contains(arn).then_some(Share::Resource);
            }
        };
        known.contains(&subject.id).then_some(share)
    }
}
