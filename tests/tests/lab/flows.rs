//! `ec2.cut-tracked-flows` where it is hard.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail as tests do")]

use cordon_lab::drill::Drill;
use serde_json::{Value, json};

use crate::stage::{Asked, Stage, applied, by_hand, looked, said, undone};

const CUT: &str = "ec2.cut-tracked-flows";
const REMOTE: &str = "198.51.100.23";

async fn begun<'a>(stage: &'a Stage, asked: &'a Asked) -> Drill<'a> {
    Drill::begin(&stage.ground, asked, CUT).await.unwrap()
}

impl Stage {
    async fn timeouts(&self) -> Vec<Value> {
        let mut all = Vec::new();
        for id in &self.instance.interfaces {
            let found = self.ask("describe_network_interfaces", json!({"NetworkInterfaceIds": [id]})).await;
            all.push(found["NetworkInterfaces"][0]["ConnectionTrackingConfiguration"].clone());
        }
        all
    }

    /// The network ACL of the VPC, and its entries.
    async fn acl(&self) -> (String, Vec<Value>) {
        let found = self.ask("describe_network_acls", json!({"Filters": [{"Name": "vpc-id", "Values": [self.instance.vpc]}]})).await;
        let acl = &found["NetworkAcls"][0];
        (acl["NetworkAclId"].as_str().unwrap().to_owned(), acl["Entries"].as_array().unwrap().clone())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn remotes_are_denied_timeouts_lowered_and_both_come_back() {
    let stage = Stage::new(1, &[&[0], &[0]]).await;
    let set = json!({"NetworkInterfaceId": stage.instance.interfaces[0], "ConnectionTrackingSpecification": {"TcpEstablishedTimeout": 600, "UdpTimeout": 45}});
    stage.ask("modify_network_interface_attribute", set).await;
    let (acl, entries) = stage.acl().await;
    let asked = stage.asked(json!({"remotes": [REMOTE, "2001:db8::23", REMOTE]}));
    let mut drill = begun(&stage, &asked).await;
    let (plan, outcome) = applied(&mut drill).await;
    assert!(said(&plan, &format!("tracked flows with {REMOTE}, 2001:db8::23 end at once")), "{plan:?}");
    assert!(said(&plan, "active flows with other addresses may go on until they idle out"), "{plan:?}");
    assert_eq!((&outcome["tracked_flows"], &outcome["remotes"]), (&json!("ended-with"), &json!([REMOTE, "2001:db8::23"])));
    assert_eq!((&outcome["left"], &outcome["denied"][0]["acl"]), (&json!([]), &json!(acl)));
    assert_eq!(outcome["denied"][0]["entries"].as_array().unwrap().len(), 4);
    let of = |id: &str| outcome["interfaces"].as_array().unwrap().iter().find(|one| one["interface"] == id).unwrap().clone();
    let first = of(&stage.instance.interfaces[0]);
    assert_eq!(first["tcp_established_timeout"], json!({"was": 600, "now": 60}));
    assert_eq!(first["udp_stream_timeout"], json!({"was": null, "now": 60}));
    let now = stage.timeouts().await;
    assert_eq!(now[0], json!({"TcpEstablishedTimeout": 60, "UdpStreamTimeout": 60, "UdpTimeout": 45}));
    assert_eq!(now[1], json!({"TcpEstablishedTimeout": 60, "UdpStreamTimeout": 60}));
    let denied = stage.acl().await.1;
    let ours: Vec<&Value> = denied.iter().filter(|entry| !entries.contains(entry)).collect();
    assert!(ours.len() == 4 && ours.iter().all(|entry| entry["RuleAction"] == "deny" && entry["Protocol"] == "-1"), "{ours:?}");

    undone(&mut drill).await;
    // What nobody had set cannot be unset: it is set to what the instance type has.
    let now = stage.timeouts().await;
    assert_eq!(now[0], json!({"TcpEstablishedTimeout": 600, "UdpStreamTimeout": 180, "UdpTimeout": 45}));
    assert_eq!(now[1], json!({"TcpEstablishedTimeout": 432_000, "UdpStreamTimeout": 180}));
    assert_eq!(stage.acl().await.1, entries);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_remotes_the_timeouts_alone_are_lowered_and_flows_may_persist() {
    let stage = Stage::new(1, &[&[0]]).await;
    let (_, entries) = stage.acl().await;
    let asked = stage.asked(json!({}));
    let mut drill = begun(&stage, &asked).await;
    let (plan, outcome) = applied(&mut drill).await;
    assert!(said(&plan, "tracked flows may persist: 60 seconds of silence end one"), "{plan:?}");
    assert_eq!((&outcome["tracked_flows"], &outcome["denied"]), (&json!("may-persist"), &json!([])));
    assert_eq!(stage.acl().await.1, entries);
    undone(&mut drill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_type_without_timeouts_has_its_remotes_denied_and_without_remotes_nothing_can_be_done() {
    let stage = Stage::of_type("t2.micro", 1, &[&[0]]).await;
    let asked = stage.asked(json!({"remotes": [REMOTE]}));
    let mut drill = begun(&stage, &asked).await;
    let (plan, outcome) = applied(&mut drill).await;
    assert!(said(&plan, "instance type t2.micro is not of the Nitro system") && said(&plan, "but their own end"), "{plan:?}");
    assert_eq!((&outcome["tracked_flows"], &outcome["interfaces"]), (&json!("ended-with"), &json!([])));
    undone(&mut drill).await;
    let asked = stage.asked(json!({}));
    let (code, why) = looked(&begun(&stage, &asked).await).await.unwrap_err();
    assert!(code == "moot" && why.contains("tracked flows may persist"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_shared_subnet_the_acl_is_left_to_its_owner_and_the_timeouts_are_lowered() {
    let stage = Stage::new(1, &[&[0]]).await;
    let shared: Vec<Value> = stage.instance.subnets.iter().map(|id| json!({"id": id, "owner": "999988887777"})).collect();
    stage.seed(shared).await;
    let asked = stage.asked(json!({"remotes": [REMOTE]}));
    let mut drill = begun(&stage, &asked).await;
    let (plan, outcome) = applied(&mut drill).await;
    assert!(said(&plan, "is shared by another account") && said(&plan, "tracked flows may persist"), "{plan:?}");
    assert_eq!((&outcome["tracked_flows"], &outcome["remotes"]), (&json!("may-persist"), &json!([])));
    assert!(outcome["left"][0].as_str().unwrap().starts_with(REMOTE), "{outcome}");
    assert_eq!(outcome["interfaces"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn own_and_special_addresses_and_those_without_a_place_are_left_and_named() {
    let stage = Stage::new(1, &[&[0]]).await;
    let (acl, _) = stage.acl().await;
    for number in 1..18 {
        let entry = json!({"NetworkAclId": acl, "RuleNumber": number, "Egress": true, "RuleAction": "deny", "Protocol": "-1",
            "CidrBlock": format!("203.0.113.{number}/32")});
        stage.ask("create_network_acl_entry", entry).await;
    }
    let own = stage.ask("allocate_address", json!({"Domain": "vpc"})).await;
    let own = own["PublicIp"].as_str().unwrap();
    // One place is left.
    let asked = stage.asked(json!({"remotes": [own, "10.30.0.9", "169.254.169.254", REMOTE, "198.51.100.24"]}));
    let mut drill = begun(&stage, &asked).await;
    let (plan, outcome) = applied(&mut drill).await;
    assert_eq!((&outcome["tracked_flows"], &outcome["remotes"]), (&json!("ended-with"), &json!([REMOTE])));
    let left: Vec<&str> = outcome["left"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    assert_eq!(left.len(), 4, "{left:?}");
    assert!(left.iter().any(|one| one.starts_with("198.51.100.24: ") && one.contains("at their quota")), "{left:?}");
    assert!(said(&plan, &format!("{own} is never blocked")) && said(&plan, "169.254.169.254 is never blocked"), "{plan:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_somebody_took_over_is_left_to_a_person() {
    let stage = Stage::new(1, &[&[0]]).await;
    let (acl, _) = stage.acl().await;
    let asked = stage.asked(json!({"remotes": [REMOTE]}));
    let mut drill = begun(&stage, &asked).await;
    applied(&mut drill).await;
    let theirs = json!({"NetworkAclId": acl, "RuleNumber": 1, "Egress": false, "RuleAction": "deny", "Protocol": "6",
        "CidrBlock": format!("{REMOTE}/32"), "PortRange": {"From": 22, "To": 22}});
    stage.ask("replace_network_acl_entry", theirs).await;
    let steps = by_hand(&mut drill).await;
    assert!(steps.contains("somebody changed number 1") && steps.contains("delete-network-acl-entry"), "{steps}");
    let left: Vec<Value> = stage.acl().await.1.into_iter().filter(|entry| entry["RuleNumber"] == 1).collect();
    assert!(left.len() == 1 && left[0]["Egress"] == false, "{left:?}");
    assert_eq!(stage.timeouts().await[0]["TcpEstablishedTimeout"], 432_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_is_to_stay_is_made_beside_the_entries_that_are_not() {
    let stage = Stage::new(1, &[&[0]]).await;
    let asked = stage.asked(json!({"remotes": [REMOTE]}));
    let mut cut = begun(&stage, &asked).await;
    applied(&mut cut).await;
    let asked = stage.asked(json!({"sources": [REMOTE], "protocol": "tcp", "port": 22}));
    let mut block = Drill::begin(&stage.ground, &asked, "ec2.block-source-in-nacl").await.unwrap();
    let (plan, _) = applied(&mut block).await;
    assert_eq!((plan.changes.len(), plan.already.len()), (2, 0), "{plan:?}");
    undone(&mut cut).await;
    let denied = stage.acl().await.1.into_iter().filter(|entry| entry["CidrBlock"] == format!("{REMOTE}/32")).count();
    assert_eq!(denied, 2);
}
