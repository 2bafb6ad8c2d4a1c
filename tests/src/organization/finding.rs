//! Findings, as the services of AWS write them.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{Instance, OpenGroup, Organization};
use crate::LabError;

/// What an instance does in a brute-force finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// It is attacked.
    Target,
    /// It attacks.
    Actor,
}

/// `YYYY-MM-DDTHH:MM:SS.mmmZ`, so many seconds ago.
pub(super) fn stamp(ago: i64) -> String {
    let now = Timestamp::now();
    format!("{:.3}", now.checked_sub(SignedDuration::from_secs(ago)).unwrap_or(now))
}

pub(super) fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
        hash.update([0]);
    }
    hex::encode(hash.finalize()).chars().take(32).collect()
}

/// GuardDuty's `UnauthorizedAccess:EC2/SSHBruteForce` of an instance and another address, as its API gives it and its event carries it. The
/// same instance, address and part are the same finding; each call makes a new version of it.
#[must_use]
pub fn brute_force(instance: &Instance, other: &str, part: Part) -> Value {
    let Instance { account, region, id, .. } = instance;
    let (role, direction, severity, title) = match part {
        Part::Target => ("TARGET", "INBOUND", 2.0, format!("{other} is performing SSH brute force attacks against {id}.")),
        Part::Actor => ("ACTOR", "OUTBOUND", 8.0, format!("{id} is performing SSH brute force attacks against {other}.")),
    };
    let detector = digest(&[account, region]);
    let finding = digest(&[id, other, role]);
    let (local, remote) = match part {
        Part::Target => (json!({"port": 22, "portName": "SSH"}), json!({"port": 40022, "portName": "Unknown"})),
        Part::Actor => (json!({"port": 40022, "portName": "Unknown"}), json!({"port": 22, "portName": "SSH"})),
    };
    let tags: Vec<Value> = instance.tags.iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
    let interfaces: Vec<Value> = instance
        .interfaces
        .iter()
        .zip(&instance.groups)
        .map(|(interface, group)| {
            json!({
                "networkInterfaceId": interface, "privateIpAddress": instance.address, "subnetId": instance.subnet, "vpcId": instance.vpc,
                "ipv6Addresses": [], "privateIpAddresses": [{"privateIpAddress": instance.address}],
                "securityGroups": [{"groupId": group, "groupName": format!("{}-group", instance.name)}],
            })
        })
        .collect();
    let resource = json!({"resourceType": "Instance", "instanceDetails": {
        "instanceId": id, "instanceType": "t3.micro", "instanceState": "running", "imageId": "ami-12c6146b", "platform": null,
        "launchTime": stamp(864_000), "availabilityZone": format!("{region}a"), "networkInterfaces": interfaces,
        "iamInstanceProfile": {"arn": instance.profile, "id": "AIPAEXAMPLE0000000000"}, "productCodes": [], "tags": tags,
    }});
    let address = json!({
        "ipAddressV4": other, "country": {"countryName": "Nowhere"}, "city": {"cityName": ""}, "geoLocation": {"lat": 0.0, "lon": 0.0},
        "organization": {"asn": "64496", "asnOrg": "Documentation", "isp": "Documentation", "org": "Documentation"},
    });
    let action = json!({"actionType": "NETWORK_CONNECTION", "networkConnectionAction": {
        "connectionDirection": direction, "protocol": "TCP", "blocked": false, "localPortDetails": local, "remotePortDetails": remote,
        "localIpDetails": {"ipAddressV4": instance.address}, "remoteIpDetails": address,
    }});
    let service = json!({
        "serviceName": "guardduty", "detectorId": detector, "resourceRole": role, "archived": false, "count": 24, "action": action,
        "eventFirstSeen": stamp(840), "eventLastSeen": stamp(60), "additionalInfo": {"value": "{}", "type": "default"},
    });
    let more = "Brute force attacks are used to gain unauthorized access to an instance by guessing the SSH password.";
    json!({
        "schemaVersion": "2.0", "accountId": account, "region": region, "partition": "aws", "id": finding,
        "arn": format!("arn:aws:guardduty:{region}:{account}:detector/{detector}/finding/{finding}"),
        "type": "UnauthorizedAccess:EC2/SSHBruteForce", "severity": severity, "title": title, "description": format!("{title} {more}"),
        "createdAt": stamp(840), "updatedAt": stamp(0), "resource": resource, "service": service,
    })
}

/// The same finding as `CreateSampleFindings` marks it.
#[must_use]
pub fn sample(mut native: Value) -> Value {
    if let Some(info) = native.pointer_mut("/service/additionalInfo") {
        *info = json!({"sample": true, "value": "{\"sample\":true}", "type": "default"});
    }
    if let Some(title) = native.get_mut("title") {
        *title = json!(format!("[SAMPLE] {}", title.as_str().unwrap_or_default()));
    }
    native
}

/// The EventBridge event of one of GuardDuty's findings, on the administrator's bus.
#[must_use]
pub fn event(security: &str, native: &Value) -> Value {
    envelope(security, native.get("region").unwrap_or(&Value::Null), "aws.guardduty", "GuardDuty Finding", native.clone())
}

/// The EventBridge event of findings in ASFF.
#[must_use]
pub fn imported(security: &str, home: &str, findings: &[Value]) -> Value {
    envelope(security, &json!(home), "aws.securityhub", "Security Hub Findings - Imported", json!({"findings": findings}))
}

fn envelope(account: &str, region: &Value, source: &str, kind: &str, detail: Value) -> Value {
    let id = digest(&[&detail.to_string()]);
    let part = |from: usize, to: usize| id.chars().skip(from).take(to - from).collect::<String>();
    let id = [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-");
    json!({
        "version": "0", "id": id, "detail-type": kind, "source": source, "account": account, "time": format!("{:.0}", Timestamp::now()),
        "region": region, "resources": [], "detail": detail,
    })
}

/// Security Hub's copy of one of GuardDuty's findings, in ASFF.
#[must_use]
pub fn hub_copy(native: &Value) -> Value {
    let text = |pointer: &str| native.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (account, region, id) = (text("/accountId"), text("/region"), text("/resource/instanceDetails/instanceId"));
    let severity = native.get("severity").and_then(Value::as_f64).unwrap_or_default();
    let label = if severity >= 7.0 { "HIGH" } else { "LOW" };
    let mut fields = Map::new();
    flatten("aws/guardduty/service", native.get("service").unwrap_or(&Value::Null), &mut fields);
    json!({
        "SchemaVersion": "2018-10-08", "Id": text("/arn"), "ProductArn": format!("arn:aws:securityhub:{region}::product/aws/guardduty"),
        "ProductName": "GuardDuty", "CompanyName": "Amazon", "Region": region, "AwsAccountId": account,
        "GeneratorId": text("/arn").split("/finding/").next(), "Types": ["TTPs/Initial Access/UnauthorizedAccess:EC2-SSHBruteForce"],
        "FirstObservedAt": text("/service/eventFirstSeen"), "LastObservedAt": text("/service/eventLastSeen"),
        "CreatedAt": text("/createdAt"), "UpdatedAt": text("/updatedAt"), "Severity": {"Product": severity, "Label": label, "Normalized": severity * 10.0},
        "Title": text("/title"), "Description": text("/description"), "ProductFields": fields, "RecordState": "ACTIVE", "Workflow": {"Status": "NEW"},
        "WorkflowState": "NEW",
        "Resources": [{"Type": "AwsEc2Instance", "Id": format!("arn:aws:ec2:{region}:{account}:instance/{id}"), "Partition": "aws", "Region": region}],
    })
}

/// Texts at paths, as GuardDuty fills `ProductFields`.
fn flatten(path: &str, value: &Value, fields: &mut Map<String, Value>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, item)| flatten(&format!("{path}/{key}"), item, fields)),
        Value::Array(items) => items.iter().enumerate().for_each(|(number, item)| flatten(&format!("{path}.{number}_"), item, fields)),
        Value::String(text) => drop(fields.insert(path.to_owned(), json!(text))),
        other => drop(fields.insert(path.to_owned(), json!(other.to_string()))),
    }
}

/// Security Hub's finding that a group's port 22 is open to the world: control EC2.13 has failed, in ASFF.
#[must_use]
pub fn open_port_22(account: &str, region: &str, arn: &str) -> Value {
    let id = format!("arn:aws:securityhub:{region}:{account}:security-control/EC2.13/finding/{}", digest(&[arn]));
    let title = "Security groups should not allow ingress from 0.0.0.0/0 or ::/0 to port 22";
    json!({
        "SchemaVersion": "2018-10-08", "Id": id, "ProductArn": format!("arn:aws:securityhub:{region}::product/aws/securityhub"),
        "ProductName": "Security Hub", "CompanyName": "AWS", "Region": region, "AwsAccountId": account, "GeneratorId": "security-control/EC2.13",
        "Types": ["Software and Configuration Checks/Industry and Regulatory Standards"], "FirstObservedAt": stamp(86_400),
        "LastObservedAt": stamp(0), "CreatedAt": stamp(86_400), "UpdatedAt": stamp(0),
        "Severity": {"Label": "HIGH", "Normalized": 70, "Original": "HIGH"}, "Title": title, "Description": title,
        "Compliance": {"Status": "FAILED", "SecurityControlId": "EC2.13", "AssociatedStandards": [{"StandardsId": "standards/nist-800-53/v/5.0.0"}]},
        "Resources": [{"Type": "AwsEc2SecurityGroup", "Id": arn, "Partition": "aws", "Region": region}],
        "ProductFields": {"aws/securityhub/FindingId": format!("arn:aws:securityhub:{region}::product/aws/securityhub/{id}")},
        "RecordState": "ACTIVE", "WorkflowState": "NEW", "Workflow": {"Status": "NEW"},
    })
}

impl Organization {
    /// Puts a finding into GuardDuty of the account that owns it, and its copy into Security Hub, telling nobody.
    ///
    /// # Errors
    /// When moto has no extension.
    pub async fn know(&self, native: &Value) -> Result<(), LabError> {
        let text = |name: &str| native.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (account, region) = (text("accountId"), text("region"));
        self.moto.seed(&account, &region, "guardduty-findings", vec![native.clone()]).await?;
        self.moto.seed(&account, &region, "securityhub-findings", vec![hub_copy(native)]).await
    }

    /// Puts a finding into GuardDuty of the account that owns it and nowhere else, telling nobody.
    ///
    /// # Errors
    /// When moto has no extension.
    pub async fn notice(&self, native: &Value) -> Result<(), LabError> {
        let text = |name: &str| native.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        self.moto.seed(&text("accountId"), &text("region"), "guardduty-findings", vec![native.clone()]).await
    }

    /// Makes GuardDuty find an attack: it is put into its store, and the event goes out.
    ///
    /// # Errors
    /// When moto has no extension.
    pub async fn attack(&self, instance: &Instance, other: &str, part: Part) -> Result<Value, LabError> {
        let native = brute_force(instance, other, part);
        self.know(&native).await?;
        self.emit(&event(&self.security, &native)).await?;
        Ok(native)
    }

    /// Puts the findings of open groups into Security Hub, telling nobody: the backlog that a sweep works on.
    ///
    /// # Errors
    /// When moto has no extension.
    pub async fn backlog(&self, groups: &[OpenGroup]) -> Result<(), LabError> {
        let mut cells: std::collections::BTreeMap<(&str, &str), Vec<Value>> = std::collections::BTreeMap::new();
        for group in groups {
            cells.entry((&group.account, &group.region)).or_default().push(group.finding.clone());
        }
        for ((account, region), findings) in cells {
            self.moto.seed(account, region, "securityhub-findings", findings).await?;
        }
        Ok(())
    }

    /// Makes Security Hub find open groups: the findings are imported, and with the extension their events go out.
    ///
    /// # Errors
    /// The first import that failed.
    pub async fn import(&self, groups: &[OpenGroup]) -> Result<(), LabError> {
        for group in groups {
            let params = json!({"Findings": [group.finding]});
            self.call(&group.account, &group.region, "securityhub", "batch_import_findings", params).await?;
        }
        Ok(())
    }
}
