//! What the demo promises, held against the world.

use serde_json::Value;

use super::{
    Cordon, Screen,
    stage::{Actor, INTRUDER, Scene, Stage},
    watch::Watch,
};
use crate::{
    Lab, LabError, Organization,
    organization::look::{lets_in, open_to_world, passes},
};

/// Each incident stands where it should.
pub(super) fn incidents(screen: &mut Screen, watch: &Watch<'_>, stage: &Stage) -> Result<(), LabError> {
    for Actor { role, instance, .. } in &stage.cast {
        let seen = watch.of(&instance.arn)?;
        let good = match role {
            Scene::Attacked => seen.state == "contained",
            Scene::Entered | Scene::Attacker => seen.state == "held" && seen.code == "playbook",
            Scene::OptedOut | Scene::AccountOptedOut => seen.state == "held" && seen.code == "opted-out",
            Scene::WithoutRole => seen.state == "held",
        };
        screen.promise_quietly(good, &format!("{} is where it should be ({role:?}): {}, {}", instance.name, seen.state, seen.code));
    }
    for group in &stage.groups {
        let seen = watch.of(&group.arn)?;
        screen.promise_quietly(seen.state == "closed", &format!("{} is closed: {}, {}", group.id, seen.state, seen.code));
    }
    Ok(())
}

/// The attacked are closed to their attackers and to nobody else; the others are untouched.
pub(super) async fn world(screen: &mut Screen, organization: &Organization, stage: &Stage, before: &[Value]) -> Result<(), LabError> {
    for (Actor { role, instance, .. }, before) in stage.cast.iter().zip(before) {
        if !matches!(role, Scene::Attacked | Scene::Entered) {
            continue;
        }
        let mut rules = Vec::new();
        for group in &instance.groups {
            rules.push(organization.ingress(&instance.account, &instance.region, group).await?);
        }
        let world = ["0.0.0.0/0", "::/0"];
        let closed = rules.iter().all(|rules| !open_to_world(rules, 22));
        let rightful = rules.iter().all(|rules| lets_in(rules, 443, "0.0.0.0/0") && lets_in(rules, 22, "10.0.0.0/8"));
        let beside =
            rules.get(1).is_some_and(|rules| [20, 21, 23, 24, 25].iter().all(|port| world.iter().all(|cidr| lets_in(rules, *port, cidr))));
        screen.promise(closed, &format!("{}: port 22 is closed to the world, IPv4 and IPv6, in both groups", instance.name));
        screen.promise(
            rightful && beside,
            &format!("{}: 443 from everywhere, 22 from 10.0.0.0/8 and ports 20-21, 23-25 are as they were", instance.name),
        );
        let entries = organization.entries(&instance.account, &instance.region, &instance.acl).await?;
        let attacker = stage.attacker(*role)?;
        let denied = !passes(&entries, false, attacker, 22) && !passes(&entries, true, attacker, 40_022);
        let neighbour = std::net::IpAddr::from([198, 51, 100, 200]);
        let others =
            passes(&entries, false, neighbour, 22) && passes(&entries, true, neighbour, 40_022) && passes(&entries, false, attacker, 443);
        let kept = before.get("acl").and_then(Value::as_array).is_some_and(|old| old.iter().all(|entry| entries.contains(entry)));
        screen.promise(denied && others && kept, &format!("{}: {attacker} is denied port 22 and replies, nobody else", instance.name));
    }
    let mut untouched = Vec::new();
    let mut changed = Vec::new();
    for (Actor { role, instance, .. }, before) in stage.cast.iter().zip(before) {
        if matches!(role, Scene::OptedOut | Scene::AccountOptedOut | Scene::WithoutRole | Scene::Attacker) {
            let same = organization.state(instance).await? == *before;
            if same { &mut untouched } else { &mut changed }.push(instance.name.as_str());
        }
    }
    let text = if changed.is_empty() {
        format!("{}: untouched, rule for rule", untouched.join(", "))
    } else {
        format!("{} untouched", changed.join(", "))
    };
    screen.promise(changed.is_empty(), &text);
    let mut open = 0;
    for group in &stage.groups {
        let rules = organization.ingress(&group.account, &group.region, &group.id).await?;
        open += usize::from(open_to_world(&rules, 22) || !lets_in(&rules, 443, "0.0.0.0/0") || !lets_in(&rules, 22, "10.0.0.0/8"));
    }
    screen.promise(
        open == 0,
        &format!("{} groups of Security Hub's EC2.13: port 22 closed, the other rules as they were", stage.groups.len()),
    );
    Ok(())
}

/// The login is in the report, with its line.
pub(super) async fn login(screen: &mut Screen, cordon: &Cordon, watch: &Watch<'_>, stage: &Stage) -> Result<(), LabError> {
    let instance = stage.actor(Scene::Entered)?;
    let id = watch.incident(&instance.arn)?;
    let report = cordon.run(&["incident", "report", &id, "--format", "json"], "").await?.objects();
    let login = report.first().and_then(|report| report.pointer("/access/logins/0")).cloned().unwrap_or_default();
    let text = |name: &str| login.get(name).and_then(Value::as_str).unwrap_or_default();
    let attacker = stage.attacker(Scene::Entered)?.to_string();
    let good = text("confidence") == "confirmed"
        && text("user") == INTRUDER
        && text("line").contains("Accepted password")
        && text("line").contains(&attacker);
    screen.promise(good, &format!("{}: the login was found: {}", instance.name, text("line")));
    Ok(())
}

/// How many calls have changed something in the organization; what the queue was told is no such thing.
pub(super) fn changes(lab: &Lab) -> usize {
    lab.gateway.ledger().all().iter().filter(|call| call.write && call.service != "sqs").count()
}

/// Everything that was changed was changed by a session narrowed to its step, and nothing was refused that should not have been.
pub(super) fn ledger(screen: &mut Screen, lab: &Lab) {
    let calls = lab.gateway.ledger().all();
    let writes: Vec<_> = calls.iter().filter(|call| call.write && call.service == "ec2").collect();
    let narrowed = writes
        .iter()
        .all(|call| call.principal.narrowed && call.principal.source_identity.as_deref().is_some_and(|who| who.starts_with("cordon-")));
    let denied = calls.iter().filter(|call| call.decision.as_ref().is_some_and(|decision| !decision.allowed)).count();
    screen.promise(
        narrowed && !writes.is_empty() && denied == 0,
        &format!(
            "{} calls, {} of them changes, each by a session narrowed to its step; {denied} denied by a policy",
            calls.len(),
            writes.len()
        ),
    );
}
