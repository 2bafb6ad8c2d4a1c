//! What a finding is about, from an ARN, or a type and an id.

use super::common::{Owner, arn_part};
use crate::{
    arn::Arn,
    finding::{Subject, SubjectKind},
    id::{AccountId, CellId, Region},
};

/// A resource as a format names it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Resource<'a> {
    /// Its type: `AwsEc2Instance`, `AWS::EC2::Instance`, `AWS_EC2_INSTANCE`, …
    pub kind: &'a str,
    /// Its id or ARN.
    pub id: &'a str,
    /// Its Region, where the format says one.
    pub region: Option<&'a str>,
}

impl Resource<'_> {
    /// The subject that it is, within `owner`'s account and Region unless it says otherwise. An ARN says more than the
    /// type beside it: products give the wrong type now and then.
    pub(super) fn subject(self, owner: &Owner) -> Subject {
        let id = self.id.trim();
        let region = self.region.and_then(|name| name.trim().parse().ok()).unwrap_or_else(|| owner.region.clone());
        let kind = of_type(self.kind);
        if let Some(account) = id.strip_prefix("AWS::::Account:") {
            return whole_account(account, region, owner);
        }
        if let Some(key) = id.strip_prefix("AWS::IAM::AccessKey:") {
            return plain(SubjectKind::AccessKey, key, region, owner);
        }
        match id.parse::<Arn>() {
            Ok(arn) if kind == SubjectKind::Account && is_root(&arn) => whole_account(arn.account_text(), region, owner),
            Ok(arn) => of_arn(arn, self.region.map(|_| region), owner),
            Err(_) if kind == SubjectKind::Account => whole_account(id, region, owner),
            Err(_) => plain(kind, id, region, owner),
        }
    }
}

/// An EC2 instance of the owner's.
pub(super) fn instance(id: &str, owner: &Owner) -> Subject {
    plain(SubjectKind::Instance, id.trim(), owner.region.clone(), owner)
}

/// The owner's account as a whole.
pub(super) fn account(owner: &Owner) -> Subject {
    let cell = CellId::new(owner.account.clone(), owner.region.clone());
    Subject { cell, kind: SubjectKind::Account, id: owner.account.to_string(), arn: None }
}

/// The principal behind an access key: user type and name as GuardDuty and ASFF give them.
pub(super) fn principal(user_type: Option<&str>, name: &str, owner: &Owner) -> Subject {
    let user_type = user_type.unwrap_or_default().to_ascii_lowercase();
    let kind = match user_type.as_str() {
        "iamuser" | "root" => SubjectKind::User,
        "assumedrole" | "role" => SubjectKind::Role,
        _ => SubjectKind::Other,
    };
    let mut subject = plain(kind, name, owner.region.clone(), owner);
    if user_type == "root" {
        "root".clone_into(&mut subject.id);
        subject.arn = format!("arn:{}:iam::{}:root", owner.partition(), owner.account).parse().ok();
    }
    if kind == SubjectKind::Other {
        subject.cell.region = Region::global();
    }
    subject
}

/// What an ARN names.
fn of_arn(arn: Arn, stated: Option<Region>, owner: &Owner) -> Subject {
    let last = |text: &str| text.rsplit('/').next().unwrap_or(text).to_owned();
    let (kind, id) = match (arn.service(), arn.resource().split_once('/')) {
        ("ec2", Some(("instance", id))) => (SubjectKind::Instance, id.to_owned()),
        ("ec2", Some(("security-group", id))) => (SubjectKind::SecurityGroup, id.to_owned()),
        ("iam", Some(("user", path))) => (SubjectKind::User, last(path)),
        ("iam", Some(("role", path))) => (SubjectKind::Role, last(path)),
        ("iam", None) if arn.resource() == "root" => (SubjectKind::User, "root".to_owned()),
        ("sts", Some(("assumed-role", path))) => (SubjectKind::Role, path.split('/').next().unwrap_or(path).to_owned()),
        ("s3", None) => (SubjectKind::Bucket, arn.resource().to_owned()),
        _ => (SubjectKind::Other, arn.resource_id().to_owned()),
    };
    let account = arn.account().unwrap_or_else(|| owner.account.clone());
    let region = if matches!(arn.service(), "iam" | "sts" | "organizations") {
        Region::global()
    } else {
        arn.region().or(stated).unwrap_or_else(|| owner.region.clone())
    };
    let arn = (arn.service() != "sts").then_some(arn);
    Subject { cell: CellId::new(account, region), kind, id, arn }
}

/// What a type and an id of its own name, with the ARN where it follows from them.
fn plain(kind: SubjectKind, id: &str, region: Region, owner: &Owner) -> Subject {
    let account = &owner.account;
    let arn = match kind {
        SubjectKind::Instance => format!("arn:{}:ec2:{region}:{account}:instance/{id}", region.partition()),
        SubjectKind::SecurityGroup => format!("arn:{}:ec2:{region}:{account}:security-group/{id}", region.partition()),
        SubjectKind::Bucket => format!("arn:{}:s3:::{id}", region.partition()),
        _ => String::new(),
    };
    let region = match kind {
        SubjectKind::AccessKey | SubjectKind::User | SubjectKind::Role => Region::global(),
        _ => region,
    };
    Subject { cell: CellId::new(account.clone(), region), kind, id: id.chars().take(2048).collect(), arn: arn.parse().ok() }
}

fn whole_account(id: &str, region: Region, owner: &Owner) -> Subject {
    match id.parse::<AccountId>() {
        Ok(named) => Subject { cell: CellId::new(named, region), kind: SubjectKind::Account, id: id.to_owned(), arn: None },
        Err(_) => plain(SubjectKind::Other, id, region, owner),
    }
}

/// `arn:aws:iam::111122223333:root`, also the way an account as a whole is written.
fn is_root(arn: &Arn) -> bool {
    arn.service() == "iam" && arn.resource() == "root" && arn_part(arn.as_str(), 4).is_some()
}

/// The kind that a type's name stands for, in ASFF's, CloudFormation's, Inspector's and GuardDuty's spelling.
fn of_type(name: &str) -> SubjectKind {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect();
    match plain.strip_prefix("aws").unwrap_or(&plain) {
        "ec2instance" | "instance" => SubjectKind::Instance,
        "ec2securitygroup" => SubjectKind::SecurityGroup,
        "iamaccesskey" | "accesskey" => SubjectKind::AccessKey,
        "iamuser" => SubjectKind::User,
        "iamrole" => SubjectKind::Role,
        "s3bucket" => SubjectKind::Bucket,
        "account" => SubjectKind::Account,
        _ => SubjectKind::Other,
    }
}

/// Brings the subject that a GuardDuty finding of type `kind` is about to the front: the same one in every format.
pub(super) fn order(kind: &str, subjects: &mut [Subject], owner: &Owner) {
    let about = kind.split_once(':').and_then(|(_, rest)| rest.split('/').next()).unwrap_or_default();
    let wanted: &[SubjectKind] = match about {
        "EC2" | "Runtime" => &[SubjectKind::Instance],
        "IAMUser" | "IAM" => &[SubjectKind::AccessKey, SubjectKind::User, SubjectKind::Role],
        "S3" => &[SubjectKind::Bucket],
        _ => &[SubjectKind::Other],
    };
    let own = |subject: &Subject| subject.cell.account == owner.account;
    let place = wanted.iter().find_map(|kind| subjects.iter().position(|subject| subject.kind == *kind && own(subject)));
    if let Some(front) = place.and_then(|place| subjects.get_mut(..=place)) {
        front.rotate_right(1);
    }
}

/// Drops repetitions, keeping the order.
pub(super) fn distinct(subjects: Vec<Subject>) -> Vec<Subject> {
    let mut kept: Vec<Subject> = Vec::new();
    for subject in subjects {
        if !kept.contains(&subject) {
            kept.push(subject);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        Owner { account: "111122223333".parse().unwrap(), region: "eu-west-1".parse().unwrap() }
    }

    fn told(kind: &str, id: &str) -> String {
        let subject = Resource { kind, id, region: Some("us-east-2") }.subject(&owner());
        format!("{:?} {} {} {}", subject.kind, subject.id, subject.cell, subject.arn.map_or_else(|| "-".to_owned(), |arn| arn.to_string()))
    }

    #[test]
    fn every_spelling_of_an_instance_is_one_subject() {
        let arn = "arn:aws:ec2:us-east-2:111122223333:instance/i-1";
        let expected = format!("Instance i-1 111122223333/us-east-2 {arn}");
        for (kind, id) in
            [("AwsEc2Instance", arn), ("AWS::EC2::Instance", "i-1"), ("AWS_EC2_INSTANCE", "i-1"), ("EC2_INSTANCE", arn), ("", arn)]
        {
            assert_eq!(told(kind, id), expected, "{kind} {id}");
        }
    }

    #[test]
    fn principals_and_keys_are_global() {
        assert_eq!(told("AwsIamAccessKey", "AWS::IAM::AccessKey:AKIA1"), "AccessKey AKIA1 111122223333/global -");
        assert_eq!(
            told("AwsIamRole", "arn:aws:iam::111122223333:user/team/ann"),
            "User ann 111122223333/global arn:aws:iam::111122223333:user/team/ann"
        );
        assert_eq!(told("AwsIamRole", "ci"), "Role ci 111122223333/global -");
        assert_eq!(told("AwsIamRole", "arn:aws:sts::111122223333:assumed-role/ci/session"), "Role ci 111122223333/global -");
        let root = principal(Some("Root"), "whatever", &owner());
        assert_eq!((root.kind, root.id.as_str(), root.name()), (SubjectKind::User, "root", "arn:aws:iam::111122223333:root"));
        assert_eq!(principal(Some("AWSService"), "x", &owner()).kind, SubjectKind::Other);
    }

    #[test]
    fn accounts_buckets_and_others() {
        for (kind, id) in [
            ("AwsAccount", "AWS::::Account:111122223333"),
            ("AWS::::Account", "111122223333"),
            ("AwsAccount", "arn:aws:iam::111122223333:root"),
        ] {
            assert_eq!(told(kind, id), "Account 111122223333 111122223333/us-east-2 -");
        }
        assert_eq!(told("AwsS3Bucket", "arn:aws:s3:::b"), "Bucket b 111122223333/us-east-2 arn:aws:s3:::b");
        assert_eq!(told("AwsS3Object", "arn:aws:s3:::b/key"), "Other key 111122223333/us-east-2 arn:aws:s3:::b/key");
        assert_eq!(told("Container", "image (alpine)"), "Other image (alpine) 111122223333/us-east-2 -");
    }

    #[test]
    fn the_type_decides_which_subject_is_primary() {
        let kinds = |kind: &str| {
            let mut subjects = vec![
                Resource { kind: "AWS::Container::Container", id: "c", region: None }.subject(&owner()),
                instance("i-1", &owner()),
                Resource { kind: "AwsIamAccessKey", id: "AKIA1", region: None }.subject(&owner()),
            ];
            order(kind, &mut subjects, &owner());
            subjects.iter().map(|subject| subject.kind).collect::<Vec<_>>()
        };
        assert_eq!(
            kinds("PrivilegeEscalation:Runtime/DockerSocketAccessed"),
            [SubjectKind::Instance, SubjectKind::Other, SubjectKind::AccessKey]
        );
        assert_eq!(kinds("UnauthorizedAccess:IAMUser/TorIPCaller")[0], SubjectKind::AccessKey);
        assert_eq!(kinds("Discovery:Kubernetes/TorIPCaller")[0], SubjectKind::Other);
        assert_eq!(kinds("Policy:S3/BucketPublicAccessGranted")[0], SubjectKind::Other);
    }
}
