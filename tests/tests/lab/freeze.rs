//! `cordon freeze` and `cordon thaw`: what is stopped, from which process, for how long; and what Cordon freezes by itself.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail as tests do")]

#[path = "freeze/alarm.rs"]
mod alarm;
#[path = "freeze/hard.rs"]
mod hard;
#[path = "freeze/midway.rs"]
mod midway;
#[path = "freeze/scope.rs"]
mod scope;

use cordon_lab::{cordon::Output, gateway::Call, organization::Instance};
use serde_json::{Value, json};

use crate::respond::world::{World, hold, id, of, one, state, step, steps, text};

impl World {
    /// `cordon freeze` that does what it is told.
    pub(crate) async fn freeze(&self, more: &[&str]) -> Value {
        let output = self.cordon(&[&["freeze", "--why", "a drill", "--format", "json"], more].concat(), "").await;
        assert_eq!(output.code, Some(0), "{output:?}");
        output.objects().remove(0)
    }

    /// `cordon thaw --yes` that does what it is told.
    async fn thaw(&self, more: &[&str]) -> Output {
        let output = self.cordon(&[&["thaw", "--yes"], more].concat(), "").await;
        assert_eq!(output.code, Some(0), "{output:?}");
        output
    }

    /// What stands.
    async fn frozen(&self, more: &[&str]) -> Vec<Value> {
        let output = self.cordon(&[&["freeze", "list", "--format", "json"], more].concat(), "").await;
        assert_eq!(output.code, Some(0), "{output:?}");
        output.objects()
    }

    /// Calls that change something, notes on findings among them.
    fn changing(&self) -> Vec<Call> {
        self.gateway().ledger().find(|call| call.write && call.service != "sts")
    }

    /// Gives the same input once more, so that what is due is driven, and shows the incident as it is then.
    async fn go_on(&self, instance: &Instance, run: &str) -> Value {
        let output = self.respond(&self.attack(instance)).await;
        assert_eq!(output.code, Some(0), "{output:?}");
        self.shown(run).await
    }

    async fn shown(&self, run: &str) -> Value {
        self.incident(&["incident", "show", run]).await
    }
}

/// Held by a freeze, every change of it.
fn assert_held(incident: &Value, answer: &str) {
    assert_eq!((state(incident), text(incident, "/reason_code")), ("held", "frozen"), "{incident:#}");
    assert_eq!(text(hold(incident, "frozen"), "/release"), answer, "{incident:#}");
    for name in ["close-ingress", "block-source"] {
        assert_eq!(step(incident, name)["state"], "held", "{incident:#}");
    }
}

#[tokio::test]
async fn a_full_freeze_lets_only_looking_go_on_and_after_the_thaw_all_ends_as_if_it_had_not_been() {
    let world = World::new().await;
    let (instance, twin) = futures::join!(world.instance("web"), world.instance("twin"));
    let undisturbed = world.one(&world.attack(&twin)).await;
    let before = world.state(&instance).await;
    let changed = world.changing().len();

    let line = world.freeze(&[]).await;
    assert_eq!((text(&line, "/level"), text(&line, "/scope"), text(&line, "/why")), ("full", "organization", "a drill"), "{line:#}");
    let output = world.respond(&world.attack(&instance)).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stderr.contains("frozen: the organization is frozen (full) by "), "{output:?}");
    let held = of(&output, &instance);
    assert_held(&held, "cordon thaw");
    let why = text(hold(&held, "frozen"), "/why");
    assert!(why.contains("a drill") && why.contains('@'), "who and why: {why}");
    for name in ["record", "exposure", "find-logins"] {
        assert_eq!(step(&held, name)["state"], "done", "{held:#}");
    }
    assert_eq!((world.changing().len(), world.state(&instance).await), (changed, before.clone()), "not even a note is written");

    // Every process is a new one: the freeze is in the journal. A release overrides nothing.
    let run = id(&held);
    let released = world.incident(&["incident", "release", &run]).await;
    assert_held(&released, "cordon thaw");
    assert_held(&world.go_on(&instance, &run).await, "cordon thaw");
    for listing in [&["incident", "list"][..], &["incident", "show", &run], &["approval", "list"]] {
        let output = world.cordon(listing, "").await;
        assert!(output.code == Some(0) && output.stderr.contains("frozen: the organization"), "{output:?}");
    }
    assert_eq!((world.changing().len(), world.state(&instance).await), (changed, before));

    let refused = world.cordon(&["thaw"], "y\n").await;
    assert!(refused.code == Some(2) && refused.stderr.contains("--yes"), "{refused:?}");
    let said = world.thaw(&["--why", "it was only a drill"]).await;
    assert!(said.stdout.contains("the organization is thawed") && said.stderr.contains("cordon serve"), "{said:?}");
    let after = world.go_on(&instance, &run).await;
    assert_eq!((state(&after), steps(&after)), ("contained", steps(&undisturbed)), "{after:#}");
    assert_eq!(world.state(&instance).await, world.state(&twin).await);

    let report = world.cordon(&["incident", "report", &run], "").await.stdout;
    for part in ["held (frozen)", "had what was frozen looked at again", "it was only a drill"] {
        assert!(report.contains(part), "{part}: {report}");
    }
    let all = world.frozen(&["--all"]).await;
    let levels: Vec<&str> = all.iter().map(|line| text(line, "/level")).collect();
    assert_eq!((levels, world.frozen(&[]).await), (vec!["full", "off"], vec![]));
    assert_eq!(world.cordon(&["audit", "verify"], "").await.code, Some(0));
}

#[tokio::test]
async fn under_limited_reversible_containment_goes_on_and_what_disrupts_is_held() {
    let world = World::new().await;
    let instance = world.instance("db").await;
    world.organization.log_attack(&instance, crate::respond::world::ATTACKER, Some("ec2-user")).await.unwrap();
    world.freeze(&["limited"]).await;
    let incident = world.one(&world.attack(&instance)).await;
    assert_eq!((state(&incident), text(&incident, "/reason_code")), ("held", "frozen"), "{incident:#}");
    for name in ["protect", "close-ingress"] {
        assert_ne!(step(&incident, name)["state"], "held", "{incident:#}");
    }
    for name in ["isolate", "cut-issuance", "deny-sessions"] {
        let held = step(&incident, name);
        assert!(held["state"] == "held" && text(held, "/reason").contains("only reversible containment passes"), "{name}: {incident:#}");
    }
    assert!(!world.open(&instance, 22).await);
    let disrupts = ["ModifyInstanceMetadataOptions", "PutRolePolicy", "ReplaceIamInstanceProfileAssociation"];
    let called = world.writes().iter().filter(|call| disrupts.contains(&call.operation.as_str())).count();
    assert_eq!(called, 0);

    world.thaw(&[]).await;
    let after = world.go_on(&instance, &id(&incident)).await;
    assert_eq!(step(&after, "isolate")["state"], "applied", "{after:#}");
}

#[tokio::test]
async fn an_undo_passes_under_limited_for_a_person_and_waits_under_full_until_the_thaw() {
    let world = World::new().await;
    let (instance, other) = futures::join!(world.instance("web"), world.instance("other"));
    let before = (world.state(&instance).await, world.state(&other).await);
    let output = world.respond(&format!("{}\n{}\n", world.attack(&instance), world.attack(&other))).await;
    let (run, second) = (id(&of(&output, &instance)), id(&of(&output, &other)));

    world.freeze(&["limited"]).await;
    let undone = world.incident(&["incident", "undo", &run, "--step", "block-source", "--yes"]).await;
    assert_eq!(step(&undone, "block-source")["state"], "undone", "{undone:#}");
    assert_eq!(world.state(&instance).await["acl"], before.0["acl"]);

    world.freeze(&["full"]).await;
    let changed = world.changing().len();
    let waits = world.incident(&["incident", "undo", &second, "--yes"]).await;
    assert_eq!((state(&waits), &step(&waits, "block-source")["state"]), ("held", &json!("held")), "{waits:#}");
    assert_eq!(text(hold(&waits, "frozen"), "/release"), "cordon thaw", "{waits:#}");
    assert!(text(step(&waits, "block-source"), "/reason").starts_with("to be undone: the organization is frozen (full)"), "{waits:#}");
    assert_eq!(world.changing().len(), changed);

    world.thaw(&[]).await;
    let after = world.go_on(&other, &second).await;
    assert_eq!(step(&after, "block-source")["state"], "undone", "{after:#}");
    assert_eq!(world.state(&other).await["acl"], before.1["acl"]);
    assert_eq!(world.cordon(&["audit", "verify"], "").await.code, Some(0));
}

#[tokio::test]
async fn what_cannot_be_frozen_or_thawed_is_said_and_nothing_is_written() {
    let world = World::new().await;
    let cases: [(&[&str], &str); 12] = [
        (&["freeze", "half", "--why", "x"], "limited, full"),
        (&["freeze"], "--why"),
        (&["freeze", "full", "--why", " "], "`why` is empty"),
        (&["freeze", "--account", "12345", "--why", "x"], "12345"),
        (&["freeze", "--account", "111122223333", "--playbook", "ec2-brute-force", "--why", "x"], "cannot be used with"),
        (&["freeze", "--ou", "/", "--why", "x"], "an OU's id"),
        (&["freeze", "--playbook", "ec2-brute-farce", "--why", "x"], "there is no playbook `ec2-brute-farce`; there are ec2-brute-force"),
        (&["freeze", "--hard", "--account", "111122223333", "--why", "x"], "cannot be used with"),
        (&["thaw", "--yes"], "the organization is not frozen, nothing is"),
        (&["thaw", "--account", "111122223333", "--yes"], "account 111122223333 is not frozen"),
        (&["thaw", "--account", "x", "--yes"], "'x' for '--account"),
        (&["thaw", "--playbook", "x", "--yes"], "there is no playbook `x`"),
    ];
    for (arguments, said) in cases {
        let output = world.cordon(arguments, "").await;
        assert!(output.code == Some(2) && output.stdout.is_empty() && output.stderr.contains(said), "{arguments:?}: {output:?}");
    }
    assert_eq!(world.frozen(&["--all"]).await, Vec::<Value>::new());
    // One that stands is named to whoever thaws another.
    world.freeze(&["--account", &world.account]).await;
    let other = world.cordon(&["thaw", "--yes"], "").await;
    assert!(other.code == Some(2) && other.stderr.contains(&format!("`cordon thaw --account {}`", world.account)), "{other:?}");
    let incident = one(&world.respond(&world.attack(&world.instance("web").await)).await);
    assert_held(&incident, &format!("cordon thaw --account {}", world.account));
}
