//! An instance's disks: the volumes that a snapshot holds, and the instance store that none does.

use aws_sdk_ec2::{
    Client,
    types::{DeviceType, InstanceType},
};
use serde::{Deserialize, Serialize};

use super::super::look::{Machine, Tags, filter, machine, tags};
use crate::action::{ActionError, classify};

/// An EBS volume of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Disk {
    pub id: String,
    /// Attached as.
    pub device: String,
    pub size_gib: i32,
    pub encrypted: bool,
    pub kms_key: Option<String>,
    /// Other instances that it is attached to (Multi-Attach).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared_with: Vec<String>,
    #[serde(skip)]
    pub tags: Tags,
}

impl Disk {
    /// What a reader should know of it.
    pub fn note(&self, instance: &str) -> Option<String> {
        let others = self.shared_with.join(", ");
        (!others.is_empty()).then(|| {
            format!("{} is attached to {others} too (Multi-Attach): its snapshot holds what they wrote, and is of one instant with {instance}'s disks only", self.id)
        })
    }
}

/// The volumes that are attached to an instance, by id.
pub(super) async fn disks(client: &Client, instance: &str) -> Result<Vec<Disk>, ActionError> {
    let pages = client.describe_volumes().filters(filter("attachment.instance-id", [instance])).into_paginator().items().send();
    let found = pages.collect::<Result<Vec<_>, _>>().await.map_err(|error| classify("ec2:DescribeVolumes", error))?;
    let disk = |volume: &aws_sdk_ec2::types::Volume| {
        let (own, others): (Vec<_>, Vec<_>) = volume.attachments().iter().partition(|one| one.instance_id() == Some(instance));
        Some(Disk {
            id: volume.volume_id()?.to_owned(),
            device: own.first()?.device().unwrap_or_default().to_owned(),
            size_gib: volume.size().unwrap_or_default(),
            encrypted: volume.encrypted() == Some(true),
            kms_key: volume.kms_key_id().map(str::to_owned),
            shared_with: others.iter().filter_map(|one| one.instance_id()).map(str::to_owned).collect(),
            tags: tags(volume.tags()),
        })
    };
    let mut disks: Vec<Disk> = found.iter().filter_map(disk).collect();
    disks.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(disks)
}

/// The instance, and where its data can be.
#[derive(Debug)]
pub(super) struct Host {
    pub machine: Machine,
    pub root_device: Option<String>,
    root_is_store: bool,
    kind: Option<InstanceType>,
}

/// The instance with this id, `None` where there is none.
pub(super) async fn host(client: &Client, id: &str) -> Result<Option<Host>, ActionError> {
    let pages = client.describe_instances().filters(filter("instance-id", [id])).into_paginator().items().send();
    let found = pages.collect::<Result<Vec<_>, _>>().await.map_err(|error| classify("ec2:DescribeInstances", error))?;
    let wire = found.iter().flat_map(|reservation| reservation.instances()).find(|wire| wire.instance_id() == Some(id));
    let host = |wire: &aws_sdk_ec2::types::Instance| {
        Some(Host {
            machine: machine(wire)?,
            root_device: wire.root_device_name().map(str::to_owned),
            root_is_store: wire.root_device_type() == Some(&DeviceType::InstanceStore),
            kind: wire.instance_type().cloned(),
        })
    };
    Ok(wire.and_then(host))
}

impl Host {
    /// What is in no snapshot, in words. That it cannot be read is said too, and stops nothing: the snapshots matter more.
    pub async fn without_snapshot(&self, client: &Client) -> Vec<String> {
        let id = &self.machine.id;
        let mut notes = Vec::new();
        if self.root_is_store {
            notes.push(format!("the root device of {id} is instance store: it is in no snapshot"));
        }
        let Some(kind) = &self.kind else { return notes };
        let answer = client.describe_instance_types().instance_types(kind.clone()).send().await;
        match answer.map_err(|error| classify("ec2:DescribeInstanceTypes", error)) {
            Err(error) => {
                notes.push(format!("whether {id} ({kind}) has instance store, which is in no snapshot, could not be read: {error}"))
            }
            Ok(answer) => {
                let stores = answer.instance_types().iter().filter_map(|one| one.instance_storage_info());
                let disks = stores.flat_map(|store| store.disks()).map(|disk| {
                    let media = disk.r#type().map_or("disk", |media| media.as_str());
                    format!("{} × {} GB {media}", disk.count().unwrap_or(1), disk.size_in_gb().unwrap_or_default())
                });
                let disks = disks.collect::<Vec<_>>().join(" and ");
                if !disks.is_empty() {
                    notes.push(format!("instance store of {id} ({kind}: {disks}) is not in any snapshot and is lost when it stops"));
                }
            }
        }
        notes
    }
}
