//! The drills of every action, on moto, through a gateway that enforces trust and policies.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail as tests do")]

use std::collections::BTreeSet;

use cordon_hub::setup;
use cordon_lab::{
    drill::{Break, Drill, Ground, Permit, Scene, World, Yard, scenes_of},
    gateway::Call,
    hand::Credentials,
    shared,
};
use cordon_shared::plan::Verdict;
use cordon_spoke::action::{Action, Kind, Plan, Registry, Undo};
use futures::{StreamExt as _, TryStreamExt as _, future::try_join_all};
use tokio::sync::OnceCell;

/// How many breaks of a scene are tried at the same time.
const AT_A_TIME: usize = 16;

pub(crate) async fn yard() -> &'static Yard {
    static YARD: OnceCell<Yard> = OnceCell::const_new();
    YARD.get_or_init(async || Yard::build(tokio::task::spawn_blocking(shared).await.unwrap().unwrap()).await.unwrap()).await
}

fn registry() -> Registry {
    setup::registry().unwrap()
}

/// The scenes of all actions for which the test holds.
fn scenes(test: impl Fn(&Action) -> bool) -> Vec<Scene> {
    registry().iter().filter(|action| test(action)).flat_map(|action| scenes_of(action.name)).collect()
}

fn changes() -> Vec<Scene> {
    scenes(|action| matches!(action.kind, Kind::Change(_)))
}

/// Does the same with every scene of a change, at the same time.
pub(crate) async fn each(drill: impl AsyncFn(&Yard, Scene)) {
    let yard = yard().await;
    let drill = &drill;
    futures::future::join_all(changes().into_iter().map(|scene| async move { drill(yard, scene).await })).await;
}

pub(crate) fn told(scene: &Scene) -> String {
    format!("{} ({})", scene.action, scene.name)
}

async fn begun<'a>(ground: &'a Ground, world: &'a dyn World, scene: &Scene) -> Drill<'a> {
    Drill::begin(ground, world, scene.action).await.unwrap()
}

/// Planned, applied and read back.
pub(crate) async fn applied<'a>(ground: &'a Ground, world: &'a dyn World, scene: &Scene) -> Drill<'a> {
    let mut drill = begun(ground, world, scene).await;
    drill.plan().await.unwrap();
    drill.apply().await.unwrap().unwrap_or_else(|error| panic!("{}: {error}", told(scene)));
    assert_eq!(drill.recover().await.unwrap(), 0, "{}: it had to be applied again", told(scene));
    drill
}

#[test]
fn every_action_has_a_scene() {
    for action in registry().iter() {
        assert!(
            !scenes_of(action.name).is_empty(),
            "add a drill scene for {}: a world in tests/src/drill/scenes/ and a line in `scenes_of` of tests/src/drill/scenes.rs",
            action.name
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_made_twice_is_one_plan_and_only_reads() {
    each(async |yard, scene| {
        let (ground, world) = (Ground::new(yard).unwrap(), scene.set(yard).await.unwrap());
        let found = world.look().await.unwrap();
        let drill = begun(&ground, world.as_ref(), &scene).await;
        let mark = ground.lab.gateway.ledger().mark();
        let mut digests = BTreeSet::new();
        for _ in 0..2 {
            let Plan::Ready { plan, .. } = drill.look().await.unwrap() else { panic!("{}: no plan", told(&scene)) };
            assert!(!plan.changes.is_empty() && !plan.touches.is_empty(), "{}: {plan:?}", told(&scene));
            digests.insert(drill.digest(&plan));
        }
        assert_eq!(digests.len(), 1, "{}: the same world gives different plans", told(&scene));
        let calls = drill.calls(mark);
        assert!(!calls.is_empty());
        assert_eq!(drill.not_reads(&calls), Vec::<String>::new(), "{}", told(&scene));
        assert_eq!(world.look().await.unwrap(), found, "{}", told(&scene));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn applied_twice_is_applied_once_and_undone_twice_is_undone_once() {
    each(async |yard, scene| {
        let (ground, world) = (Ground::new(yard).unwrap(), scene.set(yard).await.unwrap());
        let found = world.look().await.unwrap();
        let mut drill = begun(&ground, world.as_ref(), &scene).await;
        drill.plan().await.unwrap();
        drill.apply().await.unwrap().unwrap_or_else(|error| panic!("{}: {error}", told(&scene)));
        let after = world.look().await.unwrap();
        assert_ne!(after, found, "{}: it changes nothing", told(&scene));

        let mark = ground.lab.gateway.ledger().mark();
        assert_eq!(drill.verify().await.unwrap(), Verdict::InEffect, "{}", told(&scene));
        assert_eq!(drill.not_reads(&drill.calls(mark)), Vec::<String>::new(), "{}", told(&scene));

        drill.apply_again().await.unwrap().unwrap_or_else(|error| panic!("{}: applied again: {error}", told(&scene)));
        assert_eq!(world.look().await.unwrap(), after, "{}: applied twice is more than once", told(&scene));
        assert_eq!(drill.recover().await.unwrap(), 0);

        for time in ["once", "twice"] {
            let undone = drill.undo().await.unwrap().unwrap_or_else(|error| panic!("{}: undone {time}: {error}", told(&scene)));
            assert!(matches!(undone, Undo::Restored(_)), "{}: undone {time}: {undone:?}", told(&scene));
            let now = world.look().await.unwrap();
            assert!(world.restored(&found, &now), "{}: undone {time}:\n  is    {now}\n  found {found}", told(&scene));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_effect_already_is_not_planned_again() {
    each(async |yard, scene| {
        let (ground, world) = (Ground::new(yard).unwrap(), scene.set(yard).await.unwrap());
        let drill = applied(&ground, world.as_ref(), &scene).await;
        let Plan::Ready { plan, .. } = drill.look().await.unwrap() else { panic!("{}: no plan", told(&scene)) };
        assert_eq!(plan.changes, Vec::new(), "{}", told(&scene));
        assert!(!plan.already.is_empty(), "{}: what is so already has no name that a claim could be laid on", told(&scene));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_seen_and_nobodys_later_change_is_overwritten() {
    each(async |yard, scene| {
        let (ground, world) = (Ground::new(yard).unwrap(), scene.set(yard).await.unwrap());
        let mut drill = applied(&ground, world.as_ref(), &scene).await;
        world.drift().await.unwrap();
        let drifted = world.look().await.unwrap();
        assert!(world.drifted(&drifted), "{}: the scene's drift does nothing: {drifted}", told(&scene));
        let verdict = drill.verify().await.unwrap();
        assert!(matches!(verdict, Verdict::Drifted { .. }), "{}: {verdict:?}", told(&scene));
        for _ in 0..2 {
            let undone = drill.undo().await.unwrap().unwrap_or_else(|error| panic!("{}: {error}", told(&scene)));
            let Undo::ByHand(steps) = undone else { panic!("{}: drift is no matter for a person: {undone:?}", told(&scene)) };
            assert!(!steps.is_empty());
            let now = world.look().await.unwrap();
            assert!(world.drifted(&now), "{}: somebody else's change is overwritten: {now}", told(&scene));
        }
    })
    .await;
}

/// Apply finds that somebody was there between plan and yes: it may fail, it may do its part, but their change stands.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_between_plan_and_apply_stands() {
    each(async |yard, scene| {
        let (ground, world) = (Ground::new(yard).unwrap(), scene.set(yard).await.unwrap());
        let mut drill = begun(&ground, world.as_ref(), &scene).await;
        drill.plan().await.unwrap();
        // An entry that is not there cannot be changed by anybody.
        if world.drift().await.is_err() {
            return;
        }
        let result = drill.apply().await.unwrap();
        let now = world.look().await.unwrap();
        // A note has one place: the plan named what it replaces, and a person may answer faster than that.
        if !scene.action.starts_with("securityhub.") {
            assert!(world.drifted(&now), "{}: {result:?}: {now}", told(&scene));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_session_does_its_steps_writes_on_its_plan_and_nothing_else() {
    each(async |yard, scene| {
        let (ground, world) = (Ground::new(yard).unwrap(), scene.set(yard).await.unwrap());
        let mark = ground.lab.gateway.ledger().mark();
        let mut drill = applied(&ground, world.as_ref(), &scene).await;
        drill.undo().await.unwrap().unwrap();
        let calls = drill.calls(mark);
        let (writes, reads): (Vec<Call>, Vec<Call>) = calls.into_iter().partition(|call| call.write);
        assert!(!writes.is_empty(), "{}", told(&scene));
        assert_eq!(drill.not_writes(&writes), Vec::<String>::new(), "{}", told(&scene));
        assert_eq!(drill.not_reads(&reads), Vec::<String>::new(), "{}", told(&scene));
        // Reads are never made with the right to change, nor the other way round.
        let keys = |calls: &[Call]| calls.iter().map(|call| call.access_key.clone()).collect::<BTreeSet<_>>();
        assert!(keys(&writes).is_disjoint(&keys(&reads)), "{}", told(&scene));

        let cell = world.cell();
        for key in keys(&writes) {
            let session = ground.lab.gateway.sessions().get(&key).unwrap();
            let identity = session.principal.source_identity.clone().unwrap_or_default();
            assert!(identity.starts_with("cordon-inc-"), "{}: {identity}", told(&scene));
            assert_eq!(session.principal.tags["cordon:step"], "step");
            // The gateway knows a session by its key; signatures are not its business.
            let stolen = Credentials { access_key: key, secret_key: "not known".to_owned(), token: None };
            let thief = ground.lab.hand.at(&ground.lab.endpoint()).with(&stolen);
            let (account, region) = (cell.account.as_str(), cell.region.as_str());
            let state = world.look().await.unwrap();
            for trespass in world.trespasses() {
                let result = thief.call(account, region, trespass.service, trespass.operation, trespass.params.clone()).await;
                let code = result.as_ref().err().map(|error| error.code.as_str()).unwrap_or_default();
                assert!(
                    matches!(code, "UnauthorizedOperation" | "AccessDenied" | "AccessDeniedException"),
                    "{}: {trespass:?} is not denied: {result:?}",
                    told(&scene)
                );
            }
            assert_eq!(world.look().await.unwrap(), state, "{}", told(&scene));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_plan_fits_its_session_policies_or_is_refused() {
    let yard = yard().await;
    for scene in changes() {
        let (mut refused, mut split, mut one_at_a_time) = (false, false, false);
        for size in [1, 15, 30] {
            let Some(world) = scene.crowd(yard, size).await.unwrap() else {
                one_at_a_time = true;
                break;
            };
            let ground = Ground::new(yard).unwrap();
            let drill = begun(&ground, world.as_ref(), &scene).await;
            match drill.look().await.unwrap() {
                Plan::Ready { plan, .. } => {
                    assert!(!refused, "{}: {size} fit and fewer do not", told(&scene));
                    assert_eq!(plan.touches.len(), size, "{}: {plan:?}", told(&scene));
                    let scopes = drill.policies(&plan).unwrap();
                    assert!(scopes.iter().all(|scope| scope.policy.chars().count() <= cordon_spoke::permission::SESSION_POLICY_LIMIT));
                    split |= scopes.len() > 1;
                }
                Plan::Refuse { code, why } => {
                    assert_eq!(code, "too-many-resources", "{}: {size}: {why}", told(&scene));
                    refused = true;
                }
                other => panic!("{}: {size}: {other:?}", told(&scene)),
            }
        }
        assert!(refused || split || one_at_a_time, "{}: 30 resources still fit", told(&scene));
    }
}

/// Breaks the scenes of an action at each of their calls, in every way.
async fn broken_everywhere(action: &str) {
    let yard = yard().await;
    for scene in scenes_of(action) {
        let scene = &scene;
        let breaks = futures::stream::iter(Break::ALL).map(|how| scene.break_everywhere(yard, how)).buffer_unordered(AT_A_TIME);
        let broken: Vec<_> = breaks.try_collect().await.unwrap_or_else(|error| panic!("{error}"));
        for broken in broken {
            assert!(broken.applies > 0 && (broken.undos > 0 || scene.keeps), "{}: nothing broke: {broken:?}", told(scene));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn close_open_ingress_broken_off_at_every_call_ends_the_same() {
    broken_everywhere("ec2.close-open-ingress").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn block_source_in_nacl_broken_off_at_every_call_ends_the_same() {
    broken_everywhere("ec2.block-source-in-nacl").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn detach_from_service_broken_off_at_every_call_ends_the_same() {
    broken_everywhere("ec2.detach-from-service").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_else_changes_something_broken_off_at_every_call_ends_the_same() {
    let apart = ["ec2.close-open-ingress", "ec2.block-source-in-nacl", "ec2.detach-from-service"];
    let others: BTreeSet<&str> = changes().iter().map(|scene| scene.action).filter(|action| !apart.contains(action)).collect();
    for action in others {
        broken_everywhere(action).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_only_reads_and_finds_the_same_twice() {
    let yard = yard().await;
    let scenes = scenes(|action| matches!(action.kind, Kind::Probe(_)));
    try_join_all(scenes.into_iter().map(|scene| async move {
        let (ground, world) = (Ground::new(yard)?, scene.set(yard).await?);
        let action = ground.action(scene.action)?.clone();
        let Kind::Probe(probe) = &action.kind else { panic!("{} is no probe", action.name) };
        let read = ground.read(&action, world.cell()).await?;
        let permit = Permit::open(&action, world.cell()).await?;
        let state = world.look().await?;
        let mark = ground.lab.gateway.ledger().mark();
        let mut found = Vec::new();
        for _ in 0..2 {
            let cx = ground.cx(world.cell(), &read, permit.run(), permit.step());
            let with = world.with();
            let result = probe.run(cx, &with).await.unwrap_or_else(|error| panic!("{}: {error}", told(&scene)));
            assert_eq!(world.misses(&result.outcome), None, "{}", told(&scene));
            assert!(!result.evidence.is_empty(), "{}: it keeps nothing", told(&scene));
            found.push(result.outcome);
        }
        let calls: Vec<Call> = ground.lab.gateway.ledger().since(mark).into_iter().filter(|call| call.service != "sts").collect();
        assert!(!calls.is_empty());
        for call in calls {
            let denied = call.decision.as_ref().filter(|decision| !decision.allowed);
            assert!(denied.is_none(), "{}: {denied:?}", told(&scene));
            assert!(!call.write, "{}: {} changes something", told(&scene), call.permission());
            assert!(
                action.reads.iter().any(|permission| permission.action == call.permission()),
                "{}: {} is not among READS",
                told(&scene),
                call.permission()
            );
        }
        // When it looked is part of what a search for logins answers.
        for outcome in &mut found {
            outcome.as_object_mut().unwrap().remove("window");
        }
        assert_eq!(found[0], found[1], "{}", told(&scene));
        assert_eq!(world.look().await?, state);
        Ok::<_, cordon_lab::LabError>(())
    }))
    .await
    .unwrap_or_else(|error| panic!("{error}"));
}
