//! `ec2.protect-instance` and `ec2.disable-instance-metadata`: what is changed of an instance itself.

use cordon_shared::id::CellId;
use futures::future::{BoxFuture, try_join_all};
use serde_json::{Value, json};

use super::{Setting, World, Yard, cell, shape};
use crate::{
    Hand, LabError,
    drill::Trespass,
    organization::{Exposure, call, text},
};

pub(super) const PROTECT: &str = "ec2.protect-instance";
pub(super) const METADATA: &str = "ec2.disable-instance-metadata";

/// Where the second volume is attached.
const DEVICE: &str = "/dev/sdf";

/// An instance, and another that is none of their business.
#[derive(Debug)]
struct Place {
    hand: Hand,
    cell: CellId,
    id: String,
    other: String,
}

impl Place {
    async fn new(yard: &Yard) -> Result<Self, LabError> {
        let (account, region) = yard.place();
        let make = async || {
            let shape = shape(vec![Exposure::Port]);
            yard.organization.instance(account, region, &shape).await
        };
        let (one, other) = futures::try_join!(make(), make())?;
        Ok(Self { hand: yard.organization.hand.clone(), cell: cell(account, region)?, id: one.id, other: other.id })
    }

    async fn ask(&self, operation: &str, params: Value) -> Result<Value, LabError> {
        call(&self.hand, self.cell.account.as_str(), self.cell.region.as_str(), "ec2", operation, params).await
    }

    async fn modify(&self, mut params: Value) -> Result<(), LabError> {
        if let Some(map) = params.as_object_mut() {
            map.insert("InstanceId".to_owned(), json!(self.id));
        }
        self.ask("modify_instance_attribute", params).await.map(drop)
    }

    async fn describe(&self, pointer: &str) -> Result<Value, LabError> {
        let found = self.ask("describe_instances", json!({"InstanceIds": [self.id]})).await?;
        let found = found.pointer("/Reservations/0/Instances/0").cloned().unwrap_or_default();
        Ok(found.pointer(pointer).cloned().unwrap_or_default())
    }

    async fn attach(&self, volume: &str) -> Result<(), LabError> {
        self.ask("attach_volume", json!({"InstanceId": self.id, "VolumeId": volume, "Device": DEVICE})).await.map(drop)
    }

    fn trespass(&self, operation: &'static str, params: Value) -> Trespass {
        let mut params = params;
        if let Some(map) = params.as_object_mut() {
            map.entry("InstanceId").or_insert_with(|| json!(self.other));
        }
        Trespass { service: "ec2", operation, params }
    }
}

#[derive(Debug)]
struct Protection {
    place: Place,
    /// The volume at [`DEVICE`].
    volume: String,
    /// One that somebody puts in its place.
    theirs: String,
}

/// Two volumes that go with the instance, and a shutdown that terminates it.
pub(super) fn unprotected(yard: &Yard) -> Setting<'_> {
    Box::pin(async move {
        let world = protection(yard).await?;
        world.place.modify(json!({"InstanceInitiatedShutdownBehavior": {"Value": "terminate"}})).await?;
        Ok(Box::new(world) as Box<dyn World>)
    })
}

/// Termination protection is on; all else is not.
pub(super) fn protected_in_part(yard: &Yard) -> Setting<'_> {
    Box::pin(async move {
        let world = protection(yard).await?;
        world.place.modify(json!({"DisableApiTermination": {"Value": true}})).await?;
        Ok(Box::new(world) as Box<dyn World>)
    })
}

async fn protection(yard: &Yard) -> Result<Protection, LabError> {
    let place = Place::new(yard).await?;
    let zone = place.describe("/Placement/AvailabilityZone").await?;
    let volume = async || {
        let made = place.ask("create_volume", json!({"AvailabilityZone": zone, "Size": 1})).await?;
        text(&made, "/VolumeId")
    };
    let (volume, theirs) = futures::try_join!(volume(), volume())?;
    place.attach(&volume).await?;
    place.modify(json!({"BlockDeviceMappings": [{"DeviceName": DEVICE, "Ebs": {"DeleteOnTermination": true}}]})).await?;
    Ok(Protection { place, volume, theirs })
}

impl World for Protection {
    fn cell(&self) -> &CellId {
        &self.place.cell
    }

    fn with(&self) -> Value {
        json!({"instance": self.place.id})
    }

    fn look(&self) -> BoxFuture<'_, Result<Value, LabError>> {
        Box::pin(async move {
            let attributes = ["disableApiTermination", "disableApiStop", "instanceInitiatedShutdownBehavior"];
            let mut state = try_join_all(attributes.map(|attribute| async move {
                let params = json!({"InstanceId": self.place.id, "Attribute": attribute});
                let mut found = self.place.ask("describe_instance_attribute", params).await?;
                if let Some(map) = found.as_object_mut() {
                    map.remove("InstanceId");
                }
                Ok::<_, LabError>(found)
            }))
            .await?;
            let mappings = self.place.describe("/BlockDeviceMappings").await?;
            for mapping in mappings.as_array().into_iter().flatten() {
                let volume = mapping.pointer("/Ebs/VolumeId").and_then(Value::as_str).unwrap_or_default();
                let whose = if volume == self.theirs { "theirs" } else { "its own" };
                state.push(json!([mapping.get("DeviceName"), whose, mapping.pointer("/Ebs/DeleteOnTermination")]));
            }
            // Groups are not its business.
            let groups = self.place.describe("/SecurityGroups").await?;
            state.push(json!(groups.as_array().map_or(0, Vec::len)));
            Ok(json!(state))
        })
    }

    /// Somebody attaches another volume in the place of one.
    fn drift(&self) -> BoxFuture<'_, Result<(), LabError>> {
        Box::pin(async move {
            self.place.ask("detach_volume", json!({"InstanceId": self.place.id, "VolumeId": self.volume})).await?;
            self.place.attach(&self.theirs).await
        })
    }

    fn drifted(&self, state: &Value) -> bool {
        state.to_string().contains(r#""theirs",false"#)
    }

    fn trespasses(&self) -> Vec<Trespass> {
        let place = &self.place;
        let volumes = json!({"BlockDeviceMappings": [{"DeviceName": "/dev/sda1", "Ebs": {"DeleteOnTermination": true}}]});
        vec![
            place.trespass("modify_instance_attribute", json!({"DisableApiTermination": {"Value": false}})),
            place.trespass("modify_instance_attribute", volumes),
            place.trespass("modify_instance_metadata_options", json!({"InstanceId": place.id, "HttpEndpoint": "disabled"})),
            place.trespass("attach_volume", json!({"InstanceId": place.id, "VolumeId": self.theirs, "Device": "/dev/sdg"})),
            Trespass { service: "ec2", operation: "terminate_instances", params: json!({"InstanceIds": [place.id]}) },
            Trespass { service: "ec2", operation: "describe_instances", params: json!({}) },
        ]
    }
}

#[derive(Debug)]
struct Metadata {
    place: Place,
}

/// An instance with metadata options of its own.
pub(super) fn metadata(yard: &Yard) -> Setting<'_> {
    Box::pin(async move {
        let world = Metadata { place: Place::new(yard).await? };
        world.options(json!({"HttpTokens": "required", "HttpPutResponseHopLimit": 2, "InstanceMetadataTags": "enabled"})).await?;
        Ok(Box::new(world) as Box<dyn World>)
    })
}

impl Metadata {
    async fn options(&self, mut params: Value) -> Result<(), LabError> {
        if let Some(map) = params.as_object_mut() {
            map.insert("InstanceId".to_owned(), json!(self.place.id));
        }
        self.place.ask("modify_instance_metadata_options", params).await.map(drop)
    }
}

impl World for Metadata {
    fn cell(&self) -> &CellId {
        &self.place.cell
    }

    fn with(&self) -> Value {
        json!({"instance": self.place.id})
    }

    fn look(&self) -> BoxFuture<'_, Result<Value, LabError>> {
        Box::pin(async move { self.place.describe("/MetadataOptions").await })
    }

    /// Somebody lets requests without a token in.
    fn drift(&self) -> BoxFuture<'_, Result<(), LabError>> {
        Box::pin(async move { self.options(json!({"HttpTokens": "optional"})).await })
    }

    fn drifted(&self, state: &Value) -> bool {
        state.get("HttpTokens").and_then(Value::as_str) == Some("optional")
    }

    fn trespasses(&self) -> Vec<Trespass> {
        let place = &self.place;
        vec![
            place.trespass("modify_instance_metadata_options", json!({"HttpEndpoint": "disabled"})),
            place.trespass("modify_instance_attribute", json!({"InstanceId": place.id, "DisableApiTermination": {"Value": true}})),
            Trespass { service: "ec2", operation: "stop_instances", params: json!({"InstanceIds": [place.id]}) },
            Trespass { service: "ec2", operation: "describe_instances", params: json!({}) },
        ]
    }
}
