//! `ec2.isolate-instance` where it is hard.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail as tests do")]

use cordon_lab::{
    drill::{Drill, World},
    gateway::{Action, Fault, Match},
};
use cordon_shared::plan::Verdict;
use serde_json::{Value, json};

use crate::stage::{Asked, Stage, applied, by_hand, looked, said, undone};

const ISOLATE: &str = "ec2.isolate-instance";

async fn begun<'a>(stage: &'a Stage, asked: &'a Asked) -> Drill<'a> {
    Drill::begin(&stage.ground, asked, ISOLATE).await.unwrap()
}

fn closed(group: &Value) -> bool {
    [&group["IpPermissions"], &group["IpPermissionsEgress"]].iter().all(|rules| rules.as_array().is_none_or(Vec::is_empty))
}

#[tokio::test(flavor = "multi_thread")]
async fn four_interfaces_in_two_subnets_are_moved_into_one_group_that_is_empty_in_both_families() {
    let stage = Stage::new(3, &[&[0], &[1, 0], &[1], &[2, 0, 1]]).await;
    let before = stage.groups().await;
    let address = stage.ask("allocate_address", json!({"Domain": "vpc"})).await;
    let params = json!({"AllocationId": address["AllocationId"], "NetworkInterfaceId": stage.instance.interfaces[1]});
    let association = stage.ask("associate_address", params).await;
    let asked = stage.asked(json!({}));
    let mut drill = begun(&stage, &asked).await;
    let (plan, outcome) = applied(&mut drill).await;

    let groups = stage.isolations().await;
    assert_eq!(groups.len(), 1);
    let group = groups[0]["GroupId"].as_str().unwrap();
    assert!(closed(&groups[0]), "{}", groups[0]);
    assert!(stage.groups().await.iter().all(|now| now == &[group.to_owned()]));
    let tags = groups[0]["Tags"].as_array().unwrap();
    assert!(tags.iter().any(|tag| tag["Key"] == "cordon:run") && tags.contains(&json!({"Key": "cordon:step", "Value": "step"})));

    assert_eq!((plan.changes.len(), plan.touches.len(), plan.counted().len()), (4, 4, 1));
    assert!(said(&plan, "neither the VPC's DNS resolver nor the instance metadata service"), "{plan:?}");
    assert!(said(&plan, &format!("Elastic IP {} stays associated", address["PublicIp"].as_str().unwrap())), "{plan:?}");
    assert_eq!(outcome["groups"], json!([{"vpc": stage.instance.vpc, "group": group}]));
    assert_eq!((outcome["kept_ssm"].clone(), outcome["refused"].clone()), (json!(false), json!([])));
    assert_eq!(outcome["elastic_ips"][0]["allocation"], address["AllocationId"]);
    assert_eq!(outcome["elastic_ips"][0]["association"], association["AssociationId"]);
    let was = |id: &str| {
        let all = outcome["interfaces"].as_array().unwrap();
        all.iter().find(|moved| moved["interface"] == id).unwrap()["was"].clone()
    };
    for (id, groups) in stage.instance.interfaces.iter().zip(&before) {
        assert_eq!(was(id), json!(groups));
    }
    undone(&mut drill).await;
    assert_eq!((stage.groups().await, stage.isolations().await), (before, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interface_that_an_aws_service_runs_is_refused_by_name() {
    let stage = Stage::new(2, &[&[0], &[1]]).await;
    let managed = |id: &str| json!({"id": id, "requester_managed": true, "requester_id": "amazon-aws"});
    stage.seed(vec![managed(&stage.instance.interfaces[1])]).await;
    let asked = stage.asked(json!({}));
    let mut drill = begun(&stage, &asked).await;
    let (plan, outcome) = applied(&mut drill).await;
    assert!(said(&plan, &format!("interface {} is run by amazon-aws", stage.instance.interfaces[1])), "{plan:?}");
    assert_eq!(outcome["refused"], json!([{"interface": stage.instance.interfaces[1], "by": "amazon-aws"}]));
    assert_eq!(stage.groups().await[1], [stage.instance.groups[1].clone()]);

    undone(&mut drill).await;
    stage.seed(vec![managed(&stage.instance.interfaces[0])]).await;
    let (code, why) = looked(&begun(&stage, &asked).await).await.unwrap_err();
    assert!(code == "managed-interfaces" && stage.instance.interfaces.iter().all(|id| why.contains(id)), "{code}: {why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_vpc_gets_a_group_and_the_plan_says_whose_it_is() {
    let stage = Stage::new(1, &[&[0]]).await;
    stage.seed(vec![json!({"id": stage.instance.vpc, "owner": "999988887777"})]).await;
    let asked = stage.asked(json!({}));
    let drill = begun(&stage, &asked).await;
    let plan = looked(&drill).await.unwrap();
    assert!(said(&plan, "is shared by account 999988887777"), "{plan:?}");
    let policy = &drill.policies(&plan).unwrap()[0].policy;
    assert!(policy.contains(&format!(":999988887777:vpc/{}", stage.instance.vpc)), "{policy}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_of_another_controller_is_isolated_only_when_the_step_says_so() {
    let stage = Stage::new(1, &[&[0]]).await;
    let tags = json!({"Resources": [stage.instance.id], "Tags": [{"Key": "eks:cluster-name", "Value": "prod"}]});
    stage.ask("create_tags", tags).await;
    for action in [ISOLATE, "ec2.cut-tracked-flows"] {
        let asked = stage.asked(json!({}));
        let drill = Drill::begin(&stage.ground, &asked, action).await.unwrap();
        assert_eq!(looked(&drill).await.unwrap_err().0, "run-by-controller");
        let asked = stage.asked(json!({"even_if_managed": true}));
        let drill = Drill::begin(&stage.ground, &asked, action).await.unwrap();
        assert!(said(&looked(&drill).await.unwrap(), "is run by Amazon EKS"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_instance_is_isolated_all_the_same_and_a_terminated_one_is_moot() {
    let stage = Stage::new(1, &[&[0]]).await;
    let asked = stage.asked(json!({}));
    stage.ask("stop_instances", json!({"InstanceIds": [stage.instance.id]})).await;
    let mut drill = begun(&stage, &asked).await;
    let (plan, _) = applied(&mut drill).await;
    assert!(said(&plan, "its interfaces are isolated all the same"), "{plan:?}");
    stage.ask("terminate_instances", json!({"InstanceIds": [stage.instance.id]})).await;
    let (code, why) = looked(&begun(&stage, &asked).await).await.unwrap_err();
    assert!(code == "moot" && why.contains("terminated"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_of_which_nobody_may_read_what_it_serves_in_is_planned_all_the_same_and_asks() {
    let stage = Stage::new(1, &[&[0]]).await;
    let asked = stage.asked(json!({}));
    let operation = Some("DescribeTargetGroups".to_owned());
    let denied = Match { account: Some(stage.account.clone()), operation, ..Match::default() };
    stage.ground.lab.gateway.faults().add(Fault::new(denied, Action::Deny { code: None, status: None }));
    let mut drill = begun(&stage, &asked).await;
    let plan = looked(&drill).await.unwrap();
    let why = format!("what instance {} serves in cannot be read", stage.instance.id);
    assert_eq!((plan.changes.len(), plan.ask.as_deref(), plan.beside.as_deref()), (1, None, Some(why.as_str())));
    assert!(said(&plan, "DescribeTargetGroups"), "{plan:?}");
    // The gate asks one person for it.
    drill.plan().await.unwrap();
    let no = drill.apply().await.map(drop).unwrap_err().to_string();
    assert!(no.contains(&why) && no.contains("people: 1"), "{no}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interface_in_another_incidents_isolation_group_stays_there_unless_that_has_rules() {
    let stage = Stage::new(2, &[&[0], &[1]]).await;
    let asked = stage.asked(json!({}));
    let mut first = begun(&stage, &asked).await;
    applied(&mut first).await;
    let isolated = stage.groups().await;

    let second = begun(&stage, &asked).await;
    let plan = looked(&second).await.unwrap();
    assert!(plan.changes.is_empty() && plan.already.len() == 2 && said(&plan, "is isolated already, by inc-"), "{plan:?}");

    let rule = json!([{"IpProtocol": "tcp", "FromPort": 4444, "ToPort": 4444, "IpRanges": [{"CidrIp": "203.0.113.9/32"}]}]);
    stage.ask("authorize_security_group_egress", json!({"GroupId": isolated[0][0], "IpPermissions": rule})).await;
    let mut third = begun(&stage, &asked).await;
    let (plan, _) = applied(&mut third).await;
    assert!(said(&plan, "which has rules: it is moved out"), "{plan:?}");
    assert!(stage.groups().await.iter().all(|now| now != &isolated[0]));
    undone(&mut third).await;
    assert_eq!(stage.groups().await, isolated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_only_looks_like_ours_is_never_used() {
    let stage = Stage::new(1, &[&[0]]).await;
    let before = stage.groups().await;
    let asked = stage.asked(json!({}));
    let mut drill = begun(&stage, &asked).await;
    let plan = drill.plan().await.unwrap();
    let name = plan.changes[0].after[0].as_str().unwrap().to_owned();
    let run = name.strip_prefix("cordon-").unwrap().split("-vpc-").next().unwrap().to_owned();
    let tags = json!([{"Key": "cordon:run", "Value": run}, {"Key": "cordon:step", "Value": "step"}]);

    let refused = async |words: &str| {
        let (code, why) = looked(&drill).await.unwrap_err();
        assert!(code == "isolation-group-taken" && why.contains(words), "{code}: {why}");
    };
    let group = stage.group(&name, json!([])).await;
    refused("does not carry the tags").await;
    stage.ask("create_tags", json!({"Resources": [group], "Tags": tags})).await;
    let open = json!([{"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "203.0.113.9/32"}]}]);
    stage.ask("authorize_security_group_egress", json!({"GroupId": group, "IpPermissions": open})).await;
    refused("rules that are not Cordon's").await;
    let error = drill.apply().await.unwrap().unwrap_err();
    assert!(error.to_string().contains("GroupNotOurs") && error.to_string().contains(&group), "{error}");
    assert_eq!(stage.groups().await, before);

    stage.ask("revoke_security_group_egress", json!({"GroupId": group, "IpPermissions": open})).await;
    let params = json!({"SubnetId": stage.instance.subnets[0], "Groups": [group]});
    let stranger = stage.ask("create_network_interface", params).await;
    let stranger = stranger["NetworkInterface"]["NetworkInterfaceId"].as_str().unwrap();
    let (code, why) = looked(&drill).await.unwrap_err();
    assert!(code == "isolation-group-taken" && why.contains(stranger), "{code}: {why}");

    // Name, tags and rules as after a call whose answer was lost: it is used, and emptied first.
    stage.ask("delete_network_interface", json!({"NetworkInterfaceId": stranger})).await;
    let outcome = drill.apply_again().await.unwrap().unwrap();
    assert_eq!(outcome["groups"][0]["group"], json!(group));
    assert!(closed(&stage.isolations().await[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_gone_when_it_is_undone_is_a_matter_for_a_person() {
    let stage = Stage::new(2, &[&[0], &[0, 1]]).await;
    let asked = stage.asked(json!({}));
    let mut drill = begun(&stage, &asked).await;
    applied(&mut drill).await;
    stage.ask("delete_security_group", json!({"GroupId": stage.instance.groups[1]})).await;
    let steps = by_hand(&mut drill).await;
    assert!(steps.contains(&format!("{} it was in no longer exists", stage.instance.groups[1])), "{steps}");
    assert!(steps.contains("aws ec2 modify-network-interface-attribute") && steps.contains(&stage.instance.groups[0]), "{steps}");
    // The other is back, and the group stays while something is in it.
    assert_eq!(stage.groups().await[0], [stage.instance.groups[0].clone()]);
    assert_eq!(stage.isolations().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_given_to_the_isolation_group_are_drift_and_leave_it_to_a_person() {
    let stage = Stage::new(1, &[&[0]]).await;
    let before = stage.groups().await;
    let asked = stage.asked(json!({}));
    let mut drill = begun(&stage, &asked).await;
    applied(&mut drill).await;
    let group = stage.groups().await[0][0].clone();
    let open = json!([{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "203.0.113.0/24"}]}]);
    stage.ask("authorize_security_group_ingress", json!({"GroupId": group, "IpPermissions": open})).await;
    assert!(matches!(drill.verify().await.unwrap(), Verdict::Drifted { detail } if detail.contains(&group)));
    let steps = by_hand(&mut drill).await;
    assert!(steps.contains("somebody gave it rules") && steps.contains("delete-security-group"), "{steps}");
    assert_eq!((stage.groups().await, stage.isolations().await.len()), (before, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interface_that_is_attached_later_is_noticed() {
    let stage = Stage::new(1, &[&[0]]).await;
    let asked = stage.asked(json!({}));
    let mut drill = begun(&stage, &asked).await;
    applied(&mut drill).await;
    let params = json!({"SubnetId": stage.instance.subnets[1], "Groups": [stage.instance.groups[0]]});
    let made = stage.ask("create_network_interface", params).await;
    let id = made["NetworkInterface"]["NetworkInterfaceId"].as_str().unwrap();
    let params = json!({"InstanceId": stage.instance.id, "NetworkInterfaceId": id, "DeviceIndex": 1});
    stage.ask("attach_network_interface", params).await;
    assert!(matches!(drill.verify().await.unwrap(), Verdict::Drifted { detail } if detail.contains(id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn systems_manager_is_reached_through_endpoints_of_the_vpc_or_not_at_all() {
    let stage = Stage::new(2, &[&[0], &[1]]).await;
    let asked = stage.asked(json!({"keep_ssm": true}));
    let plan = looked(&begun(&stage, &asked).await).await.unwrap();
    assert!(said(&plan, "no interface endpoint for Systems Manager that this account can see: the instance is isolated fully"), "{plan:?}");

    let endpoints = stage.group("endpoints", json!([])).await;
    for (service, group) in [("ssm", &endpoints), ("ssmmessages", &stage.instance.groups[0]), ("s3", &stage.instance.groups[1])] {
        let name = format!("com.amazonaws.{}.{service}", stage.region);
        let params = json!({"VpcEndpointType": "Interface", "VpcId": stage.instance.vpc, "ServiceName": name,
            "SubnetIds": [stage.instance.subnets[0]], "SecurityGroupIds": [group]});
        stage.ask("create_vpc_endpoint", params).await;
    }
    let plan = looked(&begun(&stage, &asked).await).await.unwrap();
    assert!(said(&plan, "no interface endpoint for ec2messages") && said(&plan, "do not let the instance in"), "{plan:?}");
    let https = json!([{"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "10.30.0.0/16"}]}]);
    stage.ask("authorize_security_group_ingress", json!({"GroupId": endpoints, "IpPermissions": https})).await;
    let mut drill = begun(&stage, &asked).await;
    let (plan, outcome) = applied(&mut drill).await;
    assert!(said(&plan, "let the instance in") && said(&plan, "is on other interfaces too"), "{plan:?}");
    assert_eq!(outcome["kept_ssm"], true);
    let group = &stage.isolations().await[0];
    let out = group["IpPermissionsEgress"].as_array().unwrap();
    assert!(out.iter().all(|rule| (&rule["FromPort"], &rule["ToPort"], &rule["IpProtocol"]) == (&json!(443), &json!(443), &json!("tcp"))));
    let pairs: Vec<&Value> = out.iter().flat_map(|rule| rule["UserIdGroupPairs"].as_array().unwrap()).collect();
    let ranges: Vec<&str> =
        out.iter().flat_map(|rule| rule["IpRanges"].as_array().unwrap()).map(|range| range["CidrIp"].as_str().unwrap()).collect();
    // The group that the attacker's interface had been in names the attacked instance too: of it the endpoint's address alone.
    assert_eq!((pairs.len(), pairs[0]["GroupId"].as_str().unwrap()), (1, endpoints.as_str()));
    assert!(ranges.len() == 1 && ranges[0].starts_with("10.30.") && ranges[0].ends_with("/32"), "{ranges:?}");
    undone(&mut drill).await;
    assert!(stage.isolations().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn fifteen_interfaces_in_groups_of_their_own_are_isolated_and_put_back() {
    let places: Vec<[usize; 1]> = (0..15).map(|place| [place]).collect();
    let places: Vec<&[usize]> = places.iter().map(<[usize; 1]>::as_slice).collect();
    let stage = Stage::new(15, &places).await;
    let before = stage.groups().await;
    let asked = stage.asked(json!({}));
    let mut drill = begun(&stage, &asked).await;
    let (plan, outcome) = applied(&mut drill).await;
    assert!(drill.policies(&plan).unwrap().len() > 1 && asked.cell().account.as_str() == stage.account);
    assert_eq!(outcome["interfaces"].as_array().unwrap().len(), 15);
    undone(&mut drill).await;
    assert_eq!((stage.groups().await, stage.isolations().await), (before, vec![]));
}
