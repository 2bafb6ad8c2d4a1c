//! What an instance supports, and how attributes are compared.

use aws_sdk_ec2::types::{DiskInfo, DiskType, InstanceState, InstanceStateName, InstanceStorageInfo, Tag};

use super::{
    super::look::machine,
    apply::{Now, now, soft, verdict},
    *,
};

fn spot() -> Instance {
    Instance::builder().instance_lifecycle(InstanceLifecycleType::Spot).root_device_type(DeviceType::Ebs).build()
}

fn volume(device: &str, volume: &str) -> Attribute {
    Attribute::DeleteOnTermination { device: device.to_owned(), volume: volume.to_owned() }
}

fn setting(attribute: Attribute, was: Value) -> Setting {
    Setting { attribute, was, unsupported: None }
}

fn before() -> Before {
    Before {
        instance: "i-1".to_owned(),
        settings: vec![
            setting(Attribute::TerminationProtection, json!(false)),
            setting(Attribute::StopProtection, json!(true)),
            Setting { unsupported: Some("it is a Spot Instance".to_owned()), ..setting(Attribute::ShutdownBehaviour, json!("terminate")) },
            setting(volume("/dev/sdf", "vol-1"), json!(true)),
        ],
    }
}

#[test]
fn a_spot_instance_keeps_its_volumes_and_nothing_else() {
    for attribute in [Attribute::TerminationProtection, Attribute::StopProtection, Attribute::ShutdownBehaviour] {
        assert_eq!(unsupported(&spot(), &attribute), Some("it is a Spot Instance"));
    }
    assert_eq!(unsupported(&spot(), &volume("/dev/xvda", "vol-1")), None);
    let notes = notes("i-1", &spot(), None);
    assert!(notes.len() == 1 && notes[0].contains("may reclaim it"), "{notes:?}");
}

#[test]
fn an_instance_store_root_is_never_stopped_and_can_be_protected_from_termination() {
    let instance = Instance::builder().root_device_type(DeviceType::InstanceStore).build();
    assert_eq!(unsupported(&instance, &Attribute::TerminationProtection), None);
    for attribute in [Attribute::StopProtection, Attribute::ShutdownBehaviour] {
        assert_eq!(unsupported(&instance, &attribute), Some("its root device is an instance store"));
    }
    assert!(notes("i-1", &instance, None)[0].contains("cannot be stopped"));
}

#[test]
fn instance_store_volumes_are_named_with_what_loses_them() {
    let disk = |count| DiskInfo::builder().count(count).size_in_gb(75).r#type(DiskType::Ssd).build();
    let storage = InstanceStorageInfo::builder().disks(disk(2)).build();
    let kind = InstanceTypeInfo::builder().instance_storage_info(storage).build();
    let notes = notes("i-1", &Instance::builder().build(), Some(&kind));
    assert_eq!(
        notes,
        ["stopping, hibernating or terminating i-1 loses its instance-store volumes (2 × 75 GB ssd); no snapshot holds them"]
    );
}

#[test]
fn an_auto_scaling_group_is_not_stopped_by_protection_and_says_so() {
    let tag = Tag::builder().key("aws:autoscaling:groupName").value("web").build();
    let notes = notes("i-1", &Instance::builder().tags(tag).build(), None);
    assert!(notes.len() == 1 && notes[0].contains("group web") && notes[0].contains("scale-in"), "{notes:?}");
}

#[test]
fn an_instance_that_shuts_down_is_gone() {
    let state = |name| Instance::builder().instance_id("i-1").state(InstanceState::builder().name(name).build()).build();
    let is_gone = |instance: &Instance| machine(instance).unwrap().is_gone();
    assert!(is_gone(&state(InstanceStateName::Terminated)) && is_gone(&state(InstanceStateName::ShuttingDown)));
    assert!(!is_gone(&state(InstanceStateName::Stopped)) && !is_gone(&state(InstanceStateName::Stopping)));
}

#[test]
fn every_value_is_recorded_and_only_what_differs_is_changed() {
    let before = before();
    let stored: Before = serde_json::from_value(serde_json::to_value(&before).unwrap()).unwrap();
    assert_eq!(stored.settings, before.settings);
    let changed: Vec<String> = before.changed().map(|setting| setting.attribute.to_string()).collect();
    assert_eq!(changed, ["termination protection", "delete on termination of /dev/sdf (vol-1)"]);
}

#[test]
fn another_volume_at_the_same_device_is_drift_and_a_detached_one_is_safe() {
    let found = |volumes: Option<Attribute>| {
        let mut found = vec![(Attribute::TerminationProtection, json!(true)), (Attribute::StopProtection, json!(true))];
        found.extend(volumes.map(|attribute| (attribute, json!(false))));
        found
    };
    let ours = volume("/dev/sdf", "vol-1");
    assert_eq!(verdict(&before(), &found(Some(ours.clone()))), Verdict::InEffect);
    assert!(matches!(verdict(&before(), &found(Some(volume("/dev/sdf", "vol-2")))), Verdict::Drifted { .. }));
    assert_eq!(now(&found(None), &ours), Now::Absent);
    assert_eq!(verdict(&before(), &found(None)), Verdict::InEffect);
    let off = [(Attribute::TerminationProtection, json!(false)), (ours, json!(false))];
    assert_eq!(verdict(&before(), &off), Verdict::NotInEffect { detail: "termination protection is false".to_owned() });
}

#[test]
fn only_what_aws_says_of_the_instance_itself_lets_the_others_be_set() {
    let failed = |code: &str| ActionError::Service { call: "c".to_owned(), code: code.to_owned(), message: "m".to_owned() };
    assert_eq!(soft(&failed("UnsupportedOperation")).as_deref(), Some("UnsupportedOperation: m"));
    assert!(soft(&failed("IncorrectInstanceState")).is_some());
    assert!(soft(&failed("InvalidParameterValue")).is_none());
    assert!(soft(&ActionError::Throttled { call: "c".to_owned(), message: "m".to_owned() }).is_none());
}

#[test]
fn the_command_for_a_person_sets_what_was() {
    assert_eq!(Attribute::TerminationProtection.as_cli(&json!(false)), "--no-disable-api-termination");
    assert_eq!(Attribute::ShutdownBehaviour.as_cli(&json!("terminate")), "--instance-initiated-shutdown-behavior terminate");
    assert_eq!(
        volume("/dev/sdf", "vol-1").as_cli(&json!(true)),
        r#"--block-device-mappings '[{"DeviceName":"/dev/sdf","Ebs":{"DeleteOnTermination":true}}]'"#
    );
}
