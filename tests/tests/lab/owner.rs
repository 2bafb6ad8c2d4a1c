//! The owner of what was changed: found by tags and the account's contact, told by e-mail and in Slack, and never waited for.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail as tests do")]

use cordon_lab::{
    Cordon, Settings, Shape, Slack,
    gateway::{Action, Call, Fault, Match},
    organization::{Instance, InstanceShape},
    secrets, slack,
};
use serde_json::{Value, json};

use crate::respond::world::{ATTACKER, HOME, World, id, one, state, step};

const FROM: &str = "cordon@example.com";
const CONTACT: &str = "security@example.com or #security";

/// By e-mail, from an identity that SES has verified; with more keys.
fn by_mail(settings: Settings, more: &str) -> Settings {
    Settings { more: format!("\n[owner]\nfrom = \"{FROM}\"\ncontact = \"{CONTACT}\"\n{more}"), ..settings }
}

async fn verified(world: &World) {
    world.hand(&world.organization.security, "sesv2", "create_email_identity", json!({ "EmailIdentity": FROM })).await;
    world.hand(&world.organization.security, "ses", "verify_email_identity", json!({ "EmailAddress": FROM })).await;
}

/// A world that tells owners by e-mail.
async fn mailing(more: &str) -> World {
    let world = World::with(Shape::small(), |settings| by_mail(settings, more)).await;
    verified(&world).await;
    world
}

/// An attacked instance with these tags, and a log of the attack.
async fn attacked(world: &World, name: &str, tags: &[(&str, &str)]) -> Instance {
    let shape = tags.iter().fold(InstanceShape::named(name), |shape, (key, value)| shape.tagged(key, value));
    let instance = world.shaped(&shape).await;
    world.organization.log_attack(&instance, ATTACKER, None).await.unwrap();
    instance
}

/// The account's own tag that names its owner.
async fn account_tag(world: &World, value: &str) {
    let params = json!({ "ResourceId": world.account, "Tags": [{ "Key": "owner", "Value": value }] });
    world.hand(&world.organization.management, "organizations", "tag_resource", params).await;
}

async fn security_contact(world: &World, mail: &str) {
    let contact = json!({
        "AlternateContactType": "SECURITY", "EmailAddress": mail, "Name": "Sec", "PhoneNumber": "+1 555 0100", "Title": "Officer",
    });
    world.hand(&world.account, "account", "put_alternate_contact", contact).await;
}

/// A message as SES took it.
struct Mail {
    to: String,
    subject: String,
    body: String,
}

fn tries(world: &World) -> Vec<Call> {
    world.gateway().ledger().of_operation("ses", "SendEmail")
}

fn mails(world: &World) -> Vec<Mail> {
    let text = |call: &Call, pointer: &str| call.params.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
    let mail = |call: &Call| {
        assert_eq!((call.account.as_str(), call.region.as_str()), (world.organization.security.as_str(), HOME));
        assert_eq!(call.params["FromEmailAddress"], FROM);
        Mail {
            to: text(call, "/Destination/ToAddresses/0"),
            subject: text(call, "/Content/Simple/Subject/Data"),
            body: text(call, "/Content/Simple/Body/Text/Data"),
        }
    };
    tries(world).iter().filter(|call| call.succeeded()).map(mail).collect()
}

/// What the incident says of its owner.
async fn owners(world: &World, run: &str) -> Vec<Value> {
    world.incident(&["incident", "show", run]).await["owner"].as_array().cloned().unwrap_or_default()
}

async fn shown(world: &World, run: &str) -> String {
    world.cordon(&["incident", "show", run], "").await.stdout
}

#[tokio::test]
async fn the_owner_by_resource_tag_is_told_at_contain_and_at_close() {
    let world = mailing("").await;
    let instance = attacked(&world, "web", &[("Owner", "payments@example.com")]).await;
    let incident = world.one(&world.attack(&instance)).await;
    let run = id(&incident);
    assert_eq!(state(&incident), "contained", "{incident:#}");
    let sent = mails(&world);
    assert_eq!(sent.len(), 1, "{:#?}", tries(&world));
    assert_eq!(sent[0].to, "payments@example.com");
    assert!(sent[0].subject.contains("has changed something") && sent[0].subject.contains(&world.account), "{}", sent[0].subject);
    let body = &sent[0].body;
    let wanted = [
        "UnauthorizedAccess:EC2/SSHBruteForce",
        &instance.groups[0],
        &instance.acl,
        "ingress",
        "-> ",
        "The playbook ec2-brute-force",
        "close-ingress: ",
        "block-source is undone at",
        &format!("Write to {CONTACT}, name the incident {run}"),
        &format!("the tag `Owner` of {}", instance.arn),
    ];
    for wanted in wanted {
        assert!(body.contains(wanted), "{wanted}\n{body}");
    }
    assert!(!body.contains("Cordon has answered this finding"), "the note on the finding is nothing of the owner's\n{body}");

    // The block is put back, and the incident is over. Then the port is opened again, too.
    let undo = ["incident", "undo", &run, "--yes", "--format", "json"];
    let closed = world.cordon(&undo, "").await;
    assert_eq!((closed.code, state(&one(&closed))), (Some(0), "closed"), "{closed:?}");
    let undone = world.cordon(&[&undo[..], &["--step", "close-ingress"]].concat(), "").await;
    assert_eq!((undone.code, state(&one(&undone))), (Some(0), "undone"), "{undone:?}");
    let sent = mails(&world);
    let subjects: Vec<&str> = sent.iter().map(|mail| mail.subject.as_str()).collect();
    assert_eq!(sent.len(), 3, "{subjects:?}");
    assert!(subjects[1].starts_with("The incident is over") && subjects[2].contains("put back"), "{subjects:?}");
    assert!(sent[1].body.contains("(put back)") && sent[1].body.contains("(in effect)"), "{}", sent[1].body);
    assert!(sent.iter().all(|mail| mail.to == "payments@example.com"));

    // Who looks at the incident sees it.
    let told = owners(&world, &run).await;
    let of: Vec<&str> = told.iter().map(|told| told["of"].as_str().unwrap()).collect();
    assert_eq!(of, ["contained", "closed", "undone"]);
    assert!(told.iter().all(|told| told["who"] == "payments@example.com" && told["at"].is_string()), "{told:#?}");
    let shown = shown(&world, &run).await;
    assert!(shown.contains("Owner: told payments@example.com by e-mail at "), "{shown}");
    let report = world.cordon(&["incident", "report", &run], "").await.stdout;
    assert!(report.contains("Owner: told payments&#64;example.com by e-mail at "), "{report}");
    assert!(owners(&world, &run).await.len() == 3 && mails(&world).len() == 3, "looking tells nobody");
}

#[tokio::test]
async fn the_accounts_tag_names_the_owner_where_the_resource_names_none() {
    let world = mailing("tag_key = \"Owner\"\n").await;
    account_tag(&world, "orders@example.com").await;
    let instance = attacked(&world, "web", &[]).await;
    let run = id(&world.one(&world.attack(&instance)).await);
    let sent = mails(&world);
    assert_eq!(sent.iter().map(|mail| mail.to.as_str()).collect::<Vec<_>>(), ["orders@example.com"]);
    assert!(sent[0].body.contains(&format!("the tag `owner` of account {}", world.account)), "{}", sent[0].body);
    assert_eq!(owners(&world, &run).await[0]["found"], format!("the tag `owner` of account {}", world.account));
    assert!(world.gateway().ledger().of_operation("account", "GetAlternateContact").is_empty(), "no further than needed");
}

/// In the lab the account's tag is a name. The contact is read in the account itself, in a session that may read that and nothing else.
#[tokio::test]
async fn the_accounts_security_contact_is_told_last_and_names_are_told_as_names() {
    let world = mailing("").await;
    security_contact(&world, "sec@example.com").await;
    let instance = attacked(&world, "web", &[("owner", "Team <b>Payments</b> https://evil.example")]).await;
    let run = id(&world.one(&world.attack(&instance)).await);
    let sent = mails(&world);
    assert_eq!(sent.iter().map(|mail| mail.to.as_str()).collect::<Vec<_>>(), ["sec@example.com"]);
    let body = &sent[0].body;
    assert!(body.contains("also named as Team <b>Payments</b> https[:]//evil[.]example, by the tag `owner` of arn:"), "{body}");
    assert!(body.contains("also named as payments, by the tag `owner` of account"), "{body}");
    let told = &owners(&world, &run).await[0];
    assert_eq!(told["found"], format!("the security contact of account {}", world.account));
    assert_eq!(told["passed_over"].as_array().unwrap().len(), 2, "{told:#}");

    let asked = world.gateway().ledger().of_operation("account", "GetAlternateContact");
    assert_eq!(asked.len(), 1, "{asked:#?}");
    let decision = asked[0].decision.as_ref().unwrap();
    assert!(decision.allowed && asked[0].account == world.account && asked[0].params.get("AccountId").is_none(), "{asked:#?}");
    assert_eq!(asked[0].principal.source_identity.as_deref(), Some("cordon-read"));
    let session = decision.session[0]["Statement"].to_string();
    assert!(session.contains("account:GetAlternateContact") && !session.contains("ec2:"), "{session}");
}

#[tokio::test]
async fn an_owner_is_told_in_slack_by_address_or_by_the_id_in_the_tag() {
    secrets::remember(slack::TOKEN);
    let slack = Slack::start().await.unwrap();
    slack.user("payments+web@example.com", "U012AB3CD");
    let more = format!(
        "\n[slack]\ntoken = \"env:SLACK_BOT_TOKEN\"\nchannel = \"C0LAB\"\napi_url = \"{}\"\n[owner]\nslack = true\ncontact = \"{CONTACT}\"\n",
        slack.url()
    );
    let mut world = World::with(Shape::small(), |settings| Settings { more, ..settings }).await;
    world.cordon = with_token(&world);
    let mine = attacked(&world, "web", &[("owner", "payments+web@example.com")]).await;
    let theirs = attacked(&world, "db", &[("owner", "C024BE91L")]).await;
    let nobodys = attacked(&world, "old", &[("owner", "gone@example.com")]).await;
    let events = [&mine, &theirs, &nobodys].map(|instance| world.attack(instance)).join("\n");
    let output = world.respond(&events).await;
    assert_eq!(output.code, Some(0), "{output:?}");

    let to = |channel: &str| slack.messages().into_iter().filter(|message| message.channel == channel).collect::<Vec<_>>();
    for (channel, instance) in [("U012AB3CD", &mine), ("C024BE91L", &theirs)] {
        let messages = to(channel);
        assert_eq!(messages.len(), 1, "{messages:#?}");
        let blocks = messages[0].blocks.to_string();
        let incident = crate::respond::world::of(&output, instance);
        for wanted in ["What was changed", &instance.groups[0], CONTACT, &id(&incident)] {
            assert!(blocks.contains(wanted), "{wanted}: {blocks}");
        }
        assert!(messages[0].thread.is_none() && messages[0].button("cordon-approve").is_none(), "{messages:#?}");
    }
    let looked: Vec<Value> = slack.calls().into_iter().filter(|call| call.method == "users.lookupByEmail").map(|call| call.body).collect();
    assert!(looked.contains(&json!({ "email": "payments+web@example.com" })), "{looked:?}");

    // Whom Slack does not know is said, and the team's own channel is told as ever, and nothing of the owners' messages.
    let told = owners(&world, &id(&crate::respond::world::of(&output, &nobodys))).await;
    assert!(told[0]["not_told_because"].as_str().unwrap().contains("Slack has no user with the address gone@example.com"), "{told:#?}");
    assert!(to("C0LAB").len() >= 6, "{:#?}", to("C0LAB"));
    assert!(tries(&world).is_empty());
}

fn with_token(world: &World) -> Cordon {
    world.cordon.clone().with("SLACK_BOT_TOKEN", slack::TOKEN)
}

#[tokio::test]
async fn a_mail_service_that_refuses_delays_no_containment() {
    let world = mailing("").await;
    let refusal = Action::Deny { code: Some("SendingPausedException".to_owned()), status: Some(400) };
    let ses = Match { service: Some("ses".to_owned()), ..Match::default() };
    world.gateway().faults().add(Fault::new(ses, refusal));
    let instance = attacked(&world, "web", &[("owner", "payments@example.com")]).await;
    let output = world.respond(&world.attack(&instance)).await;
    let incident = one(&output);
    assert_eq!((output.code, state(&incident)), (Some(0), "contained"), "{output:?}");
    assert!(output.stderr.contains("notices are not sent yet"), "{}", output.stderr);
    assert!(!world.open(&instance, 22).await && mails(&world).is_empty() && tries(&world).len() > 1);
    let told = owners(&world, &id(&incident)).await;
    let why = told[0]["not_told_because"].as_str().unwrap();
    assert!(told[0]["at"].is_null() && why.contains("SendingPausedException"), "{told:#?}");
    assert!(shown(&world, &id(&incident)).await.contains("Owner: not told yet by e-mail (contained), because "));

    // It works again: whatever runs next sends it, once.
    world.gateway().faults().clear();
    tokio::time::sleep(std::time::Duration::from_secs(9)).await;
    world.one(&world.attack(&instance)).await;
    world.one(&world.attack(&instance)).await;
    assert_eq!(mails(&world).iter().map(|mail| mail.to.as_str()).collect::<Vec<_>>(), ["payments@example.com"]);
}

/// Two may come then, and it is written down that one did.
#[tokio::test]
async fn a_message_whose_answer_was_lost_is_sent_again_and_never_lost() {
    let world = mailing("").await;
    let ses = Match { service: Some("ses".to_owned()), ..Match::default() };
    world.gateway().faults().add(Fault::new(ses, Action::DropAfter).times(1));
    let instance = attacked(&world, "web", &[("owner", "payments@example.com")]).await;
    let incident = world.one(&world.attack(&instance)).await;
    let tries = tries(&world);
    assert_eq!((state(&incident), tries.len()), ("contained", 2), "{tries:#?}");
    let of = |call: &Call| (call.params["Destination"].clone(), call.params.pointer("/Content/Simple/Subject").cloned());
    assert!(tries.iter().all(|call| call.forwarded) && of(&tries[0]) == of(&tries[1]), "the same message: {tries:#?}");
    let told = owners(&world, &id(&incident)).await;
    assert_eq!((told.len(), told[0]["who"].as_str()), (1, Some("payments@example.com")), "{told:#?}");
}

#[tokio::test]
async fn an_owner_whom_nobody_names_is_said_and_an_address_outside_the_domains_is_not_written_to() {
    let world = mailing("domains = [\"example.com\"]\n").await;
    let outside = attacked(&world, "web", &[("owner", "thief@evil.example.net")]).await;
    let run = id(&world.one(&world.attack(&outside)).await);
    assert!(tries(&world).is_empty(), "{:#?}", tries(&world));
    let told = owners(&world, &run).await;
    assert_eq!((told.len(), told[0]["who"].is_null()), (1, true), "{told:#?}");
    let why = told[0]["not_told_because"].as_str().unwrap();
    assert!(why.contains("thief@evil.example.net") && why.contains("outside `[owner] domains`"), "{why}");
    assert!(why.contains("`payments` of the tag `owner` of account"), "{why}");
    assert!(shown(&world, &run).await.contains("Owner: not told by e-mail (contained), because nobody is named who can be told: "));
    let away = world.cordon(&["audit", "turned-away", "--format", "json"], "").await.objects();
    assert!(away.iter().any(|away| away["who"] == "owner:e-mail" && away["what"] == format!("{run} owner/contained")), "{away:#?}");

    // An account that may not be asked for its contact is said to be so; containment went on all the same.
    let denied = Match { service: Some("account".to_owned()), ..Match::default() };
    world.gateway().faults().add(Fault::new(denied, Action::Deny { code: None, status: None }));
    let second = attacked(&world, "db", &[]).await;
    let incident = world.one(&world.attack(&second)).await;
    assert_eq!((state(&incident), world.open(&second, 22).await), ("contained", false));
    let told = owners(&world, &id(&incident)).await;
    let why = told[0]["not_told_because"].as_str().unwrap();
    assert!(why.contains("the security contact of account") && why.contains("access denied"), "{why}");
}

#[tokio::test]
async fn what_is_only_observed_tells_no_owner() {
    let world = World::with(Shape::small(), |settings| Settings { mode: "observe".to_owned(), ..by_mail(settings, "") }).await;
    verified(&world).await;
    let instance = attacked(&world, "web", &[("owner", "payments@example.com")]).await;
    let incident = world.one(&world.attack(&instance)).await;
    assert_eq!((state(&incident), step(&incident, "close-ingress")["state"].as_str()), ("planned", Some("planned")), "{incident:#}");
    assert!(tries(&world).is_empty() && owners(&world, &id(&incident)).await.is_empty());
}

#[tokio::test]
async fn the_owners_of_what_a_sweep_closes_are_told_each() {
    let world = mailing("").await;
    let groups = world.organization.open_groups(&world.account, HOME, 2).await.unwrap();
    for (group, owner) in groups.iter().zip(["a@example.com", "b@example.com"]) {
        let tags = json!({ "Resources": [group.id], "Tags": [{ "Key": "owner", "Value": owner }] });
        world.hand(&world.account, "ec2", "create_tags", tags).await;
    }
    world.organization.backlog(&groups).await.unwrap();
    let output = world.cordon(&["sweep", "--control", "EC2.13", "--yes", "--max", "5", "--format", "json"], "").await;
    assert_eq!(output.code, Some(0), "{output:?}");
    let mut sent = mails(&world);
    sent.sort_by(|one, other| one.to.cmp(&other.to));
    let to: Vec<&str> = sent.iter().map(|mail| mail.to.as_str()).collect();
    assert_eq!(to, ["a@example.com", "a@example.com", "b@example.com", "b@example.com"], "{output:?}");
    // Each at containment and at the end.
    for (mails, group) in sent.chunks(2).zip(&groups) {
        assert!(mails.iter().all(|mail| mail.body.contains(&group.id)), "{}", group.id);
        let over = mails.iter().filter(|mail| mail.subject.starts_with("The incident is over")).count();
        assert_eq!(over, 1, "{}", group.id);
    }
}
