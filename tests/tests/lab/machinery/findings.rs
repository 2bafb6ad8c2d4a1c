//! The extension of moto: findings of GuardDuty and Security Hub.

use cordon_lab::{accounts, shared};
use serde_json::{Value, json};

use super::REGION;

/// A management account, a security account that administers GuardDuty and Security Hub, a member.
async fn organization() -> (String, String) {
    let lab = shared().unwrap();
    let (management, security, member) = (accounts::fresh(), accounts::fresh(), accounts::fresh());
    lab.hand.call(&management, REGION, "organizations", "create_organization", json!({"FeatureSet": "ALL"})).await.unwrap();
    let item = |id: &str| json!({"AccountId": id, "AccountName": id, "Email": format!("{id}@example.com")});
    lab.seed(&management, REGION, "organizations-accounts", vec![item(&security), item(&member)]).await.unwrap();
    for service in ["guardduty.amazonaws.com", "securityhub.amazonaws.com"] {
        let params = json!({"AccountId": security, "ServicePrincipal": service});
        lab.hand.call(&management, REGION, "organizations", "register_delegated_administrator", params).await.unwrap();
    }
    (security, member)
}

fn finding(account: &str, region: &str, number: u32) -> Value {
    json!({
        "SchemaVersion": "2018-10-08", "Id": format!("arn:aws:securityhub:{region}:{account}:security-control/EC2.13/finding/{number}"),
        "ProductArn": format!("arn:aws:securityhub:{region}::product/aws/securityhub"), "AwsAccountId": account, "Region": region,
        "GeneratorId": "security-control/EC2.13", "Types": ["Software and Configuration Checks"], "Title": "open", "Description": "open",
        "CreatedAt": "2026-11-01T00:00:00.000Z", "UpdatedAt": format!("2026-11-{:02}T00:00:00.000Z", number % 20 + 1),
        "Severity": {"Label": "HIGH"}, "RecordState": if number.is_multiple_of(10) { "ARCHIVED" } else { "ACTIVE" },
        "Compliance": {"Status": "FAILED", "SecurityControlId": if number.is_multiple_of(2) { "EC2.13" } else { "EC2.14" }},
        "Resources": [{"Type": "AwsEc2SecurityGroup", "Id": format!("arn:aws:ec2:{region}:{account}:security-group/sg-{number:08}"), "Region": region}]
    })
}

#[tokio::test]
async fn security_hub_filters_pages_and_updates() {
    let lab = shared().unwrap();
    let (security, member) = organization().await;
    let ask = async |region: &str, operation: &str, params: Value| lab.hand.call(&security, region, "securityhub", operation, params).await;
    lab.seed(&member, REGION, "securityhub-findings", (0..250).map(|number| finding(&member, REGION, number)).collect()).await.unwrap();
    lab.seed(&member, "eu-west-1", "securityhub-findings", vec![finding(&member, "eu-west-1", 2)]).await.unwrap();
    let equals = |value: &str| json!([{"Value": value, "Comparison": "EQUALS"}]);
    let backlog = json!({
        "AwsAccountId": equals(&member), "RecordState": equals("ACTIVE"), "ComplianceStatus": equals("FAILED"),
        "ComplianceSecurityControlId": equals("EC2.13"), "ResourceType": equals("AwsEc2SecurityGroup"),
        "WorkflowStatus": [{"Value": "NEW", "Comparison": "EQUALS"}, {"Value": "NOTIFIED", "Comparison": "EQUALS"}],
        "GeneratorId": [{"Value": "security-control/", "Comparison": "PREFIX"}],
        "UpdatedAt": [{"Start": "2026-11-01T00:00:00Z", "End": "2026-11-30T00:00:00Z"}],
    });
    let count = async |region: &str, filters: &Value| {
        let found = lab.hand.all(&security, region, "securityhub", "get_findings", json!({"Filters": filters})).await.unwrap();
        found["Findings"].as_array().unwrap().len()
    };
    assert_eq!(count(REGION, &backlog).await, 100);
    let sort = json!([{"Field": "UpdatedAt", "SortOrder": "desc"}]);
    let page = ask(REGION, "get_findings", json!({"Filters": backlog, "MaxResults": 40, "SortCriteria": sort})).await.unwrap();
    assert_eq!(
        (page["Findings"].as_array().unwrap().len(), page["Findings"][0]["UpdatedAt"].as_str().unwrap()),
        (40, "2026-11-19T00:00:00.000Z")
    );

    // What the first page changes does not move the next one.
    let identifiers: Vec<Value> = page["Findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| json!({"Id": finding["Id"], "ProductArn": finding["ProductArn"]}))
        .collect();
    let mut wanted = identifiers.clone();
    wanted.push(json!({"Id": "nothing", "ProductArn": identifiers[0]["ProductArn"]}));
    let update =
        json!({"FindingIdentifiers": wanted, "Workflow": {"Status": "RESOLVED"}, "Note": {"Text": "closed", "UpdatedBy": "cordon"}});
    let done = ask(REGION, "batch_update_findings", update).await.unwrap();
    assert_eq!(
        (done["ProcessedFindings"].as_array().unwrap().len(), done["UnprocessedFindings"][0]["ErrorCode"].as_str().unwrap()),
        (40, "FindingNotFound")
    );
    let second =
        ask(REGION, "get_findings", json!({"Filters": backlog, "MaxResults": 100, "NextToken": page["NextToken"], "SortCriteria": sort}))
            .await
            .unwrap();
    assert_eq!(second["Findings"].as_array().unwrap().len(), 60);
    assert_eq!(count(REGION, &backlog).await, 60);
    let resolved = ask(REGION, "get_findings", json!({"Filters": {"Id": equals(identifiers[0]["Id"].as_str().unwrap())}})).await.unwrap();
    assert_eq!(
        (&resolved["Findings"][0]["Note"]["Text"], &resolved["Findings"][0]["Workflow"]["Status"]),
        (&json!("closed"), &json!("RESOLVED"))
    );

    // The provider's next version keeps what the customer set.
    let mut again = resolved["Findings"][0].clone();
    again["UpdatedAt"] = json!("2026-11-24T00:00:00.000Z");
    again.as_object_mut().unwrap().retain(|name, _| !matches!(name.as_str(), "Workflow" | "WorkflowState" | "Note" | "ProcessedAt"));
    lab.hand.call(&member, REGION, "securityhub", "batch_import_findings", json!({"Findings": [again]})).await.unwrap();
    let kept = ask(REGION, "get_findings", json!({"Filters": {"Id": equals(identifiers[0]["Id"].as_str().unwrap())}})).await.unwrap();
    assert_eq!(
        (&kept["Findings"][0]["UpdatedAt"], &kept["Findings"][0]["Note"]["Text"]),
        (&json!("2026-11-24T00:00:00.000Z"), &json!("closed"))
    );

    // Other Regions' findings are seen from the aggregation Region only.
    let there = json!({"Region": equals("eu-west-1")});
    assert_eq!((count(REGION, &there).await, count("eu-west-1", &there).await), (0, 1));
    ask(REGION, "create_finding_aggregator", json!({"RegionLinkingMode": "ALL_REGIONS"})).await.unwrap();
    assert_eq!(count(REGION, &there).await, 1);
    assert_eq!(
        lab.hand
            .call(&member, REGION, "securityhub", "get_findings", json!({"Filters": {"AwsAccountId": equals(&security)}}))
            .await
            .unwrap()["Findings"],
        json!([])
    );

    for wrong in [json!({"NextToken": "x"}), json!({"Filters": {"RecordState": [{"Value": "ACTIVE", "Comparison": "SOUNDS_LIKE"}]}})] {
        assert_eq!(ask(REGION, "get_findings", wrong).await.unwrap_err().code, "InvalidInputException");
    }
}

#[tokio::test]
async fn an_update_comes_back_as_an_event() {
    let lab = shared().unwrap();
    let (security, member) = organization().await;
    let url = lab.hand.call(&security, REGION, "sqs", "create_queue", json!({"QueueName": "findings"})).await.unwrap()["QueueUrl"].clone();
    let pattern = json!({"source": ["aws.securityhub"]}).to_string();
    lab.hand.call(&security, REGION, "events", "put_rule", json!({"Name": "r", "EventPattern": pattern})).await.unwrap();
    let target = json!({"Rule": "r", "Targets": [{"Id": "1", "Arn": format!("arn:aws:sqs:{REGION}:{security}:findings")}]});
    lab.hand.call(&security, REGION, "events", "put_targets", target).await.unwrap();
    let item = finding(&member, REGION, 1);
    lab.hand.call(&member, REGION, "securityhub", "batch_import_findings", json!({"Findings": [item]})).await.unwrap();
    let update = json!({"FindingIdentifiers": [{"Id": item["Id"], "ProductArn": item["ProductArn"]}], "Note": {"Text": "seen", "UpdatedBy": "cordon"}});
    lab.hand.call(&security, REGION, "securityhub", "batch_update_findings", update).await.unwrap();
    let found =
        lab.hand.call(&security, REGION, "sqs", "receive_message", json!({"QueueUrl": url, "MaxNumberOfMessages": 10})).await.unwrap();
    let mut notes: Vec<Value> = found["Messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| {
            serde_json::from_str::<Value>(message["Body"].as_str().unwrap()).unwrap()["detail"]["findings"][0]["Note"]["Text"].clone()
        })
        .collect();
    notes.sort_by_key(Value::to_string);
    assert_eq!(notes, [json!("seen"), Value::Null]);
}

#[tokio::test]
async fn guardduty_findings_are_listed_got_and_archived() {
    let lab = shared().unwrap();
    let (security, member) = organization().await;
    let detector =
        lab.hand.call(&security, REGION, "guardduty", "create_detector", json!({"Enable": true})).await.unwrap()["DetectorId"].clone();
    let item = |number: u32| {
        json!({"id": format!("{number:032}"), "accountId": member, "region": REGION, "type": "UnauthorizedAccess:EC2/SSHBruteForce", "severity": f64::from(number % 9),
            "schemaVersion": "2.0", "arn": format!("arn:aws:guardduty:{REGION}:{member}:detector/d/finding/{number:032}"), "createdAt": "2026-11-01T00:00:00.000Z",
            "updatedAt": format!("2026-11-{:02}T00:00:00.000Z", number % 20 + 1), "resource": {"resourceType": "Instance"}, "service": {"count": 1, "resourceRole": "TARGET"}})
    };
    lab.seed(&member, REGION, "guardduty-findings", (0..90).map(item).collect()).await.unwrap();
    let ask = async |operation: &str, params: Value| {
        let mut with = json!({"DetectorId": detector});
        with.as_object_mut().unwrap().extend(params.as_object().unwrap().clone());
        lab.hand.call(&security, REGION, "guardduty", operation, with).await
    };
    let list = async |criterion: Value| {
        let params = json!({"DetectorId": detector, "FindingCriteria": {"Criterion": criterion}});
        lab.hand.all(&security, REGION, "guardduty", "list_findings", params).await.unwrap()["FindingIds"].as_array().unwrap().clone()
    };
    assert_eq!(list(json!({})).await.len(), 90);
    let open = json!({"service.archived": {"Eq": ["false"]}, "severity": {"Gte": 7}});
    let found = list(open.clone()).await;
    assert_eq!(found.len(), 20);
    assert_eq!(list(json!({"updatedAt": {"GreaterThanOrEqual": 1_794_960_000_000_i64}})).await.len(), 12, "from 2026-11-18 on");
    let got = ask("get_findings", json!({"FindingIds": [found[0]]})).await.unwrap();
    assert_eq!((&got["Findings"][0]["AccountId"], &got["Findings"][0]["Service"]["ResourceRole"]), (&json!(member), &json!("TARGET")));
    ask("archive_findings", json!({"FindingIds": found})).await.unwrap();
    assert_eq!(list(open.clone()).await.len(), 0);
    ask("unarchive_findings", json!({"FindingIds": [found[0]]})).await.unwrap();
    assert_eq!(list(open).await, [found[0].clone()]);
    lab.seed(&member, REGION, "guardduty-findings", vec![json!({"id": found[0], "expired": true})]).await.unwrap();
    assert_eq!(ask("get_findings", json!({"FindingIds": [found[0]]})).await.unwrap()["Findings"], json!([]));
    assert_eq!(ask("archive_findings", json!({"FindingIds": [found[0]]})).await.unwrap_err().code, "BadRequestException");
    // A criterion that GuardDuty does not know is an error, and no member archives what is its administrator's to archive.
    for wrong in [json!({"resource.instanceDetails.name": {"Eq": ["x"]}}), json!({"id": {"Eq": vec!["x"; 51]}})] {
        let params = json!({"FindingCriteria": {"Criterion": wrong}});
        assert_eq!(ask("list_findings", params).await.unwrap_err().code, "BadRequestException");
    }
    let own = lab.hand.call(&member, REGION, "guardduty", "create_detector", json!({"Enable": true})).await.unwrap()["DetectorId"].clone();
    let archive = json!({"DetectorId": own, "FindingIds": [found[1]]});
    assert_eq!(lab.hand.call(&member, REGION, "guardduty", "archive_findings", archive).await.unwrap_err().code, "BadRequestException");
    ask("create_sample_findings", json!({"FindingTypes": ["UnauthorizedAccess:EC2/SSHBruteForce"]})).await.unwrap();
    assert_eq!(list(json!({"accountId": {"Eq": [security]}})).await.len(), 1);
    let error = lab.hand.call(&member, REGION, "guardduty", "list_findings", json!({"DetectorId": detector})).await.unwrap_err();
    assert_eq!(error.code, "BadRequestException");
}
