//! Is the finding true? A member that may call BatchImportFindings and BatchUpdateFindings tries to make Cordon touch another account, its own
//! production, or nothing at all.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail as tests do")]

use cordon_lab::{
    Shape,
    organization::{
        Instance, InstanceShape,
        finding::{Part, brute_force, hub_copy, imported},
    },
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::respond::world::{ATTACKER, HOME, NEIGHBOUR, World, hold, id, incidents, members, state, step, text};

/// Findings are confirmed, as they are by default.
async fn confirming(shape: Shape) -> World {
    World::with(shape, |mut settings| {
        settings.confirm_findings = true;
        settings
    })
    .await
}

fn own_product(account: &str) -> String {
    format!("arn:aws:securityhub:{HOME}:{account}:product/{account}/default")
}

/// A copy of a finding that never was, as a member imports it under its own product: everything else says GuardDuty.
fn forged(instance: &Instance, from: &str, account: &str) -> Value {
    let mut copy = hub_copy(&brute_force(instance, from, Part::Actor));
    copy["ProductArn"] = json!(own_product(account));
    copy["Severity"]["Normalized"] = json!(80);
    copy
}

/// The copies that the security account sees.
async fn seen(world: &World, id: &Value) -> Vec<Value> {
    let params = json!({"Filters": {"Id": [{"Value": id, "Comparison": "EQUALS"}]}});
    let found = world.hand(&world.organization.security, "securityhub", "get_findings", params).await;
    found["Findings"].as_array().unwrap().clone()
}

fn event(world: &World, findings: &[Value]) -> String {
    imported(&world.organization.security, HOME, findings).to_string()
}

/// Changes of a member's, as BatchUpdateFindings takes them.
async fn update(world: &World, account: &str, native: &Value, change: Value) {
    let copy = hub_copy(native);
    let mut params = json!({"FindingIdentifiers": [{"Id": copy["Id"], "ProductArn": copy["ProductArn"]}]});
    params.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    let answer = world.hand(account, "securityhub", "batch_update_findings", params).await;
    assert_eq!(answer["ProcessedFindings"].as_array().unwrap().len(), 1, "{answer:#}");
}

fn moved(native: &Value, by: SignedDuration) -> Value {
    let mut native = native.clone();
    let at = format!("{:.3}", Timestamp::now() + by);
    native["updatedAt"] = json!(at);
    native["service"]["eventLastSeen"] = json!(at);
    native
}

#[tokio::test]
async fn a_member_that_imports_a_finding_that_calls_itself_guardduties_touches_nothing_and_hides_nothing() {
    let world = confirming(Shape::small()).await;
    let instance = world.instance("production").await;
    let before = world.state(&instance).await;
    let copy = forged(&instance, ATTACKER, &world.account);
    world.hand(&world.account, "securityhub", "batch_import_findings", json!({"Findings": [copy]})).await;
    let found = seen(&world, &copy["Id"]).await;
    assert_eq!((found.len(), &found[0]["ProductName"]), (1, &json!("GuardDuty")));
    let ignored = world.one(&event(&world, &found)).await;
    assert_eq!((state(&ignored), text(&ignored, "/reason_code")), ("ignored", "not-the-providers"), "{ignored:#}");
    assert!(text(&ignored, "/reason").contains(&own_product(&world.account)), "{ignored:#}");
    assert_eq!((world.writes().len(), world.state(&instance).await), (0, before));
    assert!(world.gateway().ledger().of_account(&world.account).is_empty());

    // The true one of the same name comes later, and is answered.
    let native = brute_force(&instance, ATTACKER, Part::Target);
    world.organization.know(&native).await.unwrap();
    let mut hiding = hub_copy(&native);
    hiding["ProductArn"] = json!(own_product(&world.account));
    assert_eq!(state(&world.one(&event(&world, &[hiding])).await), "ignored");
    let answered = world.one(&world.event(&native)).await;
    assert_eq!(state(&answered), "contained", "{answered:#}");
    assert!(!world.open(&instance, 22).await && world.blocked(&instance).await);
}

#[tokio::test]
async fn a_member_whose_finding_names_another_accounts_resource_touches_nothing_there() {
    let world = confirming(members(2, &[HOME])).await;
    let (organization, other) = (&world.organization, &world.organization.ordinary(1).unwrap().account);
    let victim = organization.instance(other, HOME, &InstanceShape::named("victim")).await.unwrap();
    let before = world.state(&victim).await;
    // Of the member's account, about another one's instance: by the call that a member has, as the hub then reads it. To a product of AWS's no
    // member may import: that copy is made up.
    let mut own = forged(&victim, ATTACKER, &world.account);
    own["AwsAccountId"] = json!(world.account);
    own["Id"] = json!(format!("of-my-own-{}", world.account));
    let answer = world.hand(&world.account, "securityhub", "batch_import_findings", json!({"Findings": [own]})).await;
    assert_eq!((&answer["SuccessCount"], &answer["FailedCount"]), (&json!(1), &json!(0)), "{answer:#}");
    let own = seen(&world, &own["Id"]).await;
    assert_eq!(
        (own.len(), &own[0]["ProductArn"], &own[0]["AwsAccountId"]),
        (1, &json!(own_product(&world.account)), &json!(world.account))
    );
    assert_eq!((&own[0]["ProductName"], &own[0]["Resources"][0]["Id"]), (&json!("GuardDuty"), &json!(victim.arn)));
    let mut reserved = hub_copy(&brute_force(&victim, ATTACKER, Part::Target));
    reserved["AwsAccountId"] = json!(world.account);
    reserved["Id"] = json!(text(&reserved, "/Id").replace(other.as_str(), &world.account));
    // In GuardDuty's own format: an attack of the member's bucket first, the other account's instance behind it.
    let mut sequence = brute_force(&victim, ATTACKER, Part::Target);
    for (name, value) in [("accountId", json!(world.account)), ("type", json!("AttackSequence:EC2/CompromisedInstanceGroup"))] {
        sequence[name] = value;
    }
    sequence["arn"] = json!(text(&sequence, "/arn").replace(other.as_str(), &world.account));
    sequence["resource"] = json!({"resourceType": "AttackSequence"});
    let resources = json!([
        {"uid": "arn:aws:s3:::mine", "resourceType": "S3_BUCKET", "accountId": world.account, "region": HOME},
        {"uid": victim.arn, "resourceType": "EC2_INSTANCE", "accountId": other, "region": HOME},
    ]);
    sequence["service"]["detection"] = json!({"sequence": {"resources": resources}});
    organization.notice(&sequence).await.unwrap();
    let output = world.respond(&format!("{}\n{}\n{}\n", event(&world, &own), event(&world, &[reserved]), world.event(&sequence))).await;
    assert_eq!(output.code, Some(4), "{output:?}");
    let rejected: Vec<Value> = output.objects().into_iter().filter(|line| line["state"] == "rejected").collect();
    assert_eq!(rejected.iter().map(|line| text(line, "/code")).collect::<Vec<_>>(), ["CDN-1017", "CDN-1017"], "{output:?}");
    let held = incidents(&output);
    assert_eq!((held.len(), state(&held[0]), text(&held[0], "/reason_code")), (1, "held", "other-account"), "{output:?}");
    assert!(text(&held[0], "/reason").contains(&world.account), "{held:#?}");
    assert_eq!((world.writes().len(), world.state(&victim).await), (0, before));
    assert!(world.gateway().ledger().of_account(other).is_empty(), "nothing is even looked at there");
}

/// Severity, types, workflow and note are a member's to write: neither more nor less is done for them.
#[tokio::test]
async fn what_a_member_writes_on_guardduties_finding_neither_stops_nor_widens_the_answer() {
    let world = confirming(Shape::small()).await;
    let instance = world.instance("web").await;
    let native = brute_force(&instance, ATTACKER, Part::Target);
    world.organization.know(&native).await.unwrap();
    let change = json!({
        "Severity": {"Label": "INFORMATIONAL"}, "Types": ["Software and Configuration Checks/Nothing to see"], "Workflow": {"Status": "RESOLVED"},
        "Note": {"Text": "false positive, ignore", "UpdatedBy": "dev"}, "Confidence": 0, "Criticality": 0,
        "UserDefinedFields": {"cordon:opt-out": "true"},
    });
    update(&world, &world.account, &native, change).await;
    let found = seen(&world, &native["arn"]).await;
    assert_eq!((&found[0]["Severity"]["Label"], &found[0]["Workflow"]["Status"]), (&json!("INFORMATIONAL"), &json!("RESOLVED")));
    let incident = world.one(&event(&world, &found)).await;
    assert_eq!((state(&incident), text(&incident, "/playbook")), ("contained", "ec2-brute-force"), "{incident:#}");
    assert!(!world.open(&instance, 22).await && world.blocked(&instance).await);
}

#[tokio::test]
async fn a_suppression_by_a_member_is_held_and_named_and_one_by_the_security_account_is_respected() {
    let world = confirming(Shape::small()).await;
    let (hidden, meant) = futures::join!(world.instance("hidden"), world.instance("meant"));
    let before = [world.state(&hidden).await, world.state(&meant).await];
    let natives = [brute_force(&hidden, ATTACKER, Part::Target), brute_force(&meant, ATTACKER, Part::Target)];
    let security = world.organization.security.clone();
    for (native, by) in natives.iter().zip([&world.account, &security]) {
        world.organization.know(native).await.unwrap();
        update(&world, by, native, json!({"Workflow": {"Status": "SUPPRESSED"}})).await;
    }
    let held = world.one(&event(&world, &seen(&world, &natives[0]["arn"]).await)).await;
    assert_eq!((state(&held), text(&held, "/reason_code")), ("held", "suppressed"), "{held:#}");
    let why = text(hold(&held, "suppressed"), "/why");
    assert!(why.contains(&format!("arn:aws:sts::{}:", world.account)), "{why}");
    // Looking and reporting go on.
    assert_eq!(step(&held, "record")["state"], "done", "{held:#}");

    let left = world.one(&event(&world, &seen(&world, &natives[1]["arn"]).await)).await;
    let close = step(&left, "close-ingress");
    assert!(close["state"] == "skipped" && text(close, "/reason").contains(&security), "{left:#}");
    assert_eq!((world.writes().len(), [world.state(&hidden).await, world.state(&meant).await]), (0, before));

    // A person's release is the answer.
    let released = world.incident(&["incident", "release", &id(&held)]).await;
    assert_eq!(state(&released), "contained", "{released:#}");
    assert!(!world.open(&hidden, 22).await && world.open(&meant, 22).await);
}

#[tokio::test]
async fn a_copy_in_security_hub_is_confirmed_with_the_detector_and_where_they_differ_it_holds() {
    let world = confirming(Shape::small()).await;
    let (true_one, forged, other_port, archived) =
        futures::join!(world.instance("true"), world.instance("forged"), world.instance("other-port"), world.instance("archived"));
    let native = |instance: &Instance| brute_force(instance, ATTACKER, Part::Target);
    world.organization.notice(&native(&true_one)).await.unwrap();
    let answered = world.one(&event(&world, &[hub_copy(&native(&true_one))])).await;
    assert_eq!(state(&answered), "contained", "{answered:#}");

    let before = [world.state(&forged).await, world.state(&other_port).await, world.state(&archived).await];
    let made = world.writes().len();
    // A port of its own production in place of the attacked one.
    let known = native(&other_port);
    world.organization.notice(&known).await.unwrap();
    let mut changed = known.clone();
    changed["service"]["action"]["networkConnectionAction"]["localPortDetails"]["port"] = json!(443);
    let mut put_away = native(&archived);
    put_away["service"]["archived"] = json!(true);
    world.organization.notice(&put_away).await.unwrap();
    for (copy, said) in [
        (hub_copy(&native(&forged)), "does not know"),
        (hub_copy(&changed), "the attacked port"),
        (hub_copy(&native(&archived)), "archived"),
    ] {
        let held = world.one(&event(&world, &[copy])).await;
        assert_eq!((state(&held), text(&held, "/reason_code")), ("held", "unconfirmed"), "{held:#}");
        assert!(text(hold(&held, "unconfirmed"), "/why").contains(said), "{said}: {held:#}");
    }
    assert_eq!(world.writes().len(), made);
    assert_eq!([world.state(&forged).await, world.state(&other_port).await, world.state(&archived).await], before);
}

#[tokio::test]
async fn stale_and_future_dated_findings_are_ignored_with_the_reason_and_take_nothing_from_the_true_one() {
    let mut world = World::new().await;
    let (old, early) = futures::join!(world.instance("old"), world.instance("early"));
    let native = brute_force(&old, ATTACKER, Part::Target);
    let stale = moved(&native, SignedDuration::from_hours(-24 * 8));
    let ignored = world.one(&world.event(&stale)).await;
    assert_eq!((state(&ignored), text(&ignored, "/reason_code")), ("ignored", "stale"), "{ignored:#}");
    assert!(text(&ignored, "/reason").contains("stale_after"), "{ignored:#}");

    let native = brute_force(&early, ATTACKER, Part::Target);
    let ignored = world.one(&world.event(&moved(&native, SignedDuration::from_hours(24 * 365)))).await;
    assert_eq!((state(&ignored), text(&ignored, "/reason_code")), ("ignored", "future-dated"), "{ignored:#}");
    assert!(world.gateway().ledger().of_account(&world.account).is_empty() && world.open(&early, 22).await);
    // A clock that is a little behind is nothing; and the one of the future has not made the true one old.
    let answered = world.one(&world.event(&moved(&native, SignedDuration::from_mins(4)))).await;
    assert_eq!(state(&answered), "contained", "{answered:#}");

    world.set(|settings| settings.more = "\n[findings]\nstale_after = \"0s\"\n".to_owned());
    let answered = world.one(&world.event(&stale)).await;
    assert_eq!(state(&answered), "contained", "{answered:#}");
}

/// A scanner of the organization's own, and a playbook for it.
const SCANNER: &str = r#"
name = "scanner"
title = "What our scanner finds"
subject = "instance"
[[match]]
type = ["Our Scanner/Open SSH"]
[[steps]]
id = "close"
action = "ec2.close-open-ingress"
with = { instance = "${subject.id}", protocol = "tcp", ports = [22] }
"#;

#[tokio::test]
async fn imported_custom_findings_are_only_observed_unless_their_product_is_named() {
    let mut world = World::with(members(2, &[HOME]), |settings| settings).await;
    let folder = world.folder.path().join("playbooks");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("scanner.toml"), SCANNER).unwrap();
    let playbooks = format!("\n[playbooks]\ndir = {:?}\n", folder.to_str().unwrap());
    world.set(|settings| settings.more = playbooks.clone());
    let instance = world.instance("web").await;
    let account = world.account.clone();
    let finding = |name: &str, product: &str| {
        let mut copy = forged(&instance, &NEIGHBOUR.to_string(), &account);
        copy["ProductArn"] = json!(product);
        copy["Id"] = json!(name);
        copy["Types"] = json!(["Our Scanner/Open SSH"]);
        copy
    };
    let own = own_product(&account);
    world.hand(&world.account, "securityhub", "batch_import_findings", json!({"Findings": [finding("s-1", &own)]})).await;
    let found = seen(&world, &json!("s-1")).await;
    let observed = world.one(&event(&world, &found)).await;
    assert_eq!((state(&observed), &step(&observed, "close")["state"]), ("planned", &json!("planned")), "{observed:#}");
    assert!(text(step(&observed, "close"), "/reason").contains("act_on_products"), "{observed:#}");
    assert!(world.writes().is_empty() && world.open(&instance, 22).await);

    // Named, it acts; under another account's product it does not, named or not.
    let other = own_product(&world.organization.ordinary(1).unwrap().account);
    let named = |product: &str| product.replace(HOME, "{region}");
    let list = format!("\n[findings]\nact_on_products = [\"{}\", \"{}\"]\n{playbooks}", named(&own), named(&other));
    world.set(|settings| settings.more = list);
    let still = world.one(&event(&world, &[finding("s-2", &other)])).await;
    assert_eq!(state(&still), "planned", "{still:#}");
    assert!(text(step(&still, "close"), "/reason").contains("imported by account") && world.writes().is_empty(), "{still:#}");
    let acted = world.one(&event(&world, &[finding("s-3", &own)])).await;
    assert_eq!(step(&acted, "close")["state"], "applied", "{acted:#}");
    assert!(!world.open(&instance, 22).await && id(&acted) != id(&observed) && id(&acted) != id(&still));
}
