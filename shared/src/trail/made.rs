//! What a call made or opened: the ids of users, keys, roles, instances and their like.
//!
//! From a table of calls: for each, what it makes, and where the parts of its id stand; of each part the first place that holds a text. What
//! the table does not name is not known, and nothing else of a record is read.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Record, text_at};

/// Most things of one call that are kept: one call can make many instances.
const MOST: usize = 100;

/// Something that a call made or opened.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Made {
    /// `user`, `access-key`, `role`, `login-profile`, `policy`, `instance`, …
    pub kind: String,
    /// Its id, name or ARN; of an access key of somebody else's the user too.
    pub id: String,
}

/// Service, call, kind, and the parts of the id, each with its places.
type Row = (&'static str, &'static str, &'static str, &'static [&'static [&'static str]]);

const USER: &[&str] = &["/requestParameters/userName", "/userIdentity/userName"];
const ROLE: &[&str] = &["/requestParameters/roleName"];
const GROUP: &[&str] = &["/requestParameters/groupName"];
const POLICY: &[&str] = &["/requestParameters/policyArn", "/requestParameters/policyName"];

const TABLE: &[Row] = &[
    ("iam", "CreateUser", "user", &[&["/responseElements/user/userName", "/requestParameters/userName"]]),
    (
        "iam",
        "CreateAccessKey",
        "access-key",
        &[&["/responseElements/accessKey/accessKeyId"], &["/responseElements/accessKey/userName", "/requestParameters/userName"]],
    ),
    ("iam", "UpdateAccessKey", "access-key-status", &[&["/requestParameters/accessKeyId"], &["/requestParameters/status"]]),
    ("iam", "CreateLoginProfile", "login-profile", &[USER]),
    ("iam", "UpdateLoginProfile", "login-profile", &[USER]),
    ("iam", "ChangePassword", "login-profile", &[USER]),
    ("iam", "CreateRole", "role", &[&["/responseElements/role/arn", "/requestParameters/roleName"]]),
    ("iam", "UpdateAssumeRolePolicy", "trust-policy", &[ROLE]),
    ("iam", "CreatePolicy", "policy", &[&["/responseElements/policy/arn", "/requestParameters/policyName"]]),
    ("iam", "CreatePolicyVersion", "policy", &[POLICY, &["/responseElements/policyVersion/versionId"]]),
    ("iam", "SetDefaultPolicyVersion", "policy", &[POLICY, &["/requestParameters/versionId"]]),
    ("iam", "PutUserPolicy", "user-policy", &[USER, POLICY]),
    ("iam", "PutRolePolicy", "role-policy", &[ROLE, POLICY]),
    ("iam", "PutGroupPolicy", "group-policy", &[GROUP, POLICY]),
    ("iam", "AttachUserPolicy", "user-policy", &[USER, POLICY]),
    ("iam", "AttachRolePolicy", "role-policy", &[ROLE, POLICY]),
    ("iam", "AttachGroupPolicy", "group-policy", &[GROUP, POLICY]),
    ("iam", "CreateGroup", "group", &[GROUP]),
    ("iam", "AddUserToGroup", "membership", &[USER, GROUP]),
    ("iam", "CreateInstanceProfile", "instance-profile", &[&["/requestParameters/instanceProfileName"]]),
    ("iam", "AddRoleToInstanceProfile", "instance-profile", &[&["/requestParameters/instanceProfileName"], ROLE]),
    (
        "iam",
        "CreateServiceSpecificCredential",
        "service-credential",
        &[&["/responseElements/serviceSpecificCredential/serviceSpecificCredentialId"], USER],
    ),
    ("iam", "UploadSSHPublicKey", "ssh-key", &[&["/responseElements/sSHPublicKey/sSHPublicKeyId"], USER]),
    ("iam", "UploadSigningCertificate", "certificate", &[&["/responseElements/certificate/certificateId"], USER]),
    (
        "iam",
        "CreateVirtualMFADevice",
        "mfa-device",
        &[&["/responseElements/virtualMFADevice/serialNumber", "/requestParameters/virtualMFADeviceName"]],
    ),
    ("iam", "EnableMFADevice", "mfa-device", &[&["/requestParameters/serialNumber"], USER]),
    ("iam", "CreateSAMLProvider", "identity-provider", &[&["/responseElements/sAMLProviderArn", "/requestParameters/name"]]),
    ("iam", "UpdateSAMLProvider", "identity-provider", &[&["/requestParameters/sAMLProviderArn"]]),
    (
        "iam",
        "CreateOpenIDConnectProvider",
        "identity-provider",
        &[&["/responseElements/openIDConnectProviderArn", "/requestParameters/url"]],
    ),
    ("rolesanywhere", "CreateTrustAnchor", "trust-anchor", &[&["/responseElements/trustAnchor/trustAnchorArn", "/requestParameters/name"]]),
    ("rolesanywhere", "CreateProfile", "roles-anywhere-profile", &[&["/responseElements/profile/profileArn", "/requestParameters/name"]]),
    ("sts", "GetFederationToken", "federation-token", &[&["/responseElements/credentials/accessKeyId"], &["/requestParameters/name"]]),
    ("sts", "GetSessionToken", "session-token", &[&["/responseElements/credentials/accessKeyId"]]),
    ("ec2", "CreateKeyPair", "key-pair", &[&["/requestParameters/keyName"]]),
    ("ec2", "ImportKeyPair", "key-pair", &[&["/requestParameters/keyName"]]),
    ("ec2", "CreateSecurityGroup", "security-group", &[&["/responseElements/groupId"]]),
    ("ec2", "CreateImage", "image", &[&["/responseElements/imageId"]]),
    ("ec2", "CreateSnapshot", "snapshot", &[&["/responseElements/snapshotId"]]),
    ("ec2", "CreateVpc", "vpc", &[&["/responseElements/vpc/vpcId"]]),
    ("ec2", "RequestSpotInstances", "spot-request", &[&["/responseElements/spotInstanceRequestSet/items/0/spotInstanceRequestId"]]),
    (
        "ec2",
        "CreateLaunchTemplate",
        "launch-template",
        &[&["/responseElements/CreateLaunchTemplateResponse/launchTemplate/launchTemplateId"]],
    ),
    ("lambda", "CreateFunction", "function", &[&["/responseElements/functionArn", "/requestParameters/functionName"]]),
    ("lambda", "UpdateFunctionCode", "function-code", &[&["/responseElements/functionArn", "/requestParameters/functionName"]]),
    ("lambda", "AddPermission", "function-permission", &[&["/requestParameters/functionName"]]),
    ("lambda", "CreateFunctionUrlConfig", "function-url", &[&["/responseElements/functionUrl", "/requestParameters/functionName"]]),
    ("cloudformation", "CreateStack", "stack", &[&["/responseElements/stackId", "/requestParameters/stackName"]]),
    ("s3", "CreateBucket", "bucket", &[&["/requestParameters/bucketName"]]),
    ("organizations", "CreateAccount", "account", &[&["/responseElements/createAccountStatus/id"]]),
    ("sso", "CreatePermissionSet", "permission-set", &[&["/responseElements/permissionSet/permissionSetArn"]]),
    ("identitystore", "CreateUser", "identity-center-user", &[&["/responseElements/userId"]]),
];

/// What a record says that its call made.
pub(super) fn made(record: &Record, document: &Value) -> Vec<Made> {
    let (service, name) = (record.service(), bare(&record.name));
    if service == "ec2" && name == "RunInstances" {
        let ids = instances(document).into_iter().take(MOST);
        return ids.map(|id| Made { kind: "instance".to_owned(), id }).collect();
    }
    let Some((_, _, kind, parts)) = TABLE.iter().find(|(of, call, ..)| *of == service && *call == name) else { return Vec::new() };
    let found: Vec<String> = parts.iter().filter_map(|places| places.iter().find_map(|place| text_at(document, place))).collect();
    if found.is_empty() { Vec::new() } else { vec![Made { kind: (*kind).to_owned(), id: found.join(" ") }] }
}

/// The instances that were launched.
fn instances(document: &Value) -> Vec<String> {
    let items = document.pointer("/responseElements/instancesSet/items").and_then(Value::as_array).into_iter().flatten();
    items.filter_map(|item| text_at(item, "/instanceId")).collect()
}

/// `CreateFunction20150331v2` is `CreateFunction`: Lambda records the version of its API in the name.
fn bare(name: &str) -> &str {
    let without = name.rsplit_once('v').filter(|(_, digits)| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()));
    let name = without.map_or(name, |(name, _)| name);
    let plain = name.trim_end_matches(|c: char| c.is_ascii_digit());
    if name.len() - plain.len() == 8 { plain } else { name }
}
