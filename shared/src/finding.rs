//! The finding: one normalised observation of a provider, whatever it came wrapped in.
//!
//! Its identity is the provider's own finding ARN or id, so that the native, ASFF, OCSF, member and aggregator copies
//! of one finding are one. Its [`Version`] tells a new observation from a repeated delivery.

use std::net::IpAddr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{arn::Arn, id::CellId};

/// The provider's own name for a finding: an ARN for GuardDuty and Inspector and Security Hub controls, else its id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct FindingId(pub String);

/// Which AWS service observed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    /// Amazon GuardDuty.
    GuardDuty,
    /// A control of AWS Security Hub itself.
    SecurityHub,
    /// Amazon Inspector.
    Inspector,
    /// Any other product that writes to Security Hub, AWS's or not.
    Other,
}

/// The document the finding was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// GuardDuty's own, as EventBridge and `GetFindings` give it.
    GuardDuty,
    /// AWS Security Finding Format (Security Hub CSPM).
    Asff,
    /// OCSF, as Security Hub v2 gives it.
    Ocsf,
    /// Amazon Inspector's own.
    Inspector,
}

/// Which part the subject plays (`Service.ResourceRole` of GuardDuty).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum ResourceRole {
    /// Our resource is attacked.
    Target,
    /// Our resource attacks.
    Actor,
}

/// What kind of thing a resource is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SubjectKind {
    /// An EC2 instance.
    Instance,
    /// A VPC security group.
    SecurityGroup,
    /// An IAM access key.
    AccessKey,
    /// An IAM user.
    User,
    /// An IAM role.
    Role,
    /// An S3 bucket.
    Bucket,
    /// An account as a whole.
    Account,
    /// Anything else.
    Other,
}

/// What a finding is about. `arn` is missing where AWS gives none (an access key).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Subject {
    /// Account and Region of the resource itself.
    pub cell: CellId,
    /// What it is.
    pub kind: SubjectKind,
    /// The service's own id: `i-…`, `sg-…`, `AKIA…`, a name.
    pub id: String,
    /// Its ARN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arn: Option<Arn>,
}

impl Subject {
    /// The ARN, or the id where AWS has no ARN for it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.arn.as_ref().map_or(&self.id, Arn::as_str)
    }
}

/// What the provider says about the network side of an attack, from our resource's point of view.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Network {
    /// `INBOUND`, `OUTBOUND` or `UNKNOWN`, as the provider writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    /// `tcp`, `udp`, lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// The port on our side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_port: Option<u16>,
    /// The port on the other side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_port: Option<u16>,
    /// The other side's addresses, sorted, without repetition.
    #[serde(default)]
    pub remote_ips: Vec<IpAddr>,
    /// The attacked interface's own addresses, as the finding has them.
    #[serde(default)]
    pub local_ips: Vec<IpAddr>,
}

/// The credentials that a finding is about, as the provider names them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Credential {
    /// `AKIA…` of a user's own key, `ASIA…` of a session's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// `AIDA…` of a user, `AROA…:session` of a role's session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal_id: Option<String>,
    /// `IAMUser`, `AssumedRole`, `Root`, `FederatedUser`, … as the provider writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_type: Option<String>,
    /// The user's or the role's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_name: Option<String>,
    /// The session's name: what follows the colon of the principal id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The instance whose role's credentials they are: the session's name, where it is an instance's id
    /// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html#principaltable>).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}

impl Credential {
    /// From what providers write; `None` when they write nothing.
    #[must_use]
    pub fn new(access_key_id: Option<&str>, principal_id: Option<&str>, user_type: Option<&str>, user_name: Option<&str>) -> Option<Self> {
        let some = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(|text| text.chars().take(2048).collect::<String>());
        let session = principal_id.and_then(|id| id.split_once(':')).map(|(_, session)| session);
        let is_instance = |session: &&str| {
            session.strip_prefix("i-").is_some_and(|digits| matches!(digits.len(), 8 | 17) && digits.bytes().all(|b| b.is_ascii_hexdigit()))
        };
        let credential = Self {
            access_key_id: some(access_key_id),
            principal_id: some(principal_id),
            user_type: some(user_type),
            user_name: some(user_name),
            session: some(session),
            instance: some(session.filter(is_instance)),
        };
        (credential != Self::default()).then_some(credential)
    }
}

/// State that Security Hub keeps about a finding. Members can write some of it: it is never used to decide, only to show.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HubState {
    /// `ACTIVE` or `ARCHIVED`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_state: Option<String>,
    /// `NEW`, `NOTIFIED`, `RESOLVED`, `SUPPRESSED`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// `FAILED`, `PASSED`, `WARNING`, `NOT_AVAILABLE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compliance: Option<String>,
    /// The custom action's ARN, where a person sent the finding by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_action: Option<String>,
    /// The ARN of the product that wrote the finding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_arn: Option<String>,
}

/// The finding's document, byte for byte as it came (of a wrapped one: the finding inside), and its SHA-256.
#[derive(Clone, PartialEq, Eq)]
pub struct Raw {
    /// The bytes.
    pub bytes: std::sync::Arc<[u8]>,
    /// Lower-case hexadecimal SHA-256 of them.
    pub sha256: String,
}

impl Raw {
    /// Keeps `bytes` and computes their digest.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self { bytes: bytes.into(), sha256: hex::encode(sha2::Sha256::digest(bytes)) }
    }
}

impl std::fmt::Debug for Raw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Raw({} bytes, sha256 {})", self.bytes.len(), self.sha256)
    }
}

/// A normalised finding. Serialised, it is the document that a playbook's `match` pattern is read against; `raw` is not part of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// The provider's own name for it.
    pub id: FindingId,
    /// Who observed it.
    pub provider: Provider,
    /// What it was read from.
    pub format: Format,
    /// The provider's type (`UnauthorizedAccess:EC2/SSHBruteForce`), or for a Security Hub control its consolidated id
    /// (`EC2.13`), whichever standard's id it came with.
    #[serde(rename = "type")]
    pub kind: String,
    /// One line for people; attacker-influenced text may be in it.
    pub title: String,
    /// The provider's severity on Security Hub's scale of 0 to 100 (GuardDuty's 0 to 10 times ten). Never what a member set.
    pub severity: u8,
    /// Account and Region of the primary subject.
    pub cell: CellId,
    /// What it is about, the primary one first. Never empty.
    pub subjects: Vec<Subject>,
    /// The part that the primary subject plays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<ResourceRole>,
    /// The credentials it is about, where it is about any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<Credential>,
    /// Network side, where it has one.
    pub network: Network,
    /// When the provider first saw it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_seen: Option<Timestamp>,
    /// When the provider last saw it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Timestamp>,
    /// The provider's own time of its last update.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Timestamp>,
    /// How often the provider has seen it.
    pub count: u64,
    /// True for a sample finding: `service.additionalInfo.sample` or a title that begins with `[SAMPLE]`.
    pub sample: bool,
    /// True where the provider itself has archived it.
    pub archived: bool,
    /// What Security Hub keeps about it.
    pub hub: HubState,
    /// The document itself.
    #[serde(skip)]
    pub raw: Raw,
}

impl Finding {
    /// The primary subject.
    #[must_use]
    pub fn subject(&self) -> Option<&Subject> {
        self.subjects.first()
    }

    /// What tells a new observation from a repeated delivery.
    #[must_use]
    pub fn version(&self) -> Version {
        Version {
            updated_at: self.updated_at,
            count: self.count,
            severity: self.severity,
            role: self.role,
            remote_ips: self.network.remote_ips.clone(),
        }
    }
}

/// What tells a new observation of a finding from the same one delivered again. A change of anything a member or we
/// ourselves can set (workflow, note, Security Hub's own `UpdatedAt`) is not one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The provider's time of its last update.
    pub updated_at: Option<Timestamp>,
    /// How often seen.
    pub count: u64,
    /// The provider's severity.
    pub severity: u8,
    /// TARGET or ACTOR.
    pub role: Option<ResourceRole>,
    /// Remote addresses.
    pub remote_ips: Vec<IpAddr>,
}

impl Version {
    /// Whether this one tells more than `earlier` does: a new source, a higher severity, or TARGET turned ACTOR.
    /// A later repetition of the same (GuardDuty publishes an active finding again every 15 minutes to 6 hours) does not.
    #[must_use]
    pub fn adds_to(&self, earlier: &Version) -> bool {
        self.severity > earlier.severity
            || (self.role == Some(ResourceRole::Actor) && earlier.role != Some(ResourceRole::Actor))
            || self.remote_ips.iter().any(|ip| !earlier.remote_ips.contains(ip))
    }
}
