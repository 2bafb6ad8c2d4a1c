//! `ec2.disable-instance-metadata`: turns the metadata endpoint of an instance off, so that it gets no fresh credentials of its role.
//!
//! Only `HttpEndpoint` is changed; the other options are recorded, and AWS keeps what a request does not name. Credentials that were
//! handed out before stay valid until they expire: this cuts the source, not the sessions.

use aws_sdk_ec2::types::{Instance, InstanceMetadataEndpointState};
use cordon_shared::plan::{Change as Difference, ChangeKey, Plan as Planned, Risk, Seat, Verdict};
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::instance::{READ_BACK, living, not_read_back, subject};
use crate::{
    action::{ActionError, ApplyError, Change, Cx, Plan, Progress, Undo, Write, classify},
    permission::{Bindings, Permission},
};

/// Turns the metadata endpoint of an instance off.
#[derive(Debug, Clone, Copy)]
pub struct DisableInstanceMetadata;

const NAME: &str = "ec2.disable-instance-metadata";
const MODIFY: &str = "ec2:ModifyInstanceMetadataOptions";
const ATTRIBUTE: &str = "metadata HttpEndpoint";
const OFF: &str = "disabled";

/// Which instance.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The instance (`i-…`).
    pub instance: String,
    /// Also where another controller (EKS, ECS, Elastic Beanstalk, …) runs it.
    #[serde(default)]
    pub even_if_managed: bool,
}

/// The metadata options of an instance, by AWS's names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Options {
    /// `applied`, or `pending` while a running instance takes a change over.
    pub state: String,
    /// `optional` or `required`.
    pub http_tokens: String,
    /// How many hops an answer may take.
    pub http_put_response_hop_limit: i32,
    /// `enabled` or `disabled`.
    pub http_endpoint: String,
    /// `enabled` or `disabled`.
    pub http_protocol_ipv6: String,
    /// `enabled` or `disabled`.
    pub instance_metadata_tags: String,
}

impl From<&Instance> for Options {
    /// What AWS does not say is its default
    /// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstanceMetadataOptionsRequest.html>).
    fn from(instance: &Instance) -> Self {
        let options = instance.metadata_options();
        let text = |found: Option<&str>, default: &str| found.unwrap_or(default).to_owned();
        Self {
            state: text(options.and_then(|options| Some(options.state()?.as_str())), "applied"),
            http_tokens: text(options.and_then(|options| Some(options.http_tokens()?.as_str())), "optional"),
            http_put_response_hop_limit: options.and_then(|options| options.http_put_response_hop_limit()).unwrap_or(1),
            http_endpoint: text(options.and_then(|options| Some(options.http_endpoint()?.as_str())), "enabled"),
            http_protocol_ipv6: text(options.and_then(|options| Some(options.http_protocol_ipv6()?.as_str())), OFF),
            instance_metadata_tags: text(options.and_then(|options| Some(options.instance_metadata_tags()?.as_str())), OFF),
        }
    }
}

impl Options {
    fn is_off(&self) -> bool {
        self.http_endpoint == OFF
    }

    /// What somebody changed besides the endpoint since these were recorded.
    fn differs(&self, now: &Self) -> Option<String> {
        let pairs = [
            ("HttpTokens", &self.http_tokens, &now.http_tokens),
            ("HttpProtocolIpv6", &self.http_protocol_ipv6, &now.http_protocol_ipv6),
            ("InstanceMetadataTags", &self.instance_metadata_tags, &now.instance_metadata_tags),
        ];
        let changed = |(name, before, now): &(&str, &String, &String)| {
            (before != now).then(|| format!("somebody else changed {name} from {before} to {now}"))
        };
        let hops = (self.http_put_response_hop_limit, now.http_put_response_hop_limit);
        let hops = (hops.0 != hops.1).then(|| format!("somebody else changed HttpPutResponseHopLimit from {} to {}", hops.0, hops.1));
        pairs.iter().find_map(changed).or(hops)
    }
}

/// All that undo needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Before {
    instance: String,
    options: Options,
}

/// What was done.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The endpoint before: `enabled`.
    pub was: String,
    /// The endpoint now: `disabled`.
    pub now: String,
    /// `pending` while the instance takes it over, then `applied`.
    pub state: String,
}

fn difference(arn: &str, before: &str, after: &str) -> Difference {
    Difference { resource: arn.to_owned(), attribute: ATTRIBUTE.to_owned(), before: json!(before), after: json!(after) }
}

/// How a set of options, read now, stands to the change. `running`: a change of a stopped instance is taken over when it starts
/// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyInstanceMetadataOptions.html>), so it stays `pending`.
fn verdict(before: &Options, now: &Options, running: bool) -> Verdict {
    if let Some(detail) = before.differs(now) {
        return Verdict::Drifted { detail: format!("{detail}; the endpoint is {}", now.http_endpoint) };
    }
    match (now.is_off(), now.state.as_str()) {
        (false, _) => Verdict::NotInEffect { detail: "the metadata endpoint is still on".to_owned() },
        (true, "pending") if running => {
            Verdict::NotInEffect { detail: "the instance has not taken it over yet (State is pending)".to_owned() }
        }
        (true, _) => Verdict::InEffect,
    }
}

impl Change for DisableInstanceMetadata {
    const NAME: &'static str = NAME;
    const ABOUT: &'static str = "Turns the metadata endpoint of an instance off: it gets no fresh credentials of its role";
    const RISK: Risk = Risk::Disruptive;
    const SEAT: Seat = Seat::Member;
    // https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
    const READS: &'static [Permission] = &[Permission::new("ec2:DescribeInstances", "*")];
    const WRITES: &'static [Permission] = &[Permission::new(MODIFY, "arn:{partition}:ec2:{region}:{account}:instance/{instance}")];
    const SETTLE: SignedDuration = SignedDuration::from_secs(60);

    type Params = Params;
    type Before = Before;
    type Ticket = ();
    type Outcome = Outcome;

    fn bind(&self, _with: &Params, before: &Before) -> Bindings {
        Bindings::new().with("instance", [before.instance.clone()])
    }

    async fn plan(&self, cx: Cx<'_>, with: &Params) -> Result<Plan<Before>, ActionError> {
        let id = &with.instance;
        let mut plan = Planned::default();
        let (machine, instance) = match subject(cx, id, with.even_if_managed, &mut plan).await? {
            Ok(found) => found,
            Err(none) => return Ok(none),
        };
        let options = Options::from(&instance);
        let arn = cx.ec2_arn(&format!("instance/{id}"));
        if options.is_off() {
            plan.already.push(difference(&arn, OFF, OFF));
        } else {
            plan.changes.push(difference(&arn, &options.http_endpoint, OFF));
        }
        plan.notes.push(match instance.iam_instance_profile().and_then(|profile| profile.arn()) {
            Some(profile) => format!(
                "credentials that {id} was given before (instance profile {profile}) stay valid until they expire, up to 6 hours, unless older sessions are denied"
            ),
            None => format!("{id} has no instance profile: there are no credentials of a role at its metadata endpoint"),
        });
        plan.notes.push(format!("software on {id} that needs its metadata, such as agents and start-up scripts, goes without it"));
        if machine.state != "running" {
            plan.notes.push(format!("{id} is {}: the change is taken over when it starts", machine.state));
        }
        plan.touches.insert(arn);
        Ok(Plan::Ready { before: Before { instance: id.clone(), options }, plan })
    }

    async fn apply(&self, cx: Cx<'_>, write: Write<'_>, _with: &Params, before: &Before) -> Result<Progress<(), Outcome>, ApplyError> {
        let id = &before.instance;
        let Some((_, instance)) = living(&cx.read.ec2(), id).await? else { return Err(gone(id).into()) };
        let now = Options::from(&instance);
        let state = if now.is_off() { now.state } else { set(write, id, InstanceMetadataEndpointState::Disabled).await? };
        Ok(Progress::Done(Outcome { was: before.options.http_endpoint.clone(), now: OFF.to_owned(), state }))
    }

    async fn verify(&self, cx: Cx<'_>, _with: &Params, before: &Before) -> Result<Verdict, ActionError> {
        let found = living(&cx.read.ec2(), &before.instance).await?;
        Ok(found.map_or_else(
            || Verdict::Drifted { detail: format!("{} was terminated", before.instance) },
            |(machine, instance)| verdict(&before.options, &Options::from(&instance), machine.state == "running"),
        ))
    }

    async fn undo(&self, cx: Cx<'_>, write: Write<'_>, _with: &Params, before: &Before, only: &[ChangeKey]) -> Result<Undo, ApplyError> {
        let id = &before.instance;
        let arn = cx.ec2_arn(&format!("instance/{id}"));
        let wanted = only.iter().any(|key| key.resource == arn && key.attribute == ATTRIBUTE);
        // Of an instance that was terminated there is nothing to restore.
        let Some((_, instance)) = living(&cx.read.ec2(), id).await?.filter(|_| wanted && !before.options.is_off()) else {
            return Ok(Undo::Restored(Vec::new()));
        };
        let now = Options::from(&instance);
        if let Some(why) = before.options.differs(&now) {
            return Ok(Undo::ByHand(vec![format!(
                "{id}: {why}, and its metadata endpoint is {}. If it shall be on with the options that it has now, in account {}: aws ec2 modify-instance-metadata-options --region {} --instance-id {id} --http-endpoint enabled",
                now.http_endpoint, cx.cell.account, cx.cell.region
            )]));
        }
        if !now.is_off() {
            return Ok(Undo::Restored(Vec::new()));
        }
        set(write, id, InstanceMetadataEndpointState::from(before.options.http_endpoint.as_str())).await?;
        for wait in READ_BACK {
            tokio::time::sleep(wait).await;
            let now = living(&cx.read.ec2(), id).await.map_err(|error| ApplyError::after(1, error))?;
            if now.is_none_or(|(_, instance)| Options::from(&instance).http_endpoint == before.options.http_endpoint) {
                return Ok(Undo::Restored(vec![difference(&arn, OFF, &before.options.http_endpoint)]));
            }
        }
        let message = format!("the metadata endpoint of {id} was turned on and is still read as off");
        Err(ApplyError::after(1, not_read_back(MODIFY, message)))
    }
}

fn gone(id: &str) -> ActionError {
    ActionError::Gone { what: id.to_owned(), message: "the instance was terminated".to_owned() }
}

/// Sets the endpoint and nothing else; gives the state that AWS answers.
async fn set(write: Write<'_>, id: &str, endpoint: InstanceMetadataEndpointState) -> Result<String, ActionError> {
    let call = write.aws.ec2().modify_instance_metadata_options().instance_id(id).http_endpoint(endpoint);
    let answer = call.send().await.map_err(|error| classify(MODIFY, error))?;
    let state = answer.instance_metadata_options().and_then(|options| options.state());
    Ok(state.map_or_else(|| "pending".to_owned(), |state| state.as_str().to_owned()))
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::{HttpTokensState, InstanceMetadataOptionsResponse, InstanceMetadataOptionsState};

    use super::*;

    fn options(endpoint: &str, state: &str) -> Options {
        let response = InstanceMetadataOptionsResponse::builder()
            .state(InstanceMetadataOptionsState::from(state))
            .http_endpoint(InstanceMetadataEndpointState::from(endpoint))
            .http_tokens(HttpTokensState::Required)
            .http_put_response_hop_limit(2)
            .build();
        Options::from(&Instance::builder().metadata_options(response).build())
    }

    #[test]
    fn all_options_are_recorded_by_the_names_of_aws() {
        let before = Before { instance: "i-1".to_owned(), options: options("enabled", "applied") };
        assert_eq!(
            serde_json::to_value(&before).unwrap()["options"],
            json!({
                "State": "applied", "HttpTokens": "required", "HttpPutResponseHopLimit": 2, "HttpEndpoint": "enabled",
                "HttpProtocolIpv6": "disabled", "InstanceMetadataTags": "disabled",
            })
        );
    }

    #[test]
    fn an_endpoint_that_a_running_instance_has_not_taken_over_is_not_off_yet() {
        let before = options("enabled", "applied");
        assert!(matches!(verdict(&before, &before, true), Verdict::NotInEffect { .. }));
        assert!(matches!(verdict(&before, &options(OFF, "pending"), true), Verdict::NotInEffect { .. }));
        assert_eq!(verdict(&before, &options(OFF, "applied"), true), Verdict::InEffect);
        // A stopped instance takes it over when it starts.
        assert_eq!(verdict(&before, &options(OFF, "pending"), false), Verdict::InEffect);
    }

    #[test]
    fn options_that_somebody_else_changed_are_drift_whatever_the_endpoint_is() {
        let before = options("enabled", "applied");
        for endpoint in ["enabled", OFF] {
            let now = Options { http_tokens: "optional".to_owned(), ..options(endpoint, "applied") };
            assert!(matches!(verdict(&before, &now, true), Verdict::Drifted { .. }));
            let now = Options { http_put_response_hop_limit: 64, ..options(endpoint, "applied") };
            assert!(matches!(verdict(&before, &now, true), Verdict::Drifted { .. }));
        }
    }
}
