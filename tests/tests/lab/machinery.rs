//! Tests of the lab itself: the hand, moto with its extension, the gateway.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail as tests do")]

#[path = "machinery/access.rs"]
mod access;
#[path = "machinery/extension.rs"]
mod extension;
#[path = "machinery/findings.rs"]
mod findings;
#[path = "machinery/gateway.rs"]
mod gateway;
#[path = "machinery/policy.rs"]
mod policy;

use std::time::Duration;

use cordon_lab::{Moto, MotoOptions, accounts, shared};
use serde_json::json;

const REGION: &str = "us-east-1";

#[tokio::test]
async fn the_hand_acts_in_the_account_that_a_call_names() {
    let lab = shared().unwrap();
    let (one, two) = (accounts::fresh(), accounts::fresh());
    for account in [&one, &two] {
        let answer = lab.hand.call(account, REGION, "sts", "get_caller_identity", json!({})).await.unwrap();
        assert_eq!(answer["Account"], json!(account));
    }
    let error =
        lab.hand.call(&one, REGION, "ec2", "describe_instances", json!({"InstanceIds": ["i-0123456789abcdef0"]})).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.status), ("InvalidInstanceID.NotFound", Some(400)));
    let error = lab.hand.call(&one, REGION, "ec2", "describe_instances", json!({"Nothing": 1})).await.unwrap_err();
    assert_eq!(error.code, "ParamValidationError");
}

#[tokio::test]
async fn the_hand_answers_many_tasks_at_once() {
    let lab = shared().unwrap();
    let account = accounts::fresh();
    let calls = (0..24).map(|number| {
        let account = account.clone();
        tokio::spawn(async move {
            let name = format!("queue-{number}");
            let made = lab.hand.call(&account, REGION, "sqs", "create_queue", json!({"QueueName": name})).await.unwrap();
            assert!(made["QueueUrl"].as_str().unwrap().ends_with(&name));
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    let found = lab.hand.all(&account, REGION, "sqs", "list_queues", json!({})).await.unwrap();
    assert_eq!(found["QueueUrls"].as_array().unwrap().len(), 24);
}

#[tokio::test]
async fn moto_ends_when_it_is_dropped() {
    let lab = shared().unwrap();
    let moto = Moto::start(&lab.python, &MotoOptions { plain: true, ..MotoOptions::default() }).unwrap();
    let (process, endpoint) = (format!("/proc/{}", moto.pid()), moto.endpoint());
    assert!(std::path::Path::new(&process).exists());
    let hand = lab.hand.at(&endpoint);
    hand.call(&accounts::fresh(), REGION, "sts", "get_caller_identity", json!({})).await.unwrap();
    drop(moto);
    assert!(!std::path::Path::new(&process).exists());
}

/// What starts moto may be killed without a chance to clean up.
#[tokio::test]
async fn moto_ends_when_its_parent_is_killed() {
    let lab = shared().unwrap();
    let script = r#"
import os, signal, subprocess, sys
child = subprocess.Popen([sys.executable, os.environ["PROGRAM"]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
assert b"port" in child.stdout.readline()
print(child.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"#;
    let program = lab.python.program("lab_moto.py").get_args().next().unwrap().to_owned();
    let output = lab.python.run(script, "http://127.0.0.1:1", &[("PROGRAM", program.to_str().unwrap())]).await.unwrap();
    let pid = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    assert!(!pid.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let command = format!("/proc/{pid}/cmdline");
    for _ in 0..100 {
        // Its parent is gone, so whoever inherits it has to wait for it: an ended process has no command line.
        if std::fs::read(&command).map_or(true, |text| text.is_empty()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("moto {pid} outlives its parent");
}

#[tokio::test]
async fn a_script_runs_with_boto3() {
    let lab = shared().unwrap();
    let script = "import boto3; print(boto3.client('sts').get_caller_identity()['Account'])";
    let output = lab.python.run(script, &lab.moto.endpoint(), &[]).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "123456789012\n", "{}", String::from_utf8_lossy(&output.stderr));
}
