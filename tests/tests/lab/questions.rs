//! An answer is to one question: in its time, to its plan, and to no question before or after it about the same plan.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail as tests do")]

use std::time::{Duration, Instant};

use cordon_lab::{
    MovedClock, Settings,
    organization::finding::{Part, brute_force},
    slack::send,
};
use serde_json::{Value, json};

use crate::{
    clock::{earlier, until},
    people::{
        api::{bound, listening, service, signed},
        registered, serving,
    },
    policy,
    respond::world::{ATTACKER, World, hold, id, one, step, text},
};

const PATIENCE: Duration = Duration::from_secs(60);
const HOUR: i64 = 3_600;

/// Two questions at once: one that is escalated when nobody answers, and one that is not.
const TWO: &str = r#"
name = "ec2-brute-force"
title = "Closing and blocking"
subject = "instance"
[[match]]
type = [{ prefix = "UnauthorizedAccess:EC2/" }]
[[steps]]
id = "close-ingress"
action = "ec2.close-open-ingress"
on_expiry = "escalate"
with = { instance = "${subject.id}", ports = [22] }
[[steps]]
id = "block-source"
action = "ec2.block-source-in-nacl"
needs = []
with = { instance = "${subject.id}", sources = "${finding.network.remote_ips}", protocol = "tcp", port = 22 }
"#;

async fn asking() -> World {
    let poll_every = "1h".to_owned();
    World::with_playbook("ec2-brute-force", TWO, |settings| Settings { mode: "ask".to_owned(), poll_every, ..settings }).await
}

async fn refused(world: &World) -> Vec<Value> {
    let away = world.cordon(&["audit", "turned-away", "--format", "json"], "").await.objects();
    away.into_iter().filter(|entry| entry["door"] == "request").collect()
}

#[tokio::test]
async fn a_no_to_a_question_that_expired_while_the_service_was_down_changes_nothing_and_the_question_does_what_it_says() {
    let mut world = asking().await;
    let clock = MovedClock::new().unwrap();
    world.cordon = clock.on(&world.cordon);
    let instance = world.instance("web").await;
    let run = id(&world.one(&world.attack(&instance)).await);
    let said = async |step: &str| world.cordon(&["approval", "deny", &run, "--step", step, "--why", "ours", "--format", "json"], "").await;
    clock.set(5 * HOUR).unwrap();
    for step in ["close-ingress", "block-source"] {
        let late = said(step).await;
        assert!(late.code == Some(2) && late.stderr.contains("the question expired at "), "{late:?}");
    }
    let still = world.incident(&["incident", "show", &run]).await;
    for name in ["close-ingress", "block-source"] {
        assert_eq!(step(&still, name)["state"], "waiting", "{still:#}");
    }
    let away = refused(&world).await;
    assert!(away.len() == 2 && away.iter().all(|entry| text(entry, "/why").contains("the question expired at ")), "{away:#?}");

    let mut running = serving(&world).await;
    let over = until(&world, &running, &run, |incident| {
        step(incident, "block-source")["state"] == "held" && text(incident, "/reason").contains("escalated")
    })
    .await;
    assert_eq!(text(hold(&over, "ask-expired"), "/step"), "block-source", "{over:#}");
    assert_eq!(step(&over, "close-ingress")["state"], "waiting", "{over:#}");
    assert!(!over.to_string().contains("said no"), "{over:#}");
    // In its time the same no counts.
    let denied = one(&said("close-ingress").await);
    assert_eq!(step(&denied, "close-ingress")["state"], "skipped", "{denied:#}");
    assert!(world.open(&instance, 22).await && world.writes().is_empty());
    running.terminate();
    assert_eq!(running.wait(PATIENCE).await, Some(0), "{}", running.log());
    assert_eq!(world.cordon(&["audit", "verify"], "").await.code, Some(0));
}

#[tokio::test]
async fn a_no_at_the_command_line_is_to_the_plan_that_its_digest_names() {
    let world = asking().await;
    let instance = world.instance("web").await;
    let run = id(&world.one(&world.attack(&instance)).await);
    let deny = ["approval", "deny", run.as_str(), "--step", "close-ingress", "--format", "json", "--digest"];
    let asked = world.cordon(&["approval", "list", "--format", "json"], "").await.objects();
    let digest = asked.iter().find(|asked| asked["step"] == "close-ingress").map(|asked| text(asked, "/digest").to_owned()).unwrap();
    for wrong in ["0000000000000000", digest.get(..7).unwrap(), ""] {
        let no = world.cordon(&[&deny[..], &[wrong]].concat(), "").await;
        assert!(no.code == Some(2) && no.stderr.contains("not the one that you said no to"), "{wrong}: {no:?}");
    }
    assert_eq!(refused(&world).await.len(), 3);
    let denied = world.incident(&[&deny[..5], &["--digest", digest.get(..8).unwrap()]].concat()).await;
    assert_eq!(step(&denied, "close-ingress")["state"], "skipped", "{denied:#}");
}

#[tokio::test]
async fn an_answer_to_the_question_before_is_not_one_to_the_question_that_was_escalated() {
    let (mut world, url) = listening().await;
    let folder = policy::folder(&world.settings, &[("two.cedar", policy::CLOSE_ASKS_TWO)]);
    world.set(|settings| settings.policies = Some(folder));
    let security = world.organization.security.clone();
    let ben = registered(&mut world, "Ben", &["approver"]).await;
    let clock = MovedClock::new().unwrap();
    world.cordon = clock.on(&world.cordon);
    clock.set(-5 * HOUR).unwrap();
    let instance = world.instance("web").await;
    let finding = earlier(&brute_force(&instance, ATTACKER, Part::Target), 5 * HOUR);
    let run = id(&world.one(&world.event(&finding)).await);
    let question = async || {
        let asked = world.cordon(&["approval", "list", "--format", "json"], "").await.objects();
        asked.into_iter().find(|asked| asked["step"] == "close-ingress").unwrap_or(Value::Null)
    };
    let first = question().await;
    let grant = ["approval", "grant", run.as_str(), "--step", "close-ingress", "--yes"];
    let said = world.cordon(&grant, "").await;
    assert!(said.stderr.contains("waits for one more person"), "{said:?}");
    assert_eq!(question().await["said_yes"], json!(["Lab Operator"]));

    clock.set(0).unwrap();
    let mut running = service(&world, &url).await;
    let begun = Instant::now();
    while question().await["expires"] == first["expires"] {
        assert!(begun.elapsed() < PATIENCE, "{}", running.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let second = question().await;
    assert_eq!((&second["digest"], &second["said_yes"]), (&first["digest"], &json!([])), "the same plan, and the yes is void");
    let call = async |body: Value| {
        let (path, body) = ("/v1/request", body.to_string());
        let proof = signed(&world, &ben.keys[0], &bound(&security, path, &body), 0, "").await;
        send(&format!("{url}{path}"), &[("content-type", "application/json"), ("cordon-proof", &proof)], body).await.unwrap()
    };
    let answer = |request: &str, of: &Value| json!({"request": request, "run": run, "step": "close-ingress", "why": "", "digest": first["digest"], "expires": of["expires"]});
    for request in ["grant", "deny"] {
        assert_eq!(call(answer(request, &first)).await, 409, "{request}");
    }
    let away = refused(&world).await;
    assert_eq!(away.len(), 2, "{away:#?}");
    for entry in away {
        assert!(entry["who"] == "Ben" && text(&entry, "/why").contains("that question was asked anew"), "{entry:#}");
    }
    assert_eq!(question().await, second, "nothing of it counts");
    assert_eq!(call(answer("grant", &second)).await, 200);
    assert_eq!(question().await["said_yes"], json!(["Ben"]));
    assert!(world.open(&instance, 22).await && world.writes().is_empty());
    running.terminate();
    assert_eq!(running.wait(PATIENCE).await, Some(0), "{}", running.log());
}
