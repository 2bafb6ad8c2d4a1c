//! A freeze of an account, an OU or a playbook.

use serde_json::json;

use super::assert_held;
use crate::respond::world::{HOME, World, members, of, state, text};

#[tokio::test]
async fn a_freeze_of_an_account_an_ou_or_a_playbook_stops_that_and_nothing_else() {
    let world = World::with(members(2, &[HOME]), |settings| settings).await;
    let second = world.organization.ordinary(1).unwrap().account.clone();
    let other = |name: String| {
        let (world, second) = (&world, &second);
        async move {
            let shape = cordon_lab::organization::InstanceShape::named(&name);
            world.organization.instance(second, HOME, &shape).await.unwrap()
        }
    };
    let management = &world.organization.management;
    let parents = world.hand(management, "organizations", "list_parents", json!({"ChildId": world.account})).await;
    let unit = text(&parents, "/Parents/0/Id").to_owned();
    let scopes: [([&str; 2], bool, bool); 6] = [
        (["--account", &world.account], true, false),
        (["--ou", &unit], true, true),
        (["--ou", "Root/Workloads"], true, true),
        (["--ou", "Workloads/Development"], false, false),
        (["--playbook", "open-admin-port"], false, false),
        (["--playbook", "ec2-brute-force"], true, true),
    ];
    for (number, (scope, first_held, second_held)) in scopes.into_iter().enumerate() {
        let name = format!("one-{number}");
        let (one, two) = futures::join!(world.instance(&name), other(format!("two-{number}")));
        let before = (world.state(&one).await, world.state(&two).await);
        world.freeze(&scope).await;
        let output = world.respond(&format!("{}\n{}\n", world.attack(&one), world.attack(&two))).await;
        assert_eq!(output.code, Some(0), "{output:?}");
        for (instance, held, before) in [(&one, first_held, before.0), (&two, second_held, before.1)] {
            let incident = of(&output, instance);
            if held {
                assert_held(&incident, &format!("cordon thaw {}", scope.join(" ")));
                assert_eq!(world.state(instance).await, before, "{scope:?}");
            } else {
                assert_eq!(state(&incident), "contained", "{scope:?}: {incident:#}");
            }
        }
        world.thaw(&scope).await;
    }
}
