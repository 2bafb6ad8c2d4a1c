//! Who wrote a Security Hub finding, from its product's ARN, which only AWS can give: `product/aws/…` is AWS's own. A customer imports under
//! `product/<account>/default`, or from a partner's integration in the account
//! (<https://docs.aws.amazon.com/securityhub/1.0/APIReference/API_BatchImportFindings.html>).

use super::common::Owner;
use crate::{
    finding::Provider,
    id::{AccountId, Region},
};

/// The AWS service that an ARN is reserved for: `arn:PARTITION:securityhub:REGION::product/aws/SERVICE`, the partition being the Region's and
/// the account empty (<https://docs.aws.amazon.com/securityhub/latest/userguide/securityhub-findings-format.html>, `ProductArn`). `None`:
/// another product's, or no such ARN.
#[must_use]
pub fn reserved(written: &str) -> Option<&str> {
    let [arn, partition, service, region, account, resource] = parts(written)?;
    let known: Region = region.parse().ok()?;
    let ours =
        arn == "arn" && service == "securityhub" && account.is_empty() && known != Region::global() && known.partition() == partition;
    let own = resource.strip_prefix("productv2/").or_else(|| resource.strip_prefix("product/"))?.strip_prefix("aws/")?;
    (ours && !own.is_empty() && own.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')).then_some(own)
}

/// The account that a customer's own product is of, `product/<account>/default`: nobody else can import under it, and about no other account.
#[must_use]
pub fn imported_by(written: &str) -> Option<AccountId> {
    let [.., resource] = parts(written)?;
    let rest = resource.strip_prefix("productv2/").or_else(|| resource.strip_prefix("product/"))?;
    rest.strip_suffix("/default")?.parse().ok()
}

fn parts(written: &str) -> Option<[&str; 6]> {
    let parts: Vec<&str> = written.splitn(6, ':').collect();
    parts.try_into().ok()
}

/// The product that wrote a finding.
#[derive(Debug, Clone)]
pub(super) struct Product {
    /// Which service.
    pub provider: Provider,
    /// What tells its findings' ids from another product's; nothing for AWS's own.
    qualifier: Option<String>,
}

impl Product {
    /// From `ProductArn`, or `metadata.product.uid` of OCSF.
    pub(super) fn of(written: Option<&str>) -> Self {
        let written = written.unwrap_or("unknown");
        let provider = match reserved(written) {
            Some("guardduty") => Provider::GuardDuty,
            Some("securityhub") => Provider::SecurityHub,
            Some("inspector" | "inspector2") => Provider::Inspector,
            Some(_) => return Self { provider: Provider::Other, qualifier: None },
            None => return Self { provider: Provider::Other, qualifier: Some(written.replace(":productv2/", ":product/")) },
        };
        Self { provider, qualifier: None }
    }

    /// The finding's id. AWS's own products have unique ids. Those of others need not be (`deploy.sh`), and must not be
    /// taken for one of AWS's, so they are qualified as Security Hub itself does in `aws/securityhub/FindingId`, and
    /// with the account where the product is not of one.
    pub(super) fn finding_id(&self, own: &str, owner: &Owner) -> String {
        match &self.qualifier {
            None => own.to_owned(),
            Some(product) if product.contains(owner.account.as_str()) => format!("{product}/{own}"),
            Some(product) => format!("{product}/{}/{own}", owner.account),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_arn_reserved_for_a_service_of_aws_makes_a_finding_that_services() {
        for (arn, service) in [
            ("arn:aws:securityhub:us-east-1::product/aws/guardduty", "guardduty"),
            ("arn:aws:securityhub:eu-west-1::productv2/aws/guardduty", "guardduty"),
            ("arn:aws-cn:securityhub:cn-north-1::product/aws/inspector", "inspector"),
            ("arn:aws-us-gov:securityhub:us-gov-west-1::product/aws/securityhub", "securityhub"),
            ("arn:aws:securityhub:us-east-1::product/aws/macie", "macie"),
        ] {
            assert_eq!(reserved(arn), Some(service), "{arn}");
        }
        for forged in [
            "arn:aws:securityhub:us-east-1:111122223333:product/aws/guardduty",
            "arn:aws:securityhub:us-east-1:111122223333:product/111122223333/default",
            "arn:aws:securityhub:us-east-1::product/awsx/guardduty",
            "arn:aws:securityhub:us-east-1::product/aws/guardduty/x",
            "arn:aws:securityhub:us-east-1::product/aws/guardduty:111122223333",
            "arn:aws:securityhub:us-east-1::product/aws/",
            "arn:aws:securityhub:us-east-1::x/product/aws/guardduty",
            "arn:aws-cn:securityhub:us-east-1::product/aws/guardduty",
            "arn:aws:securityhub:nowhere-1::product/aws/guardduty",
            "arn:aws:securityhub:::product/aws/guardduty",
            "arn:aws:guardduty:us-east-1::product/aws/guardduty",
            "arn:evil:securityhub:us-east-1::product/aws/guardduty",
            "product/aws/guardduty",
            "GuardDuty",
            "",
        ] {
            assert_eq!(reserved(forged), None, "{forged}");
        }
    }

    #[test]
    fn a_customers_own_product_names_its_account() {
        let of = |arn: &str| imported_by(arn).map(|account| account.to_string());
        assert_eq!(of("arn:aws:securityhub:us-east-1:111122223333:product/111122223333/default").as_deref(), Some("111122223333"));
        assert_eq!(of("arn:aws:securityhub:us-east-1::product/crowdstrike/crowdstrike-falcon"), None);
        assert_eq!(of("arn:aws:securityhub:us-east-1:733251395267:product/alertlogic/althreatmanagement"), None);
    }
}
