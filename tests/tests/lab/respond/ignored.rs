//! Findings that open no incident, and copies of one that did.

use cordon_lab::{
    Shape,
    organization::finding::{hub_copy, imported, sample},
};
use serde_json::{Value, json};

use super::world::{ATTACKER, AWAY, HOME, World, id, incidents, members, one, state, text};

#[tokio::test]
async fn a_sample_is_ignored_and_observed_at_most() {
    let world = World::new().await;
    let instance = world.instance("web").await;
    let native = serde_json::from_str::<Value>(&world.attack(&instance)).unwrap()["detail"].clone();
    let event = world.event(&sample(native));
    let ignored = world.one(&event).await;
    assert_eq!((state(&ignored), text(&ignored, "/reason_code")), ("ignored", "sample"), "{ignored:#}");
    assert!(ignored["incident"].is_null() && world.gateway().ledger().of_account(&world.account).is_empty());
    let output = world.cordon(&["respond", "-", "--format", "json", "--allow-samples"], &event).await;
    let observed = one(&output);
    assert!(output.code == Some(0) && state(&observed) == "planned", "{output:?}");
    assert!(world.writes().is_empty() && world.open(&instance, 22).await);
}

#[tokio::test]
async fn what_no_playbook_answers_and_what_is_archived_are_ignored_with_the_reason() {
    let world = World::new().await;
    let instance = world.instance("web").await;
    let native = serde_json::from_str::<Value>(&world.attack(&instance)).unwrap()["detail"].clone();
    let (mut archived, mut other) = (native.clone(), native);
    archived["service"]["archived"] = json!(true);
    other["type"] = json!("Recon:EC2/PortProbeUnprotectedPort");
    let output = world.respond(&format!("{}\n{}\n", world.event(&archived), world.event(&other))).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    let lines = incidents(&output);
    let codes: Vec<&str> = lines.iter().map(|line| text(line, "/reason_code")).collect();
    assert_eq!(codes, ["archived", "no-playbook"], "{output:?}");
    assert!(text(&lines[1], "/reason").contains("Recon:EC2/PortProbeUnprotectedPort"), "{output:?}");
    assert!(lines.iter().all(|line| state(line) == "ignored"));
    assert_eq!(world.cordon(&["respond", "-", "--fail-on", "ignored"], &world.event(&archived)).await.code, Some(5));
    assert!(world.gateway().ledger().of_account(&world.account).is_empty());
}

/// The same finding in OCSF, as Security Hub's second version writes it.
fn ocsf(native: &Value) -> Value {
    let updated = text(native, "/updatedAt");
    let millis = updated.parse::<jiff::Timestamp>().unwrap().as_millisecond();
    let (account, region) = (&native["accountId"], text(native, "/region"));
    let connection = json!({
        "connection_info": {"direction": "Inbound", "direction_id": 1, "protocol_name": "TCP"},
        "src_endpoint": {"ip": ATTACKER, "port": 40022}, "dst_endpoint": {"ip": "10.20.0.4", "port": 22}
    });
    let product = json!({"name": "GuardDuty", "uid": format!("arn:aws:securityhub:{region}::productv2/aws/guardduty")});
    json!({
        "class_uid": 2004, "category_uid": 2, "activity_id": 1, "count": native["service"]["count"], "time": millis,
        "cloud": {"account": {"uid": account}, "provider": "AWS", "region": region}, "metadata": {"product": product, "uid": "m1"},
        "finding_info": {"uid": native["arn"], "title": native["title"], "types": ["Threats", native["type"]],
            "modified_time": millis, "modified_time_dt": updated},
        "evidences": [connection], "severity": "Low", "severity_id": 2, "status": "New", "status_id": 1,
        "vendor_attributes": {"severity": "Low", "severity_id": 2},
        "resources": [{"type": "AWS::EC2::Instance", "uid": native["resource"]["instanceDetails"]["instanceId"], "region": region,
            "role_id": 1, "owner": {"account": {"uid": account}}}],
    })
}

#[tokio::test]
async fn copies_of_a_finding_in_other_formats_and_from_the_aggregator_are_nothing_new() {
    let world = World::with(Shape { ..members(1, &[HOME, AWAY]) }, |settings| settings).await;
    let organization = &world.organization;
    let shape = cordon_lab::organization::InstanceShape::named("web");
    let instance = organization.instance(&world.account, AWAY, &shape).await.unwrap();
    let event = world.attack(&instance);
    let native = serde_json::from_str::<Value>(&event).unwrap()["detail"].clone();
    let first = world.one(&event).await;
    assert_eq!(state(&first), "contained", "{first:#}");
    let (after, writes) = (world.state(&instance).await, world.writes().len());
    let copy = hub_copy(&native);
    let second_version = json!({
        "version": "0", "id": "e1", "detail-type": "Findings Imported V2", "source": "aws.securityhub", "account": organization.security,
        "time": text(&native, "/updatedAt"), "region": AWAY, "resources": [], "detail": {"findings": [ocsf(&native)]}
    });
    for (name, document) in [
        ("ASFF", copy.to_string()),
        ("the member's event", imported(&world.account, AWAY, std::slice::from_ref(&copy)).to_string()),
        ("the aggregator's", imported(&organization.security, HOME, std::slice::from_ref(&copy)).to_string()),
        ("OCSF", second_version.to_string()),
        ("GuardDuty's own", native.to_string()),
    ] {
        let again = world.one(&document).await;
        assert_eq!(again["duplicate_of"], first["incident"], "{name}: {again:#}");
        assert_eq!(again["findings"].as_array().unwrap().len(), 1, "{name}: {again:#}");
    }
    // Our own note on it comes back as an event.
    let mut noted = copy;
    noted["Note"] = json!({"Text": "Cordon has answered this finding", "UpdatedBy": "cordon", "UpdatedAt": "2026-11-24T12:00:00Z"});
    noted["Workflow"] = json!({"Status": "NOTIFIED"});
    let again = world.one(&imported(&organization.security, HOME, &[noted]).to_string()).await;
    assert_eq!(again["duplicate_of"], first["incident"], "{again:#}");
    assert_eq!((world.state(&instance).await, world.writes().len()), (after, writes));
    // All of them in one input are one incident, too.
    let list = world.cordon(&["incident", "list", "--format", "json"], "").await.objects();
    assert!(list.len() == 1 && id(&first) == text(&list[0], "/run"), "{list:?}");
}
