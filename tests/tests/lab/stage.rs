//! An instance with a network of its own, and a change that is taken through its life there.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail as tests do")]

use cordon_lab::{
    LabError,
    drill::{Drill, Ground, Trespass, World, Yard},
    organization::Apart,
};
use cordon_shared::{id::CellId, plan::Plan};
use cordon_spoke::action::{Plan as Planned, Undo};
use futures::future::BoxFuture;
use serde_json::{Value, json};

/// What an action is asked, and where. Nothing is known of what it does.
#[derive(Debug)]
pub struct Asked {
    cell: CellId,
    with: Value,
}

impl World for Asked {
    fn cell(&self) -> &CellId {
        &self.cell
    }
    fn with(&self) -> Value {
        self.with.clone()
    }
    fn look(&self) -> BoxFuture<'_, Result<Value, LabError>> {
        Box::pin(async { Ok(Value::Null) })
    }
    fn drift(&self) -> BoxFuture<'_, Result<(), LabError>> {
        Box::pin(async { Ok(()) })
    }
    fn drifted(&self, _: &Value) -> bool {
        false
    }
    fn trespasses(&self) -> Vec<Trespass> {
        Vec::new()
    }
}

/// The instance, in a VPC of its own with both families.
pub struct Stage {
    yard: &'static Yard,
    pub account: String,
    pub region: String,
    pub instance: Apart,
    pub ground: Ground,
}

impl Stage {
    pub async fn new(groups: usize, interfaces: &[&[usize]]) -> Self {
        Self::of_type("t3.micro", groups, interfaces).await
    }

    pub async fn of_type(kind: &str, groups: usize, interfaces: &[&[usize]]) -> Self {
        let yard = crate::drills::yard().await;
        let (account, region) = yard.place();
        let instance = yard.organization.apart(account, region, kind, groups, interfaces).await.unwrap();
        Self { yard, account: account.to_owned(), region: region.to_owned(), instance, ground: Ground::new(yard).unwrap() }
    }

    /// What an action is asked about the instance.
    pub fn asked(&self, more: Value) -> Asked {
        let mut with = json!({"instance": self.instance.id});
        with.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Asked { cell: CellId::new(self.account.parse().unwrap(), self.region.parse().unwrap()), with }
    }

    pub async fn ask(&self, operation: &str, params: Value) -> Value {
        let answer = self.yard.organization.hand.call(&self.account, &self.region, "ec2", operation, params).await;
        answer.unwrap_or_else(|error| panic!("{operation}: {error}"))
    }

    pub async fn seed(&self, items: Vec<Value>) {
        self.yard.seed(&self.account, &self.region, "ec2-attributes", items).await.unwrap();
    }

    /// The groups of each interface.
    pub async fn groups(&self) -> Vec<Vec<String>> {
        let mut all = Vec::new();
        for id in &self.instance.interfaces {
            let found = self.ask("describe_network_interfaces", json!({"NetworkInterfaceIds": [id]})).await;
            let groups = found["NetworkInterfaces"][0]["Groups"].as_array().unwrap();
            all.push(groups.iter().map(|group| group["GroupId"].as_str().unwrap().to_owned()).collect());
        }
        all
    }

    /// The isolation groups of the VPC.
    pub async fn isolations(&self) -> Vec<Value> {
        let found = self.ask("describe_security_groups", json!({"Filters": [{"Name": "vpc-id", "Values": [self.instance.vpc]}]})).await;
        let all = found["SecurityGroups"].as_array().unwrap().iter();
        all.filter(|group| group["GroupName"].as_str().unwrap().starts_with("cordon-")).cloned().collect()
    }

    /// A group of the VPC.
    pub async fn group(&self, name: &str, tags: Value) -> String {
        let mut params = json!({"GroupName": name, "Description": "of the lab", "VpcId": self.instance.vpc});
        if tags.as_array().is_some_and(|tags| !tags.is_empty()) {
            params["TagSpecifications"] = json!([{"ResourceType": "security-group", "Tags": tags}]);
        }
        self.ask("create_security_group", params).await["GroupId"].as_str().unwrap().to_owned()
    }
}

/// The plan, or why there is none.
pub async fn looked(drill: &Drill<'_>) -> Result<Plan, (String, String)> {
    match drill.look().await.unwrap() {
        Planned::Ready { plan, .. } => Ok(plan),
        Planned::Refuse { code, why } => Err((code.to_owned(), why)),
        Planned::Moot { why } => Err(("moot".to_owned(), why)),
    }
}

/// Planned, applied, and read back.
pub async fn applied(drill: &mut Drill<'_>) -> (Plan, Value) {
    let plan = drill.plan().await.unwrap();
    let outcome = drill.apply().await.unwrap().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(drill.recover().await.unwrap(), 0);
    (plan, outcome)
}

/// What a person has to do after an undo.
pub async fn by_hand(drill: &mut Drill<'_>) -> String {
    match drill.undo().await.unwrap().unwrap() {
        Undo::ByHand(steps) => steps.join("\n"),
        Undo::Restored(all) => panic!("nothing is left to a person: {all:?}"),
    }
}

/// Nothing is left to a person.
pub async fn undone(drill: &mut Drill<'_>) {
    let undone = drill.undo().await.unwrap().unwrap();
    assert!(matches!(undone, Undo::Restored(_)), "{undone:?}");
}

pub fn said(plan: &Plan, words: &str) -> bool {
    plan.notes.iter().any(|note| note.contains(words))
}
