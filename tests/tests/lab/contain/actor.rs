//! An instance that attacks others.

use cordon_lab::{
    Shape,
    organization::{
        finding::{Part, brute_force},
        service::{Kind, Sizes},
        trail::Caller,
    },
};
use serde_json::json;

use super::look::{IN_FORCE, all};
use crate::respond::world::{HOME, World, hold, id, state, step, text};

const VICTIM: &str = "192.0.2.44";

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_attacks_is_contained_its_disks_kept_and_its_credentials_cut_while_its_neighbour_works_on() {
    let world = World::with(Shape::small(), |settings| settings).await;
    let organization = &world.organization;
    let instance = world.instance("worker").await;
    organization.role_that_works(&instance).await.unwrap();
    let twin = world.twin(&instance, "twin").await;
    // It serves, beside others, behind a balancer and in a group.
    let group = organization.target_group(&instance, "web", Kind::Instances, 443).await.unwrap();
    organization.balance(&instance, "front", std::slice::from_ref(&group)).await.unwrap();
    organization.register(&instance, &group, &[(&instance.id, 8443), (&twin.id, 443)]).await.unwrap();
    let scaling = organization.scaling_group(&instance, Sizes { min: 1, max: 5, others: 2 }, &[]).await.unwrap();
    let endpoint = world.lab.endpoint();
    let (stolen, other) = (organization.issued(&instance, &endpoint).await.unwrap(), organization.issued(&twin, &endpoint).await.unwrap());
    assert!(world.works(&stolen).await.is_ok() && world.works(&other).await.is_ok());
    let caller = Caller::session(&instance.account, organization.role_of(&instance), &instance.id, &stolen.access_key, "203.0.113.9");
    organization.recorded(&caller.abuse(HOME, &organization.security)).await.unwrap();
    let (before, groups) = (world.state(&instance).await, world.groups(&instance).await);
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;

    let incident = world.one(&world.event(&brute_force(&instance, VICTIM, Part::Actor))).await;
    // Contained; but the roles that were assumed with its credentials are for a person.
    assert_eq!((state(&incident), text(&incident, "/reason_code")), ("held", "playbook"), "{incident:#}");
    assert!(text(hold(&incident, "playbook"), "/why").contains("Roles were assumed"), "{incident:#}");
    let changed = ["protect", "detach", "cut-flows", "isolate", "cut-issuance", "swap-profile", "deny-sessions", "snapshot"];
    all(&incident, &changed, "applied");
    all(&incident, &["record", "identify", "exposure", "find-logins", "trace", "chained-roles", "related"], "done");
    all(&incident, &["close-ingress", "block-source", "share-snapshots", "copy-snapshots"], "skipped");
    all(&incident, &["deny-sessions-again", "trace-again"], "waiting");
    assert!(text(&incident, "/first_change_at") <= text(&incident, "/contained_at"), "{incident:#}");

    // Both interfaces are in one group that lets nothing in and nothing out.
    let isolated = world.groups(&instance).await;
    assert_eq!((isolated.len(), isolated[0].len(), &isolated[0]), (2, 1, &isolated[1]), "{isolated:?}");
    assert_ne!(isolated, groups);
    assert_eq!(world.rules(&instance, &isolated[0][0]).await, 0);
    // Protected: it cannot be terminated or stopped, and its disks outlive it.
    assert_eq!(world.attribute(&instance, "disableApiTermination").await, true);
    assert_eq!(world.attribute(&instance, "disableApiStop").await, true);
    assert_eq!(world.attribute(&instance, "instanceInitiatedShutdownBehavior").await, "stop");
    let described = world.described(&instance).await;
    let volumes = described["BlockDeviceMappings"].as_array().unwrap();
    assert!(!volumes.is_empty() && volumes.iter().all(|volume| volume["Ebs"]["DeleteOnTermination"] == false), "{described:#}");
    assert_eq!(described["MetadataOptions"]["HttpEndpoint"], "disabled", "{described:#}");
    assert_ne!(described["IamInstanceProfile"]["Arn"], json!(instance.profile), "{described:#}");
    // Out of service, and the group replaces it.
    let health =
        organization.hand.call(&instance.account, HOME, "elbv2", "describe_target_health", json!({"TargetGroupArn": group})).await.unwrap();
    let serves = |id: &str| {
        let targets = health["TargetHealthDescriptions"].as_array().unwrap();
        targets.iter().any(|target| target["Target"]["Id"] == id && target["TargetHealth"]["State"] != "draining")
    };
    assert!(!serves(&instance.id) && serves(&twin.id), "{health:#}");
    let found = json!({"AutoScalingGroupNames": [scaling]});
    let found = organization.hand.call(&instance.account, HOME, "autoscaling", "describe_auto_scaling_groups", found).await.unwrap();
    let found = &found["AutoScalingGroups"][0];
    assert_eq!(found["DesiredCapacity"], 3, "capacity is not lowered: {found:#}");
    assert!(!found["Instances"].to_string().contains(&instance.id), "{found:#}");
    // Disks are kept, tagged and locked.
    let snapshots = world.snapshots(&instance, &id(&incident)).await;
    assert_eq!(snapshots.len(), volumes.len(), "{snapshots:?}");
    let kept = &step(&incident, "snapshot")["outcome"]["snapshots"];
    assert!(kept.as_array().unwrap().iter().all(|one| one["locked_until"].is_string() && one["state"] == "completed"), "{kept:#}");
    // Sessions of this instance are refused, its twin's go on.
    tokio::time::sleep(IN_FORCE).await;
    let denied = world.works(&stolen).await.unwrap_err();
    assert!(denied.message.contains("explicit deny") || denied.code.contains("Unauthorized"), "{denied:?}");
    world.works(&other).await.unwrap();

    // What is said of it.
    let outcome = &step(&incident, "trace")["outcome"];
    assert!(outcome["created"].to_string().contains("backup-agent"), "{outcome:#}");
    let report = world.cordon(&["incident", "report", &id(&incident)], "").await.stdout;
    for part in ["backup-agent", "203.0.113.9", "What did the credentials do?", "metadata service", "ASIALABCHAINED000001"] {
        assert!(report.contains(part), "{part}: {report}");
    }
    let page = world.cordon(&["incident", "report", &id(&incident), "--html"], "").await;
    assert!(page.code == Some(0) && page.stdout.starts_with("<!doctype html>"), "{page:?}");

    // The undo gives everything back but credentials; the evidence stays.
    let undone = world.cordon(&["incident", "undo", &id(&incident), "--yes"], "").await;
    assert_eq!(undone.code, Some(0), "{undone:?}");
    let shown = world.incident(&["incident", "show", &id(&incident)]).await;
    let back = ["protect", "detach", "cut-flows", "isolate", "cut-issuance", "swap-profile", "snapshot"];
    all(&shown, &back, "undone");
    all(&shown, &["deny-sessions"], "applied");
    assert_eq!(world.groups(&instance).await, groups);
    assert_eq!(world.state(&instance).await, before);
    assert_eq!(world.attribute(&instance, "disableApiTermination").await, false);
    let described = world.described(&instance).await;
    assert_eq!(
        (&described["MetadataOptions"]["HttpEndpoint"], &described["IamInstanceProfile"]["Arn"]),
        (&json!("enabled"), &json!(instance.profile))
    );
    assert_eq!(world.snapshots(&instance, &id(&incident)).await.len(), volumes.len());
    assert!(world.works(&stolen).await.is_err(), "credentials are given back only by name");
    assert_eq!(world.cordon(&["audit", "verify"], "").await.code, Some(0));
}
