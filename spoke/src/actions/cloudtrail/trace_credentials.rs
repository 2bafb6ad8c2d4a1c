//! `cloudtrail.trace-credentials`: what a credential did, as far as CloudTrail's records show it.

use cordon_shared::plan::Seat;
use serde::Serialize;

use super::{
    search::{self, Horizon, LookedIn, Params, Source},
    summary::Summary,
};
use crate::{
    action::{ActionError, Cx, Found, Probe},
    permission::Permission,
};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Where the records come from.
    pub source: Source,
    /// Where was looked.
    pub looked_in: Vec<LookedIn>,
    /// What can be seen at all.
    pub horizon: Horizon,
    /// What the records add up to.
    #[serde(flatten)]
    pub summary: Summary,
    /// Why nothing is known, where no record could be read: then no events prove nothing.
    pub nothing_known_because: Option<String>,
}

/// The probe.
#[derive(Debug, Clone, Copy, Default)]
pub struct TraceCredentials;

impl Probe for TraceCredentials {
    const NAME: &'static str = "cloudtrail.trace-credentials";
    const ABOUT: &'static str = "Looks up what access keys, an instance's sessions, a user or a session called, in CloudTrail.";
    const SEAT: Seat = Seat::Member;
    const READS: &'static [Permission] = search::READS;
    type Params = Params;
    type Outcome = Outcome;

    async fn run(&self, cx: Cx<'_>, with: &Params) -> Result<Found<Outcome>, ActionError> {
        let found = search::search(Self::NAME, cx, with, false).await?;
        let outcome = Outcome {
            source: found.source,
            looked_in: found.looked_in,
            horizon: found.horizon,
            summary: Summary::of(&found.records),
            nothing_known_because: found.nothing_known_because,
        };
        Ok(Found { outcome, evidence: found.evidence })
    }
}
