//! Credentials that somebody else uses: GuardDuty's findings of them, and the credentials of an instance as its metadata service hands them out.

use serde_json::{Value, json};

use super::{
    Instance, Organization,
    finding::{digest, event, stamp},
};
use crate::{LabError, hand::Credentials};

/// Whose credentials a finding is about, as GuardDuty writes it.
#[derive(Debug, Clone)]
pub struct Stolen<'a> {
    /// The account.
    pub account: &'a str,
    /// `AKIA…`, `ASIA…`.
    pub access_key: &'a str,
    /// `AIDA…`, `AROA…:session`.
    pub principal: &'a str,
    /// `IAMUser`, `AssumedRole`, `Root`.
    pub user_type: &'a str,
    /// The user's or the role's name.
    pub user: &'a str,
}

/// GuardDuty's finding that credentials were used where they should not be: of this type, in this Region, from this address.
#[must_use]
pub fn misuse(kind: &str, region: &str, stolen: &Stolen<'_>, address: &str) -> Value {
    let Stolen { account, access_key, principal, user_type, user } = stolen;
    let detector = digest(&[account, region]);
    let finding = digest(&[access_key, kind, address]);
    let title = format!("Credentials of {user} were used from {address}.");
    let remote = json!({
        "ipAddressV4": address, "country": {"countryName": "Nowhere"}, "city": {"cityName": ""}, "geoLocation": {"lat": 0.0, "lon": 0.0},
        "organization": {"asn": "64496", "asnOrg": "Documentation", "isp": "Documentation", "org": "Documentation"},
    });
    let action = json!({"actionType": "AWS_API_CALL", "awsApiCallAction": {
        "api": "ListUsers", "serviceName": "iam.amazonaws.com", "callerType": "Remote IP", "remoteIpDetails": remote,
    }});
    json!({
        "schemaVersion": "2.0", "accountId": account, "region": region, "partition": "aws", "id": finding,
        "arn": format!("arn:aws:guardduty:{region}:{account}:detector/{detector}/finding/{finding}"),
        "type": kind, "severity": 8.0, "title": title, "description": title, "createdAt": stamp(840), "updatedAt": stamp(0),
        "resource": {"resourceType": "AccessKey", "accessKeyDetails": {
            "accessKeyId": access_key, "principalId": principal, "userType": user_type, "userName": user,
        }},
        "service": {
            "serviceName": "guardduty", "detectorId": detector, "resourceRole": "TARGET", "archived": false, "count": 3, "action": action,
            "eventFirstSeen": stamp(840), "eventLastSeen": stamp(60), "additionalInfo": {"value": "{}", "type": "default"},
        },
    })
}

impl Organization {
    /// Makes GuardDuty find that credentials are misused: it is put into its store, and the event goes out.
    ///
    /// # Errors
    /// When moto has no extension.
    pub async fn misused(&self, native: &Value) -> Result<(), LabError> {
        let text = |name: &str| native.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        self.moto.seed(&text("accountId"), &text("region"), "guardduty-findings", vec![native.clone()]).await?;
        self.emit(&event(&self.security, native)).await
    }

    /// The name of an instance's role: it is called as its profile.
    #[must_use]
    pub fn role_of<'i>(&self, instance: &'i Instance) -> &'i str {
        instance.profile.rsplit('/').next().unwrap_or_default()
    }

    /// Lets an instance's role look at instances, and lets its own account mint sessions of it, as the metadata service does.
    ///
    /// # Errors
    /// The first call that failed.
    pub async fn role_that_works(&self, instance: &Instance) -> Result<(), LabError> {
        let (account, role) = (instance.account.as_str(), self.role_of(instance));
        let trust = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"},
            {"Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{account}:root")}, "Action": "sts:AssumeRole"},
        ]});
        let allow = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ec2:Describe*", "Resource": "*"}]});
        let ask = async |operation: &str, params: Value| self.call(account, "us-east-1", "iam", operation, params).await;
        ask("update_assume_role_policy", json!({"RoleName": role, "PolicyDocument": trust.to_string()})).await?;
        ask("put_role_policy", json!({"RoleName": role, "PolicyName": "own", "PolicyDocument": allow.to_string()})).await.map(drop)
    }

    /// Credentials of an instance's role as its metadata service hands them out, by way of `endpoint`: the session is named after the instance.
    ///
    /// # Errors
    /// When STS says no.
    pub async fn issued(&self, instance: &Instance, endpoint: &str) -> Result<Credentials, LabError> {
        let account = self.hand.credentials(&instance.account).await?;
        let role = format!("arn:aws:iam::{}:role/{}", instance.account, self.role_of(instance));
        Ok(self.hand.at(endpoint).with(&account).assume("", &instance.region, &role, &instance.id, json!({})).await?)
    }
}
