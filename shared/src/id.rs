//! Identifiers as newtypes, so that an account can never stand where a Region belongs.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is not the identifier it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// An account id is exactly twelve digits
    /// (<https://docs.aws.amazon.com/organizations/latest/APIReference/API_Account.html>).
    #[error("`{0}` is not an AWS account id (12 digits)")]
    Account(String),
    /// Not the shape or not the name of an AWS Region.
    #[error("`{0}` is not an AWS Region")]
    Region(String),
    /// Not an incident id.
    #[error("`{0}` is not an incident id (inc-… as `cordon incident list` shows it)")]
    Incident(String),
}

/// An AWS account id: twelve digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct AccountId(String);

impl AccountId {
    /// The twelve digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AccountId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError::Account(text.chars().take(64).collect()))
        }
    }
}

/// Names of the AWS Regions, from the AWS General Reference ("AWS service endpoints") and the partitions of the SDK.
const REGIONS: &[&str] = &[
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "cn-north-1",
    "cn-northwest-1",
    "eu-central-1",
    "eu-central-2",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eusc-de-east-1",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-iso-east-1",
    "us-iso-west-1",
    "us-isob-east-1",
    "us-isob-west-1",
    "us-isof-east-1",
    "us-isof-south-1",
    "eu-isoe-west-1",
    "us-west-1",
    "us-west-2",
];

/// The name of an AWS Region, or `global` for services without one (IAM, Organizations).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Region(String);

impl Region {
    /// The Region's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The stand-in Region of services that have none.
    #[must_use]
    pub fn global() -> Self {
        Self("global".to_owned())
    }

    /// The partition the Region belongs to.
    #[must_use]
    pub fn partition(&self) -> &'static str {
        let name = self.0.as_str();
        if name.starts_with("cn-") {
            "aws-cn"
        } else if name.starts_with("us-gov-") {
            "aws-us-gov"
        } else if name.starts_with("us-isob-") {
            "aws-iso-b"
        } else if name.starts_with("us-isof-") {
            "aws-iso-f"
        } else if name.starts_with("eu-isoe-") {
            "aws-iso-e"
        } else if name.starts_with("us-iso-") {
            "aws-iso"
        } else if name.starts_with("eusc-") {
            "aws-eusc"
        } else {
            "aws"
        }
    }
}

impl FromStr for Region {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        if text == "global" || REGIONS.contains(&text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError::Region(text.chars().take(64).collect()))
        }
    }
}

/// One account in one Region: the unit of concurrency and rate.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct CellId {
    /// The account.
    pub account: AccountId,
    /// The Region, `global` for IAM and Organizations.
    pub region: Region,
}

impl CellId {
    /// The cell of `account` in `region`.
    #[must_use]
    pub fn new(account: AccountId, region: Region) -> Self {
        Self { account, region }
    }
}

/// An incident's id: `inc-` and the hexadecimal digits of a UUID version 7 (RFC 9562), so that ids sort by time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct IncidentId(Uuid);

impl IncidentId {
    /// A new id, at `millis` milliseconds since the Unix epoch.
    #[must_use]
    pub fn new(millis: u64) -> Self {
        let stamp = uuid::Timestamp::from_unix(uuid::NoContext, millis / 1000, u32::try_from(millis % 1000).unwrap_or(0) * 1_000_000);
        Self(Uuid::new_v7(stamp))
    }

    /// The id with these 128 bits; for tests that need a known one.
    #[must_use]
    pub fn from_u128(bits: u128) -> Self {
        Self(Uuid::from_u128(bits))
    }
}

impl FromStr for IncidentId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let digits = text.strip_prefix("inc-").filter(|d| d.len() == 32);
        digits.and_then(|d| Uuid::try_parse(d).ok()).map(Self).ok_or_else(|| IdError::Incident(text.chars().take(64).collect()))
    }
}

impl fmt::Display for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "inc-{}", self.0.simple())
    }
}

impl fmt::Debug for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for CellId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.account, self.region)
    }
}

impl fmt::Debug for CellId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

macro_rules! text_id {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }
    };
}
text_id!(AccountId);
text_id!(Region);

impl From<IncidentId> for String {
    fn from(id: IncidentId) -> String {
        id.to_string()
    }
}

impl TryFrom<String> for IncidentId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_twelve_digits_and_nothing_else() {
        assert!("111122223333".parse::<AccountId>().is_ok());
        for bad in ["", "11112222333", "1111222233334", "11112222333a", " 111122223333", "１１１１２２２２３３３３"] {
            assert!(bad.parse::<AccountId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_region_must_exist() {
        assert!("eu-west-1".parse::<Region>().is_ok());
        assert_eq!("us-gov-west-1".parse::<Region>().map(|r| r.partition()), Ok("aws-us-gov"));
        for bad in ["", "eu-west-9", "mars-north-1", "us-east-1a", "US-EAST-1"] {
            assert!(bad.parse::<Region>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn incident_ids_sort_by_time_and_read_back() {
        let (early, late) = (IncidentId::new(1_000), IncidentId::new(2_000));
        assert!(early < late);
        assert_eq!(early.to_string().parse(), Ok(early));
        assert!("inc-1".parse::<IncidentId>().is_err());
    }
}
