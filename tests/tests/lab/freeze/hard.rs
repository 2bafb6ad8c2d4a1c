//! `--hard`: the hub's own role may assume no role, whoever is alive.

use cordon_lab::{Cordon, organization::UserShape};
use serde_json::{Value, json};

use crate::respond::world::{World, id, state, text};

/// Somebody of the security account who may change roles, at a command line of their own.
async fn operator(world: &mut World) -> Cordon {
    crate::people::person(world, "Olga", &["operator"]).await
}

async fn policies(world: &World) -> Vec<Value> {
    let listed = world.hand(&world.organization.security, "iam", "list_role_policies", json!({"RoleName": "CordonHub"})).await;
    let mut names = listed["PolicyNames"].as_array().unwrap().clone();
    names.sort_by_key(Value::to_string);
    names
}

#[tokio::test]
async fn a_hard_freeze_denies_the_hub_every_role_and_the_hard_thaw_gives_that_back() {
    let mut world = World::new().await;
    let (operator, instance) = (operator(&mut world).await, world.instance("web").await);
    let frozen = operator.run(&["freeze", "--hard", "--why", "the hub is not ours any more"], "").await.unwrap();
    assert_eq!(frozen.code, Some(0), "{frozen:?}");
    assert!(frozen.stderr.contains(&world.organization.hub_role()), "{frozen:?}");
    assert_eq!(policies(&world).await, ["CordonFrozen", "own"]);
    // Once more is as good as once.
    assert_eq!(operator.run(&["freeze", "--hard", "--why", "again"], "").await.unwrap().code, Some(0));

    // With the journal out of its reach AWS alone says no.
    let elsewhere = world.cordon.configured(
        &world.organization.config_toml(&cordon_lab::Settings { state_dir: world.folder.path().join("stolen"), ..world.settings.clone() }),
    );
    let refused = elsewhere.unwrap().run(&["respond", "-", "--format", "json"], &world.attack(&instance)).await.unwrap();
    let incident = crate::respond::world::one(&refused);
    assert_eq!((state(&incident), text(&incident, "/reason_code")), ("held", "role-missing"), "{incident:#}");
    let opened = world.gateway().ledger().of_operation("sts", "AssumeRole");
    assert!(!opened.is_empty() && opened.iter().all(|call| !call.succeeded()), "{opened:#?}");
    let cordon = world.cordon.configured(&world.organization.config_toml(&world.settings)).unwrap();

    let soft = cordon.run(&["thaw", "--yes"], "").await.unwrap();
    assert!(soft.code == Some(0) && soft.stderr.contains("`cordon thaw --hard`"), "{soft:?}");
    assert_eq!(policies(&world).await, ["CordonFrozen", "own"]);
    let thawed = operator.run(&["thaw", "--hard", "--yes"], "").await.unwrap();
    assert_eq!((thawed.code, policies(&world).await), (Some(0), vec![json!("own")]), "{thawed:?}");
    let nothing = operator.run(&["thaw", "--hard", "--yes"], "").await.unwrap();
    assert!(nothing.code == Some(2) && nothing.stderr.contains("was not locked out"), "{nothing:?}");
    let incident = world.one(&world.attack(&instance)).await;
    assert_eq!(state(&incident), "contained", "{incident:#}");
    assert_eq!(world.shown(&id(&incident)).await["state"], "contained");
}

#[tokio::test]
async fn a_hard_freeze_holds_also_where_the_service_does_not_answer() {
    let mut world = World::new().await;
    let operator = operator(&mut world).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let far = crate::people::api::from_afar(&world, &operator, &format!("http://{closed}"));
    let frozen = far.run(&["freeze", "--hard", "--why", "nobody answers"], "").await.unwrap();
    assert_eq!(frozen.code, Some(1), "{frozen:?}");
    assert!(frozen.stderr.contains("may assume no role any more") && frozen.stderr.contains("does not answer"), "{frozen:?}");
    assert_eq!(policies(&world).await, ["CordonFrozen", "own"]);
    let here = operator.run(&["thaw", "--hard", "--yes"], "").await.unwrap();
    assert!(here.code == Some(0) && here.stderr.contains("may assume roles again"), "{here:?}");
    assert_eq!(policies(&world).await, ["own"]);
}

#[tokio::test]
async fn what_cannot_be_locked_out_says_which_role_and_what_to_do_by_hand_and_the_journal_is_frozen_all_the_same() {
    let mut world = World::new().await;
    let role = world.organization.hub_role();
    // Of an account that is not the hub's.
    let user = world.organization.user(&world.account, &UserShape::default()).await.unwrap();
    let stranger = world.cordon.clone().as_person(&user.keys[0]);
    let output = stranger.run(&["freeze", "--hard", "--why", "x"], "").await.unwrap();
    assert_eq!(output.code, Some(1), "{output:?}");
    for part in
        [role.as_str(), &world.account, "the journal says so", "aws iam put-role-policy --role-name CordonHub --policy-name CordonFrozen"]
    {
        assert!(output.stderr.contains(part), "{part}: {output:?}");
    }
    assert_eq!(world.frozen(&[]).await.len(), 1);

    // Somebody else's policy of that name is neither taken for ours nor removed.
    let theirs = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "sts:*", "Resource": "*"}]}).to_string();
    let put = json!({"RoleName": "CordonHub", "PolicyName": "CordonFrozen", "PolicyDocument": theirs});
    world.hand(&world.organization.security, "iam", "put_role_policy", put).await;
    let operator = operator(&mut world).await;
    for command in [&["freeze", "--hard", "--why", "x"][..], &["thaw", "--hard", "--yes"]] {
        let output = operator.run(command, "").await.unwrap();
        assert!(output.code == Some(1) && output.stderr.contains("is not Cordon's") && output.stderr.contains(&role), "{output:?}");
    }
    assert_eq!(policies(&world).await, ["CordonFrozen", "own"]);

    // Nobody said which role it is.
    let text = world.organization.config_toml(&world.settings).replace(&format!("role = \"{role}\"\n"), "");
    let unknown = world.cordon.configured(&text).unwrap().run(&["freeze", "--hard", "--why", "x"], "").await.unwrap();
    assert!(unknown.code == Some(2) && unknown.stderr.contains("`[hub] role`"), "{unknown:?}");
}
