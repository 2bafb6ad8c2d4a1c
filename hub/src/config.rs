//! The configuration: `cordon.toml`, read once at start.
//!
//! [`file::File`] is the text's own tree, unknown keys refused; [`Config`] is what it says once every value has been checked.
//! Everything that is wrong is reported at once, each at its place.

pub mod api;
mod budgets;
mod check;
mod file;
mod findings;
pub mod notify;
pub mod owner;
pub mod people;
mod problem;

use std::path::{Path, PathBuf};

use cordon_shared::{
    arn::Arn,
    clock::Clock,
    id::{AccountId, Region},
    mode::Mode,
};
use ipnet::IpNet;
use jiff::{SignedDuration, civil::Date, tz::TimeZone};

pub use file::{File, LogKind};
pub use findings::Findings;
pub use problem::{ConfigError, SMALLEST, Warning};

/// The file that is read where none is named.
pub const DEFAULT_FILE: &str = "cordon.toml";

/// How Cordon is set up.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The hub itself.
    pub hub: Hub,
    /// A reader role in the management account; `None`: the delegated administrator's own rights.
    pub org_read_role: Option<String>,
    /// The role in member accounts.
    pub spoke: Spoke,
    /// The key of the opt-out tag.
    pub opt_out_key: String,
    /// Which findings are believed.
    pub findings: Findings,
    /// Hard caps on what is changed in an hour.
    pub caps: Caps,
    /// How much may be changed in a window before a person is asked.
    pub budgets: std::sync::Arc<[cordon_shared::gate::budget::Budget]>,
    /// How much is done at the same time.
    pub limits: Limits,
    /// How long a question to a person stands.
    pub question_lasts: SignedDuration,
    /// The queue of findings; `None`: none is read.
    pub queue: Option<Queue>,
    /// How often Security Hub is asked for findings; `None`: never.
    pub poll_every: Option<SignedDuration>,
    /// A folder of playbooks that override the built-in ones.
    pub playbooks_dir: Option<PathBuf>,
    /// What may be done.
    pub policy: Policy,
    /// The KMS key that copies of snapshots are made under, `{region}` not yet replaced; `None`: none are made.
    pub copy_key: Option<String>,
    /// Names or ARNs of roles and users that are never touched.
    pub protected: Vec<String>,
    /// Known sources that have not expired.
    pub known: Vec<Known>,
    /// Where logs are looked for; empty: in the usual places.
    pub logs: Vec<Logs>,
    /// Who is told, and by which ways answers come.
    pub notify: notify::Notify,
    /// People: their identities and roles.
    pub people: Vec<people::Person>,
    /// The HTTP API.
    pub api: api::Api,
}

/// The hub itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hub {
    /// The security account.
    pub account: AccountId,
    /// The Regions that Cordon works in, in the order of the text, never empty.
    pub regions: Vec<Region>,
    /// Security Hub's aggregation Region, one of `regions`.
    pub home_region: Region,
    /// The folder of journal and evidence.
    pub state_dir: PathBuf,
    /// The ceiling.
    pub mode: Mode,
    /// Whether GuardDuty findings are fetched again before the first change.
    pub confirm_findings: bool,
    /// The role that the hub runs as, where it is told.
    pub role: Option<Arn>,
    /// A narrow role for changes in the hub's account; `None`: its own credentials.
    pub action_role: Option<String>,
}

/// The role in member accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spoke {
    /// Its name.
    pub role_name: String,
    /// The external id, `{account}` not yet replaced.
    pub external_id: String,
}

impl Spoke {
    /// The role's ARN in an account of a partition (`aws`, `aws-cn`, …).
    #[must_use]
    pub fn role_arn(&self, partition: &str, account: &AccountId) -> String {
        format!("arn:{partition}:iam::{account}:role/{}", self.role_name)
    }

    /// The external id for an account.
    #[must_use]
    pub fn external_id_for(&self, account: &AccountId) -> String {
        self.external_id.replace("{account}", account.as_str())
    }
}

/// Hard caps: resources changed in an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// In one account.
    pub changes_per_account_hour: u32,
    /// In the whole organization.
    pub changes_per_organization_hour: u32,
}

impl From<Caps> for cordon_shared::gate::Caps {
    fn from(caps: Caps) -> Self {
        Self { per_account_hour: caps.changes_per_account_hour, per_organization_hour: caps.changes_per_organization_hour }
    }
}

/// How much is done at the same time. None is zero, and none is greater than the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// In the organization.
    pub organization_slots: u32,
    /// In one account.
    pub account_slots: u32,
    /// In one account and Region.
    pub cell_slots: u32,
    /// How long one attempt of a call may take.
    pub attempt_timeout: SignedDuration,
}

/// The queue of findings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Its URL.
    pub url: String,
    /// Where unusable messages go.
    pub dead_letter_url: Option<String>,
    /// Receivers at once.
    pub receivers: u32,
}

/// Where policies come from, and by which clocks they reckon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// A folder of policies beside the built-in ones.
    pub dir: Option<PathBuf>,
    /// The time zone of `hour` and `weekday`.
    pub time_zone: TimeZone,
}

/// A known source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its network.
    pub net: IpNet,
    /// The last day it counts.
    pub until: Date,
    /// Who it is.
    pub why: String,
}

/// A place where logs are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logs {
    /// What kind.
    pub kind: LogKind,
    /// The group's name; `{instance}` and `{account}` are to be replaced.
    pub group: String,
    /// The stream's name, likewise; `None`: all streams.
    pub stream: Option<String>,
    /// The account that has the group; `None`: the subject's own.
    pub account: Option<AccountId>,
    /// The Region that has the group; `None`: the subject's own.
    pub region: Option<Region>,
}

impl Config {
    /// The KMS key for copies of a Region's snapshots; `None`: none are made.
    #[must_use]
    pub fn copy_key_in(&self, region: &Region) -> Option<String> {
        self.copy_key.as_ref().map(|key| key.replace("{region}", region.as_str()))
    }

    /// Reads `path`, or [`DEFAULT_FILE`] in the working directory.
    ///
    /// # Errors
    /// When there is no such file, it cannot be read, or anything in it is wrong.
    pub fn load(path: Option<&Path>, clock: &dyn Clock) -> Result<(Self, Vec<Warning>), ConfigError> {
        let path = path.unwrap_or_else(|| Path::new(DEFAULT_FILE));
        let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => ConfigError::Missing { path: path.to_owned() },
            std::io::ErrorKind::InvalidData => ConfigError::Unreadable { path: path.to_owned(), why: "it is not UTF-8 text".to_owned() },
            _ => ConfigError::Unreadable { path: path.to_owned(), why: error.to_string() },
        })?;
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        Self::parse(&text, &path.display().to_string(), folder, clock)
    }

    /// Reads a configuration's text. `file` is what messages call it, `folder` what its relative paths count from.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of the text.
    pub fn parse(text: &str, file: &str, folder: &Path, clock: &dyn Clock) -> Result<(Self, Vec<Warning>), ConfigError> {
        let problems = problem::Problems::new(file, text);
        match toml::from_str::<File>(text) {
            Ok(tree) => check::check(&tree, problems, folder, clock.now()),
            Err(error) => Err(problems.unread(&error)),
        }
    }

    /// The JSON Schema of `cordon.toml`, as it stands in `docs/config.schema.json`.
    #[must_use]
    pub fn schema() -> serde_json::Value {
        cordon_shared::words::canonical(schemars::schema_for!(File).to_value())
    }

    /// The known networks.
    #[must_use]
    pub fn known_nets(&self) -> Vec<IpNet> {
        self.known.iter().map(|known| known.net).collect()
    }
}

#[cfg(test)]
mod tests;
