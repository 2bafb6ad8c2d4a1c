//! `ec2.find-instance`: in which Region an instance is, and which role its sessions are of.
//!
//! A finding about the credentials of an instance comes from where they were used, which need not be where the instance runs
//! (<https://docs.aws.amazon.com/guardduty/latest/ug/guardduty_finding-types-iam.html>, `InstanceCredentialExfiltration`): its Region is
//! looked up, never assumed.

use std::collections::BTreeSet;

use cordon_shared::{evidence::Item, id::Region, plan::Seat};
use futures::{StreamExt as _, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{super::iam::deny_older_sessions::role::role_of_profile, look::filter, record_all::capture::Capture};
use crate::{
    action::{ActionError, Cx, Found, Probe, classify},
    permission::Permission,
};

/// How many Regions are asked at the same time.
const AT_A_TIME: usize = 8;

/// Looks an instance up in every configured Region.
#[derive(Debug, Clone, Copy)]
pub struct FindInstance;

/// Which instance.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The instance (`i-…`).
    pub instance: String,
    /// Where it is looked for. Without them: in every configured Region.
    #[serde(default)]
    pub regions: Option<Vec<Region>>,
}

/// Where it is.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The instance.
    pub instance: String,
    /// Its Region; `None`: in none of those that were looked in.
    pub region: Option<String>,
    /// Its state.
    pub state: Option<String>,
    /// The role of its profile.
    pub role: Option<RoleFound>,
    /// The ARN of its instance profile.
    pub profile: Option<String>,
    /// Regions that answered.
    pub looked_in: BTreeSet<String>,
    /// Regions that could not be asked, and why.
    pub not_looked_in: Vec<Unread>,
}

/// A role.
#[derive(Debug, Clone, Serialize)]
pub struct RoleFound {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
}

/// A Region that could not be asked.
#[derive(Debug, Clone, Serialize)]
pub struct Unread {
    /// The Region.
    pub region: String,
    /// Why.
    pub why: String,
}

/// The instance as a Region described it.
struct Seen {
    state: String,
    profile: Option<String>,
    /// AWS's answers, byte for byte.
    answers: Vec<Vec<u8>>,
}

impl Probe for FindInstance {
    const NAME: &'static str = "ec2.find-instance";
    const ABOUT: &'static str = "Finds the Region that an instance is in, and the role of its instance profile";
    const SEAT: Seat = Seat::Member;
    // https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
    // https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsidentityandaccessmanagementiam.html
    const READS: &'static [Permission] = &[
        Permission::new("ec2:DescribeInstances", "*"),
        Permission::new("iam:GetInstanceProfile", "arn:{partition}:iam::{account}:instance-profile/*"),
    ];

    type Params = Params;
    type Outcome = Outcome;

    async fn run(&self, cx: Cx<'_>, with: &Params) -> Result<Found<Outcome>, ActionError> {
        let id = with.instance.as_str();
        let regions: BTreeSet<Region> = with.regions.as_deref().unwrap_or(cx.regions).iter().cloned().collect();
        let mut outcome = Outcome {
            instance: id.to_owned(),
            region: None,
            state: None,
            role: None,
            profile: None,
            looked_in: BTreeSet::new(),
            not_looked_in: Vec::new(),
        };
        let answers: Vec<(Region, Result<Option<Seen>, ActionError>)> = stream::iter(regions)
            .map(|region| async move {
                let answer = look(cx, &region, id).await;
                (region, answer)
            })
            .buffered(AT_A_TIME)
            .collect()
            .await;
        let (mut seen, mut passing) = (None, None);
        for (region, answer) in answers {
            match answer {
                Ok(here) => {
                    outcome.looked_in.insert(region.to_string());
                    seen = seen.or_else(|| here.map(|here| (region, here)));
                }
                Err(error @ (ActionError::Stopped(_) | ActionError::Session(_) | ActionError::Bug(_))) => return Err(error),
                Err(error) => {
                    outcome.not_looked_in.push(Unread { region: region.to_string(), why: error.to_string() });
                    passing = passing.or_else(|| Some(error).filter(ActionError::may_pass));
                }
            }
        }
        if let (None, Some(error)) = (&seen, passing) {
            // It may be there: the probe is tried again as a whole.
            return Err(error);
        }
        let mut evidence = Vec::new();
        let about = match &seen {
            Some((region, _)) => format!("arn:{}:ec2:{region}:{}:instance/{id}", region.partition(), cx.cell.account),
            None => id.to_owned(),
        };
        if let Some((region, here)) = seen {
            for bytes in here.answers {
                let item = Item { kind: "describe-instances".to_owned(), about: about.clone(), media_type: "text/xml".to_owned(), bytes };
                evidence.push(cx.evidence.put(item).await?);
            }
            outcome.region = Some(region.to_string());
            outcome.state = Some(here.state);
            if let Some(arn) = &here.profile {
                outcome.role = role_of_profile(&cx.read.iam(), arn).await?.map(|(name, arn)| RoleFound { name, arn });
            }
            outcome.profile = here.profile;
        }
        // Also that it is nowhere is a statement.
        evidence.push(cx.keep("find-instance", &about, &outcome).await?);
        Ok(Found { outcome, evidence })
    }
}

/// The instance as this Region describes it; `None` where it has none of this id.
async fn look(cx: Cx<'_>, region: &Region, id: &str) -> Result<Option<Seen>, ActionError> {
    let capture = Capture::default();
    let client = capture.listen(&cx.read.in_region(region).ec2());
    // By a filter, an id that the Region does not have is no error.
    let pages = client.describe_instances().filters(filter("instance-id", [id])).into_paginator().items().send();
    let found = pages.collect::<Result<Vec<_>, _>>().await.map_err(|error| classify("ec2:DescribeInstances", error))?;
    let instance = found.iter().flat_map(|reservation| reservation.instances()).next();
    Ok(instance.map(|instance| Seen {
        state: instance.state().and_then(|state| state.name()).map_or_else(|| "unknown".to_owned(), |name| name.as_str().to_owned()),
        profile: instance.iam_instance_profile().and_then(|profile| profile.arn()).map(str::to_owned),
        answers: capture.take(),
    }))
}
