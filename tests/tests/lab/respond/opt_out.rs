//! Who opted out is left alone: instance, group, OU; and by a word of its own even unlooked at.

use cordon_lab::{
    Shape, Standing,
    organization::{
        InstanceShape, OPT_OUT,
        finding::{Part, brute_force},
    },
};
use serde_json::json;

use super::world::{ATTACKER, HOME, World, hold, id, of, state, step, text};

#[tokio::test]
async fn an_opted_out_instance_and_an_opted_out_group_are_held_by_name() {
    let world = World::new().await;
    let shape = InstanceShape::named("batch").tagged(OPT_OUT, "true");
    let (instance, grouped) = futures::join!(world.shaped(&shape), world.instance("web"));
    world.organization.tag(&world.account, HOME, &grouped.groups[1], OPT_OUT, "").await.unwrap();
    let (before, grouped_before) = (world.state(&instance).await, world.state(&grouped).await);
    let output = world.respond(&format!("{}\n{}\n", world.attack(&instance), world.attack(&grouped))).await;
    assert_eq!(output.code, Some(0), "{output:?}");

    let held = of(&output, &instance);
    assert_eq!((state(&held), text(&held, "/reason_code")), ("held", "opted-out"), "{held:#}");
    assert!(text(hold(&held, "opted-out"), "/why").contains(&instance.arn), "{held:#}");
    for name in ["close-ingress", "block-source"] {
        assert_eq!(step(&held, name)["state"], "held", "{held:#}");
    }
    // Looking and reporting go on.
    assert_eq!((&step(&held, "record")["state"], &step(&held, "find-logins")["state"]), (&json!("done"), &json!("done")), "{held:#}");
    assert_eq!(world.state(&instance).await, before);

    let held = of(&output, &grouped);
    let close = step(&held, "close-ingress");
    assert!(close["state"] == "held" && text(close, "/reason").contains(&grouped.groups[1]), "{held:#}");
    assert_eq!(world.state(&grouped).await["groups"], grouped_before["groups"]);
}

#[tokio::test]
async fn an_opted_out_unit_holds_its_accounts_until_its_tag_is_gone() {
    let world = World::new().await;
    let organization = &world.organization;
    let instance = world.instance("web").await;
    let before = world.state(&instance).await;
    let management = &organization.management;
    let parents = world.hand(management, "organizations", "list_parents", json!({"ChildId": world.account})).await;
    let unit = text(&parents, "/Parents/0/Id").to_owned();
    // The unit above the account's own counts as well.
    let above = world.hand(management, "organizations", "list_parents", json!({"ChildId": unit})).await;
    let above = text(&above, "/Parents/0/Id").to_owned();
    let tag = json!({"ResourceId": above, "Tags": [{"Key": OPT_OUT, "Value": "playbook:ec2-brute-force"}]});
    world.hand(management, "organizations", "tag_resource", tag).await;
    let incident = world.one(&world.attack(&instance)).await;
    assert_eq!((state(&incident), text(&incident, "/reason_code")), ("held", "opted-out"), "{incident:#}");
    let why = text(hold(&incident, "opted-out"), "/why");
    assert!(why.contains(&above) && why.contains("Workloads") && why.contains("playbook:ec2-brute-force"), "{why}");
    assert_eq!((world.writes().len(), world.state(&instance).await), (0, before.clone()));

    // A release overrides nothing.
    let again = world.incident(&["incident", "release", &id(&incident)]).await;
    assert_eq!((state(&again), world.state(&instance).await), ("held", before), "{again:#}");
    world.hand(management, "organizations", "untag_resource", json!({"ResourceId": above, "TagKeys": [OPT_OUT]})).await;
    let released = world.incident(&["incident", "release", &id(&incident)]).await;
    assert_eq!(state(&released), "contained", "{released:#}");
}

#[tokio::test]
async fn an_account_that_wants_no_investigation_is_not_looked_at() {
    let world = World::new().await;
    let instance = world.instance("web").await;
    let tag = json!({"ResourceId": world.account, "Tags": [{"Key": OPT_OUT, "Value": "investigate:no"}]});
    world.hand(&world.organization.management, "organizations", "tag_resource", tag).await;
    let incident = world.one(&world.attack(&instance)).await;
    assert_eq!((state(&incident), text(&incident, "/reason_code")), ("held", "opted-out"), "{incident:#}");
    assert!(text(hold(&incident, "opted-out"), "/why").contains("investigate:no"), "{incident:#}");
    assert!(world.gateway().ledger().of_account(&world.account).is_empty());
}

/// Tags are read where they are, when they are needed: what the finding says of them is a hint.
#[tokio::test]
async fn the_tags_of_acl_subnet_vpc_and_of_who_shares_a_group_count_and_one_in_the_finding_does_not() {
    let world = World::new().await;
    let (acl, subnet, shared, hinted) =
        futures::join!(world.instance("acl"), world.instance("subnet"), world.instance("shared"), world.instance("hinted"));
    let tag = async |id: &str| world.organization.tag(&world.account, HOME, id, OPT_OUT, "true").await.unwrap();
    tag(&acl.acl).await;
    tag(&subnet.subnet).await;
    let neighbour = world.instance("neighbour").await;
    let params = json!({"NetworkInterfaceId": neighbour.interfaces[0], "Groups": [shared.groups[0]]});
    world.hand(&world.account, "ec2", "modify_network_interface_attribute", params).await;
    tag(&neighbour.id).await;
    let mut hint = brute_force(&hinted, ATTACKER, Part::Target);
    hint["resource"]["instanceDetails"]["tags"] = json!([{"key": OPT_OUT, "value": "true"}]);
    let events = [world.attack(&acl), world.attack(&subnet), world.attack(&shared), world.event(&hint)];
    let output = world.respond(&events.join("\n")).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    for (instance, name, whose) in [
        (&acl, "block-source", acl.acl.as_str()),
        (&subnet, "block-source", subnet.subnet.as_str()),
        (&shared, "close-ingress", neighbour.id.as_str()),
    ] {
        let incident = of(&output, instance);
        let held = step(&incident, name);
        assert!(held["state"] == "held" && text(held, "/reason").contains(whose), "{whose}: {held:#}");
    }
    assert!(!world.blocked(&acl).await && !world.blocked(&subnet).await && world.open(&shared, 22).await);
    assert_eq!(state(&of(&output, &hinted)), "contained", "{output:?}");

    let last = world.instance("last").await;
    tag(&last.vpc).await;
    let incident = world.one(&world.attack(&last)).await;
    let held = step(&incident, "block-source");
    assert!(held["state"] == "held" && text(held, "/reason").contains(&last.vpc), "{held:#}");
    assert!(!world.blocked(&last).await);
}

/// A note in the hub's own Security Hub changes nothing of the account's; it counts for no cap either.
#[tokio::test]
async fn a_finding_of_an_opted_out_account_still_gets_its_note() {
    let shape = Shape { members: 2, opted_out: true, ..Shape::small() };
    let world = World::with(shape, |mut settings| {
        settings.caps = (1, 1);
        settings
    })
    .await;
    let organization = &world.organization;
    let account = &organization.member(Standing::OptedOut).unwrap().account;
    let instance = organization.instance(account, HOME, &InstanceShape::named("bench")).await.unwrap();
    let native = brute_force(&instance, ATTACKER, Part::Target);
    organization.know(&native).await.unwrap();
    let before = world.state(&instance).await;
    let incident = world.one(&world.event(&native)).await;
    assert_eq!((state(&incident), text(&incident, "/reason_code")), ("held", "opted-out"), "{incident:#}");
    assert_eq!(step(&incident, "note")["state"], "applied", "{incident:#}");
    let found = world.hand(&organization.security, "securityhub", "get_findings", json!({})).await;
    let noted = found["Findings"].as_array().unwrap().iter().find(|finding| finding["Id"] == native["arn"]).unwrap();
    assert!(text(noted, "/Note/Text").contains("Cordon") && noted["Workflow"]["Status"] == "NOTIFIED", "{noted:#}");
    assert_eq!((world.writes().len(), world.state(&instance).await), (0, before));
}
