//! What a run did with which rights, and what is kept so that it can be checked afterwards.

use std::{collections::BTreeSet, path::PathBuf};

use cordon_lab::organization::{
    SPOKE_ROLE,
    finding::{Part, brute_force},
};
use cordon_spoke::permission::{Permission, SESSION_POLICY_LIMIT};
use serde_json::{Value, json};

use super::world::{ATTACKER, World, hold, id, state, step, text};

fn actions(permissions: &[Permission]) -> BTreeSet<&'static str> {
    permissions.iter().map(|permission| permission.action).collect()
}

#[tokio::test]
async fn each_call_of_a_run_is_one_that_its_step_declares_and_each_write_session_is_narrowed_to_its_plan() {
    let world = World::new().await;
    let instance = world.instance("web").await;
    world.organization.log_attack(&instance, ATTACKER, None).await.unwrap();
    let native = brute_force(&instance, ATTACKER, Part::Target);
    world.organization.know(&native).await.unwrap();
    let incident = world.one(&world.event(&native)).await;
    assert_eq!(state(&incident), "contained", "{incident:#}");
    assert_eq!(step(&incident, "note")["state"], "applied", "{incident:#}");

    let registry = cordon_hub::setup::registry().unwrap();
    let action = |id: &str| registry.get(text(step(&incident, id), "/action")).unwrap();
    let done = |step: &&Value| !matches!(step["state"].as_str(), Some("skipped" | "waiting"));
    let ids: Vec<String> = incident["steps"].as_array().unwrap().iter().filter(done).map(|step| text(step, "/id").to_owned()).collect();
    assert!(ids.len() >= 5, "{ids:?}");
    let reads: BTreeSet<&str> = ids.iter().flat_map(|id| actions(action(id).reads)).collect();
    let ledger = world.gateway().ledger();
    let calls = ledger.of_role(&world.account, SPOKE_ROLE);
    let mut changed = BTreeSet::new();
    for call in &calls {
        let who = call.principal.source_identity.as_deref().unwrap_or_default();
        assert!(call.principal.narrowed && call.decision.as_ref().is_some_and(|decision| decision.allowed), "{call:?}");
        if who == "cordon-read" {
            assert!(!call.write && reads.contains(call.permission().as_str()), "{call:?}");
            continue;
        }
        assert_eq!(
            (who, call.principal.tags["cordon:run"].as_str()),
            (format!("cordon-{}", id(&incident)).as_str(), id(&incident).as_str())
        );
        let step = call.principal.tags["cordon:step"].as_str();
        assert!(actions(action(step).writes).contains(call.permission().as_str()), "{call:?}");
        changed.insert(step.to_owned());
    }
    assert_eq!(changed, ["block-source".to_owned(), "close-ingress".to_owned()].into());
    let notes = ledger.find(|call| call.write && call.account != world.account);
    assert!(!notes.is_empty() && notes.iter().all(|call| actions(action("note").writes).contains(call.permission().as_str())), "{notes:?}");

    // One session to read, one for each change; each with a policy that STS takes, and that names what was planned.
    let opened = ledger.of_operation("sts", "AssumeRole");
    let spokes: Vec<_> = opened.iter().filter(|call| text(&call.params, "/RoleArn").contains(&world.account)).collect();
    assert_eq!(spokes.len(), 3, "{spokes:?}");
    for call in spokes {
        let policy = text(&call.params, "/Policy");
        assert!(policy.chars().count() <= SESSION_POLICY_LIMIT, "{} characters: {policy}", policy.chars().count());
        assert_eq!(call.params["ExternalId"], world.account.as_str());
        if text(&call.params, "/SourceIdentity") != "cordon-read" {
            let names = instance.groups.iter().all(|group| policy.contains(group.as_str())) || policy.contains(&instance.acl);
            assert!(names && !policy.contains("/*") && !policy.contains(":*") && call.params["DurationSeconds"] == "900", "{policy}");
        }
    }
}

/// Files of evidence themselves.
fn evidence(world: &World) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(world.settings.state_dir.join("evidence")).unwrap().map(|entry| entry.unwrap().path());
    let files = folders.flat_map(|folder| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
    let mut files: Vec<PathBuf> = files.filter(|file| file.extension().is_none()).collect();
    files.sort();
    files
}

async fn audit(world: &World) -> (Option<i32>, Vec<String>) {
    let output = world.cordon(&["audit", "verify", "--format", "json"], "").await;
    let report: Value = output.objects().remove(0);
    let problems = report["problems"].as_array().unwrap().iter().map(|problem| text(problem, "/what").to_owned());
    (output.code, problems.collect())
}

#[tokio::test]
async fn a_changed_byte_of_evidence_and_a_changed_entry_are_found() {
    let world = World::new().await;
    let instance = world.instance("web").await;
    let incident = world.one(&world.attack(&instance)).await;
    assert_eq!(audit(&world).await, (Some(0), Vec::new()));

    // Each item of the incident is there under its name; one byte of one of them is changed and put back.
    let files = evidence(&world);
    for name in incident["evidence"].as_array().unwrap() {
        let name = name.as_str().unwrap().strip_prefix("sha256:").unwrap();
        assert!(files.iter().any(|file| file.ends_with(name)), "{name}");
    }
    let written = std::fs::read(&files[0]).unwrap();
    let mut changed = written.clone();
    changed[0] ^= 1;
    let mut permissions = std::fs::metadata(&files[0]).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
    std::fs::set_permissions(&files[0], permissions).unwrap();
    std::fs::write(&files[0], changed).unwrap();
    assert_eq!(audit(&world).await, (Some(1), vec!["evidence-changed".to_owned()]));
    std::fs::write(&files[0], written).unwrap();
    assert_eq!(audit(&world).await.0, Some(0));

    let journal = rusqlite::Connection::open(world.settings.state_dir.join("journal.db")).unwrap();
    journal.execute_batch("DROP TRIGGER entries_never_change").unwrap();
    let rows = journal.execute("UPDATE entries SET entry = replace(entry, '198.51.100.7', '198.51.100.8') WHERE seq = 1", []).unwrap();
    assert_eq!(rows, 1);
    drop(journal);
    let (code, problems) = audit(&world).await;
    assert!(code == Some(1) && problems.contains(&"chain-broken".to_owned()), "{problems:?}");
}

/// An entry that is none, and one that a newer Cordon wrote.
#[tokio::test]
async fn an_incident_that_cannot_be_read_is_put_aside_and_keeps_no_other_and_no_later_finding_from_being_answered() {
    let mut world = World::new().await;
    world.set(|settings| settings.mode = "ask".to_owned());
    let (damaged, asked) = (world.instance("web").await, world.instance("shop").await);
    let (first, other) = (id(&world.one(&world.attack(&damaged)).await), id(&world.one(&world.attack(&asked)).await));
    let journal = rusqlite::Connection::open(world.settings.state_dir.join("journal.db")).unwrap();
    journal.execute_batch("DROP TRIGGER entries_never_change").unwrap();
    let of_first = "run = (SELECT id FROM runs WHERE run = ?1) AND seq = 2";
    let before: String = journal.query_row(&format!("SELECT entry FROM entries WHERE {of_first}"), [&first], |row| row.get(0)).unwrap();
    let write = |text: &str| journal.execute(&format!("UPDATE entries SET entry = ?2 WHERE {of_first}"), [&first, text]).unwrap();
    assert_eq!(write("{\"entry\":\"of-tomorrow\"}"), 1);
    // It is due, and was frozen once, so that each part of the service meets it; and it was at work on the group.
    let group = format!("arn:aws:ec2:{}:{}:security-group/{}", damaged.region, damaged.account, damaged.groups[0]);
    let lock = "INSERT INTO locks (resource, run, step) SELECT ?2, id, 'close-ingress' FROM runs WHERE run = ?1";
    assert_eq!(journal.execute(lock, [&first, &group]).unwrap(), 1);
    journal.execute("UPDATE runs SET wake = opened_at WHERE run = ?1", [&first]).unwrap();
    for command in [["freeze", "--why", "a drill"].as_slice(), &["thaw", "--yes"]] {
        let output = world.cordon(command, "").await;
        assert_eq!(output.code, Some(0), "{output:?}");
    }

    // Others are asked about, answered and contained; a later finding about the same instance is another incident.
    let questions = world.cordon(&["approval", "list", "--format", "json"], "").await;
    let about: Vec<String> = questions.objects().iter().map(|question| text(question, "/incident").to_owned()).collect();
    assert_eq!((questions.code, about), (Some(0), vec![other.clone()]), "{questions:?}");
    let grant = ["approval", "grant", other.as_str(), "--step", "close-ingress", "--yes", "--format", "json"];
    let granted = world.cordon(&grant, "").await;
    assert_eq!(step(&super::world::one(&granted), "close-ingress")["state"], "applied", "{granted:?}");
    let later = brute_force(&damaged, "203.0.113.99", Part::Target);
    let anew = world.one(&world.event(&later)).await;
    assert!(id(&anew) != first && id(&anew) != other, "{anew:#}");
    let held = text(hold(&anew, "unreadable-at-work"), "/why").to_owned();
    assert!(held.contains(&first) && held.contains(&group) && held.contains("cordon audit verify"), "{held}");
    let release = ["incident", "release", id(&anew).as_str(), "--step", "close-ingress", "--yes", "--format", "json"].map(str::to_owned);
    let release: Vec<&str> = release.iter().map(String::as_str).collect();
    let released = super::world::one(&world.cordon(&release, "").await);
    assert_eq!(text(hold(&released, "approval"), "/step"), "close-ingress", "a person has looked at it: {released:#}");
    let listed = world.cordon(&["incident", "list", "--format", "json"], "").await.objects();
    let aside = listed.iter().find(|row| row["run"] == first.as_str()).unwrap();
    assert_eq!((&aside["state"], &aside["code"]), (&json!("stuck"), &json!("unreadable")), "{aside:#}");
    let (code, problems) = audit(&world).await;
    assert!(code == Some(1) && problems.contains(&"chain-broken".to_owned()), "{problems:?}");

    // Mended, it is as it was.
    assert_eq!(write(&before), 1);
    world.one(&world.attack(&asked)).await;
    let listed = world.cordon(&["incident", "list", "--format", "json"], "").await.objects();
    let mended = listed.iter().find(|row| row["run"] == first.as_str()).unwrap();
    assert_eq!((&mended["state"], &mended["code"]), (&json!("waiting"), &json!("approval")), "{mended:#}");
}

/// Whatever `CORDON_LOG` says: the SDK's own debug lines hold requests, and with them what signs them.
#[tokio::test]
async fn a_log_that_tells_all_holds_no_credential_and_no_request_of_the_sdk() {
    let world = World::new().await;
    let instance = world.instance("web").await;
    let cordon = world.cordon.clone().with("CORDON_LOG", "trace");
    let output = cordon.run(&["respond", "-", "--format", "json"], &world.attack(&instance)).await.unwrap();
    assert_eq!((output.code, state(&super::world::one(&output))), (Some(0), "contained"), "{output:?}");
    assert!(output.stderr.contains("TRACE") || output.stderr.contains("DEBUG"), "{}", output.stderr);
    let secrets = world.cordon.environment.iter().filter(|(name, _)| name.contains("SECRET") || name.contains("TOKEN"));
    let all = [output.stdout.as_str(), output.stderr.as_str()].concat();
    for (name, secret) in secrets {
        assert!(!all.contains(secret.as_str()), "{name} is in the log");
    }
    for word in ["<SecretAccessKey>", "<SessionToken>", "X-Amz-Security-Token", "x-amz-security-token", "AWS4-HMAC-SHA256"] {
        assert!(!all.contains(word), "{word} is in the log");
    }
    for line in output.stderr.lines().filter(|line| line.contains(" DEBUG ") || line.contains(" TRACE ")) {
        assert!(!["aws_", "hyper", "rustls"].iter().any(|name| line.contains(&format!(" {name}"))), "{line}");
    }
    // Nor is a secret among what is kept.
    for file in evidence(&world).into_iter().chain([world.settings.state_dir.join("journal.db")]) {
        let bytes = std::fs::read(&file).unwrap();
        let kept = String::from_utf8_lossy(&bytes);
        assert!(!world.cordon.environment.iter().any(|(name, secret)| name.contains("SECRET") && kept.contains(secret.as_str())));
    }
}
