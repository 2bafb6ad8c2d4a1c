//! A step whose code panics, from the gate's yes to the state that its incident comes to: an answer that was lost, and no more.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cordon_shared::{
    clock::{Clock as _, SystemClock},
    engine::{Entry, RunState, StepState, View},
    id::IncidentId,
    journal::ops,
    plan::{Change as Difference, ChangeKey, Plan as Planned, Risk, Seat, StepKey, Verdict},
    playbook::Playbook,
};
use cordon_spoke::{
    action::{ActionError, ApplyError, Change, Cx, Plan, Progress, Registry, Undo, Write, change},
    actions,
    aws::organization::{Account, AccountState, OuPath},
    permission::{Bindings, Permission},
};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{Hub, drive};
use crate::{
    config::Config,
    journal::testing::{ACCOUNT, TempDir, arrival, run_id},
    org::AccountFacts,
    policy::Keeper,
    setup::{self, Wanted},
};

/// Nowhere.
const WELL: u8 = 0;
/// In plan.
const PLAN: u8 = 1;
/// In apply, before anything was done: what is read back says so.
const APPLY: u8 = 2;
/// In apply, and in verify: nobody can tell what was done.
const BLIND: u8 = 3;
/// In verify, after it was applied.
const VERIFY: u8 = 4;
/// In undo.
const UNDO: u8 = 5;

/// A change of the hub's that panics at one point and calls nobody.
struct Toy<const WHERE: u8>;

impl<const WHERE: u8> Change for Toy<WHERE> {
    const NAME: &'static str = match WHERE {
        PLAN => "toy.panics-in-plan",
        APPLY => "toy.panics-in-apply",
        BLIND => "toy.panics-in-apply-and-verify",
        VERIFY => "toy.panics-in-verify",
        UNDO => "toy.panics-in-undo",
        _ => "toy.works",
    };
    const ABOUT: &'static str = "Panics";
    const RISK: Risk = Risk::Reversible;
    const SEAT: Seat = Seat::Hub;
    const READS: &'static [Permission] = &[];
    const WRITES: &'static [Permission] = &[Permission::new("securityhub:BatchUpdateFindings", "*")];
    const SETTLE: SignedDuration = SignedDuration::from_secs(1);
    type Params = Value;
    type Before = Value;
    type Ticket = Value;
    type Outcome = Value;

    fn bind(&self, _: &Value, _: &Value) -> Bindings {
        Bindings::new()
    }

    async fn plan(&self, _: Cx<'_>, _: &Value) -> Result<Plan<Value>, ActionError> {
        assert_ne!(WHERE, PLAN, "of the test");
        let (resource, attribute) = ("arn:aws:toy:::one".to_owned(), Self::NAME.to_owned());
        let changes = vec![Difference { resource, attribute, before: json!("off"), after: json!("on") }];
        Ok(Plan::Ready { before: json!({}), plan: Planned { changes, ..Planned::default() } })
    }

    async fn apply(&self, _: Cx<'_>, _: Write<'_>, _: &Value, _: &Value) -> Result<Progress<Value, Value>, ApplyError> {
        assert!(![APPLY, BLIND].contains(&WHERE), "of the test");
        Ok(Progress::Done(json!("done")))
    }

    async fn verify(&self, _: Cx<'_>, _: &Value, _: &Value) -> Result<Verdict, ActionError> {
        assert!(![VERIFY, BLIND].contains(&WHERE), "of the test");
        Ok(if WHERE == APPLY { Verdict::NotInEffect { detail: "it is off".to_owned() } } else { Verdict::InEffect })
    }

    async fn undo(&self, _: Cx<'_>, _: Write<'_>, _: &Value, _: &Value, _: &[ChangeKey]) -> Result<Undo, ApplyError> {
        assert_ne!(WHERE, UNDO, "of the test");
        Ok(Undo::Restored(Vec::new()))
    }
}

/// A hub with these actions besides its own, whose organization holds one account. It calls nobody.
async fn hub(folder: &TempDir) -> Arc<Hub> {
    let text = format!(
        "[hub]\naccount = \"222222222222\"\nregions = [\"us-east-1\"]\nhome_region = \"us-east-1\"\nstate_dir = {:?}\nmode = \"act\"\n\
         confirm_findings = false\n",
        folder.path()
    );
    let (config, _) = Config::parse(&text, "cordon.toml", folder.path(), &SystemClock).unwrap();
    let hub = setup::hub(config, Wanted { what: "test", ..Wanted::default() }).await.unwrap();
    let mut hub = Arc::into_inner(hub).unwrap();
    let toys =
        [change(Toy::<WELL>), change(Toy::<PLAN>), change(Toy::<APPLY>), change(Toy::<BLIND>), change(Toy::<VERIFY>), change(Toy::<UNDO>)];
    hub.registry = Registry::new(actions::all().into_iter().chain(toys)).unwrap();
    hub.policies = Keeper::load(None, &hub.registry).unwrap();
    Arc::new(hub)
}

/// What the hub would have read of its organization just now.
async fn organization(hub: &Hub) {
    let account = Account { id: ACCOUNT.parse().unwrap(), name: "shop".to_owned(), state: AccountState::Active, joined: None };
    let read_at = SystemClock.now();
    let (path, tags, unit_tags, opt_outs) = (OuPath::default(), BTreeMap::new(), BTreeMap::new(), Vec::new());
    hub.org.know(AccountFacts { account, path, tags, unit_tags, opt_outs, read_at }).await;
}

/// Opens an incident whose one step does this, and then a second one that works.
async fn open(hub: &Hub, number: u128, action: &str, more: &str) -> IncidentId {
    let source = format!(
        "name = \"toy\"\ntitle = \"Toy\"\nsubject = \"instance\"\n[[match]]\ntype = [\"Toy\"]\n[[steps]]\nid = \"first\"\naction = \"{action}\"\n{more}\n\
         [[steps]]\nid = \"beside\"\naction = \"toy.works\"\nneeds = []\n"
    );
    let mut arrival = arrival(&format!("f-{number}"), &format!("i-{number}"), run_id(number), SystemClock.now(), 20);
    let digest = Playbook::parse(&source, "toy.toml").unwrap().digest;
    if let Some(Entry::Opened { source: text, digest: of_text, .. }) = arrival.opening.as_mut().map(|opening| &mut opening.entry) {
        (*text, *of_text) = (source, digest);
    }
    let (now, pace) = (hub.clock.now(), hub.pace);
    hub.journal.with(move |tx| ops::accept(tx, &arrival, now, pace)).await.unwrap();
    run_id(number)
}

fn first(view: &View) -> &StepState {
    &view.step(&StepKey::first("first")).unwrap().state
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_panics_is_for_a_person_and_never_done_and_other_incidents_go_on() {
    let folder = TempDir::new();
    let hub = hub(&folder).await;
    organization(&hub).await;
    let names =
        ["toy.panics-in-plan", "toy.panics-in-apply", "toy.panics-in-apply-and-verify", "toy.panics-in-verify", "toy.panics-in-undo"];
    let mut runs = BTreeMap::new();
    for (name, number) in names.into_iter().chain(["toy.works"]).zip(1..) {
        let more = if name == "toy.panics-in-undo" { "ttl = \"1s\"" } else { "" };
        runs.insert(name, open(&hub, number, name, more).await);
    }
    let at_rest = async |hub: &Hub| {
        organization(hub).await;
        for id in runs.values() {
            let row = hub.store.run(*id).await?;
            if row.is_none_or(|row| [RunState::Running, RunState::Contained].contains(&row.state)) {
                return Ok(false);
            }
        }
        Ok(true)
    };
    let driven = setup::holding(&hub, drive(Arc::clone(&hub), at_rest));
    tokio::time::timeout(Duration::from_secs(100), driven).await.unwrap().unwrap();

    for (name, id) in &runs {
        let view = hub.store.view(*id).await.unwrap();
        let state = hub.store.run(*id).await.unwrap().unwrap().state;
        let told = format!("{name}: {state}, {:?}", first(&view));
        let beside = &view.step(&StepKey::first("beside")).unwrap().state;
        assert!(matches!(beside, StepState::InEffect), "{told}, beside it: {beside:?}");
        match *name {
            "toy.works" => assert!(state == RunState::Closed && matches!(first(&view), StepState::InEffect), "{told}"),
            "toy.panics-in-plan" => {
                let good = matches!(first(&view), StepState::Held(hold) if hold.code == "defect" && hold.why.contains("please report it"));
                assert!(state == RunState::Held && good, "{told}");
            }
            "toy.panics-in-apply" => {
                let good = matches!(first(&view), StepState::Held(hold) if hold.code == "not-in-effect" && hold.why.contains("it is off"));
                assert!(state == RunState::Held && good, "{told}");
            }
            "toy.panics-in-undo" => assert!(state == RunState::Stuck, "{told}"),
            _ => assert!(
                state == RunState::Stuck && matches!(first(&view), StepState::Stuck { why } if why.contains("please report it")),
                "{told}"
            ),
        }
        let entries = hub.store.entries(*id).await.unwrap();
        let applied = |entry: &Entry| matches!(entry, Entry::Applied { step, .. } if step.id == "first");
        let verified = |entry: &Entry| matches!(entry, Entry::Verified { step, verdict: Verdict::InEffect, .. } if step.id == "first");
        let (applied, verified) = (
            entries.iter().filter(|sealed| applied(&sealed.entry)).count(),
            entries.iter().filter(|sealed| verified(&sealed.entry)).count(),
        );
        let wanted = match *name {
            "toy.works" | "toy.panics-in-undo" => (1, 1),
            "toy.panics-in-verify" => (1, 0),
            _ => (0, 0),
        };
        assert_eq!((applied, verified), wanted, "{told}");
    }
}
