//! The snapshots' actions: `ec2.snapshot-volumes`, `ec2.reencrypt-snapshots`, `ec2.share-snapshots`, `ec2.copy-snapshots`. What they make is
//! evidence: an undo leaves it, but for the sharing.

use std::time::Duration;

use cordon_shared::{
    clock::{Clock as _, SystemClock},
    id::{CellId, IncidentId},
};
use futures::future::{BoxFuture, try_join_all};
use serde_json::{Value, json};

use super::{Setting, World, Yard, cell};
use crate::{
    Hand, LabError,
    drill::{Ground, MADE_UP_ACCOUNT, Trespass},
    organization::{call, items, text},
};

pub(super) const TAKE: &str = "ec2.snapshot-volumes";
pub(super) const REENCRYPT: &str = "ec2.reencrypt-snapshots";
pub(super) const SHARE: &str = "ec2.share-snapshots";
pub(super) const COPY: &str = "ec2.copy-snapshots";

/// How long a snapshot of the lab is pending, and a little more.
const COMPLETE: Duration = Duration::from_millis(450);

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    /// Snapshots of volumes.
    OfVolumes,
    /// Copies of snapshots.
    Copies,
    /// Who may read snapshots.
    Shares,
}

#[derive(Debug)]
struct Evidence {
    hand: Hand,
    cell: CellId,
    run: IncidentId,
    with: Value,
    made: Made,
    /// Volumes or snapshots, in their order.
    sources: Vec<String>,
    /// A snapshot that is none of its business.
    other: String,
}

fn run() -> IncidentId {
    IncidentId::new(u64::try_from(SystemClock.now().as_millisecond()).unwrap_or_default())
}

/// The hand in one cell.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    hand: &'a Hand,
    account: &'a str,
    region: &'a str,
}

impl Place<'_> {
    async fn ask(self, operation: &str, params: Value) -> Result<Value, LabError> {
        call(self.hand, self.account, self.region, "ec2", operation, params).await
    }

    async fn volume(self, key: Option<&str>) -> Result<String, LabError> {
        let mut params = json!({"AvailabilityZone": format!("{}a", self.region), "Size": 8, "Encrypted": key.is_some()});
        if let (Some(map), Some(key)) = (params.as_object_mut(), key.filter(|key| !key.is_empty())) {
            map.insert("KmsKeyId".to_owned(), json!(key));
        }
        text(&self.ask("create_volume", params).await?, "/VolumeId")
    }

    async fn snapshot(self, volume: &str, run: Option<IncidentId>) -> Result<String, LabError> {
        let tags = run.map(|run| json!([{"ResourceType": "snapshot", "Tags": [{"Key": "cordon:run", "Value": run.to_string()}]}]));
        let params = json!({"VolumeId": volume, "TagSpecifications": tags.unwrap_or_else(|| json!([]))});
        text(&self.ask("create_snapshot", params).await?, "/SnapshotId")
    }

    /// A copy under the security account's key, as Cordon makes it.
    async fn copy(self, of: &str, key: &str, run: IncidentId) -> Result<String, LabError> {
        let tags = json!([{"ResourceType": "snapshot", "Tags": [
            {"Key": "cordon:run", "Value": run.to_string()}, {"Key": "cordon:source", "Value": of},
        ]}]);
        let description = format!("Cordon {run}: copy of {of}");
        let params = json!({
            "SourceSnapshotId": of, "SourceRegion": self.region, "Encrypted": true, "KmsKeyId": key, "Description": description,
            "TagSpecifications": tags,
        });
        text(&self.ask("copy_snapshot", params).await?, "/SnapshotId")
    }

    async fn share(self, snapshot: &str, with: &str) -> Result<(), LabError> {
        let params = json!({"SnapshotId": snapshot, "Attribute": "createVolumePermission", "OperationType": "add", "UserIds": [with]});
        self.ask("modify_snapshot_attribute", params).await.map(drop)
    }
}

fn place(yard: &Yard) -> Place<'_> {
    let (account, region) = yard.place();
    Place { hand: &yard.organization.hand, account, region }
}

async fn complete() {
    tokio::time::sleep(COMPLETE).await;
}

/// An instance with two volumes, one of them encrypted.
pub(super) fn volumes(yard: &Yard) -> Setting<'_> {
    Box::pin(async move {
        let place = place(yard);
        let disk = |device: &str, encrypted: bool| json!({"DeviceName": device, "Ebs": {"VolumeSize": 8, "Encrypted": encrypted}});
        let params = json!({
            "ImageId": "ami-12c6146b", "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1,
            "BlockDeviceMappings": [disk("/dev/sda1", false), disk("/dev/sdf", true)],
        });
        let instance = text(&place.ask("run_instances", params).await?, "/Instances/0/InstanceId")?;
        let filters = json!({"Filters": [{"Name": "attachment.instance-id", "Values": [instance]}]});
        let found = place.ask("describe_volumes", filters).await?;
        let volumes: Vec<String> = items(&found, "/Volumes").filter_map(|one| text(one, "/VolumeId").ok()).collect();
        let other = place.snapshot(volumes.first().map_or("", String::as_str), None).await?;
        let with = json!({"instance": instance});
        world(place, run(), with, Made::OfVolumes, volumes, other)
    })
}

fn world(
    place: Place<'_>,
    run: IncidentId,
    with: Value,
    made: Made,
    sources: Vec<String>,
    other: String,
) -> Result<Box<dyn World>, LabError> {
    let cell = cell(place.account, place.region)?;
    Ok(Box::new(Evidence { hand: place.hand.clone(), cell, run, with, made, sources, other }))
}

/// Two snapshots under the AWS managed key.
pub(super) fn encrypted(yard: &Yard) -> Setting<'_> {
    Box::pin(async move {
        let (place, run) = (place(yard), run());
        let make = async |of: Option<IncidentId>| place.snapshot(&place.volume(Some("")).await?, of).await;
        let (one, two, other) = futures::try_join!(make(Some(run)), make(Some(run)), make(None))?;
        complete().await;
        let snapshots = vec![one, two];
        world(place, run, json!({"snapshots": snapshots}), Made::Copies, snapshots.clone(), other)
    })
}

/// A snapshot that is not encrypted, and one that is, with its copy: these, and what is shared of them.
async fn pair(place: Place<'_>, run: IncidentId, key: &str) -> Result<(Vec<String>, Vec<String>), LabError> {
    let make = async |key: Option<&str>| place.snapshot(&place.volume(key).await?, Some(run)).await;
    let (plain, secret) = futures::try_join!(make(None), make(Some("")))?;
    complete().await;
    let copy = place.copy(&secret, key, run).await?;
    complete().await;
    Ok((vec![plain.clone(), secret], vec![plain, copy]))
}

/// So many snapshots that are not encrypted.
async fn many(place: Place<'_>, run: IncidentId, size: usize) -> Result<Vec<String>, LabError> {
    let volume = place.volume(None).await?;
    let made = try_join_all((0..size).map(|_| place.snapshot(&volume, Some(run)))).await?;
    complete().await;
    Ok(made)
}

pub(super) fn private(yard: &Yard) -> Setting<'_> {
    Box::pin(async move {
        let (place, run) = (place(yard), run());
        let key = Ground::copy_key(&yard.organization.security, place.region);
        let (named, shared) = pair(place, run, &key).await?;
        let other = named.last().cloned().unwrap_or_default();
        world(place, run, json!({"snapshots": named}), Made::Shares, shared, other)
    })
}

pub(super) fn private_crowd(yard: &Yard, size: usize) -> Setting<'_> {
    Box::pin(async move {
        let (place, run) = (place(yard), run());
        let snapshots = many(place, run, size).await?;
        world(place, run, json!({"snapshots": snapshots}), Made::Shares, snapshots.clone(), String::new())
    })
}

fn in_the_hub(yard: &Yard, size: Option<usize>) -> Setting<'_> {
    Box::pin(async move {
        let (place, run) = (place(yard), run());
        let key = Ground::copy_key(&yard.organization.security, place.region);
        let (named, shared) = match size {
            None => pair(place, run, &key).await?,
            Some(size) => {
                let made = many(place, run, size).await?;
                (made.clone(), made)
            }
        };
        try_join_all(shared.iter().map(|id| place.share(id, MADE_UP_ACCOUNT))).await?;
        let hub = Place { account: MADE_UP_ACCOUNT, ..place };
        let other = hub.snapshot(&hub.volume(None).await?, None).await?;
        let with = json!({"snapshots": named, "account": place.account});
        world(hub, run, with, Made::Copies, named, other)
    })
}

pub(super) fn shared(yard: &Yard) -> Setting<'_> {
    in_the_hub(yard, None)
}

pub(super) fn shared_crowd(yard: &Yard, size: usize) -> Setting<'_> {
    in_the_hub(yard, Some(size))
}

impl Evidence {
    fn place(&self) -> Place<'_> {
        Place { hand: &self.hand, account: self.cell.account.as_str(), region: self.cell.region.as_str() }
    }

    /// What there is of a source that carries our tags.
    async fn ours(&self, source: &str) -> Result<Vec<Value>, LabError> {
        let of = if self.made == Made::OfVolumes { "volume-id" } else { "tag:cordon:source" };
        let filters = json!([{"Name": of, "Values": [source]}, {"Name": "tag-key", "Values": ["cordon:step"]}]);
        let params = json!({"OwnerIds": ["self"], "Filters": filters});
        Ok(items(&self.place().ask("describe_snapshots", params).await?, "/Snapshots").cloned().collect())
    }

    async fn kept(&self, source: &str) -> Result<Value, LabError> {
        let mut found = Vec::new();
        for snapshot in self.ours(source).await? {
            let id = text(&snapshot, "/SnapshotId")?;
            let locks = self.place().ask("describe_locked_snapshots", json!({"SnapshotIds": [id]})).await?;
            let lock = |name: &str| locks.pointer(&format!("/Snapshots/0/{name}")).cloned().unwrap_or_default();
            let mut tags: Vec<&str> = items(&snapshot, "/Tags").filter_map(|tag| tag.get("Key")?.as_str()).collect();
            tags.sort_unstable();
            let key = if self.made == Made::Copies { snapshot.get("KmsKeyId").cloned() } else { None };
            let encrypted = snapshot.get("Encrypted").cloned().unwrap_or_default();
            let key_account = key.and_then(|key| Some(key.as_str()?.split(':').nth(4)?.to_owned()));
            found.push(json!({
                "tags": tags, "encrypted": encrypted, "key_of": key_account, "lock": lock("LockState"), "days": lock("LockDuration"),
            }));
        }
        Ok(json!(found))
    }

    async fn readers(&self, snapshot: &str) -> Result<Value, LabError> {
        let params = json!({"SnapshotId": snapshot, "Attribute": "createVolumePermission"});
        let place = self.place();
        match place.hand.call(place.account, place.region, "ec2", "describe_snapshot_attribute", params).await {
            Ok(found) => Ok(found.get("CreateVolumePermissions").cloned().unwrap_or_default()),
            Err(error) if error.code == "InvalidSnapshot.NotFound" => Ok(json!("deleted")),
            Err(error) => Err(error.into()),
        }
    }
}

impl World for Evidence {
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
        Box::pin(async move {
            let mut state = Vec::new();
            for source in &self.sources {
                state.push(if self.made == Made::Shares { self.readers(source).await? } else { self.kept(source).await? });
            }
            Ok(json!(state))
        })
    }

    /// The evidence of the last source is deleted.
    fn drift(&self) -> BoxFuture<'_, Result<(), LabError>> {
        Box::pin(async move {
            let last = self.sources.last().cloned().unwrap_or_default();
            if self.made == Made::Shares {
                return self.place().ask("delete_snapshot", json!({"SnapshotId": last})).await.map(drop);
            }
            let ours = self.ours(&last).await?;
            let id = text(ours.first().unwrap_or(&Value::Null), "/SnapshotId")?;
            self.place().ask("unlock_snapshot", json!({"SnapshotId": id})).await?;
            self.place().ask("delete_snapshot", json!({"SnapshotId": id})).await.map(drop)
        })
    }

    fn drifted(&self, state: &Value) -> bool {
        let last = state.as_array().and_then(|all| all.last()).cloned().unwrap_or_default();
        if self.made == Made::Shares {
            last == json!("deleted")
        } else {
            last == json!([]) && *state != json!(vec![json!([]); self.sources.len()])
        }
    }

    /// Evidence may be left, one of each source.
    fn restored(&self, found: &Value, now: &Value) -> bool {
        let at_most_one = || now.as_array().is_some_and(|all| all.iter().all(|one| one.as_array().is_some_and(|one| one.len() <= 1)));
        found == now || (self.made != Made::Shares && at_most_one())
    }

    fn trespasses(&self) -> Vec<Trespass> {
        let trespass = |operation, params| Trespass { service: "ec2", operation, params };
        let own = self.sources.first().cloned().unwrap_or_default();
        let somebody =
            json!({"SnapshotId": own, "Attribute": "createVolumePermission", "OperationType": "add", "UserIds": ["999999999999"]});
        let everybody = json!({"SnapshotId": own, "Attribute": "createVolumePermission", "OperationType": "add", "GroupNames": ["all"]});
        let copy = json!({"SourceSnapshotId": self.other, "SourceRegion": self.cell.region, "Description": "theirs"});
        vec![
            trespass("modify_snapshot_attribute", somebody),
            trespass("modify_snapshot_attribute", everybody),
            trespass("copy_snapshot", copy),
            trespass("lock_snapshot", json!({"SnapshotId": self.other, "LockMode": "governance", "LockDuration": 1})),
            trespass("unlock_snapshot", json!({"SnapshotId": self.other})),
            trespass("delete_snapshot", json!({"SnapshotId": self.other})),
            trespass("create_tags", json!({"Resources": [self.other], "Tags": [{"Key": "cordon:run", "Value": self.run.to_string()}]})),
            trespass("create_snapshots", json!({"InstanceSpecification": {"InstanceId": "i-0123456789abcdef0"}})),
            trespass("describe_snapshots", json!({})),
        ]
    }
}
