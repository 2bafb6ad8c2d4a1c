//! `confirm_findings`: what GuardDuty itself does not stand by changes nothing.

use cordon_lab::{
    Settings, Shape,
    organization::{
        credential::{Stolen, misuse},
        finding::{Part, brute_force},
    },
};
use serde_json::json;

use super::world::{ATTACKER, HOME, World, hold, id, of, state, step, text};

/// One that asks GuardDuty before it acts.
async fn confirming() -> World {
    World::with(Shape::small(), |settings| Settings { confirm_findings: true, ..settings }).await
}

#[tokio::test]
async fn a_finding_that_guardduty_knows_is_acted_on_and_one_that_it_does_not_know_is_held() {
    let world = confirming().await;
    let (known, forged) = futures::join!(world.instance("known"), world.instance("forged"));
    let native = brute_force(&known, ATTACKER, Part::Target);
    world.organization.know(&native).await.unwrap();
    let before = world.state(&forged).await;
    let output = world.respond(&format!("{}\n{}\n", world.event(&native), world.attack(&forged))).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(state(&of(&output, &known)), "contained", "{output:?}");
    assert!(!world.open(&known, 22).await && world.blocked(&known).await);
    let held = of(&output, &forged);
    assert_eq!((state(&held), text(&held, "/reason_code")), ("held", "unconfirmed"), "{held:#}");
    assert!(text(hold(&held, "unconfirmed"), "/why").contains("forged"), "{held:#}");
    assert_eq!(world.state(&forged).await, before);

    // When GuardDuty knows it after all, a release looks again.
    let late = brute_force(&forged, ATTACKER, Part::Target);
    world.organization.know(&late).await.unwrap();
    let released = world.incident(&["incident", "release", &id(&held)]).await;
    assert_eq!(state(&released), "contained", "{released:#}");
    assert!(!world.open(&forged, 22).await);
}

/// A true finding's id over another instance: what GuardDuty says of it counts.
#[tokio::test]
async fn a_copy_of_a_true_finding_that_names_another_instance_is_held() {
    let world = confirming().await;
    let (attacked, bystander) = futures::join!(world.instance("attacked"), world.instance("bystander"));
    let native = brute_force(&attacked, ATTACKER, Part::Target);
    world.organization.know(&native).await.unwrap();
    let before = world.state(&bystander).await;
    let mut copy = brute_force(&bystander, ATTACKER, Part::Target);
    for name in ["id", "arn", "createdAt", "updatedAt"] {
        copy[name] = native[name].clone();
    }
    let incident = world.one(&world.event(&copy)).await;
    assert_eq!((state(&incident), text(&incident, "/reason_code")), ("held", "unconfirmed"), "{incident:#}");
    assert_eq!((world.writes().len(), world.state(&bystander).await), (0, before));
    assert_eq!(step(&incident, "close-ingress")["state"], json!("held"), "{incident:#}");
}

/// A true finding's id over other credentials: whose instance and whose sessions are cut is what GuardDuty says.
#[tokio::test]
async fn a_copy_of_a_true_finding_that_names_another_principal_is_held() {
    let world = confirming().await;
    let (thief, bystander) = futures::join!(world.instance("thief"), world.instance("bystander"));
    let about = |principal: &str| {
        let stolen = Stolen {
            account: &world.account,
            access_key: "ASIALABSTOLEN0000009",
            principal,
            user_type: "AssumedRole",
            user: world.organization.role_of(&thief),
        };
        misuse("UnauthorizedAccess:IAMUser/InstanceCredentialExfiltration.OutsideAWS", HOME, &stolen, ATTACKER)
    };
    let native = about(&format!("AROALAB:{}", thief.id));
    world.organization.know(&native).await.unwrap();
    let before = world.state(&bystander).await;
    let mut copy = about(&format!("AROALAB:{}", bystander.id));
    for name in ["createdAt", "updatedAt"] {
        copy[name] = native[name].clone();
    }
    let incident = world.one(&world.event(&copy)).await;
    assert!(text(hold(&incident, "unconfirmed"), "/why").contains("the principal"), "{incident:#}");
    assert_eq!((world.writes().len(), world.state(&bystander).await), (0, before), "{incident:#}");
}
