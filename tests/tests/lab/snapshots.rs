//! The evidence of disks: hard cases of the snapshots' actions, on the lab.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail as tests do")]

use std::collections::BTreeSet;

use cordon_lab::{
    LabError,
    drill::{Drill, Ground, MADE_UP_ACCOUNT, Trespass, World, Yard},
    gateway::{Action as Wrong, Fault, Match},
};
use cordon_shared::{
    id::{CellId, IncidentId},
    plan::Verdict,
};
use cordon_spoke::action::{Plan, Undo};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use crate::drills::yard;

/// A world of a test: a place, parameters, and an incident.
#[derive(Debug)]
struct Plain {
    cell: CellId,
    with: Value,
    run: IncidentId,
}

impl World for Plain {
    fn cell(&self) -> &CellId {
        &self.cell
    }
    fn with(&self) -> Value {
        self.with.clone()
    }
    fn run(&self) -> Option<IncidentId> {
        Some(self.run)
    }
    fn look(&self) -> BoxFuture<'_, Result<Value, LabError>> {
        Box::pin(std::future::ready(Ok(Value::Null)))
    }
    fn drift(&self) -> BoxFuture<'_, Result<(), LabError>> {
        Box::pin(std::future::ready(Ok(())))
    }
    fn drifted(&self, _state: &Value) -> bool {
        false
    }
    fn trespasses(&self) -> Vec<Trespass> {
        Vec::new()
    }
}

/// The hand in a place of the yard, and an incident.
struct Bench {
    yard: &'static Yard,
    account: String,
    region: String,
    run: IncidentId,
}

impl Bench {
    async fn new() -> Self {
        let yard = yard().await;
        let (account, region) = yard.place();
        let run = IncidentId::new(u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap());
        Self { yard, account: account.to_owned(), region: region.to_owned(), run }
    }

    async fn ask(&self, operation: &str, params: Value) -> Value {
        let hand = &self.yard.organization.hand;
        hand.call(&self.account, &self.region, "ec2", operation, params).await.unwrap_or_else(|error| panic!("{operation}: {error}"))
    }

    async fn instance(&self, kind: &str, disks: &[(&str, bool)]) -> String {
        let disk = |(device, encrypted): &(&str, bool)| json!({"DeviceName": device, "Ebs": {"VolumeSize": 8, "Encrypted": encrypted}});
        let mappings: Vec<Value> = disks.iter().map(disk).collect();
        let params =
            json!({"ImageId": "ami-12c6146b", "InstanceType": kind, "MinCount": 1, "MaxCount": 1, "BlockDeviceMappings": mappings});
        self.ask("run_instances", params).await["Instances"][0]["InstanceId"].as_str().unwrap().to_owned()
    }

    async fn volumes(&self, instance: &str) -> Vec<(String, String)> {
        let filters = json!({"Filters": [{"Name": "attachment.instance-id", "Values": [instance]}]});
        let found = self.ask("describe_volumes", filters).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        found["Volumes"].as_array().unwrap().iter().map(|one| (text(&one["VolumeId"]), text(&one["Attachments"][0]["Device"]))).collect()
    }

    async fn snapshots(&self) -> Vec<Value> {
        let filters = json!({"Filters": [{"Name": "tag:cordon:run", "Values": [self.run.to_string()]}]});
        self.ask("describe_snapshots", filters).await["Snapshots"].as_array().unwrap().clone()
    }

    fn world(&self, with: Value) -> Plain {
        let cell = CellId::new(self.account.parse().unwrap(), self.region.parse().unwrap());
        Plain { cell, with, run: self.run }
    }

    fn in_the_hub(&self, with: Value) -> Plain {
        let cell = CellId::new(MADE_UP_ACCOUNT.parse().unwrap(), self.region.parse().unwrap());
        Plain { cell, with, run: self.run }
    }
}

async fn done(ground: &Ground, world: &Plain, action: &str) -> Value {
    let mut drill = Drill::begin(ground, world, action).await.unwrap();
    drill.plan().await.unwrap();
    let outcome = drill.apply().await.unwrap().unwrap_or_else(|error| panic!("{action}: {error}"));
    assert_eq!(drill.verify().await.unwrap(), Verdict::InEffect, "{action}");
    outcome
}

const TAKE: &str = "ec2.snapshot-volumes";

#[tokio::test(flavor = "multi_thread")]
async fn one_call_takes_all_volumes_locks_them_while_pending_and_a_ticket_waits_for_them() {
    let bench = Bench::new().await;
    let ground = Ground::new(bench.yard).unwrap();
    let instance = bench.instance("t3.micro", &[("/dev/sda1", false), ("/dev/sdf", true), ("/dev/sdg", false)]).await;
    let slow = bench.volumes(&instance).await[1].0.clone();
    bench.ask("create_tags", json!({"Resources": [slow], "Tags": [{"Key": "cordon-lab:snapshot", "Value": "slow"}]})).await;
    let world = bench.world(json!({"instance": instance}));
    let mark = ground.lab.gateway.ledger().mark();
    let outcome = done(&ground, &world, TAKE).await;
    let calls = ground.lab.gateway.ledger().since(mark);
    let count = |operation: &str| calls.iter().filter(|call| call.operation == operation).count();
    assert_eq!((count("CreateSnapshots"), count("LockSnapshot")), (1, 3));
    let taken = outcome["snapshots"].as_array().unwrap();
    assert_eq!((taken.len(), outcome["ids"].as_array().unwrap().len()), (3, 3));
    for one in taken {
        assert_eq!(one["state"], "completed");
        assert!(one["locked_until"].is_string() && one["device"].as_str().unwrap().starts_with("/dev/"), "{one}");
        assert_eq!(one["encrypted"].as_bool().unwrap(), one["kms_key"].is_string());
    }
    // Asked after more than once: they were pending for a while.
    let position = |operation: &str| calls.iter().rposition(|call| call.operation == operation).unwrap();
    let last_lock = position("LockSnapshot");
    assert!(calls[last_lock..].iter().filter(|call| call.operation == "DescribeSnapshots").count() > 2);
    for snapshot in bench.snapshots().await {
        let tags: Vec<&str> = snapshot["Tags"].as_array().unwrap().iter().map(|tag| tag["Key"].as_str().unwrap()).collect();
        assert!(["Name", "cordon:run", "cordon:step"].iter().all(|key| tags.contains(key)), "{tags:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plan_names_instance_store_locks_no_instance_and_counts_one() {
    let bench = Bench::new().await;
    let ground = Ground::new(bench.yard).unwrap();
    let instance = bench.instance("i3.large", &[("/dev/sda1", false), ("/dev/sdf", false)]).await;
    let world = bench.world(json!({"instance": instance, "lock_days": 0}));
    let drill = Drill::begin(&ground, &world, TAKE).await.unwrap();
    let Plan::Ready { plan, .. } = drill.look().await.unwrap() else { panic!() };
    let store = plan.notes.iter().find(|note| note.contains("instance store")).unwrap();
    assert!(store.contains(&instance) && store.contains("is not in any snapshot and is lost when it stops"), "{store}");
    assert!(plan.notes.iter().any(|note| note.contains("not locked")));
    assert!(plan.touches.len() == 2 && plan.touches.iter().all(|arn| arn.contains(":volume/vol-")), "{:?}", plan.touches);
    assert_eq!(plan.counted().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_instance_is_moot_and_a_stopped_one_is_not() {
    let bench = Bench::new().await;
    let ground = Ground::new(bench.yard).unwrap();
    let instance = bench.instance("t3.micro", &[("/dev/sda1", false)]).await;
    bench.ask("stop_instances", json!({"InstanceIds": [instance]})).await;
    let world = bench.world(json!({"instance": instance}));
    done(&ground, &world, TAKE).await;
    bench.ask("terminate_instances", json!({"InstanceIds": [instance]})).await;
    let drill = Drill::begin(&ground, &world, TAKE).await.unwrap();
    assert!(matches!(drill.look().await.unwrap(), Plan::Moot { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opted_out_volume_shows_and_a_controllers_instance_is_refused_unless_said() {
    let bench = Bench::new().await;
    let ground = Ground::new(bench.yard).unwrap();
    let instance = bench.instance("t3.micro", &[("/dev/sda1", false)]).await;
    let volume = bench.volumes(&instance).await[0].0.clone();
    bench.ask("create_tags", json!({"Resources": [volume], "Tags": [{"Key": "cordon:opt-out", "Value": "yes"}]})).await;
    let world = bench.world(json!({"instance": instance}));
    let drill = Drill::begin(&ground, &world, TAKE).await.unwrap();
    let Plan::Ready { plan, .. } = drill.look().await.unwrap() else { panic!() };
    assert!(plan.opt_outs.iter().any(|seen| seen.resource.ends_with(&volume)), "{:?}", plan.opt_outs);
    bench.ask("create_tags", json!({"Resources": [instance], "Tags": [{"Key": "eks:cluster-name", "Value": "prod"}]})).await;
    assert!(matches!(drill.look().await.unwrap(), Plan::Refuse { code: "run-by-controller", .. }));
    let world = bench.world(json!({"instance": instance, "even_if_managed": true}));
    let drill = Drill::begin(&ground, &world, TAKE).await.unwrap();
    assert!(matches!(drill.look().await.unwrap(), Plan::Ready { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_fails_is_named_with_its_volume() {
    let bench = Bench::new().await;
    let ground = Ground::new(bench.yard).unwrap();
    let instance = bench.instance("t3.micro", &[("/dev/sda1", false), ("/dev/sdf", false)]).await;
    let volume = bench.volumes(&instance).await[1].0.clone();
    bench.ask("create_tags", json!({"Resources": [volume], "Tags": [{"Key": "cordon-lab:snapshot", "Value": "error"}]})).await;
    let world = bench.world(json!({"instance": instance}));
    let mut drill = Drill::begin(&ground, &world, TAKE).await.unwrap();
    drill.plan().await.unwrap();
    let failed = drill.apply().await.unwrap().unwrap_err().to_string();
    assert!(failed.contains("SnapshotFailed") && failed.contains(&volume) && failed.contains("snapshot/snap-"), "{failed}");
    assert!(matches!(drill.verify().await.unwrap(), Verdict::NotInEffect { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_makes_no_second_set() {
    for wrong in [Wrong::DropAfter, Wrong::FailAfter] {
        let bench = Bench::new().await;
        let ground = Ground::new(bench.yard).unwrap();
        let instance = bench.instance("t3.micro", &[("/dev/sda1", false), ("/dev/sdf", false)]).await;
        let world = bench.world(json!({"instance": instance}));
        let mut drill = Drill::begin(&ground, &world, TAKE).await.unwrap();
        drill.plan().await.unwrap();
        let create = Match { operation: Some("CreateSnapshots".to_owned()), ..Match::default() };
        ground.lab.gateway.faults().add(Fault::new(create, wrong.clone()).times(1));
        assert!(drill.apply().await.unwrap().is_err(), "{wrong:?}");
        assert_eq!(bench.snapshots().await.len(), 2, "{wrong:?}");
        assert_eq!(drill.recover().await.unwrap(), 1, "{wrong:?}");
        assert_eq!(bench.snapshots().await.len(), 2, "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_that_a_member_put_on_another_snapshot_stand_in_for_none() {
    let bench = Bench::new().await;
    let ground = Ground::new(bench.yard).unwrap();
    let instance = bench.instance("t3.micro", &[("/dev/sda1", false)]).await;
    let own = bench.volumes(&instance).await[0].0.clone();
    let empty = bench.ask("create_volume", json!({"AvailabilityZone": format!("{}a", bench.region), "Size": 1})).await;
    let tags = json!([{"ResourceType": "snapshot", "Tags": [
        {"Key": "cordon:run", "Value": bench.run.to_string()}, {"Key": "cordon:step", "Value": "step"},
    ]}]);
    bench.ask("create_snapshot", json!({"VolumeId": empty["VolumeId"], "TagSpecifications": tags})).await;
    let outcome = done(&ground, &bench.world(json!({"instance": instance})), TAKE).await;
    assert_eq!(outcome["snapshots"][0]["volume"], json!(own));
    assert_eq!(bench.snapshots().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_attached_since_the_plan_is_left_out_and_one_detached_is_named() {
    let bench = Bench::new().await;
    let ground = Ground::new(bench.yard).unwrap();
    let instance = bench.instance("t3.micro", &[("/dev/sda1", false), ("/dev/sdf", false)]).await;
    let world = bench.world(json!({"instance": instance}));
    let mut drill = Drill::begin(&ground, &world, TAKE).await.unwrap();
    drill.plan().await.unwrap();
    let data = bench.volumes(&instance).await.into_iter().find(|(_, device)| device == "/dev/sdf").unwrap().0;
    bench.ask("detach_volume", json!({"VolumeId": data, "InstanceId": instance})).await;
    let late = bench.ask("create_volume", json!({"AvailabilityZone": format!("{}a", bench.region), "Size": 1})).await;
    bench.ask("attach_volume", json!({"VolumeId": late["VolumeId"], "InstanceId": instance, "Device": "/dev/sdh"})).await;
    let failed = drill.apply().await.unwrap().unwrap_err().to_string();
    assert!(failed.contains(&data) && failed.contains("detached since the plan"), "{failed}");
    let taken = bench.snapshots().await;
    assert_eq!(taken.len(), 1);
    assert!(taken[0]["VolumeId"] != late["VolumeId"] && taken[0]["VolumeId"] != json!(data));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_taken_for_the_incident_is_not_shared() {
    let bench = Bench::new().await;
    let ground = Ground::new(bench.yard).unwrap();
    let volume = bench.ask("create_volume", json!({"AvailabilityZone": format!("{}a", bench.region), "Size": 1})).await;
    let snapshot = bench.ask("create_snapshot", json!({"VolumeId": volume["VolumeId"]})).await;
    let with = json!({"snapshots": [snapshot["SnapshotId"]]});
    for action in ["ec2.share-snapshots", "ec2.reencrypt-snapshots"] {
        let world = bench.world(with.clone());
        let drill = Drill::begin(&ground, &world, action).await.unwrap();
        assert!(matches!(drill.look().await.unwrap(), Plan::Refuse { code: "not-our-snapshot", .. }), "{action}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn disks_reach_the_security_account_under_its_key_and_an_undo_takes_the_sharing_back() {
    let bench = Bench::new().await;
    let ground = Ground::new(bench.yard).unwrap();
    let security = bench.yard.organization.security.clone();
    let instance = bench.instance("t3.micro", &[("/dev/sda1", false), ("/dev/sdf", true)]).await;
    let taken = done(&ground, &bench.world(json!({"instance": instance})), TAKE).await;
    let with = json!({"snapshots": taken["ids"]});

    // An encrypted one is not shared before it is re-encrypted.
    let world = bench.world(with.clone());
    let drill = Drill::begin(&ground, &world, "ec2.share-snapshots").await.unwrap();
    assert!(matches!(drill.look().await.unwrap(), Plan::Refuse { code: "snapshot-not-reencrypted", .. }));
    let copied = done(&ground, &world, "ec2.reencrypt-snapshots").await;
    assert_eq!(copied["copies"].as_array().unwrap().len(), 1);

    let hub_world = bench.in_the_hub(json!({"snapshots": taken["ids"], "account": bench.account}));
    let hub = Drill::begin(&ground, &hub_world, "ec2.copy-snapshots").await.unwrap();
    assert!(matches!(hub.look().await.unwrap(), Plan::Refuse { code: "snapshot-not-shared", .. }));

    let mut share = Drill::begin(&ground, &world, "ec2.share-snapshots").await.unwrap();
    share.plan().await.unwrap();
    let shared = share.apply().await.unwrap().unwrap();
    assert_eq!(shared["account"], json!(security));
    share.recover().await.unwrap();
    // The drills' hub is another account than the organization's.
    for id in shared["shared"].as_array().unwrap() {
        let params = json!({"SnapshotId": id, "Attribute": "createVolumePermission", "OperationType": "add", "UserIds": [MADE_UP_ACCOUNT]});
        bench.ask("modify_snapshot_attribute", params).await;
    }
    let copies = done(&ground, &hub_world, "ec2.copy-snapshots").await;
    let sorted = |ids: Vec<&Value>| ids.into_iter().map(|id| id.as_str().unwrap().to_owned()).collect::<BTreeSet<_>>();
    let of = sorted(copies["copies"].as_array().unwrap().iter().map(|copy| &copy["of"]).collect());
    assert_eq!(of, sorted(taken["ids"].as_array().unwrap().iter().collect()));
    let key = Ground::copy_key(&security, &bench.region);
    assert!(copies["copies"].as_array().unwrap().iter().all(|copy| copy["kms_key"] == json!(key) && copy["state"] == "completed"));

    assert!(matches!(share.undo().await.unwrap().unwrap(), Undo::Restored(done) if done.len() == 2));
    for id in shared["shared"].as_array().unwrap() {
        let found = bench.ask("describe_snapshot_attribute", json!({"SnapshotId": id, "Attribute": "createVolumePermission"})).await;
        assert_eq!(found["CreateVolumePermissions"], json!([{"UserId": MADE_UP_ACCOUNT}]));
    }
}
