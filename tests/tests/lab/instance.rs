//! Changes of an instance itself, in the cases that are not the plain one.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail as tests do")]

#[path = "instance/metadata.rs"]
mod metadata;
#[path = "instance/protect.rs"]
mod protect;
#[path = "instance/swap.rs"]
mod swap;

use cordon_lab::{
    LabError,
    drill::{Drill, Ground, Trespass, World},
    gateway::{Action, Fault, Match},
};
use cordon_shared::{id::CellId, plan::Plan as Planned};
use cordon_spoke::action::Plan;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use crate::drills::yard;

const PROTECT: &str = "ec2.protect-instance";
const METADATA: &str = "ec2.disable-instance-metadata";
const SWAP: &str = "ec2.swap-instance-profile";

/// A cell of the organization, and an instance in it.
#[derive(Debug)]
struct Place {
    cell: CellId,
    id: String,
    even_if_managed: bool,
}

impl World for Place {
    fn cell(&self) -> &CellId {
        &self.cell
    }

    fn with(&self) -> Value {
        if self.even_if_managed { json!({"instance": self.id, "even_if_managed": true}) } else { json!({"instance": self.id}) }
    }

    fn look(&self) -> BoxFuture<'_, Result<Value, LabError>> {
        Box::pin(async { Ok(Value::Null) })
    }

    fn drift(&self) -> BoxFuture<'_, Result<(), LabError>> {
        Box::pin(async { Ok(()) })
    }

    fn drifted(&self, _state: &Value) -> bool {
        false
    }

    fn trespasses(&self) -> Vec<Trespass> {
        Vec::new()
    }
}

impl Place {
    async fn new() -> Self {
        let (account, region) = yard().await.place();
        let cell = CellId::new(account.parse().unwrap(), region.parse().unwrap());
        Self { cell, id: String::new(), even_if_managed: false }
    }

    async fn ask(&self, service: &str, operation: &str, params: Value) -> Value {
        let hand = &yard().await.organization.hand;
        let answer = hand.call(self.cell.account.as_str(), self.cell.region.as_str(), service, operation, params).await;
        answer.unwrap_or_else(|error| panic!("{service} {operation}: {error}"))
    }

    /// The instance that `more` makes of a small one, in a network of its own.
    async fn run(more: Value) -> Self {
        let mut place = Self::new().await;
        let mut params = json!({"ImageId": "ami-12c6146b", "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let made = place.ask("ec2", "run_instances", params).await;
        place.id = made["Instances"][0]["InstanceId"].as_str().unwrap().to_owned();
        place
    }

    async fn tag(&self, key: &str, value: &str) {
        self.ask("ec2", "create_tags", json!({"Resources": [self.id], "Tags": [{"Key": key, "Value": value}]})).await;
    }

    async fn terminate(&self) {
        self.ask("ec2", "terminate_instances", json!({"InstanceIds": [self.id]})).await;
    }

    async fn described(&self) -> Value {
        self.ask("ec2", "describe_instances", json!({"InstanceIds": [self.id]})).await["Reservations"][0]["Instances"][0].clone()
    }

    /// What an action would do.
    async fn plan(&self, action: &str) -> Plan<Value> {
        let ground = Ground::new(yard().await).unwrap();
        Drill::begin(&ground, self, action).await.unwrap().look().await.unwrap()
    }

    async fn ready(&self, action: &str) -> Planned {
        match self.plan(action).await {
            Plan::Ready { plan, .. } => plan,
            other => panic!("{action}: {other:?}"),
        }
    }
}

fn fault(operation: &str, param: &str, code: &str) -> Fault {
    let matching = Match { operation: Some(operation.to_owned()), param: Some(param.to_owned()), write: Some(true), ..Match::default() };
    Fault::new(matching, Action::Deny { code: Some(code.to_owned()), status: Some(400) })
}

fn noted(plan: &Planned, text: &str) -> bool {
    plan.notes.iter().any(|note| note.contains(text))
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_planned_for_an_instance_that_is_terminated_or_was_never_there() {
    let mut place = Place::run(json!({})).await;
    place.terminate().await;
    for action in [PROTECT, METADATA, SWAP] {
        let Plan::Moot { why } = place.plan(action).await else { panic!("{action}") };
        assert!(why.contains("is terminated"), "{why}");
    }
    place.id = "i-0123456789abcdef0".to_owned();
    for action in [PROTECT, METADATA, SWAP] {
        let Plan::Moot { why } = place.plan(action).await else { panic!("{action}") };
        assert_eq!(why, "there is no instance i-0123456789abcdef0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_of_another_controller_is_changed_only_where_the_playbook_says_so() {
    let (place, _) = swap::with_profile().await;
    place.tag("eks:cluster-name", "prod").await;
    for action in [PROTECT, METADATA, SWAP] {
        let Plan::Refuse { code, why } = place.plan(action).await else { panic!("{action}") };
        assert!(code == "run-by-controller" && why.contains("Amazon EKS"), "{code}: {why}");
    }
    let place = Place { even_if_managed: true, ..place };
    for action in [PROTECT, METADATA, SWAP] {
        let plan = place.ready(action).await;
        assert!(!plan.changes.is_empty() && noted(&plan, "is run by Amazon EKS"), "{action}: {plan:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_opt_out_of_an_instance_counts_and_the_instance_counts_once() {
    let (place, _) = swap::with_profile().await;
    place.tag("cordon:opt-out", "all").await;
    let arn = format!("arn:aws:ec2:{}:{}:instance/{}", place.cell.region, place.cell.account, place.id);
    for action in [PROTECT, METADATA, SWAP] {
        let plan = place.ready(action).await;
        let seen: Vec<(&str, &str)> = plan.opt_outs.iter().map(|seen| (seen.resource.as_str(), seen.value.as_str())).collect();
        assert_eq!(seen, [(arn.as_str(), "all")], "{action}");
        assert_eq!(plan.counted(), [arn.clone()].into(), "{action}");
    }
}
