//! The configuration file as it is written: one tree of tables. What the values must be is held against them by [`super::check`].
//!
//! The descriptions below are those of `docs/config.schema.json`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::{
    notify::{NoticesFile, SlackFile, TopicFile, WebhookFile},
    people::PersonFile,
};

type Text = Spanned<String>;

/// Cordon's configuration (`cordon.toml`). Every key has a default, except the account and the Regions that Cordon works in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "cordon.toml")]
pub struct File {
    /// The hub itself.
    pub hub: Hub,
    /// How the organization is read.
    #[serde(default)]
    pub org: Org,
    /// The role in member accounts.
    #[serde(default)]
    pub spoke: Spoke,
    /// How teams opt out.
    #[serde(default)]
    pub opt_out: OptOut,
    /// Which findings are believed.
    #[serde(default)]
    pub findings: super::findings::File,
    /// Hard caps on what is changed.
    #[serde(default)]
    pub caps: Caps,
    /// How much may be changed in a window before a person is asked.
    #[serde(default)]
    pub budgets: Vec<super::budgets::Entry>,
    /// How much is done at the same time.
    #[serde(default)]
    pub limits: Limits,
    /// Questions to people.
    #[serde(default)]
    pub approval: Approval,
    /// The HTTP API of `cordon serve`.
    #[serde(default)]
    pub api: super::api::ApiFile,
    /// The queue that `cordon serve` reads findings from.
    #[serde(default)]
    pub queue: Queue,
    /// Reconciling what the queue may have missed.
    #[serde(default)]
    pub poll: Poll,
    /// Playbooks beside the built-in ones.
    #[serde(default)]
    pub playbooks: Playbooks,
    /// What may be done, in Cedar.
    #[serde(default)]
    pub policy: Policy,
    /// Who is never touched.
    #[serde(default)]
    pub protected: Protected,
    /// Snapshots kept as evidence.
    #[serde(default)]
    pub snapshots: Snapshots,
    /// Sources that are recorded and not acted on: scanners, bastions, penetration tests.
    #[serde(default)]
    pub known: Vec<Known>,
    /// Where login and API logs are looked for. Without any, the usual places are tried and the report says which were looked at.
    #[serde(default)]
    pub logs: Vec<Logs>,
    /// Slack: where incidents are told of and plans are approved.
    #[serde(default)]
    pub slack: SlackFile,
    /// Who works with Cordon, by which identities, in which roles.
    #[serde(default)]
    pub people: Vec<PersonFile>,
    /// Services that are told by signed requests.
    #[serde(default)]
    pub webhook: Vec<WebhookFile>,
    /// Topics of Amazon SNS that are told.
    #[serde(default)]
    pub sns: Vec<TopicFile>,
    /// Other places that are told.
    #[serde(default)]
    pub notices: NoticesFile,
    /// How the owner of what was changed is told.
    #[serde(default)]
    pub owner: super::owner::OwnerFile,
}

/// The hub itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hub {
    /// The security account Cordon runs in, the delegated administrator of GuardDuty and Security Hub: 12 digits.
    #[schemars(with = "String", regex(pattern = "^[0-9]{12}$"))]
    pub account: Text,
    /// The Regions that Cordon works in. A finding elsewhere is held: Region not configured.
    #[schemars(with = "Vec<String>", length(min = 1))]
    pub regions: Spanned<Vec<Text>>,
    /// Security Hub's aggregation Region, one of `regions`. May be left out where there is only one.
    #[serde(default = "nothing")]
    #[schemars(with = "String")]
    pub home_region: Text,
    /// The folder of the journal (SQLite) and the evidence. A relative path counts from the folder of the configuration file.
    #[serde(default = "state_dir")]
    #[schemars(with = "String")]
    pub state_dir: Text,
    /// How far Cordon may go: `observe` (look, plan and report), `ask` (change what a person said yes to) or `act`.
    /// A playbook, an account or an opt-out can only make it stricter.
    #[serde(default = "mode")]
    #[schemars(with = "cordon_shared::mode::Mode")]
    pub mode: Text,
    /// Whether a GuardDuty finding is fetched again from the delegated administrator before the first change.
    #[serde(default = "yes")]
    pub confirm_findings: bool,
    /// The ARN of the role that the hub runs as: what `freeze --hard` locks out, and whose use by others raises the alarm. Empty: neither.
    #[serde(default = "nothing")]
    #[schemars(with = "String")]
    pub role: Text,
    /// A narrow role in the hub's own account for changes made there (Security Hub notes). Empty: the hub's own credentials.
    #[serde(default = "nothing")]
    #[schemars(with = "String")]
    pub action_role: Text,
    /// Where the service's HTTP API is: with it, `freeze`, `thaw`, `approval`, `incident` and `budget` talk to the running service instead of
    /// the state folder of this computer. Empty: they do not.
    #[serde(default = "nothing")]
    #[schemars(with = "String")]
    pub api: Text,
}

/// How the organization is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Org {
    /// A reader role in the management account. Empty: the delegated administrator's own rights.
    #[serde(default = "nothing")]
    #[schemars(with = "String")]
    pub read_role: Text,
}

/// The role in member accounts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spoke {
    /// Its name, the same in every account.
    #[serde(default = "role_name")]
    #[schemars(with = "String")]
    pub role_name: Text,
    /// The external id that its trust policy asks for; `{account}` is replaced by the member account's id.
    #[serde(default = "external_id")]
    #[schemars(with = "String")]
    pub external_id: Text,
}

/// How teams opt out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OptOut {
    /// The key of the tag on an account or OU (AWS Organizations) or on a resource.
    #[serde(default = "tag_key")]
    #[schemars(with = "String")]
    pub tag_key: Text,
}

/// Hard caps on what is changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Caps {
    /// Resources changed in one account in an hour, at most.
    #[serde(default = "five")]
    #[schemars(with = "u32", range(min = 1))]
    pub changes_per_account_hour: Spanned<i64>,
    /// Resources changed in the whole organization in an hour, at most.
    #[serde(default = "twenty_five")]
    #[schemars(with = "u32", range(min = 1))]
    pub changes_per_organization_hour: Spanned<i64>,
}

/// How much is done at the same time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Steps at work in the whole organization.
    #[serde(default = "organization_slots")]
    #[schemars(with = "u32", range(min = 1))]
    pub organization_slots: Spanned<i64>,
    /// Steps at work in one account; not more than `organization_slots`.
    #[serde(default = "account_slots")]
    #[schemars(with = "u32", range(min = 1))]
    pub account_slots: Spanned<i64>,
    /// Steps at work in one account and Region; not more than `account_slots`.
    #[serde(default = "cell_slots")]
    #[schemars(with = "u32", range(min = 1))]
    pub cell_slots: Spanned<i64>,
    /// How long one attempt of an AWS call may take, 1 s to 2 min. After a crash this is waited out before the world is read.
    #[serde(default = "attempt_timeout")]
    #[schemars(with = "String")]
    pub attempt_timeout: Text,
}

/// Questions to people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// How long a question stands and an answer counts, 1 min to 7 days.
    #[serde(default = "question_lasts")]
    #[schemars(with = "String")]
    pub question_lasts: Text,
}

/// The queue that `cordon serve` reads findings from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    /// The URL of the SQS queue that EventBridge writes to. Empty: no queue is read.
    #[serde(default = "nothing")]
    #[schemars(with = "String")]
    pub url: Text,
    /// The URL of the queue that unusable messages go to, with the reason. Empty: they stay until SQS's own redrive policy moves them.
    #[serde(default = "nothing")]
    #[schemars(with = "String")]
    pub dead_letter_url: Text,
    /// How many receivers poll the queue at once, 1 to 32.
    #[serde(default = "two")]
    #[schemars(with = "u32", range(min = 1, max = 32))]
    pub receivers: Spanned<i64>,
}

/// Reconciling what the queue may have missed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Poll {
    /// How often Security Hub, and GuardDuty in each of `regions`, is asked for findings, 30 s to 24 h. `0s`: never.
    #[serde(default = "every")]
    #[schemars(with = "String")]
    pub every: Text,
}

/// Playbooks beside the built-in ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Playbooks {
    /// A folder of playbooks; one with a built-in's name replaces it. Relative paths count from the folder of the configuration file.
    #[serde(default = "nothing")]
    #[schemars(with = "String")]
    pub dir: Text,
}

/// What may be done, in Cedar.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// A folder of `.cedar` files beside those built in; one with a built-in's name replaces it. `cordon serve` takes changes over while it
    /// runs. Relative paths count from the folder of the configuration file.
    #[serde(default = "nothing")]
    #[schemars(with = "String")]
    pub dir: Text,
    /// The time zone of a policy's `hour` and `weekday`: a name of the IANA database.
    #[serde(default = "utc")]
    #[schemars(with = "String")]
    pub time_zone: Text,
}

/// A source that is recorded and not acted on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// Its network, IPv4 (not wider than /8) or IPv6 (not wider than /16).
    #[schemars(with = "String")]
    pub cidr: Text,
    /// The last day it counts (until 24:00 UTC), at most 90 days away: `2026-12-31`.
    #[schemars(with = "String", regex(pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"))]
    pub until: Text,
    /// Who it is, for the report.
    #[schemars(with = "String", length(min = 1))]
    pub why: Text,
}

/// A place where logs are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Logs {
    /// `auth`: logins to instances; `cloudtrail`: a trail's log group.
    #[schemars(with = "LogKind")]
    pub kind: Text,
    /// The log group's name; `{instance}` and `{account}` are replaced.
    #[schemars(with = "String", length(min = 1, max = 512))]
    pub group: Text,
    /// The stream's name, likewise. Left out: `{instance}` for `auth`, all streams for `cloudtrail`. Empty: all streams, which for
    /// `auth` counts other instances' logins in the same group as well.
    #[schemars(with = "Option<String>", length(max = 512))]
    pub stream: Option<Text>,
    /// The account that has the group, where an organization's trail delivers to one account. Left out: each account's own.
    #[schemars(with = "Option<String>", regex(pattern = "^[0-9]{12}$"))]
    pub account: Option<Text>,
    /// The Region that has the group. Left out: that of what is looked into.
    #[schemars(with = "Option<String>")]
    pub region: Option<Text>,
}

/// Who is never touched, besides Cordon's own roles, service-linked and Identity Center roles and the root user.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Protected {
    /// Names or ARNs of roles and users that must never be locked out: break-glass principals.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub principals: Vec<Text>,
}

/// Snapshots kept as evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Snapshots {
    /// The ARN of a KMS key in the hub's account, that snapshots are re-encrypted with and copied to the hub's account under; `{region}` is
    /// replaced (a multi-Region key). Empty: they stay, locked, in the member's account.
    #[serde(default = "nothing")]
    #[schemars(with = "String")]
    pub copy_key: Text,
}

/// What kind of log it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogKind {
    /// Logins to instances: sshd, the Windows Security log.
    Auth,
    /// The log group of a CloudTrail trail.
    Cloudtrail,
}

impl LogKind {
    /// The word that the configuration uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Cloudtrail => "cloudtrail",
        }
    }
}

/// A default stands nowhere in the text.
fn unwritten<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

macro_rules! defaults {
    ($($name:ident: $type:ty = $value:expr;)*) => {
        $(fn $name() -> Spanned<$type> { unwritten($value.into()) })*
    };
}
defaults! {
    nothing: String = "";
    state_dir: String = "cordon-state";
    mode: String = "observe";
    role_name: String = "CordonSpoke";
    external_id: String = "{account}";
    tag_key: String = "cordon:opt-out";
    five: i64 = 5;
    twenty_five: i64 = 25;
    organization_slots: i64 = 64;
    account_slots: i64 = 8;
    cell_slots: i64 = 4;
    two: i64 = 2;
    attempt_timeout: String = "10s";
    question_lasts: String = "4h";
    every: String = "5m";
    utc: String = "UTC";
}

fn yes() -> bool {
    true
}

impl Default for Org {
    fn default() -> Self {
        Self { read_role: nothing() }
    }
}
impl Default for Spoke {
    fn default() -> Self {
        Self { role_name: role_name(), external_id: external_id() }
    }
}
impl Default for OptOut {
    fn default() -> Self {
        Self { tag_key: tag_key() }
    }
}
impl Default for Caps {
    fn default() -> Self {
        Self { changes_per_account_hour: five(), changes_per_organization_hour: twenty_five() }
    }
}
impl Default for Limits {
    fn default() -> Self {
        let (organization_slots, account_slots, cell_slots) = (organization_slots(), account_slots(), cell_slots());
        Self { organization_slots, account_slots, cell_slots, attempt_timeout: attempt_timeout() }
    }
}
impl Default for Approval {
    fn default() -> Self {
        Self { question_lasts: question_lasts() }
    }
}
impl Default for Queue {
    fn default() -> Self {
        Self { url: nothing(), dead_letter_url: nothing(), receivers: two() }
    }
}
impl Default for Poll {
    fn default() -> Self {
        Self { every: every() }
    }
}
impl Default for Snapshots {
    fn default() -> Self {
        Self { copy_key: nothing() }
    }
}
impl Default for Policy {
    fn default() -> Self {
        Self { dir: nothing(), time_zone: utc() }
    }
}
impl Default for Playbooks {
    fn default() -> Self {
        Self { dir: nothing() }
    }
}
