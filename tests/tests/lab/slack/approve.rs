//! Answers from Slack.

use serde_json::json;

use super::*;

/// Signs with the makers' own code.
async fn signed_by_the_sdk(world: &World, time: i64, body: &str) -> String {
    let source = "import os\nfrom slack_sdk.signature import SignatureVerifier\n\
                  print(SignatureVerifier(os.environ['SECRET']).generate_signature(timestamp=os.environ['TIME'], body=os.environ['BODY']))";
    let time = time.to_string();
    let environment = [("SECRET", slack::SIGNING_SECRET), ("TIME", time.as_str()), ("BODY", body)];
    let output = world.lab.python.run(source, "http://127.0.0.1:9", &environment).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Reads every message that was sent with the makers' own models, which refuse what Slack would.
pub(super) async fn accepted_by_the_sdk(world: &World) {
    let sent: Vec<Value> = world.slack.calls().into_iter().filter_map(|call| call.body.get("blocks").cloned()).collect();
    assert!(!sent.is_empty());
    let source = "import json, sys\nfrom slack_sdk.models.blocks import Block\n\
                  for blocks in json.load(open(__import__('os').environ['FILE'])):\n\
                  \x20   read = Block.parse_all(blocks)\n\
                  \x20   assert [block.to_dict() for block in read] == blocks, blocks\n\
                  print('accepted')";
    let file = world._folder.path().join("blocks.json");
    std::fs::write(&file, Value::from(sent).to_string()).unwrap();
    let output = world.lab.python.run(source, "http://127.0.0.1:9", &[("FILE", file.to_str().unwrap())]).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "accepted", "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn an_incident_is_one_thread_from_its_detection_over_a_yes_and_a_no_to_its_closing_report() {
    let world = World::new(Door::Requests, |settings| settings.mode = "ask".to_owned()).await;
    let mut service = world.serve().await;
    world.attack().await;
    let close = world.question(&service, "close-ingress").await;
    let value = close.button(APPROVE).unwrap();
    let shown = close.blocks.to_string();
    assert!(shown.contains("Blast radius") && shown.contains("What would be changed") && shown.contains(&world.web.groups[0]), "{shown}");

    // Somebody whom nobody knows, and somebody who may not.
    let nobody = world.told(&service, "U0NOBODY", APPROVE, &close, &value).await;
    assert!(nobody.contains("nobody that Cordon knows"), "{nobody}");
    let carol = world.told(&service, CAROL, APPROVE, &close, &value).await;
    assert!(carol.contains("Carol") && carol.contains("approver"), "{carol}");
    let forged = world.told(&service, ALICE, APPROVE, &close, "{\"run\":\"x\"}").await;
    assert!(forged.contains("nothing that Cordon wrote"), "{forged}");
    let away = world.turned_away().await;
    assert_eq!(away.len(), 3, "{away:#?}");
    assert!(away[1]["who"].as_str().unwrap().contains("Carol") && away[2]["who"] == "U0NOBODY", "{away:#?}");
    assert!(world.changes().is_empty() && !world.closed().await);

    // The yes of somebody who may, signed as Slack's own code signs.
    let body = slack::form_of(&world.slack.pressed(ALICE, APPROVE, &value, Some(&close)));
    let time = Timestamp::now().as_second();
    let signature = signed_by_the_sdk(&world, time, &body).await;
    assert_eq!(signature, slack::signature(time, &body));
    assert_eq!(world.deliver(&body, Some(time), Some(&signature)).await, 200);
    let said = world.whispered(&service, 3).await;
    assert!(said.contains("may be done as planned"), "{said}");
    let settled = |ts: &str, word: &str| {
        let message = world.slack.messages().into_iter().find(|message| message.ts == ts).unwrap();
        message.button(APPROVE).is_none() && message.button(DENY).is_none() && message.blocks.to_string().contains(word)
    };
    until(&service, "the card is settled", || settled(&close.ts, "*Approved* by `Alice`")).await;
    let block = world.question(&service, "block-source").await;
    assert!(world.closed().await);

    // Pressed twice: a clear answer, no change.
    let before = world.changes().len();
    let twice = world.told(&service, ALICE, APPROVE, &close, &value).await;
    assert!(twice.contains("Nothing was changed") && twice.contains("asks nothing now"), "{twice}");
    assert_eq!(world.changes().len(), before);

    let no = world.told(&service, ALICE, DENY, &block, &block.button(DENY).unwrap()).await;
    assert!(no.contains("will not be done"), "{no}");
    until(&service, "the other card is settled", || settled(&block.ts, "*Denied* by `Alice`")).await;
    // Whatever else asks is answered until the incident is over.
    let begun = Instant::now();
    while world.message("/closed/").is_none() {
        assert!(begun.elapsed() < PATIENCE, "{} {:#?}\n{}", world.state().await, world.slack.messages(), service.log());
        if let Some(asks) = world.slack.messages().into_iter().find(|message| message.button(APPROVE).is_some()) {
            world.told(&service, ALICE, APPROVE, &asks, &asks.button(APPROVE).unwrap()).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let passage = world.organization.passes(&world.web, ATTACKER.parse().unwrap(), 443).await.unwrap();
    assert!(passage.inward, "the source is not blocked: {passage:?}");

    let report = world.message("/closed/").unwrap().blocks.to_string();
    for wanted in ["What happened", "What was changed", "How to undo", "cordon incident report"] {
        assert!(report.contains(wanted), "{wanted}: {report}");
    }
    let late = world.told(&service, ALICE, APPROVE, &close, &value).await;
    assert!(late.contains("Nothing was changed"), "an answer for an incident that is over: {late}");
    let refused: Vec<Value> = world.turned_away().await.into_iter().filter(|entry| entry["door"] == "request").collect();
    let by = |who: &str| refused.iter().filter(|entry| entry["who"] == who).count();
    assert_eq!(
        (by("Carol"), by("Alice") >= 2, by("Carol") + by("Alice")),
        (1, true, refused.len()),
        "pressed twice, and too late: {refused:#?}"
    );
    assert!(refused[0]["why"].as_str().unwrap().contains("asks nothing now"), "{refused:#?}");

    service.terminate();
    assert_eq!(service.wait(PATIENCE).await, Some(0), "{}", service.log());
    let messages = world.one_thread();
    assert!(messages[0].blocks.to_string().contains("*closed*"), "the first card says how it stands: {:?}", messages[0]);
    let posts: Vec<Instant> = world
        .slack
        .calls()
        .iter()
        .filter(|call| ["chat.postMessage", "chat.update"].contains(&call.method.as_str()))
        .map(|call| call.at)
        .collect();
    let fast = posts.windows(2).filter(|pair| pair[1] - pair[0] < Duration::from_millis(900)).count();
    assert_eq!(fast, 0, "more than one message a second");
    accepted_by_the_sdk(&world).await;
    let audit = world.cordon.run(&["audit", "verify"], "").await.unwrap();
    assert_eq!(audit.code, Some(0), "{audit:?}");
}

#[tokio::test]
async fn a_request_that_is_not_slacks_is_refused_and_remembered() {
    let world = World::new(Door::Requests, |_| {}).await;
    let mut service = world.serve().await;
    let body = slack::form_of(&world.slack.pressed(ALICE, APPROVE, "{}", None));
    let now = Timestamp::now().as_second();
    let good = slack::signature(now, &body);
    assert_eq!(world.deliver(&body, None, Some(&good)).await, 401);
    assert_eq!(world.deliver(&body, Some(now), None).await, 401);
    assert_eq!(world.deliver(&body, Some(now), Some("v0=00")).await, 401);
    assert_eq!(world.deliver(&format!("{body}0"), Some(now), Some(&good)).await, 401);
    assert_eq!(world.deliver(&body, Some(now - 400), Some(&slack::signature(now - 400, &body))).await, 401);
    assert_eq!(world.deliver(&body, Some(now), Some(&good)).await, 200);
    assert_eq!(world.deliver(&body, Some(now), Some(&good)).await, 401, "the same again");
    service.terminate();
    assert_eq!(service.wait(PATIENCE).await, Some(0), "{}", service.log());
    let _again = world.serve().await;
    assert_eq!(world.deliver(&body, Some(now), Some(&good)).await, 401, "the same again, to the next process");
    let away = world.turned_away().await;
    let whys: Vec<&str> = away.iter().rev().filter(|entry| entry["who"] != ALICE).map(|entry| entry["why"].as_str().unwrap()).collect();
    assert_eq!(whys.len(), 7, "{away:#?}");
    for (why, wanted) in whys.iter().zip(["no signature", "no signature", "wrong", "wrong", "five minutes", "before", "before"]) {
        assert!(why.contains(wanted), "{why}: {wanted}");
    }
    assert!(world.changes().is_empty());
}

#[tokio::test]
async fn a_yes_by_socket_mode_is_acknowledged_and_does_the_same_also_after_the_connection_was_lost() {
    let world = World::new(Door::Socket, |settings| settings.mode = "ask".to_owned()).await;
    let service = world.serve().await;
    until(&service, "it is connected", || world.slack.connected() == 1).await;
    world.slack.push(&json!({ "type": "disconnect", "reason": "refresh_requested" }));
    let opened = || world.slack.calls().iter().filter(|call| call.method == "apps.connections.open").count();
    until(&service, "it is connected again", || opened() == 2 && world.slack.connected() == 1).await;

    world.attack().await;
    let close = world.question(&service, "close-ingress").await;
    let payload = world.slack.pressed(ALICE, APPROVE, &close.button(APPROVE).unwrap(), Some(&close));
    let envelope = json!({ "envelope_id": "e-1", "type": "interactive", "accepts_response_payload": false, "payload": payload });
    world.slack.push(&envelope);
    let said = world.whispered(&service, 0).await;
    assert!(said.contains("may be done as planned"), "{said}");
    assert_eq!(world.slack.acknowledged(), ["e-1"]);
    world.question(&service, "block-source").await;
    assert!(world.closed().await);
    // Slack delivers an envelope again when it missed the acknowledgement.
    world.slack.push(&envelope);
    until(&service, "it is acknowledged again", || world.slack.acknowledged() == ["e-1", "e-1"]).await;
    let other = json!({ "envelope_id": "e-2", "type": "interactive", "payload": envelope["payload"] });
    world.slack.push(&other);
    let late = world.whispered(&service, 1).await;
    assert!(late.contains("asks nothing now"), "{late}");
    let refused: Vec<Value> = world.turned_away().await.into_iter().filter(|entry| entry["door"] == "request").collect();
    assert_eq!((refused.len(), world.slack.whispers().len()), (1, 2), "the same envelope counts once: {refused:#?}");

    // What was taken is acknowledged on the connection that it came by, also where that is about to end.
    world.slack.push(&json!({ "envelope_id": "e-3", "type": "interactive", "payload": envelope["payload"] }));
    world.slack.push(&json!({ "type": "disconnect", "reason": "warning" }));
    until(&service, "it is acknowledged", || world.slack.acknowledged().contains(&"e-3".to_owned())).await;
    until(&service, "it is connected again", || opened() == 3 && world.slack.connected() == 1).await;
}

#[tokio::test]
async fn a_yes_to_a_plan_that_drifted_or_whose_time_is_over_changes_nothing_and_the_card_says_so() {
    let world = World::new(Door::Requests, |settings| {
        settings.mode = "ask".to_owned();
        settings.more.push_str("\n[approval]\nquestion_lasts = \"1m\"\n");
        // Held when its time is over, not escalated.
        let shipped = include_str!("../../../../hub/playbooks/ec2-brute-force.toml").replace("on_expiry = \"escalate\"\n", "");
        let folder = settings.state_dir.with_file_name("playbooks");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("ec2-brute-force.toml"), shipped).unwrap();
        settings.more.push_str(&format!("\n[playbooks]\ndir = {folder:?}\n"));
    })
    .await;
    let service = world.serve().await;
    world.attack().await;
    let first = world.question(&service, "close-ingress").await;
    let wider = json!({"GroupId": world.web.groups[0], "IpPermissions": [
        {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 30, "IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "wider"}]}
    ]});
    world.lab.hand.call(&world.web.account, HOME, "ec2", "authorize_security_group_ingress", wider).await.unwrap();
    let value = first.button(APPROVE).unwrap();
    world.told(&service, ALICE, APPROVE, &first, &value).await;
    until(&service, "it asks anew", || world.asked("close-ingress").is_some_and(|asked| asked.ts != first.ts)).await;
    let second = world.asked("close-ingress").unwrap();
    assert_ne!(second.button(APPROVE), Some(value.clone()), "bound to another plan");
    assert!(world.changes().is_empty());
    for action in [APPROVE, DENY] {
        let stale = world.told(&service, ALICE, action, &first, &value).await;
        assert!(stale.contains("Nothing was changed") && stale.contains("the plan"), "{stale}");
    }
    assert!(world.asked("close-ingress").is_some(), "the new question stands");

    let settled = || {
        let message = world.slack.messages().into_iter().find(|message| message.ts == second.ts).unwrap();
        message.button(APPROVE).is_none() && message.blocks.to_string().contains("*Expired*")
    };
    until(&service, "the question expires", settled).await;
    let late = world.told(&service, ALICE, APPROVE, &second, &second.button(APPROVE).unwrap()).await;
    assert!(late.contains("Nothing was changed"), "{late}");
    assert!(world.changes().is_empty() && !world.closed().await);
    let away = world.turned_away().await;
    let refused: Vec<&str> = away.iter().filter(|entry| entry["door"] == "request").map(|entry| entry["why"].as_str().unwrap()).collect();
    assert_eq!(refused.len(), 3, "two to another plan and one too late: {away:#?}");
}

#[tokio::test]
async fn one_human_by_slack_and_by_aws_is_one_person_and_two_are_two() {
    let two = "@id(\"two-to-close\")\nforbid (principal, action == Action::\"ec2.close-open-ingress\", resource) when { context.approvals < 2 };\n";
    let world = World::new(Door::Requests, |settings| {
        let folder = settings.state_dir.parent().unwrap().join("policies");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("two.cedar"), two).unwrap();
        settings.policies = Some(folder);
    })
    .await;
    let security = &world.organization.security;
    let (alice, bob) = (
        world.organization.user(security, &UserShape::default()).await.unwrap(),
        world.organization.user(security, &UserShape::default()).await.unwrap(),
    );
    let text = std::fs::read_to_string(&world.cordon.config).unwrap();
    let text = text.replace(&format!("slack = \"{ALICE}\"\n"), &format!("slack = \"{ALICE}\"\naws = [\"{}\"]\n", alice.arn));
    let text = format!("{text}\n[[people]]\nname = \"Bob\"\nroles = [\"approver\"]\naws = [\"{}\"]\n", bob.arn);
    world.cordon.configured(&text).unwrap();
    let service = world.serve().await;
    world.attack().await;
    let close = world.question(&service, "close-ingress").await;
    let said = world.told(&service, ALICE, APPROVE, &close, &close.button(APPROVE).unwrap()).await;
    assert!(said.contains("waits for one more person"), "{said}");

    let run = world.run(&["incident", "list"]).await[0]["run"].as_str().unwrap().to_owned();
    let grant = ["approval", "grant", run.as_str(), "--step", "close-ingress", "--yes"];
    let again = world.cordon.clone().as_person(&alice.keys[0]).run(&grant, "").await.unwrap();
    assert!(
        again.code == Some(2) && again.stderr.contains("Alice has said yes") && again.stderr.contains("another person has to"),
        "{again:?}"
    );
    assert!(world.changes().is_empty() && !world.closed().await, "one human, two ways");
    let other = world.cordon.clone().as_person(&bob.keys[0]).run(&grant, "").await.unwrap();
    assert_eq!(other.code, Some(0), "{other:?}");
    until(&service, "it is closed", || !world.changes().is_empty()).await;
    let report = world.cordon.run(&["incident", "report", &run], "").await.unwrap().stdout;
    assert!(report.contains(&format!("Alice (slack:{ALICE})")) && report.contains(&bob.arn), "{report}");
}
