//! With `[hub] api` a computer has no journal of its own: what would drive or read one says so.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail as tests do")]

use crate::{
    people::api::from_afar,
    respond::world::{HOME, World, assert_no_panic, one, state},
};

#[tokio::test]
async fn with_the_address_of_a_service_what_drives_or_reads_the_journal_of_this_computer_is_refused_unless_here() {
    let world = World::new().await;
    let instance = world.instance("web").await;
    let url = "http://127.0.0.1:9";
    let far = from_afar(&world, &world.cordon, url);
    let folder = world.folder.path().join("nowhere");
    let event = world.attack(&instance);
    let run = "00000000-0000-7000-8000-000000000000";
    let subject = ["--subject", instance.id.as_str(), "--account", instance.account.as_str(), "--region", HOME];
    let open = [&["open", "--playbook", "ec2-brute-force", "--why", "x"][..], &subject].concat();
    let policies = world.folder.path().to_str().unwrap();
    let commands: [&[&str]; 10] = [
        &["respond", "-"],
        &["plan", "-"],
        &open,
        &["sweep", "--control", "EC2.13", "--max", "1", "--yes"],
        &["sweep", "--control", "EC2.13", "--max", "1", "--plan"],
        &["serve"],
        &["policy", "explain", run, "close-ingress"],
        &["policy", "replay", "--since", "1d", "--policies", policies],
        &["audit", "verify"],
        &["audit", "turned-away"],
    ];
    for command in commands {
        let refused = far.run(command, &event).await.unwrap();
        assert_no_panic(&refused);
        assert!(refused.code == Some(2) && refused.stdout.is_empty(), "{command:?}: {refused:?}");
        let name = if ["policy", "audit"].contains(&command[0]) { command[..2].join(" ") } else { command[0].to_owned() };
        for part in [&format!("`cordon {name}`"), "`[hub] api`", url, "on the service's computer", "`--here`", folder.to_str().unwrap()] {
            assert!(refused.stderr.contains(part), "{command:?}: {part}: {}", refused.stderr);
        }
    }
    assert!(!folder.exists() && world.gateway().ledger().all().is_empty(), "nothing was done, and nothing made");

    // Said so, it is this computer's folder.
    let here = async |command: &[&str]| {
        let output = far.run(&[command, &["--here"]].concat(), &event).await.unwrap();
        assert_no_panic(&output);
        output
    };
    let planned = one(&here(&["plan", "-", "--format", "json"]).await);
    assert_eq!(state(&planned), "planned", "{planned:#}");
    let contained = one(&here(&["respond", "-", "--format", "json"]).await);
    assert_eq!(state(&contained), "contained", "{contained:#}");
    for command in [
        &["audit", "verify"][..],
        &["audit", "turned-away"],
        &["policy", "explain", &crate::respond::world::id(&contained), "close-ingress"],
    ] {
        assert_eq!(here(command).await.code, Some(0), "{command:?}");
    }
    // What needs no journal asks for none.
    let listed = far.run(&["account", "list"], "").await.unwrap();
    assert!(listed.code == Some(0) && listed.stderr.contains("what is frozen is not known"), "{listed:?}");
}
