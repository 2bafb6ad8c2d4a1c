//! The attributes that protect an instance, and how they are set.

use std::fmt;

use aws_sdk_ec2::{
    Client,
    types::{AttributeBooleanValue, AttributeValue, EbsInstanceBlockDeviceSpecification, InstanceBlockDeviceMappingSpecification},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::action::{ActionError, classify};

/// What protects an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Attribute {
    /// `DisableApiTermination`.
    TerminationProtection,
    /// `DisableApiStop`.
    StopProtection,
    /// `InstanceInitiatedShutdownBehavior`.
    ShutdownBehaviour,
    /// Whether a volume goes with the instance.
    DeleteOnTermination {
        /// The device that it is attached as.
        device: String,
        /// The volume.
        volume: String,
    },
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TerminationProtection => f.write_str("termination protection"),
            Self::StopProtection => f.write_str("stop protection"),
            Self::ShutdownBehaviour => f.write_str("shutdown behaviour"),
            Self::DeleteOnTermination { device, volume } => write!(f, "delete on termination of {device} ({volume})"),
        }
    }
}

impl Attribute {
    /// As it protects.
    pub(super) fn wanted(&self) -> Value {
        match self {
            Self::TerminationProtection | Self::StopProtection => json!(true),
            Self::ShutdownBehaviour => json!("stop"),
            Self::DeleteOnTermination { .. } => json!(false),
        }
    }

    /// The option of `aws ec2 modify-instance-attribute` that sets it.
    pub(super) fn as_cli(&self, value: &Value) -> String {
        let flag = |name: &str| format!("--{}{name}", if value == &json!(true) { "" } else { "no-" });
        match self {
            Self::TerminationProtection => flag("disable-api-termination"),
            Self::StopProtection => flag("disable-api-stop"),
            Self::ShutdownBehaviour => format!("--instance-initiated-shutdown-behavior {}", value.as_str().unwrap_or_default()),
            Self::DeleteOnTermination { device, .. } => {
                let mapping = json!([{ "DeviceName": device, "Ebs": { "DeleteOnTermination": value } }]);
                format!("--block-device-mappings '{mapping}'")
            }
        }
    }
}

/// An attribute as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Setting {
    pub attribute: Attribute,
    /// Its value.
    pub was: Value,
    /// Why it is not set, where the instance does not support it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsupported: Option<String>,
}

pub(super) const MODIFY: &str = "ec2:ModifyInstanceAttribute";

/// Sets attributes in one call: one attribute, or any number of volumes, which are one attribute to AWS.
pub(super) async fn set(write: &Client, id: &str, values: &[(&Attribute, &Value)]) -> Result<(), ActionError> {
    let mut call = write.modify_instance_attribute().instance_id(id);
    for (attribute, value) in values {
        let flag = AttributeBooleanValue::builder().value(value.as_bool().unwrap_or_default()).build();
        call = match attribute {
            Attribute::TerminationProtection => call.disable_api_termination(flag),
            Attribute::StopProtection => call.disable_api_stop(flag),
            Attribute::ShutdownBehaviour => {
                let value = AttributeValue::builder().value(value.as_str().unwrap_or_default()).build();
                call.instance_initiated_shutdown_behavior(value)
            }
            Attribute::DeleteOnTermination { device, .. } => {
                let ebs = EbsInstanceBlockDeviceSpecification::builder().delete_on_termination(value.as_bool().unwrap_or_default()).build();
                call.block_device_mappings(InstanceBlockDeviceMappingSpecification::builder().device_name(device).ebs(ebs).build())
            }
        };
    }
    call.send().await.map(|_| ()).map_err(|error| classify(MODIFY, error))
}
