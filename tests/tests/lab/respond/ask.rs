//! `mode = "ask"`: nothing is changed before a person said yes to exactly that.

use cordon_lab::organization::{Exposure, Instance, InstanceShape};
use futures::future::try_join_all;
use serde_json::{Value, json};

use super::world::{HOME, World, hold, id, members, of, one, state, step, text};

async fn asking() -> World {
    World::with(members(1, &[HOME]), |mut settings| {
        settings.mode = "ask".to_owned();
        settings
    })
    .await
}

/// What `cordon approval list` shows.
async fn waiting(world: &World) -> Vec<Value> {
    let output = world.cordon(&["approval", "list", "--format", "json"], "").await;
    assert_eq!(output.code, Some(0), "{output:?}");
    output.objects()
}

#[tokio::test]
async fn in_mode_ask_a_yes_to_exactly_this_plan_does_it_and_a_no_leaves_it() {
    let world = asking().await;
    let instance = world.instance("web").await;
    let (before, event) = (world.state(&instance).await, world.attack(&instance));
    let output = world.cordon(&["respond", "-", "--format", "json", "--fail-on", "waiting"], &event).await;
    assert_eq!(output.code, Some(5), "{output:?}");
    let incident = one(&output);
    let run = id(&incident);
    assert_eq!((state(&incident), &step(&incident, "close-ingress")["state"]), ("waiting", &json!("waiting")), "{incident:#}");
    assert_eq!(world.respond(&event).await.code, Some(0), "waiting is no failure");

    let asked = waiting(&world).await;
    assert_eq!((asked.len(), text(&asked[0], "/incident"), text(&asked[0], "/step")), (1, run.as_str(), "close-ingress"));
    let digest = text(&asked[0], "/digest").to_owned();
    let short = digest.get(..12).unwrap();
    assert!(digest.len() == 64 && text(hold(&incident, "approval"), "/release").contains(short), "{incident:#}");
    assert!(!asked[0]["changes"].as_array().unwrap().is_empty(), "{asked:?}");

    // A yes to something else, and a yes that nobody gave.
    let wrong = world.cordon(&["approval", "grant", &run, "--digest", &"0".repeat(64), "--yes"], "").await;
    assert!(wrong.code == Some(2) && wrong.stderr.contains(short), "{wrong:?}");
    let nobody = world.cordon(&["approval", "grant", &run, "--digest", &digest], "").await;
    assert!(nobody.code == Some(2) && nobody.stderr.contains("--yes"), "{nobody:?}");
    assert_eq!((world.writes().len(), world.state(&instance).await), (0, before));

    let granted = world.incident(&["approval", "grant", &run, "--digest", short, "--yes"]).await;
    assert_eq!(step(&granted, "close-ingress")["state"], "applied", "{granted:#}");
    assert!(!world.open(&instance, 22).await && !world.blocked(&instance).await);

    // The next step asks for itself.
    let asked = waiting(&world).await;
    assert_eq!((asked.len(), text(&asked[0], "/step")), (1, "block-source"), "{asked:?}");
    let denied = world.incident(&["approval", "deny", &run, "--why", "it is our own scanner"]).await;
    let block = step(&denied, "block-source");
    assert!(block["state"] == "skipped" && text(block, "/reason").contains("it is our own scanner"), "{denied:#}");
    assert!(!world.blocked(&instance).await && waiting(&world).await.is_empty());
    let nothing = world.cordon(&["approval", "grant", &run, "--yes"], "").await;
    assert!(nothing.code == Some(2) && nothing.stderr.contains("asks nothing"), "{nothing:?}");
}

/// Between question and answer somebody opens the port once more: the yes was to another plan.
#[tokio::test]
async fn a_plan_that_drifted_between_question_and_yes_is_asked_anew() {
    let world = asking().await;
    let instance = world.instance("web").await;
    let incident = world.one(&world.attack(&instance)).await;
    let run = id(&incident);
    let first = text(&waiting(&world).await[0], "/digest").to_owned();

    let rule = json!({"GroupId": instance.groups[0], "IpPermissions": [
        {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 30, "IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "wider"}]}
    ]});
    world.hand(&world.account, "ec2", "authorize_security_group_ingress", rule).await;
    let before = world.state(&instance).await;
    let granted = world.incident(&["approval", "grant", &run, "--step", "close-ingress", "--digest", &first, "--yes"]).await;
    assert_eq!((state(&granted), &step(&granted, "close-ingress")["state"]), ("waiting", &json!("waiting")), "{granted:#}");
    assert_eq!((world.writes().len(), world.state(&instance).await), (0, before));

    let second = text(&waiting(&world).await[0], "/digest").to_owned();
    assert_ne!(first, second);
    let stale = world.cordon(&["approval", "grant", &run, "--digest", &first, "--yes"], "").await;
    assert_eq!(stale.code, Some(2), "{stale:?}");
    let granted = world.incident(&["approval", "grant", &run, "--digest", &second, "--yes"]).await;
    assert_eq!(step(&granted, "close-ingress")["state"], "applied", "{granted:#}");
    let rules = world.organization.ingress(&instance.account, HOME, &instance.groups[0]).await.unwrap();
    assert!(!world.open(&instance, 22).await && cordon_lab::organization::look::lets_in(&rules, 30, "0.0.0.0/0"), "{rules:?}");
}

/// What closing may break, or somebody else may undo, asks a person even where the mode is to act.
#[tokio::test]
async fn rules_for_all_traffic_prefix_lists_crowded_groups_and_groups_of_a_controller_ask_a_person() {
    let world = World::new().await;
    let shape = |name: &str| InstanceShape { interfaces: vec![Exposure::Port], ..InstanceShape::named(name) };
    let ask = async |operation: &str, params: Value| world.hand(&world.account, "ec2", operation, params).await;
    let (all, listed, crowded, cluster) = (shape("all"), shape("listed"), shape("crowded"), shape("cluster"));
    let (all, listed, crowded, cluster) =
        futures::join!(world.shaped(&all), world.shaped(&listed), world.shaped(&crowded), world.shaped(&cluster));
    let permit = async |instance: &Instance, permission: Value| {
        let params = json!({"GroupId": instance.groups[0], "IpPermissions": [permission]});
        ask("authorize_security_group_ingress", params).await
    };
    permit(&all, json!({"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]})).await;
    let list = json!({
        "PrefixListName": "everybody", "AddressFamily": "IPv4", "MaxEntries": 2,
        "Entries": [{"Cidr": "0.0.0.0/1"}, {"Cidr": "128.0.0.0/1"}]
    });
    let list = text(&ask("create_managed_prefix_list", list).await, "/PrefixList/PrefixListId").to_owned();
    permit(&listed, json!({"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "PrefixListIds": [{"PrefixListId": list}]})).await;
    let interface = json!({"SubnetId": crowded.subnet, "Groups": [crowded.groups[0]]});
    let hand = &world.lab.hand;
    try_join_all((0..20).map(|_| hand.call(&world.account, HOME, "ec2", "create_network_interface", interface.clone()))).await.unwrap();
    world.organization.tag(&world.account, HOME, &cluster.groups[0], "kubernetes.io/cluster/prod", "owned").await.unwrap();

    let made = [&all, &listed, &crowded, &cluster];
    let events: Vec<String> = made.iter().map(|instance| world.attack(instance)).collect();
    let output = world.respond(&events.join("\n")).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    for (instance, why) in made.into_iter().zip(["opens all traffic", list.as_str(), "21 ", "is kept by"]) {
        let incident = of(&output, instance);
        let close = step(&incident, "close-ingress");
        assert!(close["state"] == "waiting" && text(close, "/reason").contains(why), "{why}: {close:#}");
        assert!(world.open(instance, 22).await, "{why}");
        assert!(text(hold(&incident, "approval"), "/release").starts_with("cordon approval grant "), "{incident:#}");
    }
    let writes = world.gateway().ledger().find(|call| call.operation.ends_with("SecurityGroupIngress"));
    assert!(writes.is_empty(), "{writes:?}");
    let granted = world.incident(&["approval", "grant", &id(&of(&output, &all)), "--step", "close-ingress", "--yes"]).await;
    assert_eq!(step(&granted, "close-ingress")["state"], "applied", "{granted:#}");
    assert!(!world.open(&all, 22).await && world.open(&all, 443).await);
}
