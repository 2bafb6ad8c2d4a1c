//! Amazon Resource Names (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html>).

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{AccountId, Region};

/// A text that is not an ARN, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an ARN: {why}")]
pub struct ArnError {
    /// The text, at most its first 200 characters.
    pub text: String,
    /// What is wrong with it.
    pub why: String,
}

/// `arn:partition:service:region:account:resource`. Region and account may be empty; the resource may hold colons.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Arn {
    text: String,
    service_at: usize,
    region_at: usize,
    account_at: usize,
    resource_at: usize,
}

/// Whether two principals of an account, each by its name, path and name, or ARN, are the same. IAM keeps names in the case in which they
/// were made, and takes no second one that differs by case alone
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>, "IAM name requirements").
#[must_use]
pub fn same_principal(one: &str, other: &str) -> bool {
    let name = |text: &str| text.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    name(one) == name(other)
}

impl Arn {
    fn piece(&self, from: usize, to: usize) -> &str {
        self.text.get(from..to).unwrap_or_default()
    }
    /// `aws`, `aws-cn`, `aws-us-gov`, …
    #[must_use]
    pub fn partition(&self) -> &str {
        self.piece(4, self.service_at - 1)
    }
    /// The service's namespace, `ec2`.
    #[must_use]
    pub fn service(&self) -> &str {
        self.piece(self.service_at, self.region_at - 1)
    }
    /// The Region, where the ARN has one.
    #[must_use]
    pub fn region(&self) -> Option<Region> {
        self.piece(self.region_at, self.account_at - 1).parse().ok()
    }
    /// The account, where the ARN has one (S3 buckets and AWS's own products have none).
    #[must_use]
    pub fn account(&self) -> Option<AccountId> {
        self.piece(self.account_at, self.resource_at - 1).parse().ok()
    }
    /// The account field as it stands; AWS's own resources have `aws` or nothing there.
    #[must_use]
    pub fn account_text(&self) -> &str {
        self.piece(self.account_at, self.resource_at - 1)
    }
    /// Everything after the fifth colon, `instance/i-0abc`.
    #[must_use]
    pub fn resource(&self) -> &str {
        self.text.get(self.resource_at..).unwrap_or_default()
    }
    /// The resource without its type: what follows the first `/` or `:`, or the whole.
    #[must_use]
    pub fn resource_id(&self) -> &str {
        let resource = self.resource();
        resource.split_once(['/', ':']).map_or(resource, |(_, id)| id)
    }
    /// The whole ARN.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Arn {
    type Err = ArnError;
    fn from_str(text: &str) -> Result<Self, ArnError> {
        let wrong = |why: &str| ArnError { text: text.chars().take(200).collect(), why: why.to_owned() };
        if text.len() > 2048 {
            return Err(wrong("longer than 2,048 characters"));
        }
        if text.chars().any(char::is_control) {
            return Err(wrong("it holds a control character"));
        }
        let colons: Vec<usize> = text.match_indices(':').map(|(at, _)| at).take(5).collect();
        let &[first, second, third, fourth, fifth] = colons.as_slice() else {
            return Err(wrong("fewer than six parts"));
        };
        if text.get(..first) != Some("arn") {
            return Err(wrong("it does not begin with `arn:`"));
        }
        let partition = text.get(first + 1..second).unwrap_or_default();
        if partition != "aws" && !partition.starts_with("aws-") {
            return Err(wrong("unknown partition"));
        }
        if third == second + 1 {
            return Err(wrong("no service"));
        }
        if fifth + 1 == text.len() {
            return Err(wrong("no resource"));
        }
        let account = text.get(fourth + 1..fifth).unwrap_or_default();
        if !(account.is_empty() || account == "aws" || account.parse::<AccountId>().is_ok()) {
            return Err(wrong("the account is not 12 digits"));
        }
        Ok(Self { text: text.to_owned(), service_at: second + 1, region_at: third + 1, account_at: fourth + 1, resource_at: fifth + 1 })
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Arn> for String {
    fn from(arn: Arn) -> String {
        arn.text
    }
}

impl TryFrom<String> for Arn {
    type Error = ArnError;
    fn try_from(text: String) -> Result<Self, ArnError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_instance_arn_has_its_parts() {
        let arn: Arn = "arn:aws:ec2:eu-west-1:111122223333:instance/i-0abc".parse().unwrap();
        assert_eq!((arn.partition(), arn.service(), arn.resource(), arn.resource_id()), ("aws", "ec2", "instance/i-0abc", "i-0abc"));
        assert_eq!(arn.account(), "111122223333".parse().ok());
        assert_eq!(arn.region(), "eu-west-1".parse().ok());
    }

    #[test]
    fn a_resource_may_hold_colons() {
        let arn: Arn = "arn:aws:logs:us-east-1:111122223333:log-group:/var/log/secure:*".parse().unwrap();
        assert_eq!(arn.resource(), "log-group:/var/log/secure:*");
    }

    #[test]
    fn nonsense_says_what_is_wrong() {
        for (bad, why) in [
            ("", "fewer"),
            ("arn:aws:ec2", "fewer"),
            ("urn:aws:ec2:::x", "begin"),
            ("arn:gcp:ec2:::x", "partition"),
            ("arn:aws:::1:x", "no service"),
            ("arn:aws:ec2:::", "no resource"),
            ("arn:aws:ec2::12:x", "12 digits"),
        ] {
            let error = bad.parse::<Arn>().unwrap_err();
            assert!(error.why.contains(why), "{bad}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_parses_to_itself_or_fails(text in "(arn:aws:)?[ -~é]{0,60}") {
            if let Ok(arn) = text.parse::<Arn>() {
                prop_assert_eq!(arn.to_string(), text);
                let _ = (arn.partition(), arn.service(), arn.resource(), arn.account(), arn.region());
            }
        }
    }

    #[test]
    fn a_principal_is_the_same_whatever_its_path_and_case() {
        for (one, other) in [
            ("Break-Glass", "break-glass"),
            ("arn:aws:iam::111122223333:role/ops/Break-Glass", "break-glass"),
            ("OPS/break-glass", "/x/BREAK-GLASS"),
        ] {
            assert!(same_principal(one, other) && same_principal(other, one), "{one} {other}");
        }
        assert!(!same_principal("break-glass", "break-glass2") && !same_principal("ops/x", "x/ops"));
    }
}
