//! The self-alarm: Cordon's own roles in the hands of somebody else.

use cordon_lab::organization::{
    HUB_ROLE, SPOKE_ROLE,
    credential::{Stolen, misuse},
    trail::Caller,
};
use cordon_shared::pattern::Pattern;
use serde_json::{Value, json};

use crate::respond::world::{HOME, World, hold, id, incidents, state, text};

const THIEF: &str = "203.0.113.66";

/// EventBridge's event of a recorded call.
fn event(record: &Value) -> String {
    json!({
        "version": "0", "id": "6f8a9c30-0000-4000-8000-000000000001", "detail-type": "AWS API Call via CloudTrail", "source": "aws.iam",
        "account": record["recipientAccountId"], "time": record["eventTime"], "region": record["awsRegion"], "resources": [], "detail": record,
    })
    .to_string()
}

/// A record of a session of one of Cordon's roles, with this source identity.
fn record(account: &str, role: &str, call: (&str, &str), identity: Option<&str>) -> Value {
    let caller = Caller::session(account, role, "cordon-0123456789ab-step", "ASIALABALABALABALAB0", THIEF);
    let mut record = caller.record(HOME, 1, call.0, call.1, json!({}));
    if let Some(identity) = identity {
        record["userIdentity"]["sessionContext"]["sourceIdentity"] = json!(identity);
    }
    record
}

#[tokio::test]
async fn a_finding_about_cordons_own_role_freezes_to_limited_once_and_touches_nothing() {
    let world = World::new().await;
    let stolen = Stolen {
        account: &world.account,
        access_key: "ASIALABALABALABALAB0",
        principal: "AROALAB:cordon-0123456789ab-step",
        user_type: "AssumedRole",
        user: SPOKE_ROLE,
    };
    let finding = world.event(&misuse("UnauthorizedAccess:IAMUser/TorIPCaller", HOME, &stolen, THIEF));
    let output = world.respond(&finding).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stderr.contains("self-alarm") && output.stderr.contains(SPOKE_ROLE), "{output:?}");
    // It is recorded, and held: nobody's role but Cordon's own.
    let incident = incidents(&output).remove(0);
    assert_eq!((state(&incident), text(&incident, "/reason_code")), ("held", "refused-subject"), "{incident:#}");
    assert!(text(hold(&incident, "refused-subject"), "/why").contains("Cordon's own role"), "{incident:#}");
    assert_eq!(world.changing().len(), 0);

    let frozen = world.frozen(&[]).await;
    assert_eq!(frozen.len(), 1, "{frozen:#?}");
    assert_eq!(
        (text(&frozen[0], "/level"), text(&frozen[0], "/by"), text(&frozen[0], "/scope")),
        ("limited", "self-alarm", "organization")
    );
    assert!(text(&frozen[0], "/why").contains("detector/") && text(&frozen[0], "/why").contains("TorIPCaller"), "{frozen:#?}");
    // The same again, also after a person has answered it.
    world.respond(&finding).await;
    world.thaw(&["--why", "it was our own test"]).await;
    world.respond(&finding).await;
    assert_eq!((world.frozen(&["--all"]).await.len(), world.frozen(&[]).await.len()), (2, 0));

    // An attack is contained meanwhile as ever.
    assert_eq!(state(&world.one(&world.attack(&world.instance("web").await)).await), "contained");
}

/// GuardDuty's finding of a session of a role.
fn about(account: &str, role: &str, access_key: &str) -> Value {
    let principal = "AROALAB:i-0123456789abcdef0";
    let stolen = Stolen { account, access_key, principal, user_type: "AssumedRole", user: role };
    misuse("UnauthorizedAccess:IAMUser/TorIPCaller", HOME, &stolen, THIEF)
}

#[tokio::test]
async fn a_finding_about_the_hubs_own_role_freezes_and_one_about_a_role_of_its_name_elsewhere_does_not() {
    let world = World::new().await;
    let security = world.organization.security.clone();
    // In a member's account that name is anybody's.
    world.respond(&world.event(&about(&world.account, HUB_ROLE, "ASIALABALABALABALAB7"))).await;
    world.respond(&world.event(&about(&security, "AnotherRole", "ASIALABALABALABALAB8"))).await;
    assert_eq!(world.frozen(&["--all"]).await, Vec::<Value>::new());

    let output = world.respond(&world.event(&about(&security, HUB_ROLE, "ASIALABALABALABALAB9"))).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stderr.contains("self-alarm") && output.stderr.contains(HUB_ROLE), "{output:?}");
    let incident = incidents(&output).remove(0);
    assert_eq!((state(&incident), text(&incident, "/reason_code")), ("held", "refused-subject"), "{incident:#}");
    assert!(text(hold(&incident, "refused-subject"), "/why").contains("Cordon's own role CordonHub"), "{incident:#}");
    assert!(world.gateway().ledger().writes_in(&security).is_empty());
    let frozen = world.frozen(&[]).await;
    assert_eq!(frozen.len(), 1, "{frozen:#?}");
    assert_eq!((text(&frozen[0], "/level"), text(&frozen[0], "/by")), ("limited", "self-alarm"));
    let why = text(&frozen[0], "/why");
    assert!(why.contains(&format!("Cordon's own role {HUB_ROLE} in {security}")) && why.contains("TorIPCaller"), "{why}");
}

#[tokio::test]
async fn a_call_of_cordons_roles_that_no_incident_accounts_for_freezes_and_cordons_own_do_not() {
    let world = World::new().await;
    let incident = world.one(&world.attack(&world.instance("web").await)).await;
    let (run, security) = (id(&incident), world.organization.security.clone());
    let (ours, nobodys) = (format!("cordon-{run}"), "cordon-inc-00000000000070008000000000000001".to_owned());
    let spoke = |call, identity: Option<&str>| record(&world.account, SPOKE_ROLE, call, identity);
    let mut late = spoke(("ec2", "RevokeSecurityGroupIngress"), Some(&ours));
    late["eventTime"] = json!("2020-01-01T00:00:00Z");
    let mut assumed = Caller::session(&security, "CordonHub", "i-0123456789abcdef0", "ASIALABALABALABALAB1", THIEF).record(
        HOME,
        1,
        "sts",
        "AssumeRole",
        json!({"requestParameters": {"roleArn": format!("arn:aws:iam::{}:role/{SPOKE_ROLE}", world.account), "roleSessionName": "x"}}),
    );

    let mut own = assumed.clone();
    own["requestParameters"]["sourceIdentity"] = json!(ours);
    let well = [
        spoke(("ec2", "RevokeSecurityGroupIngress"), Some(&ours)),
        spoke(("ec2", "DescribeInstances"), Some("cordon-read")),
        record(&security, "CordonHub", ("guardduty", "GetFindings"), None),
        record(&security, "CordonHub", ("securityhub", "BatchUpdateFindings"), None),
        own,
        // A role of that name in an account of its own is the spoke's; another role is nobody's business.
        record(&world.account, "deploy", ("iam", "CreateUser"), None),
        record(&world.account, "CordonHub", ("iam", "CreateUser"), None),
    ];
    for record in &well {
        let output = world.respond(&event(record)).await;
        assert_eq!((output.code, text(&incidents(&output)[0], "/reason_code")), (Some(0), "not-a-finding"), "{output:?}");
        assert_eq!(world.frozen(&["--all"]).await, Vec::<Value>::new(), "{record:#}");
    }

    assumed["eventID"] = json!("7d9fab00-0000-4000-8000-000000000001");
    let strange = [
        (spoke(("iam", "CreateUser"), None), "no source identity"),
        (spoke(("iam", "CreateUser"), Some("cordon-read")), "only reads has changed"),
        (spoke(("ec2", "DescribeInstances"), Some("somebody")), "`somebody` is not Cordon's"),
        (spoke(("ec2", "TerminateInstances"), Some(&nobodys)), "there is no incident inc-00000000000070008000000000000001"),
        (late, "had no warrant at that time"),
        (assumed, "no source identity"),
        (record(&security, "CordonHub", ("iam", "CreateAccessKey"), None), ""),
    ];
    let mut lines = 0;
    for (mut record, said) in strange {
        if said.is_empty() {
            record["eventTime"] = json!("2020-01-01T00:00:00Z");
        }
        let output = world.respond(&event(&record)).await;
        assert_eq!(output.code, Some(0), "{output:?}");
        lines += 1;
        let all = world.frozen(&["--all"]).await;
        assert_eq!(all.len(), lines, "{record:#}");
        let why = text(all.last().unwrap(), "/why");
        assert!(why.contains(said) && why.contains(record["eventID"].as_str().unwrap()) && why.contains(THIEF), "{said}: {why}");
        assert!(output.stderr.contains("self-alarm"), "{output:?}");
        // The same record a second time.
        world.respond(&event(&record)).await;
        assert_eq!(world.frozen(&["--all"]).await.len(), lines);
    }
}

#[tokio::test]
async fn a_message_to_an_owner_by_the_hubs_role_raises_no_alarm_where_owners_are_mailed() {
    let mut world = World::new().await;
    let mut mailed = record(&world.organization.security, "CordonHub", ("ses", "SendEmail"), None);
    mailed["eventTime"] = json!("2020-01-01T00:00:00Z");
    world.set(|settings| settings.more = "\n[owner]\nfrom = \"cordon@example.com\"\ncontact = \"#security\"\n".to_owned());
    world.respond(&event(&mailed)).await;
    assert_eq!(world.frozen(&[]).await, Vec::<Value>::new());
    world.set(|settings| settings.more = String::new());
    world.respond(&event(&mailed)).await;
    assert_eq!(world.frozen(&[]).await.len(), 1, "nobody is mailed: whose doing is it?");
}

/// The patterns that `docs/configuration.md` gives for the rules: of the hub's account, and of a member.
fn documented() -> [Pattern; 2] {
    let page = crate::arch::read(&crate::arch::root().join("docs/configuration.md"));
    let (_, section) = page.split_once("### CloudTrail's records of Cordon's own roles").unwrap();
    let blocks = section.split("```json").skip(1).filter_map(|rest| rest.split("```").next());
    let mut rules = blocks.map(|text| serde_json::from_str::<Value>(text).unwrap()).filter(|json| json.get("detail-type").is_some());
    [(); 2].map(|()| Pattern::parse(&rules.next().unwrap()).unwrap())
}

#[test]
fn the_documented_rules_bring_what_the_alarm_looks_at_and_nothing_else() {
    const HUB: &str = "222222222222";
    const MEMBER: &str = "111122223333";
    let [hub, member] = documented();
    let brought = |rule: &Pattern, record: &Value| rule.matches(&serde_json::from_str(&event(record)).unwrap());
    let assume = ("sts", "AssumeRole");
    let spoke = |call, identity| record(MEMBER, SPOKE_ROLE, call, identity);
    // Whatever the call, whatever it carries, also what Cordon did itself.
    for call in [assume, ("ec2", "DescribeInstances"), ("iam", "CreateUser")] {
        for identity in [None, Some("cordon-read"), Some("somebody")] {
            assert!(brought(&member, &spoke(call, identity)) && brought(&hub, &spoke(call, identity)), "{call:?}");
        }
        assert!(brought(&hub, &record(HUB, "CordonHub", call, None)) && brought(&hub, &record(HUB, "CordonNotes", call, None)), "{call:?}");
        for (account, role) in [(MEMBER, "deploy"), (MEMBER, "NotCordonSpoke"), (MEMBER, "CordonHub"), (HUB, "deploy")] {
            let other = record(account, role, call, None);
            assert!(!brought(&hub, &other) && !brought(&member, &other), "{role} in {account}");
        }
        assert!(!brought(&member, &record(MEMBER, "CordonHub", call, None)));
    }
    // What is no record of AWS's, though it says the same.
    let forged = json!({"source": "my.app", "detail-type": "AWS API Call via CloudTrail", "detail": spoke(assume, None)});
    let named = json!({"source": "aws.iam", "detail-type": "my record", "detail": spoke(assume, None)});
    let user = serde_json::from_str(&event(&Caller::user(MEMBER, "CordonSpoke", "AKIALABALABALABALAB0", THIEF).record(
        HOME,
        1,
        "iam",
        "CreateUser",
        json!({}),
    )))
    .unwrap();
    for other in [forged, named, user] {
        assert!(!hub.matches(&other) && !member.matches(&other), "{other}");
    }
}
