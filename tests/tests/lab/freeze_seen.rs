//! A freeze is seen by whoever looks at anything, whichever command it is.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail as tests do")]

use crate::respond::world::{HOME, World, id};

#[tokio::test]
async fn every_command_that_shows_or_does_something_says_what_is_frozen() {
    let world = World::new().await;
    let (instance, other) = futures::join!(world.instance("web"), world.instance("other"));
    let run = id(&world.one(&world.attack(&instance)).await);
    let quiet = world.cordon(&["account", "list"], "").await;
    assert!(quiet.code == Some(0) && !quiet.stderr.contains("frozen"), "{quiet:?}");
    let frozen = world.cordon(&["freeze", "--why", "a drill"], "").await;
    assert_eq!(frozen.code, Some(0), "{frozen:?}");

    let event = world.attack(&other);
    let subject = ["--subject", other.id.as_str(), "--account", other.account.as_str(), "--region", HOME, "--type"];
    let kind = ["UnauthorizedAccess:EC2/SSHBruteForce", "--source", "198.51.100.9", "--port", "22"];
    let open = [&["open", "--playbook", "ec2-brute-force", "--why", "seen"][..], &subject, &kind].concat();
    let commands: [&[&str]; 14] = [
        &["incident", "list"],
        &["incident", "show", &run],
        &["incident", "report", &run],
        &["approval", "list"],
        &["budget", "show"],
        &["freeze", "list"],
        &["account", "list"],
        &["account", "show", &world.account],
        &["policy", "explain", &run, "close-ingress"],
        &["sweep", "--control", "EC2.13", "--max", "1", "--plan"],
        &["sweep", "--control", "EC2.13", "--max", "1", "--yes"],
        &["plan", "-"],
        &open,
        &["respond", "-"],
    ];
    for command in commands {
        let output = world.cordon(command, &event).await;
        assert_eq!(output.code, Some(0), "{command:?}: {output:?}");
        if command == ["freeze", "list"] {
            assert!(["the organization", "full", "a drill", "cordon thaw"].iter().all(|part| output.stdout.contains(part)), "{output:?}");
            continue;
        }
        let said = output.stderr.lines().find(|line| line.starts_with("frozen: the organization is frozen (full) by "));
        assert!(said.is_some_and(|line| line.contains("a drill") && line.contains("`cordon thaw` lifts it")), "{command:?}: {output:?}");
    }
    assert!(world.open(&other, 22).await);
}
