//! The gateway: trust of roles, policies of roles and sessions.

use cordon_lab::{
    GatewayOptions, HandError, Lab, accounts,
    gateway::Enforcement,
    hand::{Credentials, Hand},
    shared,
};
use serde_json::{Value, json};

use super::REGION;

struct World {
    lab: Lab,
    /// The security account's role, past the gateway; its calls go through it.
    hub: Hand,
    security: String,
    member: String,
}

impl World {
    /// A member account with a spoke role that trusts the security account's hub role under an external id.
    async fn new() -> Self {
        let lab = shared().unwrap().beside(GatewayOptions { enforcement: Enforcement::all(), throttle: None }).unwrap();
        let (security, member) = (accounts::fresh(), accounts::fresh());
        let trust = json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{security}:role/hub/CordonHub")},
            "Action": ["sts:AssumeRole", "sts:SetSourceIdentity"], "Condition": {"StringEquals": {"sts:ExternalId": member}}
        }]});
        let role = json!({"RoleName": "CordonSpoke", "Path": "/cordon/", "AssumeRolePolicyDocument": trust.to_string()});
        lab.hand.call(&member, REGION, "iam", "create_role", role).await.unwrap();
        let policy = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": ["ec2:Describe*", "logs:FilterLogEvents", "guardduty:List*"], "Resource": "*"},
            {"Effect": "Allow", "Action": ["ec2:*SecurityGroupIngress", "ec2:CreateTags", "ec2:CreateNetworkAclEntry"], "Resource": "*",
             "Condition": {"StringEquals": {"ec2:Region": [REGION, "eu-west-1"]}}},
        ]});
        let policy = json!({"RoleName": "CordonSpoke", "PolicyName": "spoke", "PolicyDocument": policy.to_string()});
        lab.hand.call(&member, REGION, "iam", "put_role_policy", policy).await.unwrap();
        let hub = format!("arn:aws:iam::{security}:role/hub/CordonHub");
        let hub = lab.hand.assume(&security, REGION, &hub, "hub", json!({})).await.unwrap();
        let hub = lab.hand.at(&lab.endpoint()).with(&hub);
        Self { lab, hub, security, member }
    }

    async fn assume(&self, more: Value) -> Result<Credentials, HandError> {
        let mut with = json!({"ExternalId": self.member});
        with.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        with.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let role = format!("arn:aws:iam::{}:role/cordon/CordonSpoke", self.member);
        self.hub.assume("", REGION, &role, "cordon-test", with).await
    }

    async fn spoke(&self, policy: Option<Value>) -> Hand {
        let more = policy.map_or_else(|| json!({}), |policy| json!({"Policy": policy.to_string()}));
        self.lab.hand.at(&self.lab.endpoint()).with(&self.assume(more).await.unwrap())
    }

    async fn group(&self) -> String {
        let vpcs = self.lab.hand.call(&self.member, REGION, "ec2", "describe_vpcs", json!({})).await.unwrap();
        let group = json!({"GroupName": format!("g-{}", accounts::fresh()), "Description": "d", "VpcId": vpcs["Vpcs"][0]["VpcId"]});
        let group = self.lab.hand.call(&self.member, REGION, "ec2", "create_security_group", group).await.unwrap();
        group["GroupId"].as_str().unwrap().to_owned()
    }
}

fn open(group: &str) -> Value {
    json!({"GroupId": group, "IpPermissions": [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "203.0.113.7/32"}]}]})
}

#[tokio::test]
async fn a_role_is_assumed_only_by_whom_it_trusts() {
    let world = World::new().await;
    world.assume(json!({"SourceIdentity": "cordon-read"})).await.unwrap();
    for (what, more) in [
        ("external id", json!({"ExternalId": "other"})),
        ("no external id", json!({"ExternalId": null})),
        ("tags", json!({"Tags": [{"Key": "a", "Value": "b"}]})),
    ] {
        let error = world.assume(more).await.unwrap_err();
        assert_eq!((error.code.as_str(), error.status), ("AccessDenied", Some(403)), "{what}");
        let action = if what == "tags" { "sts:TagSession" } else { "sts:AssumeRole" };
        let expected = format!(
            "User: arn:aws:sts::{}:assumed-role/CordonHub/hub is not authorized to perform: {action} on resource: arn:aws:iam::{}:role/cordon/CordonSpoke",
            world.security, world.member
        );
        assert_eq!(error.message, expected);
    }
    let stranger = world.lab.hand.at(&world.lab.endpoint()).with(&world.lab.hand.credentials(&accounts::fresh()).await.unwrap());
    let role = format!("arn:aws:iam::{}:role/cordon/CordonSpoke", world.member);
    let error = stranger.assume("", REGION, &role, "cordon-test", json!({"ExternalId": world.member})).await.unwrap_err();
    assert_eq!(error.code, "AccessDenied");
    let role = format!("arn:aws:iam::{}:role/Absent", world.member);
    let error = world.hub.assume("", REGION, &role, "cordon-test", json!({"ExternalId": world.member})).await.unwrap_err();
    assert_eq!(error.code, "AccessDenied");
}

#[tokio::test]
async fn sts_refuses_what_aws_refuses() {
    let world = World::new().await;
    let long = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ec2:*", "Resource": vec!["arn:aws:ec2:us-east-1:111122223333:instance/i-0123456789abcdef0"; 30]}]});
    for (more, code) in [
        (json!({"Policy": long.to_string()}), "ValidationError"),
        (json!({"Policy": "{\"Version\": 1}"}), "MalformedPolicyDocument"),
        (json!({"DurationSeconds": 7200}), "ValidationError"),
        (json!({"SourceIdentity": "has space"}), "ValidationError"),
    ] {
        assert_eq!(world.assume(more.clone()).await.unwrap_err().code, code, "{more}");
    }
}

#[tokio::test]
async fn a_session_does_what_its_role_and_its_policy_allow() {
    let world = World::new().await;
    let (mine, other) = (world.group().await, world.group().await);
    let arn = format!("arn:aws:ec2:{REGION}:{}:security-group/{mine}", world.member);
    let policy = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["ec2:AuthorizeSecurityGroupIngress", "ec2:StopInstances"], "Resource": arn,
        "Condition": {"StringEquals": {"aws:RequestedRegion": REGION}}}]});
    let narrow = world.spoke(Some(policy)).await;
    let wide = world.spoke(None).await;
    let call = async |hand: &Hand, operation: &str, params: Value| hand.call("", REGION, "ec2", operation, params).await;

    call(&narrow, "authorize_security_group_ingress", open(&mine)).await.unwrap();
    let error = call(&narrow, "authorize_security_group_ingress", open(&other)).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.status), ("UnauthorizedOperation", Some(403)));
    assert!(error.message.contains("because no session policy allows the ec2:AuthorizeSecurityGroupIngress action"), "{error}");
    assert_eq!(call(&narrow, "describe_security_groups", json!({})).await.unwrap_err().code, "UnauthorizedOperation");
    call(&wide, "authorize_security_group_ingress", open(&other)).await.unwrap();
    call(&wide, "describe_security_groups", json!({})).await.unwrap();
    let error = call(&wide, "stop_instances", json!({"InstanceIds": ["i-0123456789abcdef0"]})).await.unwrap_err();
    assert!(error.message.contains("because no identity-based policy allows the ec2:StopInstances action"), "{error}");
    let error = wide.call("", "ap-south-1", "ec2", "authorize_security_group_ingress", open(&other)).await.unwrap_err();
    assert_eq!(error.code, "UnauthorizedOperation");

    // The other protocols say it in their own words.
    for (service, operation, params, code, status) in [
        ("iam", "list_users", json!({}), "AccessDenied", 403),
        ("logs", "describe_log_groups", json!({}), "AccessDeniedException", 400),
        ("securityhub", "get_findings", json!({}), "AccessDeniedException", 403),
    ] {
        let error = wide.call("", REGION, service, operation, params).await.unwrap_err();
        assert_eq!((error.code.as_str(), error.status), (code, Some(status)), "{service}");
    }
    wide.call("", REGION, "guardduty", "list_detectors", json!({})).await.unwrap();
    wide.call("", REGION, "sts", "get_caller_identity", json!({})).await.unwrap();

    let denied = world.lab.gateway.ledger().find(|call| call.error() == Some("UnauthorizedOperation"));
    assert!(!denied.is_empty() && denied.iter().all(|call| !call.forwarded && !call.decision.as_ref().unwrap().allowed));
}

#[tokio::test]
async fn tags_at_creation_need_create_tags() {
    let world = World::new().await;
    let group = world.group().await;
    let arn = format!("arn:aws:ec2:{REGION}:{}:security-group/{group}", world.member);
    let allow = |more: Value| {
        let mut statements = vec![json!({"Effect": "Allow", "Action": "ec2:AuthorizeSecurityGroupIngress", "Resource": arn})];
        statements.extend(more.as_array().unwrap().clone());
        json!({"Version": "2012-10-17", "Statement": statements})
    };
    let mut request = open(&group);
    request["TagSpecifications"] = json!([{"ResourceType": "security-group-rule", "Tags": [{"Key": "cordon:run", "Value": "1"}]}]);
    let without = world.spoke(Some(allow(json!([])))).await;
    let error = without.call("", REGION, "ec2", "authorize_security_group_ingress", request.clone()).await.unwrap_err();
    assert!(error.message.contains("ec2:CreateTags on resource"), "{error}");
    let condition = json!({"StringEquals": {"ec2:CreateAction": "AuthorizeSecurityGroupIngress"}, "ForAllValues:StringLike": {"aws:TagKeys": "cordon:*"}});
    let tagging = json!([{"Effect": "Allow", "Action": "ec2:CreateTags", "Resource": "*", "Condition": condition}]);
    let with = world.spoke(Some(allow(tagging))).await;
    with.call("", REGION, "ec2", "authorize_security_group_ingress", request).await.unwrap();
}

#[tokio::test]
async fn what_carries_a_tag_is_told_from_what_does_not() {
    let world = World::new().await;
    let policy = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}]});
    let policy = json!({"RoleName": "CordonSpoke", "PolicyName": "more", "PolicyDocument": policy.to_string()});
    world.lab.hand.call(&world.member, REGION, "iam", "put_role_policy", policy).await.unwrap();
    let arn = |rest: &str| format!("arn:aws:ec2:{REGION}:{}:{rest}", world.member);
    let own = json!({"StringLike": {"aws:ResourceTag/cordon:run": "inc-1"}});
    let asked = json!({"StringLike": {"aws:RequestTag/cordon:run": "inc-1"}});
    let spoke = world
        .spoke(Some(json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "ec2:CreateSecurityGroup", "Resource": arn("vpc/*")},
            {"Effect": "Allow", "Action": ["ec2:CreateSecurityGroup", "ec2:CreateTags"], "Resource": arn("security-group/*"), "Condition": asked},
            {"Effect": "Allow", "Action": ["ec2:RevokeSecurityGroupEgress", "ec2:DeleteSecurityGroup"], "Resource": arn("security-group/*"), "Condition": own},
        ]})))
        .await;
    let vpcs = world.lab.hand.call(&world.member, REGION, "ec2", "describe_vpcs", json!({})).await.unwrap();
    let make = |run: &str| {
        json!({"GroupName": format!("g-{}", accounts::fresh()), "Description": "d", "VpcId": vpcs["Vpcs"][0]["VpcId"],
            "TagSpecifications": [{"ResourceType": "security-group", "Tags": [{"Key": "cordon:run", "Value": run}]}]})
    };
    let made = spoke.call("", REGION, "ec2", "create_security_group", make("inc-1")).await.unwrap()["GroupId"].as_str().unwrap().to_owned();
    let error = spoke.call("", REGION, "ec2", "create_security_group", make("inc-2")).await.unwrap_err();
    assert_eq!(error.code, "UnauthorizedOperation", "{error}");
    let mut untagged = make("inc-1");
    untagged.as_object_mut().unwrap().remove("TagSpecifications");
    let error = spoke.call("", REGION, "ec2", "create_security_group", untagged).await.unwrap_err();
    assert_eq!(error.code, "UnauthorizedOperation", "{error}");

    let all = json!([{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]);
    let revoke = |group: &str| json!({"GroupId": group, "IpPermissions": all});
    spoke.call("", REGION, "ec2", "revoke_security_group_egress", revoke(&made)).await.unwrap();
    let another = world.lab.hand.call(&world.member, REGION, "ec2", "create_security_group", make("inc-2")).await.unwrap();
    for group in [world.group().await, another["GroupId"].as_str().unwrap().to_owned()] {
        let error = spoke.call("", REGION, "ec2", "revoke_security_group_egress", revoke(&group)).await.unwrap_err();
        assert_eq!(error.code, "UnauthorizedOperation", "{error}");
    }
    spoke.call("", REGION, "ec2", "delete_security_group", json!({"GroupId": made})).await.unwrap();
}

#[tokio::test]
async fn a_deny_by_date_and_an_ended_session() {
    let world = World::new().await;
    let group = world.group().await;
    let deny = |day: &str| {
        json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "*", "Resource": "*"},
            {"Effect": "Deny", "Action": "ec2:Authorize*", "Resource": "*",
             "Condition": {"DateLessThan": {"aws:TokenIssueTime": day}, "StringLike": {"aws:userid": "*:cordon-test"}}}]})
    };
    let (past, future) = (world.spoke(Some(deny("2020-01-01T00:00:00Z"))).await, world.spoke(Some(deny("2120-01-01T00:00:00Z"))).await);
    past.call("", REGION, "ec2", "authorize_security_group_ingress", open(&group)).await.unwrap();
    let error = future.call("", REGION, "ec2", "authorize_security_group_ingress", open(&group)).await.unwrap_err();
    assert!(error.message.contains("with an explicit deny in a session policy"), "{error}");
    future.call("", REGION, "ec2", "describe_vpcs", json!({})).await.unwrap();
    world.lab.gateway.sessions().expire(&world.member, "CordonSpoke");
    let error = future.call("", REGION, "ec2", "describe_vpcs", json!({})).await.unwrap_err();
    assert_eq!(error.code, "RequestExpired");
}

#[tokio::test]
async fn the_ledger_knows_the_session() {
    let world = World::new().await;
    let session = world.lab.hand.at(&world.lab.endpoint()).with(&world.assume(json!({"SourceIdentity": "incident-7"})).await.unwrap());
    session.call("", REGION, "ec2", "describe_vpcs", json!({})).await.unwrap();
    let calls = world.lab.gateway.ledger().of_role(&world.member, "CordonSpoke");
    let principal = &calls[0].principal;
    assert_eq!(
        (calls.len(), principal.session.as_deref(), principal.source_identity.as_deref()),
        (1, Some("cordon-test"), Some("incident-7"))
    );
    assert_eq!((principal.external_id.as_deref(), principal.narrowed), (Some(world.member.as_str()), false));
    let assume = &world.lab.gateway.ledger().of_operation("sts", "AssumeRole")[0];
    assert_eq!((assume.account.as_str(), assume.write), (world.security.as_str(), false));
}
