//! A whole AWS organization in the lab, built through the hand: with boto3, never with our own code.
//!
//! A management account; a security account that administers GuardDuty and Security Hub for the others and has the queue of findings; member
//! accounts in two OUs. The one thing of Cordon's that is deployed into a member is the spoke role, by CloudFormation and from the template
//! that `cordon infra render` writes. [`Organization::build`] makes it; instances, logs, findings and open groups are added as a test needs
//! them ([`Organization::instance`], [`Organization::open_groups`], [`finding`]), and read back the same way ([`look`]).

mod accounts;
mod apart;
mod cells;
pub mod credential;
pub mod finding;
mod instance;
mod intake;
pub mod look;
pub mod service;
mod settings;
mod spoke;
pub mod trail;
pub mod user;
mod way_in;

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

pub use apart::Apart;
pub use cells::OpenGroup;
pub use instance::{Exposure, Instance, InstanceShape};
pub use intake::Queue;
pub use settings::Settings;
pub use user::{User, UserShape};

use crate::{Hand, HandError, Lab, LabError, Moto, hand::Credentials};

/// The role that Cordon runs as in the security account.
pub const HUB_ROLE: &str = "CordonHub";
/// The role in the management account that may read the organization.
pub const READER_ROLE: &str = "CordonOrgReader";
/// The role in member accounts.
pub const SPOKE_ROLE: &str = "CordonSpoke";
/// The tag that opts out.
pub const OPT_OUT: &str = "cordon:opt-out";

/// How large an organization is, and what is odd about it.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Member accounts, the odd ones among them included.
    pub members: usize,
    /// Regions, the home Region first.
    pub regions: Vec<String>,
    /// The last member but one is opted out by its tag.
    pub opted_out: bool,
    /// The last member has no spoke role.
    pub without_role: bool,
    /// Users with access keys in each member.
    pub users: usize,
    /// Queue, dead-letter queue and rules in the security account.
    pub queue: bool,
}

impl Default for Shape {
    /// Six members in two Regions, one opted out and one without the role, with a queue.
    fn default() -> Self {
        let regions = vec!["us-east-1".to_owned(), "eu-west-1".to_owned()];
        Self { members: 6, regions, opted_out: true, without_role: true, users: 1, queue: true }
    }
}

impl Shape {
    /// The smallest that a response needs: one ordinary member in one Region, no queue.
    #[must_use]
    pub fn small() -> Self {
        Self { members: 1, regions: vec!["us-east-1".to_owned()], opted_out: false, without_role: false, users: 0, queue: false }
    }
}

/// What is odd about a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    Ordinary,
    /// Its account is tagged as opted out.
    OptedOut,
    /// It has no spoke role.
    WithoutRole,
}

/// A member account.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its id.
    pub account: String,
    /// Its name.
    pub name: String,
    /// `Root/Workloads/Production`.
    pub path: String,
    /// What is odd about it.
    pub standing: Standing,
    /// Users and their access keys.
    pub keys: Vec<(String, String)>,
}

/// An organization in the lab.
#[derive(Debug, Clone)]
pub struct Organization {
    /// Straight to moto.
    pub hand: Hand,
    pub(crate) moto: Arc<Moto>,
    /// The management account.
    pub management: String,
    /// The security account.
    pub security: String,
    /// The others.
    pub members: Vec<Member>,
    /// The home Region.
    pub home: String,
    /// All Regions, the home Region first.
    pub regions: Vec<String>,
    /// The security account's GuardDuty detectors, by Region.
    pub detectors: BTreeMap<String, String>,
    /// Where findings arrive.
    pub queue: Option<Queue>,
    /// Whether moto has the lab's extension; without it the organization is seen by its management account only.
    pub extended: bool,
    cells: cells::Cells,
}

impl Organization {
    /// Builds one, in fresh accounts.
    ///
    /// # Errors
    /// The first call that failed.
    pub async fn build(lab: &Lab, shape: &Shape) -> Result<Self, LabError> {
        let Some(home) = shape.regions.first().cloned() else { return Err(LabError::new("an organization needs a Region")) };
        let raised = accounts::raise(lab, shape).await?;
        let mut organization = Self {
            hand: lab.hand.clone(),
            moto: Arc::clone(&lab.moto),
            management: raised.management,
            security: raised.security,
            members: raised.members,
            home,
            regions: shape.regions.clone(),
            detectors: BTreeMap::new(),
            queue: None,
            extended: raised.extended,
            cells: cells::Cells::default(),
        };
        let services = async {
            let detectors = organization.detectors().await?;
            let queue = if shape.queue { Some(organization.make_queue().await?) } else { None };
            Ok::<_, LabError>((detectors, queue))
        };
        let (roles, keys, services) = futures::join!(organization.make_roles(), organization.make_users(shape.users), services);
        roles?;
        let keys = keys?;
        (organization.detectors, organization.queue) = services?;
        for (member, keys) in organization.members.iter_mut().zip(keys) {
            member.keys = keys;
        }
        Ok(organization)
    }

    /// The first member of a standing.
    ///
    /// # Errors
    /// When there is none.
    pub fn member(&self, standing: Standing) -> Result<&Member, LabError> {
        self.ordinary_or(standing, 0)
    }

    /// An ordinary member, counted from 0.
    ///
    /// # Errors
    /// When there are not so many.
    pub fn ordinary(&self, number: usize) -> Result<&Member, LabError> {
        self.ordinary_or(Standing::Ordinary, number)
    }

    fn ordinary_or(&self, standing: Standing, number: usize) -> Result<&Member, LabError> {
        let found = self.members.iter().filter(|member| member.standing == standing).nth(number);
        found.ok_or_else(|| LabError::new(format!("the organization has no member {number} that is {standing:?}")))
    }

    /// The name of an account.
    #[must_use]
    pub fn name_of<'a>(&'a self, account: &'a str) -> &'a str {
        self.members.iter().find(|member| member.account == account).map_or(account, |member| &member.name)
    }

    /// The ARN of the role that Cordon runs as.
    #[must_use]
    pub fn hub_role(&self) -> String {
        format!("arn:aws:iam::{}:role/{HUB_ROLE}", self.security)
    }

    /// The ARN of the role that reads the organization, for `[org] read_role`.
    #[must_use]
    pub fn reader_role(&self) -> String {
        format!("arn:aws:iam::{}:role/{READER_ROLE}", self.management)
    }

    /// Credentials of the hub's role, as an instance or a container would have them: not opened through the gateway.
    ///
    /// # Errors
    /// When moto does not give any.
    pub async fn hub_credentials(&self) -> Result<Credentials, LabError> {
        let more = serde_json::json!({"DurationSeconds": 43200});
        Ok(self.hand.assume(&self.security, &self.home, &self.hub_role(), "cordon", more).await?)
    }

    pub(crate) async fn call(&self, account: &str, region: &str, service: &str, operation: &str, params: Value) -> Result<Value, LabError> {
        call(&self.hand, account, region, service, operation, params).await
    }
}

/// A call whose failure says what was called.
pub(crate) async fn call(
    hand: &Hand,
    account: &str,
    region: &str,
    service: &str,
    operation: &str,
    params: Value,
) -> Result<Value, LabError> {
    let failed = |error: HandError| LabError::new(format!("{service} {operation} in {account}/{region}: {error}"));
    hand.call(account, region, service, operation, params).await.map_err(failed)
}

/// A text of an answer.
pub(crate) fn text(answer: &Value, pointer: &str) -> Result<String, LabError> {
    let found = answer.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    found.ok_or_else(|| LabError::new(format!("there is no text at {pointer} of {answer}")))
}

/// The items of a list of an answer; none where there is no list.
pub(crate) fn items<'a>(answer: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    answer.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

impl From<HandError> for LabError {
    fn from(error: HandError) -> Self {
        Self::new(error.to_string())
    }
}
