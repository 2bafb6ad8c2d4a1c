//! Whom a sweep tells: where a person is needed in one of its incidents, and of no other.

use cordon_lab::{Shape, Slack, secrets, slack};
use serde_json::{Value, json};

use super::field::{Field, SWEEP, count, summary};

const HOME: &str = "us-east-1";

#[tokio::test(flavor = "multi_thread")]
async fn a_sweeps_child_that_asks_is_asked_in_slack_and_the_others_are_not_told_of() {
    secrets::remember(slack::TOKEN);
    let mut field = Field::new(&Shape::small(), 1, 3).await;
    let slack = Slack::start().await.unwrap();
    let text = std::fs::read_to_string(&field.cordon.config).unwrap();
    let more = format!("\n[slack]\ntoken = \"env:SLACK_BOT_TOKEN\"\nchannel = \"C0LAB\"\napi_url = \"{}\"\n", slack.url());
    field.cordon = field.cordon.configured(&(text + &more)).unwrap().with("SLACK_BOT_TOKEN", slack::TOKEN);
    // Closing a rule for all traffic may break what nobody thought of: it asks.
    let asking = field.one_more(&field.account(0), HOME).await;
    let wide = json!({"GroupId": asking.id, "IpPermissions": [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]});
    field.organization.hand.call(&asking.account, HOME, "ec2", "authorize_security_group_ingress", wide).await.unwrap();

    let swept = field.run(&[SWEEP.as_slice(), &["--max", "50", "--format", "json"]].concat()).await;
    assert_eq!(swept.code, Some(0), "{swept:?}");
    let rows = summary(&swept);
    let others = field.groups.len() as u64;
    assert_eq!((count(&rows, "waiting", "approval"), count(&rows, "closed", "")), (1, others), "{rows:#?}");
    let asked = field.run(&["approval", "list", "--format", "json"]).await.objects();
    let run = asked[0]["incident"].as_str().unwrap().to_owned();
    let told = || -> Vec<(String, Option<String>)> {
        slack.messages().into_iter().map(|message| (message.key.replace(&run, ""), message.thread)).collect()
    };
    let first = told();
    let [(detected, None), (asks, Some(thread))] = first.as_slice() else { panic!("{first:#?}") };
    assert!(detected == "/detected" && asks.starts_with("/asks/close-ssh/"), "{first:#?}");
    let question = slack.messages().remove(1);
    let value: Value = serde_json::from_str(&question.button("cordon-approve").unwrap()).unwrap();
    assert_eq!((value["run"].as_str(), value["digest"].as_str()), (Some(run.as_str()), asked[0]["digest"].as_str()));

    // Answered, its thread ends as any other; begun again, the sweep has nothing to tell.
    let granted = field.run(&["approval", "grant", &run, "--step", "close-ssh", "--yes"]).await;
    assert_eq!(granted.code, Some(0), "{granted:?}");
    assert!(field.still_open(std::slice::from_ref(&asking)).await.is_empty());
    let again = field.run(&[SWEEP.as_slice(), &["--max", "50", "--format", "json"]].concat()).await;
    assert_eq!(again.code, Some(0), "{again:?}");
    let all = told();
    assert!(all.len() == 3 && all[2].0.starts_with("/closed/") && all[2].1.as_ref() == Some(thread), "{all:#?}");
    let settled = slack.messages().remove(1);
    assert!(settled.button("cordon-approve").is_none() && settled.blocks.to_string().contains("*Approved* by"), "{settled:#?}");
}
