use super::*;
use crate::aws::fake::{Fake, fake_client};
use serde_json::json;

fn refusal(code: &str) -> (u16, serde_json::Value) {
    (400, json!({ "__type": code, "Message": "said AWS" }))
}

#[tokio::test]
async fn accounts_come_from_all_pages_and_state_goes_before_status() {
    let fake = Fake::new(|_, asked| match asked.get("NextToken") {
        None => (200, json!({ "Accounts": [], "NextToken": "a" })),
        Some(_) => (
            200,
            json!({ "Accounts": [
                { "Id": "111122223333", "Name": "one", "State": "PENDING_CLOSURE", "Status": "ACTIVE", "JoinedTimestamp": 1_700_000_000 },
                { "Id": "222222222222", "Name": "two", "Status": "ACTIVE" },
                { "Id": "333333333333", "Name": "three", "State": "ASLEEP" }] }),
        ),
    });
    let accounts = read_accounts(&fake_client!(aws_sdk_organizations, fake)).await.unwrap();
    let states: Vec<AccountState> = accounts.iter().map(|account| account.state.clone()).collect();
    let other = |text: &str| AccountState::Other(text.to_owned());
    assert_eq!(states, [other("PENDING_CLOSURE"), AccountState::Active, other("ASLEEP")]);
}

#[tokio::test]
async fn an_organization_without_accounts_is_one_that_we_may_not_see() {
    let fake = Fake::new(|_, _| (200, json!({ "Accounts": [] })));
    assert!(matches!(read_accounts(&fake_client!(aws_sdk_organizations, fake)).await, Err(OrganizationError::Blind { .. })));
}

#[tokio::test]
async fn a_path_leads_from_the_root_down() {
    let fake =
        Fake::new(|operation, asked| match (operation, asked["ChildId"].as_str().or_else(|| asked["OrganizationalUnitId"].as_str())) {
            ("ListParents", Some("111122223333")) => {
                (200, json!({ "Parents": [{ "Id": "ou-ab12-below", "Type": "ORGANIZATIONAL_UNIT" }] }))
            }
            ("ListParents", Some("ou-ab12-below")) => {
                (200, json!({ "Parents": [{ "Id": "ou-ab12-above", "Type": "ORGANIZATIONAL_UNIT" }] }))
            }
            ("ListParents", Some("ou-ab12-above")) => (200, json!({ "Parents": [{ "Id": "r-ab12", "Type": "ROOT" }] })),
            ("ListParents", _) => refusal("ChildNotFoundException"),
            (_, Some(id)) => (200, json!({ "OrganizationalUnit": { "Id": id, "Name": id.rsplit('-').next() } })),
            _ => refusal("InvalidInputException"),
        });
    let client = fake_client!(aws_sdk_organizations, fake);
    let path = walk(&client, &"111122223333".parse().unwrap()).await.unwrap();
    assert_eq!(path.to_string(), "Root/above/below");
    let outside = walk(&client, &"999999999999".parse().unwrap()).await;
    assert!(matches!(outside, Err(OrganizationError::Outside(id)) if id == "999999999999"));
}

#[tokio::test]
async fn errors_are_told_apart_and_throttling_is_waited_out() {
    for (code, wanted) in [("AWSOrganizationsNotInUseException", "not in an organization"), ("AccessDeniedException", "access denied")] {
        let fake = Fake::new(move |_, _| refusal(code));
        let error = read_tags(&fake_client!(aws_sdk_organizations, fake), "r-ab12").await.unwrap_err();
        assert!(error.to_string().contains(wanted), "{error}");
        assert_eq!(fake.asked().len(), 1);
    }
    let fake = Fake::new(move |_, _| refusal("TooManyRequestsException"));
    let error = read_tags(&fake_client!(aws_sdk_organizations, fake), "r-ab12").await.unwrap_err();
    assert!(matches!(error, OrganizationError::Throttled { .. }) && error.may_pass());
    assert!(fake.asked().len() > 1);
}

#[tokio::test]
async fn an_ou_is_found_by_its_id_and_by_its_path_with_or_without_the_root_and_nothing_else_is() {
    let fake = Fake::new(|operation, asked| {
        let below = |units: serde_json::Value| (200, json!({ "OrganizationalUnits": units }));
        match (operation, asked["ParentId"].as_str().or_else(|| asked["OrganizationalUnitId"].as_str())) {
            ("ListRoots", _) => (200, json!({ "Roots": [{ "Id": "r-ab12", "Name": "Root" }] })),
            ("DescribeOrganizationalUnit", Some("ou-ab12-workload1")) => (200, json!({ "OrganizationalUnit": { "Name": "Workloads" } })),
            ("DescribeOrganizationalUnit", _) => refusal("OrganizationalUnitNotFoundException"),
            (_, Some("r-ab12")) if asked.get("NextToken").is_none() => {
                (200, json!({ "OrganizationalUnits": [{ "Id": "ou-ab12-sandbox01", "Name": "Sandbox" }], "NextToken": "a" }))
            }
            (_, Some("r-ab12")) => {
                below(json!([{ "Id": "ou-ab12-workload1", "Name": "Workloads" }, { "Id": "ou-ab12-slash001", "Name": "a/b" }]))
            }
            (_, Some("ou-ab12-workload1")) => below(json!([{ "Id": "ou-ab12-product1", "Name": "Production" }])),
            _ => below(json!([])),
        }
    });
    let client = fake_client!(aws_sdk_organizations, fake);
    for called in
        ["ou-ab12-workload1", "r-ab12", "Root", "Workloads", "Root/Workloads", "Workloads/Production", "Root/Workloads/Production", "a/b"]
    {
        assert!(unit::find(&client, called).await.unwrap(), "{called}");
    }
    for called in
        ["ou-ab12-workload2", "r-ab13", "Production", "workloads", "Workloads/Prod", "Workloads/Production/Web", "Sandbox/Production", "a"]
    {
        assert!(!unit::find(&client, called).await.unwrap(), "{called}");
    }
    let denied = Fake::new(|_, _| refusal("AccessDeniedException"));
    assert!(unit::find(&fake_client!(aws_sdk_organizations, denied), "Workloads").await.is_err(), "not known is not that there is none");
}
