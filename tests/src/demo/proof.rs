//! What the demo promises, held against the world.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    Cordon, Screen,
    person::BUDGET,
    stage::{Actor, INTRUDER, OPENER, Scene, Stage},
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
            Scene::Attacked | Scene::Attacker => seen.state == "contained",
            // Contained; the roles that were assumed with its credentials are for a person.
            Scene::Entered => seen.state == "held" && seen.code == "playbook",
            Scene::OptedOut | Scene::AccountOptedOut => seen.state == "held" && seen.code == "opted-out",
            Scene::WithoutRole => seen.state == "held",
        };
        screen.promise_quietly(good, &format!("{} is where it should be ({role:?}): {}, {}", instance.name, seen.state, seen.code));
    }
    let mut closed = 0_usize;
    for group in &stage.groups {
        let seen = watch.of(&group.arn)?;
        closed += usize::from(seen.state == "closed");
        let good = matches!(seen.state.as_str(), "closed" | "waiting");
        screen.promise_quietly(good, &format!("{} is closed or asks: {}, {}", group.id, seen.state, seen.code));
    }
    screen.promise_quietly(closed == BUDGET, &format!("{closed} groups are closed, and the budget is {BUDGET}"));
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
        let others = passes(&entries, false, neighbour, 22) && passes(&entries, true, neighbour, 40_022);
        // Of what counts as compromised, the flows with the attacker are cut altogether for some minutes.
        let others = others && (*role == Scene::Entered || passes(&entries, false, attacker, 443));
        let kept = before.get("acl").and_then(Value::as_array).is_some_and(|old| old.iter().all(|entry| entries.contains(entry)));
        screen.promise(denied && others && kept, &format!("{}: {attacker} is denied port 22 and replies, nobody else", instance.name));
    }
    let mut untouched = Vec::new();
    let mut changed = Vec::new();
    for (Actor { role, instance, .. }, before) in stage.cast.iter().zip(before) {
        if matches!(role, Scene::OptedOut | Scene::AccountOptedOut | Scene::WithoutRole) {
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
    let (mut open, mut harmed) = (0_usize, 0_usize);
    for group in &stage.groups {
        let rules = organization.ingress(&group.account, &group.region, &group.id).await?;
        open += usize::from(open_to_world(&rules, 22));
        harmed += usize::from(!lets_in(&rules, 443, "0.0.0.0/0") || !lets_in(&rules, 22, "10.0.0.0/8"));
    }
    screen.promise(
        open + BUDGET == stage.groups.len() && harmed == 0,
        &format!("{BUDGET} groups of Security Hub's EC2.13: port 22 closed, the other rules as they were; then their budget is spent"),
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
    let answers = report.first().and_then(|report| report.get("root_cause")?.as_array().cloned()).unwrap_or_default();
    let told: Vec<&str> = answers
        .iter()
        .filter_map(|answer| answer.get("statements")?.as_array())
        .flatten()
        .filter_map(|statement| statement.get("text")?.as_str())
        .collect();
    let reached = told.iter().any(|text| text.starts_with("Port 22 was reachable from the Internet"));
    let who = format!("user/{OPENER} ");
    let opened = told.iter().find(|text| text.contains("was opened at") && text.contains(&who)).copied();
    screen.promise(reached && opened.is_some(), &format!("{}: the way in was found: {}", instance.name, opened.unwrap_or("not")));
    Ok(())
}

/// The one that was entered and the one that attacks are cut off, protected and kept.
pub(super) async fn contained(
    screen: &mut Screen,
    lab: &Lab,
    organization: &Organization,
    watch: &Watch<'_>,
    stage: &Stage,
) -> Result<(), LabError> {
    for Actor { role, instance, .. } in stage.cast.iter().filter(|actor| matches!(actor.role, Scene::Entered | Scene::Attacker)) {
        let id = watch.incident(&instance.arn)?;
        let ask =
            async |operation: &str, params: Value| organization.call(&instance.account, &instance.region, "ec2", operation, params).await;
        let list = |value: &Value, at: &str| value.pointer(at).and_then(Value::as_array).cloned().unwrap_or_default();
        let found = ask("describe_network_interfaces", json!({"NetworkInterfaceIds": instance.interfaces})).await?;
        let mut groups = BTreeSet::new();
        for interface in list(&found, "/NetworkInterfaces") {
            groups.extend(list(&interface, "/Groups").iter().filter_map(|group| group.get("GroupId")?.as_str().map(str::to_owned)));
        }
        let rules = json!({"Filters": [{"Name": "group-id", "Values": groups}]});
        let rules = list(&ask("describe_security_group_rules", rules).await?, "/SecurityGroupRules").len();
        screen.promise(
            groups.len() == 1 && rules == 0,
            &format!("{}: both interfaces are in one group that lets nothing in and nothing out", instance.name),
        );
        let found = ask("describe_instances", json!({"InstanceIds": [instance.id]})).await?;
        let metadata = found.pointer("/Reservations/0/Instances/0/MetadataOptions/HttpEndpoint").and_then(Value::as_str);
        let protection =
            ask("describe_instance_attribute", json!({"InstanceId": instance.id, "Attribute": "disableApiTermination"})).await?;
        let protected = protection.pointer("/DisableApiTermination/Value").and_then(Value::as_bool);
        let tagged = json!({"OwnerIds": ["self"], "Filters": [{"Name": "tag:cordon:run", "Values": [id]}]});
        let snapshots: Vec<Value> = list(&ask("describe_snapshots", tagged).await?, "/Snapshots");
        let ids: Vec<&Value> = snapshots.iter().filter_map(|snapshot| snapshot.get("SnapshotId")).collect();
        let locked = list(&ask("describe_locked_snapshots", json!({"SnapshotIds": ids})).await?, "/Snapshots");
        let locked = locked.iter().filter(|one| one.get("LockState").and_then(Value::as_str) == Some("governance")).count();
        screen.promise(
            metadata == Some("disabled") && protected == Some(true) && !ids.is_empty() && locked == ids.len(),
            &format!("{}: no new credentials, protected, {locked} snapshot(s) tagged with the incident and locked", instance.name),
        );
        if *role == Scene::Entered {
            // The gateway takes a role for true for two seconds.
            tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
            let thief = lab.hand.at(&lab.endpoint()).with(&stage.stolen);
            let denied = thief.call("", &instance.region, "ec2", "describe_instances", json!({})).await.is_err();
            screen.promise(denied, &format!("{}: the credentials that were stolen from it are denied everything", instance.name));
        }
    }
    Ok(())
}

/// The stolen key is inactive and not deleted, the user's other one works, and the report says what was done with it.
pub(super) async fn credentials(
    screen: &mut Screen,
    lab: &Lab,
    organization: &Organization,
    cordon: &Cordon,
    watch: &Watch<'_>,
    stage: &Stage,
) -> Result<(), LabError> {
    let user = &stage.user;
    let found = organization.call(&user.account, "us-east-1", "iam", "list_access_keys", json!({"UserName": user.name})).await?;
    let keys = found.pointer("/AccessKeyMetadata").and_then(Value::as_array).cloned().unwrap_or_default();
    let status = |id: &str| keys.iter().find(|key| key.get("AccessKeyId").and_then(Value::as_str) == Some(id))?.get("Status")?.as_str();
    let dead = match user.keys.first() {
        Some(key) => lab.hand.at(&lab.endpoint()).with(key).call("", "us-east-1", "ec2", "describe_instances", json!({})).await.is_err(),
        None => false,
    };
    screen.promise(
        status(user.key(0)) == Some("Inactive") && status(user.key(1)) == Some("Active") && dead,
        "the user's stolen key is inactive and not deleted, and is refused; the user's other key works on",
    );
    for (subject, what) in [(user.key(0), "the key"), (stage.actor(Scene::Entered)?.arn.as_str(), "the entered instance")] {
        let id = watch.incident(subject)?;
        let report = cordon.run(&["incident", "report", &id], "").await?.stdout;
        let told = report.contains("backup-agent") && report.contains("iam:CreateUser") && report.contains("What did the credentials do?");
        screen.promise(told, &format!("the report about {what} names the API calls that were made with the stolen credentials"));
    }
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
