use cordon_shared::intake::{self, Item};
use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-11-24T12:00:00Z";

fn asff(product: &str, updated: &str) -> Finding {
    let document = json!({
        "Id": "f-1", "ProductArn": product, "AwsAccountId": "111122223333", "Region": "us-east-1", "UpdatedAt": updated,
        "Types": ["TTPs/Initial Access/UnauthorizedAccess:EC2-SSHBruteForce"], "GeneratorId": "g", "SchemaVersion": "2018-10-08",
        "Resources": [{"Type": "AwsEc2Instance", "Id": "arn:aws:ec2:us-east-1:111122223333:instance/i-0abc"}],
    });
    read(&document)
}

fn read(document: &Value) -> Finding {
    match intake::items(document.to_string().as_bytes(), "-").next() {
        Some((_, Item::Finding(finding))) => *finding,
        other => panic!("{other:?}"),
    }
}

fn findings(stale_after: Option<i64>, act_on_products: &[&str]) -> Findings {
    Findings {
        stale_after: stale_after.map(SignedDuration::from_hours),
        act_on_products: act_on_products.iter().map(|product| (*product).to_owned()).collect(),
    }
}

const GUARDDUTY: &str = "arn:aws:securityhub:us-east-1::product/aws/guardduty";
const OWN: &str = "arn:aws:securityhub:us-east-1:111122223333:product/111122223333/default";

#[test]
fn a_finding_of_the_future_and_one_of_long_ago_are_ignored_and_a_slow_clock_is_allowed_for() {
    let now = NOW.parse().unwrap();
    let code = |updated: &str, stale: Option<i64>, asked_for: bool| {
        timely(&asff(GUARDDUTY, updated), now, &findings(stale, &[]), asked_for).err().map(|ignored| ignored.code)
    };
    assert_eq!(code("2026-11-24T12:05:00Z", Some(168), false), None);
    assert_eq!(code("2026-11-24T12:05:01Z", Some(168), false), Some("future-dated"));
    assert_eq!(code("2036-11-24T12:05:01Z", None, true), Some("future-dated"));
    assert_eq!(code("2026-11-17T12:00:00Z", Some(168), false), None);
    assert_eq!(code("2026-11-17T11:59:59Z", Some(168), false), Some("stale"));
    assert_eq!(code("2026-11-17T11:59:59Z", Some(168), true), None);
    assert_eq!(code("2016-11-17T11:59:59Z", None, false), None);
}

#[test]
fn what_a_customer_imports_is_only_observed_unless_its_product_is_named() {
    let told = |product: &str, named: &[&str]| only_observed(&asff(product, NOW), &findings(None, named)).unwrap_or_default();
    assert_eq!(told(GUARDDUTY, &[]), "");
    assert_eq!(told("arn:aws:securityhub:us-east-1::product/aws/macie", &[]), "");
    let falcon = "arn:aws:securityhub:us-east-1::product/crowdstrike/crowdstrike-falcon";
    for product in [OWN, falcon, "arn:aws:securityhub:us-east-1:111122223333:product/aws/guardduty"] {
        assert!(told(product, &[]).contains("act_on_products"), "{product}: {}", told(product, &[]));
        assert_eq!(told(product, &[product]), "");
        assert_eq!(told(product, &[&product.replace("us-east-1", "{region}")]), "");
    }
    // Nobody imports about another account; a list does not make it so.
    let foreign = OWN.replace("111122223333", "444455556666");
    assert!(told(&foreign, &[&foreign]).contains("imported by account 444455556666"));
}

#[test]
fn what_only_calls_itself_a_providers_is_told_so() {
    let answers = |provider: Provider| (provider == Provider::GuardDuty).then(|| "ec2-brute-force".to_owned());
    let told = pretends(&asff(OWN, NOW), answers).unwrap();
    assert!(told.code == "not-the-providers" && told.why.contains(OWN) && told.why.contains("ec2-brute-force"), "{told:?}");
    assert_eq!(pretends(&asff(OWN, NOW), |_| None), None);
    assert_eq!(pretends(&asff(GUARDDUTY, NOW), answers), None);
}
