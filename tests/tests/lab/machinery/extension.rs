//! The extension of moto: EC2, Organizations, EventBridge, CloudWatch Logs.

use cordon_lab::{accounts, shared};
use serde_json::{Value, json};

use super::REGION;

async fn ec2(account: &str, operation: &str, params: Value) -> Result<Value, cordon_lab::HandError> {
    shared().unwrap().hand.call(account, REGION, "ec2", operation, params).await
}

fn groups(of: &Value) -> Vec<&str> {
    of["Groups"].as_array().unwrap().iter().map(|group| group["GroupId"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn an_interface_has_the_groups_that_it_was_given_last() {
    let account = accounts::fresh();
    let vpc = ec2(&account, "describe_vpcs", json!({})).await.unwrap()["Vpcs"][0]["VpcId"].clone();
    let subnet = ec2(&account, "describe_subnets", json!({})).await.unwrap()["Subnets"][0]["SubnetId"].clone();
    let mut made = Vec::new();
    for name in ["one", "two"] {
        let group = ec2(&account, "create_security_group", json!({"GroupName": name, "Description": "d", "VpcId": vpc})).await.unwrap();
        made.push(group["GroupId"].as_str().unwrap().to_owned());
    }
    let run = json!({"ImageId": "ami-12345678", "MinCount": 1, "MaxCount": 1, "SubnetId": subnet, "SecurityGroupIds": [made[0]]});
    let instance = ec2(&account, "run_instances", run).await.unwrap()["Instances"][0].clone();
    let first = instance["NetworkInterfaces"][0]["NetworkInterfaceId"].clone();
    let second = ec2(&account, "create_network_interface", json!({"SubnetId": subnet, "Groups": [made[1]]})).await.unwrap()["NetworkInterface"]
        ["NetworkInterfaceId"]
        .clone();
    let attach = json!({"NetworkInterfaceId": second, "InstanceId": instance["InstanceId"], "DeviceIndex": 1});
    ec2(&account, "attach_network_interface", attach).await.unwrap();
    let show = async |id: &Value| {
        ec2(&account, "describe_network_interfaces", json!({"NetworkInterfaceIds": [id]})).await.unwrap()["NetworkInterfaces"][0].clone()
    };
    assert_eq!(groups(&show(&second).await), [made[1].as_str()]);
    ec2(&account, "modify_network_interface_attribute", json!({"NetworkInterfaceId": first, "Groups": [made[1]]})).await.unwrap();
    assert_eq!(groups(&show(&first).await), [made[1].as_str()]);
    let instance = ec2(&account, "describe_instances", json!({"InstanceIds": [instance["InstanceId"]]})).await.unwrap();
    assert_eq!(instance["Reservations"][0]["Instances"][0]["SecurityGroups"][0]["GroupId"], json!(made[1]));
    assert_eq!(ec2(&account, "delete_security_group", json!({"GroupId": made[1]})).await.unwrap_err().code, "DependencyViolation");
}

#[tokio::test]
async fn a_network_acl_is_full_at_twenty_rules() {
    let account = accounts::fresh();
    let acl = ec2(&account, "describe_network_acls", json!({})).await.unwrap()["NetworkAcls"][0]["NetworkAclId"].clone();
    let entry = |number: u32, egress: bool, source: Value| {
        let mut entry = json!({"NetworkAclId": acl, "RuleNumber": number, "Protocol": "6", "RuleAction": "deny", "Egress": egress, "PortRange": {"From": 22, "To": 22}});
        entry.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
        entry
    };
    let four = |number: u32| json!({"CidrBlock": format!("198.51.100.{number}/32")});
    // Rule 100 and the default deny are there already.
    for number in 1..=18 {
        ec2(&account, "create_network_acl_entry", entry(number, false, four(number))).await.unwrap();
    }
    let error = ec2(&account, "create_network_acl_entry", entry(19, false, four(19))).await.unwrap_err();
    assert_eq!(error.code, "NetworkAclEntryLimitExceeded");
    ec2(&account, "create_network_acl_entry", entry(19, true, four(19))).await.unwrap();
    ec2(&account, "create_network_acl_entry", entry(19, false, json!({"Ipv6CidrBlock": "2001:DB8::7/128"}))).await.unwrap();
    ec2(&account, "delete_network_acl_entry", json!({"NetworkAclId": acl, "RuleNumber": 1, "Egress": false})).await.unwrap();
    let error =
        ec2(&account, "delete_network_acl_entry", json!({"NetworkAclId": acl, "RuleNumber": 1, "Egress": false})).await.unwrap_err();
    assert_eq!(error.code, "InvalidNetworkAclEntry.NotFound");
    let mut dry = entry(1, false, four(1));
    dry["DryRun"] = json!(true);
    assert_eq!(ec2(&account, "create_network_acl_entry", dry).await.unwrap_err().code, "DryRunOperation");
    let entries =
        ec2(&account, "describe_network_acls", json!({"NetworkAclIds": [acl]})).await.unwrap()["NetworkAcls"][0]["Entries"].clone();
    let found = entries.as_array().unwrap().iter().find(|entry| entry.get("Ipv6CidrBlock").is_some()).unwrap();
    assert_eq!(found["Ipv6CidrBlock"], "2001:db8::7/128");
}

#[tokio::test]
async fn rules_of_a_group_change_together_or_not_at_all() {
    let account = accounts::fresh();
    let vpc = ec2(&account, "describe_vpcs", json!({})).await.unwrap()["Vpcs"][0]["VpcId"].clone();
    let group =
        ec2(&account, "create_security_group", json!({"GroupName": "g", "Description": "d", "VpcId": vpc})).await.unwrap()["GroupId"]
            .clone();
    let permission = |port: u32, more: Value| {
        let mut permission = json!({"IpProtocol": "tcp", "FromPort": port, "ToPort": port});
        permission.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        permission
    };
    let four = json!({"IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "world"}]});
    let six = json!({"Ipv6Ranges": [{"CidrIpv6": "::/0"}]});
    let open = json!({"GroupId": group, "IpPermissions": [permission(22, four.clone()), permission(22, six.clone())]});
    let made = ec2(&account, "authorize_security_group_ingress", open).await.unwrap();
    assert_eq!(made["SecurityGroupRules"].as_array().unwrap().len(), 2);
    let rules = async || {
        let found =
            ec2(&account, "describe_security_group_rules", json!({"Filters": [{"Name": "group-id", "Values": [group]}]})).await.unwrap();
        found["SecurityGroupRules"].as_array().unwrap().iter().filter(|rule| rule["IsEgress"] == json!(false)).cloned().collect::<Vec<_>>()
    };
    let duplicate = json!({"GroupId": group, "IpPermissions": [permission(443, four.clone()), permission(22, json!({"IpRanges": [{"CidrIp": "0.0.0.0/0"}]}))]});
    assert_eq!(ec2(&account, "authorize_security_group_ingress", duplicate).await.unwrap_err().code, "InvalidPermission.Duplicate");
    assert_eq!(rules().await.len(), 2);
    let absent = json!({"GroupId": group, "IpPermissions": [permission(22, six), permission(80, four)]});
    assert_eq!(ec2(&account, "revoke_security_group_ingress", absent).await.unwrap_err().code, "InvalidPermission.NotFound");
    assert_eq!(rules().await.len(), 2);
    let id = rules().await.iter().find(|rule| rule.get("CidrIpv4").is_some()).unwrap()["SecurityGroupRuleId"].clone();
    let gone = ec2(&account, "revoke_security_group_ingress", json!({"GroupId": group, "SecurityGroupRuleIds": [id]})).await.unwrap();
    assert_eq!((gone["RevokedSecurityGroupRules"][0]["SecurityGroupRuleId"].clone(), rules().await.len()), (id.clone(), 1));
    let error = ec2(&account, "revoke_security_group_ingress", json!({"GroupId": group, "SecurityGroupRuleIds": [id]})).await.unwrap_err();
    assert_eq!(error.code, "InvalidSecurityGroupRuleId.NotFound");
}

#[tokio::test]
async fn a_delegated_administrator_reads_the_organization() {
    let lab = shared().unwrap();
    let (management, security, member, stranger) = (accounts::fresh(), accounts::fresh(), accounts::fresh(), accounts::fresh());
    let ask =
        async |account: &str, operation: &str, params: Value| lab.hand.call(account, REGION, "organizations", operation, params).await;
    ask(&management, "create_organization", json!({"FeatureSet": "ALL"})).await.unwrap();
    let root = ask(&management, "list_roots", json!({})).await.unwrap()["Roots"][0]["Id"].clone();
    let unit =
        ask(&management, "create_organizational_unit", json!({"ParentId": root, "Name": "Workloads"})).await.unwrap()["OrganizationalUnit"]
            ["Id"]
            .clone();
    let seeded = vec![
        json!({"AccountId": security, "AccountName": "security", "Email": "s@example.com"}),
        json!({"AccountId": member, "AccountName": "member", "Email": "m@example.com", "ParentId": unit, "State": "SUSPENDED", "Tags": [{"Key": "cordon:opt-out", "Value": "yes"}]}),
    ];
    lab.seed(&management, REGION, "organizations-accounts", seeded).await.unwrap();
    assert_eq!(ask(&security, "list_accounts", json!({})).await.unwrap_err().code, "AccessDeniedException");
    for service in ["guardduty.amazonaws.com", "securityhub.amazonaws.com", "inspector2.amazonaws.com"] {
        ask(&management, "register_delegated_administrator", json!({"AccountId": security, "ServicePrincipal": service})).await.unwrap();
    }
    let found = lab.hand.all(&security, REGION, "organizations", "list_accounts", json!({})).await.unwrap();
    assert_eq!(found["Accounts"].as_array().unwrap().len(), 3);
    assert_eq!(ask(&security, "describe_account", json!({"AccountId": member})).await.unwrap()["Account"]["State"], "SUSPENDED");
    assert_eq!(ask(&security, "list_parents", json!({"ChildId": member})).await.unwrap()["Parents"][0]["Id"], unit);
    assert_eq!(ask(&security, "list_tags_for_resource", json!({"ResourceId": member})).await.unwrap()["Tags"][0]["Value"], "yes");
    assert_eq!(ask(&security, "list_accounts_for_parent", json!({"ParentId": unit})).await.unwrap()["Accounts"][0]["Id"], json!(member));
    assert_eq!(
        ask(&security, "list_organizational_units_for_parent", json!({"ParentId": root})).await.unwrap()["OrganizationalUnits"][0]["Id"],
        unit
    );
    let admins = ask(&security, "list_delegated_administrators", json!({"ServicePrincipal": "securityhub.amazonaws.com"})).await.unwrap();
    assert_eq!(admins["DelegatedAdministrators"][0]["Id"], json!(security));
    assert_eq!(ask(&member, "describe_organization", json!({})).await.unwrap()["Organization"]["MasterAccountId"], json!(management));
    for operation in ["list_accounts", "list_roots"] {
        assert_eq!(ask(&member, operation, json!({})).await.unwrap_err().code, "AccessDeniedException");
        assert_eq!(ask(&stranger, operation, json!({})).await.unwrap_err().code, "AWSOrganizationsNotInUseException");
    }
    let error = ask(&security, "create_organizational_unit", json!({"ParentId": root, "Name": "x"})).await.unwrap_err();
    assert_eq!(error.code, "AccessDeniedException");
}

#[tokio::test]
async fn a_rule_looks_into_arrays_and_reaches_a_queue_elsewhere() {
    let lab = shared().unwrap();
    let (account, between, security) = (accounts::fresh(), accounts::fresh(), accounts::fresh());
    let url = lab.hand.call(&security, REGION, "sqs", "create_queue", json!({"QueueName": "findings"})).await.unwrap()["QueueUrl"].clone();
    let pattern = json!({"source": ["aws.securityhub"], "detail": {"findings": {"Severity": {"Label": ["HIGH"]}, "Workflow": {"Status": [{"anything-but": "SUPPRESSED"}]}}}});
    lab.hand.call(&account, REGION, "events", "put_rule", json!({"Name": "r", "EventPattern": pattern.to_string()})).await.unwrap();
    let bus = json!({"Rule": "r", "Targets": [{"Id": "1", "Arn": format!("arn:aws:events:{REGION}:{between}:event-bus/default")}]});
    lab.hand.call(&account, REGION, "events", "put_targets", bus).await.unwrap();
    lab.hand
        .call(&between, REGION, "events", "put_rule", json!({"Name": "r", "EventPattern": json!({"account": [account]}).to_string()}))
        .await
        .unwrap();
    let target = json!({"Rule": "r", "Targets": [{"Id": "1", "Arn": format!("arn:aws:sqs:{REGION}:{security}:findings")}]});
    lab.hand.call(&between, REGION, "events", "put_targets", target).await.unwrap();
    let finding = |id: &str, label: &str, status: &str| json!({"Id": id, "Severity": {"Label": label}, "Workflow": {"Status": status}});
    let event = |findings: Value| json!({"source": "aws.securityhub", "detail-type": "Security Hub Findings - Imported", "time": "2026-11-24T04:00:00Z", "detail": {"findings": findings}});
    let seeded = vec![
        event(json!([finding("a", "LOW", "NEW"), finding("b", "HIGH", "NEW")])),
        event(json!([finding("c", "LOW", "NEW")])),
        // No single finding of these is both.
        event(json!([finding("d", "HIGH", "SUPPRESSED"), finding("e", "LOW", "NEW")])),
    ];
    lab.seed(&account, REGION, "events", seeded).await.unwrap();
    let found =
        lab.hand.call(&security, REGION, "sqs", "receive_message", json!({"QueueUrl": url, "MaxNumberOfMessages": 10})).await.unwrap();
    let bodies: Vec<Value> = found["Messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| serde_json::from_str(message["Body"].as_str().unwrap()).unwrap())
        .collect();
    assert_eq!(bodies.len(), 1);
    assert_eq!(
        (&bodies[0]["detail"]["findings"][1]["Id"], &bodies[0]["account"], &bodies[0]["time"]),
        (&json!("b"), &json!(account), &json!("2026-11-24T04:00:00Z"))
    );
}

#[tokio::test]
async fn logs_are_searched_as_aws_searches_them() {
    let lab = shared().unwrap();
    let account = accounts::fresh();
    let ask = async |operation: &str, params: Value| lab.hand.call(&account, REGION, "logs", operation, params).await;
    ask("create_log_group", json!({"logGroupName": "/var/log/secure"})).await.unwrap();
    let now = jiff::Timestamp::now().as_millisecond() - 60_000;
    for (place, stream) in ["i-1", "i-2"].iter().enumerate() {
        ask("create_log_stream", json!({"logGroupName": "/var/log/secure", "logStreamName": stream})).await.unwrap();
        let line = |second: i64| {
            let word = if second == 7 { "Accepted" } else { "Failed" };
            json!({"timestamp": now + second * 1000 + i64::try_from(place).unwrap(), "message": format!("sshd[7]: {word} password for root from 198.51.100.{second} port 22")})
        };
        let events: Vec<Value> = (0..10).map(line).collect();
        ask("put_log_events", json!({"logGroupName": "/var/log/secure", "logStreamName": stream, "logEvents": events})).await.unwrap();
    }
    let all = async |more: Value| {
        let mut params = json!({"logGroupName": "/var/log/secure"});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let found = lab.hand.all(&account, REGION, "logs", "filter_log_events", params).await.unwrap();
        found["events"].as_array().unwrap().clone()
    };
    // Several streams: the first page is empty and there is more.
    let first = ask("filter_log_events", json!({"logGroupName": "/var/log/secure"})).await.unwrap();
    assert!(first["events"].as_array().unwrap().is_empty() && first["nextToken"].is_string());
    let everything = all(json!({})).await;
    assert_eq!(everything.len(), 20);
    assert!(everything.is_sorted_by_key(|event| event["timestamp"].as_i64().unwrap()));
    for (pattern, count) in [
        ("Accepted", 2),
        ("\"Accepted password\" \"198.51.100.7\"", 2),
        ("?Accepted ?\"100.4\"", 4),
        ("Failed -\"100.4\"", 16),
        ("accepted", 0),
        ("%Acc[a-z]+ed%", 2),
    ] {
        assert_eq!(all(json!({"filterPattern": pattern})).await.len(), count, "{pattern}");
    }
    assert_eq!(all(json!({"logStreamNames": ["i-1"], "startTime": now + 5000, "endTime": now + 6000})).await.len(), 2);
    for pattern in ["198.51.100.7", "{ $.x > 1 }", "[ip, user, line]"] {
        let refused = ask("filter_log_events", json!({"logGroupName": "/var/log/secure", "filterPattern": pattern})).await;
        assert_eq!(refused.expect_err(pattern).code, "InvalidParameterException");
    }
    let error = ask("filter_log_events", json!({"logGroupName": "/var/log/secure", "logStreamNames": ["i-3"]})).await.unwrap_err();
    assert_eq!(error.code, "ResourceNotFoundException");
}

/// Two instances in a subnet of a VPC.
async fn two_instances(account: &str) -> (Value, Value, Vec<String>) {
    let vpc = ec2(account, "create_vpc", json!({"CidrBlock": "10.20.0.0/16"})).await.unwrap()["Vpc"]["VpcId"].clone();
    let subnet = json!({"VpcId": vpc, "CidrBlock": "10.20.1.0/24"});
    let subnet = ec2(account, "create_subnet", subnet).await.unwrap()["Subnet"]["SubnetId"].clone();
    let run = json!({"ImageId": "ami-12345678", "MinCount": 2, "MaxCount": 2, "SubnetId": subnet});
    let made = ec2(account, "run_instances", run).await.unwrap();
    let ids = made["Instances"].as_array().unwrap().iter().map(|one| one["InstanceId"].as_str().unwrap().to_owned());
    (vpc, subnet, ids.collect())
}

#[tokio::test]
async fn a_target_is_its_id_and_its_port_and_drains_when_it_is_deregistered() {
    let lab = shared().unwrap();
    let account = accounts::fresh();
    let (vpc, subnet, ids) = two_instances(&account).await;
    let ask = async |operation: &str, params: Value| lab.hand.call(&account, REGION, "elbv2", operation, params).await;
    let group = json!({"Name": "api", "Protocol": "TCP", "Port": 80, "VpcId": vpc, "TargetType": "instance"});
    let arn = ask("create_target_group", group).await.unwrap()["TargetGroups"][0]["TargetGroupArn"].clone();
    let target = |port: u16| json!({"Id": ids[0], "Port": port});
    let states = async || {
        let found = ask("describe_target_health", json!({"TargetGroupArn": arn})).await.unwrap();
        let entries = found["TargetHealthDescriptions"].as_array().unwrap().clone();
        let mut states: Vec<String> = entries
            .iter()
            .map(|entry| format!("{} {}", entry["Target"]["Port"], entry["TargetHealth"]["State"].as_str().unwrap()))
            .collect();
        states.sort();
        states
    };
    ask("register_targets", json!({"TargetGroupArn": arn, "Targets": [target(443), target(8443)]})).await.unwrap();
    assert_eq!(states().await, ["443 unused", "8443 unused"], "no load balancer uses the group");
    let balancer = ask("create_load_balancer", json!({"Name": "lb", "Type": "network", "Subnets": [subnet]})).await.unwrap();
    let forward = json!([{"Type": "forward", "TargetGroupArn": arn}]);
    let listener = json!({
        "LoadBalancerArn": balancer["LoadBalancers"][0]["LoadBalancerArn"], "Protocol": "TCP", "Port": 443, "DefaultActions": forward
    });
    ask("create_listener", listener).await.unwrap();
    assert_eq!(states().await, ["443 healthy", "8443 healthy"]);
    let deregister = json!({"TargetGroupArn": arn, "Targets": [target(443), target(9)]});
    ask("deregister_targets", deregister.clone()).await.unwrap();
    ask("deregister_targets", deregister).await.unwrap();
    assert_eq!(states().await, ["443 draining", "8443 healthy"]);
    ask("register_targets", json!({"TargetGroupArn": arn, "Targets": [target(443)]})).await.unwrap();
    assert_eq!(states().await, ["443 healthy", "8443 healthy"]);
}

#[tokio::test]
async fn a_group_lets_instances_go_and_come_within_its_sizes() {
    let lab = shared().unwrap();
    let account = accounts::fresh();
    let (_, subnet, ids) = two_instances(&account).await;
    let ask = async |operation: &str, params: Value| lab.hand.call(&account, REGION, "autoscaling", operation, params).await;
    let launched = json!({"LaunchConfigurationName": "web", "ImageId": "ami-12345678", "InstanceType": "t3.micro"});
    ask("create_launch_configuration", launched).await.unwrap();
    let group = json!({
        "AutoScalingGroupName": "web", "LaunchConfigurationName": "web", "MinSize": 0, "MaxSize": 2, "DesiredCapacity": 1,
        "VPCZoneIdentifier": subnet,
    });
    ask("create_auto_scaling_group", group).await.unwrap();
    let member = |id: &str| json!({"AutoScalingGroupName": "web", "InstanceIds": [id]});
    let leaving =
        |id: &str, less: bool| json!({"AutoScalingGroupName": "web", "InstanceIds": [id], "ShouldDecrementDesiredCapacity": less});
    let sizes = async || {
        let found = ask("describe_auto_scaling_groups", json!({})).await.unwrap()["AutoScalingGroups"][0].clone();
        (found["DesiredCapacity"].as_u64().unwrap(), found["Instances"].as_array().unwrap().len())
    };
    ask("attach_instances", member(&ids[0])).await.unwrap();
    assert_eq!(sizes().await, (2, 2));
    for (operation, params) in [
        ("attach_instances", member(&ids[0])),
        ("attach_instances", member(&ids[1])),
        ("exit_standby", member(&ids[0])),
        ("detach_instances", leaving(&ids[1], false)),
    ] {
        assert_eq!(ask(operation, params.clone()).await.unwrap_err().code, "ValidationError", "{operation} {params}");
    }
    ask("update_auto_scaling_group", json!({"AutoScalingGroupName": "web", "MinSize": 2})).await.unwrap();
    let error = ask("enter_standby", leaving(&ids[0], true)).await.unwrap_err();
    assert!(error.message.contains("min-size=2, max-size=2, and desired-size=2"), "{error}");
    ask("detach_instances", leaving(&ids[0], false)).await.unwrap();
    assert_eq!(sizes().await, (2, 2), "a replacement starts");
    let state = ec2(&account, "describe_instances", json!({"InstanceIds": [ids[0]]})).await.unwrap();
    assert_eq!(state["Reservations"][0]["Instances"][0]["State"]["Name"], "running");
    ask("suspend_processes", json!({"AutoScalingGroupName": "web", "ScalingProcesses": ["Launch"]})).await.unwrap();
    let found = ask("describe_auto_scaling_groups", json!({})).await.unwrap()["AutoScalingGroups"][0]["Instances"][0]["InstanceId"].clone();
    ask("detach_instances", leaving(found.as_str().unwrap(), false)).await.unwrap();
    assert_eq!(sizes().await, (2, 1), "and none where the group starts none");
}
